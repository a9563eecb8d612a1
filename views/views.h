/*
 * views.h: secondary indexes: opened by design document, brought up to date, read.
 *
 * Calls that open, update or reduce may wait for the disk and for users' JavaScript: they belong on threads that may.
 */
#ifndef VIEWS_VIEWS_H_
#define VIEWS_VIEWS_H_

#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/exec.h"
#include "base/jread.h"
#include "db/db.h"
#include "script/script.h"
#include "store/store.h"

/* Opaque types. */
struct views;      /* all indexes of one server */
struct view_index; /* one that is open */

struct views_config {
	struct store *store; /* of the index files; becomes the views', unless views_new() fails */
	const char *folder;  /* where a build may have a file of its own; NULL: it takes memory */
	struct dbs *dbs;     /* borrowed, as all below */
	struct scripts *scripts;
	struct executor *ex;  /* whose threads may wait */
	unsigned max_updates; /* indexes that are brought up to date at a time */
	unsigned background;  /* databases whose indexes are brought up to date by themselves, at a time; 0: none are */
	int (*is_ignored)(const char *database, void *cookie); /* but for these; NULL: for none */
	void *cookie;
	unsigned idle_ms;                  /* indexes that nobody has read for so long are closed; 0: a minute */
	struct db_autocompact autocompact; /* of index files; quiet_ms is not looked at: an update has just ended */
};

/* query_server_config/reduce_limit: what becomes of a reduce function's result that hardly shrinks: true, log, false. */
enum views_reduce_limit { VIEWS_REDUCE_REFUSE, VIEWS_REDUCE_LOG, VIEWS_REDUCE_KEEP };

int views_new(const struct views_config *config, struct views **vp) MUST_CHECK;
/** views_free(v): Updates end behind their present step; all indexes are closed.  NULL is allowed. */
void views_free(struct views *v);
/**
 * views_set_reduce_limit(v, limit): For reductions that begin from now on; at first VIEWS_REDUCE_REFUSE.
 * views_get_reduce_limit(v): What holds now.  Both: any thread.
 */
void views_set_reduce_limit(struct views *v, enum views_reduce_limit limit);
enum views_reduce_limit views_get_reduce_limit(const struct views *v);

/** views_check_design(body, why): May a design document have this body?  Errors: ERR_INVALID_DESIGN, ERR_MISSING, ERR_BAD_JSON, ERR_NOMEM. */
int views_check_design(struct jstr body, struct errtext *why) MUST_CHECK;

/* A function in JavaScript that a view has. */
struct view_function {
	const char *kind; /* "map" or "reduce" */
	struct jstr view;
	struct jstr text;
};

/**
 * views_functions(body, a, fp, np, programp): The functions of a design document that views_check_design() takes, and the
 * program of them all, for script_open(); none where its language is another.  Errors: ERR_BAD_JSON, ERR_NOMEM.
 */
int views_functions(
    struct jstr body, struct arena *a, struct view_function **fp, size_t *np, struct jstr *programp) MUST_CHECK;

/**
 * views_open(v, db, database, ddoc, ip): The index that design document ${ddoc} (terminated) of database ${database} defines now; made
 * if there is none.  Errors: as db_get(); ERR_DELETED, ERR_NOT_IMPLEMENTED (its language), ERR_IO, ERR_NOSPACE, ERR_NOMEM.
 */
int views_open(
    struct views *v, struct db *db, const char *database, struct jstr ddoc, struct view_index **ip) MUST_CHECK;
void views_close(struct view_index *ix);

/** views_is_ready(ix): 1 once it has shown all that the database had at some moment. */
int views_is_ready(struct view_index *ix);
/**
 * views_open_earlier(v, db, database, ddoc, ip): The index of the last revision of the design document before this one that has one which
 * is ready: what can be read while the new one is built.  ERR_MISSING: there is none.  Other errors: as views_open().
 */
int views_open_earlier(
    struct views *v, struct db *db, const char *database, struct jstr ddoc, struct view_index **ip) MUST_CHECK;

/* Somebody who waits for an index. */
struct view_wait {
	uint64_t seq, purge_seq;           /* of the database: the index is to show all that it had then, or newer */
	void (*done)(struct view_wait *w); /* once, on any thread, also from within views_want() */
	void *cookie;
	int err; /* out */
	struct errtext why;
	char error[64];         /* with ERR_SCRIPT: its name */
	struct view_wait *next; /* the views' */
};

/** views_want(ix, w): Bring the index up to what ${w} says, and tell ${w}, which lives until then. */
void views_want(struct view_index *ix, struct view_wait *w);
/** views_shows(ix, seq, purge_seq): 1 if who wants that would be told at once; cheap. */
int views_shows(struct view_index *ix, uint64_t seq, uint64_t purge_seq);
/** views_update(ix): Bring it up to date when there is time. */
void views_update(struct view_index *ix);

/** views_moved(v, database): The database has changed.  Any thread; does not wait. */
void views_moved(struct views *v, const char *database);
/** views_dropped(v, database): The database is gone: its indexes go, too.  Any thread; does not wait. */
void views_dropped(struct views *v, const char *database);

/** views_cleanup(v, db, database): Remove the files of indexes that no design document of the database defines.  Errors: as views_open(). */
int views_cleanup(struct views *v, struct db *db, const char *database) MUST_CHECK;

/** views_compact(ix): Have its file written anew without free space, in the background.  Errors: ERR_BUSY (too many wait), ERR_SHUTDOWN, ERR_NOMEM. */
int views_compact(struct view_index *ix) MUST_CHECK;

/** views_tasks(v, fn, cookie): What is being updated or compacted, as dbs_tasks(). */
int views_tasks(struct views *v, int (*fn)(const struct db_task *task, void *cookie), void *cookie) MUST_CHECK;

#endif
