/*
 * find_query.c: the body of _find and _explain.
 *
 * CouchDB validates the options in the order of a table and then complains of a member that is not in it: so does this, as the first
 * fault is what clients are told.  "opts" is what _explain shows of them: each with its default, in the table's order.
 */
#include "find_query.h"

#include <string.h>

#include "base/limits.h"
#include "find_index.h"
#include "find_words.h"

struct reader {
	struct apireq *r;
	struct find_query *q;
	struct errtext *why;
};

/* ---- Options whose values are more than a number or a truth ---- */

static int
read_selector(struct reader *in, struct jstr json)
{
	return query_selector_new(json, &in->q->selector, in->why);
}

/* use: The design document ${ddoc}, and its index ${name} unless s is NULL. */
static int
use(struct reader *in, struct jstr ddoc, struct jstr name)
{
	struct buf b;

	if (ddoc.len > LIMIT_ID_LEN || name.len > LIMIT_ID_LEN)
		return err_why(in->why, ERR_INDEX_NAME, "The name of an index is too long.");
	buf_init_arena(&b, in->r->arena, LIMIT_FIND_LEN);
	buf_putc(&b, '[');
	buf_put_json(&b, ddoc.s, ddoc.len);
	if (name.s != NULL) {
		buf_putc(&b, ',');
		buf_put_json(&b, name.s, name.len);
		in->q->use_name = name;
	}
	if (buf_putc(&b, ']') != 0)
		return buf_failed(&b);
	in->q->use_index_text = (struct jstr){b.data, b.len};
	return find_index_id(in->r->arena, ddoc, &in->q->use_ddoc);
}

/* use_text: ${text}, whose JSON is ${json}: "ddoc", "_design/ddoc", "ddoc/name", "_design/ddoc/name". */
static int
use_text(struct reader *in, struct jstr json, struct jstr text)
{
	static const char prefix[] = "_design/";
	size_t n = sizeof(prefix) - 1;
	struct jstr name = {NULL, 0};
	const char *slash;

	if (text.len >= n && memcmp(text.s, prefix, n) == 0)
		text = (struct jstr){text.s + n, text.len - n};
	if ((slash = text.len > 0 ? memchr(text.s, '/', text.len) : NULL) != NULL) {
		name = (struct jstr){slash + 1, (size_t)(text.s + text.len - slash - 1)};
		text.len = (size_t)(slash - text.s);
	}
	if (name.len > 0 && memchr(name.s, '/', name.len) != NULL)
		return find_words_wrong(ERR_INDEX_NAME, "Invalid index name: ", json, "", in->why);
	return use(in, text, name);
}

/* names: The strings of the array ${json}, *${np} of at most ${max}.  ERR_NOT_STRING: it is something else. */
static int
names(struct arena *a, struct jstr json, struct jstr *out, size_t max, size_t *np)
{
	struct jread j;
	struct jstr span;
	int err;

	*np = 0;
	jread_init(&j, json.s, json.len);
	if (jread_peek(&j) != JREAD_ARRAY)
		return ERR_NOT_STRING;
	err = jread_array_begin(&j);
	while (err == 0 && (err = jread_array_next(&j)) == 0) {
		if (*np == max)
			return ERR_NOT_STRING;
		if ((err = jread_skip(&j, &span)) == 0 && (err = find_words_string(a, span, &out[*np], NULL)) == 0)
			(*np)++;
	}
	return err == ERR_END ? 0 : err;
}

static int
read_use_index(struct reader *in, struct jstr json)
{
	struct jstr name[2] = {{NULL, 0}, {NULL, 0}};
	size_t n = 0;
	int err = 0;

	if (jstr_is(&json, "null"))
		return 0;
	if (json.s[0] == '"')
		err = find_words_string(in->r->arena, json, &name[0], in->why);
	else
		err = names(in->r->arena, json, name, 2, &n);
	if (err == ERR_NOT_STRING)
		return find_words_wrong(ERR_INDEX_NAME, "Invalid index name: ", json, "", in->why);
	if (err)
		return err;
	if (json.s[0] == '"')
		return use_text(in, json, name[0]);
	return n > 0 ? use(in, name[0], name[1]) : 0;
}

