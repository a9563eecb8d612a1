/* trace.h: the bytes of a trace: what was written into one LMDB environment, in order. */
#ifndef BENCH_TRACE_H_
#define BENCH_TRACE_H_

#include <stdint.h>

enum trace_kind {
	TRACE_NAME = 1, /* the tree with this number has the key as its name */
	TRACE_PUT = 2,
	TRACE_DEL = 3,
	TRACE_COMMIT = 4 /* the end of a transaction: a flush */
};

/* In the machine's byte order; klen bytes of key and vlen bytes of value follow. */
struct trace_op {
	uint8_t op;
	uint8_t dbi;
	uint16_t klen;
	uint32_t vlen;
	uint32_t flags; /* LMDB's, of the put */
};

#endif
