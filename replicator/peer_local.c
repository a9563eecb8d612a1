/*
 * peer_local.c: a database of this server as one end of a replication: calls, changes, and waiting for them.
 *
 * A call is a job on the executor. Reads copy what they find into the call's arena and end their snapshot; writes go the way of
 * all others, through db_submit(). The handle is opened for each call, so that a thousand replications that wait keep no
 * database open.
 *
 *  1. Who waits stands in a list, and has no handle. A commit takes out those of its database, and each looks for itself.
 *  2. Between the look and the entry in the list a commit may pass by: so behind the entry the sequence is compared once more.
 *     Meanwhile nobody else makes the call run; who would leaves a note.
 *  3. The database is the same one in all calls of a peer: what was written to another of its name is not in it.
 *  4. A look at many changes of which few are wanted ends after LOCAL_SCAN of them, with what there is: `more`.
 *  5. A run that ends does so once as many changes up to `goal` have come as there were. Where some are missing, their documents were
 *     written anew, and stand behind it: then `goal` is where the database is now. A row has come when it was scanned, judged, and what
 *     it names fetched: those that were replaced in between are counted back.
 */
#include "peer_local_impl.h"

#include <stdlib.h>
#include <string.h>

#include "base/limits.h"

#define LOCAL_SCAN 4096u  /* changes that are looked at for one answer, at least one batch */
#define LOCAL_REVS 32768u /* revisions of an answer's rows, behind which it ends */
#define LOCAL_MEMORY ((size_t)64 << 20)

/* ---- Calls ---- */

static void
run(void *arg)
{
	struct local_call *c = arg;

	c->run(c);
}

static struct executor *
executor_of(const struct local_call *c)
{
	const struct peer_locals_config *config = &c->p->locals->config;
	const struct peer_filter *f = c->p->filter;
	int slow = f != NULL && (f->filter.len > 0 || f->selector.len > 0);

	return slow && config->slow != NULL ? config->slow : config->ex;
}

static void
out_of_memory(void *arg)
{
	struct peer_call *call = arg;

	call->err = ERR_NOMEM;
	call->done(call);
}

void
peer_local_begin(struct peer *p, struct peer_call *call, void *of, void (*fn)(struct local_call *c))
{
	struct local_call *c = arena_calloc(call->arena, 1, sizeof(*c));

	call->state = c;
	call->job = (struct exec_job){.fn = c != NULL ? run : out_of_memory, .arg = c != NULL ? (void *)c : call};
	if (c == NULL) {
		struct executor *ex = ((struct local *)p)->locals->config.ex;

		ex->submit(ex, &call->job);
		return;
	}
	c->run = fn;
	c->p = (struct local *)p;
	c->call = call;
	c->of = of;
	peer_local_again(c);
}

void
peer_local_again(struct local_call *c)
{
	struct executor *ex = executor_of(c);

	ex->submit(ex, &c->call->job);
}

int
peer_local_open(struct local_call *c)
{
	unsigned long long first = 0, now;
	int err;

	if (atomic_load(&c->cancelled))
		return ERR_CANCELLED;
	if (c->db != NULL)
		return 0;
	if ((err = db_open(c->p->locals->config.dbs, c->p->peer.name, &c->p->who, &c->db)) != 0)
		return err;
	now = db_incarnation(c->db);
	if (atomic_compare_exchange_strong(&c->p->incarnation, &first, now) || first == now)
		return 0;
	return err_why(&c->call->why, ERR_IO, "%s was deleted and created anew", c->p->peer.name);
}

void
peer_local_end(struct local_call *c, int err)
{
	if (c->db != NULL)
		db_close(c->db);
	c->db = NULL;
	c->call->err = err;
	c->call->done(c->call);
}

int
peer_local_dup(struct arena *a, struct jstr from, struct jstr *out)
{
	out->len = from.len;
	out->s = arena_dup(a, from.s, from.len);
	return out->s != NULL ? 0 : ERR_NOMEM;
}

/* ---- Waiting ---- */

