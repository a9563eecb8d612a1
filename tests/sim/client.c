/*
 * client.c: clients that write to nodes: documents, edits of any leaf, deletions, conflicts, attachments; and the ledger of
 * what was acknowledged.
 */
#include "tests/sim/sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

#define MEMORY ((size_t)64 << 20)

/* A write under way. */
struct op {
	struct proc *proc;
	struct db *db;
	struct arena *arena;
	unsigned doc;
	int counted; /* in the ledger */
	struct doc_in in;
	struct db_write write;
	struct db_request req;
	struct rev path[8];
	struct revbuf revs[8];
	struct db_write_att atts[4];
};

void
client_doc_id(unsigned at, char out[32])
{
	(void)snprintf(out, 32, at % 8 == 7 ? "_design/d%u" : "doc%u", at);
}

unsigned
client_doc_at(struct jstr id)
{
	char name[32];
	unsigned i;

	for (i = 0; i < SIM_DOCS; i++) {
		client_doc_id(i, name);
		if (jstr_is(&id, name))
			break;
	}
	return i;
}

/* ---- The ledger ---- */

static void
acknowledge(struct op *op)
{
	struct sim *s = op->proc->sim;
	struct rev rev = rev_of(&op->write.rev);
	struct acked *a;
	struct db_snap *snap;
	struct db_doc doc;
	struct revtree *t;
	struct revpos at;

	if (s->nacked == s->acked_room) {
		s->acked_room = s->acked_room == 0 ? 64 : 2 * s->acked_room;
		s->acked = sim_must(realloc(s->acked, s->acked_room * sizeof(*s->acked)));
	}
	a = &s->acked[s->nacked++];
	*a = (struct acked){.node = op->proc->node->at, .doc = op->doc, .at_us = s->now_us, .rev = op->write.rev};
	sim_ok(db_snap_begin(op->db, &snap));
	if (db_get(snap, op->write.id.s, op->write.id.len, op->arena, &doc) == 0 && db_doc_tree(&doc, 1, &t) == 0 &&
	    revtree_find(t, &rev, &at))
		a->content = check_content(snap, &doc, revtree_at(t, at), op->arena);
	else
		sim_fail(s, "what was just acknowledged is not there");
	db_snap_end(snap);
}

void
client_forget(struct node *n, uint64_t since_us)
{
	size_t i;

	for (i = 0; i < n->sim->nacked; i++)
		if (n->sim->acked[i].node == n->at && n->sim->acked[i].at_us >= since_us)
			n->sim->acked[i].excused = 1;
}

/* ---- Writes ---- */

static struct op *
op_new(struct node *n, const char *db)
{
	struct op *op = sim_must(calloc(1, sizeof(*op)));

	op->proc = n->proc;
	op->db = node_open(n, db);
	sim_ok(arena_new(MEMORY, &op->arena));
	return op;
}

static void
op_free(struct op *op)
{
	size_t i;

	for (i = 0; i < op->write.natts; i++)
		db_blob_free(op->atts[i].blob);
	db_close(op->db);
	arena_free(op->arena);
	free(op);
}

static void
say_write(const struct op *op)
{
	const struct db_write *w = &op->write;
	struct rev rev = rev_of(&w->rev), parent = rev_of(&w->parent);
	struct buf b;
	size_t i;

	buf_init(&b, 400);
	buf_printf(&b, "write %.*s on %u: %s%s ", (int)w->id.len, w->id.s, op->proc->node->at,
	    w->err != 0 ? err_name(w->err) : "done", op->proc->dead ? " (dead)" : "");
	rev_put(&b, &rev);
	if (w->has_parent && w->kind == DB_WRITE_EDIT) {
		buf_puts(&b, " behind ");
		rev_put(&b, &parent);
	}
	for (i = 1; i < w->npath; i++) {
		buf_puts(&b, " behind ");
		rev_put(&b, &w->path[i]);
	}
	for (i = 0; i < w->natts; i++)
		buf_printf(&b, ", %s %.*s", w->atts[i].blob != NULL ? "new" : "kept", (int)w->atts[i].name.len,
		    w->atts[i].name.s);
	sim_say(op->proc->sim, "%.*s", (int)b.len, b.data);
	buf_release(&b);
}

static void
done(struct db_request *req)
{
	struct op *op = req->cookie;
	struct proc *p = op->proc;

	say_write(op);
	if (op->write.err == 0 && op->counted && !p->dead)
		acknowledge(op);
	p->sim->nwritten += op->write.err == 0 && op->counted;
	op_free(op);
	p->clients--;
}

static void
submit(struct op *op)
{
	int err;

	op->req = (struct db_request){.writes = &op->write, .nwrites = 1, .done = done, .cookie = op};
	op->proc->clients++;
	if ((err = db_submit(op->db, &op->req)) != 0) {
		op->proc->clients--;
		op_free(op);
	}
}

