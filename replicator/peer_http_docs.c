/*
 * peer_http_docs.c: documents that a peer answers with: each is passed over once, checked for being what was asked
 * for, and kept as the text that it is.
 *
 * 1. A document must be one that was asked for, at the revision or, since that may have been replaced meanwhile, at one
 *    that has it in its history. The end of a history may have been forgotten: what it says of older revisions is
 *    believed. Another document makes the whole answer worthless.
 * 2. Every revision that was asked for is answered: with a document, or that it is missing. What is not answered is not
 *    taken for missing: the source's checkpoint would pass over it.
 * 3. What a forgotten end of a history seems to answer may have an answer of its own, behind which an answer is cut: it counts
 *    in a whole answer alone.
 */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/limits.h"
#include "peer_http_json.h"

#define FOUND_BYTES ((size_t)256 << 20)
#define WORDS ((size_t)1 << 20)

/* How a revision is answered: by name, or by a history that may have forgotten it. */
enum { NAMED = 1, FORGOTTEN = 2 };

/* A document that has been passed over. */
struct seen {
	struct jstr text;
	struct jstr id; /* in the buffer that was given */
	struct revbuf rev;
	struct jstr revisions; /* text */
	struct jstr atts;      /* text of _attachments; empty: there are none */
};

static int
bad_doc(struct errtext *why, const struct seen *s, const char *what)
{
	return err_why(why, ERR_IO, "has a document that %s: \"%.*s\"", what, (int)(s->id.len < 100 ? s->id.len : 100),
	    s->id.len > 0 ? s->id.s : "");
}

/* 1 if an object has no member. */
static int
is_empty(struct jstr object)
{
	size_t i;

	for (i = 1; i < object.len; i++)
		if (strchr(" \t\r\n", object.s[i]) == NULL || object.s[i] == '\0')
			return object.s[i] == '}';
	return 1;
}

static int
read_doc(struct peer_in *in, struct buf *ids, struct seen *s)
{
	enum jread_type type = jread_peek(&in->j);
	struct jstr key;
	int err = 0;

	memset(s, 0, sizeof(*s));
	s->text.s = in->j.p;
	if (type != JREAD_OBJECT)
		return type == JREAD_ERROR ? ERR_BAD_JSON : ERR_BAD_REQUEST;
	err = jread_object_begin(&in->j);
	while (err == 0 && (err = jread_object_next(&in->j, &in->key, &key)) == 0) {
		if (key.len < 3 || key.s[0] != '_')
			err = jread_skip(&in->j, NULL);
		else if (jstr_is(&key, "_id"))
			err = jread_string(&in->j, ids, &s->id);
		else if (jstr_is(&key, "_rev"))
			err = peer_in_rev(in, &s->rev);
		else if (jstr_is(&key, "_revisions"))
			err = jread_peek(&in->j) == JREAD_OBJECT ? jread_skip(&in->j, &s->revisions) : ERR_BAD_REQUEST;
		else if (jstr_is(&key, "_attachments"))
			err = jread_peek(&in->j) == JREAD_OBJECT ? jread_skip(&in->j, &s->atts) : ERR_BAD_REQUEST;
		else
			err = jread_skip(&in->j, NULL);
	}
	if (err != ERR_END)
		return err;
	s->text.len = (size_t)(in->j.p - s->text.s);
	if (is_empty(s->atts))
		s->atts.len = 0;
	if (s->id.len == 0)
		return bad_doc(in->why, s, "has no id");
	return s->rev.gen == 0 ? bad_doc(in->why, s, "has no revision") : 0;
}

/* ---- Histories ---- */

/* The members of _revisions. */
static int
read_history(struct peer_in *in, struct jstr text, uint64_t *startp, struct jstr *idsp)
{
	struct peer_in own;
	struct jstr key;
	int err;

	*startp = 0;
	idsp->len = 0;
	peer_in_init(&own, text.s, text.len, in->why);
	err = jread_object_begin(&own.j);
	while (err == 0 && (err = jread_object_next(&own.j, &own.key, &key)) == 0) {
		if (jstr_is(&key, "start"))
			err = jread_u64(&own.j, startp);
		else if (jstr_is(&key, "ids"))
			err = jread_skip(&own.j, idsp);
		else
			err = jread_skip(&own.j, NULL);
	}
	return peer_in_end(&own, err == ERR_END ? 0 : err);
}

