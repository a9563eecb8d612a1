/* execpass.h: functions of an executor that pass on to dbtest_threads': for one of which the test replaces some. */
#ifndef TESTS_UNIT_EXECPASS_H_
#define TESTS_UNIT_EXECPASS_H_

#include "dbtest.h"

static inline void
execpass_submit(struct executor *ex, struct exec_job *job)
{
	ex = exec_threads_executor(dbtest_threads);
	ex->submit(ex, job);
}

static inline void
execpass_later(struct executor *ex, struct exec_job *job, uint64_t delay_ms)
{
	ex = exec_threads_executor(dbtest_threads);
	ex->later(ex, job, delay_ms);
}

static inline int
execpass_cancel(struct executor *ex, struct exec_job *job)
{
	ex = exec_threads_executor(dbtest_threads);
	return ex->cancel(ex, job);
}

static inline uint64_t
execpass_now_ms(struct executor *ex)
{
	ex = exec_threads_executor(dbtest_threads);
	return ex->now_ms(ex);
}

static inline uint64_t
execpass_wall_us(struct executor *ex)
{
	ex = exec_threads_executor(dbtest_threads);
	return ex->wall_us(ex);
}

static inline void
execpass_random(struct executor *ex, void *out, unsigned len)
{
	ex = exec_threads_executor(dbtest_threads);
	ex->random(ex, out, len);
}

#endif
