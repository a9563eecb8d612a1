/*
 * accounts.h: who has an account here: the configuration's administrators and the documents of the
 * authentication database (`_users`).
 */
#ifndef HTTPAPI_ACCOUNTS_H_
#define HTTPAPI_ACCOUNTS_H_

#include "httpapi/api.h"

#define ACCOUNTS_STAMP_LEN 16u

/* An account, as of one moment.  Memory: the arena's. */
struct account {
	const char *stored;       /* the credential in [admins]' text form, never NULL: for secret_check() */
	struct jstr salt;         /* of the credential; sessions depend on it.  Never empty. */
	const char *const *roles; /* "_admin" among them for an administrator of the configuration */
	size_t nroles;
	int server_admin;
	struct jstr totp; /* what a login must bring besides the password: for totp_verify(); len 0: nothing */
	unsigned char stamp[ACCOUNTS_STAMP_LEN]; /* differs where the credential or the roles do */
};

/** accounts_new(api): Set api->accounts, once dbs, ex and config are set.  Errors: ERR_NOMEM. */
int accounts_new(struct api *api) MUST_CHECK;
/** accounts_start(api): Begin the work in the background: once everything that is told of commits is there. */
void accounts_start(struct api *api);
/**
 * accounts_stop(api): End the work in the background, and close what is open.  Before the databases close; look-ups are over.
 * accounts_free(api): After it.
 */
void accounts_stop(struct api *api);
void accounts_free(struct api *api);

/**
 * accounts_find(api, name, len, a, out): Account ${name}, in ${a}.  An administrator of the configuration wins over a
 * document of that name, and has its roles too.  Quick; any thread, HTTP threads too.  Errors: ERR_MISSING (there is
 * none, or it has no password, or one in a form that is not known or costs too much); ERR_USER_CONFLICTS: nobody logs in by a document
 * that has conflicts, unless chttpd_auth/allow_conflicted_user_docs is true; ERR_NOMEM, ERR_IO, ERR_CORRUPT.
 */
int accounts_find(struct api *api, const char *name, size_t len, struct arena *a, struct account *out) MUST_CHECK;

/**
 * accounts_generation(api): A number greater than 0 that grows with each change of an account, before that is answered:
 * what was found after it was read holds for as long as it stays.  Any thread.
 */
uint64_t accounts_generation(const struct api *api);

/**
 * accounts_upgrade(api, name, password, len, seen): ${name} has logged in with ${password}, which verified against
 * ${seen}: if that was not made as the settings now say (and chttpd_auth/upgrade_hash_on_auth is not false), it
 * is replaced in the background, unless it has changed meanwhile.  Copies what it needs; gives up silently where there
 * is too much to do.  Any thread.
 */
void accounts_upgrade(struct api *api, const char *name, const char *password, size_t len, const struct account *seen);

/**
 * accounts_moved(api, name, seq, dropped): Database ${name} has changed, as dbs_config.moved says it: before the change is
 * acknowledged.  Any thread.
 */
void accounts_moved(struct api *api, const char *name, uint64_t seq, int dropped);

#endif
