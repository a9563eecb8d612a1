/* The peer behind HTTP against canned answers to calls about many documents: changes, what is missing, writes, and documents without attachments. */
#include "replicator/peer_http_json.h"
#include "tests/unit/canned.h"
#include "tests/unit/faults.h"

enum { ALLOC = 1 };

static _Thread_local int is_caller; /* what is made for a call fails, and nothing of libcurl's thread */

static inline int
refused(size_t size)
{
	(void)size;
	return is_caller && fault_due(ALLOC);
}

FAULTS_MALLOCS(refused)

/* ---- Changes ---- */

#define ROW(seq, id) "{\"seq\":" seq ",\"id\":\"" id "\",\"changes\":[{\"rev\":\"" CANNED_R1 "\"}]}"

static int
changes(struct peer *p, struct peer_changes *c, const char *since, size_t limit, int wait)
{
	memset(c, 0, sizeof(*c));
	c->since = canned_str(since);
	c->limit = limit;
	c->wait = wait;
	return canned_do(p, changes, c);
}

static void
test_changes(void)
{
	struct peer *p = canned_peer(NULL);
	struct peer_changes c;

	canned_only("GET", "/_changes?", 200,
	    "\n\n{\"x\":{\"y\":[1]},\"results\":[\n" ROW(
		"\"1-a\"", "a") ",\n{\"doc\":{},\"seq\":[2,\"b\"],\"id\":\"\\u0062\",\"deleted\":true,"
				"\"changes\":[{\"rev\":\"" CANNED_R2 "\"},{\"rev\":\"" CANNED_R1
				"\",\"z\":0}]}\n],\n\"last_seq\":\"3-c\",\"pending\":0}\n");
	CHECK_INT(changes(p, &c, "\"0-x/y\"", 10, 0), 0);
	CANNED_HAS(peertest_head, "feed=normal&style=all_docs&limit=10&heartbeat=");
	CANNED_HAS(peertest_head, "&since=0-x%2Fy ");
	CHECK_INT(c.n, 2);
	CHECK_MEM(c.rows[0].seq.s, c.rows[0].seq.len, "\"1-a\"", 5);
	CHECK_MEM(c.rows[1].id.s, c.rows[1].id.len, "b", 1);
	CHECK_MEM(c.rows[1].seq.s, c.rows[1].seq.len, "[2,\"b\"]", 7);
	CHECK_INT(c.rows[1].deleted, 1);
	CHECK_INT(c.rows[1].nrevs, 2);
	CHECK_INT(c.rows[1].revs[0].gen, 2);
	CHECK_MEM(c.last_seq.s, c.last_seq.len, "\"3-c\"", 5);
	CHECK_INT(c.pending, 0);
	CHECK_INT(c.more, 0);
	CHECK_INT(changes(p, &c, "17", 2, 0), 0);
	CANNED_HAS(peertest_head, "&since=17 ");
	CHECK_INT(c.more, 0);
	/* More than was asked for: the rest is left. */
	CHECK_INT(changes(p, &c, "", 1, 0), 0);
	CHECK(strstr(peertest_head, "since") == NULL);
	CHECK_INT(c.n, 1);
	CHECK_INT(c.more, 1);
	CHECK_INT(c.pending, -1);
	CHECK_MEM(c.last_seq.s, c.last_seq.len, "\"1-a\"", 5);
	/* The same again and again is no progress. */
	CHECK_INT(changes(p, &c, "[2,\"b\"]", 10, 0), ERR_IO);
	/* A page that is not full, of a peer that says that there is more. */
	canned_only("GET", "/_changes?", 200, "{\"results\":[" ROW("1", "a") "],\"last_seq\":1,\"pending\":7}");
	CHECK_INT(changes(p, &c, "", 10, 0), 0);
	CHECK_INT(c.more, 1);
	p->ops->close(p);
}

/* An answer without changes, of a peer that says that there are some: it is asked on, if it came any further. */
static void
test_none_yet(void)
{
	static const char none[] = "{\"results\":[],\"last_seq\":\"5-x\",\"pending\":7}";
	const struct peer_filter by_name = {.filter = canned_str("d/f")}, design = {.filter = canned_str("_design")};
	struct peer *p = canned_peer(&by_name);
	struct peer_changes c;

	canned_only("GET", "/_changes?", 200, none);
	CHECK_INT(changes(p, &c, "\"4-w\"", 10, 0), 0);
	CHECK_INT(c.n, 0);
	CHECK_INT(c.more, 1);
	CHECK_INT(changes(p, &c, "\"5-x\"", 10, 0), ERR_IO);
	CANNED_HAS(c.call.why.text, "pending");
	canned_only("GET", "/_changes?", 200, "{\"results\":[],\"last_seq\":\"5-x\",\"pending\":null}");
	CHECK_INT(changes(p, &c, "\"4-w\"", 10, 0), 0);
	CHECK_INT(c.more, 0);
	p->ops->close(p);
	/* What CouchDB counts here is all that is behind, design documents or not. */
	p = canned_peer(&design);
	canned_only("GET", "/_changes?", 200, none);
	CHECK_INT(changes(p, &c, "\"5-x\"", 10, 0), 0);
	CHECK_INT(c.more, 0);
	p->ops->close(p);
}

