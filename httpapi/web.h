/* web.h: the files of the built page, below /_utils/. */
#ifndef HTTPAPI_WEB_H_
#define HTTPAPI_WEB_H_

#include "httpapi/api.h"

/**
 * web_new(api): Set api->web.  The folder is config divan/web_dir, else "web" beside the
 * executable.  Errors: ERR_NOMEM.
 */
int web_new(struct api *api) MUST_CHECK;
void web_free(struct api *api);

#endif
