// validate_doc_update, _show and _update as users write them: verdicts of every kind, responses of every kind, and functions that fail.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startDivand } from '../lib/divand.mjs';
import { ask, assertError, connect, newDb } from './client.mjs';

let server;
before(async () => {
	server = await startDivand({ config: { couchdb: { os_process_timeout: '500', default_security: 'everyone' } } });
});
after(() => server.stop());

const withDesign = async (design) => {
	const db = await newDb(server);
	const put = await ask(server, 'PUT', `/${db}/_design/d`, { json: design });
	assert.equal(put.status, 201, put.text);
	return db;
};
const rev = async (db, id) => (await ask(server, 'GET', `/${db}/${id}`)).json._rev;

/* ---- Validators ---- */

const VALIDATOR = `function (doc, old, user, sec) {
	if (this.validate_doc_update === undefined) throw({ forbidden: 'this is not the design document' });
	switch (doc.how) {
	case 'forbidden': throw({ forbidden: 'because' });
	case 'unauthorized': throw({ unauthorized: 'who are you' });
	case 'object': throw({ forbidden: { a: [1] } });
	case 'text': throw 'just a text';
	case 'number': throw 5;
	case 'nothing': throw undefined;
	case 'null': throw null;
	case 'other': throw { error: 'e', reason: 'r' };
	case 'array': throw ['error', 'x', 'y'];
	case 'cycle': var c = {}; c.c = c; throw c;
	case 'error': throw new Error('an error');
	case 'type': return doc.no.such.member;
	case 'stack': return (function f() { return f() + 1; })();
	case 'old': if (!old) throw({ forbidden: 'no old' }); if (old._rev !== doc._rev) throw({ forbidden: 'other parent' }); return;
	case 'who': throw({ forbidden: JSON.stringify([user.name, user.db, user.roles.indexOf('_admin') >= 0, sec.mark || null]) });
	}
	if (doc._deleted && old && old.kept) throw({ forbidden: 'kept' });
}`;

test('what is thrown is the write\'s error, whatever it is, and nothing of the write is stored', async () => {
	const db = await withDesign({ validate_doc_update: VALIDATOR });
	const put = (how, more) => ask(server, 'PUT', `/${db}/${how}`, { json: { how, ...more } });
	assertError(await put('forbidden'), 403, 'forbidden', 'because');
	assertError(await put('unauthorized'), 401, 'unauthorized', 'who are you');
	assertError(await put('object'), 403, 'forbidden', '{"a":[1]}');
	for (const how of ['text', 'number', 'nothing', 'null', 'other', 'array', 'cycle', 'error', 'type', 'stack'])
		assertError(await put(how), 500);
	for (const how of ['forbidden', 'text', 'number', 'nothing', 'null', 'other', 'array', 'cycle', 'error', 'type', 'stack', 'old'])
		assert.equal((await ask(server, 'GET', `/${db}/${how}`)).status, 404, how);
	assertError(await put('old'), 403, 'forbidden', 'no old');
	await put('plain');
	assert.equal((await ask(server, 'PUT', `/${db}/plain`, { json: { how: 'old', _rev: await rev(db, 'plain') } })).status, 201);
	await ask(server, 'PUT', `/${db}/_security`, { json: { mark: 'm' } });
	assertError(await put('who'), 403, 'forbidden', JSON.stringify(['admin', db, true, 'm']));
	assertError(await ask(server, 'PUT', `/${db}/x`, { json: { how: 'who' }, auth: null }), 403, 'forbidden', JSON.stringify([null, db, false, 'm']));
	await put('k', { kept: 1 });
	assertError(await ask(server, 'DELETE', `/${db}/k?rev=${await rev(db, 'k')}`), 403, 'forbidden', 'kept');
});

