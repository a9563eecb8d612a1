/*
 * test_db_model.c: random writes, failures, compactions and reopenings, against a model of what must be there.
 *
 * The model of a document is its *universe*: every revision that was ever made up or written, with the one parent and the
 * one content it has, whether the database knows it now (in), from which parent it hangs there (up), and whether its body is there
 * for everybody (body) or kept for merging (base). So whatever path a writer brings, and in whatever order, there is one right outcome.
 *
 *   test_db_model [SEEDS [FIRST]]    without an argument: few seeds, for make test
 */
#include "dbtest.h"

#include <stdio.h>
#include <unistd.h>

#include "base/limits.h"
#include "db/dbi.h"

#define NDOCS 9
#define NLOCALS 5
#define NREVS 3000u
#define NATTS 2
#define MAXPATH 300u
#define NCONTENTS 6
#define LONG_ID 700u

struct mrev {
	struct revbuf rev;
	int parent; /* in the universe; -1: none is known */
	int up;     /* in the database; -1: a root */
	int in, body, base, deleted;
	int known;      /* its content is: it was not only named as a parent */
	unsigned n;     /* what its body says */
	int att[NATTS]; /* which bytes; -1: it has none of that name */
	int kids;       /* of those in the database; see count_kids() */
};

struct mdoc {
	char id[LONG_ID + 1];
	struct mrev *v;
	int n;
	int changed; /* by the request at hand */
};

struct mlocal {
	char id[LONG_ID + 1];
	int exists;
	uint64_t number;
	unsigned n;
};

struct model {
	struct mdoc docs[NDOCS];
	struct mlocal locals[NLOCALS];
	uint64_t revs_limit;
	uint64_t purged_limit;
	uint64_t keep; /* superseded bodies that compaction leaves on a live leaf's path */
	unsigned next_n;
};

/* A write on its way, with what the model needs to judge it. */
struct trial {
	struct db_write w;
	struct db_write_att atts[NATTS];
	struct db_blob *blobs[NATTS];
	struct rev path[MAXPATH];
	int way[MAXPATH]; /* the path's places in the universe */
	struct mdoc *doc;
	struct mlocal *local;
	int parent; /* EDIT: in the universe, or -1 */
	int want;   /* an error that is certain before the write is queued */
	unsigned n;
	int att[NATTS];
	unsigned char purged[4];
};

static struct model m;
static struct store *store;
static struct dbs *set;
static struct db *db;
static struct arena *arena;
static uint64_t rng;
static int faulty; /* the store's commits can be made to fail */
static const size_t content_len[NCONTENTS] = {0, 10, 5000, 65472, 70000, 200000};
static char *content[NCONTENTS];

static unsigned
dice(unsigned n)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (unsigned)(rng >> 11) % n;
}

/* ---- The model ---- */

static void
count_kids(struct mdoc *d)
{
	for (int i = 0; i < d->n; i++)
		d->v[i].kids = 0;
	for (int i = 0; i < d->n; i++)
		if (d->v[i].in && d->v[i].up >= 0)
			d->v[d->v[i].up].kids++;
}

static int
is_leaf(const struct mdoc *d, int i)
{
	return i >= 0 && d->v[i].in && d->v[i].kids == 0;
}

/* winner: The winning leaf; -1: there is no document. */
static int
winner(struct mdoc *d)
{
	int best = -1;

	count_kids(d);
	for (int i = 0; i < d->n; i++) {
		struct rev a = rev_of(&d->v[i].rev), b;

		if (!is_leaf(d, i))
			continue;
		if (best >= 0)
			b = rev_of(&d->v[best].rev);
		if (best < 0 || d->v[i].deleted < d->v[best].deleted ||
		    (d->v[i].deleted == d->v[best].deleted && rev_cmp(&a, &b) > 0))
			best = i;
	}
	return best;
}

static int
universe_find(const struct mdoc *d, const struct revbuf *r)
{
	struct rev a = rev_of(r);

	for (int i = 0; i < d->n; i++) {
		struct rev b = rev_of(&d->v[i].rev);

		if (rev_equal(&a, &b))
			return i;
	}
	return -1;
}

static int
universe_add(struct mdoc *d, const struct revbuf *r, int parent)
{
	struct mrev *v = &d->v[d->n];

	memset(v, 0, sizeof(*v));
	v->rev = *r;
	v->parent = parent;
	v->up = -1;
	for (int i = 0; i < NATTS; i++)
		v->att[i] = -1;
	return d->n++;
}

