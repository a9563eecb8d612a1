/*
 * httpc_transfer.c: what libcurl is told of a request, and what it tells.
 *
 * 1. Bounds on time are ours. libcurl's own bound on slowness also counts the wait for an answer's head, which may
 *    rightly be long, and time that a callback has paused; and it wakes for each request each second.
 * 2. A head is told at its empty line, so that one is told whose body has not begun; not where libcurl goes on by itself,
 *    which is after interim answers (1xx) and after 417 (the request is sent anew without Expect).
 * 3. libcurl 7.88 cannot pause one stream of an HTTP/2 connection: others on it get stuck, and each may have 32 MiB in
 *    memory. What may pause is asked over HTTP/1.1.
 * 4. An answer of 400 or above ends the sending, and libcurl then waits for a sender that is paused: it is resumed.
 * 5. A server that refuses a body may close the connection at once, and what is sent then makes the kernel say so before
 *    the answer is read. So an answer that waits is read before more is sent: the loop gives libcurl what came before
 *    what can go, bodies that do not fit into one write go piece by piece, and before each piece there is a look.
 * 6. No text of libcurl is passed on that may have a URL in it: URLs and proxies are parsed before it sees them.
 */
#include "httpc_transfer.h"

#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "limits.h"
#include "version.h"

#define ONE_WRITE 65536u /* bytes of a body that libcurl sends with the request's head */
#define CONTINUE_MS 500L /* that it waits for leave to send more than a MiB, where a server does not give it */

/* ---- What libcurl calls ---- */

const char *
httpc_header(const struct httpc_head *head, const char *name, size_t index)
{
	const struct httpc_transfer *t = head->transfer;
	struct curl_header *h = NULL;
	size_t len;

	if (t->common->curl->easy_header(t->easy, name, index, CURLH_HEADER, -1, &h) != CURLHE_OK)
		return NULL;
	/* libcurl 7.88 leaves the line's end where a value is empty. */
	len = strlen(h->value);
	while (len > 0 && strchr(" \t\r\n", h->value[len - 1]) != NULL)
		h->value[--len] = '\0';
	return h->value;
}

static uint64_t
length_of(const struct httpc_head *head)
{
	const char *text = httpc_header(head, "Content-Length", 0);
	char *end;
	unsigned long long n;

	if (text == NULL)
		return HTTPC_UNKNOWN;
	n = strtoull(text, &end, 10);
	return end != text && *end == '\0' ? n : HTTPC_UNKNOWN;
}

static int
tell_head(struct httpc_transfer *t)
{
	struct httpc_head head = {.transfer = t};
	long status = 0;

	if (t->told)
		return t->err;
	t->told = 1;
	(void)t->common->curl->easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
	t->status = head.status = (int)status;
	if (t->req->on_head == NULL)
		return 0;
	head.length = length_of(&head);
	if ((head.type = httpc_header(&head, "Content-Type", 0)) == NULL)
		head.type = "";
	if ((head.location = httpc_header(&head, "Location", 0)) == NULL)
		head.location = "";
	t->err = t->req->on_head(t->req->cookie, &head);
	return t->err;
}

static size_t
on_header(char *line, size_t size, size_t n, void *cookie)
{
	struct httpc_transfer *t = cookie;
	long status = 0;

	t->head_len += n * size;
	if (t->head_len > LIMIT_ANSWER_HEAD_LEN) {
		t->err = err_why(&t->why, ERR_IO, "the answer's head has no end");
		return CURL_WRITEFUNC_ERROR;
	}
	if (n * size > 2 || (line[0] != '\r' && line[0] != '\n') || t->told)
		return n * size;
	(void)t->common->curl->easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
	t->headed = status >= 200;
	if (status < 200 || status == 417)
		return n * size;
	if (tell_head(t) != 0)
		return CURL_WRITEFUNC_ERROR;
	if (status >= 400 && t->read_paused)
		httpc_resume(t->req);
	return n * size;
}

static size_t
on_write(char *data, size_t size, size_t n, void *cookie)
{
	struct httpc_transfer *t = cookie;
	int err;

	if (tell_head(t) != 0)
		return CURL_WRITEFUNC_ERROR;
	if (t->req->on_body == NULL || (err = t->req->on_body(t->req->cookie, data, n * size)) == 0)
		return n * size;
	if (err == HTTPC_PAUSE && t->req->pauses) {
		t->write_paused = 1;
		return CURL_WRITEFUNC_PAUSE;
	}
	t->err = err == HTTPC_PAUSE ? ERR_INTERNAL : err;
	return CURL_WRITEFUNC_ERROR;
}

