/*
 * search.c: places of full-text search, which is not served: they answer as those of a CouchDB that has neither of its
 * search services.
 */
#include "api.h"
#include "base/limits.h"

/* Whether there is a design document stands before whether it can be searched. */
static int
look_for_ddoc(struct apireq *r)
{
	struct db_snap *snap;
	struct db_doc doc;
	struct buf id;
	int err;

	if (r->nparts < 3)
		return 0;
	buf_init_arena(&id, r->arena, LIMIT_ID_LEN + 16);
	buf_puts(&id, "_design/");
	buf_put(&id, r->part[2].s, r->part[2].len);
	if ((err = buf_failed(&id)) != 0 || (err = db_snap_begin(r->db, &snap)) != 0)
		return err;
	err = db_get(snap, id.data, id.len, r->arena, &doc);
	if (err == 0 && doc.winner.deleted)
		err = ERR_DELETED;
	db_snap_end(snap);
	return err;
}

void
search_clouseau(struct apireq *r)
{
	int err = look_for_ddoc(r);

	if (err != 0)
		api_error(r, err, NULL);
	else
		api_error_text(r, 503, "service unavailable", "Search is not available");
}

void
search_nouveau(struct apireq *r)
{
	int err = look_for_ddoc(r);

	api_error(r, err != 0 ? err : ERR_MISSING, NULL);
}

void
search_cleanup(struct apireq *r)
{
	struct buf b;

	buf_init(&b, 64);
	buf_puts(&b, "{\"ok\":true}");
	api_json(r, 202, &b);
}
