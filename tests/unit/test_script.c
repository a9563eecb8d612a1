/*
 * Users' JavaScript in real children: what functions give, how they fail, what they cannot do, and who gets which
 * child.
 */
#include <libgen.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/exec.h"
#include "base/limits.h"
#include "check.h"
#include "faults.h"
#include "script/script.h"

static char exe[PATH_MAX];
static struct exec_threads *threads;

enum { MEMORY = 1 };
static _Thread_local int faulty; /* this thread's memory may fail */

static inline int
refused(size_t bytes)
{
	(void)bytes;
	return faulty && fault_due(MEMORY);
}

FAULTS_MALLOCS(refused)

#define J_INIT(text)                   \
	{                              \
		text, sizeof(text) - 1 \
	}
#define J(text) ((struct jstr)J_INIT(text))

static struct scripts *
start_with(struct executor *ex, unsigned children, unsigned idle_ms, unsigned timeout_ms)
{
	const struct scripts_config c = {.exe = exe,
	    .max_children = children,
	    .idle_ms = idle_ms,
	    .timeout_ms = timeout_ms,
	    .memory = (size_t)256 << 20,
	    .max_answer = (size_t)16 << 20,
	    .ex = ex};
	struct scripts *s = NULL;

	if (!CHECK_INT(scripts_new(&c, &s), 0))
		exit(1);
	return s;
}

static struct scripts *
start(unsigned children, unsigned idle_ms, unsigned timeout_ms)
{
	return start_with(exec_threads_executor(threads), children, idle_ms, timeout_ms);
}

static int
ask(struct script *sc, enum script_op op, struct jstr text, struct jstr *answerp, struct errtext *why)
{
	int err = script_send(sc, op, &text, 1);

	return err != 0 ? err : script_receive(sc, answerp, why);
}

/* expect: In a child of its own: ${program} answers ${text} with ${want}, or with ${err} and a reason that has ${want}. */
static void
expect(struct scripts *s, struct jstr program, enum script_op op, struct jstr text, int err, const char *want)
{
	struct errtext why = {""};
	struct script *sc = NULL;
	struct jstr answer = {"", 0};
	int got = script_open(s, "db", program, &sc, &why);

	if (got == 0)
		got = ask(sc, op, text, &answer, &why);
	if (!CHECK_INT(got, err))
		fprintf(stderr, "  %.*s: %s\n", (int)program.len, program.s, why.text);
	if (err == 0)
		CHECK_MEM(answer.s, answer.len, want, strlen(want));
	else if (!CHECK(strstr(why.text, want) != NULL))
		fprintf(stderr, "  '%s' has no '%s'\n", why.text, want);
	script_close(sc);
}

