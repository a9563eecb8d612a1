/*
 * A document's JSON, in and out.  In: one pass by jread_text_members() writes the body's text and term; the
 * members that begin with an underscore are taken out as they come.  The first thing wrong with the document
 * is kept while the rest is read, because a body that is not JSON at all is a graver error, and because a
 * bulk request goes on behind it.
 */
#include "db/doc.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/limits.h"

#define FIRST_ROOM 1024u /* a usual document's text and term fit without growing */
#define DEFAULT_TYPE "application/octet-stream"

struct parser {
	struct arena *a;
	struct doc_in *out;
	struct errtext *why;
	int err; /* the first thing wrong with the document, or 0 */
	size_t atts_cap;
};

static int
is(struct jstr s, const char *word)
{
	return s.len == strlen(word) && memcmp(s.s, word, s.len) == 0;
}

static int
starts(const char *s, size_t len, const char *word)
{
	size_t n = strlen(word);

	return len >= n && memcmp(s, word, n) == 0;
}

int
doc_id_check(const char *id, size_t len, struct errtext *why)
{
	if (len == 0)
		return ERR_ID_EMPTY;
	if ((len == 8 && starts(id, len, "_design/")) || (len == 7 && starts(id, len, "_local/")))
		return err_why(why, ERR_RESERVED_ID, "Illegal document id `%.*s`", (int)len, id);
	if (len > LIMIT_ID_LEN)
		return ERR_ID_TOO_LONG;
	if (!jread_utf8_ok(id, len))
		return ERR_ID_NOT_UTF8;
	if (id[0] == '_' && !starts(id, len, "_design/") && !starts(id, len, "_local/"))
		return ERR_RESERVED_ID;
	return 0;
}

/* ---- Reading ---- */

/* Note what is wrong, unless something was before.  Writes ${p}->why only the first time. */
#define FAULT(p, ...) ((p)->err == 0 ? ((p)->err = err_why((p)->why, __VA_ARGS__)) : (p)->err)

/*
 * Read a string into the arena, or step over a value of another type and set *${okp} to 0.  Most strings have
 * no escapes and are borrowed from the input.
 */
static int
read_string(struct parser *p, struct jread *j, struct jstr *sp, int *okp)
{
	struct buf scratch;
	int err;

	buf_init_arena(&scratch, p->a, SIZE_MAX / 2);
	err = jread_string(j, &scratch, sp);
	*okp = err == 0;
	return err == ERR_BAD_REQUEST ? jread_skip(j, NULL) : err;
}

static int
take_id(struct parser *p, struct jread *j)
{
	struct errtext why = {""};
	int ok, err = read_string(p, j, &p->out->id, &ok);

	if (err != 0)
		return err;
	p->out->has_id = ok;
	if (!ok) {
		FAULT(p, ERR_ID_NOT_STRING, "%s", "");
		return 0;
	}
	err = doc_id_check(p->out->id.s, p->out->id.len, &why);
	if (err != 0)
		FAULT(p, err, "%s", why.text);
	return 0;
}

static int
take_rev(struct parser *p, struct jread *j)
{
	struct jstr s;
	struct revbuf *rev = &p->out->rev;
	int ok, err = read_string(p, j, &s, &ok);

	if (err != 0)
		return err;
	if (!ok || (rev_parse(s.s, s.len, rev) != 0 && rev_parse_local(s.s, s.len, rev) != 0))
		FAULT(p, ERR_BAD_REV, "%s", "");
	p->out->has_rev = 1;
	return 0;
}

static int
take_deleted(struct parser *p, struct jread *j)
{
	int err = jread_bool(j, &p->out->deleted);

	if (err != ERR_BAD_REQUEST)
		return err;
	FAULT(p, ERR_DOC_VALIDATION, "Bad special document member: _deleted");
	return jread_skip(j, NULL);
}

