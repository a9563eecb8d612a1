/*
 * cluster.c: what a cluster would answer, as the single node that this is: _shards, _sync_shards,
 * _cluster_setup, _reshard.
 */
#include <string.h>

#include "api.h"
#include "base/limits.h"

#define ALL_SHARDS "00000000-ffffffff"

static void
reply_text(struct apireq *r, const char *text)
{
	struct buf b;

	buf_init(&b, 256);
	buf_puts(&b, text);
	api_json(r, 200, &b);
}

/* /{db}/_shards, /{db}/_shards/{id}: one range holds everything. */
void
cluster_shards(struct apireq *r)
{
	if (r->nparts > 2)
		reply_text(r, "{\"range\":\"" ALL_SHARDS "\",\"nodes\":[\"" API_NODE "\"]}");
	else
		reply_text(r, "{\"shards\":{\"" ALL_SHARDS "\":[\"" API_NODE "\"]}}");
}

/* /{db}/_sync_shards: there is no other copy to agree with. */
void
cluster_sync_shards(struct apireq *r)
{
	api_ok(r, 202);
}

/* read_action: What step is asked for; "" where none is named. */
static int
read_action(struct jstr body, struct buf *scratch, struct jstr *actionp, struct errtext *why)
{
	struct jread j;
	int err;

	*actionp = (struct jstr){"", 0};
	jread_init(&j, body.s, body.len);
	if (jread_peek(&j) != JREAD_OBJECT || jread_skip(&j, NULL) != 0 || jread_end(&j) != 0)
		return err_why(why, ERR_BAD_REQUEST, "Missing JSON body'");
	jread_init(&j, body.s, body.len);
	if ((err = jread_find(&j, scratch, (struct jstr){"action", 6})) == 0 && jread_peek(&j) == JREAD_STRING)
		err = jread_string(&j, scratch, actionp);
	return err == ERR_END ? 0 : err;
}

/* Set up from the start, so every step of one node is already taken. */
static void
setup(struct apireq *r)
{
	static const char *const taken[] = {"enable_single_node", "enable_cluster", "finish_cluster", "remove_node"};
	struct errtext why = {""};
	struct jstr body, action;
	struct buf scratch;
	int err = api_body(r, &body, &why), known = 0;

	buf_init(&scratch, body.len + API_SCRATCH);
	if (err == 0)
		err = read_action(body, &scratch, &action, &why);
	for (size_t i = 0; err == 0 && i < sizeof(taken) / sizeof(taken[0]); i++)
		known |= jstr_is(&action, taken[i]);
	if (err == 0 && jstr_is(&action, "add_node"))
		err = err_why(&why, ERR_BAD_REQUEST, "Cluster is not enabled.");
	else if (err == 0 && !known)
		err = err_why(&why, ERR_BAD_REQUEST, "Invalid Action'");
	buf_release(&scratch);
	if (err != 0)
		api_error(r, err, &why);
	else
		api_ok(r, 201);
}

/* /_cluster_setup */
void
cluster_setup(struct apireq *r)
{
	if (strcmp(r->method, "GET") == 0)
		reply_text(r, "{\"state\":\"single_node_enabled\"}");
	else if (api_json_post(r))
		setup(r);
}

/* ---- Shards that are split: here there is one of each database, and it stays one ---- */

/* CouchDB's words where splitting is switched off. */
static void
refuse_split(struct apireq *r)
{
	api_error_text(r, 501, "not_implemented", "this feature is not yet implemented");
}

void
cluster_reshard(struct apireq *r)
{
	reply_text(r, "{\"state\":\"running\",\"state_reason\":null,\"completed\":0,\"failed\":0,\"running\":0"
		      ",\"stopped\":0,\"total\":0}");
}

void
cluster_reshard_state(struct apireq *r)
{
	if (strcmp(r->method, "PUT") == 0)
		refuse_split(r);
	else
		reply_text(r, "{\"state\":\"running\",\"reason\":null}");
}

void
cluster_reshard_jobs(struct apireq *r)
{
	if (strcmp(r->method, "POST") == 0)
		refuse_split(r);
	else
		reply_text(r, "{\"total_rows\":0,\"offset\":0,\"jobs\":[]}");
}

void
cluster_reshard_job(struct apireq *r)
{
	api_error(r, ERR_MISSING, NULL);
}
