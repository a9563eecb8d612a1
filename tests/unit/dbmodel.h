/*
 * dbmodel.h: a model of what must be in a database after random writes.
 *
 * The model of a document is its *universe*: every revision that was ever made up or written, with the one parent and the
 * one content it has, whether the database knows it now (in), from which parent it hangs there (up), and whether its body is there
 * for everybody (body) or kept for merging (base). So whatever path a writer brings, and in whatever order, there is one right outcome.
 */
#ifndef TESTS_UNIT_DBMODEL_H_
#define TESTS_UNIT_DBMODEL_H_

#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "check.h"
#include "dice.h"
#include "db/rev.h"

#define DBMODEL_NDOCS 9
#define DBMODEL_NLOCALS 5
#define DBMODEL_NREVS 3000u
#define DBMODEL_NATTS 2
#define DBMODEL_MAXPATH 300u
#define DBMODEL_NCONTENTS 6
#define DBMODEL_LONG_ID 700u

struct dbmodel_rev {
	struct revbuf rev;
	int parent; /* in the universe; -1: none is known */
	int up;     /* in the database; -1: a root */
	int in, body, base, deleted;
	int known;              /* its content is: it was not only named as a parent */
	unsigned n;             /* what its body says */
	int att[DBMODEL_NATTS]; /* which bytes; -1: it has none of that name */
	int kids;               /* of those in the database; see dbmodel_count_kids() */
};

struct dbmodel_doc {
	char id[DBMODEL_LONG_ID + 1];
	struct dbmodel_rev *v;
	int n;
	int changed; /* by the request at hand */
};

struct dbmodel_local {
	char id[DBMODEL_LONG_ID + 1];
	int exists;
	uint64_t number;
	unsigned n;
};

struct dbmodel {
	struct dbmodel_doc docs[DBMODEL_NDOCS];
	struct dbmodel_local locals[DBMODEL_NLOCALS];
	uint64_t revs_limit;
	uint64_t purged_limit;
	uint64_t keep; /* superseded bodies that compaction leaves on a live leaf's path */
	unsigned next_n;
};

static struct dbmodel dbmodel;
static uint64_t dbmodel_rng;
static const size_t dbmodel_content_len[DBMODEL_NCONTENTS] = {0, 10, 5000, 65472, 70000, 200000};
static char *dbmodel_content[DBMODEL_NCONTENTS];

static inline unsigned
dbmodel_dice(unsigned n)
{
	return (unsigned)(dice_next(&dbmodel_rng) >> 11) % n;
}

/* ---- The model ---- */

static inline void
dbmodel_count_kids(struct dbmodel_doc *d)
{
	for (int i = 0; i < d->n; i++)
		d->v[i].kids = 0;
	for (int i = 0; i < d->n; i++)
		if (d->v[i].in && d->v[i].up >= 0)
			d->v[d->v[i].up].kids++;
}

static inline int
dbmodel_is_leaf(const struct dbmodel_doc *d, int i)
{
	return i >= 0 && d->v[i].in && d->v[i].kids == 0;
}

/* dbmodel_winner: The winning leaf; -1: there is no document. */
static inline int
dbmodel_winner(struct dbmodel_doc *d)
{
	int best = -1;

	dbmodel_count_kids(d);
	for (int i = 0; i < d->n; i++) {
		struct rev a = rev_of(&d->v[i].rev), b;

		if (!dbmodel_is_leaf(d, i))
			continue;
		if (best >= 0)
			b = rev_of(&d->v[best].rev);
		if (best < 0 || d->v[i].deleted < d->v[best].deleted ||
		    (d->v[i].deleted == d->v[best].deleted && rev_cmp(&a, &b) > 0))
			best = i;
	}
	return best;
}

static inline int
dbmodel_find(const struct dbmodel_doc *d, const struct revbuf *r)
{
	struct rev a = rev_of(r);

	for (int i = 0; i < d->n; i++) {
		struct rev b = rev_of(&d->v[i].rev);

		if (rev_equal(&a, &b))
			return i;
	}
	return -1;
}

