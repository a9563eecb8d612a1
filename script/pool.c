/*
 * pool.c: which child serves whom.
 *
 *	take --> a line for each database --serve()--> a child of the database that waits
 *	                                     |--fewer than allowed: a new one
 *	                                     |--one of another database that waits is ended for a new one
 *	                                     `--after a while: one whose user waits for somebody else, too
 *
 * 1. A child serves one database in its life: what a function left behind in it nobody else meets.
 * 2. Databases take turns.  One gets another child only while more are free than it has: functions that never end have half of them,
 *    those of a second database half of the rest, and there is one for whoever comes next.
 * 3. Whatever changes what is free calls serve(), which alone gives out children.
 * 4. While nobody uses JavaScript there is no child and no timer.
 */
#include "pool.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOOKS 4u /* that who waits takes for one whose user waits longer than from one to the next */

/* Who waits for a child, on its own stack. */
struct waiter {
	pthread_cond_t turn;
	struct waiter *next;
	int served;            /* these are its: */
	struct child *child;   /* NULL: it may start one, */
	struct child *evicted; /* and has to end this one, if it is not NULL */
};

struct pool_owner {
	struct pool_owner *next;
	unsigned busy;     /* children in use or being started; */
	uint64_t reloaded; /* those born before are not used again */
	struct waiter *first, **end;
	char name[];
};

static uint64_t
now_ms(const struct pool *p)
{
	return p->config->ex->now_ms(p->config->ex);
}

/* ---- Databases; under the lock ---- */

static struct pool_owner *
owner_find(const struct pool *p, const char *name)
{
	struct pool_owner *o = p->owners;

	while (o != NULL && strcmp(o->name, name) != 0)
		o = o->next;
	return o;
}

static void
owner_append(struct pool *p, struct pool_owner *o)
{
	struct pool_owner **at = &p->owners;

	while (*at != NULL)
		at = &(*at)->next;
	o->next = NULL;
	*at = o;
}

static void
owner_remove(struct pool *p, struct pool_owner *o)
{
	struct pool_owner **at = &p->owners;

	while (*at != o)
		at = &(*at)->next;
	*at = o->next;
}

static struct pool_owner *
owner_make(struct pool *p, const char *name)
{
	struct pool_owner *o = owner_find(p, name);
	size_t len = strlen(name) + 1;

	if (o != NULL || (o = calloc(1, sizeof(*o) + len)) == NULL)
		return o;
	memcpy(o->name, name, len);
	o->end = &o->first;
	owner_append(p, o);
	return o;
}

static void
owner_forget(struct pool *p, struct pool_owner *o)
{
	if (o->busy > 0 || o->first != NULL)
		return;
	owner_remove(p, o);
	free(o);
}

/* ---- Turns; under the lock ---- */

static struct child *
idle_take(struct child **at)
{
	struct child *c = *at;

	*at = c->next;
	c->next = NULL;
	return c;
}

/* idle_of: The youngest that serves ${owner}. */
static struct child *
idle_of(struct pool *p, const char *owner)
{
	struct child **found = NULL;

	for (struct child **at = &p->idle; *at != NULL; at = &(*at)->next)
		if (strcmp((*at)->owner, owner) == 0)
			found = at;
	return found != NULL ? idle_take(found) : NULL;
}

static void
serve_one(struct pool *p, struct pool_owner *o)
{
	struct waiter *w = o->first;

	o->first = w->next;
	if (o->first == NULL)
		o->end = &o->first;
	p->nwaiting--;
	o->busy++;
	p->nbusy++;
	w->child = idle_of(p, o->name);
	if (w->child == NULL && p->nchildren < p->config->max_children)
		p->nchildren++;
	else if (w->child == NULL)
		w->evicted = idle_take(&p->idle);
	w->served = 1;
	(void)pthread_cond_signal(&w->turn);
}

static void
serve(struct pool *p)
{
	struct pool_owner *o = p->owners;

	while (o != NULL && p->nbusy < p->config->max_children) {
		if (o->first == NULL || o->busy >= p->config->max_children - p->nbusy) {
			o = o->next;
			continue;
		}
		serve_one(p, o);
		owner_remove(p, o);
		owner_append(p, o);
		o = p->owners;
	}
}

/* unuse: A child of ${owner} is not in use any more. */
static void
unuse(struct pool *p, const char *owner)
{
	struct pool_owner *o = owner_find(p, owner);

	o->busy--;
	p->nbusy--;
	owner_forget(p, o);
	serve(p);
}

/* ---- Ends ---- */

static void
end_all(struct child *c)
{
	for (struct child *next; c != NULL; c = next) {
		next = c->next;
		child_end(c, NULL);
	}
}

