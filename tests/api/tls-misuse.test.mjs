// TLS misused: what is no TLS, handshakes that no client sends, that stop half-way or come in numbers, old versions and weak ciphers,
// sessions and early data, records that are wrong behind a good handshake, ends without a word.  Tables, as for the framing of
// HTTP: what is sent, what must come.  Another client is served meanwhile, and in the end nothing is left.
//   FRAMING_ROUNDS=N  how often the tables are gone through, and how many handshakes stop half-way (1)
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import crypto from 'node:crypto';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { after, before, test } from 'node:test';
import tls from 'node:tls';
import { Authority, read } from '../lib/certs.mjs';
import { startDivand, tempDir } from '../lib/divand.mjs';
import { PREFACE } from '../lib/h2raw.mjs';
import { meanwhile } from '../lib/meanwhile.mjs';
import { anonKiB, assertDescriptors, descriptors } from '../lib/process.mjs';
import { inParts, ROUNDS } from '../lib/table.mjs';
import * as raw from '../lib/tlsraw.mjs';
import { ask, newDb } from './client.mjs';

const STALLED = 120 * ROUNDS;
const SLOW_MS = 1000;
const MEMORY_KIB = 24 << 10; // that may be more in the end
const ca = new Authority();
const folder = tempDir('divan-misuse');
const files = ca.server();
let server, db, other, fds, memory;

const trust = () => ({ ca: fs.readFileSync(ca.file), host: '127.0.0.1', port: server.tlsPort, servername: 'localhost' });

before(async () => {
	server = await startDivand({ config: { ssl: files, gate: { exempt: 'none', slow_timeout: SLOW_MS } } });
	db = await newDb(server);
	await ask(server, 'PUT', `/${db}/other`, { json: { a: 1 } });
	await begin();
});
after(() => server.stop());

/** How the server is before, as settle() finds it again. */
async function begin() {
	await secure('GET', '/_up');
	fds = descriptors(server);
	memory = anonKiB(server);
	other = meanwhile(server, `/${db}/other`);
}

/** All that comes over a connection of TCP to ${port}: a Buffer, and whether ${enough} said so before its end. */
function exchange(port, bytes, { fin = false, enough = () => false, drip } = {}) {
	return new Promise((resolve) => {
		let got = Buffer.alloc(0), stopped = false;
		const sock = net.connect(port, '127.0.0.1', () => {
			sock.setNoDelay(true);
			if (drip) {
				let at = 0;
				const timer = setInterval(() => sock.write(bytes.subarray(at, ++at)), drip);
				sock.on('close', () => clearInterval(timer));
			} else if (fin) sock.end(bytes);
			else if (bytes.length) sock.write(bytes);
		});
		sock.on('error', () => {});
		sock.on('data', (d) => {
			got = Buffer.concat([got, d]);
			if (!stopped && enough(got)) {
				stopped = true;
				sock.destroy();
			}
		});
		sock.on('close', () => resolve({ got, stopped }));
	});
}

/** A handshake: the socket, once it is done, or an error. */
function shake(options = {}) {
	return new Promise((resolve, reject) => {
		const sock = tls.connect({ ...trust(), ...options }, () => resolve(sock));
		sock.on('error', reject);
	});
}

/** A whole request over TLS: the bytes of the answer. */
async function secure(method, target, { body = '', options, head = '' } = {}) {
	const sock = await shake(options);
	let text = '';
	sock.on('data', (d) => (text += d));
	const closed = new Promise((resolve) => sock.on('close', resolve));
	sock.write(`${method} ${target} HTTP/1.1\r\nHost: x\r\nAuthorization: ${server.auth}\r\n${head}Content-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`);
	await closed;
	return text;
}

/* ---- Handshakes ---- */

const rec = (body, version) => raw.record(raw.HANDSHAKE, body, version);
const hello = (options) => rec(raw.handshake(1, raw.hello(options)));
const more = (...extensions) => hello({ extensions: [...raw.usual(), ...extensions] });
const http1 = Buffer.from('GET /_up HTTP/1.1\r\nHost: x\r\n\r\n');

