/*
 * executor.h: the executor of fuzz targets: one queue, which runs when the target says so, and a clock that goes on to the time of what was to run
 * later, if the target lets that run.  For one file of a program.
 */
#ifndef TESTS_FUZZ_EXECUTOR_H_
#define TESTS_FUZZ_EXECUTOR_H_

#include <stddef.h>

#include "base/exec.h"

static struct exec_job *jobs, **jobs_end = &jobs;
static struct exec_job *later_jobs;
static uint64_t now;
static unsigned random_next;

static void
submit(struct executor *ex, struct exec_job *job)
{
	(void)ex;
	job->next = NULL;
	*jobs_end = job;
	jobs_end = &job->next;
}

static void
later(struct executor *ex, struct exec_job *job, uint64_t delay_ms)
{
	(void)ex;
	job->due_ms = now + delay_ms;
	job->next = later_jobs;
	later_jobs = job;
}

static int
cancel(struct executor *ex, struct exec_job *job)
{
	struct exec_job **at;

	(void)ex;
	for (at = &later_jobs; *at != NULL; at = &(*at)->next)
		if (*at == job) {
			*at = job->next;
			return 1;
		}
	return 0;
}

static uint64_t
clock_of(struct executor *ex)
{
	(void)ex;
	return now;
}

static void
random_bytes(struct executor *ex, void *out, unsigned len)
{
	unsigned char *p = out;

	(void)ex;
	while (len-- > 0)
		*p++ = (unsigned char)(random_next++ * 151u >> 3);
}

static struct executor executor = {.submit = submit,
    .later = later,
    .cancel = cancel,
    .now_ms = clock_of,
    .wall_us = clock_of,
    .random = random_bytes};

/* executor_begin: As it is for each input.  What was to run later is forgotten. */
static void
executor_begin(void)
{
	later_jobs = NULL;
	now = 1000000;
	random_next = 1;
}

/* run_job: The first of the queue; 0 if there is none. */
static int
run_job(void)
{
	struct exec_job *job = jobs;

	if (job == NULL)
		return 0;
	if ((jobs = job->next) == NULL)
		jobs_end = &jobs;
	job->fn(job->arg);
	return 1;
}

/* bring_later: What is due first of what was to run later comes into the queue; 0 if there is nothing. */
static inline int
bring_later(void)
{
	struct exec_job **first = &later_jobs, *job;

	if (later_jobs == NULL)
		return 0;
	for (struct exec_job **at = &later_jobs; *at != NULL; at = &(*at)->next)
		if ((*at)->due_ms < (*first)->due_ms)
			first = at;
	job = *first;
	*first = job->next;
	now = job->due_ms > now ? job->due_ms : now;
	submit(NULL, job);
	return 1;
}

#endif