static void
sweep(void *arg)
{
	struct pool *p = arg;
	struct child *old = NULL, **end = &old;
	uint64_t now = now_ms(p);

	(void)pthread_mutex_lock(&p->lock);
	while (p->idle != NULL && now - p->idle->idle_ms >= p->config->idle_ms) {
		*end = idle_take(&p->idle);
		end = &(*end)->next;
		p->nchildren--;
		p->exited++;
	}
	serve(p);
	(void)pthread_mutex_unlock(&p->lock);
	end_all(old);
	(void)pthread_mutex_lock(&p->lock);
	p->sweeping = p->idle != NULL && !p->closing;
	if (p->sweeping)
		p->config->ex->later(p->config->ex, &p->sweep, p->idle->idle_ms + p->config->idle_ms - now);
	else
		(void)pthread_cond_signal(&p->swept);
	(void)pthread_mutex_unlock(&p->lock);
}

void
pool_drop(struct pool *p, struct child *c, struct errtext *why)
{
	char *owner = c->owner;

	/* Its name is asked for once it is gone: a new one is not to be there together with it. */
	c->owner = NULL;
	child_end(c, why);
	(void)pthread_mutex_lock(&p->lock);
	p->nchildren--;
	p->exited++;
	p->failed++;
	unuse(p, owner);
	(void)pthread_mutex_unlock(&p->lock);
	free(owner);
}

static void
keep(struct pool *p, struct child *c)
{
	struct child **end = &p->idle;

	while (*end != NULL)
		end = &(*end)->next;
	*end = c;
	c->idle_ms = now_ms(p);
	if (!p->sweeping && !p->closing) {
		p->sweeping = 1;
		p->config->ex->later(p->config->ex, &p->sweep, p->config->idle_ms);
	}
}

void
pool_give(struct pool *p, struct child *c)
{
	struct child *old = NULL;

	(void)pthread_mutex_lock(&p->lock);
	if (c->born >= p->reloaded && c->born >= owner_find(p, c->owner)->reloaded) {
		keep(p, c);
	} else {
		old = c;
		p->nchildren--;
		p->exited++;
	}
	unuse(p, c->owner);
	(void)pthread_mutex_unlock(&p->lock);
	end_all(old);
}

void
pool_reload(struct pool *p, const char *owner)
{
	struct child *old = NULL, **at = &p->idle;
	struct pool_owner *o;

	(void)pthread_mutex_lock(&p->lock);
	p->age++;
	if (owner == NULL)
		p->reloaded = p->age;
	else if ((o = owner_find(p, owner)) != NULL)
		o->reloaded = p->age;
	while (*at != NULL) {
		struct child *c;

		if (owner != NULL && strcmp((*at)->owner, owner) != 0) {
			at = &(*at)->next;
			continue;
		}
		c = idle_take(at);
		c->next = old;
		old = c;
		p->nchildren--;
		p->exited++;
	}
	serve(p);
	(void)pthread_mutex_unlock(&p->lock);
	end_all(old);
}

/* ---- Whose users wait ---- */

void
pool_park(struct pool *p, struct pool_parked *k, struct child *c)
{
	struct pool_parked **end = &p->parked;

	(void)pthread_mutex_lock(&p->lock);
	*k = (struct pool_parked){.child = c, .since_ms = now_ms(p)};
	while (*end != NULL)
		end = &(*end)->next;
	*end = k;
	(void)pthread_mutex_unlock(&p->lock);
}

/* parked_take: Under the lock. */
static struct child *
parked_take(struct pool *p, struct pool_parked *k)
{
	struct pool_parked **at = &p->parked;
	struct child *c = k->child;

	while (c != NULL && *at != k)
		at = &(*at)->next;
	if (c != NULL)
		*at = k->next;
	k->child = NULL;
	return c;
}

struct child *
pool_unpark(struct pool *p, struct pool_parked *k)
{
	struct child *c;

	(void)pthread_mutex_lock(&p->lock);
	c = parked_take(p, k);
	(void)pthread_mutex_unlock(&p->lock);
	return c;
}

/* parked_for: One that has been parked for ${ms}, and whose end helps ${o}: its own before others'. */
static struct pool_parked *
parked_for(const struct pool *p, const struct pool_owner *o, unsigned ms)
{
	int others = o->busy <= p->config->max_children - p->nbusy;
	struct pool_parked *found = NULL;

	for (struct pool_parked *k = p->parked; k != NULL && now_ms(p) - k->since_ms >= ms; k = k->next) {
		if (strcmp(k->child->owner, o->name) == 0)
			return k;
		if (found == NULL && others)
			found = k;
	}
	return found;
}

/* ---- Taking one ---- */

