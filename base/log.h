/* log.h: one line per event, on standard error or in a file.  Never log a secret. */
#ifndef BASE_LOG_H_
#define BASE_LOG_H_

#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_NOTICE, LOG_WARNING, LOG_ERROR, LOG_NONE };

#define LOG_LINE_MAX 2048u /* bytes of a line; what is longer is cut */

/** log_set_level(level): Lines below ${level} are dropped.  Default: LOG_NOTICE. */
void log_set_level(enum log_level level);
/** log_level_of(name, levelp): CouchDB's names of levels, such as "info" and "warn", in any case.  Errors: ERR_BAD_REQUEST. */
int log_level_of(const char *name, enum log_level *levelp) MUST_CHECK;

/** log_enabled(level): 1 if a line of ${level} would be written. */
int log_enabled(enum log_level level);

/**
 * log_line(level, fmt, ...): Write "TIME [level] TEXT\n" in one write; control characters in TEXT become '?'.
 * log_text(level, at_us, text, len): The same of a text that holds none, and of the time ${at_us} by CLOCK_MONOTONIC,
 * which the caller has just asked for.
 */
void log_line(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);
void log_text(enum log_level level, uint64_t at_us, const char *text, size_t len);

/**
 * log_open(path): From now on into the file ${path}, which is made if it is missing, mode 0640.  log_reopen(): By that
 * name again, after it was renamed; nothing without a file.  Errors: ERR_IO with a log line; lines go on where they went.
 */
int log_open(const char *path) MUST_CHECK;
int log_reopen(void) MUST_CHECK;

/**
 * log_start(): From now on no line waits for the disk or for whoever reads standard error: a thread writes them, in
 * batches, those of LOG_WARNING and above at once.  What does not fit into its buffer is dropped, and the log then says how
 * much.  log_stop(): What is still buffered is written, as far as that is done within 2 s.  Errors: ERR_NOMEM.
 */
int log_start(void) MUST_CHECK;
void log_stop(void);
/** log_dropped(): Lines that were dropped since the start. */
uint64_t log_dropped(void);

#endif
