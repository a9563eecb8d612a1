// Documents and attachments: the plain life, many at once, and bytes that come back as they went.
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import { after, before, test } from 'node:test';
import { startDivand } from '../lib/divand.mjs';
import { Random } from '../lib/random.mjs';
import { ask, assertError, newDb } from './client.mjs';

let server;
let db;
before(async () => {
	server = await startDivand();
	db = await newDb(server);
});
after(() => server.stop());

const put = (id, json) => ask(server, 'PUT', `/${db}/${encodeURIComponent(id)}`, { json });
const get = (id, query = '') => ask(server, 'GET', `/${db}/${encodeURIComponent(id)}${query}`, { headers: { Accept: 'application/json' } });

test('written, read, changed, removed', async () => {
	const first = await put('a', { n: 1 });
	assert.equal(first.status, 201);
	assert.deepEqual(first.json, { ok: true, id: 'a', rev: '1-731bef401491606a3b246ed178e697c1' });
	assert.equal(first.headers.etag, `"${first.json.rev}"`);
	assert.deepEqual((await get('a')).json, { _id: 'a', _rev: first.json.rev, n: 1 });
	assertError(await put('a', { n: 2 }), 409, 'conflict', 'Document update conflict.');
	const second = await put('a', { _rev: first.json.rev, n: 2 });
	assert.equal(second.status, 201);
	assert.equal((await get('a', `?rev=${first.json.rev}`)).json.n, 1);
	assert.equal((await ask(server, 'GET', `/${db}/a`, { headers: { 'If-None-Match': `"${second.json.rev}"` } })).status, 304);
	const gone = await ask(server, 'DELETE', `/${db}/a?rev=${second.json.rev}`);
	assert.equal(gone.status, 200);
	assertError(await get('a'), 404, 'not_found', 'deleted');
	assert.equal((await put('a', { n: 3 })).json.rev.slice(0, 2), '4-');
});

test('text comes back as it went', async () => {
	const doc = { 'schlüssel ☃': '😀\u0000\u001f"\\/\u2028', deep: [[[{ x: null }]]], big: 12345678901234567890n, f: 1.5, e: '' };
	const text = JSON.stringify(doc, (_, v) => (typeof v === 'bigint' ? 'BIG' : v)).replace('"BIG"', '12345678901234567890');
	const written = await ask(server, 'PUT', `/${db}/text`, { body: text, type: 'application/json' });
	assert.equal(written.status, 201);
	const back = (await get('text')).text;
	assert.match(back, /12345678901234567890/);
	assert.deepEqual(JSON.parse(back)['schlüssel ☃'], doc['schlüssel ☃']);
	assert.deepEqual(JSON.parse(back).deep, doc.deep);
});

test('ids of every kind', async () => {
	for (const id of ['ü ☃', 'a/b', 'a?b', 'a#b', '%', '+', ' ', '\u0001', 'x'.repeat(1000), 'x'.repeat(5000)]) {
		assert.equal((await put(id, { id })).status, 201, id.slice(0, 10));
		assert.equal((await get(id)).json._id, id);
	}
	const { rows } = (await ask(server, 'GET', `/${db}/_all_docs`)).json;
	const ids = rows.map((row) => row.id);
	assert.deepEqual(ids, [...ids].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))));
});

test('COPY takes the revision in If-Match, as in rev', async () => {
	const first = (await ask(server, 'PUT', `/${db}/source`, { json: { v: 1 } })).json.rev;
	const second = (await ask(server, 'PUT', `/${db}/source?rev=${first}`, { json: { v: 2 } })).json.rev;
	const copy = (target, query, headers) => ask(server, 'COPY', `/${db}/source${query}`, { headers: { Destination: target, ...headers } });
	for (const [target, query, headers, v] of [['c1', '', {}, 2], ['c2', `?rev=${first}`, {}, 1], ['c3', '', { 'If-Match': `"${first}"` }, 1], ['c4', `?rev=${second}`, { 'If-Match': second }, 2]]) {
		assert.equal((await copy(target, query, headers)).status, 201);
		assert.equal((await get(target)).json.v, v, target);
	}
	assertError(await copy('c5', `?rev=${first}`, { 'If-Match': second }), 400, 'bad_request', 'Document rev and etag have different values');
	assertError(await copy('c5', '', { 'If-Match': '*' }), 400, 'bad_request', 'Invalid rev format');
	assertError(await copy('c5', '', { 'If-Match': '1-x' }), 404, 'not_found', 'missing');
});

