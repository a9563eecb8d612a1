/*
 * find_index_read.c: what requests say of declared indexes.
 *
 * The view that is made of a definition is CouchDB's to the byte, for the design document's revision is a hash of it:
 *
 *	{"map":{"fields":{"a":"asc"},"partial_filter_selector":NORMALISED},"reduce":"_count","options":{"def":AS IT CAME}}
 *
 * CouchDB looks at the members in an order of its own, whatever theirs, then finds fault with those that it does not know, and then looks into the
 * definition; so that of several faults the same one is told, it is done so here.
 */
#include "find_index.h"

#include <string.h>

#include "base/hash.h"
#include "base/limits.h"
#include "find_query.h"
#include "find_words.h"
#include "query/query.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- Names ---- */

int
find_index_id(struct arena *a, struct jstr name, struct jstr *idp)
{
	static const char prefix[] = "_design/";
	size_t skip = sizeof(prefix) - 1;
	char *id;

	if (name.len >= skip && memcmp(name.s, prefix, skip) == 0)
		skip = 0;
	if ((id = arena_alloc(a, skip + name.len + 1)) == NULL)
		return ERR_NOMEM;
	memcpy(id, prefix, skip);
	memcpy(id + skip, name.s, name.len);
	id[skip + name.len] = '\0';
	*idp = (struct jstr){id, skip + name.len};
	return 0;
}

static void
put_atom(struct buf *b, const char *name)
{
	buf_putc(b, 119);
	buf_putc(b, (char)strlen(name));
	buf_puts(b, name);
}

static int
put_json(struct buf *b, struct buf *scratch, struct jstr json)
{
	struct jread j;

	buf_clear(scratch);
	jread_init(&j, json.s, json.len);
	return jread_text(&j, scratch, b);
}

/* put_option: The term {Tag, Value}; without ${json} the value is the atom ${dflt}. */
static int
put_option(struct buf *b, struct buf *scratch, const char *tag, struct jstr json, const char *dflt)
{
	buf_put(b, "h\2", 2);
	put_atom(b, tag);
	if (json.len > 0)
		return put_json(b, scratch, json);
	put_atom(b, dflt);
	return buf_failed(b);
}

enum member { INDEX, TYPE, NAME, DDOC, W, PARTITIONED, MEMBERS };

static struct jstr
or_else(struct jstr json, const char *dflt)
{
	return json.len > 0 ? json : (struct jstr){dflt, strlen(dflt)};
}

/* put_term: The Erlang term {Def, Options} that CouchDB hashes, options by their names. */
static int
put_term(struct buf *b, struct buf *scratch, const struct find_member *m)
{
	const char *whole = jstr_is(&m[PARTITIONED].value, "true")    ? "true"
			    : jstr_is(&m[PARTITIONED].value, "false") ? "false"
								      : "db_default";
	int err;

	buf_put(b, "\203h\2", 3);
	if ((err = put_json(b, scratch, m[INDEX].value)) != 0)
		return err;
	buf_put(b, "l\0\0\0\6", 5);
	if ((err = put_option(b, scratch, "ddoc", m[DDOC].value, "auto_name")) != 0 ||
	    (err = put_option(b, scratch, "def", m[INDEX].value, "")) != 0 ||
	    (err = put_option(b, scratch, "name", m[NAME].value, "auto_name")) != 0 ||
	    (err = put_option(b, scratch, "partitioned", (struct jstr){NULL, 0}, whole)) != 0 ||
	    (err = put_option(b, scratch, "type", or_else(m[TYPE].value, "\"json\""), "")) != 0 ||
	    (err = put_option(b, scratch, "w", or_else(m[W].value, "2"), "")) != 0)
		return err;
	return buf_putc(b, 'j');
}

static int
make_name(struct arena *a, const struct find_member *m, struct jstr *outp)
{
	unsigned char hash[SHA1_LEN];
	struct buf b, scratch;
	char *name = arena_alloc(a, 2 * SHA1_LEN);
	int err;

	buf_init(&b, 32 * (size_t)LIMIT_FIND_LEN);
	buf_init(&scratch, 16 * (size_t)LIMIT_FIND_LEN);
	err = name != NULL ? put_term(&b, &scratch, m) : ERR_NOMEM;
	if (err == 0) {
		hash_sha1(b.data, b.len, hash);
		hex_encode(hash, SHA1_LEN, name);
		*outp = (struct jstr){name, 2 * SHA1_LEN};
	}
	buf_release(&scratch);
	buf_release(&b);
	return err;
}

