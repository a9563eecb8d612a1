// Declared indexes: creating, listing and deleting them, beyond the recorded contract.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startDivand, tempDir } from '../lib/divand.mjs';
import { ask, assertError, newDb } from './client.mjs';

let server;
before(async () => (server = await startDivand({ dataDir: tempDir('divan-find-index'), config: { chttpd_auth: { iterations: '10' } } })));
after(() => server.stop());

const basic = (name) => `Basic ${Buffer.from(`${name}:pw-${name}`).toString('base64')}`;
const create = (db, json, more) => ask(server, 'POST', `/${db}/_index`, { json, ...more });
const remove = (db, path, more) => ask(server, 'DELETE', `/${db}/_index/${path}`, more);
const on = (fields, more) => ({ index: { fields }, ...more });

async function done(asked, result) {
	const { status, json, text } = await asked;
	assert.equal(status, 200, text);
	if (result) assert.equal(json.result, result, text);
	return json;
}

async function list(db, query = '') {
	return done(ask(server, 'GET', `/${db}/_index${query}`));
}

/** The indexes but for the first, which must be that of all documents. */
async function declared(db) {
	const { total_rows, indexes: [first, ...others] } = await list(db);
	assert.deepEqual(first, { ddoc: null, name: '_all_docs', type: 'special', def: { fields: [{ _id: 'asc' }] } });
	assert.equal(total_rows, others.length + 1);
	return others;
}

const view = (fields, more) => ({ map: { fields, partial_filter_selector: {}, ...more }, reduce: '_count', options: { def: { fields: Object.keys(fields) } } });

async function put(db, doc, query = '') {
	const { status, text, json } = await ask(server, 'PUT', `/${db}/${doc._id}${query}`, { json: doc });
	assert.equal(status, 201, text);
	return json.rev;
}

async function get(db, id) {
	const { status, json, text } = await ask(server, 'GET', `/${db}/${id}`);
	assert.equal(status, 200, text);
	return json;
}

/* ---- Definitions ---- */

test('names that are left open are those that CouchDB gives', async () => {
	const db = await newDb(server, 'names');
	// Of the term {Def, Options} as Erlang/OTP 26 writes it.
	assert.deepEqual(await done(create(db, on(['foo'], { name: 'foo-index' })), 'created'),
		{ result: 'created', id: '_design/893f934fdafc8db3a7741b08a1841d5afb5dcd00', name: 'foo-index' });
	assert.deepEqual(await done(create(db, on(['age'], { name: 'age', w: 3 })), 'created'),
		{ result: 'created', id: '_design/9dff7e4de1e81040546482362791891224627b28', name: 'age' });
});

test('equal definitions have one name, others have others', async () => {
	const db = await newDb(server, 'hashes');
	const first = await done(create(db, on(['a', { b: 'asc' }])), 'created');
	assert.match(first.name, /^[0-9a-f]{40}$/);
	assert.equal(first.id, `_design/${first.name}`);
	assert.deepEqual(await done(create(db, { type: 'json', w: 2, index: { fields: ['a', { b: 'asc' }] } })), { ...first, result: 'exists' });
	const names = new Set([first.name]);
	for (const other of [on(['a', 'b']), on(['b', { a: 'asc' }]), on(['a', { b: 'asc' }], { ddoc: 'd' }), on(['a', { b: 'asc' }], { w: 3 }),
		{ index: { fields: ['a', { b: 'asc' }], partial_filter_selector: {} } }, on(['a', { b: 'asc' }], { partitioned: false })])
		names.add((await done(create(db, other), 'created')).name);
	assert.equal(names.size, 7);
	assert.equal((await declared(db)).length, 7);
});

test('the same index is there already, another of its name takes its place', async () => {
	const db = await newDb(server, 'same');
	await done(create(db, on(['a'], { name: 'x', ddoc: 'd' })), 'created');
	await done(create(db, on(['a'], { name: 'x', ddoc: '_design/d' })), 'exists');
	assert.match((await get(db, '_design/d'))._rev, /^1-/);
	// CouchDB keeps the definition as it came: this one says the same in other words.
	await done(create(db, on([{ a: 'asc' }], { name: 'x', ddoc: 'd' })), 'created');
	await done(create(db, on(['b'], { name: 'x', ddoc: 'd' })), 'created');
	assert.match((await get(db, '_design/d'))._rev, /^3-/);
	assert.deepEqual(await declared(db), [{ ddoc: '_design/d', name: 'x', type: 'json', partitioned: false, def: { fields: [{ b: 'asc' }] } }]);
});