/* Documents beyond what is kept here are told of as such: the others of the page come all the same. */
static void
test_changes_beyond_bounds(void)
{
	struct peer *p = canned_peer(NULL);
	struct peer_changes c;
	struct buf b;
	size_t i, k;

	buf_init(&b, 4u << 20);
	buf_puts(&b, "{\"results\":[" ROW("1", "a"));
	for (i = 0; i < 3; i++) { /* ids: as long as may be, one byte more, and far more with escapes */
		buf_printf(&b, ",{\"seq\":%zu,\"id\":\"", i + 2);
		for (k = 0; k < LIMIT_ID_LEN + (i > 0); k++)
			buf_puts(&b, i == 2 ? "\\u0001\\u0001" : "x");
		buf_puts(&b, "\",\"changes\":[{\"rev\":\"" CANNED_R1 "\"}]}");
	}
	for (i = 0; i < 2; i++) { /* as many leaves as may be, and one more */
		buf_printf(&b, ",{\"seq\":%zu,\"id\":\"leaves\",\"changes\":[", i + 5);
		for (k = 0; k < LIMIT_LEAVES + i; k++)
			buf_printf(&b, "%s{\"rev\":\"1-%032zx\"}", k > 0 ? "," : "", k);
		buf_puts(&b, "]}");
	}
	buf_puts(&b, ",{\"seq\":7,\"id\":\"rev\",\"changes\":[{\"rev\":\"" CANNED_R1 "\"},{\"rev\":\"1-");
	for (k = 0; k <= LIMIT_REV_LEN; k++)
		buf_putc(&b, 'y');
	buf_puts(&b, "\"}]}," ROW("8", "z") "],\"last_seq\":8,\"pending\":0}");
	buf_putc(&b, '\0');
	canned_only("GET", "/_changes?", 200, b.data);
	if (CHECK_INT(changes(p, &c, "", 100, 0), 0) && CHECK_INT(c.n, 8)) {
		static const int errs[8] = {
		    0, 0, ERR_DOC_TOO_LARGE, ERR_DOC_TOO_LARGE, 0, ERR_DOC_TOO_LARGE, ERR_DOC_TOO_LARGE, 0};

		for (i = 0; i < 8; i++) {
			CHECK_INT(c.rows[i].err, errs[i]);
			CHECK_INT(c.rows[i].nrevs, errs[i] != 0 ? 0 : i == 4 ? LIMIT_LEAVES : 1);
			CHECK((c.rows[i].why != NULL) == (errs[i] != 0));
		}
		CHECK_INT(c.rows[1].id.len, LIMIT_ID_LEN);
		CHECK(c.rows[2].id.len < 1000 && c.rows[3].id.len < 1000);
		CANNED_HAS(c.rows[2].why->text, "8192 bytes");
		CANNED_HAS(c.rows[5].why->text, "10001");
		CANNED_HAS(c.rows[6].why->text, "1-yyyy");
	}
	peertest_release(&b);
	p->ops->close(p);
}

/* Of an id that is not kept nothing but its beginning takes memory. */
static void
test_endless_id(void)
{
	struct peer *p = canned_peer(NULL);
	struct arena *small;
	struct peer_changes c = {.limit = 10};
	struct buf b;
	size_t i;

	buf_init(&b, 4u << 20);
	buf_puts(&b, "{\"results\":[{\"seq\":1,\"id\":\"");
	for (i = 0; i < 2u << 20; i++)
		buf_putc(&b, 'x');
	buf_puts(&b, "\",\"changes\":[{\"rev\":\"" CANNED_R1 "\"}]}],\"last_seq\":1,\"pending\":0}");
	buf_putc(&b, '\0');
	canned_only("GET", "/_changes?", 200, b.data);
	if (arena_new(1u << 20, &small) != 0)
		abort();
	if (CHECK_INT(peertest_do(p, changes, &c, small), 0) && CHECK_INT(c.n, 1)) {
		CHECK_INT(c.rows[0].err, ERR_DOC_TOO_LARGE);
		CHECK_MEM(c.rows[0].id.s, 3, "xxx", 3);
	}
	arena_free(small);
	peertest_release(&b);
	p->ops->close(p);
}

static void
test_bad_changes(void)
{
	static const char *const bodies[] = {"{\"results\":[" ROW("1", "a"), "{\"results\":[" ROW("1", "a") "]}",
	    "{\"last_seq\":1}",
	    "{\"results\":[{\"id\":\"a\",\"changes\":[{\"rev\":\"" CANNED_R1 "\"}]}],\"last_seq\":1}",
	    "{\"results\":[" ROW("null", "a") "],\"last_seq\":1}", "{\"results\":[" ROW("1", "") "],\"last_seq\":1}",
	    "{\"results\":[{\"seq\":1,\"id\":\"a\",\"changes\":[]}],\"last_seq\":1}",
	    "{\"results\":[{\"seq\":1,\"id\":\"a\",\"changes\":[{\"rev\":\"x\"}]}],\"last_seq\":1}",
	    "{\"results\":[{\"seq\":1,\"id\":7,\"changes\":[{\"rev\":\"" CANNED_R1 "\"}]}],\"last_seq\":1}",
	    "{\"results\":{},\"last_seq\":1}", "[]", "null", "{\"results\":[1],\"last_seq\":1}"};
	struct peer *p = canned_peer(NULL);
	struct peer_changes c;
	size_t i;

	for (i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		canned_only("GET", "/_changes?", 200, bodies[i]);
		if (!CHECK_INT(changes(p, &c, "", 10, 0), ERR_IO))
			fprintf(stderr, "%s\n", bodies[i]);
		CANNED_HAS(c.call.why.text, "/_changes: its answer ");
	}
	p->ops->close(p);
}

/* An answer that does not end is cut where it has become too much, behind a row. */
static void
test_endless_changes(void)
{
	static const char row[] = ",\n" ROW("12345", "some-document");
	struct peer *p = canned_peer(NULL);
	size_t room = (size_t)5 << 20, len = 0;
	char *text = arena_alloc(canned_arena, room + sizeof(row));
	struct peer_changes c;

	len = (size_t)snprintf(text, room, "{\"results\":[" ROW("1", "a"));
	while (len < room) {
		memcpy(text + len, row, sizeof(row) - 1);
		len += sizeof(row) - 1;
	}
	peertest_clear();
	peertest_add((struct peertest_rule){"GET", "/_changes?", 200, NULL, text, .body_len = len, .then = PT_ENDLESS});
	CHECK_INT(changes(p, &c, "", 100, 0), 0);
	CHECK_INT(c.n, 100);
	CHECK_INT(c.more, 1);
	CHECK_INT(changes(p, &c, "", 1000000, 0), 0);
	CHECK(c.n > 1000 && c.n < 1000000);
	CHECK_INT(c.more, 1);
	p->ops->close(p);
}

