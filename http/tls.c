/*
 * tls.c: TLS set-up: certificates, clients' certificates, versions and ciphers, session tickets.
 *
 * One context serves all threads.  It is never changed: when a setting or a file does, another takes its place for the
 * connections that come from then on, and the old one lives until the last connection that has it ends.  Nobody
 * watches the files: who accepts a connection looks at them, if nobody has for a second, so that an idle server sleeps.
 *
 * Sessions are resumed by tickets, which cost the server no memory.  Their key is drawn anew when an hour old, and
 * forgotten an hour later; all contexts share it.  Where clients show certificates there are no tickets: each
 * handshake then looks at the certificate, and at whether it was revoked.
 *
 * 1. t->ctx is usable, and t->stamp is of the files as they were before it was made.
 * 2. t->lock is held while either changes, and where tickets' keys are used.
 */
#include "tls.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tls_names.h"
#include "timers.h"
#include "base/log.h"

#define LOOK_MS 1000u          /* between looks at the files */
#define KEY_MS (3600u * 1000u) /* that a ticket key is given out; as long again it is taken */
#define CIPHERS "ECDHE+AESGCM:ECDHE+CHACHA20"

struct ticket_key {
	unsigned char name[16];
	unsigned char aes[32];
	unsigned char mac[32];
	uint64_t made_ms; /* 0: none */
};

struct server_tls {
	pthread_mutex_t lock;
	struct http_tls settings;
	void (*seen)(const struct ssl_st *ssl);
	SSL_CTX *ctx;
	uint64_t stamp; /* of the files; 0: one was not there */
	uint64_t looked_ms;
	struct ticket_key keys[2]; /* the newer one first */
	_Atomic unsigned generation;
};

static int own_index = -1; /* of a context's extra data: its struct server_tls */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void
make_index(void)
{
	own_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, NULL);
}

/* ---- Tickets ---- */

/* The key of a new ticket, or NULL. */
static const struct ticket_key *
newest_key(struct server_tls *t)
{
	uint64_t now = timers_now();
	struct ticket_key *k = &t->keys[0];

	if (k->made_ms != 0 && now - k->made_ms < KEY_MS)
		return k;
	t->keys[1] = t->keys[0];
	k->made_ms = 0;
	if (RAND_bytes(k->name, sizeof(k->name)) != 1 || RAND_bytes(k->aes, sizeof(k->aes)) != 1 ||
	    RAND_bytes(k->mac, sizeof(k->mac)) != 1)
		return NULL;
	k->made_ms = now;
	return k;
}

static const struct ticket_key *
find_key(const struct server_tls *t, const unsigned char name[16])
{
	uint64_t now = timers_now();
	size_t i;

	for (i = 0; i < 2; i++)
		if (t->keys[i].made_ms != 0 && now - t->keys[i].made_ms < 2 * KEY_MS &&
		    memcmp(t->keys[i].name, name, 16) == 0)
			return &t->keys[i];
	return NULL;
}

static int
use_key(const struct ticket_key *k, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int encrypt)
{
	char digest[] = "SHA256";
	unsigned char key[sizeof(k->mac)];
	OSSL_PARAM params[3];

	memcpy(key, k->mac, sizeof(key));
	params[0] = OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key, sizeof(key));
	params[1] = OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0);
	params[2] = OSSL_PARAM_construct_end();
	return EVP_MAC_CTX_set_params(mac, params) == 1 &&
	       EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, k->aes, iv, encrypt) == 1;
}

/* OpenSSL's: -1 an error, 0 no ticket, 1 as it is, 2 renew it. */
static int
on_ticket(SSL *ssl, unsigned char name[16], unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int encrypt)
{
	struct server_tls *t = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), own_index);
	const struct ticket_key *k;
	int rc;

	pthread_mutex_lock(&t->lock);
	k = encrypt ? newest_key(t) : find_key(t, name);
	rc = k == NULL ? (encrypt ? -1 : 0) : k == &t->keys[0] ? 1 : 2;
	if (rc > 0 && encrypt) {
		memcpy(name, k->name, 16);
		if (RAND_bytes(iv, 16) != 1)
			rc = -1;
	}
	if (rc > 0 && !use_key(k, iv, cipher, mac, encrypt))
		rc = -1;
	pthread_mutex_unlock(&t->lock);
	return rc;
}

/* ---- A context ---- */

static int
choose_alpn(
    SSL *ssl, const unsigned char **out, unsigned char *outlen, const unsigned char *in, unsigned inlen, void *arg)
{
	static const unsigned char ours[] = "\x02h2\x08http/1.1";
	unsigned char *chosen;

	(void)ssl, (void)arg;
	if (SSL_select_next_proto(&chosen, outlen, ours, sizeof(ours) - 1, in, inlen) != OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_NOACK;
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

/* Without it OpenSSL would ask at the terminal. */
static int
tell_password(char *buf, int size, int writing, void *arg)
{
	const struct http_tls *s = arg;
	size_t len = s->password != NULL ? strlen(s->password) : 0;

	(void)writing;
	if (len == 0 || len > (size_t)size)
		return 0;
	memcpy(buf, s->password, len);
	return (int)len;
}

static void
on_info(const SSL *ssl, int where, int ret)
{
	const struct server_tls *t;

	(void)ret;
	if (where & SSL_CB_HANDSHAKE_DONE) {
		t = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), own_index);
		t->seen(ssl);
	}
}

