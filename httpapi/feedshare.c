/* feedshare.c: rows that several feeds want. */
#include "feedshare.h"

#include "rows.h"

#define KEEP_TURN ((size_t)1 << 20)  /* a buffer that had to grow beyond this is given back */
#define KEEP_IDLE ((size_t)16 << 10) /* the same, between turns */

static void
empty(struct buf *b, size_t keep)
{
	if (b->cap > keep)
		buf_release(b);
	buf_clear(b);
}

void
feedshare_init(struct feedshares *s)
{
	unsigned i;

	for (i = 0; i < FEEDSHARE_FORMS; i++)
		buf_init(&s->shares[i].b, ROWS_BATCH_MAX);
}

void
feedshare_release(struct feedshares *s)
{
	unsigned i;

	for (i = 0; i < FEEDSHARE_FORMS; i++)
		buf_release(&s->shares[i].b);
}

struct feedshare *
feedshare_find(struct feedshares *s, const struct group *g, const struct feedscan *scan)
{
	unsigned i;

	for (i = 0; i < FEEDSHARE_FORMS; i++) {
		struct feedshare *share = &s->shares[i];

		if (share->group == g &&
		    feedscan_same(scan, &share->before, share->after.emitted - share->before.emitted))
			return share;
	}
	return NULL;
}

struct feedshare *
feedshare_begin(struct feedshares *s)
{
	struct feedshare *share = &s->shares[s->next++ % FEEDSHARE_FORMS];

	share->group = NULL;
	empty(&share->b, KEEP_TURN);
	return share;
}

void
feedshare_forget(struct feedshares *s, const struct group *g)
{
	unsigned i;

	for (i = 0; i < FEEDSHARE_FORMS; i++) {
		if (g != NULL && s->shares[i].group != g)
			continue;
		s->shares[i].group = NULL;
		if (g == NULL)
			empty(&s->shares[i].b, KEEP_IDLE);
	}
}
