// PouchDB's query API on a Divan over HTTP and on PouchDB's own memory adapter: the same documents, the same design document,
// generated queries, the same rows.  Strings are of a to z only, for PouchDB orders others by code unit and Divan by ICU.
// QUERIES: how many (400); QUERY_SEED repeats a run's data and queries.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import PouchDB from 'pouchdb';
import memory from 'pouchdb-adapter-memory';
import { startDivand } from '../lib/divand.mjs';
import { Random } from '../lib/random.mjs';

PouchDB.plugin(memory);

const COUNT = Number(process.env.QUERIES ?? 400);
const SEED = Number(process.env.QUERY_SEED ?? Date.now() % 1e9);
const random = new Random(SEED);
let server, here, there;

const word = (most = 3) => Array.from({ length: random.between(0, most) }, () => random.pick('abcxyz')).join('');
const hash = () => random.bytes(16).toString('hex');
/** Quarters, so that sums have no rounding that depends on their order. */
const number = () => random.between(-40, 40) / random.pick([1, 1, 2, 4]);

/** A key of any type; few different ones, so that many documents share theirs. */
function key(depth = 0) {
	const kind = random.below(depth > 2 ? 5 : 9);
	if (kind === 0) return random.pick([null, false, true]);
	if (kind <= 2) return random.below(3) ? random.between(-3, 9) : number();
	if (kind <= 4) return word();
	if (kind <= 7) return Array.from({ length: random.between(0, 4) }, () => key(depth + 1));
	const out = {};
	for (let i = random.below(3); i > 0; i--) out[`k${random.pick('abc')}`] = key(depth + 1);
	return out;
}

const IDS = new Set();
while (IDS.size < 240) IDS.add(`d${word(5)}`);
const ids = [...IDS];

const docs = () => ids.map((_id) => ({
	_id, key: key(), n: number(), word: word(), other: random.pick(ids), date: [random.between(2001, 2004), random.between(1, 4), random.between(1, 9)],
	tags: Array.from({ length: random.below(5) }, () => word(2)),
}));

const VIEWS = {
	any: { map: 'function (doc) { if ("key" in doc) emit(doc.key, doc.n); }' },
	dates: { map: 'function (doc) { if (doc.date) emit(doc.date, doc.n); }', reduce: '_sum' },
	tags: { map: 'function (doc) { if (doc.tags) doc.tags.forEach(function (t, i) { emit(t, i); }); }', reduce: '_count' },
	stats: { map: 'function (doc) { if (doc.date) emit([doc.date[0], doc.word, doc.n], doc.n); }', reduce: '_stats' },
	script: {
		map: 'function (doc) { if (doc.date) emit([doc.date[0], doc.date[1], doc.word], doc.n); }',
		reduce: 'function (keys, values, rereduce) { return rereduce ? { n: sum(values.map(function (v) { return v.n; })), total: sum(values.map(function (v) { return v.total; })) } : { n: values.length, total: sum(values) }; }',
	},
	most: { map: 'function (doc) { if ("key" in doc) emit(doc.key, doc.n); }', reduce: 'function (keys, values) { return Math.max.apply(null, values); }' },
	linked: { map: 'function (doc) { if (doc.other) { emit(doc.word, { _id: doc.other }); emit([doc.word], null); } }' },
	nothing: { map: 'function (doc) { if (doc.nobody) emit(doc.nobody); }', reduce: '_count' },
};

/** Keys that a view has, and some that it has not. */
async function keysOf(view) {
	const { rows } = await here.query(`d/${view}`, { reduce: false });
	const own = clean(rows).map((r) => r.key);
	const pick = () => {
		if (own.length === 0 || random.below(5) === 0) return key();
		const k = random.pick(own);
		// The beginning of one, with or without what is behind all that begins so.
		if (Array.isArray(k) && k.length > 0 && random.below(3) === 0) return [...k.slice(0, random.below(k.length)), ...random.pick([[], [{}], [null]])];
		return k;
	};
	/** Two that have rows between them, in the order of the view. */
	pick.two = () => {
		if (own.length === 0) return [pick(), pick()];
		const from = random.below(own.length);
		return [own[from], own[random.between(from, own.length - 1)]];
	};
	return pick;
}

function range(pick, query) {
	const kind = random.below(8);
	if (kind === 0) return;
	if (kind === 1) query.key = pick();
	else if (kind === 2) query.keys = Array.from({ length: random.between(0, 6) }, pick);
	else {
		const ends = random.below(4) === 0 ? [pick(), pick()] : pick.two();
		if (query.descending) ends.reverse();
		if (kind !== 3) query.startkey = ends[0];
		if (kind !== 4) query.endkey = ends[1];
		if (random.below(3) === 0) query.inclusive_end = random.below(3) === 0;
	}
}

