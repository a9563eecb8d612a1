/*
 * auth_cert.c: who asks, by the certificate that the client has shown in TLS.
 *
 * ssl/client_cert_user says which name in a certificate is an account's.  The engine has seen to it that the certificate
 * was signed by who may, is not revoked and not expired.  What is left to do here:
 *
 * 1. There must be such an account: a certificate opens it, but does not make it, and its roles are the account's.  Who
 *    is to be locked out loses the account, whatever certificates are about.
 * 2. An administrator of the configuration only where ssl/client_cert_admins says so: else, whoever signs a
 *    certificate for "admin" would be one.
 * 3. A browser shows the certificate for whatever page causes the request, as it does with cookies, and there is no
 *    SameSite for certificates.  So it does not count for a page of another origin, unless CORS lets that page use what
 *    browsers add by themselves (cors/credentials).
 */
#include "auth_cert.h"
#include "accounts.h"
#include "cors.h"
#include "transport.h"

#include <strings.h>

static int
is_own(struct apireq *r, const struct jstr *origin)
{
	static const char scheme[] = "https://";
	const size_t n = sizeof(scheme) - 1;
	struct jstr host = http_header(r->http, "host");

	return host.s && origin->len == n + host.len && strncasecmp(origin->s, scheme, n) == 0 &&
	       strncasecmp(origin->s + n, host.s, host.len) == 0;
}

int
auth_cert_step(struct apireq *r)
{
	enum http_cert_name what;
	struct account account;
	struct jstr name, origin;
	int err;

	if (!transport_cert_user(r->api, &what) || !http_is_tls(r->http))
		return 0;
	name = http_cert_name(r->http, what);
	if (!name.s)
		return 0;
	origin = http_header(r->http, "origin");
	if (origin.s && !is_own(r, &origin) && !cors_trusts(r, &origin))
		return 0;
	err = accounts_find(r->api, name.s, name.len, r->arena, &account);
	if (err == ERR_MISSING)
		return 0;
	if (err)
		return -err;
	if (account.server_admin && !transport_cert_admins(r->api))
		return 0;
	r->who.name = name.s;
	r->who.roles = account.roles;
	r->who.nroles = account.nroles;
	r->who.server_admin = account.server_admin;
	r->authenticated = "certificate";
	return 1;
}
