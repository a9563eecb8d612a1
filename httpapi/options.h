/* options.h: divand's command line. */
#ifndef HTTPAPI_OPTIONS_H_
#define HTTPAPI_OPTIONS_H_

#include <stddef.h>

#define OPTIONS_SETS 64u

struct options {
	const char *config;             /* --config, or NULL */
	const char *sets[OPTIONS_SETS]; /* section/key=value */
	size_t nsets;
	char given[4][4096]; /* --data, --bind, --port and --user as such */
};

/** options_parse(argc, argv, o): Into ${o}, which is zeroed.  -1: go on; else the exit status, all having been said. */
int options_parse(int argc, char **argv, struct options *o);

#endif
