/*
 * config.c: settings by section and key.
 *
 * Read on every request, changed almost never: so readers take no lock.  A setting's entry, once
 * made, stays at its place for good; a change swaps the pointer to its value, and the old value
 * stays on the entry's list until config_free(), because a reader may still look at it.
 *
 * 1. An entry is complete before it is linked, into its bucket and at the end of the list of all.
 * 2. Writers hold the lock.
 */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <yaml.h>

#include "base/buf.h"

#define BUCKETS 128u
#define VALUE_MAX (1u << 20)

struct value {
	struct value *older;
	char text[];
};

struct entry {
	_Atomic(struct entry *) next_in_bucket;
	_Atomic(struct entry *) next;
	_Atomic(const char *) value; /* NULL: unset */
	struct value *values;        /* all that it ever had */
	char *key;                   /* in the same memory, behind section */
	char section[];
};

struct config {
	pthread_mutex_t lock;
	_Atomic(struct entry *) buckets[BUCKETS];
	_Atomic(struct entry *) first;
	struct entry *last;
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
	*cp = c;
	return 0;
}

void
config_free(struct config *c)
{
	struct entry *e, *next;

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
	pthread_mutex_destroy(&c->lock);
	free(c);
}

static struct entry *
add(struct config *c, const char *section, const char *key)
{
	size_t slen = strlen(section) + 1, klen = strlen(key) + 1;
	struct entry *e = calloc(1, sizeof(*e) + slen + klen);
	unsigned h = hash(section, key);

	if (e == NULL)
		return NULL;
	memcpy(e->section, section, slen);
	e->key = e->section + slen;
	memcpy(e->key, key, klen);
	atomic_store(&e->next_in_bucket, atomic_load(&c->buckets[h]));
	atomic_store_explicit(&c->buckets[h], e, memory_order_release);
	atomic_store_explicit(c->last != NULL ? &c->last->next : &c->first, e, memory_order_release);
	c->last = e;
	return e;
}

int
config_set(struct config *c, const char *section, const char *key, const char *value)
{
	struct entry *e;
	struct value *v = NULL;
	int err = 0;

	if (value != NULL) {
		size_t len = strlen(value) + 1;

		v = malloc(sizeof(*v) + len);
		if (v == NULL)
			return ERR_NOMEM;
		memcpy(v->text, value, len);
	}
	pthread_mutex_lock(&c->lock);
	e = find(c, section, key);
	if (e == NULL && v != NULL)
		e = add(c, section, key);
	if (e != NULL) {
		if (v != NULL) {
			v->older = e->values;
			e->values = v;
		}
		atomic_store_explicit(&e->value, v != NULL ? v->text : NULL, memory_order_release);
	} else if (v != NULL) {
		free(v);
		err = ERR_NOMEM;
	}
	pthread_mutex_unlock(&c->lock);
	return err;
}

