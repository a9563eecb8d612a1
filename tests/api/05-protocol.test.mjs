// HTTP itself: keep-alive, pipelining, HTTP/2 with and without TLS, clients that send half or too much.
import assert from 'node:assert/strict';
import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import { after, before, test } from 'node:test';
import { certificate, startDivand } from '../lib/divand.mjs';
import { until } from '../lib/until.mjs';
import { ask, connect, newDb } from './client.mjs';

let server;
let db;
before(async () => {
	server = await startDivand({ config: { ssl: certificate() } });
	db = await newDb(server);
});
after(() => server.stop());

const HEAD = () => `Host: 127.0.0.1\r\nAuthorization: ${server.auth}\r\n`;

test('one connection serves many requests', async () => {
	const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
	let connections = 0;
	const create = agent.createConnection;
	agent.createConnection = function (...args) {
		connections++;
		return create.apply(this, args);
	};
	for (let i = 0; i < 50; i++) assert.equal((await ask(server, 'PUT', `/${db}/k${i}`, { json: { i }, agent })).status, 201);
	assert.equal((await ask(server, 'GET', `/${db}/missing`, { agent })).status, 404);
	assert.equal((await ask(server, 'PUT', `/${db}/bad`, { body: '{', type: 'application/json', agent })).status, 400);
	assert.equal((await ask(server, 'GET', `/${db}/k49`, { agent })).json.i, 49);
	assert.equal(connections, 1);
	agent.destroy();
});

test('pipelined requests are answered in order', async () => {
	const c = connect(server.port);
	const body = (i) => `{"i":${i}}`;
	let bytes = '';
	for (let i = 0; i < 20; i++) bytes += `PUT /${db}/p${i} HTTP/1.1\r\n${HEAD()}Content-Type: application/json\r\nContent-Length: ${body(i).length}\r\n\r\n${body(i)}`;
	for (let i = 0; i < 20; i++) bytes += `GET /${db}/k${i} HTTP/1.1\r\n${HEAD()}\r\n`;
	c.send(bytes + `GET /_up HTTP/1.1\r\n${HEAD()}Connection: close\r\n\r\n`);
	const text = await c.closed;
	const writes = [...text.matchAll(/"ok":true,"id":"p(\d+)"/g)].map((m) => Number(m[1]));
	const reads = [...text.matchAll(/"_id":"k(\d+)"/g)].map((m) => Number(m[1]));
	assert.deepEqual(writes, Array.from({ length: 20 }, (_, i) => i));
	assert.deepEqual(reads, Array.from({ length: 20 }, (_, i) => i));
	assert.equal(text.match(/HTTP\/1\.1 \d+/g).length, 41);
});

test('a body in chunks, and Expect: 100-continue', async () => {
	const c = connect(server.port);
	c.send(`PUT /${db}/chunked HTTP/1.1\r\n${HEAD()}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{"a"\r\n`);
	c.send('5\r\n:"ü"\r\n1\r\n}\r\n0\r\n\r\n');
	await c.until(/HTTP\/1\.1 201/);
	c.end();
	const e = connect(server.port);
	e.send(`PUT /${db}/expected HTTP/1.1\r\n${HEAD()}Content-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n`);
	await e.until(/HTTP\/1\.1 100/);
	e.send('{}');
	await e.until(/HTTP\/1\.1 201/);
	e.end();
});

test('white space around the value of a header does not count', async () => {
	const send = async (id, headers, body) => {
		const c = connect(server.port);
		c.send(`PUT /${db}/${id} HTTP/1.1\r\n${HEAD()}Connection: close\r\nContent-Length: ${body.length}\r\n${headers}\r\n\r\n${body}`);
		const text = await c.closed;
		assert.match(text, /^HTTP\/1\.1 201/);
		return JSON.parse(text.slice(text.indexOf('{'))).rev;
	};
	const rev = await send('spaces', 'X: y', '{}');
	assert.match(await send('spaces', `If-Match: \t "${rev}" \t`, '{}'), /^2-/);
	await send('spaced/file', 'Content-Encoding:  identity\t ', 'text');
});

test('HTTP/1.0 and HEAD', async () => {
	const c = connect(server.port);
	c.send(`GET /_up HTTP/1.0\r\n${HEAD()}\r\n`);
	assert.match(await c.closed, /^HTTP\/1\.[01] 200/);
	const head = connect(server.port);
	head.send(`HEAD /${db}/k1 HTTP/1.1\r\n${HEAD()}Connection: close\r\n\r\n`);
	const text = await head.closed;
	assert.match(text, /^HTTP\/1\.1 200/);
	assert.ok(text.endsWith('\r\n\r\n'), 'no body');
});

