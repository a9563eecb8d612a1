/*
 * store_lmdb_log.c: the keys that commits changed while a database is written anew.  Values are not kept: whoever
 * settles the log reads what they are by then, so a key that changes a hundred times is written once.
 */
#include "store_lmdb.h"

#include <stdlib.h>
#include <string.h>
#include "base/limits.h"

#define HEAD 3u        /* bytes before each key: tree, length */
#define KEY_WORK 1024u /* what settling a key costs besides its value, in bytes: a page of its own, as a rule */

static int
reserve(struct lmdb_log *log, size_t more)
{
	size_t cap = log->cap != 0 ? log->cap : 4096;
	unsigned char *p;

	if (more > LIMIT_REWRITE_LOG - log->len)
		return ERR_BUSY;
	while (cap < log->len + more)
		cap *= 2;
	if (cap == log->cap)
		return 0;
	if ((p = realloc(log->p, cap)) == NULL)
		return ERR_NOMEM;
	log->p = p;
	log->cap = cap;
	return 0;
}

void
store_lmdb_log_add(struct lmdb_log *log, const struct store_item *items, size_t n)
{
	size_t bytes = 0;

	if (log->err != 0)
		return;
	for (size_t i = 0; i < n; i++)
		bytes += HEAD + items[i].op->klen;
	if ((log->err = reserve(log, bytes)) != 0)
		return;
	for (size_t i = 0; i < n; i++) {
		const struct store_op *op = items[i].op;
		unsigned char *p = log->p + log->len;

		p[0] = op->tree;
		memcpy(p + 1, &op->klen, 2);
		memcpy(p + HEAD, op->key, op->klen);
		log->len += HEAD + op->klen;
		log->work += KEY_WORK + op->klen + op->vlen;
	}
	log->nkeys += n;
}

static int
key_cmp(const void *a, const void *b)
{
	const struct lmdb_key *x = a, *y = b;

	return x->tree != y->tree ? (int)x->tree - (int)y->tree : store_key_cmp(x->p, x->len, y->p, y->len);
}

int
store_lmdb_log_sort(const struct lmdb_log *log, struct lmdb_key **vp, size_t *np)
{
	struct lmdb_key *v = malloc((log->nkeys + 1) * sizeof(*v));
	const unsigned char *p = log->p;
	size_t n = 0;

	if (v == NULL)
		return ERR_NOMEM;
	for (size_t i = 0; i < log->nkeys; i++) {
		v[i].tree = p[0];
		memcpy(&v[i].len, p + 1, 2);
		v[i].p = p + HEAD;
		p += HEAD + v[i].len;
	}
	qsort(v, log->nkeys, sizeof(*v), key_cmp);
	for (size_t i = 0; i < log->nkeys; i++)
		if (n == 0 || key_cmp(&v[n - 1], &v[i]) != 0)
			v[n++] = v[i];
	*vp = v;
	*np = n;
	return 0;
}
