/* The calls of ostree, in its order and with its options: a tree whose directories are added before they have a mode, the image of a
 * node that has a name, digests by a callback, short writes, a full disk; and with a second argument, the mount of a deployment.
 * Arguments: an empty directory; "mount", which needs root and mounts of its own. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <libcomposefs/lcfs-mount.h>
#include <libcomposefs/lcfs-writer.h>

#include "check.h"

typedef struct lcfs_node_s *N;

static const char OBJECT[] = "0f/1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0.file";
static const char CONTENT[] = "what the object holds";

/* As g_input_stream_read_all(). */
static ssize_t read_stream(void *file, void *buf, size_t count)
{
	const char **rest = file;
	size_t len = strlen(*rest);
	if (count > len)
		count = len;
	memcpy(buf, *rest, count);
	*rest += count;
	return (ssize_t)count;
}

/* One write(2) a call, which may be short. */
static ssize_t write_fd(void *file, void *buf, size_t count)
{
	return write((int)(intptr_t)file, buf, count > 5000 ? 5000 : count);
}

static ssize_t disk_full(void *file, void *buf, size_t count)
{
	(void)file, (void)buf, (void)count;
	errno = ENOSPC;
	return -1;
}

static N add(N parent, const char *name)
{
	CHECK(lcfs_node_lookup_child(parent, name) == NULL);
	N node = lcfs_node_new();
	CHECK(node != NULL && lcfs_node_add_child(parent, node, name) == 0);
	return node;
}

static N directory(N parent, const char *name, const char *label)
{
	N node = add(parent, name);
	CHECK(lcfs_node_get_mode(node) == 0);
	lcfs_node_set_mode(node, S_IFDIR | 0755);
	lcfs_node_set_uid(node, 0);
	lcfs_node_set_gid(node, 0);
	if (label)
		CHECK(lcfs_node_set_xattr(node, "security.selinux", label, strlen(label) + 1) == 0);
	return node;
}

static N file(N parent, const char *name, size_t size, int digest)
{
	N node = add(parent, name);
	lcfs_node_set_mode(node, S_IFREG | 0644);
	lcfs_node_set_uid(node, 1000);
	lcfs_node_set_gid(node, 1001);
	lcfs_node_set_size(node, size);
	if (size > 0)
		CHECK(lcfs_node_set_payload(node, OBJECT) == 0);
	if (size > 0 && digest) {
		const char *rest = CONTENT;
		CHECK(lcfs_node_set_fsverity_from_content(node, &rest, read_stream) == 0);
	}
	CHECK(lcfs_node_set_xattr(node, "user.foo", "bar", 3) == 0);
	return node;
}

static N commit(int digests)
{
	N dest = lcfs_node_new();
	lcfs_node_set_mode(dest, S_IFDIR | 0755);
	N root = directory(dest, "root", NULL);
	N usr = directory(root, "usr", "label");
	file(usr, "file", strlen(CONTENT), digests);
	file(usr, "empty", 0, digests);
	N link = add(usr, "link");
	lcfs_node_set_mode(link, S_IFLNK | 0777);
	lcfs_node_set_size(link, 0);
	CHECK(lcfs_node_set_payload(link, "file") == 0);
	CHECK(lcfs_node_get_mode(lcfs_node_lookup_child(root, "usr")) != 0);
	const char *more[] = { "etc", "boot", "var", "sysroot" };
	for (size_t i = 0; i < sizeof more / sizeof *more; i++)
		directory(root, more[i], NULL);
	return dest;
}

