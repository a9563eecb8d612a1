// Single attachments: large ones, ranges, encodings.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { after, before, test } from 'node:test';
import { startDivand } from '../lib/divand.mjs';
import { client } from '../lib/wire.mjs';
import { until } from '../lib/until.mjs';
import { connect } from './client.mjs';

let server, c;
before(async () => {
	server = await startDivand({ config: { gate: { request_wait: 60000 } } }); // uploads beside each other wait, however slow the machine is
	c = client(server);
});
after(async () => {
	c.close();
	await server.stop();
});

const BIN = { 'content-type': 'application/octet-stream' };
const equal = (a, b, what) => assert.ok(a.equals(b), `${what}: ${a.length} and ${b.length} bytes differ`);

test('sizes around chunks and flushes come back as they went', async () => {
	const db = await c.db();
	for (const n of [0, 1, 65535, 65536, 65537, 131072, (1 << 20) - 1, 1 << 20, (3 << 20) + 5]) {
		const bytes = randomBytes(n);
		const put = await c.request('PUT', `${db}/d${n}/bytes`, bytes, BIN);
		assert.equal(put.status, 201, put.text);
		const got = await c.request('GET', `${db}/d${n}/bytes`);
		equal(got.raw, bytes, `${n} bytes`);
		assert.equal(got.headers['content-length'], String(n));
		assert.equal(got.headers.etag, `"${createHash('md5').update(bytes).digest('base64')}"`);
		const head = await c.request('HEAD', `${db}/d${n}/bytes`);
		assert.equal(head.headers['content-length'], String(n));
		const text = await c.request('PUT', `${db}/t${n}/text`, bytes, { 'content-type': 'text/plain' });
		assert.equal(text.status, 201, text.text);
		equal((await c.request('GET', `${db}/t${n}/text`)).raw, bytes, `${n} bytes of text`);
	}
});

test('ranges', async () => {
	const db = await c.db();
	const bytes = randomBytes(300000);
	await c.request('PUT', `${db}/d/a`, bytes, BIN);
	const get = (range, method = 'GET') => c.request(method, `${db}/d/a`, undefined, { range: `bytes=${range}` });
	for (const [range, from, to] of [['0-0', 0, 1], ['65535-65536', 65535, 65537], ['100000-', 100000, 300000], ['-10', 299990, 300000],
		['0-400000', 0, 300000], ['131072-262143', 131072, 262144], ['-400000', 0, 300000]]) {
		const r = await get(range);
		assert.equal(r.status, 206, range);
		assert.equal(r.headers['content-range'], `bytes ${from}-${to - 1}/300000`);
		assert.equal(r.headers['content-length'], String(to - from));
		equal(r.raw, bytes.subarray(from, to), range);
		assert.equal((await get(range, 'HEAD')).headers['content-length'], String(to - from));
	}
	for (const range of ['300000-', '20-10', '-0']) assert.equal((await get(range)).status, 416, range);
	for (const range of ['x', '', '1-2-3', 'a-b']) assert.equal((await get(range)).status, 200, range);
});

test('a range of what has changed since is not sent', async () => {
	const db = await c.db();
	const { rev } = (await c.request('PUT', `${db}/d/a`, 'the first version', BIN)).json;
	const { etag } = (await c.request('GET', `${db}/d/a`)).headers;
	const rest = () => c.request('GET', `${db}/d/a`, undefined, { range: 'bytes=4-', 'if-range': etag });
	assert.deepEqual([(await rest()).status, (await rest()).text], [206, 'first version']);
	await c.request('PUT', `${db}/d/a?rev=${rev}`, 'another version', BIN);
	assert.deepEqual([(await rest()).status, (await rest()).text], [200, 'another version']);
});

test('who prefers little gets few headers', async () => {
	const db = await c.db();
	const put = (headers) => c.request('PUT', `${db}/d${Math.random()}`, '{}', { 'content-type': 'application/json', ...headers });
	for (const prefer of ['return=minimal', 'RETURN=Minimal']) {
		const few = Object.keys((await put({ prefer })).headers).sort();
		assert.deepEqual(few, ['cache-control', 'connection', 'content-length', 'content-type', 'date', 'etag', 'server']);
	}
	for (const prefer of [undefined, 'return=', 'return=minimals']) assert.ok((await put(prefer && { prefer })).headers.location);
});