static void
test_map(struct scripts *s)
{
	static const struct jstr docs = J_INIT("[{\"_id\":\"a\",\"n\":1},{\"_id\":\"b\"}]");

	expect(s, J("{\"map\":[\"function(doc) { emit(doc._id, doc.n) };  \"]}"), SCRIPT_MAP, docs, 0,
	    "[[[[\"a\",1]]],[[[\"b\",null]]]]");
	expect(s, J("{\"map\":[\"doc => { emit(1); emit(2, [doc.n]) }\",\"function(doc) {} // no\"]}"), SCRIPT_MAP,
	    docs, 0, "[[[[1,null],[2,[1]]],[]],[[[1,null],[2,[null]]],[]]]");
	/* Half a character becomes U+FFFD; what only looks like one stays. */
	expect(s,
	    J("{\"map\":[\"function(doc) { emit('\\ud83d\\ude00'.slice(0, 1), ['\\\\\\\\ud800', '\\ud83d\\ude00']) "
	      "}\"]}"),
	    SCRIPT_MAP, J("[{}]"), 0, "[[[[\"\\ufffd\",[\"\\\\ud800\",\"\xf0\x9f\x98\x80\"]]]]]");
	/* What one document throws costs its rows alone, also those emitted before. */
	expect(s, J("{\"map\":[\"function(doc) { emit(0, 0); emit(doc.n.toFixed(1), 0) }\"]}"), SCRIPT_MAP, docs, 0,
	    "[[[[0,0],[\"1.0\",0]]],[[]]]");
	expect(s, J("{\"map\":[\"function(doc) { var o = {}; if (doc.n) o.o = o; emit(doc._id, o) }\"]}"), SCRIPT_MAP,
	    docs, 0, "[[[]],[[[\"b\",{}]]]]");
	expect(s, J("{\"map\":[\"function(doc) { doc.n = 5; emit(doc.n, isArray([])) }\"]}"), SCRIPT_MAP, docs, 0,
	    "[[[[1,true]]],[[[null,true]]]]");
	expect(s,
	    J("{\"lib\":{\"x\":\"exports.f = n => require('./y').g(n)\",\"y\":\"exports.g = n => n + 1\"},"
	      "\"map\":[\"function(doc) { emit(require('views/lib/x').f(1), sum([1, 2])) }\"]}"),
	    SCRIPT_MAP, docs, 0, "[[[[2,3]]],[[[2,3]]]]");
	/* The same document gives the same rows. */
	expect(s, J("{\"map\":[\"function(doc) { emit(new Date(0).getTimezoneOffset(), 0) }\"]}"), SCRIPT_MAP, docs, 0,
	    "[[[[0,0]]],[[[0,0]]]]");
	expect(s, J("{\"map\":[\"function(doc) { JSON.stringify = JSON.parse = Array.isArray = null; emit(1, 1) }\"]}"),
	    SCRIPT_MAP, docs, 0, "[[[[1,1]]],[[[1,1]]]]");
	expect(
	    s, J("{\"map\":[\"function(doc) { throw 'fatal_error' }\"]}"), SCRIPT_MAP, docs, ERR_SCRIPT, "fatal_error");
	expect(s, J("{\"map\":[\"function(doc) { function f() { f() } f() }\"]}"), SCRIPT_MAP, docs, ERR_SCRIPT,
	    "too much recursion");
	expect(s, J("{\"map\":[\"function(doc) { emit({toJSON: function() { return this.toJSON() }}) }\"]}"),
	    SCRIPT_MAP, docs, ERR_SCRIPT, "too much recursion");
	expect(s, J("{\"map\":[\"function(doc) {\"]}"), SCRIPT_MAP, docs, ERR_SCRIPT, "SyntaxError");
	expect(s, J("{\"map\":[\"1 + 1\"]}"), SCRIPT_MAP, docs, ERR_SCRIPT, "does not eval to a function");
}

/* Each runs in a map function that would emit 1 behind it. */
static const char *const evals[] = {"eval('1')", "(0, eval)('1')", "this.eval('1')", "new Function('return 3')()",
    "Function('return 3')", "emit.constructor('return this')()", "(function*() {}).constructor('')",
    "(async () => {}).constructor('')", "(async function*() {}).constructor('')",
    "Reflect.construct(Function, ['return 3'])", "Function.prototype.constructor.call(null, '')"};

static void
test_eval(struct scripts *s)
{
	char program[512];

	for (size_t i = 0; i < sizeof(evals) / sizeof(evals[0]); i++) {
		snprintf(program, sizeof(program),
		    "{\"map\":[\"function(doc) { var glob = %s; emit(1) }\",\"function(doc) { try { %s } catch (e) { "
		    "emit(e.name) } }\"]}",
		    evals[i], evals[i]);
		expect(s, (struct jstr){program, strlen(program)}, SCRIPT_MAP, J("[{}]"), 0,
		    "[[[],[[\"EvalError\",null]]]]");
	}
	/* While it is compiled, too. */
	expect(s, J("{\"map\":[\"(eval('1'), function(doc) { emit(1) })\"]}"), SCRIPT_MAP, J("[{}]"), ERR_SCRIPT,
	    "EvalError");
	expect(s,
	    J("{\"lib\":{\"x\":\"exports.f = new Function('return 3')\"},\"map\":[\"function(doc) { "
	      "emit(require('views/lib/x').f()) }\"]}"),
	    SCRIPT_MAP, J("[{}]"), 0, "[[[]]]");
	/* Functions behind statements; each program may have the names of another. */
	expect(s,
	    J("{\"map\":[\"const n = 1; function add(x) { return x + n } (function(doc) { emit(add(1)) })\",\"const n "
	      "= 2; "
	      "let f = doc => { emit(n) }; f\"]}"),
	    SCRIPT_MAP, J("[{}]"), 0, "[[[[2,null]],[[2,null]]]]");
}

static void
test_reduce(struct scripts *s)
{
	static const struct jstr program =
	    J_INIT("{\"map\":[],\"reduce\":[\"function(k, v, r) { return [k && k.length, sum(v), r] }\","
		   "\"function() { throw 1 }\"]}");

	expect(s, program, SCRIPT_REDUCE, J("[[0,[[1,\"a\"],[2,\"b\"]],[3,4]],[1,[],[]]]"), 0, "[[2,7,false],null]");
	expect(s, program, SCRIPT_REREDUCE, J("[[0,null,[3,4]]]"), 0, "[[null,7,true]]");
}

