/*
 * passrules.c: password requirements.
 *
 * The setting is an Erlang term, because CouchDB's is: a list whose elements are strings or tuples of strings.  The
 * whole of it is read before a password is looked at; an element of another kind counts when it is reached.  Matching
 * is the selectors': {"p":{"$regex":RE}} over {"p":PASSWORD}, and so bounded.
 */
#include "passrules.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/log.h"
#include "query/query.h"

#define RULES_MAX 64u
#define TEXT_MAX 65536u

#define UNMET "Password does not conform to requirements."

/* One element: its strings lie in the text, one behind the other. */
struct rule {
	int broken; /* neither a string nor a tuple that begins with one */
	struct jstr regex;
	struct jstr reason;
};

struct term {
	const char *p;
	struct buf text; /* unescaped strings; never moves: it is reserved at the beginning */
	struct rule rules[RULES_MAX];
	size_t n;
};

static void
blank(struct term *t)
{
	while (*t->p == ' ' || *t->p == '\t' || *t->p == '\n' || *t->p == '\r')
		t->p++;
}

static int
take(struct term *t, char c)
{
	blank(t);
	if (*t->p != c)
		return 0;
	t->p++;
	return 1;
}

/* Digits of ${base}, at most ${max}, as a character up to 255, in UTF-8. */
static void
put_numbered(struct term *t, int base, int max)
{
	char digits[8];
	int n = 0, c;

	while (n < max && n < 7 && *t->p != '\0' &&
	       strchr(base == 8 ? "01234567" : "0123456789abcdefABCDEF", *t->p) != NULL)
		digits[n++] = *t->p++;
	digits[n] = '\0';
	c = (int)strtol(digits, NULL, base) & 0xff;
	if (c >= 0x80) {
		buf_putc(&t->text, (char)(0xc0 | c >> 6));
		c = 0x80 | (c & 0x3f);
	}
	buf_putc(&t->text, (char)c);
}

/* What stands behind a backslash. */
static void
put_escaped(struct term *t)
{
	static const char from[] = "bdefnrstv", to[] = "\b\177\033\f\n\r \t\v";
	const char *at;

	if (*t->p >= '0' && *t->p <= '7') {
		put_numbered(t, 8, 3);
	} else if (*t->p == 'x') {
		int brace = *++t->p == '{';

		t->p += brace;
		put_numbered(t, 16, brace ? 7 : 2);
		t->p += brace && *t->p == '}';
	} else if (*t->p == '^' && t->p[1] != '\0') {
		buf_putc(&t->text, t->p[1] & 31);
		t->p += 2;
	} else {
		at = strchr(from, *t->p);
		buf_putc(&t->text, at != NULL ? to[at - from] : *t->p);
		t->p++;
	}
}

/* Strings that follow each other are one. */
static int
take_string(struct term *t, struct jstr *out)
{
	size_t start = t->text.len;

	if (*t->p != '"')
		return 0;
	while (take(t, '"')) {
		while (*t->p != '"') {
			int escape = *t->p == '\\';

			t->p += escape;
			if (*t->p == '\0')
				return 0;
			if (escape)
				put_escaped(t);
			else
				buf_putc(&t->text, *t->p++);
		}
		t->p++;
	}
	*out = (struct jstr){t->text.data + start, t->text.len - start};
	return !buf_failed(&t->text);
}

/* A number or an atom: it has no meaning here, but is no fault of the list's. */
static int
take_word(struct term *t)
{
	const char *start = t->p;

	while ((*t->p >= 'a' && *t->p <= 'z') || (*t->p >= 'A' && *t->p <= 'Z') || (*t->p >= '0' && *t->p <= '9') ||
	       *t->p == '_' || *t->p == '@' || *t->p == '.' || *t->p == '-')
		t->p++;
	return t->p > start;
}