test('a batch of a thousand: each has its own verdict, in edits and in replicated revisions', async () => {
	const db = await withDesign({ validate_doc_update: 'function (doc) { if (doc.n % 3 === 0) throw({ forbidden: "third " + doc.n }); if (doc.n % 100 === 7) throw({ unauthorized: "seven" }); }' });
	const verdict = (n) => (n % 3 === 0 ? 'forbidden' : n % 100 === 7 ? 'unauthorized' : undefined);
	const docs = (p, more) => Array.from({ length: 1000 }, (_, n) => ({ _id: `${p}${n}`, n, ...more }));
	const edits = (await ask(server, 'POST', `/${db}/_bulk_docs`, { json: { docs: docs('e') } })).json;
	assert.deepEqual(edits.map((x) => x.error), docs('e').map((d) => verdict(d.n)));
	assert.equal(edits[3].reason, 'third 3');
	const replicated = (await ask(server, 'POST', `/${db}/_bulk_docs`, { json: { docs: docs('r', { _rev: '1-a' }), new_edits: false } })).json;
	assert.deepEqual(new Map(replicated.map((x) => [x.id, x.error])), new Map(docs('r').filter((d) => verdict(d.n)).map((d) => [d._id, verdict(d.n)])));
	const left = (await ask(server, 'GET', `/${db}/_all_docs`)).json.total_rows;
	assert.equal(left, 1 + 2 * docs('').filter((d) => !verdict(d.n)).length);
});

for (const [what, source] of Object.entries({
	loops: 'function () { for (;;) ; }', allocates: 'function () { var a = []; for (;;) a.push(new Array(100000).fill(a.length)); }',
	'does not compile': 'function (doc {', 'is no function': '"text"', 'grows a string': 'function () { var s = "x"; for (;;) s += s; }',
	'answers too much': 'function () { throw({ forbidden: new Array(1 << 27).join("x") }); }',
})) {
	test(`a validator that ${what}: nothing is stored, and other databases notice nothing`, async () => {
		const db = await withDesign({ validate_doc_update: source });
		const other = await newDb(server);
		const judged = [ask(server, 'PUT', `/${db}/one`, { json: {} }), ask(server, 'POST', `/${db}/_bulk_docs`, { json: { docs: [{ _id: 'two' }, { _id: 'three' }] } }),
			ask(server, 'POST', `/${db}/_bulk_docs`, { json: { docs: [{ _id: 'four', _rev: '1-a' }], new_edits: false } })];
		for (let i = 0; i < 10; i++) assert.equal((await ask(server, 'PUT', `/${other}/x${i}`, { json: {} })).status, 201);
		const [one, two, four] = await Promise.all(judged);
		assert.ok(one.status >= 400, one.text);
		// Where a function's process fails, so does the request; else each document.
		for (const all of [two, four]) assert.ok([all.json].flat().every((x) => x.error), all.text);
		assert.deepEqual((await ask(server, 'GET', `/${db}/_all_docs`)).json.rows.map((r) => r.id), ['_design/d']);
		// The design document itself can always be replaced.
		assert.equal((await ask(server, 'PUT', `/${db}/_design/d`, { json: { _rev: await rev(db, '_design/d') } })).status, 201);
		assert.equal((await ask(server, 'PUT', `/${db}/one`, { json: {} })).status, 201);
	});
}

test('validators of several design documents all have a say; modules and state', async () => {
	const db = await withDesign({ lib: { even: 'exports.is = function (n) { return n % 2 === 0; };' }, validate_doc_update: 'function (doc) { if (!require("lib/even").is(doc.n)) throw({ forbidden: "odd" }); }' });
	await ask(server, 'PUT', `/${db}/_design/e`, { json: { validate_doc_update: 'function (doc) { doc.n = 1; if (doc.m) throw({ unauthorized: "m" }); }' } });
	const put = (id, json) => ask(server, 'PUT', `/${db}/${id}`, { json });
	assertError(await put('a', { n: 1 }), 403, 'forbidden', 'odd');
	assertError(await put('a', { n: 2, m: 1 }), 401, 'unauthorized', 'm');
	assert.equal((await put('a', { n: 2 })).status, 201);
	assert.equal((await ask(server, 'GET', `/${db}/a`)).json.n, 2, 'a validator changes nothing');
});