/* make_up: A revision that another database might have made: a child of ${parent} (-1: a first one). */
static int
make_up(struct mdoc *d, int parent)
{
	struct revbuf r = {.gen = parent >= 0 ? d->v[parent].rev.gen + 1 : 1, .len = REV_MD5_LEN};
	int at;

	for (unsigned i = 0; i < REV_MD5_LEN; i++)
		r.id[i] = (unsigned char)dice(256);
	at = universe_add(d, &r, parent);
	d->v[at].known = 1;
	d->v[at].deleted = dice(6) == 0;
	d->v[at].n = m.next_n++;
	for (int i = 0; i < NATTS; i++) {
		unsigned kind = dice(6);

		if (kind == 0)
			d->v[at].att[i] = (int)dice(NCONTENTS);
		else if (kind < 4 && parent >= 0)
			d->v[at].att[i] = d->v[parent].att[i];
	}
	return at;
}

/* model_is_history: A known path that ends before a leaf; the body that comes with it is passed over. */
static int
model_is_history(struct mdoc *d, const int *way, size_t n)
{
	count_kids(d);
	if (!d->v[way[0]].in || is_leaf(d, way[0]))
		return 0;
	for (size_t i = 1; i < n; i++)
		if (d->v[way[i - 1]].up != way[i])
			return 0;
	return 1;
}

static void
model_merge(struct mdoc *d, const int *way, size_t n)
{
	if (model_is_history(d, way, n))
		return;
	for (size_t i = 0; i < n; i++) {
		struct mrev *v = &d->v[way[i]];

		if (!v->in) {
			v->in = 1;
			v->body = v->base = 0;
			v->up = -1;
			d->changed = 1;
		}
		if (i == 0 && !v->body)
			v->body = d->changed = 1;
		if (i > 0 && d->v[way[i - 1]].up < 0) {
			d->v[way[i - 1]].up = way[i];
			d->changed = 1;
		}
	}
}

static void
model_forget(struct mdoc *d, int i)
{
	d->v[i].in = d->v[i].body = d->v[i].base = 0;
	d->v[i].up = -1;
}

/* model_stem: What stays is the union of the leaves' newest generations, with the links within these. */
static void
model_stem(struct mdoc *d)
{
	char *keep = calloc((size_t)d->n + 1, 1);

	count_kids(d);
	for (int i = 0; i < d->n; i++) {
		int at = i;

		for (uint64_t g = 0; is_leaf(d, i) && at >= 0 && g < m.revs_limit; g++, at = d->v[at].up)
			keep[at] |= g + 1 < m.revs_limit ? 3 : 1;
	}
	for (int i = 0; i < d->n; i++)
		if (!(keep[i] & 2))
			d->v[i].up = -1;
	for (int i = 0; i < d->n; i++)
		if (!keep[i])
			model_forget(d, i);
	free(keep);
}

/* model_trim: What compaction makes of the bodies. */
static void
model_trim(struct mdoc *d)
{
	int *live = calloc((size_t)d->n + 1, sizeof(*live)); /* children from which a live leaf descends */
	char *want = calloc((size_t)d->n + 1, 1);

	model_stem(d);
	count_kids(d);
	for (int i = 0; i < d->n; i++) {
		uint64_t n = 0;

		if (!is_leaf(d, i) || d->v[i].deleted)
			continue;
		for (int at = d->v[i].up; at >= 0 && live[at]++ == 0;)
			at = d->v[at].up;
		for (int at = d->v[i].up; at >= 0 && n < m.keep; at = d->v[at].up)
			if (d->v[at].body || d->v[at].base) {
				want[at] = 1;
				n++;
			}
	}
	for (int i = 0; i < d->n; i++) {
		struct mrev *v = &d->v[i];

		if (is_leaf(d, i))
			continue;
		v->base = (v->base || v->body) && (want[i] || live[i] > 1);
		v->body = 0;
	}
	free(live);
	free(want);
}

static int
model_purge(struct mdoc *d, int i)
{
	int was;

	count_kids(d);
	if (!is_leaf(d, i))
		return 0;
	for (; i >= 0 && d->v[i].kids == 0; i = was) {
		was = d->v[i].up;
		model_forget(d, i);
		count_kids(d);
	}
	return d->changed = 1;
}

/* ---- Making writes ---- */

static const char *
body_of(unsigned n)
{
	static char text[4000];
	int len = snprintf(text, sizeof(text), "{\"n\":%u,\"pad\":\"", n);

	for (unsigned i = 0; i < (n % 7 == 3 ? 3000u : n % 7); i++)
		text[len++] = (char)('a' + (n * 31 + i * i * 7) % 26);
	snprintf(text + len, sizeof(text) - (size_t)len, "\"}");
	return text;
}

