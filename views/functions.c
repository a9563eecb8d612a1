/* functions.c: the JavaScript of a design document's views, as it is to be compiled. */
#include "views.h"

#include "ddoc.h"

static int
is_javascript(const struct ddoc *d)
{
	return jstr_is(&d->language, "javascript");
}

int
views_functions(struct jstr body, struct arena *a, struct view_function **fp, size_t *np, struct jstr *programp)
{
	struct view_function *f;
	struct ddoc d;
	struct buf b;
	int err = ddoc_parse(body, a, &d);

	*np = 0;
	*programp = (struct jstr){"", 0};
	if (err != 0 || !is_javascript(&d) || d.nviews == 0)
		return err;
	if ((f = arena_calloc(a, 2 * d.nviews, sizeof(*f))) == NULL)
		return ERR_NOMEM;
	for (size_t i = 0; i < d.nviews; i++) {
		const struct ddoc_view *v = &d.views[i];

		f[(*np)++] = (struct view_function){"map", v->name, d.maps[v->map].text};
		if (v->kind == DDOC_SCRIPT)
			f[(*np)++] = (struct view_function){"reduce", v->name, d.reduces[v->reduce]};
	}
	*fp = f;
	buf_init_arena(&b, a, SIZE_MAX / 2);
	err = ddoc_program(&d, &b);
	*programp = (struct jstr){b.data, b.len};
	return err;
}
