/*
 * peers.c: what each address takes of the server: connections, requests that are being worked on, requests of late, answers that
 * wait for it.
 *
 * A table of those that have something, under one lock, which is taken when a connection comes or goes, for each large answer and,
 * for clients behind a proxy, for each request.  Between that, counts are atomic.
 *
 * 1. A peer is in the table as long as somebody refers to it, and longer while it is ahead of its rate: who closes
 *    and connects again is the same.  What nobody refers to is freed when its bucket is next looked at.
 * 2. ahead_us is the time at which the peer's requests up to now would be due at its rate.  It may be BURST_US ahead.
 */
#include "peers.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#define BUCKETS 4096u
#define BURST_US UINT64_C(5000000)

struct server_peer {
	struct server_peers *all;
	struct server_peer *next;
	struct server_addr addr;
	unsigned refs, conns; /* under the lock */
	_Atomic unsigned jobs;
	_Atomic uint64_t owed;
	_Atomic uint64_t ahead_us;
};

struct server_peers {
	pthread_mutex_t lock;
	uint64_t seed;
	struct server_peer *buckets[BUCKETS];
};

struct server_nets {
	size_t n;
	struct {
		struct server_addr addr;
		unsigned bits;
	} net[];
};

/* ---- Addresses ---- */

static const unsigned char v4_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static int
is_v4(const struct server_addr *a)
{
	return memcmp(a->b, v4_prefix, sizeof(v4_prefix)) == 0;
}

void
server_addr_of(const struct sockaddr *sa, struct server_addr *a)
{
	memset(a, 0, sizeof(*a));
	if (sa->sa_family == AF_INET) {
		struct sockaddr_in sin;

		memcpy(&sin, sa, sizeof(sin));
		memcpy(a->b, v4_prefix, sizeof(v4_prefix));
		memcpy(a->b + 12, &sin.sin_addr, 4);
	} else if (sa->sa_family == AF_INET6) {
		struct sockaddr_in6 sin6;

		memcpy(&sin6, sa, sizeof(sin6));
		memcpy(a->b, &sin6.sin6_addr, 16);
	}
}

static int
parse_text(const char *text, struct server_addr *a)
{
	if (inet_pton(AF_INET, text, a->b + 12) == 1) {
		memcpy(a->b, v4_prefix, sizeof(v4_prefix));
		return 0;
	}
	return inet_pton(AF_INET6, text, a->b) == 1 ? 0 : ERR_BAD_REQUEST;
}

int
server_addr_parse(const char *s, size_t len, struct server_addr *a)
{
	char text[64];
	char *colon;

	if (len > 1 && *s == '[') {
		const char *end = memchr(s, ']', len);

		if (end == NULL)
			return ERR_BAD_REQUEST;
		s++;
		len = (size_t)(end - s);
	}
	if (len == 0 || len >= sizeof(text))
		return ERR_BAD_REQUEST;
	memcpy(text, s, len);
	text[len] = '\0';
	colon = strchr(text, ':');
	if (colon != NULL && strchr(text, '.') != NULL && strchr(colon + 1, ':') == NULL)
		*colon = '\0'; /* IPv4 with a port */
	return parse_text(text, a);
}

void
server_addr_text(const struct server_addr *a, char text[SERVER_ADDR_TEXT])
{
	if (is_v4(a))
		inet_ntop(AF_INET, a->b + 12, text, SERVER_ADDR_TEXT);
	else
		inet_ntop(AF_INET6, a->b, text, SERVER_ADDR_TEXT);
}

void
server_addr_group(struct server_addr *a)
{
	if (!is_v4(a))
		memset(a->b + 8, 0, 8);
}

/* ---- Nets ---- */

static int
add_net(struct server_nets *nets, const char *s, size_t len)
{
	const char *slash = memchr(s, '/', len);
	size_t n = slash != NULL ? (size_t)(slash - s) : len, i;
	unsigned bits = 0;

	if (server_addr_parse(s, n, &nets->net[nets->n].addr) != 0)
		return ERR_BAD_REQUEST;
	for (i = n + 1; i < len; i++) {
		if (s[i] < '0' || s[i] > '9' || i > n + 3)
			return ERR_BAD_REQUEST;
		bits = bits * 10 + (unsigned)(s[i] - '0');
	}
	if (slash != NULL && i == n + 1)
		return ERR_BAD_REQUEST;
	if (slash == NULL)
		bits = 128;
	else if (is_v4(&nets->net[nets->n].addr))
		bits += 96;
	if (bits > 128)
		return ERR_BAD_REQUEST;
	nets->net[nets->n++].bits = bits;
	return 0;
}

