/*
 * What listings and views are asked: parameters of the query string and members of the body, in the words of alldocs_query.h
 * and view_query.h; and bookmarks.  The input is a query string, a line end, and a body; behind the first byte, which says whose.
 */
#include <string.h>

#include "fuzz.h"
#include "httpapi/alldocs_query.h"
#include "httpapi/api.h"
#include "httpapi/find_bookmark.h"
#include "httpapi/view_query.h"
#include "views/ddoc.h"

static struct api api;
static struct arena *arena;

static int
is_words(int err)
{
	return err == ERR_QUERY_PARSE || err == ERR_BAD_JSON || err == ERR_BAD_REQUEST || err == ERR_KEY_RANGE ||
	       err == ERR_ILLEGAL_PARTITION || err == ERR_TOO_LARGE;
}

static void
check_view(struct apireq *r, struct jstr body, int reduces)
{
	const struct ddoc_view view = {.raw = body.len % 2 != 0};
	struct errtext why = {""};
	struct view_query q;
	size_t keys_bytes = 0;
	struct jread j;
	int err;

	view_query_init(&q, &keys_bytes);
	err = view_query_params(r, &q, &why);
	if (err == 0 && body.len > 0 && (err = api_object(&j, body, &why)) == 0)
		err = view_query_members(r, &j, &q, &why);
	if (err == 0)
		err = view_query_sortkeys(r, &q, &view);
	if (err == 0)
		err = view_query_check(&q, reduces, &why);
	FUZZ_CHECK(err == 0 || is_words(err));
	if (err == 0) {
		FUZZ_CHECK(q.reduce == 0 || q.reduce == 1);
		FUZZ_CHECK(q.reduce == 0 || reduces);
		for (size_t i = 0; q.keys != NULL && i < q.keys->n; i++)
			FUZZ_CHECK(q.keys->sortkeys[i].len > 0);
	}
}

static void
check_listing(struct apireq *r, struct jstr body)
{
	struct errtext why = {""};
	struct alldocs_query q;
	struct jread j;
	int err;

	alldocs_query_init(&q);
	err = alldocs_query_params(r, &q, &why);
	if (err == 0 && body.len > 0 && (err = api_object(&j, body, &why)) == 0)
		err = alldocs_query_members(r, &j, &q, &why);
	if (err == 0)
		err = alldocs_query_check(&q, &why);
	FUZZ_CHECK(err == 0 || is_words(err));
	for (size_t i = 0; err == 0 && i < q.nkeys; i++)
		FUZZ_CHECK(q.keys[i].text.len > 0);
}

/* A bookmark that is read is written again as the same place. */
static void
check_bookmark(struct jstr text)
{
	struct find_bookmark m, again;
	struct buf b;

	if (find_bookmark_read(text, arena, &m) != 0)
		return;
	buf_init(&b, 1u << 20);
	FUZZ_CHECK(find_bookmark_put(&m, &b) == 0);
	FUZZ_CHECK(find_bookmark_read((struct jstr){b.data, b.len}, arena, &again) == 0);
	FUZZ_CHECK(again.descending == m.descending && again.part == m.part && again.nparts == m.nparts);
	FUZZ_CHECK(again.key.len == m.key.len && again.id.len == m.id.len && again.ddoc.len == m.ddoc.len);
	buf_release(&b);
}

/* One of what the bytes say, from which mutations begin that are none at once. */
static void
check_made_bookmark(struct jstr bytes)
{
	static const uint32_t hashes[3] = {1, 0x80000000u, 77};
	struct find_bookmark m = {.descending = bytes.len % 2, .part = bytes.len % 3, .nparts = 3, .hashes = hashes},
			     out;
	struct buf b;

	m.key = (struct jstr){bytes.s, bytes.len / 2};
	m.id = (struct jstr){bytes.s + bytes.len / 2, bytes.len - bytes.len / 2};
	m.ddoc = (struct jstr){"_design/x", 9};
	m.name = (struct jstr){"y", 1};
	buf_init(&b, 1u << 20);
	FUZZ_CHECK(find_bookmark_put(&m, &b) == 0);
	/* What was altered is told, but for the last character's spare bits. */
	if (find_bookmark_read((struct jstr){b.data, b.len}, arena, &out) == 0) {
		FUZZ_CHECK(out.key.len == m.key.len && out.id.len == m.id.len);
		FUZZ_CHECK(m.id.len == 0 || memcmp(out.id.s, m.id.s, m.id.len) == 0);
		check_bookmark((struct jstr){b.data, b.len});
		check_bookmark((struct jstr){b.data, b.len - 1});
	}
	buf_release(&b);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct apireq r = {.api = &api, .method = "GET"};
	struct jstr query, body = {"", 0};
	char *text;
	const char *nl;

	if (len == 0)
		return 0;
	if (arena == NULL)
		FUZZ_CHECK(arena_new((size_t)64 << 20, &arena) == 0 && config_new(&api.config) == 0);
	arena_reset(arena);
	text = fuzz_copy(data + 1, len - 1);
	query = (struct jstr){text, len - 1};
	if ((nl = memchr(text, '\n', len - 1)) != NULL) {
		query.len = (size_t)(nl - text);
		body = (struct jstr){nl + 1, len - 2 - query.len};
	}
	r.arena = arena;
	if (data[0] % 5 == 3)
		check_bookmark((struct jstr){text, len - 1});
	else if (data[0] % 5 == 4)
		check_made_bookmark((struct jstr){text, len - 1});
	else if (api_path(&r, (struct jstr){"/d/_all_docs", 12}, query) == 0) {
		if (data[0] % 5 == 0)
			check_listing(&r, body);
		else
			check_view(&r, body, data[0] % 5 == 1);
	}
	free(text);
	return 0;
}
