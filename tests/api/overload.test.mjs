// More requests with bodies than the server can hold at a time, over HTTP/1 and HTTP/2: each is answered with 201, or with 503 and Retry-After,
// what was acknowledged is there, memory stays under a bound, others are served meanwhile, and in the end all is given back.
// OVERLOAD_SECONDS, OVERLOAD_CONNECTIONS, OVERLOAD_BYTES, OVERLOAD_SHARE (MiB): the long form, `make overload`.
import assert from 'node:assert/strict';
import http from 'node:http';
import http2 from 'node:http2';
import net from 'node:net';
import { after, before, test } from 'node:test';
import { startDivand } from '../lib/divand.mjs';
import { anonKiB } from '../lib/process.mjs';
import { until } from '../lib/until.mjs';
import { ask, assertError, connect, newDb } from './client.mjs';

const MB = 1 << 20;
const SECONDS = Number(process.env.OVERLOAD_SECONDS ?? 1.2);
const CONNECTIONS = Number(process.env.OVERLOAD_CONNECTIONS ?? 120);
const BYTES = Number(process.env.OVERLOAD_BYTES ?? 400000);
const SHARE = Number(process.env.OVERLOAD_SHARE ?? 16) * MB;
const WAIT = 300;
// What the share does not count: malloc's own, LMDB's pages, a transaction's 16 MiB, sockets.
const BESIDE = 48 * MB;
let server;
before(async () => {
	server = await startDivand({ config: { gate: { request_memory: SHARE, request_wait: WAIT } } });
});
after(() => server?.stop());

const anon = () => anonKiB(server) * 1024;
const room = async (of = server) => Object.fromEntries(Object.entries((await ask(of, 'GET', '/_node/_local/_stats/divan/request_memory')).json).map(([k, v]) => [k, v.value]));
/** Waits until what is counted of a server's room is as ${wanted}() would have it. */
const roomIs = async (wanted, what, of = server) => {
	let now;
	await until(async () => wanted((now = await room(of))), () => `${what}: ${JSON.stringify(now)}`);
};
const text = (id, bytes) => JSON.stringify({ _id: id, n: 1, text: Array.from({ length: Math.ceil(bytes / 8) }, () => Math.random().toString(36).slice(2, 10)).join('').slice(0, bytes - 40) });
const filler = text('', BYTES).slice('{"_id":""'.length);
const body = (id) => `{"_id":"${id}"${filler}`;

/** The account is as before any request with a body; and memory, once it was trimmed. */
async function atRest(before) {
	await roomIs((n) => n.held === 0 && n.parked === 0 && n.waiting === 0 && n.owed === 0, 'all is given back');
	await until(() => anon() < before + 12 * MB, () => `memory is given back: ${anon() / MB} MiB, ${before / MB} before`);
}

/** The highest of RssAnon until stop() is called. */
function watch() {
	const w = { peak: 0 };
	const timer = setInterval(() => (w.peak = Math.max(w.peak, anon())), 10);
	w.stop = () => clearInterval(timer);
	return w;
}

const percentile = (times, p) => [...times].sort((a, b) => a - b)[Math.min(times.length - 1, Math.floor(times.length * p))] ?? 0;
function tell(t, what, n, times, w) {
	const line = `${what}: ${n[201] ?? 0} written, ${n[503] ?? 0} times 503; p50 ${percentile(times, 0.5).toFixed(0)} ms, p99 ${percentile(times, 0.99).toFixed(0)} ms; RssAnon at most ${(w.peak / MB).toFixed(0)} MiB`;
	t.diagnostic(line);
	if (process.env.OVERLOAD_SECONDS) console.log(line);
}

/** A client that announces a body of ${n} bytes and does not send it holds what that would take. */
function hold(db, n) {
	const c = connect(server.port);
	c.send(`PUT /${db}/held HTTP/1.1\r\nHost: x\r\nAuthorization: ${server.auth}\r\nContent-Type: application/json\r\nContent-Length: ${n}\r\n\r\n{`);
	return c;
}

/** So many of them that there is no room for BYTES.  Resolves to a function that ends them. */
async function holdAll(db) {
	const holders = [], cost = (n) => Math.min(16384 + 4 * n, SHARE / 2);
	let left = 0.75 * SHARE;
	while (left >= cost(BYTES)) {
		const n = Math.floor(Math.min(7 * MB, (left - 16384) / 4));
		holders.push(hold(db, n));
		left -= cost(n);
	}
	await roomIs((n) => n.held >= 0.75 * SHARE - left, 'all is held');
	return () => holders.forEach((c) => c.end());
}

