// Clients that cut their bytes anywhere, pipeline, frame wrongly, read slowly, or leave: each gets the answers that a simple
// model tells, in order, and the server ends with nothing left open.
//   HOSTILE_SECONDS=N  how long connections are begun (5)
//   HOSTILE_SEED=N     the choices
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import net from 'node:net';
import { after, before, test } from 'node:test';
import tls from 'node:tls';
import { certificate, startDivand } from '../lib/divand.mjs';
import { assertDescriptors, descriptors } from '../lib/process.mjs';
import { Random } from '../lib/random.mjs';

const SECONDS = Number(process.env.HOSTILE_SECONDS ?? 5);
const SEED = Number(process.env.HOSTILE_SEED ?? crypto.randomInt(1 << 30));
const AT_ONCE = 16;
const HANGS_MS = 60000;
const noise = crypto.randomBytes(3 << 20);
let server, auth;

/*
 * ---- Messages: {method, head, body, check(answer)}, and ----
 *   first      it is the connection's first: behind others h2o reads it, more leniently
 *   last       the connection ends with its answer; may_close: or may, since the answer may come before the body's end
 *   may_reset  h2o refuses it by itself, and closes while the client may still send
 *   wait       the body is kept back until 100 Continue or an answer
 */

const size = (rnd) => rnd.pick([0, 1, 900, 5000, 70000, 262000 + rnd.below(400), 262144, 262145, 600000, 1100000]);
const slice = (rnd, n) => noise.subarray(rnd.below(noise.length - n), noise.length).subarray(0, n);

function chunked(rnd, body) {
	const out = [];
	for (let at = 0; at < body.length;) {
		const n = Math.min(body.length - at, rnd.pick([1, 10, 500, 16384, 300000]));
		const ext = rnd.below(5) === 0 ? ';name=value' : '';
		const hex = n.toString(16);
		out.push(Buffer.from(`${rnd.below(2) ? hex : hex.toUpperCase().padStart(8, '0')}${ext}\r\n`), body.subarray(at, at + n), Buffer.from('\r\n'));
		at += n;
		if (n < 500 && out.length > 100) {
			out.push(...chunked(rnd, body.subarray(at)));
			return out;
		}
	}
	out.push(Buffer.from(rnd.below(4) === 0 ? '0\r\nTrailer: of no use\r\n\r\n' : '0\r\n\r\n'));
	return out;
}

function head(method, path, lines, version = '1.1') {
	return Buffer.from(`${method} ${path} HTTP/${version}\r\nHost: x\r\n${auth}${lines.map((l) => l + '\r\n').join('')}\r\n`);
}

function withBody(rnd, method, path, body, lines = []) {
	const parts = rnd.below(2) === 0 ? [`Content-Length: ${body.length}`] : ['Transfer-Encoding: chunked'];
	const expects = body.length > 0 && rnd.below(6) === 0;
	const wire = parts[0].startsWith('C') ? [body] : chunked(rnd, body);
	if (expects) parts.push('Expect: 100-continue');
	return {
		method, head: head(method, path, [...lines, ...parts]), body: Buffer.concat(wire),
		wait: expects && rnd.below(2) === 0, may_close: true,
	};
}

const is = (status, extra) => (a) => {
	assert.equal(a.status, status, a.body.toString('latin1', 0, 200));
	extra?.(a);
};

