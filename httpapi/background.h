/* background.h: a write that the server makes by itself, off the event loops. */
#ifndef HTTPAPI_BACKGROUND_H_
#define HTTPAPI_BACKGROUND_H_

#include "httpapi/api.h"

/* One database, opened for the server itself, and one write at a time. */
struct background {
	struct api *api;
	struct db *db;
	struct arena *arena; /* for the write */
	struct db_write w;   /* w.err says how it went */
	struct db_request req;
	struct exec_job job;
	void (*then)(struct background *b);
};

/** background_server(): Who the server is: a server administrator without a name. */
const struct principal *background_server(void);

/** background_open(b, api, name): Errors: as db_open(); nothing is open then. */
int background_open(struct background *b, struct api *api, const char *name) MUST_CHECK;
/** background_close(b): Also of one that is not open. */
void background_close(struct background *b);

/**
 * background_parse(b, id, text): Let b->w be an edit of ${id} to the JSON ${text}, whose memory must last.  Errors: as
 * doc_parse().
 */
int background_parse(struct background *b, struct jstr id, struct jstr text) MUST_CHECK;

/** background_submit(b, then): Make the write, then call ${then} on an executor thread, whatever came of it.  Executor threads only. */
void background_submit(struct background *b, void (*then)(struct background *b));

#endif
