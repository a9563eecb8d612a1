// The file system of a running server turns read-only, its quota is used up, its device fails, and it comes back: writes get a clear error, reads
// go on, and with the cause gone all goes on without a restart.  lib/disk_shim.c makes the file system so; EROFS, EDQUOT, EIO are Linux's.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { DIVAN, preloaded, startDivand, tempDir } from '../lib/divand.mjs';
import { until } from '../lib/until.mjs';
import { ask, assertError, openFeed } from './client.mjs';

const [WRITES, SYNCS, OPENS, META, FOLDERS, ALL] = [1, 2, 4, 32, 64, 63];
const [EIO, EROFS, EDQUOT] = [5, 30, 122];
const [NAMES, GONE] = [8, 16];

const dataDir = tempDir('divan-readonly');
const file = path.join(tempDir('divan-fault'), 'fault');
let server;

/** From now on these calls fail so. */
const fault = (sorts, errno) => fs.writeFileSync(file, Uint32Array.of(sorts, errno), { flag: 'r+' });

const map = (name) => ({ views: { v: { map: `function (doc) { emit(doc.n, '${name}'); }` } } });
const kept = new Map(); // of database a: revisions by id, as they were acknowledged
async function put(id, json, status = 201) {
	const answer = await ask(server, 'PUT', `/a/${id}`, { json: { ...json, _rev: kept.get(id) } });
	assert.equal(answer.status, status, answer.text);
	kept.set(id, answer.json.rev);
}

before(async () => {
	fs.writeFileSync(file, Buffer.alloc(8));
	server = await startDivand({ dataDir, config: { chttpd_auth: { iterations: '10' } }, env: { ...preloaded('disk'), DISK_FAULT: file, DISK_ROOT: dataDir } });
	for (const db of ['a', 'b', 'cold']) assert.equal((await ask(server, 'PUT', `/${db}`)).status, 201);
	assert.equal((await ask(server, 'PUT', '/cold/doc', { json: { n: 1 } })).status, 201);
	await server.restart(); // so that it is closed
	for (let n = 0; n < 20; n++) await put(`d${n}`, { n, _attachments: n === 7 ? { file: { content_type: 'image/png', data: 'AAAA' } } : undefined });
	await put('_design/built', map('built'));
	await put('_design/other', map('other'));
	assert.equal((await ask(server, 'GET', '/a/_design/built/_view/v')).json.total_rows, 20);
	await ask(server, 'POST', '/_replicate', { json: { source: 'a', target: 'b', continuous: true } });
});
after(() => server?.kill());

/** Reads of all sorts. */
async function assertReads() {
	const { rows } = (await ask(server, 'GET', '/a/_all_docs')).json;
	assert.deepEqual(rows.map((r) => [r.id, r.value.rev]).sort(), [...kept].sort());
	assert.equal((await ask(server, 'GET', '/a/d7')).json.n, 7);
	assert.equal((await ask(server, 'GET', '/a/d7/file')).raw.length, 3);
	assert.equal((await ask(server, 'GET', '/a/_changes')).json.results.length, kept.size);
	assert.ok((await ask(server, 'GET', '/a/_design/built/_view/v?limit=1&update=false')).json.total_rows >= 20);
	assert.equal((await ask(server, 'POST', '/a/_find', { json: { selector: { n: 7 } } })).json.docs.length, 1);
	assert.equal((await ask(server, 'GET', '/_all_dbs')).status, 200);
}

const large = Buffer.alloc(3 << 20);
for (let i = 0; i < large.length; i += 4) large.writeUInt32LE(((i + 1) * 2654435761) >>> 0, i);
const noise = (n) => large.subarray(0, n);
const asks = () => ({
	document: ['PUT', '/a/new', { json: { n: 99 } }],
	edit: ['PUT', '/a/d3', { json: { n: 3, _rev: kept.get('d3') } }],
	deletion: ['DELETE', `/a/d3?rev=${kept.get('d3')}`, {}],
	bulk: ['POST', '/a/_bulk_docs', { json: { docs: [{ _id: 'x' }, { _id: 'y' }] } }],
	attachment: ['PUT', `/a/d3/file?rev=${kept.get('d3')}`, { body: noise(200000), type: 'image/png' }],
	'large attachment': ['PUT', `/a/d3/file?rev=${kept.get('d3')}`, { body: noise(3 << 20), type: 'image/png' }],
	local: ['PUT', '/a/_local/x', { json: {} }],
	security: ['PUT', '/a/_security', { json: { members: { names: ['x'] } } }],
	purge: ['POST', '/a/_purge', { json: { d3: [kept.get('d3')] } }],
	database: ['PUT', '/another', {}],
	'declared index': ['POST', '/a/_index', { json: { index: { fields: ['n'] } } }],
	view: ['GET', '/a/_design/other/_view/v', {}],
	replication: ['POST', '/_replicate', { json: { source: 'a', target: 'yet-another', create_target: true } }],
	account: ['PUT', '/_users/org.couchdb.user:no', { json: { name: 'no', password: 'pw', roles: [], type: 'user' } }],
	setting: ['PUT', '/_node/_local/_config/log/level', { json: 'debug' }],
});

