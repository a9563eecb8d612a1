/* repdocs.h: the rules of the databases that hold replication documents:
 * `_replicator` and `.../_replicator`. */
#ifndef HTTPAPI_REPDOCS_H_
#define HTTPAPI_REPDOCS_H_

#include "httpapi/api.h"

/** repdocs_init(api): Make api->repdocs ready, before a database is opened. */
void repdocs_init(struct api *api);

/** repdocs_rules(api, name): The rules of database ${name}, or NULL. */
const struct db_rules *repdocs_rules(struct api *api, const char *name);

#endif
