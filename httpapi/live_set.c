/*
 * live_set.c: members in order.
 *
 * Thousands of idle queries keep one of these each, so a member is a record in one block of bytes, and eight bytes in an array:
 *
 *	record: mark (8), length of the key (4), length of the id (4), key, id
 *
 * What is taken out stays in the block until half of it is such, and is then left behind.  A document is found by the hash of
 * its id, with a walk over the array where members are ordered by keys: that is what moving the array costs anyway.
 *
 * 1. Members ascend by key, then id, by bytes; or descend by both.  No two have the same id.
 * 2. used - gone is the sum of the records' sizes, the fence's among them.
 * 3. Nobody changes a set that another one holds.
 */
#include "live_set.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/limits.h"

#define HEAD 16u
#define SLOTS_FIRST 4u
#define GONE_MIN 1024u /* bytes that are not worth moving the others */

/* ---- Records ---- */

static uint32_t
hash_of(struct jstr id)
{
	return hash_crc32c(0, id.s, id.len);
}

static struct live_member
read_record(const struct live_set *s, uint32_t at)
{
	const char *p = s->bytes + at;
	struct live_member m;
	uint32_t key_len, id_len;

	memcpy(&m.mark, p, 8);
	memcpy(&key_len, p + 8, 4);
	memcpy(&id_len, p + 12, 4);
	m.key = (struct jstr){p + HEAD, key_len};
	m.id = (struct jstr){p + HEAD + key_len, id_len};
	return m;
}

static uint32_t
record_size(const struct live_set *s, uint32_t at)
{
	struct live_member m = read_record(s, at);

	return (uint32_t)(HEAD + m.key.len + m.id.len);
}

static uint32_t
write_record(struct live_set *s, const struct live_member *m)
{
	uint32_t key_len = (uint32_t)m->key.len, id_len = (uint32_t)m->id.len, at = s->used;
	char *p = s->bytes + at;

	memcpy(p, &m->mark, 8);
	memcpy(p + 8, &key_len, 4);
	memcpy(p + 12, &id_len, 4);
	if (key_len > 0)
		memcpy(p + HEAD, m->key.s, key_len);
	if (id_len > 0)
		memcpy(p + HEAD + key_len, m->id.s, id_len);
	s->used += HEAD + key_len + id_len;
	return at;
}

/* gather: Into a block of ${size} bytes, what is in use and nothing else. */
static int
gather(struct live_set *s, uint32_t size)
{
	char *to = malloc(size > 0 ? size : 1);
	uint32_t used = 0, len;

	if (to == NULL)
		return ERR_NOMEM;
	for (uint32_t i = 0; i <= s->n; i++) {
		uint32_t *at = i < s->n ? &s->slots[i].at : &s->fence;

		if (*at == LIVE_SET_NO_FENCE)
			continue;
		len = record_size(s, *at);
		memcpy(to + used, s->bytes + *at, len);
		*at = used;
		used += len;
	}
	free(s->bytes);
	s->bytes = to;
	s->size = size;
	s->used = used;
	s->gone = 0;
	return 0;
}

/* make_room: For a record of ${len} bytes. */
static int
make_room(struct live_set *s, size_t len)
{
	size_t need = s->used - s->gone + len;

	if (len > LIMIT_LIVE_BYTES || need > LIMIT_LIVE_BYTES)
		return ERR_TOO_LARGE;
	if (len <= s->size - s->used)
		return 0;
	/* A quarter more than is needed, so that growing is rare and little is idle. */
	return gather(s, (uint32_t)(need + need / 4));
}

static void
forget(struct live_set *s, uint32_t at)
{
	s->gone += record_size(s, at);
}

/* ---- Order ---- */

static int
order(const struct live_set *s, struct jstr key, struct jstr id, uint32_t at)
{
	struct live_member m = read_record(s, at);
	int c = jstr_order(&key, &m.key);

	if (c == 0)
		c = jstr_order(&id, &m.id);
	return s->descending ? -c : c;
}

