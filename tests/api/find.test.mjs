// _find with indexes, without, and a model of selectors in JavaScript: the same documents, whatever way they are found.  Sorts,
// pages, `fields`, partial indexes and use_index likewise; in small databases, where indexes are taken as CouchDB takes them, and in ones that
// are large enough for ways of our own, and in partitions.  FINDS: how many queries of each (200); FIND_SEED repeats a run.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startDivand } from '../lib/divand.mjs';
import { bySort, collate, lookUp, matches, project, sortsById, usable } from '../lib/mango.mjs';
import { MangoRandom, PATHS, SelectorRandom } from '../lib/mango-random.mjs';
import { Random } from '../lib/random.mjs';
import { client } from '../lib/wire.mjs';

const COUNT = Number(process.env.FINDS ?? 200);
const SEED = Number(process.env.FIND_SEED ?? Date.now() % 1e9);
const random = new Random(SEED);
const g = new MangoRandom(random);
const selectors = new SelectorRandom(g, lookUp);
const byId = (a, b) => Buffer.compare(Buffer.from(a._id), Buffer.from(b._id));
let server, c, plain, indexed;
/** Of a database that has partitions: the one in which the next query looks; undefined: in all. */
let partitioned = false, partition;
let indexes; // {ddoc, name, columns, filter}
let revs;

before(async () => {
	server = await startDivand();
	c = client(server);
});
after(async () => {
	c?.close();
	await server?.stop();
});

const post = async (path, body, status = 200) => {
	const r = await c.request('POST', path, body);
	assert.equal(r.status, status, `${path} ${JSON.stringify(body)}: ${r.text.slice(0, 500)}`);
	return r.json;
};

async function database() {
	if (!partitioned) return c.db();
	const path = `/parted-${random.below(1e9)}`;
	const r = await c.request('PUT', `${path}?partitioned=true`);
	assert.equal(r.status, 201, r.text);
	return path;
}

/** Documents are made, changed and deleted, the same in both databases. */
async function edit(n) {
	const changed = new Map();
	for (let i = 0; i < n; i++) {
		const old = g.docs.length > 0 && random.below(2) ? random.pick(g.docs) : undefined;
		const _id = old?._id ?? (partitioned ? `${random.pick('abc')}:` : '') + g.id();
		const gone = old && random.below(4) === 0;
		changed.set(_id, gone ? { _id, _deleted: true } : { _id, ...g.body() });
	}
	for (const db of [plain, indexed]) {
		const docs = [...changed.values()].map((doc) => ({ ...doc, ...(revs.has(doc._id) ? { _rev: revs.get(doc._id) } : {}) }));
		const r = await c.request('POST', `${db}/_bulk_docs`, { docs });
		assert.equal(r.status, 201, r.text.slice(0, 300));
		assert.ok(r.json.every((row) => row.ok), r.text.slice(0, 500));
		if (db === indexed) for (const { id, rev } of r.json) revs.set(id, rev);
	}
	g.docs = g.docs.filter((d) => !changed.has(d._id));
	for (const doc of changed.values()) {
		if (doc._deleted) revs.delete(doc._id);
		else g.docs.push(JSON.parse(JSON.stringify(doc)));
	}
	g.docs.sort(byId);
	return [...changed.keys()];
}

async function createIndex(serial) {
	const columns = [...new Set(Array.from({ length: random.pick([1, 1, 2, 2, 3]) }, () => selectors.path()))];
	const filter = random.below(5) === 0 ? selectors.selector(1) : undefined;
	const order = random.below(4) === 0 ? 'desc' : 'asc';
	const fields = columns.map((path) => (order === 'desc' || random.below(2) ? { [path]: order } : path));
	// Now and then two in one design document.
	const with_ = indexes.length > 0 && random.below(4) === 0 ? random.pick(indexes) : undefined;
	const old = with_?.ddoc ?? `d${serial}`;
	// All of a design document are for partitions, or none.
	const own = with_?.own ?? (partitioned && random.below(2) === 0);
	const made = await post(`${indexed}/_index`, { index: { fields, ...(filter ? { partial_filter_selector: filter } : {}) }, ddoc: old, name: `v${serial}`, ...(partitioned ? { partitioned: own } : {}) });
	assert.equal(made.result, 'created', JSON.stringify(made));
	indexes.push({ ddoc: old, name: `v${serial}`, columns, filter, own });
}

