/* peer_http_write.c: what a target behind HTTP lacks, and many documents to it at once. */
#include <string.h>

#include "peer_http_impl.h"

struct written {
	struct peer_op op;
	struct peer_rq rq;
	struct peer_diff *diff;
	struct peer_write *write;
};

static void
release(struct peer_op *op)
{
	peer_rq_release(&((struct written *)op)->rq);
}

static struct written *
post(struct peer *peer, struct peer_call *call, const char *path, void (*done)(struct peer_rq *rq))
{
	struct written *o = peer_op_new(peer, call, sizeof(*o));

	if (o == NULL)
		return NULL;
	peer_rq_init(&o->rq, &o->op, "POST", done);
	o->op.release = release;
	o->rq.type = "Content-Type: application/json";
	o->rq.head_factor = 4;
	(void)buf_puts(&o->rq.path, path);
	return o;
}

/* ---- _revs_diff ---- */

static void
diff_done(struct peer_rq *rq)
{
	struct written *o = (struct written *)rq->op;
	struct errtext why = {""};

	if (peer_rq_ok(rq))
		peer_rq_judge(rq, peer_json_diff(rq->answer.data, rq->answer.len, o->diff, &why), &why);
	else if (peer_rq_is_said(rq))
		rq->err = ERR_HELD_BACK;
	peer_op_end(&o->op, rq->err, &rq->why);
}

void
peer_http_diff(struct peer *peer, struct peer_diff *c)
{
	struct written *o = post(peer, &c->call, "_revs_diff", diff_done);
	struct buf *b;
	size_t i, k;

	if (o == NULL)
		return;
	o->diff = c;
	o->rq.divisible = c->n > 1;
	b = &o->rq.body;
	(void)buf_putc(b, '{');
	for (i = 0; i < c->n; i++) {
		if (i > 0)
			(void)buf_putc(b, ',');
		(void)buf_put_json(b, c->wants[i].id.s, c->wants[i].id.len);
		(void)buf_puts(b, ":[");
		for (k = 0; k < c->wants[i].nrevs; k++) {
			(void)buf_puts(b, k > 0 ? ",\"" : "\"");
			(void)rev_put(b, &c->wants[i].revs[k]);
			(void)buf_putc(b, '"');
		}
		(void)buf_putc(b, ']');
	}
	(void)buf_putc(b, '}');
	peer_rq_start(&o->rq);
}

/* ---- _bulk_docs ---- */

/* 417 is what CouchDB answers where validators refused some. */
static void
write_done(struct peer_rq *rq)
{
	struct written *o = (struct written *)rq->op;
	struct errtext why = {""};

	if (peer_rq_ok(rq) || rq->status == 417) {
		rq->err = 0;
		peer_rq_judge(rq, peer_json_written(rq->answer.data, rq->answer.len, o->write, &why), &why);
	} else if (rq->err == ERR_TOO_LARGE && rq->status >= 200 && rq->status <= 299) {
		/* Its answer is too much, and not what it was sent. */
		rq->err = ERR_IO;
	} else if (peer_rq_is_said(rq)) {
		/* Where a validator fails about one, CouchDB says no more than this of all. */
		rq->err = ERR_HELD_BACK;
	}
	peer_op_end(&o->op, rq->err, &rq->why);
}

void
peer_http_write(struct peer *peer, struct peer_write *c)
{
	struct written *o = post(peer, &c->call, "_bulk_docs", write_done);
	struct buf *b;
	size_t i;

	if (o == NULL)
		return;
	o->write = c;
	o->rq.divisible = c->n > 1;
	b = &o->rq.body;
	(void)buf_puts(b, "{\"new_edits\":false,\"docs\":[");
	for (i = 0; i < c->n; i++) {
		if (i > 0)
			(void)buf_putc(b, ',');
		(void)buf_put(b, c->docs[i].text.s, c->docs[i].text.len);
	}
	(void)buf_puts(b, "]}");
	peer_rq_start(&o->rq);
}
