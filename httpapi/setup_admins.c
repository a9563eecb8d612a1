/*
 * setup_admins.c: who administrates the server, from several places, the first that says something of an account
 * winning: the environment and the command line, what was changed over HTTP, the configuration file, and where
 * there is none, a first one with a random password.
 *
 * A plain password is replaced by its hash, wherever it stands, and what held it is overwritten.  Sessions depend on
 * the hash's salt, so that a changed password ends them; for them to outlive a restart the hash must be the same one.
 * admins.yaml therefore has:
 *
 *	admins   the first administrator, who counts
 *	hashes   of passwords given in files, used for as long as the one given still verifies
 *	given    the same of environment and command line.
 *		 These two make nobody an administrator: who is no longer given is none.
 *
 * The environment often stays as it was when the server was set up.  So a password that was changed over HTTP stays
 * changed for as long as the environment says what it said; what it newly says wins, and what was changed is
 * forgotten.
 */
#include "config_impl.h"
#include "setup.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "secret.h"
#include "users.h"
#include "base/buf.h"
#include "base/hash.h"
#include "base/jread.h"
#include "base/log.h"

#define FILE_NAME "admins.yaml"
#define FILE_MAX ((size_t)1 << 20)
#define PASSWORD_LEN 24u
#define NAME_MAX_LEN 256u

struct setting {
	struct config *config;
	struct config *kept; /* admins.yaml */
	int changed;         /* it is to be written */
	enum config_layer layer;
	unsigned n; /* administrators */
};

/* One with a plain password: config_at_each() holds a lock, so they are noted first. */
struct plain {
	const char *name, *password;
	struct plain *next;
};

struct plains {
	struct plain *first;
};

/* section: where admins.yaml has the hash, or gets it.  *${knownp}: it has had it. */
static int
hash_of(struct setting *s, const char *section, const char *name, const char *password, char out[SECRET_LEN],
    const char **storedp, int *knownp)
{
	const char *kept = config_get(s->kept, section, name, NULL);
	int err = 0;

	*knownp = 0;
	if (kept != NULL && secret_is_hashed(kept))
		err = secret_check(kept, password, strlen(password), knownp);
	/* Else what was changed over HTTP would go. */
	if (err != 0) {
		log_line(LOG_ERROR, "cannot check a password");
		return err;
	}
	*storedp = *knownp ? kept : out;
	if (*knownp)
		return 0;
	err = secret_hash(password, strlen(password), users_iterations(s->config), out);
	if (err != 0) {
		log_line(LOG_ERROR, "cannot hash a password");
		return err;
	}
	if (!jread_utf8_ok(name, strlen(name)))
		return 0;
	s->changed = 1;
	return config_set(s->kept, section, name, out);
}

/* Into s->layer. */
static int
set_admin(struct setting *s, const char *section, const char *name, const char *password)
{
	char out[SECRET_LEN];
	const char *stored;
	int known;
	int err = hash_of(s, section, name, password, out, &stored, &known);

	if (err == 0 && s->layer == CONFIG_GIVEN && config_at(s->config, CONFIG_KEPT, "admins", name) != NULL) {
		if (known)
			return config_put(s->config, CONFIG_GIVEN, "admins", name, NULL);
		log_line(LOG_NOTICE,
		    "the administrator %s has another password in the environment than before, which replaces what was "
		    "changed over HTTP",
		    name);
		err = config_kept_drop(s->config, "admins", name);
	}
	return err != 0 ? err : config_put(s->config, s->layer, "admins", name, stored);
}

static int
note_plain(const char *section, const char *name, const char *value, void *cookie)
{
	struct plains *list = cookie;
	struct plain *p;

	if (strcmp(section, "admins") != 0 || *value == '\0' || secret_is_hashed(value))
		return 0;
	p = malloc(sizeof(*p));
	if (p == NULL)
		return ERR_NOMEM;
	*p = (struct plain){name, value, list->first};
	list->first = p;
	return 0;
}

static int
hash_layer(struct setting *s, enum config_layer layer)
{
	struct plains list = {NULL};
	struct plain *p;
	int err = config_at_each(s->config, layer, note_plain, &list);

	s->layer = layer;
	while ((p = list.first) != NULL) {
		if (err == 0)
			err = set_admin(s, layer == CONFIG_GIVEN ? "given" : "hashes", p->name, p->password);
		list.first = p->next;
		free(p);
	}
	return err;
}

static int
count(const char *name, const char *value, void *cookie)
{
	struct setting *s = cookie;

	(void)name;
	s->n += *value != '\0';
	return 0;
}

static int
add_first(const char *name, const char *value, void *cookie)
{
	struct setting *s = cookie;

	return config_put(s->config, CONFIG_BUILT_IN, "admins", name, value);
}

static int
read_kept(struct setting *s, const char *dir)
{
	struct errtext why = {""};
	char path[PATH_MAX];
	int n = snprintf(path, sizeof(path), "%s/" FILE_NAME, dir);
	int err;

	if (n <= 0 || n >= (int)sizeof(path))
		return ERR_IO;
	if (access(path, F_OK) != 0 && errno == ENOENT)
		return 0;
	err = config_load(s->kept, path, &why);
	if (err != 0)
		log_line(LOG_ERROR, "%s", why.text);
	else
		err = config_each(s->kept, "admins", add_first, s);
	return err;
}

