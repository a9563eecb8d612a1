/*
 * The document API.  The input is a series of writes to few documents of one database in memory, with an executor that runs one
 * job after another: edits, replicated paths, tombstones, attachments, _local documents, purges, compactions, and failing
 * commits.  Several requests may wait for one commit.  At the end the database must be sound, and its ways of reading agree.
 */
#include <string.h>

#include "base/log.h"
#include "db/db.h"
#include "executor.h"
#include "fuzz.h"

#define MAX ((size_t)64 << 20)
#define IDS 8u
#define REVS 16u     /* remembered of one document */
#define WAITING 4u   /* requests that may wait */
#define WRITES 4u    /* of one request */
#define REQUESTS 96u /* of one input */
#define PATH 80u

static const struct principal admin = {.name = "admin", .server_admin = 1};

/* A request and everything that it borrows. */
struct asked {
	struct db_request req;
	struct db_write writes[WRITES];
	unsigned doc[WRITES];
	struct db_write_att atts[WRITES][2];
	struct db_blob *blobs[WRITES][2];
	unsigned char purged[WRITES][2];
	int done;
};

struct machine {
	struct fuzz_in in;
	struct arena *a;
	struct store *store;
	struct dbs *dbs;
	struct db *db;
	char long_id[4][600];
	struct jstr ids[IDS];
	struct revbuf revs[IDS][REVS]; /* the newest written */
	size_t nrevs[IDS];
	struct asked asked[WAITING];
	size_t nasked;
	unsigned mark; /* makes bodies differ */
};

/* What is to be done later is not done. */
static void
run_queue(void)
{
	while (run_job())
		;
}

/* ---- Requests ---- */

static void
answered(struct db_request *req)
{
	struct asked *q = req->cookie;

	FUZZ_CHECK(!q->done);
	q->done = 1;
}

/* settle: Run what waits, then look at the outcomes. */
static void
settle(struct machine *m)
{
	run_queue();
	for (size_t i = 0; i < m->nasked; i++) {
		struct asked *q = &m->asked[i];

		FUZZ_CHECK(q->done);
		for (size_t k = 0; k < q->req.nwrites; k++) {
			struct db_write *w = &q->writes[k];
			unsigned d = q->doc[k];

			if (w->err == ERR_CORRUPT || w->err == ERR_INTERNAL || w->err == ERR_NOMEM)
				fprintf(stderr, "write of kind %d to document %u: %s: %s\n", (int)w->kind, d,
				    err_reason(w->err), w->why.text);
			FUZZ_CHECK(w->err != ERR_CORRUPT && w->err != ERR_INTERNAL && w->err != ERR_NOMEM);
			if (w->err == 0 && w->kind <= DB_WRITE_REPLICATE)
				m->revs[d][m->nrevs[d]++ % REVS] = w->rev;
			for (int n = 0; n < 2; n++)
				db_blob_free(q->blobs[k][n]);
		}
	}
	run_queue();
	m->nasked = 0;
	arena_reset(m->a);
}

/* known_rev: One of the document's newest revisions; 0 if there is none. */
static int
known_rev(struct machine *m, unsigned d, unsigned choice, struct revbuf *out)
{
	size_t n = m->nrevs[d] < REVS ? m->nrevs[d] : REVS;

	if (n == 0)
		return 0;
	*out = m->revs[d][(m->nrevs[d] - 1 - choice % n) % REVS];
	return 1;
}

static void
draw_body(struct machine *m, struct db_write *w, unsigned choice)
{
	size_t fill = choice % 4 == 3 ? (choice >> 2) * 40u : choice >> 2;
	struct jread j;
	struct buf json, text, etf;

	buf_init_arena(&json, m->a, MAX);
	buf_init_arena(&text, m->a, MAX);
	buf_init_arena(&etf, m->a, MAX);
	if (choice == 0) {
		buf_puts(&json, "{}");
	} else {
		buf_puts(&json, "{\"n\":");
		buf_put_u64(&json, choice % 4 == 2 ? 0 : m->mark++);
		buf_puts(&json, ",\"s\":\"");
		for (size_t i = 0; i < fill; i++)
			buf_putc(&json, (char)('a' + (i * i + choice) % 26));
		buf_puts(&json, "\"}");
	}
	FUZZ_CHECK(buf_failed(&json) == 0);
	jread_init(&j, json.data, json.len);
	FUZZ_CHECK(jread_text(&j, &text, &etf) == 0);
	w->body = (struct jstr){text.data, text.len};
	w->body_etf = (struct jstr){etf.data, etf.len};
}