/** Each gives one message or more; those with `last` are followed by nothing. */
const KINDS = {
	up: (rnd) => [{ method: 'GET', head: Buffer.concat([Buffer.from(rnd.pick(['', '', '\r\n'])), head('GET', '/_up', [])]), check: is(200) }],
	get_with_body: (rnd) => [{ ...withBody(rnd, 'GET', '/_up', slice(rnd, rnd.below(3000))), check: is(200) }],
	head_with_body(rnd) {
		const m = withBody(rnd, 'HEAD', rnd.pick(['/t/_all_docs', '/t/_changes', '/_up']), slice(rnd, rnd.pick([10, 1000, 300000])));
		m.head = Buffer.concat([Buffer.from(rnd.pick(['', '\r\n'])), m.head]);
		return [{ ...m, check: is(200) }];
	},
	keys(rnd, id) {
		const body = Buffer.from(JSON.stringify({ pad: 'x'.repeat(size(rnd)), keys: [id] }));
		const check = is(200, (a) => assert.equal(JSON.parse(a.body).rows[0].key, id));
		return [{ ...withBody(rnd, 'POST', '/t/_all_docs', body, ['Content-Type: application/json']), check }];
	},
	attachment(rnd, id) {
		const bytes = slice(rnd, size(rnd));
		const md5 = crypto.createHash('md5').update(bytes).digest('base64');
		return [
			{ ...withBody(rnd, 'PUT', `/t/${id}/a`, bytes), check: is(201) },
			{ method: 'HEAD', head: head('HEAD', `/t/${id}/a`, []), check: is(200, (a) => assert.equal(a.headers['content-md5'], md5)) },
		];
	},
	refused_early: (rnd, id) => [rnd.pick([
		{ ...withBody(rnd, 'PUT', `/none/${id}/a`, slice(rnd, size(rnd))), check: is(404) },
		{ ...withBody(rnd, 'POST', '/t/_revs_diff', slice(rnd, size(rnd)), ['Content-Type: text/plain']), check: is(415) },
		{ ...withBody(rnd, 'PUT', `/t/${id}/a?rev=7-abc`, slice(rnd, size(rnd))), check: is(409) },
		{ ...withBody(rnd, 'DELETE', '/none', slice(rnd, size(rnd))), check: is(404) },
	])],
	http10(rnd, id) {
		const body = Buffer.from(JSON.stringify({ pad: 'x'.repeat(size(rnd)), keys: [id] }));
		const lines = ['Content-Type: application/json', `Content-Length: ${body.length}`];
		if (rnd.below(3) === 0) lines.push('Expect: 100-continue');
		return [{ method: 'POST', head: head('POST', '/t/_all_docs', lines, '1.0'), body, last: true, check: is(200) }];
	},
	bad_framing(rnd) {
		const lines = rnd.pick([
			['Content-Length: 5', 'Content-Length: 5'], ['Content-Length: 5', 'Transfer-Encoding: chunked'], ['Content-Length : 5'],
			['Transfer-Encoding: chunked', 'Content-Length: 5'], ['Transfer-Encoding: chunked, chunked'], ['Transfer-Encoding: identity'],
			['Transfer-Encoding: chunked', 'Transfer-Encoding: chunked'], ['Transfer-Encoding: gzip, chunked'], ['Transfer-Encoding:\x0bchunked'],
			['Content-Length: 5, 5'], ['Content-Length: +5'], ['Content-Length: -5'], ['Content-Length: 0x5'], ['Content-Length:'],
			['Content-Length: 18446744073709551614'], ['Content-Length: 99999999999999999999999'], ['Content-Length: 5\x00'],
		]);
		const m = { method: 'POST', head: head('POST', '/t/_all_docs', lines), body: Buffer.from('5\r\n{}   \r\n0\r\n\r\nGET /_up HTTP/1.1\r\n\r\n') };
		return [{ ...m, last: true, may_reset: true, check: is(400) }];
	},
	folded(rnd) {
		const lines = rnd.pick([['X: 1', ' Content-Length: 5'], ['X: 1', '\tTransfer-Encoding: chunked', 'Content-Length: 5'], ['Content-Length: 5', ' 5']]);
		return [{ method: 'POST', head: head('POST', '/t/_all_docs', lines), body: Buffer.from('GET /'), first: true, last: true, may_reset: true, check: is(400) }];
	},
	too_large(rnd) {
		const n = rnd.pick(['99999999999', '999999999999999999', '9223372036854775807', '9223372036854775808']);
		const m = { method: 'PUT', head: head('PUT', '/t/x/a', [`Content-Length: ${n}`]), body: slice(rnd, 400000) };
		return [{ ...m, last: true, may_reset: n.length > 18, check: is(413) }];
	},
	bad_chunks(rnd) {
		const good = chunked(rnd, slice(rnd, size(rnd) + 1));
		const lenient = ['0x5\r\nabcde\r\n', '5;a\nabcde\r\n', '5\nabcde\r\n', '5\r\nabcde\n', `5;${'e'.repeat(2000)}\r\n`, 'ffffffffffffffff\r\nabc', `0\r\n${'T: x\r\n'.repeat(3000)}\r\n`];
		const always = ['zz\r\n', '\r\n', '5\r\nabcdefg\r\n', '-5\r\n', '11111111111111111\r\n'];
		const first = rnd.below(2) === 0;
		const bad = Buffer.from(rnd.pick(first ? [...lenient, ...always] : always));
		const m = { method: 'PUT', head: head('PUT', `/t/bad${rnd.below(1e9)}/a`, ['Transfer-Encoding: chunked']) };
		return [{ ...m, body: Buffer.concat([...good.slice(0, -1), bad, slice(rnd, rnd.pick([0, 100, 400000]))]), first, last: true, may_reset: !first, check: is(400) }];
	},
};