static void
test_filters(void)
{
	struct jstr ids[2] = {canned_str("a\"b"), canned_str("c")};
	struct peer_filter by_ids = {.doc_ids = ids, .ndoc_ids = 2, .winners = 1};
	struct peer_filter by_selector = {.selector = canned_str("{\"a\":1}")};
	struct peer_filter by_view = {
	    .filter = canned_str("_view"), .query = canned_str("{\"view\":\"d/v\",\"key\":\"k\",\"limit\":3,\"n\":7}")};
	struct peer_filter by_name = {
	    .filter = canned_str("d/f"), .query = canned_str("{\"key\":\"k\",\"o\":{\"x\":1}}")};
	struct peer_changes c;
	struct peer *p;

	peertest_clear();
	peertest_rule("POST", "/_changes?", 200, "{\"results\":[],\"last_seq\":1}");
	peertest_add(
	    (struct peertest_rule){"GET", "/_changes?", 200, NULL, "{\"results\":[],\"last_seq\":1}", .times = 2});
	peertest_add((struct peertest_rule){"GET", "/_changes?", 404, NULL,
	    "{\"error\":\"not_found\",\"reason\":\"missing json key: f\"}", .times = 0});
	p = canned_peer(&by_ids);
	CHECK_INT(changes(p, &c, "", 5, 0), 0);
	CANNED_HAS(peertest_head, "style=main_only");
	CANNED_HAS(peertest_head, "&filter=_doc_ids ");
	CANNED_HAS(peertest_head, "Content-Type: application/json\r\n");
	CHECK_STR(peertest_body, "{\"doc_ids\":[\"a\\\"b\",\"c\"]}");
	p->ops->close(p);
	p = canned_peer(&by_selector);
	CHECK_INT(changes(p, &c, "", 5, 0), 0);
	CANNED_HAS(peertest_head, "&filter=_selector ");
	CHECK_STR(peertest_body, "{\"selector\":{\"a\":1}}");
	p->ops->close(p);
	p = canned_peer(&by_view);
	CHECK_INT(changes(p, &c, "", 5, 0), 0);
	CANNED_HAS(peertest_head, "&filter=_view&view=d%2Fv&key=%22k%22&n=7 ");
	p->ops->close(p);
	p = canned_peer(&by_name);
	CHECK_INT(changes(p, &c, "", 5, 0), 0);
	CANNED_HAS(peertest_head, "&filter=d%2Ff&key=k&o=%7B%22x%22%3A1%7D ");
	CHECK_INT(changes(p, &c, "", 5, 0), ERR_MISSING);
	CANNED_HAS(c.call.why.text, "the filter d/f: ");
	CANNED_HAS(c.call.why.text, "missing json key");
	p->ops->close(p);
}

/* Without memory for it a filter's parameter is not another one. */
static void
test_parameter_without_memory(void)
{
	const struct peer_filter f = {.filter = canned_str("d/f"), .query = canned_str("{\"x\":\"a\\\"b\"}")};
	struct peer *p = canned_peer(&f);
	struct peer_changes c = {.limit = 10};
	unsigned n = 0;
	int flag, err;

	canned_only("GET", "/_changes?", 200, "{\"results\":[],\"last_seq\":1}");
	do {
		peertest_prepare(&c.call, canned_arena, &flag);
		fault_begin(ALLOC, ++n, 0);
		is_caller = 1;
		p->ops->changes(p, &c);
		is_caller = 0;
		fault.what = 0;
		err = peertest_wait(&c.call, &flag);
		if (err == 0)
			CANNED_HAS(peertest_head, "&x=a%22b ");
		else
			CHECK_INT(err, ERR_NOMEM);
	} while (fault.made);
	CHECK_INT(err, 0);
	p->ops->close(p);
}

/* However many long polls end with nothing, they take none of the call's memory. */
static void
test_waiting_on(void)
{
	static char text[32768];
	struct peer *p = canned_peer(NULL);
	struct peer_changes c = {.limit = 10, .wait = 1};
	struct arena *a;
	int len = snprintf(text, sizeof(text), "{\"results\":[],\"last_seq\":\"5-%030000d\"}", 0);

	CHECK_INT(arena_new(50000, &a), 0);
	peertest_clear();
	peertest_add((struct peertest_rule){"GET", "/_changes?", 200, NULL, text, .body_len = (size_t)len, .times = 2});
	peertest_rule("GET", "/_changes?", 200, "{\"results\":[" ROW("\"6-y\"", "a") "],\"last_seq\":\"6-y\"}");
	CHECK_INT(peertest_do(p, changes, &c, a), 0);
	CHECK_INT(peertest_requests, 3);
	CHECK_MEM(c.last_seq.s, c.last_seq.len, "\"6-y\"", 5);
	if (CHECK_INT(c.n, 1))
		CHECK_MEM(c.rows[0].id.s, c.rows[0].id.len, "a", 1);
	p->ops->close(p);
	arena_free(a);
}

/* A long poll may end with nothing: it is asked again, from there; one that waits can be cancelled. */
static void
test_waiting(void)
{
	struct peer *p = canned_peer(NULL);
	struct peer_changes c;
	int flag;

	peertest_clear();
	peertest_add((struct peertest_rule){
	    "GET", "/_changes?feed=longpoll", 200, NULL, "\n\n{\"results\":[],\"last_seq\":\"5-x\"}", .times = 1});
	peertest_rule("GET", "/_changes?feed=longpoll", 200,
	    "{\"results\":[" ROW("\"6-y\"", "a") "],\"last_seq\":\"6-y\",\"pending\":0}");
	CHECK_INT(changes(p, &c, "\"4-w\"", 10, 1), 0);
	CANNED_HAS(peertest_head, "&since=5-x ");
	CHECK_INT(c.n, 1);
	CHECK_INT(peertest_requests, 2);

	peertest_clear();
	peertest_held = 0;
	peertest_add((struct peertest_rule){"GET", "/_changes?", 200, NULL, "\n", .then = PT_HOLD});
	memset(&c, 0, sizeof(c));
	c.limit = 10;
	c.wait = 1;
	peertest_prepare(&c.call, canned_arena, &flag);
	p->ops->changes(p, &c);
	while (peertest_held == 0)
		usleep(1000);
	p->ops->cancel(p, &c.call);
	CHECK_INT(peertest_wait(&c.call, &flag), ERR_CANCELLED);
	/* Just ended. */
	p->ops->cancel(p, &c.call);
	p->ops->close(p);
}

/* ---- What is missing, and writes ---- */

