// What a server needs runs out: descriptors, threads, room for views, indexes, copies and the log, a folder that may be written.  Requests get clear
// errors, what was acknowledged stays, nothing ends; with the cause gone all goes on without a restart.  (Documents on a full disk: diskfull.test.mjs.)
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { after, test } from 'node:test';
import { startDivand, tempDir } from '../lib/divand.mjs';
import { until } from '../lib/until.mjs';
import { ask, assertError, connect } from './client.mjs';

const servers = [];
after(() => Promise.all(servers.map((s) => s.kill())));
async function start(options) {
	const server = await startDivand(options);
	servers.push(server);
	return server;
}

/** Of the running server: the soft limit alone, so that it can be lifted again. */
const limit = (server, what, n, as = {}) => execFileSync('prlimit', ['--pid', String(server.pid), `--${what}=${n}:`], as);

/** Leaves it ${n} descriptors: the limit is one of their numbers, and some high ones may have been inherited. */
function leaveDescriptors(server, n) {
	const taken = new Set(fs.readdirSync(`/proc/${server.pid}/fd`).map(Number));
	let most = 0;
	for (let free = 0; free < n || taken.has(most); most++) if (!taken.has(most)) free++;
	limit(server, 'nofile', most);
}

/** A document can be written and read. */
async function assertServes(server, db) {
	const put = await ask(server, 'POST', `/${db}`, { json: { serves: true } });
	assert.equal(put.status, 201, put.text);
	assert.equal((await ask(server, 'GET', `/${db}/${put.json.id}`)).json.serves, true);
}

async function assertKept(server, kept) {
	for (const [db, ids] of kept) {
		const { rows } = (await ask(server, 'GET', `/${db}/_all_docs`)).json;
		assert.deepEqual(rows.map((r) => r.id).filter((id) => !id.startsWith('_')).sort(), [...ids].sort(), db);
	}
}

