// Heads of answers over HTTP/2: what a client reads is the same, whoever has written them, and the table that both sides
// keep of them does not fill up with values that never come again.
import assert from 'node:assert/strict';
import http2 from 'node:http2';
import { after, before, test } from 'node:test';
import { ask, newDb } from './client.mjs';
import { startDivand } from '../lib/divand.mjs';

const ROUNDS = 30;
let server, db;

before(async () => {
	server = await startDivand({ config: { httpd: { enable_cors: 'true' }, chttpd: { enable_cors: 'true' }, cors: { origins: '*' } } });
	db = await newDb(server);
	for (let i = 0; i < ROUNDS; i++) assert.equal((await ask(server, 'PUT', `/${db}/doc${i}`, { json: { i } })).status, 201);
	assert.equal((await ask(server, 'PUT', `/${db}/with/a.txt`, { body: 'some text', type: 'text/plain' })).status, 201);
});

after(() => server.stop());

/** {status, headers, text} of a request over an HTTP/2 session. */
function over(session, method, path, { headers = {}, body, auth = server.auth } = {}) {
	return new Promise((resolve, reject) => {
		const stream = session.request({ ':method': method, ':path': path, ...(auth ? { authorization: auth } : {}), ...headers });
		let head, text = '';
		stream.on('response', (h) => (head = h));
		stream.on('data', (d) => (text += d));
		stream.on('end', () => resolve({ status: head[':status'], headers: head, text }));
		stream.on('error', reject);
		stream.end(body);
	});
}

async function within(options, fn) {
	const session = http2.connect(server.url, options);
	let failed;
	session.on('error', (e) => (failed = e));
	const result = await fn(session);
	assert.equal(failed, undefined);
	session.destroy();
	return result;
}

const OWN = ['date', 'x-couch-request-id', 'connection', 'keep-alive', 'transfer-encoding'];
/** What a head says, but for what differs from answer to answer and from version to version. */
const told = (headers) => Object.entries(headers).filter(([name]) => !name.startsWith(':') && !OWN.includes(name)).sort();

const KINDS = [
	{ path: (i) => `/${db}/doc${i}` },
	{ path: (i) => `/${db}/nobody${i}` },
	{ path: () => '/' },
	{ path: () => `/${db}/with/a.txt` },
	{ path: () => `/${db}/with/a.txt`, headers: { range: 'bytes=2-4' } },
	{ path: () => '/_utils/' },
	{ path: () => `/${db}/_all_docs?limit=3` },
	{ path: (i) => `/${db}/doc${i}`, method: 'HEAD' },
	{ path: (i) => `/${db}/doc${i}`, headers: { origin: 'https://app.example' } },
	{ path: (i) => `/${db}/doc${i}`, headers: { prefer: 'return=minimal' } },
	{ path: () => `/${db}/doc1`, method: 'PUT', body: '{}' },
	{ path: () => `/${db}/_compact`, method: 'GET' },
	{ path: () => '/_session', headers: { cookie: 'AuthSession=none' } },
	{ path: () => '/_node/_local/_config', anonymous: true },
	{ path: (i) => `/${db}/doc${i}`, headers: { 'x-couch-request-id': 'a-name-of-ours' }, id: 'a-name-of-ours' },
];

/** Ask for ${kind} both ways, and compare. */
async function same(session, kind, i) {
	const { path, method = 'GET', headers, body, anonymous } = kind;
	const auth = anonymous ? null : server.auth;
	const plain = await ask(server, method, path(i), { headers, body, auth });
	const got = await over(session, method, path(i), { headers, body, auth });
	const what = `${method} ${path(i)}`;
	assert.equal(got.status, plain.status, what);
	assert.equal(got.text, plain.text, what);
	assert.deepEqual(told(got.headers), told(plain.headers), what);
	assert.ok(Date.parse(got.headers.date) > 0, what);
	if (kind.id) assert.equal(got.headers['x-couch-request-id'], kind.id);
	return got;
}