/**
 * [what, bytes, wanted, {fin}]: 'hello', 'refused' (an alert, or an end without a word: h2o closes before OpenSSL's alert has gone out, which
 * says nothing less to an attacker), or either.
 */
const OLD = [raw.groups(0x1d, 0x17), raw.algorithms(0x0403)]; // of TLS 1.2
const handshakes = [
	['a hello as it should be', hello(), 'hello'],
	['plain HTTP', http1, 'refused'],
	['the preface of HTTP/2', PREFACE, 'refused'],
	['text without end', Buffer.alloc(40000, 'x'), 'refused'],
	['zeros', Buffer.alloc(500), 'refused'],
	['SSL 2.0', Buffer.from([0x80, 0x2e, 1, 0, 2, 0, 0x15, 0, 0, 0, 0x10, 1, 0, 0x80, 2, 0, 0x80, 3, 0, 0x80, 4, 0, 0x80, 5, 0, 0x80, 6, 0, 0x40, 7, 0, 0xc0, ...Buffer.alloc(16, 1)]), 'refused'],
	['SSL 3.0', rec(raw.handshake(1, raw.hello({ version: 0x0300, extensions: null })), 0x0300), 'refused'],
	['TLS 1.0', hello({ version: 0x0301, extensions: null }), 'refused'],
	['TLS 1.1', hello({ version: 0x0302, extensions: null }), 'refused'],
	['TLS 1.1 by its extension', hello({ extensions: raw.usual({ offered: [0x0302, 0x0301] }) }), 'refused'],
	['a draft of TLS 1.3', hello({ extensions: raw.usual({ offered: [0x7f1c] }) }), 'refused'],
	['no version at all', hello({ extensions: raw.usual({ offered: [] }) }), 'refused'],
	['versions that do not exist, and 1.3', hello({ extensions: raw.usual({ offered: [0x0a0a, 0x9999, 0x0304] }) }), 'hello'],
	['a version above all', hello({ version: 0x0999 }), 'hello'],
	['a fallback that nobody asked for', hello({ ciphers: [0xc02b, 0x5600], extensions: OLD }), 'refused'],
	['no ciphers', hello({ ciphers: [] }), 'refused'],
	['ciphers that nobody has', hello({ ciphers: [0xeeee, 0xaaaa] }), 'refused'],
	['ciphers without secrecy', hello({ ciphers: [0x0001, 0x0002, 0x003b, 0x0018, 0x001b], extensions: OLD }), 'refused'],
	['30,000 ciphers', raw.hello({ ciphers: [0x1301, ...Array(30000).fill(0xeeee)] }), 'fragments'],
	['no compression of none', hello({ compressions: [] }), 'refused'],
	['compression alone', hello({ compressions: [1] }), 'refused'],
	['compression and none, TLS 1.2', hello({ compressions: [1, 0], extensions: OLD }), 'hello'],
	['a session of 33 bytes', hello({ session: Buffer.alloc(33) }), 'refused'],
	['a session of 255 bytes', hello({ session: Buffer.alloc(255) }), 'refused'],
	['no group that is known', hello({ extensions: raw.usual({ group: 0x9999 }) }), 'refused'],
	['a share of another group', hello({ extensions: [raw.groups(0x17), raw.algorithms(0x0403), raw.versions(0x0304), raw.share(0x1d, crypto.randomBytes(32))] }), 'refused'],
	['a share of nothing', hello({ extensions: raw.usual({ key: Buffer.alloc(0) }) }), 'refused'],
	['a share of a byte too many', hello({ extensions: raw.usual({ key: Buffer.alloc(33, 5) }) }), 'refused'],
	['a share that is no secret', hello({ extensions: raw.usual({ key: Buffer.alloc(32) }) }), 'refused'],
	['a point that is on no curve', hello({ extensions: raw.usual({ group: 0x17, key: Buffer.concat([Buffer.from([4]), Buffer.alloc(64, 1)]) }) }), 'refused'],
	['no algorithms', hello({ extensions: raw.usual({ algs: [] }) }), 'refused'],
	['SHA-1 alone', hello({ extensions: raw.usual({ algs: [0x0203, 0x0201] }) }), 'refused'],
	['no extensions, TLS 1.2', hello({ extensions: null }), 'hello refused'],
	['an extension twice', more(raw.groups(0x1d)), 'refused'],
	['an extension that ends behind the hello', hello({ extensions: [...raw.usual(), Buffer.from([0, 0, 0xff, 0xff, 0])] }), 'refused'],
	['an extension of half a head', hello({ extensions: [...raw.usual(), Buffer.from([0, 0, 0])] }), 'refused'],
	['bytes behind the extensions', hello({ tail: Buffer.from('more') }), 'refused'],
	['extensions that nobody knows', more(...Array.from({ length: 60 }, (_, i) => raw.ext(0x5000 + i, Buffer.alloc(100)))), 'hello'],
	['a name that is not ours', more(raw.sni('elsewhere.example')), 'hello'],
	['a name of 255 bytes', more(raw.sni('x'.repeat(255))), 'hello'],
	['a name of 256 bytes', more(raw.sni('x'.repeat(256))), 'refused'],
	['a name of 15,000 bytes', more(raw.sni('x'.repeat(15000))), 'refused'],
	['an empty name', more(raw.sni('')), 'hello refused'],
	['a name with a NUL', more(raw.sni('localhost\0.evil.example')), 'refused'],
	['a name of another kind', more(raw.sni('localhost', 7)), 'hello refused'],
	['a list of no names', more(raw.ext(0, raw.u16(0))), 'refused'],
	['a name that is a path', more(raw.sni('../../etc/passwd')), 'hello'],
	['ALPN of nonsense', more(raw.alpn('nonsense', '\0\0', 'h9')), 'hello'],
	['ALPN with an empty name', more(raw.alpn('h2', '')), 'refused'],
	['ALPN of no names', more(raw.ext(16, raw.u16(0))), 'refused'],
	['ALPN whose lengths do not agree', more(raw.ext(16, raw.u16(3), Buffer.from([9, 0x68, 0x32]))), 'refused'],
	['ALPN of 500 names', more(raw.alpn(...Array.from({ length: 500 }, (_, i) => `p${i}`), 'http/1.1')), 'hello'],
	['early data without a session', more(raw.ext(42)), 'hello refused'],
	['a session of no known key', more(raw.ext(45, Buffer.from([1, 1])), raw.ext(41, raw.u16(38), raw.u16(32), Buffer.alloc(32, 3), Buffer.alloc(4), raw.u16(33), Buffer.from([32]), Buffer.alloc(32, 9))), 'hello'],
	['a session that is not the last extension', hello({ extensions: [raw.ext(41, raw.u16(38), raw.u16(32), Buffer.alloc(32, 3), Buffer.alloc(4), raw.u16(33), Buffer.from([32]), Buffer.alloc(32, 9)), raw.ext(45, Buffer.from([1, 1])), ...raw.usual()] }), 'refused'],
	['a ticket of noise, TLS 1.2', hello({ extensions: [...OLD, raw.ext(35, crypto.randomBytes(300))] }), 'hello'],
	['a renegotiation that is none', hello({ extensions: [...OLD, raw.ext(0xff01, Buffer.from([12]), Buffer.alloc(12))] }), 'refused'],
	['a heartbeat in the hello', more(raw.ext(15, Buffer.from([1]))), 'hello'],
	['a fragment length that is none', more(raw.ext(1, Buffer.from([9]))), 'refused'],
	['a cookie that we gave nobody', more(raw.ext(44, raw.u16(4), Buffer.from('none'))), 'hello refused'],
	['a hello of zero bytes', rec(raw.handshake(1, Buffer.alloc(0))), 'refused'],
	['a hello that is cut off within', rec(raw.handshake(1, raw.hello().subarray(0, 40))), 'refused'],
	['a hello longer than its record, and an end', rec(raw.handshake(1, raw.hello()).subarray(0, 50)), 'refused', { fin: true }],
	['a hello of 16 MiB, as it says', rec(Buffer.concat([Buffer.from([1, 0xff, 0xff, 0xff]), Buffer.alloc(16000)])), 'refused'],
	['a ServerHello', rec(raw.handshake(2, raw.hello())), 'refused'],
	['Finished', rec(raw.handshake(20, Buffer.alloc(32))), 'refused'],
	['a key exchange', rec(raw.handshake(16, Buffer.alloc(33))), 'refused'],
	['a request for a hello', rec(raw.handshake(0, Buffer.alloc(0))), 'refused'],
	['two hellos in a record', rec(Buffer.concat([raw.handshake(1, raw.hello()), raw.handshake(1, raw.hello())])), 'hello refused'],
	['data first', raw.record(raw.DATA, http1), 'refused'],
	['an alert first', raw.record(raw.ALERT, Buffer.from([2, 40])), 'refused'],
	['warnings first', Buffer.concat(Array(50).fill(raw.record(raw.ALERT, Buffer.from([1, 100])))), 'refused', { fin: true }],
	['a change of ciphers first', raw.record(raw.CHANGE_CIPHER, Buffer.from([1])), 'refused', { fin: true }],
	['a heartbeat first', raw.record(raw.HEARTBEAT, Buffer.from([1, 0x40, 0, 1, 2, 3])), 'refused'],
	['a record of an unknown type', raw.record(99, Buffer.alloc(10)), 'refused'],
	['an empty record', raw.record(raw.HANDSHAKE, Buffer.alloc(0)), 'refused', { fin: true }],
	['100 empty records', Buffer.concat(Array(100).fill(raw.record(raw.HANDSHAKE, Buffer.alloc(0)))), 'refused', { fin: true }],
	['a record of 16,385 bytes', Buffer.from([22, 3, 1, 0x40, 1, ...Buffer.alloc(16385, 1)]), 'refused'],
	['a record of 65,535 bytes', Buffer.from([22, 3, 1, 0xff, 0xff, ...Buffer.alloc(300)]), 'refused'],
	['a record of version 9.9', rec(raw.handshake(1, raw.hello()), 0x0909), 'refused'],
	['half the head of a record, and an end', Buffer.from([22, 3, 1]), 'refused', { fin: true }],
	['nothing, and an end', Buffer.alloc(0), 'refused', { fin: true }],
	['plain HTTP behind a hello', Buffer.concat([hello(), http1]), 'hello refused'],
];
/* One record to each 16,000 bytes. */
for (const h of handshakes) {
	if (h[2] !== 'fragments') continue;
	const all = raw.handshake(1, h[1]);
	h[1] = Buffer.concat(Array.from({ length: Math.ceil(all.length / 16000) }, (_, i) => rec(all.subarray(i * 16000, (i + 1) * 16000))));
	h[2] = 'hello refused';
}

