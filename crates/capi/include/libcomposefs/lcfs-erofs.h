/* The first bytes of a composefs image.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef LIBCOMPOSEFS_LCFS_EROFS_H
#define LIBCOMPOSEFS_LCFS_EROFS_H

#include <stdint.h>

#define LCFS_EROFS_VERSION 1
#define LCFS_EROFS_MAGIC 0xd078629aU

/* Some inode has a POSIX ACL; without the flag an image is mounted with "noacl". */
typedef enum {
	LCFS_EROFS_FLAGS_HAS_ACL = (1 << 0),
} lcfs_erofs_flag_t;

/* At offset 0; all numbers are little-endian. The EROFS superblock stands at offset 1024. */
struct lcfs_erofs_header_s {
	uint32_t magic;             /* LCFS_EROFS_MAGIC */
	uint32_t version;           /* LCFS_EROFS_VERSION */
	uint32_t flags;             /* of lcfs_erofs_flag_t */
	uint32_t composefs_version; /* the format version of the image: 0, 1 */
	uint32_t unused[4];
} __attribute__((__packed__));

#endif
