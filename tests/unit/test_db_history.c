/* test_db_history.c: what compaction leaves of superseded bodies, how it packs, dictionaries, files of version 1. */
#include "dbtest.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "db/dbi.h"

#define THREADS 3u

static struct arena *arena;

/* An executor whose wall clock is the test's. */
static struct executor *inner;
static _Atomic uint64_t wall_s = 1800000000;

static void
clock_submit(struct executor *ex, struct exec_job *job)
{
	(void)ex;
	inner->submit(inner, job);
}

static void
clock_later(struct executor *ex, struct exec_job *job, uint64_t delay_ms)
{
	(void)ex;
	inner->later(inner, job, delay_ms);
}

static int
clock_cancel(struct executor *ex, struct exec_job *job)
{
	(void)ex;
	return inner->cancel(inner, job);
}

static uint64_t
clock_now_ms(struct executor *ex)
{
	(void)ex;
	return inner->now_ms(inner);
}

static uint64_t
clock_wall_us(struct executor *ex)
{
	(void)ex;
	return wall_s * 1000000;
}

static void
clock_random(struct executor *ex, void *out, unsigned len)
{
	(void)ex;
	inner->random(inner, out, len);
}

static struct executor clock_ex = {clock_submit, clock_later, clock_cancel, clock_now_ms, clock_wall_us, clock_random};

static struct dbs *
new_dbs(struct store *store)
{
	struct dbs_config config = {.store = store, .ex = &clock_ex};
	struct dbs *s = NULL;

	CHECK_INT(dbs_new(&config, &s), 0);
	return s;
}

static struct db *
new_db(struct dbs *s, const char *name)
{
	const struct db_options plain = {0};
	struct errtext why;

	CHECK_INT(dbs_create(s, name, &plain, &dbtest_admin, &why), 0);
	return dbtest_open(s, name);
}

static void
compact_damaged(struct db *db)
{
	struct db_info info;

	CHECK_INT(db_compact(db), 0);
	do {
		usleep(200);
		CHECK_INT(db_info(db, &info), 0);
	} while (info.compact_running);
}

static void
compact(struct db *db)
{
	compact_damaged(db);
	dbtest_check(db);
}

static uint64_t
superseded(struct db *db)
{
	uint64_t n;

	(void)pthread_mutex_lock(&db->file->lock);
	n = db->file->state.superseded_bytes;
	(void)pthread_mutex_unlock(&db->file->lock);
	return n;
}

/* What is asked of a revision: its body as everybody sees it, or as those who merge do. */
enum view { CLIENTS, MERGERS };

/* body_is: ${want} is the body of revision ${rev}; "" if there is none. */
static int
body_is(struct db *db, const char *id, const struct revbuf *rev, enum view view, const char *want)
{
	struct rev wanted = rev_of(rev);
	struct db_snap *snap;
	struct db_doc doc;
	struct db_rev content;
	struct revtree *t;
	struct revpos at;
	int ok = 0, err;

	CHECK_INT(db_snap_begin(db, &snap), 0);
	if (CHECK_INT(db_get(snap, id, strlen(id), arena, &doc), 0) && CHECK_INT(db_doc_tree(&doc, 1, &t), 0) &&
	    CHECK(revtree_find(t, &wanted, &at))) {
		err = view == CLIENTS ? db_doc_rev(&doc, revtree_at(t, at), arena, &content)
				      : db_doc_base(&doc, revtree_at(t, at), arena, &content);
		if (err == ERR_MISSING)
			ok = want[0] == '\0';
		else
			ok = err == 0 && content.body.len == strlen(want) &&
			     memcmp(content.body.s, want, content.body.len) == 0;
	}
	db_snap_end(snap);
	return ok;
}

static int
has_rev(struct db *db, const char *id, const struct revbuf *rev)
{
	struct rev wanted = rev_of(rev);
	struct db_snap *snap;
	struct db_doc doc;
	struct revtree *t;
	struct revpos at;
	int found = 0;

	CHECK_INT(db_snap_begin(db, &snap), 0);
	if (CHECK_INT(db_get(snap, id, strlen(id), arena, &doc), 0) && CHECK_INT(db_doc_tree(&doc, 1, &t), 0))
		found = revtree_find(t, &wanted, &at);
	db_snap_end(snap);
	return found;
}

static const char *
rev_text(const struct revbuf *r)
{
	static char text[4][REV_TEXT_MAX + 1];
	static unsigned next;
	struct rev rev = rev_of(r);
	char *out = text[next++ % 4];
	struct buf b;

	buf_init(&b, REV_TEXT_MAX);
	CHECK_INT(rev_put(&b, &rev), 0);
	memcpy(out, b.data, b.len);
	out[b.len] = '\0';
	buf_release(&b);
	return out;
}

static int
write_json(struct db *db, int new_edits, struct revbuf *out, const char *format, ...)
{
	char json[4096];
	struct db_write w;
	va_list ap;
	int err;

	va_start(ap, format);
	(void)vsnprintf(json, sizeof(json), format, ap);
	va_end(ap);
	err = dbtest_write(db, arena, json, new_edits, &w);
	if (out != NULL)
		*out = w.rev;
	return err;
}