static const struct jstr ddoc = J_INIT(
    "{\"ddoc\":{\"_id\":\"_design/d\",\"lib\":{\"m\":\"exports.yes = true\"},"
    "\"filters\":{\"odd\":\"function(doc, req) { return doc.n % 2 && req.q }\",\"lib\":\"function() { return "
    "require('lib/m').yes }\"},"
    "\"views\":{\"v\":{\"map\":\"function(doc) { if (doc.n > 1) emit(1) }\"}},"
    "\"validate_doc_update\":\"function(n, o, u, s) { if (n.bad) throw {forbidden: u.name + s.x}; if (n.err) n.a.b }\","
    "\"updates\":{\"u\":\"function(doc, req) { return [{_id: 'x', was: doc}, 'done'] }\",\"no\":\"function() {}\"},"
    "\"shows\":{\"s\":\"function(doc, req) { return {json: [doc, req.q]} }\","
    "\"p\":\"function(doc, req) { provides('html', () => 'h'); provides('xml', () => 'x') }\","
    "\"gone\":\"function(doc) { throw ['error', 'nope', 'because'] }\"},"
    "\"lists\":{\"l\":\"function(head, req) { start({headers: {A: 'b'}}); send('<'); var r; while (r = getRow()) "
    "send(r.id); return '>' }\"}}}");

static void
test_design(struct scripts *s)
{
	expect(s, ddoc, SCRIPT_DESIGN, J("[[\"filters\",\"odd\"],[{\"n\":1},{\"n\":2}],{\"q\":1}]"), 0, "[true,false]");
	expect(s, ddoc, SCRIPT_DESIGN, J("[[\"filters\",\"lib\"],[{}],{}]"), 0, "[true]");
	expect(
	    s, ddoc, SCRIPT_DESIGN, J("[[\"filters\",\"none\"],[{}],{}]"), ERR_SCRIPT, "missing filters function none");
	expect(s, ddoc, SCRIPT_DESIGN, J("[[\"views\",\"v\"],[{\"n\":1},{\"n\":2}]]"), 0, "[false,true]");
	expect(s, ddoc, SCRIPT_DESIGN,
	    J("[[\"validate_doc_update\"],[[{},null,{},{}],[{\"bad\":1},null,{\"name\":\"n\"},{\"x\":2}]]]"), 0,
	    "[null,{\"threw\":{\"forbidden\":\"n2\"}}]");
	expect(s, ddoc, SCRIPT_DESIGN, J("[[\"validate_doc_update\"],[[{\"err\":1},null,{},{}],[{},null,{},{}]]]"), 0,
	    "[{\"failed\":\"TypeError: undefined is not an object (evaluating 'n.a.b')\"},null]");
	expect(s, ddoc, SCRIPT_DESIGN, J("[[\"updates\",\"u\"],{\"_id\":\"y\"},{}]"), 0,
	    "[{\"_id\":\"x\",\"was\":{\"_id\":\"y\"}},{\"body\":\"done\"}]");
	/* Rows are for lists alone. */
	expect(s, J("{\"ddoc\":{\"filters\":{\"r\":\"function() { getRow() }\"}}}"), SCRIPT_DESIGN,
	    J("[[\"filters\",\"r\"],[{}],{}]"), ERR_SCRIPT, "getRow");
	expect(s, ddoc, SCRIPT_DESIGN, J("[[\"updates\",\"no\"],null,{}]"), ERR_SCRIPT, "TypeError");
	expect(s, ddoc, SCRIPT_DESIGN, J("[[\"shows\",\"s\"],null,{\"q\":\"é\"}]"), 0, "{\"json\":[null,\"é\"]}");
	expect(s, ddoc, SCRIPT_DESIGN, J("[[\"shows\",\"gone\"],null,{}]"), ERR_SCRIPT, "because");
	expect(s, ddoc, SCRIPT_DESIGN,
	    J("[[\"shows\",\"p\"],null,{\"headers\":{\"Accept\":\"text/html;q=0.5, application/xml\"}}]"), 0,
	    "{\"body\":\"x\",\"headers\":{\"Content-Type\":\"application/xml\"}}");
	expect(s, ddoc, SCRIPT_DESIGN, J("[[\"shows\",\"p\"],null,{\"headers\":{\"Accept\":\"image/png\"}}]"),
	    ERR_SCRIPT, "not supported, try one of: text/html");
}

static void
check_answer(struct jstr answer, const char *want)
{
	CHECK_MEM(answer.s, answer.len, want, strlen(want));
}

