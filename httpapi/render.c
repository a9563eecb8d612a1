/*
 * render.c: revisions of documents as JSON.
 *
 * The plain winner, which nearly every read wants, needs neither the revision tree nor any memory
 * but the output's: doc_put_json() appends it.  Everything else that a reader may ask for is
 * gathered first: the path of the revision, the text of the members that only a winner has, and
 * which attachments go out as data.
 */
#include "httpapi/render.h"

#include <stdlib.h>
#include <zlib.h>

#include "base/hash.h"
#include "httpapi/api.h"

#define INFLATE_STEP 16384u
#define TRIPLE 3u

/* ---- Parameters ---- */

int
render_rev_of_none(const struct jstr *rev)
{
	return rev->len > 2 && rev->len <= REV_TEXT_MAX && rev->s[0] == '0' && rev->s[1] == '-';
}

static int
by_rev(const void *a, const void *b)
{
	struct rev x = rev_of(a), y = rev_of(b);

	return rev_cmp(&x, &y);
}

void
render_since(struct render_opts *o, struct revbuf *revs, size_t n)
{
	if (n > 1)
		qsort(revs, n, sizeof(*revs), by_rev);
	o->atts_since = revs;
	o->natts_since = n;
}

/* A JSON list of revision ids. */
static int
parse_revs(const struct apireq *r, const struct jstr *text, struct render_opts *o, struct errtext *why)
{
	struct revbuf *revs = NULL, *more;
	size_t n = 0, cap = 0;
	struct buf scratch;
	struct jstr s;
	struct jread j;
	int err;

	jread_init(&j, text->s, text->len);
	if (jread_skip(&j, NULL) != 0 || jread_end(&j) != 0)
		return ERR_BAD_JSON;
	jread_init(&j, text->s, text->len);
	if (jread_peek(&j) != JREAD_ARRAY)
		return err_why(why, ERR_BAD_REQUEST, "Invalid list of revisions");
	buf_init(&scratch, REV_TEXT_MAX);
	err = jread_array_begin(&j);
	while (err == 0 && (err = jread_array_next(&j)) == 0) {
		if (n == cap) {
			cap = cap == 0 ? 16 : 2 * cap;
			more = arena_calloc(r->arena, cap, sizeof(*more));
			if (more == NULL) {
				err = ERR_NOMEM;
				break;
			}
			if (n > 0)
				memcpy(more, revs, n * sizeof(*more));
			revs = more;
		}
		if (jread_string(&j, &scratch, &s) != 0)
			err = ERR_BAD_REV;
		else if (rev_parse(s.s, s.len, &revs[n]) == 0)
			n++;
		else if (!render_rev_of_none(&s))
			err = ERR_BAD_REV;
	}
	buf_release(&scratch);
	if (err != ERR_END)
		return err;
	render_since(o, revs, n);
	o->has_atts_since = 1;
	return 0;
}

int
render_opts_parse(const struct apireq *r, struct render_opts *o, struct errtext *why)
{
	const struct jstr *since;
	int meta;

	memset(o, 0, sizeof(*o));
	if (r->nparams == 0)
		return 0;
	meta = api_param_is(r, "meta", "true");
	o->revs = api_param_is(r, "revs", "true");
	o->revs_info = meta || api_param_is(r, "revs_info", "true");
	o->conflicts = meta || api_param_is(r, "conflicts", "true");
	o->deleted_conflicts = meta || api_param_is(r, "deleted_conflicts", "true");
	o->local_seq = api_param_is(r, "local_seq", "true");
	o->attachments = api_param_is(r, "attachments", "true");
	o->att_encoding_info = api_param_is(r, "att_encoding_info", "true");
	o->latest = api_param_is(r, "latest", "true");
	since = api_param(r, "atts_since");
	return since == NULL ? 0 : parse_revs(r, since, o, why);
}

/* ---- Attachment bytes ---- */

/* Receives decoded bytes piece by piece. */
typedef int sink_f(void *cookie, const void *data, size_t len);