static int
add_revision(struct parser *p, size_t *capp, struct jstr s)
{
	struct doc_in *out = p->out;
	struct revbuf rev;
	struct rev *r;

	if (out->nrevisions == *capp) {
		size_t cap = *capp > 0 ? *capp * 2 : 8;
		struct rev *more = arena_calloc(p->a, cap, sizeof(*more));

		if (more == NULL)
			return ERR_NOMEM;
		if (out->nrevisions > 0)
			memcpy(more, out->revisions, out->nrevisions * sizeof(*more));
		out->revisions = more;
		*capp = cap;
	}
	/* The generation is known once all of _revisions has been read. */
	if (rev_parse_id(s.s, s.len, 1, &rev) != 0) {
		FAULT(p, ERR_DOC_VALIDATION, "RevId isn't a valid hexadecimal");
		return 0;
	}
	r = &out->revisions[out->nrevisions++];
	r->len = rev.len;
	r->id = (unsigned char *)arena_dup(p->a, rev.id, rev.len);
	return r->id != NULL ? 0 : ERR_NOMEM;
}

static int
read_revision_ids(struct parser *p, struct jread *j)
{
	size_t cap = 0;
	int err = jread_array_begin(j);

	p->out->nrevisions = 0;
	if (err == ERR_BAD_REQUEST) {
		FAULT(p, ERR_DOC_VALIDATION, "_revisions.ids isn't a array.");
		return jread_skip(j, NULL);
	}
	while (err == 0) {
		struct jstr s;
		int ok;

		err = jread_array_next(j);
		if (err == 0)
			err = read_string(p, j, &s, &ok);
		if (err != 0)
			break;
		if (ok)
			err = add_revision(p, &cap, s);
		else
			FAULT(p, ERR_DOC_VALIDATION, "RevId isn't a string");
	}
	return err == ERR_END ? 0 : err;
}

static int
number_revisions(struct parser *p, int has_start, int has_ids, uint64_t start)
{
	struct doc_in *out = p->out;

	if (!has_start)
		FAULT(p, ERR_DOC_VALIDATION, "_revisions.start isn't an integer.");
	else if (!has_ids)
		FAULT(p, ERR_DOC_VALIDATION, "_revisions.ids isn't a array.");
	/* "0-N" are the revisions of _local documents: one alone may stand here, and the caller refuses it elsewhere. */
	else if (start > LIMIT_REV_GEN || (start < out->nrevisions && (start > 0 || out->nrevisions > 1)))
		FAULT(p, ERR_DOC_VALIDATION, "_revisions.start does not fit _revisions.ids.");
	else
		for (size_t i = 0; i < out->nrevisions; i++)
			out->revisions[i].gen = start - i;
	return 0;
}

static int
take_revisions(struct parser *p, struct jread *j)
{
	int has_start = 0, has_ids = 0;
	uint64_t start = 0;
	struct buf scratch;
	int err = jread_object_begin(j);

	if (err == ERR_BAD_REQUEST) {
		FAULT(p, ERR_DOC_VALIDATION, "Bad special document member: _revisions");
		return jread_skip(j, NULL);
	}
	buf_init_arena(&scratch, p->a, SIZE_MAX / 2);
	while (err == 0) {
		struct jstr key;

		err = jread_object_next(j, &scratch, &key);
		if (err != 0)
			break;
		if (is(key, "ids")) {
			has_ids = 1;
			err = read_revision_ids(p, j);
		} else if (is(key, "start")) {
			err = jread_u64(j, &start);
			has_start = err == 0;
			if (err == ERR_BAD_REQUEST)
				err = jread_skip(j, NULL);
		} else {
			err = jread_skip(j, NULL);
		}
	}
	return err == ERR_END ? number_revisions(p, has_start, has_ids, start) : err;
}

