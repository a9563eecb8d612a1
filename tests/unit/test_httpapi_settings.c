/* Settings in layers: who wins, what is kept, read again and told; the table of known settings; administrators. */
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "base/log.h"
#include "httpapi/config_impl.h"
#include "httpapi/config_known.h"
#include "httpapi/secret.h"
#include "httpapi/setup.h"
#include "nocrypto.h"

static char folder[] = "/tmp/divan-settings-XXXXXX";
static char file[64], told[512];

static void
write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	if (f == NULL || fputs(text, f) < 0 || fclose(f) != 0)
		abort();
}

static char *
read_file(const char *name)
{
	static char text[4096];
	char path[128];
	size_t n;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	f = fopen(path, "r");
	n = f != NULL ? fread(text, 1, sizeof(text) - 1, f) : 0;
	text[n] = '\0';
	if (f != NULL)
		fclose(f);
	return text;
}

static void
forget(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	(void)unlink(path);
}

static void
note(const char *section, const char *key, void *cookie)
{
	const struct config *c = cookie;
	size_t n = strlen(told);

	snprintf(told + n, sizeof(told) - n, "%s/%s=%s;", section, key, config_get(c, section, key, "(none)"));
}

/* A server's settings at its start, from the file, what was kept, and n options. */
static struct config *
start(const char *const *sets, size_t n)
{
	struct errtext why = {""};
	struct config *c;

	CHECK_INT(config_new(&c), 0);
	CHECK_INT(setup_config(c, file, sets, n), 0);
	CHECK_INT(config_place(c, file, folder), 0);
	CHECK_INT(config_kept_load(c, &why), 0);
	CHECK_INT(config_on_change(c, note, c), 0);
	told[0] = '\0';
	return c;
}

static const char *
get(const struct config *c, const char *section, const char *key)
{
	return config_get(c, section, key, "(none)");
}

static void
test_layers(void)
{
	static const char *const sets[] = {"cors/max_age=5"};
	struct config *c;

	write_file(file, "cors:\n  max_age: 1\n  origins: [a, b]\nlog:\n  level: debug\n");
	setenv("DIVAN_CORS__MAX_AGE", "3", 1);
	setenv("DIVAN_SMOOSH_RATIO_DBS__MIN_SIZE", "77", 1);
	c = start(NULL, 0);
	CHECK_STR(get(c, "cors", "max_age"), "3");
	CHECK_STR(get(c, "smoosh.ratio_dbs", "min_size"), "77");
	CHECK_STR(get(c, "cors", "origins"), "a,b");
	/* What was read stands there no more. */
	CHECK_STR(getenv("DIVAN_CORS__MAX_AGE"), "");
	config_free(c);
	unsetenv("DIVAN_CORS__MAX_AGE");
	unsetenv("DIVAN_SMOOSH_RATIO_DBS__MIN_SIZE");
	setenv("DIVAN_CORS__MAX_AGE", "3", 1);
	c = start(sets, 1);
	CHECK_STR(get(c, "cors", "max_age"), "5");
	unsetenv("DIVAN_CORS__MAX_AGE");
	/* A change wins while the server runs, the command line again at the next start. */
	CHECK_INT(config_change(c, "cors", "max_age", "9", 1), 0);
	CHECK_STR(get(c, "cors", "max_age"), "9");
	CHECK_STR(told, "cors/max_age=9;");
	config_free(c);
	c = start(sets, 1);
	CHECK_STR(get(c, "cors", "max_age"), "5");
	config_free(c);
	c = start(NULL, 0);
	CHECK_STR(get(c, "cors", "max_age"), "9");
	CHECK_INT(config_change(c, "cors", "max_age", NULL, 1), 0);
	CHECK_STR(get(c, "cors", "max_age"), "1");
	config_free(c);
	forget("local.yaml");
}

