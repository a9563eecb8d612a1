/*
 * Random documents, indexes and queries: whatever the plan, it meets the documents that looking at all of them finds.  PLAN_SEED=N begins elsewhere,
 * PLAN_ROUNDS=N does more.
 */
#include <stdlib.h>

#include "base/limits.h"
#include "check.h"
#include "dice.h"
#include "inrange.h"
#include "query/plan.h"

enum { DOCS = 24, INDEXES = 5, COLUMNS = 3, TEXT = 4096 };

static uint64_t state;

static unsigned
pick(unsigned n)
{
	return (unsigned)(dice_next(&state) >> 11) % n;
}

#define ONE_OF(list) ((list)[pick(sizeof(list) / sizeof((list)[0]))])

static const char *const values[] = {"null", "false", "true", "-3", "0", "1", "1.5", "2", "10", "\"\"", "\"a\"",
    "\"A\"", "\"b\"", "\"\xc3\xa9\"", "\"e\xcc\x81\"", "\"abc\"", "\"a\xc3\xa9 \"", "\"ac\"", "\"aB\"", "[]", "[1]",
    "[\"a\"]", "[null,2]", "[[1]]", "{}", "{\"d\":1}", "{\"d\":null}", "{\"d\":\"a\",\"e\":2}", "{\"d\":[1,\"a\"]}"};
static const char *const fields[] = {"a", "a", "b", "b", "c", "c.d", "c.0", "_id"};
static const char *const ids[] = {"a", "A", "aa", "b", "B", "ba", "\xc3\xa9", "e\xcc\x81", "f", "g", "h", "i", "j", "k",
    "l", "m", "n", "o", "p", "q", "r", "s", "t", "u"};

static struct {
	struct jstr id;
	char body[TEXT], whole[TEXT];
} docs[DOCS];

static struct {
	char ddoc[32], name[8], filter[TEXT];
	struct jstr columns[COLUMNS];
	struct query_columns *finder;
	/* Of each document that has a row: */
	int has[DOCS];
	struct buf keys[DOCS], sortkeys[DOCS];
} rows[INDEXES];

static struct query_index indexes[INDEXES];

static struct jstr
str(const char *s)
{
	return (struct jstr){s, strlen(s)};
}

static struct jstr
of(const struct buf *b)
{
	return (struct jstr){b->data, b->len};
}

/* ---- Made up ---- */

static void
make_docs(void)
{
	for (size_t i = 0; i < DOCS; i++) {
		char *p = docs[i].body;

		docs[i].id = str(ids[i]);
		p += sprintf(p, "{");
		for (const char *name = "abc"; *name != '\0'; name++)
			if (pick(4) > 0)
				p += sprintf(p, "%s\"%c\":%s", p[-1] == '{' ? "" : ",", *name, ONE_OF(values));
		sprintf(p, "}");
		sprintf(docs[i].whole, "{\"_id\":\"%s\",\"_rev\":\"1-a\"%s%s", ids[i],
		    docs[i].body[1] == '}' ? "" : ",", docs[i].body + 1);
	}
}

static void
put_id(struct buf *b)
{
	if (pick(6) == 0)
		buf_puts(b, ONE_OF(values));
	else
		buf_printf(b, "\"%s\"", ONE_OF(ids));
}

static void
put_value(struct buf *b, const char *field)
{
	if (*field == '_')
		put_id(b);
	else
		buf_puts(b, ONE_OF(values));
}

