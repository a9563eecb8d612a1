/*
 * A request's way: from its writer by way of rules and validators to the committer, and its outcome back.
 *
 *   db_submit --> prepare --------------------------------------> queue --> commit --> answer --> done
 *          \                                                        ^                    |
 *           `--> hear_first: prepare with rules --> hear_ask: ask --+                    | a verdict did not hold
 *                                                                   |                    v
 *                                                                    `------------- hear_again: ask
 *
 * 1. Nobody is asked in the thread of the writer or of the committer: who is asked may take long.
 * 2. A write whose verdict does not hold when it is to be made is not made, and goes round once more; the others of its
 *    request are made meanwhile and keep their outcome, unless all are to be made together.
 * 3. What waits on any of these ways counts against LIMIT_QUEUE_BYTES when a request comes, and never later: what was
 *    once taken is answered.
 */
#include "dbi.h"

#define PREPARED_AT_ONCE 16u

int
submit_is_open(const struct db_write *w)
{
	const struct prepared *p = w->prepared;

	return w->err == 0 && !p->settled;
}

/* ---- Back from the committer ---- */

/* fail_together: The writes of a conditional request are all made, or none. */
static void
fail_together(struct db_request *req)
{
	size_t bad = 0;

	if (req->leaves == NULL)
		return;
	while (bad < req->nwrites && req->writes[bad].err == 0)
		bad++;
	for (size_t i = 0; i < req->nwrites && bad < req->nwrites; i++)
		if (req->writes[i].err == 0) {
			req->writes[i].err = req->writes[bad].err;
			req->writes[i].why = req->writes[bad].why;
		}
}

/* settle: Outcomes for the writes that the transaction was about.  Result: how many are to be asked about again. */
static size_t
settle(struct reqwork *r, int err)
{
	size_t again = 0;

	for (size_t i = 0; i < r->n; i++) {
		struct db_write *w = &r->writes[i];
		struct prepared *p = w->prepared;

		if (p != NULL && p->settled)
			continue;
		if (p != NULL && p->again && err == 0 && w->err == 0) {
			again++;
			continue;
		}
		if (err) {
			w->err = w->err ? w->err : err;
			w->seq = 0;
		}
		if (p != NULL)
			p->settled = 1;
	}
	return again;
}

static void answer(struct dbwork *work);

/* hearing_ended: So much waits for rules and validators no longer. */
static void
hearing_ended(struct dbfile *f, size_t bytes)
{
	(void)pthread_mutex_lock(&f->lock);
	f->heard_bytes -= bytes;
	(void)pthread_mutex_unlock(&f->lock);
}

/* hear_again: Of the executor: ask about the writes whose verdicts did not hold, and queue them anew. */
static void
hear_again(void *arg)
{
	struct reqwork *r = arg;
	struct dbwork *w = &r->work;
	int err;

	arena_reset(r->arena);
	(void)hear_writes(r->req->db, r->writes, r->n, 1, 1, r->arena);
	fail_together(r->req);
	hearing_ended(r->req->db->file, w->bytes);
	w->next = NULL;
	/* Once it is queued it may be over and gone at any moment. */
	if ((err = commit_queue_chain(r->req->db->file, w, w, w->bytes, 1)) != 0) {
		w->err = err;
		answer(w);
	}
}

/*
 * send_back: Whoever wrote in between got ahead, so this ends; it is bounded all the same.  The request's arena is not for
 * this: other parts of it may be on their way at the same time.
 */
static int
send_back(struct reqwork *r)
{
	struct dbfile *f = r->req->db->file;

	if (r->hearings++ >= LIMIT_HEARINGS)
		return ERR_BUSY;
	if (r->arena == NULL && arena_new(r->n * 2 * LIMIT_REV_LEN + 4096, &r->arena) != 0)
		return ERR_NOMEM;
	(void)pthread_mutex_lock(&f->lock);
	f->heard_bytes += r->work.bytes;
	(void)pthread_mutex_unlock(&f->lock);
	r->job = (struct exec_job){.fn = hear_again, .arg = r, .lane = exec_lane(f->name)};
	f->dbs->config.slow->submit(f->dbs->config.slow, &r->job);
	return 0;
}

