/*
 * upload_form.c: a document that comes from a browser's form.  Its text is `_doc`; or the revision in `_rev` is edited
 * by adding attachments alone.  Parts named `_attachments` replace attachments of the same name; their bytes
 * go into blobs as they come.
 *
 *	upload_form -> attwrite_pour --take: multipart_feed--> begin, data, end --> poured
 *	            -> (executor) work -> parsed -> edit_convert -> edit_store
 */
#include "httpapi/edit.h"

#include "httpapi/attwrite.h"
#include "httpapi/multipart.h"
#include "httpapi/render.h"

#define DOC_MAX ((size_t)64 << 20) /* bytes of `_doc` */
#define FORM_FILES 64u             /* attachments of one form */

/* One file of the form. */
struct file {
	struct jstr name, type;
	struct db_blob *blob; /* until it is the write's */
};

struct form {
	struct edit *edit;
	struct apireq *r;
	struct multipart *parser;
	struct attwrite pour;
	struct buf doc, rev;
	struct buf *text; /* of the part at hand, or NULL */
	int in_file;      /* the part at hand is one */
	struct file files[FORM_FILES];
	size_t nfiles;
	int has_doc, has_rev;
};

static void
release(struct edit *e)
{
	struct form *f = e->cookie;
	size_t i;

	multipart_free(f->parser);
	f->parser = NULL;
	buf_release(&f->doc);
	buf_release(&f->rev);
	for (i = 0; i < f->nfiles; i++)
		db_blob_free(f->files[i].blob);
	f->nfiles = 0;
}

/* ---- Parts ---- */

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
	*file = (struct file){.type = type.s != NULL ? type : octets};
	err = attwrite_name_check(&name, &f->edit->why);
	if (err == 0)
		err = attwrite_type_check(&file->type, &f->edit->why);
	if (err == 0)
		err = copy(f->r->arena, name, &file->name);
	if (err == 0)
		err = copy(f->r->arena, file->type, &file->type);
	if (err != 0)
		return err;
	f->nfiles++;
	f->in_file = 1;
	return attwrite_open(
	    &f->pour, db_blob_mode_for(f->r->db, file->type.s, file->type.len), UINT64_MAX, &file->blob);
}

static int
begin(void *cookie, const struct multipart_header *headers, size_t n)
{
	struct form *f = cookie;
	struct jstr disposition = multipart_find(headers, n, "content-disposition");
	struct jstr name;

	f->text = NULL;
	f->in_file = 0;
	if (multipart_param(disposition, "name", f->r->arena, &name) != 0)
		return 0;
	if (jstr_is(&name, "_doc")) {
		f->has_doc = 1;
		f->text = &f->doc;
	} else if (jstr_is(&name, "_rev")) {
		f->has_rev = 1;
		f->text = &f->rev;
	} else if (jstr_is(&name, "_attachments"))
		return begin_file(f, disposition, multipart_find(headers, n, "content-type"));
	return 0;
}

static int
data(void *cookie, const char *bytes, size_t len)
{
	struct form *f = cookie;

	if (f->in_file)
		return write_att_why(attwrite_add(&f->pour, bytes, len), f->files[f->nfiles - 1].name, &f->edit->why);
	return f->text == NULL ? 0 : buf_put(f->text, bytes, len);
}

static int
end(void *cookie)
{
	struct form *f = cookie;

	return f->in_file ? attwrite_close(&f->pour) : 0;
}

/* ---- The document ---- */

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

/* 1 if a file behind number ${from} has that name: of equal names the last counts. */
static int
has_file(const struct form *f, size_t from, const struct jstr *name)
{
	for (size_t i = from; i < f->nfiles; i++)
		if (f->files[i].name.len == name->len && memcmp(f->files[i].name.s, name->s, name->len) == 0)
			return 1;
	return 0;
}