/* edits: Revisions 1 to ${n} of ${id}, with bodies {"n":1} and so on. */
static void
edits(struct db *db, const char *id, unsigned n, struct revbuf *revs)
{
	for (unsigned i = 1; i <= n; i++)
		if (i == 1)
			CHECK_INT(write_json(db, 1, &revs[1], "{\"_id\":\"%s\",\"n\":1}", id), 0);
		else
			CHECK_INT(write_json(db, 1, &revs[i], "{\"_id\":\"%s\",\"_rev\":\"%s\",\"n\":%u}", id,
				      rev_text(&revs[i - 1]), i),
			    0);
}

static void
set_kept(struct db *db, uint64_t revs, uint64_t seconds)
{
	struct db_write w = {.kind = DB_WRITE_HISTORY_KEPT, .number = revs, .seconds = seconds};
	struct db_request req = {.writes = &w, .nwrites = 1};

	CHECK_INT(dbtest_submit(db, &req), 0);
	CHECK_INT(w.err, 0);
}

/* ---- Fork points ---- */

static void
test_fork(struct dbs *s)
{
	struct db *db = new_db(s, "fork");
	struct revbuf one, two, other, gone;

	CHECK_INT(write_json(db, 1, &one, "{\"_id\":\"d\",\"n\":1}"), 0);
	CHECK_INT(write_json(db, 1, &two, "{\"_id\":\"d\",\"_rev\":\"%s\",\"n\":2}", rev_text(&one)), 0);
	CHECK_INT(
	    write_json(db, 0, &other,
		"{\"_id\":\"d\",\"_rev\":\"2-ffffffffffffffffffffffffffffffff\",\"n\":3,\"_revisions\":{\"start\":2,"
		"\"ids\":[\"ffffffffffffffffffffffffffffffff\",\"%s\"]}}",
		rev_text(&one) + 2),
	    0);
	CHECK(body_is(db, "d", &one, CLIENTS, "{\"n\":1}"));
	CHECK(superseded(db) > 0);
	for (int i = 0; i < 2; i++) {
		compact(db);
		CHECK(body_is(db, "d", &one, CLIENTS, ""));
		CHECK(body_is(db, "d", &one, MERGERS, "{\"n\":1}"));
		CHECK(body_is(db, "d", &two, CLIENTS, "{\"n\":2}"));
		CHECK(body_is(db, "d", &other, CLIENTS, "{\"n\":3}"));
		CHECK_INT(superseded(db), 0); /* what compaction has decided to keep is no waste */
	}
	/* It is there still for those who merge, when the leaves have gone on. */
	CHECK_INT(write_json(db, 1, &two, "{\"_id\":\"d\",\"_rev\":\"%s\",\"n\":4}", rev_text(&two)), 0);
	CHECK(superseded(db) > 0);
	compact(db);
	CHECK(body_is(db, "d", &one, MERGERS, "{\"n\":1}"));
	CHECK_INT(write_json(db, 1, &gone, "{\"_id\":\"d\",\"_rev\":\"%s\",\"_deleted\":true}", rev_text(&other)), 0);
	CHECK(body_is(db, "d", &one, MERGERS, "{\"n\":1}"));
	compact(db);
	CHECK(body_is(db, "d", &one, MERGERS, "")); /* the conflict is gone */
	db_close(db);
}

/* A body that comes again, with ancestors that were not known, is everybody's; the next compaction does not keep two. */
static void
test_sent_again(struct dbs *s)
{
	static const char two[] = "2-22222222222222222222222222222222";
	struct db *db = new_db(s, "again");
	struct revbuf rev;

	CHECK_INT(write_json(db, 0, &rev, "{\"_id\":\"d\",\"_rev\":\"%s\",\"n\":2}", two), 0);
	CHECK_INT(write_json(db, 1, NULL, "{\"_id\":\"d\",\"_rev\":\"%s\",\"n\":3}", two), 0);
	set_kept(db, 1, 0);
	compact(db);
	CHECK(body_is(db, "d", &rev, CLIENTS, ""));
	CHECK(body_is(db, "d", &rev, MERGERS, "{\"n\":2}"));
	CHECK_INT(write_json(db, 0, NULL,
		      "{\"_id\":\"d\",\"_rev\":\"%s\",\"n\":2,\"_revisions\":{\"start\":2,\"ids\":[\"%s\","
		      "\"11111111111111111111111111111111\"]}}",
		      two, two + 2),
	    0);
	CHECK(body_is(db, "d", &rev, CLIENTS, "{\"n\":2}"));
	dbtest_check(db);
	compact(db);
	CHECK(body_is(db, "d", &rev, CLIENTS, ""));
	CHECK(body_is(db, "d", &rev, MERGERS, "{\"n\":2}"));
	db_close(db);
}

/* ---- The setting ---- */

