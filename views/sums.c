/*
 * sums.c: reductions of ranges.
 *
 * Record: key level (1 byte), tree key of the row that begins the range, or the map's number alone. Value: nothing (not known), or
 * 1, or 2 and for each of the map's slots a varint length and the partial result, which is empty where it could not be found out.  1: the
 * range has no rows.
 *
 * A range [lo, hi) is reduced by pieces, in order: rows up to the first beginning of a range, values of the highest levels that
 * fit, rows behind the last; then the pieces are combined.  Where functions run in a child, the pieces of many ranges that have to be
 * reduced go to it in one message, and so do the combinations.  Where none is needed, range after range is reduced, and what is held is FOLD_BYTES of rows,
 * as much of pieces, and a few results.
 *
 * 1. There is a record for the beginning of each map's rows, and one for each row that sums_level() says, at its level and those below.
 * 2. What a record holds is right for the rows of the same commit, or it holds nothing.
 * 3. That a function's result grew too fast is a result: it begins with READ_OVERFLOW, and so does what is combined of it.
 *    Where such results are kept now (reduce_limit), a record that says so counts as not known.
 */
#include "sums_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/log.h"
#include "builtin.h"
#include "read.h"
#include "store/counts.h"
#include "store/record.h"

enum { VALUE_NO_ROWS = 1, VALUE_ROWS = 2 };

#define MESSAGE_BYTES ((size_t)1 << 20) /* of jobs in a message to a child */
#define HELD_BYTES \
	((size_t)16 << 20) /* of jobs that are gathered before it is asked, so that no snapshot is held meanwhile */
#define FOLD_BYTES ((size_t)4 << 20) /* of rows, or of pieces, that are reduced to one without a child */
#define SETTLE_RANGES 1024u          /* found out in one transaction */
#define ARENA_MAX ((size_t)1 << 30)
#define SHRINK_FROM \
	5000u /* bytes of a function's result from which on it must be smaller than half its input, as in CouchDB */

/* ---- Jobs: rows to a partial result, partial results to one ---- */

/* A partial result, or where one will stand. */
struct part {
	struct jstr text;
};

/* A job of a child. */
struct job {
	struct part *out;
	size_t given;      /* bytes that are reduced */
	size_t begin, end; /* its text in the message */
};

struct work {
	struct sums *s;
	struct store_snap *snap;
	struct store_cursor *rows, *sums;
	struct arena *a;       /* what lasts as long as the work */
	struct arena *piece_a; /* one range's pieces, where no child reduces them, */
	struct arena *run_a;   /* and one run's rows */
	struct arena *row_a;   /* one row's */
	const struct ddoc_view *view;
	struct buf keys, values; /* of one run, for a child */
	struct buf made;         /* a result without a child */
	size_t most; /* bytes of results beyond which fewer ranges are to be asked for; 0: there is no bound */
	struct buf message;
	struct job *jobs; /* in message */
	size_t njobs, cap;
};

static int
work_begin(struct work *w, struct sums *s, struct store_snap *snap)
{
	int err;

	*w = (struct work){.s = s, .snap = snap};
	buf_init(&w->keys, LIMIT_SCRIPT_ANSWER);
	buf_init(&w->values, LIMIT_SCRIPT_ANSWER);
	buf_init(&w->made, LIMIT_SCRIPT_ANSWER);
	buf_init(&w->message, 4 * (size_t)LIMIT_SCRIPT_ANSWER);
	if ((err = arena_new(ARENA_MAX, &w->a)) != 0 || (err = arena_new(ARENA_MAX, &w->piece_a)) != 0 ||
	    (err = arena_new(ARENA_MAX, &w->run_a)) != 0 || (err = arena_new(ARENA_MAX, &w->row_a)) != 0 ||
	    (err = store_cursor_open(snap, VIEW_ROWS, &w->rows)) != 0)
		return err;
	return store_cursor_open(snap, VIEW_SUMS, &w->sums);
}

static void
close_cursors(struct work *w)
{
	if (w->rows != NULL)
		store_cursor_close(w->rows);
	if (w->sums != NULL)
		store_cursor_close(w->sums);
	w->rows = w->sums = NULL;
}

/* let_go: All is read. */
static void
let_go(struct work *w)
{
	if (w->s->release == NULL)
		return;
	close_cursors(w);
	w->snap = NULL;
	w->s->release(w->s);
}