/* Attachment data is held to the standard alphabet and full padding, which base64_get() does not ask for. */
static int
decode_data(struct parser *p, struct jstr *data)
{
	struct buf bytes;
	size_t count = 0;

	for (size_t i = 0; i < data->len; i++) {
		char c = data->s[i];

		if (c == '-' || c == '_')
			return ERR_BAD_BASE64;
		count += c != ' ' && c != '\n' && c != '\r' && c != '\t';
	}
	if (count % 4 != 0)
		return ERR_BAD_BASE64;
	buf_init_arena(&bytes, p->a, data->len + FIRST_ROOM);
	if (base64_get(&bytes, data->s, data->len) != 0)
		return buf_failed(&bytes) != 0 ? ERR_NOMEM : ERR_BAD_BASE64;
	*data = (struct jstr){bytes.data, bytes.len};
	return 0;
}

static void
read_digest(struct doc_att_in *att, struct jstr s)
{
	unsigned char room[64];
	struct buf b = {.data = (char *)room, .cap = sizeof(room), .max = sizeof(room)};

	att->has_digest = s.len >= 4 && starts(s.s, s.len, "md5-") && s.len <= 40 &&
			  base64_get(&b, s.s + 4, s.len - 4) == 0 && b.len == sizeof(att->md5);
	if (att->has_digest)
		memcpy(att->md5, room, sizeof(att->md5));
}

/* What an attachment's members say before its kind is known. */
struct att_members {
	int stub, follows, has_data, bad_type, gzip;
};

static int
read_number(struct jread *j, uint64_t *vp, int *hasp)
{
	int err = jread_u64(j, vp);

	*hasp = 1;
	if (err != ERR_BAD_REQUEST)
		return err;
	/* No number that any attachment has. */
	*vp = UINT64_MAX;
	return jread_skip(j, NULL);
}

static int
read_flag(struct jread *j, int *vp)
{
	int err = jread_bool(j, vp);

	if (err != ERR_BAD_REQUEST)
		return err;
	*vp = 0;
	return jread_skip(j, NULL);
}

static int
read_att_member(struct parser *p, struct jread *j, struct jstr key, struct doc_att_in *att, struct att_members *m)
{
	struct jstr s;
	int ok, err;

	if (is(key, "stub"))
		return read_flag(j, &m->stub);
	if (is(key, "follows"))
		return read_flag(j, &m->follows);
	if (is(key, "revpos"))
		return read_number(j, &att->revpos, &att->has_revpos);
	if (is(key, "length"))
		return read_number(j, &att->length, &att->has_length);
	if (is(key, "encoded_length"))
		return read_number(j, &att->encoded_length, &att->has_encoded_length);
	if (is(key, "data")) {
		err = read_string(p, j, &att->data, &m->has_data);
	} else if (is(key, "content_type")) {
		err = read_string(p, j, &att->type, &ok);
		m->bad_type = !ok;
	} else if (is(key, "digest")) {
		err = read_string(p, j, &s, &ok);
		if (err == 0 && ok)
			read_digest(att, s);
	} else if (is(key, "encoding")) {
		err = read_string(p, j, &s, &ok);
		m->gzip = err == 0 && ok && is(s, "gzip");
	} else {
		err = jread_skip(j, NULL);
	}
	return err;
}

