// What one user does with all their might leaves the others alone.
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import http2 from 'node:http2';
import net from 'node:net';
import { after, before, test } from 'node:test';
import tls from 'node:tls';
import { certificate, startDivand } from '../lib/divand.mjs';
import { until } from '../lib/until.mjs';
import { ask, newDb } from './client.mjs';

let server;
before(async () => (server = await startDivand({ config: { chttpd_auth: { iterations: '100000' }, query_server_config: { os_process_limit: '1' } } })));
after(() => server?.stop());

const basic = (name, password) => 'Basic ' + Buffer.from(`${name}:${password}`).toString('base64');
const putUser = (name, password) => ask(server, 'PUT', `/_users/org.couchdb.user:${name}`, { json: { name, type: 'user', roles: [], password } });

test('nobody who logs in, signs up or writes without validators waits for functions that loop', { timeout: 60000 }, async () => {
	const db = await newDb(server);
	await ask(server, 'PUT', `/${db}/_design/d`, { json: { shows: { loop: 'function() { log("begun"); for (;;); }' } } });
	assert.equal((await putUser('ann', 'pw')).status, 201);
	const ended = [];
	const shows = [1, 2, 3, 4].map(() => ask(server, 'GET', `/${db}/_design/d/_show/loop`).then((r) => ended.push(r.status)));
	await until(() => server.stderr().includes(': begun'));
	for (let i = 0; i < 3; i++) assert.equal((await ask(server, 'GET', '/_session', { auth: basic('ann', `wrong${i}`) })).status, 401);
	assert.equal((await ask(server, 'GET', '/_session', { auth: basic('ann', 'pw') })).json.userCtx.name, 'ann');
	assert.equal((await putUser('bob', 'pw')).status, 201);
	const other = await newDb(server);
	assert.equal((await ask(server, 'PUT', `/${other}/doc`, { json: {} })).status, 201);
	assert.deepEqual(ended, [], 'all that is quicker than the functions, which end when their time is up');
	await Promise.all(shows);
});

test('a request full of new accounts keeps neither logins nor another account waiting', { timeout: 60000 }, async () => {
	const docs = Array.from({ length: 100 }, (_, i) => ({ _id: `org.couchdb.user:many${i}`, name: `many${i}`, type: 'user', roles: [], password: 'pw' }));
	let over = false;
	const bulk = ask(server, 'POST', '/_users/_bulk_docs', { json: { docs } }).then((r) => {
		over = true;
		return r;
	});
	assert.equal((await putUser('cid', 'pw')).status, 201);
	assert.equal((await ask(server, 'GET', '/_session', { auth: basic('cid', 'pw') })).json.userCtx.name, 'cid');
	assert.equal(over, false);
	const { json } = await bulk;
	assert.equal(json.filter((row) => row.ok).length, docs.length);
	assert.equal((await ask(server, 'GET', '/_session', { auth: basic('many99', 'pw') })).json.userCtx.name, 'many99');
});

/** A client at ${from} that asks for ${path} and reads no further than ${until}, before goOn(); text: the first of what came. */
function asker(of, path, { from, method = 'GET', headers = '', body, until: end = 1 }) {
	const c = { bytes: 0, text: '', over: false };
	c.socket = net.connect({ host: '127.0.0.1', port: of.port, localAddress: from });
	c.closed = new Promise((resolve) => c.socket.on('close', () => resolve((c.over = true))));
	c.begun = new Promise((resolve) => c.socket.on('data', (d) => {
		c.bytes += d.length;
		if (c.text.length < 1000) c.text += d.toString('latin1');
		if (c.bytes >= end) c.socket.pause();
		resolve();
	}));
	c.socket.on('error', () => {});
	c.goOn = (more = Infinity) => {
		end = c.bytes + more;
		c.socket.resume();
	};
	if (body !== undefined) headers += `Content-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n`;
	c.socket.write(`${method} ${path} HTTP/1.1\r\nHost: x\r\nAuthorization: ${of.auth}\r\n${headers}\r\n${body ?? ''}`);
	c.status = () => Number(/^HTTP\/1.1 (\d+)/.exec(c.text)?.[1]);
	return c;
}

