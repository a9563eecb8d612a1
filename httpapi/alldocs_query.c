/*
 * alldocs_query.c: the parameters of listings.
 *
 * They come as text in the query string and as JSON in a body; CouchDB names a bad value in its own
 * notation: "abc" from the query string, <<"abc">> from a JSON string, [] for empty text.  Where a
 * name comes twice, the last one counts.
 */
#include "alldocs_query.h"

#include <strings.h>

#include "rows.h"

#define MAX_LIMIT UINT64_C(268435456) /* CouchDB's: rows of one answer */

#define SHOWN_MAX 200 /* bytes of a bad value that are repeated */
#define KEYS_FIRST 64u

int
alldocs_value_limit(const struct apireq *r, int partition, uint64_t *limitp, struct errtext *why)
{
	const struct config *c = r->api->config;
	uint64_t max = partition ? config_u64(c, "query_server_config", "partition_query_limit", MAX_LIMIT)
				 : config_u64(c, "query_server_config", "query_limit", MAX_LIMIT);

	if (*limitp == UINT64_MAX)
		*limitp = max;
	if (*limitp <= max)
		return 0;
	return err_why(why, ERR_QUERY_PARSE, "Limit is too large, must not exceed %llu", (unsigned long long)max);
}

void
alldocs_query_init(struct alldocs_query *q)
{
	memset(q, 0, sizeof(*q));
	q->limit = UINT64_MAX;
}

static int
refuse(struct errtext *why, const char *what, const struct alldocs_value *v)
{
	int n = v->text.len > SHOWN_MAX ? SHOWN_MAX : (int)v->text.len;

	if (v->json && n > 0 && v->text.s[0] == '"')
		return err_why(why, ERR_QUERY_PARSE, "%s: <<%.*s>>", what, n, v->text.s);
	if (v->json)
		return err_why(why, ERR_QUERY_PARSE, "%s: %.*s", what, n, v->text.s);
	if (n == 0)
		return err_why(why, ERR_QUERY_PARSE, "%s: []", what);
	return err_why(why, ERR_QUERY_PARSE, "%s: \"%.*s\"", what, n, v->text.s);
}

struct jstr
alldocs_value_text(const struct alldocs_value *v)
{
	struct jstr s = v->text;

	if (v->json && s.len >= 2 && s.s[0] == '"') {
		s.s++;
		s.len -= 2;
	}
	return s;
}

int
alldocs_value_bool(const struct alldocs_value *v, int *outp, struct errtext *why)
{
	struct jstr s = alldocs_value_text(v);

	if (s.len == 4 && strncasecmp(s.s, "true", 4) == 0)
		*outp = 1;
	else if (s.len == 5 && strncasecmp(s.s, "false", 5) == 0)
		*outp = 0;
	else
		return refuse(why, "Invalid boolean parameter", v);
	return 0;
}

int
alldocs_value_number(const struct alldocs_value *v, uint64_t *outp, struct errtext *why)
{
	struct jstr s = alldocs_value_text(v);
	size_t first = s.len > 0 && (s.s[0] == '-' || s.s[0] == '+');
	uint64_t n = 0;
	unsigned digit;
	size_t i;

	for (i = first; i < s.len && s.s[i] >= '0' && s.s[i] <= '9'; i++) {
		digit = (unsigned)(s.s[i] - '0');
		n = n > (UINT64_MAX - digit) / 10 ? UINT64_MAX : n * 10 + digit;
	}
	if (i == first || i < s.len)
		return refuse(why, "Invalid value for integer", v);
	if (s.s[0] == '-' && n > 0)
		return refuse(why, "Invalid value for positive integer", v);
	*outp = n;
	return 0;
}

static int
set_bound(struct apireq *r, const struct alldocs_value *v, struct alldocs_bound *b)
{
	struct jread j;
	int err;

	memset(b, 0, sizeof(*b));
	b->set = 1;
	jread_init(&j, v->text.s, v->text.len);
	if (jread_peek(&j) == JREAD_STRING)
		return rows_string(r->arena, &v->text, &b->id);
	b->low = 1;
	err = jread_skip(&j, NULL);
	return err ? err : jread_end(&j);
}

static int
add_key(struct apireq *r, struct alldocs_query *q, const struct jstr *text, size_t *capp)
{
	struct alldocs_key *more;
	struct jread j;

	if (q->nkeys == *capp) {
		*capp = *capp == 0 ? KEYS_FIRST : *capp * 2;
		more = arena_calloc(r->arena, *capp, sizeof(*more));
		if (more == NULL)
			return ERR_NOMEM;
		if (q->nkeys > 0)
			memcpy(more, q->keys, q->nkeys * sizeof(*more));
		q->keys = more;
	}
	more = &q->keys[q->nkeys++];
	more->text = *text;
	more->id.s = NULL;
	jread_init(&j, text->s, text->len);
	return jread_peek(&j) == JREAD_STRING ? rows_string(r->arena, text, &more->id) : 0;
}

static int
set_keys(struct apireq *r, const struct alldocs_value *v, struct alldocs_query *q, struct errtext *why)
{
	struct jstr text;
	struct jread j;
	size_t cap = 0;
	int err;

	jread_init(&j, v->text.s, v->text.len);
	err = jread_skip(&j, NULL);
	if (err == 0)
		err = jread_end(&j);
	if (err != 0)
		return err;
	jread_init(&j, v->text.s, v->text.len);
	if (jread_peek(&j) != JREAD_ARRAY)
		return err_why(why, ERR_BAD_REQUEST,
		    v->json ? "`keys` body member must be an array." : "`keys` parameter must be an array.");
	q->has_keys = 1;
	q->keys = NULL;
	q->nkeys = 0;
	err = jread_array_begin(&j);
	while (err == 0 && (err = jread_array_next(&j)) == 0) {
		jread_peek(&j); /* over white space */
		err = jread_skip(&j, &text);
		if (err == 0)
			err = add_key(r, q, &text, &cap);
	}
	return err == ERR_END ? 0 : err;
}

