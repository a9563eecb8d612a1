/*
 * confine_user.c: whose process it is.
 *
 * Root starts divand to have it listen on a low port, or because that is who starts things; it serves as somebody else:
 * the user that is named, or the owner of the data folder.  All that it reads and writes it does as that user from the
 * start on, with the configuration file as the only exception: what could be read at the start alone (the key of a
 * certificate, say) would fail when it is renewed, months later.
 *
 * 1. Nothing that was there changes its owner: a data folder that is made is the user's, with what leads to it.
 * 2. Of root's rights what is left is listening on low ports; confine_close() takes that.
 */
#include "confine_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

struct account {
	uid_t uid;
	gid_t gid;
	char name[64]; /* "": it has none here, and no other groups */
};

static void
take_account(struct account *a, const struct passwd *pw)
{
	a->uid = pw->pw_uid;
	a->gid = pw->pw_gid;
	(void)snprintf(a->name, sizeof(a->name), "%s", pw->pw_name);
}

/* A name, or a number; one that nobody has is its group's, too. */
static int
find_account(const char *user, struct account *a)
{
	const struct passwd *pw = getpwnam(user);
	unsigned long id;
	char *end;

	if (pw == NULL && *user >= '0' && *user <= '9') {
		errno = 0;
		id = strtoul(user, &end, 10);
		if (*end == '\0' && errno == 0 && id < (unsigned long)(uid_t)-1) {
			*a = (struct account){(uid_t)id, (gid_t)id, ""};
			pw = getpwuid((uid_t)id);
			if (pw == NULL)
				return 0;
		}
	}
	if (pw == NULL) {
		log_line(LOG_ERROR, "divan/user: there is no user %s", user);
		return ERR_BAD_REQUEST;
	}
	take_account(a, pw);
	return 0;
}

/* Of the data folder; root's, where there is none yet. */
static void
find_owner(const char *dir, struct account *a)
{
	const struct passwd *pw;
	struct stat st;

	*a = (struct account){0, 0, ""};
	if (stat(dir, &st) != 0 || st.st_uid == 0)
		return;
	a->uid = st.st_uid;
	a->gid = st.st_gid;
	if ((pw = getpwuid(st.st_uid)) != NULL)
		take_account(a, pw);
}

/* A folder that has just been made; whoever may write to the one above may have put something else into its place. */
static int
give(const char *path, const struct account *a)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int ok = fd >= 0 && fchown(fd, a->uid, a->gid) == 0;

	if (!ok)
		log_line(LOG_ERROR, "cannot give %s to its user: %s", path, strerror(errno));
	if (fd >= 0)
		(void)close(fd);
	return ok ? 0 : ERR_IO;
}

static int
make_own(const char *dir, const struct account *a)
{
	char path[PATH_MAX];
	char *p = path;
	int n = snprintf(path, sizeof(path), "%s", dir);

	if (n <= 0 || n >= (int)sizeof(path))
		return 0; /* setup_data_dir() complains */
	do {
		p = strchr(p + 1, '/');
		if (p != NULL)
			*p = '\0';
		if (mkdir(path, 0700) == 0 && give(path, a) != 0)
			return ERR_IO;
		if (p != NULL)
			*p = '/';
	} while (p != NULL);
	return 0;
}

static int
become(const struct account *a)
{
	int rc = a->name[0] != '\0' ? initgroups(a->name, a->gid) : setgroups(0, NULL);

	if (rc != 0 || prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0 || setresgid(a->gid, a->gid, a->gid) != 0 ||
	    setresuid(a->uid, a->uid, a->uid) != 0) {
		log_line(LOG_ERROR, "cannot become user %lu: %s", (unsigned long)a->uid, strerror(errno));
		return ERR_IO;
	}
	(void)prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0);
	return 0;
}

int
confine_user(const struct confine *c)
{
	struct account a;
	int err;

	if (geteuid() != 0) {
		if (c->user != NULL)
			log_line(LOG_INFO, "divan/user: only root can become somebody else");
		return 0;
	}
	confine_caps_bound();
	if (c->user == NULL)
		find_owner(c->data, &a);
	else if ((err = find_account(c->user, &a)) != 0)
		return err;
	if (a.uid != 0) {
		if ((err = make_own(c->data, &a)) != 0 || (err = become(&a)) != 0 || (err = confine_caps_keep()) != 0)
			return err;
		if (access(c->data, R_OK | W_OK | X_OK) != 0) {
			log_line(LOG_ERROR, "the data folder %s: user %lu: %s; divan/user (--user) names another",
			    c->data, (unsigned long)a.uid, strerror(errno));
			return ERR_IO;
		}
		return 0;
	}
	if (c->user == NULL)
		log_line(LOG_WARNING,
		    "divand goes on as root, though without its capabilities, since the data folder is root's; "
		    "divan/user (--user) names somebody else");
	return confine_caps_keep();
}