/** Each write is refused with one of ${statuses} and a reason like ${reason}, and leaves nothing. */
async function assertRefuses(statuses, reason, but) {
	for (const [what, [method, url, options]] of Object.entries(asks())) {
		if (but.includes(what)) continue;
		const answer = await ask(server, method, url, options);
		if (answer.status === 201 && what === 'bulk') {
			assert.ok(answer.json.every((row) => row.error && !row.ok), `${what}: ${answer.text}`);
			continue;
		}
		assert.ok(statuses.includes(answer.status), `${what}: ${answer.status} ${answer.text}`);
		assertError(answer, statuses);
		assert.match(answer.json.reason, reason, `${what}: ${answer.text}`);
	}
	if (!but.includes('reads')) await assertReads();
}

/** Everything goes on, by itself. */
async function assertRecovers(feed, turn) {
	await put(`turn${turn}`, { turn });
	await feed.until((f) => f.lines.some((l) => l.id === `turn${turn}`));
	assert.equal((await ask(server, 'GET', '/a/_design/other/_view/v?limit=0')).json.total_rows, kept.size - 2);
	assert.equal((await ask(server, 'GET', '/a/_design/built/_view/v?limit=0')).json.total_rows, kept.size - 2);
	assert.equal((await ask(server, 'PUT', `/made${turn}`)).status, 201);
	assert.equal((await ask(server, 'GET', '/cold/doc')).json.n, 1);
	// Accounts are read by a handle that stays.
	const account = await ask(server, 'PUT', `/_users/org.couchdb.user:u${turn}`, { json: { name: `u${turn}`, password: 'pw', roles: [], type: 'user' } });
	assert.equal(account.status, 201, account.text);
	assert.equal((await ask(server, 'POST', '/_session', { auth: null, json: { name: `u${turn}`, password: 'pw' } })).status, 200);
	const big = noise(3 << 20);
	const attached = await ask(server, 'PUT', `/a/d3/file?rev=${kept.get('d3')}`, { body: big, type: 'image/png' });
	assert.equal(attached.status, 201, attached.text);
	kept.set('d3', attached.json.rev);
	assert.ok((await ask(server, 'GET', '/a/d3/file')).raw.equals(big));
	assert.equal((await ask(server, 'PUT', '/_node/_local/_config/log/level', { json: 'info' })).status, 200);
	assert.equal((await ask(server, 'POST', '/_replicate', { json: { source: 'a', target: `made${turn}` } })).json.ok, true);
	assert.equal((await ask(server, 'GET', `/made${turn}`)).json.doc_count, kept.size);
	// One that failed meanwhile waits half a minute before it begins again, and has not ended.
	const { jobs } = (await ask(server, 'GET', '/_scheduler/jobs')).json;
	assert.deepEqual(jobs.map((job) => [job.target.replace(/.*\/(?=.)/, '').replace('/', ''), 'started crashed added'.includes(job.history[0].type)]), [['b', true]]);
}

