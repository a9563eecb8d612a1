// Documents that are too large to be handled at one go: attachments inline, in multipart bodies and in forms, bulk requests.
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import http from 'node:http';
import { after, before, test } from 'node:test';
import zlib from 'node:zlib';
import { startDivand } from '../lib/divand.mjs';

const MB = 1 << 20;
let server, db;

const md5 = (b) => 'md5-' + crypto.createHash('md5').update(b).digest('base64');
const text = Buffer.from('The quick brown fox jumps over the lazy dog. '.repeat(120000));
const noise = crypto.randomBytes(11 * MB + 17);

async function ask(method, path, { json, body, headers = {}, status } = {}) {
	const h = { authorization: server.auth, accept: 'application/json', ...headers };
	if (json !== undefined) {
		body = JSON.stringify(json);
		h['content-type'] ??= 'application/json';
	}
	const r = await fetch(`${server.url}/${db}${path}`, { method, headers: h, body });
	const bytes = Buffer.from(await r.arrayBuffer());
	if (status !== undefined) assert.equal(r.status, status, `${method} ${path}: ${bytes.subarray(0, 300)}`);
	const type = r.headers.get('content-type') ?? '';
	return { status: r.status, headers: r.headers, bytes, json: type.startsWith('application/json') ? JSON.parse(bytes) : null };
}

/** Parts of a multipart answer: {headers, bytes}. */
function parts(answer) {
	const boundary = /boundary="([^"]+)"/.exec(answer.headers.get('content-type'))[1];
	const out = [];
	let at = answer.bytes.indexOf(`--${boundary}`);
	for (;;) {
		at += boundary.length + 2;
		if (answer.bytes.subarray(at, at + 2).toString() === '--') return out;
		const next = answer.bytes.indexOf(`\r\n--${boundary}`, at);
		assert.notEqual(next, -1, 'a closing boundary');
		const part = answer.bytes.subarray(at, next);
		const gap = part.indexOf('\r\n\r\n');
		out.push({ headers: part.subarray(0, gap).toString(), bytes: part.subarray(gap + 4) });
		at = next + 2;
	}
}

function related(boundary, doc, ...attachments) {
	const out = [Buffer.from(`--${boundary}\r\nContent-Type: application/json\r\n\r\n${JSON.stringify(doc)}`)];
	for (const a of attachments) out.push(Buffer.from(`\r\n--${boundary}\r\n\r\n`), a);
	out.push(Buffer.from(`\r\n--${boundary}--`));
	return Buffer.concat(out);
}

before(async () => {
	server = await startDivand();
	db = 'uploads';
	await ask('PUT', '', { status: 201 });
});
after(() => server.stop());

test('large attachments follow a document and come back in every form', async () => {
	const doc = {
		n: 1,
		_attachments: {
			'noise.bin': { follows: true, content_type: 'application/octet-stream', length: noise.length, digest: md5(noise) },
			'text.txt': { follows: true, content_type: 'text/plain', length: text.length },
			empty: { follows: true, content_type: 'x/y', length: 0 },
		},
	};
	const put = await ask('PUT', '/big', {
		body: related('bnd', doc, noise, text, Buffer.alloc(0)),
		headers: { 'content-type': 'multipart/related; boundary="bnd"' },
		status: 201,
	});
	const stubs = (await ask('GET', '/big?att_encoding_info=true', { status: 200 })).json;
	assert.equal(stubs._rev, put.json.rev);
	assert.equal(stubs._attachments['noise.bin'].digest, md5(noise));
	assert.equal(stubs._attachments['text.txt'].length, text.length);
	assert.equal(stubs._attachments['text.txt'].encoding, 'gzip');

	const plain = (await ask('GET', '/big?attachments=true', { status: 200 })).json._attachments;
	assert.ok(Buffer.from(plain['noise.bin'].data, 'base64').equals(noise));
	assert.ok(Buffer.from(plain['text.txt'].data, 'base64').equals(text));
	assert.equal(plain.empty.data, '');

	const mixed = await ask('GET', '/big?attachments=true', { headers: { accept: 'multipart/related' }, status: 200 });
	assert.equal(Number(mixed.headers.get('content-length')), mixed.bytes.length);
	const [first, one, two, three] = parts(mixed);
	const names = Object.keys(JSON.parse(first.bytes)._attachments);
	assert.deepEqual(names, ['noise.bin', 'text.txt', 'empty']);
	assert.ok(one.bytes.equals(noise));
	assert.match(two.headers, /Content-Encoding: gzip/);
	assert.ok(zlib.gunzipSync(two.bytes).equals(text));
	assert.equal(three.bytes.length, 0);

	const copy = await ask('COPY', '/big', { headers: { destination: 'copied' }, status: 201 });
	assert.equal(copy.json.rev, put.json.rev, 'the same content has the same revision');
	const got = (await ask('GET', '/copied?attachments=true', { status: 200 })).json._attachments;
	assert.ok(Buffer.from(got['noise.bin'].data, 'base64').equals(noise));
});

