/*
 * changes_query.c: the parameters of _changes.
 *
 * CouchDB reads them leniently: names in any case, switches that are on only by "true", unknown
 * names are for filters.
 */
#include "changes_query.h"

#include <strings.h>

#include "base/limits.h"
#include "feedjudge.h"
#include "rows.h"

#define INTERVAL_DEFAULT_MS 60000u

/* What is known before the filter is resolved. */
struct parse {
	struct apireq *r;
	struct changes_query *q;
	struct errtext *why;
	struct jstr filter, view, since;
	int has_since, has_filter, has_view;
	int has_timeout, has_heartbeat;
	uint64_t timeout_ms, heartbeat_ms;
	struct jstr doc_ids;  /* JSON text */
	struct jstr selector; /* JSON text */
	struct jstr fields;   /* JSON text */
	int post;
};

static int
names(const struct jstr *s, const char *word)
{
	return s->len == strlen(word) && strncasecmp(s->s, word, s->len) == 0;
}

/* An integer with a sign; returns 0 if ${s} is none. */
static int
integer(const struct jstr *s, int *negative, uint64_t *np)
{
	size_t i = s->len > 0 && (s->s[0] == '-' || s->s[0] == '+');
	unsigned digit;

	*negative = i > 0 && s->s[0] == '-';
	*np = 0;
	if (i == s->len)
		return 0;
	for (; i < s->len; i++) {
		if (s->s[i] < '0' || s->s[i] > '9')
			return 0;
		digit = (unsigned)(s->s[i] - '0');
		*np = *np > (UINT64_MAX - digit) / 10 ? UINT64_MAX : *np * 10 + digit;
	}
	return 1;
}

static int
set_feed(struct parse *p, const struct jstr *v)
{
	struct feedscan *scan = &p->q->scan;

	if (jstr_is(v, "normal"))
		scan->form = FEEDSCAN_NORMAL;
	else if (jstr_is(v, "longpoll"))
		scan->form = FEEDSCAN_LONGPOLL;
	else if (jstr_is(v, "continuous") || jstr_is(v, "live"))
		scan->form = FEEDSCAN_CONTINUOUS;
	else if (jstr_is(v, "eventsource"))
		scan->form = FEEDSCAN_EVENTSOURCE;
	else
		return err_why(
		    p->why, ERR_BAD_REQUEST, "Supported `feed` types: normal, continuous, live, longpoll, eventsource");
	return 0;
}

static int
set_heartbeat(struct parse *p, const struct jstr *v)
{
	int negative;

	p->has_heartbeat = 1;
	p->heartbeat_ms = INTERVAL_DEFAULT_MS;
	if (jstr_is(v, "true"))
		return 0;
	if (!integer(v, &negative, &p->heartbeat_ms))
		return err_why(p->why, ERR_BAD_REQUEST,
		    "Invalid heartbeat value. Expecting a positive integer value (in milliseconds).");
	if (negative || p->heartbeat_ms == 0)
		return err_why(
		    p->why, ERR_BAD_REQUEST, "The heartbeat value should be a positive integer (in milliseconds).");
	return 0;
}

static int
set_style(struct parse *p, const struct jstr *v)
{
	if (!jstr_is(v, "all_docs") && !jstr_is(v, "main_only"))
		return err_why(p->why, ERR_BAD_REQUEST, "Supported `style` values: main_only, all_docs");
	p->q->scan.row.all_leaves = v->len == strlen("all_docs");
	return 0;
}

static int
set_number(struct parse *p, const struct jstr *name, const struct jstr *v)
{
	struct feedscan *scan = &p->q->scan;
	int negative;
	uint64_t n;

	if (!integer(v, &negative, &n))
		return err_why(p->why, ERR_BAD_REQUEST,
		    names(name, "seq_interval") ? "invalid_seq_interval" : "Invalid value for integer: \"%.*s\"",
		    (int)(v->len > 200 ? 200 : v->len), v->s);
	if (names(name, "limit")) {
		scan->limit = negative ? UINT64_MAX : n;
	} else if (names(name, "timeout")) {
		p->has_timeout = 1;
		p->timeout_ms = negative ? 0 : n;
	} else {
		if (negative || n == 0)
			return err_why(p->why, ERR_BAD_REQUEST, "invalid_seq_interval");
		scan->interval = n;
	}
	return 0;
}

