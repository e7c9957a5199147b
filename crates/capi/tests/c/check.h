/* What the C programs of the tests have in common. */
#ifndef CHECK_H
#define CHECK_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How many there were; threads check too. */
static int checks;

/* Ends the program unless it is so, and says where. errno is 0 before. */
#define CHECK(what)                                                                                                    \
	do {                                                                                                           \
		errno = 0;                                                                                             \
		__atomic_fetch_add(&checks, 1, __ATOMIC_RELAXED);                                                      \
		if (!(what)) {                                                                                         \
			fprintf(stderr, "%s:%d: not so: %s (errno: %s)\n", __FILE__, __LINE__, #what, strerror(errno)); \
			exit(1);                                                                                       \
		}                                                                                                      \
	} while (0)

#endif