const char *
config_get(const struct config *c, const char *section, const char *key, const char *dflt)
{
	const struct entry *e = find(c, section, key);
	const char *value = e != NULL ? atomic_load_explicit(&e->value, memory_order_acquire) : NULL;

	return value != NULL ? value : dflt;
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
		const char *value = atomic_load_explicit(&e->value, memory_order_acquire);

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

/* ---- The file ---- */

struct loader {
	struct config *config;
	const char *path;
	struct errtext *why;
	yaml_parser_t parser;
	yaml_event_t event; /* the current one, to be deleted before the next */
	int has_event;
};

static int
fail(struct loader *l, size_t line, const char *what)
{
	return err_why(l->why, ERR_BAD_REQUEST, "%s:%zu: %s", l->path, line + 1, what);
}

static int
step(struct loader *l)
{
	if (l->has_event)
		yaml_event_delete(&l->event);
	l->has_event = 0;
	if (yaml_parser_parse(&l->parser, &l->event) != 1)
		return fail(l, l->parser.problem_mark.line, l->parser.problem != NULL ? l->parser.problem : "not YAML");
	l->has_event = 1;
	return 0;
}

static int
wrong(struct loader *l, const char *what)
{
	return fail(l, l->event.start_mark.line, what);
}

static const char *
scalar(const struct loader *l)
{
	return (const char *)l->event.data.scalar.value;
}

/* "~", "null" and nothing at all are the empty text, unless quoted. */
static const char *
scalar_value(const struct loader *l)
{
	const char *s = scalar(l);

	if (l->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE && (strcmp(s, "~") == 0 || strcmp(s, "null") == 0))
		return "";
	return s;
}

static int
load_list(struct loader *l, struct buf *text)
{
	int err;

	while ((err = step(l)) == 0 && l->event.type != YAML_SEQUENCE_END_EVENT) {
		if (l->event.type != YAML_SCALAR_EVENT)
			return wrong(l, "a list's items must be plain values");
		if (text->len > 0)
			buf_putc(text, ',');
		buf_puts(text, scalar_value(l));
	}
	if (err == 0)
		buf_putc(text, '\0');
	return err != 0 ? err : buf_failed(text);
}

static int
load_value(struct loader *l, const char *section, const char *key)
{
	struct buf text;
	int err = step(l);

	if (err != 0)
		return err;
	if (l->event.type == YAML_SCALAR_EVENT)
		return config_set(l->config, section, key, scalar_value(l));
	if (l->event.type != YAML_SEQUENCE_START_EVENT)
		return wrong(l, "expected a value");
	buf_init(&text, VALUE_MAX);
	err = load_list(l, &text);
	if (err == 0)
		err = config_set(l->config, section, key, text.data);
	buf_release(&text);
	return err;
}

static int
load_section(struct loader *l, const char *section)
{
	char *key;
	int err = step(l);

	if (err != 0)
		return err;
	if (l->event.type == YAML_SCALAR_EVENT && *scalar_value(l) == '\0')
		return 0;
	if (l->event.type != YAML_MAPPING_START_EVENT)
		return wrong(l, "expected a section with keys and values below it");
	while ((err = step(l)) == 0 && l->event.type != YAML_MAPPING_END_EVENT) {
		if (l->event.type != YAML_SCALAR_EVENT)
			return wrong(l, "expected a key");
		key = strdup(scalar(l));
		if (key == NULL)
			return ERR_NOMEM;
		err = load_value(l, section, key);
		free(key);
		if (err != 0)
			return err;
	}
	return err;
}

static int
load_document(struct loader *l)
{
	char *section;
	int err = step(l);

	/* The stream's and the document's beginnings. */
	while (err == 0 && (l->event.type == YAML_STREAM_START_EVENT || l->event.type == YAML_DOCUMENT_START_EVENT))
		err = step(l);
	if (err != 0 || l->event.type == YAML_STREAM_END_EVENT)
		return err;
	if (l->event.type == YAML_SCALAR_EVENT && *scalar_value(l) == '\0')
		return 0;
	if (l->event.type != YAML_MAPPING_START_EVENT)
		return wrong(l, "expected sections");
	while ((err = step(l)) == 0 && l->event.type != YAML_MAPPING_END_EVENT) {
		if (l->event.type != YAML_SCALAR_EVENT)
			return wrong(l, "expected a section's name");
		section = strdup(scalar(l));
		if (section == NULL)
			return ERR_NOMEM;
		err = load_section(l, section);
		free(section);
		if (err != 0)
			return err;
	}
	return err;
}

int
config_load(struct config *c, const char *path, struct errtext *why)
{
	struct loader l = {.config = c, .path = path, .why = why};
	FILE *f = fopen(path, "re");
	int err;

	if (f == NULL)
		return err_why(why, ERR_IO, "%s: %s", path, strerror(errno));
	if (yaml_parser_initialize(&l.parser) != 1) {
		fclose(f);
		return ERR_NOMEM;
	}
	yaml_parser_set_input_file(&l.parser, f);
	err = load_document(&l);
	if (l.has_event)
		yaml_event_delete(&l.event);
	yaml_parser_delete(&l.parser);
	fclose(f);
	return err;
}
