// Attachments that are much larger than the memory that may be spent on them: in and out in every form.
import assert from 'node:assert/strict';
import http2 from 'node:http2';
import { once } from 'node:events';
import { PassThrough, Readable } from 'node:stream';
import { after, before, test } from 'node:test';
import zlib from 'node:zlib';
import { certificate, startDivand } from '../lib/divand.mjs';
import { MIB, Reader, SIZE_MIB, ask, boundaryOf, measure, pieces, readRelated, request, watched, write } from './lib.mjs';

const SIZE = SIZE_MIB * MIB;
const QUARTER = SIZE / 4 + 12345;
const BIN = { 'content-type': 'application/octet-stream' };
let one, two;

before(async () => {
	one = await startDivand({ config: { ssl: certificate() } });
	two = await startDivand();
	for (const server of [one, two]) {
		await ask(server, 'PUT', '/small');
		await ask(server, 'PUT', '/small/doc', { json: { n: 1 } });
		await ask(server, 'PUT', '/large');
		// What a first use sets aside for good is not what is measured.
		await ask(server, 'PUT', '/small/warm/a', { headers: BIN, body: pieces(4 * MIB, 99) });
		await measure(await request(server, 'GET', '/small/warm/a'));
	}
});
after(async () => {
	await one?.stop();
	await two?.stop();
});

const get = async (path, headers) => {
	const res = await request(one, 'GET', path, { headers });
	return { status: res.statusCode, headers: res.headers, ...(await measure(res)) };
};

test(`${SIZE_MIB} MiB, put and got`, async () => {
	const want = await measure(pieces(SIZE, 1));
	const put = await watched([one], 'PUT with Content-Length', () =>
		ask(one, 'PUT', '/large/a/bytes', { headers: { ...BIN, 'content-length': SIZE }, body: pieces(SIZE, 1) }));
	assert.equal(put.status, 201);
	const got = await watched([one], 'GET', () => get('/large/a/bytes'));
	assert.deepEqual([got.status, got.length, got.md5], [200, want.length, want.md5]);
	assert.equal(got.headers.etag, `"${want.md5}"`);

	assert.equal((await ask(one, 'GET', '/large/a')).json._attachments.bytes.length, SIZE);
	const head = await request(one, 'HEAD', '/large/a/bytes');
	head.resume();
	assert.equal(head.headers['content-length'], String(SIZE));
	const same = await get('/large/a/bytes', { 'if-none-match': got.headers.etag });
	assert.deepEqual([same.status, same.length], [304, 0]);

	// A download that was cut off goes on where it was.
	const half = SIZE / 2 + 4321;
	const rest = await get('/large/a/bytes', { range: `bytes=${half}-` });
	assert.deepEqual([rest.status, rest.headers['content-range']], [206, `bytes ${half}-${SIZE - 1}/${SIZE}`]);
	const behind = function* () {
		let at = 0;
		for (const piece of pieces(SIZE, 1)) {
			if (at + piece.length > half) yield piece.subarray(Math.max(0, half - at));
			at += piece.length;
		}
	};
	assert.deepEqual({ length: rest.length, md5: rest.md5 }, await measure(behind()));
});

test(`${SIZE_MIB} MiB in chunks`, async () => {
	const want = await measure(pieces(SIZE, 2));
	const put = await watched([one], 'PUT, chunked', () => ask(one, 'PUT', '/large/chunked/bytes', { headers: BIN, body: pieces(SIZE, 2) }));
	assert.equal(put.status, 201);
	const doc = await ask(one, 'GET', '/large/chunked');
	assert.equal(doc.json._attachments.bytes.digest, `md5-${want.md5}`);
	assert.equal(doc.json._attachments.bytes.length, SIZE);
});

test(`${SIZE_MIB} MiB that are stored compressed`, async () => {
	const want = await measure(pieces(SIZE, 3, true));
	const put = await watched([one], 'PUT of text', () => ask(one, 'PUT', '/large/text/t', { headers: { 'content-type': 'text/plain' }, body: pieces(SIZE, 3, true) }));
	assert.equal(put.status, 201);
	const got = await watched([one], 'GET of text', () => get('/large/text/t'));
	assert.deepEqual([got.status, got.length, got.md5], [200, want.length, want.md5]);
});

const packed = () => Readable.from(pieces(QUARTER, 6)).pipe(zlib.createGzip({ level: 0 }));