test('a handshake that no client sends ends, or is one; never is it HTTP', async () => {
	const faults = [];
	for (let i = 0; i < ROUNDS; i++) {
		await inParts(handshakes, 16, async ([what, bytes, wanted, how]) => {
			const { got, stopped } = await exchange(server.tlsPort, bytes, { ...how, enough: (b) => raw.first_answer(b) === 'hello' });
			const came = got.length === 0 ? 'refused' : raw.first_answer(got)?.replace(/^alert \d+$/, 'refused') ?? 'half a record';
			const ok = wanted.split(' ').includes(came) && stopped === (came === 'hello');
			if (!ok || got.includes('HTTP/1.1')) faults.push(`${what}: ${came}, not ${wanted}`);
		});
	}
	assert.equal(faults.length, 0, `${faults.length} of ${handshakes.length}:\n${faults.join('\n')}`);
});

test('a hello of which a byte is another ends, or is one', async () => {
	const good = hello();
	const places = Array.from({ length: 150 }, (_, i) => Math.floor((i * good.length) / 150));
	await inParts(places, 16, async (at) => {
		const bytes = Buffer.from(good);
		bytes[at] ^= 1 << crypto.randomInt(8);
		const { got } = await exchange(server.tlsPort, bytes, { fin: true, enough: (b) => raw.first_answer(b) === 'hello' });
		assert.ok(!got.includes('HTTP/1.1'));
	});
	assert.match(await secure('GET', '/_up'), /^HTTP\/1\.1 200 /);
});

