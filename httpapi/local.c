/*
 * local.c: /{db}/_local/{id}: documents that are not replicated, such as checkpoints.
 *
 * Their revision is "0-N", a count of writes; one that is stale is no conflict.
 */
#include "base/hash.h"
#include "base/limits.h"
#include "db/doc.h"
#include "edit.h"
#include "base/counters.h"

/* A write; lives in the request's arena. */
struct local_put {
	struct db_request req;
	struct db_write write;
	struct doc_in in;
	struct revbuf rev; /* gen 0, and N in decimal */
	int has_rev;
	int is_delete;              /* by DELETE: no Location */
	int is_batch;               /* a PUT with batch=ok: 202, without revision */
	unsigned char md5[MD5_LEN]; /* of the body */
	int err;                    /* of the body */
	struct errtext why;
};

static void
put_rev(struct buf *b, uint64_t n)
{
	buf_puts(b, "0-");
	buf_put_u64(b, n);
}

/* Of revision and the body's MD5: the count alone begins again when a document is made anew. */
static void
make_tag(uint64_t rev, unsigned char md5[MD5_LEN], char tag[2 * MD5_LEN + 2])
{
	for (unsigned i = 0; i < 8; i++)
		md5[i] ^= (unsigned char)(rev >> 8 * i);
	tag[0] = tag[2 * MD5_LEN + 1] = '"';
	hex_encode(md5, MD5_LEN, tag + 1);
}

/* local_len: Bytes to read; ERR_MISSING. */
static int
local_len(struct apireq *r, uint64_t *lenp)
{
	struct db_snap *snap;
	int err = db_snap_begin(r->db, &snap);

	if (err)
		return err;
	err = db_local_len(snap, r->id.s, r->id.len, lenp);
	db_snap_end(snap);
	return err;
}

/* A read; lives in the request's arena. */
struct local_get {
	int err;
	char tag[2 * MD5_LEN + 2];
	struct buf text;
};

static void
get_read(struct apireq *r)
{
	struct local_get *g = r->cookie;
	struct buf *b = &g->text;
	unsigned char md5[MD5_LEN];
	struct db_snap *snap;
	struct jstr body;
	uint64_t rev;

	if ((g->err = db_snap_begin(r->db, &snap)) != 0)
		return;
	if ((g->err = db_local_get(snap, r->id.s, r->id.len, r->arena, &rev, &body)) == 0) {
		hash_md5(body.s, body.len, md5);
		make_tag(rev, md5, g->tag);
		buf_init(b, body.len + 8 * LIMIT_ID_LEN);
		buf_puts(b, "{\"_id\":");
		buf_put_json(b, r->id.s, r->id.len);
		buf_puts(b, ",\"_rev\":\"");
		put_rev(b, rev);
		buf_puts(b, body.len > 2 ? "\"," : "\"");
		buf_put(b, body.s + 1, body.len - 1);
	}
	db_snap_end(snap);
}

static void
get_send(struct apireq *r)
{
	struct local_get *g = r->cookie;

	if (g->err)
		api_error(r, g->err, NULL);
	else if (!buf_failed(&g->text) && api_not_modified(r, g->tag, sizeof(g->tag)))
		buf_release(&g->text);
	else
		api_json(r, 200, &g->text);
}

static void
local_get(struct apireq *r)
{
	uint64_t len;
	int err = ERR_NOMEM;

	if ((r->cookie = arena_calloc(r->arena, 1, sizeof(struct local_get))) != NULL)
		err = local_len(r, &len);
	if (err)
		api_error(r, err, NULL);
	else
		(void)api_work_by(r, len, get_read, get_send);
}

/* ?rev= or If-Match, which must agree with the body's. */
static int
take_param(struct apireq *r, struct local_put *p)
{
	const struct jstr *param = api_param(r, "rev");
	struct jstr text = param ? *param : http_header(r->http, "if-match");
	struct revbuf rev;
	int err;

	if (!text.s || text.len == 0)
		return 0;
	if (text.len > 2 && text.s[0] == '"' && text.s[text.len - 1] == '"')
		text = (struct jstr){text.s + 1, text.len - 2};
	err = rev_parse_local(text.s, text.len, &rev);
	if (err)
		return err;
	if (p->has_rev && (rev.len != p->rev.len || memcmp(rev.id, p->rev.id, rev.len) != 0))
		return ERR_BAD_REQUEST;
	p->rev = rev;
	p->has_rev = 1;
	return 0;
}

