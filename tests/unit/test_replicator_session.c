/*
 * test_replicator_session.c: runs of replications between databases of one server: what is copied, what is noted, and that a
 * second run begins where the first one ended.
 */
#include "dbtest.h"

#include "dbdamage.h"
#include "replicator/checkpoint.h"
#include "replicator/peer_local.h"
#include "replicator/session.h"

static struct dbs *dbs;
static struct peer_locals *locals;

static const struct rep_defaults defaults = {.server = "0123456789abcdef0123456789abcdef",
    .checkpoint_ms = 5000,
    .workers = 3,
    .batch = 7,
    .connections = 4,
    .retries = 2,
    .timeout_ms = 5000,
    .checkpoints = 1,
    .bulk_get = 1};

struct outcome {
	struct dbtest_wait wait;
	int err;
	struct errtext why;
	struct session_stats stats;
	char result[65536];
	size_t refused;
};

static void
ended(void *cookie, struct session *s, int err, const struct errtext *why)
{
	struct outcome *o = cookie;
	struct buf b;

	o->err = err;
	o->why = *why;
	session_stats(s, &o->stats);
	buf_init(&b, sizeof(o->result) - 1);
	CHECK_INT(session_result(s, &b), 0);
	memcpy(o->result, b.data, b.len);
	o->result[b.len] = '\0';
	buf_release(&b);
	dbtest_wake(&o->wait);
}

static void
refused(void *cookie, const struct peer_doc *doc)
{
	struct outcome *o = cookie;

	(void)doc;
	o->refused++;
}

/* A replication that was begun. */
struct run {
	struct arena *arena;
	struct rep_spec spec;
	struct session *session;
	struct outcome out;
};

static void
run_begin(struct run *r, const char *text)
{
	struct session_config c = {.spec = &r->spec,
	    .ex = exec_threads_executor(dbtest_threads),
	    .ended = ended,
	    .refused = refused,
	    .cookie = &r->out};
	struct errtext why = {""};

	memset(r, 0, sizeof(*r));
	dbtest_wait_init(&r->out.wait);
	CHECK_INT(arena_new(1u << 20, &r->arena), 0);
	if (!CHECK_INT(spec_parse((struct jstr){text, strlen(text)}, &defaults, r->arena, &r->spec, &why), 0))
		fprintf(stderr, "%s\n", why.text);
	CHECK_INT(peer_local_new(locals, r->spec.source.name, &dbtest_admin, &r->spec.filter, &c.source), 0);
	CHECK_INT(peer_local_new(locals, r->spec.target.name, &dbtest_admin, NULL, &c.target), 0);
	CHECK_INT(session_new(&c, &r->session), 0);
	session_start(r->session);
}

static void
run_end(struct run *r)
{
	dbtest_wait_for(&r->out.wait);
	session_free(r->session);
	arena_free(r->arena);
}

static void
run(struct run *r, const char *text)
{
	run_begin(r, text);
	run_end(r);
}

static void
fill(const char *name, unsigned n)
{
	char json[128];
	unsigned i;

	for (i = 0; i < n; i++) {
		snprintf(json, sizeof(json), "{\"_id\":\"doc%05u\",\"n\":%u}", i, i);
		dbtest_put(dbs, name, json, 1);
	}
}

