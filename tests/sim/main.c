/*
 * main.c: seeds: what each draws, its run, and the end.
 *
 *   sim                       300 seeds from 1 on
 *   sim --seeds 5000          so many; --from N: from there on
 *   sim --seed N --trace      one, and all that happens
 *
 * The last line is `N passed, N failed`. The same seed gives the same run, which every 50th proves by a second one.
 */
#include "tests/sim/sim.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define STEPS_MAX 4000000u
#define ROUNDS_MAX 40u
#define TWICE 50u

/* ---- What the seed draws ---- */

static uint64_t
one_of(struct sim *s, uint64_t a, uint64_t b, uint64_t c)
{
	uint64_t n = sim_below(s, 3);

	return n == 0 ? a : n == 1 ? b : c;
}

static void
draw_plan(struct sim *s)
{
	struct plan *p = &s->plan;
	int calm = sim_chance(s, 100);

	p->nnodes = 2 + (unsigned)sim_below(s, 4);
	p->ndocs = 1 + (unsigned)sim_below(s, SIM_DOCS);
	p->nwrites = 10 + (unsigned)sim_below(s, 90);
	p->length_us = one_of(s, 2, 10, 60) * 1000000;
	p->loss = calm ? 0 : (unsigned)one_of(s, 5, 30, 150);
	p->delay_us = one_of(s, 500, 20000, 500000);
	p->stall_us = one_of(s, 0, 5000, 300000);
	p->crashes = calm ? 0 : (unsigned)sim_below(s, 6);
	p->partitions = calm ? 0 : (unsigned)sim_below(s, 4);
	p->store_faults = calm ? 0 : (unsigned)sim_below(s, 5);
	p->cuts = calm ? 0 : (unsigned)sim_below(s, 20);
	p->copies = (unsigned)sim_below(s, 8);
	p->compactions = (unsigned)sim_below(s, 4);
	p->restore = (unsigned)one_of(s, 0, 30, 80);
	p->sicknesses = calm ? 0 : (unsigned)one_of(s, 0, 3, 12);
	p->logs_lost = (unsigned)one_of(s, 0, 200, 800);
	p->atts = (unsigned)one_of(s, 0, 20, 60);
	p->backoff_ms = one_of(s, 10, 500, 5000);
	p->defaults = (struct rep_defaults){.server = "",
	    .checkpoint_ms = one_of(s, 10, 300, 5000),
	    .workers = 1 + (unsigned)sim_below(s, 4),
	    .batch = 1 + (unsigned)sim_below(s, 20),
	    .connections = 4,
	    .retries = 2,
	    .timeout_ms = 5000,
	    .checkpoints = 1,
	    .bulk_get = 1};
}

static void
draw_nodes(struct sim *s)
{
	unsigned i, k;

	for (i = 0; i < s->plan.nnodes; i++) {
		struct node *n = &s->nodes[i];

		n->sim = s;
		n->at = i;
		n->skew_us = (int64_t)sim_below(s, 7200000000u) - 3600000000;
		for (k = 0; k < 32; k++)
			n->uuid[k] = "0123456789abcdef"[sim_below(s, 16)];
	}
}

/* ---- What happens ---- */

enum happening { WRITE, CRASH, RISE, PART, JOIN, STORE, CUT, COPY, NOTE, COMPACT, LOOK, SICKEN, CURE };

struct event {
	struct exec_job job;
	struct sim *sim;
	enum happening what;
	unsigned a, b;
};

static void happens(void *arg);

static void
plan_event(struct sim *s, enum happening what, unsigned a, unsigned b, uint64_t in_us)
{
	struct event *e = sim_must(calloc(1, sizeof(*e)));

	*e = (struct event){.job = {.fn = happens, .arg = e}, .sim = s, .what = what, .a = a, .b = b};
	sim_at(s, &e->job, in_us);
}

/* A run that waits does not see that an end was put back: whoever does that has to begin it anew. */
static void
restart_drivers(struct sim *s, const struct node *n)
{
	unsigned i;

	for (i = 0; i < s->nlinks; i++) {
		const struct sim_link *l = &s->links[i];

		if ((l->from != n->at && l->to != n->at) || s->nodes[l->driver].proc == NULL)
			continue;
		node_crash(&s->nodes[l->driver], 0);
		plan_event(s, RISE, l->driver, 0, sim_below(s, s->plan.length_us / 5));
	}
}

static void
crash(struct sim *s, struct node *n)
{
	unsigned restored;

	if (n->proc == NULL)
		return;
	if (sim_chance(s, 500))
		n->locals_lost = s->plan.logs_lost;
	restored = n->restored;
	node_crash(n, sim_below(s, 100) < s->plan.restore);
	plan_event(s, RISE, n->at, 0, sim_below(s, s->plan.length_us / 5));
	if (n->restored != restored)
		restart_drivers(s, n);
}

