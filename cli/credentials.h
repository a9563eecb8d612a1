/* credentials.h: who asks a server.  Passwords never stand on a command line, where others can read them. */
#ifndef CLI_CREDENTIALS_H_
#define CLI_CREDENTIALS_H_

#include "base/err.h"

struct credentials {
	char name[256];      /* "": none */
	char password[4096]; /* as much as a terminal's line has */
	int has_password;
};

/**
 * credentials_find(c, user): From the environment, as divand reads it: DIVAN_ADMIN=name:password, else COUCHDB_USER and
 * COUCHDB_PASSWORD; where ${user} is not NULL, only those of that name.  Errors: ERR_TOO_LARGE, they do not fit, and nothing is cut.
 */
int credentials_find(struct credentials *c, const char *user) MUST_CHECK;

/**
 * credentials_ask(c, url): Ask for the password at the terminal, without echo; where there is no name yet, it is
 * "admin".  Errors: ERR_MISSING, there is no terminal or nothing was typed.
 */
int credentials_ask(struct credentials *c, const char *url) MUST_CHECK;

#endif
