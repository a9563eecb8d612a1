/*
 * test_db_salvage.c: the records of a damaged file, and from them a new database.
 *
 * In turn each record gets a wrong byte, each page is wiped.  Of what comes out, each line that is missing or another must be of a document
 * that was told, or of a loss without a name; and nothing is there that never was.  FAULTS_STEP=1 makes each record and page its turn; else
 * it is each 9th.
 */
#include <sys/stat.h>

#include "db/idkey_node.h"
#include "salvagetest.h"

/* ---- Comparing ---- */

struct lines {
	struct jstr *v;
	size_t n;
};

static int
cmp_lines(const void *a, const void *b)
{
	const struct jstr *x = a, *y = b;
	int c = memcmp(x->s, y->s, x->len < y->len ? x->len : y->len);

	return c != 0 ? c : (x->len > y->len) - (x->len < y->len);
}

static struct lines
lines_of(const struct buf *b)
{
	struct lines l = {malloc((b->len + 1) * sizeof(*l.v)), 0};

	for (const char *p = b->data, *end = p + b->len, *nl; p < end; p = nl + 1) {
		nl = memchr(p, '\n', (size_t)(end - p));
		l.v[l.n++] = (struct jstr){p, (size_t)(nl - p)};
	}
	qsort(l.v, l.n, sizeof(*l.v), cmp_lines);
	return l;
}

static int
has_line(const struct lines *l, struct jstr line)
{
	return l->n > 0 && bsearch(&line, l->v, l->n, sizeof(*l->v), cmp_lines) != NULL;
}

/* knows_rev: Of the lines one is of this revision: the line's first three words. */
static int
knows_rev(const struct lines *l, struct jstr line)
{
	size_t from = 0, to;
	unsigned words = 0;

	while (from < line.len && line.s[from] != ' ')
		from++;
	for (to = from; to < line.len && (words += line.s[to] == ' ') < 3; to++)
		;
	for (size_t i = 0; i < l->n; i++)
		if (l->v[i].len > 3 + to - from && memcmp(l->v[i].s, "rev", 3) == 0 &&
		    memcmp(l->v[i].s + 3, line.s + from, to - from) == 0)
			return 1;
	return 0;
}

static int
is_kind(struct jstr line, const char *kind)
{
	return line.len > strlen(kind) && memcmp(line.s, kind, strlen(kind)) == 0;
}

static int
says(const struct result *r, const char *what)
{
	return r->told.len > 0 && memmem(r->told.data, r->told.len, what, strlen(what)) != NULL;
}

/* is_told: That something of the line's document is lost. */
static int
is_told(const struct result *r, struct jstr line)
{
	const char *id = memchr(line.s, ' ', line.len), *end;
	static char what[2000];

	if (is_kind(line, "security "))
		return says(r, "the security object: lost");
	if (is_kind(line, "limits "))
		return says(r, "the settings: lost");
	if (is_kind(line, "purge "))
		return says(r, "of purges");
	end = memchr(id + 1, ' ', (size_t)(line.s + line.len - id - 1));
	(void)snprintf(what, sizeof(what), "document%.*s:", (int)(end - id), id);
	if (says(r, what))
		return 1;
	what[strlen(what) - 1] = ',';
	return says(r, what);
}

static void
compare(const char *name, size_t n, const struct result *r)
{
	struct lines w = lines_of(&was), b = lines_of(&before), is = lines_of(&r->text);
	int unsure = says(r, "which pages are free") || says(r, "bear others' numbers");
	int nameless = says(r, "more: lost") || says(r, "records ");
	size_t invented = 0, silent = 0;

	for (size_t i = 0; i < is.n; i++) {
		if (has_line(&w, is.v[i]))
			continue;
		invented += !has_line(&b, is.v[i]) && !is_kind(is.v[i], "security ") && !is_kind(is.v[i], "limits ") &&
			    !knows_rev(&w, is.v[i]) && !knows_rev(&b, is.v[i]);
		silent += !is_told(r, is.v[i]) && !unsure;
	}
	for (size_t i = 0; i < w.n; i++) {
		if (has_line(&is, w.v[i]) || is_told(r, w.v[i]) || nameless || unsure)
			continue;
		silent += !is_kind(w.v[i], "local _local/point") || r->out.checkpoints == 0;
	}
	if (!CHECK(invented == 0) || !CHECK(silent == 0) || !CHECK(r->out.lost > 0 || is.n == w.n))
		fprintf(stderr, "%s %zu: %zu invented, %zu not told:\n%.*s\n", name, n, invented, silent,
		    (int)r->told.len, r->told.data);
	free(w.v);
	free(b.v);
	free(is.v);
}

static void
salvaged(const char *name, size_t n)
{
	struct result r;

	salvage(&r);
	if (CHECK_INT(r.err, 0))
		compare(name, n, &r);
	else
		fprintf(stderr, "%s %zu\n", name, n);
	release(&r);
}

/* ---- Damage ---- */

