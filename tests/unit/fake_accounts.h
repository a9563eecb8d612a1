/*
 * fake_accounts.h: accounts.c's functions without a database: a test puts accounts into fake_accounts and says with
 * fake_accounts_changed() that it has; administrators come from the configuration.
 */
#ifndef TESTS_UNIT_FAKE_ACCOUNTS_H_
#define TESTS_UNIT_FAKE_ACCOUNTS_H_

#include <string.h>
#include "base/hash.h"
#include "base/limits.h"
#include "httpapi/accounts.h"

#define FAKE_ACCOUNTS 8

static struct {
	const char *name, *stored, *role; /* name NULL: none */
} fake_accounts[FAKE_ACCOUNTS];
static uint64_t fake_generation = 1;
static unsigned fake_finds, fake_upgrades;

static inline void
fake_accounts_changed(void)
{
	fake_generation++;
}

int
accounts_new(struct api *api)
{
	(void)api;
	return 0;
}

void
accounts_stop(struct api *api)
{
	(void)api;
}

void
accounts_free(struct api *api)
{
	(void)api;
}

uint64_t
accounts_generation(const struct api *api)
{
	(void)api;
	return fake_generation;
}

void
accounts_moved(struct api *api, const char *name, uint64_t seq, int dropped)
{
	(void)api, (void)name, (void)seq, (void)dropped;
}

void
accounts_upgrade(struct api *api, const char *name, const char *password, size_t len, const struct account *seen)
{
	(void)api, (void)name, (void)password, (void)len, (void)seen;
	fake_upgrades++;
}

int
accounts_find(struct api *api, const char *name, size_t len, struct arena *a, struct account *out)
{
	unsigned char digest[SHA256_LEN];
	const char **roles = arena_calloc(a, 1, sizeof(*roles));
	char key[256];
	const char *stored;

	fake_finds++;
	if (len == 0 || len >= sizeof(key) || memchr(name, '\0', len))
		return ERR_MISSING;
	memcpy(key, name, len);
	key[len] = '\0';
	stored = config_get(api->config, "admins", key, NULL);
	roles[0] = stored ? "_admin" : "";
	for (int i = 0; i < FAKE_ACCOUNTS && !stored; i++) {
		if (fake_accounts[i].name && strcmp(fake_accounts[i].name, key) == 0) {
			stored = fake_accounts[i].stored;
			roles[0] = fake_accounts[i].role;
		}
	}
	if (!stored)
		return ERR_MISSING;
	out->stored = stored;
	out->salt = (struct jstr){stored, strlen(stored)};
	out->roles = roles;
	out->nroles = 1;
	out->server_admin = strcmp(roles[0], "_admin") == 0;
	out->totp = (struct jstr){"", 0};
	hash_sha256(stored, strlen(stored), digest);
	digest[0] ^= (unsigned char)roles[0][0];
	memcpy(out->stamp, digest, sizeof(out->stamp));
	return 0;
}

#endif
