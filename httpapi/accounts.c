/* accounts.c: look-up of accounts. */
#include "accounts.h"
#include "secret.h"
#include "base/hash.h"
#include "base/limits.h"

#include <stdatomic.h>
#include <stdlib.h>

struct accounts {
	atomic_uint_fast64_t generation;
};

int
accounts_new(struct api *api)
{
	struct accounts *s = calloc(1, sizeof(*s));

	if (!s)
		return ERR_NOMEM;
	atomic_store(&s->generation, 1);
	api->accounts = s;
	return 0;
}

void
accounts_free(struct api *api)
{
	free(api->accounts);
	api->accounts = NULL;
}

uint64_t
accounts_generation(const struct api *api)
{
	return atomic_load_explicit(&api->accounts->generation, memory_order_acquire);
}

void
accounts_changed(struct api *api)
{
	if (api->accounts)
		atomic_fetch_add(&api->accounts->generation, 1);
}

void
accounts_moved(struct api *api, const char *name)
{
	if (strcmp(name, "_users") == 0)
		accounts_changed(api);
}

int
accounts_find(struct api *api, const char *name, size_t len, struct arena *a, struct account *out)
{
	static const char *const roles[] = {"_admin"};
	unsigned char digest[SHA256_LEN];
	const char *stored, *comma, *salt;
	char key[LIMIT_ID_LEN];

	if (len == 0 || len >= sizeof(key) || memchr(name, '\0', len))
		return ERR_MISSING;
	memcpy(key, name, len);
	key[len] = '\0';
	stored = config_get(api->config, "admins", key, NULL);
	if (!stored || !*stored)
		return ERR_MISSING;
	out->stored = arena_dup(a, stored, strlen(stored));
	if (!out->stored)
		return ERR_NOMEM;
	comma = strchr(out->stored, ',');
	salt = comma ? comma + 1 : out->stored;
	out->salt = (struct jstr){salt, strcspn(salt, ",")};
	out->roles = roles;
	out->nroles = 1;
	out->server_admin = 1;
	hash_sha256(stored, strlen(stored), digest);
	memcpy(out->stamp, digest, sizeof(out->stamp));
	return 0;
}

void
accounts_upgrade(struct api *api, const char *name, const char *password, size_t len, const struct account *seen)
{
	(void)api;
	(void)name;
	(void)password;
	(void)len;
	(void)seen;
}
