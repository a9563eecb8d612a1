// Bad input for _find and _explain: selectors of every wrong shape, depth and size, hostile regular expressions, bookmarks cut, forged and from elsewhere,
// indexes from nowhere.  Each gets CouchDB's form of a refusal or a plain answer, and the server lives.  FIND_SEED repeats the random bodies.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { after, before, test } from 'node:test';
import { startDivand, tellsMemory } from '../lib/divand.mjs';
import { Random } from '../lib/random.mjs';
import { ask, assertError, newDb } from './client.mjs';

const SEED = Number(process.env.FIND_SEED ?? Date.now() % 1e9);
const BODIES = Number(process.env.FIND_BODIES ?? 600);

let server, db, parted;
before(async () => {
	server = await startDivand();
	db = await newDb(server);
	parted = `${db}p`;
	const docs = [...'abcdefgh'].map((c, i) => ({ _id: c, n: i, kind: i % 2 ? 'odd' : 'even', text: 'a'.repeat(30000) + '!', list: [1, 2, { x: i }] }));
	await ask(server, 'POST', `/${db}/_bulk_docs`, { json: { docs } });
	const index = (fields) => ({ map: { fields: Object.fromEntries(fields.map((f) => [f, 'asc'])) }, reduce: '_count', options: { def: { fields } } });
	const r = await ask(server, 'PUT', `/${db}/_design/i`, { json: { language: 'query', views: { n: index(['n']), kn: index(['kind', 'n']) } } });
	assert.equal(r.status, 201, r.text);
	await ask(server, 'PUT', `/${parted}?partitioned=true`);
	await ask(server, 'PUT', `/${parted}/p:1`, { json: { n: 1 } });
});
after(() => server?.stop());

const J = 'application/json';
const post = (path, body, name = db) =>
	ask(server, 'POST', `/${name}/${path}`, typeof body === 'string' || Buffer.isBuffer(body) ? { body, type: J } : { json: body });
/** Braces of `n` objects, each in the member `name` of the one before. */
const deep = (n, name = 'a', core = '1') => `{"${name}":`.repeat(n) + core + '}'.repeat(n);
const many = (n, f) => Array.from({ length: n }, (_, i) => f(i));

/** Rows of [body, status, error, reason]: what _find and _explain both say. */
function refused(title, rows) {
	test(title, { timeout: 60000 }, async () => {
		const wrong = [];
		for (const [body, ...expected] of rows) {
			for (const path of ['_find', '_explain']) {
				try {
					assertError(await post(path, body), ...expected);
				} catch (e) {
					wrong.push(`${path} ${String(typeof body === 'object' && !Buffer.isBuffer(body) ? JSON.stringify(body) : body).slice(0, 100)}: ${e.message}`);
				}
			}
		}
		assert.deepEqual(wrong, []);
		assert.equal((await post('_find', { selector: { n: 3 } })).json.docs.length, 1);
	});
}

refused('bodies that are none', [
	...['', '{', '{"selector":{}}}', '{"selector":{"a":1,}}', '{"selector":{"a":"\\ud800"}}', '{"selector":{"a":1e999}}', '{"selector":{"a":01}}', '{"selector":{"a":NaN}}',
		'['.repeat(50000), deep(3000), `{"selector":{"a":${'9'.repeat(5000)}}}`, Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]),
		Buffer.from('{"selector":{"a":"\xc0\xaf"}}', 'latin1'), Buffer.from('{"selector":{"a":"\xed\xa0\x80"}}', 'latin1'), '{"selector":{"a":"\u0001"}}']
		.map((text) => [text, 400, 'bad_request', 'invalid UTF-8 JSON']),
	...['[]', '1', 'null', '"x"', 'true', '[{"selector":{}}]'].map((text) => [text, 400, 'bad_request', 'Request body must be a JSON object']),
	[`{"selector":{}${' '.repeat(16 << 20)}}`, 413, 'too_large'],
]);

