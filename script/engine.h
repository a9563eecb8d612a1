/* engine.h: JavaScriptCore as divan-js uses it: contexts that have one program each.  Private to script/. */
#ifndef SCRIPT_ENGINE_H_
#define SCRIPT_ENGINE_H_

#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"

/* How functions reach out of the engine. */
struct engine_host {
	void (*log)(const char *text, size_t len);
	/* A list function's rows: sends ${sent}; 1 and the text of an array in *${rowsp}, which lives until the next call; 0: no more. */
	int (*rows)(const char *sent, size_t len, const char **rowsp);
};

/* engine.js, with a NUL behind it. */
extern const char engine_js[];

/** engine_start(host, max_answer): Once, before the sandbox closes: the engine is loaded, and has run. */
int engine_start(const struct engine_host *host, size_t max_answer) MUST_CHECK;

/**
 * engine_run(program, op, text, len, out, failedp): Run operation ${op} in context ${program}, which SCRIPT_LOAD makes
 * anew.  ${text} is UTF-8 with a NUL behind it.  ${out} is cleared and gets the answer or, with *${failedp} 1,
 * ["name","reason"].  Errors: ERR_NOMEM.
 */
int engine_run(unsigned program, char op, const char *text, size_t len, struct buf *out, int *failedp) MUST_CHECK;

#endif