/* Half a character, as slicing leaves it, becomes U+FFFD in whatever functions give and throw. */
static void
test_half_characters(struct scripts *s)
{
	static const struct jstr
	    halves =
		J_INIT("{\"ddoc\":{\"validate_doc_update\":\"function(n) { var half = '\\ud83d\\ude00'.slice(0, 1); "
		       "if (n.bad) throw {forbidden: half}; throw new Error(half) }\","
		       "\"shows\":{\"s\":\"function() { return 'a\\ud83d' }\","
		       "\"t\":\"function() { throw ['error', 'n\\ud83d', 'r\\ude00\\ud83d\\ude00'] }\","
		       "\"long\":\"function() { throw {error: 'é'.repeat(50), reason: 'r'} }\","
		       "\"e\":\"function() { throw {error: 'n', reason: 'r\\ud83d'} }\"},"
		       "\"filters\":{\"f\":\"function() { throw new TypeError('r\\ud83d') }\"},"
		       "\"lists\":{\"l\":\"function(head, req) { send('<\\ud83d'); getRow(); return '\\ude00>' }\"}}}"),
	    call = J_INIT("[[\"lists\",\"l\"],{},{}]");
	struct errtext why = {""};
	struct jstr answer;
	struct script *sc;

	expect(s, halves, SCRIPT_DESIGN, J("[[\"validate_doc_update\"],[[{\"bad\":1}],[{}]]]"), 0,
	    "[{\"threw\":{\"forbidden\":\"\\ufffd\"}},{\"failed\":\"Error: \\ufffd\"}]");
	expect(s, halves, SCRIPT_DESIGN, J("[[\"shows\",\"s\"],null,{}]"), 0, "{\"body\":\"a\\ufffd\"}");
	expect(s, halves, SCRIPT_DESIGN, J("[[\"shows\",\"t\"],null,{}]"), ERR_SCRIPT, "r\xef\xbf\xbd\xf0\x9f\x98\x80");
	expect(s, halves, SCRIPT_DESIGN, J("[[\"shows\",\"e\"],null,{}]"), ERR_SCRIPT, "r\xef\xbf\xbd");
	expect(s, halves, SCRIPT_DESIGN, J("[[\"filters\",\"f\"],[{}],{}]"), ERR_SCRIPT, "TypeError: r\xef\xbf\xbd");
	expect(s, J("{\"map\":[\"function('\\ud83d\"]}"), SCRIPT_MAP, J("[{}]"), ERR_SCRIPT, "('\xef\xbf\xbd");
	if (!CHECK_INT(script_open(s, "db", halves, &sc, &why), 0))
		return;
	/* A name that is too long is cut between characters. */
	CHECK_INT(ask(sc, SCRIPT_DESIGN, J("[[\"shows\",\"long\"],null,{}]"), &answer, &why), ERR_SCRIPT);
	CHECK_INT(strlen(script_error(sc)), 62);
	CHECK_INT(script_send_list(sc, &call, 1), 0);
	CHECK_INT(script_receive(sc, &answer, &why), ERR_AGAIN);
	check_answer(answer, "[[\"<\\ufffd\"],{\"headers\":{}}]");
	CHECK_INT(script_rows(sc, NULL, 0), 0);
	CHECK_INT(script_receive(sc, &answer, &why), 0);
	check_answer(answer, "[[\"\\ufffd>\"]]");
	script_close(sc);
}

/* A list function gets its rows in pieces. */
static void
test_list(struct scripts *s)
{
	static const struct jstr call = J_INIT("[[\"lists\",\"l\"],{},{}]"),
				 rows = J_INIT("[{\"id\":\"a\"},{\"id\":\"b\"}]");
	struct errtext why = {""};
	struct jstr answer;
	struct script *sc;

	if (!CHECK_INT(script_open(s, "db", ddoc, &sc, &why), 0))
		return;
	CHECK_INT(script_send_list(sc, &call, 1), 0);
	CHECK_INT(script_receive(sc, &answer, &why), ERR_AGAIN);
	check_answer(answer, "[[\"<\"],{\"headers\":{\"A\":\"b\"}}]");
	CHECK_INT(script_rows(sc, &rows, 1), 0);
	CHECK_INT(script_receive(sc, &answer, &why), ERR_AGAIN);
	check_answer(answer, "[[\"a\",\"b\"]]");
	CHECK_INT(script_rows(sc, NULL, 0), 0);
	CHECK_INT(script_receive(sc, &answer, &why), 0);
	check_answer(answer, "[[\">\"]]");
	script_close(sc);
}

