/* Trees of nodes, and the composefs images of them.
 *
 * A node has counted references: who is given one by a function that says so gives it back with lcfs_node_unref(). Nodes of one
 * tree are used by one thread at a time; different trees by different threads.
 *
 * Unless said otherwise functions that return a pointer fail with NULL, those that return int with -1, and set errno.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef LIBCOMPOSEFS_LCFS_WRITER_H
#define LIBCOMPOSEFS_LCFS_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/stat.h>
#include <time.h>

#ifndef LCFS_EXTERN
#define LCFS_EXTERN extern
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define LCFS_DIGEST_SIZE 32                    /* SHA-256 */
#define LCFS_INLINE_CONTENT_MAX 5000           /* bytes of content that an image can hold of a file */
#define LCFS_RECOMMENDED_INLINE_CONTENT_MAX 64 /* what is kept in the image when files are loaded */
#define LCFS_INODE_XATTRMETA_SIZE 4
#define LCFS_INODE_EXTERNAL_XATTR_MAX 32767    /* what the xattrs of an inode may take together */

#define LCFS_BUILD_SKIP_XATTRS (1 << 0)   /* no extended attributes */
#define LCFS_BUILD_USE_EPOCH (1 << 1)     /* all times are zero */
#define LCFS_BUILD_SKIP_DEVICES (1 << 2)  /* lcfs_build() leaves out block and character devices */
#define LCFS_BUILD_COMPUTE_DIGEST (1 << 3) /* files get their fs-verity digest */
#define LCFS_BUILD_NO_INLINE (1 << 4)     /* no content is kept in the image */
#define LCFS_BUILD_USER_XATTRS (1 << 5)   /* only attributes whose name begins with user. */
#define LCFS_BUILD_BY_DIGEST (1 << 6)     /* the payload is the path of an object named by the digest */

enum lcfs_format_t {
	LCFS_FORMAT_EROFS = 0,
};

enum lcfs_flags_t {
	LCFS_FLAGS_NONE = 0,
	LCFS_FLAGS_MASK = 0,
};

#define LCFS_VERSION_MAX 1
#define LCFS_DEFAULT_VERSION_MIN 0
#define LCFS_DEFAULT_VERSION_MAX 1

struct lcfs_node_s;

/* Reads up to count bytes: how many there were, 0 at the end, negative on failure. */
typedef ssize_t (*lcfs_read_cb)(void *file, void *buf, size_t count);
/* Takes up to count bytes: how many were taken, 0 or negative with errno on failure. */
typedef ssize_t (*lcfs_write_cb)(void *file, void *buf, size_t count);

/* All that is not used must be zero. */
struct lcfs_write_options_s {
	uint32_t format;             /* LCFS_FORMAT_EROFS */
	uint32_t version;            /* in: the least version; out: the one taken */
	uint32_t flags;              /* LCFS_FLAGS_NONE */
	uint8_t *digest_out;         /* LCFS_DIGEST_SIZE bytes for the image's fs-verity digest, or NULL */
	void *file;                  /* what the callback is called with */
	lcfs_write_cb file_write_cb; /* NULL: only the digest is computed */
	uint32_t max_version;        /* the last version allowed; at least version */
	uint32_t reserved[3];
	void *reserved2[4];
};

struct lcfs_read_options_s {
	const char *const *toplevel_entries; /* names in the root, ended by NULL: only those are loaded; NULL: all */
	uint32_t reserved[3];
	void *reserved2[4];
};

/* ---- References. */

/* A node without type, name and attributes, with a link count of 1: a reference. */
LCFS_EXTERN struct lcfs_node_s *lcfs_node_new(void);
/* One more reference to the node, which is returned. */
LCFS_EXTERN struct lcfs_node_s *lcfs_node_ref(struct lcfs_node_s *node);
/* Gives a reference back. With the last one the node goes; its children lose their parent and name, and go too unless there are
 * references to them. */
LCFS_EXTERN void lcfs_node_unref(struct lcfs_node_s *node);
/* A reference to a copy without name, parent and children. */
LCFS_EXTERN struct lcfs_node_s *lcfs_node_clone(struct lcfs_node_s *node);
/* A reference to a copy of the whole tree; hard links in it lead to the copies. */
LCFS_EXTERN struct lcfs_node_s *lcfs_node_clone_deep(struct lcfs_node_s *node);

static inline void lcfs_node_unrefp(struct lcfs_node_s **nodep)
{
	if (*nodep != NULL) {
		lcfs_node_unref(*nodep);
		*nodep = NULL;
	}
}

#define cleanup_node __attribute__((cleanup(lcfs_node_unrefp)))

/* ---- Loading. Each returns a reference. */