test('TLS to the plain port', async () => {
	for (const bytes of [hello(), more(raw.alpn('h2')), raw.record(raw.DATA, http1), raw.record(raw.ALERT, Buffer.from([2, 40]))]) {
		const { got } = await exchange(server.port, Buffer.concat([bytes, Buffer.from('\r\n\r\n')]));
		assert.match(got.toString('latin1'), /^HTTP\/1\.1 400 /);
	}
});

test('of all ciphers that a client may have, those with secrecy and authenticity are taken', async () => {
	const good = /^ecdhe-(ecdsa|rsa)-(aes\d+-gcm-sha\d+|chacha20-poly1305)$/;
	const names = tls.getCiphers().filter((n) => !n.startsWith('tls_')).map((n) => n.toUpperCase());
	let taken = 0, refused = 0;
	await inParts([...names, 'aNULL', 'eNULL', 'LOW', 'EXPORT', 'RC4', '3DES', 'kRSA'], 12, async (name) => {
		try {
			const sock = await shake({ ciphers: `${name}:@SECLEVEL=0`, minVersion: 'TLSv1', maxVersion: 'TLSv1.2' });
			const got = sock.getCipher().name.toLowerCase();
			sock.destroy();
			assert.match(got, good, name);
			taken++;
		} catch (e) {
			if (e.code === 'ERR_ASSERTION') throw e;
			refused++;
		}
	});
	assert.ok(taken >= 2 && refused > 20, `${taken} taken, ${refused} refused`);
});

