/*
 * Small grammars of headers and settings: addresses and nets, X-Forwarded-For, Accept-Encoding, stored passwords, one-time
 * passwords, base64 and percent signs.  The first byte says which; two texts have a line end between them.
 */
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/hash.h"
#include "base/limits.h"
#include "fuzz.h"
#include "httpapi/api.h"
#include "http/encode.h"
#include "httpapi/secret.h"
#include "http/peers.h"
#include "httpapi/totp.h"

static struct arena *arena;

static void
check_address(const char *s, size_t len)
{
	struct server_addr a, b;
	char text[SERVER_ADDR_TEXT];

	if (server_addr_parse(s, len, &a) != 0)
		return;
	server_addr_text(&a, text);
	FUZZ_CHECK(strlen(text) < sizeof(text));
	FUZZ_CHECK(server_addr_parse(text, strlen(text), &b) == 0 && memcmp(&a, &b, sizeof(a)) == 0);
	server_addr_group(&b);
	a = b;
	server_addr_group(&b);
	FUZZ_CHECK(memcmp(&a, &b, sizeof(a)) == 0);
}

/* ${list} terminated, and a header of addresses. */
static void
check_nets(const char *list, const char *header, size_t len)
{
	static const char before[] = "192.0.2.1,";
	struct server_nets *nets = NULL;
	struct server_addr was = {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1}}, a = was, again = was;
	int err = server_nets_new(list, &nets);
	struct buf b;

	FUZZ_CHECK(err == 0 || err == ERR_BAD_REQUEST);
	if (err != 0)
		return;
	server_forwarded(header, len, nets, &a);
	FUZZ_CHECK(server_nets_have(nets, &was) || memcmp(&a, &was, sizeof(a)) == 0);
	/* Who is no proxy is found, whatever he has written before himself. */
	if (!server_nets_have(nets, &a)) {
		buf_init(&b, 1u << 20);
		FUZZ_CHECK(buf_puts(&b, before) == 0 && buf_put(&b, header, len) == 0);
		server_forwarded(b.data, b.len, nets, &again);
		FUZZ_CHECK(memcmp(&again, &a, sizeof(a)) == 0);
		buf_release(&b);
	}
	server_nets_free(nets);
}

static void
check_accept(const char *s, size_t len)
{
	struct encode_accept a = ENCODE_ACCEPT_NONE, twice;

	encode_accept_add(&a, s, len);
	FUZZ_CHECK(a.gzip >= -1 && a.gzip <= 1000 && a.zstd >= -1 && a.zstd <= 1000);
	FUZZ_CHECK(a.identity >= -1 && a.identity <= 1000 && a.any >= -1 && a.any <= 1000);
	for (int stream = 0; stream < 2; stream++)
		switch (encode_choose(&a, stream)) {
		case ENCODE_GZIP:
			FUZZ_CHECK(a.gzip > 0 || (a.gzip < 0 && a.any > 0));
			break;
		case ENCODE_ZSTD:
			FUZZ_CHECK(a.zstd > 0 || (a.zstd < 0 && a.any > 0));
			break;
		default:
			break;
		}
	(void)encode_refuses_identity(&a);
	twice = a;
	encode_accept_add(&twice, "", 0);
	FUZZ_CHECK(memcmp(&a, &twice, sizeof(a)) == 0);
}

static void
check_secret(const char *stored, const char *password)
{
	struct secret s, again;
	char text[2 * SECRET_LEN];
	int ok;

	if (!secret_is_hashed(stored) || !secret_parse(stored, &s))
		return;
	FUZZ_CHECK(s.key_len == secret_key_len(s.prf) && s.key_len > 0 && s.salt_len == strnlen(s.salt, s.salt_len));
	if (secret_put(&s, text, sizeof(text))) {
		FUZZ_CHECK(secret_parse(text, &again));
		FUZZ_CHECK(again.key_len == s.key_len && memcmp(again.key, s.key, s.key_len) == 0);
		FUZZ_CHECK(again.salt_len == s.salt_len && memcmp(again.salt, s.salt, s.salt_len) == 0);
		FUZZ_CHECK(s.prf[0] == '\0' || again.iterations == s.iterations);
	}
	if (s.iterations <= 10)
		FUZZ_CHECK(secret_check(stored, password, strlen(password), &ok) == 0);
}

static void
check_codes(const char *s, size_t len)
{
	struct buf b, back;
	struct jstr plain, again;

	buf_init(&b, 1u << 20);
	buf_init(&back, 1u << 20);
	if (base64_get(&b, s, len) == 0) {
		size_t n = b.len;

		FUZZ_CHECK(n <= len);
		FUZZ_CHECK(base64_put(&back, b.data != NULL ? b.data : "", n) == 0);
		buf_clear(&b);
		FUZZ_CHECK(base64_get(&b, back.data != NULL ? back.data : "", back.len) == 0 && b.len == n);
	}
	for (int plus = 0; plus < 2; plus++)
		if (api_url_decode(arena, s, len, plus, &plain) == 0) {
			FUZZ_CHECK(plain.len <= len && plain.s[plain.len] == '\0');
			buf_clear(&b);
			FUZZ_CHECK(api_url_encode(&b, plain.s, plain.len) == 0 && buf_putc(&b, '\0') == 0);
			FUZZ_CHECK(api_url_decode(arena, b.data, b.len - 1, 0, &again) == 0);
			FUZZ_CHECK(again.len == plain.len && memcmp(again.s, plain.s, plain.len) == 0);
		}
	buf_release(&b);
	buf_release(&back);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char *text, *second, *nl;
	size_t n;
	int right;

	if (len == 0)
		return 0;
	if (arena == NULL)
		FUZZ_CHECK(arena_new((size_t)16 << 20, &arena) == 0);
	arena_reset(arena);
	n = len - 1;
	text = malloc(n + 1);
	FUZZ_CHECK(text != NULL);
	memcpy(text, data + 1, n);
	text[n] = '\0';
	nl = memchr(text, '\n', n);
	second = nl != NULL ? nl + 1 : text + n;
	if (nl != NULL)
		*nl = '\0';
	switch (data[0] % 6) {
	case 0:
		check_address(text, n);
		break;
	case 1:
		check_nets(text, second, (size_t)(text + n - second));
		break;
	case 2:
		check_accept(text, n);
		break;
	case 3:
		check_secret(text, second);
		break;
	case 4:
		FUZZ_CHECK(totp_verify((struct jstr){text, strlen(text)},
			       (struct jstr){second, (size_t)(text + n - second)}, 1700000000, arena, &right) == 0);
		FUZZ_CHECK(!right || n > 0);
		break;
	default:
		check_codes(text, n);
		break;
	}
	free(text);
	return 0;
}
