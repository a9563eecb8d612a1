/* api_work.c: work off the event loop, and its way back to the request's own thread. */
#include "api.h"

#define BUSY_MS 20u /* until a full queue is asked again */

/* What preparing takes besides bodies, in the time that so many bytes of one would: */
#define WRITE_BYTES 256u
#define ATT_BYTES 512u
#define STUB_BYTES 8192u /* the document is read, with its revisions and attachments */

/* One excursion; lives in the request's arena, which the reference keeps. */
struct work {
	struct exec_job job;
	struct http_msg msg;
	struct apireq *r;
	api_f *work; /* NULL: a submission */
	api_f *then;
	struct db_request *req;
};

static void
come_back(void *arg)
{
	struct work *w = arg;
	struct http_req *http = w->r->http;

	w->then(w->r);
	http_release(http);
}

static void
post(struct work *w)
{
	http_post(http_req_thread(w->r->http), &w->msg);
}

static struct work *
set_out(struct apireq *r, api_f *work, api_f *then)
{
	struct work *w = arena_calloc(r->arena, 1, sizeof(*w));

	if (!w)
		return NULL;
	w->r = r;
	w->work = work;
	w->then = then;
	w->job.arg = w;
	w->msg.fn = come_back;
	w->msg.arg = w;
	http_hold(r->http);
	return w;
}

static void
run(void *arg)
{
	struct work *w = arg;

	w->work(w->r);
	post(w);
}

static int
work_on(struct executor *ex, struct apireq *r, api_f *work, api_f *then)
{
	struct work *w = set_out(r, work, then);

	if (!w) {
		api_error(r, ERR_NOMEM, NULL);
		return ERR_NOMEM;
	}
	w->job.fn = run;
	/* What is slow takes turns by database. */
	w->job.lane = ex == r->api->slow && r->db != NULL ? exec_lane(r->part[0].s) : 0;
	ex->submit(ex, &w->job);
	return 0;
}

int
api_work(struct apireq *r, api_f *work, api_f *then)
{
	return work_on(r->api->ex, r, work, then);
}

int
api_work_slow(struct apireq *r, api_f *work, api_f *then)
{
	return work_on(r->api->slow, r, work, then);
}

int
api_work_by(struct apireq *r, size_t len, api_f *work, api_f *then)
{
	if (len > API_INLINE_BYTES)
		return api_work(r, work, then);
	work(r);
	then(r);
	return 0;
}

void
api_parse(struct apireq *r, api_f *parse, api_f *then)
{
	(void)api_work_by(r, r->body_err == 0 ? r->body.len : 0, parse, then);
}

static void
fail_all(struct db_request *req, int err)
{
	for (size_t i = 0; i < req->nwrites; i++) {
		req->writes[i].err = err;
		req->writes[i].why.text[0] = '\0';
	}
}

static void
submit_done(struct db_request *req)
{
	struct work *w = req->cookie;

	post(w);
}

static int
has_blobs(const struct db_request *req)
{
	for (size_t i = 0; i < req->nwrites; i++)
		for (size_t k = 0; k < req->writes[i].natts; k++)
			if (req->writes[i].atts[k].blob)
				return 1;
	return 0;
}

static void
submit_run(void *arg)
{
	struct work *w = arg;
	struct executor *ex = w->r->api->ex;
	int err = db_submit(w->r->db, w->req);

	/* What was uploaded is not to be uploaded again because others did so, too. */
	if (err == ERR_BUSY && has_blobs(w->req)) {
		ex->later(ex, &w->job, BUSY_MS);
	} else if (err) {
		fail_all(w->req, err);
		post(w);
	}
}

/* How much there is to prepare. */
static size_t
weight(const struct db_request *req)
{
	size_t bytes = 0;

	for (size_t i = 0; i < req->nwrites; i++) {
		const struct db_write *w = &req->writes[i];

		bytes += WRITE_BYTES + w->body.len;
		for (size_t k = 0; k < w->natts; k++)
			bytes += w->atts[k].blob == NULL && w->atts[k].same == NULL ? STUB_BYTES : ATT_BYTES;
	}
	return bytes;
}

void
api_submit(struct apireq *r, struct db_request *req, api_f *then)
{
	struct work *w = set_out(r, NULL, then);

	http_wrote(r->http);
	if (!w) {
		fail_all(req, ERR_NOMEM);
		then(r);
		return;
	}
	w->req = req;
	w->job.fn = submit_run;
	req->done = submit_done;
	req->cookie = w;
	if (weight(req) > API_INLINE_BYTES) {
		r->api->ex->submit(r->api->ex, &w->job);
	} else {
		/* A failure, too, comes back by a message: the caller's frame is never re-entered. */
		submit_run(w);
	}
}
