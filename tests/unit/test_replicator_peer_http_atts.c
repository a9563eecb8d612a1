/* The peer behind HTTP against canned answers when a document is read or written with its attachments, piece by piece. */
#include <zlib.h>

#include "tests/unit/canned.h"

struct reading {
	struct pipe *pipe;
	char text[1 << 16];
	size_t len;
	int err;
};

static atomic_int readies;

static void
count_ready(struct peer_open *o)
{
	(void)o;
	readies++;
}

static void
wake(void *cookie)
{
	(void)cookie;
	pthread_mutex_lock(&peertest_lock);
	pthread_cond_broadcast(&peertest_cond);
	pthread_mutex_unlock(&peertest_lock);
}

/* Reads ${r}'s pipe to its end, or that of the call, whose flag is ${done}: one that fails early may leave the pipe alone. */
static void
read_pipe(struct reading *r, const int *done)
{
	size_t n;

	for (;;) {
		char piece[1000];
		int over;

		pthread_mutex_lock(&peertest_lock);
		over = *done;
		pthread_mutex_unlock(&peertest_lock);
		r->err = pipe_take(r->pipe, piece, sizeof(piece), &n, wake, r);
		if (r->err == ERR_AGAIN && !over) {
			usleep(500);
			continue;
		}
		if (r->err != 0)
			return;
		if (r->len + n <= sizeof(r->text))
			memcpy(r->text + r->len, piece, n);
		r->len += n;
	}
}

static int
open_doc(struct peer *p, struct peer_open *c, struct reading *r)
{
	int flag, err;

	memset(c, 0, sizeof(*c));
	memset(r, 0, sizeof(*r));
	if (pipe_new(&r->pipe) != 0)
		abort();
	c->id = canned_str("a");
	c->rev = canned_rev(CANNED_R1);
	c->pipe = r->pipe;
	c->ready = count_ready;
	readies = 0;
	peertest_prepare(&c->call, canned_arena, &flag);
	p->ops->open_doc(p, c);
	read_pipe(r, &flag);
	err = peertest_wait(&c->call, &flag);
	pipe_free(r->pipe);
	return err;
}

#define ATTDOC                                                                                                        \
	"{\"_id\":\"a\",\"_rev\":\"" CANNED_R1 "\",\"_revisions\":{\"start\":1,\"ids\":[\"" CANNED_H1                 \
	"\"]},\"_attachments\":{"                                                                                     \
	"\"x\":{\"content_type\":\"text/"                                                                             \
	"plain\",\"revpos\":1,\"digest\":\"md5-XUFAKrxLKna5cZ2REBfFkg==\",\"length\":5,\"follows\":true},"            \
	"\"old\":{\"content_type\":\"text/plain\",\"revpos\":1,\"digest\":\"md5-AAAA\",\"length\":50,\"stub\":true}," \
	"\"y\":{\"content_type\":\"a/"                                                                                \
	"b\",\"revpos\":1,\"digest\":\"md5-ICy5YqxZB1uWSwcVLSNLcA==\",\"length\":99,\"encoded_length\":3,"            \
	"\"encoding\":\"gzip\",\"follows\":true}}}"
#define INNER(x, y)                                                             \
	"--in\r\nContent-Type: application/json\r\n\r\n" ATTDOC                 \
	"\r\n--in\r\nContent-Disposition: attachment; filename=\"x\"\r\n\r\n" x \
	"\r\n--in\r\nContent-Encoding: gzip\r\n\r\n" y "\r\n--in--"
#define MIXED(part) "--out\r\n" part "\r\n--out--"
#define RELATED(x, y) "Content-Type: multipart/related; boundary=\"in\"\r\n\r\n" INNER(x, y)

/* The next time that "a" is asked for, ${headers} and ${body} are the answer. */
static void
answer_once(const char *headers, const char *body)
{
	peertest_add((struct peertest_rule){"GET", "/a?", 200, headers, body, .times = 1});
}

