/*
 * test_base_faults.c: what base/ asks of the C library and of libcurl fails, the n-th time, once or from then on, for n = 1, 2, 3 ... until
 * nothing fails any more.
 *
 * 1. Each call ends, with success or with an error that its header names.
 * 2. What it took is given back: as many blocks of memory are there as before.
 * 3. With the fault gone the same call succeeds.
 *
 * libcurl's own allocations do not fail here: each of its functions that may fail does so by its answer.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/counters.h"
#include "base/exec.h"
#include "base/hash.h"
#include "base/httpc.h"
#include "base/httpc_curl.h"
#include "base/jread.h"
#include "base/multipart.h"
#include "check.h"
#include "faults.h"
#include "listening.h"

#ifdef MALLOCS_OWN

/* ---- Faults ---- */

enum { CALLS = 1 };
static _Atomic long blocks;         /* of memory that are taken */
static _Thread_local int elsewhere; /* in libcurl, or in the server: what is done there is not counted */

static int
refused(void)
{
	return !elsewhere && fault_due(CALLS);
}

static void *
counted(void *p)
{
	if (p == NULL)
		errno = ENOMEM;
	else if (!elsewhere)
		blocks++;
	return p;
}

void *
malloc(size_t size)
{
	return counted(refused() ? NULL : __libc_malloc(size));
}

void *
calloc(size_t n, size_t size)
{
	return counted(refused() ? NULL : __libc_calloc(n, size));
}

void *
realloc(void *p, size_t size)
{
	if (p == NULL)
		return malloc(size);
	return refused() ? fault_no_memory() : __libc_realloc(p, size);
}

void *
aligned_alloc(size_t align, size_t size)
{
	extern void *__libc_memalign(size_t align, size_t size);

	return counted(refused() ? NULL : __libc_memalign(align, size));
}

void
free(void *p)
{
	if (p != NULL && !elsewhere)
		blocks--;
	__libc_free(p);
}

/* real: The C library's own function of the name. */
#define REAL(name) ((__typeof__(&name))(uintptr_t)dlsym(RTLD_NEXT, #name))

int
pthread_create(pthread_t *id, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
	int rc;

	if (refused())
		return EAGAIN;
	elsewhere++;
	rc = REAL(pthread_create)(id, attr, fn, arg);
	elsewhere--;
	return rc;
}

int
pthread_attr_init(pthread_attr_t *attr)
{
	return refused() ? ENOMEM : REAL(pthread_attr_init)(attr);
}

int
pthread_condattr_init(pthread_condattr_t *attr)
{
	return refused() ? ENOMEM : REAL(pthread_condattr_init)(attr);
}

int
pthread_condattr_setclock(pthread_condattr_t *attr, clockid_t clock)
{
	return refused() ? EINVAL : REAL(pthread_condattr_setclock)(attr, clock);
}

int
pthread_cond_init(pthread_cond_t *cond, const pthread_condattr_t *attr)
{
	return refused() ? ENOMEM : REAL(pthread_cond_init)(cond, attr);
}

int
epoll_create1(int flags)
{
	return refused() ? -1 : REAL(epoll_create1)(flags);
}

int
eventfd(unsigned count, int flags)
{
	return refused() ? -1 : REAL(eventfd)(count, flags);
}

int
epoll_ctl(int epoll, int op, int fd, struct epoll_event *e)
{
	/* libcurl calls back for it.  What is taken away may be gone already. */
	return op != EPOLL_CTL_DEL && fault_due(CALLS) ? -1 : REAL(epoll_ctl)(epoll, op, fd, e);
}

/* Interrupted, and then a byte at a time. */
static int interrupted;

ssize_t
getrandom(void *out, size_t len, unsigned flags)
{
	if (interrupted && interrupted++ % 2) {
		errno = EINTR;
		return -1;
	}
	return syscall(SYS_getrandom, out, interrupted && len > 1 ? 1 : len, flags);
}