/* ---- Which protocol is spoken ---- */

test('what ALPN chose is what is spoken', async () => {
	const speak = async (ALPNProtocols, bytes) => {
		const sock = await shake({ ALPNProtocols });
		let got = Buffer.alloc(0);
		const done = new Promise((resolve) => {
			sock.on('data', (d) => {
				got = Buffer.concat([got, d]);
				resolve();
			});
			sock.on('close', resolve);
		});
		sock.write(bytes);
		await done;
		sock.destroy();
		return got;
	};
	const settings = Buffer.concat([PREFACE, Buffer.alloc(3), Buffer.from([4, 0, 0, 0, 0, 0])]);
	const is_frame = (b) => b.length >= 9 && b.readUIntBE(0, 3) < 100 && b[3] === 4;
	assert.ok(is_frame(await speak(['h2'], settings)));
	assert.match((await speak(['http/1.1'], http1)).toString(), /^HTTP\/1\.1 200/);
	assert.match((await speak(undefined, http1)).toString(), /^HTTP\/1\.1 200/);
	assert.match((await speak(['nonsense'], http1)).toString(), /^HTTP\/1\.1 200/);
	assert.doesNotMatch((await speak(['h2'], http1)).toString('latin1'), /HTTP\/1\.1/);
	/* Whoever knows that HTTP/2 is spoken may begin it without ALPN: through the same gate. */
	assert.ok(is_frame(await speak(undefined, settings)));
	assert.ok(is_frame(await speak(['http/1.1'], settings)));
});

/* ---- Stalled handshakes ---- */

test('handshakes that stop half-way, or crawl, are ended, in whatever numbers', async () => {
	const whole = hello();
	const stops = [Buffer.alloc(0), whole.subarray(0, 1), whole.subarray(0, 5), whole.subarray(0, 100), whole.subarray(0, whole.length - 1), whole];
	const began = Date.now();
	const all = Array.from({ length: STALLED }, (_, i) => exchange(server.tlsPort, stops[i % stops.length]));
	const crawling = Array.from({ length: 5 }, () => exchange(server.tlsPort, Buffer.concat([whole, whole]), { drip: 50 }));
	/* Meanwhile others shake hands. */
	for (let i = 0; i < 5; i++) assert.match(await secure('GET', '/_up'), /^HTTP\/1\.1 200 /);
	const ended = await Promise.all([...all, ...crawling]);
	assert.ok(Date.now() - began >= SLOW_MS / 2);
	for (const { got } of ended) assert.ok(!got.includes('HTTP/1.1'));
});

