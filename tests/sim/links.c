/* links.c: who replicates what to whom, and how. */
#include "tests/sim/sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "replicator/spec.h"

/* ---- Which ---- */

static void
put_end(struct buf *b, const struct sim_link *l, unsigned end)
{
	if (l->driver == end)
		buf_puts(b, "\"" SIM_DB "\"");
	else
		buf_printf(b, "\"http://n%u:5984/" SIM_DB "\"", end);
}

static void
write_body(struct sim_link *l)
{
	struct buf b;
	unsigned i;
	int first = 1;

	buf_init(&b, sizeof(l->body) - 1);
	buf_puts(&b, "{\"source\":");
	put_end(&b, l, l->from);
	buf_puts(&b, ",\"target\":");
	put_end(&b, l, l->to);
	if (l->mode != LINK_ONCE)
		buf_puts(&b, ",\"continuous\":true");
	if (l->mode == LINK_DOCUMENT)
		buf_puts(&b, ",\"user_ctx\":{\"roles\":[\"_admin\"]}");
	if (l->docs != UINT32_MAX) {
		buf_puts(&b, ",\"doc_ids\":[");
		for (i = 0; i < SIM_DOCS; i++) {
			char id[32];

			if (!(l->docs >> i & 1))
				continue;
			client_doc_id(i, id);
			buf_printf(&b, "%s\"%s\"", first ? "" : ",", id);
			first = 0;
		}
		buf_putc(&b, ']');
	}
	buf_putc(&b, '}');
	sim_ok(buf_failed(&b));
	memcpy(l->body, b.data, b.len);
	l->body[b.len] = '\0';
	buf_release(&b);
}

static void
read_id(struct sim_link *l)
{
	struct rep_defaults d = l->sim->plan.defaults;
	struct errtext why = {""};
	struct rep_spec spec;
	struct arena *a;

	d.server = l->sim->nodes[l->driver].uuid;
	sim_ok(arena_new(1u << 20, &a));
	sim_ok(spec_parse((struct jstr){l->body, strlen(l->body)}, &d, a, &spec, &why));
	(void)snprintf(l->id, sizeof(l->id), "%.32s", spec.id);
	arena_free(a);
}

/* What runs for good can't be set up twice. */
static int
is_there(const struct sim_link *l)
{
	unsigned i;

	for (i = 0; i < l->at; i++) {
		const struct sim_link *k = &l->sim->links[i];

		if (strcmp(k->id, l->id) == 0 && k->driver == l->driver &&
		    (k->mode == l->mode || (k->mode != LINK_ONCE && l->mode != LINK_ONCE)))
			return 1;
	}
	return 0;
}

static void
add(struct sim *s, unsigned from, unsigned to)
{
	struct sim_link *l = &s->links[s->nlinks];
	uint64_t n = sim_below(s, 10);

	if (from == to || s->nlinks == SIM_LINKS)
		return;
	*l = (struct sim_link){.sim = s, .at = s->nlinks++, .from = from, .to = to};
	l->driver = n < 4 ? from : n < 8 ? to : (unsigned)sim_below(s, s->plan.nnodes);
	l->mode = (enum link_mode)sim_below(s, 3);
	l->docs = sim_chance(s, 100) ? (uint32_t)sim_random(s) : UINT32_MAX;
	write_body(l);
	read_id(l);
	if (is_there(l)) {
		s->nlinks--;
		return;
	}
	sim_say(s, "link %u: %u to %u by %u %d %08x", l->at, from, to, l->driver, (int)l->mode, (unsigned)l->docs);
}

static void
add_both(struct sim *s, unsigned a, unsigned b)
{
	add(s, a, b);
	add(s, b, a);
}

