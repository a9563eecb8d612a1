/* check.h: the unit tests' checker: counts what passed, prints what failed. */
#ifndef TESTS_UNIT_CHECK_H_
#define TESTS_UNIT_CHECK_H_

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static _Atomic unsigned check_passed_;
static _Atomic unsigned check_failed_;

/* Where calls fail (tests/torture/fail.c) a test ends at the first check that fails: what it would go on with may not be there. */
extern void torture_stop(void) __attribute__((weak));

#define CHECK(cond) check_(!!(cond), __FILE__, __LINE__, #cond)
#define CHECK_INT(a, b) check_int_((long long)(a), (long long)(b), __FILE__, __LINE__, #a " == " #b)
#define CHECK_STR(a, b) check_mem_((a), strlen(a), (b), strlen(b), __FILE__, __LINE__, #a " == " #b)
#define CHECK_MEM(a, alen, b, blen) check_mem_((a), (alen), (b), (blen), __FILE__, __LINE__, #a " == " #b)

static inline int
check_(int ok, const char *file, int line, const char *what)
{
	if (ok) {
		check_passed_++;
	} else {
		check_failed_++;
		fprintf(stderr, "%s:%d: failed: %s\n", file, line, what);
		if (torture_stop != NULL)
			torture_stop();
	}
	return ok;
}

static inline int
check_int_(long long a, long long b, const char *file, int line, const char *what)
{
	if (a != b)
		fprintf(stderr, "%s:%d: %lld is not %lld\n", file, line, a, b);
	return check_(a == b, file, line, what);
}

static inline int
check_mem_(const void *a, size_t alen, const void *b, size_t blen, const char *file, int line, const char *what)
{
	int ok = alen == blen && (alen == 0 || memcmp(a, b, alen) == 0);

	if (!ok)
		fprintf(stderr, "%s:%d: \"%.*s\" is not \"%.*s\"\n", file, line, (int)alen, (const char *)a, (int)blen,
		    (const char *)b);
	return check_(ok, file, line, what);
}

static inline int
check_done(void)
{
	printf("%u passed, %u failed\n", check_passed_, check_failed_);
	return check_failed_ > 0 || check_passed_ == 0;
}

#endif
