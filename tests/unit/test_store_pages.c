/*
 * test_store_pages.c: damaged LMDB files.  Two promises: a file that store_pages_check() finds sound ends no process that opens,
 * reads and writes it; and store_pages_salvage() tells every record that is present, as it is, and none that was replaced.
 *   test_store_pages SEEDS [FIRST]: more of them
 */
#include "store/pages.h"
#include "store/store.h"
#include "check.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/log.h"
#include "store/record.h"

#define TREES 3u
#define KEYS 900u
#define PAGE 4096u
#define MODEL(t, k) model[(t)*KEYS + (k)]

static const char *const trees[TREES] = {"a", "b", "third"};
static char dir[] = "/tmp/divan-pages-XXXXXX";
static unsigned model[TREES * KEYS]; /* each key's version; 0: it is not there */
static unsigned told[TREES * KEYS];
static unsigned char *file, *copy;
static size_t file_len;
static unsigned rnd_state;

static unsigned
rnd(unsigned n)
{
	rnd_state = rnd_state * 1664525u + 1013904223u;
	return (rnd_state >> 8) % n;
}

static size_t
key_of(unsigned k, char out[16])
{
	return (size_t)snprintf(out, 16, "key-%06u", k);
}

/* A value begins with its version. */
static size_t
value_of(unsigned t, unsigned k, unsigned version, char *out)
{
	size_t len = k % 40 == 0 ? 9000 + k : 16 + (k * 7 + t) % 90;

	memset(out, (int)('a' + (k + version) % 26), len);
	memcpy(out, &version, sizeof(version));
	return len;
}

static void
change(struct store_batch *b, unsigned t, unsigned k, unsigned version)
{
	static char value[20000];
	char key[16];
	size_t klen = key_of(k, key);

	if (version == 0)
		CHECK_INT(store_del(b, t, key, klen), 0);
	else
		CHECK_INT(record_put(b, t, key, klen, value, value_of(t, k, version, value)), 0);
	MODEL(t, k) = version;
}

static void
make_file(const char *path)
{
	struct store_batch *b = NULL;
	struct store_db *db = NULL;
	struct store *s = NULL;
	FILE *f;

	if (!CHECK_INT(store_lmdb_new(dir, &s), 0) || !CHECK_INT(store_create(s, "x", trees, TREES, &db), 0) ||
	    !CHECK_INT(store_batch_new(db, &b), 0))
		exit(1);
	rnd_state = 1;
	for (unsigned version = 1; version <= 30; version++) {
		for (unsigned i = 0; i < 400; i++)
			change(b, rnd(TREES), rnd(KEYS), rnd(5) == 0 ? 0 : version);
		CHECK_INT(store_commit(b), 0);
	}
	store_batch_free(b);
	store_close(db);
	store_free(s);
	if (!CHECK((f = fopen(path, "rb")) != NULL))
		exit(1);
	file = malloc(4u << 20);
	copy = malloc(4u << 20);
	file_len = fread(file, 1, 4u << 20, f);
	CHECK(file_len > 100 * PAGE && file_len < 4u << 20);
	fclose(f);
}

static void
write_file(const char *path, size_t len)
{
	FILE *f = fopen(path, "wb");

	CHECK(f != NULL && fwrite(copy, 1, len, f) == len && fclose(f) == 0);
}

/* ---- Damage ---- */