/* All leaves of both are equal. */
static void
check_equal(const char *left, const char *right)
{
	const char *names[2] = {left, right};
	struct arena *a;
	struct buf text[2];
	size_t i, k, n;

	CHECK_INT(arena_new(64u << 20, &a), 0);
	for (i = 0; i < 2; i++) {
		struct db *db = dbtest_open(dbs, names[i]);
		struct db_range range = {0};
		struct db_scan *scan;
		struct db_snap *snap;
		struct db_doc doc;

		buf_init_arena(&text[i], a, 16u << 20);
		CHECK_INT(db_snap_begin(db, &snap), 0);
		CHECK_INT(db_docs_open(snap, &range, &scan), 0);
		while (db_docs_next(scan, a, &doc) == 0) {
			struct revtree *t;

			CHECK_INT(db_doc_tree(&doc, 1, &t), 0);
			buf_put(&text[i], doc.id.s, doc.id.len);
			for (k = 0; k < revtree_nleaves(t); k++) {
				struct revnode *leaf = revtree_leaf(t, k);
				struct db_rev rev;

				CHECK_INT(db_doc_rev(&doc, leaf, a, &rev), 0);
				rev_put(&text[i], &leaf->rev);
				buf_put(&text[i], rev.body.s, rev.body.len);
				for (n = 0; n < rev.natts; n++) {
					buf_put(&text[i], rev.atts[n].md5, sizeof(rev.atts[n].md5));
					buf_put_u64(&text[i], rev.atts[n].length);
				}
			}
			buf_putc(&text[i], '\n');
		}
		db_scan_close(scan);
		db_snap_end(snap);
		dbtest_check(db);
		db_close(db);
	}
	CHECK_MEM(text[0].data, text[0].len, text[1].data, text[1].len);
	arena_free(a);
}

static void
test_copies(void)
{
	struct run r;

	dbtest_create(dbs, "a");
	dbtest_create(dbs, "b");
	fill("a", 100);
	dbtest_put(dbs, "a", "{\"_id\":\"_design/d\",\"v\":1}", 1);
	run(&r, "{\"source\":\"a\",\"target\":\"b\"}");
	CHECK_INT(r.out.err, 0);
	CHECK_INT(r.out.stats.checked, 101);
	CHECK_INT(r.out.stats.missing, 101);
	CHECK_INT(r.out.stats.read, 101);
	CHECK_INT(r.out.stats.written, 101);
	CHECK_INT(r.out.stats.failures, 0);
	CHECK(strstr(r.out.result, "\"docs_written\":101") != NULL);
	check_equal("a", "b");

	run(&r, "{\"source\":\"a\",\"target\":\"b\"}");
	CHECK_INT(r.out.err, 0);
	CHECK_INT(r.out.stats.checked, 0);
	CHECK(strstr(r.out.result, "\"no_changes\":true") != NULL);
	CHECK(strstr(r.out.result, "\"docs_written\":101") != NULL);

	dbtest_put(
	    dbs, "a", "{\"_id\":\"doc00003\",\"_rev\":\"1-ffffffffffffffffffffffffffffffff\",\"n\":\"conflict\"}", 0);
	dbtest_put(dbs, "a", "{\"_id\":\"new\"}", 1);
	run(&r, "{\"source\":\"a\",\"target\":\"b\"}");
	CHECK_INT(r.out.stats.checked, 3);
	CHECK_INT(r.out.stats.missing, 2);
	CHECK_INT(r.out.stats.written, 2);
	check_equal("a", "b");
}

static void
test_no_database(void)
{
	struct run r;

	run(&r, "{\"source\":\"a\",\"target\":\"none\"}");
	CHECK_INT(r.out.err, ERR_NO_DB);
	CHECK_STR(r.out.why.text, "could not open none");
	run(&r, "{\"source\":\"none\",\"target\":\"b\",\"create_target\":true}");
	CHECK_INT(r.out.err, ERR_NO_DB);
	run(&r, "{\"source\":\"a\",\"target\":\"made\",\"create_target\":true}");
	CHECK_INT(r.out.err, 0);
	check_equal("a", "made");
}

static void
test_doc_ids(void)
{
	struct run r;

	dbtest_create(dbs, "some");
	run(&r, "{\"source\":\"a\",\"target\":\"some\",\"doc_ids\":[\"new\",\"doc00001\",\"none\",\"new\"]}");
	CHECK_INT(r.out.err, 0);
	CHECK_INT(r.out.stats.written, 2);
	CHECK(strstr(r.out.result, "\"doc_write_failures\":0,\"history\"") != NULL);
}

