/*
 * httpc.c: one thread that makes many requests.
 *
 *	            httpc_start                    its turn                 its end, or httpc_cancel
 *	(nothing) ---------------> in a queue -----------------> running ---------------------------> done
 *	            take_messages               begin_waiting                collect, end
 *
 * Other threads speak to it through messages: a request that has one is in the inbox, what is wished of it in its own.wish.
 * The thread sleeps in epoll until a message, a socket, libcurl's timer or a look at the bounds on time is due; without
 * requests it sleeps for good, and after a while gives back what libcurl holds.
 *
 * 1. lock guards the inbox, own.state and own.wish of all requests, stopping and running. It is never held in a callback
 *    or in libcurl.
 * 2. A request whose on_done is called is in no list, and is not looked at again.
 * 3. Callbacks come from within libcurl's functions, and libcurl must not be called from them on the same request: so
 *    what callbacks ask for are messages as well.
 */
#include "httpc.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "httpc_transfer.h"
#include "limits.h"

enum { STATE_NONE, STATE_STARTED, STATE_DONE };
enum { WISH_START = 1, WISH_RESUME = 2, WISH_CANCEL = 4 };
#define NEVER UINT64_MAX
#define EVENTS 64

struct httpc_loop {
	struct httpc_common common;
	pthread_mutex_t lock;
	struct httpc_request *inbox, **inbox_end;
	int stopping;
	int running; /* there is a thread */
	pthread_t thread;

	/* The thread's. */
	int epoll, wake; /* the latter is an eventfd */
	CURLM *multi;    /* NULL: nothing was asked for a while */
	int deaf;        /* a socket could not be watched */
	struct httpc_queue *ordinary, *feeds;
	LIST_HEAD(, httpc_transfer) transfers;
	uint64_t look_ms; /* when to look at the bounds on time */
	uint64_t idle_ms; /* when to give back what libcurl holds */
	_Atomic uint32_t nrunning, nfeeds, nwaiting;
};

static uint64_t
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000u + (uint64_t)t.tv_nsec / 1000000u;
}

/* ---- Messages ---- */

static void
wake(struct httpc_loop *l)
{
	const uint64_t one = 1;

	(void)!write(l->wake, &one, sizeof(one));
}

/* Under the lock. */
static void
post(struct httpc_loop *l, struct httpc_request *req, unsigned wish)
{
	int first = l->inbox == NULL;

	if (req->own.wish == 0) {
		req->own.next = NULL;
		req->own.prevp = l->inbox_end;
		*l->inbox_end = req;
		l->inbox_end = &req->own.next;
	}
	req->own.wish |= wish;
	if (first)
		wake(l);
}

/* Under the lock; returns what was wished. */
static unsigned
unpost(struct httpc_loop *l, struct httpc_request *req)
{
	unsigned wish = req->own.wish;

	if (wish == 0)
		return 0;
	*req->own.prevp = req->own.next;
	if (req->own.next != NULL)
		req->own.next->own.prevp = req->own.prevp;
	else
		l->inbox_end = req->own.prevp;
	req->own.wish = 0;
	return wish;
}

static void
wish_for(struct httpc_request *req, unsigned wish)
{
	struct httpc_loop *l = req->own.loop;

	pthread_mutex_lock(&l->lock);
	if (req->own.state == STATE_STARTED)
		post(l, req, wish);
	pthread_mutex_unlock(&l->lock);
}

void
httpc_resume(struct httpc_request *req)
{
	wish_for(req, WISH_RESUME);
}

void
httpc_cancel(struct httpc_request *req)
{
	wish_for(req, WISH_CANCEL);
}

/* ---- A request's way ---- */

static struct httpc_queue *
queue_of(struct httpc_loop *l, const struct httpc_request *req)
{
	return req->feed || req->paired ? l->feeds : l->ordinary;
}

static void
say_done(struct httpc_loop *l, struct httpc_request *req, int err, int status, const struct errtext *why)
{
	pthread_mutex_lock(&l->lock);
	(void)unpost(l, req);
	assert(req->own.state == STATE_STARTED);
	req->own.state = STATE_DONE;
	req->own.transfer = NULL;
	pthread_mutex_unlock(&l->lock);
	if (req->on_done != NULL)
		req->on_done(req->cookie, err, status, why);
}

/* ${t} ends with ${err}, and is freed. */
static void
end(struct httpc_loop *l, struct httpc_transfer *t, int err, const struct errtext *why)
{
	struct httpc_request *req = t->req;
	struct errtext words = *why;
	int status = t->status;

	if (t->easy != NULL && l->multi != NULL)
		(void)l->common.curl->multi_remove_handle(l->multi, t->easy);
	httpc_queue_end(queue_of(l, req), &t->place);
	LIST_REMOVE(t, link);
	httpc_transfer_free(t);
	say_done(l, req, err, status, &words);
}