static void
work_end(struct work *w)
{
	close_cursors(w);
	buf_release(&w->keys);
	buf_release(&w->values);
	buf_release(&w->made);
	buf_release(&w->message);
	free(w->jobs);
	arena_free(w->a);
	arena_free(w->piece_a);
	arena_free(w->run_a);
	arena_free(w->row_a);
}

/* pieces_arena: A child's results come later than the next range is read. */
static struct arena *
pieces_arena(const struct work *w)
{
	return w->view->kind == DDOC_SCRIPT ? w->a : w->piece_a;
}

static int
keep(struct work *w, const void *s, size_t len, struct part *out)
{
	out->text = (struct jstr){arena_dup(pieces_arena(w), s, len), len};
	return out->text.s != NULL ? 0 : ERR_NOMEM;
}

/* is_too_much: 1 if the results that are there are more than may be held at a time. */
static int
is_too_much(const struct work *w)
{
	return w->most > 0 && arena_size(w->a) > w->most;
}

static int
is_overflow(struct jstr text)
{
	const size_t len = sizeof(READ_OVERFLOW) - 1;

	return text.len > len && memcmp(text.s, READ_OVERFLOW, len) == 0;
}

/* keep_answer: A result that grows with its input would fill the index: that it does so stands in its place, unless reduce_limit takes it. */
static int
keep_answer(struct work *w, size_t given, struct jstr answer, struct part *out)
{
	char text[192];
	int n;

	if (answer.len < SHRINK_FROM || 2 * answer.len < given || w->s->reduce_limit == VIEWS_REDUCE_KEEP)
		return keep(w, answer.s, answer.len, out);
	if (w->s->reduce_limit == VIEWS_REDUCE_LOG) {
		log_line(LOG_INFO,
		    "view %.*s: reduce_overflow_error: Reduce output must shrink more rapidly: input size: %zu output "
		    "size: %zu",
		    w->view->name.len < 200 ? (int)w->view->name.len : 200, w->view->name.s, given, answer.len);
		return keep(w, answer.s, answer.len, out);
	}
	n = snprintf(text, sizeof(text),
	    READ_OVERFLOW "\"Reduce output must shrink more rapidly: input size: %zu output size: %zu\"}", given,
	    answer.len);
	return keep(w, text, (size_t)n, out);
}

/* overflow: The first of the parts that is none, or NULL: what would be made of it is none either. */
static const struct part *
overflow(struct part *const *parts, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (is_overflow(parts[i]->text))
			return parts[i];
	return NULL;
}

static int
take_answers(struct work *w, struct jstr answer, const struct job *jobs, size_t n)
{
	struct jstr one;
	struct jread j;
	int err;

	jread_init(&j, answer.s, answer.len);
	err = jread_array_begin(&j);
	for (size_t i = 0; i < n && err == 0; i++)
		if ((err = jread_array_next(&j)) == 0 && (err = jread_skip(&j, &one)) == 0)
			err = keep_answer(w, jobs[i].given, one, jobs[i].out);
	return err == ERR_END || err == ERR_BAD_JSON ? ERR_SCRIPT_DIED : err;
}

/* ask_some: As many jobs as fit into a message. */
static int
ask_some(struct work *w, enum script_op op, const struct job *jobs, size_t njobs, size_t *donep)
{
	struct jstr parts[3] = {{"[", 1}, {w->message.data + jobs->begin, 0}, {"]", 1}}, answer;
	size_t n = 1;
	int err;

	while (n < njobs && jobs[n].end - jobs->begin <= MESSAGE_BYTES)
		n++;
	parts[1].len = jobs[n - 1].end - jobs->begin;
	*donep = n;
	if ((err = script_send(w->s->script, op, parts, 3)) == 0 &&
	    (err = script_receive(w->s->script, &answer, w->s->why)) == 0)
		return take_answers(w, answer, jobs, n);
	if (err == ERR_SCRIPT)
		(void)snprintf(w->s->error, sizeof(w->s->error), "%s", script_error(w->s->script));
	return err;
}

/* ask: What has gathered in the message. */
static int
ask(struct work *w, enum script_op op)
{
	size_t i = 0, n = 0;
	int err = buf_failed(&w->message);

	if (w->njobs == 0)
		return 0;
	if (err == 0 && w->s->script == NULL)
		err = w->s->prepare != NULL ? w->s->prepare(w->s) : ERR_INTERNAL;
	for (; i < w->njobs && err == 0; i += n)
		if ((err = ask_some(w, op, &w->jobs[i], w->njobs - i, &n)) == 0 && is_too_much(w))
			err = ERR_AGAIN;
	buf_clear(&w->message);
	w->njobs = 0;
	return err;
}