static void
test_last_bodies(struct dbs *s)
{
	struct db *db = new_db(s, "last");
	struct db_info info;
	struct revbuf revs[101];
	char body[32];

	set_kept(db, 3, 0);
	CHECK_INT(db_info(db, &info), 0);
	CHECK_INT(info.keep_revs, 3);
	CHECK_INT(info.keep_seconds, 0);
	edits(db, "d", 100, revs); /* older ones are spilled */
	compact(db);
	for (unsigned i = 1; i <= 100; i++) {
		(void)snprintf(body, sizeof(body), "{\"n\":%u}", i);
		CHECK(body_is(db, "d", &revs[i], CLIENTS, i == 100 ? body : ""));
		CHECK(body_is(db, "d", &revs[i], MERGERS, i >= 97 ? body : ""));
	}
	set_kept(db, 1, 0);
	compact(db);
	CHECK(body_is(db, "d", &revs[98], MERGERS, ""));
	CHECK(body_is(db, "d", &revs[99], MERGERS, "{\"n\":99}"));
	/* Nothing is kept of what is deleted. */
	CHECK_INT(
	    write_json(db, 1, NULL, "{\"_id\":\"d\",\"_rev\":\"%s\",\"_deleted\":true}", rev_text(&revs[100])), 0);
	compact(db);
	CHECK(body_is(db, "d", &revs[99], MERGERS, ""));
	db_close(db);
}

/* Kept bodies in spilled blocks: found, and dropped once they are not wanted. */
static void
test_spilled(struct dbs *s)
{
	struct db *db = new_db(s, "spilled");
	struct revbuf revs[101];

	set_kept(db, 90, 0);
	edits(db, "d", 100, revs);
	compact(db);
	CHECK(body_is(db, "d", &revs[9], MERGERS, ""));
	CHECK(body_is(db, "d", &revs[10], MERGERS, "{\"n\":10}"));
	compact(db);
	CHECK(body_is(db, "d", &revs[10], MERGERS, "{\"n\":10}"));
	set_kept(db, 0, 0);
	compact(db);
	CHECK(body_is(db, "d", &revs[10], MERGERS, ""));
	CHECK(body_is(db, "d", &revs[99], MERGERS, ""));
	CHECK(body_is(db, "d", &revs[100], CLIENTS, "{\"n\":100}"));
	db_close(db);
}

static void
test_young_bodies(struct dbs *s)
{
	struct db *db = new_db(s, "young");
	struct revbuf revs[6], late;

	edits(db, "d", 3, revs);
	set_kept(db, 0, 3200); /* noted each 101 seconds */
	compact(db);
	CHECK(body_is(db, "d", &revs[1], MERGERS, "{\"n\":1}")); /* counts from the setting on */
	wall_s += 2000;
	CHECK_INT(write_json(db, 1, &revs[4], "{\"_id\":\"d\",\"_rev\":\"%s\",\"n\":4}", rev_text(&revs[3])), 0);
	wall_s += 1300;
	compact(db); /* 3,300 seconds after the setting */
	CHECK(body_is(db, "d", &revs[1], MERGERS, ""));
	CHECK(body_is(db, "d", &revs[2], MERGERS, ""));
	CHECK(body_is(db, "d", &revs[3], MERGERS, "{\"n\":3}"));
	wall_s -= 1000; /* a clock that goes back drops nothing */
	CHECK_INT(write_json(db, 1, &late, "{\"_id\":\"d\",\"_rev\":\"%s\",\"n\":5}", rev_text(&revs[4])), 0);
	compact(db);
	CHECK(body_is(db, "d", &revs[3], MERGERS, "{\"n\":3}"));
	wall_s -= 1000000; /* nor does one that is wrong for a while, as at the start of a machine without one */
	CHECK_INT(write_json(db, 1, &revs[5], "{\"_id\":\"d\",\"_rev\":\"%s\",\"n\":6}", rev_text(&late)), 0);
	wall_s += 1000000;
	compact(db);
	CHECK(body_is(db, "d", &revs[3], MERGERS, "{\"n\":3}"));
	CHECK(body_is(db, "d", &late, MERGERS, "{\"n\":5}"));
	wall_s += 1000;
	CHECK_INT(write_json(db, 1, &late, "{\"_id\":\"d\",\"_rev\":\"%s\",\"n\":7}", rev_text(&revs[5])), 0);
	wall_s += 5000;
	compact(db);
	CHECK(body_is(db, "d", &revs[3], MERGERS, ""));
	CHECK(body_is(db, "d", &late, CLIENTS, "{\"n\":7}"));
	db_close(db);
}

/* count_of: How often a revision is in a tree. */
struct count_of {
	struct rev rev;
	unsigned n;
};

static int
count_rev(struct revnode *node, struct revpos at, void *cookie)
{
	struct count_of *c = cookie;

	(void)at;
	c->n += rev_equal(&node->rev, &c->rev) != 0;
	return 0;
}

/* A path that gives a spilled revision another parent: the revision stays where it is, and is there once. */
static void
test_contradiction(struct dbs *s)
{
	struct db *db = new_db(s, "contradiction");
	struct revbuf revs[101];
	struct count_of count = {.n = 0};
	struct db_snap *snap;
	struct db_doc doc;
	struct revtree *t;

	edits(db, "d", 100, revs);
	CHECK_INT(write_json(db, 0, NULL, "{\"_id\":\"d\",\"_rev\":\"39-eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee\"}"), 0);
	CHECK_INT(write_json(db, 0, NULL,
		      "{\"_id\":\"d\",\"_rev\":\"41-dddddddddddddddddddddddddddddddd\",\"_revisions\":{\"start\":41,"
		      "\"ids\":[\"dddddddddddddddddddddddddddddddd\",\"%s\",\"eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee\"]}}",
		      rev_text(&revs[40]) + 3),
	    0);
	dbtest_check(db);
	count.rev = rev_of(&revs[40]);
	CHECK_INT(db_snap_begin(db, &snap), 0);
	CHECK_INT(db_get(snap, "d", 1, arena, &doc), 0);
	CHECK_INT(db_doc_tree(&doc, 1, &t), 0);
	CHECK(revtree_valid(t));
	CHECK_INT(revtree_nleaves(t), 3);
	CHECK_INT(revtree_each(t, count_rev, &count), 0);
	CHECK_INT(count.n, 1);
	db_snap_end(snap);
	compact(db);
	db_close(db);
}

