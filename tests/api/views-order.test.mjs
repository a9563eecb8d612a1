// The order of a view's rows against a comparator of its own: Node's Intl.Collator is ICU, as CouchDB's collation is; and the raw order,
// which is that of bytes.  Keys of every type, strings of every kind of character, long and deep ones, numbers at the edges; whole, by range, by key.
// ORDER_KEYS: how many keys (6,000); ORDER_SEED repeats a run.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { startDivand } from '../lib/divand.mjs';
import { Random } from '../lib/random.mjs';
import { ask, newDb } from './client.mjs';

const COUNT = Number(process.env.ORDER_KEYS ?? 6000);
const SEED = Number(process.env.ORDER_SEED ?? Date.now() % 1e9);
const random = new Random(SEED);
const seeded = (what) => `${what} (ORDER_SEED=${SEED})`;
let server;
before(async () => (server = await startDivand()));
after(() => server?.stop());

/* ---- The comparator ---- */

/** English has the root's collation, without a change; variants and punctuation count, as CouchDB has it. */
const { compare: strings } = new Intl.Collator('en', { usage: 'sort', sensitivity: 'variant', ignorePunctuation: false, numeric: false, caseFirst: 'false' });
const bytes = (a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b));
const type = (v) => (v === null || v === false || v === true ? String(v) : typeof v === 'bigint' ? 'number' : Array.isArray(v) ? 'array' : typeof v);

function lists(a, b, one) {
	for (let i = 0; i < a.length && i < b.length; i++) {
		const c = one(a[i], b[i]);
		if (c) return c;
	}
	return a.length - b.length;
}

function comparator(types, strings) {
	return function compare(a, b) {
		const kind = type(a);
		if (kind !== type(b)) return types.indexOf(kind) - types.indexOf(type(b));
		if (kind === 'number') return a < b ? -1 : a > b ? 1 : 0;
		if (kind === 'string') return strings(a, b);
		if (kind === 'array') return lists(a, b, compare);
		if (kind === 'object') return lists(Object.entries(a), Object.entries(b), ([m, v], [n, w]) => strings(m, n) || compare(v, w));
		return 0;
	};
}

const collate = comparator(['null', 'false', 'true', 'number', 'string', 'array', 'object'], strings);
const raw = comparator(['number', 'false', 'null', 'true', 'object', 'array', 'string'], bytes);

/* ---- Keys ---- */

/** Where characters are taken from: controls, ASCII, scripts of all kinds, marks, ideographs, private use, beyond the BMP. */
const BLOCKS = [[0x00, 0x1f], [0x20, 0x7e], [0x20, 0x7e], [0x20, 0x7e], [0x61, 0x7a], [0x80, 0xff], [0x100, 0x24f], [0x250, 0x2af], [0x300, 0x36f], [0x370, 0x3ff], [0x400, 0x4ff],
	[0x5d0, 0x5ea], [0x621, 0x64a], [0x905, 0x939], [0xe01, 0xe3a], [0xe40, 0xe4d], [0x1100, 0x11ff], [0x1e00, 0x1eff], [0x3041, 0x3096], [0x30a1, 0x30fa], [0x3131, 0x318e], [0x4e00, 0x4e0f], [0xac00, 0xd7a3], [0xe000, 0xf8ff],
	[0xff01, 0xffbe], [0xfffd, 0xfffd], [0x10000, 0x100fa], [0x1d400, 0x1d7ff], [0xf0000, 0xf00ff], [0x10fff0, 0x10fffd]];
const SPECIAL = ['', ' ', 'a', 'A', 'aa', 'ab', 'Ab', 'aB', 'AB', 'a b', 'a-b', 'ab-', 'co-op', 'coop', 'CO-OP', 'é', 'e\u0301', 'ß', 'ss', 'SS', 'ﬁ', 'fi', 'æ', 'ae', 'ö', 'oe', 'ø', 'ı', 'i', 'İ', 'I', '\u0000', 'a\u0000',
	'a\u0000b', '\u0000a', '\ufffd', '\ufffe', '\uffff', 'a\uffff', 'a\ufff0', '\u200b', 'a\u200db', '\u00ad', 'a\u00adb', '0', '9', '10', '٣', '１', '_', '~', '你', '好', 'が', 'か\u3099', 'カ', '한', '\u1112\u1161\u11ab', '😀', '👩‍👩‍👧', '\u{10ffff}', '\u{1f1e9}\u{1f1ea}'];

