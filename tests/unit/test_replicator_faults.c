/*
 * test_replicator_faults.c: what goes wrong in the middle of a run: at an end that answers other than it should, or is another database
 * than before. Nothing may count as through that is not at the target.
 */
#include "dbtest.h"

#include <stdatomic.h>
#include <unistd.h>

#include "replicator/checkpoint.h"
#include "replicator/peer_local.h"
#include "replicator/session.h"

static struct dbs *dbs;
static struct peer_locals *locals;

static const struct rep_defaults defaults = {.server = "0123456789abcdef0123456789abcdef",
    .checkpoint_ms = 20,
    .workers = 2,
    .batch = 3,
    .connections = 4,
    .retries = 2,
    .timeout_ms = 5000,
    .checkpoints = 1,
    .bulk_get = 1};

/* ---- An end that may be told to fail ---- */

struct spy {
	struct peer peer;
	struct peer *inner;
	struct peer_ops ops;
	int open_err, put_err, read_err;
	const char *only; /* the errors of open_doc() and put_doc() are of documents whose ids begin so; NULL: of all */
	const char *undiffed;  /* diff() says ERR_HELD_BACK of all that come with one of these; or NULL */
	const char *unwritten; /* write() says ERR_HELD_BACK of these; or NULL */
	int whole;             /* or of all that come with one of them */
	const char *slow;      /* a write() that has this one is carried out later, by release() */
	struct peer_write *_Atomic kept;
	int filter_err;       /* of the design document that has the filter */
	const char *lock_out; /* before a document is put its database gets this security object */
	uint64_t retry_ms;
	int intruder;     /* another session writes the log first */
	int silent_notes; /* _local documents are never answered for, until cancelled */
	struct peer_call *stuck;
	struct arena *fetched; /* the arena of the last fetch */
	unsigned shared;       /* documents that were opened into it */
	const char *edit_fetched,
	    *edit_opened; /* the document that is edited before it is first fetched, opened; or NULL */
};

static void
fail_job(void *arg)
{
	struct peer_call *call = arg;

	call->done(call);
}

static void
fail_call(struct peer_call *call, int err, uint64_t retry_ms)
{
	struct executor *ex = exec_threads_executor(dbtest_threads);

	call->err = err;
	call->retry_ms = retry_ms;
	call->state = NULL;
	call->job = (struct exec_job){.fn = fail_job, .arg = call};
	ex->submit(ex, &call->job);
}

#define FORWARD(name, type)                                    \
	static void spy_##name(struct peer *p, struct type *c) \
	{                                                      \
		struct spy *s = (struct spy *)p;               \
                                                               \
		s->inner->ops->name(s->inner, c);              \
	}

FORWARD(info, peer_info)
FORWARD(create, peer_create)
FORWARD(local_get, peer_local)
FORWARD(changes, peer_changes)
FORWARD(commit, peer_call)

static int
begins(struct jstr id, const char *with)
{
	return id.len >= strlen(with) && memcmp(id.s, with, strlen(with)) == 0;
}

static void
spy_diff(struct peer *p, struct peer_diff *c)
{
	struct spy *s = (struct spy *)p;
	size_t i = 0;

	while (i < c->n && (s->undiffed == NULL || !begins(c->wants[i].id, s->undiffed)))
		i++;
	if (i < c->n)
		fail_call(&c->call, ERR_HELD_BACK, 0);
	else
		s->inner->ops->diff(s->inner, c);
}

/* A write() of which the last documents are left out. */
struct narrowed {
	struct peer_write *c;
	void (*done)(struct peer_call *call);
	void *cookie;
	size_t n;
};

static void
widen(struct peer_call *call)
{
	struct narrowed *k = call->cookie;
	size_t i;

	for (i = k->c->n; i < k->n; i++)
		k->c->docs[i].err = ERR_HELD_BACK;
	k->c->n = k->n;
	call->done = k->done;
	call->cookie = k->cookie;
	free(k);
	call->done(call);
}

