// What CouchDB's own suites of Mango assert about indexes (index-crud, index-selection, use-correct-index, execution-stats, index-selectors, json-sort,
// covering-index, explain-indexes), in our words and over our people.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { INDEXES, STAFF, startStaffed } from './mango-staff.mjs';

const SCAN = 'No matching index found, create an index to optimize query time.';
const { c, indexed: staff, bare, fresh } = await startStaffed();

const ids = (docs) => docs.map((d) => d._id);
const status = async (m, body) => (await m.post('_index', body)).status;
/** The design document that _explain names. */
const chosen = async (m, selector, more) => (await m.explain(selector, more)).index?.ddoc?.replace('_design/', '') ?? (await m.explain(selector, more)).index?.name ?? null;

// ---- index-crud

test('definitions, types, names and design documents that are none', async () => {
	const m = await fresh();
	for (const fields of [null, true, false, 'bing', 2.5, { a: 'b' }, [{ a: 2 }], [{ a: 'asc', b: 'desc' }], [{ a: 'asc' }, { b: 'desc' }], ['']]) {
		assert.equal(await status(m, { index: { fields } }), 400, `fields ${JSON.stringify(fields)}`);
	}
	for (const type of [null, true, false, 1.5, 'foo', 'geo', { a: 'b' }, ['baz', 3.5]]) {
		assert.equal(await status(m, { index: { fields: ['a'] }, type }), 400, `type ${JSON.stringify(type)}`);
	}
	for (const bad of ['', true, false, 1.5, { a: 'b' }, [null, false]]) {
		assert.equal(await status(m, { index: { fields: ['a'] }, name: bad }), 400, `name ${JSON.stringify(bad)}`);
		assert.equal(await status(m, { index: { fields: ['a'] }, ddoc: bad }), 400, `ddoc ${JSON.stringify(bad)}`);
	}
	assert.equal((await c.request('GET', `${m.db}/_index/foo`)).status, 404);
	assert.equal((await m.list()).length, 1);
});

test('what is created is listed, stands in a design document with information, and exists the second time', async () => {
	const m = await fresh();
	const made = await m.index(['foo', 'bar'], { name: 'one' });
	assert.equal(made.result, 'created');
	assert.equal((await m.index(['foo', 'bar'], { name: 'one' })).result, 'exists');
	await m.index(['baz', 'foo'], { name: 'two' });
	await m.index(['hello', 'bar']);
	const list = await m.list();
	assert.deepEqual(list.find((i) => i.name === 'one').def.fields, [{ foo: 'asc' }, { bar: 'asc' }]);
	assert.deepEqual(list.find((i) => i.name === 'two').def.fields, [{ baz: 'asc' }, { foo: 'asc' }]);
	for (const { ddoc } of list.filter((i) => i.type !== 'special')) {
		assert.equal((await c.request('GET', `${m.db}/${ddoc}`)).json._id, ddoc);
		const info = await c.request('GET', `${m.db}/${ddoc}/_info`);
		assert.equal(info.status, 200, info.text);
		assert.equal(info.json.name, ddoc.slice('_design/'.length));
	}
});

test('an index goes by its design document, escaped, whole or without "_design/", and may come again', async () => {
	const m = await fresh();
	await m.index(['foo', 'bar'], { name: 'one' });
	const was = await m.list();
	for (const spell of [(ddoc) => ddoc.replace('/', '%2F'), (ddoc) => ddoc, (ddoc) => ddoc.slice('_design/'.length), (ddoc) => ddoc, (ddoc) => ddoc]) {
		assert.equal((await m.index(['bing'], { name: 'gone' })).result, 'created');
		const { ddoc, def } = (await m.list()).find((i) => i.name === 'gone');
		assert.deepEqual(def.fields, [{ bing: 'asc' }]);
		const r = await m.drop(spell(ddoc), 'gone');
		assert.equal(r.status, 200, `${spell(ddoc)}: ${r.text}`);
		assert.deepEqual(await m.list(), was);
	}
	const { ddoc } = was[1];
	for (const [d, name, type] of [['no_design', 'foo'], [ddoc, 'no_index'], [ddoc, 'one', 'no_type'], [ddoc, 'one', 'text']]) {
		assert.equal((await m.drop(d.replace('_design/', ''), name, type)).status, 404, `${d} ${name} ${type}`);
	}
	assert.deepEqual(await m.list(), was);
});

