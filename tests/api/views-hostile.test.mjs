// What a map or reduce function may do to others: nothing.  Functions that break what all use, emit what cannot be stored, end their engine;
// design documents that are not what they say; queries that contradict themselves.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startDivand } from '../lib/divand.mjs';
import { until } from '../lib/until.mjs';
import { ask, assertError, newDb } from './client.mjs';

let server;
// Two processes: functions of one database meet each other's in one, if anywhere.
before(async () => (server = await startDivand({ config: { couchdb: { os_process_timeout: '1500' }, query_server_config: { os_process_limit: '2' } } })));
after(() => server?.stop());

const view = (db, ddoc, name, query = '') => ask(server, 'GET', `/${db}/_design/${ddoc}/_view/${name}${query}`);
async function put(db, ddoc, views, more = {}) {
	const { status, text } = await ask(server, 'PUT', `/${db}/_design/${ddoc}`, { json: { views, ...more } });
	assert.equal(status, 201, text);
}
async function fill(db, n = 3) {
	for (let i = 0; i < n; i++) assert.equal((await ask(server, 'PUT', `/${db}/doc${i}`, { json: { n: i, list: [3, 1, 2], o: { a: 1 } } })).status, 201);
}

/** Uses much of what may be redefined, so that a change that got here would be seen. */
const HONEST = {
	map: `function (doc) {
		if (!('n' in doc)) return;
		var l = doc.list.slice().sort().map(function (x) { return x * 2; }).filter(function (x) { return x > 2; });
		l.push(Object.keys(doc.o).join());
		var extra = typeof leaked + typeof Object.prototype.leaked + typeof [].leaked;
		emit([doc.n, l, String(doc.n).charAt(0), JSON.stringify(doc.o), extra, isArray(l), toJSON([1]), Math.max(1, 2)], sum([doc.n, 1]));
	}`,
	reduce: 'function (keys, values) { return sum(values); }',
};
const honest = (n) => ({ id: `doc${n}`, key: [n, [4, 6, 'a'], String(n), '{"a":1}', 'undefinedundefinedundefined', true, '[1]', 2], value: n + 1 });
async function isHonest(db, ddoc) {
	assert.deepEqual((await view(db, ddoc, 'v', '?reduce=false')).json.rows, [0, 1, 2].map(honest));
	assert.deepEqual((await view(db, ddoc, 'v')).json.rows, [{ key: null, value: 6 }]);
}

/** Each redefines something for good, and then goes on or not. */
const VANDALS = [
	'Array.prototype.map = Array.prototype.push = Array.prototype.sort = Array.prototype.slice = Array.prototype.filter = Array.prototype.join = function () { return [666]; }; emit(1);',
	'Object.keys = Object.freeze = Object.prototype.hasOwnProperty = function () { return ["leaked"]; }; emit(1);',
	'Object.prototype.leaked = Array.prototype.leaked = 1; leaked = 1; emit(1);',
	'Object.prototype.toJSON = Array.prototype.toJSON = String.prototype.toJSON = function () { return "leaked"; }; emit(doc.n, doc);',
	'Array.prototype.toJSON = function () { return undefined; }; emit([1], [2]);',
	'JSON.parse = JSON.stringify = function () { return "leaked"; }; emit(1);',
	'String.prototype.replace = String.prototype.indexOf = String.prototype.slice = RegExp.prototype.exec = RegExp.prototype[Symbol.replace] = function () { return "leaked"; }; emit("\\ud800");',
	'Function.prototype.call = Function.prototype.apply = function () { return "leaked"; }; emit(1);',
	'emit = sum = isArray = toJSON = log = function () { return "leaked"; }; ',
	'Object.defineProperty(Array.prototype, "0", { set: function (v) { leaked = v; }, get: function () { return "leaked"; }, configurable: true }); emit(1, 2);',
	'Object.defineProperty(Array.prototype, "length", { value: 7 }); emit(1);',
	'Object.setPrototypeOf(Array.prototype, { leaked: 1 }); Object.setPrototypeOf(globalThis, null); emit(1);',
	'Math.max = function () { return "leaked"; }; Math.random = null; Date = null; undefined; emit(1);',
	'Error.prototype.toString = null; Object.defineProperty(Error.prototype, "message", { get: function () { throw 1; } }); throw new Error("no");',
	'throw { toString: function () { throw 1; }, toJSON: function () { throw 2; } };',
	'throw new Proxy({}, { get: function () { throw new Error("again"); } });',
	'for (var k in globalThis) try { delete globalThis[k]; } catch (e) {} for (var k of Object.getOwnPropertyNames(globalThis)) try { globalThis[k] = null; } catch (e) {} emit(1);',
	'globalThis.constructor.constructor = null; Symbol.iterator; Array.prototype[Symbol.iterator] = function () { return null; }; emit(1, [1, 2]);',
	'Promise.prototype.then = null; Map.prototype.get = function () { return HONEST; }; emit(1);',
];

