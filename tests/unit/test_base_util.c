/* Errors, buffers, arenas, digests and encodings. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/filelock.h"
#include "base/hash.h"
#include "check.h"

static void
test_err(void)
{
	struct errtext why;

	CHECK_INT(err_status(0), 200);
	CHECK_INT(err_status(ERR_CONFLICT), 409);
	CHECK_STR(err_name(ERR_CONFLICT), "conflict");
	CHECK_STR(err_reason(ERR_MISSING), "missing");
	CHECK_INT(err_status(ERR_COUNT), 500);
	CHECK_INT(err_status(-1), 500);
	CHECK_INT(err_errno(ENOMEM), ERR_NOMEM);
	for (size_t i = 0; i < 3; i++)
		CHECK_INT(err_errno((const int[]){ENOSPC, EDQUOT, EFBIG}[i]), ERR_NOSPACE);
	CHECK_INT(err_errno(EROFS), ERR_READONLY);
	CHECK_INT(err_errno(EMFILE), ERR_BUSY);
	CHECK_INT(err_errno(ENFILE), ERR_BUSY);
	CHECK_INT(err_errno(EAGAIN), ERR_BUSY);
	CHECK_INT(err_errno(0), ERR_IO);
	CHECK_INT(err_why(&why, ERR_BAD_REQUEST, "no %s", "x"), ERR_BAD_REQUEST);
	CHECK_STR(why.text, "no x");
	CHECK_INT(err_why(NULL, ERR_BAD_REQUEST, "no %s", "x"), ERR_BAD_REQUEST);
	/* What the C library cannot print is no text. */
	CHECK_INT(err_why(&why, ERR_BAD_REQUEST, "a%lc", (wint_t)0x3042), ERR_BAD_REQUEST);
	CHECK_STR(why.text, "");
}

/* A text that is too long is cut in front of the character that does not fit whole; what is no UTF-8 at all, at the bound. */
static void
test_err_cut(void)
{
	static const struct {
		const char *character;
		size_t at, end; /* it begins, and the text ends: so many bytes before ERRTEXT_MAX */
	} cases[] = {{"\xc3\xa9", 2, 2}, {"\xc3\xa9", 3, 1}, {"\xe2\x82\xac", 3, 3}, {"\xe2\x82\xac", 4, 1},
	    {"\xf0\x9f\x98\x80", 5, 1}, {"\xf0\x9f\x98\x80", 4, 4}};
	struct errtext why;
	char name[ERRTEXT_MAX + 10];

	name[sizeof(name) - 1] = '\0';
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		memset(name, 'x', sizeof(name) - 1);
		memcpy(name + ERRTEXT_MAX - cases[i].at, cases[i].character, strlen(cases[i].character));
		CHECK_INT(err_why(&why, ERR_BAD_REQUEST, "%s", name), ERR_BAD_REQUEST);
		CHECK_INT(strlen(why.text), ERRTEXT_MAX - cases[i].end);
	}
	memset(name, 0x80, sizeof(name) - 1);
	CHECK_INT(err_why(&why, ERR_BAD_REQUEST, "%s", name), ERR_BAD_REQUEST);
	CHECK_INT(strlen(why.text), ERRTEXT_MAX - 1);
}

/* A buffer of each size from none to enough: either all of what is appended stands in it, or it says so. */
static void
test_buf_sizes(void)
{
	struct buf b;
	int err;

	for (size_t max = 0; max < 200; max++) {
		for (int how = 0; how < 5; how++) {
			size_t want = 70;

			buf_init(&b, max);
			err = 0;
			for (size_t i = 0; i < 7 && err == 0; i++) {
				switch (how) {
				case 0:
					err = buf_printf(&b, "%s", "0123456789");
					break;
				case 1:
					err = buf_put_json(&b, "01234567", 8);
					break;
				case 2:
					err = buf_put_json(&b, "0\n12345", 7);
					break;
				case 3:
					err = base64_put(&b, "0123456", 7);
					want = 7 * 12;
					break;
				default:
					err = base64_get(&b, "MDEyMzQ1Njc4OQ==", 16);
					break;
				}
			}
			/* Room for a NUL, or for what might have been decoded, is wanted for a moment. */
			if (max < want)
				CHECK_INT(err, ERR_TOO_LARGE);
			if (max >= want + 8)
				CHECK_INT(err, 0);
			CHECK_INT(buf_failed(&b), err);
			CHECK(err != 0 || b.len == want);
			CHECK(b.len <= max);
			buf_release(&b);
		}
	}
}

