/* The configuration file: what it may say, what is refused and where; values that change; stored passwords. */
#include <stdlib.h>
#include <unistd.h>

#include "check.h"
#include "httpapi/config.h"
#include "httpapi/config_known.h"
#include "httpapi/secret.h"

static char path[] = "/tmp/divan-config-XXXXXX";

static void
write_config(const char *text)
{
	FILE *f = fopen(path, "w");

	if (f == NULL || fputs(text, f) < 0 || fclose(f) != 0)
		abort();
}

static struct config *
fresh(void)
{
	struct config *c;

	if (config_new(&c) != 0)
		abort();
	return c;
}

struct seen {
	char text[256];
};

static int
note(const char *section, const char *key, const char *value, void *cookie)
{
	struct seen *s = cookie;
	size_t n = strlen(s->text);

	snprintf(s->text + n, sizeof(s->text) - n, "%s/%s=%s;", section, key, value);
	return 0;
}

static int
note_key(const char *key, const char *value, void *cookie)
{
	return note("", key, value, cookie);
}

static int
stop_at_second(const char *key, const char *value, void *cookie)
{
	int *n = cookie;

	(void)key, (void)value;
	return ++*n == 2 ? 42 : 0;
}

static void
test_load(void)
{
	struct config *c = fresh();
	struct errtext why = {""};
	struct seen all = {""}, cors = {""};
	int n = 0;

	write_config("# a comment\n"
		     "chttpd:\n  port: 5985\n  bind_address: '::1'\n  enable_cors: true\n"
		     "cors:\n  origins: [http://localhost:1, \"http://b\"]\n  credentials: on\n  max_age: 12x\n"
		     "empty:\nssl: {cert_file: /c.pem, key_file: ~}\n");
	CHECK_INT(config_load(c, path, &why), 0);
	CHECK_STR(why.text, "");
	CHECK_INT(config_u64(c, "chttpd", "port", 1), 5985);
	CHECK_STR(config_get(c, "chttpd", "bind_address", ""), "::1");
	CHECK_INT(config_bool(c, "chttpd", "enable_cors", 0), 1);
	CHECK_INT(config_bool(c, "cors", "credentials", 0), 1);
	CHECK_STR(config_get(c, "cors", "origins", ""), "http://localhost:1,http://b");
	CHECK_INT(config_u64(c, "cors", "max_age", 600), 600);
	CHECK_STR(config_get(c, "ssl", "key_file", "x"), "");
	CHECK_STR(config_get(c, "ssl", "nothing", "dflt"), "dflt");
	CHECK(config_get(c, "chttp", "dport", NULL) == NULL);
	CHECK_INT(config_each(c, "cors", note_key, &cors), 0);
	CHECK_STR(cors.text, "/origins=http://localhost:1,http://b;/credentials=on;/max_age=12x;");
	CHECK_INT(config_each(c, "cors", stop_at_second, &n), 42);
	CHECK_INT(n, 2);
	CHECK_INT(config_all(c, note, &all), 0);
	CHECK(strncmp(all.text, "chttpd/port=5985;chttpd/bind_address=::1;", 41) == 0);
	config_free(c);
}

static void
test_set(void)
{
	struct config *c = fresh();
	const char *old;

	CHECK_INT(config_set(c, "a", "k", "1"), 0);
	old = config_get(c, "a", "k", NULL);
	CHECK_INT(config_set(c, "a", "k", "2"), 0);
	CHECK_STR(old, "1");
	CHECK_STR(config_get(c, "a", "k", NULL), "2");
	CHECK_INT(config_set(c, "a", "k", NULL), 0);
	CHECK(config_get(c, "a", "k", NULL) == NULL);
	CHECK_STR(old, "1");
	CHECK_INT(config_set(c, "a", "never", NULL), 0);
	CHECK_INT(config_set(c, "a", "k", "3"), 0);
	CHECK_INT(config_u64(c, "a", "k", 0), 3);
	CHECK_INT(config_set(c, "a", "k", "18446744073709551616"), 0);
	CHECK_INT(config_u64(c, "a", "k", 7), 7);
	CHECK_INT(config_set(c, "a", "k", "-1"), 0);
	CHECK_INT(config_u64(c, "a", "k", 7), 7);
	CHECK_INT(config_bool(c, "a", "k", 1), 1);
	config_free(c);
}

/* Each is refused, at the line that is named. */
static void
test_refused(void)
{
	static const struct {
		const char *text;
		const char *line;
	} bad[] = {{"- a\n", ":1:"}, {"a: 1\n", ":1:"}, {"a:\n  - b\n", ":2:"}, {"a:\n  k: {x: 1}\n", ":2:"},
	    {"a:\n  k: [[1]]\n", ":2:"}, {"a:\n  k: \"unfinished\n", ":"}, {"a:\n  ? [x]\n  : 1\n", ":2:"},
	    {"a: [\n", ":"}, {"a:\n\tk: 1\n", ":2:"}, {"plain text\n", ":1:"}};
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct config *c = fresh();
		struct errtext why = {""};

		write_config(bad[i].text);
		if (!CHECK_INT(config_load(c, path, &why), ERR_BAD_REQUEST) ||
		    !CHECK(strncmp(why.text, path, strlen(path)) == 0) ||
		    !CHECK(strncmp(why.text + strlen(path), bad[i].line, strlen(bad[i].line)) == 0))
			fprintf(stderr, "case %zu: %s\n", i, why.text);
		config_free(c);
	}
}