/* Another function of the same name has another digest; what is no function has none. */
static void
test_checkpoint_filter(void)
{
	static const char one[] = "{\"language\":\"javascript\",\"filters\":{\"f\":\"function () {}\",\"g\":\"x\"}}";
	static const char other[] = "{\"filters\":{\"f\":\"function (doc) {}\"}}";
	char a[CHECKPOINT_FILTER_LEN + 1], b[CHECKPOINT_FILTER_LEN + 1];
	struct jstr f = {"f", 1};

	CHECK_INT(checkpoint_filter((struct jstr){one, strlen(one)}, f, a), 0);
	CHECK_INT(checkpoint_filter((struct jstr){other, strlen(other)}, f, b), 0);
	CHECK_INT(strlen(a), CHECKPOINT_FILTER_LEN);
	CHECK(strcmp(a, b) != 0);
	CHECK_INT(checkpoint_filter((struct jstr){one, strlen(one)}, (struct jstr){"none", 4}, b), 0);
	CHECK_STR(b, "");
	CHECK(checkpoint_is_zero((struct jstr){"\"0-abc\"", 7}));
	CHECK(checkpoint_is_zero((struct jstr){"0", 1}));
	CHECK(checkpoint_is_zero((struct jstr){"[0,\"x\"]", 7}));
	CHECK(!checkpoint_is_zero((struct jstr){"\"10-abc\"", 8}));
	CHECK(!checkpoint_is_zero((struct jstr){"3", 1}));
}

/* A run that notes nothing tells what it did, and the next one finds all of it there. */
static void
test_no_checkpoints(void)
{
	struct run r;

	dbtest_create(dbs, "unnoted");
	run(&r, "{\"source\":\"a\",\"target\":\"unnoted\",\"use_checkpoints\":false}");
	CHECK_INT(r.out.err, 0);
	CHECK(strstr(r.out.result, "\"no_changes\"") == NULL);
	CHECK(strstr(r.out.result, "\"doc_write_failures\":0") != NULL);
	run(&r, "{\"source\":\"a\",\"target\":\"unnoted\",\"use_checkpoints\":false}");
	CHECK(r.out.stats.checked > 0);
	CHECK_INT(r.out.stats.missing, 0);
}

/* A source that never had a change leaves no checkpoint. */
static void
test_nothing(void)
{
	struct run r;

	dbtest_create(dbs, "nothing");
	dbtest_create(dbs, "nothing2");
	run(&r, "{\"source\":\"nothing\",\"target\":\"nothing2\"}");
	CHECK_INT(r.out.err, 0);
	CHECK_STR(r.out.result, "{\"ok\":true,\"no_changes\":true}");
}

/* Follows the source until it is stopped, and says how far it came. */
static void
test_continuous(void)
{
	struct session_stats stats;
	struct run r;
	struct buf b;
	unsigned i;

	dbtest_create(dbs, "c");
	dbtest_create(dbs, "d");
	run_begin(&r, "{\"source\":\"c\",\"target\":\"d\",\"continuous\":true}");
	for (i = 0; i < 50; i++) {
		char json[64];

		snprintf(json, sizeof(json), "{\"_id\":\"x%u\"}", i);
		dbtest_put(dbs, "c", json, 1);
		peer_locals_moved(locals, "c");
	}
	do
		session_stats(r.session, &stats);
	while (stats.written < 50 && !dbtest_woken(&r.out.wait));
	while (!session_idle(r.session) && !dbtest_woken(&r.out.wait))
		;
	session_stop(r.session);
	dbtest_wait_for(&r.out.wait);
	CHECK_INT(r.out.err, ERR_CANCELLED);
	check_equal("c", "d");
	buf_init(&b, 4096);
	CHECK_INT(session_seqs(r.session, &b), 0);
	buf_putc(&b, '\0');
	CHECK(strncmp(b.data, "\"checkpointed_source_seq\":\"50-", 30) == 0);
	buf_release(&b);
	session_free(r.session);
	arena_free(r.arena);
	run(&r, "{\"source\":\"c\",\"target\":\"d\"}");
	CHECK_INT(r.out.err, 0);
	CHECK_INT(r.out.stats.checked, 0);
}