/* ---- Revisions that were asked for ---- */

static int
by_rev(const void *a, const void *b)
{
	const struct rev *const *x = a, *const *y = b;

	return rev_cmp(*x, *y);
}

/* Revisions that were asked for of a document, in order, and where they stand. */
struct asked {
	const struct rev **v;
	size_t n;
	const struct rev *revs;
	unsigned char *got; /* of each of ${revs}: how it is answered; 0: it is not */
};

static struct asked
asked_of(const struct peer_found *f, size_t want)
{
	return (struct asked){
	    f->revs + (f->answered[want] - f->flags), f->wants[want].nrevs, f->wants[want].revs, f->answered[want]};
}

/* find_rev: Those that are ${rev}: *${np} of them. */
static const struct rev **
find_rev(const struct asked *q, const struct rev *rev, size_t *np)
{
	const struct rev **at = bsearch(&rev, q->v, q->n, sizeof(*q->v), by_rev), **end = q->v + q->n;

	*np = 0;
	while (at != NULL && at > q->v && rev_equal(at[-1], rev))
		at--;
	while (at != NULL && at + *np < end && rev_equal(at[*np], rev))
		++*np;
	return at;
}

/* What a history says of the revisions that were asked for: *${anyp} is set if one is in it, or may have been forgotten by it. */
static int
walk(struct peer_in *in, const struct seen *s, struct jread *j, const struct asked *q, int *anyp)
{
	const struct rev **at;
	size_t k, n;
	struct rev own = rev_of(&s->rev), rev;
	struct revbuf b;
	struct jstr id;
	uint64_t gen = own.gen;
	int err = jread_array_begin(j);

	for (; err == 0 && (err = jread_array_next(j)) == 0; gen--) {
		err = jread_string(j, &in->word, &id);
		if (err == 0 && gen == 0)
			return bad_doc(in->why, s, "has more revisions than it can have");
		if (err != 0 || (gen != own.gen && (gen > q->v[q->n - 1]->gen || gen < q->v[0]->gen)))
			continue;
		if ((err = rev_parse_id(id.s, id.len, gen, &b)) != 0)
			break;
		rev = rev_of(&b);
		if (gen == own.gen && !rev_equal(&rev, &own))
			return bad_doc(in->why, s, "has another revision's history");
		at = find_rev(q, &rev, &n);
		for (k = 0; k < n; k++)
			q->got[at[k] - q->revs] = NAMED;
		*anyp |= n > 0;
	}
	if (err != ERR_END)
		return err;
	for (k = 0; k < q->n && q->v[k]->gen <= gen; k++)
		if (q->got[q->v[k] - q->revs] == 0)
			q->got[q->v[k] - q->revs] = FORGOTTEN;
	*anyp |= k > 0;
	return gen == own.gen ? bad_doc(in->why, s, "has no history") : 0;
}

/* check_history: Sets q->got of each that ${s} answers, and *${anyp} if there is one. */
static int
check_history(struct peer_in *in, const struct seen *s, const struct asked *q, int *anyp)
{
	struct jread j;
	struct jstr ids;
	uint64_t start;
	int err;

	if (s->revisions.len == 0)
		return bad_doc(in->why, s, "has no _revisions");
	err = read_history(in, s->revisions, &start, &ids);
	if (err != 0)
		return err;
	if (start != s->rev.gen || ids.len == 0)
		return bad_doc(in->why, s, "has another revision's history");
	jread_init(&j, ids.s, ids.len);
	return walk(in, s, &j, q, anyp);
}

/* ---- What was asked for ---- */

static int
by_id(const void *a, const void *b)
{
	const struct peer_want *const *x = a, *const *y = b;

	return jstr_order(&(*x)->id, &(*y)->id);
}

int
peer_found_init(
    struct peer_found *f, const struct peer_want *wants, size_t nwants, struct arena *a, struct errtext *why)
{
	unsigned char *flags;
	const struct rev **revs;
	size_t i, k, n = 0;

