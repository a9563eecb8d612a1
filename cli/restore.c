/*
 * restore.c: `divan restore`: a file that `divan copy` made becomes a database again.
 *
 * Nobody may ever open half of it, or find out later that it is damaged. So the bytes go into a folder of their own
 * below the data folder, where the file is opened (which begins its new history: db/history.c), verified and closed,
 * and it takes its place by a rename that replaces nothing. The file stays the same one by that, and its history goes
 * on. Killed before, it leaves DIR/.restore, which the next restore empties; divand does not look at it.
 */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "folder.h"
#include "outfile.h"
#include "staging.h"

const char restore_help[] =
    "usage: divan restore --data DIR FILE DB\n"
    "\n"
    "Makes FILE, which `divan copy` wrote, database DB of the data folder DIR, which no divand\n"
    "may serve meanwhile. FILE is verified first and stays as it is; DB, whose name may be another\n"
    "than it was, may not exist. DIR is made if it is missing.\n";

static int
stage(const struct staging *p, const char *source)
{
	static char piece[1u << 20];
	struct outfile out;
	ssize_t n;
	int fd, err;

	if (staging_begin(p) != 0)
		return ERR_IO;
	fd = open(source, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return cli_errno(source);
	err = outfile_begin(&out, p->made, 1);
	if (err == 0) {
		while ((n = read(fd, piece, sizeof(piece))) > 0 && err == 0)
			err = outfile_write(&out, piece, (size_t)n);
		if (n < 0)
			err = cli_errno(source);
		if (err == 0)
			err = outfile_end(&out);
		else
			outfile_abort(&out);
	}
	close(fd);
	return err;
}

/* Opening begins the history; whatever is found later would be found too late. */
static int
verify(const struct staging *p, const char *source, uint64_t *docsp)
{
	struct errtext why = {""};
	struct db_info info = {0};
	struct folder f;
	struct db *db;
	int err = folder_open(p->folder, -1, &f);

	if (err)
		return err;
	err = db_open(f.dbs, p->db, &folder_owner, &db);
	if (err == 0) {
		err = db_check(db, &why);
		if (err == 0)
			err = db_info(db, &info);
		db_close(db);
	}
	if (err == ERR_CORRUPT && why.text[0] == '\0')
		cli_say("%s is no database that can be read, or it is damaged", source);
	else if (err)
		cli_say("%s: %s", source, why.text[0] != '\0' ? why.text : err_reason(err));
	folder_close(&f);
	*docsp = info.doc_count;
	return err;
}

static int
publish(const struct staging *p)
{
	if (renameat2(AT_FDCWD, p->made, AT_FDCWD, p->path, RENAME_NOREPLACE) != 0) {
		/* Under the lock nobody else makes it between these two. */
		if ((errno != EINVAL && errno != ENOSYS) || access(p->path, F_OK) == 0 || rename(p->made, p->path) != 0)
			return cli_errno(p->path);
	}
	staging_published(p);
	return 0;
}

static int
restore(struct staging *p, const char *source)
{
	uint64_t docs;
	int lock_fd, err;

	if (mkdir(p->dir, 0700) != 0 && errno != EEXIST)
		return cli_errno(p->dir);
	if ((err = folder_lock(p->dir, &lock_fd)) != 0)
		return err;
	if (access(p->path, F_OK) == 0) {
		cli_say("database %s exists in %s already", p->db, p->dir);
		err = ERR_DB_EXISTS;
	}
	if (err == 0) {
		err = stage(p, source);
		if (err == 0)
			err = verify(p, source, &docs);
		if (err == 0)
			err = publish(p);
		staging_clear(p);
	}
	close(lock_fd);
	if (err == 0)
		printf("%s: %llu documents\n", p->db, (unsigned long long)docs);
	return err;
}

int
restore_run(int argc, char **argv)
{
	static const struct option longs[] = {{"data", required_argument, NULL, 'd'}, {NULL, 0, NULL, 0}};
	const char *dir = NULL;
	struct staging p;
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c != 'd')
			return CLI_USAGE;
		dir = optarg;
	}
	if (dir == NULL || argc - optind != 2)
		return CLI_USAGE;
	if (staging_init(&p, dir, argv[optind + 1], ".restore") != 0)
		return CLI_FAILED;
	return restore(&p, argv[optind]) == 0 ? CLI_DONE : CLI_FAILED;
}
