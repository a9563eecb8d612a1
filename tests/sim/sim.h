/*
 * sim.h: replicators, servers, clocks, network and disks of some nodes in one process, under one seed.
 *
 * Everything that happens is a job of one queue. Time jumps to the next; jobs that are due together come in an order that
 * the seed draws. A node's process is a dbs over a store in memory with a replicator. To crash it is to copy what its store has
 * committed, and to cut it off: it goes on for nobody, and is freed when it has come to rest.
 */
#ifndef TESTS_SIM_SIM_H_
#define TESTS_SIM_SIM_H_

#include <stddef.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/exec.h"
#include "db/db.h"
#include "replicator/peer.h"
#include "replicator/peer_local.h"
#include "replicator/replicator.h"
#include "store/store.h"

#define SIM_NODES 8u
#define SIM_DOCS 24u
#define SIM_LINKS 64u
#define SIM_DB "db"

struct sim;
struct node;

/* A process of a node. */
struct proc {
	struct executor ex; /* first */
	struct sim *sim;
	struct node *node;
	struct store *store; /* the dbs' */
	struct dbs *dbs;
	struct peer_locals *locals; /* of those who ask over the network */
	struct replicator *rep;
	int dead;
	size_t jobs;       /* in the queue */
	size_t calls;      /* of its own to others, that are under way */
	size_t serving;    /* calls of others */
	size_t clients;    /* writes of clients */
	struct proc *next; /* of the dead */
};

struct node {
	struct sim *sim;
	unsigned at;
	struct proc *proc;  /* NULL: it is down */
	struct store *disk; /* of one that is down */
	struct store *copy; /* an older one, or NULL */
	uint64_t copied_us;
	unsigned restored; /* how often an older copy was put back */
	uint32_t
	    sick; /* documents of which it fails alone: to compare or take them as a target, to give their attachments as a source */
	int64_t skew_us;
	char uuid[33];
	unsigned locals_lost; /* at the next start, of a thousand */
	char *old_logs;       /* _local documents as they were: ID LF BODY LF ... */
};

/* What the seed has drawn. */
struct plan {
	unsigned nnodes, ndocs, nwrites;
	uint64_t length_us; /* of the time with faults */
	unsigned loss;      /* of a thousand calls */
	uint64_t delay_us;  /* of a message, at most */
	uint64_t stall_us;  /* of a job, now and then */
	unsigned crashes, partitions, store_faults, cuts, copies, compactions, sicknesses;
	unsigned restore; /* of a hundred crashes: an older copy is put back */
	unsigned logs_lost;
	unsigned atts; /* of a hundred writes have attachments */
	struct rep_defaults defaults;
	uint64_t backoff_ms;
};

enum link_mode { LINK_ONCE, LINK_CONTINUOUS, LINK_DOCUMENT };

/* A replication that somebody has set up. */
struct sim_link {
	struct sim *sim;
	unsigned at, from, to, driver;
	enum link_mode mode;
	uint32_t docs; /* which; all bits: no filter */
	char body[1024];
	char id[40];
	int running; /* LINK_ONCE */
	int err;     /* of the last run */
	unsigned written;
	struct exec_job job;
};

struct slot;
struct rpc;
struct acked;

struct sim {
	uint64_t seed, random, now_us, hash, steps;
	int trace;
	int faults;
	int failed;
	char why[512];
	struct slot *queue;
	size_t nqueue, room;
	struct plan plan;
	struct node nodes[SIM_NODES];
	int cut[SIM_NODES][SIM_NODES];
	struct sim_link links[SIM_LINKS];
	unsigned nlinks;
	struct proc *dead;
	struct rpc *rpcs;
	struct acked *acked;
	size_t nacked, acked_room;
	unsigned counter; /* of writes */
	uint64_t ncalls, nlost, ncrashes, nwritten, nsick;
};

extern const struct principal sim_admin;

/* exec.c */
void sim_init(struct sim *s, uint64_t seed, int trace);
void sim_release(struct sim *s);
uint64_t sim_random(struct sim *s);
/** sim_below(s, n): One of 0 to ${n} - 1.  sim_chance(s, n): 1 in ${n} of a thousand cases. */
uint64_t sim_below(struct sim *s, uint64_t n);
int sim_chance(struct sim *s, unsigned n);
/** sim_at(s, job, delay_us): The world's own jobs.  sim_take_back(s, job): 1 if it was in the queue. */
void sim_at(struct sim *s, struct exec_job *job, uint64_t delay_us);
int sim_take_back(struct sim *s, struct exec_job *job);
void sim_executor(struct sim *s, struct proc *p);
/** sim_step(s): Run the next job; 0: there is none. */
int sim_step(struct sim *s);
/** sim_run(s, until_us): All that is due up to then. */
void sim_run(struct sim *s, uint64_t until_us);
/** sim_say(s, ...): A line of the trace.  sim_fail(s, ...): What must not be; the first counts. */
void sim_say(struct sim *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
void sim_fail(struct sim *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
/** sim_must(p): ${p}, which is not NULL.  sim_ok(err): ${err} is 0. */
void *sim_must(void *p);
void sim_ok(int err);

/* node.c */
void node_start(struct node *n);
void node_crash(struct node *n, int restore);
void node_copy(struct node *n);
/** node_bury(s, wait): Free the dead that have come to rest.  Returns how many have not. */
size_t node_bury(struct sim *s);
/** node_stop(n): Its replications end; node_free(n): and have. */
void node_stop(struct node *n);
void node_free(struct node *n);
struct db *node_open(struct node *n, const char *name);

/* net.c */
int net_peer(struct proc *from, struct node *to, const char *db, const struct peer_filter *filter, struct peer **pp);
void net_crashed(struct proc *p);
/** net_parted(s): Fail what is under way between nodes that do not reach each other any more. */
void net_parted(struct sim *s);
void net_cut_one(struct sim *s);

/* client.c */
void client_write(struct node *n);
/** client_put(n, db, id, json): A document, unless it is there. */
void client_put(struct node *n, const char *db, const char *id, const char *json);
/** client_lose_logs(n, ...): Some _local documents are deleted, or put back as they were. */
void client_lose_logs(struct node *n);
void client_note_logs(struct node *n);
void client_doc_id(unsigned at, char out[32]);
/** client_doc_at(id): The number of that document; SIM_DOCS: it is another. */
unsigned client_doc_at(struct jstr id);
/** client_forget(n, since_us): Of what was acknowledged by ${n} since then nothing is promised any more. */
void client_forget(struct node *n, uint64_t since_us);

struct acked {
	unsigned node, doc;
	uint64_t at_us;
	int excused;
	struct revbuf rev;
	uint64_t content; /* 0: not known */
};

/* links.c */
void links_plan(struct sim *s);
void links_start(struct node *n);
/** links_document(n): Those that documents of ${n} describe are there. */
void links_document(struct node *n);
void links_run(struct sim *s);
/** links_round(s): Begin all that run once. */
void links_round(struct sim *s);

/* check.c */
/** check_logs(s): No checkpoint names more than the target has. */
void check_logs(struct sim *s);
void check_end(struct sim *s);
/** check_content(...): Of a revision's body and attachments. */
uint64_t check_content(struct db_snap *snap, struct db_doc *doc, const struct revnode *node, struct arena *a);
uint64_t check_seqs(struct sim *s);

#endif
