/* Queues on disk: order, going round, bounds, and that no file stays. */
#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/limits.h"
#include "check.h"
#include "httpapi/spool.h"

#define MAX 1000u

static char dir[] = "/tmp/test_spool_XXXXXX";
static struct spools all = {.dir = dir};

/* nothing_is_left: No file, with a name or without, and nothing that counts. */
static void
nothing_is_left(void)
{
	DIR *d = opendir(dir);
	int n = 0;

	while (d != NULL && readdir(d) != NULL)
		n++;
	if (d != NULL)
		closedir(d);
	CHECK_INT(n, 2);
	CHECK_INT(all.bytes, 0);
	CHECK_INT(all.files, 0);
}

/* take: ${len} bytes, which were numbered from ${first} on. */
static void
take(struct spool *s, unsigned *first, size_t len)
{
	struct buf b;
	int ok;

	buf_init(&b, MAX);
	CHECK_INT(spool_take(s, &b, len), 0);
	ok = b.len == len;
	for (size_t i = 0; i < b.len; i++)
		ok = ok && (unsigned char)b.data[i] == (*first)++ % 251;
	CHECK(ok);
	buf_release(&b);
}

static int
put(struct spool *s, unsigned *next, size_t len)
{
	unsigned char bytes[MAX];
	int err;

	for (size_t i = 0; i < len; i++)
		bytes[i] = (unsigned char)((*next + i) % 251);
	if ((err = spool_put(s, bytes, len)) == 0)
		*next += (unsigned)len;
	return err;
}

static void
test_order(void)
{
	struct spool s;
	unsigned next = 0, first = 0;

	spool_init(&s, &all, MAX);
	CHECK_INT(put(&s, &next, 700), 0);
	CHECK_INT(all.bytes, 700);
	CHECK_INT(put(&s, &next, 301), ERR_NOSPACE);
	/* Round and round. */
	for (int i = 0; i < 40; i++) {
		take(&s, &first, 300);
		CHECK_INT(put(&s, &next, 600), 0);
		CHECK_INT(put(&s, &next, 1), ERR_NOSPACE);
		take(&s, &first, 300);
	}
	CHECK_INT(all.bytes, MAX);
	take(&s, &first, 700);
	CHECK_INT(spool_left(&s), 0);
	nothing_is_left();
	CHECK_INT(put(&s, &next, 10), 0);
	take(&s, &first, 4);
	spool_release(&s);
	spool_release(&s);
	nothing_is_left();
}

static void
test_bounds(void)
{
	static struct spool s[LIMIT_SPOOLS + 1];
	struct spools nowhere = {.dir = NULL}, gone = {.dir = "/nonexistent"};
	unsigned next = 0;

	for (unsigned i = 0; i <= LIMIT_SPOOLS; i++) {
		spool_init(&s[i], &all, MAX);
		CHECK_INT(put(&s[i], &next, 1), i < LIMIT_SPOOLS ? 0 : ERR_NOSPACE);
	}
	for (unsigned i = 0; i <= LIMIT_SPOOLS; i++)
		spool_release(&s[i]);
	/* One has no more than it leaves. */
	all.bytes = LIMIT_SPOOLS_BYTES - 1000;
	CHECK_INT(put(&s[0], &next, 501), ERR_NOSPACE);
	CHECK_INT(put(&s[0], &next, 500), 0);
	CHECK_INT(put(&s[0], &next, 1), ERR_NOSPACE);
	CHECK_INT(put(&s[1], &next, 250), 0);
	spool_release(&s[0]);
	spool_release(&s[1]);
	CHECK_INT(all.bytes, LIMIT_SPOOLS_BYTES - 1000);
	all.bytes = 0;
	nothing_is_left();
	spool_init(&s[0], &nowhere, MAX);
	CHECK_INT(put(&s[0], &next, 1), ERR_NOSPACE);
	spool_init(&s[0], &gone, MAX);
	CHECK_INT(put(&s[0], &next, 1), ERR_NOSPACE);
	CHECK_INT(gone.files, 0);
}

int
main(void)
{
	if (mkdtemp(dir) == NULL)
		return 1;
	test_order();
	test_bounds();
	(void)rmdir(dir);
	return check_done();
}