/* Loops end: what has come back is there already. */
static void
test_loop(void)
{
	struct run r;

	run(&r, "{\"source\":\"b\",\"target\":\"a\"}");
	CHECK_INT(r.out.err, 0);
	CHECK_INT(r.out.stats.missing, 0);
}

static void
put_with_att(const char *name, const char *id, size_t len)
{
	struct db *db = dbtest_open(dbs, name);
	struct db_write_att att = {.name = {"f", 1}, .type = {"x/y", 3}};
	struct db_write w = {
	    .kind = DB_WRITE_EDIT, .id = {id, strlen(id)}, .body = {"{}", 2}, .atts = &att, .natts = 1};
	struct db_request req = {.writes = &w, .nwrites = 1};
	char *bytes = malloc(len);
	struct buf etf;
	struct jread j;
	size_t i;

	for (i = 0; i < len; i++)
		bytes[i] = (char)(i * 2654435761u >> 13);
	buf_init(&etf, 4096);
	jread_init(&j, "{}", 2);
	{
		struct buf text;

		buf_init(&text, 4096);
		CHECK_INT(jread_text(&j, &text, &etf), 0);
		buf_release(&text);
	}
	w.body_etf = (struct jstr){etf.data, etf.len};
	CHECK_INT(db_blob_new(db, DB_BLOB_PLAIN, &att.blob), 0);
	CHECK_INT(db_blob_add(att.blob, bytes, len), 0);
	CHECK_INT(db_blob_end(att.blob), 0);
	CHECK_INT(dbtest_submit(db, &req), 0);
	CHECK_INT(w.err, 0);
	db_blob_free(att.blob);
	buf_release(&etf);
	free(bytes);
	db_close(db);
}

static void
test_attachments(void)
{
	struct run r;

	dbtest_create(dbs, "e");
	dbtest_create(dbs, "f");
	put_with_att("e", "none", 0);
	put_with_att("e", "small", 10);
	put_with_att("e", "large", 3000000);
	put_with_att("e", "also large", 700001);
	run(&r, "{\"source\":\"e\",\"target\":\"f\"}");
	CHECK_INT(r.out.err, 0);
	CHECK_INT(r.out.stats.written, 4);
	CHECK_INT(r.out.stats.failures, 0);
	CHECK(r.out.stats.bytes > 3700011);
	check_equal("e", "f");
}

/*
 * A document that is deleted and made anew has its new attachment's revpos 1: so the target, which has the first revision,
 * is sent a stub that names the first attachment. The digest tells.
 */
static void
test_made_anew(void)
{
	struct run r;
	char text[128], id[64];
	struct db *db;
	struct db_snap *snap;
	struct db_doc doc;
	struct arena *a;
	struct buf b;

	dbtest_create(dbs, "g");
	dbtest_create(dbs, "h");
	put_with_att("g", "x", 10);
	run(&r, "{\"source\":\"g\",\"target\":\"h\"}");
	CHECK_INT(r.out.err, 0);
	db = dbtest_open(dbs, "g");
	CHECK_INT(arena_new(1u << 20, &a), 0);
	CHECK_INT(db_snap_begin(db, &snap), 0);
	CHECK_INT(db_get(snap, "x", 1, a, &doc), 0);
	buf_init_arena(&b, a, sizeof(id) - 1);
	rev_put(&b, &doc.winner.rev);
	snprintf(id, sizeof(id), "%.*s", (int)b.len, b.data);
	db_snap_end(snap);
	arena_free(a);
	db_close(db);
	snprintf(text, sizeof(text), "{\"_id\":\"x\",\"_rev\":\"%s\",\"_deleted\":true}", id);
	dbtest_put(dbs, "g", text, 1);
	put_with_att("g", "x", 20);
	run(&r, "{\"source\":\"g\",\"target\":\"h\"}");
	CHECK_INT(r.out.err, 0);
	CHECK_INT(r.out.stats.written, 1);
	CHECK_INT(r.out.stats.failures, 0);
	check_equal("g", "h");
}

