/*
 * setup.h: what divand finds or makes in its data folder before it opens a database: the lock, the
 * server's uuid, the administrators.
 */
#ifndef HTTPAPI_SETUP_H_
#define HTTPAPI_SETUP_H_

#include <stddef.h>
#include "base/err.h"
#include "httpapi/config.h"

/**
 * setup_data_dir(dir, lock_fdp): Make ${dir} if it is missing, lock it for this process and remove what an ended one left unfinished; for as
 * long as *${lock_fdp} is open.  Errors: ERR_LOCKED, ERR_IO, each with a log line.
 */
int setup_data_dir(const char *dir, int *lock_fdp) MUST_CHECK;

/**
 * setup_make_dir(path): Make a folder unless it is there, and see to it that a power cut does not take it away.  Errors: ERR_IO, with a
 * log line.
 */
int setup_make_dir(const char *path) MUST_CHECK;

#define SETUP_UUID_DIGITS 32u
#define SETUP_SECRET_DIGITS 64u

/**
 * setup_write(dir, name, text, len): Write the small file ${dir}/${name}, for this user alone, so
 * that it is there whole or not at all, and lasts.  Errors: err_errno()'s, with a log line; where the folder cannot be synced the file is
 * there, but a power cut may take it back.
 */
int setup_write(const char *dir, const char *name, const char *text, size_t len) MUST_CHECK;

/**
 * setup_uuid(dir, out), setup_secret(dir, out): The server's uuid, and the secret of its session
 * cookies where none is configured: hexadecimal digits and a NUL, drawn at the first start, then
 * read from ${dir}/uuid and ${dir}/secret.  Errors: ERR_IO with a log line.
 */
int setup_uuid(const char *dir, char out[SETUP_UUID_DIGITS + 1]) MUST_CHECK;
int setup_secret(const char *dir, char out[SETUP_SECRET_DIGITS + 1]) MUST_CHECK;

/**
 * setup_config(c, file, sets, n): Fill ${c} from the YAML file ${file} (may be NULL), the environment (DIVAN_SECTION__KEY:
 * of a setting that is known, with '_' for what is no letter or digit; else in lower case) and ${n} texts
 * "section/key=value" of the command line.  Errors: ERR_BAD_REQUEST, ERR_IO with a log line; ERR_NOMEM.
 * setup_reload(c, why): Read the file, and what was kept, again; what was changed only for the running server is
 * undone.  An error changes nothing.  Not on an event loop.
 */
int setup_config(struct config *c, const char *file, const char *const *sets, size_t n) MUST_CHECK;
int setup_reload(struct config *c, struct errtext *why) MUST_CHECK;

/** setup_notify(state): "READY=1" or the like to the service manager that asked for it by NOTIFY_SOCKET. */
void setup_notify(const char *state);

/**
 * setup_admins(c, dir): Complete section admins: the environment's (DIVAN_ADMIN=name:password, or
 * COUCHDB_USER and COUCHDB_PASSWORD, which are then taken out of it), and the first one of ${dir}/admins.yaml; plain
 * passwords are replaced by their hashes, which ${dir}/admins.yaml keeps so that sessions outlive a
 * restart.  If there is then none, the administrator "admin" is made, its random password shown on
 * standard error this once, and its hash kept in ${dir}/admins.yaml.  Errors: ERR_IO,
 * ERR_BAD_REQUEST, ERR_INTERNAL with a log line; ERR_NOMEM.
 * setup_admins_again(c, dir): The same of files that were read again, without the environment and a first one.
 */
int setup_admins(struct config *c, const char *dir) MUST_CHECK;
int setup_admins_again(struct config *c, const char *dir) MUST_CHECK;

#endif
