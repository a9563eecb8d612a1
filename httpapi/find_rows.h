/* find_rows.h: the answer of _find as text.  Between find.c and find_rows.c. */
#ifndef HTTPAPI_FIND_ROWS_H_
#define HTTPAPI_FIND_ROWS_H_

#include "httpapi/findscan.h"

/* The answer to a request; lives in its arena. */
struct find_rows {
	struct findscan scan;
	struct find_query q;
	uint64_t left, skip; /* documents still allowed, and to be passed over */
	uint64_t returned;   /* so far */
	uint64_t began_us;
	uint64_t warn_ratio; /* mango/index_scan_warning_threshold; 0: no warning */
	int headed;
};

/** find_rows_fill(cookie, b, scratch): A rows_f; ${cookie} is a struct find_rows. */
int find_rows_fill(void *cookie, struct buf *b, struct arena *scratch);

#endif