static int
settle_att(struct parser *p, struct doc_att_in *att, const struct att_members *m)
{
	int name_len = (int)(att->name.len < ERRTEXT_MAX ? att->name.len : ERRTEXT_MAX);
	int err;

	if (att->name.len > 0 && att->name.s[0] == '_')
		FAULT(p, ERR_BAD_REQUEST, "Attachment name '%.*s' starts with prohibited character '_'", name_len,
		    att->name.s);
	if (att->name.len > LIMIT_ATT_NAME_LEN || att->type.len > LIMIT_ATT_NAME_LEN)
		FAULT(p, ERR_BAD_REQUEST, "Attachment name or type is too long");
	if (m->stub || m->follows) {
		att->kind = m->stub ? DOC_ATT_STUB : DOC_ATT_FOLLOWS;
		att->encoding = m->gzip ? DOC_GZIP : DOC_IDENTITY;
		att->data = (struct jstr){NULL, 0};
		return 0;
	}
	/* Of inline data, what it says of itself is not believed. */
	att->kind = DOC_ATT_DATA;
	att->has_digest = att->has_length = att->has_encoded_length = 0;
	err = m->has_data && !m->bad_type ? decode_data(p, &att->data) : ERR_BAD_BASE64;
	if (err == ERR_BAD_BASE64)
		FAULT(p, ERR_BAD_REQUEST, "Invalid attachment data for %.*s", name_len, att->name.s);
	return err == ERR_NOMEM ? err : 0;
}

static int
by_name(const void *a, const void *b)
{
	const struct doc_att_in *x = *(const struct doc_att_in *const *)a, *y = *(const struct doc_att_in *const *)b;
	int order = jstr_order(&x->name, &y->name);

	return order != 0 ? order : (x > y) - (x < y);
}

static int
by_place(const void *a, const void *b)
{
	const struct doc_att_in *x = *(const struct doc_att_in *const *)a, *y = *(const struct doc_att_in *const *)b;

	return (x > y) - (x < y);
}

/* Of several of one name the last one stays, where it stands. */
static int
drop_repeated(struct parser *p)
{
	struct doc_in *out = p->out;
	const struct doc_att_in **all;
	size_t i, n = 0;

	if (out->natts < 2)
		return 0;
	if ((all = arena_calloc(p->a, out->natts, sizeof(*all))) == NULL)
		return ERR_NOMEM;
	for (i = 0; i < out->natts; i++)
		all[i] = &out->atts[i];
	qsort(all, out->natts, sizeof(*all), by_name);
	for (i = 0; i < out->natts; i++)
		if (i + 1 == out->natts || jstr_order(&all[i]->name, &all[i + 1]->name) != 0)
			all[n++] = all[i];
	if (n == out->natts)
		return 0;
	qsort(all, n, sizeof(*all), by_place);
	for (i = 0; i < n; i++)
		out->atts[i] = *all[i];
	out->natts = n;
	return 0;
}

static int
add_att(struct parser *p, const struct doc_att_in *att)
{
	struct doc_in *out = p->out;

	if (out->natts == p->atts_cap) {
		size_t cap = p->atts_cap > 0 ? p->atts_cap * 2 : 4;
		struct doc_att_in *more = arena_calloc(p->a, cap, sizeof(*more));

		if (more == NULL)
			return ERR_NOMEM;
		if (out->natts > 0)
			memcpy(more, out->atts, out->natts * sizeof(*more));
		out->atts = more;
		p->atts_cap = cap;
	}
	out->atts[out->natts++] = *att;
	return 0;
}

static int
read_att(struct parser *p, struct jread *j, struct jstr name)
{
	struct doc_att_in att = {.name = name, .type = {DEFAULT_TYPE, sizeof(DEFAULT_TYPE) - 1}};
	struct att_members m = {0};
	struct buf scratch;
	int err;

	/* CouchDB passes over what is no object. */
	if (jread_peek(j) != JREAD_OBJECT)
		return jread_skip(j, NULL);
	/* Repeated names count, too: of what goes on without end nothing is kept. */
	if (p->out->natts >= LIMIT_ATTACHMENTS) {
		FAULT(p, ERR_BAD_REQUEST, "Too many attachments");
		return jread_skip(j, NULL);
	}
	err = jread_object_begin(j);
	buf_init_arena(&scratch, p->a, SIZE_MAX / 2);
	while (err == 0) {
		struct jstr key;

		err = jread_object_next(j, &scratch, &key);
		if (err == 0)
			err = read_att_member(p, j, key, &att, &m);
	}
	if (err == ERR_END)
		err = settle_att(p, &att, &m);
	return err == 0 ? add_att(p, &att) : err;
}

