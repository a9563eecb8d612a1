/*
 * node.c: /_node/{name}: the one node: its configuration, and what monitoring asks for.
 */
#include "node.h"

static void
about(struct apireq *r, const char *what)
{
	struct buf b;

	buf_init(&b, 4096);
	buf_puts(&b, what);
	api_json(r, 200, &b);
}

static int
is_this(const struct apireq *r)
{
	static const char *const names[] = {"_local", API_NODE, "nonode@nohost"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (jstr_is(&r->part[1], names[i]))
			return 1;
	return 0;
}

void
node_any(struct apireq *r)
{
	const char *what = r->nparts > 2 ? r->part[2].s : "";
	struct errtext why;

	if (r->nparts < 2)
		api_error_text(r, 400, "bad_request", "Incomplete path to _node request");
	else if (!is_this(r))
		api_error(r, err_why(&why, ERR_MISSING, "no such node: %.*s", (int)r->part[1].len, r->part[1].s), &why);
	else if (r->nparts == 2)
		about(r, "{\"name\":\"" API_NODE "\"}");
	else if (strcmp(what, "_config") == 0 && r->nparts > 5)
		api_error(r, ERR_MISSING, NULL);
	else if (strcmp(what, "_config") == 0)
		node_config(r);
	else if (strcmp(what, "_stats") == 0)
		node_stats(r);
	else if (strcmp(what, "_prometheus") == 0)
		node_prometheus(r);
	else if (strcmp(what, "_system") == 0)
		node_system(r);
	else if (strcmp(what, "_smoosh") == 0 && r->nparts == 4 && strcmp(r->part[3].s, "status") == 0)
		about(r, "{\"channels\":{}}");
	else if (strcmp(what, "_versions") == 0)
		about(r, "{\"collation_driver\":{\"name\":\"libicu\"},"
			 "\"javascript_engine\":{\"name\":\"javascriptcore\"}}");
	else
		api_error(r, ERR_MISSING, NULL);
}