/* job_begin: The head of a job; its result will stand in ${out}. */
static int
job_begin(struct work *w, struct part *out)
{
	if (w->njobs == w->cap) {
		size_t cap = w->cap != 0 ? 2 * w->cap : 64;
		struct job *jobs = reallocarray(w->jobs, cap, sizeof(*jobs));

		if (jobs == NULL)
			return ERR_NOMEM;
		w->jobs = jobs;
		w->cap = cap;
	}
	if (w->njobs > 0)
		buf_putc(&w->message, ',');
	w->jobs[w->njobs] = (struct job){.out = out, .begin = w->message.len};
	return buf_printf(&w->message, "[%u,", w->view->reduce);
}

static int
job_end(struct work *w, size_t given, enum script_op op)
{
	buf_putc(&w->message, ']');
	w->jobs[w->njobs].given = given;
	w->jobs[w->njobs++].end = w->message.len;
	return w->message.len > HELD_BYTES ? ask(w, op) : buf_failed(&w->message);
}

/* The rows of a run, as lists of texts in w->run_a. */
struct list {
	struct jstr *keys, *values;
	size_t n, cap;
};

static int
list_add(struct work *w, struct list *l, const struct row *row)
{
	if (l->n == l->cap) {
		size_t cap = l->cap != 0 ? 2 * l->cap : 256;
		struct jstr *keys = arena_alloc(w->run_a, cap * sizeof(*keys)),
			    *values = arena_alloc(w->run_a, cap * sizeof(*values));

		if (keys == NULL || values == NULL)
			return ERR_NOMEM;
		if (l->n > 0) {
			memcpy(keys, l->keys, l->n * sizeof(*keys));
			memcpy(values, l->values, l->n * sizeof(*values));
		}
		*l = (struct list){keys, values, l->n, cap};
	}
	/* What the reduction does not look at is not kept. */
	l->keys[l->n] = l->values[l->n] = (struct jstr){"", 0};
	if (w->view->kind == DDOC_DISTINCT)
		l->keys[l->n] = (struct jstr){arena_dup(w->run_a, row->key.s, row->key.len), row->key.len};
	else if (w->view->kind != DDOC_COUNT)
		l->values[l->n] = (struct jstr){arena_dup(w->run_a, row->value.s, row->value.len), row->value.len};
	return l->keys[l->n].s != NULL && l->values[l->n++].s != NULL ? 0 : ERR_NOMEM;
}

static int
add_row(struct work *w, struct list *l, const struct row *row)
{
	if (w->view->kind != DDOC_SCRIPT)
		return list_add(w, l, row);
	buf_puts(&w->keys, l->n > 0 ? ",[" : "[");
	buf_put(&w->keys, row->key.s, row->key.len);
	buf_putc(&w->keys, ',');
	buf_put_json(&w->keys, row->id.s, row->id.len);
	buf_putc(&w->keys, ']');
	buf_puts(&w->values, l->n > 0 ? "," : "");
	buf_put(&w->values, row->value.s, row->value.len);
	l->n++;
	return buf_failed(&w->keys) != 0 ? buf_failed(&w->keys) : buf_failed(&w->values);
}

/* make_one: Some parts to one without a child, in w->made. */
static int
make_one(struct work *w, struct part *const *parts, size_t n)
{
	struct jstr *texts = arena_calloc(w->piece_a, n, sizeof(*texts));

	if (texts == NULL)
		return ERR_NOMEM;
	for (size_t i = 0; i < n; i++)
		texts[i] = parts[i]->text;
	buf_clear(&w->made);
	return builtin_combine(w->view->kind, w->view->n, texts, n, &w->made, w->s->why);
}

/* combine: Some parts to one; a child's result comes with ask(). */
static int
combine(struct work *w, struct part *const *parts, size_t n, struct part *out)
{
	const struct part *grown;
	size_t size = 0;
	int err;

	if (w->view->kind != DDOC_SCRIPT) {
		err = make_one(w, parts, n);
		return err != 0 ? err : keep(w, w->made.data, w->made.len, out);
	}
	if ((grown = overflow(parts, n)) != NULL) {
		*out = *grown;
		return 0;
	}
	if ((err = job_begin(w, out)) != 0)
		return err;
	buf_puts(&w->message, "null,[");
	for (size_t i = 0; i < n; i++) {
		buf_puts(&w->message, i > 0 ? "," : "");
		buf_put(&w->message, parts[i]->text.s, parts[i]->text.len);
		size += parts[i]->text.len;
	}
	buf_putc(&w->message, ']');
	return job_end(w, size, SCRIPT_REREDUCE);
}