/**
 * ICU orders what is in one of its normal forms; V8 brings strings into one first, the collation of databases does not.  Marks in another order
 * than theirs are therefore put into it.
 */
const orderly = (s) => (/\p{M}/u.test(s) ? s.normalize('NFD') : s);

/** Ideographs, punctuation and symbols beyond ASCII change places from one version of ICU to the next, and Node has its own: tests/unit/test_query_icu.c has them. */
const moves = /[^\p{L}\p{M}\p{N}\p{Co}\p{Cc}\ufffd\0-\x7f]/u;

function character() {
	for (;;) {
		const [low, high] = random.pick(BLOCKS);
		const c = String.fromCodePoint(random.between(low, high));
		if (!moves.test(c)) return c;
	}
}

function string() {
	const kind = random.below(10);
	if (kind < 2) return random.pick(SPECIAL);
	if (kind < 3) return orderly(random.pick(SPECIAL) + random.pick(SPECIAL));
	// Few letters, so that strings are equal for long.
	const letter = kind < 6 ? () => random.pick('aAbB -_eé1') : character;
	return orderly(Array.from({ length: random.between(0, kind < 6 ? 8 : 4) }, letter).join(''));
}

const EDGES = [0, 1, -1, 0.1, -0.1, 0.30000000000000004, 2.2250738585072014e-308, 1.7976931348623157e308, -1.7976931348623157e308, 2 ** 31, -(2 ** 31), 2 ** 32, 2 ** 53, 2 ** 53 - 1, -(2 ** 53),
	2 ** 53 + 2, 2 ** 63, -(2 ** 63), 2 ** 64, 2 ** 64 + 4096, 1e20, 1e21, 1e22, 1e23, 1e-6, 1e-7, 123456789012345680000, 4.35, 1e100];

function number() {
	const kind = random.below(5);
	if (kind === 0) return random.pick(EDGES);
	if (kind === 1) return random.between(-20, 20);
	if (kind === 2) return random.between(-2000, 2000) / 100;
	if (kind === 3) return (random.below(2) ? 1 : -1) * random.below(1 << 30) * 2 ** random.between(-1000, 990);
	return 2 ** 53 + random.between(-50, 50) * 2;
}

function key(depth = 3) {
	const kind = random.below(depth > 0 ? 16 : 9);
	if (kind === 0) return random.pick([null, false, true]);
	if (kind < 4) return number();
	if (kind < 9) return string();
	if (kind < 13) return Array.from({ length: random.between(0, 4) }, () => key(depth - 1));
	return Object.fromEntries(Array.from({ length: random.between(0, 3) }, () => [`k${string()}`, key(depth - 1)]));
}

/* ---- A database ---- */

const VIEW = { map: 'function(doc) { emit(doc.key, doc.i) }', reduce: '_count' };
const VIEWS = { k: VIEW, raw: { ...VIEW, options: { collation: 'raw' } } };
const ORDERS = { k: collate, raw };

async function fill(keys) {
	const db = await newDb(server);
	const docs = keys.map((k, i) => ({ _id: `${String.fromCharCode(97 + random.below(26))}${i}`, key: k, i }));
	for (let i = 0; i < docs.length;) {
		let n = i, size = 0;
		while (n < docs.length && n - i < 1000 && size < 2 << 20) size += JSON.stringify(docs[n++]).length;
		const { status, json } = await ask(server, 'POST', `/${db}/_bulk_docs`, { json: { docs: docs.slice(i, n) } });
		assert.equal(status, 201);
		assert.ok(json.every((one) => one.ok));
		i = n;
	}
	assert.equal((await ask(server, 'PUT', `/${db}/_design/d`, { json: { views: VIEWS } })).status, 201);
	return { db, docs };
}

async function query(db, json, view = 'k') {
	const answer = await ask(server, 'POST', `/${db}/_design/d/_view/${view}`, { json: { reduce: false, ...json } });
	assert.equal(answer.status, 200, answer.text.slice(0, 500));
	return answer.json;
}

const shown = (v) => JSON.stringify(v)?.slice(0, 200);

