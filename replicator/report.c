/* report.c: what is told of replications: _scheduler/jobs, _scheduler/docs, _active_tasks. */
#include "job.h"

#include <string.h>
#include <time.h>

/* Of all that runs: CouchDB has a process for each, and Fauxton wants to see one. */
#define PID "\"<0.1.0>\""

int
report_time(struct buf *b, uint64_t us)
{
	time_t t = (time_t)(us / 1000000u);
	struct tm tm;

	gmtime_r(&t, &tm);
	return buf_printf(b, "\"%04d-%02d-%02dT%02d:%02d:%02dZ\"", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
	    tm.tm_hour, tm.tm_min, tm.tm_sec);
}

static void
put_number(struct buf *b, const char *name, uint64_t n)
{
	buf_printf(b, "\"%s\":%llu,", name, (unsigned long long)n);
}

static void
put_string(struct buf *b, const char *name, struct jstr s)
{
	buf_printf(b, "\"%s\":", name);
	buf_put_json(b, s.s, s.len);
	buf_putc(b, ',');
}

static void
put_maybe(struct buf *b, const char *name, struct jstr s)
{
	if (s.len > 0)
		put_string(b, name, s);
	else
		buf_printf(b, "\"%s\":null,", name);
}

static struct jstr
shown(const struct buf *b)
{
	return (struct jstr){b->data, b->len};
}

/* Of j->seqs the first member alone: the checkpointed sequence. */
static void
put_checkpointed(const struct job *j, struct buf *b)
{
	static const char name[] = "\"checkpointed_source_seq\":";
	struct jstr seq = {"null", 4};
	size_t at = sizeof(name) - 1;
	struct jread r;

	if (j->seqs.len > at) {
		jread_init(&r, j->seqs.data + at, j->seqs.len - at);
		if (jread_skip(&r, &seq) != 0)
			seq = (struct jstr){"null", 4};
	}
	buf_puts(b, name);
	buf_put(b, seq.s, seq.len);
}

static void
put_counts(const struct job *j, struct buf *b, int all_seqs)
{
	const struct session_stats *s = &j->stats;

	put_number(b, "revisions_checked", s->checked);
	put_number(b, "missing_revisions_found", s->missing);
	put_number(b, "docs_read", s->read);
	put_number(b, "docs_written", s->written);
	if (s->pending >= 0 && j->state == JOB_RUNNING)
		put_number(b, "changes_pending", (uint64_t)s->pending);
	else
		buf_puts(b, "\"changes_pending\":null,");
	put_number(b, "doc_write_failures", s->failures);
	/* Not CouchDB's: how many wait for a later run; which was the last of both, and why. */
	if (s->held > 0)
		put_number(b, "docs_held_back", s->held);
	if (s->refusal.text[0] != '\0')
		put_string(b, "last_failure", (struct jstr){s->refusal.text, strlen(s->refusal.text)});
	put_number(b, "bulk_get_docs", s->bulk_docs);
	put_number(b, "bulk_get_attempts", s->bulk_attempts);
	/* Nor is this, so it is told of what runs alone, and kept nowhere. */
	if (j->state == JOB_RUNNING)
		put_number(b, "bytes_written", s->bytes);
	if (all_seqs && j->seqs.len > 0)
		buf_put(b, j->seqs.data, j->seqs.len);
	else
		put_checkpointed(j, b);
}

int
report_info(const struct job *j, struct buf *b)
{
	if (j->told.len > 0)
		return buf_put(b, j->told.s, j->told.len);
	buf_putc(b, '{');
	if (j->state == JOB_CRASHING || j->state == JOB_FAILED) {
		buf_puts(b, "\"error\":");
		buf_put_json(b, j->reason, strlen(j->reason));
	} else {
		put_counts(j, b, j->state == JOB_RUNNING);
	}
	return buf_putc(b, '}');
}

/* ---- Jobs ---- */

