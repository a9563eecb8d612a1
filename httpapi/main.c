/*
 * main.c: divand's composition root: reads the command line and the configuration, takes
 * the data folder, and puts the layers together.
 */
#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/exec.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/version.h"
#include "db/db.h"
#include "httpapi/accesslog.h"
#include "httpapi/accounts.h"
#include "httpapi/api.h"
#include "httpapi/config.h"
#include "httpapi/config_impl.h"
#include "httpapi/config_known.h"
#include "httpapi/confine.h"
#include "httpapi/copyfile.h"
#include "httpapi/designcheck.h"
#include "httpapi/feeds.h"
#include "httpapi/live_home.h"
#include "httpapi/options.h"
#include "httpapi/repdocs.h"
#include "httpapi/replications.h"
#include "http/http.h"
#include "httpapi/setup.h"
#include "httpapi/transport.h"
#include "httpapi/updatefeeds.h"
#include "httpapi/users.h"
#include "httpapi/validators.h"
#include "script/script.h"
#include "store/store.h"
#include "views/views.h"

#define SERVER_NAME "CouchDB/" API_COUCHDB_VERSION " (Divan/" DIVAN_VERSION ")"

struct divand {
	struct config *config;
	struct exec_threads *threads;
	struct exec_threads *slow;    /* for users' functions and what else may take seconds */
	struct exec_threads *lists;   /* for requests that keep a process for functions */
	struct exec_threads *hashers; /* for the passwords of logins */
	struct exec_threads *signups; /* one thread, for passwords in documents: of those many may come in a request */
	struct exec_threads *copier;  /* of whole databases: one thread, which nothing else waits for */
	struct store *store;
	struct api api;
	const char *data;
	struct confine walls;
	int lock_fd;
	pthread_t signals; /* waits for them */
	int has_signals;
	_Atomic int told_to_end; /* by one */
	_Atomic int ending;
	struct exec_job trimmer;
	_Atomic int trimming;
};

static void
set_log_level(const struct config *c)
{
	enum log_level level;

	if (log_level_of(config_get(c, "log", "level", "info"), &level) == 0)
		log_set_level(level);
}

/* Of a database of a cluster, which ours pass for, "admin_local" says what "everyone" does. */
static int
default_admin_only(const struct config *c)
{
	return strcasecmp(config_get(c, "couchdb", "default_security", "admin_only"), "admin_only") == 0;
}

/* Settings that others have been told of, and are told of again when one has changed. */
static void
tell_settings(struct divand *d)
{
	const struct config *c = d->config;
	const char *limit = config_get(c, "query_server_config", "reduce_limit", "true");

	dbs_set_default_security(d->api.dbs, default_admin_only(c));
	dbs_set_limits(d->api.dbs, config_u64(c, "couchdb", "max_document_size", 0),
	    config_u64(c, "couchdb", "max_attachment_size", UINT64_MAX));
	http_server_set_max_body(d->api.server, config_u64(c, "chttpd", "max_http_request_size", 0));
	if (strcasecmp(limit, "false") == 0)
		views_set_reduce_limit(d->api.views, VIEWS_REDUCE_KEEP);
	else if (strcasecmp(limit, "log") == 0)
		views_set_reduce_limit(d->api.views, VIEWS_REDUCE_LOG);
	else
		views_set_reduce_limit(d->api.views, VIEWS_REDUCE_REFUSE);
}

/* No value is named: it may be a secret. */
static void
changed(const char *section, const char *key, void *cookie)
{
	struct divand *d = cookie;
	const struct config_known *k = config_known_find(section, key);

	if (strcmp(section, "log") == 0)
		set_log_level(d->config);
	if (strcmp(key, "compress_responses") == 0)
		api_compress_load(&d->api);
	tell_settings(d);
	log_line(LOG_NOTICE, "configuration: %s/%s has changed%s", section, key,
	    k != NULL && (k->flags & CONFIG_AT_START) != 0 ? ", which holds from the next start" : "");
}

