/* peruser_security.c: the security object of a user's database: the user among those whom it names, or out of it. */
#include "peruser.h"
#include "userdoc.h"

#include <string.h>

/* The array ${names} with ${name} in front, as CouchDB has it, or without it; what is no array is an empty one. */
static int
put_names(struct jstr names, const struct jstr *name, int add, struct buf *out, int *changedp)
{
	struct buf scratch, rest;
	struct jstr span, s;
	struct jread j;
	int err, found = 0;

	if (names.len == 0 || names.s[0] != '[')
		names = (struct jstr){"[]", 2};
	buf_init(&scratch, names.len + API_SCRATCH);
	buf_init(&rest, names.len);
	jread_init(&j, names.s, names.len);
	err = jread_array_begin(&j);
	while (!err && (err = jread_array_next(&j)) == 0) {
		struct jread at = j;
		int is = jread_peek(&at) == JREAD_STRING && !jread_string(&at, &scratch, &s) && s.len == name->len &&
			 memcmp(s.s, name->s, s.len) == 0;

		found |= is;
		err = jread_skip(&j, &span);
		if (!err && (add || !is)) {
			buf_puts(&rest, rest.len > 0 ? "," : "");
			buf_put(&rest, span.s, span.len);
		}
	}
	buf_putc(out, '[');
	if (add && !found) {
		buf_put_json(out, name->s, name->len);
		buf_puts(out, rest.len > 0 ? "," : "");
	}
	buf_put(out, rest.data, rest.len);
	buf_putc(out, ']');
	if (err == ERR_END)
		err = buf_failed(&rest);
	*changedp |= add ? !found : found;
	buf_release(&scratch);
	buf_release(&rest);
	return err;
}

static int
is_another(const void *cookie, const struct jstr *key)
{
	return !jstr_is(key, cookie);
}

static int
is_rest(const void *cookie, const struct jstr *key)
{
	(void)cookie;
	return !jstr_is(key, "admins") && !jstr_is(key, "members");
}

/* The value of member ${key} of an object; len 0: none. */
static int
member_of(const struct jstr *object, const char *key, struct jstr *valuep)
{
	struct buf scratch;
	struct jstr name, span;
	struct jread j;
	int err;

	*valuep = (struct jstr){NULL, 0};
	buf_init(&scratch, object->len + API_SCRATCH);
	jread_init(&j, object->s, object->len);
	err = jread_object_begin(&j);
	while (!err && (err = jread_object_next(&j, &scratch, &name)) == 0) {
		int is = jstr_is(&name, key);

		err = jread_skip(&j, &span);
		if (!err && is)
			*valuep = span;
	}
	buf_release(&scratch);
	return err == ERR_END ? 0 : err;
}

static int
is_no_list(const void *cookie, const struct jstr *key)
{
	(void)cookie;
	return !jstr_is(key, "names") && !jstr_is(key, "roles");
}

/* A group that names nobody means everybody: a database that has lost its user is the administrators'. */
static int
put_group(const struct jstr *group, const struct jstr *name, int add, struct buf *out, int *changedp)
{
	struct jstr object = group->len > 0 && group->s[0] == '{' ? *group : (struct jstr){"{}", 2};
	struct jstr names = {"", 0}, roles = {"", 0};
	struct buf list;
	int err = member_of(&object, "names", &names), left, changed = 0;

	buf_init(&list, names.len + 8 * name->len + 64);
	if (!err)
		err = member_of(&object, "roles", &roles);
	if (!err)
		err = put_names(names, name, add, &list, &changed);
	left = add || !changed || list.len > 2 || (roles.len > 2 && roles.s[0] == '[');
	buf_putc(out, '{');
	if (!err)
		err = userdoc_copy(object, left ? is_another : is_no_list, "names", out);
	if (!err) {
		buf_puts(out, out->data[out->len - 1] == '{' ? "" : ",");
		buf_puts(out, left ? "\"names\":" : "\"roles\":[\"_admin\"],\"names\":");
		buf_put(out, list.data, list.len);
		buf_putc(out, '}');
		err = buf_failed(&list) ? buf_failed(&list) : buf_failed(out);
	}
	*changedp |= changed;
	buf_release(&list);
	return err;
}

int
peruser_security(struct jstr text, struct jstr name, int add, struct buf *out, int *changedp)
{
	struct jstr admins, members;
	int err = member_of(&text, "admins", &admins), in_members = 0;

	*changedp = 0;
	if (!err)
		err = member_of(&text, "members", &members);
	if (err)
		return err;
	buf_puts(out, "{\"admins\":");
	err = put_group(&admins, &name, add, out, changedp);
	buf_puts(out, ",\"members\":");
	if (!err)
		err = put_group(&members, &name, add, out, &in_members);
	*changedp |= in_members;
	if (!err)
		err = userdoc_copy(text, is_rest, NULL, out);
	buf_putc(out, '}');
	return err ? err : buf_failed(out);
}
