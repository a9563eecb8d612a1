/*
 * restore.c: `divan restore`: a file that `divan copy` made becomes a database again.
 *
 * Nobody may ever open half of it, or find out later that it is damaged. So the bytes go into a folder of their own
 * below the data folder, where the file is opened (which begins its new history: db/history.c), verified and closed,
 * and it takes its place by a rename that replaces nothing. The file stays the same one by that, and its history goes
 * on. Killed before, it leaves DIR/.restore, which the next restore empties; divand does not look at it.
 */
#include "cli.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "folder.h"
#include "outfile.h"
#include "store/store.h"

const char restore_help[] =
    "usage: divan restore --data DIR FILE DB\n"
    "\n"
    "Makes FILE, which `divan copy` wrote, database DB of the data folder DIR, which no divand\n"
    "may serve meanwhile. FILE is verified first and stays as it is; DB, whose name may be another\n"
    "than it was, may not exist. DIR is made if it is missing.\n";

/* Where it happens. */
struct place {
	const char *dir;
	const char *db;
	char staging[PATH_MAX];     /* DIR/.restore */
	char file[STORE_FILE_ROOM]; /* the database's file name */
	char to[PATH_MAX];          /* DIR/file */
	char from[PATH_MAX];        /* DIR/.restore/file */
};

static int
complain(const char *path)
{
	cli_say("%s: %s", path, strerror(errno));
	return ERR_IO;
}

static int
join(char out[PATH_MAX], const char *dir, const char *name)
{
	int n = snprintf(out, PATH_MAX, "%s/%s", dir, name);

	errno = ENAMETOOLONG;
	return n > 0 && n < PATH_MAX ? 0 : complain(dir);
}

static int
place_init(struct place *p, const char *dir, const char *db)
{
	struct errtext why = {""};
	int err;

	p->dir = dir;
	p->db = db;
	if ((err = dbs_name_check(db, strlen(db), &why)) != 0 || (err = store_lmdb_file(db, p->file)) != 0) {
		cli_say("%s", why.text[0] != '\0' ? why.text : err_reason(err));
		return err;
	}
	if (join(p->staging, dir, ".restore") != 0 || join(p->to, dir, p->file) != 0)
		return ERR_IO;
	return join(p->from, p->staging, p->file);
}

/* The staging folder, away with what is in it. */
static void
clear(const struct place *p)
{
	DIR *d = opendir(p->staging);
	const struct dirent *e;

	if (d == NULL)
		return;
	while ((e = readdir(d)) != NULL)
		(void)unlinkat(dirfd(d), e->d_name, 0);
	closedir(d);
	(void)rmdir(p->staging);
}

static int
stage(const struct place *p, const char *source)
{
	static char piece[1u << 20];
	struct outfile out;
	ssize_t n;
	int fd, err;

	clear(p);
	if (mkdir(p->staging, 0700) != 0)
		return complain(p->staging);
	fd = open(source, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return complain(source);
	err = outfile_begin(&out, p->from, 1);
	if (err == 0) {
		while ((n = read(fd, piece, sizeof(piece))) > 0 && err == 0)
			err = outfile_write(&out, piece, (size_t)n);
		if (n < 0)
			err = complain(source);
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
verify(const struct place *p, const char *source, uint64_t *docsp)
{
	struct errtext why = {""};
	struct db_info info = {0};
	struct folder f;
	struct db *db;
	int err = folder_open(p->staging, -1, &f);

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
publish(const struct place *p)
{
	int fd;

	if (renameat2(AT_FDCWD, p->from, AT_FDCWD, p->to, RENAME_NOREPLACE) != 0) {
		/* Under the lock nobody else makes it between these two. */
		if ((errno != EINVAL && errno != ENOSYS) || access(p->to, F_OK) == 0 || rename(p->from, p->to) != 0)
			return complain(p->to);
	}
	fd = open(p->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) != 0)
		(void)complain(p->dir);
	if (fd >= 0)
		close(fd);
	return 0;
}

static int
restore(struct place *p, const char *source)
{
	uint64_t docs;
	int lock_fd, err;

	if (mkdir(p->dir, 0700) != 0 && errno != EEXIST)
		return complain(p->dir);
	if ((err = folder_lock(p->dir, &lock_fd)) != 0)
		return err;
	if (access(p->to, F_OK) == 0) {
		cli_say("database %s exists in %s already", p->db, p->dir);
		err = ERR_DB_EXISTS;
	}
	if (err == 0) {
		err = stage(p, source);
		if (err == 0)
			err = verify(p, source, &docs);
		if (err == 0)
			err = publish(p);
		clear(p);
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
	struct place p;
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c != 'd')
			return CLI_USAGE;
		dir = optarg;
	}
	if (dir == NULL || argc - optind != 2)
		return CLI_USAGE;
	if (place_init(&p, dir, argv[optind + 1]) != 0)
		return CLI_FAILED;
	return restore(&p, argv[optind]) == 0 ? CLI_DONE : CLI_FAILED;
}