static void
test_buf_failed(void)
{
	struct arena *a;
	struct buf b;
	char *p;

	buf_init(&b, 100);
	CHECK_INT(buf_printf(&b, "%lc", (wint_t)0x3042), ERR_INTERNAL);
	CHECK_INT(buf_put(&b, "", 0), ERR_INTERNAL);
	buf_clear(&b);
	CHECK_INT(buf_reserve(&b, 101, &p), ERR_TOO_LARGE);
	CHECK_INT(buf_printf(&b, "%lc", (wint_t)0x3042), ERR_INTERNAL);
	CHECK_INT(buf_failed(&b), ERR_TOO_LARGE); /* the first */
	buf_clear(&b);
	CHECK_INT(buf_puts(&b, "x"), 0);
	p = buf_take(&b, NULL);
	CHECK(p != NULL && p[0] == 'x');
	free(p);
	if (!CHECK_INT(arena_new(100, &a), 0))
		return;
	buf_init_arena(&b, a, 1000);
	CHECK_INT(buf_puts(&b, "01234567890123456789012345678901234567890123456789"), 0);
	CHECK_INT(buf_puts(&b, "01234567890123456789012345678901234567890123456789"), ERR_NOMEM);
	CHECK_INT(b.len, 50);
	CHECK_INT(buf_putc(&b, 'x'), ERR_NOMEM);
	arena_free(a);
}

