/*
 * Rules and validators: who is asked before a document is written, and what they are told.
 */
#include "dbi.h"

int
db_may_list(const struct db *db)
{
	const struct db_rules *rules = db->file->rules;

	return rules != NULL && rules->list_admin_only && !db->by.who->server_admin ? ERR_NOT_ADMIN : 0;
}

int
db_shows_alike(const struct db *db)
{
	const struct db_rules *rules = db->file->rules;

	return rules == NULL || (rules->may_read == NULL && rules->shown == NULL);
}

int
db_writes_slowly(const struct db *db)
{
	const struct db_rules *rules = db->file->rules;

	return rules != NULL && (rules->before_write != NULL || rules->validate != NULL);
}

int
db_judged_json(struct buf *b, const struct jstr *id, const struct db_judged *doc)
{
	struct doc_out d = {.id = *id,
	    .deleted = doc->deleted,
	    .body = doc->body,
	    .atts = doc->atts,
	    .natts = doc->natts,
	    .revisions = doc->path,
	    .nrevisions = doc->npath};

	if (doc->npath > 0)
		d.rev = doc->path[0];
	return doc_put_json(b, &d);
}
