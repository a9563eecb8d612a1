// Steps of CouchDB's own test suites that no other file here has.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startDivand } from '../lib/divand.mjs';
import { ask, assertError, newDb } from './client.mjs';

let server;
before(async () => (server = await startDivand()));
after(() => server.stop());

test('batch=ok is answered before anybody looks for conflicts, so a conflict is no error', async () => {
	const db = await newDb(server);
	for (let n = 0; n < 5; n++) {
		const answer = await ask(server, 'PUT', `/${db}/foo?batch=ok`, { json: { n } });
		assert.deepEqual([answer.status, answer.json], [202, { ok: true, id: 'foo' }]);
	}
	assert.deepEqual((await ask(server, 'GET', `/${db}/foo`)).json.n, 0);
	assertError(await ask(server, 'PUT', `/${db}/foo?batch=no`, { json: {} }), 409, 'conflict');
	assertError(await ask(server, 'PUT', `/${db}/foo?batch=ok`, { json: { _zing: 1 } }), 400, 'doc_validation');
});

test('the words of a refusal say where the other revision stood', async () => {
	const db = await newDb(server);
	const json = { _rev: `1-${'a'.repeat(32)}` };
	const words = (where) => `Document rev ${where} have different values`;
	assertError(await ask(server, 'PUT', `/${db}/x`, { json, headers: { 'If-Match': '1-b' } }), 400, 'bad_request', words('and etag'));
	assertError(await ask(server, 'PUT', `/${db}/x?rev=1-b`, { json }), 400, 'bad_request', words('from request body and query string'));
	assertError(await ask(server, 'PUT', `/${db}/x?rev=1-b`, { json, headers: { 'If-Match': '1-c' } }), 400, 'bad_request', words('and etag'));
});

test('a lower _revs_limit holds for what is read, before anything is written or compacted', async () => {
	const db = await newDb(server);
	const ids = ['f', 'e', 'd', 'c', 'b', 'a'].map((c) => c.repeat(32));
	const doc = { _id: 'doc', _rev: `6-${ids[0]}`, _revisions: { start: 6, ids } };
	assert.equal((await ask(server, 'POST', `/${db}/_bulk_docs`, { json: { new_edits: false, docs: [doc] } })).status, 201);
	const told = async () => {
		const one = (await ask(server, 'GET', `/${db}/doc?revs=true`)).json._revisions;
		const open = (await ask(server, 'GET', `/${db}/doc?open_revs=all&revs=true`, { headers: { Accept: 'application/json' } })).json[0].ok._revisions;
		const bulk = (await ask(server, 'POST', `/${db}/_bulk_get?revs=true`, { json: { docs: [{ id: 'doc' }] } })).json.results[0].docs[0].ok._revisions;
		assert.deepEqual([open, bulk], [one, one]);
		return one;
	};
	assert.deepEqual(await told(), { start: 6, ids });
	for (const limit of [5, 1, 6]) {
		assert.equal((await ask(server, 'PUT', `/${db}/_revs_limit`, { body: String(limit) })).status, 200);
		assert.deepEqual(await told(), { start: 6, ids: ids.slice(0, limit) });
	}
});

test('_stats tells passwords that took a derivation from those that are known', async () => {
	const value = async (name) => (await ask(server, 'GET', `/_node/_local/_stats/couchdb/password_hashing_${name}`)).json.value;
	const logIn = async (password, status) => {
		const before = [await value('slow'), await value('fast')];
		const answer = await ask(server, 'POST', '/_session', { json: { name: 'ann', password } });
		assert.equal(answer.status, status);
		const after = [await value('slow'), await value('fast')];
		// Behind the first look at "fast" come the looks at "slow" and "fast", and the login's own header.
		return [after[0] - before[0], after[1] - before[1] - 3];
	};
	const user = { name: 'ann', type: 'user', roles: [], password: 'one' };
	const { json } = await ask(server, 'PUT', '/_users/org.couchdb.user:ann', { json: user });
	assert.deepEqual(await logIn('wrong', 401), [1, 0]);
	assert.deepEqual(await logIn('wrong', 401), [1, 0]);
	assert.deepEqual(await logIn('one', 200), [1, 1]);
	assert.deepEqual(await logIn('one', 200), [0, 1]);
	assert.equal((await ask(server, 'PUT', '/_users/org.couchdb.user:ann', { json: { ...user, _rev: json.rev, password: 'two' } })).status, 201);
	assert.deepEqual(await logIn('one', 401), [1, 0]);
	assert.deepEqual(await logIn('two', 200), [1, 1]);
});

