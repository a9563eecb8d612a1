/* child.h: one divan-js as its parent sees it: started, talked to, ended.  Private to script/. */
#ifndef SCRIPT_CHILD_H_
#define SCRIPT_CHILD_H_

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/jread.h"
#include "script.h"
#include "wire.h"

struct child {
	pid_t pid;
	int fd;
	char *owner;
	unsigned char programs[SCRIPT_PROGRAMS][SHA256_LEN]; /* compiled there; all zero: none */
	unsigned next_program;                               /* which one the next takes the place of */
	uint64_t idle_ms;                                    /* since when nobody uses it */
	uint64_t born;                                       /* the pool's age when it was started */
	struct child *next;                                  /* in the list of idle ones, oldest first */
	struct buf in;                                       /* what it sent */
	size_t taken;                                        /* bytes of that which are done with */
};

/** child_start(config, owner, cp): Errors: ERR_IO with a log line, ERR_NOMEM. */
int child_start(const struct scripts_config *config, const char *owner, struct child **cp) MUST_CHECK;
/** child_end(c, why): End it, whatever it does, and tell how it had ended by itself, if it had. */
void child_end(struct child *c, struct errtext *why);
/** child_is_alive(c): Of one that nobody uses. */
int child_is_alive(const struct child *c);
/** child_has_more(c): It sent more than was asked for. */
int child_has_more(const struct child *c);

/**
 * child_put(c, h, parts, n, config, deadline_ms): Send a message, taking in what comes meanwhile.  child_get(c, h, textp, ...): The
 * next message, borrowed until the next call.  Errors: ERR_SCRIPT_TIMEOUT, ERR_SCRIPT_DIED, ERR_TOO_LARGE, ERR_NOMEM.
 */
int child_put(struct child *c, struct wire_head h, const struct jstr *parts, size_t n,
    const struct scripts_config *config, uint64_t deadline_ms) MUST_CHECK;
int child_get(struct child *c, struct wire_head *h, struct jstr *textp, const struct scripts_config *config,
    uint64_t deadline_ms) MUST_CHECK;

#endif
