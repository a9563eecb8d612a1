/*
 * sorter.c: records are gathered in memory; when that is full they are sorted and written behind each other into a file: a run.  In the end
 * the runs are merged.  What fits into memory never sees the file.
 *
 * A record: length of the key with its tag, length of the value (4 bytes each, in the machine's order), tag, key, value.
 *
 * The file has no name, so that nothing is left of it, and is read through a map: its pages are the system's to keep or not.
 */
#include "sorter.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "keysort.h"

#define HELD ((size_t)32 << 20) /* of records in memory */
#define HEAD (2 * sizeof(uint32_t))
#define RUNS_MAX 64u
#define AHEAD 8u /* records that are on their way to the cache */
#define CACHE_LINE 64u
#define OUT ((size_t)256 << 10)

/* A run in the file, and how far it is read. */
struct run {
	size_t from, to;
	const unsigned char *at;
	uint64_t chunk; /* first bytes of the key there */
};

/* Invariant: either all records are in memory, or with sorted set all are in the file. */
struct sorter {
	char *dir;
	unsigned char *held; /* records */
	size_t len, cap;
	struct keysort *v; /* those in memory */
	size_t n, vcap, next;
	struct run runs[RUNS_MAX];
	size_t nruns;
	int fd; /* -1: there is no file yet */
	size_t file_len;
	unsigned char *map;
	size_t bytes;
	int sorted;
};

static int
failed(const char *what)
{
	int err = err_errno(errno);

	log_line(LOG_ERROR, "sorting an index: %s: %s", what, strerror(errno));
	return err;
}

int
sorter_new(const char *dir, struct sorter **sp)
{
	struct sorter *s = calloc(1, sizeof(*s));

	if (s == NULL || (dir != NULL && (s->dir = strdup(dir)) == NULL)) {
		free(s);
		return ERR_NOMEM;
	}
	s->fd = -1;
	*sp = s;
	return 0;
}

void
sorter_free(struct sorter *s)
{
	if (s == NULL)
		return;
	if (s->map != NULL)
		(void)munmap(s->map, s->file_len);
	if (s->fd >= 0)
		(void)close(s->fd);
	free(s->held);
	free(s->v);
	free(s->dir);
	free(s);
}

/* ---- Records ---- */

static void
take(const unsigned char *p, struct jstr *key, struct jstr *val)
{
	uint32_t klen, vlen;

	memcpy(&klen, p, sizeof(klen));
	memcpy(&vlen, p + sizeof(klen), sizeof(vlen));
	*key = (struct jstr){(const char *)p + HEAD, klen};
	*val = (struct jstr){(const char *)p + HEAD + klen, vlen};
}

/* ---- Runs ---- */