test('what is wrong with a definition is told in CouchDB\'s words and order', async () => {
	const db = await newDb(server, 'wrong');
	for (const [body, status, error, reason] of [
		[{}, 400, 'missing_required_key', 'Missing required key: index'],
		[{ unknown: 1 }, 400, 'missing_required_key', 'Missing required key: index'],
		[{ index: 5 }, 400, 'invalid_index', 'JSON indexes must be an object, not: 5'],
		[{ index: null }, 400, 'invalid_index', 'JSON indexes must be an object, not: null'],
		[{ index: [] }, 400, 'invalid_index', 'JSON indexes must be an object, not: []'],
		[{ index: { partial_filter_selector: {} } }, 400, 'missing_required_key', 'Missing required key: fields'],
		[on(null), 400, 'invalid_sort_json', 'Sort must be an array of sort specs, not: null'],
		[on({ a: 'asc' }), 400, 'invalid_sort_json'],
		[on([['a']]), 400, 'invalid_sort_field'],
		[on([null]), 400, 'invalid_sort_field', 'Invalid sort field: null'],
		[on([{}]), 400, 'invalid_sort_field', 'Invalid sort field: {[]}'],
		[on([{ a: 'asc', b: 'asc' }]), 400, 'invalid_sort_field'],
		[on(['']), 400, 'invalid_sort_field', 'Invalid sort field: <<>>'],
		[on(['a..b']), 400, 'invalid_field_name', 'Invalid field name: a..b'],
		[on(['.a']), 400, 'invalid_field_name', 'Invalid field name: .a'],
		[on([{ a: 'asc' }, { b: 'desc' }]), 400, 'unsupported_mixed_sort'],
		[on(['a'], { unknown: 1 }), 400, 'invalid_key', 'Invalid key unknown for this request.'],
		[on(['a'], { r: 1 }), 400, 'invalid_key', 'Invalid key r for this request.'],
		[{ index: { fields: ['a'], selector: {} } }, 400, 'invalid_key', 'Invalid key selector for this request.'],
		[{ index: { fields: 'x', unknown: 1 }, unknown: 2 }, 400, 'invalid_key', 'Invalid key unknown for this request.'],
		[on(['a'], { type: 'weird', unknown: 1 }), 400, 'invalid_key', 'Invalid key unknown for this request.'],
		[{ index: 5, type: 'weird' }, 400, 'invalid_index', 'Invalid type for index: weird'],
		[on(['a'], { type: 'weird', name: '' }), 400, 'invalid_empty_string', 'Index name or ddoc cannot be empty string'],
		[on(['a'], { type: 5, name: '' }), 400, 'invalid_string', 'Invalid string: 5'],
		[on(['a'], { type: 'text' }), 503, 'required index service unavailable', 'text'],
		[on(['a'], { type: 'nouveau' }), 503, 'required index service unavailable', 'nouveau'],
		[on(['a'], { name: null }), 400, 'invalid_string', 'Invalid string: null'],
		[on(['a'], { ddoc: ['x'] }), 400, 'invalid_string', 'Invalid string: [<<120>>]'],
		[on(['a'], { ddoc: '' }), 400, 'invalid_empty_string'],
		[on(['a'], { ddoc: '_design/' }), 400, 'illegal_docid', 'Illegal document id `_design/`'],
		[on(['a'], { w: 0 }), 400, 'invalid_pos_integer', '0 is not an integer greater than zero'],
		[on(['a'], { w: '2' }), 400, 'invalid_pos_integer', '<<50>> is not an integer greater than zero'],
		[on(['a'], { partitioned: 'true' }), 400, 'invalid_boolean', 'Invalid boolean value: <<116,114,117,101>>'],
		[on(['a'], { partitioned: true }), 400, 'invalid_design_doc', 'partitioned option cannot be true in a non-partitioned database.'],
		[on(['a'], { name: 'lib' }), 400, 'invalid_index', 'An index cannot have the name lib.'],
		[{ index: { fields: ['a'], partial_filter_selector: [] } }, 400, 'invalid_selector_json', 'Selector must be a JSON object, not: []'],
		[{ index: { fields: ['a'], partial_filter_selector: { a: { $regex: '(' } } } }, 400, 'bad_arg'],
		[{ index: { fields: ['a'], partial_filter_selector: { $and: 1 } } }, 400, 'bad_arg'],
	]) assertError(await create(db, body), status, error, reason);
	assertError(await ask(server, 'POST', `/${db}/_index`, { body: '{"index":{"fields":["a"]}} x', type: 'application/json' }), 400, 'bad_request', 'invalid UTF-8 JSON');
	assertError(await ask(server, 'POST', `/${db}/_index`, { body: '{}', type: 'text/plain' }), 415, 'bad_content_type');
	assert.deepEqual(await declared(db), []);
	assert.equal((await get(db, '')).doc_count, 0);
});

