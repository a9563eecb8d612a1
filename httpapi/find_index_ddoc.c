/*
 * find_index_ddoc.c: design documents with an index more or less.
 *
 * Only the text of "views" is written anew, member by member; all else is copied as it stands, in its order, whatever it may be: these documents
 * replicate, and others may have put into them what is not known here.
 */
#include "find_index.h"

#include <string.h>

#include "base/buf.h"
#include "base/limits.h"
#include "find_words.h"

#define SCRATCH 4096u

/* A member of an object, as it stands. */
struct member {
	struct jstr key; /* unescaped; until the next step */
	struct jstr text;
};

/* A walk over an object's members. */
struct walk {
	struct jread j;
	struct buf scratch;
	int err; /* ERR_END: there were no more */
};

static void
walk_begin(struct walk *w, struct jstr object)
{
	buf_init(&w->scratch, object.len + SCRATCH);
	jread_init(&w->j, object.s, object.len);
	w->err = jread_object_begin(&w->j);
}

static int
walk_next(struct walk *w, struct member *out)
{
	if (w->err == 0)
		w->err = jread_object_next(&w->j, &w->scratch, &out->key);
	if (w->err == 0)
		w->err = jread_skip(&w->j, &out->text);
	return w->err == 0;
}

/* walk_end: 0 if it came to the end. */
static int
walk_end(struct walk *w)
{
	buf_release(&w->scratch);
	return w->err == ERR_END ? 0 : w->err;
}

/* find: The text of member ${name}; len 0: there is none. */
static int
find(struct jstr object, const char *name, struct jstr *outp)
{
	struct member m;
	struct walk w;

	*outp = (struct jstr){NULL, 0};
	if (object.len == 0 || object.s[0] != '{')
		return 0;
	walk_begin(&w, object);
	while (walk_next(&w, &m))
		if (jstr_is(&m.key, name))
			*outp = m.text;
	return walk_end(&w);
}

static void
put_member(struct buf *b, struct jstr key, struct jstr text)
{
	/* The first is behind the brace. */
	if (b->len > 0 && b->data[b->len - 1] != '{')
		buf_putc(b, ',');
	buf_put_json(b, key.s, key.len);
	buf_putc(b, ':');
	buf_put(b, text.s, text.len);
}

static int
is_query(struct jstr language)
{
	return jstr_is(&language, "\"query\"");
}

static int
keep(struct arena *a, const struct buf *b, struct jstr *outp)
{
	if (buf_failed(b) != 0)
		return buf_failed(b);
	*outp = (struct jstr){arena_dup(a, b->data, b->len), b->len};
	return outp->s != NULL ? 0 : ERR_NOMEM;
}

/* ---- One more ---- */

/* put_views: ${views} with the index in the place of the one of its name, or behind all others. */
static int
put_views(struct buf *b, struct jstr views, const struct find_index *ix, struct errtext *why)
{
	struct member m;
	struct walk w;
	size_t n = 0;
	int err = 0, placed = 0;

	buf_putc(b, '{');
	if (views.len > 0 && views.s[0] == '{') {
		walk_begin(&w, views);
		while (walk_next(&w, &m)) {
			int same = jstr_equal(m.key, ix->name);

			put_member(b, m.key, same ? ix->view : m.text);
			placed |= same;
			n++;
		}
		err = walk_end(&w);
	}
	/* Those beyond would not be made. */
	if (err == 0 && !placed && n >= LIMIT_INDEX_MAPS)
		return err_why(why, ERR_INVALID_INDEX, "A design document has %u indexes at most.", LIMIT_INDEX_MAPS);
	if (!placed)
		put_member(b, ix->name, ix->view);
	buf_putc(b, '}');
	return err;
}

static int
put_with(struct buf *b, struct jstr body, const struct find_index *ix, struct errtext *why)
{
	static const struct jstr name = {"views", 5};
	struct jstr views = {NULL, 0};
	struct buf text;
	struct member m;
	struct walk w;
	int err = find(body, "views", &views), placed = 0;

	buf_init(&text, b->max);
	if (err == 0)
		err = put_views(&text, views, ix, why);
	if (err == 0)
		err = buf_failed(&text);
	if (err == 0) {
		views = (struct jstr){text.data, text.len};
		buf_putc(b, '{');
		walk_begin(&w, body);
		while (walk_next(&w, &m)) {
			int same = jstr_equal(m.key, name);

			put_member(b, m.key, same ? views : m.text);
			placed |= same;
		}
		err = walk_end(&w);
		if (!placed)
			put_member(b, name, views);
		buf_putc(b, '}');
	}
	buf_release(&text);
	return err;
}