// Hardly smaller when it is compressed.
const TEXT = crypto.randomBytes(5900000).toString('base64');
const stat = async (of, name) => (await ask(of, 'GET', `/_node/_local/_stats/divan/request_memory/${name}`)).json.value;

/** A database with documents of 8 MB, `a` with two leaves and an attachment. */
async function largeDocs(of) {
	const db = await newDb(of), text = TEXT;
	for (const rev of ['1-a', '1-b']) {
		const { status } = await ask(of, 'PUT', `/${db}/a?new_edits=false`, { json: { _id: 'a', _rev: rev, text, _attachments: { a: { content_type: 'image/png', data: 'AAAA' } } } });
		assert.equal(status, 201);
	}
	assert.equal((await ask(of, 'PUT', `/${db}/b`, { json: { text } })).status, 201);
	return db;
}

/** Runs ${body} on a divand of which 272 MiB of answers may wait, and 68 of one address where none is exempt. */
async function withNarrow({ gate, ...config }, body) {
	const of = await startDivand({ config: { gate: { request_memory: 16 << 20, stuck_timeout: 3600000, ...gate }, ...config } });
	try {
		await body(of);
	} finally {
		await of.stop();
	}
}

test('answers that one address does not take are its own trouble', { timeout: 120000 }, (t) => withNarrow({ gate: { exempt: 'none' }, chttpd: { compress_responses: 'always' } }, async (of) => {
	const db = await largeDocs(of);
	const ways = {
		'a document': [`/${db}/b`],
		'a document, compressed': [`/${db}/b`, { headers: 'Accept-Encoding: gzip\r\n' }],
		'open_revs': [`/${db}/a?open_revs=all`, { headers: 'Accept: application/json\r\n' }],
		'open_revs, multipart': [`/${db}/a?open_revs=all`, { headers: 'Accept: multipart/mixed\r\n' }],
		'attachments': [`/${db}/a?attachments=true`],
		'a listing': [`/${db}/_all_docs?include_docs=true`],
		'changes': [`/${db}/_changes?include_docs=true`],
	};
	for (const [what, [path, options]] of Object.entries(ways)) {
		const many = Array.from({ length: 60 }, () => asker(of, path, { from: '127.0.0.2', ...options }));
		await Promise.all(many.map((c) => Promise.race([c.begun, c.closed])));
		const statuses = many.map((c) => c.status() ?? 0), taken = statuses.filter((s) => s === 200).length;
		const owed = await stat(of, 'owed');
		t.diagnostic(`${what}: ${taken} of ${many.length} wait, ${owed >> 20} MiB`);
		assert.ok(taken > 0, what);
		assert.ok(owed <= 80 << 20, `${what}: ${owed}`);
		for (const c of many) if (c.status() === 503) assert.match(c.text, /\nretry-after:/i, what);
		for (const [path, status, options] of [['/', 200], [`/${db}/b`, 200], [`/${db}/a?open_revs=all`, 200], [`/${db}/_all_docs?include_docs=true`, 200], [`/${db}/new-${taken}-${what.length}`, 201, { method: 'PUT', json: {} }]]) {
			const got = await ask(of, options?.method ?? 'GET', encodeURI(path), options);
			assert.equal(got.status, status, `${what}: ${path}: ${got.text.slice(0, 200)}`);
		}
		for (const c of many) c.socket.destroy();
		await until(() => many.every((c) => c.over));
		await until(async () => (await stat(of, 'owed')) === 0 && (await stat(of, 'held')) === 0);
	}
}));

