/*
 * check.c: what must hold: at all times of checkpoints; at the end of what nodes have.
 */
#include "tests/sim/sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "replicator/checkpoint.h"

#define MEMORY ((size_t)256 << 20)

static uint64_t
mix(uint64_t h, const void *data, size_t len)
{
	const unsigned char *p = data;

	while (len-- > 0)
		h = (h ^ *p++) * UINT64_C(1099511628211);
	return h;
}

static uint64_t
mix_number(uint64_t h, uint64_t n)
{
	return mix(h, &n, sizeof(n));
}

/* The bytes, too: they must be what the digest says. */
static uint64_t
mix_att(struct db_snap *snap, const struct doc_att *att, uint64_t h)
{
	struct buf b;
	uint64_t chunk = 0, len = 0;
	int err;

	h = mix(h, att->name.s, att->name.len);
	h = mix(h, att->type.s, att->type.len);
	h = mix_number(h, att->revpos);
	h = mix_number(h, att->length);
	h = mix_number(h, (uint64_t)att->encoding);
	h = mix(h, att->md5, sizeof(att->md5));
	buf_init(&b, 1u << 20);
	while ((err = db_att_read(snap, att, chunk++, &b)) == 0) {
		len += b.len;
		h = mix(h, b.data, b.len);
		buf_clear(&b);
	}
	buf_release(&b);
	return err != ERR_END || len != att->stored_length ? 1 : h;
}

uint64_t
check_content(struct db_snap *snap, struct db_doc *doc, const struct revnode *node, struct arena *a)
{
	uint64_t h = UINT64_C(14695981039346656037);
	struct db_rev rev;
	size_t i;

	if (db_doc_rev(doc, node, a, &rev) != 0)
		return 0;
	h = mix_number(h, node->deleted);
	h = mix(h, rev.body.s, rev.body.len);
	for (i = 0; i < rev.natts; i++)
		h = mix_att(snap, &rev.atts[i], h);
	return h;
}

/* ---- A document at all nodes ---- */

/* What a node has of the documents; read at once. */
struct view {
	struct db *db;
	struct db_snap *snap;
	struct arena *arena;
	struct db_doc docs[SIM_DOCS];
	int has[SIM_DOCS];
	uint64_t pictures[SIM_DOCS];
};

static uint64_t
picture(struct view *v, unsigned at)
{
	uint64_t h = UINT64_C(14695981039346656037), content;
	struct db_doc *doc = &v->docs[at];
	struct revtree *t;
	size_t i;

	sim_ok(db_doc_tree(doc, 1, &t));
	h = mix(h, doc->winner.rev.id, doc->winner.rev.len);
	for (i = 0; i < revtree_nleaves(t); i++) {
		const struct revnode *leaf = revtree_leaf(t, i);

		h = mix_number(h, leaf->rev.gen);
		h = mix(h, leaf->rev.id, leaf->rev.len);
		h = mix_number(h, content = check_content(v->snap, doc, leaf, v->arena));
		if (content <= 1)
			return 1;
	}
	return h;
}

static void
view_open(struct node *n, struct view *v)
{
	struct errtext why = {""};
	unsigned i;
	int err;

	memset(v, 0, sizeof(*v));
	v->db = node_open(n, SIM_DB);
	if ((err = db_check(v->db, &why)) != 0)
		sim_fail(n->sim, "db_check of node %u: %s %s", n->at, err_name(err), why.text);
	sim_ok(arena_new(MEMORY, &v->arena));
	sim_ok(db_snap_begin(v->db, &v->snap));
	for (i = 0; i < SIM_DOCS; i++) {
		char id[32];

		client_doc_id(i, id);
		v->has[i] = db_get(v->snap, id, strlen(id), v->arena, &v->docs[i]) == 0;
		v->pictures[i] = v->has[i] ? picture(v, i) : 0;
		if (v->pictures[i] == 1)
			sim_fail(n->sim, "node %u lacks a body or attachment of a leaf of %s", n->at, id);
	}
}

static void
view_close(struct view *v)
{
	db_snap_end(v->snap);
	arena_free(v->arena);
	db_close(v->db);
}

