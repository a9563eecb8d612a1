/*
 * jtree.c: trees of Jansson's, made by our reader.
 *
 * Jansson's own reader does not notice where the memory for a string cannot be grown: it copies what it believes to have
 * gathered, from behind the end of its buffer, and calls other lacks of memory a fault of the text. Its trees are sound.
 */
#include "jtree.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"

static int value_of(struct jread *j, unsigned how, json_t **vp);

/* Not within value_of(), which recurses: its frame would be too large for LIMIT_JSON_DEPTH of them. */
__attribute__((noinline)) static int
number_of(struct jread *j, unsigned how, json_t **vp)
{
	char text[LIMIT_NUMBER_LEN + 1];
	struct jstr span;
	int err = jread_skip(j, &span);

	if (err != 0)
		return err;
	memcpy(text, span.s, span.len);
	text[span.len] = '\0';
	if ((how & JTREE_REALS) != 0 || strpbrk(text, ".eE") != NULL) {
		double d = strtod(text, NULL);

		if (!isfinite(d))
			return ERR_BAD_JSON;
		*vp = json_real(d);
	} else {
		long long n;

		errno = 0;
		n = strtoll(text, NULL, 10);
		if (errno == ERANGE && (how & JTREE_NEAR) == 0)
			return ERR_BAD_JSON;
		*vp = json_integer(n);
	}
	return *vp != NULL ? 0 : ERR_NOMEM;
}

static int
string_of(struct jread *j, struct buf *scratch, unsigned how, json_t **vp)
{
	struct jstr s;
	int err = jread_string(j, scratch, &s);

	if (err != 0)
		return err;
	if ((how & JTREE_NUL) == 0 && s.len > 0 && memchr(s.s, '\0', s.len) != NULL)
		return ERR_BAD_JSON;
	return (*vp = json_stringn_nocheck(s.s, s.len)) != NULL ? 0 : ERR_NOMEM;
}

static int
fill_array(struct jread *j, unsigned how, json_t *array)
{
	json_t *v;
	int err = jread_array_begin(j);

	while (err == 0 && (err = jread_array_next(j)) == 0)
		if ((err = value_of(j, how, &v)) == 0 && json_array_append_new(array, v) != 0)
			err = ERR_NOMEM;
	return err == ERR_END ? 0 : err;
}

static int
fill_object(struct jread *j, struct buf *scratch, unsigned how, json_t *object)
{
	struct jstr key;
	json_t *v;
	int err = jread_object_begin(j);

	while (err == 0 && (err = jread_object_next(j, scratch, &key)) == 0) {
		if (key.len > 0 && memchr(key.s, '\0', key.len) != NULL)
			err = (how & JTREE_NEAR) != 0 ? jread_skip(j, NULL) : ERR_BAD_JSON;
		else if ((err = value_of(j, how, &v)) == 0 &&
			 json_object_setn_new_nocheck(object, key.s, key.len, v) != 0)
			err = ERR_NOMEM;
	}
	return err == ERR_END ? 0 : err;
}

/* Each level has a scratch of its own, since a key is needed until its value is read; most have no escapes and use none. */
static int
value_of(struct jread *j, unsigned how, json_t **vp)
{
	enum jread_type type = jread_peek(j);
	struct buf scratch;
	int err;

	*vp = NULL;
	if (type == JREAD_NUMBER)
		return number_of(j, how, vp);
	buf_init(&scratch, (size_t)(j->end - j->p) + 64);
	switch (type) {
	case JREAD_OBJECT:
		err = (*vp = json_object()) != NULL ? fill_object(j, &scratch, how, *vp) : ERR_NOMEM;
		break;
	case JREAD_ARRAY:
		err = (*vp = json_array()) != NULL ? fill_array(j, how, *vp) : ERR_NOMEM;
		break;
	case JREAD_STRING:
		err = string_of(j, &scratch, how, vp);
		break;
	default: /* Constants, which take no memory, or no value. */
		*vp = type == JREAD_TRUE ? json_true() : type == JREAD_FALSE ? json_false() : json_null();
		err = jread_skip(j, NULL);
	}
	buf_release(&scratch);
	if (err != 0) {
		json_decref(*vp);
		*vp = NULL;
	}
	return err;
}

int
jtree_load(struct jstr text, unsigned how, json_t **vp)
{
	struct jread j;
	int err;

	jread_init(&j, text.s, text.len);
	if ((err = value_of(&j, how, vp)) == 0 && (err = jread_end(&j)) != 0) {
		json_decref(*vp);
		*vp = NULL;
	}
	return err;
}
