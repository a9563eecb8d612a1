/*
 * node_stats.c: /_node/{name}/_stats, _prometheus and _system: what base/counters.h counts, in CouchDB's tree and
 * Prometheus's text, and what the process takes.
 *
 * Counters count since the start.  request_time is a histogram in powers of two, so its percentiles are upper bounds:
 * at most twice what was measured.
 */
#include "node.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/counters.h"
#include "base/log.h"
#include "replicator/replicator.h"
#include "script/script.h"

#define STATS_MAX ((size_t)256 << 10)

enum kind { COUNTER, GAUGE, HISTOGRAM };
enum gauge {
	LAG = COUNTER_MAX,
	LOG_DROPPED,
	OPEN_FDS,
	ROOM_HELD,
	ROOM_OWED,
	ROOM_PARKED,
	ROOM_SHARE,
	ROOM_SHED,
	ROOM_WAITING,
	SCRIPT_CHILDREN,
	SCRIPT_BUSY,
	SCRIPT_WAITING,
	SCRIPT_STARTED,
	SCRIPT_EXITED,
	SCRIPT_BROKEN,
	REP_TOTAL,
	REP_RUNNING,
	REP_PENDING,
	REP_CRASHED,
	REP_STARTS,
	REP_CRASHES,
	REP_COMPLETED,
	REP_FAILED
};

