// _changes?filter=_selector: what passes, in which feeds, and what a selector sees.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startDivand } from '../lib/divand.mjs';
import { client, lines } from '../lib/wire.mjs';

let server, c;
before(async () => {
	server = await startDivand();
	c = client(server);
});
after(async () => {
	c.close();
	await server.stop();
});

const put = async (db, id, doc = {}) => {
	const r = await c.request('PUT', `${db}/${id}`, doc);
	assert.equal(r.status, 201, r.text);
	return r.json.rev;
};
const bulk = async (db, docs, options = {}) => {
	const r = await c.request('POST', `${db}/_bulk_docs`, { docs, ...options });
	assert.equal(r.status, 201, r.text);
};
const changes = async (db, selector, query = '', more = {}) => {
	const r = await c.request('POST', `${db}/_changes?filter=_selector${query}`, { selector, ...more });
	assert.equal(r.status, 200, r.text);
	return r.json;
};
const ids = (answer) => answer.results.map((row) => row.id);

test('a selector sees the document with what is not in its body', async () => {
	const db = await c.db();
	await put(db, 'plain', { n: 1 });
	await put(db, 'file', { n: 2, _attachments: { f: { content_type: 'x/y', data: 'AAEC' } } });
	const gone = await put(db, 'gone', { n: 3 });
	await c.request('DELETE', `${db}/gone?rev=${gone}`);
	await bulk(db, [{ _id: 'two', _rev: '1-a', n: 4 }, { _id: 'two', _rev: '1-b', n: 5 }], { new_edits: false });
	assert.deepEqual(ids(await changes(db, { n: { $gt: 1 } })), ['file', 'two']);
	assert.deepEqual(ids(await changes(db, { _id: { $lt: 'g' } })), ['file']);
	assert.deepEqual(ids(await changes(db, { _deleted: true })), ['gone']);
	assert.deepEqual(ids(await changes(db, { _rev: { $regex: '^2-' } })), ['gone']);
	assert.deepEqual(ids(await changes(db, { '_attachments.f.length': 3 })), ['file']);
	assert.deepEqual(ids(await changes(db, { _conflicts: { $exists: true } })), ['two']);
	assert.deepEqual(ids(await changes(db, { $and: [{ $keyMapMatch: { $eq: '_conflicts' } }] })), ['two']);
	assert.deepEqual(ids(await changes(db, {})), ['plain', 'file', 'gone', 'two']);
});

test('with style=all_docs a row names the leaves that match', async () => {
	const db = await c.db();
	await bulk(db, [{ _id: 'd', _rev: '1-a', n: 1 }, { _id: 'd', _rev: '1-b', n: 2 }, { _id: 'd', _rev: '1-c', n: 3 }], { new_edits: false });
	const revs = async (selector, style) => (await changes(db, selector, `&style=${style}`)).results.map((r) => r.changes.map((x) => x.rev));
	assert.deepEqual(await revs({ n: { $lte: 2 } }, 'all_docs'), [['1-b', '1-a']]);
	assert.deepEqual(await revs({ n: 9 }, 'all_docs'), []);
	assert.deepEqual(await revs({ _rev: '1-a' }, 'all_docs'), [['1-a']]);
	assert.deepEqual(await revs({ _attachments: { $exists: false } }, 'all_docs'), [['1-c', '1-b', '1-a']]);
	// Of the winner alone, what does not match is no row.
	assert.deepEqual(await revs({ n: { $lte: 2 } }, 'main_only'), []);
	assert.deepEqual(await revs({ n: 3 }, 'main_only'), [['1-c']]);
});

test('many pages without a match end no feed, and both directions agree', async () => {
	const db = await c.db();
	for (let k = 0; k < 6; k++)
		await bulk(db, Array.from({ length: 1000 }, (_, i) => ({ _id: `d${String(k * 1000 + i).padStart(5, '0')}`, n: k * 1000 + i })));
	const selector = { n: { $mod: [1999, 1998] } };
	const want = ['d01998', 'd03997', 'd05996'];
	const up = await changes(db, selector);
	assert.deepEqual(ids(up), want);
	assert.equal(up.pending, 0);
	assert.deepEqual(ids(await changes(db, selector, '&descending=true')), [...want].reverse());
	assert.deepEqual(ids(await changes(db, selector, '&limit=2')), want.slice(0, 2));
	assert.deepEqual(ids(await changes(db, selector, '&feed=longpoll')), want);
	assert.deepEqual(ids(await changes(db, { n: -1 }, '&feed=longpoll&timeout=10')), []);
});