/* For the trace. */
static void
say_doc(struct sim *s, struct view *v, unsigned node, unsigned doc)
{
	struct revtree *t;
	struct db_rev rev;
	struct buf b;
	size_t i, k;

	if (!v->has[doc])
		return;
	sim_ok(db_doc_tree(&v->docs[doc], 1, &t));
	for (i = 0; i < revtree_nleaves(t); i++) {
		const struct revnode *leaf = revtree_leaf(t, i);

		if (db_doc_rev(&v->docs[doc], leaf, v->arena, &rev) != 0)
			continue;
		buf_init_arena(&b, v->arena, 4096);
		rev_put(&b, &leaf->rev);
		buf_printf(&b, " %s%.*s", leaf->deleted ? "deleted " : "", (int)(rev.body.len < 60 ? rev.body.len : 60),
		    rev.body.s);
		for (k = 0; k < rev.natts; k++)
			buf_printf(&b, ", %.*s from %u: %u bytes, %u stored %s", (int)rev.atts[k].name.len,
			    rev.atts[k].name.s, (unsigned)rev.atts[k].revpos, (unsigned)rev.atts[k].length,
			    (unsigned)rev.atts[k].stored_length, rev.atts[k].encoding == DOC_GZIP ? "gzip" : "");
		sim_say(s, "document %u at %u: %.*s", doc, node, (int)b.len, b.data);
	}
}

static int
knows(struct view *v, unsigned doc, const struct rev *rev)
{
	int known = 0;

	if (v->has[doc])
		sim_ok(db_doc_knows(&v->docs[doc], rev, &known));
	return known;
}

static int
knows_leaves(struct view *from, struct view *to, unsigned doc)
{
	struct revtree *t;
	size_t i;

	if (!from->has[doc])
		return 1;
	sim_ok(db_doc_tree(&from->docs[doc], 1, &t));
	for (i = 0; i < revtree_nleaves(t); i++)
		if (!knows(to, doc, &revtree_leaf(t, i)->rev))
			return 0;
	return 1;
}

static void
reach(const struct sim *s, unsigned doc, int reached[SIM_NODES][SIM_NODES])
{
	unsigned n = s->plan.nnodes, i, k, m;

	for (i = 0; i < n; i++)
		for (k = 0; k < n; k++)
			reached[i][k] = i == k;
	for (i = 0; i < s->nlinks; i++)
		if (s->links[i].docs >> doc & 1)
			reached[s->links[i].from][s->links[i].to] = 1;
	for (m = 0; m < n; m++)
		for (i = 0; i < n; i++)
			for (k = 0; k < n; k++)
				reached[i][k] |= reached[i][m] && reached[m][k];
}

static void
check_acked(struct sim *s, struct view *views, const struct acked *a, int reached[SIM_NODES][SIM_NODES])
{
	struct rev rev = rev_of(&a->rev);
	struct revtree *t;
	struct revpos at;
	unsigned k;

	for (k = 0; k < s->plan.nnodes; k++) {
		struct view *v = &views[k];
		uint64_t content;

		if (!reached[a->node][k])
			continue;
		if (!knows(v, a->doc, &rev)) {
			sim_fail(s, "node %u lacks a write of document %u that node %u acknowledged at %.3f ms", k,
			    a->doc, a->node, (double)a->at_us / 1000.0);
			return;
		}
		sim_ok(db_doc_tree(&v->docs[a->doc], 1, &t));
		if (!revtree_find(t, &rev, &at) || a->content == 0)
			continue;
		content = check_content(v->snap, &v->docs[a->doc], revtree_at(t, at), v->arena);
		if (content == 0 || content == a->content)
			continue;
		say_doc(s, v, k, a->doc);
		say_doc(s, &views[a->node], a->node, a->doc);
		sim_fail(s, "node %u has another content of document %u than node %u acknowledged at %.3f ms", k,
		    a->doc, a->node, (double)a->at_us / 1000.0);
	}
}

static void
check_doc(struct sim *s, struct view *views, unsigned doc)
{
	int reached[SIM_NODES][SIM_NODES];
	unsigned i, k;
	size_t n;

	reach(s, doc, reached);
	for (i = 0; i < s->plan.nnodes; i++)
		for (k = 0; k < s->plan.nnodes; k++) {
			if (reached[i][k] && !knows_leaves(&views[i], &views[k], doc))
				sim_fail(s, "node %u lacks a leaf of document %u that node %u has", k, doc, i);
			if (!reached[i][k] || !reached[k][i] || views[i].pictures[doc] == views[k].pictures[doc])
				continue;
			say_doc(s, &views[i], i, doc);
			say_doc(s, &views[k], k, doc);
			sim_fail(s, "nodes %u and %u differ in document %u", i, k, doc);
		}
	for (n = 0; n < s->nacked; n++)
		if (s->acked[n].doc == doc && !s->acked[n].excused)
			check_acked(s, views, &s->acked[n], reached);
}

