/* check.c: `divan check`: every invariant of the databases in a data folder. */
#include "cli.h"

#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "folder.h"
#include "store/pages.h"

const char check_help[] =
    "usage: divan check --data DIR [DB...]\n"
    "\n"
    "Verifies the databases DB, or all, of the data folder DIR, which no divand may serve\n"
    "meanwhile: each page of the file, each checksum, each rule that docs/FORMAT.md states, each\n"
    "counter by a recount. `divan repair` saves what can be read of one that is damaged.\n"
    "Prints a line for each database with findings, then how many there are. Exit status 1: findings.\n";

struct names {
	char **at;
	size_t n;
};

static int
add_name(const char *name, void *cookie)
{
	struct names *names = cookie;
	char **at = realloc(names->at, (names->n + 1) * sizeof(*at));

	if (at == NULL)
		return ERR_NOMEM;
	names->at = at;
	if ((names->at[names->n] = strdup(name)) == NULL)
		return ERR_NOMEM;
	names->n++;
	return 0;
}

/* The names that were given, else those of the folder: collected first, since the listing may not open what it lists. */
static int
collect(struct dbs *dbs, char **given, struct names *names)
{
	int err = 0;

	if (*given == NULL)
		return dbs_list(dbs, add_name, names);
	for (; *given != NULL && err == 0; given++)
		err = add_name(*given, names);
	return err;
}

/* check_pages: Before the store opens the file: damaged pages would end this process. */
static int
check_pages(const char *dir, const char *name, struct errtext *why)
{
	char file[STORE_FILE_ROOM], path[PATH_MAX];
	int err = store_lmdb_file(name, file);

	if (err != 0 || (err = folder_path(dir, file, path)) != 0)
		return err;
	return store_pages_check(path, why);
}

/* tell: The reason may have ids of documents in it. */
static void
tell(const char *name, const char *reason)
{
	cli_print(stdout, name, strlen(name));
	fputs(": ", stdout);
	cli_print(stdout, reason, strlen(reason));
	fputc('\n', stdout);
}

static int
check_one(struct dbs *dbs, const char *dir, const char *name)
{
	struct errtext why = {""};
	struct db *db;
	int err = check_pages(dir, name, &why);

	if (err == 0)
		err = db_open(dbs, name, &folder_owner, &db);
	if (err == 0) {
		err = db_check(db, &why);
		db_close(db);
	}
	if (err != 0)
		tell(name, why.text[0] != '\0' ? why.text : err_reason(err));
	return err;
}

static int
check_all(const char *dir, char **given)
{
	struct names names = {0};
	struct folder f;
	size_t findings = 0;
	int lock_fd, err;

	if (folder_lock(dir, &lock_fd) != 0 || folder_open(dir, lock_fd, &f) != 0)
		return CLI_FAILED;
	err = collect(f.dbs, given, &names);
	if (err)
		cli_say("the databases cannot be listed: %s", err_reason(err));
	for (size_t i = 0; i < names.n; i++) {
		findings += check_one(f.dbs, dir, names.at[i]) != 0;
		free(names.at[i]);
	}
	printf("%zu databases checked, %zu with findings\n", names.n, findings);
	free(names.at);
	folder_close(&f);
	return err == 0 && findings == 0 ? CLI_DONE : CLI_FAILED;
}

int
check_run(int argc, char **argv)
{
	static const struct option longs[] = {{"data", required_argument, NULL, 'd'}, {NULL, 0, NULL, 0}};
	const char *dir = NULL;
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c != 'd')
			return CLI_USAGE;
		dir = optarg;
	}
	return dir == NULL ? CLI_USAGE : check_all(dir, argv + optind);
}
