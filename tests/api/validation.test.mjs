// Who may write what: the security object, its default, and validate_doc_update while it comes and goes.
import assert from 'node:assert/strict';
import http from 'node:http';
import { after, before, test } from 'node:test';
import { startDivand } from '../lib/divand.mjs';
import { ask, assertError, newDb } from './client.mjs';

const VALIDATOR = { validate_doc_update: 'function(n, o, user, sec) { if (n.bad) throw({forbidden: "bad"}); if (sec.closed) throw({unauthorized: "closed"}); }' };
let server;
let ann;

before(async () => {
	server = await startDivand({ config: { chttpd_auth: { iterations: '1000' } } });
	await ask(server, 'PUT', '/_users');
	const { status } = await ask(server, 'PUT', '/_users/org.couchdb.user:ann', { json: { name: 'ann', type: 'user', roles: [], password: 'pw' } });
	assert.equal(status, 201);
	ann = 'Basic ' + Buffer.from('ann:pw').toString('base64');
});
after(() => server.stop());

test('couchdb/default_security holds at once, for databases that are made from then on', async () => {
	const ADMIN_ONLY = { members: { roles: ['_admin'] }, admins: { roles: ['_admin'] } };
	const put = async (word) => assert.equal((await ask(server, 'PUT', '/_node/_local/_config/couchdb/default_security', { json: word })).status, 200);
	const security = async (db) => (await ask(server, 'GET', `/${db}/_security`)).json;
	const closed = await newDb(server);

	assert.deepEqual(await security(closed), ADMIN_ONLY);
	for (const word of ['everyone', 'admin_local']) {
		await put(word);
		const open = await newDb(server);
		assert.deepEqual(await security(open), {});
		assert.equal((await ask(server, 'PUT', `/${open}/a`, { json: {}, auth: null })).status, 201);
		assert.deepEqual(await security(closed), ADMIN_ONLY);
		assertError(await ask(server, 'GET', `/${closed}`, { auth: null }), 401, 'unauthorized', 'You are not authorized to access this db.');
		await put('admin_only');
		assert.deepEqual(await security(open), {});
		assert.deepEqual(await security(await newDb(server)), ADMIN_ONLY);
	}
});

test('who may not set something is told so before the body is read', async () => {
	const db = await newDb(server);
	const announced = (path, auth) => new Promise((resolve, reject) => {
		const req = http.request({ host: '127.0.0.1', port: server.port, method: 'PUT', path, agent: false, headers: { 'content-length': 1 << 20, 'content-type': 'application/json', ...(auth ? { authorization: auth } : {}) } });
		req.on('error', reject);
		req.on('response', (res) => {
			res.resume();
			res.on('end', () => {
				req.destroy();
				resolve(res.statusCode);
			});
		});
		req.write(Buffer.alloc(1 << 19, ' '));
	});

	assert.equal((await ask(server, 'PUT', `/${db}/_security`, { json: { members: {} } })).status, 200);
	for (const what of ['_security', '_revs_limit']) {
		assert.equal(await announced(`/${db}/${what}`, ann), 403);
		assert.equal(await announced(`/${db}/${what}`, null), 401);
		for (const [auth, status, error] of [[ann, 403, 'forbidden'], [null, 401, 'unauthorized']])
			assertError(await ask(server, 'PUT', `/${db}/${what}`, { body: 'no JSON', type: 'application/json', auth }), status, error, 'You are not a db or server admin.');
	}
	// An administrator's body is another matter.
	assertError(await ask(server, 'PUT', `/${db}/_security`, { body: 'no JSON', type: 'application/json' }), 400, 'bad_request');
	assertError(await ask(server, 'PUT', '/_users/_security', { body: 'no JSON', type: 'application/json' }), 403, 'forbidden', "You can't edit the security object of the user database.");
});

test('the security object has its shape', async () => {
	const db = await newDb(server);

	for (const json of [[], 5, 'x', null, { admins: [] }, { admins: 'x' }, { members: 5 }, { members: { names: 'x' } }, { admins: { roles: {} } }, { members: { roles: [5] } }, { readers: { names: [null] } }])
		assertError(await ask(server, 'PUT', `/${db}/_security`, { json }), 400, 'bad_request');
	assert.deepEqual((await ask(server, 'GET', `/${db}/_security`)).json, { members: { roles: ['_admin'] }, admins: { roles: ['_admin'] } });
	for (const json of [{}, { other: [{ x: null }] }, { admins: {}, members: { names: [], more: 1 } }, { cloudant: {}, readers: { names: ['ann'] } }]) {
		assert.equal((await ask(server, 'PUT', `/${db}/_security`, { json })).status, 200);
		assert.deepEqual((await ask(server, 'GET', `/${db}/_security`)).json, json);
	}
	assert.equal((await ask(server, 'GET', `/${db}`, { auth: ann })).status, 200);
	assert.equal((await ask(server, 'GET', `/${db}`, { auth: null })).status, 401);
});

