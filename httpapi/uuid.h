/* uuid.h: generated document ids. */
#ifndef HTTPAPI_UUID_H_
#define HTTPAPI_UUID_H_

#define UUID_LEN 32u

/**
 * uuid_next(out):
 * The next id in CouchDB's "sequential" form: 26 random digits, then 6 that grow by small random
 * steps; a new random part when they overflow.  Ascending ids are appended to the trees, so they
 * cost less than random ones.  Any thread.  Not terminated.
 */
void uuid_next(char out[UUID_LEN]);

/** uuid_random(out): 32 random digits. */
void uuid_random(char out[UUID_LEN]);

#define UUID_TIME_LEN 14u
/** uuid_time(out): The time in microseconds as digits; of two calls in one process the later has the larger. */
void uuid_time(char out[UUID_TIME_LEN]);

#endif
