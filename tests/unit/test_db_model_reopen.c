/*
 * test_db_model_reopen.c: random writes, compactions and reopenings on disk, against a model of what must be there.
 *
 *   test_db_model_reopen [SEEDS [FIRST]]    without an argument: one seed, for make test
 */
#include <unistd.h>

#include "dbmodel_run.h"

int
main(int argc, char **argv)
{
	unsigned seeds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 1;
	unsigned first = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 3;
	char dir[] = "/tmp/divan-test-model-XXXXXX", command[64];

	CHECK(mkdtemp(dir) != NULL);
	CHECK_INT(dbmodel_begin(), 0);
	for (unsigned s = first; s < first + seeds && check_failed_ == 0; s++)
		dbmodel_run(s, 150, dir);
	dbmodel_end();
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	CHECK_INT(system(command), 0);
	return check_done();
}