static struct local_call **
bucket(struct peer_locals *l, const char *name)
{
	return &l->waiting[exec_lane(name) / 2 % LOCAL_BUCKETS];
}

/* Under the lock. */
static void
take_out(struct local_call *c)
{
	*c->link = c->next;
	if (c->next != NULL)
		c->next->link = c->link;
	c->link = NULL;
}

/* Under the lock: it is to look again. */
static void
wake(struct local_call *c)
{
	c->woken = 1;
	if (c->looking)
		return;
	take_out(c);
	peer_local_again(c);
}

static void
wait_begin(struct local_call *c)
{
	struct peer_locals *l = c->p->locals;
	struct local_call **list = bucket(l, c->p->peer.name);

	pthread_mutex_lock(&l->lock);
	c->woken = 0;
	c->looking = 1;
	c->next = *list;
	c->link = list;
	if (c->next != NULL)
		c->next->link = &c->next;
	*list = c;
	pthread_mutex_unlock(&l->lock);
}

/* Behind it the call is no longer the caller's. */
static void
wait_on(struct local_call *c, int news)
{
	struct peer_locals *l = c->p->locals;

	pthread_mutex_lock(&l->lock);
	c->looking = 0;
	if (c->woken || news || atomic_load(&c->cancelled))
		wake(c);
	pthread_mutex_unlock(&l->lock);
}

void
peer_locals_moved(struct peer_locals *l, const char *name)
{
	struct local_call *c, *next;

	pthread_mutex_lock(&l->lock);
	for (c = *bucket(l, name); c != NULL; c = next) {
		next = c->next;
		if (strcmp(c->p->peer.name, name) == 0)
			wake(c);
	}
	pthread_mutex_unlock(&l->lock);
}

static void
local_cancel(struct peer *p, struct peer_call *call)
{
	struct local_call *c = call->state;
	struct peer_locals *l = ((struct local *)p)->locals;

	if (c == NULL)
		return;
	atomic_store(&c->cancelled, 1);
	pthread_mutex_lock(&l->lock);
	if (c->link != NULL)
		wake(c);
	pthread_mutex_unlock(&l->lock);
}

/* ---- Changes ---- */

/* One look. */
struct look {
	struct local_call *c;
	struct peer_changes *out;
	struct arena *arena; /* of the rows that are looked at */
	uint64_t since;      /* looked at up to here */
	uint64_t end;        /* of the database */
	int enough;          /* nothing more is needed of a run that ends */
	size_t room;         /* for rows */
	struct db_change *rows;
	size_t nrows, nrevs; /* and the revisions of all of them */
	uint64_t damaged;    /* sequence of the first row that cannot be read, or 0 */
	void *judge;
};

static int
seq_text(struct local_call *c, uint64_t seq, struct jstr *out)
{
	struct buf b;

	buf_init_arena(&b, c->call->arena, 256);
	buf_putc(&b, '"');
	db_seq_put(c->db, &b, seq);
	buf_putc(&b, '"');
	*out = (struct jstr){b.data, b.len};
	return buf_failed(&b);
}

/* A number, a string, or of an array the first element: what other servers may have noted. */
static int
seq_parse(struct look *k, struct jstr text)
{
	while (text.len > 0 && (*text.s == '"' || *text.s == '[')) {
		text.s++;
		text.len--;
	}
	while (text.len > 0 && (text.s[text.len - 1] == '"' || text.s[text.len - 1] == ']'))
		text.len--;
	return db_seq_parse(k->c->db, text.s, text.len, &k->since);
}

static int
is_wanted(const struct peer_filter *f, const struct db_change *row)
{
	return f->doc_ids == NULL ||
	       bsearch(&row->id, f->doc_ids, f->ndoc_ids, sizeof(*f->doc_ids), jstr_order) != NULL;
}

static int
copy_row(struct arena *a, const struct db_change *from, struct jstr *id, struct rev **revsp, size_t n)
{
	struct rev *revs = arena_calloc(a, n, sizeof(*revs));
	size_t i;

	if (revs == NULL)
		return ERR_NOMEM;
	for (i = 0; i < n; i++) {
		revs[i] = from->leaves[i];
		if ((revs[i].id = (unsigned char *)arena_dup(a, from->leaves[i].id, from->leaves[i].len)) == NULL)
			return ERR_NOMEM;
	}
	*revsp = revs;
	return peer_local_dup(a, from->id, id);
}

