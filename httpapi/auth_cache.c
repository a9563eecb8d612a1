/*
 * auth_cache.c: credentials that were verified.
 *
 * Each HTTP thread keeps a table of its own, looked up by a keyed digest of what the client sent.  An entry of an
 * account holds while nothing changes among the accounts; when something has, the account is looked up
 * and the entry holds on if its stamp is still the same: the change of one account costs the others a look-up, and
 * not a derivation.  Behind the threads' tables all share one of passwords that were right, with the stamp that the
 * account had: so a password is derived once, and not by each thread.
 *
 * 1. A table is touched by its thread alone; the shared one under sessions.lock, which is never held
 *    while anything waits.
 * 2. No secret is in either: only digests under a key that is made when the process starts.
 * 3. An entry's stamp, or a known password's, was the account's before the derivation that it stands for.
 */
#include "auth_impl.h"
#include "base/counters.h"

/*
 * The digest never leaves the process, so a hash of key and text does, which is one block for common
 * credentials where an HMAC would be four.
 */
void
auth_digest(const struct sessions *s, const char *text, size_t len, unsigned char out[SHA256_LEN])
{
	unsigned char m[SHA256_LEN + 512];

	if (len > sizeof(m) - SHA256_LEN) {
		hash_hmac_sha256(s->key, sizeof(s->key), text, len, out);
		return;
	}
	memcpy(m, s->key, SHA256_LEN);
	memcpy(m + SHA256_LEN, text, len);
	hash_sha256(m, SHA256_LEN + len, out);
}

static unsigned
slot_of(const unsigned char digest[SHA256_LEN])
{
	return (digest[0] | (unsigned)digest[1] << 8) & (AUTH_SLOTS - 1);
}

/* Something has changed among the accounts: does the entry hold still? */
static int
still_holds(struct apireq *r, struct auth_entry *e)
{
	uint64_t generation = accounts_generation(r->api);
	struct account account;
	int err;

	if (e->how == AUTH_JWT || e->generation == generation)
		return 0;
	err = accounts_find(r->api, e->blob, e->name_len, r->arena, &account);
	if (!err && !hash_equal(account.stamp, e->stamp, ACCOUNTS_STAMP_LEN))
		err = ERR_MISSING;
	if (!err)
		e->generation = generation;
	else if (err == ERR_MISSING)
		e->serial = 0;
	return err;
}

int
auth_recall(struct apireq *r, const unsigned char digest[SHA256_LEN], struct auth_entry **ep)
{
	struct auth_table *t = auth_table_of(r);
	/* Two places for each, so that two of a kind do not push each other out in turn. */
	unsigned at = slot_of(digest);

	for (unsigned i = 0; i < 2; i++) {
		struct auth_entry *e = &t->slots[at ^ i];

		if (e->serial == t->settings->serial && hash_equal(e->digest, digest, SHA256_LEN)) {
			*ep = e;
			/* CouchDB counts look-ups of users' documents; where one follows, accounts.c does. */
			if (!e->server_admin && e->generation == accounts_generation(r->api))
				counters_add(COUNTER_AUTH_HITS, 1);
			return still_holds(r, e);
		}
	}
	return ERR_MISSING;
}

int
auth_grant_entry(struct apireq *r, const struct auth_entry *e)
{
	size_t pointers = e->nroles * sizeof(char *);
	const char **roles = arena_alloc(r->arena, pointers + e->blob_len);
	char *text;

	if (!roles)
		return ERR_NOMEM;
	text = (char *)roles + pointers;
	memcpy(text, e->blob, e->blob_len);
	r->who.name = text;
	text += e->name_len + 1;
	for (unsigned i = 0; i < e->nroles; i++) {
		roles[i] = text;
		text += strlen(text) + 1;
	}
	r->who.roles = roles;
	r->who.nroles = e->nroles;
	r->who.server_admin = e->server_admin;
	r->authenticated = auth_handler_name(e->how);
	return 0;
}

