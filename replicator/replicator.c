/* replicator.c: the replications of one server: its beginning and end, and what requests ask for. */
#include "replicator.h"

#include <stdlib.h>
#include <string.h>

#include "job.h"

#define REQUEST_MEMORY ((size_t)64 << 20)

static void
set_limits(struct replicator_limits *l)
{
	l->max_jobs = l->max_jobs != 0 ? l->max_jobs : 500;
	l->max_churn = l->max_churn != 0 ? l->max_churn : 20;
	l->interval_ms = l->interval_ms != 0 ? l->interval_ms : 60000;
	l->max_history = l->max_history != 0 ? l->max_history : 20;
	l->backoff_ms = l->backoff_ms != 0 ? l->backoff_ms : 30000;
}

int
replicator_new(const struct replicator_config *config, struct replicator **rp)
{
	struct peer_locals_config locals = {
	    .dbs = config->dbs, .ex = config->ex, .slow = config->slow, .judge = config->judge};
	struct replicator *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return ERR_NOMEM;
	r->config = *config;
	set_limits(&r->config.limits);
	if (pthread_mutex_init(&r->lock, NULL) != 0 || pthread_cond_init(&r->quiet, NULL) != 0 ||
	    peer_locals_new(&locals, &r->locals) != 0) {
		free(r);
		return ERR_NOMEM;
	}
	*rp = r;
	return 0;
}

int
replicator_start(struct replicator *r)
{
	return documents_start(r);
}

void
replicator_stop(struct replicator *r)
{
	struct executor *ex = r->config.ex;
	struct job *j, *next;

	pthread_mutex_lock(&r->lock);
	r->stopping = 1;
	if (r->timer_set && ex->cancel(ex, &r->timer))
		r->timer_set = 0;
	documents_stop(r);
	for (j = r->jobs; j != NULL; j = next) {
		next = j->next;
		if (!j->removed)
			job_remove(j);
	}
	pthread_mutex_unlock(&r->lock);
}