static size_t
damage(unsigned seed)
{
	unsigned pages = (unsigned)(file_len / PAGE), n = 1 + rnd(3);
	unsigned char *p, *q, t[PAGE];

	memcpy(copy, file, file_len);
	for (unsigned i = 0; i < n; i++) {
		p = copy + (size_t)rnd(pages) * PAGE;
		q = copy + (size_t)rnd(pages) * PAGE;
		switch (seed % 8) {
		case 0: /* a head */
			p[rnd(16)] ^= (unsigned char)(1u << rnd(8));
			break;
		case 1: /* where entries begin */
			p[16 + rnd(64)] ^= (unsigned char)(1u << rnd(8));
			break;
		case 2: /* anywhere */
			p[rnd(PAGE)] ^= (unsigned char)(1u << rnd(8));
			break;
		case 3:
			memset(p, 0, PAGE);
			break;
		case 4:
			for (unsigned k = 0; k < PAGE; k++)
				p[k] = (unsigned char)rnd(256);
			break;
		case 5:
			memcpy(t, p, PAGE);
			memcpy(p, q, PAGE);
			memcpy(q, t, PAGE);
			break;
		case 6: /* the roots */
			q = copy + (size_t)rnd(2) * PAGE + rnd(152);
			*q ^= (unsigned char)(1u << rnd(8));
			if (getenv("SHOW") != NULL)
				fprintf(stderr, "byte %zu is %u\n", (size_t)(q - copy), *q);
			break;
		default: /* an entry's head: sizes, flags, children */
			memcpy(t, p + 16, 2);
			q = p + ((t[0] | t[1] << 8) % (PAGE - 8));
			q[rnd(8)] ^= (unsigned char)(1u << rnd(8));
		}
	}
	return seed % 50 == 49 ? rnd((unsigned)file_len) : file_len;
}

/* ---- What LMDB makes of it ---- */

static void
use(void)
{
	struct store_batch *b;
	struct store_cursor *c;
	struct store_snap *snap;
	struct store_db *db;
	struct store *s;
	struct store_val key, val;
	unsigned sum = 0;

	if (store_lmdb_new(dir, &s) != 0 || store_open(s, "x", trees, TREES, &db) != 0)
		return;
	for (unsigned round = 0; round < 2; round++) {
		if (store_snap_begin(db, &snap) != 0)
			return;
		for (unsigned t = 0; t < TREES; t++) {
			if (store_cursor_open(snap, t, &c) != 0)
				return;
			for (int rc = store_seek(c, NULL, 0, &key, &val); rc == 0; rc = store_next(c, &key, &val))
				for (size_t i = 0; i < val.len; i++)
					sum += ((const unsigned char *)val.p)[i];
			store_cursor_close(c);
		}
		store_snap_end(snap);
		if (store_batch_new(db, &b) != 0)
			return;
		for (unsigned i = 0; i < 300; i++)
			change(b, rnd(TREES), rnd(KEYS), rnd(3) == 0 ? 0 : 99);
		sum += store_commit(b) == 0; /* it may well find no room */
		store_batch_free(b);
	}
	_exit((int)(sum & 1));
}

static void
test_sound(const char *path, unsigned seed)
{
	struct errtext why = {""};
	int status = 0, rc = store_pages_check(path, &why);
	pid_t pid;

	CHECK(rc == 0 || rc == ERR_CORRUPT);
	CHECK((rc == 0) == (why.text[0] == '\0'));
	if (rc != 0)
		return;
	fflush(stdout);
	if ((pid = fork()) == 0) {
		use();
		_exit(0);
	}
	if (!CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status)))
		fprintf(stderr, "seed %u: it was found sound, and ended a process\n", seed);
}

/* ---- What is salvaged ---- */

static unsigned bad;

static int
take(const struct store_pages_record *r, void *cookie)
{
	const struct store_pages_report *report = cookie;
	static char value[20000];
	unsigned k = 0, version = 0;
	char key[16] = "";

	memcpy(key, r->key.p, r->key.len < 15 ? r->key.len : 15);
	memcpy(&version, r->val.p, sizeof(version));
	if (r->tree >= TREES || sscanf(key, "key-%u", &k) != 1 || k >= KEYS || version == 0 ||
	    r->val.len != value_of(r->tree, k, version, value) + RECORD_SUM_LEN ||
	    memcmp(value, r->val.p, r->val.len - RECORD_SUM_LEN) != 0) {
		bad++; /* never written */
		return 0;
	}
	/* What was replaced or deleted is told only where that is said. */
	if (report->free_unknown)
		CHECK(r->place != STORE_PAGES_LOST);
	if (r->place != STORE_PAGES_UNSURE && !report->free_unknown && version != MODEL(r->tree, k)) {
		bad++;
		if (getenv("SHOW") != NULL)
			fprintf(stderr, "place %d page %u tree %u key %u: version %u, is %u\n", (int)r->place,
			    (unsigned)r->page, r->tree, k, version, MODEL(r->tree, k));
	}
	if (version == MODEL(r->tree, k))
		told[r->tree * KEYS + k] = version;
	return 0;
}

