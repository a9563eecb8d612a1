/*
 * auth_cookie.c: session cookies in CouchDB's form: base64url of "NAME:TIME:MAC", TIME in
 * hexadecimal seconds, MAC the raw HMAC of "NAME:TIME" under the server's secret followed by
 * the account's salt, by the first of chttpd_auth/hash_algorithms; all of them are accepted.  So a session
 * goes on at another server with the same secret and accounts.  A changed password has a new salt, and so ends the account's sessions.
 */
#include "auth_impl.h"
#include "base/limits.h"

#define COOKIE_NAME "AuthSession"

/* The value of a cookie of the request; len 0 if there is none. */
static struct jstr
find_cookie(struct apireq *r, const char *name)
{
	struct jstr none = {NULL, 0};
	struct jstr h = http_header(r->http, "cookie");
	size_t nlen = strlen(name);
	const char *p = h.s;
	const char *end = h.s ? h.s + h.len : NULL;

	while (p && p < end) {
		const char *semi, *stop;

		while (p < end && (*p == ' ' || *p == ';'))
			p++;
		semi = memchr(p, ';', (size_t)(end - p));
		stop = semi ? semi : end;
		if ((size_t)(stop - p) > nlen && memcmp(p, name, nlen) == 0 && p[nlen] == '=') {
			struct jstr v = {p + nlen + 1, (size_t)(stop - p) - nlen - 1};

			if (v.len >= 2 && v.s[0] == '"' && v.s[v.len - 1] == '"')
				v = (struct jstr){v.s + 1, v.len - 2};
			return v;
		}
		p = stop;
	}
	return none;
}

/* The MAC of a session by the n-th algorithm of the settings. */
static int
make_mac(struct apireq *r, size_t n, struct jstr salt, struct jstr text, unsigned char mac[MAC_LEN])
{
	const struct auth_settings *set = auth_settings_of(r);
	struct buf key;
	int err;

	buf_init_arena(&key, r->arena, 65536);
	buf_put(&key, set->secret, set->secret_len);
	buf_put(&key, salt.s, salt.len);
	err = buf_failed(&key);
	return err ? err : mac_make(set->macs[n], key.data, key.len, text.s, text.len, mac);
}

static uint64_t
now_s(struct apireq *r)
{
	return r->api->ex->wall_us(r->api->ex) / 1000000;
}

static int
parse_hex(const char *s, size_t len, uint64_t *np)
{
	uint64_t n = 0;

	if (len == 0 || len > 15)
		return ERR_BAD_REQUEST;
	for (size_t i = 0; i < len; i++) {
		char c = s[i];
		unsigned d;

		if (c >= '0' && c <= '9')
			d = (unsigned)(c - '0');
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			d = (unsigned)((c | 0x20) - 'a') + 10;
		else
			return ERR_BAD_REQUEST;
		n = n << 4 | d;
	}
	*np = n;
	return 0;
}

/* A cookie taken apart; everything points into its decoded text. */
struct session {
	struct jstr name;
	struct jstr signed_text;
	uint64_t issued_s;
	struct jstr mac;
};

static int
parse(const struct buf *b, struct session *out)
{
	const char *end = b->data + b->len;
	const char *c1 = b->len ? memchr(b->data, ':', b->len) : NULL;
	const char *c2 = c1 ? memchr(c1 + 1, ':', (size_t)(end - c1 - 1)) : NULL;

	if (!c2)
		return ERR_BAD_REQUEST;
	out->name = (struct jstr){b->data, (size_t)(c1 - b->data)};
	out->signed_text = (struct jstr){b->data, (size_t)(c2 - b->data)};
	out->mac = (struct jstr){c2 + 1, (size_t)(end - c2 - 1)};
	return parse_hex(c1 + 1, (size_t)(c2 - c1 - 1), &out->issued_s) ? ERR_MISSING : 0;
}

/* 1: within its time; 0: over, or from the future by more than clocks differ. */
static int
is_live(struct apireq *r, uint64_t issued_s)
{
	uint64_t now = now_s(r);
	uint64_t timeout = auth_settings_of(r)->timeout_s;

	return now < issued_s + timeout && issued_s <= now + timeout;
}

/*
 * A session that is used lives on: a new cookie once a tenth of its time is over.  ${stamp}: the account's, of the cookie that
 * was shown: one that ends just now, with its password, gets none with the new one's salt.
 */
static int
renew(struct apireq *r, uint64_t issued_s, const unsigned char stamp[ACCOUNTS_STAMP_LEN], const struct account *known)
{
	uint64_t timeout = auth_settings_of(r)->timeout_s;
	struct account account;
	int err;

	if (issued_s + timeout >= now_s(r) + timeout * 9 / 10)
		return 0;
	if (known)
		return auth_cookie_issue(r, r->who.name, known->salt);
	err = accounts_find(r->api, r->who.name, strlen(r->who.name), r->arena, &account);
	if (err)
		return err == ERR_MISSING ? 0 : err;
	return hash_equal(account.stamp, stamp, ACCOUNTS_STAMP_LEN) ? auth_cookie_issue(r, r->who.name, account.salt)
								    : 0;
}

/* *genuinep: Some secret that counts made the session. */
static int
check_mac(struct apireq *r, const struct session *s, const struct account *account, int *genuinep)
{
	const struct auth_settings *set = auth_settings_of(r);
	unsigned char mac[MAC_LEN];
	int err = 0;

	*genuinep = 0;
	for (size_t i = 0; i < set->nmacs && !err; i++) {
		if (s->mac.len != set->macs[i]->len)
			continue;
		err = make_mac(r, i, account->salt, s->signed_text, mac);
		if (!err)
			*genuinep |= hash_equal(mac, s->mac.s, s->mac.len);
	}
	return err;
}

