/* test_httpapi_accounts.c: forms of passwords, requirements on them, the members of users' documents, security objects of couch_peruser. */
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "httpapi/passrules.h"
#include "httpapi/peruser.h"
#include "httpapi/secret.h"
#include "httpapi/userdoc.h"
#include "check.h"

static struct arena *arena;

static struct jstr
text(const char *s)
{
	return (struct jstr){s, strlen(s)};
}

/* ---- Hashes: "pässword", "a,salt,with,commas", 1000 rounds, by another implementation (Python's hashlib). ---- */

static const char *const forms[] = {"-pbkdf2-2595e825fea476fa5a2d3d37e6d73b77a68e944c,a,salt,with,commas,1000",
    "-pbkdf2:sha-2595e825fea476fa5a2d3d37e6d73b77a68e944c,a,salt,with,commas,1000",
    "-pbkdf2:sha224-f57921153df20877cf0efc0f3652a9c37b18afcf9a1097735aa9133a,a,salt,with,commas,1000",
    "-pbkdf2:sha256-31b809ed46c13147830543bbc4e6f80250405e7e8b57f972df3cfcca9ad0b776,a,salt,with,commas,1000",
    "-pbkdf2:sha384-6cd68683e53bef600587a7fc787469f34d0333e7e90930e2f486aca7de2a2310d2211a712cbb6a2c2fcc2ba959aa10b2,a,"
    "salt,with,commas,1000",
    "-pbkdf2:sha512-"
    "bab9fe86584ae504afb3197e92f18ea52326e583a36920a43a74010ee7c030dfd8734a195b0badca2ed6e3d514d54b461b14432e26bfe1d7cc"
    "53214a03e6fea7,a,salt,with,commas,1000",
    "-hashed-1c66199790b542155a95bdb466c6353e7b4b18e9,a,salt,with,commas"};

static int
is_password(const char *stored, const char *password)
{
	int ok = 0;

	CHECK_INT(secret_check(stored, password, strlen(password), &ok), 0);
	return ok;
}

static void
test_forms(void)
{
	static const char password[] = "p\xc3\xa4ssword";

	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		struct secret s;
		char again[SECRET_LEN];

		CHECK(is_password(forms[i], password));
		CHECK(!is_password(forms[i], "password"));
		CHECK(!is_password(forms[i], ""));
		if (!CHECK(secret_parse(forms[i], &s)))
			continue;
		CHECK_MEM(s.salt, s.salt_len, "a,salt,with,commas", 18);
		CHECK(secret_put(&s, again, sizeof(again)));
		CHECK_STR(again, i == 0 ? forms[1] : forms[i]);
		CHECK(!secret_put(&s, again, strlen(forms[i]) - 5));
	}
}

/* A short key could be guessed, a long one costs several derivations, and a number of rounds is bounded. */
static void
test_bounds(void)
{
	static const char *const bad[] = {"-pbkdf2-00,salt,1", "-pbkdf2:sha256-00,salt,1",
	    "-pbkdf2:sha256-4b007901b765489abead49d926f721d065a429c1,salt,1",
	    "-pbkdf2-4b007901b765489abead49d926f721d065a429c1,salt,100000001",
	    "-pbkdf2-4b007901b765489abead49d926f721d065a429c1,salt,-1",
	    "-pbkdf2-4b007901b765489abead49d926f721d065a429c1,salt,+1",
	    "-pbkdf2-4b007901b765489abead49d926f721d065a429c1,salt, 1", "-pbkdf2:md5-00,salt,1", "-pbkdf2:-00,salt,1"};
	char long_salt[SECRET_SALT_MAX + 128];
	struct secret s;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (!CHECK(!secret_parse(bad[i], &s)))
			fprintf(stderr, "case %zu: %s\n", i, bad[i]);
	snprintf(long_salt, sizeof(long_salt), "-hashed-c88e9c67041a74e0357befdff93f87dde0904214,%0*d",
	    (int)SECRET_SALT_MAX + 1, 0);
	CHECK(!secret_parse(long_salt, &s));
	CHECK_INT(secret_key_len("sha3_256"), 0);
}

/* ---- Requirements ---- */

static void
expect_rule(const char *setting, const char *password, int err, const char *why)
{
	struct errtext got = {""};

	CHECK_INT(passrules_check(setting, text(password), &got), err);
	if (!CHECK(strcmp(got.text, why) == 0))
		fprintf(stderr, "%s against %s: %s\n", password, setting, got.text);
}