static void
test_diff(void)
{
	struct rev one[2], two[1];
	struct peer_want wants[2];
	struct peer_diff c = {.wants = wants, .n = 2};
	struct peer *p = canned_peer(NULL);

	one[0] = canned_rev(CANNED_R1);
	one[1] = canned_rev(CANNED_R2);
	two[0] = canned_rev(CANNED_R1);
	wants[0] = (struct peer_want){.id = canned_str("z\"1"), .revs = one, .nrevs = 2};
	wants[1] = (struct peer_want){.id = canned_str("a"), .revs = two, .nrevs = 1};
	canned_only("POST", "/_revs_diff", 200,
	    "{\"z\\\"1\":{\"missing\":[\"" CANNED_R2 "\"],\"possible_ancestors\":[\"" CANNED_R1 "\"]}}");
	CHECK_INT(canned_do(p, diff, &c), 0);
	CHECK_STR(peertest_body, "{\"z\\\"1\":[\"" CANNED_R1 "\",\"" CANNED_R2 "\"],\"a\":[\"" CANNED_R1 "\"]}");
	CHECK_INT(wants[0].nrevs, 1);
	CHECK_INT(wants[0].revs[0].gen, 2);
	CHECK_INT(wants[0].nancestors, 1);
	CHECK_INT(wants[1].nrevs, 0);
	/* Asked about twice: what is said is of the second alone. */
	one[0] = canned_rev(CANNED_R1);
	wants[0] = (struct peer_want){.id = canned_str("a"), .revs = one, .nrevs = 1};
	two[0] = canned_rev(CANNED_R2);
	wants[1].nrevs = 1;
	canned_only("POST", "/_revs_diff", 200, "{}");
	CHECK_INT(canned_do(p, diff, &c), 0);
	CHECK_INT(wants[0].nrevs, 1);
	CHECK_INT(wants[1].nrevs, 1);
	one[1] = canned_rev(CANNED_R2);
	wants[0] = (struct peer_want){.id = canned_str("z\"1"), .revs = one, .nrevs = 2};
	two[0] = canned_rev(CANNED_R1);
	{
		static const char *const bad[] = {"{\"b\":{\"missing\":[\"" CANNED_R2 "\"]}}",
		    "{\"a\":{\"missing\":[\"" CANNED_R2 "\"]}}",
		    "{\"a\":{\"missing\":[\"" CANNED_R1 "\",\"" CANNED_R1 "\"]}}", "{\"a\":{\"missing\":[1]}}",
		    "{\"a\":[\"" CANNED_R1 "\"]}", "{\"a\":{\"missing\":\"x\"}}", "[]", "{",
		    "{\"a\":{\"missing\":[\"x\"]}}"};
		size_t i;

		for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
			wants[0].nrevs = 2;
			wants[1].nrevs = 1;
			canned_only("POST", "/_revs_diff", 200, bad[i]);
			if (!CHECK_INT(canned_do(p, diff, &c), ERR_IO))
				fprintf(stderr, "%s\n", bad[i]);
		}
	}
	/* One may be to blame: fewer are asked for then, without a rest; where there is one, it may pass. */
	for (c.n = 1; c.n <= 2; c.n++) {
		canned_only("POST", "/_revs_diff", 500, "{\"error\":\"badmatch\",\"reason\":\"x\"}");
		CHECK_INT(canned_do(p, diff, &c), ERR_HELD_BACK);
		CHECK_INT(peertest_requests, c.n > 1 ? 1 : canned_spec.retries + 1);
	}
	p->ops->close(p);
}

static void
test_write(void)
{
	struct peer_doc docs[3] = {{.id = {"a", 1}, .text = {"{\"_id\":\"a\"}", 11}},
	    {.id = {"b", 1}, .text = {"{\"_id\":\"b\"}", 11}},
	    {.id = {"b", 1}, .text = {"{\"_id\":\"b\",\"c\":1}", 17}}};
	struct peer_write c = {.docs = docs, .n = 3};
	struct peer *p = canned_peer(NULL);

	docs[0].rev = docs[1].rev = canned_rev(CANNED_R1);
	docs[2].rev = canned_rev(CANNED_R2);
	peertest_clear();
	peertest_add((struct peertest_rule){"POST", "/_bulk_docs", 201, NULL, "[]", .times = 1});
	CHECK_INT(canned_do(p, write, &c), 0);
	CHECK_STR(
	    peertest_body, "{\"new_edits\":false,\"docs\":[{\"_id\":\"a\"},{\"_id\":\"b\"},{\"_id\":\"b\",\"c\":1}]}");
	CHECK(docs[0].err == 0 && docs[1].err == 0 && docs[2].err == 0);
	peertest_rule("POST", "/_bulk_docs", 201,
	    "[{\"id\":\"b\",\"rev\":\"" CANNED_R2
	    "\",\"error\":\"forbidden\",\"reason\":\"no\"},{\"ok\":true,\"id\":\"b\",\"rev\":\"" CANNED_R1 "\"},"
	    "{\"id\":\"a\",\"error\":\"missing_stub\"}]");
	CHECK_INT(canned_do(p, write, &c), 0);
	CHECK_INT(docs[0].err, ERR_MISSING_STUB);
	CHECK_INT(docs[1].err, 0);
	CHECK_INT(docs[2].err, ERR_FORBIDDEN);
	CANNED_HAS(docs[2].why->text, "forbidden: no");
	/* An error that is no word is one all the same. */
	canned_only("POST", "/_bulk_docs", 201,
	    "[{\"id\":\"a\",\"error\":true,\"reason\":\"no\"},{\"id\":\"b\",\"error\":null}]");
	CHECK_INT(canned_do(p, write, &c), 0);
	CHECK_INT(docs[0].err, ERR_HELD_BACK);
	CHECK_INT(docs[1].err, 0);
	/* A word that is not known is said of its document; these are of the server. */
	canned_only("POST", "/_bulk_docs", 201,
	    "[{\"id\":\"a\",\"error\":\"TypeError\",\"reason\":\"x\"},{\"id\":\"b\",\"error\":\"insufficient_storage\"}"
	    "]");
	CHECK_INT(canned_do(p, write, &c), 0);
	CHECK_INT(docs[0].err, ERR_HELD_BACK);
	CANNED_HAS(docs[0].why->text, "TypeError: x");
	CHECK_INT(docs[1].err, ERR_NOSPACE);
	/* One may be to blame: fewer are sent then, without a rest; where there is one, it may pass. */
	for (c.n = 1; c.n <= 3; c.n += 2) {
		canned_only("POST", "/_bulk_docs", 500, "{\"error\":\"TypeError\",\"reason\":\"x\"}");
		CHECK_INT(canned_do(p, write, &c), ERR_HELD_BACK);
		CHECK_INT(peertest_requests, c.n > 1 ? 1 : canned_spec.retries + 1);
	}
	/* Nobody's words are no document's error. */
	c.n = 3;
	canned_only("POST", "/_bulk_docs", 500, "{}");
	CHECK_INT(canned_do(p, write, &c), ERR_IO);
	CHECK_INT(peertest_requests, canned_spec.retries + 1);
	/* PouchDB's has its word beside it. */
	canned_only("POST", "/_bulk_docs", 201,
	    "[{\"status\":403,\"name\":\"forbidden\",\"message\":\"no\",\"error\":true,\"id\":\"a\"}]");
	CHECK_INT(canned_do(p, write, &c), 0);
	CHECK_INT(docs[0].err, ERR_FORBIDDEN);
	CANNED_HAS(docs[0].why->text, "forbidden: no");
	{
		static const struct {
			int status;
			const char *body;
			int err;
		} bad[] = {{413, "{\"error\":\"too_large\"}", ERR_TOO_LARGE}, {201, "{}", ERR_IO},
		    {201, "[{\"id\":\"x\",\"error\":\"forbidden\"}]", ERR_IO}, {201, "[{},{},{},{}]", ERR_IO},
		    {201, "[", ERR_IO}, {401, "{}", ERR_UNAUTHORIZED}, {400, "{}", ERR_IO},
		    {417, "[{\"id\":\"a\",\"error\":\"forbidden\"}]", 0}};
		size_t i;

		for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
			canned_only("POST", "/_bulk_docs", bad[i].status, bad[i].body);
			if (!CHECK_INT(canned_do(p, write, &c), bad[i].err))
				fprintf(stderr, "%s\n", bad[i].body);
		}
		CHECK_INT(docs[0].err, ERR_FORBIDDEN);
	}
	p->ops->close(p);
}