static int
keep_row(struct look *k, const struct db_change *from)
{
	struct db_change *to = &k->rows[k->nrows++];

	*to = *from;
	if (k->c->p->filter->winners)
		to->nleaves = 1;
	k->nrevs += to->nleaves;
	return copy_row(k->arena, from, &to->id, &to->leaves, to->nleaves);
}

/* Invariant 5. */
static int
set_goal(struct look *k, struct db_snap *snap)
{
	struct local *p = k->c->p;

	if (!k->out->once)
		return 0;
	p->unseen += k->out->lost;
	if (p->unseen > 0 && k->since < p->goal)
		return 0;
	p->goal = k->end;
	return db_changes_pending(snap, k->since, &p->unseen);
}

static void
count_row(struct look *k, uint64_t seq)
{
	struct local *p = k->c->p;

	k->since = seq;
	if (k->out->once && seq <= p->goal)
		p->unseen--;
	k->enough = k->out->once && p->unseen == 0;
}

/* One that cannot be read may have been wanted. */
static int
take_row(struct look *k, struct db_scan *walk, struct arena *scratch)
{
	struct db_change row = {.seq = 0};
	int err = db_changes_next(walk, scratch, &row);

	if (err != 0 && (err != ERR_CORRUPT || row.seq <= k->since))
		return err;
	count_row(k, row.seq);
	if (err != 0 && k->damaged == 0)
		k->damaged = row.seq;
	return err == 0 && is_wanted(k->c->p->filter, &row) ? keep_row(k, &row) : 0;
}

/* Rows behind k->since, in one snapshot. */
static int
scan(struct look *k, struct db_snap *snap)
{
	struct arena *scratch = NULL;
	struct db_scan *walk = NULL;
	size_t seen = 0;
	int err = arena_new(LOCAL_MEMORY, &scratch);

	if (err == 0)
		err = db_snap_seq(snap, &k->end);
	if (err == 0)
		err = set_goal(k, snap);
	if (err == 0)
		err = db_changes_open(snap, k->since, 0, &walk);
	while (err == 0 && k->nrows < k->room && k->nrevs < LOCAL_REVS && !k->enough && seen++ < LOCAL_SCAN) {
		err = take_row(k, walk, scratch);
		arena_reset(scratch);
	}
	if (err == ERR_END) {
		k->since = k->end;
		err = 0;
	}
	if (walk != NULL)
		db_scan_close(walk);
	arena_free(scratch);
	return err;
}

/* What was changed since has not come: its row is behind k->since. */
static int
judge(struct look *k)
{
	const struct peer_judge *j = &k->c->p->locals->config.judge;
	const struct peer_filter *f = k->c->p->filter;
	struct errtext *why = &k->c->call->why;
	size_t changed = 0;
	int err = 0;

	if (k->nrows == 0 || (f->filter.len == 0 && f->selector.len == 0))
		return 0;
	if (j->open == NULL)
		return ERR_NOT_IMPLEMENTED;
	if (k->judge == NULL)
		err = j->open(j->cookie, k->c->db, f, &k->judge, why);
	if (err == 0)
		err = j->rows(k->judge, k->c->db, k->arena, k->rows, k->nrows, &changed, why);
	k->c->p->unseen += changed;
	k->out->more |= changed > 0;
	return err;
}

/* One row stands for all that cannot be read. */
static int
tell_damaged(struct look *k)
{
	struct peer_change *to = &k->out->rows[k->out->n++];

	to->id = (struct jstr){"_changes", 8};
	if ((to->why = arena_calloc(k->c->call->arena, 1, sizeof(*to->why))) == NULL)
		return ERR_NOMEM;
	to->err = err_why(to->why, ERR_CORRUPT, "the row of sequence %llu is damaged", (unsigned long long)k->damaged);
	return seq_text(k->c, k->damaged, &to->seq);
}

