/*
 * peer_http_json.c: what a peer answers, taken apart: information, _local documents, changes, what is missing, what
 * became of writes. Documents: peer_http_docs.c.
 *
 * Members that are not known are passed over. What is known must be what it has to be: a peer that says something else
 * is not believed in anything, since a checkpoint would be written on its word.
 */
#include "peer_http_json.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/utf8.h"

#define WORDS ((size_t)1 << 20) /* bytes of an id or key that has escapes */
#define ROWS_BYTES ((size_t)64 << 20)
#define ID_SHOWN 200u  /* bytes of an id that is too long to be kept, for people */
#define SEQ_LEN 65536u /* bytes of a sequence: a cluster's grow with it */

/* ---- Where elements end ---- */

static size_t
behind_string(struct peer_scan *s, const char *text, size_t i, size_t len)
{
	for (; i < len; i++) {
		if (s->escaped) {
			s->escaped = 0;
		} else if (text[i] == '\\') {
			s->escaped = 1;
		} else if (text[i] == '"') {
			s->quoted = 0;
			return i + 1;
		}
	}
	return len;
}

void
peer_scan_more(struct peer_scan *s, const char *text, size_t len)
{
	size_t i = s->at;

	while (i < len) {
		char c = text[i];

		if (s->quoted) {
			i = behind_string(s, text, i, len);
			continue;
		}
		i++;
		if (c == '"') {
			s->quoted = 1;
		} else if (c == '{' || c == '[') {
			if (s->level == 0)
				s->level = c == '[' ? 1 : 2;
			s->depth++;
		} else if (c == '}' || c == ']') {
			if (s->depth > 0)
				s->depth--;
			if (c == '}' && s->depth == s->level) {
				s->end = i;
				s->elements++;
			}
		}
	}
	s->at = len;
}

/* ---- Reading ---- */

void
peer_in_init(struct peer_in *in, const char *text, size_t len, struct errtext *why)
{
	jread_init(&in->j, text, len);
	buf_init(&in->key, WORDS);
	buf_init(&in->word, WORDS);
	in->why = why;
}

int
peer_in_end(struct peer_in *in, int err)
{
	buf_release(&in->key);
	buf_release(&in->word);
	if (err == ERR_BAD_JSON)
		return err_why(in->why, ERR_IO, "is no JSON, or not all of it");
	if (err == ERR_BAD_REQUEST || err == ERR_BAD_REV)
		return err_why(in->why, ERR_IO, "is not what was asked for");
	return err;
}

int
peer_in_copy(struct arena *a, const struct jstr *from, struct jstr *to)
{
	to->s = arena_dup(a, from->s, from->len);
	to->len = from->len;
	return to->s != NULL ? 0 : ERR_NOMEM;
}

static int
read_copy(struct peer_in *in, struct arena *a, struct jstr *out)
{
	struct jstr s;
	int err = jread_string(&in->j, &in->word, &s);

	return err != 0 ? err : peer_in_copy(a, &s, out);
}

int
peer_in_rev(struct peer_in *in, struct revbuf *out)
{
	struct jstr s;
	int err = jread_string(&in->j, &in->word, &s);

	return err != 0 ? err : rev_parse(s.s, s.len, out);
}

int
peer_in_rev_dup(struct arena *a, const struct revbuf *from, struct rev *to)
{
	unsigned char *id = (unsigned char *)arena_dup(a, from->id, from->len);

	*to = rev_of(from);
	to->id = id;
	return id != NULL ? 0 : ERR_NOMEM;
}

/* A sequence: a string, a number or an array, as text. */
static int
read_seq(struct peer_in *in, struct arena *a, struct jstr *out)
{
	enum jread_type type = jread_peek(&in->j);
	struct jstr span;
	int err = jread_skip(&in->j, &span);

	if (err != 0)
		return err;
	if ((type != JREAD_STRING && type != JREAD_NUMBER && type != JREAD_ARRAY) || span.len > SEQ_LEN)
		return ERR_BAD_REQUEST;
	return peer_in_copy(a, &span, out);
}

/* ---- Errors ---- */

void
peer_in_keep(char *out, size_t size, const struct jstr *s)
{
	size_t n = s->len < size ? s->len : utf8_whole(s->s, size - 1), i;

	for (i = 0; i < n; i++)
		out[i] = (unsigned char)s->s[i] < ' ' || s->s[i] == 127 ? ' ' : s->s[i];
	out[n] = '\0';
}

