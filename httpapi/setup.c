#include "setup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "secret.h"
#include "base/hash.h"
#include "base/log.h"

#define UUID_DIGITS 32u
#define PASSWORD_LEN 24u
#define NAME_MAX_LEN 256u

static int
complain(const char *what, const char *path)
{
	log_line(LOG_ERROR, "cannot %s %s: %s", what, path, strerror(errno));
	return ERR_IO;
}

static int
join(char out[PATH_MAX], const char *dir, const char *name)
{
	int n = snprintf(out, PATH_MAX, "%s/%s", dir, name);

	if (n > 0 && n < PATH_MAX)
		return 0;
	log_line(LOG_ERROR, "the data folder's name is too long");
	return ERR_IO;
}

/* mkdir -p */
static int
make_dirs(const char *dir)
{
	char path[PATH_MAX];
	char *p;
	size_t len = strlen(dir);

	if (len == 0 || len >= sizeof(path)) {
		errno = len == 0 ? ENOENT : ENAMETOOLONG;
		return -1;
	}
	memcpy(path, dir, len + 1);
	for (p = path + 1; (p = strchr(p, '/')) != NULL; *p++ = '/') {
		*p = '\0';
		if (mkdir(path, 0700) != 0 && errno != EEXIST)
			return -1;
	}
	return mkdir(path, 0700) != 0 && errno != EEXIST ? -1 : 0;
}

int
setup_data_dir(const char *dir, int *lock_fdp)
{
	char path[PATH_MAX];
	int fd;

	if (make_dirs(dir) != 0)
		return complain("make the data folder", dir);
	if (join(path, dir, ".lock") != 0)
		return ERR_IO;
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return complain("open", path);
	if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		int held = errno == EWOULDBLOCK;

		if (held)
			log_line(LOG_ERROR, "another divand is running on the data folder %s", dir);
		else
			(void)complain("lock", path);
		close(fd);
		return held ? ERR_LOCKED : ERR_IO;
	}
	*lock_fdp = fd;
	return 0;
}

/* Writes a small file so that it is there whole, or not at all. */
static int
write_file(const char *dir, const char *name, const char *text)
{
	char path[PATH_MAX], tmp[PATH_MAX];
	size_t len = strlen(text);
	int fd, dir_fd, ok;

	if (join(path, dir, name) != 0 || join(tmp, dir, ".new") != 0)
		return ERR_IO;
	fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return complain("write", tmp);
	ok = write(fd, text, len) == (ssize_t)len && fsync(fd) == 0;
	if (close(fd) != 0 || !ok || rename(tmp, path) != 0)
		return complain("write", path);
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd >= 0) {
		(void)fsync(dir_fd);
		close(dir_fd);
	}
	return 0;
}

int
setup_uuid(const char *dir, char out[33])
{
	unsigned char random[UUID_DIGITS / 2];
	char path[PATH_MAX], text[UUID_DIGITS + 2];
	ssize_t n;
	int fd;

	if (join(path, dir, "uuid") != 0)
		return ERR_IO;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 && errno != ENOENT)
		return complain("read", path);
	if (fd >= 0) {
		n = read(fd, text, UUID_DIGITS);
		close(fd);
		if (n != (ssize_t)UUID_DIGITS || hex_decode(text, UUID_DIGITS, random) != 0) {
			log_line(LOG_ERROR, "%s is not a server's uuid", path);
			return ERR_IO;
		}
	} else {
		hash_random(random, sizeof(random));
		hex_encode(random, sizeof(random), text);
		memcpy(text + UUID_DIGITS, "\n", 2);
		if (write_file(dir, "uuid", text) != 0)
			return ERR_IO;
	}
	memcpy(out, text, UUID_DIGITS);
	out[UUID_DIGITS] = '\0';
	return 0;
}

/* ---- Administrators ---- */

static unsigned
iterations(const struct config *c)
{
	uint64_t n = config_u64(c, "chttpd_auth", "iterations", SECRET_ITERATIONS);

	return n >= 1 && n <= UINT32_MAX ? (unsigned)n : SECRET_ITERATIONS;
}

static int
set_admin(struct config *c, const char *name, const char *password)
{
	char stored[SECRET_LEN];
	int err = secret_hash(password, strlen(password), iterations(c), stored);

	if (err != 0) {
		log_line(LOG_ERROR, "cannot hash a password");
		return err;
	}
	return config_set(c, "admins", name, stored);
}

struct adding {
	struct config *config;
	int err;
	unsigned n;
};

static int
hash_plain(const char *name, const char *value, void *cookie)
{
	struct adding *a = cookie;

	if (*value != '\0' && !secret_is_hashed(value))
		a->err = set_admin(a->config, name, value);
	a->n++;
	return a->err;
}

static int
add_missing(const char *name, const char *value, void *cookie)
{
	struct adding *a = cookie;

	if (config_get(a->config, "admins", name, NULL) == NULL)
		a->err = config_set(a->config, "admins", name, value);
	return a->err;
}

static int
add_kept(struct config *c, const char *dir)
{
	struct adding a = {.config = c};
	struct errtext why = {""};
	struct config *kept;
	char path[PATH_MAX];
	int err = join(path, dir, "admins.yaml");

	if (err != 0 || access(path, F_OK) != 0)
		return err;
	err = config_new(&kept);
	if (err != 0)
		return err;
	err = config_load(kept, path, &why);
	if (err == 0)
		err = config_each(kept, "admins", add_missing, &a);
	else
		log_line(LOG_ERROR, "%s", why.text);
	config_free(kept);
	return err;
}

static int
add_from_environment(struct config *c)
{
	const char *both = getenv("DIVAN_ADMIN"), *name = getenv("COUCHDB_USER"),
		   *password = getenv("COUCHDB_PASSWORD");
	const char *colon;
	char buf[NAME_MAX_LEN];

	if (both == NULL && name != NULL && password != NULL && *name != '\0' && *password != '\0')
		return set_admin(c, name, password);
	if (both == NULL || *both == '\0')
		return 0;
	colon = strchr(both, ':');
	if (colon == NULL || colon == both || (size_t)(colon - both) >= sizeof(buf) || colon[1] == '\0') {
		log_line(LOG_ERROR, "DIVAN_ADMIN must be name:password");
		return ERR_BAD_REQUEST;
	}
	memcpy(buf, both, (size_t)(colon - both));
	buf[colon - both] = '\0';
	return set_admin(c, buf, colon + 1);
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
make_first(struct config *c, const char *dir)
{
	char password[PASSWORD_LEN + 1], text[SECRET_LEN + 64];
	int err;

	make_password(password);
	err = set_admin(c, "admin", password);
	if (err != 0)
		return err;
	snprintf(text, sizeof(text), "admins:\n  admin: \"%s\"\n", config_get(c, "admins", "admin", ""));
	err = write_file(dir, "admins.yaml", text);
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
	struct adding a = {.config = c};
	int err = add_kept(c, dir);

	if (err == 0)
		err = add_from_environment(c);
	if (err == 0)
		err = config_each(c, "admins", hash_plain, &a);
	if (err == 0 && a.n == 0)
		err = make_first(c, dir);
	return err;
}