static int
hand_over(struct look *k)
{
	struct peer_changes *out = k->out;
	struct arena *a = k->c->call->arena;
	size_t i;
	int err = 0;

	if ((out->rows = arena_calloc(a, k->nrows + 1, sizeof(*out->rows))) == NULL)
		return ERR_NOMEM;
	for (i = 0; i < k->nrows && err == 0; i++) {
		const struct db_change *row = &k->rows[i];
		struct peer_change *to = &out->rows[out->n];

		if (row->nleaves == 0)
			continue;
		to->deleted = row->deleted;
		to->nrevs = row->nleaves;
		err = copy_row(a, row, &to->id, &to->revs, to->nrevs);
		if (err == 0)
			err = seq_text(k->c, row->seq, &to->seq);
		out->n++;
	}
	if (err == 0 && k->damaged != 0)
		err = tell_damaged(k);
	return err != 0 ? err : seq_text(k->c, k->since, &out->last_seq);
}

static int
look_at(struct look *k)
{
	struct db_snap *snap;
	uint64_t pending = 0;
	int err = db_snap_begin(k->c->db, &snap);

	if (err != 0)
		return err;
	err = scan(k, snap);
	if (err == 0)
		err = db_changes_pending(snap, k->since, &pending);
	db_snap_end(snap);
	k->out->pending = (int64_t)pending;
	k->out->more = k->since < k->end && !k->enough;
	return err != 0 ? err : judge(k);
}

static int
passed(const struct look *k)
{
	size_t i;

	for (i = 0; i < k->nrows; i++)
		if (k->rows[i].nleaves > 0)
			return 1;
	return k->damaged != 0;
}

/* What was looked at before is passed over. */
static int
look_begin(struct look *k)
{
	struct local_call *c = k->c;
	int err = peer_local_open(c);

	if (err == 0)
		err = db_may_list(c->db);
	if (err == 0 && c->looked)
		k->since = c->seen;
	else if (err == 0)
		err = seq_parse(k, k->out->since);
	if (err == 0 && (k->rows = arena_calloc(k->arena, k->room, sizeof(*k->rows))) == NULL)
		err = ERR_NOMEM;
	return err;
}

static void
wait_for_more(struct local_call *c, const struct look *k)
{
	struct db_info info;
	int err;

	c->seen = k->since;
	c->looked = 1;
	wait_begin(c);
	err = db_info(c->db, &info);
	db_close(c->db);
	c->db = NULL;
	wait_on(c, err != 0 || info.update_seq > c->seen);
}

static void
run_changes(struct local_call *c)
{
	const struct peer_judge *j = &c->p->locals->config.judge;
	struct peer_changes *out = c->of;
	struct look k = {.c = c, .out = out, .room = out->limit > 0 ? out->limit : 1};
	int again = 0, err = arena_new(LOCAL_MEMORY, &k.arena);

	if (err == 0)
		err = look_begin(&k);
	if (err == 0)
		err = look_at(&k);
	if (err == 0)
		again = out->wait && !out->more && !passed(&k);
	if (err == 0 && !again)
		err = hand_over(&k);
	if (k.judge != NULL)
		j->close(k.judge);
	arena_free(k.arena);
	if (again)
		wait_for_more(c, &k);
	else
		peer_local_end(c, err);
}

static void
local_changes(struct peer *p, struct peer_changes *c)
{
	peer_local_begin(p, &c->call, c, run_changes);
}

/* ---- The database ---- */

static void
run_info(struct local_call *c)
{
	struct peer_info *out = c->of;
	struct db_info info;
	int err = peer_local_open(c);

	if (err == 0)
		err = db_info(c->db, &info);
	if (err == 0)
		err = seq_text(c, info.update_seq, &out->update_seq);
	peer_local_end(c, err);
}

static void
local_info(struct peer *p, struct peer_info *c)
{
	peer_local_begin(p, &c->call, c, run_info);
}

