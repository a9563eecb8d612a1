/*
 * store_lmdb_salvage.c: the records of a damaged file.  First those that its trees lead to, as far as they do; then those in
 * pages that were lost with the pages that led to them.
 *
 * 1. What is told has passed the record's checksum, which covers tree, key and value.
 * 2. A page that is neither led to nor free was lost with the pages that led to it.  A free page holds what was replaced or
 *    deleted, with checksums that match: it is never read, where it is known which these are.
 * 3. A page is known by the number that it bears, for it may stand in another's place.  Of two that bear one number that in
 *    its place is it.
 */
#include "store_lmdb_pages.h"

#include <string.h>
#include "store/record.h"

struct salvage {
	struct pages_walk w;
	store_pages_f *fn, *lost;
	void *cookie;
	int unsure;       /* the page that nothing leads to may hold what was replaced */
	uint64_t run_end; /* the last large value that nothing leads to seems to end before this page */
	unsigned guess;   /* the tree that the last lost record was of */
};

/* ---- Records ---- */

static int
tell_record(struct salvage *s, const struct store_pages_record *r)
{
	s->w.report->records++;
	s->w.report->unsure += r->place == STORE_PAGES_UNSURE;
	s->w.report->told[r->tree]++;
	return s->fn(r, s->cookie);
}

/* claim: The pages of a large value are known: it has been proven. */
static void
claim(struct salvage *s, const struct pages_node *n)
{
	uint64_t first = pages_u64(n->data), pages = pages_of(&s->w, n->dlen);

	for (uint64_t i = 0; i < pages && first + i < s->w.npages; i++)
		pages_bit_set(s->w.seen, first + i);
}

/* tell: A record that its tree leads to. */
static int
tell(void *cookie, const struct pages_node *n, struct pages_tree *t, uint64_t number)
{
	struct salvage *s = cookie;
	struct store_pages_record r = {.tree = t->number,
	    .place = STORE_PAGES_PRESENT,
	    .page = number,
	    .key = {n->key, n->klen},
	    .val = {n->data, n->dlen}};
	int err = 0;

	if ((n->flags & PAGES_BIGDATA) != 0) {
		err = store_pages_overflow(&s->w, n, t, 1, 1);
		r.val.p = s->w.value;
	}
	if (t->number >= s->w.ntrees || err == ERR_NOMEM)
		return err;
	/* A damaged page may lead into another tree. */
	for (unsigned i = 0; err == 0 && i < s->w.ntrees && !record_fits(r.tree, r.key.p, r.key.len, &r.val); i++)
		r.tree = record_fits(i, r.key.p, r.key.len, &r.val) ? i : r.tree;
	if (err != 0 || !record_fits(r.tree, r.key.p, r.key.len, &r.val)) {
		r.val = (struct store_val){NULL, 0};
		s->w.report->lost++;
		return s->lost != NULL ? s->lost(&r, s->cookie) : 0;
	}
	if ((n->flags & PAGES_BIGDATA) != 0)
		claim(s, n);
	return tell_record(s, &r);
}

/* tell_found: A record that nothing leads to: of the tree whose checksum it has.  If it has none, nobody knows what it is. */
static int
tell_found(struct salvage *s, const struct pages_node *n, uint64_t number)
{
	struct pages_tree t = {.kind = PAGES_TREE};
	struct store_pages_record r = {.place = s->unsure ? STORE_PAGES_UNSURE : STORE_PAGES_LOST,
	    .page = number,
	    .key = {n->key, n->klen},
	    .val = {n->data, n->dlen}};
	int err;

	if ((n->flags & PAGES_BIGDATA) != 0) {
		if ((err = store_pages_overflow(&s->w, n, &t, 1, 1)) != 0)
			return err == ERR_NOMEM ? err : 0;
		r.val.p = s->w.value;
	}
	for (unsigned i = 0; i <= s->w.ntrees; i++) {
		r.tree = i == 0 ? s->guess : i - 1;
		if (record_fits(r.tree, r.key.p, r.key.len, &r.val)) {
			s->guess = r.tree;
			if ((n->flags & PAGES_BIGDATA) != 0)
				claim(s, n);
			return tell_record(s, &r);
		}
	}
	return 0;
}