static void
test_varints(void)
{
	struct bytes r;

	bytes_init(&r, "\xff\xff", 2);
	(void)bytes_varint(&r);
	CHECK(r.bad);
	bytes_init(&r, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x81", 10);
	CHECK_INT(bytes_varint(&r), 0);
	CHECK(r.bad);
	bytes_init(&r, "", 0);
	(void)bytes_varint(&r);
	CHECK(r.bad);
	bytes_init(&r, "abc", 3);
	CHECK_INT(bytes_u32be(&r), 0);
	CHECK(r.bad);
}

static void
test_buf(void)
{
	struct arena *a;
	struct buf b;
	struct bytes r;
	size_t len;
	char *p;

	buf_init(&b, 200);
	CHECK_INT(buf_put_u64(&b, 0), 0);
	CHECK_INT(buf_put_u64(&b, UINT64_MAX), 0);
	CHECK_INT(buf_printf(&b, "-%d-", 7), 0);
	CHECK_MEM(b.data, b.len, "018446744073709551615-7-", 24);
	buf_clear(&b);
	CHECK_INT(buf_put_json(&b, "a\"\\\b\f\n\r\t\0\x1f\x7f/\xc3\xa9", 14), 0);
	CHECK_MEM(b.data, b.len, "\"a\\\"\\\\\\b\\f\\n\\r\\t\\u0000\\u001F\x7f/\xc3\xa9\"", 33);
	buf_clear(&b);
	buf_put_varint(&b, 127);
	buf_put_varint(&b, 128);
	buf_put_varint(&b, UINT64_MAX);
	buf_put_u32be(&b, 0x01020304);
	buf_put_u64be(&b, UINT64_MAX - 1);
	CHECK_INT(b.len, 1 + 2 + 10 + 4 + 8);
	bytes_init(&r, b.data, b.len);
	CHECK_INT(bytes_varint(&r), 127);
	CHECK_INT(bytes_varint(&r), 128);
	CHECK(bytes_varint(&r) == UINT64_MAX);
	CHECK_INT(bytes_u32be(&r), 0x01020304);
	CHECK(bytes_u64be(&r) == UINT64_MAX - 1);
	CHECK_INT(bytes_left(&r), 0);
	CHECK_INT(r.bad, 0);
	CHECK_INT(bytes_u8(&r), 0);
	CHECK_INT(r.bad, 1);
	bytes_init(&r, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10);
	CHECK_INT(bytes_varint(&r), 0);
	CHECK_INT(r.bad, 1);
	bytes_init(&r, "ab", 2);
	CHECK(bytes_take(&r, 3) == NULL);
	buf_clear(&b);
	CHECK_INT(buf_reserve(&b, 200, &p), 0);
	CHECK_INT(buf_reserve(&b, 201, &p), ERR_TOO_LARGE);
	CHECK_INT(buf_failed(&b), ERR_TOO_LARGE);
	CHECK_INT(buf_putc(&b, 'x'), ERR_TOO_LARGE);
	CHECK_INT(b.len, 0);
	buf_clear(&b);
	CHECK_INT(buf_puts(&b, "kept"), 0);
	p = buf_take(&b, &len);
	CHECK_MEM(p, len, "kept", 4);
	free(p);
	CHECK(b.data == NULL && b.len == 0);
	if (CHECK_INT(arena_new(1u << 20, &a), 0)) {
		buf_init_arena(&b, a, 10000);
		for (int i = 0; i < 1000; i++)
			buf_puts(&b, "0123456789");
		CHECK_INT(buf_failed(&b), 0);
		CHECK_INT(b.len, 10000);
		CHECK_MEM(b.data + 9990, 10, "0123456789", 10);
		CHECK_INT(buf_putc(&b, 'x'), ERR_TOO_LARGE);
		buf_release(&b);
		arena_free(a);
	}
}

static void
test_arena_in_pieces(void)
{
	_Atomic uint64_t sum = 0;
	struct arena *a;
	int turns;

	if (!CHECK_INT(arena_new(64u << 20, &a), 0))
		return;
	CHECK(!arena_free_some(a, 1));
	for (unsigned round = 0; round < 2; round++) {
		arena_count(a, &sum, 0, UINT64_MAX);
		for (unsigned i = 0; i < 10; i++)
			CHECK(arena_alloc(a, 1u << 20) != NULL);
		for (turns = 1; arena_free_some(a, 2u << 20); turns++)
			CHECK(sum >= 10u << 20);
		CHECK_INT(turns, 5);
		arena_reset(a);
		CHECK(sum == 0);
	}
	arena_free(a);
}

static void
test_arena(void)
{
	struct arena *a;
	char *p[100];

	if (!CHECK_INT(arena_new(100000, &a), 0))
		return;
	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < 100; i++) {
			p[i] = arena_alloc(a, i * 17);
			if (CHECK(p[i] != NULL && (uintptr_t)p[i] % 16 == 0))
				memset(p[i], (int)i, i * 17);
		}
		for (size_t i = 1; i < 100; i++)
			CHECK(p[i][0] == (char)i && p[i][i * 17 - 1] == (char)i);
		CHECK(arena_alloc(a, 100000) == NULL);
		CHECK(arena_alloc(a, SIZE_MAX) == NULL);
		CHECK(arena_calloc(a, SIZE_MAX / 2, 4) == NULL);
		CHECK(arena_dup(a, "x", SIZE_MAX) == NULL);
		CHECK_STR(arena_dup(a, "dup", 3), "dup");
		arena_reset(a);
	}
	CHECK(arena_alloc(a, 100000 / 16 * 16) != NULL);
	CHECK(arena_alloc(a, 1) == NULL);
	arena_free(a);
	arena_free(NULL);
	if (CHECK_INT(arena_new(SIZE_MAX, &a), 0)) {
		CHECK(arena_alloc(a, SIZE_MAX - 16) == NULL);
		CHECK(arena_alloc(a, 1) != NULL);
		arena_free(a);
	}
}

static void
check_hex(const unsigned char *digest, size_t len, const char *want)
{
	char hex[128];

	hex_encode(digest, len, hex);
	CHECK_MEM(hex, 2 * len, want, strlen(want));
}