static void
flushed(void *cookie, int err)
{
	struct dbtest_wait *w = cookie;

	w->err = err;
	dbtest_wake(w);
}

static int
flush(struct db_blob *b)
{
	struct dbtest_wait w;

	dbtest_wait_init(&w);
	db_blob_flush(b, flushed, &w);
	dbtest_wait_for(&w);
	return w.err;
}

/*
 * fail_next: The next commit fails. What is queued comes before it: the removal of an upload that nothing took is not tried again
 * until the database is next opened.
 */
static void
fail_next(void)
{
	struct db_write w = {.kind = DB_WRITE_LOCAL, .id = {"_local/none", 11}, .deleted = 1, .body = {"{}", 2}};
	struct db_request req = {.writes = &w, .nwrites = 1};

	CHECK_INT(dbtest_submit(db, &req), 0);
	store_mem_fail(store, 1, dice(2) != 0 ? ERR_NOSPACE : ERR_IN_DOUBT, (int)dice(2));
}

/* blob_of: The bytes number ${c}; now and then a flush of them fails and is made again. */
static struct db_blob *
blob_of(int c)
{
	struct db_blob *b;
	size_t half = dice(2) != 0 ? content_len[c] / 2 : content_len[c];

	CHECK_INT(db_blob_new(db, c % 2 != 0 ? DB_BLOB_COMPRESS : DB_BLOB_PLAIN, &b), 0);
	CHECK_INT(db_blob_add(b, content[c], half), 0);
	if (dice(2) != 0) {
		if (faulty && dice(3) == 0) {
			fail_next();
			(void)flush(b);
			store_mem_fail(store, 0, 0, 0);
		}
		CHECK_INT(flush(b), 0);
	}
	CHECK_INT(db_blob_add(b, content[c] + half, content_len[c] - half), 0);
	CHECK_INT(db_blob_end(b), 0);
	return b;
}

/* add_atts: The attachments of a write; stubs, often, where ${from} (-1: none) has the same bytes of that name. */
static void
add_atts(struct trial *t, int from)
{
	static const char *const names[NATTS] = {"a.txt", "b.bin"};

	for (int i = 0; i < NATTS; i++) {
		struct db_write_att *a = &t->atts[t->w.natts];
		const struct mrev *v = from >= 0 ? &t->doc->v[from] : NULL;

		if (t->att[i] < 0)
			continue;
		*a = (struct db_write_att){.name = {names[i], 5}, .type = {"image/png", 9}};
		if (v != NULL && v->body && v->att[i] == t->att[i] && dice(4) != 0)
			; /* a stub */
		else if (i == 1 && t->blobs[0] != NULL && t->att[0] == t->att[1] && dice(2) != 0)
			a->blob = t->blobs[0];
		else
			a->blob = t->blobs[i] = blob_of(t->att[i]);
		t->w.natts++;
	}
	t->w.atts = t->atts;
}

static void
set_body(struct trial *t)
{
	const char *text = body_of(t->n);
	struct doc_in in;
	struct jread j;
	struct errtext why;
	char *copy = arena_dup(arena, text, strlen(text));

	jread_init(&j, copy, strlen(text));
	CHECK_INT(doc_parse(&j, arena, &in, &why), 0);
	t->w.body = in.body;
	t->w.body_etf = in.body_etf;
}

/* bad_stub: Now and then a stub of an attachment that was never there. */
static void
bad_stub(struct trial *t, int conflict)
{
	if (t->w.natts == NATTS || dice(25) != 0)
		return;
	t->atts[t->w.natts++] = (struct db_write_att){.name = {"none", 4}, .type = {"image/png", 9}};
	t->w.atts = t->atts;
	t->want = conflict ? ERR_CONFLICT : ERR_MISSING_STUB;
}

static void
try_edit(struct trial *t)
{
	struct mdoc *d = t->doc;
	int best = winner(d), from, conflict;
	unsigned kind = dice(10);

	t->w.kind = DB_WRITE_EDIT;
	t->parent = kind < 6 ? best : kind == 6 || d->n == 0 ? -1 : (int)dice((unsigned)d->n);
	if (t->parent >= 0) {
		t->w.has_parent = 1;
		t->w.parent = d->v[t->parent].rev;
	}
	t->w.deleted = dice(6) == 0;
	t->n = dice(3) != 0 ? m.next_n++ : dice(3);
	set_body(t);
	from = t->parent >= 0 ? t->parent : best;
	conflict = best >= 0 && (t->parent >= 0 ? !is_leaf(d, t->parent) : !d->v[best].deleted);
	for (int i = 0; i < NATTS; i++) {
		unsigned how = dice(5);

		t->att[i] = how == 0 ? (int)dice(NCONTENTS) : how < 4 && from >= 0 ? d->v[from].att[i] : -1;
	}
	add_atts(t, best >= 0 && is_leaf(d, from) ? from : -1);
	bad_stub(t, conflict);
	for (size_t i = 0; i < t->w.natts; i++)
		if (t->atts[i].blob == NULL && conflict)
			t->want =
			    ERR_CONFLICT; /* stubs are resolved before the queue, whatever is made of the document there */
}

