/*
 * auth_jwt.c: bearer tokens.  One that was verified is remembered by its digest until it ends or the settings
 * change, so that a signature is verified once and not by each request.
 */
#include "auth_impl.h"

#include <strings.h>

static uint64_t
now_s(const struct apireq *r)
{
	return r->api->ex->wall_us(r->api->ex) / 1000000;
}

static void
refuse(struct apireq *r, int err, const struct errtext *why)
{
	if (err == ERR_INTERNAL)
		api_error_text(r, 500, "misconfigured_server", "JWT is not configured correctly");
	else
		api_error(r, err, why);
}

static int
verify(struct apireq *r, struct jstr token, const unsigned char digest[SHA256_LEN])
{
	const struct auth_settings *s = auth_settings_of(r);
	struct auth_entry e = {.how = AUTH_JWT};
	struct errtext why = {""};
	struct jwt_claims claims;
	int err = jwt_verify(&s->jwt, token, now_s(r), r->arena, &claims, &why);

	if (!err)
		err = auth_grant(r, claims.sub, claims.roles, claims.nroles, AUTH_JWT);
	if (err) {
		refuse(r, err, &why);
		return -1;
	}
	memcpy(e.digest, digest, SHA256_LEN);
	e.time_s = claims.until_s;
	auth_remember(r, &e, claims.sub, claims.roles, claims.nroles);
	return 1;
}

int
auth_jwt_step(struct apireq *r)
{
	struct jstr h = http_header(r->http, "authorization");
	unsigned char digest[SHA256_LEN];
	struct auth_entry *e;
	struct jstr token;

	if (!h.s || h.len < 7 || strncasecmp(h.s, "Bearer ", 7) != 0)
		return 0;
	token = (struct jstr){h.s + 7, h.len - 7};
	auth_digest(r->api->auth, h.s, h.len, digest);
	if (auth_recall(r, digest, &e) || e->how != AUTH_JWT || now_s(r) >= e->time_s)
		return verify(r, token, digest);
	if (auth_grant_entry(r, e)) {
		api_error(r, ERR_NOMEM, NULL);
		return -1;
	}
	return 1;
}