test('open feeds each get what their selector lets through', async () => {
	const db = await c.db();
	const open = (selector, query) => c.open('POST', `${db}/_changes?filter=_selector&heartbeat=30000&${query}`, { selector });
	const even = await open({ n: { $mod: [2, 0] } }, 'feed=continuous');
	const odd = await open({ n: { $mod: [2, 1] } }, 'feed=continuous&include_docs=true');
	const late = await open({ n: { $gte: 40 } }, 'feed=eventsource&since=now');
	const poll = c.request('POST', `${db}/_changes?filter=_selector&feed=longpoll&heartbeat=30000`, { selector: { n: 30 } });
	for (let i = 0; i < 50; i++) await put(db, `d${i}`, { n: i });
	await even.until((t) => t.includes('"d48"'));
	await odd.until((t) => t.includes('"d49"'));
	await late.until((t) => t.includes('"d49"'));
	assert.deepEqual(lines(even.text()).map((r) => r.id), Array.from({ length: 25 }, (_, i) => `d${2 * i}`));
	assert.deepEqual(lines(odd.text()).map((r) => r.doc.n), Array.from({ length: 25 }, (_, i) => 2 * i + 1));
	assert.equal(late.text().split('data: {').length - 1, 10);
	assert.deepEqual(ids((await poll).json), ['d30']);
	for (const f of [even, odd, late]) f.close();
});

test('the documents of rows may be cut to some fields', async () => {
	const db = await c.db();
	await put(db, 'd', { n: 1, a: { b: 2, c: 3 }, l: [4, 5] });
	const doc = async (fields) => (await changes(db, { n: 1 }, '&include_docs=true', { fields })).results[0].doc;
	assert.deepEqual(await doc(['l.1', 'a.c', '_id']), { l: { 1: 5 }, a: { c: 3 }, _id: 'd' });
	assert.deepEqual(await doc(['nope']), {});
	assert.equal((await doc([])).n, 1);
	assert.deepEqual((await changes(db, { n: 1 }, '', { fields: ['n'] })).results[0].doc, undefined);
	for (const [fields, reason] of [
		['n', 'Selector error: fields must be JSON array'],
		[null, 'Selector error: fields must be JSON array'],
		[[5], 'Invalid JSON for field spec: 5'],
	]) {
		const r = await c.request('POST', `${db}/_changes?filter=_selector`, { selector: {}, fields });
		assert.deepEqual([r.status, r.json], [400, { error: 'bad_request', reason }]);
	}
});

test('bad selectors are refused before anything is sent', async () => {
	const db = await c.db();
	const deep = JSON.parse('{"$not":'.repeat(100) + '{"a":1}' + '}'.repeat(100));
	for (const [selector, reason] of [
		[{ a: { $size: -1 } }, 'Bad argument for operator $size: -1'],
		[{ a: { $regex: '[' } }, 'Bad argument for operator $regex: <<91>>'],
		[{ 'a..b': 1 }, 'Invalid field name: a..b'],
		[{ '': 1 }, 'One or more conditions is missing a field name.'],
		[deep, 'The selector is nested too deeply.'],
		[[], 'Selector error: expected a JSON object'],
	])
		for (const feed of ['normal', 'continuous']) {
			const r = await c.request('POST', `${db}/_changes?filter=_selector&feed=${feed}`, { selector });
			assert.deepEqual([r.status, r.json], [400, { error: 'bad_request', reason }]);
		}
});

test('a hostile regular expression costs its own rows alone', async () => {
	const db = await c.db();
	await bulk(db, Array.from({ length: 20 }, (_, i) => ({ _id: `d${i}`, s: `${'a'.repeat(200)}!`, n: i })));
	const slow = changes(db, { s: { $regex: '^(a|aa)+$' } });
	assert.deepEqual(ids(await changes(db, { n: 7 })), ['d7']);
	assert.deepEqual(ids(await slow), []);
	assert.equal(ids(await changes(db, { s: { $regex: '^a+!$' } })).length, 20);
});
