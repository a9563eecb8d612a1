/* The memory of requests in flight as one sum: who gets some, who waits, who is told what, and that nothing of it is lost. */
#include "http/room.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "check.h"

#define MIB ((uint64_t)1 << 20)
#define KIB ((uint64_t)1 << 10)

struct asker {
	struct server_room_waiter wait;
	int told;
};

static void
on_told(struct server_room_waiter *w)
{
	struct asker *a = (struct asker *)w;

	a->told++;
}

static void
ask_for(struct server_room *m, struct asker *a, uint64_t bytes, uint64_t due_ms)
{
	*a = (struct asker){.wait = {.bytes = bytes, .due_ms = due_ms, .told = on_told}};
	server_room_queue(m, &a->wait);
}

static void
shares(void)
{
	struct server_room m;

	server_room_init(&m, 16 * MIB);
	/* Nobody costs more than half of the share, nor nothing. */
	CHECK(server_room_cost(&m, 0) > 0);
	CHECK(server_room_cost(&m, UINT64_MAX) == 8 * MIB);
	CHECK(server_room_cost(&m, MIB) == 4 * MIB + 16 * KIB);
	/* Large ones leave the last quarter to small ones. */
	CHECK(server_room_take(&m, 8 * MIB) && server_room_take(&m, 4 * MIB));
	CHECK(!server_room_take(&m, MIB));
	CHECK(server_room_take(&m, 256 * KIB) && !server_room_take(&m, 257 * KIB));
	for (int i = 0; i < 15; i++)
		CHECK(server_room_take(&m, 256 * KIB));
	CHECK(!server_room_take(&m, 1));
	for (int i = 0; i < 16; i++)
		server_room_give(&m, 256 * KIB);
	server_room_give(&m, 4 * MIB);
	server_room_give(&m, 8 * MIB);
	CHECK(m.held == 0 && m.takers == 0);
	/* Whoever is alone gets what it asks for, also where others hold what they were not asked about. */
	m.held = 20 * MIB;
	CHECK(server_room_take(&m, 8 * MIB) && !server_room_take(&m, 1));
	server_room_give(&m, 8 * MIB);
	CHECK(m.held == 20 * MIB);
	m.held = 0;
	/* What has come has half of the share. */
	CHECK(server_room_park(&m, 0, 8 * MIB) && !server_room_park(&m, 0, 1));
	CHECK(server_room_park(&m, 8 * MIB, 7 * MIB) && server_room_park(&m, 0, MIB) &&
	      !server_room_park(&m, MIB, MIB + 1));
	CHECK(server_room_park(&m, 7 * MIB, 0) && server_room_park(&m, MIB, 0) && m.parked == 0);
	server_room_release(&m);
}

static void
waits(void)
{
	struct server_room m;
	struct asker a, b, c, d;

	server_room_init(&m, 16 * MIB);
	CHECK(server_room_take(&m, 8 * MIB));
	ask_for(&m, &a, 6 * MIB, 10);
	ask_for(&m, &b, 2 * MIB, 20);
	ask_for(&m, &c, 8 * MIB, 30);
	/* There is room for the second, but it is not its turn; small ones need none. */
	CHECK(!a.told && !b.told && !c.told && m.waiting == 3);
	CHECK(!server_room_take(&m, 300 * KIB) && server_room_take(&m, 100 * KIB));
	server_room_give(&m, 100 * KIB);
	CHECK(!a.told);
	server_room_give(&m, 8 * MIB);
	CHECK(a.told == 1 && a.wait.got && b.told == 1 && b.wait.got && !c.told);
	/* Their time is over. */
	ask_for(&m, &d, 8 * MIB, 40);
	CHECK(server_room_expire(&m, 29) == 30 && !c.told);
	CHECK(server_room_expire(&m, 30) == 40 && c.told == 1 && !c.wait.got && !d.told);
	server_room_give(&m, 2 * MIB);
	server_room_give(&m, 6 * MIB);
	CHECK(d.told == 1 && d.wait.got && m.waiting == 0 && server_room_expire(&m, 1000) == 0);
	server_room_give(&m, 8 * MIB);
	/* Who asks where there is room is told at once. */
	ask_for(&m, &a, MIB, 10);
	CHECK(a.told == 1 && a.wait.got);
	server_room_give(&m, MIB);
	CHECK(m.held == 0 && m.takers == 0);
	CHECK(server_room_calm(&m, 0) && server_room_calm(&m, 1) && !server_room_calm(&m, 0));
	server_room_release(&m);
}

static void
no_share(void)
{
	struct server_room m;

	server_room_init(&m, 0);
	CHECK(server_room_take(&m, UINT64_MAX / 4) && server_room_take(&m, MIB) && server_room_park(&m, 0, 1000 * MIB));
	CHECK(server_room_most(&m) == UINT64_MAX);
	m.share = UINT64_MAX;
	CHECK(server_room_most(&m) == UINT64_MAX);
	m.share = 0;
	server_room_release(&m);
}

