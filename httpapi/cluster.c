/*
 * cluster.c: what a cluster would answer, as the single node that this is: _shards, _sync_shards,
 * _cluster_setup.
 */
#include <string.h>

#include "api.h"
#include "base/limits.h"

#define ALL_SHARDS "00000000-ffffffff"

/* /{db}/_shards, /{db}/_shards/{id}: one range holds everything. */
void
cluster_shards(struct apireq *r)
{
	struct buf b;

	buf_init(&b, 256);
	if (r->nparts > 2)
		buf_puts(&b, "{\"range\":\"" ALL_SHARDS "\",\"nodes\":[\"" API_NODE "\"]}");
	else
		buf_puts(&b, "{\"shards\":{\"" ALL_SHARDS "\":[\"" API_NODE "\"]}}");
	api_json(r, 200, &b);
}

/* /{db}/_sync_shards: there is no other copy to agree with. */
void
cluster_sync_shards(struct apireq *r)
{
	api_ok(r, 202);
}

/* /_cluster_setup: set up from the start, so every step is already taken. */
void
cluster_setup(struct apireq *r)
{
	struct buf b;
	int get = strcmp(r->method, "GET") == 0;

	if (!get && !api_is_json(r)) {
		api_error(r, ERR_CONTENT_TYPE, NULL);
		return;
	}
	buf_init(&b, 64);
	buf_puts(&b, get ? "{\"state\":\"single_node_enabled\"}" : "{\"ok\":true}");
	api_json(r, get ? 200 : 201, &b);
}
