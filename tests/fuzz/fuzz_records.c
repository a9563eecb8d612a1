/*
 * Bytes as they are stored, behind their checksum: what a record with the right checksum may say is read without a crash, and what
 * is written is read back.  The first byte says which: a revision's payload, a body, a body that is packed, a row of an index.
 */
#include <string.h>

#include "base/arena.h"
#include "db/body.h"
#include "db/payload.h"
#include "fuzz.h"
#include "store/record.h"
#include "views/rows.h"

#define MAX ((size_t)64 << 20)

static struct arena *arena;
static struct body_dicts *dicts;

/* One dictionary, made of texts that look like each other. */
static void
set_up(void)
{
	size_t sizes[200], n = 0;
	struct buf samples, dict;

	FUZZ_CHECK(arena_new(MAX, &arena) == 0 && body_dicts_new(&dicts) == 0);
	buf_init(&samples, MAX);
	buf_init(&dict, MAX);
	for (unsigned i = 0; i < 200; i++) {
		size_t before = samples.len;
		char text[160];

		(void)snprintf(text, sizeof(text),
		    "{\"name\":\"number %u\",\"kind\":\"contact\",\"city\":\"place %u\",\"mail\":\"m%u@example.org\"}",
		    i * 7919, i % 13, i);
		FUZZ_CHECK(buf_puts(&samples, text) == 0);
		sizes[n++] = samples.len - before;
	}
	FUZZ_CHECK(body_dict_train(samples.data, sizes, (unsigned)n, 4096, &dict) == 0);
	FUZZ_CHECK(body_dicts_add(dicts, 1, dict.data, dict.len) == 0);
	buf_release(&samples);
	buf_release(&dict);
}

static void
check_payload(const char *p, size_t len)
{
	struct doc_att *atts, *again;
	struct bytes r, back;
	struct jstr text;
	struct buf b;
	size_t n, m;

	bytes_init(&r, p, len);
	if (payload_atts(&r, arena, &atts, &n) != 0)
		return;
	for (size_t i = 0; i < n; i++)
		FUZZ_CHECK(atts[i].name.len <= len && atts[i].type.len <= len);
	buf_init(&b, MAX);
	FUZZ_CHECK(payload_put_atts(&b, atts, n) == 0);
	bytes_init(&back, b.data, b.len);
	FUZZ_CHECK(payload_atts(&back, arena, &again, &m) == 0 && m == n && bytes_left(&back) == 0);
	buf_release(&b);
	if (body_unpack(dicts, &r, arena, &text) == 0)
		FUZZ_CHECK(text.len == 0 || text.s != NULL);
}

static void
check_body(const char *p, size_t len)
{
	struct bytes r;
	struct jstr text;
	int loose;

	bytes_init(&r, p, len);
	(void)body_dict_of(&r);
	loose = body_loose(dicts, &r);
	FUZZ_CHECK(loose == 0 || loose == 1);
	FUZZ_CHECK(bytes_left(&r) == len);
	if (body_unpack(dicts, &r, arena, &text) == 0)
		FUZZ_CHECK(text.len == 0 || text.s != NULL);
}

static void
check_packed(const char *p, size_t len)
{
	for (int how = 0; how < 3; how++) {
		struct jstr text;
		struct bytes r;
		struct buf b;

		buf_init(&b, MAX);
		FUZZ_CHECK((how == 0      ? body_pack(dicts, p, len, &b)
			       : how == 1 ? body_pack_alone(p, len, &b)
					  : body_pack_tight(dicts, p, len, &b)) == 0);
		bytes_init(&r, b.data, b.len);
		FUZZ_CHECK(body_unpack(dicts, &r, arena, &text) == 0);
		FUZZ_CHECK(text.len == len && memcmp(text.s, p, len) == 0);
		buf_release(&b);
	}
}

/* A record's key and value, the key as long as the first byte says. */
static void
check_row(const char *p, size_t len)
{
	size_t klen = len > 0 ? (unsigned char)p[0] : 0;
	struct store_val key, val;
	struct row row;
	struct buf b;

	if (len < 1 || klen >= len - 1 || klen == 0)
		return;
	buf_init(&b, MAX);
	FUZZ_CHECK(buf_put(&b, p + 1 + klen, len - 1 - klen) == 0);
	FUZZ_CHECK(record_seal(VIEW_ROWS, p + 1, klen, &b, 0) == 0);
	key = (struct store_val){p + 1, klen};
	val = (struct store_val){b.data, b.len};
	if (rows_take(&key, &val, arena, &row) == 0) {
		FUZZ_CHECK(row.sortkey.len <= row.order.len && row.id.len <= row.order.len);
		FUZZ_CHECK(row.key.len <= b.len && row.value.len <= b.len);
	}
	buf_release(&b);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char *copy;

	if (len == 0)
		return 0;
	if (arena == NULL)
		set_up();
	arena_reset(arena);
	copy = fuzz_copy(data + 1, len - 1);
	switch (data[0] % 4) {
	case 0:
		check_payload(copy, len - 1);
		break;
	case 1:
		check_body(copy, len - 1);
		break;
	case 2:
		check_packed(copy, len - 1);
		break;
	default:
		check_row(copy, len - 1);
		break;
	}
	free(copy);
	return 0;
}
