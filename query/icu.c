/*
 * Linked, ICU and its C++ library cost an idle server 2.5 MiB of resident memory (relocations and constructors),
 * and most databases never hold two strings whose order is not plain from ASCII.  So the library is opened
 * at first use, under the name that its headers are of, and only the two functions that are called are looked up, typed by
 * their declarations.  One collator serves all threads: comparing is a const operation on it.
 */
#include "icu.h"

#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <string.h>

#include <unicode/ucol.h>
#include <unicode/uvernum.h>

#include "base/log.h"

#define QUOTE_(x) #x
#define QUOTE(x) QUOTE_(x) /* ICU's names are macros that add the version */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static __typeof__(ucol_strcollUTF8) *compare;
static UCollator *root;

/* A function pointer may not be cast from an object's, but it may be copied. */
static int
look_up(void *lib, const char *name, void *fnp)
{
	void *at = dlsym(lib, name);

	if (at == NULL) {
		log_line(LOG_ERROR, "%s is not in libicui18n", name);
		return ERR_INTERNAL;
	}
	memcpy(fnp, &at, sizeof(at));
	return 0;
}

static void
load(void)
{
	const char *name = "libicui18n.so." U_ICU_VERSION_SHORT;
	__typeof__(ucol_open) *open;
	UErrorCode status = U_ZERO_ERROR;
	void *lib = dlopen(name, RTLD_NOW | RTLD_LOCAL);

	if (lib == NULL) {
		log_line(LOG_ERROR, "%s", dlerror());
		return;
	}
	if (look_up(lib, QUOTE(ucol_open), &open) != 0 || look_up(lib, QUOTE(ucol_strcollUTF8), &compare) != 0)
		return;
	root = open("", &status);
	if (U_FAILURE(status)) {
		log_line(LOG_ERROR, "%s: no root collation: error %d", name, (int)status);
		root = NULL;
	}
}

int
icu_compare(struct jstr a, struct jstr b, int *orderp)
{
	UErrorCode status = U_ZERO_ERROR;

	if (pthread_once(&once, load) != 0 || root == NULL || a.len > INT32_MAX || b.len > INT32_MAX)
		return ERR_INTERNAL;
	*orderp = (int)compare(root, a.s, (int32_t)a.len, b.s, (int32_t)b.len, &status);
	return U_FAILURE(status) ? ERR_INTERNAL : 0;
}