static int
take_tuple(struct term *t, struct rule *r)
{
	size_t n = 0;

	if (take(t, '}')) {
		r->broken = 1;
		return 1;
	}
	do {
		struct jstr s;

		blank(t);
		if (*t->p == '"') {
			if (!take_string(t, &s))
				return 0;
			if (n == 0)
				r->regex = s;
			else if (n == 1)
				r->reason = s;
		} else {
			if (!take_word(t))
				return 0;
			r->broken |= n == 0;
		}
		n++;
	} while (take(t, ','));
	r->broken |= n > 2;
	return take(t, '}');
}

static int
take_rule(struct term *t)
{
	struct rule *r = &t->rules[t->n];

	if (t->n == RULES_MAX)
		return 0;
	*r = (struct rule){.reason = {"", 0}};
	t->n++;
	blank(t);
	if (*t->p == '"')
		return take_string(t, &r->regex);
	if (take(t, '{'))
		return take_tuple(t, r);
	r->broken = 1;
	return take_word(t);
}

static int
take_list(struct term *t)
{
	if (!take(t, '['))
		return 0;
	if (!take(t, ']')) {
		do {
			if (!take_rule(t))
				return 0;
		} while (take(t, ','));
		if (!take(t, ']'))
			return 0;
	}
	blank(t);
	return *t->p == '\0';
}

static int
broken(struct errtext *why, const char *what)
{
	log_line(LOG_ERROR, "chttpd_auth/password_regexp: %s; no password can be set", what);
	return err_why(why, ERR_FORBIDDEN, "Server cannot hash passwords at this time.");
}

static int
matches(const struct jstr *regex, const struct jstr *password, int *matchp, struct errtext *why)
{
	struct query_selector *s = NULL;
	struct query_doc doc = {.id = {"", 0}};
	struct buf selector, body;
	int err;

	buf_init(&selector, 2 * TEXT_MAX);
	buf_init(&body, 8 * password->len + 64);
	buf_puts(&selector, "{\"p\":{\"$regex\":");
	/* A setting may be anything; what is no text matches nothing. */
	if (jread_utf8_ok(regex->s, regex->len))
		buf_put_json(&selector, regex->s, regex->len);
	buf_puts(&selector, "}}");
	buf_puts(&body, "{\"p\":");
	buf_put_json(&body, password->s, password->len);
	buf_putc(&body, '}');
	err = buf_failed(&selector) != 0 || buf_failed(&body) != 0 ? ERR_NOMEM : 0;
	if (err == 0)
		err = query_selector_new((struct jstr){selector.data, selector.len}, &s, NULL);
	doc.body = (struct jstr){body.data, body.len};
	if (err == 0)
		err = query_selector_match(s, &doc, matchp);
	else if (err != ERR_NOMEM)
		err = broken(why, "not a regular expression");
	query_selector_free(s);
	buf_release(&selector);
	if (body.data != NULL)
		memset(body.data, 0, body.len);
	buf_release(&body);
	return err;
}

static int
check_one(const struct rule *r, const struct jstr *password, struct errtext *why)
{
	int match = 0, err;

	if (r->broken)
		return broken(why, "an element is neither a string nor a tuple of strings");
	err = matches(&r->regex, password, &match, why);
	if (err != 0 || match)
		return err;
	if (r->reason.len == 0 || !jread_utf8_ok(r->reason.s, r->reason.len))
		return err_why(why, ERR_BAD_REQUEST, UNMET);
	return err_why(why, ERR_BAD_REQUEST, UNMET " %.*s", (int)r->reason.len, r->reason.s);
}

int
passrules_check(const char *setting, struct jstr password, struct errtext *why)
{
	struct term *t;
	size_t len = strlen(setting);
	char *room;
	int err = 0;

	if (len == 0)
		return 0;
	if (len > TEXT_MAX)
		return broken(why, "too long");
	t = malloc(sizeof(*t));
	if (t == NULL)
		return ERR_NOMEM;
	t->p = setting;
	t->n = 0;
	buf_init(&t->text, len + 1);
	err = buf_reserve(&t->text, len, &room);
	if (err == 0 && !take_list(t))
		err = broken(why, "not a list");
	for (size_t i = 0; i < t->n && err == 0; i++)
		err = check_one(&t->rules[i], &password, why);
	buf_release(&t->text);
	free(t);
	return err;
}