static void
spy_write(struct peer *p, struct peer_write *c)
{
	struct spy *s = (struct spy *)p;
	struct narrowed *k;
	size_t i, n = 0;

	for (i = 0; i < c->n && s->slow != NULL; i++) {
		if (begins(c->docs[i].id, s->slow)) {
			c->call.state = NULL;
			s->slow = NULL;
			s->kept = c;
			return;
		}
	}
	for (i = 0; i < c->n && s->unwritten != NULL; i++) {
		struct peer_doc doc = c->docs[i];

		if (begins(doc.id, s->unwritten))
			continue;
		c->docs[i] = c->docs[n];
		c->docs[n++] = doc;
	}
	if (s->unwritten != NULL && n < c->n && s->whole) {
		fail_call(&c->call, ERR_HELD_BACK, 0);
		return;
	}
	if (s->unwritten != NULL && n < c->n) {
		if ((k = malloc(sizeof(*k))) == NULL)
			abort();
		*k = (struct narrowed){.c = c, .done = c->call.done, .cookie = c->call.cookie, .n = c->n};
		c->n = n;
		c->call.done = widen;
		c->call.cookie = k;
	}
	s->inner->ops->write(s->inner, c);
}

static void
spy_read(struct peer *p, struct peer_read *c)
{
	struct spy *s = (struct spy *)p;

	if (s->filter_err != 0)
		fail_call(&c->call, s->filter_err, s->retry_ms);
	else
		s->inner->ops->read(s->inner, c);
}

static void
edit_once(struct spy *s, const char **idp, struct jstr id, const struct rev *rev)
{
	struct buf b;

	if (*idp == NULL || !jstr_is(&id, *idp))
		return;
	buf_init(&b, 1024);
	buf_puts(&b, "{\"_id\":\"");
	buf_puts(&b, *idp);
	buf_puts(&b, "\",\"_rev\":\"");
	rev_put(&b, rev);
	buf_puts(&b, "\",\"edited\":true}");
	CHECK_INT(buf_putc(&b, '\0'), 0);
	dbtest_put(dbs, s->peer.name, b.data, 1);
	buf_release(&b);
	*idp = NULL;
}

static void
spy_fetch(struct peer *p, struct peer_fetch *c)
{
	struct spy *s = (struct spy *)p;
	size_t i;

	s->fetched = c->call.arena;
	for (i = 0; i < c->nwants; i++)
		edit_once(s, &s->edit_fetched, c->wants[i].id, c->wants[i].revs);
	if (s->read_err != 0)
		fail_call(&c->call, s->read_err, s->retry_ms);
	else
		s->inner->ops->fetch(s->inner, c);
}

static void
spy_open_doc(struct peer *p, struct peer_open *c)
{
	struct spy *s = (struct spy *)p;

	s->shared += c->call.arena == s->fetched;
	edit_once(s, &s->edit_opened, c->id, &c->rev);
	if (s->open_err != 0 && (s->only == NULL || begins(c->id, s->only)))
		fail_call(&c->call, s->open_err, 0);
	else
		s->inner->ops->open_doc(s->inner, c);
}

static void
set(const char *name, struct db_write w)
{
	struct db *db = dbtest_open(dbs, name);
	struct db_request req = {.writes = &w, .nwrites = 1};

	CHECK_INT(dbtest_submit(db, &req), 0);
	CHECK_INT(w.err, 0);
	db_close(db);
}

static void
secure(const char *name, const char *text)
{
	set(name, (struct db_write){.kind = DB_WRITE_SECURITY, .body = {text, strlen(text)}});
}

static void
spy_put_doc(struct peer *p, struct peer_put *c)
{
	struct spy *s = (struct spy *)p;

	if (s->lock_out != NULL)
		secure(s->peer.name, s->lock_out);
	if (s->put_err != 0 && (s->only == NULL || begins(c->doc->id, s->only)))
		fail_call(&c->call, s->put_err, 0);
	else
		s->inner->ops->put_doc(s->inner, c);
}

static void
intrude(struct spy *s, const struct peer_local *c)
{
	struct db *db = dbtest_open(dbs, s->peer.name);
	struct db_write w = {.kind = DB_WRITE_LOCAL};
	struct db_request req = {.writes = &w, .nwrites = 1};
	static const char text[] = "{\"session_id\":\"other\"}";
	struct doc_in in;
	struct errtext why;
	struct arena *a;
	struct jread j;
	char id[64];

	CHECK_INT(arena_new(65536, &a), 0);
	jread_init(&j, text, sizeof(text) - 1);
	CHECK_INT(doc_parse(&j, a, &in, &why), 0);
	w.id.len = (size_t)snprintf(id, sizeof(id), "_local/%.*s", (int)c->id.len, c->id.s);
	w.id.s = id;
	w.body = in.body;
	w.body_etf = in.body_etf;
	CHECK_INT(dbtest_submit(db, &req), 0);
	CHECK_INT(w.err, 0);
	arena_free(a);
	db_close(db);
	s->intruder = 0;
}

