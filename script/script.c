/*
 * script.c: who uses which child.
 *
 *	open --a child of the database waits--> it
 *	  |--fewer than allowed-------------> a new one
 *	  |--one of another database waits--> that is ended for a new one
 *	  `--all are in use-----------------> wait, first come first served, until one is given back
 *
 * 1. A child serves one database in its life: what a function left behind in it nobody else meets.
 * 2. A child that failed in any way but by its functions' errors is ended, never given back.
 * 3. While nobody uses JavaScript there is no child and no timer.
 */
#include "script.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "child.h"

#define LOG_LINES 20u /* that an operation may write */

struct waiter {
	pthread_cond_t turn;
	struct waiter *next;
};

struct scripts {
	struct scripts_config config;
	char *exe;
	pthread_mutex_t lock;
	struct child *idle; /* oldest first */
	struct waiter *waiting, **waiting_end;
	unsigned nchildren; /* idle or in use */
	unsigned nwaiting, nidle;
	uint64_t started, killed;
	struct exec_job sweep;
	int sweeping; /* it is set, or runs */
	int closing;
};

struct script {
	struct scripts *scripts;
	struct child *child;
	unsigned program;  /* its number there */
	unsigned inflight; /* operations sent and not answered */
	unsigned lines;    /* logged since the last answer */
	int broken;
	char error[64];
};

/* ---- The pool; under its lock unless said otherwise ---- */

static uint64_t
now_ms(struct scripts *s)
{
	return s->config.ex->now_ms(s->config.ex);
}

static struct child *
idle_take(struct scripts *s, struct child **at)
{
	struct child *c = *at;

	*at = c->next;
	c->next = NULL;
	s->nidle--;
	return c;
}

/* idle_of: The youngest that serves ${owner}. */
static struct child *
idle_of(struct scripts *s, const char *owner)
{
	struct child **at = NULL;

	for (struct child **p = &s->idle; *p != NULL; p = &(*p)->next)
		if (strcmp((*p)->owner, owner) == 0)
			at = p;
	return at != NULL ? idle_take(s, at) : NULL;
}

static void
next_turn(struct scripts *s)
{
	if (s->waiting != NULL)
		(void)pthread_cond_signal(&s->waiting->turn);
}

static void
sweep(void *arg)
{
	struct scripts *s = arg;
	struct child *old = NULL, **end = &old;
	uint64_t now = now_ms(s);

	(void)pthread_mutex_lock(&s->lock);
	while (s->idle != NULL && now - s->idle->idle_ms >= s->config.idle_ms) {
		*end = idle_take(s, &s->idle);
		end = &(*end)->next;
		s->nchildren--;
	}
	s->sweeping = s->idle != NULL && !s->closing;
	if (s->sweeping)
		s->config.ex->later(s->config.ex, &s->sweep, s->config.idle_ms - (now - s->idle->idle_ms));
	next_turn(s);
	(void)pthread_mutex_unlock(&s->lock);
	for (struct child *next; old != NULL; old = next) {
		next = old->next;
		child_end(old, NULL);
	}
}

static void
give_back(struct scripts *s, struct child *c)
{
	struct child **end = &s->idle;

	(void)pthread_mutex_lock(&s->lock);
	c->idle_ms = now_ms(s);
	while (*end != NULL)
		end = &(*end)->next;
	*end = c;
	s->nidle++;
	if (!s->sweeping && !s->closing) {
		s->sweeping = 1;
		s->config.ex->later(s->config.ex, &s->sweep, s->config.idle_ms);
	}
	next_turn(s);
	(void)pthread_mutex_unlock(&s->lock);
}

/* drop: Without the lock. */
static void
drop(struct scripts *s, struct child *c, struct errtext *why)
{
	child_end(c, why);
	(void)pthread_mutex_lock(&s->lock);
	s->nchildren--;
	s->killed++;
	next_turn(s);
	(void)pthread_mutex_unlock(&s->lock);
}

/* stand_in_line: Until it is this caller's turn to look again; 0, or ERR_BUSY when time is up. */
static int
stand_in_line(struct scripts *s, struct waiter *w, const struct timespec *until)
{
	return pthread_cond_timedwait(&w->turn, &s->lock, until) == 0 ? 0 : ERR_BUSY;
}

static void
leave_line(struct scripts *s, struct waiter *w)
{
	struct waiter **p = &s->waiting;

	while (*p != w)
		p = &(*p)->next;
	*p = w->next;
	if (s->waiting_end == &w->next)
		s->waiting_end = p;
	s->nwaiting--;
	next_turn(s);
}