test('where too many answers wait, small ones go on, and who takes nothing is cut long before its time', { timeout: 60000 }, () => withNarrow({}, async (of) => {
	const db = await largeDocs(of);
	const many = Array.from({ length: 60 }, () => asker(of, `/${db}/b`, {}));
	await Promise.all(many.map((c) => c.begun));
	assert.ok(many.some((c) => c.status() === 503) && many.some((c) => c.status() === 200));
	assert.ok((await stat(of, 'owed')) < 273 << 20);
	assert.equal(many.some((c) => c.status() === 503 && /\netag:/i.test(c.text)), false);
	assert.equal((await ask(of, 'PUT', `/${db}/small`, { json: {} })).status, 201);
	assert.equal((await ask(of, 'GET', `/${db}/small`)).status, 200);
	await until(async () => (await ask(of, 'GET', `/${db}/b`)).status === 200);
	for (const c of many) c.socket.destroy();
}));

/** Answers wait for 127.0.0.2 that leave 40 KiB of its quarter. */
async function fillQuarter(of, db) {
	const put = async (text) => assert.equal((await ask(of, 'PUT', `/${db}/filler-${text.length}`, { json: { text } })).status, 201);
	await put('');
	const each = Math.floor(((68 << 20) - (40 << 10)) / 9), length = each - (await ask(of, 'GET', `/${db}/filler-0`)).raw.length - 6;
	await put('x'.repeat(length));
	const many = Array.from({ length: 9 }, () => asker(of, `/${db}/filler-${length}`, { from: '127.0.0.2' }));
	await Promise.all(many.map((c) => c.begun));
	assert.deepEqual(many.map((c) => c.status()), Array(9).fill(200));
	const left = (68 << 20) - (await stat(of, 'owed'));
	assert.ok(left > 0 && left < 64 << 10, `${left}`);
	return many;
}

const LARGE = 'new Array(100000).join("x")';

test('where no answer has room, what was written is told all the same, and what is only read is not', { timeout: 60000 }, () => withNarrow({ gate: { exempt: 'none' } }, async (of) => {
	const db = await newDb(of), text = crypto.randomBytes(300000).toString('base64'), some = text.slice(0, 100000), docs = Array.from({ length: 2000 }, (_, i) => ({ _id: `written-${i}` }));
	const functions = {
		updates: {
			made: `function (doc) { return [{ _id: "made" }, ${LARGE}]; }`,
			changed: `function (doc) { doc.n = 1; return [doc, { code: 200, body: ${LARGE} }]; }`,
			none: `function () { return [null, ${LARGE}]; }`,
		},
		shows: { large: `function () { return ${LARGE}; }` },
		lists: { large: `function () { send(${LARGE}); send(${LARGE}); send(${LARGE}); }` },
		views: { v: { map: 'function (doc) { if (doc._id === "large") emit(null, doc.text); }' } },
	};
	assert.equal((await ask(of, 'PUT', `/${db}/_design/d`, { json: functions })).status, 201);
	assert.equal((await ask(of, 'PUT', `/${db}/large`, { json: { text } })).status, 201);
	assert.equal((await ask(of, 'PUT', `/${db}/doc`, { json: {} })).status, 201);
	assert.equal((await ask(of, 'PUT', `/${db}/att/a?new_edits=false`, { type: 'text/plain', body: some })).status, 201);
	const reads = {
		GET: [`/${db}/large`],
		attachment: [`/${db}/att/a`, undefined, { headers: 'Accept-Encoding: gzip\r\n' }],
		_find: [`/${db}/_find`, { selector: { _id: 'large' } }],
		_all_docs: [`/${db}/_all_docs?include_docs=true`, { keys: ['large'] }],
		_bulk_get: [`/${db}/_bulk_get`, { docs: [{ id: 'large' }] }],
		_view: [`/${db}/_design/d/_view/v`, { keys: [null] }],
		_show: [`/${db}/_design/d/_show/large`, {}],
		'_show, PUT': [`/${db}/_design/d/_show/large`, {}, { method: 'PUT' }],
		_list: [`/${db}/_design/d/_list/large/v`, { keys: [null] }],
		'_update without a write': [`/${db}/_design/d/_update/none`, {}],
	};
	const writes = {
		_bulk_docs: [`/${db}/_bulk_docs`, { docs }],
		_update: [`/${db}/_design/d/_update/made`, {}],
		'_update, 200': [`/${db}/_design/d/_update/changed/doc`, {}, { method: 'PUT' }],
		'a setting': ['/_node/_local/_config/some/key', 'new', { method: 'PUT' }],
	};
	assert.equal((await ask(of, 'PUT', '/_node/_local/_config/some/key', { json: some })).status, 200);
	const get = async (path, json, options) => {
		const body = json && JSON.stringify(json);
		const c = asker(of, path, { from: '127.0.0.2', method: json ? 'POST' : 'GET', body, until: Infinity, ...options, headers: `Connection: close\r\n${options?.headers ?? ''}` });
		await c.closed;
		return c;
	};
	const many = await fillQuarter(of, db), got = {};
	for (const [what, [path, json, options]] of Object.entries({ ...reads, ...writes })) {
		const c = await get(path, json, options);
		// A stream that a slow machine begins before it has the document is cut off at that.
		got[what] = c.status() === 200 && c.bytes < 64 << 10 ? 503 : c.status();
		if (c.status() === 503) assert.doesNotMatch(c.text, /\n(etag|content-encoding|accept-ranges):/i, what);
		else if (got[what] !== 503) assert.ok(c.bytes > 64 << 10, what);
	}
	const refused = Object.fromEntries(Object.keys(reads).map((what) => [what, 503]));
	assert.deepEqual(got, { ...refused, _bulk_docs: 201, _update: 201, '_update, 200': 200, 'a setting': 200 });
	assert.equal((await get('/')).status(), 200);
	assert.equal((await get(`/${db}/small`, {}, { method: 'PUT' })).status(), 201);
	const listing = await get(`/${db}/_all_docs`);
	assert.ok(listing.status() === 200 && listing.bytes > 100 << 10, 'a listing of small pieces');
	for (const c of many) c.socket.destroy();
}));

