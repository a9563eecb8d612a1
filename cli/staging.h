/* staging.h: where a database is made before it has its name: a folder below the data folder, at which divand does not look. */
#ifndef CLI_STAGING_H_
#define CLI_STAGING_H_

#include <limits.h>
#include "base/err.h"
#include "store/store.h"

struct staging {
	const char *dir;
	const char *db;
	char file[STORE_FILE_ROOM]; /* the database's file name */
	char path[PATH_MAX];        /* DIR/file */
	char folder[PATH_MAX];
	char made[PATH_MAX]; /* file in that */
};

/** staging_init(s, dir, db, name): For database ${db} of ${dir}, in DIR/${name}.  Errors, said on standard error: ERR_IO, or of the database's name. */
int staging_init(struct staging *s, const char *dir, const char *db, const char *name) MUST_CHECK;
/** staging_begin(s): Make the folder, empty, whatever one that was killed has left there.  Errors, said on standard error: ERR_IO. */
int staging_begin(const struct staging *s) MUST_CHECK;
/** staging_published(s): The file has its name: see that it is on the disk.  A failure is said, and no more can be done about it. */
void staging_published(const struct staging *s);
/** staging_clear(s): The folder, away with what is in it. */
void staging_clear(const struct staging *s);

#endif