static int
sink_inflated(z_stream *z, struct buf *in, sink_f *sink, void *cookie, int *endp)
{
	unsigned char out[INFLATE_STEP];
	int ret, err;

	z->next_in = (Bytef *)in->data;
	z->avail_in = (uInt)in->len;
	do {
		z->next_out = out;
		z->avail_out = sizeof(out);
		ret = inflate(z, Z_NO_FLUSH);
		if (ret != Z_OK && ret != Z_STREAM_END && ret != Z_BUF_ERROR)
			return ERR_NOT_GZIP;
		err = sink(cookie, out, sizeof(out) - z->avail_out);
		if (err != 0)
			return err;
	} while (ret == Z_OK && (z->avail_in > 0 || z->avail_out == 0));
	*endp = ret == Z_STREAM_END;
	return 0;
}

/* All decoded bytes of ${att} into ${sink}. */
static int
att_each(struct db_snap *snap, const struct doc_att *att, sink_f *sink, void *cookie)
{
	struct buf chunk;
	uint64_t i;
	z_stream z;
	int err, end = 0, packed = att->encoding == DOC_GZIP;

	memset(&z, 0, sizeof(z));
	if (packed && inflateInit2(&z, 16 + MAX_WBITS) != Z_OK)
		return ERR_NOMEM;
	buf_init(&chunk, LIMIT_BLOB_CHUNK);
	for (i = 0, err = 0; err == 0 && !end; i++) {
		buf_clear(&chunk);
		err = db_att_read(snap, att, i, &chunk);
		if (err == 0)
			err = packed ? sink_inflated(&z, &chunk, sink, cookie, &end)
				     : sink(cookie, chunk.data, chunk.len);
	}
	/* What ends before its compressed stream does was uploaded so: as much as there is goes out. */
	if (err == ERR_END)
		err = 0;
	buf_release(&chunk);
	if (packed)
		inflateEnd(&z);
	return err;
}

/* Base64 of a stream: up to two bytes wait for the next piece. */
struct base64 {
	struct buf *out;
	unsigned char rest[TRIPLE];
	size_t nrest;
};

static int
sink_base64(void *cookie, const void *data, size_t len)
{
	struct base64 *e = cookie;
	const unsigned char *p = data;
	size_t whole;

	while (len > 0 && (e->nrest > 0 || len < TRIPLE)) {
		e->rest[e->nrest++] = *p++;
		len--;
		if (e->nrest == TRIPLE) {
			base64_put(e->out, e->rest, TRIPLE);
			e->nrest = 0;
		}
	}
	whole = len - len % TRIPLE;
	if (whole > 0)
		base64_put(e->out, p, whole);
	for (p += whole, len -= whole; len > 0; len--)
		e->rest[e->nrest++] = *p++;
	return buf_failed(e->out);
}

/* ---- Documents ---- */

/* Which attachments of a revision go out in which form. */
struct atts {
	struct db_snap *snap;
	const struct doc_att *atts;
	uint64_t after;         /* only those newer than this generation are sent */
	enum doc_att_form form; /* of those */
	const struct doc_att **follows;
	size_t nfollows;
};

static int
att_form(void *cookie, size_t i, enum doc_att_form *formp, struct buf *base64)
{
	struct atts *t = cookie;
	const struct doc_att *att = &t->atts[i];
	struct base64 e = {base64, {0}, 0};
	int err;

	*formp = DOC_ATT_AS_STUB;
	if (t->after > 0 && att->revpos <= t->after)
		return 0;
	*formp = t->form;
	if (t->form == DOC_ATT_AS_FOLLOWS) {
		t->follows[t->nfollows++] = att;
		return 0;
	}
	err = att_each(t->snap, att, sink_base64, &e);
	if (err == 0 && e.nrest > 0)
		err = base64_put(base64, e.rest, e.nrest);
	return err;
}

static void
put_rev_string(struct buf *b, const struct rev *rev)
{
	buf_putc(b, '"');
	rev_put(b, rev);
	buf_putc(b, '"');
}

static void
put_revs_info(struct buf *b, const struct revtree *t)
{
	struct revpos at = revtree_leaf_pos(t, 0);
	const struct revnode *node;
	const char *status;
	int first = 1;

	buf_puts(b, ",\"_revs_info\":[");
	do {
		node = revtree_at(t, at);
		status = node->body == REVTREE_NO_BODY ? "missing" : node->deleted ? "deleted" : "available";
		buf_puts(b, first ? "{\"rev\":" : ",{\"rev\":");
		put_rev_string(b, &node->rev);
		buf_puts(b, ",\"status\":\"");
		buf_puts(b, status);
		buf_puts(b, "\"}");
		first = 0;
	} while (revtree_parent(t, at, &at));
	buf_putc(b, ']');
}