/* ---- Attachments ---- */

static int
write_atts(struct db *db, const struct revbuf *parent, struct db_blob *blob, size_t n, struct db_write *w)
{
	struct db_write_att att = {.name = {"file", 4}, .type = {"image/png", 9}, .blob = blob};
	struct db_request req = {.writes = w, .nwrites = 1};

	*w = (struct db_write){.kind = DB_WRITE_EDIT,
	    .id = {"d", 1},
	    .body = {"{}", 2},
	    .body_etf = {"h\001j", 3},
	    .atts = &att,
	    .natts = n};
	if (parent != NULL) {
		w->has_parent = 1;
		w->parent = *parent;
	}
	CHECK_INT(dbtest_submit(db, &req), 0);
	return w->err;
}

static int
base_att_is(struct db *db, const struct revbuf *rev, const char *want)
{
	struct rev wanted = rev_of(rev);
	struct db_snap *snap;
	struct db_doc doc;
	struct db_rev content;
	struct revtree *t;
	struct revpos at;
	struct buf b;
	int ok = 0;

	buf_init(&b, 100);
	CHECK_INT(db_snap_begin(db, &snap), 0);
	if (db_get(snap, "d", 1, arena, &doc) == 0 && db_doc_tree(&doc, 1, &t) == 0 && revtree_find(t, &wanted, &at) &&
	    db_doc_base(&doc, revtree_at(t, at), arena, &content) == 0 && content.natts == 1)
		ok = db_att_read(snap, content.atts, 0, &b) == 0 && b.len == strlen(want) &&
		     memcmp(b.data, want, b.len) == 0;
	db_snap_end(snap);
	buf_release(&b);
	return ok;
}

static void
test_attachments(struct dbs *s)
{
	struct db *db = new_db(s, "atts");
	struct db_blob *blob;
	struct db_write w;
	struct revbuf one;

	CHECK_INT(db_blob_new(db, DB_BLOB_PLAIN, &blob), 0);
	CHECK_INT(db_blob_add(blob, "attached", 8), 0);
	CHECK_INT(db_blob_end(blob), 0);
	CHECK_INT(write_atts(db, NULL, blob, 1, &w), 0);
	db_blob_free(blob);
	one = w.rev;
	CHECK_INT(write_atts(db, &one, NULL, 0, &w), 0);
	set_kept(db, 1, 0);
	compact(db);
	CHECK(base_att_is(db, &one, "attached"));
	set_kept(db, 0, 0);
	compact(db); /* db_check() tells of blobs that are nobody's */
	CHECK(!base_att_is(db, &one, "attached"));
	db_close(db);
}

/* ---- Stemming and purging take what is kept ---- */

static void
test_removed(struct dbs *s)
{
	struct db *db = new_db(s, "removed");
	struct revbuf revs[6];
	struct rev path;
	unsigned char purged = 0;
	struct db_write limit = {.kind = DB_WRITE_REVS_LIMIT, .number = 2};
	struct db_write purge = {.kind = DB_WRITE_PURGE, .id = {"p", 1}, .path = &path, .npath = 1, .purged = &purged};
	struct db_request req = {.writes = &limit, .nwrites = 1};

	set_kept(db, 10, 0);
	edits(db, "d", 4, revs);
	compact(db);
	CHECK_INT(dbtest_submit(db, &req), 0);
	CHECK_INT(write_json(db, 1, &revs[5], "{\"_id\":\"d\",\"_rev\":\"%s\",\"n\":5}", rev_text(&revs[4])), 0);
	dbtest_check(db);
	CHECK(body_is(db, "d", &revs[4], CLIENTS, "{\"n\":4}"));
	edits(db, "p", 2, revs);
	compact(db);
	path = rev_of(&revs[2]);
	req.writes = &purge;
	CHECK_INT(dbtest_submit(db, &req), 0);
	CHECK_INT(purged, 1);
	dbtest_check(db);
	db_close(db);
}

/* ---- Packing ---- */

/* put_many: Documents PREFIX0 to PREFIX(n-1) of one kind, in requests of 500. */
static void
put_many(struct db *db, const char *prefix, const char *format, unsigned n)
{
	static struct db_write writes[500];
	static char json[500][1024];
	struct doc_in in;
	struct errtext why;
	struct jread j;

	for (unsigned from = 0; from < n; from += 500) {
		struct db_request req = {.writes = writes, .nwrites = 500};

		for (unsigned i = 0; i < 500; i++) {
			int at = snprintf(json[i], sizeof(json[i]), "{\"_id\":\"%s%05u\",", prefix, from + i);

			(void)snprintf(json[i] + at, sizeof(json[i]) - (size_t)at, format, (from + i) * 7919u % 100000,
			    (from + i) * 104729u % 1000, from + i);
			jread_init(&j, json[i], strlen(json[i]));
			CHECK_INT(doc_parse(&j, arena, &in, &why), 0);
			writes[i] = (struct db_write){
			    .kind = DB_WRITE_EDIT, .id = in.id, .body = in.body, .body_etf = in.body_etf};
		}
		CHECK_INT(dbtest_submit(db, &req), 0);
		for (unsigned i = 0; i < 500; i++)
			CHECK_INT(writes[i].err, 0);
	}
}

