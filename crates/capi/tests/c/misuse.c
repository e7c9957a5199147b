/* What a program must not do, and may do by mistake: each is an error, and nothing crashes, hangs or leaks. The last lines are for what
 * the C library gets wrong. Arguments: an empty directory; "quick". */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <libcomposefs/lcfs-mount.h>
#include <libcomposefs/lcfs-writer.h>

#include "check.h"

typedef struct lcfs_node_s *N;

static int rounds = 20;
#define FAILS(call, number) CHECK((call) == -1 && errno == (number))
#define IS_NULL(call, number) CHECK((call) == NULL && errno == (number))

static N make(N parent, const char *name, uint32_t mode)
{
	N node = lcfs_node_new();
	CHECK(lcfs_node_add_child(parent, node, name) == 0);
	lcfs_node_set_mode(node, mode);
	return node;
}

static N directory(void)
{
	N node = lcfs_node_new();
	lcfs_node_set_mode(node, S_IFDIR | 0755);
	return node;
}

static int digest_of(N root, uint8_t *digest)
{
	struct lcfs_write_options_s options = { .max_version = 1, .digest_out = digest };
	return lcfs_write_to(root, &options);
}

static ssize_t too_much(void *file, void *buf, size_t count)
{
	(void)file, (void)buf;
	return (ssize_t)count + 1;
}

static ssize_t failing_silently(void *file, void *buf, size_t count)
{
	(void)file, (void)buf, (void)count;
	return -1;
}

static ssize_t append(void *file, void *buf, size_t count)
{
	struct iovec_like { uint8_t *data; size_t len; } *to = file;
	to->data = realloc(to->data, to->len + count);
	memcpy(to->data + to->len, buf, count);
	to->len += count;
	return (ssize_t)count;
}