/* ---- Ranges ---- */

/* The pieces of one range. */
struct pieces {
	struct part **v;
	size_t n, cap;
	struct part *whole; /* what came of them; NULL: there were no rows */
};

static int
pieces_add(struct work *w, struct pieces *p, struct part **outp)
{
	if (p->n == p->cap) {
		size_t cap = p->cap != 0 ? 2 * p->cap : 8;
		struct part **v = arena_alloc(pieces_arena(w), cap * sizeof(struct part *));

		if (v == NULL)
			return ERR_NOMEM;
		if (p->n > 0)
			memcpy(v, p->v, p->n * sizeof(struct part *));
		p->v = v;
		p->cap = cap;
	}
	*outp = p->v[p->n] = arena_calloc(pieces_arena(w), 1, sizeof(struct part));
	return *outp != NULL ? 0 : ERR_NOMEM;
}

/* fold: Pieces that are large become one: what an answer needs is held, and not all that it is made of. */
static int
fold(struct work *w, struct pieces *p)
{
	struct part *one;
	int err;

	if (w->view->kind == DDOC_SCRIPT || p->n < 2 || arena_size(w->piece_a) < FOLD_BYTES)
		return 0;
	if ((err = make_one(w, p->v, p->n)) != 0)
		return err;
	arena_reset(w->piece_a);
	*p = (struct pieces){NULL, 0, 0, NULL};
	if ((err = pieces_add(w, p, &one)) != 0)
		return err;
	p->n = 1;
	return keep(w, w->made.data, w->made.len, one);
}

/* reduce_list: Rows become a piece without a child; the list is empty then. */
static int
reduce_list(struct work *w, struct list *l, struct pieces *p)
{
	struct part *part;
	int err = pieces_add(w, p, &part);

	buf_clear(&w->made);
	if (err == 0)
		err = builtin_rows(w->view->kind, w->view->n, l->keys, l->values, l->n, &w->made, w->s->why);
	arena_reset(w->run_a);
	*l = (struct list){NULL, NULL, 0, 0};
	if (err != 0 || (err = keep(w, w->made.data, w->made.len, part)) != 0)
		return err;
	p->n++;
	return fold(w, p);
}

/* send_run: What add_row() has gathered for a child, whose result comes with ask(). */
static int
send_run(struct work *w, struct pieces *p)
{
	struct part *part;
	int err = pieces_add(w, p, &part);

	if (err != 0 || (err = job_begin(w, part)) != 0)
		return err;
	p->n++;
	buf_putc(&w->message, '[');
	buf_put(&w->message, w->keys.data, w->keys.len);
	buf_puts(&w->message, "],[");
	buf_put(&w->message, w->values.data, w->values.len);
	buf_putc(&w->message, ']');
	return job_end(w, w->keys.len + w->values.len, SCRIPT_REDUCE);
}

/* add_run: The rows of [lo, hi). */
static int
add_run(struct work *w, struct pieces *p, const struct rows_key *lo, const struct rows_key *hi)
{
	struct list l = {NULL, NULL, 0, 0};
	struct store_val k, v;
	struct row row;
	int err;

	arena_reset(w->run_a);
	buf_clear(&w->keys);
	buf_clear(&w->values);
	for (err = store_seek(w->rows, lo->b, lo->len, &k, &v);
	     err == 0 && sums_key_cmp(k.p, k.len, hi->b, hi->len) < 0; err = store_next(w->rows, &k, &v)) {
		arena_reset(w->row_a);
		if ((err = rows_take(&k, &v, w->row_a, &row)) != 0 || (err = add_row(w, &l, &row)) != 0)
			return err;
		if (arena_size(w->run_a) > FOLD_BYTES && (err = reduce_list(w, &l, p)) != 0)
			return err;
	}
	if ((err != 0 && err != ERR_MISSING) || l.n == 0)
		return err == ERR_MISSING ? 0 : err;
	return w->view->kind == DDOC_SCRIPT ? send_run(w, p) : reduce_list(w, &l, p);
}

