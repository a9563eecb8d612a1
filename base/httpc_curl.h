/* httpc_curl.h: libcurl's functions, found when they are first needed.  Private to httpc. */
#ifndef BASE_HTTPC_CURL_H_
#define BASE_HTTPC_CURL_H_

#include <curl/curl.h>

#include "err.h"

/* X(name): curl_NAME. */
#define HTTPC_CURL_LIST(X)     \
	X(global_init)         \
	X(easy_init)           \
	X(easy_cleanup)        \
	X(easy_setopt)         \
	X(easy_getinfo)        \
	X(easy_header)         \
	X(easy_pause)          \
	X(easy_strerror)       \
	X(free)                \
	X(multi_add_handle)    \
	X(multi_cleanup)       \
	X(multi_info_read)     \
	X(multi_init)          \
	X(multi_remove_handle) \
	X(multi_setopt)        \
	X(multi_socket_action) \
	X(multi_timeout)       \
	X(slist_append)        \
	X(slist_free_all)      \
	X(url)                 \
	X(url_cleanup)         \
	X(url_get)             \
	X(url_set)             \
	X(url_strerror)

struct httpc_curl {
#define HTTPC_CURL_FIELD(name) __typeof__(curl_##name) *name;
	HTTPC_CURL_LIST(HTTPC_CURL_FIELD)
#undef HTTPC_CURL_FIELD
	/* OpenSSL's, below libcurl; NULL: it stands on another. */
	void (*set_verify_depth)(void *ssl_ctx, int depth);
};

/** httpc_curl(curlp): The table, loaded once, which stays.  From any thread.  Errors: as library_load(). */
int httpc_curl(const struct httpc_curl **curlp) MUST_CHECK;

#endif