static void
start(struct httpc_loop *l, struct httpc_request *req)
{
	struct httpc_transfer *t = NULL;
	struct errtext why = {.text = ""};
	int err = httpc_transfer_new(&l->common, req, &t, &why);

	if (err == 0 && (err = httpc_queue_put(queue_of(l, req), &t->place, t->host, req->owner)) != 0)
		httpc_transfer_free(t);
	if (err) {
		say_done(l, req, err, 0, &why);
		return;
	}
	LIST_INSERT_HEAD(&l->transfers, t, link);
	req->own.transfer = t;
}

static void
obey(struct httpc_loop *l, struct httpc_request *req, unsigned wish)
{
	static const struct errtext cancelled = {.text = "cancelled"};

	if (wish & WISH_CANCEL) {
		if (req->own.transfer == NULL)
			say_done(l, req, ERR_CANCELLED, 0, &cancelled);
		else
			end(l, req->own.transfer, ERR_CANCELLED, &cancelled);
	} else if (wish & WISH_START) {
		start(l, req);
	} else if (req->own.transfer->easy != NULL && httpc_transfer_resume(req->own.transfer)) {
		end(l, req->own.transfer, req->own.transfer->err, &req->own.transfer->why);
	}
}

/* So many at most, since callbacks may add to them without end. Returns 1 if the loop is to end. */
static int
take_messages(struct httpc_loop *l)
{
	struct httpc_request *req;
	unsigned wish;
	int stopping;

	pthread_mutex_lock(&l->lock);
	for (unsigned n = 0; n < 1000 && (req = l->inbox) != NULL; n++) {
		wish = unpost(l, req);
		pthread_mutex_unlock(&l->lock);
		obey(l, req, wish);
		pthread_mutex_lock(&l->lock);
	}
	if (l->inbox != NULL)
		wake(l);
	stopping = l->stopping;
	pthread_mutex_unlock(&l->lock);
	return stopping;
}

static void
end_all(struct httpc_loop *l)
{
	static const struct errtext why = {.text = "the client ends"};
	struct httpc_transfer *t;
	struct httpc_request *req;

	while ((t = LIST_FIRST(&l->transfers)) != NULL)
		end(l, t, ERR_CANCELLED, &why);
	/* What is left was never begun. */
	pthread_mutex_lock(&l->lock);
	while ((req = l->inbox) != NULL) {
		(void)unpost(l, req);
		pthread_mutex_unlock(&l->lock);
		say_done(l, req, ERR_CANCELLED, 0, &why);
		pthread_mutex_lock(&l->lock);
	}
	pthread_mutex_unlock(&l->lock);
}

/* ---- libcurl ---- */

static int
on_socket_wish(CURL *easy, curl_socket_t fd, int what, void *cookie, void *unused)
{
	struct httpc_loop *l = cookie;
	struct epoll_event e = {.data.fd = fd};

	(void)easy;
	(void)unused;
	if (what & CURL_POLL_IN)
		e.events |= EPOLLIN;
	if (what & CURL_POLL_OUT)
		e.events |= EPOLLOUT;
	if (what == CURL_POLL_REMOVE)
		(void)epoll_ctl(l->epoll, EPOLL_CTL_DEL, fd, NULL);
	else if (epoll_ctl(l->epoll, EPOLL_CTL_MOD, fd, &e) != 0 && epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &e) != 0)
		l->deaf = 1;
	return 0;
}

/*
 * A socket that cannot be watched may carry any of the transfers: all that have begun end, with their connections.  libcurl would do the same
 * if it was told, but for good, and some of its versions fall over it.
 */
static void
end_deaf(struct httpc_loop *l)
{
	static const struct errtext why = {.text = "a connection cannot be watched"};
	struct httpc_transfer *t, *next;

	for (t = LIST_FIRST(&l->transfers); t != NULL; t = next) {
		next = LIST_NEXT(t, link);
		if (t->easy != NULL)
			end(l, t, ERR_IO, &why);
	}
	(void)l->common.curl->multi_cleanup(l->multi);
	l->multi = NULL;
	l->deaf = 0;
}

static int
need_multi(struct httpc_loop *l)
{
	const struct httpc_curl *curl = l->common.curl;
	const struct httpc_config *config = &l->common.config;

	if (l->multi != NULL)
		return 0;
	if ((l->multi = curl->multi_init()) == NULL)
		return ERR_NOMEM;
	(void)curl->multi_setopt(l->multi, CURLMOPT_SOCKETFUNCTION, on_socket_wish);
	(void)curl->multi_setopt(l->multi, CURLMOPT_SOCKETDATA, l);
	(void)curl->multi_setopt(l->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_MULTIPLEX);
	/* It counts those in use as well: with fewer, feeds would leave no room to keep any other for the next request. */
	(void)curl->multi_setopt(l->multi, CURLMOPT_MAXCONNECTS, (long)config->requests + (long)config->feeds);
	return 0;
}