int
peer_in_said(struct peer_in *in, struct peer_said *out)
{
	struct jstr key, s;
	int err = jread_object_begin(&in->j);

	while (err == 0 && (err = jread_object_next(&in->j, &in->key, &key)) == 0) {
		int error = jstr_is(&key, "error"), reason = jstr_is(&key, "reason");

		if ((!error && !reason) || jread_peek(&in->j) != JREAD_STRING) {
			err = jread_skip(&in->j, NULL);
			continue;
		}
		err = jread_string(&in->j, &in->word, &s);
		if (err == 0)
			peer_in_keep(
			    error ? out->error : out->reason, error ? sizeof(out->error) : sizeof(out->reason), &s);
	}
	return err == ERR_END ? 0 : err;
}

void
peer_json_said(const char *text, size_t len, struct peer_said *out)
{
	struct peer_in in;

	out->error[0] = out->reason[0] = '\0';
	peer_in_init(&in, text, len, NULL);
	if (peer_in_end(&in, peer_in_said(&in, out)) != 0)
		out->error[0] = out->reason[0] = '\0';
}

int
peer_json_code(const char *error)
{
	static const struct {
		const char *error;
		int code;
	} known[] = {
	    {"forbidden", ERR_FORBIDDEN},
	    {"unauthorized", ERR_UNAUTHORIZED},
	    {"conflict", ERR_CONFLICT},
	    {"not_found", ERR_MISSING},
	    {"doc_validation", ERR_DOC_VALIDATION},
	    {"illegal_docid", ERR_RESERVED_ID},
	    {"bad_request", ERR_BAD_REQUEST},
	    {"missing_stub", ERR_MISSING_STUB},
	    {"too_large", ERR_DOC_TOO_LARGE},
	    {"document_too_large", ERR_DOC_TOO_LARGE},
	    {"attachment_too_large", ERR_ATT_TOO_LARGE},
	    {"invalid_design_doc", ERR_INVALID_DESIGN},
	    {"compilation_error", ERR_COMPILATION},
	    {"illegal_partition", ERR_ILLEGAL_PARTITION},
	    /* Of the server, whatever was asked. */
	    {"insufficient_storage", ERR_NOSPACE},
	    {"service_unavailable", ERR_BUSY},
	    {"too_many_requests", ERR_TOO_MANY_REQUESTS},
	};
	size_t i;

	for (i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strcmp(known[i].error, error) == 0)
			return known[i].code;
	return ERR_HELD_BACK;
}

/* ---- Small answers ---- */

static int
read_info(struct peer_in *in, struct arena *a, struct jstr *seq, struct peer_about *about)
{
	struct jstr key, s;
	int err = jread_object_begin(&in->j);

	while (err == 0 && (err = jread_object_next(&in->j, &in->key, &key)) == 0) {
		if (jstr_is(&key, "update_seq")) {
			err = read_seq(in, a, seq);
		} else if (jstr_is(&key, "instance_start_time") && jread_peek(&in->j) == JREAD_STRING) {
			err = jread_string(&in->j, &in->word, &s);
			if (err == 0)
				peer_in_keep(about->born, PEER_BORN, &s);
		} else {
			about->pouchdb |= jstr_is(&key, "backend_adapter") || jstr_is(&key, "auto_compaction");
			err = jread_skip(&in->j, NULL);
		}
	}
	return err == ERR_END ? jread_end(&in->j) : err;
}

int
peer_json_info(
    const char *text, size_t len, struct arena *a, struct jstr *seq, struct peer_about *about, struct errtext *why)
{
	struct peer_in in;
	int err;

	seq->len = 0;
	memset(about, 0, sizeof(*about));
	peer_in_init(&in, text, len, why);
	err = peer_in_end(&in, read_info(&in, a, seq, about));
	if (err == 0 && seq->len == 0)
		return err_why(why, ERR_NO_DB, "has no update_seq: it is no database");
	return err;
}

static int
read_member(struct peer_in *in, const char *name, struct arena *a, struct jstr *out)
{
	struct jstr key;
	int err = jread_object_begin(&in->j);

	while (err == 0 && (err = jread_object_next(&in->j, &in->key, &key)) == 0) {
		if (jstr_is(&key, name))
			err = read_copy(in, a, out);
		else
			err = jread_skip(&in->j, NULL);
	}
	return err == ERR_END ? jread_end(&in->j) : err;
}

