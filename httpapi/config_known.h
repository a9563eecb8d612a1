/* config_known.h: the settings that divand reads: what each may be, its default, what it means. */
#ifndef HTTPAPI_CONFIG_KNOWN_H_
#define HTTPAPI_CONFIG_KNOWN_H_

#include <stdint.h>
#include <stdio.h>
#include "base/err.h"

enum config_type {
	CONFIG_TEXT,   /* any, also none */
	CONFIG_NAME,   /* any */
	CONFIG_NUMBER, /* from min to max; in words: what else it may be */
	CONFIG_RATIO,  /* from min to max, with a fraction */
	CONFIG_TRUTH,  /* config_bool()'s words */
	CONFIG_WORD    /* one of words, in any case */
};

#define CONFIG_SECRET 1u   /* never shown, never logged */
#define CONFIG_AT_START 2u /* read at the start alone */

struct config_known {
	const char *section;
	const char *key; /* "*": any */
	enum config_type type;
	unsigned flags;
	uint64_t min, max;
	const char *words; /* separated by '|' */
	const char *dflt;  /* as text; "": none */
	const char *unit;  /* or "" */
	const char *about;
};

/** config_known_at(i): The table, in its order; NULL behind its end. */
const struct config_known *config_known_at(unsigned i);
/** config_known_find(section, key): Its row, or NULL: nothing reads it. */
const struct config_known *config_known_find(const char *section, const char *key);
/**
 * config_known_check(section, key, value, why): 0 if ${value} may be set: the empty text always may, and stands for the
 * default of what is no CONFIG_TEXT.  Errors: ERR_BAD_REQUEST and in ${why} what it must be, such as "must be a number from 0 to 65535".
 */
int config_known_check(const char *section, const char *key, const char *value, struct errtext *why) MUST_CHECK;
/** config_known_is_secret(section, key): 1 if the value is not to be shown: those of the table, and what is called so. */
int config_known_is_secret(const char *section, const char *key);
/** config_known_print(out): The table as a configuration file in which all lines are comments: docs/divan.yaml. */
void config_known_print(FILE *out);

#endif