/* A source whose update sequence cannot be read is not one without changes. */
static void
test_damaged(void)
{
	struct db *db;
	struct run r;

	dbtest_create(dbs, "damaged");
	dbtest_create(dbs, "whole");
	dbtest_put(dbs, "damaged", "{\"_id\":\"x\"}", 1);
	db = dbtest_open(dbs, "damaged");
	dbdamage_state(db);
	run(&r, "{\"source\":\"damaged\",\"target\":\"whole\"}");
	CHECK_INT(r.out.err, ERR_CORRUPT);
	CHECK_INT(r.out.stats.checked, 0);
	db_close(db);
}

/* Documents whose body or record is damaged hold back themselves alone; a row of the changes, what it stands for. */
static void
test_damaged_source(void)
{
	unsigned char seq[8];
	char text[16384];
	struct db *db;
	struct run r;
	size_t n;

	dbtest_create(dbs, "wounded");
	dbtest_create(dbs, "rescued");
	n = (size_t)snprintf(text, sizeof(text), "{\"_id\":\"doc00003b\",\"text\":\"");
	for (unsigned i = 0; i < 1500; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%x", i * i);
	snprintf(text + n, sizeof(text) - n, "\"}");
	dbtest_put(dbs, "wounded", text, 1);
	fill("wounded", 20);
	db = dbtest_open(dbs, "wounded");
	dbdamage_last(db, TREE_BODIES);
	dbdamage_record(db, TREE_DOCS, "doc00007", 8);
	for (unsigned i = 0; i < 2; i++) {
		run(&r, "{\"source\":\"wounded\",\"target\":\"rescued\"}");
		CHECK_INT(r.out.err, ERR_HELD_BACK);
		CHECK_INT(r.out.stats.held, 2);
		CHECK_INT(r.out.stats.written, i == 0 ? 19 : 0);
	}
	dbtest_put(dbs, "wounded", "{\"_id\":\"unnamed\"}", 1);
	dbtest_put(dbs, "wounded", "{\"_id\":\"last\"}", 1);
	bytes_store_u64be(seq, 22);
	dbdamage_record(db, TREE_CHANGES, seq, sizeof(seq));
	run(&r, "{\"source\":\"wounded\",\"target\":\"rescued\"}");
	CHECK_INT(r.out.err, ERR_HELD_BACK);
	CHECK_INT(r.out.stats.held, 3);
	CHECK_INT(r.out.stats.written, 1);
	CHECK(strstr(r.out.stats.refusal.text, "_changes: ") != NULL);
	db_close(db);
}

/* So does one whose record or history is damaged at the target. */
static void
test_damaged_target(void)
{
	char text[16384];
	struct db *db;
	struct run r;
	size_t n;

	dbtest_create(dbs, "scarred");
	fill("scarred", 6);
	n = (size_t)snprintf(text, sizeof(text), "{\"_id\":\"long\",\"_revisions\":{\"start\":300,\"ids\":[");
	for (unsigned i = 300; i > 0; i--)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "\"%032x\"%s", i, i > 1 ? "," : "]}}");
	dbtest_put(dbs, "scarred", text, 0);
	db = dbtest_open(dbs, "scarred");
	dbdamage_last(db, TREE_REVS);
	dbdamage_record(db, TREE_DOCS, "doc00004", 8);
	dbtest_create(dbs, "older");
	fill("older", 6);
	snprintf(
	    text, sizeof(text), "{\"_id\":\"long\",\"_revisions\":{\"start\":2,\"ids\":[\"%032x\",\"%032x\"]}}", 7, 1);
	dbtest_put(dbs, "older", text, 0);
	run(&r, "{\"source\":\"older\",\"target\":\"scarred\"}");
	CHECK_INT(r.out.err, ERR_HELD_BACK);
	CHECK_INT(r.out.stats.held, 2);
	CHECK_INT(r.out.stats.written, 0);
	db_close(db);
}

/* A filter that all pass that were not changed since, and a source that grows while it is asked. */
struct growing {
	const char *name;
	unsigned asked;
	const char *edit;   /* written anew while it is asked for the time ${when}, or NULL */
	unsigned when;      /* from 0 on */
	const char *edited; /* its id, if that is before it is judged, or NULL */
};

