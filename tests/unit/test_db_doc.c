/* Documents in and out, with CouchDB's words for what is refused. */
#include <stdio.h>
#include <stdlib.h>

#include "base/limits.h"
#include "db/doc.h"
#include "check.h"

struct fault {
	const char *in;
	int err;
	const char *why; /* "": the table's default */
};

static const struct fault faults[] = {
    {"", ERR_BAD_JSON, ""},
    {"{", ERR_BAD_JSON, ""},
    {"{\"_foo\":1", ERR_BAD_JSON, ""},
    {"{\"_id\":7,\"a\":tru}", ERR_BAD_JSON, ""},
    {"[]", ERR_NOT_OBJECT, ""},
    {"1", ERR_NOT_OBJECT, ""},
    {"\"s\"", ERR_NOT_OBJECT, ""},
    {"null", ERR_NOT_OBJECT, ""},
    {"[1,", ERR_BAD_JSON, ""},
    {"{\"_foo\":1}", ERR_DOC_VALIDATION, "Bad special document member: _foo"},
    {"{\"_\":1}", ERR_DOC_VALIDATION, "Bad special document member: _"},
    {"{\"\\u005f\\\"x\":[{\"a\":1}]}", ERR_DOC_VALIDATION, "Bad special document member: _\"x"},
    {"{\"_id\":7}", ERR_ID_NOT_STRING, ""},
    {"{\"_id\":null}", ERR_ID_NOT_STRING, ""},
    {"{\"_id\":[]}", ERR_ID_NOT_STRING, ""},
    {"{\"_id\":\"\"}", ERR_ID_EMPTY, ""},
    {"{\"_id\":\"_x\"}", ERR_RESERVED_ID, ""},
    {"{\"_id\":\"_design\"}", ERR_RESERVED_ID, ""},
    {"{\"_id\":\"_design/\"}", ERR_RESERVED_ID, "Illegal document id `_design/`"},
    {"{\"_id\":\"_local/\"}", ERR_RESERVED_ID, "Illegal document id `_local/`"},
    {"{\"_rev\":\"nonsense\"}", ERR_BAD_REV, ""},
    {"{\"_rev\":7}", ERR_BAD_REV, ""},
    {"{\"_rev\":null}", ERR_BAD_REV, ""},
    {"{\"_rev\":\"\"}", ERR_BAD_REV, ""},
    {"{\"_deleted\":\"yes\"}", ERR_DOC_VALIDATION, "Bad special document member: _deleted"},
    {"{\"_deleted\":1}", ERR_DOC_VALIDATION, "Bad special document member: _deleted"},
    {"{\"_revisions\":\"no\"}", ERR_DOC_VALIDATION, "Bad special document member: _revisions"},
    {"{\"_revisions\":{}}", ERR_DOC_VALIDATION, "_revisions.start isn't an integer."},
    {"{\"_revisions\":{\"start\":1}}", ERR_DOC_VALIDATION, "_revisions.ids isn't a array."},
    {"{\"_revisions\":{\"start\":1,\"ids\":5}}", ERR_DOC_VALIDATION, "_revisions.ids isn't a array."},
    {"{\"_revisions\":{\"start\":1,\"ids\":[5]}}", ERR_DOC_VALIDATION, "RevId isn't a string"},
    {"{\"_revisions\":{\"start\":1,\"ids\":[\"zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz\"]}}", ERR_DOC_VALIDATION,
	"RevId isn't a valid hexadecimal"},
    {"{\"_revisions\":{\"start\":1,\"ids\":[\"a\",\"b\"]}}", ERR_DOC_VALIDATION,
	"_revisions.start does not fit _revisions.ids."},
    {"{\"_attachments\":5}", ERR_DOC_VALIDATION, "Bad special document member: _attachments"},
    {"{\"_attachments\":null}", ERR_DOC_VALIDATION, "Bad special document member: _attachments"},
    {"{\"_attachments\":{\"f\":{\"data\":\"AA=\"}}}", ERR_BAD_REQUEST, "Invalid attachment data for f"},
    {"{\"_attachments\":{\"f\":{\"data\":\"***\"}}}", ERR_BAD_REQUEST, "Invalid attachment data for f"},
    {"{\"_attachments\":{\"f\":{\"data\":\"AAE\"}}}", ERR_BAD_REQUEST, "Invalid attachment data for f"},
    {"{\"_attachments\":{\"f\":{\"data\":\"AA-A\"}}}", ERR_BAD_REQUEST, "Invalid attachment data for f"},
    {"{\"_attachments\":{\"f\":{\"data\":\"AA_A\"}}}", ERR_BAD_REQUEST, "Invalid attachment data for f"},
    {"{\"_attachments\":{\"f\":{\"data\":5}}}", ERR_BAD_REQUEST, "Invalid attachment data for f"},
    {"{\"_attachments\":{\"f\":{}}}", ERR_BAD_REQUEST, "Invalid attachment data for f"},
    {"{\"_attachments\":{\"f\":{\"stub\":false}}}", ERR_BAD_REQUEST, "Invalid attachment data for f"},
    {"{\"_attachments\":{\"f\":{\"content_type\":5,\"data\":\"AAEC\"}}}", ERR_BAD_REQUEST,
	"Invalid attachment data for f"},
    {"{\"_attachments\":{\"_under\":{\"data\":\"AAEC\"}}}", ERR_BAD_REQUEST,
	"Attachment name '_under' starts with prohibited character '_'"},
};