/* 1: something came that was not read yet. */
static int
answer_waits(struct httpc_transfer *t)
{
	struct pollfd p = {.events = POLLIN};
	curl_socket_t fd = CURL_SOCKET_BAD;

	if (t->multiplexed || t->write_paused ||
	    t->common->curl->easy_getinfo(t->easy, CURLINFO_ACTIVESOCKET, &fd) != CURLE_OK)
		return 0;
	p.fd = fd;
	return fd != CURL_SOCKET_BAD && poll(&p, 1, 0) > 0;
}

static int
pull(struct httpc_transfer *t, char *buf, size_t size, size_t *lenp)
{
	if (t->req->on_read != NULL)
		return t->req->on_read(t->req->cookie, buf, size, lenp);
	memcpy(buf, (const char *)t->req->body + t->pulled, size);
	*lenp = size;
	return 0;
}

static size_t
on_read(char *buf, size_t size, size_t n, void *cookie)
{
	struct httpc_transfer *t = cookie;
	uint64_t left = t->req->body_len - t->pulled;
	size_t space = n * size < left ? n * size : (size_t)left;
	size_t len = 0;
	int err;

	if (space == 0)
		return 0;
	if (answer_waits(t)) {
		t->read_paused = 1;
		httpc_resume(t->req);
		return CURL_READFUNC_PAUSE;
	}
	err = pull(t, buf, space, &len);
	if (err == HTTPC_PAUSE) {
		t->read_paused = 1;
		return CURL_READFUNC_PAUSE;
	}
	if (err == 0 && (len == 0 || len > space))
		err = err_why(&t->why, ERR_INTERNAL, "the request's body is shorter than was said");
	if (err) {
		t->err = err;
		return CURL_READFUNC_ABORT;
	}
	t->pulled += len;
	return len;
}

/* libcurl sends anew over another connection if a kept one turns out to be closed; what a stream gave is gone. */
static int
on_seek(void *cookie, curl_off_t offset, int origin)
{
	struct httpc_transfer *t = cookie;

	if (origin != SEEK_SET || (t->req->on_read != NULL && (uint64_t)offset != t->pulled))
		return CURL_SEEKFUNC_FAIL;
	t->pulled = (uint64_t)offset;
	return CURL_SEEKFUNC_OK;
}

/* The connection stands, the request is sent next. */
static int
on_connected(void *cookie, char *peer, char *local, int peer_port, int local_port)
{
	struct httpc_transfer *t = cookie;

	(void)peer;
	(void)local;
	(void)peer_port;
	(void)local_port;
	t->connected = 1;
	t->moved = UINT64_MAX; /* the bounds begin at the next look */
	return CURL_PREREQFUNC_OK;
}

static curl_socket_t
on_socket(void *cookie, curlsocktype purpose, struct curl_sockaddr *addr)
{
	struct httpc_transfer *t = cookie;
	const struct httpc_config *config = &t->common->config;

	(void)purpose;
	if (config->allow != NULL && !config->allow(config->allow_cookie, &addr->addr, addr->addrlen)) {
		if (getnameinfo(&addr->addr, addr->addrlen, t->refused, sizeof(t->refused), NULL, 0, NI_NUMERICHOST) !=
		    0)
			memcpy(t->refused, "?", 2);
		return CURL_SOCKET_BAD;
	}
	t->asked++;
	t->common->connections++;
	return socket(addr->family, addr->socktype | SOCK_CLOEXEC, addr->protocol);
}

static CURLcode
on_ssl(CURL *easy, void *ssl_ctx, void *cookie)
{
	struct httpc_transfer *t = cookie;

	(void)easy;
	t->common->curl->set_verify_depth(ssl_ctx, (int)t->common->config.verify_depth);
	return CURLE_OK;
}

/* ---- What libcurl is told ---- */

/* Each returns 1 if libcurl refused something, which it does for want of memory. */
#define SET(option, value) (failed |= t->common->curl->easy_setopt(t->easy, option, (value)) != CURLE_OK)