static int
one_member(const char *text, size_t len, const char *name, struct arena *a, struct jstr *out, struct errtext *why)
{
	struct peer_in in;
	int err;

	out->len = 0;
	peer_in_init(&in, text, len, why);
	err = peer_in_end(&in, read_member(&in, name, a, out));
	return err == 0 && out->len == 0 ? err_why(why, ERR_IO, "has no %s", name) : err;
}

int
peer_json_local(const char *text, size_t len, struct arena *a, struct jstr *rev, struct jstr *body, struct errtext *why)
{
	struct jstr whole = {text, len};
	int err = one_member(text, len, "_rev", a, rev, why);

	return err == 0 ? peer_in_copy(a, &whole, body) : err;
}

int
peer_json_rev(const char *text, size_t len, struct arena *a, struct jstr *rev, struct errtext *why)
{
	return one_member(text, len, "rev", a, rev, why);
}

/* ---- Changes ---- */

/* How many elements the array before the reader has. */
static int
count_elements(const struct jread *at, size_t *np)
{
	struct jread j = *at;
	int err = jread_array_begin(&j);

	*np = 0;
	while (err == 0 && (err = jread_array_next(&j)) == 0) {
		++*np;
		err = jread_skip(&j, NULL);
	}
	return err == ERR_END ? 0 : err;
}

/* Of one document, and not of the answer: its row says why it is not copied. */
static int PRINTF_LIKE(3, 4) set_aside(struct arena *a, struct peer_change *row, const char *fmt, ...)
{
	char text[ERRTEXT_MAX];
	va_list ap;

	if ((row->why = arena_alloc(a, sizeof(*row->why))) == NULL)
		return ERR_NOMEM;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	row->err = err_why(row->why, ERR_DOC_TOO_LARGE, "%s", text);
	return 0;
}

/* "id":"..." */
static int
read_id(struct peer_in *in, struct arena *a, struct peer_change *row)
{
	struct jread at = in->j;
	struct jstr span;
	int err = jread_peek(&in->j) == JREAD_STRING ? jread_skip(&in->j, &span) : ERR_BAD_REQUEST;

	if (err != 0)
		return err;
	/* Escapes take six bytes for one at most. */
	if (span.len <= LIMIT_ID_LEN * 6 + 2) {
		in->j = at;
		err = read_copy(in, a, &row->id);
		if (err != 0 || row->id.len <= LIMIT_ID_LEN)
			return err;
	} else {
		/* Its beginning, as it is written. */
		span = (struct jstr){span.s + 1, utf8_whole(span.s + 1, ID_SHOWN)};
		if ((err = peer_in_copy(a, &span, &row->id)) != 0)
			return err;
	}
	row->id.len = utf8_whole(row->id.s, ID_SHOWN);
	return set_aside(a, row, "its id has more than %u bytes", LIMIT_ID_LEN);
}

/* A revision's form alone: "12-...". */
static int
is_like_rev(struct jstr s)
{
	size_t i = 0;

	while (i < s.len && s.s[i] >= '0' && s.s[i] <= '9')
		i++;
	return i > 0 && i < s.len && s.s[i] == '-';
}

/* "rev":"..."; rev->gen stays 0 of one that is set aside. */
static int
read_leaf(struct peer_in *in, struct arena *a, struct peer_change *row, struct revbuf *rev)
{
	struct jstr s;
	int err = jread_string(&in->j, &in->word, &s);

	if (err != 0 || (err = rev_parse(s.s, s.len, rev)) == 0)
		return err;
	rev->gen = 0;
	if (!is_like_rev(s))
		return err;
	return set_aside(a, row, "its revision %.*s is none that can be kept",
	    (int)utf8_whole(s.s, s.len < ID_SHOWN ? s.len : ID_SHOWN), s.s);
}

