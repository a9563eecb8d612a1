// PouchDB's find plugin on a Divan over HTTP and on PouchDB's own memory adapter: the same documents, generated indexes and selectors, the same
// answers, with and without the indexes.  pouchdb-find-random.mjs says what the two mean differently.
// FIND_QUERIES: how many selectors (300); FIND_SEED repeats a run's documents, indexes and selectors.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import PouchDB from 'pouchdb';
import memory from 'pouchdb-adapter-memory';
import find from 'pouchdb-find';
import { startDivand } from '../lib/divand.mjs';
import { collate, lookUp } from '../lib/mango.mjs';
import { Random } from '../lib/random.mjs';
import { cancelAll, converged } from './lib.mjs';
import { PouchFind } from './pouchdb-find-random.mjs';

PouchDB.plugin(memory).plugin(find);

const COUNT = Number(process.env.FIND_QUERIES ?? 300);
const SEED = Number(process.env.FIND_SEED ?? Date.now() % 1e9);
const random = new Random(SEED);
const g = new PouchFind(random);
const hash = () => random.bytes(16).toString('hex');
const WHOLE = 10000;
let server;
/** PouchDB and Divan, each with and without indexes. */
let here, there, bareHere, bareThere;
let indexes = [];

const ALL = () => [here, there, bareHere, bareThere];
const clone = (value) => JSON.parse(JSON.stringify(value));

before(async () => {
	server = await startDivand();
	here = new PouchDB('find', { adapter: 'memory' });
	bareHere = new PouchDB('find-bare', { adapter: 'memory' });
	there = new PouchDB(`${server.authUrl}/find`);
	bareThere = new PouchDB(`${server.authUrl}/find-bare`);
	const ids = new Set();
	while (ids.size < 100) ids.add(`d${g.word(4)}`);
	g.docs = [...ids].map((_id) => ({ _id, _rev: `1-${hash()}`, ...g.body() }));
	for (const db of ALL()) await db.bulkDocs(clone(g.docs), { new_edits: false });
});
after(async () => {
	for (const db of [here, bareHere]) await db?.destroy();
	await server?.stop();
});

/** Some documents change or go, the same everywhere. */
async function change() {
	const changed = new Map();
	for (let i = 0; i < 15; i++) {
		const old = random.pick(g.docs);
		const start = Number.parseInt(old._rev, 10) + 1;
		const ids = [hash(), old._rev.split('-')[1]];
		changed.set(old._id, { _id: old._id, _rev: `${start}-${ids[0]}`, ...(random.below(4) ? g.body() : { _deleted: true }), _revisions: { start, ids } });
	}
	for (const db of ALL()) await db.bulkDocs(clone([...changed.values()]), { new_edits: false });
	g.docs = g.docs.map((d) => changed.get(d._id) ?? d).filter((d) => !d._deleted).map(({ _revisions, ...d }) => d);
}

/** An index more, and one less when there are many. */
async function reindex() {
	const index = { ddoc: `i${hash().slice(0, 8)}`, name: 'v', fields: g.columns() };
	const order = random.below(4) ? 'asc' : 'desc';
	const fields = index.fields.map((path) => (order === 'desc' || random.below(2) ? { [path]: order } : path));
	for (const db of [here, there]) {
		const made = await db.createIndex({ index: { fields, ddoc: index.ddoc, name: index.name } });
		assert.deepEqual(made, { result: 'created', id: `_design/${index.ddoc}`, name: 'v' });
	}
	indexes.push(index);
	if (indexes.length > 6) {
		const [gone] = indexes.splice(random.below(indexes.length), 1);
		for (const db of [here, there]) assert.deepEqual(await db.deleteIndex({ ddoc: `_design/${gone.ddoc}`, name: 'v', type: 'json' }), { ok: true });
	}
}