static void
test_open(void)
{
	struct peer *p = canned_peer(NULL);
	struct peer_open c;
	struct reading r;

	peertest_clear();
	answer_once("Content-Type: multipart/mixed; boundary=\"out\"\r\n", MIXED(RELATED("hello", "123")));
	CHECK_INT(open_doc(p, &c, &r), 0);
	CANNED_HAS(
	    peertest_head, "GET /db/a?attachments=true&revs=true&latest=true&open_revs=%5B%22" CANNED_R1 "%22%5D ");
	CANNED_HAS(peertest_head, "Accept: multipart/mixed,");
	CHECK_INT(readies, 1);
	CHECK_INT(c.natts, 2);
	CHECK_INT(c.atts[1].length, 3);
	CHECK_INT(c.atts[1].gzip, 1);
	CHECK_MEM(c.atts[0].name.s, c.atts[0].name.len, "x", 1);
	CHECK_MEM(c.doc.text.s, c.doc.text.len, ATTDOC, sizeof(ATTDOC) - 1);
	CHECK_INT(r.err, ERR_END);
	CHECK_MEM(r.text, r.len, "hello123", 8);
	/* Without the outer parts. */
	answer_once("Content-Type: multipart/related; boundary=in\r\n", INNER("hello", "123"));
	CHECK_INT(open_doc(p, &c, &r), 0);
	CHECK_MEM(r.text, r.len, "hello123", 8);
	/* None follows. */
	answer_once("Content-Type: multipart/mixed; boundary=\"out\"\r\n",
	    MIXED("Content-Type: application/json\r\n\r\n" CANNED_DOC2("a")));
	CHECK_INT(open_doc(p, &c, &r), 0);
	CHECK_INT(c.natts, 0);
	CHECK_INT(c.doc.rev.gen, 2);
	CHECK_INT(r.err, ERR_END);
	/* JSON with the attachments inside. */
	answer_once(NULL, "[{\"ok\":" CANNED_DOC1("a") "}]");
	CHECK_INT(open_doc(p, &c, &r), 0);
	CHECK_INT(readies, 1);
	CHECK_MEM(c.doc.text.s, c.doc.text.len, CANNED_DOC1("a"), sizeof(CANNED_DOC1("a")) - 1);
	/* Broken once before anything was told: asked again. */
	peertest_add((struct peertest_rule){"GET", "/a?", 200, "Content-Type: multipart/mixed; boundary=out\r\n",
	    "--out\r\nContent-Ty", .then = PT_CLOSE, .times = 1});
	answer_once("Content-Type: multipart/mixed; boundary=out\r\n", MIXED(RELATED("hello", "123")));
	CHECK_INT(open_doc(p, &c, &r), 0);
	CHECK_INT(readies, 1);
	CHECK_MEM(r.text, r.len, "hello123", 8);
	p->ops->close(p);
}

