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
 *
 * docs/FORMAT.md describes the records.
 */
#include <lmdb.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zstd.h>

#include "ceiling.h"

#define OUT_LEN ((size_t)64 << 10)
#define ROW_MAX ((size_t)16 << 10)
#define SUM_LEN 4u /* the checksum behind each value */
#define OPAQUE "-0123456789abcdefghijkl"

static char out[OUT_LEN + 2 * ROW_MAX];
static size_t out_len;
static unsigned long bytes_sent;
static int out_fd;
static ZSTD_DCtx *dctx;
static ZSTD_DDict *ddict;
static uint64_t ddict_number; /* the newest */

static void
must(int rc)
{
	need(rc == 0, mdb_strerror(rc));
}

static void
flush(void)
{
	for (size_t at = 0; at < out_len;) {
		ssize_t n = write(out_fd, out + at, out_len - at);

		need(n > 0, "write");
		at += (size_t)n;
	}
	bytes_sent += out_len;
	out_len = 0;
}

static void
put(const void *p, size_t len)
{
	memcpy(out + out_len, p, len);
	out_len += len;
}

static void
put_hex(const unsigned char *id)
{
	static char pairs[256][2];

	if (pairs[0][0] == 0)
		for (unsigned i = 0; i < 256; i++) {
			pairs[i][0] = "0123456789abcdef"[i >> 4];
			pairs[i][1] = "0123456789abcdef"[i & 15];
		}
	for (int i = 0; i < 16; i++)
		memcpy(out + out_len + 2 * i, pairs[id[i]], 2);
	out_len += 32;
}

static void
put_rev(const unsigned char *id)
{
	put("1-", 2);
	put_hex(id);
}

#define PUT(literal) put(literal, sizeof(literal) - 1)

static uint64_t
varint(const unsigned char **pp)
{
	uint64_t n = 0;
	unsigned shift = 0, c;

	do {
		c = *(*pp)++;
		n |= (uint64_t)(c & 127) << shift;
		shift += 7;
	} while ((c & 128) != 0 && shift < 63);
	return n;
}

/* frame_of: The zstd frame around a block. */
static size_t
frame_of(const unsigned char *block, size_t n, size_t len, unsigned char *frame)
{
	uint32_t head = (uint32_t)n << 3 | 5;

	need(n + 12 < ROW_MAX, "a row is too long");
	memcpy(frame, "\x28\xb5\x2f\xfd\xa0", 5);
	for (int i = 0; i < 4; i++)
		frame[5 + i] = (unsigned char)(len >> 8 * i);
	for (int i = 0; i < 3; i++)
		frame[9 + i] = (unsigned char)(head >> 8 * i);
	memcpy(frame + 12, block, n);
	return n + 12;
}

/* The members of a body without its braces. */
static void
put_body(const unsigned char *p, const unsigned char *end)
{
	static unsigned char frame[ROW_MAX];
	unsigned codec = *p++;
	size_t len, n;

	if (codec == 0) {
		put(p + 1, (size_t)(end - p) - 1);
		return;
	}
	need(codec <= 2 || codec > 15, "a body's codec");
	if (codec >= 2)
		need((codec == 2 ? varint(&p) : codec - 15) == ddict_number, "another dictionary than the newest");
	len = (size_t)varint(&p);
	need(len + 1024 < ROW_MAX, "a row is too long");
	/* The brace that opens the body is overwritten by the comma that joins it to _id and _rev. */
	out_len--;
	if (codec > 15) {
		end = frame + frame_of(p, (size_t)(end - p), len, frame);
		p = frame;
	}
	n = ZSTD_decompress_usingDDict(dctx, out + out_len, len, p, (size_t)(end - p), ddict);
	need(n == len, "a body is damaged");
	out[out_len] = ',';
	out_len += len;
}