test('many indexes go at once, and what is none is said', async () => {
	const m = await fresh();
	for (const name of ['a', 'b', 'c']) await m.index([name], { name });
	const docids = (await m.list()).filter((i) => i.ddoc).map((i) => i.ddoc);
	const { json } = await m.post('_index/_bulk_delete', { docids: [...docids, '_design/none'], w: 3 });
	assert.deepEqual(json.fail.map((f) => f.id), ['_design/none']);
	assert.deepEqual(json.success.map((s) => s.id).sort(), docids.sort());
	assert.deepEqual((await m.list()).map((i) => i.type), ['special']);
});

test('the list by limit and skip', async () => {
	const m = await fresh();
	for (const n of [1, 2, 3, 4, 5]) await m.index([`f${n}`], { name: `i${n}` });
	for (const [query, n] of [['limit=2', 2], ['limit=5&skip=4', 2], ['skip=5', 1], ['skip=6', 0], ['skip=100', 0], ['limit=10000000', 6]]) assert.equal((await m.list(`?${query}`)).length, n, query);
	for (const query of ['skip=-1', 'limit=-1']) assert.ok((await c.request('GET', `${m.db}/_index?${query}`)).status >= 400, query);
});

test('a document that is gone is not found by an index that was not brought up to date', async () => {
	const m = await fresh([{ _id: '1', age: 10 }, { _id: '2', age: 8 }]);
	const { id } = await m.index(['age'], { name: 'age' });
	assert.equal((await m.find({ age: { $gt: 0 } }, { use_index: id })).length, 2);
	const { _rev } = (await c.request('GET', `${m.db}/1`)).json;
	await c.request('DELETE', `${m.db}/1?rev=${_rev}`);
	assert.deepEqual(ids(await m.find({ age: { $gt: 0 } }, { use_index: id, update: false })), ['2']);
});

// ---- index-selection and use-correct-index

test('which index is taken for which selector', async () => {
	const taken = async (selector, ddoc) => assert.equal(await chosen(staff, selector), ddoc, JSON.stringify(selector));
	await taken({ age: 123 }, 'age');
	await taken({ 'name.given': 'Stella', 'name.family': 'Whoever' }, 'name');
	await taken({ 'name.given': { $gt: 'a', $lt: 'z' }, 'name.family': 'Foo' }, 'name');
	await taken({ firm: { $gt: 'a', $lt: 'z' }, $or: [{ boss: 'Foo' }, { boss: 'Bar' }] }, 'firm_boss');
	await taken({ 'name.given': 'Stella', 'name.family': 'Somebody', age: { $gt: 1 } }, 'name');
	await taken({ boss: { $exists: true } }, 'boss');
	// The other column of firm_boss may be missing.
	await taken({ firm: 'Pharm' }, '_all_docs');
	await taken({ firm: 'Pharm', boss: { $exists: false } }, '_all_docs');
	assert.deepEqual(await staff.nrs({ firm: 'Pharm' }), [14]);
	assert.deepEqual(await staff.nrs({ firm: 'Pharm', boss: { $exists: false } }), [14]);
	assert.equal((await staff.explain({ boss: { $gt: null } }, { fields: ['boss'], sort: [{ boss: 'desc' }] })).index.name, 'boss');
	assert.equal(await chosen(staff, { 'name.given': 'Stella', 'name.family': 'Somebody', age: { $gt: 1 } }, { use_index: '_design/age' }), 'age');
});

test('a use_index that does not serve is told, and answered without', async () => {
	const not = (what) => `${what} was not used because it does not contain a valid index for this query.`;
	const none = await staff.raw({}, { use_index: '_design/age' });
	assert.equal(none.warning, `${not('_design/age')}\n${SCAN}`);
	assert.equal(none.docs.length, 15);
	const one = await staff.raw({ firm: 'Pharm' }, { use_index: '_design/firm_boss' });
	assert.equal(one.warning.split('\n')[0], not('_design/firm_boss'));
	const two = await staff.raw({ firm: 'Pharm' }, { use_index: ['_design/firm_boss', 'firm_boss'] });
	assert.equal(two.warning.split('\n')[0], '_design/firm_boss, firm_boss was not used because it is not a valid index for this query.');
	for (const { docs } of [one, two]) assert.deepEqual(docs.map((d) => d.nr), [14]);
	const r = await staff.refused({ firm: { $gt: null } }, { use_index: '_design/firm_boss', sort: [{ firm: 'desc' }] });
	assert.equal(r.status, 400, r.text);
});