static void
test_bad_open(void)
{
	static const struct {
		int status;
		const char *type, *body;
		int err, ready;
		enum peertest_then then;
	} cases[] = {
	    {200, "multipart/mixed; boundary=out",
		MIXED("Content-Type: application/json; error=\"true\"\r\n\r\n{\"missing\":\"" CANNED_R1 "\"}"),
		ERR_MISSING, 0, PT_KEEP},
	    {200, "application/json", "[{\"missing\":\"" CANNED_R1 "\"}]", ERR_MISSING, 0, PT_KEEP},
	    {200, "application/json", "[]", ERR_MISSING, 0, PT_KEEP},
	    {404, "application/json", "{\"error\":\"not_found\",\"reason\":\"missing\"}", ERR_MISSING, 0, PT_KEEP},
	    {404, "application/json", "{\"error\":\"not_found\",\"reason\":\"Database does not exist.\"}", ERR_NO_DB, 0,
		PT_KEEP},
	    /* A database that says no more; a proxy's page. */
	    {500, "application/json", "{\"error\":\"oops\",\"reason\":\"x\"}", ERR_HELD_BACK, 0, PT_KEEP},
	    {500, "text/html", "<p>", ERR_IO, 0, PT_KEEP},
	    {502, "application/json", "{\"error\":\"oops\",\"reason\":\"x\"}", ERR_IO, 0, PT_KEEP},
	    {503, "application/json", "{\"error\":\"oops\",\"reason\":\"x\"}", ERR_BUSY, 0, PT_KEEP},
	    {200, "application/json", "[{\"ok\":" CANNED_DOC1("b") "}]", ERR_HELD_BACK, 0, PT_KEEP},
	    {200, "application/json", "[{\"ok\":" CANNED_OTHER("a") "}]", ERR_HELD_BACK, 0, PT_KEEP},
	    {200, "text/html", "<p>", ERR_IO, 0, PT_KEEP},
	    {200, "multipart/mixed", MIXED(RELATED("hello", "123")), ERR_HELD_BACK, 0, PT_KEEP},
	    {200, "multipart/mixed; boundary=out", "--out\r\n", ERR_HELD_BACK, 0, PT_KEEP},
	    {200, "multipart/mixed; boundary=out", "--out--", ERR_HELD_BACK, 0, PT_KEEP},
	    {200, "multipart/mixed; boundary=out",
		MIXED("Content-Type: multipart/related\r\n\r\n" INNER("hello", "123")), ERR_HELD_BACK, 0, PT_KEEP},
	    {200, "multipart/mixed; boundary=out", MIXED("Content-Type: application/json\r\n\r\n{"), ERR_HELD_BACK, 0,
		PT_KEEP},
	    {200, "multipart/mixed; boundary=out", MIXED(RELATED("hullo", "123")), ERR_HELD_BACK, 1, PT_KEEP},
	    {200, "multipart/mixed; boundary=out", MIXED(RELATED("hell", "123")), ERR_HELD_BACK, 1, PT_KEEP},
	    {200, "multipart/mixed; boundary=out", MIXED(RELATED("hello!", "123")), ERR_HELD_BACK, 1, PT_KEEP},
	    {200, "multipart/mixed; boundary=out", MIXED(RELATED("hello", "123\r\n--in\r\n\r\nx")), ERR_HELD_BACK, 1,
		PT_KEEP},
	    {200, "multipart/related; boundary=in", "--in\r\n\r\n" ATTDOC "\r\n--in--", ERR_HELD_BACK, 1, PT_KEEP},
	    {200, "multipart/related; boundary=in", "--in\r\n\r\n" ATTDOC "\r\n--in\r\n\r\nhel", ERR_HELD_BACK, 1,
		PT_CLOSE},
	    {200, "multipart/related; boundary=in", "--in\r\n\r\n" ATTDOC "\r\n--in\r\n\r\nhello\r\n--in\r\n\r\n12",
		ERR_HELD_BACK, 1, PT_KEEP},
	    {200, "multipart/related; boundary=in", INNER("hello", "123"), 0, 1, PT_ENDLESS},
	    {200, "multipart/mixed; boundary=out", "", ERR_HELD_BACK, 0, PT_ENDLESS},
	};
	struct peer *p = canned_peer(NULL);
	struct peer_open c;
	struct reading r;
	char type[128];
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		(void)snprintf(type, sizeof(type), "Content-Type: %s\r\n", cases[i].type);
		peertest_clear();
		peertest_add(
		    (struct peertest_rule){"GET", "/a?", cases[i].status, type, cases[i].body, .then = cases[i].then});
		if (!CHECK_INT(open_doc(p, &c, &r), cases[i].err) || !CHECK_INT(readies, cases[i].ready))
			fprintf(stderr, "case %zu: %s\n", i, c.call.why.text);
		CHECK_INT(r.err, cases[i].err != 0 ? cases[i].err : ERR_END);
		CHECK(cases[i].err == 0 || c.call.why.text[0] != '\0');
	}
	p->ops->close(p);
}

/* Lists in URLs become shorter when they are too long. */
static void
test_ancestors(void)
{
	struct peer *p = canned_peer(NULL);
	struct rev *many = arena_calloc(canned_arena, 1000, sizeof(*many));
	struct peer_open c = {.id = {"a", 1}, .ready = count_ready};
	struct pipe *pipe;
	char *query;
	size_t i;

	for (i = 0; i < 1000; i++)
		many[i] = canned_rev(CANNED_R1);
	peertest_clear();
	peertest_add((struct peertest_rule){"GET", "/a?", 414, NULL, "{}", .times = 1});
	peertest_rule("GET", "/a?", 200, "[{\"ok\":" CANNED_DOC1("a") "}]");
	if (pipe_new(&pipe) != 0)
		abort();
	c.rev = canned_rev(CANNED_R1);
	c.pipe = pipe;
	c.ancestors = many;
	c.nancestors = 1000;
	CHECK_INT(canned_do(p, open_doc, &c), 0);
	CHECK_INT(peertest_requests, 2);
	query = strstr(peertest_head, "&atts_since=%5B%22" CANNED_R1 "%22%2C%22" CANNED_R1 "%22");
	CHECK(query != NULL);
	CHECK(strcspn(peertest_head, "\r") < 3200);
	pipe_free(pipe);
	p->ops->close(p);
}

