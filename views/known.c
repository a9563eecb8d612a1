/* known.c: a table with one place for each key, taken by the last who came. */
#include "known.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"

#define TEXT_MAX 65536u

int
known_key(const char *database, struct jstr history, struct jstr ddoc, uint64_t seq, struct known_key *out)
{
	struct buf b;
	int err;

	buf_init(&b, TEXT_MAX);
	buf_puts(&b, database);
	buf_putc(&b, '\0');
	buf_put(&b, history.s, history.len);
	buf_putc(&b, '\0');
	buf_put_u64be(&b, seq);
	buf_put(&b, ddoc.s, ddoc.len);
	err = buf_failed(&b);
	hash_md5(b.data, b.len, out->b);
	buf_release(&b);
	return err;
}

const char *
known_find(const struct known *k, const struct known_key *key)
{
	const struct known_slot *slot = &k->slots[key->b[0] % KNOWN_SLOTS];

	return slot->name[0] != '\0' && memcmp(&slot->key, key, sizeof(*key)) == 0 ? slot->name : NULL;
}

void
known_put(struct known *k, const struct known_key *key, const char *name)
{
	struct known_slot *slot = &k->slots[key->b[0] % KNOWN_SLOTS];

	slot->key = *key;
	(void)snprintf(slot->name, sizeof(slot->name), "%s", name);
}
