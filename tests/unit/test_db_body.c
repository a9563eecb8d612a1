/* test_db_body.c: bodies as they are stored: buffers and arenas of every size, bytes that are no body, texts that do not compress, and who is told to pack anew. */
#include <stdlib.h>

#include "base/limits.h"
#include "check.h"
#include "db/body.h"
#include "dice.h"

static struct arena *arena;
static struct body_dicts *none, *with; /* without a dictionary; with number 7 */
static char text[20000], noise[20000];

static void
make_texts(void)
{
	uint64_t seed = 3;

	for (size_t at = 0; at + 80 < sizeof(text); at += strlen(text + at))
		(void)snprintf(text + at, 80, "{\"type\":\"note\",\"title\":\"the title of note %zu\"},", at % 97);
	for (size_t i = 0; i < sizeof(noise); i++)
		noise[i] = (char)(dice_next(&seed) >> 50);
}

static void
make_dicts(void)
{
	static size_t sizes[400];
	struct buf samples, dict;

	buf_init(&samples, 1u << 20);
	buf_init(&dict, 1u << 20);
	for (unsigned i = 0; i < 400; i++) {
		size_t at = samples.len;

		buf_printf(&samples, "{\"type\":\"note\",\"title\":\"the title of note %u\",\"colour\":\"yellow %u\"}",
		    i * 7919u % 1000, i % 9);
		sizes[i] = samples.len - at;
	}
	CHECK_INT(body_dict_train(samples.data, sizes, 400, BODY_DICT_LEN, &dict), 0);
	CHECK_INT(body_dicts_new(&none), 0);
	CHECK_INT(body_dicts_current(none), 0);
	CHECK_INT(body_dicts_current_len(none), 0);
	CHECK_INT(body_dicts_new(&with), 0);
	CHECK_INT(body_dicts_add(with, 7, dict.data, dict.len), 0);
	CHECK_INT(body_dicts_current(with), 7);
	CHECK_INT(body_dicts_current_len(with), dict.len);
	/* What has nothing in common has no dictionary. */
	buf_clear(&dict);
	sizes[0] = 3;
	CHECK_INT(body_dict_train("abc", sizes, 1, BODY_DICT_LEN, &dict), ERR_MISSING);
	buf_release(&samples);
	buf_release(&dict);
}

static int
pack(int how, struct body_dicts *z, const char *s, size_t len, struct buf *b)
{
	return how == 0   ? body_pack(z, s, len, b)
	       : how == 1 ? body_pack_alone(s, len, b)
			  : body_pack_tight(z, s, len, b);
}

static void
unpacks_to(struct body_dicts *z, const struct buf *b, size_t from, const char *s, size_t len)
{
	struct jstr out = {NULL, 0};
	struct bytes r;

	bytes_init(&r, b->data + from, b->len - from);
	CHECK_INT(body_unpack(z, &r, arena, &out), 0);
	CHECK_MEM(out.s, out.len, s, len);
	arena_reset(arena);
}

/* Behind what is in a buffer already, of each size until there is room. */
static void
test_full(void)
{
	static const size_t lens[] = {0, 40, 64, 200, 1100, 5000};

	for (int how = 0; how < 3; how++)
		for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++)
			for (int noisy = 0; noisy < 2; noisy++) {
				const char *s = noisy ? noise : text;
				int err = ERR_TOO_LARGE;
				struct buf b;

				for (size_t max = 3; err != 0 && max < 6000; max += max < 64 ? 1 : 61) {
					buf_init(&b, max);
					CHECK_INT(buf_put(&b, "abc", 3), 0);
					err = pack(how, with, s, lens[i], &b);
					CHECK(err == 0 || err == ERR_TOO_LARGE);
					if (err == 0)
						unpacks_to(with, &b, 3, s, lens[i]);
					buf_release(&b);
				}
				CHECK_INT(err, 0);
			}
}