test('paths of modules: ".." is one up from where the module stands, "." stays there', async () => {
	const id = 'exports.id = module.id;', get = (path) => `module.exports = require('${path}').id;`;
	const db = await withDesign({
		w: {
			one: { a: { b: { d: get('../c/e') }, c: { e: id } } },
			two: { a: { b: { d: get('../../a/c/e') }, c: { e: id } } },
			three: { a: { b: get('./c/d'), c: { d: "module.exports = require('./e');", e: id } } },
			four: { a: { b: get('../a/./c/d'), c: { d: "module.exports = require('./e');", e: id } } },
			five: { a: get('w/five/b'), b: id },
			six: { a: get('../../../x') },
		},
		shows: { s: 'function (doc, req) { return require(req.query.of); }' },
	});
	for (const [of, want] of [['w/one/a/b/d', 'w/one/a/c/e'], ['w/two/a/b/d', 'w/two/a/c/e'], ['w/three/a/b', 'w/three/a/c/e'], ['w/four/a/b', 'w/four/a/c/e'], ['w/five/a', 'w/five/b']])
		assert.equal((await show(db, `s?of=${of}`)).text, want, of);
	for (const of of ['w/six/a', './w/five/b', '../w', 'w', 'w/none']) assertError(await show(db, `s?of=${of}`), 500);
});

/* ---- Shows ---- */

const SHOWS = {
	doc: 'function (doc, req) { return JSON.stringify(doc); }',
	req: 'function (doc, req) { return { json: req }; }',
	given: 'function (doc, req) { return JSON.parse(req.query.r); }',
	throws: 'function (doc, req) { throw(JSON.parse(req.query.e)); }',
	fails: 'function (doc, req) { return req.no.such; }',
	loops: 'function () { for (;;) ; }',
	broken: 'function (',
	nothing: 'function () {}',
	starts: 'function (doc, req) { start(JSON.parse(req.query.r)); send("Hey"); return req.query.more ? { code: 202, headers: { "X-Own": "o" }, body: ", you" } : undefined; }',
	method: 'function (doc, req) { return req.method; }',
	types: 'function (doc, req) { provides("html", function () { return "<p>"; }); provides("json", function () { return { json: 1 }; }); }',
};
const show = (db, path, more) => ask(server, 'GET', `/${db}/_design/d/_show/${path}`, more);
const given = (db, r, more) => show(db, `given?r=${encodeURIComponent(JSON.stringify(r))}`, more);

test('shows: documents, requests, codes, headers and bodies', async () => {
	const db = await withDesign({ shows: SHOWS });
	await ask(server, 'PUT', `/${db}/${encodeURIComponent('a/b')}`, { json: { n: 1, _attachments: { f: { data: 'AAEC', content_type: 'x/y' } } } });
	assert.equal(JSON.parse((await show(db, 'doc/a/b')).text).n, 1);
	assert.equal(JSON.parse((await show(db, 'doc/a%2Fb')).text)._attachments.f.stub, true);
	assert.equal((await show(db, 'doc')).text, 'null');
	assert.equal((await show(db, 'doc/none')).text, 'null');
	const req = (await show(db, 'req?x=1&y=%20', { headers: { 'x-mine': 'yes' } })).json;
	assert.deepEqual([req.method, req.query, req.path.slice(1), req.info.db_name, req.userCtx.name, req.headers['X-Mine']], ['GET', { x: '1', y: ' ' }, ['_design', 'd', '_show', 'req'], db, 'admin', 'yes']);
	assert.deepEqual((await ask(server, 'POST', `/${db}/_design/d/_show/req`, { body: 'a=1&b=x+y;c=z;', type: 'application/x-www-form-urlencoded' })).json.form, { a: '1', b: 'x y', c: 'z' });
	assert.equal((await given(db, { code: 404, body: 'gone' })).status, 404);
	assert.deepEqual((await given(db, { base64: 'AAH/' })).raw, Buffer.from([0, 1, 255]));
	assert.deepEqual((await given(db, { json: { a: [1, null] } })).json, { a: [1, null] });
	const html = await show(db, 'types', { headers: { accept: 'text/html' } });
	assert.deepEqual([html.text, html.headers['content-type']], ['<p>', 'text/html; charset=utf-8']);
	assert.equal((await show(db, 'types', { headers: { accept: 'application/json' } })).headers['content-type'], 'application/json');
	assertError(await show(db, 'types', { headers: { accept: 'image/png' } }), 406, 'not_acceptable');
	// start() takes the headers themselves, or an object that has them, as in lists.
	for (const r of [{ 'X-Couch-Test-Header': 'Yeah' }, { headers: { 'X-Couch-Test-Header': 'Yeah' } }])
		for (const [more, want] of [['', [200, 'Hey', 'Yeah', undefined]], ['&more=1', [202, 'Hey, you', 'Yeah', 'o']]]) {
			const r2 = await show(db, `starts?r=${encodeURIComponent(JSON.stringify(r))}${more}`);
			assert.deepEqual([r2.status, r2.text, r2.headers['x-couch-test-header'], r2.headers['x-own']], want);
		}
	const head = await ask(server, 'HEAD', `/${db}/_design/d/_show/doc`);
	assert.deepEqual([head.status, head.text], [200, '']);
	// The method is the one that the request stands for: HEAD is GET.
	const length = async (method) => (await ask(server, method, `/${db}/_design/d/_show/method`)).headers['content-length'];
	assert.equal(await length('HEAD'), await length('GET'));
	for (const method of ['COPY', 'OPTIONS']) assert.equal((await ask(server, method, `/${db}/_design/d/_show/method`)).text, method);
	assert.equal((await ask(server, 'POST', `/${db}/_design/d/_show/method`, { headers: { 'X-HTTP-Method-Override': 'DELETE' } })).text, 'DELETE');
});