void
links_plan(struct sim *s)
{
	unsigned n = s->plan.nnodes, i, k;

	switch (sim_below(s, 5)) {
	case 0:
		for (i = 0; i + 1 < n; i++)
			add_both(s, i, i + 1);
		break;
	case 1:
		for (i = 0; i < n; i++)
			add(s, i, (i + 1) % n);
		break;
	case 2:
		for (i = 1; i < n; i++)
			add_both(s, 0, i);
		break;
	case 3:
		for (i = 0; i < n; i++)
			for (k = 0; k < n; k++)
				add(s, i, k);
		break;
	default:
		for (i = 0; i < 2 * n; i++)
			add(s, (unsigned)sim_below(s, n), (unsigned)sim_below(s, n));
		break;
	}
}

/* ---- Runs ---- */

/* A request that is being answered. */
struct asking {
	struct sim_link *link;
	struct proc *proc;
};

static unsigned
docs_written(struct jstr answer)
{
	static const char name[] = "\"docs_written\":";
	const char *at = memmem(answer.s, answer.len, name, sizeof(name) - 1);

	return at != NULL ? (unsigned)strtoul(at + sizeof(name) - 1, NULL, 10) : 0;
}

static void
answered(void *cookie, int err, const struct errtext *why, struct jstr answer)
{
	struct asking *k = cookie;
	struct sim_link *l = k->link;
	struct sim *s = l->sim;

	sim_say(s, "link %u: %s %s, %u written%s", l->at, err != 0 ? err_name(err) : "done", err != 0 ? why->text : "",
	    err == 0 ? docs_written(answer) : 0, k->proc->dead ? " (dead)" : "");
	if (!k->proc->dead) {
		l->running = 0;
		l->err = err;
	}
	free(k);
}

static void
ask(struct sim_link *l)
{
	struct proc *p = l->sim->nodes[l->driver].proc;
	struct asking *k = sim_must(calloc(1, sizeof(*k)));
	struct jstr body = {l->body, strlen(l->body)};
	struct errtext why = {""};
	struct buf b;
	int status, err;

	*k = (struct asking){.link = l, .proc = p};
	buf_init(&b, 1u << 16);
	l->running = l->mode == LINK_ONCE;
	err = replicator_run(p->rep, body, &sim_admin, answered, k, &b, &status, &why);
	if (err != 0)
		free(k);
	if (err != 0 && err != ERR_END) {
		sim_fail(l->sim, "link %u is refused: %s %s", l->at, err_name(err), why.text);
		l->running = 0;
	}
	buf_release(&b);
}

void
links_start(struct node *n)
{
	struct sim *s = n->sim;
	unsigned i;

	for (i = 0; i < s->nlinks; i++) {
		struct sim_link *l = &s->links[i];

		if (l->driver != n->at)
			continue;
		l->running = 0;
		if (l->mode == LINK_CONTINUOUS)
			ask(l);
	}
	links_document(n);
}

void
links_document(struct node *n)
{
	struct sim *s = n->sim;
	unsigned i;

	for (i = 0; i < s->nlinks; i++) {
		struct sim_link *l = &s->links[i];
		char id[32];

		(void)snprintf(id, sizeof(id), "link%u", i);
		if (l->driver == n->at && l->mode == LINK_DOCUMENT)
			client_put(n, "_replicator", id, l->body);
	}
}

/* Now and then, as long as there are faults. */
static void
turn(void *arg)
{
	struct sim_link *l = arg;
	struct sim *s = l->sim;

	if (!s->faults)
		return;
	if (s->nodes[l->driver].proc != NULL && !l->running)
		ask(l);
	sim_at(s, &l->job, 1000 + sim_below(s, s->plan.length_us / 4));
}

void
links_run(struct sim *s)
{
	unsigned i;

	for (i = 0; i < s->nlinks; i++) {
		struct sim_link *l = &s->links[i];

		if (l->mode != LINK_ONCE)
			continue;
		l->job = (struct exec_job){.fn = turn, .arg = l};
		sim_at(s, &l->job, sim_below(s, s->plan.length_us / 4));
	}
}

void
links_round(struct sim *s)
{
	unsigned i;

	for (i = 0; i < s->nlinks; i++)
		if (s->links[i].mode == LINK_ONCE && !s->links[i].running)
			ask(&s->links[i]);
}
