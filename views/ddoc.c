/*
 * ddoc.c: design documents.
 *
 * What a view shows depends on its map function and on a few options, so views with the same map function and the same order of keys
 * share their rows, and each of these keeps as many reductions as there are different ones.  The signature is a hash of all that rows and
 * reductions depend on, and of nothing else: two design documents with one signature share an index.
 *
 * A row's key has the number of its map in two bytes, and views are held against each other: there are LIMIT_VIEWS at most.  One that was
 * stored with more has the first ones.
 */
#include "ddoc.h"

#include <string.h>

#include "base/limits.h"
#include "ddoc_query.h"
#include "query/query.h"

#define SCRATCH 4096u

enum type { TYPE_OBJECT = 1, TYPE_STRING = 2, TYPE_ARRAY = 4, TYPE_BOOLEAN = 8 };

static enum type
type_of(struct jread *j)
{
	switch (jread_peek(j)) {
	case JREAD_OBJECT:
		return TYPE_OBJECT;
	case JREAD_STRING:
		return TYPE_STRING;
	case JREAD_ARRAY:
		return TYPE_ARRAY;
	case JREAD_TRUE:
	case JREAD_FALSE:
		return TYPE_BOOLEAN;
	default:
		return 0;
	}
}

static const char *
type_words(unsigned types)
{
	switch (types) {
	case TYPE_OBJECT:
		return "object";
	case TYPE_STRING:
		return "string";
	case TYPE_BOOLEAN:
		return "boolean";
	case TYPE_STRING | TYPE_ARRAY:
		return "array or string";
	default:
		return "object or string";
	}
}

/* ---- What may stand in it ---- */

/* Of a design document's members, and of theirs. */
struct rule {
	const char *name;
	unsigned types;
	unsigned inner; /* of each of its members; 0: any */
};

static const struct rule rules[] = {{"filters", TYPE_OBJECT, TYPE_OBJECT | TYPE_STRING}, {"language", TYPE_STRING, 0},
    {"lists", TYPE_OBJECT, TYPE_OBJECT | TYPE_STRING}, {"options", TYPE_OBJECT, 0},
    {"rewrites", TYPE_STRING | TYPE_ARRAY, 0}, {"shows", TYPE_OBJECT, TYPE_OBJECT | TYPE_STRING},
    {"updates", TYPE_OBJECT, TYPE_OBJECT | TYPE_STRING}, {"validate_doc_update", TYPE_STRING, 0},
    {"views", TYPE_OBJECT, TYPE_OBJECT}};

struct check {
	struct jstr body;
	struct buf scratch;
	struct errtext *why;
	unsigned map_type; /* an object in a ddoc of language "query" */
	int has_empty;     /* a function is no text at all */
};

static int
wrong_type(struct check *c, const char *path, struct jstr inner, const char *leaf, unsigned types)
{
	return err_why(c->why, ERR_INVALID_DESIGN, "`%s%s%.*s%s%s` field must have %s type", path,
	    inner.s != NULL ? "." : "", (int)(inner.len < 200 ? inner.len : 200), inner.s != NULL ? inner.s : "",
	    leaf != NULL ? "." : "", leaf != NULL ? leaf : "", type_words(types));
}

static int
check_options(struct check *c, struct jread *j)
{
	static const char *const flags[] = {"include_design", "local_seq", "partitioned"};
	struct jstr key;
	int err = jread_object_begin(j);

	while (err == 0 && (err = jread_object_next(j, &c->scratch, &key)) == 0) {
		for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
			if (jstr_is(&key, flags[i]) && type_of(j) != TYPE_BOOLEAN)
				return wrong_type(
				    c, "options", (struct jstr){flags[i], strlen(flags[i])}, NULL, TYPE_BOOLEAN);
		err = jread_skip(j, NULL);
	}
	return err == ERR_END ? 0 : err;
}

