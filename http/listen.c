/*
 * listen.c: the parts of the engine that are plain sockets and bytes:
 * listening, reasons.
 */
#include "http_impl.h"

#include <errno.h>
#include <linux/tcp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"

#define BACKLOG 4096

/* A bound socket; *portp is the port that it got. */
static int
bind_one(const struct addrinfo *ai, unsigned port, int share, unsigned *portp)
{
	struct sockaddr_storage sa;
	socklen_t len = ai->ai_addrlen;
	int one = 1, fd, saved;

	memcpy(&sa, ai->ai_addr, len);
	if (sa.ss_family == AF_INET6)
		((struct sockaddr_in6 *)&sa)->sin6_port = htons((uint16_t)port);
	else
		((struct sockaddr_in *)&sa)->sin_port = htons((uint16_t)port);
	fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
	    (share && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) != 0) ||
	    bind(fd, (struct sockaddr *)&sa, len) != 0 || (share && listen(fd, BACKLOG) != 0) ||
	    getsockname(fd, (struct sockaddr *)&sa, &len) != 0) {
		saved = errno;
		close(fd);
		errno = saved;
		return -1;
	}
	*portp = ntohs(
	    sa.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&sa)->sin6_port : ((struct sockaddr_in *)&sa)->sin_port);
	return fd;
}

static int
listen_all(const struct addrinfo *ai, unsigned port, unsigned n, int *fds, unsigned *portp)
{
	unsigned i;
	int probe;

	/*
	 * Two servers with SO_REUSEPORT would silently share the port's connections; a plain bind
	 * fails if anybody listens.
	 */
	probe = bind_one(ai, port, 0, portp);
	if (probe < 0)
		return -1;
	close(probe);
	*portp = port;
	for (i = 0; i < n; i++) {
		fds[i] = bind_one(ai, *portp, 1, portp);
		if (fds[i] < 0) {
			while (i-- > 0)
				close(fds[i]);
			return -1;
		}
	}
	return 0;
}

int
server_listen(const char *addr, unsigned port, unsigned n, int *fds, unsigned *portp)
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
	struct addrinfo *ai;
	int rc = getaddrinfo(addr, NULL, &hints, &ai);

	if (rc != 0) {
		log_line(LOG_ERROR, "cannot listen on %s: %s", addr, gai_strerror(rc));
		return ERR_IO;
	}
	rc = listen_all(ai, port, n, fds, portp);
	if (rc != 0)
		log_line(LOG_ERROR, "cannot listen on %s port %u: %s", addr, port, strerror(errno));
	freeaddrinfo(ai);
	return rc == 0 ? 0 : ERR_IO;
}

uint64_t
server_acked(int fd)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);

	memset(&info, 0, sizeof(info));
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) != 0)
		return 0;
	return info.tcpi_bytes_acked;
}

unsigned
server_descriptors(void)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) != 0)
		return 1024;
	return rl.rlim_cur > 1u << 20 ? 1u << 20 : (unsigned)rl.rlim_cur;
}

const char *
server_reason(int status)
{
	size_t i;

	static const struct {
		int status;
		const char *reason;
	} table[] = {{200, "OK"}, {201, "Created"}, {202, "Accepted"}, {204, "No Content"}, {206, "Partial Content"},
	    {301, "Moved Permanently"}, {302, "Found"}, {304, "Not Modified"}, {400, "Bad Request"},
	    {401, "Unauthorized"}, {403, "Forbidden"}, {404, "Object Not Found"}, {405, "Method Not Allowed"},
	    {406, "Not Acceptable"}, {409, "Conflict"}, {410, "Gone"}, {412, "Precondition Failed"},
	    {413, "Request Entity Too Large"}, {414, "Request-URI Too Long"}, {415, "Unsupported Media Type"},
	    {416, "Requested Range Not Satisfiable"}, {417, "Expectation Failed"}, {429, "Too Many Requests"},
	    {431, "Request Header Fields Too Large"}, {500, "Internal Server Error"}, {501, "Not Implemented"},
	    {503, "Service Unavailable"}, {507, "Insufficient Storage"}};

	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (table[i].status == status)
			return table[i].reason;
	return "Unknown";
}