/* ---- Documents ---- */

static struct peer_want wants[3];

static void
make_wants(void)
{
	static const char *const names[] = {"a", "_design/b", "c d"};
	size_t i;

	for (i = 0; i < 3; i++) {
		wants[i] = (struct peer_want){
		    .id = canned_str(names[i]), .revs = arena_calloc(canned_arena, 1, sizeof(struct rev)), .nrevs = 1};
		wants[i].revs[0] = canned_rev(CANNED_R1);
	}
}

/* Until make_wants() again. */
static void
want_two(struct peer_want *w, const char *first, const char *second)
{
	w->revs = arena_calloc(canned_arena, 2, sizeof(struct rev));
	w->revs[0] = canned_rev(first);
	w->revs[1] = canned_rev(second);
	w->nrevs = 2;
}

static int
fetch(struct peer *p, struct peer_fetch *c, size_t max)
{
	memset(c, 0, sizeof(*c));
	c->wants = wants;
	c->nwants = 3;
	c->max_bytes = max;
	return canned_do(p, fetch, c);
}

#define BULK(x, y, z)                                                 \
	"{\"results\":[{\"id\":\"a\",\"docs\":[" x "]},{\"docs\":[" y \
	"],\"id\":\"_design/b\"},{\"id\":\"c d\",\"docs\":[" z "]}]}"

static void
test_bulk_get(void)
{
	struct peer *p = canned_peer(NULL);
	struct peer_fetch c;

	canned_only("POST", "/_bulk_get?", 200,
	    BULK("{\"ok\":" CANNED_DOC1("a") "}", "{\"ok\":" CANNED_DOC2("_design/b") "}",
		"{\"error\":{\"id\":\"c d\",\"rev\":\"" CANNED_R1
		"\",\"error\":\"not_found\",\"reason\":\"missing\"}}"));
	CHECK_INT(fetch(p, &c, 1 << 20), 0);
	CANNED_HAS(peertest_head, "/_bulk_get?revs=true&latest=true&attachments=false ");
	CANNED_HAS(peertest_body, "{\"id\":\"_design/b\",\"rev\":\"" CANNED_R1 "\"}");
	CHECK_INT(c.done, 3);
	CHECK_INT(c.ndocs, 3);
	CHECK_MEM(c.docs[0].text.s, c.docs[0].text.len, CANNED_DOC1("a"), sizeof(CANNED_DOC1("a")) - 1);
	CHECK_INT(c.docs[1].rev.gen, 2);
	CHECK_INT(c.docs[2].err, ERR_MISSING);
	CHECK_INT(c.bulk_attempts, 3);
	CHECK_INT(c.bulk_docs, 2);
	/* PouchDB's form of errors; attachments; several successors of one. */
	canned_only("POST", "/_bulk_get?", 200,
	    BULK("{\"error\":\"not_found\",\"reason\":\"missing\"}",
		"{\"ok\":" CANNED_DOC1("_design/b") "},{\"ok\":" CANNED_DOC2("_design/b") "}",
		"{\"ok\":{\"_id\":\"c d\",\"_rev\":\"" CANNED_R1 "\",\"_revisions\":{\"start\":1,\"ids\":[\"" CANNED_H1
		"\"]},\"_attachments\":{\"x\":{\"stub\":true}}}}"));
	CHECK_INT(fetch(p, &c, 1 << 20), 0);
	CHECK_INT(c.ndocs, 4);
	{
		size_t i;
		int atts = 0, missing = 0;

		for (i = 0; i < c.ndocs; i++) {
			atts += c.docs[i].has_atts;
			missing += c.docs[i].err == ERR_MISSING;
		}
		CHECK_INT(atts, 1);
		CHECK_INT(missing, 1);
	}
	p->ops->close(p);
}

