/*
 * auth_proxy.c: a proxy in front of this server says who asks, by headers: a name, roles, and, where
 * chttpd_auth/proxy_use_secret is set, a token: the HMAC of the name under chttpd_auth/secret, in hexadecimal.
 */
#include "auth_impl.h"

#define ROLES_MAX 1024u

/* *goodp: The proxy's token is that of the name, or none is asked for. */
static int
check_token(struct apireq *r, struct jstr name, int *goodp)
{
	const struct auth_settings *s = auth_settings_of(r);
	struct jstr token = http_header(r->http, s->proxy_token);
	unsigned char mac[MAC_LEN];
	char hex[2 * MAC_LEN];
	int err;

	*goodp = !s->proxy_use_secret;
	for (size_t i = 0; i < s->nmacs && token.s && s->proxy_use_secret; i++) {
		const struct mac *m = s->macs[i];

		if (token.len != 2 * m->len)
			continue;
		err = mac_make(m, s->secret, s->secret_len, name.s, name.len, mac);
		if (err)
			return err;
		hex_encode(mac, m->len, hex);
		*goodp |= hash_equal(hex, token.s, token.len);
	}
	return 0;
}

static int
is_space(char c)
{
	return c == ' ' || c == '\t';
}

/* Splits at commas, with the space around them; what is empty at the end is none. */
static int
split(struct apireq *r, struct jstr text, const char ***rolesp, size_t *np)
{
	const char *p = text.s, *end = text.s + text.len;
	const char **roles;
	size_t max = 1, n = 0;

	for (size_t i = 0; i < text.len; i++)
		max += text.s[i] == ',';
	if (max > ROLES_MAX)
		return ERR_TOO_LARGE;
	roles = arena_calloc(r->arena, max, sizeof(*roles));
	if (!roles)
		return ERR_NOMEM;
	for (size_t i = 0; i < max; i++) {
		const char *comma = memchr(p, ',', (size_t)(end - p));
		const char *stop = comma ? comma : end;
		const char *next = comma ? comma + 1 : end;

		while (i > 0 && p < stop && is_space(*p))
			p++;
		while (comma && stop > p && is_space(stop[-1]))
			stop--;
		roles[i] = arena_dup(r->arena, p, (size_t)(stop - p));
		if (!roles[i])
			return ERR_NOMEM;
		n = stop > p ? i + 1 : n;
		p = next;
	}
	*rolesp = roles;
	*np = n;
	return 0;
}

int
auth_proxy_step(struct apireq *r)
{
	const struct auth_settings *s = auth_settings_of(r);
	struct jstr name = http_header(r->http, s->proxy_user);
	struct jstr list;
	const char **roles = NULL;
	size_t n = 0;
	int err, good;

	if (!name.s || name.len == 0)
		return 0;
	err = check_token(r, name, &good);
	if (!err && !good)
		return 0;
	if (err) {
		api_error(r, err, NULL);
		return -1;
	}
	if (!jread_utf8_ok(name.s, name.len)) {
		api_error_text(r, 400, "bad_request", "The user name is not UTF-8");
		return -1;
	}
	list = http_header(r->http, s->proxy_roles);
	if (list.s && list.len > 0)
		err = jread_utf8_ok(list.s, list.len) ? split(r, list, &roles, &n) : ERR_BAD_REQUEST;
	if (!err)
		err = auth_grant(r, name, roles, n, AUTH_PROXY);
	if (!err)
		return 1;
	api_error(r, err, NULL);
	return -1;
}
