/* background.c: a write that the server makes by itself. */
#include "background.h"

#include <string.h>

#include "base/limits.h"
#include "db/doc.h"

const struct principal *
background_server(void)
{
	static const struct principal server = {.server_admin = 1};

	return &server;
}

int
background_open(struct background *b, struct api *api, const char *name)
{
	int err;

	b->api = api;
	b->arena = NULL;
	b->db = NULL;
	err = db_open(api->dbs, name, background_server(), &b->db);
	if (err != 0) {
		b->db = NULL;
		return err;
	}
	err = arena_new(8u * LIMIT_BODY_LEN, &b->arena);
	if (err != 0)
		background_close(b);
	return err;
}

void
background_close(struct background *b)
{
	arena_free(b->arena);
	db_close(b->db);
	b->arena = NULL;
	b->db = NULL;
}

int
background_parse(struct background *b, struct jstr id, struct jstr text)
{
	struct doc_in in;
	struct jread j;
	int err;

	jread_init(&j, text.s, text.len);
	err = doc_parse(&j, b->arena, &in, NULL);
	if (err != 0)
		return err;
	b->w = (struct db_write){.kind = DB_WRITE_EDIT, .id = id, .body = in.body, .body_etf = in.body_etf};
	return 0;
}

static void
go_on(void *arg)
{
	struct background *b = arg;

	b->then(b);
}

/* Whoever is told last must not close what the committer still looks at. */
static void
done(struct db_request *req)
{
	struct background *b = req->cookie;

	b->api->ex->submit(b->api->ex, &b->job);
}

void
background_submit(struct background *b, void (*then)(struct background *b))
{
	int err;

	b->then = then;
	b->job = (struct exec_job){.fn = go_on, .arg = b};
	b->req = (struct db_request){.writes = &b->w, .nwrites = 1, .done = done, .cookie = b};
	err = db_submit(b->db, &b->req);
	if (err != 0) {
		b->w.err = err;
		done(&b->req);
	}
}