test('no descriptor is left: databases, views and connections', { timeout: 60000 }, async () => {
	const server = await start();
	const kept = new Map();
	const write = async (db, id) => {
		const answer = await ask(server, 'PUT', `/${db}/${id}`, { json: {} });
		if (answer.status === 201) kept.set(db, [...(kept.get(db) ?? []), id]);
		return answer;
	};
	for (let i = 0; i < 40; i++) {
		assert.equal((await ask(server, 'PUT', `/db${i}`)).status, 201);
		assert.equal((await write(`db${i}`, 'first')).status, 201);
	}
	await ask(server, 'PUT', '/db0/_design/v', { json: { views: { a: { map: 'function (doc) { emit(doc._id); }' } } } });
	await server.restart();

	// Room for some databases; the rest of them cannot be opened, nor made.
	leaveDescriptors(server, 20);
	let refused = 0;
	for (let i = 0; i < 40; i++) {
		const answer = await write(`db${i}`, 'second');
		if (answer.status === 201) continue;
		refused++;
		assertError(answer, 503, 'service_unavailable');
		assert.ok(answer.headers['retry-after'] > 0);
	}
	assert.ok(refused > 0);
	assertError(await ask(server, 'PUT', '/another'), 503);
	const view = await ask(server, 'GET', '/db0/_design/v/_view/a');
	if (view.status !== 200) assertError(view, 503);

	// And connections that come now wait: nobody is cut, nothing spins.
	const waiting = Array.from({ length: 100 }, () => {
		const c = connect(server.port);
		c.send('GET /_up HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
		return c;
	});
	limit(server, 'nofile', 4096);
	for (const text of await Promise.all(waiting.map((c) => c.closed))) assert.match(text, /^HTTP\/1\.1 200 OK/);

	for (let i = 0; i < 40; i++) {
		const answer = await write(`db${i}`, 'third');
		assert.equal(answer.status, 201, answer.text);
	}
	assert.equal((await ask(server, 'GET', '/db0/_design/v/_view/a')).json.total_rows, kept.get('db0').length);
	await assertKept(server, kept);
	console.log(`descriptors: ${refused} of 40 writes were refused`);
	await server.restart();
	await assertKept(server, kept);
});

test('no descriptor is left for the library that a replication loads', { timeout: 60000 }, async () => {
	const server = await start({ config: { replicator: { interval: 1000 } } });
	for (const db of ['a', 'b', '_replicator']) assert.ok([201, 412].includes((await ask(server, 'PUT', `/${db}`)).status));
	await server.restart();
	const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
	assert.equal((await ask(server, 'GET', '/_replicator/none', { agent })).status, 404);

	leaveDescriptors(server, 0);
	const source = { url: `${server.url}/a`, auth: { basic: { username: 'admin', password: 'adm' } } };
	const put = () => ask(server, 'PUT', '/_replicator/pull', { json: { source, target: 'b' }, agent });
	assertError(await put(), 503, 'service_unavailable');
	limit(server, 'nofile', 4096);
	assert.equal((await put()).status, 201);
	await until(async () => (await ask(server, 'GET', '/_replicator/pull')).json._replication_state === 'completed', server.stderr);
	agent.destroy();
});

test('nothing can be written: indexes, replication, copies, the log', { timeout: 60000 }, async () => {
	const file = path.join(tempDir('divan-log'), 'divan.log');
	const server = await start({ config: { log: { writer: 'file', file, level: 'info' } } });
	const docs = Array.from({ length: 500 }, (_, i) => ({ _id: `d${i}`, n: i, text: String(Math.sin(i)).repeat(40) }));
	for (const db of ['a', 'b']) assert.equal((await ask(server, 'PUT', `/${db}`)).status, 201);
	assert.equal((await ask(server, 'POST', '/a/_bulk_docs', { json: { docs } })).status, 201);
	await ask(server, 'PUT', '/a/_design/v', { json: { views: { a: { map: 'function (doc) { emit(doc.n, doc.text); }' } } } });

	limit(server, 'fsize', 4096);
	for (const [method, url, json] of [
		['PUT', '/c'], ['POST', '/a', { _id: 'x', text: 'x'.repeat(200000) }], ['GET', '/a/_design/v/_view/a'],
		['POST', '/_replicate', { source: 'a', target: 'b' }],
	]) {
		const answer = await ask(server, method, url, { json });
		assertError(answer, [500, 503, 507]);
		assert.ok(answer.json.error !== 'unknown_error', `${url}: ${answer.text}`);
	}
	assert.equal((await ask(server, 'GET', '/a/d7')).json.n, 7);
	assert.equal((await ask(server, 'GET', '/a')).json.doc_count, 501);

	limit(server, 'fsize', 'unlimited');
	assert.equal((await ask(server, 'PUT', '/c')).status, 201);
	assert.equal((await ask(server, 'GET', '/a/_design/v/_view/a')).json.total_rows, 500);
	assert.equal((await ask(server, 'POST', '/_replicate', { json: { source: 'a', target: 'b' } })).json.ok, true);
	assert.equal((await ask(server, 'GET', '/b')).json.doc_count, 501);
	await assertServes(server, 'a');
	await ask(server, 'GET', '/a/the-log-goes-on');
	await server.stop();
	assert.match(fs.readFileSync(file, 'utf8'), /the-log-goes-on/);
});

test('a file system that may not be written: at the start, and from then on', { timeout: 60000 }, async (t) => {
	const dataDir = tempDir('divan-readonly');
	try {
		execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64m', 'tmpfs', dataDir], { stdio: 'ignore' });
	} catch {
		t.skip('no right to mount one');
		return;
	}
	let server;
	try {
		execFileSync('mount', ['-o', 'remount,ro', dataDir]);
		await assert.rejects(start({ dataDir }), (e) => {
			assert.equal(e.signal, null, e.stderr);
			assert.match(e.stderr, /read-only|Read-only/i);
			return true;
		});
		execFileSync('mount', ['-o', 'remount,rw', dataDir]);
		server = await start({ dataDir });
		assert.equal((await ask(server, 'PUT', '/a')).status, 201);
		await assertServes(server, 'a');
		await server.kill();
		execFileSync('mount', ['-o', 'remount,ro', dataDir]);
		await assert.rejects(start({ dataDir }));
		execFileSync('mount', ['-o', 'remount,rw', dataDir]);
		await server.restart();
		await assertServes(server, 'a');
		assert.equal((await ask(server, 'GET', '/a')).json.doc_count, 2);
	} finally {
		await server?.kill();
		execFileSync('umount', [dataDir]);
	}
});

test('no thread is left', { timeout: 30000 }, async () => {
	// The limit counts all of a user's processes, and does not bind root: it is somebody's who has none.
	const [uid, gid] = process.getuid() === 0 ? [54321, 54321] : [process.getuid(), process.getgid()];
	const dataDir = tempDir();
	fs.chownSync(dataDir, uid, gid);
	const server = await start({ dataDir, args: ['--user', String(uid)] });
	assert.equal((await ask(server, 'PUT', '/a')).status, 201);
	const most = execFileSync('prlimit', ['--nproc', '--output=HARD', '--noheadings'], { encoding: 'utf8' }).trim();
	limit(server, 'nproc', 1, { uid, gid });
	await assertServes(server, 'a');
	const ddoc = { views: { a: { map: 'function (doc) { emit(doc._id); }' } } };
	const put = () => ask(server, 'PUT', '/a/_design/v', { json: ddoc });
	assertError(await put(), [503]); // what it defines is compiled by a process
	limit(server, 'nproc', most, { uid, gid });
	assert.equal((await put()).status, 201);
	assert.equal((await ask(server, 'GET', '/a/_design/v/_view/a')).json.total_rows, 1);
	await server.stop();
});
