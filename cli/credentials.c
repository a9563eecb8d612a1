/* credentials.c: names and passwords from the environment and the terminal. */
#include "credentials.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

/* Are they there, and of the one who is asked for? */
static int
are_of(const char *user, const char *name, size_t name_len)
{
	return name_len > 0 && (user == NULL || (strlen(user) == name_len && memcmp(user, name, name_len) == 0));
}

static int
take(struct credentials *c, const char *name, size_t name_len, const char *password)
{
	size_t len = password != NULL ? strlen(password) : 0;

	if (name_len >= sizeof(c->name) || len >= sizeof(c->password))
		return ERR_TOO_LARGE;
	memcpy(c->name, name, name_len);
	if (password != NULL)
		memcpy(c->password, password, len);
	c->has_password = password != NULL;
	return 0;
}

int
credentials_find(struct credentials *c, const char *user)
{
	const char *both = getenv("DIVAN_ADMIN");
	const char *name = getenv("COUCHDB_USER");
	const char *password = getenv("COUCHDB_PASSWORD");
	const char *colon = both != NULL ? strchr(both, ':') : NULL;

	*c = (struct credentials){0};
	if (colon != NULL && are_of(user, both, (size_t)(colon - both)))
		return take(c, both, (size_t)(colon - both), colon + 1);
	if (name != NULL && password != NULL && are_of(user, name, strlen(name)))
		return take(c, name, strlen(name), password);
	return user != NULL ? take(c, user, strlen(user), NULL) : 0;
}

/* ---- The terminal ---- */

static volatile sig_atomic_t caught;

static void
on_signal(int signo)
{
	caught = signo;
}

/* A line; a signal ends it. */
static size_t
read_line(int tty, char *line, size_t room)
{
	size_t len = 0;

	while (len + 1 < room && !caught) {
		ssize_t n = read(tty, line + len, 1);

		if (n != 1 || line[len] == '\n')
			break;
		len++;
	}
	line[len] = '\0';
	return len;
}

/*
 * The prompt stands behind the end of the echo, which throws away what was typed before. Signals that end the process
 * wait until the terminal echoes again.
 */
static size_t
read_silently(int tty, const struct credentials *c, const char *url, char *line, size_t room)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGTSTP};
	enum { SIGNALS = sizeof(signals) / sizeof(signals[0]) };
	struct sigaction sa = {.sa_handler = on_signal}, old[SIGNALS];
	struct termios before, silent;
	size_t len = 0;

	caught = 0;
	if (tcgetattr(tty, &before) != 0)
		return 0;
	silent = before;
	silent.c_lflag &= ~(tcflag_t)ECHO;
	silent.c_lflag |= ECHONL;
	for (size_t i = 0; i < SIGNALS; i++)
		(void)sigaction(signals[i], &sa, &old[i]);
	if (tcsetattr(tty, TCSAFLUSH, &silent) == 0) {
		(void)dprintf(tty, "Password of %s at %s: ", c->name, url);
		len = read_line(tty, line, room);
		(void)tcsetattr(tty, TCSAFLUSH, &before);
	}
	for (size_t i = 0; i < SIGNALS; i++)
		(void)sigaction(signals[i], &old[i], NULL);
	if (caught)
		(void)raise(caught);
	return caught ? 0 : len;
}

int
credentials_ask(struct credentials *c, const char *url)
{
	int tty = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
	size_t len;

	if (tty < 0)
		return ERR_MISSING;
	if (c->name[0] == '\0')
		(void)snprintf(c->name, sizeof(c->name), "admin");
	len = read_silently(tty, c, url, c->password, sizeof(c->password));
	close(tty);
	c->has_password = len > 0;
	return len > 0 ? 0 : ERR_MISSING;
}
