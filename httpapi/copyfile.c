/*
 * copyfile.c: GET /{db}/_copy, a database as one file, while it is served.
 *
 * A copy takes as long as the disk does, and its client as long as the network does. So the file is made on the
 * copier, an executor of one thread, which leaves the other threads to commits; the database is let go of before
 * the first byte is sent; and then the file is read piece by piece on an executor thread, since what has left the
 * cache has to be waited for.
 *
 *	copyfile_get --copier--> make -> made: the head --executor--> read_piece -> fetched: send --ready--> next piece
 *	                                                                             \ all of it was sent: finish
 *
 * Invariants
 * 1. The file has a name only while it is made, one that the store removes at its start (".tmp-"): no copy is left
 *    by a client that vanishes, a failure, or a kill.
 * 2. While a job has the copy the request is held. A client that vanishes then only marks it; the job's message
 *    lets go of it.
 * 3. At most LIMIT_COPIES exist, whether they wait, are made or are sent: they take room on the disk.
 */
#include "copyfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/log.h"

#define PIECE_BYTES ((size_t)256 << 10)

/* All copies of one server. */
struct copies {
	struct executor *copier;
	const char *dir;
	atomic_uint n;     /* that exist */
	atomic_uint nmade; /* names given so far */
};

/* One copy, in its request's arena. */
struct copy {
	struct apireq *r;
	struct exec_job job;
	struct http_msg msg;
	int fd; /* -1: none yet */
	int err;
	int busy;    /* a job has it */
	int stopped; /* the client is gone */
	uint64_t size, at;
	char *piece;
	size_t len;
};

int
copyfile_new(struct api *api, struct executor *copier, const char *dir)
{
	struct copies *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return ERR_NOMEM;
	c->copier = copier;
	c->dir = dir;
	api->copies = c;
	return 0;
}

void
copyfile_free(struct api *api)
{
	free(api->copies);
	api->copies = NULL;
}

static void
drop(struct copy *c)
{
	if (c->fd >= 0)
		close(c->fd);
	free(c->piece);
	c->fd = -1;
	c->piece = NULL;
	atomic_fetch_sub(&c->r->api->copies->n, 1);
	api_done(c->r);
}

/* ---- On the executors ---- */

static void
post(struct copy *c)
{
	http_post(http_req_thread(c->r->http), &c->msg);
}

static void
read_piece(struct copy *c)
{
	size_t want = c->size - c->at < PIECE_BYTES ? (size_t)(c->size - c->at) : PIECE_BYTES;
	ssize_t n;

	for (c->len = 0; c->len < want; c->len += (size_t)n) {
		n = pread(c->fd, c->piece + c->len, want - c->len, (off_t)(c->at + c->len));
		if (n < 0 && errno == EINTR) {
			n = 0;
		} else if (n <= 0) {
			log_line(LOG_ERROR, "a copy cannot be read: %s", n < 0 ? strerror(errno) : "it was cut short");
			c->err = ERR_IO;
			return;
		}
	}
	c->at += c->len;
}

static int
open_nameless(struct copy *c, const char *path)
{
	struct stat st;

	c->fd = open(path, O_RDONLY | O_CLOEXEC);
	(void)unlink(path);
	if (c->fd < 0 || fstat(c->fd, &st) != 0) {
		log_line(LOG_ERROR, "a copy cannot be opened: %s", strerror(errno));
		return ERR_IO;
	}
	c->size = (uint64_t)st.st_size;
	return 0;
}

static void
make(void *arg)
{
	struct copy *c = arg;
	struct copies *all = c->r->api->copies;
	char path[PATH_MAX];
	int n = snprintf(
	    path, sizeof(path), "%s/.tmp-copy-%ld-%u", all->dir, (long)getpid(), atomic_fetch_add(&all->nmade, 1));

	c->piece = malloc(PIECE_BYTES);
	if (c->piece == NULL)
		c->err = ERR_NOMEM;
	else
		c->err = n > 0 && n < PATH_MAX ? db_copy(c->r->db, path) : ERR_IO;
	if (c->err == 0)
		c->err = open_nameless(c, path);
	if (c->err == 0)
		read_piece(c);
	post(c);
}

static void
fetch(void *arg)
{
	struct copy *c = arg;

	read_piece(c);
	post(c);
}

/* ---- On the request's thread ---- */

static void
run(struct copy *c, struct executor *ex, exec_f *work, void (*then)(void *arg))
{
	c->job.fn = work;
	c->job.arg = c;
	c->msg.fn = then;
	c->msg.arg = c;
	c->busy = 1;
	http_hold(c->r->http);
	ex->submit(ex, &c->job);
}

static void
fetched(void *arg)
{
	struct copy *c = arg;
	struct http_req *http = c->r->http;

	c->busy = 0;
	if (c->stopped) {
		drop(c);
	} else if (c->err) {
		drop(c);
		http_abort(http);
	} else {
		http_send(http, c->piece, c->len);
	}
	http_release(http);
}

static void
on_ready(void *cookie)
{
	struct copy *c = cookie;
	struct http_req *http = c->r->http;

	if (c->at < c->size) {
		run(c, c->r->api->ex, fetch, fetched);
	} else {
		drop(c);
		http_finish(http);
	}
}

static void
on_stop(void *cookie)
{
	struct copy *c = cookie;

	c->stopped = 1;
	if (!c->busy)
		drop(c);
}

/* The name as the file in the data folder has it; there are no other characters in names of databases. */
static int
set_headers(struct apireq *r)
{
	struct buf b;
	int err;

	buf_init(&b, 4096);
	buf_puts(&b, "attachment; filename=\"");
	api_url_encode(&b, r->part[0].s, r->part[0].len);
	buf_puts(&b, ".divan\"");
	err = buf_failed(&b);
	if (err == 0) {
		http_set_header(r->http, "content-type", "application/octet-stream", 24);
		http_set_header(r->http, "cache-control", "no-store", 8);
		http_set_header(r->http, "content-disposition", b.data, b.len);
	}
	buf_release(&b);
	return err;
}

static void
made(void *arg)
{
	struct copy *c = arg;
	struct apireq *r = c->r;
	struct http_req *http = r->http;

	c->busy = 0;
	if (c->err == 0)
		c->err = set_headers(r);
	if (c->err || http_gone(http)) {
		drop(c);
		api_error(r, c->err ? c->err : ERR_IO, NULL);
	} else {
		api_done(r);
		http_start(http, 200, c->size, on_ready, on_stop, c);
		http_send(http, c->piece, c->len);
	}
	http_release(http);
}

void
copyfile_get(struct apireq *r)
{
	struct copies *all = r->api->copies;
	struct copy *c;

	/* HEAD would make a copy only to tell its length. */
	if (strcmp(http_method(r->http), "GET") != 0) {
		api_method_not_allowed(r, "GET");
		return;
	}
	c = arena_calloc(r->arena, 1, sizeof(*c));
	if (c == NULL || all == NULL) {
		api_error(r, all == NULL ? ERR_NOT_IMPLEMENTED : ERR_NOMEM, NULL);
		return;
	}
	if (atomic_fetch_add(&all->n, 1) >= LIMIT_COPIES) {
		atomic_fetch_sub(&all->n, 1);
		api_error_text(r, 503, "service_unavailable", "Too many databases are being copied.");
		return;
	}
	c->r = r;
	c->fd = -1;
	run(c, all->copier, make, made);
}
