/* wire.c: requests and answers as copies: nothing that one process holds is seen by another. */
#include "tests/sim/net_impl.h"

#include <string.h>

static struct jstr
dup(struct arena *a, struct jstr from)
{
	return (struct jstr){sim_must(arena_dup(a, from.s != NULL ? from.s : "", from.len)), from.len};
}

static struct rev
dup_rev(struct arena *a, const struct rev *from)
{
	struct rev to = *from;

	to.id = (unsigned char *)sim_must(arena_dup(a, from->id, from->len));
	return to;
}

static struct rev *
dup_revs(struct arena *a, const struct rev *from, size_t n)
{
	struct rev *to = sim_must(arena_calloc(a, n + 1, sizeof(*to)));
	size_t i;

	for (i = 0; i < n; i++)
		to[i] = dup_rev(a, &from[i]);
	return to;
}

static struct peer_want *
dup_wants(struct arena *a, const struct peer_want *from, size_t n)
{
	struct peer_want *to = sim_must(arena_calloc(a, n + 1, sizeof(*to)));
	size_t i;

	for (i = 0; i < n; i++)
		to[i] = (struct peer_want){.id = dup(a, from[i].id),
		    .revs = dup_revs(a, from[i].revs, from[i].nrevs),
		    .nrevs = from[i].nrevs,
		    .ancestors = dup_revs(a, from[i].ancestors, from[i].nancestors),
		    .nancestors = from[i].nancestors};
	return to;
}

static struct peer_doc
dup_doc(struct arena *a, const struct peer_doc *from)
{
	struct peer_doc to = {.id = dup(a, from->id),
	    .rev = dup_rev(a, &from->rev),
	    .text = dup(a, from->text),
	    .has_atts = from->has_atts,
	    .err = from->err};

	if (from->why != NULL) {
		to.why = sim_must(arena_alloc(a, sizeof(*to.why)));
		*to.why = *from->why;
	}
	return to;
}

static struct peer_doc *
dup_docs(struct arena *a, const struct peer_doc *from, size_t n)
{
	struct peer_doc *to = sim_must(arena_calloc(a, n + 1, sizeof(*to)));
	size_t i;

	for (i = 0; i < n; i++)
		to[i] = dup_doc(a, &from[i]);
	return to;
}

static struct peer_att *
dup_atts(struct arena *a, const struct peer_att *from, size_t n)
{
	struct peer_att *to = sim_must(arena_calloc(a, n + 1, sizeof(*to)));
	size_t i;

	for (i = 0; i < n; i++) {
		to[i] = from[i];
		to[i].name = dup(a, from[i].name);
		to[i].type = dup(a, from[i].type);
	}
	return to;
}

void
wire_filter(struct arena *a, const struct peer_filter *from, struct peer_filter *to)
{
	struct jstr *ids;
	size_t i;

	*to = (struct peer_filter){.doc_ids = NULL};
	if (from == NULL)
		return;
	to->winners = from->winners;
	to->selector = dup(a, from->selector);
	to->filter = dup(a, from->filter);
	to->query = dup(a, from->query);
	if (from->doc_ids == NULL)
		return;
	ids = sim_must(arena_calloc(a, from->ndoc_ids + 1, sizeof(*ids)));
	for (i = 0; i < from->ndoc_ids; i++)
		ids[i] = dup(a, from->doc_ids[i]);
	to->doc_ids = ids;
	to->ndoc_ids = from->ndoc_ids;
}

int
wire_is_sick(const struct rpc *c, struct jstr id)
{
	unsigned at = c->r->to->sick != 0 ? client_doc_at(id) : SIM_DOCS;

	return at < SIM_DOCS && (c->r->to->sick >> at & 1);
}

/* Those that are left out stand in c->sick. */
static void
leave_out_sick(struct rpc *c)
{
	struct peer_write *w = &c->in.write;
	size_t i, n = 0;

	for (i = 0; i < w->n; i++) {
		if (!wire_is_sick(c, w->docs[i].id)) {
			w->docs[n++] = w->docs[i];
			continue;
		}
		c->sick |= UINT32_C(1) << client_doc_at(w->docs[i].id);
		c->r->sim->nsick++;
	}
	w->n = n;
}

static void
request_of_many(struct rpc *c)
{
	struct sim *s = c->r->sim;
	struct arena *a = c->arena;

	if (c->kind == RPC_FETCH) {
		const struct peer_fetch *f = c->of;

		/* Who is asked may answer for some. */
		c->in.fetch.nwants = s->faults && sim_chance(s, 100) ? 1 + sim_below(s, f->nwants) : f->nwants;
		c->in.fetch.wants = dup_wants(a, f->wants, c->in.fetch.nwants);
		c->in.fetch.max_bytes = f->max_bytes;
	} else if (c->kind == RPC_DIFF) {
		const struct peer_diff *d = c->of;

		c->in.diff.wants = dup_wants(a, d->wants, d->n);
		c->in.diff.n = d->n;
	} else if (c->kind == RPC_WRITE) {
		const struct peer_write *w = c->of;

		c->in.write.n = c->fate == FATE_PARTIAL ? sim_below(s, w->n) : w->n;
		c->in.write.docs = dup_docs(a, w->docs, c->in.write.n);
		leave_out_sick(c);
	} else if (c->kind == RPC_PUT) {
		const struct peer_put *p = c->of;

		c->in.put.doc = dup_docs(a, p->doc, 1);
		c->in.put.atts = dup_atts(a, p->atts, p->natts);
		c->in.put.natts = p->natts;
	}
}