uint32_t
live_set_place(const struct live_set *s, struct jstr key, struct jstr id)
{
	uint32_t low = 0, high = s->n;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (order(s, key, id, s->slots[middle].at) > 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct live_member
live_set_get(const struct live_set *s, uint32_t i)
{
	assert(i < s->n);
	return read_record(s, s->slots[i].at);
}

uint32_t
live_set_find(const struct live_set *s, struct jstr id)
{
	uint32_t hash, i;

	if (!s->keyed) {
		i = live_set_place(s, (struct jstr){"", 0}, id);
		return i < s->n && jstr_equal(live_set_get(s, i).id, id) ? i : s->n;
	}
	hash = hash_of(id);
	for (i = 0; i < s->n; i++)
		if (s->slots[i].hash == hash && jstr_equal(live_set_get(s, i).id, id))
			break;
	return i;
}

/* ---- Changes ---- */

static int
grow(struct live_set *s)
{
	uint32_t cap = s->cap < SLOTS_FIRST ? SLOTS_FIRST : s->cap + s->cap / 4 + 4;
	struct live_slot *more;

	if (s->n >= LIMIT_LIVE_MEMBERS)
		return ERR_TOO_LARGE;
	if (s->n < s->cap)
		return 0;
	if ((more = realloc(s->slots, cap * sizeof(*more))) == NULL)
		return ERR_NOMEM;
	s->slots = more;
	s->cap = cap;
	return 0;
}

int
live_set_put(struct live_set *s, const struct live_member *m, uint32_t *ip)
{
	uint32_t i;
	int err;

	assert(s->refs == 1);
	if ((err = grow(s)) != 0 || (err = make_room(s, HEAD + m->key.len + m->id.len)) != 0)
		return err;
	s->keyed |= m->key.len > 0;
	i = live_set_place(s, m->key, m->id);
	memmove(&s->slots[i + 1], &s->slots[i], (s->n - i) * sizeof(s->slots[0]));
	s->slots[i] = (struct live_slot){write_record(s, m), hash_of(m->id)};
	s->n++;
	*ip = i;
	return 0;
}

void
live_set_del(struct live_set *s, uint32_t i)
{
	assert(s->refs == 1 && i < s->n);
	forget(s, s->slots[i].at);
	s->n--;
	memmove(&s->slots[i], &s->slots[i + 1], (s->n - i) * sizeof(s->slots[0]));
	/* Without memory it stays as large as it is. */
	if (s->gone > GONE_MIN && s->gone > s->used / 2)
		(void)gather(s, s->used - s->gone);
}

void
live_set_mark(struct live_set *s, uint32_t i, uint64_t mark)
{
	assert(s->refs == 1 && i < s->n);
	memcpy(s->bytes + s->slots[i].at, &mark, 8);
}

/* ---- The fence ---- */

int
live_set_fence(struct live_set *s, struct jstr key, struct jstr id)
{
	struct live_member m = {key, id, 0};
	int err;

	assert(s->refs == 1);
	if ((err = make_room(s, HEAD + key.len + id.len)) != 0)
		return err;
	live_set_unfence(s);
	s->fence = write_record(s, &m);
	return 0;
}

void
live_set_unfence(struct live_set *s)
{
	if (s->fence != LIVE_SET_NO_FENCE)
		forget(s, s->fence);
	s->fence = LIVE_SET_NO_FENCE;
}

int
live_set_is_behind(const struct live_set *s, struct jstr key, struct jstr id)
{
	return s->fence != LIVE_SET_NO_FENCE && order(s, key, id, s->fence) > 0;
}

int
live_set_trim(struct live_set *s, uint32_t n)
{
	struct live_member last;

	assert(s->refs == 1 && n > 0 && n < s->n);
	while (s->n > n)
		forget(s, s->slots[--s->n].at);
	/* The last one's own record tells of the fence, which must stay when that one goes: it is written again, from what may move. */
	last = live_set_get(s, n - 1);
	if (HEAD + last.key.len + last.id.len > s->size - s->used) {
		int err = gather(s, (uint32_t)(s->used - s->gone + HEAD + last.key.len + last.id.len));

		if (err != 0)
			return err;
		last = live_set_get(s, n - 1);
	}
	return live_set_fence(s, last.key, last.id);
}

/* ---- Making and sharing ---- */

int
live_set_new(int descending, struct live_set **sp)
{
	struct live_set *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return ERR_NOMEM;
	s->refs = 1;
	s->descending = descending;
	s->fence = LIVE_SET_NO_FENCE;
	*sp = s;
	return 0;
}

int
live_set_copy(const struct live_set *from, struct live_set **sp)
{
	struct live_set *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return ERR_NOMEM;
	*s = *from;
	s->refs = 1;
	s->cap = from->n;
	s->size = from->used;
	s->slots = malloc((s->cap > 0 ? s->cap : 1) * sizeof(s->slots[0]));
	s->bytes = malloc(s->size > 0 ? s->size : 1);
	if (s->slots == NULL || s->bytes == NULL) {
		live_set_drop(s);
		return ERR_NOMEM;
	}
	if (from->n > 0)
		memcpy(s->slots, from->slots, from->n * sizeof(s->slots[0]));
	if (from->used > 0)
		memcpy(s->bytes, from->bytes, from->used);
	*sp = s;
	return 0;
}

struct live_set *
live_set_hold(struct live_set *s)
{
	if (s != NULL)
		s->refs++;
	return s;
}

void
live_set_drop(struct live_set *s)
{
	if (s == NULL || --s->refs > 0)
		return;
	free(s->slots);
	free(s->bytes);
	free(s);
}

void
live_set_check(const struct live_set *s)
{
	uint32_t sum = s->fence != LIVE_SET_NO_FENCE ? record_size(s, s->fence) : 0;

	assert(s->refs > 0 && s->n <= s->cap && s->used <= s->size && s->gone <= s->used);
	for (uint32_t i = 0; i < s->n; i++) {
		struct live_member m = live_set_get(s, i);

		assert(s->slots[i].hash == hash_of(m.id) && live_set_find(s, m.id) == i);
		assert(i == 0 || order(s, m.key, m.id, s->slots[i - 1].at) > 0);
		assert(!live_set_is_behind(s, m.key, m.id));
		sum += record_size(s, s->slots[i].at);
	}
	assert(sum == s->used - s->gone);
}
