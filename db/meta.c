/*
 * The tree `meta`: what is known of a database as a whole.
 *
 *   format      varint: FORMAT_VERSION
 *   state       the counters of struct dbstate in the order of its members: varints, the salt as 8 bytes
 *   histories   for each, oldest first: 16 bytes, varint first seq
 *   stamp       16 bytes: store_stamp() of the file that the last history began in (history.c)
 *   session     16 bytes: drawn at the first commit after each opening (history.c)
 *   security    the security object's text
 *   ages        while bodies are kept by age: for each note, oldest first: varint seconds since 1970, varint next body
 *   dict/NNNN   dictionary NNNN (8 hex digits), as zstd trained it
 *   upload/NNNN an attachment whose upload has not finished: its blob's number (16 hex digits)
 */
#include "dbi.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/log.h"

int
meta_put(struct store_batch *batch, const char *key, const void *val, size_t len)
{
	return record_put(batch, TREE_META, key, strlen(key), val, len);
}

int
meta_find(struct store_snap *snap, const char *key, struct bytes *r)
{
	struct store_val val;
	int err = store_get(snap, TREE_META, key, strlen(key), &val);

	return err ? err : record_open(TREE_META, key, strlen(key), &val, r);
}

int
meta_get(struct store_snap *snap, const char *key, struct buf *b)
{
	struct bytes r;
	size_t len;
	int err = meta_find(snap, key, &r);

	if (err)
		return err;
	len = bytes_left(&r);
	return buf_put(b, bytes_take(&r, len), len);
}

int
meta_state_get(struct store_snap *snap, struct dbstate *out)
{
	uint64_t *fields[] = {&out->update_seq, &out->doc_count, &out->doc_del_count, &out->external_bytes,
	    &out->purge_seq, &out->next_body, &out->next_blob, &out->next_docno, &out->next_node, &out->revs_limit,
	    &out->purged_limit, &out->partitioned, &out->created_us, &out->commits};
	struct bytes r;
	int err = meta_find(snap, "state", &r);

	if (err)
		return err;
	for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++)
		*fields[i] = bytes_varint(&r);
	out->salt = bytes_u64be(&r);
	out->superseded_bytes = 0;
	out->keep_revs = 0;
	out->keep_seconds = 0;
	out->superseded_atts = 0;
	if (bytes_left(&r) > 0) {
		out->counted_from = bytes_varint(&r);
		out->superseded_bytes = bytes_varint(&r);
	} else { /* of version 1: nobody has counted yet, which is told by a number above the first */
		out->next_body += out->next_body == REVTREE_BODY_FIRST;
		out->counted_from = out->next_body;
	}
	if (bytes_left(&r) > 0) {
		out->keep_revs = bytes_varint(&r);
		out->keep_seconds = bytes_varint(&r);
	}
	if (bytes_left(&r) > 0)
		out->superseded_atts = bytes_varint(&r);
	return r.bad ? ERR_CORRUPT : 0;
}

int
meta_state_put(struct store_batch *batch, const struct dbstate *s)
{
	const uint64_t fields[] = {s->update_seq, s->doc_count, s->doc_del_count, s->external_bytes, s->purge_seq,
	    s->next_body, s->next_blob, s->next_docno, s->next_node, s->revs_limit, s->purged_limit, s->partitioned,
	    s->created_us, s->commits};
	struct buf b;
	int err;

	buf_init(&b, 256);
	for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++)
		buf_put_varint(&b, fields[i]);
	buf_put_u64be(&b, s->salt);
	buf_put_varint(&b, s->counted_from);
	buf_put_varint(&b, s->superseded_bytes);
	buf_put_varint(&b, s->keep_revs);
	buf_put_varint(&b, s->keep_seconds);
	buf_put_varint(&b, s->superseded_atts);
	if ((err = buf_failed(&b)) == 0)
		err = meta_put(batch, "state", b.data, b.len);
	buf_release(&b);
	return err;
}

/* ---- Opening ---- */

static int
meta_init(struct dbfile *f, struct store_batch *batch)
{
	struct executor *ex = f->dbs->config.ex;
	const unsigned char version = FORMAT_VERSION;
	int err;

	f->state = (struct dbstate){.next_body = REVTREE_BODY_FIRST,
	    .next_blob = 1,
	    .next_docno = 1,
	    .next_node = 1,
	    .counted_from = REVTREE_BODY_FIRST,
	    .revs_limit = LIMIT_REVS_LIMIT,
	    .purged_limit = LIMIT_PURGES,
	    .partitioned = (uint64_t)f->partitioned,
	    .created_us = ex->wall_us(ex)};
	ex->random(ex, &f->state.salt, sizeof(f->state.salt));
	if (f->security.len == 0)
		(void)buf_puts(&f->security, access_default(f->dbs->admin_only));
	if ((err = buf_failed(&f->security)) != 0 ||
	    (err = meta_put(batch, "security", f->security.data, f->security.len)) != 0)
		return err;
	if ((err = meta_put(batch, "format", &version, 1)) != 0 || (err = meta_state_put(batch, &f->state)) != 0)
		return err;
	return history_begin(f, batch);
}

