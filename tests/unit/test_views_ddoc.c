/* Design documents: what may stand in them, and which of them define the same index. */
#include "base/arena.h"
#include "base/buf.h"
#include "base/limits.h"
#include "check.h"
#include "views/ddoc.h"

static struct jstr
str(const char *s)
{
	return (struct jstr){s, strlen(s)};
}

static void
refused(const char *body, const char *reason)
{
	struct errtext why = {""};

	CHECK_INT(ddoc_check(str(body), &why), ERR_INVALID_DESIGN);
	CHECK_STR(why.text, reason);
}

/* As recorded of CouchDB 3.5, scenario design-errors. */
static void
test_check(void)
{
	static const char *const good[] = {"{}", "{\"views\":{}}", "{\"views\":{\"lib\":{\"m\":\"exports.a = 1\"}}}",
	    "{\"autoupdate\":\"x\"}", "{\"views\":{\"\":{\"map\":\"function(d) {}\"}}}", "{\"rewrites\":[]}",
	    "{\"language\":\"query\",\"views\":{\"v\":{\"map\":{\"fields\":{}},\"reduce\":\"_count\"}}}",
	    "{\"views\":{\"v\":{\"map\":\"f\",\"reduce\":\"_top_100\"}}}", "{\"options\":{\"local_seq\":true,\"x\":1}}",
	    "{\"filters\":{\"a\":\"f\",\"b\":{}}}"};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		CHECK_INT(ddoc_check(str(good[i]), NULL), 0);
	refused("{\"views\":\"no\"}", "`views` field must have object type");
	refused("{\"views\":{\"v\":\"no\"}}", "`views.v` field must have object type");
	refused("{\"views\":{\"v\":{}}}", "View `v` must contain map function");
	refused("{\"views\":{\"v\":{\"map\":5}}}", "`views.v.map` field must have string type");
	refused("{\"views\":{\"v\":{\"reduce\":\"_count\"}}}", "View `v` must contain map function");
	refused("{\"views\":{\"v\":{\"map\":\"f\",\"reduce\":5}}}", "`views.v.reduce` field must have string type");
	refused("{\"views\":[]}", "`views` field must have object type");
	refused("{\"language\":5}", "`language` field must have string type");
	refused("{\"options\":\"x\"}", "`options` field must have object type");
	refused("{\"options\":{\"partitioned\":1}}", "`options.partitioned` field must have boolean type");
	refused("{\"filters\":\"x\"}", "`filters` field must have object type");
	refused("{\"filters\":{\"f\":1}}", "`filters.f` field must have object or string type");
	refused("{\"validate_doc_update\":5}", "`validate_doc_update` field must have string type");
	refused("{\"updates\":[]}", "`updates` field must have object type");
	refused("{\"rewrites\":5}", "`rewrites` field must have array or string type");
	refused("{\"views\":{\"v\":{\"map\":\"f\",\"reduce\":\"_median\"}}}",
	    "`_median` is not a supported reduce function.");
	refused("{\"views\":{\"v\":{\"map\":\"f\",\"reduce\":\"_top_101\"}}}",
	    "`_top_101` is not a supported reduce function.");
	refused("{\"views\":{\"v\":{\"map\":\"f\",\"reduce\":\"_su\"}}}", "`_su` is not a supported reduce function.");
	CHECK_INT(ddoc_check(str("{\"views\":{\"v\":{\"map\":\"f\",\"reduce\":\"_sumorama\"}}}"), NULL), 0);
	CHECK_INT(ddoc_check(str("{\"views\":{"), NULL), ERR_BAD_JSON);
	CHECK_INT(ddoc_check(str("{\"views\":{\"v\":{\"map\":\"\"}}}"), NULL), ERR_MISSING);
	CHECK_INT(ddoc_check(str("{\"views\":{\"v\":{\"map\":\"m\",\"reduce\":\"\"}}}"), NULL), ERR_MISSING);
	CHECK_INT(ddoc_check(str("{\"views\":{\"v\":{\"map\":\"\"}},\"options\":1}"), NULL), ERR_INVALID_DESIGN);
	CHECK_INT(ddoc_check(str("{\"language\":\"erlang\",\"views\":{\"v\":{\"map\":\"\"}}}"), NULL), 0);
}

