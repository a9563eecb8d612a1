// Many databases with a view each, all queried at once: few divan-js, everybody is answered, and afterwards all is as before.
// VIEW_DATABASES: how many (120).
import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { test } from 'node:test';
import { startDivand, tempDir } from '../lib/divand.mjs';
import { anonKiB } from '../lib/process.mjs';
import { until } from '../lib/until.mjs';
import { ask } from './client.mjs';

const COUNT = Number(process.env.VIEW_DATABASES ?? 120);
const LIMIT = 4;
/** What RssAnon may have grown by in the end. */
const MORE = (24 << 20) + COUNT * (40 << 10);

/** The children of a process. */
function children(pid) {
	return fs.readdirSync('/proc').filter((name) => {
		if (!/^\d+$/.test(name)) return false;
		try {
			const stat = fs.readFileSync(`/proc/${name}/stat`, 'utf8');
			return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]) === pid;
		} catch {
			return false; // it has just ended
		}
	});
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A folder of databases that are alike: one is made, and its file copied. */
async function prepare() {
	const dataDir = tempDir('divan-views-scale');
	const server = await startDivand({ dataDir });
	const docs = Array.from({ length: 20 }, (_, n) => ({ _id: `doc${n}`, n }));
	assert.equal((await ask(server, 'PUT', '/db0')).status, 201);
	docs.push({ _id: '_design/d', views: { v: { map: 'function (doc) { emit(doc.n, doc.n); }', reduce: 'function (keys, values) { return sum(values); }' } } });
	assert.equal((await ask(server, 'POST', '/db0/_bulk_docs', { json: { docs } })).status, 201);
	await server.stop();
	for (let i = 1; i < COUNT; i++) fs.copyFileSync(path.join(dataDir, 'db0.divan'), path.join(dataDir, `db${i}.divan`));
	return dataDir;
}

test(`${COUNT} databases with a view each`, { timeout: 600000 }, async (t) => {
	const dataDir = await prepare();
	const server = await startDivand({ dataDir, config: { query_server_config: { os_process_limit: String(LIMIT), os_process_idle_limit: '1' } } });
	t.after(() => server.stop());
	const agent = new http.Agent({ keepAlive: true, maxSockets: 16 });
	const names = Array.from({ length: COUNT }, (_, i) => `db${i}`);
	// Databases are opened first: what that takes is no matter of views.
	await Promise.all(names.map(async (db) => assert.equal((await ask(server, 'GET', `/${db}`, { agent })).json.doc_count, 21, db)));
	const before = anonKiB(server) << 10;
	assert.deepEqual(children(server.pid), []);

	const all = new http.Agent({ keepAlive: true, maxSockets: COUNT });
	let left = COUNT, most = 0, others = 0;
	const asked = names.map(async (db, i) => {
		const answer = await ask(server, 'GET', `/${db}/_design/d/_view/v${i % 2 ? '?reduce=false&limit=1&skip=19' : ''}`, { agent: all });
		assert.equal(answer.status, 200, `${db}: ${answer.text}`);
		assert.equal(answer.json.rows[0].value, i % 2 ? 19 : 190, db);
		left--;
	});
	const finished = Promise.all(asked);
	finished.catch(() => {});
	while (left > 0) {
		most = Math.max(most, children(server.pid).length);
		// Others are answered meanwhile.
		assert.equal((await ask(server, 'GET', '/db0/doc1', { agent })).json.n, 1);
		others++;
		if (await Promise.race([finished.then(() => true, () => true), sleep(100)])) break;
	}
	await finished;
	assert.ok(most > 0 && most <= LIMIT, `${most} children at a time`);
	const busy = anonKiB(server) << 10;
	for (const one of [all, agent]) one.destroy();
	await until(() => children(server.pid).length === 0);
	const after = anonKiB(server) << 10;
	console.log(`  ${COUNT} indexes built, at most ${most} divan-js at a time, ${others} other requests meanwhile; RssAnon ${before >> 20} MiB before, ${busy >> 20} MiB then, ${after >> 20} MiB in the end`);
	assert.ok(after < before + MORE, `RssAnon ${before} before, ${after} in the end`);
	// They come again when they are needed.
	assert.equal((await ask(server, 'PUT', '/db7/more', { json: { n: 1000 } })).status, 201);
	assert.equal((await ask(server, 'GET', '/db7/_design/d/_view/v?reduce=true')).json.rows[0].value, 1190);
	assert.equal(children(server.pid).length, 1);
});