static struct script *
open_list(struct scripts *s, const char *owner)
{
	static const struct jstr call = J_INIT("[[\"lists\",\"l\"],{},{}]");
	struct errtext why = {""};
	struct script *sc = NULL;
	struct jstr answer;

	if (!CHECK_INT(script_open(s, owner, ddoc, &sc, &why), 0))
		exit(1);
	CHECK_INT(script_send_list(sc, &call, 1), 0);
	CHECK_INT(script_receive(sc, &answer, &why), ERR_AGAIN);
	return sc;
}

/* goes_on: What was parked is taken up where it stood, unless ${err}: it was ended. */
static void
goes_on(struct script *sc, int err)
{
	static const struct jstr rows = J_INIT("[{\"id\":\"a\"}]");
	struct errtext why = {""};
	struct jstr answer;

	CHECK_INT(script_rows(sc, &rows, 1), err);
	CHECK_INT(script_receive(sc, &answer, &why), err != 0 ? ERR_SCRIPT_DIED : ERR_AGAIN);
	script_close(sc);
}

/* Who waits ends one that is parked: of its own database, or else the one that waits longest; nobody waits: none is ended. */
static void
test_parked(void)
{
	struct scripts *s = start(3, 60000, 1000);
	struct script *own, *other, *got = NULL;
	struct scripts_count n;
	struct errtext why = {""};

	other = open_list(s, "b");
	own = open_list(s, "a");
	script_park(other);
	script_park(own);
	script_park(own);
	/* A third would be the last. */
	CHECK_INT(script_open(s, "a", ddoc, &got, &why), 0);
	script_close(got);
	scripts_count(s, &n);
	CHECK_INT(n.failed, 1);
	goes_on(other, 0);
	goes_on(own, ERR_BUSY);
	scripts_free(s);

	s = start(1, 60000, 1000);
	own = open_list(s, "a");
	script_park(own);
	CHECK_INT(script_open(s, "b", ddoc, &got, &why), 0);
	script_close(got);
	goes_on(own, ERR_BUSY);
	own = open_list(s, "a");
	/* At work it is nobody else's. */
	CHECK_INT(script_open(s, "b", ddoc, &got, &why), ERR_BUSY);
	script_park(own);
	script_close(own);
	scripts_free(s);
}

/* explode: What takes more memory than there is fails, or ends its process, whatever it catches. */
static void
explode(struct scripts *s, const char *body)
{
	struct errtext why = {""};
	struct jstr answer = {"", 0}, text;
	struct script *sc;
	char program[512];
	int err;

	snprintf(program, sizeof(program), "{\"map\":[\"function(doc) { %s; emit('still there') }\"]}", body);
	text = (struct jstr){program, strlen(program)};
	if (!CHECK_INT(script_open(s, "db", text, &sc, &why), 0))
		return;
	err = ask(sc, SCRIPT_MAP, J("[{}]"), &answer, &why);
	/* A throw that map functions may catch costs the row. */
	if (!CHECK(err == ERR_SCRIPT_DIED || err == ERR_SCRIPT || (err == 0 && answer.len < 20)))
		fprintf(stderr, "  %s: %d %.*s\n", body, err, (int)(answer.len < 80 ? answer.len : 80), answer.s);
	script_close(sc);
}

static const char *const bombs[] = {"var a = []; for (;;) a.push({})", "var a = 'x'; for (;;) a += a + 'y'",
    "var a = []; for (;;) a.push(new ArrayBuffer(1 << 24))",
    "var a = []; for (;;) a.push(new Uint8Array(1 << 20).fill(1))", "var a = 'x'.repeat(1 << 28); a = a.split('')",
    "var m = new Map(); for (var i = 0;; i++) m.set(i, {i})",
    "var a = []; for (;;) { a = [a]; a.b = 'x'.repeat(1000) + Math.random() }",
    "emit([].concat(Array(5e6).fill('aaaa')))"};

