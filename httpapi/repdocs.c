/*
 * repdocs.c: who may write what into a replication document, and who sees the credentials in it.
 *
 * As in CouchDB a document belongs to who wrote it first: the member `owner` is set, and kept.  Here a replication between
 * databases of this server runs with its owner's rights, so that more is looked at: who is no server administrator can neither
 * name another owner, nor give it a user_ctx with another name or with roles that are not his, nor write what the replicator
 * has said.
 *
 * 1. The server itself, as the replicator, may do all.
 * 2. Whoever else reads a document gets no credentials: no passwords in URLs, no headers, no auth.
 */
#include "repdocs.h"

#include "base/limits.h"
#include "db/rev.h"
#include "replications.h"
#include "replicator/replicator.h"

#define TEXT_MAX ((size_t)64 << 20)
#define PREFIX "_replication_"

/* ---- Members ---- */

/* visit: ${fn} for each member of the object ${body}, with its text. */
typedef int visit_f(void *cookie, const struct jstr *key, struct jstr value);

static int
visit(struct jstr body, struct arena *a, visit_f *fn, void *cookie)
{
	struct buf scratch;
	struct jstr key, value;
	struct jread j;
	int err;

	buf_init_arena(&scratch, a, TEXT_MAX);
	jread_init(&j, body.s, body.len);
	err = jread_object_begin(&j);
	while (err == 0 && (err = jread_object_next(&j, &scratch, &key)) == 0) {
		err = jread_skip(&j, &value);
		if (err == 0)
			err = fn(cookie, &key, value);
	}
	return err == ERR_END ? 0 : err;
}

struct wanted {
	const char *name;
	struct jstr value;
};

static int
want(void *cookie, const struct jstr *key, struct jstr value)
{
	struct wanted *w = cookie;

	if (jstr_is(key, w->name))
		w->value = value;
	return 0;
}

/* The member's text; len 0: there is none, or it is null. */
static int
member(struct jstr body, struct arena *a, const char *name, struct jstr *out)
{
	struct wanted w = {name, {"", 0}};
	int err = visit(body, a, want, &w);

	*out = jstr_is(&w.value, "null") ? (struct jstr){"", 0} : w.value;
	return err;
}

/* Is ${value} the JSON string of ${name}?  NULL is what is not there. */
static int
is_name(struct jstr value, struct arena *a, const char *name)
{
	struct buf scratch;
	struct jstr s;
	struct jread j;

	if (name == NULL || value.len == 0)
		return name == NULL && value.len == 0;
	buf_init_arena(&scratch, a, TEXT_MAX);
	jread_init(&j, value.s, value.len);
	return jread_string(&j, &scratch, &s) == 0 && jstr_is(&s, name);
}

static void
put_member(struct buf *b, const struct jstr *key, struct jstr value)
{
	if (b->data[b->len - 1] != '{')
		buf_putc(b, ',');
	buf_put_json(b, key->s, key->len);
	buf_putc(b, ':');
	buf_put(b, value.s, value.len);
}

static int
has_role(const struct principal *who, const struct jstr *role)
{
	for (size_t i = 0; i < who->nroles; i++)
		if (jstr_is(role, who->roles[i]))
			return 1;
	return 0;
}

static int
is_server(const struct db_asker *by)
{
	static const struct jstr role = {"_replicator", 11};

	return by->who->server_admin && has_role(by->who, &role);
}

static int
is_design(const struct jstr *id)
{
	return id->len >= 8 && memcmp(id->s, "_design/", 8) == 0;
}

static int
forbid(struct errtext *why, const char *words)
{
	return err_why(why, ERR_FORBIDDEN, "%s", words);
}

/* ---- Reading ---- */