static void mounted(void)
{
	const char *objects[] = { "objects", NULL };
	char text[100];
	CHECK(mkdir("target", 0755) == 0 && mkdir("private", 0) == 0 && mkdir("private/lower", 0700) == 0);
	struct lcfs_mount_options_s o = { .objdirs = objects, .n_objdirs = 1, .flags = LCFS_MOUNT_FLAGS_READONLY };
	o.image_mountdir = "private/lower";
	CHECK(lcfs_mount_image("no.cfs", "target", &o) == -1 && errno == ENOENT);
	CHECK(lcfs_mount_image("empty", "target", &o) == -1 && errno == EINVAL);
	CHECK(lcfs_mount_image(".ostree.cfs", "target", &o) == 0);
	int fd = open("target/usr/link", O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0 && read(fd, text, sizeof text) == (ssize_t)strlen(CONTENT) && memcmp(text, CONTENT, strlen(CONTENT)) == 0);
	close(fd);
	CHECK(open("target/new", O_CREAT | O_WRONLY | O_CLOEXEC, 0600) == -1 && errno == EROFS);
	CHECK(umount("target") == 0);
	/* Nothing stays at the private place, and it stays itself. */
	CHECK(umount("private/lower") == -1 && errno == EINVAL);

	/* A transient root. */
	CHECK(mkdir("upper", 0755) == 0 && mkdir("work", 0755) == 0);
	o.upperdir = "upper", o.workdir = "work", o.flags = 0;
	fd = open(".ostree.cfs", O_RDONLY | O_CLOEXEC);
	CHECK(lcfs_mount_fd(fd, "target", &o) == 0);
	close(fd);
	fd = open("target/usr/new", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	CHECK(fd >= 0);
	close(fd);
	CHECK(umount("target") == 0 && access("upper/usr/new", F_OK) == 0);
	o.upperdir = o.workdir = NULL;

	/* Verified: the object has no fs-verity. */
	o.flags = LCFS_MOUNT_FLAGS_READONLY | LCFS_MOUNT_FLAGS_REQUIRE_VERITY;
	CHECK(lcfs_mount_image(".ostree.cfs", "target", &o) == 0);
	CHECK(open("target/usr/file", O_RDONLY | O_CLOEXEC) == -1 && errno == EIO);
	CHECK(umount("target") == 0);
	o.expected_fsverity_digest = "abababababababababababababababababababababababababababababababab";
	CHECK(lcfs_mount_image(".ostree.cfs", "target", &o) == -1 && errno == ENOVERITY);
	CHECK(umount("target") == -1 && errno == EINVAL);
	CHECK(rmdir("private/lower") == 0);
}

int main(int argc, char **argv)
{
	if (argc < 2 || chdir(argv[1]) != 0)
		return 2;
	uint8_t recorded[32], checked_out[32], without[32];
	N dest = commit(1);
	N root = lcfs_node_lookup_child(dest, "root");
	struct lcfs_write_options_s o = { .format = LCFS_FORMAT_EROFS, .version = 0, .max_version = 1, .digest_out = recorded };
	CHECK(lcfs_write_to(root, &o) == 0 && o.version == 0);
	int fd = open(".ostree.cfs", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	o = (struct lcfs_write_options_s){ .max_version = 1, .digest_out = checked_out, .file_write_cb = write_fd };
	o.file = (void *)(intptr_t)fd;
	CHECK(lcfs_write_to(root, &o) == 0);
	CHECK(memcmp(recorded, checked_out, 32) == 0);
	CHECK(lcfs_fd_get_fsverity(checked_out, fd) == 0 && memcmp(recorded, checked_out, 32) == 0);
	close(fd);
	o.file_write_cb = disk_full;
	CHECK(lcfs_write_to(root, &o) == -1 && errno == ENOSPC);
	lcfs_node_unref(dest);
	dest = commit(0);
	o = (struct lcfs_write_options_s){ .max_version = 1, .digest_out = without };
	CHECK(lcfs_write_to(lcfs_node_lookup_child(dest, "root"), &o) == 0 && memcmp(recorded, without, 32) != 0);
	lcfs_node_unref(dest);
	for (int i = 0; i < 32; i++)
		printf("%02x", recorded[i]);
	printf("\n");
	fflush(stdout);

	close(open("empty", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
	CHECK(mkdir("objects", 0755) == 0 && mkdir("objects/0f", 0755) == 0);
	char path[200];
	snprintf(path, sizeof path, "objects/%s", OBJECT);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	CHECK(write(fd, CONTENT, strlen(CONTENT)) == (ssize_t)strlen(CONTENT));
	close(fd);
	if (argc > 2)
		mounted();
	return 0;
}
