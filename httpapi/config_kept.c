/*
 * config_kept.c: what was changed over HTTP, kept in local.yaml in the data folder.
 *
 * The file is written whole, beside its place, and renamed, before the change is published: a crash leaves the old
 * values or the new ones, and what was acknowledged is kept.  A value of null says that the setting has none, whatever
 * the configuration file says.
 *
 * 1. One change at a time: the layer and the file are equal but while one is under way.
 * 2. A change that fails is taken out of the file again: the file may have it already where the folder could not be synced.
 * 3. A value that is kept already is written all the same: a process that was killed may have left it without a sync.
 */
#include "config_impl.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "setup.h"
#include "base/buf.h"
#include "base/log.h"

#define FILE_NAME "local.yaml"
#define FILE_MAX ((size_t)4 << 20)

static pthread_mutex_t changing = PTHREAD_MUTEX_INITIALIZER; /* invariant 1 */

struct line {
	const char *section, *key, *value;
	size_t order;
};

struct lines {
	struct line *v;
	size_t n, room;
};

static int
add_line(const char *section, const char *key, const char *value, void *cookie)
{
	struct lines *l = cookie;
	struct line *v;

	if (l->n == l->room) {
		l->room = l->room * 2 + 16;
		v = realloc(l->v, l->room * sizeof(*v));
		if (v == NULL)
			return ERR_NOMEM;
		l->v = v;
	}
	l->v[l->n] = (struct line){section, key, value, l->n};
	l->n++;
	return 0;
}

/* Sections together, otherwise in the order in which they came. */
static int
compare(const void *a, const void *b)
{
	const struct line *x = a, *y = b;
	int rc = strcmp(x->section, y->section);

	return rc != 0 ? rc : x->order < y->order ? -1 : 1;
}

/* In double quotes, in ASCII: not everything that JSON leaves as it is may stand in YAML. */
static void
put_text(struct buf *b, const char *s)
{
	const unsigned char *p = (const unsigned char *)s;
	uint32_t c;
	unsigned more;

	buf_putc(b, '"');
	while (*p != '\0') {
		c = *p++;
		more = c >= 0xF0 ? 3 : c >= 0xE0 ? 2 : c >= 0xC0 ? 1 : 0;
		if (more > 0)
			for (c &= 0x3Fu >> more; more > 0 && (*p & 0xC0) == 0x80; more--)
				c = c << 6 | (*p++ & 0x3Fu);
		if (c == '"' || c == '\\')
			buf_printf(b, "\\%c", (char)c);
		else if (c >= 0x20 && c < 0x7F)
			buf_putc(b, (char)c);
		else
			buf_printf(b, "\\U%08X", (unsigned)c);
	}
	buf_putc(b, '"');
}

static int
write_lines(const char *folder, struct lines *l)
{
	const char *section = NULL;
	struct buf b;
	size_t i;
	int err;

	if (l->n > 1)
		qsort(l->v, l->n, sizeof(*l->v), compare);
	buf_init(&b, FILE_MAX);
	buf_puts(&b, "# What was changed over HTTP: read after the configuration file.  Written by divand.\n");
	for (i = 0; i < l->n; i++) {
		if (section == NULL || strcmp(section, l->v[i].section) != 0) {
			section = l->v[i].section;
			put_text(&b, section);
			buf_puts(&b, ":\n");
		}
		buf_puts(&b, "  ");
		put_text(&b, l->v[i].key);
		buf_puts(&b, ": ");
		if (l->v[i].value == config_gone)
			buf_puts(&b, "~");
		else
			put_text(&b, l->v[i].value);
		buf_putc(&b, '\n');
	}
	err = buf_failed(&b);
	if (err == 0)
		err = setup_write(folder, FILE_NAME, b.data, b.len);
	buf_release(&b);
	return err;
}

