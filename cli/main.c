/*
 * main.c: divan, the command-line tool.
 *
 * Two ways to the data, and no third: a data folder that nobody serves, under its lock (folder.h), or a running
 * divand over HTTP (base/httpc.h).
 */
#include "cli.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/version.h"

struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *help;
	const char *summary;
};

static const struct command commands[] = {
    {"copy", copy_run, copy_help, "one database as one file, while it is served or not"},
    {"restore", restore_run, restore_help, "such a file as a database of a data folder that nobody serves"},
    {"check", check_run, check_help, "whether the databases of such a folder are sound"},
    {"repair", repair_run, repair_help, "what can be read of a damaged one, as a new one, and what is lost"},
    {"replicate", replicate_run, replicate_help, "the changes of one database to another, by a running divand"},
};

#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

void
cli_print(FILE *f, const char *text, size_t max)
{
	for (size_t i = 0; i < max && text[i] != '\0'; i++) {
		unsigned char c = (unsigned char)text[i], next = (unsigned char)text[i + 1];
		/* U+0080 to U+009F have two bytes; one of these begins sequences as ESC does. */
		int wide = c == 0xc2 && next >= 0x80 && next < 0xa0;

		fputc(c < ' ' || c == 0x7f || wide ? '?' : c, f);
		i += (size_t)wide;
	}
}

void
cli_say(const char *fmt, ...)
{
	char text[4096];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fflush(stdout);
	fputs("divan: ", stderr);
	/* Part of it may be a server's words. */
	cli_print(stderr, text, sizeof(text));
	fputc('\n', stderr);
}

int
cli_errno(const char *path)
{
	cli_say("%s: %s", path, strerror(errno));
	return ERR_IO;
}

void
cli_signals(void (*handler)(int signo), int flags)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
	struct sigaction sa = {.sa_handler = handler, .sa_flags = flags}, now;

	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		if (sigaction(signals[i], NULL, &now) == 0 && now.sa_handler != SIG_IGN)
			(void)sigaction(signals[i], &sa, NULL);
}

static void
usage(FILE *to)
{
	fprintf(to, "usage: divan COMMAND [OPTION...] ARGUMENT...\n\n");
	for (size_t i = 0; i < COMMANDS; i++)
		fprintf(to, "  %-9s %s\n", commands[i].name, commands[i].summary);
	fprintf(to, "\n`divan COMMAND --help` tells more. `divan --version` prints the version.\n"
		    "Exit status: 0 done, 1 it failed or something is wrong with the data, 2 wrong usage.\n");
}

static int
wants_help(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (strcmp(argv[i], "--help") == 0)
			return 1;
	return 0;
}

static int
run(const struct command *c, int argc, char **argv)
{
	int status;

	if (wants_help(argc, argv)) {
		fputs(c->help, stdout);
		return CLI_DONE;
	}
	status = c->run(argc, argv);
	if (status == CLI_USAGE)
		fputs(c->help, stderr);
	return status & 255;
}

int
main(int argc, char **argv)
{
	/* A line goes out at once, and not by single characters. */
	(void)setvbuf(stderr, NULL, _IOLBF, BUFSIZ);
	/* Writes to what is gone, or may not grow, fail; they do not end the process. */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	if (argc == 2 && strcmp(argv[1], "--version") == 0) {
		printf("divan %s\n", DIVAN_VERSION);
		return CLI_DONE;
	}
	if (argc == 2 && strcmp(argv[1], "--help") == 0) {
		usage(stdout);
		return CLI_DONE;
	}
	for (size_t i = 0; argc > 1 && i < COMMANDS; i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return run(&commands[i], argc - 1, argv + 1);
	if (argc > 1)
		cli_say("there is no command %s", argv[1]);
	usage(stderr);
	return CLI_USAGE;
}