static void
test_salvage(const char *path, unsigned seed, int whole)
{
	struct store_pages_report report;
	size_t missing = 0;

	memset(told, 0, sizeof(told));
	bad = 0;
	CHECK_INT(store_pages_salvage(path, trees, TREES, take, NULL, &report, &report), 0);
	for (size_t i = 0; i < TREES * KEYS; i++)
		missing += model[i] != told[i];
	/* Three pages of this file have not more records than this, whatever leads to them. */
	if (!CHECK(bad == 0) || !CHECK(!whole || missing == 0) || !CHECK(missing <= 3 * PAGE / 40 || seed % 50 == 49))
		fprintf(stderr, "seed %u: %u wrong, %zu missing\n", seed, bad, missing);
}

/* ---- One thing that is wrong, and all else in order ---- */

static uint64_t
get(const unsigned char *p, size_t len)
{
	uint64_t n = 0;

	memcpy(&n, p, len);
	return n;
}

static void
set(unsigned char *p, uint64_t n, size_t len)
{
	memcpy(p, &n, len);
}

static unsigned char *
page_at(uint64_t number)
{
	return copy + number * PAGE;
}

static unsigned
nodes(const unsigned char *page)
{
	return (unsigned)((get(page + 12, 2) - 16) / 2);
}

static unsigned char *
node_of(unsigned char *page, unsigned i)
{
	return page + get(page + 16 + (size_t)2 * i, 2);
}

static unsigned char *
value_at(unsigned char *node)
{
	return node + 8 + get(node + 6, 2);
}

/* meta: Of the last commit, from its first number on. */
static unsigned char *
meta(void)
{
	return get(page_at(1) + 144, 8) > get(page_at(0) + 144, 8) ? page_at(1) + 16 : page_at(0) + 16;
}

/* root: Of a tree; they are all two pages deep, and the tree of trees one. */
static unsigned char *
root(const char *tree)
{
	unsigned char *names = page_at(get(meta() + 112, 8));

	for (unsigned i = 0; i < nodes(names); i++)
		if (memcmp(node_of(names, i) + 8, tree, strlen(tree)) == 0 &&
		    get(value_at(node_of(names, i)) + 6, 2) == 2)
			return page_at(get(value_at(node_of(names, i)) + 40, 8));
	CHECK(!"a tree is two pages deep");
	exit(1);
}

/* leaf: The ${i}-th leaf of a tree. */
static unsigned char *
leaf(const char *tree, unsigned i)
{
	return page_at(get(node_of(root(tree), i), 4));
}

/* large: A value of a leaf that has pages of its own. */
static unsigned char *
large(const char *tree)
{
	for (unsigned i = 0; i < nodes(root(tree)); i++)
		for (unsigned k = 0; k < nodes(leaf(tree, i)); k++)
			if ((get(node_of(leaf(tree, i), k) + 4, 2) & 1) != 0)
				return value_at(node_of(leaf(tree, i), k));
	CHECK(!"a tree has large values");
	exit(1);
}

/* free_list: The list of free pages with the most of them, of those in the first leaf. */
static unsigned char *
free_list(void)
{
	unsigned char *page = page_at(get(meta() + 64, 8)), *best = NULL, *v;

	if (get(meta() + 30, 2) == 2)
		page = page_at(get(node_of(page, 0), 4));
	for (unsigned i = 0; i < nodes(page); i++) {
		v = value_at(node_of(page, i));
		if ((get(node_of(page, i) + 4, 2) & 1) != 0)
			v = page_at(get(v, 8)) + 16;
		if (best == NULL || get(v, 8) > get(best, 8))
			best = v;
	}
	if (!CHECK(best != NULL && get(best, 8) > 1))
		exit(1);
	return best;
}