static void
spy_local_put(struct peer *p, struct peer_local *c)
{
	struct spy *s = (struct spy *)p;

	if (s->intruder)
		intrude(s, c);
	if (s->silent_notes)
		s->stuck = &c->call;
	else
		s->inner->ops->local_put(s->inner, c);
}

static void
spy_cancel(struct peer *p, struct peer_call *call)
{
	struct spy *s = (struct spy *)p;

	struct peer_write *kept = s->kept;

	if (call == s->stuck)
		fail_call(call, ERR_CANCELLED, 0);
	else if (kept != NULL && call == &kept->call && atomic_compare_exchange_strong(&s->kept, &kept, NULL))
		fail_call(call, ERR_CANCELLED, 0);
	else if (call->state != NULL)
		s->inner->ops->cancel(s->inner, call);
}

/* What was kept is written, unless it was cancelled. */
static void
release(struct spy *s)
{
	struct peer_write *kept = atomic_exchange(&s->kept, NULL);

	if (kept != NULL)
		s->inner->ops->write(s->inner, kept);
}

static void
spy_close(struct peer *p)
{
	struct spy *s = (struct spy *)p;

	s->inner->ops->close(s->inner);
	s->inner = NULL;
}

static void
spy_init(struct spy *s, const char *name, const struct principal *who, const struct peer_filter *filter)
{
	CHECK_INT(peer_local_new(locals, name, who, filter, &s->inner), 0);
	s->ops = (struct peer_ops){.info = spy_info,
	    .create = spy_create,
	    .local_get = spy_local_get,
	    .local_put = spy_local_put,
	    .read = spy_read,
	    .changes = spy_changes,
	    .fetch = spy_fetch,
	    .open_doc = spy_open_doc,
	    .diff = spy_diff,
	    .write = spy_write,
	    .put_doc = spy_put_doc,
	    .commit = spy_commit,
	    .cancel = spy_cancel,
	    .close = spy_close};
	s->peer = (struct peer){.ops = &s->ops, .name = s->inner->name};
}

/* ---- Runs ---- */

struct run {
	struct arena *arena;
	struct rep_spec spec;
	struct session *session;
	struct spy source, target;
	struct principal who; /* at the target */
	uint64_t hold_ms;
	struct dbtest_wait wait;
	int err;
	struct errtext why;
	struct session_stats stats;
};

static void
ended(void *cookie, struct session *s, int err, const struct errtext *why)
{
	struct run *r = cookie;

	r->err = err;
	r->why = *why;
	session_stats(s, &r->stats);
	dbtest_wake(&r->wait);
}

/* What the spies are to do stands in ${r}; the rest is cleared. */
static void
run_begin(struct run *r, const char *text)
{
	struct session_config c = {.spec = &r->spec,
	    .stop_ms = 20,
	    .hold_ms = r->hold_ms,
	    .ex = exec_threads_executor(dbtest_threads),
	    .ended = ended,
	    .cookie = r};
	struct errtext why = {""};

	dbtest_wait_init(&r->wait);
	if (r->who.name == NULL)
		r->who = dbtest_admin;
	CHECK_INT(arena_new(1u << 20, &r->arena), 0);
	if (!CHECK_INT(spec_parse((struct jstr){text, strlen(text)}, &defaults, r->arena, &r->spec, &why), 0))
		fprintf(stderr, "%s\n", why.text);
	spy_init(&r->source, r->spec.source.name, &dbtest_admin, &r->spec.filter);
	spy_init(&r->target, r->spec.target.name, &r->who, NULL);
	c.source = &r->source.peer;
	c.target = &r->target.peer;
	CHECK_INT(session_new(&c, &r->session), 0);
	session_start(r->session);
}

static void
run_end(struct run *r)
{
	dbtest_wait_for(&r->wait);
	session_free(r->session);
	arena_free(r->arena);
}

static void
run(struct run *r, const char *text)
{
	run_begin(r, text);
	run_end(r);
}