refused('options that are wrong', [
	[{}, 400, 'missing_required_key', 'Missing required key: selector'],
	[{ limit: -1, nope: 1 }, 400, 'missing_required_key', 'Missing required key: selector'],
	[{ selector: {}, nope: 1, other: 2 }, 400, 'invalid_key', 'Invalid key nope for this request.'],
	[{ selector: {}, nope: 1, r: 0 }, 400, 'invalid_pos_integer', '0 is not an integer greater than zero'],
	[{ selector: {}, ['é'.repeat(400)]: 1 }, 400, 'invalid_key'],
	[{ selector: {}, '': 1 }, 400, 'invalid_key', 'Invalid key  for this request.'],
	...[null, 5, 'x', true, [], [{}]].map((selector) => [{ selector }, 400, 'invalid_selector_json', /^Selector must be a JSON object, not: /]),
	...['limit', 'skip'].flatMap((name) => [-1, 1.5, null, '1', [], {}, true, -1e30].map((v) => [{ selector: {}, [name]: v }, 400, 'invalid_non_neg_integer', / is not an integer greater than or equal to zero$/])),
	...[0, -1, 1.5, null, '1', false].map((r) => [{ selector: {}, r }, 400, 'invalid_pos_integer', / is not an integer greater than zero$/]),
	...['conflicts', 'update', 'stable', 'execution_stats', 'allow_fallback'].flatMap((name) =>
		[0, 1, null, 'true', [], {}].map((v) => [{ selector: {}, [name]: v }, 400, 'invalid_boolean', /^Invalid boolean value: /])),
	...[5, null, true, 'update_after'].map((stale) => [{ selector: {}, stale }, 400, 'invalid_boolean']),
	...[5, null, 'x', {}, true].map((fields) => [{ selector: {}, fields }, 400, 'invalid_fields', /^Fields must be an array of strings, not: /]),
	...[[5], [null], [['a']], ['a', {}]].map((fields) => [{ selector: {}, fields }, 400, 'invalid_field']),
	...['a..b', '.a', 'a.'].map((f) => [{ selector: {}, fields: [f] }, 400, 'invalid_field_name']),
	...[5, null, 'x', {}, true].map((sort) => [{ selector: {}, sort }, 400, 'invalid_sort_json', /^Sort must be an array of sort specs, not: /]),
	...[[5], [null], [''], [[]], [{}], [{ a: 'up' }], [{ a: 1 }], [{ a: 'asc', b: 'asc' }], [{ a: { b: 'asc' } }]].map((sort) => [{ selector: {}, sort }, 400, 'invalid_sort_field', /^Invalid sort field: /]),
	[{ selector: {}, sort: many(1001, (i) => `f${i}`) }, 400, 'invalid_sort_field'],
	[{ selector: {}, sort: ['a', { b: 'desc' }] }, 400, 'unsupported_mixed_sort'],
	...[5, true, {}, [5], [null], ['a', 5], ['a', 'b', 'c'], 'x'.repeat(9000), ['i', 'x'.repeat(9000)]].map((use_index) => [{ selector: {}, use_index }, 400, 'invalid_index_name']),
	...[5, true, [], {}].map((bookmark) => [{ selector: {}, bookmark }, 400, 'invalid_bookmark', /^Invalid bookmark value: /]),
	...[5, null, [], {}].map((partition) => [{ selector: {}, partition }, 400, 'illegal_partition']),
	[{ selector: {}, partition: 'p' }, 400, 'bad_request', 'database is not partitioned'],
	/* The first in the order of CouchDB's table is told, whatever comes first in the body. */
	[{ limit: -1, use_index: 5, selector: { a: { $bad: 1 } } }, 400, 'invalid_operator', 'Invalid operator: $bad'],
	[{ fields: 5, sort: 5, skip: -1, limit: 'x', bookmark: 5, use_index: 5, selector: {} }, 400, 'invalid_index_name'],
]);

refused('selectors that are none', [
	...['$bogus', '$', '$$', '$GT', '$where'].flatMap((op) => [[{ selector: { [op]: 1 } }, 400], [{ selector: { a: { [op]: 1 } } }, 400]]),
	...['$and', '$or', '$nor'].flatMap((op) => [5, null, 'x', {}].map((v) => [{ selector: { [op]: v } }, 400])),
	...['$in', '$nin', '$all'].flatMap((op) => [5, null, 'x', {}].map((v) => [{ selector: { a: { [op]: v } } }, 400, 'bad_arg'])),
	...['$not', '$elemMatch', '$allMatch', '$keyMapMatch'].flatMap((op) => [5, null, 'x', [], [{}]].map((v) => [{ selector: { a: { [op]: v } } }, 400])),
	...['x', -1, 1.5, null, [], {}].map((v) => [{ selector: { a: { $size: v } } }, 400, 'bad_arg']),
	...['x', 5, [], [1], [0, 1], [1, 'x'], [1.5, 1], [1, 2, 3], null, {}].map((v) => [{ selector: { a: { $mod: v } } }, 400, 'bad_arg']),
	...['[', '(', '*', '(?<', 'a{99999}', '(?P<n>', '('.repeat(300) + ')'.repeat(300) + '(', 'x'.repeat(9000)].map((v) => [{ selector: { a: { $regex: v } } }, 400, 'bad_arg']),
	...[5, null, [], {}].flatMap((v) => ['$regex', '$beginsWith'].map((op) => [{ selector: { a: { [op]: v } } }, 400, 'invalid_operator'])),
	...['', 'a..b', '.', 'a.', '.a'].map((name) => [{ selector: { [name]: 1 } }, 400]),
]);

