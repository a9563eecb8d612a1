/* view_info.c: /{db}/_design/{d}/_info, /{db}/_compact/{ddoc} and /{db}/_view_cleanup: indexes as files. */
#include "api.h"

#include <stdio.h>

#include "base/limits.h"
#include "query/query.h"
#include "views/read.h"
#include "views/views.h"

#define ANSWER_MAX 16384u

/* A request; lives in its arena. */
struct request {
	struct jstr id; /* of the design document */
	struct buf b;
	int err;
};

static int
put_collator(struct buf *b)
{
	unsigned char v[QUERY_SORTKEY_VERSION];
	int err = query_sortkey_version(v);

	return err != 0 ? err : buf_printf(b, ",\"collator_versions\":[\"%u.%u\"]", v[1], v[2]);
}

static int
put_info(struct apireq *r, const struct jstr *name, struct view_index *ix, struct buf *b)
{
	struct read_info info;
	struct db_snap *snap;
	uint64_t pending;
	int err = read_info(ix, &info);

	if (err != 0 || (err = db_snap_begin(r->db, &snap)) != 0)
		return err;
	err = db_changes_pending(snap, info.seq, &pending);
	db_snap_end(snap);
	if (err != 0)
		return err;
	buf_puts(b, "{\"name\":");
	buf_put_json(b, name->s, name->len);
	/* Numbers, as in CouchDB: an index counts, and has no history of its own. */
	buf_printf(b,
	    ",\"view_index\":{\"updates_pending\":{\"minimum\":%llu,\"preferred\":%llu,\"total\":%llu}"
	    ",\"waiting_commit\":true,\"waiting_clients\":%u,\"updater_running\":%s,\"update_seq\":%llu",
	    (unsigned long long)pending, (unsigned long long)pending, (unsigned long long)pending, info.waiting,
	    info.updating ? "true" : "false", (unsigned long long)info.seq);
	buf_printf(b,
	    ",\"sizes\":{\"file\":%llu,\"external\":%llu,\"active\":%llu},\"signature\":\"%s\",\"purge_seq\":%llu",
	    (unsigned long long)info.file_bytes, (unsigned long long)info.active_bytes,
	    (unsigned long long)info.active_bytes, info.signature, (unsigned long long)info.purge_seq);
	buf_printf(b, ",\"language\":\"%s\",\"compact_running\":%s", info.language, info.compacting ? "true" : "false");
	err = put_collator(b);
	buf_puts(b, "}}");
	return err != 0 ? err : buf_failed(b);
}

/* ---- Jobs ---- */

static void
run_info(struct apireq *r)
{
	struct request *v = r->cookie;
	struct view_index *ix;

	v->err = views_open(r->api->views, r->db, r->part[0].s, v->id, &ix);
	if (v->err != 0)
		return;
	v->err = put_info(r, &r->part[2], ix, &v->b);
	views_close(ix);
}

static void
run_compact(struct apireq *r)
{
	struct request *v = r->cookie;
	struct view_index *ix;

	v->err = views_open(r->api->views, r->db, r->part[0].s, v->id, &ix);
	if (v->err == 0) {
		v->err = views_compact(ix);
		views_close(ix);
	} else if (v->err == ERR_NOT_IMPLEMENTED) {
		v->err = 0; /* a language that has no index here */
	} else if (v->err == ERR_DELETED) {
		v->err = ERR_MISSING;
	}
}

static void
run_cleanup(struct apireq *r)
{
	struct request *v = r->cookie;

	v->err = views_cleanup(r->api->views, r->db, r->part[0].s);
}

static void
reply_info(struct apireq *r)
{
	struct request *v = r->cookie;

	if (v->err == 0) {
		api_json(r, 200, &v->b);
		return;
	}
	buf_release(&v->b);
	api_error(r, v->err, NULL);
}

static void
reply_accepted(struct apireq *r)
{
	struct request *v = r->cookie;

	if (v->err != 0)
		api_error(r, v->err, NULL);
	else
		api_ok(r, 202);
}

static struct request *
request_new(struct apireq *r)
{
	struct request *v = arena_calloc(r->arena, 1, sizeof(*v));
	struct buf id;

	if (v == NULL)
		return NULL;
	r->cookie = v;
	buf_init(&v->b, ANSWER_MAX + 8 * LIMIT_ID_LEN);
	if (r->nparts < 3)
		return v;
	buf_init_arena(&id, r->arena, LIMIT_URL_LEN + 16);
	buf_puts(&id, "_design/");
	buf_put(&id, r->part[2].s, r->part[2].len);
	buf_putc(&id, '\0');
	v->id = (struct jstr){id.data, id.len - 1};
	return buf_failed(&id) ? NULL : v;
}

/* ---- Handlers ---- */

void
view_info(struct apireq *r)
{
	if (request_new(r) == NULL)
		api_error(r, ERR_NOMEM, NULL);
	else
		api_work(r, run_info, reply_info);
}

void
view_compact(struct apireq *r)
{
	if (!api_is_json(r))
		api_error(r, ERR_CONTENT_TYPE, NULL);
	else if (request_new(r) == NULL)
		api_error(r, ERR_NOMEM, NULL);
	else
		api_work(r, run_compact, reply_accepted);
}

void
view_cleanup(struct apireq *r)
{
	if (request_new(r) == NULL)
		api_error(r, ERR_NOMEM, NULL);
	else
		api_work_slow(r, run_cleanup, reply_accepted);
}
