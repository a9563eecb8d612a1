/*
 * feedjudge.h: filters of a changes feed that are users' JavaScript: a function of filters, or the map of a view.
 *
 * Rows are judged in batches, ahead of the feed and off its thread.  A feed that meets a row without a verdict says which
 * rows it wants next, and goes on when they have been judged.  All but feedjudge_new() and feedjudge_ask() on the request's thread.
 */
#ifndef HTTPAPI_FEEDJUDGE_H_
#define HTTPAPI_FEEDJUDGE_H_

#include "httpapi/api.h"
#include "httpapi/scripting.h"

struct feedjudge;

/**
 * feedjudge_new(r, request, ddoc, kind, name, all_leaves, jp): The function ${name} of ${ddoc}'s member ${kind}, as it stands now, for
 * the feed of ${r}.  With ${all_leaves} each leaf is judged, else the winner.  ${request}: what it is told of ${r}; with NULL that
 * is taken here, on the request's thread.  api_done() gives it back.  Errors: as scripting_program(), scripting_put_request().
 */
int feedjudge_new(struct apireq *r, const struct scripting_request *request, struct jstr ddoc, const char *kind,
    struct jstr name, int all_leaves, struct feedjudge **jp) MUST_CHECK;
/** feedjudge_release(j): NULL is allowed. */
void feedjudge_release(struct feedjudge *j);

/**
 * feedjudge_row(j, a, c, passp): Does the row pass?  With all leaves ${c} keeps those that do, in ${a}'s memory.  ERR_AGAIN: it
 * has not been judged.  Other errors: what judging ended in.
 */
int feedjudge_row(struct feedjudge *j, struct arena *a, struct db_change *c, int *passp) MUST_CHECK;
/** feedjudge_want(j, low, high, max): The rows to judge next are those between ${low} and ${high}, the first ${max} of them. */
void feedjudge_want(struct feedjudge *j, uint64_t low, uint64_t high, size_t max);

/** feedjudge_ask(j): Judge them; on a thread that may wait.  The verdicts from before are gone. */
void feedjudge_ask(struct feedjudge *j);
/** feedjudge_start(j, done, cookie): feedjudge_ask() on such a thread, and ${done}(cookie) on the request's; holds the request meanwhile. */
void feedjudge_start(struct feedjudge *j, void (*done)(void *cookie), void *cookie);
/** feedjudge_failed(j): 1 if judging ended in an error.  feedjudge_fail(j, r): Answer with it. */
int feedjudge_failed(const struct feedjudge *j);
void feedjudge_fail(const struct feedjudge *j, struct apireq *r);

#endif