static void
test_crc32c(void)
{
	static const unsigned char zero[32];
	char text[1000];

	/* RFC 3720, B.4; and in two parts, unaligned. */
	CHECK_INT(hash_crc32c(0, zero, 32), 0x8A9136AAu);
	CHECK_INT(hash_crc32c(0, "123456789", 9), 0xE3069283u);
	CHECK_INT(hash_crc32c(hash_crc32c(0, "123", 3), "456789", 6), 0xE3069283u);
	memset(text, 'x', sizeof(text));
	CHECK_INT(hash_crc32c(0, text, 999), hash_crc32c(hash_crc32c(0, text + 1, 501), text, 498));
}

/* The same sums with and without the CPU's instruction, of each length and place. */
static void
test_crc32c_tables(void)
{
	uint32_t sums[40][8];
	char text[64];

	test_crc32c();
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (char)(i * 37);
	for (unsigned len = 0; len < 40; len++)
		for (unsigned at = 0; at < 8; at++)
			sums[len][at] = hash_crc32c(len, text + at, len);
	hash_crc32c_by_table();
	for (unsigned len = 0; len < 40; len++)
		for (unsigned at = 0; at < 8; at++)
			CHECK_INT(hash_crc32c(len, text + at, len), sums[len][at]);
	test_crc32c();
}

/* One program alone holds a folder; who cannot lock says so. */
static void
test_filelock(void)
{
	char dir[] = "/tmp/divan-lock-XXXXXX", path[64], longest[PATH_MAX + 1];
	int fd = -1, other = -1;

	if (!CHECK(mkdtemp(dir) != NULL))
		return;
	snprintf(path, sizeof(path), "%s/.lock", dir);
	CHECK_INT(filelock_take(dir, &fd), 0);
	CHECK_INT(filelock_take(dir, &other), ERR_LOCKED);
	CHECK_INT(other, -1);
	close(fd);
	CHECK_INT(filelock_take(dir, &fd), 0);
	CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	close(fd);
	CHECK_INT(unlink(path), 0);
	CHECK_INT(mkdir(path, 0700), 0);
	CHECK_INT(filelock_take(dir, &fd), ERR_IO);
	CHECK_INT(rmdir(path), 0);
	CHECK_INT(rmdir(dir), 0);
	CHECK_INT(filelock_take(dir, &fd), ERR_IO);
	memset(longest, 'x', PATH_MAX);
	longest[PATH_MAX] = '\0';
	CHECK_INT(filelock_take(longest, &fd), ERR_IO);
}