static const char note_format[] =
    "\"type\":\"note\",\"title\":\"the title of note %u\",\"colour\":\"yellow %u\",\"text\":\""
    "a longer text that says what is to be done with number %u before the end of the week\"}";
static const char event_format[] =
    "\"kind\":\"vevent\",\"dtstart\":\"2026-03-%u\",\"rrule\":\"FREQ=WEEKLY;COUNT=%u\",\"organizer\":\"mailto:"
    "somebody@example.com\",\"alarms\":[{\"trigger\":\"-PT15M\",\"action\":\"DISPLAY\"}],\"sequence\":%u}";

/* codecs: How many winners have a body that is not as compaction packs it. */
static unsigned
loose(struct db *db)
{
	unsigned n = 0;
	struct db_snap *snap;
	struct db_scan *scan;
	struct db_doc doc;
	struct docrec rec;
	struct doc_att *atts;
	struct bytes r;
	const struct db_range all = {0};
	size_t natts;

	CHECK_INT(db_snap_begin(db, &snap), 0);
	CHECK_INT(db_docs_open(snap, &all, &scan), 0);
	while (db_docs_next(scan, arena, &doc) == 0) {
		bytes_init(&r, doc.record.s, doc.record.len);
		CHECK_INT(docrec_decode(&r, &rec), 0);
		bytes_init(&r, rec.payload.s, rec.payload.len);
		CHECK_INT(payload_atts(&r, arena, &atts, &natts), 0);
		n += body_loose(db->file->dicts, &r) != 0;
		arena_reset(arena);
	}
	db_scan_close(scan);
	db_snap_end(snap);
	return n;
}

static int
dict_is_there(struct db *db, const char *key)
{
	struct db_snap *snap;
	struct bytes r;
	int there;

	CHECK_INT(db_snap_begin(db, &snap), 0);
	there = meta_find(snap->snap, key, &r) == 0;
	db_snap_end(snap);
	return there;
}

static void
hold(void *barrier)
{
	(void)pthread_barrier_wait(barrier);
	(void)pthread_barrier_wait(barrier);
}

static void
was_done(struct db_request *req)
{
	dbtest_wake(req->cookie);
}

/* A write that was packed with a dictionary which is dropped before its turn comes is packed anew. */
static void
test_late(struct db *db)
{
	static const char text[] = "{\"kind\":\"vevent\",\"dtstart\":\"2026-03-5\",\"rrule\":\"FREQ=WEEKLY;COUNT=9\","
				   "\"organizer\":\"mailto:somebody@example.com\",\"alarms\":[{\"trigger\":\"-PT15M\","
				   "\"action\":\"DISPLAY\"}]}";
	uint64_t current = body_dicts_current(db->file->dicts);
	struct db_write w = {
	    .kind = DB_WRITE_EDIT, .id = {"late", 4}, .body = {text, strlen(text)}, .body_etf = {"h\001j", 3}};
	struct db_request req = {.writes = &w, .nwrites = 1, .done = was_done};
	struct exec_job jobs[THREADS];
	static pthread_barrier_t held; /* threads may leave it late */
	struct dbtest_wait wait;
	struct buf dict, packed;
	struct bytes r;

	buf_init(&dict, 1u << 20);
	for (uint64_t i = 0; i <= current && dict.len == 0; i++) {
		struct db_snap *snap;
		char key[32];

		(void)snprintf(key, sizeof(key), "dict/%08llx", (unsigned long long)i);
		CHECK_INT(db_snap_begin(db, &snap), 0);
		(void)!meta_get(snap->snap, key, &dict);
		db_snap_end(snap);
	}
	CHECK_INT(pthread_barrier_init(&held, NULL, THREADS + 1), 0);
	for (unsigned i = 0; i < THREADS; i++) {
		jobs[i] = (struct exec_job){.fn = hold, .arg = &held};
		inner->submit(inner, &jobs[i]);
	}
	(void)pthread_barrier_wait(&held);
	dbtest_wait_init(&wait);
	req.cookie = &wait;
	CHECK_INT(body_dicts_add(db->file->dicts, current - 1, dict.data, dict.len), 0);
	buf_init(&packed, 1000);
	CHECK_INT(body_pack(db->file->dicts, text, strlen(text), &packed), 0);
	bytes_init(&r, packed.data, packed.len);
	CHECK_INT(body_dict_of(&r), current - 1);
	buf_release(&packed);
	CHECK_INT(db_submit(db, &req), 0);
	CHECK_INT(body_dicts_add(db->file->dicts, current, dict.data, dict.len), 0);
	(void)pthread_barrier_wait(&held);
	dbtest_wait_for(&wait);
	CHECK_INT(w.err, 0);
	dbtest_check(db);
	CHECK(body_is(db, "late", &w.rev, CLIENTS, text));
	buf_release(&dict);
}

