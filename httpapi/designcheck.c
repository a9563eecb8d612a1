/*
 * designcheck.c: design documents are checked before they are stored, however they come: the shape of what CouchDB knows, and
 * that the functions of views can be compiled.
 *
 * All functions of a document are compiled as the one program that its views will run, so that the child that did it has it
 * ready; only if that fails are they compiled one by one, to tell which it was.
 */
#include "designcheck.h"

#include "base/limits.h"
#include "script/script.h"
#include "views/views.h"

static int
compile(struct api *api, const char *database, struct jstr program, struct errtext *why)
{
	struct script *sc;
	int err = script_open(api->scripts, database, program, &sc, why);

	if (err == 0)
		script_close(sc);
	return err;
}

static int
compile_one(struct api *api, const char *database, const struct view_function *f, struct errtext *why)
{
	struct errtext inner = {""};
	struct buf b;
	int err;

	buf_init(&b, 8 * f->text.len + 64);
	buf_puts(&b, "{\"map\":[");
	buf_put_json(&b, f->text.s, f->text.len);
	if ((err = buf_puts(&b, "]}")) == 0)
		err = compile(api, database, (struct jstr){b.data, b.len}, &inner);
	buf_release(&b);
	if (err != ERR_SCRIPT)
		return err;
	return err_why(why, ERR_COMPILATION, "Compilation of the %s function in the '%.*s' view failed: %s", f->kind,
	    (int)(f->view.len < 100 ? f->view.len : 100), f->view.s, inner.text);
}

static int
check_code(struct api *api, const char *database, struct jstr body, struct arena *a, struct errtext *why)
{
	struct view_function *f;
	struct jstr program;
	size_t n;
	int err = views_functions(body, a, &f, &n, &program);

	if (err != 0 || n == 0)
		return err;
	err = compile(api, database, program, why);
	if (err != ERR_SCRIPT)
		return err;
	err = ERR_COMPILATION;
	for (size_t i = 0; i < n; i++) {
		int one = compile_one(api, database, &f[i], why);

		if (one != 0)
			return one;
	}
	return err;
}

void
designcheck_run(void *cookie, const char *database, struct db_design *designs, size_t n)
{
	struct api *api = cookie;
	struct arena *a = NULL;

	for (size_t i = 0; i < n; i++) {
		struct db_design *d = &designs[i];

		d->err = views_check_design(d->body, &d->why);
		if (d->err != 0)
			continue;
		if ((d->err = arena_new(16 * d->body.len + LIMIT_TXN_BYTES, &a)) == 0)
			d->err = check_code(api, database, d->body, a, &d->why);
		arena_free(a);
		a = NULL;
	}
}
