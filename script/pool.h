/* pool.h: which child serves whom, and whose turn it is.  Private to script/. */
#ifndef SCRIPT_POOL_H_
#define SCRIPT_POOL_H_

#include <pthread.h>
#include <stdint.h>
#include "base/err.h"
#include "base/exec.h"
#include "child.h"
#include "script.h"

struct pool_owner;

/* A child whose user waits, too; lives in that user. */
struct pool_parked {
	struct child *child; /* NULL: none, or it was ended for somebody else */
	uint64_t since_ms;
	struct pool_parked *next;
};

struct pool {
	const struct scripts_config *config;
	pthread_mutex_t lock;
	struct child *idle;         /* oldest first */
	struct pool_parked *parked; /* the same; they count as in use */
	struct pool_owner *owners;  /* who has a child in use or waits for one; whose turn is next stands first */
	unsigned nchildren;         /* idle, in use, or being started */
	unsigned nbusy, nwaiting;
	uint64_t age;      /* grows whenever children are not to be used again: those that were born earlier, */
	uint64_t reloaded; /* all of them */
	uint64_t started, exited, failed;
	struct exec_job sweep;
	int sweeping;         /* it is set, or runs; */
	pthread_cond_t swept; /* and no longer */
	int closing;
};

/** pool_init(p, config): ${config} outlives it.  pool_release(p): Nobody has a child in use. */
void pool_init(struct pool *p, const struct scripts_config *config);
void pool_release(struct pool *p);

/**
 * pool_take(p, owner, cp): A child that lives, for the database ${owner}; waits.  Errors: ERR_BUSY, ERR_NOMEM, ERR_IO.
 * pool_give(p, c): Back, for others to use.  pool_drop(p, c, why): It failed: it is ended; ${why}, if not NULL, tells how it had ended by itself.
 */
int pool_take(struct pool *p, const char *owner, struct child **cp) MUST_CHECK;
void pool_give(struct pool *p, struct child *c);
void pool_drop(struct pool *p, struct child *c, struct errtext *why);

/**
 * pool_park(p, k, c): ${c} may be ended for who waits long for a child.  pool_unpark(p, k): It is in use again; NULL: it was ended.
 */
void pool_park(struct pool *p, struct pool_parked *k, struct child *c);
struct child *pool_unpark(struct pool *p, struct pool_parked *k);

/** pool_reload(p, owner): End who is idle now, and who is in use once it is given back; ${owner}: those of this database alone, not NULL. */
void pool_reload(struct pool *p, const char *owner);
void pool_count(struct pool *p, struct scripts_count *out);

#endif
