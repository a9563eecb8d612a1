/*
 * auth_check.c: passwords are verified off the event loop.
 *
 * To derive a key from a password takes a good part of a second by design, so it happens on an executor thread.
 * One HTTP thread has one derivation running and the others in line, so that whoever guesses passwords
 * does not take the executor away from commits.  The line goes round among addresses, and who fills it makes room for
 * others.  Requests that bring the same password of the same, unchanged account while it is being verified wait for the one
 * derivation.
 *
 * A wrong password costs as much as a right one whether there is such an account or not, and also where the
 * account's own is of an older kind that is quicker to verify.
 *
 *	auth_check --known or locked out--> done
 *	    |
 *	    +--> in line -> start -> (executor) derive -> check_end -> done, for all who wait
 *	             |        +--locked out by now--> done
 *	             +--pushed out: ERR_BUSY--> done
 *
 * 1. t->checks holds what waits, and first, while t->running, what is in derivation; t->nchecks is their number.
 * 2. A check in line holds the request it lives in; each waiter behind the first holds its own.
 * 3. Passwords are overwritten when their check ends.
 */
#include "auth_impl.h"
#include "totp.h"
#include "base/log.h"
#include "base/counters.h"

/* A request that waits for a derivation; lives in that request's arena. */
struct waiter {
	struct apireq *r;
	api_f *then;
	auth_done_f *done;
	uint64_t peer;
	struct waiter *next;
};

/* A derivation; lives in the arena of the request that began it. */
struct auth_check {
	unsigned char digest[SHA256_LEN];
	struct apireq *r;
	struct exec_job job;
	struct http_msg msg;
	struct jstr name, password;
	struct account account;
	struct jstr token; /* a one-time password */
	int unknown;       /* there is no such account, or none that this opens */
	int err;           /* nothing is known of the password */
	int ok;
	unsigned iterations;    /* that a wrong password costs */
	uint64_t generation;    /* of the accounts, before this one was looked up */
	uint64_t peer;          /* of the first waiter */
	struct waiter *waiters; /* the first is r's own */
	struct auth_check *next;
};

static uint64_t
now_ms(struct api *api)
{
	return api->ex->now_ms(api->ex);
}

static uint64_t
now_s(const struct apireq *r)
{
	return r->api->ex->wall_us(r->api->ex) / 1000000;
}

/* A name for the log, which it can't break. */
static void
log_failures(struct apireq *r, struct jstr name)
{
	int n = name.len > 64 ? 64 : (int)name.len;

	log_line(LOG_WARNING, "too many wrong passwords for account \"%.*s\" from %s", n, name.s, http_peer(r->http));
}

static void
count_failure(struct apireq *r, const struct auth_check *c, uint64_t peer)
{
	uint64_t guess;

	memcpy(&guess, c->digest, sizeof(guess));
	if (lockout_fail(r->api->auth->lockout, c->name, c->account.salt, peer, guess, now_ms(r->api)))
		log_failures(r, c->name);
}

static enum lockout_state
state_of(const struct auth_check *c, uint64_t peer)
{
	return lockout_state(c->r->api->auth->lockout, c->name, c->account.salt, peer, now_ms(c->r->api));
}

/* The digest is of a password that was right: so the requests to come need not wait. */
static void
remember(struct auth_check *c, uint64_t peer)
{
	struct auth_entry e = {.how = AUTH_DEFAULT, .generation = c->generation, .peer = peer};

	memcpy(e.digest, c->digest, SHA256_LEN);
	memcpy(e.stamp, c->account.stamp, ACCOUNTS_STAMP_LEN);
	auth_remember(c->r, &e, c->name, c->account.roles, c->account.nroles);
}

static void
tell(struct auth_check *c, const struct waiter *w, int err)
{
	struct auth_verdict v = {err, c->name, err ? NULL : &c->account};

	if (err == ERR_BAD_LOGIN || err == ERR_LOCKED_OUT)
		count_failure(w->r, c, w->peer);
	w->done(w->r, w->then, &v);
}

/* The end of a check that is not in line any more. */
static void
conclude(struct auth_check *c, int err)
{
	/* It holds the memory of the check itself. */
	struct http_req *first = c->r->http;
	struct waiter *next;

	auth_forget(c->password);
	for (struct waiter *w = c->waiters; w; w = next) {
		struct http_req *http;

		next = w->next;
		http = w->r->http;
		tell(c, w, err);
		if (http != first)
			http_release(http);
	}
	http_release(first);
}

