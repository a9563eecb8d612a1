/*
 * main.c: divan-js: runs users' JavaScript for one database of a divand, which started it and holds the other end of
 * its socket.  It answers message by message and ends when the socket does.
 *
 *	divan-js MEMORY ANSWER [PROBE]
 *
 * MEMORY: bytes that the functions may take; ANSWER: bytes of one answer.  With PROBE it tries, inside its sandbox,
 * what is forbidden there, and tells by its exit status.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine.h"
#include "sandbox.h"
#include "script.h"
#include "wire.h"
#include "base/log.h"

static struct buf in;    /* the message that is run */
static struct buf extra; /* rows for a list function */
static unsigned program; /* of the message */

/* Everything or the end: whoever does not listen any more wants nothing. */
static void
put_all(const void *data, size_t len)
{
	const char *p = data;

	while (len > 0) {
		ssize_t n = write(SCRIPT_FD, p, len);

		if (n < 0 && errno != EINTR)
			_exit(0);
		if (n > 0) {
			p += n;
			len -= (size_t)n;
		}
	}
}

static void
tell(char kind, const char *text, size_t len)
{
	const struct wire_head h = {.len = (uint32_t)len, .program = (uint16_t)program, .kind = (uint8_t)kind};

	put_all(&h, sizeof(h));
	put_all(text, len);
}

static void
get_all(void *data, size_t len)
{
	char *p = data;

	while (len > 0) {
		ssize_t n = read(SCRIPT_FD, p, len);

		if (n == 0 || (n < 0 && errno != EINTR))
			_exit(0);
		if (n > 0) {
			p += n;
			len -= (size_t)n;
		}
	}
}

/* A message's text, with a NUL behind it. */
static void
take(struct wire_head *h, struct buf *b)
{
	char *room;

	get_all(h, sizeof(*h));
	buf_clear(b);
	if (buf_reserve(b, (size_t)h->len + 1, &room) != 0)
		_exit(1);
	get_all(room, h->len);
	room[h->len] = '\0';
	buf_commit(b, h->len);
}

static void
on_log(const char *text, size_t len)
{
	tell(SCRIPT_LOG, text, len);
}

static int
on_rows(const char *sent, size_t len, const char **rowsp)
{
	struct wire_head h;

	tell(SCRIPT_MORE, sent, len);
	take(&h, &extra);
	*rowsp = extra.data;
	return h.len > 0;
}

static void
serve(size_t answer)
{
	struct wire_head h;
	struct buf out;

	buf_init(&out, 4 * answer + 4096);
	for (;;) {
		int failed;

		take(&h, &in);
		program = h.program;
		if (engine_run(h.program, (char)h.kind, in.data, h.len, &out, &failed) != 0)
			_exit(1);
		tell(failed ? SCRIPT_FAILED : SCRIPT_ANSWER, out.data, out.len);
		/* A large message is seldom followed by another. */
		if (in.cap > SCRIPT_KEEP)
			buf_release(&in);
		if (out.cap > SCRIPT_KEEP)
			buf_release(&out);
	}
}

int
main(int argc, char **argv)
{
	static const struct engine_host host = {on_log, on_rows};
	size_t memory = argc > 2 ? strtoull(argv[1], NULL, 10) : 0, answer = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
	int err;

	if (memory == 0 || answer == 0)
		return 2;
	buf_init(&in, (size_t)UINT32_MAX + 1);
	buf_init(&extra, (size_t)UINT32_MAX + 1);
	err = sandbox_begin();
	if (err == 0)
		err = engine_start(&host, answer);
	if (err == 0)
		err = sandbox_close(memory);
	if (err != 0) {
		log_line(LOG_ERROR, "divan-js cannot start: %s", err_reason(err));
		return 1;
	}
	if (argc > 3)
		_exit(sandbox_probe(argv[3]) == 0 ? 0 : 3);
	serve(answer);
	return 0;
}