/* read_name: One that is given, or that of the definition. */
static int
read_name(struct arena *a, const struct find_member *m, enum member which, struct jstr *outp, struct errtext *why)
{
	int err;

	if (m[which].value.len == 0) {
		*outp = (struct jstr){NULL, 0};
		return 0;
	}
	if ((err = find_words_string(a, m[which].value, outp, why)) != 0)
		return err;
	/* What design documents call so is a library. */
	if (which == NAME && jstr_is(outp, "lib"))
		return err_why(why, ERR_INVALID_INDEX, "An index cannot have the name lib.");
	return outp->len > 0 ? 0 : ERR_EMPTY_STRING;
}

/* ---- Definitions ---- */

static int
check_columns(const struct jstr *columns, size_t n, struct errtext *why)
{
	size_t bytes = 0;

	if (n > LIMIT_INDEX_COLUMNS)
		return err_why(why, ERR_INVALID_INDEX, "An index has %u fields at most.", LIMIT_INDEX_COLUMNS);
	for (size_t i = 0; i < n; i++) {
		struct query_columns *c = NULL;
		int err = query_columns_new(&columns[i], 1, &c);

		query_columns_free(c);
		bytes += columns[i].len;
		if (err == 0 && bytes > LIMIT_INDEX_PATHS)
			return err_why(why, ERR_INVALID_INDEX, "The names of an index's fields have %u bytes at most.",
			    LIMIT_INDEX_PATHS);
		if (err == ERR_FIELD_NAME)
			return err_why(why, err, "Invalid field name: %.*s",
			    (int)(columns[i].len < ERRTEXT_MAX ? columns[i].len : ERRTEXT_MAX), columns[i].s);
		if (err != 0)
			return err;
	}
	return 0;
}

static int
put_filter(struct buf *b, struct jstr json, struct errtext *why)
{
	struct query_selector *s = NULL;
	int err;

	if (json.len == 0)
		return buf_puts(b, "{}");
	if ((err = query_selector_new(json, &s, why)) == 0)
		err = query_selector_put(s, b);
	query_selector_free(s);
	return err;
}

static int
put_view(struct buf *b, const struct jstr *columns, size_t n, int descending, struct jstr filter, struct jstr def,
    struct errtext *why)
{
	int err;

	buf_puts(b, "{\"map\":{\"fields\":{");
	for (size_t i = 0; i < n; i++) {
		if (i > 0)
			buf_putc(b, ',');
		buf_put_json(b, columns[i].s, columns[i].len);
		buf_puts(b, descending ? ":\"desc\"" : ":\"asc\"");
	}
	buf_puts(b, "},\"partial_filter_selector\":");
	if ((err = put_filter(b, filter, why)) != 0)
		return err;
	buf_puts(b, "},\"reduce\":\"_count\",\"options\":{\"def\":");
	buf_put(b, def.s, def.len);
	return buf_puts(b, "}}");
}

static int
read_definition(struct arena *a, struct jstr def, struct jstr *viewp, struct errtext *why)
{
	struct find_member m[] = {{"fields", {NULL, 0}}, {"partial_filter_selector", {NULL, 0}}};
	const struct jstr *columns;
	struct jstr unknown;
	struct buf b;
	size_t n;
	int err, descending;

	if (def.s[0] != '{')
		return find_words_wrong(ERR_INVALID_INDEX, "JSON indexes must be an object, not: ", def, "", why);
	if ((err = find_words_members(a, def, m, COUNT(m), &unknown)) != 0)
		return err;
	if (m[0].value.len == 0)
		return find_words_missing(m[0].name, why);
	if ((err = find_query_sort(a, m[0].value, &columns, &n, &descending, why)) != 0 ||
	    (err = check_columns(columns, n, why)) != 0)
		return err;
	buf_init(&b, 16 * (size_t)LIMIT_FIND_LEN);
	err = put_view(&b, columns, n, descending, m[1].value, def, why);
	if (err == 0 && unknown.s != NULL)
		err = find_words_unknown(unknown, why);
	if (err == 0) {
		*viewp = (struct jstr){arena_dup(a, b.data, b.len), b.len};
		err = viewp->s != NULL ? 0 : ERR_NOMEM;
	}
	buf_release(&b);
	return err;
}

/* ---- Bodies ---- */

static int
check_type(struct jstr type, struct errtext *why)
{
	if (jstr_is(&type, "json"))
		return 0;
	if (jstr_is(&type, "text") || jstr_is(&type, "nouveau"))
		return err_why(why, ERR_INDEX_SERVICE, "%s", type.s);
	return err_why(why, ERR_INVALID_INDEX, "Invalid type for index: %.*s",
	    (int)(type.len < ERRTEXT_MAX ? type.len : ERRTEXT_MAX), type.s);
}