static uint8_t *
find_switch(struct feedscan *scan, const struct jstr *name)
{
	if (names(name, "descending"))
		return &scan->descending;
	if (names(name, "include_docs"))
		return &scan->row.include_docs;
	if (names(name, "conflicts"))
		return &scan->row.conflicts;
	if (names(name, "attachments"))
		return &scan->row.attachments;
	if (names(name, "att_encoding_info"))
		return &scan->row.att_encoding_info;
	return NULL;
}

static int
set(struct parse *p, const struct jstr *name, const struct jstr *v)
{
	uint8_t *on = find_switch(&p->q->scan, name);

	if (on != NULL) {
		*on = jstr_is(v, "true");
		return 0;
	}
	if (names(name, "feed"))
		return set_feed(p, v);
	if (names(name, "heartbeat"))
		return set_heartbeat(p, v);
	if (names(name, "style"))
		return set_style(p, v);
	if (names(name, "limit") || names(name, "timeout") || names(name, "seq_interval"))
		return set_number(p, name, v);
	if (names(name, "since") || names(name, "last-event-id")) {
		p->since = *v;
		p->has_since = 1;
	} else if (names(name, "filter")) {
		p->filter = *v;
		p->has_filter = 1;
	} else if (names(name, "view")) {
		p->view = *v;
		p->has_view = 1;
	} else if (names(name, "doc_ids") && p->doc_ids.s == NULL) {
		p->doc_ids = *v;
	}
	return 0;
}

static int
parse_body(struct parse *p)
{
	struct buf scratch;
	struct jstr body, name, text;
	struct jread j;
	int err;

	err = api_body(p->r, &body, p->why);
	if (err == 0 && body.len == 0)
		return 0;
	if (err == 0)
		err = rows_object(&j, &body, p->why);
	if (err != 0)
		return err;
	buf_init(&scratch, LIMIT_URL_LEN);
	while ((err = jread_object_next(&j, &scratch, &name)) == 0) {
		jread_peek(&j); /* over white space */
		err = jread_skip(&j, &text);
		if (err != 0)
			break;
		if (jstr_is(&name, "doc_ids"))
			p->doc_ids = text;
		else if (jstr_is(&name, "selector"))
			p->selector = text;
		else if (jstr_is(&name, "fields"))
			p->fields = text;
	}
	buf_release(&scratch);
	return err == ERR_END ? 0 : err;
}

/* ---- Filters ---- */

static int
add_id(struct parse *p, struct jread *j, struct jstr **idsp, size_t *np, size_t *capp)
{
	struct jstr text, *more;
	int err;

	jread_peek(j); /* over white space */
	err = jread_skip(j, &text);
	if (err != 0)
		return err;
	if (*np == *capp) {
		*capp = *capp == 0 ? 16 : *capp * 2;
		more = arena_calloc(p->r->arena, *capp, sizeof(*more));
		if (more == NULL)
			return ERR_NOMEM;
		if (*np > 0)
			memcpy(more, *idsp, *np * sizeof(*more));
		*idsp = more;
	}
	err = rows_string(p->r->arena, &text, &(*idsp)[*np]);
	/* What can't be an id matches nothing. */
	if (err == 0 && (*idsp)[*np].len > 0 && (*idsp)[*np].len <= LIMIT_ID_LEN)
		(*np)++;
	return err;
}

static int
filter_doc_ids(struct parse *p)
{
	static const char words[] = "`doc_ids` filter parameter is not a list of doc ids.";
	struct jstr *ids = NULL;
	size_t n = 0, cap = 0;
	struct jread j;
	int err;

	if (p->doc_ids.s == NULL)
		return err_why(p->why, ERR_BAD_REQUEST, words);
	jread_init(&j, p->doc_ids.s, p->doc_ids.len);
	err = jread_skip(&j, NULL);
	if (err == 0)
		err = jread_end(&j);
	if (err != 0)
		return err;
	jread_init(&j, p->doc_ids.s, p->doc_ids.len);
	if (jread_peek(&j) != JREAD_ARRAY)
		return err_why(p->why, ERR_BAD_REQUEST, words);
	err = jread_array_begin(&j);
	while (err == 0 && (err = jread_array_next(&j)) == 0)
		err = add_id(p, &j, &ids, &n, &cap);
	if (err == ERR_BAD_REQUEST)
		return err_why(p->why, ERR_BAD_REQUEST, words);
	if (err != ERR_END)
		return err;
	feedscan_only(&p->q->scan, ids, n);
	return 0;
}