/* What a derivation with the settings' number of iterations takes longer than the one that was made. */
static void
make_up(const struct auth_check *c)
{
	static const char salt[] = "00000000000000000000000000000000";
	const char *comma = strrchr(c->account.stored, ',');
	unsigned long did = comma && secret_is_hashed(c->account.stored) ? strtoul(comma + 1, NULL, 10) : 0;
	unsigned char key[SHA256_LEN];
	int err = 0;

	/* A salt of digits, behind the older kind's only comma, is no number of iterations. */
	if (comma && !memchr(c->account.stored, ',', (size_t)(comma - c->account.stored)))
		did = 0;
	if (did < c->iterations)
		err = hash_pbkdf2("sha256", c->password.s, c->password.len, salt, sizeof(salt) - 1,
		    c->iterations - (unsigned)did, key, sizeof(key));
	if (err)
		log_line(LOG_ERROR, "a wrong password was answered too soon: %s", err_reason(err));
}

static void
derive(void *arg)
{
	struct auth_check *c = arg;

	c->err = secret_check(c->account.stored, c->password.s, c->password.len, &c->ok);
	c->ok = c->ok && !c->unknown;
	if (!c->err && !c->ok)
		make_up(c);
	http_post(http_req_thread(c->r->http), &c->msg);
}

/* The one in line that is not of the address that was served last, or the first. */
static void
choose(struct auth_table *t, uint64_t served)
{
	struct auth_check **cp = &t->checks, *c;

	while (*cp && (*cp)->peer == served)
		cp = &(*cp)->next;
	c = *cp;
	if (!c)
		return;
	*cp = c->next;
	c->next = t->checks;
	t->checks = c;
}

static void
take_first(struct auth_table *t)
{
	t->checks = t->checks->next;
	t->nchecks--;
}

/*
 * Begin with the first in line; those who were locked out while they waited need no derivation.  What is called when a
 * check ends may put another one in line.
 */
static void
start(struct auth_table *t)
{
	while (t->checks && !t->running) {
		struct auth_check *c = t->checks;
		struct api *api = c->r->api;
		struct executor *ex = api->hashers ? api->hashers : api->ex;

		if (state_of(c, c->peer) == LOCKOUT_NONE) {
			t->running = 1;
			ex->submit(ex, &c->job);
			return;
		}
		take_first(t);
		conclude(c, ERR_LOCKED_OUT);
	}
}

static void
check_end(void *arg)
{
	struct auth_check *c = arg;
	struct auth_table *t = auth_table_of(c->r);
	struct api *api = c->r->api;

	take_first(t);
	choose(t, c->peer);
	if (c->ok && c->account.totp.len == 0) {
		auth_make_known(api->auth, c->digest, c->account.stamp, c->peer);
		remember(c, c->peer);
	}
	if (c->ok) {
		accounts_upgrade(api, c->name.s, c->password.s, c->password.len, &c->account);
	}
	/* A failure counts before the next one begins. */
	counters_add(COUNTER_AUTH_FAILED, !c->err && !c->ok);
	counters_add(COUNTER_HASH_SLOW, 1);
	counters_add(COUNTER_HASH_FAST, c->ok);
	conclude(c, c->err ? c->err : c->ok ? 0 : ERR_BAD_LOGIN);
	t->running = 0;
	start(t);
}

/* 1: there is a derivation of the same password to wait for, of the account as it is now. */
static int
join(struct auth_table *t, const struct auth_check *of, struct waiter *w)
{
	for (struct auth_check *c = t->checks; c; c = c->next) {
		/* Who needs a token as well brings it alone. */
		if (c->account.totp.len == 0 && of->account.totp.len == 0 &&
		    hash_equal(c->digest, of->digest, SHA256_LEN) &&
		    hash_equal(c->account.stamp, of->account.stamp, ACCOUNTS_STAMP_LEN)) {
			w->next = c->waiters->next;
			c->waiters->next = w;
			http_hold(w->r->http);
			return 1;
		}
	}
	return 0;
}

