// The server itself: databases that come and go, sessions, other origins, settings, local documents, hostile paths.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { after, before, test } from 'node:test';
import { startDivand, tempDir } from '../lib/divand.mjs';
import { client } from '../lib/wire.mjs';

const APP = 'let many = words;\n'.repeat(1000);
let server, c, web;

before(async () => {
	web = tempDir('divan-web');
	fs.mkdirSync(path.join(web, 'page'));
	fs.writeFileSync(path.join(web, 'page', 'index.html'), '<p>hello');
	fs.mkdirSync(path.join(web, 'page', 'sub é'));
	fs.writeFileSync(path.join(web, 'page', 'sub é', 'index.html'), '<p>below');
	fs.writeFileSync(path.join(web, 'page', 'app.js'), APP);
	fs.writeFileSync(path.join(web, 'page', 'dot.png'), APP);
	fs.writeFileSync(path.join(web, 'secret'), 'secret');
	server = await startDivand({
		config: {
			chttpd: { enable_cors: 'true' },
			cors: { origins: 'http://localhost:*', credentials: 'true' },
			chttpd_auth: { iterations: '50000' },
			chttpd_auth_lockout: { mode: 'off' }, // wrong passwords are tried more often than anybody may
			divan: { web_dir: path.join(web, 'page') },
		},
	});
	c = client(server);
});

after(async () => {
	c.close();
	await server.stop();
});

const nobody = { authorization: '' };

/** What comes back for exactly these bytes. */
const raw = (bytes) => new Promise((resolve, reject) => {
	let text = '';
	const s = net.connect(server.port, '127.0.0.1', () => s.end(bytes));
	s.on('data', (d) => (text += d));
	s.on('close', () => resolve(text));
	s.on('error', reject);
});

test('the first answer has what PouchDB looks for', async () => {
	const r = await c.request('GET', '/', undefined, { authorization: 'Basic: broken' });
	assert.equal(r.status, 200);
	assert.equal(r.json.couchdb, 'Welcome');
	assert.match(r.json.uuid, /^[0-9a-f]{32}$/);
	assert.deepEqual(r.json.features, ['partitioned', 'scheduler']);
	assert.match(r.headers['x-couch-request-id'], /^[0-9a-f]{10}$/);
	assert.ok(r.text.endsWith('\n'));
	const own = await c.request('GET', '/', undefined, { 'x-couch-request-id': 'my-id_1' });
	assert.equal(own.headers['x-couch-request-id'], 'my-id_1');
});

test('a database recreated at once is a new one', async () => {
	const starts = new Set();
	for (let i = 0; i < 60; i++) {
		assert.equal((await c.request('PUT', '/again')).status, 201);
		assert.equal((await c.request('GET', '/again/x')).status, 404);
		assert.equal((await c.request('PUT', '/again/x', { i })).status, 201);
		const info = (await c.request('GET', '/again')).json;
		assert.equal(info.doc_count, 1);
		assert.ok(info.update_seq.startsWith('1-'));
		starts.add(info.instance_start_time);
		assert.equal((await c.request('DELETE', '/again')).status, 200);
		assert.equal((await c.request('GET', '/again')).status, 404);
	}
	assert.equal(starts.size, 60);
});

test('of many who create one database, one does', async () => {
	const all = await Promise.all(Array.from({ length: 12 }, () => c.request('PUT', '/race')));
	assert.deepEqual(all.map((r) => r.status).sort(), [201, ...Array(11).fill(412)]);
	await c.request('DELETE', '/race');
});

test('_ensure_full_commit names the database that GET names', async () => {
	const db = await c.db();
	const info = (await c.request('GET', db)).json;
	const commit = await c.request('POST', `${db}/_ensure_full_commit`, {});
	assert.equal(commit.status, 201);
	assert.deepEqual(commit.json, { ok: true, instance_start_time: info.instance_start_time });
});

