/*
 * httpc.c: the HTTP client on libcurl's easy interface.
 *
 * libcurl's own bound on slowness also counts the wait for an answer's head, which may rightly be long where the
 * server has to make what is asked for. So progress is watched here, in the callback that libcurl makes at least once
 * a second, with one bound up to the head and one for the body.
 *
 * A head is told when the first byte of its body arrives or the answer ends, since interim answers (1xx) have heads
 * as well.
 */
#include "httpc.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "version.h"

#define CONNECT_MS 10000u
#define STALL_MS 60000u

struct httpc {
	struct httpc_config config;
	CURL *curl;
	char text[CURL_ERROR_SIZE]; /* libcurl's words for a failure */
};

/* One request under way. */
struct transfer {
	struct httpc *c;
	const struct httpc_request *req;
	uint64_t moved_ms;    /* when the last byte came, or the connection was there */
	curl_off_t received;  /* bytes of the body so far */
	int connected;        /* the request is on its way */
	int told;             /* the head was handed on */
	int err;              /* a callback's */
	const char *too_slow; /* which bound was passed */
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static CURLcode once_rc;

static void
init_once(void)
{
	once_rc = curl_global_init(CURL_GLOBAL_DEFAULT);
}

static uint64_t
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000u + (uint64_t)t.tv_nsec / 1000000u;
}

int
httpc_new(const struct httpc_config *config, struct httpc **cp)
{
	struct httpc *c;

	(void)pthread_once(&once, init_once);
	if (once_rc != CURLE_OK || (c = calloc(1, sizeof(*c))) == NULL)
		return ERR_NOMEM;
	c->config = *config;
	if (c->config.times.connect_ms == 0)
		c->config.times.connect_ms = CONNECT_MS;
	if (c->config.times.stall_ms == 0)
		c->config.times.stall_ms = STALL_MS;
	c->curl = curl_easy_init();
	if (c->curl == NULL) {
		free(c);
		return ERR_NOMEM;
	}
	*cp = c;
	return 0;
}

void
httpc_free(struct httpc *c)
{
	if (c == NULL)
		return;
	curl_easy_cleanup(c->curl);
	free(c);
}

/* ---- While it runs ---- */