static struct arena *arena;

static int
parse(const char *in, size_t len, struct doc_in *doc, struct errtext *why)
{
	struct jread j;
	int err;

	arena_reset(arena);
	jread_init(&j, in, len);
	err = doc_parse(&j, arena, doc, why);
	if (err != ERR_BAD_JSON)
		CHECK_INT(jread_end(&j), 0);
	return err;
}

/* Each fault alone, and as the first of two documents: the second is then still read. */
static void
test_faults(void)
{
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		const struct fault *f = &faults[i];
		struct errtext why;
		struct doc_in doc;
		struct jread j;
		struct buf b;

		CHECK_INT(parse(f->in, strlen(f->in), &doc, &why), f->err);
		CHECK_STR(why.text, f->why);
		CHECK_INT(parse(f->in, strlen(f->in), &doc, NULL), f->err);
		if (f->err == ERR_BAD_JSON)
			continue;
		buf_init(&b, 4096);
		buf_printf(&b, "[%s , {\"_id\":\"second\",\"a\":1}]", f->in);
		jread_init(&j, b.data, b.len);
		CHECK_INT(jread_array_begin(&j), 0);
		CHECK_INT(jread_array_next(&j), 0);
		CHECK_INT(doc_parse(&j, arena, &doc, &why), f->err);
		CHECK_INT(jread_array_next(&j), 0);
		CHECK_INT(doc_parse(&j, arena, &doc, &why), 0);
		CHECK_MEM(doc.id.s, doc.id.len, "second", 6);
		CHECK_INT(jread_array_next(&j), ERR_END);
		CHECK_INT(jread_end(&j), 0);
		buf_release(&b);
	}
}

static void
check_body(const char *in, const char *want)
{
	struct errtext why;
	struct doc_in doc;

	if (CHECK_INT(parse(in, strlen(in), &doc, &why), 0))
		CHECK_MEM(doc.body.s, doc.body.len, want, strlen(want));
	else
		fprintf(stderr, "%s: %s\n", in, why.text);
}

static void
test_bodies(void)
{
	check_body("{}", "{}");
	check_body(" {\n} ", "{}");
	check_body("{\"_id\":\"x\"}", "{}");
	check_body("{\"_id\":\"x\",\"a\":1}", "{\"a\":1}");
	check_body("{\"b\":1,\"_id\":\"b\",\"a\":2,\"_rev\":\"1-a\"}", "{\"b\":1,\"a\":2}");
	check_body("{\"a\":1,\"_rev\":\"1-a\",\"b\":2,\"a\":3}", "{\"b\":2,\"a\":3}");
	check_body("{\"\":1,\"nested\":{\"_ok\":1}}", "{\"\":1,\"nested\":{\"_ok\":1}}");
	check_body("{\"_revs_info\":[],\"_conflicts\":[\"1-a\"],\"_deleted_conflicts\":[],\"_local_seq\":5,\"n\":1}",
	    "{\"n\":1}");
	check_body("{\"_replication_id\":\"x\",\"_replication_state\":\"y\",\"_replication_state_time\":1,"
		   "\"_replication_state_reason\":\"z\",\"_replication_stats\":{},\"n\":1e3}",
	    "{\"_replication_id\":\"x\",\"_replication_state\":\"y\",\"_replication_state_time\":1,"
	    "\"_replication_state_reason\":\"z\",\"_replication_stats\":{},\"n\":1000.0}");
	check_body("{\"_access\":[\"x\"]}", "{\"_access\":[\"x\"]}");
	check_body("{\"_attachments\":{\"f\":5}}", "{}");
}

