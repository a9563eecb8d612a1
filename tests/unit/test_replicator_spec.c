/* test_replicator_spec.c: what a description may ask for, what its id is made of, and where its secrets go. */
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "check.h"
#include "replicator/spec.h"

static const struct rep_defaults defaults = {.server = "0123",
    .checkpoint_ms = 5000,
    .workers = 4,
    .batch = 500,
    .connections = 20,
    .retries = 5,
    .timeout_ms = 30000,
    .checkpoints = 1,
    .bulk_get = 1};

static struct arena *a;
static struct errtext why;

static int
parse(const char *text, struct rep_spec *out)
{
	return spec_parse((struct jstr){text, strlen(text)}, &defaults, a, out, &why);
}

static const char *
id_of(const char *text)
{
	struct rep_spec spec;

	if (!CHECK_INT(parse(text, &spec), 0))
		return "";
	return spec.id;
}

/* A request has room for twenty: more would be left out in silence. */
static void
test_many_headers(void)
{
	struct rep_spec spec;
	struct buf b;
	unsigned n, i;

	for (n = 20; n <= 21; n++) {
		buf_init(&b, 4096);
		buf_puts(&b, "{\"target\":\"b\",\"source\":{\"url\":\"http://h/d\",\"headers\":{");
		for (i = 0; i < n; i++)
			buf_printf(&b, "%s\"X-%u\":\"v\"", i > 0 ? "," : "", i);
		buf_puts(&b, "}}}");
		buf_putc(&b, '\0');
		CHECK_INT(parse(b.data, &spec), n <= 20 ? 0 : ERR_BAD_REQUEST);
		buf_release(&b);
	}
}

static void
test_headers(void)
{
	static const char *const bad[] = {"\"Content-Length\":\"0\"", "\"transfer-encoding\":\"chunked\"",
	    "\"Connection\":\"close\"", "\"A\":\"x\\r\\nB: y\"", "\"A\\r\\nB\":\"x\"", "\"A: B\":\"x\"", "\"\":\"x\"",
	    "\"A\":1"};
	struct rep_spec spec;
	char text[256];
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(text, sizeof(text), "{\"target\":\"b\",\"source\":{\"url\":\"http://h/d\",\"headers\":{%s}}}",
		    bad[i]);
		if (!CHECK_INT(parse(text, &spec), ERR_BAD_REQUEST))
			fprintf(stderr, "%s\n", bad[i]);
		CHECK(strstr(why.text, "header") != NULL);
	}
}

/* What decides which documents go where is in the id; what authenticates is not, and who does is. */
static void
test_id(void)
{
	static const char plain[] = "{\"source\":\"http://h/a\",\"target\":\"b\"}";
	static const char *const same[] = {"{\"source\":\"http://h:80/a/\",\"target\":\"b\"}",
	    "{\"source\":{\"url\":\"http://h/a\",\"headers\":{\"Authorization\":\"x\"}},\"target\":\"b\"}",
	    "{\"source\":\"http://h/a\",\"target\":\"b\",\"worker_processes\":9,\"owner\":\"joe\"}"};
	static const char *const other[] = {"{\"source\":\"http://h/a\",\"target\":\"b\",\"since_seq\":5}",
	    "{\"source\":\"http://h/a\",\"target\":\"b\",\"doc_ids\":[]}",
	    "{\"source\":\"http://h/a\",\"target\":\"b\",\"winning_revs_only\":true}",
	    "{\"source\":\"http://joe:s@h/a\",\"target\":\"b\"}",
	    "{\"source\":{\"url\":\"http://h/a\",\"headers\":{\"X\":\"x\"}},\"target\":\"b\"}"};
	size_t i;

	for (i = 0; i < sizeof(same) / sizeof(same[0]); i++)
		CHECK_STR(id_of(same[i]), id_of(plain));
	for (i = 0; i < sizeof(other) / sizeof(other[0]); i++)
		CHECK(strcmp(id_of(other[i]), id_of(plain)) != 0);
	CHECK_STR(id_of("{\"source\":\"http://joe:s@h/a\",\"target\":\"b\"}"),
	    id_of("{\"source\":{\"url\":\"http://h/a\",\"auth\":{\"basic\":{\"username\":\"joe\",\"password\":\"t\"}}},"
		  "\"target\":\"b\"}"));
}

/* The form in which a selector is part of the id: were it another, replications would lose their checkpoints. */
static void
test_form(void)
{
	static const char text[] = "{\"source\":\"a\",\"target\":\"b\",\"selector\":{\"z\": 1.50, "
				   "\"a\\u0062\":{\"$in\":[\"\\u00e9\\/\\u001f\\u0000\",1e2,"
				   "-0,0.1,null]},\"z\":5e-324},\"since_seq\":\"12-"
				   "g1AAAAB4eJzLYWBgYMpgTmEQTM4vTc5ISXIwNDLXMwBCwxyQVB4LkGRoAFL\"}";
	static const char form[] = "{\"ab\":{\"$in\":[\"\303\251/"
				   "\\u001F\\u0000\",100.0,0,0.10000000000000001,null]},\"z\":4.9406564584124654e-324}";
	struct rep_spec spec;

	if (!CHECK_INT(parse(text, &spec), 0))
		return;
	CHECK_MEM(spec.filter.selector.s, spec.filter.selector.len, form, sizeof(form) - 1);
	CHECK_STR(spec.id, "8e7b4da73e186b8017198c8979bf07a4");
}