function generate() {
	const index = indexes.length > 0 && random.below(2) ? random.pick(indexes) : undefined;
	const query = { selector: index ? g.served(index.fields) : g.selector() };
	if (index && index.fields[0] !== '_id' && random.below(2)) {
		const order = random.pick(['asc', 'desc']);
		query.sort = index.fields.slice(0, random.between(1, index.fields.length)).map((path) => (order === 'desc' || random.below(2) ? { [path]: order } : path));
	}
	if (index && random.below(4) === 0) query.use_index = random.pick([index.ddoc, `_design/${index.ddoc}`, [index.ddoc, 'v']]);
	if (random.below(3) === 0) query.fields = ['_id', ...new Set(Array.from({ length: random.below(4) }, () => random.pick(['k', 'n', 's', 'v', 't', 'o', 'o.x', 'o.y', 'l', '_rev'])))];
	return query;
}

const ask = (db, query) => db.find(clone(query)).then(({ docs }) => ({ docs: clone(docs) }), (error) => ({ error }));
const ids = (docs) => docs.map((d) => d._id).sort();
const sortPaths = (query) => (query.sort ?? []).map((s) => (typeof s === 'string' ? s : Object.keys(s)[0]));
const of = (_id) => g.docs.find((d) => d._id === _id);

/** The documents themselves, and where it sorts the order: among equal ones other columns may decide. */
function same(got, wanted, query, what) {
	assert.deepEqual(ids(got), ids(wanted), what);
	const byId = new Map(wanted.map((d) => [d._id, d]));
	for (const doc of got) assert.deepEqual(doc, byId.get(doc._id), what);
	const keys = (docs) => docs.map(({ _id }) => sortPaths(query).map((path) => lookUp(of(_id), path).value));
	const [a, b] = [keys(got), keys(wanted)];
	for (const [i, key] of a.entries()) assert.equal(collate(key, b[i]), 0, `${what}: place ${i}`);
}

/** PouchDB's planner is not always right: then its own answers with and without indexes differ, and the one without counts. */
function agrees(a, b, query) {
	try {
		same(a, b, query, '');
		return true;
	} catch {
		return false;
	}
}

/** What the query finds, sorted, from PouchDB without indexes. */
async function reference(query) {
	const { docs } = await bareHere.find(clone({ selector: query.selector, limit: WHOLE, fields: query.fields }));
	const paths = sortPaths(query);
	const descending = query.sort?.some((s) => Object.values(s)[0] === 'desc');
	const key = ({ _id }) => paths.map((path) => lookUp(of(_id), path).value);
	return clone(docs).sort((a, b) => (paths.length ? (collate(key(a), key(b)) || (a._id < b._id ? -1 : 1)) * (descending ? -1 : 1) : 0));
}

async function compare(query, what, tally) {
	const wanted = await reference(query);
	const page = { limit: random.below(random.pick([3, 20, 100])), skip: random.below(random.pick([2, 10, 50])) };
	const [plain, own, got, part] = await Promise.all([
		ask(bareThere, { ...query, ...page, sort: undefined, use_index: undefined }), ask(here, { ...query, limit: WHOLE }),
		ask(there, { ...query, limit: WHOLE }), ask(there, { ...query, ...page }),
	]);
	for (const { error } of [plain, got, part]) assert.ifError(error && new Error(`${what}: ${error.status} ${error.reason ?? error.message}`));
	if (!query.sort) assert.deepEqual(plain.docs, wanted.slice(page.skip, page.skip + page.limit), `without indexes, ${what}`);
	same(got.docs, wanted, query, what);
	assert.deepEqual(part.docs, got.docs.slice(page.skip, page.skip + page.limit), `a part, ${what}`);
	if (own.error) tally.refused++;
	else if (agrees(own.docs, wanted, query)) {
		same(got.docs, own.docs, query, what);
		tally.same++;
	} else tally.contradicts++;
	tally[wanted.length > 0 ? 'some' : 'none']++;
	if (query.sort) tally.sorted++;
}

test(`generated selectors find the same (FIND_SEED=${SEED})`, { timeout: 600000 }, async () => {
	const tally = { same: 0, refused: 0, contradicts: 0, some: 0, none: 0, sorted: 0 };
	for (let i = 0; i < COUNT; i++) {
		if (i % 75 === 74) await change();
		if (i % 25 === 0) for (let k = 0; k < (i ? 1 : 4); k++) await reindex();
		const query = generate();
		await compare(query, `query ${i} (FIND_SEED=${SEED}) ${JSON.stringify(query)}`, tally);
	}
	console.log(`  ${COUNT} queries, seed ${SEED}: ${JSON.stringify(tally)}`);
	// Where PouchDB refuses or contradicts itself, its scan still was the reference; but it must be the exception.
	assert.ok(tally.same > COUNT * 0.6 && tally.some > COUNT / 3, JSON.stringify(tally));
});