test('several ranges', async () => {
	const db = await c.db();
	const bytes = randomBytes(200000);
	await c.request('PUT', `${db}/d/a`, bytes, { 'content-type': 'image/x' });
	const r = await c.request('GET', `${db}/d/a`, undefined, { range: 'bytes=0-4, 70000-140000,-3' });
	assert.equal(r.status, 206);
	assert.equal(r.headers['content-length'], String(r.raw.length));
	const [, boundary] = /^multipart\/byteranges; boundary="([^"]+)"$/.exec(r.headers['content-type']);
	const part = (from, to) => Buffer.concat([
		Buffer.from(`\r\n--${boundary}\r\nContent-Type: image/x\r\nContent-Range: bytes ${from}-${to - 1}/200000\r\n\r\n`), bytes.subarray(from, to)]);
	equal(r.raw, Buffer.concat([part(0, 5), part(70000, 140001), part(199997, 200000), Buffer.from(`\r\n--${boundary}--`)]), 'parts');
});

test('all of an attachment goes out when "0-" is asked for, or more than nine ranges, as in CouchDB', async () => {
	const db = await c.db();
	const bytes = randomBytes(29);
	await c.request('PUT', `${db}/d/a`, bytes, { 'content-type': 'image/x' });
	const get = (range) => c.request('GET', `${db}/d/a`, undefined, { range: `bytes=${range}` });
	for (const range of ['0-', '0-,0-,0-', '1-2,0-', Array(10).fill('0-1').join()]) {
		const r = await get(range);
		assert.deepEqual([r.status, r.headers['content-range'], r.headers['content-length']], [200, undefined, '29'], range);
		equal(r.raw, bytes, range);
	}
	for (const range of ['0-28', '1-', Array(9).fill('0-1').join()]) assert.equal((await get(range)).status, 206, range);
	assert.equal((await get('9-2,0-')).status, 416);
});

test('what is stored compressed is sent as the client takes it', async () => {
	const db = await c.db();
	const text = Buffer.from('All work and no play makes Jack a dull boy. '.repeat(20000));
	await c.request('PUT', `${db}/d/t`, text, { 'content-type': 'text/plain' });
	const plain = await c.request('GET', `${db}/d/t`);
	equal(plain.raw, text, 'plain');
	assert.equal(plain.headers['content-length'], String(text.length));
	assert.equal(plain.headers['content-encoding'], undefined);
	for (const accept of ['gzip', 'br, gzip;q=0.5', '*']) {
		const packed = await c.request('GET', `${db}/d/t`, undefined, { 'accept-encoding': accept });
		assert.equal(packed.headers['content-encoding'], 'gzip', accept);
		assert.ok(packed.raw.length < text.length / 10);
	}
	for (const accept of ['gzip;q=0', 'gzip;q=0.0, br', 'identity']) {
		assert.equal((await c.request('GET', `${db}/d/t`, undefined, { 'accept-encoding': accept })).headers['content-encoding'], undefined, accept);
	}
	await c.request('PUT', `${db}/p/t`, text, BIN);
	for (const path of ['d/t', 'p/t']) {
		for (const [accept, status] of [['deflate, *;q=0', 406], ['identity;q=0', 406], ['identity;q=0, gzip', 200], ['*;q=0, identity', 200], ['deflate', 200]]) {
			const answer = await c.request('GET', `${db}/${path}`, undefined, { 'accept-encoding': accept });
			assert.equal(answer.status, status, `${path}: ${accept}`);
			if (status === 406) assert.equal(answer.json.error, 'not_acceptable');
		}
	}
	const up = gzipSync(text);
	await c.request('PUT', `${db}/e/t`, up, { ...BIN, 'content-encoding': 'gzip' });
	equal((await c.request('GET', `${db}/e/t`)).raw, text, 'packed by the client');
	// Compressed bytes that stand for nothing: blocks without content, by the thousand.
	const empty = Buffer.concat([up.subarray(0, 10), Buffer.alloc(5 * 1000000, Buffer.from([0, 0, 0, 0xff, 0xff])), gzipSync('x').subarray(10)]);
	await c.request('PUT', `${db}/f/t`, empty, { ...BIN, 'content-encoding': 'gzip' });
	assert.equal((await c.request('GET', `${db}/f/t`)).text, 'x');
	equal((await c.request('GET', `${db}/e/t`, undefined, { 'accept-encoding': 'gzip' })).raw, up, 'as it came');
});