test('many small attachments in one body are written ahead together', async () => {
	const each = Array.from({ length: 3000 }, (_, i) => Buffer.from(`${i} `.repeat(i % 300)));
	const doc = { _attachments: Object.fromEntries(each.map((bytes, i) => [`a${i}`, { follows: true, content_type: i % 2 ? 'x/y' : 'text/plain', length: bytes.length }])) };
	await ask('PUT', '/many', { body: related('bnd', doc, ...each), headers: { 'content-type': 'multipart/related; boundary="bnd"' }, status: 201 });
	const got = (await ask('GET', '/many?attachments=true', { status: 200 })).json._attachments;
	assert.equal(Object.keys(got).length, each.length);
	each.forEach((bytes, i) => assert.ok(Buffer.from(got[`a${i}`].data, 'base64').equals(bytes), `a${i}`));
	await ask('POST', '/_compact', { json: {}, status: 202 });
	assert.ok((await ask('GET', '/many/a2999', { status: 200 })).bytes.equals(each[2999]));
});

test('a copy has its attachments when the original has gone', async () => {
	const { rev } = (await ask('PUT', '/original', { json: { n: 1, _attachments: { a: { content_type: 'x/a', data: noise.subarray(0, 300000).toString('base64') } } }, status: 201 })).json;
	await ask('COPY', '/original', { headers: { destination: 'copy1' }, status: 201 });
	await ask('COPY', `/original?rev=${rev}`, { headers: { destination: 'copy2' }, status: 201 });
	await ask('DELETE', `/original?rev=${rev}`, { status: 200 });
	await ask('DELETE', `/copy1?rev=${rev}`, { status: 200 });
	await ask('POST', '/_compact', { json: {}, status: 202 });
	assert.ok((await ask('GET', '/copy2/a', { status: 200 })).bytes.equals(noise.subarray(0, 300000)));
	await ask('PUT', '/_local/l', { json: { n: 2 }, status: 201 });
	const { headers, json } = await ask('COPY', '/_local/l', { headers: { destination: '_local/m' }, status: 201 });
	assert.equal(headers.get('location'), `${server.url}/${db}/_local%2Fm`);
	assert.deepEqual(json, { ok: true, id: '_local/m', rev: '0-1' });
	await ask('COPY', '/_local/m', { headers: { destination: 'from-local' }, status: 201 });
	assert.equal((await ask('GET', '/from-local', { status: 200 })).json.n, 2);
	await ask('COPY', '/_local/none', { headers: { destination: 'x' }, status: 404 });
});

test('what a replicator reads can be written back', async () => {
	const read = await ask('GET', '/big?attachments=true&revs=true', { headers: { accept: 'multipart/related' }, status: 200 });
	await ask('PUT', '/_revs_limit', { body: '1000', status: 200 });
	db = 'uploads2';
	await ask('PUT', '', { status: 201 });
	const put = await ask('PUT', '/big?new_edits=false', {
		body: read.bytes, headers: { 'content-type': read.headers.get('content-type') }, status: 201,
	});
	const there = (await ask('GET', '/big?attachments=true', { status: 200 })).json;
	assert.equal(there._rev, put.json.rev);
	assert.ok(Buffer.from(there._attachments['text.txt'].data, 'base64').equals(text));
	db = 'uploads';
	const here = (await ask('GET', '/big', { status: 200 })).json;
	assert.equal(here._rev, there._rev);
	assert.equal(here._attachments['text.txt'].digest, there._attachments['text.txt'].digest);
});