refused('selectors that are too much', [
	[`{"selector":${deep(60)}}`, 400, 'invalid_selector'],
	[`{"selector":${deep(1900)}}`, 400, 'invalid_selector'],
	[`{"selector":${deep(500, '$not', '{"a":1}')}}`, 400],
	[{ selector: { $or: many(8193, (i) => ({ a: i })) } }, 400, 'invalid_selector'],
	[{ selector: Object.fromEntries(many(8193, (i) => [`f${i}`, 1])) }, 400, 'invalid_selector'],
	[{ selector: { a: { $in: many(100001, (i) => i) } } }, 400, 'invalid_selector'],
	[{ selector: { a: 'x'.repeat(2 << 20) } }, 400, 'invalid_selector'],
	[{ selector: {}, fields: many(8193, (i) => `f${i}`) }, 400],
]);

test('selectors of thousands of branches are answered', { timeout: 60000 }, async () => {
	for (const field of ['n', '_id', 'text']) {
		const branch = (i) => ({ [field]: field === 'n' ? i + 4 : field === '_id' ? `${'ceg'[i] ?? i}` : `x${i}` });
		const r = await post('_find', { selector: { $or: many(2700, branch), kind: { $gt: null } }, fields: ['n'] });
		assert.equal(r.status, 200, r.text.slice(0, 200));
		assert.deepEqual(r.json.docs.map((d) => d.n).sort(), { n: [4, 5, 6, 7], _id: [2, 4, 6], text: [] }[field]);
	}
	const r = await post('_find', { selector: { $and: many(1300, (i) => ({ $or: [{ n: { $lt: -i } }, { n: { $gt: -i - 1 } }] })) }, fields: ['n'] });
	assert.equal(r.status, 200, r.text.slice(0, 200));
	assert.equal(r.json.docs.length, 8);
});

/** The ids that are found, by pages of ${limit}. */
async function pages(db, query, limit = 1) {
	const found = [];
	for (let bookmark; ; ) {
		const r = await post('_find', { fields: ['_id'], ...query, limit, bookmark }, db);
		assert.equal(r.status, 200, r.text.slice(0, 200));
		assert.ok(r.text.length < 100000, 'a bookmark is short');
		found.push(...r.json.docs.map((d) => d._id));
		if (r.json.docs.length < limit) return found;
		bookmark = r.json.bookmark;
	}
}

