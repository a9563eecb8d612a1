/* fuzz.h: what the fuzz targets share.  A target is one file fuzz_NAME.c; its seeds and past findings are corpus/NAME/. */
#ifndef TESTS_FUZZ_FUZZ_H_
#define TESTS_FUZZ_FUZZ_H_

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/** LLVMFuzzerTestOneInput(data, len): What libFuzzer and driver.c call with each input; aborts on a finding. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/** FUZZ_CHECK(cond): A property that every input must keep. */
#define FUZZ_CHECK(cond)                                                                          \
	do {                                                                                      \
		if (!(cond)) {                                                                    \
			fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #cond); \
			abort();                                                                  \
		}                                                                                 \
	} while (0)

/** fuzz_copy(data, len): The bytes apart, in memory of just that size, so that a sanitizer sees a read behind their end; the caller frees it. */
static inline char *
fuzz_copy(const void *data, size_t len)
{
	char *copy = malloc(len > 0 ? len : 1);

	FUZZ_CHECK(copy != NULL);
	if (len > 0)
		memcpy(copy, data, len);
	return copy;
}

/* An input that is read as a series of choices; behind its end every choice is 0. */
struct fuzz_in {
	const uint8_t *p;
	const uint8_t *end;
};

static inline int
fuzz_more(const struct fuzz_in *in)
{
	return in->p < in->end;
}

static inline unsigned
fuzz_byte(struct fuzz_in *in)
{
	return in->p < in->end ? *in->p++ : 0;
}

/** fuzz_same_term(a, b, len): Are two external terms equal?  -0.0 is written as 0.0, as CouchDB does, so its sign may be lost. */
static inline int
fuzz_same_term(const char *a, const char *b, size_t len)
{
	static const char zero[8];

	for (size_t i = 0; i < len; i++) {
		if (a[i] == b[i])
			continue;
		if (i == 0 || a[i - 1] != 'F' || b[i] != 0 || (a[i] & 0xff) != 0x80 || len - i < sizeof(zero) ||
		    memcmp(a + i + 1, zero, sizeof(zero) - 1) != 0)
			return 0;
	}
	return 1;
}

#endif