static void
test_changes_are_kept(void)
{
	struct config *c;
	char kept[128];
	static const char odd[] = "a\"b\\c: #\n\t\x7f é 😀 ~";

	write_file(file, "cors:\n  max_age: 1\n");
	c = start(NULL, 0);
	CHECK_INT(config_change(c, "s", "k", "1", 1), 0);
	CHECK_INT(config_change(c, "s", "k", "1", 1), 0); /* is none */
	CHECK_STR(told, "s/k=1;");
	CHECK_INT(config_change(c, odd, odd, odd, 1), 0);
	CHECK_INT(config_change(c, "s", "gone", "1", 1), 0);
	CHECK_INT(config_change(c, "s", "gone", NULL, 1), 0);
	CHECK_INT(config_change(c, "s", "fleeting", "1", 0), 0);
	CHECK_STR(get(c, "s", "fleeting"), "1");
	/* What the file says is deleted to nothing, and that is kept. */
	CHECK_INT(config_change(c, "cors", "max_age", NULL, 1), 0);
	CHECK_STR(get(c, "cors", "max_age"), "(none)");
	config_free(c);
	c = start(NULL, 0);
	CHECK_STR(get(c, "s", "k"), "1");
	CHECK_STR(get(c, odd, odd), odd);
	CHECK_STR(get(c, "s", "gone"), "(none)");
	CHECK_STR(get(c, "s", "fleeting"), "(none)");
	CHECK_STR(get(c, "cors", "max_age"), "(none)");
	config_free(c);
	/* What another version kept and does not fit is left out, and the server starts. */
	snprintf(kept, sizeof(kept), "%s/local.yaml", folder);
	write_file(kept, "chttpd:\n  port: often\n  threads: 2\n");
	c = start(NULL, 0);
	CHECK_STR(get(c, "chttpd", "port"), "5984");
	CHECK_STR(get(c, "chttpd", "threads"), "2");
	config_free(c);
	forget("local.yaml");
}

static void
test_reload(void)
{
	struct errtext why = {""};
	struct config *c;

	write_file(file, "cors:\n  max_age: 1\n  origins: a\n");
	c = start(NULL, 0);
	CHECK_INT(config_change(c, "s", "kept", "1", 1), 0);
	CHECK_INT(config_change(c, "s", "fleeting", "1", 0), 0);
	CHECK_INT(config_change(c, "cors", "origins", "mine", 1), 0);
	told[0] = '\0';
	write_file(file, "cors:\n  max_age: 2\n  origins: b\n  headers: h\n");
	CHECK_INT(setup_reload(c, &why), 0);
	CHECK_STR(told, "cors/max_age=2;s/fleeting=(none);cors/headers=h;");
	CHECK_STR(get(c, "cors", "origins"), "mine");
	CHECK_STR(get(c, "s", "kept"), "1");
	/* What is wrong changes nothing. */
	told[0] = '\0';
	write_file(file, "cors:\n  headers: x\n  max_age: often\n");
	CHECK_INT(setup_reload(c, &why), ERR_BAD_REQUEST);
	CHECK(strstr(why.text, ":3: cors/max_age must be a number") != NULL);
	CHECK_STR(told, "");
	CHECK_STR(get(c, "cors", "headers"), "h");
	config_free(c);
	forget("local.yaml");
}

static void
test_admins(void)
{
	struct config *c;
	char first[SECRET_LEN];
	int ok, err;

	write_file(file, "chttpd_auth:\n  iterations: 10\nadmins:\n  file: secretpw\n");
	setenv("DIVAN_ADMIN", "env:first", 1);
	c = start(NULL, 0);
	CHECK_INT(setup_admins(c, folder), 0);
	CHECK(getenv("DIVAN_ADMIN") == NULL);
	CHECK(secret_is_hashed(get(c, "admins", "file")) && secret_is_hashed(get(c, "admins", "env")));
	snprintf(first, sizeof(first), "%s", get(c, "admins", "file"));
	CHECK(strstr(read_file("admins.yaml"), "secretpw") == NULL);
	/* Changed over HTTP: that holds for as long as the environment says what it said. */
	CHECK_INT(config_change(c, "admins", "env", "-pbkdf2-changed,salt,10", 1), 0);
	config_free(c);
	/* Where it cannot be told whether that is so, nothing is forgotten. */
	for (unsigned nth = 1, left = 0; left == 0; nth++) {
		setenv("DIVAN_ADMIN", "env:first", 1);
		c = start(NULL, 0);
		nocrypto_nth = nth;
		err = setup_admins(c, folder);
		left = nocrypto_nth;
		nocrypto_nth = 0;
		CHECK(err == 0 || (left == 0 && err == ERR_INTERNAL));
		CHECK(strstr(read_file("local.yaml"), "-changed") != NULL);
		config_free(c);
	}
	setenv("DIVAN_ADMIN", "env:first", 1);
	c = start(NULL, 0);
	CHECK_INT(setup_admins(c, folder), 0);
	CHECK_STR(get(c, "admins", "env"), "-pbkdf2-changed,salt,10");
	CHECK_STR(get(c, "admins", "file"), first);
	config_free(c);
	setenv("DIVAN_ADMIN", "env:second", 1);
	c = start(NULL, 0);
	CHECK_INT(setup_admins(c, folder), 0);
	CHECK_INT(secret_check(get(c, "admins", "env"), "second", 6, &ok), 0);
	CHECK(ok);
	CHECK(strstr(read_file("local.yaml"), "-changed") == NULL);
	/* Who is deleted is gone, wherever he was named. */
	CHECK_INT(config_change(c, "admins", "file", "-pbkdf2-changed,salt,10", 1), 0);
	CHECK_INT(config_change(c, "admins", "file", NULL, 1), 0);
	CHECK_STR(get(c, "admins", "file"), "(none)");
	config_free(c);
	setenv("DIVAN_ADMIN", "env:second", 1);
	c = start(NULL, 0);
	CHECK_INT(setup_admins(c, folder), 0);
	CHECK_STR(get(c, "admins", "file"), "(none)");
	config_free(c);
	forget("local.yaml");
	forget("admins.yaml");
}