static int
check_reduce(struct check *c, struct jread *j, struct jstr view)
{
	struct jstr text;
	unsigned n;
	int err;

	if (type_of(j) != TYPE_STRING)
		return wrong_type(c, "views", view, "reduce", TYPE_STRING);
	if ((err = jread_string(j, &c->scratch, &text)) != 0)
		return err;
	c->has_empty |= text.len == 0;
	if (text.len > 0 && text.s[0] == '_' && ddoc_reduce_of(text, &n) == DDOC_NONE)
		return err_why(c->why, ERR_INVALID_DESIGN, "`%.*s` is not a supported reduce function.",
		    (int)(text.len < 200 ? text.len : 200), text.s);
	return 0;
}

static int
check_view(struct check *c, struct jread *j, struct jstr name)
{
	struct jstr key, text;
	int has_map = 0, err = jread_object_begin(j);

	while (err == 0 && (err = jread_object_next(j, &c->scratch, &key)) == 0) {
		if (jstr_is(&key, "map")) {
			has_map = 1;
			if (type_of(j) != c->map_type)
				return wrong_type(c, "views", name, "map", c->map_type);
			if ((err = jread_skip(j, &text)) == 0)
				c->has_empty |= text.len == 2 && c->map_type == TYPE_STRING;
		} else if (jstr_is(&key, "reduce")) {
			err = check_reduce(c, j, name);
		} else {
			err = jread_skip(j, NULL);
		}
	}
	if (err == ERR_END && !has_map)
		return err_why(c->why, ERR_INVALID_DESIGN, "View `%.*s` must contain map function",
		    (int)(name.len < 200 ? name.len : 200), name.s);
	return err == ERR_END ? 0 : err;
}

/* check_inner: The members of a member. */
static int
check_inner(struct check *c, struct jread *j, const struct rule *rule)
{
	int views = strcmp(rule->name, "views") == 0;
	struct buf names;
	struct jstr key;
	unsigned n = 0;
	int err = jread_object_begin(j);

	/* A name outlives what is read behind it. */
	buf_init(&names, c->body.len + SCRATCH);
	while (err == 0 && (err = jread_object_next(j, &names, &key)) == 0) {
		if ((type_of(j) & rule->inner) == 0)
			err = wrong_type(c, rule->name, key, NULL, rule->inner);
		else if (views && !jstr_is(&key, "lib"))
			err = ++n <= LIMIT_VIEWS ? check_view(c, j, key)
						 : err_why(c->why, ERR_INVALID_DESIGN,
						       "A design document has %u views at most.", LIMIT_VIEWS);
		else
			err = jread_skip(j, NULL);
	}
	buf_release(&names);
	return err == ERR_END ? 0 : err;
}

static int
check_member(struct check *c, struct jread *j, const struct jstr *key)
{
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		const struct rule *rule = &rules[i];

		if (!jstr_is(key, rule->name))
			continue;
		if ((type_of(j) & rule->types) == 0)
			return wrong_type(c, rule->name, (struct jstr){NULL, 0}, NULL, rule->types);
		if (strcmp(rule->name, "options") == 0)
			return check_options(c, j);
		return rule->inner != 0 ? check_inner(c, j, rule) : jread_skip(j, NULL);
	}
	return jread_skip(j, NULL);
}

/* find: Stand before the value of member ${name}; ERR_END: there is none. */
static int
find(struct jread *j, struct buf *scratch, struct jstr object, const char *name)
{
	struct jstr key;
	int err;

	jread_init(j, object.s, object.len);
	if (jread_peek(j) != JREAD_OBJECT)
		return ERR_END;
	err = jread_object_begin(j);
	while (err == 0 && (err = jread_object_next(j, scratch, &key)) == 0) {
		if (jstr_is(&key, name))
			return 0;
		err = jread_skip(j, NULL);
	}
	return err;
}

