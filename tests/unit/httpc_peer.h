/* httpc_peer.h: what the tests of the HTTP client share: the servers of tests/lib/httpc-peer.mjs, and calls to them. */
#ifndef TESTS_UNIT_HTTPC_PEER_H_
#define TESTS_UNIT_HTTPC_PEER_H_

#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/httpc.h"
#include "check.h"

/* ---- The servers ---- */

static struct peer {
	pid_t pid;
	int in;          /* its standard input: it ends when this is closed */
	char line[2048]; /* what it says of itself: " plain=PORT ... ca=FILE ...\n" */
} peer_;

static inline void
peer_start(void)
{
	int in[2], out[2];
	size_t len = 1;
	ssize_t n;

	CHECK_INT(pipe(in), 0);
	CHECK_INT(pipe(out), 0);
	peer_.pid = fork();
	if (peer_.pid == 0) {
		dup2(in[0], 0);
		dup2(out[1], 1);
		close(in[1]);
		close(out[0]);
		execlp("node", "node", "tests/lib/httpc-peer.mjs", (char *)NULL);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	peer_.in = in[1];
	peer_.line[0] = ' ';
	while (len < sizeof(peer_.line) - 1 && (n = read(out[0], peer_.line + len, sizeof(peer_.line) - 1 - len)) > 0 &&
	       strchr(peer_.line, '\n') == NULL)
		len += (size_t)n;
	close(out[0]);
	if (!CHECK(strchr(peer_.line, '\n') != NULL))
		exit(check_done());
}

static inline void
peer_stop(void)
{
	close(peer_.in);
	(void)waitpid(peer_.pid, NULL, 0);
}

/* What it says of ${name}.  One of the last 4. */
static inline const char *
peer_word(const char *name)
{
	static char words[4][300];
	static unsigned turn;
	char *word = words[turn++ % 4], key[40];
	const char *at;

	snprintf(key, sizeof(key), " %s=", name);
	at = strstr(peer_.line, key);
	CHECK(at != NULL);
	snprintf(word, 300, "%.*s", at != NULL ? (int)strcspn(at + strlen(key), " \n") : 0,
	    at != NULL ? at + strlen(key) : "");
	return word;
}

/* ---- Calls ---- */

/* A request and what came of it. */
struct call {
	struct httpc_request req;
	char url[300];
	struct httpc_loop *loop;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct buf body;   /* the first bytes of it */
	uint64_t received; /* all of them */
	uint64_t sent;     /* by on_read */
	int heads, dones;
	int status; /* as on_head has it */
	char type[40], extra[100];
	int err, done_status;
	struct errtext why;
	uint64_t
	    pause_every; /* bytes of the answer, or of the request: then it pauses, and waits for call_wait_pause */
	uint64_t next_pause;
	int paused, pauses;
	unsigned order;               /* its place among those that ended */
	void (*then)(struct call *c); /* at the end, on the loop's thread */
	const char *want;             /* header to keep in extra */
};

static _Atomic unsigned call_ends_;

/* 1: pause now. */
static inline int
call_pause_(struct call *c, uint64_t moved)
{
	int pause;

	pthread_mutex_lock(&c->lock);
	pause = c->pause_every > 0 && moved >= c->next_pause;
	if (pause) {
		c->next_pause += c->pause_every;
		c->paused = 1;
		c->pauses++;
		pthread_cond_broadcast(&c->changed);
	}
	pthread_mutex_unlock(&c->lock);
	return pause;
}

static inline int
call_head_(void *cookie, const struct httpc_head *head)
{
	struct call *c = cookie;
	const char *value;

	c->heads++;
	CHECK_INT(c->received, 0);
	CHECK_INT(c->dones, 0);
	pthread_mutex_lock(&c->lock);
	c->status = head->status;
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
	snprintf(c->type, sizeof(c->type), "%s", head->type);
	for (size_t i = 0, len = 0; c->want != NULL && (value = httpc_header(head, c->want, i)) != NULL; i++)
		len += (size_t)snprintf(c->extra + len, sizeof(c->extra) - len, "%s;", value);
	return 0;
}

static inline int
call_body_(void *cookie, const void *data, size_t len)
{
	struct call *c = cookie;

	CHECK_INT(c->dones, 0);
	if (call_pause_(c, c->received))
		return HTTPC_PAUSE;
	c->received += len;
	if (c->body.len + len <= 4096)
		CHECK_INT(buf_put(&c->body, data, len), 0);
	return 0;
}

/* Bytes that tell where they stand. */
static inline int
call_read_(void *cookie, void *buf, size_t size, size_t *lenp)
{
	struct call *c = cookie;

	CHECK_INT(c->dones, 0);
	if (call_pause_(c, c->sent))
		return HTTPC_PAUSE;
	memset(buf, 'u', size);
	c->sent += size;
	*lenp = size;
	return 0;
}

static inline void
call_done_(void *cookie, int err, int status, const struct errtext *why)
{
	struct call *c = cookie;
	void (*then)(struct call *) = c->then;

	pthread_mutex_lock(&c->lock);
	c->err = err;
	c->done_status = status;
	c->why = *why;
	c->order = call_ends_++;
	c->dones++;
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
	if (then != NULL)
		then(c);
}

/* Not yet started; ${server} is one of the peer's, ${path} follows the host. */
static inline void
call_init(struct call *c, struct httpc_loop *l, const char *server, const char *path)
{
	const char *scheme = strcmp(server, "plain") == 0 || strcmp(server, "raw") == 0 ? "http" : "https";

	*c = (struct call){.loop = l};
	snprintf(c->url, sizeof(c->url), "%s://127.0.0.1:%s%s", scheme, peer_word(server), path);
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->changed, NULL);
	buf_init(&c->body, 4096);
	c->req = (struct httpc_request){
	    .url = c->url, .on_head = call_head_, .on_body = call_body_, .on_done = call_done_, .cookie = c};
}

