/*
 * Sort keys of strings against ICU asked directly: its root collation as ucol_open("") has it, as CouchDB's is.  Strings of any characters,
 * assigned or not, alone and within arrays and objects, short and long.
 */
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unicode/ucol.h>
#include <unicode/uvernum.h>

#include "check.h"
#include "dice.h"
#include "query/query.h"

#define QUOTE_(x) #x
#define QUOTE(x) QUOTE_(x)
#define NSTRINGS 1500
#define NPAIRS 400000u
#define MAX_CHARS 12u

static __typeof__(ucol_strcollUTF8) *compare;
static UCollator *root;
static uint64_t state = UINT64_C(0x9e3779b97f4a7c15);

static unsigned
below(unsigned n)
{
	return (unsigned)(dice_next(&state) >> 33) % n;
}

static int
open_icu(void)
{
	void *lib = dlopen("libicui18n.so." U_ICU_VERSION_SHORT, RTLD_NOW);
	void *at = lib != NULL ? dlsym(lib, QUOTE(ucol_open)) : NULL;
	__typeof__(ucol_open) *open;
	UErrorCode status = U_ZERO_ERROR;

	if (!CHECK(at != NULL))
		return 0;
	memcpy(&open, &at, sizeof(at));
	at = dlsym(lib, QUOTE(ucol_strcollUTF8));
	if (!CHECK(at != NULL))
		return 0;
	memcpy(&compare, &at, sizeof(at));
	root = open("", &status);
	return CHECK(U_SUCCESS(status));
}

static void
put_utf8(struct buf *b, uint32_t c)
{
	if (c < 0x80) {
		buf_putc(b, (char)c);
	} else if (c < 0x800) {
		buf_putc(b, (char)(0xc0 | c >> 6));
		buf_putc(b, (char)(0x80 | (c & 0x3f)));
	} else if (c < 0x10000) {
		buf_putc(b, (char)(0xe0 | c >> 12));
		buf_putc(b, (char)(0x80 | (c >> 6 & 0x3f)));
		buf_putc(b, (char)(0x80 | (c & 0x3f)));
	} else {
		buf_putc(b, (char)(0xf0 | c >> 18));
		buf_putc(b, (char)(0x80 | (c >> 12 & 0x3f)));
		buf_putc(b, (char)(0x80 | (c >> 6 & 0x3f)));
		buf_putc(b, (char)(0x80 | (c & 0x3f)));
	}
}

static uint32_t
character(void)
{
	static const uint32_t low[] = {
	    0, 0x20, 0x61, 0x80, 0x300, 0x370, 0x590, 0x900, 0x1100, 0x2000, 0x3000, 0x4e00, 0xe000, 0x10000};
	static const uint32_t high[] = {
	    0x1f, 0x7e, 0x66, 0x24f, 0x36f, 0x52f, 0x6ff, 0xeff, 0x11ff, 0x2bff, 0x33ff, 0x9fff, 0xffff, 0x10ffff};
	unsigned i = below(sizeof(low) / sizeof(low[0]));

	return low[i] + below(high[i] - low[i] + 1);
}

/* make: Half of them of few letters, so that strings are equal for long. */
static void
make(struct buf *b)
{
	static const uint32_t few[] = {'a', 'A', 'b', ' ', '-', 0xe9, 0x301, 0, 0x200d, '1'};
	unsigned n = below(MAX_CHARS), narrow = below(2);

	if (below(20) == 0)
		for (unsigned i = below(600); i > 0; i--)
			buf_putc(b, 'l');
	while (n-- > 0)
		put_utf8(b, narrow ? few[below(10)] : character());
}

static int
sign(int order)
{
	return (order > 0) - (order < 0);
}

/* key_of: Of the string within ${before} and ${after}. */
static void
key_of(const struct buf *s, const char *before, const char *after, struct buf *out)
{
	struct buf json, scratch;

	buf_init(&json, 1u << 20);
	buf_init(&scratch, 1u << 20);
	buf_clear(out);
	buf_puts(&json, before);
	buf_put_json(&json, s->data, s->len);
	buf_puts(&json, after);
	if (query_sortkey((struct jstr){json.data, json.len}, &scratch, out) != 0)
		CHECK(0);
	buf_release(&json);
	buf_release(&scratch);
}

static int
order_of(const struct buf *a, const struct buf *b)
{
	int c = memcmp(a->data, b->data, a->len < b->len ? a->len : b->len);

	return c != 0 ? sign(c) : (a->len > b->len) - (a->len < b->len);
}

