/*
 * salvage.h: what can be read of a damaged database's file, as a new database.  In two steps, each a file of code:
 * the records go into a pile, a database that has them and nothing else; from there each document is written to the new
 * database as a replication would.
 */
#ifndef DB_SALVAGE_H_
#define DB_SALVAGE_H_

#include "db/db.h"
#include "store/pages.h"

/* What is told about a loss: a line for people, for each. */
typedef void db_salvage_tell_f(void *cookie, const char *line);

/* What was found, and what was not. */
struct db_salvage {
	db_salvage_tell_f *tell;
	void *cookie;

	/* db_salvage_gather() */
	struct store_pages_report pages;
	int has_state, has_security; /* the counters and settings; the security object */
	/* Of records of documents that are lost, as far as they are kept; not proven, since the record is damaged. */
	char **ids;
	size_t nids, cap_ids;

	/* db_salvage_copy() */
	uint64_t docs, deleted; /* that the new database has */
	uint64_t lost_docs, lost_revs, lost_atts;
	uint64_t checkpoints; /* left out, see salvage.c */
	uint64_t lost;        /* losses of any kind */
};

/**
 * db_salvage_gather(s, pile, path, out): Put the records of ${path}, a database's file that nobody has open, into ${pile} of the
 * store ${s}: a database that dbs_create() has made, and that is closed.  Errors: ERR_NEWER_FORMAT; ERR_IO, ERR_NOMEM, ERR_NOSPACE;
 * ERR_CORRUPT: there is nothing.
 */
int db_salvage_gather(struct store *s, const char *pile, const char *path, struct db_salvage *out) MUST_CHECK;

/**
 * db_salvage_copy(pile, to, out): Write what ${pile} has to ${to}, which is empty.  Waits; both are open for a server
 * administrator.  Errors: ERR_IO, ERR_NOMEM, ERR_NOSPACE, ERR_READONLY; what cannot be read is no error.
 */
int db_salvage_copy(struct db *pile, struct db *to, struct db_salvage *out) MUST_CHECK;

/** db_salvage_release(out): Its memory. */
void db_salvage_release(struct db_salvage *out);

#endif
