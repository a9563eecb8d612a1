/*
 * stream.c: the bytes of attachments between a process's pipe and one at the other node. They come in pieces of any size, may
 * end in the middle, or be others than were sent.
 *
 * Each callback that a pipe holds, and each job, holds the rpc.
 */
#include "tests/sim/net_impl.h"

#include <stdlib.h>

#define PIECE 32768u

static void pump(void *arg);

static void
pump_soon(struct rpc *c)
{
	if (c->pumping)
		return;
	c->pumping = 1;
	rpc_ref(c);
	c->pump = (struct exec_job){.fn = pump, .arg = c};
	sim_at(c->r->sim, &c->pump, 1 + sim_below(c->r->sim, 1 + c->r->sim->plan.delay_us / 10));
}

static void
woken(void *cookie)
{
	struct rpc *c = cookie;

	pump_soon(c);
	rpc_unref(c);
}

static struct pipe *
callers_pipe(const struct rpc *c)
{
	return c->kind == RPC_OPEN ? ((struct peer_open *)c->of)->pipe : ((struct peer_put *)c->of)->pipe;
}

/* 1: the stream is cut here. */
static int
harm(struct rpc *c)
{
	uint64_t from = c->passed;

	c->passed += c->len;
	if (c->harm_at < from || c->harm_at >= c->passed)
		return 0;
	if (c->fate == FATE_FLIP) {
		sim_say(c->r->sim, "byte %llu flipped", (unsigned long long)c->harm_at);
		c->piece[c->harm_at - from] ^= 1;
	}
	return c->fate == FATE_CUT;
}

static void
came_to_end(struct rpc *c, struct pipe *to, int err)
{
	if (c->kind == RPC_PUT)
		pipe_end(to, err == ERR_END ? 0 : err);
	else
		rpc_tell(c, err != ERR_END ? err : c->in.call.err, rpc_delay(c));
}

static void
pass_on(struct rpc *c)
{
	struct pipe *from = c->kind == RPC_OPEN ? c->pipe : callers_pipe(c);
	struct pipe *to = c->kind == RPC_OPEN ? callers_pipe(c) : c->pipe;
	int err = 0;

	if (!c->have) {
		rpc_ref(c);
		err = pipe_take(from, c->piece, 1 + sim_below(c->r->sim, PIECE), &c->len, woken, c);
		if (err == ERR_AGAIN)
			return;
		rpc_unref(c);
		if (err != 0) {
			came_to_end(c, to, err);
			return;
		}
		c->have = 1;
		if (harm(c)) {
			sim_say(c->r->sim, "stream cut at %llu", (unsigned long long)c->harm_at);
			pipe_end(to, ERR_IO);
			rpc_tell(c, ERR_IO, rpc_delay(c));
			return;
		}
	}
	rpc_ref(c);
	err = pipe_put(to, c->piece, c->len, woken, c);
	if (err == ERR_AGAIN)
		return;
	rpc_unref(c);
	c->have = 0;
	if (err == 0)
		pump_soon(c);
	else if (c->kind == RPC_OPEN)
		rpc_tell(c, err, rpc_delay(c));
}

static void
pump(void *arg)
{
	struct rpc *c = arg;

	c->pumping = 0;
	if (c->call != NULL && !(c->telling && c->err != 0))
		pass_on(c);
	rpc_unref(c);
}

void
stream_begin(struct rpc *c)
{
	c->piece = sim_must(malloc(PIECE));
	c->harm_at = sim_below(c->r->sim, 1u << sim_below(c->r->sim, 18));
	if (c->kind == RPC_OPEN) {
		c->in.open.pipe = c->pipe;
	} else {
		c->in.put.pipe = c->pipe;
		pump_soon(c);
	}
	rpc_ref(c);
	rpc_unref(c);
}

/* ---- What is opened ---- */

static void
ready(void *arg)
{
	struct rpc *c = arg;

	if (c->call != NULL && !(c->telling && c->err != 0)) {
		struct peer_open *o = c->of;

		wire_opened(c);
		o->ready(o);
		pump_soon(c);
	}
	rpc_unref(c);
}

void
stream_opened(struct peer_open *o)
{
	struct rpc *c = o->call.cookie;

	c->readied = 1;
	rpc_ref(c);
	c->ready = (struct exec_job){.fn = ready, .arg = c};
	sim_at(c->r->sim, &c->ready, rpc_delay(c));
}

void
stream_carried_out(struct rpc *c)
{
	if (c->kind == RPC_PUT)
		pipe_stop(c->pipe, c->in.call.err != 0 ? c->in.call.err : ERR_END);
	else if (!c->readied)
		rpc_tell(c, c->in.call.err, rpc_delay(c));
}

void
stream_told(struct rpc *c, int err)
{
	if (c->kind == RPC_OPEN) {
		pipe_end(callers_pipe(c), err);
		pipe_stop(c->pipe, ERR_CANCELLED);
	} else {
		pipe_stop(callers_pipe(c), err != 0 ? err : ERR_END);
		pipe_end(c->pipe, ERR_CANCELLED);
	}
}