/* has_language: 1 if it says that it has this one. */
static int
has_language(struct jstr body, struct buf *scratch, const char *name, int dflt)
{
	struct jstr language;
	struct jread j;

	if (find(&j, scratch, body, "language") != 0)
		return dflt;
	return jread_peek(&j) == JREAD_STRING && jread_string(&j, scratch, &language) == 0 && jstr_is(&language, name);
}

int
ddoc_check(struct jstr body, struct errtext *why)
{
	struct check c = {.body = body, .why = why};
	struct buf names;
	struct jread j;
	struct jstr key;
	int err;

	buf_init(&c.scratch, body.len + SCRATCH);
	buf_init(&names, body.len + SCRATCH);
	c.map_type = has_language(body, &c.scratch, "query", 0) ? TYPE_OBJECT : TYPE_STRING;
	jread_init(&j, body.s, body.len);
	err = jread_object_begin(&j);
	while (err == 0 && (err = jread_object_next(&j, &names, &key)) == 0)
		err = check_member(&c, &j, &key);
	/* What CouchDB's query server says of it, where all else is well. */
	if (err == ERR_END && c.has_empty && has_language(body, &c.scratch, "javascript", 1))
		err = err_why(why, ERR_MISSING, "missing function");
	buf_release(&names);
	buf_release(&c.scratch);
	return err == ERR_END ? 0 : err;
}

/* ---- What it defines ---- */

static int
numbered(struct jstr text, const char *prefix, unsigned *np)
{
	size_t len = strlen(prefix);
	unsigned n = 0;

	if (text.len <= len || text.len > len + 3 || memcmp(text.s, prefix, len) != 0 || text.s[len] == '0')
		return 0;
	for (size_t i = len; i < text.len; i++) {
		if (text.s[i] < '0' || text.s[i] > '9')
			return 0;
		n = n * 10 + (unsigned)(text.s[i] - '0');
	}
	*np = n;
	return n <= DDOC_TOP_MAX;
}

static int
begins(struct jstr text, const char *prefix)
{
	size_t len = strlen(prefix);

	return text.len >= len && memcmp(text.s, prefix, len) == 0;
}

/* As CouchDB has it: whatever stands behind a name, but a number has nothing behind it. */
enum ddoc_reduce
ddoc_reduce_of(struct jstr text, unsigned *np)
{
	static const struct {
		const char *name;
		enum ddoc_reduce kind;
	} builtins[] = {{"_sum", DDOC_SUM}, {"_count", DDOC_COUNT}, {"_stats", DDOC_STATS},
	    {"_approx_count_distinct", DDOC_DISTINCT}, {"_first", DDOC_FIRST}, {"_last", DDOC_LAST}};

	*np = 0;
	if (text.len == 0 || text.s[0] != '_')
		return DDOC_SCRIPT;
	for (size_t i = 0; i < sizeof(builtins) / sizeof(builtins[0]); i++)
		if (begins(text, builtins[i].name))
			return builtins[i].kind;
	if (numbered(text, "_top_", np))
		return DDOC_TOP;
	return numbered(text, "_bottom_", np) ? DDOC_BOTTOM : DDOC_NONE;
}

struct parse {
	struct ddoc *d;
	struct arena *a;
	struct buf scratch;
	struct jstr *reduce_texts; /* of each view, as it stands */
};

static int
keep(struct parse *p, struct jstr s, struct jstr *out)
{
	out->s = arena_dup(p->a, s.s, s.len);
	out->len = s.len;
	return out->s != NULL ? 0 : ERR_NOMEM;
}

static unsigned
map_of(struct ddoc *d, const struct ddoc_map *map)
{
	for (size_t i = 0; i < d->nmaps; i++)
		if (d->maps[i].raw == map->raw && jstr_equal(d->maps[i].text, map->text))
			return (unsigned)i;
	d->maps[d->nmaps] = *map;
	return (unsigned)d->nmaps++;
}