/* ---- Behind a good handshake ---- */

const put = (id, body = '{"a":1}', length = body.length) => `PUT /${db}/${id} HTTP/1.1\r\nHost: x\r\nAuthorization: ${server.auth}\r\nContent-Length: ${length}\r\n\r\n${body}`;
const is_there = async (id) => (await ask(server, 'GET', `/${db}/${id}`)).status === 200;

/** A connection whose TCP is ours too: {sock, tcp, text(), closed}. */
async function tapped(options = {}) {
	const tcp = net.connect(server.tlsPort, '127.0.0.1');
	await new Promise((resolve) => tcp.on('connect', resolve));
	tcp.on('error', () => {});
	const sock = await shake({ ...options, socket: tcp });
	let text = '';
	sock.on('error', () => {});
	sock.on('data', (d) => (text += d));
	const closed = new Promise((resolve) => tcp.on('close', resolve));
	return { sock, tcp, text: () => text, closed };
}

for (const maxVersion of ['TLSv1.2', 'TLSv1.3']) {
	test(`records that are wrong end a connection, and what was half said is not done: ${maxVersion}`, async () => {
		const v = 0x0303;
		const wrong = {
			'data that nobody encrypted': raw.record(raw.DATA, http1, v), 'plain HTTP': http1, 'noise': raw.record(raw.DATA, crypto.randomBytes(300), v),
			'a record longer than may be': Buffer.concat([Buffer.from([23, 3, 3, 0xff, 0xff]), Buffer.alloc(70000)]),
			'one of 16 KiB and 300 bytes': Buffer.concat([Buffer.from([23, 3, 3, 0x41, 0x2c]), Buffer.alloc(16684)]),
			'an empty record': raw.record(raw.DATA, Buffer.alloc(0), v), 'a hello': hello(), 'a heartbeat': raw.record(raw.HEARTBEAT, Buffer.from([1, 0x40, 0, 1]), v),
			'an alert in clear': raw.record(raw.ALERT, Buffer.from([2, 40]), v), 'a record of another version': raw.record(raw.DATA, crypto.randomBytes(100), 0x0909),
		};
		await inParts(Object.entries(wrong), 12, async ([what, bytes]) => {
			const id = `half-${maxVersion}-${what.replaceAll(' ', '-')}`;
			const c = await tapped({ maxVersion });
			c.sock.write(put(`whole-${id}`) + put(id).slice(0, -3));
			for (let n = 0; n < 2000 && !/^HTTP\/1\.1 201/.test(c.text()); n++) await new Promise((r) => setTimeout(r, 5));
			c.tcp.write(bytes);
			/* What is right behind it comes too late. */
			c.sock.write(':1}' + put(`behind-${id}`));
			await c.closed;
			c.sock.destroy();
			assert.ok(await is_there(`whole-${id}`), what);
			assert.ok(!(await is_there(id)) && !(await is_there(`behind-${id}`)), what);
		});
	});

	test(`an end without close_notify ends a request that was not whole: ${maxVersion}`, async () => {
		const halves = {
			length: put('cut-length', '{"a":1}', 8), chunks: put('cut-chunks', '').replace('Content-Length: 0', 'Transfer-Encoding: chunked') + '7\r\n{"a":1}\r\n',
			large: put('cut-large', `{"a":"${'x'.repeat(300000)}`, 400000), head: put('cut-head').split('Content')[0],
		};
		for (const [what, bytes] of Object.entries(halves)) {
			for (const end of ['FIN', 'RST', 'close_notify']) {
				const c = await tapped({ maxVersion });
				await new Promise((resolve) => c.sock.write(bytes, resolve));
				if (end === 'RST') c.tcp.resetAndDestroy();
				else if (end === 'FIN') c.tcp.end();
				else c.sock.end();
				await c.closed;
				c.sock.destroy();
				assert.doesNotMatch(c.text(), /^HTTP\/1\.1 2/, `${what}, ${end}`);
			}
		}
		for (const id of ['cut-length', 'cut-chunks', 'cut-large', 'cut-head']) assert.ok(!(await is_there(id)), id);
	});

	test(`what comes behind close_notify is nothing: ${maxVersion}`, async () => {
		const c = await tapped({ maxVersion });
		c.sock.write(put(`last-${maxVersion}`));
		for (let n = 0; n < 2000 && !/^HTTP\/1\.1 201/.test(c.text()); n++) await new Promise((r) => setTimeout(r, 5));
		c.sock.end();
		c.tcp.write(raw.record(raw.DATA, Buffer.from(put(`after-${maxVersion}`)), 0x0303), () => {});
		c.tcp.write(Buffer.from(put(`after-${maxVersion}`)), () => {});
		await c.closed;
		assert.ok(await is_there(`last-${maxVersion}`));
		assert.ok(!(await is_there(`after-${maxVersion}`)));
	});
}

