/* sandbox.h: what a divan-js gives up before it sees a user's text.  Private to script/. */
#ifndef SCRIPT_SANDBOX_H_
#define SCRIPT_SANDBOX_H_

#include <stddef.h>
#include "base/err.h"

/** sandbox_begin(): Before the engine is loaded: no descriptor but SCRIPT_FD and standard error, no core, no files, no new privileges. */
int sandbox_begin(void) MUST_CHECK;

/**
 * sandbox_close(memory): Once the engine has run: at most ${memory} bytes of address space more than now, and no system calls but those
 * of a computation.  Opening a file fails with EACCES; most others end the process.  For good.  Errors: ERR_INTERNAL.
 */
int sandbox_close(size_t memory) MUST_CHECK;

/** sandbox_probe(what): Try what is forbidden ("open", "socket", ...); 1: it was done; 0: it failed; -1: unknown.  For the tests. */
int sandbox_probe(const char *what);

#endif
