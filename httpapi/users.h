/* users.h: the rules of the databases that hold users' documents: `_users`, `.../_users`, and what chttpd_auth/authentication_db names. */
#ifndef HTTPAPI_USERS_H_
#define HTTPAPI_USERS_H_

#include "httpapi/api.h"

/** users_init(api): Make api->users ready, before a database is opened and once api->config is set. */
void users_init(struct api *api);

/** users_rules(api, name): dbs_config.rules: the rules of database ${name}, or NULL. */
const struct db_rules *users_rules(void *api, const char *name);

/** users_database(c): The name of the database that accounts are looked up in. */
const char *users_database(const struct config *c);

/** users_iterations_taken(c, minp, maxp): Whose hash in a document has fewer or more cannot log in: min_iterations, max_iterations. */
void users_iterations_taken(const struct config *c, unsigned *minp, unsigned *maxp);
/** users_iterations(c): Of passwords that are hashed from now on: the setting iterations, but so many that their owners can log in. */
unsigned users_iterations(const struct config *c);

/* How passwords are hashed from now on. */
struct users_policy {
	const char *prf; /* of PBKDF2; "": simple */
	unsigned iterations;
};
/** users_policy(c, out): By the settings password_scheme, pbkdf2_prf and iterations.  Errors: ERR_FORBIDDEN, with a log line: they name nothing that is known. */
int users_policy(const struct config *c, struct users_policy *out) MUST_CHECK;

#endif
