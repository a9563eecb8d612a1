/*
 * jwt.c: tokens taken apart and judged.
 *
 * The order of the checks, and the words of a refusal, are CouchDB's.  Where it is lenient to the point of danger, this is not: the
 * times in a token count whether or not they are required; a time that is no number, a critical header that is not
 * understood (RFC 7515 section 4.1.11) and a name with a zero byte make a token malformed.
 */
#include "jwt_impl.h"
#include "base/buf.h"
#include "base/hash.h"

#include <math.h>
#include <stdlib.h>

#define KEY_SCRATCH (2u * JWT_LEN_MAX)

static const char malformed[] = "Malformed token";

/* ---- Rules ---- */

static int
is_lower(char c)
{
	return c >= 'a' && c <= 'z';
}

static const char *
skip_space(const char *p)
{
	while (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r')
		p++;
	return p;
}

static const char *
take_word(const char *p, struct jstr *word)
{
	word->s = p;
	while (is_lower(*p))
		p++;
	word->len = (size_t)(p - word->s);
	return p;
}

/* `{iss, "me"}` from its brace on; where it ends, or NULL: it is no such thing. */
static const char *
take_pair(const char *p, struct jstr *key, struct jstr *value)
{
	const char *quote;

	p = skip_space(take_word(p + 1, key));
	if (key->len == 0 || *p != ',')
		return NULL;
	p = skip_space(p + 1);
	if (*p != '"')
		return NULL;
	quote = strchr(p + 1, '"');
	if (!quote || quote == p + 1 || quote[1] != '}')
		return NULL;
	*value = (struct jstr){p + 1, (size_t)(quote - p - 1)};
	return quote + 2;
}

static void
require(struct jwt_rules *rules, struct jstr key)
{
	static const struct {
		const char *name;
		unsigned need;
	} all[] = {{"exp", JWT_NEED_EXP}, {"nbf", JWT_NEED_NBF}, {"iat", JWT_NEED_IAT}, {"kid", JWT_NEED_KID},
	    {"typ", JWT_NEED_TYP}, {"iss", JWT_NEED_ISS}, {"sub", 0}, {"alg", 0}};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (jstr_is(&key, all[i].name)) {
			rules->need |= all[i].need;
			return;
		}
	}
	rules->bad = 1;
}

int
jwt_rules_require(struct jwt_rules *rules, const char *text, struct arena *a)
{
	struct jstr key, value;
	const char *p = text, *end;
	int any = 0;

	while (*p) {
		if (*p == '{' && (end = take_pair(p, &key, &value)) != NULL) {
			rules->bad |= !jstr_is(&key, "iss");
			rules->need |= JWT_NEED_ISS;
			rules->iss = (struct jstr){arena_dup(a, value.s, value.len), value.len};
			if (!rules->iss.s)
				return ERR_NOMEM;
			p = end;
			any = 1;
		} else if (is_lower(*p)) {
			p = take_word(p, &key);
			require(rules, key);
			any = 1;
		} else {
			p++;
		}
	}
	rules->bad |= *text && !any;
	return 0;
}

/* One step of "a.b\.c". */
static const char *
take_step(const char *p, char *out, size_t *lenp)
{
	size_t n = 0;

	for (; *p && *p != '.'; p++) {
		if (p[0] == '\\' && p[1] == '.')
			p++;
		out[n++] = *p;
	}
	*lenp = n;
	return p;
}

int
jwt_rules_roles(struct jwt_rules *rules, const char *name, const char *path, struct arena *a)
{
	rules->is_path = path != NULL;
	rules->npath = 1;
	if (!path) {
		rules->path[0] = (struct jstr){arena_dup(a, name, strlen(name)), strlen(name)};
		return rules->path[0].s ? 0 : ERR_NOMEM;
	}
	for (rules->npath = 0;; path++) {
		char *step = arena_alloc(a, strlen(path) + 1);
		struct jstr *to = &rules->path[rules->npath];

		if (!step)
			return ERR_NOMEM;
		path = take_step(path, step, &to->len);
		to->s = step;
		rules->npath++;
		if (!*path)
			return 0;
		if (rules->npath == JWT_PATH_MAX) {
			rules->bad = 1;
			return 0;
		}
	}
}

/* ---- Parts of a token ---- */

static int
is_base64url(struct jstr s)
{
	for (size_t i = 0; i < s.len; i++) {
		char c = s.s[i];

		if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
			c == '_'))
			return 0;
	}
	return 1;
}

