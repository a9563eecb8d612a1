/*
 * net.c: databases of other nodes as peers.
 *
 * A call is copied and sent, carried out at the other node by its own peer_local, and its answer copied back. Each message takes
 * its time, so that calls overtake each other; it may be lost, as may the answer to what took effect. Who cancels, or dies, does
 * not take back what was sent: it may still arrive.
 *
 *  1. The caller's structures, arena and pipe are touched only until it was told, and only in jobs.
 *  2. The other end works on copies in the rpc's arena, which lives until both are done.
 *  3. A document may be sick at a node: an error is said of it alone, or of all that are compared or written with it.
 *  4. Whoever was called dead hears nothing and says nothing: its own calls fail.
 */
#include "tests/sim/net_impl.h"

#include <stdlib.h>
#include <string.h>

#define PATIENCE_US 30000000u /* until an answer is given up */

static const char *const names[] = {
    "info", "create", "local_get", "local_put", "changes", "fetch", "open", "diff", "write", "put", "commit"};

/* ---- Lives ---- */

static void
remote_unref(struct remote *r)
{
	if (--r->refs > 0)
		return;
	arena_free(r->arena);
	free(r);
}

void
rpc_ref(struct rpc *c)
{
	c->refs++;
}

void
rpc_unref(struct rpc *c)
{
	if (--c->refs > 0)
		return;
	*c->link = c->next;
	if (c->next != NULL)
		c->next->link = c->link;
	pipe_free(c->pipe);
	free(c->piece);
	arena_free(c->arena);
	remote_unref(c->r);
	free(c);
}

int
rpc_is_stream(const struct rpc *c)
{
	return c->kind == RPC_OPEN || (c->kind == RPC_PUT && c->pipe != NULL);
}

uint64_t
rpc_delay(struct rpc *c)
{
	return 100 + sim_below(c->r->sim, c->r->sim->plan.delay_us);
}

static int
reachable(const struct rpc *c)
{
	const struct remote *r = c->r;

	return r->to->proc != NULL && r->restored == r->to->restored && !r->sim->cut[r->at->at][r->to->at];
}

/* ---- The caller's side ---- */

/* What is carried out for nobody goes on, unless it might never end. */
static void
give_up(struct rpc *c)
{
	struct sim *s = c->r->sim;
	int endless = c->kind == RPC_CHANGES && c->in.changes.wait;

	if (c->inner != NULL && (endless || c->kind == RPC_OPEN || sim_chance(s, 300)))
		c->inner->ops->cancel(c->inner, &c->in.call);
}

static void
tell(void *arg)
{
	struct rpc *c = arg;
	struct peer_call *call = c->call;

	if (rpc_is_stream(c))
		stream_told(c, c->err);
	if (c->err == 0)
		wire_answer(c);
	c->call = NULL;
	call->err = c->err;
	if (c->carried_out && c->err == c->in.call.err)
		call->why = c->in.call.why;
	if (c->err == ERR_TOO_MANY_REQUESTS)
		call->retry_ms = 1000;
	give_up(c);
	c->r->from->calls--;
	call->done(call);
	rpc_unref(c);
}

void
rpc_tell(struct rpc *c, int err, uint64_t delay_us)
{
	struct sim *s = c->r->sim;

	if (c->call == NULL)
		return;
	if (c->telling && c->err == 0 && err == 0)
		return;
	if (c->telling)
		(void)sim_take_back(s, &c->tell);
	c->telling = 1;
	c->err = err;
	c->tell = (struct exec_job){.fn = tell, .arg = c};
	sim_at(s, &c->tell, delay_us);
}

/* ---- The other side ---- */

static void
carried_out(struct peer_call *call)
{
	struct rpc *c = call->cookie;
	struct sim *s = c->r->sim;
	struct proc *p = c->where;

	c->inner->ops->close(c->inner);
	c->inner = NULL;
	c->carried_out = 1;
	p->serving--;
	if (rpc_is_stream(c))
		stream_carried_out(c);
	if (p->dead || !reachable(c)) {
		rpc_tell(c, ERR_IO, p->dead ? rpc_delay(c) : PATIENCE_US);
	} else if (c->fate == FATE_ANSWER_LOST || c->fate == FATE_PARTIAL) {
		sim_say(s, "answer of %s lost", names[c->kind]);
		rpc_tell(c, ERR_IO, sim_chance(s, 500) ? PATIENCE_US : 0);
	} else if (c->kind != RPC_OPEN) {
		rpc_tell(c, call->err, rpc_delay(c));
	}
	if (c->kind == RPC_LOCAL_PUT && call->err == 0)
		check_logs(s);
	rpc_unref(c);
}

