/*
 * A pool of threads around a queue for each lane that has jobs waiting, and one list of timers, sorted by when they are due.
 *
 *	lanes -> first job of lane 7 --next_lane--> first job of lane 0 --next_lane--> ...
 *	             | next                             | next
 *	         second job of lane 7               second job of lane 0
 *
 * 1. All state is guarded by lock.  An idle thread sleeps in cond_wait; nothing wakes it but work.
 * 2. While timers wait and a thread is idle, exactly one idle thread, the keeper, sleeps with a deadline:
 *    the earliest timer's.  It gives the role up when it wakes; a thread that leaves the pool of sleepers
 *    wakes another if a timer would else go unwatched.
 * 3. A job belongs to the pool from submit() to just before its function runs, so the function may free or
 *    submit it again.
 * 4. A lane that gets a thread goes behind the others.  One that has as many as are free gets none, so that lanes that never
 *    end what they run share all threads but one between them, less and less each.
 */
#include "base/exec.h"

#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>

#include "base/err.h"
#include "base/hash.h"

struct exec_threads {
	struct executor ex;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	struct exec_job *lanes;  /* first jobs; whose turn is next stands first */
	struct exec_job *timers; /* by due_ms; equal ones in the order they came */
	unsigned idle;           /* threads asleep */
	int keeper;              /* 1: a thread sleeps until the first timer is due */
	int stopping;
	unsigned nthreads, nbusy;
	struct thread {
		struct exec_threads *x;
		pthread_t id;
		uint64_t lane; /* of what it runs */
	} threads[];
};

static uint64_t
clock_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t
now_ms(struct executor *ex)
{
	(void)ex;
	return clock_ns(CLOCK_MONOTONIC) / 1000000u;
}

static uint64_t
wall_us(struct executor *ex)
{
	(void)ex;
	return clock_ns(CLOCK_REALTIME) / 1000u;
}

static void
random_bytes(struct executor *ex, void *out, unsigned len)
{
	(void)ex;
	hash_random(out, len);
}

static struct exec_threads *
pool_of(struct executor *ex)
{
	return (struct exec_threads *)(void *)((char *)ex - offsetof(struct exec_threads, ex));
}

static void
enqueue(struct exec_threads *x, struct exec_job *job)
{
	struct exec_job **at = &x->lanes;

	job->next = NULL;
	while (*at != NULL && (*at)->lane != job->lane)
		at = &(*at)->next_lane;
	if (*at != NULL) {
		(*at)->last->next = job;
		(*at)->last = job;
	} else {
		job->next_lane = NULL;
		job->last = job;
		*at = job;
	}
}

/* may_run: Is there a thread for the lane? */
static int
may_run(const struct exec_threads *x, uint64_t lane)
{
	unsigned has = 0;

	if (lane == 0 || x->stopping)
		return 1;
	for (unsigned i = 0; i < x->nthreads; i++)
		has += x->threads[i].lane == lane;
	return has < x->nthreads - x->nbusy;
}

/* dequeue: The next job; NULL: there is none that may run. */
static struct exec_job *
dequeue(struct exec_threads *x)
{
	struct exec_job **at = &x->lanes, *job, *second;

	while (*at != NULL && !may_run(x, (*at)->lane))
		at = &(*at)->next_lane;
	if ((job = *at) == NULL)
		return NULL;
	*at = job->next_lane;
	if ((second = job->next) != NULL) {
		second->last = job->last;
		second->next_lane = NULL;
		while (*at != NULL)
			at = &(*at)->next_lane;
		*at = second;
	}
	return job;
}

uint64_t
exec_lane(const char *name)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (; *name != '\0'; name++)
		h = (h ^ (unsigned char)*name) * UINT64_C(0x100000001b3);
	return h | 1;
}

static void
submit(struct executor *ex, struct exec_job *job)
{
	struct exec_threads *x = pool_of(ex);

	pthread_mutex_lock(&x->lock);
	enqueue(x, job);
	if (x->idle > 0)
		pthread_cond_signal(&x->cond);
	pthread_mutex_unlock(&x->lock);
}

static void
later(struct executor *ex, struct exec_job *job, uint64_t delay_ms)
{
	struct exec_threads *x = pool_of(ex);
	struct exec_job **at;

	job->due_ms = now_ms(ex) + delay_ms;
	pthread_mutex_lock(&x->lock);
	for (at = &x->timers; *at != NULL && (*at)->due_ms <= job->due_ms; at = &(*at)->next)
		;
	job->next = *at;
	*at = job;
	/* A new first timer: the keeper's deadline is too late now.  It may be any sleeper, so wake them all. */
	if (at == &x->timers && x->idle > 0)
		pthread_cond_broadcast(&x->cond);
	pthread_mutex_unlock(&x->lock);
}