static unsigned
count_of(const struct auth_table *t, uint64_t peer)
{
	unsigned n = 0;

	for (const struct auth_check *c = t->checks; c; c = c->next)
		n += c->peer == peer;
	return n;
}

/* The line is full: take the last one out of it of the address that has most.  0: that is ${peer}'s own. */
static int
push_out(struct auth_table *t, uint64_t peer)
{
	struct auth_check **cp, **lastp = NULL, *c;
	unsigned most = count_of(t, peer) + 1;

	for (cp = &t->checks->next; *cp; cp = &(*cp)->next) {
		unsigned n = count_of(t, (*cp)->peer);

		if (n > most || (lastp && n == most && (*lastp)->peer == (*cp)->peer)) {
			most = n;
			lastp = cp;
		}
	}
	if (!lastp)
		return 0;
	c = *lastp;
	*lastp = c->next;
	t->nchecks--;
	conclude(c, ERR_BUSY);
	return 1;
}

static int
line_up(struct auth_table *t, struct auth_check *c)
{
	struct auth_check **cp = &t->checks;

	if (t->nchecks >= AUTH_CHECKS && !push_out(t, c->peer))
		return ERR_BUSY;
	c->job.fn = derive;
	c->msg.fn = check_end;
	c->job.arg = c->msg.arg = c;
	http_hold(c->r->http);
	while (*cp)
		cp = &(*cp)->next;
	*cp = c;
	t->nchecks++;
	start(t);
	return 0;
}

/* Whom the password claims to be of.  Who guesses names is not told by the time it takes. */
static int
look_up(struct auth_check *c)
{
	const struct auth_settings *s = auth_settings_of(c->r);
	int err, good = 1;

	c->iterations = s->iterations;
	/* Before the account is read: a change in between makes what is remembered void, not the other way. */
	c->generation = accounts_generation(c->r->api);
	err = accounts_find(c->r->api, c->name.s, c->name.len, c->r->arena, &c->account);
	if (!err && c->account.totp.len > 0)
		err = totp_verify(c->account.totp, c->token, now_s(c->r), c->r->arena, &good);
	c->unknown = !good;
	if (err != ERR_MISSING)
		return err;
	c->unknown = 1;
	c->account = (struct account){.stored = arena_dup(c->r->arena, s->nobody, strlen(s->nobody)), .salt = {"", 0}};
	return c->account.stored ? 0 : ERR_NOMEM;
}

/* What can be said without a derivation: -1: nothing, 0: the password is right, or ERR_LOCKED_OUT. */
static int
at_once(struct auth_check *c)
{
	enum lockout_state state = state_of(c, c->peer);
	uint64_t peer;
	int known =
	    !c->unknown && c->account.totp.len == 0 && auth_known(c->r->api->auth, c->digest, c->account.stamp, &peer);

	if (known && (state == LOCKOUT_NONE || (state == LOCKOUT_SOFT && peer == c->peer))) {
		remember(c, peer);
		counters_add(COUNTER_HASH_FAST, 1);
		return 0;
	}
	return state == LOCKOUT_NONE ? -1 : ERR_LOCKED_OUT;
}

void
auth_check(struct apireq *r, const unsigned char digest[SHA256_LEN], struct jstr name, struct jstr password,
    const struct jstr *token, api_f *then, auth_done_f *done)
{
	struct auth_table *t = auth_table_of(r);
	struct auth_check *c = arena_calloc(r->arena, 1, sizeof(*c));
	struct waiter *w = arena_calloc(r->arena, 1, sizeof(*w));
	int err = ERR_NOMEM;

	if (c && w) {
		memcpy(c->digest, digest, SHA256_LEN);
		c->r = r;
		c->name = name;
		c->password = password;
		c->token = token ? *token : (struct jstr){"", 0};
		c->peer = auth_peer(r);
		c->waiters = w;
		*w = (struct waiter){r, then, done, c->peer, NULL};
		err = look_up(c);
		if (!err)
			err = at_once(c);
		if (err < 0) {
			if (join(t, c, w)) {
				auth_forget(password);
				return;
			}
			err = line_up(t, c);
			if (!err)
				return;
		}
		auth_forget(password);
		tell(c, w, err);
		return;
	}
	done(r, then, &(struct auth_verdict){err, name, NULL});
}
