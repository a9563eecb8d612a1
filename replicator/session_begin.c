/*
 * session_begin.c: the start of a run: whether both ends are there, and where their logs say that it begins.
 */
#include "session_impl.h"

#include <string.h>

#include "base/hash.h"
#include "base/limits.h"

static void
no_such_end(struct session *s, struct peer *peer, const struct peer_call *call)
{
	struct errtext why = call->why;

	if (call->err == ERR_NO_DB)
		(void)err_why(&why, ERR_NO_DB, "could not open %s", peer->name);
	session_fail(s, call->err, &why);
}

static void informed(void *owner);

/* What it is, it is asked again, now that there is one. */
static void
created(void *owner)
{
	struct session *s = owner;
	struct peer *target = s->config.target;

	if (s->create.call.err != 0)
		session_fail(s, s->create.call.err, &s->create.call.why);
	if (session_over(s))
		return;
	s->created = 1;
	session_flight(&s->info_flight[TARGET], s, target, &s->info[TARGET].call, informed, s);
	target->ops->info(target, &s->info[TARGET]);
}

static void
informed(void *owner)
{
	struct session *s = owner;
	struct peer *target = s->config.target;
	int err;

	if (s->info_flight[SOURCE].link != NULL || s->info_flight[TARGET].link != NULL || session_over(s))
		return;
	err = s->info[TARGET].call.err; /* a call that is under way is another thread's */
	if (s->info[SOURCE].call.err != 0) {
		no_such_end(s, s->config.source, &s->info[SOURCE].call);
	} else if (err == ERR_NO_DB && s->spec->create_target && !s->created) {
		s->create.query = s->spec->create_query;
		s->create.call.arena = s->logs[TARGET].arena;
		session_flight(&s->info_flight[TARGET], s, target, &s->create.call, created, s);
		target->ops->create(target, &s->create);
	} else if (err != 0) {
		no_such_end(s, target, &s->info[TARGET].call);
	}
}

/* "DDOC/NAME" */
static int
split_filter(const struct session *s, struct jstr *ddoc, struct jstr *name)
{
	struct jstr f = s->spec->filter.filter;
	const char *slash = f.len > 0 ? memchr(f.s, '/', f.len) : NULL;

	if (slash == NULL || f.s[0] == '_')
		return 0;
	*ddoc = (struct jstr){f.s, (size_t)(slash - f.s)};
	*name = (struct jstr){slash + 1, f.len - ddoc->len - 1};
	return 1;
}

/* The logs' id of what was read of the filter. */
static int
filter_id(struct session *s)
{
	char digest[CHECKPOINT_FILTER_LEN + 1];
	unsigned char md5[MD5_LEN];
	struct jstr ddoc, name;
	struct buf b;
	int err;

	if (!split_filter(s, &ddoc, &name))
		return 0;
	if ((err = checkpoint_filter(s->filter_read.text, name, digest)) != 0)
		return err;
	buf_init_arena(&b, s->arena, 256);
	if ((err = buf_printf(&b, "%s%s", s->log_id, digest)) != 0)
		return err;
	hash_md5(b.data, b.len, md5);
	hex_encode(md5, sizeof(md5), s->log_id);
	return 0;
}

/*
 * A filter that is not there, or not to be seen, is the business of who asks for changes. Any other error would make the id of
 * other logs, and the run begin where those say.
 */
static void
filter_read(void *owner)
{
	struct session *s = owner;
	const struct peer_call *call = &s->filter_read.call;
	int unseen = call->err == ERR_MISSING || call->err == ERR_NO_DB || call->err == ERR_FORBIDDEN ||
		     call->err == ERR_UNAUTHORIZED;

	if (call->err != 0 && !unseen)
		session_fail(s, call->err, &call->why);
	else if (filter_id(s) != 0)
		session_fail(s, ERR_NOMEM, NULL);
}

/*
 * The logs' id is the replication's or, where a function filters, made of both: what another function of the same name kept back
 * may pass now.
 */
static int
filter_begin(struct session *s)
{
	struct peer *source = s->config.source;
	struct jstr ddoc, name;
	struct buf id;

	memcpy(s->log_id, s->spec->id, REP_ID_LEN);
	if (!split_filter(s, &ddoc, &name))
		return 0;
	buf_init_arena(&id, s->arena, LIMIT_ID_LEN);
	buf_puts(&id, "_design/");
	if (buf_put(&id, ddoc.s, ddoc.len) != 0)
		return ERR_NOMEM;
	s->filter_read = (struct peer_read){.id = {id.data, id.len}, .call.arena = s->arena};
	session_flight(&s->filter_flight, s, source, &s->filter_read.call, filter_read, s);
	source->ops->read(source, &s->filter_read);
	return 0;
}

void
session_info(struct session *s)
{
	size_t i;

	s->phase = SESSION_INFO;
	for (i = 0; i < 2; i++) {
		struct peer *peer = i == SOURCE ? s->config.source : s->config.target;

		s->info[i].call.arena = s->logs[i].arena;
		session_flight(&s->info_flight[i], s, peer, &s->info[i].call, informed, s);
		peer->ops->info(peer, &s->info[i]);
	}
	if (filter_begin(s) != 0)
		session_fail(s, ERR_NOMEM, NULL);
}

static int
log_take(struct log_end *l)
{
	struct jstr none = {"", 0};
	int missing = l->local.call.err == ERR_MISSING;

	if (l->local.call.err != 0 && !missing)
		return l->local.call.err;
	if (!missing && buf_put(&l->rev, l->local.rev.s, l->local.rev.len) != 0)
		return ERR_NOMEM;
	return checkpoint_read(missing ? none : l->local.body, &l->found);
}

static void
log_read(void *owner)
{
	struct session *s = owner;
	size_t i;
	int err;

	if (s->logs[SOURCE].flight.link != NULL || s->logs[TARGET].flight.link != NULL || session_over(s))
		return;
	for (i = 0; i < 2; i++)
		if ((err = log_take(&s->logs[i])) != 0)
			session_fail(s, err, &s->logs[i].local.call.why);
	if (s->err == 0 && s->spec->since.len == 0 &&
	    (err = checkpoint_common(s->logs[SOURCE].found, s->logs[TARGET].found, s->arena, &s->start)) != 0)
		session_fail(s, err, NULL);
}

void
session_logs(struct session *s)
{
	size_t i;

	s->phase = SESSION_LOGS;
	s->start = s->spec->since;
	if (!s->spec->checkpoints) {
		if (checkpoint_read((struct jstr){"", 0}, &s->logs[SOURCE].found) != 0 ||
		    checkpoint_read((struct jstr){"", 0}, &s->logs[TARGET].found) != 0)
			session_fail(s, ERR_NOMEM, NULL);
		return;
	}
	for (i = 0; i < 2; i++) {
		struct peer *peer = i == SOURCE ? s->config.source : s->config.target;
		struct log_end *l = &s->logs[i];

		l->local.call.arena = l->arena;
		l->local.id = (struct jstr){s->log_id, REP_ID_LEN};
		session_flight(&l->flight, s, peer, &l->local.call, log_read, s);
		peer->ops->local_get(peer, &l->local);
	}
}