/* A database of notes becomes one of events too: another dictionary serves both, and the first goes. */
static void
test_dictionaries(struct dbs **sp, struct store *(*reopen)(void))
{
	struct db *db = new_db(*sp, "dicts");
	struct revbuf local;

	put_many(db, "n", note_format, 2000);
	compact(db);
	CHECK_INT(body_dicts_current(db->file->dicts), 1);
	CHECK_INT(loose(db), 0);
	CHECK_INT(
	    write_json(db, 1, &local, "{\"_id\":\"n00000x\",\"type\":\"note\",\"title\":\"the title of note 7\"}"), 0);
	put_many(db, "e", event_format, 8000);
	CHECK(loose(db) > 0);
	compact(db);
	CHECK(body_dicts_current(db->file->dicts) > 1);
	CHECK_INT(loose(db), 0);
	CHECK(!dict_is_there(db, "dict/00000001"));
	CHECK(dict_is_there(db, "dict/00000002") || dict_is_there(db, "dict/00000003"));
	CHECK(body_is(db, "n00000x", &local, CLIENTS, "{\"type\":\"note\",\"title\":\"the title of note 7\"}"));
	compact(db); /* the one that there is serves */
	CHECK_INT(loose(db), 0);
	test_late(db);
	compact(db);
	if (reopen == NULL) {
		db_close(db);
		return;
	}
	db_close(db);
	dbs_free(*sp);
	*sp = new_dbs(reopen());
	db = dbtest_open(*sp, "dicts");
	CHECK_INT(loose(db), 0);
	CHECK(body_is(db, "n00000x", &local, CLIENTS, "{\"type\":\"note\",\"title\":\"the title of note 7\"}"));
	dbtest_check(db);
	db_close(db);
}

/* Bodies in `bodies`: of other leaves, and of a winner that fits into its record once it is packed. */
static void
test_numbered(struct dbs *s)
{
	struct db *db = new_db(s, "numbered");
	char text[3000];
	struct revbuf one, other;

	memset(text, 0, sizeof(text));
	for (size_t i = 0; i + 60 < sizeof(text) - 1000; i += strlen(text + i))
		(void)snprintf(text + i, 60, "what is to be done %zu ", i * 2654435761u % 100000);
	CHECK_INT(write_json(db, 1, &one, "{\"_id\":\"d\",\"text\":\"%s\"}", text), 0);
	CHECK_INT(write_json(db, 0, &other,
		      "{\"_id\":\"d\",\"_rev\":\"1-00000000000000000000000000000000\",\"type\":\"note\",\"title\":"
		      "\"the title of note "
		      "55\",\"text\":\"a longer text that says what is to be done with number\"}"),
	    0);
	put_many(db, "n", note_format, 1500);
	compact(db);
	CHECK_INT(loose(db), 0);
	CHECK(body_is(db, "d", &other, CLIENTS,
	    "{\"type\":\"note\",\"title\":\"the title of note 55\",\"text\":\"a longer text that says what is to be "
	    "done with number\"}"));
	db_close(db);
}

/* Texts of all kinds, packed and unpacked; damage is found or gives another text, and harms nobody. */
static void
test_tight(void)
{
	static const size_t lens[] = {0, 1, 63, 64, 65, 127, 255, 256, 1000, 5000, 65535, 65536, 65537, 200000};
	size_t *sizes = calloc(400, sizeof(*sizes));
	char *text = malloc(200001);
	struct body_dicts *z;
	struct buf samples, dict, b;
	struct jstr out;
	struct bytes r;

	buf_init(&samples, 1u << 20);
	buf_init(&dict, 1u << 20);
	buf_init(&b, 1u << 20);
	for (unsigned i = 0; i < 400; i++) {
		size_t at = samples.len;

		buf_printf(&samples, note_format, i * 7919u % 1000, i % 9, i);
		sizes[i] = samples.len - at;
	}
	CHECK_INT(body_dict_train(samples.data, sizes, 400, BODY_DICT_LEN, &dict), 0);
	for (uint64_t number = 1; number < 400; number += 239) {
		CHECK_INT(body_dicts_new(&z), 0);
		CHECK_INT(body_dicts_add(z, number, dict.data, dict.len), 0);
		for (unsigned noise = 0; noise < 2; noise++)
			for (size_t i = 0; i < sizeof(lens) / sizeof(*lens); i++) {
				for (size_t k = 0; k < lens[i]; k++)
					text[k] = (char)(noise ? "0123456789abcdef"[k * k * 2654435761u >> 13 & 15]
							       : samples.data[k % samples.len]);
				buf_clear(&b);
				CHECK_INT(body_pack_tight(z, text, lens[i], &b), 0);
				bytes_init(&r, b.data, b.len);
				CHECK(body_dict_of(&r) == 0 || body_dict_of(&r) == number);
				CHECK(*b.data == BODY_RAW || !body_loose(z, &r));
				CHECK(*b.data != BODY_RAW || noise || lens[i] < 256);
				CHECK_INT(body_unpack(z, &r, arena, &out), 0);
				CHECK_MEM(out.s, out.len, text, lens[i]);
				for (size_t k = 0; k < b.len && k < 300; k++) {
					b.data[k] = (char)(b.data[k] ^ 0x41);
					bytes_init(&r, b.data, b.len - k % 3);
					(void)!body_unpack(z, &r, arena, &out);
					b.data[k] = (char)(b.data[k] ^ 0x41);
				}
				arena_reset(arena);
			}
		body_dicts_free(z);
	}
	buf_release(&samples);
	buf_release(&dict);
	buf_release(&b);
	free(sizes);
	free(text);
}