/* In the order of their paths: what has the same beginning stands together. */
static const struct stat_row {
	const char *path;
	const char *prometheus; /* name and labels; NULL: what comes of the table alone */
	enum kind kind;
	unsigned which;
	const char *desc;
} rows[] = {
    {"couch_replicator/docs/completed_state_updates", "couch_replicator_docs_completed_state_updates_total", COUNTER,
	REP_COMPLETED, "number of replications that were completed"},
    {"couch_replicator/docs/failed_state_updates", "couch_replicator_docs_failed_state_updates_total", COUNTER,
	REP_FAILED, "number of replication documents that describe none"},
    {"couch_replicator/jobs/crashed", "couch_replicator_jobs_crashed", GAUGE, REP_CRASHED,
	"number of replications that failed and wait for another start"},
    {"couch_replicator/jobs/crashes", "couch_replicator_jobs_crashes_total", COUNTER, REP_CRASHES,
	"number of replication job crashes"},
    {"couch_replicator/jobs/pending", "couch_replicator_jobs_pending", GAUGE, REP_PENDING,
	"number of replications that wait for room"},
    {"couch_replicator/jobs/running", "couch_replicator_jobs_running", GAUGE, REP_RUNNING,
	"number of replications that run"},
    {"couch_replicator/jobs/starts", "couch_replicator_jobs_starts_total", COUNTER, REP_STARTS,
	"number of replication job starts"},
    {"couch_replicator/jobs/total", "couch_replicator_jobs_total", GAUGE, REP_TOTAL,
	"number of replications that are known, those that are done too"},
    {"couchdb/auth_cache_hits", "couchdb_auth_cache_hits_total", COUNTER, COUNTER_AUTH_HITS,
	"number of authentication cache hits"},
    {"couchdb/auth_cache_misses", "couchdb_auth_cache_misses_total", COUNTER, COUNTER_AUTH_MISSES,
	"number of authentication cache misses"},
    {"couchdb/auth_failures", "couchdb_auth_failures_total", COUNTER, COUNTER_AUTH_FAILED, "number of failed logins"},
    {"couchdb/commits", "couchdb_commits_total", COUNTER, COUNTER_COMMITS, "number of commits performed"},
    {"couchdb/database_purges", "couchdb_database_purges_total", COUNTER, COUNTER_PURGES,
	"number of times a database was purged"},
    {"couchdb/database_reads", "couchdb_database_reads_total", COUNTER, COUNTER_DOC_READS,
	"number of times a document was read from a database"},
    {"couchdb/database_writes", "couchdb_database_writes_total", COUNTER, COUNTER_DOC_WRITES,
	"number of times a database was changed"},
    {"couchdb/document_writes", "couchdb_document_writes_total", COUNTER, COUNTER_DOC_WRITES,
	"number of document write operations"},
    {"couchdb/httpd/aborted_requests", "couchdb_httpd_aborted_requests_total", COUNTER, COUNTER_ABORTED,
	"number of aborted requests"},
    {"couchdb/httpd/bulk_requests", "couchdb_httpd_bulk_requests_total", COUNTER, COUNTER_BULK,
	"number of bulk requests"},
    {"couchdb/httpd/bytes_sent", "couchdb_httpd_sent_bytes_total", COUNTER, COUNTER_BYTES_OUT,
	"bytes of the bodies of answers"},
    {"couchdb/httpd/requests", "couchdb_httpd_requests_total", COUNTER, COUNTER_REQUESTS, "number of HTTP requests"},
    {"couchdb/httpd/view_reads", "couchdb_httpd_view_reads_total", COUNTER, COUNTER_VIEW_READS, "number of view reads"},
#define METHOD(name)                                                                                           \
	{                                                                                                      \
		"couchdb/httpd_request_methods/" #name, "couchdb_httpd_request_methods{method=\"" #name "\"}", \
		    COUNTER, COUNTER_##name, "number of HTTP " #name " requests"                               \
	}
    METHOD(COPY),
    METHOD(DELETE),
    METHOD(GET),
    METHOD(HEAD),
    METHOD(OPTIONS),
    METHOD(OTHER),
    METHOD(POST),
    METHOD(PUT),
#define STATUS(code)                                                                                            \
	{                                                                                                       \
		"couchdb/httpd_status_codes/" #code, "couchdb_httpd_status_codes{code=\"" #code "\"}", COUNTER, \
		    COUNTER_STATUS + (code)-100, "number of HTTP " #code " responses"                           \
	}
    STATUS(200),
    STATUS(201),
    STATUS(202),
    STATUS(204),
    STATUS(206),
    STATUS(301),
    STATUS(302),
    STATUS(304),
    STATUS(400),
    STATUS(401),
    STATUS(403),
    STATUS(404),
    STATUS(405),
    STATUS(406),
    STATUS(408),
    STATUS(409),
    STATUS(412),
    STATUS(413),
    STATUS(414),
    STATUS(415),
    STATUS(416),
    STATUS(417),
    STATUS(429),
    STATUS(500),
    STATUS(501),
    STATUS(503),
    STATUS(507),
    {"couchdb/local_document_writes", "couchdb_local_document_writes_total", COUNTER, COUNTER_LOCAL_WRITES,
	"number of _local document write operations"},
    {"couchdb/open_databases", "couchdb_open_databases_total", COUNTER, COUNTER_DB_OPENS,
	"number of times a database was opened by a request"},
    {"couchdb/open_os_files", "couchdb_open_os_files", GAUGE, OPEN_FDS, "number of file descriptors divand has open"},
    {"couchdb/password_hashing_fast", "couchdb_password_hashing_fast_total", COUNTER, COUNTER_HASH_FAST,
	"number of passwords that were told by a digest in memory"},
    {"couchdb/password_hashing_slow", "couchdb_password_hashing_slow_total", COUNTER, COUNTER_HASH_SLOW,
	"number of passwords that took a derivation"},
    {"couchdb/query_server/acquired_processes", "couchdb_query_server_acquired_processes", GAUGE, SCRIPT_BUSY,
	"number of processes that run users' functions now"},
    {"couchdb/query_server/process_error_exits", "couchdb_query_server_process_error_exits_total", COUNTER,
	SCRIPT_BROKEN, "number of them that ended because they failed or took too long"},
    {"couchdb/query_server/process_exits", "couchdb_query_server_process_exits_total", COUNTER, SCRIPT_EXITED,
	"number of them that ended"},
    {"couchdb/query_server/process_prompt_errors", "couchdb_query_server_process_prompt_errors_total", COUNTER,
	COUNTER_SCRIPT_FAILED, "number of messages to them without an answer"},
    {"couchdb/query_server/process_prompts", "couchdb_query_server_process_prompts_total", COUNTER,
	COUNTER_SCRIPT_ASKED, "number of messages to them"},
    {"couchdb/query_server/process_starts", "couchdb_query_server_process_starts_total", COUNTER, SCRIPT_STARTED,
	"number of them that were started"},
    {"couchdb/query_server/vdu_rejects", "couchdb_query_server_vdu_rejects_total", COUNTER, COUNTER_VDU_REJECTS,
	"number of writes that validate_doc_update functions refused"},
    {"couchdb/request_time", NULL, HISTOGRAM, COUNTER_TIMES, "length of a request inside CouchDB without MochiWeb"},
    {"divan/log_dropped", "divan_log_dropped_total", COUNTER, LOG_DROPPED, "lines that the log had no room for"},
    {"divan/loop_lag_ms", "divan_loop_lag_ms", GAUGE, LAG,
	"longest time that an HTTP thread was busy at a stretch since this was last asked"},
    {"divan/query_server/processes", "divan_query_server_processes", GAUGE, SCRIPT_CHILDREN,
	"number of processes for users' functions, idle ones too"},
    {"divan/query_server/waiting", "divan_query_server_waiting", GAUGE, SCRIPT_WAITING,
	"number of callers that wait for one"},
    {"divan/request_memory/held", "divan_request_memory_held_bytes", GAUGE, ROOM_HELD,
	"bytes that requests hold which are worked on"},
    {"divan/request_memory/owed", "divan_request_memory_owed_bytes", GAUGE, ROOM_OWED,
	"bytes of answers that wait to be taken"},
    {"divan/request_memory/parked", "divan_request_memory_parked_bytes", GAUGE, ROOM_PARKED,
	"bytes that have come of requests which wait for room"},
    {"divan/request_memory/share", "divan_request_memory_share_bytes", GAUGE, ROOM_SHARE,
	"bytes that requests may hold together"},
    {"divan/request_memory/shed", "divan_request_memory_shed_total", COUNTER, ROOM_SHED,
	"number of requests that found no room"},
    {"divan/request_memory/waiting", "divan_request_memory_waiting", GAUGE, ROOM_WAITING,
	"number of requests that wait for room"},
};

