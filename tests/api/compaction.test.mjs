// Compaction while the database is in use: what it gives back, what it must not lose, how it is seen, and that it begins by itself.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import crypto from 'node:crypto';
import fs from 'node:fs';
import http from 'node:http';
import { after, test } from 'node:test';
import { DIVAN, startDivand } from '../lib/divand.mjs';
import { until } from '../lib/until.mjs';
import { ask } from './client.mjs';

const agent = new http.Agent({ keepAlive: true, maxSockets: 16 });
const noise = (bytes) => crypto.randomBytes(bytes);
const text = (bytes = 300) => noise(bytes).toString('hex');

let running;
after(() => {
	agent.destroy();
	return running?.kill();
});

const call = (method, at, options = {}) => ask(running, method, at, { agent, ...options });
const info = async (db) => (await call('GET', `/${db}`)).json;

/** A database and what it should hold: id -> {rev, text, att}. */
class Content {
	constructor(db) {
		this.db = db;
		this.docs = new Map();
	}
	async bulk(docs) {
		const { status, json } = await call('POST', `/${this.db}/_bulk_docs`, { json: { docs } });
		assert.equal(status, 201);
		json.forEach((row, i) => {
			assert.ok(row.ok, JSON.stringify(row));
			if (docs[i]._deleted) this.docs.delete(row.id);
			else this.docs.set(row.id, { ...this.docs.get(row.id), rev: row.rev, text: docs[i].text });
		});
	}
	async fill(n, bytes) {
		for (let at = 0; at < n; at += 500) await this.bulk(Array.from({ length: Math.min(500, n - at) }, (_, i) => ({ _id: `doc-${at + i}`, text: text(bytes) })));
	}
	async attach(id, bytes) {
		const doc = this.docs.get(id);
		const answer = await call('PUT', `/${this.db}/${id}/file?rev=${doc.rev}`, { body: bytes, type: 'image/png' });
		assert.equal(answer.status, 201, answer.text);
		this.docs.set(id, { ...doc, rev: answer.json.rev, att: bytes });
	}
	async put(id, old) {
		const doc = { text: text(), ...(old ? { _rev: old.rev, ...(old.att ? { _attachments: { file: { stub: true } } } : {}) } : {}) };
		const answer = await call('PUT', `/${this.db}/${id}`, { json: doc });
		assert.equal(answer.status, 201, answer.text);
		this.docs.set(id, { ...old, rev: answer.json.rev, text: doc.text });
	}
	/** Delete those that ${of} picks. */
	async remove(of) {
		const gone = [...this.docs].filter(([id]) => of(id)).map(([_id, { rev }]) => ({ _id, _rev: rev, _deleted: true }));
		while (gone.length) await this.bulk(gone.splice(0, 400));
	}
	async check() {
		const { json } = await call('GET', `/${this.db}/_all_docs?include_docs=true`);
		assert.equal(json.total_rows, this.docs.size);
		for (const { id, doc } of json.rows) {
			const want = this.docs.get(id);
			assert.equal(doc._rev, want?.rev, id);
			assert.equal(doc.text, want.text, id);
			assert.equal(Boolean(doc._attachments?.file), Boolean(want.att), id);
		}
		for (const [id, { att }] of this.docs) {
			if (!att) continue;
			const { raw } = await call('GET', `/${this.db}/${id}/file`);
			assert.ok(raw.equals(att), `${id}/file`);
		}
	}
}

function assertTask(task, db) {
	assert.equal(task.type, 'database_compaction');
	assert.equal(task.database, db);
	assert.match(task.node, /@/);
	assert.match(task.pid, /^<[\d.]+>$/);
	assert.equal(typeof task.process_status, 'string');
	assert.match(task.phase, /^document_(trim|copy)$/);
	for (const name of ['changes_done', 'total_changes', 'progress', 'started_on', 'updated_on']) assert.ok(Number.isInteger(task[name]), name);
	assert.ok(task.changes_done <= task.total_changes && task.progress >= 0 && task.progress <= 100, JSON.stringify(task));
	assert.ok(task.started_on > 1.5e9 && task.updated_on >= task.started_on, JSON.stringify(task));
}

/** Start a compaction and wait for its end, going on with ${meanwhile}; the tasks that were seen. */
async function compact(db, meanwhile) {
	const tasks = [];
	assert.equal((await call('POST', `/${db}/_compact`, { json: {} })).status, 202);
	do {
		tasks.push(...(await call('GET', '/_active_tasks')).json);
		await meanwhile?.();
	} while ((await info(db)).compact_running);
	return tasks;
}

