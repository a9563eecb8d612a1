/*
 * pages.h: the pages of a database's file, read without LMDB, which believes what it finds there: a damaged page may
 * end the process.  For files that nobody has open.
 */
#ifndef STORE_PAGES_H_
#define STORE_PAGES_H_

#include <stdint.h>
#include "base/err.h"
#include "store/store.h"

/**
 * store_pages_check(path, why): Would LMDB find its way: each page that its roots lead to lies within the file, is of
 * its kind, is led to once, and its entries lie within it, in order; the counts agree; what it takes for free is free.
 * Values are not looked at.  Reads each page once but for those of large values, of which it reads the first.
 * Errors: ERR_CORRUPT and ${why}; ERR_NO_DB, ERR_IO, ERR_NOMEM, ERR_BUSY.
 */
int store_pages_check(const char *path, struct errtext *why) MUST_CHECK;

/* Where a record was found. */
enum store_pages_place {
	STORE_PAGES_PRESENT, /* its tree leads to it */
	STORE_PAGES_LOST,    /* no tree does, but the page is not free: it lay behind a damaged one */
	STORE_PAGES_UNSURE /* the same, and it may be one that was replaced or deleted: what is free is not known, or its page
				bears the number of one that is elsewhere */
};

struct store_pages_record {
	unsigned tree;
	enum store_pages_place place;
	uint64_t page;
	struct store_val key;
	struct store_val val; /* with its checksum */
};

/* What a file gave, and what it did not. */
struct store_pages_report {
	uint64_t pages;                     /* of the file */
	uint64_t damaged;                   /* pages that are not what leads to them says, or cannot be read */
	uint64_t first[16];                 /* the first of them */
	uint64_t lost;                      /* records whose checksum does not match, or whose entry is broken */
	uint64_t records;                   /* that were told; */
	uint64_t unsure;                    /* of them STORE_PAGES_UNSURE */
	unsigned known;                     /* a bit for each tree: it was found how many records it has, */
	uint64_t expected[STORE_TREES_MAX]; /* and these are they; */
	uint64_t told[STORE_TREES_MAX];     /* so many were told of each tree */
	int no_root;                        /* neither meta page can be used */
	int free_unknown;                   /* what is free cannot be told */
};

/**
 * store_pages_salvage(path, trees, ntrees, fn, lost, cookie, report): Call ${fn} with each record of the trees whose checksum
 * matches: first those that the trees lead to, then those in pages that no tree leads to and that are not free, as far as it is
 * known which these are.  ${lost} is called with an entry whose key can be read but whose value does not match; the key, then,
 * is not proven.  Memory lives for the call.  Ends with the first result of them that is not 0.
 * Errors: those; ERR_NO_DB, ERR_IO, ERR_NOMEM, ERR_BUSY; ERR_CORRUPT: ${path} is no file.
 */
typedef int store_pages_f(const struct store_pages_record *r, void *cookie);
int store_pages_salvage(const char *path, const char *const *trees, unsigned ntrees, store_pages_f *fn,
    store_pages_f *lost, void *cookie, struct store_pages_report *report) MUST_CHECK;

#endif
