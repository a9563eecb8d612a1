/*
 * ceiling_map.c: the least that mapping all documents of a database costs: the JavaScript engine alone.
 *
 * usage: ceiling_map FILE FUNCTION
 *
 * FILE has a document a line, FUNCTION is the text of a map function.  A hundred documents at a time become one text, which the
 * engine parses, maps and turns into the text of their rows: the way that was found the fastest, without any process, file, sandbox
 * or database around it.  Prints its own CPU time and the wall time in microseconds, and how many documents and rows there were.
 */
#include <JavaScriptCore/JavaScript.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ceiling.h"

#define BATCH_DOCS 100u

/* Answers with the rows of an array of documents; the count of rows stands in front. */
static const char around[] =
    "(function (source) {"
    "	let rows;"
    "	const { parse, stringify } = JSON;"
    "	globalThis.emit = (key, value) => { rows[rows.length] = [key, value === undefined ? null : value]; };"
    "	const map = (0, eval)('(' + source + ')');"
    "	return input => {"
    "		const docs = parse(input), all = [];"
    "		let n = 0;"
    "		for (let i = 0; i < docs.length; i++) {"
    "			rows = [];"
    "			map(docs[i]);"
    "			n += rows.length;"
    "			all[i] = [rows];"
    "		}"
    "		return n + ' ' + stringify(all);"
    "	};"
    "})";

static char *
read_file(const char *name, size_t *lenp)
{
	FILE *f = fopen(name, "rb");
	char *text;
	long len;

	need(f != NULL && fseek(f, 0, SEEK_END) == 0 && (len = ftell(f)) >= 0 && fseek(f, 0, SEEK_SET) == 0, name);
	text = malloc((size_t)len + 1);
	need(text != NULL && fread(text, 1, (size_t)len, f) == (size_t)len, name);
	text[len] = '\0';
	*lenp = (size_t)len;
	fclose(f);
	return text;
}

static JSValueRef
call(JSContextRef ctx, JSValueRef fun, const char *text)
{
	JSStringRef s = JSStringCreateWithUTF8CString(text);
	JSValueRef arg = JSValueMakeString(ctx, s), v;

	JSStringRelease(s);
	v = JSObjectCallAsFunction(ctx, JSValueToObject(ctx, fun, NULL), NULL, 1, &arg, NULL);
	need(v != NULL, "the function throws");
	return v;
}

/* map_batch: The rows of the documents in ${text}, as UTF-8; how many there are. */
static unsigned long
map_batch(JSContextRef ctx, JSValueRef map, const char *text)
{
	static char *out;
	static size_t cap;
	JSStringRef s = JSValueToStringCopy(ctx, call(ctx, map, text), NULL);
	size_t max = JSStringGetMaximumUTF8CStringSize(s);

	if (max > cap) {
		cap = max;
		need((out = realloc(out, cap)) != NULL, "no memory");
	}
	need(JSStringGetUTF8CString(s, out, cap) > 0, "no rows");
	JSStringRelease(s);
	return strtoul(out, NULL, 10);
}

/* next_batch: The text of the next documents; how many there are. */
static unsigned
next_batch(const char **atp, const char *end, char **textp)
{
	static size_t cap;
	const char *stop = *atp;
	unsigned n = 0;
	char *out;

	while (n < BATCH_DOCS && stop < end) {
		stop = memchr(stop, '\n', (size_t)(end - stop));
		need(stop != NULL, "a line without its end");
		stop++;
		n++;
	}
	if (n == 0)
		return 0;
	if ((size_t)(stop - *atp) + 2 > cap) {
		cap = 2 * (size_t)(stop - *atp) + 2;
		need((*textp = realloc(*textp, cap)) != NULL, "no memory");
	}
	out = *textp;
	out[0] = '[';
	memcpy(out + 1, *atp, (size_t)(stop - *atp));
	for (char *p = out + 1, *last = out + (stop - *atp); (p = memchr(p, '\n', (size_t)(last - p))) != NULL;)
		*p = ',';
	out[stop - *atp] = ']';
	out[stop - *atp + 1] = '\0';
	*atp = stop;
	return n;
}

int
main(int argc, char **argv)
{
	unsigned long docs = 0, rows = 0;
	const char *at, *end;
	char *texts, *function, *batch = NULL;
	double cpu, wall;
	size_t len, n;
	JSGlobalContextRef ctx;
	JSStringRef script;
	JSValueRef make, map;

	if (argc != 3) {
		fprintf(stderr, "usage: ceiling_map FILE FUNCTION\n");
		return 2;
	}
	texts = read_file(argv[1], &len);
	function = read_file(argv[2], &n);
	at = texts;
	end = texts + len;
	cpu = cpu_us();
	wall = wall_us();
	ctx = JSGlobalContextCreate(NULL);
	script = JSStringCreateWithUTF8CString(around);
	make = JSEvaluateScript(ctx, script, NULL, NULL, 1, NULL);
	need(make != NULL, "the text around the function");
	map = call(ctx, make, function);
	JSValueProtect(ctx, map);
	while ((n = next_batch(&at, end, &batch)) > 0) {
		docs += n;
		rows += map_batch(ctx, map, batch);
	}
	cpu = cpu_us() - cpu;
	wall = wall_us() - wall;
	printf("{\"cpu_us\":%.0f,\"wall_us\":%.0f,\"docs\":%lu,\"rows\":%lu}\n", cpu, wall, docs, rows);
	return 0;
}