static void
put_condition(struct buf *b, const char *field)
{
	static const char *const orders[] = {"$lt", "$lte", "$eq", "$eq", "$eq", "$eq", "$gte", "$gt", "$ne"};
	static const char *const others[] = {"{\"$exists\":true}", "{\"$exists\":false}", "{\"$type\":\"string\"}",
	    "{\"$type\":\"boolean\"}", "{\"$type\":\"nothing\"}", "{\"$regex\":\"^[ab]\"}", "{\"$beginsWith\":\"a\"}",
	    "{\"$beginsWith\":\"ab\"}", "{\"$beginsWith\":\"a\xc3\xa9\"}", "{\"$beginsWith\":\"\"}", "{\"$size\":1}",
	    "{\"$all\":[1]}", "{\"$elemMatch\":{\"$gt\":0}}", "{\"$allMatch\":{\"$gt\":0}}",
	    "{\"$keyMapMatch\":{\"$eq\":\"d\"}}", "{\"$mod\":[2,0]}", "{\"$not\":{\"$regex\":\"b\"}}",
	    "{\"$not\":{\"$size\":1}}"};
	unsigned kind = pick(12);

	if (kind < 8) {
		buf_printf(b, "{\"%s\":", ONE_OF(orders));
		put_value(b, field);
		buf_putc(b, '}');
	} else if (kind < 10) {
		buf_printf(b, "{\"%s\":[", pick(5) == 0 ? "$nin" : "$in");
		for (unsigned i = pick(12); i > 0; i--) {
			put_value(b, field);
			buf_puts(b, i > 1 ? "," : "");
		}
		buf_puts(b, "]}");
	} else {
		buf_puts(b, ONE_OF(others));
	}
}

static void
put_selector(struct buf *b, unsigned depth)
{
	static const char *const joints[] = {"$and", "$and", "$or", "$or", "$or", "$nor"};
	unsigned n = pick(20) == 0 ? 0 : 1 + pick(3);

	if (depth == 0 || pick(4) == 0) {
		const char *field = ONE_OF(fields);

		buf_printf(b, "{\"%s\":", field);
		put_condition(b, field);
		buf_putc(b, '}');
	} else if (pick(8) == 0) {
		buf_puts(b, "{\"$not\":");
		put_selector(b, depth - 1);
		buf_putc(b, '}');
	} else {
		buf_printf(b, "{\"%s\":[", ONE_OF(joints));
		for (unsigned i = 0; i < n; i++) {
			buf_puts(b, i > 0 ? "," : "");
			put_selector(b, depth - 1);
		}
		buf_puts(b, "]}");
	}
}

/* A few alternatives, each of which an index may serve. */
static void
put_alternatives(struct buf *b)
{
	int with_more = pick(2) == 0;

	buf_puts(b, with_more ? "{\"$and\":[{\"$or\":[" : "{\"$or\":[");
	for (unsigned i = 2 + pick(3); i > 0; i--) {
		put_selector(b, pick(5) == 0);
		buf_puts(b, i > 1 ? "," : "]}");
	}
	if (with_more) {
		buf_putc(b, ',');
		put_selector(b, 0);
		buf_puts(b, "]}");
	}
}

static int
matches(struct query_selector *s, size_t doc)
{
	struct query_doc d = {.id = docs[doc].id, .rev = str("1-a"), .body = str(docs[doc].body)};
	int match = 0;

	CHECK_INT(query_selector_match(s, &d, &match), 0);
	return match;
}

static struct query_selector *
compile(struct jstr text)
{
	struct query_selector *s = NULL;
	struct errtext why = {""};

	if (!CHECK_INT(query_selector_new(text, &s, &why), 0))
		fprintf(stderr, "%.*s: %s\n", (int)text.len, text.s, why.text);
	return s;
}

/* The rows of index ${i}, whose columns and filter stand. */
static void
fill_index(size_t i, struct buf *scratch)
{
	struct query_selector *filter = indexes[i].filter.len > 0 ? compile(indexes[i].filter) : NULL;

	CHECK_INT(query_columns_new(rows[i].columns, indexes[i].ncolumns, &rows[i].finder), 0);
	for (size_t d = 0; d < DOCS; d++) {
		struct buf *key = &rows[i].keys[d], *sortkey = &rows[i].sortkeys[d];

		buf_init(key, TEXT);
		buf_init(sortkey, TEXT);
		CHECK_INT(
		    query_columns_row(rows[i].finder, str(docs[d].whole), scratch, key, sortkey, &rows[i].has[d]), 0);
		if (filter != NULL && rows[i].has[d])
			rows[i].has[d] = matches(filter, d);
	}
	query_selector_free(filter);
}