test('an index has 64 fields at most, and names of any length that a document may have', async () => {
	const db = await newDb(server, 'much');
	const fields = (n) => Array.from({ length: n }, (_, i) => `f${i}`);
	await done(create(db, on(fields(64), { name: 'n'.repeat(100000), ddoc: 'd'.repeat(8000) })), 'created');
	assertError(await create(db, on(fields(65))), 400, 'invalid_index', 'An index has 64 fields at most.');
	assertError(await create(db, on(fields(2000))), 400);
	assertError(await create(db, on(['a'.repeat(40000), 'b'.repeat(40000)])), 400, 'invalid_index', 'The names of an index\'s fields have 65536 bytes at most.');
	assertError(await create(db, on(['a'], { ddoc: 'd'.repeat(8200) })), 400, 'illegal_docid', 'Document id is too long');
	assertError(await create(db, on(['a'], { name: 'n'.repeat(9 << 20) })), 413);
	const [only, ...others] = await declared(db);
	assert.equal(only.name.length, 100000);
	assert.equal(only.def.fields.length, 64);
	assert.equal(others.length, 0);
	// A design document has 1,024 of them.
	const views = Object.fromEntries(Array.from({ length: 1023 }, (_, i) => [`v${i}`, view({ [`f${i}`]: 'asc' })]));
	await put(db, { _id: '_design/full', language: 'query', views });
	await done(create(db, on(['a'], { ddoc: 'full', name: 'last' })), 'created');
	assertError(await create(db, on(['b'], { ddoc: 'full', name: 'more' })), 400, 'invalid_index', 'A design document has 1024 indexes at most.');
	await done(create(db, on(['b'], { ddoc: 'full', name: 'last' })), 'created');
	assert.equal((await declared(db)).filter(({ ddoc }) => ddoc === '_design/full').length, 1024);
});

test('names with slashes and odd characters', async () => {
	const db = await newDb(server, 'odd');
	const names = ['a/b', 'ä "q" \\ \n', '%2F', '_x', ' ', '_design/_design/x', '日本', 'json', '..', '\u{1F600}'];
	for (const name of names) {
		const { id } = await done(create(db, on(['n'], { name, ddoc: name })), 'created');
		assert.equal(id, name.startsWith('_design/') ? name : `_design/${name}`);
		await done(create(db, on(['n'], { name, ddoc: name })), 'exists');
	}
	const all = await declared(db);
	assert.deepEqual(all.map(({ name }) => name).sort(), [...names].sort());
	for (const [i, { ddoc, name }] of all.entries()) {
		const [id, last] = [ddoc.slice('_design/'.length), name].map(encodeURIComponent);
		await done(remove(db, i % 2 && !id.startsWith('_design') ? `${id}/json/${last}` : `_design%2F${id}/json/${last}`));
	}
	assert.deepEqual(await declared(db), []);
});

test('fields that are named twice, members that are given twice', async () => {
	const db = await newDb(server, 'twice');
	await done(create(db, on(['a', 'b', 'a'], { name: 'x', ddoc: 'd' })), 'created');
	assert.deepEqual((await declared(db))[0].def, { fields: [{ b: 'asc' }, { a: 'asc' }] });
	const body = '{"name":5,"index":{"fields":["x"],"fields":["y"]},"ddoc":"e","name":"z"}';
	await done(ask(server, 'POST', `/${db}/_index`, { body, type: 'application/json' }), 'created');
	assert.deepEqual((await declared(db))[1], { ddoc: '_design/e', name: 'z', type: 'json', partitioned: false, def: { fields: [{ y: 'asc' }] } });
});

test('partial filters are kept as they came, and shown normalised', async () => {
	const db = await newDb(server, 'partial');
	const partial_filter_selector = { location: { $gte: 'FRA' }, $or: [{ n: 1e400 > 1 ? 1.0e30 : 0 }, { m: { $not: { $in: [null, true] } } }] };
	await done(create(db, { index: { fields: ['location'], partial_filter_selector }, ddoc: 'p', name: 'p' }), 'created');
	const shown = (await declared(db))[0].def;
	assert.deepEqual(Object.keys(shown), ['fields', 'partial_filter_selector']);
	assert.ok(Array.isArray(shown.partial_filter_selector.$and));
	const { views } = await get(db, '_design/p');
	assert.deepEqual(views.p.options.def, { fields: ['location'], partial_filter_selector });
	assert.deepEqual(views.p.map.partial_filter_selector, shown.partial_filter_selector);
	// One of everything is none.
	await done(create(db, { index: { fields: ['a'], partial_filter_selector: {} }, ddoc: 'q', name: 'q' }), 'created');
	assert.deepEqual((await declared(db))[1].def, { fields: [{ a: 'asc' }] });
	assert.deepEqual((await get(db, '_design/q')).views.q.options.def, { fields: ['a'], partial_filter_selector: {} });
});

