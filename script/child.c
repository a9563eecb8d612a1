/*
 * child.c: the parent's side of a divan-js.
 *
 * The socket does not block: while a large message goes out, answers to earlier ones come in, so that neither side waits
 * for the other to read.
 */
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"

#define READ_STEP ((size_t)64 << 10)
#define PARTS 16u /* pieces of a message that go out in one call */

/* ---- Start and end ---- */

/*
 * The engine reads these as it starts.  One thread more than its own is enough; without the Gigacage its typed arrays count
 * as the memory that they are.
 */
static const char *const environment[] = {"GIGACAGE_ENABLED=0", "JSC_forceRAMSize=134217728", "JSC_useConcurrentJIT=0",
    "JSC_useConcurrentGC=0", "JSC_numberOfGCMarkers=1", "JSC_useWebAssembly=0", "LC_ALL=C.UTF-8", "TZ=UTC", NULL};

static int
file_actions(posix_spawn_file_actions_t *fa, int fd)
{
	int rc = posix_spawn_file_actions_addopen(fa, STDIN_FILENO, "/dev/null", O_RDONLY, 0);

	if (rc == 0)
		rc = posix_spawn_file_actions_addopen(fa, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
	if (rc == 0)
		rc = posix_spawn_file_actions_addopen(fa, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	if (rc == 0)
		rc = posix_spawn_file_actions_adddup2(fa, fd, SCRIPT_FD);
	return rc;
}

/* The signals as a new process has them, and a group of its own: what ends the server from a terminal leaves it to the server. */
static int
attributes(posix_spawnattr_t *at)
{
	sigset_t none, ours;
	int rc;

	(void)sigemptyset(&none);
	(void)sigemptyset(&ours);
	(void)sigaddset(&ours, SIGPIPE);
	(void)sigaddset(&ours, SIGXFSZ);
	rc = posix_spawnattr_setflags(at, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
	if (rc == 0)
		rc = posix_spawnattr_setsigmask(at, &none);
	if (rc == 0)
		rc = posix_spawnattr_setsigdefault(at, &ours);
	return rc;
}

static int
spawn(const struct scripts_config *config, int fd, pid_t *pidp)
{
	char memory[24], answer[24];
	const char *const args[] = {config->exe, memory, answer, NULL};
	posix_spawn_file_actions_t fa;
	posix_spawnattr_t at;
	int rc;

	union {
		const char *const *given;
		char *const *wanted;
	} argv = {args}, envp = {environment};
	(void)snprintf(memory, sizeof(memory), "%zu", config->memory);
	(void)snprintf(answer, sizeof(answer), "%zu", config->max_answer);
	if (posix_spawn_file_actions_init(&fa) != 0)
		return ERR_NOMEM;
	if (posix_spawnattr_init(&at) != 0) {
		(void)posix_spawn_file_actions_destroy(&fa);
		return ERR_NOMEM;
	}
	rc = file_actions(&fa, fd);
	if (rc == 0)
		rc = attributes(&at);
	if (rc == 0)
		rc = posix_spawn(pidp, config->exe, &fa, &at, argv.wanted, envp.wanted);
	(void)posix_spawnattr_destroy(&at);
	(void)posix_spawn_file_actions_destroy(&fa);
	if (rc == 0)
		return 0;
	log_line(LOG_ERROR, "%s: %s", config->exe, strerror(rc));
	return err_errno(rc);
}

int
child_start(const struct scripts_config *config, const char *owner, struct child **cp)
{
	struct child *c = calloc(1, sizeof(*c));
	int fds[2], err;

	if (c == NULL || (c->owner = strdup(owner)) == NULL) {
		free(c);
		return ERR_NOMEM;
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) {
		err = err_errno(errno);
		log_line(LOG_ERROR, "a socket pair for divan-js: %s", strerror(errno));
		free(c->owner);
		free(c);
		return err;
	}
	err = fcntl(fds[0], F_SETFL, O_NONBLOCK) == 0 ? spawn(config, fds[1], &c->pid) : ERR_IO;
	(void)close(fds[1]);
	c->fd = fds[0];
	buf_init(&c->in, 4 * config->max_answer + ((size_t)1 << 20));
	if (err != 0) {
		(void)close(c->fd);
		free(c->owner);
		free(c);
		return err;
	}
	*cp = c;
	return 0;
}

static void
tell_status(int status, struct errtext *why)
{
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
		(void)err_why(why, ERR_SCRIPT_DIED, "the function tried what is forbidden");
	else if (WIFSIGNALED(status))
		(void)err_why(why, ERR_SCRIPT_DIED,
		    "the function exhausted its memory, or broke the engine (signal %d)", WTERMSIG(status));
	else
		(void)err_why(why, ERR_SCRIPT_DIED, "the function's process ended with status %d", WEXITSTATUS(status));
}

void
child_end(struct child *c, struct errtext *why)
{
	int status;

	if (waitpid(c->pid, &status, WNOHANG) == c->pid) {
		tell_status(status, why);
	} else {
		(void)kill(c->pid, SIGKILL);
		while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR)
			;
		if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL)
			tell_status(status, why);
	}
	(void)close(c->fd);
	buf_release(&c->in);
	free(c->owner);
	free(c);
}

int
child_is_alive(const struct child *c)
{
	struct pollfd p = {.fd = c->fd, .events = POLLIN};

	/* It has nothing to say unasked. */
	return poll(&p, 1, 0) == 0;
}

int
child_has_more(const struct child *c)
{
	return c->in.len > c->taken;
}

/* ---- Messages ---- */

/* wait_for: Until ${events} are there, or the deadline. */
static int
wait_for(const struct child *c, short events, const struct scripts_config *config, uint64_t deadline_ms)
{
	struct pollfd p = {.fd = c->fd, .events = events};
	int rc;

	do {
		uint64_t now = config->ex->now_ms(config->ex);

		if (now >= deadline_ms)
			return ERR_SCRIPT_TIMEOUT;
		rc = poll(&p, 1, (int)(deadline_ms - now));
	} while (rc < 0 && errno == EINTR);
	return rc > 0 ? 0 : rc == 0 ? ERR_SCRIPT_TIMEOUT : ERR_SCRIPT_DIED;
}

/* take_in: What has come, as far as it has. */
static int
take_in(struct child *c)
{
	char *room;
	ssize_t n;
	int err = buf_reserve(&c->in, READ_STEP, &room);

	if (err != 0)
		return err;
	n = read(c->fd, room, READ_STEP);
	if (n > 0)
		buf_commit(&c->in, (size_t)n);
	return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)) ? 0 : ERR_SCRIPT_DIED;
}

