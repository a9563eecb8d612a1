/*
 * When a database gets a dictionary, and when another.
 *
 *   first     once it has MIN_DOCS documents: trained beside the writers, in force from then on
 *   renewed   at the start of a compaction: if one trained on the documents of today serves clearly better
 *   dropped   at the end of a compaction, when no body needs it any longer
 *
 * Samples are taken at even distances over all documents by id, so that each kind of document has its share however the
 * ids sort.  A quarter of them is kept out of the training; on these a new dictionary is measured against the present one.
 *
 * 1. A body is stored only with a dictionary that is in the file: the dictionary is committed before it is published,
 *    and what a writer packed with one that was dropped meanwhile is packed anew (dict_refresh()).
 * 2. A dictionary is dropped by the transaction that ends a compaction which saw every document, and only if no body
 *    that the compaction left, or that was written since it began, needs it or an older one.  _local documents use none.
 *    (In a file that began as version 1 they may use the first, which stays.)
 * 3. What is in memory stays until the file is closed, for readers of older snapshots.
 */
#include "dbi.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#define MIN_DOCS 1000u
#define SAMPLES 2000u
#define SAMPLE_MAX 4096u /* bytes of one sample */
#define HELD_OUT 4u      /* each n-th sample is for measuring */
#define PASSES 8u
#define SHARE 128u /* a dictionary has at most this part of the bodies */

static void
dict_key(uint64_t number, char *out, size_t size)
{
	(void)snprintf(out, size, "dict/%08llx", (unsigned long long)number);
}

/* ---- Training ---- */

struct samples {
	struct buf texts; /* one behind the other */
	size_t sizes[SAMPLES];
	unsigned n;
	uint64_t docs; /* of which these are samples */
	size_t max;    /* bytes of a dictionary */
};

/* sample_one: The text of the live document that has ${skip} others before it. */
static int
sample_one(struct db_snap *snap, uint64_t skip, struct arena *a, struct samples *s)
{
	const struct db_range range = {.skip = skip};
	struct db_scan *scan;
	struct db_doc doc;
	struct db_rev rev;
	int err = db_docs_open(snap, &range, &scan);

	if (err)
		return err;
	if ((err = db_docs_next(scan, a, &doc)) == 0 && (err = db_doc_rev(&doc, &doc.winner, a, &rev)) == 0) {
		s->sizes[s->n] = rev.body.len < SAMPLE_MAX ? rev.body.len : SAMPLE_MAX;
		if ((err = buf_put(&s->texts, rev.body.s, s->sizes[s->n])) == 0)
			s->n++;
	}
	db_scan_close(scan);
	arena_reset(a);
	return err == ERR_CORRUPT ? 0 : err; /* what is damaged is no sample */
}

static int
sample(struct dbfile *f, struct samples *s)
{
	const struct principal server = {.server_admin = 1};
	struct db db = {f, {&server, 1, f->name}, f->security_stamp};
	struct db_snap *snap;
	struct arena *a;
	uint64_t want;
	int err = arena_new(LIMIT_TXN_BYTES, &a);

	if (err)
		return err;
	if ((err = db_snap_begin(&db, &snap)) == 0) {
		err = db_docs_before(snap, NULL, 0, &s->docs);
		want = s->docs < SAMPLES ? s->docs : SAMPLES;
		/* zstd learns from the first three quarters alone: each pass goes over all ids. */
		for (uint64_t pass = 0; pass < PASSES; pass++)
			for (uint64_t i = pass; i < want && err == 0; i += PASSES)
				err = sample_one(snap, i * s->docs / want, a, s);
		db_snap_end(snap);
	}
	arena_free(a);
	return err == ERR_END ? 0 : err;
}

/* part: Gather the samples that are for training, or those that are not, into ${b} and ${sizes}. */
static int
part(const struct samples *s, int held_out, struct buf *b, size_t *sizes, unsigned *np)
{
	size_t at = 0;
	int err = 0;

	*np = 0;
	for (unsigned i = 0; i < s->n && err == 0; at += s->sizes[i++])
		if ((i % HELD_OUT == HELD_OUT - 1) == held_out) {
			sizes[(*np)++] = s->sizes[i];
			err = buf_put(b, s->texts.data + at, s->sizes[i]);
		}
	return err;
}

