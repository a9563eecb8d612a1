// Index files that are damaged while the server is stopped: they are built anew, and nobody gets wrong rows.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { startDivand, tempDir } from '../lib/divand.mjs';
import { ask, newDb } from './client.mjs';

const dataDir = tempDir('divan-views-damage');
const folder = path.join(dataDir, '.views');
const N = 3000;
let server, db, want;

before(async () => {
	server = await startDivand({ dataDir });
	db = await newDb(server, 'damage');
	const docs = Array.from({ length: N }, (_, n) => ({ _id: `d${n}`, n, text: 'x'.repeat(100) }));
	assert.equal((await ask(server, 'POST', `/${db}/_bulk_docs`, { json: { docs } })).status, 201);
	const views = { v: { map: 'function(doc) { emit(doc.n, doc.text); emit([doc.n % 10], 1) }' }, sum: { map: 'function(doc) { emit(doc.n % 10, doc.n) }', reduce: '_sum' } };
	assert.equal((await ask(server, 'PUT', `/${db}/_design/d`, { json: { views } })).status, 201);
	want = await all();
	assert.equal(want.v.rows.length, 2 * N);
});
after(() => server.stop());

const get = (view, params = '') => ask(server, 'GET', `/${db}/_design/d/_view/${view}?${params}`);

async function all() {
	const out = {};
	for (const [name, params] of [['v', ''], ['sum', 'group=true']]) {
		const { status, json, text } = await get(name, params);
		assert.equal(status, 200, text);
		out[name] = json;
	}
	return out;
}

/** Damage the index file while the server is stopped; after a few questions, which may fail, all is as it was. */
async function damaged(change) {
	await server.kill();
	const files = fs.readdirSync(folder).filter((f) => f.endsWith('.divan'));
	assert.equal(files.length, 1);
	const file = path.join(folder, files[0]);
	change(file, fs.statSync(file).size);
	await server.restart();
	for (let i = 0; ; i++) {
		const answers = [await get('v'), await get('sum', 'group=true')];
		for (const [k, name] of ['v', 'sum'].entries()) if (answers[k]?.status === 200 && answers[k].json) assert.ok(JSON.stringify(answers[k].json) === JSON.stringify(want[name]), `${name}: ${answers[k].json.rows.length} of ${want[name].rows.length} rows, ${answers[k].json.total_rows}, ask ${i}`);
		if (answers.every((a) => a?.status === 200 && a.json)) break;
		assert.ok(i < 5, JSON.stringify(answers.map((a) => a?.text?.slice(0, 200))));
	}
	assert.equal((await ask(server, 'GET', '/_up')).status, 200);
}

function write(file, offset, bytes) {
	const fd = fs.openSync(file, 'r+');
	fs.writeSync(fd, bytes, 0, bytes.length, offset);
	fs.closeSync(fd);
}

const noise = (len, seed) => Buffer.from(Array.from({ length: len }, (_, i) => ((i + seed) * 2654435761) >>> 13 & 0xff));

test('an empty file', () => damaged((file) => fs.truncateSync(file, 0)));
test('half a file', () => damaged((file, size) => fs.truncateSync(file, size >> 1)));
test('a file that ends within its first pages', () => damaged((file) => fs.truncateSync(file, 9000)));
test('noise all over it', () => damaged((file, size) => write(file, 0, noise(size, 1))));
// LMDB itself would end the process at such pages, wherever it happened to meet them first: it never gets to see them.
test('noise behind its head', () => damaged((file, size) => write(file, 8192, noise(size - 8192, 2))));
for (const at of process.env.DAMAGED_PAGES ? [2, 3, 5, 10, 20, 40, 80, 120, 160, 200, 240] : [3, 40, 160]) test(`a page of noise: ${at}`, () => damaged((file, size) => size > at * 4096 + 4096 && write(file, at * 4096, noise(4096, at))));
test('another kind of file', () => damaged((file) => fs.writeFileSync(file, 'no database at all'.repeat(1000))));