test('a key of megabytes has its place: ranges, sorts, pages, what a covering index would have told', { timeout: 60000 }, async () => {
	const name = await newDb(server, 'keys');
	const put = async (id, doc) => assert.equal((await ask(server, 'PUT', `/${name}/${id}`, { json: doc })).status, 201);
	await post('_index', { index: { fields: ['n', 'm'] }, ddoc: 'n', name: 'n' }, name);
	// Longer than what the index has of a key, each in its own way: letters, weightless characters with a letter behind, numbers, an object.
	const long = { letters: 'k'.repeat(1 << 20), ignored: `${'\u00ad'.repeat(100000)}k`, numbers: Array.from({ length: 50000 }, (_, i) => i), object: { k: 'x'.repeat(1 << 20) } };
	await put('a', { n: 'a', m: 1 });
	await put('k', { n: 'k', m: 1 });
	await put('k1', { n: long.ignored, m: 2 });
	await put('l', { n: long.letters, m: 1 });
	await put('l2', { n: long.letters, m: 1 });
	await put('m', { n: 'm', m: 1 });
	await put('x', { n: long.numbers, m: 1 });
	await put('y', { n: long.object, m: 1 });
	await put('z', { n: { k: 'y' }, m: 1 });
	const all = ['a', 'k', 'k1', 'l', 'l2', 'm', 'x', 'y', 'z'];
	for (const limit of [1, 2, 100]) {
		assert.deepEqual(await pages(name, { selector: { n: { $gt: null } }, sort: ['n', 'm'], use_index: 'n' }, limit), all);
		assert.deepEqual(await pages(name, { selector: { n: { $gt: null } }, sort: [{ n: 'desc' }, { m: 'desc' }], use_index: 'n' }, limit), all.toReversed());
	}
	const found = async (n, more) => (await pages(name, { selector: { n, m: { $gt: 0 }, ...more }, use_index: 'n', allow_fallback: false }, 100)).join();
	assert.equal(await found({ $gt: 'k', $lt: 'm' }), 'l,l2');
	assert.equal(await found({ $gte: 'k', $lt: 'm' }), 'k,k1,l,l2');
	assert.equal(await found({ $eq: long.letters }), 'l,l2');
	assert.equal(await found({ $gt: long.letters }), 'm,x,y,z');
	assert.equal(await found({ $lt: long.letters.slice(1) }), 'a,k,k1');
	assert.equal(await found({ $gt: long.letters }, { m: 2 }), '');
	assert.equal(await found({ $gt: [], $lt: { k: 'xz' } }), 'x,y');
	assert.equal(await found('k'), 'k,k1');
	assert.equal(await found(long.ignored, { m: 2 }), 'k1');
	// From the document, since the row has no key.
	const covered = await post('_find', { selector: { n: { $gt: 'k', $lt: 'm' }, m: 1 }, fields: ['n', 'm'], use_index: 'n', allow_fallback: false }, name);
	assert.deepEqual(covered.json.docs, [{ n: long.letters, m: 1 }, { n: long.letters, m: 1 }]);
	// What has changed, or is gone, has no place any more.
	const { _rev } = (await ask(server, 'GET', `/${name}/l`)).json;
	await put(`l?rev=${_rev}`, { n: 'b', m: 1 });
	assert.equal(await found({ $gte: 'a', $lt: 'm' }), 'a,l,k,k1,l2');
	// As a view, which has no documents to read.
	const { rows } = (await ask(server, 'GET', `/${name}/_design/n/_view/n?reduce=false`)).json;
	assert.deepEqual(rows.map((r) => [r.id, r.key]), [['a', ['a', 1]], ['l', ['b', 1]], ['k', ['k', 1]], ['k1', null], ['l2', null], ['m', ['m', 1]], ['x', null], ['y', null], ['z', [{ k: 'y' }, 1]]]);
});

test('a value that stands in many columns, or in many indexes, costs its length once', { timeout: 60000 }, async (t) => {
	const own = await startDivand();
	t.after(() => own.stop());
	const say = async (method, path, json) => {
		const r = await ask(own, method, path, { json });
		assert.ok(r.status < 300, r.text.slice(0, 300));
		return r.json;
	};
	const peak = () => Number(/VmHWM:\s+(\d+)/.exec(fs.readFileSync(`/proc/${own.pid}/status`, 'utf8'))[1]) / 1024;
	// One field in 64 spellings; and fields within each other.
	const spellings = many(64, (i) => [...'abcdef'].map((c, k) => (i >> k & 1 ? '\\' : '') + c).join(''));
	const depths = many(40, (i) => Array(i + 1).fill('o').join('.')).toReversed();
	const fields = (names) => Object.fromEntries(names.map((f) => [f, 'asc']));
	const index = (names) => ({ map: { fields: fields(names), partial_filter_selector: {} }, reduce: '_count', options: { def: { fields: names } } });
	for (const db of ['whole', 'parts?partitioned=true']) {
		const name = db.split('?')[0];
		await say('PUT', `/${db}`);
		await say('PUT', `/${name}/p:x`, { abcdef: 'x'.repeat(7e6) });
		await say('PUT', `/${name}/p:y`, Array.from({ length: 40 }).reduce((inner) => ({ o: inner }), 'y'.repeat(7e6)));
		await say('PUT', `/${name}/_design/i`, { language: 'query', views: { a: index(spellings), o: index(depths), ...Object.fromEntries(many(200, (i) => [`v${i}`, index(['abcdef', `none${i}`])])) } });
		const path = `/${name}${name === 'parts' ? '/_partition/p' : ''}/_find`;
		const gt = (names) => Object.fromEntries(names.map((f) => [f, { $gt: null }]));
		const { docs } = await say('POST', path, { selector: gt(spellings), use_index: ['i', 'a'], fields: ['_id'] });
		assert.deepEqual(docs, [{ _id: 'p:x' }]);
		assert.deepEqual((await say('POST', path, { selector: gt(['o']), use_index: ['i', 'o'], fields: ['_id'] })).docs, [{ _id: 'p:y' }]);
	}
	if (tellsMemory()) assert.ok(peak() < 200, `${peak()} MiB`);
});

