/* test_base_httpc_queue.c: whose turn it is. */
#include <stdlib.h>

#include "base/httpc_queue.h"
#include "check.h"

struct item {
	struct httpc_place place; /* first, so that a place is its item */
	unsigned host, owner, nr;
};

static struct item *
item_of(struct httpc_place *p)
{
	return (struct item *)(void *)p;
}

static void
put(struct httpc_queue *q, struct item *it, unsigned host, unsigned owner, unsigned nr)
{
	char name[40];

	*it = (struct item){.host = host, .owner = owner, .nr = nr};
	snprintf(name, sizeof(name), "http://host%u:80 ", host);
	CHECK_INT(httpc_queue_put(q, &it->place, name, owner), 0);
}

static struct httpc_queue *
make(uint32_t per_host, uint32_t total)
{
	struct httpc_queue *q = NULL;

	CHECK_INT(httpc_queue_new(per_host, total, &q), 0);
	return q;
}

/* Takes one, which must be of ${owner} with ${nr}. */
static struct httpc_place *
expect(struct httpc_queue *q, unsigned owner, unsigned nr)
{
	struct httpc_place *p = httpc_queue_take(q);

	if (CHECK(p != NULL)) {
		CHECK_INT(item_of(p)->owner, owner);
		CHECK_INT(item_of(p)->nr, nr);
	}
	return p;
}

static void
test_turns(void)
{
	struct httpc_queue *q = make(1, 10);
	struct item items[16];
	struct httpc_place *p;
	static const unsigned want[][2] = {{1, 0}, {2, 0}, {3, 0}, {1, 1}, {2, 1}, {1, 2}, {1, 3}};

	for (unsigned i = 0; i < 4; i++)
		put(q, &items[i], 0, 1, i);
	put(q, &items[4], 0, 2, 0);
	put(q, &items[5], 0, 2, 1);
	put(q, &items[6], 0, 3, 0);
	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		p = expect(q, want[i][0], want[i][1]);
		CHECK(httpc_queue_take(q) == NULL); /* one at a time */
		httpc_queue_end(q, p);
	}
	CHECK(httpc_queue_take(q) == NULL);
	CHECK_INT(httpc_queue_running(q) + httpc_queue_waits(q), 0);
	httpc_queue_free(q);
}

static void
test_hosts(void)
{
	struct httpc_queue *q = make(2, 3);
	struct item items[16];
	struct httpc_place *taken[3];

	for (unsigned i = 0; i < 8; i++)
		put(q, &items[i], i < 6 ? 0 : i, 1, i);
	/* Hosts take turns, each has two at most, all three. */
	taken[0] = expect(q, 1, 0);
	taken[1] = expect(q, 1, 6);
	taken[2] = expect(q, 1, 7);
	CHECK(httpc_queue_take(q) == NULL);
	httpc_queue_end(q, taken[1]);
	taken[1] = expect(q, 1, 1);
	httpc_queue_end(q, taken[2]);
	CHECK(httpc_queue_take(q) == NULL); /* the host has two */
	httpc_queue_end(q, taken[0]);
	taken[0] = expect(q, 1, 2);
	/* What waits may leave too. */
	httpc_queue_end(q, &items[3].place);
	httpc_queue_end(q, &items[5].place);
	httpc_queue_end(q, taken[0]);
	httpc_queue_end(q, taken[1]);
	httpc_queue_end(q, expect(q, 1, 4));
	CHECK_INT(httpc_queue_waits(q), 0);
	httpc_queue_free(q);
}

/* Any order of coming and going: the bounds hold, nobody is forgotten, and owners at one host stay within one turn. */
static void
test_random(void)
{
	enum { HOSTS = 7, OWNERS = 5, ITEMS = 400, STEPS = 40000 };
	static struct item items[ITEMS];
	static enum { IDLE, WAITS, RUNS } state[ITEMS];
	static unsigned running[HOSTS];
	struct httpc_queue *q = make(3, 12);
	struct httpc_place *p;
	unsigned total = 0, waits = 0, max_running = 0;

	srand(7);
	for (unsigned step = 0; step < STEPS; step++) {
		unsigned i = (unsigned)rand() % ITEMS;

		if (state[i] == IDLE && rand() % 2) {
			put(q, &items[i], (unsigned)rand() % HOSTS, (unsigned)rand() % OWNERS, i);
			state[i] = WAITS;
			waits++;
		} else if (state[i] != IDLE && (state[i] == RUNS || rand() % 8 == 0)) {
			httpc_queue_end(q, &items[i].place);
			waits -= state[i] == WAITS;
			total -= state[i] == RUNS;
			running[items[i].host] -= state[i] == RUNS;
			state[i] = IDLE;
		}
		while ((p = httpc_queue_take(q)) != NULL) {
			CHECK_INT(state[item_of(p)->nr], WAITS);
			state[item_of(p)->nr] = RUNS;
			waits--;
			total++;
			if (++running[item_of(p)->host] > max_running)
				max_running = running[item_of(p)->host];
		}
		if (total > 12 || total != httpc_queue_running(q) || waits != httpc_queue_waits(q))
			CHECK(0);
	}
	CHECK_INT(max_running, 3);
	for (unsigned i = 0; i < ITEMS; i++)
		if (state[i] != IDLE)
			httpc_queue_end(q, &items[i].place);
	CHECK_INT(httpc_queue_running(q) + httpc_queue_waits(q), 0);
	httpc_queue_free(q);
}

int
main(void)
{
	test_turns();
	test_hosts();
	test_random();
	return check_done();
}
