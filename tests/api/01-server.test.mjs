// The server itself: what it says of itself, signing in, ending, and what a second one does.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startDivand, tempDir } from '../lib/divand.mjs';
import { ask, assertError } from './client.mjs';

let server;
before(async () => (server = await startDivand()));
after(() => server.stop());

test('GET / greets as CouchDB does', async () => {
	const { status, headers, json } = await ask(server, 'GET', '/', { auth: null });
	assert.equal(status, 200);
	assert.equal(headers['content-type'], 'application/json');
	assert.equal(json.couchdb, 'Welcome');
	assert.match(json.version, /^3\./);
	assert.match(json.uuid, /^[0-9a-f]{32}$/);
});

test('without credentials only the harmless is answered', async () => {
	for (const path of ['/_up', '/_uuids', '/_session']) assert.equal((await ask(server, 'GET', path, { auth: null })).status, 200, path);
	for (const [method, path] of [['GET', '/_all_dbs'], ['PUT', '/x'], ['DELETE', '/x'], ['GET', '/_active_tasks'], ['GET', '/_node/_local/_config']]) {
		assertError(await ask(server, method, path, { auth: null }), 401, 'unauthorized');
	}
	assertError(await ask(server, 'GET', '/missing', { auth: null }), 404, 'not_found');
});

test('a wrong password is refused', async () => {
	const auth = 'Basic ' + Buffer.from('admin:wrong').toString('base64');
	assertError(await ask(server, 'GET', '/_all_dbs', { auth }), 401, 'unauthorized', 'Name or password is incorrect.');
	assertError(await ask(server, 'POST', '/_session', { auth: null, json: { name: 'admin', password: 'wrong' } }), 401, 'unauthorized');
	assertError(await ask(server, 'GET', '/_all_dbs', { auth: 'Basic !!!' }), [400, 401]);
});

test('a session cookie stands for the password until it is given back', async () => {
	const signedIn = await ask(server, 'POST', '/_session', { auth: null, json: { name: 'admin', password: 'adm' } });
	assert.equal(signedIn.status, 200);
	assert.deepEqual(signedIn.json, { ok: true, name: 'admin', roles: ['_admin'] });
	const [cookie] = signedIn.headers['set-cookie'];
	assert.match(cookie, /^AuthSession=[^;]+;.*HttpOnly/);
	const headers = { Cookie: cookie.split(';')[0] };
	assert.equal((await ask(server, 'GET', '/_all_dbs', { auth: null, headers })).status, 200);
	assert.equal((await ask(server, 'GET', '/_session', { auth: null, headers })).json.userCtx.name, 'admin');
	// Not the last character: some of its bits stand for nothing.
	const forged = { Cookie: headers.Cookie.replace(/.(?=....$)/, (c) => (c === 'A' ? 'B' : 'A')) };
	assertError(await ask(server, 'GET', '/_all_dbs', { auth: null, headers: forged }), [400, 401]);
	const out = await ask(server, 'DELETE', '/_session', { auth: null, headers });
	assert.match(out.headers['set-cookie'][0], /^AuthSession=;/);
});

test('_uuids gives as many different ones as asked for', async () => {
	const { json } = await ask(server, 'GET', '/_uuids?count=50');
	assert.equal(new Set(json.uuids).size, 50);
	assert.ok(json.uuids.every((u) => /^[0-9a-f]{32}$/.test(u)));
});

test('a second server on the same data or the same port ends and says why', async () => {
	await assert.rejects(startDivand({ dataDir: server.dataDir }), (e) => {
		assert.ok(e.code > 0, `exit status ${e.code}`);
		assert.match(e.stderr, /data|lock|already|another/i);
		return true;
	});
	await assert.rejects(startDivand({ port: server.port }), (e) => {
		assert.ok(e.code > 0, `exit status ${e.code}`);
		assert.match(e.stderr, /port|address|in use|listen/i);
		return true;
	});
	assert.equal((await ask(server, 'GET', '/_up')).status, 200);
});

test('SIGTERM ends it with status 0, and what was written is there afterwards', async () => {
	const other = await startDivand({ dataDir: tempDir() });
	await ask(other, 'PUT', '/db');
	const { json } = await ask(other, 'PUT', '/db/a', { json: { n: 1 } });
	const { uuid } = (await ask(other, 'GET', '/')).json;
	await other.stop();
	await other.restart();
	assert.equal((await ask(other, 'GET', '/db/a')).json._rev, json.rev);
	assert.equal((await ask(other, 'GET', '/')).json.uuid, uuid);
	await other.stop();
});

test('without an administrator nobody administers', async () => {
	const other = await startDivand({ admin: null }).catch((e) => e);
	if (other instanceof Error) return; // it may also refuse to start
	for (const [method, path] of [['GET', '/_all_dbs'], ['PUT', '/db']]) assertError(await ask(other, method, path), 401);
	await other.stop();
});
