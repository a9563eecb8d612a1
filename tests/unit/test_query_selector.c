/* Mango selectors: every operator with every type, what CouchDB 3.5 was recorded to answer (tests/contract/mango.json), and bounds. */
#include <stdlib.h>

#include "base/buf.h"
#include "base/limits.h"
#include "check.h"
#include "query/query.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define CONTRACT "tests/contract/mango.json"

static struct jstr
str(const char *s)
{
	return (struct jstr){s, strlen(s)};
}

/* 1 or 0; -1 if the selector is refused. */
static int
matches_doc(struct jstr selector, const struct query_doc *doc)
{
	struct query_selector *s;
	struct errtext why = {""};
	int match = -1;

	if (!CHECK_INT(query_selector_new(selector, &s, &why), 0)) {
		fprintf(stderr, "%.*s: %s\n", (int)selector.len, selector.s, why.text);
		return -1;
	}
	CHECK_INT(query_selector_match(s, doc, &match), 0);
	query_selector_free(s);
	return match;
}

static int
matches(const char *selector, const char *body)
{
	struct query_doc doc = {.id = str("id"), .rev = str("1-a"), .body = str(body)};

	return matches_doc(str(selector), &doc);
}

static void
check_match(const char *selector, const char *body, int want)
{
	if (!CHECK_INT(matches(selector, body), want))
		fprintf(stderr, "%s on %s\n", selector, body);
}

/* ---- Every operator, every type ---- */

static const char *const values[] = {
    "null", "false", "true", "5", "2.5", "\"b\"", "\"\"", "[]", "[5,\"b\"]", "{}", "{\"b\":1}"};

static const struct {
	const char *condition;
	const char *want; /* for each of the values above, and for a document without the field */
} matrix[] = {
    {"{\"$lt\":5}", "111010000000"},
    {"{\"$lte\":5}", "111110000000"},
    {"{\"$eq\":5}", "000100000000"},
    {"{\"$ne\":5}", "111011111110"},
    {"{\"$gte\":5}", "000101111110"},
    {"{\"$gt\":5}", "000001111110"},
    {"{\"$lt\":null}", "000000000000"},
    {"{\"$gt\":null}", "011111111110"},
    {"{\"$lt\":false}", "100000000000"},
    {"{\"$gte\":true}", "001111111110"},
    {"{\"$lt\":\"b\"}", "111110100000"},
    {"{\"$gt\":\"\"}", "000001011110"},
    {"{\"$lt\":[]}", "111111100000"},
    {"{\"$gt\":[5]}", "000000001110"},
    {"{\"$lt\":{}}", "111111111000"},
    {"{\"$gte\":{}}", "000000000110"},
    {"{\"$lt\":{\"b\":1.5}}", "111111111110"},
    {"null", "100000000000"},
    {"false", "010000000000"},
    {"true", "001000000000"},
    {"5.0", "000100000000"},
    {"\"b\"", "000001000000"},
    {"[5.0,\"b\"]", "000000001000"},
    {"{\"$eq\":{\"b\":1.0}}", "000000000010"},
    {"{}", "000000000100"},
    {"{\"$in\":[5,\"b\",null]}", "100101001000"},
    {"{\"$in\":[[],{}]}", "000000000100"},
    {"{\"$in\":[]}", "000000000000"},
    {"{\"$nin\":[5,\"b\",null]}", "011010110110"},
    {"{\"$nin\":[]}", "111111111110"},
    {"{\"$in\":[9,8,7,6,\"z\",5,4,3,2,1]}", "000100001000"},
    {"{\"$nin\":[{},[],\"\",2.5,null,true,false,{\"b\":1},1,2,3]}", "000101011000"},
    {"{\"$all\":[5]}", "000000001000"},
    {"{\"$all\":[\"b\",5]}", "000000001000"},
    {"{\"$all\":[5.0]}", "000000000000"},
    {"{\"$all\":[[5.0,\"b\"]]}", "000000001000"},
    {"{\"$all\":[]}", "000000000000"},
    {"{\"$exists\":true}", "111111111110"},
    {"{\"$exists\":false}", "000000000001"},
    {"{\"$type\":\"null\"}", "100000000000"},
    {"{\"$type\":\"boolean\"}", "011000000000"},
    {"{\"$type\":\"number\"}", "000110000000"},
    {"{\"$type\":\"string\"}", "000001100000"},
    {"{\"$type\":\"array\"}", "000000011000"},
    {"{\"$type\":\"object\"}", "000000000110"},
    {"{\"$type\":\"nope\"}", "000000000000"},
    {"{\"$type\":\"\"}", "000000000000"},
    {"{\"$size\":0}", "000000010000"},
    {"{\"$size\":2}", "000000001000"},
    {"{\"$size\":3}", "000000000000"},
    {"{\"$size\":99999999999999999999}", "000000000000"},
    {"{\"$mod\":[2,1]}", "000100000000"},
    {"{\"$mod\":[2,0]}", "000000000000"},
    {"{\"$mod\":[-3,2]}", "000100000000"},
    {"{\"$regex\":\"b\"}", "000001000000"},
    {"{\"$regex\":\"^$\"}", "000000100000"},
    {"{\"$regex\":\"\"}", "000001100000"},
    {"{\"$beginsWith\":\"b\"}", "000001000000"},
    {"{\"$beginsWith\":\"\"}", "000001100000"},
    {"{\"$elemMatch\":{\"$eq\":5}}", "000000001000"},
    {"{\"$elemMatch\":{\"$gt\":\"z\"}}", "000000000000"},
    {"{\"$allMatch\":{\"$gt\":null}}", "000000001000"},
    {"{\"$allMatch\":{\"$eq\":5}}", "000000000000"},
    {"{\"$keyMapMatch\":{\"$eq\":\"b\"}}", "000000000010"},
    {"{\"$keyMapMatch\":{\"$regex\":\"a\"}}", "000000000000"},
    {"{\"$not\":{\"$gt\":5}}", "111110000000"},
    {"{\"$not\":{\"$type\":\"string\"}}", "111110011110"},
    {"{\"$not\":{\"$exists\":true}}", "000000000001"},
    {"{\"$not\":{\"$exists\":false}}", "111111111110"},
    {"{\"$not\":{\"$regex\":\"b\"}}", "111110111110"},
    {"{\"$not\":{\"$elemMatch\":{\"$eq\":5}}}", "111111110110"},
    {"{\"$not\":{\"$in\":[5]}}", "111011110110"},
    {"{\"$not\":{\"$nin\":[5]}}", "000100001000"},
    {"{\"$not\":{\"$not\":{\"$eq\":5}}}", "000100000000"},
    {"{\"$gt\":2,\"$lt\":6}", "000110000000"},
    {"{\"$and\":[{\"$gt\":2},{\"$lt\":6}]}", "000110000000"},
    {"{\"$or\":[{\"$eq\":5},{\"$eq\":\"b\"}]}", "000101000000"},
    {"{\"$nor\":[{\"$eq\":5},{\"$eq\":\"b\"}]}", "111010111110"},
    {"{\"$and\":[]}", "111111111111"},
    {"{\"$or\":[]}", "111111111111"},
    {"{\"b\":1}", "000000000010"},
    {"{\"1\":\"b\"}", "000000001000"},
};

