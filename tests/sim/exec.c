/* exec.c: the seeded queue: one heap of jobs by time, ties by the seed. */
#include "tests/sim/sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct principal sim_admin = {.name = "admin", .server_admin = 1};

struct slot {
	uint64_t due_us, tie;
	struct exec_job *job;
	struct proc *proc; /* NULL: the world's */
	int timed;
};

/* ---- The seed ---- */

uint64_t
sim_random(struct sim *s)
{
	uint64_t z = (s->random += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

uint64_t
sim_below(struct sim *s, uint64_t n)
{
	return n > 0 ? sim_random(s) % n : 0;
}

int
sim_chance(struct sim *s, unsigned n)
{
	return sim_below(s, 1000) < n;
}

/* ---- Words ---- */

static void
mix(struct sim *s, const void *data, size_t len)
{
	const unsigned char *p = data;

	while (len-- > 0)
		s->hash = (s->hash ^ *p++) * UINT64_C(1099511628211);
}

void
sim_say(struct sim *s, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	mix(s, text, strlen(text));
	if (s->trace)
		printf("%12.3f  %s\n", (double)s->now_us / 1000.0, text);
}

void
sim_fail(struct sim *s, const char *fmt, ...)
{
	va_list ap;

	if (s->failed++)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(s->why, sizeof(s->why), fmt, ap);
	va_end(ap);
	if (s->trace)
		printf("%12.3f  FAILED: %s\n", (double)s->now_us / 1000.0, s->why);
}

void *
sim_must(void *p)
{
	if (p == NULL)
		abort();
	return p;
}

void
sim_ok(int err)
{
	if (err != 0) {
		fprintf(stderr, "sim: %s\n", err_name(err));
		abort();
	}
}

/* ---- The queue ---- */

static int
before(const struct slot *a, const struct slot *b)
{
	return a->due_us != b->due_us ? a->due_us < b->due_us : a->tie < b->tie;
}

static void
sift_up(struct sim *s, size_t i)
{
	struct slot x = s->queue[i];

	for (; i > 0 && before(&x, &s->queue[(i - 1) / 2]); i = (i - 1) / 2)
		s->queue[i] = s->queue[(i - 1) / 2];
	s->queue[i] = x;
}

static void
sift_down(struct sim *s, size_t i)
{
	struct slot x = s->queue[i];
	size_t k;

	while ((k = 2 * i + 1) < s->nqueue) {
		if (k + 1 < s->nqueue && before(&s->queue[k + 1], &s->queue[k]))
			k++;
		if (!before(&s->queue[k], &x))
			break;
		s->queue[i] = s->queue[k];
		i = k;
	}
	s->queue[i] = x;
}

static void
push(struct sim *s, struct proc *p, struct exec_job *job, uint64_t delay_us, int timed)
{
	if (s->nqueue == s->room) {
		s->room = s->room == 0 ? 256 : 2 * s->room;
		s->queue = sim_must(realloc(s->queue, s->room * sizeof(*s->queue)));
	}
	s->queue[s->nqueue] =
	    (struct slot){.due_us = s->now_us + delay_us, .tie = sim_random(s), .job = job, .proc = p, .timed = timed};
	if (p != NULL)
		p->jobs++;
	sift_up(s, s->nqueue++);
}

static struct slot
take_out(struct sim *s, size_t i)
{
	struct slot x = s->queue[i];

	s->queue[i] = s->queue[--s->nqueue];
	if (i < s->nqueue) {
		sift_up(s, i);
		sift_down(s, i);
	}
	if (x.proc != NULL)
		x.proc->jobs--;
	return x;
}

void
sim_at(struct sim *s, struct exec_job *job, uint64_t delay_us)
{
	push(s, NULL, job, delay_us, 1);
}

int
sim_take_back(struct sim *s, struct exec_job *job)
{
	size_t i;

	for (i = 0; i < s->nqueue; i++)
		if (s->queue[i].job == job) {
			(void)take_out(s, i);
			return 1;
		}
	return 0;
}

int
sim_step(struct sim *s)
{
	struct slot x;

	if (s->nqueue == 0)
		return 0;
	x = take_out(s, 0);
	s->now_us = x.due_us;
	s->steps++;
	mix(s, &x.due_us, sizeof(x.due_us));
	x.job->fn(x.job->arg);
	if (s->dead != NULL)
		(void)node_bury(s);
	return 1;
}

void
sim_run(struct sim *s, uint64_t until_us)
{
	while (s->nqueue > 0 && s->queue[0].due_us <= until_us && !s->failed)
		(void)sim_step(s);
}

/* ---- What processes are given ---- */

static void
ex_submit(struct executor *ex, struct exec_job *job)
{
	struct proc *p = (struct proc *)ex;
	struct sim *s = p->sim;
	uint64_t delay = 1 + sim_below(s, 50);

	if (s->plan.stall_us > 0 && sim_chance(s, 10))
		delay += sim_below(s, s->plan.stall_us);
	push(s, p, job, delay, 0);
}

static void
ex_later(struct executor *ex, struct exec_job *job, uint64_t delay_ms)
{
	struct proc *p = (struct proc *)ex;

	push(p->sim, p, job, delay_ms * 1000, 1);
}

static int
ex_cancel(struct executor *ex, struct exec_job *job)
{
	struct sim *s = ((struct proc *)ex)->sim;
	size_t i;

	for (i = 0; i < s->nqueue; i++)
		if (s->queue[i].job == job && s->queue[i].timed && s->queue[i].due_us > s->now_us) {
			(void)take_out(s, i);
			return 1;
		}
	return 0;
}

static uint64_t
ex_now(struct executor *ex)
{
	return ((struct proc *)ex)->sim->now_us / 1000;
}

static uint64_t
ex_wall(struct executor *ex)
{
	struct proc *p = (struct proc *)ex;

	return UINT64_C(1700000000000000) + p->sim->now_us + (uint64_t)p->node->skew_us;
}

static void
ex_random(struct executor *ex, void *out, unsigned len)
{
	unsigned char *p = out;

	while (len-- > 0)
		*p++ = (unsigned char)sim_random(((struct proc *)ex)->sim);
}

void
sim_executor(struct sim *s, struct proc *p)
{
	p->sim = s;
	p->ex = (struct executor){.submit = ex_submit,
	    .later = ex_later,
	    .cancel = ex_cancel,
	    .now_ms = ex_now,
	    .wall_us = ex_wall,
	    .random = ex_random};
}

void
sim_init(struct sim *s, uint64_t seed, int trace)
{
	memset(s, 0, sizeof(*s));
	s->seed = seed;
	s->random = seed * UINT64_C(0x2545f4914f6cdd1d) + 1;
	s->hash = UINT64_C(14695981039346656037);
	s->trace = trace;
	s->now_us = 1000000;
}

void
sim_release(struct sim *s)
{
	free(s->queue);
	free(s->acked);
}