function plan(rnd, name) {
	const out = [];
	const n = rnd.between(1, 6);
	for (let i = 0; i < n && !out.at(-1)?.last; i++) {
		const messages = KINDS[rnd.pick(Object.keys(KINDS))](rnd, `${name}-${i}`);
		if (messages[0].first && out.length > 0) continue;
		messages[0].may_reset ||= messages[0].last && out.length > 0;
		out.push(...messages);
	}
	return out;
}

/* ---- Answers ---- */

/** Takes bytes, calls ${on}({status, headers, body}) for each answer; ${methods} tells what was asked. */
class Answers {
	constructor(methods, on) {
		Object.assign(this, { methods, on, n: 0, continues: 0, left: Buffer.alloc(0) });
	}

	take(bytes) {
		this.left = this.left.length > 0 ? Buffer.concat([this.left, bytes]) : bytes;
		while (this.one());
	}

	one() {
		const end = this.left.indexOf('\r\n\r\n');
		if (end < 0) return false;
		const [first, ...lines] = this.left.toString('latin1', 0, end).split('\r\n');
		const m = /^HTTP\/1\.1 (\d\d\d) [ -~]+$/.exec(first);
		assert.ok(m, `a status line: ${JSON.stringify(first.slice(0, 200))}`);
		const headers = Object.fromEntries(lines.map((l) => [l.slice(0, l.indexOf(':')).toLowerCase(), l.slice(l.indexOf(':') + 2)]));
		const status = Number(m[1]);
		if (status === 100) {
			this.continues++; // of the next answer
			this.left = this.left.subarray(end + 4);
			return true;
		}
		let at = end + 4;
		let body = Buffer.alloc(0);
		if (this.methods[this.n] !== 'HEAD' && headers['transfer-encoding'] === 'chunked') {
			const pieces = [];
			for (;;) {
				const eol = this.left.indexOf('\r\n', at);
				if (eol < 0) return false;
				const n = parseInt(this.left.toString('latin1', at, eol), 16);
				if (this.left.length < eol + 4 + n) return false;
				pieces.push(this.left.subarray(eol + 2, eol + 2 + n));
				at = eol + 4 + n;
				if (n === 0) break;
			}
			body = Buffer.concat(pieces);
		} else if (this.methods[this.n] !== 'HEAD' && headers['content-length'] !== undefined) {
			const n = Number(headers['content-length']);
			if (this.left.length < at + n) return false;
			body = this.left.subarray(at, at + n);
			at += n;
		} else if (this.methods[this.n] !== 'HEAD') {
			assert.equal(headers.connection, 'close', 'an answer without a length is the last');
			if (!this.closed) return false;
			body = this.left.subarray(at);
			at = this.left.length;
		}
		this.left = this.left.subarray(at);
		this.n++;
		this.continues = 0;
		this.on({ status, headers, body });
		return true;
	}
}

/* ---- A connection ---- */

function cuts(rnd, bytes) {
	const most = rnd.pick([1, 3, 60]);
	const out = [];
	for (let at = 0; at < bytes.length;) {
		const n = out.length >= most ? bytes.length - at : rnd.pick([1, 2, 7, 300, 16384, 262144]);
		out.push(bytes.subarray(at, at + n));
		at += n;
	}
	return out;
}

