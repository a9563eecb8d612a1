/*
 * find_explain.c: POST /{db}/_explain: how a query would be answered, and why not otherwise.
 *
 * The answer is CouchDB's.  With ?plan=true it tells also what is done here and nowhere else: several ranges or several indexes for one query, and the numbers of rows
 * by which that was chosen.
 */
#include "api.h"

#include "base/limits.h"
#include "find_index.h"
#include "find_query.h"
#include "findscan.h"
#include "query/query.h"

#define ANSWER_MAX (64u << 20)

/* A request; lives in its arena. */
struct request {
	struct jstr body;
	struct find_query q;
	struct findscan fs;
	int with_plan;
	struct db_info info;
	struct buf b;
	int err;
	struct errtext why;
};

/* ---- Parts of the answer ---- */

static void
put_bool(struct buf *b, const char *before, int on)
{
	buf_puts(b, before);
	buf_puts(b, on ? "true" : "false");
}

static void
put_strings(struct buf *b, const char *before, const struct jstr *s, size_t n)
{
	buf_puts(b, before);
	buf_putc(b, '[');
	for (size_t i = 0; i < n; i++) {
		if (i > 0)
			buf_putc(b, ',');
		buf_put_json(b, s[i].s, s[i].len);
	}
	buf_putc(b, ']');
}

static void
put_rows(struct buf *b, uint64_t rows)
{
	buf_puts(b, ",\"rows\":");
	if (rows == UINT64_MAX)
		buf_puts(b, "null");
	else
		buf_put_u64(b, rows);
}

/* put_name: "ddoc" and "name", the beginning of an object. */
static void
put_name(struct buf *b, const struct query_index *index)
{
	buf_puts(b, "{\"ddoc\":");
	buf_put_json(b, index->ddoc.s, index->ddoc.len);
	buf_puts(b, ",\"name\":");
	buf_put_json(b, index->name.s, index->name.len);
}

/* put_index: NULL: all documents. */
static void
put_index(struct buf *b, const struct mango_list *list, const struct query_index *index)
{
	find_index_put(index, index != NULL ? list->defs[index - list->indexes] : (struct jstr){NULL, 0}, b);
}

static void
put_candidates(struct buf *b, const struct request *v)
{
	const struct query_plan *p = v->fs.plan;

	buf_puts(b, ",\"index_candidates\":[");
	for (size_t i = 0; i < p->ncandidates; i++) {
		const struct query_candidate *c = &p->candidates[i];

		buf_puts(b, i > 0 ? ",{\"index\":" : "{\"index\":");
		put_index(b, v->fs.list, c->index);
		put_bool(b, ",\"analysis\":{\"usable\":", c->usable);
		buf_printf(b, ",\"reasons\":[{\"name\":\"%s\"}],\"ranking\":%u,\"covering\":", c->reason, c->ranking);
		buf_puts(b, c->index == NULL ? "null" : c->covering ? "true" : "false");
		if (v->with_plan)
			put_rows(b, c->rows);
		buf_puts(b, "}}");
	}
	buf_putc(b, ']');
}

static int
put_hints(struct buf *b, const struct request *v, struct arena *a)
{
	struct jstr *can, *cannot;
	size_t n, m;
	int err = query_plan_hints(v->q.selector, a, &can, &n, &cannot, &m);

	if (err)
		return err;
	put_strings(b, ",\"selector_hints\":[{\"type\":\"json\",\"indexable_fields\":", can, n);
	put_strings(b, ",\"unindexable_fields\":", cannot, m);
	buf_puts(b, "}]");
	return 0;
}

/* put_mrargs: What CouchDB's views would be asked. */
static void
put_mrargs(struct buf *b, const struct request *v)
{
	const struct query_plan *p = v->fs.plan;
	struct jstr first = p->descending ? p->end_key : p->start_key, last = p->descending ? p->start_key : p->end_key;

	put_bool(b, ",\"mrargs\":{\"include_docs\":", !p->covered);
	buf_puts(b, ",\"view_type\":\"map\",\"reduce\":false,\"partition\":");
	if (v->q.partition.len > 0)
		buf_put_json(b, v->q.partition.s, v->q.partition.len);
	else
		buf_puts(b, "null");
	buf_puts(b, ",\"start_key\":");
	buf_put(b, first.s, first.len);
	buf_puts(b, ",\"end_key\":");
	buf_put(b, last.s, last.len);
	buf_puts(b, p->descending ? ",\"direction\":\"rev\"" : ",\"direction\":\"fwd\"");
	put_bool(b, ",\"stable\":", v->q.stable || v->q.stale);
	put_bool(b, ",\"update\":", find_query_updates(&v->q));
	buf_puts(b, v->q.conflicts ? ",\"conflicts\":true}" : ",\"conflicts\":\"undefined\"}");
}