static int
set_connection(struct httpc_transfer *t)
{
	const struct httpc_request *req = t->req;
	int failed = 0;

	SET(CURLOPT_CURLU, t->url);
	SET(CURLOPT_PATH_AS_IS, 1L);
	SET(CURLOPT_PROTOCOLS_STR, "http,https");
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_QUICK_EXIT, 1L); /* else the loop would wait for a name that nobody waits for any more */
	SET(CURLOPT_TCP_KEEPALIVE, 1L);
	SET(CURLOPT_EXPECT_100_TIMEOUT_MS, CONTINUE_MS);
	SET(CURLOPT_CONNECTTIMEOUT_MS, (long)t->times.connect_ms);
	SET(CURLOPT_HTTP_VERSION, t->multiplexed ? (long)CURL_HTTP_VERSION_2TLS : (long)CURL_HTTP_VERSION_1_1);
	/* Where it cannot be HTTP/2 requests would wait for each other's connections. */
	SET(CURLOPT_PIPEWAIT, t->multiplexed ? 1L : 0L);
	SET(CURLOPT_BUFFERSIZE, req->feed ? 4096L : 65536L);
	SET(CURLOPT_OPENSOCKETFUNCTION, on_socket);
	SET(CURLOPT_OPENSOCKETDATA, t);
	SET(CURLOPT_PREREQFUNCTION, on_connected);
	SET(CURLOPT_PREREQDATA, t);
	SET(CURLOPT_NOPROXY, "");
	SET(CURLOPT_PROXY, t->proxy != NULL ? t->proxy : "");
	SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	if (t->proxy_user != NULL) {
		SET(CURLOPT_PROXYUSERNAME, t->proxy_user);
		SET(CURLOPT_PROXYPASSWORD, t->proxy_password);
	}
	return failed;
}

static int
set_tls(struct httpc_transfer *t)
{
	const struct httpc_config *config = &t->common->config;
	int failed = 0;

	/* A folder of certificates keeps libcurl from parsing the file of them once only. */
	SET(CURLOPT_CAPATH, NULL);
	SET(CURLOPT_PROXY_CAPATH, NULL);
	if (config->ca_file != NULL) {
		SET(CURLOPT_CAINFO, config->ca_file);
		SET(CURLOPT_PROXY_CAINFO, config->ca_file);
	}
	if (config->no_verify) {
		SET(CURLOPT_SSL_VERIFYPEER, 0L);
		SET(CURLOPT_SSL_VERIFYHOST, 0L);
		SET(CURLOPT_PROXY_SSL_VERIFYPEER, 0L);
		SET(CURLOPT_PROXY_SSL_VERIFYHOST, 0L);
	}
	if (config->cert_file != NULL) {
		SET(CURLOPT_SSLCERT, config->cert_file);
		SET(CURLOPT_SSLKEY, config->key_file != NULL ? config->key_file : config->cert_file);
		if (config->key_password != NULL)
			SET(CURLOPT_KEYPASSWD, config->key_password);
	}
	if (config->verify_depth > 0 && t->common->curl->set_verify_depth != NULL) {
		SET(CURLOPT_SSL_CTX_FUNCTION, on_ssl);
		SET(CURLOPT_SSL_CTX_DATA, t);
	}
	return failed;
}

static int
set_body(struct httpc_transfer *t, const char *method)
{
	const struct httpc_request *req = t->req;
	int failed = 0;

	if (req->on_read != NULL || req->body_len > ONE_WRITE) {
		SET(CURLOPT_UPLOAD, 1L);
		SET(CURLOPT_INFILESIZE_LARGE, (curl_off_t)req->body_len);
		SET(CURLOPT_READFUNCTION, on_read);
		SET(CURLOPT_READDATA, t);
		SET(CURLOPT_SEEKFUNCTION, on_seek);
		SET(CURLOPT_SEEKDATA, t);
	} else if (req->body != NULL || strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0) {
		SET(CURLOPT_POST, 1L);
		SET(CURLOPT_POSTFIELDSIZE_LARGE, req->body != NULL ? (curl_off_t)req->body_len : (curl_off_t)0);
		SET(CURLOPT_POSTFIELDS, req->body != NULL ? req->body : "");
	} else if (strcmp(method, "HEAD") == 0) {
		SET(CURLOPT_NOBODY, 1L);
	}
	if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
		SET(CURLOPT_CUSTOMREQUEST, method);
	return failed;
}