static void
draw_atts(struct machine *m, struct asked *q, size_t k, unsigned choice)
{
	static const struct jstr names[] = {{"a.txt", 5}, {"b.png", 5}};
	struct db_write *w = &q->writes[k];

	w->atts = q->atts[k];
	for (unsigned n = 0; n < 2; n++) {
		struct db_write_att *att = &q->atts[k][w->natts];
		unsigned bits = choice >> (4 * n) & 15;
		char bytes[64];

		if (bits % 4 == 0)
			continue;
		*att = (struct db_write_att){
		    .name = names[n], .type = {n == 0 ? "text/plain" : "image/png", n == 0 ? 10 : 9}};
		w->natts++;
		if (bits % 4 == 3) /* a stub */
			continue;
		FUZZ_CHECK(db_blob_new(m->db, n == 0 ? DB_BLOB_COMPRESS : DB_BLOB_PLAIN, &q->blobs[k][n]) == 0);
		memset(bytes, (int)('a' + bits), sizeof(bytes));
		FUZZ_CHECK(db_blob_add(q->blobs[k][n], bytes, bits * 4) == 0);
		FUZZ_CHECK(db_blob_end(q->blobs[k][n]) == 0);
		att->blob = q->blobs[k][n];
		att->has_revpos = (int)(bits >> 2 & 1);
		att->revpos = 1;
	}
}

/* draw_path: Onto a revision that is known, or a path of its own.  An id tells its way, so that it has one history. */
static void
draw_path(struct machine *m, struct db_write *w, unsigned d)
{
	unsigned choice = fuzz_byte(&m->in);
	uint64_t gen = 1 + fuzz_byte(&m->in);
	unsigned letter = fuzz_byte(&m->in);
	size_t n = 1 + choice % PATH;
	struct rev *path = arena_calloc(m->a, PATH + 1, sizeof(*path));
	struct revbuf *base = arena_calloc(m->a, 1, sizeof(*base));
	unsigned char *ids = arena_calloc(m->a, PATH, 6);
	uint32_t way = 0;
	int on_known;

	FUZZ_CHECK(path != NULL && base != NULL && ids != NULL);
	on_known = choice & 128 && known_rev(m, d, letter >> 4, base);
	if (on_known) {
		n = 1 + choice % 4;
		gen = base->gen + n;
		way = (uint32_t)base->gen;
		for (size_t i = 0; i < base->len; i++)
			way = (way ^ base->id[i]) * 16777619u;
	} else {
		n = n < gen ? n : gen;
	}
	for (size_t i = 0; i < n; i++) {
		ids[6 * i] = (unsigned char)('a' + letter % 4);
		ids[6 * i + 1] = (unsigned char)(gen - i);
		memcpy(ids + 6 * i + 2, &way, sizeof(way));
		path[i] = (struct rev){gen - i, ids + 6 * i, 6};
	}
	if (on_known)
		path[n++] = rev_of(base);
	w->path = path;
	w->npath = n;
}

static void
draw_local(struct machine *m, struct db_write *w)
{
	static const struct jstr ids[] = {{"_local/a", 8}, {"_local/b", 8}};
	unsigned choice = fuzz_byte(&m->in);

	w->kind = DB_WRITE_LOCAL;
	w->id = ids[choice & 1];
	w->deleted = (choice >> 1) % 4 == 3;
	w->has_parent = (int)(choice >> 3 & 1);
	w->parent = (struct revbuf){.gen = 0, .len = 1, .id = {(unsigned char)('1' + (choice >> 4) % 4)}};
}

static void
draw_purge(struct machine *m, struct asked *q, size_t k, unsigned d)
{
	struct db_write *w = &q->writes[k];
	struct revbuf *revs = arena_calloc(m->a, 2, sizeof(*revs));
	struct rev *path = arena_calloc(m->a, 2, sizeof(*path));
	unsigned choice = fuzz_byte(&m->in);

	FUZZ_CHECK(revs != NULL && path != NULL);
	w->kind = DB_WRITE_PURGE;
	w->path = path;
	w->purged = q->purged[k];
	for (int i = 0; i < 2; i++)
		if (known_rev(m, d, choice >> (4 * i) & 15, &revs[w->npath])) {
			path[w->npath] = rev_of(&revs[w->npath]);
			w->npath++;
		}
	if (w->npath == 0) {
		path[0] = (struct rev){1, (const unsigned char *)"x", 1};
		w->npath = 1;
	}
}