#define ROWS (sizeof(rows) / sizeof(rows[0]))

static unsigned
open_fds(void)
{
	struct rlimit rl;
	unsigned fd, n = 0;

	/* Numbers are given from below, so a gap of this size is the end. */
	if (getrlimit(RLIMIT_NOFILE, &rl) != 0)
		return 0;
	for (fd = 0; fd < rl.rlim_cur && fd < n + 256; fd++)
		n += fcntl((int)fd, F_GETFD) >= 0;
	return n;
}

static uint64_t
scripts_value(struct scripts *s, unsigned which)
{
	struct scripts_count n = {0};

	if (s != NULL)
		scripts_count(s, &n);
	switch (which) {
	case SCRIPT_CHILDREN:
		return n.children;
	case SCRIPT_BUSY:
		return n.busy;
	case SCRIPT_WAITING:
		return n.waiting;
	case SCRIPT_STARTED:
		return n.started;
	case SCRIPT_EXITED:
		return n.exited;
	default:
		return n.failed;
	}
}

static uint64_t
replicator_value(struct replicator *r, unsigned which)
{
	struct replicator_count n = {0};

	if (r != NULL)
		replicator_count(r, &n);
	switch (which) {
	case REP_TOTAL:
		return n.jobs;
	case REP_RUNNING:
		return n.running;
	case REP_PENDING:
		return n.pending;
	case REP_CRASHED:
		return n.crashing;
	case REP_STARTS:
		return n.starts;
	case REP_CRASHES:
		return n.crashes;
	case REP_COMPLETED:
		return n.completed;
	default:
		return n.failed;
	}
}

static uint64_t
room_value(struct http_server *s, unsigned which)
{
	struct http_room n;

	http_server_room(s, &n);
	switch (which) {
	case ROOM_HELD:
		return n.held;
	case ROOM_OWED:
		return n.owed;
	case ROOM_PARKED:
		return n.parked;
	case ROOM_SHARE:
		return n.share;
	case ROOM_SHED:
		return n.shed;
	default:
		return n.waiting;
	}
}

static uint64_t
value_of(struct apireq *r, const struct stat_row *row)
{
	switch (row->which) {
	case LAG:
		return http_server_lag_ms(r->api->server, 1);
	case LOG_DROPPED:
		return log_dropped();
	case OPEN_FDS:
		return open_fds();
	case ROOM_HELD:
	case ROOM_OWED:
	case ROOM_PARKED:
	case ROOM_SHARE:
	case ROOM_SHED:
	case ROOM_WAITING:
		return room_value(r->api->server, row->which);
	default:
		if (row->which >= REP_TOTAL)
			return replicator_value(r->api->replicator, row->which);
		return row->which < COUNTER_MAX ? counters_get(row->which) : scripts_value(r->api->scripts, row->which);
	}
}

/* ---- The histogram ---- */

struct times {
	uint64_t at[40], n;
};

static void
read_times(struct times *t)
{
	t->n = 0;
	for (unsigned i = 0; i < 40; i++) {
		t->at[i] = counters_get(COUNTER_TIMES + i);
		t->n += t->at[i];
	}
}