/* Where it is the id that is too long there is nothing to shorten, neither here nor for the documents behind it. */
static void
test_long_id(void)
{
	struct peer *p = canned_peer(NULL);
	struct rev *many = arena_calloc(canned_arena, 100, sizeof(*many));
	struct peer_open c = {.ready = count_ready, .ancestors = many, .nancestors = 100};
	char *id = arena_calloc(canned_arena, LIMIT_ID_LEN, 1);
	size_t i;

	for (i = 0; i < 100; i++)
		many[i] = canned_rev(CANNED_R1);
	memset(id, 'x', LIMIT_ID_LEN);
	peertest_clear();
	peertest_rule("GET", "/xxx", 414, "{}");
	peertest_rule("GET", "/a?", 200, "[{\"ok\":" CANNED_DOC1("a") "}]");
	c.rev = canned_rev(CANNED_R1);
	for (i = 0; i < 2; i++) {
		if (pipe_new(&c.pipe) != 0)
			abort();
		c.id = i == 0 ? (struct jstr){id, LIMIT_ID_LEN} : (struct jstr){"a", 1};
		CHECK_INT(canned_do(p, open_doc, &c), i == 0 ? ERR_BAD_URL : 0);
		pipe_free(c.pipe);
	}
	CHECK_INT(peertest_requests, 2);
	CHECK(strcspn(peertest_head, "\r") > 3200);
	p->ops->close(p);
}

struct feeding {
	struct pipe *pipe;
	size_t pieces;
	int end;
};

static void *
feed_pipe(void *arg)
{
	struct feeding *f = arg;
	static char piece[65536];
	int err = 0;

	memset(piece, 'p', sizeof(piece));
	while (f->pieces > 0) {
		err = pipe_put(f->pipe, piece, sizeof(piece), wake, f);
		if (err == ERR_AGAIN)
			usleep(500);
		else if (err != 0)
			return NULL;
		else
			f->pieces--;
	}
	pipe_end(f->pipe, f->end);
	return NULL;
}

static int put_of_all; /* of the last */

static int
put_doc(struct peer *p, size_t said, size_t sent, int end_err, struct errtext *why)
{
	static struct peer_doc doc = {.id = {"_design/a b", 11}, .text = {"{\"_id\":\"x\"}", 11}};
	struct peer_att atts[2] = {{.name = {"q\"\r\n", 4}, .type = {"t/x\nEvil: 1", 11}, .length = said},
	    {.name = {"z", 1}, .type = {"", 0}, .length = 0, .gzip = 1}};
	struct peer_put c = {.doc = &doc, .atts = atts, .natts = 2};
	struct feeding f = {.pieces = sent / 65536, .end = end_err};
	pthread_t thread;
	int err;

	if (pipe_new(&f.pipe) != 0 || pthread_create(&thread, NULL, feed_pipe, &f) != 0)
		abort();
	c.pipe = f.pipe;
	err = canned_do(p, put_doc, &c);
	pipe_stop(f.pipe, err); /* a call that was not made has not read from it */
	pthread_join(thread, NULL);
	pipe_free(f.pipe);
	*why = c.call.why;
	put_of_all = c.of_all;
	return err;
}

static void
test_put(void)
{
	struct peer *p = canned_peer(NULL);
	struct errtext why;
	const char *boundary;

	peertest_clear();
	peertest_add(
	    (struct peertest_rule){"PUT", "/_design/a%20b?new_edits=false ", 201, NULL, "{\"ok\":true}", .times = 0});
	CHECK_INT(put_doc(p, 10 * 65536, 10 * 65536, 0, &why), 0);
	boundary = strstr(peertest_head, "boundary=\"");
	if (CHECK(boundary != NULL)) {
		char want[512];
		size_t n = (size_t)snprintf(want, sizeof(want),
		    "--%.32s\r\nContent-Type: "
		    "application/json\r\n\r\n{\"_id\":\"x\"}\r\n--%.32s\r\nContent-Disposition: attachment; "
		    "filename=\"q\\\"  \"\r\nContent-Type: t/x Evil: 1\r\nContent-Length: 655360\r\n\r\n",
		    boundary + 10, boundary + 10);
		size_t m;

		CHECK_MEM(peertest_body, n, want, n);
		m = (size_t)snprintf(want, sizeof(want),
		    "p\r\n--%.32s\r\nContent-Disposition: attachment; filename=\"z\"\r\nContent-Type: "
		    "application/octet-stream\r\n"
		    "Content-Length: 0\r\nContent-Encoding: gzip\r\n\r\n\r\n--%.32s--",
		    boundary + 10, boundary + 10);
		CHECK_INT(peertest_body_len, n + 655360 + m - 1);
		CHECK_MEM(peertest_body + peertest_body_len - m, m, want, m);
	}
	/* The source breaks off, or has less than it said: the target has not the whole. */
	CHECK_INT(put_doc(p, 10 * 65536, 65536, ERR_CORRUPT, &why), ERR_CORRUPT);
	CHECK_INT(put_doc(p, 10 * 65536, 65536, 0, &why), ERR_IO);
	p->ops->close(p);
}

