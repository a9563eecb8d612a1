#include "library.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>

#include "log.h"

/* The loader tells its cause by words alone: behind it errno is of what it undid.  Of a mapping that failed they name no errno. */
static int
cause(const char *words)
{
	static const int passing[] = {EMFILE, ENFILE, ENOMEM};
	static const char *const no_memory[] = {
	    "failed to map segment", "cannot map zero-fill pages", "cannot change memory protections", "out of memory"};

	for (size_t i = 0; i < sizeof(passing) / sizeof(passing[0]); i++)
		if (strstr(words, strerrordesc_np(passing[i])) != NULL)
			return err_errno(passing[i]);
	for (size_t i = 0; i < sizeof(no_memory) / sizeof(no_memory[0]); i++)
		if (strstr(words, no_memory[i]) != NULL)
			return ERR_NOMEM;
	return ERR_NOT_IMPLEMENTED;
}

int
library_load(const char *name, void **libp)
{
	const char *words;

	*libp = dlopen(name, RTLD_NOW | RTLD_LOCAL);
	if (*libp != NULL)
		return 0;
	words = dlerror();
	if (words == NULL)
		return ERR_NOMEM;
	log_line(LOG_ERROR, "%s", words);
	return cause(words);
}

int
library_find(void *lib, const char *name, void *fnp)
{
	void *symbol = dlsym(lib, name);

	/* A pointer to a function may not be cast from one to data, but it may be copied. */
	memcpy(fnp, &symbol, sizeof(symbol));
	return symbol != NULL;
}
