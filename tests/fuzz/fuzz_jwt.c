/*
 * Tokens: none is accepted but by its signature, whatever it says of itself.  The input is the header's and the claims' text, with a
 * line end between them, and behind another one what is taken as the signature.  Signed here, the claims are read; with
 * the signature from the input they are not, unless it is the right one.
 */
#include "base/arena.h"
#include "base/hash.h"
#include "fuzz.h"
#include "httpapi/jwt.h"

#define NOW UINT64_C(1700000000)

static const char pem[] = "-----BEGIN PUBLIC KEY-----\\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\\n"
			  "-----END PUBLIC KEY-----";

static void
put_part(struct buf *b, const char *s, size_t len)
{
	size_t start = b->len;

	FUZZ_CHECK(base64_put(b, s, len) == 0);
	while (b->len > start && b->data[b->len - 1] == '=')
		b->len--;
	for (size_t i = start; i < b->len; i++)
		b->data[i] = b->data[i] == '+' ? '-' : b->data[i] == '/' ? '_' : b->data[i];
}

/* Up to the next line end. */
static size_t
line(const char **pp, const char *end, const char **sp)
{
	const char *nl = memchr(*pp, '\n', (size_t)(end - *pp));
	const char *stop = nl ? nl : end;

	*sp = *pp;
	*pp = nl ? nl + 1 : end;
	return (size_t)(stop - *sp);
}

static void
check_claims(const struct jwt_claims *c)
{
	FUZZ_CHECK(c->sub.s && c->sub.len > 0 && c->sub.s[c->sub.len] == '\0' && strlen(c->sub.s) == c->sub.len);
	FUZZ_CHECK(c->nroles <= JWT_ROLES_MAX && c->until_s > NOW);
	for (size_t i = 0; i < c->nroles; i++)
		FUZZ_CHECK(c->roles[i] && strlen(c->roles[i]) < JWT_LEN_MAX);
}

/* Made once: to read a key takes longer than all else here. */
static const struct jwt_rules *
rules_of(int lenient, int by_path)
{
	static struct jwt_rules all[2][2];
	static struct arena *a;
	struct jwt_rules *rules = &all[lenient][by_path];

	if (rules->keys)
		return rules;
	FUZZ_CHECK(a || arena_new(1u << 20, &a) == 0);
	FUZZ_CHECK(jwt_rules_require(rules, lenient ? "" : "exp", a) == 0);
	FUZZ_CHECK(jwt_rules_roles(rules, "_couchdb.roles", by_path ? "a.b" : NULL, a) == 0);
	FUZZ_CHECK(jwt_rules_key(rules, "hmac:_default", "a2V5") == 0);
	FUZZ_CHECK(jwt_rules_key(rules, "eddsa:_default", pem) == 0);
	return rules;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const char *p = (const char *)data, *end = p + len, *s;
	const struct jwt_rules *rules;
	unsigned char mac[SHA256_LEN];
	struct jwt_claims claims;
	struct errtext why;
	struct arena *a;
	struct buf b, signature;
	size_t n, signed_len;
	int err;

	if (len > 4 * JWT_LEN_MAX || arena_new(1u << 24, &a))
		return 0;
	rules = rules_of(len % 2 == 0, len % 3 == 0);
	buf_init(&b, 1u << 20);
	buf_init(&signature, 1u << 20);
	n = line(&p, end, &s);
	put_part(&b, s, n);
	FUZZ_CHECK(buf_putc(&b, '.') == 0);
	n = line(&p, end, &s);
	put_part(&b, s, n);
	signed_len = b.len;
	hash_hmac_sha256("key", 3, b.data, b.len, mac);
	put_part(&signature, (const char *)mac, sizeof(mac));
	FUZZ_CHECK(buf_putc(&b, '.') == 0);
	/* What the input itself says is the signature: not ours. */
	FUZZ_CHECK(buf_put(&b, p, (size_t)(end - p)) == 0);
	err = jwt_verify(rules, (struct jstr){b.data, b.len}, NOW, a, &claims, &why);
	if (!err)
		FUZZ_CHECK((size_t)(end - p) >= signature.len && memcmp(p, signature.data, signature.len - 1) == 0);
	/* Signed: whatever the outcome, what is accepted is sound. */
	b.len = signed_len + 1;
	FUZZ_CHECK(buf_put(&b, signature.data, signature.len) == 0);
	err = jwt_verify(rules, (struct jstr){b.data, b.len}, NOW, a, &claims, &why);
	if (!err)
		check_claims(&claims);
	/* And as it is, not put together here. */
	err = jwt_verify(rules, (struct jstr){(const char *)data, len}, NOW, a, &claims, &why);
	if (!err)
		check_claims(&claims);
	buf_release(&b);
	buf_release(&signature);
	arena_free(a);
	return 0;
}