static void
parse(const char *body, struct arena *a, struct ddoc *out)
{
	CHECK_INT(ddoc_parse(str(body), a, out), 0);
}

/* Equal map functions share their rows, equal reductions on them are kept once. */
static void
test_sharing(struct arena *a)
{
	struct ddoc d;
	struct buf b;

	parse("{\"views\":{\"a\":{\"map\":\"M\",\"reduce\":\"_sum\"},\"b\":{\"map\":\"M\"},\"c\":{\"map\":\"N\","
	      "\"reduce\":\"function() {}\"},"
	      "\"lib\":{\"x\":\"1\"},\"d\":{\"map\":\"M\",\"reduce\":\"_count\"},\"e\":{\"map\":\"M\",\"reduce\":\"_"
	      "sum\"}}}",
	    a, &d);
	CHECK_INT(d.nviews, 5);
	CHECK_INT(d.nmaps, 2);
	CHECK_INT(d.maps[0].nslots, 2);
	CHECK_INT(d.maps[1].nslots, 1);
	CHECK_INT(ddoc_view_of(&d, str("a"))->slot, 0);
	CHECK_INT(ddoc_view_of(&d, str("b"))->kind, DDOC_NONE);
	CHECK_INT(ddoc_view_of(&d, str("c"))->kind, DDOC_SCRIPT);
	CHECK_INT(ddoc_view_of(&d, str("d"))->slot, 1);
	CHECK_INT(ddoc_view_of(&d, str("e"))->slot, 0);
	CHECK(ddoc_view_of(&d, str("lib")) == NULL);
	buf_init(&b, 1 << 16);
	CHECK_INT(ddoc_program(&d, &b), 0);
	buf_putc(&b, 0);
	CHECK_STR(b.data, "{\"map\":[\"M\",\"N\"],\"reduce\":[\"function() {}\"],\"lib\":{\"x\":\"1\"}}");
	buf_release(&b);
}

/* The order of keys is a view's: those that have another one have rows of their own. */
static void
test_collation(struct arena *a)
{
	static const char query[] = "{\"language\":\"query\",\"views\":{\"a\":{\"map\":{\"fields\":{\"x\":\"asc\"}},"
				    "\"options\":{\"collation\":\"raw\"}}}}";
	struct ddoc d;

	parse("{\"views\":{\"a\":{\"map\":\"M\",\"options\":{\"collation\":\"raw\"}},\"b\":{\"map\":\"M\",\"options\":{"
	      "\"x\":1,\"collation\":[]}},\"c\":{\"options\":{\"collation\":\"raw\"},\"map\":\"M\"},\"d\":{\"map\":"
	      "\"M\"},"
	      "\"e\":{\"map\":\"M\",\"options\":\"raw\"}}}",
	    a, &d);
	CHECK_INT(d.nmaps, 2);
	for (size_t i = 0; i < 5; i++) {
		CHECK_INT(d.views[i].raw, i == 0 || i == 2);
		CHECK_INT(d.maps[d.views[i].map].raw, d.views[i].raw);
	}
	parse(query, a, &d);
	CHECK_INT(d.nmaps, 1);
	CHECK_INT(d.views[0].raw, 0);
}

static int
same(struct arena *a, const char *x, const char *y)
{
	struct ddoc dx, dy;

	parse(x, a, &dx);
	parse(y, a, &dy);
	return memcmp(dx.signature, dy.signature, MD5_LEN) == 0;
}

