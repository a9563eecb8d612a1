/*
 * h2o_body_lend.c: bodies as handlers ask for them: lent from where h2o has taken them in, or from the
 * buffers and the file of h2o_body.c.
 */
#include <h2o.h>

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "h2o_body.h"

#define LENT_MAX ((size_t)1 << 20) /* http_body_read()'s pieces of a body that is whole */

/*
 * To unmap a file takes 0.3 ms for each MiB of its pages that were touched, and h2o does so in the event loop when the request
 * ends: so the pages behind what was copied are given back.  The file still has them.
 */
static void
give_back(struct http_req *req, uint64_t at, size_t n)
{
	const uintptr_t page = 4096;
	uintptr_t base = (uintptr_t)req->entity.base, from = base + (uintptr_t)at, to = (from + n) & ~(page - 1);

	/* Less may stand in memory; and before the base, h2o's own fields. */
	if (req->entity.len < SERVER_SPOOL_BYTES)
		return;
	from = (from + page - 1) & ~(page - 1);
	if (from < to)
		(void)madvise(req->entity.base + (from - base), to - from, MADV_DONTNEED);
}

/* Lends ${n} bytes of a body that h2o has taken in, from ${at} on: h2o_impl.h, invariant 3. */
static int
lend(struct http_req *req, uint64_t at, size_t n, struct jstr *outp)
{
	char *copy;

	*outp = (struct jstr){"", 0};
	if (n == 0)
		return 0;
	if (req->h2o == NULL)
		return ERR_IO;
	if (req->version < 0x200) {
		*outp = (struct jstr){req->entity.base + at, n};
		return 0;
	}
	copy = realloc(req->body_copy, n);
	if (copy == NULL)
		return ERR_NOMEM;
	req->body_copy = copy;
	memcpy(copy, req->entity.base + at, n);
	give_back(req, at, n);
	*outp = (struct jstr){copy, n};
	return 0;
}

static int
read_gathered(struct http_body *b, struct jstr *piecep)
{
	uint64_t left = b->total - b->map_at;

	*piecep = (struct jstr){b->map + b->map_at, left < LENT_MAX ? (size_t)left : LENT_MAX};
	b->map_at += piecep->len;
	return 0;
}

static int
read_stream(struct http_body *b, struct jstr *piecep)
{
	char *lent = b->lent;
	size_t cap = b->lent_cap;

	*piecep = (struct jstr){"", 0};
	if (b->req->h2o == NULL || b->dropping)
		return ERR_IO;
	if (b->map != NULL)
		return read_gathered(b, piecep);
	if (!server_room_admit(b->req, 1))
		return b->err != 0 ? b->err : b->req->room_err != 0 ? b->req->room_err : ERR_AGAIN;
	if (b->len == 0)
		server_body_want(b);
	if (b->len == 0)
		return b->err != 0 ? b->err : b->ended ? 0 : ERR_AGAIN;
	*piecep = (struct jstr){b->fill, b->len};
	b->lent = b->fill;
	b->lent_cap = b->cap;
	b->fill = lent;
	b->cap = cap;
	b->len = 0;
	server_body_want(b);
	return 0;
}

static int
no_room(const struct http_req *req, struct jstr *outp)
{
	*outp = (struct jstr){"", 0};
	return req->room_err != 0 ? req->room_err : ERR_AGAIN;
}

int
http_body_read(struct http_req *req, struct jstr *piecep)
{
	uint64_t left;
	int err;

	if (req->body != NULL)
		return read_stream(req->body, piecep);
	if (!server_room_admit(req, 1))
		return no_room(req, piecep);
	left = req->entity.len - req->body_at;
	err = lend(req, req->body_at, left < LENT_MAX ? (size_t)left : LENT_MAX, piecep);
	if (err == 0)
		req->body_at += piecep->len;
	return err;
}

static int
all_of_stream(struct http_body *b, struct jstr *bodyp)
{
	*bodyp = (struct jstr){"", 0};
	if (b->req->h2o == NULL || b->dropping)
		return ERR_IO;
	if (b->err != 0)
		return b->err;
	/* Whoever did not gather finds a body that is not there. */
	if (!b->ended || (b->spooled > 0 && b->map == NULL))
		return ERR_AGAIN;
	if (b->map != NULL)
		*bodyp = (struct jstr){b->map, (size_t)b->total};
	else if (b->len > 0)
		*bodyp = (struct jstr){b->fill, b->len};
	return 0;
}

int
http_body_all(struct http_req *req, struct jstr *bodyp)
{
	int err;

	if (req->body != NULL)
		return all_of_stream(req->body, bodyp);
	if (!server_room_admit(req, 0))
		return no_room(req, bodyp);
	assert(req->body_at == 0 || req->body_at == req->entity.len);
	if (req->body_at > 0 && req->body_copy != NULL) {
		*bodyp = (struct jstr){req->body_copy, req->entity.len};
		return 0;
	}
	err = lend(req, 0, req->entity.len, bodyp);
	if (err == 0)
		req->body_at = req->entity.len;
	return err;
}

int
http_body_is_whole(struct http_req *req)
{
	return (req->body == NULL || req->body->ended) && server_room_admit(req, 0);
}

uint64_t
http_body_len(const struct http_req *req)
{
	if (req->body == NULL)
		return req->entity.len;
	return req->body->ended ? req->body->total : req->body->announced;
}

void
http_body_bound(struct http_req *req, uint64_t max)
{
	if (req->body != NULL && req->body->max > max)
		req->body->max = max;
}

static void
body_ready(void *arg)
{
	struct http_req *req = arg;

	req->body_fn(req->body_arg);
	http_release(req);
}

void
server_body_go_on(struct http_req *req)
{
	struct http_body *b = req->body;

	if (b == NULL) {
		req->body_msg = (struct http_msg){.fn = body_ready, .arg = req};
		http_post(req->thread, &req->body_msg);
		return;
	}
	assert(!b->waiting);
	if (b->err == 0)
		b->err = req->room_err;
	b->waiting = 1;
	server_body_want(b);
	if (server_body_is_ready(b) || b->conn == NULL)
		server_body_post(b);
}

static void
wait_for(struct http_req *req, int in_pieces, void (*fn)(void *arg), void *arg)
{
	http_hold(req);
	req->body_fn = fn;
	req->body_arg = arg;
	if (server_room_admit(req, in_pieces))
		server_body_go_on(req);
	else
		server_room_wait(req, in_pieces);
}

void
http_body_wait(struct http_req *req, void (*fn)(void *arg), void *arg)
{
	wait_for(req, 1, fn, arg);
}

void
http_body_gather(struct http_req *req, void (*fn)(void *arg), void *arg)
{
	struct http_body *b = req->body;

	if (b != NULL && !b->dropping) {
		b->gathering = 1;
		if (b->ended && b->err == 0 && !b->gathered)
			server_body_end_gather(b);
	}
	wait_for(req, 0, fn, arg);
}