static void
test_members(void)
{
	static const char in[] =
	    "{\"_id\":\"a\\u0000b\",\"_rev\":\"3-CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCC\",\"_deleted\":true,"
	    "\"_revisions\":{\"start\":3,\"ids\":[\"cccccccccccccccccccccccccccccccc\",\"b\",\"a\"]}}";
	struct errtext why;
	struct doc_in doc;

	CHECK_INT(parse(in, sizeof(in) - 1, &doc, &why), 0);
	CHECK_MEM(doc.id.s, doc.id.len, "a\0b", 3);
	CHECK_INT(doc.has_rev, 1);
	CHECK_INT(doc.rev.gen, 3);
	CHECK_INT(doc.rev.len, 16);
	CHECK_INT(doc.deleted, 1);
	CHECK_INT(doc.has_atts, 0);
	if (CHECK_INT(doc.nrevisions, 3)) {
		struct rev r = rev_of(&doc.rev);

		CHECK(rev_equal(&doc.revisions[0], &r));
		CHECK_INT(doc.revisions[2].gen, 1);
		CHECK_MEM(doc.revisions[1].id, doc.revisions[1].len, "b", 1);
	}
	CHECK_INT(parse("{\"_rev\":\"0-5\"}", 14, &doc, &why), 0);
	CHECK_INT(doc.rev.gen, 0);
	CHECK_MEM(doc.rev.id, doc.rev.len, "5", 1);
}

static void
test_attachments(void)
{
	static const char in[] =
	    "{\"_attachments\":{\"x\":{\"stub\":true},"
	    "\"e\\u00e9\":{\"content_type\":\"x\\/y\",\"data\":\"A A\\nE "
	    "C\",\"revpos\":9,\"digest\":\"md5-wrong\",\"length\":100},"
	    "\"s\":{\"stub\":true,\"revpos\":1,\"digest\":\"md5-uV9n9h67A2GWIteY9F/C0w==\",\"extra\":{}},"
	    "\"g\":{\"follows\":true,\"length\":7,\"encoding\":\"gzip\",\"encoded_length\":5},"
	    "\"x\":{\"data\":\"\"}}}";
	struct errtext why;
	struct doc_in doc;

	if (!CHECK_INT(parse(in, sizeof(in) - 1, &doc, &why), 0) || !CHECK_INT(doc.natts, 4))
		return;
	CHECK_MEM(doc.atts[0].name.s, doc.atts[0].name.len, "e\xc3\xa9", 3);
	CHECK_MEM(doc.atts[0].type.s, doc.atts[0].type.len, "x/y", 3);
	CHECK_INT(doc.atts[0].kind, DOC_ATT_DATA);
	CHECK_MEM(doc.atts[0].data.s, doc.atts[0].data.len, "\0\1\2", 3);
	CHECK_INT(doc.atts[0].has_digest, 0);
	CHECK_INT(doc.atts[1].kind, DOC_ATT_STUB);
	CHECK_INT(doc.atts[1].revpos, 1);
	CHECK_INT(doc.atts[1].has_digest, 1);
	CHECK_MEM(doc.atts[1].md5, 3, "\xb9\x5f\x67", 3);
	CHECK_INT(doc.atts[2].kind, DOC_ATT_FOLLOWS);
	CHECK_INT(doc.atts[2].length, 7);
	CHECK_INT(doc.atts[2].encoded_length, 5);
	CHECK_INT(doc.atts[2].encoding, DOC_GZIP);
	CHECK_MEM(doc.atts[3].type.s, doc.atts[3].type.len, "application/octet-stream", 24);
	CHECK_INT(doc.atts[3].kind, DOC_ATT_DATA);
	CHECK_INT(doc.atts[3].data.len, 0);
	CHECK_INT(doc.has_atts, 1);
}

static int
check_size(size_t len)
{
	struct errtext why;
	struct doc_in doc;
	struct buf b;
	char *p;
	int err = -1;

	/* The body's text is to be ${len} bytes. */
	buf_init(&b, len + 100);
	buf_puts(&b, "{\"a\":\"");
	if (CHECK(buf_reserve(&b, len - 8, &p) == 0)) {
		memset(p, 'x', len - 8);
		buf_commit(&b, len - 8);
	}
	buf_puts(&b, "\"}");
	if (CHECK_INT(buf_failed(&b), 0))
		err = parse(b.data, b.len, &doc, &why);
	buf_release(&b);
	return err;
}