static void
test_passrules(void)
{
	static const char unmet[] = "Password does not conform to requirements.";
	static const char cannot[] = "Server cannot hash passwords at this time.";
	static const char all[] = "[{\".{10,}\"}, {\"[A-Z]+\", \"Requirement 2.\"}, {\"[a-z]+\", \"\"}, {\"\\\\d+\", "
				  "\"Req 4.\"}, \"[!.,()]+\"]";
	static const char *const broken[] = {"{{\".{10,}\"}}", "[{\".{10,}\"]", "[", "[\"a\"", "[\"a]", "a", "[\"a\",]",
	    "[\"a\"] x", "[{\"a\" \"b\" c}]", "[\"\\", "[[\"a\"]]"};

	expect_rule("", "x", 0, "");
	expect_rule("[]", "x", 0, "");
	expect_rule(all, "funnybone", ERR_BAD_REQUEST, unmet);
	expect_rule(all, "funnnnnybone", ERR_BAD_REQUEST, "Password does not conform to requirements. Requirement 2.");
	expect_rule(all, "FUNNNNNYBONE", ERR_BAD_REQUEST, unmet);
	expect_rule(all, "funnnnnyBONE", ERR_BAD_REQUEST, "Password does not conform to requirements. Req 4.");
	expect_rule(all, "funnnnnyB0N3", ERR_BAD_REQUEST, unmet);
	expect_rule(all, "funnnnnyB0N3!", 0, "");
	for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++)
		expect_rule(broken[i], "querty", ERR_FORBIDDEN, cannot);
	/* What is wrong in itself counts when it is reached. */
	expect_rule("[\"long\", 5]", "short", ERR_BAD_REQUEST, unmet);
	expect_rule("[\"long\", 5]", "long", ERR_FORBIDDEN, cannot);
	expect_rule("[{}]", "long", ERR_FORBIDDEN, cannot);
	expect_rule("[{\"a\", \"b\", \"c\"}]", "a", ERR_FORBIDDEN, cannot);
	expect_rule("[\"(\"]", "a", ERR_FORBIDDEN, cannot);
	/* Erlang's strings: escapes, and neighbours that are one. */
	expect_rule("[\"^\\x61\\142\\x{63}$\"]", "abc", 0, "");
	expect_rule("[ \"^a\" \"b$\" ]", "ab", 0, "");
	expect_rule("[\"^\\\"$\"]", "\"", 0, "");
	expect_rule("[\"^\xc3\xa4$\"]", "\xc3\xa4", 0, "");
	expect_rule("[{\"x\", \"\\344\\^a\"}]", "y", ERR_BAD_REQUEST,
	    "Password does not conform to requirements. \xc3\xa4\x01");
	expect_rule("[{\"x\", \"\xff\"}]", "y", ERR_BAD_REQUEST, unmet);
	/* A hostile one ends. */
	expect_rule("[\"^(a+)+$\"]", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", ERR_BAD_REQUEST, unmet);
}

/* ---- Documents ---- */

static void
test_truth(void)
{
	static const char *const no[] = {"", "false", "null", "\"\"", "0", "-0", "0.0", "0.0e7"};
	static const char *const yes[] = {"true", "\"x\"", "[]", "{}", "1", "-1", "0.5", "1.0e-9", "\"0\""};

	for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++) {
		struct jstr s = text(no[i]);

		CHECK(!userdoc_true(&s));
	}
	for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
		struct jstr s = text(yes[i]);

		CHECK(userdoc_true(&s));
	}
}

static int
secret_of(const char *body, struct secret *s)
{
	struct userdoc doc;

	CHECK_INT(userdoc_parse(text(body), &doc), 0);
	return userdoc_secret(&doc, arena, 1000, s);
}

#define KEY "4b007901b765489abead49d926f721d065a429c1"

static void
test_secret_of(void)
{
	static const char *const none[] = {"{}", "{\"password\":\"x\"}", "{\"password_scheme\":\"pbkdf2\"}",
	    "{\"password_scheme\":\"pbkdf2\",\"derived_key\":\"" KEY "\",\"salt\":\"s\",\"iterations\":1001}",
	    "{\"password_scheme\":\"pbkdf2\",\"derived_key\":\"" KEY "\",\"salt\":\"s\",\"iterations\":0}",
	    "{\"password_scheme\":\"pbkdf2\",\"derived_key\":\"" KEY "\",\"salt\":\"s\",\"iterations\":-5}",
	    "{\"password_scheme\":\"pbkdf2\",\"derived_key\":\"" KEY "\",\"salt\":\"s\",\"iterations\":\"9\"}",
	    "{\"password_scheme\":\"pbkdf2\",\"derived_key\":\"" KEY "\",\"salt\":5,\"iterations\":9}",
	    "{\"password_scheme\":\"pbkdf2\",\"derived_key\":\"00\",\"salt\":\"s\",\"iterations\":9}",
	    "{\"password_scheme\":\"pbkdf2\",\"pbkdf2_prf\":\"sha256\",\"derived_key\":\"" KEY
	    "\",\"salt\":\"s\",\"iterations\":9}",
	    "{\"password_scheme\":\"bcrypt\",\"derived_key\":\"" KEY "\"}", "{\"password_sha\":\"\"}"};
	struct secret s;

	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
		if (!CHECK_INT(secret_of(none[i], &s), ERR_MISSING))
			fprintf(stderr, "case %zu: %s\n", i, none[i]);
	CHECK_INT(secret_of("{\"password_scheme\":\"pbkdf2\",\"derived_key\":\"" KEY
			    "\",\"salt\":\"\\u0073\",\"iterations\":9}",
		      &s),
	    0);
	CHECK_STR(s.prf, "sha");
	CHECK_INT(s.iterations, 9);
	CHECK_MEM(s.salt, s.salt_len, "s", 1);
	CHECK_INT(secret_of("{\"password_sha\":\"" KEY "\",\"salt\":\"s\"}", &s), 0);
	CHECK_STR(s.prf, "");
}