static void
test_records(void)
{
	struct result r;

	memcpy(copy, file, file_len);
	write_copy(file_len);
	salvage(&r);
	CHECK_INT(r.err, 0);
	CHECK_INT(r.out.lost, 0);
	CHECK_MEM(r.text.data, r.text.len, was.data, was.len);
	release(&r);
	for (size_t i = 0; i < newer.n; i += step) {
		memcpy(copy, file, file_len);
		spoil(&newer.v[i], (unsigned)i * 2654435761u >> 8, 0);
		write_copy(file_len);
		salvaged("record", i);
	}
}

/* A document whose row is damaged with its record: it is known by the id that its damaged record has. */
static void
test_rows(void)
{
	for (size_t i = 0; i < newer.n; i++) {
		if (newer.v[i].tree != TREE_DOCS)
			continue;
		memcpy(copy, file, file_len);
		spoil(&newer.v[i], (unsigned)i, 0);
		for (size_t k = 0; k < newer.n; k++)
			if (newer.v[k].tree == TREE_CHANGES)
				spoil(&newer.v[k], (unsigned)k, 0);
		write_copy(file_len);
		salvaged("record and row", i);
	}
}

static void
test_pages(void)
{
	for (size_t p = 0; p < file_len / PAGE; p += p < 2 ? 1 : step) {
		memcpy(copy, file, file_len);
		memset(copy + p * PAGE, 0, PAGE);
		write_copy(file_len);
		salvaged("page", p);
	}
	/* All that leads anywhere: with it the list of what is free. */
	memcpy(copy, file, file_len);
	for (size_t p = 0; p < file_len / PAGE; p++)
		if (p < 2 || copy[p * PAGE + 10] == 1)
			memset(copy + p * PAGE, 0, PAGE);
	write_copy(file_len);
	salvaged("branches", 0);
	for (size_t len = PAGE; len < file_len; len += PAGE * (size_t)step) {
		struct result r;

		write_copy(len);
		salvage(&r);
		CHECK(r.err == 0 || (r.err == ERR_CORRUPT && r.out.pages.records == 0));
		if (r.err == 0)
			compare("cut", len, &r);
		release(&r);
	}
}

/* What is wrong with the right checksum harms nobody. */
static void
test_forged(void)
{
	struct result r;

	for (size_t i = 0; i < newer.n; i += step)
		for (unsigned k = 0; k < 4; k++) {
			memcpy(copy, file, file_len);
			spoil(&newer.v[i], (unsigned)(i * 4 + k) * 2654435761u >> 8 | (k == 0 ? 0xff00u : 0), 1);
			write_copy(file_len);
			salvage(&r);
			CHECK(r.err == 0 || r.err == ERR_CORRUPT || r.err == ERR_NEWER_FORMAT);
			release(&r);
		}
}

/* ---- What is no file, what is newer, and what leads nowhere ---- */

static struct record *
change_record(unsigned tree, const char *key)
{
	struct record r = {.tree = tree, .klen = strlen(key)};

	memcpy(r.key, key, r.klen);
	return find_record(&newer, &r);
}

static void
gathers(int want)
{
	struct result r;

	salvage(&r);
	CHECK_INT(r.err, want);
	release(&r);
}

static void
test_others(void)
{
	struct record *format = change_record(TREE_META, "format");

	(void)unlink(path);
	gathers(ERR_NO_DB);
	CHECK_INT(mkdir(path, 0700), 0);
	gathers(ERR_CORRUPT);
	CHECK_INT(rmdir(path), 0);
	memset(copy, 'n', 9 * PAGE);
	write_copy(0);
	gathers(ERR_CORRUPT);
	write_copy(9 * PAGE);
	gathers(ERR_CORRUPT);
	memcpy(copy, file, file_len);
	spoil(format, 99 << 8, 1);
	write_copy(file_len);
	gathers(ERR_NEWER_FORMAT);
}

/* Long ids' pointers that lead in a circle, and a key that is longer than an id may be. */
static void
test_circle(void)
{
	struct result r;

	for (size_t i = 0; i < newer.n; i++) {
		struct record *p = &newer.v[i], kept = *p;
		struct idkey_pointer to;
		struct store_val val = {p->val, p->vlen};

		if (p->tree != TREE_DOCS_DEEP || !idkey_node_is_pointer(&(struct store_val){p->key, p->klen}) ||
		    !CHECK_INT(idkey_node_pointer(p->tree, p->key, p->klen, &val, &to), 0))
			continue;
		p->val = malloc(p->vlen);
		memcpy(p->val, kept.val, p->vlen);
		p->val[0] = p->key[7]; /* its own node */
		record_sum(p->tree, p->key, p->klen, p->val, p->vlen - RECORD_SUM_LEN);
		make_file(&older, &newer);
		salvage(&r);
		CHECK_INT(r.err, 0);
		CHECK(r.out.lost > 0);
		release(&r);
		free(p->val);
		*p = kept;
	}
}

/* ---- Where it is not known what is free ---- */