static int
read_bookmark(struct reader *in, struct jstr json)
{
	int err;

	if (jstr_is(&json, "null"))
		return 0;
	err = find_words_string(in->r->arena, json, &in->q->bookmark, NULL);
	if (err == ERR_NOT_STRING)
		return err_why(in->why, ERR_BOOKMARK, "Invalid bookmark value: %.*s",
		    (int)(json.len < ERRTEXT_MAX ? json.len : ERRTEXT_MAX), json.s);
	return err;
}

static int
read_sort(struct reader *in, struct jstr json)
{
	return find_query_sort(in->r->arena, json, &in->q->sort, &in->q->nsort, &in->q->descending, in->why);
}

static int
read_fields(struct reader *in, struct jstr json)
{
	struct jstr *paths = NULL;
	int err = query_fields_new(json, &in->q->fields, in->why);
	size_t max = 1;

	if (err || jstr_is(&json, "[]")) {
		query_fields_free(in->q->fields);
		in->q->fields = NULL;
		return err;
	}
	for (size_t i = 0; i < json.len; i++)
		max += json.s[i] == ',';
	if ((paths = arena_calloc(in->r->arena, max, sizeof(*paths))) == NULL)
		return ERR_NOMEM;
	err = names(in->r->arena, json, paths, max, &in->q->npaths);
	in->q->paths = paths;
	in->q->fields_text = json;
	return err;
}

static int
read_partition(struct reader *in, struct jstr json)
{
	int err = find_words_string(in->r->arena, json, &in->q->partition, NULL);

	return err == ERR_NOT_STRING ? err_why(in->why, ERR_ILLEGAL_PARTITION, "Partition must be a string") : err;
}

static int
read_stale(struct reader *in, struct jstr json)
{
	if (jstr_is(&json, "\"ok\""))
		in->q->stale = 1;
	else if (!jstr_is(&json, "false") && !jstr_is(&json, "\"false\""))
		return find_words_wrong(ERR_NOT_BOOLEAN, "Invalid value for stale: ", json, "", in->why);
	return 0;
}

/* ---- Sorts ---- */

/* sort_spec: {"NAME":"asc"}, or "desc".  ERR_END: something else. */
static int
sort_spec(struct arena *a, struct jstr json, struct jstr *pathp, int *descendingp)
{
	struct jstr name, direction;
	struct jread j;
	struct buf scratch;
	int err;

	buf_init(&scratch, LIMIT_FIND_LEN);
	jread_init(&j, json.s, json.len);
	if ((err = jread_object_begin(&j)) != 0 || (err = jread_object_next(&j, &scratch, &name)) != 0)
		goto done;
	*pathp = (struct jstr){arena_dup(a, name.s, name.len), name.len};
	if (pathp->s == NULL)
		err = ERR_NOMEM;
	else if ((err = jread_skip(&j, &direction)) == 0)
		err = jread_object_next(&j, &scratch, &name) == ERR_END ? 0 : ERR_END;
	if (err == 0) {
		*descendingp = jstr_is(&direction, "\"desc\"");
		err = *descendingp || jstr_is(&direction, "\"asc\"") ? 0 : ERR_END;
	}
done:
	buf_release(&scratch);
	return err;
}

static int
sort_field(struct arena *a, struct jstr json, struct jstr *pathp, int *descendingp, struct errtext *why)
{
	int err = ERR_END;

	*descendingp = 0;
	if (json.s[0] == '"' && json.len > 2)
		return find_words_string(a, json, pathp, why);
	if (json.s[0] == '{')
		err = sort_spec(a, json, pathp, descendingp);
	if (err == ERR_END)
		return find_words_wrong_pretty(ERR_SORT_FIELD, "Invalid sort field: ", json, "", why);
	return err;
}

int
find_query_sort(
    struct arena *a, struct jstr text, const struct jstr **sortp, size_t *np, int *descendingp, struct errtext *why)
{
	struct jstr *paths, span;
	struct jread j;
	int err, descending, both = 0;
	size_t max = 0, n = 0;