test('what functions redefine is redefined for themselves, whichever process served them', async () => {
	const [bad, good] = [await newDb(server, 'bad'), await newDb(server, 'good')];
	await fill(bad);
	await fill(good);
	await put(bad, 'honest', { v: HONEST });
	await put(good, 'honest', { v: HONEST });
	for (const [i, text] of VANDALS.entries()) {
		await put(bad, `vandal${i}`, { v: { map: `function (doc) { ${text} }`, reduce: `function (keys, values) { ${text.replace(/\bemit\(/g, 'void (')} return values.length; }` } });
		for (const query of ['?reduce=false', '', '?group=true']) {
			const { status, json, text: said } = await view(bad, `vandal${i}`, 'v', query);
			// Its own rows may be spoilt, and the answer is one.
			assert.ok([200, 400, 500].includes(status) && json, `${text}: ${status} ${said}`);
			if (status !== 200) assert.ok(json.error && json.reason, said);
		}
		// Built anew each time, in the same database and in another.
		await put(bad, `honest${i}`, { v: { ...HONEST, map: `${HONEST.map} // ${i}` } });
		await put(good, `honest${i}`, { v: { ...HONEST, map: `${HONEST.map} // ${i}` } });
		for (const [db, ddoc] of [[bad, `honest${i}`], [good, `honest${i}`], [bad, 'honest'], [good, 'honest']]) await isHonest(db, ddoc);
	}
});

test('what is emitted: undefined, functions, cycles, getters that throw, numbers that JSON has not', async () => {
	const db = await newDb(server);
	await fill(db, 1);
	const rows = async (map) => {
		const ddoc = `e${Math.random().toString(36).slice(2)}`;
		await put(db, ddoc, { v: { map: `function (doc) { ${map} }` } });
		const { status, json, text } = await view(db, ddoc, 'v');
		assert.equal(status, 200, `${map}: ${text}`);
		return json.rows.map((r) => [r.key, r.value]);
	};
	assert.deepEqual(await rows('emit(); emit(undefined, undefined); emit(1); emit(function () {}, function () {}); emit(Symbol("x"), Symbol("y"));'), [[null, null], [null, null], [null, null], [null, null], [1, null]]);
	assert.deepEqual(await rows('emit(NaN, -Infinity); emit([undefined, NaN], {a: undefined, b: NaN});'), [[null, null], [[null, null], { b: null }]]);
	assert.deepEqual(await rows('emit(-0, -0); emit(new Date(0), new Number(3)); emit(new String("s"), new Boolean(false));'), [[0, 0], ['1970-01-01T00:00:00.000Z', 3], ['s', false]]);
	for (const map of ['var c = {}; c.c = c; emit(1, c);', 'var c = []; c.push(c); emit(c, 1);', 'emit(10n, 1);', 'emit({get x() { throw 1; }});', 'emit({toJSON: function () { throw new Error("no"); }});',
		'emit(new Proxy({}, {ownKeys: function () { throw 1; }}));'])
		assert.deepEqual(await rows(`emit("kept or not"); ${map}`).then((r) => r.filter(([k]) => k !== 'kept or not')), [], map);
	assert.deepEqual((await rows('var a = [1]; emit(a, a); a.push(2); emit(a, a); a.push(3);')).length, 2);
	assert.deepEqual(await rows('try { doc.n = 5; doc.list.push(9); delete doc.o; } catch (e) {} emit(doc.n, [doc.list.length, "o" in doc]);'), [[0, [3, true]]]);
});