static void
check_pairs(const struct buf *s, const struct buf *keys)
{
	unsigned wrong = 0;

	for (unsigned n = NPAIRS; n > 0; n--) {
		const unsigned i = below(NSTRINGS), k = below(NSTRINGS);
		UErrorCode status = U_ZERO_ERROR;
		int icu = (int)compare(root, s[i].len > 0 ? s[i].data : "", (int32_t)s[i].len,
		    s[k].len > 0 ? s[k].data : "", (int32_t)s[k].len, &status);

		if (U_FAILURE(status) || sign(icu) != order_of(&keys[i], &keys[k]))
			wrong++;
	}
	CHECK_INT(wrong, 0);
}

static void
test_strings(void)
{
	static struct buf s[NSTRINGS], keys[NSTRINGS];
	static const char *const around[][2] = {
	    {"", ""}, {"[1,", "]"}, {"{\"a\":", "}"}, {"[[", "],{}]"}, {"{", ":1}"}};

	for (unsigned i = 0; i < NSTRINGS; i++) {
		buf_init(&s[i], 1u << 16);
		buf_init(&keys[i], 1u << 16);
		make(&s[i]);
	}
	for (unsigned a = 0; a < sizeof(around) / sizeof(around[0]); a++) {
		for (unsigned i = 0; i < NSTRINGS; i++)
			key_of(&s[i], around[a][0], around[a][1], &keys[i]);
		check_pairs(s, keys);
	}
	for (unsigned i = 0; i < NSTRINGS; i++) {
		buf_release(&s[i]);
		buf_release(&keys[i]);
	}
}

#define NMARKS 70u /* more than twice what icu.c lets stand behind each other */
#define NTAILS 3u

static void
put_marks(struct buf *b, unsigned n)
{
	while (n-- > 0)
		put_utf8(b, 0xf71);
}

/* The order of keys is that of the strings. */
static void
check_order(const struct buf *a, const struct buf *b, const struct buf *a_key, const struct buf *b_key)
{
	struct buf x, y;
	int order = 0;

	buf_init(&x, 2 * a->len + 16);
	buf_init(&y, 2 * b->len + 16);
	buf_put_json(&x, a->data, a->len);
	buf_put_json(&y, b->data, b->len);
	CHECK_INT(query_collate((struct jstr){x.data, x.len}, (struct jstr){y.data, y.len}, &order), 0);
	CHECK_INT(sign(order), order_of(a_key, b_key));
	buf_release(&x);
	buf_release(&y);
}

/* Runs of U+0F71, with which the mark behind the last one contracts. */
static void
test_marks(void)
{
	static const uint32_t tails[NTAILS] = {0xf72, 0xf80, 'a'};
	static struct buf s[NMARKS * NTAILS], keys[NMARKS * NTAILS];

	for (unsigned i = 0; i < NMARKS * NTAILS; i++) {
		buf_init(&s[i], 1u << 10);
		buf_init(&keys[i], 1u << 10);
		buf_puts(&s[i], "e");
		put_marks(&s[i], i / NTAILS);
		put_utf8(&s[i], tails[i % NTAILS]);
		key_of(&s[i], "", "", &keys[i]);
	}
	for (unsigned i = 0; i < NMARKS * NTAILS; i++)
		for (unsigned k = 0; k < NMARKS * NTAILS; k++)
			check_order(&s[i], &s[k], &keys[i], &keys[k]);
	for (unsigned i = 0; i < NMARKS * NTAILS; i++) {
		buf_release(&s[i]);
		buf_release(&keys[i]);
	}
}

/* For ICU alone each of these takes minutes. */
static void
test_many_marks(void)
{
	const unsigned n = 200000;
	struct buf s[2], keys[2];

	for (unsigned i = 0; i < 2; i++) {
		buf_init(&s[i], 1u << 20);
		buf_init(&keys[i], 1u << 20);
		put_utf8(&s[i], i == 0 ? 'e' : 0xe9);
		put_marks(&s[i], n);
		key_of(&s[i], "", "", &keys[i]);
		CHECK(keys[i].len > n);
	}
	check_order(&s[0], &s[1], &keys[0], &keys[1]);
	for (unsigned i = 0; i < 2; i++) {
		buf_release(&s[i]);
		buf_release(&keys[i]);
	}
}

/* While no descriptor is left nothing can be loaded, which passes. */
static void
test_load(void)
{
	const struct jstr umlaut = {"\"ä\"", 4}, b = {"\"b\"", 3};
	struct rlimit before, none;
	int order;

	CHECK_INT(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = (struct rlimit){0, before.rlim_max};
	CHECK_INT(setrlimit(RLIMIT_NOFILE, &none), 0);
	CHECK_INT(query_collate(umlaut, b, &order), ERR_BUSY);
	CHECK_INT(setrlimit(RLIMIT_NOFILE, &before), 0);
	CHECK_INT(query_collate(umlaut, b, &order), 0);
	CHECK(order < 0);
}

int
main(void)
{
	test_load();
	if (open_icu())
		test_strings();
	test_marks();
	test_many_marks();
	return check_done();
}
