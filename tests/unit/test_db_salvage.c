/*
 * test_db_salvage.c: the records of a damaged file, and from them a new database.
 *
 * One file has documents of every kind, and in its free pages an older state of them.  In turn each record gets a wrong byte, each page is
 * wiped.  What comes out is a text, a line for each fact; each line that is missing or another must be of a document that
 * was told, or of a loss without a name; and nothing is there that never was.
 *
 * Then the n-th allocation or call of the store fails, once or for good, for n = 1, 2, 3 ...: it ends with that error, or as if nothing
 * had failed.  What cannot be had for a moment is not told as lost.  FAULTS_STEP=1 makes each n its turn; else it is each 9th.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "bodytest.h"
#include "db/salvage.h"
#include "db/idkey_node.h"
#include "mallocs.h"
#include "store/store_impl.h"

/* ---- Faults: of this thread, which salvages, and of the commits, whoever makes them ---- */

enum { ALLOCATIONS = 1, READS, COMMITS };
static struct {
	_Atomic int what; /* of the calls that may fail now; 0: none */
	_Atomic unsigned left;
	int for_good;
	int err; /* of commits */
	_Atomic unsigned made;
} fault;
static _Thread_local int salvages;
static _Atomic int salvaging; /* whoever does */

static int
refused(int what)
{
	if (fault.what != what || (what == COMMITS ? !salvaging : !salvages))
		return 0;
	if (fault.left > 1) {
		fault.left--;
		return 0;
	}
	if (fault.left == 0 && !fault.for_good)
		return 0;
	fault.left = 0;
	fault.made++;
	return 1;
}

#ifdef MALLOCS_OWN
static void *
none(void)
{
	errno = ENOMEM;
	return NULL;
}

void *
malloc(size_t size)
{
	return refused(ALLOCATIONS) ? none() : __libc_malloc(size);
}

void *
calloc(size_t n, size_t size)
{
	return refused(ALLOCATIONS) ? none() : __libc_calloc(n, size);
}

void *
realloc(void *p, size_t size)
{
	return refused(ALLOCATIONS) ? none() : __libc_realloc(p, size);
}
#endif

/* A store in memory whose calls may fail, and which outlives the databases that are open in it. */
static const struct store_impl *real;
static struct store_impl faulty;

static void
f_free(struct store *s)
{
	(void)s;
}

static int
f_create(struct store *s, const char *name, const char *const *trees, unsigned ntrees, struct store_db **dbp)
{
	int err = real->create(s, name, trees, ntrees, dbp);

	if (!err)
		(*dbp)->impl = &faulty;
	return err;
}

static int
f_open(struct store *s, const char *name, const char *const *trees, unsigned ntrees, struct store_db **dbp)
{
	int err = refused(READS) ? ERR_IO : real->open(s, name, trees, ntrees, dbp);

	if (!err)
		(*dbp)->impl = &faulty;
	return err;
}

static int
f_snap_begin(struct store_db *db, struct store_snap **snapp)
{
	int err = refused(READS) ? ERR_IO : real->snap_begin(db, snapp);

	if (!err)
		(*snapp)->impl = &faulty;
	return err;
}

static int
f_cursor_open(struct store_snap *snap, unsigned tree, struct store_cursor **cp)
{
	int err = refused(READS) ? ERR_IO : real->cursor_open(snap, tree, cp);

	if (!err)
		(*cp)->impl = &faulty;
	return err;
}

static int
f_get(struct store_snap *snap, unsigned tree, struct store_val key, struct store_val *valp)
{
	return refused(READS) ? ERR_IO : real->get(snap, tree, key, valp);
}

static int
f_count(struct store_snap *snap, unsigned tree, uint64_t *np)
{
	return refused(READS) ? ERR_IO : real->count(snap, tree, np);
}

static int
f_move(
    struct store_cursor *c, enum store_move how, struct store_val key, struct store_val *keyp, struct store_val *valp)
{
	return refused(READS) ? ERR_IO : real->move(c, how, key, keyp, valp);
}

static int
f_commit(struct store_db *db, const struct store_item *items, size_t n)
{
	return refused(COMMITS) ? fault.err : real->commit(db, items, n);
}

static struct store *
new_store(void)
{
	struct store *s;

	CHECK_INT(store_mem_new(&s), 0);
	real = s->impl;
	faulty = *real;
	faulty.free = f_free;
	faulty.create = f_create;
	faulty.open = f_open;
	faulty.snap_begin = f_snap_begin;
	faulty.cursor_open = f_cursor_open;
	faulty.get = f_get;
	faulty.count = f_count;
	faulty.move = f_move;
	faulty.commit = f_commit;
	s->impl = &faulty;
	return s;
}