test('over HTTP/2 a piece without room ends its stream alone', { timeout: 60000 }, () => withNarrow({ gate: { exempt: 'none' } }, async (of) => {
	const db = await newDb(of), filled = await newDb(of), text = TEXT.slice(0, 1 << 20);
	const small = Array.from({ length: 2000 }, (_, i) => ({ _id: `a${i}` }));
	assert.equal((await ask(of, 'POST', `/${db}/_bulk_docs`, { json: { docs: [...small, { _id: 'z', text }] } })).status, 201);
	const many = await fillQuarter(of, filled);
	const session = http2.connect(`http://127.0.0.1:${of.port}`, { localAddress: '127.0.0.2' });
	session.on('error', () => {});
	try {
		const feed = session.request({ ':path': `/${db}/_changes?feed=continuous&since=now&heartbeat=1000`, authorization: of.auth });
		await new Promise((resolve) => feed.once('response', resolve));
		const listing = session.request({ ':path': `/${db}/_all_docs?include_docs=true`, authorization: of.auth });
		const end = { bytes: 0 };
		listing.on('response', (headers) => (end.status = headers[':status']));
		listing.on('data', (d) => (end.bytes += d.length));
		listing.on('error', () => {});
		await new Promise((resolve) => listing.on('close', resolve));
		assert.equal(end.status, 200);
		assert.ok(end.bytes > 64 << 10 && end.bytes < text.length, `${end.bytes}`);
		assert.notEqual(listing.rstCode, http2.constants.NGHTTP2_NO_ERROR);
		await until(() => /too much waits to be taken/.test(of.stderr()));
		let rows = '';
		feed.on('error', () => {});
		feed.on('data', (d) => (rows += d));
		assert.equal((await ask(of, 'PUT', `/${db}/late`, { json: {} })).status, 201);
		await until(() => rows.includes('"late"') || session.destroyed);
		assert.equal(session.destroyed, false);
	} finally {
		session.destroy();
		for (const c of many) c.socket.destroy();
	}
}));