/* One file, directory or other entry, without what it holds and without following it. */
LCFS_EXTERN struct lcfs_node_s *lcfs_load_node_from_file(int dirfd, const char *fname, int buildflags);
/* A directory and all below it. On failure *failed_path_out, if given, is the path it happened at, to be freed by free(), or
 * NULL. */
LCFS_EXTERN struct lcfs_node_s *lcfs_build(int dirfd, const char *fname, int buildflags, char **failed_path_out);
/* The tree of an image in memory, which is copied, or of a file. EINVAL: no image, or a damaged one; ENOTSUP: a header of another
 * version. */
LCFS_EXTERN struct lcfs_node_s *lcfs_load_node_from_image(const uint8_t *image_data, size_t image_data_size);
LCFS_EXTERN struct lcfs_node_s *lcfs_load_node_from_image_ext(const uint8_t *image_data, size_t image_data_size,
							      const struct lcfs_read_options_s *opts);
LCFS_EXTERN struct lcfs_node_s *lcfs_load_node_from_fd(int fd);
LCFS_EXTERN struct lcfs_node_s *lcfs_load_node_from_fd_ext(int fd, const struct lcfs_read_options_s *opts);
/* The format version of an image. */
LCFS_EXTERN int lcfs_version_from_fd(int fd);

/* ---- Writing. */

/* Writes the image of a tree from its first byte to its last, in pieces of 256 KiB and more, and computes its digest. The root may
 * have a name and a parent. EINVAL: a tree that no image can hold; what the callback says. */
LCFS_EXTERN int lcfs_write_to(struct lcfs_node_s *root, struct lcfs_write_options_s *options);

/* ---- The tree. */

/* The child of a name, or NULL; no reference. */
LCFS_EXTERN struct lcfs_node_s *lcfs_node_lookup_child(struct lcfs_node_s *node, const char *name);
/* The parent, or NULL; no reference. */
LCFS_EXTERN struct lcfs_node_s *lcfs_node_get_parent(struct lcfs_node_s *node);
/* Puts a child under a name, and takes the caller's reference to it; on failure the caller keeps it. ENOTDIR, EINVAL, ENAMETOOLONG,
 * EMLINK: the child has a name already, EEXIST. */
LCFS_EXTERN int lcfs_node_add_child(struct lcfs_node_s *parent, struct lcfs_node_s *child, const char *name);
/* The name in the parent, or NULL. */
LCFS_EXTERN const char *lcfs_node_get_name(struct lcfs_node_s *node);
LCFS_EXTERN size_t lcfs_node_get_n_children(struct lcfs_node_s *node);
/* A child by its place in the order of strcmp(), or NULL; no reference. */
LCFS_EXTERN struct lcfs_node_s *lcfs_node_get_child(struct lcfs_node_s *node, size_t i);
/* Makes the node a further name of the target, which is no directory. */
LCFS_EXTERN void lcfs_node_make_hardlink(struct lcfs_node_s *node, struct lcfs_node_s *target);
/* What the node is a hard link to, or NULL; no reference. */
LCFS_EXTERN struct lcfs_node_s *lcfs_node_get_hardlink_target(struct lcfs_node_s *node);
LCFS_EXTERN bool lcfs_node_dirp(struct lcfs_node_s *node);

/* ---- Attributes, as struct stat has them. */

LCFS_EXTERN uint32_t lcfs_node_get_mode(struct lcfs_node_s *node);
LCFS_EXTERN void lcfs_node_set_mode(struct lcfs_node_s *node, uint32_t mode);
/* EINVAL: the mode tells no type of file. */
LCFS_EXTERN int lcfs_node_try_set_mode(struct lcfs_node_s *node, uint32_t mode);
LCFS_EXTERN uint32_t lcfs_node_get_uid(struct lcfs_node_s *node);
LCFS_EXTERN void lcfs_node_set_uid(struct lcfs_node_s *node, uint32_t uid);
LCFS_EXTERN uint32_t lcfs_node_get_gid(struct lcfs_node_s *node);
LCFS_EXTERN void lcfs_node_set_gid(struct lcfs_node_s *node, uint32_t gid);
/* Link counts of directories are computed when the image is written. */
LCFS_EXTERN uint32_t lcfs_node_get_nlink(struct lcfs_node_s *node);
LCFS_EXTERN void lcfs_node_set_nlink(struct lcfs_node_s *node, uint32_t nlink);
LCFS_EXTERN uint64_t lcfs_node_get_size(struct lcfs_node_s *node);
/* Content of another size is forgotten. */
LCFS_EXTERN void lcfs_node_set_size(struct lcfs_node_s *node, uint64_t size);
/* In the kernel's encoding of 32 bits; use the 64-bit functions, which keep as many today. */
LCFS_EXTERN uint32_t lcfs_node_get_rdev(struct lcfs_node_s *node);
LCFS_EXTERN void lcfs_node_set_rdev(struct lcfs_node_s *node, uint32_t rdev);
LCFS_EXTERN uint64_t lcfs_node_get_rdev64(struct lcfs_node_s *node);
LCFS_EXTERN void lcfs_node_set_rdev64(struct lcfs_node_s *node, uint64_t rdev);
LCFS_EXTERN void lcfs_node_get_mtime(struct lcfs_node_s *node, struct timespec *time);
LCFS_EXTERN void lcfs_node_set_mtime(struct lcfs_node_s *node, struct timespec *time);