void
replicator_free(struct replicator *r)
{
	if (r == NULL)
		return;
	replicator_stop(r);
	pthread_mutex_lock(&r->lock);
	while (r->busy > 0 || r->timer_set)
		pthread_cond_wait(&r->quiet, &r->lock);
	pthread_mutex_unlock(&r->lock);
	documents_free(r);
	peer_locals_free(r->locals);
	heap_release(&r->later);
	heap_release(&r->ready);
	pthread_cond_destroy(&r->quiet);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

void
replicator_moved(struct replicator *r, const char *name, uint64_t seq, int dropped)
{
	(void)seq;
	(void)dropped;
	peer_locals_moved(r->locals, name);
	if (replicator_is_database(name, strlen(name)))
		documents_moved(r, name);
}

/* ---- Requests ---- */

/* What a request says besides what it describes. */
struct request {
	int cancel;
	int dry;        /* nothing is to begin: is it right, and what is its id? */
	struct jstr id; /* of the replication to cancel; empty: what is described */
};

static int
read_request(struct jstr body, struct arena *a, struct request *out, struct errtext *why)
{
	struct buf scratch;
	struct jstr key;
	struct jread j;
	int err;

	*out = (struct request){.id = {"", 0}};
	buf_init_arena(&scratch, a, REQUEST_MEMORY);
	jread_init(&j, body.s, body.len);
	if (jread_peek(&j) != JREAD_OBJECT)
		return jread_skip(&j, NULL) != 0 ? ERR_BAD_JSON
						 : err_why(why, ERR_BAD_REQUEST, "Request body must be a JSON object");
	err = jread_object_begin(&j);
	while (err == 0 && (err = jread_object_next(&j, &scratch, &key)) == 0) {
		int is_id = jstr_is(&key, "replication_id") || jstr_is(&key, "_local_id") || jstr_is(&key, "id");
		struct jstr s;

		if (jstr_is(&key, "cancel") && jread_peek(&j) == JREAD_TRUE)
			out->cancel = 1;
		if (jstr_is(&key, "dry_run") && jread_peek(&j) == JREAD_TRUE)
			out->dry = 1;
		if (is_id && jread_peek(&j) == JREAD_STRING) {
			if ((err = jread_string(&j, &scratch, &s)) != 0)
				break;
			if ((out->id.s = arena_dup(a, s.s, s.len)) == NULL)
				return ERR_NOMEM;
			out->id.len = s.len;
		} else {
			err = jread_skip(&j, NULL);
		}
	}
	if (err == ERR_NOMEM)
		return err;
	return err == ERR_END && jread_end(&j) == 0 ? 0 : ERR_BAD_JSON;
}

static void
put_id(struct buf *b, const char *id)
{
	buf_puts(b, "{\"ok\":true,\"_local_id\":");
	buf_put_json(b, id, strlen(id));
	buf_putc(b, '}');
}

static int
same_name(const char *a, const char *b)
{
	return a != NULL && b != NULL && strcmp(a, b) == 0;
}

/* Under the lock.  Another's may be cancelled by a server administrator. */
static int
cancel(struct replicator *r, struct jstr id, const struct principal *who, struct buf *b, struct errtext *why)
{
	struct job *j = job_find(r, id.s, id.len);

	if (j == NULL || j->doc.len > 0)
		return ERR_MISSING;
	if (!who->server_admin && !same_name(j->who.name, who->name))
		return err_why(why, ERR_UNAUTHORIZED, "You can only cancel your own replications.");
	put_id(b, j->spec.id);
	job_remove(j);
	job_schedule(r); /* what stood behind it */
	return ERR_END;
}

static int
add_waiter(struct job *j, replicator_done_f *done, void *cookie)
{
	struct waiter *w = calloc(1, sizeof(*w));

	if (w == NULL)
		return ERR_NOMEM;
	w->done = done;
	w->cookie = cookie;
	w->next = j->waiters;
	j->waiters = w;
	return 0;
}

/* Under the lock: ${j} is to run, or is what runs already.  ERR_END: nobody waits for it. */
static int
run(struct replicator *r, struct job *j, const struct principal *who, replicator_done_f *done, void *cookie,
    struct buf *b, struct errtext *why)
{
	struct job *there = job_find(r, j->spec.id, strlen(j->spec.id));
	int err = 0, continuous = j->spec.continuous;

	if (there != NULL && (there->doc.len > 0 || (!who->server_admin && !same_name(there->who.name, who->name)))) {
		job_remove(j);
		return err_why(why, ERR_CONFLICT, "the same replication runs already");
	}
	put_id(b, j->spec.id);
	if (!continuous)
		err = add_waiter(there != NULL ? there : j, done, cookie);
	if (err == 0 && there == NULL)
		err = job_add(j);
	if (err != 0 && there == NULL) {
		free(j->waiters);
		j->waiters = NULL;
	}
	if (err != 0 || there != NULL)
		job_remove(j);
	job_schedule(r);
	return err != 0 ? err : continuous ? ERR_END : 0;
}

int
replicator_run(struct replicator *r, struct jstr body, const struct principal *who, replicator_done_f *done,
    void *cookie, struct buf *b, int *statusp, struct errtext *why)
{
	struct request asked;
	struct job *j;
	int err = job_new(r, &j);

	if (err != 0)
		return err;
	*statusp = 200;
	err = read_request(body, j->arena, &asked, why);
	if (err == 0 && (asked.dry || !asked.cancel || asked.id.len == 0))
		err = job_read(j, body, why);
	if (err == 0)
		err = db_principal_copy(j->arena, who, &j->who);
	pthread_mutex_lock(&r->lock);
	if (err == 0 && r->stopping)
		err = ERR_SHUTDOWN;
	if (err == 0 && asked.dry) {
		put_id(b, j->spec.id);
		err = ERR_END;
		job_remove(j);
	} else if (err == 0 && asked.cancel) {
		struct jstr id = asked.id.len > 0 ? asked.id : (struct jstr){j->spec.id, strlen(j->spec.id)};

		err = cancel(r, id, who, b, why);
		job_remove(j);
	} else if (err == 0) {
		*statusp = j->spec.continuous ? 202 : 200;
		err = run(r, j, who, done, cookie, b, why);
	} else {
		job_remove(j);
	}
	pthread_mutex_unlock(&r->lock);
	return err;
}

int
replicator_check(struct replicator *r, struct jstr body, struct errtext *why)
{
	struct rep_spec spec;
	struct arena *a;
	int err = arena_new(REQUEST_MEMORY, &a);

	if (err != 0)
		return err;
	err = spec_parse(body, &r->config.defaults, a, &spec, why);
	arena_free(a);
	return err;
}