/* In ms: what so many of a thousand requests stay below. */
static double
percentile(const struct times *t, unsigned per_mille)
{
	uint64_t seen = 0, need = (t->n * per_mille + 999) / 1000;

	for (unsigned i = 0; i < 40; i++) {
		seen += t->at[i];
		if (seen > 0 && seen >= need)
			return (double)(UINT64_C(2) << i) / 1000.0;
	}
	return 0;
}

static void
put_histogram(struct buf *b)
{
	static const unsigned asked[] = {500, 750, 900, 950, 990, 999};
	struct times t;
	unsigned i, first = 1;

	read_times(&t);
	buf_printf(b, "{\"min\":%.3f,\"max\":%.3f,\"arithmetic_mean\":%.3f,\"median\":%.3f,\"n\":%llu,\"percentile\":[",
	    percentile(&t, 0) / 2, percentile(&t, 1000),
	    t.n > 0 ? (double)counters_get(COUNTER_TIME_US) / 1000.0 / (double)t.n : 0.0, percentile(&t, 500),
	    (unsigned long long)t.n);
	for (i = 0; i < sizeof(asked) / sizeof(asked[0]); i++)
		buf_printf(b, "%s[%u,%.3f]", i > 0 ? "," : "", asked[i] % 10 != 0 ? asked[i] : asked[i] / 10,
		    percentile(&t, asked[i]));
	buf_puts(b, "],\"histogram\":[");
	for (i = 0; i < 40; i++) {
		if (t.at[i] == 0)
			continue;
		buf_printf(b, "%s[%.3f,%llu]", first ? "" : ",", (double)(UINT64_C(2) << i) / 1000.0,
		    (unsigned long long)t.at[i]);
		first = 0;
	}
	buf_puts(b, "]}");
}

/* ---- The tree ---- */

static void
put_row(struct apireq *r, struct buf *b, const struct stat_row *row)
{
	static const char *const kinds[] = {"counter", "gauge", "histogram"};

	buf_puts(b, "{\"value\":");
	if (row->kind == HISTOGRAM)
		put_histogram(b);
	else
		buf_put_u64(b, value_of(r, row));
	buf_printf(b, ",\"type\":\"%s\",\"desc\":\"%s\"}", kinds[row->kind], row->desc);
}

/* 1 if ${path} is, or is below, what stands behind _stats in the request's path; *${restp}: what is left of it. */
static int
is_below(const struct apireq *r, const char *path, const char **restp)
{
	for (size_t i = 3; i < r->nparts; i++) {
		size_t n = strcspn(path, "/");

		if (n == 0 || n != r->part[i].len || memcmp(path, r->part[i].s, n) != 0)
			return 0;
		path += n + (path[n] == '/');
	}
	*restp = path;
	return 1;
}

/* How many bytes of whole components two paths share, each with its slash. */
static size_t
shared(const char *a, const char *b)
{
	size_t i, n = 0;

	for (i = 0; a[i] != '\0' && a[i] == b[i]; i++)
		if (a[i] == '/')
			n = i + 1;
	return n;
}

static size_t
slashes(const char *s)
{
	size_t n = 0;

	while ((s = strchr(s, '/')) != NULL) {
		n++;
		s++;
	}
	return n;
}

static void
put_tree(struct apireq *r, struct buf *b)
{
	const char *before = NULL, *rest;
	size_t i, n;

	for (i = 0; i < ROWS; i++) {
		if (!is_below(r, rows[i].path, &rest))
			continue;
		if (*rest == '\0') {
			put_row(r, b, &rows[i]);
			return;
		}
		n = before != NULL ? shared(before, rest) : 0;
		for (size_t k = before != NULL ? slashes(before + n) : 0; k > 0; k--)
			buf_putc(b, '}');
		buf_putc(b, before != NULL ? ',' : '{');
		before = rest;
		for (rest += n; strchr(rest, '/') != NULL; rest += strcspn(rest, "/") + 1)
			buf_printf(b, "\"%.*s\":{", (int)strcspn(rest, "/"), rest);
		buf_printf(b, "\"%s\":", rest);
		put_row(r, b, &rows[i]);
	}
	for (n = before != NULL ? slashes(before) + 1 : 0; n > 0; n--)
		buf_putc(b, '}');
	if (before == NULL)
		buf_puts(b, "null");
}

void
node_stats(struct apireq *r)
{
	struct buf b;

	buf_init(&b, STATS_MAX);
	put_tree(r, &b);
	api_json(r, 200, &b);
}

