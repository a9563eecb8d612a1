/* peruser.h: a database of one's own for each user: CouchDB's couch_peruser. */
#ifndef HTTPAPI_PERUSER_H_
#define HTTPAPI_PERUSER_H_

#include "httpapi/api.h"

/* Opaque. */
struct peruser;

/** peruser_new(api, pp): Nothing is done before peruser_look().  Errors: ERR_NOMEM. */
int peruser_new(struct api *api, struct peruser **pp) MUST_CHECK;

/**
 * peruser_look(p, anew): The database of accounts has changed: go on in the background, where couch_peruser/enable is true.  With
 * ${anew}, as at the start and where settings have changed, all users are looked at.  Any thread.
 */
void peruser_look(struct peruser *p, int anew);

/** peruser_stop(p): End the work; what is not done yet is done after the next start.  peruser_free(p): After it; NULL is allowed. */
void peruser_stop(struct peruser *p);
void peruser_free(struct peruser *p);

/** peruser_database(prefix, name, len, b): Append the name of the database of user ${name}: ${prefix} and the name's bytes in hexadecimal. */
int peruser_database(const char *prefix, const char *name, size_t len, struct buf *b);

/**
 * peruser_security(text, name, add, out, changedp): The security object ${text} with ${name} among the names of its
 * administrators and members, or without ${add} in neither; *${changedp} is 0 if that is what it is.  Errors: ERR_BAD_JSON, ${out}'s.
 */
int peruser_security(struct jstr text, struct jstr name, int add, struct buf *out, int *changedp) MUST_CHECK;

#endif
