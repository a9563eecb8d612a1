/*
 * lmdb_trace.c: what a program writes into LMDB, as a file that bench/ceiling/ceiling_write.c replays.
 *
 * Loaded with LD_PRELOAD.  Each environment gets a file of its own, $LMDB_TRACE/N.trace; a transaction's operations are
 * appended when it has been committed, those of failed ones never.  bench/ceiling/trace.h describes the bytes.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <lmdb.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../ceiling/trace.h"

#define ENVS_MAX 256
#define DBI_FIRST 2u /* the trees below are LMDB's */

struct env {
	MDB_env *mdb;
	MDB_txn *writer; /* the write transaction that is open */
	int fd;
	unsigned char *bytes; /* of the transaction */
	size_t len, cap;
};

static struct env envs[ENVS_MAX];
static unsigned nenvs;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* A function pointer out of an object pointer, which ISO C has no cast for. */
#define REAL(type, name)     \
	type;                \
	static real_f *real; \
	if (real == NULL)    \
	*(void **)(void *)&real = dlsym(RTLD_NEXT, name)

static struct env *
env_of(MDB_env *mdb)
{
	struct env *e = NULL;
	char path[512];

	pthread_mutex_lock(&lock);
	for (unsigned i = nenvs; i-- > 0 && e == NULL;)
		if (envs[i].mdb == mdb)
			e = &envs[i];
	if (e == NULL && nenvs < ENVS_MAX) {
		snprintf(path, sizeof(path), "%s/%u.trace", getenv("LMDB_TRACE"), nenvs);
		e = &envs[nenvs++];
		e->mdb = mdb;
		e->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	}
	pthread_mutex_unlock(&lock);
	if (e == NULL || e->fd < 0)
		abort();
	return e;
}

static void
note(struct env *e, unsigned op, unsigned dbi, unsigned flags, const MDB_val *k, const MDB_val *v)
{
	struct trace_op head = {.op = (uint8_t)op, .dbi = (uint8_t)dbi, .flags = flags};
	size_t need;

	head.klen = k != NULL ? (uint16_t)k->mv_size : 0;
	head.vlen = v != NULL ? (uint32_t)v->mv_size : 0;
	need = e->len + sizeof(head) + head.klen + head.vlen;
	if (need > e->cap) {
		e->cap = 2 * need;
		if ((e->bytes = realloc(e->bytes, e->cap)) == NULL)
			abort();
	}
	memcpy(e->bytes + e->len, &head, sizeof(head));
	e->len += sizeof(head);
	if (head.klen > 0)
		memcpy(e->bytes + e->len, k->mv_data, head.klen);
	e->len += head.klen;
	if (head.vlen > 0)
		memcpy(e->bytes + e->len, v->mv_data, head.vlen);
	e->len += head.vlen;
}

static void
flush(struct env *e)
{
	for (size_t at = 0; at < e->len;) {
		ssize_t n = write(e->fd, e->bytes + at, e->len - at);

		if (n < 0)
			abort();
		at += (size_t)n;
	}
	e->len = 0;
}

void
mdb_env_close(MDB_env *mdb)
{
	REAL(typedef void real_f(MDB_env *), "mdb_env_close");

	/* Another environment may get the same address. */
	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < nenvs; i++)
		if (envs[i].mdb == mdb)
			envs[i].mdb = NULL;
	pthread_mutex_unlock(&lock);
	real(mdb);
}

int
mdb_txn_begin(MDB_env *mdb, MDB_txn *parent, unsigned flags, MDB_txn **txnp)
{
	REAL(typedef int real_f(MDB_env *, MDB_txn *, unsigned, MDB_txn **), "mdb_txn_begin");
	int rc = real(mdb, parent, flags, txnp);

	if (rc == 0 && (flags & MDB_RDONLY) == 0)
		env_of(mdb)->writer = *txnp;
	return rc;
}

int
mdb_txn_commit(MDB_txn *txn)
{
	REAL(typedef int real_f(MDB_txn *), "mdb_txn_commit");
	struct env *e = env_of(mdb_txn_env(txn));
	int rc;

	if (e->writer != txn)
		return real(txn);
	/* Before the commit, which lets the next writer in; one that failed is taken back. */
	e->writer = NULL;
	note(e, TRACE_COMMIT, 0, 0, NULL, NULL);
	rc = real(txn);
	if (rc == 0)
		flush(e);
	else
		e->len = 0;
	return rc;
}

void
mdb_txn_abort(MDB_txn *txn)
{
	REAL(typedef void real_f(MDB_txn *), "mdb_txn_abort");
	struct env *e = env_of(mdb_txn_env(txn));

	if (e->writer == txn) {
		e->writer = NULL;
		e->len = 0;
	}
	real(txn);
}

int
mdb_dbi_open(MDB_txn *txn, const char *name, unsigned flags, MDB_dbi *dbip)
{
	REAL(typedef int real_f(MDB_txn *, const char *, unsigned, MDB_dbi *), "mdb_dbi_open");
	int rc = real(txn, name, flags, dbip);
	union {
		const char *in;
		void *out;
	} u = {name};
	MDB_val k = {name != NULL ? strlen(name) : 0, u.out};

	if (rc == 0 && name != NULL)
		note(env_of(mdb_txn_env(txn)), TRACE_NAME, *dbip, flags, &k, NULL);
	return rc;
}

int
mdb_cursor_put(MDB_cursor *mc, MDB_val *k, MDB_val *v, unsigned flags)
{
	REAL(typedef int real_f(MDB_cursor *, MDB_val *, MDB_val *, unsigned), "mdb_cursor_put");

	/* mdb_put and LMDB's own records of its trees come through here too; the latter are not the program's. */
	if (mdb_cursor_dbi(mc) >= DBI_FIRST)
		note(env_of(mdb_txn_env(mdb_cursor_txn(mc))), TRACE_PUT, mdb_cursor_dbi(mc), flags, k, v);
	return real(mc, k, v, flags);
}

int
mdb_del(MDB_txn *txn, MDB_dbi dbi, MDB_val *k, MDB_val *v)
{
	REAL(typedef int real_f(MDB_txn *, MDB_dbi, MDB_val *, MDB_val *), "mdb_del");

	note(env_of(mdb_txn_env(txn)), TRACE_DEL, dbi, 0, k, NULL);
	return real(txn, dbi, k, v);
}
