/* Calls every function of the library, as it is meant and at its limits, and prints what each answers. The C library's answers are
 * recorded in exercise.expected. Argument: an empty directory. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <libcomposefs/lcfs-erofs.h>
#include <libcomposefs/lcfs-mount.h>
#include <libcomposefs/lcfs-writer.h>

typedef struct lcfs_node_s *N;

/* Where the members of the structures are that programs were built with. */
#ifdef __LP64__
#define AT(type, member, offset) _Static_assert(offsetof(struct type, member) == (offset), #member)
AT(lcfs_write_options_s, format, 0);
AT(lcfs_write_options_s, version, 4);
AT(lcfs_write_options_s, flags, 8);
AT(lcfs_write_options_s, digest_out, 16);
AT(lcfs_write_options_s, file, 24);
AT(lcfs_write_options_s, file_write_cb, 32);
AT(lcfs_write_options_s, max_version, 40);
AT(lcfs_write_options_s, reserved, 44);
AT(lcfs_write_options_s, reserved2, 56);
_Static_assert(sizeof(struct lcfs_write_options_s) == 88, "size");
AT(lcfs_read_options_s, toplevel_entries, 0);
AT(lcfs_read_options_s, reserved, 8);
AT(lcfs_read_options_s, reserved2, 24);
_Static_assert(sizeof(struct lcfs_read_options_s) == 56, "size");
AT(lcfs_mount_options_s, objdirs, 0);
AT(lcfs_mount_options_s, n_objdirs, 8);
AT(lcfs_mount_options_s, workdir, 16);
AT(lcfs_mount_options_s, upperdir, 24);
AT(lcfs_mount_options_s, expected_fsverity_digest, 32);
AT(lcfs_mount_options_s, flags, 40);
AT(lcfs_mount_options_s, idmap_fd, 44);
AT(lcfs_mount_options_s, image_mountdir, 48);
AT(lcfs_mount_options_s, reserved, 56);
AT(lcfs_mount_options_s, reserved2, 72);
_Static_assert(sizeof(struct lcfs_mount_options_s) == 104, "size");
#endif
_Static_assert(sizeof(struct lcfs_erofs_header_s) == 32, "size");

static const char *error(void)
{
	switch (errno) {
	case 0: return "0";
	case ENODATA: return "ENODATA";
	case ENOTTY: return "ENOTTY";
	case EOPNOTSUPP: return "EOPNOTSUPP";
	case EINVAL: return "EINVAL";
	case EEXIST: return "EEXIST";
	case ENOTDIR: return "ENOTDIR";
	case EMLINK: return "EMLINK";
	case ENAMETOOLONG: return "ENAMETOOLONG";
	case ENOENT: return "ENOENT";
	case ERANGE: return "ERANGE";
	case EBADF: return "EBADF";
	case EIO: return "EIO";
	case ENOSPC: return "ENOSPC";
	case EFBIG: return "EFBIG";
	case ELOOP: return "ELOOP";
	case EISDIR: return "EISDIR";
	default: return strerror(errno);
	}
}

