/*
 * replications.c: what the replicator is given here.
 *
 * The HTTP client is made when the first end behind HTTP is opened: a server without any has no thread and no libcurl for it.
 *
 * Which addresses may be reached is asked for each address as it was resolved, before connecting to it: names cannot lead
 * around it.  Through a proxy it is the proxy's address that is asked about.
 */
#include "replications.h"

#include <pthread.h>
#include <stdlib.h>
#include <strings.h>

#include "accounts.h"
#include "base/httpc.h"
#include "base/log.h"
#include "repdocs.h"
#include "repfilter.h"
#include "replicator/peer_http.h"
#include "replicator/replicator.h"
#include "http/peers.h"

struct replications {
	struct api *api;
	struct rep_defaults defaults;
	struct server_nets *allowed, *blocked; /* NULL: all, none */
	pthread_rwlock_t told;                 /* who tells the replicator of commits reads; who takes it away writes */
	pthread_mutex_t lock;
	struct httpc_loop *loop; /* under the lock; NULL: not needed so far */
};

static const char *
setting(const struct api *api, const char *key, const char *dflt)
{
	return config_get(api->config, "replicator", key, dflt);
}

static uint64_t
number(const struct api *api, const char *key, uint64_t dflt)
{
	return config_u64(api->config, "replicator", key, dflt);
}

static const char *
file(const struct api *api, const char *key)
{
	const char *name = setting(api, key, "");

	return *name != '\0' ? name : NULL;
}

/* ---- What may be reached ---- */

static int
may_reach(void *cookie, const struct sockaddr *sa, unsigned len)
{
	const struct replications *p = cookie;
	struct server_addr addr;

	(void)len;
	server_addr_of(sa, &addr);
	if (p->allowed != NULL && !server_nets_have(p->allowed, &addr))
		return 0;
	return !server_nets_have(p->blocked, &addr);
}

/* Is the scheme of ${url} in the list "http,https"? */
static int
is_listed(const char *list, const char *url)
{
	size_t len = strcspn(url, ":");

	while (*list != '\0') {
		size_t n;

		list += strspn(list, ", ");
		n = strcspn(list, ", ");
		if (n == len && strncasecmp(list, url, n) == 0)
			return 1;
		list += n;
	}
	return 0;
}

static int
check_end(const struct api *api, const struct rep_end *end, struct errtext *why)
{
	if (end->url == NULL)
		return 0;
	if (!is_listed(setting(api, "valid_endpoint_protocols", "http,https"), end->url))
		return err_why(why, ERR_FORBIDDEN, "endpoint has an invalid url");
	if (end->proxy != NULL && *end->proxy != '\0' &&
	    !is_listed(setting(api, "valid_proxy_protocols", "http,https,socks5"), end->proxy))
		return err_why(why, ERR_FORBIDDEN, "proxy has an invalid url");
	return 0;
}

int
replications_parse(struct api *api, struct jstr text, struct arena *a, struct rep_spec *out, struct errtext *why)
{
	int err = spec_parse(text, &api->replications->defaults, a, out, why);

	if (err == 0)
		err = check_end(api, &out->source, why);
	return err != 0 ? err : check_end(api, &out->target, why);
}

/* ---- Ends behind HTTP ---- */

static int
make_loop(struct replications *p)
{
	const struct api *api = p->api;
	struct httpc_config c = {.per_host = (uint32_t)number(api, "http_connections_per_host", 0),
	    .ca_file = file(api, "ssl_trusted_certificates_file"),
	    .cert_file = file(api, "cert_file"),
	    .key_file = file(api, "key_file"),
	    .key_password = file(api, "password"),
	    .verify_depth = (uint32_t)number(api, "ssl_certificate_max_depth", 3),
	    .no_verify = !config_bool(api->config, "replicator", "verify_ssl_certificates", 1),
	    .allow = p->allowed != NULL || p->blocked != NULL ? may_reach : NULL,
	    .allow_cookie = p};

	return httpc_loop_new(&c, &p->loop);
}

static int
remote(void *cookie, const struct rep_spec *spec, const struct rep_end *end, const struct peer_filter *filter,
    uint64_t owner, struct peer **pp, struct errtext *why)
{
	struct replications *p = cookie;
	struct peer_http_config c = {.ex = p->api->ex, .end = end, .spec = spec, .filter = filter, .owner = owner};
	int err = check_end(p->api, end, why);

	if (err != 0)
		return err;
	pthread_mutex_lock(&p->lock);
	if (p->loop == NULL)
		err = make_loop(p);
	c.loop = p->loop;
	pthread_mutex_unlock(&p->lock);
	return err != 0 ? err : peer_http_new(&c, pp);
}