static void
test_bad_docs(void)
{
	static const char *const firsts[] = {
	    "",                                                    /* says nothing of it */
	    "{\"ok\":" CANNED_DOC1("x") "}",                       /* another document */
	    "{\"ok\":" CANNED_OTHER("a") "}",                      /* another revision */
	    "{\"ok\":{\"_id\":\"a\",\"_rev\":\"" CANNED_R1 "\"}}", /* no history */
	    "{\"ok\":{\"_id\":\"a\",\"_rev\":\"" CANNED_R2 "\",\"_revisions\":{\"start\":1,\"ids\":[\"" CANNED_H1
	    "\"]}}}",
	    "{\"ok\":{\"_id\":\"a\",\"_rev\":\"" CANNED_R1 "\",\"_revisions\":{\"start\":1,\"ids\":[\"" CANNED_H2
	    "\"]}}}",
	    "{\"ok\":{\"_id\":\"a\",\"_rev\":\"" CANNED_R1 "\",\"_revisions\":{\"start\":1,\"ids\":[]}}}",
	    "{\"ok\":{\"_id\":\"a\",\"_rev\":\"" CANNED_R1 "\",\"_revisions\":{\"start\":1,\"ids\":[\"" CANNED_H1
	    "\",\"" CANNED_H2 "\"]}}}",
	    "{\"ok\":{\"_id\":7,\"_rev\":\"" CANNED_R1 "\",\"_revisions\":{\"start\":1,\"ids\":[\"" CANNED_H1 "\"]}}}",
	    "{\"ok\":null}",
	    "{}",
	    "{\"error\":{\"id\":\"a\",\"rev\":\"" CANNED_R2 "\",\"error\":\"not_found\",\"reason\":\"missing\"}}",
	};
	struct peer *p = canned_peer(NULL);
	struct peer_fetch c;
	char text[4096];
	size_t i;

	for (i = 0; i < sizeof(firsts) / sizeof(firsts[0]); i++) {
		(void)snprintf(text, sizeof(text),
		    "{\"results\":[{\"id\":\"a\",\"docs\":[%s]},{\"id\":\"_design/b\",\"docs\":[{\"ok\":" CANNED_DOC1(
			"_design/b") "}]},{\"id\":\"c d\",\"docs\":[{\"ok\":" CANNED_DOC1("c d") "}]}]}",
		    firsts[i]);
		canned_only("POST", "/_bulk_get?", 200, arena_dup(canned_arena, text, strlen(text)));
		if (!CHECK_INT(fetch(p, &c, 1 << 20), ERR_IO))
			fprintf(stderr, "%s\n", firsts[i]);
		CANNED_HAS(c.call.why.text, "/_bulk_get: its answer ");
	}
	/* A history that is forgotten at its end is believed. */
	canned_only("POST", "/_bulk_get?", 200,
	    BULK("{\"ok\":{\"_id\":\"a\",\"_rev\":\"" CANNED_R2 "\",\"_revisions\":{\"start\":2,\"ids\":[\"" CANNED_H2
		 "\"]}}}",
		"{\"ok\":" CANNED_DOC1("_design/b") "}", "{\"ok\":" CANNED_DOC1("c d") "}"));
	CHECK_INT(fetch(p, &c, 1 << 20), 0);
	p->ops->close(p);
}

/* So many are held back, the others have come. */
static void
check_held(const struct peer_fetch *c, size_t wanted)
{
	size_t held = 0, had = 0;

	CHECK_INT(c->done, 3);
	for (size_t i = 0; i < c->ndocs; i++) {
		held += c->docs[i].err == ERR_HELD_BACK;
		had += c->docs[i].err == 0;
	}
	CHECK_INT(held, wanted);
	CHECK_INT(had, 3 - wanted);
}

/* What the source cannot give now, by its word or since its answer breaks off there. */
static void
test_bulk_unread(void)
{
	static const char some[] = "{\"results\":[{\"id\":\"a\",\"docs\":[{\"ok\":" CANNED_DOC1("a") "}]}";
	struct peer *p = canned_peer(NULL);
	struct peer_fetch c;

	/* Also if something else is missing. */
	canned_only("POST", "/_bulk_get?", 200,
	    BULK("{\"error\":{\"id\":\"a\",\"rev\":\"" CANNED_R1
		 "\",\"error\":\"internal_server_error\",\"reason\":\"badmatch\"}}",
		"{\"error\":\"timeout\"},{\"error\":\"not_found\"}", "{\"ok\":" CANNED_DOC1("c d") "}"));
	CHECK_INT(fetch(p, &c, 1 << 20), 0);
	check_held(&c, 2);
	peertest_clear();
	peertest_add((struct peertest_rule){"POST", "/_bulk_get?", 200, NULL, some, .then = PT_CLOSE});
	peertest_rule("GET", "/a?", 200, "[{\"ok\":" CANNED_DOC1("a") "}]");
	peertest_add((struct peertest_rule){"GET", "/_design/b?", 200, NULL, "[{\"ok\":{\"_id\":", .then = PT_CLOSE});
	peertest_rule("GET", "/c%20d?", 200, "[{\"ok\":" CANNED_DOC1("c d") "}]");
	CHECK_INT(fetch(p, &c, 1 << 20), 0);
	check_held(&c, 1);
	CHECK_INT(peertest_requests, 2 * (canned_spec.retries + 1) + 2);
	p->ops->close(p);
}

/* More than the call may take: what has come whole is taken, the rest is left for another call. */
static void
test_bulk_cut(void)
{
	size_t big = 3u << 20, len;
	char *text = arena_alloc(canned_arena, 2 * big);
	struct peer *p = canned_peer(NULL);
	struct peer_fetch c;

	len = (size_t)snprintf(text, 2 * big,
	    "{\"results\":[{\"id\":\"a\",\"docs\":[{\"ok\":" CANNED_DOC1(
		"a") "}]},{\"id\":\"_design/b\",\"docs\":[{\"ok\":{\"_id\":\"_design/b\",\"_rev\":\"" CANNED_R1
		     "\",\"_revisions\":{\"start\":1,\"ids\":[\"" CANNED_H1 "\"]},\"x\":\"");
	memset(text + len, 'x', big);
	len += big;
	len += (size_t)snprintf(
	    text + len, 2 * big - len, "\"}}]},{\"id\":\"c d\",\"docs\":[{\"ok\":" CANNED_DOC1("c d") "}]}]}");
	peertest_clear();
	peertest_add((struct peertest_rule){"POST", "/_bulk_get?", 200, NULL, text, .body_len = len});
	CHECK_INT(fetch(p, &c, 1 << 20), 0);
	CHECK_INT(c.done, 1);
	CHECK_INT(c.ndocs, 1);
	p->ops->close(p);
}

