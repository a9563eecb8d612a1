/*
 * ceiling_write.c: the least that writing the same documents into the same LMDB trees with the same flushes can do.
 *
 * usage: ceiling_write TRACE FROM FILE
 *
 * Puts what bench/trace/lmdb_trace.c recorded into a new environment FILE: the same keys and values in the same order,
 * one durable commit wherever there was one.  What stands before byte FROM of the trace is put without being counted.
 * Prints the CPU time and the wall time of the rest, in microseconds, with the numbers of puts and commits.
 */
#include <fcntl.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ceiling.h"
#include "trace.h"

#define TREES_MAX 64
#define MAP_BYTES ((size_t)4 << 30)

struct replay {
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi[TREES_MAX];        /* by the number it had */
	MDB_cursor *cursor[TREES_MAX]; /* of this transaction */
	unsigned long puts, commits;
};

static void
must(int rc)
{
	need(rc == 0, mdb_strerror(rc));
}

static MDB_cursor *
cursor_of(struct replay *r, unsigned tree)
{
	if (r->cursor[tree] == NULL)
		must(mdb_cursor_open(r->txn, r->dbi[tree], &r->cursor[tree]));
	return r->cursor[tree];
}

static void
commit(struct replay *r)
{
	for (unsigned i = 0; i < TREES_MAX; i++) {
		if (r->cursor[i] != NULL)
			mdb_cursor_close(r->cursor[i]);
		r->cursor[i] = NULL;
	}
	if (r->txn != NULL)
		must(mdb_txn_commit(r->txn));
	r->txn = NULL;
	r->commits++;
}

static void
apply(struct replay *r, const struct trace_op *op, unsigned char *key)
{
	MDB_val k = {op->klen, key}, v = {op->vlen, key + op->klen};
	char name[64];

	if (op->op == TRACE_COMMIT) {
		commit(r);
		return;
	}
	if (r->txn == NULL)
		must(mdb_txn_begin(r->env, NULL, 0, &r->txn));
	if (op->op == TRACE_NAME) {
		snprintf(name, sizeof(name), "%.*s", (int)op->klen, (const char *)key);
		must(mdb_dbi_open(r->txn, name, MDB_CREATE, &r->dbi[op->dbi]));
	} else if (op->op == TRACE_PUT) {
		r->puts++;
		must(mdb_cursor_put(cursor_of(r, op->dbi), &k, &v, op->flags));
	} else {
		int rc = mdb_del(r->txn, r->dbi[op->dbi], &k, NULL);

		must(rc == MDB_NOTFOUND ? 0 : rc);
	}
}

static void
replay(struct replay *r, unsigned char *bytes, size_t from, size_t to)
{
	struct trace_op op;

	while (from < to) {
		need(to - from >= sizeof(op), "the trace is cut");
		memcpy(&op, bytes + from, sizeof(op));
		from += sizeof(op);
		need(to - from >= (size_t)op.klen + op.vlen && op.dbi < TREES_MAX, "the trace is damaged");
		apply(r, &op, bytes + from);
		from += (size_t)op.klen + op.vlen;
	}
}

int
main(int argc, char **argv)
{
	struct replay r = {0};
	unsigned char *bytes;
	struct stat st;
	double cpu, wall;
	size_t from;
	int fd;

	if (argc != 4) {
		fprintf(stderr, "usage: ceiling_write TRACE FROM FILE\n");
		return 2;
	}
	fd = open(argv[1], O_RDONLY);
	need(fd >= 0 && fstat(fd, &st) == 0, argv[1]);
	/* A private copy in memory: reading it is not part of the work. */
	bytes = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_POPULATE, fd, 0);
	need(bytes != MAP_FAILED, "mmap");
	from = strtoul(argv[2], NULL, 10);
	need(from <= (size_t)st.st_size, "FROM is behind the end");
	must(mdb_env_create(&r.env));
	must(mdb_env_set_mapsize(r.env, MAP_BYTES));
	must(mdb_env_set_maxdbs(r.env, TREES_MAX));
	must(mdb_env_open(r.env, argv[3], MDB_NOSUBDIR | MDB_NOTLS, 0600));
	must(mdb_env_set_flags(r.env, MDB_NOSYNC, 1));
	replay(&r, bytes, 0, from);
	must(mdb_env_set_flags(r.env, MDB_NOSYNC, 0));
	must(mdb_env_sync(r.env, 1));
	r.puts = r.commits = 0;
	cpu = cpu_us();
	wall = wall_us();
	replay(&r, bytes, from, (size_t)st.st_size);
	printf("{\"cpu_us\":%.0f,\"wall_us\":%.0f,\"puts\":%lu,\"commits\":%lu}\n", cpu_us() - cpu, wall_us() - wall,
	    r.puts, r.commits);
	mdb_env_close(r.env);
	return 0;
}
