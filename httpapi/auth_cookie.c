/*
 * auth_cookie.c: session cookies in CouchDB's form: base64url of "NAME:TIME:MAC", TIME in
 * hexadecimal seconds, MAC the raw HMAC-SHA256 of "NAME:TIME" under the server's secret followed by
 * the account's salt.  A changed password has a new salt, and so ends the account's sessions.
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

/* The salt of "-pbkdf2...-KEY,SALT,ITERATIONS"; all of what is stored where it has another form. */
static struct jstr
salt_of(const char *stored)
{
	const char *comma = strchr(stored, ',');
	const char *salt = comma ? comma + 1 : stored;

	return (struct jstr){salt, strcspn(salt, ",")};
}

static int
make_mac(struct apireq *r, const char *stored, const char *text, size_t len, unsigned char mac[SHA256_LEN])
{
	struct buf key;
	struct jstr salt = salt_of(stored);
	int err;

	buf_init(&key, 65536);
	buf_puts(&key, atomic_load(&r->api->auth->secret));
	buf_put(&key, salt.s, salt.len);
	err = buf_failed(&key);
	if (!err)
		hash_hmac_sha256(key.data, key.len, text, len, mac);
	buf_release(&key);
	return err;
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
	return parse_hex(c1 + 1, (size_t)(c2 - c1 - 1), &out->issued_s);
}

/* 1: within its time; 0: over, or from the future by more than clocks differ. */
static int
is_live(struct apireq *r, uint64_t issued_s)
{
	uint64_t now = now_s(r);
	uint64_t timeout = atomic_load_explicit(&r->api->auth->timeout_s, memory_order_relaxed);

	return now < issued_s + timeout && issued_s <= now + timeout;
}

static int
renew(struct apireq *r, uint64_t issued_s, const struct jstr *name)
{
	uint64_t timeout = atomic_load_explicit(&r->api->auth->timeout_s, memory_order_relaxed);
	const char *stored;

	if (issued_s + timeout >= now_s(r) + timeout * 9 / 10)
		return 0;
	stored = auth_stored(r->api, name->s, name->len);
	return stored ? auth_cookie_issue(r, r->who.name, stored) : 0;
}

static int
verify(struct apireq *r, const struct session *s)
{
	unsigned char mac[SHA256_LEN];
	const char *stored = auth_stored(r->api, s->name.s, s->name.len);
	int err;

	if (!stored || s->mac.len != SHA256_LEN || !is_live(r, s->issued_s))
		return 0;
	err = make_mac(r, stored, s->signed_text.s, s->signed_text.len, mac);
	if (err)
		return -err;
	return hash_equal(mac, s->mac.s, SHA256_LEN);
}

static int
grant(struct apireq *r, struct jstr name, uint64_t issued_s)
{
	int err = auth_grant(r, name.s, name.len, "cookie");

	if (!err)
		err = renew(r, issued_s, &name);
	return err ? -err : 1;
}

int
auth_cookie_step(struct apireq *r)
{
	struct jstr v = find_cookie(r, COOKIE_NAME);
	struct sessions *sessions;
	unsigned char digest[SHA256_LEN];
	struct auth_entry *e;
	uint64_t generation;
	struct buf b;
	struct session s;
	int rc;

	if (v.len == 0)
		return 0;
	sessions = r->api->auth;
	auth_digest(sessions, v.s, v.len, digest);
	if (auth_recall(r, digest, &e)) {
		struct jstr name = {e->name, strlen(e->name)};

		return is_live(r, e->issued_s) ? grant(r, name, e->issued_s) : 0;
	}
	generation = atomic_load(&sessions->generation);
	buf_init(&b, LIMIT_ID_LEN);
	if (base64_get(&b, v.s, v.len) || parse(&b, &s)) {
		rc = -ERR_BAD_REQUEST;
	} else {
		rc = verify(r, &s);
		if (rc > 0) {
			auth_remember(r, digest, generation, s.name, s.issued_s);
			rc = grant(r, s.name, s.issued_s);
		}
	}
	buf_release(&b);
	return rc;
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
put_session(struct apireq *r, struct buf *out, const char *name, const char *stored)
{
	unsigned char mac[SHA256_LEN];
	struct buf b;
	int err;

	buf_init(&b, LIMIT_ID_LEN);
	err = buf_printf(&b, "%s:%llX", name, (unsigned long long)now_s(r));
	if (!err)
		err = make_mac(r, stored, b.data, b.len, mac);
	if (!err)
		err = buf_putc(&b, ':');
	if (!err)
		err = buf_put(&b, mac, sizeof(mac));
	if (!err)
		err = put_base64url(out, &b);
	buf_release(&b);
	return err;
}

int
auth_cookie_issue(struct apireq *r, const char *name, const char *stored)
{
	uint64_t timeout = atomic_load(&r->api->auth->timeout_s);
	time_t until = (time_t)(now_s(r) + (name ? timeout : 0));
	struct tm tm;
	char date[64];
	struct buf b;
	int err;

	buf_init(&b, 2 * LIMIT_ID_LEN);
	err = buf_puts(&b, COOKIE_NAME "=");
	if (!err && name)
		err = put_session(r, &b, name, stored);
	if (!gmtime_r(&until, &tm) || strftime(date, sizeof(date), "%a, %d-%b-%Y %H:%M:%S GMT", &tm) == 0)
		err = ERR_INTERNAL;
	if (!err)
		err = buf_printf(&b, "; Version=1; Expires=%s; Max-Age=%llu%s; Path=/; HttpOnly%s", date,
		    (unsigned long long)timeout, http_is_tls(r->http) ? "; Secure" : "",
		    atomic_load(&r->api->auth->same_site));
	if (!err)
		http_add_header(r->http, "set-cookie", b.data, b.len);
	buf_release(&b);
	return err;
}
