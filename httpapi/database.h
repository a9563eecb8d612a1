/* database.h: what others show of a database as a whole. */
#ifndef HTTPAPI_DATABASE_H_
#define HTTPAPI_DATABASE_H_

#include "httpapi/api.h"

/** database_put_info(b, db, name): Append the object that GET /{db} answers. */
int database_put_info(struct buf *b, struct db *db, const char *name) MUST_CHECK;

#endif