/** Each row behind the one before it: of all pairs of rows, for the order is total. */
function checkOrder(rows, order = collate) {
	for (let i = 1; i < rows.length; i++) {
		const c = order(rows[i - 1].key, rows[i].key) || bytes(rows[i - 1].id, rows[i].id);
		assert.ok(c < 0, seeded(`${shown(rows[i - 1])} stands before ${shown(rows[i])}`));
	}
}

async function checkRanges({ db, docs }, times, view) {
	const order = ORDERS[view];
	const sorted = [...docs].sort((a, b) => order(a.key, b.key) || bytes(a._id, b._id));
	for (let i = 0; i < times; i++) {
		const pick = () => (random.below(4) ? random.pick(sorted).key : key());
		const [a, b] = [pick(), pick()].sort(order);
		const descending = random.below(2) === 0;
		const kind = random.below(4);
		const asked = { descending };
		if (kind === 0) asked.key = a;
		if (kind & 1) asked[descending ? 'endkey' : 'startkey'] = a;
		if (kind & 2) asked[descending ? 'startkey' : 'endkey'] = b;
		if (kind === 0 && random.below(2)) Object.assign(asked, { key: undefined, keys: [a, b] });
		if (kind !== 0) asked.inclusive_end = random.below(2) === 0;
		const own = descending ? [...sorted].reverse() : sorted;
		const without = (k) => asked.inclusive_end === false && asked.endkey !== undefined && order(k, asked.endkey) === 0;
		const wanted = asked.keys ? (descending ? [b, a] : [a, b]).flatMap((k) => own.filter((d) => order(d.key, k) === 0))
			: own.filter((d) => (kind === 0 ? order(d.key, a) === 0 : (!(kind & 1) || order(d.key, a) >= 0) && (!(kind & 2) || order(d.key, b) <= 0) && !without(d.key)));
		const got = await query(db, asked, view);
		assert.deepEqual(got.rows.map((r) => r.value), wanted.map((d) => d.i), seeded(shown(asked)));
		if (!asked.keys && wanted.length) assert.equal(got.offset, own.indexOf(wanted[0]), seeded(shown(asked)));
		if (asked.keys) continue;
		const { rows } = await query(db, { ...asked, reduce: true }, view);
		assert.equal(rows[0]?.value ?? 0, wanted.length, seeded(shown(asked)));
	}
}

/** checkAll: Every view has every row, in its order; and random ranges of them. */
async function checkAll(filled, ranges) {
	for (const view of Object.keys(VIEWS)) {
		const { rows, total_rows } = await query(filled.db, {}, view);
		assert.equal(total_rows, filled.docs.length);
		assert.deepEqual(rows.map((r) => r.value).sort((a, b) => a - b), filled.docs.map((d) => d.i));
		for (const r of rows) assert.deepEqual(r.key, filled.docs[r.value].key);
		checkOrder(rows, ORDERS[view]);
		assert.deepEqual((await query(filled.db, { descending: true }, view)).rows, [...rows].reverse());
		await checkRanges(filled, ranges, view);
	}
}

test('random keys of every type', async () => checkAll(await fill(Array.from({ length: COUNT }, () => key())), 200));

test('every ASCII character, alone, in pairs and between letters', async () => {
	const ascii = Array.from({ length: 128 }, (_, i) => String.fromCharCode(i));
	const few = ['\u0000', '\t', ' ', '-', '_', "'", '!', '"', '$', '+', '0', '9', 'a', 'A', 'z', 'Z', '~', '\u007f'];
	const keys = [...ascii, ...ascii.map((c) => `a${c}b`), ...ascii.map((c) => `a${c}`), ...ascii.map((c) => `${c}A`), ...few.flatMap((a) => few.flatMap((b) => [a + b, `x${a}Y${b}`]))];
	await checkAll(await fill(keys), 60);
});

test('one character of each block, in every place', async () => {
	const keys = BLOCKS.flatMap(([low, high]) => [low, high, (low + high) >> 1].map((c) => String.fromCodePoint(c))).filter((c) => !moves.test(c))
		.flatMap((c) => [c, `a${c}`, `${c}a`, `a${c}b`, [c], [`a${c}`], { [c]: 1 }, { a: c }]).map((k) => (typeof k === 'string' ? orderly(k) : JSON.parse(orderly(JSON.stringify(k)))));
	await checkAll(await fill(keys), 20);
});

