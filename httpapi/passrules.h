/* passrules.h: what a new password must look like: chttpd_auth/password_regexp. */
#ifndef HTTPAPI_PASSRULES_H_
#define HTTPAPI_PASSRULES_H_

#include "base/err.h"
#include "base/jread.h"

/**
 * passrules_check(setting, password, why): Does ${password} match each regular expression of ${setting}, a list as CouchDB
 * writes it: ["RE", {"RE"}, {"RE", "reason"}]?  Empty: there is none.  Errors: ERR_BAD_REQUEST with the requirement that
 * is not met in ${why}; ERR_FORBIDDEN where the setting is no such list; ERR_NOMEM.
 */
int passrules_check(const char *setting, struct jstr password, struct errtext *why) MUST_CHECK;

#endif