static const char between[] = ", \t"; /* addresses */

int
server_nets_new(const char *list, struct server_nets **netsp)
{
	size_t max = 1, len;
	struct server_nets *nets;
	const char *p;
	int err = 0;

	for (p = list; *p != '\0'; p++)
		max += strchr(between, *p) != NULL;
	nets = calloc(1, sizeof(*nets) + max * sizeof(nets->net[0]));
	if (nets == NULL)
		return ERR_NOMEM;
	for (p = list; err == 0; p += len) {
		p += strspn(p, between);
		len = strcspn(p, between);
		if (len == 0)
			break;
		if (len == 4 && memcmp(p, "none", 4) == 0)
			continue;
		err = add_net(nets, p, len);
	}
	if (err != 0) {
		free(nets);
		return err;
	}
	*netsp = nets;
	return 0;
}

static int
has_prefix(const struct server_addr *a, const struct server_addr *net, unsigned bits)
{
	unsigned bytes = bits / 8, rest = bits % 8;
	unsigned char mask = (unsigned char)(0xff00u >> rest);

	return memcmp(a->b, net->b, bytes) == 0 && (rest == 0 || ((a->b[bytes] ^ net->b[bytes]) & mask) == 0);
}

int
server_nets_have(const struct server_nets *nets, const struct server_addr *a)
{
	size_t i;

	for (i = 0; nets != NULL && i < nets->n; i++)
		if (has_prefix(a, &nets->net[i].addr, nets->net[i].bits))
			return 1;
	return 0;
}

void
server_nets_free(struct server_nets *nets)
{
	free(nets);
}

void
server_forwarded(const char *value, size_t len, const struct server_nets *proxies, struct server_addr *a)
{
	struct server_addr one;

	while (len > 0 && server_nets_have(proxies, a)) {
		size_t end = len, begin;

		while (end > 0 && (value[end - 1] == ' ' || value[end - 1] == '\t'))
			end--;
		begin = end;
		while (begin > 0 && value[begin - 1] != ',')
			begin--;
		len = begin > 0 ? begin - 1 : 0;
		while (begin < end && (value[begin] == ' ' || value[begin] == '\t'))
			begin++;
		if (server_addr_parse(value + begin, end - begin, &one) != 0)
			return;
		*a = one;
	}
}

/* ---- Peers ---- */

int
server_peers_new(struct server_peers **pp)
{
	struct server_peers *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return ERR_NOMEM;
	if (getrandom(&p->seed, sizeof(p->seed), GRND_NONBLOCK) < 0)
		p->seed = (uint64_t)(uintptr_t)p;
	pthread_mutex_init(&p->lock, NULL);
	*pp = p;
	return 0;
}

void
server_peers_free(struct server_peers *p)
{
	struct server_peer *peer;
	size_t i;

	if (p == NULL)
		return;
	for (i = 0; i < BUCKETS; i++)
		while ((peer = p->buckets[i]) != NULL) {
			p->buckets[i] = peer->next;
			free(peer);
		}
	pthread_mutex_destroy(&p->lock);
	free(p);
}

static struct server_peer **
bucket_of(struct server_peers *p, const struct server_addr *a)
{
	uint64_t half[2], h = p->seed;
	unsigned i;

	memcpy(half, a->b, sizeof(half));
	for (i = 0; i < 2; i++) {
		h = (h ^ half[i]) * UINT64_C(0x9e3779b97f4a7c15);
		h ^= h >> 29;
	}
	return &p->buckets[h % BUCKETS];
}

static uint64_t
now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static int
is_done(const struct server_peer *peer, uint64_t now)
{
	return peer->refs == 0 && atomic_load_explicit(&peer->ahead_us, memory_order_relaxed) <= now;
}