/* The place of a new entry: its own, a free one, or the first of the two in turn. */
static struct auth_entry *
place_of(struct auth_table *t, const unsigned char digest[SHA256_LEN])
{
	struct auth_entry *a = &t->slots[slot_of(digest)];
	struct auth_entry *b = &t->slots[slot_of(digest) ^ 1];

	if (a->serial != t->settings->serial || hash_equal(a->digest, digest, SHA256_LEN))
		return a;
	if (b->serial != t->settings->serial || hash_equal(b->digest, digest, SHA256_LEN))
		return b;
	return digest[2] & 1 ? a : b;
}

void
auth_remember(
    struct apireq *r, const struct auth_entry *model, struct jstr name, const char *const *roles, size_t nroles)
{
	struct auth_table *t = auth_table_of(r);
	struct auth_entry *e = place_of(t, model->digest);
	size_t len = name.len + 1;
	char *blob;

	for (size_t i = 0; i < nroles && len <= AUTH_BLOB_MAX; i++)
		len += strlen(roles[i]) + 1;
	if (len > AUTH_BLOB_MAX)
		return;
	blob = realloc(e->blob, len);
	if (!blob)
		return;
	*e = *model;
	e->serial = t->settings->serial;
	e->blob = blob;
	e->blob_len = (unsigned)len;
	e->name_len = (unsigned)name.len;
	e->nroles = (unsigned)nroles;
	e->server_admin = 0;
	memcpy(blob, name.s, name.len);
	blob[name.len] = '\0';
	blob += name.len + 1;
	for (size_t i = 0; i < nroles; i++) {
		size_t n = strlen(roles[i]) + 1;

		memcpy(blob, roles[i], n);
		blob += n;
		e->server_admin |= strcmp(roles[i], "_admin") == 0;
	}
}

static struct auth_known *
set_of(struct sessions *s, const unsigned char digest[SHA256_LEN])
{
	unsigned n = digest[0] | (unsigned)digest[1] << 8 | (unsigned)digest[2] << 16;

	return s->known + n % (AUTH_SHARED / AUTH_WAYS) * AUTH_WAYS;
}

int
auth_known(struct sessions *s, const unsigned char digest[SHA256_LEN], const unsigned char stamp[ACCOUNTS_STAMP_LEN],
    uint64_t *peerp)
{
	struct auth_known *k;
	int known = 0;

	pthread_mutex_lock(&s->lock);
	k = s->known ? set_of(s, digest) : NULL;
	for (unsigned i = 0; k && i < AUTH_WAYS && !known; i++, k++) {
		if (k->used == 0 || !hash_equal(k->digest, digest, SHA256_LEN) ||
		    !hash_equal(k->stamp, stamp, ACCOUNTS_STAMP_LEN))
			continue;
		k->used = ++s->uses;
		*peerp = k->peer;
		known = 1;
	}
	pthread_mutex_unlock(&s->lock);
	return known;
}

void
auth_make_known(struct sessions *s, const unsigned char digest[SHA256_LEN],
    const unsigned char stamp[ACCOUNTS_STAMP_LEN], uint64_t peer)
{
	struct auth_known *k, *place;

	pthread_mutex_lock(&s->lock);
	if (!s->known)
		s->known = calloc(AUTH_SHARED, sizeof(*s->known));
	if (s->known) {
		k = place = set_of(s, digest);
		for (unsigned i = 0; i < AUTH_WAYS; i++, k++) {
			if (k->used > 0 && hash_equal(k->digest, digest, SHA256_LEN)) {
				place = k;
				break;
			}
			if (k->used < place->used)
				place = k;
		}
		memcpy(place->digest, digest, SHA256_LEN);
		memcpy(place->stamp, stamp, ACCOUNTS_STAMP_LEN);
		place->peer = peer;
		place->used = ++s->uses;
	}
	pthread_mutex_unlock(&s->lock);
}