/* ---- Prometheus ---- */

static double
uptime(void)
{
	struct timespec now;
	static _Atomic int64_t begun;
	int64_t ms;

	clock_gettime(CLOCK_BOOTTIME, &now);
	ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
	if (begun == 0)
		begun = ms;
	return (double)(ms - begun) / 1000.0;
}

__attribute__((constructor)) static void
begin(void)
{
	(void)uptime();
}

/* Bytes of memory in use; 0: not known. */
static uint64_t
resident(void)
{
	unsigned long long size, pages = 0;
	FILE *f = fopen("/proc/self/statm", "re");

	if (f == NULL)
		return 0;
	if (fscanf(f, "%llu %llu", &size, &pages) != 2)
		pages = 0;
	fclose(f);
	return pages * (unsigned long long)sysconf(_SC_PAGESIZE);
}

static void
put_type(struct buf *b, const char *name, const char *type)
{
	buf_printf(b, "# TYPE %.*s %s\n", (int)strcspn(name, "{"), name, type);
}

static void
put_summary(struct buf *b)
{
	static const char name[] = "couchdb_request_time_seconds";
	struct times t;
	uint64_t seen = 0;

	read_times(&t);
	put_type(b, name, "histogram");
	for (unsigned i = 6; i < 27; i += 2) {
		seen = 0;
		for (unsigned k = 0; k <= i; k++)
			seen += t.at[k];
		buf_printf(
		    b, "%s_bucket{le=\"%g\"} %llu\n", name, (double)(UINT64_C(2) << i) / 1e6, (unsigned long long)seen);
	}
	buf_printf(b, "%s_bucket{le=\"+Inf\"} %llu\n%s_sum %.6f\n%s_count %llu\n", name, (unsigned long long)t.n, name,
	    (double)counters_get(COUNTER_TIME_US) / 1e6, name, (unsigned long long)t.n);
}

void
node_prometheus(struct apireq *r)
{
	const char *before = "";
	struct buf b;

	buf_init(&b, STATS_MAX);
	for (size_t i = 0; i < ROWS; i++) {
		const char *name = rows[i].prometheus;

		if (name == NULL)
			continue;
		/* What has labels is one metric with several values. */
		if (strcspn(name, "{") != strcspn(before, "{") || strncmp(name, before, strcspn(name, "{")) != 0)
			put_type(&b, name, rows[i].kind == GAUGE ? "gauge" : "counter");
		before = name;
		buf_printf(&b, "%s %llu\n", name, (unsigned long long)value_of(r, &rows[i]));
	}
	put_summary(&b);
	put_type(&b, "couchdb_uptime_seconds", "counter");
	buf_printf(&b, "couchdb_uptime_seconds %.0f\n", uptime());
	put_type(&b, "process_resident_memory_bytes", "gauge");
	buf_printf(&b, "process_resident_memory_bytes %llu\n", (unsigned long long)resident());
	if (buf_failed(&b)) {
		int err = buf_failed(&b);

		buf_release(&b);
		api_error(r, err, NULL);
		return;
	}
	api_done(r);
	http_set_static(r->http, "content-type", "text/plain; version=2.0");
	http_set_static(r->http, "cache-control", "must-revalidate");
	http_reply(r->http, 200, b.data, b.len);
	buf_release(&b);
}

/* ---- The process ---- */

void
node_system(struct apireq *r)
{
	struct rusage ru;
	struct buf b;

	getrusage(RUSAGE_SELF, &ru);
	buf_init(&b, 4096);
	buf_printf(&b,
	    "{\"uptime\":%.0f,\"memory\":{\"processes\":%llu,\"processes_peak\":%llu},\"run_queue\":0,\"context_"
	    "switches\":%ld,"
	    "\"io_input\":%llu,\"io_output\":%llu,\"os_proc_count\":0,\"stale_proc_count\":0,\"process_count\":%u,"
	    "\"cpu_seconds\":%.3f,\"message_queues\":{},\"internal_replication_jobs\":0,\"distribution\":{}}",
	    uptime(), (unsigned long long)resident(), (unsigned long long)ru.ru_maxrss * 1024,
	    ru.ru_nvcsw + ru.ru_nivcsw, (unsigned long long)ru.ru_inblock * 512,
	    (unsigned long long)ru.ru_oublock * 512, http_server_threads(r->api->server),
	    (double)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) +
		(double)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) / 1e6);
	api_json(r, 200, &b);
}