/* ---- Accounts ---- */

static int
account(void *cookie, const char *name, struct arena *a, struct principal *out)
{
	const struct replications *p = cookie;
	struct account found;
	int err = accounts_find(p->api, name, strlen(name), a, &found);

	if (err != 0)
		return err;
	*out = (struct principal){
	    .name = name, .roles = found.roles, .nroles = found.nroles, .server_admin = found.server_admin};
	return 0;
}

/* ---- Beginning and end ---- */

static int
load_nets(const struct api *api, const char *key, struct server_nets **netsp)
{
	const char *list = setting(api, key, "");
	int err;

	if (*list == '\0')
		return 0;
	err = server_nets_new(list, netsp);
	if (err == ERR_BAD_REQUEST)
		log_line(LOG_ERROR, "replicator/%s: '%s' is no list of networks", key, list);
	return err;
}

static void
load_defaults(const struct api *api, struct rep_defaults *d)
{
	d->server = api->uuid;
	d->checkpoint_ms = number(api, "checkpoint_interval", 30000);
	d->workers = (unsigned)number(api, "worker_processes", 4);
	d->batch = (unsigned)number(api, "worker_batch_size", 500);
	d->connections = (unsigned)number(api, "http_connections", 20);
	d->retries = (unsigned)number(api, "retries_per_request", 5);
	d->timeout_ms = number(api, "connection_timeout", 30000);
	d->checkpoints = config_bool(api->config, "replicator", "use_checkpoints", 1);
	d->bulk_get = config_bool(api->config, "replicator", "use_bulk_get", 1);
}

static int
make_replicator(struct replications *p)
{
	struct api *api = p->api;
	struct replicator_config c = {.dbs = api->dbs,
	    .ex = api->ex,
	    .slow = api->slow,
	    .node = API_NODE,
	    .defaults = p->defaults,
	    .judge = repfilter_judge(api),
	    .account = account,
	    .remote = remote,
	    .cookie = p};

	c.limits.max_jobs = (unsigned)number(api, "max_jobs", 500);
	c.limits.max_churn = (unsigned)number(api, "max_churn", 20);
	c.limits.interval_ms = number(api, "interval", 60000);
	c.limits.max_history = (unsigned)number(api, "max_history", 20);
	c.limits.jitter_ms = number(api, "startup_jitter", 5000);
	c.limits.backoff_ms = number(api, "backoff", 30000);
	return replicator_new(&c, &api->replicator);
}

int
replications_new(struct api *api)
{
	struct replications *p = calloc(1, sizeof(*p));
	int err;

	if (p == NULL)
		return ERR_NOMEM;
	if (pthread_mutex_init(&p->lock, NULL) != 0 || pthread_rwlock_init(&p->told, NULL) != 0) {
		free(p);
		return ERR_NOMEM;
	}
	p->api = api;
	api->replications = p;
	load_defaults(api, &p->defaults);
	err = load_nets(api, "allowed_networks", &p->allowed);
	if (err == 0)
		err = load_nets(api, "blocked_networks", &p->blocked);
	return err != 0 ? err : make_replicator(p);
}

/* Requests that wait for a replication get their answers while there still is a server. */
static void
on_shutdown(void *arg)
{
	const struct api *api = arg;

	replicator_stop(api->replicator);
}

int
replications_start(struct api *api)
{
	int err = http_thread_on_shutdown(http_server_thread(api->server, 0), on_shutdown, api);

	return err == 0 ? replicator_start(api->replicator) : err;
}

void
replications_stop(struct api *api)
{
	struct replicator *r = api->replicator;

	if (r == NULL)
		return;
	replicator_stop(r);
	pthread_rwlock_wrlock(&api->replications->told);
	api->replicator = NULL;
	pthread_rwlock_unlock(&api->replications->told);
	replicator_free(r);
}

void
replications_free(struct api *api)
{
	struct replications *p = api->replications;

	if (p == NULL)
		return;
	httpc_loop_free(p->loop);
	server_nets_free(p->allowed);
	server_nets_free(p->blocked);
	pthread_mutex_destroy(&p->lock);
	pthread_rwlock_destroy(&p->told);
	free(p);
	api->replications = NULL;
}

void
replications_moved(struct api *api, const char *name, uint64_t seq, int dropped)
{
	struct replications *p = api->replications;

	if (p == NULL)
		return;
	pthread_rwlock_rdlock(&p->told);
	if (api->replicator != NULL)
		replicator_moved(api->replicator, name, seq, dropped);
	pthread_rwlock_unlock(&p->told);
}
