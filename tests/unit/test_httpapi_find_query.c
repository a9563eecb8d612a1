/* test_httpapi_find_query.c: the bodies of _find and _explain: what is read, what is refused, and CouchDB's words for it. */
#include <stdlib.h>

#include "base/limits.h"
#include "check.h"
#include "httpapi/find_query.h"
#include "httpapi/find_words.h"

static struct api api;
static struct apireq r;
static struct find_query q;
static struct errtext why;

static int
read_text(const char *body, size_t len)
{
	why.text[0] = '\0';
	find_query_release(&q);
	arena_reset(r.arena);
	return find_query_read(&r, (struct jstr){body, len}, &q, &why);
}

static int
read_body(const char *body)
{
	return read_text(body, strlen(body));
}

#define CHECK_JSTR(is, text) CHECK_MEM((is).s, (is).len, (text), strlen(text))

/* Is this what _explain shows of the body that was read last? */
static void
check_opts(const char *text)
{
	struct buf b;

	buf_init(&b, 4096);
	CHECK_INT(find_query_put_opts(&q, &b), 0);
	CHECK_MEM(b.data, b.len < strlen(text) ? b.len : strlen(text), text, strlen(text));
	buf_release(&b);
}

static void
test_defaults(void)
{
	CHECK_INT(read_body("{\"selector\":{\"kind\":\"book\"}}"), 0);
	CHECK_INT(q.limit, 25);
	CHECK_INT(q.has_limit, 0);
	CHECK_INT(q.skip, 0);
	CHECK_INT(q.r, 1);
	CHECK(q.update && q.allow_fallback && !q.conflicts && !q.stable && !q.execution_stats && !q.descending);
	CHECK(q.fields == NULL && q.nsort == 0 && q.use_ddoc.len == 0 && q.bookmark.len == 0);
	check_opts(
	    "{\"use_index\":[],\"bookmark\":\"nil\",\"limit\":25,\"skip\":0,\"sort\":{},\"fields\":[],\"partition\":"
	    "\"\",\"r\":1,\"conflicts\":false,\"stale\":false,\"update\":true,\"stable\":false,\"execution_stats\":"
	    "false,\"allow_fallback\":true}");
	CHECK_INT(config_set(api.config, "mango", "default_limit", "7"), 0);
	CHECK_INT(read_body("{\"selector\":{}}"), 0);
	CHECK_INT(q.limit, 7);
	CHECK_INT(config_set(api.config, "mango", "default_limit", NULL), 0);
}

static void
test_options(void)
{
	CHECK_INT(read_body("{\"limit\":3,\"skip\":1,\"selector\":{},\"sort\":[{\"a\":\"desc\"},{\"b.c\":\"desc\"}],"
			    "\"fields\":[\"x\",\"y\\u002cz\"],\"r\":2,\"conflicts\":true,\"update\":false,"
			    "\"stable\":true,\"execution_stats\":true,\"allow_fallback\":false,\"bookmark\":\"abc\"}"),
	    0);
	CHECK(q.limit == 3 && q.has_limit && q.skip == 1 && q.r == 2 && q.conflicts && !q.update && q.stable &&
	      q.execution_stats && !q.allow_fallback);
	CHECK_INT(q.nsort, 2);
	CHECK_JSTR(q.sort[1], "b.c");
	CHECK_INT(q.descending, 1);
	CHECK_INT(q.npaths, 2);
	CHECK_JSTR(q.paths[1], "y,z");
	CHECK(q.fields != NULL);
	CHECK_JSTR(q.bookmark, "abc");
	check_opts(
	    "{\"use_index\":[],\"bookmark\":\"abc\",\"limit\":3,\"skip\":1,\"sort\":{\"a\":\"desc\",\"b.c\":\"desc\"},"
	    "\"fields\":[\"x\",\"y,z\"],\"partition\":\"\",\"r\":2,\"conflicts\":true,\"stale\":false,\"update\":false,"
	    "\"stable\":true,\"execution_stats\":true,\"allow_fallback\":false}");
	/* The last of two counts, however deep they are. */
	CHECK_INT(
	    read_body("{\"limit\":3,\"selector\":{\"a\":1},\"limit\":4,\"sort\":[{\"a\":\"up\",\"a\":\"asc\"}]}"), 0);
	CHECK_INT(q.limit, 4);
	CHECK_INT(q.nsort, 1);
	CHECK_INT(read_body("{\"selector\":{},\"stale\":\"ok\",\"limit\":99999999999999999999999999}"), 0);
	CHECK(q.update && q.stale && !find_query_updates(&q));
	CHECK_INT(q.limit, FIND_WORDS_MANY);
	CHECK_INT(read_body("{\"selector\":{},\"bookmark\":null,\"sort\":[],\"fields\":[],\"use_index\":null}"), 0);
	CHECK(q.bookmark.len == 0 && q.nsort == 0 && q.fields == NULL && q.use_ddoc.len == 0);
}