test('atts_since may name a revision that nobody has', async () => {
	const db = await newDb(server);
	const doc = { _id: 'doc', _revisions: { start: 2, ids: ['b', 'a'] }, _attachments: { att: { revpos: 1, content_type: 'x/y', data: 'YQ==' } } };
	assert.equal((await ask(server, 'POST', `/${db}/_bulk_docs`, { json: { new_edits: false, docs: [doc] } })).status, 201);
	const one = async (since) => (await ask(server, 'GET', `/${db}/doc?atts_since=${JSON.stringify(since)}`, { headers: { Accept: 'application/json' } })).json;
	const bulk = async (atts_since) => (await ask(server, 'POST', `/${db}/_bulk_get`, { json: { docs: [{ id: 'doc', rev: '2-b', atts_since }] } })).json.results[0].docs[0];
	for (const [since, data] of [[['0-x'], 'YQ=='], [['2-b'], undefined], [['0-x', '1-a'], undefined], [['0-x', '9-z'], 'YQ==']]) {
		assert.equal((await one(since))._attachments.att.data, data);
		assert.equal((await bulk(since)).ok._attachments.att.data, data);
	}
	assert.equal((await bulk([])).ok._attachments.att.stub, true);
	for (const wrong of ['0-', '0', '-x', 'x']) {
		assert.equal((await one([wrong])).reason, 'Invalid rev format');
		assert.equal((await bulk([wrong])).error.reason, 'Invalid rev format');
	}
});

test('_dbs_info names at most chttpd/max_db_number_for_dbs_info_req databases', async () => {
	const keys = [await newDb(server), await newDb(server)];
	const set = (body) => ask(server, body ? 'PUT' : 'DELETE', '/_node/_local/_config/chttpd/max_db_number_for_dbs_info_req', { json: body });
	assert.equal((await ask(server, 'POST', '/_dbs_info', { json: { keys } })).json.length, 2);
	assert.equal((await set('1')).status, 200);
	assertError(await ask(server, 'POST', '/_dbs_info', { json: { keys } }), 400, 'bad_request');
	assert.equal((await ask(server, 'POST', '/_dbs_info', { json: { keys: keys.slice(1) } })).json.length, 1);
	assert.equal((await set(null)).status, 200);
	assert.equal((await ask(server, 'POST', '/_dbs_info', { json: { keys } })).status, 200);
});

// What PouchDB's suites want of servers.

test('keys and a range of ids do not go together', async () => {
	const db = await newDb(server);
	for (const bound of ['startkey', 'start_key', 'endkey', 'end_key', 'key']) {
		const path = `/${db}/_all_docs?${bound}=%22a%22`;
		const reason = '`keys` is incompatible with `key`, `start_key` and `end_key`';
		assertError(await ask(server, 'POST', path, { json: { keys: ['a', 'b'] } }), 400, 'query_parse_error', reason);
		assert.equal((await ask(server, 'POST', path, { json: { keys: ['b'] } })).json.rows[0].key, 'b');
		assert.deepEqual((await ask(server, 'POST', path, { json: { keys: [] } })).json.rows, []);
	}
});

test('_local documents: what is not there is missing whatever revision is named; _revisions are not looked at', async () => {
	const db = await newDb(server);
	for (const rev of ['1-fake', '0-7', 'x']) assertError(await ask(server, 'DELETE', `/${db}/_local/no?rev=${rev}`), 404, 'not_found');
	assert.equal((await ask(server, 'PUT', `/${db}/_local/yes`, { json: {} })).json.rev, '0-1');
	const json = { _rev: '0-1', _revisions: { start: 0, ids: ['1'] } };
	assert.equal((await ask(server, 'PUT', `/${db}/_local/yes`, { json })).json.rev, '0-2');
	assert.equal((await ask(server, 'DELETE', `/${db}/_local/yes?rev=1-fake`)).status, 400);
	for (const query of ['', '?new_edits=false']) {
		for (const body of [{ _revisions: json._revisions }, json]) assertError(await ask(server, 'PUT', `/${db}/doc${query}`, { json: body }), 400, 'bad_request');
		assertError(await ask(server, 'PUT', `/${db}/doc${query}`, { json: { _revisions: { start: 1, ids: ['b', 'a'] } } }), 400, 'doc_validation');
	}
	const bulk = await ask(server, 'POST', `/${db}/_bulk_docs`, { json: { new_edits: false, docs: [{ _id: 'doc', ...json }] } });
	assert.ok(bulk.status === 400 || bulk.json[0].error, bulk.text);
	assert.equal((await ask(server, 'GET', `/${db}`)).json.doc_count, 0);
});