test('what is too much: values, rows, depths, time, memory; the next query is answered', async () => {
	const db = await newDb(server);
	const other = await newDb(server);
	await fill(db);
	await fill(other);
	await put(db, 'honest', { v: HONEST });
	await put(other, 'honest', { v: HONEST });
	const much = {
		value: 'emit(1, "x".repeat(200 * 1024 * 1024));',
		key: 'emit("x".repeat(100 * 1024 * 1024), 1);',
		rows: 'for (var i = 0; i < 1e9; i++) emit(i, doc);',
		deep: 'var d = []; for (var i = 0; i < 1e6; i++) d = [d]; emit(d, d);',
		endless: 'emit({toJSON: function () { return this.toJSON(); }});',
		recursion: '(function f() { f(); })(); ',
		regex: '/^(a+)+$/.test("a".repeat(50) + "b"); emit(1);',
		memory: 'var l = []; for (;;) l.push(new Uint8Array(1 << 20));',
		string: 'var s = "x"; for (;;) s += s;',
		log: 'for (;;) log("x".repeat(10000));',
		sleeps: 'Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0); emit(1);',
		forever: 'for (;;) ;',
	};
	for (const [name, map] of Object.entries(much)) {
		await put(db, name, { v: { map: `function (doc) { if (doc.n === 1) { ${map} } }`, reduce: '_count' } });
		const [{ status, json, text }] = await Promise.all([view(db, name, 'v'), isHonest(other, 'honest')]);
		assert.ok([200, 413, 500].includes(status) && json, `${name}: ${status} ${text?.slice(0, 300)}`);
		if (status !== 200) assert.ok(json.error && json.reason, text);
		assert.equal((await ask(server, 'GET', `/${db}/_design/${name}/_info`)).status, 200);
		await isHonest(db, 'honest');
	}
	const reduces = { forever: 'for (;;) ;', memory: 'var l = []; for (;;) l.push(new Uint8Array(1 << 20));', value: 'return "x".repeat(200 * 1024 * 1024);', cycle: 'var c = []; c.push(c); return c;', nothing: '', throws: 'throw null;' };
	for (const [name, reduce] of Object.entries(reduces)) {
		await put(db, `r${name}`, { v: { map: 'function (doc) { emit(doc.n, 1); }', reduce: `function (keys, values) { ${reduce} }` } });
		const { status, json, text } = await view(db, `r${name}`, 'v');
		assert.ok([200, 413, 500].includes(status) && json, `${name}: ${status} ${text?.slice(0, 300)}`);
		const rows = await view(db, `r${name}`, 'v', '?reduce=false');
		assert.equal(rows.json.rows.length, 3, `${name}: the rows are there`);
		await isHonest(db, 'honest');
	}
});

test('a document whose rows are too much has none, and holds up no other', { timeout: 60000 }, async () => {
	const db = await newDb(server, 'much');
	await fill(db);
	const ids = async (name) => {
		const { status, json, text } = await view(db, name, 'v', '?reduce=false');
		assert.equal(status, 200, `${name}: ${text.slice(0, 300)}`);
		return json.rows.map((r) => r.id).join();
	};
	const much = {
		value: 'emit(1, "x".repeat(200 * 1024 * 1024));',
		key: 'emit("x".repeat(9e6), 1);',
		// Each is within its bound, and what they are sorted by is not.
		keys: 'for (var i = 0; i < 6; i++) emit("x".repeat(7e6), i);',
		expands: 'emit("\\ufdfa".repeat(2e6), 1);',
		recursion: '(function f() { f(); })();',
	};
	for (const [name, map] of Object.entries(much)) {
		await put(db, name, { v: { map: `function (doc) { if (doc.n === 1) { emit(0); ${map} } emit(doc.n); }`, reduce: '_count' } });
		assert.equal(await ids(name), 'doc0,doc2', name);
		await until(() => server.stderr().includes(`an index of ${db}, _design/${name}: document doc1 has no rows: `), 'the log');
	}
	// Its next revision has them, and the one behind that has lost them again.
	const change = async (doc) => assert.equal((await ask(server, 'PUT', `/${db}/doc1`, { json: { ...doc, _rev: (await ask(server, 'GET', `/${db}/doc1`)).json._rev } })).status, 201);
	await change({ n: 3 });
	for (const name of Object.keys(much)) assert.equal(await ids(name), 'doc0,doc2,doc1', name);
	await change({ n: 1 });
	for (const name of Object.keys(much)) assert.equal(await ids(name), 'doc0,doc2', name);
});