static int
set_request(struct httpc_transfer *t)
{
	const struct httpc_request *req = t->req;
	int failed = set_body(t, req->method != NULL ? req->method : "GET");

	SET(CURLOPT_USERAGENT, "Divan/" DIVAN_VERSION);
	SET(CURLOPT_HTTPHEADER, t->headers);
	SET(CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
	if (req->user != NULL) {
		SET(CURLOPT_USERNAME, req->user);
		SET(CURLOPT_PASSWORD, req->password);
	} else if (req->netrc) {
		SET(CURLOPT_NETRC, (long)CURL_NETRC_OPTIONAL);
	}
	if (req->decode)
		SET(CURLOPT_ACCEPT_ENCODING, "gzip, deflate");
	SET(CURLOPT_ERRORBUFFER, t->text);
	SET(CURLOPT_PRIVATE, t);
	SET(CURLOPT_HEADERFUNCTION, on_header);
	SET(CURLOPT_HEADERDATA, t);
	SET(CURLOPT_WRITEFUNCTION, on_write);
	SET(CURLOPT_WRITEDATA, t);
	return failed;
}
#undef SET

int
httpc_transfer_begin(struct httpc_transfer *t)
{
	if ((t->easy = t->common->curl->easy_init()) == NULL)
		return ERR_NOMEM;
	return set_connection(t) || set_tls(t) || set_request(t) ? ERR_NOMEM : 0;
}

/* ---- What the request says ---- */

static int
add_header(struct httpc_transfer *t, const char *text)
{
	struct curl_slist *grown = t->common->curl->slist_append(t->headers, text);

	if (grown == NULL)
		return ERR_NOMEM;
	t->headers = grown;
	return 0;
}

static int
is_header(const char *text, const char *name)
{
	size_t len = strlen(name);

	return strncasecmp(text, name, len) == 0 && text[len] == ':';
}

/* libcurl has ways to say with a header that there shall be none; here each is sent. */
static int
add_given(struct httpc_transfer *t, const char *text, struct errtext *why)
{
	size_t len = strcspn(text, ":");
	char *empty;
	int err;

	if (len == 0 || text[len] == '\0' || text[strcspn(text, "\r\n")] != '\0' || strcspn(text, " \t;") < len)
		return err_why(why, ERR_BAD_REQUEST, "a header is malformed");
	if (is_header(text, "Content-Length") || is_header(text, "Transfer-Encoding"))
		return err_why(why, ERR_BAD_REQUEST, "the header %.*s is not free to choose", (int)len, text);
	if (text[len + 1 + strspn(text + len + 1, " \t")] != '\0')
		return add_header(t, text);
	if ((empty = strndup(text, len + 1)) == NULL)
		return ERR_NOMEM;
	empty[len] = ';';
	err = add_header(t, empty);
	free(empty);
	return err;
}

static int
take_headers(struct httpc_transfer *t, struct errtext *why)
{
	const struct httpc_request *req = t->req;
	int typed = 0, err = 0;

	for (size_t i = 0; err == 0 && i < req->nheaders; i++) {
		typed |= is_header(req->headers[i], "Content-Type");
		err = add_given(t, req->headers[i], why);
	}
	/* Else libcurl calls each body a form. */
	return err == 0 && !typed ? add_header(t, "Content-Type:") : err;
}

/* libcurl's own words on proxies have the whole URL in them. */
static int
take_proxy(struct httpc_transfer *t, struct errtext *why)
{
	static const char *const schemes[] = {"http", "https", "socks4", "socks4a", "socks5", "socks5h"};
	const struct httpc_curl *curl = t->common->curl;
	CURLU *u = NULL;
	char *scheme = NULL;
	int err, known = 0;

	if (t->req->proxy == NULL || t->req->proxy[0] == '\0')
		return 0;
	err = httpc_parse(curl, t->req->proxy, CURLU_NON_SUPPORT_SCHEME, &u, NULL);
	if (err == 0)
		err = httpc_part(curl, u, CURLUPART_SCHEME, 0, &scheme);
	for (size_t i = 0; err == 0 && i < sizeof(schemes) / sizeof(schemes[0]); i++)
		known |= strcasecmp(scheme, schemes[i]) == 0;
	if (err == 0 && !known)
		err = ERR_BAD_REQUEST;
	if (err == 0)
		err = httpc_take_credentials(curl, u, &t->proxy_user, &t->proxy_password);
	if (err == 0)
		err = httpc_part(curl, u, CURLUPART_URL, CURLU_DEFAULT_PORT, &t->proxy);
	free(scheme);
	if (u != NULL)
		curl->url_cleanup(u);
	return err == ERR_BAD_REQUEST ? err_why(why, err, "the proxy is no http, https or socks URL") : err;
}

static int
take_url(struct httpc_transfer *t, struct errtext *why)
{
	const struct httpc_curl *curl = t->common->curl;
	char *scheme = NULL, *host = NULL, *port = NULL;
	int err = httpc_parse(curl, t->req->url, CURLU_DISALLOW_USER | CURLU_PATH_AS_IS, &t->url, why);

	if (err == 0 && (err = httpc_part(curl, t->url, CURLUPART_SCHEME, 0, &scheme)) == 0 &&
	    strcasecmp(scheme, "http") != 0 && strcasecmp(scheme, "https") != 0)
		err = err_why(why, ERR_BAD_REQUEST, "no http or https URL");
	if (err == 0)
		err = httpc_part(curl, t->url, CURLUPART_HOST, 0, &host);
	if (err == 0)
		err = httpc_part(curl, t->url, CURLUPART_PORT, CURLU_DEFAULT_PORT, &port);
	if (err == 0 && asprintf(&t->host, "%s://%s:%s %s", scheme, host, port, t->proxy != NULL ? t->proxy : "") < 0) {
		t->host = NULL;
		err = ERR_NOMEM;
	}
	t->multiplexed = err == 0 && strcasecmp(scheme, "https") == 0 && !t->req->pauses && t->req->on_read == NULL;
	free(scheme);
	free(host);
	free(port);
	return err;
}

static int
take_method(const struct httpc_request *req, struct errtext *why)
{
	const char *m = req->method != NULL ? req->method : "GET";

	if (*m == '\0' || m[strspn(m, "ABCDEFGHIJKLMNOPQRSTUVWXYZ")] != '\0')
		return err_why(why, ERR_BAD_REQUEST, "no HTTP method");
	return 0;
}

static uint32_t
first_of(uint32_t a, uint32_t b)
{
	return a != 0 ? a : b;
}

int
httpc_transfer_new(
    struct httpc_common *common, struct httpc_request *req, struct httpc_transfer **tp, struct errtext *why)
{
	struct httpc_transfer *t = calloc(1, sizeof(*t));
	const struct httpc_times *times = &common->config.times;
	int err;

	if (t == NULL)
		return ERR_NOMEM;
	t->common = common;
	t->req = req;
	t->times.connect_ms = first_of(req->times.connect_ms, times->connect_ms);
	t->times.head_ms = req->feed ? HTTPC_FOREVER : first_of(req->times.head_ms, times->head_ms);
	t->times.stall_ms = first_of(req->times.stall_ms, times->stall_ms);
	if ((err = take_method(req, why)) != 0 || (err = take_proxy(t, why)) != 0 || (err = take_url(t, why)) != 0 ||
	    (err = take_headers(t, why)) != 0) {
		httpc_transfer_free(t);
		return err;
	}
	*tp = t;
	return 0;
}

void
httpc_transfer_free(struct httpc_transfer *t)
{
	const struct httpc_curl *curl;

	if (t == NULL)
		return;
	curl = t->common->curl;
	if (t->easy != NULL)
		curl->easy_cleanup(t->easy);
	if (t->url != NULL)
		curl->url_cleanup(t->url);
	curl->slist_free_all(t->headers);
	free(t->proxy);
	httpc_forget(t->proxy_user);
	httpc_forget(t->proxy_password);
	free(t->host);
	free(t);
}

/* ---- While it runs ---- */

int
httpc_transfer_resume(struct httpc_transfer *t)
{
	if (!t->read_paused && !t->write_paused)
		return 0;
	t->read_paused = t->write_paused = 0;
	t->moved = UINT64_MAX;
	if (t->common->curl->easy_pause(t->easy, CURLPAUSE_CONT) == CURLE_OK)
		return 0;
	/* A callback that fails in there: libcurl says so here alone, and leaves the transfer where it is. */
	if (t->err == 0)
		t->err = err_why(&t->why, ERR_IO, "it cannot be gone on with");
	return 1;
}

/* libcurl does not bound the wait for another's connection, which one after the other would try to make. */
static int
no_connection(struct httpc_transfer *t, uint64_t now_ms)
{
	uint32_t bound = t->times.connect_ms;

	if (t->moved_ms == 0)
		t->moved_ms = now_ms;
	if (bound == HTTPC_FOREVER || now_ms - t->moved_ms <= bound + bound / 8)
		return 0;
	t->err = err_why(&t->why, ERR_IO, "no connection in time");
	return 1;
}

int
httpc_transfer_slow(struct httpc_transfer *t, uint64_t now_ms)
{
	curl_off_t up = 0, down = 0;
	uint32_t bound = t->told ? t->times.stall_ms : t->times.head_ms;
	uint64_t moved;

	if (t->err != 0)
		return 1;
	if (!t->connected)
		return no_connection(t, now_ms);
	(void)t->common->curl->easy_getinfo(t->easy, CURLINFO_SIZE_UPLOAD_T, &up);
	(void)t->common->curl->easy_getinfo(t->easy, CURLINFO_SIZE_DOWNLOAD_T, &down);
	moved = (uint64_t)up + (uint64_t)down + t->head_len;
	if (moved != t->moved || t->read_paused || t->write_paused) {
		t->moved = moved;
		t->moved_ms = now_ms;
	}
	if ((uint64_t)up < t->req->body_len)
		bound = t->times.stall_ms;
	if (bound == HTTPC_FOREVER || now_ms - t->moved_ms <= bound)
		return 0;
	t->err = err_why(&t->why, ERR_IO, "%s",
	    bound == t->times.head_ms && !t->told ? "no answer came in time" : "nothing came or went for too long");
	return 1;
}

uint32_t
httpc_transfer_step(const struct httpc_transfer *t)
{
	uint32_t least = t->times.head_ms < t->times.stall_ms ? t->times.head_ms : t->times.stall_ms;

	if (!t->connected && t->times.connect_ms < least)
		least = t->times.connect_ms;
	if (least == HTTPC_FOREVER)
		return HTTPC_FOREVER;
	return least > 80 ? least / 8 : 10;
}

static int
failed(const struct httpc_transfer *t, CURLcode rc, struct errtext *why)
{
	const char *text = t->text[0] != '\0' ? t->text : t->common->curl->easy_strerror(rc);

	switch (rc) {
	case CURLE_OK:
		return err_why(why, ERR_IO, "the answer was cut off in its head");
	case CURLE_OUT_OF_MEMORY:
		/* So it calls a line of a head that is longer than it likes, too. */
		return t->connected && !t->headed ? err_why(why, ERR_IO, "the answer's head has no end") : ERR_NOMEM;
	case CURLE_URL_MALFORMAT:
		return err_why(why, ERR_BAD_REQUEST, "%s", t->common->curl->easy_strerror(rc));
	case CURLE_UNSUPPORTED_PROTOCOL:
		return err_why(why, ERR_IO, "the answer is no HTTP");
	case CURLE_COULDNT_CONNECT:
		if (t->refused[0] != '\0' && t->asked == 0)
			return err_why(why, ERR_FORBIDDEN, "connections to %s are not allowed here", t->refused);
		break;
	case CURLE_SEND_ERROR:
	case CURLE_SEND_FAIL_REWIND:
		return err_why(why, ERR_IO, "the connection was closed while the request was sent");
	default:
		break;
	}
	return err_why(why, ERR_IO, "%s", text);
}

/*
 * libcurl repeats by itself what a server that closes an HTTP/2 connection says it has not seen, but for the request at
 * which it closed it. Some servers do so after 1,000 requests.
 */
int
httpc_transfer_again(struct httpc_transfer *t, CURLcode rc)
{
	if ((rc != CURLE_HTTP2 && rc != CURLE_HTTP2_STREAM) || t->repeated || t->headed || t->err ||
	    t->req->on_read != NULL)
		return 0;
	t->repeated = 1;
	t->connected = 0;
	t->moved_ms = 0;
	t->pulled = t->head_len = 0;
	t->text[0] = '\0';
	return 1;
}

int
httpc_transfer_result(struct httpc_transfer *t, CURLcode rc, struct errtext *why)
{
	if (rc == CURLE_OK && t->err == 0 && t->headed)
		(void)tell_head(t);
	if (t->err) {
		*why = t->why;
		return t->err;
	}
	return rc == CURLE_OK && t->headed ? 0 : failed(t, rc, why);
}
