/*
 * accounts_design.c: `_design/_auth`, which CouchDB writes to the database of accounts, and which clients look for.
 *
 * Its function says what users.c does natively, in JavaScript, for whoever replicates the database to a server
 * that needs it.  It is written when the database is made and when the server starts, unless it is there.
 */
#include "accounts_impl.h"
#include "background.h"
#include "users.h"
#include "base/log.h"

#include <stdlib.h>

#define ID "_design/_auth"

static const char validator[] =
    "function (doc, old, ctx, sec) {\n"
    "  function no(why) { throw({forbidden: why}); }\n"
    "  function has(list, what) { return !!list && list.indexOf(what) !== -1; }\n"
    "  var isServerAdmin = has(ctx.roles, '_admin');\n"
    "  if (doc._deleted === true) {\n"
    "    if (!isServerAdmin && !(old && ctx.name && old.name === ctx.name))\n"
    "      no('Only admins may delete other user docs.');\n"
    "    return;\n"
    "  }\n"
    "  if (doc.type !== 'user') no('doc.type must be user');\n"
    "  if (!doc.name) no('doc.name is required');\n"
    "  if (!doc.roles) no('doc.roles must exist');\n"
    "  if (!isArray(doc.roles)) no('doc.roles must be an array');\n"
    "  var i, role;\n"
    "  for (i = 0; i < doc.roles.length; i++)\n"
    "    if (typeof doc.roles[i] !== 'string') no('doc.roles can only contain strings');\n"
    "  if (doc._id !== 'org.couchdb.user:' + doc.name)\n"
    "    no('Doc ID must be of the form org.couchdb.user:name');\n"
    "  if (old && old.name !== doc.name) no('Usernames can not be changed.');\n"
    "  if (doc.password_sha && !doc.salt)\n"
    "    no('Users with password_sha must have a salt.See /_utils/script/couch.js for example code.');\n"
    "  if (doc.password_scheme && !has(['simple', 'pbkdf2', 'simple+pbkdf2'], doc.password_scheme))\n"
    "    no('Password scheme `' + doc.password_scheme + '` not supported.');\n"
    "  if (doc.password_scheme === 'pbkdf2') {\n"
    "    if (typeof doc.iterations !== 'number') no('iterations must be a number.');\n"
    "    if (typeof doc.derived_key !== 'string') no('derived_key must be a string.');\n"
    "  }\n"
    "  var admins = (sec && sec.admins) || {};\n"
    "  var isAdmin = isServerAdmin || has(admins.names, ctx.name);\n"
    "  for (i = 0; i < ctx.roles.length; i++) isAdmin = isAdmin || has(admins.roles, ctx.roles[i]);\n"
    "  if (!isAdmin && old) {\n"
    "    if (ctx.name !== doc.name) no('You may only update your own user document.');\n"
    "    var before = (old.roles || []).slice().sort(), after = doc.roles.slice().sort();\n"
    "    for (i = 0; i < Math.max(before.length, after.length); i++)\n"
    "      if (before[i] !== after[i]) no('Only _admin may edit roles');\n"
    "  } else if (!isAdmin && doc.roles.length > 0) {\n"
    "    no('Only _admin may set roles');\n"
    "  }\n"
    "  for (i = 0; i < doc.roles.length; i++) {\n"
    "    role = doc.roles[i];\n"
    "    if (role !== '_metrics' && role[0] === '_')\n"
    "      no('No system roles (starting with underscore) in users db.');\n"
    "  }\n"
    "  if (doc.name[0] === '_') no('Username may not start with underscore.');\n"
    "  if (doc.name.indexOf(':') !== -1) no('Character `:` is not allowed in usernames.');\n"
    "}\n";

static void run(void *arg);

static void
end(struct background *b)
{
	struct accounts *s = b->api->accounts;
	int again;

	if (b->w.err && b->w.err != ERR_CONFLICT && b->w.err != ERR_NO_DB)
		log_line(LOG_WARNING, ID " could not be written: %s", err_reason(b->w.err));
	background_close(b);
	pthread_mutex_lock(&s->lock);
	again = s->designing == 2 && !s->stopping;
	s->designing = again;
	pthread_mutex_unlock(&s->lock);
	if (again) {
		run(b);
		return;
	}
	free(b);
	accounts_work_end(s);
}

/* ERR_CONFLICT: it is there. */
static int
prepare(struct background *b)
{
	struct db_snap *snap = NULL;
	struct db_doc doc;
	struct buf text;
	int err = background_open(b, b->api, users_database(b->api->config));

	if (err)
		return err;
	err = db_snap_begin(b->db, &snap);
	if (!err)
		err = db_get(snap, ID, strlen(ID), b->arena, &doc);
	if (!err && !doc.winner.deleted)
		err = ERR_CONFLICT;
	db_snap_end(snap);
	if (err && err != ERR_MISSING)
		return err;
	buf_init_arena(&text, b->arena, 4 * sizeof(validator));
	buf_puts(&text, "{\"language\":\"javascript\",\"validate_doc_update\":");
	buf_put_json(&text, validator, strlen(validator));
	buf_putc(&text, '}');
	err = buf_failed(&text);
	return err ? err : background_parse(b, (struct jstr){ID, strlen(ID)}, (struct jstr){text.data, text.len});
}

int
accounts_design_is(const struct jstr *id, const struct jstr *body)
{
	struct buf scratch;
	struct jstr key, value;
	struct jread j;
	int err, is = 0;

	if (!jstr_is(id, ID))
		return 0;
	buf_init(&scratch, body->len + API_SCRATCH);
	jread_init(&j, body->s, body->len);
	err = jread_object_begin(&j);
	while (!err && (err = jread_object_next(&j, &scratch, &key)) == 0) {
		if (!jstr_is(&key, "validate_doc_update") || jread_peek(&j) != JREAD_STRING)
			err = jread_skip(&j, NULL);
		else if ((err = jread_string(&j, &scratch, &value)) == 0)
			is = jstr_is(&value, validator);
	}
	buf_release(&scratch);
	return err == ERR_END && is;
}

static void
run(void *arg)
{
	struct background *b = arg;
	int err = prepare(b);

	if (err) {
		b->w.err = err;
		end(b);
		return;
	}
	background_submit(b, end);
}

void
accounts_design(struct api *api)
{
	struct accounts *s = api->accounts;
	struct background *b = NULL;

	pthread_mutex_lock(&s->lock);
	if (s->designing) {
		s->designing = 2;
	} else if ((b = calloc(1, sizeof(*b))) != NULL && accounts_work_begin(s)) {
		s->designing = 1;
		b->api = api;
		b->job = (struct exec_job){.fn = run, .arg = b};
		api->ex->submit(api->ex, &b->job);
		b = NULL;
	}
	pthread_mutex_unlock(&s->lock);
	free(b);
}