test('names of databases survive their encoding', async () => {
	for (const name of ['a/b', 'x+y', 'p$(1)', 'under_score-dash']) {
		const url = '/' + encodeURIComponent(name);
		assert.equal((await c.request('PUT', url)).status, 201);
		assert.equal((await c.request('GET', url)).json.db_name, name);
		const list = await c.request('GET', `/_all_dbs?key=${encodeURIComponent(JSON.stringify(name))}`);
		assert.deepEqual(list.json, [name]);
		const again = await c.request('GET', `/_all_dbs?key=${encodeURIComponent(JSON.stringify(name))}`, undefined,
			{ 'if-none-match': list.headers.etag });
		assert.equal(again.status, 304);
		assert.equal((await c.request('DELETE', url)).status, 200);
	}
});

test('a session lasts, and a changed one does not', async () => {
	const login = await c.request('POST', '/_session', { name: 'admin', password: 'adm' }, nobody);
	assert.equal(login.status, 200);
	const cookie = login.headers['set-cookie'][0].split(';')[0];
	const me = async (value) => (await c.request('GET', '/_session', undefined, { ...nobody, cookie: value })).json.userCtx.name;
	assert.equal(await me(cookie), 'admin');
	assert.equal(await me('a=b; ' + cookie), 'admin');
	// The last character holds bits that the decoder drops; one before it does not.
	const at = cookie.length - 5;
	assert.equal(await me(cookie.slice(0, at) + (cookie[at] === 'A' ? 'B' : 'A') + cookie.slice(at + 1)), null);
	const bad = await c.request('POST', '/_session', { name: 'admin', password: 'no' }, nobody);
	assert.equal(bad.status, 401);
	assert.match(bad.headers['set-cookie'][0], /^AuthSession=;/);
});

test('a name that does not exist takes as long as a wrong password', async () => {
	const time = async (name) => {
		const start = process.hrtime.bigint();
		const auth = { authorization: 'Basic ' + Buffer.from(`${name}:wrong`).toString('base64') };
		assert.equal((await c.request('GET', '/_session', undefined, auth)).status, 401);
		assert.equal((await c.request('POST', '/_session', { name, password: 'wrong' }, nobody)).status, 401);
		return Number(process.hrtime.bigint() - start);
	};
	const best = async (name) => Math.min(await time(name), await time(name), await time(name), await time(name));
	const [known, unknown] = [await best('admin'), await best('nobody')];
	assert.ok(unknown > known / 3, `${unknown} and ${known} ns`);
});

test('nothing that is stored becomes a header of an answer', async () => {
	const db = await c.db();
	const evil = 'text/plain\r\nx-evil: 1';
	const put = await c.request('PUT', `${db}/a`, { _attachments: { x: { content_type: evil, data: 'aaaa' }, y: { content_type: `image/${evil}`, data: 'aaaa' } } });
	assert.equal(put.status, 201);
	for (const name of ['x', 'y']) {
		const got = await c.request('GET', `${db}/a/${name}`, undefined, { range: 'bytes=0-0,2-2' });
		assert.ok(got.status < 300);
		assert.equal(got.headers['x-evil'], undefined);
		assert.doesNotMatch(got.text, /x-evil/);
	}
	for (const rev of ['1-a\r\nx-evil: 1', '1-a"b', '1-a\\', '1-\u00fc', '1- ']) {
		assert.equal((await c.request('PUT', `${db}/r?new_edits=false`, { _rev: rev })).status, 400, rev);
		assert.equal((await c.request('PUT', `${db}/r?rev=${encodeURIComponent(rev)}`, {})).status, 400, rev);
	}
	assert.equal((await c.request('GET', `${db}/r`)).status, 404);
});