static int
take_atts(struct parser *p, struct jread *j)
{
	struct buf scratch;
	int err = jread_object_begin(j);

	p->out->has_atts = 1;
	p->out->natts = 0;
	if (err == ERR_BAD_REQUEST) {
		FAULT(p, ERR_DOC_VALIDATION, "Bad special document member: _attachments");
		return jread_skip(j, NULL);
	}
	while (err == 0) {
		struct jstr name;

		/* A name with escapes stays in its own buffer. */
		buf_init_arena(&scratch, p->a, SIZE_MAX / 2);
		err = jread_object_next(j, &scratch, &name);
		if (err == 0)
			err = read_att(p, j, name);
	}
	return err == ERR_END ? drop_repeated(p) : err;
}

static int
member(void *cookie, struct jstr key, struct jread *j)
{
	static const char *const dropped[] = {"_revs_info", "_conflicts", "_deleted_conflicts", "_local_seq"};
	static const char *const kept[] = {"_replication_id", "_replication_state", "_replication_state_time",
	    "_replication_state_reason", "_replication_stats", "_access"};
	struct parser *p = cookie;

	if (is(key, "_id"))
		return take_id(p, j);
	if (is(key, "_rev"))
		return take_rev(p, j);
	if (is(key, "_deleted"))
		return take_deleted(p, j);
	if (is(key, "_revisions"))
		return take_revisions(p, j);
	if (is(key, "_attachments"))
		return take_atts(p, j);
	for (size_t i = 0; i < sizeof(dropped) / sizeof(dropped[0]); i++) {
		if (is(key, dropped[i]))
			return jread_skip(j, NULL);
	}
	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
		if (is(key, kept[i]))
			return ERR_END;
	}
	FAULT(p, ERR_DOC_VALIDATION, "Bad special document member: %.*s",
	    (int)(key.len < ERRTEXT_MAX ? key.len : ERRTEXT_MAX), key.s);
	return jread_skip(j, NULL);
}

static int
parse(struct parser *p, struct jread *j)
{
	struct buf text, etf;
	char *room;
	int err;

	/* Beyond the limit by what jread_text() needs to spare. */
	buf_init_arena(&text, p->a, LIMIT_BODY_LEN + 2 * FIRST_ROOM);
	buf_init_arena(&etf, p->a, SIZE_MAX / 2);
	err = buf_reserve(&text, FIRST_ROOM, &room);
	if (err == 0)
		err = buf_reserve(&etf, FIRST_ROOM, &room);
	if (err == 0)
		err = jread_text_members(j, &text, &etf, member, p);
	if (err == ERR_BAD_REQUEST)
		return err_why(p->why, ERR_NOT_OBJECT, "%s", "");
	if (err == ERR_TOO_LARGE || (err == 0 && text.len > LIMIT_BODY_LEN))
		return err_why(p->why, ERR_DOC_TOO_LARGE, "%s", "");
	if (err != 0)
		return err;
	p->out->body = (struct jstr){text.data, text.len};
	p->out->body_etf = (struct jstr){etf.data, etf.len};
	return p->err;
}

int
doc_parse(struct jread *j, struct arena *a, struct doc_in *out, struct errtext *why)
{
	struct jread start = *j;
	struct parser p = {.a = a, .out = out, .why = why};
	int err;

	*out = (struct doc_in){0};
	if (why != NULL)
		why->text[0] = '\0';
	err = parse(&p, j);
	/* Where the reading stopped half-way, read over the value from its beginning. */
	if (err != 0 && err != p.err && err != ERR_BAD_JSON && err != ERR_NOMEM) {
		*j = start;
		if (jread_skip(j, NULL) != 0)
			err = ERR_BAD_JSON;
	}
	return err == ERR_BAD_JSON ? err_why(why, err, "%s", "") : err;
}