test('headers that a function may not set, and bytes that no header may have', async () => {
	const db = await withDesign({ shows: SHOWS });
	const r = await given(db, { body: 'four', headers: { 'Content-Length': '1', 'Transfer-Encoding': 'chunked', Connection: 'close', 'X-Fine': 'ok', 'x bad': '1', 'X-Num': 5, '': 'x', 'X:Y': '1' } });
	assert.deepEqual([r.status, r.text, r.headers['x-fine'], r.headers['transfer-encoding'], r.headers['x bad']], [200, 'four', 'ok', undefined, undefined]);
	for (const value of ['a\r\nX-Evil: 1', 'a\nX-Evil: 1', 'a\r\n\r\n<p>', 'a\u0000b', '\rX-Evil: 1']) {
		const split = await given(db, { body: 'b', headers: { 'X-Split': value, Location: value } });
		assert.equal(split.headers['x-evil'], undefined, JSON.stringify(value));
		assert.ok(split.status !== 200 || split.text === 'b');
	}
	for (const name of ['X-A\r\nX-Evil', 'X-A\nX-Evil', 'X-Evil: 1\r\nY'])
		assert.equal((await given(db, { body: 'b', headers: { [name]: '1' } })).headers['x-evil'], undefined);
	for (const code of [0, 99, 100, 101, 199, 600, 1000, -1, 1e30, 3.5, '200', null]) {
		const odd = await given(db, { code, body: 'b' });
		assert.ok(odd.status >= 200 && odd.status < 600, `${code}: ${odd.status}`);
	}
	for (const code of [204, 304, 302]) assert.equal((await given(db, { code, body: 'b' })).status, code);
	// The connection is sound after all of that.
	assert.equal((await show(db, 'doc')).text, 'null');
});

test('entity tags change with what they depend on', async () => {
	const db = await withDesign({ shows: SHOWS });
	await ask(server, 'PUT', `/${db}/a`, { json: { n: 1 } });
	const tag = async (headers = {}) => (await show(db, 'doc/a', { headers })).headers.etag;
	const first = await tag();
	assert.equal(await tag(), first);
	assert.equal((await show(db, 'doc/a', { headers: { 'if-none-match': first } })).status, 304);
	await ask(server, 'PUT', `/${db}/a`, { json: { n: 2, _rev: await rev(db, 'a') } });
	assert.notEqual(await tag(), first);
	assert.equal((await show(db, 'doc/a', { headers: { 'if-none-match': first } })).status, 200);
	// A function's own is not sent, for it would have to run before anybody could compare it.
	const own = (await given(db, { headers: { ETag: 'mine', etag: 'mine' }, body: 'b' })).headers.etag;
	assert.match(own, /^"[0-9a-f]{32}"$/);
	assert.equal((await given(db, { headers: { ETag: 'mine', etag: 'mine' }, body: 'b' }, { headers: { 'if-none-match': own } })).status, 304);
});