/* ---- Design documents ---- */

test('what else stands in the design document stays, to the letter', async () => {
	const db = await newDb(server, 'stays');
	const text = '{"b":12345678901234567890123,"views":{"a":{"options":{"def":{"fields":["x"]}},"map":{"fields":{"x":"asc"}},"reduce":"_count","more":[1.0,1e-7]}},"language":"query","z":{"é":"\\u0001\\"\\\\/"},"1":null}';
	const { status } = await ask(server, 'PUT', `/${db}/_design/d`, { body: text, type: 'application/json' });
	assert.equal(status, 201);
	const old = (await ask(server, 'GET', `/${db}/_design/d`)).text;
	await done(create(db, on(['n'], { ddoc: 'd', name: 'b' })), 'created');
	const bodyOf = (all) => all.replace(/"_rev":"[^"]*",/, '');
	const view = '"b":{"map":{"fields":{"n":"asc"},"partial_filter_selector":{}},"reduce":"_count","options":{"def":{"fields":["n"]}}}';
	assert.equal(bodyOf((await ask(server, 'GET', `/${db}/_design/d`)).text), bodyOf(old).replace('1e-7]}', `1e-7]},${view}`));
	// Taken away again, it is what it was; and without views it is still there for the rest.
	await done(remove(db, 'd/json/b'));
	assert.equal(bodyOf((await ask(server, 'GET', `/${db}/_design/d`)).text), bodyOf(old));
	await done(remove(db, 'd/json/a'));
	assert.equal(bodyOf((await ask(server, 'GET', `/${db}/_design/d`)).text), bodyOf(old).replace(/"views":.*?"language"/, '"language"'));
	assertError(await remove(db, 'd/json/a'), 404, 'not_found', 'missing');
});

test('a design document keeps its attachments', async () => {
	const db = await newDb(server, 'atts');
	await put(db, { _id: '_design/d', language: 'query', _attachments: { f: { content_type: 'text/plain', data: 'AAEC' }, g: { data: 'AA==' } } });
	await done(create(db, on(['n'], { ddoc: 'd', name: 'b' })), 'created');
	const { _attachments, views } = await get(db, '_design/d');
	assert.deepEqual([_attachments.f.length, _attachments.f.content_type, _attachments.f.revpos, Object.keys(_attachments).length], [3, 'text/plain', 1, 2]);
	assert.deepEqual(Object.keys(views), ['b']);
	assert.deepEqual((await ask(server, 'GET', `/${db}/_design/d/f`)).raw, Buffer.from([0, 1, 2]));
	await done(create(db, on(['n'], { ddoc: 'd', name: 'b' })), 'exists');
});

test('a document of another language is left alone', async () => {
	const db = await newDb(server, 'language');
	const rev = await put(db, { _id: '_design/js', language: 'javascript', views: { v: { map: 'function(doc) {}' } } });
	await put(db, { _id: '_design/none', views: { v: { map: 'function(doc) {}' } } });
	assertError(await create(db, on(['n'], { ddoc: 'js' })), 400, 'invalid_ddoc_lang',
		'Existing design doc has an invalid language: {<<108,97,110,103,117,97,103,101>>,<<106,97,118,97,115,99,114,105,112,116>>}');
	assertError(await create(db, on(['n'], { ddoc: 'none' })), 400, 'invalid_ddoc_lang', 'Existing design doc has an invalid language: false');
	assertError(await remove(db, 'js/json/v'), 404, 'not_found', 'missing');
	assertError(await remove(db, 'none/json/v'), 404, 'not_found', 'missing');
	assert.equal((await get(db, '_design/js'))._rev, rev);
	assert.deepEqual(await declared(db), []);
});

test('a deleted design document is made anew', async () => {
	const db = await newDb(server, 'anew');
	for (let i = 0; i < 5; i++) {
		await done(create(db, on(['bing'], { ddoc: 'd', name: 'x' })), 'created');
		assert.match((await get(db, '_design/d'))._rev, new RegExp(`^${2 * i + 1}-`));
		assert.equal((await declared(db)).length, 1);
		await done(remove(db, 'd/json/x'));
		assertError(await ask(server, 'GET', `/${db}/_design/d`), 404, 'not_found', 'deleted');
		assert.deepEqual(await declared(db), []);
	}
	// Deleted in another way, with what it had.
	const rev = await put(db, { _id: '_design/e', language: 'javascript', filters: { f: 'function() {}' } });
	assert.equal((await ask(server, 'DELETE', `/${db}/_design/e?rev=${rev}`)).status, 200);
	await done(create(db, on(['a'], { ddoc: 'e', name: 'x' })), 'created');
	const { _id, _rev, ...body } = await get(db, '_design/e');
	assert.deepEqual(body, { language: 'query', views: { x: view({ a: 'asc' }) } });
});