test('methods and types', { timeout: 60000 }, async () => {
	for (const path of ['_find', '_explain', `../${parted}/_partition/p/_find`, `../${parted}/_partition/p/_explain`].map((p) => new URL(p, `http://x/${db}/`).pathname)) {
		assertError(await ask(server, 'POST', path, { body: '{"selector":{}}', type: 'text/plain' }), 415, 'bad_content_type');
		assertError(await ask(server, 'POST', path, { body: '{"selector":{}}' }), 415, 'bad_content_type');
		for (const method of ['GET', 'PUT', 'DELETE']) assertError(await ask(server, method, path), 405, 'method_not_allowed');
	}
	assertError(await ask(server, 'POST', '/nowhere/_find', { json: { selector: {} } }), 404, 'not_found');
	assertError(await ask(server, 'POST', `/${db}/_find/x`, { json: { selector: {} } }), [404, 405]);
	for (const plan of ['1', '', 'yes', '%00']) assertError(await ask(server, 'POST', `/${db}/_explain?plan=${plan}`, { json: { selector: {} } }), 400, 'query_parse_error');
});

test('partitions', { timeout: 60000 }, async () => {
	const body = { selector: { n: 1 } };
	for (const path of ['_find', '_explain']) {
		for (const name of ['_x', 'a:b', '%ff']) assertError(await post(`_partition/${name}/${path}`, body, parted), 400, 'illegal_partition');
		for (const partition of ['_x', 'a:b']) assertError(await post(path, { ...body, partition }, parted), 400, 'illegal_partition');
		assertError(await post(`_partition/p/${path}`, body), 400, 'bad_request', 'database is not partitioned');
		assertError(await post(`_partition/p/${path}`, { ...body, partition: 'q' }, parted), 400, 'bad_request');
		for (const r of [await post(`_partition/p/${path}`, { ...body, partition: 'p' }, parted), await post(path, { ...body, partition: 'p' }, parted), await post(`${path}?partition=p`, body, parted)]) {
			assert.equal(r.status, 200, r.text);
			if (path === '_find') assert.equal(r.json.docs.length, 1);
			else assert.equal(r.json.opts.partition, 'p');
		}
	}
});

test('numbers of any size, and the last of two members', { timeout: 60000 }, async () => {
	const { status, json } = await post('_explain', '{"limit":1,"selector":{"n":1,"n":3},"limit":99999999999999999999999999,"skip":0,"sort":[{"n":"up","n":"asc"}],"fields":["x"],"fields":["n"]}');
	assert.equal(status, 200);
	assert.deepEqual(json.selector, { n: { $eq: 3 } });
	assert.deepEqual(json.fields, ['n']);
	assert.deepEqual(json.opts.sort, { n: 'asc' });
	assert.equal(json.limit, 2 ** 53);
	const ids = async (text) => (await post('_find', text)).json.docs.map((d) => d._id).join('');
	assert.equal(await ids('{"selector":{"n":{"$gt":-1e300}},"limit":18446744073709551616,"fields":["_id"]}'), 'abcdefgh');
	assert.equal(await ids('{"selector":{"n":{"$gt":3.0000000000000000000000000000001,"$lt":99999999999999999999999999999999}},"fields":["_id"]}'), 'defgh'.slice(1));
	assert.equal(await ids(`{"selector":{},"skip":99999999999999999999,"limit":18446744073709551615,"fields":["_id"]}`), '');
	assert.equal(await ids('{"selector":{"$and":[]},"limit":0}'), '');
});