/* ---- libcurl ---- */

static struct httpc_curl curl; /* as it was */

#define CURL_CALL(type, name, params, args, failure) \
	static type faulty_##name params             \
	{                                            \
		type out;                            \
                                                     \
		if (refused())                       \
			return failure;              \
		elsewhere++;                         \
		out = curl.name args;                \
		elsewhere--;                         \
		return out;                          \
	}

CURL_CALL(CURL *, easy_init, (void), (), NULL)
CURL_CALL(CURLM *, multi_init, (void), (), NULL)
CURL_CALL(CURLMcode, multi_add_handle, (CURLM * m, CURL *e), (m, e), CURLM_OUT_OF_MEMORY)
CURL_CALL(struct curl_slist *, slist_append, (struct curl_slist * l, const char *s), (l, s), NULL)
CURL_CALL(CURLU *, url, (void), (), NULL)
CURL_CALL(CURLUcode, url_set, (CURLU * u, CURLUPart p, const char *s, unsigned f), (u, p, s, f), CURLUE_OUT_OF_MEMORY)
CURL_CALL(CURLUcode, url_get, (CURLU * u, CURLUPart p, char **s, unsigned f), (u, p, s, f), CURLUE_OUT_OF_MEMORY)
#undef CURL_CALL

static CURLcode
faulty_easy_setopt(CURL *e, CURLoption option, ...)
{
	CURLcode rc;
	va_list ap;
	void *value;

	if (refused())
		return CURLE_OUT_OF_MEMORY;
	/* On this machine's ABI a long, a pointer and a curl_off_t come alike. */
	va_start(ap, option);
	value = va_arg(ap, void *);
	va_end(ap);
	elsewhere++;
	rc = curl.easy_setopt(e, option, value);
	elsewhere--;
	return rc;
}

/* Those that do not fail, but allocate and free. */
#define CURL_VOID(name, params, args)    \
	static void faulty_##name params \
	{                                \
		elsewhere++;             \
		curl.name args;          \
		elsewhere--;             \
	}
CURL_VOID(easy_cleanup, (CURL * e), (e))
CURL_VOID(slist_free_all, (struct curl_slist * l), (l))
CURL_VOID(url_cleanup, (CURLU * u), (u))
CURL_VOID(free, (void *p), (p))
#undef CURL_VOID

static CURLMcode
faulty_multi_cleanup(CURLM *m)
{
	CURLMcode rc;

	elsewhere++;
	rc = curl.multi_cleanup(m);
	elsewhere--;
	return rc;
}

static CURLMcode
faulty_multi_remove_handle(CURLM *m, CURL *e)
{
	CURLMcode rc;

	elsewhere++;
	rc = curl.multi_remove_handle(m, e);
	elsewhere--;
	return rc;
}

static CURLMcode
faulty_multi_socket_action(CURLM *m, curl_socket_t fd, int what, int *runningp)
{
	CURLMcode rc;

	elsewhere++;
	rc = curl.multi_socket_action(m, fd, what, runningp);
	elsewhere--;
	return rc;
}

static CURLMcode
faulty_multi_setopt(CURLM *m, CURLMoption option, ...)
{
	va_list ap;
	CURLMcode rc;

	va_start(ap, option);
	elsewhere++;
	rc = curl.multi_setopt(m, option, va_arg(ap, void *));
	elsewhere--;
	va_end(ap);
	return rc;
}