test('what one document failed by is not told of another', { timeout: 60000 }, async () => {
	const db = await newDb(server, 'reason');
	await fill(db);
	await put(db, 'd', { v: { map: 'function (doc) { if (doc.n === 0) (function f() { f(); })(); if (doc.n === 1) for (;;) ; emit(doc.n); }' } });
	assertError(await view(db, 'd', 'v'), 500, 'os_process_error', 'OS process timed out.');
});

test('design documents that are not what they say', async () => {
	const db = await newDb(server);
	await fill(db);
	const map = HONEST.map;
	// Each is refused when it is written, or answers a query with an error or with rows; and the server goes on.
	const odd = [{ views: { v: {} } }, { views: { v: null } }, { views: { v: 'text' } }, { views: { v: [] } }, { views: [] }, { views: null }, { views: { v: { map: null } } }, { views: { v: { map: '' } } }, { views: { v: { map: {} } } },
		{ views: { v: { map, reduce: null } } }, { views: { v: { map, reduce: '' } } }, { views: { v: { map, reduce: {} } } }, { views: { v: { map, reduce: '_top_0' } } }, { views: { v: { map, reduce: '_top_99999999999' } } },
		{ views: { v: { map, reduce: '_sum ' } } }, { language: 5, views: { v: { map } } }, { language: 'javascript\u0000', views: { v: { map } } }, { language: '', views: { v: { map } } }, { language: 'query', views: { v: { map } } },
		{ language: 'query', views: { v: { map: { fields: { n: 'asc' } } } } }, { options: [], views: { v: { map } } }, { options: { include_design: 'x', local_seq: 5 }, views: { v: { map } } }, { options: null, views: { v: { map } } },
		{ views: { lib: 'text', v: { map } } }, { views: { lib: { a: 5 }, v: { map: 'function (doc) { require("views/lib/a"); emit(1); }' } } }, { views: { lib: { a: 'require("views/lib/b")', b: 'require("views/lib/a")' }, v: { map: 'function (doc) { require("views/lib/a"); emit(1); }' } } },
		{ views: { '': { map }, v: { map } } }, { views: { __proto__: { map }, constructor: { map }, v: { map } } }, { autoupdate: 'x', views: { v: { map } } }, { views: { v: { map: 'class {}' } } }, { views: { v: { map: 'async function (doc) { emit(1); }' } } },
		...[null, 5, 'raw', ['raw'], { collation: null }, { collation: ['raw'] }, { collation: 'raw\u0000' }].map((options) => ({ views: { v: { map, options } } })),
		{ views: { v: { map: 'function* (doc) { emit(1); }' } } }, { views: { v: { map: 'Array' } } }, { views: { v: { map: 'new Proxy(function () {}, {apply: function () { throw 1; }})' } } }, { views: { v: { map: `${' '.repeat(1 << 20)}function (doc) { emit(1); }` } } },
		{ views: Object.fromEntries(Array.from({ length: 300 }, (_, i) => [i ? `v${i}` : 'v', { map: `function (doc) { emit(${i}); }` }])) }];
	for (const [i, body] of odd.entries()) {
		const what = JSON.stringify(body).slice(0, 200);
		const stored = await ask(server, 'PUT', `/${db}/_design/odd${i}`, { json: body });
		if (stored.status !== 201) {
			assertError(stored, [400, 404]);
			continue;
		}
		const { status, json, text } = await view(db, `odd${i}`, 'v', '?limit=1');
		assert.ok(json && (status === 200 ? Array.isArray(json.rows) : json.error && json.reason), `${what}: ${status} ${text.slice(0, 300)}`);
		assert.ok([200, 400, 404, 500, 501].includes(status), `${what}: ${status} ${text.slice(0, 300)}`);
		assert.ok([200, 400, 404, 500, 501].includes((await ask(server, 'GET', `/${db}/_design/odd${i}/_info`)).status), what);
	}
	await put(db, 'honest', { v: HONEST });
	await isHonest(db, 'honest');
	assert.equal((await ask(server, 'POST', `/${db}/_view_cleanup`, { json: {} })).status, 202);
	await isHonest(db, 'honest');
});

