/*
 * httpc.h: an HTTP client.  libcurl stands behind it, in httpc.c alone; who does not call it does not load it.
 *
 * A request blocks its thread.  Bodies of answers are handed on as they arrive, so that their size does not matter.
 * http and https alone; certificates are verified; redirects are answers like others; the environment's proxies are
 * not used; a URL with credentials is refused.
 */
#ifndef BASE_HTTPC_H_
#define BASE_HTTPC_H_

#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

/* Opaque: one client.  Its connections are kept for its next request.  One thread at a time uses it. */
struct httpc;

/* Bounds on time.  What is 0 takes the value given. */
struct httpc_config {
	unsigned connect_ms; /* looking up the name, connecting, TLS: 10,000 */
	unsigned head_ms;    /* from the connection to the end of the answer's head: no bound */
	unsigned stall_ms;   /* without a byte of the body: 60,000 */
	const char *ca_file; /* PEM: certificates to trust; NULL: the system's */
};

/* An answer's head. */
struct httpc_head {
	int status;
	uint64_t length;      /* of the body; UINT64_MAX: not told */
	const char *type;     /* Content-Type, or "" */
	const char *location; /* the header, or "" */
};

struct httpc_request {
	const char *url;
	const char *user, *password; /* Basic; both or neither */
	int netrc;                   /* 1: where user is NULL, both are looked for in ~/.netrc */
	const char *const *headers;  /* "Name: value" */
	size_t nheaders;
	/*
	 * Called for the head, once, and for each piece of the body; another value than 0 ends the request with it.
	 * on_head may be NULL.  What they are given lives until they return.
	 */
	int (*on_head)(void *cookie, const struct httpc_head *head);
	int (*on_body)(void *cookie, const void *data, size_t len);
	void *cookie;
};

/** httpc_new(config, cp), httpc_free(c): ${config}'s strings are borrowed until then.  Errors: ERR_NOMEM. */
int httpc_new(const struct httpc_config *config, struct httpc **cp) MUST_CHECK;
void httpc_free(struct httpc *c);

/**
 * httpc_get(c, req, statusp, why): GET.  Returns 0 when the whole answer came, whatever its status.  Errors, each with
 * ${why} for people: ERR_BAD_REQUEST (no http or https URL), ERR_IO (no connection, no trust, too slow, cut off);
 * ERR_NOMEM; what a callback returned.
 */
int httpc_get(struct httpc *c, const struct httpc_request *req, int *statusp, struct errtext *why) MUST_CHECK;

#endif