test('of a document in conflict the winner is written', async () => {
	const db = await newDb(server, 'conflict');
	for (const [rev, name] of [['1-a', 'lost'], ['1-b', 'won']])
		await put(db, { _id: '_design/d', _rev: rev, language: 'query', views: { [name]: view({ a: 'asc' }) } }, '?new_edits=false');
	await done(create(db, on(['n'], { ddoc: 'd', name: 'x' })), 'created');
	assert.deepEqual((await declared(db)).map(({ name }) => name), ['won', 'x']);
	await done(remove(db, 'd/json/won'));
	await done(remove(db, 'd/json/x'));
	// What is left is the revision that lost.
	assert.deepEqual((await declared(db)).map(({ name }) => name), ['lost']);
});

test('the option partitioned holds for all indexes of a document', async () => {
	const db = `partitioned-${process.pid}`;
	assert.equal((await ask(server, 'PUT', `/${db}?partitioned=true`)).status, 201);
	await done(create(db, on(['a'], { ddoc: 'open', name: 'x' })), 'created');
	await done(create(db, on(['a'], { ddoc: 'own', name: 'x', partitioned: true })), 'created');
	await done(create(db, on(['a'], { ddoc: 'whole', name: 'x', partitioned: false })), 'created');
	assert.deepEqual((await declared(db)).map(({ ddoc, partitioned }) => [ddoc, partitioned]),
		[['_design/open', true], ['_design/own', true], ['_design/whole', false]]);
	assert.equal((await get(db, '_design/open')).options, undefined);
	assert.deepEqual((await get(db, '_design/whole')).options, { partitioned: false });
	for (const [ddoc, partitioned] of [['open', true], ['open', false], ['own', false], ['own', undefined], ['whole', true], ['whole', undefined]])
		assertError(await create(db, on(['b'], { ddoc, name: 'y', partitioned })), 400, 'invalid_partitioned_option',
			`Requested partitioned option does not match existing value on design document _design/${ddoc}`);
	await done(create(db, on(['b'], { ddoc: 'whole', name: 'y', partitioned: false })), 'created');
	await done(create(db, on(['b'], { ddoc: 'whole', name: 'y', partitioned: false })), 'exists');
	await done(remove(db, 'whole/json/x'));
	await done(remove(db, 'whole/json/y'));
	assertError(await ask(server, 'GET', `/${db}/_design/whole`), 404, 'not_found', 'deleted');
	await done(create(db, on(['b'], { ddoc: 'whole', name: 'y' })), 'created');
});

test('documents of the language query that come by replication', async () => {
	const db = await newDb(server, 'replicated');
	const bad = {
		nothing: {}, text: { map: 'function(doc) {}' }, fieldless: { map: {}, options: { def: {} } },
		path: view({ 'a..b': 'asc' }), filter: view({ a: 'asc' }, { partial_filter_selector: { a: { $bad: 1 } } }),
		optionless: { map: { fields: { a: 'asc' } }, reduce: '_count' },
	};
	for (const [name, one] of Object.entries(bad))
		await ask(server, 'PUT', `/${db}/_design/bad-${name}?new_edits=false`, { json: { _rev: '1-a', language: 'query', views: { x: one } } });
	await put(db, { _id: '_design/good', _rev: '3-abc', language: 'query', views: { b: view({ 'n.m': 'desc' }), a: view({ x: 'asc' }) } }, '?new_edits=false');
	// CouchDB's older form.
	await put(db, { _id: '_design/old', _rev: '1-a', language: 'query', views: { o: view({ location: 'asc' }, { partial_filter_selector: undefined, selector: { location: { $gte: 'FRA' } } }) } }, '?new_edits=false');
	const all = await declared(db);
	const of = (id) => all.filter(({ ddoc }) => ddoc === `_design/${id}`);
	assert.deepEqual(of('good').map(({ name, def }) => [name, def]), [['a', { fields: [{ x: 'asc' }] }], ['b', { fields: [{ 'n.m': 'desc' }] }]]);
	assert.deepEqual(of('old')[0].def, { fields: [{ location: 'asc' }], selector: { location: { $gte: 'FRA' } } });
	for (const name of Object.keys(bad)) assert.deepEqual(of(`bad-${name}`), [], name);
	await done(create(db, on(['n'], { ddoc: 'good', name: 'c' })), 'created');
	assert.match((await get(db, '_design/good'))._rev, /^4-/);
	await done(remove(db, 'good/json/b'));
	assert.deepEqual((await declared(db)).filter(({ ddoc }) => ddoc === '_design/good').map(({ name }) => name), ['a', 'c']);
});