static void
draw_write(struct machine *m, struct asked *q, size_t k)
{
	struct db_write *w = &q->writes[k];
	unsigned kind = fuzz_byte(&m->in);
	unsigned d = (kind >> 4) % IDS;

	*w = (struct db_write){.id = m->ids[d]};
	q->doc[k] = d;
	draw_body(m, w, fuzz_byte(&m->in));
	switch (kind % 16) {
	default:
		w->kind = DB_WRITE_EDIT;
		w->has_parent = known_rev(m, d, kind % 4 == 3 ? fuzz_byte(&m->in) : 0, &w->parent);
		w->deleted = kind % 16 == 2;
		if (kind & 4)
			draw_atts(m, q, k, fuzz_byte(&m->in));
		break;
	case 8:
	case 9:
	case 10:
	case 11:
		w->kind = DB_WRITE_REPLICATE;
		w->deleted = kind % 16 == 9;
		draw_path(m, w, d);
		if (kind % 16 == 10)
			draw_atts(m, q, k, fuzz_byte(&m->in));
		break;
	case 12:
		draw_local(m, w);
		break;
	case 13:
		draw_purge(m, q, k, d);
		break;
	case 14:
		w->kind = kind & 16 ? DB_WRITE_REVS_LIMIT : DB_WRITE_PURGED_LIMIT;
		w->number = 1 + fuzz_byte(&m->in);
		break;
	case 15:
		w->kind = DB_WRITE_SECURITY;
		break;
	}
}

static void
draw_request(struct machine *m, unsigned choice)
{
	struct asked *q = &m->asked[m->nasked];
	int err;

	memset(q, 0, sizeof(*q));
	q->req = (struct db_request){.writes = q->writes, .done = answered, .cookie = q};
	q->req.nwrites = 1 + (choice >> 2) % WRITES;
	for (size_t k = 0; k < q->req.nwrites; k++)
		draw_write(m, q, k);
	err = db_submit(m->db, &q->req);
	FUZZ_CHECK(err == 0);
	m->nasked++;
	if (choice & 1 || m->nasked == WAITING)
		settle(m);
}

static void
draw_fault(struct machine *m)
{
	static const int codes[] = {ERR_NOSPACE, ERR_IO, ERR_IN_DOUBT, ERR_IN_DOUBT};
	unsigned choice = fuzz_byte(&m->in);

	settle(m);
	store_mem_fail(m->store, 1 + (choice >> 4) % 4, codes[choice % 4], (int)(choice >> 2 & 1));
}

/* ---- Reading ---- */

static void
read_atts(struct machine *m, struct db_snap *snap, const struct db_rev *rev)
{
	struct buf b;
	uint64_t chunk;
	int err;

	(void)m;
	for (size_t i = 0; i < rev->natts; i++) {
		buf_init(&b, MAX);
		for (chunk = 0; (err = db_att_read(snap, &rev->atts[i], chunk, &b)) == 0; chunk++)
			;
		FUZZ_CHECK(err == ERR_END && b.len == rev->atts[i].stored_length);
		buf_release(&b);
	}
}

static void
read_doc(struct machine *m, struct db_snap *snap, struct db_doc *doc)
{
	struct revtree *t;
	struct db_rev rev;
	struct rev *path;
	size_t n;

	FUZZ_CHECK(db_doc_tree(doc, 1, &t) == 0);
	revtree_check(t);
	FUZZ_CHECK(revtree_nleaves(t) == doc->nleaves && doc->nleaves > 0);
	for (size_t i = 0; i < doc->nleaves; i++) {
		struct revpos at = revtree_leaf_pos(t, i);

		FUZZ_CHECK(db_doc_path(doc, at, &path, &n) == 0 && n > 0);
		FUZZ_CHECK(rev_equal(&path[0], &revtree_leaf(t, i)->rev));
		FUZZ_CHECK(db_doc_rev(doc, revtree_leaf(t, i), m->a, &rev) == 0); /* every leaf keeps its body */
		read_atts(m, snap, &rev);
	}
}

static void
read_ids(struct machine *m, struct db_snap *snap, uint64_t *livep, uint64_t *deadp)
{
	struct db_doc doc;
	int err;

	*livep = *deadp = 0;
	for (size_t i = 0; i < IDS; i++) {
		err = db_get(snap, m->ids[i].s, m->ids[i].len, m->a, &doc);
		FUZZ_CHECK(err == 0 || err == ERR_MISSING);
		if (err == 0) {
			++*(doc.winner.deleted ? deadp : livep);
			read_doc(m, snap, &doc);
		}
	}
}

