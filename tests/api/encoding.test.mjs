// Compressed answers: who gets them, that they say the same as the plain ones, and that a feed's rows come at once.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import http from 'node:http';
import http2 from 'node:http2';
import os from 'node:os';
import zlib from 'node:zlib';
import { after, before, test } from 'node:test';
import { startDivand } from '../lib/divand.mjs';
import { until } from '../lib/until.mjs';
import { ask, newDb } from './client.mjs';

let server, db;
const BIG = 40; // documents of some 600 bytes: a listing above the least length, in one piece
before(async () => {
	server = await startDivand({ config: { chttpd: { compress_responses: 'always' } } });
	db = await newDb(server);
	const docs = Array.from({ length: BIG }, (_, i) => ({ _id: `doc${i}`, text: `${i} `.repeat(150) }));
	assert.equal((await ask(server, 'POST', `/${db}/_bulk_docs`, { json: { docs } })).status, 201);
});
after(() => server.stop());

const get = (path, encoding, { method = 'GET', headers = {}, to = server } = {}) =>
	ask(to, method, path, { headers: { ...(encoding === undefined ? {} : { 'Accept-Encoding': encoding }), ...headers } });
const listing = () => `/${db}/_all_docs?include_docs=true`;
const plain = (answer) => {
	assert.equal(answer.headers['content-encoding'], 'gzip');
	assert.match(answer.headers.vary ?? '', /accept-encoding/i);
	return zlib.gunzipSync(answer.raw).toString();
};

/** A stream, decoded as it comes: until(test) waits for text. */
function open(path, { encoding = 'gzip', headers = {}, to = server } = {}) {
	return new Promise((resolve, reject) => {
		const req = http.get({ host: '127.0.0.1', port: to.port, path, agent: false,
			headers: { Authorization: to.auth, 'Accept-Encoding': encoding, ...headers } }, (res) => {
			const s = { status: res.statusCode, headers: res.headers, text: '', encoded: 0, close: () => req.destroy() };
			const waits = new Set();
			const decoder = res.headers['content-encoding'] === 'gzip' ? zlib.createGunzip() : null;
			const take = (d) => {
				s.text += d;
				for (const look of waits) look();
			};
			s.until = (test, ms = 10000) => new Promise((done, fail) => {
				const timer = setTimeout(() => fail(new Error(`it did not come; this did: ${s.text.slice(-300)}`)), ms);
				const look = () => {
					if (!test(s.text)) return;
					clearTimeout(timer);
					waits.delete(look);
					done(s.text);
				};
				waits.add(look);
				look();
			});
			s.ended = new Promise((done) => {
				(decoder ?? res).on('end', () => done(true));
				(decoder ?? res).on('error', () => done(false));
				res.on('error', () => done(false));
			});
			decoder?.on('data', take);
			res.on('data', (d) => {
				s.encoded += d.length;
				if (decoder) decoder.write(d);
				else take(d);
			});
			res.on('end', () => decoder?.end());
			resolve(s);
		});
		req.on('error', reject);
	});
}

test('JSON is compressed for who takes it, and says the same', async () => {
	const want = await get(listing());
	assert.equal(want.headers['content-encoding'], undefined);
	assert.match(want.headers.vary, /accept-encoding/i);
	const got = await get(listing(), 'gzip');
	assert.equal(plain(got), want.text);
	assert.equal(got.headers['content-length'] ?? `${got.raw.length}`, `${got.raw.length}`, 'whole, or, where it took a while, piece by piece');
	assert.ok(got.raw.length < want.raw.length / 2);
	assert.equal(got.headers['content-type'], 'application/json');
	const doc = await get(`/${db}/doc1?revs=true&revs_info=true&padding=`, 'gzip');
	assert.equal(doc.headers['content-encoding'], undefined, 'a short one is not');
	assert.equal(doc.headers.vary, undefined, 'nor could it be');
});

test('weights decide, and what is refused is not sent', async () => {
	for (const [accept, encoding] of [
		['gzip;q=0', undefined], ['identity;q=1, gzip;q=0.5', undefined], ['br, deflate', undefined], ['', undefined],
		['br, *;q=0.1', 'zstd'], ['*, zstd;q=0', 'gzip'], ['gzip;q=0.5, zstd;q=0.4', 'gzip'], ['gzip, zstd', 'zstd'], ['GZIP', 'gzip'],
	]) {
		const answer = await get(listing(), accept);
		assert.equal(answer.status, 200);
		assert.equal(answer.headers['content-encoding'], encoding, accept);
	}
	const small = await get(`/${db}`, 'identity;q=0, gzip');
	assert.equal(JSON.parse(plain(small)).db_name, db, 'a short one too where plain is refused');
	const nothing = await get(`/${db}`, '*;q=0');
	assert.equal(nothing.status, 200);
	assert.equal(nothing.json.db_name, db, 'no answer is withheld');
});

