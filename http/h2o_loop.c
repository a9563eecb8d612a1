/*
 * h2o_loop.c: what a thread does, turn by turn, from start to stop.
 *
 *	wait for sockets (messages from http_post() come as one)  ->  messages posted meanwhile  ->  timers that are due
 */
#include <h2o.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "h2o_impl.h"
#include "base/limits.h"
#include "base/log.h"

#define GRACE_MS 10000u /* for requests in flight when the server stops */
#define COMING_MS 1000u /* for those that are still coming in */
#define TURN_MS 1u      /* a turn that has lasted longer is long */

static _Thread_local struct http_thread *self_thread;

static void
wake(struct http_thread *t)
{
	uint64_t one = 1;
	ssize_t rc;

	do
		rc = write(t->wake_fd, &one, sizeof(one));
	while (rc < 0 && errno == EINTR);
}

void
http_post(struct http_thread *t, struct http_msg *m)
{
	struct http_msg *head = atomic_load_explicit(&t->inbox, memory_order_relaxed);

	do
		m->next = head;
	while (!atomic_compare_exchange_weak_explicit(&t->inbox, &head, m, memory_order_acq_rel, memory_order_relaxed));
	/* Whoever finds the box empty wakes the loop; the loop empties it before it sleeps. */
	if (head == NULL && t != self_thread)
		wake(t);
}

static void
run_messages(struct http_thread *t)
{
	struct http_msg *m = atomic_exchange_explicit(&t->inbox, NULL, memory_order_acquire);
	struct http_msg *next, *inorder = NULL;

	for (; m != NULL; m = next) {
		next = m->next;
		m->next = inorder;
		inorder = m;
	}
	for (m = inorder; m != NULL; m = next) {
		next = m->next;
		m->fn(m->arg);
		server_flush(t);
	}
}

void
server_on_wake(h2o_socket_t *sock, const char *err)
{
	struct http_thread *t = sock->data;
	uint64_t n;

	(void)err;
	if (read(t->wake_fd, &n, sizeof(n)) == sizeof(n))
		run_messages(t);
}

static void
run_timers(struct http_thread *t)
{
	struct http_timer *timer;
	uint64_t now = timers_now();

	while ((timer = timers_next(&t->timers, now)) != NULL) {
		timer->fn(timer->arg);
		server_flush(t);
	}
}

int
http_timer_new(struct http_thread *t, void (*fn)(void *arg), void *arg, struct http_timer **tp)
{
	struct http_timer *timer = malloc(sizeof(*timer));
	int err = timer != NULL ? timers_add(&t->timers, timer, fn, arg) : ERR_NOMEM;

	if (err != 0) {
		free(timer);
		return err;
	}
	*tp = timer;
	return 0;
}

/* ---- The loop ---- */

static void
begin_stop(struct http_thread *t)
{
	struct shutdown_hook *hook;
	int i;

	t->stopping = 1;
	t->stop_at_ms = timers_now() + GRACE_MS;
	t->stop_coming_ms = timers_now() + COMING_MS;
	for (i = 0; i < 2; i++) {
		if (t->listener[i] != NULL)
			h2o_socket_close(t->listener[i]);
		t->listener[i] = NULL;
	}
	h2o_context_request_shutdown(&t->ctx);
	server_room_stop(t);
	for (hook = t->hooks; hook != NULL; hook = hook->next) {
		hook->fn(hook->arg);
		server_flush(t);
	}
	http_timer_set(&t->sweeper, 0);
}

/*
 * Messages, timers and the stop run within h2o's loop.  Behind it, a write that completes at once
 * leaves its callback to the loop's next run, which first asks to be told when the socket can be
 * written and forgets to take that back once the callback has run: when the socket next can be
 * written, h2o asserts that somebody is writing.
 */
static void
on_turn(h2o_timeout_entry_t *entry)
{
	struct http_thread *t = H2O_STRUCT_FROM_MEMBER(struct http_thread, turn, entry);

	if (atomic_load_explicit(&t->inbox, memory_order_relaxed) != NULL)
		run_messages(t);
	run_timers(t);
	if (!t->stopping && atomic_load_explicit(&t->server->stop, memory_order_relaxed))
		begin_stop(t);
}

