/*
 * A letter, a line feed, and a text, by the letter: p: requirements on passwords, a line feed, a password; h: a hash as the
 * configuration has it; d: a user's document; s: a security object.  What is refused is refused with words that may be sent;
 * a hash that is taken is written as one that is taken alike; who is put into a security object is found there, and no
 * longer once taken out.
 */
#include "base/arena.h"
#include "base/buf.h"
#include "base/jread.h"
#include "base/log.h"
#include "fuzz.h"
#include "httpapi/passrules.h"
#include "httpapi/peruser.h"
#include "httpapi/secret.h"
#include "httpapi/userdoc.h"

#define MAX ((size_t)16 << 20)

static void
check_rules(const char *text)
{
	const char *lf = strchr(text, '\n');
	struct jstr password = {lf != NULL ? lf + 1 : "", lf != NULL ? strlen(lf + 1) : 0};
	struct errtext why = {""};
	char *setting = strdup(text);
	int err;

	FUZZ_CHECK(setting != NULL);
	setting[lf != NULL ? (size_t)(lf - text) : strlen(text)] = '\0';
	if (jread_utf8_ok(password.s, password.len)) {
		err = passrules_check(setting, password, &why);
		FUZZ_CHECK(err == 0 || err == ERR_BAD_REQUEST || err == ERR_FORBIDDEN);
		FUZZ_CHECK((err == 0) == (why.text[0] == '\0') && jread_utf8_ok(why.text, strlen(why.text)));
	}
	free(setting);
}

static void
check_same(const struct secret *a)
{
	char text[SECRET_SALT_MAX + SECRET_LEN];
	struct secret b;

	FUZZ_CHECK(secret_put(a, text, sizeof(text)) && secret_parse(text, &b));
	FUZZ_CHECK(strcmp(a->prf, b.prf) == 0 && a->key_len == b.key_len && memcmp(a->key, b.key, a->key_len) == 0);
	FUZZ_CHECK(a->salt_len == b.salt_len && memcmp(a->salt, b.salt, a->salt_len) == 0);
	FUZZ_CHECK(a->iterations == b.iterations);
}

static void
check_hash(const char *text)
{
	struct secret s;

	if (secret_parse(text, &s)) {
		FUZZ_CHECK(secret_is_hashed(text));
		check_same(&s);
	}
}

static void
check_document(struct jstr body, struct arena *a)
{
	struct userdoc doc;
	struct secret s;
	struct jstr *roles, name;
	size_t n;
	int err = userdoc_parse(body, &doc);

	FUZZ_CHECK(err == 0 || err == ERR_BAD_JSON);
	if (err != 0)
		return;
	err = userdoc_roles(&doc.field[USERDOC_ROLES], a, &roles, &n);
	FUZZ_CHECK(err == 0 || err == ERR_BAD_REQUEST);
	err = userdoc_string(&doc.field[USERDOC_NAME], a, &name);
	FUZZ_CHECK(err == 0 || err == ERR_BAD_REQUEST);
	err = userdoc_secret(&doc, a, 1000, &s);
	FUZZ_CHECK(err == 0 || err == ERR_MISSING);
	FUZZ_CHECK(err != 0 || s.iterations <= 1000);
	if (err == 0 && s.salt_len <= SECRET_SALT_MAX && memchr(s.salt, '\0', s.salt_len) == NULL)
		check_same(&s);
	for (int i = 0; i < USERDOC_FIELDS; i++)
		(void)userdoc_true(&doc.field[i]);
}

static void
check_security(struct jstr text)
{
	const struct jstr name = {"a\"b", 3};
	struct buf in, out, again;
	int changed, err;

	buf_init(&in, MAX);
	buf_init(&out, MAX);
	buf_init(&again, MAX);
	err = peruser_security(text, name, 1, &in, &changed);
	FUZZ_CHECK(err == 0 || err == ERR_BAD_JSON);
	if (err == 0) {
		FUZZ_CHECK(
		    peruser_security((struct jstr){in.data, in.len}, name, 1, &again, &changed) == 0 && !changed);
		FUZZ_CHECK(peruser_security((struct jstr){in.data, in.len}, name, 0, &out, &changed) == 0 && changed);
		buf_clear(&again);
		FUZZ_CHECK(
		    peruser_security((struct jstr){out.data, out.len}, name, 0, &again, &changed) == 0 && !changed);
	}
	buf_release(&in);
	buf_release(&out);
	buf_release(&again);
}

/* As it is stored, or nothing. */
static int
canonical(const char *text, size_t len, struct buf *out)
{
	struct jread j;
	int err = ERR_BAD_JSON;

	jread_init(&j, text, len);
	if (jread_peek(&j) == JREAD_OBJECT)
		err = jread_text(&j, out, NULL);
	return err ? err : jread_end(&j);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct arena *a;
	struct buf json;
	char *text;

	if (len < 2 || data[1] != '\n' || len > 65536)
		return 0;
	log_set_level(LOG_ERROR + 1);
	FUZZ_CHECK((text = malloc(len - 1)) != NULL && arena_new(MAX, &a) == 0);
	memcpy(text, data + 2, len - 2);
	text[len - 2] = '\0';
	buf_init(&json, MAX);
	if (data[0] == 'p')
		check_rules(text);
	else if (data[0] == 'h')
		check_hash(text);
	else if (canonical(text, len - 2, &json) == 0 && data[0] == 'd')
		check_document((struct jstr){json.data, json.len}, a);
	else if (json.len > 0 && data[0] == 's')
		check_security((struct jstr){json.data, json.len});
	buf_release(&json);
	arena_free(a);
	free(text);
	return 0;
}