test('many who come with one password at once are all let in', async () => {
	const other = client(server);
	const set = await c.request('PUT', '/_node/_local/_config/admins/second', JSON.stringify('pw'));
	assert.equal(set.status, 200);
	const auth = { authorization: 'Basic ' + Buffer.from('second:pw').toString('base64') };
	const all = await Promise.all(Array.from({ length: 30 }, () => other.request('GET', '/_session', undefined, auth)));
	assert.ok(all.every((r) => r.json.userCtx?.name === 'second'));
	const stored = await c.request('GET', '/_node/_local/_config/admins/second');
	assert.equal(stored.json, '-pbkdf2:sha256-********');
	assert.equal((await c.request('DELETE', '/_node/_local/_config/admins/second')).status, 200);
	assert.equal((await other.request('GET', '/_session', undefined, auth)).status, 401);
	other.close();
});

test('pages of allowed origins may ask, on errors too', async () => {
	const origin = 'http://localhost:8123';
	const missing = await c.request('GET', '/nosuch', undefined, { origin });
	assert.equal(missing.status, 404);
	assert.equal(missing.headers['access-control-allow-origin'], origin);
	assert.equal(missing.headers['access-control-allow-credentials'], 'true');
	const preflight = await c.request('OPTIONS', '/nosuch/doc', undefined, {
		...nobody, origin, 'access-control-request-method': 'PUT', 'access-control-request-headers': 'content-type, authorization',
	});
	assert.equal(preflight.status, 204);
	assert.equal(preflight.headers['access-control-allow-headers'], 'content-type, authorization');
	const evil = await c.request('GET', '/', undefined, { origin: 'http://localhost.evil:8123' });
	assert.equal(evil.headers['access-control-allow-origin'], undefined);
});

test('a local document is told by its content', async () => {
	const db = await c.db();
	const first = await c.request('PUT', `${db}/_local/x`, { a: 1 });
	assert.equal(first.json.rev, '0-1');
	const got = await c.request('GET', `${db}/_local/x`);
	assert.equal(got.headers.etag, first.headers.etag);
	const same = await c.request('GET', `${db}/_local/x`, undefined, { 'if-none-match': got.headers.etag });
	assert.equal(same.status, 304);
	await c.request('DELETE', `${db}/_local/x`);
	await c.request('PUT', `${db}/_local/x`, { a: 2 });
	const anew = await c.request('GET', `${db}/_local/x`, undefined, { 'if-none-match': got.headers.etag });
	assert.deepEqual(anew.json, { _id: '_local/x', _rev: '0-1', a: 2 });
	const head = await c.request('HEAD', `${db}/_local/x`);
	assert.equal(Number(head.headers['content-length']), anew.raw.length);
});

test('compressed bodies are taken, broken ones refused', async () => {
	const db = await c.db();
	const gz = { 'content-encoding': 'gzip' };
	const text = JSON.stringify({ big: 'x'.repeat(300000) });
	assert.equal((await c.request('PUT', `${db}/_local/z`, gzipSync(text), gz)).status, 201);
	assert.equal((await c.request('GET', `${db}/_local/z`)).json.big.length, 300000);
	assert.equal((await c.request('PUT', `${db}/_local/z`, gzipSync(text).subarray(0, 100), gz)).status, 400);
	assert.equal((await c.request('PUT', `${db}/_local/z`, 'plain', gz)).status, 400);
	assert.equal((await c.request('PUT', `${db}/_local/z`, 'x', { 'content-encoding': 'br' })).status, 415);
});

test('a folder of the page is its index.html', async () => {
	const sub = '/_utils/sub%20%C3%A9';
	const page = await c.request('GET', `${sub}/`, undefined, nobody);
	assert.equal(page.text, '<p>below');
	assert.match(page.headers['content-type'], /^text\/html/);
	const moved = await c.request('GET', sub, undefined, nobody);
	assert.equal(moved.status, 301);
	assert.equal(moved.headers.location, `http://127.0.0.1:${server.port}${sub}/`);
	assert.equal((await c.request('GET', '/_utils/app.js/', undefined, nobody)).status, 404);
	assert.equal((await c.request('GET', '/_utils/nothing/', undefined, nobody)).status, 404);
});