static int
put_entry(const char *name, const char *value, void *cookie)
{
	struct buf *b = cookie;

	buf_puts(b, "  ");
	buf_put_json(b, name, strlen(name));
	buf_puts(b, ": ");
	buf_put_json(b, value, strlen(value));
	return buf_putc(b, '\n');
}

static int
put_section(const struct config *kept, const char *section, struct buf *b)
{
	size_t before, head;
	int err;

	before = b->len;
	err = buf_printf(b, "%s:\n", section);
	head = b->len;
	if (err == 0)
		err = config_each(kept, section, put_entry, b);
	if (err == 0 && b->len == head)
		b->len = before;
	return err;
}

static int
write_kept(const struct setting *s, const char *dir)
{
	struct buf b;
	int err;

	buf_init(&b, FILE_MAX);
	err = put_section(s->kept, "admins", &b);
	if (err == 0)
		err = put_section(s->kept, "hashes", &b);
	if (err == 0)
		err = put_section(s->kept, "given", &b);
	if (err == 0)
		err = setup_write(dir, FILE_NAME, b.data, b.len);
	buf_release(&b);
	return err;
}

/* What is read is taken out of the environment: it would be shown in /proc, and inherited. */
static void
forget_variable(const char *name)
{
	char *value = getenv(name);

	if (value != NULL)
		explicit_bzero(value, strlen(value));
	unsetenv(name);
}

static int
read_environment(struct setting *s)
{
	const char *both = getenv("DIVAN_ADMIN"), *name = getenv("COUCHDB_USER"),
		   *password = getenv("COUCHDB_PASSWORD");
	const char *colon;
	char buf[NAME_MAX_LEN];

	if (both == NULL && name != NULL && password != NULL && *name != '\0' && *password != '\0')
		return config_put(s->config, CONFIG_GIVEN, "admins", name, password);
	if (both == NULL || *both == '\0')
		return 0;
	colon = strchr(both, ':');
	if (colon == NULL || colon == both || (size_t)(colon - both) >= sizeof(buf) || colon[1] == '\0') {
		log_line(LOG_ERROR, "DIVAN_ADMIN must be name:password");
		return ERR_BAD_REQUEST;
	}
	memcpy(buf, both, (size_t)(colon - both));
	buf[colon - both] = '\0';
	return config_put(s->config, CONFIG_GIVEN, "admins", buf, colon + 1);
}

static int
add_from_environment(struct setting *s)
{
	int err = read_environment(s);

	forget_variable("DIVAN_ADMIN");
	forget_variable("COUCHDB_PASSWORD");
	return err;
}

static void
make_password(char out[PASSWORD_LEN + 1])
{
	/* 32 characters without those that look alike, so that five bits choose one without a bias. */
	static const char alphabet[] = "abcdefghijkmnpqrstuvwxyz23456789";
	unsigned char random[PASSWORD_LEN];
	size_t i;

	_Static_assert(sizeof(alphabet) - 1 == 32, "a power of two");
	hash_random(random, sizeof(random));
	for (i = 0; i < PASSWORD_LEN; i++)
		out[i] = alphabet[random[i] % 32];
	out[PASSWORD_LEN] = '\0';
}

static int
make_first(struct setting *s, const char *dir)
{
	char password[PASSWORD_LEN + 1];
	int err;

	make_password(password);
	s->layer = CONFIG_BUILT_IN;
	err = config_kept_drop(s->config, "admins", "admin");
	if (err == 0)
		err = set_admin(s, "admins", "admin", password);
	/* Before it is kept: killed in between, the next start is the first one again, and shows another. */
	if (err == 0)
		fprintf(stderr,
		    "\nThis is the first start, so here is an administrator.  The password is shown this once:\n\n"
		    "    user      admin\n    password  %s\n\n",
		    password);
	if (err == 0)
		err = write_kept(s, dir);
	explicit_bzero(password, sizeof(password));
	return err;
}

int
setup_admins(struct config *c, const char *dir)
{
	struct setting s = {.config = c};
	int err = config_new(&s.kept);

	if (err != 0)
		return err;
	err = read_kept(&s, dir);
	if (err == 0)
		err = add_from_environment(&s);
	if (err == 0)
		err = hash_layer(&s, CONFIG_FILE);
	if (err == 0)
		err = hash_layer(&s, CONFIG_KEPT);
	if (err == 0)
		err = hash_layer(&s, CONFIG_GIVEN);
	if (err == 0)
		err = config_each(c, "admins", count, &s);
	if (err == 0 && s.n == 0)
		err = make_first(&s, dir);
	else if (err == 0 && s.changed)
		err = write_kept(&s, dir);
	config_wipe(c);
	config_free(s.kept);
	return err;
}

int
setup_admins_again(struct config *c, const char *dir)
{
	struct setting s = {.config = c};
	int err = config_new(&s.kept);

	if (err == 0)
		err = read_kept(&s, dir);
	if (err == 0)
		err = hash_layer(&s, CONFIG_FILE);
	if (err == 0)
		err = hash_layer(&s, CONFIG_KEPT);
	if (err == 0 && s.changed)
		err = write_kept(&s, dir);
	config_wipe(c);
	config_free(s.kept);
	return err;
}