test('regular expressions that never end are ended', { timeout: 120000 }, async () => {
	const hostile = ['(a+)+$', '(a|aa)+$', '(a*)*b', '^(([a-z])+.)+[A-Z]([a-z])+$', '(.*)*(.*)*(.*)*x$', '(?=(a+))a*b', '(a?){500}a{500}$'];
	const [up, ...answers] = await Promise.all([ask(server, 'GET', '/_up'), ...hostile.map((text) => post('_find', { selector: { text: { $regex: text } }, fields: ['_id'] }))]);
	assert.equal(up.status, 200);
	for (const [i, r] of answers.entries()) assert.ok(r.status === 200 && r.json.docs.length <= 8, `${hostile[i]}: ${r.text.slice(0, 200)}`);
	const all = await post('_find', { selector: { $or: many(50, (i) => ({ text: { $regex: `(a+)+${i}$` } })) }, fields: ['_id'] });
	assert.deepEqual(all.json?.docs, [], all.text.slice(0, 200));
});

test('a selector that takes too much of a document does not match it', { timeout: 120000 }, async () => {
	const name = await newDb(server);
	const list = many(100000, (i) => i);
	for (const _id of ['x', 'y']) assert.equal((await ask(server, 'PUT', `/${name}/${_id}`, { json: { list, n: 1 } })).status, 201);
	assert.equal((await ask(server, 'PUT', `/${name}/z`, { json: { list: [1], n: 1 } })).status, 201);
	const conditions = (n) => ({ $or: [...many(n, () => ({ list: { $elemMatch: { $eq: -1 } } })), { n: 1 }] });
	const found = async (selector) => (await post('_find', { selector, fields: ['_id'] }, name)).json.docs.map((d) => d._id).join('');
	const changed = async (selector) => (await post('_changes?filter=_selector', { selector }, name)).json.results.map((r) => r.id).join('');
	for (const ids of [found, changed]) {
		assert.equal(await ids(conditions(2)), 'xyz');
		assert.equal(await ids(conditions(60)), 'z');
		assert.equal(await ids({ list: { $all: list.toReversed().slice(2) } }), 'xy');
	}
});

test('sorts and indexes from nowhere', { timeout: 60000 }, async () => {
	for (const sort of [['nope'], ['_id'], ['text', 'n'], [{ kind: 'desc' }, { list: 'desc' }], many(1000, (i) => `f${i}`), ['n', 'n']])
		assertError(await post('_find', { selector: { a: 1 }, sort }), 400, 'no_usable_index', 'No index exists for this sort, try indexing by the sort fields.');
	for (const use_index of ['', 'nope', 'i/nope', ['i', 'nope'], '_design/', '_design/nope/x', '/', '\u0000', '"\\\n', 'é'.repeat(4000), 'x'.repeat(8192), ['x'.repeat(8192), 'y'.repeat(8192)], '_all_docs', '_local/x', '../i']) {
		const r = await post('_find', { selector: { n: 3 }, use_index });
		assert.equal(r.status, 200, r.text.slice(0, 200));
		assert.deepEqual(r.json.docs.map((d) => d._id), ['d']);
		assert.match(r.json.warning, / was not used because it /);
		assertError(await post('_find', { selector: { n: 3 }, use_index, allow_fallback: false }), 400, 'invalid_index');
	}
	for (const use_index of ['//', 'a/b/c', 'a//b', '_design/a/b/'])
		assertError(await post('_find', { selector: { n: 3 }, use_index }), 400, 'invalid_index_name');
});

/* ---- Bookmarks ---- */

const CRC = Uint32Array.from({ length: 256 }, (_, n) => {
	for (let k = 0; k < 8; k++) n = n & 1 ? (n >>> 1) ^ 0x82f63b78 : n >>> 1;
	return n;
});
const crc32c = (bytes) => ~bytes.reduce((c, b) => CRC[(c ^ b) & 255] ^ (c >>> 8), ~0) >>> 0;
const sealed = (bytes) => {
	const end = Buffer.alloc(4);
	end.writeUInt32BE(crc32c(bytes));
	return Buffer.concat([bytes, end]).toString('base64');
};
/** Where the fields of a bookmark of one part lie: version, flags, part, nparts, either, its hash, then four texts with their lengths before them. */
function parse(bookmark) {
	const b = Buffer.from(bookmark, 'base64').subarray(0, -4);
	const texts = [];
	let at = 9;
	for (let i = 0; i < 4; i++) {
		texts.push(b.subarray(at + 1, at + 1 + b[at]));
		at += 1 + b[at];
	}
	assert.equal(at, b.length);
	return { head: b.subarray(0, 9), texts };
}
const varint = (n) => {
	const bytes = [];
	for (; n > 127; n = Math.floor(n / 128)) bytes.push((n % 128) | 128);
	return Buffer.from([...bytes, n]);
};
const build = ({ head, texts }) => sealed(Buffer.concat([head, ...texts.flatMap((t) => [varint(Buffer.from(t).length), Buffer.from(t)])]));

