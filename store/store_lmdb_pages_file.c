/*
 * store_lmdb_pages_file.c: where a file's pages begin: their size, the two meta pages, of which the last commit's counts, and the
 * roots that it names.
 *
 *   meta   := (pages 0 and 1, from 16 on) magic u32, version u32, address u64, map size u64, the tree of free pages, the
 *             main tree, last page u64, transaction u64; the one with the higher transaction counts
 *   tree   := pad u32 (of the first: the page size), flags u16, depth u16, branch pages, leaf pages, overflow pages, entries,
 *             root: u64 each.  A named tree is the value of its name in the main tree.
 *
 * A check wants both meta pages; a salvage takes what there is, and then what is free is not known.
 *
 * A meta page has no checksum.  Which commit it is of is told twice, though: each commit replaces the page that names the trees,
 * and so notes under its own number which pages it has made free.  The last key in a meta page's tree of free pages is therefore its
 * transaction, and both trees can be read: a commit reuses no page of the two states before it.
 */
#include "store_lmdb_pages.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "store_impl.h"

#define META_LEN 136u
#define META_MAGIC 0xBEEFC0DEu
#define META_VERSION 1u
#define META_FLAGS 0x08u
#define SLACK_PAGES 65536u /* a file may end before the last page that LMDB has counted, if that was never written */

void
store_pages_tree(struct pages_tree *t, const unsigned char *p, enum pages_kind kind)
{
	*t = (struct pages_tree){.kind = kind,
	    .number = STORE_TREES_MAX,
	    .flags = pages_u16(p + 4),
	    .depth = pages_u16(p + 6),
	    .branches = pages_u64(p + 8),
	    .leaves = pages_u64(p + 16),
	    .overflows = pages_u64(p + 24),
	    .entries = pages_u64(p + 32),
	    .root = pages_u64(p + 40)};
}