/* From the log's opening on nothing is done as root; a file of root's could not be opened again. */
static int
load_config(struct divand *d, const struct options *o)
{
	int err = config_new(&d->config);

	if (err == 0)
		err = setup_config(d->config, o->config, o->sets, o->nsets);
	if (err != 0)
		return err;
	set_log_level(d->config);
	d->data = config_get(d->config, "couchdb", "database_dir", "data");
	if (*d->data == '\0')
		d->data = "data";
	if ((err = confine_read(d->config, d->data, &d->walls)) != 0 || (err = confine_user(&d->walls)) != 0)
		return err;
	if (o->config != NULL && access(o->config, R_OK) != 0)
		log_line(LOG_WARNING, "%s: %s: SIGHUP will not read it again", o->config, strerror(errno));
	return d->walls.log != NULL ? log_open(d->walls.log) : 0;
}

/* What was changed over HTTP; where the data folder is, is not among it. */
static int
load_kept(struct divand *d, const struct options *o)
{
	struct errtext why = {""};
	int err = config_place(d->config, o->config, d->data);

	if (err == 0)
		err = config_kept_load(d->config, &why);
	if (why.text[0] != '\0')
		log_line(LOG_ERROR, "configuration: %s", why.text);
	set_log_level(d->config);
	return err;
}

static int
get_port(const struct config *c, const char *section, uint64_t dflt, unsigned *portp)
{
	uint64_t port = config_u64(c, section, "port", UINT64_MAX);
	const char *text = config_get(c, section, "port", NULL);

	if (text == NULL)
		port = dflt;
	if (port > 65535) {
		log_line(LOG_ERROR, "%s/port: '%s' is not a port", section, text);
		return ERR_BAD_REQUEST;
	}
	*portp = (unsigned)port;
	return 0;
}

/* Each open database takes three descriptors, each client one. */
static void
raise_file_limit(void)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) == 0 && rl.rlim_cur < rl.rlim_max) {
		rl.rlim_cur = rl.rlim_max;
		setrlimit(RLIMIT_NOFILE, &rl);
	}
}

static void
moved(void *cookie, const char *name, uint64_t incarnation, uint64_t seq, int dropped)
{
	struct api *api = cookie;

	(void)incarnation;
	accounts_moved(api, name, seq, dropped);
	feeds_moved(api, name, seq, dropped);
	updatefeeds_moved(api, name, seq, dropped);
	replications_moved(api, name, seq, dropped);
	if (api->views == NULL)
		return;
	if (dropped)
		views_dropped(api->views, name);
	else
		views_moved(api->views, name);
	if (dropped && api->scripts != NULL)
		scripts_forget(api->scripts, name);
}

/* In hundredths, "2.0" and "2" alike. */
static unsigned
get_ratio(const struct config *c, const char *section, const char *key, unsigned dflt)
{
	const char *text = config_get(c, section, key, NULL);
	char *end;
	double ratio = text != NULL ? strtod(text, &end) : 0;

	if (text == NULL || end == text || *end != '\0' || !(ratio >= 1 && ratio <= 1000))
		return dflt;
	return (unsigned)(ratio * 100 + 0.5);
}

/* CouchDB's channels ratio_dbs and slack_dbs, or those of views; one that its setting of smoosh does not name is off. */
static void
load_compaction(
    const struct config *c, const char *setting, const char *ratio, const char *slack, struct db_autocompact *out)
{
	char ratio_section[32], slack_section[32];
	const char *channels = config_get(c, "smoosh", setting, NULL);

	snprintf(ratio_section, sizeof(ratio_section), "smoosh.%s", ratio);
	snprintf(slack_section, sizeof(slack_section), "smoosh.%s", slack);
	out->min_bytes = config_u64(c, ratio_section, "min_size", 1u << 20);
	out->concurrency = (unsigned)config_u64(c, ratio_section, "concurrency", 1);
	out->quiet_ms = (unsigned)config_u64(c, ratio_section, "quiet_ms", 2000);
	if (channels == NULL || strstr(channels, ratio) != NULL)
		out->ratio_percent = get_ratio(c, ratio_section, "min_priority", 200);
	if (channels == NULL || strstr(channels, slack) != NULL)
		out->slack_bytes = config_u64(c, slack_section, "min_priority", 512u << 20);
}