static int
growing_open(void *cookie, struct db *db, const struct peer_filter *f, void **judgep, struct errtext *why)
{
	(void)db;
	(void)f;
	(void)why;
	*judgep = cookie;
	return 0;
}

static int
growing_rows(void *judge, struct db *db, struct arena *a, struct db_change *rows, size_t n, size_t *changedp,
    struct errtext *why)
{
	struct growing *g = judge;
	char json[64];

	(void)db;
	(void)a;
	(void)why;
	*changedp = 0;
	for (unsigned i = 0; i < 10 && g->asked < 60; i++) {
		snprintf(json, sizeof(json), "{\"_id\":\"new%u-%u\"}", g->asked, i);
		dbtest_put(dbs, g->name, json, 1);
	}
	if (g->asked++ != g->when || g->edit == NULL)
		return 0;
	dbtest_put(dbs, g->name, g->edit, 0);
	for (size_t i = 0; i < n && g->edited != NULL; i++)
		if (jstr_is(&rows[i].id, g->edited)) {
			rows[i].nleaves = 0;
			++*changedp;
		}
	return 0;
}

static void
growing_close(void *judge)
{
	(void)judge;
}

/* begin_growing: A source of 100 documents, and its target. */
static void
begin_growing(const struct growing *g, const char *target)
{
	dbtest_create(dbs, g->name);
	dbtest_create(dbs, target);
	fill(g->name, 100);
}

static void
copy_growing(struct peer_locals_config *c, struct growing *g, struct run *r, const char *target)
{
	char text[128];

	c->judge = (struct peer_judge){g, growing_open, growing_rows, growing_close};
	CHECK_INT(peer_locals_new(c, &locals), 0);
	snprintf(text, sizeof(text), "{\"source\":\"%s\",\"target\":\"%s\",\"filter\":\"d/f\"}", g->name, target);
	run(r, text);
	CHECK_INT(r->out.err, 0);
	peer_locals_free(locals);
}

static int
is_there(const char *name, const char *id)
{
	struct db *db = dbtest_open(dbs, name);
	struct arena *a;
	struct db_snap *snap;
	struct db_doc doc;
	int err;

	CHECK_INT(arena_new(1u << 20, &a), 0);
	CHECK_INT(db_snap_begin(db, &snap), 0);
	err = db_get(snap, id, strlen(id), a, &doc);
	db_snap_end(snap);
	db_close(db);
	arena_free(a);
	return err == 0;
}

/* What is edited between a page and its filter has not come: in the first page, and in the one that is the last otherwise. */
static void
test_edited_meanwhile(struct peer_locals_config *c)
{
	struct growing first = {
	    .name = "first", .edit = "{\"_id\":\"doc00003\",\"_rev\":\"2-a\"}", .edited = "doc00003"};
	struct growing last = {
	    .name = "last", .edit = "{\"_id\":\"doc00099\",\"_rev\":\"2-a\"}", .when = 14, .edited = "doc00099"};
	struct run r;

	begin_growing(&first, "of-first");
	copy_growing(c, &first, &r, "of-first");
	CHECK(first.asked < 60);
	CHECK(is_there("of-first", "doc00003"));

	begin_growing(&last, "of-last");
	copy_growing(c, &last, &r, "of-last");
	CHECK(last.asked > 14 && last.asked < 60);
	CHECK(is_there("of-last", "doc00099"));
}

/* A source that grows faster than it is read: a run ends where it was at the start, or where what was edited then is. */
static void
test_growing(struct peer_locals_config *c)
{
	struct growing inserts = {.name = "inserts"};
	struct growing edits = {.name = "edits", .edit = "{\"_id\":\"doc00090\",\"_rev\":\"2-a\"}"};
	struct run r;

	begin_growing(&inserts, "grown");
	copy_growing(c, &inserts, &r, "grown");
	CHECK_INT(r.out.stats.checked, 100);
	CHECK(strstr(r.out.result, "\"recorded_seq\":\"100-") != NULL);
	/* The next one goes on there. */
	inserts.asked = 60;
	copy_growing(c, &inserts, &r, "grown");
	check_equal("inserts", "grown");

	begin_growing(&edits, "edited");
	copy_growing(c, &edits, &r, "edited");
	CHECK(edits.asked < 60);
	CHECK(is_there("edited", "doc00090"));
}