static void
break_store(struct sim *s, struct node *n)
{
	static const int codes[] = {ERR_IO, ERR_NOSPACE, ERR_IN_DOUBT};
	int code = codes[sim_below(s, 3)], applied = sim_chance(s, 500);

	if (n->proc == NULL)
		return;
	sim_say(s, "a commit of node %u will end in %s", n->at, err_name(code));
	store_mem_fail(n->proc->store, 1 + (unsigned)sim_below(s, 5), code, applied);
}

static void
compact(struct node *n)
{
	struct db *db;

	if (n->proc == NULL)
		return;
	db = node_open(n, SIM_DB);
	sim_ok(db_compact(db));
	db_close(db);
}

static void
part(struct sim *s, const struct event *e)
{
	s->cut[e->a][e->b] = s->cut[e->b][e->a] = e->what == PART;
	if (e->a == e->b)
		s->cut[e->a][e->b] = 0;
	sim_say(s, "%u and %u %s", e->a, e->b, e->what == PART ? "part" : "join");
	if (e->what != PART)
		return;
	net_parted(s);
	plan_event(s, JOIN, e->a, e->b, sim_below(s, s->plan.length_us / 3));
}

/* Of one document, for a while. */
static void
sicken(struct sim *s, struct node *n)
{
	unsigned doc = (unsigned)sim_below(s, s->plan.ndocs);

	sim_say(s, "document %u is sick at node %u", doc, n->at);
	n->sick |= UINT32_C(1) << doc;
	plan_event(s, CURE, n->at, doc, sim_below(s, s->plan.length_us));
}

static void
happens(void *arg)
{
	struct event e = *(struct event *)arg;
	struct sim *s = e.sim;
	struct node *n = &s->nodes[e.a];

	free(arg);
	switch (e.what) {
	case WRITE:
		client_write(n);
		break;
	case CRASH:
		crash(s, n);
		break;
	case RISE:
		if (n->proc == NULL)
			node_start(n);
		break;
	case PART:
	case JOIN:
		part(s, &e);
		break;
	case STORE:
		break_store(s, n);
		break;
	case CUT:
		net_cut_one(s);
		break;
	case COPY:
		node_copy(n);
		break;
	case NOTE:
		client_note_logs(n);
		break;
	case COMPACT:
		compact(n);
		break;
	case LOOK:
		check_logs(s);
		break;
	case SICKEN:
		sicken(s, n);
		break;
	case CURE:
		n->sick &= ~(UINT32_C(1) << e.b);
		break;
	}
}

static void
plan_many(struct sim *s, enum happening what, unsigned n)
{
	while (n-- > 0)
		plan_event(s, what, (unsigned)sim_below(s, s->plan.nnodes), (unsigned)sim_below(s, s->plan.nnodes),
		    sim_below(s, s->plan.length_us));
}

static void
plan_all(struct sim *s)
{
	const struct plan *p = &s->plan;

	plan_many(s, WRITE, p->nwrites);
	plan_many(s, CRASH, p->crashes);
	plan_many(s, PART, p->partitions);
	plan_many(s, STORE, p->store_faults);
	plan_many(s, CUT, p->cuts);
	plan_many(s, COPY, p->copies);
	plan_many(s, NOTE, 4);
	plan_many(s, COMPACT, p->compactions);
	plan_many(s, LOOK, 20);
	plan_many(s, SICKEN, p->sicknesses);
}

/* ---- The end ---- */

/* Continuous replications that have nothing to do leave the queue empty. */
static void
come_to_rest(struct sim *s)
{
	uint64_t from = s->steps;

	while (!s->failed && sim_step(s))
		if (s->steps - from > STEPS_MAX)
			sim_fail(s, "does not come to rest");
}

static void
heal(struct sim *s)
{
	unsigned i;

	sim_say(s, "no more faults");
	s->faults = 0;
	s->plan.loss = 0;
	memset(s->cut, 0, sizeof(s->cut));
	for (i = 0; i < s->plan.nnodes; i++) {
		struct node *n = &s->nodes[i];

		n->locals_lost = 0;
		n->sick = 0;
		if (n->proc != NULL)
			store_mem_fail(n->proc->store, 0, 0, 0);
		if (n->proc == NULL)
			node_start(n);
		else
			links_document(n);
	}
}

static int
all_well(const struct sim *s)
{
	unsigned i;

	for (i = 0; i < s->nlinks; i++)
		if (s->links[i].mode == LINK_ONCE && (s->links[i].running || s->links[i].err != 0))
			return 0;
	return 1;
}

static void
converge(struct sim *s)
{
	unsigned round;
	uint64_t before;

	for (round = 0; round < ROUNDS_MAX && !s->failed; round++) {
		before = check_seqs(s);
		links_round(s);
		come_to_rest(s);
		if (!s->failed && all_well(s) && check_seqs(s) == before)
			return;
	}
	sim_fail(s, "does not converge");
}