/* check_there: May a document that is there take the index? */
static int
check_there(struct jstr body, const struct find_index *ix, struct errtext *why)
{
	/* The term {<<"language">>, ...} as Erlang writes it. */
	static const char wrong[] = "Existing design doc has an invalid language: {<<108,97,110,103,117,97,103,101>>,";
	struct jstr language, options, value;
	const char *wanted = !ix->has_partitioned ? "" : ix->partitioned ? "true" : "false";
	int err = find(body, "language", &language);

	if (err != 0)
		return err;
	if (language.len == 0)
		return err_why(why, ERR_DDOC_LANGUAGE, "Existing design doc has an invalid language: false");
	if (!is_query(language))
		return find_words_wrong(ERR_DDOC_LANGUAGE, wrong, language, "}", why);
	if ((err = find(body, "options", &options)) != 0 || (err = find(options, "partitioned", &value)) != 0)
		return err;
	/* An index that leaves it open fits no document that does not. */
	if (!jstr_is(&value, wanted))
		return err_why(why, ERR_PARTITIONED_OPTION,
		    "Requested partitioned option does not match existing value on design document %s", ix->id.s);
	return 0;
}

int
find_index_add(struct arena *a, struct jstr body, const struct find_index *ix, struct jstr *outp, struct errtext *why)
{
	struct buf b;
	int err = 0;

	buf_init(&b, 2 * (body.len + ix->view.len + 6 * ix->name.len + SCRATCH));
	if (body.len > 0) {
		if ((err = check_there(body, ix, why)) == 0)
			err = put_with(&b, body, ix, why);
	} else {
		buf_puts(&b, "{\"language\":\"query\",\"views\":");
		err = put_views(&b, (struct jstr){NULL, 0}, ix, why);
		if (ix->has_partitioned)
			buf_printf(&b, ",\"options\":{\"partitioned\":%s}", ix->partitioned ? "true" : "false");
		buf_putc(&b, '}');
	}
	if (err == 0)
		err = keep(a, &b, outp);
	buf_release(&b);
	return err;
}

/* ---- One less ---- */

/* put_others: The views but for ${name}'s; *${gonep} counts what is left out, *${leftp} what is not. */
static int
put_others(struct buf *b, struct jstr views, struct jstr name, size_t *gonep, size_t *leftp)
{
	struct member m;
	struct walk w;

	*gonep = *leftp = 0;
	if (views.len == 0 || views.s[0] != '{')
		return 0;
	buf_putc(b, '{');
	walk_begin(&w, views);
	while (walk_next(&w, &m)) {
		if (name.s == NULL || jstr_equal(m.key, name)) {
			++*gonep;
			continue;
		}
		put_member(b, m.key, m.text);
		++*leftp;
	}
	buf_putc(b, '}');
	return walk_end(&w);
}

/* matters: 0 for members that are of no use to a document without views. */
static int
matters(const struct member *m)
{
	if (jstr_is(&m->key, "options"))
		return !jstr_is(&m->text, "{\"partitioned\":true}") && !jstr_is(&m->text, "{\"partitioned\":false}");
	return !jstr_is(&m->key, "language");
}

static int
put_without(struct buf *b, struct jstr body, struct jstr views, size_t *leftp)
{
	const int has_views = *leftp > 0;
	struct member m;
	struct walk w;

	buf_putc(b, '{');
	walk_begin(&w, body);
	while (walk_next(&w, &m)) {
		if (!jstr_is(&m.key, "views")) {
			put_member(b, m.key, m.text);
			*leftp += (size_t)matters(&m);
		} else if (has_views) {
			put_member(b, m.key, views);
		}
	}
	buf_putc(b, '}');
	return walk_end(&w);
}

int
find_index_remove(struct arena *a, struct jstr body, struct jstr name, struct jstr *outp)
{
	struct jstr language, views;
	struct buf others, b;
	size_t gone, left;
	int err = find(body, "language", &language);

	*outp = (struct jstr){NULL, 0};
	if (err != 0 || (err = find(body, "views", &views)) != 0)
		return err;
	if (!is_query(language))
		return ERR_MISSING;
	buf_init(&others, 2 * views.len + SCRATCH);
	buf_init(&b, 2 * body.len + SCRATCH);
	if ((err = put_others(&others, views, name, &gone, &left)) == 0 && gone == 0)
		err = ERR_MISSING;
	if (err == 0)
		err = buf_failed(&others);
	if (err == 0)
		err = put_without(&b, body, (struct jstr){others.data, others.len}, &left);
	if (err == 0 && left > 0)
		err = keep(a, &b, outp);
	buf_release(&b);
	buf_release(&others);
	return err;
}
