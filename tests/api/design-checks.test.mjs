// What may be written as a design document, whichever way it comes.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startDivand } from '../lib/divand.mjs';
import { ask, assertError, newDb } from './client.mjs';

let server;
before(async () => {
	server = await startDivand({ config: { couchdb: { os_process_timeout: '1000' } } });
});
after(() => server.stop());

const OK = 'function (doc) { emit(doc._id, 1); }';
const WRONG = [
	[{ views: 'no' }, 'invalid_design_doc', '`views` field must have object type'],
	[{ views: { v: { map: 5 } } }, 'invalid_design_doc', '`views.v.map` field must have string type'],
	[{ views: { v: { reduce: '_sum' } } }, 'invalid_design_doc', 'View `v` must contain map function'],
	[{ views: { v: { map: OK, reduce: '_nothing' } } }, 'invalid_design_doc', '`_nothing` is not a supported reduce function.'],
	[{ options: { partitioned: 'yes' } }, 'invalid_design_doc', '`options.partitioned` field must have boolean type'],
	[{ filters: { f: 5 } }, 'invalid_design_doc', '`filters.f` field must have object or string type'],
	[{ rewrites: 5 }, 'invalid_design_doc', '`rewrites` field must have array or string type'],
	[{ views: { v: { map: 'function (doc) {' } } }, 'compilation_error', /^Compilation of the map function in the 'v' view failed: SyntaxError: /],
	[{ views: { good: { map: OK }, v: { map: '"a text"' } } }, 'compilation_error', 'Compilation of the map function in the \'v\' view failed: Expression does not eval to a function. ("a text")'],
	[{ views: { v: { map: OK, reduce: 'function (keys, values' } } }, 'compilation_error', /^Compilation of the reduce function in the 'v' view failed: SyntaxError: /],
	[{ views: { v: { map: 'nothing' } } }, 'compilation_error', /ReferenceError/],
];
const RIGHT = [
	{}, { views: {} }, { language: 'erlang', views: { v: { map: 'fun({Doc}) ->' } } }, { language: 'query', views: { v: { map: { fields: {} } } } },
	{ views: { lib: { m: 'this is not (JavaScript' }, v: { map: `${OK};` } } }, { views: { v: { map: OK, reduce: 'function (k, v) { return 1; }' }, w: { map: OK, reduce: '_stats' } } },
	{ filters: { f: 'not JavaScript at all (' }, shows: { s: 'nor this' }, validate_doc_update: 'function () {}' }, { views: { v: { map: '(doc) => emit(doc?.n ?? 0n)' } } },
	{ views: { v: { map: 'function (doc) { for (;;) ; }' } } },
];

test('what is wrong is refused: by PUT, in _bulk_docs with new_edits or without, and by COPY and POST', async () => {
	const db = await newDb(server);
	for (const [i, [body, error, reason]] of WRONG.entries()) {
		const id = `_design/w${i}`;
		assertError(await ask(server, 'PUT', `/${db}/${id}`, { json: body }), 400, error, reason);
		assertError(await ask(server, 'POST', `/${db}`, { json: { _id: id, ...body } }), 400, error, reason);
		for (const more of [{}, { new_edits: false }]) {
			const docs = [{ _id: `before${i}`, _rev: more.new_edits === false ? '1-a' : undefined }, { _id: id, _rev: more.new_edits === false ? '1-a' : undefined, ...body }];
			const { status, json } = await ask(server, 'POST', `/${db}/_bulk_docs`, { json: { docs, ...more } });
			assert.equal(status, 201);
			const item = json.find((x) => x.id === id);
			assert.equal(item.error, error);
			if (reason instanceof RegExp) assert.match(item.reason, reason);
			else assert.equal(item.reason, reason);
		}
		assert.equal((await ask(server, 'PUT', `/${db}/${id}?new_edits=false`, { json: { ...body, _rev: '1-a' } })).status, 400);
		assert.equal((await ask(server, 'GET', `/${db}/${id}`)).status, 404);
		assert.equal((await ask(server, 'GET', `/${db}/before${i}`)).status, 200);
	}
	await ask(server, 'PUT', `/${db}/plain`, { json: { views: 'no' } });
	assertError(await ask(server, 'COPY', `/${db}/plain`, { headers: { destination: '_design/copy' } }), 400, 'invalid_design_doc');
});

test('what is right is taken, and what is no design document is not looked at', async () => {
	const db = await newDb(server);
	for (const [i, body] of RIGHT.entries()) {
		const put = await ask(server, 'PUT', `/${db}/_design/r${i}`, { json: body });
		assert.equal(put.status, 201, put.text);
		// A deletion may have any body, and so may a local document.
		assert.equal((await ask(server, 'PUT', `/${db}/_design/r${i}`, { json: { _rev: put.json.rev, _deleted: true, views: 'no' } })).status, 200);
	}
	for (const id of ['plain', '_local/_design', 'design'])
		assert.equal((await ask(server, 'PUT', `/${db}/${id}`, { json: { views: 5 } })).status, 201);
});

test('who may not write design documents is told that, whatever they say', async () => {
	const db = await newDb(server);
	await ask(server, 'PUT', `/${db}/_security`, { json: {} });
	for (const [body] of WRONG) assertError(await ask(server, 'PUT', `/${db}/_design/d`, { json: body, auth: null }), 401, 'unauthorized');
});

test('an update is checked as well; a conflict may be told first', async () => {
	const db = await newDb(server);
	const { json } = await ask(server, 'PUT', `/${db}/_design/d`, { json: { views: { v: { map: OK } } } });
	assertError(await ask(server, 'PUT', `/${db}/_design/d`, { json: { _rev: json.rev, views: { v: { map: 'x(' } } } }), 400, 'compilation_error');
	assertError(await ask(server, 'PUT', `/${db}/_design/d`, { json: { views: { v: { map: 'x(' } } } }), [400, 409]);
	assert.equal((await ask(server, 'GET', `/${db}/_design/d`)).json._rev, json.rev);
});

test('a function that never gets compiled costs its own write an error, others nothing', async () => {
	const db = await newDb(server);
	const other = await newDb(server);
	const loops = ask(server, 'PUT', `/${db}/_design/d`, { json: { views: { v: { map: 'for (;;) ;' } } } });
	for (let i = 0; i < 20; i++) assert.equal((await ask(server, 'PUT', `/${other}/doc${i}`, { json: {} })).status, 201);
	assertError(await loops, 500, 'os_process_error');
	assertError(await ask(server, 'PUT', `/${db}/_design/e`, { json: { views: { v: { map: 'x = []; for (;;) x.push(new Array(1e6).fill(1));' } } } }), [400, 500]);
	assert.equal((await ask(server, 'PUT', `/${db}/_design/f`, { json: { views: { v: { map: OK } } } })).status, 201);
	assert.deepEqual((await ask(server, 'GET', `/${db}/_all_docs`)).json.rows.map((r) => r.id), ['_design/f']);
});

test('thirty-three and more design documents of one request, each with its own outcome', async () => {
	const db = await newDb(server);
	const docs = Array.from({ length: 80 }, (_, i) => ({ _id: i % 4 === 3 ? `doc${i}` : `_design/d${i}`, views: i % 4 === 0 ? { v: { map: 'x(' } } : i % 4 === 1 ? 5 : { v: { map: OK } } }));
	const { json } = await ask(server, 'POST', `/${db}/_bulk_docs`, { json: { docs } });
	assert.deepEqual(json.map((x) => x.error ?? 'ok'), docs.map((_, i) => ['compilation_error', 'invalid_design_doc', 'ok', 'ok'][i % 4]));
});