test('heads of all kinds say over HTTP/2 what they say over HTTP/1, in any order', async () => {
	for (const options of [{}, { settings: { initialWindowSize: 1 << 20 } }]) {
		await within(options, async (session) => {
			for (const kind of KINDS) for (let i = 0; i < 3; i++) await same(session, kind, i);
			for (let i = 0; i < ROUNDS; i++) for (const k of [0, i % KINDS.length, (i * 7) % KINDS.length]) await same(session, KINDS[k], i);
		});
	}
});

test('each answer has its own tag and its own request id', async () => {
	await within({}, async (session) => {
		const all = await Promise.all(Array.from({ length: ROUNDS }, (_, i) => over(session, 'GET', `/${db}/doc${i}`)));
		const ids = new Set(all.map((a) => a.headers['x-couch-request-id']));
		assert.equal(ids.size, ROUNDS);
		for (const a of all) {
			assert.match(a.headers['x-couch-request-id'], /^[0-9a-f]{10}$/);
			assert.equal(a.headers.etag, `"${JSON.parse(a.text)._rev}"`);
			assert.equal(Number(a.headers['content-length']), Buffer.byteLength(a.text));
		}
	});
});

test('a write tells where the document is, and 304 that it has not changed', async () => {
	await within({}, async (session) => {
		for (let i = 0; i < ROUNDS; i++) {
			const id = `new${i}-${'x'.repeat(i * 5)}`;
			const put = await over(session, 'PUT', `/${db}/${id}`, { body: '{}', headers: { 'content-type': 'application/json' } });
			assert.equal(put.status, 201);
			assert.ok(put.headers.location.endsWith(`/${db}/${id}`), put.headers.location);
			assert.equal(put.headers.etag, `"${JSON.parse(put.text).rev}"`);
			const again = await over(session, 'GET', `/${db}/${id}`, { headers: { 'if-none-match': put.headers.etag } });
			assert.equal(again.status, 304);
			assert.equal(again.headers.etag, put.headers.etag);
			assert.equal(again.text, '');
		}
	});
});

test('the table of the client does not fill up with tags and request ids', async () => {
	await within({}, async (session) => {
		const dates = new Set();
		for (let i = 0; i < 3 * ROUNDS; i++) dates.add((await over(session, 'GET', `/${db}/doc${i % ROUNDS}`)).headers.date);
		const size = session.state.inflateDynamicTableSize;
		// The first head and the first of each further second are taken in whole: about 440 bytes and 200.
		assert.ok(size > 100 && size <= 500 + 250 * (dates.size - 1), `${size} bytes after ${dates.size} seconds`);
	});
});

test('a client may allow a smaller table, or none', async () => {
	for (const headerTableSize of [0, 1, 30, 31, 158, 159, 1000, 4095, 65536]) {
		await within({ settings: { headerTableSize } }, async (session) => {
			for (let i = 0; i < 3; i++) {
				const answers = await Promise.all([`/${db}/doc${i}`, '/', `/${db}/nobody`].map((path) => over(session, 'GET', path)));
				assert.deepEqual(answers.map((a) => a.status), [200, 200, 404], `${headerTableSize}`);
				assert.equal(JSON.parse(answers[0].text).i, i);
				assert.match(answers[0].headers.server, /Divan/);
			}
		});
	}
	// One that changes its mind.
	await within({}, async (session) => {
		for (const headerTableSize of [4096, 200, 4096, 0, 4096]) {
			await new Promise((resolve, reject) => session.settings({ headerTableSize }, (e) => (e ? reject(e) : resolve())));
			for (let i = 0; i < 3; i++) assert.equal((await over(session, 'GET', `/${db}/doc${i}`)).status, 200, `${headerTableSize}`);
		}
	});
});

test('every answer says who serves, also those that the engine gives by itself', async () => {
	for (const headers of [{}, { expect: 'the impossible' }]) {
		const answer = await ask(server, 'PUT', `/${db}/named`, { json: {}, headers });
		assert.equal(answer.status, headers.expect ? 417 : 201);
		assert.match(answer.headers.server, /^CouchDB\/.* \(Divan\//);
	}
	await within({}, async (session) => assert.match((await over(session, 'GET', '/')).headers.server, /^CouchDB\/.* \(Divan\//));
});
