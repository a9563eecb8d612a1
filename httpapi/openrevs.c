/* openrevs.c: GET with open_revs. */
#include "httpapi/openrevs.h"

#include "httpapi/multipart.h"
#include "httpapi/uuid.h"

#include <stdlib.h>

#define INLINE_REVS 8u /* so many revisions are read on the event loop */

/* One request. */
struct job {
	struct render_opts opts;
	int all;
	struct revbuf *revs;
	size_t nrevs;
	int mixed; /* multipart/mixed is acceptable */
	int err;
	int here;            /* on the event loop, */
	int large;           /* where this is not to be read */
	size_t count;        /* revisions written */
	unsigned char *seen; /* with latest: 1 for each leaf written, since several revisions may lead to one */
	struct arena *arena;
	struct buf json;          /* the answer, or one part's text */
	struct multipart_out out; /* the answer */
	char boundary[MULTIPART_BOUNDARY_LEN];
};

static int
parse_list(struct apireq *r, struct job *job, struct jstr text, struct errtext *why)
{
	struct buf scratch;
	struct jstr s;
	struct jread j;
	size_t n = 0;
	int err;

	if (jstr_is(&text, "all")) {
		job->all = 1;
		return 0;
	}
	jread_init(&j, text.s, text.len);
	if (jread_skip(&j, NULL) != 0 || jread_end(&j) != 0)
		return ERR_BAD_JSON;
	jread_init(&j, text.s, text.len);
	if (jread_peek(&j) != JREAD_ARRAY)
		return err_why(why, ERR_BAD_REQUEST, "Invalid list of revisions");
	/* A revision takes five characters at least: quotes, generation, dash, hash, comma. */
	job->revs = arena_calloc(r->arena, text.len / 5 + 1, sizeof(*job->revs));
	if (job->revs == NULL)
		return ERR_NOMEM;
	buf_init(&scratch, REV_TEXT_MAX);
	err = jread_array_begin(&j);
	while (err == 0 && (err = jread_array_next(&j)) == 0) {
		if (jread_string(&j, &scratch, &s) != 0 || rev_parse(s.s, s.len, &job->revs[n]) != 0)
			err = ERR_BAD_REV;
		else
			n++;
	}
	buf_release(&scratch);
	job->nrevs = n;
	return err == ERR_END ? 0 : err;
}

/* What goes before each item, in either form. */
static void
item_begin(struct job *job)
{
	if (job->mixed) {
		buf_clear(&job->json);
		return;
	}
	if (job->count > 0)
		buf_putc(&job->json, ',');
}

/* 1 if the leaf at ${at} was written before; else it is remembered. */
static int
was_seen(struct job *job, struct revpos at)
{
	int seen = job->seen != NULL && job->seen[at.run];

	/* Leaves are the first of the tree's runs. */
	if (job->seen != NULL)
		job->seen[at.run] = 1;
	return seen;
}

static int
put_found(struct db_doc *doc, struct revpos at, void *cookie)
{
	struct job *job = cookie;
	const struct doc_att **atts = NULL;
	size_t n = 0;
	int err;

	if (was_seen(job, at))
		return 0;
	item_begin(job);
	if (job->mixed) {
		err = render_follows(&job->json, doc, &at, &job->opts, job->arena, NULL, &atts, &n);
		if (err == 0)
			err = multipart_out_mixed(&job->out, job->boundary, job->json.data, job->json.len, atts, n, 0);
	} else {
		buf_puts(&job->json, "{\"ok\":");
		err = render_rev(&job->json, doc, at, &job->opts, job->arena);
		buf_putc(&job->json, '}');
	}
	job->count++;
	return err;
}

static int
put_missing(struct job *job, const struct rev *rev)
{
	item_begin(job);
	buf_puts(&job->json, "{\"missing\":\"");
	rev_put(&job->json, rev);
	buf_puts(&job->json, "\"}");
	job->count++;
	if (!job->mixed)
		return buf_failed(&job->json);
	return multipart_out_mixed(&job->out, job->boundary, job->json.data, job->json.len, NULL, 0, 1);
}

static int
compare(const void *a, const void *b)
{
	struct rev x = rev_of(a), y = rev_of(b);

	return rev_cmp(&x, &y);
}