static unsigned
reduce_of(struct ddoc *d, struct jstr text)
{
	for (size_t i = 0; i < d->nreduces; i++)
		if (jstr_equal(d->reduces[i], text))
			return (unsigned)i;
	d->reduces[d->nreduces] = text;
	return (unsigned)d->nreduces++;
}

/* What a view says, in memory that lasts; map.len 0: there is none that could be run. */
struct view_texts {
	struct jstr map, reduce;
	int has_options, raw;
};

/* read_view_options: Where CouchDB looks for "collation"; the design document's own options have none. */
static int
read_view_options(struct parse *p, struct jread *j, struct view_texts *out)
{
	struct jstr key, s;
	int err = jread_object_begin(j);

	out->has_options = 1;
	while (err == 0 && (err = jread_object_next(j, &p->scratch, &key)) == 0) {
		if (!jstr_is(&key, "collation") || jread_peek(j) != JREAD_STRING)
			err = jread_skip(j, NULL);
		else if ((err = jread_string(j, &p->scratch, &s)) == 0)
			out->raw = jstr_is(&s, "raw");
	}
	return err == ERR_END ? 0 : err;
}

static int
read_view(struct parse *p, struct jread *j, struct view_texts *out)
{
	struct jstr key, text;
	int err = jread_object_begin(j);

	*out = (struct view_texts){.map = {"", 0}, .reduce = {"", 0}};
	while (err == 0 && (err = jread_object_next(j, &p->scratch, &key)) == 0) {
		struct jstr *to = jstr_is(&key, "map") ? &out->map : jstr_is(&key, "reduce") ? &out->reduce : NULL;

		if (jstr_is(&key, "options") && jread_peek(j) == JREAD_OBJECT)
			err = read_view_options(p, j, out);
		else if (to == NULL)
			err = jread_skip(j, NULL);
		else if (jread_peek(j) == JREAD_STRING && !(p->d->is_query && to == &out->map))
			err = (err = jread_string(j, &p->scratch, &text)) != 0 ? err : keep(p, text, to);
		else if (to == &out->map && jread_peek(j) == JREAD_OBJECT)
			err = (err = jread_skip(j, &text)) != 0 ? err : keep(p, text, to);
		else
			err = jread_skip(j, NULL);
	}
	return err == ERR_END ? 0 : err;
}

/* set_reduce: No function runs in a design document of language "query". */
static void
set_reduce(struct ddoc *d, struct ddoc_view *v, struct jstr reduce)
{
	if (reduce.len == 0 || (v->kind = ddoc_reduce_of(reduce, &v->n)) != DDOC_SCRIPT)
		return;
	if (d->is_query)
		v->kind = DDOC_NONE;
	else
		v->reduce = reduce_of(d, reduce);
}

static int
add_view(struct parse *p, struct jstr name, const struct view_texts *texts)
{
	struct ddoc *d = p->d;
	struct ddoc_view v = {.name = name};
	/* Queries rely on the order of an index of theirs. */
	struct ddoc_map map = {.text = texts->map, .raw = texts->raw && !d->is_query};
	int err;

	if (d->nviews == LIMIT_VIEWS || (d->is_query && d->nmaps == LIMIT_INDEX_MAPS))
		return 0;
	err = d->is_query ? ddoc_query_map(texts->map, p->a, &map) : 0;
	if (err == ERR_END)
		return 0;
	if (err != 0)
		return err;
	v.map = map_of(d, &map);
	v.raw = map.raw;
	set_reduce(d, &v, texts->reduce);
	v.def = d->is_query ? texts->map : (struct jstr){"", 0};
	v.declared = texts->has_options;
	v.slot = d->maps[v.map].nslots;
	for (size_t i = 0; i < d->nviews; i++)
		if (d->views[i].map == v.map && d->views[i].kind != DDOC_NONE &&
		    jstr_equal(p->reduce_texts[i], texts->reduce))
			v.slot = d->views[i].slot;
	if (v.kind != DDOC_NONE && v.slot == d->maps[v.map].nslots)
		d->maps[v.map].nslots++;
	p->reduce_texts[d->nviews] = texts->reduce;
	d->views[d->nviews++] = v;
	return 0;
}