/* last_part: Parts may end on several threads at a time. */
static int
last_part(struct db_request *req)
{
	struct dbfile *f = req->db->file;
	int last;

	(void)pthread_mutex_lock(&f->lock);
	last = --req->parts == 0;
	(void)pthread_mutex_unlock(&f->lock);
	return last;
}

static void
answer(struct dbwork *work)
{
	struct reqwork *r = OUTER_OF(work, struct reqwork, work);
	struct db_request *req = r->req;
	struct arena *arena = req->arena;
	int err;

	if (settle(r, work->err) > 0) {
		if ((err = send_back(r)) == 0)
			return;
		(void)settle(r, err);
	}
	for (size_t i = 0; i < r->n; i++)
		r->writes[i].prepared = NULL;
	arena_free(r->arena);
	if (!last_part(req))
		return;
	req->done(req); /* the request is the caller's again */
	arena_free(arena);
}

/* ---- On the way to it ---- */

/* About what a revision of a path takes where it is kept. */
#define PATH_REV_BYTES 32u

static size_t
write_bytes(const struct db_write *w)
{
	size_t n = 256 + w->id.len + w->body.len + w->npath * PATH_REV_BYTES;

	for (size_t k = 0; k < w->natts; k++) {
		n += 128 + w->atts[k].name.len + w->atts[k].type.len;
		n += w->atts[k].blob != NULL ? w->atts[k].blob->pending.len : 0;
	}
	return n;
}

/*
 * part_of: How many of the writes from ${from} on go into one transaction. A conditional request is not
 * divided.
 */
static size_t
part_of(const struct db_request *req, size_t from, size_t *bytesp)
{
	size_t n = 0;

	for (*bytesp = 0; from + n < req->nwrites; n++) {
		size_t more = write_bytes(&req->writes[from + n]);

		if (n > 0 && *bytesp + more > LIMIT_TXN_BYTES && req->leaves == NULL)
			break;
		*bytesp += more;
	}
	return n;
}

static int
queue_request(struct db *db, struct db_request *req, int heard)
{
	struct reqwork *r, *first = NULL, *last = NULL;
	size_t from = 0;

	req->parts = 0;
	do {
		if ((r = arena_calloc(req->arena, 1, sizeof(*r))) == NULL)
			return ERR_NOMEM;
		r->work = (struct dbwork){.kind = WORK_REQUEST, .done = answer};
		r->req = req;
		r->writes = req->writes + from;
		r->n = part_of(req, from, &r->work.bytes);
		from += r->n;
		if (last != NULL)
			last->work.next = &r->work;
		else
			first = r;
		last = r;
		req->parts++;
	} while (from < req->nwrites);
	return commit_queue_chain(db->file, &first->work, &last->work, req->bytes, heard);
}

static void
prepare_some(struct db *db, const struct db_asker *by, struct db_request *req, size_t from, size_t end)
{
	struct buf scratch;

	buf_init(&scratch, SIZE_MAX);
	for (size_t i = from; i < end; i++)
		prepare_write(db, by, &req->writes[i], req->arena, &scratch);
	buf_release(&scratch);
}

/* prepare_all: ${idle}: nobody is to be asked, and the file is as it was at ${designs}. */
static void
prepare_all(struct db *db, const struct db_asker *by, struct db_request *req, int idle, uint64_t designs)
{
	prepare_some(db, by, req, 0, req->nwrites);
	for (size_t i = 0; idle && i < req->nwrites; i++) {
		struct prepared *p = req->writes[i].prepared;

		if (p != NULL && req->writes[i].kind != DB_WRITE_PURGE && !doc_id_is_design(req->writes[i].id))
			p->heard = (struct heard){.how = HEARD_IDLE, .designs = designs};
	}
}

/* A request that rules or validators are asked about first. */
struct hearjob {
	struct exec_job job;
	struct db *db;
	struct db_request *req;
	struct db_asker by;
	size_t at; /* what is before it is prepared */
};