test('queries that contradict themselves', async () => {
	const db = await newDb(server);
	await fill(db);
	await put(db, 'd', { red: HONEST, plain: { map: HONEST.map } });
	const refused = {
		plain: ['reduce=true', 'group=true', 'group_level=1', 'keys=[1]&startkey=1&keys=[1,2]', 'startkey=2&endkey=1', 'descending=true&startkey=1&endkey=2', 'limit=-1', 'limit=x', 'skip=-1', 'key={', 'keys=5', 'keys={}', 'startkey=', 'group_level=-1',
			'reduce=maybe', 'update=sometimes', 'stale=never', 'descending=5', 'limit=1e3', 'inclusive_end=1', 'keys=[1,2]&key=1'],
		red: ['include_docs=true', 'reduce=false&group=true', 'reduce=false&group_level=2', 'group=false&group_level=1', 'keys=[1,2]', 'keys=[1,2]&group_level=1', 'group=true&include_docs=true', 'reduce=true&include_docs=true'],
	};
	for (const [name, list] of Object.entries(refused)) {
		for (const query of list) {
			assertError(await view(db, 'd', name, `?${query}`), 400);
		}
	}
	for (const query of ['limit=0', 'limit=99999999999999999999999999', 'skip=1000', 'keys=[]', 'startkey=null&endkey={}', 'key=1&key=2', 'unknown=5', 'startkey_docid=x', 'endkey_docid=%00', 'limit=5&limit=1', 'sorted=false', 'group=false', 'startkey=1&endkey=1&inclusive_end=false', 'conflicts=true', 'attachments=true&include_docs=true'])
		assert.equal((await view(db, 'd', 'plain', `?${query}`)).status, 200, query);
	for (const json of [{ queries: [{ keys: [1], startkey: 2, keys_: 1 }, { reduce: 'x' }] }, { queries: {} }, { queries: [1] }, { queries: [[]] }, [], 5, null, 'text']) {
		const answer = await ask(server, 'POST', `/${db}/_design/d/_view/plain/queries`, { json });
		assertError(answer, [400, 500]);
	}
	for (const json of [{ keys: {} }, { keys: 'x' }, { limit: 'x' }, { limit: -1 }, { descending: 'x' }, { group_level: [] }, [], 5]) assertError(await ask(server, 'POST', `/${db}/_design/d/_view/plain`, { json }), [400]);
	for (const body of ['', '{', '{"keys":[}', '{"keys":[1]']) {
		const { status } = await ask(server, 'POST', `/${db}/_design/d/_view/plain`, { body, type: 'application/json' });
		assert.ok(body === '' ? [200, 400].includes(status) : status === 400, `${body}: ${status}`);
	}
	for (const path of ['none', 'plain/queries/more', '', 'red%00', '__proto__', 'constructor']) assert.ok([404, 405].includes((await ask(server, 'GET', `/${db}/_design/d/_view/${path}`)).status), path);
	await isHonest(db, 'd').catch(() => {});
	assert.deepEqual((await view(db, 'd', 'plain')).json.rows, [0, 1, 2].map(honest));
});

test('many queries that share the keys, or a long bound, of the query string', async () => {
	const db = await newDb(server);
	await fill(db);
	const map = 'function (doc) { emit(doc.n, 1); }';
	await put(db, 'd', { v: { map }, raw: { map, options: { collation: 'raw' } } });
	const keys = `keys=[${Array.from({ length: 3900 }, (_, i) => i % 10)}]`;
	const bounds = `startkey=0&endkey="${'x'.repeat(8000)}"`;
	const few = { limit: 3 };
	const last = { limit: 3, descending: true };
	for (const [query, queries] of [
		[keys, [...Array(1000).fill({}), few, last]],
		[keys, [...Array(2000).fill().map((_, i) => (i % 2 ? {} : { keys: [1, 2] })), few, last]],
		[bounds, [...Array(20000).fill({}), few, { ...last, startkey: {}, endkey: 0 }]],
	]) {
		for (const name of ['v', 'raw']) {
			const { status, json, text } = await ask(server, 'POST', `/${db}/_design/d/_view/${name}/queries?limit=0&${query}`, { json: { queries } });
			assert.equal(status, 200, text.slice(0, 300));
			assert.deepEqual(json.results.map((r) => r.rows.map((row) => row.key)), [...Array(queries.length - 2).fill([]), [0, 1, 2], [2, 1, 0]]);
		}
	}
});