test('the page goes out compressed to who takes it, and as it is now', async () => {
	const get = (name, encoding, more) => c.request('GET', `/_utils/${name}`, undefined, { ...nobody, 'accept-encoding': encoding, ...more });
	const plain = await get('app.js', 'identity');
	assert.equal(plain.text, APP);
	assert.equal(plain.headers['content-encoding'], undefined);
	assert.equal(plain.headers['content-security-policy'].includes('unsafe'), false);
	for (const encoding of ['gzip', 'br, GZIP;q=0.5', 'deflate, gzip']) {
		const small = await get('app.js', encoding);
		assert.equal(small.headers['content-encoding'], 'gzip');
		assert.equal(small.headers.vary, 'origin, Accept-Encoding');
		assert.equal(gunzipSync(small.raw).toString(), APP);
		assert.notEqual(small.headers.etag, plain.headers.etag);
		assert.equal((await get('app.js', encoding, { 'if-none-match': small.headers.etag })).status, 304);
	}
	for (const encoding of ['br', 'gzip;q=0', 'gzip;q=0.00, br', 'xgzip', 'gzipped']) {
		assert.equal((await get('app.js', encoding)).text, APP);
	}
	assert.equal((await get('dot.png', 'gzip')).text, APP);
	fs.writeFileSync(path.join(web, 'page', 'app.js'), APP + '// more');
	assert.equal(gunzipSync((await get('app.js', 'gzip')).raw).toString(), APP + '// more');
});

test('no path leaves the page\'s folder, and none ends the server', async () => {
	const page = await c.request('GET', '/_utils/', undefined, nobody);
	assert.equal(page.text, '<p>hello');
	assert.match(page.headers['content-security-policy'], /default-src 'self'/);
	assert.equal((await c.request('GET', '/_utils')).headers.location, `http://127.0.0.1:${server.port}/_utils/`);
	const parts = ['..', '%2e%2e', '%2E.', '..%2f', '%00', '%', '%zz', '#', '?', 'a'.repeat(9000), '_local', '_design', '', ' ', ';',
		'+', '%2F', '_utils', 'secret', '%ff', '_node', '_session', '*'];
	let seed = 7;
	const pick = () => parts[(seed = (seed * 1103515245 + 12345) & 0x7fffffff) % parts.length];
	for (let i = 0; i < 400; i++) {
		const target = '/_utils/'.slice(0, i % 2 ? 1 : 8) + [pick(), pick(), pick(), 'secret'].slice(i % 3).join('/');
		const answer = await raw(`GET ${target.replaceAll(' ', '%20')} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n`);
		assert.match(answer, /^HTTP\/1\.1 [345]\d\d |^HTTP\/1\.1 200 [^]*(hello|Welcome|userCtx)/, `request ${i}: ${target}`);
	}
	assert.equal((await c.request('GET', '/_up')).json.status, 'ok');
});

/* ---- Bodies that come while their handler runs ---- */

const MIB = 1 << 20;

/** A connection: say(bytes), until(pattern) resolves to what came up to and with it, end() to all until the close. */
const dial = () => new Promise((resolve, reject) => {
	let text = '';
	let ended = false;
	let wake = () => {};
	const s = net.connect(server.port, '127.0.0.1', () => resolve({
		say: (bytes) => new Promise((done) => s.write(bytes, () => done())),
		async until(pattern) {
			for (;;) {
				const m = pattern.exec(text);
				if (m) {
					const got = text.slice(0, m.index + m[0].length);
					text = text.slice(got.length);
					return got;
				}
				if (ended) throw new Error(`no ${pattern} in ${text}`);
				await new Promise((r) => (wake = r));
			}
		},
		async end() {
			while (!ended) await new Promise((r) => (wake = r));
			return text;
		},
		drop: () => s.resetAndDestroy(),
	}));
	s.on('data', (d) => {
		text += d.toString('latin1');
		wake();
	});
	s.on('error', (e) => (e.code === 'ECONNREFUSED' ? reject(e) : (ended = true, wake())));
	s.on('close', () => {
		ended = true;
		wake();
	});
});

const head = (path, ...headers) => [`PUT ${path} HTTP/1.1`, 'Host: x', `Authorization: ${server.auth}`,
	'Content-Type: application/octet-stream', ...headers, '', ''].join('\r\n');