static void
put_history(const struct job *j, struct buf *b)
{
	static const char *const kinds[] = {"added", "started", "stopped", "crashed"};
	unsigned i;

	buf_puts(b, "\"history\":[");
	for (i = 0; i < j->nevents; i++) {
		const struct job_event *e = &j->events[i];
		const char *reason = e->reason != NULL ? e->reason : "";

		buf_puts(b, i > 0 ? ",{\"timestamp\":" : "{\"timestamp\":");
		report_time(b, e->at_us);
		buf_printf(b, ",\"type\":\"%s\"", kinds[e->kind]);
		if (e->kind == EVENT_CRASHED) {
			buf_puts(b, ",\"reason\":");
			buf_put_json(b, reason, strlen(reason));
		}
		buf_putc(b, '}');
	}
	buf_puts(b, "],");
}

static void
put_job(struct job *j, struct buf *b)
{
	const char *user = j->doc.len > 0 ? j->spec.user : j->who.name;

	job_snapshot(j);
	buf_putc(b, '{');
	put_maybe(b, "database", j->database);
	put_string(b, "id", (struct jstr){j->spec.id, strlen(j->spec.id)});
	buf_printf(b, "\"pid\":%s,", j->session != NULL ? PID : "null");
	put_string(b, "source", shown(&j->source_shown));
	put_string(b, "target", shown(&j->target_shown));
	put_maybe(b, "user", user != NULL ? (struct jstr){user, strlen(user)} : (struct jstr){"", 0});
	put_maybe(b, "doc_id", j->doc);
	put_history(j, b);
	buf_puts(b, "\"info\":");
	report_info(j, b);
	buf_puts(b, ",\"node\":");
	buf_put_json(b, j->r->config.node, strlen(j->r->config.node));
	buf_puts(b, ",\"start_time\":");
	report_time(b, j->added_us);
	buf_putc(b, '}');
}

static const char *
state_name(const struct job *j)
{
	static const char *const names[] = {"pending", "running", "crashing", "completed", "failed"};

	return names[j->state];
}

static int
is_listed(const struct job *j)
{
	return j->listed && !j->removed;
}

/* ${states}: "running,failed". */
static int
has_state(const struct job *j, struct jstr states)
{
	const char *name = state_name(j), *p, *end;
	size_t len = strlen(name);

	if (states.len == 0)
		return 1;
	p = states.s;
	end = p + states.len;
	while (p < end) {
		const char *comma = memchr(p, ',', (size_t)(end - p));
		size_t n = (size_t)((comma != NULL ? comma : end) - p);

		if (n == len && memcmp(p, name, len) == 0)
			return 1;
		p += n + 1;
	}
	return 0;
}

/* Which jobs a list has. */
struct list {
	const char *name;
	void (*put)(struct job *j, struct buf *b);
	int of_docs;
	struct jstr database, states; /* of documents; empty: all */
};

static int
is_wanted(const struct list *l, const struct job *j)
{
	if (!l->of_docs)
		return is_listed(j);
	return j->doc.len > 0 && !j->removed && (l->database.len == 0 || jstr_equal(l->database, j->database)) &&
	       has_state(j, l->states);
}

static int
put_list(struct replicator *r, const struct list *l, uint64_t skip, uint64_t limit, struct buf *b)
{
	uint64_t n = 0, total = 0;
	struct job *j;

	pthread_mutex_lock(&r->lock);
	for (j = r->jobs; j != NULL; j = j->next)
		total += (uint64_t)is_wanted(l, j);
	buf_printf(b, "{\"total_rows\":%llu,\"offset\":%llu,\"%s\":[", (unsigned long long)total,
	    (unsigned long long)skip, l->name);
	for (j = r->jobs; j != NULL && n < limit; j = j->next) {
		if (!is_wanted(l, j))
			continue;
		if (skip > 0) {
			skip--;
			continue;
		}
		if (n++ > 0)
			buf_putc(b, ',');
		l->put(j, b);
	}
	pthread_mutex_unlock(&r->lock);
	buf_puts(b, "]}");
	return buf_failed(b);
}

int
replicator_put_jobs(struct replicator *r, uint64_t skip, uint64_t limit, struct buf *b)
{
	const struct list all = {.name = "jobs", .put = put_job};

	return put_list(r, &all, skip, limit, b);
}

int
replicator_put_job(struct replicator *r, struct jstr id, struct buf *b)
{
	struct job *j;

	pthread_mutex_lock(&r->lock);
	if ((j = job_find(r, id.s, id.len)) != NULL)
		put_job(j, b);
	pthread_mutex_unlock(&r->lock);
	return j != NULL ? buf_failed(b) : ERR_MISSING;
}