static void
drop_store(struct store *s)
{
	s->impl = real;
	store_free(s);
}

/* ---- What a database says ---- */

#define TEXT_MAX (32u << 20)

static void
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

static void
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

static int
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

static void
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
	while (db_locals_next(scan, bodytest_arena, &id, &number, &body) == 0)
		put_bytes(b, "local", id, NULL, 0, body.s, body.len);
	db_scan_close(scan);
	arena_reset(bodytest_arena);
}

static void
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

static void
edit(struct db *db, const char *json, int new_edits, struct db_write *w)
{
	if (!CHECK_INT(dbtest_write(db, bodytest_arena, json, new_edits, w), 0))
		fprintf(stderr, "%s\n", json);
}

static void
submit(struct db *db, struct db_write w)
{
	struct db_request req = {.writes = &w, .nwrites = 1};

	CHECK_INT(dbtest_submit(db, &req), 0);
	CHECK_INT(w.err, 0);
}

/* edits: ${n} more edits of document ${id}, each with a text of ${len} bytes. */
static void
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

static void
edit_one(struct db *db, const char *id)
{
	struct db_write w;
	char json[100];

	(void)snprintf(json, sizeof(json), "{\"_id\":\"%s\"}", id);
	edit(db, json, 1, &w);
}

static void
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

static void
woken(void *cookie, int err)
{
	((struct dbtest_wait *)cookie)->err = err;
	dbtest_wake(cookie);
}

static void
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
	struct dbtest_wait wait;

	CHECK_INT(db_blob_new(db, mode, &att.blob), 0);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)((i * 2654435761u >> 13) ^ len);
	for (size_t at = 0; at < len; at += sizeof(bytes)) {
		size_t n = len - at < sizeof(bytes) ? len - at : sizeof(bytes);

		CHECK_INT(db_blob_add(att.blob, bytes, n), 0);
		dbtest_wait_init(&wait);
		db_blob_flush(att.blob, woken, &wait);
		dbtest_wait_for(&wait);
		CHECK_INT(wait.err, 0);
	}
	CHECK_INT(db_blob_end(att.blob), 0);
	submit(db, w);
	db_blob_free(att.blob);
}

static const char *
long_id(char *out, size_t len, char last)
{
	memset(out, 'l', len);
	out[len - 1] = last;
	out[len] = '\0';
	return out;
}

/* write_first: What is replaced later, so that it is in free pages. */
static void
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

static void
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

static void
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

static void
free_records(struct records *r)
{
	for (size_t i = 0; i < r->n; i++)
		free(r->v[i].val);
	free(r->v);
}

static struct record *
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
static void
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

static void
write_copy(size_t len)
{
	FILE *f = fopen(path, "wb");

	CHECK(f != NULL && fwrite(copy, 1, len, f) == len && fclose(f) == 0);
}

/* spoil: One byte of a record becomes another; forged: with the right checksum. */
static void
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

struct result {
	int err;
	struct db_salvage out;
	struct buf told, text;
};

static void
hear(void *cookie, const char *line)
{
	struct result *r = cookie;
	int was_on = salvages;

	salvages = 0;
	buf_puts(&r->told, line);
	buf_putc(&r->told, '\n');
	salvages = was_on;
}

static void
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
	salvages = 1;
	salvaging = 1;
	r->err = db_salvage_gather(s, "pile", path, &r->out);
	salvages = 0;
	salvaging = 0;
	dbs = bodytest_new_dbs(s);
	if (r->err == 0 && (r->err = db_open(dbs, "pile", &dbtest_admin, &pile)) == 0) {
		dbtest_create(dbs, "to");
		to = dbtest_open(dbs, "to");
		salvages = 1;
		salvaging = 1;
		r->err = db_salvage_copy(pile, to, &r->out);
		salvages = 0;
		salvaging = 0;
		fault.what = 0;
		dbtest_check(to);
		if (r->err == 0)
			put_all(&r->text, to);
		db_close(to);
		db_close(pile);
	}
	fault.what = 0;
	dbs_free(dbs);
	drop_store(s);
}

static void
release(struct result *r)
{
	db_salvage_release(&r->out);
	buf_release(&r->told);
	buf_release(&r->text);
}

/* ---- Comparing ---- */

struct lines {
	struct jstr *v;
	size_t n;
};

static int
cmp_lines(const void *a, const void *b)
{
	const struct jstr *x = a, *y = b;
	int c = memcmp(x->s, y->s, x->len < y->len ? x->len : y->len);

	return c != 0 ? c : (x->len > y->len) - (x->len < y->len);
}