/** openssl s_client with ${args}, told ${input}: all that it says. */
function client(args, input, { wait = /closed|HTTP\/1|errno/ } = {}) {
	return new Promise((resolve) => {
		const child = execFile('openssl', ['s_client', '-connect', `127.0.0.1:${server.tlsPort}`, '-CAfile', ca.file, '-servername', 'localhost', ...args], { encoding: 'latin1' }, (_e, stdout, stderr) => resolve(stdout + stderr));
		child.stdin.on('error', () => {});
		child.stdout.on('data', (d) => wait.test(d) && child.stdin.end());
		child.stdin.write(input);
	});
}
const CLOSING = 'GET /_up HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n';

test('an answer that ends with its connection ends with close_notify', async () => {
	for (const version of ['-tls1_2', '-tls1_3']) {
		const said = await client([version], CLOSING, { wait: /closed|errno/ });
		assert.match(said, /HTTP\/1\.1 200/);
		assert.match(said, /^closed$/m, said.slice(-300)); // and not "read:errno=0"
	}
});

test('a client that renegotiates gets no handshake', async () => {
	const said = await client(['-tls1_2'], 'R\n', { wait: /closed|errno|RENEGOTIATING/ });
	assert.match(said, /RENEGOTIATING/);
	assert.match(said, /no renegotiation|errno|closed|bad record mac/i);
	assert.equal(said.match(/^depth=0/gm).length, 1, 'a second handshake');
	assert.match(said, /Secure Renegotiation IS supported/);
	assert.match(said, /Compression: NONE/);
});

/* ---- Sessions ---- */

test('no early data: neither offered nor taken', async () => {
	const session = path.join(folder, 'session'), early = path.join(folder, 'early');
	/* Behind an answer, so that the ticket has come. */
	const said = await client(['-tls1_3', '-sess_out', session], CLOSING);
	assert.match(said, /Max Early Data: 0/);
	fs.writeFileSync(early, put('early'));
	const again = await client(['-tls1_3', '-sess_in', session, '-early_data', early], CLOSING);
	assert.match(again, /Early data was not sent|Early data was rejected/);
	assert.match(again, /^Reused, TLSv1\.3/m);
	assert.ok(!(await is_there('early')));
	/* Who sends it all the same is cut off before it is much. */
	const much = Buffer.concat([more(raw.ext(42)), ...Array(20).fill(raw.record(raw.DATA, crypto.randomBytes(16000), 0x0303))]);
	const { got } = await exchange(server.tlsPort, much);
	assert.ok(!got.includes('HTTP/1.1'));
});

for (const maxVersion of ['TLSv1.2', 'TLSv1.3']) {
	test(`a session ends with the server; one that was changed is none: ${maxVersion}`, async () => {
		const get = async (session) => {
			const sock = await shake({ maxVersion, session });
			let text = '', next = maxVersion === 'TLSv1.2' ? sock.getSession() : undefined;
			const reused = sock.isSessionReused();
			sock.on('session', (s) => (next = s));
			sock.on('data', (d) => (text += d));
			sock.write(CLOSING);
			await new Promise((resolve) => sock.on('close', resolve));
			assert.match(text, /^HTTP\/1\.1 200/);
			return { reused, next };
		};
		const { next: session, reused } = await get();
		assert.equal(reused, false);
		assert.equal((await get(session)).reused, true);
		/* The ticket stands near the end of what OpenSSL writes of a session. */
		const changed = Buffer.from(session);
		const at = changed.lastIndexOf(Buffer.from([0x04, 0x81])) > 0 ? changed.length - 120 : changed.length - 60;
		changed[at] ^= 0x55;
		const other = await get(changed).catch(() => ({ reused: false }));
		assert.equal(other.reused, false);
		await restart();
		assert.equal((await get(session)).reused, false);
	});
}

