/* canned.h: what the tests of the peer behind HTTP share: such a peer at the server of canned answers, and documents for it. */
#ifndef TESTS_UNIT_CANNED_H_
#define TESTS_UNIT_CANNED_H_

#include "tests/unit/peertest.h"

static struct rep_end canned_rep_end;
static struct rep_spec canned_spec;
static struct arena *canned_arena;

static inline void
canned_begin(void)
{
	static char url[64];

	peertest_begin();
	peertest_serve();
	canned_arena = peertest_arena();
	(void)snprintf(url, sizeof(url), "http://127.0.0.1:%u/db/", peertest_port);
	canned_rep_end.url = url;
	canned_spec = (struct rep_spec){.timeout_ms = 20000, .retries = 3, .connections = 4, .bulk_get = 1};
}

static inline void
canned_end(void)
{
	peertest_end();
	arena_free(canned_arena);
}

static inline struct peer *
canned_peer(const struct peer_filter *filter)
{
	struct peer_http_config config = {.loop = peertest_loop,
	    .ex = peertest_ex,
	    .end = &canned_rep_end,
	    .spec = &canned_spec,
	    .filter = filter,
	    .owner = 1,
	    .backoff_ms = 2};
	struct peer *p;

	if (peer_http_new(&config, &p) != 0)
		abort();
	return p;
}

/* canned_do(peer, op, struct with .call): as peertest_do() in the tests' arena. */
#define canned_do(p, op, c) peertest_do(p, op, c, canned_arena)

static inline int
canned_info(struct peer *p, struct peer_info *c)
{
	memset(c, 0, sizeof(*c));
	return canned_do(p, info, c);
}

/* canned_only: From now on this alone is answered. */
static inline void
canned_only(const char *method, const char *path, int status, const char *body)
{
	peertest_clear();
	peertest_rule(method, path, status, body);
}

static inline struct jstr
canned_str(const char *s)
{
	return (struct jstr){s, strlen(s)};
}

static inline struct rev
canned_rev(const char *text)
{
	struct revbuf b;
	struct rev r;

	if (rev_parse(text, strlen(text), &b) != 0)
		abort();
	r = rev_of(&b);
	r.id = (unsigned char *)arena_dup(canned_arena, b.id, b.len);
	CHECK(r.id != NULL);
	return r;
}

#define CANNED_HAS(text, part) CHECK(strstr((text), (part)) != NULL)

/* Two revisions, the second behind the first, and their hashes. */
#define CANNED_R1 "1-11111111111111111111111111111111"
#define CANNED_R2 "2-22222222222222222222222222222222"
#define CANNED_H1 "11111111111111111111111111111111"
#define CANNED_H2 "22222222222222222222222222222222"

/* A document at the first, at the second, and at a second that is not behind the first. */
#define CANNED_DOC1(id)                                                                                    \
	"{\"_id\":\"" id "\",\"_rev\":\"" CANNED_R1 "\",\"_revisions\":{\"start\":1,\"ids\":[\"" CANNED_H1 \
	"\"]},\"x\":1}"
#define CANNED_DOC2(id)                                                                             \
	"{\"_revisions\":{\"ids\":[\"" CANNED_H2 "\",\"" CANNED_H1 "\"],\"start\":2},\"_id\":\"" id \
	"\",\"_rev\":\"" CANNED_R2 "\"}"
#define CANNED_OTHER(id)                                                                                   \
	"{\"_id\":\"" id "\",\"_rev\":\"" CANNED_R2 "\",\"_revisions\":{\"start\":2,\"ids\":[\"" CANNED_H2 \
	"\",\"" CANNED_H2 "\"]}}"

#endif