static void
make_indexes(const char *selector)
{
	struct buf scratch, filter;

	buf_init(&scratch, TEXT);
	for (size_t i = 0; i < INDEXES; i++) {
		indexes[i] = (struct query_index){
		    .columns = rows[i].columns, .ncolumns = 1 + (pick(2) > 0 ? pick(COLUMNS) : 0), .number = i};
		for (size_t k = 0; k < indexes[i].ncolumns; k++)
			rows[i].columns[k] = str(ONE_OF(fields));
		sprintf(rows[i].ddoc, "_design/%u", pick(3));
		sprintf(rows[i].name, "%zu", i);
		indexes[i].ddoc = str(rows[i].ddoc);
		indexes[i].name = str(rows[i].name);
		if (pick(4) == 0) {
			struct query_selector *s;

			buf_init(&filter, TEXT);
			if (pick(2) == 0)
				put_selector(&filter, 1);
			else
				buf_puts(&filter, selector);
			s = compile(of(&filter));
			buf_clear(&filter);
			CHECK_INT(query_selector_put(s, &filter), 0);
			sprintf(rows[i].filter, "%.*s", (int)filter.len, filter.data);
			indexes[i].filter = str(rows[i].filter);
			query_selector_free(s);
			buf_release(&filter);
		}
		fill_index(i, &scratch);
	}
	buf_release(&scratch);
}

static void
release_indexes(void)
{
	for (size_t i = 0; i < INDEXES; i++) {
		query_columns_free(rows[i].finder);
		for (size_t d = 0; d < DOCS; d++) {
			buf_release(&rows[i].keys[d]);
			buf_release(&rows[i].sortkeys[d]);
		}
	}
}

/* ---- Read ---- */

/* In how many ranges is the row of document ${d}; *${atp} is the last of them. */
static unsigned
count_in(const struct query_index *index, const struct query_range *ranges, size_t n, size_t d, size_t *atp)
{
	struct jstr key = index == NULL ? docs[d].id : of(&rows[index->number].sortkeys[d]);
	unsigned times = 0;

	if (index != NULL && !rows[index->number].has[d])
		return 0;
	for (size_t i = 0; i < n; i++) {
		if (inrange(&ranges[i], key, index == NULL)) {
			times++;
			*atp = i;
		}
	}
	return times;
}

static unsigned asked; /* for numbers of rows, of one plan */

/* As if there were many of each, and still more documents, so that other ways are worth it. */
static void
count_rows(void *cookie, const struct query_index *index, const struct query_range *ranges, size_t n, uint64_t *rowsp)
{
	size_t at;

	(void)cookie;
	asked++;
	*rowsp = pick(30) == 0 ? UINT64_MAX : 0;
	if (*rowsp != 0)
		return;
	for (size_t d = 0; d < DOCS; d++)
		*rowsp += (index != NULL ? 1000 : 8000) * count_in(index, ranges, n, d, &at);
}

/* ---- Checked ---- */

/* Does document ${d} have all fields of the sort?  Their values are then appended to ${out}, as a sort key. */
static int
put_sort(const struct query_ask *ask, size_t d, struct buf *out)
{
	struct query_columns *c;
	struct buf key, scratch;
	int has = 0;

	buf_init(&key, TEXT);
	buf_init(&scratch, TEXT);
	CHECK_INT(query_columns_new(ask->sort, ask->nsort, &c), 0);
	CHECK_INT(query_columns_row(c, str(docs[d].whole), &scratch, &key, out, &has), 0);
	query_columns_free(c);
	buf_release(&key);
	buf_release(&scratch);
	return has;
}

static int
has_sort(const struct query_ask *ask, size_t d)
{
	struct buf unused;
	int has;

	buf_init(&unused, TEXT);
	has = ask->nsort == 0 || put_sort(ask, d, &unused);
	buf_release(&unused);
	return has;
}