static void
hear_end(struct hearjob *h, int err)
{
	struct db_request *req = h->req;
	struct arena *arena = req->arena;

	hearing_ended(h->db->file, req->bytes);
	if (err == 0 && (err = queue_request(h->db, req, 1)) == 0)
		return;
	for (size_t i = 0; i < req->nwrites; i++) {
		req->writes[i].err = err;
		req->writes[i].prepared = NULL;
	}
	req->done(req);
	arena_free(arena);
}

/* hear_ask: Of the executor for what is slow. */
static void
hear_ask(void *arg)
{
	struct hearjob *h = arg;
	struct db_request *req = h->req;

	hear_designs(h->db, req->writes, req->nwrites);
	(void)hear_writes(h->db, req->writes, req->nwrites, 0, 1, req->arena);
	fail_together(req);
	hear_end(h, 0);
}

/* hear_quickly: Only rules are asked, if that does; else the request stands in line with all that waits for scripts. */
static void
hear_quickly(struct hearjob *h)
{
	const struct dbs_config *c = &h->db->file->dbs->config;
	struct db_request *req = h->req;

	if (hear_checks_designs(h->db, req) ||
	    hear_writes(h->db, req->writes, req->nwrites, 0, 0, req->arena) == ERR_AGAIN) {
		h->job.fn = hear_ask;
		h->job.lane = exec_lane(h->db->file->name);
		c->slow->submit(c->slow, &h->job);
		return;
	}
	fail_together(req);
	hear_end(h, 0);
}

/* rules_first: A rule that may be slow is asked before the others, on the executor for those. */
static int
rules_first(const struct dbfile *f)
{
	return f->rules != NULL && f->rules->before_write != NULL;
}

/*
 * hear_first: A rule may take a good part of a second for each write; so that one request of many does not keep the others
 * waiting until it is over, they take turns.
 */
static void
hear_first(void *arg)
{
	struct hearjob *h = arg;
	struct db_request *req = h->req;
	const struct dbs_config *c = &h->db->file->dbs->config;
	size_t end = rules_first(h->db->file) ? h->at + PREPARED_AT_ONCE : req->nwrites;
	int err = h->at == 0 ? access_now(h->db, &h->by) : 0;

	if (err) {
		hear_end(h, err);
		return;
	}
	end = end < req->nwrites ? end : req->nwrites;
	prepare_some(h->db, &h->by, req, h->at, end);
	h->at = end;
	if (end < req->nwrites)
		c->preparer->submit(c->preparer, &h->job);
	else
		hear_quickly(h);
}

static int
hear_submit(struct db *db, struct db_request *req)
{
	struct dbfile *f = db->file;
	const struct dbs_config *c = &f->dbs->config;
	struct executor *ex = rules_first(f) ? c->preparer : c->ex;
	struct hearjob *h = arena_calloc(req->arena, 1, sizeof(*h));
	int err;

	if (h == NULL)
		return ERR_NOMEM;
	*h = (struct hearjob){.job = {.fn = hear_first, .arg = h}, .db = db, .req = req};
	(void)pthread_mutex_lock(&f->lock);
	err = f->dropped ? ERR_NO_DB : commit_queue_full(f, req->bytes) ? ERR_BUSY : 0;
	if (err == 0)
		f->heard_bytes += req->bytes;
	(void)pthread_mutex_unlock(&f->lock);
	if (err == 0)
		ex->submit(ex, &h->job);
	return err;
}

int
db_submit(struct db *db, struct db_request *req)
{
	struct db_asker by;
	uint64_t designs = 0;
	int err = access_now(db, &by);

	if (err)
		return err;
	req->db = db;
	req->bytes = 0;
	for (size_t i = 0; i < req->nwrites; i++)
		req->bytes += write_bytes(&req->writes[i]);
	/* Prepared bodies are at most an eighth larger than what came in; the rest goes by the number of writes and
	 * attachments.  A rule may
	 * put more in a body's place. */
	if ((err = arena_new((db->file->rules != NULL ? 24 : 4) * req->bytes + (1u << 20), &req->arena)) != 0)
		return err;
	if (hear_wanted(db, req, &designs)) {
		err = hear_submit(db, req);
	} else {
		prepare_all(db, &by, req, db->file->dbs->config.validate != NULL, designs);
		fail_together(req);
		err = queue_request(db, req, 0);
	}
	if (err)
		arena_free(req->arena);
	return err;
}
