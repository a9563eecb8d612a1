/* copyfile.h: databases as files over HTTP. */
#ifndef HTTPAPI_COPYFILE_H_
#define HTTPAPI_COPYFILE_H_

#include "base/err.h"
#include "base/exec.h"
#include "httpapi/api.h"

/**
 * copyfile_new(api, copier, dir): What GET /{db}/_copy needs: ${copier}, an executor of one thread, so that one copy
 * is made at a time and holds up no other work; and ${dir}, the data folder, where copies lie while they are sent.
 * Both are borrowed.  copyfile_free(api) frees it; every request has ended.  Errors: ERR_NOMEM.
 */
int copyfile_new(struct api *api, struct executor *copier, const char *dir) MUST_CHECK;
void copyfile_free(struct api *api);

#endif