// ---- What PouchDB's own suite of the plugin asserts of a server, in our words

let serial = 0;
/** A new database over HTTP, with ${docs}. */
async function remote(docs = []) {
	const db = new PouchDB(`${server.authUrl}/own-${++serial}`);
	await db.info();
	if (docs.length > 0) for (const row of await db.bulkDocs(clone(docs))) assert.ok(row.ok, JSON.stringify(row));
	return db;
}
const idsOf = async (db, query) => (await db.find(query)).docs.map((d) => d._id);
const fails = (promise) => assert.rejects(promise, (e) => e instanceof Error || typeof e.message === 'string');
const HEROES = [
	['mario', 'mario', 5, 1981], ['puff', 'pokemon', 8, 1996], ['link', 'zelda', 10, 1986], ['dk', 'mario', 7, 1981], ['pikachu', 'pokemon', 1, 1996], ['falcon', 'f-zero', 4, 1990],
	['luigi', 'mario', 11, 1983], ['fox', 'star fox', 3, 1993], ['ness', 'earthbound', 9, 1994], ['samus', 'metroid', 12, 1986], ['yoshi', 'mario', 6, 1990], ['kirby', 'kirby', 2, 1992],
].map(([_id, series, rank, debut]) => ({ _id, name: _id, series, rank, debut }));

