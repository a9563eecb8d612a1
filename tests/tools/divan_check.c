/* divan_check.c: verifies every database of a data folder that no server uses.  Exit status: 0 sound, 1 findings, 2 wrong usage. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/exec.h"
#include "db/db.h"
#include "store/store.h"

static const struct principal server = {.server_admin = 1};

struct names {
	char **at;
	size_t n;
};

/* Names are collected first: the listing may not open what it lists. */
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

static int
check_one(struct dbs *dbs, const char *name)
{
	struct errtext why = {""};
	struct db *db;
	int err = db_open(dbs, name, &server, &db);

	if (err == 0) {
		err = db_check(db, &why);
		db_close(db);
	}
	if (err != 0)
		printf("%s: %s\n", name, why.text[0] != '\0' ? why.text : err_reason(err));
	return err;
}

static int
check_all(struct dbs *dbs, size_t *checkedp)
{
	struct names names = {0};
	size_t i;
	int findings = 0;
	int err = dbs_list(dbs, add_name, &names);

	if (err != 0) {
		printf("the databases cannot be listed: %s\n", err_reason(err));
		findings++;
	}
	for (i = 0; i < names.n; i++) {
		if (check_one(dbs, names.at[i]) != 0)
			findings++;
		free(names.at[i]);
	}
	free(names.at);
	*checkedp = names.n;
	return findings;
}

int
main(int argc, char **argv)
{
	struct exec_threads *threads = NULL;
	struct dbs_config config = {0};
	struct dbs *dbs = NULL;
	size_t checked = 0;
	int findings = 1;
	int err;

	if (argc != 2) {
		fprintf(stderr, "usage: divan_check DATA_FOLDER\n");
		return 2;
	}
	err = exec_threads_new(1, &threads);
	if (err == 0)
		err = store_lmdb_new(argv[1], &config.store);
	if (err == 0) {
		config.ex = exec_threads_executor(threads);
		err = dbs_new(&config, &dbs);
	}
	if (err == 0)
		findings = check_all(dbs, &checked);
	else
		printf("%s: %s\n", argv[1], err_reason(err));
	if (dbs != NULL)
		dbs_free(dbs);
	exec_threads_free(threads);
	printf("%zu databases checked, %d with findings\n", checked, findings);
	return findings != 0 ? 1 : 0;
}
