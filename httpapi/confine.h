/*
 * confine.h: what divand gives up before it serves: root, capabilities, writing outside of its folders, and the system
 * calls that it does not need.  For good, and for the processes that it starts.
 */
#ifndef HTTPAPI_CONFINE_H_
#define HTTPAPI_CONFINE_H_

#include <stddef.h>
#include "base/err.h"
#include "httpapi/config.h"

#define CONFINE_DIRS 16u

enum confine_mode { CONFINE_AUTO, CONFINE_REQUIRE, CONFINE_OFF };

/* What the settings say, as the start finds them: what was changed over HTTP has no say in it. */
struct confine {
	enum confine_mode mode;
	int core_dumps;
	const char *user; /* or NULL */
	const char *data;
	const char *log; /* the log's file, or NULL */
	char *also;      /* divan/write_also, cut into dirs */
	const char *dirs[CONFINE_DIRS];
	size_t ndirs;
	const char *exe; /* the only program that may be started, or NULL: none */
};

/**
 * confine_read(config, data, c): Into ${c}, which lives as long as ${config}.  Errors: ERR_BAD_REQUEST with a log line;
 * ERR_NOMEM.  confine_release(c): NULL in all of it is allowed.
 */
int confine_read(const struct config *config, const char *data, struct confine *c) MUST_CHECK;
void confine_release(struct confine *c);

/**
 * confine_user(c): If the process is root's, become ${c}->user, or without one the owner of the data folder, which is
 * made where it is missing and then belongs to that user; nothing else changes its owner.  What stays until
 * confine_close() is the right to listen on ports below 1024.  Before there are threads.  Errors: ERR_IO, ERR_BAD_REQUEST,
 * with a log line.
 */
int confine_user(const struct confine *c) MUST_CHECK;

/**
 * confine_exe(c, path): ${path} is the program that may be started; it must then be named by ${c}->exe, a copy in
 * memory that cannot be written.  Errors: ERR_NOMEM.
 */
int confine_exe(struct confine *c, const char *path) MUST_CHECK;

/**
 * confine_close(c): Close the walls around this thread and all that it will make.  What a kernel does not have is told in
 * the log, and is an error with CONFINE_REQUIRE.  Errors: ERR_INTERNAL, ERR_IO
 * (a folder that is named is not there), with a log line; ERR_NOMEM.
 */
int confine_close(const struct confine *c) MUST_CHECK;

#endif