static int
begin(struct httpc_loop *l, struct httpc_transfer *t)
{
	uint32_t step = httpc_transfer_step(t);
	int err;

	if ((err = need_multi(l)) != 0 || (err = httpc_transfer_begin(t)) != 0)
		return err;
	if (step != HTTPC_FOREVER && l->look_ms > now_ms() + step)
		l->look_ms = now_ms() + step;
	return l->common.curl->multi_add_handle(l->multi, t->easy) == CURLM_OK ? 0 : ERR_NOMEM;
}

static void
begin_waiting(struct httpc_loop *l, struct httpc_queue *q)
{
	static const struct errtext none = {.text = ""};
	struct httpc_place *p;
	struct httpc_transfer *t;
	int err;

	while ((p = httpc_queue_take(q)) != NULL) {
		t = (struct httpc_transfer *)(void *)((char *)p - offsetof(struct httpc_transfer, place));
		if ((err = begin(l, t)) != 0)
			end(l, t, err, &none);
	}
}

static void
collect(struct httpc_loop *l)
{
	const struct httpc_curl *curl = l->common.curl;
	struct httpc_transfer *t;
	struct errtext why;
	CURLMsg *msg;
	int left, err;

	while (l->multi != NULL && (msg = curl->multi_info_read(l->multi, &left)) != NULL) {
		if (msg->msg != CURLMSG_DONE)
			continue;
		(void)curl->easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)(void *)&t);
		if (httpc_transfer_again(t, msg->data.result)) {
			(void)curl->multi_remove_handle(l->multi, t->easy);
			if (curl->multi_add_handle(l->multi, t->easy) == CURLM_OK)
				continue;
		}
		why.text[0] = '\0';
		err = httpc_transfer_result(t, msg->data.result, &why);
		end(l, t, err, &why);
	}
}

/* ---- Time ---- */

static void
look_at_bounds(struct httpc_loop *l, uint64_t now)
{
	struct httpc_transfer *t, *next;
	uint32_t step, least = HTTPC_FOREVER;

	for (t = LIST_FIRST(&l->transfers); t != NULL; t = next) {
		next = LIST_NEXT(t, link);
		if (t->easy == NULL)
			continue;
		if (httpc_transfer_slow(t, now))
			end(l, t, t->err, &t->why);
		else if ((step = httpc_transfer_step(t)) < least)
			least = step;
	}
	l->look_ms = least == HTTPC_FOREVER ? NEVER : now + least;
}

/* When something is due, -1 for never, as epoll has it. */
static int
sleep_ms(struct httpc_loop *l)
{
	uint64_t due = l->look_ms < l->idle_ms ? l->look_ms : l->idle_ms;
	uint64_t now = now_ms();
	long ms = -1;

	if (l->multi != NULL)
		(void)l->common.curl->multi_timeout(l->multi, &ms);
	if (ms >= 0 && now + (uint64_t)ms < due)
		due = now + (uint64_t)ms;
	if (due == NEVER)
		return -1;
	if (due <= now)
		return 0;
	return due - now < 1000000 ? (int)(due - now) : 1000000;
}

static void
rest_if_idle(struct httpc_loop *l, uint64_t now)
{
	if (!LIST_EMPTY(&l->transfers) || l->multi == NULL) {
		l->idle_ms = NEVER;
	} else if (l->idle_ms == NEVER) {
		l->idle_ms = now + l->common.config.idle_ms;
	} else if (l->idle_ms <= now) {
		(void)l->common.curl->multi_cleanup(l->multi);
		l->multi = NULL;
		l->idle_ms = NEVER;
	}
}

/* ---- The thread ---- */

static void
serve_events(struct httpc_loop *l, const struct epoll_event *events, int n)
{
	uint64_t count;
	int what, running;

	for (int i = 0; i < n; i++) {
		if (events[i].data.fd == l->wake) {
			(void)!read(l->wake, &count, sizeof(count));
			continue;
		}
		/* What came goes first: a connection that broke may have an answer in it. */
		what = events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP) ? CURL_CSELECT_IN : CURL_CSELECT_OUT;
		if (l->multi != NULL)
			(void)l->common.curl->multi_socket_action(l->multi, events[i].data.fd, what, &running);
	}
	if (l->multi != NULL)
		(void)l->common.curl->multi_socket_action(l->multi, CURL_SOCKET_TIMEOUT, 0, &running);
}

static void
publish(struct httpc_loop *l)
{
	l->nrunning = httpc_queue_running(l->ordinary);
	l->nfeeds = httpc_queue_running(l->feeds);
	l->nwaiting = httpc_queue_waits(l->ordinary) + httpc_queue_waits(l->feeds);
}

