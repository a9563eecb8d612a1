// Attacks on HTTP/1: heads that two servers would read differently, what is too large or too slow, thousands of connections, one
// address that takes all, readers that do not read.  Meanwhile others are served.
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import { after, before, test } from 'node:test';
import { bystander } from '../lib/bystander.mjs';
import { startDivand } from '../lib/divand.mjs';
import { descriptors, ticks } from '../lib/process.mjs';
import { until } from '../lib/until.mjs';
import { ask, newDb } from './client.mjs';

const SLOW_MS = 1200;
let server, db, other;

before(async () => {
	server = await startDivand({
		config: { couchdb: { max_attachment_size: 50000000 }, chttpd: { max_http_request_size: 2000000 }, gate: { exempt: 'none', slow_timeout: SLOW_MS, stuck_timeout: SLOW_MS, connections_per_address: 300 } },
	});
	db = await newDb(server);
	await ask(server, 'PUT', `/${db}/doc`, { json: { a: 1 } });
	const doc = await ask(server, 'GET', `/${db}/doc`);
	other = bystander(server, `/${db}/doc`, doc.text);
	await other.quiet();
});
after(async () => {
	other.close();
	await server.stop();
});

/** A connection: all that came once it has ended, or ${until} matched. */
function raw(bytes, { from = '127.0.0.1', until, port = server.port, onConnect } = {}) {
	return new Promise((resolve) => {
		let text = '';
		const socket = net.connect({ host: '127.0.0.1', port, localAddress: from }, () => {
			if (bytes) socket.write(bytes);
			onConnect?.(socket);
		});
		socket.on('error', () => {});
		socket.on('data', (d) => {
			text += d.toString('latin1');
			if (until?.test(text)) socket.destroy();
		});
		socket.on('close', () => resolve(text));
	});
}
const statuses = (text) => [...text.matchAll(/^HTTP\/1\.1 (\d\d\d) /gm)].map((m) => Number(m[1]));
const hidden = 'GET /_up?hidden HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n';

test('a head that two servers may read differently is refused, and nothing behind it is a request', async () => {
	const get = (lines, first = 'GET /_up HTTP/1.1') => `${first}\r\n${lines}\r\n\r\n`;
	const post = (lines, body = '') => `POST /${db} HTTP/1.1\r\nHost: x\r\n${lines}\r\n\r\n${body}`;
	const bad = {
		'both lengths': post('Content-Length: 6\r\nTransfer-Encoding: chunked', '0\r\n\r\nG'),
		'both, in a GET': get('Host: x\r\nContent-Length: 6\r\nTransfer-Encoding: chunked'),
		'two lengths': post('Content-Length: 0\r\nContent-Length: 44'),
		'two lengths in a GET': get('Host: x\r\nContent-Length: 0\r\nContent-Length: 44'),
		'two equal lengths': post('Content-Length: 0\r\nContent-Length: 0'),
		'a length in a list': post('Content-Length: 0, 0'),
		'a signed length': post('Content-Length: +0'),
		'an encoding that is none': post('Transfer-Encoding: xchunked'),
		'an encoding in two lines': post('Transfer-Encoding: chunked\r\nTransfer-Encoding: identity'),
		'an encoding behind a tab': post('Transfer-Encoding:\x0bchunked'),
		'a space before the colon': post('Content-Length : 0'),
		'a space before the colon in a GET': get('Host: x\r\nTransfer-Encoding : chunked'),
		'a folded line': get('Host: x\r\nX: a\r\n b'),
		'a folded length': post('X: a\r\n Content-Length: 5'),
		'a folded first line': get(' Host: x'),
		'a bare LF': 'GET /_up HTTP/1.1\nHost: x\n\n',
		'a bare LF before a length': `POST /${db} HTTP/1.1\r\nHost: x\r\nX: y\nContent-Length: 5\r\n\r\n`,
		'a bare CR': get('Host: x\r\nX: a\rContent-Length: 5'),
		'a NUL in a value': get('Host: x\r\nX: a\0b'),
		'a NUL in a name': get('Host: x\r\nX\0: b'),
		'a NUL in the path': get('Host: x', 'GET /_up\0 HTTP/1.1'),
		'no Host': 'GET /_up HTTP/1.1\r\n\r\n',
		'two Hosts': get('Host: x\r\nHost: y'),
		'a list of Hosts': get('Host: x, y'),
		'a Host with a path': get('Host: x/y'),
		'a Host with a user': get('Host: x@y'),
		'no name': get('Host: x\r\n: value'),
		'no colon': get('Host: x\r\nnothing'),
		'a space in the path': get('Host: x', 'GET /_up /x HTTP/1.1'),
		'HTTP/1.2.3': get('Host: x', 'GET /_up HTTP/1.2.3'),
		'no version': get('Host: x', 'GET /_up'),
		'a method with a tab': get('Host: x', 'G\tET /_up HTTP/1.1'),
	};
	for (const [what, bytes] of Object.entries(bad)) {
		const text = await raw(Buffer.from(bytes + hidden, 'latin1'));
		assert.deepEqual(statuses(text), [400], `${what}: ${text.slice(0, 300)}`);
		assert.match(text, /Bad Request$|"error":"bad_request"/, what);
	}
	/* What only looks so is served: a connection goes on behind it. */
	for (const good of [get('Host: x\r\nX-Content-Length: 5'), get('Host: \t x \t'), get('Host:'), post('Content-Length: 2\r\nContent-Type: text/plain', '{}'), '\r\n' + get('HOST: x')]) {
		assert.equal(statuses(await raw(Buffer.from(good + hidden, 'latin1'))).length, 2, good);
	}
});

