/*
 * driver.c: runs a fuzz target over files without libFuzzer, so that corpora are regression tests with any compiler.
 *
 *   test_fuzz_NAME [FILE|FOLDER...]     without arguments: tests/fuzz/corpus/NAME/ below the current folder
 *
 * A target aborts on a finding, and this process with it, after it named the file.
 */
#include <dirent.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"

static const char *current = "(no file)";
static unsigned passed, failed;

static void
died(int sig)
{
	static const char words[] = "died of the input ";
	ssize_t n = write(STDERR_FILENO, words, sizeof(words) - 1);

	n += write(STDERR_FILENO, current, strlen(current));
	n += write(STDERR_FILENO, "\n", 1);
	(void)n;
	signal(sig, SIG_DFL);
	raise(sig);
}

static int
run_file(const char *path)
{
	FILE *f = fopen(path, "rb");
	struct stat st;
	uint8_t *data = NULL;
	size_t len;
	int ok;

	current = path;
	ok = f != NULL && fstat(fileno(f), &st) == 0 && S_ISREG(st.st_mode);
	if (ok) {
		/* Of exactly the size, so that a sanitizer sees a read behind the end. */
		len = (size_t)st.st_size;
		data = malloc(len > 0 ? len : 1);
		ok = data != NULL && fread(data, 1, len, f) == len;
		if (ok)
			ok = LLVMFuzzerTestOneInput(data, len) == 0;
	}
	if (!ok)
		fprintf(stderr, "%s: cannot be run\n", path);
	free(data);
	if (f != NULL)
		(void)fclose(f);
	ok ? passed++ : failed++;
	return ok;
}

static int
visible(const struct dirent *e)
{
	return e->d_name[0] != '.';
}

static void
run_path(const char *path)
{
	struct dirent **entries;
	char file[4096];
	int n = scandir(path, &entries, visible, alphasort);

	if (n < 0) {
		(void)run_file(path);
		return;
	}
	for (int i = 0; i < n; i++) {
		(void)snprintf(file, sizeof(file), "%s/%s", path, entries[i]->d_name);
		(void)run_file(file);
		free(entries[i]);
	}
	free(entries);
}

int
main(int argc, char **argv)
{
	static const int signals[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
	const char *name = strrchr(argv[0], '/') != NULL ? strrchr(argv[0], '/') + 1 : argv[0];
	char corpus[4096];

	for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++)
		signal(signals[i], died);
	for (int i = 1; i < argc; i++)
		run_path(argv[i]);
	if (argc < 2 && strncmp(name, "test_fuzz_", 10) == 0) {
		(void)snprintf(corpus, sizeof(corpus), "tests/fuzz/corpus/%s", name + 10);
		run_path(corpus);
	}
	printf("%u passed, %u failed\n", passed, failed);
	return failed > 0 || passed == 0;
}
