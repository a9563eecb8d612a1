/* peertest.h: a peer behind HTTP whose calls are waited for, and a server of canned answers for it. */
#ifndef TESTS_UNIT_PEERTEST_H_
#define TESTS_UNIT_PEERTEST_H_

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/exec.h"
#include "base/httpc.h"
#include "replicator/peer_http.h"
#include "tests/unit/check.h"

/* ---- Calls that are waited for ---- */

#define PEERTEST_THREADS 3u

static struct exec_threads *peertest_threads;
static struct executor *peertest_ex;
static struct httpc_loop *peertest_loop;
static pthread_mutex_t peertest_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t peertest_cond = PTHREAD_COND_INITIALIZER;
static int peertest_connections; /* of the server of canned answers; under the lock */
static int peertest_sending;     /* answers of its rules; under the lock */

static inline void
peertest_begin(void)
{
	struct httpc_config config = {.per_host = 8};

	if (exec_threads_new(PEERTEST_THREADS, &peertest_threads) != 0 || httpc_loop_new(&config, &peertest_loop) != 0)
		abort();
	peertest_ex = exec_threads_executor(peertest_threads);
}

static inline void
peertest_count(int *n, int more)
{
	pthread_mutex_lock(&peertest_lock);
	*n += more;
	pthread_cond_broadcast(&peertest_cond);
	pthread_mutex_unlock(&peertest_lock);
}

static inline void
peertest_until_none(const int *n)
{
	pthread_mutex_lock(&peertest_lock);
	while (*n > 0)
		pthread_cond_wait(&peertest_cond, &peertest_lock);
	pthread_mutex_unlock(&peertest_lock);
}

static inline void
peertest_end(void)
{
	httpc_loop_free(peertest_loop);
	exec_threads_free(peertest_threads);
	/* What is answered is the test's until the last connection has ended. */
	peertest_until_none(&peertest_connections);
}

static inline void
peertest_done(struct peer_call *call)
{
	pthread_mutex_lock(&peertest_lock);
	*(int *)call->cookie = 1;
	pthread_cond_broadcast(&peertest_cond);
	pthread_mutex_unlock(&peertest_lock);
}

static inline void
peertest_prepare(struct peer_call *call, struct arena *a, int *flag)
{
	*flag = 0;
	call->done = peertest_done;
	call->cookie = flag;
	call->arena = a;
}

static inline int
peertest_wait(const struct peer_call *call, int *flag)
{
	pthread_mutex_lock(&peertest_lock);
	while (!*flag)
		pthread_cond_wait(&peertest_cond, &peertest_lock);
	pthread_mutex_unlock(&peertest_lock);
	return call->err;
}

/* peertest_do(peer, op, struct with .call, arena): begins a call, waits, and is its error.  One at a time. */
static int peertest_flag;
#define peertest_do(p, op, c, a)                                                    \
	(peertest_prepare(&(c)->call, (a), &peertest_flag), (p)->ops->op((p), (c)), \
	    peertest_wait(&(c)->call, &peertest_flag))

static inline struct arena *
peertest_arena(void)
{
	struct arena *a;

	if (arena_new((size_t)256 << 20, &a) != 0)
		abort();
	return a;
}

/* ---- A server of canned answers ---- */

enum peertest_then { PT_KEEP, PT_CLOSE, PT_HOLD, PT_ENDLESS, PT_EARLY };

/* The first rule that fits answers; one with a number of times is then used up. */
struct peertest_rule {
	const char *method;
	const char *path; /* how the target begins, behind "/db" */
	int status;
	const char *headers; /* each with CRLF; or NULL */
	const char *body;    /* a length is told, unless it is NULL or does not end */
	size_t body_len;     /* 0: strlen */
	enum peertest_then then;
	int times; /* 0: always */
};

static struct peertest_rule peertest_rules[32];
static size_t peertest_nrules;
static int peertest_listener;
static unsigned peertest_port;
static char peertest_head[65536]; /* of the last request but those to _session */
static char peertest_body[1 << 20];
static size_t peertest_body_len;
static atomic_uint peertest_requests;
static atomic_uint peertest_held;

static inline void
peertest_rule(const char *method, const char *path, int status, const char *body)
{
	pthread_mutex_lock(&peertest_lock);
	peertest_rules[peertest_nrules++] =
	    (struct peertest_rule){.method = method, .path = path, .status = status, .body = body};
	pthread_mutex_unlock(&peertest_lock);
}

static inline void
peertest_add(struct peertest_rule rule)
{
	pthread_mutex_lock(&peertest_lock);
	peertest_rules[peertest_nrules++] = rule;
	pthread_mutex_unlock(&peertest_lock);
}

static inline void
peertest_clear(void)
{
	pthread_mutex_lock(&peertest_lock);
	peertest_nrules = 0;
	peertest_requests = 0;
	pthread_mutex_unlock(&peertest_lock);
}

static inline int
peertest_send(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

		if (n <= 0)
			return 0;
		data += n;
		len -= (size_t)n;
	}
	return 1;
}