test('where a named index cannot sort, one that can is taken', async () => {
	const m = await fresh(STAFF);
	await m.index(['foo'], { ddoc: 'short' });
	await m.index(['foo', 'bar'], { ddoc: 'long' });
	const query = { sort: ['foo', 'bar'], use_index: '_design/short' };
	assert.equal(await chosen(m, { foo: { $gt: null } }, query), 'long');
	const r = await m.raw({ foo: { $gt: null } }, query);
	assert.equal(r.warning, '_design/short was not used because it does not contain a valid index for this query.');
	assert.deepEqual(r.docs, []);
});

test('a named index is taken before a better one', async () => {
	const m = await fresh(STAFF);
	await m.index(['baz'], { ddoc: 'poor' });
	await m.index(['baz', 'bar']);
	const selector = { baz: { $gt: null }, bar: { $gt: null } };
	assert.equal('warning' in await m.raw(selector, { use_index: '_design/poor' }), false);
	assert.equal(await chosen(m, selector, { use_index: '_design/poor' }), 'poor');
});

test('no fallback: only the index that is named, or any, but not all documents', async () => {
	const reason = async (selector, more) => {
		const r = await staff.refused(selector, { allow_fallback: false, ...more });
		return [r.status, r.json.error, r.json.reason];
	};
	assert.equal((await staff.find({ age: 22 }, { use_index: 'age', allow_fallback: false })).length, 1);
	assert.deepEqual(await reason({ firm: 'Pharm' }, { use_index: 'firm_boss' }), [400, 'invalid_index', '_design/firm_boss specified by `use_index` could not be found or it is not suitable.']);
	assert.deepEqual(await reason({ firm: 'Pharm' }, { use_index: ['firm_boss', 'firm_boss'] }), [400, 'invalid_index', '_design/firm_boss, firm_boss specified by `use_index` could not be found or it is not suitable.']);
	assert.deepEqual(await reason({ age: 22 }, { use_index: 'nothing' }), [400, 'invalid_index', '_design/nothing specified by `use_index` could not be found or it is not suitable.']);
	assert.equal((await staff.find({ age: 22 }, { allow_fallback: false })).length, 1);
	assert.equal((await staff.find({ age: 22 }, { use_index: [], allow_fallback: false })).length, 1);
	assert.deepEqual(await reason({ firm: 'Pharm' }), [400, 'invalid_index', 'You must specify an index with the `use_index` parameter.']);
	for (const use_index of ['a/b/c', '_design/a/b/c', ['a', 'b', 'c']]) assert.deepEqual((await reason({ age: 22 }, { use_index })).slice(0, 2), [400, 'invalid_index_name']);
});

const BAND = [
	{ _id: '_design/mine' }, { _id: '1', user: 0, age: 10, name: 'Jim', place: 'UK', number: 4 }, { _id: '2', user: 1, age: 12, name: 'Edo', place: 'ZAR', number: 2 },
	{ _id: '3', user: 1, age: 6, name: 'Han', place: 'US', number: 8 }, { _id: '4', name: 'Edo', trade: 'engineer', number: 7 },
];

