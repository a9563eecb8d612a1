/*
 * A database's dictionaries.
 *
 * Their compiled forms are built by whoever needs them first.  Dictionaries are few, and stay until the file is
 * closed, even when the file has forgotten them: a reader may have an old snapshot.  So readers need no lock once they
 * have found one: the list is only ever prepended to.  The compiled form for compaction is large (about 1 MiB) and
 * goes at its end.
 */
#include "body_impl.h"

#include <stdlib.h>
#include <string.h>

#include <zdict.h>

#define COMPILED_MAX ((size_t)4 << 20) /* more than a compiled dictionary has bytes */

int
body_level_(enum body_effort effort)
{
	return effort == BODY_QUICK ? 1 : 14;
}

int
body_dicts_new(struct body_dicts **zp)
{
	*zp = calloc(1, sizeof(**zp));
	return *zp != NULL ? 0 : ERR_NOMEM;
}

static void
zdict_free(struct zdict *d)
{
	for (unsigned i = 0; i < BODY_EFFORTS; i++)
		ZSTD_freeCDict(atomic_load(&d->c[i]));
	ZSTD_freeDDict(atomic_load(&d->d));
	free(d);
}

/* compile: libzstd 1.5.4 does not look whether it gets the memory that this takes, so that is asked for before. */
static ZSTD_CDict *
compile(const struct zdict *d, enum body_effort effort)
{
	void *volatile probe = malloc(COMPILED_MAX);
	int there = probe != NULL;

	free(probe);
	return there ? ZSTD_createCDict(d->bytes, d->len, body_level_(effort)) : NULL;
}

const ZSTD_CDict *
body_for_packing_(struct zdict *d, enum body_effort effort)
{
	ZSTD_CDict *c = atomic_load(&d->c[effort]), *mine;

	if (c != NULL || (mine = compile(d, effort)) == NULL)
		return c;
	if (atomic_compare_exchange_strong(&d->c[effort], &c, mine))
		return mine;
	ZSTD_freeCDict(mine);
	return c;
}

const ZSTD_DDict *
body_for_reading_(struct zdict *d)
{
	ZSTD_DDict *r = atomic_load(&d->d), *mine;

	if (r != NULL || (mine = ZSTD_createDDict(d->bytes, d->len)) == NULL)
		return r;
	if (atomic_compare_exchange_strong(&d->d, &r, mine))
		return mine;
	ZSTD_freeDDict(mine);
	return r;
}

void
body_dicts_free(struct body_dicts *z)
{
	struct zdict *d, *next;

	if (z == NULL)
		return;
	for (d = atomic_load(&z->head); d != NULL; d = next) {
		next = d->next;
		zdict_free(d);
	}
	free(z);
}

int
body_dicts_add(struct body_dicts *z, uint64_t number, const void *data, size_t len)
{
	struct zdict *d = calloc(1, sizeof(*d) + len);

	if (d == NULL)
		return ERR_NOMEM;
	d->number = number;
	d->len = len;
	if (len > 0)
		memcpy(d->bytes, data, len);
	d->next = atomic_load(&z->head);
	atomic_store(&z->head, d);
	return 0;
}

uint64_t
body_dicts_current(struct body_dicts *z)
{
	struct zdict *d = atomic_load(&z->head);

	return d != NULL ? d->number : 0;
}

size_t
body_dicts_current_len(struct body_dicts *z)
{
	struct zdict *d = atomic_load(&z->head);

	return d != NULL ? d->len : 0;
}

void
body_dicts_rest(struct body_dicts *z)
{
	for (struct zdict *d = atomic_load(&z->head); d != NULL; d = d->next)
		ZSTD_freeCDict(atomic_exchange(&d->c[BODY_TIGHTLY], NULL));
}

struct zdict *
body_dict_find_(struct body_dicts *z, uint64_t number)
{
	struct zdict *d;

	for (d = atomic_load(&z->head); d != NULL && d->number != number; d = d->next)
		;
	return d;
}

int
body_dict_train(const void *samples, const size_t *sizes, unsigned n, size_t max, struct buf *out)
{
	char *room;
	size_t len;
	int err = buf_reserve(out, max, &room);

	if (err)
		return err;
	len = ZDICT_trainFromBuffer(room, max, samples, sizes, n);
	if (ZDICT_isError(len))
		return ERR_MISSING;
	buf_commit(out, len);
	return 0;
}
