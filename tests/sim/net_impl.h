/* net_impl.h: what the files of the network share: one call of a peer on its way. */
#ifndef TESTS_SIM_NET_IMPL_H_
#define TESTS_SIM_NET_IMPL_H_

#include "tests/sim/sim.h"

enum rpc_kind {
	RPC_INFO,
	RPC_CREATE,
	RPC_LOCAL_GET,
	RPC_LOCAL_PUT,
	RPC_CHANGES,
	RPC_FETCH,
	RPC_OPEN,
	RPC_DIFF,
	RPC_WRITE,
	RPC_PUT,
	RPC_COMMIT
};

enum rpc_fate {
	FATE_FINE,
	FATE_LOST,        /* the request */
	FATE_ANSWER_LOST, /* it took effect */
	FATE_BUSY,        /* 429 */
	FATE_TOO_LARGE,   /* 413 of many documents */
	FATE_PARTIAL,     /* some of the documents are written, then the connection is lost */
	FATE_CUT,         /* a stream, in its middle */
	FATE_FLIP         /* a byte of an attachment is another */
};

/* A database of node ${to} as process ${from} sees it. */
struct remote {
	struct peer peer;
	struct sim *sim;
	struct proc *from; /* not to be looked at once ghost */
	struct node *at, *to;
	struct arena *arena;
	struct peer_filter filter;
	const char *db;
	unsigned refs;
	unsigned
	    restored; /* of ${to}, when it was made: what was said to a database that was put back is said to none */
};

struct rpc {
	struct rpc *next, **link;
	struct remote *r;
	enum rpc_kind kind;
	enum rpc_fate fate;
	unsigned refs;
	int ghost;              /* who called is dead */
	struct peer_call *call; /* the caller's; NULL: it has been told */
	void *of;               /* that call as what it is */
	struct arena *arena;    /* of the request as it was sent, and of the answer */
	union {
		struct peer_call call;
		struct peer_info info;
		struct peer_create create;
		struct peer_local local;
		struct peer_changes changes;
		struct peer_fetch fetch;
		struct peer_open open;
		struct peer_diff diff;
		struct peer_write write;
		struct peer_put put;
	} in; /* what is carried out at the other end */
	struct proc *where;
	struct peer *inner; /* not NULL: it is being carried out */
	int carried_out;    /* it was */
	uint32_t sick;      /* documents that are left out of what is written */
	struct exec_job deliver, tell;
	int telling, err;
	/* Of a stream. */
	struct pipe *pipe; /* at the other end */
	struct exec_job pump, ready;
	int pumping, readied, have;
	char *piece;
	size_t len;
	uint64_t passed, harm_at;
};

/** rpc_ref(c), rpc_unref(c). */
void rpc_ref(struct rpc *c);
void rpc_unref(struct rpc *c);
/** rpc_tell(c, err, delay_us): The caller is to be told, unless it will be earlier. */
void rpc_tell(struct rpc *c, int err, uint64_t delay_us);
uint64_t rpc_delay(struct rpc *c);
int rpc_is_stream(const struct rpc *c);

/* wire.c */
/** wire_request(c), wire_answer(c): Copy what the caller has put into its call to c->in; and what came of it back. */
void wire_request(struct rpc *c);
void wire_answer(struct rpc *c);
/** wire_is_sick(c, id): The node that is asked fails of that document alone. */
int wire_is_sick(const struct rpc *c, struct jstr id);
/** wire_opened(c): The same for what ready() is called with. */
void wire_opened(struct rpc *c);
void wire_filter(struct arena *a, const struct peer_filter *from, struct peer_filter *to);

/* stream.c */
void stream_begin(struct rpc *c);
/** stream_carried_out(c): The other end is done.  stream_told(c, err): The caller is about to hear so. */
void stream_carried_out(struct rpc *c);
void stream_told(struct rpc *c, int err);
/** stream_opened(o): For peer_open.ready of the other end. */
void stream_opened(struct peer_open *o);

#endif