static void
test_matrix(void)
{
	for (size_t i = 0; i < COUNT(matrix); i++) {
		char selector[256], body[64], got[COUNT(values) + 2] = "";

		snprintf(selector, sizeof(selector), "{\"v\":%s}", matrix[i].condition);
		for (size_t k = 0; k <= COUNT(values); k++) {
			if (k < COUNT(values))
				snprintf(body, sizeof(body), "{\"u\":0,\"v\":%s,\"w\":1}", values[k]);
			else
				snprintf(body, sizeof(body), "{\"u\":0,\"w\":1}");
			got[k] = matches(selector, body) == 1 ? '1' : '0';
		}
		if (!CHECK_STR(got, matrix[i].want))
			fprintf(stderr, "%s\n", selector);
	}
}

/* ---- Paths ---- */

static void
test_paths(void)
{
	check_match("{\"a.b.c\":1}", "{\"a\":{\"b\":{\"c\":1}}}", 1);
	check_match("{\"a\":{\"b\":{\"c\":1}}}", "{\"a\":{\"b\":{\"c\":1}}}", 1);
	check_match("{\"a.b\":{\"c\":1}}", "{\"a\":{\"x\":0,\"b\":{\"c\":2,\"d\":1}}}", 0);
	check_match("{\"a\":{\"b\":1},\"a.c\":2,\"d\":{\"$gt\":null}}", "{\"d\":0,\"a\":{\"c\":2,\"b\":1}}", 1);
	check_match("{\"a\\\\.b\":1}", "{\"a.b\":1}", 1);
	check_match("{\"a\\\\.b\":1}", "{\"a\":{\"b\":1}}", 0);
	check_match("{\"x.a\\\\.b.c\":1}", "{\"x\":{\"a.b\":{\"c\":1}}}", 1);
	/* A backslash before anything else goes as well. */
	check_match("{\"a\\\\b\":1}", "{\"ab\":1}", 1);
	check_match("{\"l.1\":2}", "{\"l\":[1,2,3]}", 1);
	check_match("{\"l.01\":2}", "{\"l\":[1,2,3]}", 1);
	check_match("{\"l.+1\":2}", "{\"l\":[1,2,3]}", 1);
	check_match("{\"l.-1\":{\"$exists\":true}}", "{\"l\":[1,2,3]}", 0);
	check_match("{\"l.1.k.0\":7,\"l.0\":1}", "{\"l\":[1,{\"k\":[7]}]}", 1);
	check_match("{\"l.1\":2}", "{\"l\":{\"1\":2}}", 1);
	/* Escapes in the document's keys and strings. */
	check_match("{\"a\\u0000b\":\"\\\"\\n\"}", "{\"a\\u0000b\":\"\\\"\\n\"}", 1);
	/* Only a member that the last object lacks does not exist; elsewhere the path is a bad one. */
	check_match("{\"a.b\":{\"$exists\":false}}", "{\"a\":{}}", 1);
	check_match("{\"a.b\":{\"$exists\":false}}", "{\"a\":{\"c\":1}}", 1);
	check_match("{\"a.b\":{\"$exists\":false}}", "{}", 1);
	check_match("{\"a.b.c\":{\"$exists\":false}}", "{\"a\":{}}", 1);
	check_match("{\"a.b\":{\"$exists\":false}}", "{\"a\":5}", 0);
	check_match("{\"a.b\":{\"$exists\":false}}", "{\"a\":[1]}", 0);
	check_match("{\"a.5\":{\"$exists\":false}}", "{\"a\":[1]}", 0);
	check_match("{\"a.0.b\":{\"$exists\":false}}", "{\"a\":[{}]}", 1);
	check_match("{\"a.0.b\":{\"$exists\":false}}", "{\"a\":[7]}", 0);
	/* One field in several conditions, one of which must hold at once. */
	check_match("{\"$and\":[{\"a\":{\"$gt\":1}},{\"$or\":[{\"a\":3},{\"b\":1}]}]}", "{\"a\":2,\"b\":1}", 1);
	check_match("{\"$and\":[{\"a\":{\"$gt\":1}},{\"$or\":[{\"a\":3},{\"b\":1}]}]}", "{\"a\":1,\"b\":1}", 0);
	check_match("{\"$and\":[{\"a\":{\"$gt\":1}},{\"$or\":[{\"a\":3},{\"b\":1}]}]}", "{\"a\":3}", 1);
}

/* ---- Elements and keys ---- */

static void
test_elements(void)
{
	static const char songs[] = "{\"s\":[{\"t\":\"one\",\"n\":100,\"k\":[1,2]},{\"t\":\"two\",\"n\":250},7]}";

	check_match("{\"s\":{\"$elemMatch\":{\"n\":{\"$gt\":200}}}}", songs, 1);
	check_match("{\"s\":{\"$elemMatch\":{\"n\":{\"$gt\":200},\"t\":\"one\"}}}", songs, 0);
	check_match("{\"s\":{\"$elemMatch\":{\"t\":\"one\",\"k\":{\"$elemMatch\":{\"$gte\":2,\"$lt\":3}}}}}", songs, 1);
	check_match("{\"s\":{\"$elemMatch\":{\"k.1\":2}}}", songs, 1);
	check_match("{\"s\":{\"$allMatch\":{\"t\":{\"$exists\":true}}}}", songs, 0);
	check_match("{\"s\":{\"$elemMatch\":{\"$or\":[{\"t\":\"x\"},{\"$eq\":7}]}}}", songs, 1);
	/* Within, a negation stays what it is: what lacks the field fulfils it. */
	check_match("{\"s\":{\"$allMatch\":{\"$not\":{\"n\":{\"$gt\":300}}}}}", songs, 1);
	check_match("{\"s\":{\"$elemMatch\":{\"$nor\":[{\"t\":\"one\"},{\"t\":\"two\"}]}}}", songs, 1);
	check_match("{\"s\":{\"$allMatch\":{\"$nor\":[{\"t\":\"one\"}]}}}", songs, 0);
	check_match("{\"m\":{\"$keyMapMatch\":{\"$regex\":\"^k\\\\d$\"}}}", "{\"m\":{\"a\":1,\"k7\":2}}", 1);
	check_match("{\"m\":{\"$keyMapMatch\":{\"$gt\":\"k7\"}}}", "{\"m\":{\"a\":1,\"k7\":2}}", 0);
	check_match("{\"m\":{\"$keyMapMatch\":{\"$eq\":\"\\\"\"}}}", "{\"m\":{\"\\\"\":2}}", 1);
	check_match("{\"m\":{\"$keyMapMatch\":{\"x\":{\"$exists\":false}}}}", "{\"m\":{\"a\":1}}", 0);
}

