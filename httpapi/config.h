/*
 * config.h: the server's configuration in CouchDB's sections and names: a YAML file, what was changed
 * over HTTP, environment and command line on top.
 */
#ifndef HTTPAPI_CONFIG_H_
#define HTTPAPI_CONFIG_H_

#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

/* Opaque: sections of keys with string values, safe to read and change from any thread. */
struct config;

/**
 * config_new(cp): An empty configuration: who reads a value brings its default.  config_load(c,
 * path, why): Lay a YAML file over it: a mapping of sections, each a mapping of scalars (lists
 * become comma-separated text).  Errors: ERR_IO (the file cannot be read), ERR_NOMEM,
 * ERR_BAD_REQUEST with path and line in ${why}; what stood before the fault is then set.
 */
int config_new(struct config **cp) MUST_CHECK;
int config_load(struct config *c, const char *path, struct errtext *why) MUST_CHECK;
void config_free(struct config *c);

/** config_set(c, section, key, value): Copies its strings; ${value} NULL unsets.  Errors: ERR_NOMEM. */
int config_set(struct config *c, const char *section, const char *key, const char *value) MUST_CHECK;

/**
 * config_get(c, section, key, dflt): The value, which lives as long as ${c} (values that were
 * replaced are kept until then), or ${dflt}: also for an empty one of what is no CONFIG_TEXT.
 */
const char *config_get(const struct config *c, const char *section, const char *key, const char *dflt);
/** config_shown(c, section, key): The value as it was set, also an empty one; it lives as long.  NULL: it is not set. */
const char *config_shown(const struct config *c, const char *section, const char *key);
/** config_get_auth(c, key, dflt): The value of ${key} in chttpd_auth, or as CouchDB in couch_httpd_auth, or ${dflt}. */
const char *config_get_auth(const struct config *c, const char *key, const char *dflt);
/**
 * config_u64, config_bool: ${dflt} also where the value is no number; "true", "1", "yes" and "on",
 * or "false", "0", "no" and "off".
 */
uint64_t config_u64(const struct config *c, const char *section, const char *key, uint64_t dflt);
int config_bool(const struct config *c, const char *section, const char *key, int dflt);

/**
 * config_each(c, section, fn, cookie): Every key of a section, in the order in which they were
 * first set, until ${fn} returns not 0.
 */
int config_each(const struct config *c, const char *section,
    int (*fn)(const char *key, const char *value, void *cookie), void *cookie);
/** config_all(c, fn, cookie): The same for every key of every section. */
int config_all(const struct config *c, int (*fn)(const char *section, const char *key, const char *value, void *cookie),
    void *cookie);

/**
 * config_on_change(c, fn, cookie): Call ${fn} for each setting whose value has changed, by
 * config_set(), over HTTP or by a reload, once config_get() has the new one and before the change is
 * acknowledged.  It is called on the thread that changes (an executor's, or the one that handles
 * signals), one call at a time, so that whoever reads all its settings anew always ends with the
 * latest; it changes no setting itself, and does not wait.  Who only reads on use needs none.
 * ${cookie} lives as long as changes come.  Errors: ERR_NOMEM.
 */
typedef void config_change_f(const char *section, const char *key, void *cookie);
int config_on_change(struct config *c, config_change_f *fn, void *cookie) MUST_CHECK;

/**
 * config_change(c, section, key, value, keep): What PUT does, and with ${value} NULL DELETE: the value holds at once,
 * and with ${keep} after a restart too, since it is written to local.yaml in the data folder.  A value that was put
 * is deleted to what the file, the environment or the command line says; what these say is deleted to the default, and so is an
 * administrator always.  Not on an event loop: it syncs a file.  Errors: as setup_write(), ERR_NOMEM, ERR_TOO_LARGE; the value is then what it was.
 */
int config_change(struct config *c, const char *section, const char *key, const char *value, int keep) MUST_CHECK;

#endif