/* ---- Who may ---- */

test('members read, administrators of the database write, and what is there already is no news to anybody', async () => {
	const db = await newDb(server, 'rights');
	for (const name of ['mia', 'dora', 'paul'])
		await put('_users', { _id: `org.couchdb.user:${name}`, name, type: 'user', roles: [], password: `pw-${name}` });
	const security = { members: { names: ['mia'], roles: [] }, admins: { names: ['dora'], roles: [] } };
	assert.equal((await ask(server, 'PUT', `/${db}/_security`, { json: security })).status, 200);
	const [mia, dora, paul] = ['mia', 'dora', 'paul'].map((name) => ({ auth: basic(name) }));
	const no = (answer) => assertError(answer, 403, 'forbidden', 'You are not a db or server admin.');
	const body = on(['n'], { ddoc: 'd', name: 'x' });
	no(await create(db, body, mia));
	assertError(await create(db, on(['n'], { type: 'weird' }), mia), 400, 'invalid_index');
	assert.deepEqual(await declared(db), []);
	await done(create(db, body, dora), 'created');
	await done(create(db, body, mia), 'exists');
	no(await create(db, on(['m'], { ddoc: 'd', name: 'x' }), mia));
	no(await remove(db, 'd/json/x', mia));
	assertError(await remove(db, 'd/json/y', mia), 404, 'not_found', 'missing');
	no(await ask(server, 'POST', `/${db}/_index/_bulk_delete`, { json: { docids: ['d'] }, ...mia }));
	assert.equal((await ask(server, 'GET', `/${db}/_index`, mia)).json.total_rows, 2);
	for (const [method, path, json] of [['GET', ''], ['POST', '', body], ['DELETE', '/d/json/x'], ['POST', '/_bulk_delete', { docids: ['d'] }]]) {
		assertError(await ask(server, method, `/${db}/_index${path}`, { json, ...paul }), 403, 'forbidden', 'You are not allowed to access this db.');
		assertError(await ask(server, method, `/${db}/_index${path}`, { json, auth: null }), 401, 'unauthorized', 'You are not authorized to access this db.');
	}
	await done(remove(db, 'd/json/x', dora));
	// Where everybody is a member.
	assert.equal((await ask(server, 'PUT', `/${db}/_security`, { json: { members: { roles: [] }, admins: { names: ['dora'] } } })).status, 200);
	assertError(await create(db, body, { auth: null }), 401, 'unauthorized', 'You are not a db or server admin.');
	assert.deepEqual(await declared(db), []);
});

test('validate_doc_update is not asked about design documents', async () => {
	const db = await newDb(server, 'validated');
	await put(db, { _id: '_design/no', validate_doc_update: 'function() { throw({forbidden: "no"}); }' });
	assertError(await ask(server, 'PUT', `/${db}/doc`, { json: {} }), 403, 'forbidden', 'no');
	await done(create(db, on(['n'], { ddoc: 'd', name: 'x' })), 'created');
	await done(remove(db, 'd/json/x'));
});

test('in a database that is not there', async () => {
	for (const [method, path, json] of [['GET', ''], ['POST', '', on(['a'])], ['DELETE', '/d/json/x'], ['POST', '/_bulk_delete', { docids: [] }]])
		assertError(await ask(server, method, `/nope/_index${path}`, { json }), 404, 'not_found', 'Database does not exist.');
});

/* ---- Many ---- */

test('twenty that create at once: in one document, and the same index', async () => {
	const db = await newDb(server, 'crowd');
	const twenty = Array.from({ length: 20 }, (_, i) => i);
	await Promise.all(twenty.map((i) => done(create(db, on([`f${i}`], { ddoc: 'd', name: `x${i}` })), 'created')));
	assert.deepEqual((await declared(db)).map(({ name }) => name), twenty.map((i) => `x${i}`).sort());
	assert.match((await get(db, '_design/d'))._rev, /^20-/);
	const same = await Promise.all(twenty.map(() => done(create(db, on(['same'], { ddoc: 'd', name: 'same' })))));
	assert.equal(same.filter(({ result }) => result === 'created').length, 1);
	assert.match((await get(db, '_design/d'))._rev, /^21-/);
	// Some take away what others add to.
	await Promise.all(twenty.flatMap((i) => [done(remove(db, `d/json/x${i}`)), done(create(db, on(['y'], { ddoc: 'd', name: `y${i}` })), 'created')]));
	assert.deepEqual((await declared(db)).map(({ name }) => name), ['same', ...twenty.map((i) => `y${i}`).sort()]);
});

