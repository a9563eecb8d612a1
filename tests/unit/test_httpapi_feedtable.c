/* Which feeds are to be served when: groups by name that come and go, what moved, intervals. */
#include "httpapi/feedtable.h"

#include <stdlib.h>

#include "check.h"

#define NAMES 1000u
#define FEEDS (2u * NAMES)

/* The engine, as far as the table needs it. */
static unsigned posted;
static uint64_t timer_ms, now = 1000;

void
http_post(struct http_thread *t, struct http_msg *m)
{
	(void)t, (void)m;
	posted++;
}

void
http_timer_set(struct http_timer *timer, uint64_t after_ms)
{
	(void)timer;
	timer_ms = after_ms;
}

void
http_timer_cancel(struct http_timer *timer)
{
	(void)timer;
	timer_ms = UINT64_MAX;
}

static uint64_t
tell_now(struct executor *ex)
{
	(void)ex;
	return now;
}

static void
on_message(void *arg)
{
	(void)arg;
}

static struct table t;

static void
move(const char *name, uint64_t seq, int dropped)
{
	feedtable_moved(&t, name, feedtable_hash(name), seq, dropped);
}

/* How many are in the run queue, which is empty then. */
static unsigned
queued(void)
{
	struct feed *f;
	unsigned n = 0;

	for (; (f = t.run_first) != NULL; n++) {
		feedtable_dequeue(f);
		f->seen = f->group->known;
	}
	CHECK(t.run_last == NULL);
	return n;
}

static void
test_groups(struct feed *feeds)
{
	char name[32];
	unsigned i, n = 0;

	for (i = 0; i < FEEDS; i++) {
		(void)snprintf(name, sizeof(name), "db%u", i % NAMES);
		feeds[i] = (struct feed){.table = &t};
		CHECK_INT(feedtable_join(&feeds[i], name), 0);
	}
	CHECK_INT(t.ngroups, NAMES);
	CHECK(t.nbuckets >= NAMES / 2);
	CHECK(feeds[7].group == feeds[7 + NAMES].group && feeds[7].group != feeds[8].group);

	/* One message for all that moves until it is handled; what nobody listens to asks for none. */
	posted = 0;
	move("nobody's", 1, 0);
	CHECK_INT(posted, 0);
	move("db7", 1, 0);
	move("db7", 2, 0);
	move("db8", 1, 0);
	CHECK_INT(posted, 1);
	feedtable_collect(&t);
	CHECK_INT(queued(), 4);
	CHECK_INT(feeds[7].seen, 2);
	feedtable_collect(&t);
	CHECK_INT(queued(), 0);

	/* A dropped database's group takes nobody in, and hears of no other of its name. */
	move("db7", 0, 1);
	CHECK(feedtable_leave(&feeds[7]) == 0);
	feeds[7] = (struct feed){.table = &t};
	CHECK_INT(feedtable_join(&feeds[7], "db7"), 0);
	CHECK(feeds[7].group != feeds[7 + NAMES].group);
	move("db7", 1, 0);
	feedtable_collect(&t);
	CHECK(feeds[7 + NAMES].group->known == UINT64_MAX && feeds[7].group->known == 1);
	CHECK_INT(queued(), 2);

	/* A group that is marked when its last feed leaves is freed by the message's handler. */
	move("db9", 1, 0);
	CHECK_INT(feedtable_leave(&feeds[9]), 0);
	CHECK_INT(feedtable_leave(&feeds[9 + NAMES]), 1);
	CHECK_INT(feedtable_leave(&feeds[9]), 0);
	feedtable_collect(&t);
	CHECK_INT(queued(), 0);
	for (i = 0; i < t.nbuckets; i++) {
		struct feed *f;

		for (; (f = feedtable_in_bucket(&t, i)) != NULL; n++)
			(void)feedtable_leave(f);
	}
	CHECK_INT(n, FEEDS - 3); /* without those of db9 and the one whose database was dropped */
	CHECK_INT(feedtable_leave(&feeds[7 + NAMES]), 1);
	CHECK_INT(t.ngroups, 0);
}

static void
test_intervals(struct feed *feeds)
{
	uint64_t last = 0;
	struct feed *f;
	unsigned i, n;

	for (i = 0; i < FEEDS; i++) {
		feeds[i] = (struct feed){.table = &t, .active_ms = now, .interval_ms = 1 + i * 7919 % FEEDS};
		CHECK_INT(feedtable_join(&feeds[i], "db"), 0);
		CHECK_INT(feedtable_time(&feeds[i]), 0);
	}
	CHECK_INT(timer_ms, 1);
	/* One in flight is looked at when it may be stuck, one without an interval too. */
	feeds[0].in_flight = 1;
	feeds[0].sent_ms = now;
	feeds[0].interval_ms = 3600000;
	(void)feedtable_retime(&feeds[0]);
	CHECK_INT(feedtable_due(&feeds[0]), now + t.stuck_ms);
	CHECK(!feedtable_is_stuck(&feeds[0], now + t.stuck_ms - 1) && feedtable_is_stuck(&feeds[0], now + t.stuck_ms));
	for (n = 0; (f = feedtable_over(&t, UINT64_MAX)) != NULL; n++) {
		CHECK(feedtable_due(f) >= last);
		last = feedtable_due(f);
		CHECK(feedtable_over(&t, last) == f && feedtable_over(&t, last - 1) == NULL);
		(void)feedtable_leave(f);
	}
	CHECK_INT(n, FEEDS);
	CHECK(timer_ms == UINT64_MAX);
	CHECK_INT(t.ngroups, 0);
}

int
main(void)
{
	struct executor ex = {.now_ms = tell_now};
	struct api api = {.ex = &ex};
	struct feed *feeds = calloc(FEEDS, sizeof(*feeds));

	if (feeds == NULL)
		return 1;
	t.api = &api;
	t.stuck_ms = 60000;
	CHECK_INT(feedtable_init(&t, NULL, on_message), 0);
	test_groups(feeds);
	test_intervals(feeds);
	feedtable_release(&t);
	free(feeds);
	return check_done();
}