/* try_get: A child for ${owner}, or leave to start one (*${childp} NULL), perhaps in place of *${evictp}. */
static int
try_get(struct scripts *s, const char *owner, struct child **childp, struct child **evictp)
{
	*evictp = NULL;
	if ((*childp = idle_of(s, owner)) != NULL)
		return 1;
	if (s->nchildren < s->config.max_children) {
		s->nchildren++;
		return 1;
	}
	if (s->idle != NULL) {
		*evictp = idle_take(s, &s->idle);
		return 1;
	}
	return 0;
}

static void
waiter_init(struct waiter *w)
{
	pthread_condattr_t monotonic;

	w->next = NULL;
	(void)pthread_condattr_init(&monotonic);
	(void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&w->turn, &monotonic);
	(void)pthread_condattr_destroy(&monotonic);
}

static int
get(struct scripts *s, const char *owner, struct child **childp, struct child **evictp)
{
	struct waiter w;
	struct timespec until;
	int err = 0;

	(void)pthread_mutex_lock(&s->lock);
	if (s->waiting == NULL && try_get(s, owner, childp, evictp)) {
		(void)pthread_mutex_unlock(&s->lock);
		return 0;
	}
	waiter_init(&w);
	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += s->config.timeout_ms / 1000 + 1;
	*s->waiting_end = &w;
	s->waiting_end = &w.next;
	s->nwaiting++;
	while (err == 0 && (s->waiting != &w || !try_get(s, owner, childp, evictp)))
		err = stand_in_line(s, &w, &until);
	leave_line(s, &w);
	(void)pthread_mutex_unlock(&s->lock);
	(void)pthread_cond_destroy(&w.turn);
	return err;
}

static int
start(struct scripts *s, const char *owner, struct child **cp)
{
	int err = child_start(&s->config, owner, cp);

	(void)pthread_mutex_lock(&s->lock);
	if (err != 0) {
		s->nchildren--;
		next_turn(s);
	} else {
		s->started++;
	}
	(void)pthread_mutex_unlock(&s->lock);
	return err;
}

/* take_child: One that lives. */
static int
take_child(struct scripts *s, const char *owner, struct child **cp)
{
	struct child *evicted;
	int err;

	for (;;) {
		if ((err = get(s, owner, cp, &evicted)) != 0)
			return err;
		if (evicted != NULL)
			child_end(evicted, NULL);
		if (*cp == NULL)
			return start(s, owner, cp);
		if (child_is_alive(*cp))
			return 0;
		drop(s, *cp, NULL);
	}
}

int
scripts_new(const struct scripts_config *config, struct scripts **sp)
{
	struct scripts *s = calloc(1, sizeof(*s));

	if (s == NULL || (s->exe = strdup(config->exe)) == NULL) {
		free(s);
		return ERR_NOMEM;
	}
	s->config = *config;
	s->config.exe = s->exe;
	s->waiting_end = &s->waiting;
	s->sweep = (struct exec_job){.fn = sweep, .arg = s};
	(void)pthread_mutex_init(&s->lock, NULL);
	*sp = s;
	return 0;
}

void
scripts_free(struct scripts *s)
{
	struct child *next;

	if (s == NULL)
		return;
	(void)pthread_mutex_lock(&s->lock);
	s->closing = 1;
	(void)pthread_mutex_unlock(&s->lock);
	(void)s->config.ex->cancel(s->config.ex, &s->sweep);
	for (struct child *c = s->idle; c != NULL; c = next) {
		next = c->next;
		child_end(c, NULL);
	}
	(void)pthread_mutex_destroy(&s->lock);
	free(s->exe);
	free(s);
}

void
scripts_count(struct scripts *s, struct scripts_count *out)
{
	(void)pthread_mutex_lock(&s->lock);
	*out = (struct scripts_count){.children = s->nchildren,
	    .busy = s->nchildren - s->nidle,
	    .waiting = s->nwaiting,
	    .started = s->started,
	    .killed = s->killed};
	(void)pthread_mutex_unlock(&s->lock);
}

/* ---- One in use ---- */