/* Without what stands between "://" and "@". */
static int
put_url(struct buf *b, struct arena *a, struct jstr value)
{
	struct buf scratch, out;
	struct jstr s;
	struct jread j;
	const char *from, *p, *at = NULL;
	int err;

	buf_init_arena(&scratch, a, TEXT_MAX);
	jread_init(&j, value.s, value.len);
	if ((err = jread_string(&j, &scratch, &s)) != 0)
		return err == ERR_BAD_REQUEST ? buf_put(b, value.s, value.len) : err;
	from = memmem(s.s, s.len, "://", 3);
	from = from != NULL ? from + 3 : s.s;
	for (p = from; p < s.s + s.len && strchr("/?#", *p) == NULL; p++)
		if (*p == '@')
			at = p + 1;
	if (at == NULL)
		return buf_put(b, value.s, value.len);
	buf_init_arena(&out, a, TEXT_MAX);
	buf_put(&out, s.s, (size_t)(from - s.s));
	buf_put(&out, at, (size_t)(s.s + s.len - at));
	err = buf_failed(&out);
	return err != 0 ? err : buf_put_json(b, out.data, out.len);
}

struct strip {
	struct buf *b;
	struct arena *a;
};

static int
strip_of_end(void *cookie, const struct jstr *key, struct jstr value)
{
	struct strip *s = cookie;

	if (jstr_is(key, "headers") || jstr_is(key, "auth"))
		return 0;
	put_member(s->b, key, (struct jstr){"", 0});
	if (jstr_is(key, "url"))
		return put_url(s->b, s->a, value);
	return buf_put(s->b, value.s, value.len);
}

static int
strip_of_doc(void *cookie, const struct jstr *key, struct jstr value)
{
	struct strip *s = cookie;
	int is_end = jstr_is(key, "source") || jstr_is(key, "target");
	int is_proxy = jstr_is(key, "proxy") || jstr_is(key, "source_proxy") || jstr_is(key, "target_proxy");
	int err;

	if (is_end && value.len > 0 && value.s[0] == '{') {
		put_member(s->b, key, (struct jstr){"{", 1});
		err = visit(value, s->a, strip_of_end, s);
		return err != 0 ? err : buf_putc(s->b, '}');
	}
	if (!is_end && !is_proxy) {
		put_member(s->b, key, value);
		return buf_failed(s->b);
	}
	put_member(s->b, key, (struct jstr){"", 0});
	return put_url(s->b, s->a, value);
}

static int
shown(void *cookie, const struct db_asker *by, const struct jstr *id, struct arena *a, struct jstr *bodyp)
{
	struct strip s = {NULL, a};
	struct jstr owner;
	struct buf b;
	int err;

	(void)cookie;
	if (by->who->server_admin || is_design(id))
		return 0;
	err = member(*bodyp, a, "owner", &owner);
	if (err != 0 || (by->who->name != NULL && is_name(owner, a, by->who->name)))
		return err;
	buf_init_arena(&b, a, 2 * bodyp->len + 64);
	s.b = &b;
	buf_putc(&b, '{');
	err = visit(*bodyp, a, strip_of_doc, &s);
	buf_putc(&b, '}');
	*bodyp = (struct jstr){b.data, b.len};
	return err != 0 ? err : buf_failed(&b);
}

/* ---- Writing: what CouchDB does to a document ---- */

struct owning {
	struct buf *b;
	struct jstr owner; /* its new text */
	int found;
};

static int
own_member(void *cookie, const struct jstr *key, struct jstr value)
{
	struct owning *o = cookie;
	int is_owner = jstr_is(key, "owner");

	o->found |= is_owner;
	put_member(o->b, key, is_owner ? o->owner : value);
	return buf_failed(o->b);
}

/* Whose name stands in it is the owner; there it stays, or it is the last member. */
static int
set_owner(const struct db_asker *by, struct arena *a, struct jstr *bodyp)
{
	static const struct jstr key = {"owner", 5};
	struct owning o = {.found = 0};
	struct buf b, name;
	int err;

	buf_init_arena(&name, a, TEXT_MAX);
	if (by->who->name != NULL)
		buf_put_json(&name, by->who->name, strlen(by->who->name));
	else
		buf_puts(&name, "null");
	if ((err = buf_failed(&name)) != 0)
		return err;
	o.owner = (struct jstr){name.data, name.len};
	buf_init_arena(&b, a, 2 * bodyp->len + name.len + 64);
	o.b = &b;
	buf_putc(&b, '{');
	if ((err = visit(*bodyp, a, own_member, &o)) != 0)
		return err;
	if (!o.found)
		put_member(&b, &key, o.owner);
	buf_putc(&b, '}');
	*bodyp = (struct jstr){b.data, b.len};
	return buf_failed(&b);
}