test('members write documents and _local ones; design documents are for administrators, however they come', async () => {
	const db = await newDb(server);
	const refused = [403, 'forbidden', 'You are not a db or server admin.'];

	await ask(server, 'PUT', `/${db}/_security`, { json: { members: { names: ['ann'] } } });
	const { rev } = (await ask(server, 'PUT', `/${db}/_design/d`, { json: VALIDATOR })).json;
	assert.equal((await ask(server, 'PUT', `/${db}/a`, { json: {}, auth: ann })).status, 201);
	assert.equal((await ask(server, 'PUT', `/${db}/_local/l`, { json: { bad: 1 }, auth: ann })).status, 201);
	assertError(await ask(server, 'PUT', `/${db}/_design/e`, { json: {}, auth: ann }), ...refused);
	assertError(await ask(server, 'DELETE', `/${db}/_design/d?rev=${rev}`, { auth: ann }), ...refused);
	assertError(await ask(server, 'PUT', `/${db}/_design/d/att?rev=${rev}`, { body: 'x', type: 'text/plain', auth: ann }), ...refused);
	assertError(await ask(server, 'PUT', `/${db}/_design/new/att`, { body: 'x', type: 'text/plain', auth: ann }), ...refused);
	assertError(await ask(server, 'COPY', `/${db}/a`, { headers: { destination: '_design/e' }, auth: ann }), ...refused);
	assertError(await ask(server, 'POST', `/${db}`, { json: { _id: '_design/e' }, auth: ann }), ...refused);
	for (const new_edits of [true, false]) {
		const [answer] = (await ask(server, 'POST', `/${db}/_bulk_docs`, { json: { new_edits, docs: [{ _id: '_design/e', ...(new_edits ? {} : { _rev: '1-e' }) }] }, auth: ann })).json;
		assert.deepEqual([answer.error, answer.reason, answer.rev], ['forbidden', refused[2], new_edits ? undefined : '1-e']);
	}
	assert.equal((await ask(server, 'GET', `/${db}/_design/e`)).status, 404);
	assert.equal((await ask(server, 'GET', `/${db}/_design/d`)).json._rev, rev);
});

test('what began after a validator was stored, or the security object was, is judged by them', async () => {
	const db = await newDb(server);
	let on = false; // the validator is stored for sure
	let closed = false;
	let certain = 0; // a change of either is under way if it is odd
	let ended = false;
	const seen = { taken: 0, refused: 0, closed: 0 };

	async function write(who) {
		for (let n = 0; !ended; n++) {
			const began = certain;
			const [wasOn, wasClosed] = [on, closed];
			const docs = [{ _id: `${who}-${n}`, bad: 1 }, { _id: `${who}-${n}-good` }];
			const [bad, good] = (await ask(server, 'POST', `/${db}/_bulk_docs`, { json: { docs } })).json;
			seen[bad.ok ? 'taken' : bad.error === 'forbidden' ? 'refused' : 'closed']++;
			if (began % 2 === 1 || began !== certain) continue; // it changed meanwhile
			assert.deepEqual([bad.error, good.error], wasOn ? ['forbidden', wasClosed ? 'unauthorized' : undefined] : [undefined, undefined], JSON.stringify([bad, good]));
		}
	}
	async function change() {
		for (let n = 0; n < 25; n++) {
			certain++;
			const { rev } = (await ask(server, 'PUT', `/${db}/_design/v`, { json: VALIDATOR })).json;
			on = true;
			certain++;
			for (const to of [true, false]) {
				certain++;
				assert.equal((await ask(server, 'PUT', `/${db}/_security`, { json: { closed: to } })).status, 200);
				closed = to;
				certain++;
				assertError(await ask(server, 'PUT', `/${db}/bad`, { json: { bad: 1 } }), 403, 'forbidden', 'bad');
			}
			certain++;
			assert.equal((await ask(server, 'DELETE', `/${db}/_design/v?rev=${rev}`)).status, 200);
			on = false;
			certain++;
			assert.equal((await ask(server, 'PUT', `/${db}/free-${n}`, { json: { bad: 1 } })).status, 201);
		}
		ended = true;
	}
	await Promise.all([change(), write('x'), write('y'), write('z')]);
	assert.ok(seen.taken > 0 && seen.refused > 0, JSON.stringify(seen));
	// What was refused is not there, what was taken is.
	const { total_rows } = (await ask(server, 'GET', `/${db}/_all_docs?limit=0`)).json;
	assert.ok(total_rows >= seen.taken + 25, `${total_rows} ${JSON.stringify(seen)}`);
	assert.equal((await ask(server, 'GET', `/${db}/bad`)).status, 404);
});
