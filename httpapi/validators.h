/* validators.h: validate_doc_update of design documents. */
#ifndef HTTPAPI_VALIDATORS_H_
#define HTTPAPI_VALIDATORS_H_

#include "httpapi/api.h"

/** validators_run(api, h): The db_validate_f of users' JavaScript: struct dbs_config's validate.  ${cookie} is the struct api. */
int validators_run(void *cookie, struct db_hearing *h);

#endif
