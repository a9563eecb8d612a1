#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/utf8.h"

static const struct {
	int status;
	const char *name;
	const char *reason;
} errors[] = {{200, "ok", ""},
#define ERR_ROW_(code, status, error, reason) {status, error, reason},
    ERR_LIST(ERR_ROW_)
#undef ERR_ROW_
};

/*
 * A code that is none of ours is a bug, but one that must not take the server down while it reports another
 * error.
 */
static int
known(int code)
{
	return code >= 0 && code < ERR_COUNT ? code : ERR_INTERNAL;
}

int
err_status(int code)
{
	return errors[known(code)].status;
}

int
err_errno(int code)
{
	switch (code) {
	case ENOMEM:
		return ERR_NOMEM;
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return ERR_NOSPACE;
	case EROFS:
		return ERR_READONLY;
	case EMFILE:
	case ENFILE:
	case EAGAIN: /* of fork() and the like: no process or thread is left */
		return ERR_BUSY;
	default:
		return ERR_IO;
	}
}

const char *
err_name(int code)
{
	return errors[known(code)].name;
}

const char *
err_reason(int code)
{
	return errors[known(code)].reason;
}

int
err_why(struct errtext *why, int code, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (why == NULL)
		return code;
	va_start(ap, fmt);
	n = vsnprintf(why->text, sizeof(why->text), fmt, ap);
	va_end(ap);
	if (n < 0)
		why->text[0] = '\0';
	if (n >= (int)sizeof(why->text))
		why->text[utf8_whole(why->text, sizeof(why->text) - 1)] = '\0';
	return code;
}