static void
waiter_init(struct waiter *w)
{
	pthread_condattr_t monotonic;

	*w = (struct waiter){.served = 0};
	(void)pthread_condattr_init(&monotonic);
	(void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&w->turn, &monotonic);
	(void)pthread_condattr_destroy(&monotonic);
}

static void
leave_line(struct pool *p, struct pool_owner *o, struct waiter *w)
{
	struct waiter **at = &o->first;

	while (*at != w)
		at = &(*at)->next;
	*at = w->next;
	if (o->end == &w->next)
		o->end = at;
	p->nwaiting--;
	owner_forget(p, o);
}

/* stay: Until served, or for ${ms}. */
static void
stay(struct pool *p, struct waiter *w, unsigned ms)
{
	struct timespec until;

	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	while (!w->served && pthread_cond_timedwait(&w->turn, &p->lock, &until) == 0)
		;
}

/* end_parked: For the sake of ${o}, which stays: it has a waiter. */
static void
end_parked(struct pool *p, const struct pool_owner *o, unsigned ms)
{
	struct pool_parked *k = parked_for(p, o, ms);
	struct child *c;

	if (k == NULL)
		return;
	c = parked_take(p, k);
	(void)pthread_mutex_unlock(&p->lock);
	pool_drop(p, c, NULL);
	(void)pthread_mutex_lock(&p->lock);
}

/* stand_in_line: Until served; ERR_BUSY when time is up. */
static int
stand_in_line(struct pool *p, struct pool_owner *o, struct waiter *w)
{
	const unsigned ms = p->config->timeout_ms / LOOKS + 1000 / LOOKS;

	*o->end = w;
	o->end = &w->next;
	p->nwaiting++;
	serve(p);
	for (unsigned i = 0; i < LOOKS && !w->served; i++) {
		if (i > 0)
			end_parked(p, o, ms);
		stay(p, w, ms);
	}
	if (w->served)
		return 0;
	leave_line(p, o, w);
	return ERR_BUSY;
}

static int
start(struct pool *p, const char *owner, struct child **cp)
{
	uint64_t born;
	int err;

	(void)pthread_mutex_lock(&p->lock);
	born = p->age;
	(void)pthread_mutex_unlock(&p->lock);
	err = child_start(p->config, owner, cp);
	(void)pthread_mutex_lock(&p->lock);
	if (err == 0) {
		(*cp)->born = born;
		p->started++;
	} else {
		p->nchildren--;
		unuse(p, owner);
	}
	(void)pthread_mutex_unlock(&p->lock);
	return err;
}

int
pool_take(struct pool *p, const char *owner, struct child **cp)
{
	for (;;) {
		struct pool_owner *o;
		struct waiter w;
		int err;

		waiter_init(&w);
		(void)pthread_mutex_lock(&p->lock);
		o = owner_make(p, owner);
		err = o != NULL ? stand_in_line(p, o, &w) : ERR_NOMEM;
		p->exited += w.evicted != NULL;
		(void)pthread_mutex_unlock(&p->lock);
		(void)pthread_cond_destroy(&w.turn);
		if (err != 0)
			return err;
		if (w.evicted != NULL)
			child_end(w.evicted, NULL);
		if (w.child == NULL)
			return start(p, owner, cp);
		*cp = w.child;
		if (child_is_alive(w.child))
			return 0;
		pool_drop(p, w.child, NULL);
	}
}

/* ---- The pool ---- */

void
pool_init(struct pool *p, const struct scripts_config *config)
{
	*p = (struct pool){.config = config, .sweep = {.fn = sweep, .arg = p}};
	(void)pthread_mutex_init(&p->lock, NULL);
	(void)pthread_cond_init(&p->swept, NULL);
}

void
pool_release(struct pool *p)
{
	(void)pthread_mutex_lock(&p->lock);
	p->closing = 1;
	if (p->sweeping && p->config->ex->cancel(p->config->ex, &p->sweep))
		p->sweeping = 0;
	while (p->sweeping)
		(void)pthread_cond_wait(&p->swept, &p->lock);
	(void)pthread_mutex_unlock(&p->lock);
	end_all(p->idle);
	(void)pthread_cond_destroy(&p->swept);
	(void)pthread_mutex_destroy(&p->lock);
}

void
pool_count(struct pool *p, struct scripts_count *out)
{
	(void)pthread_mutex_lock(&p->lock);
	*out = (struct scripts_count){.children = p->nchildren,
	    .busy = p->nbusy,
	    .waiting = p->nwaiting,
	    .started = p->started,
	    .exited = p->exited,
	    .failed = p->failed};
	(void)pthread_mutex_unlock(&p->lock);
}