/* Two leaves, the later one's history forgotten down to itself: it does not stand for the other, which comes behind the cut. */
static void
test_bulk_cut_leaf(void)
{
	static const char last[] = "\"}}]}]}";
	size_t big = 3u << 20, len;
	char *text = arena_alloc(canned_arena, 2 * big);
	struct peer *p = canned_peer(NULL);
	struct peer_fetch c;

	len = (size_t)snprintf(text, 2 * big,
	    "{\"results\":[{\"id\":\"a\",\"docs\":[{\"ok\":{\"_id\":\"a\",\"_rev\":\"" CANNED_R2
	    "\",\"_revisions\":{\"start\":2,\"ids\":[\"" CANNED_H2
	    "\"]}}}]},{\"id\":\"a\",\"docs\":[{\"ok\":{\"_id\":\"a\",\"_rev\":\"" CANNED_R1
	    "\",\"_revisions\":{\"start\":1,\"ids\":[\"" CANNED_H1 "\"]},\"x\":\"");
	memset(text + len, 'x', big);
	memcpy(text + len + big, last, sizeof(last));
	len += big + sizeof(last) - 1;
	want_two(&wants[0], CANNED_R2, CANNED_R1);
	peertest_clear();
	peertest_add((struct peertest_rule){"POST", "/_bulk_get?", 200, NULL, text, .body_len = len});
	CHECK_INT(fetch(p, &c, 1 << 20), 0);
	CHECK_INT(c.done, 1);
	if (CHECK_INT(c.ndocs, 2))
		CHECK_INT(c.docs[1].rev.gen, 1);
	CHECK_INT(peertest_requests, 2);
	p->ops->close(p);
	make_wants();
}

/* What is said of each revision counts, also where the id comes behind. */
static void
test_id_behind(void)
{
	struct peer *p = canned_peer(NULL);
	struct peer_fetch c;

	want_two(&wants[1], CANNED_R1, CANNED_R2);
	canned_only("POST", "/_bulk_get?", 200,
	    BULK("{\"ok\":" CANNED_DOC1("a") "}",
		"{\"error\":{\"rev\":\"" CANNED_R1 "\",\"error\":\"not_found\"}},{\"error\":{\"rev\":\"" CANNED_R2
		"\",\"error\":\"forbidden\"}}",
		"{\"ok\":" CANNED_DOC1("c d") "}"));
	if (!CHECK_INT(fetch(p, &c, 1 << 20), 0))
		fprintf(stderr, "%s\n", c.call.why.text);
	CHECK_INT(c.done, 3);
	if (CHECK_INT(c.ndocs, 4))
		CHECK(c.docs[2].err == ERR_FORBIDDEN || c.docs[3].err == ERR_FORBIDDEN);
	make_wants();
	p->ops->close(p);
}

static void
test_singles(void)
{
	struct peer *p = canned_peer(NULL);
	struct peer_fetch c;

	peertest_clear();
	peertest_rule("POST", "/_bulk_get?", 404, "{\"error\":\"not_found\"}");
	peertest_rule("GET", "/a?revs=true&latest=true&open_revs=%5B%22" CANNED_R1 "%22%5D ", 200,
	    "[{\"ok\":" CANNED_DOC2("a") "}]");
	peertest_rule("GET", "/_design/b?", 404, "{\"error\":\"not_found\",\"reason\":\"missing\"}");
	peertest_rule("GET", "/c%20d?", 200, "[{\"missing\":\"" CANNED_R1 "\"}]");
	CHECK_INT(fetch(p, &c, 1 << 20), 0);
	CHECK_INT(peertest_requests, 4);
	CHECK_INT(c.done, 3);
	CHECK_INT(c.ndocs, 3);
	CHECK_INT(c.bulk_docs, 0);
	/* It is not asked again what it does not know. */
	CHECK_INT(fetch(p, &c, 1 << 20), 0);
	CHECK_INT(peertest_requests, 7);
	/* Few bytes: fewer documents, at least one. */
	CHECK_INT(fetch(p, &c, 1), 0);
	CHECK(c.done >= 1);
	/* A database that is gone is not a document that is missing. */
	canned_only("GET", "/", 404, "{\"error\":\"not_found\",\"reason\":\"Database does not exist.\"}");
	CHECK_INT(fetch(p, &c, 1 << 20), ERR_NO_DB);
	canned_only("GET", "/", 200, "[]");
	CHECK_INT(fetch(p, &c, 1 << 20), ERR_IO);
	canned_only("GET", "/", 200, "[{\"ok\":" CANNED_DOC1("a") "}]");
	CHECK_INT(fetch(p, &c, 1 << 20), ERR_IO);
	p->ops->close(p);
	/* A document beyond what is gathered is passed over, and keeps no other from coming. */
	p = canned_peer(NULL);
	peertest_clear();
	peertest_add((struct peertest_rule){"POST", "/_bulk_get?", 200, NULL, "{\"results\":[", .then = PT_ENDLESS});
	peertest_add((struct peertest_rule){"GET", "/a?", 200, NULL, "[", .then = PT_ENDLESS});
	peertest_rule("GET", "/_design/b?", 404, "{\"error\":\"not_found\",\"reason\":\"missing\"}");
	peertest_rule("GET", "/c%20d?", 200, "[{\"missing\":\"" CANNED_R1 "\"}]");
	CHECK_INT(fetch(p, &c, 1 << 20), 0);
	CHECK_INT(c.done, 3);
	if (CHECK_INT(c.ndocs, 3))
		CHECK_INT((c.docs[0].err == ERR_DOC_TOO_LARGE) + (c.docs[1].err == ERR_DOC_TOO_LARGE) +
			      (c.docs[2].err == ERR_DOC_TOO_LARGE),
		    1);
	p->ops->close(p);
}