test('as many are cut as it takes, those first who take nothing, and by whom a proxy names', { timeout: 60000 }, () => withNarrow({ chttpd: { threads: '1' }, gate: { exempt: 'none', proxies: '127.0.0.1', stuck_timeout: 0 } }, async (of) => {
	const db = await largeDocs(of), half = 136 << 20;
	const waiting = async (n, client) => {
		const many = Array.from({ length: n }, () => asker(of, `/${db}/b`, { headers: `X-Forwarded-For: 203.0.113.${client}\r\nConnection: close\r\n` }));
		await Promise.all(many.map((c) => c.begun));
		assert.deepEqual(many.map((c) => c.status()), Array(n).fill(200));
		return many;
	};
	const many = [...(await waiting(8, 2)), ...(await waiting(8, 3)), ...(await waiting(7, 4))];
	/* The pacer looks at the newest first. */
	const [slow] = await waiting(1, 4), [few] = await waiting(1, 1);
	// The kernel tells that something was taken once a good part of its buffer is free.
	const pace = setInterval(() => slow.goOn(512 << 10), 1000);
	let owed = await stat(of, 'owed');
	assert.ok(owed > half);
	await until(async () => (owed = await stat(of, 'owed')) <= half, 'cuts', 40000).finally(() => clearInterval(pace));
	assert.ok(owed > half - (17 << 20), `no more are cut than it takes: ${owed >> 20} MiB stay`);
	for (const c of [few, slow]) {
		c.goOn();
		await c.closed;
		assert.ok(c.bytes > TEXT.length, `${c.bytes}`);
	}
	for (const c of many) c.socket.destroy();
}));

test('who reads an answer as fast as it is written keeps nobody else of the same thread waiting', { timeout: 60000 }, async () => {
	const own = await startDivand({ config: { chttpd: { threads: '1' } } });
	const db = await newDb(own);
	const body = JSON.stringify({ keys: Array.from({ length: 1000000 }, (_, i) => `missing${i}`) });
	const order = [];
	await new Promise((resolve, reject) => {
		const req = http.request({ port: own.port, method: 'POST', path: `/${db}/_all_docs`, headers: { Authorization: own.auth, 'Content-Type': 'application/json' } });
		req.on('error', reject);
		req.on('response', (res) => {
			res.once('data', () => ask(own, 'GET', '/_up').then(() => order.push('other'), reject));
			res.on('data', () => {});
			res.on('end', () => {
				order.push('listing');
				resolve();
			});
		});
		req.end(body);
	});
	assert.deepEqual(order, ['other', 'listing']);
	await own.stop();
});

test('requests that one client sends at once take turns with those of others', { timeout: 60000 }, async () => {
	const one = await startDivand({ config: { chttpd: { threads: 1 }, ssl: certificate() } });
	const many = tls.connect({ host: '127.0.0.1', port: one.tlsPort, rejectUnauthorized: false });
	/* How many of them had been answered when another client's request was. */
	const count = `GET /_node/_local/_stats/couchdb/httpd_request_methods/HEAD HTTP/1.1\r\nHost: x\r\nAuthorization: ${one.auth}\r\n\r\n`;
	const others = [0, 1].map(() => net.connect(one.port, '127.0.0.1'));
	const counted = () => Promise.all(others.map(async (c) => Number(/"value":(\d+)/.exec((await once(c, 'data'))[0])[1])));
	let answered = 0;
	try {
		await Promise.all([once(many, 'secureConnect'), ...others.map((c) => once(c, 'connect'))]);
		many.on('data', (d) => (answered += d.toString('latin1').split('HTTP/1.1 200').length - 1));
		/* The password has been looked at once. */
		for (const c of others) c.write(count);
		assert.deepEqual(await counted(), [0, 0]);
		const counts = counted();
		/* What has come when the server goes on was there at once, and others before and behind it. */
		process.kill(one.pid, 'SIGSTOP');
		others[0].write(count);
		await new Promise((resolve) => many.write('HEAD / HTTP/1.1\r\nHost:\r\n\r\n'.repeat(4000), resolve));
		others[1].write(count);
		process.kill(one.pid, 'SIGCONT');
		/* A turn of two milliseconds is room for a few hundred. */
		const seen = await counts;
		assert.ok(Math.max(...seen) < 1000, String(seen));
		await until(() => answered > 3900); // some stand in two pieces
	} finally {
		for (const c of [many, ...others]) c.destroy();
		await one.stop();
	}
});