test('the authority of the target counts, not another Host', async () => {
	const text = await raw(`PUT http://right.example/${db}/absolute HTTP/1.1\r\nHost: wrong.example\r\nAuthorization: ${server.auth}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}`);
	assert.deepEqual(statuses(text), [201]);
	assert.match(text, /^location: http:\/\/right\.example\//im);
	assert.doesNotMatch(text, /wrong\.example/);
});

test('no name of a database is a path', async () => {
	const secret = fs.readdirSync(server.dataDir);
	for (const name of ['..', '%2e%2e', '..%2f', '%2e%2e%2f%2e%2e%2fetc%2fpasswd', '..%5c..', '.%00', 'a%00b', '%c0%ae%c0%ae', 'a%2f..%2f..%2fb', '.secret', '%2fetc', 'a/../../b', './x', '.body.x', 'a%2f%2e%2e', 'A', '%u002e', '~root', 'con%0d%0aX-Split: 1']) {
		for (const method of ['PUT', 'GET', 'DELETE']) {
			const text = await raw(Buffer.from(`${method} /${name} HTTP/1.1\r\nHost: x\r\nAuthorization: ${server.auth}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`));
			const [status] = statuses(text);
			assert.ok([400, 404, 405].includes(status) || (status === 200 && method === 'GET'), `${method} ${name}: ${text.slice(0, 200)}`);
			assert.doesNotMatch(text, /^X-Split/im);
			assert.doesNotMatch(text, /root:/);
		}
	}
	const now = fs.readdirSync(server.dataDir).filter((f) => !secret.includes(f));
	assert.deepEqual(now, [], 'files that such names made');
});

test('what is too large is refused with its status', async () => {
	const auth = `Authorization: ${server.auth}\r\n`;
	const close = 'Connection: close\r\n\r\n';
	const is = async (status, bytes, what) => assert.deepEqual(statuses(await raw(Buffer.from(bytes, 'latin1'))), [status], what);
	await is(431, `GET /_up HTTP/1.1\r\nHost: x\r\nX: ${'x'.repeat(140000)}\r\n${close}`, 'a value');
	await is(431, `GET /_up HTTP/1.1\r\nHost: x\r\n${'A: b\r\n'.repeat(150)}${close}`, 'fields');
	await is(431, `GET /${'x'.repeat(140000)} HTTP/1.1\r\nHost: x\r\n${close}`, 'a target');
	await is(431, `GET /_up HTTP/1.1\r\nHost: x\r\nCookie: ${'AuthSession=x; '.repeat(10000)}\r\n${close}`, 'cookies');
	await is(413, `PUT /${db}/x/a HTTP/1.1\r\nHost: x\r\n${auth}Content-Length: 2000001\r\n\r\n`, 'a length');
	await is(413, `PUT /${db}/x/a HTTP/1.1\r\nHost: x\r\n${auth}Transfer-Encoding: chunked\r\n\r\n1e8481\r\n${'x'.repeat(2000001)}\r\n`, 'chunks');
	await is(413, `GET /_up HTTP/1.1\r\nHost: x\r\nContent-Length: 2000001\r\n\r\n`, 'of a GET');
});

test('who never ends a head, or says nothing, does not stay; who is slow but steady does', async () => {
	other.begin();
	const dribbles = (first, piece) => raw(first, { onConnect: (s) => {
		const timer = setInterval(() => s.write(piece), 100);
		s.on('close', () => clearInterval(timer));
	} });
	const began = Date.now();
	const idle = Array.from({ length: 20 }, () => raw(null));
	const heads = Array.from({ length: 100 }, () => dribbles('GET /_up HTTP/1.1\r\nHost: x\r\n', 'X: y\r\n'));
	const bodies = Array.from({ length: 50 }, () => dribbles(`POST /_session HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n`, 'x'));
	/* A rate above the least, for several windows. */
	const steady = raw(`PUT /${db}/steady HTTP/1.1\r\nHost: x\r\nAuthorization: ${server.auth}\r\nContent-Type: application/json\r\nContent-Length: 20002\r\nConnection: close\r\n\r\n"`.replace('"', '{"a":"'), { onConnect: (s) => {
		const total = 20002 - '{"a":""}'.length;
		let sent = 0;
		const timer = setInterval(() => {
			const n = Math.min(400, total - sent);
			sent += n;
			s.write('x'.repeat(n) + (sent === total ? '"}' : ''));
			if (sent === total) clearInterval(timer);
		}, 100);
	} });
	for (const text of await Promise.all([...heads, ...bodies, ...idle])) assert.equal(statuses(text).length, 0);
	assert.ok(Date.now() - began >= SLOW_MS / 2);
	assert.deepEqual(statuses(await steady), [201]);
	await other.end('150 connections that dribble');
});

test('one address has so many connections; others come in', async () => {
	other.begin();
	const open = [];
	let refused = 0;
	for (let i = 0; i < 1500; i++) {
		open.push(new Promise((resolve) => {
			const s = net.connect({ host: '127.0.0.1', port: server.port, localAddress: '127.0.0.3' }, () => s.write('GET /_up HTTP/1.1\r\n'));
			let text = '';
			s.on('data', (d) => (text += d));
			s.on('error', () => {});
			s.on('close', () => {
				refused++;
				resolve(text);
			});
		}));
		if (i % 100 === 99) await new Promise((r) => setTimeout(r, 20));
	}
	await until(() => refused >= 1200);
	await other.end('1,500 half-open connections');
	const texts = await Promise.all(open); // the others by slow_timeout
	const told = texts.filter((t) => t.startsWith('HTTP/1.1 503 ')).length;
	assert.ok(told > 0, 'it is said why');
	assert.ok(texts.filter((t) => t !== '').every((t) => /^retry-after: \d+\r$/im.test(t)));
	/* And when they have gone it may come again. */
	assert.deepEqual(statuses(await raw('GET /_up HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n', { from: '127.0.0.3' })), [200]);
});

test('an answer that nobody takes ends its connection; one that is taken slowly comes whole', async () => {
	const body = crypto.randomBytes(24 << 20);
	const small = await startDivand({ config: { gate: { exempt: 'none', slow_timeout: SLOW_MS, stuck_timeout: SLOW_MS } } });
	try {
		const name = await newDb(small);
		await ask(small, 'PUT', `/${name}/big/a`, { body, type: 'image/png' });
		const get = `GET /${name}/big/a HTTP/1.1\r\nHost: x\r\nAuthorization: ${small.auth}\r\n\r\n`;
		const reads = (pace) => new Promise((resolve) => {
			let n = 0;
			const s = net.connect({ host: '127.0.0.1', port: small.port }, () => s.write(get));
			s.on('data', (d) => {
				n += d.length;
				pace(s, n);
			});
			s.on('error', () => {});
			s.on('close', () => resolve(n));
		});
		/* It reads a little, and then nothing until the server must have had enough. */
		let stuck, began;
		const none = reads((s) => {
			if (stuck) return;
			stuck = s;
			s.pause();
			began();
		});
		await new Promise((resolve) => (began = resolve));
		const port = (n) => `0100007F:${n.toString(16).toUpperCase().padStart(4, '0')}`;
		const ends = `${port(small.port)} ${port(stuck.localPort)} 01`;
		const isOpen = () => fs.readFileSync('/proc/net/tcp', 'latin1').includes(ends);
		for (let n = 0; n < 1000 && isOpen(); n++) await new Promise((r) => setTimeout(r, 20));
		assert.ok(!isOpen(), 'it is still open');
		stuck.resume();
		assert.ok((await none) < body.length);
		/* 100 ms for each MiB or so is slow, and goes on for several windows. */
		let held = false;
		const whole = await reads((s, n) => {
			if (!held && n < body.length / 2) {
				held = true;
				s.pause();
				setTimeout(() => {
					held = false;
					s.resume();
				}, 15);
			}
			if (n > body.length) s.end();
		});
		assert.ok(whole > body.length, `${whole} bytes`);
	} finally {
		await small.stop();
	}
});

test('requests of one address are bounded, at a time and in time; behind a proxy by the address that it tells', async () => {
	const small = await startDivand({ config: { gate: { exempt: '127.0.0.9', proxies: '127.0.0.8', requests_per_address: 5, requests_per_second: 20 } } });
	const from = (localAddress, path, headers = '') => raw(`GET ${path} HTTP/1.1\r\nHost: x\r\n${headers}Connection: close\r\n\r\n`, { from: localAddress, port: small.port });
	try {
		const make = (path) => raw(`PUT ${path} HTTP/1.1\r\nHost: x\r\nAuthorization: ${small.auth}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`, { from: '127.0.0.9', port: small.port });
		assert.deepEqual(statuses(await make('/t')), [201]);
		const feeds = [];
		for (let i = 0; i < 5; i++) {
			feeds.push(await new Promise((resolve) => {
				const s = net.connect({ host: '127.0.0.1', port: small.port, localAddress: '127.0.0.4' }, () => s.write(`GET /t/_changes?feed=continuous&since=now&heartbeat=1000 HTTP/1.1\r\nHost: x\r\nAuthorization: ${small.auth}\r\n\r\n`));
				s.once('data', () => resolve(s));
				s.on('error', () => {});
			}));
		}
		const sixth = await from('127.0.0.4', '/_up');
		assert.deepEqual(statuses(sixth), [429]);
		assert.match(sixth, /^retry-after: 1\r$/im);
		assert.match(sixth, /"error":"too_many_requests"/);
		assert.deepEqual(statuses(await from('127.0.0.5', '/_up')), [200], 'another address');
		for (const s of feeds) s.destroy();
		for (let n = 0; n < 500; n++) {
			if (statuses(await from('127.0.0.4', '/_up'))[0] === 200) break;
			await new Promise((r) => setTimeout(r, 20));
		}
		/* A burst of five seconds' worth passes, and no more. */
		const burst = async (localAddress, headers, n) => {
			let passed = 0;
			for (let i = 0; i < n; i++) passed += statuses(await from(localAddress, '/_up', headers.replace('#', i)))[0] === 200;
			return passed;
		};
		const began = Date.now();
		const passed = await burst('127.0.0.6', '', 250);
		const most = 100 + (20 * (Date.now() - began)) / 1000 + 3;
		assert.ok(passed >= 100 && passed <= Math.min(most, 249), `${passed} passed, ${most} may`);
		assert.equal(await burst('127.0.0.9', '', 250), 250, 'exempt');
		/* The proxy's clients are told apart; what a client says of itself is not believed. */
		assert.equal(await burst('127.0.0.8', 'X-Forwarded-For: 192.0.2.1\r\n', 80), 80);
		assert.equal(await burst('127.0.0.8', 'X-Forwarded-For: 192.0.2.2\r\n', 80), 80);
		assert.ok((await burst('127.0.0.8', 'X-Forwarded-For: 198.51.100.7, 192.0.2.2\r\n', 200)) < 200, 'only what the proxy added');
		assert.ok((await burst('127.0.0.7', 'X-Forwarded-For: 192.0.2.3\r\n', 100)) > 0);
		assert.ok((await burst('127.0.0.6', 'X-Forwarded-For: 203.0.113.#\r\n', 250)) < 250, 'no proxy');
	} finally {
		await small.stop();
	}
});

test('connections are bounded in all; those who wait come in when others go', async () => {
	const small = await startDivand({ config: { chttpd: { max_connections: 50 } } });
	try {
		const open = [];
		for (let i = 0; i < 50; i++) {
			open.push(await new Promise((resolve) => {
				const s = net.connect({ host: '127.0.0.1', port: small.port }, () => s.write('GET /_up HTTP/1.1\r\nHost: x\r\n\r\n'));
				s.once('data', () => resolve(s));
				s.on('error', () => {});
			}));
		}
		const waits = raw('GET /_up HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n', { port: small.port });
		const before = ticks(small);
		const first = await Promise.race([waits.then(() => 'answered'), new Promise((r) => setTimeout(r, 700, 'waits'))]);
		assert.equal(first, 'waits');
		assert.ok(ticks(small) - before < 30, 'the server does not spin');
		open[0].destroy();
		assert.deepEqual(statuses(await waits), [200]);
		for (const s of open) s.destroy();
	} finally {
		await small.stop();
	}
});

test('a client that vanishes is noticed within a second, whatever its request does', async () => {
	const own = await startDivand();
	const db = await newDb(own);
	const fds = () => descriptors(own);
	const close = { FIN: (s) => s.destroy(), RST: (s) => s.resetAndDestroy() };
	for (const path of [`/${db}/_changes?feed=longpoll&since=now&timeout=50000`, `/${db}/_changes?feed=continuous&since=now&timeout=50000`, '/_db_updates?feed=longpoll&since=now&timeout=50000', `/${db}/_changes?feed=eventsource&since=now&timeout=50000`]) {
		for (const [how, end] of Object.entries(close)) {
			const before = fds();
			const socks = await Promise.all(Array.from({ length: 20 }, () => new Promise((resolve) => {
				const s = net.connect(own.port, '127.0.0.1', () => s.write(`GET ${path} HTTP/1.1\r\nHost: x\r\nAuthorization: ${own.auth}\r\n\r\n`, () => resolve(s)));
				s.on('error', () => {});
			})));
			/* The first request may open a file as well. */
			for (let n = 0; n < 2000 && fds() < before + 20; n++) await new Promise((r) => setTimeout(r, 5));
			await new Promise((r) => setTimeout(r, 50));
			const began = Date.now();
			for (const s of socks) end(s);
			while (fds() > before + 2 && Date.now() - began < 20000) await new Promise((r) => setTimeout(r, 10));
			const took = Date.now() - began;
			assert.ok(fds() <= before + 2, `${how}, ${path}: ${fds() - before} stay`);
			if (took > 1000) console.log(`${how}, ${path}: took ${took} ms`);
		}
	}
	await own.stop();
});

test('bodies of strangers that are taken in whole are bounded, together', async () => {
	const small = await startDivand({ config: { gate: { exempt: 'none', unauthenticated_bytes: 3000000 } } });
	const large = Buffer.alloc(8000000, 'x');
	const put = (version, more = '') => `PUT /${db}/doc/a HTTP/${version}\r\nHost: x\r\nContent-Length: ${large.length}\r\n${more}\r\n`;
	const first = 'GET /_up HTTP/1.1\r\nHost: x\r\n\r\n';
	const send = (head, until) => raw(head, { port: small.port, until, onConnect: (socket) => socket.write(large) });
	try {
		await ask(small, 'PUT', `/${db}`);
		for (const head of [put('1.0'), put('1.2'), first + put('1.1'), `${first}PUT /${db}/doc/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n7a1200\r\n`])
			assert.equal(statuses(await send(head)).at(-1), 503, head);
		assert.match(small.stderr(), /ended: too many bytes of requests that nobody has authenticated/);
		/* Nor does it count while its client stays. */
		const stays = net.connect({ port: small.port, host: '127.0.0.1', allowHalfOpen: true }).on('error', () => {});
		stays.write(put('1.0'));
		stays.write(large.subarray(0, 5000000));
		assert.match(String((await once(stays, 'data'))[0]), / 503 /);
		const half = 'x'.repeat(400000);
		const modest = (socket) => void setTimeout(() => socket.write(half), 300);
		assert.deepEqual(statuses(await raw(`PUT /${db}/doc/a HTTP/1.0\r\nContent-Length: 800000\r\n\r\n${half}`, { port: small.port, onConnect: modest })), [401]);
		stays.destroy();
		/* What was refused no longer counts; who has authenticated on the connection is no stranger. */
		const mine = `Authorization: ${small.auth}\r\n`;
		assert.deepEqual(statuses(await send(`GET /${db} HTTP/1.1\r\nHost: x\r\n${mine}\r\n${put('1.1', `${mine}Connection: close\r\n`)}`)), [200, 201]);
	} finally {
		await small.stop();
	}
});
