/* The pool of threads: every job runs once, timers run in order and not early, and the end runs what was submitted. */
#include <pthread.h>
#include <stdio.h>

#include "base/exec.h"
#include "check.h"

#define JOBS 2000

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;

struct job {
	struct exec_job job;
	struct executor *ex;
	int left; /* how many more times it submits itself */
	uint64_t ran_ms;
	int order;
};

static int runs, order;

static void
count(void *arg)
{
	struct job *j = arg;
	int again;

	pthread_mutex_lock(&lock);
	runs++;
	j->order = ++order;
	j->ran_ms = j->ex->now_ms(j->ex);
	again = j->left-- > 0;
	pthread_cond_signal(&cond);
	pthread_mutex_unlock(&lock);
	if (again)
		j->ex->submit(j->ex, &j->job);
}

static void
await_runs(int want)
{
	pthread_mutex_lock(&lock);
	while (runs < want)
		pthread_cond_wait(&cond, &lock);
	pthread_mutex_unlock(&lock);
}

static void
test_submit(unsigned nthreads)
{
	static struct job jobs[JOBS];
	struct exec_threads *x;
	struct executor *ex;

	runs = 0;
	if (!CHECK_INT(exec_threads_new(nthreads, &x), 0))
		return;
	ex = exec_threads_executor(x);
	for (int i = 0; i < JOBS; i++) {
		jobs[i] = (struct job){.ex = ex, .left = 1, .job = {.fn = count, .arg = &jobs[i]}};
		ex->submit(ex, &jobs[i].job);
	}
	/* The end waits for what is queued, and for what that queues. */
	exec_threads_free(x);
	CHECK_INT(runs, 2 * JOBS);
}

static void
test_later(unsigned nthreads)
{
	static const unsigned delays[] = {60, 20, 40, 0};
	struct job jobs[4], never, plain;
	struct exec_threads *x;
	struct executor *ex;
	uint64_t start;

	runs = order = 0;
	if (!CHECK_INT(exec_threads_new(nthreads, &x), 0))
		return;
	ex = exec_threads_executor(x);
	start = ex->now_ms(ex);
	never = (struct job){.ex = ex, .job = {.fn = count, .arg = &never}};
	ex->later(ex, &never.job, 3600000);
	for (int i = 0; i < 4; i++) {
		jobs[i] = (struct job){.ex = ex, .job = {.fn = count, .arg = &jobs[i]}};
		ex->later(ex, &jobs[i].job, delays[i]);
	}
	plain = (struct job){.ex = ex, .job = {.fn = count, .arg = &plain}};
	ex->submit(ex, &plain.job);
	await_runs(5);
	for (int i = 0; i < 4; i++)
		CHECK(jobs[i].ran_ms >= start + delays[i]);
	CHECK(jobs[1].order < jobs[2].order && jobs[2].order < jobs[0].order);
	CHECK(plain.order < jobs[0].order);
	CHECK_INT(ex->cancel(ex, &jobs[0].job), 0);
	CHECK_INT(ex->cancel(ex, &never.job), 1);
	CHECK_INT(ex->cancel(ex, &never.job), 0);
	exec_threads_free(x);
	CHECK_INT(never.order, 0);
}

/* ---- Lanes ---- */

#define STUCK 50

static int stuck_now, stuck_most, stuck_done, let_go, lane_order[8], norder;

static void
be_stuck(void *arg)
{
	(void)arg;
	pthread_mutex_lock(&lock);
	stuck_now++;
	stuck_most = stuck_now > stuck_most ? stuck_now : stuck_most;
	pthread_cond_broadcast(&cond);
	while (!let_go)
		pthread_cond_wait(&cond, &lock);
	stuck_now--;
	stuck_done++;
	pthread_cond_broadcast(&cond);
	pthread_mutex_unlock(&lock);
}

static void
note_order(void *arg)
{
	pthread_mutex_lock(&lock);
	lane_order[norder++] = *(int *)arg;
	pthread_cond_broadcast(&cond);
	pthread_mutex_unlock(&lock);
}

static void
await(const int *n, int want)
{
	pthread_mutex_lock(&lock);
	while (*n < want)
		pthread_cond_wait(&cond, &lock);
	pthread_mutex_unlock(&lock);
}

/* Jobs of one lane never end, nor those of a second: others' run all the same. */
static void
test_lanes(void)
{
	static struct exec_job stuck[2 * STUCK], quick[4], again;
	static int who[5] = {3, 3, 4, 4, 9};
	struct exec_threads *x;
	struct executor *ex;

	if (!CHECK_INT(exec_threads_new(4, &x), 0))
		return;
	ex = exec_threads_executor(x);
	for (int i = 0; i < STUCK; i++) {
		stuck[i] = (struct exec_job){.fn = be_stuck, .lane = exec_lane("a")};
		ex->submit(ex, &stuck[i]);
	}
	await(&stuck_now, 2);
	for (int i = STUCK; i < 2 * STUCK; i++) {
		stuck[i] = (struct exec_job){.fn = be_stuck, .lane = exec_lane("b")};
		ex->submit(ex, &stuck[i]);
	}
	await(&stuck_now, 3);
	for (int i = 0; i < 4; i++)
		quick[i] =
		    (struct exec_job){.fn = note_order, .arg = &who[i], .lane = exec_lane(who[i] == 3 ? "c" : "d")};
	/* One thread is left. */
	for (int i = 0; i < 4; i++)
		ex->submit(ex, &quick[i]);
	await(&norder, 4);
	again = (struct exec_job){.fn = note_order, .arg = &who[4]};
	ex->submit(ex, &again);
	await(&norder, 5);
	CHECK_INT(lane_order[4], 9);
	CHECK_INT(stuck_most, 3);
	CHECK_INT(stuck_done, 0);
	pthread_mutex_lock(&lock);
	let_go = 1;
	pthread_cond_broadcast(&cond);
	pthread_mutex_unlock(&lock);
	exec_threads_free(x);
	CHECK_INT(stuck_done, 2 * STUCK);
}

/* One thread: two lanes that wait take turns. */
static void
test_turns(void)
{
	static struct exec_job first, quick[6];
	static int who[6] = {1, 1, 1, 2, 2, 2};
	struct exec_threads *x;
	struct executor *ex;

	if (!CHECK_INT(exec_threads_new(1, &x), 0))
		return;
	ex = exec_threads_executor(x);
	norder = let_go = stuck_now = 0;
	first = (struct exec_job){.fn = be_stuck, .lane = exec_lane("z")};
	ex->submit(ex, &first);
	await(&stuck_now, 1);
	for (int i = 0; i < 6; i++) {
		quick[i] =
		    (struct exec_job){.fn = note_order, .arg = &who[i], .lane = exec_lane(who[i] == 1 ? "a" : "b")};
		ex->submit(ex, &quick[i]);
	}
	pthread_mutex_lock(&lock);
	let_go = 1;
	pthread_cond_broadcast(&cond);
	pthread_mutex_unlock(&lock);
	exec_threads_free(x);
	for (int i = 0; i < 6; i++)
		CHECK_INT(lane_order[i], i % 2 + 1);
}

int
main(void)
{
	struct exec_threads *x;

	test_submit(1);
	test_submit(4);
	test_lanes();
	test_turns();
	test_later(1);
	test_later(4);
	if (CHECK_INT(exec_threads_new(0, &x), 0))
		exec_threads_free(x);
	exec_threads_free(NULL);
	return check_done();
}
