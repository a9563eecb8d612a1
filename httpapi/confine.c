/*
 * confine.c: the walls around divand.
 *
 * Its parsers read what strangers send, and its memory holds everybody's documents.  Somebody who takes it over shall
 * find a process that cannot become root, nor write to any file but the databases', nor start a program, nor reach
 * into other processes.
 *
 * In this order, while there is one thread: settings, user (confine_user.c), then all that is opened once, sockets above
 * all, then capabilities, core dumps, new privileges, files (confine_files.c), system calls (confine_calls.c); threads
 * are made behind the walls and have them.
 *
 * 1. Settings that were changed over HTTP are read later than these: who administers the server over HTTP does not
 *    open it to the machine.
 * 2. A wall that the kernel does not have is told in the log and left out, unless the settings demand it.
 * 3. In builds for sanitizers and coverage there are no walls: their runtimes write files, trace threads, and map memory
 *    as they like.
 */
#include "confine_impl.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"

#ifndef SYS_mseal
#define SYS_mseal 462
#endif

/* ---- Settings ---- */

static int
cut(struct confine *c, const char *list)
{
	char *save = NULL;

	if ((c->also = strdup(list)) == NULL)
		return ERR_NOMEM;
	for (char *p = strtok_r(c->also, ",", &save); p != NULL; p = strtok_r(NULL, ",", &save)) {
		size_t len;

		p += strspn(p, " ");
		for (len = strlen(p); len > 0 && p[len - 1] == ' ';)
			p[--len] = '\0';
		if (len == 0)
			continue;
		if (c->ndirs == CONFINE_DIRS) {
			log_line(LOG_ERROR, "divan/write_also: more than %u folders", CONFINE_DIRS);
			return ERR_BAD_REQUEST;
		}
		c->dirs[c->ndirs++] = p;
	}
	return 0;
}

int
confine_read(const struct config *config, const char *data, struct confine *c)
{
	const char *mode = config_get(config, "divan", "confine", "auto");
	const char *user = config_get(config, "divan", "user", "");
	const char *log = config_get(config, "log", "file", "");
	int is_file = *log != '\0' && strcasecmp(config_get(config, "log", "writer", ""), "stderr") != 0;

	*c = (struct confine){.data = data, .user = *user != '\0' ? user : NULL, .log = is_file ? log : NULL};
	c->mode = strcasecmp(mode, "off") == 0       ? CONFINE_OFF
		  : strcasecmp(mode, "require") == 0 ? CONFINE_REQUIRE
						     : CONFINE_AUTO;
#ifdef CONFINE_NONE
	if (c->mode == CONFINE_REQUIRE) {
		log_line(LOG_ERROR, "divan/confine: this build, for tests, has no walls");
		return ERR_BAD_REQUEST;
	}
#endif
	c->core_dumps = config_bool(config, "divan", "core_dumps", 0);
	return cut(c, config_get(config, "divan", "write_also", ""));
}

void
confine_release(struct confine *c)
{
	free(c->also);
	c->also = NULL;
	c->ndirs = 0;
}

/* ---- The program that may be started ---- */

/*
 * A page of its own, which is never given back: the filter of system calls names its address.  Newer kernels also keep
 * whoever can make system calls from putting another page there (mseal).
 */
int
confine_exe(struct confine *c, const char *path)
{
	size_t len = strlen(path) + 1, page = (size_t)sysconf(_SC_PAGESIZE), size = (len + page - 1) / page * page;
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return ERR_NOMEM;
	memcpy(p, path, len);
	if (mprotect(p, size, PROT_READ) != 0)
		return ERR_NOMEM;
	(void)syscall(SYS_mseal, p, size, 0);
	c->exe = p;
	return 0;
}

/* ---- The walls ---- */

#ifndef CONFINE_NONE

static int
missing(const struct confine *c, const char *what)
{
	int must = c->mode == CONFINE_REQUIRE;

	log_line(must ? LOG_ERROR : LOG_NOTICE, "confine: this kernel does not give us %s", what);
	return must ? ERR_INTERNAL : 0;
}

static int
close_all(const struct confine *c)
{
	int err, version = 0, filtered = 0;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 && (err = missing(c, "no_new_privs")) != 0)
		return err;
	if ((err = confine_files(c, &version)) != 0 || (err = confine_calls(c->exe, &filtered)) != 0)
		return err;
	if (version == 0)
		err = missing(c, "Landlock: which files are written, permissions alone say");
	if (err == 0 && !filtered)
		err = missing(c, "a filter of system calls (seccomp)");
	if (err == 0)
		log_line(LOG_INFO, "confine: user %lu, no capabilities, Landlock %d, seccomp %s",
		    (unsigned long)geteuid(), version, filtered ? "on" : "off");
	return err;
}

#else

static int
close_all(const struct confine *c)
{
	(void)c;
	return 0;
}

#endif

int
confine_close(const struct confine *c)
{
	int dumps = c->core_dumps || c->mode == CONFINE_OFF;
	int err = confine_caps_drop();

	if (err != 0)
		return err;
#ifdef CONFINE_NONE
	dumps = 1;
#endif
	/* A dump holds everybody's documents and passwords; and who is the same user need not read this memory either. */
	if (prctl(PR_SET_DUMPABLE, dumps, 0, 0, 0) != 0)
		return ERR_INTERNAL;
	return c->mode == CONFINE_OFF ? 0 : close_all(c);
}