/* packed_bytes: What ${n} texts take, packed as compaction does it. */
static int
packed_bytes(struct body_dicts *z, const char *texts, const size_t *sizes, unsigned n, uint64_t *sump)
{
	struct buf b;
	int err = 0;

	buf_init(&b, 4u * SAMPLE_MAX);
	*sump = 0;
	for (unsigned i = 0; i < n && err == 0; texts += sizes[i++]) {
		buf_clear(&b);
		err = body_pack_tight(z, texts, sizes[i], &b);
		*sump += b.len;
	}
	buf_release(&b);
	return err;
}

/*
 * better: Would the database be smaller by at least a thirty-second with ${dict} than with the dictionary that it has?
 * The dictionaries' own bytes count.
 */
static int
better(struct dbfile *f, const struct samples *s, const struct buf *dict, int *yesp)
{
	struct body_dicts *z = NULL;
	size_t sizes[SAMPLES / HELD_OUT + 1];
	uint64_t old = 0, new = 0;
	struct buf texts;
	unsigned n;
	int err;

	*yesp = 0;
	buf_init(&texts, (size_t)SAMPLES * SAMPLE_MAX);
	if ((err = part(s, 1, &texts, sizes, &n)) == 0 && n > 0 && (err = body_dicts_new(&z)) == 0 &&
	    (err = body_dicts_add(z, 1, dict->data, dict->len)) == 0 &&
	    (err = packed_bytes(f->dicts, texts.data, sizes, n, &old)) == 0 &&
	    (err = packed_bytes(z, texts.data, sizes, n, &new)) == 0) {
		old = old * s->docs / n + body_dicts_current_len(f->dicts);
		new = new * s->docs / n + dict->len;
		*yesp = new < old - old / 32;
	}
	body_dicts_free(z);
	buf_release(&texts);
	return err;
}

static int
train(const struct samples *s, struct buf *out)
{
	size_t *sizes = calloc(SAMPLES, sizeof(*sizes));
	struct buf texts;
	unsigned n;
	int err = ERR_NOMEM;

	buf_init(&texts, (size_t)SAMPLES * SAMPLE_MAX);
	if (sizes != NULL && (err = part(s, 0, &texts, sizes, &n)) == 0)
		err = n > 0 ? body_dict_train(texts.data, sizes, n, s->max, out) : ERR_MISSING;
	buf_release(&texts);
	free(sizes);
	return err;
}

static void
dict_done(struct dbwork *w)
{
	struct dictwork *d = OUTER_OF(w, struct dictwork, work);
	struct dbfile *f = d->f;
	void (*then)(void *) = d->then;
	void *cookie = d->cookie;

	buf_release(&d->bytes);
	free(d);
	if (then != NULL)
		then(cookie);
	dbs_file_unref(f);
}

static void
dict_job(void *arg)
{
	struct dictwork *d = arg;
	struct samples *s = calloc(1, sizeof(*s));
	int err = ERR_NOMEM, wanted = 1;

	if (s != NULL) {
		buf_init(&s->texts, (size_t)SAMPLES * SAMPLE_MAX);
		s->max = d->max;
		if ((err = sample(d->f, s)) == 0 && (err = train(s, &d->bytes)) == 0 && d->number > 1)
			err = better(d->f, s, &d->bytes, &wanted);
		buf_release(&s->texts);
		free(s);
	}
	d->work.bytes = d->bytes.len;
	if (err == 0 && wanted)
		err = commit_queue(d->f, &d->work);
	if (err || !wanted)
		dict_done(&d->work);
}

