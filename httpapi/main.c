/*
 * main.c: divand's composition root: reads the command line and the configuration, takes
 * the data folder, and puts the layers together.
 */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/exec.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/version.h"
#include "db/db.h"
#include "httpapi/accounts.h"
#include "httpapi/api.h"
#include "httpapi/config.h"
#include "httpapi/copyfile.h"
#include "httpapi/feeds.h"
#include "httpapi/server.h"
#include "httpapi/setup.h"
#include "httpapi/transport.h"
#include "httpapi/updatefeeds.h"
#include "store/store.h"

#define SERVER_NAME "Divan/" DIVAN_VERSION " (CouchDB compatible)"

struct options {
	const char *config;
	const char *data;
	const char *bind;
	const char *port;
};

struct divand {
	struct config *config;
	struct exec_threads *threads;
	struct exec_threads *copier; /* of whole databases: one thread, which nothing else waits for */
	struct store *store;
	struct api api;
	const char *data;
	int lock_fd;
};

static struct http_server *running; /* for the signal handler */

static void
usage(FILE *to)
{
	fprintf(to, "usage: divand [--config FILE] [--data DIR] [--bind ADDRESS] [--port N]\n"
		    "\n"
		    "  --config FILE   settings in YAML, in CouchDB's sections and names\n"
		    "  --data DIR      where the databases are (couchdb/database_dir; ./data)\n"
		    "  --bind ADDRESS  where to listen (chttpd/bind_address; 127.0.0.1)\n"
		    "  --port N        0 takes a free one (chttpd/port; 5984)\n"
		    "  --version       print the version\n"
		    "  --help          print this\n"
		    "\n"
		    "DIVAN_ADMIN=name:password in the environment makes an administrator\n"
		    "(as do COUCHDB_USER and COUCHDB_PASSWORD).\n");
}

/* Returns -1 to go on, else the exit status. */
static int
parse_options(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {{"config", required_argument, NULL, 'c'},
	    {"data", required_argument, NULL, 'd'}, {"bind", required_argument, NULL, 'b'},
	    {"port", required_argument, NULL, 'p'}, {"version", no_argument, NULL, 'v'},
	    {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 'c':
			o->config = optarg;
			break;
		case 'd':
			o->data = optarg;
			break;
		case 'b':
			o->bind = optarg;
			break;
		case 'p':
			o->port = optarg;
			break;
		case 'v':
			printf("divand %s\n", DIVAN_VERSION);
			return 0;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return 2;
		}
	}
	if (optind < argc) {
		usage(stderr);
		return 2;
	}
	return -1;
}