/* put_some: As much of the vector as goes; returns how much. */
static ssize_t
put_some(const struct child *c, const struct iovec *v, size_t n)
{
	struct iovec copy[PARTS];
	struct msghdr m = {.msg_iov = copy, .msg_iovlen = n < PARTS ? n : PARTS};

	memcpy(copy, v, m.msg_iovlen * sizeof(*v));
	return sendmsg(c->fd, &m, MSG_NOSIGNAL);
}

/* pass: ${n} bytes of the vector are sent; returns how many entries that ends. */
static size_t
pass(struct iovec *v, size_t n, size_t sent)
{
	size_t i = 0;

	while (i < n && sent >= v[i].iov_len)
		sent -= v[i++].iov_len;
	if (i < n) {
		v[i].iov_base = (char *)v[i].iov_base + sent;
		v[i].iov_len -= sent;
	}
	return i;
}

static int
put_vector(struct child *c, struct iovec *v, size_t n, const struct scripts_config *config, uint64_t deadline_ms)
{
	while (n > 0) {
		ssize_t sent = put_some(c, v, n);
		size_t done;
		int err;

		if (sent < 0 && errno != EAGAIN && errno != EINTR)
			return ERR_SCRIPT_DIED;
		done = pass(v, n, sent > 0 ? (size_t)sent : 0);
		v += done;
		n -= done;
		if (n == 0 || sent > 0)
			continue;
		if ((err = wait_for(c, POLLIN | POLLOUT, config, deadline_ms)) != 0 || (err = take_in(c)) != 0)
			return err;
	}
	return 0;
}

int
child_put(struct child *c, struct wire_head h, const struct jstr *parts, size_t n, const struct scripts_config *config,
    uint64_t deadline_ms)
{
	struct iovec *v = calloc(n + 1, sizeof(*v));
	size_t len = 0;
	int err;

	if (v == NULL)
		return ERR_NOMEM;
	for (size_t i = 0; i < n; i++) {
		union {
			const char *given;
			char *wanted;
		} s = {parts[i].s};

		v[i + 1] = (struct iovec){s.wanted, parts[i].len};
		len += parts[i].len;
	}
	h.len = (uint32_t)len;
	v[0] = (struct iovec){&h, sizeof(h)};
	err = len > UINT32_MAX ? ERR_TOO_LARGE : put_vector(c, v, n + 1, config, deadline_ms);
	free(v);
	return err;
}

/* forget: What was taken makes room, unless there is more than it behind it: then it would be moved again and again. */
static void
forget(struct child *c)
{
	if (c->taken == c->in.len) {
		buf_clear(&c->in);
		if (c->in.cap > SCRIPT_KEEP)
			buf_release(&c->in);
		c->taken = 0;
	} else if (c->taken > c->in.len / 2) {
		memmove(c->in.data, c->in.data + c->taken, c->in.len - c->taken);
		c->in.len -= c->taken;
		c->taken = 0;
	}
}

int
child_get(
    struct child *c, struct wire_head *h, struct jstr *textp, const struct scripts_config *config, uint64_t deadline_ms)
{
	int err;

	forget(c);
	for (;;) {
		size_t have = c->in.len - c->taken;

		if (have >= sizeof(*h)) {
			memcpy(h, c->in.data + c->taken, sizeof(*h));
			if (h->len > 4 * config->max_answer)
				return ERR_TOO_LARGE;
			if (have - sizeof(*h) >= h->len)
				break;
		}
		if ((err = wait_for(c, POLLIN, config, deadline_ms)) != 0 || (err = take_in(c)) != 0)
			return err;
	}
	*textp = (struct jstr){c->in.data + c->taken + sizeof(*h), h->len};
	c->taken += sizeof(*h) + h->len;
	return 0;
}
