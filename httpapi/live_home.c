/*
 * live_home.c: sharing among the live queries of a thread.
 *
 * Listeners of the same query at the same place hold the same set.  The first of them that is served after a commit makes another
 * set and the bytes that lead there; the others take both.  So a thousand listeners of one query cost one look at what has
 * changed, and the memory of one set.
 *
 * 1. A query in the buckets is held by listeners, not by them: it leaves them when the last one drops it.
 * 2. A share holds the query and sets that it names.
 */
#include "live_home.h"

#include <stdlib.h>
#include <string.h>

#include "rows.h"

#define BUCKETS_FIRST 64u
#define KEEP_BYTES ((size_t)16 << 10)

struct lives {
	unsigned n;
	struct live_home homes[];
};

/* ---- Queries ---- */

/* Names are digests. */
static size_t
bucket(const unsigned char name[LIVE_QUERY_NAME], size_t nbuckets)
{
	return (size_t)bytes_load_u64be(name) & (nbuckets - 1);
}

static struct live_query **
slot(const struct live_home *h, const unsigned char name[LIVE_QUERY_NAME])
{
	struct live_query **p = &h->buckets[bucket(name, h->nbuckets)];

	while (*p != NULL && memcmp((*p)->name, name, LIVE_QUERY_NAME) != 0)
		p = &(*p)->next;
	return p;
}

struct live_query *
live_home_find(const struct live_home *h, const unsigned char name[LIVE_QUERY_NAME])
{
	return h->nbuckets > 0 ? *slot(h, name) : NULL;
}

/* grow: Without memory the chains stay longer, but for the first. */
static int
grow(struct live_home *h)
{
	size_t n = h->nbuckets == 0 ? BUCKETS_FIRST : h->nbuckets * 2;
	struct live_query **more, *lq;

	if (h->nqueries < h->nbuckets)
		return 0;
	more = calloc(n, sizeof(struct live_query *));
	if (more == NULL)
		return h->nbuckets == 0 ? ERR_NOMEM : 0;
	for (size_t i = 0; i < h->nbuckets; i++)
		while ((lq = h->buckets[i]) != NULL) {
			h->buckets[i] = lq->next;
			lq->next = more[bucket(lq->name, n)];
			more[bucket(lq->name, n)] = lq;
		}
	free(h->buckets);
	h->buckets = more;
	h->nbuckets = n;
	return 0;
}

void
live_home_remove(struct live_query *lq)
{
	if (lq->home == NULL)
		return;
	*slot(lq->home, lq->name) = lq->next;
	lq->home->nqueries--;
	lq->home = NULL;
}

int
live_home_add(struct live_home *h, struct live_query *lq, const unsigned char name[LIVE_QUERY_NAME])
{
	struct live_query *before = live_home_find(h, name), **p;

	if (before != NULL)
		live_home_remove(before);
	if (grow(h) != 0)
		return ERR_NOMEM;
	memcpy(lq->name, name, LIVE_QUERY_NAME);
	lq->home = h;
	p = &h->buckets[bucket(name, h->nbuckets)];
	lq->next = *p;
	*p = lq;
	h->nqueries++;
	return 0;
}

/* ---- Places ---- */

void
live_home_leave(struct live_at *at)
{
	live_set_drop(at->set);
	live_query_drop(at->lq);
	at->set = NULL;
	at->lq = NULL;
}

void
live_home_move(struct live_at *to, const struct live_at *from)
{
	struct live_at old = *to;

	*to = *from;
	live_set_hold(to->set);
	live_query_hold(to->lq);
	live_home_leave(&old);
}

struct live_share *
live_home_follow(struct live_home *h, const struct live_at *at)
{
	for (unsigned i = 0; i < LIVE_HOME_SHARES; i++)
		if (h->shares[i].before.lq != NULL && memcmp(&h->shares[i].before, at, sizeof(*at)) == 0)
			return &h->shares[i];
	return NULL;
}

static void
empty(struct live_share *s)
{
	live_home_leave(&s->before);
	live_home_leave(&s->after);
	if (s->b.cap > KEEP_BYTES)
		buf_release(&s->b);
	buf_clear(&s->b);
}

int
live_home_is_shared(struct live_home *h, const struct live_at *at)
{
	unsigned refs = 1;

	for (unsigned i = 0; i < LIVE_HOME_SHARES; i++)
		refs += (h->shares[i].before.set == at->set) + (h->shares[i].after.set == at->set);
	if (at->set->refs > refs)
		return 1;
	for (unsigned i = 0; i < LIVE_HOME_SHARES; i++)
		if (h->shares[i].before.set == at->set || h->shares[i].after.set == at->set)
			empty(&h->shares[i]);
	return 0;
}

struct live_share *
live_home_share(struct live_home *h)
{
	struct live_share *s = &h->shares[h->next++ % LIVE_HOME_SHARES];

	empty(s);
	return s;
}

/* ---- Set-up ---- */

int
live_home_new(struct api *api)
{
	unsigned n = http_server_threads(api->server);
	struct lives *l = calloc(1, sizeof(*l) + n * sizeof(l->homes[0]));

	if (l == NULL)
		return ERR_NOMEM;
	l->n = n;
	for (unsigned i = 0; i < n; i++) {
		live_query_work_init(&l->homes[i].work, NULL);
		for (unsigned k = 0; k < LIVE_HOME_SHARES; k++)
			buf_init(&l->homes[i].shares[k].b, ROWS_BATCH_MAX);
	}
	api->lives = l;
	return 0;
}

void
live_home_free(struct api *api)
{
	struct lives *l = api->lives;

	if (l == NULL)
		return;
	for (unsigned i = 0; i < l->n; i++) {
		for (unsigned k = 0; k < LIVE_HOME_SHARES; k++) {
			empty(&l->homes[i].shares[k]);
			buf_release(&l->homes[i].shares[k].b);
		}
		live_query_work_release(&l->homes[i].work);
		free(l->homes[i].buckets);
	}
	free(l);
	api->lives = NULL;
}

struct live_home *
live_home_of(const struct apireq *r)
{
	return &r->api->lives->homes[http_thread_index(http_req_thread(r->http))];
}