test('one Vary where a function says the same, and its own beside it', async () => {
	const db = await withDesign({ shows: SHOWS });
	for (const [vary, want] of [['Accept', 'Accept'], ['accept', 'Accept'], ['Cookie', 'Cookie, Accept'], [undefined, 'Accept']])
		assert.equal((await given(db, { headers: { Vary: vary }, body: 'b' })).headers.vary, want, vary);
});

test('shows that fail, are missing, or are kept from who asks', async () => {
	const db = await withDesign({ shows: SHOWS });
	const thrown = (e) => show(db, `throws?e=${encodeURIComponent(JSON.stringify(e))}`);
	assertError(await thrown(['error', 'not_found', 'no such thing']), 404, 'not_found', 'no such thing');
	assertError(await thrown({ error: 'bad_request', reason: 'why' }), 400, 'bad_request', 'why');
	for (const e of ['text', 5, null, [], {}, ['error'], { error: {}, reason: [] }, ['error', 5, 6]]) assertError(await thrown(e), 500);
	assertError(await show(db, 'fails'), 500, 'render_error');
	assertError(await show(db, 'loops'), 500, 'os_process_error');
	assertError(await show(db, 'broken'), [400, 500], 'compilation_error');
	assertError(await show(db, 'none'), 404, 'not_found', 'missing json key: none');
	assert.ok((await show(db, 'nothing')).status < 600);
	assertError(await ask(server, 'GET', `/${db}/_design/none/_show/x`), 404, 'not_found');
	assertError(await ask(server, 'GET', `/${db}/_design/d/_show`), 404);
	await ask(server, 'PUT', `/${db}/_security`, { json: { members: { names: ['somebody'] } } });
	assertError(await show(db, 'doc', { auth: null }), 401, 'unauthorized');
	assertError(await ask(server, 'POST', `/${db}/_design/d/_update/x`, { json: {}, auth: null }), 401, 'unauthorized');
	await ask(server, 'DELETE', `/${db}`);
	assertError(await show(db, 'doc'), 404, 'not_found');
});

/* ---- Updates ---- */

const UPDATES = {
	given: 'function (doc, req) { return JSON.parse(req.body); }',
	add: 'function (doc, req) { if (!doc) return [null, "none"]; doc.n++; return [doc, { headers: { "X-N": String(doc.n) }, body: "now " + doc.n }]; }',
	stale: 'function (doc, req) { doc._rev = "1-abcdef"; return [doc, "x"]; }',
	loops: 'function () { for (;;) ; }',
	throws: 'function () { throw({ forbidden: "no" }); }',
};
const update = (db, path, json, method = 'POST') => ask(server, method, `/${db}/_design/d/_update/${path}`, { json });

test('updates: made, changed, deleted, left alone; conflicts; attachments stay', async () => {
	const db = await withDesign({ updates: UPDATES });
	const made = await update(db, 'given', [{ _id: 'a', n: 1, _attachments: { f: { data: 'AAEC', content_type: 'x/y' } } }, 'made']);
	assert.deepEqual([made.status, made.text, made.headers['x-couch-id']], [201, 'made', 'a']);
	assert.equal(made.headers['x-couch-update-newrev'], await rev(db, 'a'));
	const added = await update(db, 'add/a', {}, 'PUT');
	assert.deepEqual([added.status, added.text, added.headers['x-n']], [201, 'now 2', '2']);
	assert.deepEqual((await ask(server, 'GET', `/${db}/a/f`)).raw, Buffer.from([0, 1, 2]));
	assertError(await update(db, 'stale/a', {}), 409, 'conflict');
	assertError(await update(db, 'given', [{ _id: 'a', n: 9 }, 'x']), 409, 'conflict');
	assert.equal((await update(db, 'add/none', {})).text, 'none');
	assert.deepEqual(await Promise.all([1, 2, 3, 4].map(() => update(db, 'add/a', {}).then((r) => r.status))).then((all) => all.filter((s) => s !== 201 && s !== 409)), []);
	assert.equal((await update(db, 'given', [{ _id: 'a', _rev: await rev(db, 'a'), _deleted: true }, 'gone'])).text, 'gone');
	assert.equal((await ask(server, 'GET', `/${db}/a`)).status, 404);
});

