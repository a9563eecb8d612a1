/*
 * Linked, ICU and its C++ library cost an idle server 2.5 MiB of resident memory (relocations and constructors),
 * and most databases never hold two strings whose order is not plain from ASCII.  So the library is opened
 * at first use, under the name that its headers are of, and only the functions that are called are looked up, typed by
 * their declarations.  One collator serves all threads: comparing is a const operation on it.
 *
 * U+0F71 is the one mark that contracts with marks behind it: for each of them ICU looks through all marks that follow.  A run of N takes N^2 steps, 8 MB
 * half a day.  So behind each MARKS-th of a run ICU is shown U+034F, which has no weight, and through which nothing contracts, as in Unicode's stream-safe
 * texts.  No word has such a run.
 */
#include "icu.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <unicode/ucol.h>
#include <unicode/ustring.h>
#include <unicode/uvernum.h>

#include "base/library.h"
#include "base/log.h"
#include "base/once.h"
#include "base/utf8.h"

#define QUOTE_(x) #x
#define QUOTE(x) QUOTE_(x) /* ICU's names are macros that add the version */

static struct once loaded = ONCE_INIT;
static __typeof__(ucol_strcollUTF8) *compare;
static __typeof__(ucol_getSortKey) *sort_key;
static __typeof__(ucol_getVersion) *get_version;
static __typeof__(u_strFromUTF8) *from_utf8;
static UCollator *root;

static int
load(void)
{
	static const char name[] = "libicui18n.so." U_ICU_VERSION_SHORT;
	__typeof__(ucol_open) *open;
	UErrorCode status = U_ZERO_ERROR;
	void *lib;
	int err = library_load(name, &lib);

	if (err)
		return err;
	/* The last one is libicuuc's, which libicui18n brings. */
	if (!library_find(lib, QUOTE(ucol_open), &open) || !library_find(lib, QUOTE(ucol_strcollUTF8), &compare) ||
	    !library_find(lib, QUOTE(ucol_getSortKey), &sort_key) ||
	    !library_find(lib, QUOTE(ucol_getVersion), &get_version) ||
	    !library_find(lib, QUOTE(u_strFromUTF8), &from_utf8)) {
		log_line(LOG_ERROR, "%s has not all that is called", name);
		return ERR_NOT_IMPLEMENTED;
	}
	root = open("", &status);
	if (U_SUCCESS(status))
		return 0;
	log_line(LOG_ERROR, "%s: no root collation: error %d", name, (int)status);
	return status == U_MEMORY_ALLOCATION_ERROR ? ERR_NOMEM : ERR_INTERNAL;
}

#define MARK "\xe0\xbd\xb1" /* U+0F71 */
#define MARK_LEN 3u
#define STOP "\xcd\x8f" /* U+034F */
#define MARKS 32u

/* may_run: 1 if ${s} has marks enough. */
static int
may_run(struct jstr s)
{
	return s.len > MARKS * MARK_LEN && memmem(s.s, s.len, MARK, MARK_LEN) != NULL;
}

/* is_letter: Of ASCII, or of Tibetan (U+0F40 to 0F6C, 0F90 to 0FBC): nothing contracts through one.  Others may be in a run. */
static int
is_letter(const unsigned char *s, size_t len)
{
	if (*s < 0x80)
		return 1;
	if (len < MARK_LEN || *s != 0xe0)
		return 0;
	return (s[1] == 0xbd && s[2] <= 0xac) || (s[1] == 0xbe && s[2] >= 0x90 && s[2] <= 0xbc);
}

/* put_stopped: ${s} with its runs of marks interrupted. */
static int
put_stopped(struct jstr s, struct buf *out)
{
	size_t from = 0, marks = 0;

	for (size_t i = 0; i < s.len; i++) {
		if (is_letter((const unsigned char *)s.s + i, s.len - i))
			marks = 0;
		if (s.len - i < MARK_LEN || memcmp(s.s + i, MARK, MARK_LEN) != 0 || ++marks % MARKS != 0)
			continue;
		buf_put(out, s.s + from, i + MARK_LEN - from);
		buf_puts(out, STOP);
		from = i + MARK_LEN;
	}
	return buf_put(out, s.s + from, s.len - from);
}

static int
compare_plain(struct jstr a, struct jstr b, int *orderp)
{
	UErrorCode status = U_ZERO_ERROR;

	if (a.len > INT32_MAX || b.len > INT32_MAX)
		return ERR_INTERNAL;
	*orderp = (int)compare(root, a.s, (int32_t)a.len, b.s, (int32_t)b.len, &status);
	return U_FAILURE(status) ? ERR_INTERNAL : 0;
}