/* "changes":[{"rev":"1-x"}, ...] */
static int
read_leaves(struct peer_in *in, struct arena *a, struct peer_change *row)
{
	struct revbuf rev;
	struct jstr key;
	size_t n;
	int err = count_elements(&in->j, &n);

	if (err == 0 && n > LIMIT_LEAVES) {
		err = set_aside(a, row, "it has %zu conflicting revisions, more than %u", n, LIMIT_LEAVES);
		return err != 0 ? err : jread_skip(&in->j, NULL);
	}
	if (err != 0 || (err = jread_array_begin(&in->j)) != 0)
		return err;
	row->revs = arena_calloc(a, n + 1, sizeof(*row->revs));
	row->nrevs = 0;
	if (row->revs == NULL)
		return ERR_NOMEM;
	while (err == 0 && (err = jread_array_next(&in->j)) == 0) {
		rev.gen = 0;
		err = jread_object_begin(&in->j);
		while (err == 0 && (err = jread_object_next(&in->j, &in->key, &key)) == 0)
			err = jstr_is(&key, "rev") ? read_leaf(in, a, row, &rev) : jread_skip(&in->j, NULL);
		if (err == ERR_END && rev.gen > 0)
			err = peer_in_rev_dup(a, &rev, &row->revs[row->nrevs++]);
		else if (err == ERR_END)
			err = row->err != 0 ? 0 : ERR_BAD_REQUEST;
	}
	return err == ERR_END ? 0 : err;
}

static int
read_row(struct peer_in *in, struct arena *a, struct peer_change *row)
{
	struct jstr key;
	int err = jread_object_begin(&in->j);

	memset(row, 0, sizeof(*row));
	while (err == 0 && (err = jread_object_next(&in->j, &in->key, &key)) == 0) {
		if (jstr_is(&key, "seq"))
			err = read_seq(in, a, &row->seq);
		else if (jstr_is(&key, "id"))
			err = read_id(in, a, row);
		else if (jstr_is(&key, "deleted"))
			err = jread_bool(&in->j, &row->deleted);
		else if (jstr_is(&key, "changes"))
			err = read_leaves(in, a, row);
		else
			err = jread_skip(&in->j, NULL);
	}
	if (err != ERR_END)
		return err;
	if (row->seq.len == 0)
		return err_why(in->why, ERR_IO, "has a change without a sequence");
	if (row->err != 0)
		row->nrevs = 0;
	if (row->id.len == 0 || (row->nrevs == 0 && row->err == 0))
		return err_why(in->why, ERR_IO, "has a change without a document or its revisions");
	return 0;
}

/* The rows; at most as many as were asked for.  Where the text is cut, it ends behind a row. */
static int
read_rows(struct peer_in *in, int cut, struct peer_changes *c, struct buf *rows, int *allp)
{
	struct peer_change row;
	int err = jread_array_begin(&in->j);

	*allp = 0;
	buf_clear(rows);
	while (err == 0) {
		if (cut && rows->len > 0 && jread_peek(&in->j) == JREAD_ERROR && in->j.p == in->j.end)
			return ERR_END;
		err = jread_array_next(&in->j);
		if (err == 0 && rows->len / sizeof(row) >= c->limit)
			return ERR_END;
		if (err == 0)
			err = read_row(in, c->call.arena, &row);
		if (err == 0)
			err = buf_put(rows, &row, sizeof(row));
	}
	*allp = err == ERR_END;
	return err == ERR_END ? 0 : err;
}

static int
read_pending(struct peer_in *in, int64_t *pendingp)
{
	uint64_t n;
	int err;

	if (jread_peek(&in->j) != JREAD_NUMBER)
		return jread_skip(&in->j, NULL);
	err = jread_u64(&in->j, &n);
	if (err == ERR_BAD_REQUEST)
		return jread_skip(&in->j, NULL);
	if (err == 0 && n <= INT64_MAX)
		*pendingp = (int64_t)n;
	return err;
}

/* ERR_END: there are rows enough, whatever follows. */
static int
read_changes(struct peer_in *in, int cut, struct peer_changes *c, struct buf *rows, int *allp)
{
	struct jstr key;
	int err = jread_object_begin(&in->j), seen = 0;

	while (err == 0 && (err = jread_object_next(&in->j, &in->key, &key)) == 0) {
		if (jstr_is(&key, "results")) {
			seen = 1;
			err = read_rows(in, cut, c, rows, allp);
			if (err == ERR_END)
				return err;
		} else if (jstr_is(&key, "last_seq")) {
			err = read_seq(in, c->call.arena, &c->last_seq);
		} else if (jstr_is(&key, "pending")) {
			err = read_pending(in, &c->pending);
		} else {
			err = jread_skip(&in->j, NULL);
		}
	}
	if (err != ERR_END)
		return err;
	return !seen ? ERR_BAD_REQUEST : jread_end(&in->j);
}