static inline void
call_start(struct call *c)
{
	CHECK_INT(httpc_start(c->loop, &c->req), 0);
}

static inline int
call_wait(struct call *c)
{
	pthread_mutex_lock(&c->lock);
	while (c->dones == 0)
		pthread_cond_wait(&c->changed, &c->lock);
	pthread_mutex_unlock(&c->lock);
	if (c->err != 0 && getenv("HTTPC_TEST_SAY") != NULL)
		fprintf(stderr, "%s: %s\n", c->url, c->why.text);
	return c->err;
}

static inline void
call_wait_head(struct call *c)
{
	pthread_mutex_lock(&c->lock);
	while (c->dones == 0 && c->status == 0)
		pthread_cond_wait(&c->changed, &c->lock);
	pthread_mutex_unlock(&c->lock);
}

/* 1: it pauses, and may be resumed; 0: it is done. */
static inline int
call_wait_pause(struct call *c)
{
	int paused;

	pthread_mutex_lock(&c->lock);
	while (c->dones == 0 && !c->paused)
		pthread_cond_wait(&c->changed, &c->lock);
	paused = c->paused;
	c->paused = 0;
	pthread_mutex_unlock(&c->lock);
	return paused;
}

static inline void
call_release(struct call *c)
{
	CHECK_INT(c->dones, 1);
	pthread_mutex_destroy(&c->lock);
	pthread_cond_destroy(&c->changed);
	buf_release(&c->body);
}

static inline struct httpc_loop *
new_loop(struct httpc_config config)
{
	static char ca[300];
	struct httpc_loop *l = NULL;

	snprintf(ca, sizeof(ca), "%s", peer_word("ca"));
	if (config.ca_file == NULL)
		config.ca_file = ca;
	CHECK_INT(httpc_loop_new(&config, &l), 0);
	return l;
}

/* GET, which must succeed; ${body} is NULL where it does not matter. */
static inline void
fetch(struct httpc_loop *l, const char *server, const char *path, int status, const char *body)
{
	struct call c;

	call_init(&c, l, server, path);
	call_start(&c);
	CHECK_INT(call_wait(&c), 0);
	CHECK_INT(c.heads, 1);
	CHECK_INT(c.done_status, status);
	if (body != NULL)
		CHECK_MEM(c.body.data, c.body.len, body, strlen(body));
	call_release(&c);
}

/* A number of the peer's /stats. */
static inline uint64_t
peer_stat(struct httpc_loop *l, const char *name)
{
	struct call c;
	char key[40];
	const char *at;
	uint64_t n = 0;

	call_init(&c, l, "plain", "/stats");
	call_start(&c);
	CHECK_INT(call_wait(&c), 0);
	CHECK_INT(buf_put(&c.body, "", 1), 0);
	snprintf(key, sizeof(key), "\"%s\":", name);
	at = strstr(c.body.data, key);
	if (CHECK(at != NULL))
		n = strtoull(at + strlen(key), NULL, 10);
	call_release(&c);
	return n;
}

#endif
