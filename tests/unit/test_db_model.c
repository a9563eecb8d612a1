/*
 * test_db_model.c: random writes, failures and compactions in memory, against a model of what must be there.
 *
 *   test_db_model [SEEDS [FIRST]]    without an argument: few seeds, for make test
 */
#include "dbmodel_run.h"

int
main(int argc, char **argv)
{
	unsigned seeds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 3;
	unsigned first = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 1;

	CHECK_INT(dbmodel_begin(), 0);
	for (unsigned s = first; s < first + seeds && check_failed_ == 0; s++)
		dbmodel_run(s, 400, NULL);
	dbmodel_end();
	return check_done();
}
