/* filelock.c: the lock that keeps two programs from one data folder; the kernel drops it when its holder ends. */
#include "filelock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "log.h"

int
filelock_take(const char *dir, int *fdp)
{
	char path[PATH_MAX];
	int fd, n = snprintf(path, sizeof(path), "%s/.lock", dir);

	if (n < 0 || n >= PATH_MAX) {
		log_line(LOG_ERROR, "the data folder's name is too long");
		return ERR_IO;
	}
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0) {
		log_line(LOG_ERROR, "cannot open %s: %s", path, strerror(errno));
		return ERR_IO;
	}
	if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		int held = errno == EWOULDBLOCK;

		if (!held)
			log_line(LOG_ERROR, "cannot lock %s: %s", path, strerror(errno));
		close(fd);
		return held ? ERR_LOCKED : ERR_IO;
	}
	*fdp = fd;
	return 0;
}
