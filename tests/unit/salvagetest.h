/*
 * salvagetest.h: what the tests of the salvage share: a database with documents of every kind, its file, in whose free pages an older state
 * of it stands, damage done to that, a salvage, and what a database says, as a text: a line for each fact.
 */
#ifndef TESTS_UNIT_SALVAGETEST_H_
#define TESTS_UNIT_SALVAGETEST_H_

#include <stdlib.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "bodytest.h"
#include "db/salvage.h"
#include "store/record.h"
#include "store/store_impl.h"

/* ---- A store in memory, which outlives the databases that are open in it ---- */

static const struct store_impl *real;
static struct store_impl outliving; /* and in a test of faults its calls may fail */

static inline void
outliving_free(struct store *s)
{
	(void)s;
}

static inline struct store *
new_store(void)
{
	struct store *s;

	CHECK_INT(store_mem_new(&s), 0);
	if (real == NULL) {
		real = s->impl;
		outliving = *real;
		outliving.free = outliving_free;
	}
	s->impl = &outliving;
	return s;
}

static inline void
drop_store(struct store *s)
{
	s->impl = real;
	store_free(s);
}

/* ---- What a database says ---- */

#define TEXT_MAX (32u << 20)

static inline void
put_bytes(struct buf *b, const char *what, struct jstr id, const struct rev *r, uint64_t n, const void *p, size_t len)
{
	unsigned char md5[MD5_LEN];
	char line[200];

	hash_md5(p, len, md5);
	(void)snprintf(line, sizeof(line), "%s ", what);
	buf_puts(b, line);
	buf_put(b, id.s, id.len);
	buf_putc(b, ' ');
	if (r != NULL)
		rev_put(b, r);
	(void)snprintf(line, sizeof(line), " %llu %zu:%02x%02x%02x%02x ", (unsigned long long)n, len, md5[0], md5[1],
	    md5[2], md5[3]);
	buf_puts(b, line);
	for (size_t i = 0; i < len && i < 60; i++)
		buf_putc(b, ((const char *)p)[i] >= ' ' ? ((const char *)p)[i] : '?');
	buf_putc(b, '\n');
}

static inline void
put_atts(struct buf *b, struct db_snap *snap, const struct db_doc *doc, const struct db_rev *rev)
{
	struct buf bytes;
	int err;

	for (size_t i = 0; i < rev->natts; i++) {
		const struct doc_att *att = &rev->atts[i];

		buf_init(&bytes, TEXT_MAX);
		for (uint64_t chunk = 0; (err = db_att_read(snap, att, chunk, &bytes)) == 0; chunk++)
			;
		CHECK_INT(err, ERR_END);
		put_bytes(b, "att", doc->id, &rev->node.rev, att->revpos * 10 + att->encoding, bytes.data, bytes.len);
		put_bytes(b, "name", doc->id, &rev->node.rev, att->length, att->name.s, att->name.len);
		buf_release(&bytes);
	}
}

struct tell_node {
	struct buf *b;
	struct db_snap *snap;
	struct db_doc *doc;
	struct revtree *t;
};

static inline int
put_node(struct revnode *node, struct revpos at, void *cookie)
{
	struct tell_node *n = cookie;
	struct db_rev rev;
	int leaf = revtree_is_leaf(n->t, at);
	int err = db_doc_base(n->doc, node, bodytest_arena, &rev);

	CHECK(err == 0 || (err == ERR_MISSING && !leaf));
	if (leaf)
		put_bytes(n->b, "leaf", n->doc->id, &node->rev, 0, "", 0);
	put_bytes(n->b, "rev", n->doc->id, &node->rev, node->deleted, err == 0 ? rev.body.s : "",
	    err == 0 ? rev.body.len : 0);
	if (err == 0)
		put_atts(n->b, n->snap, n->doc, &rev);
	return 0;
}

static inline void
put_docs(struct buf *b, struct db_snap *snap)
{
	struct tell_node n = {.b = b, .snap = snap};
	struct db_range all = {0};
	struct db_scan *scan;
	struct db_doc doc;
	struct jstr id, body;
	uint64_t number;

	CHECK_INT(db_docs_open(snap, &all, &scan), 0);
	while (db_docs_next(scan, bodytest_arena, &doc) == 0) {
		n.doc = &doc;
		CHECK_INT(db_doc_tree(&doc, 1, &n.t), 0);
		CHECK_INT(revtree_each(n.t, put_node, &n), 0);
		arena_reset(bodytest_arena);
	}
	db_scan_close(scan);
	CHECK_INT(db_locals_open(snap, &all, &scan), 0);
	while (db_locals_step(scan, bodytest_arena, &id, &number, &body) == 0)
		put_bytes(b, "local", id, NULL, 0, body.s, body.len);
	db_scan_close(scan);
	arena_reset(bodytest_arena);
}

