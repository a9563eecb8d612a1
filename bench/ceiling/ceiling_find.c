/*
 * ceiling_find.c: the least that declared indexes cost: to build one, and to find documents by it.
 *
 * usage: ceiling_find build FILE FIELD NEW
 *        ceiling_find docs FILE INDEX ROWS QUERIES SPAN
 *        ceiling_find covered FILE INDEX ROWS QUERIES SPAN FIELD
 *        ceiling_find last FILE INDEX ROWS QUERIES
 *        ceiling_find all FILE TIMES
 *
 * build walks the tree of documents of a database that divand wrote, decompresses them, takes the value of a field with divand's own
 * reader, makes its sort key with divand's own function, sorts the rows in memory and puts them into a new file with one commit and its
 * flush: one tree, without checksums, without what an update of the index would need.
 *
 * The others read ROWS rows of an index for each query, one behind the other, and write to a socket that another process reads what
 * _find answers: the documents, looked up and decompressed, or the ids with the field that the row's key has.  docs and covered begin at one
 * of the index's keys, another for each query: with query number q at key number q * 37 modulo the number of keys less SPAN - 1.
 * last reads from the end backwards.  all walks the tree of documents and decompresses them: what looking at each document costs before
 * anybody looks.
 *
 * Prints its own CPU time and the wall time in microseconds, and how many rows and bytes there were.
 */
#include "base/buf.h"
#include "base/jread.h"
#include "query/query.h"
#include "records.h"

#define ROW_KEY_MAX ((size_t)512)
#define STRIDE 37u

static void
report(double cpu, double wall, unsigned long rows)
{
	printf("{\"cpu_us\":%.0f,\"wall_us\":%.0f,\"rows\":%lu,\"bytes\":%lu}\n", cpu_us() - cpu, wall_us() - wall,
	    rows, bytes_sent);
}

/* ---- Building ---- */

/* A row to be: its place and its record, one behind the other. */
struct built {
	const char *place;
	size_t place_len, record_len;
};

static int
built_order(const void *a, const void *b)
{
	const struct built *x = a, *y = b;
	size_t n = x->place_len < y->place_len ? x->place_len : y->place_len;
	int c = memcmp(x->place, y->place, n);

	return c != 0 ? c : (x->place_len > y->place_len) - (x->place_len < y->place_len);
}

/* build_row: Append the row of the document ${doc} to ${text}; 1 if it has the field. */
static int
build_row(struct jstr doc, struct jstr id, struct jstr field, struct buf *scratch, struct buf *text, struct built *b)
{
	static char key[ROW_MAX];
	struct jread j;
	struct jstr span;
	size_t at = text->len, sortkey_len;

	jread_init(&j, doc.s, doc.len);
	if (jread_find(&j, scratch, field) != 0 || jread_skip(&j, &span) != 0)
		return 0;
	key[0] = '[';
	memcpy(key + 1, span.s, span.len);
	key[1 + span.len] = ']';
	buf_put(text, "\0", 2);
	need(query_sortkey((struct jstr){key, span.len + 2}, scratch, text) == 0, "a sort key");
	sortkey_len = text->len - at - 2;
	buf_put(text, id.s, id.len);
	buf_put(text, "\0\0\0\0\0", 6);
	b->place_len = text->len - at;
	buf_put_varint(text, sortkey_len);
	buf_put_varint(text, 0);
	buf_put_varint(text, span.len + 2);
	buf_put(text, key, span.len + 2);
	buf_put(text, "null", 4);
	need(buf_failed(text) == 0, "no memory");
	b->record_len = text->len - at - b->place_len;
	return 1;
}