test('groups of large values come a few at a time, whatever their reduction', { timeout: 60000 }, async () => {
	const db = await newDb(server);
	await fill(db, 15);
	const map = 'function (doc) { for (var i = 0; i < 20; i++) emit(doc.n + 15 * i, "x".repeat(1 << 20)); }';
	const names = ['_last', '_top_5'];
	await put(db, 'd', Object.fromEntries(names.map((reduce) => [reduce, { map, reduce }])));
	for (const name of names) {
		const { status, json, text } = await view(db, 'd', name, '?group=true&skip=1&descending=true');
		assert.equal(status, 200, text.slice(0, 300));
		assert.deepEqual(json.rows.map((r) => r.key), Array.from({ length: 299 }, (_, i) => 298 - i));
		assert.ok(json.rows.every((r) => [r.value].flat()[0].length === 1 << 20));
	}
});

test('keys that are longer than a row may have, or too many, are refused', { timeout: 60000 }, async () => {
	const db = await newDb(server);
	await fill(db);
	await put(db, 'd', { v: { map: 'function (doc) { emit(doc.n, 1); }' } });
	const query = (body, more = '') => ask(server, 'POST', `/${db}/_design/d/_view/v${more}`, { body, type: 'application/json' });
	const ones = (n) => `[${'1,'.repeat(n - 1)}1]`;
	for (const body of [`{"endkey":${ones(4000001)}}`, `{"startkey":"${'x'.repeat(8e6)}"}`, `{"keys":[1,${ones(4000001)}]}`, `{"keys":${ones(3e6)}}`, `{"startkey":[0,${ones(3e6)}],"endkey":${ones(3.9e6)}}`])
		assertError(await query(body), 413, 'too_large');
	assertError(await query(`{"queries":[${Array(40).fill(`{"keys":${ones(60000)}}`).join()}]}`, '/queries'), 413, 'too_large');
	for (const body of [`{"endkey":${ones(1e6)}}`, `{"keys":${ones(2e5)},"limit":3}`]) assert.equal((await query(body)).json.rows.length, 3);
});

test('a long id is a part of what each row is sorted by', async () => {
	const db = await newDb(server);
	await fill(db);
	const id = 'i'.repeat(8000);
	assert.equal((await ask(server, 'PUT', `/${db}/${id}`, { json: { n: 9 } })).status, 201);
	await put(db, 'd', { v: { map: 'function (doc) { for (var i = 0; i < (doc.n === 9 ? 6000 : 1); i++) emit(i); }' } });
	assert.deepEqual((await view(db, 'd', 'v')).json.rows.map((r) => r.id), ['doc0', 'doc1', 'doc2']);
	await until(() => server.stderr().includes(' has no rows: their keys are too large'), 'the log');
});

test('a document that was purged and is there again has the rows of one call, whatever its function emits the next time', async () => {
	const db = await newDb(server);
	await fill(db, 1);
	await put(db, 'd', { v: { map: 'function (doc) { if (typeof calls === "undefined") calls = 0; emit([doc.n, calls++]); }' } });
	let rev = (await ask(server, 'GET', `/${db}/doc0`)).json._rev;
	for (let i = 1; i < 4; i++) {
		assert.equal((await view(db, 'd', 'v')).json.rows.length, 1);
		assert.equal((await ask(server, 'POST', `/${db}/_purge`, { json: { doc0: [rev] } })).status, 201);
		rev = (await ask(server, 'PUT', `/${db}/doc0`, { json: { n: i } })).json.rev;
	}
	assert.deepEqual((await view(db, 'd', 'v')).json.rows.map((r) => r.key[0]), [3]);
});