/* The owner that the document names is its writer, or no other may be named but by an administrator. */
static int
check_owner(const struct db_asker *by, struct arena *a, struct jstr *bodyp, struct errtext *why)
{
	struct wanted w = {"owner", {"", 0}};
	int err = visit(*bodyp, a, want, &w);

	if (err != 0)
		return err;
	if (w.value.len == 0 || (jstr_is(&w.value, "null") && by->who->server_admin))
		return set_owner(by, a, bodyp);
	if (by->who->server_admin ||
	    is_name(jstr_is(&w.value, "null") ? (struct jstr){"", 0} : w.value, a, by->who->name))
		return 0;
	return forbid(why, "Can't update replication documents from other users.");
}

static int
begins(const struct errtext *why, const char *words)
{
	return strncmp(why->text, words, strlen(words)) == 0;
}

/*
 * CouchDB answers with the term that its parser threw: of most a binary, of those about two members at once a list; and an
 * end that is no end is no clause of its function's.
 */
static int
in_couchdb_words(struct jstr body, struct arena *a, struct errtext *why)
{
	struct errtext given = *why;
	struct jstr end;
	int err;

	if (begins(why, "Missing `"))
		return forbid(why, "Missing replicator database");
	if (strstr(given.text, "must be a URL") != NULL) {
		err = member(body, a, begins(why, "`source`") ? "source" : "target", &end);
		if (err == 0 && end.len > 0 && end.s[0] == '{')
			return forbid(why, "endpoint has an invalid url");
		return err != 0 ? err : forbid(why, "{error,function_clause}");
	}
	if (strstr(given.text, "` is not a URL") != NULL)
		return forbid(why, "endpoint has an invalid url");
	if (strstr(given.text, "mutually exclusive") != NULL)
		return err_why(why, ERR_FORBIDDEN, "{throw,{bad_request,\"%.400s\"}}", given.text);
	if (begins(why, "parameter `"))
		return err_why(why, ERR_FORBIDDEN, "{throw,{bad_request,<<\"%.400s\">>}}", given.text);
	return err_why(why, ERR_FORBIDDEN, "%s", given.text);
}

static int
before_write(void *cookie, const struct db_asker *by, const struct jstr *id, int deleted, struct arena *a,
    struct jstr *bodyp, struct errtext *why)
{
	struct api *api = cookie;
	struct rep_spec spec;
	struct jstr state;
	int err;

	if (is_server(by) || is_design(id))
		return 0;
	if ((err = check_owner(by, a, bodyp, why)) != 0 || deleted)
		return err;
	/* Nobody runs one that has failed, and its author may have to write it as it is. */
	err = member(*bodyp, a, PREFIX "state", &state);
	if (err != 0 || jstr_is(&state, "\"failed\""))
		return err;
	err = replications_parse(api, *bodyp, a, &spec, why);
	if (err == ERR_BAD_REQUEST)
		return in_couchdb_words(*bodyp, a, why);
	return err == ERR_ILLEGAL_DB_NAME ? forbid(why, "endpoint has an invalid url") : err;
}

/* ---- Writing: what else is not for everybody ---- */

/* What is compared with the document as it was. */
struct own {
	struct jstr old; /* body; empty: there is none */
	struct arena *a;
	struct errtext *why;
};

static int
check_own(void *cookie, const struct jstr *key, struct jstr value)
{
	struct own *o = cookie;
	char name[64];
	struct wanted w = {name, {"", 0}};
	int err;

	if (key->len < sizeof(PREFIX) - 1 || memcmp(key->s, PREFIX, sizeof(PREFIX) - 1) != 0)
		return 0;
	if (key->len < sizeof(name) && o->old.len > 0) {
		memcpy(name, key->s, key->len);
		name[key->len] = '\0';
		if ((err = visit(o->old, o->a, want, &w)) != 0)
			return err;
	}
	if (w.value.len == value.len && memcmp(w.value.s, value.s, value.len) == 0)
		return 0;
	return err_why(o->why, ERR_FORBIDDEN, "`%.*s` is written by the replicator.",
	    (int)(key->len < 64 ? key->len : 64), key->s);
}