static void *
run(void *arg)
{
	struct httpc_loop *l = arg;
	struct epoll_event events[EVENTS];
	uint64_t now;
	int n;

	while (!take_messages(l)) {
		begin_waiting(l, l->ordinary);
		begin_waiting(l, l->feeds);
		publish(l);
		n = epoll_wait(l->epoll, events, EVENTS, l->deaf ? 0 : sleep_ms(l));
		serve_events(l, events, n);
		collect(l);
		if (l->deaf)
			end_deaf(l);
		now = now_ms();
		if (now >= l->look_ms)
			look_at_bounds(l, now);
		rest_if_idle(l, now);
	}
	end_all(l);
	publish(l);
	if (l->multi != NULL)
		(void)l->common.curl->multi_cleanup(l->multi);
	return NULL;
}

/* ---- Its beginning and end ---- */

static void
release_thread(struct httpc_loop *l)
{
	httpc_queue_free(l->ordinary);
	httpc_queue_free(l->feeds);
	l->ordinary = l->feeds = NULL;
	if (l->epoll >= 0)
		close(l->epoll);
	if (l->wake >= 0)
		close(l->wake);
	l->epoll = l->wake = -1;
}

static int
prepare_thread(struct httpc_loop *l)
{
	const struct httpc_config *config = &l->common.config;
	struct epoll_event e = {.events = EPOLLIN};

	l->epoll = epoll_create1(EPOLL_CLOEXEC);
	l->wake = e.data.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->epoll < 0 || l->wake < 0 || epoll_ctl(l->epoll, EPOLL_CTL_ADD, l->wake, &e) != 0 ||
	    httpc_queue_new(config->per_host, config->requests, &l->ordinary) != 0)
		return ERR_NOMEM;
	return httpc_queue_new(config->feeds, config->feeds, &l->feeds);
}

/* Signals are other threads' business; a connection that breaks would raise one. */
static int
begin_thread(struct httpc_loop *l)
{
	pthread_attr_t attr;
	sigset_t all, before;
	int rc;

	if (pthread_attr_init(&attr) != 0)
		return ERR_NOMEM;
	sigfillset(&all);
	(void)pthread_attr_setstacksize(&attr, LIMIT_THREAD_STACK);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&l->thread, &attr, run, l);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return rc == 0 ? 0 : ERR_NOMEM;
}

/* Under the lock. */
static int
need_thread(struct httpc_loop *l)
{
	int err;

	if (l->running)
		return 0;
	if ((err = httpc_curl(&l->common.curl)) != 0)
		return err;
	err = prepare_thread(l);
	if (err == 0)
		err = begin_thread(l);
	if (err)
		release_thread(l);
	l->running = err == 0;
	return err;
}

int
httpc_start(struct httpc_loop *l, struct httpc_request *req)
{
	int err;

	pthread_mutex_lock(&l->lock);
	assert(req->own.state != STATE_STARTED);
	err = l->stopping ? ERR_SHUTDOWN : need_thread(l);
	if (err == 0) {
		req->own = (struct httpc_own){.loop = l, .state = STATE_STARTED};
		post(l, req, WISH_START);
	}
	pthread_mutex_unlock(&l->lock);
	return err;
}

static void
set_default(uint32_t *value, uint32_t otherwise)
{
	if (*value == 0)
		*value = otherwise;
}

int
httpc_loop_new(const struct httpc_config *config, struct httpc_loop **lp)
{
	struct httpc_loop *l = calloc(1, sizeof(*l));
	struct httpc_config *c;

	if (l == NULL)
		return ERR_NOMEM;
	c = &l->common.config;
	*c = *config;
	set_default(&c->times.connect_ms, 10000);
	set_default(&c->times.head_ms, HTTPC_FOREVER);
	set_default(&c->times.stall_ms, 60000);
	set_default(&c->per_host, 20);
	set_default(&c->requests, 200);
	set_default(&c->feeds, 10000);
	set_default(&c->idle_ms, 30000);
	pthread_mutex_init(&l->lock, NULL);
	l->inbox_end = &l->inbox;
	l->epoll = l->wake = -1;
	l->look_ms = l->idle_ms = NEVER;
	*lp = l;
	return 0;
}

void
httpc_loop_free(struct httpc_loop *l)
{
	if (l == NULL)
		return;
	pthread_mutex_lock(&l->lock);
	l->stopping = 1;
	if (l->running)
		wake(l);
	pthread_mutex_unlock(&l->lock);
	if (l->running)
		pthread_join(l->thread, NULL);
	release_thread(l);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

void
httpc_loop_stats(struct httpc_loop *l, struct httpc_stats *out)
{
	*out = (struct httpc_stats){
	    .running = l->nrunning, .feeds = l->nfeeds, .waiting = l->nwaiting, .connections = l->common.connections};
}
