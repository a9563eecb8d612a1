/* test_replicator_checkpoint.c: what two logs have in common, and what a new one remembers. */
#include "check.h"

#include <stdlib.h>

#include "replicator/checkpoint.h"

static struct checkpoint *
log_of(const char *text)
{
	struct checkpoint *c = NULL;

	CHECK_INT(checkpoint_read((struct jstr){text, strlen(text)}, &c), 0);
	return c;
}

static void
check_common(const char *source, const char *target, const char *seq)
{
	struct checkpoint *ours = log_of(source), *theirs = log_of(target);
	struct jstr found;
	struct arena *a;

	CHECK_INT(arena_new(1u << 16, &a), 0);
	CHECK_INT(checkpoint_common(ours, theirs, a, &found), 0);
	CHECK_MEM(found.s, found.len, seq, strlen(seq));
	arena_free(a);
	checkpoint_free(ours);
	checkpoint_free(theirs);
}

#define ENTRY(id, seq) "{\"session_id\":\"" id "\",\"recorded_seq\":\"" seq "-x\"}"
#define LOG(id, seq, past) \
	"{\"session_id\":\"" id "\",\"source_last_seq\":\"" seq "-x\",\"history\":[" ENTRY(id, seq) past "]}"

static void
test_common(void)
{
	check_common("", "", "");
	check_common(LOG("a", "5", ""), "", "");
	check_common(LOG("a", "5", ""), LOG("b", "5", ""), "");
	check_common("nonsense", LOG("b", "5", ""), "");
	check_common(LOG("a", "5", ""), LOG("a", "5", ""), "\"5-x\"");
	/* The lower one, whichever end it is. */
	check_common(LOG("a", "12", ""), LOG("a", "5", ""), "\"5-x\"");
	check_common(LOG("a", "5", ""), LOG("a", "12", ""), "\"5-x\"");
	check_common(LOG("b", "20", "," ENTRY("a", "12")), LOG("a", "5", ""), "\"5-x\"");
	check_common(LOG("a", "5", ""), LOG("b", "20", "," ENTRY("a", "12")), "\"5-x\"");
	/* The newest that both remember. */
	check_common(LOG("d", "30", "," ENTRY("b", "20") "," ENTRY("a", "10")),
	    LOG("c", "25", "," ENTRY("b", "20") "," ENTRY("a", "10")), "\"20-x\"");
}

/* The new log's sessions and their sequences. */
static void
check_past(const char *source, const char *target, const char *want)
{
	struct checkpoint *ours = log_of(source), *theirs = log_of(target);
	struct session_stats stats = {.pending = 0};
	const struct checkpoint_note note = {
	    .session = "new", .start = {"\"0\"", 3}, .seq = {"\"40-x\"", 6}, .stats = &stats};
	const char *at, *end, *seq;
	struct buf b, got;

	buf_init(&b, 1u << 16);
	buf_init(&got, 1u << 16);
	CHECK_INT(checkpoint_write(ours, theirs, &note, &b), 0);
	buf_putc(&b, '\0');
	at = strstr(b.data, "\"history\":");
	while (at != NULL && (at = strstr(at, "\"session_id\":\"")) != NULL) {
		at += strlen("\"session_id\":\"");
		end = strchr(at, '"');
		buf_put(&got, at, (size_t)(end - at));
		seq = strstr(at, "\"recorded_seq\":\"") + strlen("\"recorded_seq\":\"");
		buf_printf(&got, " %d ", (int)strtol(seq, NULL, 10));
	}
	CHECK_MEM(got.data, got.len, want, strlen(want));
	buf_release(&b);
	buf_release(&got);
	checkpoint_free(ours);
	checkpoint_free(theirs);
}

static void
test_past(void)
{
	check_past("", "", "new 40 ");
	check_past(LOG("b", "20", "," ENTRY("a", "10")), LOG("b", "20", "," ENTRY("a", "10")), "new 40 b 20 a 10 ");
	/* The target was put back to when b had not been, or to b's middle: it must not be told otherwise. */
	check_past(LOG("b", "20", "," ENTRY("a", "10")), LOG("a", "10", ""), "new 40 a 10 ");
	check_past(LOG("b", "20", "," ENTRY("a", "10")), LOG("b", "15", "," ENTRY("a", "10")), "new 40 b 15 a 10 ");
	check_past(LOG("b", "15", ""), LOG("b", "20", "," ENTRY("a", "10")), "new 40 b 15 ");
	check_past(LOG("b", "20", ""), "", "new 40 ");
	/* A log is written again and again. */
	check_past(LOG("new", "30", "," ENTRY("a", "10")), LOG("new", "30", "," ENTRY("a", "10")), "new 40 a 10 ");
}

int
main(void)
{
	test_common();
	test_past();
	return check_done();
}
