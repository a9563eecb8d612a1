/*
 * salvage_write.c: of the salvage, what goes out: lines about losses, and writes, in batches that are waited for.
 */
#include "salvage_impl.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void
salvage_tell(struct salvage *s, const char *fmt, ...)
{
	char line[LIMIT_ID_LEN + 4096];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	s->out->lost++;
	s->out->tell(s->out->cookie, line);
}

void
salvage_tell_doc(struct salvage *s, struct jstr id, const char *how)
{
	s->out->lost_docs++;
	salvage_tell(s, "document %.*s: lost%s", SALVAGE_ID(id), how);
}

const char *
salvage_rev_text(struct salvage *s, const struct rev *r)
{
	struct buf b;

	buf_init_arena(&b, s->bodies, 2 * LIMIT_REV_LEN + 32);
	rev_put(&b, r);
	buf_putc(&b, '\0');
	return buf_failed(&b) == 0 ? b.data : "?";
}

/* ---- Requests, waited for ---- */

static void
finish(struct salvage *s, int err)
{
	(void)pthread_mutex_lock(&s->lock);
	s->done = 1;
	s->err = err;
	(void)pthread_cond_signal(&s->changed);
	(void)pthread_mutex_unlock(&s->lock);
}

static void
requested(struct db_request *req)
{
	finish(req->cookie, 0);
}

static void
flushed(void *cookie, int err)
{
	finish(cookie, err);
}

static int
wait_for(struct salvage *s)
{
	(void)pthread_mutex_lock(&s->lock);
	while (!s->done)
		(void)pthread_cond_wait(&s->changed, &s->lock);
	s->done = 0;
	(void)pthread_mutex_unlock(&s->lock);
	return s->err;
}

int
salvage_flush(struct salvage *s, struct db_blob *b)
{
	db_blob_flush(b, flushed, s);
	return wait_for(s);
}

/* is_fatal: What is no matter of one document. */
static int
is_fatal(int err)
{
	return err == ERR_IO || err == ERR_NOSPACE || err == ERR_READONLY || err == ERR_NOMEM || err == ERR_IN_DOUBT ||
	       err == ERR_BUSY;
}

int
salvage_submit(struct salvage *s, struct db_write *writes, size_t n)
{
	struct db_request req = {.writes = writes, .nwrites = n, .done = requested, .cookie = s};
	int err = db_submit(s->to, &req);

	if (err == 0)
		err = wait_for(s);
	for (size_t i = 0; i < n && err == 0; i++)
		if (is_fatal(writes[i].err))
			err = writes[i].err;
	return err;
}

int
salvage_commit(struct salvage *s)
{
	int err = s->nwrites > 0 ? salvage_submit(s, s->writes, s->nwrites) : 0;

	s->batches++;
	for (size_t i = 0; i < s->nwrites && err == 0; i++)
		if (s->writes[i].err != 0) {
			s->out->lost_revs++;
			salvage_tell(s, "document %.*s: revision %s is not taken: %s", SALVAGE_ID(s->writes[i].id),
			    s->writes[i].npath > 0 ? salvage_rev_text(s, &s->writes[i].path[0]) : "",
			    s->writes[i].why.text[0] != '\0' ? s->writes[i].why.text : err_reason(s->writes[i].err));
		}
	for (size_t i = 0; i < s->nblobs; i++)
		db_blob_free(s->blobs[i]);
	s->nwrites = s->nblobs = s->bytes = 0;
	arena_reset(s->bodies);
	return err;
}

int
salvage_is_full(const struct salvage *s)
{
	return s->nwrites == SALVAGE_WRITES || s->nblobs >= SALVAGE_BLOBS || s->bytes > SALVAGE_BYTES;
}