/** Runs one connection to its end; what it was is told when something is wrong. */
async function converse(index, secure) {
	const rnd = new Random(SEED + index * 7919);
	const messages = plan(rnd, `d${index}`);
	const end = rnd.pick(['wait', 'wait', 'half', 'leave']);
	const slow = rnd.below(5) === 0;
	const total = messages.reduce((n, m) => n + m.head.length + (m.body?.length ?? 0), 0);
	let leave = end === 'leave' ? rnd.below(total + 1) : Infinity;
	const sock = secure ? tls.connect({ port: server.tlsPort, host: '127.0.0.1', rejectUnauthorized: false }) : net.connect(server.port, '127.0.0.1');
	let failure, closing = false, wake = () => {};
	const answers = new Answers(messages.map((m) => m.method), (a) => {
		const m = messages[answers.n - 1];
		assert.ok(m && !closing, `an answer more than there should be: ${a.status}`);
		m.check(a);
		closing = a.headers.connection === 'close';
		if (closing) assert.ok(m.last || m.may_close, 'closed without a reason');
	});
	const closed = new Promise((resolve) => sock.on('close', resolve));
	const attempt = (fn) => {
		try {
			fn();
		} catch (e) {
			failure ??= e;
			sock.destroy();
		}
		wake();
	};
	sock.on('data', (d) => {
		attempt(() => answers.take(d));
		if (answers.n === messages.length && end === 'wait' && !messages.at(-1).last) sock.end();
		if (slow) {
			sock.pause();
			setTimeout(() => sock.resume(), 3);
		}
	});
	let reset = null;
	sock.on('error', (e) => (reset = e));
	closed.then(() => {
		sock.destroyed_by_us ||= failure !== undefined;
		wake();
	});
	const hangs = setTimeout(() => {
		failure ??= new Error('it hangs');
		sock.destroy();
	}, HANGS_MS);
	const woken = () => new Promise((resolve) => (wake = resolve));

	async function send(bytes) {
		for (let piece of cuts(rnd, bytes)) {
			if (sock.destroyed || closing) return;
			if (piece.length >= leave) {
				sock.write(piece.subarray(0, leave));
				sock.destroy();
				return;
			}
			leave -= piece.length;
			if (!sock.write(piece)) await Promise.race([new Promise((r) => sock.once('drain', r)), closed]);
			if (rnd.below(3) === 0) await new Promise((r) => (rnd.below(2) ? setImmediate(r) : setTimeout(r, rnd.below(4))));
		}
	}
	for (const [i, m] of messages.entries()) {
		await send(m.head);
		if (m.wait) {
			/* 100 Continue is not sent where the answer is known already. */
			const waits = () => !sock.destroyed && !closing && (answers.n < i || (answers.n === i && answers.continues === 0));
			while (waits()) await woken();
		}
		if (m.body) await send(m.body);
	}
	if (end === 'half' && !sock.destroyed) sock.end();
	await closed;
	clearTimeout(hangs);
	if (!failure) attempt(() => {
		answers.closed = true;
		answers.take(Buffer.alloc(0));
		if (end === 'leave') return;
		/* Node gives up what it has not read yet when a write fails. */
		if (reset && messages.at(-1).may_reset) return;
		assert.ok(answers.n === messages.length || closing, `${answers.n} of ${messages.length} answers, then ${reset ?? 'the end'}`);
		assert.equal(answers.left.length, 0, 'nothing behind the last answer');
	});
	if (failure) {
		const told = messages.map((m) => `${m.head.toString('latin1').replaceAll('\r\n', ' | ').replace(auth, '').slice(0, 200)} +${m.body?.length ?? 0}`);
		failure.message = `connection ${index}${secure ? ', TLS' : ''}, ${end}, seed ${SEED}: ${failure.message}\n${told.join('\n')}`;
		throw failure;
	}
	return { answers: answers.n, closing };
}

/* ---- The tests ---- */

before(async () => {
	server = await startDivand({ config: { ssl: certificate() } });
	auth = `Authorization: ${server.auth}\r\n`;
	const r = await fetch(`${server.url}/t`, { method: 'PUT', headers: { authorization: server.auth } });
	assert.equal(r.status, 201);
});
after(() => server.stop());


test('whatever bytes come in whatever pieces, each request has its answer', async () => {
	const until = Date.now() + SECONDS * 1000;
	const before = descriptors(server);
	let next = 0, count = 0;
	const work = async () => {
		while (Date.now() < until) {
			const i = next++;
			const done = await converse(i, i % 4 === 3);
			count += done.answers;
		}
	};
	await Promise.all(Array.from({ length: AT_ONCE }, work));
	if (process.env.HOSTILE_SECONDS) console.log(`# seed ${SEED}: ${next} connections, ${count} answers`);
	assert.ok(count > 0);
	/* The database's file and those of its threads stay open; bodies and connections do not. */
	await assertDescriptors(server, before + 8, `: seed ${SEED}`);
});

test('the server ends while requests stand in every state', async () => {
	const socks = [];
	for (let i = 0; i < 60; i++) {
		const rnd = new Random(SEED + 1000003 * (i + 1));
		const bytes = Buffer.concat(plan(rnd, `e${i}`).flatMap((m) => [m.head, m.body ?? Buffer.alloc(0)]));
		const sock = i % 4 === 3 ? tls.connect({ port: server.tlsPort, host: '127.0.0.1', rejectUnauthorized: false }) : net.connect(server.port, '127.0.0.1');
		sock.on('error', () => {});
		if (i % 3) sock.resume();
		sock.write(bytes.subarray(0, rnd.below(bytes.length)));
		socks.push(sock);
	}
	/* Handshakes that have not begun, have no end, or are none. */
	for (const bytes of ['', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 'GET / HTTP/1.1\r\n\r\n']) {
		const sock = net.connect(server.tlsPort, '127.0.0.1');
		sock.on('error', () => {});
		sock.write(Buffer.from(bytes, 'latin1'));
		socks.push(sock);
	}
	await fetch(`${server.url}/_up`);
	await server.stop();
	for (const sock of socks) sock.destroy();
	await server.restart();
});
