/* peer_local.h: databases of this server as ends of replications. */
#ifndef REPLICATOR_PEER_LOCAL_H_
#define REPLICATOR_PEER_LOCAL_H_

#include "base/exec.h"
#include "db/db.h"
#include "replicator/peer.h"

/* Opaque: what the local ends of one server share: who waits for which database's next commit. */
struct peer_locals;

/*
 * Filters that this layer cannot run by itself: selectors, and functions in JavaScript.  All are called on threads that may
 * wait.
 */
struct peer_judge {
	void *cookie;
	/* What ${f} asks for, as it stands now in ${db}'s design documents.  Errors, with ${why}: ERR_MISSING, ERR_SELECTOR..., ERR_SCRIPT, ERR_NOMEM. */
	int (*open)(void *cookie, struct db *db, const struct peer_filter *f, void **judgep, struct errtext *why);
	/*
	 * Of ${n} rows set nleaves to 0 in those that do not pass, and drop the leaves that do not from the others.  Memory: ${a}'s.
	 * No snapshot is held by the caller.  Rows whose documents were changed or purged since do not pass, unseen; *${changedp} is
	 * their number.  What is damaged passes: it is told when it is fetched.
	 */
	int (*rows)(void *judge, struct db *db, struct arena *a, struct db_change *rows, size_t n, size_t *changedp,
	    struct errtext *why);
	void (*close)(void *judge);
};

struct peer_locals_config {
	struct dbs *dbs; /* borrowed, as all */
	struct executor *ex;
	struct executor *slow;   /* for filters; NULL: ${ex} */
	struct peer_judge judge; /* open NULL: there are no filters but doc_ids */
};

int peer_locals_new(const struct peer_locals_config *config, struct peer_locals **lp) MUST_CHECK;
/** peer_locals_free(l): There are no peers any more.  NULL is allowed. */
void peer_locals_free(struct peer_locals *l);
/** peer_locals_moved(l, name): A commit was made to database ${name}, or it is gone.  Any thread; does not wait. */
void peer_locals_moved(struct peer_locals *l, const char *name);

/**
 * peer_local_new(l, name, who, filter, pp): Database ${name} as ${who} may use it; both are copied.  ${filter} (NULL for targets) is borrowed.
 * No database is open while no call is under way, nor while one waits for changes.
 */
int peer_local_new(struct peer_locals *l, const char *name, const struct principal *who,
    const struct peer_filter *filter, struct peer **pp) MUST_CHECK;

#endif