static void
wait_idle(struct run *r, uint64_t written)
{
	struct session_stats stats;

	do
		session_stats(r->session, &stats);
	while (stats.written < written || !session_idle(r->session));
}

static void
put(const char *name, const char *id)
{
	char json[64];

	snprintf(json, sizeof(json), "{\"_id\":\"%s\"}", id);
	dbtest_put(dbs, name, json, 1);
	peer_locals_moved(locals, name);
}

static void
put_with_att(const char *name, const char *id)
{
	struct db *db = dbtest_open(dbs, name);
	struct db_write_att att = {.name = {"f", 1}, .type = {"x/y", 3}};
	struct db_write w = {
	    .kind = DB_WRITE_EDIT, .id = {id, strlen(id)}, .body = {"{}", 2}, .atts = &att, .natts = 1};
	struct db_request req = {.writes = &w, .nwrites = 1};
	struct buf text, etf;
	struct jread j;

	buf_init(&etf, 4096);
	buf_init(&text, 4096);
	jread_init(&j, "{}", 2);
	CHECK_INT(jread_text(&j, &text, &etf), 0);
	w.body_etf = (struct jstr){etf.data, etf.len};
	CHECK_INT(db_blob_new(db, DB_BLOB_PLAIN, &att.blob), 0);
	CHECK_INT(db_blob_add(att.blob, id, strlen(id)), 0);
	CHECK_INT(db_blob_end(att.blob), 0);
	CHECK_INT(dbtest_submit(db, &req), 0);
	CHECK_INT(w.err, 0);
	db_blob_free(att.blob);
	buf_release(&text);
	buf_release(&etf);
	db_close(db);
}

static uint64_t
count(const char *name)
{
	struct db *db = dbtest_open(dbs, name);
	struct db_info info;

	CHECK_INT(db_info(db, &info), 0);
	db_close(db);
	return info.doc_count;
}

/* ---- The tests ---- */

/* What was written to a database that is gone is not in the one that has its name now. */
static void
test_made_anew(int source)
{
	static const char text[] = "{\"source\":\"a\",\"target\":\"b\",\"continuous\":true}";
	struct run r = {0};

	dbtest_create(dbs, "a");
	dbtest_create(dbs, "b");
	put("a", "one");
	put("a", "two");
	run_begin(&r, text);
	wait_idle(&r, 2);
	session_stop(r.session);
	run_end(&r);
	memset(&r, 0, sizeof(r));
	run_begin(&r, text);
	wait_idle(&r, 0);
	CHECK_INT(dbs_drop(dbs, source ? "a" : "b", &dbtest_admin), 0);
	dbtest_create(dbs, source ? "a" : "b");
	put("a", "three");
	run_end(&r);
	CHECK_INT(r.err, ERR_IO);
	if (r.err == ERR_IO)
		CHECK(strstr(r.why.text, "created anew") != NULL);
	memset(&r, 0, sizeof(r));
	run(&r, "{\"source\":\"a\",\"target\":\"b\"}");
	CHECK_INT(r.err, 0);
	CHECK_INT(count("b"), 3);
	CHECK_INT(dbs_drop(dbs, "a", &dbtest_admin), 0);
	CHECK_INT(dbs_drop(dbs, "b", &dbtest_admin), 0);
}

/* A source that does not give a document now may give it later. */
static void
test_refused_source(void)
{
	static const char text[] = "{\"source\":\"a\",\"target\":\"b\"}";
	static const int errs[] = {ERR_FORBIDDEN, ERR_UNAUTHORIZED, ERR_NO_DB, ERR_BAD_REQUEST};
	struct run r;
	size_t i;

	dbtest_create(dbs, "a");
	dbtest_create(dbs, "b");
	put_with_att("a", "one");
	for (i = 0; i < sizeof(errs) / sizeof(errs[0]); i++) {
		memset(&r, 0, sizeof(r));
		r.source.open_err = errs[i];
		run(&r, text);
		CHECK_INT(r.err, errs[i]);
		CHECK_INT(r.stats.failures, 0);
	}
	memset(&r, 0, sizeof(r));
	run(&r, text);
	CHECK_INT(r.err, 0);
	CHECK_INT(count("b"), 1);
	CHECK_INT(r.source.shared, 0);
	CHECK_INT(dbs_drop(dbs, "a", &dbtest_admin), 0);
	CHECK_INT(dbs_drop(dbs, "b", &dbtest_admin), 0);
}

