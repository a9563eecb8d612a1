/*
 * config.c: settings by section and key, in layers.
 *
 * Read on every request, changed almost never: so readers take no lock.  A setting's entry, once
 * made, stays at its place for good; a change swaps the pointer to its value, and the old value
 * stays on the entry's list until config_free(), because a reader may still look at it.
 *
 * 1. An entry is complete before it is linked, into its bucket and at the end of the list of all.
 * 2. Writers hold the lock, from the change until all have been told of it: who reads its settings
 *    anew when told cannot be overtaken by one that has read older ones.
 * 3. value is what the uppermost layer says that says something, or NULL.
 */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "config_impl.h"
#include "config_known.h"

#define BUCKETS 128u

const char config_gone[] = "";

struct value {
	struct value *older;
	char text[];
};

struct entry {
	_Atomic(struct entry *) next_in_bucket;
	_Atomic(struct entry *) next;
	_Atomic(const char *) value;   /* invariant 3 */
	const char *at[CONFIG_LAYERS]; /* what each layer says: one of values, config_gone, or NULL */
	struct value *values;          /* all that it ever had */
	int changed;                   /* to be announced */
	int is_text;                   /* the empty text is a value, too */
	char *key;                     /* in the same memory, behind section */
	char section[];
};

/* Who wants to be told. */
struct listener {
	config_change_f *fn;
	void *cookie;
	struct listener *next;
};

struct config {
	pthread_mutex_t lock;
	_Atomic(struct entry *) buckets[BUCKETS];
	_Atomic(struct entry *) first;
	struct entry *last;
	struct listener *listeners, **listeners_end;
	char *file, *folder; /* the YAML file, the data folder; NULL: none */
};

static unsigned
hash(const char *section, const char *key)
{
	unsigned h = 2166136261u;

	for (; *section != '\0'; section++)
		h = (h ^ (unsigned char)*section) * 16777619u;
	h *= 16777619u;
	for (; *key != '\0'; key++)
		h = (h ^ (unsigned char)*key) * 16777619u;
	return h % BUCKETS;
}

static struct entry *
find(const struct config *c, const char *section, const char *key)
{
	struct entry *e = atomic_load_explicit(&c->buckets[hash(section, key)], memory_order_acquire);

	while (e != NULL && (strcmp(e->key, key) != 0 || strcmp(e->section, section) != 0))
		e = atomic_load_explicit(&e->next_in_bucket, memory_order_acquire);
	return e;
}

int
config_new(struct config **cp)
{
	struct config *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return ERR_NOMEM;
	pthread_mutex_init(&c->lock, NULL);
	c->listeners_end = &c->listeners;
	*cp = c;
	return 0;
}

void
config_free(struct config *c)
{
	struct entry *e, *next;
	struct listener *l;

	if (c == NULL)
		return;
	for (e = atomic_load(&c->first); e != NULL; e = next) {
		struct value *v = e->values;

		while (v != NULL) {
			struct value *older = v->older;

			free(v);
			v = older;
		}
		next = atomic_load(&e->next);
		free(e);
	}
	while ((l = c->listeners) != NULL) {
		c->listeners = l->next;
		free(l);
	}
	pthread_mutex_destroy(&c->lock);
	free(c->file);
	free(c->folder);
	free(c);
}

static struct entry *
add(struct config *c, const char *section, const char *key)
{
	size_t slen = strlen(section) + 1, klen = strlen(key) + 1;
	struct entry *e = calloc(1, sizeof(*e) + slen + klen);
	const struct config_known *k = config_known_find(section, key);
	unsigned h = hash(section, key);

	if (e == NULL)
		return NULL;
	e->is_text = k == NULL || k->type == CONFIG_TEXT;
	memcpy(e->section, section, slen);
	e->key = e->section + slen;
	memcpy(e->key, key, klen);
	atomic_store(&e->next_in_bucket, atomic_load(&c->buckets[h]));
	atomic_store_explicit(&c->buckets[h], e, memory_order_release);
	atomic_store_explicit(c->last != NULL ? &c->last->next : &c->first, e, memory_order_release);
	c->last = e;
	return e;
}

/* ---- Changes ---- */

/* The entry gets a value of its own, which no layer has yet.  NULL: no memory. */
static const char *
keep(struct entry *e, const char *value)
{
	size_t len = strlen(value) + 1;
	struct value *v = malloc(sizeof(*v) + len);

	if (v == NULL)
		return NULL;
	memcpy(v->text, value, len);
	v->older = e->values;
	e->values = v;
	return v->text;
}