static void
test_signature(struct arena *a)
{
	static const char one[] = "{\"views\":{\"a\":{\"map\":\"M\",\"reduce\":\"_sum\"}}}";

	CHECK(same(
	    a, one, "{\"x\":1,\"language\":\"javascript\",\"views\":{\"a\":{\"reduce\":\"_sum\",\"map\":\"M\"}}}"));
	CHECK(!same(a, one, "{\"views\":{\"other\":{\"map\":\"M\",\"reduce\":\"_sum\"}}}"));
	CHECK(same(a, one, "{\"views\":{\"a\":{\"map\":\"M\",\"reduce\":\"_sum\"}},\"validate_doc_update\":\"f\"}"));
	CHECK(!same(a, one, "{\"views\":{\"a\":{\"map\":\"M\",\"reduce\":\"_count\"}}}"));
	CHECK(!same(a, one, "{\"views\":{\"a\":{\"map\":\"N\",\"reduce\":\"_sum\"}}}"));
	CHECK(!same(a, one, "{\"views\":{\"a\":{\"map\":\"M\"}}}"));
	CHECK(
	    !same(a, one, "{\"options\":{\"local_seq\":true},\"views\":{\"a\":{\"map\":\"M\",\"reduce\":\"_sum\"}}}"));
	CHECK(same(
	    a, one, "{\"options\":{\"collation\":\"raw\"},\"views\":{\"a\":{\"map\":\"M\",\"reduce\":\"_sum\"}}}"));
	CHECK(
	    same(a, one, "{\"views\":{\"a\":{\"map\":\"M\",\"reduce\":\"_sum\",\"options\":{\"collation\":\"x\"}}}}"));
	CHECK(!same(
	    a, one, "{\"views\":{\"a\":{\"map\":\"M\",\"reduce\":\"_sum\",\"options\":{\"collation\":\"raw\"}}}}"));
	CHECK(!same(a, one, "{\"views\":{\"lib\":{\"m\":\"1\"},\"a\":{\"map\":\"M\",\"reduce\":\"_sum\"}}}"));
	CHECK(!same(a, one, "{\"views\":{\"a\":{\"map\":\"M\",\"reduce\":\"_sum\"},\"b\":{\"map\":\"N\"}}}"));
}

/* put_views: A design document of so many views. */
static void
put_views(struct buf *b, const char *language, unsigned n, const char *map)
{
	buf_clear(b);
	buf_printf(b, "{\"language\":\"%s\",\"views\":{\"lib\":{}", language);
	for (unsigned i = 0; i < n; i++)
		buf_printf(b, ",\"v%u\":{\"map\":%s}", i, map);
	buf_puts(b, "}}");
}

/* As many views as there may be, and one more. */
static void
test_many(struct arena *a)
{
	static const char *const kinds[][2] = {{"javascript", "\"f\""}, {"query", "{\"fields\":{\"a\":\"asc\"}}"}};
	struct errtext why = {""};
	struct ddoc d;
	struct buf b;

	buf_init(&b, 1u << 20);
	for (unsigned i = 0; i < 2; i++) {
		put_views(&b, kinds[i][0], LIMIT_VIEWS, kinds[i][1]);
		CHECK_INT(ddoc_check((struct jstr){b.data, b.len}, &why), 0);
		CHECK_INT(ddoc_parse((struct jstr){b.data, b.len}, a, &d), 0);
		CHECK_INT(d.nviews, LIMIT_VIEWS);
		put_views(&b, kinds[i][0], LIMIT_VIEWS + 1, kinds[i][1]);
		CHECK_INT(ddoc_check((struct jstr){b.data, b.len}, &why), ERR_INVALID_DESIGN);
		CHECK_STR(why.text, "A design document has 4096 views at most.");
		/* What is stored already has the first ones. */
		CHECK_INT(ddoc_parse((struct jstr){b.data, b.len}, a, &d), 0);
		CHECK_INT(d.nviews, LIMIT_VIEWS);
	}
	buf_release(&b);
}

int
main(void)
{
	struct arena *a;

	if (arena_new(1 << 24, &a) != 0)
		return 1;
	test_check();
	test_sharing(a);
	test_collation(a);
	test_signature(a);
	test_many(a);
	arena_free(a);
	return check_done();
}
