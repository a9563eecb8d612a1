/*
 * CouchDB runs $regex with Erlang's re module, which is PCRE over bytes: '.' is one byte, and case is folded for
 * ASCII, unless the pattern begins with (*UTF).  A match that exceeds PCRE's limits counts there as no match; so it does here, with
 * lower limits, because matching runs on a thread that serves others.
 *
 * PCRE's own match limit does not bound a match: it counts anew from each place where a match might begin, and a repeat such as
 * a*+ passes over the whole subject in one of its steps.  So PCRE is told to call back before each item of the
 * pattern, and every call is charged: one step, and the bytes passed over since the last.  What an item passes over before
 * it fails is not seen; only back references and large counted repeats can make that much, and patterns
 * with these are charged for the subject's length at each call.  The outcome depends on pattern and document alone, never on the clock.
 */
#include "regex.h"

#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/limits.h"

#define CALL_COST 8   /* steps that it costs to start PCRE */
#define STEP_BYTES 16 /* bytes that are passed over in the time of a step */
#define KEPT 65536    /* bytes that a match may leave for the next one: most take less */

struct regex {
	struct regex_set *set;
	struct regex *next; /* in the set */
	pcre2_code *code;
	int heavy; /* one item may pass over much unseen */
	/* While it matches. */
	size_t *workp;
	size_t each; /* steps charged for an item, whatever it does */
	size_t at;   /* where the last item began */
};

struct regex_set {
	struct regex *first;
	size_t size; /* bytes of code */
	pcre2_general_context *memory;
	pcre2_match_context *limits;
	pcre2_match_data *data; /* NULL: to be made again */
	int large;              /* it has got more than KEPT bytes */
};

/* PCRE keeps what a match took for the next one: up to LIMIT_REGEX_HEAP_KIB. */
static void *
take(PCRE2_SIZE n, void *cookie)
{
	struct regex_set *set = cookie;

	if (n > KEPT)
		set->large = 1;
	return malloc(n);
}

static void
give(void *p, void *cookie)
{
	(void)cookie;
	free(p);
}

int
regex_set_new(struct regex_set **setp)
{
	struct regex_set *set = calloc(1, sizeof(*set));

	if (set == NULL)
		return ERR_NOMEM;
	set->memory = pcre2_general_context_create(take, give, set);
	set->limits = pcre2_match_context_create(NULL);
	if (set->memory == NULL || set->limits == NULL) {
		regex_set_free(set);
		return ERR_NOMEM;
	}
	pcre2_set_heap_limit(set->limits, LIMIT_REGEX_HEAP_KIB);
	*setp = set;
	return 0;
}

static void
forget(struct regex *r)
{
	pcre2_code_free(r->code);
	free(r);
}

void
regex_set_free(struct regex_set *set)
{
	struct regex *r;

	if (set == NULL)
		return;
	while ((r = set->first) != NULL) {
		set->first = r->next;
		forget(r);
	}
	pcre2_match_data_free(set->data);
	pcre2_match_context_free(set->limits);
	pcre2_general_context_free(set->memory);
	free(set);
}

/* Erlang's PCRE knew (*UTF8); PCRE2 has renamed it. */
static size_t
without_utf8(const struct jstr *pattern, char *out)
{
	static const char old[] = "(*UTF8)", new[] = "(*UTF)";
	size_t skip = 0, at = 0;

	if (pattern->len >= strlen(old) && memcmp(pattern->s, old, strlen(old)) == 0) {
		memcpy(out, new, strlen(new));
		skip = strlen(old);
		at = strlen(new);
	}
	memcpy(out + at, pattern->s + skip, pattern->len - skip);
	return at + pattern->len - skip;
}

