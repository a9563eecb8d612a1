/* body_impl.h: a database's dictionaries as body.c and body_dict.c have them. */
#ifndef DB_BODY_IMPL_H_
#define DB_BODY_IMPL_H_

#include <stdatomic.h>
#include <zstd.h>
#include "db/body.h"

/* Two ways to pack: what a writer waits for, and what compaction has time for. */
enum body_effort { BODY_QUICK, BODY_TIGHTLY, BODY_EFFORTS };

struct zdict {
	uint64_t number;
	struct zdict *next;
	_Atomic(ZSTD_CDict *) c[BODY_EFFORTS]; /* made at first use */
	_Atomic(ZSTD_DDict *) d;
	size_t len;
	char bytes[]; /* as it was trained */
};

struct body_dicts {
	_Atomic(struct zdict *) head; /* newest first */
};

/** body_level_(effort): zstd's level. */
int body_level_(enum body_effort effort);

/** body_for_packing_(d, effort), body_for_reading_(d): The compiled form; NULL: no memory. */
const ZSTD_CDict *body_for_packing_(struct zdict *d, enum body_effort effort);
const ZSTD_DDict *body_for_reading_(struct zdict *d);

/** body_dict_find_(z, number): NULL if there is no such dictionary. */
struct zdict *body_dict_find_(struct body_dicts *z, uint64_t number);

#endif