/* ---- Members that do not stand in the body ---- */

static int
matches_whole(const char *selector, int deleted)
{
	struct query_doc doc = {.id = str("b\xc3\xa4"),
	    .rev = str("2-abc"),
	    .body = str("{\"n\":1}"),
	    .more = str("{\"_attachments\":{\"f\":{\"content_type\":\"x/y\"}},\"_conflicts\":[\"1-x\"]}"),
	    .deleted = deleted};

	return matches_doc(str(selector), &doc);
}

static void
test_special(void)
{
	CHECK_INT(matches_whole("{\"_id\":\"b\xc3\xa4\",\"n\":1}", 0), 1);
	CHECK_INT(matches_whole("{\"_rev\":\"2-abc\"}", 0), 1);
	CHECK_INT(matches_whole("{\"_rev\":{\"$regex\":\"^2-\"},\"n\":{\"$lt\":1}}", 0), 0);
	CHECK_INT(matches_whole("{\"_deleted\":true}", 0), 0);
	CHECK_INT(matches_whole("{\"_deleted\":true}", 1), 1);
	CHECK_INT(matches_whole("{\"_deleted\":{\"$exists\":false}}", 0), 1);
	CHECK_INT(matches_whole("{\"_deleted\":{\"$exists\":false}}", 1), 0);
	CHECK_INT(matches_whole("{\"_attachments.f.content_type\":\"x/y\"}", 0), 1);
	CHECK_INT(matches_whole("{\"_attachments\":{\"$exists\":false}}", 0), 0);
	CHECK_INT(matches_whole("{\"_conflicts\":{\"$size\":1}}", 0), 1);
	CHECK_INT(matches_whole("{\"_id.x\":{\"$exists\":false}}", 0), 0);
	/* Ids are compared by their bytes, and with other types as Erlang orders terms: strings last. */
	CHECK_INT(matches_whole("{\"_id\":{\"$lt\":\"ba\xcc\x88\"}}", 0), 0);
	CHECK_INT(matches_whole("{\"_id\":{\"$eq\":\"ba\xcc\x88\"}}", 0), 0);
	CHECK_INT(matches_whole("{\"_id\":{\"$gt\":\"bZ\"}}", 0), 1);
	CHECK_INT(matches_whole("{\"_id\":{\"$gt\":{}}}", 0), 1);
	CHECK_INT(matches_whole("{\"_id\":{\"$gt\":[1]}}", 0), 1);
	CHECK_INT(
	    matches_whole("{\"_id\":{\"$in\":[\"z\",\"y\",\"x\",\"w\",\"v\",\"b\xc3\xa4\",\"a\",\"B\",\"c\"]}}", 0), 1);
	CHECK_INT(
	    matches_whole("{\"_id\":{\"$in\":[\"z\",\"y\",\"x\",\"w\",\"v\",\"ba\xcc\x88\",\"a\",\"B\",\"c\"]}}", 0),
	    0);
	/* The document as one value. */
	CHECK_INT(matches_whole("{\"$and\":[{\"$gt\":{}}]}", 0), 1);
	CHECK_INT(matches_whole("{\"$and\":[{}]}", 0), 0);
	CHECK_INT(matches_whole("{\"$and\":[5]}", 0), 0);
	CHECK_INT(matches_whole("{\"$or\":[{\"$type\":\"object\"}]}", 0), 1);
	CHECK_INT(matches_whole("{\"$and\":[{\"$keyMapMatch\":{\"$eq\":\"_conflicts\"}}]}", 0), 1);
	CHECK_INT(
	    matches_whole("{\"$and\":[{\"$eq\":{\"_id\":\"b\xc3\xa4\",\"_rev\":\"2-abc\",\"n\":1,\"_deleted\":true,"
			  "\"_attachments\":{\"f\":{\"content_type\":\"x/y\"}},\"_conflicts\":[\"1-x\"]}}]}",
		1),
	    1);
	CHECK_INT(matches_whole("{}", 1), 1);
	CHECK_INT(matches_whole("{\"$text\":\"x\"}", 0), 1);
	/* Bytes also where the last part of a path is not all of it, and for what stands below an _id. */
	check_match("{\"l\":{\"$elemMatch\":{\"_id\":{\"$gt\":false,\"$lt\":true}}}}", "{\"l\":[{\"_id\":null}]}", 1);
	check_match("{\"l\":{\"$elemMatch\":{\"id\":{\"$gt\":false,\"$lt\":true}}}}", "{\"l\":[{\"id\":null}]}", 0);
}

static unsigned
wants(const char *selector)
{
	struct query_selector *s;
	unsigned flags;

	if (!CHECK_INT(query_selector_new(str(selector), &s, NULL), 0))
		return ~0u;
	flags = query_selector_wants(s);
	query_selector_free(s);
	return flags;
}

static void
test_wants(void)
{
	CHECK_INT(wants("{}"), 0);
	CHECK_INT(wants("{\"_id\":{\"$gt\":null},\"_deleted\":true}"), 0);
	CHECK_INT(wants("{\"_rev\":\"x\"}"), QUERY_WANTS_REV);
	CHECK_INT(wants("{\"a\":1}"), QUERY_WANTS_BODY);
	CHECK_INT(wants("{\"$or\":[{\"_attachments.f.length\":1},{\"_conflicts\":{\"$exists\":true}}]}"),
	    QUERY_WANTS_ATTACHMENTS | QUERY_WANTS_CONFLICTS);
	CHECK_INT(wants("{\"$and\":[{\"$gt\":1}]}"),
	    QUERY_WANTS_BODY | QUERY_WANTS_REV | QUERY_WANTS_ATTACHMENTS | QUERY_WANTS_CONFLICTS);
	CHECK_INT(wants("{\"_id\":{\"$elemMatch\":{\"$gt\":1}}}"), 0);
}

/* ---- Numbers and strings ---- */

