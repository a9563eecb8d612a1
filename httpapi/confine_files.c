/*
 * confine_files.c: nothing is written outside of divand's folders: Landlock.
 *
 * Who takes over divand can make it write whatever its user may.  As root without capabilities that is still every file
 * of root's, as an ordinary user all that is open to everybody, and a program left in a folder that others run from is
 * the way out.  So all ways to change the file system are denied, but below the folders that are named.  Reading and
 * executing are left to permissions: certificates, libraries and names may lie anywhere, and a rule for divan-js would
 * mean the file as it is now and not the one that an upgrade puts into its place (confine_calls.c says what is executed).
 *
 * 1. Rules are for what is found behind links at the start; who moves the data folder away under a running server has
 *    none for the new place.
 * 2. Files that are open already are not concerned: standard error may be one anywhere.
 */
#include "confine_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"

/* Newer than the headers of Debian 12. */
#define FS_TRUNCATE (UINT64_C(1) << 14)   /* version 3 */
#define FS_IOCTL_DEV (UINT64_C(1) << 15)  /* 5 */
#define SCOPE_ABSTRACT (UINT64_C(1) << 0) /* 6 */
#define SCOPE_SIGNAL (UINT64_C(1) << 1)

#define MAKE                                                                                              \
	(LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |       \
	    LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK | \
	    LANDLOCK_ACCESS_FS_MAKE_SYM)
#define REMOVE (LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR)
#define OWN                                                                                                   \
	(LANDLOCK_ACCESS_FS_WRITE_FILE | REMOVE | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_DIR | \
	    LANDLOCK_ACCESS_FS_REFER | FS_TRUNCATE)
#define LOG (LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG)

/* struct landlock_ruleset_attr as of version 6; an older kernel takes it with zeros. */
struct ruleset {
	uint64_t fs, net, scoped;
};

static uint64_t
known_rights(long version)
{
	uint64_t rights = LANDLOCK_ACCESS_FS_WRITE_FILE | REMOVE | MAKE;

	if (version >= 2)
		rights |= LANDLOCK_ACCESS_FS_REFER;
	if (version >= 3)
		rights |= FS_TRUNCATE;
	if (version >= 5)
		rights |= FS_IOCTL_DEV;
	return rights;
}

/* The manager that is told of the start may listen at an abstract name. */
static uint64_t
known_scopes(long version)
{
	const char *notify = getenv("NOTIFY_SOCKET");

	if (version < 6)
		return 0;
	return notify != NULL && *notify == '@' ? SCOPE_SIGNAL : SCOPE_SIGNAL | SCOPE_ABSTRACT;
}

static int
allow(int ruleset, const char *path, uint64_t rights)
{
	struct landlock_path_beneath_attr rule = {
	    .allowed_access = rights, .parent_fd = open(path, O_PATH | O_CLOEXEC)};
	int ok =
	    rule.parent_fd >= 0 && syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) == 0;

	if (!ok)
		log_line(LOG_ERROR, "confine: %s: %s", path, strerror(errno));
	if (rule.parent_fd >= 0)
		(void)close(rule.parent_fd);
	return ok ? 0 : ERR_IO;
}

/* The log is made anew at SIGHUP, once it has been renamed: its folder, but nothing can be removed there. */
static int
allow_log(int ruleset, const char *log, uint64_t rights)
{
	char dir[PATH_MAX];
	const char *slash = strrchr(log, '/');

	if (slash == NULL)
		return allow(ruleset, ".", rights);
	(void)snprintf(dir, sizeof(dir), "%.*s", slash == log ? 1 : (int)(slash - log), log);
	return allow(ruleset, dir, rights);
}

static int
add_rules(int ruleset, const struct confine *c, uint64_t known)
{
	int err = allow(ruleset, c->data, OWN & known);

	for (size_t i = 0; i < c->ndirs && err == 0; i++)
		err = allow(ruleset, c->dirs[i], OWN & known);
	if (err == 0 && c->log != NULL)
		err = allow_log(ruleset, c->log, LOG & known);
	/* What a process that is started has as its output. */
	if (err == 0 && access("/dev/null", W_OK) == 0)
		err = allow(ruleset, "/dev/null", LANDLOCK_ACCESS_FS_WRITE_FILE);
	return err;
}

static int
restrict_self(int ruleset)
{
	if (syscall(SYS_landlock_restrict_self, ruleset, 0) == 0)
		return 0;
	log_line(LOG_ERROR, "confine: Landlock: %s", strerror(errno));
	return ERR_IO;
}

int
confine_files(const struct confine *c, int *versionp)
{
	long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	const struct ruleset attr = {known_rights(version), 0, known_scopes(version)};
	int fd, err;

	*versionp = 0;
	/* Not there, turned off, or kept from us by a container. */
	if (version < 1)
		return 0;
	fd = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
	if (fd < 0) {
		log_line(LOG_ERROR, "confine: Landlock: %s", strerror(errno));
		return ERR_IO;
	}
	if ((err = add_rules(fd, c, attr.fs)) == 0)
		err = restrict_self(fd);
	(void)close(fd);
	*versionp = (int)version;
	return err;
}
