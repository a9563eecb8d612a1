/*
 * lockout.h: too many wrong passwords, counted by account and address, so that a stranger elsewhere locks nobody
 * out.
 */
#ifndef HTTPAPI_LOCKOUT_H_
#define HTTPAPI_LOCKOUT_H_

#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "base/jread.h"

/* Opaque: a bounded table, safe to use from any thread. */
struct lockout;

enum lockout_mode { LOCKOUT_OFF, LOCKOUT_WARN, LOCKOUT_ENFORCE };

struct lockout_settings {
	enum lockout_mode mode;
	unsigned threshold;       /* failures within the time */
	unsigned max_objects;     /* of the table; older ones make room */
	uint64_t max_lifetime_ms; /* from the first failure */
};

/* Whether somebody may try. */
enum lockout_state {
	LOCKOUT_NONE,
	LOCKOUT_SOFT, /* only with what was verified from this address before */
	LOCKOUT_HARD, /* not at all: guessing would find that too */
};

/** lockout_new(lp): A table that is off.  Errors: ERR_NOMEM. */
int lockout_new(struct lockout **lp) MUST_CHECK;
void lockout_free(struct lockout *l);
/** lockout_set(l, settings): Failures are forgotten where max_objects differs. */
void lockout_set(struct lockout *l, const struct lockout_settings *settings);

/**
 * lockout_peer(l, address, forwarded): A number for an address in text form; of IPv6 the first 64 bits count.  From
 * loopback it is the address that a proxy there has put last into ${forwarded}, the value of X-Forwarded-For (len 0:
 * there is none).
 */
uint64_t lockout_peer(const struct lockout *l, const char *address, struct jstr forwarded);

/** lockout_quiet(l): 1 if nobody is locked out. */
int lockout_quiet(const struct lockout *l);
/**
 * lockout_state(l, name, salt, peer, now_ms): Whether account ${name} may be tried from ${peer}.  With another salt,
 * which comes with a new password, it is another account.
 */
enum lockout_state lockout_state(
    struct lockout *l, struct jstr name, struct jstr salt, uint64_t peer, uint64_t now_ms) MUST_CHECK;

/**
 * lockout_fail(l, name, salt, peer, guess, now_ms): A wrong password; ${guess} is a digest of it.  Returns 1 if it is
 * the one that reaches the threshold, which is worth a line in the log.
 */
int lockout_fail(struct lockout *l, struct jstr name, struct jstr salt, uint64_t peer, uint64_t guess, uint64_t now_ms);

#endif
