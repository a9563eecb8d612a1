/* httpc_transfer.h: one request and its libcurl handle.  All on the loop's thread.  Private to httpc. */
#ifndef BASE_HTTPC_TRANSFER_H_
#define BASE_HTTPC_TRANSFER_H_

#include <stdatomic.h>
#include <stdint.h>
#include <sys/queue.h>
#include "base/httpc.h"
#include "httpc_curl.h"
#include "httpc_queue.h"

/* What all transfers of a loop share. */
struct httpc_common {
	const struct httpc_curl *curl;
	struct httpc_config config;
	_Atomic uint64_t connections;
};

struct httpc_transfer {
	struct httpc_common *common;
	struct httpc_request *req;
	struct httpc_place place;        /* in its queue */
	LIST_ENTRY(httpc_transfer) link; /* of the loop's */
	CURL *easy;                      /* NULL: waits for its turn */
	CURLU *url;
	struct curl_slist *headers;
	char *proxy; /* without its credentials, which stand here: NULL: none */
	char *proxy_user, *proxy_password;
	char *host; /* whom it talks to, and through whom */
	struct httpc_times times;
	uint64_t moved_ms; /* when bytes were last seen to have moved */
	uint64_t moved;    /* bytes of bodies and heads, then */
	uint64_t pulled;   /* bytes that on_read gave */
	size_t head_len;   /* bytes of heads */
	unsigned asked;    /* addresses that were let through */
	char refused[64];  /* the last that was not */
	int status;
	int err; /* a callback's, or what is in why */
	struct errtext why;
	unsigned multiplexed : 1;   /* it may share a connection, if the server speaks HTTP/2 */
	unsigned connected : 1;     /* the request is on its way */
	unsigned headed : 1;        /* the answer's head came to its end */
	unsigned told : 1;          /* the head was handed on */
	unsigned repeated : 1;      /* it was made once more already */
	unsigned read_paused : 1;   /* on_read has nothing yet */
	unsigned write_paused : 1;  /* on_body takes nothing yet */
	char text[CURL_ERROR_SIZE]; /* libcurl's words for a failure */
};

/**
 * httpc_transfer_new(common, req, tp, why): What ${req} says is looked at; nothing begins.  Errors: ERR_BAD_REQUEST,
 * ERR_NOMEM.
 */
int httpc_transfer_new(
    struct httpc_common *common, struct httpc_request *req, struct httpc_transfer **tp, struct errtext *why) MUST_CHECK;

/** httpc_transfer_begin(t): Makes t->easy.  Errors: ERR_NOMEM. */
int httpc_transfer_begin(struct httpc_transfer *t) MUST_CHECK;

/** httpc_transfer_resume(t): Both directions are tried again.  May call back.  1: it has to end, with t->err and t->why. */
int httpc_transfer_resume(struct httpc_transfer *t);

/** httpc_transfer_slow(t, now_ms): 1: it has to end, as a bound on time was passed, or a callback failed, with t->err and t->why. */
int httpc_transfer_slow(struct httpc_transfer *t, uint64_t now_ms);

/** httpc_transfer_step(t): How often to look at its bounds, in ms. */
uint32_t httpc_transfer_step(const struct httpc_transfer *t);

/**
 * httpc_transfer_again(t, rc): 1: after libcurl's ${rc} it is to be made once more, as if it had not been: a connection
 * of HTTP/2 ended under it.
 */
int httpc_transfer_again(struct httpc_transfer *t, CURLcode rc);

/** httpc_transfer_result(t, rc, why): libcurl's ${rc} as an error of ours.  May call on_head. */
int httpc_transfer_result(struct httpc_transfer *t, CURLcode rc, struct errtext *why);

/** httpc_transfer_free(t): NULL: nothing. */
void httpc_transfer_free(struct httpc_transfer *t);

/** httpc_parse(curl, text, flags, up, why): A CURLU of ${text}, by libcurl's ${flags}.  Errors: as httpc_url_split. */
int httpc_parse(
    const struct httpc_curl *curl, const char *text, unsigned flags, CURLU **up, struct errtext *why) MUST_CHECK;

/**
 * httpc_part(curl, u, part, flags, outp): malloc'd; "" if ${u} has none.  Errors: ERR_BAD_REQUEST (it does not decode),
 * ERR_NOMEM.
 */
int httpc_part(const struct httpc_curl *curl, CURLU *u, CURLUPart part, unsigned flags, char **outp) MUST_CHECK;

/** httpc_take_credentials(curl, u, userp, passwordp): Out of ${u}, decoded; both NULL if there are none. */
int httpc_take_credentials(const struct httpc_curl *curl, CURLU *u, char **userp, char **passwordp) MUST_CHECK;

/** httpc_forget(s): Wipe and free.  NULL: nothing. */
void httpc_forget(char *s);

#endif
