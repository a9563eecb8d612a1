/*
 * children.h: a divan-js of the fuzz targets, in this process: what its functions answer stands in the functions.  For one file of a
 * program: it defines what script/child.h declares.
 *
 *	"=>TEXT"      in a function: the answer of every operation with its program is TEXT, whatever was asked for
 *	"=>!TEXT"     the operation fails with TEXT, which should be ["name","reason"]
 *	"=>+TEXT"     a list function sends TEXT, and wants rows
 *	"=>-"         the child dies
 *	anything else a map emits member "k" of each document with its member "v" (null where they are missing); a reduction is 1; filters
 *	              take all, nothing is refused, a show is "s", an update writes nothing, a list is "l", a rewrite goes to /d
 */
#ifndef TESTS_FUZZ_CHILDREN_H_
#define TESTS_FUZZ_CHILDREN_H_

#include <string.h>

#include "base/jread.h"
#include "fuzz.h"
#include "script/child.h"

#define CHILD_MAX ((size_t)16 << 20)

/* What goes on in the one that is used; behind struct child, which is the parent's. */
struct fake {
	struct child child;
	struct buf programs[SCRIPT_PROGRAMS];
	struct buf asked; /* the operations that were not answered: head, text, and so on */
	size_t at;
};

int
child_start(const struct scripts_config *config, const char *owner, struct child **cp)
{
	struct fake *f = calloc(1, sizeof(*f));

	FUZZ_CHECK(f != NULL && (f->child.owner = strdup(owner)) != NULL);
	(void)config;
	f->child.fd = -1;
	buf_init(&f->child.in, CHILD_MAX);
	buf_init(&f->asked, CHILD_MAX);
	for (size_t i = 0; i < SCRIPT_PROGRAMS; i++)
		buf_init(&f->programs[i], CHILD_MAX);
	*cp = &f->child;
	return 0;
}

void
child_end(struct child *c, struct errtext *why)
{
	struct fake *f = (struct fake *)c;

	(void)err_why(why, ERR_SCRIPT_DIED, "it ended");
	for (size_t i = 0; i < SCRIPT_PROGRAMS; i++)
		buf_release(&f->programs[i]);
	buf_release(&f->asked);
	buf_release(&c->in);
	free(c->owner);
	free(f);
}

int
child_is_alive(const struct child *c)
{
	(void)c;
	return 1;
}

int
child_has_more(const struct child *c)
{
	const struct fake *f = (const struct fake *)c;

	return f->at < f->asked.len;
}

int
child_put(struct child *c, struct wire_head h, const struct jstr *parts, size_t n, const struct scripts_config *config,
    uint64_t deadline_ms)
{
	struct fake *f = (struct fake *)c;
	struct buf *to = &f->asked;
	size_t head = to->len;

	(void)config, (void)deadline_ms;
	FUZZ_CHECK(h.program < SCRIPT_PROGRAMS);
	FUZZ_CHECK(buf_put(to, &h, sizeof(h)) == 0);
	for (size_t i = 0; i < n; i++)
		FUZZ_CHECK(buf_put(to, parts[i].s, parts[i].len) == 0);
	h.len = (uint32_t)(to->len - head - sizeof(h));
	memcpy(to->data + head, &h, sizeof(h));
	if (h.kind == SCRIPT_LOAD) {
		to = &f->programs[h.program];
		buf_clear(to);
		FUZZ_CHECK(buf_put(to, f->asked.data + head + sizeof(h), h.len) == 0);
	}
	return 0;
}

/* ---- What it answers ---- */

static int fake_spoke; /* functions said what they liked: a 500 may be theirs */