static uint64_t
scan_docs(struct machine *m, struct db_snap *snap, int descending)
{
	struct db_range range = {.descending = descending};
	struct db_scan *scan;
	struct db_doc doc;
	uint64_t n, before;
	int err;

	FUZZ_CHECK(db_docs_open(snap, &range, &scan) == 0);
	for (n = 0; (err = db_docs_next(scan, m->a, &doc)) == 0; n++)
		if (!descending) {
			FUZZ_CHECK(db_docs_before(snap, doc.id.s, doc.id.len, &before) == 0);
			FUZZ_CHECK(before == n);
		}
	FUZZ_CHECK(err == ERR_END);
	db_scan_close(scan);
	return n;
}

static uint64_t
scan_changes(struct machine *m, struct db_snap *snap, int descending)
{
	struct db_scan *scan;
	struct db_change row;
	uint64_t n, pending, seq, last = descending ? UINT64_MAX : 0;
	int err;

	FUZZ_CHECK(db_snap_seq(snap, &seq) == 0 && db_changes_open(snap, 0, descending, &scan) == 0);
	for (n = 0; (err = db_changes_next(scan, m->a, &row)) == 0; n++) {
		FUZZ_CHECK(descending ? row.seq < last : row.seq > last);
		FUZZ_CHECK(row.nleaves > 0 && row.seq <= seq);
		last = row.seq;
		FUZZ_CHECK(db_changes_pending(snap, row.seq, &pending) == 0);
		if (descending)
			FUZZ_CHECK(pending == n);
	}
	FUZZ_CHECK(err == ERR_END);
	db_scan_close(scan);
	return n;
}

static void
read_all(struct machine *m)
{
	struct db_snap *snap;
	struct db_info info;
	uint64_t live, dead;

	FUZZ_CHECK(db_info(m->db, &info) == 0);
	FUZZ_CHECK(db_snap_begin(m->db, &snap) == 0);
	read_ids(m, snap, &live, &dead);
	FUZZ_CHECK(info.doc_count == live && info.doc_del_count == dead);
	FUZZ_CHECK(scan_docs(m, snap, 0) == live && scan_docs(m, snap, 1) == live);
	FUZZ_CHECK(scan_changes(m, snap, 0) == live + dead && scan_changes(m, snap, 1) == live + dead);
	db_snap_end(snap);
	arena_reset(m->a);
}

static void
check(struct machine *m)
{
	struct errtext why = {""};
	int err = db_check(m->db, &why);

	if (err != 0)
		fprintf(stderr, "db_check: %s: %s\n", err_reason(err), why.text);
	FUZZ_CHECK(err == 0);
}

/* ---- */

static void
set_up(struct machine *m)
{
	static const struct jstr ids[IDS - 4] = {{"a", 1}, {"b", 1}, {"\0", 1}, {"_design/d", 9}};
	struct dbs_config config = {.ex = &executor};

	executor_begin();
	FUZZ_CHECK(arena_new(MAX, &m->a) == 0);
	FUZZ_CHECK(store_mem_new(&m->store) == 0);
	config.store = m->store;
	FUZZ_CHECK(dbs_new(&config, &m->dbs) == 0);
	FUZZ_CHECK(dbs_create(m->dbs, "db", NULL, &admin, NULL) == 0);
	FUZZ_CHECK(db_open(m->dbs, "db", &admin, &m->db) == 0);
	memcpy(m->ids, ids, sizeof(ids));
	for (unsigned i = 0; i < 4; i++) { /* these share the bytes that are a key */
		memset(m->long_id[i], 'x', sizeof(m->long_id[i]));
		m->long_id[i][490 + i / 2] = (char)('a' + i);
		m->ids[4 + i] = (struct jstr){m->long_id[i], i == 3 ? 481 : 500 + 30 * i};
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct machine *m = calloc(1, sizeof(*m));

	FUZZ_CHECK(m != NULL);
	log_set_level(LOG_ERROR + 1);
	m->in = (struct fuzz_in){data, data + len};
	set_up(m);
	for (unsigned i = 0; i < REQUESTS && fuzz_more(&m->in); i++) {
		unsigned choice = fuzz_byte(&m->in);

		if (choice % 64 == 62)
			draw_fault(m);
		else if (choice % 64 == 63)
			FUZZ_CHECK(db_compact(m->db) == 0);
		else
			draw_request(m, choice);
	}
	settle(m);
	store_mem_fail(m->store, 0, 0, 0);
	settle(m);
	read_all(m);
	check(m);
	FUZZ_CHECK(db_compact(m->db) == 0);
	run_queue();
	read_all(m);
	check(m);
	db_close(m->db);
	dbs_free(m->dbs);
	arena_free(m->a);
	free(m);
	return 0;
}