static void
try_replicated(struct trial *t)
{
	struct mdoc *d = t->doc;
	int at = d->n > 0 && dice(5) != 0 ? (int)dice((unsigned)d->n) : -1, from = -1;
	unsigned want = dice(8) != 0 ? 1 + dice(20) : MAXPATH;

	if (at < 0 || !d->v[at].known || dice(3) != 0)
		for (unsigned i = 0; i <= dice(3); i++)
			at = make_up(d, at);
	t->w.kind = DB_WRITE_REPLICATE;
	t->n = d->v[at].n;
	set_body(t);
	t->w.deleted = d->v[at].deleted;
	memcpy(t->att, d->v[at].att, sizeof(t->att));
	for (int i = at; i >= 0 && t->w.npath < want; i = d->v[i].parent) {
		t->way[t->w.npath] = i;
		t->path[t->w.npath++] = rev_of(&d->v[i].rev);
		if (from < 0 && d->v[i].in && d->v[i].body)
			from = i;
	}
	t->w.path = t->path;
	add_atts(t, from);
	bad_stub(t, 0);
}

static void
try_purge(struct trial *t)
{
	struct mdoc *d = t->doc;
	unsigned n = 1 + dice(3);

	t->w.kind = DB_WRITE_PURGE;
	t->w.purged = t->purged;
	for (unsigned i = 0; i < n && d->n > 0; i++) {
		int at = dice(2) != 0 ? winner(d) : (int)dice((unsigned)d->n);

		at = at >= 0 ? at : 0;
		t->way[t->w.npath] = at;
		t->path[t->w.npath++] = rev_of(&d->v[at].rev);
	}
	t->w.path = t->path;
}

static void
try_local(struct trial *t)
{
	struct mlocal *l = &m.locals[dice(NLOCALS)];

	t->local = l;
	t->w.kind = DB_WRITE_LOCAL;
	t->w.id = (struct jstr){l->id, strlen(l->id)};
	t->w.deleted = dice(4) == 0;
	t->n = m.next_n++;
	set_body(t);
	if (l->exists && dice(4) != 0) {
		t->w.has_parent = 1;
		t->w.parent.len =
		    (size_t)snprintf((char *)t->w.parent.id, LIMIT_REV_LEN, "%llu", (unsigned long long)l->number);
	}
}

static void
try_any(struct trial *t)
{
	unsigned kind = dice(20);

	memset(t, 0, sizeof(*t));
	t->doc = &m.docs[dice(NDOCS)];
	if (t->doc->n > (int)NREVS - 200)
		kind = 19;
	t->w.id = (struct jstr){t->doc->id, strlen(t->doc->id)};
	if (kind < 9)
		try_edit(t);
	else if (kind < 17)
		try_replicated(t);
	else if (kind < 18)
		try_purge(t);
	else
		try_local(t);
}

/* ---- Judging them ---- */

static int
judge_edit(struct trial *t)
{
	struct mdoc *d = t->doc;
	int best = winner(d), way[2] = {-1, t->parent};

	if (best >= 0) {
		if (t->parent >= 0 && !is_leaf(d, t->parent))
			return ERR_CONFLICT;
		if (t->parent >= 0 ? d->v[best].deleted && d->v[t->parent].deleted && !t->w.deleted
				   : !d->v[best].deleted)
			return ERR_CONFLICT;
		if (t->parent < 0)
			way[1] = best;
	}
	if (t->w.err)
		return 0;
	way[0] = universe_find(d, &t->w.rev);
	if (way[0] < 0) {
		struct mrev *v = &d->v[way[0] = universe_add(d, &t->w.rev, way[1])];

		v->known = 1;
		v->deleted = t->w.deleted;
		v->n = t->n;
		memcpy(v->att, t->att, sizeof(v->att));
	}
	CHECK_INT(d->v[way[0]].n, t->n);
	model_merge(d, way, way[1] >= 0 ? 2 : 1);
	return 0;
}

