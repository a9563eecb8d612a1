/*
 * script.c: one program in use: operations sent to its child, answers received.
 *
 * 1. A child that failed in any way but by its functions' errors is ended, never given back.
 */
#include "script.h"

#include <stdlib.h>
#include <string.h>

#include "base/counters.h"
#include "base/log.h"
#include "base/utf8.h"
#include "child.h"
#include "pool.h"

#define LOG_LINES 20u /* that an operation may write */

struct scripts {
	struct scripts_config config;
	struct pool pool;
};

struct script {
	struct scripts *scripts;
	struct child *child; /* NULL: parked, or gone */
	struct pool_parked parked;
	unsigned program;  /* its number there */
	unsigned inflight; /* operations sent and not answered */
	unsigned lines;    /* logged since the last answer */
	unsigned limit_ms; /* for an answer, below the configured time; 0: that */
	int is_list;       /* what is under way may ask for rows */
	int broken;
	char error[64];
};

int
scripts_new(const struct scripts_config *config, struct scripts **sp)
{
	struct scripts *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return ERR_NOMEM;
	s->config = *config;
	pool_init(&s->pool, &s->config);
	*sp = s;
	return 0;
}

void
scripts_free(struct scripts *s)
{
	if (s == NULL)
		return;
	pool_release(&s->pool);
	free(s);
}

unsigned
scripts_timeout_ms(const struct scripts *s)
{
	return s->config.timeout_ms;
}

void
scripts_reload(struct scripts *s)
{
	pool_reload(&s->pool, NULL);
}

void
scripts_forget(struct scripts *s, const char *owner)
{
	pool_reload(&s->pool, owner);
}

void
scripts_count(struct scripts *s, struct scripts_count *out)
{
	pool_count(&s->pool, out);
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
		size_t n = s.len < sizeof(sc->error) ? s.len : utf8_whole(s.s, sizeof(sc->error) - 1);

		memcpy(sc->error, s.s, n);
		sc->error[n] = '\0';
		if ((err = jread_array_next(&j)) == 0 && (err = jread_string(&j, &scratch, &s)) == 0)
			(void)err_why(why, ERR_SCRIPT, "%.*s", (int)(s.len < ERRTEXT_MAX ? s.len : ERRTEXT_MAX), s.s);
	}
	buf_release(&scratch);
	if (err == ERR_NOMEM)
		return err;
	return err != 0 ? ERR_SCRIPT_DIED : ERR_SCRIPT;
}

static uint64_t
deadline(const struct script *sc)
{
	struct executor *ex = sc->scripts->config.ex;
	unsigned ms = sc->scripts->config.timeout_ms;

	return ex->now_ms(ex) + (sc->limit_ms != 0 && sc->limit_ms < ms ? sc->limit_ms : ms);
}

void
script_limit(struct script *sc, unsigned ms)
{
	sc->limit_ms = ms;
}

void
script_park(struct script *sc)
{
	if (sc->broken || sc->child == NULL)
		return;
	pool_park(&sc->scripts->pool, &sc->parked, sc->child);
	sc->child = NULL;
}

/* unpark: ERR_BUSY: it was ended for somebody else. */
static int
unpark(struct script *sc)
{
	if (sc->child == NULL)
		sc->child = pool_unpark(&sc->scripts->pool, &sc->parked);
	return sc->child != NULL ? 0 : ERR_BUSY;
}

static int
put(struct script *sc, char kind, const struct jstr *parts, size_t n)
{
	const struct wire_head h = {.kind = (uint8_t)kind, .program = (uint16_t)sc->program};
	int err = sc->broken ? ERR_SCRIPT_DIED : unpark(sc);

	if (err == 0)
		err = child_put(sc->child, h, parts, n, &sc->scripts->config, deadline(sc));
	if (err != 0)
		sc->broken = 1;
	return err;
}

static void
write_log(struct script *sc, struct jstr line)
{
	if (sc->lines++ < LOG_LINES)
		log_line(LOG_INFO, "%s: %.*s", sc->child->owner,
		    (int)(line.len < SCRIPT_LOG_MAX ? line.len : SCRIPT_LOG_MAX), line.s);
}

/* lost: No more answers will come. */
static int
lost(struct script *sc, int err, struct errtext *why)
{
	sc->broken = 1;
	counters_add(COUNTER_SCRIPT_FAILED, 1);
	if (why != NULL && err == ERR_SCRIPT_DIED) {
		pool_drop(&sc->scripts->pool, sc->child, why);
		sc->child = NULL;
	}
	return err;
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
	/* Whoever took over the child may send what it likes. */
	if (err == 0 && h.kind != SCRIPT_ANSWER && h.kind != SCRIPT_FAILED && !(h.kind == SCRIPT_MORE && sc->is_list))
		err = ERR_SCRIPT_DIED;
	if (err != 0)
		return lost(sc, err, why);
	if (h.kind == SCRIPT_MORE)
		return ERR_AGAIN;
	sc->inflight--;
	sc->lines = 0;
	sc->is_list = 0;
	return h.kind == SCRIPT_ANSWER ? 0 : put_reason(sc, *answerp, why);
}

int
script_rows(struct script *sc, const struct jstr *parts, size_t n)
{
	return put(sc, SCRIPT_ROWS, parts, n);
}

int
script_send(struct script *sc, enum script_op op, const struct jstr *parts, size_t n)
{
	int err = sc->inflight >= SCRIPT_IN_FLIGHT ? ERR_BUSY : put(sc, (char)op, parts, n);

	if (err == 0)
		sc->inflight++;
	counters_add(COUNTER_SCRIPT_ASKED, 1);
	return err;
}

int
script_send_list(struct script *sc, const struct jstr *parts, size_t n)
{
	sc->is_list = 1;
	return script_send(sc, SCRIPT_DESIGN, parts, n);
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
	if ((err = pool_take(&s->pool, owner, &sc->child)) != 0) {
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
	if (!sc->broken)
		(void)unpark(sc);
	/* One that says what it was not asked would say it to the next. */
	if (sc->child != NULL && (sc->broken || sc->inflight > 0 || child_has_more(sc->child)))
		pool_drop(&sc->scripts->pool, sc->child, NULL);
	else if (sc->child != NULL)
		pool_give(&sc->scripts->pool, sc->child);
	free(sc);
}
