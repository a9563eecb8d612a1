/* server.h: a running divand that is asked over HTTP. */
#ifndef CLI_SERVER_H_
#define CLI_SERVER_H_

#include "base/buf.h"
#include "base/httpc.h"
#include "base/jread.h"
#include "credentials.h"

#define SERVER_DEFAULT_URL "http://127.0.0.1:5984"
#define SERVER_URL_MAX 8192u

struct server {
	const char *url; /* without credentials; for people too */
	struct httpc_loop *client;
	struct credentials who;
};

/* An answer.  buf_init() is the caller's; it is cleared first. */
struct server_answer {
	int status;
	struct buf body;
};

/**
 * server_open(s, url, user, ca_file): ${url} NULL: the usual one; ${user} NULL: whom the environment names; ${ca_file} NULL: the
 * system's certificates.  Errors, said on standard error: ERR_BAD_REQUEST, server_credentials()'s, ERR_NOMEM.
 */
int server_open(struct server *s, const char *url, const char *user, const char *ca_file) MUST_CHECK;
void server_close(struct server *s);

/**
 * server_credentials(url, user, who): Who asks ${url}, with a password if there is a name.  Errors, said on standard error: ERR_MISSING (no password
 * for ${user}), ERR_TOO_LARGE.
 */
int server_credentials(const char *url, const char *user, struct credentials *who) MUST_CHECK;

/** server_has_credentials(url): 1 if a name or password stands in it, where ps(1) shows it to others. */
int server_has_credentials(const char *url);

/** server_put_url(s, path, b): Append the URL of ${path}, which begins with '/', and a NUL. */
int server_put_url(const char *url, const char *path, struct buf *b) MUST_CHECK;

/** server_request(s, method, url, body, req): Fill in ${req} for JSON; callbacks are the caller's. */
void server_request(
    const struct server *s, const char *method, const char *url, const struct buf *body, struct httpc_request *req);

/**
 * server_ask(s, method, path, body, out): One request, to its end; ${body} may be NULL.  Who has not given a password and is asked for one
 * by the server is asked at the terminal.  Errors: those of httpc_get(), which are said if not ${quiet}.
 */
int server_ask(struct server *s, const char *method, const char *path, const struct buf *body, int quiet,
    struct server_answer *out) MUST_CHECK;

/** server_member(object, key, out): The text of a member of the JSON object.  Returns 1 if it has one. */
int server_member(struct jstr object, const char *key, struct jstr *out);
/** server_number(object, key, out): The same of a number that is not negative. */
int server_number(struct jstr object, const char *key, uint64_t *out);
/** server_reason(body, out): The "reason" of CouchDB's errors, or ""; shortened to fit. */
void server_reason(const struct buf *body, struct errtext *out);

#endif
