/* userdoc.c: the members of a user's document.  Bodies are CouchDB's text: no white space, no member twice. */
#include "userdoc.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

#define SCRATCH 65536u /* what the reader may ask for beyond its text */

static const char *const names[USERDOC_FIELDS] = {"name", "type", "roles", "totp", "password", "password_scheme",
    "password_sha", "pbkdf2_prf", "derived_key", "salt", "iterations", "preserve_salt"};

enum userdoc_field
userdoc_field(const struct jstr *key)
{
	int i = 0;

	while (i < USERDOC_FIELDS && !jstr_is(key, names[i]))
		i++;
	return (enum userdoc_field)i;
}

int
userdoc_parse(struct jstr body, struct userdoc *out)
{
	struct jstr key, other, *value;
	enum userdoc_field field;
	struct jread j;
	struct buf scratch;
	int err;

	memset(out, 0, sizeof(*out));
	buf_init(&scratch, body.len + SCRATCH);
	jread_init(&j, body.s, body.len);
	err = jread_object_begin(&j);
	while (err == 0 && (err = jread_object_next(&j, &scratch, &key)) == 0) {
		field = userdoc_field(&key);
		value = field < USERDOC_FIELDS ? &out->field[field] : &other;
		err = jread_skip(&j, value);
	}
	buf_release(&scratch);
	return err == ERR_END ? 0 : err;
}

int
userdoc_true(const struct jstr *value)
{
	size_t i;

	if (value->len == 0 || jstr_is(value, "false") || jstr_is(value, "null") || jstr_is(value, "\"\""))
		return 0;
	if (value->s[0] != '-' && (value->s[0] < '0' || value->s[0] > '9'))
		return 1;
	/* A number is 0 if its mantissa has no other digit. */
	for (i = 0; i < value->len && value->s[i] != 'e' && value->s[i] != 'E'; i++)
		if (value->s[i] >= '1' && value->s[i] <= '9')
			return 1;
	return 0;
}

int
userdoc_string(const struct jstr *value, struct arena *a, struct jstr *outp)
{
	struct buf scratch;
	struct jstr s;
	struct jread j;
	int err;

	if (value->len == 0 || value->s[0] != '"')
		return ERR_BAD_REQUEST;
	buf_init(&scratch, value->len + SCRATCH);
	jread_init(&j, value->s, value->len);
	err = jread_string(&j, &scratch, &s);
	if (err == 0) {
		outp->s = arena_dup(a, s.s, s.len);
		outp->len = s.len;
		err = outp->s != NULL ? 0 : ERR_NOMEM;
	}
	buf_release(&scratch);
	return err;
}

static int
count_strings(const struct jstr *value, size_t *np)
{
	struct jread j;
	int err;

	*np = 0;
	if (value->len == 0 || value->s[0] != '[')
		return ERR_BAD_REQUEST;
	jread_init(&j, value->s, value->len);
	err = jread_array_begin(&j);
	while (err == 0 && (err = jread_array_next(&j)) == 0) {
		if (jread_peek(&j) != JREAD_STRING)
			return ERR_BAD_REQUEST;
		++*np;
		err = jread_skip(&j, NULL);
	}
	return err == ERR_END ? 0 : err;
}

int
userdoc_roles(const struct jstr *value, struct arena *a, struct jstr **rolesp, size_t *np)
{
	struct jstr *roles;
	struct jstr span;
	struct jread j;
	size_t n = 0;
	int err = count_strings(value, np);

	if (err != 0)
		return err;
	roles = arena_calloc(a, *np + 1, sizeof(*roles));
	if (roles == NULL)
		return ERR_NOMEM;
	jread_init(&j, value->s, value->len);
	err = jread_array_begin(&j);
	while (err == 0 && (err = jread_array_next(&j)) == 0) {
		err = jread_skip(&j, &span);
		if (err == 0)
			err = userdoc_string(&span, a, &roles[n++]);
	}
	*rolesp = roles;
	return err == ERR_END ? 0 : err;
}

/* A hex key of the right length. */
static int
take_key(const struct jstr *value, struct arena *a, struct secret *out)
{
	struct jstr hex;
	int err = userdoc_string(value, a, &hex);

	if (err != 0)
		return err;
	out->key_len = secret_key_len(out->prf);
	if (out->key_len == 0 || hex.len != 2 * out->key_len || hex_decode(hex.s, hex.len, out->key) != 0)
		return ERR_MISSING;
	return 0;
}

static int
take_pbkdf2(const struct userdoc *doc, struct arena *a, unsigned max_iterations, struct secret *out)
{
	const struct jstr *n = &doc->field[USERDOC_ITERATIONS];
	struct jstr prf = {"sha", 3};
	uint64_t iterations = 10000; /* CouchDB's, where a document has none */
	struct jread j;
	int err = 0;

	if (doc->field[USERDOC_PBKDF2_PRF].len > 0)
		err = userdoc_string(&doc->field[USERDOC_PBKDF2_PRF], a, &prf);
	if (err == 0 && n->len > 0) {
		jread_init(&j, n->s, n->len);
		err = jread_u64(&j, &iterations);
	}
	if (err != 0)
		return err;
	if (prf.len == 0 || prf.len >= sizeof(out->prf) || iterations < 1 || iterations > max_iterations)
		return ERR_MISSING;
	memcpy(out->prf, prf.s, prf.len);
	out->iterations = (unsigned)iterations;
	return take_key(&doc->field[USERDOC_DERIVED_KEY], a, out);
}

int
userdoc_secret(const struct userdoc *doc, struct arena *a, unsigned max_iterations, struct secret *out)
{
	struct jstr scheme = {"simple", 6}, salt = {"", 0};
	int err = 0;

	*out = (struct secret){.iterations = 0};
	if (doc->field[USERDOC_PASSWORD_SCHEME].len > 0)
		err = userdoc_string(&doc->field[USERDOC_PASSWORD_SCHEME], a, &scheme);
	if (err == 0 && doc->field[USERDOC_SALT].len > 0)
		err = userdoc_string(&doc->field[USERDOC_SALT], a, &salt);
	if (err == 0) {
		out->salt = salt.s;
		out->salt_len = salt.len;
		if (jstr_is(&scheme, "pbkdf2"))
			err = take_pbkdf2(doc, a, max_iterations, out);
		else if (jstr_is(&scheme, "simple"))
			err = take_key(&doc->field[USERDOC_PASSWORD_SHA], a, out);
		else
			err = ERR_MISSING;
	}
	return err == ERR_BAD_REQUEST ? ERR_MISSING : err;
}

int
userdoc_copy(struct jstr body, userdoc_keep_f *keep, const void *cookie, struct buf *b)
{
	struct jstr key, value;
	struct jread j;
	struct buf scratch;
	int err;

	buf_init(&scratch, body.len + SCRATCH);
	jread_init(&j, body.s, body.len);
	err = jread_object_begin(&j);
	while (err == 0 && (err = jread_object_next(&j, &scratch, &key)) == 0) {
		int wanted = keep(cookie, &key);

		if (wanted) {
			if (b->len > 0 && b->data[b->len - 1] != '{')
				buf_putc(b, ',');
			buf_put_json(b, key.s, key.len);
			buf_putc(b, ':');
		}
		err = jread_skip(&j, &value);
		if (err == 0 && wanted)
			buf_put(b, value.s, value.len);
	}
	buf_release(&scratch);
	return err != ERR_END ? err : buf_failed(b);
}
