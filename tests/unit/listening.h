/* listening.h: a socket of the tests' own that listens on a free port of 127.0.0.1. */
#ifndef TESTS_UNIT_LISTENING_H_
#define TESTS_UNIT_LISTENING_H_

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "check.h"

static inline int
listening(unsigned *portp)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK_INT(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	CHECK_INT(listen(fd, 20), 0);
	CHECK_INT(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
	*portp = ntohs(addr.sin_port);
	return fd;
}

#endif
