/*
 * store_names.c: the file names of databases, and sorted lists of names.
 *
 * A name is written byte for byte where it is in [a-z0-9_-] and as %XX
 * elsewhere: "a/b" is a%2Fb.divan.  Were that too long for a file name, the
 * long form is taken, which adds one byte only: "~", then the name with "/" as
 * ",", for names of the bytes CouchDB allows.  Each name has exactly one file
 * name, which a decoder proves by encoding again.  No encoded name begins with
 * a dot, so that files that do are free for other uses.
 */
#include "store_impl.h"

#include <stdlib.h>
#include <string.h>
#include "base/limits.h"

#define SUFFIX_LEN (sizeof(STORE_SUFFIX) - 1)
#define STEM_MAX (STORE_FILE_MAX - SUFFIX_LEN)

static int
plain(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

static size_t
encode_short(const char *name, char *file)
{
	static const char hex[] = "0123456789ABCDEF";
	size_t n = 0;

	for (; *name != '\0'; name++) {
		unsigned char c = (unsigned char)*name;

		if (n + 3 > STEM_MAX)
			return 0;
		if (plain(*name)) {
			file[n++] = *name;
		} else {
			file[n++] = '%';
			file[n++] = hex[c >> 4];
			file[n++] = hex[c & 15];
		}
	}
	return n;
}

static size_t
encode_long(const char *name, char *file)
{
	size_t n = 0;

	file[n++] = '~';
	for (; *name != '\0'; name++) {
		if (n >= STEM_MAX || (!plain(*name) && strchr("$()+/", *name) == NULL))
			return 0;
		file[n++] = *name == '/' ? ',' : *name;
	}
	return n;
}

int
store_names_encode(const char *name, char file[STORE_FILE_MAX + 1])
{
	size_t n;

	if (*name == '\0' || strlen(name) > LIMIT_DB_NAME_LEN)
		return ERR_ILLEGAL_DB_NAME;
	n = encode_short(name, file);
	if (n == 0)
		n = encode_long(name, file);
	if (n == 0)
		return ERR_ILLEGAL_DB_NAME;
	memcpy(file + n, STORE_SUFFIX, SUFFIX_LEN + 1);
	return 0;
}

int
store_lmdb_file(const char *name, char file[STORE_FILE_ROOM])
{
	_Static_assert(STORE_FILE_ROOM > STORE_FILE_MAX, "a file's name and its NUL");
	return store_names_encode(name, file);
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int
store_names_decode(const char *file, char name[STORE_FILE_MAX + 1])
{
	size_t len = strlen(file), i, n = 0;
	char again[STORE_FILE_MAX + 1];

	if (len <= SUFFIX_LEN || len > STORE_FILE_MAX || strcmp(file + len - SUFFIX_LEN, STORE_SUFFIX) != 0)
		return ERR_ILLEGAL_DB_NAME;
	len -= SUFFIX_LEN;
	for (i = file[0] == '~'; i < len; i++) {
		char c = file[i];

		if (file[0] == '~') {
			c = c == ',' ? '/' : c;
		} else if (c == '%') {
			int hi = i + 2 < len ? hex_digit(file[i + 1]) : -1;
			int lo = i + 2 < len ? hex_digit(file[i + 2]) : -1;

			if (hi < 0 || lo < 0)
				return ERR_ILLEGAL_DB_NAME;
			c = (char)(hi << 4 | lo);
			i += 2;
		}
		name[n++] = c;
	}
	name[n] = '\0';
	if (store_names_encode(name, again) != 0 || strcmp(again, file) != 0)
		return ERR_ILLEGAL_DB_NAME;
	return 0;
}

int
store_names_add(struct store_names *names, const char *name)
{
	if (names->n == names->cap) {
		size_t cap = names->cap == 0 ? 64 : names->cap * 2;
		char **v = realloc(names->v, cap * sizeof(*v));

		if (v == NULL)
			return ERR_NOMEM;
		names->v = v;
		names->cap = cap;
	}
	names->v[names->n] = strdup(name);
	if (names->v[names->n] == NULL)
		return ERR_NOMEM;
	names->n++;
	return 0;
}

void
store_names_release(struct store_names *names)
{
	for (size_t i = 0; i < names->n; i++)
		free(names->v[i]);
	free(names->v);
	memset(names, 0, sizeof(*names));
}

static int
by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int
store_names_tell(struct store_names *names, int (*fn)(const char *name, void *cookie), void *cookie)
{
	int rc = 0;

	if (names->n > 1)
		qsort(names->v, names->n, sizeof(*names->v), by_name);
	for (size_t i = 0; i < names->n && rc == 0; i++)
		rc = fn(names->v[i], cookie);
	store_names_release(names);
	return rc;
}