test('zstd is read by curl, whole and as a stream', async () => {
	const curl = (path) => execFileSync('curl', ['-sS', '-m', '20', '--compressed', '-D', '-', '-H', 'Accept-Encoding: zstd', '-H', `Authorization: ${server.auth}`,
		`http://127.0.0.1:${server.port}${path}`], { encoding: 'utf8', maxBuffer: 1 << 26 });
	for (const path of [listing(), `/${db}/_changes?feed=continuous&timeout=50&include_docs=true`]) {
		const text = curl(path);
		const at = text.indexOf('\r\n\r\n');
		assert.match(text.slice(0, at), /content-encoding: zstd/i);
		const want = await get(path);
		assert.equal(text.slice(at + 4), want.text);
	}
});

test('a long answer goes out piece by piece', async () => {
	const path = `/${await newDb(server)}`;
	// One document alone is many pieces; the listing of them is a stream of batches beyond a piece.
	const text = Array.from({ length: 30000 }, (_, i) => `line ${i * 7919 % 10007}`).join('\n');
	const docs = Array.from({ length: 12 }, (_, i) => ({ _id: `big${10 + i}`, text: `${i}${text}` }));
	for (const doc of docs) assert.equal((await ask(server, 'PUT', `${path}/${doc._id}`, { json: doc })).status, 201);
	const one = await get(`${path}/big13`, 'gzip, deflate');
	assert.equal(one.headers['transfer-encoding'], 'chunked');
	assert.equal(JSON.parse(plain(one)).text, docs[3].text);
	const all = await get(`${path}/_all_docs?include_docs=true`, 'gzip');
	assert.deepEqual(JSON.parse(plain(all)).rows.map((r) => r.doc.text), docs.map((d) => d.text));
	// Several on one connection: each ends where it should.
	const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
	for (let i = 0; i < 5; i++) {
		const r = await ask(server, 'GET', `${path}/big${10 + i}`, { agent, headers: { 'Accept-Encoding': 'gzip' } });
		assert.equal(JSON.parse(zlib.gunzipSync(r.raw)).text, docs[i].text);
		const head = await ask(server, 'HEAD', `${path}/big${10 + i}`, { agent, headers: { 'Accept-Encoding': 'gzip' } });
		assert.equal(head.headers['content-encoding'], 'gzip');
		assert.equal(head.headers.etag, r.headers.etag);
		assert.equal(head.headers['content-length'], undefined);
	}
	agent.destroy();
	// A client that leaves in the middle takes nothing with it.
	const leaver = await open(`${path}/_all_docs?include_docs=true`);
	leaver.close();
	assert.equal((await get(path)).status, 200);
});

test('rows of feeds come at once', async () => {
	const path = `/${await newDb(server)}`;
	const put = async (id) => assert.equal((await ask(server, 'PUT', `${path}/${id}`, { json: {} })).status, 201);
	await put('first');
	const feeds = await Promise.all([
		open(`${path}/_changes?feed=continuous&heartbeat=30000`),
		open(`${path}/_changes?feed=continuous&heartbeat=30000&since=now`),
		open(`${path}/_changes?feed=eventsource&heartbeat=30000`),
		open(`${path}/_changes?feed=continuous&include_docs=true&heartbeat=30000`),
	]);
	const poll = await open(`${path}/_changes?feed=longpoll&since=now&heartbeat=30000`);
	for (const f of [...feeds, poll]) {
		assert.equal(f.headers['content-encoding'], 'gzip');
		assert.match(f.headers.vary, /accept-encoding/i);
	}
	assert.equal(feeds[2].headers['content-type'], 'text/event-stream');
	for (const id of ['a', 'b', 'c']) {
		await put(id);
		// Waited for one by one: a row that were held back until the next would never come.
		for (const f of feeds) await f.until((t) => t.includes(`"${id}"`));
	}
	await poll.until((t) => t.includes('"last_seq"'));
	assert.ok(await poll.ended);
	assert.deepEqual(JSON.parse(poll.text).results.map((r) => r.id), ['a']);
	const ids = feeds[0].text.trim().split('\n').map((l) => JSON.parse(l).id);
	assert.deepEqual(ids, ['first', 'a', 'b', 'c']);
	for (const f of feeds) f.close();
});