/* A call that gives a status. */
#define STATUS(call)                                                                                                   \
	do {                                                                                                           \
		errno = 0;                                                                                             \
		int r_ = (call);                                                                                       \
		printf("%s = %d%s%s\n", #call, r_, r_ < 0 ? " " : "", r_ < 0 ? error() : "");                             \
	} while (0)
#define NUMBER(call) printf("%s = %llu\n", #call, (unsigned long long)(call))
#define TEXT(call)                                                                                                     \
	do {                                                                                                           \
		const char *t_ = (const char *)(call);                                                                 \
		printf("%s = %s\n", #call, t_ ? t_ : "(null)");                                                        \
	} while (0)
#define POINTER(call)                                                                                                  \
	do {                                                                                                           \
		errno = 0;                                                                                             \
		const void *p_ = (call);                                                                               \
		printf("%s = %s%s%s\n", #call, p_ ? "set" : "NULL", p_ ? "" : " ", p_ ? "" : error());                 \
	} while (0)
/* A null that is no failure sets no errno that would be promised. */
#define IS_SET(call) printf("%s = %s\n", #call, (call) ? "set" : "NULL")

static void hex(const char *what, const uint8_t *bytes, size_t len)
{
	printf("%s = ", what);
	if (bytes == NULL)
		printf("NULL");
	for (size_t i = 0; bytes != NULL && i < len; i++)
		printf("%02x", bytes[i]);
	printf("\n");
}

static void time_of(const char *what, N node)
{
	struct timespec t;
	lcfs_node_get_mtime(node, &t);
	printf("%s = %lld.%09ld\n", what, (long long)t.tv_sec, (long)t.tv_nsec);
}

struct buffer {
	uint8_t *data;
	size_t len, room, at, most;
	int calls, fail_after;
};

static ssize_t collect(void *file, void *buf, size_t count)
{
	struct buffer *b = file;
	if (b->fail_after >= 0 && b->calls >= b->fail_after) {
		errno = ENOSPC;
		return -1;
	}
	b->calls++;
	if (b->most && count > b->most)
		count = b->most;
	if (b->len + count > b->room) {
		b->room = (b->len + count) * 2;
		b->data = realloc(b->data, b->room);
	}
	memcpy(b->data + b->len, buf, count);
	b->len += count;
	return (ssize_t)count;
}

static ssize_t nothing(void *file, void *buf, size_t count)
{
	(void)file, (void)buf, (void)count;
	return 0;
}

static ssize_t give(void *file, void *buf, size_t count)
{
	struct buffer *b = file;
	if (b->most && count > b->most)
		count = b->most;
	if (count > b->len - b->at)
		count = b->len - b->at;
	memcpy(buf, b->data + b->at, count);
	b->at += count;
	return (ssize_t)count;
}

static ssize_t fail(void *file, void *buf, size_t count)
{
	(void)file, (void)buf, (void)count;
	errno = EIO;
	return -1;
}

static N make(N parent, const char *name, uint32_t mode)
{
	N node = lcfs_node_new();
	if (lcfs_node_add_child(parent, node, name) != 0)
		abort();
	lcfs_node_set_mode(node, mode);
	return node;
}

static void write_image(const char *what, N root, struct buffer *out, uint32_t version, uint32_t max)
{
	uint8_t digest[LCFS_DIGEST_SIZE] = { 0 };
	struct lcfs_write_options_s options = { 0 };
	options.format = LCFS_FORMAT_EROFS;
	options.version = version;
	options.max_version = max;
	options.digest_out = digest;
	if (out != NULL) {
		options.file = out;
		options.file_write_cb = collect;
	}
	errno = 0;
	int r = lcfs_write_to(root, &options);
	printf("%s: %d %s version %u\n", what, r, r < 0 ? error() : "", options.version);
	if (r == 0)
		hex("  digest", digest, sizeof digest);
	if (r == 0 && out != NULL) {
		lcfs_compute_fsverity_from_data(digest, out->data, out->len);
		hex("  of the bytes", digest, sizeof digest);
		printf("  %zu bytes\n", out->len);
	}
}

static void show(N node, const char *path)
{
	struct timespec t;
	lcfs_node_get_mtime(node, &t);
	N target = lcfs_node_get_hardlink_target(node);
	const uint8_t *digest = lcfs_node_get_fsverity_digest(node);
	const uint8_t *content = lcfs_node_get_content(node);
	const char *payload = lcfs_node_get_payload(node);
	printf("  %s %o %u:%u nlink %u size %llu rdev %u time %lld.%ld payload %s content %.*s digest %s%s%s\n", path,
	       lcfs_node_get_mode(node), lcfs_node_get_uid(node), lcfs_node_get_gid(node), lcfs_node_get_nlink(node),
	       (unsigned long long)(lcfs_node_dirp(node) ? 0 : lcfs_node_get_size(node)), lcfs_node_get_rdev(node),
	       (long long)t.tv_sec, t.tv_nsec, payload ? payload : "-", content ? (int)lcfs_node_get_size(node) : 1,
	       content ? (const char *)content : "-", digest ? "set" : "-", target ? " link to " : "",
	       target ? lcfs_node_get_name(target) : "");
	for (size_t i = 0; i < lcfs_node_get_n_xattr(node); i++) {
		size_t len = 0;
		const char *name = lcfs_node_get_xattr_name(node, i);
		const char *value = lcfs_node_get_xattr(node, name, &len);
		printf("    %s=%.*s\n", name, (int)len, value);
	}
	for (size_t i = 0; i < lcfs_node_get_n_children(node); i++) {
		char below[5000];
		N child = lcfs_node_get_child(node, i);
		snprintf(below, sizeof below, "%s/%s", path, lcfs_node_get_name(child));
		show(child, below);
	}
}

static void attributes(void)
{
	printf("# attributes\n");
	N n = lcfs_node_new();
	NUMBER(lcfs_node_get_mode(n));
	NUMBER(lcfs_node_get_nlink(n));
	time_of("mtime", n);
	STATUS(lcfs_node_try_set_mode(n, 0644));
	STATUS(lcfs_node_try_set_mode(n, S_IFREG | 0644));
	NUMBER(lcfs_node_get_mode(n));
	lcfs_node_set_mode(n, 0);
	NUMBER(lcfs_node_get_mode(n));
	NUMBER(lcfs_node_dirp(n));
	lcfs_node_set_mode(n, S_IFDIR | 0755);
	NUMBER(lcfs_node_dirp(n));
	lcfs_node_set_uid(n, 4294967295u);
	NUMBER(lcfs_node_get_uid(n));
	lcfs_node_set_gid(n, 7);
	NUMBER(lcfs_node_get_gid(n));
	lcfs_node_set_nlink(n, 9);
	NUMBER(lcfs_node_get_nlink(n));
	lcfs_node_set_rdev(n, 0x1234);
	NUMBER(lcfs_node_get_rdev(n));
	NUMBER(lcfs_node_get_rdev64(n));
	lcfs_node_set_rdev64(n, 0x500000007ull);
	NUMBER(lcfs_node_get_rdev64(n));
	NUMBER(lcfs_node_get_rdev(n));
	struct timespec t = { -5, 123456789 };
	lcfs_node_set_mtime(n, &t);
	time_of("mtime", n);
	lcfs_node_set_size(n, 1ull << 40);
	NUMBER(lcfs_node_get_size(n));
	IS_SET(lcfs_node_get_name(n));
	IS_SET(lcfs_node_get_parent(n));
	lcfs_node_unref(n);
}

static void xattrs(void)
{
	printf("# xattrs\n");
	size_t len = 77;
	N n = lcfs_node_new();
	static char big[70000];
	memset(big, 'a', sizeof big);
	STATUS(lcfs_node_set_xattr(n, "user.a", "one", 3));
	STATUS(lcfs_node_set_xattr(n, "user.b", "", 0));
	STATUS(lcfs_node_set_xattr(n, "user.c", "x\0y", 3));
	STATUS(lcfs_node_set_xattr(n, "user.d", "last", 4));
	NUMBER(lcfs_node_get_n_xattr(n));
	IS_SET(lcfs_node_get_xattr(n, "user.b", &len));
	NUMBER(len);
	IS_SET(lcfs_node_get_xattr(n, "user.none", NULL));
	printf("%.3s\n", lcfs_node_get_xattr(n, "user.a", NULL));
	STATUS(lcfs_node_unset_xattr(n, "user.b"));
	STATUS(lcfs_node_unset_xattr(n, "user.b"));
	for (size_t i = 0; i < 4; i++)
		TEXT(lcfs_node_get_xattr_name(n, i));
	STATUS(lcfs_node_set_xattr(n, "user.a", "two", 3));
	for (size_t i = 0; i < 4; i++)
		TEXT(lcfs_node_get_xattr_name(n, i));
	printf("%.3s\n", lcfs_node_get_xattr(n, "user.a", &len));
	lcfs_node_unref(n);

	n = lcfs_node_new();
	STATUS(lcfs_node_set_xattr(n, "user.big", big, 32740));
	NUMBER(lcfs_node_get_n_xattr(n));
	STATUS(lcfs_node_set_xattr(n, "user.more", "", 0));
	NUMBER(lcfs_node_get_n_xattr(n));
	lcfs_node_unref(n);
	n = lcfs_node_new();
	STATUS(lcfs_node_set_xattr(n, "user.big", big, 32741));
	STATUS(lcfs_node_set_xattr(n, "user.big", big, 65536));
	char name[300];
	memset(name, 'n', sizeof name);
	memcpy(name, "user.", 5);
	name[256] = 0;
	STATUS(lcfs_node_set_xattr(n, name, "v", 1));
	name[255] = 0;
	STATUS(lcfs_node_set_xattr(n, name, "v", 1));
	STATUS(lcfs_node_set_xattr(n, "", "v", 1));
	NUMBER(lcfs_node_get_n_xattr(n));
	lcfs_node_unref(n);
}

static void tree(void)
{
	printf("# tree\n");
	N root = lcfs_node_new();
	N a = lcfs_node_new();
	STATUS(lcfs_node_add_child(root, a, "a"));
	lcfs_node_set_mode(root, S_IFDIR | 0755);
	STATUS(lcfs_node_add_child(root, a, ""));
	char name[300];
	memset(name, 'n', sizeof name);
	name[256] = 0;
	STATUS(lcfs_node_add_child(root, a, name));
	name[255] = 0;
	STATUS(lcfs_node_add_child(root, a, name));
	STATUS(lcfs_node_add_child(root, a, "again"));
	N b = lcfs_node_new();
	STATUS(lcfs_node_add_child(root, b, name));
	STATUS(lcfs_node_add_child(root, b, "b"));
	lcfs_node_set_mode(b, S_IFDIR | 0700);
	make(root, "A", S_IFREG | 0600);
	make(root, "\xff", S_IFREG | 0600);
	make(root, "Z", S_IFREG | 0600);
	make(root, "bb", S_IFREG | 0600);
	NUMBER(lcfs_node_get_n_children(root));
	for (size_t i = 0; i < lcfs_node_get_n_children(root); i++)
		printf("%.5s ", lcfs_node_get_name(lcfs_node_get_child(root, i)));
	printf("\n");
	IS_SET(lcfs_node_get_child(root, 6));
	IS_SET(lcfs_node_lookup_child(root, "bb"));
	IS_SET(lcfs_node_lookup_child(root, "none"));
	IS_SET(lcfs_node_lookup_child(lcfs_node_lookup_child(root, "bb"), "none"));
	printf("parent is root: %d\n", lcfs_node_get_parent(b) == root);

	N kept = make(b, "kept", S_IFREG | 0600);
	printf("a new reference is the same: %d\n", lcfs_node_ref(kept) == kept);
	N copy = lcfs_node_clone(kept);
	IS_SET(lcfs_node_get_name(copy));
	IS_SET(lcfs_node_get_parent(copy));
	NUMBER(lcfs_node_get_mode(copy));
	lcfs_node_unref(copy);
	copy = lcfs_node_clone(root);
	NUMBER(lcfs_node_get_n_children(copy));
	lcfs_node_unref(copy);
	lcfs_node_unref(root);
	IS_SET(lcfs_node_get_name(kept));
	IS_SET(lcfs_node_get_parent(kept));
	NUMBER(lcfs_node_get_mode(kept));
	lcfs_node_unref(kept);
	lcfs_node_unrefp(&(N){ lcfs_node_new() });
}

static void links(void)
{
	printf("# links\n");
	N root = lcfs_node_new();
	lcfs_node_set_mode(root, S_IFDIR | 0755);
	N file = make(root, "file", S_IFREG | 0600);
	lcfs_node_set_content(file, (const uint8_t *)"hello", 5);
	N l1 = make(root, "l1", S_IFREG | 0600);
	lcfs_node_make_hardlink(l1, file);
	N l2 = make(root, "l2", S_IFREG | 0600);
	lcfs_node_make_hardlink(l2, l1);
	NUMBER(lcfs_node_get_nlink(file));
	NUMBER(lcfs_node_get_nlink(l1));
	TEXT(lcfs_node_get_name(lcfs_node_get_hardlink_target(l1)));
	TEXT(lcfs_node_get_name(lcfs_node_get_hardlink_target(l2)));
	IS_SET(lcfs_node_get_hardlink_target(file));
	N deep = lcfs_node_clone_deep(root);
	N other = lcfs_node_lookup_child(deep, "l1");
	printf("the copy's link leads to the copy: %d\n",
	       lcfs_node_get_hardlink_target(other) == lcfs_node_lookup_child(deep, "file"));
	NUMBER(lcfs_node_get_nlink(lcfs_node_lookup_child(deep, "file")));
	struct buffer out = { .fail_after = -1 };
	write_image("links", root, &out, 0, 1);
	free(out.data);
	write_image("a copy of it", deep, NULL, 0, 1);
	lcfs_node_unref(deep);
	N copy = lcfs_node_clone(l1);
	printf("a copy of the link leads to the file: %d\n", lcfs_node_get_hardlink_target(copy) == file);
	NUMBER(lcfs_node_get_nlink(file));
	lcfs_node_unref(copy);
	NUMBER(lcfs_node_get_nlink(file));

	N outside = lcfs_node_new();
	lcfs_node_set_mode(outside, S_IFREG | 0600);
	N l3 = make(root, "l3", S_IFREG | 0600);
	lcfs_node_make_hardlink(l3, outside);
	write_image("a link to outside", root, NULL, 0, 1);
	lcfs_node_unref(root);
	lcfs_node_unref(outside);
}

static void contents(void)
{
	printf("# contents\n");
	static char long_path[5000];
	memset(long_path, 'p', sizeof long_path);
	static uint8_t big[5001];
	N n = lcfs_node_new();
	lcfs_node_set_mode(n, S_IFREG | 0600);
	IS_SET(lcfs_node_get_payload(n));
	IS_SET(lcfs_node_get_content(n));
	STATUS(lcfs_node_set_payload(n, "ab/cd"));
	TEXT(lcfs_node_get_payload(n));
	long_path[4096] = 0;
	STATUS(lcfs_node_set_payload(n, long_path));
	long_path[4095] = 0;
	STATUS(lcfs_node_set_payload(n, long_path));
	NUMBER(strlen(lcfs_node_get_payload(n)));
	STATUS(lcfs_node_set_payload(n, NULL));
	IS_SET(lcfs_node_get_payload(n));
	STATUS(lcfs_node_set_content(n, big, 5001));
	STATUS(lcfs_node_set_content(n, big, 5000));
	NUMBER(lcfs_node_get_size(n));
	STATUS(lcfs_node_set_content(n, (const uint8_t *)"hello", 5));
	NUMBER(lcfs_node_get_size(n));
	printf("%.5s\n", (const char *)lcfs_node_get_content(n));
	lcfs_node_set_size(n, 5);
	IS_SET(lcfs_node_get_content(n));
	lcfs_node_set_size(n, 6);
	IS_SET(lcfs_node_get_content(n));
	STATUS(lcfs_node_set_content(n, NULL, 0));
	NUMBER(lcfs_node_get_size(n));
	IS_SET(lcfs_node_get_content(n));
	lcfs_node_unref(n);
	n = lcfs_node_new();
	lcfs_node_set_mode(n, S_IFLNK | 0777);
	STATUS(lcfs_node_set_symlink_payload(n, "target"));
	TEXT(lcfs_node_get_payload(n));
	NUMBER(lcfs_node_get_size(n));
	STATUS(lcfs_node_set_symlink_payload(n, ""));
	long_path[4095] = 'p';
	STATUS(lcfs_node_set_symlink_payload(n, long_path));
	lcfs_node_unref(n);
}

static void digests(int dir)
{
	printf("# digests\n");
	uint8_t d[LCFS_DIGEST_SIZE] = { 0 };
	static uint8_t data[100000];
	for (size_t i = 0; i < sizeof data; i++)
		data[i] = (uint8_t)(i * 7 + i / 251);
	const size_t lens[] = { 1, 64, 4095, 4096, 4097, 100000 };
	int fd = openat(dir, "data", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
		struct buffer in = { .data = data, .len = lens[i], .most = 333 };
		STATUS(lcfs_compute_fsverity_from_data(d, data, lens[i]));
		hex("data", d, sizeof d);
		STATUS(lcfs_compute_fsverity_from_content(d, &in, give));
		hex("content", d, sizeof d);
		if (ftruncate(fd, 0) != 0 || pwrite(fd, data, lens[i], 0) != (ssize_t)lens[i])
			abort();
		lseek(fd, 0, SEEK_SET);
		STATUS(lcfs_compute_fsverity_from_fd(d, fd));
		hex("fd", d, sizeof d);
	}
	lseek(fd, 99999, SEEK_SET);
	STATUS(lcfs_compute_fsverity_from_fd(d, fd));
	hex("the last byte", d, sizeof d);
	STATUS(lcfs_compute_fsverity_from_content(d, NULL, fail));
	STATUS(lcfs_compute_fsverity_from_fd(d, -1));
	lseek(fd, 50, SEEK_SET);
	STATUS(lcfs_fd_get_fsverity(d, fd));
	hex("from its start", d, sizeof d);

	N n = lcfs_node_new();
	lcfs_node_set_mode(n, S_IFREG | 0600);
	hex("none yet", lcfs_node_get_fsverity_digest(n), 32);
	lcfs_node_set_fsverity_digest(n, d);
	hex("set", lcfs_node_get_fsverity_digest(n), 32);
	struct buffer in = { .data = data, .len = 10 };
	STATUS(lcfs_node_set_fsverity_from_content(n, &in, give));
	hex("of ten bytes", lcfs_node_get_fsverity_digest(n), 32);
	STATUS(lcfs_node_set_fsverity_from_content(n, NULL, fail));
	lseek(fd, 0, SEEK_SET);
	STATUS(lcfs_node_set_fsverity_from_fd(n, fd));
	hex("of the file", lcfs_node_get_fsverity_digest(n), 32);
	STATUS(lcfs_node_set_fsverity_from_fd(n, -1));
	lcfs_node_unref(n);
	close(fd);
}

static void fill(int dir)
{
	int fd = openat(dir, "small", O_WRONLY | O_CREAT | O_CLOEXEC, 0640);
	if (write(fd, "small", 5) != 5)
		abort();
	fsetxattr(fd, "user.x", "y", 1, 0);
	struct timespec times[2] = { { 3, 4 }, { 1700000000, 123456789 } };
	futimens(fd, times);
	close(fd);
	fd = openat(dir, "large", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	for (int i = 0; i < 2000; i++)
		if (write(fd, "0123456789", 10) != 10)
			abort();
	futimens(fd, times);
	close(fd);
	close(openat(dir, "empty", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	if (symlinkat("small", dir, "link") || linkat(dir, "small", dir, "hard", 0) || mkdirat(dir, "sub", 0751) ||
	    mkfifoat(dir, "sub/fifo", 0604))
		abort();
	fd = openat(dir, "sub", O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	futimens(fd, times);
	close(fd);
	utimensat(dir, "empty", times, 0);
	utimensat(dir, "sub/fifo", times, 0);
	utimensat(dir, "sub", times, 0);
	utimensat(dir, "link", times, AT_SYMLINK_NOFOLLOW);
	utimensat(dir, ".", times, 0);
}

/* The same for whoever runs it, wherever. */
static void normalize(N node)
{
	if (lcfs_node_get_uid(node) == geteuid())
		lcfs_node_set_uid(node, 0);
	if (lcfs_node_get_gid(node) == getegid())
		lcfs_node_set_gid(node, 0);
	if (lcfs_node_get_xattr(node, "security.selinux", NULL) != NULL)
		lcfs_node_unset_xattr(node, "security.selinux");
	for (size_t i = 0; i < lcfs_node_get_n_children(node); i++)
		normalize(lcfs_node_get_child(node, i));
}

static void load_one(int dir, const char *name, int flags)
{
	errno = 0;
	N n = lcfs_load_node_from_file(dir, name, flags);
	printf("load %s with %d: %s\n", name, flags, n ? "" : error());
	if (n == NULL)
		return;
	normalize(n);
	show(n, name);
	lcfs_node_unref(n);
}

static void loading(int dir)
{
	printf("# loading\n");
	const char *names[] = { "small", "large", "empty", "link", "hard", "sub", "sub/fifo", "none" };
	const int flags[] = { 0, LCFS_BUILD_COMPUTE_DIGEST, LCFS_BUILD_NO_INLINE, LCFS_BUILD_BY_DIGEST,
			      LCFS_BUILD_SKIP_XATTRS | LCFS_BUILD_USE_EPOCH,
			      LCFS_BUILD_USER_XATTRS | LCFS_BUILD_COMPUTE_DIGEST | LCFS_BUILD_BY_DIGEST | LCFS_BUILD_NO_INLINE,
			      LCFS_BUILD_SKIP_XATTRS | LCFS_BUILD_USER_XATTRS, 128 };
	for (size_t f = 0; f < sizeof flags / sizeof *flags; f++)
		for (size_t i = 0; i < sizeof names / sizeof *names; i++)
			load_one(dir, names[i], flags[f]);

	for (size_t f = 0; f < sizeof flags / sizeof *flags; f++) {
		char *failed = NULL;
		errno = 0;
		N n = lcfs_build(dir, ".", flags[f], &failed);
		printf("build with %d: %s\n", flags[f], n ? "" : error());
		free(failed);
		if (n == NULL)
			continue;
		normalize(n);
		show(n, "");
		struct buffer out = { .fail_after = -1 };
		write_image("built", n, &out, 0, 1);
		free(out.data);
		lcfs_node_unref(n);
	}
	char *failed = NULL;
	errno = 0;
	N n = lcfs_build(dir, "none", 0, &failed);
	printf("build none: %s %s at %s\n", n ? "set" : "NULL", error(), failed ? failed : "-");
	free(failed);

	n = lcfs_node_new();
	lcfs_node_set_mode(n, S_IFREG | 0644);
	STATUS(lcfs_node_set_from_content(n, dir, "small", 0));
	show(n, "of size 0");
	lcfs_node_set_size(n, 5);
	STATUS(lcfs_node_set_from_content(n, dir, "small", 0));
	show(n, "of its size");
	STATUS(lcfs_node_set_from_content(n, dir, "small", LCFS_BUILD_COMPUTE_DIGEST | LCFS_BUILD_NO_INLINE | LCFS_BUILD_BY_DIGEST));
	show(n, "with all");
	STATUS(lcfs_node_set_from_content(n, dir, "none", 0));
	lcfs_node_unref(n);
}

/* What from_content keeps and replaces of what was set before. */
static void content_over_content(int dir)
{
	printf("# content over content\n");
	const char *names[] = { "small", "large" };
	const int flags[] = { 0, LCFS_BUILD_COMPUTE_DIGEST, LCFS_BUILD_NO_INLINE, LCFS_BUILD_BY_DIGEST,
			      LCFS_BUILD_NO_INLINE | LCFS_BUILD_COMPUTE_DIGEST, LCFS_BUILD_NO_INLINE | LCFS_BUILD_BY_DIGEST,
			      LCFS_BUILD_COMPUTE_DIGEST | LCFS_BUILD_BY_DIGEST };
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		for (size_t f = 0; f < sizeof flags / sizeof *flags; f++) {
			struct stat st;
			if (fstatat(dir, names[i], &st, 0) < 0)
				abort();
			N root = lcfs_node_new();
			lcfs_node_set_mode(root, S_IFDIR | 0755);
			N n = make(root, names[i], S_IFREG | 0644);
			lcfs_node_set_size(n, (uint64_t)st.st_size);
			uint8_t digest[LCFS_DIGEST_SIZE] = { 1, 2, 3 };
			lcfs_node_set_fsverity_digest(n, digest);
			lcfs_node_set_payload(n, "before");
			printf("flags %d: ", flags[f]);
			STATUS(lcfs_node_set_from_content(n, dir, names[i], flags[f]));
			show(n, names[i]);
			struct buffer out = { .fail_after = -1 };
			write_image(names[i], root, &out, 0, 1);
			free(out.data);
			lcfs_node_unref(root);
		}
}

/* A size that was set on a node that has none of its own. A symlink of 2^32 bytes is in misuse.c. */
static void sizes_of_others(void)
{
	printf("# sizes of others\n");
	const uint32_t modes[] = { S_IFLNK | 0777, S_IFIFO | 0644, S_IFCHR | 0600, S_IFDIR | 0755 };
	const uint64_t sizes[] = { 0, 5, 4096, 4294967295u, 4294967296u, 1ull << 40, UINT64_MAX };
	for (size_t m = 0; m < sizeof modes / sizeof *modes; m++)
		for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
			for (int before = S_ISLNK(modes[m]) && sizes[i] > UINT32_MAX; before < (S_ISLNK(modes[m]) ? 2 : 1); before++) {
				N root = lcfs_node_new();
				lcfs_node_set_mode(root, S_IFDIR | 0755);
				N n = make(root, "n", modes[m]);
				if (before)
					lcfs_node_set_size(n, sizes[i]);
				if (S_ISLNK(modes[m]))
					STATUS(lcfs_node_set_symlink_payload(n, "target"));
				if (!before)
					lcfs_node_set_size(n, sizes[i]);
				show(root, "");
				char what[60];
				snprintf(what, sizeof what, "%o of %llu", modes[m], (unsigned long long)sizes[i]);
				struct buffer out = { .fail_after = -1 };
				write_image(what, root, &out, 0, 1);
				free(out.data);
				lcfs_node_unref(root);
			}
}

static N sample(void)
{
	N root = lcfs_node_new();
	lcfs_node_set_mode(root, S_IFDIR | 0755);
	lcfs_node_set_xattr(root, "user.root", "r", 1);
	N dir = make(root, "dir", S_IFDIR | 0750);
	lcfs_node_set_uid(dir, 1000);
	lcfs_node_set_gid(dir, 70000);
	N file = make(dir, "file", S_IFREG | 04755);
	uint8_t digest[32];
	memset(digest, 0xab, sizeof digest);
	lcfs_node_set_size(file, 12345);
	lcfs_node_set_payload(file, "ab/cdefgh");
	lcfs_node_set_fsverity_digest(file, digest);
	struct timespec t = { 1700000000, 987654321 };
	lcfs_node_set_mtime(file, &t);
	lcfs_node_set_xattr(file, "security.selinux", "label", 5);
	lcfs_node_set_xattr(file, "trusted.overlay.opaque", "y", 1);
	N inside = make(dir, "inside", S_IFREG | 0600);
	lcfs_node_set_content(inside, (const uint8_t *)"content", 7);
	N link = make(root, "link", S_IFLNK | 0777);
	lcfs_node_set_size(link, 0);
	lcfs_node_set_payload(link, "dir/file");
	N device = make(root, "null", S_IFCHR | 0666);
	lcfs_node_set_rdev64(device, 259);
	make(root, "fifo", S_IFIFO | 0600);
	make(root, "socket", S_IFSOCK | 0600);
	N hard = make(root, "hard", S_IFREG);
	lcfs_node_make_hardlink(hard, file);
	return root;
}

static void images(int dir)
{
	printf("# images\n");
	N root = sample();
	struct buffer out = { .fail_after = -1 };
	write_image("whole", root, &out, 0, 1);
	write_image("digest only", root, NULL, 0, 1);
	write_image("version 1", root, NULL, 1, 1);
	write_image("a maximum below", root, NULL, 1, 0);
	write_image("version 2", root, NULL, 2, 2);
	write_image("maximum 2", root, NULL, 0, 2);
	N below = lcfs_node_lookup_child(root, "dir");
	write_image("a part of it", below, NULL, 0, 1);
	struct buffer in_pieces = { .fail_after = -1, .most = 1000 };
	write_image("short writes", root, &in_pieces, 0, 1);
	printf("the same bytes: %d\n", in_pieces.len == out.len && memcmp(in_pieces.data, out.data, out.len) == 0);
	struct buffer full = { .fail_after = 0 };
	write_image("a full disk", root, &full, 0, 1);
	free(in_pieces.data);
	struct lcfs_write_options_s options = { 0 };
	options.max_version = 1;
	options.file_write_cb = nothing;
	STATUS(lcfs_write_to(root, &options));
	options.flags = 1;
	STATUS(lcfs_write_to(root, &options));
	options.flags = 0;
	options.format = 1;
	STATUS(lcfs_write_to(root, &options));
	N white = make(root, "white", S_IFCHR);
	lcfs_node_set_rdev(white, 0);
	write_image("a whiteout", root, NULL, 0, 1);
	write_image("a whiteout, not raised", root, NULL, 0, 0);
	lcfs_node_unref(root);

	printf("# reading\n");
	N read = lcfs_load_node_from_image(out.data, out.len);
	show(read, "");
	write_image("again", read, NULL, 0, 1);
	lcfs_node_unref(read);
	const char *const only[] = { "link", "fifo", "nonexistent", NULL };
	struct lcfs_read_options_s some = { .toplevel_entries = only };
	read = lcfs_load_node_from_image_ext(out.data, out.len, &some);
	show(read, "some:");
	lcfs_node_unref(read);
	const char *const none[] = { NULL };
	some.toplevel_entries = none;
	read = lcfs_load_node_from_image_ext(out.data, out.len, &some);
	show(read, "none:");
	lcfs_node_unref(read);
	POINTER(lcfs_load_node_from_image(out.data, 4095));
	POINTER(lcfs_load_node_from_image(out.data, 0));

	int fd = openat(dir, "image", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (write(fd, out.data, out.len) != (ssize_t)out.len)
		abort();
	STATUS(lcfs_version_from_fd(fd));
	read = lcfs_load_node_from_fd(fd);
	write_image("from the file", read, NULL, 0, 1);
	lcfs_node_unref(read);
	some.toplevel_entries = only;
	read = lcfs_load_node_from_fd_ext(fd, &some);
	NUMBER(lcfs_node_get_n_children(read));
	lcfs_node_unref(read);
	POINTER(lcfs_load_node_from_fd(-1));
	STATUS(lcfs_version_from_fd(-1));
	out.data[4] = 2;
	POINTER(lcfs_load_node_from_image(out.data, out.len));
	out.data[0] = 0;
	POINTER(lcfs_load_node_from_image(out.data, out.len));
	if (pwrite(fd, out.data, 32, 0) != 32)
		abort();
	STATUS(lcfs_version_from_fd(fd));
	if (ftruncate(fd, 10) != 0)
		abort();
	STATUS(lcfs_version_from_fd(fd));
	close(fd);
	free(out.data);
}

static void refusals(void)
{
	printf("# trees that are no images\n");
	N root = lcfs_node_new();
	write_image("a root without type", root, NULL, 0, 1);
	lcfs_node_set_mode(root, S_IFREG | 0600);
	write_image("a file as the root", root, NULL, 0, 1);
	lcfs_node_set_mode(root, S_IFDIR | 0755);
	write_image("an empty tree", root, NULL, 0, 1);
	N n = make(root, "n", 0);
	write_image("a node without type", root, NULL, 0, 1);
	lcfs_node_set_mode(n, S_IFREG | 0777);
	lcfs_node_set_size(n, 1ull << 62);
	write_image("a file too large", root, NULL, 0, 1);
	lcfs_node_set_size(n, 5);
	write_image("a file of nothing", root, NULL, 0, 1);
	lcfs_node_unref(root);
}

static void mounts(const char *path)
{
	printf("# mount options\n");
	char image[5000];
	snprintf(image, sizeof image, "%s/none", path);
	const char *objects[] = { path };
	struct lcfs_mount_options_s o = { 0 };
	STATUS(lcfs_mount_image(image, path, &o));
	o.objdirs = objects;
	o.n_objdirs = 1;
	o.upperdir = path;
	STATUS(lcfs_mount_image(path, path, &o));
	o.upperdir = NULL;
	o.flags = 32;
	STATUS(lcfs_mount_fd(-1, path, &o));
	o.flags = LCFS_MOUNT_FLAGS_IDMAP;
	o.idmap_fd = -1;
	STATUS(lcfs_mount_fd(0, path, &o));
	o.flags = 0;
	STATUS(lcfs_mount_image(image, path, &o));
	snprintf(image, sizeof image, "%s/tree/large", path);
	STATUS(lcfs_mount_image(image, path, &o));
	int fd = open(image, O_RDONLY | O_CLOEXEC);
	STATUS(lcfs_mount_fd(fd, path, &o));
	o.expected_fsverity_digest = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789ABCDEF";
	STATUS(lcfs_mount_fd(fd, path, &o));
	close(fd);
}

int main(int argc, char **argv)
{
	if (argc != 2)
		return 2;
	int dir = open(argv[1], O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	umask(0);
	if (mkdirat(dir, "tree", 0755) != 0)
		return 2;
	int tree_dir = openat(dir, "tree", O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	fill(tree_dir);
	attributes();
	xattrs();
	tree();
	links();
	contents();
	digests(dir);
	loading(tree_dir);
	content_over_content(tree_dir);
	sizes_of_others();
	printf("# the tree\n");
	char *failed = NULL;
	N n = lcfs_build(dir, "tree", LCFS_BUILD_COMPUTE_DIGEST | LCFS_BUILD_BY_DIGEST, &failed);
	normalize(n);
	show(n, "");
	write_image("the tree", n, NULL, 0, 1);
	lcfs_node_unref(n);
	images(dir);
	refusals();
	mounts(argv[1]);
	close(tree_dir);
	close(dir);
	return 0;
}