/* take_value: The value of the view's slot in a record; ERR_AGAIN: it is not known. */
static int
take_value(struct work *w, const struct store_val *key, const struct store_val *val, struct jstr *out)
{
	struct bytes r;
	unsigned kind;
	int err;

	if ((err = record_open(VIEW_SUMS, key->p, key->len, val, &r)) != 0)
		return err;
	if (bytes_left(&r) == 0)
		return ERR_AGAIN;
	*out = (struct jstr){NULL, 0};
	kind = bytes_u8(&r);
	for (unsigned slot = 0; kind == VALUE_ROWS && slot <= w->view->slot; slot++) {
		uint64_t len = bytes_varint(&r);

		*out = (struct jstr){bytes_take(&r, len), len};
	}
	if (!r.bad && kind == VALUE_ROWS &&
	    (out->len == 0 || (w->s->reduce_limit != VIEWS_REDUCE_REFUSE && is_overflow(*out))))
		return ERR_AGAIN;
	return r.bad ? ERR_CORRUPT : 0;
}

/* take_begin: The beginning that record ${k} stands for; the end of the map where it is none of ${level}, or there is none. */
static void
take_begin(const struct store_val *k, unsigned level, const struct rows_key *key, struct rows_key *out)
{
	if (k == NULL || !sums_is_of(k, level, key->b)) {
		sums_key_of_map(out, sums_map_number(key->b) + 1);
		return;
	}
	out->len = k->len - 1;
	memcpy(out->b, (const unsigned char *)k->p + 1, out->len);
}

/* next_begin: The first beginning of a range at ${level} that is not below ${key}, or behind it with ${behind}; else the end of the map. */
static int
next_begin(struct work *w, unsigned level, const struct rows_key *key, int behind, struct rows_key *out)
{
	struct store_val k;
	struct rows_key at;
	int err;

	sums_record_key(&at, level, key->b, key->len);
	err = store_seek(w->sums, at.b, at.len, &k, NULL);
	if (err == 0 && behind && k.len == at.len && memcmp(k.p, at.b, at.len) == 0)
		err = store_next(w->sums, &k, NULL);
	if (err != 0 && err != ERR_MISSING)
		return err;
	take_begin(err == 0 ? &k : NULL, level, key, out);
	return 0;
}

static int
is_before(const struct rows_key *a, const struct rows_key *b)
{
	return sums_key_cmp(a->b, a->len, b->b, b->len) < 0;
}

/* top_level: The highest level at which a beginning of level 1 begins a range. */
static unsigned
top_level(const struct work *w, const struct rows_key *begin)
{
	return begin->len == ROWS_MAP ? SUMS_LEVELS : sums_level(w->s->salt, begin->b, begin->len);
}

/*
 * whole_range: The range that begins at ${begin}: its value (without rows: none), and where it ends.  ERR_AGAIN: its value is not known, but its
 * end is.
 */
static int
whole_range(struct work *w, unsigned level, const struct rows_key *begin, struct part *value, struct rows_key *end)
{
	struct store_val k, v;
	struct rows_key at;
	struct jstr text = {NULL, 0};
	int known, err;

	sums_record_key(&at, level, begin->b, begin->len);
	err = store_seek(w->sums, at.b, at.len, &k, &v);
	if (err == 0 && (k.len != at.len || memcmp(k.p, at.b, at.len) != 0))
		err = ERR_MISSING;
	if (err != 0)
		return err == ERR_MISSING ? ERR_CORRUPT : err;
	known = take_value(w, &k, &v, &text);
	if (known != 0 && known != ERR_AGAIN)
		return known;
	*value = (struct part){{NULL, 0}};
	if (known == 0 && text.s != NULL && (err = keep(w, text.s, text.len, value)) != 0)
		return err;
	err = store_next(w->sums, &k, NULL);
	if (err != 0 && err != ERR_MISSING)
		return err;
	take_begin(err == 0 ? &k : NULL, level, begin, end);
	return known;
}

/* step: From a beginning of level 1 on as far as one value, or one run, goes within [pos, hi). */
static int
step(struct work *w, struct pieces *p, struct rows_key *pos, const struct rows_key *hi, unsigned top)
{
	unsigned level = top_level(w, pos);
	struct rows_key next = *hi;
	struct part value, *part;
	int err;

	for (level = level < top ? level : top; level > 0; level--) {
		err = whole_range(w, level, pos, &value, &next);
		if (err != 0 && err != ERR_AGAIN)
			return err;
		if (err == ERR_AGAIN || is_before(hi, &next))
			continue;
		*pos = next;
		if (value.text.s == NULL)
			return 0;
		if ((err = pieces_add(w, p, &part)) != 0)
			return err;
		*part = value;
		p->n++;
		return fold(w, p);
	}
	if (is_before(hi, &next))
		next = *hi;
	err = add_run(w, p, pos, &next);
	*pos = next;
	return err;
}