test('long keys that differ at their ends, and in their middles', async () => {
	const long = 100 * 1024;
	const keys = [];
	for (const fill of ['x', 'é', '😀', 'x ']) {
		const base = fill.repeat(long / Buffer.byteLength(fill));
		for (const end of ['', 'a', 'A', 'b', 'é', ' ', '\u0000a', '😀']) keys.push(base + end);
		keys.push([base, 1], [base, 'a'], [base], { [base]: 1 }, { [base]: 0 }, { a: base }, base.slice(0, long / 8) + 'Q' + base.slice(long / 8));
	}
	for (const n of [480, 490, 491, 492, 493, 500, 510]) keys.push('y'.repeat(n), 'y'.repeat(n) + 'a', 'y'.repeat(n) + '\u0000', ['y'.repeat(n)]);
	await checkAll(await fill(keys), 40);
});

test('deep keys', async () => {
	const deep = (n, v, wrap) => Array.from({ length: n }).reduce((inner) => wrap(inner), v);
	const keys = [];
	for (const n of [1, 2, 50, 99, 100, 200]) {
		for (const v of [null, 1, 'a', 'é', [], {}]) keys.push(deep(n, v, (i) => [i]), deep(n, v, (i) => ({ a: i })), deep(n, v, (i) => [i, 1]), deep(n, v, (i) => [{ b: i }]));
	}
	await checkAll(await fill(keys), 40);
});

test('numbers of a query are compared as they are written, beyond what JavaScript holds', async () => {
	// A function's own number comes with as many digits as tell it from others: 2 ** 63 as 9223372036854776000.
	const exact = [2n ** 53n, 2n ** 53n + 2n, 2n ** 63n, 2n ** 64n, -(2n ** 53n), -(2n ** 64n), 0n, 1n].map((n) => BigInt(JSON.stringify(Number(n))));
	const written = (r) => BigInt(JSON.stringify(r.key));
	const { db } = await fill(exact.map(Number));
	const { rows } = await query(db, {});
	assert.deepEqual(rows.map(written), [...exact].sort((a, b) => (a < b ? -1 : 1)));
	for (const n of exact.flatMap((e) => [e - 1n, e, e + 1n])) {
		const { status, json } = await ask(server, 'POST', `/${db}/_design/d/_view/k`, { type: 'application/json', body: `{"reduce":false,"startkey":${n}}` });
		assert.equal(status, 200);
		assert.deepEqual(json.rows, rows.filter((r) => written(r) >= n), String(n));
		const one = await ask(server, 'GET', `/${db}/_design/d/_view/k?reduce=false&key=${n}`);
		assert.deepEqual(one.json.rows, rows.filter((r) => written(r) === n), String(n));
	}
	for (const [text, wanted] of [['1.0', 1], ['1e0', 1], ['10e-1', 1], ['-0', 0], ['0.0', 0], ['-0.0e5', 0], ['9007199254740992.0', 2 ** 53]]) {
		const { json } = await ask(server, 'GET', `/${db}/_design/d/_view/k?reduce=false&key=${text}`);
		assert.deepEqual(json.rows?.map((r) => r.key), [wanted], text);
	}
});

test('halves of characters in keys: U+FFFD where a function makes them, never an answer that is no UTF-8', async () => {
	const db = await newDb(server);
	const map = 'function(doc) { ["\\ud83d", "a\\ud83d", "\\udc00", "\\udc00\\ud83d", "\\ud83d\\ude00", ["\\ud800"], {k: "\\udfff"}, "\\\\ud83d"].forEach(function(k, i) { emit(k, i); }); var o = {}; o["\\ud800"] = 1; emit(o, 8); }';
	assert.equal((await ask(server, 'PUT', `/${db}/_design/d`, { json: { views: { k: { map } } } })).status, 201);
	assert.equal((await ask(server, 'PUT', `/${db}/doc`, { json: {} })).status, 201);
	const answer = await ask(server, 'GET', `/${db}/_design/d/_view/k`);
	assert.equal(Buffer.from(answer.raw).toString('utf8'), new TextDecoder('utf-8', { fatal: true }).decode(answer.raw));
	const wanted = ['\ufffd', 'a\ufffd', '\ufffd', '\ufffd\ufffd', '😀', ['\ufffd'], { k: '\ufffd' }, '\\ud83d', { '\ufffd': 1 }];
	for (const r of answer.json.rows) assert.deepEqual(r.key, wanted[r.value]);
	assert.equal(answer.json.rows.length, wanted.length);
	for (let i = 1; i < wanted.length; i++) assert.ok(collate(answer.json.rows[i - 1].key, answer.json.rows[i].key) <= 0);
	// Half a character in a query is no JSON text of Unicode: refused, or nothing like it is found.
	for (const text of ['"\\ud83d"', '["\\udc00"]', '{"\\ud800":1}']) {
		const { status } = await ask(server, 'GET', `/${db}/_design/d/_view/k?key=${encodeURIComponent(text)}`);
		assert.ok(status === 200 || status === 400, `${text}: ${status}`);
	}
});