static int
compile(struct regex *r, const struct jstr *pattern)
{
	pcre2_compile_context *context = pcre2_compile_context_create(NULL);
	char *text = malloc(pattern->len + 1);
	PCRE2_SIZE at;
	int error = 0;

	if (context != NULL && text != NULL) {
		size_t len = without_utf8(pattern, text);

		/* PCRE took an unknown escape for the letter itself. */
		pcre2_set_compile_extra_options(context, PCRE2_EXTRA_BAD_ESCAPE_IS_LITERAL);
		r->code = pcre2_compile((PCRE2_SPTR)text, len, PCRE2_AUTO_CALLOUT, &error, &at, context);
	}
	pcre2_compile_context_free(context);
	free(text);
	if (r->code != NULL)
		return 0;
	/* Compiling and matching have a number each for want of memory. */
	return error != 0 && error != PCRE2_ERROR_NOMEMORY && error != PCRE2_ERROR_HEAP_FAILED ? ERR_OPERATOR_ARG
											       : ERR_NOMEM;
}

/* A number of three digits behind a brace or comma: perhaps a repeat. */
static int
has_large_repeat(const struct jstr *pattern)
{
	for (size_t i = 0; i + 3 < pattern->len; i++) {
		const char *p = pattern->s + i;

		if ((p[0] == '{' || p[0] == ',') && p[1] >= '0' && p[1] <= '9' && p[2] >= '0' && p[2] <= '9' &&
		    p[3] >= '0' && p[3] <= '9')
			return 1;
	}
	return 0;
}

/* Before each item of the pattern. */
static int
charge(pcre2_callout_block *item, void *cookie)
{
	struct regex *r = cookie;
	size_t to = item->current_position;
	size_t cost = r->each + (to > r->at ? to - r->at : r->at - to) / STEP_BYTES;

	r->at = to;
	if (cost > *r->workp) {
		*r->workp = 0;
		return PCRE2_ERROR_CALLOUT;
	}
	*r->workp -= cost;
	return 0;
}

/* The size of the code counts in the set's. */
static int
add(struct regex_set *set, struct regex *r)
{
	size_t size = 0;

	pcre2_pattern_info(r->code, PCRE2_INFO_SIZE, &size);
	if (size > LIMIT_SELECTOR_REGEXES - set->size)
		return ERR_TOO_LARGE;
	set->size += size;
	r->set = set;
	r->next = set->first;
	set->first = r;
	return 0;
}

int
regex_new(struct regex_set *set, struct jstr pattern, struct regex **rp)
{
	struct regex *r;
	uint32_t backrefs = 0;
	int err;

	if (pattern.len > LIMIT_REGEX_LEN)
		return ERR_OPERATOR_ARG;
	r = calloc(1, sizeof(*r));
	if (r == NULL)
		return ERR_NOMEM;
	err = compile(r, &pattern);
	if (err == 0)
		err = add(set, r);
	if (err != 0) {
		forget(r);
		return err;
	}
	pcre2_pattern_info(r->code, PCRE2_INFO_BACKREFMAX, &backrefs);
	r->heavy = backrefs > 0 || has_large_repeat(&pattern);
	*rp = r;
	return 0;
}

static int
match(struct regex *r, struct jstr subject)
{
	struct regex_set *set = r->set;
	int found;

	pcre2_set_callout(set->limits, charge, r);
	found = pcre2_match(r->code, (PCRE2_SPTR)subject.s, subject.len, 0, 0, set->data, set->limits);
	if (set->large) {
		pcre2_match_data_free(set->data);
		set->data = NULL;
	}
	return found;
}

int
regex_match(struct regex *r, struct jstr subject, size_t *workp, int *matchp)
{
	size_t cost = CALL_COST + subject.len / STEP_BYTES;
	int found;

	*matchp = 0;
	if (cost > *workp) {
		*workp = 0;
		return 0;
	}
	*workp -= cost;
	r->workp = workp;
	r->each = 1 + (r->heavy ? subject.len / STEP_BYTES : 0);
	r->at = 0;
	r->set->large = 0;
	if (r->set->data == NULL)
		r->set->data = pcre2_match_data_create(1, r->set->memory);
	found = r->set->data != NULL ? match(r, subject) : PCRE2_ERROR_NOMEMORY;
	*matchp = found >= 0;
	return found == PCRE2_ERROR_NOMEMORY ? ERR_NOMEM : 0;
}