static void
test_moved(void)
{
	/* What has moved in CouchDB is known where it was, but only what is read there. */
	CHECK(config_known_find("httpd", "enable_cors") == config_known_find("chttpd", "enable_cors"));
	CHECK(config_known_find("couch_httpd_auth", "timeout") == config_known_find("chttpd_auth", "timeout"));
	CHECK(config_known_find("chttpd", "port") != NULL && config_known_find("httpd", "port") == NULL);
	CHECK(config_known_find("couch_httpd_auth", "max_iterations") == NULL);
	CHECK(config_known_is_secret("couch_httpd_auth", "secret"));
}

static void
test_files(void)
{
	struct config *c = fresh();
	struct errtext why = {""};

	write_config("");
	CHECK_INT(config_load(c, path, &why), 0);
	write_config("---\n...\n");
	CHECK_INT(config_load(c, path, &why), 0);
	CHECK_INT(config_load(c, "/nonexistent/divan.yaml", &why), ERR_IO);
	CHECK(strstr(why.text, "No such file") != NULL);
	config_free(c);
}

static int
check_secret(const char *stored, const char *password)
{
	int ok = 0;

	CHECK_INT(secret_check(stored, password, strlen(password), &ok), 0);
	return ok;
}

static void
test_secrets(void)
{
	static const char other_key[] = "-pbkdf2-ea6c014dc72d6d1d3b5b9a0a1f0f2a1e6b0f2a1e,salt,4096";
	char a[SECRET_LEN], b[SECRET_LEN];

	CHECK_INT(secret_hash("correct", 7, 10, a), 0);
	CHECK_INT(secret_hash("correct", 7, 10, b), 0);
	CHECK(strcmp(a, b) != 0);
	CHECK(strncmp(a, "-pbkdf2:sha256-", 15) == 0);
	CHECK_INT(strlen(a), 15 + 64 + 1 + 32 + 1 + 2);
	CHECK(check_secret(a, "correct"));
	CHECK(!check_secret(a, "Correct"));
	CHECK(!check_secret(a, ""));
	CHECK(!check_secret(a, "correc"));
	/* RFC 6070 and its like for SHA-256. */
	CHECK(check_secret("-pbkdf2-4b007901b765489abead49d926f721d065a429c1,salt,4096", "password"));
	CHECK(check_secret("-pbkdf2:sha-4b007901b765489abead49d926f721d065a429c1,salt,4096", "password"));
	CHECK(check_secret(
	    "-pbkdf2:sha256-c5e478d59288c841aa530db6845c4c8d962893a001ce4e11a4963873aa98134a,salt,4096", "password"));
	CHECK(!check_secret(other_key, "password"));
	CHECK(check_secret("-hashed-c88e9c67041a74e0357befdff93f87dde0904214,salt", "password"));
	CHECK(!check_secret("-hashed-c88e9c67041a74e0357befdff93f87dde0904214,salT", "password"));
	CHECK(check_secret("plain", "plain"));
	CHECK(!check_secret("plain", "plaim"));
	CHECK(!secret_is_hashed("plain"));
	CHECK(secret_is_hashed(a));
}

/* A damaged form lets nobody in, not even with itself. */
static void
test_damaged_secrets(void)
{
	static const char *const bad[] = {"-pbkdf2-", "-pbkdf2-,salt,10", "-pbkdf2-zz,salt,10", "-pbkdf2-abc,salt,10",
	    "-pbkdf2-4b007901b765489abead49d926f721d065a429c1,salt",
	    "-pbkdf2-4b007901b765489abead49d926f721d065a429c1,salt,0",
	    "-pbkdf2-4b007901b765489abead49d926f721d065a429c1,salt,4096x", "-pbkdf2:-ab,salt,1",
	    "-pbkdf2:md7-ab,salt,1", "-pbkdf2:averyveryverylongname-ab,salt,1", "-hashed-", "-hashed-ab,salt",
	    "-pbkdf2-4b007901b765489abead49d926f721d065a429c1,salt,99999999999"};
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (!CHECK(!check_secret(bad[i], "password")) || !CHECK(!check_secret(bad[i], bad[i])))
			fprintf(stderr, "case %zu: %s\n", i, bad[i]);
}

int
main(void)
{
	int fd = mkstemp(path);

	if (fd < 0)
		return 1;
	close(fd);
	test_load();
	test_set();
	test_refused();
	test_moved();
	test_files();
	test_secrets();
	test_damaged_secrets();
	unlink(path);
	return check_done();
}
