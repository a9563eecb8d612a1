/*
 * engine.c: contexts of JavaScriptCore.
 *
 * All contexts are of one group and so share the heap; a context has a global object of its own, in which engine.js is
 * evaluated and then the users' functions.  A call crosses from C to JavaScript once a message, with texts: that is
 * faster than building values through the C interface.
 */
#include "engine.h"

#include <JavaScriptCore/JavaScript.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "script.h"
#include "wire.h"

/* Exported, and in no public header of the engine. */
void JSGlobalContextSetEvalEnabled(JSGlobalContextRef ctx, bool enabled, JSStringRef message);

struct program {
	JSGlobalContextRef ctx; /* NULL: none */
	JSObjectRef dispatch;
};

static JSContextGroupRef group;
static struct program programs[SCRIPT_PROGRAMS];
static struct engine_host host;
static size_t answer_max;

/* ---- Texts ---- */

static JSValueRef
text_value(JSContextRef ctx, const char *text)
{
	JSStringRef s = JSStringCreateWithUTF8CString(text);
	JSValueRef v = JSValueMakeString(ctx, s);

	JSStringRelease(s);
	return v;
}

/* put_text: Append a string's UTF-8; what a value is made of may throw. */
static int
put_text(JSContextRef ctx, JSValueRef v, struct buf *out)
{
	JSStringRef s = JSValueToStringCopy(ctx, v, NULL);
	size_t max, n;
	char *room;
	int err;

	if (s == NULL)
		return ERR_NOMEM;
	/* The engine's bound is three bytes a character. */
	max = JSStringGetMaximumUTF8CStringSize(s);
	err = JSStringGetLength(s) > answer_max ? ERR_TOO_LARGE : buf_reserve(out, max, &room);
	if (err == 0) {
		n = JSStringGetUTF8CString(s, room, max);
		if (n > 0)
			buf_commit(out, n - 1);
	}
	JSStringRelease(s);
	return err;
}

static void
put_failure(struct buf *out, const char *name, const char *reason)
{
	buf_clear(out);
	buf_puts(out, "[\"");
	buf_puts(out, name);
	buf_puts(out, "\",\"");
	buf_puts(out, reason);
	buf_puts(out, "\"]");
}

/* ---- What functions reach ---- */

static JSValueRef
host_log(JSContextRef ctx, JSObjectRef fun, JSObjectRef self, size_t n, const JSValueRef args[], JSValueRef *exception)
{
	JSStringRef s = n > 0 ? JSValueToStringCopy(ctx, args[0], NULL) : NULL;
	char line[SCRIPT_LOG_MAX + 1];
	size_t len;

	(void)fun;
	(void)self;
	(void)exception;
	if (s == NULL)
		return JSValueMakeUndefined(ctx);
	/* As many characters as there is room for. */
	len = JSStringGetUTF8CString(s, line, sizeof(line));
	if (len > 0)
		host.log(line, len - 1);
	JSStringRelease(s);
	return JSValueMakeUndefined(ctx);
}

static JSValueRef
host_rows(JSContextRef ctx, JSObjectRef fun, JSObjectRef self, size_t n, const JSValueRef args[], JSValueRef *exception)
{
	JSValueRef v = JSValueMakeNull(ctx);
	const char *rows;
	struct buf b;

	(void)fun;
	(void)self;
	buf_init(&b, 4 * answer_max);
	if (n == 0 || put_text(ctx, args[0], &b) != 0)
		*exception = text_value(ctx, "what was sent is too large");
	else if (host.rows(b.data, b.len, &rows))
		v = text_value(ctx, rows);
	buf_release(&b);
	return v;
}

/* host_evaluate: A text as a script; this is no eval(), so it goes on when that is off. */
static JSValueRef
host_evaluate(
    JSContextRef ctx, JSObjectRef fun, JSObjectRef self, size_t n, const JSValueRef args[], JSValueRef *exception)
{
	JSStringRef source = n > 0 ? JSValueToStringCopy(ctx, args[0], exception) : NULL;
	JSValueRef v;

	(void)fun;
	(void)self;
	if (source == NULL)
		return JSValueMakeUndefined(ctx);
	v = JSEvaluateScript(ctx, source, NULL, NULL, 1, exception);
	JSStringRelease(source);
	return v;
}

static void
put_function(JSContextRef ctx, JSObjectRef to, const char *name, JSObjectCallAsFunctionCallback fn)
{
	JSStringRef s = JSStringCreateWithUTF8CString(name);

	JSObjectSetProperty(ctx, to, s, JSObjectMakeFunctionWithCallback(ctx, s, fn), kJSPropertyAttributeNone, NULL);
	JSStringRelease(s);
}

/* ---- Contexts ---- */

static void
drop(struct program *p)
{
	if (p->ctx == NULL)
		return;
	JSValueUnprotect(p->ctx, p->dispatch);
	JSGlobalContextRelease(p->ctx);
	p->ctx = NULL;
}