int
store_pages_read(const struct pages_walk *w, void *p, size_t len, uint64_t at)
{
	unsigned char *to = p;
	ssize_t n;

	while (len > 0) {
		n = pread(w->fd, to, len, (off_t)at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return 0;
		to += n;
		at += (uint64_t)n;
		len -= (size_t)n;
	}
	return 1;
}

static int
meta_sound(const unsigned char *p, size_t psize)
{
	return pages_u16(p + 10) == META_FLAGS && pages_u32(p + PAGES_HEAD) == META_MAGIC &&
	       pages_u32(p + PAGES_HEAD + 4) == META_VERSION && pages_u32(p + PAGES_HEAD + 24) == psize;
}

/* meta_number: The transaction that a meta page is of. */
static uint64_t
meta_number(const unsigned char *m)
{
	return pages_u64(m + PAGES_HEAD + 128);
}

/* meta_agrees: Its free pages are of the transaction that it says.  The first one has none. */
static int
meta_agrees(struct pages_walk *w, const unsigned char *m)
{
	struct pages_node n = {.klen = 0};
	struct pages_tree t;
	unsigned count;

	store_pages_tree(&t, m + PAGES_HEAD + 24, PAGES_FREE);
	if (t.depth == 0)
		return meta_number(m) <= 1;
	for (n.child = t.root; t.depth > 0; t.depth--) {
		unsigned char *page = w->pages[0];

		if (n.child >= w->file_pages || !store_pages_read(w, page, w->psize, n.child * w->psize) ||
		    pages_u64(page) != n.child || (count = store_pages_said(w, page)) == 0 ||
		    !store_pages_node(w, page, count - 1, t.depth == 1, &n))
			return 0;
	}
	return n.klen == 8 && pages_u64(n.key) == meta_number(m);
}

/* meta_choose: The roots that count.  Returns 0 if there are none. */
static int
meta_choose(struct pages_walk *w, unsigned char meta[PAGES_HEAD + META_LEN])
{
	unsigned char m[2][PAGES_HEAD + META_LEN];
	int sound[2] = {0, 0}, apart = 0, best;
	uint64_t last;

	for (int i = 0; i < 2; i++)
		sound[i] = store_pages_read(w, m[i], sizeof(m[i]), i * (uint64_t)w->psize) &&
			   meta_sound(m[i], w->psize) && (last = pages_u64(m[i] + PAGES_HEAD + 120)) >= 1 &&
			   last < w->file_pages + SLACK_PAGES;
	if (!sound[0] && !sound[1])
		return 0;
	/* Commits take turns: the even ones write page 0. */
	for (int i = 0; i < 2 && sound[0] && sound[1]; i++)
		if (meta_number(m[i]) % 2 != (uint64_t)i && meta_number(m[i]) != 0)
			sound[i] = 0;
	if (sound[0] && sound[1] && meta_number(m[0]) + 1 != meta_number(m[1]) &&
	    meta_number(m[1]) + 1 != meta_number(m[0]) && meta_number(m[0]) + meta_number(m[1]) != 0)
		apart = 1;
	for (int i = 0; i < 2; i++)
		apart |= sound[i] && !meta_agrees(w, m[i]);
	/* The last page of a commit is no lower than that of the one before.  What lies behind it would be lost. */
	best = !sound[0] || (sound[1] && meta_number(m[1]) > meta_number(m[0]));
	if (w->why == NULL && sound[0] && sound[1] &&
	    pages_u64(m[best] + PAGES_HEAD + 120) < pages_u64(m[!best] + PAGES_HEAD + 120))
		apart = 1;
	/* LMDB does not open a file in which either is broken. */
	if (w->why != NULL && (!sound[0] || !sound[1] || apart))
		return 0;
	/* A salvage cannot tell which of them was the last: what is free for the one may be all that is left of the other. */
	w->broken_free = !sound[0] || !sound[1] || apart;
	memcpy(meta, m[best], sizeof(m[best]));
	return 1;
}

/* page_size: What either meta page says, or, where neither can be read, the machine's. */
static size_t
page_size(const struct pages_walk *w)
{
	unsigned char m[PAGES_HEAD + META_LEN];
	size_t n;

	/* The second stands where its size says. */
	for (n = 512; n <= 65536; n *= 2)
		if (store_pages_read(w, m, sizeof(m), n) && meta_sound(m, n))
			return n;
	if (store_pages_read(w, m, sizeof(m), 0) && pages_u32(m + PAGES_HEAD) == META_MAGIC) {
		n = pages_u32(m + PAGES_HEAD + 24);
		if (n >= 512 && n <= 65536 && (n & (n - 1)) == 0)
			return n;
	}
	return (size_t)sysconf(_SC_PAGESIZE);
}

void
store_pages_end(struct pages_walk *w)
{
	for (unsigned i = 0; i < PAGES_DEPTH_MAX; i++)
		free(w->pages[i]);
	free(w->seen);
	free(w->freed);
	free(w->value);
	if (w->fd >= 0)
		close(w->fd);
}

int
store_pages_begin(struct pages_walk *w, const char *path)
{
	struct stat st;

	w->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (w->fd < 0)
		return errno == ENOENT ? ERR_NO_DB : store_files_err(errno, "open", path);
	if (fstat(w->fd, &st) != 0)
		return store_files_err(errno, "fstat", path);
	if (!S_ISREG(st.st_mode))
		return w->why != NULL ? err_why(w->why, ERR_CORRUPT, "it is no file") : ERR_CORRUPT;
	w->psize = page_size(w);
	w->file_pages = w->npages = ((uint64_t)st.st_size + w->psize - 1) / w->psize;
	for (unsigned i = 0; i < PAGES_DEPTH_MAX; i++)
		if ((w->pages[i] = malloc(w->psize)) == NULL)
			return ERR_NOMEM;
	return 0;
}

int
store_pages_maps(struct pages_walk *w)
{
	w->seen = calloc(1, w->npages / 8 + 1);
	w->freed = calloc(1, w->npages / 8 + 1);
	return w->seen == NULL || w->freed == NULL ? ERR_NOMEM : 0;
}

int
store_pages_roots(struct pages_walk *w)
{
	unsigned char meta[PAGES_HEAD + META_LEN];

	if (!meta_choose(w, meta))
		return 0;
	store_pages_tree(&w->free, meta + PAGES_HEAD + 24, PAGES_FREE);
	store_pages_tree(&w->main, meta + PAGES_HEAD + 24 + PAGES_TREE_LEN, PAGES_MAIN);
	w->npages = pages_u64(meta + PAGES_HEAD + 120) + 1;
	/* What lies behind the last page was never committed, if it is known which is the last. */
	if (w->broken_free && w->npages < w->file_pages)
		w->npages = w->file_pages;
	return 1;
}