test('of several indexes: the one whose columns fit, the shorter, the first by name', async () => {
	const cases = [
		[{ aaa: ['name', 'age', 'user'], zzz: ['name'] }, { name: 'Edo' }, 'zzz'],
		[{ aaa: ['name', 'age', 'user'], bbb: ['name', 'age'], zzz: ['name'] }, { name: 'Edo', age: { $gte: 12 } }, 'bbb'],
		[{ aaa: ['name'], bbb: ['name'], zzz: ['name'] }, { name: 'Edo', age: { $gte: 12 } }, 'aaa'],
		[{ aaa: ['name', 'place', 'user'], bbb: ['name', 'age', 'user'], zzz: ['name'] }, { name: 'Edo', number: { $lte: 12 } }, 'zzz'],
		[{ aaa: ['a', 'b', 'c'], bbb: ['a', 'd', 'e'] }, { a: { $gt: 0 }, b: { $gt: 0 }, c: { $gt: 0 } }, 'aaa'],
		// Every document has an _id and a _rev.
		[{ aaa: ['name', '_id'] }, { name: 'Edo' }, 'aaa'],
		[{ aaa: ['name', '_rev'] }, { name: 'Edo' }, 'aaa'],
	];
	for (const [indexes, selector, ddoc] of cases) {
		const m = await fresh([...BAND, { _id: '5', a: 1, b: 1, c: 1 }, { _id: '6', a: 1000, d: 1000, e: 1000 }]);
		for (const [name, fields] of Object.entries(indexes)) await m.index(fields, { ddoc: name });
		assert.equal(await chosen(m, selector), ddoc, JSON.stringify([indexes, selector]));
		const want = selector.a ? ['5'] : BAND.filter((d) => d.name === 'Edo' && (selector.age === undefined || d.age >= 12)).map((d) => d._id);
		assert.deepEqual(ids(await m.find(selector)).sort(), want, JSON.stringify([indexes, selector]));
	}
});

test('a range on the second column, and the warning of a whole scan', async () => {
	const m = await fresh(BAND);
	assert.equal((await m.raw({ nothing: 'foo' })).warning, SCAN);
	await m.index(['age', 'name'], { ddoc: 'bbb' });
	const selector = { age: 10, name: { $gte: 0 } };
	assert.deepEqual(ids(await m.find(selector)), ['1']);
	const explained = await m.explain(selector);
	assert.equal(explained.index.ddoc, '_design/bbb');
	assert.deepEqual([explained.mrargs.start_key, explained.mrargs.end_key], [[10, 0], [10, '<MAX>']]);
});

test('the ends of a range in _explain', async () => {
	const explained = await staff.explain({ age: { $gt: 0 } }, { fields: ['boss'] });
	const { start_key, end_key, reduce, stable, update, include_docs } = explained.mrargs;
	assert.deepEqual({ start_key, end_key, reduce, stable, update, include_docs }, { start_key: [0], end_key: ['<MAX>'], reduce: false, stable: false, update: true, include_docs: true });
	const { mrargs } = await bare.explain({ _id: 'p07' });
	assert.deepEqual([mrargs.start_key, mrargs.end_key], ['p07', 'p07']);
});

// ---- execution-stats

test('statistics of execution, where they are asked for', async () => {
	const stats = async (more) => (await staff.raw({ age: { $lt: 35 } }, { execution_stats: true, ...more }));
	const whole = await stats();
	assert.equal(whole.docs.length, 3);
	assert.deepEqual([whole.execution_stats.total_keys_examined, whole.execution_stats.total_docs_examined, whole.execution_stats.results_returned], [3, 3, 3]);
	assert.equal(typeof whole.execution_stats.execution_time_ms, 'number');
	assert.equal((await stats({ limit: 2 })).execution_stats.results_returned, 2);
	assert.equal('execution_stats' in await staff.raw({ age: { $lt: 35 } }, { execution_stats: false }), false);
	const quorum = (await stats({ r: 3 })).execution_stats;
	assert.deepEqual([quorum.total_keys_examined, quorum.total_docs_examined, quorum.total_quorum_docs_examined, quorum.results_returned], [3, 0, 3, 3]);
	// What an index covers is not read.
	const covered = await stats({ fields: ['age'] });
	assert.deepEqual([covered.execution_stats.total_keys_examined, covered.execution_stats.total_docs_examined], [3, 0]);
});

// ---- index-selectors

const PLACES = ['AUS', 'BRA', 'CAN', 'DEN', 'ETH', 'FRA', 'GHA', 'ZAR'].map((place, i) => ({ _id: `${i + 1}00`, place, user: i + 1 }));
const BEHIND = { place: { $gte: 'FRA' } };

