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

/** confine_files(c): Nothing is written outside of ${c}'s folders; 0 if the kernel cannot do that, its version of it, or -1 with errno. */
int confine_files(const struct confine *c);

/** confine_calls(exe): Only the system calls in the table, and ${exe} alone is executed.  0, or an errno. */
int confine_calls(const char *exe) MUST_CHECK;

#endif