/* With the lock.  Frees what is done on its way. */
static struct server_peer *
find(struct server_peers *p, const struct server_addr *a)
{
	struct server_peer **linkp = bucket_of(p, a), *peer, *found = NULL;
	uint64_t now = now_us();

	while ((peer = *linkp) != NULL) {
		if (memcmp(&peer->addr, a, sizeof(*a)) == 0) {
			found = peer;
		} else if (is_done(peer, now)) {
			*linkp = peer->next;
			free(peer);
			continue;
		}
		linkp = &peer->next;
	}
	if (found == NULL && (found = calloc(1, sizeof(*found))) != NULL) {
		found->all = p;
		found->addr = *a;
		*linkp = found;
	}
	return found;
}

static int
enter(struct server_peers *p, const struct server_addr *a, unsigned conns, unsigned max, struct server_peer **peerp)
{
	struct server_addr group = *a;
	struct server_peer *peer;
	int err = 0;

	server_addr_group(&group);
	pthread_mutex_lock(&p->lock);
	peer = find(p, &group);
	if (peer == NULL) {
		err = ERR_NOMEM;
	} else if (conns > 0 && max > 0 && peer->conns >= max) {
		err = ERR_BUSY;
	} else {
		peer->refs++;
		peer->conns += conns;
		*peerp = peer;
	}
	pthread_mutex_unlock(&p->lock);
	return err;
}

int
server_peers_connect(struct server_peers *p, const struct server_addr *a, unsigned max, struct server_peer **peerp)
{
	return enter(p, a, 1, max, peerp);
}

int
server_peers_get(struct server_peers *p, const struct server_addr *a, struct server_peer **peerp)
{
	return enter(p, a, 0, 0, peerp);
}

void
server_peers_disconnect(struct server_peer *peer)
{
	pthread_mutex_lock(&peer->all->lock);
	peer->conns--;
	pthread_mutex_unlock(&peer->all->lock);
}

void
server_peers_put(struct server_peer *peer)
{
	struct server_peers *p;
	struct server_peer **linkp;

	if (peer == NULL)
		return;
	p = peer->all;
	pthread_mutex_lock(&p->lock);
	peer->refs--;
	if (is_done(peer, now_us())) {
		for (linkp = bucket_of(p, &peer->addr); *linkp != peer; linkp = &(*linkp)->next)
			continue;
		*linkp = peer->next;
		free(peer);
	}
	pthread_mutex_unlock(&p->lock);
}

/* Invariant 2. */
static int
is_ahead(struct server_peer *peer, unsigned rate, uint64_t now)
{
	uint64_t step = UINT64_C(1000000) / rate, was = atomic_load_explicit(&peer->ahead_us, memory_order_relaxed);
	uint64_t next;

	do {
		next = (was > now ? was : now) + step;
		if (next > now + BURST_US + step)
			return 1;
	} while (!atomic_compare_exchange_weak_explicit(
	    &peer->ahead_us, &was, next, memory_order_relaxed, memory_order_relaxed));
	return 0;
}

int
server_peers_begin(struct server_peer *peer, unsigned max, unsigned rate)
{
	unsigned jobs = atomic_fetch_add_explicit(&peer->jobs, 1, memory_order_relaxed);

	if ((max == 0 || jobs < max) && (rate == 0 || !is_ahead(peer, rate, now_us())))
		return 0;
	atomic_fetch_sub_explicit(&peer->jobs, 1, memory_order_relaxed);
	return ERR_BUSY;
}

void
server_peers_end(struct server_peer *peer)
{
	atomic_fetch_sub_explicit(&peer->jobs, 1, memory_order_relaxed);
}

struct server_peer *
server_peers_hold(struct server_peer *peer)
{
	if (peer == NULL)
		return NULL;
	pthread_mutex_lock(&peer->all->lock);
	peer->refs++;
	pthread_mutex_unlock(&peer->all->lock);
	return peer;
}

void
server_peers_owe(struct server_peer *peer, uint64_t n)
{
	if (server_peers_hold(peer) == NULL)
		return;
	atomic_fetch_add_explicit(&peer->owed, n, memory_order_relaxed);
}

void
server_peers_paid(struct server_peer *peer, uint64_t n)
{
	if (peer == NULL)
		return;
	atomic_fetch_sub_explicit(&peer->owed, n, memory_order_relaxed);
	server_peers_put(peer);
}

uint64_t
server_peers_owed(const struct server_peer *peer)
{
	return peer != NULL ? atomic_load_explicit(&peer->owed, memory_order_relaxed) : 0;
}
