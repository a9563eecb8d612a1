/*
 * mallocs.h: for the tests that put functions of their own in the place of malloc(): MALLOCS_OWN is defined where they can, and behind them are
 * those of glibc.  A sanitizer has allocations of its own.
 */
#ifndef TESTS_UNIT_MALLOCS_H_
#define TESTS_UNIT_MALLOCS_H_

#include <stdlib.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define MALLOCS_SANITIZED
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MALLOCS_SANITIZED
#endif

#if !defined(MALLOCS_SANITIZED) && defined(__GLIBC__)
#define MALLOCS_OWN
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t size);
extern void __libc_free(void *p);
#endif

#endif