static int
keep_rows(struct peer_changes *c, const struct buf *rows)
{
	c->n = rows->len / sizeof(*c->rows);
	c->rows = arena_calloc(c->call.arena, c->n + 1, sizeof(*c->rows));
	if (c->rows == NULL)
		return ERR_NOMEM;
	if (c->n > 0)
		memcpy(c->rows, rows->data, rows->len);
	return 0;
}

int
peer_json_changes(const char *text, size_t len, int cut, struct peer_changes *c, struct errtext *why)
{
	const struct jstr *last;
	struct peer_in in;
	struct buf rows;
	int all = 0, err;

	c->n = 0;
	c->last_seq.len = 0;
	c->pending = -1;
	peer_in_init(&in, text, len, why);
	buf_init(&rows, ROWS_BYTES);
	err = read_changes(&in, cut, c, &rows, &all);
	if (err == ERR_END)
		c->last_seq.len = 0;
	err = peer_in_end(&in, err == ERR_END ? 0 : err);
	if (err == 0)
		err = keep_rows(c, &rows);
	buf_release(&rows);
	if (err != 0)
		return err;
	last = c->n > 0 ? &c->rows[c->n - 1].seq : NULL;
	if (all && c->last_seq.len == 0)
		return err_why(why, ERR_IO, "has no last_seq: it is not whole");
	if (!all && last == NULL)
		return err_why(why, ERR_IO, "is not whole");
	if (!all) {
		c->last_seq = *last;
		c->pending = -1;
	}
	if (last != NULL && last->len == c->since.len && memcmp(last->s, c->since.s, last->len) == 0)
		return err_why(why, ERR_IO, "has changes that come again and again");
	c->more = !all || (c->n >= c->limit && c->pending != 0) || (c->n > 0 && c->pending > 0);
	return 0;
}

/* ---- What is missing ---- */

static int
by_id(const void *a, const void *b)
{
	const struct peer_want *const *x = a, *const *y = b;
	size_t n = (*x)->id.len < (*y)->id.len ? (*x)->id.len : (*y)->id.len;
	int d = n > 0 ? memcmp((*x)->id.s, (*y)->id.s, n) : 0;

	if (d != 0)
		return d;
	return ((*x)->id.len > (*y)->id.len) - ((*x)->id.len < (*y)->id.len);
}

/* What was said of one document. */
struct verdict {
	struct rev *missing, *ancestors;
	size_t nmissing, nancestors;
};

static int
read_revs(struct peer_in *in, struct arena *a, struct rev **outp, size_t *np)
{
	struct revbuf rev;
	size_t n;
	int err = count_elements(&in->j, &n);

	if (err == 0 && n > LIMIT_LEAVES)
		return ERR_BAD_REQUEST;
	if (err != 0 || (err = jread_array_begin(&in->j)) != 0)
		return err;
	*outp = arena_calloc(a, n + 1, sizeof(**outp));
	if (*outp == NULL)
		return ERR_NOMEM;
	*np = 0;
	while (err == 0 && (err = jread_array_next(&in->j)) == 0) {
		err = peer_in_rev(in, &rev);
		if (err == 0)
			err = peer_in_rev_dup(a, &rev, &(*outp)[(*np)++]);
	}
	return err == ERR_END ? 0 : err;
}

/* They only spare attachments: where there are more than are kept, or one that cannot be, they are passed over. */
static int
read_ancestors(struct peer_in *in, struct arena *a, struct rev **outp, size_t *np)
{
	struct jread at = in->j;
	int err = jread_skip(&in->j, NULL);
	struct jread behind = in->j;

	if (err != 0)
		return err;
	in->j = at;
	err = read_revs(in, a, outp, np);
	if (err != ERR_BAD_REQUEST && err != ERR_BAD_REV)
		return err;
	*np = 0;
	in->j = behind;
	return 0;
}