static inline void
put_all(struct buf *b, struct db *db)
{
	struct db_snap *snap;
	struct db_scan *scan;
	struct db_purge purge;
	struct db_info info;
	struct buf security;
	char limits[100];

	CHECK_INT(db_snap_begin(db, &snap), 0);
	put_docs(b, snap);
	CHECK_INT(db_purges_open(snap, 0, &scan), 0);
	while (db_purges_next(scan, bodytest_arena, &purge) == 0)
		put_bytes(b, "purge", purge.id, &purge.revs[0], purge.nrevs, "", 0);
	db_scan_close(scan);
	db_snap_end(snap);
	CHECK_INT(db_info(db, &info), 0);
	(void)snprintf(limits, sizeof(limits), "%llu %llu %llu", (unsigned long long)info.revs_limit,
	    (unsigned long long)info.purged_limit, (unsigned long long)info.keep_revs);
	put_bytes(b, "limits", (struct jstr){"", 0}, NULL, 0, limits, strlen(limits));
	buf_init(&security, 1u << 20);
	CHECK_INT(db_security(db, &security), 0);
	put_bytes(b, "security", (struct jstr){"", 0}, NULL, 0, security.data, security.len);
	buf_release(&security);
	arena_reset(bodytest_arena);
}

/* ---- A database with something of everything ---- */

static inline void
edit(struct db *db, const char *json, int new_edits, struct db_write *w)
{
	if (!CHECK_INT(dbtest_write(db, bodytest_arena, json, new_edits, w), 0))
		fprintf(stderr, "%s\n", json);
}

static inline void
submit(struct db *db, struct db_write w)
{
	struct db_request req = {.writes = &w, .nwrites = 1};

	CHECK_INT(dbtest_submit(db, &req), 0);
	CHECK_INT(w.err, 0);
}

/* edits: ${n} more edits of document ${id}, each with a text of ${len} bytes. */
static inline void
edits(struct db *db, const char *id, unsigned n, unsigned len)
{
	static char revs[20][REV_TEXT_MAX + 1], names[20][40];
	static char json[1u << 20];
	char name[40], rev[REV_TEXT_MAX + 12] = "";
	struct db_write w;
	unsigned k = 0;

	(void)snprintf(name, sizeof(name), "%c%.30s", id[strlen(id) - 1], id);
	while (k < 19 && names[k][0] != '\0' && strcmp(names[k], name) != 0)
		k++;
	memcpy(names[k], name, sizeof(name));
	for (unsigned i = 0; i < n; i++) {
		if (revs[k][0] != '\0')
			(void)snprintf(rev, sizeof(rev), ",\"_rev\":\"%s\"", revs[k]);
		(void)snprintf(
		    json, sizeof(json), "{\"_id\":\"%s\"%s,\"n\":%u,\"t\":\"%0*u\"}", id, rev, i, (int)len, i);
		edit(db, json, 1, &w);
		(void)snprintf(revs[k], sizeof(revs[k]), "%s", dbtest_rev_text(&w.rev));
		arena_reset(bodytest_arena);
	}
}

static inline void
purge_one(struct db *db, const char *id)
{
	unsigned char gone[1];
	struct db_write w;
	struct rev at;
	char json[100];

	(void)snprintf(json, sizeof(json), "{\"_id\":\"%s\"}", id);
	edit(db, json, 1, &w);
	at = rev_of(&w.rev);
	submit(db,
	    (struct db_write){.kind = DB_WRITE_PURGE, .id = {id, strlen(id)}, .path = &at, .npath = 1, .purged = gone});
}

static inline void
attach(struct db *db, const char *id, size_t len, enum db_blob_mode mode)
{
	struct db_write_att att = {.name = {"file", 4}, .type = {"a/b", 3}};
	struct db_write w = {.kind = DB_WRITE_EDIT,
	    .id = {id, strlen(id)},
	    .body = {"{}", 2},
	    .body_etf = {"h\001j", 3},
	    .atts = &att,
	    .natts = 1};
	static char bytes[256 * 1024];

	CHECK_INT(db_blob_new(db, mode, &att.blob), 0);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)((i * 2654435761u >> 13) ^ len);
	for (size_t at = 0; at < len; at += sizeof(bytes)) {
		size_t n = len - at < sizeof(bytes) ? len - at : sizeof(bytes);

		CHECK_INT(db_blob_add(att.blob, bytes, n), 0);
		CHECK_INT(dbtest_flush(att.blob), 0);
	}
	CHECK_INT(db_blob_end(att.blob), 0);
	submit(db, w);
	db_blob_free(att.blob);
}