static void
test_small_arenas(void)
{
	static const size_t lens[] = {200, 5000, 16000};
	struct arena *a;
	struct jstr out;
	struct bytes r;
	struct buf b;
	int err;

	buf_init(&b, 1u << 20);
	for (int how = 0; how < 3; how++)
		for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++)
			for (int noisy = 0; noisy < 2; noisy++) {
				buf_clear(&b);
				CHECK_INT(pack(how, with, noisy ? noise : text, lens[i], &b), 0);
				err = ERR_NOMEM;
				for (size_t max = 0; err != 0 && max < 65536; max = max * 2 + 16) {
					CHECK_INT(arena_new(max, &a), 0);
					bytes_init(&r, b.data, b.len);
					err = body_unpack(with, &r, a, &out);
					CHECK(err == 0 || err == ERR_NOMEM);
					arena_free(a);
				}
				CHECK_INT(err, 0);
			}
	buf_release(&b);
}

#define IS(bytes, err, dict, loose_with, loose_none) is(bytes, sizeof(bytes) - 1, err, dict, loose_with, loose_none)

static void
is(const char *bytes, size_t len, int err, uint64_t dict, int loose_with, int loose_none)
{
	struct jstr out;
	struct bytes r;

	bytes_init(&r, bytes, len);
	CHECK_INT(body_dict_of(&r), dict);
	CHECK_INT(body_loose(with, &r), loose_with);
	CHECK_INT(body_loose(none, &r), loose_none);
	CHECK_INT(body_unpack(with, &r, arena, &out), err);
}

#define LONG "0123456789012345678901234567890123456789012345678901234567890123456789"

static void
test_bytes(void)
{
	IS("", ERR_CORRUPT, 0, 0, 0);
	IS("\x00", 0, 0, 0, 0);
	IS("\x00" LONG, 0, 0, 1, 0); /* there is a dictionary now */
	IS("\x00short", 0, 0, 0, 0);
	IS("\x01", ERR_CORRUPT, 0, 0, 0);
	IS("\x01\x05", ERR_CORRUPT, 0, 1, 0);
	IS("\x01\x05xxxxx", ERR_CORRUPT, 0, 1, 0);
	IS("\x01\xff\xff\xff\x7fxxxx", ERR_NOMEM, 0, 0, 0);
	IS("\x01\xff\xff\xff\xff\x7fxxxx", ERR_CORRUPT, 0, 0, 0); /* longer than any text */
	IS("\x02", ERR_CORRUPT, 0, 0, 0);
	IS("\x02\x07", ERR_CORRUPT, 7, 0, 0);
	IS("\x02\x07\x05xxxxx", ERR_CORRUPT, 7, 1, 1);
	IS("\x02\x07\x81\x80\x01xxxxx", ERR_CORRUPT, 7, 0, 1); /* larger than what is packed tight */
	IS("\x02\x08\x05xxxxx", ERR_CORRUPT, 8, 1, 1);
	IS("\x03\x07\x05xxxxx", ERR_CORRUPT, 7, 0, 1);
	IS("\x03\x08\x05xxxxx", ERR_CORRUPT, 8, 1, 1);
	IS("\x03\x07\x05", ERR_CORRUPT, 7, 0, 1);
	IS("\x03\x07\x81\x80\x01xxxxx", ERR_CORRUPT, 7, 0, 1);
	IS("\x16\x05xxxxx", ERR_CORRUPT, 7, 0, 1);
	IS("\x17\x05xxxxx", ERR_CORRUPT, 8, 1, 1);
	IS("\x04xxxxx", ERR_CORRUPT, 0, 0, 0);
	IS("\x0fxxxxx", ERR_CORRUPT, 0, 0, 0);
}

int
main(void)
{
	CHECK_INT(arena_new(64u << 20, &arena), 0);
	make_texts();
	make_dicts();
	test_full();
	test_small_arenas();
	test_bytes();
	body_dicts_free(none);
	body_dicts_free(with);
	body_dicts_free(NULL);
	arena_free(arena);
	return check_done();
}