static int
load_config(struct divand *d, const struct options *o)
{
	struct errtext why = {""};
	int err = config_new(&d->config);

	if (err == 0 && o->config != NULL)
		err = config_load(d->config, o->config, &why);
	if (err == 0 && o->data != NULL)
		err = config_set(d->config, "couchdb", "database_dir", o->data);
	if (err == 0 && o->bind != NULL)
		err = config_set(d->config, "chttpd", "bind_address", o->bind);
	if (err == 0 && o->port != NULL)
		err = config_set(d->config, "chttpd", "port", o->port);
	if (err != 0)
		log_line(LOG_ERROR, "configuration: %s", why.text[0] != '\0' ? why.text : err_reason(err));
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
	accounts_moved(api, name);
	feeds_moved(api, name, seq, dropped);
	updatefeeds_moved(api, name, seq, dropped);
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

/* CouchDB's channels ratio_dbs and slack_dbs; one that smoosh/db_channels does not name is off. */
static void
load_compaction(const struct config *c, struct db_autocompact *out)
{
	const char *channels = config_get(c, "smoosh", "db_channels", "ratio_dbs,slack_dbs");

	out->min_bytes = config_u64(c, "smoosh.ratio_dbs", "min_size", 1u << 20);
	out->concurrency = (unsigned)config_u64(c, "smoosh.ratio_dbs", "concurrency", 1);
	out->quiet_ms = (unsigned)config_u64(c, "smoosh.ratio_dbs", "quiet_ms", 2000);
	if (strstr(channels, "ratio_dbs") != NULL)
		out->ratio_percent = get_ratio(c, "smoosh.ratio_dbs", "min_priority", 200);
	if (strstr(channels, "slack_dbs") != NULL)
		out->slack_bytes = config_u64(c, "smoosh.slack_dbs", "min_priority", 512u << 20);
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
	err = store_lmdb_new(d->data, &d->store);
	if (err != 0)
		return err;
	c.store = d->store;
	c.ex = d->api.ex;
	c.max_document_size = config_u64(d->config, "couchdb", "max_document_size", 0);
	c.max_attachment_size = config_u64(d->config, "couchdb", "max_attachment_size", 0);
	c.default_security_admin_only =
	    strcmp(config_get(d->config, "couchdb", "default_security", "admin_only"), "everyone") != 0;
	load_compaction(d->config, &c.autocompact);
	err = dbs_new(&c, &d->api.dbs);
	for (i = 0; i < sizeof(system_names) / sizeof(system_names[0]) && err == 0; i++) {
		err = dbs_create(d->api.dbs, system_names[i], NULL, &server, NULL);
		if (err == ERR_DB_EXISTS)
			err = 0;
	}
	return err;
}

static int
open_server(struct divand *d)
{
	const struct config *c = d->config;
	struct http_config h = {
	    .handle = api_handle, .cookie = &d->api, .server_name = SERVER_NAME, .spool_dir = d->data};
	unsigned tls_port;
	int tls, err = get_port(c, "chttpd", 5984, &h.port);

	if (err == 0)
		err = get_port(c, "ssl", 6984, &tls_port);
	if (err != 0)
		return err;
	h.bind = config_get(c, "chttpd", "bind_address", "127.0.0.1");
	h.threads = (unsigned)config_u64(c, "chttpd", "threads", 0);
	h.max_body = config_u64(c, "chttpd", "max_http_request_size", LIMIT_REQUEST_LEN);
	tls = transport_tls(c, &h.tls);
	if (tls < 0)
		return -tls;
	if (tls > 0) {
		h.tls_bind = config_get(c, "ssl", "bind_address", "");
		if (*h.tls_bind == '\0')
			h.tls_bind = h.bind;
		h.tls_port = tls_port;
	}

	err = http_server_new(&h, &d->api.server);
	if (err == 0)
		api_compress_load(&d->api);
	if (err == 0)
		err = feeds_new(&d->api);
	if (err == 0)
		err = updatefeeds_new(&d->api);
	return err;
}

static void
announce(struct divand *d)
{
	const char *addr = config_get(d->config, "chttpd", "bind_address", "127.0.0.1");
	const char *tls_addr = config_get(d->config, "ssl", "bind_address", addr);
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

static void
on_signal(int signo)
{
	(void)signo;
	http_server_stop(running);
}

static int
serve(struct divand *d)
{
	struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESTART};

	running = d->api.server;
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGINT, &sa, NULL);
	announce(d);
	return http_server_run(d->api.server);
}

static int
start(struct divand *d, const struct options *o)
{
	int err = load_config(d, o);

	if (err != 0)
		return err;
	d->data = config_get(d->config, "couchdb", "database_dir", "data");
	d->api.config = d->config;
	err = setup_data_dir(d->data, &d->lock_fd);
	if (err == 0)
		err = setup_uuid(d->data, d->api.uuid);
	if (err == 0)
		err = setup_secret(d->data, d->api.secret);
	if (err == 0)
		err = setup_admins(d->config, d->data);
	if (err == 0)
		err = open_databases(d);
	if (err == 0)
		err = api_new(&d->api);
	if (err == 0)
		err = exec_threads_new(1, &d->copier);
	if (err == 0)
		err = copyfile_new(&d->api, exec_threads_executor(d->copier), d->data);
	if (err == 0)
		err = open_server(d);
	return err;
}

/* What was submitted runs to its end before the databases close; the data folder's lock goes last. */
static void
end(struct divand *d)
{
	if (d->api.dbs != NULL)
		dbs_free(d->api.dbs);
	exec_threads_free(d->threads);
	exec_threads_free(d->copier);
	copyfile_free(&d->api);
	feeds_free(&d->api);
	updatefeeds_free(&d->api);
	http_server_free(d->api.server);
	api_free(&d->api);
	config_free(d->config);
	if (d->lock_fd >= 0)
		close(d->lock_fd);
}

int
main(int argc, char **argv)
{
	static struct divand d = {.lock_fd = -1};
	struct options o = {0};
	int status = parse_options(argc, argv, &o);
	int err;

	if (status >= 0)
		return status;
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a file at its limit is a disk that is full: the write fails, the server goes on */
	raise_file_limit();
	err = start(&d, &o);
	if (err == 0)
		err = serve(&d);
	else
		log_line(LOG_ERROR, "divand cannot start: %s", err_reason(err));
	if (err == ERR_BUSY) {
		/*
		 * Whoever still waits has no answer yet, so nothing that was acknowledged is lost;
		 * and nothing may be freed below it.
		 */
		log_line(LOG_WARNING, "requests that did not end in time were cut off");
		_exit(0);
	}
	end(&d);
	return err == 0 ? 0 : 1;
}