static void
test_values(void)
{
	check_match("{\"n\":{\"$mod\":[10,7]}}", "{\"n\":123456789012345678901234567}", 1);
	check_match("{\"n\":{\"$mod\":[10,-7]}}", "{\"n\":-123456789012345678901234567}", 1);
	check_match("{\"n\":{\"$mod\":[10,7]}}", "{\"n\":-123456789012345678901234567}", 0);
	check_match("{\"n\":{\"$mod\":[1,99999999999999999999]}}", "{\"n\":4}", 0);
	check_match("{\"n\":{\"$gt\":18446744073709551615}}", "{\"n\":18446744073709551616}", 1);
	check_match("{\"n\":1e3}", "{\"n\":1000}", 1);
	check_match("{\"s\":\"\\u00e1\"}", "{\"s\":\"a\xcc\x81\"}", 1);
	check_match("{\"s\":{\"$all\":[\"\\u00e1\"]}}", "{\"s\":[\"a\xcc\x81\"]}", 0);
	check_match("{\"s\":{\"$in\":[\"\\u00e1\"]}}", "{\"s\":[\"a\xcc\x81\"]}", 1);
	check_match("{\"s\":{\"$gt\":\"a\",\"$lt\":\"b\"}}", "{\"s\":\"A\"}", 1);
	/* Regular expressions are over bytes, unless they say otherwise. */
	check_match("{\"s\":{\"$regex\":\"^.$\"}}", "{\"s\":\"\xc3\xa4\"}", 0);
	check_match("{\"s\":{\"$regex\":\"^..$\"}}", "{\"s\":\"\xc3\xa4\"}", 1);
	check_match("{\"s\":{\"$regex\":\"(*UTF8)^.$\"}}", "{\"s\":\"\xc3\xa4\"}", 1);
	check_match("{\"s\":{\"$regex\":\"(?i)ABC\"}}", "{\"s\":\"xabcx\"}", 1);
	check_match("{\"s\":{\"$regex\":\"\\\"\"}}", "{\"s\":\"a\\\"\"}", 1);
	check_match("{\"s\":{\"$regex\":\"^(a+)\\\\1b(?=c)\"}}", "{\"s\":\"aaaabc\"}", 1);
	check_match("{\"s\":{\"$beginsWith\":\"\\u00e4\"}}", "{\"s\":\"\xc3\xa4h\"}", 1);
}

/* ---- The recorded answers ---- */

static char *
read_file(const char *path, size_t *lenp)
{
	FILE *f = fopen(path, "rb");
	char *text = NULL;
	long len;

	if (!CHECK(f != NULL))
		return NULL;
	fseek(f, 0, SEEK_END);
	len = ftell(f);
	rewind(f);
	text = malloc((size_t)len);
	if (!CHECK(text != NULL && fread(text, 1, (size_t)len, f) == (size_t)len))
		len = 0;
	fclose(f);
	*lenp = (size_t)len;
	return text;
}

/* The member ${name} of ${object}; len 0: it has none. */
static struct jstr
member(struct jstr object, const char *name)
{
	struct jstr key, value, found = {"", 0};
	struct buf scratch;
	struct jread j;

	buf_init(&scratch, 1u << 16);
	jread_init(&j, object.s, object.len);
	if (object.len > 0 && jread_object_begin(&j) == 0)
		while (jread_object_next(&j, &scratch, &key) == 0) {
			int is_name = jstr_is(&key, name);

			if (jread_skip(&j, &value) != 0)
				break;
			if (is_name)
				found = value;
		}
	buf_release(&scratch);
	return found;
}

/* Call ${fn} for each element. */
static void
each(struct jstr array, void (*fn)(void *cookie, struct jstr element), void *cookie)
{
	struct jstr element;
	struct jread j;

	jread_init(&j, array.s, array.len);
	if (array.len > 0 && jread_array_begin(&j) == 0)
		while (jread_array_next(&j) == 0 && jread_skip(&j, &element) == 0)
			fn(cookie, element);
}

static int
contains(struct jstr text, const char *s)
{
	return text.len > 0 && memmem(text.s, text.len, s, strlen(s)) != NULL;
}

/* What a step asks, of what documents. */
struct step {
	struct jstr selector;
	struct jstr answer;
	struct jstr docs; /* those of the first step */
	int steps;        /* that were checked */
};

/* Is ${doc} in the answer exactly if it matches? */
static void
check_doc(void *cookie, struct jstr doc)
{
	struct step *step = cookie;
	struct jstr id = member(doc, "_id");
	struct query_doc d = {.id = {id.s + 1, id.len - 2}, .rev = str("1-a")};
	char row[32];
	struct buf body;
	struct jread j;

	/* The body is what stands behind the id, in CouchDB's form. */
	buf_init(&body, 1u << 16);
	jread_init(&j, doc.s, doc.len);
	CHECK_INT(jread_text(&j, &body, NULL), 0);
	d.body = (struct jstr){body.data, body.len};
	snprintf(row, sizeof(row), "{\"_id\":%.*s}", (int)id.len, id.s);
	if (!CHECK_INT(matches_doc(step->selector, &d), contains(step->answer, row)))
		fprintf(stderr, "%.*s on %.*s\n", (int)step->selector.len, step->selector.s, (int)doc.len, doc.s);
	buf_release(&body);
}

/* An empty $and or $or is never planned in CouchDB, so _find answers nothing, though every document matches. */
static void
check_operators(void *cookie, struct jstr text)
{
	struct step *step = cookie;
	struct jstr json = member(text, "json");

	if (step->docs.len == 0) {
		step->docs = member(json, "docs");
		return;
	}
	step->selector = member(json, "selector");
	if (jstr_is(&step->selector, "{\"$and\":[]}") || jstr_is(&step->selector, "{\"$or\":[]}"))
		return;
	step->answer = member(member(member(text, "expect"), "json"), "docs");
	each(step->docs, check_doc, step);
	step->steps++;
}

static void
check_refused(void *cookie, struct jstr text)
{
	struct step *step = cookie;
	struct jstr answer = member(member(text, "expect"), "json"), error = member(answer, "error");
	struct jstr reason = member(answer, "reason"), selector = member(member(text, "json"), "selector");
	struct query_selector *s;
	struct errtext why = {""};
	struct buf got;
	int err;

	/* Other members of the request, and what is not answered by a reason, are not for here. */
	if (selector.len == 0 || jstr_is(&selector, "{}") || error.len == 0)
		return;
	err = query_selector_new(selector, &s, &why);
	if (!CHECK(err != 0)) {
		fprintf(stderr, "%.*s is taken\n", (int)selector.len, selector.s);
		query_selector_free(s);
		return;
	}
	buf_init(&got, 4096);
	buf_printf(&got, "\"%s\"", err_name(err));
	CHECK_MEM(got.data, got.len, error.s, error.len);
	buf_clear(&got);
	buf_put_json(&got, why.text, strlen(why.text));
	CHECK_MEM(got.data, got.len, reason.s, reason.len);
	buf_release(&got);
	step->steps++;
}

static void
check_explained(void *cookie, struct jstr text)
{
	struct step *step = cookie;
	struct jstr want = member(member(member(text, "expect"), "json"), "selector");
	struct jstr selector = member(member(text, "json"), "selector");
	struct query_selector *s;
	struct buf got;

	if (want.len == 0 || selector.len == 0)
		return;
	buf_init(&got, 4096);
	if (CHECK_INT(query_selector_new(selector, &s, NULL), 0)) {
		CHECK_INT(query_selector_put(s, &got), 0);
		CHECK_MEM(got.data, got.len, want.s, want.len);
		query_selector_free(s);
		step->steps++;
	}
	buf_release(&got);
}