/* collect: The pieces of [lo, hi), from values of levels up to ${top}. */
static int
collect(struct work *w, const struct rows_key *lo, const struct rows_key *hi, unsigned top, struct pieces *p)
{
	struct rows_key pos;
	int err;

	*p = (struct pieces){NULL, 0, 0, NULL};
	if (!is_before(lo, hi))
		return 0;
	if (top == 0)
		return add_run(w, p, lo, hi);
	if ((err = next_begin(w, 1, lo, 0, &pos)) != 0)
		return err;
	if (!is_before(&pos, hi))
		return add_run(w, p, lo, hi);
	if (is_before(lo, &pos))
		err = add_run(w, p, lo, &pos);
	while (err == 0 && is_before(&pos, hi))
		err = step(w, p, &pos, hi, top);
	return err;
}

/* whole: What all pieces are together, once their results are there. */
static int
whole(struct work *w, struct pieces *p)
{
	if (p->n <= 1) {
		p->whole = p->n == 1 ? p->v[0] : NULL;
		return 0;
	}
	if ((p->whole = arena_calloc(pieces_arena(w), 1, sizeof(*p->whole))) == NULL)
		return ERR_NOMEM;
	return combine(w, p->v, p->n, p->whole);
}

/* ---- Queries ---- */

/* reduce_here: Without a child; no more is held than one range takes, and the results. */
static int
reduce_here(struct work *w, const struct sums_range *ranges, size_t n)
{
	struct pieces p;
	size_t bytes = 0;
	int err = 0;

	for (size_t i = 0; i < n && err == 0; i++) {
		arena_reset(w->piece_a);
		if (bytes > w->most && w->most > 0) {
			w->s->fit = i;
			return ERR_AGAIN;
		}
		err = collect(w, &ranges[i].lo, &ranges[i].hi, SUMS_LEVELS, &p);
		if (err == 0 && (err = whole(w, &p)) == 0 && p.whole != NULL)
			err = builtin_final(w->view->kind, p.whole->text, ranges[i].out);
		bytes += ranges[i].out->len;
	}
	return err;
}

static int
reduce_there(struct work *w, const struct sums_range *ranges, size_t n)
{
	struct pieces *p = arena_calloc(w->a, n + 1, sizeof(*p));
	int err = p == NULL ? ERR_NOMEM : 0;

	w->s->fit = n / 2;
	for (size_t i = 0; i < n && err == 0; i++)
		if ((err = collect(w, &ranges[i].lo, &ranges[i].hi, SUMS_LEVELS, &p[i])) == 0 && is_too_much(w))
			err = ERR_AGAIN;
	let_go(w);
	if (err == 0)
		err = ask(w, SCRIPT_REDUCE);
	for (size_t i = 0; i < n && err == 0; i++)
		err = whole(w, &p[i]);
	if (err == 0)
		err = ask(w, SCRIPT_REREDUCE);
	for (size_t i = 0; i < n && err == 0; i++)
		if (p[i].whole != NULL)
			err = builtin_final(w->view->kind, p[i].whole->text, ranges[i].out);
	return err;
}

int
sums_reduce(
    struct sums *s, struct store_snap *snap, const struct ddoc_view *view, const struct sums_range *ranges, size_t n)
{
	struct work w;
	int err = work_begin(&w, s, snap);

	w.view = view;
	w.most = n > 1 ? SUMS_BYTES : 0;
	if (err == 0)
		err = view->kind == DDOC_SCRIPT ? reduce_there(&w, ranges, n) : reduce_here(&w, ranges, n);
	work_end(&w);
	return err;
}

/* ---- Settling ---- */

/* A range that is to be found out. */
struct unknown {
	struct rows_key key;
	struct rows_key end; /* settle_here() finds it */
	struct pieces *slots;
	int failed; /* a slot's reduction: who knows whether there are rows */
	struct unknown *next;
};

static const struct ddoc_view *
view_of_slot(const struct ddoc *d, unsigned map, unsigned slot)
{
	for (size_t i = 0; i < d->nviews; i++)
		if (d->views[i].map == map && d->views[i].kind != DDOC_NONE && d->views[i].slot == slot)
			return &d->views[i];
	return NULL;
}

