// A disk that is full while an index is built or compacted: who asks is told so, everything else goes on, and once there is room the index
// is what it would have been.  The disk is full at a file size that the process may not pass (prlimit).
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { after, before, test } from 'node:test';
import { startDivand } from '../lib/divand.mjs';
import { ask, newDb } from './client.mjs';

const N = 2000;
const ROW = 2000;
/** Less than the index takes, more than the database does. */
const LIMIT = 2 << 20;
let server, db;

function limit(bytes) {
	const { status, stderr } = spawnSync('prlimit', ['--pid', String(server.pid), `--fsize=${bytes}:unlimited`]);
	assert.equal(status, 0, String(stderr));
}

before(async () => {
	server = await startDivand();
	db = await newDb(server, 'full');
	const docs = Array.from({ length: N }, (_, n) => ({ _id: `d${n}`, n }));
	docs.push({ _id: '_design/d', views: { large: { map: `function (doc) { emit(doc.n, "x".repeat(${ROW})); }`, reduce: '_count' } } });
	docs.push({ _id: '_design/small', views: { small: { map: 'function (doc) { emit(doc.n, 1); }', reduce: '_sum' } } });
	assert.equal((await ask(server, 'POST', `/${db}/_bulk_docs`, { json: { docs } })).status, 201);
});
after(() => server?.stop());

const view = (ddoc, name, params = '') => ask(server, 'GET', `/${db}/_design/${ddoc}/_view/${name}?${params}`);

test('an index that finds no room', async () => {
	limit(LIMIT);
	for (let i = 0; i < 3; i++) {
		const { status, json, text } = await view('d', 'large');
		assert.equal(status, 507, text);
		assert.ok(json.error && json.reason, text);
		// Others have room, or need none.
		assert.equal((await view('small', 'small')).json.rows[0].value, N);
		assert.equal((await ask(server, 'GET', `/${db}/d7`)).json.n, 7);
		assert.equal((await ask(server, 'GET', `/${db}/_design/d/_info`)).json.view_index.updater_running, false);
	}
	limit('unlimited');
	assert.equal((await view('d', 'large')).json.rows[0].value, N);
	const { rows } = (await view('d', 'large', 'reduce=false')).json;
	assert.deepEqual(rows.map((r) => [r.id, r.key, r.value.length]), Array.from({ length: N }, (_, n) => [`d${n}`, n, ROW]));
});

test('an update that finds no room leaves the rows of before', async () => {
	limit(LIMIT);
	const docs = Array.from({ length: 500 }, (_, n) => ({ _id: `e${n}`, n: n + N }));
	const before = (await ask(server, 'GET', `/${db}/_design/d/_info`)).json.view_index;
	assert.ok(before.sizes.file > LIMIT);
	assert.equal((await ask(server, 'POST', `/${db}/_bulk_docs`, { json: { docs } })).status, 201);
	assert.equal((await view('d', 'large')).status, 507);
	assert.equal((await view('d', 'large', 'update=false')).json.rows[0].value, N);
	// Nor is there any for a smaller file; the old one stays.
	assert.equal((await ask(server, 'POST', `/${db}/_compact/d`, { json: {} })).status, 202);
	while ((await ask(server, 'GET', `/${db}/_design/d/_info`)).json.view_index.compact_running);
	assert.equal((await view('d', 'large', 'update=false')).json.rows[0].value, N);
	limit('unlimited');
	assert.equal((await view('d', 'large')).json.rows[0].value, N + 500);
	await server.kill();
	await server.restart();
	assert.equal((await view('d', 'large')).json.rows[0].value, N + 500);
});