static int
look_up(struct parse *p, const struct jstr *id, const struct jstr *member, const struct jstr *name)
{
	struct arena *a = p->r->arena;
	struct db_snap *snap;
	struct db_doc doc;
	struct db_rev rev;
	struct buf scratch;
	struct jread j;
	int err = db_snap_begin(p->r->db, &snap);

	if (err != 0)
		return err;
	err = db_get(snap, id->s, id->len, a, &doc);
	if (err == 0 && doc.winner.deleted)
		err = ERR_DELETED;
	if (err == 0)
		err = db_doc_rev(&doc, &doc.winner, a, &rev);
	if (err == 0) {
		jread_init(&j, rev.body.s, rev.body.len);
		buf_init(&scratch, LIMIT_BODY_LEN);
		err = jread_find(&j, &scratch, *member);
		if (err == ERR_END)
			name = member;
		else if (err == 0)
			err = jread_find(&j, &scratch, *name);
		buf_release(&scratch);
		if (err == ERR_END)
			err = err_why(p->why, ERR_MISSING, "missing json key: %.*s",
			    (int)(name->len > 200 ? 200 : name->len), name->s);
	}
	db_snap_end(snap);
	return err;
}

/* "design/function" of the design document's ${member}. */
static int
filter_function(struct parse *p, const struct jstr *which, const char *member, const char *malformed)
{
	const char *slash = memchr(which->s, '/', which->len);
	struct jstr id, name, in = {member, strlen(member)};
	char *text;
	int err;

	if (slash == NULL || memchr(slash + 1, '/', (size_t)(which->s + which->len - slash) - 1) != NULL)
		return err_why(p->why, ERR_BAD_REQUEST, "%s", malformed);
	id.len = 8 + (size_t)(slash - which->s);
	text = arena_alloc(p->r->arena, id.len + 1);
	if (text == NULL)
		return ERR_NOMEM;
	memcpy(text, "_design/", 8);
	memcpy(text + 8, which->s, id.len - 8);
	id.s = text;
	name.s = slash + 1;
	name.len = (size_t)(which->s + which->len - name.s);
	if (id.len > LIMIT_ID_LEN || id.len == 8)
		return ERR_MISSING;
	if ((err = look_up(p, &id, &in, &name)) != 0)
		return err;
	p->q->scan.filter = FEEDSCAN_SCRIPT;
	err = feedjudge_new(p->r, p->q->request, id, member, name, p->q->scan.row.all_leaves, &p->r->judge);
	p->q->scan.judge = p->r->judge;
	return err;
}

/* The members that a document in a row is to have. */
static int
set_fields(struct parse *p)
{
	struct jread j;
	int err;

	jread_init(&j, p->fields.s, p->fields.len);
	if (jread_peek(&j) != JREAD_ARRAY)
		return err_why(p->why, ERR_BAD_REQUEST, "Selector error: fields must be JSON array");
	err = query_fields_new(p->fields, &p->r->fields, p->why);
	if (err != 0)
		return err_status(err) == 400 ? ERR_BAD_REQUEST : err;
	p->q->scan.fields = p->r->fields;
	return 0;
}

static int
filter_selector(struct parse *p)
{
	struct jread j;
	int err;

	if (!p->post)
		return err_why(p->why, ERR_BAD_REQUEST, "Selector must be specified in POST payload");
	jread_init(&j, p->selector.s, p->selector.len);
	if (p->selector.s == NULL || jread_peek(&j) != JREAD_OBJECT)
		return err_why(p->why, ERR_BAD_REQUEST, "Selector error: expected a JSON object");
	err = query_selector_new(p->selector, &p->r->selector, p->why);
	/* What is wrong with it is told in other words than _find's, for the same reasons. */
	if (err != 0)
		return err_status(err) == 400 ? ERR_BAD_REQUEST : err;
	p->q->scan.filter = FEEDSCAN_SELECTOR;
	p->q->scan.selector = p->r->selector;
	return p->fields.s != NULL ? set_fields(p) : 0;
}

