/* The functions that ask the kernel for fs-verity, and mounts that demand it. Prints whether the file system of the directory has it:
 * then everything is tried, else that it is told to be missing. Arguments: an empty directory; "mount", which needs root. */
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

static const char CONTENT[] = "a content that the kernel will check";

static int file(const char *name, const void *bytes, size_t len)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	CHECK(fd >= 0 && write(fd, bytes, len) == (ssize_t)len);
	close(fd);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0);
	return fd;
}

static ssize_t write_fd(void *file, void *buf, size_t count)
{
	return write((int)(intptr_t)file, buf, count);
}

static void hex(char *to, const uint8_t *digest)
{
	for (int i = 0; i < LCFS_DIGEST_SIZE; i++)
		sprintf(to + 2 * i, "%02x", digest[i]);
}

/* An image of one file, whose object is where its digest says. */
static void make_image(const uint8_t *object, uint8_t *digest, int sealed)
{
	char path[100], name[70];
	hex(name, object);
	CHECK(mkdir("objects", 0755) == 0);
	snprintf(path, sizeof path, "objects/%.2s", name);
	CHECK(mkdir(path, 0755) == 0);
	snprintf(path, sizeof path, "objects/%.2s/%s", name, name + 2);
	int fd = file(path, CONTENT, strlen(CONTENT));
	if (sealed)
		CHECK(lcfs_fd_enable_fsverity(fd) == 0);
	close(fd);
	struct lcfs_node_s *root = lcfs_node_new(), *node = lcfs_node_new();
	lcfs_node_set_mode(root, S_IFDIR | 0755);
	lcfs_node_set_mode(node, S_IFREG | 0644);
	lcfs_node_set_size(node, strlen(CONTENT));
	CHECK(lcfs_node_set_payload(node, path + strlen("objects/")) == 0);
	lcfs_node_set_fsverity_digest(node, (uint8_t *)object);
	CHECK(lcfs_node_add_child(root, node, "file") == 0);
	fd = open("image", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	struct lcfs_write_options_s o = { .max_version = 1, .digest_out = digest, .file = (void *)(intptr_t)fd };
	o.file_write_cb = write_fd;
	CHECK(lcfs_write_to(root, &o) == 0);
	close(fd);
	lcfs_node_unref(root);
	fd = open("image", O_RDONLY | O_CLOEXEC);
	if (sealed)
		CHECK(lcfs_fd_enable_fsverity(fd) == 0);
	close(fd);
}

static void mounts(const uint8_t *digest, int sealed)
{
	const char *objects[] = { "objects" };
	char right[70], wrong[70], text[100];
	hex(right, digest);
	strcpy(wrong, right);
	wrong[63] = wrong[63] == '0' ? '1' : '0';
	struct lcfs_mount_options_s o = { .objdirs = objects, .n_objdirs = 1 };
	o.flags = LCFS_MOUNT_FLAGS_REQUIRE_VERITY | LCFS_MOUNT_FLAGS_READONLY;
	o.expected_fsverity_digest = right;
	CHECK(mkdir("target", 0755) == 0);
	if (!sealed) {
		CHECK(lcfs_mount_image("image", "target", &o) == -1 && errno == ENOVERITY);
		return;
	}
	CHECK(lcfs_mount_image("image", "target", &o) == 0);
	int fd = open("target/file", O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0 && read(fd, text, sizeof text) == (ssize_t)strlen(CONTENT));
	CHECK(memcmp(text, CONTENT, strlen(CONTENT)) == 0);
	close(fd);
	CHECK(umount("target") == 0);
	/* In every digit. */
	for (int i = 0; i < 64; i++) {
		strcpy(wrong, right);
		wrong[i] = wrong[i] == '0' ? '1' : '0';
		o.expected_fsverity_digest = wrong;
		CHECK(lcfs_mount_image("image", "target", &o) == -1 && errno == EWRONGVERITY);
	}
	o.flags = LCFS_MOUNT_FLAGS_TRY_VERITY;
	o.expected_fsverity_digest = NULL;
	fd = open("image", O_RDONLY | O_CLOEXEC);
	CHECK(lcfs_mount_fd(fd, "target", &o) == 0);
	close(fd);
	CHECK(umount("target") == 0);
}

int main(int argc, char **argv)
{
	uint8_t computed[32], digest[32];
	if (argc < 2 || chdir(argv[1]) != 0)
		return 2;
	umask(0);
	CHECK(lcfs_compute_fsverity_from_data(computed, (uint8_t *)CONTENT, strlen(CONTENT)) == 0);
	int fd = file("content", CONTENT, strlen(CONTENT));
	CHECK(lcfs_fd_measure_fsverity(digest, fd) == -ENOVERITY);
	int enabled = lcfs_fd_enable_fsverity(fd), sealed = enabled == 0;
	CHECK(sealed || enabled == -ENOVERITY);
	if (sealed) {
		CHECK(lcfs_fd_measure_fsverity(digest, fd) == 0 && memcmp(digest, computed, 32) == 0);
		CHECK(lcfs_fd_enable_fsverity(fd) == -EEXIST);
	} else {
		CHECK(lcfs_fd_measure_fsverity(digest, fd) == -ENOVERITY);
	}
	memset(digest, 0, sizeof digest);
	lseek(fd, 5, SEEK_SET);
	CHECK(lcfs_fd_get_fsverity(digest, fd) == 0 && memcmp(digest, computed, 32) == 0);
	close(fd);
	/* What is open for writing cannot be sealed. */
	fd = open("other", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	enabled = lcfs_fd_enable_fsverity(fd);
	CHECK(enabled == (sealed ? -ETXTBSY : -ENOVERITY) || enabled == -EBADF || enabled == -EPERM);
	close(fd);
	make_image(computed, digest, sealed);
	if (argc > 2)
		mounts(digest, sealed);
	printf("fs-verity: %s\n", sealed ? "yes" : "no");
	return 0;
}
