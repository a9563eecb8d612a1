/*
 * A divan-js that was taken over: whatever it sends, and whenever it ends, its parent tells an answer, a failure or the child's end, and
 * goes on with another.  The first byte says what it is asked; the rest is what it sends before it hears anything.
 *
 * The process that would be started is this one: socketpair() here keeps the child's end, posix_spawn() and waitpid() do nothing.
 */
#include <errno.h>
#include <spawn.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "fuzz.h"
#include "script/script.h"

static const uint8_t *said;
static size_t said_len;
static int childs_end = -1;

/* ---- What child.c calls ---- */

int
socketpair(int domain, int type, int protocol, int fds[2])
{
	if (syscall(SYS_socketpair, domain, type, protocol, fds) != 0)
		return -1;
	if (childs_end >= 0)
		(void)close(childs_end);
	childs_end = dup(fds[1]);
	FUZZ_CHECK(childs_end >= 0);
	/* All of it has room in a socket's buffer. */
	FUZZ_CHECK(said_len == 0 || send(childs_end, said, said_len, MSG_NOSIGNAL) == (ssize_t)said_len);
	FUZZ_CHECK(shutdown(childs_end, SHUT_WR) == 0);
	return 0;
}

int
posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *fa, const posix_spawnattr_t *at,
    char *const argv[], char *const envp[])
{
	(void)path, (void)fa, (void)at, (void)argv, (void)envp;
	*pid = 1 << 29; /* there is none of this number */
	return 0;
}

pid_t
waitpid(pid_t pid, int *status, int options)
{
	(void)options;
	FUZZ_CHECK(pid == 1 << 29);
	*status = 0;
	return pid;
}

/* ---- The executor: nothing runs later ---- */

static void
submit(struct executor *ex, struct exec_job *job)
{
	(void)ex;
	job->fn(job->arg);
}

static void
later(struct executor *ex, struct exec_job *job, uint64_t delay_ms)
{
	(void)ex, (void)job, (void)delay_ms;
}

static int
cancel(struct executor *ex, struct exec_job *job)
{
	(void)ex, (void)job;
	return 1;
}

static uint64_t
clock_of(struct executor *ex)
{
	(void)ex;
	return 1000000;
}

static struct executor executor = {
    .submit = submit, .later = later, .cancel = cancel, .now_ms = clock_of, .wall_us = clock_of};

/* ---- What it is asked ---- */

static void
ask(struct script *sc, unsigned what)
{
	static const struct jstr parts[] = {{"[", 1}, {"{\"_id\":\"a\"}", 11}, {"]", 1}};
	struct errtext why = {""};
	struct jstr answer;
	unsigned sent = 0;
	int err;

	if (what & 4) {
		err = script_send_list(sc, parts, 3);
		sent = err == 0;
	} else {
		for (; sent <= what % 4 && (err = script_send(sc, SCRIPT_MAP, parts, 3)) == 0; sent++)
			;
	}
	for (unsigned n = 0; n < 8 && sent > 0; n++) {
		err = script_receive(sc, &answer, &why);
		if (err == ERR_AGAIN) {
			FUZZ_CHECK((what & 4) && answer.len <= said_len);
			if (script_rows(sc, parts, n % 4) != 0)
				break;
			continue;
		}
		FUZZ_CHECK(err == 0 || err == ERR_SCRIPT || err == ERR_SCRIPT_DIED || err == ERR_TOO_LARGE);
		if (err == 0)
			FUZZ_CHECK(answer.len <= said_len);
		FUZZ_CHECK(strlen(script_error(sc)) < 64);
		if (err != 0 && err != ERR_SCRIPT)
			break;
		sent--;
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const struct scripts_config config = {.exe = "/nonexistent",
	    .max_children = 1,
	    .idle_ms = 1000,
	    .timeout_ms = 1000,
	    .max_answer = 4096,
	    .ex = &executor};
	static const struct jstr program = {"{\"map\":[\"f\"]}", 13};
	struct errtext why = {""};
	struct scripts_count count;
	struct scripts *s;
	struct script *sc;
	int err;

	if (len == 0 || len > 65536)
		return 0;
	log_set_level(LOG_ERROR + 1);
	said = data + 1;
	said_len = len - 1;
	FUZZ_CHECK(scripts_new(&config, &s) == 0);
	for (int round = 0; round < 2; round++) {
		err = script_open(s, "d", program, &sc, &why);
		FUZZ_CHECK(err == 0 || err == ERR_SCRIPT || err == ERR_SCRIPT_DIED || err == ERR_TOO_LARGE);
		if (err == 0) {
			ask(sc, data[0]);
			script_close(sc);
		}
		/* What it would say unasked, or that it has ended: no other caller meets it. */
		scripts_count(s, &count);
		FUZZ_CHECK(count.busy == 0 && count.waiting == 0 && count.children <= 1);
	}
	scripts_free(s);
	(void)close(childs_end);
	childs_end = -1;
	return 0;
}
