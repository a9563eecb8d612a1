/* config.h: the server's configuration: one YAML file with CouchDB's sections and names, command line and environment on top. */
#ifndef HTTPAPI_CONFIG_H_
#define HTTPAPI_CONFIG_H_

#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

/* Opaque: sections of keys with string values, safe to read from any thread. */
struct config;

/**
 * config_new(cp): The defaults.  config_load(c, path, why): Lay a YAML file over them: a mapping of sections, each a mapping of
 * scalars (lists become comma-separated text).  Errors: ERR_IO, ERR_BAD_REQUEST with path and line in ${why}.
 */
int config_new(struct config **cp) MUST_CHECK;
int config_load(struct config *c, const char *path, struct errtext *why) MUST_CHECK;
void config_free(struct config *c);

/** config_set(c, section, key, value): Copies its strings.  Errors: ERR_NOMEM. */
int config_set(struct config *c, const char *section, const char *key, const char *value) MUST_CHECK;

/** config_get(c, section, key, dflt): The value, which lives as long as ${c} (values that were replaced are kept until then), or ${dflt}. */
const char *config_get(const struct config *c, const char *section, const char *key, const char *dflt);
uint64_t config_u64(const struct config *c, const char *section, const char *key, uint64_t dflt);
int config_bool(const struct config *c, const char *section, const char *key, int dflt);

/** config_each(c, section, fn, cookie): Every key of a section in order, until ${fn} returns not 0. */
int config_each(const struct config *c, const char *section, int (*fn)(const char *key, const char *value, void *cookie), void *cookie);

#endif
