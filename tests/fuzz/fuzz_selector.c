/*
 * A selector, a line feed, and a document's body.  What is taken as a selector is its own normal form, which matches the same;
 * matching is the same the second time; a broken body is an error or no match.  The two texts, as values, compare to each other both
 * ways alike.
 */
#include "base/jread.h"
#include "base/limits.h"
#include "fuzz.h"
#include "query/query.h"

#define MAX ((size_t)64 << 20)

static int
is_refusal(int err)
{
	return err == ERR_BAD_JSON || err == ERR_SELECTOR_JSON || err == ERR_SELECTOR || err == ERR_OPERATOR ||
	       err == ERR_OPERATOR_ARG || err == ERR_UNSUPPORTED || err == ERR_FIELD || err == ERR_FIELD_NAME;
}

/* The body as it is stored, or as it came if it is none. */
static int
canonical(struct jstr text, struct buf *out)
{
	struct jread j;
	int err = ERR_BAD_JSON;

	jread_init(&j, text.s, text.len);
	if (jread_peek(&j) == JREAD_OBJECT)
		err = jread_text(&j, out, NULL);
	if (err == 0)
		err = jread_end(&j);
	if (err != 0) {
		buf_clear(out);
		buf_put(out, text.s, text.len);
	}
	return err;
}

static int
match(struct query_selector *s, struct jstr body, int valid)
{
	struct query_doc doc = {.id = {"id", 2}, .rev = {"1-a", 3}, .body = body};
	int first = 0, second = 0, err = query_selector_match(s, &doc, &first);

	FUZZ_CHECK(err == 0 || (!valid && (err == ERR_BAD_JSON || err == ERR_BAD_REQUEST)));
	FUZZ_CHECK(query_selector_match(s, &doc, &second) == err && second == first);
	return first;
}

/* Below a double's normal range CouchDB reads a number without a fraction otherwise than it prints it (base/jsonnum.c). */
static int
has_subnormal(const struct buf *text)
{
	return memmem(text->data, text->len, "e-3", 3) != NULL;
}

static void
check_selector(struct jstr text, struct jstr body, int valid)
{
	struct query_selector *s, *again;
	struct errtext why = {""};
	struct buf normal, twice;
	int err = query_selector_new(text, &s, &why), first;

	if (err != 0) {
		FUZZ_CHECK(is_refusal(err) && jread_utf8_ok(why.text, strlen(why.text)));
		return;
	}
	(void)query_selector_wants(s);
	first = match(s, body, valid);
	buf_init(&normal, MAX);
	buf_init(&twice, MAX);
	FUZZ_CHECK(query_selector_put(s, &normal) == 0);
	query_selector_free(s);
	err = query_selector_new((struct jstr){normal.data, normal.len}, &again, &why);
	/* What stood just within a bound may be beyond it when nothing is implicit. */
	FUZZ_CHECK(err == 0 || err == ERR_SELECTOR);
	if (err == 0 && has_subnormal(&normal)) {
		query_selector_free(again);
	} else if (err == 0) {
		FUZZ_CHECK(query_selector_put(again, &twice) == 0);
		FUZZ_CHECK(twice.len == normal.len && memcmp(twice.data, normal.data, twice.len) == 0);
		FUZZ_CHECK(!valid || match(again, body, valid) == first);
		query_selector_free(again);
	}
	buf_release(&normal);
	buf_release(&twice);
}

static void
check_order(struct jstr a, struct jstr b)
{
	int there = 0, back = 0, itself = 1;
	int err = query_collate(a, b, &there);

	FUZZ_CHECK(err == 0 || err == ERR_BAD_JSON);
	if (err != 0)
		return;
	FUZZ_CHECK(query_collate(b, a, &back) == 0);
	FUZZ_CHECK((there < 0) == (back > 0) && (there > 0) == (back < 0));
	if (query_collate(a, a, &itself) == 0)
		FUZZ_CHECK(itself == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const char *in = (const char *)data;
	const char *line = len > 0 ? memchr(in, '\n', len) : NULL;
	struct jstr selector = {in, line != NULL ? (size_t)(line - in) : len};
	struct jstr text = {line != NULL ? line + 1 : in + len, line != NULL ? len - selector.len - 1 : 0};
	struct buf body;
	int valid;

	buf_init(&body, MAX);
	valid = canonical(text, &body) == 0;
	if (len > 0)
		check_selector(selector, (struct jstr){body.data, body.len}, valid);
	check_order(selector, text);
	buf_release(&body);
	return 0;
}
