/*
 * lockout.c: a table of failures.
 *
 * Places are found by a digest under a key that only this process knows, so nobody can choose which
 * entries theirs push out; filling the table takes as many derivations of a key as it has places.
 *
 * 1. An entry counts from its first failure and is void max_lifetime_ms later, however many follow.
 * 2. All failures count towards the threshold.  Behind it only what was verified from the same address
 *    before is let in, so that a device with an old password does not lock out its neighbours behind one address; but a
 *    try costs nothing then, so guesses that differ from the one before count on: after LEEWAY more nothing is
 *    let in.
 * 3. over_until is 0, and nobody is locked out; or it is not earlier than the end of any entry that reached
 *    the threshold.
 */
#include "lockout.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/hash.h"

#define WAYS 8u
#define LEEWAY 20u
#define KEY_LEN 16u

struct entry {
	unsigned char key[KEY_LEN];
	uint64_t first_ms;
	uint64_t last;    /* guess */
	unsigned count;   /* failures; 0: the place is free */
	unsigned guesses; /* failures that differ from the one before */
};

struct lockout {
	unsigned char key[SHA256_LEN];
	pthread_mutex_t lock;
	atomic_uint_fast64_t over_until;
	struct lockout_settings settings; /* under the lock, as all below */
	struct entry *entries;            /* nsets * WAYS, once there is one */
	size_t nsets;
};

int
lockout_new(struct lockout **lp)
{
	struct lockout *l = calloc(1, sizeof(*l));

	if (!l)
		return ERR_NOMEM;
	if (pthread_mutex_init(&l->lock, NULL)) {
		free(l);
		return ERR_NOMEM;
	}
	hash_random(l->key, sizeof(l->key));
	*lp = l;
	return 0;
}

void
lockout_free(struct lockout *l)
{
	if (!l)
		return;
	pthread_mutex_destroy(&l->lock);
	free(l->entries);
	free(l);
}

void
lockout_set(struct lockout *l, const struct lockout_settings *settings)
{
	pthread_mutex_lock(&l->lock);
	if (settings->max_objects != l->settings.max_objects) {
		free(l->entries);
		l->entries = NULL;
		l->nsets = settings->max_objects / WAYS > 0 ? settings->max_objects / WAYS : 1;
		atomic_store(&l->over_until, 0);
	}
	/* A threshold that is lower now is already reached by some. */
	if (settings->threshold < l->settings.threshold)
		atomic_store(&l->over_until, UINT64_MAX);
	l->settings = *settings;
	pthread_mutex_unlock(&l->lock);
}

/* The bytes of an address that count; 0: it is none. */
static size_t
parse(const char *text, size_t len, unsigned char out[8], int *loopbackp)
{
	struct in6_addr six;
	char copy[INET6_ADDRSTRLEN];

	*loopbackp = 0;
	if (len == 0 || len >= sizeof(copy))
		return 0;
	memcpy(copy, text, len);
	copy[len] = '\0';
	if (inet_pton(AF_INET, copy, out) == 1) {
		*loopbackp = out[0] == 127;
		return 4;
	}
	if (inet_pton(AF_INET6, copy, &six) != 1)
		return 0;
	if (IN6_IS_ADDR_V4MAPPED(&six)) {
		memcpy(out, six.s6_addr + 12, 4);
		*loopbackp = out[0] == 127;
		return 4;
	}
	*loopbackp = IN6_IS_ADDR_LOOPBACK(&six);
	memcpy(out, six.s6_addr, 8);
	return 8;
}

/* The last item of a list: what the proxy itself has seen. */
static struct jstr
last_item(struct jstr list)
{
	const char *p = list.s + list.len;
	size_t len;

	while (p > list.s && (p[-1] == ' ' || p[-1] == '\t'))
		p--;
	for (len = 0; p > list.s && p[-1] != ',' && p[-1] != ' ' && p[-1] != '\t'; len++)
		p--;
	return (struct jstr){p, len};
}

uint64_t
lockout_peer(const struct lockout *l, const char *address, struct jstr forwarded)
{
	unsigned char m[SHA256_LEN + 1 + 8] = {0}, digest[SHA256_LEN];
	unsigned char other[8];
	int loopback, ignored;
	size_t n = parse(address, strlen(address), m + SHA256_LEN + 1, &loopback);
	uint64_t number;

	if (loopback && forwarded.len > 0) {
		struct jstr item = last_item(forwarded);
		size_t m_len = parse(item.s, item.len, other, &ignored);

		if (m_len > 0) {
			n = m_len;
			memcpy(m + SHA256_LEN + 1, other, n);
		}
	}
	memcpy(m, l->key, SHA256_LEN);
	m[SHA256_LEN] = (unsigned char)n;
	hash_sha256(m, SHA256_LEN + 1 + n, digest);
	memcpy(&number, digest, sizeof(number));
	return number;
}