const cases = [
	['read-only', ALL, EROFS, [503], /read-only/],
	['without quota', WRITES | NAMES, EDQUOT, [507], /no space/],
	['whose device fails', WRITES | SYNCS, EIO, [500, 503], /./],
	['whose device fails at syncs', SYNCS, EIO, [500, 503], /./],
	['that says not whether a commit was made', META, EIO, [500, 503], /./],
	['that says not whether, and can then not be opened', META | OPENS, EIO, [500, 503], /./],
];
cases.forEach(([what, sorts, errno, statuses, reason], turn) => {
	test(`a file system ${what}, and back`, { timeout: 60000 }, async () => {
		const feed = openFeed(server, '/a/_changes?feed=continuous&since=now&heartbeat=50');
		await feed.started;
		fault(sorts, errno);
		await assertRefuses(statuses, reason, [turn > 0 && 'view', sorts === (META | OPENS) && 'reads', sorts & META && sorts !== ALL && 'setting']);
		const { blanks } = feed;
		await feed.until((f) => f.blanks > blanks + 1);
		fault(0, 0);
		await assertRecovers(feed, turn);
		feed.end();
		await assertReads();
	});
});

test('a compacted file whose new name may not last takes no writes until that is known', { timeout: 60000 }, async () => {
	const compacted = async (what) => {
		assert.equal((await ask(server, 'POST', `/a/_compact${what}`, { json: {} })).status, 202);
		await until(async () => !(await ask(server, 'GET', '/_active_tasks')).json.some((t) => /compaction/.test(t.type)));
	};
	fault(FOLDERS, EIO);
	await compacted('');
	await compacted('/built');
	assert.equal((await ask(server, 'PUT', '/a/refused', { json: {} })).status, 500);
	await assertReads();
	fault(0, 0);
	await put('taken', { n: 1 });
	assert.ok((await ask(server, 'GET', '/a/_design/built/_view/v?key=1')).json.rows.some((row) => row.id === 'taken'));
	await assertReads();
});

test('a database that cannot be removed goes on; one that is gone, and may come back, is gone for all', { timeout: 60000 }, async () => {
	for (const doc of ['', '/one']) assert.equal((await ask(server, 'PUT', `/held${doc}`, { json: {} })).status, 201);
	const feed = openFeed(server, '/held/_changes?feed=continuous&heartbeat=50');
	await feed.until((f) => f.lines.length === 1);
	fault(GONE, EROFS);
	assertError(await ask(server, 'DELETE', '/held'), 503);
	assert.equal((await ask(server, 'GET', '/held/one')).status, 200);
	assert.equal((await ask(server, 'PUT', '/held/two', { json: {} })).status, 201);
	await feed.until((f) => f.lines.length === 2);
	fault(FOLDERS, EIO);
	assertError(await ask(server, 'DELETE', '/held'), 500);
	assert.equal((await ask(server, 'GET', '/held')).status, 404);
	await feed.ended;
	fault(0, 0);
	assert.equal((await ask(server, 'PUT', '/held')).status, 201);
	assert.equal((await ask(server, 'GET', '/held')).json.doc_count, 0);
	assert.equal((await ask(server, 'DELETE', '/held')).status, 200);
});

test('a setting that may not last, since its folder cannot be synced, is refused and what it was; asked for again, it is synced', { timeout: 60000 }, async () => {
	const url = '/_node/_local/_config/log/level';
	const asked = async (method, status, json, headers) => assert.equal((await ask(server, method, url, { json, headers })).status, status);
	const is = async (value) => {
		assert.equal((await ask(server, 'GET', url)).json, value);
		assert.match(fs.readFileSync(path.join(dataDir, 'local.yaml'), 'utf8'), new RegExp(`"level": "${value}"`));
	};
	await is('info');
	fault(FOLDERS, EIO);
	await asked('PUT', 500, 'debug');
	await is('info');
	await asked('DELETE', 500);
	await is('info');
	await asked('PUT', 500, 'info'); // it is that, but may not last
	await asked('PUT', 200, 'debug', { 'X-Couch-Persist': 'false' }); // nobody asked that it do
	fault(FOLDERS, EROFS);
	await asked('PUT', 503, 'debug');
	assert.equal((await ask(server, 'POST', '/_node/_local/_config/_reload')).status, 200);
	await is('info');
	fault(0, 0);
	await asked('PUT', 200, 'debug');
	await is('debug');
	await server.restart();
	await is('debug');
	await asked('PUT', 200, 'info');
});

test('nothing is lost or damaged', { timeout: 60000 }, async () => {
	await server.restart();
	await assertReads();
	await server.stop();
	execFileSync(DIVAN, ['check', '--data', dataDir], { stdio: ['ignore', 'ignore', 'inherit'] });
	assert.deepEqual(fs.readdirSync(dataDir).filter((name) => /^\.(new|body)/.test(name)), []);
});