/* The files as attachments that follow, in place of those of the same names. */
static int
add_files(struct form *f)
{
	struct doc_in *in = &f->edit->in;
	struct doc_att_in *atts;
	size_t i, n = 0;

	if (f->nfiles == 0)
		return 0;
	atts = arena_calloc(f->r->arena, in->natts + f->nfiles, sizeof(*atts));
	if (atts == NULL)
		return ERR_NOMEM;
	for (i = 0; i < f->nfiles; i++)
		if (!has_file(f, i + 1, &f->files[i].name))
			atts[n++] = (struct doc_att_in){
			    .name = f->files[i].name, .type = f->files[i].type, .kind = DOC_ATT_FOLLOWS};
	for (i = 0; i < in->natts; i++)
		if (!has_file(f, 0, &in->atts[i].name))
			atts[n++] = in->atts[i];
	in->atts = atts;
	in->natts = n;
	in->has_atts = 1;
	return 0;
}

/* Their blobs become the write's, in the same order. */
static void
give_blobs(struct form *f)
{
	size_t i, n = 0;

	for (i = 0; i < f->nfiles; i++)
		if (!has_file(f, i + 1, &f->files[i].name)) {
			f->edit->w.atts[n++].blob = f->files[i].blob;
			f->files[i].blob = NULL;
		}
}

static void
work(struct apireq *r)
{
	struct edit *e = r->cookie;
	struct form *f = e->cookie;

	e->text.s = f->doc.data;
	e->text.len = f->doc.len;
	e->err = f->has_doc ? 0 : f->has_rev ? read_current(f) : ERR_BAD_REV;
	if (e->err == 0)
		edit_parse(r);
	if (e->err == 0 && write_follows(&e->in) > 0)
		e->err = err_why(&e->why, ERR_BAD_REQUEST, "Attachments can only follow in a multipart/related body.");
	if (e->err == 0)
		e->err = add_files(f);
}

static void
parsed(struct apireq *r)
{
	struct edit *e = r->cookie;
	int err = e->err;

	if (err == 0)
		err = edit_param(r);
	if (err == 0)
		err = edit_convert(r);
	if (err != 0) {
		edit_fail(r, err);
		return;
	}
	give_blobs(e->cookie);
	edit_store(r);
}

/* ---- The body ---- */

static int
take(void *cookie, const char *bytes, size_t len)
{
	struct form *f = cookie;

	return multipart_feed(f->parser, bytes, len);
}

static void
poured(struct apireq *r)
{
	struct edit *e = r->cookie;
	struct form *f = e->cookie;
	int err = f->pour.err;

	if (err == 0 && !multipart_done(f->parser))
		err = err_why(&e->why, ERR_BAD_REQUEST, "The multipart body is incomplete.");
	if (err != 0)
		edit_fail(r, err);
	else if (api_work(r, work, parsed) != 0)
		release(e);
}

static int
start(struct apireq *r, struct edit *e)
{
	struct multipart_sink sink = {begin, data, end, NULL};
	struct form *f = arena_calloc(r->arena, 1, sizeof(*f));
	struct jstr boundary;

	if (f == NULL)
		return ERR_NOMEM;
	if (multipart_param(http_header(r->http, "content-type"), "boundary", r->arena, &boundary) != 0)
		return err_why(&e->why, ERR_BAD_REQUEST, "The Content-Type has no boundary.");
	f->edit = e;
	f->r = r;
	f->pour = (struct attwrite){.r = r, .take = take, .then = poured, .cookie = f};
	buf_init(&f->doc, DOC_MAX);
	buf_init(&f->rev, REV_TEXT_MAX);
	e->cookie = f;
	e->release = release;
	e->how.etag = 1;
	sink.cookie = f;
	return multipart_new(boundary, &sink, &f->parser);
}

void
upload_form(struct apireq *r)
{
	struct errtext why = {{0}};
	struct form *f;
	struct edit *e;
	int err;

	err = api_referer_check(r, &why);
	if (err == 0)
		err = db_doc_check(r->db, r->id.s, r->id.len, 0, &why);
	if (err == 0 && !multipart_is(http_header(r->http, "content-type"), "multipart/form-data"))
		err = err_why(&why, ERR_CONTENT_TYPE, "Content-Type must be multipart/form-data");
	if (err != 0) {
		api_error(r, err, &why);
		return;
	}
	e = edit_new(r);
	if (e == NULL)
		return;
	err = start(r, e);
	if (err != 0) {
		edit_fail(r, err);
		return;
	}
	f = e->cookie;
	attwrite_pour(&f->pour);
}