/* ---- Extended attributes. */

/* The value, of *length bytes, or NULL. */
LCFS_EXTERN const char *lcfs_node_get_xattr(struct lcfs_node_s *node, const char *name, size_t *length);
/* Sets or replaces. ERANGE: too large, alone or with the others. */
LCFS_EXTERN int lcfs_node_set_xattr(struct lcfs_node_s *node, const char *name, const char *value, size_t value_len);
/* ENODATA: it has none of that name. */
LCFS_EXTERN int lcfs_node_unset_xattr(struct lcfs_node_s *node, const char *name);
LCFS_EXTERN size_t lcfs_node_get_n_xattr(struct lcfs_node_s *node);
/* A name by its number, or NULL. Setting and removing changes the numbers. */
LCFS_EXTERN const char *lcfs_node_get_xattr_name(struct lcfs_node_s *node, size_t index);

/* ---- Contents. */

/* The target of a symlink, or the path of a file's object below the object directory, or NULL. */
LCFS_EXTERN const char *lcfs_node_get_payload(struct lcfs_node_s *node);
/* NULL removes it. ENAMETOOLONG: more than 4095 bytes. */
LCFS_EXTERN int lcfs_node_set_payload(struct lcfs_node_s *node, const char *payload);
/* The target of a symlink, and its size. EINVAL: the node is none, or the target is empty. */
LCFS_EXTERN int lcfs_node_set_symlink_payload(struct lcfs_node_s *node, const char *payload);
/* The content that is kept in the image, of as many bytes as the size says, or NULL. */
LCFS_EXTERN const uint8_t *lcfs_node_get_content(struct lcfs_node_s *node);
/* Sets content and size. EINVAL: more than LCFS_INLINE_CONTENT_MAX bytes. */
LCFS_EXTERN int lcfs_node_set_content(struct lcfs_node_s *node, const uint8_t *data, size_t data_size);
/* Takes digest, payload and content from a file of the node's size, as the flags say. */
LCFS_EXTERN int lcfs_node_set_from_content(struct lcfs_node_s *node, int dirfd, const char *fname, int buildflags);

/* ---- fs-verity digests: SHA-256, blocks of 4096 bytes, no salt. Each has LCFS_DIGEST_SIZE bytes. */

/* The digest of the content, or NULL. */
LCFS_EXTERN const uint8_t *lcfs_node_get_fsverity_digest(struct lcfs_node_s *node);
LCFS_EXTERN void lcfs_node_set_fsverity_digest(struct lcfs_node_s *node, uint8_t digest[LCFS_DIGEST_SIZE]);
/* Computed of what the callback gives, or of what follows the offset of a descriptor. */
LCFS_EXTERN int lcfs_node_set_fsverity_from_content(struct lcfs_node_s *node, void *file, lcfs_read_cb read_cb);
LCFS_EXTERN int lcfs_node_set_fsverity_from_fd(struct lcfs_node_s *node, int fd);
LCFS_EXTERN int lcfs_compute_fsverity_from_content(uint8_t *digest, void *file, lcfs_read_cb read_cb);
LCFS_EXTERN int lcfs_compute_fsverity_from_fd(uint8_t *digest, int fd);
LCFS_EXTERN int lcfs_compute_fsverity_from_data(uint8_t *digest, uint8_t *data, size_t data_len);

/* These three return 0 or the negated error number. */

/* What the kernel holds: -ENOVERITY if nothing, -EWRONGVERITY if of another algorithm. */
LCFS_EXTERN int lcfs_fd_measure_fsverity(uint8_t *digest, int fd);
/* The same, or else computed from the start of the file. */
LCFS_EXTERN int lcfs_fd_get_fsverity(uint8_t *digest, int fd);
/* Enables fs-verity on a file that nobody has open for writing; that it has it already is an error. */
LCFS_EXTERN int lcfs_fd_enable_fsverity(int fd);

#ifdef __cplusplus
}
#endif

#endif