static int
set_filter(struct parse *p)
{
	const struct jstr *f = &p->filter;

	if (!p->has_filter || f->len == 0)
		return 0;
	if (jstr_is(f, "_doc_ids"))
		return filter_doc_ids(p);
	if (jstr_is(f, "_design")) {
		p->q->scan.filter = FEEDSCAN_DESIGN;
		return 0;
	}
	if (jstr_is(f, "_selector"))
		return filter_selector(p);
	if (jstr_is(f, "_view") && (!p->has_view || p->view.len == 0))
		return err_why(p->why, ERR_BAD_REQUEST, "`view` filter parameter is not provided.");
	if (jstr_is(f, "_view"))
		return filter_function(p, &p->view, "views", "`view` must be of the form `designname/viewname`");
	if (f->s[0] == '_')
		return err_why(p->why, ERR_BAD_REQUEST, "unknown builtin filter name");
	return filter_function(p, f, "filters", "`filter` must be of the form `designname/filtername`");
}

/* ---- Where to begin, how long to wait ---- */

static int
set_since(struct parse *p)
{
	struct feedscan *scan = &p->q->scan;
	struct jstr header = p->q->last_event_id;
	struct jstr s = p->since;
	struct db_snap *snap;
	uint64_t seq = 0;
	int err;

	if (scan->form == FEEDSCAN_EVENTSOURCE && header.s != NULL && header.len > 0) {
		s = header;
		p->has_since = 1;
	}
	if (p->has_since && jstr_is(&s, "now")) {
		err = db_snap_begin(p->r->db, &snap);
		if (err != 0)
			return err;
		err = db_snap_seq(snap, &seq);
		db_snap_end(snap);
		if (err != 0)
			return err;
	} else if (p->has_since) {
		/* Event ids are JSON strings, and come back as they went out. */
		if (s.len >= 2 && s.s[0] == '"' && s.s[s.len - 1] == '"') {
			s.s++;
			s.len -= 2;
		}
		err = s.len == 0 ? ERR_BAD_REQUEST : db_seq_parse(p->r->db, s.s, s.len, &seq);
		if (err == ERR_BAD_REQUEST)
			return err_why(p->why, err, "Malformed sequence supplied in 'since' parameter.");
		if (err != 0)
			return err;
	}
	scan->since = scan->first = scan->last = seq;
	return 0;
}

static void
set_interval(struct parse *p)
{
	uint64_t most = config_u64(p->r->api->config, "chttpd", "changes_timeout", INTERVAL_DEFAULT_MS);
	uint64_t ms = p->has_heartbeat ? p->heartbeat_ms : p->has_timeout ? p->timeout_ms : most;

	if (ms > most)
		ms = most;
	p->q->heartbeat = p->has_heartbeat;
	p->q->interval_ms = ms > UINT32_MAX / 2 ? UINT32_MAX / 2 : (uint32_t)ms;
}

int
changes_query_init(struct apireq *r, struct changes_query *q)
{
	memset(q, 0, sizeof(*q));
	q->last_event_id = http_header(r->http, "last-event-id");
	return strcmp(r->method, "POST") == 0 && !api_is_json(r) ? ERR_CONTENT_TYPE : 0;
}

int
changes_query_has_function(const struct apireq *r)
{
	for (size_t i = 0; i < r->nparams; i++) {
		const struct jstr *v = &r->params[i].value;

		if (names(&r->params[i].name, "filter") && v->len > 0 && !jstr_is(v, "_doc_ids") &&
		    !jstr_is(v, "_design") && !jstr_is(v, "_selector"))
			return 1;
	}
	return 0;
}

int
changes_query_parse(struct apireq *r, struct changes_query *q, struct errtext *why)
{
	struct parse p;
	size_t i;
	int err = 0;

	memset(&p, 0, sizeof(p));
	p.r = r;
	p.q = q;
	p.why = why;
	p.post = strcmp(r->method, "POST") == 0;
	feedscan_init(&q->scan, r->db, 0);
	if (p.post)
		err = parse_body(&p);
	for (i = 0; i < r->nparams && err == 0; i++)
		err = set(&p, &r->params[i].name, &r->params[i].value);
	if (err == 0)
		err = set_since(&p);
	if (err == 0)
		err = set_filter(&p);
	set_interval(&p);
	return err;
}