static void
test_use_index(void)
{
	static const char *const forms[][4] = {
	    {"\"d\"", "_design/d", "", "[\"d\"]"},
	    {"\"_design/d\"", "_design/d", "", "[\"d\"]"},
	    {"\"d/n\"", "_design/d", "n", "[\"d\",\"n\"]"},
	    {"\"_design/d/n\"", "_design/d", "n", "[\"d\",\"n\"]"},
	    {"[\"d\"]", "_design/d", "", "[\"d\"]"},
	    {"[\"_design/d\"]", "_design/d", "", "[\"_design/d\"]"},
	    {"[\"d\",\"n\"]", "_design/d", "n", "[\"d\",\"n\"]"},
	    {"[]", "", "", "[]"},
	    {"\"\"", "_design/", "", "[\"\"]"},
	};

	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		char body[200], opts[100];

		snprintf(body, sizeof(body), "{\"selector\":{},\"use_index\":%s}", forms[i][0]);
		CHECK_INT(read_body(body), 0);
		CHECK_JSTR(q.use_ddoc, forms[i][1]);
		CHECK_JSTR(q.use_name, forms[i][2]);
		snprintf(opts, sizeof(opts), "{\"use_index\":%s,", forms[i][3]);
		check_opts(opts);
	}
}

struct wrong {
	const char *body;
	int err;
	const char *reason; /* "": the table's */
};

static void
test_wrong(void)
{
	static const struct wrong wrong[] = {
	    {"{", ERR_BAD_JSON, ""},
	    {"", ERR_BAD_JSON, ""},
	    {"{} x", ERR_BAD_JSON, ""},
	    {"{\"selector\":{\"a\":\"\xff\"}}", ERR_BAD_JSON, ""},
	    {"[]", ERR_BAD_REQUEST, "Request body must be a JSON object"},
	    {"\"x\"", ERR_BAD_REQUEST, "Request body must be a JSON object"},
	    {"{}", ERR_MISSING_KEY, "Missing required key: selector"},
	    {"{\"unknown\":1,\"limit\":-1}", ERR_MISSING_KEY, "Missing required key: selector"},
	    {"{\"selector\":5}", ERR_SELECTOR_JSON, "Selector must be a JSON object, not: 5"},
	    {"{\"selector\":null}", ERR_SELECTOR_JSON, "Selector must be a JSON object, not: null"},
	    {"{\"selector\":{\"a\":{\"$bad\":1}},\"limit\":-1}", ERR_OPERATOR, "Invalid operator: $bad"},
	    {"{\"selector\":{},\"limit\":-1}", ERR_NOT_NATURAL, "-1 is not an integer greater than or equal to zero"},
	    {"{\"selector\":{},\"limit\":\"x\"}", ERR_NOT_NATURAL,
		"<<120>> is not an integer greater than or equal to zero"},
	    {"{\"selector\":{},\"limit\":1.0}", ERR_NOT_NATURAL, "1.0 is not an integer greater than or equal to zero"},
	    {"{\"selector\":{},\"skip\":null}", ERR_NOT_NATURAL,
		"null is not an integer greater than or equal to zero"},
	    {"{\"selector\":{},\"r\":0}", ERR_NOT_POSITIVE, "0 is not an integer greater than zero"},
	    {"{\"selector\":{},\"conflicts\":\"x\"}", ERR_NOT_BOOLEAN, "Invalid boolean value: <<120>>"},
	    {"{\"selector\":{},\"update\":[1,{}]}", ERR_NOT_BOOLEAN, "Invalid boolean value: [1,{[]}]"},
	    {"{\"selector\":{},\"stale\":5}", ERR_NOT_BOOLEAN, "Invalid value for stale: 5"},
	    {"{\"selector\":{},\"fields\":\"x\"}", ERR_FIELDS_JSON, "Fields must be an array of strings, not: <<120>>"},
	    {"{\"selector\":{},\"fields\":[5]}", ERR_FIELD_JSON, "Invalid JSON for field spec: 5"},
	    {"{\"selector\":{},\"sort\":\"x\"}", ERR_SORT_JSON, "Sort must be an array of sort specs, not: <<\"x\">>"},
	    {"{\"selector\":{},\"sort\":\"\"}", ERR_SORT_JSON, "Sort must be an array of sort specs, not: <<>>"},
	    {"{\"selector\":{},\"sort\":\"\\\"\\\\\\n\"}", ERR_SORT_JSON,
		"Sort must be an array of sort specs, not: <<\"\\\"\\\\\\n\">>"},
	    {"{\"selector\":{},\"sort\":\"\\u0000\\u20ac\"}", ERR_SORT_JSON,
		"Sort must be an array of sort specs, not: <<0,226,130,172>>"},
	    {"{\"selector\":{},\"sort\":{\"a\":[\"b\",1]}}", ERR_SORT_JSON,
		"Sort must be an array of sort specs, not: {[{<<\"a\">>,[<<\"b\">>,1]}]}"},
	    {"{\"selector\":{},\"sort\":[5]}", ERR_SORT_FIELD, "Invalid sort field: 5"},
	    {"{\"selector\":{},\"sort\":[\"\"]}", ERR_SORT_FIELD, "Invalid sort field: <<>>"},
	    {"{\"selector\":{},\"sort\":[{}]}", ERR_SORT_FIELD, "Invalid sort field: {[]}"},
	    {"{\"selector\":{},\"sort\":[{\"a\":\"up\"}]}", ERR_SORT_FIELD,
		"Invalid sort field: {[{<<\"a\">>,<<\"up\">>}]}"},
	    {"{\"selector\":{},\"sort\":[{\"a\":\"asc\",\"b\":\"asc\"}]}", ERR_SORT_FIELD,
		"Invalid sort field: {[{<<\"a\">>,<<\"asc\">>},{<<\"b\">>,<<\"asc\">>}]}"},
	    {"{\"selector\":{},\"sort\":[{\"a\":\"asc\"},\"c\",{\"b\":\"desc\"}]}", ERR_MIXED_SORT, ""},
	    {"{\"selector\":{},\"sort\":[{\"a\":\"desc\"},\"c\"]}", ERR_MIXED_SORT, ""},
	    {"{\"selector\":{},\"use_index\":5}", ERR_INDEX_NAME, "Invalid index name: 5"},
	    {"{\"selector\":{},\"use_index\":{}}", ERR_INDEX_NAME, "Invalid index name: {[]}"},
	    {"{\"selector\":{},\"use_index\":[\"a\",5]}", ERR_INDEX_NAME, "Invalid index name: [<<97>>,5]"},
	    {"{\"selector\":{},\"use_index\":[\"a\",\"b\",\"c\"]}", ERR_INDEX_NAME,
		"Invalid index name: [<<97>>,<<98>>,<<99>>]"},
	    {"{\"selector\":{},\"bookmark\":5}", ERR_BOOKMARK, "Invalid bookmark value: 5"},
	    {"{\"selector\":{},\"partition\":5}", ERR_ILLEGAL_PARTITION, "Partition must be a string"},
	    {"{\"selector\":{},\"unknown\":1,\"other\":2}", ERR_INVALID_KEY, "Invalid key unknown for this request."},
	    {"{\"selector\":{},\"unknown\":1,\"r\":0}", ERR_NOT_POSITIVE, "0 is not an integer greater than zero"},
	};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		if (!CHECK_INT(read_body(wrong[i].body), wrong[i].err) || !CHECK_STR(why.text, wrong[i].reason))
			fprintf(stderr, "   of %s\n", wrong[i].body);
	}
}

