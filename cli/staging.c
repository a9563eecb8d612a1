/* staging.c: a folder in which a database is made before it has its name. */
#include "staging.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "folder.h"

int
staging_init(struct staging *s, const char *dir, const char *db, const char *name)
{
	struct errtext why = {""};
	int err;

	s->dir = dir;
	s->db = db;
	if ((err = dbs_name_check(db, strlen(db), &why)) != 0 || (err = store_lmdb_file(db, s->file)) != 0) {
		cli_say("%s", why.text[0] != '\0' ? why.text : err_reason(err));
		return err;
	}
	if (folder_path(dir, name, s->folder) != 0 || folder_path(dir, s->file, s->path) != 0)
		return ERR_IO;
	return folder_path(s->folder, s->file, s->made);
}

int
staging_begin(const struct staging *s)
{
	staging_clear(s);
	return mkdir(s->folder, 0700) == 0 ? 0 : cli_errno(s->folder);
}

void
staging_published(const struct staging *s)
{
	int fd = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || fsync(fd) != 0)
		(void)cli_errno(s->dir);
	if (fd >= 0)
		close(fd);
}

void
staging_clear(const struct staging *s)
{
	DIR *d = opendir(s->folder);
	const struct dirent *e;

	if (d == NULL)
		return;
	while ((e = readdir(d)) != NULL)
		(void)unlinkat(dirfd(d), e->d_name, 0);
	closedir(d);
	(void)rmdir(s->folder);
}