static struct jstr scenario_wanted, scenario_found;

static void
find_scenario(void *cookie, struct jstr scenario)
{
	struct jstr name = member(scenario, "name");

	(void)cookie;
	if (name.len == scenario_wanted.len + 2 && memcmp(name.s + 1, scenario_wanted.s, scenario_wanted.len) == 0)
		scenario_found = member(scenario, "steps");
}

static void
test_recorded(void)
{
	static const struct {
		const char *scenario;
		void (*fn)(void *cookie, struct jstr step);
		int at_least;
	} cases[] = {
	    {"operators", check_operators, 50}, {"bad-selectors", check_refused, 17}, {"explain", check_explained, 7}};
	struct buf compact;
	struct jread j;
	size_t len = 0;
	char *text = read_file(CONTRACT, &len);

	/* Without white space, so that texts can be compared. */
	buf_init(&compact, 64u << 20);
	jread_init(&j, text, len);
	CHECK_INT(jread_text(&j, &compact, NULL), 0);
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct step step = {.steps = 0};

		scenario_wanted = str(cases[i].scenario);
		scenario_found = str("");
		each(member((struct jstr){compact.data, compact.len}, "scenarios"), find_scenario, NULL);
		each(scenario_found, cases[i].fn, &step);
		if (!CHECK(step.steps >= cases[i].at_least))
			fprintf(stderr, "%s: %d steps\n", cases[i].scenario, step.steps);
	}
	buf_release(&compact);
	free(text);
}

/* ---- The normal form ---- */

static void
test_normal_form(void)
{
	static const char *const cases[][2] = {
	    {"{}", "{}"},
	    {"{\"a\":1,\"b\":[2]}", "{\"$and\":[{\"a\":{\"$eq\":1}},{\"b\":{\"$eq\":[2]}}]}"},
	    {"{\"a\":{\"$or\":[{\"$lt\":1},{\"b\":2}]}}", "{\"$or\":[{\"a\":{\"$lt\":1}},{\"a.b\":{\"$eq\":2}}]}"},
	    {"{\"$not\":{\"$and\":[{\"a\":{\"$gt\":10}},{\"b\":{\"$exists\":true}}]}}",
		"{\"$or\":[{\"a\":{\"$lte\":10}},{\"b\":{\"$exists\":false}}]}"},
	    {"{\"$nor\":[{\"a\":1},{\"$not\":{\"b\":{\"$in\":[1]}}}]}",
		"{\"$and\":[{\"a\":{\"$ne\":1}},{\"b\":{\"$in\":[1]}}]}"},
	    {"{\"$not\":{\"$nor\":[{\"a\":1},{\"$or\":[{\"$not\":{\"b\":2}}]}]}}",
		"{\"$or\":[{\"a\":{\"$eq\":1}},{\"$or\":[{\"b\":{\"$ne\":2}}]}]}"},
	    {"{\"a\":{\"$not\":{\"$regex\":\"x\"}}}", "{\"a\":{\"$not\":{\"$regex\":\"x\"}}}"},
	    {"{\"a\":{\"b\":{\"$elemMatch\":{\"c\":{\"d\":1},\"$not\":{\"e\":2}}}}}",
		"{\"a.b\":{\"$elemMatch\":{\"$and\":[{\"c.d\":{\"$eq\":1}},{\"$not\":{\"e\":{\"$eq\":2}}}]}}}"},
	    {"{\"a\":{\"$allMatch\":{\"$gte\":80,\"$lt\":85}}}",
		"{\"a\":{\"$allMatch\":{\"$and\":[{\"\":{\"$gte\":80}},{\"\":{\"$lt\":85}}]}}}"},
	    {"{\"$text\":\"x\"}", "{\"$default\":{\"$text\":\"x\"}}"},
	    {"{\"$default\":{\"$text\":\"x\"}}", "{\"$default\":{\"$text\":\"x\"}}"},
	    {"{\"a\\u0062\":1E2, \"a\\u0062\":1e3}", "{\"ab\":{\"$eq\":1000.0}}"},
	    {"{\"\":{\"a\":1}}", "{\"a\":{\"$eq\":1}}"},
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct query_selector *s, *again;
		struct buf got, twice;

		buf_init(&got, 4096);
		buf_init(&twice, 4096);
		if (CHECK_INT(query_selector_new(str(cases[i][0]), &s, NULL), 0)) {
			CHECK_INT(query_selector_put(s, &got), 0);
			CHECK_MEM(got.data, got.len, cases[i][1], strlen(cases[i][1]));
			/* It is its own normal form. */
			if (CHECK_INT(query_selector_new((struct jstr){got.data, got.len}, &again, NULL), 0)) {
				CHECK_INT(query_selector_put(again, &twice), 0);
				CHECK_MEM(twice.data, twice.len, got.data, got.len);
				query_selector_free(again);
			}
			query_selector_free(s);
		}
		buf_release(&got);
		buf_release(&twice);
	}
}

/* ---- What is refused ---- */