static inline int
dbmodel_add(struct dbmodel_doc *d, const struct revbuf *r, int parent)
{
	struct dbmodel_rev *v = &d->v[d->n];

	memset(v, 0, sizeof(*v));
	v->rev = *r;
	v->parent = parent;
	v->up = -1;
	for (int i = 0; i < DBMODEL_NATTS; i++)
		v->att[i] = -1;
	return d->n++;
}

/* dbmodel_make_up: A revision that another database might have made: a child of ${parent} (-1: a first one). */
static inline int
dbmodel_make_up(struct dbmodel_doc *d, int parent)
{
	struct revbuf r = {.gen = parent >= 0 ? d->v[parent].rev.gen + 1 : 1, .len = REV_MD5_LEN};
	int at;

	for (unsigned i = 0; i < REV_MD5_LEN; i++)
		r.id[i] = (unsigned char)dbmodel_dice(256);
	at = dbmodel_add(d, &r, parent);
	d->v[at].known = 1;
	d->v[at].deleted = dbmodel_dice(6) == 0;
	d->v[at].n = dbmodel.next_n++;
	for (int i = 0; i < DBMODEL_NATTS; i++) {
		unsigned kind = dbmodel_dice(6);

		if (kind == 0)
			d->v[at].att[i] = (int)dbmodel_dice(DBMODEL_NCONTENTS);
		else if (kind < 4 && parent >= 0)
			d->v[at].att[i] = d->v[parent].att[i];
	}
	return at;
}

/* dbmodel_is_history: A known path that ends before a leaf; the body that comes with it is passed over. */
static inline int
dbmodel_is_history(struct dbmodel_doc *d, const int *way, size_t n)
{
	dbmodel_count_kids(d);
	if (!d->v[way[0]].in || dbmodel_is_leaf(d, way[0]))
		return 0;
	for (size_t i = 1; i < n; i++)
		if (d->v[way[i - 1]].up != way[i])
			return 0;
	return 1;
}

static inline void
dbmodel_merge(struct dbmodel_doc *d, const int *way, size_t n)
{
	if (dbmodel_is_history(d, way, n))
		return;
	for (size_t i = 0; i < n; i++) {
		struct dbmodel_rev *v = &d->v[way[i]];

		if (!v->in) {
			v->in = 1;
			v->body = v->base = 0;
			v->up = -1;
			d->changed = 1;
		}
		if (i == 0 && !v->body)
			v->body = d->changed = 1;
		if (i > 0 && d->v[way[i - 1]].up < 0) {
			d->v[way[i - 1]].up = way[i];
			d->changed = 1;
		}
	}
}

static inline void
dbmodel_forget(struct dbmodel_doc *d, int i)
{
	d->v[i].in = d->v[i].body = d->v[i].base = 0;
	d->v[i].up = -1;
}

/* dbmodel_stem: What stays is the union of the leaves' newest generations, with the links within these. */
static inline void
dbmodel_stem(struct dbmodel_doc *d)
{
	char *keep = calloc((size_t)d->n + 1, 1);

	dbmodel_count_kids(d);
	for (int i = 0; i < d->n; i++) {
		int at = i;

		for (uint64_t g = 0; dbmodel_is_leaf(d, i) && at >= 0 && g < dbmodel.revs_limit; g++, at = d->v[at].up)
			keep[at] |= g + 1 < dbmodel.revs_limit ? 3 : 1;
	}
	for (int i = 0; i < d->n; i++)
		if (!(keep[i] & 2))
			d->v[i].up = -1;
	for (int i = 0; i < d->n; i++)
		if (!keep[i])
			dbmodel_forget(d, i);
	free(keep);
}