static int
tell_head(struct transfer *t)
{
	struct httpc_head head = {.length = UINT64_MAX, .type = "", .location = ""};
	struct curl_header *location = NULL;
	char *type = NULL;
	curl_off_t length = -1;
	long status = 0;

	if (t->told)
		return 0;
	t->told = 1;
	if (t->req->on_head == NULL)
		return 0;
	(void)curl_easy_getinfo(t->c->curl, CURLINFO_RESPONSE_CODE, &status);
	(void)curl_easy_getinfo(t->c->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
	(void)curl_easy_getinfo(t->c->curl, CURLINFO_CONTENT_TYPE, &type);
	head.status = (int)status;
	if (length >= 0)
		head.length = (uint64_t)length;
	if (type != NULL)
		head.type = type;
	/* libcurl's own idea of where a redirect goes may have the credentials in it. */
	if (curl_easy_header(t->c->curl, "Location", 0, CURLH_HEADER, -1, &location) == CURLHE_OK)
		head.location = location->value;
	t->err = t->req->on_head(t->req->cookie, &head);
	return t->err;
}

static size_t
on_write(char *data, size_t size, size_t n, void *cookie)
{
	struct transfer *t = cookie;

	if (tell_head(t) == 0)
		t->err = t->req->on_body(t->req->cookie, data, size * n);
	return t->err == 0 ? size * n : CURL_WRITEFUNC_ERROR;
}

/* Called when the connection stands, before the request is sent. */
static int
on_connected(void *cookie, char *peer, char *local, int peer_port, int local_port)
{
	struct transfer *t = cookie;

	(void)peer;
	(void)local;
	(void)peer_port;
	(void)local_port;
	t->connected = 1;
	t->moved_ms = now_ms();
	return CURL_PREREQFUNC_OK;
}

static int
on_progress(void *cookie, curl_off_t total, curl_off_t received, curl_off_t up_total, curl_off_t sent)
{
	struct transfer *t = cookie;
	unsigned bound = t->told ? t->c->config.times.stall_ms : t->c->config.times.head_ms;
	uint64_t now = now_ms();

	(void)total;
	(void)up_total;
	(void)sent;
	if (received != t->received) {
		t->received = received;
		t->moved_ms = now;
	}
	if (!t->connected || bound == 0 || now - t->moved_ms <= bound)
		return 0;
	t->too_slow = t->told ? "nothing came for too long" : "no answer came in time";
	return 1;
}

/* ---- The request ---- */

/* Without the credentials; returns what libcurl said first. */
static CURLcode
set_options(CURL *curl, struct transfer *t)
{
	const struct httpc_config *config = &t->c->config;
	CURLcode rc = CURLE_OK;

#define SET(option, value)                                               \
	do {                                                             \
		CURLcode set_rc = curl_easy_setopt(curl, option, value); \
		if (rc == CURLE_OK)                                      \
			rc = set_rc;                                     \
	} while (0)
	curl_easy_reset(curl); /* connections are kept */
	SET(CURLOPT_URL, t->req->url);
	SET(CURLOPT_PROTOCOLS_STR, "http,https");
	SET(CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_PROXY, "");
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_TCP_KEEPALIVE, 1L);
	SET(CURLOPT_USERAGENT, "Divan/" DIVAN_VERSION);
	SET(CURLOPT_CONNECTTIMEOUT_MS, (long)config->times.connect_ms);
	SET(CURLOPT_ERRORBUFFER, t->c->text);
	SET(CURLOPT_WRITEFUNCTION, on_write);
	SET(CURLOPT_WRITEDATA, t);
	SET(CURLOPT_PREREQFUNCTION, on_connected);
	SET(CURLOPT_PREREQDATA, t);
	SET(CURLOPT_XFERINFOFUNCTION, on_progress);
	SET(CURLOPT_XFERINFODATA, t);
	SET(CURLOPT_NOPROGRESS, 0L);
	if (config->ca_file != NULL)
		SET(CURLOPT_CAINFO, config->ca_file);
	if (t->req->netrc)
		SET(CURLOPT_NETRC, (long)CURL_NETRC_OPTIONAL);
	SET(CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
	if (t->req->user != NULL) {
		SET(CURLOPT_USERNAME, t->req->user);
		SET(CURLOPT_PASSWORD, t->req->password);
	}
#undef SET
	return rc;
}

static int
set_headers(CURL *curl, const struct httpc_request *req, struct curl_slist **listp)
{
	struct curl_slist *grown;

	for (size_t i = 0; i < req->nheaders; i++) {
		if ((grown = curl_slist_append(*listp, req->headers[i])) == NULL)
			return ERR_NOMEM;
		*listp = grown;
	}
	return curl_easy_setopt(curl, CURLOPT_HTTPHEADER, *listp) == CURLE_OK ? 0 : ERR_NOMEM;
}

static int
why_failed(const struct transfer *t, CURLcode rc, struct errtext *why)
{
	const char *text = t->c->text[0] != '\0' ? t->c->text : curl_easy_strerror(rc);

	if (t->err)
		return t->err;
	switch (rc) {
	case CURLE_OK:
		return 0;
	case CURLE_OUT_OF_MEMORY:
		return ERR_NOMEM;
	case CURLE_URL_MALFORMAT:
	case CURLE_UNSUPPORTED_PROTOCOL:
		return err_why(why, ERR_BAD_REQUEST, "%s", text);
	case CURLE_LOGIN_DENIED:
		return err_why(why, ERR_BAD_REQUEST, "the URL has credentials");
	default:
		return err_why(why, ERR_IO, "%s", t->too_slow != NULL ? t->too_slow : text);
	}
}

int
httpc_get(struct httpc *c, const struct httpc_request *req, int *statusp, struct errtext *why)
{
	struct transfer t = {.c = c, .req = req};
	struct curl_slist *headers = NULL;
	long status = 0;
	CURLcode rc;
	int err;

	c->text[0] = '\0';
	rc = set_options(c->curl, &t);
	err = rc != CURLE_OK ? why_failed(&t, rc, why) : set_headers(c->curl, req, &headers);
	if (err == 0) {
		rc = curl_easy_perform(c->curl);
		if (rc == CURLE_OK)
			(void)tell_head(&t);
		err = why_failed(&t, rc, why);
	}
	(void)curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
	*statusp = (int)status;
	curl_slist_free_all(headers);
	return err;
}
