/* tls_names.h: names in TLS: of versions, ciphers and curves in settings, and in certificates.  Private to the engine. */
#ifndef HTTP_TLS_NAMES_H_
#define HTTP_TLS_NAMES_H_

struct ssl_ctx_st;

/**
 * server_tls_versions(list, minp, maxp): The protocols that ${list} allows: NULL or "" is all, which is 1.2 and 1.3;
 * older ones in it are passed over.  0: none is left, or one is not known.
 */
int server_tls_versions(const char *list, int *minp, int *maxp);
/**
 * server_tls_ciphers(ctx, list), server_tls_curves(ctx, list): Set them; NULL or "" leaves what is.  Lists are of
 * OpenSSL's names, or as CouchDB's configuration has them: ["A", "B"].  0: nothing in it is known.
 */
int server_tls_ciphers(struct ssl_ctx_st *ctx, const char *list);
int server_tls_curves(struct ssl_ctx_st *ctx, const char *list);

#endif
