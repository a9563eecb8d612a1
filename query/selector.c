/* selector.c: making, printing and ending a selector. */
#include "selector.h"

#include <stdlib.h>

#include "base/limits.h"

/* CouchDB's text of ${text}, in the selector's memory: all that follows reads only this. */
static int
copy_text(struct query_selector *s, struct jstr text, struct jstr *copyp)
{
	struct buf canonical;
	struct jread j;
	int err;

	buf_init(&canonical, LIMIT_SELECTOR_LEN);
	jread_init(&j, text.s, text.len);
	err = jread_text(&j, &canonical, NULL);
	if (err == 0)
		err = jread_end(&j);
	if (err == ERR_TOO_LARGE)
		err = err_why(s->why, ERR_SELECTOR, "The selector is too long.");
	if (err == 0) {
		*copyp = (struct jstr){arena_dup(s->arena, canonical.data, canonical.len), canonical.len};
		err = copyp->s != NULL ? 0 : ERR_NOMEM;
	}
	buf_release(&canonical);
	return err;
}

static int
make(struct query_selector *s, struct jstr text)
{
	struct selector_node *node;
	struct jstr copy;
	int err = copy_text(s, text, &copy);

	if (err == 0)
		err = selector_parse(s, copy, &node);
	if (err == 0)
		err = selector_normalise(s, &node);
	if (err == 0)
		err = selector_plan(s, node);
	return err;
}

int
query_selector_new(struct jstr text, struct query_selector **sp, struct errtext *why)
{
	struct query_selector *s = calloc(1, sizeof(*s));
	int err;

	if (s == NULL)
		return ERR_NOMEM;
	s->why = why;
	collate_init(&s->collate);
	buf_init(&s->key, LIMIT_REQUEST_LEN);
	buf_init(&s->plain, LIMIT_REQUEST_LEN);
	buf_init(&s->self, LIMIT_REQUEST_LEN);
	err = arena_new(LIMIT_SELECTOR_MEM, &s->arena);
	if (err == 0)
		err = make(s, text);
	s->why = NULL;
	if (err != 0)
		query_selector_free(s);
	else
		*sp = s;
	return err;
}

void
query_selector_free(struct query_selector *s)
{
	if (s == NULL)
		return;
	regex_set_free(s->regexes);
	collate_release(&s->collate);
	buf_release(&s->key);
	buf_release(&s->plain);
	buf_release(&s->self);
	arena_free(s->arena);
	free(s);
}

unsigned
query_selector_wants(const struct query_selector *s)
{
	return s->wants;
}

static void
put_list(const struct selector_node *node, struct buf *out)
{
	buf_putc(out, '[');
	for (const struct selector_node *kid = node->kid; kid != NULL; kid = kid->next) {
		if (kid != node->kid)
			buf_putc(out, ',');
		selector_put(kid, out);
	}
	buf_putc(out, ']');
}

void
selector_put(const struct selector_node *node, struct buf *out)
{
	buf_putc(out, '{');
	switch (node->op) {
	case SELECTOR_EVERY:
		break;
	case SELECTOR_AND:
	case SELECTOR_OR:
	case SELECTOR_NOR:
		buf_printf(out, "\"%s\":", selector_op_name(node->op));
		put_list(node, out);
		break;
	case SELECTOR_NOT:
	case SELECTOR_ELEM_MATCH:
	case SELECTOR_ALL_MATCH:
	case SELECTOR_KEY_MAP_MATCH:
		buf_printf(out, "\"%s\":", selector_op_name(node->op));
		selector_put(node->kid, out);
		break;
	case SELECTOR_FIELD:
		buf_put_json(out, node->name.s, node->name.len);
		buf_putc(out, ':');
		selector_put(node->kid, out);
		break;
	case SELECTOR_TEXT:
		buf_puts(out, "\"$default\":{\"$text\":");
		buf_put(out, node->arg.s, node->arg.len);
		buf_putc(out, '}');
		break;
	default:
		buf_printf(out, "\"%s\":", selector_op_name(node->op));
		buf_put(out, node->arg.s, node->arg.len);
	}
	buf_putc(out, '}');
}

int
query_selector_put(const struct query_selector *s, struct buf *out)
{
	selector_put(s->root->node, out);
	return buf_failed(out);
}
