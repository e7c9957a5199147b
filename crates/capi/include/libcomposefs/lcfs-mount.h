/* Mounting composefs images.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef LIBCOMPOSEFS_LCFS_MOUNT_H
#define LIBCOMPOSEFS_LCFS_MOUNT_H

#include <stddef.h>
#include <stdint.h>
#include <errno.h>

#ifndef LCFS_EXTERN
#define LCFS_EXTERN extern
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Error numbers with a meaning of their own. */
#ifndef ENOVERITY
#define ENOVERITY ENOTTY /* fs-verity is not enabled on the file, or the file system has none */
#endif
#ifndef EWRONGVERITY
#define EWRONGVERITY EILSEQ /* the file has another digest than the one expected */
#endif
#ifndef ENOSIGNATURE
#define ENOSIGNATURE EBADMSG /* not returned any more */
#endif

enum lcfs_mount_flags_t {
	LCFS_MOUNT_FLAGS_NONE = 0,
	/* Every file must have the fs-verity digest that the image records for it (overlayfs verity=require). */
	LCFS_MOUNT_FLAGS_REQUIRE_VERITY = (1 << 0),
	/* Read-only even with an upper directory. */
	LCFS_MOUNT_FLAGS_READONLY = (1 << 1),
	/* Owners in the image are shifted by the user namespace of idmap_fd. */
	LCFS_MOUNT_FLAGS_IDMAP = (1 << 3),
	/* As REQUIRE_VERITY if the kernel can, else no check. */
	LCFS_MOUNT_FLAGS_TRY_VERITY = (1 << 4),

	LCFS_MOUNT_FLAGS_MASK = (1 << 5) - 1,
};

/* All that is not used must be zero. */
struct lcfs_mount_options_s {
	const char **objdirs;                 /* where the objects are, searched in this order */
	size_t n_objdirs;                     /* at least 1 */
	const char *workdir;                  /* both upperdir and workdir, or neither */
	const char *upperdir;
	const char *expected_fsverity_digest; /* 64 hexadecimal digits, or NULL */
	uint32_t flags;                       /* of lcfs_mount_flags_t */
	int idmap_fd;                         /* a user namespace, with LCFS_MOUNT_FLAGS_IDMAP */
	const char *image_mountdir;           /* an empty directory to mount the image at for a moment, or NULL */
	uint32_t reserved[4];
	void *reserved2[4];
};

/* Mounts an image that is opened by its path, or is open. 0, or -1 and errno:
 *   EINVAL        the options contradict each other, or the file is no composefs image
 *   ENOENT        there is no image, object directory or mount point
 *   ENOVERITY     a digest is expected and fs-verity is not enabled on the image
 *   EWRONGVERITY  the image has another digest
 *   EOPNOTSUPP    this kernel cannot verify files, or has no idmapped mounts
 * and what the kernel says. Nothing is left mounted then. */
LCFS_EXTERN int lcfs_mount_image(const char *path, const char *mountpoint, struct lcfs_mount_options_s *options);
LCFS_EXTERN int lcfs_mount_fd(int fd, const char *mountpoint, struct lcfs_mount_options_s *options);

#ifdef __cplusplus
}
#endif

#endif