test('large inline attachments', async () => {
	const json = { _attachments: { a: { content_type: 'image/png', data: noise.toString('base64') }, b: { content_type: 'text/plain', data: text.toString('base64') } } };
	await ask('PUT', '/inline', { json, status: 201 });
	const got = (await ask('GET', '/inline?attachments=true', { status: 200 })).json._attachments;
	assert.ok(Buffer.from(got.a.data, 'base64').equals(noise));
	assert.ok(Buffer.from(got.b.data, 'base64').equals(text));
	const bulk = await ask('POST', '/_bulk_get?attachments=true', { json: { docs: [{ id: 'inline' }] }, status: 200 });
	assert.ok(Buffer.from(bulk.json.results[0].docs[0].ok._attachments.a.data, 'base64').equals(noise));
});

/** What a database holds, once what was begun before has been settled. */
async function held() {
	await ask('PUT', `/settled${Math.random()}`, { json: {}, status: 201 });
	return (await ask('GET', '', { status: 200 })).json;
}

test('a multipart body that is not what it says leaves nothing', async () => {
	const type = { headers: { 'content-type': 'multipart/related; boundary=b' } };
	const att = (o) => ({ follows: true, content_type: 'x/a', ...o });
	const say = (o, more = {}) => ({ _attachments: { a: att(o), ...more } });
	const large = noise.subarray(0, 3 * MB);
	const whole = related('b', say({ length: large.length }), large);
	const { rev } = (await ask('PUT', '/right', { json: { n: 1, _attachments: { old: { content_type: 'x/o', data: 'AAEC' } } }, status: 201 })).json;
	await ask('PUT', '/right', { json: { n: 2, _rev: rev, _attachments: { old: { stub: true } } }, status: 201 });
	const before = await held();
	const bodies = {
		'too long': [400, related('b', say({ length: large.length - 1 }), large)],
		'too short': [400, related('b', say({ length: large.length + 1 }), large)],
		'a small one too short': [400, related('b', say({ length: 6 }), Buffer.from('hello'))],
		'gzip of another length': [400, related('b', say({ length: 5, encoding: 'gzip', encoded_length: 7 }), zlib.gzipSync('hello'))],
		'another digest': [400, related('b', say({ length: large.length, digest: md5('other') }), large)],
		'in the wrong order': [400, related('b', say({ length: 5 }, { b: att({ length: large.length }) }), large, Buffer.from('hello'))],
		'one that is missing': [400, related('b', say({ length: large.length }, { b: att({ length: 5 }) }), large)],
		'one that nobody announced': [400, related('b', say({ length: large.length }), large, large)],
		'one for a stub': [400, related('b', { _attachments: { a: { stub: true } } }, large)],
		'a stub without an ancestor': [412, related('b', say({ length: large.length }, { s: { stub: true } }), large)],
		'another stub': [412, related('b', { ...say({ length: large.length }, { s: { stub: true } }) }, large), '/right?rev=2-' ],
		'the wrong boundary': [400, related('c', say({ length: large.length }), large)],
		'no boundary': [400, whole, '/wrong', 'multipart/related'],
		'an endless preamble': [400, Buffer.concat([noise, Buffer.from('\r\n'), whole])],
		'an endless epilogue': [400, Buffer.concat([whole, noise])],
		'endless headers': [400, Buffer.concat([whole.subarray(0, -3), Buffer.from('\r\nA: '), Buffer.alloc(MB, 'h')])],
		'too many headers': [400, Buffer.concat([whole.subarray(0, -2), Buffer.from('\r\n'), Buffer.from('a: b\r\n'.repeat(100) + '\r\n')])],
		'cut off in an attachment': [400, whole.subarray(0, 2 * MB)],
		'cut off before the end': [400, whole.subarray(0, -4)],
		'cut off in the document': [400, whole.subarray(0, 60)],
		'no JSON': [400, Buffer.concat([Buffer.from('--b\r\n\r\n{nonsense\r\n--b\r\n\r\n'), large, Buffer.from('\r\n--b--')])],
		'a bad member': [400, related('b', { _bad: 1 }, large)],
		'a conflict': [409, related('b', say({ length: large.length }), large), `/right?rev=${rev}`],
		'a conflict without a revision': [409, related('b', say({ length: large.length }), large), '/right'],
		'two revisions': [400, related('b', { _rev: '1-aa', ...say({ length: large.length }) }, large), '/wrong?rev=1-bb'],
		'no revision to replicate': [400, related('b', say({ length: large.length }), large), '/wrong?new_edits=false'],
	};
	for (const [what, [status, body, path = '/wrong', contentType]] of Object.entries(bodies)) {
		const where = path.endsWith('2-') ? `/right?rev=${(await ask('GET', '/right')).json._rev}` : path;
		const answer = await ask('PUT', where, { body, headers: { 'content-type': contentType ?? type.headers['content-type'] } });
		assert.equal(answer.status, status, `${what}: ${answer.bytes}`);
		assert.ok(answer.json.error && answer.json.reason, what);
	}
	await ask('GET', '/wrong', { status: 404 });
	assert.equal((await ask('GET', '/right')).json.n, 2);
	const after = await held();
	assert.equal(after.doc_count, before.doc_count + 1);
	assert.equal(after.update_seq.split('-')[0] - before.update_seq.split('-')[0], 1);
	assert.ok(after.sizes.active - before.sizes.active < MB, `${after.sizes.active - before.sizes.active} bytes are left`);
	assert.equal(after.sizes.external - before.sizes.external < MB, true);
});

