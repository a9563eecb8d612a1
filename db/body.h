/*
 * body.h: a body's bytes at rest: CouchDB's text, compressed with zstd where that pays, with a dictionary
 * trained on the database's own documents once it has enough of them.
 *
 * A stored body is: codec (1 byte), then
 *   RAW    the text
 *   ZSTD   varint length of the text, a zstd frame
 *   DICT   varint number of the dictionary, varint length of the text, a zstd frame
 *   TIGHT  varint number of the dictionary, varint length of the text, the content of the one compressed block
 *          that the frame would have
 */
#ifndef DB_BODY_H_
#define DB_BODY_H_

#include <stddef.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/jread.h"

enum body_codec {
	BODY_RAW = 0,
	BODY_ZSTD = 1,
	BODY_DICT = 2,
	BODY_TIGHT = 3,
	BODY_TIGHT_FIRST = 15 /* plus a dictionary's number: TIGHT, and the number is not written */
};

/* Opaque: a database's dictionaries.  Safe to use from any thread. */
struct body_dicts;

int body_dicts_new(struct body_dicts **zp) MUST_CHECK;
void body_dicts_free(struct body_dicts *z);
/**
 * body_dicts_add(z, number, data, len): Learn of a dictionary; the one that was added last compresses.  Copies.
 */
int body_dicts_add(struct body_dicts *z, uint64_t number, const void *data, size_t len) MUST_CHECK;
/** body_dicts_current(z), body_dicts_current_len(z): The number and bytes of the one that compresses; 0: none. */
uint64_t body_dicts_current(struct body_dicts *z);
size_t body_dicts_current_len(struct body_dicts *z);
/** body_dicts_rest(z): Give back what body_pack_tight() needs; nobody calls that meanwhile. */
void body_dicts_rest(struct body_dicts *z);

/**
 * body_dict_train(samples, sizes, n, max, out): A dictionary of at most ${max} bytes from ${n} texts that
 * stand one behind the other.  ERR_MISSING: they have nothing in common.
 */
#define BODY_DICT_LEN 16384u     /* bytes of a dictionary, */
#define BODY_DICT_LEN_MAX 32768u /* or up to this if the database is large */
int body_dict_train(const void *samples, const size_t *sizes, unsigned n, size_t max, struct buf *out) MUST_CHECK;

/** body_pack(z, text, len, b): Append the stored form, soon.  Errors: ERR_NOMEM. */
int body_pack(struct body_dicts *z, const char *text, size_t len, struct buf *b) MUST_CHECK;

/** body_pack_alone(text, len, b): The same without a dictionary. */
int body_pack_alone(const char *text, size_t len, struct buf *b) MUST_CHECK;

/** body_pack_tight(z, text, len, b): The same in fewer bytes, at about ten times the cost: for compaction. */
int body_pack_tight(struct body_dicts *z, const char *text, size_t len, struct buf *b) MUST_CHECK;

/** body_loose(z, r): 1 if body_pack_tight() would perhaps store the body at ${r} otherwise.  ${r} stays as it is. */
int body_loose(struct body_dicts *z, const struct bytes *r);

/** body_dict_of(r): The number of the dictionary that the body at ${r} needs; 0: none.  ${r} stays as it is. */
uint64_t body_dict_of(const struct bytes *r);

/** body_len(r): Bytes of the text at ${r}; 0 if it is damaged.  ${r} stays as it is. */
uint64_t body_len(const struct bytes *r);

/** body_unpack(z, r, a, textp): The text, in the arena or (RAW) in ${r}'s memory.  ${r} is used up.  Errors:
 * ERR_CORRUPT, ERR_NOMEM. */
int body_unpack(struct body_dicts *z, struct bytes *r, struct arena *a, struct jstr *textp) MUST_CHECK;

#endif