static int
check_roles(const struct db_asker *by, struct jstr roles, struct arena *a, struct errtext *why)
{
	struct buf scratch;
	struct jstr role;
	struct jread j;
	int err;

	if (roles.len == 0)
		return 0;
	buf_init_arena(&scratch, a, TEXT_MAX);
	jread_init(&j, roles.s, roles.len);
	if (jread_array_begin(&j) != 0)
		return forbid(why, "The `user_ctx.roles` property must be an array of strings.");
	while ((err = jread_array_next(&j)) == 0) {
		if (jread_string(&j, &scratch, &role) != 0 || role.len == 0)
			return forbid(why, "Roles must be non-empty strings.");
		if (!has_role(by->who, &role))
			return err_why(why, ERR_FORBIDDEN, "Invalid role (`%.*s`) in the `user_ctx`",
			    (int)(role.len < 200 ? role.len : 200), role.s);
	}
	return err == ERR_END ? 0 : err;
}

/* Whose rights the replication is to have. */
static int
check_user_ctx(const struct db_asker *by, struct jstr body, struct arena *a, struct errtext *why)
{
	struct jstr ctx, name, roles;
	int err = member(body, a, "user_ctx", &ctx);

	if (err != 0 || ctx.len == 0)
		return err;
	if (ctx.s[0] != '{')
		return forbid(why, "The `user_ctx` property must be a non-null object.");
	err = member(ctx, a, "name", &name);
	if (err == 0)
		err = member(ctx, a, "roles", &roles);
	if (err != 0)
		return err;
	if (!is_name(name, a, by->who->name))
		return forbid(why, "The given `user_ctx.name` is not valid");
	return check_roles(by, roles, a, why);
}

/* check_old: Of a document that is there only its owner writes another revision. */
static int
check_old(const struct db_asker *by, struct jstr old, struct arena *a, struct errtext *why)
{
	struct jstr owner;
	int err = member(old, a, "owner", &owner);

	if (err != 0 || (by->who->name != NULL && is_name(owner, a, by->who->name)))
		return err;
	return forbid(why, "Can't update replication documents from other users.");
}

/* What counts now: a revision that comes from elsewhere need not descend from it. */
static int
check_winner(struct db_hearing *h, struct db_verdict *v)
{
	struct db_doc doc;
	struct db_rev rev;
	int err = db_get(h->snap, v->id.s, v->id.len, h->arena, &doc);

	if (err == ERR_MISSING || (err == 0 && doc.winner.deleted))
		return 0;
	if (err == 0)
		err = db_doc_rev(&doc, &doc.winner, h->arena, &rev);
	return err != 0 ? err : check_old(&h->by, rev.body, h->arena, &v->why);
}

static int
judge(struct db_hearing *h, struct db_verdict *v)
{
	int has_old = v->has_old && !v->old_doc.deleted, err = 0;
	struct own own = {.old = has_old ? v->old_doc.body : (struct jstr){"", 0}, .a = h->arena, .why = &v->why};

	if (has_old)
		err = check_old(&h->by, v->old_doc.body, h->arena, &v->why);
	if (err == 0 && v->replicated)
		err = check_winner(h, v);
	if (err == 0)
		err = visit(v->new_doc.body, h->arena, check_own, &own);
	if (err == 0 && !v->new_doc.deleted)
		err = check_user_ctx(&h->by, v->new_doc.body, h->arena, &v->why);
	return err;
}

static int
validate(void *cookie, struct db_hearing *h)
{
	size_t i;

	(void)cookie;
	for (i = 0; i < h->n && !h->by.who->server_admin; i++)
		h->verdicts[i].err = judge(h, &h->verdicts[i]);
	return 0;
}

void
repdocs_init(struct api *api)
{
	api->repdocs =
	    (struct db_rules){.cookie = api, .before_write = before_write, .validate = validate, .shown = shown};
}

const struct db_rules *
repdocs_rules(struct api *api, const char *name)
{
	return replicator_is_database(name, strlen(name)) ? &api->repdocs : NULL;
}