/* security_load: A file that was made by an older Divan has none before one is set: it has the default. */
static int
security_load(struct dbfile *f, struct store_snap *snap)
{
	int err = f->security.len > 0 ? 0 : meta_get(snap, "security", &f->security);

	if (err && err != ERR_MISSING)
		return err;
	return access_parse(err ? NULL : f->security.data, f->security.len, f->dbs->admin_only, &f->access);
}

/* each_with_prefix: Call fn for each record of meta whose key begins with prefix. */
static int
each_with_prefix(struct store_snap *snap, const char *prefix,
    int (*fn)(void *cookie, const char *rest, size_t restlen, struct bytes *r), void *cookie)
{
	size_t plen = strlen(prefix);
	struct store_cursor *c;
	struct store_val key, val;
	struct bytes r;
	int err = store_cursor_open(snap, TREE_META, &c);

	if (err)
		return err;
	for (err = store_seek(c, prefix, plen, &key, &val); err == 0; err = store_next(c, &key, &val)) {
		if (key.len < plen || memcmp(key.p, prefix, plen) != 0)
			break;
		if ((err = record_open(TREE_META, key.p, key.len, &val, &r)) != 0 ||
		    (err = fn(cookie, (const char *)key.p + plen, key.len - plen, &r)) != 0)
			break;
	}
	store_cursor_close(c);
	return err == ERR_MISSING ? 0 : err;
}

static int
number_of(const char *hex, size_t len, uint64_t *np)
{
	unsigned char be[8] = {0};

	if (len > 16 || len % 2 != 0 || hex_decode(hex, len, be + 8 - len / 2) != 0)
		return ERR_CORRUPT;
	*np = bytes_load_u64be(be);
	return 0;
}

static int
dict_load(void *cookie, const char *rest, size_t restlen, struct bytes *r)
{
	struct dbfile *f = cookie;
	uint64_t number;
	size_t len = bytes_left(r);
	int err = number_of(rest, restlen, &number);

	return err ? err : body_dicts_add(f->dicts, number, bytes_take(r, len), len);
}

struct leftovers {
	struct dbfile *f;
	struct store_snap *snap;
	struct store_batch *batch;
	int any;
};

/* upload_remove: The bytes of an upload that was not finished when the process ended. */
static int
upload_remove(void *cookie, const char *rest, size_t restlen, struct bytes *r)
{
	struct leftovers *l = cookie;
	struct commit c = {.f = l->f, .snap = l->snap, .batch = l->batch};
	uint64_t number;
	int err = number_of(rest, restlen, &number);

	(void)r;
	l->any = 1;
	return err ? err : blob_commit_drop(&c, number);
}

static int
format_check(struct store_snap *snap, uint64_t *versionp)
{
	struct bytes r;
	int err = meta_find(snap, "format", &r);

	if (err)
		return err;
	*versionp = bytes_varint(&r);
	if (r.bad)
		return ERR_CORRUPT;
	return *versionp > FORMAT_VERSION ? ERR_NEWER_FORMAT : 0;
}

static int
meta_read(struct dbfile *f, struct store_snap *snap, struct store_batch *batch, int *changedp)
{
	struct leftovers left = {f, snap, batch, 0};
	int err, moved = 0;

	if ((err = meta_state_get(snap, &f->state)) != 0 || (err = history_load(f, snap)) != 0 ||
	    (err = security_load(f, snap)) != 0 || (err = each_with_prefix(snap, "dict/", dict_load, f)) != 0 ||
	    (err = each_with_prefix(snap, "upload/", upload_remove, &left)) != 0 ||
	    (err = history_moved(f, snap, &moved)) != 0)
		return err;
	*changedp = left.any || moved;
	return moved ? history_begin(f, batch) : 0;
}

int
meta_load(struct dbfile *f)
{
	struct store_snap *snap;
	const unsigned char current = FORMAT_VERSION;
	uint64_t version;
	int err, changed = 1;

	if ((err = store_snap_begin(f->store, &snap)) != 0)
		return err;
	err = format_check(snap, &version);
	if (err == ERR_MISSING) { /* a new file, or one whose creation by an older Divan was cut short */
		if ((err = meta_init(f, f->batch)) == 0)
			err = security_load(f, snap);
	} else if (err == 0) {
		err = meta_read(f, snap, f->batch, &changed);
		if (err == 0 &&
		    version < FORMAT_VERSION) { /* what it holds is read as it is; what is written is newer */
			changed = 1;
			if ((err = meta_put(f->batch, "format", &current, 1)) == 0)
				err = meta_state_put(f->batch, &f->state);
		}
	}
	store_snap_end(snap);
	f->salt = f->state.salt;
	f->partitioned = f->state.partitioned != 0;
	if (err == 0 && changed)
		err = store_commit(f->batch);
	if (err)
		log_line(LOG_ERROR, "database %s cannot be opened: %s", f->name, err_reason(err));
	return err;
}