	memset(f, 0, sizeof(*f));
	buf_init(&f->docs, FOUND_BYTES);
	f->arena = a;
	f->wants = wants;
	f->nwants = nwants;
	f->why = why;
	for (i = 0; i < nwants; i++)
		n += wants[i].nrevs;
	f->sorted = calloc(nwants + 1, sizeof(*f->sorted));
	f->answered = calloc(nwants + 1, sizeof(*f->answered));
	f->flags = flags = calloc(n + 1, 1);
	f->revs = revs = calloc(n + 1, sizeof(*revs));
	if (f->sorted == NULL || f->answered == NULL || flags == NULL || revs == NULL) {
		peer_found_release(f);
		return ERR_NOMEM;
	}
	for (i = 0; i < nwants; i++) {
		f->sorted[i] = &wants[i];
		f->answered[i] = flags;
		flags += wants[i].nrevs;
		for (k = 0; k < wants[i].nrevs; k++)
			revs[k] = &wants[i].revs[k];
		if (k > 1)
			qsort(revs, k, sizeof(*revs), by_rev);
		revs += k;
	}
	qsort(f->sorted, nwants, sizeof(*f->sorted), by_id);
	return 0;
}

void
peer_found_release(struct peer_found *f)
{
	free(f->sorted);
	free(f->answered);
	free(f->flags);
	free(f->revs);
	buf_release(&f->docs);
	f->sorted = NULL;
	f->answered = NULL;
	f->flags = NULL;
	f->revs = NULL;
}

/* The first of the wants for ${id}, in order of ids; NULL: there is none. */
static const struct peer_want **
find(struct peer_found *f, const struct jstr *id)
{
	struct peer_want probe = {.id = *id};
	const struct peer_want *at = &probe;
	const struct peer_want **found = bsearch(&at, f->sorted, f->nwants, sizeof(struct peer_want *), by_id);

	while (found != NULL && found > f->sorted && by_id(found - 1, found) == 0)
		found--;
	return found;
}

static int
add(struct peer_found *f, size_t want, const struct peer_doc *doc)
{
	struct peer_found_doc d = {.doc = *doc, .want = want};

	return buf_put(&f->docs, &d, sizeof(d));
}

static int
add_error(struct peer_found *f, size_t want, size_t k, int err, const char *error, const char *reason)
{
	struct peer_doc doc = {.id = f->wants[want].id, .rev = f->wants[want].revs[k], .err = err};

	f->answered[want][k] = NAMED;
	if (error[0] != '\0') {
		doc.why = arena_alloc(f->arena, sizeof(*doc.why));
		if (doc.why == NULL)
			return ERR_NOMEM;
		(void)err_why(doc.why, err, "%s%s%s", error, reason[0] != '\0' ? ": " : "", reason);
	}
	return add(f, want, &doc);
}

static int
add_seen(struct peer_found *f, size_t want, const struct seen *s)
{
	struct peer_doc doc = {.id = f->wants[want].id, .has_atts = s->atts.len > 0};
	int err = peer_in_rev_dup(f->arena, &s->rev, &doc.rev);

	f->came++;
	f->bytes += s->text.len;
	if (err == 0 && !doc.has_atts) {
		err = peer_in_copy(f->arena, &s->text, &doc.text);
		f->taken += s->text.len;
	}
	return err != 0 ? err : add(f, want, &doc);
}

/* Every want that the document answers counts it as its answer; the first that does, has it. */
static int
take_doc(struct peer_found *f, struct peer_in *in, const struct seen *s)
{
	const struct peer_want **at = find(f, &s->id), **end = f->sorted + f->nwants;
	int err = 0, hit = 0;

	for (; at != NULL && at < end && jstr_order(&(*at)->id, &s->id) == 0; at++) {
		size_t want = (size_t)(*at - f->wants);
		const struct asked q = asked_of(f, want);
		int any = 0;

		if (q.n > 0 && (err = check_history(in, s, &q, &any)) != 0)
			return err;
		if (any && !hit++ && (err = add_seen(f, want, s)) != 0)
			return err;
	}
	return hit ? 0 : bad_doc(in->why, s, "was not asked for");
}

/* One revision's fate, where it is no document. */
struct fate {
	int has_doc, told; /* told: it is an error */
	struct revbuf rev; /* gen 0: not said */
	struct peer_said said;
};

