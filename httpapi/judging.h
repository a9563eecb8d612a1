/*
 * judging.h: documents are put to a function in JavaScript that lets them pass or not: one of filters, or the map of a view.
 * In batches: documents are read and rendered in a snapshot, and when that has ended the function is asked.  On threads that
 * may wait.
 */
#ifndef HTTPAPI_JUDGING_H_
#define HTTPAPI_JUDGING_H_

#include "httpapi/api.h"
#include "script/script.h"

#define JUDGING_ROWS 100u /* documents in a message */

struct judging {
	struct api *api;
	const char *database;
	int all_leaves;
	struct jstr program; /* the design document's */
	size_t revs_max;     /* that the function sees of a document */
	struct buf head;     /* of a message: [["filters",NAME],[ */
	struct buf tail;     /* ],REQ] */
	struct buf pass;     /* out: a byte for each leaf that was put: not 0: it passes */
	struct buf text;     /* the batch */
	size_t ndocs, first; /* of it; first: of its leaves, in pass */
	struct script *sc;
	char error[64]; /* with ERR_SCRIPT: the error's name */
	struct errtext why;
};

/**
 * judging_init(j, api, database, all_leaves, a): With ${all_leaves} each leaf is judged, else the winner.  head and tail are ${a}'s;
 * head, tail and program are the caller's to fill: judging_put_head().
 */
void judging_init(struct judging *j, struct api *api, const char *database, int all_leaves, struct arena *a);
void judging_release(struct judging *j);
/** judging_put_head(j, kind, name): The function ${name} of the member ${kind} is asked. */
int judging_put_head(struct judging *j, const char *kind, struct jstr name);

/** judging_begin(j): A new batch; what has passed of others stays in j->pass.  judging_full(j): 1 if it is time to ask. */
void judging_begin(struct judging *j);
int judging_full(const struct judging *j);
/** judging_put(j, snap, a, c): The row's leaves, to be judged: as many bytes more in j->pass.  ${a} is scratch.  Errors, with nothing put: ERR_MISSING: it is older than ${snap}, and the document has another since, or none; those of reading it. */
int judging_put(struct judging *j, struct db_snap *snap, struct arena *a, const struct db_change *c) MUST_CHECK;
/** judging_pass(j, c): The same, but nobody is asked: they pass. */
int judging_pass(struct judging *j, const struct db_change *c) MUST_CHECK;
/** judging_ask(j): Have the batch judged.  No snapshot is to be held.  Errors: script_open()'s, script_receive()'s, ERR_NOMEM. */
int judging_ask(struct judging *j) MUST_CHECK;
/** judging_end(j): Give the function's process back. */
void judging_end(struct judging *j);

#endif