/* ---- Documents ---- */

static void
put_doc(struct job *j, struct buf *b)
{
	const char *source_proxy = j->spec.id != NULL ? j->spec.source.proxy : NULL;

	job_snapshot(j);
	buf_putc(b, '{');
	put_string(b, "database", j->database);
	put_string(b, "doc_id", j->doc);
	if (j->spec.id != NULL && j->listed)
		put_string(b, "id", (struct jstr){j->spec.id, strlen(j->spec.id)});
	else
		buf_puts(b, "\"id\":null,");
	if (j->listed || j->state == JOB_FAILED)
		put_string(b, "node", (struct jstr){j->r->config.node, strlen(j->r->config.node)});
	put_maybe(b, "source", shown(&j->source_shown));
	put_maybe(b, "target", shown(&j->target_shown));
	if (j->listed && source_proxy == NULL)
		buf_puts(b, "\"source_proxy\":null,\"target_proxy\":null,");
	buf_printf(b, "\"state\":\"%s\",\"info\":", state_name(j));
	if (j->state == JOB_PENDING && j->nevents <= 1)
		buf_puts(b, "null");
	else
		report_info(j, b);
	buf_printf(b, ",\"error_count\":%u,\"start_time\":", j->errors + j->holds);
	report_time(b, j->added_us);
	buf_puts(b, ",\"last_updated\":");
	report_time(b, j->updated_us);
	buf_putc(b, '}');
}

int
replicator_put_docs(
    struct replicator *r, struct jstr database, struct jstr states, uint64_t skip, uint64_t limit, struct buf *b)
{
	const struct list some = {.name = "docs", .put = put_doc, .of_docs = 1, .database = database, .states = states};

	return put_list(r, &some, skip, limit, b);
}

int
replicator_put_doc(struct replicator *r, struct jstr database, struct jstr id, struct buf *b)
{
	struct job *j;

	pthread_mutex_lock(&r->lock);
	if ((j = job_of_doc(r, database, id)) != NULL)
		put_doc(j, b);
	pthread_mutex_unlock(&r->lock);
	return j != NULL ? buf_failed(b) : ERR_MISSING;
}

/* ---- Tasks ---- */

static void
put_task(struct job *j, struct buf *b)
{
	const char *user = j->doc.len > 0 ? j->spec.user : j->who.name;

	job_snapshot(j);
	buf_puts(b, ",{\"type\":\"replication\",\"pid\":" PID ",\"process_status\":\"running\",");
	put_string(b, "node", (struct jstr){j->r->config.node, strlen(j->r->config.node)});
	put_string(b, "replication_id", (struct jstr){j->spec.id, strlen(j->spec.id)});
	put_maybe(b, "database", j->database);
	put_maybe(b, "doc_id", j->doc);
	put_maybe(b, "user", user != NULL ? (struct jstr){user, strlen(user)} : (struct jstr){"", 0});
	put_string(b, "source", shown(&j->source_shown));
	put_string(b, "target", shown(&j->target_shown));
	buf_printf(b, "\"continuous\":%s,\"checkpoint_interval\":%llu,", j->spec.continuous ? "true" : "false",
	    (unsigned long long)j->spec.checkpoint_ms);
	put_number(b, "started_on", j->stats.started_us / 1000000u);
	put_number(b, "updated_on", j->stats.updated_us / 1000000u);
	put_counts(j, b, 1);
	buf_putc(b, '}');
}

int
replicator_put_tasks(struct replicator *r, struct buf *b)
{
	struct job *j;

	pthread_mutex_lock(&r->lock);
	for (j = r->jobs; j != NULL; j = j->next)
		if (j->session != NULL)
			put_task(j, b);
	pthread_mutex_unlock(&r->lock);
	return buf_failed(b);
}

void
replicator_count(struct replicator *r, struct replicator_count *out)
{
	struct job *j;

	pthread_mutex_lock(&r->lock);
	*out = r->count;
	out->pending = out->crashing = 0;
	for (j = r->jobs; j != NULL; j = j->next) {
		out->pending += j->state == JOB_PENDING;
		out->crashing += j->state == JOB_CRASHING;
	}
	pthread_mutex_unlock(&r->lock);
}