static int
read_error(struct peer_in *in, struct fate *fate)
{
	struct jread again;
	struct jstr span, key;
	int err;

	fate->told = 1;
	if (jread_peek(&in->j) == JREAD_STRING) {
		err = jread_string(&in->j, &in->word, &span);
		if (err == 0)
			peer_in_keep(fate->said.error, sizeof(fate->said.error), &span);
		return err;
	}
	again = in->j;
	err = peer_in_said(in, &fate->said);
	if (err != 0)
		return err;
	err = jread_object_begin(&again);
	while (err == 0 && (err = jread_object_next(&again, &in->key, &key)) == 0) {
		if (jstr_is(&key, "rev") && jread_peek(&again) == JREAD_STRING) {
			err = jread_string(&again, &in->word, &span);
			if (err == 0 && rev_parse(span.s, span.len, &fate->rev) != 0)
				fate->rev.gen = 0;
		} else {
			err = jread_skip(&again, NULL);
		}
	}
	return err == ERR_END ? 0 : err;
}

/* {"ok":DOC}, {"missing":REV}, {"error":{...}} or {"error":"...","reason":"..."}. */
static int
read_fate(struct peer_found *f, struct peer_in *in, struct buf *ids, struct fate *fate)
{
	struct jstr key, reason;
	struct seen s;
	int err = jread_object_begin(&in->j);

	memset(fate, 0, sizeof(*fate));
	while (err == 0 && (err = jread_object_next(&in->j, &in->key, &key)) == 0) {
		if (jstr_is(&key, "ok")) {
			err = read_doc(in, ids, &s);
			fate->has_doc = 1;
			if (err == 0)
				err = take_doc(f, in, &s);
		} else if (jstr_is(&key, "missing")) {
			err = peer_in_rev(in, &fate->rev);
			fate->told = 1;
			memcpy(fate->said.error, "not_found", sizeof("not_found"));
		} else if (jstr_is(&key, "error")) {
			err = read_error(in, fate);
		} else if (jstr_is(&key, "reason") && jread_peek(&in->j) == JREAD_STRING) {
			err = jread_string(&in->j, &in->word, &reason);
			if (err == 0)
				peer_in_keep(fate->said.reason, sizeof(fate->said.reason), &reason);
		} else {
			err = jread_skip(&in->j, NULL);
		}
	}
	if (err != ERR_END)
		return err;
	return fate->told || fate->has_doc ? 0 : ERR_BAD_REQUEST;
}

/* What cannot be had for good is passed over; of anything else it is not known. */
static int
code_of(const struct fate *fate)
{
	int code = peer_json_code(fate->said.error);

	return code == ERR_MISSING || code == ERR_FORBIDDEN || code == ERR_UNAUTHORIZED ? code : ERR_HELD_BACK;
}

/* ${fate} is an error. */
static int
take_error(struct peer_found *f, struct peer_in *in, const struct fate *fate, size_t want)
{
	const struct peer_want *w = &f->wants[want];
	struct rev rev = rev_of(&fate->rev);
	int err = 0;
	const struct asked q = asked_of(f, want);
	const struct rev **at;
	size_t k, hits = q.n;

	at = rev.gen != 0 ? find_rev(&q, &rev, &hits) : q.v;
	for (k = 0; k < hits && err == 0; k++) {
		size_t nth = (size_t)(at[k] - w->revs);

		if (f->answered[want][nth] != NAMED)
			err = add_error(f, want, nth, code_of(fate), fate->said.error, fate->said.reason);
	}
	if (err == 0 && hits == 0)
		return err_why(in->why, ERR_IO, "has an error for a revision of \"%.*s\" that was not asked for",
		    (int)(w->id.len < 100 ? w->id.len : 100), w->id.s);
	return err;
}

/* ---- _bulk_get ---- */

/* The docs of a result.  Errors without a revision are about those that nothing else is said of; what may pass counts more than what does not. */
static int
read_fates_of(struct peer_found *f, struct peer_in *in, struct buf *ids, const struct jstr *id)
{
	const struct peer_want **at = id->s != NULL ? find(f, id) : NULL;
	struct fate fate, loose = {.told = 0};
	int err = jread_array_begin(&in->j);

	while (err == 0 && (err = jread_array_next(&in->j)) == 0) {
		err = read_fate(f, in, ids, &fate);
		if (err != 0 || !fate.told)
			continue;
		if (at == NULL)
			err = ERR_BAD_REQUEST;
		else if (fate.rev.gen != 0)
			err = take_error(f, in, &fate, (size_t)(*at - f->wants));
		else if (!loose.told || code_of(&fate) == ERR_HELD_BACK)
			loose = fate;
	}
	err = err == ERR_END ? 0 : err;
	return err == 0 && loose.told ? take_error(f, in, &loose, (size_t)(*at - f->wants)) : err;
}

