/*
 * httpc_curl.c: libcurl is loaded by the first who needs it.
 *
 * With what it stands on it is two dozen libraries, which take 4 MiB of a process that only links them; a server that
 * never replicates does without.
 */
#include "httpc_curl.h"

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

static pthread_mutex_t loading = PTHREAD_MUTEX_INITIALIZER;
static struct httpc_curl table;
static _Atomic int loaded;

/* A pointer to a function comes as one to data, which C does not convert. */
static int
find(void *lib, const char *name, void *fieldp)
{
	void *symbol = dlsym(lib, name);

	memcpy(fieldp, &symbol, sizeof(symbol));
	return symbol != NULL;
}

static void
load(void)
{
	void *lib = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
	int all = 1;

	if (lib == NULL)
		return;
#define FIND(name) all &= find(lib, "curl_" #name, &table.name);
	HTTPC_CURL_LIST(FIND)
#undef FIND
	(void)find(lib, "SSL_CTX_set_verify_depth", &table.set_verify_depth);
	loaded = all && table.global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
}

const struct httpc_curl *
httpc_curl(void)
{
	/* What could not be loaded for want of memory or descriptors is tried again. */
	if (!loaded) {
		(void)pthread_mutex_lock(&loading);
		if (!loaded)
			load();
		(void)pthread_mutex_unlock(&loading);
	}
	return loaded ? &table : NULL;
}
