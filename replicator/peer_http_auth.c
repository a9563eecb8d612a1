/*
 * peer_http_auth.c: a user's password is given to a peer once, for a session's cookie, where it has sessions.
 *
 *   NEW --first request--> ASKED --cookie--> COOKIE --old, or refused--> ASKED ...
 *                            |
 *                            +--it has no sessions--> BASIC   for as long as the peer lives
 *
 * 1. While a session is asked for, requests wait; if it is refused, or cannot be asked for, they end with that.
 * 2. A refusal (401, 403) is believed when the session is as good as new; with an older one the request is
 *    repeated once, with a new one. A 401 is what is said of sessions that ran out; a 403 is so only from some, and is
 *    believed where the request cannot be repeated: it would not be passed over, but asked for in each run anew.
 * 3. Each session has a number, so that answers to older ones change nothing.
 *
 * Everything here happens under the peer's lock but what says otherwise.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/limits.h"
#include "peer_http_impl.h"

#define LIFE_MS 550000u /* of a session that does not tell: CouchDB's are 600 s */
#define FRESH_MS 10000u /* in which a 403 is believed */
#define STALE_MS 60000u /* in which a 401 is believed where the request cannot be repeated */

void
peer_auth_init(struct peer_http *p)
{
	size_t i;

	p->auth = p->end.user != NULL && p->end.password != NULL ? PEER_AUTH_NEW : PEER_AUTH_NONE;
	for (i = 0; i < p->end.nheaders; i++)
		if (strncasecmp(p->end.headers[i], "Authorization:", 14) == 0)
			p->auth = PEER_AUTH_NONE;
}

/* ---- Cookies ---- */

static uint64_t
max_age_ms(const char *header)
{
	const char *at = strcasestr(header, "max-age=");
	uint64_t n = 0;

	if (at == NULL)
		return LIFE_MS;
	for (at += 8; *at >= '0' && *at <= '9' && n < 1000000; at++)
		n = n * 10 + (uint64_t)(*at - '0');
	return n * 900;
}

/* On the client's thread. */
void
peer_auth_taken(struct peer_http *p, unsigned epoch, const char *header)
{
	static const char name[] = "AuthSession=";
	size_t len = strcspn(header, ";");

	while (len > 0 && header[len - 1] == ' ')
		len--;
	/* An empty one is the end of a session. */
	if (strncasecmp(header, name, sizeof(name) - 1) != 0 || len < sizeof(name) || len >= sizeof(p->cookie))
		return;
	pthread_mutex_lock(&p->lock);
	if (epoch == p->epoch) {
		memcpy(p->cookie, header, len);
		p->cookie[len] = '\0';
		p->cookie_ms = p->ex->now_ms(p->ex);
		p->renew_ms = p->cookie_ms + max_age_ms(header);
	}
	pthread_mutex_unlock(&p->lock);
}

/* ---- Asking ---- */

/* With the words of ${from}, and how long it is to be left alone, if there is such a request. */
static void
give_up_waiting(struct peer_http *p, int err, const struct peer_rq *from)
{
	struct peer_rq *rq;

	while ((rq = p->waiting) != NULL) {
		p->waiting = rq->next_waiting;
		if (from != NULL) {
			rq->why = from->why;
			rq->retry_ms = from->retry_ms;
		}
		peer_rq_pass(rq, err);
	}
}

static void
let_waiting_go(struct peer_http *p)
{
	struct peer_rq *rq;

	while ((rq = p->waiting) != NULL) {
		p->waiting = rq->next_waiting;
		peer_rq_send(rq);
	}
}

static void
release(struct peer_rq *rq)
{
	if (rq->body.data != NULL)
		explicit_bzero(rq->body.data, rq->body.len);
	peer_rq_release(rq);
	free(rq);
}

/* What the peer's answer makes of the password; with PEER_AUTH_NEW ${rq} says what was wrong. */
static enum peer_auth
judge(struct peer_http *p, struct peer_rq *rq)
{
	if (rq->err == 0 && rq->status >= 200 && rq->status <= 299)
		return p->cookie[0] != '\0' ? PEER_AUTH_COOKIE : PEER_AUTH_BASIC;
	/* One who lets nobody in without a password, not even to ask for a session, says so. */
	if (rq->err == 0 && ((rq->status == 401 && rq->challenged) || rq->status == 400 || rq->status == 404 ||
				rq->status == 405 || rq->status == 415 || rq->status == 501))
		return PEER_AUTH_BASIC;
	if (peer_rq_ok(rq) || (rq->err != ERR_UNAUTHORIZED && rq->err != ERR_FORBIDDEN && rq->err != ERR_CANCELLED &&
				  rq->err != ERR_TOO_MANY_REQUESTS && rq->err != ERR_BUSY && rq->err != ERR_IO))
		(void)peer_rq_bad(rq, ERR_IO, "answered %d", rq->status);
	return PEER_AUTH_NEW;
}