async function restart() {
	await settle();
	await server.restart();
	await begin();
}

/** Others were served, and nothing is left. */
async function settle() {
	await other.end();
	await assertDescriptors(server, fds + 4);
	assert.ok(anonKiB(server) < memory + MEMORY_KIB * ROUNDS, `${anonKiB(server) - memory} KiB more than before`);
}

/* ---- Clients' certificates ---- */

test('chains of certificates without end, too deep, or of nothing', async () => {
	const users = new Authority('Users');
	const own = await startDivand({ config: { ssl: { ...files, verify: 'verify_peer', cacert_file: users.file, client_cert_user: 'cn', depth: 1 } } });
	const whoami = async (cert) => {
		const sock = await shake({ ...cert, port: own.tlsPort, maxVersion: 'TLSv1.2' });
		let text = '';
		sock.on('data', (d) => (text += d));
		sock.on('error', () => {});
		sock.write('GET /_session HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
		await new Promise((resolve) => sock.on('close', resolve));
		return JSON.parse(text.slice(text.indexOf('\r\n\r\n') + 4)).userCtx.name;
	};
	try {
		const admin = read(users.issue('/CN=someone'));
		const filler = fs.readFileSync(ca.file);
		assert.equal(await whoami(admin), null, 'nobody of that name');
		/* Others' certificates behind it: of no use, and of no harm; in the end it is too much. */
		assert.equal(await whoami({ ...admin, cert: Buffer.concat([admin.cert, ...Array(20).fill(filler)]) }), null);
		await assert.rejects(whoami({ ...admin, cert: Buffer.concat([admin.cert, ...Array(400).fill(filler)]) }), /alert|ECONNRESET|EPIPE|disconnected/i);
		/* An authority below an authority below an authority. */
		await assert.rejects(whoami(deep(users, 3)), /alert|ECONNRESET|EPIPE|disconnected/i);
		await assert.rejects(whoami({ cert: filler, key: fs.readFileSync(path.join(ca.dir, 'ca.key')) }), /alert|ECONNRESET|EPIPE|disconnected/i);
		assert.equal(await whoami(admin), null);
	} finally {
		await own.stop();
	}
});

/** A client's certificate by ${n} authorities, each below the other, and the first of them below ${root}: {cert, key}. */
function deep(root, n) {
	const openssl = (...args) => execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] });
	let ca_file = root.file, ca_key = path.join(root.dir, 'ca.key');
	const chain = [];
	for (let i = 0; i <= n; i++) {
		const base = path.join(folder, `deep${i}`);
		const ext = i < n ? 'basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign' : 'extendedKeyUsage=clientAuth';
		fs.writeFileSync(`${base}.ext`, ext + '\n');
		openssl('req', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-subj', `/CN=deep${i}`, '-keyout', `${base}.key`, '-out', `${base}.csr`);
		openssl('x509', '-req', '-in', `${base}.csr`, '-CA', ca_file, '-CAkey', ca_key, '-set_serial', String(i + 1), '-days', '1', '-extfile', `${base}.ext`, '-out', `${base}.pem`);
		[ca_file, ca_key] = [`${base}.pem`, `${base}.key`];
		chain.unshift(fs.readFileSync(ca_file));
	}
	return { cert: Buffer.concat(chain), key: fs.readFileSync(ca_key) };
}

test('in the end nothing is left', async () => {
	await settle();
	assert.match(await secure('GET', '/_up'), /^HTTP\/1\.1 200 /);
});
