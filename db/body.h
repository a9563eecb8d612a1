/*
 * body.h: a body's bytes at rest: CouchDB's text, compressed with zstd where that pays, with a dictionary
 * trained on the database's own documents once it has enough of them.
 *
 * A stored body is: codec (1 byte), then RAW: the text; ZSTD: varint length of the text, a zstd frame; DICT:
 * varint number of the dictionary, varint length of the text, a zstd frame.
 */
#ifndef DB_BODY_H_
#define DB_BODY_H_

#include <stddef.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/jread.h"

enum body_codec { BODY_RAW = 0, BODY_ZSTD = 1, BODY_DICT = 2 };

/* Opaque: a database's dictionaries.  Safe to use from any thread. */
struct body_dicts;

int body_dicts_new(struct body_dicts **zp) MUST_CHECK;
void body_dicts_free(struct body_dicts *z);
/**
 * body_dicts_add(z, number, data, len): Learn of a dictionary; the one with the highest number compresses.
 * Copies.
 */
int body_dicts_add(struct body_dicts *z, uint64_t number, const void *data, size_t len) MUST_CHECK;
uint64_t body_dicts_current(struct body_dicts *z);

/**
 * body_dict_train(samples, sizes, n, out): A dictionary of at most BODY_DICT_LEN bytes from ${n} texts that
 * stand one behind the other.  ERR_MISSING: they have nothing in common.
 */
#define BODY_DICT_LEN 16384u
int body_dict_train(const void *samples, const size_t *sizes, unsigned n, struct buf *out) MUST_CHECK;

/** body_pack(z, text, len, b): Append the stored form.  Errors: ERR_NOMEM. */
int body_pack(struct body_dicts *z, const char *text, size_t len, struct buf *b) MUST_CHECK;

/** body_unpack(z, r, a, textp): The text, in the arena or (RAW) in ${r}'s memory.  ${r} is used up.  Errors:
 * ERR_CORRUPT, ERR_NOMEM. */
int body_unpack(struct body_dicts *z, struct bytes *r, struct arena *a, struct jstr *textp) MUST_CHECK;

#endif
