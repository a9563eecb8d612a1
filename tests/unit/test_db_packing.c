/*
 * test_db_packing.c: how bodies and rows are packed on disk: dictionaries and their successors, the ids of changes, files of
 * version 1.
 */
#include "bodytest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "db/dbi.h"

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
			CHECK_INT(doc_parse(&j, bodytest_arena, &in, &why), 0);
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
	while (db_docs_next(scan, bodytest_arena, &doc) == 0) {
		bytes_init(&r, doc.record.s, doc.record.len);
		CHECK_INT(docrec_decode(&r, &rec), 0);
		bytes_init(&r, rec.payload.s, rec.payload.len);
		CHECK_INT(payload_atts(&r, bodytest_arena, &atts, &natts), 0);
		n += body_loose(db->file->dicts, &r) != 0;
		arena_reset(bodytest_arena);
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
	struct exec_job jobs[BODYTEST_THREADS];
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
	CHECK_INT(pthread_barrier_init(&held, NULL, BODYTEST_THREADS + 1), 0);
	for (unsigned i = 0; i < BODYTEST_THREADS; i++) {
		jobs[i] = (struct exec_job){.fn = hold, .arg = &held};
		execpass_submit(NULL, &jobs[i]);
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
	CHECK(bodytest_body_is(db, "late", &w.rev, BODYTEST_CLIENTS, text));
	buf_release(&dict);
}

/* A database of notes becomes one of events too: another dictionary serves both, and the first goes. */
static void
test_dictionaries(struct dbs **sp, struct store *(*reopen)(void))
{
	struct db *db = bodytest_new_db(*sp, "dicts");
	struct revbuf local;

	put_many(db, "n", note_format, 2000);
	bodytest_compact(db);
	CHECK_INT(body_dicts_current(db->file->dicts), 1);
	CHECK_INT(loose(db), 0);
	CHECK_INT(bodytest_write_json(
		      db, 1, &local, "{\"_id\":\"n00000x\",\"type\":\"note\",\"title\":\"the title of note 7\"}"),
	    0);
	put_many(db, "e", event_format, 8000);
	CHECK(loose(db) > 0);
	bodytest_compact(db);
	CHECK(body_dicts_current(db->file->dicts) > 1);
	CHECK_INT(loose(db), 0);
	CHECK(!dict_is_there(db, "dict/00000001"));
	CHECK(dict_is_there(db, "dict/00000002") || dict_is_there(db, "dict/00000003"));
	CHECK(bodytest_body_is(
	    db, "n00000x", &local, BODYTEST_CLIENTS, "{\"type\":\"note\",\"title\":\"the title of note 7\"}"));
	bodytest_compact(db); /* the one that there is serves */
	CHECK_INT(loose(db), 0);
	test_late(db);
	bodytest_compact(db);
	if (reopen == NULL) {
		db_close(db);
		return;
	}
	db_close(db);
	dbs_free(*sp);
	*sp = bodytest_new_dbs(reopen());
	db = dbtest_open(*sp, "dicts");
	CHECK_INT(loose(db), 0);
	CHECK(bodytest_body_is(
	    db, "n00000x", &local, BODYTEST_CLIENTS, "{\"type\":\"note\",\"title\":\"the title of note 7\"}"));
	dbtest_check(db);
	db_close(db);
}

/* A dictionary that is there and cannot be read is not replaced: bodies may need it. */
static void
test_unreadable(struct dbs *s)
{
	static const char key[] = "dict/00000007";
	struct db *db = bodytest_new_db(s, "unreadable");
	struct commit c = {.f = db->file};
	struct dictwork d = {.f = db->file, .number = 7};
	struct store_batch *damage;

	CHECK_INT(store_batch_new(db->file->store, &damage), 0);
	CHECK_INT(store_batch_new(db->file->store, &c.batch), 0);
	CHECK_INT(store_put(damage, TREE_META, key, strlen(key), "\0", 1), 0);
	CHECK_INT(store_commit(damage), 0);
	CHECK_INT(store_snap_begin(db->file->store, &c.snap), 0);
	buf_init(&d.bytes, 100);
	buf_puts(&d.bytes, "another");
	CHECK_INT(dict_commit(&c, &d), ERR_CORRUPT);
	CHECK_INT(store_batch_bytes(c.batch), 0);
	CHECK(!c.touched && !c.dict_put);
	store_snap_end(c.snap);
	CHECK_INT(store_del(damage, TREE_META, key, strlen(key)), 0);
	CHECK_INT(store_commit(damage), 0);
	CHECK_INT(store_snap_begin(db->file->store, &c.snap), 0);
	CHECK_INT(dict_commit(&c, &d), 0);
	CHECK(store_batch_bytes(c.batch) > 0);
	store_snap_end(c.snap);
	buf_release(&d.bytes);
	store_batch_free(c.batch);
	store_batch_free(damage);
	db_close(db);
}

/* Bodies in `bodies`: of other leaves, and of a winner that fits into its record once it is packed. */
static void
test_numbered(struct dbs *s)
{
	struct db *db = bodytest_new_db(s, "numbered");
	char text[3000];
	struct revbuf one, other;

	memset(text, 0, sizeof(text));
	for (size_t i = 0; i + 60 < sizeof(text) - 1000; i += strlen(text + i))
		(void)snprintf(text + i, 60, "what is to be done %zu ", i * 2654435761u % 100000);
	CHECK_INT(bodytest_write_json(db, 1, &one, "{\"_id\":\"d\",\"text\":\"%s\"}", text), 0);
	CHECK_INT(bodytest_write_json(db, 0, &other,
		      "{\"_id\":\"d\",\"_rev\":\"1-00000000000000000000000000000000\",\"type\":\"note\",\"title\":"
		      "\"the title of note "
		      "55\",\"text\":\"a longer text that says what is to be done with number\"}"),
	    0);
	put_many(db, "n", note_format, 1500);
	bodytest_compact(db);
	CHECK_INT(loose(db), 0);
	CHECK(bodytest_body_is(db, "d", &other, BODYTEST_CLIENTS,
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
				CHECK_INT(body_unpack(z, &r, bodytest_arena, &out), 0);
				CHECK_MEM(out.s, out.len, text, lens[i]);
				for (size_t k = 0; k < b.len && k < 300; k++) {
					b.data[k] = (char)(b.data[k] ^ 0x41);
					bytes_init(&r, b.data, b.len - k % 3);
					(void)!body_unpack(z, &r, bodytest_arena, &out);
					b.data[k] = (char)(b.data[k] ^ 0x41);
				}
				arena_reset(bodytest_arena);
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
	struct db *db = bodytest_new_db(s, "ids");
	struct db_snap *snap;
	struct db_scan *scan;
	struct db_change row;
	size_t n = 0;

	for (size_t i = 0; i < sizeof(ids) / sizeof(*ids); i++)
		CHECK_INT(bodytest_write_json(db, 1, NULL, "{\"_id\":\"%s\"}", ids[i]), 0);
	CHECK_INT(db_snap_begin(db, &snap), 0);
	CHECK_INT(db_changes_open(snap, 0, 0, &scan), 0);
	for (; db_changes_next(scan, bodytest_arena, &row) == 0; n++)
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
	struct db *db = bodytest_new_db(*sp, "old");
	struct revbuf revs[4], four;

	bodytest_edits(db, "d", 3, revs);
	CHECK_INT(format_of(db), FORMAT_VERSION);
	make_old(db);
	CHECK_INT(format_of(db), 1);
	db_close(db);
	dbs_free(*sp);
	*sp = bodytest_new_dbs(reopen());
	db = dbtest_open(*sp, "old");
	CHECK_INT(format_of(db), FORMAT_VERSION);
	CHECK_INT(bodytest_superseded(db), 0);
	dbtest_check(db);
	CHECK(bodytest_body_is(db, "d", &revs[1], BODYTEST_CLIENTS, "{\"n\":1}"));
	CHECK_INT(
	    bodytest_write_json(db, 1, &four, "{\"_id\":\"d\",\"_rev\":\"%s\",\"n\":4}", dbtest_rev_text(&revs[3])), 0);
	CHECK(bodytest_superseded(db) > 0);
	dbtest_check(db);
	bodytest_compact(db);
	CHECK_INT(bodytest_superseded(db), 0);
	CHECK(bodytest_body_is(db, "d", &revs[1], BODYTEST_CLIENTS, ""));
	db_close(db);
}

/* Before version 2, _local documents had a dictionary, which stays, even if no body ever had a number. */
static void
test_old_local(struct dbs **sp, struct store *(*reopen)(void))
{
	static const char text[] = "{\"type\":\"note\",\"title\":\"the title of note 7\",\"colour\":\"yellow 1\"}";
	struct db *db = bodytest_new_db(*sp, "oldlocal");
	struct db_snap *snap;
	struct jstr body;
	struct bytes r;
	struct buf b;
	uint64_t number;

	put_many(db, "n", note_format, 2000);
	while (body_dicts_current(db->file->dicts) == 0)
		usleep(200);
	bodytest_set_kept(db, 0, 0); /* the committer is done with the dictionary then, and its batch is free */
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
	*sp = bodytest_new_dbs(reopen());
	db = dbtest_open(*sp, "oldlocal");
	put_many(db, "e", event_format, 8000);
	bodytest_compact(db);
	CHECK(body_dicts_current(db->file->dicts) > 1);
	db_close(db);
	dbs_free(*sp);
	*sp = bodytest_new_dbs(reopen());
	db = dbtest_open(*sp, "oldlocal");
	dbtest_check(db);
	CHECK_INT(db_snap_begin(db, &snap), 0);
	if (CHECK_INT(db_local_get(snap, "_local/x", 8, bodytest_arena, &number, &body), 0))
		CHECK_MEM(body.s, body.len, text, strlen(text));
	db_snap_end(snap);
	db_close(db);
}

int
main(void)
{
	struct dbs *s;

	bodytest_begin();
	test_tight();
	for (int lmdb = 0; lmdb < 2; lmdb++) {
		s = bodytest_new_dbs(bodytest_store(lmdb));
		test_ids(s);
		test_numbered(s);
		test_unreadable(s);
		test_dictionaries(&s, lmdb ? bodytest_open_dir : NULL);
		if (lmdb) {
			test_old_file(&s, bodytest_open_dir);
			test_old_local(&s, bodytest_open_dir);
		}
		dbs_free(s);
	}
	bodytest_end();
	return check_done();
}