/* Who loops, grows, or says too much costs its own operation; the next one is served. */
static void
test_harm(void)
{
	struct scripts *s = start(1, 60000, 1500);

	expect(s, J("{\"map\":[\"function(doc) { for (;;); }\"]}"), SCRIPT_MAP, J("[{}]"), ERR_SCRIPT_TIMEOUT, "");
	expect(s, J("{\"map\":[\"function(doc) { for (;;) try { for (;;); } catch (e) {} }\"]}"), SCRIPT_MAP, J("[{}]"),
	    ERR_SCRIPT_TIMEOUT, "");
	/* The engine gives up a single one by itself, sooner or later. */
	expect(s, J("{\"map\":[\"function(doc) { for (;;) /(a+)+$/.test('a'.repeat(40) + 'b') }\"]}"), SCRIPT_MAP,
	    J("[{}]"), ERR_SCRIPT_TIMEOUT, "");
	expect(s,
	    J("{\"map\":[\"function(doc) { emit(typeof Atomics + typeof SharedArrayBuffer + typeof WebAssembly) }\"]}"),
	    SCRIPT_MAP, J("[{}]"), 0, "[[[[\"undefinedundefinedundefined\",null]]]]");
	expect(s, J("{\"map\":[\"function(doc) { emit(1) }\"]}"), SCRIPT_MAP, J("[{}]"), 0, "[[[[1,null]]]]");
	scripts_free(s);
	s = start(1, 60000, 20000);
	expect(s, J("{\"map\":[\"function(doc) { emit('x'.repeat(17 << 20)) }\"]}"), SCRIPT_MAP, J("[{}]"), ERR_SCRIPT,
	    "too large");
	for (size_t i = 0; i < sizeof(bombs) / sizeof(bombs[0]); i++)
		explode(s, bombs[i]);
	expect(s, J("{\"map\":[\"function(doc) { emit(1) }\"]}"), SCRIPT_MAP, J("[{}]"), 0, "[[[[1,null]]]]");
	scripts_free(s);
}

/* Many operations under way, larger than what a socket holds, both ways. */
static void
test_pipeline(struct scripts *s)
{
	size_t len = (size_t)3 << 20;
	char *text = malloc(len + 32);
	struct errtext why = {""};
	struct jstr answer, part;
	struct script *sc;

	if (text == NULL ||
	    !CHECK_INT(script_open(s, "db", J("{\"map\":[\"function(doc) { emit(doc.x) }\"]}"), &sc, &why), 0))
		return;
	memcpy(text, "[{\"x\":\"", 7);
	memset(text + 7, 'y', len);
	memcpy(text + 7 + len, "\"}]", 3);
	part = (struct jstr){text, len + 10};
	for (unsigned i = 0; i < SCRIPT_IN_FLIGHT; i++)
		CHECK_INT(script_send(sc, SCRIPT_MAP, &part, 1), 0);
	CHECK_INT(script_send(sc, SCRIPT_MAP, &part, 1), ERR_BUSY);
	for (unsigned i = 0; i < SCRIPT_IN_FLIGHT; i++) {
		CHECK_INT(script_receive(sc, &answer, &why), 0);
		CHECK_INT(answer.len, len + 15);
	}
	script_close(sc);
	free(text);
}

/* ---- Who gets which child ---- */

static void
use(struct scripts *s, const char *owner, const char *program, int n)
{
	struct jstr text = {program, strlen(program)};
	struct errtext why = {""};
	struct script *sc;
	struct jstr answer;

	for (int i = 0; i < n; i++) {
		if (!CHECK_INT(script_open(s, owner, text, &sc, &why), 0))
			return;
		CHECK_INT(ask(sc, SCRIPT_MAP, J("[{}]"), &answer, &why), 0);
		script_close(sc);
	}
}

static void
test_owners(void)
{
	struct scripts *s = start(2, 60000, 5000);
	struct scripts_count n;
	char program[80];

	use(s, "a", "{\"map\":[\"function(doc) { globalThis.left = 1; emit(globalThis.left) }\"]}", 3);
	scripts_count(s, &n);
	CHECK_INT(n.started, 1);
	use(s, "b", "{\"map\":[\"function(doc) {}\"]}", 1);
	scripts_count(s, &n);
	CHECK_INT(n.started, 2);
	/* A third database takes the place of the one that waited longest. */
	use(s, "c", "{\"map\":[\"function(doc) {}\"]}", 1);
	use(s, "b", "{\"map\":[\"function(doc) {}\"]}", 1);
	scripts_count(s, &n);
	CHECK_INT(n.started, 3);
	CHECK_INT(n.children, 2);
	CHECK_INT(n.busy, 0);
	/* More programs than a child keeps. */
	for (unsigned i = 0; i < 2 * SCRIPT_PROGRAMS; i++) {
		snprintf(program, sizeof(program), "{\"map\":[\"function(doc) { emit(%u) }\"]}", i);
		use(s, "b", program, 1);
	}
	use(s, "b", "{\"map\":[\"function(doc) { emit(1) }\"]}", 1);
	scripts_count(s, &n);
	CHECK_INT(n.started, 3);
	scripts_free(s);
}

struct crowd {
	struct scripts *s;
	char owner[8];
};

static void *
hurry(void *arg)
{
	struct crowd *c = arg;

	use(c->s, c->owner, "{\"map\":[\"function(doc) { for (var i = 0; i < 1e5; i++); emit(i) }\"]}", 10);
	return NULL;
}