/* A document's record up to its body; *${revp}: the 16 bytes of its revision. */
static const unsigned char *
doc_head(const MDB_val *v, const unsigned char **revp)
{
	const unsigned char *p = v->mv_data, *end = p + v->mv_size - SUM_LEN;
	unsigned flags = *p++;
	uint64_t len;

	(void)varint(&p);
	if (flags & 2)
		(void)varint(&p);
	len = varint(&p);
	/* One run, generation 1, one revision in memory: its flags and its hash. */
	need(len > 20 && p[0] == 1 && p[1] == 1 && p[2] == 4 && (p[3] & 8) == 0, "a document has a history");
	*revp = p + 4;
	p += len;
	if (flags & 4) {
		len = varint(&p);
		p += len;
	}
	need(p + 1 < end && *p == 0, "a document has attachments, or no body in its record");
	return p + 1;
}

/* The document at ${k}, as JSON. */
static void
put_doc(const MDB_val *k, const unsigned char *rev, const unsigned char *p, const unsigned char *end)
{
	PUT("{\"_id\":\"");
	put(k->mv_data, k->mv_size);
	PUT("\",\"_rev\":\"");
	put_rev(rev);
	PUT("\",");
	put_body(p, end);
	PUT("}");
}

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
	const unsigned char *p = v->mv_data, *end = p + v->mv_size - SUM_LEN, *order = k->mv_data, *key, *rev;
	uint64_t sortkey_len = varint(&p), key_len;
	MDB_val id, doc;

	need(varint(&p) == 0, "a long key");
	key_len = varint(&p);
	key = p;
	p += key_len;
	/* The map's number and the sort key stand before the id; its end and the row's number behind. */
	id = (MDB_val){k->mv_size - 2 - sortkey_len - 6, (void *)(uintptr_t)(order + 2 + sortkey_len)};
	PUT("{\"id\":\"");
	put(id.mv_data, id.mv_size);
	PUT("\",\"key\":");
	put(key, key_len);
	PUT(",\"value\":");
	put(p, (size_t)(end - p));
	if (docs_txn != NULL) {
		must(mdb_get(docs_txn, docs_dbi, &id, &doc));
		p = doc_head(&doc, &rev);
		PUT(",\"doc\":");
		put_doc(&id, rev, p, (const unsigned char *)doc.mv_data + doc.mv_size - SUM_LEN);
	}
	PUT("},\r\n");
}

static void
load_dict(MDB_txn *txn)
{
	char name[] = "dict/00000000";
	MDB_val k, v;
	MDB_dbi meta;

	must(mdb_dbi_open(txn, "meta", 0, &meta));
	for (unsigned number = 1; number < 256; number++) {
		snprintf(name, sizeof(name), "dict/%08x", number);
		k = (MDB_val){sizeof(name) - 1, name};
		if (mdb_get(txn, meta, &k, &v) != 0)
			continue;
		ZSTD_freeDDict(ddict);
		ddict = ZSTD_createDDict(v.mv_data, v.mv_size - SUM_LEN);
		ddict_number = number;
	}
	dctx = ZSTD_createDCtx();
	need(dctx != NULL, "no memory");
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

/* A connection on loopback to a child that reads all of it. */
static pid_t
start_reader(void)
{
	static char sink[256 << 10];
	struct sockaddr_in sa = {.sin_family = AF_INET};
	socklen_t len = sizeof(sa);
	int listener = socket(AF_INET, SOCK_STREAM, 0), fd;
	pid_t pid;

	sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	need(bind(listener, (struct sockaddr *)&sa, sizeof(sa)) == 0 && listen(listener, 1) == 0 &&
		 getsockname(listener, (struct sockaddr *)&sa, &len) == 0,
	    "listen");
	pid = fork();
	need(pid >= 0, "fork");
	if (pid == 0) {
		fd = socket(AF_INET, SOCK_STREAM, 0);
		need(connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0, "connect");
		while (read(fd, sink, sizeof(sink)) > 0)
			;
		_exit(0);
	}
	out_fd = accept(listener, NULL, NULL);
	need(out_fd >= 0, "accept");
	close(listener);
	return pid;
}

static MDB_txn *
open_file(const char *name)
{
	MDB_env *env;
	MDB_txn *txn;

	must(mdb_env_create(&env));
	must(mdb_env_set_maxdbs(env, 64));
	must(mdb_env_open(env, name, MDB_NOSUBDIR | MDB_RDONLY | MDB_NOLOCK, 0600));
	must(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn));
	return txn;
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