/* One that is gone by now, or is larger than can be had, is passed over; a change of the target's leaves is no refusal. */
static void
test_outcomes(void)
{
	static const char text[] = "{\"source\":\"a\",\"target\":\"b\",\"use_checkpoints\":false}";
	struct run r = {.source = {.open_err = ERR_MISSING}};

	dbtest_create(dbs, "a");
	dbtest_create(dbs, "b");
	put_with_att("a", "one");
	run(&r, text);
	CHECK_INT(r.err, 0);
	CHECK_INT(r.stats.failures, 0);
	r = (struct run){.source = {.open_err = ERR_TOO_LARGE}};
	run(&r, text);
	CHECK_INT(r.err, 0);
	CHECK_INT(r.stats.failures, 1);
	r = (struct run){.target = {.put_err = ERR_FORBIDDEN}};
	run(&r, text);
	CHECK_INT(r.err, 0);
	CHECK_INT(r.stats.failures, 1);
	r = (struct run){.target = {.put_err = ERR_CHANGED}};
	run(&r, text);
	CHECK_INT(r.err, ERR_CHANGED);
	CHECK_INT(dbs_drop(dbs, "a", &dbtest_admin), 0);
	CHECK_INT(dbs_drop(dbs, "b", &dbtest_admin), 0);
}

/* Who may no longer use the target has not had his documents refused by it. */
static void
test_locked_out(void)
{
	static const char text[] = "{\"source\":\"a\",\"target\":\"b\"}";
	struct run r = {
	    .who = {.name = "joe"}, .target = {.lock_out = "{\"members\":{\"names\":[\"other\"]},\"admins\":{}}"}};

	dbtest_create(dbs, "a");
	dbtest_create(dbs, "b");
	secure("b", "{\"members\":{\"names\":[\"joe\"]},\"admins\":{}}");
	put_with_att("a", "one");
	run(&r, text);
	CHECK_INT(err_status(r.err), 403);
	CHECK_INT(r.stats.failures, 0);
	CHECK_INT(dbs_drop(dbs, "a", &dbtest_admin), 0);
	CHECK_INT(dbs_drop(dbs, "b", &dbtest_admin), 0);
}

/* How long an end wants to be left alone is told to who runs it again. */
static void
test_told_to_wait(void)
{
	struct run r = {.source = {.read_err = ERR_TOO_MANY_REQUESTS, .retry_ms = 3600000}};

	dbtest_create(dbs, "a");
	dbtest_create(dbs, "b");
	put("a", "one");
	run(&r, "{\"source\":\"a\",\"target\":\"b\"}");
	CHECK_INT(r.err, ERR_TOO_MANY_REQUESTS);
	CHECK_INT(r.stats.retry_ms, 3600000);
	CHECK_INT(dbs_drop(dbs, "a", &dbtest_admin), 0);
	CHECK_INT(dbs_drop(dbs, "b", &dbtest_admin), 0);
}

/* Logs are of a filter's text: a run that was not told it does not look for others, but who may not see it goes on. */
static void
test_filter_unread(void)
{
	static const int unread[] = {ERR_TOO_MANY_REQUESTS, ERR_TOO_LARGE, ERR_BUSY, ERR_IO};
	static const int unseen[] = {ERR_MISSING, ERR_FORBIDDEN, ERR_UNAUTHORIZED};
	static const char text[] = "{\"source\":\"a\",\"target\":\"b\",\"filter\":\"d/f\"}";
	size_t i;

	dbtest_create(dbs, "a");
	dbtest_create(dbs, "b");
	put("a", "one");
	for (i = 0; i < sizeof(unread) / sizeof(unread[0]); i++) {
		struct run r = {.source = {.filter_err = unread[i], .retry_ms = 1000}};

		run(&r, text);
		CHECK_INT(r.err, unread[i]);
		CHECK_INT(r.stats.retry_ms, 1000);
	}
	for (i = 0; i < sizeof(unseen) / sizeof(unseen[0]); i++) {
		struct run r = {.source = {.filter_err = unseen[i]}};

		run(&r, text);
		CHECK_INT(r.err, ERR_NOT_IMPLEMENTED); /* nobody judges here */
	}
	CHECK_INT(dbs_drop(dbs, "a", &dbtest_admin), 0);
	CHECK_INT(dbs_drop(dbs, "b", &dbtest_admin), 0);
}