test('a thousand indexes are listed in order, by pieces too, and outlive a restart', async () => {
	const db = await newDb(server, 'thousand');
	const docs = Array.from({ length: 500 }, (_, i) => ({ _id: `_design/d${i}`, language: 'query', views: { b: view({ [`f${i}`]: 'asc' }), a: view({ g: 'desc' }) } }));
	const { json } = await ask(server, 'POST', `/${db}/_bulk_docs`, { json: { docs } });
	assert.ok(json.every(({ ok }) => ok));
	const all = await list(db);
	assert.equal(all.total_rows, 1001);
	const names = docs.flatMap(({ _id }) => [`${_id} a`, `${_id} b`]).sort();
	assert.deepEqual(all.indexes.slice(1).map(({ ddoc, name }) => `${ddoc} ${name}`), names);
	for (const [query, from, to] of [['limit=1', 0, 1], ['skip=1&limit=1', 1, 2], ['skip=999&limit=5', 999, 1001], ['skip=1001', 1001], ['skip=99999999999999999999999', 1001],
		['limit=99999999999999999999999', 0], ['limit=%2B3&skip=-0', 0, 3], ['limit=2&other=x', 0, 2]])
		assert.deepEqual(await list(db, `?${query}`), { total_rows: 1001, indexes: all.indexes.slice(from, to) }, query);
	for (const query of ['limit=0', 'limit=-1', 'skip=-1', 'limit=', 'limit=1.5', 'skip=a', 'limit=-', 'skip=null', 'limit=0x10'])
		assertError(await ask(server, 'GET', `/${db}/_index?${query}`), 400, 'invalid_list_index_params', 'Index parameter ranges: limit > 1, skip > 0');
	const head = await ask(server, 'HEAD', `/${db}/_index`);
	assert.deepEqual([head.status, head.text], [200, '']);
	await server.restart();
	assert.deepEqual(await list(db), all);
	await done(create(db, on(['f0'], { ddoc: 'd0', name: 'b' })), 'exists');
});

test('_bulk_delete: documents with all their indexes, each with its own outcome', async () => {
	const db = await newDb(server, 'bulk');
	const bulk = (json) => ask(server, 'POST', `/${db}/_index/_bulk_delete`, { json });
	for (const [ddoc, name] of [['one', 'x'], ['two', 'x'], ['two', 'y'], ['three', 'x'], ['kept', 'x']])
		await done(create(db, on(['n'], { ddoc, name })), 'created');
	await put(db, { _id: '_design/js', views: { v: { map: 'function(doc) {}' } } });
	await put(db, { _id: '_design/more', language: 'query', views: { x: view({ a: 'asc' }) }, filters: { f: 'function() {}' } });
	const ok = (name) => ({ id: `_design/${name}`, ok: true });
	const missing = (name) => ({ id: `_design/${name}`, error: 'not_found' });
	// The last comes first, as in CouchDB; what is named twice is gone the second time.
	assert.deepEqual(await done(bulk({ docids: ['one', '_design/two', 'nope', 'js', 'one', 'more'], w: 1 })),
		{ success: ['more', 'two', 'one'].map(ok), fail: ['one', 'js', 'nope'].map(missing) });
	assert.deepEqual((await declared(db)).map(({ ddoc }) => ddoc), ['_design/kept', '_design/three']);
	assert.deepEqual(Object.keys(await get(db, '_design/more')), ['_id', '_rev', 'language', 'filters']);
	assert.deepEqual(await done(bulk({ docids: [] })), { success: [], fail: [] });
	for (const [body, error, reason] of [
		[{}, 'missing_required_key', 'Missing required key: docids'],
		[{ docids: 5 }, 'invalid_bulk_docs', 'Bulk Delete requires an array of non-null docids. Docids: 5'],
		[{ docids: null }, 'invalid_bulk_docs'],
		[{ docids: ['kept', 5] }, 'invalid_index_name', 'Invalid index name: 5'],
		[{ docids: ['kept', null] }, 'invalid_index_name', 'Invalid index name: null'],
		[{ docids: ['kept'], w: 0 }, 'invalid_pos_integer'],
		[{ docids: ['kept'], unknown: 1 }, 'invalid_key', 'Invalid key unknown for this request.'],
	]) assertError(await bulk(body), 400, error, reason);
	assertError(await bulk({ docids: Array(10001).fill('kept') }), 413);
	assertError(await ask(server, 'GET', `/${db}/_index/_bulk_delete`), 405, 'method_not_allowed', 'Only POST allowed');
	assert.equal((await declared(db)).length, 2);
});