/* Ten at a time, two children: all are served, and never by a third. */
static void
test_crowd(void)
{
	struct scripts *s = start(2, 60000, 20000);
	struct scripts_count n;
	struct crowd crowd[10];
	pthread_t t[10];

	for (int i = 0; i < 10; i++) {
		crowd[i].s = s;
		snprintf(crowd[i].owner, sizeof(crowd[i].owner), "db%d", i % 5);
		CHECK_INT(pthread_create(&t[i], NULL, hurry, &crowd[i]), 0);
	}
	for (int i = 0; i < 10; i++)
		pthread_join(t[i], NULL);
	scripts_count(s, &n);
	CHECK(n.children <= 2);
	CHECK_INT(n.busy, 0);
	CHECK_INT(n.waiting, 0);
	scripts_free(s);
}

/* What loops until it is killed: most of the children's time would be this database's. */
static void *
loop(void *arg)
{
	struct crowd *c = arg;
	struct errtext why = {""};
	struct jstr answer;
	struct script *sc;

	if (script_open(c->s, c->owner, J("{\"map\":[\"function(doc) { for (;;); }\"]}"), &sc, &why) != 0)
		return NULL;
	CHECK_INT(ask(sc, SCRIPT_MAP, J("[{}]"), &answer, &why), ERR_SCRIPT_TIMEOUT);
	script_close(sc);
	return NULL;
}

/* One database has half of the children at most, whoever else wants none: what others want is there at once. */
static void
test_fair(void)
{
	struct scripts *s = start(4, 60000, 3000);
	struct scripts_count before, n;
	struct crowd crowd[6];
	pthread_t t[6];

	for (int i = 0; i < 6; i++) {
		crowd[i].s = s;
		snprintf(crowd[i].owner, sizeof(crowd[i].owner), "%s", "a");
		CHECK_INT(pthread_create(&t[i], NULL, loop, &crowd[i]), 0);
	}
	do {
		usleep(1000);
		scripts_count(s, &before);
	} while (before.busy + before.waiting < 6);
	CHECK_INT(before.busy, 2);
	CHECK_INT(before.waiting, 4);
	for (int i = 0; i < 20; i++)
		use(s, i % 2 ? "b" : "c", "{\"map\":[\"function(doc) { emit(1) }\"]}", 1);
	scripts_count(s, &n);
	/* They took turns with none of the four. */
	CHECK_INT(n.waiting, before.waiting - n.failed);
	CHECK(n.failed < 4);
	for (int i = 0; i < 6; i++)
		pthread_join(t[i], NULL);
	scripts_free(s);
}

/* New ones for all: who is idle goes at once, who is in use when it is done. */
static void
test_reload(void)
{
	struct scripts *s = start(4, 60000, 5000);
	struct scripts_count n;
	struct errtext why = {""};
	struct jstr answer;
	struct script *sc;

	use(s, "a", "{\"map\":[\"function(doc) {}\"]}", 1);
	if (!CHECK_INT(script_open(s, "b", J("{\"map\":[\"function(doc) { emit(2) }\"]}"), &sc, &why), 0))
		return;
	scripts_reload(s);
	scripts_count(s, &n);
	CHECK_INT(n.children, 1);
	CHECK_INT(n.exited, 1);
	CHECK_INT(ask(sc, SCRIPT_MAP, J("[{}]"), &answer, &why), 0);
	script_close(sc);
	scripts_count(s, &n);
	CHECK_INT(n.children, 0);
	CHECK_INT(n.exited, 2);
	CHECK_INT(n.failed, 0);
	use(s, "b", "{\"map\":[\"function(doc) {}\"]}", 1);
	scripts_count(s, &n);
	CHECK_INT(n.started, 3);
	scripts_free(s);
}

/* One that nobody uses is ended, and one that died unseen is not given out. */
static void
test_idle(void)
{
	struct scripts *s = start(2, 50, 5000);
	struct scripts_count n;
	int rounds = 0;

	use(s, "a", "{\"map\":[\"function(doc) {}\"]}", 1);
	do {
		usleep(10000);
		scripts_count(s, &n);
	} while (n.children > 0 && ++rounds < 1000);
	CHECK_INT(n.children, 0);
	use(s, "a", "{\"map\":[\"function(doc) {}\"]}", 1);
	scripts_free(s);
}

/* An executor whose timers are about to run when they are cancelled. */
static struct {
	struct executor ex;
	struct exec_job *asked;
	struct exec_job job;
	_Atomic int runs;
} late;

static void
late_run(void *arg)
{
	struct exec_job *job = arg;

	late.runs = 1;
	job->fn(job->arg);
}