static void
test_refused(void)
{
	static const struct {
		const char *selector;
		int err;
		const char *why;
	} cases[] = {
	    {"", ERR_BAD_JSON, ""},
	    {"{\"a\":1", ERR_BAD_JSON, ""},
	    {"{\"a\":1}x", ERR_BAD_JSON, ""},
	    {"null", ERR_SELECTOR_JSON, "Selector must be a JSON object, not: null"},
	    {"\"x\"", ERR_SELECTOR_JSON, "Selector must be a JSON object, not: <<120>>"},
	    {"{\"$\":1}", ERR_OPERATOR, "Invalid operator: $"},
	    {"{\"a\":{\"$where\":1}}", ERR_UNSUPPORTED, "Unsupported operator: $where"},
	    {"{\"$nor\":{\"a\":1}}", ERR_OPERATOR_ARG, "Bad argument for operator $nor: {[{<<97>>,1}]}"},
	    {"{\"a\":{\"$allMatch\":[]}}", ERR_OPERATOR_ARG, "Bad argument for operator $allMatch: []"},
	    {"{\"a\":{\"$keyMapMatch\":null}}", ERR_OPERATOR_ARG, "Bad argument for operator $keyMapMatch: null"},
	    {"{\"a\":{\"$nin\":1}}", ERR_OPERATOR_ARG, "Bad argument for operator $nin: 1"},
	    {"{\"a\":{\"$type\":1}}", ERR_OPERATOR_ARG, "Bad argument for operator $type: 1"},
	    {"{\"a\":{\"$size\":1.0}}", ERR_OPERATOR_ARG, "Bad argument for operator $size: 1.0"},
	    {"{\"a\":{\"$mod\":[1.5,0]}}", ERR_OPERATOR_ARG, "Bad argument for operator $mod: [1.5,0]"},
	    {"{\"a\":{\"$mod\":[0,0]}}", ERR_OPERATOR_ARG, "Bad argument for operator $mod: [0,0]"},
	    {"{\"a\":{\"$mod\":[1,2,3]}}", ERR_OPERATOR_ARG, "Bad argument for operator $mod: [1,2,3]"},
	    {"{\"$text\":null}", ERR_OPERATOR_ARG, "Bad argument for operator $text: null"},
	    {"{\"a\":{\"$text\":1}}", ERR_FIELD,
		"Invalid field normalization on selector: "
		"{[{<<36,100,101,102,97,117,108,116>>,{[{<<36,116,101,120,116>>,1}]}}]}"},
	    {"{\"$default\":1}", ERR_FIELD,
		"Invalid field normalization on selector: {[{<<36,100,101,102,97,117,108,116>>,1}]}"},
	    {"{\"$not\":{\"$text\":1}}", ERR_OPERATOR_ARG,
		"Bad argument for operator $not: "
		"{[{<<36,100,101,102,97,117,108,116>>,{[{<<36,116,101,120,116>>,1}]}}]}"},
	    {"{\"a..b\":1}", ERR_FIELD_NAME, "Invalid field name: a..b"},
	    {"{\".a\":1}", ERR_FIELD_NAME, "Invalid field name: .a"},
	    {"{\"a\":{\"\":1}}", ERR_FIELD_NAME, "Invalid field name: a."},
	    {"{\"$not\":{\"\":1}}", ERR_SELECTOR, "One or more conditions is missing a field name."},
	    {"{\"$eq\":1}", ERR_SELECTOR, "One or more conditions is missing a field name."},
	    {"{\"a\":{\"$regex\":\"(\"}}", ERR_OPERATOR_ARG, "Bad argument for operator $regex: <<40>>"},
	    {"{\"a\":{\"$regex\":\"(((a{1000}){1000}){1000})\"}}", ERR_OPERATOR_ARG, NULL},
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct query_selector *s;
		struct errtext why = {""};

		if (!CHECK_INT(query_selector_new(str(cases[i].selector), &s, &why), cases[i].err))
			fprintf(stderr, "%s\n", cases[i].selector);
		if (cases[i].why != NULL)
			CHECK_STR(why.text, cases[i].why);
	}
}

/* ---- Bounds ---- */

static int
made(const struct buf *selector)
{
	struct query_selector *s;
	int err = query_selector_new((struct jstr){selector->data, selector->len}, &s, NULL);

	if (err == 0)
		query_selector_free(s);
	return err;
}

static int
nested(const char *open, const char *inner, const char *close, unsigned n)
{
	struct buf selector;
	int err;

	buf_init(&selector, 64u << 20);
	for (unsigned i = 0; i < n; i++)
		buf_puts(&selector, open);
	buf_puts(&selector, inner);
	for (unsigned i = 0; i < n; i++)
		buf_puts(&selector, close);
	CHECK_INT(buf_failed(&selector), 0);
	err = made(&selector);
	buf_release(&selector);
	return err;
}

static int
repeated(const char *first, const char *element, const char *last, unsigned n)
{
	struct buf selector;
	int err;

	buf_init(&selector, 64u << 20);
	buf_puts(&selector, first);
	for (unsigned i = 0; i < n; i++) {
		buf_puts(&selector, i > 0 ? "," : "");
		buf_puts(&selector, element);
	}
	buf_puts(&selector, last);
	CHECK_INT(buf_failed(&selector), 0);
	err = made(&selector);
	buf_release(&selector);
	return err;
}

static void
test_bounds(void)
{
	CHECK_INT(nested("{\"$not\":", "{\"a\":1}", "}", LIMIT_SELECTOR_DEPTH - 1), 0);
	CHECK_INT(nested("{\"$not\":", "{\"a\":1}", "}", LIMIT_SELECTOR_DEPTH), ERR_SELECTOR);
	CHECK_INT(nested("{\"a\":{\"$elemMatch\":", "{\"a\":1}", "}}", LIMIT_SELECTOR_DEPTH / 2 - 1), 0);
	CHECK_INT(nested("{\"a\":{\"$elemMatch\":", "{\"a\":1}", "}}", LIMIT_SELECTOR_DEPTH), ERR_SELECTOR);
	/* What is compared with may be as deep as any JSON. */
	CHECK_INT(nested("{\"a\":", "[1]", "}", LIMIT_SELECTOR_DEPTH), 0);
	CHECK_INT(nested("{\"a\":", "[1]", "}", LIMIT_SELECTOR_DEPTH + 1), ERR_SELECTOR);
	CHECK_INT(nested("[", "", "]", 1), ERR_SELECTOR_JSON);
	CHECK_INT(repeated("{\"$or\":[", "{\"a\":1}", "]}", LIMIT_SELECTOR_NODES / 2 - 1), 0);
	CHECK_INT(repeated("{\"$or\":[", "{\"a\":1}", "]}", LIMIT_SELECTOR_NODES / 2), ERR_SELECTOR);
	CHECK_INT(repeated("{\"a\":{\"$in\":[", "1", "]}}", LIMIT_SELECTOR_VALUES), 0);
	CHECK_INT(repeated("{\"a\":{\"$in\":[", "1", "]}}", LIMIT_SELECTOR_VALUES + 1), ERR_SELECTOR);
	CHECK_INT(
	    repeated("{\"a\":{\"$all\":[", "\"12345678901234567890\"", "]}}", LIMIT_SELECTOR_LEN / 20), ERR_SELECTOR);
	CHECK_INT(repeated("{\"$or\":[", "{\"a\":{\"$regex\":\"^[a-z]+\\\\.(jpe?g|png)$\"}}", "]}", 4000), 0);
	CHECK_INT(repeated("{\"$or\":[", "{\"a\":{\"$regex\":\"(?:[ab]{9}){99}\"}}", "]}", 40), 0);
	CHECK_INT(repeated("{\"$or\":[", "{\"a\":{\"$regex\":\"(?:[ab]{9}){999}\"}}", "]}", 80), ERR_SELECTOR);
	CHECK_INT(nested("{\"a", ".x", "\":1}", 1), 0);
	CHECK_INT(repeated("{\"", "a.a.a.a.a", "\":1}", LIMIT_JSON_DEPTH / 4), ERR_FIELD_NAME);
}

