/* httpc_get.c: a request that its thread waits for. */
#include "httpc.h"

#include <pthread.h>

/* Of all that wait: nobody's thread is still in one that its waiter gives up. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t ended = PTHREAD_COND_INITIALIZER;

struct wait {
	const struct httpc_request *req;
	int done, err, status;
	struct errtext *why;
};

static int
wait_head(void *cookie, const struct httpc_head *head)
{
	struct wait *w = cookie;

	return w->req->on_head != NULL ? w->req->on_head(w->req->cookie, head) : 0;
}

static int
wait_body(void *cookie, const void *data, size_t len)
{
	struct wait *w = cookie;

	return w->req->on_body != NULL ? w->req->on_body(w->req->cookie, data, len) : 0;
}

static int
wait_read(void *cookie, void *buf, size_t size, size_t *lenp)
{
	struct wait *w = cookie;

	return w->req->on_read(w->req->cookie, buf, size, lenp);
}

static void
wait_done(void *cookie, int err, int status, const struct errtext *why)
{
	struct wait *w = cookie;

	pthread_mutex_lock(&lock);
	w->err = err;
	w->status = status;
	if (w->why != NULL)
		*w->why = *why;
	w->done = 1;
	pthread_cond_broadcast(&ended);
	pthread_mutex_unlock(&lock);
}

int
httpc_get(struct httpc_loop *l, const struct httpc_request *req, int *statusp, struct errtext *why)
{
	struct wait w = {.req = req, .why = why};
	struct httpc_request mine = *req;
	int err;

	mine.cookie = &w;
	mine.on_head = wait_head;
	mine.on_body = wait_body;
	mine.on_read = req->on_read != NULL ? wait_read : NULL;
	mine.on_done = wait_done;
	mine.own = (struct httpc_own){.loop = NULL};
	*statusp = 0;
	if ((err = httpc_start(l, &mine)) != 0)
		return err_why(
		    why, err, "%s", err == ERR_NOT_IMPLEMENTED ? "libcurl is not installed" : err_reason(err));
	pthread_mutex_lock(&lock);
	while (!w.done)
		pthread_cond_wait(&ended, &lock);
	pthread_mutex_unlock(&lock);
	*statusp = w.status;
	return w.err;
}
