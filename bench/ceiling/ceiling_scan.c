/*
 * ceiling_scan.c: the least that reading a whole database out to a client can do.
 *
 * usage: ceiling_scan FILE docs|changes TIMES
 *        ceiling_scan FILE view|view-docs TIMES INDEX
 *
 * Walks the tree of a database file that divand wrote, decompresses the bodies with the file's dictionary, and writes
 * the rows of _all_docs?include_docs=true or of _changes to a socket on loopback that another process reads (only the
 * history in a seq is another one).  Or walks the rows of an index of that database, and writes them, alone or each with the document
 * that it came from.  Prints its own CPU time and the wall time in microseconds, and how many rows and
 * bytes it wrote.
 */
#include "records.h"

#define OPAQUE "-0123456789abcdefghijkl"

static void
doc_row(const MDB_val *k, const MDB_val *v)
{
	const unsigned char *rev, *p = doc_head(v, &rev);

	PUT("{\"id\":\"");
	put(k->mv_data, k->mv_size);
	PUT("\",\"key\":\"");
	put(k->mv_data, k->mv_size);
	PUT("\",\"value\":{\"rev\":\"");
	put_rev(rev);
	PUT("\"},\"doc\":");
	put_doc(k, rev, p, (const unsigned char *)v->mv_data + v->mv_size - SUM_LEN);
	PUT("},\n");
}

static void
change_row(const MDB_val *k, const MDB_val *v)
{
	const unsigned char *p = v->mv_data, *end = p + v->mv_size - SUM_LEN, *be = k->mv_data;
	unsigned flags = *p++;
	char digits[20];
	uint64_t seq = 0, rev = varint(&p);
	const unsigned char *hash = p;
	size_t n = sizeof(digits);

	need((flags & 6) == 0 && rev == 2, "a document has a history");
	p += 16;
	for (int i = 0; i < 8; i++)
		seq = seq << 8 | be[i];
	do
		digits[--n] = (char)('0' + seq % 10);
	while ((seq /= 10) != 0);
	PUT("{\"seq\":\"");
	put(digits + n, sizeof(digits) - n);
	PUT(OPAQUE "\",\"id\":\"");
	if (flags & 8)
		put_hex(p); /* an id of 32 digits is stored as the 16 bytes that they stand for */
	else
		put(p, (size_t)(end - p));
	PUT("\",\"changes\":[{\"rev\":\"");
	put_rev(hash);
	PUT("\"}]},\n");
}

/* A row of an index; with a transaction of the database, its document. */
static MDB_txn *docs_txn;
static MDB_dbi docs_dbi;

static void
view_row(const MDB_val *k, const MDB_val *v)
{
	struct row_record r = row_record(k, v);

	PUT("{\"id\":\"");
	put(r.id.mv_data, r.id.mv_size);
	PUT("\",\"key\":");
	put(r.key.mv_data, r.key.mv_size);
	PUT(",\"value\":");
	put(r.value.mv_data, r.value.mv_size);
	if (docs_txn != NULL) {
		PUT(",\"doc\":");
		put_doc_of(docs_txn, docs_dbi, r.id);
	}
	PUT("},\r\n");
}

static unsigned long
scan(MDB_txn *txn, MDB_dbi dbi, void (*row)(const MDB_val *, const MDB_val *))
{
	MDB_cursor *mc;
	MDB_val k, v;
	unsigned long n = 0;
	int rc;

	must(mdb_cursor_open(txn, dbi, &mc));
	for (rc = mdb_cursor_get(mc, &k, &v, MDB_FIRST); rc == 0; rc = mdb_cursor_get(mc, &k, &v, MDB_NEXT), n++) {
		row(&k, &v);
		if (out_len >= OUT_LEN)
			flush();
	}
	need(rc == MDB_NOTFOUND, "cursor");
	mdb_cursor_close(mc);
	flush();
	return n;
}

/* What is walked, and the rows that it has. */
static const struct {
	const char *what, *tree;
	void (*row)(const MDB_val *, const MDB_val *);
	int index, docs;
} KINDS[] = {{"docs", "docs", doc_row, 0, 0}, {"changes", "changes", change_row, 0, 0},
    {"view", "rows", view_row, 1, 0}, {"view-docs", "rows", view_row, 1, 1}};

int
main(int argc, char **argv)
{
	unsigned long rows = 0;
	unsigned times, kind = 0;
	double cpu, wall;
	MDB_txn *txn, *walked;
	MDB_dbi dbi;
	pid_t reader;

	while (argc > 2 && kind < sizeof(KINDS) / sizeof(KINDS[0]) && strcmp(KINDS[kind].what, argv[2]) != 0)
		kind++;
	if (argc < 4 || kind == sizeof(KINDS) / sizeof(KINDS[0]) || argc != 4 + KINDS[kind].index) {
		fprintf(stderr, "usage: ceiling_scan FILE docs|changes TIMES\n"
				"       ceiling_scan FILE view|view-docs TIMES INDEX\n");
		return 2;
	}
	times = (unsigned)strtoul(argv[3], NULL, 10);
	reader = start_reader();
	txn = open_file(argv[1]);
	walked = KINDS[kind].index ? open_file(argv[4]) : txn;
	must(mdb_dbi_open(walked, KINDS[kind].tree, 0, &dbi));
	load_dict(txn);
	if (KINDS[kind].docs) {
		docs_txn = txn;
		must(mdb_dbi_open(txn, "docs", 0, &docs_dbi));
	}
	cpu = cpu_us();
	wall = wall_us();
	for (unsigned i = 0; i < times; i++)
		rows += scan(walked, dbi, KINDS[kind].row);
	cpu = cpu_us() - cpu;
	wall = wall_us() - wall;
	printf("{\"cpu_us\":%.0f,\"wall_us\":%.0f,\"rows\":%lu,\"bytes\":%lu}\n", cpu, wall, rows, bytes_sent);
	close(out_fd);
	waitpid(reader, NULL, 0);
	return 0;
}
