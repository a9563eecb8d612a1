/* totp.c: one-time passwords by time. */
#include "totp.h"
#include "mac.h"
#include "base/hash.h"

#include <stdio.h>

#define STEP_S 30u
#define LENGTH_MAX 9u /* digits: a token is less than 2^31 */
#define KEY_MAX 128u
#define SCRATCH 65536u

struct totp {
	unsigned char key[KEY_MAX];
	size_t key_len;
	const struct mac *mac;
	unsigned length;
};

/* Base32 (RFC 4648 section 6), padded or not. */
static int
read_key(struct totp *t, struct jstr text)
{
	uint32_t bits = 0;
	unsigned n = 0;

	t->key_len = 0;
	for (size_t i = 0; i < text.len && text.s[i] != '='; i++) {
		char c = text.s[i];
		unsigned value;

		if (c >= 'A' && c <= 'Z')
			value = (unsigned)(c - 'A');
		else if (c >= 'a' && c <= 'z')
			value = (unsigned)(c - 'a');
		else if (c >= '2' && c <= '7')
			value = (unsigned)(c - '2') + 26;
		else
			return ERR_BAD_REQUEST;
		bits = (bits << 5 | value) & 0xfff;
		n += 5;
		if (n < 8)
			continue;
		if (t->key_len == KEY_MAX)
			return ERR_BAD_REQUEST;
		n -= 8;
		t->key[t->key_len++] = (unsigned char)(bits >> n);
	}
	return t->key_len > 0 ? 0 : ERR_BAD_REQUEST;
}

static int
read_member(struct totp *t, struct jread *j, struct buf *scratch, const struct jstr *key)
{
	int is_key = jstr_is(key, "key"), is_algorithm = jstr_is(key, "algorithm");
	struct jstr value;
	uint64_t n;
	int err;

	if (jstr_is(key, "length")) {
		err = jread_u64(j, &n);
		t->length = !err && n <= LENGTH_MAX ? (unsigned)n : 0;
		return err;
	}
	if (!is_key && !is_algorithm)
		return jread_skip(j, NULL);
	err = jread_string(j, scratch, &value);
	if (!err && is_key)
		err = read_key(t, value);
	else if (!err)
		t->mac = mac_find(value.s, value.len);
	return err;
}

static int
read_settings(struct totp *t, struct jstr text, struct arena *a)
{
	struct jread j;
	struct buf scratch;
	struct jstr key;
	int err;

	*t = (struct totp){.mac = mac_find("sha", 3), .length = 6};
	jread_init(&j, text.s, text.len);
	if (jread_peek(&j) != JREAD_OBJECT)
		return ERR_BAD_REQUEST;
	buf_init_arena(&scratch, a, SCRATCH);
	err = jread_object_begin(&j);
	while (!err) {
		err = jread_object_next(&j, &scratch, &key);
		if (!err)
			err = read_member(t, &j, &scratch, &key);
	}
	if (err != ERR_END)
		return err;
	return t->key_len > 0 && t->mac && t->length > 0 ? 0 : ERR_BAD_REQUEST;
}

/* RFC 4226 section 5.3. */
static int
make(const struct totp *t, uint64_t step, char out[16])
{
	static const uint32_t powers[] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000, 1000000000};
	unsigned char mac[MAC_LEN], message[8];
	const unsigned char *p;
	uint32_t n;
	int err;

	for (unsigned i = 0; i < 8; i++)
		message[i] = (unsigned char)(step >> (56 - 8 * i));
	err = mac_make(t->mac, t->key, t->key_len, message, sizeof(message), mac);
	if (err)
		return err;
	p = mac + (mac[t->mac->len - 1] & 15u);
	n = (uint32_t)(p[0] & 0x7fu) << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
	(void)snprintf(out, 16, "%0*u", (int)t->length, (unsigned)(n % powers[t->length]));
	return 0;
}

int
totp_verify(struct jstr settings, struct jstr token, uint64_t now_s, struct arena *a, int *okp)
{
	struct totp t;
	char want[16];
	int err = read_settings(&t, settings, a);

	*okp = 0;
	if (err || token.len != t.length)
		return err == ERR_NOMEM ? err : 0;
	for (uint64_t i = 0; i < 3; i++) {
		err = make(&t, now_s / STEP_S + i - 1, want);
		if (err)
			return err;
		*okp |= hash_equal(want, token.s, t.length);
	}
	return 0;
}