/* ---- Pages that nothing leads to ---- */

/* found: The records of a page to which nothing leads. */
static int
found(struct salvage *s, uint64_t number)
{
	const unsigned char *page = s->w.pages[0];
	struct pages_node node;
	unsigned n;
	int err = 0;

	if (!store_pages_read(&s->w, s->w.pages[0], s->w.psize, number * s->w.psize))
		return 0;
	/* What clients have put into a value is not to be taken for a page: none of it bears its own number. */
	if (pages_u64(page) == number && pages_u16(page + 10) == PAGES_OVERFLOW) {
		s->run_end = number + pages_u32(page + 12);
		return 0;
	}
	if (number < s->run_end && pages_u64(page) != number)
		return 0;
	if (pages_u64(page) == number && pages_u16(page + 10) == PAGES_BRANCH)
		return 0;
	n = store_pages_count(&s->w, page, 1);
	for (unsigned i = 0; i < n && err == 0; i++)
		if (store_pages_node(&s->w, page, i, 1, &node) && (node.flags & ~PAGES_BIGDATA) == 0)
			err = tell_found(s, &node, number);
	return err;
}

/* bears: The number and the flags that page ${number} has in its head; PAGES_NONE if it cannot be read. */
static uint64_t
bears(const struct salvage *s, uint64_t number, unsigned *flagsp)
{
	unsigned char head[PAGES_HEAD];

	if (!store_pages_read(&s->w, head, PAGES_HEAD, number * s->w.psize))
		return PAGES_NONE;
	*flagsp = pages_u16(head + 10);
	return pages_u64(head);
}

/*
 * is_lost: May page ${number}, to which nothing leads, hold what is present?  Where it is known which pages are free: neither a
 * free one, nor one that bears the number of a free one, or of one that was found, unless two bear it.  Then the one in its
 * place is it, and of the other the number is damaged, or it is an older copy: unsure.
 */
static int
is_lost(struct salvage *s, uint64_t number)
{
	unsigned flags = 0, other = 0;
	uint64_t said;

	s->unsure = s->w.report->free_unknown;
	if (s->unsure)
		return 1;
	said = bears(s, number, &flags);
	if (said == PAGES_NONE)
		return 0;
	if (said == number || said < 2 || said >= s->w.npages)
		return !pages_bit(s->w.freed, number);
	if (bears(s, said, &other) == said) {
		s->unsure = 1;
		return !pages_bit(s->w.freed, number);
	}
	/* In a free one's place stands that page, or the free one with a damaged number. */
	s->unsure = pages_bit(s->w.freed, number);
	return !pages_bit(s->w.freed, said) && !pages_bit(s->w.seen, said) && (!s->unsure || flags == PAGES_LEAF);
}

static int
find_lost(struct salvage *s)
{
	int err = 0;

	for (uint64_t i = 2; i < s->w.npages && err == 0; i++)
		if (!pages_bit(s->w.seen, i) && is_lost(s, i))
			err = found(s, i);
	return err;
}

int
store_pages_salvage(const char *path, const char *const *trees, unsigned ntrees, store_pages_f *fn, store_pages_f *lost,
    void *cookie, struct store_pages_report *report)
{
	struct salvage s = {
	    .w = {.fd = -1, .trees = trees, .ntrees = ntrees, .record = tell, .cookie = &s, .report = report},
	    .fn = fn,
	    .lost = lost,
	    .cookie = cookie};
	int err;

	memset(report, 0, sizeof(*report));
	err = store_pages_begin(&s.w, path);
	report->pages = s.w.file_pages;
	if (err == 0 && !store_pages_roots(&s.w))
		report->no_root = report->free_unknown = 1;
	if (err == 0)
		err = store_pages_maps(&s.w);
	if (err == 0 && !report->no_root) {
		if ((err = store_pages_walk(&s.w, &s.w.free)) == 0) {
			report->free_unknown = s.w.broken_free;
			err = store_pages_walk(&s.w, &s.w.main);
		}
	}
	if (err == 0)
		err = find_lost(&s);
	store_pages_end(&s.w);
	return err;
}