static void
test_roles(void)
{
	struct jstr list = text("[\"a\",\"b\\n\",\"\"]"), bad = text("[\"a\",5]"), *roles;
	size_t n;

	CHECK_INT(userdoc_roles(&list, arena, &roles, &n), 0);
	CHECK_INT(n, 3);
	CHECK_MEM(roles[1].s, roles[1].len, "b\n", 2);
	CHECK_INT(userdoc_roles(&bad, arena, &roles, &n), ERR_BAD_REQUEST);
	bad = text("\"a\"");
	CHECK_INT(userdoc_roles(&bad, arena, &roles, &n), ERR_BAD_REQUEST);
}

/* ---- couch_peruser ---- */

static void
expect_security(const char *from, int add, const char *to)
{
	struct buf b;
	int changed;

	buf_init(&b, 4096);
	CHECK_INT(peruser_security(text(from), text("bo\"b"), add, &b, &changed), 0);
	CHECK_MEM(b.data, b.len, to, strlen(to));
	CHECK_INT(changed, strcmp(from, to) != 0);
	buf_release(&b);
}

static void
test_peruser(void)
{
	struct buf b;

	buf_init(&b, 4096);
	CHECK_INT(peruser_database("userdb-", "foo\x01", 4, &b), 0);
	CHECK_STR(b.data, "userdb-666f6f01");
	buf_release(&b);
	expect_security("{\"admins\":{\"roles\":[\"_admin\"]},\"members\":{\"roles\":[\"_admin\"]}}", 1,
	    "{\"admins\":{\"roles\":[\"_admin\"],\"names\":[\"bo\\\"b\"]},\"members\":{\"roles\":[\"_admin\"],"
	    "\"names\":[\"bo\\\"b\"]}}");
	expect_security("{}", 1, "{\"admins\":{\"names\":[\"bo\\\"b\"]},\"members\":{\"names\":[\"bo\\\"b\"]}}");
	expect_security("{\"admins\":{\"names\":[\"x\"]},\"members\":{\"names\":[\"bo\\\"b\"]},\"more\":[1]}", 1,
	    "{\"admins\":{\"names\":[\"bo\\\"b\",\"x\"]},\"members\":{\"names\":[\"bo\\\"b\"]},\"more\":[1]}");
	expect_security("{\"admins\":{\"names\":[\"bo\\\"b\",\"x\"]},\"members\":{\"names\":[\"bo\\\"b\"]}}", 1,
	    "{\"admins\":{\"names\":[\"bo\\\"b\",\"x\"]},\"members\":{\"names\":[\"bo\\\"b\"]}}");
	expect_security("{\"admins\":5,\"members\":{\"names\":{}}}", 1,
	    "{\"admins\":{\"names\":[\"bo\\\"b\"]},\"members\":{\"names\":[\"bo\\\"b\"]}}");
	/* Who goes leaves it to those who are left, or to the administrators, never to everybody. */
	expect_security(
	    "{\"admins\":{\"names\":[\"x\",\"bo\\\"b\"]},\"members\":{\"names\":[\"bo\\\"b\"],\"roles\":[]}}", 0,
	    "{\"admins\":{\"names\":[\"x\"]},\"members\":{\"roles\":[\"_admin\"],\"names\":[]}}");
	expect_security("{\"admins\":{\"names\":[\"x\"]},\"members\":{\"names\":[]}}", 0,
	    "{\"admins\":{\"names\":[\"x\"]},\"members\":{\"names\":[]}}");
}

int
main(void)
{
	if (arena_new(1u << 20, &arena) != 0)
		return 1;
	test_forms();
	test_bounds();
	test_passrules();
	test_truth();
	test_secret_of();
	test_roles();
	test_peruser();
	arena_free(arena);
	return check_done();
}
