/*
 * config_impl.h: the layers of the configuration, for who fills them: the start, the reload and changes over HTTP.
 *
 *	running   changed over HTTP, until the next reload or start
 *	given     environment and command line
 *	kept      changed over HTTP and written to the data folder
 *	file      the YAML file
 *	built-in  what clients ask for without anybody having set it
 *
 * The uppermost layer that says something of a setting counts.  What it says may be config_gone: that there is no value.
 */
#ifndef HTTPAPI_CONFIG_IMPL_H_
#define HTTPAPI_CONFIG_IMPL_H_

#include "httpapi/config.h"

enum config_layer { CONFIG_BUILT_IN, CONFIG_FILE, CONFIG_KEPT, CONFIG_GIVEN, CONFIG_RUNNING };
#define CONFIG_LAYERS 5

extern const char config_gone[]; /* told by its address */

/** config_put(c, layer, section, key, value): config_set() of one layer; ${value} NULL: it says nothing. */
int config_put(
    struct config *c, enum config_layer layer, const char *section, const char *key, const char *value) MUST_CHECK;
/** config_at(c, layer, section, key): What ${layer} says, config_gone or NULL. */
const char *config_at(struct config *c, enum config_layer layer, const char *section, const char *key);
/** config_at_each(c, layer, fn, cookie): config_all() of one layer; ${value} may be config_gone.  ${fn} changes
 * nothing here. */
int config_at_each(struct config *c, enum config_layer layer,
    int (*fn)(const char *section, const char *key, const char *value, void *cookie), void *cookie);
/**
 * config_replace(c, from): The layers file and kept become ${from}'s, running becomes empty; then what has changed is
 * announced.  Errors: ERR_NOMEM, nothing has changed then.
 */
int config_replace(struct config *c, const struct config *from) MUST_CHECK;
/**
 * config_wipe(c): Overwrite the values that no layer has any more.  Only while no other thread may look at one: before
 * the server runs.
 */
void config_wipe(struct config *c);

/**
 * config_file_load(c, layer, path, why): config_load() into ${layer}.  Of the layers file and kept the table of known
 * settings is asked: what it does not know is set with a warning; a wrong value is an error in a file, and left out
 * with a warning from what was kept, where "~" is config_gone.
 */
int config_file_load(struct config *c, enum config_layer layer, const char *path, struct errtext *why) MUST_CHECK;

/**
 * config_place(c, file, folder): Where the YAML file is, and the data folder; NULL: there is none.  Before others look.
 * config_file(c), config_folder(c): The same as it was set.
 */
int config_place(struct config *c, const char *file, const char *folder) MUST_CHECK;
const char *config_file(const struct config *c);
const char *config_folder(const struct config *c);

/**
 * config_kept_hold(), config_kept_release(): Nothing is changed over HTTP in between: who reads the files again and puts
 * in place what they say would undo what came behind the reading.
 */
void config_kept_hold(void);
void config_kept_release(void);
/** config_kept_load(c, why): Lay what was kept in the data folder over ${c}.  Errors as config_load(). */
int config_kept_load(struct config *c, struct errtext *why) MUST_CHECK;
/**
 * config_kept_drop(c, section, key): Forget what was kept of a setting, there and in ${c}.  Errors: as config_change().
 */
int config_kept_drop(struct config *c, const char *section, const char *key) MUST_CHECK;

#endif
