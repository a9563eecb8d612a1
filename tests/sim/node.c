/* node.c: nodes: their processes begin, crash, are put back to an older copy, and end. */
#include "tests/sim/sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void
moved(void *cookie, const char *name, uint64_t incarnation, uint64_t seq, int dropped)
{
	struct proc *p = cookie;

	(void)incarnation;
	if (p->locals != NULL)
		peer_locals_moved(p->locals, name);
	if (p->rep != NULL)
		replicator_moved(p->rep, name, seq, dropped);
}

static int
remote(void *cookie, const struct rep_spec *spec, const struct rep_end *end, const struct peer_filter *filter,
    uint64_t owner, struct peer **pp, struct errtext *why)
{
	struct proc *p = cookie;
	unsigned at;

	(void)spec;
	(void)owner;
	(void)why;
	if (sscanf(end->url, "http://n%u:", &at) != 1 || at >= p->sim->plan.nnodes)
		abort();
	return net_peer(p, &p->sim->nodes[at], SIM_DB, filter, pp);
}

static void
create(struct proc *p, const char *name)
{
	int err = dbs_create(p->dbs, name, NULL, &sim_admin, NULL);

	if (err != ERR_DB_EXISTS)
		sim_ok(err);
}

void
node_start(struct node *n)
{
	struct sim *s = n->sim;
	struct proc *p = sim_must(calloc(1, sizeof(*p)));
	struct dbs_config dbs = {.ex = &p->ex, .moved = moved, .cookie = p};
	struct peer_locals_config locals = {.ex = &p->ex};
	struct replicator_config rep = {.ex = &p->ex,
	    .node = "sim",
	    .defaults = s->plan.defaults,
	    .limits = {.jitter_ms = 500, .backoff_ms = s->plan.backoff_ms},
	    .remote = remote,
	    .cookie = p};

	sim_say(s, "node %u starts", n->at);
	p->node = n;
	sim_executor(s, p);
	if (n->disk == NULL)
		sim_ok(store_mem_new(&n->disk));
	dbs.store = p->store = n->disk;
	n->disk = NULL;
	sim_ok(dbs_new(&dbs, &p->dbs));
	locals.dbs = rep.dbs = p->dbs;
	rep.defaults.server = n->uuid;
	create(p, SIM_DB);
	create(p, "_replicator");
	sim_ok(peer_locals_new(&locals, &p->locals));
	sim_ok(replicator_new(&rep, &p->rep));
	n->proc = p;
	if (n->locals_lost > 0)
		client_lose_logs(n);
	n->locals_lost = 0;
	sim_ok(replicator_start(p->rep));
	links_start(n);
}

void
node_copy(struct node *n)
{
	if (n->proc == NULL)
		return;
	sim_say(n->sim, "copy of node %u", n->at);
	if (n->copy != NULL)
		store_free(n->copy);
	sim_ok(store_mem_copy(n->proc->store, 1, &n->copy));
	n->copied_us = n->sim->now_us;
}

void
node_crash(struct node *n, int restore)
{
	struct sim *s = n->sim;
	struct proc *p = n->proc;

	if (p == NULL)
		return;
	restore = restore && n->copy != NULL;
	sim_say(s, "node %u crashes%s", n->at, restore ? ", and is put back" : "");
	s->ncrashes++;
	if (restore) {
		n->disk = n->copy;
		n->copy = NULL;
		n->restored++;
		client_forget(n, n->copied_us);
		free(n->old_logs); /* they may be newer */
		n->old_logs = NULL;
	} else {
		sim_ok(store_mem_copy(p->store, 0, &n->disk));
	}
	p->dead = 1;
	n->proc = NULL;
	p->next = s->dead;
	s->dead = p;
	net_crashed(p);
	replicator_stop(p->rep);
}

static int
at_rest(const struct proc *p)
{
	struct replicator_count c;

	if (p->jobs > 0 || p->calls > 0 || p->serving > 0 || p->clients > 0)
		return 0;
	replicator_count(p->rep, &c);
	return c.running == 0;
}

static void
proc_free(struct proc *p)
{
	replicator_free(p->rep);
	peer_locals_free(p->locals);
	dbs_free(p->dbs);
	free(p);
}

size_t
node_bury(struct sim *s)
{
	struct proc **at = &s->dead, *p;
	size_t left = 0;

	while ((p = *at) != NULL) {
		if (!at_rest(p)) {
			at = &p->next;
			left++;
			continue;
		}
		*at = p->next;
		proc_free(p);
	}
	return left;
}

void
node_stop(struct node *n)
{
	if (n->proc != NULL)
		replicator_stop(n->proc->rep);
}

void
node_free(struct node *n)
{
	struct proc *p = n->proc;

	if (p != NULL && !at_rest(p))
		sim_fail(n->sim, "a run of node %u does not end", n->at);
	else if (p != NULL)
		proc_free(p);
	n->proc = NULL;
	if (n->disk != NULL)
		store_free(n->disk);
	if (n->copy != NULL)
		store_free(n->copy);
	free(n->old_logs);
}

struct db *
node_open(struct node *n, const char *name)
{
	struct db *db;
	int err, tries = 0;

	/* To open a file may take a commit, and that may be the one that is to fail. */
	do
		err = db_open(n->proc->dbs, name, &sim_admin, &db);
	while (err != 0 && n->sim->faults && ++tries < 4);
	sim_ok(err);
	return db;
}