static void
run_create(struct local_call *c)
{
	static const char partitioned[] = "partitioned=true";
	const struct peer_create *in = c->of;
	struct db_options o = {0};
	int err;

	o.partitioned = in->query.len >= sizeof(partitioned) - 1 &&
			memmem(in->query.s, in->query.len, partitioned, sizeof(partitioned) - 1) != NULL;
	err = dbs_create(c->p->locals->config.dbs, c->p->peer.name, &o, &c->p->who, &c->call->why);
	peer_local_end(c, err == ERR_DB_EXISTS ? 0 : err);
}

static void
local_create(struct peer *p, struct peer_create *c)
{
	peer_local_begin(p, &c->call, c, run_create);
}

static int
get_local(struct local_call *c, struct peer_local *io)
{
	struct db_snap *snap;
	struct jstr body;
	struct buf id;
	uint64_t rev;
	int err;

	buf_init_arena(&id, c->call->arena, LIMIT_ID_LEN);
	buf_puts(&id, "_local/");
	buf_put(&id, io->id.s, io->id.len);
	if ((err = buf_failed(&id)) != 0 || (err = db_snap_begin(c->db, &snap)) != 0)
		return err;
	err = db_local_get(snap, id.data, id.len, c->call->arena, &rev, &body);
	if (err == 0)
		err = peer_local_dup(c->call->arena, body, &io->body);
	db_snap_end(snap);
	if (err != 0)
		return err;
	buf_init_arena(&id, c->call->arena, 32);
	buf_puts(&id, "0-");
	buf_put_u64(&id, rev);
	io->rev = (struct jstr){id.data, id.len};
	return buf_failed(&id);
}

static void
run_local_get(struct local_call *c)
{
	int err = peer_local_open(c);

	peer_local_end(c, err != 0 ? err : get_local(c, c->of));
}

static void
local_local_get(struct peer *p, struct peer_local *c)
{
	peer_local_begin(p, &c->call, c, run_local_get);
}

/* What db_submit() has answered is durable. */
static void
run_commit(struct local_call *c)
{
	peer_local_end(c, 0);
}

static void
local_commit(struct peer *p, struct peer_call *call)
{
	peer_local_begin(p, call, NULL, run_commit);
}

/* ---- Peers ---- */

static void
local_close(struct peer *p)
{
	struct local *l = (struct local *)p;

	arena_free(l->arena);
	free(l);
}

static const struct peer_ops local_ops = {.info = local_info,
    .create = local_create,
    .local_get = local_local_get,
    .local_put = peer_local_put_local,
    .read = peer_local_read,
    .changes = local_changes,
    .fetch = peer_local_fetch,
    .open_doc = peer_local_open_doc,
    .diff = peer_local_diff,
    .write = peer_local_write,
    .put_doc = peer_local_put_doc,
    .commit = local_commit,
    .cancel = local_cancel,
    .close = local_close};

int
peer_local_new(struct peer_locals *l, const char *name, const struct principal *who, const struct peer_filter *filter,
    struct peer **pp)
{
	static const struct peer_filter all = {.doc_ids = NULL};
	struct local *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return ERR_NOMEM;
	if (arena_new(LOCAL_MEMORY, &p->arena) != 0 || db_principal_copy(p->arena, who, &p->who) != 0 ||
	    (p->peer.name = arena_dup(p->arena, name, strlen(name))) == NULL) {
		arena_free(p->arena);
		free(p);
		return ERR_NOMEM;
	}
	p->peer.ops = &local_ops;
	p->locals = l;
	p->filter = filter != NULL ? filter : &all;
	*pp = &p->peer;
	return 0;
}

int
peer_locals_new(const struct peer_locals_config *config, struct peer_locals **lp)
{
	struct peer_locals *l = calloc(1, sizeof(*l));

	if (l == NULL || pthread_mutex_init(&l->lock, NULL) != 0) {
		free(l);
		return ERR_NOMEM;
	}
	l->config = *config;
	*lp = l;
	return 0;
}

void
peer_locals_free(struct peer_locals *l)
{
	if (l == NULL)
		return;
	pthread_mutex_destroy(&l->lock);
	free(l);
}
