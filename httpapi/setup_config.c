/*
 * setup_config.c: the settings at the start and at a reload: file, environment, command line.
 *
 * The environment's names know neither '.' nor small letters, so they are compared with the table of known settings:
 * DIVAN_SMOOSH_RATIO_DBS__MIN_SIZE is smoosh.ratio_dbs/min_size.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config_impl.h"
#include "config_known.h"
#include "setup.h"
#include "base/log.h"

#define PREFIX "DIVAN_"
#define NAME_LEN 128u

/* One of the command line or the environment; what: to tell which. */
static int
give(struct config *c, const char *section, const char *key, const char *value, const char *what)
{
	struct errtext why = {""};

	if (config_known_find(section, key) == NULL)
		log_line(LOG_WARNING, "%s: nothing reads %s/%s", what, section, key);
	if (config_known_check(section, key, value, &why) != 0) {
		log_line(LOG_ERROR, "%s: %s/%s %s", what, section, key, why.text);
		return ERR_BAD_REQUEST;
	}
	return config_put(c, CONFIG_GIVEN, section, key, value);
}

static int
give_option(struct config *c, const char *text)
{
	char section[NAME_LEN], key[NAME_LEN];
	const char *slash = strchr(text, '/'), *equals = slash != NULL ? strchr(slash, '=') : NULL;

	if (equals == NULL || slash - text >= (int)NAME_LEN || equals - slash > (int)NAME_LEN) {
		log_line(LOG_ERROR, "--set takes section/key=value");
		return ERR_BAD_REQUEST;
	}
	memcpy(section, text, (size_t)(slash - text));
	section[slash - text] = '\0';
	memcpy(key, slash + 1, (size_t)(equals - slash - 1));
	key[equals - slash - 1] = '\0';
	return give(c, section, key, equals + 1, "--set");
}

/* DIVAN_CHTTPD__PORT's CHTTPD is chttpd. */
static int
is_named(const char *name, const char *var, size_t len)
{
	size_t i;

	if (strlen(name) != len)
		return 0;
	for (i = 0; i < len; i++)
		if ((isalnum((unsigned char)name[i]) ? toupper((unsigned char)name[i]) : '_') !=
		    toupper((unsigned char)var[i]))
			return 0;
	return 1;
}

static void
lower(char *out, const char *s, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		out[i] = (char)tolower((unsigned char)s[i]);
	out[len] = '\0';
}

/* ${var}: "SECTION__KEY=value". */
static int
give_variable(struct config *c, const char *var, char *value)
{
	const char *mark = strstr(var, "__");
	size_t slen = (size_t)(mark - var), klen = (size_t)(value - 1 - (mark + 2));
	const struct config_known *k;
	char section[NAME_LEN], key[NAME_LEN];
	unsigned i;

	if (slen >= NAME_LEN || klen >= NAME_LEN || klen == 0)
		return 0;
	lower(section, var, slen);
	lower(key, mark + 2, klen);
	for (i = 0; (k = config_known_at(i)) != NULL; i++) {
		if (!is_named(k->section, var, slen))
			continue;
		memcpy(section, k->section, slen);
		if (is_named(k->key, mark + 2, klen)) {
			memcpy(key, k->key, klen);
			break;
		}
	}
	return give(c, section, key, value, "environment");
}

static int
give_environment(struct config *c)
{
	char **e;
	int err = 0;

	for (e = environ; *e != NULL && err == 0; e++) {
		char *equals = strchr(*e, '=');
		const char *mark = strstr(*e, "__");

		if (strncmp(*e, PREFIX, strlen(PREFIX)) != 0 || equals == NULL || mark == NULL || mark >= equals)
			continue;
		err = give_variable(c, *e + strlen(PREFIX), equals + 1);
		/* It may be a secret, and is shown in /proc. */
		explicit_bzero(equals + 1, strlen(equals + 1));
	}
	return err;
}

/* What clients ask for, and expect to find. */
static int
build_in(struct config *c)
{
	static const char *const shown[][2] = {{"cluster", "q"}, {"couchdb", "database_dir"}, {"chttpd", "port"},
	    {"chttpd", "bind_address"}, {"log", "level"}};
	size_t i;
	int err = 0;

	for (i = 0; i < sizeof(shown) / sizeof(shown[0]) && err == 0; i++)
		err = config_put(
		    c, CONFIG_BUILT_IN, shown[i][0], shown[i][1], config_known_find(shown[i][0], shown[i][1])->dflt);
	return err;
}

int
setup_config(struct config *c, const char *file, const char *const *sets, size_t n)
{
	struct errtext why = {""};
	size_t i;
	int err = build_in(c);

	if (err == 0 && file != NULL)
		err = config_file_load(c, CONFIG_FILE, file, &why);
	if (why.text[0] != '\0')
		log_line(LOG_ERROR, "configuration: %s", why.text);
	if (err == 0)
		err = give_environment(c);
	for (i = 0; i < n && err == 0; i++)
		err = give_option(c, sets[i]);
	return err;
}

static int
load_again(struct config *c, struct config *fresh, struct errtext *why)
{
	const char *folder = config_folder(c);
	int err = config_place(fresh, config_file(c), folder);

	if (err == 0 && config_file(c) != NULL)
		err = config_file_load(fresh, CONFIG_FILE, config_file(c), why);
	if (err == 0 && folder != NULL)
		err = config_kept_load(fresh, why);
	if (err == 0 && folder != NULL)
		err = setup_admins_again(fresh, folder);
	return err;
}

int
setup_reload(struct config *c, struct errtext *why)
{
	struct config *fresh;
	int err = config_new(&fresh);

	if (err != 0)
		return err;
	config_kept_hold();
	err = load_again(c, fresh, why);
	if (err == 0)
		err = config_replace(c, fresh);
	config_kept_release();
	if (err != 0)
		log_line(
		    LOG_ERROR, "configuration: not read again: %s", why->text[0] != '\0' ? why->text : err_reason(err));
	config_free(fresh);
	return err;
}