/* ${len} bytes of "p" as gzip; returns the length. */
static size_t
pack(char *out, size_t room, size_t len)
{
	char *plain = arena_alloc(canned_arena, len);
	z_stream z;

	memset(&z, 0, sizeof(z));
	memset(plain, 'p', len);
	if (deflateInit2(&z, 8, Z_DEFLATED, MAX_WBITS + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
		abort();
	z.next_in = (unsigned char *)plain;
	z.avail_in = (uInt)len;
	z.next_out = (unsigned char *)out;
	z.avail_out = (uInt)room;
	CHECK_INT(deflate(&z, Z_FINISH), Z_STREAM_END);
	(void)deflateEnd(&z);
	return room - z.avail_out;
}

/* PouchDB gets attachments as they are; what is no gzip, or is longer or shorter than it says, is not sent whole. */
static void
test_put_plain(void)
{
	static const struct {
		size_t said;
		int spoilt, err;
	} cases[] = {{200000, 0, 0}, {199999, 0, ERR_NOT_GZIP}, {200001, 0, ERR_NOT_GZIP}, {1, 0, ERR_NOT_GZIP},
	    {200000, 1, ERR_NOT_GZIP}};
	struct peer *p = canned_peer(NULL);
	struct peer_info about;
	char text[512], packed[4096];
	size_t i, len = pack(packed, sizeof(packed), 200000);

	peertest_clear();
	peertest_rule("GET", " ", 200, "{\"update_seq\":1,\"backend_adapter\":\"x\"}");
	peertest_rule("PUT", "/a?new_edits=false ", 201, "{\"ok\":true}");
	CHECK_INT(canned_info(p, &about), 0);
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct peer_att att = {.name = {"t", 1}, .type = {"a/b", 3}, .length = len, .gzip = 1};
		struct peer_doc doc = {.id = {"a", 1}};
		struct peer_put c = {.doc = &doc, .atts = &att, .natts = 1};

		doc.text.len = (size_t)snprintf(text, sizeof(text),
		    "{\"_id\":\"a\",\"_rev\":\"" CANNED_R1 "\",\"_attachments\":{\"t\":{\"follows\":true,\"encoding\":"
		    "\"gzip\",\"length\":%zu,\"encoded_length\":%zu}}}",
		    cases[i].said, len);
		doc.text.s = text;
		if (pipe_new(&c.pipe) != 0)
			abort();
		packed[2] ^= (char)cases[i].spoilt;
		CHECK_INT(pipe_put(c.pipe, packed, len, wake, NULL), 0);
		pipe_end(c.pipe, 0);
		CHECK_INT(canned_do(p, put_doc, &c), cases[i].err);
		pipe_free(c.pipe);
		if (i > 0)
			continue;
		CHECK(strstr(peertest_body, "Content-Length: 200000\r\n\r\nppp") != NULL);
		CHECK(strstr(peertest_body, "Content-Encoding") == NULL);
		CHECK(memmem(peertest_body + peertest_body_len - 50, 50, "ppp\r\n--", 7) != NULL);
	}
	p->ops->close(p);
}

/* As every version of its server's reader takes them: older ones know four digits alone. */
static void
test_put_names(void)
{
	static const char text[] = "{\"_id\":\"a\",\"_rev\":\"" CANNED_R1
				   "\",\"_attachments\":{\"a&\\n\\\"\":{\"follows\":true,\"length\":0}}}";
	struct peer_att att = {.name = {"a&\n\"", 4}, .type = {"a/b", 3}};
	struct peer_doc doc = {.id = {"a", 1}, .text = {text, sizeof(text) - 1}};
	struct peer_put c = {.doc = &doc, .atts = &att, .natts = 1};
	struct peer *p = canned_peer(NULL);
	struct peer_info about;
	char name[LIMIT_ATT_NAME_LEN];

	peertest_clear();
	peertest_rule("GET", " ", 200, "{\"update_seq\":1,\"auto_compaction\":false}");
	peertest_rule("PUT", "/a?new_edits=false ", 201, "{\"ok\":true}");
	CHECK_INT(canned_info(p, &about), 0);
	if (pipe_new(&c.pipe) != 0)
		abort();
	pipe_end(c.pipe, 0);
	CHECK_INT(canned_do(p, put_doc, &c), 0);
	CHECK(strstr(peertest_body, "filename=\"a&#0038;&#0010;&#0034;\"") != NULL);

	/* Its reader ends at a header of more than 16 KiB. */
	memset(name, '&', sizeof(name));
	att.name = (struct jstr){name, sizeof(name)};
	CHECK_INT(canned_do(p, put_doc, &c), ERR_DOC_VALIDATION);
	CANNED_HAS(c.call.why.text, "16 KiB");
	CHECK_INT(c.of_all, 0);
	CHECK_INT(peertest_requests, 2);
	pipe_free(c.pipe);
	p->ops->close(p);
}

static void
test_refused_put(void)
{
	static const struct {
		int status;
		const char *body;
		int err;
		int of_all;
	} cases[] = {
	    {412, "{\"error\":\"missing_stub\",\"reason\":\"x\"}", ERR_MISSING_STUB, 0},
	    {413, "{\"error\":\"document_too_large\"}", ERR_DOC_TOO_LARGE, 0},
	    {403, "{\"error\":\"forbidden\",\"reason\":\"x\"}", ERR_FORBIDDEN, 0},
	    {401, "{\"error\":\"unauthorized\",\"reason\":\"x\"}", ERR_UNAUTHORIZED, 0},
	    {400, "{\"error\":\"doc_validation\",\"reason\":\"x\"}", ERR_DOC_VALIDATION, 0},
	    {404, "{\"error\":\"not_found\",\"reason\":\"no_db_file\"}", ERR_NO_DB, 0},
	    {500, "{}", ERR_IO, 0},
	    {500, "{\"error\":\"TypeError\",\"reason\":\"x\"}", ERR_HELD_BACK, 0},
	    {502, "{\"error\":\"TypeError\",\"reason\":\"x\"}", ERR_IO, 0},
	    {507, "{\"error\":\"insufficient_storage\"}", ERR_NOSPACE, 0},
	    /* Its URL is short. */
	    {414, "{}", ERR_IO, 0},
	    /* Of a proxy, which has not written it. */
	    {200, "OK", ERR_IO, 0},
	    {201, "", ERR_IO, 0},
	    {201, "{\"ok\":true", ERR_IO, 0},
	    /* Of a proxy, and not of the document. */
	    {403, "<html>Forbidden</html>", ERR_FORBIDDEN, 1},
	    {401, "Unauthorized", ERR_UNAUTHORIZED, 1},
	    {401, "", ERR_UNAUTHORIZED, 1},
	    {403, "", ERR_FORBIDDEN, 1},
	    {403, "{\"message\":\"Forbidden\"}", ERR_FORBIDDEN, 1},
	    {413, "<html>Request Entity Too Large</html>", ERR_DOC_TOO_LARGE, 0},
	};
	struct peer *p = canned_peer(NULL);
	struct errtext why;
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		/* Also while it still sends: far more than connections hold. */
		peertest_clear();
		peertest_add(
		    (struct peertest_rule){"PUT", "/_design/", cases[i].status, NULL, cases[i].body, .then = PT_EARLY});
		if (!CHECK_INT(put_doc(p, 1u << 30, 1u << 30, 0, &why), cases[i].err) ||
		    !CHECK_INT(put_of_all, cases[i].of_all))
			fprintf(stderr, "%d: %s\n", cases[i].status, why.text);
	}
	p->ops->close(p);
}

int
main(void)
{
	canned_begin();
	test_open();
	test_bad_open();
	test_ancestors();
	test_long_id();
	test_put();
	test_put_plain();
	test_put_names();
	test_refused_put();
	canned_end();
	return check_done();
}