/* without_older_root: The one of the two that is not the last commit's, whose free pages are known no more. */
static void
without_older_root(void)
{
	uint64_t n[2];

	memcpy(copy, file, file_len);
	for (size_t p = 0; p < 2; p++)
		memcpy(&n[p], copy + p * PAGE + 144, sizeof(n[p]));
	memset(copy + (n[1] < n[0] ? PAGE : 0), 0, PAGE);
	write_copy(file_len);
}

/* salvaged_beside_older: Whatever older states are found, all that was last is what comes out. */
static void
salvaged_beside_older(const struct records *old, const struct records *new)
{
	struct lines w = lines_of(&was), is;
	struct result r;

	make_file(old, new);
	without_older_root();
	salvage(&r);
	CHECK_INT(r.err, 0);
	CHECK(r.out.pages.free_unknown && r.out.pages.unsure > 0);
	is = lines_of(&r.text);
	for (size_t i = 0; i < w.n; i++)
		if (!is_kind(w.v[i], "local _local/point") && !CHECK(has_line(&is, w.v[i])))
			fprintf(stderr, "missing: %.*s\n", (int)w.v[i].len, w.v[i].s);
	free(w.v);
	free(is.v);
	release(&r);
}

/* The older records stand in whatever order: those of documents first, too. */
static void
test_older_first(void)
{
	struct records docs = {malloc(older.n * sizeof(*docs.v)), 0};

	salvaged_beside_older(&older, &newer);
	for (size_t i = 0; i < older.n; i++)
		if (older.v[i].tree != TREE_META)
			docs.v[docs.n++] = older.v[i];
	salvaged_beside_older(&docs, &newer);
	free(docs.v);
}

/* More older records in a row than a batch takes, none of which is put into one. */
static void
test_many_older(void)
{
	enum { MANY = 9000 };
	static unsigned char vals[2][MANY][1 + RECORD_SUM_LEN];
	struct records many[2];

	for (int k = 0; k < 2; k++) {
		many[k] = (struct records){malloc((MANY + newer.n) * sizeof(*many[k].v)), 0};
		for (unsigned i = 0; i < MANY; i++) {
			struct record *r = &many[k].v[many[k].n++];

			*r = (struct record){
			    .tree = TREE_BODIES, .klen = 8, .vlen = sizeof(vals[k][i]), .val = vals[k][i]};
			bytes_store_u64be(r->key, 1000000 + i);
			vals[k][i][0] = (unsigned char)k;
			record_sum(r->tree, r->key, r->klen, r->val, 1);
		}
	}
	for (size_t i = 0; i < newer.n; i++)
		many[1].v[many[1].n++] = newer.v[i];
	salvaged_beside_older(&many[0], &many[1]);
	free(many[0].v);
	free(many[1].v);
}

/* ---- More than one batch takes ---- */

static void
edit_one(struct db *db, const char *id)
{
	struct db_write w;
	char json[100];

	(void)snprintf(json, sizeof(json), "{\"_id\":\"%s\"}", id);
	edit(db, json, 1, &w);
}

static void
test_large(void)
{
	struct records all;
	struct store *s = new_store();
	struct dbs *dbs = bodytest_new_dbs(s);
	struct db *db;
	char id[40];

	dbtest_create(dbs, "x");
	db = dbtest_open(dbs, "x");
	submit(db, (struct db_write){.kind = DB_WRITE_REVS_LIMIT, .number = 900});
	for (unsigned i = 0; i < 100; i++) {
		(void)snprintf(id, sizeof(id), "doc%u", i);
		edit_one(db, id);
		(void)snprintf(id, sizeof(id), "purged%u", i);
		purge_one(db, id);
		(void)snprintf(id, sizeof(id), "att%u", i);
		attach(db, id, i, DB_BLOB_PLAIN);
	}
	edits(db, "many", 300, 9);
	edits(db, "wide", 12, 1000000);
	attach(db, "huge", 9u << 20, DB_BLOB_PLAIN);
	buf_clear(&before);
	buf_clear(&was);
	put_all(&was, db);
	take_records(db->file->store, &all);
	db_close(db);
	dbs_free(dbs);
	drop_store(s);
	make_file(&(struct records){0}, &all);
	memcpy(copy, file, file_len);
	write_copy(file_len);
	salvaged("large", 0);
	for (size_t i = 0; i < all.n; i += all.n / 7) {
		memcpy(copy, file, file_len);
		spoil(&all.v[i], (unsigned)i, 0);
		write_copy(file_len);
		salvaged("large", i);
	}
	/* And every document's record. */
	memcpy(copy, file, file_len);
	for (size_t i = 0; i < all.n; i++)
		if (all.v[i].tree == TREE_DOCS)
			spoil(&all.v[i], (unsigned)i, 0);
	write_copy(file_len);
	salvaged("all records", 0);
	free_records(&all);
}

int
main(void)
{
	if (!salvagetest_begin())
		return 1;
	test_records();
	test_rows();
	test_pages();
	test_forged();
	test_others();
	test_circle();
	test_older_first();
	test_many_older();
	test_large();
	salvagetest_end();
	return check_done();
}