static void
test_limits(void)
{
	char id[LIMIT_ID_LEN + 1];

	CHECK_INT(check_size(LIMIT_BODY_LEN), 0);
	CHECK_INT(check_size(LIMIT_BODY_LEN + 1), ERR_DOC_TOO_LARGE);
	CHECK_INT(check_size(LIMIT_BODY_LEN + 5000), ERR_DOC_TOO_LARGE);
	memset(id, 'i', sizeof(id));
	CHECK_INT(doc_id_check(id, LIMIT_ID_LEN, NULL), 0);
	CHECK_INT(doc_id_check(id, LIMIT_ID_LEN + 1, NULL), ERR_ID_TOO_LONG);
	CHECK_INT(doc_id_check("\xff", 1, NULL), ERR_ID_NOT_UTF8);
	CHECK_INT(doc_id_check("_design/x", 9, NULL), 0);
	CHECK_INT(doc_id_check("_local/x", 8, NULL), 0);
	CHECK_INT(doc_id_check("_local", 6, NULL), ERR_RESERVED_ID);
}

static int
give_form(void *cookie, size_t i, enum doc_att_form *formp, struct buf *base64)
{
	(void)cookie;
	*formp = i == 0 ? DOC_ATT_AS_DATA : DOC_ATT_AS_FOLLOWS;
	return i == 0 ? buf_puts(base64, "AAEC") : 0;
}

static void
check_out(const struct doc_out *d, const char *want)
{
	struct buf b;

	buf_init(&b, 4096);
	CHECK_INT(doc_put_json(&b, d), 0);
	CHECK_MEM(b.data, b.len, want, strlen(want));
	buf_release(&b);
}

static void
test_out(void)
{
	static const char extra[] = ",\"_local_seq\":3";
	struct doc_att atts[2] = {
	    {.name = {"a", 1}, .type = {"x/y", 3}, .revpos = 1, .length = 3, .stored_length = 3},
	    {.name = {"b\"", 2},
		.type = {"text/plain", 10},
		.revpos = 2,
		.length = 11,
		.stored_length = 31,
		.encoding = DOC_GZIP},
	};
	struct rev path[2] = {{2, (const unsigned char *)"b", 1}, {1, (const unsigned char *)"a", 1}};
	struct doc_out d = {.id = {"i\n", 2}, .rev = path[0], .body = {"{}", 2}};

	check_out(&d, "{\"_id\":\"i\\n\",\"_rev\":\"2-b\"}");
	d.deleted = 1;
	d.body = (struct jstr){"{\"n\":1}", 7};
	d.revisions = path;
	d.nrevisions = 2;
	d.extra = extra;
	d.extra_len = sizeof(extra) - 1;
	check_out(&d, "{\"_id\":\"i\\n\",\"_rev\":\"2-b\",\"n\":1,\"_deleted\":true,"
		      "\"_revisions\":{\"start\":2,\"ids\":[\"b\",\"a\"]},\"_local_seq\":3}");
	d = (struct doc_out){.id = {"i", 1}, .rev = path[0], .body = {"{}", 2}, .atts = atts, .natts = 2};
	d.att_encoding_info = 1;
	check_out(&d,
	    "{\"_id\":\"i\",\"_rev\":\"2-b\",\"_attachments\":{\"a\":{\"content_type\":\"x/y\",\"revpos\":1,"
	    "\"digest\":\"md5-AAAAAAAAAAAAAAAAAAAAAA==\",\"length\":3,\"stub\":true},"
	    "\"b\\\"\":{\"content_type\":\"text/plain\",\"revpos\":2,\"digest\":\"md5-AAAAAAAAAAAAAAAAAAAAAA==\","
	    "\"length\":11,\"stub\":true,\"encoding\":\"gzip\",\"encoded_length\":31}}}");
	d.att_encoding_info = 0;
	d.att = give_form;
	check_out(&d,
	    "{\"_id\":\"i\",\"_rev\":\"2-b\",\"_attachments\":{\"a\":{\"content_type\":\"x/y\",\"revpos\":1,"
	    "\"digest\":\"md5-AAAAAAAAAAAAAAAAAAAAAA==\",\"data\":\"AAEC\"},"
	    "\"b\\\"\":{\"content_type\":\"text/plain\",\"revpos\":2,\"digest\":\"md5-AAAAAAAAAAAAAAAAAAAAAA==\","
	    "\"length\":11,\"follows\":true}}}");
}