/* What the source says it cannot read keeps no other from coming; of several revisions each is asked for by itself. */
static void
test_singles_unread(void)
{
	static const char words[] = "{\"error\":\"badmatch\",\"reason\":\"x\"}";
	struct peer *p = canned_peer(NULL);
	struct peer_fetch c;

	want_two(&wants[0], CANNED_R1, CANNED_R2);
	peertest_clear();
	peertest_rule("POST", "/_bulk_get?", 404, "{\"error\":\"not_found\"}");
	peertest_rule("GET", "/a?revs=true&latest=true&open_revs=%5B%22" CANNED_R2 "%22%5D ", 200,
	    "[{\"ok\":" CANNED_DOC2("a") "}]");
	peertest_rule("GET", "/a?", 500, words);
	peertest_rule("GET", "/_design/b?", 500, words);
	peertest_rule("GET", "/c%20d?", 200, "[{\"missing\":\"" CANNED_R1 "\"}]");
	if (!CHECK_INT(fetch(p, &c, 1 << 20), 0))
		fprintf(stderr, "%s\n", c.call.why.text);
	CHECK_INT(peertest_requests, 1 + 1 + (canned_spec.retries + 1) + 1 + (canned_spec.retries + 1) + 1);
	CHECK_INT(c.done, 3);
	if (CHECK_INT(c.ndocs, 4)) {
		size_t held = 0, had = 0;

		for (size_t i = 0; i < c.ndocs; i++) {
			held += c.docs[i].err == ERR_HELD_BACK;
			had += c.docs[i].err == 0;
		}
		CHECK_INT(held, 2);
		CHECK_INT(had, 1);
	}
	/* What is no database's is the server's. */
	canned_only("GET", "/", 500, "{}");
	CHECK_INT(fetch(p, &c, 1 << 20), ERR_IO);
	p->ops->close(p);
	make_wants();
}

/* ---- Many revisions of one document ---- */

enum { MANY = 300, SENT = 200 };

static void
put_found(struct buf *b, unsigned gen, unsigned own, int parent)
{
	buf_printf(b, "{\"ok\":{\"_id\":\"a\",\"_rev\":\"%u-%032x\",\"_revisions\":{\"start\":%u,\"ids\":[\"%032x\"",
	    gen, own, gen, own);
	if (parent >= 0)
		buf_printf(b, ",\"%032x\"", (unsigned)parent);
	buf_puts(b, ",\"ffff\"]}}}");
}

/* Each is answered for by itself: with a document, a later one, an older one's history that was cut, or that it is missing. */
static void
test_many_revs(void)
{
	static unsigned char ids[MANY][16];
	struct rev revs[MANY];
	struct peer_want w = {.id = {"a", 1}, .revs = revs, .nrevs = MANY};
	struct errtext why = {""};
	struct peer_found f;
	struct peer_fetch c = {.wants = &w, .nwants = 1};
	size_t missing = 0;
	struct arena *a;
	struct buf b;

	for (unsigned i = 0; i < MANY; i++) {
		unsigned n = i * 7 % MANY; /* in no order */

		ids[i][14] = (unsigned char)(n >> 8);
		ids[i][15] = (unsigned char)n;
		revs[i] = (struct rev){.gen = n == MANY - 1 ? 2 : 5, .id = ids[i], .len = 16};
	}
	CHECK_INT(arena_new(1u << 20, &a), 0);
	buf_init(&b, 1u << 20);
	buf_puts(&b, "{\"results\":[{\"id\":\"a\",\"docs\":[");
	for (unsigned n = 0; n < SENT; n++) {
		put_found(&b, 5, n, -1);
		buf_putc(&b, ',');
	}
	/* Of generation 2 these histories tell nothing: it counts as answered. */
	put_found(&b, 6, 0xabcdef, SENT);
	for (unsigned n = SENT + 1; n < MANY - 2; n++)
		buf_printf(&b,
		    ",{\"error\":{\"id\":\"a\",\"rev\":\"5-%032x\",\"error\":\"not_found\",\"reason\":\"missing\"}}",
		    n);
	buf_puts(&b, "]}]}");
	CHECK_INT(peer_found_init(&f, &w, 1, a, &why), 0);
	if (!CHECK_INT(peer_found_bulk(&f, b.data, b.len, 0), 0))
		fprintf(stderr, "%s\n", why.text);
	CHECK_INT(f.came, SENT + 1);
	CHECK_INT(peer_found_whole(&f), 0); /* one is left */
	CHECK_INT(peer_found_missing(&f, 0), 0);
	CHECK_INT(peer_found_whole(&f), 1);
	CHECK_INT(peer_found_end(&f, 1, &c), 0);
	CHECK_INT(c.ndocs, SENT + 1 + MANY - 2 - SENT);
	for (size_t i = 0; i < c.ndocs; i++)
		missing += c.docs[i].err == ERR_MISSING;
	CHECK_INT(missing, MANY - 2 - SENT);
	peer_found_release(&f);
	/* Nothing but these. */
	buf_clear(&b);
	buf_putc(&b, '[');
	put_found(&b, 5, MANY, -1);
	buf_putc(&b, ']');
	revs[0].gen = 5;
	w.nrevs = 1;
	CHECK_INT(peer_found_init(&f, &w, 1, a, &why), 0);
	CHECK_INT(peer_found_one(&f, 0, b.data, b.len), ERR_IO);
	peer_found_release(&f);
	/* What is said of a revision counts, where a history may have forgotten it as well. */
	buf_clear(&b);
	buf_putc(&b, '[');
	put_found(&b, 5, MANY, -1);
	buf_putc(&b, ']');
	revs[1].gen = 2;
	w.nrevs = 2;
	ids[0][14] = (unsigned char)(MANY >> 8);
	ids[0][15] = (unsigned char)MANY;
	CHECK_INT(peer_found_init(&f, &w, 1, a, &why), 0);
	CHECK_INT(peer_found_one(&f, 0, b.data, b.len), 0);
	CHECK_INT(peer_found_whole(&f), 1);
	CHECK_INT(peer_found_failed(&f, 0, 1, ERR_DOC_TOO_LARGE, &why), 0);
	CHECK_INT(peer_found_end(&f, 1, &c), 0);
	if (CHECK_INT(c.ndocs, 2))
		CHECK_INT(c.docs[1].err, ERR_DOC_TOO_LARGE);
	peer_found_release(&f);
	buf_release(&b);
	arena_free(a);
}

int
main(void)
{
	canned_begin();
	make_wants();
	test_changes();
	test_none_yet();
	test_changes_beyond_bounds();
	test_endless_id();
	test_bad_changes();
	test_endless_changes();
	test_filters();
	test_parameter_without_memory();
	test_waiting();
	test_waiting_on();
	test_diff();
	test_write();
	test_bulk_get();
	test_bad_docs();
	test_bulk_unread();
	test_bulk_cut();
	test_bulk_cut_leaf();
	test_id_behind();
	test_singles();
	test_singles_unread();
	test_many_revs();
	canned_end();
	return check_done();
}