/* Who is refused is told nothing but that; an administrator wants to know why. */
static int
on_verified(int ok, X509_STORE_CTX *store)
{
	X509 *cert = X509_STORE_CTX_get_current_cert(store);
	char subject[128] = "?";

	if (!ok && log_enabled(LOG_INFO)) {
		if (cert != NULL)
			X509_NAME_oneline(X509_get_subject_name(cert), subject, sizeof(subject));
		log_line(LOG_INFO, "a client's certificate is refused: %s: %s", subject,
		    X509_verify_cert_error_string(X509_STORE_CTX_get_error(store)));
	}
	return ok;
}

static int
load_crls(SSL_CTX *ctx, const char *path)
{
	X509_STORE *store = SSL_CTX_get_cert_store(ctx);
	X509_LOOKUP *lookup = X509_STORE_add_lookup(store, X509_LOOKUP_file());

	return lookup != NULL && X509_load_crl_file(lookup, path, X509_FILETYPE_PEM) > 0 &&
	       X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL) == 1;
}

/* Returns what could not be used, or NULL. */
static const char *
ask_for_certificates(SSL_CTX *ctx, struct server_tls *t, const struct http_tls *s)
{
	STACK_OF(X509_NAME) * names;

	if (!s->verify)
		return NULL;
	names = s->ca_file != NULL ? SSL_load_client_CA_file(s->ca_file) : NULL;
	if (names == NULL)
		return "cacert_file";
	SSL_CTX_set_client_CA_list(ctx, names);
	if (SSL_CTX_load_verify_file(ctx, s->ca_file) != 1)
		return "cacert_file";
	if (s->crl_file != NULL && !load_crls(ctx, s->crl_file))
		return "crl_file";
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | (s->require ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0), on_verified);
	SSL_CTX_set_verify_depth(ctx, (int)s->depth);
	SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
	SSL_CTX_set_num_tickets(ctx, 0);
	if (t->seen != NULL)
		SSL_CTX_set_info_callback(ctx, on_info);
	return NULL;
}

static const char *
set_up(SSL_CTX *ctx, struct server_tls *t, struct http_tls *s)
{
	static const unsigned char id[] = "divan";
	int min, max;

	if (!server_tls_versions(s->versions, &min, &max) || SSL_CTX_set_min_proto_version(ctx, min) != 1 ||
	    SSL_CTX_set_max_proto_version(ctx, max) != 1)
		return "tls_versions";
	if (SSL_CTX_set_cipher_list(ctx, CIPHERS) != 1 || !server_tls_ciphers(ctx, s->ciphers))
		return "ciphers";
	if (!server_tls_curves(ctx, s->curves))
		return "ecc_curves";
	SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
	/* Idle TLS connections would keep two 16 KiB buffers each. */
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_session_id_context(ctx, id, sizeof(id) - 1);
	SSL_CTX_set_timeout(ctx, KEY_MS / 1000);
	SSL_CTX_set_num_tickets(ctx, 1);
	SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket);
	SSL_CTX_set_alpn_select_cb(ctx, choose_alpn, NULL);
	SSL_CTX_set_default_passwd_cb(ctx, tell_password);
	SSL_CTX_set_default_passwd_cb_userdata(ctx, s);
	if (SSL_CTX_use_certificate_chain_file(ctx, s->cert_file) != 1)
		return "cert_file";
	if (SSL_CTX_use_PrivateKey_file(ctx, s->key_file, SSL_FILETYPE_PEM) != 1 || SSL_CTX_check_private_key(ctx) != 1)
		return "key_file";
	return ask_for_certificates(ctx, t, s);
}

/* NULL, with a log line, if the settings or the files are not right. */
static SSL_CTX *
make(struct server_tls *t, const struct http_tls *settings)
{
	struct http_tls s = *settings;
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	char why[256] = "not usable";
	const char *what = "memory";

	if (ctx != NULL && SSL_CTX_set_ex_data(ctx, own_index, t) == 1) {
		what = set_up(ctx, t, &s);
		/* It lies on this stack. */
		SSL_CTX_set_default_passwd_cb_userdata(ctx, NULL);
		SSL_CTX_set_default_passwd_cb(ctx, NULL);
		if (what == NULL)
			return ctx;
	}
	if (ERR_peek_error() != 0)
		ERR_error_string_n(ERR_peek_error(), why, sizeof(why));
	ERR_clear_error();
	log_line(LOG_ERROR, "TLS: cannot use ssl/%s (certificate %s, key %s): %s", what, s.cert_file, s.key_file, why);
	SSL_CTX_free(ctx);
	return NULL;
}