test(`${SIZE_MIB} MiB in parts, in and out, and on to another server`, async () => {
	const sent = {
		one: { source: () => pieces(QUARTER, 4), type: 'image/one' },
		two: { source: () => pieces(QUARTER, 5), type: 'image/two' },
		gz: { source: packed, type: 'text/plain', encoding: 'gzip' },
		four: { source: () => pieces(QUARTER, 7), type: 'image/four' },
	};
	const doc = { n: 1, _attachments: {} };
	for (const [name, part] of Object.entries(sent)) {
		Object.assign(part, await measure(part.source()));
		doc._attachments[name] = { follows: true, content_type: part.type, digest: `md5-${part.md5}` };
		if (part.encoding) Object.assign(doc._attachments[name], { encoding: 'gzip', encoded_length: part.length, length: QUARTER });
		else doc._attachments[name].length = part.length;
	}
	const body = async function* () {
		yield Buffer.from(`--parts\r\nContent-Type: application/json\r\n\r\n${JSON.stringify(doc)}`);
		for (const part of Object.values(sent)) {
			yield Buffer.from('\r\n--parts\r\n\r\n');
			yield* part.source();
		}
		yield Buffer.from('\r\n--parts--');
	};
	const put = await watched([one], 'PUT of multipart/related', () =>
		ask(one, 'PUT', '/large/parts', { headers: { 'content-type': 'multipart/related; boundary="parts"' }, body: body() }));
	assert.equal(put.status, 201, JSON.stringify(put.json));
	const check = ({ doc: got, atts }) => {
		assert.equal(got._rev, put.json.rev);
		assert.deepEqual(atts.map(({ length, md5 }) => [length, md5]), Object.values(sent).map(({ length, md5 }) => [length, md5]));
	};

	check(await watched([one], 'GET of multipart/related', async () => {
		const res = await request(one, 'GET', '/large/parts?attachments=true', { headers: { accept: 'multipart/related' } });
		const reader = new Reader(res);
		const all = await readRelated(reader, boundaryOf(res.headers['content-type']));
		await reader.end();
		return all;
	}));

	check(await watched([one], '_bulk_get as multipart', async () => {
		const res = await request(one, 'POST', '/large/_bulk_get?attachments=true', {
			headers: { accept: 'multipart/mixed', 'content-type': 'application/json' }, body: [Buffer.from('{"docs":[{"id":"parts"}]}')],
		});
		const reader = new Reader(res);
		const head = (await reader.until('\r\n\r\n')).toString();
		return readRelated(reader, boundaryOf(/Content-Type: (.*)/.exec(head)[1]));
	}));

	// As CouchDB's replicator does it: the part of open_revs goes on as it comes.
	check(await watched([one, two], 'open_revs to new_edits=false', async () => {
		const res = await request(one, 'GET', `/large/parts?open_revs=["${put.json.rev}"]&revs=true&latest=true`, { headers: { accept: 'multipart/mixed' } });
		const outer = new Reader(res);
		const type = /Content-Type: (.*)/.exec((await outer.until('\r\n\r\n')).toString())[1];
		const through = new PassThrough();
		const stored = ask(two, 'PUT', '/large/parts?new_edits=false', { headers: { 'content-type': type }, body: through });
		stored.finally(() => through.resume()).catch(() => {}); // one that refuses does not hold us up
		outer.copy = through;
		const all = await readRelated(outer, boundaryOf(type));
		through.end();
		const answer = await stored;
		assert.equal(answer.status, 201, JSON.stringify(answer.json));
		return all;
	}));
	const [here, there] = [await ask(one, 'GET', '/large/parts?att_encoding_info=true'), await ask(two, 'GET', '/large/parts?att_encoding_info=true')];
	assert.deepEqual(there.json, here.json);
});

test(`${SIZE_MIB} MiB over HTTP/2 and TLS`, async () => {
	const want = await measure(pieces(SIZE, 8));
	const session = http2.connect(one.tlsUrl, { rejectUnauthorized: false });
	const send = async (headers, body) => {
		const stream = session.request({ authorization: one.auth, ...headers }, { endStream: !body });
		const answered = once(stream, 'response');
		if (body) {
			await write(stream, body);
			stream.end();
		}
		const [head] = await answered;
		return { status: head[':status'], ...(await measure(stream)) };
	};
	const put = await watched([one], 'PUT over HTTP/2 (kept in a file first)', () =>
		send({ ':method': 'PUT', ':path': '/large/h2/bytes', ...BIN, 'content-length': SIZE }, pieces(SIZE, 8)), { check: false });
	assert.equal(put.status, 201);
	const got = await watched([one], 'GET over HTTP/2', () => send({ ':method': 'GET', ':path': '/large/h2/bytes' }));
	assert.deepEqual([got.status, got.length, got.md5], [200, want.length, want.md5]);
	session.close();
});

test('a body that unpacks to more than may be', async () => {
	const bomb = [];
	for await (const piece of Readable.from(pieces(300 * MIB, 9, true)).pipe(zlib.createGzip())) bomb.push(piece);
	const answer = await watched([one], '300 MiB of JSON as gzip', () =>
		ask(one, 'POST', '/large/_bulk_docs', { headers: { 'content-type': 'application/json', 'content-encoding': 'gzip' }, body: bomb }));
	assert.deepEqual([answer.status, answer.json.error], [413, 'too_large']);
});
