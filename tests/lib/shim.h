/* shim.h: what a test tells the library that it preloads into divand, while that runs. */
#ifndef TESTS_LIB_SHIM_H_
#define TESTS_LIB_SHIM_H_

#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/** shim_map(name, len): The ${len} bytes of the file that the environment's ${name} is the path of, shared with the test; or NULL. */
static inline void *
shim_map(const char *name, size_t len)
{
	const char *path = getenv(name);
	int fd = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *map = fd >= 0 ? mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;

	if (fd >= 0)
		close(fd);
	return map != MAP_FAILED ? map : NULL;
}

#endif