test('heartbeats come at once, and a feed ends well', async () => {
	const path = `/${await newDb(server)}`;
	const beat = await open(`${path}/_changes?feed=continuous&since=now&heartbeat=30`);
	await beat.until((t) => t.length >= 3);
	assert.match(beat.text, /^\n+$/);
	beat.close();
	const event = await open(`${path}/_changes?feed=eventsource&since=now&heartbeat=30`);
	await event.until((t) => t.split('event: heartbeat').length > 3);
	event.close();
	const brief = await open(`${path}/_changes?feed=continuous&timeout=50`);
	assert.ok(await brief.ended);
	assert.equal(JSON.parse(brief.text).pending, 0);
	/* This one sends nothing with its end. */
	await ask(server, 'PUT', `${path}/a`, { json: {} });
	const events = await open(`${path}/_changes?feed=eventsource&timeout=100`);
	assert.ok(await events.ended);
	assert.match(events.text, /"id":"a"/);
});

test('many feeds at different places get the same rows', async () => {
	const path = `/${await newDb(server)}`;
	const feeds = [];
	const ids = [];
	for (let i = 0; i < 30; i++) {
		feeds.push({ from: i % 3 === 0 ? 0 : ids.length,
			f: await open(`${path}/_changes?feed=continuous&heartbeat=30000${i % 3 === 0 ? '' : '&since=now'}`, { encoding: i % 5 === 4 ? 'identity' : 'gzip' }) });
		ids.push(`d${i}`);
		assert.equal((await ask(server, 'PUT', `${path}/d${i}`, { json: { i } })).status, 201);
	}
	for (const { f, from } of feeds) {
		await f.until((t) => t.includes('"d29"'));
		assert.deepEqual(f.text.trim().split('\n').map((l) => JSON.parse(l).id), ids.slice(from));
		f.close();
	}
});

test('no body, no coding: 304; HEAD says what GET would', async () => {
	const path = `/${await newDb(server)}/doc`;
	const put = await ask(server, 'PUT', path, { json: { text: 'x'.repeat(3000) } });
	const full = await get(path, 'gzip');
	assert.equal(JSON.parse(plain(full)).text.length, 3000);
	assert.equal(full.headers.etag, `"${put.json.rev}"`, "the tag stays CouchDB's");
	const same = await get(path, 'gzip', { headers: { 'If-None-Match': full.headers.etag } });
	assert.equal(same.status, 304);
	assert.equal(same.headers['content-encoding'], undefined);
	assert.equal(same.raw.length, 0);
	const head = await get(path, 'gzip', { method: 'HEAD' });
	assert.equal(head.headers['content-encoding'], 'gzip');
	assert.match(head.headers.vary, /accept-encoding/i);
	assert.equal(head.headers['content-length'], undefined, 'the length of the plain text would be wrong');
	const bare = await get(path, undefined, { method: 'HEAD' });
	assert.equal(Number(bare.headers['content-length']), (await get(path)).raw.length);
});

test('attachments keep the coding that they are stored with', async () => {
	const path = `/${await newDb(server)}/doc`;
	const body = Buffer.alloc(5000, '{"a":1} ');
	for (const [name, type] of [['a.bin', 'application/octet-stream'], ['a.json', 'application/json'], ['a.txt', 'text/plain']]) {
		const rev = (await get(path, undefined, { method: 'HEAD' })).headers.etag?.replaceAll('"', '');
		const put = await ask(server, 'PUT', `${path}/${name}${rev ? `?rev=${rev}` : ''}`, { body, type });
		assert.equal(put.status, 201, put.text);
		const zstd = await get(`${path}/${name}`, 'zstd');
		assert.equal(zstd.headers['content-encoding'], undefined);
		assert.deepEqual(zstd.raw, body);
		const range = await get(`${path}/a.bin`, 'gzip', { headers: { Range: 'bytes=0-2999' } });
		assert.equal(range.status, 206);
		assert.equal(range.headers['content-encoding'], undefined);
		assert.deepEqual(range.raw, body.subarray(0, 3000));
	}
});