static int
count_members(struct jread j, struct buf *scratch, size_t *np)
{
	struct jstr key;
	int err = jread_object_begin(&j);

	*np = 0;
	while (err == 0 && (err = jread_object_next(&j, scratch, &key)) == 0) {
		++*np;
		err = jread_skip(&j, NULL);
	}
	return err == ERR_END ? 0 : err;
}

static int
read_views(struct parse *p, struct jread *j)
{
	struct ddoc *d = p->d;
	struct view_texts texts;
	struct jstr key, name, lib;
	size_t n;
	int err = count_members(*j, &p->scratch, &n);

	if (err != 0)
		return err;
	d->views = arena_calloc(p->a, n + 1, sizeof(*d->views));
	d->maps = arena_calloc(p->a, n + 1, sizeof(*d->maps));
	d->reduces = arena_calloc(p->a, n + 1, sizeof(*d->reduces));
	p->reduce_texts = arena_calloc(p->a, n + 1, sizeof(*p->reduce_texts));
	if (d->views == NULL || d->maps == NULL || d->reduces == NULL || p->reduce_texts == NULL)
		return ERR_NOMEM;
	err = jread_object_begin(j);
	while (err == 0 && (err = jread_object_next(j, &p->scratch, &key)) == 0) {
		if (jread_peek(j) != JREAD_OBJECT) {
			err = jread_skip(j, NULL);
		} else if (jstr_is(&key, "lib")) {
			err = (err = jread_skip(j, &lib)) != 0 ? err : keep(p, lib, &d->lib);
		} else if ((err = keep(p, key, &name)) == 0 && (err = read_view(p, j, &texts)) == 0 &&
			   texts.map.len > 0) {
			err = add_view(p, name, &texts);
		}
	}
	return err == ERR_END ? 0 : err;
}

static int
read_flag(struct jread *j, int *flagp)
{
	if (type_of(j) != TYPE_BOOLEAN)
		return jread_skip(j, NULL);
	return jread_bool(j, flagp);
}

/* read_autoupdate: Of everything, or {"views": ...}. */
static int
read_autoupdate(struct parse *p, struct jread *j)
{
	struct jstr key;
	int err;

	if (jread_peek(j) != JREAD_OBJECT)
		return read_flag(j, &p->d->autoupdate);
	err = jread_object_begin(j);
	while (err == 0 && (err = jread_object_next(j, &p->scratch, &key)) == 0)
		err = jstr_is(&key, "views") ? read_flag(j, &p->d->autoupdate) : jread_skip(j, NULL);
	return err == ERR_END ? 0 : err;
}

static int
read_options(struct parse *p, struct jread *j)
{
	struct ddoc *d = p->d;
	struct jstr key;
	int err = jread_object_begin(j);

	while (err == 0 && (err = jread_object_next(j, &p->scratch, &key)) == 0) {
		if (jstr_is(&key, "include_design")) {
			err = read_flag(j, &d->include_design);
		} else if (jstr_is(&key, "local_seq")) {
			err = read_flag(j, &d->local_seq);
		} else if (jstr_is(&key, "partitioned")) {
			d->has_partitioned = type_of(j) == TYPE_BOOLEAN;
			err = read_flag(j, &d->partitioned);
		} else {
			err = jread_skip(j, NULL);
		}
	}
	return err == ERR_END ? 0 : err;
}

/* Before the text of a map whose order is raw; no text has this length. */
#define SIGN_RAW UINT64_MAX

static void
sign_text(struct buf *b, struct jstr s)
{
	buf_put_u64be(b, s.len);
	buf_put(b, s.s, s.len);
}