static void nulls(void)
{
	uint8_t digest[32];
	struct timespec t = { 0 };
	N n = directory();
	IS_NULL(lcfs_node_ref(NULL), EINVAL);
	lcfs_node_unref(NULL);
	IS_NULL(lcfs_node_clone(NULL), EINVAL);
	IS_NULL(lcfs_node_clone_deep(NULL), EINVAL);
	IS_NULL(lcfs_load_node_from_file(AT_FDCWD, NULL, 0), EINVAL);
	IS_NULL(lcfs_build(AT_FDCWD, NULL, 0, NULL), EINVAL);
	IS_NULL(lcfs_load_node_from_image(NULL, 4096), EINVAL);
	FAILS(lcfs_write_to(NULL, NULL), EINVAL);
	FAILS(lcfs_write_to(n, NULL), EINVAL);
	FAILS(lcfs_mount_image(NULL, NULL, NULL), EINVAL);
	FAILS(lcfs_mount_fd(0, NULL, NULL), EINVAL);
	IS_NULL(lcfs_node_lookup_child(NULL, "a"), EINVAL);
	IS_NULL(lcfs_node_lookup_child(n, NULL), EINVAL);
	IS_NULL(lcfs_node_get_parent(NULL), EINVAL);
	FAILS(lcfs_node_add_child(NULL, n, "a"), EINVAL);
	FAILS(lcfs_node_add_child(n, NULL, "a"), EINVAL);
	FAILS(lcfs_node_add_child(n, n, NULL), EINVAL);
	IS_NULL(lcfs_node_get_name(NULL), EINVAL);
	CHECK(lcfs_node_get_n_children(NULL) == 0);
	IS_NULL(lcfs_node_get_child(NULL, 0), EINVAL);
	IS_NULL(lcfs_node_get_child(n, SIZE_MAX), EINVAL);
	lcfs_node_make_hardlink(NULL, n);
	lcfs_node_make_hardlink(n, NULL);
	IS_NULL(lcfs_node_get_hardlink_target(NULL), EINVAL);
	CHECK(!lcfs_node_dirp(NULL));
	CHECK(lcfs_node_get_mode(NULL) == 0 && lcfs_node_get_uid(NULL) == 0 && lcfs_node_get_gid(NULL) == 0);
	CHECK(lcfs_node_get_nlink(NULL) == 0 && lcfs_node_get_size(NULL) == 0);
	CHECK(lcfs_node_get_rdev(NULL) == 0 && lcfs_node_get_rdev64(NULL) == 0);
	lcfs_node_set_mode(NULL, 0), lcfs_node_set_uid(NULL, 0), lcfs_node_set_gid(NULL, 0), lcfs_node_set_nlink(NULL, 0);
	lcfs_node_set_size(NULL, 0), lcfs_node_set_rdev(NULL, 0), lcfs_node_set_rdev64(NULL, 0);
	FAILS(lcfs_node_try_set_mode(NULL, S_IFREG), EINVAL);
	lcfs_node_get_mtime(NULL, &t), lcfs_node_get_mtime(n, NULL), lcfs_node_set_mtime(NULL, &t), lcfs_node_set_mtime(n, NULL);
	IS_NULL(lcfs_node_get_xattr(NULL, "a", NULL), EINVAL);
	IS_NULL(lcfs_node_get_xattr(n, NULL, NULL), EINVAL);
	FAILS(lcfs_node_set_xattr(NULL, "a", "", 0), EINVAL);
	FAILS(lcfs_node_set_xattr(n, NULL, "", 0), EINVAL);
	FAILS(lcfs_node_set_xattr(n, "a", NULL, 1), EINVAL);
	FAILS(lcfs_node_unset_xattr(NULL, "a"), EINVAL);
	FAILS(lcfs_node_unset_xattr(n, NULL), EINVAL);
	CHECK(lcfs_node_get_n_xattr(NULL) == 0);
	IS_NULL(lcfs_node_get_xattr_name(NULL, 0), EINVAL);
	CHECK(lcfs_node_get_xattr_name(n, SIZE_MAX) == NULL);
	IS_NULL(lcfs_node_get_payload(NULL), EINVAL);
	FAILS(lcfs_node_set_payload(NULL, "a"), EINVAL);
	FAILS(lcfs_node_set_symlink_payload(NULL, "a"), EINVAL);
	FAILS(lcfs_node_set_symlink_payload(n, NULL), EINVAL);
	IS_NULL(lcfs_node_get_content(NULL), EINVAL);
	FAILS(lcfs_node_set_content(NULL, (const uint8_t *)"a", 1), EINVAL);
	FAILS(lcfs_node_set_content(n, NULL, 1), EINVAL);
	FAILS(lcfs_node_set_from_content(NULL, AT_FDCWD, "a", 0), EINVAL);
	FAILS(lcfs_node_set_from_content(n, AT_FDCWD, NULL, 0), EINVAL);
	IS_NULL(lcfs_node_get_fsverity_digest(NULL), EINVAL);
	lcfs_node_set_fsverity_digest(NULL, digest), lcfs_node_set_fsverity_digest(n, NULL);
	CHECK(lcfs_node_get_fsverity_digest(n) == NULL);
	FAILS(lcfs_node_set_fsverity_from_content(n, NULL, NULL), EINVAL);
	FAILS(lcfs_node_set_fsverity_from_fd(NULL, 0), EINVAL);
	FAILS(lcfs_compute_fsverity_from_content(digest, NULL, NULL), EINVAL);
	FAILS(lcfs_compute_fsverity_from_data(NULL, digest, 1), EINVAL);
	FAILS(lcfs_compute_fsverity_from_data(digest, NULL, 1), EINVAL);
	CHECK(lcfs_fd_measure_fsverity(digest, -1) == -EBADF);
	CHECK(lcfs_fd_get_fsverity(digest, -1) == -EBADF);
	CHECK(lcfs_fd_enable_fsverity(-1) == -EBADF);
	lcfs_node_unref(n);
}