static int
check_w(struct jstr json, struct errtext *why)
{
	uint64_t w;

	return json.len > 0 ? find_words_positive(json, &w, why) : 0;
}

/* read_members: All but the definition, which is ${defp}. */
static int
read_members(struct arena *a, struct jstr body, struct find_index *out, struct jstr *defp, struct errtext *why)
{
	struct find_member m[MEMBERS] = {{"index", {NULL, 0}}, {"type", {NULL, 0}}, {"name", {NULL, 0}},
	    {"ddoc", {NULL, 0}}, {"w", {NULL, 0}}, {"partitioned", {NULL, 0}}};
	struct jstr unknown, ddoc, hash = {NULL, 0}, type = {"json", 4};
	int err;

	if ((err = find_words_members(a, body, m, MEMBERS, &unknown)) != 0)
		return err;
	if (m[INDEX].value.len == 0)
		return find_words_missing(m[INDEX].name, why);
	if (m[TYPE].value.len > 0 && (err = find_words_string(a, m[TYPE].value, &type, why)) != 0)
		return err;
	if ((err = read_name(a, m, NAME, &out->name, why)) != 0 || (err = read_name(a, m, DDOC, &ddoc, why)) != 0 ||
	    (err = check_w(m[W].value, why)) != 0)
		return err;
	out->has_partitioned = m[PARTITIONED].value.len > 0;
	if (out->has_partitioned && (err = find_words_bool(m[PARTITIONED].value, &out->partitioned, why)) != 0)
		return err;
	if (unknown.s != NULL)
		return find_words_unknown(unknown, why);
	if ((err = check_type(type, why)) != 0)
		return err;
	if ((out->name.s == NULL || ddoc.s == NULL) && (err = make_name(a, m, &hash)) != 0)
		return err;
	if (out->name.s == NULL)
		out->name = hash;
	*defp = m[INDEX].value;
	return find_index_id(a, ddoc.s != NULL ? ddoc : hash, &out->id);
}

int
find_index_read(struct arena *a, struct jstr body, struct find_index *out, struct errtext *why)
{
	struct jstr def = {NULL, 0};
	int err;

	*out = (struct find_index){.has_partitioned = 0};
	if ((err = find_words_body(a, body, &body, why)) != 0 || (err = read_members(a, body, out, &def, why)) != 0)
		return err;
	return read_definition(a, def, &out->view, why);
}

static int
read_docid(struct arena *a, struct jstr json, struct jstr *idp, struct errtext *why)
{
	int err = find_words_string(a, json, idp, NULL);

	if (err == ERR_NOT_STRING)
		return find_words_wrong(ERR_INDEX_NAME, "Invalid index name: ", json, "", why);
	return err != 0 ? err : find_index_id(a, *idp, idp);
}

static int
read_docids(struct arena *a, struct jstr json, struct jstr **idsp, size_t *np, struct errtext *why)
{
	struct jstr *ids = NULL, span;
	struct jread j;
	size_t n = 0;
	int err;

	/* How many there are, then which. */
	for (int twice = 0; twice < 2; twice++) {
		jread_init(&j, json.s, json.len);
		err = jread_array_begin(&j);
		for (n = 0; err == 0 && (err = jread_array_next(&j)) == 0; n++) {
			if (n == LIMIT_INDEX_DELETES)
				return ERR_TOO_LARGE;
			if ((err = jread_skip(&j, &span)) == 0 && ids != NULL)
				err = read_docid(a, span, &ids[n], why);
		}
		if (err != ERR_END)
			return err;
		if (ids == NULL && (ids = arena_calloc(a, n + 1, sizeof(*ids))) == NULL)
			return ERR_NOMEM;
	}
	*idsp = ids;
	*np = n;
	return 0;
}

int
find_index_docids(struct arena *a, struct jstr body, struct jstr **idsp, size_t *np, struct errtext *why)
{
	struct find_member m[] = {{"docids", {NULL, 0}}, {"w", {NULL, 0}}};
	struct jstr unknown;
	int err;

	if ((err = find_words_body(a, body, &body, why)) != 0 ||
	    (err = find_words_members(a, body, m, COUNT(m), &unknown)) != 0)
		return err;
	if (m[0].value.len == 0)
		return find_words_missing(m[0].name, why);
	if (m[0].value.s[0] != '[')
		return find_words_wrong(
		    ERR_BULK_DELETE, "Bulk Delete requires an array of non-null docids. Docids: ", m[0].value, "", why);
	if ((err = read_docids(a, m[0].value, idsp, np, why)) != 0 || (err = check_w(m[1].value, why)) != 0)
		return err;
	return unknown.s != NULL ? find_words_unknown(unknown, why) : 0;
}
