/*
 * feeds.c: many open feeds over HTTP/1.1, one a connection, and when their rows come.
 *
 * usage: feeds PORT COUNT TARGET DBS [BASIC]
 *
 * '#' in TARGET becomes a number below DBS.  Prints "open" when every head has come.  "rows N\n" on the standard input
 * is answered by "ready", and when N more rows are there by "done FIRST P50 P99 LAST": when, in ns of
 * CLOCK_MONOTONIC.  Ends with its input, or with 1 when a feed ends.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define AT_ONCE 100u /* connections that are being opened */

struct feed {
	int fd;
	unsigned char head; /* how much of \r\n\r\n has come; 4: all */
	char last;
};

static struct feed *feeds;
static unsigned nfeeds, nopen, nbegun;
static uint64_t *stamps;
static size_t nstamps, want;
static int ep;
static struct sockaddr_in sa = {.sin_family = AF_INET};

static void
die(const char *what)
{
	fprintf(stderr, "feeds: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t
now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void
begin(unsigned i, const char *target, unsigned dbs, const char *basic)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.u32 = i + 1};
	const char *at = strchr(target, '#');
	char number[16] = "", text[2048];
	int n, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&sa, sizeof(sa)) != 0)
		die("connect");
	if (at != NULL)
		snprintf(number, sizeof(number), "%u", i % dbs);
	n = snprintf(text, sizeof(text), "GET %.*s%s%s HTTP/1.1\r\nHost: localhost\r\n%s%s%s\r\n",
	    at != NULL ? (int)(at - target) : (int)strlen(target), target, number, at != NULL ? at + 1 : "",
	    basic != NULL ? "Authorization: Basic " : "", basic != NULL ? basic : "", basic != NULL ? "\r\n" : "");
	if (n < 0 || (size_t)n >= sizeof(text) || write(fd, text, (size_t)n) != n)
		die("write");
	if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0 || epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) != 0)
		die("epoll");
	feeds[i].fd = fd;
}

static int
cmp_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void
tell(void)
{
	qsort(stamps, nstamps, sizeof(*stamps), cmp_u64);
	printf("done %llu %llu %llu %llu\n", (unsigned long long)stamps[0], (unsigned long long)stamps[nstamps / 2],
	    (unsigned long long)stamps[nstamps * 99 / 100], (unsigned long long)stamps[nstamps - 1]);
	nstamps = want = 0;
}

/* A row ends with "}\n"; a heartbeat does not, and neither does what frames a chunk. */
static void
take(struct feed *f, const char *p, size_t n)
{
	static const char end[] = "\r\n\r\n";
	uint64_t now = now_ns();

	for (size_t i = 0; i < n; f->last = p[i++]) {
		if (f->head < 4) {
			f->head = (unsigned char)(p[i] == end[f->head] ? f->head + 1 : p[i] == '\r');
			nopen += f->head == 4;
		} else if (p[i] == '\n' && f->last == '}' && nstamps < want) {
			stamps[nstamps++] = now;
			if (nstamps == want)
				tell();
		}
	}
}

static void
on_input(void)
{
	char line[128];
	ssize_t n = read(0, line, sizeof(line) - 1);

	if (n <= 0)
		exit(0);
	line[n] = '\0';
	if (strncmp(line, "rows ", 5) != 0)
		die(line);
	want = strtoul(line + 5, NULL, 10);
	nstamps = 0;
	free(stamps);
	stamps = malloc((want + 1) * sizeof(*stamps));
	if (stamps == NULL)
		die("rows");
	printf("ready\n");
}

static void
on_feed(struct feed *f)
{
	static char buf[256 << 10];
	ssize_t n = read(f->fd, buf, sizeof(buf));

	if (n > 0)
		take(f, buf, (size_t)n);
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		die(n == 0 ? "a feed ended" : "read");
}

int
main(int argc, char **argv)
{
	struct epoll_event ev[256], in = {.events = EPOLLIN, .data.u32 = 0};
	int i, n, told = 0;

	if (argc != 5 && argc != 6) {
		fprintf(stderr, "usage: feeds PORT COUNT TARGET DBS [BASIC]\n");
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	sa.sin_port = htons((uint16_t)strtoul(argv[1], NULL, 10));
	sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	nfeeds = (unsigned)strtoul(argv[2], NULL, 10);
	feeds = calloc(nfeeds, sizeof(*feeds));
	ep = epoll_create1(EPOLL_CLOEXEC);
	if (feeds == NULL || ep < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, 0, &in) != 0)
		die("start");
	for (;;) {
		for (; nbegun < nfeeds && nbegun - nopen < AT_ONCE; nbegun++)
			begin(nbegun, argv[3], (unsigned)strtoul(argv[4], NULL, 10), argc > 5 ? argv[5] : NULL);
		if (nopen == nfeeds && !told) {
			told = 1;
			printf("open\n");
		}
		n = epoll_wait(ep, ev, 256, -1);
		for (i = 0; i < n; i++) {
			if (ev[i].data.u32 == 0)
				on_input();
			else
				on_feed(&feeds[ev[i].data.u32 - 1]);
		}
	}
}