/* The leaves besides the winner that are ${deleted} or not; nothing if there are none. */
static void
put_conflicts(struct buf *b, const struct revtree *t, const char *name, int deleted)
{
	size_t i, n = revtree_nleaves(t);
	const struct revnode *leaf;
	int first = 1;

	for (i = 1; i < n; i++) {
		leaf = revtree_leaf(t, i);
		if (leaf->deleted != deleted)
			continue;
		if (first)
			buf_printf(b, ",\"%s\":[", name);
		else
			buf_putc(b, ',');
		put_rev_string(b, &leaf->rev);
		first = 0;
	}
	if (!first)
		buf_putc(b, ']');
}

/* The members that only a winner has, each with a leading comma. */
static int
put_meta(struct buf *b, struct db_doc *doc, const struct render_opts *o)
{
	struct revtree *t;
	int err;

	if (o->revs_info || ((o->conflicts || o->deleted_conflicts) && doc->nleaves > 1)) {
		err = db_doc_tree(doc, o->revs_info, &t);
		if (err != 0)
			return err;
		if (o->revs_info)
			put_revs_info(b, t);
		if (o->conflicts)
			put_conflicts(b, t, "_conflicts", 0);
		if (o->deleted_conflicts)
			put_conflicts(b, t, "_deleted_conflicts", 1);
	}
	if (o->local_seq) {
		buf_puts(b, ",\"_local_seq\":");
		buf_put_u64(b, doc->seq);
	}
	return buf_failed(b);
}

static int
against(const void *key, const void *element)
{
	struct rev since = rev_of(element);

	return rev_cmp(key, &since);
}

/*
 * The generation up to which the reader has the attachments: of the newest revision of atts_since
 * on ${path}.
 */
static uint64_t
atts_after(const struct render_opts *o, const struct rev *path, size_t n)
{
	for (size_t i = 0; i < n && o->natts_since > 0; i++)
		if (bsearch(&path[i], o->atts_since, o->natts_since, sizeof(*o->atts_since), against) != NULL)
			return path[i].gen;
	return 0;
}

/* What one revision is rendered from. */
struct job {
	struct db_doc *doc;
	const struct render_opts *o;
	struct arena *arena;
	struct arena *scratch;   /* for what is read: the same, or one that is gone when the text is there */
	const struct revpos *at; /* NULL: the winner */
	const struct revnode *node;
	enum doc_att_form form;
	struct atts atts;
	int meta;
};

static int
fill_path(struct job *job, struct doc_out *out)
{
	const struct render_opts *o = job->o;
	struct revtree *t;
	struct revpos at;
	struct rev *path;
	size_t n;
	int err;

	if (job->at != NULL)
		at = *job->at;
	else {
		err = db_doc_tree(job->doc, 1, &t);
		if (err != 0)
			return err;
		at = revtree_leaf_pos(t, 0);
	}
	err = db_doc_path(job->doc, at, &path, &n);
	if (err != 0)
		return err;
	if (o->revs) {
		out->revisions = path;
		out->nrevisions = o->revs_max > 0 && n > o->revs_max ? o->revs_max : n;
	}
	job->atts.after = atts_after(o, path, n);
	return 0;
}

static int
fill(struct job *job, const struct db_rev *rev, struct doc_out *out, struct buf *extra)
{
	const struct render_opts *o = job->o;
	int err;

	if (o->revs || o->natts_since > 0) {
		err = fill_path(job, out);
		if (err != 0)
			return err;
	}
	if (job->at == NULL) {
		err = put_meta(extra, job->doc, o);
		if (err != 0)
			return err;
		out->extra = extra->data;
		out->extra_len = extra->len;
		job->meta = extra->len > 0;
	}
	out->att_encoding_info = o->att_encoding_info || job->form == DOC_ATT_AS_FOLLOWS;
	if (rev->natts > 0 && (o->attachments || o->has_atts_since)) {
		job->atts.snap = job->doc->snap;
		job->atts.atts = rev->atts;
		job->atts.form = job->form;
		if (job->form == DOC_ATT_AS_FOLLOWS) {
			job->atts.follows = arena_calloc(job->arena, rev->natts, sizeof(*job->atts.follows));
			if (job->atts.follows == NULL)
				return ERR_NOMEM;
		}
		out->att = att_form;
		out->cookie = &job->atts;
	}
	return 0;
}