/* Regular expressions that would run for years are given up, and count as no match; what is cheap still works after them. */
static void
test_hostile_regex(void)
{
	struct query_doc doc = {.id = str("id"), .rev = str("1-a")};
	struct buf body;

	buf_init(&body, 8u << 20);
	buf_puts(&body, "{\"s\":\"");
	for (int i = 0; i < 200; i++)
		buf_putc(&body, 'a');
	buf_puts(&body, "!\"}");
	doc.body = (struct jstr){body.data, body.len};
	CHECK_INT(matches_doc(str("{\"s\":{\"$regex\":\"^(a+)+$\"}}"), &doc), 0);
	CHECK_INT(matches_doc(str("{\"s\":{\"$regex\":\"(x+x+)+y|(a|aa)+$\"}}"), &doc), 0);
	CHECK_INT(matches_doc(str("{\"s\":{\"$not\":{\"$regex\":\"^(a+)+$\"}}}"), &doc), 1);
	CHECK_INT(matches_doc(str("{\"s\":{\"$regex\":\"^(a+)!$\"}}"), &doc), 1);
	CHECK_INT(
	    matches_doc(str("{\"$or\":[{\"s\":{\"$regex\":\"^(a+)+$\"}},{\"s\":{\"$beginsWith\":\"aa\"}}]}"), &doc), 1);
	/* From each place to the end of a megabyte. */
	buf_clear(&body);
	buf_puts(&body, "{\"s\":\"");
	for (int i = 0; i < 1 << 20; i++)
		buf_putc(&body, 'a');
	buf_puts(&body, "!\"}");
	CHECK_INT(buf_failed(&body), 0);
	doc.body = (struct jstr){body.data, body.len};
	CHECK_INT(matches_doc(str("{\"s\":{\"$regex\":\"a*+[bc]\"}}"), &doc), 0);
	CHECK_INT(matches_doc(str("{\"s\":{\"$regex\":\"!$\"}}"), &doc), 1);
	buf_release(&body);
}

/* Many strings in one document each have their turn. */
static void
test_many_strings(void)
{
	struct query_doc doc = {.id = str("id"), .rev = str("1-a")};
	struct buf body;

	buf_init(&body, 8u << 20);
	buf_puts(&body, "{\"l\":[");
	for (int i = 0; i < 20000; i++)
		buf_printf(&body, "\"tag%d\",", i);
	buf_puts(&body, "\"last\"]}");
	doc.body = (struct jstr){body.data, body.len};
	CHECK_INT(matches_doc(str("{\"l\":{\"$elemMatch\":{\"$regex\":\"^las\"}}}"), &doc), 1);
	CHECK_INT(matches_doc(str("{\"l\":{\"$all\":[\"last\",\"tag77\"]}}"), &doc), 1);
	CHECK_INT(matches_doc(str("{\"l.20000\":\"last\"}"), &doc), 1);
	CHECK_INT(matches_doc(str("{\"l\":{\"$size\":20001}}"), &doc), 1);
	buf_release(&body);
}

/* {"$or":[CONDITION of "a", ... ${n} times, {"b":1}]}: the last one matches, if the others leave something for it. */
static int
matches_behind(const char *condition, int n, const struct query_doc *doc)
{
	struct buf selector;
	int match;

	buf_init(&selector, 64u << 20);
	buf_puts(&selector, "{\"$or\":[");
	for (int i = 0; i < n; i++)
		buf_printf(&selector, "{\"a\":%s},", condition);
	buf_puts(&selector, "{\"b\":1}]}");
	CHECK_INT(buf_failed(&selector), 0);
	match = matches_doc((struct jstr){selector.data, selector.len}, doc);
	buf_release(&selector);
	return match;
}

/* Each condition is cheap enough by itself, and so are some of them; many together are too much for a document, which does not match then. */
static void
test_work(void)
{
	static const struct {
		const char *first, *element, *last; /* the field */
		int elements;
		const char *condition;
		int n;
	} cases[] = {
	    {"[", "7", "]", 100000, "{\"$elemMatch\":{\"$eq\":1}}", 40},
	    {"[", "7", "]", 100000, "{\"$allMatch\":{\"$gt\":1,\"$mod\":[7,0]},\"$size\":1}", 40},
	    {"[", "7", "]", 100000, "{\"$size\":200000}", 60},
	    {"[", "7", "]", 100000, "{\"$in\":[1,2]}", 40},
	    {"[", "7", "]", 100000, "{\"$in\":[1,2,3,4,5,6,8,9,10,11]}", 20},
	    {"[", "7", "]", 100000, "{\"$all\":[1]}", 40},
	    {"[", "{}", "]", 100000, "{\"$elemMatch\":{\"c.d\":1}}", 20},
	    {"[[", "7", "]]", 100000, "{\"$elemMatch\":{\"$eq\":1}}", 120},
	    {"[[", "7", "]]", 100000, "{\"$elemMatch\":{\"c\":1}}", 120},
	    {"[", "1e300", "]", 1000, "{\"$in\":[123456789012345678901234567890]}", 40},
	    {"[", "\"\xc3\xa4\xc3\xa4\xc3\xa4\"", "]", 10000, "{\"$in\":[\"a\\u0308\\u00e4\\u00e5\"]}", 60},
	    {"\"", "\\n", "\"", 100000, "{\"$beginsWith\":\"x\"}", 60},
	    {"\"", "\\n", "\"", 100000, "\"x\"", 60},
	    {"{\"", "\\n", "\":1}", 100000, "{\"$keyMapMatch\":{\"$eq\":\"x\"}}", 120},
	    {"", "1234", "", 1000, "{\"$mod\":[7,9]}", 4000},
	};
	struct query_doc doc = {.id = str("id"), .rev = str("1-a")};
	struct buf body;

	buf_init(&body, 8u << 20);
	for (size_t i = 0; i < COUNT(cases); i++) {
		buf_clear(&body);
		buf_printf(&body, "{\"a\":%s", cases[i].first);
		for (int k = 0; k < cases[i].elements; k++)
			buf_printf(&body, "%s%s", k > 0 && *cases[i].first == '[' ? "," : "", cases[i].element);
		buf_printf(&body, "%s,\"b\":1}", cases[i].last);
		CHECK_INT(buf_failed(&body), 0);
		doc.body = (struct jstr){body.data, body.len};
		if (!CHECK_INT(matches_behind(cases[i].condition, 2, &doc), 1) ||
		    !CHECK_INT(matches_behind(cases[i].condition, cases[i].n, &doc), 0))
			fprintf(stderr, "%s\n", cases[i].condition);
	}
	buf_release(&body);
}

/* What takes one pass does not become too much: as many values, or paths, as a selector may have. */
static void
test_one_pass(void)
{
	struct query_doc doc = {.id = str("id"), .rev = str("1-a")};
	struct buf body, selector;

	buf_init(&body, 8u << 20);
	buf_init(&selector, 8u << 20);
	buf_puts(&body, "{\"a\":[-1");
	buf_puts(&selector, "{\"a\":{\"$all\":[5,5");
	for (int i = 0; i < (int)LIMIT_SELECTOR_VALUES - 2; i++) {
		buf_printf(&selector, ",%d", i);
		buf_printf(&body, ",%d", (int)LIMIT_SELECTOR_VALUES - 3 - i);
	}
	buf_puts(&body, "]}");
	buf_puts(&selector, "]}}");
	doc.body = (struct jstr){body.data, body.len};
	CHECK_INT(matches_doc((struct jstr){selector.data, selector.len}, &doc), 1);
	buf_clear(&selector);
	buf_puts(&selector, "{\"$or\":[");
	for (int i = 0; i < 4000; i++)
		buf_printf(&selector, "{\"a.%d\":-2},", i * 20);
	buf_puts(&selector, "{\"a.0\":-1}]}");
	CHECK_INT(buf_failed(&selector), 0);
	CHECK_INT(matches_doc((struct jstr){selector.data, selector.len}, &doc), 1);
	buf_release(&selector);
	buf_release(&body);
}

