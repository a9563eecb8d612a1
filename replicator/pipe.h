/*
 * pipe.h: bytes of attachments on their way from one end to the other: a bounded buffer between two that never wait.
 *
 * One writes, one reads, each on threads of its own.  Who finds no room, or no bytes, is called when there are some: once
 * for each time it was told so, at the latest from within its own pipe_end() or pipe_stop().
 */
#ifndef REPLICATOR_PIPE_H_
#define REPLICATOR_PIPE_H_

#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

struct pipe;

#define PIPE_ROOM (256u << 10) /* bytes */

/* Called on the other side's thread, while it writes or reads: must only pass on that it is time to go on. */
typedef void pipe_f(void *cookie);

int pipe_new(struct pipe **pp) MUST_CHECK;
/** pipe_free(p): Neither side uses it any more.  NULL is allowed. */
void pipe_free(struct pipe *p);

/* ---- The writer ---- */

/**
 * pipe_put(p, data, len, room, cookie): Write all of ${data} or, where it does not fit, nothing: ERR_AGAIN, and ${room}(cookie) is called when
 * it is worth trying again.  ${len} is at most PIPE_ROOM.  Other errors: the reader gave up: what pipe_stop() said.
 */
int pipe_put(struct pipe *p, const void *data, size_t len, pipe_f *room, void *cookie) MUST_CHECK;
/** pipe_end(p, err): No more comes: all is written (0), or an error.  May be called again; the first holds. */
void pipe_end(struct pipe *p, int err);

/* ---- The reader ---- */

/**
 * pipe_take(p, out, max, np, bytes, cookie): Read at most ${max} bytes, at least one.  ERR_AGAIN: there are none yet, and ${bytes}(cookie)
 * is called when there are.  ERR_END: all was read.  Other errors: those of pipe_end().
 */
int pipe_take(struct pipe *p, void *out, size_t max, size_t *np, pipe_f *bytes, void *cookie) MUST_CHECK;
/** pipe_stop(p, err): The reader wants no more.  May be called again; the first holds. */
void pipe_stop(struct pipe *p, int err);

/** pipe_broken_by(p): Who gave up first: 'w', 'r', or 0: nobody has so far.  Any thread. */
int pipe_broken_by(struct pipe *p);
/** pipe_passed(p): Bytes that were read so far.  Any thread. */
uint64_t pipe_passed(struct pipe *p);

#endif