test('updates that answer with what can be no document, or nothing of use', async () => {
	const db = await withDesign({ updates: UPDATES });
	for (const [json, status] of [[[{ n: 1 }, 'x'], 400], [[{ _id: '', n: 1 }, 'x'], 400], [[{ _id: '_bad' }, 'x'], 400], [[{ _id: 5 }, 'x'], 400], [[{ _id: 'a', _what: 1 }, 'x'], 400], [[{ _id: 'a', _rev: 'nonsense' }, 'x'], 400],
		[[[1], 'x'], [400, 500]], [[5, 'x'], [400, 500]], [['text', 'x'], [400, 500]], [[], 500], [5, 500], [{}, 500], [[null], 500], [[{ _id: 'a' }, 5], 500], [null, 500],
		[[{ _id: 'a'.repeat(70000) }, 'x'], 400], [[{ _id: 'a', _attachments: { f: { stub: true } } }, 'x'], [400, 412]]])
		assertError(await update(db, 'given', json), status);
	assertError(await ask(server, 'POST', `/${db}/_design/d/_update/given`, { body: 'no JSON' }), 500);
	assertError(await update(db, 'loops', {}), 500, 'os_process_error');
	assertError(await update(db, 'throws', {}), [403, 500]);
	assertError(await ask(server, 'GET', `/${db}/_design/d/_update/add`), 405, 'method_not_allowed');
	await ask(server, 'PUT', `/${db}/a`, { json: {} });
	for (const method of ['HEAD', 'OPTIONS']) assert.equal((await ask(server, method, `/${db}/_design/d/_update/add/a`)).status, 405);
	assert.equal((await update(db, 'add/a', undefined, 'COPY')).status, 201);
	assert.equal((await ask(server, 'DELETE', `/${db}/a?rev=${await rev(db, 'a')}`)).json.rev.slice(0, 2), '3-');
	assertError(await update(db, 'none', {}), 404, 'not_found');
	assert.deepEqual((await ask(server, 'GET', `/${db}/_all_docs`)).json.rows.map((r) => r.id), ['_design/d']);
});

test('what an update makes is validated, and a design document takes an administrator', async () => {
	const db = await withDesign({ updates: UPDATES, validate_doc_update: 'function (doc) { if (doc.bad) throw({ forbidden: "bad" }); }' });
	assertError(await update(db, 'given', [{ _id: 'a', bad: 1 }, 'x']), 403, 'forbidden', 'bad');
	assert.equal((await update(db, 'given', [{ _id: 'a' }, 'x'])).status, 201);
	assertError(await ask(server, 'POST', `/${db}/_design/d/_update/given`, { json: [{ _id: '_design/e' }, 'x'], auth: null }), 401, 'unauthorized');
	assertError(await update(db, 'given', [{ _id: '_design/e', views: 5 }, 'x']), 400, 'invalid_design_doc');
});

test('functions of one database see nothing of another\'s', async () => {
	const leave = { shows: { s: 'function (doc, req) { var seen = typeof left; left = "mark"; Array.prototype.mark = 1; JSON.parse = null; Object.prototype.evil = 1; return seen + " " + [].mark; }' } };
	const a = await withDesign(leave);
	const b = await withDesign({ shows: { s: 'function () { return typeof left + " " + [].mark + " " + ({}).evil; }' } });
	for (let i = 0; i < 3; i++) assert.equal((await show(a, 's')).status, 200);
	assert.equal((await show(b, 's')).text, 'undefined undefined undefined');
	// And what was done to the surroundings of functions does not keep the next ones from being called.
	assert.equal((await show(a, 's')).status, 200);
});

/* ---- What is long, and so written and read off the event loop ---- */