static void
test_known(void)
{
	static const char *const good[][3] = {{"chttpd", "port", "0"}, {"chttpd", "port", ""},
	    {"chttpd", "port", "65535"}, {"cors", "credentials", "Yes"}, {"log", "level", "WARN"},
	    {"couchdb", "max_attachment_size", "infinity"}, {"couchdb", "max_document_size", "8000000"}, {"smoosh.ratio_dbs", "min_priority", "1.5"},
	    {"any", "thing", "x"}};
	static const char *const bad[][4] = {{"chttpd", "port", "65536", "must be a number from 0 to 65535"},
	    {"chttpd", "port", "-1", "must be a number from 0 to 65535"},
	    {"chttpd", "port", "1x", "must be a number from 0 to 65535"},
	    {"chttpd", "port", " 1", "must be a number from 0 to 65535"},
	    {"chttpd", "port", "99999999999999999999", "must be a number from 0 to 65535"},
	    {"couchdb", "max_document_size", "8000001", "must be a number from 1 to 8000000"},
	    {"couchdb", "max_attachment_size", "x", "must be a number, or infinity"},
	    {"chttpd_auth", "timeout", "0", "must be a number above 0"},
	    {"gate", "request_memory", "16777215", "must be a number, 16777216 at least"},
	    {"cors", "credentials", "maybe", "must be true or false"},
	    {"smoosh.ratio_dbs", "min_priority", "0.5", "must be a number from 1 to 1000"},
	    {"chttpd", "compress_responses", "auto|always", "must be one of auto|always|never"}};
	struct errtext why;
	size_t i;

	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		CHECK_INT(config_known_check(good[i][0], good[i][1], good[i][2], &why), 0);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		why.text[0] = '\0';
		CHECK_INT(config_known_check(bad[i][0], bad[i][1], bad[i][2], &why), ERR_BAD_REQUEST);
		CHECK_STR(why.text, bad[i][3]);
	}
	CHECK(config_known_is_secret("admins", "x") && config_known_is_secret("jwt_keys", "hmac:a") &&
	      config_known_is_secret("chttpd_auth", "secret") && config_known_is_secret("ssl", "password"));
	CHECK(!config_known_is_secret("chttpd", "port") && !config_known_is_secret("cors", "origins"));
}

/* Each setting's default is one that may be set. */
static void
test_defaults(void)
{
	const struct config_known *k;
	struct errtext why;
	unsigned i;

	for (i = 0; (k = config_known_at(i)) != NULL; i++) {
		CHECK_INT(config_known_check(k->section, k->key, k->dflt, &why), 0);
		CHECK(config_known_find(k->section, k->key) == k);
		CHECK(strlen(k->about) > 0);
	}
	CHECK(i > 40);
}

int
main(void)
{
	nocrypto_begin();
	if (mkdtemp(folder) == NULL)
		return 1;
	snprintf(file, sizeof(file), "%s/divan.yaml", folder);
	log_set_level(LOG_NONE);
	test_layers();
	test_changes_are_kept();
	test_reload();
	test_admins();
	test_known();
	test_defaults();
	(void)unlink(file);
	(void)rmdir(folder);
	return check_done();
}
