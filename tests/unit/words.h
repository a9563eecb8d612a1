/* words.h: the words of a text, as the tests of query list paths and keys. */
#ifndef TESTS_UNIT_WORDS_H_
#define TESTS_UNIT_WORDS_H_

#include <stddef.h>

#include "base/jread.h"

/* words_split: What stands between spaces in ${s} (NULL: nothing) up to ${end}. */
static inline size_t
words_split(const char *s, const char *end, struct jstr *out)
{
	size_t n = 0;

	while (s != NULL && s < end) {
		size_t len = 0;

		while (s + len < end && s[len] != ' ')
			len++;
		out[n++] = (struct jstr){s, len};
		s += len + 1;
	}
	return n;
}

#endif
