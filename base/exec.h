/* exec.h: where jobs run.  The layers start no thread; they are given an executor. */
#ifndef BASE_EXEC_H_
#define BASE_EXEC_H_

#include <stdint.h>

typedef void exec_f(void *arg);

/* A job lives inside its owner, so that submitting never allocates and never fails. */
struct exec_job {
	exec_f *fn;            /* what to run */
	void *arg;             /* its argument */
	struct exec_job *next; /* the executor's */
	uint64_t due_ms;       /* the executor's: when, on the monotonic clock */
	uint64_t lane;         /* exec_lane() of whoever it is for; 0: nobody in particular */
	/* The executor's, of the first job of a lane: */
	struct exec_job *next_lane;
	struct exec_job *last;
};

/*
 * An executor.  submit runs ${job} soon on some thread; later runs it after
 * ${delay_ms}.  A job is the executor's from the call until its function
 * begins, and must not be submitted twice meanwhile.  cancel: 1 if ${job} was
 * waiting for its time, and is the caller's again; 0 if not: it is about to
 * run, runs, or was never given.  main.c's executor is threads; the
 * simulation's is one seeded queue.
 */
struct executor {
	void (*submit)(struct executor *ex, struct exec_job *job);
	void (*later)(struct executor *ex, struct exec_job *job, uint64_t delay_ms);
	int (*cancel)(struct executor *ex, struct exec_job *job);
	uint64_t (*now_ms)(struct executor *ex);  /* monotonic */
	uint64_t (*wall_us)(struct executor *ex); /* since 1970 */
	void (*random)(struct executor *ex, void *out, unsigned len);
};

/*
 * The executor of threads (base/exec_threads.c).  Jobs of one lane run in the order they came; lanes take turns, and one gets a thread
 * only while more are free than it has, so that there is one for whoever comes next, whatever the others do.  Lane 0 may have all.
 */
struct exec_threads;
int exec_threads_new(unsigned nthreads, struct exec_threads **xp);
struct executor *exec_threads_executor(struct exec_threads *x);
/** exec_threads_free(x): Runs what was submitted, drops what was to run later, ends the threads. */
void exec_threads_free(struct exec_threads *x);
/** exec_lane(name): The lane of all that is for ${name}, such as a database; equal for different names once in 2^63. */
uint64_t exec_lane(const char *name);

#endif