enum { TREES = 40, TREE_LEAVES = 1000, TREE_REV_LEN = 8 };

/* put_tree: A document of many leaves. */
static void
put_tree(const char *name, unsigned number)
{
	struct db_write *w = calloc(TREE_LEAVES, sizeof(*w));
	struct rev *revs = calloc(TREE_LEAVES, sizeof(*revs));
	char(*hashes)[TREE_REV_LEN + 1] = calloc(TREE_LEAVES, sizeof(*hashes));
	struct db_request req = {.writes = w, .nwrites = TREE_LEAVES};
	struct db *db = dbtest_open(dbs, name);
	char id[16];

	snprintf(id, sizeof(id), "tree%u", number);
	for (unsigned i = 0; i < TREE_LEAVES; i++) {
		snprintf(hashes[i], sizeof(hashes[i]), "%0*u", TREE_REV_LEN, i);
		revs[i] = (struct rev){.gen = 1, .id = (unsigned char *)hashes[i], .len = TREE_REV_LEN};
		w[i] = (struct db_write){.kind = DB_WRITE_REPLICATE,
		    .id = {id, strlen(id)},
		    .path = &revs[i],
		    .npath = 1,
		    .body = {"{}", 2}};
	}
	CHECK_INT(dbtest_submit(db, &req), 0);
	for (unsigned i = 0; i < TREE_LEAVES; i++)
		CHECK_INT(w[i].err, 0);
	db_close(db);
	free(hashes);
	free(revs);
	free(w);
}

static void
wake(struct peer_call *call)
{
	dbtest_wake(call->cookie);
}

/* Documents of so many leaves that a page of as many rows as are asked for would be too large come in smaller ones. */
static void
test_many_leaves(void)
{
	struct peer *p;
	struct jstr since = {"", 0};
	size_t rows = 0, pages = 0;
	struct arena *a;
	int more = 1;

	dbtest_create(dbs, "trees");
	for (unsigned i = 0; i < TREES; i++)
		put_tree("trees", i);
	CHECK_INT(arena_new(1u << 30, &a), 0);
	CHECK_INT(peer_local_new(locals, "trees", &dbtest_admin, NULL, &p), 0);
	while (more && rows <= TREES) {
		struct peer_changes c = {.since = since, .limit = 500};
		struct dbtest_wait waiting;

		dbtest_wait_init(&waiting);
		c.call.done = wake;
		c.call.cookie = &waiting;
		c.call.arena = a;
		p->ops->changes(p, &c);
		dbtest_wait_for(&waiting);
		if (!CHECK_INT(c.call.err, 0))
			break;
		CHECK(c.n > 0);
		rows += c.n;
		more = c.more;
		since = c.last_seq;
		pages++;
	}
	CHECK_INT(rows, TREES);
	CHECK(pages > 1);
	p->ops->close(p);
	arena_free(a);
}

int
main(void)
{
	struct peer_locals_config c = {0};
	struct store *store;

	CHECK_INT(exec_threads_new(3, &dbtest_threads), 0);
	CHECK_INT(store_mem_new(&store), 0);
	dbs = dbtest_dbs(store);
	c.dbs = dbs;
	c.ex = exec_threads_executor(dbtest_threads);
	CHECK_INT(peer_locals_new(&c, &locals), 0);
	test_copies();
	test_no_database();
	test_doc_ids();
	test_loop();
	test_checkpoint_filter();
	test_nothing();
	test_no_checkpoints();
	test_continuous();
	test_attachments();
	test_made_anew();
	test_damaged();
	test_damaged_source();
	test_damaged_target();
	test_many_leaves();
	peer_locals_free(locals);
	test_growing(&c);
	test_edited_meanwhile(&c);
	dbs_free(dbs);
	exec_threads_free(dbtest_threads);
	return check_done();
}