/** Requests on one HTTP/2 session, all at once. */
async function overHttp2(session) {
	const request = (method, path, json) => new Promise((resolve, reject) => {
		const stream = session.request({ ':method': method, ':path': path, authorization: server.auth, ...(json ? { 'content-type': 'application/json' } : {}) });
		let text = '';
		let status;
		stream.on('response', (headers) => (status = headers[':status']));
		stream.on('data', (data) => (text += data));
		stream.on('error', reject);
		stream.on('end', () => resolve({ status, text }));
		stream.end(json && JSON.stringify(json));
	});
	const tag = Math.random().toString(36).slice(2);
	const writes = await Promise.all(Array.from({ length: 50 }, (_, i) => request('PUT', `/${db}/${tag}-${i}`, { i, pad: 'x'.repeat(i * 1000) })));
	assert.deepEqual(new Set(writes.map((w) => w.status)), new Set([201]));
	const reads = await Promise.all(Array.from({ length: 50 }, (_, i) => request('GET', `/${db}/${tag}-${i}`)));
	reads.forEach((read, i) => assert.equal(JSON.parse(read.text).pad.length, i * 1000));
	assert.equal((await request('GET', `/${db}/nothing`)).status, 404);

	// A feed on the session is woken by a write on it.
	const feed = session.request({ ':method': 'GET', ':path': `/${db}/_changes?feed=continuous&since=now&heartbeat=20`, authorization: server.auth });
	let seen = '';
	feed.on('data', (data) => (seen += data));
	await until(() => seen !== '', 'a beat');
	assert.equal((await request('PUT', `/${db}/${tag}-news`, {})).status, 201);
	await until(() => seen.includes(`${tag}-news`), () => `a change in ${seen}`);
	const closed = new Promise((resolve) => feed.on('close', resolve));
	feed.on('error', () => {});
	feed.close(http2.constants.NGHTTP2_CANCEL);
	await closed;
	await new Promise((resolve) => session.close(resolve));
}

test('HTTP/2 by prior knowledge', () => overHttp2(http2.connect(server.url)));

test('HTTP/2 by ALPN, and HTTP/1.1 on the same TLS port', async () => {
	const session = http2.connect(server.tlsUrl, { rejectUnauthorized: false, servername: 'localhost' });
	await new Promise((resolve, reject) => session.on('connect', resolve).on('error', reject));
	assert.equal(session.alpnProtocol, 'h2');
	await overHttp2(session);
	const status = await new Promise((resolve, reject) => {
		https.get(`${server.tlsUrl}/_up`, { rejectUnauthorized: false, servername: 'localhost', agent: false }, (res) => {
			res.resume();
			resolve([res.statusCode, res.httpVersion, res.socket.getProtocol()]);
		}).on('error', reject);
	});
	assert.deepEqual([status[0], status[1]], [200, '1.1']);
	assert.match(status[2], /^TLSv1\.[23]$/);
});

test('requests that are not HTTP, and headers that are too large, are refused; the server goes on', async () => {
	const bad = [
		['\x16\x03\x01\x02\x00\x01\x00', null],
		['NONSENSE\r\n\r\n', /^HTTP\/1\.1 400|^$/],
		[`GET /${'x'.repeat(100000)} HTTP/1.1\r\n${HEAD()}\r\n`, /^HTTP\/1\.1 4\d\d|^$/],
		[`GET /_up HTTP/1.1\r\n${HEAD()}X-Long: ${'x'.repeat(1000000)}\r\n\r\n`, /^HTTP\/1\.1 4\d\d|^$/],
		[`GET /_up HTTP/1.1\r\n${HEAD()}${Array.from({ length: 500 }, (_, i) => `X-${i}: 1\r\n`).join('')}\r\n`, /^HTTP\/1\.1 (4\d\d|200)|^$/],
	];
	for (const [bytes, want] of bad) {
		const c = connect(server.port);
		c.send(bytes);
		c.socket.end();
		const text = await c.closed;
		if (want) assert.match(text, want, bytes.slice(0, 30));
	}
	assert.equal((await ask(server, 'GET', '/_up')).status, 200);
});

test('framing that invites smuggling is refused', async () => {
	const bodies = [
		'Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x',
		'Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
		'Content-Length: -1\r\n\r\n',
		'Content-Length: 2x\r\n\r\n{}',
		'Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n',
		'Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n',
	];
	for (const rest of bodies) {
		const c = connect(server.port);
		c.send(`PUT /${db}/smuggled HTTP/1.1\r\n${HEAD()}Content-Type: application/json\r\n${rest}`);
		c.socket.end();
		const text = await c.closed;
		assert.match(text, /^HTTP\/1\.1 (4\d\d|501)|^$/, rest);
	}
	assert.equal((await ask(server, 'GET', `/${db}/smuggled`)).status, 404);
});

test('half a request writes nothing', async () => {
	const { update_seq } = (await ask(server, 'GET', `/${db}`)).json;
	for (const bytes of [
		`PUT /${db}/half HTTP/1.1\r\nHost: x\r\n`,
		`PUT /${db}/half HTTP/1.1\r\n${HEAD()}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"a":1}`,
		`PUT /${db}/half HTTP/1.1\r\n${HEAD()}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n7\r\n{"a":1}\r\n`,
		`PUT /${db}/half/att HTTP/1.1\r\n${HEAD()}Content-Type: image/png\r\nContent-Length: 3000000\r\n\r\n${'x'.repeat(2000000)}`,
	]) {
		const c = connect(server.port);
		await new Promise((resolve) => c.socket.write(bytes, resolve));
		c.socket.end();
		await c.closed;
	}
	assert.equal((await ask(server, 'GET', `/${db}/half`)).status, 404);
	assert.equal((await ask(server, 'GET', `/${db}`)).json.update_seq, update_seq);
});
