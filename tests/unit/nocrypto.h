/*
 * nocrypto.h: OpenSSL without memory: for as long as nocrypto_none is 1, or for the nocrypto_nth-th allocation from here, which becomes 0 by that.
 * nocrypto_begin() comes before anything calls it.
 */
#ifndef TESTS_UNIT_NOCRYPTO_H_
#define TESTS_UNIT_NOCRYPTO_H_

#include <openssl/crypto.h>
#include <stdlib.h>

#include "check.h"

static int nocrypto_none;
static unsigned nocrypto_nth;

static inline int
nocrypto_fails(void)
{
	return nocrypto_none || (nocrypto_nth > 0 && --nocrypto_nth == 0);
}

static inline void *
nocrypto_malloc(size_t size, const char *file, int line)
{
	(void)file;
	(void)line;
	return nocrypto_fails() ? NULL : malloc(size);
}

static inline void *
nocrypto_realloc(void *p, size_t size, const char *file, int line)
{
	(void)file;
	(void)line;
	return nocrypto_fails() ? NULL : realloc(p, size);
}

static inline void
nocrypto_free(void *p, const char *file, int line)
{
	(void)file;
	(void)line;
	free(p);
}

static inline void
nocrypto_begin(void)
{
	CHECK(CRYPTO_set_mem_functions(nocrypto_malloc, nocrypto_realloc, nocrypto_free));
}

#endif