/* The file as it is to be: ${value} NULL: nothing of that setting. */
static int
write_kept(struct config *c, const char *section, const char *key, const char *value)
{
	struct lines l = {NULL, 0, 0};
	size_t i;
	int err;

	if (config_folder(c) == NULL)
		return 0;
	err = config_at_each(c, CONFIG_KEPT, add_line, &l);
	for (i = 0; i < l.n && (strcmp(l.v[i].key, key) != 0 || strcmp(l.v[i].section, section) != 0); i++) {
	}
	if (err == 0 && value == NULL && i < l.n)
		l.v[i] = l.v[--l.n];
	else if (err == 0 && value != NULL && i < l.n)
		l.v[i].value = value;
	else if (err == 0 && value != NULL)
		err = add_line(section, key, value, &l);
	if (err == 0)
		err = write_lines(config_folder(c), &l);
	free(l.v);
	return err;
}

/* Invariant 2.  Where this fails, too, the next change does it. */
static void
put_back(struct config *c)
{
	struct lines l = {NULL, 0, 0};

	if (config_folder(c) != NULL && config_at_each(c, CONFIG_KEPT, add_line, &l) == 0 &&
	    write_lines(config_folder(c), &l) != 0)
		log_line(LOG_WARNING, "a setting that could not be kept may be in " FILE_NAME " all the same");
	free(l.v);
}

/* In the file and the layer, or in none of them. */
static int
keep_value(struct config *c, const char *section, const char *key, const char *value)
{
	int err = write_kept(c, section, key, value);

	if (err == 0)
		err = config_put(c, CONFIG_KEPT, section, key, value);
	if (err != 0)
		put_back(c);
	return err;
}

static int
is_admin(const char *section)
{
	return strcmp(section, "admins") == 0;
}

/* What the layers kept and running are to say.  That there is no such administrator any more is always kept: the environment may name him again. */
static void
decide(struct config *c, const char *section, const char *key, const char *value, int keep, const char *kept[2])
{
	const char *was = config_at(c, CONFIG_KEPT, section, key);
	const char *ran = config_at(c, CONFIG_RUNNING, section, key);
	int given = config_at(c, CONFIG_GIVEN, section, key) != NULL;
	int below = given || config_at(c, CONFIG_FILE, section, key) != NULL ||
		    config_at(c, CONFIG_BUILT_IN, section, key) != NULL || (!keep && was != NULL);
	int was_put = (keep && was != NULL && was != config_gone) || (ran != NULL && ran != config_gone);

	if (value == NULL && (is_admin(section) || (below && !was_put)))
		value = config_gone;
	kept[0] = value;
	kept[1] = keep && (!given || is_admin(section)) ? NULL : value;
}

int
config_change(struct config *c, const char *section, const char *key, const char *value, int keep)
{
	const char *kept[2];
	int err;

	pthread_mutex_lock(&changing);
	decide(c, section, key, value, keep, kept);
	err = keep ? keep_value(c, section, key, kept[0]) : 0;
	/* As at the next start (setup_admins.c): else the password that was given would hold again once the files are read anew. */
	if (err == 0 && keep && is_admin(section))
		err = config_put(c, CONFIG_GIVEN, section, key, NULL);
	if (err == 0)
		err = config_put(c, CONFIG_RUNNING, section, key, kept[1]);
	pthread_mutex_unlock(&changing);
	return err;
}

void
config_kept_hold(void)
{
	pthread_mutex_lock(&changing);
}

void
config_kept_release(void)
{
	pthread_mutex_unlock(&changing);
}

int
config_kept_drop(struct config *c, const char *section, const char *key)
{
	int err = 0;

	pthread_mutex_lock(&changing);
	if (config_at(c, CONFIG_KEPT, section, key) != NULL)
		err = keep_value(c, section, key, NULL);
	pthread_mutex_unlock(&changing);
	return err;
}

int
config_kept_load(struct config *c, struct errtext *why)
{
	char path[PATH_MAX];
	int n = snprintf(path, sizeof(path), "%s/" FILE_NAME, config_folder(c));

	if (n <= 0 || n >= (int)sizeof(path))
		return err_why(why, ERR_IO, "the data folder's name is too long");
	if (access(path, F_OK) != 0 && errno == ENOENT)
		return 0;
	return config_file_load(c, CONFIG_KEPT, path, why);
}