static int
judge_local(struct trial *t)
{
	struct mlocal *l = t->local;
	char text[24];

	if (t->w.deleted && !l->exists)
		return ERR_MISSING;
	if (t->w.err)
		return 0;
	l->exists = !t->w.deleted;
	l->number = t->w.deleted ? 0 : t->w.has_parent ? strtoull((const char *)t->w.parent.id, NULL, 10) + 1 : 1;
	l->n = t->n;
	snprintf(text, sizeof(text), "%llu", (unsigned long long)l->number);
	CHECK_MEM((const char *)t->w.rev.id, t->w.rev.len, text, strlen(text));
	return 0;
}

static int
judge(struct trial *t)
{
	size_t n = t->w.npath < m.revs_limit ? t->w.npath : (size_t)m.revs_limit;

	if (t->want)
		return t->want;
	switch (t->w.kind) {
	case DB_WRITE_EDIT:
		return judge_edit(t);
	case DB_WRITE_REPLICATE:
		if (t->w.err == 0)
			model_merge(t->doc, t->way, n);
		return 0;
	case DB_WRITE_PURGE:
		for (size_t i = 0; i < t->w.npath && t->w.err == 0; i++)
			CHECK_INT(t->purged[i], model_purge(t->doc, t->way[i]));
		return 0;
	default:
		return judge_local(t);
	}
}

/* failed: Did the whole transaction? */
static int
failed(const struct trial *t, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (t[i].w.err == ERR_IO || t[i].w.err == ERR_NOSPACE)
			return 1;
	return 0;
}

static void
settle_models(void)
{
	for (int i = 0; i < NDOCS; i++) {
		if (m.docs[i].changed)
			model_stem(&m.docs[i]);
		m.docs[i].changed = 0;
	}
}

/* request: Some writes in one request, which may be made to fail. */
static void
request(size_t n)
{
	static struct trial t[4];
	struct db_write w[4];
	struct db_request req = {.writes = w, .nwrites = n};
	int inject = faulty && dice(12) == 0;

	for (size_t i = 0; i < n; i++)
		try_any(&t[i]);
	for (size_t i = 0; i < n; i++)
		w[i] = t[i].w;
	if (inject)
		fail_next();
	CHECK_INT(dbtest_submit(db, &req), 0);
	if (inject)
		store_mem_fail(store, 0, 0, 0);
	for (size_t i = 0; i < n; i++)
		t[i].w = w[i];
	if (inject && failed(t, n)) {
		for (size_t i = 0; i < n; i++)
			CHECK(t[i].w.err != 0 && t[i].w.seq == 0);
	} else {
		for (size_t i = 0; i < n; i++)
			CHECK_INT(t[i].w.err, judge(&t[i]));
		settle_models();
	}
	for (size_t i = 0; i < n; i++)
		for (int k = 0; k < NATTS; k++)
			db_blob_free(t[i].blobs[k]);
	arena_reset(arena);
}

/* ---- Comparing ---- */

static void
compare_atts(struct db_snap *snap, const struct mrev *v, const struct db_rev *got)
{
	size_t k = 0;

	for (int i = 0; i < NATTS; i++) {
		struct buf b;
		size_t want;

		if (v->att[i] < 0)
			continue;
		if (!CHECK(k < got->natts))
			return;
		want = content_len[v->att[i]];
		CHECK_INT(got->atts[k].length, want);
		buf_init(&b, 1u << 20);
		for (uint64_t chunk = 0; db_att_read(snap, &got->atts[k], chunk, &b) == 0; chunk++)
			;
		CHECK_INT(b.len, got->atts[k].stored_length);
		if (v->att[i] % 2 == 0)
			CHECK(b.len == want && (want == 0 || memcmp(b.data, content[v->att[i]], want) == 0));
		buf_release(&b);
		k++;
	}
	CHECK_INT(got->natts, k);
}

/* compare_base: What those see who merge. */
static void
compare_base(struct db_doc *doc, const struct mrev *v, const struct revnode *node)
{
	struct db_rev got;
	int err = db_doc_base(doc, node, arena, &got);

	if (!CHECK_INT(err, v->body || v->base ? 0 : ERR_MISSING) || err)
		return;
	CHECK_MEM(got.body.s, got.body.len, body_of(v->n), strlen(body_of(v->n)));
	compare_atts(doc->snap, v, &got);
}

static void
compare_rev(struct db_doc *doc, const struct mdoc *d, int i, struct revtree *t)
{
	const struct mrev *v = &d->v[i];
	struct rev r = rev_of(&v->rev), up;
	struct revpos at, parent;
	struct db_rev got;
	int err;

	if (!CHECK(revtree_find(t, &r, &at)))
		return;
	if (CHECK_INT(revtree_parent(t, at, &parent), v->up >= 0) && v->up >= 0) {
		up = rev_of(&d->v[v->up].rev);
		CHECK(rev_equal(&revtree_at(t, parent)->rev, &up));
	}
	CHECK_INT(revtree_is_leaf(t, at), v->kids == 0);
	compare_base(doc, v, revtree_at(t, at));
	err = db_doc_rev(doc, revtree_at(t, at), arena, &got);
	if (!CHECK_INT(err, v->body ? 0 : ERR_MISSING) || err)
		return;
	CHECK_INT(got.node.deleted, v->deleted);
	CHECK_MEM(got.body.s, got.body.len, body_of(v->n), strlen(body_of(v->n)));
	compare_atts(doc->snap, v, &got);
}