/* Invariant 3. */
static void
publish(struct entry *e)
{
	const char *old = atomic_load_explicit(&e->value, memory_order_relaxed);
	const char *new = NULL;
	int i;

	for (i = CONFIG_LAYERS - 1; i >= 0 && new == NULL; i--)
		new = e->at[i];
	if (new == config_gone)
		new = NULL;
	if (new == old)
		return;
	if (new == NULL || old == NULL || strcmp(new, old) != 0)
		e->changed = 1;
	atomic_store_explicit(&e->value, new, memory_order_release);
}

static void
announce(struct config *c, struct entry *e)
{
	struct listener *l;

	if (!e->changed)
		return;
	e->changed = 0;
	for (l = c->listeners; l != NULL; l = l->next)
		l->fn(e->section, e->key, l->cookie);
}

static int
put(struct config *c, enum config_layer layer, const char *section, const char *key, const char *value,
    struct entry **ep)
{
	struct entry *e = find(c, section, key);

	*ep = e;
	if (e == NULL && value != NULL)
		*ep = e = add(c, section, key);
	if (e == NULL)
		return value != NULL ? ERR_NOMEM : 0;
	if (value != NULL && value != config_gone) {
		value = keep(e, value);
		if (value == NULL)
			return ERR_NOMEM;
	}
	e->at[layer] = value;
	return 0;
}

int
config_put(struct config *c, enum config_layer layer, const char *section, const char *key, const char *value)
{
	struct entry *e;
	int err;

	pthread_mutex_lock(&c->lock);
	err = put(c, layer, section, key, value, &e);
	if (err == 0 && e != NULL) {
		publish(e);
		announce(c, e);
	}
	pthread_mutex_unlock(&c->lock);
	return err;
}

int
config_set(struct config *c, const char *section, const char *key, const char *value)
{
	return config_put(c, CONFIG_RUNNING, section, key, value != NULL ? value : config_gone);
}

/* The entry gets the values of its namesake before any layer is touched, so that a failure changes nothing. */
static int
prepare(struct config *c, const struct entry *from, const char *at[CONFIG_LAYERS])
{
	struct entry *e = find(c, from->section, from->key);
	int i;

	if (e == NULL)
		e = add(c, from->section, from->key);
	for (i = CONFIG_FILE; e != NULL && i <= CONFIG_KEPT; i++) {
		at[i] = from->at[i];
		if (at[i] == NULL || at[i] == config_gone)
			continue;
		if (e->at[i] != NULL && strcmp(e->at[i], at[i]) == 0)
			at[i] = e->at[i];
		else
			at[i] = keep(e, at[i]);
		if (at[i] == NULL)
			return ERR_NOMEM;
	}
	return e != NULL ? 0 : ERR_NOMEM;
}

static int
prepare_all(struct config *c, const struct config *from, const char *(*ats)[CONFIG_LAYERS])
{
	const struct entry *f = atomic_load(&from->first);
	int err = 0;

	for (; f != NULL && err == 0; f = atomic_load(&f->next))
		err = prepare(c, f, *ats++);
	return err;
}

static void
replace_all(struct config *c, const struct config *from, const char *(*ats)[CONFIG_LAYERS])
{
	const struct entry *f;
	struct entry *e;

	for (e = atomic_load(&c->first); e != NULL; e = atomic_load(&e->next))
		e->at[CONFIG_FILE] = e->at[CONFIG_KEPT] = e->at[CONFIG_RUNNING] = NULL;
	for (f = atomic_load(&from->first); f != NULL; f = atomic_load(&f->next), ats++) {
		e = find(c, f->section, f->key);
		e->at[CONFIG_FILE] = (*ats)[CONFIG_FILE];
		e->at[CONFIG_KEPT] = (*ats)[CONFIG_KEPT];
	}
	for (e = atomic_load(&c->first); e != NULL; e = atomic_load(&e->next))
		publish(e);
	for (e = atomic_load(&c->first); e != NULL; e = atomic_load(&e->next))
		announce(c, e);
}

int
config_replace(struct config *c, const struct config *from)
{
	const struct entry *f;
	const char *(*ats)[CONFIG_LAYERS];
	size_t n = 1;
	int err;

	for (f = atomic_load(&from->first); f != NULL; f = atomic_load(&f->next))
		n++;
	ats = calloc(n, sizeof(*ats));
	if (ats == NULL)
		return ERR_NOMEM;
	pthread_mutex_lock(&c->lock);
	err = prepare_all(c, from, ats);
	if (err == 0)
		replace_all(c, from, ats);
	pthread_mutex_unlock(&c->lock);
	free(ats);
	return err;
}

int
config_on_change(struct config *c, config_change_f *fn, void *cookie)
{
	struct listener *l = malloc(sizeof(*l));

	if (l == NULL)
		return ERR_NOMEM;
	*l = (struct listener){fn, cookie, NULL};
	pthread_mutex_lock(&c->lock);
	*c->listeners_end = l;
	c->listeners_end = &l->next;
	pthread_mutex_unlock(&c->lock);
	return 0;
}