/* {"id":ID,"docs":[...]}: the id may come behind; the docs are then read anew. */
static int
read_result(struct peer_found *f, struct peer_in *in, struct buf *ids)
{
	struct jstr key, id = {NULL, 0}, docs = {NULL, 0};
	struct jread rest;
	struct buf names;
	int err = jread_object_begin(&in->j);

	buf_init(&names, WORDS);
	while (err == 0 && (err = jread_object_next(&in->j, &in->key, &key)) == 0) {
		if (jstr_is(&key, "id"))
			err = jread_string(&in->j, &names, &id);
		else if (jstr_is(&key, "docs") && id.s != NULL)
			err = read_fates_of(f, in, ids, &id);
		else
			err = jread_skip(&in->j, jstr_is(&key, "docs") ? &docs : NULL);
	}
	err = err == ERR_END ? 0 : err;
	if (err == 0 && docs.s != NULL) {
		rest = in->j;
		jread_init(&in->j, docs.s, docs.len);
		err = read_fates_of(f, in, ids, &id);
		in->j = rest;
	}
	buf_release(&names);
	return err;
}

static int
read_results(struct peer_found *f, struct peer_in *in, struct buf *ids, int cut)
{
	struct jstr key;
	int err = jread_object_begin(&in->j), seen = 0;

	while (err == 0 && (err = jread_object_next(&in->j, &in->key, &key)) == 0) {
		if (!jstr_is(&key, "results")) {
			err = jread_skip(&in->j, NULL);
			continue;
		}
		seen = 1;
		err = jread_array_begin(&in->j);
		while (err == 0) {
			if (cut && jread_peek(&in->j) == JREAD_ERROR && in->j.p == in->j.end)
				return 0;
			err = jread_array_next(&in->j);
			if (err == 0)
				err = read_result(f, in, ids);
		}
		err = err == ERR_END ? 0 : err;
	}
	if (err != ERR_END)
		return err;
	return seen ? jread_end(&in->j) : ERR_BAD_REQUEST;
}

/* What is forgotten may be told behind the cut. */
static void
disbelieve(struct peer_found *f)
{
	size_t i, k;

	for (i = 0; i < f->nwants; i++)
		for (k = 0; k < f->wants[i].nrevs; k++)
			if (f->answered[i][k] == FORGOTTEN)
				f->answered[i][k] = 0;
}

int
peer_found_bulk(struct peer_found *f, const char *text, size_t len, int cut)
{
	struct peer_in in;
	struct buf ids;
	int err;

	buf_init(&ids, WORDS);
	peer_in_init(&in, text, len, f->why);
	err = peer_in_end(&in, read_results(f, &in, &ids, cut));
	if (cut)
		disbelieve(f);
	buf_release(&ids);
	return err;
}

/* ---- open_revs ---- */

static int
read_fates(struct peer_found *f, struct peer_in *in, struct buf *ids, size_t want)
{
	struct fate fate;
	int err = jread_array_begin(&in->j);

	while (err == 0 && (err = jread_array_next(&in->j)) == 0) {
		err = read_fate(f, in, ids, &fate);
		if (err == 0 && fate.told)
			err = take_error(f, in, &fate, want);
	}
	return err == ERR_END ? jread_end(&in->j) : err;
}

int
peer_found_one(struct peer_found *f, size_t want, const char *text, size_t len)
{
	struct peer_in in;
	struct buf ids;
	int err;

	buf_init(&ids, WORDS);
	peer_in_init(&in, text, len, f->why);
	err = peer_in_end(&in, read_fates(f, &in, &ids, want));
	buf_release(&ids);
	return err;
}

int
peer_found_missing(struct peer_found *f, size_t want)
{
	size_t k;
	int err = 0;

	for (k = 0; k < f->wants[want].nrevs && err == 0; k++)
		if (!f->answered[want][k])
			err = add_error(f, want, k, ERR_MISSING, "", "");
	return err;
}