const LONG = {
	shows: {
		body: 'function(d, r) { return { headers: { "X-Length": "" + r.body.length }, json: [r.body, r.form, r.peer, r.method] }; }',
		doc: 'function(d, r) { return { code: 203, headers: { "Content-Type": "text/x", "X-One": "1", "Set-Cookie": "AuthSession=x" }, body: d.text }; }',
		base64: 'function(d, r) { return { base64: r.body }; }',
		wrong: 'function(d, r) { return { code: 999, headers: { "X-One": "1" }, body: d.text }; }',
	},
	updates: { put: 'function(d, r) { var doc = JSON.parse(r.body); return [doc, { headers: { "X-One": "1" }, body: r.body }]; }' },
};
const TEXT = 'a "quoted" \\ é € \u{1f600}\n\u0001'.repeat(10000);

test('long requests and responses are as short ones', async () => {
	const db = await withDesign(LONG);
	const at = `/${db}/_design/d`;
	const show = await ask(server, 'POST', `${at}/_show/body`, { body: TEXT, type: 'text/plain' });
	assert.equal(show.headers['content-type'], 'application/json');
	assert.equal(show.headers['x-length'], String(TEXT.length));
	assert.deepEqual(show.json, [TEXT, {}, '127.0.0.1', 'POST']);
	const form = await ask(server, 'POST', `${at}/_show/body`, { body: `a=${encodeURIComponent(TEXT)}&b=+`, type: 'application/x-www-form-urlencoded' });
	assert.deepEqual(form.json[1], { a: TEXT, b: ' ' });
	const bytes = Buffer.alloc(200000, '\u0000\u0001x');
	assert.deepEqual((await ask(server, 'POST', `${at}/_show/base64`, { body: bytes.toString('base64') })).raw, bytes);
	const notText = await ask(server, 'POST', `${at}/_show/body`, { body: Buffer.alloc(200000, 0xff) });
	assert.equal(notText.json[0], '');

	const put = await ask(server, 'POST', `${at}/_update/put`, { json: { _id: 'long', text: TEXT } });
	assert.equal(put.status, 201, put.text.slice(0, 200));
	assert.equal(put.headers['x-one'], '1');
	assert.equal(put.json.text, TEXT);
	const { json } = await ask(server, 'GET', `/${db}/long`);
	assert.deepEqual([json.text, json._rev], [TEXT, put.headers['x-couch-update-newrev']]);
	assertError(await ask(server, 'POST', `${at}/_update/put`, { json: { _id: 'long', text: TEXT } }), 409, 'conflict');
	assertError(await ask(server, 'POST', `${at}/_update/put`, { json: { _id: '_wrong', text: TEXT } }), 400, 'illegal_docid');

	const doc = await ask(server, 'GET', `${at}/_show/doc/long`);
	assert.deepEqual([doc.status, doc.headers['content-type'], doc.headers['x-one'], doc.headers['set-cookie']], [203, 'text/x', '1', undefined]);
	assert.equal(doc.text, TEXT);
	const same = await ask(server, 'GET', `${at}/_show/doc/long`, { headers: { 'If-None-Match': doc.headers.etag } });
	assert.deepEqual([same.status, same.text], [304, '']);
	assertError(await ask(server, 'GET', `${at}/_show/wrong/long`), 500, 'render_error');
});

test('who hangs up in the midst of it, and a server that stops then, leave nothing behind', { timeout: 60000 }, async () => {
	const own = await startDivand({ config: { chttpd: { threads: '1' } } });
	const db = await newDb(own);
	assert.equal((await ask(own, 'PUT', `/${db}/_design/d`, { json: LONG })).status, 201);
	const body = JSON.stringify({ text: TEXT.repeat(4) });
	const head = (path) => `POST /${db}/_design/d/${path} HTTP/1.1\r\nHost: x\r\nAuthorization: ${own.auth}\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n`;
	for (const path of ['_show/body', '_update/put', '_show/base64', '_list/none/none']) {
		const c = connect(own.port);
		await new Promise((written) => c.socket.write(head(path) + body, written));
		c.end();
		assert.equal((await ask(own, 'GET', '/_up')).status, 200);
	}
	const last = ['_show/body', '_update/put'].map((path) => ask(own, 'POST', `/${db}/_design/d/${path}`, { body, type: 'application/json' }).catch((e) => e));
	assert.equal((await ask(own, 'GET', '/_up')).status, 200);
	await own.stop();
	await Promise.all(last);
});
