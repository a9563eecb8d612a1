/* cli.h: what the commands of `divan` share.  A command is a file: its function, its options, its help. */
#ifndef CLI_CLI_H_
#define CLI_CLI_H_

#include <stdio.h>
#include "base/err.h"

/* Exit statuses. */
enum {
	CLI_DONE = 0,
	CLI_FAILED = 1,       /* it could not be done, or something is wrong with the data; standard error says what */
	CLI_USAGE = 2,        /* the command line is wrong */
	CLI_PARTLY = 3,       /* done, but for documents that were refused */
	CLI_NOTHING = 256 + 2 /* for the shell 2, but the command line was right: nothing could be done at all */
};

/** cli_print(f, text, max): At most ${max} bytes of the UTF-8 of others, with '?' for each control character: none reaches the terminal. */
void cli_print(FILE *f, const char *text, size_t max);
/** cli_say(fmt, ...): "divan: TEXT" as a line on standard error, as cli_print() prints. */
void cli_say(const char *fmt, ...) PRINTF_LIKE(1, 2);
/** cli_errno(path): Say what errno is about ${path}.  Returns ERR_IO. */
int cli_errno(const char *path);
/**
 * cli_signals(handler, flags): SIGINT, SIGTERM and SIGHUP call ${handler} from now on (SIG_DFL: they end the process), by sigaction()
 * with ${flags}.  One that divan was started to ignore, as by nohup, stays ignored.
 */
void cli_signals(void (*handler)(int signo), int flags);

/**
 * A command: argv[0] is its name, options and arguments follow (getopt_long() is at its beginning).  Returns an exit
 * status.  ..._help is what `divan COMMAND --help` prints.
 */
int copy_run(int argc, char **argv);
int restore_run(int argc, char **argv);
int check_run(int argc, char **argv);
int repair_run(int argc, char **argv);
int replicate_run(int argc, char **argv);
extern const char copy_help[], restore_help[], check_help[], repair_help[], replicate_help[];

#endif