static void
write_end(struct apireq *r)
{
	struct local_put *p = r->cookie;
	struct db_write *w = &p->write;
	char tag[2 * MD5_LEN + 2];
	struct buf b;
	int err = w->err;
	uint64_t n = 0;

	/* What a PUT is to delete need not be there. */
	if (err == ERR_MISSING && w->deleted && !p->is_delete)
		err = 0;
	if (!err && !p->is_delete && !p->is_batch)
		err = api_location(r, r->id, (struct jstr){NULL, 0});
	if (err) {
		api_error(r, err, &w->why);
		return;
	}
	for (size_t i = 0; i < w->rev.len && !w->deleted; i++)
		n = n * 10 + (uint64_t)(w->rev.id[i] - '0');
	make_tag(n, p->md5, tag);
	if (!p->is_batch)
		http_set_header(r->http, "etag", tag, sizeof(tag));
	buf_init(&b, 8 * LIMIT_ID_LEN);
	buf_puts(&b, "{\"ok\":true,\"id\":");
	buf_put_json(&b, r->id.s, r->id.len);
	if (!p->is_batch) {
		buf_puts(&b, ",\"rev\":\"");
		put_rev(&b, n);
		buf_putc(&b, '"');
	}
	buf_putc(&b, '}');
	api_json(r, p->is_batch ? 202 : w->deleted ? 200 : 201, &b);
}

static void
submit(struct apireq *r, struct local_put *p)
{
	r->cookie = p;
	p->write.kind = DB_WRITE_LOCAL;
	p->write.id = r->id;
	p->write.has_parent = p->has_rev;
	p->write.parent = p->rev;
	p->req.writes = &p->write;
	p->req.nwrites = 1;
	counters_add(COUNTER_LOCAL_WRITES, 1);
	api_submit(r, &p->req, write_end);
}

static int
parse_body(struct apireq *r, struct local_put *p, struct errtext *why)
{
	struct jstr body;
	int err = api_body(r, &body, why);
	struct jread j;

	if (err)
		return err;
	jread_init(&j, body.s, body.len);
	err = doc_parse(&j, r->arena, &p->in, why);
	if (err != ERR_BAD_JSON && jread_end(&j)) {
		why->text[0] = '\0';
		return ERR_BAD_JSON;
	}
	if (!err && p->in.has_rev && p->in.rev.gen != 0)
		err = ERR_BAD_REV;
	p->has_rev = p->in.has_rev;
	p->rev = p->in.rev;
	if (!err)
		hash_md5(p->in.body.s, p->in.body.len, p->md5);
	return err;
}

static void
parse_put(struct apireq *r)
{
	struct local_put *p = r->cookie;

	p->err = parse_body(r, p, &p->why);
}

static void
put_parsed(struct apireq *r)
{
	struct local_put *p = r->cookie;
	int err = p->err ? p->err : take_param(r, p);

	if (err == ERR_BAD_REQUEST && !p->why.text[0])
		err = err_why(&p->why, err,
		    "Document rev from request body and query string have "
		    "different values");
	p->write.body = p->in.body;
	p->write.deleted = p->in.deleted;
	p->is_batch = api_param_is(r, "batch", "ok");
	if (err)
		api_error(r, err, &p->why);
	else
		submit(r, p);
}

static void
local_put(struct apireq *r)
{
	r->cookie = arena_calloc(r->arena, 1, sizeof(struct local_put));
	if (r->cookie)
		api_parse(r, parse_put, put_parsed);
	else
		api_error(r, ERR_NOMEM, NULL);
}

static void
local_delete(struct apireq *r)
{
	struct local_put *p = arena_calloc(r->arena, 1, sizeof(*p));
	uint64_t len;
	int err = ERR_NOMEM;

	if (p) {
		p->is_delete = p->write.deleted = 1;
		p->write.body = (struct jstr){"{}", 2};
		hash_md5("{}", 2, p->md5);
		err = take_param(r, p);
	}
	/* What is not there is missing whatever revision is named, also one that _local documents cannot have. */
	if (err == ERR_BAD_REV && local_len(r, &len) == ERR_MISSING)
		err = ERR_MISSING;
	if (err)
		api_error(r, err, NULL);
	else
		submit(r, p);
}

void
local_any(struct apireq *r)
{
	struct errtext why = {""};
	int put = strcmp(r->method, "PUT") == 0;
	int get = strcmp(r->method, "GET") == 0;
	int copy = strcmp(r->method, "COPY") == 0;
	int err;

	if (r->nparts > r->nid) {
		api_error_text(r, 400, "bad_request", "_local documents do not accept attachments.");
		return;
	}
	if (r->id.len <= strlen("_local/")) {
		api_error(r, ERR_BAD_LOCAL_ID, NULL);
		return;
	}
	err = doc_id_check(r->id.s, r->id.len, &why);
	if (err)
		api_error(r, err, &why);
	else if (get)
		local_get(r);
	else if (copy)
		copy_document(r);
	else if (put)
		api_gather(r, local_put);
	else
		local_delete(r);
}
