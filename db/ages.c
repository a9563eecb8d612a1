/*
 * About how old a body is.
 *
 * Bodies get rising numbers when they are put into `bodies`.  So it is enough to note, now and then, the time and the next
 * number: the record `ages` in `meta`.  A body below the number of a note is older than the note; of one above, nothing is
 * known, and it counts as younger.  Notes are kept only while the database asks for bodies to be kept by age, a
 * thirty-second of that age apart, and only as far back as that age: at most MAX_NOTES.
 *
 * A clock that goes back makes bodies count as younger than they are: nothing is noted until it has passed the newest note. So
 * one that was wrong for a while, whichever way, drops nothing too early; after one that was far ahead, setting the age anew begins anew.
 */
#include "dbi.h"

#include <string.h>

#define STEPS 32u
#define MAX_NOTES 64u

struct note {
	uint64_t at; /* seconds since 1970 */
	uint64_t next_body;
};

struct notes {
	struct note v[MAX_NOTES + 1]; /* oldest first */
	size_t n;
};

static uint64_t
now_s(const struct commit *c)
{
	struct executor *ex = c->f->dbs->config.ex;

	return ex->wall_us(ex) / 1000000;
}

static int
get(const struct commit *c, struct notes *out)
{
	struct bytes r;
	int err = meta_find(c->snap, "ages", &r);

	out->n = 0;
	if (err)
		return err == ERR_MISSING ? 0 : err;
	while (bytes_left(&r) > 0 && out->n < MAX_NOTES) {
		struct note *note = &out->v[out->n];

		note->at = bytes_varint(&r);
		note->next_body = bytes_varint(&r);
		out->n++;
	}
	return r.bad ? ERR_CORRUPT : 0;
}

/* forget: All notes but the newest that is older than what is asked for, and those after it. */
static void
forget(const struct commit *c, uint64_t now, struct notes *l)
{
	size_t from = 0;

	while (from + 1 < l->n && l->v[from + 1].at + c->state.keep_seconds <= now)
		from++;
	if (l->n - from > MAX_NOTES)
		from = l->n - MAX_NOTES;
	l->n -= from;
	memmove(l->v, l->v + from, l->n * sizeof(*l->v));
}

static int
put(struct commit *c, const struct notes *l)
{
	struct buf b;
	int err;

	buf_init(&b, MAX_NOTES * 20);
	for (size_t i = 0; i < l->n; i++) {
		buf_put_varint(&b, l->v[i].at);
		buf_put_varint(&b, l->v[i].next_body);
	}
	c->touched = 1;
	if ((err = buf_failed(&b)) == 0)
		err = meta_put(c->batch, "ages", b.data, b.len);
	buf_release(&b);
	return err;
}

int
ages_note(struct commit *c)
{
	uint64_t now, step = c->state.keep_seconds / STEPS + 1;
	struct notes l;
	int err;

	if (c->state.keep_seconds == 0)
		return 0;
	now = now_s(c);
	if (now < c->f->ages_due && now + step >= c->f->ages_due)
		return 0;
	if ((err = get(c, &l)) != 0)
		return err;
	c->f->ages_due = now + step;
	if (l.n > 0 && now < l.v[l.n - 1].at + step)
		return 0;
	l.v[l.n++] = (struct note){now, c->state.next_body};
	forget(c, now, &l);
	return put(c, &l);
}

int
ages_begin(struct commit *c)
{
	const struct notes l = {.v = {{now_s(c), c->state.next_body}}, .n = 1};

	c->f->ages_due = 0;
	return c->state.keep_seconds > 0 ? put(c, &l) : store_del(c->batch, TREE_META, "ages", 4);
}

int
ages_young(struct commit *c)
{
	struct notes l;
	uint64_t now;
	int err;

	if (c->young_known)
		return 0;
	c->young_from = UINT64_MAX;
	if (c->state.keep_seconds > 0) {
		now = now_s(c);
		if ((err = get(c, &l)) != 0 || (err = ages_note(c)) != 0)
			return err;
		c->young_from = 0;
		for (size_t i = 0; i < l.n && l.v[i].at + c->state.keep_seconds <= now; i++)
			c->young_from = l.v[i].next_body;
	}
	c->young_known = 1;
	return 0;
}
