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

int
main(void)
{
	struct exec_threads *x;

	test_submit(1);
	test_submit(4);
	test_later(1);
	test_later(4);
	if (CHECK_INT(exec_threads_new(0, &x), 0))
		exec_threads_free(x);
	exec_threads_free(NULL);
	return check_done();
}