const noise = (n, seed) => Buffer.from(Uint32Array.from({ length: n / 4 }, (_, i) => (seed = Math.imul(seed ^ i, 2654435761) >>> 0)).buffer);
const chunk = (bytes) => Buffer.concat([Buffer.from(bytes.length.toString(16) + '\r\n'), bytes, Buffer.from('\r\n')]);
const rest = (ms) => new Promise((r) => setTimeout(r, ms));
const created = /^HTTP\/1\.1 201 Created\r\n[^]*?"rev":"[^"]*"}\n/;
const stored = async (path) => Buffer.from((await c.request('GET', path)).raw);

test('a large body is taken as it comes, whatever its pace and framing, and the connection goes on', async () => {
	const db = await c.db();
	const data = noise(3 * MIB, 7);
	const conn = await dial();
	for (const [name, pause] of [['fast', 0], ['slow', 5]]) {
		await conn.say(head(`${db}/a-${name}/x`, `Content-Length: ${data.length}`));
		for (let at = 0; at < data.length; at += 200000) {
			await conn.say(data.subarray(at, at + 200000));
			if (pause) await rest(pause);
		}
		await conn.until(created);
		await conn.say(head(`${db}/b-${name}/x`, 'Transfer-Encoding: chunked'));
		for (let at = 0; at < data.length; at += 70001) {
			await conn.say(chunk(data.subarray(at, at + 70001)));
			if (pause) await rest(pause);
		}
		await conn.say('0\r\n\r\n');
		await conn.until(created);
	}
	// Two of them and a small request, without waiting for answers.
	await conn.say(Buffer.concat([
		Buffer.from(head(`${db}/c/x`, `Content-Length: ${data.length}`)), data,
		Buffer.from(head(`${db}/d/x`, 'Transfer-Encoding: chunked')), chunk(data), Buffer.from('0\r\n\r\n'),
		Buffer.from('GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')]));
	await conn.until(created);
	await conn.until(created);
	assert.match(await conn.end(), /"Welcome"/);
	for (const name of ['a-fast', 'b-fast', 'a-slow', 'b-slow', 'c', 'd']) assert.ok(data.equals(await stored(`${db}/${name}/x`)), name);
});

test('a document of some MiB is gathered before it is read', async () => {
	const db = await c.db();
	const text = Buffer.from(JSON.stringify({ text: noise(3 * MIB, 3).toString('base64') }));
	const conn = await dial();
	await conn.say(head(`${db}/known`, `Content-Length: ${text.length}`));
	await conn.say(text);
	await conn.until(created);
	await conn.say(head(`${db}/chunked`, 'Transfer-Encoding: chunked'));
	for (let at = 0; at < text.length; at += 100000) await conn.say(chunk(text.subarray(at, at + 100000)));
	await conn.say('0\r\n\r\n');
	await conn.until(created);
	for (const id of ['known', 'chunked']) assert.equal((await c.request('GET', `${db}/${id}`)).json.text, JSON.parse(text).text);
	conn.drop();
});

test('what is refused by its head is answered before its body', async () => {
	const db = await c.db();
	const wrong = 'Authorization: Basic ' + Buffer.from('admin:wrong').toString('base64');
	const huge = 'Content-Length: 200000000';
	const refused = [
		[`PUT ${db}/d/x HTTP/1.1\r\nHost: x\r\n${wrong}\r\n${huge}\r\n\r\n`, 401],
		[`PUT ${db}/d HTTP/1.1\r\nHost: x\r\n${wrong}\r\nTransfer-Encoding: chunked\r\n\r\n`, 401],
		[head('/nosuch/d/x', huge), 404],
		[head(`${db}/d/x?rev=bad`, huge), 400],
		[head(`${db}/d/x`, 'Content-Length: 5000000000'), 413],
		[head(`${db}/d/x`, huge, 'Transfer-Encoding: chunked'), 400],
		[head(`${db}/d/x`, huge, huge), 400],
	];
	for (const [bytes, status] of refused) {
		const conn = await dial();
		await conn.say(bytes);
		const answer = await conn.end();
		assert.match(answer, new RegExp(`^HTTP/1.1 ${status} [^]*onnection: close[^]*"error":`), bytes);
	}
	// A client that first sends all reads the answer afterwards.
	const data = noise(5 * MIB, 1);
	const conn = await dial();
	await conn.say(head('/nosuch/d/x', `Content-Length: ${data.length}`));
	await conn.say(data);
	assert.match(await conn.end(), /^HTTP\/1\.1 404 /);
	assert.equal((await c.request('GET', `${db}/d`)).status, 404);
});