static void
replace_curl(void)
{
	/* The table is no constant; only its users must not change it. */
	const struct httpc_curl *there;
	struct httpc_curl *table;

	if (!CHECK_INT(httpc_curl(&there), 0))
		exit(1);
	table = (struct httpc_curl *)(uintptr_t)there;
	curl = *table;
	table->easy_init = faulty_easy_init;
	table->easy_setopt = faulty_easy_setopt;
	table->easy_cleanup = faulty_easy_cleanup;
	table->free = faulty_free;
	table->multi_init = faulty_multi_init;
	table->multi_setopt = faulty_multi_setopt;
	table->multi_cleanup = faulty_multi_cleanup;
	table->multi_add_handle = faulty_multi_add_handle;
	table->multi_remove_handle = faulty_multi_remove_handle;
	table->multi_socket_action = faulty_multi_socket_action;
	table->slist_append = faulty_slist_append;
	table->slist_free_all = faulty_slist_free_all;
	table->url = faulty_url;
	table->url_set = faulty_url_set;
	table->url_get = faulty_url_get;
	table->url_cleanup = faulty_url_cleanup;
}

/* ---- The walk ---- */

typedef int step_f(void);

/* sweep: ${step} returns 0 or an error of ${errors}, which end with 0. */
static unsigned
sweep(const char *name, step_f *step, const int *errors)
{
	unsigned n = 0;

	CHECK_INT(step(), 0); /* what is made once is there, and not counted */
	for (int for_good = 0; for_good < 2; for_good++) {
		n = 0;
		do {
			long before = blocks;
			int err, known = 0;

			fault_begin(CALLS, ++n, for_good);
			err = step();
			fault.what = 0;
			for (const int *e = errors; *e != 0; e++)
				known |= err == *e;
			if (!CHECK(err == 0 || known) || !CHECK_INT(blocks, before))
				fprintf(stderr, "%s: n=%u for_good=%d err=%d\n", name, n, for_good, err);
			CHECK(fault.made > 0 || err == 0);
			CHECK_INT(step(), 0);
		} while (fault.made > 0 && n < 2000);
	}
	return n - 1;
}

/* ---- Steps ---- */

static int
step_arena(void)
{
	struct arena *a;
	struct buf b;
	int err = 0;
	char *p;

	if (arena_new(1u << 20, &a) != 0)
		return ERR_NOMEM;
	for (int i = 0; i < 10 && err == 0; i++) {
		p = arena_calloc(a, 10, 50);
		err = p == NULL ? ERR_NOMEM : p[499];
	}
	buf_init_arena(&b, a, 100000);
	for (int i = 0; i < 2000 && err == 0; i++)
		err = buf_puts(&b, "0123456789");
	arena_free(a);
	return err;
}

static int
step_buf(void)
{
	struct buf b;
	int err = 0;

	buf_init(&b, 100000);
	for (int i = 0; i < 100 && err == 0; i++)
		err = i % 2 ? buf_put_json(&b, "0123456789", 10) : buf_put_json(&b, "01234\n6789", 10);
	CHECK_INT(buf_failed(&b), err);
	buf_release(&b);
	return err;
}

static int
step_hash(void)
{
	unsigned char md5[MD5_LEN], sha[SHA256_LEN];
	struct hash_both *h;

	if (hash_both_new(&h) != 0)
		return ERR_NOMEM;
	hash_both_add(h, "abc", 3);
	hash_both_end(h, md5, sha);
	CHECK_MEM(md5, 4, "\x90\x01\x50\x98", 4);
	if (hash_both_new(&h) != 0)
		return ERR_NOMEM;
	hash_both_free(h);
	return 0;
}

/* Of many members, with duplicates, in deep places. */
static int
step_json(void)
{
	static char in[8192];
	struct buf text, etf;
	struct jread j;
	int err;

	if (in[0] == '\0') {
		size_t n = (size_t)snprintf(in, sizeof(in), "{");

		for (int i = 0; i < 300; i++)
			n += (size_t)snprintf(in + n, sizeof(in) - n, "\"k%d\":[%d],", i % 290, i);
		snprintf(in + n, sizeof(in) - n, "\"end\":{\"a\":1}}");
	}
	buf_init(&text, 1u << 20);
	buf_init(&etf, 1u << 20);
	jread_init(&j, in, strlen(in));
	err = jread_text(&j, &text, &etf);
	if (err != 0)
		CHECK(text.len == 0 && etf.len == 0);
	buf_release(&text);
	buf_release(&etf);
	return err;
}