/* dbmodel_trim: What compaction makes of the bodies. */
static inline void
dbmodel_trim(struct dbmodel_doc *d)
{
	int *live = calloc((size_t)d->n + 1, sizeof(*live)); /* children from which a live leaf descends */
	char *want = calloc((size_t)d->n + 1, 1);

	dbmodel_stem(d);
	dbmodel_count_kids(d);
	for (int i = 0; i < d->n; i++) {
		uint64_t n = 0;

		if (!dbmodel_is_leaf(d, i) || d->v[i].deleted)
			continue;
		for (int at = d->v[i].up; at >= 0 && live[at]++ == 0;)
			at = d->v[at].up;
		for (int at = d->v[i].up; at >= 0 && n < dbmodel.keep; at = d->v[at].up)
			if (d->v[at].body || d->v[at].base) {
				want[at] = 1;
				n++;
			}
	}
	for (int i = 0; i < d->n; i++) {
		struct dbmodel_rev *v = &d->v[i];

		if (dbmodel_is_leaf(d, i))
			continue;
		v->base = (v->base || v->body) && (want[i] || live[i] > 1);
		v->body = 0;
	}
	free(live);
	free(want);
}

static inline int
dbmodel_purge(struct dbmodel_doc *d, int i)
{
	int was;

	dbmodel_count_kids(d);
	if (!dbmodel_is_leaf(d, i))
		return 0;
	for (; i >= 0 && d->v[i].kids == 0; i = was) {
		was = d->v[i].up;
		dbmodel_forget(d, i);
		dbmodel_count_kids(d);
	}
	return d->changed = 1;
}

static inline void
dbmodel_name_it(char *id, const char *prefix, int i)
{
	size_t len = (size_t)snprintf(id, DBMODEL_LONG_ID + 1, "%s%d", prefix, i);

	if (i % 3 == 2) /* several ids that share more than a key's length */
		while (len < DBMODEL_LONG_ID - 1)
			id[len - 1 + (len % 2 == 0)] = 'x', len++;
	if (i % 3 == 2)
		snprintf(id + 600, 16, "-%d", i);
}

static inline void
dbmodel_init(void)
{
	memset(&dbmodel, 0, sizeof(dbmodel));
	dbmodel.revs_limit = LIMIT_REVS_LIMIT;
	dbmodel.purged_limit = LIMIT_PURGES;
	dbmodel.next_n = 10;
	for (int i = 0; i < DBMODEL_NDOCS; i++) {
		dbmodel_name_it(dbmodel.docs[i].id, "doc", i);
		dbmodel.docs[i].v = calloc(DBMODEL_NREVS + 1, sizeof(struct dbmodel_rev));
	}
	for (int i = 0; i < DBMODEL_NLOCALS; i++)
		dbmodel_name_it(dbmodel.locals[i].id, "_local/", i);
}

/* dbmodel_free: What dbmodel_init() allocated. */
static inline void
dbmodel_free(void)
{
	for (int i = 0; i < DBMODEL_NDOCS; i++)
		free(dbmodel.docs[i].v);
}

/* ---- What is written ---- */

static inline const char *
dbmodel_body_of(unsigned n)
{
	static char text[4000];
	int len = snprintf(text, sizeof(text), "{\"n\":%u,\"pad\":\"", n);

	for (unsigned i = 0; i < (n % 7 == 3 ? 3000u : n % 7); i++)
		text[len++] = (char)('a' + (n * 31 + i * i * 7) % 26);
	snprintf(text + len, sizeof(text) - (size_t)len, "\"}");
	return text;
}

static inline void
dbmodel_contents_init(void)
{
	for (int c = 0; c < DBMODEL_NCONTENTS; c++) {
		dbmodel_content[c] = malloc(dbmodel_content_len[c] + 1);
		for (size_t i = 0; i < dbmodel_content_len[c]; i++)
			dbmodel_content[c][i] = (char)((i * i >> 5) + (size_t)c * 7);
	}
}

static inline void
dbmodel_contents_free(void)
{
	for (int c = 0; c < DBMODEL_NCONTENTS; c++)
		free(dbmodel_content[c]);
}

#endif
