/*
 * upload_form.c: a document that comes from a browser's form.  Its text is `_doc`;
 * or the revision in `_rev` is edited by adding attachments alone.  Parts named `_attachments`
 * replace attachments of the same name.
 */
#include "httpapi/edit.h"

#include "httpapi/multipart.h"
#include "httpapi/render.h"

#define FORM_MAX ((size_t)64 << 20) /* bytes of one part */
#define FORM_FILES 64u              /* attachments of one form */

/* One file of the form. */
struct file {
	struct jstr name, type;
	struct buf bytes;
};

struct form {
	struct edit *edit;
	struct apireq *r;
	struct buf doc, rev;
	struct buf *current; /* of the part at hand; NULL: passed over */
	struct file files[FORM_FILES];
	size_t nfiles;
	int has_doc, has_rev;
};

static void
release(struct edit *e)
{
	struct form *f = e->cookie;
	size_t i;

	buf_release(&f->doc);
	buf_release(&f->rev);
	for (i = 0; i < f->nfiles; i++)
		buf_release(&f->files[i].bytes);
	f->nfiles = 0;
}

static int
copy(struct arena *a, struct jstr from, struct jstr *to)
{
	to->s = arena_dup(a, from.s, from.len);
	to->len = from.len;
	return to->s == NULL ? ERR_NOMEM : 0;
}

static int
begin_file(struct form *f, struct jstr disposition, struct jstr type)
{
	static const struct jstr octets = {"application/octet-stream", 24};
	struct file *file = &f->files[f->nfiles];
	struct jstr name;
	int err;

	if (multipart_param(disposition, "filename", f->r->arena, &name) != 0 || name.len == 0)
		return 0;
	if (f->nfiles == FORM_FILES)
		return ERR_TOO_LARGE;
	buf_init(&file->bytes, FORM_MAX);
	f->nfiles++;
	f->current = &file->bytes;
	err = copy(f->r->arena, name, &file->name);
	return err != 0 ? err : copy(f->r->arena, type.s != NULL ? type : octets, &file->type);
}

static int
begin(void *cookie, const struct multipart_header *headers, size_t n)
{
	struct form *f = cookie;
	struct jstr disposition = multipart_find(headers, n, "content-disposition");
	struct jstr name;

	f->current = NULL;
	if (multipart_param(disposition, "name", f->r->arena, &name) != 0)
		return 0;
	if (jstr_is(&name, "_doc")) {
		f->has_doc = 1;
		f->current = &f->doc;
	} else if (jstr_is(&name, "_rev")) {
		f->has_rev = 1;
		f->current = &f->rev;
	} else if (jstr_is(&name, "_attachments"))
		return begin_file(f, disposition, multipart_find(headers, n, "content-type"));
	return 0;
}

static int
data(void *cookie, const char *bytes, size_t len)
{
	struct form *f = cookie;

	return f->current == NULL ? 0 : buf_put(f->current, bytes, len);
}

static int
end(void *cookie)
{
	(void)cookie;
	return 0;
}

/* The document that `_rev` names, as if the client had sent it with all its attachments as stubs. */
static int
read_current(struct form *f)
{
	struct apireq *r = f->r;
	struct edit *e = f->edit;
	struct db_snap *snap;
	struct revtree *t;
	struct db_doc doc;
	struct revpos at;
	struct revbuf rb;
	struct rev rev;
	int err;

	err = rev_parse(f->rev.data, f->rev.len, &rb);
	if (err == 0)
		err = db_snap_begin(r->db, &snap);
	if (err != 0)
		return err;
	rev = rev_of(&rb);
	err = db_get(snap, r->id.s, r->id.len, r->arena, &doc);
	if (err == 0)
		err = db_doc_tree(&doc, 1, &t);
	if (err == 0)
		err = revtree_find(t, &rev, &at) ? render_rev(&f->doc, &doc, at, NULL, r->arena) : ERR_MISSING;
	db_snap_end(snap);
	e->text.s = f->doc.data;
	e->text.len = f->doc.len;
	return err;
}