static int
count_node(struct revnode *node, struct revpos at, void *cookie)
{
	(void)node;
	(void)at;
	++*(size_t *)cookie;
	return 0;
}

static void
compare_doc(struct db_snap *snap, struct mdoc *d)
{
	int best = winner(d);
	struct db_doc doc;
	struct revtree *t;
	struct rev r;
	size_t in = 0, have = 0;
	int err = db_get(snap, d->id, strlen(d->id), arena, &doc);

	if (!CHECK_INT(err, best >= 0 ? 0 : ERR_MISSING) || err)
		return;
	r = rev_of(&d->v[best].rev);
	CHECK(rev_equal(&doc.winner.rev, &r));
	CHECK_INT(db_doc_tree(&doc, 1, &t), 0);
	for (int i = 0; i < d->n; i++)
		if (d->v[i].in) {
			in++;
			compare_rev(&doc, d, i, t);
		}
	/* Of a spilled block, what was stemmed may come back until the document is next compacted: it hangs below a root. */
	(void)revtree_each(t, count_node, &have);
	CHECK_INT(have, in);
}

static void
compare_changes(struct db_snap *snap)
{
	struct db_scan *scan;
	struct db_change row;
	uint64_t last = 0, seen = 0, pending = 0;
	int err;

	CHECK_INT(db_changes_open(snap, 0, 0, &scan), 0);
	while ((err = db_changes_next(scan, arena, &row)) == 0) {
		struct mdoc *d = NULL;
		size_t leaves = 0;
		int best;

		CHECK(row.seq > last);
		last = row.seq;
		seen++;
		for (int i = 0; i < NDOCS; i++)
			if (row.id.len == strlen(m.docs[i].id) && memcmp(row.id.s, m.docs[i].id, row.id.len) == 0)
				d = &m.docs[i];
		if (!CHECK(d != NULL) || !CHECK((best = winner(d)) >= 0))
			continue;
		for (int i = 0; i < d->n; i++)
			leaves += is_leaf(d, i) != 0;
		CHECK_INT(row.nleaves, leaves);
		CHECK_INT(row.deleted, d->v[best].deleted);
	}
	CHECK_INT(err, ERR_END);
	db_scan_close(scan);
	CHECK_INT(db_changes_pending(snap, 0, &pending), 0);
	CHECK_INT(pending, seen);
}

static void
compare_locals(struct db_snap *snap)
{
	for (int i = 0; i < NLOCALS; i++) {
		struct mlocal *l = &m.locals[i];
		uint64_t number;
		struct jstr body;
		int err = db_local_get(snap, l->id, strlen(l->id), arena, &number, &body);

		if (!CHECK_INT(err, l->exists ? 0 : ERR_MISSING) || err)
			continue;
		CHECK_INT(number, l->number);
		CHECK_MEM(body.s, body.len, body_of(l->n), strlen(body_of(l->n)));
	}
}

/* compare_purges: No more are remembered than there may be, and the last of them is. */
static void
compare_purges(struct db_snap *snap, uint64_t purge_seq)
{
	struct db_scan *scan;
	struct db_purge p = {.seq = 0};
	uint64_t n = 0;
	int err;

	CHECK_INT(db_purges_open(snap, 0, &scan), 0);
	while ((err = db_purges_next(scan, arena, &p)) == 0)
		n++;
	CHECK_INT(err, ERR_END);
	CHECK(n <= m.purged_limit);
	CHECK_INT(p.seq, purge_seq);
	db_scan_close(scan);
}

static void
compare(void)
{
	struct db_snap *snap;
	struct db_info info;
	uint64_t live = 0, dead = 0;

	dbtest_check(db);
	CHECK_INT(db_snap_begin(db, &snap), 0);
	for (int i = 0; i < NDOCS; i++) {
		int best = winner(&m.docs[i]);

		live += best >= 0 && !m.docs[i].v[best].deleted;
		dead += best >= 0 && m.docs[i].v[best].deleted;
		compare_doc(snap, &m.docs[i]);
	}
	compare_changes(snap);
	compare_locals(snap);
	CHECK_INT(db_info(db, &info), 0);
	compare_purges(snap, info.purge_seq);
	db_snap_end(snap);
	CHECK_INT(info.doc_count, live);
	CHECK_INT(info.doc_del_count, dead);
	arena_reset(arena);
}

