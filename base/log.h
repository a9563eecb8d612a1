/* log.h: one line per event on standard error.  Never log a secret. */
#ifndef BASE_LOG_H_
#define BASE_LOG_H_

#include "base/err.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_NOTICE, LOG_WARNING, LOG_ERROR };

/** log_set_level(level): Lines below ${level} are dropped.  Default: LOG_NOTICE. */
void log_set_level(enum log_level level);

/** log_enabled(level): 1 if a line of ${level} would be written. */
int log_enabled(enum log_level level);

/**
 * log_line(level, fmt, ...): Write "TIME [level] TEXT\n" in one write; control characters in TEXT become '?'.
 */
void log_line(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);

#endif