test('_bulk_delete of more documents than are worked on at a time', async () => {
	const db = await newDb(server, 'rounds');
	const docids = Array.from({ length: 150 }, (_, i) => `d${i}`);
	const docs = docids.map((id) => ({ _id: `_design/${id}`, language: 'query', views: { x: view({ a: 'asc' }) } }));
	assert.equal((await ask(server, 'POST', `/${db}/_bulk_docs`, { json: { docs } })).status, 201);
	const { success, fail } = await done(ask(server, 'POST', `/${db}/_index/_bulk_delete`, { json: { docids: [...docids, 'nope'] } }));
	assert.deepEqual(success.map(({ id }) => id), docids.map((id) => `_design/${id}`).reverse());
	assert.deepEqual(fail, [{ id: '_design/nope', error: 'not_found' }]);
	assert.deepEqual(await declared(db), []);
});

/* ---- Paths ---- */

test('deleting: ways to name an index, and names of none', async () => {
	const db = await newDb(server, 'paths');
	for (const path of ['d/json/x', '_design/d/json/x', '_design%2Fd/json/x', 'd/json/x?w=3', 'd/json/x?w=y']) {
		await done(create(db, on(['n'], { ddoc: 'd', name: 'x' })), 'created');
		assert.deepEqual(await done(remove(db, path)), { ok: true });
	}
	await done(create(db, on(['n'], { ddoc: 'd', name: 'x' })), 'created');
	for (const path of ['d', 'd/json', 'd/json/y', 'd/text/x', 'd/special/x', 'e/json/x', '_design/d', '_design/d/json', '_design/d/json/y', '_design/_design/d/json/x', 'd/json/x/y',
		'_all_docs/special/_all_docs', 'null/special/_all_docs', '_bulk_delete/json/x', 'd/json/', '/json/x'])
		assertError(await remove(db, path), 404, 'not_found', 'missing');
	for (const method of ['GET', 'POST', 'PUT', 'COPY'])
		for (const path of ['d', 'd/json', 'd/json/x/y']) assertError(await ask(server, method, `/${db}/_index/${path}`, { json: method === 'GET' ? undefined : {} }), 404, 'not_found', 'missing');
	for (const [method, path] of [['GET', 'd/json/x'], ['POST', 'd/json/x'], ['PUT', '_design/d/json/x']])
		assertError(await ask(server, method, `/${db}/_index/${path}`, { json: method === 'GET' ? undefined : {} }), 405, 'method_not_allowed', 'Only DELETE allowed');
	assert.equal((await declared(db)).length, 1);
});

/* ---- What CouchDB's own suite (01-index-crud, 16-index-selectors) has besides ---- */

test('CouchDB\'s suite: bad fields, types, names and documents', async () => {
	const db = await newDb(server, 'suite');
	const bad = (body) => create(db, body).then((answer) => assertError(answer, 400));
	for (const fields of [null, true, false, 'bing', 2.0, { foo: 'bar' }, [{ foo: 2 }], [{ foo: 'asc', bar: 'desc' }], [{ foo: 'asc' }, { bar: 'desc' }], ['']]) await bad(on(fields));
	for (const type of [null, true, false, 1.5, 'foo', 'geo', { foo: 'bar' }, ['baz', 3.0]]) await bad(on(['foo'], { type }));
	for (const name of ['', true, false, 1.5, { foo: 'bar' }, [null, false]]) {
		await bad(on(['foo'], { name }));
		await bad(on(['foo'], { ddoc: name }));
	}
	assert.deepEqual(await declared(db), []);
});

test('CouchDB\'s suite: reading, listing by pieces, deleting all', async () => {
	const db = await newDb(server, 'suite');
	for (let i = 1; i <= 5; i++) await done(create(db, on([`field${i}`], { name: `idx_0${i}`, type: 'json', w: 3 })), 'created');
	for (const { ddoc, name, def } of await declared(db)) {
		assert.deepEqual(def, { fields: [{ [`field${name.at(-1)}`]: 'asc' }] });
		assert.equal((await get(db, ddoc))._id, ddoc);
		assert.equal((await get(db, `${ddoc}/_info`)).name, ddoc.slice('_design/'.length));
	}
	for (const [query, n] of [['limit=2', 2], ['limit=5&skip=4', 2], ['skip=5', 1], ['skip=6', 0], ['skip=100', 0], ['limit=10000000', 6]])
		assert.equal((await list(db, `?${query}`)).indexes.length, n, query);
	const docids = (await declared(db)).map(({ ddoc }) => ddoc);
	const ret = await done(ask(server, 'POST', `/${db}/_index/_bulk_delete`, { json: { docids: [...docids, '_design/this_is_not_an_index_name'] } }));
	assert.equal(ret.fail[0].id, '_design/this_is_not_an_index_name');
	assert.equal(ret.success.length, 5);
	assert.deepEqual(await declared(db), []);
});