test('half of a database goes while it is read and written, and the file shrinks to what is left', { timeout: 120000 }, async () => {
	running = await startDivand({ config: { smoosh: { db_channels: '' } } });
	const content = new Content('online');
	assert.equal((await call('PUT', '/online')).status, 201);
	await content.fill(4000);
	for (let i = 0; i < 4000; i += 20) await content.attach(`doc-${i}`, noise(20000 + i * 10));

	let stop = false;
	let reads = 0;
	const writer = async (name) => {
		const own = [];
		while (!stop) {
			if (own.length < 50) own.push(`${name}-${own.length}`);
			const id = own[crypto.randomInt(own.length)];
			await content.put(id, content.docs.get(id));
		}
	};
	const reader = async () => {
		while (!stop) {
			const id = stay[crypto.randomInt(stay.length)];
			const { status, json } = await call('GET', `/online/${id}`);
			assert.deepEqual([status, json.text], [200, content.docs.get(id).text], id);
			reads++;
		}
	};
	const feed = async () => {
		let since = 0;
		while (!stop) {
			const { json } = await call('GET', `/online/_changes?since=${since}&limit=200`);
			assert.ok(json.results.every((row) => row.changes.length === 1));
			since = json.results.length ? json.last_seq : 0;
		}
	};
	const goes = (id) => /^doc-\d*[13579]$/.test(id) || /^doc-\d*[02468]00$/.test(id);
	const stay = [...content.docs.keys()].filter((id) => !goes(id));
	const load = [writer('a'), writer('b'), writer('c'), reader(), reader(), feed()];
	await content.remove(goes);
	const before = (await info('online')).sizes.file;
	const tasks = await compact('online', () => content.put('meanwhile', content.docs.get('meanwhile')));
	await compact('online', () => content.put('meanwhile', content.docs.get('meanwhile')));
	const { sizes } = await info('online');
	stop = true;
	await Promise.all(load);
	assert.ok(reads > 0);
	tasks.forEach((task) => assertTask(task, 'online'));
	assert.ok(tasks.length > 0, 'no compaction was seen in _active_tasks');
	assert.deepEqual((await call('GET', '/_active_tasks')).json, []);

	const fresh = (await call('GET', '/online/_copy')).raw.length;
	assert.ok(sizes.file < before, `${before} bytes became ${sizes.file}`);
	assert.ok(sizes.file <= 1.3 * fresh, `${sizes.file} bytes, of which a copy takes ${fresh}`);
	await content.check();
	await running.restart();
	await content.check();
	await running.stop();
	assert.deepEqual(fs.readdirSync(running.dataDir).filter((name) => name.startsWith('.tmp-')), []);
	execFileSync(DIVAN, ['check', '--data', running.dataDir], { stdio: ['ignore', 'ignore', 'inherit'] });
});

test('sizes tell what live documents and attachments take', { timeout: 60000 }, async () => {
	running = await startDivand({ config: { smoosh: { db_channels: '' } } });
	const content = new Content('sizes');
	const LEN = 200000;
	const SLACK = 50000; // pages are counted whole, and edits write others
	const sizes = async (db = 'sizes') => (await info(db)).sizes;
	const near = (bytes, want) => assert.ok(Math.abs(bytes - want) < SLACK, `${bytes}, not ${want}`);
	const put = async (id, _attachments = {}) => {
		const data = Object.fromEntries(Object.entries(_attachments).map(([name, bytes]) => [name, { data: bytes.toString('base64'), content_type: 'image/png' }]));
		const { status } = await call('PUT', `/sizes/${id}`, { json: { _rev: content.docs.get(id)?.rev, text: 'x', _attachments: data } });
		assert.equal(status, 201);
		content.docs.set(id, { rev: (await call('GET', `/sizes/${id}`)).json._rev });
	};
	const body = JSON.stringify({ text: 'x' }).length;
	assert.equal((await call('PUT', '/sizes')).status, 201);
	const empty = (await sizes()).active;
	let live = 0;
	const expect = async (external) => {
		const told = await sizes();
		near(told.active - empty, live);
		assert.equal(told.external, external);
		assert.ok(told.active <= told.file, JSON.stringify(told));
	};

	const [one, two, three] = [noise(LEN), noise(LEN), noise(LEN)];
	await put('a', { one, two });
	live = 2 * LEN;
	await expect(body + 2 * LEN);
	await put('a', { one });
	live = LEN;
	await expect(body + LEN);
	await put('a', {});
	live = 0;
	await expect(body);
	for (let i = 0; i < 5; i++) await put('a');
	await put('a', { one, again: one }); // the bytes are there still
	live = LEN;
	await expect(body + 2 * LEN);
	await content.remove((id) => id === 'a');
	live = 0;
	await expect('{}'.length);
	content.docs.set('a', { rev: (await call('PUT', '/sizes/a', { json: {} })).json.rev });
	await put('a', { one });
	live = LEN;
	await expect(body + LEN);
	await put('b', { two: three, again: three }); // stored once, listed twice
	live = 2 * LEN;
	await expect(2 * body + 3 * LEN);
	await content.remove((id) => id === 'b');
	live = LEN;
	await expect(body + LEN + '{}'.length);

	const { json: copied } = await call('POST', '/_replicate', { json: { source: 'sizes', target: 'sizes-copy', create_target: true } });
	assert.equal(copied.ok, true);
	assert.equal((await sizes('sizes-copy')).external, (await sizes()).external);
	near((await sizes('sizes-copy')).active - empty, live);

	await compact('sizes');
	await expect(body + LEN + '{}'.length);
	const { rev } = content.docs.get('a');
	assert.deepEqual((await call('POST', '/sizes/_purge', { json: { a: [rev] } })).json.purged, { a: [rev] });
	live = 0;
	await expect('{}'.length);

	// What documents share counts as gone with the first of them, but never more than there is.
	await content.fill(1000, 600);
	const texts = (await sizes()).active;
	for (let i = 0; i < 4; i++) await put(`shared-${i}`, { one });
	await content.remove((id) => id.startsWith('shared-'));
	near((await sizes()).active, texts);
	await running.stop();
});