static inline const char *
long_id(char *out, size_t len, char last)
{
	memset(out, 'l', len);
	out[len - 1] = last;
	out[len] = '\0';
	return out;
}

/* write_first: What is replaced later, so that it is in free pages. */
static inline void
write_first(struct db *db)
{
	char id[1300];

	submit(db, (struct db_write){.kind = DB_WRITE_REVS_LIMIT, .number = 900});
	submit(db, (struct db_write){.kind = DB_WRITE_SECURITY, .body = {"{\"members\":{\"names\":[\"old\"]}}", 29}});
	submit(db, (struct db_write){.kind = DB_WRITE_LOCAL, .id = {"_local/mine", 11}, .body = {"{\"n\":1}", 7}});
	edits(db, "small", 2, 9);
	edits(db, "large", 2, 3000);
	edits(db, "history", 60, 9);
	edits(db, long_id(id, 600, 'a'), 1, 9);
	edits(db, long_id(id, 600, 'b'), 1, 9);
}

static inline void
write_more(struct db *db)
{
	static const char tomb[] = "{\"_id\":\"gone\",\"_rev\":\"2-b\",\"_deleted\":true,\"why\":\"%s\","
				   "\"_revisions\":{\"start\":2,\"ids\":[\"b\",\"a\"]}}";
	static char text[4000], big[5000];
	char id[1300];
	struct db_write w;

	submit(db, (struct db_write){.kind = DB_WRITE_PURGED_LIMIT, .number = 7});
	submit(db, (struct db_write){.kind = DB_WRITE_HISTORY_KEPT, .number = 3});
	submit(db, (struct db_write){.kind = DB_WRITE_SECURITY, .body = {"{\"members\":{\"names\":[\"ann\"]}}", 29}});
	edits(db, "small", 3, 9);
	edits(db, "large", 3, 3000);
	edits(db, "history", 40, 9);
	edits(db, long_id(id, 600, 'a'), 2, 9);
	edits(db, long_id(id, 1250, 'c'), 2, 2000);
	edits(db, "_design/d", 1, 9);
	memset(text, 'w', sizeof(text) - 1);
	(void)snprintf(big, sizeof(big), tomb, text);
	edit(db, "{\"_id\":\"gone\",\"_rev\":\"1-a\",\"was\":1}", 0, &w);
	edit(db, big, 0, &w);
	(void)snprintf(big, sizeof(big),
	    "{\"_id\":\"back\",\"_rev\":\"3-c\",\"t\":\"%s\",\"_revisions\":{\"start\":3,\"ids\":[\"c\",\"b\",\"a\"]}}",
	    text);
	edit(db, "{\"_id\":\"back\",\"_rev\":\"1-a\",\"was\":1}", 0, &w);
	edit(db,
	    "{\"_id\":\"back\",\"_rev\":\"2-b\",\"_deleted\":true,\"_revisions\":{\"start\":2,\"ids\":[\"b\",\"a\"]}}",
	    0, &w);
	edit(db, big, 0, &w);
	(void)snprintf(big, sizeof(big),
	    "{\"_id\":\"torn\",\"_rev\":\"2-x\",\"t\":\"%s\",\"_revisions\":{\"start\":2,\"ids\":[\"x\",\"r\"]}}",
	    text);
	edit(db, big, 0, &w);
	edit(db, "{\"_id\":\"torn\",\"_rev\":\"1-y\",\"t\":1}", 0, &w);
	edit(db,
	    "{\"_id\":\"torn\",\"_rev\":\"3-z\",\"_deleted\":true,\"_revisions\":{\"start\":3,\"ids\":[\"z\",\"q\","
	    "\"r\"]}}",
	    0, &w);
	attach(db, "photo", 150000, DB_BLOB_PLAIN);
	attach(db, "note", 90000, DB_BLOB_COMPRESS);
	purge_one(db, "purged");
	submit(db, (struct db_write){.kind = DB_WRITE_LOCAL, .id = {"_local/mine", 11}, .body = {"{\"n\":2}", 7}});
	submit(db, (struct db_write){.kind = DB_WRITE_LOCAL,
		       .id = {"_local/point", 12},
		       .body = {"{\"session_id\":\"x\",\"history\":[]}", 31}});
	memcpy(id, "_local/", 7);
	(void)long_id(id + 7, 600, 'd');
	submit(db, (struct db_write){.kind = DB_WRITE_LOCAL, .id = {id, 607}, .body = {"{\"n\":3}", 7}});
}