int
peer_found_failed(struct peer_found *f, size_t want, size_t k, int err, const struct errtext *why)
{
	return f->answered[want][k] == NAMED ? 0 : add_error(f, want, k, err, why->text, "");
}

size_t
peer_found_whole(const struct peer_found *f)
{
	size_t i, k;

	for (i = 0; i < f->nwants; i++)
		for (k = 0; k < f->wants[i].nrevs; k++)
			if (!f->answered[i][k])
				return i;
	return f->nwants;
}

int
peer_found_end(struct peer_found *f, size_t done, struct peer_fetch *c)
{
	size_t n = f->docs.len / sizeof(struct peer_found_doc), i;
	struct peer_found_doc d;

	c->docs = arena_calloc(f->arena, n + 1, sizeof(*c->docs));
	if (c->docs == NULL)
		return ERR_NOMEM;
	c->ndocs = 0;
	for (i = 0; i < n; i++) {
		memcpy(&d, f->docs.data + i * sizeof(d), sizeof(d));
		if (d.want < done)
			c->docs[c->ndocs++] = d.doc;
	}
	c->done = done;
	return 0;
}

/* ---- One document with its attachments ---- */

static int
read_digest(const struct jstr *s, unsigned char md5[16])
{
	struct buf b;
	int good;

	if (s->len < 4 || memcmp(s->s, "md5-", 4) != 0)
		return 0;
	buf_init(&b, 64);
	good = base64_get(&b, s->s + 4, s->len - 4) == 0 && b.len == 16;
	if (good)
		memcpy(md5, b.data, 16);
	buf_release(&b);
	return good;
}

static int
read_stub(struct peer_in *in, struct arena *a, struct peer_stub *stub)
{
	uint64_t length = UINT64_MAX, encoded = UINT64_MAX;
	struct jstr key, s;
	int err = jread_object_begin(&in->j);

	while (err == 0 && (err = jread_object_next(&in->j, &in->key, &key)) == 0) {
		enum jread_type type = jread_peek(&in->j);

		if (jstr_is(&key, "follows") && type == JREAD_TRUE) {
			err = jread_bool(&in->j, &stub->follows);
		} else if (jstr_is(&key, "length") && type == JREAD_NUMBER) {
			err = jread_u64(&in->j, &length);
		} else if (jstr_is(&key, "encoded_length") && type == JREAD_NUMBER) {
			err = jread_u64(&in->j, &encoded);
		} else if (jstr_is(&key, "content_type") && type == JREAD_STRING) {
			err = jread_string(&in->j, &in->word, &s);
			if (err == 0)
				err = peer_in_copy(a, &s, &stub->att.type);
		} else if (jstr_is(&key, "encoding") && type == JREAD_STRING) {
			err = jread_string(&in->j, &in->word, &s);
			stub->att.gzip = err == 0 && jstr_is(&s, "gzip");
		} else if (jstr_is(&key, "digest") && type == JREAD_STRING) {
			err = jread_string(&in->j, &in->word, &s);
			if (err == 0)
				stub->has_digest = read_digest(&s, stub->md5);
		} else {
			err = jread_skip(&in->j, NULL);
		}
	}
	if (err != ERR_END)
		return err;
	stub->att.length = stub->att.gzip ? encoded : length;
	stub->plain = length;
	if (stub->follows && stub->att.length == UINT64_MAX)
		return err_why(in->why, ERR_IO, "has an attachment without a length");
	return 0;
}

static int
read_stubs(struct peer_in *in, struct jstr text, struct arena *a, struct peer_stub **stubs, size_t *np)
{
	struct peer_in own;
	struct jread count;
	struct jstr key;
	size_t n = 0;
	int err;

	*np = 0;
	*stubs = NULL;
	if (text.len == 0)
		return 0;
	peer_in_init(&own, text.s, text.len, in->why);
	jread_init(&count, text.s, text.len);
	err = jread_object_begin(&count);
	while (err == 0 && (err = jread_object_next(&count, &own.key, &key)) == 0) {
		n++;
		err = n <= LIMIT_ATTACHMENTS ? jread_skip(&count, NULL) : ERR_BAD_REQUEST;
	}
	*stubs = err == ERR_END ? arena_calloc(a, n + 1, sizeof(**stubs)) : NULL;
	if (err == ERR_END)
		err = *stubs != NULL ? jread_object_begin(&own.j) : ERR_NOMEM;
	while (err == 0 && (err = jread_object_next(&own.j, &own.key, &key)) == 0) {
		err = peer_in_copy(a, &key, &(*stubs)[*np].att.name);
		if (err == 0)
			err = read_stub(&own, a, &(*stubs)[*np]);
		++*np;
	}
	return peer_in_end(&own, err == ERR_END ? 0 : err);
}

