/*
 * salvage_lost.c: what a damaged file does not have, as far as it says so itself.
 *
 * A document has a record and a row in `changes`; the state counts documents, each tree its records; and of a damaged record the id
 * may still be legible, though nothing proves it.
 */
#include "salvage_impl.h"

#include <stdlib.h>
#include <string.h>

static int
cmp_ids(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* seq_of: The sequence of the document's record; 0: there is none that can be read. */
static int
seq_of(struct salvage *s, struct jstr id, uint64_t *seqp)
{
	struct db_doc doc;
	int err = db_get(s->snap, id.s, id.len, s->bodies, &doc);

	*seqp = err == 0 ? doc.seq : 0;
	return salvage_is_lost(err) ? 0 : err;
}

/* mark_told: Of the ids of damaged records this one is proven. */
static int
mark_told(struct salvage *s, unsigned char *told, struct jstr id)
{
	const char *key = arena_dup(s->bodies, id.s, id.len);
	char **at;

	if (key == NULL)
		return ERR_NOMEM;
	at = s->out->nids > 0 ? bsearch(&key, s->out->ids, s->out->nids, sizeof(*s->out->ids), cmp_ids) : NULL;
	if (at != NULL)
		told[at - s->out->ids] = 1;
	return 0;
}

/* check_row: A document that has a row, and no record or an older one. */
static int
check_row(struct salvage *s, unsigned char *told, const struct store_val *key, const struct store_val *val)
{
	struct db_change row;
	struct bytes r;
	uint64_t seq;
	int err = key->len != 8 ? ERR_CORRUPT : record_open(TREE_CHANGES, key->p, key->len, val, &r);

	if (err == 0 && (err = changerow_decode(&r, s->bodies, &row)) == 0)
		err = seq_of(s, row.id, &seq);
	if (err != 0)
		return salvage_is_lost(err) ? 0 : err;
	if (seq < bytes_load_u64be(key->p) && seq > 0)
		salvage_tell(s, "document %.*s: an older state is left", SALVAGE_ID(row.id));
	if (seq > 0)
		return 0;
	salvage_tell_doc(s, row.id, "");
	return mark_told(s, told, row.id);
}

static int
check_rows(struct salvage *s, unsigned char *told)
{
	struct store_cursor *c;
	struct store_val key, val;
	int err = store_cursor_open(s->snap->snap, TREE_CHANGES, &c);

	if (err != 0)
		return err;
	for (err = store_seek(c, NULL, 0, &key, &val); err == 0; err = store_next(c, &key, &val)) {
		if ((err = check_row(s, told, &key, &val)) != 0)
			break;
		arena_reset(s->bodies);
	}
	store_cursor_close(c);
	return err == ERR_MISSING ? 0 : err;
}

int
salvage_check_lost(struct salvage *s)
{
	struct db_salvage *out = s->out;
	unsigned char *told = calloc(1, out->nids + 1);
	uint64_t seq;
	int err;

	if (told == NULL)
		return ERR_NOMEM;
	if (out->nids > 0)
		qsort(out->ids, out->nids, sizeof(*out->ids), cmp_ids);
	err = check_rows(s, told);
	for (size_t i = 0; i < out->nids && err == 0; i++) {
		struct jstr id = {out->ids[i], strlen(out->ids[i])};

		if (!told[i] && (err = seq_of(s, id, &seq)) == 0 && seq == 0)
			salvage_tell_doc(s, id, ", if its damaged record gives its name right");
	}
	free(told);
	return err;
}

int
salvage_check_counts(struct salvage *s, const struct dbstate *state)
{
	static const unsigned trees[] = {TREE_LOCAL, TREE_LOCAL_DEEP, TREE_PURGES};
	const struct store_pages_report *p = &s->out->pages;
	struct db_info info;
	uint64_t want = state->doc_count + state->doc_del_count, have;
	int err = db_info(s->to, &info);

	if (err != 0)
		return err;
	s->out->docs = info.doc_count;
	s->out->deleted = info.doc_del_count;
	have = info.doc_count + info.doc_del_count + s->out->lost_docs;
	if (s->out->has_state && want > have) {
		s->out->lost_docs += want - have;
		salvage_tell(
		    s, "%llu documents more: lost; their names cannot be read", (unsigned long long)(want - have));
	}
	for (size_t i = 0; i < sizeof(trees) / sizeof(*trees); i++) {
		unsigned t = trees[i];

		if ((p->known >> t & 1) == 0)
			salvage_tell(s, "whether something of %s is lost cannot be told", db_tree_names[t]);
		else if (p->told[t] < p->expected[t])
			salvage_tell(s, "%llu records of %s: lost", (unsigned long long)(p->expected[t] - p->told[t]),
			    db_tree_names[t]);
	}
	if (p->free_unknown)
		salvage_tell(
		    s, "which pages are free cannot be told: documents may be older than they were, or were purged");
	else if (p->unsure > 0)
		salvage_tell(s,
		    "%llu records of pages that bear others' numbers may be older than they were, or were purged",
		    (unsigned long long)p->unsure);
	return 0;
}
