/*
 * records.h: what the ceilings know of the files that divand wrote, and how they send what they read: to a socket on loopback that
 * another process reads.  docs/FORMAT.md describes the records.
 */
#ifndef BENCH_CEILING_RECORDS_H_
#define BENCH_CEILING_RECORDS_H_

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

static char out[OUT_LEN + 2 * ROW_MAX];
static size_t out_len;
static unsigned long bytes_sent;
static int out_fd;
static ZSTD_DCtx *dctx;
static ZSTD_DDict *ddict;
static uint64_t ddict_number; /* the newest */

static inline void
must(int rc)
{
	need(rc == 0, mdb_strerror(rc));
}

static inline void
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

static inline void
put(const void *p, size_t len)
{
	memcpy(out + out_len, p, len);
	out_len += len;
}

static inline void
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

static inline void
put_rev(const unsigned char *id)
{
	put("1-", 2);
	put_hex(id);
}

#define PUT(literal) put(literal, sizeof(literal) - 1)

static inline uint64_t
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
static inline size_t
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
static inline void
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
static inline const unsigned char *
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
static inline void
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

/* A row of an index: the id of its document, its key and its value. */
struct row_record {
	MDB_val id, key, value;
};

static inline struct row_record
row_record(const MDB_val *k, const MDB_val *v)
{
	const unsigned char *p = v->mv_data, *end = p + v->mv_size - SUM_LEN, *order = k->mv_data;
	uint64_t sortkey_len = varint(&p), key_len;
	struct row_record r;

	need(varint(&p) == 0, "a long key");
	key_len = varint(&p);
	r.key = (MDB_val){key_len, (void *)(uintptr_t)p};
	p += key_len;
	r.value = (MDB_val){(size_t)(end - p), (void *)(uintptr_t)p};
	/* The map's number and the sort key stand before the id; its end and the row's number behind. */
	r.id = (MDB_val){k->mv_size - 2 - sortkey_len - 6, (void *)(uintptr_t)(order + 2 + sortkey_len)};
	return r;
}

/* put_doc_of: The document ${id}, looked up in the tree of documents. */
static inline void
put_doc_of(MDB_txn *txn, MDB_dbi docs, MDB_val id)
{
	const unsigned char *rev, *p;
	MDB_val doc;

	must(mdb_get(txn, docs, &id, &doc));
	p = doc_head(&doc, &rev);
	put_doc(&id, rev, p, (const unsigned char *)doc.mv_data + doc.mv_size - SUM_LEN);
}

static inline void
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

/* A connection on loopback to a child that reads all of it. */
static inline pid_t
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

static inline MDB_txn *
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

#endif