/* ---- Its records, and a file of them ---- */

struct record {
	unsigned tree;
	size_t klen, vlen;
	unsigned char key[STORE_KEY_MAX];
	unsigned char *val;
};
struct records {
	struct record *v;
	size_t n;
};

static inline void
take_records(struct store_db *db, struct records *out)
{
	struct store_snap *snap;
	struct store_cursor *c;
	struct store_val key, val;

	out->v = malloc(2000 * sizeof(*out->v));
	out->n = 0;
	CHECK_INT(store_snap_begin(db, &snap), 0);
	for (unsigned t = 0; t < TREE_COUNT; t++) {
		CHECK_INT(store_cursor_open(snap, t, &c), 0);
		for (int err = store_seek(c, NULL, 0, &key, &val); err == 0; err = store_next(c, &key, &val)) {
			struct record *r = &out->v[out->n++];

			if (!CHECK(out->n < 2000))
				exit(1);
			*r = (struct record){.tree = t, .klen = key.len, .vlen = val.len, .val = malloc(val.len)};
			memcpy(r->key, key.p, key.len);
			memcpy(r->val, val.p, val.len);
		}
		store_cursor_close(c);
	}
	store_snap_end(snap);
}

static inline void
free_records(struct records *r)
{
	for (size_t i = 0; i < r->n; i++)
		free(r->v[i].val);
	free(r->v);
}

static inline struct record *
find_record(const struct records *in, const struct record *r)
{
	for (size_t i = 0; i < in->n; i++)
		if (in->v[i].tree == r->tree && in->v[i].klen == r->klen && memcmp(in->v[i].key, r->key, r->klen) == 0)
			return &in->v[i];
	return NULL;
}

static char dir[] = "/tmp/divan-salvage-XXXXXX", path[64];
static unsigned char *file, *copy;
static size_t file_len;
static struct records older, newer;
static struct buf before, was; /* what the database said then, and in the end */

#define PAGE 4096u
#define FILE_MAX (64u << 20)

/* make_file: ${old} is committed first, so that what is not in ${new} is in free pages. */
static inline void
make_file(const struct records *old, const struct records *new)
{
	struct store *s;
	struct store_db *db;
	struct store_batch *b;
	FILE *f;

	(void)unlink(path);
	CHECK_INT(store_lmdb_new(dir, &s), 0);
	if (!CHECK_INT(store_create(s, "x", db_tree_names, TREE_COUNT, &db), 0) ||
	    !CHECK_INT(store_batch_new(db, &b), 0))
		exit(1);
	for (size_t i = 0; i < old->n; i++)
		CHECK_INT(
		    store_put(b, old->v[i].tree, old->v[i].key, old->v[i].klen, old->v[i].val, old->v[i].vlen), 0);
	CHECK_INT(store_commit(b), 0);
	for (size_t i = 0; i < old->n; i++)
		if (find_record(new, &old->v[i]) == NULL)
			CHECK_INT(store_del(b, old->v[i].tree, old->v[i].key, old->v[i].klen), 0);
	for (size_t i = 0; i < new->n; i++) {
		const struct record *r = &new->v[i], *o = find_record(old, r);

		if (o == NULL || o->vlen != r->vlen || memcmp(o->val, r->val, r->vlen) != 0)
			CHECK_INT(store_put(b, r->tree, r->key, r->klen, r->val, r->vlen), 0);
	}
	CHECK_INT(store_commit(b), 0);
	store_batch_free(b);
	store_close(db);
	store_free(s);
	if (!CHECK((f = fopen(path, "rb")) != NULL))
		exit(1);
	file_len = fread(file, 1, FILE_MAX, f);
	CHECK(file_len < FILE_MAX && file_len % PAGE == 0);
	fclose(f);
}

static inline void
write_copy(size_t len)
{
	FILE *f = fopen(path, "wb");

	CHECK(f != NULL && fwrite(copy, 1, len, f) == len && fclose(f) == 0);
}