static void ownership(void)
{
	/* A reference that the caller has not got any more. */
	N root = directory();
	N child = make(root, "child", S_IFREG | 0600);
	lcfs_node_unref(child);
	lcfs_node_unref(child);
	CHECK(lcfs_node_lookup_child(root, "child") == child);
	CHECK(lcfs_node_get_parent(child) == root);
	/* One that it has again. */
	CHECK(lcfs_node_ref(child) == child);
	lcfs_node_unref(root);
	CHECK(lcfs_node_get_mode(child) == (S_IFREG | 0600));
	CHECK(lcfs_node_get_parent(child) == NULL);
	/* It may be put elsewhere. */
	root = directory();
	CHECK(lcfs_node_add_child(root, child, "again") == 0);
	lcfs_node_unref(root);

	/* A tree that would hold itself. */
	root = directory();
	N a = make(root, "a", S_IFDIR | 0755);
	N b = make(a, "b", S_IFDIR | 0755);
	FAILS(lcfs_node_add_child(b, root, "root"), EINVAL);
	FAILS(lcfs_node_add_child(root, root, "root"), EINVAL);
	FAILS(lcfs_node_add_child(b, a, "a"), EMLINK);
	lcfs_node_unref(root);
}

static void names(void)
{
	N root = directory();
	N n = lcfs_node_new();
	FAILS(lcfs_node_add_child(root, n, "."), EINVAL);
	FAILS(lcfs_node_add_child(root, n, ".."), EINVAL);
	FAILS(lcfs_node_add_child(root, n, "a/b"), EINVAL);
	FAILS(lcfs_node_add_child(root, n, "/"), EINVAL);
	CHECK(lcfs_node_add_child(root, n, "...") == 0);
	lcfs_node_unref(root);
}

static void links(void)
{
	uint8_t digest[32];
	N root = directory();
	N self = make(root, "self", S_IFREG | 0600);
	lcfs_node_make_hardlink(self, self);
	FAILS(digest_of(root, digest), EINVAL);
	lcfs_node_unref(root);

	root = directory();
	N a = make(root, "a", S_IFREG | 0600), b = make(root, "b", S_IFREG | 0600), c = make(root, "c", S_IFREG | 0600);
	lcfs_node_make_hardlink(a, b);
	lcfs_node_make_hardlink(b, c);
	lcfs_node_make_hardlink(c, a);
	FAILS(digest_of(root, digest), EINVAL);
	lcfs_node_unref(root);

	root = directory();
	N dir = make(root, "dir", S_IFDIR | 0755);
	N below = make(dir, "below", S_IFREG | 0600);
	lcfs_node_make_hardlink(below, dir);
	FAILS(digest_of(root, digest), EINVAL);
	N twin = make(root, "twin", S_IFDIR | 0755);
	lcfs_node_make_hardlink(twin, dir);
	lcfs_node_unref(root);

	/* A directory as a link to a file: what it holds would be lost. */
	root = directory();
	N file = make(root, "file", S_IFREG | 0600);
	dir = make(root, "dir", S_IFDIR | 0755);
	make(dir, "below", S_IFREG | 0600);
	CHECK(digest_of(root, digest) == 0);
	lcfs_node_make_hardlink(dir, file);
	FAILS(digest_of(root, digest), EINVAL);
	lcfs_node_unref(root);
}

