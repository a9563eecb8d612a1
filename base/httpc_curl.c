/*
 * httpc_curl.c: libcurl is loaded by the first who needs it.
 *
 * With what it stands on it is two dozen libraries, which take 4 MiB of a process that only links them; a server that
 * never replicates does without.
 */
#include "httpc_curl.h"

#include <dlfcn.h>
#include <string.h>

#include "once.h"

static struct once loaded = ONCE_INIT;
static struct httpc_curl table;

/* A pointer to a function comes as one to data, which C does not convert. */
static int
find(void *lib, const char *name, void *fieldp)
{
	void *symbol = dlsym(lib, name);

	memcpy(fieldp, &symbol, sizeof(symbol));
	return symbol != NULL;
}

static int
load(void)
{
	void *lib = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
	int all = 1;

	if (lib == NULL)
		return 0;
#define FIND(name) all &= find(lib, "curl_" #name, &table.name);
	HTTPC_CURL_LIST(FIND)
#undef FIND
	(void)find(lib, "SSL_CTX_set_verify_depth", &table.set_verify_depth);
	return all && table.global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
}

const struct httpc_curl *
httpc_curl(void)
{
	return once_make(&loaded, load) ? &table : NULL;
}