/* divan-js stands beside divand. */
static int
script_exe(char *out, size_t room)
{
	static const char name[] = "divan-js";
	ssize_t n = readlink("/proc/self/exe", out, room - sizeof(name));
	char *slash;

	if (n <= 0)
		return ERR_IO;
	out[n] = '\0';
	slash = strrchr(out, '/');
	memcpy(slash != NULL ? slash + 1 : out, name, sizeof(name));
	return 0;
}

/* As many threads wait for functions as there may be children, and some more; as many are for who has one, behind nobody who waits. */
static int
start_waiters(struct divand *d, unsigned max_children)
{
	unsigned n = max_children < 30 ? max_children : 30;
	int err = exec_threads_new(n + 2, &d->slow);

	if (err == 0)
		err = exec_threads_new(n, &d->lists);
	if (err != 0)
		return err;
	d->api.slow = exec_threads_executor(d->slow);
	d->api.lists = exec_threads_executor(d->lists);
	return 0;
}

static int
start_scripts(struct divand *d, unsigned cores)
{
	const struct config *config = d->config;
	struct scripts_config c = {.exe = d->walls.exe, .ex = d->api.ex};
	int err;

	c.max_children = (unsigned)config_u64(config, "query_server_config", "os_process_limit", 0);
	/* A database gets half of them, so that there are always some for others. */
	if (c.max_children == 0)
		c.max_children = cores < 2 ? 4 : 2 * cores;
	c.idle_ms = (unsigned)config_u64(config, "query_server_config", "os_process_idle_limit", 300) * 1000;
	c.timeout_ms = (unsigned)config_u64(config, "couchdb", "os_process_timeout", 5000);
	c.memory = (size_t)config_u64(config, "query_server_config", "memory_limit", UINT64_C(256) << 20);
	c.max_answer = LIMIT_SCRIPT_ANSWER;
	err = start_waiters(d, c.max_children);
	return err != 0 ? err : scripts_new(&c, &d->api.scripts);
}

/* Nobody who logs in waits for a function that loops, nor for a request full of new accounts. */
static int
start_hashers(struct divand *d)
{
	int err = exec_threads_new(2, &d->hashers);

	if (err == 0)
		err = exec_threads_new(1, &d->signups);
	if (err == 0)
		d->api.hashers = exec_threads_executor(d->hashers);
	return err;
}

static int
is_ignored(const char *database, void *cookie)
{
	struct divand *d = cookie;

	return strcmp(config_get(d->config, "ken.ignore", database, "false"), "true") == 0;
}

/* Index files have a folder of their own: all of it can be made again. */
static int
start_views(struct divand *d, unsigned max_updates)
{
	struct views_config c = {
	    .dbs = d->api.dbs, .scripts = d->api.scripts, .ex = d->api.slow, .max_updates = max_updates};
	char dir[PATH_MAX];
	int n = snprintf(dir, sizeof(dir), "%s/.views", d->data);
	int err;

	if (n < 0 || n >= (int)sizeof(dir) || setup_make_dir(dir) != 0)
		return ERR_IO;
	c.is_ignored = is_ignored;
	c.cookie = d;
	c.background = (unsigned)config_u64(d->config, "ken", "batch_channels", 0);
	load_compaction(d->config, "view_channels", "ratio_views", "slack_views", &c.autocompact);
	c.folder = dir;
	if ((err = store_lmdb_new(dir, &c.store)) == 0 && (err = views_new(&c, &d->api.views)) != 0)
		store_free(c.store);
	return err;
}