static int
read_verdict(struct peer_in *in, struct arena *a, struct verdict *v)
{
	struct jstr key;
	int err = jread_object_begin(&in->j);

	memset(v, 0, sizeof(*v));
	while (err == 0 && (err = jread_object_next(&in->j, &in->key, &key)) == 0) {
		if (jstr_is(&key, "missing"))
			err = read_revs(in, a, &v->missing, &v->nmissing);
		else if (jstr_is(&key, "possible_ancestors"))
			err = read_ancestors(in, a, &v->ancestors, &v->nancestors);
		else
			err = jread_skip(&in->j, NULL);
	}
	return err == ERR_END ? 0 : err;
}

/* Only revisions that were asked for can be missing; each one once. */
static int
apply(struct peer_in *in, const struct verdict *v, struct peer_want *want, size_t asked)
{
	size_t i, k;

	want->nrevs = 0;
	for (i = 0; i < v->nmissing; i++) {
		for (k = want->nrevs; k < asked && !rev_equal(&want->revs[k], &v->missing[i]); k++)
			continue;
		if (k == asked)
			return err_why(in->why, ERR_IO, "is of a revision of \"%.*s\" that was not asked for",
			    (int)(want->id.len < 100 ? want->id.len : 100), want->id.s);
		if (k > want->nrevs) {
			struct rev swap = want->revs[k];

			want->revs[k] = want->revs[want->nrevs];
			want->revs[want->nrevs] = swap;
		}
		want->nrevs++;
	}
	want->ancestors = v->ancestors;
	want->nancestors = v->nancestors;
	return 0;
}

/* ${found} to ${end} begin with those of one document.  Asked for twice, with different revisions, all of them are taken to be missing. */
static int
give(struct peer_in *in, const struct verdict *v, struct peer_want **found, struct peer_want **end,
    const struct peer_want *wants, const size_t *asked)
{
	struct peer_want **at = found;

	if (found + 1 == end || by_id(found, found + 1) != 0)
		return apply(in, v, *found, asked[*found - wants]);
	for (; at < end && by_id(found, at) == 0; at++)
		(*at)->nrevs = asked[*at - wants];
	return 0;
}

static int
read_diff(struct peer_in *in, struct peer_diff *c, struct peer_want **sorted, const size_t *asked)
{
	struct peer_want probe, *at = &probe, **found;
	struct verdict v;
	struct jstr key;
	int err = jread_object_begin(&in->j);

	while (err == 0 && (err = jread_object_next(&in->j, &in->key, &key)) == 0) {
		probe.id = key;
		found = bsearch(&at, sorted, c->n, sizeof(struct peer_want *), by_id);
		if (found == NULL)
			return err_why(in->why, ERR_IO, "is of a document that was not asked for");
		while (found > sorted && by_id(found - 1, found) == 0)
			found--;
		err = read_verdict(in, c->call.arena, &v);
		if (err == 0)
			err = give(in, &v, found, sorted + c->n, c->wants, asked);
	}
	return err == ERR_END ? jread_end(&in->j) : err;
}

int
peer_json_diff(const char *text, size_t len, struct peer_diff *c, struct errtext *why)
{
	struct peer_want **sorted = malloc((c->n + 1) * sizeof(struct peer_want *));
	size_t *asked = malloc((c->n + 1) * sizeof(*asked));
	struct peer_in in;
	size_t i;
	int err = ERR_NOMEM;

	peer_in_init(&in, text, len, why);
	if (sorted != NULL && asked != NULL) {
		for (i = 0; i < c->n; i++) {
			sorted[i] = &c->wants[i];
			asked[i] = c->wants[i].nrevs;
			c->wants[i].nrevs = c->wants[i].nancestors = 0;
		}
		qsort(sorted, c->n, sizeof(struct peer_want *), by_id);
		/* Of a document that was asked about twice what is said holds for one of them alone. */
		for (i = 0; i + 1 < c->n; i++)
			if (by_id(&sorted[i], &sorted[i + 1]) == 0) {
				sorted[i]->nrevs = asked[sorted[i] - c->wants];
				sorted[i + 1]->nrevs = asked[sorted[i + 1] - c->wants];
			}
		err = read_diff(&in, c, sorted, asked);
		/* So that the same can be asked again. */
		for (i = 0; i < c->n && err != 0; i++)
			c->wants[i].nrevs = asked[i];
	}
	free(sorted);
	free(asked);
	return peer_in_end(&in, err);
}

/* ---- What became of writes ---- */

