/* The members of a live query: against a sorted array that is searched from end to end. */
#include <stdlib.h>

#include "check.h"
#include "dice.h"
#include "base/limits.h"
#include "httpapi/live_set.h"

#define IDS 200u
#define STEPS 60000u

struct model {
	struct {
		char key[16], id[16];
		uint64_t mark;
	} m[IDS];
	uint32_t n;
	int descending;
	int fenced;
	char fence_key[16], fence_id[16];
};

static uint64_t seed = 88172645463325252u;

static uint32_t
below(uint32_t n)
{
	return (uint32_t)(dice_next(&seed) >> 11) % n;
}

static struct jstr
text(const char *s)
{
	return (struct jstr){s, strlen(s)};
}

static int
order(const struct model *m, const char *key, const char *id, const char *other_key, const char *other_id)
{
	int c = strcmp(key, other_key);

	if (c == 0)
		c = strcmp(id, other_id);
	return m->descending ? -c : c;
}

static uint32_t
find(const struct model *m, const char *id)
{
	uint32_t i;

	for (i = 0; i < m->n && strcmp(m->m[i].id, id) != 0; i++)
		;
	return i;
}

static uint32_t
place(const struct model *m, const char *key, const char *id)
{
	uint32_t i;

	for (i = 0; i < m->n && order(m, key, id, m->m[i].key, m->m[i].id) > 0; i++)
		;
	return i;
}

static int
is_behind(const struct model *m, const char *key, const char *id)
{
	return m->fenced && order(m, key, id, m->fence_key, m->fence_id) > 0;
}

static void
compare(const struct model *m, const struct live_set *s)
{
	int same = m->n == s->n;

	live_set_check(s);
	for (uint32_t i = 0; same && i < m->n; i++) {
		struct live_member x = live_set_get(s, i);

		same = jstr_is(&x.key, m->m[i].key) && jstr_is(&x.id, m->m[i].id) && x.mark == m->m[i].mark;
	}
	CHECK(same);
}

static void
put(struct model *m, struct live_set *s, const char *key, const char *id)
{
	struct live_member x = {text(key), text(id), seed};
	uint32_t i = place(m, key, id), at = UINT32_MAX;

	CHECK_INT(live_set_place(s, x.key, x.id), i);
	CHECK_INT(live_set_put(s, &x, &at), 0);
	CHECK_INT(at, i);
	memmove(&m->m[i + 1], &m->m[i], (m->n - i) * sizeof(m->m[0]));
	(void)snprintf(m->m[i].key, sizeof(m->m[i].key), "%s", key);
	(void)snprintf(m->m[i].id, sizeof(m->m[i].id), "%s", id);
	m->m[i].mark = x.mark;
	m->n++;
}

static void
del(struct model *m, struct live_set *s, uint32_t i)
{
	live_set_del(s, i);
	m->n--;
	memmove(&m->m[i], &m->m[i + 1], (m->n - i) * sizeof(m->m[0]));
}

static void
trim(struct model *m, struct live_set *s, uint32_t n)
{
	CHECK_INT(live_set_trim(s, n), 0);
	m->n = n;
	m->fenced = 1;
	memcpy(m->fence_key, m->m[n - 1].key, sizeof(m->fence_key));
	memcpy(m->fence_id, m->m[n - 1].id, sizeof(m->fence_id));
}

/* step: Something at random.  The set may become a copy of itself, which the other one does not see. */
static void
step(struct model *m, struct live_set **sp, int keyed)
{
	struct live_set *s = *sp, *copy;
	char key[16], id[16];
	uint32_t i;

	(void)snprintf(id, sizeof(id), "%x", below(IDS) * 7919);
	(void)snprintf(key, sizeof(key), "%s%x", keyed ? "k" : "", keyed ? below(40) : 0);
	if (!keyed)
		key[0] = '\0';
	i = find(m, id);
	CHECK_INT(live_set_find(s, text(id)), i < m->n ? i : s->n);
	CHECK_INT(live_set_is_behind(s, text(key), text(id)), is_behind(m, key, id));
	switch (below(8)) {
	case 0:
	case 1:
	case 2:
		if (i == m->n && !is_behind(m, key, id))
			put(m, s, key, id);
		break;
	case 3:
	case 4:
		if (i < m->n)
			del(m, s, i);
		break;
	case 5:
		if (i < m->n)
			live_set_mark(s, i, m->m[i].mark = seed);
		break;
	case 6:
		if (m->n > 5 && below(10) == 0)
			trim(m, s, m->n - 1 - below(3));
		else if (below(20) == 0)
			live_set_unfence(s), m->fenced = 0;
		break;
	default:
		if (below(50) != 0)
			break;
		CHECK_INT(live_set_copy(s, &copy), 0);
		live_set_drop(s);
		*sp = copy;
	}
}