static const struct db_rules *
rules(void *cookie, const char *name)
{
	const struct db_rules *found = users_rules(cookie, name);

	return found != NULL ? found : repdocs_rules(cookie, name);
}

static int
open_databases(struct divand *d)
{
	static const char *const system_names[] = {"_replicator", "_users"};
	static const struct principal server = {.server_admin = 1};
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	struct dbs_config c = {.moved = moved, .cookie = &d->api};
	size_t i;
	int err = exec_threads_new(cores < 2 ? 2 : cores > 4 ? 4 : (unsigned)cores, &d->threads);

	if (err != 0)
		return err;
	d->api.ex = exec_threads_executor(d->threads);
	if ((err = start_scripts(d, (unsigned)(cores > 0 ? cores : 1))) != 0)
		return err;
	err = start_hashers(d);
	if (err == 0)
		err = store_lmdb_new(d->data, &d->store);
	if (err != 0)
		return err;
	c.store = d->store;
	c.ex = d->api.ex;
	c.slow = d->api.slow;
	c.preparer = exec_threads_executor(d->signups);
	c.validate = validators_run;
	c.validate_cookie = &d->api;
	c.check_design = designcheck_run;
	c.check_design_cookie = &d->api;
	c.default_security_admin_only = default_admin_only(d->config);
	load_compaction(d->config, "db_channels", "ratio_dbs", "slack_dbs", &c.autocompact);
	users_init(&d->api);
	repdocs_init(&d->api);
	c.rules = rules;
	c.rules_cookie = &d->api;
	err = dbs_new(&c, &d->api.dbs);
	for (i = 0; i < sizeof(system_names) / sizeof(system_names[0]) && err == 0; i++) {
		err = dbs_create(d->api.dbs, system_names[i], NULL, &server, NULL);
		if (err == ERR_DB_EXISTS)
			err = 0;
	}
	/* Turns are the executor's to give: it knows of databases. */
	return err != 0 ? err : start_views(d, UINT_MAX);
}

static const char *
bind_address(const struct config *c)
{
	return config_get(c, "chttpd", "bind_address", "127.0.0.1");
}

static const char *
tls_address(const struct config *c)
{
	const char *address = config_get(c, "ssl", "bind_address", "");

	return *address != '\0' ? address : bind_address(c);
}

static void
load_gate(const struct config *c, struct http_config *h)
{
	struct http_gate *g = &h->gate;

	h->slow_ms = (unsigned)config_u64(c, "gate", "slow_timeout", 30000);
	g->max_connections = (unsigned)config_u64(c, "chttpd", "max_connections", 0);
	g->connections_per_address = (unsigned)config_u64(c, "gate", "connections_per_address", 1000);
	g->requests_per_address = (unsigned)config_u64(c, "gate", "requests_per_address", 1000);
	g->requests_per_second = (unsigned)config_u64(c, "gate", "requests_per_second", 0);
	g->min_rate = (unsigned)config_u64(c, "gate", "min_rate", 1024);
	g->stuck_ms = (unsigned)config_u64(c, "gate", "stuck_timeout", 60000);
	g->request_memory = config_u64(c, "gate", "request_memory", UINT64_C(128) << 20);
	g->room_wait_ms = (unsigned)config_u64(c, "gate", "request_wait", 5000);
	g->unauthenticated_bytes = config_u64(c, "gate", "unauthenticated_bytes", UINT64_C(1) << 30);
	g->exempt = config_get(c, "gate", "exempt", NULL);
	g->proxies = config_get(c, "gate", "proxies", NULL);
}

static void
trim(void *arg)
{
	struct divand *d = arg;

	(void)malloc_trim(0);
	atomic_store(&d->trimming, 0);
}