static void
carry_out(struct rpc *c)
{
	struct peer *p = c->inner;

	switch (c->kind) {
	case RPC_INFO:
		p->ops->info(p, &c->in.info);
		break;
	case RPC_CREATE:
		p->ops->create(p, &c->in.create);
		break;
	case RPC_LOCAL_GET:
		p->ops->local_get(p, &c->in.local);
		break;
	case RPC_LOCAL_PUT:
		p->ops->local_put(p, &c->in.local);
		break;
	case RPC_CHANGES:
		p->ops->changes(p, &c->in.changes);
		break;
	case RPC_FETCH:
		p->ops->fetch(p, &c->in.fetch);
		break;
	case RPC_OPEN:
		p->ops->open_doc(p, &c->in.open);
		break;
	case RPC_DIFF:
		p->ops->diff(p, &c->in.diff);
		break;
	case RPC_WRITE:
		p->ops->write(p, &c->in.write);
		break;
	case RPC_PUT:
		p->ops->put_doc(p, &c->in.put);
		break;
	case RPC_COMMIT:
		p->ops->commit(p, &c->in.call);
		break;
	}
}

static int
asks_for_sick(const struct rpc *c)
{
	size_t i = 0;

	while (i < c->in.diff.n && !wire_is_sick(c, c->in.diff.wants[i].id))
		i++;
	return i < c->in.diff.n;
}

/* Of one that comes with others wire.c tells, or all of them fail. */
static int
is_sick(const struct rpc *c)
{
	if (c->kind == RPC_DIFF)
		return asks_for_sick(c) && sim_chance(c->r->sim, 500);
	if (c->kind == RPC_WRITE)
		return c->sick != 0 && sim_chance(c->r->sim, 500);
	if (c->kind != RPC_PUT && c->kind != RPC_OPEN)
		return 0;
	return wire_is_sick(c, c->kind == RPC_PUT ? c->in.put.doc->id : c->in.open.id);
}

static void
deliver(void *arg)
{
	struct rpc *c = arg;
	struct remote *r = c->r;
	struct sim *s = r->sim;
	int gone = c->call == NULL || c->telling;

	if (gone && (rpc_is_stream(c) || (c->kind == RPC_CHANGES && c->in.changes.wait) || sim_chance(s, 500))) {
		rpc_unref(c);
		return;
	}
	if (!reachable(c)) {
		rpc_tell(c, ERR_IO, r->to->proc == NULL ? rpc_delay(c) : PATIENCE_US);
		rpc_unref(c);
		return;
	}
	if (is_sick(c)) {
		s->nsick++;
		rpc_tell(c, ERR_HELD_BACK, rpc_delay(c));
		rpc_unref(c);
		return;
	}
	if (c->fate == FATE_BUSY || c->fate == FATE_TOO_LARGE) {
		rpc_tell(c, c->fate == FATE_BUSY ? ERR_TOO_MANY_REQUESTS : ERR_TOO_LARGE, rpc_delay(c));
		rpc_unref(c);
		return;
	}
	c->where = r->to->proc;
	c->where->serving++;
	sim_ok(peer_local_new(c->where->locals, r->db, &sim_admin, &r->filter, &c->inner));
	c->in.call.done = carried_out;
	c->in.call.cookie = c;
	c->in.call.arena = c->arena;
	if (rpc_is_stream(c))
		stream_begin(c);
	carry_out(c);
}

/* ---- Calls ---- */

static enum rpc_fate
draw_fate(struct rpc *c)
{
	struct sim *s = c->r->sim;
	uint64_t n;

	if (!s->faults || !sim_chance(s, s->plan.loss))
		return FATE_FINE;
	s->nlost++;
	n = sim_below(s, 10);
	if (rpc_is_stream(c) && n < 6)
		return n < 4 ? FATE_CUT : FATE_FLIP;
	if (c->kind == RPC_DIFF && ((struct peer_diff *)c->of)->n > 1 && n < 2)
		return FATE_TOO_LARGE;
	if (c->kind == RPC_WRITE && ((struct peer_write *)c->of)->n > 1 && n < 4)
		return n < 2 ? FATE_TOO_LARGE : FATE_PARTIAL;
	return n < 5 ? FATE_LOST : n < 9 ? FATE_ANSWER_LOST : FATE_BUSY;
}

