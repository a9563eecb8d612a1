/* designcheck.h: what may be written as a design document. */
#ifndef HTTPAPI_DESIGNCHECK_H_
#define HTTPAPI_DESIGNCHECK_H_

#include "httpapi/api.h"

/** designcheck_run(api, database, designs, n): struct dbs_config's check_design.  ${cookie} is the struct api. */
void designcheck_run(void *cookie, const char *database, struct db_design *designs, size_t n);

#endif