test('DELETE is an edit, whatever new_edits says', async () => {
	const { rev } = (await ask(server, 'PUT', `/${db}/deleted-for-good`, { json: {} })).json;
	const gone = await ask(server, 'DELETE', `/${db}/deleted-for-good?new_edits=false&rev=${rev}`);
	assert.equal(gone.status, 200);
	assert.match(gone.json.rev, /^2-/);
	assertError(await get('deleted-for-good'), 404, 'not_found', 'deleted');
});

test('1,000 documents in one request, read in pages', async () => {
	const many = await newDb(server);
	const docs = Array.from({ length: 1000 }, (_, i) => ({ _id: `d${String(i).padStart(4, '0')}`, i }));
	const { status, json } = await ask(server, 'POST', `/${many}/_bulk_docs`, { json: { docs } });
	assert.equal(status, 201);
	assert.ok(json.every((row, i) => row.ok && row.id === docs[i]._id && row.rev.startsWith('1-')));
	const seen = [];
	for (let startkey = ''; ;) {
		const { rows, total_rows } = (await ask(server, 'GET', `/${many}/_all_docs?limit=101&include_docs=true&startkey=${encodeURIComponent(JSON.stringify(startkey))}`)).json;
		assert.equal(total_rows, 1000);
		seen.push(...rows.slice(0, 100).map((row) => row.doc.i));
		if (rows.length < 101) break;
		startkey = rows[100].id;
	}
	assert.deepEqual(seen, docs.map((doc) => doc.i));
	const back = (await ask(server, 'GET', `/${many}/_all_docs?descending=true&limit=3&skip=2`)).json;
	assert.deepEqual(back.rows.map((row) => row.id), ['d0997', 'd0996', 'd0995']);
});

test('writers at once: one wins each revision', async () => {
	let rev = (await put('race', { n: 0 })).json.rev;
	for (let round = 0; round < 5; round++) {
		const answers = await Promise.all(Array.from({ length: 20 }, (_, i) => put('race', { _rev: rev, round, i })));
		const won = answers.filter((a) => a.status === 201);
		assert.equal(won.length, 1);
		assert.ok(answers.every((a) => a.status === 201 || a.status === 409));
		rev = won[0].json.rev;
	}
	assert.equal((await get('race', '?conflicts=true')).json._conflicts, undefined);
});

test('new_edits=false makes conflicts; every order of arrival has the same winner', async () => {
	const revs = [['2-b', '1-a'], ['2-c', '1-a'], ['3-a', '2-b', '1-a']];
	const docs = revs.map(([rev, ...older]) => ({
		_id: 'doc', _rev: rev, v: rev, _revisions: { start: Number(rev[0]), ids: [rev, ...older].map((r) => r.slice(2)) },
	}));
	for (const order of [[0, 1, 2], [2, 1, 0], [1, 2, 0]]) {
		const other = await newDb(server);
		for (const i of order) await ask(server, 'POST', `/${other}/_bulk_docs`, { json: { new_edits: false, docs: [docs[i]] } });
		const { json } = await ask(server, 'GET', `/${other}/doc?conflicts=true`);
		assert.deepEqual([json._rev, json._conflicts], ['3-a', ['2-c']]);
	}
});