test('who asks whether to go on is told so, or refused', async () => {
	const db = await c.db();
	const data = noise(MIB, 5);
	const conn = await dial();
	await conn.say(head(`${db}/d/x`, `Content-Length: ${data.length}`, 'Expect: 100-continue'));
	assert.equal(await conn.until(/\r\n\r\n/), 'HTTP/1.1 100 Continue\r\n\r\n');
	await conn.say(data);
	await conn.until(created);
	await conn.say(head('/nosuch/x', `Content-Length: ${data.length}`, 'Expect: 100-continue'));
	assert.match(await conn.end(), /^HTTP\/1\.1 404 /);
	assert.ok(data.equals(await stored(`${db}/d/x`)));
});

test('broken chunks are refused, and a client that leaves in the middle leaves nothing', async () => {
	const db = await c.db();
	const data = noise(MIB, 9);
	const good = chunk(data.subarray(0, 300000));
	for (const bad of ['zz\r\n', '0000000000000001\r\na', '5\r\nabcdefg', 'fffffffffffffffff\r\n', '3;' + 'x'.repeat(2000), '0\r\n' + 'x'.repeat(9000)]) {
		for (const path of [`${db}/d/x`, `${db}/d`]) {
			const conn = await dial();
			await conn.say(Buffer.concat([Buffer.from(head(path, 'Transfer-Encoding: chunked')), good, Buffer.from(bad)]));
			assert.match(await conn.end(), /^HTTP\/1\.1 400 /, bad);
		}
	}
	for (const framing of ['Transfer-Encoding: chunked', 'Content-Length: 20000000']) {
		for (const path of [`${db}/d/x`, `${db}/d`]) {
			const conn = await dial();
			await conn.say(Buffer.concat([Buffer.from(head(path, framing)), good]));
			await rest(20);
			conn.drop();
		}
	}
	assert.equal((await c.request('GET', `${db}/d`)).status, 404);
	assert.equal((await c.request('PUT', `${db}/d`, {})).status, 201);
});

test('the longest time that the server was busy at a stretch is told', async () => {
	const all = (await c.request('GET', '/_node/_local/_stats')).json;
	assert.ok(Number.isInteger(all.divan.loop_lag_ms.value));
	assert.equal(all.couchdb.request_time.type, 'histogram');
	assert.equal((await c.request('GET', '/_node/_local/_stats/divan/loop_lag_ms')).json.type, 'gauge');
	assert.equal((await c.request('GET', '/_node/_local/_stats/divan')).json.loop_lag_ms.type, 'gauge');
	assert.equal((await c.request('GET', '/_node/_local/_stats/divan/none')).json, null);
});

test('a request that never comes in whole does not hold the end of the server up', async () => {
	const own = await startDivand();
	const half = net.connect(own.port, '127.0.0.1');
	const body = net.connect(own.port, '127.0.0.1');
	half.on('error', () => {});
	body.on('error', () => {});
	half.write('PUT /x HTTP/1.1\r\nHost: x\r\n');
	body.write(`PUT /_users HTTP/1.1\r\nHost: x\r\nAuthorization: ${own.auth}\r\nContent-Length: 9000000\r\n\r\n`);
	assert.equal((await fetch(own.url)).status, 200);
	await own.stop();
	half.destroy();
	body.destroy();
});