/** ${clients} of ${put}(id) -> {status, headers, text} in a row for SECONDS; what they were answered. */
async function load(t, what, clients, put, shares = 1.5) {
	const db = await newDb(server, 'over');
	await ask(server, 'PUT', `/${db}/there`, { json: { n: 7 } });
	const before = anon(), w = watch(), count = {}, written = [], times = [], end = Date.now() + SECONDS * 1000;
	const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
	// At first nothing fits, so that something is refused however fast the machine is.
	let serial = 0, looks = 0, release = await holdAll(db);
	const bystander = (async () => {
		do {
			const got = await ask(server, 'GET', `/${db}/there`, { agent });
			assert.equal(got.status, 200, got.text);
			looks++;
			await new Promise((go) => setTimeout(go, 20));
		} while (Date.now() < end);
	})();
	await Promise.all(Array.from({ length: clients }, async (_, c) => {
		do {
			const id = `d${++serial}`, began = performance.now();
			const got = await put(db, id, c);
			times.push(performance.now() - began);
			count[got.status] = (count[got.status] ?? 0) + 1;
			if (got.status === 201) written.push(id);
			else {
				assertError(got, 503, 'service_unavailable');
				assert.ok(got.headers['retry-after'] > 0, 'Retry-After');
				release?.();
				release = null;
				await new Promise((go) => setTimeout(go, 50));
			}
		} while (Date.now() < end || !count[201]);
	}));
	await bystander;
	w.stop();
	agent.destroy();
	tell(t, what, count, times, w);
	assert.ok(looks > 0 && count[201] > 0, JSON.stringify(count));
	assert.ok(w.peak - before < shares * SHARE + BESIDE, `${w.peak / MB} MiB, ${before / MB} before`);
	const { rows } = (await ask(server, 'GET', `/${db}/_all_docs`)).json;
	const there = new Set(rows.map((r) => r.id));
	assert.deepEqual(written.filter((id) => !there.has(id)), []);
	assert.equal(there.size, written.length + 1, 'and nothing that was refused');
	await ask(server, 'DELETE', `/${db}`);
	return count;
}

test('HTTP/1: more than the share', { timeout: 60000 + SECONDS * 1000 }, async (t) => {
	const before = anon();
	const agents = Array.from({ length: CONNECTIONS }, () => new http.Agent({ keepAlive: true, maxSockets: 1 }));
	const count = await load(t, `HTTP/1, ${CONNECTIONS} connections with ${BYTES} bytes`, CONNECTIONS,
		(db, id, c) => ask(server, 'PUT', `/${db}/${id}`, { body: body(id), type: 'application/json', agent: agents[c] }));
	for (const a of agents) a.destroy();
	assert.ok(count[503] > 0, 'nothing was shed');
	await atRest(before);
});

test('HTTP/2: the same on few connections', { timeout: 60000 + SECONDS * 1000 }, async (t) => {
	const before = anon();
	const sessions = Array.from({ length: 4 }, () => http2.connect(server.url, { maxSessionMemory: 1000 }));
	const put = (db, id, c) => new Promise((resolve, reject) => {
		const stream = sessions[c % 4].request({ ':method': 'PUT', ':path': `/${db}/${id}`, authorization: server.auth, 'content-type': 'application/json' });
		let got = '', headers;
		stream.on('response', (h) => (headers = h));
		stream.setEncoding('utf8').on('data', (d) => (got += d));
		stream.on('error', reject);
		stream.on('end', () => resolve({ status: headers[':status'], headers, text: got, json: JSON.parse(got) }));
		stream.end(body(id));
	});
	const count = await load(t, `HTTP/2, 4 connections with ${CONNECTIONS} streams of ${BYTES} bytes`, CONNECTIONS, put, 2); // h2o's buffers double as bodies come, and malloc keeps what they were for a while
	for (const s of sessions) s.destroy();
	assert.ok(count[503] > 0, 'nothing was shed');
	await atRest(before);
});

test('small requests pass large ones that wait; a request that takes more than the share is served when it is alone', { timeout: 60000 }, async () => {
	const db = await newDb(server, 'alone');
	const before = anon();
	const release = await holdAll(db);
	for (let i = 0; i < 20; i++) assert.equal((await ask(server, 'PUT', `/${db}/small${i}`, { json: { i } })).status, 201);
	release();
	await atRest(before);
	const docs = Array.from({ length: 6 }, (_, i) => ({ _id: `large${i}`, text: filler.slice(0, 100).repeat(40000) }));
	const bulk = await ask(server, 'POST', `/${db}/_bulk_docs`, { json: { docs } });
	assert.equal(bulk.status, 201, bulk.text.slice(0, 200));
	assert.equal((await ask(server, 'GET', `/${db}/large5`)).json.text.length, 4000000);
	const bytes = Buffer.alloc(20 * MB, 'divan');
	const att = await ask(server, 'PUT', `/${db}/att/a`, { body: bytes, type: 'application/octet-stream' });
	assert.equal(att.status, 201, att.text);
	assert.ok((await ask(server, 'GET', `/${db}/att/a`)).raw.equals(bytes));
	await roomIs((n) => n.held === 0 && n.parked === 0, 'room is given back');
});