/* malloc keeps what a load took, by each thread and for good. */
static void
calm(void *cookie)
{
	struct api *api = cookie;
	struct divand *d = (struct divand *)((char *)api - offsetof(struct divand, api));

	if (atomic_exchange(&d->trimming, 1))
		return;
	d->trimmer = (struct exec_job){.fn = trim, .arg = d};
	api->ex->submit(api->ex, &d->trimmer);
}

static int
open_server(struct divand *d)
{
	const struct config *c = d->config;
	struct http_config h = {.handle = api_handle,
	    .ended = accesslog_ended,
	    .calm = calm,
	    .cookie = &d->api,
	    .server_name = SERVER_NAME,
	    .spool_dir = d->data};
	unsigned tls_port;
	int tls, err = get_port(c, "chttpd", 5984, &h.port);

	if (err == 0)
		err = get_port(c, "ssl", 6984, &tls_port);
	if (err != 0)
		return err;
	h.bind = bind_address(c);
	h.threads = (unsigned)config_u64(c, "chttpd", "threads", 0);
	load_gate(c, &h);
	tls = transport_tls(c, &h.tls);
	if (tls < 0)
		return -tls;
	if (tls > 0) {
		h.tls_bind = tls_address(c);
		h.tls_port = tls_port;
	}

	return http_server_new(&h, &d->api.server);
}

/* Sockets are bound and the folder is locked; there are no threads yet. */
static int
close_walls(struct divand *d)
{
	char exe[PATH_MAX];
	int err = script_exe(exe, sizeof(exe));

	if (err == 0)
		err = confine_exe(&d->walls, exe);
	return err == 0 ? confine_close(&d->walls) : err;
}

static int
open_feeds(struct divand *d)
{
	int err;

	api_compress_load(&d->api);
	err = feeds_new(&d->api);
	if (err == 0)
		err = updatefeeds_new(&d->api);
	if (err == 0)
		err = live_home_new(&d->api);
	return err;
}

static void
announce(struct divand *d)
{
	const char *addr = bind_address(d->config), *tls_addr = tls_address(d->config);
	unsigned tls_port = http_server_tls_port(d->api.server);

	printf(
	    strchr(addr, ':') != NULL ? "divand listening on http://[%s]:%u/\n" : "divand listening on http://%s:%u/\n",
	    addr, http_server_port(d->api.server));
	if (tls_port != 0)
		printf(strchr(tls_addr, ':') != NULL ? "divand listening on https://[%s]:%u/\n"
						     : "divand listening on https://%s:%u/\n",
		    tls_addr, tls_port);
	fflush(stdout);
}

/* Those that are waited for.  No thread takes them otherwise: no handler meets what is being freed, and none is lost before the server is up. */
static sigset_t
signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	return set;
}

static void
hung_up(struct divand *d)
{
	struct errtext why = {""};

	if (log_reopen() == 0 && setup_reload(d->config, &why) == 0)
		log_line(LOG_NOTICE, "SIGHUP: the log is open again, the configuration was read");
}

static void *
wait_for_signals(void *arg)
{
	struct divand *d = arg;
	sigset_t set = signals();
	int signo;

	while (sigwait(&set, &signo) == 0 && !d->ending) {
		if (signo == SIGHUP) {
			hung_up(d);
			continue;
		}
		d->told_to_end = 1;
		http_server_stop(d->api.server);
	}
	return NULL;
}

static int
start_signals(struct divand *d)
{
	pthread_attr_t attr;
	int rc;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, LIMIT_THREAD_STACK);
	rc = pthread_create(&d->signals, &attr, wait_for_signals, d);
	pthread_attr_destroy(&attr);
	d->has_signals = rc == 0;
	if (rc != 0)
		log_line(LOG_ERROR, "cannot start the thread that waits for signals: %s", strerror(rc));
	return rc == 0 ? 0 : err_errno(rc);
}

static void
stop_signals(struct divand *d)
{
	d->ending = 1;
	if (!d->has_signals)
		return;
	pthread_kill(d->signals, SIGHUP);
	pthread_join(d->signals, NULL);
	d->has_signals = 0;
}