test('an answer has the length that its head tells, whatever the uploader said of it', async () => {
	const db = await c.db();
	const text = 'HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nforged\n'.repeat(8000), up = gzipSync(text);
	for (const length of [7, 200000, text.length, 1000000]) {
		const att = { follows: true, content_type: 'text/plain', encoding: 'gzip', encoded_length: up.length, length };
		const body = Buffer.concat([Buffer.from(`--b\r\n\r\n${JSON.stringify({ _attachments: { t: att } })}\r\n--b\r\n\r\n`), up, Buffer.from('\r\n--b--')]);
		const put = await c.request('PUT', `${db}/d${length}`, body, { 'content-type': 'multipart/related; boundary=b' });
		assert.equal(put.status, 201, put.text);
		const peer = connect(server.port);
		peer.send(`GET ${db}/d${length}/t HTTP/1.1\r\nHost: x\r\nAuthorization: ${server.auth}\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
		const got = await peer.closed;
		const end = got.indexOf('\r\n\r\n') + 4, told = Number(/content-length: (\d+)/i.exec(got)[1]), next = got.slice(end + told);
		if (next) assert.match(next, /^HTTP\/1.1 200 OK\r\n[^]*"couchdb":"Welcome"/, `${length}: what follows ${told} bytes`);
		assert.equal(got.startsWith('HTTP/1.1 200'), length !== 7, `${length}`);
		assert.equal(next.length > 0, [7, text.length].includes(length), `${length}: its connection goes on`);
	}
});

test('an attachment that is removed while it is sent is cut off, and not told to be damaged', async () => {
	const db = await c.db();
	const { rev } = (await c.request('PUT', `${db}/d/t`, randomBytes(24 << 20), BIN)).json;
	const peers = [`${db}/d/t`, `${db}/d?attachments=true`].map((path) => {
		const peer = connect(server.port);
		peer.socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\nAccept: multipart/related\r\nAuthorization: ${server.auth}\r\n\r\n`);
		return peer;
	});
	for (const peer of peers) {
		await peer.until(/\r\n\r\n/);
		peer.socket.pause();
	}
	assert.equal((await c.request('DELETE', `${db}/d?rev=${rev}`)).status, 200);
	assert.equal((await c.request('POST', `${db}/_compact`, {})).status, 202);
	await until(async () => {
		const info = (await c.request('GET', db)).json;
		return !info.compact_running && info.sizes.file < 24 << 20;
	});
	for (const peer of peers) {
		peer.socket.resume();
		assert.ok((await peer.closed).length < 24 << 20);
	}
	assert.doesNotMatch(server.stderr(), /damaged|checksum/);
});

test('edits keep the body and the other attachments', async () => {
	const db = await c.db();
	let rev = (await c.request('PUT', `${db}/d`, { a: [1, { b: 2 }], _attachments: { one: { content_type: 'x/y', data: 'AAEC' } } })).json.rev;
	rev = (await c.request('PUT', `${db}/d/two?rev=${rev}`, 'two', BIN)).json.rev;
	const del = await c.request('DELETE', `${db}/d/one?rev=${rev}`);
	assert.equal(del.status, 200, del.text);
	const doc = (await c.request('GET', `${db}/d`)).json;
	assert.deepEqual(doc.a, [1, { b: 2 }]);
	assert.deepEqual(Object.keys(doc._attachments), ['two']);
	assert.equal((await c.request('PUT', `${db}/d/two?rev=${rev}`, 'x', BIN)).status, 409);
	assert.equal((await c.request('GET', `${db}/d/one`)).status, 404);
});

test('names that no attachment may have are refused where one is to be removed, too', async () => {
	const db = await c.db();
	const { rev } = (await c.request('PUT', `${db}/d`, {})).json;
	for (const query of ['', `?rev=${rev}`]) {
		const under = await c.request('DELETE', `${db}/d/_x${query}`);
		assert.deepEqual([under.status, under.json.reason], [400, "Attachment name '_x' starts with prohibited character '_'"]);
		const bytes = await c.request('DELETE', `${db}/d/%FF${query}`);
		assert.deepEqual([bytes.status, bytes.json.reason], [400, 'Attachment name is not UTF-8 encoded']);
	}
});

test('an upload that a vanished client began leaves the server well', async () => {
	const db = await c.db();
	const { request } = await import('node:http');
	for (let i = 0; i < 5; i++) {
		await new Promise((resolve) => {
			const req = request({ host: '127.0.0.1', port: server.port, method: 'PUT', path: `${db}/d${i}/a`,
				headers: { authorization: server.auth, 'content-type': 'x/y', 'content-length': 5 << 20 } });
			req.on('error', resolve);
			req.write(randomBytes(2 << 20), () => req.destroy(new Error('gone')));
		});
	}
	assert.equal((await c.request('GET', db)).json.doc_count, 0);
});

test('many uploads at once wait for the disk, and for each other', async () => {
	const db = await c.db();
	const bytes = randomBytes(3 << 20);
	const put = async (i) => {
		const mine = Buffer.from(bytes);
		mine.writeUInt32LE(i);
		return (await c.request('PUT', `${db}/d${i}/a`, mine, BIN)).status;
	};
	const statuses = await Promise.all(Array.from({ length: 96 }, (_, i) => put(i)));
	assert.deepEqual(statuses.filter((s) => s !== 201), []);
	assert.equal((await c.request('GET', db)).json.doc_count, 96);
});
