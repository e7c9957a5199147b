/* Builds a tree of as many entries as the second argument says, then writes its image to the file of the first argument several times,
 * as ostree does. Prints the seconds of one write, and how often the callback was called. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <libcomposefs/lcfs-writer.h>

static unsigned long calls;

static ssize_t write_fd(void *file, void *buf, size_t count)
{
	calls++;
	return write((int)(intptr_t)file, buf, count);
}

static struct lcfs_node_s *add(struct lcfs_node_s *parent, const char *name, uint32_t mode)
{
	struct lcfs_node_s *node = lcfs_node_new();
	if (node == NULL || lcfs_node_add_child(parent, node, name) != 0)
		exit(1);
	lcfs_node_set_mode(node, mode);
	lcfs_node_set_xattr(node, "security.selinux", "system_u:object_r:usr_t:s0", 27);
	return node;
}

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	long entries = atol(argv[2]), made = 1;
	char name[100], payload[100];
	uint8_t digest[32];
	struct lcfs_node_s *root = lcfs_node_new(), *dir = NULL;
	lcfs_node_set_mode(root, S_IFDIR | 0755);
	for (; made < entries; made++) {
		if (made % 30 == 1) {
			snprintf(name, sizeof name, "package-%ld", made);
			dir = add(root, name, S_IFDIR | 0755);
			continue;
		}
		snprintf(name, sizeof name, "file-with-a-name-%ld.txt", made);
		struct lcfs_node_s *file = add(dir, name, S_IFREG | 0644);
		lcfs_compute_fsverity_from_data(digest, (uint8_t *)name, strlen(name));
		lcfs_node_set_size(file, 1000 + (uint64_t)made);
		int len = 0;
		for (int i = 0; i < 32; i++)
			len += snprintf(payload + len, sizeof payload - (size_t)len, i == 0 ? "%02x/" : "%02x", digest[i]);
		snprintf(payload + len, sizeof payload - (size_t)len, ".file");
		lcfs_node_set_payload(file, payload);
		lcfs_node_set_fsverity_digest(file, digest);
	}
	double best = 1e9;
	for (int round = 0; round < 5; round++) {
		int fd = open(argv[1], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
		struct lcfs_write_options_s o = { .max_version = 1, .digest_out = digest, .file = (void *)(intptr_t)fd };
		o.file_write_cb = write_fd;
		calls = 0;
		double start = now();
		if (lcfs_write_to(root, &o) != 0)
			return 1;
		double took = now() - start;
		best = took < best ? took : best;
		close(fd);
	}
	printf("%.6f %lu\n", best, calls);
	lcfs_node_unref(root);
	return 0;
}