static struct lines
lines_of(const struct buf *b)
{
	struct lines l = {malloc((b->len + 1) * sizeof(*l.v)), 0};

	for (const char *p = b->data, *end = p + b->len, *nl; p < end; p = nl + 1) {
		nl = memchr(p, '\n', (size_t)(end - p));
		l.v[l.n++] = (struct jstr){p, (size_t)(nl - p)};
	}
	qsort(l.v, l.n, sizeof(*l.v), cmp_lines);
	return l;
}

static int
has_line(const struct lines *l, struct jstr line)
{
	return l->n > 0 && bsearch(&line, l->v, l->n, sizeof(*l->v), cmp_lines) != NULL;
}

/* knows_rev: Of the lines one is of this revision: the line's first three words. */
static int
knows_rev(const struct lines *l, struct jstr line)
{
	size_t from = 0, to;
	unsigned words = 0;

	while (from < line.len && line.s[from] != ' ')
		from++;
	for (to = from; to < line.len && (words += line.s[to] == ' ') < 3; to++)
		;
	for (size_t i = 0; i < l->n; i++)
		if (l->v[i].len > 3 + to - from && memcmp(l->v[i].s, "rev", 3) == 0 &&
		    memcmp(l->v[i].s + 3, line.s + from, to - from) == 0)
			return 1;
	return 0;
}

static int
is_kind(struct jstr line, const char *kind)
{
	return line.len > strlen(kind) && memcmp(line.s, kind, strlen(kind)) == 0;
}

static int
says(const struct result *r, const char *what)
{
	return r->told.len > 0 && memmem(r->told.data, r->told.len, what, strlen(what)) != NULL;
}

/* is_told: That something of the line's document is lost. */
static int
is_told(const struct result *r, struct jstr line)
{
	const char *id = memchr(line.s, ' ', line.len), *end;
	static char what[2000];

	if (is_kind(line, "security "))
		return says(r, "the security object: lost");
	if (is_kind(line, "limits "))
		return says(r, "the settings: lost");
	if (is_kind(line, "purge "))
		return says(r, "of purges");
	end = memchr(id + 1, ' ', (size_t)(line.s + line.len - id - 1));
	(void)snprintf(what, sizeof(what), "document%.*s:", (int)(end - id), id);
	if (says(r, what))
		return 1;
	what[strlen(what) - 1] = ',';
	return says(r, what);
}

static void
compare(const char *name, size_t n, const struct result *r)
{
	struct lines w = lines_of(&was), b = lines_of(&before), is = lines_of(&r->text);
	int unsure = says(r, "which pages are free") || says(r, "bear others' numbers");
	int nameless = says(r, "more: lost") || says(r, "records ");
	size_t invented = 0, silent = 0;

	for (size_t i = 0; i < is.n; i++) {
		if (has_line(&w, is.v[i]))
			continue;
		invented += !has_line(&b, is.v[i]) && !is_kind(is.v[i], "security ") && !is_kind(is.v[i], "limits ") &&
			    !knows_rev(&w, is.v[i]) && !knows_rev(&b, is.v[i]);
		silent += !is_told(r, is.v[i]) && !unsure;
	}
	for (size_t i = 0; i < w.n; i++) {
		if (has_line(&is, w.v[i]) || is_told(r, w.v[i]) || nameless || unsure)
			continue;
		silent += !is_kind(w.v[i], "local _local/point") || r->out.checkpoints == 0;
	}
	if (!CHECK(invented == 0) || !CHECK(silent == 0) || !CHECK(r->out.lost > 0 || is.n == w.n))
		fprintf(stderr, "%s %zu: %zu invented, %zu not told:\n%.*s\n", name, n, invented, silent,
		    (int)r->told.len, r->told.data);
	free(w.v);
	free(b.v);
	free(is.v);
}

static void
salvaged(const char *name, size_t n)
{
	struct result r;

	salvage(&r);
	if (CHECK_INT(r.err, 0))
		compare(name, n, &r);
	else
		fprintf(stderr, "%s %zu\n", name, n);
	release(&r);
}

/* ---- Damage ---- */

static unsigned step;

static void
test_records(void)
{
	struct result r;

	memcpy(copy, file, file_len);
	write_copy(file_len);
	salvage(&r);
	CHECK_INT(r.err, 0);
	CHECK_INT(r.out.lost, 0);
	CHECK_MEM(r.text.data, r.text.len, was.data, was.len);
	release(&r);
	for (size_t i = 0; i < newer.n; i += step) {
		memcpy(copy, file, file_len);
		spoil(&newer.v[i], (unsigned)i * 2654435761u >> 8, 0);
		write_copy(file_len);
		salvaged("record", i);
	}
}