static int
serve(struct divand *d)
{
	announce(d);
	setup_notify("READY=1");
	return http_server_run(d->api.server);
}

static int
start(struct divand *d, const struct options *o)
{
	int err = load_config(d, o);

	if (err != 0)
		return err;
	d->api.config = d->config;
	d->api.spools.dir = d->data;
	err = setup_data_dir(d->data, &d->lock_fd);
	if (err == 0)
		err = setup_uuid(d->data, d->api.uuid);
	if (err == 0)
		err = setup_secret(d->data, d->api.secret);
	if (err == 0)
		err = load_kept(d, o);
	if (err == 0)
		err = setup_admins(d->config, d->data);
	if (err == 0)
		err = open_server(d);
	if (err == 0)
		err = close_walls(d);
	if (err == 0)
		err = log_start();
	if (err == 0)
		err = open_databases(d);
	if (err == 0)
		tell_settings(d);
	if (err == 0)
		err = api_new(&d->api);
	if (err == 0)
		err = exec_threads_new(1, &d->copier);
	if (err == 0)
		err = copyfile_new(&d->api, exec_threads_executor(d->copier), d->data);
	if (err == 0)
		err = replications_new(&d->api);
	if (err == 0)
		err = open_feeds(d);
	if (err == 0)
		accounts_start(&d->api);
	if (err == 0)
		err = replications_start(&d->api);
	if (err != 0)
		return err;
	config_wipe(d->config);
	err = config_on_change(d->config, changed, d);
	return err == 0 ? start_signals(d) : err;
}

/* What was submitted runs to its end before the databases close; the data folder's lock goes last. */
static void
end(struct divand *d)
{
	stop_signals(d);
	replications_stop(&d->api);
	accounts_stop(&d->api);
	live_home_free(&d->api);
	views_free(d->api.views);
	d->api.views = NULL;
	if (d->api.dbs != NULL)
		dbs_free(d->api.dbs);
	replications_free(&d->api);
	exec_threads_free(d->signups);
	exec_threads_free(d->hashers);
	exec_threads_free(d->slow);
	exec_threads_free(d->lists);
	scripts_free(d->api.scripts);
	exec_threads_free(d->threads);
	exec_threads_free(d->copier);
	copyfile_free(&d->api);
	feeds_free(&d->api);
	updatefeeds_free(&d->api);
	http_server_free(d->api.server);
	api_free(&d->api);
	confine_release(&d->walls);
	config_free(d->config);
	if (d->lock_fd >= 0)
		close(d->lock_fd);
}

int
main(int argc, char **argv)
{
	static struct divand d = {.lock_fd = -1};
	static struct options o;
	const sigset_t held = signals();
	int status = options_parse(argc, argv, &o);
	int err, begun;

	if (status >= 0)
		return status;
	signal(SIGPIPE, SIG_IGN);
	/* Who started divand may ignore it: children would be gone before anybody asks how they ended. */
	signal(SIGCHLD, SIG_DFL);
	signal(SIGXFSZ, SIG_IGN); /* a file at its limit is a disk that is full: the write fails, the server goes on */
	raise_file_limit();
	pthread_sigmask(SIG_BLOCK, &held, NULL);
	err = start(&d, &o);
	begun = err == 0;
	if (begun)
		err = serve(&d);
	else
		log_line(LOG_ERROR, "divand cannot start: %s", err_reason(err));
	if (begun && err == ERR_BUSY) {
		/*
		 * Whoever still waits has no answer yet, so nothing that was acknowledged is lost;
		 * and nothing may be freed below it.
		 */
		log_line(LOG_WARNING, "requests that did not end in time were cut off");
		log_stop();
		_exit(d.told_to_end ? 0 : 1);
	}
	end(&d);
	log_stop();
	return err == 0 ? 0 : 1;
}