/* A run that was stopped does not wait for an end that does not answer. */
static void
test_silent_end(void)
{
	struct run r = {.target = {.silent_notes = 1}};

	dbtest_create(dbs, "a");
	dbtest_create(dbs, "b");
	put("a", "one");
	run_begin(&r, "{\"source\":\"a\",\"target\":\"b\",\"continuous\":true}");
	wait_idle(&r, 1);
	session_stop(r.session);
	run_end(&r);
	CHECK_INT(r.err, ERR_CANCELLED);
	memset(&r, 0, sizeof(r));
	run(&r, "{\"source\":\"a\",\"target\":\"b\"}");
	CHECK_INT(r.err, 0);
	CHECK_INT(r.stats.checked, 1);
	CHECK_INT(dbs_drop(dbs, "a", &dbtest_admin), 0);
	CHECK_INT(dbs_drop(dbs, "b", &dbtest_admin), 0);
}

/* Two that do the same work: each says what has come through. */
static void
test_intruder(void)
{
	struct run r = {.source = {.intruder = 1}, .target = {.intruder = 1}};

	dbtest_create(dbs, "a");
	dbtest_create(dbs, "b");
	put("a", "one");
	run(&r, "{\"source\":\"a\",\"target\":\"b\"}");
	CHECK_INT(r.err, 0);
	CHECK_INT(r.source.intruder + r.target.intruder, 0);
	memset(&r, 0, sizeof(r));
	run(&r, "{\"source\":\"a\",\"target\":\"b\"}");
	CHECK_INT(r.err, 0);
	CHECK_INT(r.stats.checked, 0);
	CHECK_INT(dbs_drop(dbs, "a", &dbtest_admin), 0);
	CHECK_INT(dbs_drop(dbs, "b", &dbtest_admin), 0);
}

/* ---- Logs ---- */

/* What two logs have in common; "": nothing. */
static void
check_common(const char *source, const char *target, const char *expected)
{
	struct checkpoint *s, *t;
	struct arena *a;
	struct jstr seq;

	CHECK_INT(arena_new(1u << 20, &a), 0);
	CHECK_INT(checkpoint_read((struct jstr){source, strlen(source)}, &s), 0);
	CHECK_INT(checkpoint_read((struct jstr){target, strlen(target)}, &t), 0);
	CHECK_INT(checkpoint_common(s, t, a, &seq), 0);
	if (!CHECK_MEM(seq.s, seq.len, expected, strlen(expected)))
		fprintf(stderr, "%s\n%s\n", source, target);
	checkpoint_free(s);
	checkpoint_free(t);
	arena_free(a);
}

#define LOG(id, seq) "{\"session_id\":\"" id "\",\"source_last_seq\":" seq ",\"history\":[]}"

static void
test_common(void)
{
	check_common(LOG("s", "12"), LOG("s", "12"), "12");
	check_common(LOG("s", "12"), LOG("s", "9"), "9");
	check_common(LOG("s", "\"12-g1AAA\""), LOG("s", "\"9-g1AAB\""), "\"9-g1AAB\"");
	check_common(LOG("s", "[12,\"x\"]"), LOG("s", "[9,\"y\"]"), "[9,\"y\"]");
	check_common(LOG("s", "12"), LOG("t", "12"), "");
	check_common(LOG("s", "12"), LOG("s", "null"), "");
	check_common(LOG("s", "12"), LOG("s", "{}"), "");
	check_common(LOG("s", "12"), "[]", "");
	check_common("", LOG("s", "12"), "");
	/* Of two that tell nothing of their order either may be too far. */
	check_common(LOG("s", "\"g1AAA\""), LOG("s", "\"g1AAB\""), "");
	check_common(LOG("s", "\"g1AAA\""), LOG("s", "\"g1AAA\""), "\"g1AAA\"");
	CHECK(!checkpoint_is_zero((struct jstr){"\"g1AAA\"", 7}));
	CHECK(checkpoint_is_zero((struct jstr){"\"0-x\"", 5}));
	CHECK(checkpoint_is_zero((struct jstr){"0", 1}));
}

/*
 * Where a source keeps one revision of a document, what is edited between a page and its fetch is lost, and comes by its new row:
 * behind other pages, and behind what was the last one; as text, and by itself.
 */
