/*
 * config_file.c: settings from a YAML file: a mapping of sections, each a mapping of keys and values.
 *
 * A password may stand in the file, so what the parser had of it is overwritten before it is freed.
 */
#include "config_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <yaml.h>

#include "config_known.h"
#include "base/buf.h"
#include "base/log.h"

#define VALUE_MAX (1u << 20)

struct loader {
	struct config *config;
	enum config_layer layer;
	const char *path;
	int fd;
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

static void
drop_event(struct loader *l)
{
	if (!l->has_event)
		return;
	if (l->event.type == YAML_SCALAR_EVENT)
		explicit_bzero(l->event.data.scalar.value, l->event.data.scalar.length);
	yaml_event_delete(&l->event);
	l->has_event = 0;
}

static int
step(struct loader *l)
{
	drop_event(l);
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

static int
is_null(const struct loader *l)
{
	const char *s = scalar(l);

	return l->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE && (strcmp(s, "~") == 0 || strcmp(s, "null") == 0);
}

/* "~", "null" and nothing at all are the empty text, unless quoted. */
static const char *
scalar_value(const struct loader *l)
{
	return is_null(l) ? "" : scalar(l);
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

/* The line is the value's first. */
static int
set(struct loader *l, size_t line, const char *section, const char *key, const char *value)
{
	struct errtext why = {""};
	int err = 0;

	if (l->layer == CONFIG_FILE || l->layer == CONFIG_KEPT) {
		if (config_known_find(section, key) == NULL)
			log_line(LOG_WARNING, "%s:%zu: nothing reads %s/%s", l->path, line + 1, section, key);
		else if (*value != '\0')
			err = config_known_check(section, key, value, &why);
	}
	if (err != 0 && l->layer == CONFIG_KEPT) {
		log_line(LOG_WARNING, "%s:%zu: %s/%s %s: left out", l->path, line + 1, section, key, why.text);
		return 0;
	}
	if (err != 0)
		return err_why(l->why, err, "%s:%zu: %s/%s %s", l->path, line + 1, section, key, why.text);
	return config_put(l->config, l->layer, section, key, value);
}

static int
load_value(struct loader *l, const char *section, const char *key)
{
	struct buf text;
	size_t line;
	int err = step(l);

	if (err != 0)
		return err;
	line = l->event.start_mark.line;
	if (l->event.type == YAML_SCALAR_EVENT && l->layer == CONFIG_KEPT && is_null(l))
		return config_put(l->config, l->layer, section, key, config_gone);
	if (l->event.type == YAML_SCALAR_EVENT)
		return set(l, line, section, key, scalar_value(l));
	if (l->event.type != YAML_SEQUENCE_START_EVENT)
		return wrong(l, "expected a value");
	buf_init(&text, VALUE_MAX);
	err = load_list(l, &text);
	if (err == 0)
		err = set(l, line, section, key, text.data);
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

static int
read_more(void *arg, unsigned char *out, size_t room, size_t *n)
{
	struct loader *l = arg;
	ssize_t rc;

	do
		rc = read(l->fd, out, room);
	while (rc < 0 && errno == EINTR);
	*n = rc > 0 ? (size_t)rc : 0;
	return rc >= 0;
}

static void
drop_parser(struct loader *l)
{
	yaml_parser_t *p = &l->parser;

	drop_event(l);
	explicit_bzero(p->raw_buffer.start, (size_t)(p->raw_buffer.end - p->raw_buffer.start));
	explicit_bzero(p->buffer.start, (size_t)(p->buffer.end - p->buffer.start));
	yaml_parser_delete(p);
}

int
config_file_load(struct config *c, enum config_layer layer, const char *path, struct errtext *why)
{
	struct loader l = {.config = c, .layer = layer, .path = path, .why = why};
	int err;

	l.fd = open(path, O_RDONLY | O_CLOEXEC);
	if (l.fd < 0)
		return err_why(why, ERR_IO, "%s: %s", path, strerror(errno));
	if (yaml_parser_initialize(&l.parser) != 1) {
		close(l.fd);
		return ERR_NOMEM;
	}
	yaml_parser_set_input(&l.parser, read_more, &l);
	err = load_document(&l);
	drop_parser(&l);
	close(l.fd);
	return err;
}

int
config_load(struct config *c, const char *path, struct errtext *why)
{
	return config_file_load(c, CONFIG_BUILT_IN, path, why);
}
