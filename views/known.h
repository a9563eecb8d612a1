/*
 * known.h: which index a revision of a design document defines, remembered, so that not every query reads and hashes it.  Private to
 * views/.
 */
#ifndef VIEWS_KNOWN_H_
#define VIEWS_KNOWN_H_

#include <stdint.h>
#include "base/hash.h"
#include "base/jread.h"

#define KNOWN_NAME 66u   /* bytes of an index's name, with its NUL */
#define KNOWN_SLOTS 256u /* revisions that are remembered at most */

/* A revision: what the database, its history, the document's id and the sequence of its last change make of it. */
struct known_key {
	unsigned char b[MD5_LEN];
};

struct known {
	struct known_slot {
		struct known_key key;
		char name[KNOWN_NAME]; /* empty: nothing is remembered */
	} slots[KNOWN_SLOTS];
};

/** known_key(database, history, ddoc, seq, out): Errors: ERR_NOMEM. */
int known_key(
    const char *database, struct jstr history, struct jstr ddoc, uint64_t seq, struct known_key *out) MUST_CHECK;
/** known_find(k, key): The name of the index; NULL: it is not remembered. */
const char *known_find(const struct known *k, const struct known_key *key);
/** known_put(k, key, name): In the place of another one. */
void known_put(struct known *k, const struct known_key *key, const char *name);

#endif