static unsigned char *
free_page(void)
{
	unsigned char *v = free_list();

	for (uint64_t i = 1; i <= get(v, 8); i++)
		if (get(page_at(get(v + 8 * i, 8)) + 10, 2) == 2 && nodes(page_at(get(v + 8 * i, 8))) > 10)
			return page_at(get(v + 8 * i, 8));
	CHECK(!"a free page was a leaf");
	exit(1);
}

static uint64_t
number_of(const unsigned char *page)
{
	return (uint64_t)(page - copy) / PAGE;
}

static void
child_behind_end(void)
{
	unsigned char *end = copy + file_len;

	memcpy(end, leaf("a", 1), PAGE);
	set(end, number_of(end), 8);
	set(node_of(root("a"), 1), number_of(end), 4);
}

static void
child_far_away(void)
{
	set(node_of(root("a"), 1) + 4, 0x1000, 2);
}

static void
value_behind_end(void)
{
	unsigned char *end = copy + file_len + PAGE, *v = large("b");

	memset(copy + file_len, 0, PAGE);
	memcpy(end, page_at(get(v, 8)), (size_t)4 * PAGE);
	set(end, number_of(end), 8);
	set(v, number_of(end), 8);
}

static void
child_led_to_twice(void)
{
	unsigned char *r = root("a");

	set(node_of(r, 2), get(node_of(r, 1), 4), 4);
}

/* The value that stands lowest in the page goes on into the next entry. */
static void
entries_overlap(void)
{
	unsigned char *page = leaf("third", 2), *best = NULL, *n;

	for (unsigned i = 0; i < nodes(page); i++) {
		n = node_of(page, i);
		if ((get(n + 4, 2) & 1) == 0 && (best == NULL || n < best))
			best = n;
	}
	if (CHECK(best != NULL))
		set(best, get(best, 2) + 8, 2);
}

/* The entry that stands lowest stands below where entries begin, and nothing where it was. */
static void
entry_below_upper(void)
{
	unsigned char *page = NULL, *n;
	uint64_t upper = 0;

	for (unsigned i = 0; i < nodes(root("third")); i++) {
		page = leaf("third", i);
		upper = get(page + 14, 2);
		if (upper - get(page + 12, 2) >= 64)
			break;
	}
	if (!CHECK(upper - get(page + 12, 2) >= 64))
		return;
	for (unsigned i = 0; i < nodes(page); i++) {
		n = node_of(page, i);
		if (n != page + upper)
			continue;
		memmove(n - 64, n, 8 + get(n + 6, 2) + ((get(n + 4, 2) & 1) != 0 ? 8 : get(n, 2)));
		set(page + 16 + (size_t)2 * i, upper - 64, 2);
	}
}

/* A page that is used takes the place of one in a list of free ones, which stays in order. */
static void
used_is_free(void)
{
	unsigned char *v = free_list();
	uint64_t n = get(v, 8), at;

	for (unsigned i = 0; i < nodes(root("a")); i++) {
		at = number_of(leaf("a", i));
		for (uint64_t k = 1; k <= n; k++)
			if ((k == 1 || get(v + 8 * (k - 1), 8) > at) && (k == n || get(v + 8 * (k + 1), 8) < at)) {
				set(v + 8 * k, at, 8);
				return;
			}
	}
	CHECK(!"a list has room for it");
}