/* gather: The rows of all documents; where each begins is known once no more are added. */
static size_t
gather(MDB_txn *txn, struct jstr field, struct buf *text, struct built **listp)
{
	size_t n = 0, cap = 0, at = 0;
	struct buf scratch;
	MDB_cursor *mc;
	MDB_val k, v;
	MDB_dbi docs;
	int rc;

	buf_init(&scratch, ROW_MAX);
	must(mdb_dbi_open(txn, "docs", 0, &docs));
	must(mdb_cursor_open(txn, docs, &mc));
	for (rc = mdb_cursor_get(mc, &k, &v, MDB_FIRST); rc == 0; rc = mdb_cursor_get(mc, &k, &v, MDB_NEXT)) {
		const unsigned char *rev, *p = doc_head(&v, &rev);

		if (n == cap) {
			cap = cap > 0 ? 2 * cap : 1024;
			need((*listp = realloc(*listp, cap * sizeof(**listp))) != NULL, "no memory");
		}
		put_doc(&k, rev, p, (const unsigned char *)v.mv_data + v.mv_size - SUM_LEN);
		n += (size_t)build_row((struct jstr){out, out_len}, (struct jstr){k.mv_data, k.mv_size}, field,
		    &scratch, text, &(*listp)[n]);
		out_len = 0;
	}
	need(rc == MDB_NOTFOUND, "cursor");
	mdb_cursor_close(mc);
	buf_release(&scratch);
	for (size_t i = 0; i < n; at += (*listp)[i].place_len + (*listp)[i].record_len, i++)
		(*listp)[i].place = text->data + at;
	return n;
}

static void
put_all(const char *name, const struct built *list, size_t n)
{
	MDB_env *env;
	MDB_txn *txn;
	MDB_cursor *mc;
	MDB_dbi rows;

	must(mdb_env_create(&env));
	must(mdb_env_set_maxdbs(env, 1));
	must(mdb_env_set_mapsize(env, (size_t)1 << 30));
	must(mdb_env_open(env, name, MDB_NOSUBDIR, 0600));
	must(mdb_txn_begin(env, NULL, 0, &txn));
	must(mdb_dbi_open(txn, "rows", MDB_CREATE, &rows));
	must(mdb_cursor_open(txn, rows, &mc));
	for (size_t i = 0; i < n; i++) {
		MDB_val k = {list[i].place_len, (void *)(uintptr_t)list[i].place};
		MDB_val v = {list[i].record_len, (void *)(uintptr_t)(list[i].place + list[i].place_len)};

		must(mdb_cursor_put(mc, &k, &v, MDB_APPEND));
	}
	mdb_cursor_close(mc);
	must(mdb_txn_commit(txn));
	mdb_env_close(env);
}

static void
build(const char *file, const char *field, const char *name)
{
	MDB_txn *txn = open_file(file);
	double cpu = cpu_us(), wall = wall_us();
	struct built *list = NULL;
	struct buf text;
	size_t n;

	buf_init(&text, (size_t)1 << 30);
	load_dict(txn);
	n = gather(txn, (struct jstr){field, strlen(field)}, &text, &list);
	qsort(list, n, sizeof(*list), built_order);
	put_all(name, list, n);
	report(cpu, wall, (unsigned long)n);
	buf_release(&text);
	free(list);
}

/* ---- Finding ---- */

/* What a query reads. */
struct find {
	MDB_txn *txn; /* the database's */
	MDB_dbi docs;
	MDB_cursor *rows;
	const char *field; /* covered: what the answer calls the key; NULL: documents */
	int last;
	unsigned long n; /* rows a query */
	/* The tree's keys at which the keys of the index begin, SPAN - 1 of the last ones left out. */
	struct start {
		size_t len;
		unsigned char b[ROW_KEY_MAX];
	} * starts;
	size_t nstarts;
};

static void
find_starts(struct find *f, size_t span)
{
	MDB_val k, v, last = {0, NULL};
	size_t cap = 0;
	int rc;

	for (rc = mdb_cursor_get(f->rows, &k, &v, MDB_FIRST); rc == 0; rc = mdb_cursor_get(f->rows, &k, &v, MDB_NEXT)) {
		struct row_record r = row_record(&k, &v);

		if (last.mv_size == r.key.mv_size && memcmp(last.mv_data, r.key.mv_data, last.mv_size) == 0)
			continue;
		last = r.key;
		if (f->nstarts == cap) {
			cap = cap > 0 ? 2 * cap : 64;
			need((f->starts = realloc(f->starts, cap * sizeof(*f->starts))) != NULL, "no memory");
		}
		need(k.mv_size <= ROW_KEY_MAX, "a long key");
		f->starts[f->nstarts].len = k.mv_size;
		memcpy(f->starts[f->nstarts++].b, k.mv_data, k.mv_size);
	}
	need(rc == MDB_NOTFOUND && f->nstarts >= span, "too few keys");
	f->nstarts -= span - 1;
}