/* Numbers of any size, wherever they stand: the replicator's own are taken for the bound. */
static void
test_large_numbers(void)
{
	static const char text[] =
	    "{\"source\":\"a\",\"target\":\"b\",\"mine\":{\"n\":[123456789012345678901234567890]},\"nul\\u0000\":1,"
	    "\"worker_batch_size\":100000000000000000000,\"http_connections\":-100000000000000000000,"
	    "\"selector\": {\"n\": 123456789012345678901234567890, \"b\":1.50}}";
	static const char form[] = "{\"n\":123456789012345678901234567890,\"b\":1.5}";
	static const char params[] =
	    "{\"source\":\"a\",\"target\":\"b\",\"filter\":\"d/f\",\"query_params\":{\"n\":1},"
	    "\"since_seq\":18446744073709551616,\"query_params\":{\"n\":-18446744073709551616}}";
	struct rep_spec spec;

	if (CHECK_INT(parse(text, &spec), 0)) {
		CHECK_MEM(spec.filter.selector.s, spec.filter.selector.len, form, sizeof(form) - 1);
		CHECK_INT(spec.batch, 10000);
		CHECK_INT(spec.connections, 1);
	}
	if (CHECK_INT(parse(params, &spec), 0)) {
		CHECK_MEM(spec.filter.query.s, spec.filter.query.len, "{\"n\":-18446744073709551616}", 27);
		CHECK_MEM(spec.since.s, spec.since.len, "18446744073709551616", 20);
	}
	CHECK_INT(parse("{\"source\":\"a\",\"target\":\"b\",\"worker_batch_size\":1e3}", &spec), ERR_BAD_REQUEST);
}

static void
test_secrets(void)
{
	static const char *const bad[] = {"{\"source\":\"http://joe:secret@/a\",\"target\":\"b\"}",
	    "{\"source\":\"http://joe:secret@h:99999/a\",\"target\":\"b\"}",
	    "{\"source\":\"ftp://joe:secret@h/a\",\"target\":\"b\"}",
	    "{\"source\":{\"url\":\"http://h/a\",\"headers\":{\"A\":\"secret\\n\"}},\"target\":\"b\"}"};
	struct rep_spec spec;
	struct buf b;
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CHECK(parse(bad[i], &spec) != 0);
		if (!CHECK(strstr(why.text, "secret") == NULL))
			fprintf(stderr, "%s\n", why.text);
	}
	CHECK_INT(parse("{\"source\":\"http://joe:secret@h/a?token=secret\",\"target\":\"b\"}", &spec), 0);
	buf_init(&b, 1024);
	CHECK_INT(spec_end_shown(&spec.source, &b), 0);
	buf_putc(&b, '\0');
	CHECK(strstr(b.data, "secret") == NULL);
	buf_release(&b);
}

/* A URL ends in a slash, whoever wrote it. */
static void
test_shown(void)
{
	static const char *const ends[][2] = {{"name", "name"}, {"http://h/a", "http://h:80/a/"},
	    {"http://h/a/", "http://h:80/a/"}, {"https://joe:pw@h:1/x/a%2fb", "https://joe:*****@h:1/x/a%2fb/"}};
	struct rep_spec spec;
	char text[200];
	struct buf b;

	buf_init(&b, 1024);
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		snprintf(text, sizeof(text), "{\"source\":\"%s\",\"target\":\"b\"}", ends[i][0]);
		CHECK_INT(parse(text, &spec), 0);
		buf_clear(&b);
		CHECK_INT(spec_end_shown(&spec.source, &b), 0);
		CHECK_MEM(b.data, b.len, ends[i][1], strlen(ends[i][1]));
	}
	buf_release(&b);
}

/* Parameters for which there is no memory. */
static void
test_no_memory(void)
{
	struct rep_spec spec;
	struct arena *small;
	struct buf b;

	buf_init(&b, 1u << 20);
	buf_puts(&b, "{\"source\":\"a\",\"target\":\"b\",\"create_target_params\":{\"q\":\"");
	for (unsigned i = 0; i < 200000; i++)
		buf_putc(&b, '1');
	buf_puts(&b, "\"}}");
	CHECK_INT(arena_new(100000, &small), 0);
	CHECK_INT(spec_parse((struct jstr){b.data, b.len}, &defaults, small, &spec, &why), ERR_NOMEM);
	arena_free(small);
	buf_release(&b);
}

int
main(void)
{
	CHECK_INT(arena_new((size_t)64 << 20, &a), 0);
	test_many_headers();
	test_headers();
	test_id();
	test_form();
	test_large_numbers();
	test_secrets();
	test_shown();
	test_no_memory();
	arena_free(a);
	return check_done();
}