async function dropIndex() {
	const [{ ddoc, name }] = indexes.splice(random.below(indexes.length), 1);
	const r = await c.request('DELETE', `${indexed}/_index/${ddoc}/json/${name}`);
	assert.equal(r.status, 200, r.text);
}

const at = (db) => (partition ? `${db}/_partition/${partition}` : db);
const find = (db, query) => c.request('POST', `${at(db)}/_find`, query);
/** Documents that a query may find at all. */
const visible = () => (partition ? g.docs.filter((doc) => doc._id.startsWith(`${partition}:`)) : g.docs);
const inScope = (index) => index.own === (partition !== undefined);
const WHOLE = 100000;

/** All of a query by pages of random sizes. */
async function paged(query) {
	const docs = [];
	let bookmark;
	for (let i = 0; i < 2000; i++) {
		const limit = random.below(4) ? random.between(1, 40) : random.between(1, 3);
		const r = await find(indexed, { ...query, limit, ...(bookmark ? { bookmark } : {}) });
		assert.equal(r.status, 200, r.text);
		assert.ok(r.json.docs.length <= limit, r.text.slice(0, 200));
		if (r.json.docs.length === 0) return docs;
		docs.push(...r.json.docs);
		bookmark = r.json.bookmark;
	}
	return assert.fail('pages without end');
}

/** An $or whose branches have an index each. */
function branches() {
	const $or = Array.from({ length: random.between(1, 4) }, () => {
		const { columns, filter } = random.pick(indexes);
		const narrow = Object.fromEntries(columns.map((path) => [path, random.below(2) ? { $eq: selectors.known(path) } : random.below(2) ? { $in: selectors.list(path) } : selectors.condition(path, 1)]));
		return filter && random.below(2) ? { $and: [narrow, filter] } : narrow;
	});
	return random.below(3) ? { $or } : { $or, ...selectors.fields(1) };
}

/** Columns that a generated query may be answered from: those of an index, often with a selector made for it. */
function generate() {
	const serving = indexes.filter((x) => inScope(x) || random.below(8) === 0);
	const index = serving.length > 0 && random.below(3) ? random.pick(serving) : undefined;
	const query = {};
	const own = index && random.below(4);
	const made = own ? selectors.fields(1, index.columns.slice(0, random.between(1, index.columns.length))) : indexes.length > 2 && random.below(3) === 0 ? branches() : selectors.selector();
	query.selector = own && random.below(3) === 0 ? { $and: [made, selectors.selector(1)] } : made;
	if (random.below(20) === 0) query.selector = {};
	if (index && random.below(3) === 0) {
		const from = random.below(3) ? 0 : random.below(index.columns.length);
		const sort = index.columns.slice(from, random.between(from + 1, index.columns.length));
		const order = random.pick(['asc', 'desc']);
		query.sort = sort.map((path) => (order === 'desc' || random.below(2) ? { [path]: order } : path));
	}
	if (index && random.below(4) === 0) query.use_index = random.pick([index.ddoc, `_design/${index.ddoc}`, [index.ddoc], [index.ddoc, index.name]]);
	if (random.below(3) === 0) query.fields = [...new Set(['_id', ...(own && random.below(2) ? index.columns : Array.from({ length: random.below(4) }, () => random.pick(PATHS)))])];
	return query;
}

const sortPaths = (query) => (query.sort ?? []).map((s) => (typeof s === 'string' ? s : Object.keys(s)[0]));
const descends = (query) => query.sort?.some((s) => Object.values(s)[0] === 'desc') ?? false;

/** The index that use_index means, if it serves; else undefined: one is chosen. */
function named(query) {
	if (query.use_index === undefined) return undefined;
	const [ddoc, name] = [query.use_index].flat();
	const those = indexes.filter((i) => i.ddoc === ddoc.replace('_design/', '') && (name === undefined || i.name === name));
	return those.filter((i) => inScope(i) && usable(i.columns, query.selector, sortPaths(query)));
}