static void
late_later(struct executor *ex, struct exec_job *job, uint64_t delay_ms)
{
	(void)ex;
	(void)delay_ms;
	late.asked = job;
}

static int
late_cancel(struct executor *ex, struct exec_job *job)
{
	struct executor *real = exec_threads_executor(threads);

	(void)ex;
	CHECK(job == late.asked);
	late.job = (struct exec_job){.fn = late_run, .arg = job};
	real->later(real, &late.job, 50);
	return 0;
}

static uint64_t
late_now(struct executor *ex)
{
	(void)ex;
	return exec_threads_executor(threads)->now_ms(exec_threads_executor(threads));
}

static void
test_end_while_sweeping(void)
{
	struct scripts *s;

	late.ex = (struct executor){.later = late_later, .cancel = late_cancel, .now_ms = late_now};
	s = start_with(&late.ex, 2, 10, 5000);
	use(s, "a", "{\"map\":[\"function(doc) {}\"]}", 1);
	scripts_free(s);
	CHECK_INT(late.runs, 1);
}

/* What is forbidden fails from inside. */
static void
test_sandbox(void)
{
	enum { NFAIL = 12 };
	static const char *const what[] = {"open", "create", "socket", "exec", "fork", "ptrace", "kill", "stat", "nice",
	    "idle", "mapfile", "memory", "executable", "mprotect", "prctl", "pdeathsig", "seccomp", "userfaultfd",
	    "io_uring", "bpf", "perf", "memfd", "shmget", "shmat", "mq", "pidfd", "vmread", "keyctl", "setuid",
	    "unshare", "dup", "fcntl", "ioctl", "socketpair", "pipe", "tgkill", "tkill", "sigqueue", "rlimit",
	    "ownrlimit", "affinity", "inotify", "timer", "chdir", "unlink", "mlock", "uname", "namespace"};

	for (size_t i = 0; i < sizeof(what) / sizeof(what[0]); i++) {
		char command[PATH_MAX + 80];
		int status;

		snprintf(command, sizeof(command),
		    "GIGACAGE_ENABLED=0 exec '%s' 268435456 1048576 %s 3</dev/zero 2>/dev/null", exe, what[i]);
		status = system(command);
		/* Some fail, most are the end of it: a failure might have other reasons. */
		if (!CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 0 && i < NFAIL) ||
			   (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)))
			fprintf(stderr, "  %s: status %#x\n", what[i], (unsigned)status);
	}
}

#ifdef MALLOCS_OWN

/* A function's reason that there is no memory for is no sign that its process has ended. */
static void
test_reason_without_memory(void)
{
	static const struct jstr program =
	    J_INIT("{\"ddoc\":{\"shows\":{\"s\":\"function() { throw ['error', 'no', 'a \\\"quote\\\"'] }\"}}}");
	struct scripts *s = start(1, 60000, 10000);
	unsigned n, made = 1;

	for (n = 1; made > 0; n++) {
		struct errtext why = {""};
		struct script *sc = NULL;
		struct jstr answer;
		int err = script_open(s, "db", program, &sc, &why);

		if (err == 0)
			err = script_send(sc, SCRIPT_DESIGN, &J("[[\"shows\",\"s\"],null,{}]"), 1);
		if (!CHECK_INT(err, 0))
			break;
		fault_begin(MEMORY, n, 0);
		faulty = 1;
		err = script_receive(sc, &answer, &why);
		faulty = 0;
		fault.what = 0;
		made = fault.made;
		if (!CHECK_INT(err, made > 0 ? ERR_NOMEM : ERR_SCRIPT))
			fprintf(stderr, "allocation %u: %s\n", n, why.text);
		script_close(sc);
	}
	CHECK(n > 2);
	scripts_free(s);
}

#endif

int
main(int argc, char **argv)
{
	struct scripts *s;
	char self[PATH_MAX];

	(void)argc;
	snprintf(self, sizeof(self), "%s", argv[0]);
	snprintf(exe, sizeof(exe), "%s/../divan-js", dirname(self));
	if (exec_threads_new(1, &threads) != 0)
		return 1;
	s = start(2, 60000, 10000);
	test_map(s);
	test_reduce(s);
	test_eval(s);
	test_design(s);
	test_half_characters(s);
	test_list(s);
	test_pipeline(s);
	scripts_free(s);
	test_harm();
	test_owners();
	test_crowd();
	test_fair();
	test_reload();
	test_idle();
	test_end_while_sweeping();
	test_parked();
	test_sandbox();
#ifdef MALLOCS_OWN
	test_reason_without_memory();
#endif
	exec_threads_free(threads);
	return check_done();
}