static void
test_model(int keyed, int descending)
{
	static struct model m;
	struct live_set *s;

	m = (struct model){.descending = descending};
	CHECK_INT(live_set_new(descending, &s), 0);
	for (unsigned i = 0; i < STEPS; i++) {
		step(&m, &s, keyed);
		if (i % 64 == 0)
			compare(&m, s);
	}
	compare(&m, s);
	/* What is left of what was taken out does not add up. */
	CHECK(s->size < 8u * IDS * 48u);
	live_set_drop(s);
}

static void
test_sharing(void)
{
	struct live_set *a, *b, *held;
	struct live_member m = {text("k"), text("x"), 1};
	uint32_t i;

	CHECK_INT(live_set_new(0, &a), 0);
	CHECK_INT(live_set_put(a, &m, &i), 0);
	CHECK_INT(live_set_fence(a, text("k"), text("y")), 0);
	held = live_set_hold(a);
	CHECK_INT(live_set_copy(held, &b), 0);
	m.id = text("w");
	CHECK_INT(live_set_put(b, &m, &i), 0);
	CHECK_INT(i, 0);
	CHECK_INT(a->n, 1);
	CHECK(live_set_is_behind(b, text("k"), text("z")) && !live_set_is_behind(b, text("k"), text("y")));
	live_set_drop(a);
	CHECK_INT(held->n, 1);
	live_set_check(held);
	live_set_drop(held);
	live_set_check(b);
	live_set_drop(b);
}

static void
test_bounds(void)
{
	char id[16], *large = calloc(1, LIMIT_LIVE_BYTES);
	struct live_member m = {{"", 0}, {id, 0}, 0};
	struct live_set *s;
	uint32_t i, n;

	CHECK_INT(live_set_new(0, &s), 0);
	for (n = 0; n < LIMIT_LIVE_MEMBERS; n++) {
		m.id.len = (size_t)snprintf(id, sizeof(id), "%06u", n);
		if (live_set_put(s, &m, &i) != 0)
			break;
	}
	CHECK_INT(n, LIMIT_LIVE_MEMBERS);
	m.id.len = (size_t)snprintf(id, sizeof(id), "x");
	CHECK_INT(live_set_put(s, &m, &i), ERR_TOO_LARGE);
	CHECK_INT(s->n, LIMIT_LIVE_MEMBERS);
	live_set_check(s);
	while (s->n > 3)
		live_set_del(s, below(s->n));
	/* It gives back what it took. */
	CHECK(s->size < 4096);
	live_set_check(s);
	if (CHECK(large != NULL)) {
		m.key = (struct jstr){large, LIMIT_LIVE_BYTES};
		CHECK_INT(live_set_put(s, &m, &i), ERR_TOO_LARGE);
		m.key.len = LIMIT_LIVE_BYTES / 2;
		CHECK_INT(live_set_put(s, &m, &i), 0);
		m.id.len = (size_t)snprintf(id, sizeof(id), "y");
		CHECK_INT(live_set_put(s, &m, &i), ERR_TOO_LARGE);
	}
	CHECK_INT(s->n, 4);
	live_set_check(s);
	live_set_drop(s);
	live_set_drop(NULL);
	free(large);
}

int
main(void)
{
	for (int keyed = 0; keyed < 2; keyed++)
		for (int descending = 0; descending < 2; descending++)
			test_model(keyed, descending);
	test_sharing();
	test_bounds();
	return check_done();
}