static int
decode(struct arena *a, struct jstr part, struct jstr *outp, struct errtext *why)
{
	struct buf b;
	int err;

	buf_init_arena(&b, a, JWT_LEN_MAX);
	err = is_base64url(part) ? base64_get(&b, part.s, part.len) : ERR_BAD_BASE64;
	*outp = (struct jstr){b.len > 0 ? b.data : "", b.len};
	return err == ERR_BAD_BASE64 ? err_why(why, ERR_BAD_REQUEST, malformed) : err;
}

/* A part that must be an object, and nothing else. */
static int
decode_object(struct arena *a, struct jstr part, struct jstr *outp, struct errtext *why)
{
	struct jread j;
	int err = decode(a, part, outp, why);
	enum jread_type type;

	if (err)
		return err;
	jread_init(&j, outp->s, outp->len);
	type = jread_peek(&j);
	err = jread_skip(&j, NULL);
	if (!err)
		err = jread_end(&j);
	if (err)
		return err == ERR_NOMEM ? err : err_why(why, ERR_BAD_REQUEST, malformed);
	return type == JREAD_OBJECT ? 0 : err_why(why, ERR_BAD_REQUEST, "Not an object");
}

static int
split(struct jstr token, struct jstr part[3])
{
	const char *p = token.s, *end = token.s + token.len;

	for (int i = 0; i < 3; i++) {
		const char *dot = memchr(p, '.', (size_t)(end - p));

		if ((dot == NULL) != (i == 2))
			return ERR_BAD_REQUEST;
		part[i] = (struct jstr){p, (size_t)((dot ? dot : end) - p)};
		p = dot ? dot + 1 : end;
	}
	return 0;
}

/* The first member ${key} of a valid object, as text; len 0 if there is none. */
static int
member(struct arena *a, struct jstr object, struct jstr key, struct jstr *valuep)
{
	struct jread j;
	struct buf scratch;
	struct jstr k;
	int err;

	*valuep = (struct jstr){NULL, 0};
	jread_init(&j, object.s, object.len);
	buf_init_arena(&scratch, a, KEY_SCRATCH);
	err = jread_object_begin(&j);
	while (!err) {
		struct jstr value;

		err = jread_object_next(&j, &scratch, &k);
		if (err)
			break;
		err = jread_skip(&j, &value);
		if (!err && k.len == key.len && memcmp(k.s, key.s, k.len) == 0) {
			*valuep = value;
			return 0;
		}
	}
	return err == ERR_END ? 0 : err;
}

static int
named(struct arena *a, struct jstr object, const char *key, struct jstr *valuep)
{
	return member(a, object, (struct jstr){key, strlen(key)}, valuep);
}

/* A string value unescaped, terminated; s is NULL where it is none. */
static int
string(struct arena *a, struct jstr value, struct jstr *outp)
{
	struct jread j;
	struct buf scratch;
	struct jstr s;
	int err;

	*outp = (struct jstr){NULL, 0};
	if (value.len == 0 || value.s[0] != '"')
		return 0;
	jread_init(&j, value.s, value.len);
	buf_init_arena(&scratch, a, KEY_SCRATCH);
	err = jread_string(&j, &scratch, &s);
	if (err)
		return err;
	outp->s = arena_dup(a, s.s, s.len);
	outp->len = s.len;
	return outp->s ? 0 : ERR_NOMEM;
}

static int
named_string(struct arena *a, struct jstr object, const char *key, struct jstr *valuep, struct jstr *outp)
{
	int err = named(a, object, key, valuep);

	return err ? err : string(a, *valuep, outp);
}

/* ---- Checks ---- */

static int
check_header(const struct jwt_rules *rules, struct jstr header, struct arena *a, const struct jwt_alg **algp,
    struct jstr *kidp, struct errtext *why)
{
	struct jstr value, text;
	int err = named_string(a, header, "typ", &value, &text);

	if (!err && (rules->need & JWT_NEED_TYP) && value.len == 0)
		return err_why(why, ERR_BAD_REQUEST, "Missing typ header parameter");
	if (!err && (rules->need & JWT_NEED_TYP) && !(text.s && jstr_is(&text, "JWT")))
		return err_why(why, ERR_BAD_REQUEST, "Invalid typ header parameter");
	if (!err)
		err = named_string(a, header, "alg", &value, &text);
	if (!err && value.len == 0)
		return err_why(why, ERR_BAD_REQUEST, "Missing alg header parameter");
	*algp = err || !text.s ? NULL : jwt_alg_find(text);
	if (!err && !*algp)
		return err_why(why, ERR_BAD_REQUEST, "Invalid alg header parameter");
	if (!err)
		err = named(a, header, "crit", &value);
	if (!err && value.len > 0)
		return err_why(why, ERR_BAD_REQUEST, "Invalid crit header parameter");
	if (!err)
		err = named_string(a, header, "kid", &value, kidp);
	if (!err && value.len > 0 && !kidp->s)
		return err_why(why, ERR_BAD_REQUEST, "Unknown kid");
	return err;
}

