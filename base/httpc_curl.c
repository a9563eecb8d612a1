/*
 * httpc_curl.c: libcurl is loaded by the first who needs it.
 *
 * With what it stands on it is two dozen libraries, which take 4 MiB of a process that only links them; a server that
 * never replicates does without.
 */
#include "httpc_curl.h"

#include "library.h"
#include "once.h"

static struct once loaded = ONCE_INIT;
static struct httpc_curl table;

static int
load(void)
{
	void *lib;
	int all = 1, err = library_load("libcurl.so.4", &lib);

	if (err)
		return err;
#define FIND(name) all &= library_find(lib, "curl_" #name, &table.name);
	HTTPC_CURL_LIST(FIND)
#undef FIND
	(void)library_find(lib, "SSL_CTX_set_verify_depth", &table.set_verify_depth);
	if (!all)
		return ERR_NOT_IMPLEMENTED;
	return table.global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? 0 : ERR_NOMEM;
}

int
httpc_curl(const struct httpc_curl **curlp)
{
	*curlp = &table;
	return once_make(&loaded, load);
}