/* What is too large, too deep or too many is refused, and nothing is printed beyond its bound. */
static void
test_bounds(void)
{
	size_t room = LIMIT_FIND_LEN + 100, n = 0;
	char *s = malloc(room);

	if (!CHECK(s != NULL))
		return;
	memset(s, ' ', room);
	memcpy(s, "{\"selector\":{}", 14);
	s[LIMIT_FIND_LEN - 1] = '}';
	CHECK_INT(read_text(s, LIMIT_FIND_LEN), 0);
	CHECK_INT(read_text(s, LIMIT_FIND_LEN + 1), ERR_TOO_LARGE);
	n = (size_t)snprintf(s, room, "{\"selector\":{},\"limit\":\"");
	memset(s + n, 'x', 4000);
	memcpy(s + n + 4000, "\"}", 2);
	CHECK_INT(read_text(s, n + 4002), ERR_NOT_NATURAL);
	CHECK(memcmp(why.text, "<<120,120,", 10) == 0 && strlen(why.text) < ERRTEXT_MAX);
	memcpy(s, "{\"selector\":{},\"use_index\":\"", n = 28);
	memset(s + n, 'x', LIMIT_ID_LEN + 1);
	memcpy(s + n + LIMIT_ID_LEN + 1, "\"}", 2);
	CHECK_INT(read_text(s, n + LIMIT_ID_LEN + 3), ERR_INDEX_NAME);
	n = (size_t)snprintf(s, room, "{\"selector\":{},\"sort\":");
	memset(s + n, '[', 3000);
	memset(s + n + 3000, ']', 3000);
	s[n + 6000] = '}';
	CHECK_INT(read_text(s, n + 6001), ERR_BAD_JSON);
	for (size_t i = 0; i <= LIMIT_FIND_SORT; i++)
		memcpy(s + n + 4 * i, i == 0 ? "[\"a\"" : ",\"a\"", 4);
	memcpy(s + n + 4 * (LIMIT_FIND_SORT + 1), "]}", 2);
	CHECK_INT(read_text(s, n + 4 * (LIMIT_FIND_SORT + 1) + 2), ERR_SORT_FIELD);
	free(s);
}

int
main(void)
{
	r.api = &api;
	if (!CHECK_INT(config_new(&api.config), 0) || !CHECK_INT(arena_new(256u << 20, &r.arena), 0))
		return check_done();
	test_defaults();
	test_options();
	test_use_index();
	test_wrong();
	test_bounds();
	find_query_release(&q);
	arena_free(r.arena);
	config_free(api.config);
	return check_done();
}