static int
part_begin(void *cookie, const struct multipart_header *headers, size_t n)
{
	(void)cookie;
	(void)headers;
	return n == 1 ? 0 : ERR_BAD_REQUEST;
}

static int
part_data(void *cookie, const char *bytes, size_t len)
{
	return buf_put(cookie, bytes, len);
}

static int
part_end(void *cookie)
{
	(void)cookie;
	return 0;
}

static int
step_multipart(void)
{
	static const char text[] = "--b\r\nA: b\r\n\r\ndata\r\n--b--";
	struct buf b;
	struct multipart_sink sink = {part_begin, part_data, part_end, &b};
	struct multipart *m;
	int err;

	buf_init(&b, 1000);
	err = multipart_new((struct jstr){"b", 1}, &sink, &m);
	if (err == 0) {
		for (size_t i = 0; i < sizeof(text) - 1 && err == 0; i++)
			err = multipart_feed(m, text + i, 1);
		CHECK_INT(err == 0, multipart_done(m));
		multipart_free(m);
	}
	CHECK(err != 0 || (b.len == 4 && memcmp(b.data, "data", 4) == 0));
	buf_release(&b);
	return err;
}

static _Atomic int jobs_run;

static void
job_run(void *arg)
{
	(void)arg;
	jobs_run++;
}

/* Threads begin, or none is left; what was submitted is run before the end, timers are not. */
static int
step_exec(void)
{
	struct exec_job job = {.fn = job_run}, later = {.fn = job_run};
	struct exec_threads *x;
	int err = exec_threads_new(3, &x);

	if (err != 0)
		return err;
	jobs_run = 0;
	exec_threads_executor(x)->submit(exec_threads_executor(x), &job);
	exec_threads_executor(x)->later(exec_threads_executor(x), &later, 3600000);
	exec_threads_free(x);
	CHECK_INT(jobs_run, 1);
	return 0;
}

static void *
count_one(void *arg)
{
	counters_add(COUNTER_GET, 1);
	return arg;
}

/* A count that finds no memory is lost, and the next one is not. */
static void
test_counters(void)
{
	uint64_t before = counters_get(COUNTER_GET);
	pthread_t thread;

	fault_begin(CALLS, 1, 0);
	counters_add(COUNTER_GET, 1);
	fault.what = 0;
	CHECK_INT(fault.made, 1);
	CHECK_INT(counters_get(COUNTER_GET), before);
	counters_add(COUNTER_GET, 1);
	CHECK_INT(pthread_create(&thread, NULL, count_one, NULL), 0);
	pthread_join(thread, NULL);
	CHECK_INT(counters_get(COUNTER_GET), before + 2);
}

static void
test_random(void)
{
	unsigned char out[32], zero[32];

	memset(out, 0, sizeof(out));
	memset(zero, 0, sizeof(zero));
	interrupted = 1;
	hash_random(out, sizeof(out));
	CHECK_INT(interrupted, 1 + 2 * 32);
	interrupted = 0;
	CHECK(!hash_equal(out, zero, sizeof(out)));
	CHECK(!hash_equal(out + 16, zero, 16));
}

/* ---- HTTP ---- */

static int listener;
static unsigned port;

/* One answer to whatever comes, on connections that stay. */
static void *
serve(void *arg)
{
	static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
	char in[4096];
	size_t len;
	ssize_t n;
	int fd;

	elsewhere = 1;
	while ((fd = accept(listener, NULL, NULL)) >= 0) {
		len = 0;
		while ((n = recv(fd, in + len, sizeof(in) - 1 - len, 0)) > 0) {
			len += (size_t)n;
			in[len] = '\0';
			if (strstr(in, "\r\n\r\n") != NULL) {
				(void)!send(fd, answer, sizeof(answer) - 1, MSG_NOSIGNAL);
				len = 0;
			}
		}
		close(fd);
	}
	return arg;
}

