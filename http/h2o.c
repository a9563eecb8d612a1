/*
 * h2o.c: the HTTP engine on libh2o-evloop 2.2: birth and death of the server
 * and its threads.
 *
 * One event loop per thread, each with its own listening sockets (SO_REUSEPORT), its own h2o
 * context, its own timers and its own requests; nothing of h2o is shared between threads.
 */
#include <h2o.h>
#include <h2o/http1.h>
#include <h2o/http2.h>

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "h2o_impl.h"
#include "base/limits.h"
#include "base/log.h"

#define IDLE_MS (300u * 1000u) /* of an HTTP/2 connection */
#define DAY_MS (24u * 3600u * 1000u)
#define BODY_MAX (UINT64_MAX / 2) /* there is room above it for what h2o_gate.c adds */

unsigned
http_server_port(const struct http_server *s)
{
	return s->port;
}

unsigned
http_server_tls_port(const struct http_server *s)
{
	return s->tls_port;
}

unsigned
http_server_threads(const struct http_server *s)
{
	return s->nthreads;
}

struct http_thread *
http_server_thread(struct http_server *s, unsigned i)
{
	return &s->threads[i];
}

unsigned
http_thread_index(const struct http_thread *t)
{
	return t->index;
}

int
http_thread_on_shutdown(struct http_thread *t, void (*fn)(void *arg), void *arg)
{
	struct shutdown_hook *hook = malloc(sizeof(*hook));

	if (hook == NULL)
		return ERR_NOMEM;
	*hook = (struct shutdown_hook){fn, arg, t->hooks};
	t->hooks = hook;
	return 0;
}

void
http_server_set_max_body(struct http_server *s, uint64_t max)
{
	if (max == 0)
		max = LIMIT_REQUEST_LEN;
	if (max > BODY_MAX)
		max = BODY_MAX;
	atomic_store_explicit(&s->max_body, max, memory_order_relaxed);
}

static void
configure(struct http_server *s)
{
	h2o_globalconf_t *g = &s->global;
	struct handler *handler;
	h2o_filter_t *errors;

	h2o_config_init(g);
	if (s->config.server_name != NULL) {
		s->name_len = strlen(s->config.server_name);
		g->server_name = h2o_iovec_init(NULL, 0); /* server_put_name() */
	}
	http_server_set_max_body(s, s->config.max_body); /* h2o_gate.c tells h2o */
	g->http1.req_timeout = DAY_MS;                   /* h2o_pace.c is stricter, and fairer to large bodies */
	g->http1.upgrade_to_http2 = 0;                   /* but for who begins with HTTP/2's preface: h2o_gate.c */
	g->http2.idle_timeout = IDLE_MS;
	s->host = h2o_config_register_host(g, h2o_iovec_init(H2O_STRLIT("default")), 65535);
	handler = (struct handler *)h2o_create_handler(h2o_config_register_path(s->host, "/", 0), sizeof(*handler));
	handler->super.on_req = server_on_req;
	handler->server = s;
	errors = h2o_create_filter(&s->host->fallback_path, sizeof(*errors));
	errors->on_setup_ostream = server_error_setup;
	h2o_socket_buffer_mmap_settings.threshold = SERVER_SPOOL_BYTES;
	if (s->config.spool_dir != NULL)
		snprintf(h2o_socket_buffer_mmap_settings.fn_template,
		    sizeof(h2o_socket_buffer_mmap_settings.fn_template), "%s/.body.XXXXXX", s->config.spool_dir);
}

static h2o_socket_t *
add_socket(struct http_thread *t, int fd, void *data, h2o_socket_cb cb)
{
	h2o_socket_t *sock = h2o_evloop_socket_create(t->ctx.loop, fd, H2O_SOCKET_FLAG_DONT_READ);

	sock->data = data;
	h2o_socket_read_start(sock, cb);
	return sock;
}

static int
thread_init(struct http_server *s, struct http_thread *t, unsigned index)
{
	int i, err;

	t->server = s;
	t->index = index;
	t->flush_tail = &t->flush;
	t->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	t->watch_fd = epoll_create1(EPOLL_CLOEXEC);
	if (t->wake_fd < 0 || t->watch_fd < 0) {
		log_line(LOG_ERROR, "cannot make an event loop: %s", strerror(errno));
		return ERR_IO;
	}
	err = timers_add(&t->timers, &t->sweeper, server_on_sweep, t);
	if (err == 0)
		err = timers_add(&t->timers, &t->reopener, server_on_reopen, t);
	if (err == 0)
		err = timers_add(&t->timers, &t->pacer, server_on_pace, t);
	if (err == 0)
		err = timers_add(&t->timers, &t->expirer, server_on_expire, t);
	if (err == 0)
		err = timers_add(&t->timers, &t->calmer, server_on_calm, t);
	if (err != 0)
		return err;
	h2o_context_init(&t->ctx, h2o_evloop_create(), &s->global);
	t->global = s->global;
	t->ctx.globalconf = &t->global;
	t->wake = add_socket(t, t->wake_fd, t, server_on_wake);
	t->watch = add_socket(t, t->watch_fd, t, server_on_watch);
	for (i = 0; i < 2; i++) {
		if (s->fds[i] == NULL)
			continue;
		t->accept[i] = (h2o_accept_ctx_t){.ctx = &t->ctx, .hosts = s->global.hosts};
		t->listener[i] = add_socket(t, s->fds[i][index], &t->accept[i], server_on_accept);
		s->fds[i][index] = -1;
	}
	return server_gate_learn(t);
}