/* sign: In the order of the maps, which is that of the document. */
static int
sign(struct parse *p)
{
	struct ddoc *d = p->d;
	struct buf b;
	int err;

	buf_init(&b, SIZE_MAX);
	sign_text(&b, d->language);
	if (!d->is_query)
		buf_putc(
		    &b, (char)(d->include_design | d->local_seq << 1 | d->partitioned << 2 | d->has_partitioned << 3));
	else
		buf_putc(&b, (char)(!d->has_partitioned || d->partitioned));
	sign_text(&b, d->is_query ? (struct jstr){"", 0} : d->lib);
	for (size_t i = 0; i < d->nmaps; i++) {
		if (d->maps[i].raw)
			buf_put_u64be(&b, SIGN_RAW);
		sign_text(&b, d->maps[i].text);
		for (size_t k = 0; k < d->nviews; k++) {
			if (d->views[k].map != i)
				continue;
			/* An index that is open is asked for views by their names. */
			sign_text(&b, d->views[k].name);
			buf_put_u64be(&b, d->views[k].slot);
			sign_text(&b, p->reduce_texts[k]);
		}
	}
	if ((err = buf_failed(&b)) == 0)
		hash_md5(b.data, b.len, d->signature);
	buf_release(&b);
	return err;
}

static int
read_member(struct parse *p, struct jread *j, const struct jstr *key)
{
	struct jstr s;
	int err;

	if (jstr_is(key, "views") && jread_peek(j) == JREAD_OBJECT)
		return read_views(p, j);
	if (jstr_is(key, "options") && jread_peek(j) == JREAD_OBJECT)
		return read_options(p, j);
	if (jstr_is(key, "autoupdate"))
		return read_autoupdate(p, j);
	if (jstr_is(key, "language") && jread_peek(j) == JREAD_STRING)
		return (err = jread_string(j, &p->scratch, &s)) != 0 ? err : keep(p, s, &p->d->language);
	return jread_skip(j, NULL);
}

int
ddoc_parse(struct jstr body, struct arena *a, struct ddoc *out)
{
	struct parse p = {.d = out, .a = a};
	struct buf names;
	struct jread j;
	struct jstr key;
	int err;

	*out = (struct ddoc){.language = {"javascript", 10}, .autoupdate = 1, .lib = {"", 0}};
	buf_init(&p.scratch, body.len + SCRATCH);
	buf_init(&names, body.len + SCRATCH);
	out->is_query = has_language(body, &p.scratch, "query", 0);
	jread_init(&j, body.s, body.len);
	err = jread_object_begin(&j);
	while (err == 0 && (err = jread_object_next(&j, &names, &key)) == 0)
		err = read_member(&p, &j, &key);
	if (err == ERR_END)
		err = sign(&p);
	buf_release(&names);
	buf_release(&p.scratch);
	return err;
}

const struct ddoc_view *
ddoc_view_of(const struct ddoc *d, struct jstr name)
{
	for (size_t i = 0; i < d->nviews; i++)
		if (jstr_equal(d->views[i].name, name))
			return &d->views[i];
	return NULL;
}

int
ddoc_sortkey(int raw, struct jstr key, struct buf *scratch, struct buf *out)
{
	return raw ? query_sortkey_raw(key, scratch, out) : query_sortkey(key, scratch, out);
}

int
ddoc_program(const struct ddoc *d, struct buf *b)
{
	buf_puts(b, "{\"map\":[");
	for (size_t i = 0; i < d->nmaps; i++) {
		buf_puts(b, i > 0 ? "," : "");
		buf_put_json(b, d->maps[i].text.s, d->maps[i].text.len);
	}
	buf_puts(b, "],\"reduce\":[");
	for (size_t i = 0; i < d->nreduces; i++) {
		buf_puts(b, i > 0 ? "," : "");
		buf_put_json(b, d->reduces[i].s, d->reduces[i].len);
	}
	buf_putc(b, ']');
	if (d->lib.len > 0) {
		buf_puts(b, ",\"lib\":");
		buf_put(b, d->lib.s, d->lib.len);
	}
	return buf_putc(b, '}');
}
