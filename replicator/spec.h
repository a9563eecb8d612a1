/* spec.h: what a replication is to do: as a request or a document says it, and the id that its checkpoints have. */
#ifndef REPLICATOR_SPEC_H_
#define REPLICATOR_SPEC_H_

#include <stddef.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/err.h"
#include "base/jread.h"
#include "replicator/peer.h"

/* A source or target. */
struct rep_end {
	const char *url;  /* http or https, without credentials, with one "/" at the end; NULL: a database here: */
	const char *name; /* its name */
	const char *user, *password; /* or NULL */
	const char *const *headers;  /* "Name: value" */
	size_t nheaders;
	const char *proxy; /* URL, perhaps with credentials; or NULL */
};

/* Bounds of what a document may ask for are applied. */
struct rep_spec {
	struct rep_end source, target;
	int create_target;
	struct jstr create_query; /* see struct peer_create */
	int continuous;
	struct peer_filter filter;
	struct jstr since; /* since_seq, JSON text; or empty */
	int checkpoints;   /* use_checkpoints */
	uint64_t checkpoint_ms;
	unsigned workers;         /* batches under way at a time: worker_processes */
	unsigned batch;           /* changes in a batch: worker_batch_size */
	unsigned connections;     /* http_connections */
	uint64_t timeout_ms;      /* connection_timeout */
	unsigned retries;         /* retries_per_request */
	int bulk_get;             /* use_bulk_get */
	const char *user;         /* who it runs as at databases here: user_ctx.name or owner; NULL: see roles */
	const char *const *roles; /* user_ctx.roles */
	size_t nroles;
	/* As CouchDB has it: 32 hexadecimal digits, then "+continuous" and "+create_target"; checkpoints are _local/ the first 32. */
	const char *id;
};

#define REP_ID_LEN 32u
#define REP_ID_VERSION 4

/* What is taken where a replication says nothing. */
struct rep_defaults {
	const char *server; /* its uuid: two servers that copy the same ends have checkpoints of their own */
	uint64_t checkpoint_ms;
	unsigned workers, batch, connections, retries;
	uint64_t timeout_ms;
	int checkpoints, bulk_get;
};

/**
 * spec_parse(text, d, a, out, why): ${text} is the JSON object of a request to _replicate or of a replication document; members
 * that are not known are passed over.  Memory: ${a}'s.  Errors: ERR_BAD_REQUEST and ERR_ILLEGAL_DB_NAME with CouchDB's words, ERR_BAD_JSON, ERR_NOMEM.
 */
int spec_parse(struct jstr text, const struct rep_defaults *d, struct arena *a, struct rep_spec *out,
    struct errtext *why) MUST_CHECK;

/**
 * spec_end_shown(end, b): Append the end for people, as CouchDB shows it: the database's name, or a URL without the password and with a
 * slash at its end, "https://user:*****@host/db/".
 */
struct buf;
int spec_end_shown(const struct rep_end *end, struct buf *b);

#endif
