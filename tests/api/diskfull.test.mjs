// A disk that is full: writes are refused in CouchDB's form, reads go on, and writes succeed once there is space.
//
// Two ways to fill it: a limit on the size of files, which needs no rights, and a small file system of its own.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, test } from 'node:test';
import { DIVAN, startDivand, tempDir } from '../lib/divand.mjs';
import { ask, assertError } from './client.mjs';

const LIMIT = 8 << 20;

/** Of the running server: the soft limit alone, so that it can be lifted again. */
function limit(server, bytes) {
	execFileSync('prlimit', ['--pid', String(server.pid), `--fsize=${bytes}:`]);
}

const text = (i) => Array.from({ length: 700 }, (_, k) => (((k + 7) * (i + 11) * 2654435761) >>> 3).toString(36)).join('');

/** Write until nothing fits any more, first in large pieces; what was acknowledged is kept. */
async function fill(server, db, kept) {
	for (let i = 0, large = true; i < 5000; i++) {
		const words = large ? Array.from({ length: 50 }, (_, k) => text(i * 100 + k)) : [text(i)];
		const answer = await ask(server, 'PUT', `/${db}/fill-${i}`, { json: { i, words } });
		if (answer.status === 201) kept.set(`fill-${i}`, answer.json.rev);
		else if (large) large = false;
		else return answer;
	}
	throw new Error('the disk never got full');
}

function assertRefused(answer) {
	assertError(answer, [500, 503, 507]);
	assert.ok(answer.json.error !== 'unknown_error', answer.text);
}

/** What was acknowledged is there, and nothing else. */
async function assertWhole(server, db, kept) {
	const { rows, total_rows } = (await ask(server, 'GET', `/${db}/_all_docs?include_docs=true`)).json;
	assert.equal(total_rows, kept.size);
	assert.deepEqual(rows.map((r) => [r.id, r.value.rev]).sort(), [...kept].sort());
	const { results } = (await ask(server, 'GET', `/${db}/_changes`)).json;
	assert.equal(results.length, kept.size);
}

async function full(server, makeFull, makeSpace) {
	const kept = new Map();
	assert.equal((await ask(server, 'PUT', '/full')).status, 201);
	const first = await ask(server, 'PUT', '/full/first', { json: { n: 1 } });
	kept.set('first', first.json.rev);
	await makeFull();

	assertRefused(await fill(server, 'full', kept));
	await assertWhole(server, 'full', kept);

	// Each kind of write that needs room is refused, and leaves nothing behind.
	const noise = (bytes) => {
		const b = Buffer.alloc(bytes);
		for (let i = 0; i + 4 <= bytes; i += 4) b.writeUInt32LE(((i + 1) * 2654435761) >>> 0, i);
		return b;
	};
	const attach = (b) => ask(server, 'PUT', `/full/first/big?rev=${first.json.rev}`, { body: b, type: 'image/png' });
	const inline = (b) => ask(server, 'PUT', '/full/inline', { json: { _attachments: { a: { content_type: 'image/png', data: b.toString('base64') } } } });
	const docs = (n) => Array.from({ length: n }, (_, i) => ({ _id: `bulk-${i}`, text: text(i + 9000) }));
	const bulk = async (n) => {
		const answer = await ask(server, 'POST', '/full/_bulk_docs', { json: { docs: docs(n) } });
		if (answer.status !== 201) return answer;
		assert.ok(answer.json.every((row) => row.error && !row.ok), answer.text.slice(0, 300));
		return null;
	};
	for (const write of [() => attach(noise(200000)), () => inline(noise(150000)), () => bulk(50)]) {
		const answer = await write();
		if (answer) assertRefused(answer);
	}
	// A body too large for memory has nowhere to wait: its connection may be cut.
	const big = noise(12 << 20);
	for (const write of [() => attach(big), () => inline(big), () => bulk(3000)]) {
		const answer = await write().catch((e) => assert.equal(e.code, 'ECONNRESET'));
		if (answer) assertRefused(answer);
	}
	await assertWhole(server, 'full', kept);
	assert.equal((await ask(server, 'GET', '/full/first')).json.n, 1);
	assert.equal((await ask(server, 'GET', '/_up')).status, 200);

	await makeSpace();
	const again = await ask(server, 'PUT', '/full/again', { json: { n: 2, text: text(1) } });
	assert.equal(again.status, 201, again.text);
	kept.set('again', again.json.rev);
	const put = await attach(big);
	assert.equal(put.status, 201, put.text);
	kept.set('first', put.json.rev);
	assert.ok((await ask(server, 'GET', '/full/first/big')).raw.equals(big));
	await assertWhole(server, 'full', kept);

	await server.restart();
	await assertWhole(server, 'full', kept);
	await server.stop();
	execFileSync(DIVAN, ['check', '--data', server.dataDir], { stdio: ['ignore', 'ignore', 'inherit'] });
}

let running;
after(() => running?.kill());

test('files that may not grow', { timeout: 120000 }, async () => {
	running = await startDivand();
	await full(running, () => limit(running, LIMIT), () => limit(running, 'unlimited'));
});

test('a file system without room', { timeout: 120000 }, async (t) => {
	const dataDir = tempDir('divan-full');
	try {
		execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${LIMIT}`, 'tmpfs', dataDir], { stdio: 'ignore' });
	} catch {
		t.skip('no right to mount one');
		return;
	}
	try {
		running = await startDivand({ dataDir });
		await full(running, () => {}, () => execFileSync('mount', ['-o', 'remount,size=100m', dataDir]));
	} finally {
		await running?.kill();
		execFileSync('umount', [dataDir]);
	}
});