test('a partial index: its filter is kept and shown, and it serves only where it is named', async () => {
	const m = await fresh(PLACES);
	await m.index(['place'], { filter: BEHIND, ddoc: 'part', name: 'part' });
	assert.deepEqual((await m.list())[1].def.partial_filter_selector, BEHIND);
	assert.equal(await chosen(m, BEHIND), '_all_docs');
	for (const selector of [BEHIND, { place: { $gte: 'A' } }, { place: { $exists: true } }]) {
		assert.equal(await chosen(m, selector, { use_index: 'part' }), 'part', JSON.stringify(selector));
		assert.deepEqual(ids(await m.find(selector, { use_index: 'part' })), ['600', '700', '800']);
	}
	await m.index(['place'], { name: 'whole' });
	assert.equal((await m.explain(BEHIND)).index.name, 'whole');
	assert.equal('partial_filter_selector' in (await m.list()).find((i) => i.name === 'whole').def, false);
	assert.equal(await status(m, { index: { fields: ['place'], selector: BEHIND } }), 400);
});

test('design documents of older CouchDBs: without a filter, and with one that is called selector', async () => {
	const m = await fresh(PLACES);
	const ddoc = (name, map) => ({ _id: `_design/${name}`, language: 'query', views: { [name]: { map, reduce: '_count', options: { def: { fields: ['place'] } } } } });
	await m.save([ddoc('old', { fields: { place: 'asc' } }), ddoc('oldpart', { fields: { place: 'asc' }, selector: BEHIND })]);
	assert.equal(await chosen(m, BEHIND, { use_index: 'old' }), 'old');
	assert.deepEqual(ids(await m.find({ place: { $gte: 'ETH' } }, { use_index: 'old' })), ['500', '600', '700', '800']);
	assert.equal(await chosen(m, BEHIND, { use_index: 'oldpart' }), 'oldpart');
	assert.equal((await m.find(BEHIND, { use_index: 'oldpart' })).length, 3);
});

test('a view that is a function in a design document of the language query is refused', async () => {
	const m = await fresh();
	const r = await c.request('PUT', `${m.db}/_design/bad`, { language: 'query', views: { v: { map: 'function (doc) { emit(doc.number); }' } } });
	assert.equal(r.status, 400, r.text);
});

// ---- json-sort

test('columns with one value may stand before those of a sort', async () => {
	const docs = [['Jim', 10, 1], ['Edo', 20, 1], ['Jan', 30, 2], ['May', 40, 2], ['Sam', 50, 3]].map(([name, age, cars], i) => ({ _id: `${i + 1}`, name, age, cars }));
	const two = ['cars', 'age'];
	const three = ['cars', 'age', 'name'];
	const over = { $gt: 0 };
	const cases = [
		[two, { cars: '2', age: { $gt: 10 } }, ['age'], 'fwd'],
		[two, { cars: '2', age: { $gt: 10 } }, ['cars', 'age'], 'fwd'],
		[two, { cars: over, age: over }, undefined, 'fwd'],
		[two, { cars: '2', age: { $gt: 10 } }, [{ age: 'desc' }], 'rev'],
		[two, { cars: over, age: over }, ['age'], null],
		[three, { cars: '2', age: 10, name: { $gt: 'AA' } }, ['name'], 'fwd'],
		[three, { cars: '2', name: 'Edo', age: { $gt: 10 } }, ['age'], 'fwd'],
		[three, { name: 'Edo', age: { $gt: 1 }, cars: { $gt: '1' } }, ['name'], null],
		[three, { name: { $gt: 'Edo' }, age: 10, cars: { $gt: '1' } }, undefined, 'fwd'],
		[three, { name: 'Edo', age: 10, cars: { $gt: '1' } }, ['cars', 'name'], null],
		[three, { age: { $gt: 10 }, cars: 2, name: { $gt: 'A' } }, ['age'], 'fwd'],
		[two, { age: 10, cars: { $gt: '1' } }, ['cars', 'name'], null],
	];
	for (const [fields, selector, sort, direction] of cases) {
		const m = await fresh(docs);
		await m.index(fields, { name: 'it' });
		const what = JSON.stringify([fields, selector, sort]);
		const { index, mrargs } = await m.explain(selector, { sort });
		if (direction === null) {
			assert.equal(index, null, what);
			const r = await m.refused(selector, { sort });
			assert.deepEqual([r.status, r.json.error], [400, 'no_usable_index'], what);
		} else assert.deepEqual([index?.name, mrargs?.direction], ['it', direction], what);
	}
});

