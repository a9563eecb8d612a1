/*
 * script.h: users' JavaScript, run by child processes (divan-js).
 *
 * A program is the functions of one view index or one design document.  A caller opens it for a database, sends
 * operations and receives their answers in order, and closes it.  A child serves one database in its life, one caller
 * at a time, and is ended when nobody has used it for a while; it has no files, no network, bounded memory, and is killed
 * when an answer takes too long.  Calls wait, so they belong on threads that may.
 */
#ifndef SCRIPT_SCRIPT_H_
#define SCRIPT_SCRIPT_H_

#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/exec.h"
#include "base/jread.h"

/* Opaque types. */
struct scripts; /* all children of one server */
struct script;  /* one in use */

#define SCRIPT_PROGRAMS 64u    /* programs that a child keeps compiled */
#define SCRIPT_LOG_MAX 2048u   /* bytes of a line that a function logs */
#define SCRIPT_KEEP (1u << 20) /* bytes of a buffer that are kept between messages */
#define SCRIPT_IN_FLIGHT 4u    /* operations under way at most */

/*
 * Operations: texts in and out are JSON.
 *
 *	program of a view index   {"map":[TEXT,...],"reduce":[TEXT,...],"lib":{...}}
 *	program of a ddoc         {"ddoc":{...}}
 */
enum script_op {
	SCRIPT_MAP = 'm',    /* [DOC,...] -> [[ROWS of map 0, ROWS of map 1,...] for each],  ROWS: [[KEY,VALUE],...] */
	SCRIPT_REDUCE = 'r', /* [[REDUCE, [[KEY,ID],...], [VALUE,...]],...] -> [VALUE,...] */
	SCRIPT_REREDUCE = 'R', /* [[REDUCE, null, [VALUE,...]],...] -> [VALUE,...] */
	/*
	 * A function of the design document, by its path:
	 *	[["filters",NAME],[DOC,...],REQ]  [["views",NAME],[DOC,...]]  -> [BOOL,...]
	 *	[["validate_doc_update"],[[NEW,OLD,USERCTX,SECOBJ],...]]     -> [null, {"threw":VALUE} or {"failed":TEXT},...]
	 *	[["updates",NAME],DOC or null,REQ]                           -> [DOC or null,RESPONSE]
	 *	[["shows",NAME],DOC or null,REQ]                             -> RESPONSE
	 *	[["lists",NAME],HEAD,REQ]                                    -> [CHUNKS] or [CHUNKS,RESPONSE], see script_rows()
	 *	[["rewrites"],REQ]                                           -> RESPONSE or text
	 */
	SCRIPT_DESIGN = 'd'
};

struct scripts_config {
	const char *exe;       /* divan-js; borrowed: who may execute nothing else is known by this very address */
	unsigned max_children; /* at most so many at a time */
	unsigned idle_ms;      /* one that is not used for so long is ended */
	unsigned timeout_ms;   /* for one answer, and for a child to become free */
	size_t memory;         /* bytes that functions may take */
	size_t max_answer;     /* bytes of one answer */
	struct executor *ex;   /* for ending idle ones; borrowed */
};

int scripts_new(const struct scripts_config *config, struct scripts **sp) MUST_CHECK;
/** scripts_timeout_ms(s): As configured. */
unsigned scripts_timeout_ms(const struct scripts *s);
/** scripts_free(s): Nobody uses any.  NULL is allowed. */
void scripts_free(struct scripts *s);

/** scripts_reload(s): Whoever asks from now on gets a new child; those that are in use finish their work. */
void scripts_reload(struct scripts *s);
/** scripts_forget(s, owner): The same for a database that is gone: another may get its name. */
void scripts_forget(struct scripts *s, const char *owner);

/* What runs, for statistics. */
struct scripts_count {
	unsigned children, busy, waiting;
	uint64_t started, exited;
	uint64_t failed; /* of those that exited: not because they were not needed */
};
void scripts_count(struct scripts *s, struct scripts_count *out);

/**
 * script_open(s, owner, program, scp, why): Take a child for database ${owner}, and have it compile ${program} unless it has.
 * Waits while all are busy, or it has its share of them; databases take turns.  Errors: ERR_SCRIPT (the program can't be compiled; ${why}), ERR_BUSY (none became free),
 * ERR_SCRIPT_TIMEOUT, ERR_SCRIPT_DIED, ERR_NOMEM, ERR_IO.
 */
int script_open(
    struct scripts *s, const char *owner, struct jstr program, struct script **scp, struct errtext *why) MUST_CHECK;
/** script_close(sc): Give it back.  One that has answers to come, or that failed, is ended. */
void script_close(struct script *sc);

/**
 * script_send(sc, op, parts, n): Send an operation whose text is the ${n} ${parts} in a row.  Several may be under way, but no
 * more than SCRIPT_IN_FLIGHT: ERR_BUSY.  Other errors: ERR_SCRIPT_DIED, ERR_SCRIPT_TIMEOUT, ERR_TOO_LARGE, ERR_NOMEM.
 */
int script_send(struct script *sc, enum script_op op, const struct jstr *parts, size_t n) MUST_CHECK;
/** script_send_list(sc, parts, n): The same of SCRIPT_DESIGN for a list function, the only one under way: it may ask for rows. */
int script_send_list(struct script *sc, const struct jstr *parts, size_t n) MUST_CHECK;
/**
 * script_receive(sc, answerp, why): The answer of the oldest operation under way, borrowed until the next call.  Errors: ERR_SCRIPT
 * (a function failed: ${why} has its reason, script_error() its name), ERR_SCRIPT_TIMEOUT, ERR_SCRIPT_DIED, ERR_TOO_LARGE,
 * ERR_NOMEM.  ERR_AGAIN: a list function asks for rows, *${answerp} is what it sent so far; answer by script_rows().
 */
int script_receive(struct script *sc, struct jstr *answerp, struct errtext *why) MUST_CHECK;
/** script_limit(sc, ms): Answers may take so long, if it is less than the configured time; 0: that. */
void script_limit(struct script *sc, unsigned ms);
/** script_rows(sc, parts, n): Rows for a list function: an array, its text in parts, or nothing: there are no more. */
int script_rows(struct script *sc, const struct jstr *parts, size_t n) MUST_CHECK;
/**
 * script_park(sc): The caller, who is asked for rows, has to wait, too.  Who waits long for a child may have this one ended; then
 * script_rows() fails with ERR_BUSY.  Otherwise that takes it up again.
 */
void script_park(struct script *sc);
/** script_error(sc): The name that the failed function's error has, such as "not_found"; until the next call. */
const char *script_error(const struct script *sc);

#endif