/* spoil: One byte of a record becomes another; forged: with the right checksum. */
static inline void
spoil(const struct record *r, unsigned how, int forged)
{
	unsigned char *at = copy, *end = copy + file_len;
	unsigned n = 0;

	for (; (at = memmem(at, (size_t)(end - at), r->val, r->vlen)) != NULL; at += r->vlen, n++) {
		if (forged && r->vlen > RECORD_SUM_LEN) {
			at[how % (r->vlen - RECORD_SUM_LEN)] = (unsigned char)(how >> 8);
			record_sum(r->tree, r->key, r->klen, at, r->vlen - RECORD_SUM_LEN);
		} else {
			at[how % r->vlen] ^= (unsigned char)(1u << how / 512 % 8);
		}
	}
	CHECK(n > 0);
}

/* ---- A salvage ---- */

static _Thread_local int salvages; /* this thread does */
static _Atomic int salvaging;      /* any thread does */

static inline void
salvages_now(int on)
{
	salvages = on;
	salvaging = on;
}

struct result {
	int err;
	struct db_salvage out;
	struct buf told, text;
};

static inline void
hear(void *cookie, const char *line)
{
	struct result *r = cookie;
	int was_on = salvages;

	salvages = 0;
	buf_puts(&r->told, line);
	buf_putc(&r->told, '\n');
	salvages = was_on;
}

static inline void
salvage(struct result *r)
{
	struct store *s = new_store();
	struct dbs *dbs = bodytest_new_dbs(s);
	struct db *pile = NULL, *to = NULL;

	memset(r, 0, sizeof(*r));
	buf_init(&r->told, TEXT_MAX);
	buf_init(&r->text, TEXT_MAX);
	r->out = (struct db_salvage){.tell = hear, .cookie = r};
	dbtest_create(dbs, "pile");
	dbs_free(dbs);
	salvages_now(1);
	r->err = db_salvage_gather(s, "pile", path, &r->out);
	salvages_now(0);
	dbs = bodytest_new_dbs(s);
	if (r->err == 0 && (r->err = db_open(dbs, "pile", &dbtest_admin, &pile)) == 0) {
		dbtest_create(dbs, "to");
		to = dbtest_open(dbs, "to");
		salvages_now(1);
		r->err = db_salvage_copy(pile, to, &r->out);
		salvages_now(0);
		dbtest_check(to);
		if (r->err == 0)
			put_all(&r->text, to);
		db_close(to);
		db_close(pile);
	}
	dbs_free(dbs);
	drop_store(s);
}

static inline void
release(struct result *r)
{
	db_salvage_release(&r->out);
	buf_release(&r->told);
	buf_release(&r->text);
}

/* ---- All of it ---- */

static unsigned step; /* of records, pages and calls each so many-th has its turn: FAULTS_STEP, or 9 */

static inline void
make_states(void)
{
	struct store *s = new_store();
	struct dbs *dbs = bodytest_new_dbs(s);
	struct db *db;

	dbtest_create(dbs, "x");
	db = dbtest_open(dbs, "x");
	write_first(db);
	put_all(&before, db);
	take_records(db->file->store, &older);
	write_more(db);
	put_all(&was, db);
	take_records(db->file->store, &newer);
	db_close(db);
	dbs_free(dbs);
	drop_store(s);
}

/* salvagetest_begin: Make both states, and the file.  0: that is not possible. */
static inline int
salvagetest_begin(void)
{
	const char *every = getenv("FAULTS_STEP");

	step = every != NULL ? (unsigned)strtoul(every, NULL, 10) : 9;
	step = step > 0 ? step : 1;
	alarm(900);
	log_set_level(LOG_NONE);
	bodytest_begin();
	if (!CHECK(mkdtemp(dir) != NULL))
		return 0;
	(void)snprintf(path, sizeof(path), "%s/x.divan", dir);
	file = malloc(FILE_MAX);
	copy = malloc(FILE_MAX);
	buf_init(&before, TEXT_MAX);
	buf_init(&was, TEXT_MAX);
	make_states();
	make_file(&older, &newer);
	return 1;
}

static inline void
salvagetest_end(void)
{
	free_records(&older);
	free_records(&newer);
	buf_release(&before);
	buf_release(&was);
	free(file);
	free(copy);
	(void)unlink(path);
	(void)snprintf(path, sizeof(path), "%s/x.divan-lock", dir);
	(void)unlink(path);
	CHECK_INT(rmdir(dir), 0);
	bodytest_end();
}

#endif