static int
open_listeners(struct http_server *s)
{
	const struct http_config *c = &s->config;
	int err;

	s->fds[0] = calloc(s->nthreads, sizeof(int));
	if (s->fds[0] == NULL)
		return ERR_NOMEM;
	memset(s->fds[0], -1, s->nthreads * sizeof(int));
	err = server_listen(c->bind, c->port, s->nthreads, s->fds[0], &s->port);
	if (err != 0 || c->tls_bind == NULL)
		return err;
	err = server_tls_open(&c->tls, server_cert_seen, &s->tls);
	if (err != 0)
		return err;
	s->fds[1] = calloc(s->nthreads, sizeof(int));
	if (s->fds[1] == NULL)
		return ERR_NOMEM;
	memset(s->fds[1], -1, s->nthreads * sizeof(int));
	return server_listen(c->tls_bind, c->tls_port, s->nthreads, s->fds[1], &s->tls_port);
}

int
http_server_new(const struct http_config *config, struct http_server **sp)
{
	struct http_server *s = calloc(1, sizeof(*s));
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned i, n;
	int err;

	if (s == NULL)
		return ERR_NOMEM;
	s->config = *config;
	server_room_init(&s->room, config->gate.request_memory);
	n = config->threads > 0 ? config->threads : cores > 0 ? (unsigned)cores : 1;
	s->threads = calloc(n, sizeof(*s->threads));
	if (s->threads == NULL) {
		server_room_release(&s->room);
		free(s);
		return ERR_NOMEM;
	}
	s->nthreads = n;
	for (i = 0; i < n; i++)
		s->threads[i].wake_fd = s->threads[i].watch_fd = -1;
	err = server_admit_open(s);
	if (err == 0)
		err = open_listeners(s);
	if (err == 0)
		configure(s);
	for (i = 0; i < n && err == 0; i++)
		err = thread_init(s, &s->threads[i], i);
	if (err != 0) {
		http_server_free(s);
		return err;
	}
	*sp = s;
	return 0;
}

/* Takes h2o's part of a thread down, which it can only do when no connection is left. */
static void
loop_release(struct http_thread *t)
{
	int i;

	for (i = 0; i < 2; i++)
		if (t->listener[i] != NULL)
			h2o_socket_close(t->listener[i]);
	h2o_socket_close(t->wake);
	h2o_socket_close(t->watch);
	t->wake_fd = t->watch_fd = -1;
	h2o_evloop_run(t->ctx.loop, 0);
	/* The second half of a graceful shutdown, a second after the first: there is nobody left to tell. */
	if (h2o_timeout_is_linked(&t->ctx.http2._graceful_shutdown_timeout))
		h2o_timeout_unlink(&t->ctx.http2._graceful_shutdown_timeout);
	h2o_context_dispose(&t->ctx);
	h2o_evloop_run(t->ctx.loop, 0);
	h2o_evloop_destroy(t->ctx.loop);
}

static void
thread_release(struct http_thread *t)
{
	struct http_req *req;
	struct shutdown_hook *hook;

	if (t->watch != NULL)
		loop_release(t);
	while ((req = t->free) != NULL) {
		t->free = req->next;
		arena_free(req->arena);
		free(req);
	}
	while ((hook = t->hooks) != NULL) {
		t->hooks = hook->next;
		free(hook);
	}
	encode_ctx_free(t->encode);
	timers_release(&t->timers);
	if (t->wake_fd >= 0)
		close(t->wake_fd);
	if (t->watch_fd >= 0)
		close(t->watch_fd);
	free(t->watching);
}

void
http_server_free(struct http_server *s)
{
	unsigned i, k;

	if (s == NULL)
		return;
	for (i = 0; i < s->nthreads; i++) {
		assert(s->threads[i].conns == NULL && s->threads[i].live == 0);
		thread_release(&s->threads[i]);
	}
	if (s->host != NULL)
		h2o_config_dispose(&s->global);
	for (k = 0; k < 2; k++) {
		for (i = 0; s->fds[k] != NULL && i < s->nthreads; i++)
			if (s->fds[k][i] >= 0)
				close(s->fds[k][i]);
		free(s->fds[k]);
	}
	server_tls_close(s->tls);
	server_admit_close(s);
	server_room_release(&s->room);
	free(s->threads);
	free(s);
}

#if defined(__SANITIZE_ADDRESS__)
/* h2o keeps buffers for reuse in each thread, and its message queues, for good. */
const char *__lsan_default_suppressions(void);

const char *
__lsan_default_suppressions(void)
{
	return "leak:libh2o-evloop\n";
}
#endif