/* start: Train, off the committer.  ERR_NOMEM: nothing is started. */
static int
start(struct dbfile *f, uint64_t external_bytes, void (*then)(void *cookie), void *cookie)
{
	struct dictwork *d = calloc(1, sizeof(*d));
	uint64_t share = external_bytes / SHARE;

	if (d == NULL)
		return ERR_NOMEM;
	d->f = f;
	d->number = body_dicts_current(f->dicts) + 1;
	d->max = share < BODY_DICT_LEN ? BODY_DICT_LEN : share > BODY_DICT_LEN_MAX ? BODY_DICT_LEN_MAX : (size_t)share;
	d->then = then;
	d->cookie = cookie;
	d->work.kind = WORK_DICT;
	d->work.done = dict_done;
	buf_init(&d->bytes, 2u * BODY_DICT_LEN_MAX);
	d->job = (struct exec_job){.fn = dict_job, .arg = d};
	dbs_file_ref(f);
	f->dbs->config.ex->submit(f->dbs->config.ex, &d->job);
	return 0;
}

void
dict_consider(struct dbfile *f)
{
	if (f->dict_wanted || f->state.doc_count < MIN_DOCS || body_dicts_current(f->dicts) != 0)
		return;
	/* Once an opening: if the documents have nothing in common, not again. */
	f->dict_wanted = start(f, f->state.external_bytes, NULL, NULL) == 0;
}

int
dict_renew(struct dbfile *f, void (*then)(void *cookie), void *cookie)
{
	struct dbstate state;

	(void)pthread_mutex_lock(&f->lock);
	state = f->state;
	(void)pthread_mutex_unlock(&f->lock);
	return state.doc_count >= MIN_DOCS && start(f, state.external_bytes, then, cookie) == 0;
}

/* ---- In the committer ---- */

int
dict_commit(struct commit *c, struct dictwork *d)
{
	struct bytes r;
	char key[32];
	int err;

	dict_key(d->number, key, sizeof(key));
	/* Two may have been trained at once: the first stays. */
	if (c->dict_put || (err = meta_find(c->snap, key, &r)) == 0) {
		buf_clear(&d->bytes);
		return 0;
	}
	/* Bodies may need one that cannot be read now. */
	if (err != ERR_MISSING)
		return err;
	c->dict_put = 1;
	c->touched = 1;
	return meta_put(c->batch, key, d->bytes.data, d->bytes.len);
}

void
dict_publish(struct dbfile *f, const struct dictwork *d)
{
	if (d->bytes.len > 0 && body_dicts_add(f->dicts, d->number, d->bytes.data, d->bytes.len) != 0)
		log_line(LOG_WARNING, "database %s: its dictionary is in use from the next opening", f->name);
}

int
dict_refresh(struct commit *c, struct jstr *body)
{
	struct dbfile *f = c->f;
	struct bytes r;
	struct jstr text;
	struct buf b;
	uint64_t number;
	int err;

	bytes_init(&r, body->s, body->len);
	number = body_dict_of(&r);
	if (number == 0 || number >= f->dict_first) {
		dict_used(f, number);
		return 0;
	}
	buf_init(&b, LIMIT_TXN_BYTES);
	if ((err = body_unpack(f->dicts, &r, c->doc_a, &text)) == 0 &&
	    (err = body_pack(f->dicts, text.s, text.len, &b)) == 0) {
		*body = (struct jstr){arena_dup(c->doc_a, b.data, b.len), b.len};
		err = body->s != NULL ? 0 : ERR_NOMEM;
	}
	buf_release(&b);
	return err;
}

void
dict_used(struct dbfile *f, uint64_t number)
{
	if (number != 0 && number < f->dict_low)
		f->dict_low = number;
}

void
dict_pass_begin(struct dbfile *f, int thorough)
{
	f->pack_all = thorough;
	f->dict_low = body_dicts_current(f->dicts);
}

int
dict_pass_end(struct commit *c)
{
	struct dbfile *f = c->f;
	uint64_t number = c->state.counted_from > REVTREE_BODY_FIRST ? 2 : 1;
	char key[32];
	struct bytes r;
	int err = 0;

	body_dicts_rest(f->dicts);
	for (number = number > f->dict_first ? number : f->dict_first; number < f->dict_low && err == 0; number++) {
		dict_key(number, key, sizeof(key));
		if ((err = meta_find(c->snap, key, &r)) == 0) {
			c->touched = 1;
			err = store_del(c->batch, TREE_META, key, strlen(key));
		}
		if (err == ERR_MISSING)
			err = 0;
	}
	if (err == 0)
		f->dict_first = number;
	return err;
}