static void
test_replaced(size_t i)
{
	static const struct {
		const char *source, *target, *fetched, *opened;
		unsigned more; /* documents behind it */
	} cases[] = {
	    {"text-first", "text-first-copy", "a", NULL, 20},
	    {"text-last", "text-last-copy", "a", NULL, 0},
	    {"att-first", "att-first-copy", NULL, "a", 20},
	    {"att-last", "att-last-copy", NULL, "a", 0},
	};
	struct run r = {.source = {.edit_fetched = cases[i].fetched, .edit_opened = cases[i].opened}};
	char text[128], id[16];
	unsigned k;

	dbtest_create(dbs, cases[i].source);
	dbtest_create(dbs, cases[i].target);
	set(cases[i].source, (struct db_write){.kind = DB_WRITE_REVS_LIMIT, .number = 1});
	if (cases[i].opened != NULL)
		put_with_att(cases[i].source, "a");
	else
		put(cases[i].source, "a");
	for (k = 0; k < cases[i].more; k++) {
		snprintf(id, sizeof(id), "b%u", k);
		put(cases[i].source, id);
	}
	snprintf(text, sizeof(text), "{\"source\":\"%s\",\"target\":\"%s\"}", cases[i].source, cases[i].target);
	run(&r, text);
	CHECK_INT(r.err, 0);
	CHECK_INT(r.stats.failures, 0);
	CHECK_INT(count(cases[i].target), 1 + cases[i].more);
}

/* ---- What is held back ---- */

static const char held_text[] = "{\"source\":\"a\",\"target\":\"b\"}";

/* Batches of three, the bad one in the second; ${att}: it goes by itself. */
static void
begin_held(int att)
{
	unsigned i;
	char id[16];

	dbtest_create(dbs, "a");
	dbtest_create(dbs, "b");
	for (i = 0; i < 20; i++) {
		snprintf(id, sizeof(id), i == 4 ? "bad" : "doc%u", i);
		if (att && i % 4 == 0)
			put_with_att("a", id);
		else
			put("a", id);
	}
}

static void
end_held(void)
{
	CHECK_INT(dbs_drop(dbs, "a", &dbtest_admin), 0);
	CHECK_INT(dbs_drop(dbs, "b", &dbtest_admin), 0);
}

/* One document that does not come keeps no other from coming; it is named, and comes when it can. */
static void
test_held_back(void)
{
	static const struct spy cases[][2] = {
	    {{.peer.name = NULL}, {.undiffed = "bad"}},
	    {{.peer.name = NULL}, {.unwritten = "bad"}},
	    {{.peer.name = NULL}, {.unwritten = "bad", .whole = 1}},
	    {{.peer.name = NULL}, {.only = "bad", .put_err = ERR_HELD_BACK}},
	    {{.peer.name = NULL}, {.only = "bad", .put_err = ERR_SCRIPT}},
	    {{.peer.name = NULL}, {.only = "bad", .put_err = ERR_CONFLICT}},
	    {{.only = "bad", .open_err = ERR_CORRUPT}, {.peer.name = NULL}},
	    {{.only = "bad", .open_err = ERR_HELD_BACK}, {.peer.name = NULL}},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct run r = {.source = cases[i][0], .target = cases[i][1]};

		begin_held(r.source.only != NULL || r.target.only != NULL);
		for (unsigned k = 0; k < 2; k++) {
			run(&r, held_text);
			CHECK_INT(r.err, ERR_HELD_BACK);
			CHECK(strncmp(r.why.text, "bad: ", 5) == 0);
			CHECK_INT(r.stats.held, 1);
			CHECK_INT(r.stats.failures, 0);
			/* The first batch is noted, and no other. */
			CHECK_INT(r.stats.checked, k == 0 ? 20 : 17);
			CHECK_INT(r.stats.missing, (k == 0 ? 20 : 1) - (cases[i][1].undiffed != NULL));
			CHECK_INT(count("b"), 19);
			r = (struct run){.source = cases[i][0], .target = cases[i][1]};
		}
		r = (struct run){.hold_ms = 0};
		run(&r, held_text);
		CHECK_INT(r.err, 0);
		CHECK_INT(r.stats.checked, 17);
		CHECK_INT(count("b"), 20);
		r = (struct run){.hold_ms = 0};
		run(&r, held_text);
		CHECK_INT(r.stats.checked, 0);
		end_held();
	}
}