/* list_unknown: Up to SETTLE_RANGES of them; *${donep}: there are no more. */
static int
list_unknown(struct work *w, unsigned level, struct unknown **listp, int *donep)
{
	struct unknown **end = listp;
	struct store_val k, v;
	unsigned char from = (unsigned char)level;
	size_t n = 0;
	int err;

	*listp = NULL;
	for (err = store_seek(w->sums, &from, 1, &k, &v);
	     err == 0 && *(const unsigned char *)k.p == level && n <= SETTLE_RANGES;
	     err = store_next(w->sums, &k, &v)) {
		struct unknown *u;
		unsigned map;

		if (v.len > RECORD_SUM_LEN)
			continue;
		if ((u = arena_calloc(w->a, 1, sizeof(*u))) == NULL)
			return ERR_NOMEM;
		u->key.len = k.len - 1;
		memcpy(u->key.b, (const unsigned char *)k.p + 1, u->key.len);
		map = sums_map_number(u->key.b);
		if (map >= w->s->ddoc->nmaps)
			return ERR_CORRUPT;
		if ((u->slots = arena_calloc(w->a, w->s->ddoc->maps[map].nslots, sizeof(*u->slots))) == NULL)
			return ERR_NOMEM;
		*end = u;
		end = &u->next;
		n++;
	}
	*donep = n <= SETTLE_RANGES;
	return err == ERR_MISSING ? 0 : err;
}

int
sums_is_childs(int err)
{
	return err == ERR_SCRIPT_DIED || err == ERR_SCRIPT_TIMEOUT;
}

static int
is_bad(const struct sums_bad *bad, unsigned map, unsigned slot)
{
	for (size_t i = 0; bad != NULL && bad->for_good && i < bad->n; i++)
		if (bad->v[i].map == map && bad->v[i].slot == slot)
			return 1;
	return 0;
}

static void
add_bad(struct sums_bad *bad, unsigned map, unsigned slot)
{
	if (bad->n == SUMS_BAD || is_bad(bad, map, slot))
		return;
	bad->v[bad->n].map = map;
	bad->v[bad->n++].slot = slot;
}

/* is_failure: 1 if it is the function or its values that fail, and no other.  A child may have been killed, or had no time, once. */
static int
is_failure(const struct sums *s, int err)
{
	return err == ERR_REDUCE || err == ERR_SCRIPT || err == ERR_TOO_LARGE ||
	       (sums_is_childs(err) && s->bad != NULL && s->bad->for_good);
}

/* give_up: A slot that fails is left empty, so that the others are kept all the same. */
static void
give_up(struct work *w, struct unknown *list, unsigned map, unsigned slot)
{
	buf_clear(&w->message);
	w->njobs = 0;
	for (struct unknown *u = list; u != NULL; u = u->next)
		if (sums_map_number(u->key.b) == map) {
			u->slots[slot].whole = NULL;
			u->failed = 1;
		}
}

/* settle_whole: What the pieces are together lasts, and they do not. */
static int
settle_whole(struct work *w, struct pieces *p)
{
	struct part *last;
	int err = whole(w, p);

	if (err != 0 || p->whole == NULL)
		return err;
	if ((last = arena_alloc(w->a, sizeof(*last))) == NULL)
		return ERR_NOMEM;
	last->text = (struct jstr){arena_dup(w->a, p->whole->text.s, p->whole->text.len), p->whole->text.len};
	*p = (struct pieces){NULL, 0, 0, last};
	return last->text.s != NULL ? 0 : ERR_NOMEM;
}

/* settle_range: One slot that no child reduces; where that fails it is left empty. */
static int
settle_range(struct work *w, struct unknown *u, unsigned level, unsigned slot)
{
	struct pieces *p = &u->slots[slot];
	int err;

	arena_reset(w->piece_a);
	err = collect(w, &u->key, &u->end, level - 1, p);
	if (err == 0)
		err = settle_whole(w, p);
	if (!is_failure(w->s, err))
		return err;
	p->whole = NULL;
	u->failed = 1;
	return 0;
}

/* end_list: What follows is left to another transaction. */
static void
end_list(struct unknown *u, int *donep)
{
	if (u->next == NULL)
		return;
	u->next = NULL;
	*donep = 0;
}