static int
cancel(struct executor *ex, struct exec_job *job)
{
	struct exec_threads *x = pool_of(ex);
	struct exec_job **at;
	int found;

	pthread_mutex_lock(&x->lock);
	for (at = &x->timers; *at != NULL && *at != job; at = &(*at)->next)
		;
	found = *at != NULL;
	if (found)
		*at = job->next;
	pthread_mutex_unlock(&x->lock);
	return found;
}

/* Move the timers that are due to the queue. */
static void
ripen(struct exec_threads *x)
{
	uint64_t now;

	if (x->timers == NULL || x->stopping)
		return;
	now = now_ms(&x->ex);
	while (x->timers != NULL && x->timers->due_ms <= now) {
		struct exec_job *job = x->timers;

		x->timers = job->next;
		enqueue(x, job);
	}
}

static void
sleep_idle(struct exec_threads *x)
{
	x->idle++;
	if (x->timers != NULL && !x->keeper) {
		/* A millisecond that has begun is rounded down by now_ms(), so this deadline is never early. */
		struct timespec due = {
		    .tv_sec = (time_t)(x->timers->due_ms / 1000),
		    .tv_nsec = (long)(x->timers->due_ms % 1000) * 1000000,
		};

		x->keeper = 1;
		pthread_cond_timedwait(&x->cond, &x->lock, &due);
		x->keeper = 0;
	} else {
		pthread_cond_wait(&x->cond, &x->lock);
	}
	x->idle--;
}

static void *
run(void *arg)
{
	struct thread *t = arg;
	struct exec_threads *x = t->x;

	pthread_mutex_lock(&x->lock);
	for (;;) {
		struct exec_job *job;

		ripen(x);
		job = dequeue(x);
		if (job == NULL) {
			if (x->stopping)
				break;
			sleep_idle(x);
			continue;
		}
		t->lane = job->lane;
		x->nbusy++;
		/* Wake another where there is more to run, or a timer that nobody watches. */
		if (x->idle > 0 && (x->lanes != NULL || (x->timers != NULL && !x->keeper)))
			pthread_cond_signal(&x->cond);
		pthread_mutex_unlock(&x->lock);
		job->fn(job->arg);
		pthread_mutex_lock(&x->lock);
		t->lane = 0;
		x->nbusy--;
	}
	pthread_mutex_unlock(&x->lock);
	return NULL;
}

static int
init_sync(struct exec_threads *x)
{
	pthread_condattr_t attr;
	int failed;

	if (pthread_condattr_init(&attr) != 0)
		return ERR_NOMEM;
	failed = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) != 0 || pthread_cond_init(&x->cond, &attr) != 0;
	pthread_condattr_destroy(&attr);
	if (failed)
		return ERR_NOMEM;
	if (pthread_mutex_init(&x->lock, NULL) != 0) {
		pthread_cond_destroy(&x->cond);
		return ERR_NOMEM;
	}
	return 0;
}

int
exec_threads_new(unsigned nthreads, struct exec_threads **xp)
{
	struct exec_threads *x = calloc(1, sizeof(*x) + nthreads * sizeof(struct thread));
	int err;

	if (x == NULL)
		return ERR_NOMEM;
	x->ex = (struct executor){submit, later, cancel, now_ms, wall_us, random_bytes};
	err = init_sync(x);
	if (err != 0) {
		free(x);
		return err;
	}
	for (; x->nthreads < nthreads; x->nthreads++) {
		struct thread *t = &x->threads[x->nthreads];

		t->x = x;
		if (pthread_create(&t->id, NULL, run, t) != 0) {
			exec_threads_free(x);
			return ERR_NOMEM;
		}
	}
	*xp = x;
	return 0;
}

struct executor *
exec_threads_executor(struct exec_threads *x)
{
	return &x->ex;
}

void
exec_threads_free(struct exec_threads *x)
{
	if (x == NULL)
		return;
	pthread_mutex_lock(&x->lock);
	x->stopping = 1;
	pthread_cond_broadcast(&x->cond);
	pthread_mutex_unlock(&x->lock);
	for (unsigned i = 0; i < x->nthreads; i++)
		pthread_join(x->threads[i].id, NULL);
	pthread_cond_destroy(&x->cond);
	pthread_mutex_destroy(&x->lock);
	free(x);
}
