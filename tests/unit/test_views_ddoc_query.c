/* Design documents of the language "query": which indexes they define, and which of them are the same. */
#include "base/arena.h"
#include "base/buf.h"
#include "check.h"
#include "views/ddoc.h"

static void
parse(const char *views, const char *more, struct arena *a, struct ddoc *out)
{
	struct buf b;

	buf_init_arena(&b, a, 1u << 20);
	buf_printf(&b, "{\"views\":{%s},\"language\":\"query\"%s}", views, more);
	CHECK_INT(ddoc_parse((struct jstr){b.data, b.len}, a, out), 0);
}

#define VIEW(name, map) "\"" name "\":{\"map\":" map ",\"reduce\":\"_count\",\"options\":{}}"

static void
test_definitions(struct arena *a)
{
	static const char *const wrong[] = {"{}", "{\"fields\":{}}", "{\"fields\":[]}", "{\"fields\":\"a\"}",
	    "{\"fields\":[\"a\"]}", "{\"fields\":[{\"a\":\"asc\",\"b\":\"asc\"}]}", "{\"fields\":{\"\":\"asc\"}}",
	    "{\"fields\":{\"a..b\":\"asc\"}}", "{\"fields\":{\".a\":\"asc\"}}",
	    "{\"fields\":{\"a\":\"asc\"},\"partial_filter_selector\":{\"a\":{\"$no\":1}}}",
	    "{\"fields\":{\"a\":\"asc\"},\"partial_filter_selector\":5}",
	    "{\"fields\":{\"a\":\"asc\"},\"selector\":{\"a\":{\"$regex\":\"(\"}}}", "\"function(doc) {}\"", "5"};
	struct ddoc d;

	parse(VIEW("x", "{\"fields\":{\"b\":\"desc\",\"a.c\":\"asc\"},\"partial_filter_selector\":{\"a\":1}}") "," VIEW(
		  "y",
		  "{\"fields\":[{\"b\":\"asc\"},{\"a.c\":\"asc\"}],\"selector\":{\"a\":1}}") ","
											     "\"z\":{\"map\":{"
											     "\"fields\":{\"a\":"
											     "\"asc\"},\"selector\":{"
											     "}},\"reduce\":"
											     "\"function() {}\"}",
	    "", a, &d);
	CHECK(d.is_query);
	CHECK_INT(d.nviews, 3);
	CHECK_INT(d.nmaps, 2);
	CHECK_INT(d.views[1].map, 0);
	CHECK_INT(d.maps[0].ncolumns, 2);
	CHECK_MEM(d.maps[0].columns[0].s, d.maps[0].columns[0].len, "b", 1);
	CHECK_MEM(d.maps[0].columns[1].s, d.maps[0].columns[1].len, "a.c", 3);
	CHECK_MEM(d.maps[0].filter.s, d.maps[0].filter.len, "{\"a\":1}", 7);
	CHECK_INT(d.maps[0].nslots, 1);
	CHECK_INT(d.maps[1].filter.len, 0);
	CHECK_INT(d.views[0].kind, DDOC_COUNT);
	CHECK_INT(d.views[0].declared, 1);
	/* No function runs. */
	CHECK_INT(d.views[2].kind, DDOC_NONE);
	CHECK_INT(d.views[2].declared, 0);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct buf b;

		buf_init_arena(&b, a, 1u << 20);
		buf_printf(
		    &b, "\"bad\":{\"map\":%s,\"options\":{}}," VIEW("good", "{\"fields\":{\"a\":\"asc\"}}"), wrong[i]);
		buf_putc(&b, '\0');
		parse(b.data, "", a, &d);
		if (CHECK_INT(d.nviews, 1))
			CHECK_MEM(d.views[0].name.s, d.views[0].name.len, "good", 4);
	}
}