static void
end(struct sim *s)
{
	unsigned i;

	for (i = 0; i < s->plan.nnodes; i++)
		node_stop(&s->nodes[i]);
	come_to_rest(s);
	if (!s->failed && node_bury(s) > 0)
		sim_fail(s, "what is dead does not come to rest");
	if (!s->failed && s->rpcs != NULL)
		sim_fail(s, "a call does not end");
	for (i = 0; i < s->plan.nnodes && !s->failed; i++)
		node_free(&s->nodes[i]);
}

/* ---- Seeds ---- */

struct totals {
	uint64_t steps, calls, lost, sick, crashes, written, virtual_us;
};

static volatile uint64_t running;

static int
run(uint64_t seed, int trace, uint64_t *hashp, struct totals *t)
{
	struct sim *s = sim_must(malloc(sizeof(*s)));
	unsigned i;
	int failed;

	running = seed;
	(void)alarm(120);
	sim_init(s, seed, trace);
	draw_plan(s);
	draw_nodes(s);
	links_plan(s);
	s->faults = 1;
	for (i = 0; i < s->plan.nnodes; i++)
		node_start(&s->nodes[i]);
	links_run(s);
	plan_all(s);
	sim_run(s, s->now_us + s->plan.length_us);
	if (!s->failed) {
		heal(s);
		come_to_rest(s);
	}
	if (!s->failed)
		converge(s);
	if (!s->failed)
		check_logs(s);
	if (!s->failed)
		check_end(s);
	if (!s->failed)
		end(s);
	*hashp = s->hash;
	t->steps += s->steps;
	t->calls += s->ncalls;
	t->lost += s->nlost;
	t->sick += s->nsick;
	t->crashes += s->ncrashes;
	t->written += s->nwritten;
	t->virtual_us += s->now_us;
	failed = s->failed != 0;
	if (failed)
		fprintf(stderr, "seed %llu: %s\n  again: sim --seed %llu --trace\n", (unsigned long long)seed, s->why,
		    (unsigned long long)seed);
	sim_release(s);
	free(s);
	return failed;
}

static void
hangs(int sig)
{
	static const char words[] = "a seed hangs: 0x";
	char text[sizeof(words) + 17];
	unsigned i;

	(void)sig;
	memcpy(text, words, sizeof(words) - 1);
	for (i = 0; i < 16; i++)
		text[sizeof(words) - 1 + i] = "0123456789abcdef"[running >> (60 - 4 * i) & 15];
	text[sizeof(words) + 15] = '\n';
	(void)!write(2, text, sizeof(words) + 16);
	abort();
}

static int
usage(void)
{
	fputs("usage: sim [--from N] [--seeds N] [--seed N] [--trace] [--first]\n", stderr);
	return 2;
}

int
main(int argc, char **argv)
{
	uint64_t from = 1, n = 300, seed, hash, again, passed = 0, failed = 0;
	struct totals t = {0}, t2 = {0};
	struct timespec began, now;
	int i, trace = 0, first = 0;

	for (i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--trace") == 0)
			trace = 1;
		else if (strcmp(argv[i], "--first") == 0)
			first = 1;
		else if (i + 1 == argc)
			return usage();
		else if (strcmp(argv[i], "--from") == 0)
			from = strtoull(argv[++i], NULL, 10);
		else if (strcmp(argv[i], "--seeds") == 0)
			n = strtoull(argv[++i], NULL, 10);
		else if (strcmp(argv[i], "--seed") == 0) {
			from = strtoull(argv[++i], NULL, 10);
			n = 1;
		} else
			return usage();
	}
	(void)signal(SIGALRM, hangs);
	(void)clock_gettime(CLOCK_MONOTONIC, &began);
	for (seed = from; seed < from + n; seed++) {
		int bad = run(seed, trace, &hash, &t);

		if (!bad && !trace && seed % TWICE == 0) {
			bad = run(seed, 0, &again, &t2);
			if (!bad && again != hash) {
				fprintf(stderr, "seed %llu: two runs differ\n", (unsigned long long)seed);
				bad = 1;
			}
		}
		failed += (uint64_t)bad;
		passed += !bad;
		if (bad && first)
			break;
	}
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	printf("%llu seeds: %.1f s; %llu jobs, %llu calls between nodes, %llu of them harmed, %llu documents that "
	       "failed alone, %llu crashes, %llu writes; %.1f hours of their time\n",
	    (unsigned long long)(passed + failed),
	    (double)(now.tv_sec - began.tv_sec) + (double)(now.tv_nsec - began.tv_nsec) / 1e9,
	    (unsigned long long)t.steps, (unsigned long long)t.calls, (unsigned long long)t.lost,
	    (unsigned long long)t.sick, (unsigned long long)t.crashes, (unsigned long long)t.written,
	    (double)t.virtual_us / 3.6e9);
	printf("%llu passed, %llu failed\n", (unsigned long long)passed, (unsigned long long)failed);
	return failed > 0;
}