	*np = 0;
	*descendingp = 0;
	jread_init(&j, text.s, text.len);
	if (jread_peek(&j) != JREAD_ARRAY)
		return find_words_wrong_pretty(
		    ERR_SORT_JSON, "Sort must be an array of sort specs, not: ", text, "", why);
	err = jread_array_begin(&j);
	while (err == 0 && (err = jread_array_next(&j)) == 0 && ++max <= LIMIT_FIND_SORT)
		err = jread_skip(&j, NULL);
	if (max > LIMIT_FIND_SORT)
		return err_why(why, ERR_SORT_FIELD, "A sort has %u fields at most.", LIMIT_FIND_SORT);
	if (err != ERR_END)
		return err;
	if ((paths = arena_calloc(a, max + 1, sizeof(*paths))) == NULL)
		return ERR_NOMEM;
	jread_init(&j, text.s, text.len);
	err = jread_array_begin(&j);
	while (err == 0 && (err = jread_array_next(&j)) == 0) {
		if ((err = jread_skip(&j, &span)) == 0 &&
		    (err = sort_field(a, span, &paths[n], &descending, why)) == 0) {
			both |= n++ > 0 && descending != *descendingp;
			*descendingp = descending;
		}
	}
	if (err != ERR_END)
		return err;
	*sortp = paths;
	*np = n;
	return both ? ERR_MIXED_SORT : 0;
}

/* ---- All of them ---- */

struct option {
	const char *name;
	int (*read)(struct reader *in, struct jstr json);
	size_t flag;     /* where there is no such function: of a truth, in struct find_query, */
	size_t positive; /* or of a number from 1, */
	size_t natural;  /* or from 0 */
};

/* No member of interest is the first of the struct, so that 0 is none. */
#define AT(member) offsetof(struct find_query, member)

static const struct option options[] = {
    {"selector", read_selector, 0, 0, 0},
    {"use_index", read_use_index, 0, 0, 0},
    {"bookmark", read_bookmark, 0, 0, 0},
    {"limit", NULL, 0, 0, AT(limit)},
    {"skip", NULL, 0, 0, AT(skip)},
    {"sort", read_sort, 0, 0, 0},
    {"fields", read_fields, 0, 0, 0},
    {"partition", read_partition, 0, 0, 0},
    {"r", NULL, 0, AT(r), 0},
    {"conflicts", NULL, AT(conflicts), 0, 0},
    {"stale", read_stale, 0, 0, 0},
    {"update", NULL, AT(update), 0, 0},
    {"stable", NULL, AT(stable), 0, 0},
    {"execution_stats", NULL, AT(execution_stats), 0, 0},
    {"allow_fallback", NULL, AT(allow_fallback), 0, 0},
};

#define NOPTIONS (sizeof(options) / sizeof(options[0]))
#define SELECTOR 0
#define LIMIT 3

static int
read_option(struct reader *in, const struct option *o, struct jstr json)
{
	char *q = (char *)in->q;

	if (o->read != NULL)
		return o->read(in, json);
	if (o->flag != 0)
		return find_words_bool(json, (int *)(void *)(q + o->flag), in->why);
	if (o->positive != 0)
		return find_words_positive(json, (uint64_t *)(void *)(q + o->positive), in->why);
	return find_words_natural(json, (uint64_t *)(void *)(q + o->natural), in->why);
}

static int
read_options(struct reader *in, struct jstr body)
{
	struct find_member members[NOPTIONS];
	struct jstr unknown;
	int err;

	for (size_t i = 0; i < NOPTIONS; i++)
		members[i] = (struct find_member){options[i].name, {NULL, 0}};
	if ((err = find_words_body(in->r->arena, body, &body, in->why)) != 0 ||
	    (err = find_words_members(in->r->arena, body, members, NOPTIONS, &unknown)) != 0)
		return err;
	if (members[SELECTOR].value.len == 0)
		return find_words_missing("selector", in->why);
	in->q->has_limit = members[LIMIT].value.len > 0;
	for (size_t i = 0; i < NOPTIONS; i++)
		if (members[i].value.len > 0 && (err = read_option(in, &options[i], members[i].value)) != 0)
			return err;
	return unknown.s != NULL ? find_words_unknown(unknown, in->why) : 0;
}

