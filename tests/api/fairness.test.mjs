// What one user does with all their might leaves the others' logins alone.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { startDivand } from '../lib/divand.mjs';
import { ask, newDb } from './client.mjs';

let server;
before(async () => (server = await startDivand({ config: { chttpd_auth: { iterations: '100000' }, query_server_config: { os_process_limit: '1' } } })));
after(() => server?.stop());

const basic = (name, password) => 'Basic ' + Buffer.from(`${name}:${password}`).toString('base64');
const putUser = (name, password) => ask(server, 'PUT', `/_users/org.couchdb.user:${name}`, { json: { name, type: 'user', roles: [], password } });

async function until(condition) {
	while (!condition()) await sleep(5);
}

test('nobody who logs in, signs up or writes without validators waits for functions that loop', { timeout: 60000 }, async () => {
	const db = await newDb(server);
	await ask(server, 'PUT', `/${db}/_design/d`, { json: { shows: { loop: 'function() { log("begun"); for (;;); }' } } });
	assert.equal((await putUser('ann', 'pw')).status, 201);
	const ended = [];
	const shows = [1, 2, 3, 4].map(() => ask(server, 'GET', `/${db}/_design/d/_show/loop`).then((r) => ended.push(r.status)));
	await until(() => server.stderr().includes(': begun'));
	for (let i = 0; i < 3; i++) assert.equal((await ask(server, 'GET', '/_session', { auth: basic('ann', `wrong${i}`) })).status, 401);
	assert.equal((await ask(server, 'GET', '/_session', { auth: basic('ann', 'pw') })).json.userCtx.name, 'ann');
	assert.equal((await putUser('bob', 'pw')).status, 201);
	const other = await newDb(server);
	assert.equal((await ask(server, 'PUT', `/${other}/doc`, { json: {} })).status, 201);
	assert.deepEqual(ended, [], 'all that is quicker than the functions, which end when their time is up');
	await Promise.all(shows);
});

test('a request full of new accounts keeps neither logins nor another account waiting', { timeout: 60000 }, async () => {
	const docs = Array.from({ length: 100 }, (_, i) => ({ _id: `org.couchdb.user:many${i}`, name: `many${i}`, type: 'user', roles: [], password: 'pw' }));
	let over = false;
	const bulk = ask(server, 'POST', '/_users/_bulk_docs', { json: { docs } }).then((r) => {
		over = true;
		return r;
	});
	assert.equal((await putUser('cid', 'pw')).status, 201);
	assert.equal((await ask(server, 'GET', '/_session', { auth: basic('cid', 'pw') })).json.userCtx.name, 'cid');
	assert.equal(over, false);
	const { json } = await bulk;
	assert.equal(json.filter((row) => row.ok).length, docs.length);
	assert.equal((await ask(server, 'GET', '/_session', { auth: basic('many99', 'pw') })).json.userCtx.name, 'many99');
});