/* Ranges are read one after the other: of two rows the one that comes first must not be in the later range. */
static void
check_order(const struct query_part *part)
{
	for (size_t d = 0; d < DOCS; d++) {
		for (size_t e = 0; e < DOCS; e++) {
			size_t at_d = 0, at_e = 0;
			struct jstr x, y;

			if (count_in(part->index, part->ranges, part->nranges, d, &at_d) == 0 ||
			    count_in(part->index, part->ranges, part->nranges, e, &at_e) == 0)
				continue;
			x = part->index == NULL ? docs[d].id : of(&rows[part->index->number].sortkeys[d]);
			y = part->index == NULL ? docs[e].id : of(&rows[part->index->number].sortkeys[e]);
			CHECK(jstr_order(&x, &y) >= 0 || at_d <= at_e);
		}
	}
}

/* Of two documents that are found the one whose row comes first does not come behind by the sort. */
static void
check_sorted(const struct query_ask *ask, struct query_selector *selector, const struct query_part *part)
{
	struct buf sorts[DOCS];
	int given[DOCS];
	size_t at;

	for (size_t d = 0; d < DOCS; d++) {
		buf_init(&sorts[d], TEXT);
		given[d] = matches(selector, d) && count_in(part->index, part->ranges, part->nranges, d, &at) > 0;
		if (given[d])
			(void)put_sort(ask, d, &sorts[d]);
	}
	for (size_t d = 0; d < DOCS; d++) {
		for (size_t e = 0; e < DOCS && given[d]; e++) {
			struct jstr x = part->index == NULL ? docs[d].id : of(&rows[part->index->number].sortkeys[d]);
			struct jstr y = part->index == NULL ? docs[e].id : of(&rows[part->index->number].sortkeys[e]);
			struct jstr by_x = of(&sorts[d]), by_y = of(&sorts[e]);

			/* Documents come by the bytes of their ids. */
			if (given[e] && jstr_order(&x, &y) < 0 && part->index != NULL)
				CHECK(jstr_order(&by_x, &by_y) <= 0);
		}
	}
	for (size_t d = 0; d < DOCS; d++)
		buf_release(&sorts[d]);
}

/* How often the plan gives document ${d}. */
static unsigned
count_given(const struct query_plan *p, struct query_selector *selector, size_t d)
{
	unsigned times = 0;

	for (size_t i = 0; i < p->nparts; i++) {
		const struct query_part *part = &p->parts[i];
		size_t at;
		unsigned in = count_in(part->index, part->ranges, part->nranges, d, &at);
		int before = 0;

		CHECK(in <= 1);
		if (in > 0 && p->exact)
			CHECK_INT(matches(selector, d), 1);
		if (in == 0 || !matches(selector, d))
			continue;
		for (size_t k = 0; part->branch != NULL && k < i; k++)
			before |= matches(p->parts[k].branch, d);
		if (part->branch == NULL || (matches(part->branch, d) && !before))
			times++;
	}
	return times;
}

static void
check_covered(const struct query_plan *p, struct query_selector *selector, size_t d)
{
	size_t i = p->parts[0].index->number;
	struct query_doc doc = {.id = docs[d].id};
	struct buf text;
	int match;

	if (!rows[i].has[d])
		return;
	buf_init(&text, TEXT);
	CHECK_INT(query_columns_doc(rows[i].finder, of(&rows[i].keys[d]), docs[d].id, &text), 0);
	doc.body = of(&text);
	CHECK_INT(query_selector_match(selector, &doc, &match), 0);
	CHECK_INT(match, matches(selector, d));
	buf_release(&text);
}

static struct {
	unsigned found, index, ranges, all_docs, bounded, union_, partial, exact, covered, noop;
} seen;

static void
note(const struct query_plan *p)
{
	seen.found++;
	seen.index += strcmp(p->way, "index") == 0;
	seen.ranges += strcmp(p->way, "ranges") == 0;
	seen.all_docs += strcmp(p->way, "all_docs") == 0;
	seen.union_ += strcmp(p->way, "union") == 0;
	seen.bounded += p->parts[0].index == NULL && p->parts[0].nranges > 0 && p->parts[0].ranges[0].low.len > 0;
	seen.partial += p->parts[0].index != NULL && p->parts[0].index->filter.len > 0;
	seen.exact += p->exact != 0;
	seen.covered += p->covered != 0;
	seen.noop += p->noop != 0;
}

