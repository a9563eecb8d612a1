/* accounts_impl.h: what accounts.c, accounts_upgrade.c and accounts_design.c share.  Not for others. */
#ifndef HTTPAPI_ACCOUNTS_IMPL_H_
#define HTTPAPI_ACCOUNTS_IMPL_H_

#include <pthread.h>
#include <stdatomic.h>
#include "httpapi/accounts.h"
#include "secret.h"

#define ACCOUNTS_SLOTS 512u        /* accounts that are remembered */
#define ACCOUNTS_RECORD_MAX 16384u /* bytes of one; a larger one is read each time */
#define ACCOUNTS_UPGRADES 32u      /* hashes that wait to be replaced */

/* What a user's document says, as of a generation. */
struct account_record {
	uint64_t generation;
	int err;           /* 0, ERR_MISSING or ERR_USER_CONFLICTS */
	size_t name_len;   /* the texts stand in data, each terminated: name, */
	size_t stored_len; /* its credential, empty: none, */
	size_t salt_at, salt_len;
	size_t nroles;   /* roles, */
	size_t totp_len; /* and what it says of one-time passwords, at the end */
	size_t len;      /* of data */
	char data[];
};

struct account_upgrade; /* accounts_upgrade.c */

struct accounts {
	atomic_uint_fast64_t generation;

	pthread_mutex_t lock;
	struct account_record *slots[ACCOUNTS_SLOTS]; /* by the name's hash */
	struct db *keep;                              /* so that the file stays open */
	char *keep_name;
	/* Work in the background. */
	pthread_cond_t idle;
	unsigned running;
	int stopping;
	struct account_upgrade *upgrades; /* the first is under way */
	unsigned nupgrades;
	struct peruser *peruser;
	int designing; /* 1: accounts_design.c is at it, 2: and is to look again */
};

/** accounts_work_begin(s): 1 if work may begin, which ends with accounts_work_end(s); 0: the server ends.  s->lock is held. */
int accounts_work_begin(struct accounts *s) MUST_CHECK;
/** accounts_work_end(s): s->lock is not held. */
void accounts_work_end(struct accounts *s);

/** accounts_design(api): See to it, in the background, that the database of accounts has `_design/_auth`.  Any thread. */
void accounts_design(struct api *api);
/** accounts_design_is(id, body): Is this that document, with the function that users.c stands for? */
int accounts_design_is(const struct jstr *id, const struct jstr *body);

#endif