const show = (i, query) => `query ${i} (FIND_SEED=${SEED}) ${partition ? `in partition ${partition} ` : ''}${JSON.stringify(query)}; indexes ${JSON.stringify(indexes.map((x) => [x.ddoc, x.name, x.columns, x.filter, x.own]))}`;
const idsOf = (docs) => docs.map((d) => d._id);
const bare = ({ _rev, ...doc }) => doc;

/** What the query finds, in order where it sorts: candidates, for of several indexes in one named design document any may be taken. */
function expected(query) {
	const sort = sortPaths(query);
	const hits = visible().filter((doc) => matches(query.selector, doc) && sort.every((path) => lookUp(doc, path).found));
	const by = named(query);
	const filters = by?.length > 0 ? by.map((i) => i.filter) : [undefined];
	return filters.map((filter) => {
		const docs = filter ? hits.filter((doc) => matches(filter, doc)) : hits;
		return sort.length > 0 ? [...docs].sort(bySort(sort, descends(query))) : docs;
	});
}

/** Equal but for the order of what the sort takes for equal: other columns and ids decide there. */
function sameOrder(got, wanted, query, what) {
	const sort = sortPaths(query);
	assert.deepEqual(idsOf(got).sort(), idsOf(wanted).sort(), what);
	if (sort.length === 0) return;
	const of = new Map(g.docs.map((d) => [d._id, d]));
	const key = (doc) => sort.map((path) => lookUp(of.get(doc._id), path).value);
	// All documents are in the order of their ids' bytes, an index of _id in that of views, as in CouchDB.
	const sorted = (raw) => got.every((doc, i) => i === 0 || collate(key(got[i - 1]), key(doc), raw) * (descends(query) ? -1 : 1) <= 0);
	assert.ok(sorted(false) || (sort[0] === '_id' && sorted(true)), `${what}: the order of ${JSON.stringify(idsOf(got))}`);
}

async function compare(i, query, tally) {
	const what = show(i, query);
	const selector = query.selector;
	const byScan = await find(plain, { selector, limit: WHOLE });
	assert.equal(byScan.status, 200, `${what}: ${byScan.text.slice(0, 300)}`);
	const hits = visible().filter((doc) => matches(selector, doc));
	assert.deepEqual(byScan.json.docs.map(bare), hits, `without an index, ${what}`);

	const whole = await find(indexed, { ...query, limit: WHOLE });
	const sort = sortPaths(query);
	const serves = sortsById(selector, sort) || indexes.some((x) => inScope(x) && (!x.filter || named(query)?.includes(x)) && usable(x.columns, selector, sort));
	if (sort.length > 0 && !serves) {
		assert.equal(whole.status, 400, `no index sorts it, ${what}: ${whole.text.slice(0, 200)}`);
		assert.equal(whole.json.error, 'no_usable_index', what);
		tally.refused++;
		return;
	}
	assert.equal(whole.status, 200, `${what}: ${whole.text.slice(0, 300)}`);
	const { docs, warning } = whole.json;
	const all = expected(query);
	const wanted = all.find((list) => list.length === docs.length) ?? all[0];
	sameOrder(docs, wanted, query, what);
	tally[docs.length > 0 ? 'some' : 'none']++;
	if (sort.length > 0) tally.sorted++;
	if (!warning) tally.indexed++;
	const of = new Map(g.docs.map((d) => [d._id, d]));
	for (const doc of docs) assert.deepEqual(query.fields ? doc : bare(doc), query.fields ? project({ ...of.get(doc._id), _rev: revs.get(doc._id) }, query.fields) : of.get(doc._id), what);

	// Without a sort the order is that of the way taken, which may be another as soon as an index has been built and its rows are counted.
	const byIds = new Map(docs.map((doc) => [doc._id, doc]));
	if (random.below(3) === 0) {
		const all = await paged(query);
		sameOrder(all, docs, query, `by pages, ${what}`);
		for (const doc of all) assert.deepEqual(doc, byIds.get(doc._id), `by pages, ${what}`);
		tally.paged++;
	}
	if (random.below(3) === 0) {
		const [skip, limit] = [random.below(docs.length + 3), random.below(docs.length + 3)];
		const part = await post(`${at(indexed)}/_find`, { ...query, skip, limit, execution_stats: true });
		const slice = docs.slice(skip, skip + limit);
		const where = `skip ${skip}, limit ${limit}, ${what}`;
		assert.equal(part.docs.length, slice.length, where);
		assert.equal(new Set(idsOf(part.docs)).size, slice.length, where);
		for (const [i, doc] of part.docs.entries()) {
			assert.deepEqual(doc, byIds.get(doc._id), where);
			if (sort.length > 0 && sort[0] !== '_id') assert.equal(bySort(sort, false, true)(of.get(doc._id), of.get(slice[i]._id)), 0, where);
		}
		// Where nothing can match CouchDB does not look, and tells neither a bookmark nor statistics.
		assert.equal(part.execution_stats?.results_returned ?? 0, part.docs.length, what);
	}
}