test('what a foreign page made the browser ask goes out plain', async () => {
	const site = { 'Sec-Fetch-Site': 'cross-site' };
	const encoding = async (headers) => (await get(listing(), 'gzip', { headers })).headers['content-encoding'];
	assert.equal(await encoding(site), undefined);
	assert.equal(await encoding({ 'Sec-Fetch-Site': 'same-site' }), undefined);
	assert.equal(await encoding({ Origin: 'https://elsewhere.example' }), undefined);
	assert.equal(await encoding({ Origin: 'null' }), undefined);
	assert.equal(await encoding({ 'Sec-Fetch-Site': 'same-origin' }), 'gzip');
	assert.equal(await encoding({ 'Sec-Fetch-Site': 'none' }), 'gzip');
	assert.equal(await encoding({ Origin: `http://127.0.0.1:${server.port}` }), 'gzip');
	const open = { admins: { names: [], roles: [] }, members: { names: [], roles: [] } };
	assert.equal((await ask(server, 'PUT', `/${db}/_security`, { json: open })).status, 200);
	const anonymous = await ask(server, 'GET', listing(), { auth: null, headers: { ...site, 'Accept-Encoding': 'gzip' } });
	assert.equal(anonymous.headers['content-encoding'], 'gzip', 'there is nothing to learn without credentials');
	const cors = await startDivand({ config: { chttpd: { compress_responses: 'always', enable_cors: true },
		cors: { origins: 'https://app.example', credentials: true } } });
	for (const [origin, coding] of [['https://app.example', 'gzip'], ['https://evil.example', undefined]]) {
		const answer = await get('/_node/_local/_config', 'gzip, identity;q=0', { to: cors, headers: { ...site, Origin: origin } });
		assert.equal(answer.headers['content-encoding'], coding);
		assert.match(answer.headers.vary, /origin.*accept-encoding/i);
	}
	await cors.stop();
});

test('over HTTP/2, whole and as a feed', async () => {
	const session = http2.connect(server.url);
	const request = (path, more = {}) => session.request({ ':path': path, authorization: server.auth, 'accept-encoding': 'gzip', ...more });
	const stream = request(listing());
	const [headers] = await once(stream, 'response', { signal: AbortSignal.timeout(60000) }); // that a session ends well is no error of its streams
	assert.equal(headers['content-encoding'], 'gzip');
	const chunks = [];
	for await (const d of stream) chunks.push(d);
	assert.equal(JSON.parse(zlib.gunzipSync(Buffer.concat(chunks))).rows.length, BIG);
	const path = `/${await newDb(server)}`;
	const feed = request(`${path}/_changes?feed=continuous&heartbeat=30000`);
	const gunzip = zlib.createGunzip();
	let text = '';
	gunzip.on('data', (d) => (text += d));
	feed.on('data', (d) => gunzip.write(d));
	for (const id of ['one', 'two']) assert.equal((await ask(server, 'PUT', `${path}/${id}`, { json: {} })).status, 201);
	await until(() => text.includes('"two"'), () => `two rows in ${text}`);
	assert.deepEqual(text.trim().split('\n').map((l) => JSON.parse(l).id), ['one', 'two']);
	feed.close();
	session.destroy();
});

test('auto spares clients on this machine, never everyone; the setting holds at run time', async (t) => {
	const auto = await startDivand({ args: ['--bind', '0.0.0.0'] });
	const path = `/${await newDb(auto)}/doc`;
	assert.equal((await ask(auto, 'PUT', path, { json: { text: 'y'.repeat(3000) } })).status, 201);
	const coding = async (encoding) => (await get(path, encoding, { to: auto })).headers['content-encoding'];
	const mode = async (value) => assert.equal((await ask(auto, 'PUT', '/_node/_local/_config/chttpd/compress_responses', { json: value })).status, 200);
	assert.equal(await coding('gzip'), undefined);
	assert.equal((await get(path, 'gzip', { to: auto })).headers.vary, undefined);
	assert.equal(await coding('gzip, identity;q=0'), 'gzip', 'unless they want it');
	const address = Object.values(os.networkInterfaces()).flat().find((a) => a.family === 'IPv4' && !a.internal)?.address;
	if (address) {
		const far = () => new Promise((resolve, reject) => http.get({ host: address, port: auto.port, path, agent: false,
			headers: { Authorization: auto.auth, 'Accept-Encoding': 'gzip' } }, (res) => {
			res.resume();
			resolve(res.headers['content-encoding']);
		}).on('error', reject));
		assert.equal(await far(), 'gzip');
		await mode('never');
		assert.equal(await far(), undefined);
	} else {
		t.diagnostic('this machine has no address but loopback');
	}
	await mode('never');
	assert.equal(await coding('gzip, identity;q=0'), undefined);
	await mode('always');
	assert.equal(await coding('gzip'), 'gzip');
	assert.equal((await ask(auto, 'DELETE', '/_node/_local/_config/chttpd/compress_responses')).status, 200);
	assert.equal(await coding('gzip'), undefined);
	await auto.stop();
});