/* A number; 0: it is none. */
static int
number(struct jstr value, double *np)
{
	char copy[64];

	if (value.len == 0 || value.len >= sizeof(copy) ||
	    !(value.s[0] == '-' || (value.s[0] >= '0' && value.s[0] <= '9')))
		return 0;
	memcpy(copy, value.s, value.len);
	copy[value.len] = '\0';
	*np = strtod(copy, NULL);
	return isfinite(*np);
}

/* A claim that is a time: *${np} is ${dflt} where it is missing and may be. */
static int
time_claim(
    struct jstr payload, const char *name, int needed, double dflt, struct arena *a, double *np, struct errtext *why)
{
	struct jstr value;
	int err = named(a, payload, name, &value);

	*np = dflt;
	if (err)
		return err;
	if (value.len == 0)
		return needed ? err_why(why, ERR_BAD_REQUEST, "Missing %s claim", name) : 0;
	return number(value, np) ? 0 : err_why(why, ERR_BAD_REQUEST, "Invalid %s claim", name);
}

static int
check_iss(const struct jwt_rules *rules, struct jstr payload, struct arena *a, struct errtext *why)
{
	struct jstr value, text;
	int err = named_string(a, payload, "iss", &value, &text);

	if (err || !(rules->need & JWT_NEED_ISS))
		return err;
	if (value.len == 0)
		return err_why(why, ERR_BAD_REQUEST, "Missing iss claim");
	if (rules->iss.len > 0 &&
	    !(text.s && text.len == rules->iss.len && memcmp(text.s, rules->iss.s, text.len) == 0))
		return err_why(why, ERR_BAD_REQUEST, "Invalid iss claim");
	return 0;
}

static int
check_times(const struct jwt_rules *rules, struct jstr payload, uint64_t now_s, struct arena *a, uint64_t *untilp,
    struct errtext *why)
{
	double now = (double)now_s, iat, nbf, exp;
	int err = time_claim(payload, "iat", !!(rules->need & JWT_NEED_IAT), 0, a, &iat, why);

	if (!err)
		err = time_claim(payload, "nbf", !!(rules->need & JWT_NEED_NBF), -1, a, &nbf, why);
	if (!err && nbf >= now)
		return err_why(why, ERR_UNAUTHORIZED, "nbf not in past");
	if (!err)
		err = time_claim(payload, "exp", !!(rules->need & JWT_NEED_EXP), 1e18, a, &exp, why);
	if (!err && exp <= now)
		return err_why(why, ERR_UNAUTHORIZED, "exp not in future");
	if (!err)
		*untilp = exp >= 1e18 ? UINT64_MAX : (uint64_t)ceil(exp);
	return err;
}

/* ---- Roles ---- */

static int
find_roles(
    const struct jwt_rules *rules, struct jstr payload, struct arena *a, struct jstr *valuep, struct errtext *why)
{
	*valuep = payload;
	for (size_t i = 0; i < rules->npath; i++) {
		int err;

		if (valuep->s[0] != '{')
			return err_why(why, ERR_MISSING, "json_mismatch");
		err = member(a, *valuep, rules->path[i], valuep);
		if (err)
			return err;
		if (valuep->len == 0)
			return rules->is_path ? err_why(why, ERR_MISSING, "missing json key: %.*s",
						    (int)rules->path[i].len, rules->path[i].s)
					      : 0;
	}
	return 0;
}

static int
put_role(const char ***rolesp, size_t *np, struct jstr role, struct arena *a)
{
	if (!role.s || memchr(role.s, '\0', role.len) || *np >= JWT_ROLES_MAX)
		return ERR_BAD_REQUEST;
	if (!*rolesp)
		*rolesp = arena_calloc(a, JWT_ROLES_MAX, sizeof(**rolesp));
	if (!*rolesp)
		return ERR_NOMEM;
	(*rolesp)[*np] = arena_dup(a, role.s, role.len);
	return (*rolesp)[(*np)++] ? 0 : ERR_NOMEM;
}