static int
take_body(void *cookie, const void *data, size_t len)
{
	(void)data;
	*(size_t *)cookie += len;
	return 0;
}

/* The loop, its thread and the request are new each time. */
static int
step_httpc(void)
{
	static const char *const headers[] = {"X-One: 1", "X-Empty:", "Content-Type: a/b"};
	struct httpc_config config = {.per_host = 1, .ca_file = "/nonexistent", .no_verify = 1};
	struct httpc_request req = {
	    .headers = headers, .nheaders = 3, .user = "u", .password = "p", .decode = 1, .on_body = take_body};
	struct httpc_loop *l;
	struct errtext why;
	char url[64];
	size_t received = 0;
	int err, status;

	snprintf(url, sizeof(url), "http://127.0.0.1:%u/", port);
	req.url = url;
	req.cookie = &received;
	if (httpc_loop_new(&config, &l) != 0)
		return ERR_NOMEM;
	err = httpc_get(l, &req, &status, &why);
	httpc_loop_free(l);
	CHECK(err != 0 || (status == 200 && received == 5));
	return err;
}

/* Through a proxy, with what asks for more of libcurl: it is the proxy that answers. */
static int
step_proxy(void)
{
	struct httpc_config config = {
	    .cert_file = "/nonexistent", .key_password = "secret", .verify_depth = 2, .times = {.connect_ms = 5000}};
	struct httpc_request req = {.url = "http://127.0.0.1:1/", .method = "POST", .netrc = 1, .feed = 1};
	struct httpc_loop *l;
	struct errtext why;
	char proxy[64];
	int err, status;

	snprintf(proxy, sizeof(proxy), "http://u:p@127.0.0.1:%u", port);
	req.proxy = proxy;
	if (httpc_loop_new(&config, &l) != 0)
		return ERR_NOMEM;
	err = httpc_get(l, &req, &status, &why);
	httpc_loop_free(l);
	CHECK(err != 0 || status == 200);
	return err;
}

static int
step_url(void)
{
	struct httpc_url u;
	struct errtext why;
	int err = httpc_url_split("HTTP://me:se%20cret@Example.org:80/a/b?c=d#e", &u, &why);

	if (err != 0)
		return err;
	/* What is only put in order may stay as it was. */
	CHECK_STR(u.host, "example.org");
	CHECK_STR(u.password, "se cret");
	CHECK_STR(u.path, "/a/b");
	CHECK_INT(u.port, 80);
	httpc_url_release(&u);
	return 0;
}

static void
test_httpc(void)
{
	static const int errors[] = {ERR_NOMEM, ERR_IO, 0}, nomem[] = {ERR_NOMEM, 0};
	pthread_t server;

	listener = listening(&port);
	CHECK_INT(pthread_create(&server, NULL, serve, NULL), 0);
	replace_curl();
	CHECK(sweep("httpc", step_httpc, errors) > 40);
	CHECK(sweep("proxy", step_proxy, errors) > 40);
	CHECK(sweep("url", step_url, nomem) > 10);
	shutdown(listener, SHUT_RDWR);
	pthread_join(server, NULL);
	close(listener);
}

int
main(void)
{
	static const int nomem[] = {ERR_NOMEM, 0};

	CHECK(sweep("arena", step_arena, nomem) > 3);
	CHECK(sweep("buf", step_buf, nomem) > 3);
	CHECK_INT(sweep("hash", step_hash, nomem), 2);
	CHECK(sweep("json", step_json, nomem) > 10);
	CHECK(sweep("multipart", step_multipart, nomem) > 2);
	CHECK(sweep("exec", step_exec, nomem) > 5);
	test_counters();
	test_random();
	test_httpc();
	return check_done();
}

#else

int
main(void)
{
	/* A sanitizer has allocations of its own. */
	CHECK(1);
	return check_done();
}

#endif