static int
compare_stopped(struct jstr a, struct jstr b, int *orderp)
{
	struct buf x, y;
	int err;

	buf_init(&x, 2 * a.len);
	buf_init(&y, 2 * b.len);
	if ((err = put_stopped(a, &x)) == 0 && (err = put_stopped(b, &y)) == 0)
		err = compare_plain((struct jstr){x.data, x.len}, (struct jstr){y.data, y.len}, orderp);
	buf_release(&x);
	buf_release(&y);
	return err;
}

int
icu_compare(struct jstr a, struct jstr b, int *orderp)
{
	int err = once_make(&loaded, load);

	if (err)
		return err;
	return may_run(a) || may_run(b) ? compare_stopped(a, b, orderp) : compare_plain(a, b, orderp);
}

#define SHORT 256u        /* UTF-16 units that need no memory of their own */
#define LEVEL_END 1       /* behind the primary weights of a key */
#define PER_WEIGHT 8u     /* bytes of a string for one of its key: mostly plenty */
#define LAST_WEIGHTS 512u /* more bytes than the weights have on which what follows may have a say */

/* put_key: The key has a NUL at its end, which is not kept.  ICU fills what room there is. */
static int
put_key(const UChar *s, int32_t len, size_t max, struct buf *out)
{
	size_t room = 64 + 2 * (size_t)len < max ? 64 + 2 * (size_t)len : max;

	for (;;) {
		char *at;
		int32_t n;
		int err = buf_reserve(out, room, &at);

		if (err != 0)
			return err;
		n = sort_key(root, s, len, (uint8_t *)at, (int32_t)room);
		if (n <= 0)
			return ERR_INTERNAL;
		if ((size_t)n <= room || room == max) {
			buf_commit(out, (size_t)n <= room ? (size_t)n - 1 : room);
			return 0;
		}
		room = (size_t)n < max ? (size_t)n : max;
	}
}

static int
put_plain(struct jstr s, size_t max, struct buf *out)
{
	UErrorCode status = U_ZERO_ERROR;
	UChar few[SHORT], *units = few;
	int32_t len = 0;
	int err;

	if (s.len > INT32_MAX / 8)
		return ERR_INTERNAL;
	/* There are never more units than bytes. */
	if (s.len > SHORT && (units = calloc(s.len, sizeof(*units))) == NULL)
		return ERR_NOMEM;
	from_utf8(units, (int32_t)(s.len > SHORT ? s.len : SHORT), &len, s.s, (int32_t)s.len, &status);
	err = U_FAILURE(status) ? ERR_INTERNAL : put_key(units, len, max, out);
	if (units != few)
		free(units);
	return err;
}

/* put_string: Up to ${max} bytes of the key of the whole string. */
static int
put_string(struct jstr s, size_t max, struct buf *out)
{
	struct buf b;
	int err;

	if (!may_run(s))
		return put_plain(s, max, out);
	buf_init(&b, 2 * s.len);
	if ((err = put_stopped(s, &b)) == 0)
		err = put_plain((struct jstr){b.data, b.len}, max, out);
	buf_release(&b);
	return err;
}

/*
 * put_beginning: The first ${max} bytes from the beginning of a long string alone.  A key has the primary weights of all characters first, then a byte
 * 1; what is cut off has a say in the weights of the last characters before it, and in no others.  0 with nothing appended: that does not suffice.
 */
static int
put_beginning(struct jstr s, size_t max, struct buf *out)
{
	const struct jstr beginning = {s.s, utf8_whole(s.s, PER_WEIGHT * max)};
	size_t before = out->len;
	int err = put_string(beginning, max + LAST_WEIGHTS, out);

	if (err == 0 && out->len - before == max + LAST_WEIGHTS &&
	    memchr(out->data + before, LEVEL_END, max + LAST_WEIGHTS) == NULL)
		out->len = before + max;
	else
		out->len = before;
	return err;
}

int
icu_sortkey(struct jstr s, size_t max, struct buf *out)
{
	size_t before = out->len;
	int err = once_make(&loaded, load);

	if (err == 0 && max > 0 && max < s.len / (2 * PER_WEIGHT))
		err = put_beginning(s, max, out);
	return err != 0 || out->len > before ? err : put_string(s, max, out);
}

int
icu_version(unsigned char out[4])
{
	int err = once_make(&loaded, load);

	if (err == 0)
		get_version(root, out);
	return err;
}