static void
parse(struct op *op, const char *json)
{
	struct errtext why = {""};
	struct jread j;

	json = sim_must(arena_dup(op->arena, json, strlen(json)));
	jread_init(&j, json, strlen(json));
	sim_ok(doc_parse(&j, op->arena, &op->in, &why));
	op->write.body = op->in.body;
	op->write.body_etf = op->in.body_etf;
}

static void
set_id(struct op *op, const char *id)
{
	op->write.id = (struct jstr){sim_must(arena_dup(op->arena, id, strlen(id))), strlen(id)};
}

static void
draw_rev(struct sim *s, struct op *op, size_t i, uint64_t gen)
{
	uint64_t x[2] = {sim_random(s), sim_random(s)};

	op->revs[i].gen = gen;
	op->revs[i].len = sizeof(x);
	memcpy(op->revs[i].id, x, sizeof(x));
	op->path[i] = rev_of(&op->revs[i]);
}

/* A path of its own, or behind a revision that is there. */
static void
draw_path(struct sim *s, struct op *op, const struct rev *behind)
{
	uint64_t base = behind != NULL ? behind->gen : 0;
	size_t i, n = 1 + sim_below(s, 3);

	op->write.kind = DB_WRITE_REPLICATE;
	for (i = 0; i < n; i++)
		draw_rev(s, op, i, base + n - i);
	if (behind != NULL) {
		rev_copy(&op->revs[n], behind);
		op->path[n] = rev_of(&op->revs[n]);
		n++;
	}
	op->write.path = op->path;
	op->write.npath = n;
}

static size_t
draw_length(struct sim *s)
{
	uint64_t n = sim_below(s, 100);

	return n < 10 ? 0 : n < 95 ? sim_below(s, 3000) : 30000 + sim_below(s, 400000);
}

static void
draw_att(struct sim *s, struct op *op)
{
	struct db_write_att *att = &op->atts[op->write.natts++];
	size_t len = draw_length(s), i;
	char name[8], *bytes = sim_must(malloc(len + 1));
	uint64_t x = sim_below(s, 8); /* some are equal */

	(void)snprintf(name, sizeof(name), "a%u", (unsigned)sim_below(s, 3) + 4 * (unsigned)op->write.natts);
	att->name = (struct jstr){sim_must(arena_dup(op->arena, name, strlen(name))), strlen(name)};
	att->type = (struct jstr){"text/plain", 10};
	if (op->write.kind == DB_WRITE_REPLICATE) {
		att->has_revpos = 1;
		att->revpos = op->path[0].gen;
	}
	for (i = 0; i < len; i++)
		bytes[i] = (char)('a' + (i * (x + 1) + (i >> 9) * x) % 26);
	sim_ok(db_blob_new(op->db, sim_chance(s, 500) ? DB_BLOB_PLAIN : DB_BLOB_COMPRESS, &att->blob));
	sim_ok(db_blob_add(att->blob, bytes, len));
	sim_ok(db_blob_end(att->blob));
	free(bytes);
}

/* Those of the revision before stay, or some of them. */
static void
keep_atts(struct sim *s, struct op *op, struct db_doc *doc, const struct revnode *leaf)
{
	struct db_rev rev;
	size_t i;

	if (db_doc_rev(doc, leaf, op->arena, &rev) != 0)
		return;
	for (i = 0; i < rev.natts && op->write.natts < 3; i++) {
		const struct doc_att *from = &rev.atts[i];

		if (sim_chance(s, 200))
			continue;
		op->atts[op->write.natts++] = (struct db_write_att){
		    .name = {sim_must(arena_dup(op->arena, from->name.s, from->name.len)), from->name.len},
		    .type = {sim_must(arena_dup(op->arena, from->type.s, from->type.len)), from->type.len}};
	}
}

static void
drop_doubled(struct op *op)
{
	size_t last = op->write.natts - 1, i;

	for (i = 0; i < last; i++)
		if (op->atts[i].name.len == op->atts[last].name.len &&
		    memcmp(op->atts[i].name.s, op->atts[last].name.s, op->atts[i].name.len) == 0) {
			db_blob_free(op->atts[last].blob);
			op->write.natts--;
			return;
		}
}

/* What is made of the document as it is. */
static void
choose(struct sim *s, struct op *op)
{
	struct revnode *leaf = NULL;
	struct db_snap *snap;
	struct db_doc doc;
	struct revtree *t;

	op->write.kind = DB_WRITE_EDIT;
	sim_ok(db_snap_begin(op->db, &snap));
	if (db_get(snap, op->write.id.s, op->write.id.len, op->arena, &doc) == 0 && db_doc_tree(&doc, 1, &t) == 0)
		leaf = revtree_leaf(t, sim_chance(s, 700) ? 0 : sim_below(s, revtree_nleaves(t)));
	if (sim_chance(s, 150)) {
		draw_path(s, op, leaf != NULL && sim_chance(s, 700) ? &leaf->rev : NULL);
		op->write.deleted = sim_chance(s, 100);
	} else if (leaf != NULL && !leaf->deleted) {
		op->write.has_parent = 1;
		rev_copy(&op->write.parent, &leaf->rev);
		op->write.deleted = sim_chance(s, 150);
		if (!op->write.deleted)
			keep_atts(s, op, &doc, leaf);
	}
	db_snap_end(snap);
	/* What is made anew mostly has one: its name and revpos may be those of an earlier one. */
	if (!op->write.deleted &&
	    sim_below(s, 100) < (leaf != NULL && leaf->deleted ? 2 * s->plan.atts : s->plan.atts)) {
		draw_att(s, op);
		drop_doubled(op);
	}
	op->write.atts = op->atts;
}