/* ---- The raw order ---- */

/** The values of CouchDB's own test of it, in order. */
const RAW = [1, 2, 3, 4, false, null, true, { a: 1 }, { a: 2 }, { b: 1 }, { b: 2 }, { b: 2, a: 1 }, { b: 2, c: 2 },
	['a'], ['b'], ['b', 'c'], ['b', 'c', 'a'], ['b', 'd'], ['b', 'd', 'e'], 'A', 'B', 'a', 'aa', 'b', 'ba', 'bb'];

test('raw: ranges, groups and ids go by the order of the view', async () => {
	const { db } = await fill([...RAW].reverse());
	const keys = async (json, view = 'raw') => (await query(db, json, view)).rows.map((r) => r.key);
	assert.deepEqual(await keys({}), RAW);
	assert.deepEqual(await keys({ startkey: 'Z', endkey: 'a' }), ['a']);
	for (const one of RAW) assert.deepEqual(await keys({ key: one }), [one]);
	assert.deepEqual(await keys({ keys: ['a', null, 'Z', 1] }), ['a', null, 1]);
	assert.equal((await keys({ endkey: 'b', inclusive_end: false })).at(-1), 'aa');
	assert.equal((await keys({ endkey: 'b', inclusive_end: false, descending: true })).at(-1), 'ba');
	assert.deepEqual(await keys({ startkey: true, endkey: ['b'], skip: 1, limit: 2 }), [{ a: 1 }, { a: 2 }]);
	assert.deepEqual((await query(db, { reduce: true, group_level: 1, startkey: [], endkey: '' }, 'raw')).rows, [{ key: ['a'], value: 1 }, { key: ['b'], value: 5 }]);
	assert.deepEqual((await query(db, { reduce: true, group: true, keys: ['B', 4] }, 'raw')).rows, [{ key: 'B', value: 1 }, { key: 4, value: 1 }]);
	assert.deepEqual((await query(db, { reduce: true, group: true, descending: true }, 'raw')).rows.map((r) => r.key), [...RAW].reverse());
	// What is a range in one order is none in the other.
	for (const [view, status] of [['raw', 200], ['k', 400]]) {
		assert.equal((await ask(server, 'GET', `/${db}/_design/d/_view/${view}?reduce=false&startkey=1&endkey=null`)).status, status);
		assert.equal((await ask(server, 'GET', `/${db}/_design/d/_view/${view}?reduce=false&startkey="b"&endkey="B"`)).status, 600 - status);
	}
	// Pages, by key and id.
	for (let i = 0; i < 3; i++) assert.equal((await ask(server, 'PUT', `/${db}/same${i}`, { json: { key: 'same', i: 100 + i } })).status, 201);
	const page = await query(db, { startkey: 'same', startkey_docid: 'same1', limit: 2 }, 'raw');
	assert.deepEqual([page.offset, ...page.rows.map((r) => r.id)], [RAW.length + 1, 'same1', 'same2']);
});