/* A cookie that is not remembered.  ERR_MISSING: it is over or forged, which is as if there were none. */
static int
verify(struct apireq *r, struct jstr value, const unsigned char digest[SHA256_LEN])
{
	struct auth_entry e = {.how = AUTH_COOKIE, .generation = accounts_generation(r->api)};
	struct account account;
	struct session s;
	struct buf b;
	int err, genuine = 0;

	buf_init_arena(&b, r->arena, LIMIT_ID_LEN);
	if (base64_get(&b, value.s, value.len))
		return ERR_BAD_REQUEST;
	err = parse(&b, &s);
	if (err)
		return err;
	if (!is_live(r, s.issued_s))
		return ERR_MISSING;
	err = accounts_find(r->api, s.name.s, s.name.len, r->arena, &account);
	if (!err)
		err = check_mac(r, &s, &account, &genuine);
	if (!err && !genuine)
		err = ERR_MISSING;
	if (!err)
		err = auth_grant(r, s.name, account.roles, account.nroles, AUTH_COOKIE);
	if (err)
		return err;
	memcpy(e.digest, digest, SHA256_LEN);
	memcpy(e.stamp, account.stamp, ACCOUNTS_STAMP_LEN);
	e.time_s = s.issued_s;
	auth_remember(r, &e, s.name, account.roles, account.nroles);
	return renew(r, s.issued_s, account.stamp, &account);
}

static int
recall(struct apireq *r, struct jstr value)
{
	unsigned char digest[SHA256_LEN];
	struct auth_entry *e;
	int err;

	auth_digest(r->api->auth, value.s, value.len, digest);
	err = auth_recall(r, digest, &e);
	if (err == ERR_MISSING || (!err && e->how != AUTH_COOKIE))
		return verify(r, value, digest);
	if (!err && !is_live(r, e->time_s))
		err = ERR_MISSING;
	if (!err)
		err = auth_grant_entry(r, e);
	return err ? err : renew(r, e->time_s, e->stamp, NULL);
}

int
auth_cookie_step(struct apireq *r)
{
	struct jstr value = find_cookie(r, COOKIE_NAME);
	struct errtext why = {""};
	int err;

	if (value.len == 0)
		return 0;
	err = recall(r, value);
	if (err == 0)
		return 1;
	if (err == ERR_MISSING)
		return 0;
	if (err == ERR_BAD_REQUEST)
		err_why(&why, err, "Malformed AuthSession cookie. Please clear your cookies.");
	api_error(r, err, &why);
	return -1;
}

/* base64 in its URL form, without padding. */
static int
put_base64url(struct buf *out, const struct buf *in)
{
	size_t start = out->len;
	int err = base64_put(out, in->data, in->len);

	if (err)
		return err;
	while (out->len > start && out->data[out->len - 1] == '=')
		out->len--;
	for (size_t i = start; i < out->len; i++) {
		if (out->data[i] == '+')
			out->data[i] = '-';
		else if (out->data[i] == '/')
			out->data[i] = '_';
	}
	return 0;
}

static int
put_session(struct apireq *r, struct buf *out, const char *name, struct jstr salt)
{
	unsigned char mac[MAC_LEN];
	struct buf b;
	int err;

	buf_init_arena(&b, r->arena, LIMIT_ID_LEN);
	err = buf_printf(&b, "%s:%llX", name, (unsigned long long)now_s(r));
	if (!err)
		err = make_mac(r, 0, salt, (struct jstr){b.data, b.len}, mac);
	if (!err)
		err = buf_putc(&b, ':');
	if (!err)
		err = buf_put(&b, mac, auth_settings_of(r)->macs[0]->len);
	return err ? err : put_base64url(out, &b);
}

/* Over TLS, or as a proxy in front says so. */
static int
is_secure(struct apireq *r)
{
	struct jstr proto = api_forwarded(r, "x_forwarded_proto");

	return http_is_tls(r->http) || auth_settings_of(r)->secure || jstr_is(&proto, "https");
}

int
auth_cookie_issue(struct apireq *r, const char *name, struct jstr salt)
{
	const struct auth_settings *set = auth_settings_of(r);
	time_t until = (time_t)(now_s(r) + (name ? set->timeout_s : 0));
	struct tm tm;
	char date[64];
	struct buf b;
	int err;

	buf_init_arena(&b, r->arena, 2 * LIMIT_ID_LEN);
	err = buf_puts(&b, COOKIE_NAME "=");
	if (!err && name)
		err = put_session(r, &b, name, salt);
	if (!gmtime_r(&until, &tm) || strftime(date, sizeof(date), "%a, %d-%b-%Y %H:%M:%S GMT", &tm) == 0)
		err = ERR_INTERNAL;
	if (err)
		return err;
	buf_puts(&b, "; Version=1");
	/* Without it, it ends with the browser's run; the end of a session always says so. */
	if (set->persistent || !name)
		buf_printf(&b, "; Expires=%s; Max-Age=%llu", date, (unsigned long long)set->timeout_s);
	if (is_secure(r))
		buf_puts(&b, "; Secure");
	if (*set->cookie_domain)
		buf_printf(&b, "; Domain=%s", set->cookie_domain);
	buf_printf(&b, "; Path=/; HttpOnly%s", set->same_site);
	err = buf_failed(&b);
	if (!err)
		http_add_header(r->http, "set-cookie", b.data, b.len);
	return err;
}
