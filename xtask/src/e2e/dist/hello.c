/* The smallest program that needs the library: prints the digest of an image of one directory. */
#include <stdio.h>
#include <sys/stat.h>
#include <libcomposefs/lcfs-writer.h>

int main(void)
{
	uint8_t digest[LCFS_DIGEST_SIZE];
	struct lcfs_write_options_s options = { .max_version = LCFS_VERSION_MAX, .digest_out = digest };
	struct lcfs_node_s *root = lcfs_node_new();
	lcfs_node_set_mode(root, S_IFDIR | 0755);
	if (lcfs_write_to(root, &options) != 0)
		return 1;
	for (int i = 0; i < LCFS_DIGEST_SIZE; i++)
		printf("%02x", digest[i]);
	printf("\n");
	lcfs_node_unref(root);
	return 0;
}