static int
has_turn(struct http_thread *t)
{
	return atomic_load_explicit(&t->inbox, memory_order_relaxed) != NULL || timers_wait(&t->timers) == 0 ||
	       (!t->stopping && atomic_load_explicit(&t->server->stop, memory_order_relaxed));
}

/* How long the loop's turn has taken by now. */
static uint64_t
turn_ms(struct http_thread *t)
{
	struct timeval now;
	uint64_t ms;

	gettimeofday(&now, NULL);
	ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_usec / 1000 - h2o_now(t->ctx.loop);
	/* The clock was set back. */
	return ms > UINT32_MAX ? 0 : ms;
}

int
server_turn_is_long(struct http_thread *t)
{
	return turn_ms(t) > TURN_MS;
}

/*
 * How long the turn took that has just ended: h2o counts it in ms, in the slot that was the next one before, if there
 * was an event.
 */
static void
note_lag(struct http_thread *t, size_t slot)
{
	const h2o_sliding_counter_t *turns = &t->ctx.loop->exec_time_counter;
	uint64_t ms = turns->prev.index != slot ? turns->prev.slots[slot] : turn_ms(t);

	if (ms > atomic_load_explicit(&t->lag_ms, memory_order_relaxed))
		atomic_store_explicit(&t->lag_ms, (unsigned)ms, memory_order_relaxed);
}

unsigned
http_server_lag_ms(struct http_server *s, int reset)
{
	unsigned i, max = 0;

	for (i = 0; i < s->nthreads; i++) {
		unsigned ms = reset ? atomic_exchange_explicit(&s->threads[i].lag_ms, 0, memory_order_relaxed)
				    : atomic_load_explicit(&s->threads[i].lag_ms, memory_order_relaxed);

		if (ms > max)
			max = ms;
	}
	return max;
}

static void *
thread_main(void *arg)
{
	struct http_thread *t = arg;

	self_thread = t;
	t->turn.cb = on_turn;
	while (!t->stopping || ((t->conns != NULL || t->live > 0) && timers_now() < t->stop_at_ms)) {
		size_t slot = t->ctx.loop->exec_time_counter.prev.index;
		int due = has_turn(t);

		if (due && !h2o_timeout_is_linked(&t->turn))
			h2o_timeout_link(t->ctx.loop, &t->ctx.zero_timeout, &t->turn);
		h2o_evloop_run(t->ctx.loop, due ? 0 : timers_wait(&t->timers));
		t->clock_us = 0;
		server_gate_turn(t);
		note_lag(t, slot);
	}
	if (h2o_timeout_is_linked(&t->turn))
		h2o_timeout_unlink(&t->turn);
	self_thread = NULL;
	return NULL;
}

int
http_server_run(struct http_server *s)
{
	pthread_attr_t attr;
	unsigned i, n = 1;
	int rc = 0;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, LIMIT_THREAD_STACK);
	for (; n < s->nthreads && rc == 0; n++)
		rc = pthread_create(&s->threads[n].id, &attr, thread_main, &s->threads[n]);
	pthread_attr_destroy(&attr);
	if (rc != 0) {
		log_line(LOG_ERROR, "cannot start a thread: %s", strerror(rc));
		n--;
		http_server_stop(s);
	}
	thread_main(&s->threads[0]);
	for (i = 1; i < n; i++)
		pthread_join(s->threads[i].id, NULL);
	for (i = 0; i < n; i++)
		if (s->threads[i].conns != NULL || s->threads[i].live > 0)
			return ERR_BUSY;
	return rc == 0 ? 0 : err_errno(rc);
}

void
http_server_stop(struct http_server *s)
{
	unsigned i;

	atomic_store(&s->stop, 1);
	for (i = 0; i < s->nthreads; i++)
		wake(&s->threads[i]);
}
