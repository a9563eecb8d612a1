/* find_index_list.c: GET /{db}/_index: which indexes there are, all documents by their ids first of all. */
#include "find_index.h"

#include "api.h"
#include "rows.h"
#include "views/mango.h"

/* A request; lives in its arena. */
struct list {
	uint64_t limit, skip;
	struct buf b;
	int err;
};

/* read_number: A parameter that is an integer, if it is there; what is beyond UINT64_MAX is that. */
static int
read_number(const struct apireq *r, const char *name, uint64_t least, uint64_t *vp)
{
	const struct jstr *p = api_param(r, name);
	uint64_t v = 0;
	size_t i;

	if (p == NULL)
		return 0;
	i = p->len > 0 && (p->s[0] == '-' || p->s[0] == '+');
	if (i == p->len)
		return ERR_LIST_INDEX;
	for (; i < p->len; i++) {
		unsigned digit = (unsigned)(unsigned char)p->s[i] - '0';

		if (digit > 9)
			return ERR_LIST_INDEX;
		v = v > (UINT64_MAX - digit) / 10 ? UINT64_MAX : 10 * v + digit;
	}
	*vp = v;
	return v < least || (p->s[0] == '-' && v > 0) ? ERR_LIST_INDEX : 0;
}

void
find_index_put(const struct query_index *ix, struct jstr def, struct buf *b)
{
	if (ix == NULL) {
		buf_puts(b, "{\"ddoc\":null,\"name\":\"_all_docs\",\"type\":\"special\""
			    ",\"def\":{\"fields\":[{\"_id\":\"asc\"}]}}");
		return;
	}
	buf_puts(b, "{\"ddoc\":");
	buf_put_json(b, ix->ddoc.s, ix->ddoc.len);
	buf_puts(b, ",\"name\":");
	buf_put_json(b, ix->name.s, ix->name.len);
	buf_printf(b, ",\"type\":\"json\",\"partitioned\":%s,\"def\":", ix->partitioned ? "true" : "false");
	buf_put(b, def.s, def.len);
	buf_putc(b, '}');
}

static int
put_list(struct list *l, const struct mango_list *all)
{
	struct buf *b = &l->b;
	int n = 0;

	buf_printf(b, "{\"total_rows\":%zu,\"indexes\":[", all->n + 1);
	if (l->skip == 0) {
		find_index_put(NULL, (struct jstr){NULL, 0}, b);
		n++;
	}
	for (uint64_t i = l->skip > 0 ? l->skip - 1 : 0; i < all->n && (uint64_t)n < l->limit; i++) {
		if (n++ > 0)
			buf_putc(b, ',');
		find_index_put(&all->indexes[i], all->defs[i], b);
	}
	return buf_puts(b, "]}");
}

static void
run(struct apireq *r)
{
	const struct mango_list *all;
	struct list *l = r->cookie;

	if ((l->err = mango_open(r->api->views, r->db, r->part[0].s, &all)) != 0)
		return;
	l->err = put_list(l, all);
	mango_close(r->api->views, all);
}

static void
reply(struct apireq *r)
{
	struct list *l = r->cookie;

	if (l->err == 0) {
		api_json(r, 200, &l->b);
		return;
	}
	buf_release(&l->b);
	api_error(r, l->err, NULL);
}

void
find_index_list(struct apireq *r)
{
	struct list *l = arena_calloc(r->arena, 1, sizeof(*l));
	int err = l != NULL ? 0 : ERR_NOMEM;

	r->cookie = l;
	if (err == 0) {
		l->limit = UINT64_MAX;
		buf_init(&l->b, ROWS_BATCH_MAX);
		if ((err = read_number(r, "limit", 1, &l->limit)) == 0)
			err = read_number(r, "skip", 0, &l->skip);
	}
	if (err != 0)
		api_error(r, err, NULL);
	else
		api_work(r, run, reply);
}