/* A document whose row is damaged with its record: it is known by the id that its damaged record has. */
static void
test_rows(void)
{
	for (size_t i = 0; i < newer.n; i++) {
		if (newer.v[i].tree != TREE_DOCS)
			continue;
		memcpy(copy, file, file_len);
		spoil(&newer.v[i], (unsigned)i, 0);
		for (size_t k = 0; k < newer.n; k++)
			if (newer.v[k].tree == TREE_CHANGES)
				spoil(&newer.v[k], (unsigned)k, 0);
		write_copy(file_len);
		salvaged("record and row", i);
	}
}

static void
test_pages(void)
{
	for (size_t p = 0; p < file_len / PAGE; p += p < 2 ? 1 : step) {
		memcpy(copy, file, file_len);
		memset(copy + p * PAGE, 0, PAGE);
		write_copy(file_len);
		salvaged("page", p);
	}
	/* All that leads anywhere: with it the list of what is free. */
	memcpy(copy, file, file_len);
	for (size_t p = 0; p < file_len / PAGE; p++)
		if (p < 2 || copy[p * PAGE + 10] == 1)
			memset(copy + p * PAGE, 0, PAGE);
	write_copy(file_len);
	salvaged("branches", 0);
	for (size_t len = PAGE; len < file_len; len += PAGE * (size_t)step) {
		struct result r;

		write_copy(len);
		salvage(&r);
		CHECK(r.err == 0 || (r.err == ERR_CORRUPT && r.out.pages.records == 0));
		if (r.err == 0)
			compare("cut", len, &r);
		release(&r);
	}
}

/* What is wrong with the right checksum harms nobody. */
static void
test_forged(void)
{
	struct result r;

	for (size_t i = 0; i < newer.n; i += step)
		for (unsigned k = 0; k < 4; k++) {
			memcpy(copy, file, file_len);
			spoil(&newer.v[i], (unsigned)(i * 4 + k) * 2654435761u >> 8 | (k == 0 ? 0xff00u : 0), 1);
			write_copy(file_len);
			salvage(&r);
			CHECK(r.err == 0 || r.err == ERR_CORRUPT || r.err == ERR_NEWER_FORMAT);
			release(&r);
		}
}

/* ---- What is no file, what is newer, and what leads nowhere ---- */

static struct record *
change_record(unsigned tree, const char *key)
{
	struct record r = {.tree = tree, .klen = strlen(key)};

	memcpy(r.key, key, r.klen);
	return find_record(&newer, &r);
}

static void
gathers(int want)
{
	struct result r;

	salvage(&r);
	CHECK_INT(r.err, want);
	release(&r);
}

static void
test_others(void)
{
	struct record *format = change_record(TREE_META, "format");

	(void)unlink(path);
	gathers(ERR_NO_DB);
	CHECK_INT(mkdir(path, 0700), 0);
	gathers(ERR_CORRUPT);
	CHECK_INT(rmdir(path), 0);
	memset(copy, 'n', 9 * PAGE);
	write_copy(0);
	gathers(ERR_CORRUPT);
	write_copy(9 * PAGE);
	gathers(ERR_CORRUPT);
	memcpy(copy, file, file_len);
	spoil(format, 99 << 8, 1);
	write_copy(file_len);
	gathers(ERR_NEWER_FORMAT);
}

/* Long ids' pointers that lead in a circle, and a key that is longer than an id may be. */
static void
test_circle(void)
{
	struct result r;

	for (size_t i = 0; i < newer.n; i++) {
		struct record *p = &newer.v[i], kept = *p;
		struct idkey_pointer to;
		struct store_val val = {p->val, p->vlen};

		if (p->tree != TREE_DOCS_DEEP || !idkey_node_is_pointer(&(struct store_val){p->key, p->klen}) ||
		    !CHECK_INT(idkey_node_pointer(p->tree, p->key, p->klen, &val, &to), 0))
			continue;
		p->val = malloc(p->vlen);
		memcpy(p->val, kept.val, p->vlen);
		p->val[0] = p->key[7]; /* its own node */
		record_sum(p->tree, p->key, p->klen, p->val, p->vlen - RECORD_SUM_LEN);
		make_file(&older, &newer);
		salvage(&r);
		CHECK_INT(r.err, 0);
		CHECK(r.out.lost > 0);
		release(&r);
		free(p->val);
		*p = kept;
	}
}

/* ---- More than one batch takes ---- */