static int
open_file(struct sorter *s)
{
	if (s->fd < 0 && s->dir != NULL)
		s->fd = open(s->dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	/* Not every file system has files without names. */
	if (s->fd < 0)
		s->fd = memfd_create("sorter", MFD_CLOEXEC);
	return s->fd >= 0 ? 0 : failed("open");
}

static int
write_all(struct sorter *s, const unsigned char *p, size_t len)
{
	while (len > 0) {
		ssize_t n = write(s->fd, p, len);

		if (n < 0 && errno != EINTR)
			return failed("write");
		if (n > 0) {
			p += n;
			len -= (size_t)n;
			s->file_len += (size_t)n;
		}
	}
	return 0;
}

static int
write_run(struct sorter *s, unsigned char *out)
{
	size_t used = 0;
	int err = 0;

	for (size_t i = 0; i < s->n && err == 0; i++) {
		const unsigned char *p = (const unsigned char *)s->v[i].key - HEAD;
		struct jstr key, val;
		size_t size;

		take(p, &key, &val);
		size = HEAD + key.len + val.len;
		if (used > 0 && used + size > OUT) {
			err = write_all(s, out, used);
			used = 0;
		}
		if (err == 0 && size > OUT) {
			err = write_all(s, p, size);
		} else if (err == 0) {
			memcpy(out + used, p, size);
			used += size;
		}
	}
	return err == 0 ? write_all(s, out, used) : err;
}

/* spill: What is in memory becomes a run. */
static int
spill(struct sorter *s)
{
	unsigned char *out = malloc(OUT);
	size_t from = s->file_len;
	int err = out != NULL ? open_file(s) : ERR_NOMEM;

	if (err == 0) {
		keysort(s->v, s->n);
		err = write_run(s, out);
	}
	free(out);
	if (err != 0)
		return err;
	s->runs[s->nruns++] = (struct run){.from = from, .to = s->file_len};
	s->len = s->n = 0;
	return 0;
}

/* room: For a record of ${size} bytes. */
static int
room(struct sorter *s, size_t size)
{
	int err;

	if (s->n == s->vcap) {
		size_t cap = s->vcap != 0 ? 2 * s->vcap : 1024;
		struct keysort *v = reallocarray(s->v, cap, sizeof(*v));

		if (v == NULL)
			return ERR_NOMEM;
		s->v = v;
		s->vcap = cap;
	}
	if (s->cap - s->len >= size)
		return 0;
	if (s->n > 0 && (s->nruns == RUNS_MAX - 1 ? (err = ERR_NOMEM) : (err = spill(s))) != 0)
		return err;
	if (s->cap >= size)
		return 0;
	free(s->held);
	s->cap = size > HELD ? size : HELD;
	/* Memory that is not written to is not taken. */
	if ((s->held = malloc(s->cap)) == NULL) {
		s->cap = 0;
		return ERR_NOMEM;
	}
	return 0;
}

int
sorter_add(struct sorter *s, unsigned char tag, struct jstr key, struct jstr val)
{
	size_t size = HEAD + 1 + key.len + val.len;
	uint32_t klen = (uint32_t)key.len + 1, vlen = (uint32_t)val.len;
	unsigned char *p;
	int err;

	if (key.len >= UINT32_MAX || val.len > UINT32_MAX)
		return ERR_NOMEM;
	if ((err = room(s, size)) != 0)
		return err;
	p = s->held + s->len;
	memcpy(p, &klen, sizeof(klen));
	memcpy(p + sizeof(klen), &vlen, sizeof(vlen));
	p[HEAD] = tag;
	memcpy(p + HEAD + 1, key.s, key.len);
	if (val.len > 0)
		memcpy(p + HEAD + klen, val.s, val.len);
	s->v[s->n++] = (struct keysort){.key = (const char *)p + HEAD, .len = klen};
	s->len += size;
	s->bytes += key.len + val.len;
	return 0;
}

size_t
sorter_bytes(const struct sorter *s)
{
	return s->bytes;
}

/* ---- In order ---- */

/* look: What stands where the run is read. */
static void
look(struct sorter *s, struct run *r)
{
	unsigned char first[8] = {0};
	struct jstr key, val;

	if (r->at == s->map + r->to)
		return;
	take(r->at, &key, &val);
	memcpy(first, key.s, key.len < sizeof(first) ? key.len : sizeof(first));
	r->chunk = bytes_load_u64be(first);
}

int
sorter_sort(struct sorter *s)
{
	int err;

	s->next = 0;
	if (!s->sorted && s->nruns == 0)
		keysort(s->v, s->n);
	else if (!s->sorted && s->n > 0 && (err = spill(s)) != 0)
		return err;
	s->sorted = 1;
	if (s->nruns == 0)
		return 0;
	if (s->map == NULL) {
		void *map = mmap(NULL, s->file_len, PROT_READ, MAP_SHARED, s->fd, 0);

		if (map == MAP_FAILED)
			return failed("mmap");
		s->map = map;
		free(s->held);
		free(s->v);
		s->held = NULL;
		s->v = NULL;
		s->cap = s->vcap = 0;
	}
	for (size_t i = 0; i < s->nruns; i++) {
		s->runs[i].at = s->map + s->runs[i].from;
		look(s, &s->runs[i]);
	}
	return 0;
}

static int
is_below(const struct run *a, const struct run *b)
{
	struct jstr x, y, val;
	size_t n;

	if (a->chunk != b->chunk)
		return a->chunk < b->chunk;
	take(a->at, &x, &val);
	take(b->at, &y, &val);
	n = x.len < y.len ? x.len : y.len;
	return memcmp(x.s, y.s, n) < 0;
}

static const unsigned char *
next_of_runs(struct sorter *s)
{
	struct run *least = NULL;
	const unsigned char *at;
	struct jstr key, val;

	for (size_t i = 0; i < s->nruns; i++)
		if (s->runs[i].at != s->map + s->runs[i].to && (least == NULL || is_below(&s->runs[i], least)))
			least = &s->runs[i];
	if (least == NULL)
		return NULL;
	at = least->at;
	take(at, &key, &val);
	least->at += HEAD + key.len + val.len;
	look(s, least);
	return at;
}

/* next_held: Records in the order of their keys are all over the memory. */
static const unsigned char *
next_held(struct sorter *s)
{
	if (s->next + AHEAD < s->n) {
		const char *soon = s->v[s->next + AHEAD].key - HEAD;

		__builtin_prefetch(soon);
		__builtin_prefetch(soon + CACHE_LINE);
	}
	return (const unsigned char *)s->v[s->next++].key - HEAD;
}

int
sorter_next(struct sorter *s, unsigned char *tag, struct jstr *key, struct jstr *val)
{
	const unsigned char *p = NULL;

	if (s->nruns > 0)
		p = next_of_runs(s);
	else if (s->next < s->n)
		p = next_held(s);
	if (p == NULL)
		return ERR_END;
	take(p, key, val);
	*tag = (unsigned char)*key->s++;
	key->len--;
	return 0;
}
