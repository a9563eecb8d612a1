/* options.c: what the command line says, mostly settings in another form. */
#include "options.h"

#include <getopt.h>
#include <stdio.h>

#include "base/version.h"
#include "config_known.h"

static void
usage(FILE *to)
{
	fprintf(to, "usage: divand [--config FILE] [--data DIR] [--bind ADDRESS] [--port N] [--user NAME] [--set "
		    "SECTION/KEY=VALUE]...\n"
		    "\n"
		    "  --config FILE   settings in YAML, in CouchDB's sections and names\n"
		    "  --data DIR      where the databases are (couchdb/database_dir; ./data)\n"
		    "  --bind ADDRESS  where to listen (chttpd/bind_address; 127.0.0.1)\n"
		    "  --port N        0 takes a free one (chttpd/port; 5984)\n"
		    "  --user NAME     who to become, started by root (divan/user; the data folder's owner)\n"
		    "  --set S/K=V     any setting; before the environment's (DIVAN_S__K=V) and the file's\n"
		    "  --settings      print all settings with their defaults, as a file\n"
		    "  --version       print the version\n"
		    "  --help          print this\n"
		    "\n"
		    "DIVAN_ADMIN=name:password in the environment makes an administrator\n"
		    "(as do COUCHDB_USER and COUCHDB_PASSWORD).\n");
}

static int
add_set(struct options *o, const char *text)
{
	if (o->nsets == OPTIONS_SETS) {
		fprintf(stderr, "divand: more than %u settings\n", OPTIONS_SETS);
		return -1;
	}
	o->sets[o->nsets++] = text;
	return 0;
}

static int
add_given(struct options *o, unsigned which, const char *setting, const char *value)
{
	int n = snprintf(o->given[which], sizeof(o->given[which]), "%s=%s", setting, value);

	return n > 0 && n < (int)sizeof(o->given[which]) ? add_set(o, o->given[which]) : -1;
}

int
options_parse(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {{"config", required_argument, NULL, 'c'},
	    {"data", required_argument, NULL, 'd'}, {"bind", required_argument, NULL, 'b'},
	    {"port", required_argument, NULL, 'p'}, {"user", required_argument, NULL, 'u'},
	    {"set", required_argument, NULL, 's'}, {"settings", no_argument, NULL, 'S'},
	    {"version", no_argument, NULL, 'v'}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
	int c, err = 0;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 'c':
			o->config = optarg;
			break;
		case 'd':
			err |= add_given(o, 0, "couchdb/database_dir", optarg);
			break;
		case 'b':
			err |= add_given(o, 1, "chttpd/bind_address", optarg);
			break;
		case 'p':
			err |= add_given(o, 2, "chttpd/port", optarg);
			break;
		case 'u':
			err |= add_given(o, 3, "divan/user", optarg);
			break;
		case 's':
			err |= add_set(o, optarg);
			break;
		case 'S':
			config_known_print(stdout);
			return 0;
		case 'v':
			printf("divand %s\n", DIVAN_VERSION);
			return 0;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return 2;
		}
	}
	if (optind < argc || err != 0) {
		usage(stderr);
		return 2;
	}
	return -1;
}
