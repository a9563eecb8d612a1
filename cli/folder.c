/* folder.c: where the command-line tool puts the layers together: executor, store, databases. */
#include "folder.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/filelock.h"
#include "cli.h"
#include "store/store.h"

const struct principal folder_owner = {.server_admin = 1};

static int
check_owner(const char *dir, const struct stat *st)
{
	const struct passwd *pw;

	if (st->st_uid == geteuid())
		return 0;
	pw = getpwuid(st->st_uid);
	if (pw != NULL)
		cli_say("%s belongs to user %s; run this as that user", dir, pw->pw_name);
	else
		cli_say("%s belongs to user %lu; run this as that user", dir, (unsigned long)st->st_uid);
	return ERR_IO;
}

int
folder_lock(const char *dir, int *fdp)
{
	struct stat st;
	int err;

	if (stat(dir, &st) != 0) {
		cli_say("%s: %s", dir, strerror(errno));
		return ERR_IO;
	}
	if (!S_ISDIR(st.st_mode)) {
		cli_say("%s is not a folder", dir);
		return ERR_IO;
	}
	if ((err = check_owner(dir, &st)) != 0)
		return err;
	err = filelock_take(dir, fdp);
	if (err == ERR_LOCKED)
		cli_say("a divand is running on the data folder %s", dir);
	return err;
}

int
folder_path(const char *dir, const char *file, char path[PATH_MAX])
{
	int n = snprintf(path, PATH_MAX, "%s/%s", dir, file);

	if (n > 0 && n < PATH_MAX)
		return 0;
	cli_say("%s: %s", dir, strerror(ENAMETOOLONG));
	return ERR_IO;
}

int
folder_open(const char *dir, int lock_fd, struct folder *f)
{
	/* What was stored under whatever setting is to be read and copied. */
	struct dbs_config config = {.max_document_size = (uint64_t)1 << 32};
	int err;

	*f = (struct folder){.lock_fd = lock_fd};
	err = exec_threads_new(1, &f->threads);
	if (err == 0)
		err = store_lmdb_new(dir, &config.store);
	if (err == 0) {
		config.ex = exec_threads_executor(f->threads);
		err = dbs_new(&config, &f->dbs);
		if (err)
			store_free(config.store);
	}
	if (err) {
		cli_say("%s cannot be opened: %s", dir, err_reason(err));
		folder_close(f);
	}
	return err;
}

void
folder_close(struct folder *f)
{
	if (f->dbs != NULL)
		dbs_free(f->dbs);
	exec_threads_free(f->threads);
	if (f->lock_fd >= 0)
		close(f->lock_fd);
	*f = (struct folder){.lock_fd = -1};
}