test('heads and bodies that come slowly, or in a row, count as they come', { timeout: 60000 }, async () => {
	const db = await newDb(server, 'slow');
	const before = anon(), w = watch();
	// What stands behind a request of the same connection is read with it, and goes past the gate.
	const part = `PUT /${db}/p HTTP/1.1\r\nHost: x\r\nAuthorization: ${server.auth}\r\nContent-Type: application/json\r\nContent-Length: 900000\r\n\r\n${'x'.repeat(700000)}`;
	const sockets = Array.from({ length: 60 }, () => {
		const s = net.connect(server.port, '127.0.0.1');
		s.on('error', () => {});
		s.got = '';
		s.on('data', (d) => (s.got += d.toString('latin1')));
		s.write(`GET / HTTP/1.1\r\nHost: x\r\n\r\n${part}`);
		return s;
	});
	await Promise.all(sockets.map((s) => new Promise((resolve) => {
		const look = () => (s.got.includes('couchdb') ? resolve() : setTimeout(look, 20));
		look();
	})));
	assert.equal((await ask(server, 'PUT', `/${db}/other`, { json: {} })).status, 201);
	w.stop();
	assert.ok(w.peak - before < 1.5 * SHARE + BESIDE, `${w.peak / MB} MiB, ${before / MB} before`);
	for (const s of sockets) s.destroy();
	await atRest(before);
});

test('a feed that was asked for by POST holds no room while it waits', { timeout: 60000 }, async () => {
	const db = await newDb(server, 'feed'), ids = JSON.stringify({ doc_ids: Array.from({ length: 40 }, (_, i) => `doc${i}`) });
	const feeds = ['continuous', 'longpoll', 'eventsource'].map((kind) => {
		const c = connect(server.port);
		c.send(`POST /${db}/_changes?feed=${kind}&filter=_doc_ids&heartbeat=60000 HTTP/1.1\r\nHost: x\r\nAuthorization: ${server.auth}\r\nContent-Type: application/json\r\nContent-Length: ${ids.length}\r\n\r\n${ids}`);
		return c;
	});
	await Promise.all(feeds.map((c) => c.until(/^HTTP\/1.1 200/)));
	assert.equal((await room()).held, 0);
	for (const c of feeds) c.end();
	await atRest(anon());
});

test('bodies behind heads that had room: each answer is the handler\'s, with all its headers', { timeout: 60000 }, async () => {
	const db = await newDb(server, 'heads'), length = 200000, json = text('', length).replace('"_id":"",', ''), end = json.length;
	const clients = Array.from({ length: Math.ceil(SHARE / length) }, (_, i) => {
		const c = connect(server.port);
		c.send(`PUT /${db}/d${i} HTTP/1.1\r\nHost: x\r\nAuthorization: ${server.auth}\r\nContent-Type: application/json\r\nContent-Length: ${end}\r\n\r\n${json.slice(0, 1000)}`);
		return c;
	});
	await roomIs((n) => n.parked > 0.4 * SHARE, 'what they announce is counted');
	for (const c of clients) c.send(json.slice(1000));
	for (const c of clients) {
		const [head, status] = await c.until(/^HTTP\/1.1 (\d+)[^]*\r\n\r\n/);
		assert.ok(status === '201' || status === '503', head);
		assert.match(head, /\nserver:/i);
		if (status === '503') assert.match(head, /\nretry-after:/i);
	}
	for (const c of clients) c.end();
	await atRest(anon());
});

test('a server that ends gives up who waits for room', { timeout: 60000 }, async () => {
	const ending = await startDivand({ config: { gate: { request_memory: SHARE, request_wait: 60000 } } });
	try {
		const db = await newDb(ending, 'end'), head = `Host: x\r\nAuthorization: ${ending.auth}\r\nContent-Type: application/json\r\nContent-Length: ${SHARE}\r\n\r\n`;
		const clients = ['holds', 'waits', 'waits2'].map((id) => [id, connect(ending.port)]);
		for (const [id, c] of clients) {
			c.send(`PUT /${db}/${id} HTTP/1.1\r\n${head}{`);
			await roomIs((n) => n.held > 0 && n.waiting === clients.findIndex(([x]) => x === id), `${id} has come`, ending);
		}
		const [, ...waiting] = clients;
		const answers = waiting.map(([, c]) => c.until(/^HTTP\/1.1 (\d+)[^]*\r\n\r\n/));
		// An error, if it does not end by itself.
		await ending.stop();
		for (const [head, status] of await Promise.all(answers)) {
			assert.equal(status, '503', head);
			assert.match(head, /\nretry-after:/i);
		}
	} finally {
		await ending.kill();
	}
});

test('an answer that is encoded piece by piece counts while nobody takes it', { timeout: 60000 }, async () => {
	const db = await newDb(server);
	assert.equal((await ask(server, 'PUT', `/${db}/large`, { body: text('large', 6 * MB) })).status, 201);
	await roomIs((n) => n.held === 0, 'the write is over');
	const slow = net.connect(server.port, '127.0.0.1').on('error', () => {});
	slow.pause();
	slow.write(`GET /${db}/large HTTP/1.1\r\nHost: x\r\nAuthorization: ${server.auth}\r\nAccept-Encoding: gzip, identity;q=0\r\n\r\n`);
	// The document as it was read, and the answer.
	await roomIs((n) => n.owed > 11 * MB, 'it counts');
	slow.destroy();
	await roomIs((n) => n.owed === 0, 'no longer');
});