test('a file that is mostly waste is compacted without being asked', { timeout: 60000 }, async () => {
	running = await startDivand({ config: { 'smoosh.ratio_dbs': { min_priority: '1.8', min_size: 500000, quiet_ms: 20 } } });
	const content = new Content('auto');
	assert.equal((await call('PUT', '/auto')).status, 201);
	await content.fill(2000, 3000);
	for (let i = 0; i < 2000; i += 200) await content.attach(`doc-${i}`, noise(30000));
	const full = (await info('auto')).sizes.file;
	await content.remove((id) => Number(id.slice(4)) % 5 !== 0);
	while ((await info('auto')).sizes.file > full * 0.55) await content.put('more', content.docs.get('more'));
	while ((await info('auto')).compact_running) await content.put('more', content.docs.get('more'));
	await content.check();
	await running.stop();
	execFileSync(DIVAN, ['check', '--data', running.dataDir], { stdio: ['ignore', 'ignore', 'inherit'] });
});

test('superseded bodies count as waste', { timeout: 120000 }, async () => {
	running = await startDivand({ config: { 'smoosh.ratio_dbs': { min_size: 300000, quiet_ms: 20 } } });
	const content = new Content('edits');
	assert.equal((await call('PUT', '/edits')).status, 201);
	// Bodies of more than a page stand by themselves, and stay when they are superseded.
	const edit = async () => {
		const old = content.docs.get('doc');
		const body = noise(20000).toString('hex');
		const answer = await call('PUT', '/edits/doc', { json: { ...(old ? { _rev: old.rev } : {}), text: body } });
		assert.equal(answer.status, 201, answer.text);
		content.docs.set('doc', { rev: answer.json.rev, text: body });
	};
	let largest = 0;
	for (let size = 0; size >= largest; size = (await info('edits')).sizes.file) {
		largest = size;
		await edit();
	}
	while ((await info('edits')).compact_running) await edit();
	await content.check();
	await running.stop();
});

test('an end of the server ends a compaction, and nothing is lost', { timeout: 120000 }, async () => {
	running = await startDivand({ config: { smoosh: { db_channels: '' } } });
	const content = new Content('ended');
	assert.equal((await call('PUT', '/ended')).status, 201);
	await content.fill(1500, 1000);
	for (let i = 0; i < 3; i++) {
		assert.equal((await call('POST', '/ended/_compact', { json: {} })).status, 202);
		if (i === 1) await content.put('while', content.docs.get('while'));
		await running.stop();
		assert.deepEqual(fs.readdirSync(running.dataDir).filter((name) => name.startsWith('.tmp-')), []);
		await running.restart();
		await content.check();
	}
	assert.equal((await call('POST', '/ended/_compact', { json: {} })).status, 202);
	assert.equal((await call('DELETE', '/ended')).status, 200);
	assert.equal((await call('GET', '/ended')).status, 404);
	await until(async () => (await call('GET', '/_active_tasks')).json.length === 0);
	await running.stop();
	assert.deepEqual(fs.readdirSync(running.dataDir).filter((name) => name.startsWith('.tmp-') || name.startsWith('ended')), []);
});
