/*
 * live_query.h: what a live query asks for, as it is kept while nothing happens: which documents it finds, and in which order.
 * Queries of the same words over the same database share one.
 */
#ifndef HTTPAPI_LIVE_QUERY_H_
#define HTTPAPI_LIVE_QUERY_H_

#include <stddef.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "httpapi/find_query.h"
#include "httpapi/findscan.h"
#include "httpapi/live_set.h"

#define LIVE_QUERY_NAME 64u

struct live;

/* A part of the plan: a document that matches its branch and none before it is ordered by its columns. */
struct live_part {
	struct query_columns *columns;   /* NULL: all documents, by id */
	struct query_selector *filter;   /* NULL: every document that has the columns */
	struct query_selector *branch;   /* the plan's; NULL: every document */
	const struct query_index *index; /* the plan's */
};

struct live_query {
	unsigned refs;
	struct query_selector *selector;
	struct query_fields *fields; /* NULL: whole documents */
	struct jstr partition;       /* len 0: none */
	struct jstr body;            /* all of it in words */
	int conflicts;
	uint32_t limit; /* UINT32_MAX: none */
	int ordered;    /* a member's place counts */
	int settled;    /* whatever indexes there are, it finds the same */
	int weighed;    /* one of its plans was (query_plan): made again, it may have another order */
	/* The plan is the one that the design documents give, as they are behind this sequence and this purge. */
	uint64_t designs, designs_purged;
	struct views *views;
	const struct mango_list *list;
	struct query_plan *plan; /* NULL: the selector alone decides, and the order is the ids' */
	struct live_part *parts; /* the plan's */
	/*
	 * A set for the next one who asks, or NULL: true as of newest_seq and newest_purged, but for what happened until newest_end, which may be
	 * in it or not.
	 */
	struct live_set *newest;
	uint64_t newest_seq, newest_purged, newest_end;
	int building;         /* somebody is at it; */
	struct live *waiting; /* these wait for that: live.c */
	/* Where others find it: live_home.c. */
	struct live_home *home;
	struct live_query *next;
	unsigned char name[LIVE_QUERY_NAME];
};

/* What looking at documents needs; one thread at a time. */
struct live_work {
	struct arena *arena; /* reset by its owner */
	struct buf text, key, json, scratch;
};

/* A document that was found; its memory is the work's. */
struct live_found {
	struct jstr key;
	struct jstr text; /* whole */
	uint64_t mark;
};

/**
 * live_query_new(fs, q, body, seq, purge_seq, lqp): The query ${body} as ${fs} has planned it; selector and fields of ${q} are taken, and the plan and the list of ${fs} where they are
 * kept.  ${seq} and ${purge_seq}: the database's before it was planned.  Errors: ERR_NOMEM, query_columns_new()'s, query_selector_new()'s.
 */
int live_query_new(struct findscan *fs, struct find_query *q, struct jstr body, uint64_t seq, uint64_t purge_seq,
    struct live_query **lqp) MUST_CHECK;
/** live_query_empty(lqp): One of which nothing is known yet but its name, so that others wait for it.  Errors: ERR_NOMEM. */
int live_query_empty(struct live_query **lqp) MUST_CHECK;
/** live_query_hold(lq), live_query_drop(lq): On its HTTP thread, once it has one.  NULL is allowed. */
struct live_query *live_query_hold(struct live_query *lq);
void live_query_drop(struct live_query *lq);

/** live_query_is_like(lq, fs): ${fs} has planned the same words: does it find the same as ${lq}, in the same order? */
int live_query_is_like(const struct live_query *lq, const struct findscan *fs);

/** live_query_planned(lq, seq, purge_seq, weighed): It has been planned anew, which gave what is like it; ${seq} and ${purge_seq} as in live_query_new(). */
void live_query_planned(struct live_query *lq, uint64_t seq, uint64_t purge_seq, int weighed);

/**
 * live_query_find(lq, snap, id, w, out, foundp): Is the document ${id} found, and as what?  One that cannot be seen is not.  Errors: those of reading,
 * feedmatch_doc()'s, query_columns_row()'s.
 */
int live_query_find(struct live_query *lq, struct db_snap *snap, struct jstr id, struct live_work *w,
    struct live_found *out, int *foundp) MUST_CHECK;

/** live_query_row(fs, doc, w, out): What a scan has found, as its row says, for live_set_put().  Errors: ERR_BAD_JSON, query_sortkey()'s. */
int live_query_row(
    const struct findscan *fs, const struct findscan_doc *doc, struct live_work *w, struct live_member *out) MUST_CHECK;

/** live_query_put(lq, text, out): Append the wanted fields of the document ${text}.  Errors: query_fields_put()'s. */
int live_query_put(struct live_query *lq, struct jstr text, struct buf *out) MUST_CHECK;

/** live_query_work_init(w, a), live_query_work_tidy(w), live_query_work_release(w): The first two of them keep ${w} small. */
void live_query_work_init(struct live_work *w, struct arena *a);
void live_query_work_tidy(struct live_work *w);
void live_query_work_release(struct live_work *w);

#endif
