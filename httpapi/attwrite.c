/*
 * attwrite.c: attachment bytes on their way in.
 *
 * A body of any size passes through a bounded piece of memory: one piece of it is taken at a time, and what the
 * blobs gathered is written before the next is read.
 *
 *	next --nothing there yet--> http_body_wait --> next
 *	  |
 *	  +--a piece--> (large bodies: on an executor thread) work --little held--> next
 *	  |                                                    +--much held--> flush all --> next
 *	  |                                                               (queue full: once more, later)
 *	  +--the end, or an error--> then
 *
 * 1. The request is held from attwrite_pour() until t->then returned.
 * 2. t->then runs when nothing is on another thread, so that the blobs may be freed there.
 * 3. Blobs hold at most HELD_MAX and what one piece brings.
 */
#include "httpapi/attwrite.h"

#include "base/limits.h"

#define HELD_MAX ((size_t)1 << 20)
#define BUSY_MS 20u

static void next(void *arg);

/* ---- Writing ahead ---- */

static void
back(struct attwrite *t)
{
	http_post(http_req_thread(t->r->http), &t->msg);
}

static void
flushed(void *cookie, int err)
{
	struct attwrite *t = cookie;

	if (err != 0)
		atomic_store(&t->flush_err, err);
	if (atomic_fetch_sub(&t->flushing, 1) == 1)
		back(t);
}

/*
 * All at once, so that they share a transaction; on any thread.  Behind the last of them ${t} is its request's thread's.
 */
static void
flush(struct attwrite *t)
{
	struct db_blob *open = t->open, **closed = t->closed;
	size_t n = t->nclosed;

	atomic_store(&t->flush_err, 0);
	atomic_store(&t->flushing, n + (open != NULL));
	for (size_t i = 0; i < n; i++)
		db_blob_flush(closed[i], flushed, t);
	if (open != NULL)
		db_blob_flush(open, flushed, t);
}

static int
much_held(const struct attwrite *t)
{
	return t->held + (t->open != NULL ? db_blob_pending(t->open) : 0) >= HELD_MAX;
}

/* ---- The body ---- */

static void
end(struct attwrite *t, int err)
{
	struct http_req *http = t->r->http;

	t->err = err;
	t->then(t->r);
	http_release(http);
}

static void
work(void *arg)
{
	struct attwrite *t = arg;

	if (!t->held_up)
		t->err = t->take(t->cookie, t->piece.s, t->piece.len);
	t->ahead = t->err == 0 && much_held(t);
	if (t->ahead)
		flush(t);
	else
		back(t);
}

/* The queue of the database's writer may be full: the client waits, as it does for a slow disk. */
static void
came_back(void *arg)
{
	struct attwrite *t = arg;
	struct executor *ex = t->r->api->ex;
	int err = t->ahead ? atomic_load(&t->flush_err) : t->err;

	t->held_up = t->ahead && err == ERR_BUSY;
	if (t->held_up) {
		ex->later(ex, &t->job, BUSY_MS);
		return;
	}
	if (t->ahead) {
		t->nclosed = 0;
		t->held = 0;
	}
	if (err != 0)
		end(t, err);
	else
		next(t);
}

static void
next(void *arg)
{
	struct attwrite *t = arg;
	struct http_req *http = t->r->http;
	int err, small = http_body_len(http) <= API_INLINE_BYTES;

	do {
		err = http_body_read(http, &t->piece);
		if (err == ERR_AGAIN) {
			http_body_wait(http, next, t);
			return;
		}
		if (err == 0 && t->piece.len > 0 && !small) {
			t->r->api->ex->submit(t->r->api->ex, &t->job);
			return;
		}
		if (err == 0 && t->piece.len > 0)
			err = t->take(t->cookie, t->piece.s, t->piece.len);
	} while (err == 0 && t->piece.len > 0);
	end(t, err);
}

void
attwrite_pour(struct attwrite *t)
{
	t->job.fn = work;
	t->job.arg = t;
	t->msg.fn = came_back;
	t->msg.arg = t;
	http_hold(t->r->http);
	next(t);
}

/* ---- Blobs ---- */

int
attwrite_open(struct attwrite *t, enum db_blob_mode mode, uint64_t len, struct db_blob **bp)
{
	int err = len == UINT64_MAX ? 0 : db_blob_expect(t->r->db, len);

	if (err == 0)
		err = db_blob_new(t->r->db, mode, bp);
	t->open = err == 0 ? *bp : NULL;
	return err;
}

int
attwrite_add(struct attwrite *t, const char *data, size_t len)
{
	return db_blob_add(t->open, data, len);
}

int
attwrite_close(struct attwrite *t)
{
	struct db_blob *b = t->open;
	int err = db_blob_end(b);

	t->open = NULL;
	if (err != 0 || db_blob_pending(b) == 0)
		return err;
	if (t->nclosed == t->capclosed) {
		size_t cap = t->capclosed != 0 ? 2 * t->capclosed : 16;
		struct db_blob **more = arena_calloc(t->r->arena, cap, sizeof(struct db_blob *));

		if (more == NULL)
			return ERR_NOMEM;
		if (t->nclosed > 0)
			memcpy(more, t->closed, t->nclosed * sizeof(struct db_blob *));
		t->closed = more;
		t->capclosed = cap;
	}
	t->closed[t->nclosed++] = b;
	t->held += db_blob_pending(b);
	return 0;
}

int
attwrite_name_check(const struct jstr *name, struct errtext *why)
{
	if (name->len == 0)
		return err_why(why, ERR_BAD_REQUEST, "Attachment name must not be empty");
	if (name->len > LIMIT_ATT_NAME_LEN)
		return err_why(why, ERR_BAD_REQUEST, "Attachment name is too long");
	if (!jread_utf8_ok(name->s, name->len))
		return err_why(why, ERR_BAD_REQUEST, "Attachment name is not UTF-8 encoded");
	if (name->s[0] == '_')
		return err_why(why, ERR_BAD_REQUEST, "Attachment name '%.*s' starts with prohibited character '_'",
		    (int)(name->len > 200 ? 200 : name->len), name->s);
	return 0;
}

int
attwrite_type_check(const struct jstr *type, struct errtext *why)
{
	if (type->len > LIMIT_ATT_NAME_LEN || !jread_utf8_ok(type->s, type->len))
		return err_why(why, ERR_BAD_REQUEST, "Content-Type is too long or not UTF-8.");
	return 0;
}