/** Pages while documents change: what is not changed comes once; true if there was more than one page. */
async function pagedAmongEdits(i, query) {
	const touched = new Set();
	const before = expected(query);
	const got = [];
	let bookmark;
	for (let pages = 0; ; pages++) {
		const r = await find(indexed, { ...query, fields: ['_id'], limit: random.between(1, 30), bookmark });
		if (pages === 0 && r.status === 400) return false;
		assert.equal(r.status, 200, `${show(i, query)}: ${r.text.slice(0, 300)}`);
		if (r.json.docs.length === 0) {
			const still = before.map((docs) => idsOf(docs).filter((id) => !touched.has(id)).sort());
			const kept = got.filter((id) => !touched.has(id)).sort();
			assert.ok(still.some((ids) => JSON.stringify(ids) === JSON.stringify(kept)), `among edits, ${show(i, query)}: ${JSON.stringify(kept)} and ${JSON.stringify(still)}`);
			return pages > 1;
		}
		got.push(...idsOf(r.json.docs));
		({ bookmark } = r.json);
		if (pages < 6) for (const id of await edit(random.between(1, 20))) touched.add(id);
	}
}

/** What the server reads for the query: all_docs, index, ranges or union. */
async function way(query) {
	const { plan } = await post(`${at(indexed)}/_explain?plan=true`, query);
	assert.ok(plan.parts.length <= 64, JSON.stringify(plan));
	return plan.way;
}

async function run(documents, count = COUNT) {
	const tally = { some: 0, none: 0, sorted: 0, indexed: 0, paged: 0, refused: 0 };
	g.docs = [];
	indexes = [];
	revs = new Map();
	[plain, indexed] = [await database(), await database()];
	await edit(documents);
	for (let i = 0; i < count; i++) {
		if (i % 25 === 0) {
			await edit(random.between(5, 40));
			while (indexes.length > 12) await dropIndex();
			for (let k = 0; k < 4; k++) await createIndex(`${i}-${k}`);
		}
		if (partitioned) partition = random.pick(['a', 'b', 'c', undefined]);
		const query = generate();
		await compare(i, query, tally);
		if (i % 2 === 0 && !query.sort) {
			const w = await way(query);
			tally[w] = (tally[w] ?? 0) + 1;
		}
	}
	tally.edited = 0;
	for (let i = 0; i < count / 10; i++) if (await pagedAmongEdits(i, generate())) tally.edited++;
	console.log(`  ${count} queries, ${g.docs.length} documents, seed ${SEED}: ${JSON.stringify(tally)}`);
	assert.ok(tally.some > count / 20 && tally.indexed > 0, JSON.stringify(tally));
}

test(`generated queries find what the model finds, with and without indexes (FIND_SEED=${SEED})`, { timeout: 600000 }, () => run(180));
test(`and where counts of rows say how (FIND_SEED=${SEED})`, { timeout: 600000 }, () => run(900));

test(`and in partitions (FIND_SEED=${SEED})`, { timeout: 600000 }, async () => {
	partitioned = true;
	try {
		await run(200, Math.ceil(COUNT / 2));
	} finally {
		partitioned = false;
		partition = undefined;
	}
});