test('open_revs sends every leaf with its attachments', async () => {
	const leaf = (rev, data) => ({ _id: 'forked', _rev: rev, _attachments: { a: { content_type: 'x/a', revpos: 1, data: Buffer.from(data).toString('base64') } } });
	await ask('POST', '/_bulk_docs', { json: { new_edits: false, docs: [leaf('1-aa', 'one'), leaf('1-bb', 'two'), { _id: 'forked', _rev: '1-cc', _deleted: true }] }, status: 201 });
	const answer = await ask('GET', '/forked?open_revs=all', { headers: { accept: 'multipart/mixed' }, status: 200 });
	const got = parts(answer).map((p) => {
		if (!/multipart\/related/.test(p.headers)) return JSON.parse(p.bytes)._rev;
		const inner = parts({ headers: new Headers({ 'content-type': /Content-Type: (.*)/i.exec(p.headers)[1] }), bytes: p.bytes });
		return `${JSON.parse(inner[0].bytes)._rev} ${inner[1].bytes}`;
	});
	assert.deepEqual(got.sort(), ['1-aa one', '1-bb two', '1-cc']);
});

test('bulk requests that are larger than one turn', async () => {
	const docs = Array.from({ length: 3000 }, (_, i) => ({ _id: `d${i}`, i, pad: 'x'.repeat(i % 700) }));
	const rows = (await ask('POST', '/_bulk_docs', { json: { docs }, status: 201 })).json;
	assert.equal(rows.length, docs.length);
	assert.ok(rows.every((r, i) => r.ok && r.id === `d${i}` && r.rev.startsWith('1-')));
	const { results } = (await ask('POST', '/_bulk_get?revs=true', { json: { docs: rows.map(({ id, rev }) => ({ id, rev })) }, status: 200 })).json;
	assert.ok(results.every((r, i) => r.id === `d${i}` && r.docs.length === 1 && r.docs[0].ok.i === i && r.docs[0].ok._revisions.start === 1));
	const asked = Object.fromEntries(rows.map(({ id, rev }, i) => [id, i % 2 ? [rev] : [rev, '2-abcd']]));
	const diff = (await ask('POST', '/_revs_diff', { json: asked, status: 200 })).json;
	assert.equal(Object.keys(diff).length, 1500);
	assert.deepEqual(diff.d0, { missing: ['2-abcd'], possible_ancestors: [rows[0].rev] });
	const gz = zlib.gzipSync(JSON.stringify({ docs: [{ _id: 'packed', pad: 'y'.repeat(200000) }] }));
	await ask('POST', '/_bulk_docs', { body: gz, headers: { 'content-type': 'application/json', 'content-encoding': 'gzip' }, status: 201 });
	assert.equal((await ask('GET', '/packed', { status: 200 })).json.pad.length, 200000);
});