/* ---- Other steps ---- */

static void
setting(enum db_write_kind kind, uint64_t number)
{
	struct db_write w = {.kind = kind, .number = number};
	struct db_request req = {.writes = &w, .nwrites = 1};

	CHECK_INT(dbtest_submit(db, &req), 0);
	CHECK_INT(w.err, 0);
}

/* keep: By number or by age; younger than the setting is everything that was there when it was made. */
static void
keep(void)
{
	struct db_write w = {.kind = DB_WRITE_HISTORY_KEPT, .number = dice(5), .seconds = dice(4) == 0 ? 1000000 : 0};
	struct db_request req = {.writes = &w, .nwrites = 1};

	CHECK_INT(dbtest_submit(db, &req), 0);
	CHECK_INT(w.err, 0);
	m.keep = w.seconds > 0 ? UINT64_MAX : w.number;
}

static uint64_t
commits(void)
{
	uint64_t n;

	(void)pthread_mutex_lock(&db->file->lock);
	n = db->file->state.commits;
	(void)pthread_mutex_unlock(&db->file->lock);
	return n;
}

/* compact: All documents are trimmed in one transaction; if that fails, the compaction ends and nothing has changed. */
static void
compact(void)
{
	int inject = faulty && dice(3) == 0;
	struct db_info info;
	uint64_t before;

	if (inject)
		fail_next();
	before = commits();
	CHECK_INT(db_compact(db), 0);
	do {
		usleep(200);
		CHECK_INT(db_info(db, &info), 0);
	} while (info.compact_running);
	if (inject)
		store_mem_fail(store, 0, 0, 0);
	for (int i = 0; i < NDOCS && (!inject || commits() > before); i++)
		model_trim(&m.docs[i]);
}

/* burst: A long history, so that some of it is spilled. */
static void
burst(void)
{
	struct mdoc *d = &m.docs[dice(2)];

	for (int i = 0; i < 60 && d->n < (int)NREVS - 200; i++) {
		static struct trial t;
		struct db_request req = {.writes = &t.w, .nwrites = 1};

		memset(&t, 0, sizeof(t));
		t.doc = d;
		t.w.id = (struct jstr){d->id, strlen(d->id)};
		t.w.kind = DB_WRITE_EDIT;
		t.parent = winner(d);
		if (t.parent >= 0) {
			t.w.has_parent = 1;
			t.w.parent = d->v[t.parent].rev;
			t.w.deleted = d->v[t.parent].deleted;
		}
		t.n = m.next_n++;
		memset(t.att, -1, sizeof(t.att));
		set_body(&t);
		CHECK_INT(dbtest_submit(db, &req), 0);
		CHECK_INT(t.w.err, judge(&t));
		settle_models();
	}
	arena_reset(arena);
}

static void
reopen(const char *dir)
{
	db_close(db);
	dbs_free(set);
	CHECK_INT(store_lmdb_new(dir, &store), 0);
	set = dbtest_dbs(store);
	db = dbtest_open(set, "model");
}

static void
step(const char *dir)
{
	static const unsigned limits[] = {1, 3, 10, 40, 100, 1000};
	unsigned kind = dice(60);

	if (kind == 0) {
		m.revs_limit = limits[dice(6)];
		setting(DB_WRITE_REVS_LIMIT, m.revs_limit);
	} else if (kind == 1) {
		m.purged_limit = 1 + dice(10);
		setting(DB_WRITE_PURGED_LIMIT, m.purged_limit);
	} else if (kind == 2) {
		compact();
	} else if (kind == 3) {
		burst();
	} else if (kind == 4 && dir != NULL) {
		reopen(dir);
	} else if (kind == 5) {
		keep();
	} else {
		request(1 + dice(4));
	}
}

static void
name_it(char *id, const char *prefix, int i)
{
	size_t len = (size_t)snprintf(id, LONG_ID + 1, "%s%d", prefix, i);

	if (i % 3 == 2) /* several ids that share more than a key's length */
		while (len < LONG_ID - 1)
			id[len - 1 + (len % 2 == 0)] = 'x', len++;
	if (i % 3 == 2)
		snprintf(id + 600, 16, "-%d", i);
}

