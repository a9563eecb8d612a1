/*
 * What a replication's peer answers: taken apart without a crash; what is believed was asked for.  The first byte says which
 * answer it is, the second whether it was cut, and in what pieces the ends of its elements are looked for.
 */
#include <string.h>

#include "fuzz.h"
#include "replicator/peer_http_json.h"

#define LIMIT 3u

static struct arena *arena;
static struct errtext why;
static unsigned char ids[2][16] = {
    {0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11},
    {0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22}};

/* Two documents, "a" at two revisions and "b" at one. */
static struct peer_want *
make_wants(void)
{
	struct peer_want *wants = arena_calloc(arena, 2, sizeof(*wants));
	struct rev *revs = arena_calloc(arena, 3, sizeof(*revs));

	FUZZ_CHECK(wants != NULL && revs != NULL);
	revs[0] = revs[2] = (struct rev){1, ids[0], 16};
	revs[1] = (struct rev){2, ids[1], 16};
	wants[0] = (struct peer_want){.id = {"a", 1}, .revs = revs, .nrevs = 2};
	wants[1] = (struct peer_want){.id = {"b", 1}, .revs = revs + 2, .nrevs = 1};
	return wants;
}

static void
check_scan(const char *text, size_t len, size_t step)
{
	struct peer_scan whole, pieces;
	size_t at;

	memset(&whole, 0, sizeof(whole));
	memset(&pieces, 0, sizeof(pieces));
	peer_scan_more(&whole, text, len);
	for (at = 0; at < len; at += step)
		peer_scan_more(&pieces, text, at + step < len ? at + step : len);
	FUZZ_CHECK(whole.end == pieces.end && whole.elements == pieces.elements && whole.end <= len);
}

static void
check_changes(const char *text, size_t len, int cut)
{
	struct peer_changes c;
	size_t i;

	memset(&c, 0, sizeof(c));
	c.call.arena = arena;
	c.limit = LIMIT;
	if (peer_json_changes(text, len, cut, &c, &why) != 0)
		return;
	FUZZ_CHECK(c.n <= LIMIT && c.last_seq.len > 0);
	for (i = 0; i < c.n; i++) {
		const struct peer_change *row = &c.rows[i];

		FUZZ_CHECK(row->seq.len > 0);
		FUZZ_CHECK(row->err != 0 ? row->nrevs == 0 && row->why != NULL
					 : row->id.len > 0 && row->nrevs > 0 && row->revs[0].gen > 0);
	}
}

static void
check_diff(const char *text, size_t len)
{
	struct peer_diff c = {.wants = make_wants(), .n = 2};
	int err;

	c.call.arena = arena;
	err = peer_json_diff(text, len, &c, &why);
	FUZZ_CHECK(c.wants[0].nrevs <= 2 && c.wants[1].nrevs <= 1);
	FUZZ_CHECK(err == 0 || (c.wants[0].nrevs == 2 && c.wants[1].nrevs == 1));
}

static void
check_found(const char *text, size_t len, int cut, int bulk)
{
	struct peer_want *wants = make_wants();
	struct peer_found found;
	struct peer_fetch c;
	size_t i;

	memset(&c, 0, sizeof(c));
	FUZZ_CHECK(peer_found_init(&found, wants, 2, arena, &why) == 0);
	if ((bulk ? peer_found_bulk(&found, text, len, cut) : peer_found_one(&found, 0, text, len)) == 0) {
		size_t done = peer_found_whole(&found);

		FUZZ_CHECK(done <= 2 && peer_found_end(&found, done, &c) == 0);
		for (i = 0; i < c.ndocs; i++) {
			const struct peer_doc *d = &c.docs[i];

			FUZZ_CHECK(d->id.len == 1 && (d->id.s[0] == 'a' || d->id.s[0] == 'b') && d->rev.gen > 0);
			FUZZ_CHECK(d->err != 0 || d->has_atts || d->text.len > 2);
		}
		FUZZ_CHECK(done == 0 || c.ndocs > 0);
	}
	peer_found_release(&found);
}

static void
check_opened(const char *text, size_t len, int several)
{
	struct jstr id = {"a", 1};
	struct rev asked = {1, ids[0], 16};
	struct peer_stub *stubs;
	struct peer_doc doc;
	size_t n, i;

	if (several) {
		FUZZ_CHECK(peer_json_open_revs(text, len, &id, &asked, arena, &doc, &why) < ERR_COUNT);
		return;
	}
	if (peer_json_opened(text, len, &id, &asked, arena, &doc, &stubs, &n, &why) != 0)
		return;
	FUZZ_CHECK(doc.rev.gen > 0 && doc.text.len > 2 && doc.has_atts == (n > 0));
	for (i = 0; i < n; i++)
		FUZZ_CHECK(!stubs[i].follows || stubs[i].att.length != UINT64_MAX);
}

static void
check_written(const char *text, size_t len)
{
	struct peer_doc docs[2] = {{.id = {"a", 1}, .rev = {1, ids[0], 16}}, {.id = {"b", 1}, .rev = {1, ids[0], 16}}};
	struct peer_write c = {.docs = docs, .n = 2};

	c.call.arena = arena;
	FUZZ_CHECK(peer_json_written(text, len, &c, &why) < ERR_COUNT);
	FUZZ_CHECK(docs[0].err == 0 || docs[0].why != NULL);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct peer_about about;
	struct peer_said said;
	struct jstr one, two;
	char *text;

	if (len < 2)
		return 0;
	if (arena == NULL)
		FUZZ_CHECK(arena_new((size_t)64 << 20, &arena) == 0);
	arena_reset(arena);
	len -= 2;
	text = fuzz_copy(data + 2, len);
	check_scan(text, len, data[1] + 1u);
	switch (data[0] % 8) {
	case 0:
		check_changes(text, len, data[1] & 1);
		break;
	case 1:
		check_diff(text, len);
		break;
	case 2:
		check_found(text, len, data[1] & 1, 1);
		break;
	case 3:
		check_found(text, len, 0, 0);
		break;
	case 4:
		check_opened(text, len, 0);
		break;
	case 5:
		check_opened(text, len, 1);
		break;
	case 6:
		check_written(text, len);
		break;
	default:
		peer_json_said(text, len, &said);
		FUZZ_CHECK(strlen(said.error) < sizeof(said.error) && strlen(said.reason) < sizeof(said.reason));
		FUZZ_CHECK(peer_json_info(text, len, arena, &one, &about, &why) != 0 || one.len > 0);
		FUZZ_CHECK(peer_json_local(text, len, arena, &one, &two, &why) != 0 || two.len == len);
		FUZZ_CHECK(peer_json_rev(text, len, arena, &one, &why) != 0 || one.len > 0);
		break;
	}
	free(text);
	return 0;
}