/* The document before the reader. */
static int
take_opened(struct peer_in *in, const struct jstr *id, const struct rev *asked, struct arena *a, struct peer_doc *doc,
    struct jstr *atts)
{
	unsigned char got = 0;
	const struct asked q = {&asked, 1, asked, &got};
	struct buf ids;
	struct seen s;
	int err, any = 0;

	buf_init(&ids, WORDS);
	err = read_doc(in, &ids, &s);
	if (err == 0 && jstr_order(&s.id, id) != 0)
		err = bad_doc(in->why, &s, "was not asked for");
	if (err == 0)
		err = check_history(in, &s, &q, &any);
	if (err == 0 && !any)
		err = bad_doc(in->why, &s, "is at a revision that was not asked for");
	memset(doc, 0, sizeof(*doc));
	doc->id = *id;
	doc->has_atts = s.atts.len > 0;
	if (err == 0)
		err = peer_in_rev_dup(a, &s.rev, &doc->rev);
	if (err == 0)
		err = peer_in_copy(a, &s.text, &doc->text);
	if (err == 0 && atts != NULL)
		err = peer_in_copy(a, &s.atts, atts);
	buf_release(&ids);
	return err;
}

int
peer_json_opened(const char *text, size_t len, const struct jstr *id, const struct rev *asked, struct arena *a,
    struct peer_doc *doc, struct peer_stub **stubs, size_t *nstubs, struct errtext *why)
{
	struct peer_in in;
	struct jstr atts;
	int err;

	peer_in_init(&in, text, len, why);
	err = take_opened(&in, id, asked, a, doc, &atts);
	if (err == 0)
		err = jread_end(&in.j);
	if (err == 0)
		err = read_stubs(&in, atts, a, stubs, nstubs);
	return peer_in_end(&in, err);
}

int
peer_json_stubs(
    const char *text, size_t len, struct arena *a, struct peer_stub **stubs, size_t *nstubs, struct errtext *why)
{
	struct peer_in in;
	struct buf ids;
	struct seen s;
	int err;

	buf_init(&ids, WORDS);
	peer_in_init(&in, text, len, why);
	err = read_doc(&in, &ids, &s);
	if (err == 0)
		err = read_stubs(&in, s.atts, a, stubs, nstubs);
	buf_release(&ids);
	return peer_in_end(&in, err);
}

/* Of several documents, for a revision that has become several, the first is enough: the others are changes of their own. */
static int
read_first(struct peer_in *in, const struct jstr *id, const struct rev *asked, struct arena *a, struct peer_doc *doc)
{
	struct jstr key;
	int found = 0, err = jread_array_begin(&in->j);

	while (err == 0 && (err = jread_array_next(&in->j)) == 0) {
		err = jread_object_begin(&in->j);
		while (err == 0 && (err = jread_object_next(&in->j, &in->key, &key)) == 0) {
			if (!jstr_is(&key, "ok") || found) {
				err = jread_skip(&in->j, NULL);
				continue;
			}
			found = 1;
			err = take_opened(in, id, asked, a, doc, NULL);
		}
		err = err == ERR_END ? 0 : err;
	}
	if (err != ERR_END)
		return err;
	err = jread_end(&in->j);
	return err == 0 && !found ? err_why(in->why, ERR_MISSING, "has no such revision") : err;
}

int
peer_json_open_revs(const char *text, size_t len, const struct jstr *id, const struct rev *asked, struct arena *a,
    struct peer_doc *doc, struct errtext *why)
{
	struct peer_in in;

	peer_in_init(&in, text, len, why);
	return peer_in_end(&in, read_first(&in, id, asked, a, doc));
}