static int
render(struct buf *b, struct job *job)
{
	struct doc_out out;
	struct db_rev rev;
	struct buf extra;
	size_t len = b->len;
	int err;

	err = db_doc_rev(job->doc, job->node, job->scratch, &rev);
	if (err != 0)
		return err;
	memset(&out, 0, sizeof(out));
	out.id = job->doc->id;
	out.rev = job->node->rev;
	out.deleted = job->node->deleted;
	out.body = rev.body;
	out.atts = rev.atts;
	out.natts = rev.natts;
	buf_init(&extra, RENDER_MAX);
	if (job->o != NULL)
		err = fill(job, &rev, &out, &extra);
	if (err == 0)
		err = doc_put_json(b, &out);
	buf_release(&extra);
	if (err != 0)
		b->len = len;
	return err;
}

int
render_doc(struct buf *b, struct db_doc *doc, const struct render_opts *o, struct arena *a, int *metap)
{
	struct job job;
	int err;

	memset(&job, 0, sizeof(job));
	job.doc = doc;
	job.o = o;
	job.arena = job.scratch = a;
	job.node = &doc->winner;
	job.form = DOC_ATT_AS_DATA;
	err = render(b, &job);
	if (metap != NULL)
		*metap = job.meta;
	return err;
}

/* The attachments that follow are read when the snapshot and what was read are gone, so what lies there is copied. */
static int
keep_follows(struct job *job)
{
	struct doc_att *att;
	size_t i;

	for (i = 0; i < job->atts.nfollows; i++) {
		att = arena_alloc(job->arena, sizeof(*att));
		if (att == NULL)
			return ERR_NOMEM;
		*att = *job->atts.follows[i];
		att->name.s = arena_dup(job->arena, att->name.s, att->name.len);
		att->type.s = arena_dup(job->arena, att->type.s, att->type.len);
		if (att->name.s == NULL || att->type.s == NULL)
			return ERR_NOMEM;
		job->atts.follows[i] = att;
	}
	return 0;
}

/* Of several revisions of an answer the bodies are in memory one by one. */
static int
render_apart(struct buf *b, struct job *job)
{
	int err = arena_new(LIMIT_DOC_MEM, &job->scratch);

	if (err != 0)
		return err;
	err = render(b, job);
	if (err == 0)
		err = keep_follows(job);
	arena_free(job->scratch);
	return err;
}

int
render_rev(struct buf *b, struct db_doc *doc, struct revpos at, const struct render_opts *o, struct arena *a)
{
	struct revtree *t;
	struct job job;
	int err;

	err = db_doc_tree(doc, 1, &t);
	if (err != 0)
		return err;
	memset(&job, 0, sizeof(job));
	job.doc = doc;
	job.o = o;
	job.arena = a;
	job.at = &at;
	job.node = revtree_at(t, at);
	job.form = DOC_ATT_AS_DATA;
	return render_apart(b, &job);
}

int
render_follows(struct buf *b, struct db_doc *doc, const struct revpos *at, const struct render_opts *o, struct arena *a,
    int *metap, const struct doc_att ***attsp, size_t *nattsp)
{
	struct revtree *t;
	struct job job;
	int err;

	memset(&job, 0, sizeof(job));
	job.doc = doc;
	job.o = o;
	job.arena = a;
	job.at = at;
	job.form = DOC_ATT_AS_FOLLOWS;
	job.node = &doc->winner;
	if (at != NULL) {
		err = db_doc_tree(doc, 1, &t);
		if (err != 0)
			return err;
		job.node = revtree_at(t, *at);
	}
	err = render_apart(b, &job);
	if (metap != NULL)
		*metap = job.meta;
	*attsp = job.atts.follows;
	*nattsp = job.atts.nfollows;
	return err;
}