static void
test_large(void)
{
	struct records all;
	struct store *s = new_store();
	struct dbs *dbs = bodytest_new_dbs(s);
	struct db *db;
	char id[40];

	dbtest_create(dbs, "x");
	db = dbtest_open(dbs, "x");
	submit(db, (struct db_write){.kind = DB_WRITE_REVS_LIMIT, .number = 900});
	for (unsigned i = 0; i < 100; i++) {
		(void)snprintf(id, sizeof(id), "doc%u", i);
		edit_one(db, id);
		(void)snprintf(id, sizeof(id), "purged%u", i);
		purge_one(db, id);
		(void)snprintf(id, sizeof(id), "att%u", i);
		attach(db, id, i, DB_BLOB_PLAIN);
	}
	edits(db, "many", 300, 9);
	edits(db, "wide", 12, 1000000);
	attach(db, "huge", 9u << 20, DB_BLOB_PLAIN);
	buf_clear(&before);
	buf_clear(&was);
	put_all(&was, db);
	take_records(db->file->store, &all);
	db_close(db);
	dbs_free(dbs);
	drop_store(s);
	make_file(&(struct records){0}, &all);
	memcpy(copy, file, file_len);
	write_copy(file_len);
	salvaged("large", 0);
	for (size_t i = 0; i < all.n; i += all.n / 7) {
		memcpy(copy, file, file_len);
		spoil(&all.v[i], (unsigned)i, 0);
		write_copy(file_len);
		salvaged("large", i);
	}
	/* And every document's record. */
	memcpy(copy, file, file_len);
	for (size_t i = 0; i < all.n; i++)
		if (all.v[i].tree == TREE_DOCS)
			spoil(&all.v[i], (unsigned)i, 0);
	write_copy(file_len);
	salvaged("all records", 0);
	free_records(&all);
}

/* ---- What fails ---- */

static void
test_faults(int what, int for_good, const struct result *right)
{
	struct result r;
	unsigned by = what == COMMITS ? 1 : step; /* there are five commits */
	unsigned n = 1 + (unsigned)(what * 2 + for_good) % by;

	for (;; n += by) {
		fault.left = n;
		fault.for_good = for_good;
		fault.err = !for_good ? ERR_IO : n % 2 ? ERR_NOSPACE : ERR_READONLY;
		fault.made = 0;
		fault.what = what;
		salvage(&r);
		if (r.err == 0) {
			CHECK_MEM(r.told.data, r.told.len, right->told.data, right->told.len);
			CHECK_MEM(r.text.data, r.text.len, right->text.data, right->text.len);
		} else if (!CHECK(r.err == (what == ALLOCATIONS ? ERR_NOMEM : what == COMMITS ? fault.err : ERR_IO))) {
			fprintf(stderr, "fault %d, the %u-th: %s\n", what, n, err_reason(r.err));
		}
		release(&r);
		if (fault.made == 0)
			break;
	}
	if (getenv("SHOW") != NULL)
		fprintf(stderr, "fault %d: %u\n", what, n);
}

static void
test_all_faults(void)
{
	struct result right;

	memcpy(copy, file, file_len);
	for (size_t i = 0; i < newer.n; i++)
		if (i % 5 == 0 && newer.v[i].tree != TREE_META)
			spoil(&newer.v[i], (unsigned)i * 2654435761u >> 8, 0);
	write_copy(file_len);
	salvage(&right);
	CHECK_INT(right.err, 0);
	CHECK(right.out.lost > 5);
	for (int for_good = 0; for_good < 2; for_good++) {
#ifdef MALLOCS_OWN
		test_faults(ALLOCATIONS, for_good, &right);
#endif
		test_faults(READS, for_good, &right);
		test_faults(COMMITS, for_good, &right);
	}
	release(&right);
}

int
main(void)
{
	struct store *s;
	struct dbs *dbs;
	struct db *db;

	step = getenv("FAULTS_STEP") != NULL ? (unsigned)strtoul(getenv("FAULTS_STEP"), NULL, 10) : 9;
	alarm(900);
	log_set_level(LOG_NONE);
	bodytest_begin();
	if (!CHECK(mkdtemp(dir) != NULL))
		return 1;
	(void)snprintf(path, sizeof(path), "%s/x.divan", dir);
	file = malloc(FILE_MAX);
	copy = malloc(FILE_MAX);
	buf_init(&before, TEXT_MAX);
	buf_init(&was, TEXT_MAX);
	s = new_store();
	dbs = bodytest_new_dbs(s);
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
	make_file(&older, &newer);
	test_records();
	test_rows();
	test_pages();
	test_forged();
	test_all_faults();
	test_others();
	test_circle();
	test_large();
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
	return check_done();
}
