/* term.c: JSON as Erlang prints the term that CouchDB made of it: "x" is <<120>>, {"a":1} is {[{<<97>>,1}]}. */
#include "query.h"

#include "base/limits.h"

/* Behind a buffer that is full nothing more is written. */
static int
put_string(struct buf *out, struct jstr s)
{
	buf_puts(out, "<<");
	for (size_t i = 0; i < s.len && buf_failed(out) == 0; i++)
		buf_printf(out, i > 0 ? ",%u" : "%u", (unsigned)(unsigned char)s.s[i]);
	buf_puts(out, ">>");
	return buf_failed(out);
}

static int put_value(struct buf *out, struct jread *j, struct buf *scratch);

static int
put_array(struct buf *out, struct jread *j, struct buf *scratch)
{
	int err = jread_array_begin(j), n = 0;

	buf_putc(out, '[');
	while (err == 0 && (err = jread_array_next(j)) == 0) {
		if (n++ > 0)
			buf_putc(out, ',');
		err = put_value(out, j, scratch);
	}
	buf_putc(out, ']');
	return err == ERR_END ? buf_failed(out) : err;
}

static int
put_object(struct buf *out, struct jread *j, struct buf *scratch)
{
	struct jstr key;
	int err = jread_object_begin(j), n = 0;

	buf_puts(out, "{[");
	while (err == 0 && (err = jread_object_next(j, scratch, &key)) == 0) {
		buf_puts(out, n++ > 0 ? ",{" : "{");
		err = put_string(out, key);
		buf_putc(out, ',');
		if (err == 0)
			err = put_value(out, j, scratch);
		buf_putc(out, '}');
	}
	buf_puts(out, "]}");
	return err == ERR_END ? buf_failed(out) : err;
}

static int
put_value(struct buf *out, struct jread *j, struct buf *scratch)
{
	struct jstr s;
	int err;

	switch (jread_peek(j)) {
	case JREAD_OBJECT:
		return put_object(out, j, scratch);
	case JREAD_ARRAY:
		return put_array(out, j, scratch);
	case JREAD_STRING:
		err = jread_string(j, scratch, &s);
		return err != 0 ? err : put_string(out, s);
	default:
		err = jread_skip(j, &s);
		return err != 0 ? err : buf_put(out, s.s, s.len);
	}
}

int
query_put_term(struct buf *out, struct jstr json)
{
	struct buf scratch;
	struct jread j;
	int err;

	buf_init(&scratch, LIMIT_REQUEST_LEN);
	jread_init(&j, json.s, json.len);
	err = put_value(out, &j, &scratch);
	buf_release(&scratch);
	return err;
}
