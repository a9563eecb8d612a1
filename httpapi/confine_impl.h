/* confine_impl.h: the walls one by one.  Private to confine*.c. */
#ifndef HTTPAPI_CONFINE_IMPL_H_
#define HTTPAPI_CONFINE_IMPL_H_

#include "confine.h"

/**
 * confine_caps_bound(): No program that is executed has any, who root may be; for who has the right to do that, else
 * nothing.  confine_caps_keep(): Of one's own the one to listen on low ports alone, also after a change of user.
 * confine_caps_drop(): None, for good.  Errors: ERR_INTERNAL with a log line.
 */
void confine_caps_bound(void);
int confine_caps_keep(void) MUST_CHECK;
int confine_caps_drop(void) MUST_CHECK;

/**
 * confine_files(c, versionp): Nothing is written outside of ${c}'s folders; *${versionp} is the kernel's version of what
 * does that, 0 if it has none.  Errors: ERR_IO with a log line.
 * confine_calls(exe, donep): Only the system calls in the table, and ${exe} alone is executed; *${donep} is 0 if the
 * kernel cannot do that.  Errors: ERR_NOMEM.
 */
int confine_files(const struct confine *c, int *versionp) MUST_CHECK;
int confine_calls(const char *exe, int *donep) MUST_CHECK;

#endif