/* set_partition: What the path or a parameter says of the partition; the body may say the same. */
static int
set_partition(struct reader *in)
{
	const struct apireq *r = in->r;
	const struct jstr *said = api_param(r, "partition");
	struct jstr *p = &in->q->partition;
	struct db_info db;
	const char *wrong;
	int err;

	if (r->nparts > 3 && jstr_is(&r->part[1], "_partition"))
		said = &r->part[2];
	if (said != NULL && p->len > 0 && !jstr_equal(*said, *p))
		return err_why(in->why, ERR_BAD_REQUEST, "The body names another partition.");
	if (said != NULL)
		*p = *said;
	if (p->len == 0)
		return 0;
	if ((err = db_info(r->db, &db)) != 0)
		return err;
	if (!db.partitioned)
		return err_why(in->why, ERR_BAD_REQUEST, "database is not partitioned");
	wrong = partition_check(p);
	return wrong != NULL ? err_why(in->why, ERR_ILLEGAL_PARTITION, "%s", wrong) : 0;
}

static void
put_flag(struct buf *b, const char *name, int on)
{
	buf_printf(b, ",\"%s\":%s", name, on ? "true" : "false");
}

static void
put_sort(const struct find_query *q, struct buf *b)
{
	buf_putc(b, '{');
	for (size_t i = 0; i < q->nsort; i++) {
		buf_puts(b, i > 0 ? "," : "");
		buf_put_json(b, q->sort[i].s, q->sort[i].len);
		buf_puts(b, q->descending ? ":\"desc\"" : ":\"asc\"");
	}
	buf_putc(b, '}');
}

int
find_query_read(struct apireq *r, struct jstr body, struct find_query *out, struct errtext *why)
{
	struct reader in = {.r = r, .q = out, .why = why};
	int err;

	memset(out, 0, sizeof(*out));
	out->limit = config_u64(r->api->config, "mango", "default_limit", 25);
	out->r = 1;
	out->update = out->allow_fallback = 1;
	out->use_index_text = out->fields_text = (struct jstr){"[]", 2};
	err = read_options(&in, body);
	return err == 0 ? set_partition(&in) : err;
}

int
find_query_put_opts(const struct find_query *q, struct buf *b)
{
	buf_puts(b, "{\"use_index\":");
	buf_put(b, q->use_index_text.s, q->use_index_text.len);
	buf_puts(b, ",\"bookmark\":");
	buf_put_json(b, q->bookmark.len > 0 ? q->bookmark.s : "nil", q->bookmark.len > 0 ? q->bookmark.len : 3);
	buf_printf(
	    b, ",\"limit\":%llu,\"skip\":%llu,\"sort\":", (unsigned long long)q->limit, (unsigned long long)q->skip);
	put_sort(q, b);
	buf_puts(b, ",\"fields\":");
	buf_put(b, q->fields_text.s, q->fields_text.len);
	buf_puts(b, ",\"partition\":");
	buf_put_json(b, q->partition.s, q->partition.len);
	buf_printf(b, ",\"r\":%llu", (unsigned long long)q->r);
	put_flag(b, "conflicts", q->conflicts);
	buf_puts(b, q->stale ? ",\"stale\":\"ok\"" : ",\"stale\":false");
	put_flag(b, "update", q->update);
	put_flag(b, "stable", q->stable);
	put_flag(b, "execution_stats", q->execution_stats);
	put_flag(b, "allow_fallback", q->allow_fallback);
	buf_putc(b, '}');
	return buf_failed(b);
}

void
find_query_release(struct find_query *q)
{
	query_selector_free(q->selector);
	query_fields_free(q->fields);
	q->selector = NULL;
	q->fields = NULL;
}