static void
check_plan(const struct query_ask *ask, struct query_selector *selector, const struct query_plan *p)
{
	const struct query_index *index = p->chosen;

	CHECK(p->nparts > 0);
	note(p);
	for (size_t i = 0; i < p->nparts; i++) {
		check_order(&p->parts[i]);
		CHECK(p->nparts == 1 || (p->parts[i].branch != NULL && ask->nsort == 0));
	}
	if (ask->nsort > 0)
		check_sorted(ask, selector, &p->parts[0]);
	for (size_t d = 0; d < DOCS; d++) {
		int want = matches(selector, d) && has_sort(ask, d);

		/* CouchDB's shortcut: where nothing can match, or the selector is an empty list. */
		if (p->noop)
			want = 0;
		/* Whoever names an index with a filter is given what is in it. */
		if (index != NULL && index->filter.len > 0 && ask->use_ddoc.len > 0 &&
		    jstr_equal(ask->use_ddoc, index->ddoc))
			want = want && rows[index->number].has[d];
		CHECK_INT(count_given(p, selector, d), want);
		if (p->covered)
			check_covered(p, selector, d);
	}
}

static void
run(void)
{
	struct query_plan *plan = NULL;
	struct jstr sort[2], paths[2];
	struct query_selector *selector;
	struct buf text;
	struct query_ask ask = {
	    .sort = sort, .fields = paths, .indexes = indexes, .nindexes = INDEXES - pick(4) * pick(2)};

	buf_init(&text, 1 << 20);
	if (pick(3) == 0)
		put_alternatives(&text);
	else
		put_selector(&text, pick(4));
	buf_putc(&text, '\0');
	make_docs();
	make_indexes(text.data);
	selector = compile(str(text.data));
	ask.selector = selector;
	if (pick(6) == 0)
		for (ask.nsort = 0; ask.nsort <= pick(2);)
			sort[ask.nsort++] = str(ONE_OF(fields));
	if (pick(2) == 0)
		for (ask.nfields = 0; ask.nfields <= pick(2);)
			paths[ask.nfields++] = str(ONE_OF(fields));
	if (pick(6) == 0)
		ask.use_ddoc = str("_design/1");
	if (pick(4) > 0)
		ask.count = count_rows;
	asked = 0;
	CHECK_INT(query_plan_new(&ask, &plan), 0);
	CHECK_INT(plan->weighed, asked > 0);
	if (plan->found)
		check_plan(&ask, selector, plan);
	CHECK_INT(plan->ncandidates, ask.nindexes + !plan->found);
	query_plan_free(plan);
	query_selector_free(selector);
	release_indexes();
	buf_release(&text);
}

int
main(void)
{
	const char *first = getenv("PLAN_SEED"), *many = getenv("PLAN_ROUNDS");
	unsigned seed = first != NULL ? (unsigned)atol(first) : 1, rounds = many != NULL ? (unsigned)atol(many) : 8000;

	for (unsigned i = 0; i < rounds && check_failed_ == 0; i++) {
		state = (UINT64_C(0x9e3779b97f4a7c15) * (seed + i)) | 1;
		run();
		if (check_failed_ > 0)
			fprintf(stderr, "PLAN_SEED=%u\n", seed + i);
	}
	/* All ways were met. */
	if (many == NULL && first == NULL)
		CHECK(seen.index > 50 && seen.ranges > 50 && seen.union_ > 50 && seen.bounded > 20 &&
		      seen.partial > 20 && seen.exact > 50 && seen.covered > 50 && seen.noop > 5);
	if (getenv("PLAN_ROUNDS") != NULL)
		printf("found %u index %u ranges %u all_docs %u bounded %u union %u partial %u exact %u covered %u "
		       "noop %u\n",
		    seen.found, seen.index, seen.ranges, seen.all_docs, seen.bounded, seen.union_, seen.partial,
		    seen.exact, seen.covered, seen.noop);
	return check_done();
}