/* fake_said: What stands behind "=>" in the program, unescaped, into ${out}; 0 if there is none. */
static int
fake_said(const struct buf *program, struct buf *out)
{
	const char *at = program->len > 0 ? memmem(program->data, program->len, "=>", 2) : NULL, *end;
	struct jread j;
	struct jstr s;
	struct buf text, scratch;
	int found = 0;

	if (at == NULL)
		return 0;
	for (end = at += 2; end < program->data + program->len && *end != '"'; end++)
		end += *end == '\\' && end + 1 < program->data + program->len;
	buf_init(&text, CHILD_MAX);
	buf_init(&scratch, CHILD_MAX);
	FUZZ_CHECK(
	    buf_putc(&text, '"') == 0 && buf_put(&text, at, (size_t)(end - at)) == 0 && buf_putc(&text, '"') == 0);
	jread_init(&j, text.data, text.len);
	if (jread_string(&j, &scratch, &s) == 0) {
		FUZZ_CHECK(buf_put(out, s.s, s.len) == 0);
		found = 1;
	}
	buf_release(&text);
	buf_release(&scratch);
	return found;
}

/* fake_count: Elements of the array that member ${name} of the program is. */
static unsigned
fake_count(const struct buf *program, const char *name)
{
	struct jstr key;
	struct buf scratch;
	struct jread j;
	unsigned n = 0;

	buf_init(&scratch, CHILD_MAX);
	jread_init(&j, program->data != NULL ? program->data : "", program->len);
	if (jread_object_begin(&j) == 0)
		while (jread_object_next(&j, &scratch, &key) == 0) {
			if (jstr_is(&key, name) && jread_array_begin(&j) == 0) {
				while (jread_array_next(&j) == 0 && jread_skip(&j, NULL) == 0)
					n++;
				break;
			}
			if (jread_skip(&j, NULL) != 0)
				break;
		}
	buf_release(&scratch);
	return n;
}

/* fake_emit: The rows of one map for the document at ${j}. */
static int
fake_emit(struct jread *j, struct buf *out)
{
	struct jstr key = {NULL, 0}, k = {"null", 4}, v = {"null", 4};
	struct buf scratch;
	int err = jread_object_begin(j);

	buf_init(&scratch, CHILD_MAX);
	while (err == 0 && (err = jread_object_next(j, &scratch, &key)) == 0)
		err = jread_skip(j, jstr_is(&key, "k") ? &k : jstr_is(&key, "v") ? &v : NULL);
	buf_release(&scratch);
	(void)buf_puts(out, "[[");
	(void)buf_put(out, k.s, k.len);
	(void)buf_putc(out, ',');
	(void)buf_put(out, v.s, v.len);
	(void)buf_puts(out, "]]");
	return err == ERR_END ? 0 : err;
}

/* fake_map: [DOC,...] -> [[ROWS of map 0,...] for each]. */
static void
fake_map(const struct buf *program, struct jstr docs, struct buf *out)
{
	unsigned maps = fake_count(program, "map");
	struct jread j, again;
	const char *sep = "";

	jread_init(&j, docs.s, docs.len);
	(void)buf_putc(out, '[');
	if (jread_array_begin(&j) == 0)
		for (; jread_array_next(&j) == 0; sep = ",") {
			struct jstr doc;

			if (jread_skip(&j, &doc) != 0)
				break;
			(void)buf_puts(out, sep);
			for (unsigned i = 0; i < maps; i++) {
				(void)buf_puts(out, i == 0 ? "[" : ",");
				jread_init(&again, doc.s, doc.len);
				FUZZ_CHECK(fake_emit(&again, out) == 0);
			}
			(void)buf_putc(out, ']');
		}
	(void)buf_putc(out, ']');
}

/* fake_each: ${what} for each element of the array ${text}. */
static void
fake_each(struct jread *j, const char *what, struct buf *out)
{
	const char *sep = "[";

	if (jread_array_begin(j) == 0)
		for (; jread_array_next(j) == 0 && jread_skip(j, NULL) == 0; sep = ",") {
			(void)buf_puts(out, sep);
			(void)buf_puts(out, what);
		}
	(void)buf_puts(out, *sep == '[' ? "[]" : "]");
}