/* ---- Rows of changes ---- */

static void
test_ids(struct dbs *s)
{
	static const char *const ids[] = {"0123456789abcdef0123456789abcdef", "ffffffffffffffffffffffffffffffff",
	    "0123456789ABCDEF0123456789abcdef", "0123456789abcdef0123456789abcdeg", "0123456789abcdef0123456789abcde",
	    "0123456789abcdef", "123e4567-e89b-42d3-a456-426614174000", "123e4567-e89b-42d3-a456-42661417400G",
	    "123e4567-e89b-42d3-a456x426614174000", "123E4567-e89b-42d3-a456-426614174000",
	    "123e4567e-89b-42d3-a456-426614174000", "--------------------------------"};
	struct db *db = new_db(s, "ids");
	struct db_snap *snap;
	struct db_scan *scan;
	struct db_change row;
	size_t n = 0;

	for (size_t i = 0; i < sizeof(ids) / sizeof(*ids); i++)
		CHECK_INT(write_json(db, 1, NULL, "{\"_id\":\"%s\"}", ids[i]), 0);
	CHECK_INT(db_snap_begin(db, &snap), 0);
	CHECK_INT(db_changes_open(snap, 0, 0, &scan), 0);
	for (; db_changes_next(scan, arena, &row) == 0; n++)
		CHECK_MEM(row.id.s, row.id.len, ids[n], strlen(ids[n]));
	CHECK_INT(n, sizeof(ids) / sizeof(*ids));
	db_scan_close(scan);
	db_snap_end(snap);
	dbtest_check(db);
	db_close(db);
}

/* ---- A file of version 1 ---- */

/* make_old: Give the file the head that version 1 wrote. */
static void
make_old(struct db *db)
{
	const struct dbstate *st = &db->file->state;
	const uint64_t fields[] = {st->update_seq, st->doc_count, st->doc_del_count, st->external_bytes, st->purge_seq,
	    st->next_body, st->next_blob, st->next_docno, st->next_node, st->revs_limit, st->purged_limit,
	    st->partitioned, st->created_us, st->commits};
	struct buf b;

	buf_init(&b, 256);
	for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++)
		buf_put_varint(&b, fields[i]);
	buf_put_u64be(&b, st->salt);
	CHECK_INT(buf_failed(&b), 0);
	CHECK_INT(meta_put(db->file->batch, "format", "\1", 1), 0);
	CHECK_INT(meta_put(db->file->batch, "state", b.data, b.len), 0);
	CHECK_INT(store_commit(db->file->batch), 0);
	buf_release(&b);
}

static uint64_t
format_of(struct db *db)
{
	struct db_snap *snap;
	struct bytes r;
	uint64_t version = 0;

	CHECK_INT(db_snap_begin(db, &snap), 0);
	if (CHECK_INT(meta_find(snap->snap, "format", &r), 0))
		version = bytes_varint(&r);
	db_snap_end(snap);
	return version;
}

static void
test_old_file(struct dbs **sp, struct store *(*reopen)(void))
{
	struct db *db = new_db(*sp, "old");
	struct revbuf revs[4], four;

	edits(db, "d", 3, revs);
	CHECK_INT(format_of(db), FORMAT_VERSION);
	make_old(db);
	CHECK_INT(format_of(db), 1);
	db_close(db);
	dbs_free(*sp);
	*sp = new_dbs(reopen());
	db = dbtest_open(*sp, "old");
	CHECK_INT(format_of(db), FORMAT_VERSION);
	CHECK_INT(superseded(db), 0);
	dbtest_check(db);
	CHECK(body_is(db, "d", &revs[1], CLIENTS, "{\"n\":1}"));
	CHECK_INT(write_json(db, 1, &four, "{\"_id\":\"d\",\"_rev\":\"%s\",\"n\":4}", rev_text(&revs[3])), 0);
	CHECK(superseded(db) > 0);
	dbtest_check(db);
	compact(db);
	CHECK_INT(superseded(db), 0);
	CHECK(body_is(db, "d", &revs[1], CLIENTS, ""));
	db_close(db);
}