static int
read_array(struct jstr value, struct arena *a, const char ***rolesp, size_t *np)
{
	struct jread j;
	struct buf scratch;
	int err;

	jread_init(&j, value.s, value.len);
	buf_init_arena(&scratch, a, KEY_SCRATCH);
	err = jread_array_begin(&j);
	while (!err) {
		struct jstr role;

		err = jread_array_next(&j);
		if (!err)
			err = jread_string(&j, &scratch, &role);
		if (!err)
			err = put_role(rolesp, np, role, a);
	}
	return err == ERR_END ? 0 : err;
}

/* "a, b": what is empty at the end is none. */
static int
read_list(struct jstr text, struct arena *a, const char ***rolesp, size_t *np)
{
	const char *p = text.s, *end = text.s + text.len;
	size_t full = 0;
	int err = 0;

	while (!err && p <= end) {
		const char *comma = memchr(p, ',', (size_t)(end - p));
		const char *stop = comma ? comma : end, *next = stop + 1;

		while (*np > 0 && p < stop && (*p == ' ' || *p == '\t'))
			p++;
		while (comma && stop > p && (stop[-1] == ' ' || stop[-1] == '\t'))
			stop--;
		err = put_role(rolesp, np, (struct jstr){p, (size_t)(stop - p)}, a);
		if (stop > p)
			full = *np;
		p = next;
	}
	*np = full;
	return err;
}

static int
read_roles(
    const struct jwt_rules *rules, struct jstr payload, struct arena *a, struct jwt_claims *out, struct errtext *why)
{
	const char **roles = NULL;
	struct jstr value, text;
	int err = find_roles(rules, payload, a, &value, why);

	out->nroles = 0;
	if (!err && value.len > 0) {
		if (value.s[0] == '[')
			err = read_array(value, a, &roles, &out->nroles);
		else
			err = string(a, value, &text);
		if (!err && value.s[0] != '[')
			err = text.s ? read_list(text, a, &roles, &out->nroles) : ERR_BAD_REQUEST;
	}
	out->roles = roles;
	return err == ERR_BAD_REQUEST ? err_why(why, err, malformed) : err;
}

/* ---- All of it ---- */

static int
check_signature(const struct jwt_rules *rules, const struct jwt_alg *alg, struct jstr kid, struct jstr text,
    struct jstr part, struct arena *a, struct errtext *why)
{
	const struct jwt_key *key;
	struct jstr signature;
	int err = 0, ok;

	if ((rules->need & JWT_NEED_KID) && !kid.s)
		return err_why(why, ERR_BAD_REQUEST, "Missing kid claim");
	err = jwt_key_find(rules, alg->kty, kid, &key, why);
	if (!err)
		err = decode(a, part, &signature, why);
	if (!err)
		err = jwt_key_verify(key, alg, text, signature, &ok);
	if (err || ok)
		return err;
	return err_why(why, ERR_BAD_REQUEST, alg->kty == JWT_HMAC ? "Bad HMAC" : "Bad signature");
}

static int
check_sub(struct jstr payload, struct arena *a, struct jstr *subp, struct errtext *why)
{
	struct jstr value;
	int err = named_string(a, payload, "sub", &value, subp);

	if (err)
		return err;
	if (value.len == 0 || (subp->s && subp->len == 0))
		return err_why(why, ERR_UNAUTHORIZED, "Token missing sub claim.");
	if (!subp->s || memchr(subp->s, '\0', subp->len))
		return err_why(why, ERR_BAD_REQUEST, malformed);
	return 0;
}

int
jwt_verify(const struct jwt_rules *rules, struct jstr token, uint64_t now_s, struct arena *a, struct jwt_claims *out,
    struct errtext *why)
{
	struct jstr part[3], header, payload, kid = {NULL, 0};
	const struct jwt_alg *alg = NULL;
	int err;

	if (rules->bad)
		return ERR_INTERNAL;
	if (token.len > JWT_LEN_MAX || split(token, part))
		return err_why(why, ERR_BAD_REQUEST, malformed);
	err = decode_object(a, part[0], &header, why);
	if (!err)
		err = check_header(rules, header, a, &alg, &kid, why);
	if (!err)
		err = decode_object(a, part[1], &payload, why);
	if (!err)
		err = check_iss(rules, payload, a, why);
	if (!err)
		err = check_times(rules, payload, now_s, a, &out->until_s, why);
	if (!err)
		err = check_signature(
		    rules, alg, kid, (struct jstr){token.s, part[0].len + 1 + part[1].len}, part[2], a, why);
	if (!err)
		err = read_roles(rules, payload, a, out, why);
	if (!err)
		err = check_sub(payload, a, &out->sub, why);
	return err;
}