/* forbid_eval: Nor are there functions made of texts (Function and its kin), as in CouchDB. */
static void
forbid_eval(JSGlobalContextRef ctx)
{
	JSStringRef why = JSStringCreateWithUTF8CString("code cannot be made of texts here");

	JSGlobalContextSetEvalEnabled(ctx, false, why);
	JSStringRelease(why);
}

/* make: A context with engine.js in it; its value is the dispatcher. */
static int
make(struct program *p)
{
	JSStringRef source = JSStringCreateWithUTF8CString(engine_js),
		    name = JSStringCreateWithUTF8CString("engine.js");
	JSGlobalContextRef ctx = JSGlobalContextCreateInGroup(group, NULL);
	JSObjectRef reach = JSObjectMake(ctx, NULL, NULL);
	JSValueRef args[2] = {JSContextGetGlobalObject(ctx), reach};
	JSValueRef made;

	put_function(ctx, reach, "log", host_log);
	put_function(ctx, reach, "rows", host_rows);
	put_function(ctx, reach, "evaluate", host_evaluate);
	made = JSEvaluateScript(ctx, source, NULL, name, 1, NULL);
	if (made != NULL)
		made = JSObjectCallAsFunction(ctx, JSValueToObject(ctx, made, NULL), NULL, 2, args, NULL);
	JSStringRelease(source);
	JSStringRelease(name);
	if (made == NULL) {
		JSGlobalContextRelease(ctx);
		return ERR_NOMEM;
	}
	forbid_eval(ctx);
	p->ctx = ctx;
	p->dispatch = JSValueToObject(ctx, made, NULL);
	JSValueProtect(ctx, p->dispatch);
	return 0;
}

/* put_exception: engine.js throws [name, reason]; anything else comes from the engine itself. */
static void
put_exception(JSContextRef ctx, JSValueRef e, struct buf *out)
{
	JSStringRef json = JSValueIsArray(ctx, e) ? JSValueCreateJSONString(ctx, e, 0, NULL) : NULL;

	buf_clear(out);
	if (json == NULL) {
		put_failure(out, "os_process_error", "the function exhausted its memory or its stack");
		return;
	}
	if (put_text(ctx, JSValueMakeString(ctx, json), out) != 0)
		put_failure(out, "os_process_error", "the function's error is too large to be shown");
	JSStringRelease(json);
}

int
engine_run(unsigned program, char op, const char *text, size_t len, struct buf *out, int *failedp)
{
	struct program *p = &programs[program % SCRIPT_PROGRAMS];
	const char letter[2] = {op, '\0'};
	JSValueRef args[2], exception = NULL, v;
	int err;

	buf_clear(out);
	*failedp = 0;
	if (op == SCRIPT_LOAD) {
		drop(p);
		if ((err = make(p)) != 0)
			return err;
	}
	/* The engine takes malformed UTF-8 for an empty string. */
	if (p->ctx == NULL || memchr(text, '\0', len) != NULL) {
		*failedp = 1;
		put_failure(out, "query_protocol_error", "no program, or no text");
		return buf_failed(out);
	}
	args[0] = text_value(p->ctx, letter);
	args[1] = text_value(p->ctx, text);
	v = JSObjectCallAsFunction(p->ctx, p->dispatch, NULL, 2, args, &exception);
	if (v == NULL || exception != NULL) {
		*failedp = 1;
		put_exception(p->ctx, exception, out);
	} else if ((err = put_text(p->ctx, v, out)) != 0) {
		*failedp = 1;
		put_failure(out, "os_process_error",
		    err == ERR_TOO_LARGE ? "the function's output is too large" : "out of memory");
	}
	return buf_failed(out);
}

/*
 * The first call of many things opens files, makes threads, reads options: all of that is to happen before the
 * sandbox closes.
 */
int
engine_start(const struct engine_host *h, size_t max_answer)
{
	static const char program[] =
	    "{\"map\":[\"function(doc){for(var i=0;i<2000;i++){emit([i,String(doc._id).toLowerCase()],new Date(i)"
	    ".toISOString());/a+b/.test(doc._id);'é'.localeCompare('f');new Date().toString()}}\"]}";
	struct buf out;
	int failed, err;

	host = *h;
	answer_max = max_answer;
	group = JSContextGroupCreate();
	if (group == NULL)
		return ERR_NOMEM;
	buf_init(&out, 4 * max_answer);
	err = engine_run(0, SCRIPT_LOAD, program, sizeof(program) - 1, &out, &failed);
	if (err == 0 && !failed)
		err = engine_run(0, SCRIPT_MAP, "[{\"_id\":\"warm\"}]", 16, &out, &failed);
	if (err == 0 && failed)
		err = ERR_INTERNAL;
	drop(&programs[0]);
	JSGarbageCollect(NULL);
	buf_release(&out);
	return err;
}
