/*
 * checkpoint.c: logs of replications.
 *
 * A log names the session that wrote it and the sequence of the source it had come to, and remembers earlier sessions. Where
 * both ends were last written by the same session, that is where the next one begins; else at the newest session that both
 * remember.
 *
 *  1. What both ends note may differ within one session: one of two writes was lost, or an end was put back from a copy. The
 *     lower one holds: a sequence that was passed twice costs a question, one that was skipped costs a document.
 *  2. A new log has of the sessions before only those that both ends remember, with the lower sequence. It is written to both,
 *     and the write to one may be lost: what only the source remembered would then seem to be remembered by both.
 *  3. A log that cannot be read counts as none: everything is compared again, and nothing is lost.
 */
#include "checkpoint.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/hash.h"
#include "base/jtree.h"

#define HISTORY_MAX 200u

struct checkpoint {
	json_t *log; /* an object; NULL: none */
};

int
checkpoint_read(struct jstr text, struct checkpoint **cp)
{
	struct checkpoint *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return ERR_NOMEM;
	if (text.len > 0 && jtree_load(text, 0, &c->log) == ERR_NOMEM) {
		free(c);
		return ERR_NOMEM;
	}
	if (c->log != NULL && !json_is_object(c->log)) {
		json_decref(c->log);
		c->log = NULL;
	}
	*cp = c;
	return 0;
}

void
checkpoint_free(struct checkpoint *c)
{
	if (c == NULL)
		return;
	json_decref(c->log);
	free(c);
}

/* ---- Filters ---- */

int
checkpoint_filter(struct jstr ddoc, struct jstr name, char out[CHECKPOINT_FILTER_LEN + 1])
{
	struct jstr filters = {"filters", 7}, text;
	unsigned char md5[MD5_LEN];
	struct buf scratch;
	struct jread j;
	int err;

	out[0] = '\0';
	buf_init(&scratch, ddoc.len + 64);
	jread_init(&j, ddoc.s, ddoc.len);
	err = jread_find(&j, &scratch, filters);
	if (err == 0)
		err = jread_find(&j, &scratch, name);
	if (err == 0)
		err = jread_skip(&j, &text);
	if (err == 0) {
		hash_md5(text.s, text.len, md5);
		hex_encode(md5, sizeof(md5), out);
		out[CHECKPOINT_FILTER_LEN] = '\0';
	}
	buf_release(&scratch);
	return err == ERR_NOMEM ? err : 0;
}

/* ---- What two logs have in common ---- */

static const char *
session_of(const json_t *entry)
{
	const char *id = json_string_value(json_object_get(entry, "session_id"));

	return id != NULL && *id != '\0' ? id : NULL;
}

static int
same_session(const json_t *a, const json_t *b)
{
	const char *x = session_of(a), *y = session_of(b);

	return x != NULL && y != NULL && strcmp(x, y) == 0;
}

/* The number at the front of a sequence: 12 of "12-g1AAA", of 12, of [12,"..."].  0: it has none. */
static int
seq_number(const json_t *seq, unsigned long long *np)
{
	const char *text = json_string_value(json_is_array(seq) ? json_array_get(seq, 0) : seq);

	if (json_is_array(seq))
		seq = json_array_get(seq, 0);
	if (text != NULL && *text >= '0' && *text <= '9')
		*np = strtoull(text, NULL, 10);
	else if (json_is_integer(seq) && json_integer_value(seq) >= 0)
		*np = (unsigned long long)json_integer_value(seq);
	else
		return 0;
	return 1;
}

int
checkpoint_is_zero(struct jstr seq)
{
	json_t *parsed;
	unsigned long long n;
	int zero = jtree_load(seq, 0, &parsed) == 0 && seq_number(parsed, &n) && n == 0;

	json_decref(parsed);
	return zero;
}

/* NULL: there is no knowing. */
static const json_t *
lower(const json_t *a, const json_t *b)
{
	unsigned long long x, y;

	if (a == NULL || b == NULL || json_equal(a, b))
		return b == NULL ? NULL : a;
	if (!seq_number(a, &x) || !seq_number(b, &y))
		return NULL;
	return y < x ? b : a;
}

/* Entries of a history, as far as it is looked at: whoever wrote it may have made it long. */
static size_t
length(const json_t *history)
{
	size_t n = json_array_size(history);

	return n < HISTORY_MAX ? n : HISTORY_MAX;
}

/* What both remember of a session: the entry with the lower sequence; NULL if the other end does not, or either has none. */
static const json_t *
remembered(const json_t *entry, const json_t *theirs)
{
	const json_t *ours = json_object_get(entry, "recorded_seq");
	size_t k;

	for (k = 0; k < length(theirs); k++) {
		const json_t *other = json_array_get(theirs, k), *seq;

		if (!same_session(entry, other))
			continue;
		if ((seq = lower(ours, json_object_get(other, "recorded_seq"))) == NULL)
			return NULL;
		return seq == ours ? entry : other;
	}
	return NULL;
}

