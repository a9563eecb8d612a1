/*
 * search.c: places of full-text search, which is not served: they answer as those of a CouchDB that has neither of its
 * search services.
 */
#include "httpapi/edit.h"

/* Whether there is a design document stands before whether it can be searched. */
static int
look_for_ddoc(struct apireq *r)
{
	struct jstr id;
	int err;

	if (r->nparts < 3)
		return 0;
	err = api_ddoc_id(r, r->part[2], &id);
	return err == 0 ? edit_look(r, id) : err;
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
	api_ok(r, 202);
}