/* What is said of an end is not one document's. */
static void
test_not_held_back(void)
{
	static const int errs[] = {
	    ERR_IO, ERR_NOSPACE, ERR_BUSY, ERR_TOO_MANY_REQUESTS, ERR_NOMEM, ERR_IN_DOUBT, ERR_NO_DB};

	begin_held(1);
	for (size_t i = 0; i < sizeof(errs) / sizeof(errs[0]); i++) {
		struct run r = {.target = {.only = "bad", .put_err = errs[i]}};

		run(&r, held_text);
		CHECK_INT(r.err, errs[i]);
		CHECK_INT(r.stats.held, 0);
	}
	end_held();
}

/* A target that takes nothing is not asked for everything. */
static void
test_held_bound(void)
{
	struct run r = {.target = {.unwritten = "bad"}};
	char id[16];

	dbtest_create(dbs, "a");
	dbtest_create(dbs, "b");
	for (unsigned i = 0; i < 300; i++) {
		snprintf(id, sizeof(id), "bad%u", i);
		put("a", id);
	}
	run(&r, held_text);
	CHECK_INT(r.err, ERR_IO);
	CHECK(strncmp(r.why.text, "bad", 3) == 0);
	CHECK_INT(r.stats.held, 100);
	CHECK(r.stats.read < 150);
	r = (struct run){.hold_ms = 0};
	run(&r, held_text);
	CHECK_INT(r.err, 0);
	CHECK_INT(count("b"), 300);
	end_held();
}

/* A continuous run goes on with what comes, and ends after a while; one that is stopped meanwhile has just been stopped. */
static void
test_held_continuous(void)
{
	static const char text[] = "{\"source\":\"a\",\"target\":\"b\",\"continuous\":true}";
	struct run r = {.target = {.unwritten = "bad"}, .hold_ms = 3600000};

	begin_held(0);
	run_begin(&r, text);
	wait_idle(&r, 19);
	put("a", "later");
	wait_idle(&r, 20);
	session_stop(r.session);
	run_end(&r);
	CHECK_INT(r.err, ERR_CANCELLED);
	CHECK_INT(r.stats.held, 1);
	CHECK_INT(count("b"), 20);
	r = (struct run){.target = {.unwritten = "bad"}};
	run(&r, text);
	CHECK_INT(r.err, ERR_HELD_BACK);
	CHECK(strncmp(r.why.text, "bad: ", 5) == 0);
	CHECK_INT(r.stats.checked, 18);
	r = (struct run){.hold_ms = 0};
	run_begin(&r, text);
	wait_idle(&r, 1);
	session_stop(r.session);
	run_end(&r);
	CHECK_INT(count("b"), 21);
	end_held();
}

/* A run that ends for a document waits for what is on its way, however long that takes. */
static void
test_held_slow(void)
{
	static const char text[] = "{\"source\":\"a\",\"target\":\"b\",\"continuous\":true,\"worker_processes\":10}";
	struct run r = {.target = {.unwritten = "bad", .slow = "doc19"}, .hold_ms = 20};

	begin_held(0);
	run_begin(&r, text);
	while (r.target.kept == NULL)
		usleep(1000);
	usleep(100000);
	release(&r.target);
	run_end(&r);
	CHECK_INT(r.err, ERR_HELD_BACK);
	CHECK_INT(count("b"), 19);
	end_held();
}

int
main(void)
{
	struct peer_locals_config c = {0};
	struct store *store;

	CHECK_INT(exec_threads_new(3, &dbtest_threads), 0);
	CHECK_INT(store_mem_new(&store), 0);
	dbs = dbtest_dbs(store);
	c.dbs = dbs;
	c.ex = exec_threads_executor(dbtest_threads);
	CHECK_INT(peer_locals_new(&c, &locals), 0);
	test_made_anew(0);
	test_made_anew(1);
	test_refused_source();
	test_outcomes();
	test_locked_out();
	test_told_to_wait();
	test_filter_unread();
	test_silent_end();
	test_intruder();
	test_common();
	for (size_t i = 0; i < 4; i++)
		test_replaced(i);
	test_held_back();
	test_not_held_back();
	test_held_bound();
	test_held_continuous();
	test_held_slow();
	peer_locals_free(locals);
	dbs_free(dbs);
	exec_threads_free(dbtest_threads);
	return check_done();
}