test('queries that share the keys of the query string answer as each alone', async () => {
	const { db } = await fill(RAW);
	const post = (path, json) => ask(server, 'POST', `/${db}/_design/d/_view/${path}`, { json });
	const keys = encodeURIComponent('["a",1,["b"],null]');
	const down = { reduce: false, descending: true };
	const queries = [down, { reduce: false }, down, { ...down, limit: 1 }, { group: true }, { group: true, descending: true }, { ...down, keys: ['b', 2, true] }, { ...down, key: 1, keys: [] }, { ...down, skip: 1 }, { reduce: false, limit: 2 }, down];
	for (const view of Object.keys(VIEWS)) {
		const { json } = await post(`${view}/queries?keys=${keys}`, { queries });
		const of = (i) => json.results[i].rows.map((row) => row.key);
		assert.deepEqual([0, 1, 3, 5, 6, 8, 9].map(of), [[null, ['b'], 1, 'a'], ['a', 1, ['b'], null], [null], [null, ['b'], 1, 'a'], [true, 2, 'b'], [['b'], 1, 'a'], ['a', 1]]);
		for (const [i, one] of queries.entries()) assert.deepEqual(json.results[i], (await post(`${view}/queries?keys=${keys}`, { queries: [one] })).json.results[0], `${view} ${i}`);
	}
});

test('raw: the option of a view, which makes another index of it; of nothing else', async () => {
	const { db } = await fill(RAW);
	const ordered = async () => (await query(db, {})).rows.map((r) => r.key);
	const signature = async () => (await ask(server, 'GET', `/${db}/_design/d/_info`)).json.view_index.signature;
	const define = async (what) => {
		const { _rev } = (await ask(server, 'GET', `/${db}/_design/d`)).json;
		assert.equal((await ask(server, 'PUT', `/${db}/_design/d`, { json: { _rev, ...what } })).status, 201);
		return signature();
	};
	const before = await define({ views: { k: VIEW } });
	const byView = await ordered();
	assert.deepEqual(byView, [...RAW].sort(collate));
	assert.notEqual(await define({ views: { k: VIEWS.raw } }), before);
	// As long as that is not built, rows are of the one before, and so is their order.
	const early = (await ask(server, 'GET', `/${db}/_design/d/_view/k?reduce=false&update=false&startkey="aa"`)).json.rows.map((r) => r.key);
	assert.ok([byView.filter((k) => collate(k, 'aa') >= 0), RAW.filter((k) => raw(k, 'aa') >= 0)].some((rows) => isDeepStrictEqual(rows, early)), shown(early));
	assert.deepEqual(await ordered(), RAW);
	// CouchDB does not look for it among the options of the design document.
	for (const what of [{ options: { collation: 'raw' }, views: { k: VIEW } }, { views: { k: { ...VIEW, options: { collation: 'Raw' } } } }, { views: { k: VIEW } }]) {
		assert.equal(await define(what), before);
		assert.deepEqual(await ordered(), byView);
	}
	// Queries by an index rely on its order.
	assert.equal((await ask(server, 'PUT', `/${db}/_design/q`, { json: { language: 'query', views: { q: { map: { fields: { key: 'asc' } }, reduce: '_count', options: { def: { fields: ['key'] }, collation: 'raw' } } } } })).status, 201);
	const found = await ask(server, 'POST', `/${db}/_find`, { json: { selector: { key: { $gte: 'a' } }, sort: ['key'], use_index: 'q', fields: ['key'] } });
	assert.deepEqual(found.json.docs.map((d) => d.key), byView.filter((k) => collate(k, 'a') >= 0));
});

test('raw: a partition has all its rows', async () => {
	const db = `parts-${process.pid}`;
	assert.equal((await ask(server, 'PUT', `/${db}?partitioned=true`)).status, 201);
	assert.equal((await ask(server, 'PUT', `/${db}/_design/d`, { json: { views: VIEWS } })).status, 201);
	const docs = ['p', 'q'].flatMap((p) => RAW.map((k, i) => ({ _id: `${p}:${i}`, key: k, i })));
	assert.equal((await ask(server, 'POST', `/${db}/_bulk_docs`, { json: { docs } })).status, 201);
	for (const [query, wanted] of [['', RAW], ['&descending=true', [...RAW].reverse()], ['&startkey=null&endkey={}', [null, true]]]) {
		const { json } = await ask(server, 'GET', `/${db}/_partition/q/_design/d/_view/raw?reduce=false${query}`);
		assert.deepEqual(json.rows.map((r) => r.key), wanted);
		assert.ok(json.rows.every((r) => r.id.startsWith('q:')));
	}
});