int
alldocs_value_partition(struct apireq *r, const struct alldocs_value *v, struct jstr *outp, struct errtext *why)
{
	const char *wrong;
	int err = 0;

	*outp = v->text;
	if (v->json && v->text.len > 0 && v->text.s[0] == '"')
		err = rows_string(r->arena, &v->text, outp);
	if (err == 0 && (wrong = partition_check(outp)) != NULL)
		err = err_why(why, ERR_ILLEGAL_PARTITION, "%s", wrong);
	return err;
}

int
alldocs_value_fresh(const struct jstr *name, const struct alldocs_value *v, struct errtext *why)
{
	static const char *const allowed[][4] = {{"stale", "ok", "update_after", NULL},
	    {"stable", "true", "false", NULL}, {"update", "true", "false", "lazy"}};
	struct jstr s = alldocs_value_text(v);
	size_t i, k;

	for (i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++) {
		if (!jstr_is(name, allowed[i][0]))
			continue;
		for (k = 1; k < 4 && allowed[i][k] != NULL; k++)
			if (jstr_is(&s, allowed[i][k]))
				return 0;
		return err_why(why, ERR_QUERY_PARSE, "Invalid value for `%s`.", allowed[i][0]);
	}
	return 0;
}

/* The switches, and where they go. */
static int *
find_switch(struct alldocs_query *q, const struct jstr *name, int *ignored)
{
	if (jstr_is(name, "descending"))
		return &q->descending;
	if (jstr_is(name, "include_docs"))
		return &q->include_docs;
	if (jstr_is(name, "conflicts"))
		return &q->render.conflicts;
	if (jstr_is(name, "attachments"))
		return &q->render.attachments;
	if (jstr_is(name, "att_encoding_info"))
		return &q->render.att_encoding_info;
	if (jstr_is(name, "update_seq"))
		return &q->update_seq;
	if (jstr_is(name, "reduce"))
		return &q->reduce;
	if (jstr_is(name, "group"))
		return &q->group;
	if (jstr_is(name, "sorted"))
		return ignored;
	return NULL;
}

static int
set(struct apireq *r, struct alldocs_query *q, const struct jstr *name, const struct alldocs_value *v,
    struct errtext *why)
{
	uint64_t level = 0;
	int ignored, inclusive, err;
	int *on = find_switch(q, name, &ignored);

	if (on != NULL)
		return alldocs_value_bool(v, on, why);
	if (jstr_is(name, "limit"))
		return alldocs_value_number(v, &q->limit, why);
	if (jstr_is(name, "skip"))
		return alldocs_value_number(v, &q->skip, why);
	if (jstr_is(name, "startkey") || jstr_is(name, "start_key"))
		return set_bound(r, v, &q->start);
	if (jstr_is(name, "endkey") || jstr_is(name, "end_key"))
		return set_bound(r, v, &q->end);
	if (jstr_is(name, "partition")) {
		q->behind.len = 0;
		return alldocs_value_partition(r, v, &q->partition, why);
	}
	if (jstr_is(name, "keys")) {
		err = set_keys(r, v, q, why);
		/* One key alone is as `key`: what the query string says of the range before it does not count. */
		if (q->nkeys == 1)
			q->start.set = q->end.set = 0;
		return err;
	}
	if (jstr_is(name, "key")) {
		err = set_bound(r, v, &q->start);
		q->end = q->start;
		return err;
	}
	if (jstr_is(name, "inclusive_end")) {
		err = alldocs_value_bool(v, &inclusive, why);
		q->exclusive_end = err ? 0 : !inclusive;
		return err;
	}
	if (jstr_is(name, "group_level")) {
		err = alldocs_value_number(v, &level, why);
		q->group = q->group || level > 0;
		return err;
	}
	return alldocs_value_fresh(name, v, why);
}

int
alldocs_query_params(struct apireq *r, struct alldocs_query *q, struct errtext *why)
{
	struct alldocs_value v = {0, {NULL, 0}};
	size_t i;
	int err = 0;

	for (i = 0; i < r->nparams && err == 0; i++) {
		v.text = r->params[i].value;
		err = set(r, q, &r->params[i].name, &v, why);
	}
	return err;
}

int
alldocs_query_members(struct apireq *r, struct jread *j, struct alldocs_query *q, struct errtext *why)
{
	struct alldocs_value v = {1, {NULL, 0}};
	struct buf scratch;
	struct jstr name;
	int err;

	buf_init(&scratch, LIMIT_URL_LEN);
	while ((err = jread_object_next(j, &scratch, &name)) == 0) {
		jread_peek(j); /* over white space */
		err = jread_skip(j, &v.text);
		if (err == 0)
			err = set(r, q, &name, &v, why);
		if (err != 0)
			break;
	}
	buf_release(&scratch);
	return err == ERR_END ? 0 : err;
}

int
alldocs_query_check(const struct alldocs_query *q, struct errtext *why)
{
	if (q->group)
		return err_why(why, ERR_QUERY_PARSE, "Invalid use of grouping on a map view.");
	if (q->reduce)
		return err_why(why, ERR_QUERY_PARSE, "Reduce is invalid for map-only views.");
	if (q->nkeys > 0 && (q->start.set || q->end.set))
		return err_why(why, ERR_QUERY_PARSE, "`keys` is incompatible with `key`, `start_key` and `end_key`");
	return 0;
}
