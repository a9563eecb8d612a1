/*
 * updates.c: which databases of this server were made, written to and dropped, in order.
 *
 * CouchDB keeps a database for this with up to three documents for each database's name (created, updated, deleted),
 * each of which moves to the end of its changes feed when it happens again.  Here the same rows are kept in memory: a
 * record for each name with the sequence of each kind, and a log of slots in the order of sequences, in which a
 * kind that happened again leaves a dead slot behind.  When the log is full its dead slots are squeezed out.
 *
 * A run of the server begins a new log with rows for all databases, and a new name for its sequences; a
 * sequence of an earlier run is thereby known, and means the beginning.
 *
 * Invariants:
 * 1. The log ascends by sequence; a slot is alive if its record has its sequence for some kind.
 * 2. The log has room for 6 slots a record, of which at most 3 are alive: squeezing always makes room, so what is
 *    told of a known database never needs memory.
 * 3. At most LIMIT_UPDATES_GONE records are of databases that are gone; the oldest of them is forgotten.  So all is
 *    bounded by the number of databases.
 * 4. Everything but run is guarded by the lock.
 */
#include "updates.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/log.h"
#include "uuid.h"

#define BUCKETS_FIRST 256u
#define SLOTS_FIRST 64u
#define SLOTS_PER_RECORD 6u
#define TURN_ROWS 128u

enum { CREATED, UPDATED, DELETED, NKINDS };

static const char *const kind_names[NKINDS] = {"created", "updated", "deleted"};

struct record {
	struct record *hash_next;
	struct record *gone_prev, *gone_next; /* of those that are gone, oldest first */
	uint64_t seq[NKINDS];                 /* 0: did not happen */
	uint32_t hash;
	int gone;
	char name[];
};

struct slot {
	uint64_t seq;
	struct record *record; /* NULL: forgotten */
};

struct updates {
	char run[UUID_LEN + 1];
	pthread_mutex_t lock;
	uint64_t seq;
	struct slot *slots;
	size_t n, cap;
	struct record **buckets;
	size_t nbuckets; /* power of two */
	size_t nrecords, ngone;
	struct record *gone_first, *gone_last;
};

/* ---- Records ---- */

static uint32_t
hash_name(const char *name)
{
	uint32_t h = 2166136261u;

	for (; *name != '\0'; name++)
		h = (h ^ (unsigned char)*name) * 16777619u;
	return h;
}

static struct record **
find(struct updates *u, uint32_t hash, const char *name)
{
	struct record **p = &u->buckets[hash & (u->nbuckets - 1)];

	while (*p != NULL && ((*p)->hash != hash || strcmp((*p)->name, name) != 0))
		p = &(*p)->hash_next;
	return p;
}

/* Without memory the chains stay longer. */
static void
grow_buckets(struct updates *u)
{
	size_t i, n = u->nbuckets * 2;
	struct record **more = calloc(n, sizeof(struct record *)), *r;

	if (more == NULL)
		return;
	for (i = 0; i < u->nbuckets; i++) {
		while ((r = u->buckets[i]) != NULL) {
			u->buckets[i] = r->hash_next;
			r->hash_next = more[r->hash & (n - 1)];
			more[r->hash & (n - 1)] = r;
		}
	}
	free(u->buckets);
	u->buckets = more;
	u->nbuckets = n;
}

static int
grow_slots(struct updates *u)
{
	size_t cap = u->cap * 2;
	struct slot *more;

	if ((u->nrecords + 1) * SLOTS_PER_RECORD <= u->cap)
		return 0;
	more = realloc(u->slots, cap * sizeof(*more));
	if (more == NULL)
		return ERR_NOMEM;
	u->slots = more;
	u->cap = cap;
	return 0;
}

static struct record *
add_record(struct updates *u, uint32_t hash, const char *name)
{
	size_t size = strlen(name) + 1;
	struct record *r, **p;

	if (grow_slots(u) != 0)
		return NULL;
	r = calloc(1, sizeof(*r) + size);
	if (r == NULL)
		return NULL;
	memcpy(r->name, name, size);
	r->hash = hash;
	if (u->nrecords >= u->nbuckets)
		grow_buckets(u);
	p = &u->buckets[hash & (u->nbuckets - 1)];
	r->hash_next = *p;
	*p = r;
	u->nrecords++;
	return r;
}

/* ---- The log ---- */