static void
answers(void)
{
	struct server_room m;
	uint64_t most;

	server_room_init(&m, 16 * MIB);
	most = server_room_most(&m);
	/* One of any size fits where nothing is owed; a quarter of all, and no more, to one address. */
	CHECK(server_room_fits(&m, UINT64_MAX, 0) && server_room_debt(&m, UINT64_MAX) == most / 8);
	CHECK(server_room_fits(&m, MIB, most / 4 - MIB) && !server_room_fits(&m, MIB, most / 4 - MIB + 1));
	/* What is owed leaves what requests hold alone. */
	server_room_owe(&m, most - MIB);
	CHECK(server_room_fits(&m, MIB, 0) && !server_room_fits(&m, MIB + 1, 0));
	/* Who is owed little is in nobody's way, nor is anybody while there is room. */
	CHECK(server_room_strained(&m, most / 8 + 1) && !server_room_strained(&m, most / 8));
	CHECK(server_room_take(&m, 8 * MIB) && server_room_take(&m, MIB));
	server_room_give(&m, MIB);
	server_room_give(&m, 8 * MIB);
	/* It is much that was held, until it is gone. */
	CHECK(!server_room_calm(&m, 1));
	server_room_paid(&m, most - MIB);
	CHECK(m.owed == 0 && !server_room_strained(&m, UINT64_MAX));
	CHECK(server_room_calm(&m, 1) && !server_room_calm(&m, 1));
	server_room_release(&m);
	server_room_init(&m, 0);
	server_room_owe(&m, 1000 * MIB);
	CHECK(server_room_fits(&m, UINT64_MAX / 16, 1000 * MIB) && !server_room_strained(&m, 1000 * MIB));
	server_room_release(&m);
}

static void
arenas(void)
{
	_Atomic uint64_t sum = 0;
	struct arena *a, *b;

	CHECK(arena_new(64 * MIB, &a) == 0 && arena_new(64 * MIB, &b) == 0);
	arena_count(a, &sum, 64 * KIB, 4 * MIB);
	arena_count(b, &sum, 64 * KIB, 4 * MIB);
	CHECK(arena_alloc(a, 60 * KIB) != NULL && sum == 0);
	CHECK(arena_alloc(a, MIB) != NULL && sum >= MIB - 64 * KIB && sum < MIB + 64 * KIB);
	/* Beyond the most there is none, which is not the end of it. */
	CHECK(arena_alloc(b, 4 * MIB) == NULL && arena_alloc(b, 2 * MIB) != NULL);
	/* Who has taken room for it does not count, nor does what is there already. */
	arena_count(b, &sum, 32 * MIB, 4 * MIB);
	CHECK(arena_size(b) >= 2 * MIB && sum < MIB + 64 * KIB);
	CHECK(arena_alloc(b, 3 * MIB) != NULL);
	arena_reset(a);
	CHECK(sum == 0 && arena_size(a) == 0);
	CHECK(arena_alloc(a, 8 * MIB) != NULL);
	arena_free(b);
	CHECK(sum == 0);
	arena_free(a);
}

/* Threads that take, wait and give: each is told once, and in the end nothing is held. */
#define THREADS 4
#define ROUNDS 20000

struct worker {
	struct server_room *m;
	pthread_t id;
	unsigned seed;
	uint64_t told, took;
};

struct sleeper {
	struct server_room_waiter wait;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	int told;
};

static void
wake(struct server_room_waiter *w)
{
	struct sleeper *s = (struct sleeper *)w;

	(void)pthread_mutex_lock(&s->lock);
	s->told++;
	(void)pthread_cond_signal(&s->cond);
	(void)pthread_mutex_unlock(&s->lock);
}

static void *
work(void *arg)
{
	struct worker *w = arg;
	struct sleeper s = {.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};

	for (int i = 0; i < ROUNDS; i++) {
		uint64_t n = 1 + (uint64_t)rand_r(&w->seed) % (9 * MIB);

		if (!server_room_take(w->m, n)) {
			s.told = 0;
			s.wait = (struct server_room_waiter){.bytes = n, .due_ms = UINT64_MAX, .told = wake};
			server_room_queue(w->m, &s.wait);
			(void)pthread_mutex_lock(&s.lock);
			while (!s.told)
				(void)pthread_cond_wait(&s.cond, &s.lock);
			w->told += (uint64_t)s.told;
			(void)pthread_mutex_unlock(&s.lock);
			if (!s.wait.got)
				continue;
		}
		w->took++;
		server_room_give(w->m, n);
	}
	return NULL;
}

static void
together(void)
{
	struct server_room m;
	struct worker w[THREADS];

	server_room_init(&m, 16 * MIB);
	for (unsigned i = 0; i < THREADS; i++) {
		w[i] = (struct worker){.m = &m, .seed = i};
		CHECK(pthread_create(&w[i].id, NULL, work, &w[i]) == 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		(void)pthread_join(w[i].id, NULL);
		CHECK(w[i].took == ROUNDS);
	}
	CHECK(m.held == 0 && m.takers == 0 && m.waiting == 0);
	server_room_release(&m);
}

int
main(void)
{
	shares();
	waits();
	no_share();
	answers();
	arenas();
	together();
	return check_done();
}