static void contents(const char *dir)
{
	uint8_t digest[32];
	static char big[40000];
	struct lcfs_write_options_s options = { .max_version = 1, .file_write_cb = too_much };
	N root = directory();
	FAILS(lcfs_write_to(root, &options), EIO);
	options.file_write_cb = failing_silently;
	FAILS(lcfs_write_to(root, &options), EIO);
	FAILS(lcfs_compute_fsverity_from_content(digest, NULL, too_much), ENODATA);
	N n = make(root, "n", S_IFREG | 0600);
	FAILS(lcfs_node_set_symlink_payload(n, "target"), EINVAL);
	lcfs_node_set_mode(n, S_IFLNK | 0777);
	FAILS(digest_of(root, digest), EINVAL);
	CHECK(lcfs_node_set_payload(n, "") == 0);
	FAILS(digest_of(root, digest), EINVAL);
	CHECK(lcfs_node_set_symlink_payload(n, "target") == 0);
	CHECK(digest_of(root, digest) == 0);
	/* A symlink is as long as its target, whatever size it was given. */
	uint8_t same[LCFS_DIGEST_SIZE];
	lcfs_node_set_size(n, 1ull << 32);
	CHECK(digest_of(root, same) == 0 && memcmp(same, digest, sizeof same) == 0);
	/* A value that is too large leaves the one that was there. */
	CHECK(lcfs_node_set_xattr(n, "user.x", "kept", 4) == 0);
	FAILS(lcfs_node_set_xattr(n, "user.x", big, sizeof big), ERANGE);
	CHECK(lcfs_node_get_xattr(n, "user.x", NULL) != NULL && memcmp(lcfs_node_get_xattr(n, "user.x", NULL), "kept", 4) == 0);
	/* A directory has no content; a file no children. */
	lcfs_node_unref(root);
	root = directory();
	n = make(root, "n", S_IFDIR | 0755);
	make(n, "below", S_IFREG | 0600);
	lcfs_node_set_mode(n, S_IFREG | 0644);
	FAILS(digest_of(root, digest), EINVAL);
	lcfs_node_unref(root);
	/* A file that has become shorter than its node says. */
	char path[5000];
	snprintf(path, sizeof path, "%s/short", dir);
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	CHECK(write(fd, "abc", 3) == 3);
	close(fd);
	n = lcfs_node_new();
	lcfs_node_set_mode(n, S_IFREG | 0600);
	lcfs_node_set_size(n, 10);
	FAILS(lcfs_node_set_from_content(n, AT_FDCWD, path, 0), ENODATA);
	lcfs_node_set_size(n, 3);
	CHECK(lcfs_node_set_from_content(n, AT_FDCWD, path, 0) == 0);
	lcfs_node_unref(n);
}

static void mounts(const char *dir)
{
	const char *objects[] = { dir, NULL };
	struct lcfs_mount_options_s o = { .objdirs = objects, .n_objdirs = 2 };
	char path[5000];
	snprintf(path, sizeof path, "%s/short", dir);
	FAILS(lcfs_mount_image(path, dir, &o), EINVAL);
	o.n_objdirs = 1;
	o.objdirs = NULL;
	FAILS(lcfs_mount_image(path, dir, &o), EINVAL);
	o.objdirs = objects;
	/* The C library compares the digits that are there, and zeros. */
	const char *digests[] = { "", "ab", "abababababababababababababababababababababababababababababababa", "zz" };
	for (size_t i = 0; i < sizeof digests / sizeof *digests; i++) {
		o.expected_fsverity_digest = digests[i];
		FAILS(lcfs_mount_image(path, dir, &o), EINVAL);
	}
	/* The directory that was given for the image stays. */
	char at[5000];
	snprintf(at, sizeof at, "%s/at", dir);
	CHECK(mkdir(at, 0700) == 0);
	o.expected_fsverity_digest = NULL;
	o.image_mountdir = at;
	FAILS(lcfs_mount_image(path, dir, &o), EINVAL);
	CHECK(rmdir(at) == 0);
}

/* Deeper than a stack could follow. */
static void depth(int levels)
{
	uint8_t digest[32], same[32];
	N root = directory(), at = root;
	for (int i = 0; i < levels; i++)
		at = make(at, "d", S_IFDIR | 0755);
	CHECK(digest_of(root, digest) == 0);
	N copy = lcfs_node_clone_deep(root);
	lcfs_node_unref(root);
	CHECK(digest_of(copy, same) == 0 && memcmp(digest, same, 32) == 0);
	lcfs_node_unref(copy);
}

