/* users_settings.c: what the configuration says of accounts and of how their passwords are hashed. */
#include "users.h"
#include "secret.h"
#include "base/log.h"

#include <strings.h>

#define MAX_ITERATIONS 10000000u /* chttpd_auth/max_iterations' default: about 2.5 s of CPU */

const char *
users_database(const struct config *c)
{
	return config_get_auth(c, "authentication_db", "_users");
}

void
users_iterations_taken(const struct config *c, unsigned *minp, unsigned *maxp)
{
	uint64_t min = config_u64(c, "chttpd_auth", "min_iterations", 1);
	uint64_t max = config_u64(c, "chttpd_auth", "max_iterations", MAX_ITERATIONS);

	*minp = min < SECRET_MAX_ITERATIONS ? (unsigned)min : SECRET_MAX_ITERATIONS;
	*maxp = max < SECRET_MAX_ITERATIONS ? (unsigned)max : SECRET_MAX_ITERATIONS;
}

unsigned
users_iterations(const struct config *c)
{
	uint64_t n = config_u64(
	    c, "chttpd_auth", "iterations", config_u64(c, "couch_httpd_auth", "iterations", SECRET_ITERATIONS));
	unsigned min, max;

	users_iterations_taken(c, &min, &max);
	return n > max ? max : n < min ? min : (unsigned)n;
}

int
users_policy(const struct config *c, struct users_policy *out)
{
	static const char *const prfs[] = {"sha", "sha224", "sha256", "sha384", "sha512"};
	const char *scheme = config_get_auth(c, "password_scheme", "pbkdf2");
	const char *prf = config_get_auth(c, "pbkdf2_prf", "sha256");

	out->iterations = users_iterations(c);
	out->prf = "";
	if (strcasecmp(scheme, "simple") == 0)
		return 0;
	for (size_t i = 0; i < sizeof(prfs) / sizeof(prfs[0]) && strcasecmp(scheme, "pbkdf2") == 0; i++) {
		out->prf = prfs[i];
		if (strcasecmp(prf, prfs[i]) == 0)
			return 0;
	}
	log_line(
	    LOG_ERROR, "chttpd_auth: no passwords can be set: password_scheme is '%s', pbkdf2_prf '%s'", scheme, prf);
	return ERR_FORBIDDEN;
}
