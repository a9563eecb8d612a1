/* library.h: shared libraries that are loaded by who needs them first, since a server that does without is smaller. */
#ifndef BASE_LIBRARY_H_
#define BASE_LIBRARY_H_

#include "err.h"

/**
 * library_load(name, libp): Load the shared library ${name} for good, its names seen by nobody but library_find().  From any
 * thread.
 * Errors: ERR_BUSY: no descriptor is left, ERR_NOMEM, which both may pass; ERR_NOT_IMPLEMENTED: it is not installed, or
 * not what it should be.  What the loader says is logged.
 */
int library_load(const char *name, void **libp) MUST_CHECK;

/** library_find(lib, name, fnp): Into ${fnp}, a pointer to a pointer to a function, what the library calls ${name}; NULL and 0 if nothing. */
int library_find(void *lib, const char *name, void *fnp);

#endif