/* settle_here: What no child reduces, all slots of one range after another: where results are large, none is made in vain. */
static int
settle_here(struct work *w, struct unknown *list, unsigned level, int *donep)
{
	int err = 0;

	for (struct unknown *u = list; u != NULL && err == 0; u = u->next) {
		unsigned map = sums_map_number(u->key.b);

		err = next_begin(w, level, &u->key, 1, &u->end);
		for (unsigned slot = 0; slot < w->s->ddoc->maps[map].nslots && err == 0; slot++) {
			if ((w->view = view_of_slot(w->s->ddoc, map, slot)) == NULL)
				return ERR_INTERNAL;
			if (w->view->kind != DDOC_SCRIPT)
				err = settle_range(w, u, level, slot);
		}
		if (arena_size(w->a) > SUMS_BYTES)
			end_list(u, donep);
	}
	return err;
}

/* find_out: One slot that a child reduces, of all ranges, or of the first ones, if that is much. */
static int
find_out(struct work *w, struct unknown *list, unsigned level, unsigned map, unsigned slot, int *donep)
{
	const size_t most = arena_size(w->a) + SUMS_BYTES;
	int err = 0;

	for (struct unknown *u = list; u != NULL && err == 0; u = u->next) {
		if (sums_map_number(u->key.b) != map)
			continue;
		err = collect(w, &u->key, &u->end, level - 1, &u->slots[slot]);
		if (arena_size(w->a) > most)
			end_list(u, donep);
	}
	if (err == 0)
		err = ask(w, SCRIPT_REDUCE);
	for (struct unknown *u = list; u != NULL && err == 0; u = u->next)
		if (sums_map_number(u->key.b) == map)
			err = whole(w, &u->slots[slot]);
	return err != 0 ? err : ask(w, SCRIPT_REREDUCE);
}

/* settle_slot: As find_out(), but for failures. */
static int
settle_slot(struct work *w, struct unknown *list, unsigned level, unsigned map, unsigned slot, int *donep)
{
	struct sums *s = w->s;
	int err = 0, bad = is_bad(s->bad, map, slot);

	if ((w->view = view_of_slot(s->ddoc, map, slot)) == NULL)
		return ERR_INTERNAL;
	if (w->view->kind != DDOC_SCRIPT)
		return 0;
	if (!bad && (err = find_out(w, list, level, map, slot, donep)) == 0)
		return 0;
	if (sums_is_childs(err) && s->bad != NULL)
		add_bad(s->bad, map, slot);
	if (!bad && !is_failure(s, err))
		return err;
	/* The child may be none any more. */
	if (s->prepare != NULL && (sums_is_childs(err) || err == ERR_TOO_LARGE))
		s->script = NULL;
	give_up(w, list, map, slot);
	return 0;
}

static int
put_known(struct work *w, struct store_batch *batch, unsigned level, const struct unknown *u)
{
	unsigned nslots = w->s->ddoc->maps[sums_map_number(u->key.b)].nslots;
	int has_rows = u->failed;
	struct rows_key k;
	struct buf b;
	int err;

	buf_init_arena(&b, w->a, 4 * (size_t)LIMIT_SCRIPT_ANSWER);
	for (unsigned slot = 0; slot < nslots; slot++)
		has_rows |= u->slots[slot].whole != NULL;
	buf_putc(&b, has_rows ? VALUE_ROWS : VALUE_NO_ROWS);
	for (unsigned slot = 0; slot < nslots && has_rows; slot++) {
		static const struct jstr nothing = {"", 0};
		const struct part *whole = u->slots[slot].whole;
		const struct jstr *text = whole != NULL ? &whole->text : &nothing;

		buf_put_varint(&b, text->len);
		buf_put(&b, text->s, text->len);
	}
	if ((err = buf_failed(&b)) != 0)
		return err;
	sums_record_key(&k, level, u->key.b, u->key.len);
	return record_put(batch, VIEW_SUMS, k.b, k.len, b.data, b.len);
}

int
sums_settle(struct sums *s, struct store_snap *snap, struct store_batch *batch, unsigned level, int *donep)
{
	struct unknown *list = NULL;
	struct work w;
	int err = work_begin(&w, s, snap);

	*donep = 0;
	if (err == 0)
		err = list_unknown(&w, level, &list, donep);
	if (err == 0)
		err = settle_here(&w, list, level, donep);
	for (unsigned map = 0; map < s->ddoc->nmaps && err == 0 && list != NULL; map++)
		for (unsigned slot = 0; slot < s->ddoc->maps[map].nslots && err == 0; slot++)
			err = settle_slot(&w, list, level, map, slot, donep);
	for (struct unknown *u = list; u != NULL && err == 0; u = u->next)
		err = put_known(&w, batch, level, u);
	work_end(&w);
	return err;
}
