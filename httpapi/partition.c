/*
 * partition.c: _partition/{p}: the documents of one partition, whose ids begin with its name and a
 * colon.
 */
#include <string.h>

#include "api.h"
#include "base/limits.h"

int
partition_ids(struct arena *a, const struct jstr *name, struct jstr *firstp, struct jstr *behindp)
{
	size_t len = name->len + 1;
	char *text;

	if (name->len > LIMIT_ID_LEN)
		return ERR_TOO_LARGE;
	if ((text = arena_alloc(a, 2 * len)) == NULL)
		return ERR_NOMEM;
	memcpy(text, name->s, name->len);
	memcpy(text + len, name->s, name->len);
	text[len - 1] = ':';
	text[2 * len - 1] = ';'; /* the character after the colon */
	*firstp = (struct jstr){text, len};
	*behindp = (struct jstr){text + len, len};
	return 0;
}

/* Of the information; lives in the request's arena. */
struct summed {
	struct db_docs_sum sum;
	int err;
};

static void
sum_work(struct apireq *r)
{
	struct summed *n = r->cookie;
	struct db_range range = {.has_start = 1, .has_end = 1, .exclusive_end = 1};
	struct db_snap *snap;

	if ((n->err = partition_ids(r->arena, &r->part[2], &range.start, &range.end)) != 0 ||
	    (n->err = db_snap_begin(r->db, &snap)) != 0)
		return;
	n->err = db_docs_sum(snap, &range, &n->sum);
	db_snap_end(snap);
}

static void
summed(struct apireq *r)
{
	const struct summed *n = r->cookie;
	const struct db_docs_sum *sum = &n->sum;
	struct buf b;
	int err = n->err;

	buf_init(&b, 65536);
	if (err == 0) {
		buf_puts(&b, "{\"db_name\":");
		buf_put_json(&b, r->part[0].s, r->part[0].len);
		buf_printf(&b, ",\"sizes\":{\"active\":%llu,\"external\":%llu},\"partition\":",
		    (unsigned long long)sum->stored_bytes, (unsigned long long)sum->external_bytes);
		buf_put_json(&b, r->part[2].s, r->part[2].len);
		buf_printf(&b, ",\"doc_count\":%llu,\"doc_del_count\":%llu}", (unsigned long long)sum->live,
		    (unsigned long long)sum->deleted);
		err = buf_failed(&b);
	}
	if (err != 0) {
		buf_release(&b);
		api_error(r, err, NULL);
		return;
	}
	api_json(r, 200, &b);
}

/* info: Of a partition nothing is counted as it is written: its documents are walked, elsewhere. */
static void
info(struct apireq *r)
{
	if ((r->cookie = arena_calloc(r->arena, 1, sizeof(struct summed))) == NULL)
		api_error(r, ERR_NOMEM, NULL);
	else
		(void)api_work(r, sum_work, summed);
}

const char *
partition_check(const struct jstr *name)
{
	if (name->len == 0)
		return "Partition must not be empty";
	if (name->s[0] == '_')
		return "Partition must not start with an underscore";
	if (!jread_utf8_ok(name->s, name->len))
		return "Partition must be valid UTF-8";
	return memchr(name->s, ':', name->len) != NULL ? "Partition must not contain a colon" : NULL;
}

/* CouchDB looks at the first letter of a name, and no further. */
static void
refuse_post(struct apireq *r)
{
	if (r->part[2].s[0] == '_')
		api_error_text(r, 400, "illegal_partition", partition_check(&r->part[2]));
	else
		api_method_not_allowed(r, "GET");
}

/* Indexes are of the whole database, whichever partition stands before them. */
static void
index_place(struct apireq *r)
{
	if (r->nparts == 4)
		find_index_any(r);
	else if (strcmp(r->method, "DELETE") == 0)
		find_index_delete(r);
	else
		find_index_bulk_delete(r);
}

void
partition_any(struct apireq *r)
{
	const struct jstr *said = api_param(r, "partition");
	struct db_info db;
	const char *wrong = r->nparts < 3 ? NULL : partition_check(&r->part[2]);
	int err;

	if (r->nparts < 3) {
		api_error_text(r, 400, "bad_request", "invalid_partition_req");
		return;
	}
	if (r->nparts == 3 && strcmp(r->method, "POST") == 0) {
		refuse_post(r);
		return;
	}
	/* Of the two, a partition's own place looks at its name first. */
	if ((err = db_info(r->db, &db)) != 0)
		api_error(r, err, NULL);
	else if (!db.partitioned && (wrong == NULL || r->nparts > 3))
		api_error_text(r, 400, "bad_request", "database is not partitioned");
	else if (wrong != NULL)
		api_error_text(r, 400, "illegal_partition", wrong);
	else if (r->nparts == 3)
		info(r);
	else if (said != NULL && !jstr_equal(*said, r->part[2]))
		api_error_text(r, 400, "bad_request", "Conflicting value for `partition` in query string");
	else if (jstr_is(&r->part[3], "_all_docs") &&
		 (r->nparts == 4 || (r->nparts == 5 && jstr_is(&r->part[4], "queries"))))
		alldocs_partition(r);
	else if (jstr_is(&r->part[3], "_design") &&
		 (r->nparts == 7 || (r->nparts == 8 && jstr_is(&r->part[7], "queries"))) &&
		 jstr_is(&r->part[5], "_view"))
		view_partition(r);
	else if (jstr_is(&r->part[3], "_index"))
		index_place(r);
	else if (jstr_is(&r->part[3], "_find") && r->nparts == 4)
		find_post(r);
	else if (jstr_is(&r->part[3], "_explain") && r->nparts == 4)
		find_explain(r);
	else
		api_error(r, ERR_MISSING, NULL);
}