/* Differs from what it was when one of the files has changed; 0: one is missing. */
static uint64_t
stamp_of(const struct http_tls *s)
{
	const char *files[] = {s->cert_file, s->key_file, s->ca_file, s->crl_file};
	uint64_t stamp = 1;
	struct stat st;
	size_t i;

	for (i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		if (files[i] == NULL)
			continue;
		if (stat(files[i], &st) != 0)
			return 0;
		stamp = stamp * 31 + (uint64_t)st.st_mtim.tv_sec;
		stamp = stamp * 31 + (uint64_t)st.st_mtim.tv_nsec;
		stamp = stamp * 31 + (uint64_t)st.st_ino;
		stamp = stamp * 31 + (uint64_t)st.st_size;
	}
	return stamp != 0 ? stamp : 1;
}

static void
replace(struct server_tls *t, SSL_CTX *ctx)
{
	SSL_CTX_free(t->ctx);
	t->ctx = ctx;
	atomic_fetch_add(&t->generation, 1);
}

/* A certificate that was renewed serves the connections that come from now on. */
static void
look(struct server_tls *t)
{
	uint64_t now = timers_now(), stamp;
	SSL_CTX *ctx;

	if (now - t->looked_ms < LOOK_MS)
		return;
	t->looked_ms = now;
	stamp = stamp_of(&t->settings);
	if (stamp == 0 || stamp == t->stamp)
		return;
	/* Also where it fails: what is half written is not tried again before it changes. */
	t->stamp = stamp;
	ctx = make(t, &t->settings);
	if (ctx != NULL)
		replace(t, ctx);
}

/* ---- What the engine asks for ---- */

int
server_tls_open(const struct http_tls *settings, void (*seen)(const struct ssl_st *ssl), struct server_tls **tp)
{
	struct server_tls *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return ERR_NOMEM;
	pthread_once(&once, make_index);
	pthread_mutex_init(&t->lock, NULL);
	t->seen = seen;
	t->generation = 1;
	t->settings = *settings;
	t->stamp = stamp_of(settings);
	t->ctx = make(t, settings);
	if (t->ctx == NULL) {
		server_tls_close(t);
		return ERR_IO;
	}
	*tp = t;
	return 0;
}

void
server_tls_close(struct server_tls *t)
{
	if (t == NULL)
		return;
	SSL_CTX_free(t->ctx);
	pthread_mutex_destroy(&t->lock);
	OPENSSL_cleanse(t->keys, sizeof(t->keys));
	free(t);
}

struct ssl_ctx_st *
server_tls_take(struct server_tls *t)
{
	SSL_CTX *ctx;

	pthread_mutex_lock(&t->lock);
	look(t);
	ctx = t->ctx;
	SSL_CTX_up_ref(ctx);
	pthread_mutex_unlock(&t->lock);
	return ctx;
}

void
server_tls_release(struct ssl_ctx_st *ctx)
{
	SSL_CTX_free(ctx);
}

int
server_tls_set(struct server_tls *t, const struct http_tls *settings)
{
	uint64_t stamp = stamp_of(settings);
	SSL_CTX *ctx = make(t, settings);

	if (ctx == NULL)
		return ERR_IO;
	pthread_mutex_lock(&t->lock);
	t->settings = *settings;
	t->stamp = stamp;
	replace(t, ctx);
	pthread_mutex_unlock(&t->lock);
	return 0;
}

unsigned
server_tls_generation(const struct server_tls *t)
{
	return atomic_load_explicit(&t->generation, memory_order_acquire);
}

/* ---- The client's certificate ---- */

int
server_tls_verify(struct server_tls *t, const struct ssl_st *ssl)
{
	X509 *cert = SSL_get0_peer_certificate(ssl);
	X509_STORE_CTX *v = X509_STORE_CTX_new();
	SSL_CTX *ctx;
	int ok = 0;

	pthread_mutex_lock(&t->lock);
	ctx = t->ctx;
	SSL_CTX_up_ref(ctx);
	pthread_mutex_unlock(&t->lock);
	if (v != NULL && cert != NULL && SSL_CTX_get_verify_mode(ctx) != SSL_VERIFY_NONE &&
	    X509_STORE_CTX_init(v, SSL_CTX_get_cert_store(ctx), cert, SSL_get_peer_cert_chain(ssl)) == 1 &&
	    X509_STORE_CTX_set_default(v, "ssl_client") == 1) {
		X509_STORE_CTX_set_depth(v, SSL_CTX_get_verify_depth(ctx));
		X509_STORE_CTX_set_verify_cb(v, on_verified);
		ok = X509_verify_cert(v) == 1;
	}
	X509_STORE_CTX_free(v);
	SSL_CTX_free(ctx);
	ERR_clear_error();
	return ok;
}