static int
put_plan(struct buf *b, struct request *v)
{
	const struct query_plan *p = v->fs.plan;
	int err = 0;

	buf_printf(b, ",\"plan\":{\"way\":\"%s\",\"parts\":[", p->way);
	for (size_t i = 0; i < p->nparts && err == 0; i++) {
		const struct query_part *part = &p->parts[i];

		buf_puts(b, i > 0 ? ",{\"index\":" : "{\"index\":");
		if (part->index != NULL) {
			put_name(b, part->index);
			buf_putc(b, '}');
		} else {
			buf_puts(b, "null");
		}
		buf_printf(b, ",\"ranges\":%zu", part->nranges);
		put_rows(b, findscan_count(&v->fs, part));
		if (part->branch != NULL) {
			buf_puts(b, ",\"branch\":");
			err = query_selector_put(part->branch, b);
		}
		buf_putc(b, '}');
	}
	put_bool(b, "],\"covered\":", p->covered);
	put_bool(b, ",\"exact\":", p->exact);
	buf_printf(b, ",\"documents\":%llu}", (unsigned long long)v->info.doc_count);
	return err;
}

/* ---- All of it ---- */

static int
put_answer(struct apireq *r, struct request *v)
{
	const struct query_plan *p = v->fs.plan;
	struct buf *b = &v->b;
	int err;

	buf_puts(b, "{\"dbname\":");
	buf_put_json(b, r->part[0].s, r->part[0].len);
	buf_puts(b, ",\"index\":");
	if (p->found)
		put_index(b, v->fs.list, p->chosen);
	else
		buf_puts(b, "null");
	put_bool(b, ",\"partitioned\":", v->info.partitioned);
	buf_puts(b, ",\"selector\":");
	if ((err = query_selector_put(v->q.selector, b)) != 0)
		return err;
	buf_puts(b, ",\"opts\":");
	(void)find_query_put_opts(&v->q, b);
	buf_printf(b, ",\"limit\":%llu,\"skip\":%llu", (unsigned long long)v->q.limit, (unsigned long long)v->q.skip);
	put_strings(b, ",\"fields\":", v->q.paths, v->q.npaths);
	put_candidates(b, v);
	if ((err = put_hints(b, v, r->arena)) != 0)
		return err;
	if (p->found) {
		put_mrargs(b, v);
		put_bool(b, ",\"covering\":", p->covered);
	}
	if (v->with_plan && p->found && (err = put_plan(b, v)) != 0)
		return err;
	buf_putc(b, '}');
	return buf_failed(b);
}

static void
explain(struct apireq *r)
{
	struct request *v = r->cookie;

	if ((v->err = find_query_read(r, v->body, &v->q, &v->why)) == 0 &&
	    (v->err = findscan_explain(&v->fs, r, &v->q, &v->why)) == 0 && (v->err = db_info(r->db, &v->info)) == 0)
		v->err = put_answer(r, v);
	findscan_release(&v->fs);
	find_query_release(&v->q);
}

static void
reply(struct apireq *r)
{
	struct request *v = r->cookie;

	if (v->err == 0) {
		api_json(r, 200, &v->b);
		return;
	}
	buf_release(&v->b);
	api_error(r, v->err, &v->why);
}

void
find_explain(struct apireq *r)
{
	struct request *v;
	struct errtext why = {""};
	int err;

	if (!api_json_post(r))
		return;
	if ((v = arena_calloc(r->arena, 1, sizeof(*v))) == NULL) {
		api_error(r, ERR_NOMEM, NULL);
		return;
	}
	if ((err = api_body(r, &v->body, &why)) != 0 || (err = api_param_bool(r, "plan", &v->with_plan, &why)) != 0) {
		api_error(r, err, &why);
		return;
	}
	r->cookie = v;
	buf_init(&v->b, ANSWER_MAX);
	api_work(r, explain, reply);
}
