/*
 * pipe.c: a ring of bytes between a writer and a reader.
 *
 * Each side may leave a callback when it cannot go on; the other side takes it, under the lock, when things have
 * changed, and calls it behind the lock.  So it is called once for each time that it was left:
 *
 *  1. A callback that is left is taken by the next change that matters, or by the end of the pipe, also by the end that who left it
 *     gives it itself: so it is always called, once, and may hold a reference to what it needs.
 *  2. The writer is called when half of the ring is free, not for each byte; a piece is at most the ring, so it waits
 *     until it fits.
 */
#include "pipe.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct waiter {
	pipe_f *fn;
	void *cookie;
};

struct pipe {
	pthread_mutex_t lock;
	size_t at, len; /* of what is held */
	uint64_t passed;
	int ended, end_err; /* by the writer */
	int stopped;        /* by the reader: the error */
	int broken_by;      /* 'w' or 'r': whose error was first */
	size_t wanted;      /* room that the writer waits for */
	struct waiter writer, reader;
	char ring[PIPE_ROOM];
};

int
pipe_new(struct pipe **pp)
{
	struct pipe *p = malloc(sizeof(*p));

	if (p == NULL)
		return ERR_NOMEM;
	memset(p, 0, offsetof(struct pipe, ring));
	if (pthread_mutex_init(&p->lock, NULL) != 0) {
		free(p);
		return ERR_NOMEM;
	}
	*pp = p;
	return 0;
}

void
pipe_free(struct pipe *p)
{
	if (p == NULL)
		return;
	pthread_mutex_destroy(&p->lock);
	free(p);
}

/* Under the lock: who is to be called behind it. */
static struct waiter
take(struct waiter *w)
{
	struct waiter taken = *w;

	w->fn = NULL;
	return taken;
}

static void
call(struct waiter w)
{
	if (w.fn != NULL)
		w.fn(w.cookie);
}

/* ---- The writer ---- */

static void
append(struct pipe *p, const char *data, size_t len)
{
	size_t to = (p->at + p->len) % PIPE_ROOM;
	size_t first = len < PIPE_ROOM - to ? len : PIPE_ROOM - to;

	memcpy(p->ring + to, data, first);
	memcpy(p->ring, data + first, len - first);
	p->len += len;
}

int
pipe_put(struct pipe *p, const void *data, size_t len, pipe_f *room, void *cookie)
{
	struct waiter reader = {NULL, NULL};
	int err = 0;

	assert(len <= PIPE_ROOM);
	pthread_mutex_lock(&p->lock);
	if (p->stopped != 0) {
		err = p->stopped;
	} else if (len > PIPE_ROOM - p->len) {
		p->writer = (struct waiter){room, cookie};
		p->wanted = len;
		err = ERR_AGAIN;
	} else if (len > 0) {
		append(p, data, len);
		reader = take(&p->reader);
	}
	pthread_mutex_unlock(&p->lock);
	call(reader);
	return err;
}

void
pipe_end(struct pipe *p, int err)
{
	struct waiter reader, writer;

	pthread_mutex_lock(&p->lock);
	if (!p->ended) {
		p->ended = 1;
		p->end_err = err;
		if (err != 0 && p->broken_by == 0)
			p->broken_by = 'w';
	}
	reader = take(&p->reader);
	writer = take(&p->writer);
	pthread_mutex_unlock(&p->lock);
	call(reader);
	call(writer);
}

/* ---- The reader ---- */

static size_t
consume(struct pipe *p, char *out, size_t max)
{
	size_t n = p->len < max ? p->len : max;
	size_t first = n < PIPE_ROOM - p->at ? n : PIPE_ROOM - p->at;

	memcpy(out, p->ring + p->at, first);
	memcpy(out + first, p->ring, n - first);
	p->at = (p->at + n) % PIPE_ROOM;
	p->len -= n;
	p->passed += n;
	return n;
}

static int
room_enough(const struct pipe *p)
{
	size_t half = PIPE_ROOM / 2;

	return PIPE_ROOM - p->len >= (p->wanted > half ? p->wanted : half);
}

int
pipe_take(struct pipe *p, void *out, size_t max, size_t *np, pipe_f *bytes, void *cookie)
{
	struct waiter writer = {NULL, NULL};
	int err = 0;

	*np = 0;
	pthread_mutex_lock(&p->lock);
	if (p->len > 0) {
		*np = consume(p, out, max);
		if (p->writer.fn != NULL && room_enough(p))
			writer = take(&p->writer);
	} else if (p->ended) {
		err = p->end_err != 0 ? p->end_err : ERR_END;
	} else {
		p->reader = (struct waiter){bytes, cookie};
		err = ERR_AGAIN;
	}
	pthread_mutex_unlock(&p->lock);
	call(writer);
	return err;
}

void
pipe_stop(struct pipe *p, int err)
{
	struct waiter writer, reader;

	pthread_mutex_lock(&p->lock);
	if (p->stopped == 0 && err != ERR_END && p->broken_by == 0)
		p->broken_by = 'r';
	if (p->stopped == 0)
		p->stopped = err;
	writer = take(&p->writer);
	reader = take(&p->reader);
	pthread_mutex_unlock(&p->lock);
	call(writer);
	call(reader);
}

int
pipe_broken_by(struct pipe *p)
{
	int who;

	pthread_mutex_lock(&p->lock);
	who = p->broken_by;
	pthread_mutex_unlock(&p->lock);
	return who;
}

uint64_t
pipe_passed(struct pipe *p)
{
	uint64_t n;

	pthread_mutex_lock(&p->lock);
	n = p->passed;
	pthread_mutex_unlock(&p->lock);
	return n;
}