const post = (path, form) => fetch(`${server.url}/${db}${path}`, { method: 'POST', body: form, headers: { authorization: server.auth, referer: `${server.url}/` } });
const file = (bytes, type) => new Blob([bytes], { type });

test('a form adds attachments to a document', async () => {
	const { rev } = (await ask('PUT', '/formed', { json: { n: 1, _attachments: { old: { content_type: 'x/o', data: 'AAEC' } } }, status: 201 })).json;
	const form = new FormData();
	form.append('_attachments', file(Buffer.from('the first of that name'), 'text/plain'), 'twice');
	form.set('_rev', rev);
	form.append('_attachments', file(noise, 'image/gif'), 'new.gif');
	form.append('_attachments', file(text, 'text/plain'), 'twice');
	form.set('other', 'is passed over');
	const r = await post('/formed', form);
	assert.equal(r.status, 201, await r.text());
	const doc = (await ask('GET', '/formed?attachments=true', { status: 200 })).json;
	assert.equal(doc.n, 1);
	assert.deepEqual(Object.keys(doc._attachments).sort(), ['new.gif', 'old', 'twice']);
	assert.equal(doc._attachments.old.data, 'AAEC');
	assert.equal(doc._attachments['new.gif'].content_type, 'image/gif');
	assert.ok(Buffer.from(doc._attachments['new.gif'].data, 'base64').equals(noise));
	assert.ok(Buffer.from(doc._attachments.twice.data, 'base64').equals(text));
});

test('a form may bring the whole document, or fail and leave nothing', async () => {
	const form = (doc, name = 'a') => {
		const f = new FormData();
		f.append('_attachments', file(noise, 'image/gif'), name);
		if (doc !== undefined) f.set('_doc', doc);
		return f;
	};
	const made = await post('/by-form', form('{"n":3}'));
	assert.equal(made.status, 201, await made.text());
	assert.deepEqual(Object.keys((await ask('GET', '/by-form', { status: 200 })).json._attachments), ['a']);
	const before = await held();
	for (const [status, path, body] of [
		[409, '/by-form', form('{"n":4}')],
		[400, '/bad-form', form('{nonsense')],
		[400, '/bad-form', form('{"_attachments":{"b":{"follows":true,"content_type":"x/y","length":1}}}')],
		[400, '/bad-form', form(undefined)],
		[400, '/bad-form', form('{}', '_a')],
		[412, '/bad-form', form('{"_attachments":{"b":{"stub":true}}}')],
	]) {
		const r = await post(path, body);
		assert.equal(r.status, status, await r.text());
	}
	await ask('GET', '/bad-form', { status: 404 });
	const after = await held();
	assert.ok(after.sizes.active - before.sizes.active < MB, `${after.sizes.active - before.sizes.active} bytes are left`);
});

test('a client that goes away in the middle harms nobody', async () => {
	for (let i = 0; i < 5; i++) {
		await new Promise((resolve, reject) => {
			const req = http.get(`${server.url}/${db}/big?attachments=true`, { headers: { authorization: server.auth, accept: 'multipart/related' } }, (res) => {
				res.once('data', () => {
					req.destroy();
					resolve();
				});
			});
			req.on('error', () => {});
			req.setTimeout(5000, () => reject(new Error('no data')));
		});
	}
	const half = related('b', { _attachments: { a: { follows: true, content_type: 'x/a', length: noise.length } } }, noise);
	await new Promise((resolve) => {
		const req = http.request(`${server.url}/${db}/half`, { method: 'PUT', headers: { authorization: server.auth, 'content-type': 'multipart/related; boundary=b', 'content-length': half.length } });
		req.on('error', () => {});
		req.write(half.subarray(0, 2 * MB), () => {
			req.destroy();
			resolve();
		});
	});
	await ask('GET', '/half', { status: 404 });
	await ask('GET', '/big', { status: 200 });
});