test('indexes through PouchDB: made once, listed, in design documents, deleted', async () => {
	const db = await remote();
	const special = { ddoc: null, name: '_all_docs', type: 'special', def: { fields: [{ _id: 'asc' }] } };
	assert.deepEqual(await db.getIndexes(), { total_rows: 1, indexes: [special] });
	const index = { index: { fields: ['foo'] }, name: 'foo-index', type: 'json' };
	const { id, name, result } = await db.createIndex(index);
	assert.match(id, /^_design\//);
	assert.deepEqual([name, result], ['foo-index', 'created']);
	assert.deepEqual(await db.createIndex(index), { id, name, result: 'exists' });
	const ddoc = await db.get(id);
	assert.equal(ddoc._rev.split('-')[0], '1');
	assert.equal(ddoc.language, 'query');
	assert.deepEqual(ddoc.views['foo-index'].map.fields, { foo: 'asc' });
	assert.deepEqual(ddoc.views['foo-index'].options.def, { fields: ['foo'] });
	// The same columns by another name are another index.
	const other = await db.createIndex({ index: { fields: [{ foo: 'asc' }, 'bar'] }, name: 'bar-index' });
	assert.notEqual(other.id, id);
	const { indexes } = await db.getIndexes();
	assert.deepEqual(indexes.map((i) => i.name).sort(), ['_all_docs', 'bar-index', 'foo-index']);
	assert.deepEqual(indexes.find((i) => i.name === 'bar-index').def.fields, [{ foo: 'asc' }, { bar: 'asc' }]);
	for (const bad of ['no object', { name: 'foo-index' }, { ddoc: id }]) await fails(db.deleteIndex(bad));
	for (const i of indexes.slice(1)) assert.deepEqual(await db.deleteIndex({ ddoc: i.ddoc, name: i.name }), { ok: true });
	assert.deepEqual(await db.getIndexes(), { total_rows: 1, indexes: [special] });
});

test('several indexes in one design document, and design documents that are none of ours', async () => {
	const db = await remote();
	await db.put({ _id: '_design/empty', language: 'query' });
	assert.equal((await db.getIndexes()).indexes.length, 1);
	for (const [name, field] of [['one', 'foo'], ['two', 'bar']]) {
		const index = { index: { fields: [field] }, name, ddoc: 'empty' };
		assert.equal((await db.createIndex(index)).result, 'created');
		assert.equal((await db.createIndex(index)).result, 'exists');
	}
	const { indexes } = await db.getIndexes();
	assert.deepEqual(indexes.map((i) => [i.ddoc, i.name]), [[null, '_all_docs'], ['_design/empty', 'one'], ['_design/empty', 'two']]);
	assert.deepEqual(await db.deleteIndex(indexes[1]), { ok: true });
	assert.deepEqual(Object.keys((await db.get('_design/empty')).views), ['two']);
	await db.deleteIndex(indexes[2]);
	await assert.rejects(db.get('_design/empty'), { status: 404 });
	await db.put({ _id: '_design/script', views: { v: { map: 'function () { emit(1); }' } } });
	await fails(db.createIndex({ index: { fields: ['foo'] }, name: 'v', ddoc: 'script' }));
});

test('what PouchDB is refused', async () => {
	const db = await remote([{ _id: '1', foo: 1 }]);
	await db.createIndex({ index: { fields: ['foo'] } });
	const calls = [
		() => db.find(), () => db.find({}), () => db.find({ selector: [] }), () => db.find({ selector: { foo: 1 }, sort: { foo: 'asc' } }), () => db.find({ selector: { foo: { $mod: { gte: 3 } } } }), () => db.find({ fields: ['_id'], sort: ['foo'] }),
		() => db.find({ selector: { foo: { $ne: 'eba' } }, sort: ['bar'] }), () => db.createIndex('no object'), () => db.createIndex({}), () => db.createIndex({ index: { fields: [{ foo: 'desc' }, 'bar'] } }),
		() => db.explain({}), () => db.explain(), () => db.deleteIndex({ ddoc: 'foo', name: 'bar' }),
	];
	for (const call of calls) await fails(call());
	await assert.rejects(db.find({ selector: { foo: 1 }, sort: ['bar'] }), (e) => e.status === 400 && /^No index exists for this sort/.test(e.reason ?? e.message));
	assert.equal((await db.find({ selector: { foo: 1 } })).docs.length, 1);
});

test('ids against values of every type', async () => {
	const db = await remote(HEROES);
	const all = HEROES.map((d) => d._id).sort();
	const table = [
		[all, { $gt: null }, { $gte: null }, { $gt: false }, { $gte: false }, { $gt: 0 }, { $gte: 0 }, { $gt: [] }, { $gt: {} }, { $gte: {} }],
		[[], { $lt: null }, { $lte: null }, { $lt: false }, { $lt: 0 }, { $lte: 0 }, { $lte: [] }, { $lt: {} }, { $lte: {} }, { $eq: {} }, { $eq: null }, { $eq: 0 }],
	];
	for (const [wanted, ...conditions] of table) {
		for (const c of conditions) {
			assert.deepEqual(await idsOf(db, { selector: { _id: c } }), wanted, JSON.stringify(c));
			assert.deepEqual(await idsOf(db, { selector: { _id: c }, sort: [{ _id: 'desc' }] }), [...wanted].reverse(), `descending, ${JSON.stringify(c)}`);
		}
	}
	assert.deepEqual(await idsOf(db, { selector: { _id: { $gte: 'k', $lt: 'm' } } }), ['kirby', 'link', 'luigi']);
});

test('orders of the server: by ICU, and of indexes that are declared downward', async () => {
	const words = ['AAA', 'aAA', 'BAA', 'bAA', '\u0000aAA', '\u0001AAA'].map((foo, i) => ({ _id: `${i + 1}`, foo }));
	const db = await remote(words);
	await db.createIndex({ index: { fields: [{ foo: 'desc' }] } });
	assert.deepEqual(await idsOf(db, { selector: { foo: { $gt: '\u0000\u0000' } }, sort: ['foo'] }), ['2', '5', '1', '6', '4', '3']);
	assert.deepEqual(await idsOf(db, { selector: { foo: { $gt: '\u0000\u0000' } }, sort: [{ foo: 'desc' }] }), ['3', '4', '6', '1', '5', '2']);
	assert.deepEqual(await idsOf(db, { selector: { foo: { $lte: 'b' } } }), ['2', '5', '1', '6']);
});

test('names of fields that want escaping', async () => {
	const names = { 'foo\\.bar': 'foo.bar', 'foo bar': 'foo bar', 'foo-bar': 'foo-bar', '0foobar': '0foobar', '授人以鱼不如授人以渔。': '授人以鱼不如授人以渔。', 'a.b\\.c.0d': null };
	for (const [path, name] of Object.entries(names)) {
		const db = await remote([{ _id: 'not', foo: { bar: 'a' } }, { _id: 'doc', ...(name ? { [name]: 'a' } : { a: { 'b.c': { '0d': 'a' } } }) }]);
		await db.createIndex({ index: { fields: [path] } });
		assert.deepEqual(await idsOf(db, { selector: { [path]: 'a' }, fields: ['_id'] }), ['doc'], path);
		assert.equal((await db.explain({ selector: { [path]: 'a' } })).index.type, 'json');
	}
});

test('sets by $and, a scan with its warning, the index that is named, and a partial one', async () => {
	const db = await remote(HEROES);
	const query = { selector: { $and: [{ series: 'mario' }, { debut: { $gte: 1990 } }] }, fields: ['_id'] };
	const scan = await db.find(query);
	assert.deepEqual(scan.docs, [{ _id: 'yoshi' }]);
	assert.match(scan.warning, /no matching index found/i);
	for (const fields of [['rank'], ['series'], ['debut'], ['series', 'debut']]) {
		await db.createIndex({ index: { fields }, ddoc: fields.join('-') });
		assert.deepEqual((await db.find(query)).docs, [{ _id: 'yoshi' }], fields.join());
	}
	assert.equal((await db.explain({ ...query, use_index: 'debut' })).index.ddoc, '_design/debut');
	await db.createIndex({ index: { fields: ['name'], partial_filter_selector: { series: 'mario' } }, ddoc: 'part', name: 'of-mario' });
	assert.deepEqual(await idsOf(db, { selector: { name: { $gt: 'k' } }, use_index: ['part', 'of-mario'] }), ['luigi', 'mario', 'yoshi']);
	assert.equal((await idsOf(db, { selector: { name: { $gt: 'k' } } })).length, 9);
});

test('an index that was made here serves there after live sync, and both find the same', { timeout: 120000 }, async () => {
	const local = new PouchDB('find-synced', { adapter: 'memory' });
	const db = await remote(HEROES);
	const sync = local.sync(db, { live: true, retry: true });
	try {
		await local.createIndex({ index: { fields: ['series', 'rank'] }, ddoc: 'made-here', name: 'sr' });
		await db.createIndex({ index: { fields: ['debut'] }, ddoc: 'made-there', name: 'd' });
		await local.put({ _id: 'wario', name: 'wario', series: 'mario', rank: 13, debut: 1992 });
		await db.put({ _id: 'zelda', name: 'zelda', series: 'zelda', rank: 14, debut: 1986 });
		const queries = [
			{ selector: { series: 'mario', rank: { $gt: 5 } }, sort: ['series', 'rank'], fields: ['_id', 'rank'] }, { selector: { debut: { $gte: 1986, $lt: 1993 } }, sort: [{ debut: 'desc' }], fields: ['_id'] },
			{ selector: { $or: [{ series: 'zelda' }, { name: 'kirby' }] }, fields: ['_id'] },
		];
		const answers = (at) => Promise.all(queries.map((query) => at.find(clone(query)).then(({ docs }) => docs, (e) => e.message)));
		const seen = async (at) => ({ indexes: (await at.getIndexes()).indexes.map((i) => `${i.ddoc} ${i.name} ${JSON.stringify(i.def)}`).sort(), answers: await answers(at), ids: (await at.allDocs()).rows.map((r) => r.id) });
		await converged([sync], async () => {
			const [a, b] = [JSON.stringify(await seen(local)), JSON.stringify(await seen(db))];
			return a === b ? [] : [`${a} and ${b}`];
		});
		const there = await seen(db);
		assert.equal(there.indexes.length, 3);
		assert.deepEqual(there.answers[0].map((d) => d._id), ['yoshi', 'dk', 'luigi', 'wario']);
		assert.equal((await db.explain(queries[0])).index.ddoc, '_design/made-here');
	} finally {
		await cancelAll([sync]);
		await local.destroy();
	}
});