static inline int
peertest_find(const char *head, struct peertest_rule *out)
{
	int found = 0;
	size_t i;

	pthread_mutex_lock(&peertest_lock);
	for (i = 0; i < peertest_nrules && !found; i++) {
		struct peertest_rule *r = &peertest_rules[i];
		size_t m = strlen(r->method), n = strlen(r->path);
		const char *path = head + m + 1;

		if (r->times < 0 || strncmp(head, r->method, m) != 0 || head[m] != ' ' || strncmp(path, "/", 1) != 0 ||
		    strncmp(strncmp(path, "/db", 3) == 0 ? path + 3 : path, r->path, n) != 0)
			continue;
		*out = *r;
		found = 1;
		if (r->times > 0 && --r->times == 0)
			r->times = -1;
	}
	pthread_mutex_unlock(&peertest_lock);
	return found;
}

/* peertest_release: ${b}, which was a rule's body, when it has been sent to its end. */
static inline void
peertest_release(struct buf *b)
{
	peertest_until_none(&peertest_sending);
	buf_release(b);
}

static inline int
peertest_reply(int fd, const struct peertest_rule *r)
{
	static const char filler[] = "                                                                ";
	size_t len = r->body == NULL ? 0 : r->body_len > 0 ? r->body_len : strlen(r->body);
	char head[4096];
	char byte;
	int n, sent;

	n = snprintf(head, sizeof(head), "HTTP/1.1 %d Whatever\r\n%s", r->status, r->headers != NULL ? r->headers : "");
	if (strstr(head, "Content-Type") == NULL)
		n += snprintf(head + n, sizeof(head) - (size_t)n, "Content-Type: application/json\r\n");
	if (r->then == PT_KEEP || r->then == PT_EARLY)
		n += snprintf(head + n, sizeof(head) - (size_t)n, "Content-Length: %zu\r\n", len);
	else
		n += snprintf(head + n, sizeof(head) - (size_t)n, "Content-Length: 99999999999\r\n");
	n += snprintf(head + n, sizeof(head) - (size_t)n, "\r\n");
	peertest_count(&peertest_sending, 1);
	sent = r->status != 0 && peertest_send(fd, head, (size_t)n) && (len == 0 || peertest_send(fd, r->body, len));
	peertest_count(&peertest_sending, -1);
	if (!sent)
		return 0;
	if (r->then == PT_HOLD) {
		peertest_held++;
		(void)!recv(fd, &byte, 1, 0);
	}
	while (r->then == PT_ENDLESS && peertest_send(fd, filler, sizeof(filler) - 1))
		continue;
	return r->then == PT_KEEP;
}

static inline size_t
peertest_length(const char *head)
{
	const char *at = strcasestr(head, "\r\ncontent-length:");

	return at != NULL ? strtoul(at + 17, NULL, 10) : 0;
}

static inline void *
peertest_connection(void *arg)
{
	int fd = (int)(intptr_t)arg;
	static __thread char head[65536], body[1 << 20];
	struct peertest_rule rule;
	size_t len, want, got;

	for (;;) {
		len = 0;
		memset(head, 0, sizeof(head));
		while (len + 1 < sizeof(head) && (len < 4 || memcmp(head + len - 4, "\r\n\r\n", 4) != 0)) {
			if (recv(fd, head + len, 1, 0) != 1)
				goto out;
			len++;
		}
		if (!peertest_find(head, &rule)) {
			rule = (struct peertest_rule){
			    .status = 500, .body = "{\"error\":\"test\",\"reason\":\"no rule\"}"};
			fprintf(stderr, "no rule for %.200s\n", head);
		}
		want = peertest_length(head);
		for (got = 0; rule.then != PT_EARLY && got < want && got < sizeof(body);) {
			ssize_t n =
			    recv(fd, body + got, want - got < sizeof(body) - got ? want - got : sizeof(body) - got, 0);

			if (n <= 0)
				goto out;
			got += (size_t)n;
		}
		pthread_mutex_lock(&peertest_lock);
		if (strstr(head, "/_session") == NULL) {
			memcpy(peertest_head, head, sizeof(head));
			memcpy(peertest_body, body, got);
			peertest_body[got < sizeof(body) ? got : got - 1] = '\0';
			peertest_body_len = got;
		}
		peertest_requests++;
		pthread_mutex_unlock(&peertest_lock);
		if (!peertest_reply(fd, &rule))
			break;
	}
out:
	shutdown(fd, SHUT_WR);
	close(fd);
	peertest_count(&peertest_connections, -1);
	return NULL;
}

static inline void *
peertest_accept(void *arg)
{
	pthread_attr_t attr;
	pthread_t thread;
	int fd, on = 1;

	(void)arg;
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	while ((fd = accept(peertest_listener, NULL, NULL)) >= 0) {
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		peertest_count(&peertest_connections, 1);
		if (pthread_create(&thread, &attr, peertest_connection, (void *)(intptr_t)fd) != 0) {
			close(fd);
			peertest_count(&peertest_connections, -1);
		}
	}
	return NULL;
}

static inline void
peertest_serve(void)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(addr);
	pthread_t thread;

	peertest_listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(peertest_listener, (struct sockaddr *)&addr, sizeof(addr)) != 0 ||
	    listen(peertest_listener, 64) != 0 || getsockname(peertest_listener, (struct sockaddr *)&addr, &len) != 0 ||
	    pthread_create(&thread, NULL, peertest_accept, NULL) != 0)
		abort();
	pthread_detach(thread);
	peertest_port = ntohs(addr.sin_port);
}

#endif