/* Whatever is wrong behind it: the first thing that is wrong is what is told. */
static void
test_first_fault(void)
{
	char in[512];
	struct doc_in doc;
	struct errtext why;

	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		if (strncmp(faults[i].in, "{\"_", 3) != 0 || faults[i].err == ERR_BAD_JSON)
			continue;
		snprintf(in, sizeof(in), "{\"_first\":1,%s", faults[i].in + 1);
		CHECK_INT(parse(in, strlen(in), &doc, &why), ERR_DOC_VALIDATION);
		CHECK_STR(why.text, "Bad special document member: _first");
	}
}

/* Cut off at each byte, in each of its members, it is no JSON. */
static const char full[] =
    "{\"_id\":\"a\\u0062c\",\"_rev\":\"2-\\u0062\",\"_deleted\":false,\"_revisions\":{\"start\":12,\"x\":[1],\"ids\":["
    "\"b\",\"c\",\"d\",\"e\",\"f\",\"g\",\"h\",\"i\",\"j\",\"k\"]},\"_attachments\":{\"on\\ne\":{\"data\":"
    "\"AA\\n\\r\\t ==\","
    "\"content_type\":\"t/\\u0078\"},\"two\":{\"stub\":true,\"revpos\":1,\"digest\":\"md5-AAAAAAAAAAAAAAAAAAAAAA==\","
    "\"length\":4,\"encoded_length\":5,\"encoding\":\"gzip\",\"x\":[]},\"three\":{\"follows\":true,\"length\":1.5},"
    "\"no\":7,\"four\":{\"stub\":1,\"data\":\"\"},\"five\":{\"data\":\"\"},\"two\":{\"data\":\"AAEC\"}},\"_conflicts\":"
    "[],"
    "\"_access\":1,\"body\":{\"with\":[\"more\",2,3.5],\"and\":\"strings\"}}";

static void
test_cut(void)
{
	struct doc_in doc;
	struct errtext why;
	char *in;

	for (size_t len = 0; len < sizeof(full) - 1; len++) {
		in = malloc(len + 1); /* so that a read behind the end is seen */
		if (!CHECK(in != NULL))
			return;
		memcpy(in, full, len);
		CHECK_INT(parse(in, len, &doc, &why), ERR_BAD_JSON);
		free(in);
	}
}

/* In an arena of each size up to one that is large enough: there is no memory, or all is there. */
static void
test_small_arenas(void)
{
	struct arena *a;
	struct doc_in doc;
	struct errtext why;
	struct jread j;
	int err = ERR_NOMEM;

	for (size_t max = 0; err != 0 && max < 65536; max += 16) {
		if (!CHECK_INT(arena_new(max, &a), 0))
			return;
		jread_init(&j, full, sizeof(full) - 1);
		err = doc_parse(&j, a, &doc, &why);
		CHECK(err == 0 || err == ERR_NOMEM);
		if (err == 0) {
			CHECK_MEM(doc.id.s, doc.id.len, "abc", 3);
			CHECK_INT(doc.nrevisions, 10);
			CHECK_INT(doc.revisions[9].gen, 3);
			CHECK_INT(doc.natts, 5);
			CHECK_MEM(doc.atts[0].name.s, doc.atts[0].name.len, "on\ne", 4);
			CHECK_INT(doc.atts[4].data.len, 3);
		}
		arena_free(a);
	}
	CHECK_INT(err, 0);
}

/* Digests that are none count for nothing; so does what a stub says that cannot be. */
static void
test_digests(void)
{
	static const char *const no[] = {"md5-", "md5-AAAA", "sha-AAAAAAAAAAAAAAAAAAAAAA==", "x", "", "md5-***",
	    "md5-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"};
	struct doc_in doc;
	struct errtext why;
	char in[256];

	for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++) {
		snprintf(in, sizeof(in),
		    "{\"_attachments\":{\"f\":{\"stub\":true,\"digest\":\"%s\",\"encoding\":\"br\"}}}", no[i]);
		CHECK_INT(parse(in, strlen(in), &doc, &why), 0);
		CHECK_INT(doc.natts, 1);
		CHECK_INT(doc.atts[0].has_digest, 0);
		CHECK_INT(doc.atts[0].encoding, DOC_IDENTITY);
	}
	snprintf(in, sizeof(in), "{\"_attachments\":{\"f\":{\"stub\":true,\"digest\":7,\"encoding\":7}}}");
	CHECK_INT(parse(in, strlen(in), &doc, &why), 0);
	CHECK_INT(doc.atts[0].has_digest, 0);
}