// ---- covering-index

test('what an index covers, and what it does not', async () => {
	const covered = [
		[{ age: { $gte: 32 } }, ['_id'], 'age'], [{ firm: 'Lyre', boss: true }, ['_id'], 'firm_boss'], [{ firm: { $exists: true }, boss: true }, ['firm'], 'firm_boss'], [{ firm: { $exists: true }, boss: true }, ['firm'], 'firm_boss', 'firm_boss'],
		[{ likes: { $elemMatch: { $eq: 'Erlang' } } }, ['likes'], 'likes'], [{ name: { given: 'Stella', family: 'Kern' } }, ['_id'], 'name'],
	];
	for (const [selector, fields, name, use_index] of covered) {
		const e = await staff.explain(selector, { fields, use_index });
		assert.deepEqual([e.index.type, e.index.name, e.mrargs.include_docs, e.covering], ['json', name, false, true], JSON.stringify(selector));
	}
	const not = [
		[{}, ['_id']], [{ age: { $gte: 32 } }, ['name']], [{ age: { $gte: 32 } }, undefined], [{ 'place.land': 'Norway' }, ['_id']], [{ 'name.family': 'Hernan' }, ['name.given']],
		[{ $and: [{ age: { $ne: 23 } }, { handle: { $not: { $regex: '^@.*[0-9]+$' } } }, { 'place.street.house': { $gt: 4288 } }, { 'place.town': { $ne: 'Pico' } }] }, ['handle'], 'handle'],
	];
	for (const [selector, fields, use_index] of not) {
		const e = await staff.explain(selector, { fields, use_index });
		assert.deepEqual([e.mrargs.include_docs, e.covering], [true, false], JSON.stringify(selector));
	}
});

test('answers from an index alone', async () => {
	const firms = STAFF.filter((d) => d.firm && d.boss).map((d) => d.firm).sort();
	const got = await staff.find({ firm: { $exists: true }, boss: true }, { sort: [{ firm: 'asc' }], fields: ['firm'], use_index: 'firm_boss' });
	assert.deepEqual(got, firms.map((firm) => ({ firm })));
	const old = STAFF.filter((d) => d.age >= 32).sort((a, b) => a.age - b.age);
	assert.deepEqual(await staff.find({ age: { $gte: 32 } }, { fields: ['_id'] }), old.map(({ _id }) => ({ _id })));
	assert.deepEqual(await staff.find({ 'name.family': 'Kern', 'name.given': { $gt: null } }, { fields: ['name.given', '_id'] }), [{ name: { given: 'Stella' }, _id: STAFF[0]._id }]);
});

// ---- explain-indexes

test('the indexes that were not taken, and why', async () => {
	const { index_candidates, selector_hints } = await staff.explain({ age: 23 });
	const mismatch = Object.entries(INDEXES).filter(([name]) => name !== 'age').sort().reverse().map(([name, fields]) => ({
		index: { ddoc: `_design/${name}`, name, type: 'json', partitioned: false, def: { fields: fields.map((f) => ({ [f]: 'asc' })) } },
		analysis: { usable: false, reasons: [{ name: 'field_mismatch' }], ranking: 2, covering: false },
	}));
	const all = (usable, reason) => ({ index: { ddoc: null, name: '_all_docs', type: 'special', def: { fields: [{ _id: 'asc' }] } }, analysis: { usable, reasons: [{ name: reason }], ranking: 1, covering: null } });
	assert.deepEqual(index_candidates, [...mismatch, all(true, 'unfavored_type')]);
	assert.deepEqual(selector_hints, [{ type: 'json', indexable_fields: ['age'], unindexable_fields: [] }]);

	const scan = await bare.explain({ age: 23 });
	assert.deepEqual(scan.index_candidates, []);
	assert.equal(scan.index.name, '_all_docs');
	const none = await bare.explain({ age: 23 }, { sort: ['firm'] });
	assert.deepEqual(none.index_candidates, [all(false, 'field_mismatch')]);
	assert.deepEqual([none.index, none.partitioned], [null, false]);
});
