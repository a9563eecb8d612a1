/*
 * faults.h: calls that a test makes fail: of one kind the n-th, once, or it and all that follow.  What the test puts in the place of a
 * function asks fault_due() whether it is that call.
 */
#ifndef TESTS_UNIT_FAULTS_H_
#define TESTS_UNIT_FAULTS_H_

#include <errno.h>

#include "mallocs.h"

/* Atomic for the threads, and since gcc takes malloc() to read nothing of ours: plain stores in front of a call of it would be moved or left out. */
static struct {
	_Atomic int what; /* of the calls that may fail now; 0: none */
	_Atomic int for_good;
	_Atomic unsigned left;
	_Atomic unsigned made;
} fault;

/* fault_begin: The ${n}-th call of the kind ${what} is to fail, counted from here.  fault.what = 0 ends it. */
static inline void
fault_begin(int what, unsigned n, int for_good)
{
	fault.for_good = for_good;
	fault.left = n;
	fault.made = 0;
	fault.what = what;
}

static inline int
fault_due(int what)
{
	if (fault.what != what)
		return 0;
	if (fault.left > 1) {
		fault.left--;
		return 0;
	}
	if (fault.left == 0 && !fault.for_good)
		return 0;
	fault.left = 0;
	fault.made++;
	return 1;
}

/*
 * FAULTS_MALLOCS: malloc(), calloc() and realloc() in the place of the C library's, where MALLOCS_OWN is defined.  They fail where
 * ${refused} says so, a function of the bytes that malloc() is asked for; 0: of one of the others.
 */
#ifdef MALLOCS_OWN
static inline void *
fault_no_memory(void)
{
	errno = ENOMEM;
	return NULL;
}

#define FAULTS_MALLOCS(refused)                                                  \
	void *malloc(size_t size)                                                \
	{                                                                        \
		return refused(size) ? fault_no_memory() : __libc_malloc(size);  \
	}                                                                        \
	void *calloc(size_t n, size_t size)                                      \
	{                                                                        \
		return refused(0) ? fault_no_memory() : __libc_calloc(n, size);  \
	}                                                                        \
	void *realloc(void *p, size_t size)                                      \
	{                                                                        \
		return refused(0) ? fault_no_memory() : __libc_realloc(p, size); \
	}
#else
#define FAULTS_MALLOCS(refused)
#endif

#endif