static void
begin(struct peer *p, enum rpc_kind kind, struct peer_call *call, void *of)
{
	struct remote *r = (struct remote *)p;
	struct sim *s = r->sim;
	struct rpc *c = sim_must(calloc(1, sizeof(*c)));

	sim_ok(arena_new((size_t)64 << 20, &c->arena));
	c->r = r;
	r->refs++;
	c->kind = kind;
	c->call = call;
	c->of = of;
	c->refs = 1;
	c->next = s->rpcs;
	c->link = &s->rpcs;
	if (c->next != NULL)
		c->next->link = &c->next;
	s->rpcs = c;
	call->state = c;
	r->from->calls++;
	s->ncalls++;
	if (kind == RPC_OPEN || (kind == RPC_PUT && ((struct peer_put *)of)->pipe != NULL))
		sim_ok(pipe_new(&c->pipe));
	c->fate = draw_fate(c);
	wire_request(c);
	sim_say(s, "%u to %u: %s %d", r->at->at, r->to->at, names[kind], (int)c->fate);
	if (r->from->dead) {
		c->ghost = 1;
		rpc_tell(c, ERR_IO, 10);
	} else if (c->fate == FATE_LOST) {
		rpc_tell(c, ERR_IO, sim_chance(s, 500) ? PATIENCE_US : rpc_delay(c));
	} else {
		rpc_ref(c);
		c->deliver = (struct exec_job){.fn = deliver, .arg = c};
		sim_at(s, &c->deliver, rpc_delay(c));
	}
}

#define OP(name, type, kind, call)                \
	static void name(struct peer *p, type *c) \
	{                                         \
		begin(p, kind, call, c);          \
	}
OP(remote_info, struct peer_info, RPC_INFO, &c->call)
OP(remote_create, struct peer_create, RPC_CREATE, &c->call)
OP(remote_local_get, struct peer_local, RPC_LOCAL_GET, &c->call)
OP(remote_local_put, struct peer_local, RPC_LOCAL_PUT, &c->call)
OP(remote_changes, struct peer_changes, RPC_CHANGES, &c->call)
OP(remote_fetch, struct peer_fetch, RPC_FETCH, &c->call)
OP(remote_open, struct peer_open, RPC_OPEN, &c->call)
OP(remote_diff, struct peer_diff, RPC_DIFF, &c->call)
OP(remote_write, struct peer_write, RPC_WRITE, &c->call)
OP(remote_put, struct peer_put, RPC_PUT, &c->call)
OP(remote_commit, struct peer_call, RPC_COMMIT, c)

static void
remote_cancel(struct peer *p, struct peer_call *call)
{
	(void)p;
	rpc_tell(call->state, ERR_CANCELLED, 1 + sim_below(((struct remote *)p)->sim, 1000));
}

static void
remote_close(struct peer *p)
{
	remote_unref((struct remote *)p);
}

static const struct peer_ops remote_ops = {.info = remote_info,
    .create = remote_create,
    .local_get = remote_local_get,
    .local_put = remote_local_put,
    .changes = remote_changes,
    .fetch = remote_fetch,
    .open_doc = remote_open,
    .diff = remote_diff,
    .write = remote_write,
    .put_doc = remote_put,
    .commit = remote_commit,
    .cancel = remote_cancel,
    .close = remote_close};

int
net_peer(struct proc *from, struct node *to, const char *db, const struct peer_filter *filter, struct peer **pp)
{
	struct remote *r = sim_must(calloc(1, sizeof(*r)));

	sim_ok(arena_new((size_t)64 << 20, &r->arena));
	r->sim = from->sim;
	r->from = from;
	r->at = from->node;
	r->to = to;
	r->restored = to->restored;
	r->refs = 1;
	r->db = sim_must(arena_dup(r->arena, db, strlen(db)));
	wire_filter(r->arena, filter, &r->filter);
	r->peer.ops = &remote_ops;
	r->peer.name = r->db;
	*pp = &r->peer;
	return 0;
}

/* ---- Faults ---- */

/* Both sides see that the connection is gone. */
static void
break_off(struct rpc *c, uint64_t delay_us)
{
	rpc_tell(c, ERR_IO, delay_us);
	if (c->inner != NULL)
		c->inner->ops->cancel(c->inner, &c->in.call);
}

void
net_crashed(struct proc *p)
{
	struct rpc *c;

	for (c = p->sim->rpcs; c != NULL; c = c->next) {
		if (c->call != NULL && c->r->from == p) {
			c->ghost = 1;
			rpc_tell(c, ERR_IO, 10);
		} else if (c->inner != NULL && c->where == p) {
			break_off(c, rpc_delay(c));
		}
	}
}

void
net_parted(struct sim *s)
{
	struct rpc *c;

	for (c = s->rpcs; c != NULL; c = c->next)
		if (c->inner != NULL && s->cut[c->r->at->at][c->r->to->at])
			break_off(c, PATIENCE_US);
}

void
net_cut_one(struct sim *s)
{
	struct rpc *c;
	size_t n = 0;

	for (c = s->rpcs; c != NULL; c = c->next)
		n++;
	n = sim_below(s, n);
	for (c = s->rpcs; c != NULL && n > 0; c = c->next)
		n--;
	if (c == NULL)
		return;
	sim_say(s, "cut %s of %u to %u", names[c->kind], c->r->at->at, c->r->to->at);
	break_off(c, rpc_delay(c));
}