static void
model_init(void)
{
	memset(&m, 0, sizeof(m));
	m.revs_limit = LIMIT_REVS_LIMIT;
	m.purged_limit = LIMIT_PURGES;
	m.next_n = 10;
	for (int i = 0; i < NDOCS; i++) {
		name_it(m.docs[i].id, "doc", i);
		m.docs[i].v = calloc(NREVS + 1, sizeof(struct mrev));
	}
	for (int i = 0; i < NLOCALS; i++)
		name_it(m.locals[i].id, "_local/", i);
}

/* purge_all: When every document is purged, and every _local one deleted, the trees are empty: nothing was left behind. */
static void
purge_all(void)
{
	static const unsigned trees[] = {TREE_DOCS, TREE_DOCS_DEEP, TREE_REVS, TREE_CHANGES, TREE_BODIES, TREE_BLOBS,
	    TREE_DIGESTS, TREE_LOCAL, TREE_LOCAL_DEEP};
	struct store_snap *snap;
	uint64_t n;
	int at;

	for (int i = 0; i < NDOCS; i++)
		while ((at = winner(&m.docs[i])) >= 0) {
			struct rev r = rev_of(&m.docs[i].v[at].rev);
			unsigned char purged = 0;
			struct db_write w = {.kind = DB_WRITE_PURGE,
			    .id = {m.docs[i].id, strlen(m.docs[i].id)},
			    .path = &r,
			    .npath = 1,
			    .purged = &purged};
			struct db_request req = {.writes = &w, .nwrites = 1};

			CHECK_INT(dbtest_submit(db, &req), 0);
			CHECK_INT(w.err, 0);
			(void)model_purge(&m.docs[i], at);
			settle_models();
		}
	for (int i = 0; i < NLOCALS; i++) {
		struct db_write w = {.kind = DB_WRITE_LOCAL,
		    .id = {m.locals[i].id, strlen(m.locals[i].id)},
		    .deleted = 1,
		    .body = {"{}", 2}};
		struct db_request req = {.writes = &w, .nwrites = 1};

		CHECK_INT(dbtest_submit(db, &req), 0);
		CHECK_INT(w.err, m.locals[i].exists ? 0 : ERR_MISSING);
	}
	dbtest_check(db);
	CHECK_INT(store_snap_begin(db->file->store, &snap), 0);
	for (size_t i = 0; i < sizeof(trees) / sizeof(*trees); i++) {
		CHECK_INT(store_count(snap, trees[i], &n), 0);
		if (!CHECK_INT(n, 0))
			fprintf(stderr, "tree %s\n", db_tree_names[trees[i]]);
	}
	store_snap_end(snap);
}

/* run: One seed.  ${dir}: of an LMDB store, which can be reopened; NULL: a store in memory, whose commits can fail. */
static void
run(unsigned seed, unsigned steps, const char *dir)
{
	unsigned before = check_failed_;

	rng = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
	faulty = dir == NULL;
	model_init();
	CHECK_INT(dir != NULL ? store_lmdb_new(dir, &store) : store_mem_new(&store), 0);
	set = dbtest_dbs(store);
	CHECK_INT(dbs_create(set, "model", NULL, &dbtest_admin, NULL), 0);
	db = dbtest_open(set, "model");
	for (unsigned i = 0; i < steps && check_failed_ == before; i++) {
		step(dir);
		if (i % 50 == 49)
			compare();
	}
	compare();
	if (check_failed_ == before)
		purge_all();
	if (check_failed_ != before)
		fprintf(stderr, "seed %u (%s)\n", seed, dir != NULL ? "lmdb" : "memory");
	db_close(db);
	CHECK_INT(dbs_drop(set, "model", &dbtest_admin), 0);
	dbs_free(set);
	for (int i = 0; i < NDOCS; i++)
		free(m.docs[i].v);
}

int
main(int argc, char **argv)
{
	unsigned seeds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 3;
	unsigned first = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 1;
	char dir[] = "/tmp/divan-test-model-XXXXXX", command[64];

	CHECK(mkdtemp(dir) != NULL);
	CHECK_INT(exec_threads_new(2, &dbtest_threads), 0);
	CHECK_INT(arena_new(1u << 28, &arena), 0);
	for (int c = 0; c < NCONTENTS; c++) {
		content[c] = malloc(content_len[c] + 1);
		for (size_t i = 0; i < content_len[c]; i++)
			content[c][i] = (char)((i * i >> 5) + (size_t)c * 7);
	}
	for (unsigned s = first; s < first + seeds && check_failed_ == 0; s++) {
		run(s, 400, NULL);
		if (s % 3 == 0)
			run(s, 150, dir);
	}
	for (int c = 0; c < NCONTENTS; c++)
		free(content[c]);
	arena_free(arena);
	exec_threads_free(dbtest_threads);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	CHECK_INT(system(command), 0);
	return check_done();
}