/* put_reason: The texts of ["name","reason"]. */
static int
put_reason(struct script *sc, struct jstr failure, struct errtext *why)
{
	struct buf scratch;
	struct jread j;
	struct jstr s;
	int err;

	buf_init(&scratch, failure.len + 64);
	jread_init(&j, failure.s, failure.len);
	sc->error[0] = '\0';
	if ((err = jread_array_begin(&j)) == 0 && (err = jread_array_next(&j)) == 0 &&
	    (err = jread_string(&j, &scratch, &s)) == 0) {
		size_t n = s.len < sizeof(sc->error) ? s.len : sizeof(sc->error) - 1;

		memcpy(sc->error, s.s, n);
		sc->error[n] = '\0';
		if ((err = jread_array_next(&j)) == 0 && (err = jread_string(&j, &scratch, &s)) == 0)
			(void)err_why(why, ERR_SCRIPT, "%.*s", (int)(s.len < ERRTEXT_MAX ? s.len : ERRTEXT_MAX), s.s);
	}
	buf_release(&scratch);
	return err != 0 ? ERR_SCRIPT_DIED : ERR_SCRIPT;
}

static uint64_t
deadline(const struct script *sc)
{
	return now_ms(sc->scripts) + sc->scripts->config.timeout_ms;
}

static int
put(struct script *sc, char kind, const struct jstr *parts, size_t n)
{
	const struct wire_head h = {.kind = (uint8_t)kind, .program = (uint16_t)sc->program};
	int err = sc->broken ? ERR_SCRIPT_DIED : child_put(sc->child, h, parts, n, &sc->scripts->config, deadline(sc));

	if (err != 0)
		sc->broken = 1;
	return err;
}

static void
write_log(struct script *sc, struct jstr line)
{
	if (sc->lines++ < LOG_LINES)
		log_line(LOG_INFO, "%s: %.*s", sc->child->owner, (int)line.len, line.s);
}

int
script_receive(struct script *sc, struct jstr *answerp, struct errtext *why)
{
	uint64_t until = deadline(sc);
	struct wire_head h;
	int err;

	if (sc->broken || sc->inflight == 0)
		return ERR_SCRIPT_DIED;
	while ((err = child_get(sc->child, &h, answerp, &sc->scripts->config, until)) == 0 && h.kind == SCRIPT_LOG)
		write_log(sc, *answerp);
	if (err != 0) {
		sc->broken = 1;
		if (why != NULL && err == ERR_SCRIPT_DIED) {
			drop(sc->scripts, sc->child, why);
			sc->child = NULL;
		}
		return err;
	}
	if (h.kind == SCRIPT_MORE)
		return ERR_AGAIN;
	sc->inflight--;
	sc->lines = 0;
	return h.kind == SCRIPT_ANSWER ? 0 : put_reason(sc, *answerp, why);
}

int
script_rows(struct script *sc, struct jstr rows)
{
	return put(sc, SCRIPT_ROWS, &rows, 1);
}

int
script_send(struct script *sc, enum script_op op, const struct jstr *parts, size_t n)
{
	int err = sc->inflight >= SCRIPT_IN_FLIGHT ? ERR_BUSY : put(sc, (char)op, parts, n);

	if (err == 0)
		sc->inflight++;
	return err;
}

const char *
script_error(const struct script *sc)
{
	return sc->error;
}

/* load: The program has a number in the child, and is compiled there. */
static int
load(struct script *sc, struct jstr program, struct errtext *why)
{
	unsigned char digest[SHA256_LEN];
	struct child *c = sc->child;
	struct jstr answer;
	int err;

	hash_sha256(program.s, program.len, digest);
	for (unsigned i = 0; i < SCRIPT_PROGRAMS; i++) {
		if (memcmp(c->programs[i], digest, SHA256_LEN) == 0) {
			sc->program = i;
			return 0;
		}
	}
	sc->program = c->next_program;
	c->next_program = (c->next_program + 1) % SCRIPT_PROGRAMS;
	memset(c->programs[sc->program], 0, SHA256_LEN);
	if ((err = put(sc, SCRIPT_LOAD, &program, 1)) != 0)
		return err;
	sc->inflight = 1;
	if ((err = script_receive(sc, &answer, why)) == 0)
		memcpy(c->programs[sc->program], digest, SHA256_LEN);
	return err;
}

int
script_open(struct scripts *s, const char *owner, struct jstr program, struct script **scp, struct errtext *why)
{
	struct script *sc = calloc(1, sizeof(*sc));
	int err;

	if (sc == NULL)
		return ERR_NOMEM;
	sc->scripts = s;
	if ((err = take_child(s, owner, &sc->child)) != 0) {
		free(sc);
		return err;
	}
	if ((err = load(sc, program, why)) != 0) {
		script_close(sc);
		return err;
	}
	*scp = sc;
	return 0;
}

void
script_close(struct script *sc)
{
	if (sc == NULL)
		return;
	if (sc->child != NULL && (sc->broken || sc->inflight > 0))
		drop(sc->scripts, sc->child, NULL);
	else if (sc->child != NULL)
		give_back(sc->scripts, sc->child);
	free(sc);
}
