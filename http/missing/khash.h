/*
 * khash.h: the header that h2o/http2_internal.h asks for and Debian's package of h2o leaves out: what a table of klib looks
 * like, for h2o_frames.c, which only walks over one.
 */
#ifndef HTTPAPI_MISSING_KHASH_H_
#define HTTPAPI_MISSING_KHASH_H_

#include <stdint.h>

typedef uint32_t khint_t;
typedef khint_t khiter_t;

#define khash_t(name) kh_##name##_t

#define KHASH_MAP_INIT_INT64(name, value_type)                                    \
	typedef struct {                                                          \
		khint_t n_buckets, size, n_occupied, upper_bound;                 \
		uint32_t *flags; /* two bits a bucket; 0: it holds a value */     \
		uint64_t *keys;                                                   \
		value_type *vals;                                                 \
	} kh_##name##_t;                                                          \
	static inline khint_t kh_get_##name(const kh_##name##_t *h, uint64_t key) \
	{                                                                         \
		khint_t i;                                                        \
                                                                                  \
		for (i = 0; i < h->n_buckets; i++)                                \
			if (kh_exist(h, i) && h->keys[i] == key)                  \
				break;                                            \
		return i;                                                         \
	}

#define kh_exist(h, i) ((((h)->flags[(i) >> 4] >> (((i)&0xfU) << 1)) & 3) == 0)
#define kh_get(name, h, key) kh_get_##name(h, key)
#define kh_end(h) ((h)->n_buckets)
#define kh_val(h, i) ((h)->vals[i])

#endif