void
client_write(struct node *n)
{
	struct sim *s = n->sim;
	struct op *op;
	char text[2048], pad[1500];
	size_t len = sim_chance(s, 100) ? sim_below(s, sizeof(pad) - 1) : 0;

	if (n->proc == NULL)
		return;
	op = op_new(n, SIM_DB);
	op->counted = 1;
	op->doc = (unsigned)sim_below(s, s->plan.ndocs);
	client_doc_id(op->doc, text);
	set_id(op, text);
	choose(s, op);
	memset(pad, 'x', len);
	pad[len] = '\0';
	(void)snprintf(text, sizeof(text), "{\"by\":%u,\"n\":%u,\"pad\":\"%s\"}", n->at, s->counter++, pad);
	parse(op, text);
	submit(op);
}

void
client_put(struct node *n, const char *db, const char *id, const char *json)
{
	struct op *op = op_new(n, db);

	set_id(op, id);
	op->write.kind = DB_WRITE_EDIT;
	parse(op, json);
	submit(op);
}

/* ---- Logs of replications ---- */

static void
each_log(struct node *n, void (*fn)(struct node *n, struct jstr id, uint64_t rev, struct jstr body, void *cookie),
    void *cookie)
{
	struct db *db = node_open(n, SIM_DB);
	struct db_range range = {0};
	struct db_snap *snap;
	struct db_scan *scan;
	struct arena *a;
	struct jstr id, body;
	uint64_t rev;

	sim_ok(arena_new(MEMORY, &a));
	sim_ok(db_snap_begin(db, &snap));
	sim_ok(db_locals_open(snap, &range, &scan));
	while (db_locals_step(scan, a, &id, &rev, &body) == 0)
		fn(n, id, rev, body, cookie);
	db_scan_close(scan);
	db_snap_end(snap);
	arena_free(a);
	db_close(db);
}

static void
note_log(struct node *n, struct jstr id, uint64_t rev, struct jstr body, void *cookie)
{
	struct buf *b = cookie;

	(void)n;
	(void)rev;
	buf_put(b, id.s, id.len);
	buf_putc(b, '\n');
	buf_put(b, body.s, body.len);
	buf_putc(b, '\n');
}

void
client_note_logs(struct node *n)
{
	struct buf b;
	size_t len;

	if (n->proc == NULL)
		return;
	buf_init(&b, 16u << 20);
	each_log(n, note_log, &b);
	buf_putc(&b, '\0');
	sim_ok(buf_failed(&b));
	free(n->old_logs);
	n->old_logs = buf_take(&b, &len);
}

/* It is gone, or as it was when it was noted. */
static void
lose_log(struct node *n, struct jstr id, uint64_t rev, struct jstr body, void *cookie)
{
	struct sim *s = n->sim;
	const char *old = n->old_logs, *end;
	struct op *op;
	const char *text;

	(void)body;
	(void)cookie;
	if (!sim_chance(s, n->locals_lost))
		return;
	while (old != NULL && *old != '\0' && (strncmp(old, id.s, id.len) != 0 || old[id.len] != '\n')) {
		old = strchr(old, '\n') + 1;
		old = strchr(old, '\n') + 1;
	}
	op = op_new(n, SIM_DB);
	op->write.kind = DB_WRITE_LOCAL;
	op->write.id = (struct jstr){sim_must(arena_dup(op->arena, id.s, id.len)), id.len};
	op->write.has_parent = 1;
	op->write.parent.len = (uint8_t)snprintf(
	    (char *)op->write.parent.id, sizeof(op->write.parent.id), "%llu", (unsigned long long)rev);
	text = "{}";
	if (old != NULL && *old != '\0' && sim_chance(s, 700)) {
		old += id.len + 1;
		end = strchr(old, '\n');
		text = sim_must(arena_dup(op->arena, old, (size_t)(end - old)));
	} else {
		op->write.deleted = 1;
	}
	parse(op, text);
	sim_say(s, "log %.*s of %u %s", (int)id.len, id.s, n->at, op->write.deleted ? "is lost" : "is put back");
	submit(op);
}

void
client_lose_logs(struct node *n)
{
	each_log(n, lose_log, NULL);
}
