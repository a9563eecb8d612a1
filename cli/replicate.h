/* replicate.h: what the files of `divan replicate` share. */
#ifndef CLI_REPLICATE_H_
#define CLI_REPLICATE_H_

#include <stdint.h>
#include "base/buf.h"
#include "base/jread.h"

#define REPLICATE_BODY_MAX ((size_t)64 << 20)

/* The command line. */
struct replicate_options {
	const char *url, *user, *ca_file;
	const char *filter, *doc_ids, *selector, *since;
	struct buf params; /* members of query_params, with commas between them */
	int continuous, detach, cancel, create_target, winners, no_checkpoints, json, quiet;
	char *ends[2]; /* SOURCE, TARGET, without credentials once they have been read */
};

/**
 * replicate_describe(o, b): Append the members of a request to /_replicate, without the braces.  Credentials go from o->ends to ${b}.
 * Errors are said on standard error.
 */
int replicate_describe(struct replicate_options *o, struct buf *b) MUST_CHECK;

/* What a run has done so far. */
struct copied {
	uint64_t checked, missing, read, written, refused;
	uint64_t bytes; /* 0: not known */
	uint64_t pending;
	int has_pending; /* else it is not known yet */
};

/** replicate_from_job(job, c): From what /_scheduler/jobs/ID answers.  Returns 1 if it says something. */
int replicate_from_job(struct jstr job, struct copied *c);
/** replicate_from_answer(answer, c): From what /_replicate answers at the end; what it does not say stays as it is. */
void replicate_from_answer(struct jstr answer, struct copied *c);

/* A line at the terminal that tells how far it is. */
struct progress {
	int shown;  /* there is one */
	int active; /* standard error is a terminal, and nobody wants it quiet */
	uint64_t start_ms;
	uint64_t last_ms, last_checked;
	double rate; /* changes a second, lately */
};

void replicate_progress_init(struct progress *p, int quiet);
/** replicate_progress_show(p, c, note): ${note} stands behind the numbers, or is "". */
void replicate_progress_show(struct progress *p, const struct copied *c, const char *note);
/** replicate_progress_clear(p): Other text may follow. */
void replicate_progress_clear(struct progress *p);

/** replicate_print_json(c, state, id, seconds, reason), replicate_print(c, ...): The end, on standard output. */
void replicate_print_json(
    const struct copied *c, const char *state, const char *id, double seconds, const char *reason);
void replicate_print(const struct copied *c, const char *source, const char *target, double seconds);

/** replicate_now_ms(): A clock that only goes on. */
uint64_t replicate_now_ms(void);

#endif
