/* judging.c: documents before a filter in JavaScript. */
#include "judging.h"

#include <stdio.h>

#include "base/limits.h"
#include "render.h"

#define MESSAGE_BYTES ((size_t)4 << 20) /* a message ends behind the document that passes this */
#define MESSAGE_MAX ((size_t)256 << 20)
#define VERDICTS_MAX ((size_t)64 << 20)

/* A leaf's byte in pass until the answer has come. */
#define ASKED 1
#define UNASKED 2 /* it passes */

void
judging_init(struct judging *j, struct api *api, const char *database, int all_leaves, struct arena *a)
{
	*j = (struct judging){.api = api, .database = database, .all_leaves = all_leaves, .program = {"", 0}};
	j->revs_max = (size_t)config_u64(api->config, "query_server_config", "revs_limit", 20);
	buf_init(&j->pass, VERDICTS_MAX);
	buf_init(&j->text, MESSAGE_MAX);
	buf_init_arena(&j->head, a, 8 * LIMIT_URL_LEN);
	buf_init_arena(&j->tail, a, MESSAGE_MAX);
}

void
judging_release(struct judging *j)
{
	judging_end(j);
	buf_release(&j->pass);
	buf_release(&j->text);
}

int
judging_put_head(struct judging *j, const char *kind, struct jstr name)
{
	buf_puts(&j->head, "[[");
	buf_put_json(&j->head, kind, strlen(kind));
	buf_putc(&j->head, ',');
	buf_put_json(&j->head, name.s, name.len);
	buf_puts(&j->head, "],[");
	return buf_failed(&j->head);
}

void
judging_begin(struct judging *j)
{
	j->first = j->pass.len;
	j->ndocs = 0;
	buf_clear(&j->text);
}

int
judging_full(const struct judging *j)
{
	return j->text.len >= MESSAGE_BYTES;
}

/* put_leaf: ${at} NULL: the winner.  One whose body is not kept passes no filter: it gets no text, and its byte stays 0. */
static int
put_leaf(struct judging *j, struct arena *a, struct db_doc *doc, const struct revpos *at)
{
	const struct render_opts o = {.revs = 1, .revs_max = j->revs_max, .conflicts = at == NULL};
	size_t len = j->text.len;
	int err;

	if (len > 0)
		buf_putc(&j->text, ',');
	err = at == NULL ? render_doc(&j->text, doc, &o, a, NULL) : render_rev(&j->text, doc, *at, &o, a);
	if (err == ERR_MISSING) {
		j->text.len = len;
		return buf_putc(&j->pass, 0);
	}
	j->ndocs++;
	return err != 0 ? err : buf_putc(&j->pass, ASKED);
}

static int
put_row(struct judging *j, struct db_snap *snap, struct arena *a, const struct db_change *c)
{
	struct revtree *tree;
	struct db_doc doc;
	int err = db_get(snap, c->id.s, c->id.len, a, &doc);

	if (err == 0 && doc.seq != c->seq)
		err = ERR_MISSING;
	if (err == 0 && j->all_leaves && c->nleaves > 1) {
		err = db_doc_tree(&doc, 1, &tree);
		for (size_t i = 0; err == 0 && i < c->nleaves; i++) {
			struct revpos at;

			err = revtree_find(tree, &c->leaves[i], &at) ? put_leaf(j, a, &doc, &at) : ERR_CORRUPT;
		}
	} else if (err == 0) {
		err = put_leaf(j, a, &doc, NULL);
	}
	return err != 0 ? err : buf_failed(&j->text);
}

int
judging_put(struct judging *j, struct db_snap *snap, struct arena *a, const struct db_change *c)
{
	size_t pass = j->pass.len, text = j->text.len, ndocs = j->ndocs;
	int err = put_row(j, snap, a, c);

	if (err != 0) {
		j->pass.len = pass;
		j->text.len = text;
		j->ndocs = ndocs;
	}
	return err;
}

int
judging_pass(struct judging *j, const struct db_change *c)
{
	size_t n = j->all_leaves ? c->nleaves : 1;

	for (; n > 0; n--)
		(void)buf_putc(&j->pass, UNASKED);
	return buf_failed(&j->pass);
}

/* The answer's booleans, in the place of those that were asked about. */
static int
take_answer(struct judging *j, struct jstr answer)
{
	struct jread in;
	int yes, err;

	jread_init(&in, answer.s, answer.len);
	err = jread_array_begin(&in);
	for (size_t i = j->first; i < j->pass.len && err == 0; i++) {
		if (j->pass.data[i] != ASKED)
			continue;
		if ((err = jread_array_next(&in)) == 0 && (err = jread_bool(&in, &yes)) == 0)
			j->pass.data[i] = (char)yes;
	}
	return err == 0 && jread_array_next(&in) == ERR_END ? 0 : ERR_SCRIPT_DIED;
}

int
judging_ask(struct judging *j)
{
	const struct jstr parts[] = {
	    {j->head.data, j->head.len}, {j->text.data, j->text.len}, {j->tail.data, j->tail.len}};
	struct jstr answer;
	int err = 0;

	if (j->ndocs == 0)
		return 0;
	if (j->sc == NULL)
		err = script_open(j->api->scripts, j->database, j->program, &j->sc, &j->why);
	if (err == ERR_SCRIPT)
		(void)snprintf(j->error, sizeof(j->error), "compilation_error");
	if (err != 0)
		return err;
	err = script_send(j->sc, SCRIPT_DESIGN, parts, 3);
	if (err == 0)
		err = script_receive(j->sc, &answer, &j->why);
	if (err == ERR_SCRIPT)
		(void)snprintf(j->error, sizeof(j->error), "%s", script_error(j->sc));
	return err != 0 ? err : take_answer(j, answer);
}

void
judging_end(struct judging *j)
{
	script_close(j->sc);
	j->sc = NULL;
}