function generate(view, pick) {
	const query = {};
	const reduces = 'reduce' in VIEWS[view];
	if (random.below(3) === 0) query.descending = true;
	range(pick, query);
	// PouchDB leaves the order of `keys` as it is; CouchDB turns it round.
	if (query.keys) delete query.descending;
	if (random.below(3) === 0) query.limit = random.below(random.pick([3, 30, 300]));
	if (random.below(4) === 0) query.skip = random.below(random.pick([3, 30, 300]));
	if (reduces && random.below(4) > 0) {
		// PouchDB makes one group of a key that is asked for twice in a row; CouchDB answers each.
		if (query.keys) query.keys = [...new Map(query.keys.map((k) => [JSON.stringify(k), k])).values()];
		if (query.keys || random.below(3) === 0) query.group = true;
		else if (random.below(3) > 0) query.group_level = random.between(1, 5);
		if (random.below(4) === 0) query.reduce = true;
	} else {
		if (reduces || random.below(4) === 0) query.reduce = false;
		if (random.below(3) === 0) query.include_docs = true;
		if (query.include_docs && random.below(3) === 0) query.conflicts = true;
	}
	return query;
}

/**
 * Without what PouchDB has of its own: negative keys with an error of rounding, objects of another realm, no `doc` where a linked
 * document is gone (CouchDB: null).
 */
const clean = (rows) => JSON.parse(JSON.stringify(rows), (name, v) =>
	(typeof v === 'number' ? Math.round(v * 1e6) / 1e6 : name === 'doc' && v === null ? undefined : v));

const ask = (db, view, query) => db.query(`d/${view}`, structuredClone(query)).then(({ rows, total_rows }) => ({ rows: clean(rows), total_rows }), ({ status, name, message }) => ({ status, name, message }));

before(async () => {
	server = await startDivand();
	here = new PouchDB('query', { adapter: 'memory' });
	there = new PouchDB(`${server.authUrl}/query`);
	// The two number revisions differently, so they are given.
	const all = [...docs(), { _id: '_design/d', views: VIEWS }].map((doc) => ({ ...doc, _rev: `1-${hash()}` }));
	for (const db of [here, there]) await db.bulkDocs(structuredClone(all), { new_edits: false });
	await change();
});
after(async () => {
	await here?.destroy();
	await server?.stop();
});

/** Edits, deletions, and conflicts whose loser is seen by `conflicts`, the same on both sides. */
async function change() {
	const { rows } = await here.allDocs({ endkey: 'd\ufff0', startkey: 'd' });
	const revs = new Map(rows.map((r) => [r.id, r.value.rev]));
	const changed = [];
	for (const _id of ids) {
		const dice = random.below(10);
		if (!revs.has(_id) || dice > 3) continue;
		const rev = revs.get(_id);
		const base = { _id, key: key(), n: number(), word: word(), other: random.pick(ids), date: [2002, 2, 2], tags: [word(1)] };
		const generation = Number.parseInt(rev, 10);
		if (dice === 0) changed.push({ _id, _deleted: true, _revisions: { start: generation + 1, ids: [hash(), rev.split('-')[1]] } });
		else changed.push({ ...base, _revisions: { start: generation + 1, ids: [hash(), dice === 1 ? hash() : rev.split('-')[1]] } });
		const last = changed.at(-1);
		last._rev = `${generation + 1}-${last._revisions.ids[0]}`;
	}
	for (const db of [here, there]) await db.bulkDocs(structuredClone(changed), { new_edits: false });
}

test(`generated queries give the same rows (QUERY_SEED=${SEED})`, { timeout: 300000 }, async () => {
	const views = Object.keys(VIEWS);
	const picks = new Map();
	const tally = { rows: 0, empty: 0, refused: 0 };
	for (let i = 0; i < COUNT; i++) {
		// Now and then the documents change, so that both indexes are brought up to date, not built.
		if (i > 0 && i % 100 === 0) {
			await change();
			picks.clear();
		}
		const view = views[i % views.length];
		if (!picks.has(view)) picks.set(view, await keysOf(view));
		const query = generate(view, picks.get(view));
		const [wanted, got] = await Promise.all([ask(here, view, query), ask(there, view, query)]);
		const what = `query ${i} (QUERY_SEED=${SEED}) ${view} ${JSON.stringify(query)}`;
		if (wanted.status || got.status) {
			assert.equal(got.status, wanted.status, `${what}: ${JSON.stringify(got)} and ${JSON.stringify(wanted)}`);
			tally.refused++;
			continue;
		}
		assert.deepEqual(got.rows, wanted.rows, what);
		if (!query.keys) assert.equal(got.total_rows, wanted.total_rows, what);
		tally[wanted.rows.length ? 'rows' : 'empty']++;
	}
	assert.ok(tally.rows > COUNT / 2, JSON.stringify(tally));
	console.log(`  ${COUNT} queries, seed ${SEED}: ${JSON.stringify(tally)}`);
});