/* Every byte of an image changed: it is refused, or it is a tree. */
static void damaged(size_t step)
{
	struct { uint8_t *data; size_t len; } image = { 0 };
	N root = directory();
	N dir = make(root, "dir", S_IFDIR | 0750);
	N file = make(dir, "file", S_IFREG | 0600);
	lcfs_node_set_xattr(file, "user.x", "y", 1);
	lcfs_node_set_content(file, (const uint8_t *)"content", 7);
	lcfs_node_make_hardlink(make(root, "hard", S_IFREG | 0600), file);
	lcfs_node_set_symlink_payload(make(root, "link", S_IFLNK | 0777), "target");
	struct lcfs_write_options_s options = { .max_version = 1, .file = &image, .file_write_cb = append };
	CHECK(lcfs_write_to(root, &options) == 0);
	lcfs_node_unref(root);
	int refused = 0, loaded = 0;
	for (size_t i = 0; i < image.len; i += step) {
		image.data[i] ^= 1 << (i % 8);
		N n = lcfs_load_node_from_image(image.data, image.len);
		if (n == NULL)
			refused++;
		else
			loaded++;
		lcfs_node_unref(n);
		image.data[i] ^= 1 << (i % 8);
	}
	for (size_t len = 0; len < image.len; len += 97)
		CHECK(lcfs_load_node_from_image(image.data, len) == NULL && errno == EINVAL);
	CHECK(refused > 10 && loaded > 10);
	printf("%d damaged images refused, %d loaded\n", refused, loaded);

	/* A hole of a terabyte behind the image is not read. */
	FILE *stored = tmpfile();
	CHECK(stored != NULL && fwrite(image.data, 1, image.len, stored) == image.len && fflush(stored) == 0);
	int fd = fileno(stored);
	CHECK(ftruncate(fd, (off_t)1 << 40) == 0);
	N whole = lcfs_load_node_from_fd(fd);
	CHECK(whole != NULL);
	lcfs_node_unref(whole);
	/* Something of a terabyte that is no image, and an image that says more than there is. */
	CHECK(pwrite(fd, "\0", 1, 1024) == 1);
	CHECK(lcfs_load_node_from_fd(fd) == NULL && errno == EINVAL);
	CHECK(pwrite(fd, image.data + 1024, 1, 1024) == 1 && pwrite(fd, "\377\377\377\377", 4, 1024 + 36) == 4);
	CHECK(ftruncate(fd, (off_t)image.len) == 0);
	CHECK(lcfs_load_node_from_fd(fd) == NULL && errno == EINVAL);
	fclose(stored);
	free(image.data);
}

static void *thread(void *digest)
{
	for (int round = 0; round < rounds; round++) {
		N root = directory();
		for (int i = 0; i < 300; i++) {
			char name[20];
			snprintf(name, sizeof name, "f%d", i);
			N n = make(root, name, S_IFREG | 0600);
			lcfs_node_set_size(n, 100 + (unsigned)i);
			lcfs_node_set_payload(n, name);
			lcfs_node_set_xattr(n, "user.x", name, strlen(name));
		}
		CHECK(digest_of(root, digest) == 0);
		lcfs_node_unref(root);
	}
	return NULL;
}

static void threads(void)
{
	pthread_t all[8];
	uint8_t digests[8][32];
	for (int i = 0; i < 8; i++)
		if (pthread_create(&all[i], NULL, thread, digests[i]) != 0)
			exit(1);
	for (int i = 0; i < 8; i++)
		pthread_join(all[i], NULL);
	for (int i = 1; i < 8; i++)
		CHECK(memcmp(digests[0], digests[i], 32) == 0);
}

int main(int argc, char **argv)
{
	if (argc < 2)
		return 2;
	/* Under valgrind everything takes fifty times as long. */
	int is_quick = argc > 2;
	rounds = is_quick ? 2 : rounds;
	nulls();
	ownership();
	names();
	links();
	contents(argv[1]);
	mounts(argv[1]);
	depth(is_quick ? 2000 : 20000);
	damaged(is_quick ? 41 : 1);
	threads();
	printf("%d checks\n", checks);
	return 0;
}