const QUERY = { selector: { n: { $gt: 0 } }, sort: ['n'], limit: 2, fields: ['_id'] };
const ALL = { selector: {}, limit: 2, fields: ['_id'] };

/** Ids behind the bookmark, or undefined where it was refused. */
async function go(bookmark, query = QUERY, name = db) {
	const r = await post('_find', { ...query, bookmark }, name);
	if (r.status === 200) return r.json.docs.map((d) => d._id).join('');
	assertError(r, 400, 'invalid_bookmark', /^Invalid bookmark value: "/);
}

test('bookmarks that were cut or altered are refused', { timeout: 60000 }, async () => {
	const { bookmark } = (await post('_find', QUERY)).json;
	assert.equal(await go(bookmark), 'de');
	assert.equal(build(parse(bookmark)), bookmark);
	/* But for the end of base64, which may be left out. */
	for (let n = 1; n < bookmark.replace(/=+$/, '').length; n++) assert.equal(await go(bookmark.slice(0, n)), undefined, `the first ${n} characters`);
	const bytes = Buffer.from(bookmark, 'base64');
	for (let i = 0; i < bytes.length; i++) {
		const other = Buffer.from(bytes);
		other[i] ^= 1 << (i % 8);
		assert.equal(await go(other.toString('base64')), undefined, `byte ${i}`);
	}
	for (const text of ['junk', 'nil', 'x', '====', ' ', `${bookmark}A`, `A${bookmark}`, bookmark + bookmark, 'é'.repeat(60), 'aé'.repeat(400), '"\\', '\u0000\u001f', 'A'.repeat(2 << 20),
		Buffer.alloc(60000).toString('base64'), sealed(Buffer.alloc(0)), sealed(Buffer.from([1])), 'g1AAAAA0eJzLYWBgYMlgSmHgKy5JLCrJTq2MT8lPzkzJBYozAFkmIDkOmFwOSHWiUVIIAA'])
		assert.equal(await go(text), undefined, text.slice(0, 20));
	assert.match((await post('_find', { ...QUERY, bookmark: '"\\' })).json.reason, /^Invalid bookmark value: "\\"\\\\"$/);
});

test('bookmarks of other queries and databases', { timeout: 60000 }, async () => {
	const mine = (await post('_find', QUERY)).json.bookmark, all = (await post('_find', ALL)).json.bookmark;
	const other = await newDb(server);
	assert.equal(await go(mine, ALL), undefined);
	assert.equal(await go(all), undefined);
	assert.equal(await go(mine, { ...QUERY, sort: [{ n: 'desc' }] }), undefined);
	assert.equal(await go(mine, QUERY, other).catch((e) => (assert.match(e.message, /no_usable_index/), undefined)), undefined);
	/* Of the same order, it is a place like any other. */
	assert.equal(await go(mine, { ...QUERY, selector: { n: { $gt: 4 } } }), 'fg');
	assert.equal(await go(all, { ...ALL, limit: 9 }), 'cdefgh');
});

test('bookmarks that are forged', { timeout: 60000 }, async () => {
	for (const [query, key] of [[QUERY, 2], [ALL, -1]]) {
		const real = parse((await post('_find', query)).json.bookmark);
		const text = (i, value) => ({ ...real, texts: real.texts.map((t, k) => (k === i ? value : t)) });
		const head = (i, value) => ({ ...real, head: Buffer.from(real.head.map((b, k) => (k === i ? value : b))) });
		const forged = [
			...many(9, (i) => [0, 2, 5, 63, 64, 65, 127, 255].map((v) => build(head(i, v)))).flat(),
			...many(4, (i) => ['', 'x', '{', '[', '[1]', '["z"]', '[[[[', '['.repeat(3000), '\xff', '\u0000', '_design/i', '_design/x', 'zzz', 'x'.repeat(100000)].map((v) => build(text(i, v)))).flat(),
			...many(4, (i) => sealed(Buffer.concat([real.head, ...many(i, () => Buffer.from([0])), Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1])]))),
			sealed(Buffer.concat([real.head.subarray(0, 2), Buffer.alloc(20, 0xff), real.head.subarray(4)])),
		];
		for (const bookmark of forged) await go(bookmark, query);
		/* A place that is none of a row's is one all the same. */
		if (key > 0) assert.equal(await go(build(text(key, '[4.5]'))), 'fg');
		else assert.equal(await go(build(text(3, 'dd')), ALL), 'ef');
	}
	assert.equal(await go((await post('_find', QUERY)).json.bookmark), 'de');
});

