/*
 * Damaged files of a database: what store_pages_check() finds sound, LMDB opens, reads and writes without ending the process, and
 * what store_pages_salvage() tells was written, byte for byte.  The input is edits of a file of three small trees:
 *
 *	page (1), offset (2), length (1), bytes      put the bytes there
 *	page, 0xffff, 0, other page                  put a copy of the other page there
 *	page, 0xffff, 1                              the file ends before the page
 */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "fuzz.h"
#include "store/pages.h"
#include "store/record.h"
#include "store/store.h"

#define TREES 3u
#define KEYS 60u
#define VERSIONS 8u
#define PAGE ((size_t)4096)
#define FILE_MAX ((size_t)512 << 10)
#define VALUE_MAX 9000u

static const char *const trees[TREES] = {"a", "b", "third"};
static char dir[40], path[64];
static unsigned char *whole, *copy;
static size_t whole_len;
static volatile unsigned sum; /* of all that is read: somebody wants it */

static size_t
key_of(unsigned k, char out[16])
{
	return (size_t)snprintf(out, 16, "key-%06u", k);
}

/* A value begins with its version; some have pages of their own. */
static size_t
value_of(unsigned t, unsigned k, unsigned version, char out[VALUE_MAX])
{
	size_t len = k % 20 == 0 ? 5000 + k : 40 + (k * 7 + t) % 90;

	memset(out, (int)('a' + (k + version) % 26), len);
	memcpy(out, &version, sizeof(version));
	return len;
}

static int
change(struct store_db *db, unsigned version, unsigned step)
{
	static char value[VALUE_MAX];
	struct store_batch *b;
	char key[16];
	int err;

	if ((err = store_batch_new(db, &b)) != 0)
		return err;
	for (unsigned i = version; i < TREES * KEYS && err == 0; i += step) {
		unsigned t = i % TREES, k = i / TREES;
		size_t klen = key_of(k, key);

		err = (i + version) % 7 == 0 ? store_del(b, t, key, klen)
					     : record_put(b, t, key, klen, value, value_of(t, k, version, value));
	}
	err = err != 0 ? err : store_commit(b);
	store_batch_free(b);
	return err;
}

/* In memory, where there is such a folder.  Not kept from input to input: nobody tells when the last was. */
static void
make_folder(void)
{
	(void)snprintf(dir, sizeof(dir), "/dev/shm/divan-fuzz-XXXXXX");
	if (mkdtemp(dir) == NULL) {
		(void)snprintf(dir, sizeof(dir), "/tmp/divan-fuzz-XXXXXX");
		FUZZ_CHECK(mkdtemp(dir) != NULL);
	}
	(void)snprintf(path, sizeof(path), "%s/x.divan", dir);
}

static void
remove_folder(void)
{
	char lock[80];

	/* Of an environment that LMDB did not open. */
	(void)snprintf(lock, sizeof(lock), "%s-lock", path);
	(void)unlink(lock);
	(void)unlink(path);
	(void)rmdir(dir);
}

static void
set_up(void)
{
	struct store_db *db;
	struct store *s;
	int fd;

	FUZZ_CHECK(store_lmdb_new(dir, &s) == 0 && store_create(s, "x", trees, TREES, &db) == 0);
	for (unsigned version = 1; version <= VERSIONS; version++)
		FUZZ_CHECK(change(db, version, version < 3 ? 1 : 3) == 0);
	store_close(db);
	store_free(s);
	whole = malloc(FILE_MAX);
	copy = malloc(FILE_MAX);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	FUZZ_CHECK(whole != NULL && copy != NULL && fd >= 0);
	whole_len = (size_t)read(fd, whole, FILE_MAX);
	(void)close(fd);
	FUZZ_CHECK(whole_len > 10 * PAGE && whole_len < FILE_MAX && whole_len / PAGE < 256);
}

/* Returns the file's length. */
static size_t
edit(const uint8_t *data, size_t len)
{
	struct fuzz_in in = {data, data + len};
	size_t pages = whole_len / PAGE, end = whole_len;

	memcpy(copy, whole, whole_len);
	while (fuzz_more(&in)) {
		size_t page = fuzz_byte(&in) % pages;
		unsigned at = fuzz_byte(&in);
		unsigned n;

		at |= fuzz_byte(&in) << 8;
		n = fuzz_byte(&in);
		if (at == 0xffff && n == 0) {
			memmove(copy + page * PAGE, copy + (fuzz_byte(&in) % pages) * PAGE, PAGE);
		} else if (at == 0xffff) {
			end = page * PAGE;
		} else {
			for (unsigned i = 0; i < n && fuzz_more(&in); i++)
				copy[page * PAGE + (at + i) % PAGE] = (unsigned char)fuzz_byte(&in);
		}
	}
	return end;
}

/* As LMDB takes it; what it refuses, it refuses. */
static void
use(void)
{
	struct store_cursor *c;
	struct store_snap *snap;
	struct store_db *db;
	struct store *s;
	struct store_val key, val;

	FUZZ_CHECK(store_lmdb_new(dir, &s) == 0);
	if (store_open(s, "x", trees, TREES, &db) == 0) {
		for (unsigned round = 0; round < 2 && store_snap_begin(db, &snap) == 0; round++) {
			for (unsigned t = 0; t < TREES && store_cursor_open(snap, t, &c) == 0; t++) {
				for (int rc = store_seek(c, NULL, 0, &key, &val); rc == 0;
				     rc = store_next(c, &key, &val))
					for (size_t i = 0; i < val.len; i++)
						sum = sum + ((const unsigned char *)val.p)[i];
				store_cursor_close(c);
			}
			store_snap_end(snap);
			(void)change(db, VERSIONS + 1 + round, 2); /* it may well find no room */
		}
		store_close(db);
	}
	store_free(s);
}

static int
take(const struct store_pages_record *r, void *cookie)
{
	static char value[VALUE_MAX];
	unsigned k = 0, version = 0;
	char key[16] = "";

	(void)cookie;
	FUZZ_CHECK(r->tree < TREES && r->key.len < sizeof(key) && r->val.len >= sizeof(version) + RECORD_SUM_LEN);
	memcpy(key, r->key.p, r->key.len);
	memcpy(&version, r->val.p, sizeof(version));
	FUZZ_CHECK(sscanf(key, "key-%u", &k) == 1 && k < KEYS && version > 0 && version <= VERSIONS);
	FUZZ_CHECK(r->val.len == value_of(r->tree, k, version, value) + RECORD_SUM_LEN);
	FUZZ_CHECK(memcmp(value, r->val.p, r->val.len - RECORD_SUM_LEN) == 0);
	return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct store_pages_report report;
	struct errtext why = {""};
	size_t n;
	int fd, err;

	log_set_level(LOG_ERROR + 1);
	make_folder();
	if (whole == NULL)
		set_up();
	n = edit(data, len);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	FUZZ_CHECK(fd >= 0 && write(fd, copy, n) == (ssize_t)n && close(fd) == 0);
	err = store_pages_salvage(path, trees, TREES, take, NULL, NULL, &report);
	FUZZ_CHECK(err == 0 || err == ERR_CORRUPT || err == ERR_NEWER_FORMAT);
	FUZZ_CHECK(err != 0 || len > 0 || (report.damaged == 0 && report.lost == 0));
	err = store_pages_check(path, &why);
	FUZZ_CHECK(err == 0 || err == ERR_CORRUPT || err == ERR_NEWER_FORMAT);
	FUZZ_CHECK((err == 0) == (why.text[0] == '\0'));
	if (err == 0)
		use();
	remove_folder();
	return 0;
}