/* The files as attachments with data, in place of those of the same names. */
static int
add_files(struct form *f)
{
	struct doc_in *in = &f->edit->in;
	struct doc_att_in *atts;
	size_t i, k, n = 0;

	if (f->nfiles == 0)
		return 0;
	atts = arena_calloc(f->r->arena, in->natts + f->nfiles, sizeof(*atts));
	if (atts == NULL)
		return ERR_NOMEM;
	for (i = 0; i < f->nfiles; i++) {
		atts[n].name = f->files[i].name;
		atts[n].type = f->files[i].type;
		atts[n].kind = DOC_ATT_DATA;
		atts[n].data.s = f->files[i].bytes.data;
		atts[n].data.len = f->files[i].bytes.len;
		n++;
	}
	for (i = 0; i < in->natts; i++) {
		for (k = 0; k < f->nfiles; k++)
			if (in->atts[i].name.len == f->files[k].name.len &&
			    memcmp(in->atts[i].name.s, f->files[k].name.s, in->atts[i].name.len) == 0)
				break;
		if (k == f->nfiles)
			atts[n++] = in->atts[i];
	}
	in->atts = atts;
	in->natts = n;
	in->has_atts = 1;
	return 0;
}

static int
parse(struct apireq *r, struct edit *e, struct form *f, struct jstr body)
{
	struct multipart_sink sink = {begin, data, end, f};
	struct multipart *m;
	struct jstr boundary;
	int err;

	err = multipart_param(http_header(r->http, "content-type"), "boundary", r->arena, &boundary);
	if (err != 0)
		return err_why(&e->why, ERR_BAD_REQUEST, "The Content-Type has no boundary.");
	err = multipart_new(boundary, &sink, &m);
	if (err != 0)
		return err;
	err = multipart_feed(m, body.s, body.len);
	if (err == 0 && !multipart_done(m))
		err = ERR_BAD_REQUEST;
	multipart_free(m);
	if (err != 0)
		return err;
	e->text.s = f->doc.data;
	e->text.len = f->doc.len;
	if (!f->has_doc)
		err = f->has_rev ? read_current(f) : ERR_BAD_REV;
	if (err == 0) {
		edit_parse(r);
		err = e->err;
	}
	return err != 0 ? err : add_files(f);
}

static void
gathered(struct apireq *r)
{
	struct jstr body;
	struct form *f;
	struct edit *e;
	int err;

	err = http_body_all(r->http, &body);
	if (err == 0 && body.len > FORM_MAX)
		err = ERR_TOO_LARGE;
	if (err != 0) {
		api_error(r, err, NULL);
		return;
	}
	e = edit_new(r);
	if (e == NULL)
		return;
	f = arena_calloc(r->arena, 1, sizeof(*f));
	if (f == NULL) {
		edit_fail(r, ERR_NOMEM);
		return;
	}
	f->edit = e;
	f->r = r;
	buf_init(&f->doc, FORM_MAX);
	buf_init(&f->rev, REV_TEXT_MAX);
	e->cookie = f;
	e->release = release;
	e->new_edits = 1;
	e->how.etag = 1;
	err = parse(r, e, f, body);
	if (err == 0)
		err = edit_param(r);
	if (err == 0)
		err = edit_convert(r);
	if (err != 0)
		edit_fail(r, err);
	else
		edit_store(r);
}

void
upload_form(struct apireq *r)
{
	struct errtext why = {{0}};
	int err;

	err = api_referer_check(r, &why);
	if (err == 0)
		err = doc_id_check(r->id.s, r->id.len, &why);
	if (err == 0 && !multipart_is(http_header(r->http, "content-type"), "multipart/form-data"))
		err = err_why(&why, ERR_CONTENT_TYPE, "Content-Type must be multipart/form-data");
	if (err == 0 && http_body_len(r->http) > FORM_MAX && http_body_len(r->http) != UINT64_MAX)
		err = ERR_TOO_LARGE;
	if (err != 0)
		api_error(r, err, &why);
	else
		api_gather(r, gathered);
}