struct outcome {
	struct jstr id;
	struct revbuf rev; /* gen 0: not told */
	struct peer_said said;
};

/* PouchDB's own form has true as the error, and its words beside it. */
static void
take_own(struct outcome *o, const struct peer_said *own)
{
	if (o->said.error[0] == '\0')
		(void)snprintf(
		    o->said.error, sizeof(o->said.error), "%s", own->error[0] != '\0' ? own->error : "error");
	if (o->said.reason[0] == '\0')
		memcpy(o->said.reason, own->reason, sizeof(own->reason));
}

static int
read_outcome(struct peer_in *in, struct buf *ids, struct outcome *o)
{
	struct peer_said own = {"", ""};
	struct jstr key, s;
	int failed = 0, err = jread_object_begin(&in->j);

	o->id.len = 0;
	o->rev.gen = 0;
	o->said.error[0] = o->said.reason[0] = '\0';
	while (err == 0 && (err = jread_object_next(&in->j, &in->key, &key)) == 0) {
		enum jread_type type = jread_peek(&in->j);

		if (type != JREAD_STRING) {
			if (jstr_is(&key, "error"))
				failed = type != JREAD_FALSE && type != JREAD_NULL;
			err = jread_skip(&in->j, NULL);
		} else if (jstr_is(&key, "id")) {
			err = jread_string(&in->j, ids, &o->id);
		} else {
			err = jread_string(&in->j, &in->word, &s);
			if (err == 0 && jstr_is(&key, "error"))
				peer_in_keep(o->said.error, sizeof(o->said.error), &s);
			else if (err == 0 && jstr_is(&key, "reason"))
				peer_in_keep(o->said.reason, sizeof(o->said.reason), &s);
			else if (err == 0 && jstr_is(&key, "name"))
				peer_in_keep(own.error, sizeof(own.error), &s);
			else if (err == 0 && jstr_is(&key, "message"))
				peer_in_keep(own.reason, sizeof(own.reason), &s);
			else if (err == 0 && jstr_is(&key, "rev") && rev_parse(s.s, s.len, &o->rev) != 0)
				o->rev.gen = 0;
		}
	}
	if (failed)
		take_own(o, &own);
	return err == ERR_END ? 0 : err;
}

static int
blame(struct peer_in *in, struct peer_write *c, const struct outcome *o)
{
	struct rev rev = rev_of(&o->rev);
	size_t i, hits = 0;

	for (i = 0; i < c->n; i++) {
		struct peer_doc *doc = &c->docs[i];

		if (doc->id.len != o->id.len || memcmp(doc->id.s, o->id.s, o->id.len) != 0 ||
		    (rev.gen != 0 && !rev_equal(&doc->rev, &rev)))
			continue;
		hits++;
		doc->err = peer_json_code(o->said.error);
		doc->why = arena_alloc(c->call.arena, sizeof(*doc->why));
		if (doc->why == NULL)
			return ERR_NOMEM;
		(void)err_why(
		    doc->why, doc->err, "%s%s%s", o->said.error, o->said.reason[0] != '\0' ? ": " : "", o->said.reason);
	}
	return hits > 0 ? 0
			: err_why(in->why, ERR_IO, "has an error of a document that was not sent: %s: %s",
			      o->said.error, o->said.reason);
}

static int
read_written(struct peer_in *in, struct buf *ids, struct peer_write *c)
{
	struct outcome o;
	size_t n = 0;
	int err = jread_array_begin(&in->j);

	while (err == 0 && (err = jread_array_next(&in->j)) == 0) {
		if (++n > c->n)
			return err_why(in->why, ERR_IO, "has more outcomes than documents were sent");
		err = read_outcome(in, ids, &o);
		if (err == 0 && o.said.error[0] != '\0')
			err = blame(in, c, &o);
	}
	return err == ERR_END ? jread_end(&in->j) : err;
}

int
peer_json_written(const char *text, size_t len, struct peer_write *c, struct errtext *why)
{
	struct buf ids;
	struct peer_in in;
	size_t i;
	int err;

	for (i = 0; i < c->n; i++) {
		c->docs[i].err = 0;
		c->docs[i].why = NULL;
	}
	buf_init(&ids, WORDS);
	peer_in_init(&in, text, len, why);
	err = peer_in_end(&in, read_written(&in, &ids, c));
	buf_release(&ids);
	return err;
}