/* Each once, by generation and hash: so CouchDB answers, whatever the order in which they were asked for. */
static void
settle_list(struct job *job)
{
	size_t n = 0;

	if (job->nrevs > 1)
		qsort(job->revs, job->nrevs, sizeof(*job->revs), compare);
	for (size_t i = 0; i < job->nrevs; i++)
		if (n == 0 || compare(&job->revs[n - 1], &job->revs[i]) != 0)
			job->revs[n++] = job->revs[i];
	job->nrevs = n;
}

static int
put_listed(struct job *job, struct db_doc *doc)
{
	size_t i, n, nmissing = 0;
	struct rev rev;
	int err = 0;

	settle_list(job);
	if (doc != NULL && job->opts.latest && job->nrevs > 1) {
		job->seen = arena_calloc(job->arena, doc->nleaves, 1);
		if (job->seen == NULL)
			return ERR_NOMEM;
	}
	for (i = 0; err == 0 && i < job->nrevs; i++) {
		rev = rev_of(&job->revs[i]);
		n = 0;
		if (doc != NULL)
			err = job->opts.latest ? db_doc_leaves(doc, &rev, put_found, job, &n)
					       : db_doc_find(doc, &rev, 0, put_found, job, &n);
		if (n == 0)
			job->revs[nmissing++] = job->revs[i];
	}
	for (i = 0; err == 0 && i < nmissing; i++) {
		rev = rev_of(&job->revs[i]);
		err = put_missing(job, &rev);
	}
	return err;
}

static int
put(struct apireq *r, struct job *job, struct db_snap *snap)
{
	struct db_doc doc;
	size_t n;
	int err, missing;

	err = db_get(snap, r->id.s, r->id.len, r->arena, &doc);
	missing = err == ERR_MISSING;
	job->large = err == 0 && job->here && db_doc_is_large(&doc);
	if (job->large)
		return 0;
	if (err != 0 && (!missing || job->all))
		return err;
	if (job->mixed) {
		buf_puts(&job->out.text, "--");
		buf_put(&job->out.text, job->boundary, sizeof(job->boundary));
	} else
		buf_putc(&job->json, '[');
	err = job->all ? db_doc_leaves(&doc, NULL, put_found, job, &n) : put_listed(job, missing ? NULL : &doc);
	if (job->mixed)
		buf_puts(&job->out.text, "--");
	else
		buf_putc(&job->json, ']');
	return err;
}

static void
work(struct apireq *r)
{
	struct job *job = r->cookie;
	struct db_snap *snap;

	job->err = db_snap_begin(r->db, &snap);
	if (job->err != 0)
		return;
	job->err = put(r, job, snap);
	db_snap_end(snap);
}

static void
then(struct apireq *r)
{
	struct job *job = r->cookie;

	if (job->err != 0 || job->mixed)
		buf_release(&job->json);
	if (job->err != 0) {
		multipart_out_release(&job->out);
		api_error(r, job->err, NULL);
	} else if (job->mixed)
		multipart_out_send(&job->out, r, "multipart/mixed", job->boundary);
	else
		api_json(r, 200, &job->json);
}

void
openrevs_get(struct apireq *r, const struct render_opts *o, struct jstr list)
{
	struct job *job = arena_calloc(r->arena, 1, sizeof(*job));
	struct errtext why = {{0}};
	int err;

	if (job == NULL) {
		api_error(r, ERR_NOMEM, NULL);
		return;
	}
	err = parse_list(r, job, list, &why);
	if (err != 0) {
		api_error(r, err, &why);
		return;
	}
	r->cookie = job;
	job->opts = *o;
	job->arena = r->arena;
	job->mixed = multipart_accepted(http_header(r->http, "accept"), "multipart/mixed");
	/* Parts carry their attachments whether or not these were asked for, as in CouchDB. */
	if (job->mixed && !job->opts.has_atts_since)
		job->opts.attachments = 1;
	uuid_random(job->boundary);
	buf_init(&job->json, RENDER_MAX);
	multipart_out_init(&job->out, r->arena);
	if (job->all || job->nrevs > INLINE_REVS || (!job->mixed && (o->attachments || o->has_atts_since))) {
		api_work(r, work, then);
		return;
	}
	job->here = 1;
	work(r);
	job->here = 0;
	if (job->large)
		api_work(r, work, then);
	else
		then(r);
}