void
check_end(struct sim *s)
{
	struct view *views = sim_must(calloc(SIM_NODES, sizeof(*views)));
	unsigned i;

	for (i = 0; i < s->plan.nnodes; i++)
		view_open(&s->nodes[i], &views[i]);
	for (i = 0; i < SIM_DOCS; i++)
		check_doc(s, views, i);
	for (i = 0; i < s->plan.nnodes; i++) {
		sim_say(s, "end: node %u: %016llx", i,
		    (unsigned long long)mix(0, views[i].pictures, sizeof(views[i].pictures)));
		view_close(&views[i]);
	}
	free(views);
}

uint64_t
check_seqs(struct sim *s)
{
	uint64_t sum = 0;
	unsigned i;

	for (i = 0; i < s->plan.nnodes; i++) {
		struct db *db = node_open(&s->nodes[i], SIM_DB);
		struct db_info info;

		sim_ok(db_info(db, &info));
		sum += info.update_seq;
		db_close(db);
	}
	return sum;
}

/* ---- Checkpoints ---- */

static struct checkpoint *
read_log(const struct sim_link *l, struct db_snap *snap, struct arena *a)
{
	struct jstr body = {"", 0};
	struct checkpoint *c;
	char id[64];
	uint64_t rev;
	int err;

	(void)snprintf(id, sizeof(id), "_local/%s", l->id);
	err = db_local_get(snap, id, strlen(id), a, &rev, &body);
	if (err != 0)
		body.len = 0;
	sim_ok(checkpoint_read(body, &c));
	return c;
}

/* The sequence up to which a run that began now would take all as done. */
static uint64_t
common(const struct sim_link *l, struct db *source, struct db_snap *from, struct db_snap *to, struct arena *a)
{
	struct checkpoint *ours = read_log(l, from, a), *theirs = read_log(l, to, a);
	struct jstr text;
	uint64_t seq = 0;

	sim_ok(checkpoint_common(ours, theirs, a, &text));
	if (text.len > 2)
		sim_ok(db_seq_parse(source, text.s + (*text.s == '"'), text.len - 2 * (*text.s == '"'), &seq));
	checkpoint_free(ours);
	checkpoint_free(theirs);
	return seq;
}

static int
is_of_link(const struct sim_link *l, struct jstr id)
{
	unsigned at = client_doc_at(id);

	return at < SIM_DOCS && (l->docs >> at & 1);
}

static void
check_change(const struct sim_link *l, struct db_snap *to, const struct db_change *c, uint64_t seq, struct arena *a)
{
	struct db_doc doc;
	int found = db_get(to, c->id.s, c->id.len, a, &doc) == 0, known;
	size_t i;

	for (i = 0; i < c->nleaves; i++) {
		known = 0;
		if (found)
			sim_ok(db_doc_knows(&doc, &c->leaves[i], &known));
		if (!known)
			sim_fail(l->sim, "link %u is noted to have come to %llu, but the target lacks %.*s of %llu",
			    l->at, (unsigned long long)seq, (int)c->id.len, c->id.s, (unsigned long long)c->seq);
	}
}

static void
check_link(const struct sim_link *l)
{
	struct node *from = &l->sim->nodes[l->from], *to = &l->sim->nodes[l->to];
	struct db_snap *snaps[2];
	struct db *dbs[2];
	struct db_scan *scan;
	struct db_change c;
	struct arena *a;
	uint64_t seq;

	dbs[0] = node_open(from, SIM_DB);
	dbs[1] = node_open(to, SIM_DB);
	sim_ok(arena_new(MEMORY, &a));
	sim_ok(db_snap_begin(dbs[0], &snaps[0]));
	sim_ok(db_snap_begin(dbs[1], &snaps[1]));
	seq = common(l, dbs[0], snaps[0], snaps[1], a);
	if (seq > 0) {
		sim_ok(db_changes_open(snaps[0], 0, 0, &scan));
		while (db_changes_next(scan, a, &c) == 0 && c.seq <= seq)
			if (is_of_link(l, c.id))
				check_change(l, snaps[1], &c, seq, a);
		db_scan_close(scan);
	}
	db_snap_end(snaps[0]);
	db_snap_end(snaps[1]);
	arena_free(a);
	db_close(dbs[0]);
	db_close(dbs[1]);
}

void
check_logs(struct sim *s)
{
	unsigned i;

	for (i = 0; i < s->nlinks; i++)
		if (s->nodes[s->links[i].from].proc != NULL && s->nodes[s->links[i].to].proc != NULL)
			check_link(&s->links[i]);
}