static void
test_broken_bodies(void)
{
	static const char *const bodies[] = {"{\"b\":1", "{\"b\":}", "[1]", "{\"b\":[1,}", "{\"b\":\"\\ud800\"}", "x"};
	struct query_selector *s;
	int match;

	CHECK_INT(query_selector_new(str("{\"a\":1}"), &s, NULL), 0);
	for (size_t i = 0; i < COUNT(bodies); i++) {
		struct query_doc doc = {.id = str("id"), .rev = str("1-a"), .body = str(bodies[i])};
		int err = query_selector_match(s, &doc, &match);

		if (!CHECK(err == ERR_BAD_JSON || err == ERR_BAD_REQUEST))
			fprintf(stderr, "%s: %d\n", bodies[i], err);
		CHECK_INT(match, 0);
	}
	/* The selector is as good as before. */
	CHECK_INT(query_selector_match(s, &(struct query_doc){.id = str("id"), .body = str("{\"a\":1}")}, &match), 0);
	CHECK_INT(match, 1);
	query_selector_free(s);
	query_selector_free(NULL);
}

/* ---- Fields ---- */

static void
test_fields(void)
{
	static const char doc[] =
	    "{\"_id\":\"i\",\"a\":{\"x\":1,\"y\":{\"z\":2,\"w\":3}},\"l\":[5,{\"k\":6}],\"o.k\":7,\"n\":null}";
	static const char *const cases[][2] = {
	    {"[]", doc},
	    {"[\"n\",\"_id\"]", "{\"n\":null,\"_id\":\"i\"}"},
	    {"[\"a.y.w\",\"n\",\"a.x\"]", "{\"a\":{\"y\":{\"w\":3},\"x\":1},\"n\":null}"},
	    {"[\"missing\",\"a.q\",\"n.q\"]", "{}"},
	    {"[\"a.q\",\"n\",\"a.x\"]", "{\"n\":null,\"a\":{\"x\":1}}"},
	    {"[\"a.y\",\"a.y.w\",\"a.x\"]", "{\"a\":{\"y\":{\"z\":2,\"w\":3},\"x\":1}}"},
	    {"[\"a.x\",\"n\",\"a\"]", "{\"a\":{\"x\":1,\"y\":{\"z\":2,\"w\":3}},\"n\":null}"},
	    {"[\"l.1.k\"]", "{\"l\":{\"1\":{\"k\":6}}}"},
	    {"[\"l.01.k\",\"l.x\",\"l.+0\",\"l.7\",\"l.1\",\"l.-0\"]",
		"{\"l\":{\"01\":{\"k\":6},\"+0\":5,\"1\":{\"k\":6},\"-0\":5}}"},
	    {"[ \"o\\\\.k\" , \"n\",\"n\" ]", "{\"o.k\":7,\"n\":null}"},
	};
	static const struct {
		const char *fields;
		int err;
		const char *why;
	} refused[] = {
	    {"\"x\"", ERR_FIELDS_JSON, "Fields must be an array of strings, not: <<120>>"},
	    {"[5]", ERR_FIELD_JSON, "Invalid JSON for field spec: 5"},
	    {"[\"a..b\"]", ERR_FIELD_NAME, "Invalid field name: a..b"},
	    {"[\"\"]", ERR_FIELD_NAME, "Invalid field name: "},
	    {"[1", ERR_BAD_JSON, ""},
	    {"[\"a\"", ERR_BAD_JSON, ""},
	};
	struct query_fields *f;
	struct buf out;

	for (size_t i = 0; i < COUNT(cases); i++) {
		if (!CHECK_INT(query_fields_new(str(cases[i][0]), &f, NULL), 0))
			continue;
		/* Twice: nothing is left of the first. */
		for (int k = 0; k < 2; k++) {
			buf_init(&out, 4096);
			CHECK_INT(query_fields_put(f, str(doc), &out), 0);
			CHECK_MEM(out.data, out.len, cases[i][1], strlen(cases[i][1]));
			buf_clear(&out);
			CHECK_INT(query_fields_put(f, str("{}"), &out), 0);
			CHECK_MEM(out.data, out.len, "{}", 2);
			buf_release(&out);
		}
		query_fields_free(f);
	}
	for (size_t i = 0; i < COUNT(refused); i++) {
		struct errtext why = {""};

		CHECK_INT(query_fields_new(str(refused[i].fields), &f, &why), refused[i].err);
		CHECK_STR(why.text, refused[i].why);
	}
	query_fields_free(NULL);
}

/* The same element by many names: an answer of many times the document is not made. */
static void
test_fields_work(void)
{
	static const size_t len = 100000, names = 400;
	struct query_fields *f;
	struct buf doc, fields, out;

	buf_init(&doc, 1u << 20);
	buf_init(&fields, 1u << 20);
	buf_init(&out, 64u << 20);
	buf_puts(&doc, "{\"l\":[0,\"");
	for (size_t i = 0; i < len; i++)
		buf_putc(&doc, 'x');
	buf_puts(&doc, "\"]}");
	buf_puts(&fields, "[\"l.0\"");
	for (size_t i = 0; i < names; i++) {
		buf_puts(&fields, ",\"l.");
		for (size_t k = 0; k < i; k++)
			buf_putc(&fields, '0');
		buf_puts(&fields, "1\"");
	}
	buf_putc(&fields, ']');
	CHECK_INT(buf_failed(&fields), 0);
	CHECK_INT(query_fields_new((struct jstr){fields.data, fields.len}, &f, NULL), 0);
	CHECK_INT(query_fields_put(f, (struct jstr){doc.data, doc.len}, &out), 0);
	CHECK(out.len > len && out.len < LIMIT_MATCH_WORK + (LIMIT_MATCH_WORK_BYTE + 1) * len);
	query_fields_free(f);
	buf_release(&out);
	buf_release(&fields);
	buf_release(&doc);
}

int
main(void)
{
	test_matrix();
	test_paths();
	test_elements();
	test_special();
	test_wants();
	test_values();
	test_recorded();
	test_normal_form();
	test_refused();
	test_bounds();
	test_hostile_regex();
	test_many_strings();
	test_work();
	test_one_pass();
	test_broken_bodies();
	test_fields();
	test_fields_work();
	return check_done();
}
