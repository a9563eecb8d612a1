/*
 * setup_admins.c: who administrates the server, from four places, the first that names an account
 * winning: the environment, the configuration, what an earlier start made, and where there is none,
 * a first one with a random password.
 *
 * A plain password is replaced by its hash.  Sessions depend on the hash's salt, so that a changed
 * password ends them; for them to outlive a restart the hash must be the same one.  admins.yaml
 * therefore has two sections:
 *
 *	admins   the first administrator, who counts
 *	hashes   of passwords given elsewhere, used for as long as the one given still verifies.
 *		 They make nobody an administrator: who is no longer given is none.
 */
#include "setup.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "secret.h"
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
	unsigned n;
	int err;
};

static unsigned
iterations(const struct config *c)
{
	uint64_t n = config_u64(c, "chttpd_auth", "iterations", SECRET_ITERATIONS);

	return n >= 1 && n <= UINT32_MAX ? (unsigned)n : SECRET_ITERATIONS;
}

/* section: where admins.yaml has the hash, or gets it. */
static int
set_admin(struct setting *s, const char *section, const char *name, const char *password)
{
	const char *kept = config_get(s->kept, section, name, NULL);
	char stored[SECRET_LEN];
	int err;

	if (kept != NULL && secret_is_hashed(kept) && secret_check(kept, password, strlen(password)))
		return config_set(s->config, "admins", name, kept);
	err = secret_hash(password, strlen(password), iterations(s->config), stored);
	if (err != 0) {
		log_line(LOG_ERROR, "cannot hash a password");
		return err;
	}
	err = config_set(s->config, "admins", name, stored);
	if (err != 0 || !jread_utf8_ok(name, strlen(name)))
		return err;
	s->changed = 1;
	return config_set(s->kept, section, name, stored);
}

static int
hash_plain(const char *name, const char *value, void *cookie)
{
	struct setting *s = cookie;

	if (*value != '\0' && !secret_is_hashed(value))
		s->err = set_admin(s, "hashes", name, value);
	s->n++;
	return s->err;
}

static int
add_missing(const char *name, const char *value, void *cookie)
{
	struct setting *s = cookie;

	if (config_get(s->config, "admins", name, NULL) == NULL)
		s->err = config_set(s->config, "admins", name, value);
	return s->err;
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
	if (access(path, F_OK) != 0)
		return 0;
	err = config_load(s->kept, path, &why);
	if (err != 0)
		log_line(LOG_ERROR, "%s", why.text);
	else
		err = config_each(s->kept, "admins", add_missing, s);
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
		err = setup_write(dir, FILE_NAME, b.data, b.len);
	buf_release(&b);
	return err;
}

static int
add_from_environment(struct setting *s)
{
	const char *both = getenv("DIVAN_ADMIN"), *name = getenv("COUCHDB_USER"),
		   *password = getenv("COUCHDB_PASSWORD");
	const char *colon;
	char buf[NAME_MAX_LEN];

	if (both == NULL && name != NULL && password != NULL && *name != '\0' && *password != '\0')
		return set_admin(s, "hashes", name, password);
	if (both == NULL || *both == '\0')
		return 0;
	colon = strchr(both, ':');
	if (colon == NULL || colon == both || (size_t)(colon - both) >= sizeof(buf) || colon[1] == '\0') {
		log_line(LOG_ERROR, "DIVAN_ADMIN must be name:password");
		return ERR_BAD_REQUEST;
	}
	memcpy(buf, both, (size_t)(colon - both));
	buf[colon - both] = '\0';
	return set_admin(s, "hashes", buf, colon + 1);
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
	err = set_admin(s, "admins", "admin", password);
	if (err == 0)
		err = write_kept(s, dir);
	if (err != 0)
		return err;
	fprintf(stderr,
	    "\nThis is the first start, so here is an administrator.  The password is shown this once:\n\n"
	    "    user      admin\n    password  %s\n\n",
	    password);
	return 0;
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
		err = config_each(c, "admins", hash_plain, &s);
	if (err == 0 && s.n == 0)
		err = make_first(&s, dir);
	else if (err == 0 && s.changed)
		err = write_kept(&s, dir);
	config_free(s.kept);
	return err;
}