static void
key_of(const struct lockout *l, struct jstr name, struct jstr salt, uint64_t peer, unsigned char out[KEY_LEN])
{
	unsigned char m[3 * SHA256_LEN + sizeof(peer)], digest[SHA256_LEN];

	memcpy(m, l->key, SHA256_LEN);
	hash_sha256(name.s, name.len, m + SHA256_LEN);
	hash_sha256(salt.s, salt.len, m + 2 * SHA256_LEN);
	memcpy(m + 3 * SHA256_LEN, &peer, sizeof(peer));
	hash_sha256(m, sizeof(m), digest);
	memcpy(out, digest, KEY_LEN);
}

static int
is_void(const struct lockout *l, const struct entry *e, uint64_t now_ms)
{
	return e->count == 0 || now_ms >= e->first_ms + l->settings.max_lifetime_ms;
}

static struct entry *
set_of(const struct lockout *l, const unsigned char key[KEY_LEN])
{
	uint64_t n;

	memcpy(&n, key, sizeof(n));
	return l->entries + n % l->nsets * WAYS;
}

/* The live entry of a key, or NULL. */
static struct entry *
find(const struct lockout *l, const unsigned char key[KEY_LEN], uint64_t now_ms)
{
	struct entry *e = l->entries ? set_of(l, key) : NULL;

	for (unsigned i = 0; e && i < WAYS; i++, e++) {
		if (!is_void(l, e, now_ms) && memcmp(e->key, key, KEY_LEN) == 0)
			return e;
	}
	return NULL;
}

int
lockout_quiet(const struct lockout *l)
{
	return atomic_load_explicit(&l->over_until, memory_order_acquire) == 0;
}

enum lockout_state
lockout_state(struct lockout *l, struct jstr name, struct jstr salt, uint64_t peer, uint64_t now_ms)
{
	enum lockout_state state = LOCKOUT_NONE;
	unsigned char key[KEY_LEN];
	const struct entry *e;

	if (lockout_quiet(l))
		return LOCKOUT_NONE;
	key_of(l, name, salt, peer, key);
	pthread_mutex_lock(&l->lock);
	if (now_ms >= atomic_load(&l->over_until))
		atomic_store(&l->over_until, 0);
	e = l->settings.mode == LOCKOUT_ENFORCE ? find(l, key, now_ms) : NULL;
	if (e && e->count >= l->settings.threshold)
		state = e->guesses < l->settings.threshold + LEEWAY ? LOCKOUT_SOFT : LOCKOUT_HARD;
	pthread_mutex_unlock(&l->lock);
	return state;
}

/* A place for a new entry: a void one, or the oldest. */
static struct entry *
make_room(struct lockout *l, const unsigned char key[KEY_LEN], uint64_t now_ms)
{
	struct entry *e, *place;

	if (!l->entries)
		l->entries = calloc(l->nsets * WAYS, sizeof(*l->entries));
	if (!l->entries)
		return NULL;
	e = place = set_of(l, key);
	for (unsigned i = 0; i < WAYS && !is_void(l, place, now_ms); i++, e++) {
		if (is_void(l, e, now_ms) || e->first_ms < place->first_ms)
			place = e;
	}
	memset(place, 0, sizeof(*place));
	memcpy(place->key, key, KEY_LEN);
	place->first_ms = now_ms;
	return place;
}

int
lockout_fail(struct lockout *l, struct jstr name, struct jstr salt, uint64_t peer, uint64_t guess, uint64_t now_ms)
{
	unsigned char key[KEY_LEN];
	struct entry *e = NULL;
	int reached = 0;

	key_of(l, name, salt, peer, key);
	pthread_mutex_lock(&l->lock);
	if (l->settings.mode != LOCKOUT_OFF) {
		e = find(l, key, now_ms);
		if (!e)
			e = make_room(l, key, now_ms);
	}
	if (e) {
		uint64_t until = e->first_ms + l->settings.max_lifetime_ms;

		e->guesses += e->count == 0 || e->last != guess;
		e->last = guess;
		e->count += e->count < UINT32_MAX;
		reached = e->count == l->settings.threshold;
		if (e->count >= l->settings.threshold && atomic_load(&l->over_until) < until)
			atomic_store_explicit(&l->over_until, until, memory_order_release);
	}
	pthread_mutex_unlock(&l->lock);
	return reached;
}