/* fake_design: [[KIND,...],...]. */
static void
fake_design(struct jstr text, struct buf *out)
{
	struct jstr path, kind = {"", 0};
	struct jread j, p;
	struct buf scratch;

	buf_init(&scratch, CHILD_MAX);
	jread_init(&j, text.s, text.len);
	FUZZ_CHECK(jread_array_begin(&j) == 0 && jread_array_next(&j) == 0 && jread_skip(&j, &path) == 0);
	jread_init(&p, path.s, path.len);
	FUZZ_CHECK(jread_array_begin(&p) == 0 && jread_array_next(&p) == 0 && jread_string(&p, &scratch, &kind) == 0);
	if (jstr_is(&kind, "filters") || jstr_is(&kind, "views") || jstr_is(&kind, "validate_doc_update")) {
		FUZZ_CHECK(jread_array_next(&j) == 0);
		fake_each(&j, jstr_is(&kind, "validate_doc_update") ? "null" : "true", out);
	} else {
		(void)buf_puts(out, jstr_is(&kind, "updates")    ? "[null,{\"body\":\"u\"}]"
				    : jstr_is(&kind, "lists")    ? "[[\"l\"],{}]"
				    : jstr_is(&kind, "rewrites") ? "\"/d\""
								 : "{\"body\":\"s\"}");
	}
	buf_release(&scratch);
}

/* fake_answer: What stands behind "=>", ${said}, is: an answer, a failure, what wants rows, or its end.  Errors: ERR_SCRIPT_DIED. */
static int
fake_answer(const struct buf *said, struct wire_head *h, struct jstr *textp)
{
	char first = said->len > 0 ? *said->data : '\0';
	size_t mark = first == '!' || first == '+';

	fake_spoke = 1;
	if (first == '-')
		return ERR_SCRIPT_DIED;
	/* It wants rows once: behind them it has nothing more to say. */
	h->kind = first == '!' ? SCRIPT_FAILED : first == '+' && h->kind == SCRIPT_DESIGN ? SCRIPT_MORE : SCRIPT_ANSWER;
	*textp = (struct jstr){said->data + mark, said->len - mark};
	return 0;
}

/* fake_other: The answer of functions that say nothing of their own. */
static void
fake_other(const struct buf *program, unsigned kind, struct jstr text, struct buf *out)
{
	struct jread j;

	if (kind == SCRIPT_MAP) {
		fake_map(program, text, out);
	} else if (kind == SCRIPT_REDUCE || kind == SCRIPT_REREDUCE) {
		jread_init(&j, text.s, text.len);
		fake_each(&j, "1", out);
	} else if (kind == SCRIPT_DESIGN) {
		fake_design(text, out);
	} else {
		(void)buf_puts(out, kind == SCRIPT_ROWS ? "[[\"l\"]]" : "true");
	}
	FUZZ_CHECK(buf_failed(out) == 0);
}

int
child_get(
    struct child *c, struct wire_head *h, struct jstr *textp, const struct scripts_config *config, uint64_t deadline_ms)
{
	struct fake *f = (struct fake *)c;
	struct buf *out = &c->in;
	struct jstr text;
	int err = 0;

	(void)config, (void)deadline_ms;
	if (f->at >= f->asked.len)
		return ERR_SCRIPT_TIMEOUT; /* it has nothing to say */
	memcpy(h, f->asked.data + f->at, sizeof(*h));
	text = (struct jstr){f->asked.data + f->at + sizeof(*h), h->len};
	f->at += sizeof(*h) + h->len;
	buf_clear(out);
	if (h->kind != SCRIPT_LOAD && fake_said(&f->programs[h->program], out)) {
		err = fake_answer(out, h, textp);
	} else {
		fake_other(&f->programs[h->program], h->kind, text, out);
		h->kind = SCRIPT_ANSWER;
		*textp = (struct jstr){out->data, out->len};
	}
	if (f->at == f->asked.len) {
		f->at = 0;
		buf_clear(&f->asked);
	}
	return err;
}

#endif