static void
asked(struct peer_rq *rq)
{
	struct peer_http *p = rq->p;

	pthread_mutex_lock(&p->lock);
	p->session = NULL;
	p->auth = judge(p, rq);
	if (p->closed)
		give_up_waiting(p, ERR_CANCELLED, NULL);
	else if (p->auth == PEER_AUTH_NEW)
		give_up_waiting(p, rq->err, rq);
	else
		let_waiting_go(p);
	pthread_mutex_unlock(&p->lock);
	release(rq);
	peer_http_unref(p);
}

static void
put_form(struct buf *b, const char *s)
{
	for (; *s != '\0'; s++)
		peer_put_encoded(b, s, 1);
}

/* `_session` stands beside the database, so that a proxy's prefix is kept. */
static int
make_request(struct peer_rq *rq)
{
	const char *url = rq->p->end.url;
	size_t len = strlen(url), slashes = 0, i;

	while (len > 0 && url[len - 1] == '/')
		len--;
	while (len > 0 && url[len - 1] != '/')
		len--;
	for (i = 0; i < len; i++)
		slashes += url[i] == '/';
	if (slashes < 3)
		return ERR_BAD_REQUEST;
	(void)buf_put(&rq->url, url, len);
	(void)buf_puts(&rq->url, "_session");
	(void)buf_putc(&rq->url, '\0');
	(void)buf_puts(&rq->body, "name=");
	put_form(&rq->body, rq->p->end.user);
	(void)buf_puts(&rq->body, "&password=");
	put_form(&rq->body, rq->p->end.password);
	(void)buf_puts(&rq->path, " (_session)");
	rq->type = "Content-Type: application/x-www-form-urlencoded";
	rq->plain = 1;
	rq->shown = rq->path.len;
	return buf_failed(&rq->url) != 0 ? buf_failed(&rq->url) : buf_failed(&rq->body);
}

static int
ask(struct peer_http *p)
{
	struct peer_rq *rq = calloc(1, sizeof(*rq));
	int err;

	if (rq == NULL)
		return ERR_NOMEM;
	peer_rq_init(rq, NULL, "POST", asked);
	rq->p = p;
	err = make_request(rq);
	if (err != 0) {
		release(rq);
		return err;
	}
	p->session = rq;
	p->auth = PEER_AUTH_ASKED;
	p->cookie[0] = '\0';
	p->proven = 0;
	p->epoch++;
	peer_http_ref(p);
	rq->job.arg = rq;
	peer_rq_send(rq);
	return 0;
}

int
peer_auth_wanted(struct peer_http *p, struct peer_rq *rq)
{
	int err = 0;

	if (p->auth == PEER_AUTH_NONE || p->auth == PEER_AUTH_BASIC)
		return 0;
	if (p->auth == PEER_AUTH_COOKIE && p->ex->now_ms(p->ex) < p->renew_ms)
		return 0;
	rq->state = PEER_RQ_AUTH;
	rq->next_waiting = p->waiting;
	p->waiting = rq;
	if (p->auth != PEER_AUTH_ASKED)
		err = ask(p);
	if (err != 0)
		give_up_waiting(p, err, NULL);
	return 1;
}

/* ---- What becomes of a session ---- */

int
peer_auth_refused(struct peer_http *p, struct peer_rq *rq)
{
	uint64_t age;

	if (rq->epoch == 0 || rq->renewed)
		return 0;
	rq->renewed = 1;
	if (rq->epoch != p->epoch || p->auth != PEER_AUTH_COOKIE)
		return 1;
	age = p->ex->now_ms(p->ex) - p->cookie_ms;
	if (rq->once ? rq->status == 403 || age < STALE_MS : rq->status == 403 ? age < FRESH_MS : !p->proven)
		return 0;
	p->auth = PEER_AUTH_NEW;
	return 1;
}

void
peer_auth_accepted(struct peer_http *p, const struct peer_rq *rq)
{
	pthread_mutex_lock(&p->lock);
	if (rq->epoch != 0 && rq->epoch == p->epoch)
		p->proven = 1;
	pthread_mutex_unlock(&p->lock);
}

void
peer_auth_close(struct peer_http *p)
{
	if (p->session != NULL)
		peer_rq_cancel(p->session);
}