static void
find_row(struct find *f, const MDB_val *k, const MDB_val *v)
{
	struct row_record r = row_record(k, v);

	if (f->field == NULL) {
		put_doc_of(f->txn, f->docs, r.id);
	} else {
		PUT("{\"_id\":\"");
		put(r.id.mv_data, r.id.mv_size);
		PUT("\",\"");
		put(f->field, strlen(f->field));
		PUT("\":");
		put((const char *)r.key.mv_data + 1, r.key.mv_size - 2);
		PUT("}");
	}
	PUT(",\r\n");
	if (out_len >= OUT_LEN)
		flush();
}

static unsigned long
query(struct find *f, unsigned long q)
{
	MDB_cursor_op op = f->last ? MDB_LAST : MDB_SET_RANGE;
	unsigned long n = 0;
	MDB_val k, v;

	if (!f->last) {
		struct start *s = &f->starts[q * STRIDE % f->nstarts];

		k = (MDB_val){s->len, s->b};
	}
	PUT("{\"docs\":[\r\n");
	for (; n < f->n && mdb_cursor_get(f->rows, &k, &v, op) == 0; n++) {
		find_row(f, &k, &v);
		op = f->last ? MDB_PREV : MDB_NEXT;
	}
	PUT("],\r\n\"bookmark\": \"nil\"}\r\n");
	flush();
	return n;
}

static void
find(struct find *f, const char *file, const char *index, unsigned long queries, size_t span)
{
	pid_t reader = start_reader();
	MDB_txn *walked = open_file(index);
	unsigned long rows = 0;
	double cpu, wall;
	MDB_dbi dbi;

	f->txn = open_file(file);
	load_dict(f->txn);
	must(mdb_dbi_open(f->txn, "docs", 0, &f->docs));
	must(mdb_dbi_open(walked, "rows", 0, &dbi));
	must(mdb_cursor_open(walked, dbi, &f->rows));
	if (!f->last)
		find_starts(f, span);
	cpu = cpu_us();
	wall = wall_us();
	for (unsigned long q = 0; q < queries; q++)
		rows += query(f, q);
	report(cpu, wall, rows);
	close(out_fd);
	waitpid(reader, NULL, 0);
	free(f->starts);
}

static void
all(const char *file, unsigned long times)
{
	MDB_txn *txn = open_file(file);
	double cpu = cpu_us(), wall = wall_us();
	unsigned long n = 0;
	MDB_cursor *mc;
	MDB_val k, v;
	MDB_dbi docs;

	load_dict(txn);
	must(mdb_dbi_open(txn, "docs", 0, &docs));
	must(mdb_cursor_open(txn, docs, &mc));
	while (times-- > 0)
		for (int rc = mdb_cursor_get(mc, &k, &v, MDB_FIRST); rc == 0;
		     rc = mdb_cursor_get(mc, &k, &v, MDB_NEXT), n++) {
			const unsigned char *rev, *p = doc_head(&v, &rev);

			put_doc(&k, rev, p, (const unsigned char *)v.mv_data + v.mv_size - SUM_LEN);
			out_len = 0;
		}
	report(cpu, wall, n);
}

int
main(int argc, char **argv)
{
	struct find f = {0};
	int covered, docs;

	if (argc == 5 && strcmp(argv[1], "build") == 0) {
		build(argv[2], argv[3], argv[4]);
		return 0;
	}
	if (argc == 4 && strcmp(argv[1], "all") == 0) {
		all(argv[2], strtoul(argv[3], NULL, 10));
		return 0;
	}
	docs = argc == 7 && strcmp(argv[1], "docs") == 0;
	covered = argc == 8 && strcmp(argv[1], "covered") == 0;
	f.last = argc == 6 && strcmp(argv[1], "last") == 0;
	if (!docs && !covered && !f.last) {
		fprintf(stderr, "usage: ceiling_find build FILE FIELD NEW\n"
				"       ceiling_find docs FILE INDEX ROWS QUERIES SPAN\n"
				"       ceiling_find covered FILE INDEX ROWS QUERIES SPAN FIELD\n"
				"       ceiling_find last FILE INDEX ROWS QUERIES\n"
				"       ceiling_find all FILE TIMES\n");
		return 2;
	}
	f.field = covered ? argv[7] : NULL;
	f.n = strtoul(argv[4], NULL, 10);
	find(&f, argv[2], argv[3], strtoul(argv[5], NULL, 10), f.last ? 1 : strtoul(argv[6], NULL, 10));
	return 0;
}
