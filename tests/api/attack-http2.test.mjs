// Attacks below HTTP: floods of HTTP/2 frames, heads without end, bombs, resets.  The connection is ended with a reason; others are served.
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import { once } from 'node:events';
import http2 from 'node:http2';
import { after, before, test } from 'node:test';
import { bystander } from '../lib/bystander.mjs';
import { certificate, startDivand } from '../lib/divand.mjs';
import { block, connectH2, END_HEADERS, END_STREAM, field, frame, indexed, PREFACE, request, T } from '../lib/h2raw.mjs';
import { anonKiB } from '../lib/process.mjs';
import { until } from '../lib/until.mjs';
import { ask, newDb } from './client.mjs';

const CALM = 11; // ENHANCE_YOUR_CALM
const BOTH = END_HEADERS | END_STREAM;
let server, db, other;

before(async () => {
	server = await startDivand({ config: { ssl: certificate(), gate: { exempt: 'none', slow_timeout: 1500 } } });
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

const ENOUGH_MS = 20000;

/** Sends what ${next} gives until the server has had enough, as it must. */
async function floods(what, next, { secure = false, reason } = {}) {
	other.begin();
	const c = connectH2(server, { secure });
	await c.opened;
	let i = 0;
	for (const until = Date.now() + ENOUGH_MS; Date.now() < until && !c.ended && !c.goaway; i++) await c.send(next(i));
	assert.ok(c.ended || c.goaway, `${what}: the connection goes on after ${i} rounds`);
	await c.closed;
	if (c.goaway) {
		assert.equal(c.goaway.code, CALM, c.goaway.text);
		if (reason) assert.match(c.goaway.text, reason);
	}
	await other.end(`${what}, ${i} rounds${secure ? ' over TLS' : ''}`);
	return c;
}

const many = (n, one) => Buffer.concat(Array.from({ length: n }, (_, i) => one(i)));
const get = (stream, path = '/_up') => frame(T.headers, BOTH, stream, request('GET', path, path === '/_up' ? {} : { authorization: server.auth }));
const reset = (stream) => frame(T.rst, 0, stream, Buffer.from([0, 0, 0, 8]));

for (const secure of [false, true]) {
	const over = secure ? ' over TLS' : '';
	test(`rapid reset${over}`, async () => {
		let stream = 1;
		await floods('rapid reset', () => many(50, () => {
			const s = stream;
			stream += 2;
			return Buffer.concat([get(s, `/${db}/_changes?feed=longpoll&since=now`), reset(s)]);
		}), { secure, reason: /resets|streams/ });
	});
	test(`a flood of pings${over}`, () => floods('pings', () => many(100, () => frame(T.ping, 0, 0, Buffer.alloc(8))), { secure, reason: /ask for nothing/ }));
	test(`a flood of settings${over}`, () => floods('settings', (i) => many(100, () => frame(T.settings, 0, 0, Buffer.from([0, 4, 0, 0, i & 255, 255]))), { secure, reason: /ask for nothing/ }));
	test(`a head in pieces without end${over}`, async () => {
		await floods('empty CONTINUATION', (i) => (i === 0 ? frame(T.headers, END_STREAM, 1, request('GET', '/_up')) : many(10, () => frame(T.continuation, 0, 1))), { secure, reason: /pieces/ });
		await floods('large CONTINUATION', (i) => (i === 0 ? frame(T.headers, END_STREAM, 1, request('GET', '/_up')) : frame(T.continuation, 0, 1, field(`x${i}`, 'v'.repeat(16000)))), { secure, reason: /long/ });
	});
}

test('floods of other frames', async () => {
	await floods('pings answered by nobody', () => many(100, () => frame(T.ping, 1, 0, Buffer.alloc(8))), { reason: /ask for nothing/ });
	await floods('priorities', () => many(100, (i) => frame(T.priority, 0, 2 * (i % 8) + 1, Buffer.from([0, 0, 0, 0, 16]))));
	await floods('unknown frames', () => many(100, () => frame(0x7f, 0, 0, Buffer.from('what'))), { reason: /ask for nothing/ });
	await floods('window updates', () => many(100, () => frame(T.window, 0, 0, Buffer.from([0, 0, 0, 1]))), { reason: /window/ });
	await floods('goaways', () => many(100, () => frame(T.goaway, 0, 0, Buffer.alloc(8))), { reason: /ask for nothing/ });
	const post = frame(T.headers, END_HEADERS, 1, request('POST', '/_session'));
	await floods('empty DATA', (i) => (i === 0 ? post : many(100, () => frame(T.data, 0, 1))), { reason: /ask for nothing/ });
	// Lines come a moment later: those of them before that of the next request.
	const { headers } = await ask(server, 'GET', '/_up');
	await until(() => server.stderr().includes(headers['x-couch-request-id']));
	const skipped = server.stderr().match(/skipping frame/g)?.length ?? 0;
	assert.ok(skipped < 1200, `what nobody knows does not fill the log: ${skipped} lines`);
});

test('the server is made to reset streams', async () => {
	/* MadeYouReset: a window that overflows, an increment of 0, DATA behind the end. */
	let stream = -1;
	const kinds = [() => frame(T.window, 0, stream, Buffer.from([0x7f, 255, 255, 255])), () => frame(T.window, 0, stream, Buffer.alloc(4)), () => frame(T.data, 0, stream, Buffer.from('x'))];
	for (const kind of kinds) {
		stream = -1;
		await floods('resets by the server', () => many(50, () => {
			stream += 2;
			return Buffer.concat([get(stream, `/${db}/_changes?feed=longpoll&since=now`), kind()]);
		}));
	}
});

test('a bomb of HPACK is refused before it takes memory', async () => {
	const before = anonKiB(server);
	for (let i = 0; i < 10; i++) {
		await floods('HPACK bomb', (n) => {
			const head = Buffer.concat([request('GET', '/_up'), field('cookie', 'x'.repeat(3900), true)]);
			if (n === 0) return frame(T.headers, 0, 1, head);
			return frame(T.continuation, 0, 1, many(16000, () => indexed(62)));
		}, { reason: /fields/ });
	}
	assert.ok(anonKiB(server) < before + 50000, `${anonKiB(server) - before} KiB more`);
});

test('more header fields than are allowed are answered, and the connection goes on', async () => {
	const c = connectH2(server);
	const fields = (n) => Object.fromEntries(Array.from({ length: n }, (_, i) => [`x-${i}`, 'v']));
	await c.send(frame(T.headers, BOTH, 1, request('GET', '/_up', fields(100))));
	assert.equal((await c.answer(1)).status, 200);
	await c.send(frame(T.headers, BOTH, 3, request('GET', '/_up', fields(101))));
	const answer = await c.answer(3);
	assert.equal(answer.status, 431);
	assert.equal(JSON.parse(answer.body).error, 'request_header_fields_too_large');
	/* 40 times one of 4,000 bytes is beyond 128 KiB, though its block is small. */
	await c.send(frame(T.headers, BOTH, 5, Buffer.concat([request('GET', '/_up'), field('x-big', 'y'.repeat(4000), true), many(40, () => indexed(62))])));
	assert.equal((await c.answer(5)).status, 431);
	await c.send(get(7));
	assert.equal((await c.answer(7)).status, 200);
	c.end();
});

test('what HTTP/1 could not say is not said over HTTP/2', async () => {
	const c = connectH2(server);
	let stream = 1;
	const status = async (fields, body) => {
		const s = stream;
		stream += 2;
		await c.send(frame(T.headers, body === undefined ? BOTH : END_HEADERS, s, block(fields)), ...(body === undefined ? [] : [frame(T.data, END_STREAM, s, Buffer.from(body))]));
		const a = await c.answer(s);
		return a.status ?? 'reset';
	};
	const base = [[':method', 'GET'], [':scheme', 'http'], [':authority', 'x'], [':path', '/_up']];
	const but = (name, value) => base.map(([n, v]) => [n, n === name ? value : v]);
	assert.equal(await status(base), 200);
	for (const path of ['/_up HTTP/1.1', '/_up\r\nx: y', '/_up\0', '_up', '', '/\x7f', 'http://other/_up']) {
		assert.ok([400, 'reset'].includes(await status(but(':path', path))), JSON.stringify(path));
	}
	for (const method of ['GET /', 'G\r\nET', '', 'GET\t']) assert.ok([400, 'reset'].includes(await status(but(':method', method))), JSON.stringify(method));
	for (const value of ['a\r\nx: y', 'a\nb', 'a\0b']) assert.ok([400, 'reset'].includes(await status([...base, ['x-thing', value]])), JSON.stringify(value));
	for (const name of ['x thing', 'x:thing', 'x\r\nthing']) assert.ok([400, 'reset'].includes(await status([...base, [name, 'v']])), JSON.stringify(name));
	/* A length that is not the body's. */
	const post = [[':method', 'POST'], ...base.slice(1)];
	assert.ok([400, 'reset'].includes(await status([...post, ['content-length', '5']])), 'a length without a body');
	assert.ok([400, 'reset'].includes(await status([...post, ['content-length', '5']], 'abcdefgh')), 'more than the length');
	assert.ok([400, 'reset'].includes(await status([...post, ['content-length', '50']], 'abc')), 'less than the length');
	/* The same connection still serves. */
	assert.equal(await status(base), 200);
	c.end();
});

test('headers that speak of a connection end it', async () => {
	for (const [name, value] of [['connection', 'close'], ['transfer-encoding', 'chunked'], ['upgrade', 'h2c'], ['Upper', 'case']]) {
		const c = connectH2(server);
		await c.send(frame(T.headers, BOTH, 1, request('GET', '/_up', { [name]: value })));
		const end = await Promise.race([c.closed, c.answer(1).catch(() => c)]);
		assert.ok(c.goaway || end.reset !== undefined || end.status === 400, `${name}: ${JSON.stringify(end.status)}`);
		c.end();
	}
});

test('trailers are no headers', async () => {
	const c = connectH2(server);
	const head = request('PUT', `/${db}/trailed`, { 'content-type': 'application/json' });
	await c.send(frame(T.headers, END_HEADERS, 1, head), frame(T.data, 0, 1, Buffer.from('{}')), frame(T.headers, BOTH, 1, block({ authorization: server.auth })));
	assert.equal((await c.answer(1)).status, 400);
	assert.equal((await ask(server, 'GET', `/${db}/trailed`)).status, 404);
	await c.send(get(3));
	assert.equal((await c.answer(3)).status, 200);
	c.end();
});

test('the preface in pieces, and none', async () => {
	const c = connectH2(server, { preface: false });
	await c.opened;
	for (const piece of ['P', 'RI * HT', 'TP/2', '.0\r\n\r', '\nSM\r\n', '\r\n']) {
		await c.send(Buffer.from(piece));
		await new Promise((r) => setTimeout(r, 10));
	}
	const bytes = Buffer.concat([frame(T.settings, 0, 0), get(1)]);
	for (let i = 0; i < bytes.length; i += 5) await c.send(bytes.subarray(i, i + 5));
	assert.equal((await c.answer(1)).status, 200);
	c.end();
	const bad = connectH2(server, { preface: false });
	await bad.send(Buffer.from('PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n'));
	await bad.closed;
});

test('an HTTP/1 connection does not become HTTP/2 by Upgrade, behind the gate', async () => {
	const c = connectH2(server, { preface: false });
	let text = '';
	c.socket.on('data', (d) => (text += d.toString('latin1')));
	await c.send(Buffer.from('GET /_up HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n'));
	await c.closed; // as its head asks for something else than keep-alive
	assert.match(text, /^HTTP\/1\.1 200 OK/);
	/* Nor behind a first request. */
	const later = connectH2(server, { preface: false });
	text = '';
	later.socket.on('data', (d) => (text += d.toString('latin1')));
	await later.send(Buffer.from('GET /_up HTTP/1.1\r\nHost: x\r\n\r\n'), PREFACE);
	await later.closed;
	assert.match(text, /^HTTP\/1\.1 200 OK[^]*HTTP\/1\.1 400 /);
});

test('streams that wait for their requests end after the time for a head', async () => {
	const c = connectH2(server);
	await c.send(many(50, (i) => frame(T.headers, END_HEADERS, 2 * i + 1, request('POST', '/_session'))));
	await c.closed; // slow_timeout
});

test('a client that gives no window is cut off', async () => {
	const quick = await startDivand({ config: { gate: { exempt: 'none', stuck_timeout: 800, slow_timeout: 800 } } });
	try {
		const name = await newDb(quick);
		await ask(quick, 'PUT', `/${name}/big`, { json: { a: crypto.randomBytes(300000).toString('hex') } });
		const settings = frame(T.settings, 0, 0, Buffer.from([0, 4, 0, 0, 0, 0])); // an initial window of 0
		const c = connectH2(quick);
		await c.send(settings, frame(T.headers, BOTH, 1, request('GET', `/${name}/big`, { authorization: quick.auth })));
		await c.until((f) => f.type === T.headers);
		await c.closed;
		/* One who waits for what may come is not. */
		const idle = connectH2(quick);
		await idle.send(frame(T.headers, BOTH, 1, request('GET', `/${name}/_changes?feed=continuous&since=now&heartbeat=100`, { authorization: quick.auth })));
		await idle.until((f) => f.type === T.headers);
		for (let n = 0; n < 20; n++) {
			const seen = idle.frames.length;
			await until(() => idle.frames.length > seen, 'a beat');
			await idle.send(frame(T.window, 0, 0, Buffer.from([0, 0, 0, 1])));
		}
		assert.equal(idle.ended, false);
		idle.end();
	} finally {
		await quick.stop();
	}
});

test('a feed that has nothing but its head to say goes by the same rule', async () => {
	const quick = await startDivand({ config: { gate: { stuck_timeout: 0 }, chttpd: { feed_stuck_timeout: 800 } } });
	try {
		const name = await newDb(quick);
		const c = connectH2(quick);
		await c.send(frame(T.settings, 0, 0, Buffer.from([0, 4, 0, 0, 0, 0])), frame(T.headers, BOTH, 1, request('GET', `/${name}/_changes?feed=continuous&since=now&timeout=400`, { authorization: quick.auth })));
		await c.until((f) => f.type === T.headers);
		assert.equal((await ask(quick, 'PUT', `/${name}/news`, { json: {} })).status, 201);
		await until(() => c.ended, 'an end');
	} finally {
		await quick.stop();
	}
});

test('bodies of strangers are bounded, together', async () => {
	const small = await startDivand({ config: { gate: { exempt: 'none', unauthenticated_bytes: 3000000 } } });
	try {
		const name = await newDb(small);
		const chunk = Buffer.alloc(16384, 'x');
		const upload = async (c, stream, n) => {
			await c.send(frame(T.headers, END_HEADERS, stream, request('PUT', `/${name}/d${stream}/a`, { authorization: small.auth })));
			for (let i = 0; i < n && !c.ended; i++) await c.send(frame(T.data, i === n - 1 ? END_STREAM : 0, stream, chunk));
		};
		/* Two that keep their bodies open take what there is. */
		const one = connectH2(small), two = connectH2(small);
		await one.send(frame(T.headers, END_HEADERS, 1, request('POST', '/_session')), many(180, () => frame(T.data, 0, 1, chunk)));
		await two.send(frame(T.headers, END_HEADERS, 1, request('POST', '/_session')), many(180, () => frame(T.data, 0, 1, chunk)));
		await Promise.race([one.closed, two.closed]);
		assert.match((one.goaway ?? two.goaway)?.text ?? 'authenticated', /authenticated/);
		one.end();
		two.end();
		await Promise.all([one.closed, two.closed]);
		/* Who has authenticated on the connection is no stranger; what was closed no longer counts. */
		const c = connectH2(small);
		await c.send(frame(T.headers, BOTH, 1, request('GET', `/${name}`, { authorization: small.auth })));
		assert.equal((await c.answer(1)).status, 200);
		await upload(c, 3, 300);
		assert.equal((await c.answer(3)).status, 201);
		c.end();
	} finally {
		await small.stop();
	}
});

test('the server ends while a head is in pieces', async () => {
	const c = connectH2(server);
	await c.send(frame(T.headers, END_STREAM, 1, request('GET', '/_up')));
	const feed = connectH2(server);
	await feed.send(get(1, `/${db}/_changes?feed=continuous&since=now`));
	await new Promise((r) => setTimeout(r, 100));
	const drip = setInterval(() => c.send(frame(T.continuation, 0, 1, Buffer.from([0]))), 100);
	try {
		await server.stop();
	} finally {
		clearInterval(drip);
		c.end();
		feed.end();
	}
	await server.restart();
});

/** Each of [path, JSON: a POST] is asked twelve times by who goes away, or resets it, at different moments. */
async function resets(ways) {
	for (const [path, json] of ways) {
		const body = json && JSON.stringify(json);
		let answered = 0;
		for (let i = 0; i < 12; i++) {
			const c = http2.connect(`http://127.0.0.1:${server.port}`);
			c.on('error', () => {});
			const req = c.request({ ':method': body ? 'POST' : 'GET', ':path': path, authorization: server.auth, 'content-type': 'application/json' });
			req.on('error', () => {});
			req.on('response', () => answered++);
			req.end(body);
			await Promise.race([once(req, 'response'), new Promise((resolve) => setTimeout(resolve, i % 6))]).catch(() => {});
			if (i % 2) req.close(http2.constants.NGHTTP2_CANCEL);
			c.destroy();
		}
		assert.equal((await ask(server, 'GET', `/${db}/doc`)).status, 200, `${path}, ${answered} answered`);
	}
}

// What it finds, a sanitizer tells: `make asan`, `make tsan`.
test('requests with long bodies are reset while they are worked on', { timeout: 60000 }, async () => {
	const pad = 'x'.repeat(200000);
	const lists = { all: 'function () { provides("json", function () { getRow(); return "[]"; }); }' };
	assert.equal((await ask(server, 'PUT', `/${db}/_design/long`, { json: { lists, filters: { all: 'function () { return true; }' }, views: { all: { map: 'function (doc) { emit(null, null); }' } } } })).status, 201);
	const ways = {
		[`/${db}/_purge`]: { doc: Array.from({ length: 2000 }, (_, i) => `1-${i}${'a'.repeat(40)}`) },
		[`/${db}/_changes?filter=_doc_ids`]: { doc_ids: [pad] },
		[`/${db}/_changes?filter=long/all`]: { pad },
		[`/${db}/_all_docs`]: { keys: [pad] },
		[`/${db}/_design/long/_list/all/_all_docs`]: { keys: [pad] },
		[`/${db}/_find`]: { selector: { pad } },
		[`/${db}/_revs_diff`]: { [pad.slice(0, 8000)]: Array.from({ length: 2000 }, (_, i) => `1-${i}${'a'.repeat(40)}`) },
		[`/${db}/_bulk_get`]: { docs: [{ id: 'doc' }], pad },
		[`/${db}/_design/long/_view/all`]: { key: pad },
		[`/${db}/_design/long/_view/all/queries`]: { queries: [{ keys: [pad] }, { include_docs: true }] },
	};
	await resets(Object.entries(ways));
});

test('requests of large documents are reset while they are read', { timeout: 60000 }, async () => {
	const name = await newDb(server);
	const words = Array.from({ length: 100000 }, (_, i) => `word ${i} of many`);
	assert.equal((await ask(server, 'PUT', `/${name}/_design/long`, { json: { views: { all: { map: 'function (doc) { emit(null, null); }' } } } })).status, 201);
	for (const id of ['a', 'b', '_local/a']) assert.equal((await ask(server, 'PUT', `/${name}/${id}`, { json: { words } })).status, 201);
	const selector = { words: { $elemMatch: { $eq: 'none' } } };
	await resets([
		[`/${name}/_local/a`],
		[`/${name}/_local_docs?include_docs=true`],
		[`/${name}/_all_docs?include_docs=true`],
		[`/${name}/_changes?include_docs=true`],
		[`/${name}/_design/long/_view/all?include_docs=true`],
		[`/${name}/_changes?filter=_selector`, { selector }],
		[`/${name}/_find`, { selector }],
		[`/${name}/_find`, { selector: { _id: { $gt: null } } }],
	]);
});