static void
check_revisions(const char *revisions, int err)
{
	struct doc_in doc;
	struct errtext why;
	char in[512];

	snprintf(in, sizeof(in), "{\"_revisions\":%s}", revisions);
	CHECK_INT(parse(in, strlen(in), &doc, &why), err);
}

static void
test_revisions(void)
{
	check_revisions("{\"start\":0,\"ids\":[\"1\"]}", 0);
	check_revisions("{\"start\":0,\"ids\":[\"1\",\"2\"]}", ERR_DOC_VALIDATION);
	check_revisions("{\"start\":0,\"ids\":[]}", 0);
	check_revisions("{\"start\":18446744073709551615,\"ids\":[\"a\"]}", ERR_DOC_VALIDATION);
	check_revisions("{\"start\":\"1\",\"ids\":[\"a\"]}", ERR_DOC_VALIDATION);
	check_revisions("{\"start\":1.5,\"ids\":[\"a\"]}", ERR_DOC_VALIDATION);
	check_revisions("{\"start\":2,\"ids\":[\"a\"],\"more\":{}}", 0);
}

/* Names and types that are too long, and attachments that are too many. */
static void
test_att_limits(void)
{
	struct doc_in doc;
	struct errtext why;
	struct buf b;

	buf_init(&b, 4u << 20);
	for (int of_type = 0; of_type < 2; of_type++) {
		for (int over = 0; over < 2; over++) {
			buf_clear(&b);
			buf_puts(&b, of_type ? "{\"_attachments\":{\"f\":{\"data\":\"\",\"content_type\":\""
					     : "{\"_attachments\":{\"");
			for (unsigned i = 0; i < LIMIT_ATT_NAME_LEN + (unsigned)over; i++)
				buf_putc(&b, 'n');
			buf_puts(&b, of_type ? "\"}}}" : "\":{\"data\":\"\"}}}");
			CHECK_INT(parse(b.data, b.len, &doc, &why), over ? ERR_BAD_REQUEST : 0);
			if (over)
				CHECK_STR(why.text, "Attachment name or type is too long");
		}
	}
	for (unsigned over = 0; over < 3; over++) {
		buf_clear(&b);
		buf_puts(&b, over == 2 ? "{\"_first\":1,\"_attachments\":{" : "{\"_attachments\":{");
		for (unsigned i = 0; i < LIMIT_ATTACHMENTS + over; i++)
			buf_printf(&b, "%s\"%u\":{\"data\":\"\"}", i > 0 ? "," : "", i);
		buf_puts(&b, "}}");
		CHECK_INT(parse(b.data, b.len, &doc, &why), over == 0   ? 0
							    : over == 1 ? ERR_BAD_REQUEST
									: ERR_DOC_VALIDATION);
		if (over == 1)
			CHECK_STR(why.text, "Too many attachments");
	}
	/* Repeated names count as often as they stand there: the last one would win. */
	for (unsigned over = 0; over < 2; over++) {
		buf_clear(&b);
		buf_puts(&b, "{\"_attachments\":{");
		for (unsigned i = 0; i < LIMIT_ATTACHMENTS + over; i++)
			buf_printf(&b, "%s\"%u\":{\"stub\":true,\"revpos\":%u}", i > 0 ? "," : "", i % 3, i);
		buf_puts(&b, "}}");
		CHECK_INT(parse(b.data, b.len, &doc, &why), over ? ERR_BAD_REQUEST : 0);
		if (over)
			CHECK_STR(why.text, "Too many attachments");
		for (unsigned i = 0; i < 3 && !over && CHECK_INT(doc.natts, 3); i++)
			CHECK_INT(doc.atts[i].revpos, LIMIT_ATTACHMENTS - 3 + i);
	}
	buf_release(&b);
}

int
main(void)
{
	if (arena_new(64u << 20, &arena) != 0)
		return 1;
	test_faults();
	test_bodies();
	test_members();
	test_attachments();
	test_limits();
	test_out();
	test_first_fault();
	test_cut();
	test_small_arenas();
	test_digests();
	test_revisions();
	test_att_limits();
	arena_free(arena);
	return check_done();
}