test('attachments of every size come back, whole and in ranges', async () => {
	const random = new Random(3);
	let rev;
	for (const size of [0, 1, 100, 4095, 65536, 1000003, 9000001]) {
		const bytes = random.bytes(Math.min(size, 70000));
		const body = Buffer.concat(Array.from({ length: Math.ceil(size / 70000) || 1 }, () => bytes)).subarray(0, size);
		const path = `/${db}/atts/f${size}.bin`;
		const answer = await ask(server, 'PUT', path + (rev ? `?rev=${rev}` : ''), { body, type: 'application/octet-stream' });
		assert.equal(answer.status, 201, answer.text);
		rev = answer.json.rev;
		const back = await ask(server, 'GET', path);
		assert.ok(back.raw.equals(body), `${size} bytes`);
		assert.equal(back.headers['content-type'], 'application/octet-stream');
		const digest = `md5-${crypto.createHash('md5').update(body).digest('base64')}`;
		assert.equal((await get('atts')).json._attachments[`f${size}.bin`].digest, digest);
		if (size < 100) continue;
		const part = await ask(server, 'GET', path, { headers: { Range: 'bytes=10-49' } });
		assert.equal(part.status, 206);
		assert.ok(part.raw.equals(body.subarray(10, 50)));
	}
	const text = 'compress me '.repeat(10000);
	const doc = { _attachments: { 't.txt': { content_type: 'text/plain', data: Buffer.from(text).toString('base64') } } };
	assert.equal((await put('inline', doc)).status, 201);
	assert.equal((await ask(server, 'GET', `/${db}/inline/t.txt`)).text, text);
	const { _attachments } = (await get('inline', '?attachments=true')).json;
	assert.equal(Buffer.from(_attachments['t.txt'].data, 'base64').toString(), text);
});

test('local documents do not replicate and do not count', async () => {
	const before = (await ask(server, 'GET', `/${db}`)).json;
	assert.deepEqual((await ask(server, 'PUT', `/${db}/_local/cp`, { json: { seq: 5 } })).json, { ok: true, id: '_local/cp', rev: '0-1' });
	assert.equal((await ask(server, 'GET', `/${db}/_local/cp`)).json.seq, 5);
	// Sixteen digits are a count, and no hash.
	const high = { _id: '_local/cp', _rev: '0-9007199254740993', seq: 5 };
	assert.deepEqual((await ask(server, 'POST', `/${db}/_bulk_docs`, { json: { docs: [high] } })).json, [{ ok: true, id: '_local/cp', rev: '0-9007199254740994' }]);
	assert.equal((await ask(server, 'GET', `/${db}/_local/cp`)).json._rev, '0-9007199254740994');
	const now = (await ask(server, 'GET', `/${db}`)).json;
	assert.deepEqual([now.update_seq, now.doc_count], [before.update_seq, before.doc_count]);
});

test('large documents, _local ones too, and long answers have the tags and rows of others', async () => {
	const text = 'x'.repeat(3 << 20);
	const made = await put('large', { text });
	const plain = await get('large');
	assert.deepEqual([plain.status, plain.headers.etag, plain.json.text === text], [200, `"${made.json.rev}"`, true]);
	const head = await ask(server, 'HEAD', `/${db}/large`);
	assert.deepEqual([head.status, head.headers.etag, head.headers['content-length']], [200, plain.headers.etag, plain.headers['content-length']]);
	assert.equal((await ask(server, 'GET', `/${db}/large`, { headers: { 'If-None-Match': plain.headers.etag } })).status, 304);
	const local = await ask(server, 'PUT', `/${db}/_local/large`, { json: { text } });
	assert.equal((await ask(server, 'GET', `/${db}/_local/large`)).headers.etag, local.headers.etag);

	const docs = Array.from({ length: 3000 }, (_, i) => ({ _id: `row${i % 2900}` }));
	const rows = (await ask(server, 'POST', `/${db}/_bulk_docs`, { json: { docs } })).json;
	assert.deepEqual(rows.map((row) => [row.id, row.ok ?? row.error]), docs.map((doc, i) => [doc._id, i < 2900 ? true : 'conflict']));
});