/* Only what changes rows makes another index. */
static void
test_signatures(struct arena *a)
{
	static const char *const same[][2] = {{VIEW("v", "{\"fields\":{\"a\":\"desc\"}}"), ""},
	    {VIEW("v", "{\"fields\":[{\"a\":\"asc\"}],\"x\":1}"), ""},
	    {VIEW("v", "{\"partial_filter_selector\":{},\"fields\":{\"a\":\"asc\"}}"), ",\"filters\":{\"f\":\"\"}"},
	    {"\"v\":{\"map\":{\"fields\":{\"a\":\"asc\"}},\"reduce\":\"_count\",\"options\":{\"def\":{\"fields\":["
	     "\"a\"]}}}",
		",\"options\":{\"include_design\":true,\"local_seq\":true,\"partitioned\":true},\"autoupdate\":false"}},
				 *const other[][2] = {{VIEW("v", "{\"fields\":{\"b\":\"asc\"}}"), ""},
				     {VIEW("v", "{\"fields\":{\"a\":\"asc\",\"b\":\"asc\"}}"), ""},
				     {VIEW("v", "{\"fields\":{\"a\":\"asc\"},\"partial_filter_selector\":{\"a\":1}}"),
					 ""},
				     {VIEW("w", "{\"fields\":{\"a\":\"asc\"}}"), ""},
				     {VIEW("v", "{\"fields\":{\"a\":\"asc\"}}"),
					 ",\"options\":{\"partitioned\":false}"},
				     {"\"v\":{\"map\":{\"fields\":{\"a\":\"asc\"}}}", ""}};
	struct ddoc first, d;

	parse(VIEW("v", "{\"fields\":{\"a\":\"asc\"}}"), "", a, &first);
	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
		parse(same[i][0], same[i][1], a, &d);
		CHECK_MEM(d.signature, MD5_LEN, first.signature, MD5_LEN);
	}
	for (size_t i = 0; i < sizeof(other) / sizeof(other[0]); i++) {
		parse(other[i][0], other[i][1], a, &d);
		CHECK(memcmp(d.signature, first.signature, MD5_LEN) != 0);
	}
}

/* A definition has no more columns, and no longer ones, than can be worked with. */
static void
test_large_definitions(struct arena *a)
{
	struct ddoc d;
	struct buf b;

	buf_init_arena(&b, a, 1u << 26);
	buf_puts(&b, "\"many\":{\"map\":{\"fields\":{\"a0\":\"asc\"");
	for (unsigned i = 1; i < 5000; i++)
		buf_printf(&b, ",\"a%u\":\"asc\"", i);
	buf_puts(&b, "}}},\"deep\":{\"map\":{\"fields\":{\"a");
	for (unsigned i = 0; i < 2500; i++)
		buf_puts(&b, ".a");
	buf_puts(&b, "\":\"asc\"}}},\"long\":{\"map\":{\"fields\":{\"");
	for (unsigned i = 0; i < 70000; i++)
		buf_putc(&b, 'x');
	buf_puts(&b, "\":\"asc\"}}},\"good\":{\"map\":{\"fields\":{\"a\":\"asc\"}}}");
	buf_putc(&b, '\0');
	CHECK_INT(buf_failed(&b), 0);
	parse(b.data, "", a, &d);
	CHECK_INT(d.nviews, 1);
	buf_clear(&b);
	for (unsigned i = 0; i < 1500; i++)
		buf_printf(&b, "%s\"v%u\":{\"map\":{\"fields\":{\"c%u\":\"asc\"}}}", i > 0 ? "," : "", i, i);
	buf_putc(&b, '\0');
	parse(b.data, "", a, &d);
	CHECK_INT(d.nviews, 1024);
	CHECK_INT(d.nmaps, 1024);
}

int
main(void)
{
	struct arena *a;

	CHECK_INT(arena_new((size_t)1 << 28, &a), 0);
	test_definitions(a);
	test_signatures(a);
	test_large_definitions(a);
	arena_free(a);
	return check_done();
}