static const struct {
	void (*harm)(void);
	size_t more; /* pages that it appends */
	const char *what;
} harms[] = {
    {child_behind_end, 1, "outside of the file"},
    {child_far_away, 0, "outside of the file"},
    {value_behind_end, 5, "the pages of a large value are others"},
    {child_led_to_twice, 0, "it is led to twice"},
    {entries_overlap, 0, "do not fill it"},
    {entry_below_upper, 0, "an entry lies outside"},
    {used_is_free, 0, "in use and taken for free"},
};

static void
test_harms(const char *path)
{
	struct errtext why;

	for (size_t i = 0; i < sizeof(harms) / sizeof(harms[0]); i++) {
		memcpy(copy, file, file_len);
		harms[i].harm();
		write_file(path, file_len + harms[i].more * PAGE);
		why.text[0] = '\0';
		if (!CHECK_INT(store_pages_check(path, &why), ERR_CORRUPT) ||
		    !CHECK(strstr(why.text, harms[i].what) != NULL))
			fprintf(stderr, "harm %zu: \"%s\"\n", i, why.text);
	}
}

/* ---- Pages that bear the number of another ---- */

/* Of a leaf that its tree leads to: it is not free, and all its records are told. */
static void
test_number_of_another(const char *path)
{
	for (unsigned i = 0; i < 2; i++) {
		memcpy(copy, file, file_len);
		set(leaf("b", 3), number_of(i == 0 ? free_page() : leaf("b", 5)), 8);
		write_file(path, file_len);
		test_salvage(path, i, 1);
	}
}

/* A free one that bears the number of a page that nothing leads to any more, but that stands in its place. */
static void
test_free_as_another(const char *path)
{
	memcpy(copy, file, file_len);
	set(free_page(), number_of(leaf("b", 3)), 8);
	set(root("b"), 1, 8);
	write_file(path, file_len);
	test_salvage(path, 0, 1);
}

/* A leaf stands in the place of a free page, and that in the leaf's. */
static void
test_exchanged(const char *path)
{
	unsigned char t[PAGE], *p, *q;

	memcpy(copy, file, file_len);
	p = leaf("b", 3);
	q = free_page();
	memcpy(t, p, PAGE);
	memcpy(p, q, PAGE);
	memcpy(q, t, PAGE);
	write_file(path, file_len);
	test_salvage(path, 0, 1);
}

/*
 * Seeds that once failed: a damaged count hid what stands behind; a free page bore the number of a large value's; a list of free
 * pages was passed over; the length of a value claimed the pages of others (twice); the last page was too low;
 * the last commit's number was below that of the one before; a free page bore a number that was missing in its place, within a value.
 */
#define ONCE ((unsigned)(sizeof(once) / sizeof(once[0])))
static const unsigned once[] = {3136, 2784, 13223, 18015, 19583, 21406, 24326, 29648};

int
main(int argc, char **argv)
{
	unsigned seeds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 300,
		 first = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
	char path[PATH_MAX], lock[PATH_MAX];
	unsigned kept[TREES * KEYS];

	alarm(600);
	log_set_level(LOG_NONE);
	if (!CHECK(mkdtemp(dir) != NULL))
		return 1;
	(void)snprintf(path, sizeof(path), "%s/x.divan", dir);
	(void)snprintf(lock, sizeof(lock), "%s/x.divan-lock", dir);
	make_file(path);
	memcpy(kept, model, sizeof(model));
	memcpy(copy, file, file_len);
	test_salvage(path, 0, 1);
	test_sound(path, 0);
	test_harms(path);
	test_number_of_another(path);
	test_free_as_another(path);
	test_exchanged(path);
	for (unsigned i = 0; i < seeds + ONCE; i++) {
		unsigned seed = i < ONCE ? once[i] : first + i - ONCE;

		rnd_state = seed * 2654435761u + 1;
		write_file(path, damage(seed));
		test_salvage(path, seed, 0);
		test_sound(path, seed);
		CHECK(memcmp(kept, model, sizeof(model)) == 0);
	}
	(void)unlink(path);
	(void)unlink(lock);
	free(file);
	free(copy);
	CHECK_INT(rmdir(dir), 0);
	return check_done();
}