static int
has(const struct entry *e, const char *text)
{
	int i;

	for (i = 0; i < CONFIG_LAYERS; i++)
		if (e->at[i] == text)
			return 1;
	return 0;
}

void
config_wipe(struct config *c)
{
	struct entry *e;
	struct value *v;

	pthread_mutex_lock(&c->lock);
	for (e = atomic_load(&c->first); e != NULL; e = atomic_load(&e->next))
		for (v = e->values; v != NULL; v = v->older)
			if (!has(e, v->text))
				explicit_bzero(v->text, strlen(v->text));
	pthread_mutex_unlock(&c->lock);
}

/* ---- Reading ---- */

const char *
config_at(struct config *c, enum config_layer layer, const char *section, const char *key)
{
	const struct entry *e;
	const char *value;

	pthread_mutex_lock(&c->lock);
	e = find(c, section, key);
	value = e != NULL ? e->at[layer] : NULL;
	pthread_mutex_unlock(&c->lock);
	return value;
}

int
config_at_each(struct config *c, enum config_layer layer,
    int (*fn)(const char *section, const char *key, const char *value, void *cookie), void *cookie)
{
	const struct entry *e;
	int rc = 0;

	pthread_mutex_lock(&c->lock);
	for (e = atomic_load(&c->first); e != NULL && rc == 0; e = atomic_load(&e->next))
		if (e->at[layer] != NULL)
			rc = fn(e->section, e->key, e->at[layer], cookie);
	pthread_mutex_unlock(&c->lock);
	return rc;
}

static const char *
value_of(const struct entry *e)
{
	return e != NULL ? atomic_load_explicit(&e->value, memory_order_acquire) : NULL;
}

const char *
config_shown(const struct config *c, const char *section, const char *key)
{
	return value_of(find(c, section, key));
}

const char *
config_get(const struct config *c, const char *section, const char *key, const char *dflt)
{
	const struct entry *e = find(c, section, key);
	const char *value = value_of(e);

	return value != NULL && (*value != '\0' || e->is_text) ? value : dflt;
}

const char *
config_get_auth(const struct config *c, const char *key, const char *dflt)
{
	return config_get(c, "chttpd_auth", key, config_get(c, "couch_httpd_auth", key, dflt));
}

uint64_t
config_u64(const struct config *c, const char *section, const char *key, uint64_t dflt)
{
	const char *value = config_get(c, section, key, NULL);
	char *end;
	unsigned long long n;

	if (value == NULL || *value < '0' || *value > '9')
		return dflt;
	errno = 0;
	n = strtoull(value, &end, 10);
	return errno == 0 && *end == '\0' ? n : dflt;
}

int
config_bool(const struct config *c, const char *section, const char *key, int dflt)
{
	static const char *const words[][2] = {{"false", "true"}, {"0", "1"}, {"no", "yes"}, {"off", "on"}};
	const char *value = config_get(c, section, key, NULL);
	size_t i;
	int truth;

	for (i = 0; value != NULL && i < sizeof(words) / sizeof(words[0]); i++)
		for (truth = 0; truth < 2; truth++)
			if (strcasecmp(value, words[i][truth]) == 0)
				return truth;
	return dflt;
}

int
config_all(const struct config *c, int (*fn)(const char *section, const char *key, const char *value, void *cookie),
    void *cookie)
{
	const struct entry *e = atomic_load_explicit(&c->first, memory_order_acquire);
	int rc = 0;

	for (; e != NULL && rc == 0; e = atomic_load_explicit(&e->next, memory_order_acquire)) {
		const char *value = value_of(e);

		if (value != NULL)
			rc = fn(e->section, e->key, value, cookie);
	}
	return rc;
}

struct each {
	const char *section;
	int (*fn)(const char *key, const char *value, void *cookie);
	void *cookie;
};

static int
each_one(const char *section, const char *key, const char *value, void *cookie)
{
	const struct each *each = cookie;

	return strcmp(section, each->section) == 0 ? each->fn(key, value, each->cookie) : 0;
}

int
config_each(const struct config *c, const char *section, int (*fn)(const char *key, const char *value, void *cookie),
    void *cookie)
{
	struct each each = {section, fn, cookie};

	return config_all(c, each_one, &each);
}

int
config_place(struct config *c, const char *file, const char *folder)
{
	free(c->file);
	free(c->folder);
	c->file = file != NULL ? strdup(file) : NULL;
	c->folder = folder != NULL ? strdup(folder) : NULL;
	return (file != NULL && c->file == NULL) || (folder != NULL && c->folder == NULL) ? ERR_NOMEM : 0;
}

const char *
config_file(const struct config *c)
{
	return c->file;
}

const char *
config_folder(const struct config *c)
{
	return c->folder;
}