test('a bookmark whose index is gone', { timeout: 60000 }, async () => {
	const fields = ['text'];
	const { json } = await ask(server, 'PUT', `/${db}/_design/gone`, { json: { language: 'query', views: { t: { map: { fields: { text: 'asc' } }, reduce: '_count', options: { def: { fields } } } } } });
	const query = { selector: { text: { $gt: null } }, limit: 1, fields: ['_id'] };
	const { bookmark } = (await post('_find', query)).json;
	assert.equal(await go(bookmark, query), 'b');
	await ask(server, 'DELETE', `/${db}/_design/gone?rev=${json.rev}`);
	assert.equal(await go(bookmark, query), undefined);
});

/* ---- Whatever comes ---- */

const WORDS = ['selector', 'use_index', 'bookmark', 'limit', 'skip', 'sort', 'fields', 'partition', 'r', 'conflicts', 'stale', 'update', 'stable', 'execution_stats', 'allow_fallback'];
const OPERATORS = ['$lt', '$lte', '$eq', '$ne', '$gte', '$gt', '$in', '$nin', '$all', '$size', '$mod', '$regex', '$exists', '$type', '$elemMatch', '$allMatch', '$keyMapMatch', '$beginsWith', '$and', '$or', '$nor', '$not', '$text', '$default'];
const NAMES = ['n', 'kind', 'list', 'list.2.x', '_id', '_rev', 'a\\.b', 'a\\\\.b', '\\', 'é', '', 'a..b', '0', '_attachments', '_deleted', '_conflicts'];
const VALUES = [null, true, false, 0, -1, 1.5, 1e300, 2 ** 53, '', 'a', 'odd', '\u0000', '\ud83d\ude00', 'asc', 'desc', 'ok', 'i', 'i/n', 'nil', '_design/i', '^a', '(', [], {}];

test('random bodies', { timeout: 120000 }, async () => {
	const random = new Random(SEED);
	const value = (depth) => {
		const kind = depth > 0 ? random.below(6) : 0;
		if (kind < 3) return random.pick(VALUES);
		if (kind === 3) return many(random.below(4), () => value(depth - 1));
		return Object.fromEntries(many(random.below(3) + 1, () => [random.pick(kind === 4 ? OPERATORS : NAMES), value(depth - 1)]));
	};
	const seen = new Set();
	for (let i = 0; i < BODIES; i++) {
		const body = { selector: random.below(20) === 0 ? value(0) : Object.assign({}, value(5)), ...Object.fromEntries(many(random.below(3), () => [random.pick(WORDS.slice(1)), value(2)])) };
		const what = `FIND_SEED=${SEED}, body ${i}: ${JSON.stringify(body)}`;
		const [found, explained] = await Promise.all([post('_find', body), post('_explain?plan=true', body)]);
		for (const r of [found, explained]) {
			seen.add(r.json?.error ?? r.status);
			assert.ok(r.status === 200 || (r.status >= 400 && r.status < 500), `${what}: ${r.status} ${r.text.slice(0, 300)}`);
			assert.ok(r.status === 200 || (typeof r.json?.error === 'string' && typeof r.json.reason === 'string'), `${what}: ${r.text.slice(0, 300)}`);
		}
		if (found.status === 200) {
			assert.ok(Array.isArray(found.json?.docs), `${what}: ${found.text.slice(0, 300)}`);
			assert.ok(explained.status === 200 && explained.json.index !== null && explained.json.plan, `${what}: found, but not explained: ${explained.text.slice(0, 300)}`);
			/* What is shown as normal means the same. */
			if (i % 4 === 0) assert.deepEqual((await post('_find', { ...body, selector: explained.json.selector })).json?.docs, found.json.docs, what);
		} else if (explained.status === 200) {
			assert.ok(explained.json.index === null || found.json.error === 'invalid_bookmark' || found.json.error === 'invalid_index', `${what}: explained, but not found: ${found.text.slice(0, 300)}`);
		}
	}
	assert.ok(seen.has(200) && seen.has('bad_arg') && seen.has('invalid_selector_json') && seen.size > 8, [...seen].join());
	assert.equal((await post('_find', { selector: { n: 3 } })).json.docs.length, 1);
});