void
wire_request(struct rpc *c)
{
	struct arena *a = c->arena;

	switch (c->kind) {
	case RPC_CREATE:
		c->in.create.query = dup(a, ((struct peer_create *)c->of)->query);
		break;
	case RPC_LOCAL_GET:
	case RPC_LOCAL_PUT: {
		const struct peer_local *l = c->of;

		c->in.local.id = dup(a, l->id);
		if (c->kind == RPC_LOCAL_PUT) {
			c->in.local.rev = dup(a, l->rev);
			c->in.local.body = dup(a, l->body);
		}
		break;
	}
	case RPC_CHANGES: {
		const struct peer_changes *ch = c->of;

		c->in.changes.since = dup(a, ch->since);
		c->in.changes.limit = ch->limit;
		c->in.changes.wait = ch->wait;
		break;
	}
	case RPC_OPEN: {
		const struct peer_open *o = c->of;

		c->in.open.id = dup(a, o->id);
		c->in.open.rev = dup_rev(a, &o->rev);
		c->in.open.ancestors = dup_revs(a, o->ancestors, o->nancestors);
		c->in.open.nancestors = o->nancestors;
		c->in.open.ready = stream_opened;
		break;
	}
	default:
		request_of_many(c);
		break;
	}
}

/* A source may tell of less than it has. */
static void
answer_changes(struct rpc *c, struct arena *a)
{
	const struct peer_changes *in = &c->in.changes;
	struct peer_changes *out = c->of;
	struct sim *s = c->r->sim;
	size_t i;

	out->n = in->n;
	out->more = in->more;
	out->pending = in->pending;
	if (in->n > 1 && s->faults && sim_chance(s, 100)) {
		out->n = 1 + sim_below(s, in->n - 1);
		out->more = 1;
	}
	out->rows = sim_must(arena_calloc(a, out->n + 1, sizeof(*out->rows)));
	for (i = 0; i < out->n; i++)
		out->rows[i] = (struct peer_change){.seq = dup(a, in->rows[i].seq),
		    .id = dup(a, in->rows[i].id),
		    .deleted = in->rows[i].deleted,
		    .revs = dup_revs(a, in->rows[i].revs, in->rows[i].nrevs),
		    .nrevs = in->rows[i].nrevs};
	out->last_seq = out->n < in->n ? out->rows[out->n - 1].seq : dup(a, in->last_seq);
}

static void
answer_of_many(struct rpc *c, struct arena *a)
{
	size_t i;

	if (c->kind == RPC_FETCH) {
		struct peer_fetch *f = c->of;

		f->docs = dup_docs(a, c->in.fetch.docs, c->in.fetch.ndocs);
		f->ndocs = c->in.fetch.ndocs;
		f->done = c->in.fetch.done;
		f->bulk_docs = c->in.fetch.bulk_docs;
		f->bulk_attempts = c->in.fetch.bulk_attempts;
	} else if (c->kind == RPC_DIFF) {
		struct peer_diff *d = c->of;

		for (i = 0; i < d->n; i++) {
			const struct peer_want *w = &c->in.diff.wants[i];

			d->wants[i].revs = dup_revs(a, w->revs, w->nrevs);
			d->wants[i].nrevs = w->nrevs;
			d->wants[i].ancestors = dup_revs(a, w->ancestors, w->nancestors);
			d->wants[i].nancestors = w->nancestors;
		}
	} else if (c->kind == RPC_WRITE) {
		struct peer_write *w = c->of;
		const struct peer_doc *in = c->in.write.docs;

		for (i = 0; i < w->n; i++) {
			unsigned at = client_doc_at(w->docs[i].id);
			int sick = at < SIM_DOCS && (c->sick >> at & 1);
			struct peer_doc d = sick ? (struct peer_doc){.err = ERR_HELD_BACK} : dup_doc(a, in++);

			w->docs[i].err = d.err;
			w->docs[i].why = d.why;
		}
	}
}

void
wire_answer(struct rpc *c)
{
	struct arena *a = c->call->arena;

	if (c->kind == RPC_INFO) {
		((struct peer_info *)c->of)->update_seq = dup(a, c->in.info.update_seq);
	} else if (c->kind == RPC_LOCAL_GET || c->kind == RPC_LOCAL_PUT) {
		struct peer_local *l = c->of;

		l->rev = dup(a, c->in.local.rev);
		if (c->kind == RPC_LOCAL_GET)
			l->body = dup(a, c->in.local.body);
	} else if (c->kind == RPC_CHANGES) {
		answer_changes(c, a);
	} else {
		answer_of_many(c, a);
	}
}

void
wire_opened(struct rpc *c)
{
	struct peer_open *o = c->of;

	o->doc = dup_doc(c->call->arena, &c->in.open.doc);
	o->atts = dup_atts(c->call->arena, c->in.open.atts, c->in.open.natts);
	o->natts = c->in.open.natts;
}
