/*
 * Linked, ICU and its C++ library cost an idle server 2.5 MiB of resident memory (relocations and constructors),
 * and most databases never hold two strings whose order is not plain from ASCII.  So the library is opened
 * at first use, under the name that its headers are of, and only the functions that are called are looked up, typed by
 * their declarations.  One collator serves all threads: comparing is a const operation on it.
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

int
icu_compare(struct jstr a, struct jstr b, int *orderp)
{
	UErrorCode status = U_ZERO_ERROR;
	int err = once_make(&loaded, load);

	if (err)
		return err;
	if (a.len > INT32_MAX || b.len > INT32_MAX)
		return ERR_INTERNAL;
	*orderp = (int)compare(root, a.s, (int32_t)a.len, b.s, (int32_t)b.len, &status);
	return U_FAILURE(status) ? ERR_INTERNAL : 0;
}

#define SHORT 256u        /* UTF-16 units that need no memory of their own */
#define LEVEL_END 1       /* behind the primary weights of a key */
#define PER_WEIGHT 8u     /* bytes of a string for one of its key: mostly plenty */
#define LAST_WEIGHTS 512u /* more bytes than the weights have on which what follows may have a say */

/* put_key: The key has a NUL at its end, which is not kept.  ICU fills what room there is. */
static int
put_key(const UChar *s, int32_t len, size_t max, struct buf *out)
{
	size_t room = 64 + 2 * (size_t)len;

	for (;;) {
		room = room < max ? room : max;
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
		room = (size_t)n;
	}
}

/* put_string: Up to ${max} bytes of the key of the whole string. */
static int
put_string(struct jstr s, size_t max, struct buf *out)
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