/* The newest entry of the source's history that the target remembers as well. */
static const json_t *
common_entry(const json_t *source, const json_t *target)
{
	const json_t *ours = json_object_get(source, "history"), *theirs = json_object_get(target, "history"), *entry;
	size_t i;

	for (i = 0; i < length(ours); i++)
		if ((entry = remembered(json_array_get(ours, i), theirs)) != NULL)
			return json_object_get(entry, "recorded_seq");
	return NULL;
}

int
checkpoint_common(const struct checkpoint *source, const struct checkpoint *target, struct arena *a, struct jstr *seqp)
{
	const json_t *seq;
	char *text;

	*seqp = (struct jstr){"", 0};
	if (same_session(source->log, target->log))
		seq = lower(
		    json_object_get(source->log, "source_last_seq"), json_object_get(target->log, "source_last_seq"));
	else
		seq = common_entry(source->log, target->log);
	if (seq == NULL || json_is_null(seq))
		return 0;
	text = json_dumps(seq, JSON_COMPACT | JSON_ENCODE_ANY);
	if (text == NULL)
		return ERR_NOMEM;
	seqp->len = strlen(text);
	seqp->s = arena_dup(a, text, seqp->len);
	free(text);
	return seqp->s != NULL ? 0 : ERR_NOMEM;
}

/* ---- Writing ---- */

static void
put_date(struct buf *b, uint64_t us)
{
	static const char *const days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
	static const char *const months[] = {
	    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
	time_t t = (time_t)(us / 1000000u);
	struct tm tm;

	gmtime_r(&t, &tm);
	buf_printf(b, "\"%s, %02d %s %d %02d:%02d:%02d GMT\"", days[tm.tm_wday], tm.tm_mday, months[tm.tm_mon],
	    tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

static void
put_seq(struct buf *b, struct jstr seq)
{
	if (seq.len > 0)
		buf_put(b, seq.s, seq.len);
	else
		buf_putc(b, '0');
}

static void
put_number(struct buf *b, const char *name, uint64_t n)
{
	buf_printf(b, ",\"%s\":%llu", name, (unsigned long long)n);
}

static void
put_entry(struct buf *b, const struct checkpoint_note *n)
{
	const struct session_stats *s = n->stats;

	buf_printf(b, "{\"session_id\":\"%s\",\"start_time\":", n->session);
	put_date(b, s->started_us);
	buf_puts(b, ",\"end_time\":");
	put_date(b, n->now_us);
	buf_puts(b, ",\"start_last_seq\":");
	put_seq(b, n->start);
	buf_puts(b, ",\"end_last_seq\":");
	put_seq(b, n->seq);
	buf_puts(b, ",\"recorded_seq\":");
	put_seq(b, n->seq);
	put_number(b, "missing_checked", s->checked);
	put_number(b, "missing_found", s->missing);
	put_number(b, "docs_read", s->read);
	put_number(b, "docs_written", s->written);
	put_number(b, "doc_write_failures", s->failures);
	put_number(b, "bulk_get_docs", s->bulk_docs);
	put_number(b, "bulk_get_attempts", s->bulk_attempts);
	buf_putc(b, '}');
}

/* The sessions before that both remember; an entry of our own is replaced. */
static int
put_past(struct buf *b, const json_t *source, const json_t *target, const char *session)
{
	const json_t *ours = json_object_get(source, "history"), *theirs = json_object_get(target, "history");
	size_t i, kept = 1;

	for (i = 0; i < length(ours) && kept < CHECKPOINT_HISTORY; i++) {
		const json_t *entry = remembered(json_array_get(ours, i), theirs);
		char *text;

		if (entry == NULL || strcmp(session_of(entry), session) == 0)
			continue;
		if ((text = json_dumps(entry, JSON_COMPACT)) == NULL)
			return ERR_NOMEM;
		buf_putc(b, ',');
		buf_puts(b, text);
		free(text);
		kept++;
	}
	return 0;
}

int
checkpoint_write(
    const struct checkpoint *source, const struct checkpoint *target, const struct checkpoint_note *n, struct buf *b)
{
	int err;

	buf_printf(b, "{\"session_id\":\"%s\",\"source_last_seq\":", n->session);
	put_seq(b, n->seq);
	put_number(b, "replication_id_version", REP_ID_VERSION);
	if (n->by_ids) {
		buf_puts(b, ",\"start_time\":");
		put_date(b, n->stats->started_us);
		buf_puts(b, ",\"end_time\":");
		put_date(b, n->now_us);
		put_number(b, "docs_read", n->stats->read);
		put_number(b, "docs_written", n->stats->written);
		put_number(b, "doc_write_failures", n->stats->failures);
	}
	buf_puts(b, ",\"history\":[");
	put_entry(b, n);
	err = put_past(b, source->log, target->log, n->session);
	buf_puts(b, "]}");
	return err != 0 ? err : buf_failed(b);
}

int
checkpoint_members(const struct checkpoint *c, struct buf *b)
{
	const char *name;
	json_t *value;

	json_object_foreach(c->log, name, value)
	{
		char *text;

		if (name[0] == '_')
			continue;
		if ((text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY)) == NULL)
			return ERR_NOMEM;
		buf_putc(b, ',');
		buf_put_json(b, name, strlen(name));
		buf_putc(b, ':');
		buf_puts(b, text);
		free(text);
	}
	return buf_failed(b);
}