/* Before version 2, _local documents had a dictionary, which stays, even if no body ever had a number. */
static void
test_old_local(struct dbs **sp, struct store *(*reopen)(void))
{
	static const char text[] = "{\"type\":\"note\",\"title\":\"the title of note 7\",\"colour\":\"yellow 1\"}";
	struct db *db = new_db(*sp, "oldlocal");
	struct db_snap *snap;
	struct jstr body;
	struct bytes r;
	struct buf b;
	uint64_t number;

	put_many(db, "n", note_format, 2000);
	while (body_dicts_current(db->file->dicts) == 0)
		usleep(200);
	set_kept(db, 0, 0); /* the committer is done with the dictionary then, and its batch is free */
	buf_init(&b, 1000);
	buf_put_varint(&b, 1);
	CHECK_INT(body_pack(db->file->dicts, text, strlen(text), &b), 0);
	bytes_init(&r, b.data + 1, b.len - 1);
	CHECK_INT(body_dict_of(&r), 1);
	CHECK_INT(record_put(db->file->batch, TREE_LOCAL, "_local/x", 8, b.data, b.len), 0);
	buf_release(&b);
	CHECK_INT(db->file->state.next_body, REVTREE_BODY_FIRST);
	make_old(db);
	db_close(db);
	dbs_free(*sp);
	*sp = new_dbs(reopen());
	db = dbtest_open(*sp, "oldlocal");
	put_many(db, "e", event_format, 8000);
	compact(db);
	CHECK(body_dicts_current(db->file->dicts) > 1);
	db_close(db);
	dbs_free(*sp);
	*sp = new_dbs(reopen());
	db = dbtest_open(*sp, "oldlocal");
	dbtest_check(db);
	CHECK_INT(db_snap_begin(db, &snap), 0);
	if (CHECK_INT(db_local_get(snap, "_local/x", 8, arena, &number, &body), 0))
		CHECK_MEM(body.s, body.len, text, strlen(text));
	db_snap_end(snap);
	db_close(db);
}

/* ---- Damage ---- */

/* What is damaged stays, and keeps nothing else from being compacted. */
static void
test_damaged(struct dbs *s)
{
	struct db *db = new_db(s, "damaged");
	unsigned char key[8];
	struct revbuf a[4], b[4];

	edits(db, "a", 3, a); /* bodies 2 and 3 */
	edits(db, "b", 3, b);
	set_kept(db, 1, 0);
	for (uint64_t number = 2; number < 4; number++) {
		bytes_store_u64be(key, number);
		CHECK_INT(store_put(db->file->batch, TREE_BODIES, key, 8, "damage", 6), 0);
		CHECK_INT(store_commit(db->file->batch), 0);
	}
	for (int i = 0; i < 2; i++) {
		compact_damaged(db);
		CHECK(body_is(db, "b", &b[1], MERGERS, ""));
		CHECK(body_is(db, "b", &b[2], CLIENTS, ""));
		CHECK(body_is(db, "b", &b[2], MERGERS, "{\"n\":2}"));
		CHECK(body_is(db, "a", &a[3], CLIENTS, "{\"n\":3}"));
	}
	CHECK_INT(write_json(db, 1, NULL, "{\"_id\":\"a\",\"_rev\":\"%s\",\"n\":4}", rev_text(&a[3])), 0);
	db_close(db);
}

/* So does a damaged body of a revision that a lower limit stems: its document waits, the others do not. */
static void
test_damaged_stemmed(struct dbs *s)
{
	struct db *db = new_db(s, "damaged-stemmed");
	struct db_write w = {.kind = DB_WRITE_REVS_LIMIT, .number = 1};
	struct db_request req = {.writes = &w, .nwrites = 1};
	unsigned char key[8];
	struct revbuf a[5], b[5];

	edits(db, "a", 4, a); /* bodies 2, 3 and 4 */
	edits(db, "b", 4, b);
	bytes_store_u64be(key, 3);
	CHECK_INT(store_put(db->file->batch, TREE_BODIES, key, 8, "damage", 6), 0);
	CHECK_INT(store_commit(db->file->batch), 0);
	CHECK_INT(dbtest_submit(db, &req), 0);
	CHECK_INT(w.err, 0);
	compact_damaged(db);
	CHECK(body_is(db, "a", &a[4], CLIENTS, "{\"n\":4}"));
	CHECK(body_is(db, "a", &a[3], CLIENTS, "{\"n\":3}"));
	CHECK(body_is(db, "b", &b[4], CLIENTS, "{\"n\":4}"));
	CHECK(!has_rev(db, "b", &b[3]));
	CHECK(has_rev(db, "a", &a[1]));
	db_close(db);
}

/* ---- Running ---- */

static char dir[] = "/tmp/divan-test-history-XXXXXX";

static struct store *
open_dir(void)
{
	struct store *store = NULL;

	CHECK_INT(store_lmdb_new(dir, &store), 0);
	return store;
}

int
main(void)
{
	char command[64];
	struct store *store;
	struct dbs *s;

	CHECK(mkdtemp(dir) != NULL);
	CHECK_INT(exec_threads_new(THREADS, &dbtest_threads), 0);
	inner = exec_threads_executor(dbtest_threads);
	CHECK_INT(arena_new(1u << 30, &arena), 0);
	test_tight();
	for (int lmdb = 0; lmdb < 2; lmdb++) {
		if (lmdb)
			store = open_dir();
		else
			CHECK_INT(store_mem_new(&store), 0);
		s = new_dbs(store);
		test_fork(s);
		test_sent_again(s);
		test_last_bodies(s);
		test_spilled(s);
		test_young_bodies(s);
		test_contradiction(s);
		test_attachments(s);
		test_removed(s);
		test_damaged(s);
		test_damaged_stemmed(s);
		test_ids(s);
		test_numbered(s);
		test_dictionaries(&s, lmdb ? open_dir : NULL);
		if (lmdb) {
			test_old_file(&s, open_dir);
			test_old_local(&s, open_dir);
		}
		dbs_free(s);
	}
	arena_free(arena);
	exec_threads_free(dbtest_threads);
	(void)snprintf(command, sizeof(command), "rm -rf %s", dir);
	CHECK_INT(system(command), 0);
	return check_done();
}