test('a scan in many turns gives every document once, whatever the ids look like', async () => {
	const db = await c.db();
	// Behind a longer id comes a shorter one, and then the shorter one with the longer one's end.
	const ids = Array.from({ length: 2000 }, (_, i) => `${1000 + (i >> 1)}${i % 2 ? 'b' : ''}`);
	await post(`${db}/_bulk_docs`, { docs: ids.map((_id, n) => ({ _id, n, t: 'x'.repeat(n % 300) })) }, 201);
	await post(`${db}/_index`, { index: { fields: ['n'] }, ddoc: 'n' });
	for (const selector of [{}, { t: { $exists: true } }, { _id: { $gt: '1000b' } }, { n: { $gte: 0 } }, { $or: [{ n: { $lt: 1000 } }, { n: { $gte: 1000 } }] }]) {
		const wanted = ids.slice(selector._id ? 2 : 0).sort();
		for (const more of [{}, { fields: ['_id'] }, { fields: ['_id', 't'] }, { skip: 1 }]) {
			const { docs } = await post(`${db}/_find`, { selector, limit: WHOLE, ...more });
			const skipped = wanted.slice(more.skip ?? 0);
			assert.deepEqual(idsOf(docs).sort(), skipped, JSON.stringify([selector, more]));
		}
	}
});

/** Pages of 25 to the end; ${between} happens behind the first. */
async function pages(query, between) {
	const got = [];
	let bookmark;
	for (let i = 0; ; i++) {
		const page = await post(`${indexed}/_find`, { ...query, limit: 25, fields: ['_id'], bookmark });
		if (page.docs.length === 0) return got;
		got.push(...idsOf(page.docs));
		({ bookmark } = page);
		if (i === 0) await between();
	}
}

test('pages go on the way they began, though counts say another now, and after a restart', async () => {
	indexed = await c.db();
	const save = (from, to, make) => post(`${indexed}/_bulk_docs`, { docs: Array.from({ length: to - from }, (_, i) => ({ _id: `d${10000 + from + i}`, ...make(from + i) })) }, 201);
	await save(0, 1500, (i) => ({ a: i % 50, b: i % 40, kind: i % 20 ? 'y' : 'x', n: i }));
	for (const [ddoc, fields, partial_filter_selector] of [['a', ['a']], ['b', ['b']], ['part', ['n'], { kind: 'x' }]]) await post(`${indexed}/_index`, { index: { fields, partial_filter_selector }, ddoc, name: ddoc });
	// The first query builds the indexes; from then on their rows are counted.
	for (const selector of [{ a: 1 }, { b: 1 }]) await post(`${indexed}/_find`, { selector, limit: 1 });
	await post(`${indexed}/_find`, { selector: { n: 1 }, use_index: 'part' });
	const either = { selector: { $or: [{ a: 1 }, { b: 2 }, { $and: [{ a: 3 }, { n: { $gt: 700 } }] }] } };
	const kind = { selector: { kind: 'x', n: { $gte: 0 } } };
	const plans = async () => [await way(either), (await post(`${indexed}/_explain?plan=true`, kind)).plan.parts[0].index?.ddoc];
	assert.deepEqual(await plans(), ['union', '_design/part']);
	const matching = (made) => made.filter((i) => i % 50 === 1 || i % 40 === 2 || (i % 50 === 3 && i > 700) || i >= 1500).map((i) => `d${10000 + i}`);
	// Now nearly all match, so that all would be read.
	const got = await pages(either, async () => {
		await save(1500, 5000, (i) => ({ a: 1, b: 2, kind: 'x', n: i }));
		for (const selector of [{ a: 1 }, { b: 1 }]) await post(`${indexed}/_find`, { selector, limit: 1 });
		assert.notEqual(await way(either), 'union');
		c.close();
		await server.restart();
		c = client(server);
	});
	assert.equal(new Set(got).size, got.length, 'a document came twice');
	assert.deepEqual([...got].sort(), matching(Array.from({ length: 5000 }, (_, i) => i)));
	const kinds = await pages(kind, async () => {
		c.close();
		await server.restart();
		c = client(server);
	});
	assert.equal(kinds.length, 75 + 3500);
	assert.equal(new Set(kinds).size, kinds.length);
});