static void
test_hash(void)
{
	unsigned char md5[MD5_LEN], sha[SHA256_LEN], sha1[SHA1_LEN], random[32] = {0}, zero[32] = {0};
	unsigned char key[131];
	struct hash_both *h;

	hash_md5("", 0, md5);
	check_hex(md5, 16, "d41d8cd98f00b204e9800998ecf8427e");
	hash_sha256("abc", 3, sha);
	check_hex(sha, 32, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	if (CHECK_INT(hash_both_new(&h), 0)) {
		hash_both_add(h, "a", 1);
		hash_both_add(h, "bc", 2);
		hash_both_end(h, md5, sha);
		check_hex(md5, 16, "900150983cd24fb0d6963f7d28e17f72");
		check_hex(sha, 32, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	}
	hash_hmac_sha1("key", 3, "The quick brown fox jumps over the lazy dog", 43, sha1);
	check_hex(sha1, 20, "de7c9b85b8b78aa6bc8a7a36f70a90701c9db4d9");
	hash_hmac_sha256("key", 3, "The quick brown fox jumps over the lazy dog", 43, sha);
	check_hex(sha, 32, "f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8");
	/* Keys longer than a block: RFC 2202 and RFC 4231, both the sixth case. */
	memset(key, 0xAA, sizeof(key));
	hash_hmac_sha1(key, 80, "Test Using Larger Than Block-Size Key - Hash Key First", 54, sha1);
	check_hex(sha1, 20, "aa4ae5e15272d00e95705637ce8a3b55ed402112");
	hash_hmac_sha256(key, sizeof(key), "Test Using Larger Than Block-Size Key - Hash Key First", 54, sha);
	check_hex(sha, 32, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
	CHECK_INT(hash_pbkdf2("sha", "password", 8, "salt", 4, 2, sha1, 20), 0);
	check_hex(sha1, 20, "ea6c014dc72d6f8ccd1ed92ace1d41f0d8de8957");
	CHECK_INT(hash_pbkdf2("sha256", "password", 8, "salt", 4, 1, sha, 32), 0);
	check_hex(sha, 32, "120fb6cffcf8b32c43e7225256c4f837a86548c92ccc35480805987cb70be17b");
	CHECK_INT(hash_pbkdf2("md5", "password", 8, "salt", 4, 1, sha, 32), ERR_INTERNAL);
	hash_random(random, sizeof(random));
	CHECK(!hash_equal(random, zero, sizeof(zero)));
	CHECK(hash_equal(zero, zero, sizeof(zero)));
	hash_hmac_sha1("", 0, "", 0, sha1);
	check_hex(sha1, 20, "fbdb1d1b18aa6c08324b7d64b71fb76370690e1d");
	CHECK_INT(hash_pbkdf2("sha", "p", SIZE_MAX, "s", 1, 1, sha1, 20), ERR_INTERNAL);
	CHECK_INT(hash_pbkdf2("sha", "p", 1, "s", SIZE_MAX, 1, sha1, 20), ERR_INTERNAL);
	CHECK_INT(hash_pbkdf2("sha", "p", 1, "s", 1, 1, sha1, SIZE_MAX), ERR_INTERNAL);
	CHECK_INT(hash_pbkdf2("sha", "p", 1, "s", 1, UINT_MAX, sha1, 20), ERR_INTERNAL);
	CHECK_INT(hash_pbkdf2("sha", "p", 1, "s", 1, 0, sha1, 20), ERR_INTERNAL);
}

static void
check_base64(const char *in, const char *want, size_t len)
{
	struct buf b;

	buf_init(&b, 1000);
	CHECK_INT(base64_get(&b, in, strlen(in)), want != NULL ? 0 : ERR_BAD_BASE64);
	if (want != NULL)
		CHECK_MEM(b.data, b.len, want, len);
	else
		CHECK_INT(b.len, 0);
	buf_release(&b);
}

static void
test_encodings(void)
{
	unsigned char out[4];
	struct buf b;

	CHECK_INT(hex_decode("00fFaB", 6, out), 0);
	CHECK_MEM(out, 3, "\x00\xff\xab", 3);
	CHECK_INT(hex_decode("0g", 2, out), ERR_BAD_REQUEST);
	CHECK_INT(hex_decode("0G", 2, out), ERR_BAD_REQUEST);
	CHECK_INT(hex_decode("/0", 2, out), ERR_BAD_REQUEST);
	CHECK_INT(hex_decode("0@", 2, out), ERR_BAD_REQUEST);
	CHECK_INT(hex_decode("0", 1, out), ERR_BAD_REQUEST);
	buf_init(&b, 100);
	base64_put(&b, "", 0);
	base64_put(&b, "f", 1);
	base64_put(&b, "fo", 2);
	base64_put(&b, "foo", 3);
	base64_put(&b, "\xff\xfe\xfd\xfc", 4);
	CHECK_MEM(b.data, b.len, "Zg==Zm8=Zm9v//79/A==", 20);
	buf_release(&b);
	check_base64("", "", 0);
	check_base64("Zg==", "f", 1);
	check_base64("Zm 9\nv", "foo", 3);
	check_base64("Zm8", "fo", 2);
	check_base64("__79_A", "\xff\xfe\xfd\xfc", 4);
	check_base64("//79/A==", "\xff\xfe\xfd\xfc", 4);
	check_base64("Zg=", NULL, 0);
	check_base64("Z", NULL, 0);
	check_base64("Zg===", NULL, 0);
	check_base64("=", NULL, 0);
	check_base64("Zg==Zg==", NULL, 0);
	check_base64("***", NULL, 0);
	check_base64("Zg{=", NULL, 0);
	check_base64("Zm9v=", NULL, 0);
}

int
main(void)
{
	test_err();
	test_err_cut();
	test_buf();
	test_buf_sizes();
	test_buf_failed();
	test_varints();
	test_arena();
	test_arena_in_pieces();
	test_hash();
	test_encodings();
	test_filelock();
	test_crc32c_tables(); /* the last: they stay */
	return check_done();
}