/* The first slot with a sequence > ${seq}. */
static size_t
behind(const struct updates *u, uint64_t seq)
{
	size_t low = 0, high = u->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (u->slots[mid].seq > seq)
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

/* Which kind a slot tells of; NKINDS: it is dead. */
static int
kind_of(const struct slot *s)
{
	int kind = s->record == NULL ? NKINDS : 0;

	while (kind < NKINDS && s->record->seq[kind] != s->seq)
		kind++;
	return kind;
}

static void
squeeze(struct updates *u)
{
	size_t i, n = 0;

	for (i = 0; i < u->n; i++)
		if (kind_of(&u->slots[i]) != NKINDS)
			u->slots[n++] = u->slots[i];
	u->n = n;
}

static void
append(struct updates *u, struct record *r, int kind)
{
	/* First, so that the slot that dies now may go too. */
	r->seq[kind] = ++u->seq;
	if (u->n == u->cap)
		squeeze(u);
	assert(u->n < u->cap);
	u->slots[u->n++] = (struct slot){u->seq, r};
}

/* ---- Databases that are gone ---- */

static void
unlink_gone(struct updates *u, struct record *r)
{
	*(r->gone_prev != NULL ? &r->gone_prev->gone_next : &u->gone_first) = r->gone_next;
	*(r->gone_next != NULL ? &r->gone_next->gone_prev : &u->gone_last) = r->gone_prev;
	r->gone_prev = r->gone_next = NULL;
	r->gone = 0;
	u->ngone--;
}

static void
forget(struct updates *u, struct record *r)
{
	size_t i;

	unlink_gone(u, r);
	for (i = 0; i < u->n; i++)
		if (u->slots[i].record == r)
			u->slots[i].record = NULL;
	*find(u, r->hash, r->name) = r->hash_next;
	u->nrecords--;
	free(r);
}

static void
set_gone(struct updates *u, struct record *r)
{
	r->gone = 1;
	r->gone_prev = u->gone_last;
	*(u->gone_last != NULL ? &u->gone_last->gone_next : &u->gone_first) = r;
	u->gone_last = r;
	if (++u->ngone > LIMIT_UPDATES_GONE)
		forget(u, u->gone_first);
}

static int
note(struct updates *u, const char *name, int kind)
{
	uint32_t hash = hash_name(name);
	struct record *r = *find(u, hash, name);

	if (r == NULL)
		r = add_record(u, hash, name);
	if (r == NULL)
		return ERR_NOMEM;
	append(u, r, kind);
	if (r->gone)
		unlink_gone(u, r);
	if (kind == DELETED)
		set_gone(u, r);
	return 0;
}

void
updates_moved(struct updates *u, const char *name, uint64_t seq, int dropped)
{
	int err;

	pthread_mutex_lock(&u->lock);
	err = note(u, name, dropped ? DELETED : seq == 0 ? CREATED : UPDATED);
	pthread_mutex_unlock(&u->lock);
	if (err != 0)
		log_line(LOG_ERROR, "_db_updates lacks a row of %s: %s", name, err_reason(err));
}

/* ---- Sequences ---- */

uint64_t
updates_seq(struct updates *u)
{
	uint64_t seq;

	pthread_mutex_lock(&u->lock);
	seq = u->seq;
	pthread_mutex_unlock(&u->lock);
	return seq;
}

void
updates_seq_put(const struct updates *u, struct buf *b, uint64_t seq)
{
	buf_put_u64(b, seq);
	buf_putc(b, '-');
	buf_put(b, u->run, UUID_LEN);
}

int
updates_seq_parse(struct updates *u, const char *s, size_t len, uint64_t *seqp)
{
	uint64_t n = 0;
	size_t i;

	for (i = 0; i < len && s[i] >= '0' && s[i] <= '9'; i++)
		n = n > UINT64_MAX / 100 ? UINT64_MAX / 100 : n * 10 + (uint64_t)(s[i] - '0');
	if (i == 0 || (i < len && (s[i] != '-' || i + 1 == len)))
		return ERR_BAD_REQUEST;
	if (i < len && (len - i - 1 != UUID_LEN || memcmp(s + i + 1, u->run, UUID_LEN) != 0))
		n = 0;
	*seqp = n > updates_seq(u) ? 0 : n;
	return 0;
}

/* ---- Reading ---- */

static int
in_lines(const struct updates_scan *scan)
{
	return scan->form == UPDATES_CONTINUOUS || scan->form == UPDATES_EVENTSOURCE;
}

void
updates_head(const struct updates_scan *scan, struct buf *b)
{
	if (!in_lines(scan))
		buf_puts(b, "{\"results\":[\n");
}

void
updates_tail(const struct updates *u, const struct updates_scan *scan, struct buf *b)
{
	if (scan->form == UPDATES_EVENTSOURCE)
		return;
	buf_puts(b, in_lines(scan) ? "{\"last_seq\":\"" : "\n],\n\"last_seq\":\"");
	updates_seq_put(u, b, scan->last);
	buf_puts(b, "\"}\n");
}

static void
put_row(const struct updates *u, struct updates_scan *scan, const struct slot *s, int kind, struct buf *b)
{
	if (scan->form == UPDATES_EVENTSOURCE)
		buf_puts(b, "data: ");
	else if (!in_lines(scan) && scan->emitted > 0)
		buf_puts(b, ",\r\n");
	buf_puts(b, "{\"db_name\":\"");
	buf_puts(b, s->record->name); /* a database's name has nothing to escape */
	buf_puts(b, "\",\"type\":\"");
	buf_puts(b, kind_names[kind]);
	buf_puts(b, "\",\"seq\":\"");
	updates_seq_put(u, b, s->seq);
	buf_puts(b, "\"}");
	if (scan->form == UPDATES_EVENTSOURCE) {
		buf_puts(b, "\nid: \"");
		updates_seq_put(u, b, s->seq);
		buf_puts(b, "\"\n\n");
	} else if (in_lines(scan)) {
		buf_putc(b, '\n');
	}
	scan->emitted++;
	scan->limit--;
}

static int
fill_up(const struct updates *u, struct updates_scan *scan, struct buf *b)
{
	unsigned rows = 0;
	size_t i;
	int kind;

	for (i = behind(u, scan->since); i < u->n && u->slots[i].seq <= scan->until; i++) {
		kind = kind_of(&u->slots[i]);
		if (kind != NKINDS)
			put_row(u, scan, &u->slots[i], kind, b);
		scan->since = scan->last = u->slots[i].seq;
		if (scan->limit == 0)
			return ERR_END;
		if (++rows == TURN_ROWS)
			return 0;
	}
	scan->since = scan->last = u->seq < scan->until ? u->seq : scan->until;
	return ERR_END;
}

static int
fill_down(const struct updates *u, struct updates_scan *scan, struct buf *b)
{
	unsigned rows = 0;
	size_t i;
	int kind;

	if (scan->down == UINT64_MAX) {
		/* What comes later comes upward from here. */
		scan->since = scan->last = u->seq;
		scan->down = u->seq + 1;
	}
	for (i = behind(u, scan->down - 1); i-- > 0;) {
		kind = kind_of(&u->slots[i]);
		scan->down = u->slots[i].seq;
		if (kind != NKINDS) {
			put_row(u, scan, &u->slots[i], kind, b);
			scan->last = scan->down;
		}
		if (scan->limit == 0)
			return ERR_END;
		if (++rows == TURN_ROWS)
			return 0;
	}
	scan->descending = 0;
	return ERR_END;
}

int
updates_fill(struct updates *u, struct updates_scan *scan, struct buf *b)
{
	int err;

	if (scan->limit == 0)
		return ERR_END;
	pthread_mutex_lock(&u->lock);
	err = scan->descending ? fill_down(u, scan, b) : fill_up(u, scan, b);
	pthread_mutex_unlock(&u->lock);
	return buf_failed(b) ? buf_failed(b) : err;
}

/* ---- Set-up ---- */

static int
note_present(const char *name, void *cookie)
{
	int err = note(cookie, name, CREATED);

	return err != 0 ? err : note(cookie, name, UPDATED);
}

int
updates_new(struct dbs *dbs, struct updates **up)
{
	struct updates *u = calloc(1, sizeof(*u));
	int err;

	if (u == NULL)
		return ERR_NOMEM;
	pthread_mutex_init(&u->lock, NULL);
	uuid_random(u->run);
	u->nbuckets = BUCKETS_FIRST;
	u->cap = SLOTS_FIRST;
	u->buckets = calloc(u->nbuckets, sizeof(struct record *));
	u->slots = calloc(u->cap, sizeof(*u->slots));
	err = u->buckets == NULL || u->slots == NULL ? ERR_NOMEM : dbs_list(dbs, note_present, u);
	if (err != 0)
		updates_free(u);
	else
		*up = u;
	return err;
}

void
updates_free(struct updates *u)
{
	struct record *r;
	size_t i;

	if (u == NULL)
		return;
	for (i = 0; u->buckets != NULL && i < u->nbuckets; i++) {
		while ((r = u->buckets[i]) != NULL) {
			u->buckets[i] = r->hash_next;
			free(r);
		}
	}
	free(u->buckets);
	free(u->slots);
	pthread_mutex_destroy(&u->lock);
	free(u);
}
