// _list: functions that answer with a view's rows.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import http2 from 'node:http2';
import { after, before, test } from 'node:test';
import { startDivand } from '../lib/divand.mjs';
import { until } from '../lib/until.mjs';
import { ask, assertError, newDb } from './client.mjs';

let server;
before(async () => {
	server = await startDivand({ config: { couchdb: { os_process_timeout: '500', default_security: 'everyone' } } });
});
after(() => server.stop());

const N = 3000;
const DDOC = {
	shows: { s: 'function () { return "shown"; }' },
	views: { n: { map: 'function (doc) { if (doc.n !== undefined) emit(doc.n, doc.pad); }', reduce: '_count' }, throws: { map: 'function (doc) { emit(doc._id, 1); }', reduce: 'function () { return 1; }' } },
	lists: {
		keys: 'function (head, req) { start({ headers: { "Content-Type": "text/csv", "X-Total": String(head.total_rows) } }); var row; while ((row = getRow())) send(row.key + ","); return "."; }',
		some: 'function (head, req) { var row = getRow(); return JSON.stringify([head, row.id, req.query, req.method]); }',
		nothing: 'function () { return; }',
		fails: 'function () { getRow(); throw new Error("later"); }',
		loops: 'function () { getRow(); for (;;) ; }',
		floods: 'function () { var s = new Array(1 << 20).join("x"); for (;;) send(s); }',
		broken: 'function (',
		late: 'function () { start({ code: 202, headers: { "X-First": "1" } }); send(""); getRow(); start({ code: 400, headers: { "X-My-Header": "MyHeader" } }); send("bad request"); getRow(); start({ code: 500 }); }',
		code: 'function () { start({ code: 404, headers: { "X-A": "b\\r\\nX-Evil: 1", "Content-Length": "3" } }); return "not here"; }',
		much: 'function (head) { start({ code: 202, headers: { "Content-Type": "text/plain" } }); var row; while ((row = getRow())) for (var i = 0; i < 40; i++) send(row.value); return "end"; }',
		long: 'function () { var row; while ((row = getRow())) for (var i = 0; i < 40; i++) send(row.value); }',
		stops: 'function () { var row; while ((row = getRow())) { for (var i = 0; i < 40; i++) send(row.value); if (row.key === 2500) throw new Error("late"); } }',
		docs: 'function () { var out = [], row; while ((row = getRow())) out.push(row.doc.n); return JSON.stringify(out); }',
	},
};
const filled = async (at = server) => {
	const db = await newDb(at);
	await ask(at, 'PUT', `/${db}/_design/d`, { json: DDOC });
	await ask(at, 'PUT', `/${db}/_design/e`, { json: { views: { m: { map: 'function (doc) { emit("m" + doc.n, null); }' } } } });
	await ask(at, 'POST', `/${db}/_bulk_docs`, { json: { docs: Array.from({ length: N }, (_, n) => ({ _id: `d${String(n).padStart(5, '0')}`, n, pad: 'x'.repeat(500) })) } });
	return db;
};

test('rows of many batches, in order, with headers, queries and other design documents', async () => {
	const db = await filled();
	const list = (path, more) => ask(server, 'GET', `/${db}/_design/d/_list/${path}`, more);
	const all = await list('keys/n?reduce=false');
	assert.equal(all.text, Array.from({ length: N }, (_, n) => `${n},`).join('') + '.');
	assert.deepEqual([all.headers['content-type'], all.headers['x-total']], ['text/csv', String(N)]);
	assert.equal((await list('keys/n?reduce=false&startkey=5&endkey=7&descending=false')).text, '5,6,7,.');
	assert.equal((await list('keys/n?reduce=false&descending=true&limit=2&skip=1')).text, '2998,2997,.');
	assert.equal((await list('keys/n?group=true&limit=3')).text, '0,1,2,.');
	assert.equal((await list('keys/n?reduce=false&key="none"')).text, '.');
	assert.equal((await list('keys/e/m?limit=1')).text, 'm0,.');
	assert.deepEqual(JSON.parse((await list('some/n?reduce=false&x=y&limit=1')).text), [{ total_rows: N, offset: 0 }, 'd00000', { reduce: 'false', x: 'y', limit: '1' }, 'GET']);
	assert.deepEqual(JSON.parse((await list('docs/n?reduce=false&include_docs=true&limit=3')).text), [0, 1, 2]);
	assert.equal((await ask(server, 'POST', `/${db}/_design/d/_list/keys/n?reduce=false`, { json: { keys: [7, 3] } })).text, '7,3,.');
	assert.equal((await ask(server, 'HEAD', `/${db}/_design/d/_list/keys/n?reduce=false&limit=1`)).status, 200);
	const options = await ask(server, 'OPTIONS', `/${db}/_design/d/_list/some/n?reduce=false&limit=1`);
	assert.deepEqual([options.status, JSON.parse(options.text)[3]], [200, 'OPTIONS']);
});

test('rows of _all_docs', async () => {
	const db = await filled();
	const list = (path, more) => ask(server, 'GET', `/${db}/_design/d/_list/${path}`, more);
	const ids = (await ask(server, 'GET', `/${db}/_all_docs`)).json.rows.map((row) => row.key);
	assert.equal((await list('keys/_all_docs')).text, ids.map((id) => `${id},`).join('') + '.');
	assert.equal((await list('keys/_all_docs')).headers['x-total'], String(N + 2));
	assert.deepEqual(JSON.parse((await list('some/_all_docs?startkey="d00002"&limit=1')).text).slice(0, 2), [{ total_rows: N + 2, offset: 4 }, 'd00002']);
	assert.deepEqual(JSON.parse((await list('docs/_all_docs?include_docs=true&startkey="d"&limit=3')).text), [0, 1, 2]);
	assert.equal((await list('keys/_all_docs?keys=["d00007","none"]')).text, 'd00007,none,.');
	assert.equal((await list('keys/_all_docs?limit=0')).text, '.');
	assert.equal((await ask(server, 'POST', `/${db}/_design/d/_list/keys/_all_docs`, { json: { keys: ['d00007', 'd00003'] } })).text, 'd00007,d00003,.');
	// Another design document must be there, and changes nothing.
	assert.equal((await list('keys/e/_all_docs?limit=2')).text, '_design/d,_design/e,.');
	assertError(await list('keys/none/_all_docs'), 404, 'not_found');
	assertError(await list('none/_all_docs'), 404, 'not_found', 'missing json key: none');
	assertError(await list('keys/_all_docs?limit=x'), 400, 'query_parse_error');
	await ask(server, 'PUT', `/${db}/_security`, { json: { members: { names: ['x'] } } });
	assertError(await list('keys/_all_docs', { auth: null }), 401, 'unauthorized');
});

test('rows of _all_docs where not everybody sees every document are an administrator\'s', async () => {
	await ask(server, 'PUT', '/_users');
	assert.ok((await ask(server, 'PUT', '/_users/_design/d', { json: { lists: { l: 'function () { var row, out = ""; while ((row = getRow())) out += row.id + ","; return out; }' } } })).status < 300);
	await ask(server, 'PUT', '/_users/org.couchdb.user:lister', { json: { name: 'lister', password: 'pass word', roles: [], type: 'user' } });
	const list = (more) => ask(server, 'GET', '/_users/_design/d/_list/l/_all_docs', more);
	assert.match((await list()).text, /org\.couchdb\.user:lister/);
	for (const auth of [null, 'Basic ' + Buffer.from('lister:pass word').toString('base64')]) {
		const r = await list({ auth });
		assertError(r, [401, 403]);
		assert.ok(!r.text.includes('org.couchdb'), r.text);
	}
});

test('what is missing, fails, loops or floods ends its own request', async () => {
	const db = await filled();
	const list = (path, more) => ask(server, 'GET', `/${db}/_design/d/_list/${path}`, more);
	assertError(await list('none/n'), 404, 'not_found', 'missing json key: none');
	assertError(await list('keys/none'), 404, 'not_found', 'missing_named_view');
	assertError(await list('keys/none/n'), 404, 'not_found');
	assertError(await list('keys'), 404, 'list_error', 'Invalid path.');
	assertError(await list('keys/n?limit=x'), 400, 'query_parse_error');
	assertError(await list('fails/n'), 500, 'render_error');
	assertError(await list('loops/n'), 500, 'os_process_error');
	assertError(await list('floods/n'), [413, 500]);
	assertError(await list('broken/n'), [400, 500], 'compilation_error');
	assert.equal((await list('nothing/n')).text, '');
	const code = await list('code/n');
	assert.deepEqual([code.status, code.text, code.headers['x-evil']], [404, 'not here', undefined]);
	// The response begins with the first text; until then it may be another.
	const late = await list('late/n?reduce=false');
	assert.deepEqual([late.status, late.text, late.headers['x-my-header'], late.headers['x-first']], [400, 'bad request', 'MyHeader', undefined]);
	await ask(server, 'PUT', `/${db}/_security`, { json: { members: { names: ['x'] } } });
	assertError(await list('keys/n', { auth: null }), 401, 'unauthorized');
	assert.equal((await list('keys/n?reduce=false&limit=1')).text, '0,.');
});

/** The answer as it comes: {status, headers, length, complete}; ${pause}: resolves before the second piece is taken. */
const stream = (path, pause, at = server) => new Promise((resolve, reject) => {
	let seen;
	const req = http.get(at.url + path, { agent: false, headers: { authorization: at.auth } }, async (res) => {
		let length = 0;
		seen = res;
		try {
			for await (const piece of res) {
				if (length === 0 && pause) await pause(req);
				length += piece.length;
			}
		} catch {}
		resolve({ status: res.statusCode, headers: res.headers, length, complete: res.complete });
	});
	// An answer that is cut off ends in what is no chunk.
	req.on('error', (e) => (seen ? resolve({ status: seen.statusCode, complete: false }) : reject(e)));
});
const stat = async (name, at = server) => (await ask(at, 'GET', `/_node/_local/_stats/${name}`)).json.value;

test('what a list sends goes out as it is made; the function ends with its client', async () => {
	const db = await filled();
	const path = `/${db}/_design/d/_list/much/n?reduce=false`;
	const whole = await stream(path);
	assert.deepEqual([whole.status, whole.headers['content-type'], whole.headers['content-length'], whole.complete], [202, 'text/plain', undefined, true]);
	assert.equal(whole.headers['transfer-encoding'], 'chunked'); // else nobody sees where it is cut off
	assert.equal(whole.length, N * 500 * 40 + 3);
	const idle = async () => {
		while ((await stat('couchdb/query_server/acquired_processes')) > 0);
	};
	await idle();
	await stream(path, async (req) => {
		// Others of the same database are served meanwhile.
		assert.equal((await ask(server, 'GET', `/${db}/_design/d/_list/keys/n?reduce=false&limit=1`)).text, '0,.');
		req.destroy();
	}).catch(() => {});
	await idle();
	const late = await stream(`/${db}/_design/d/_list/stops/n?reduce=false`);
	assert.deepEqual([late.status, late.complete], [200, false]);
	assert.equal((await ask(server, 'GET', `/${db}/_design/d/_list/keys/throws?group=true`)).status, 200);
});

test('many at once share processes and threads: none waits for one that another keeps for good', async () => {
	const own = await startDivand({ config: { couchdb: { os_process_timeout: '20000' }, query_server_config: { os_process_limit: '4' } } });
	try {
		const dbs = await Promise.all([filled(own), filled(own), filled(own)]);
		const path = (db) => `/${db}/_design/d/_list/much/n?reduce=false&limit=60`;
		const together = (paths) => Promise.all(paths.map(async (p) => {
			const { status, length, complete } = await stream(p, undefined, own);
			assert.deepEqual({ status, length, complete }, { status: 202, length: 60 * 500 * 40 + 3, complete: true });
		}));
		// The views are made first.
		await together(dbs.map(path));
		await together(Array(16).fill(path(dbs[0])));
		await together(Array(8).fill(dbs).flat().map(path));
	} finally {
		await own.stop();
	}
});

/** What comes of ${path} without being taken until give() is called: {req, give}; give() answers as stream(). */
const held = async (at, path) => {
	let go, begun;
	const until = new Promise((resolve) => { go = resolve; });
	const here = new Promise((resolve) => { begun = resolve; });
	const answer = stream(path, (req) => {
		begun(req);
		return until;
	}, at);
	return { req: await here, give: () => (go(), answer) };
};
/** Files without a name that the server has open. */
const spools = (at) => fs.readdirSync(`/proc/${at.pid}/fd`).filter((fd) => {
	try {
		return /\/\.body\..*deleted/.test(fs.readlinkSync(`/proc/${at.pid}/fd/${fd}`));
	} catch {
		return false;
	}
}).length;
const taken = (at) => stat('couchdb/query_server/acquired_processes', at);
/** A database may have two of its processes. */
const slowServer = (timeout) => startDivand({ config: { couchdb: { os_process_timeout: timeout }, query_server_config: { os_process_limit: '4' } } });
const MUCH = { status: 202, length: N * 500 * 40 + 3, complete: true };
const brief = ({ status, length, complete }) => ({ status, length, complete });

test('who reads slowly keeps no process: others are served at once, and the answer comes whole', async () => {
	const own = await slowServer('10000');
	try {
		const db = await filled(own);
		await ask(own, 'PUT', `/${db}/_design/v`, { json: { validate_doc_update: 'function (doc) { if (doc.bad) throw({ forbidden: "bad" }); }' } });
		const path = `/${db}/_design/d/_list/much/n?reduce=false`;
		const two = () => Promise.all([held(own, path), held(own, path)]);
		const readers = await two();
		// Nobody reads meanwhile; who waits for a process in vain gets 503.
		assert.equal((await ask(own, 'PUT', `/${db}/x`, { json: {} })).status, 201);
		assertError(await ask(own, 'PUT', `/${db}/y`, { json: { bad: true } }), 403, 'forbidden', 'bad');
		await until(async () => (await taken(own)) === 0);
		readers.push(...(await two()));
		await until(async () => (await taken(own)) === 0);
		assert.equal(spools(own), 4);
		for (const reader of readers.slice(1)) assert.deepEqual(brief(await reader.give()), MUCH);
		readers[0].req.destroy();
		readers[0].give();
		await until(() => spools(own) === 0);
	} finally {
		await own.stop();
	}
});

test('over HTTP/2, too; what was sent before a function failed comes before the end', async () => {
	const own = await slowServer('10000');
	const session = http2.connect(own.url);
	try {
		const db = await filled(own);
		const answer = (name) => {
			const req = session.request({ ':path': `/${db}/_design/d/_list/${name}/n?reduce=false`, authorization: own.auth });
			return { req, begun: new Promise((resolve) => { req.on('response', (head) => resolve(head[':status'])); }) };
		};
		const idle = () => until(async () => (await taken(own)) === 0);
		const much = answer('much'), stops = answer('stops');
		assert.deepEqual(await Promise.all([much.begun, stops.begun]), [202, 200]);
		await idle();
		const left = answer('much');
		assert.equal(await left.begun, 202);
		await idle();
		assert.equal(spools(own), 3);
		left.req.close();
		const length = async (req) => {
			let n = 0;
			for await (const piece of req) n += piece.length;
			return n;
		};
		assert.equal(await length(much.req), MUCH.length);
		// It fails at row 2500; what it sent behind its last question for rows is lost.
		let n = 0;
		stops.req.on('data', (piece) => { n += piece.length; });
		await new Promise((resolve) => { stops.req.on('error', resolve); });
		assert.ok(n > 2200 * 20000, `${n}`);
		await until(() => spools(own) === 0);
	} finally {
		session.destroy();
		await own.stop();
	}
});

test('where there is no room to wait, a function waits for its client, until somebody else needs the process', async () => {
	const own = await slowServer('2000');
	try {
		const db = await filled(own);
		const path = `/${db}/_design/d/_list/long/n?reduce=false`;
		const show = () => ask(own, 'GET', `/${db}/_design/d/_show/s`);
		assert.deepEqual([(await show()).text, (await ask(own, 'GET', `/${db}/_design/d/_list/keys/n?limit=1&reduce=false`)).text], ['shown', '0,.']);
		// No file may grow: as on a full disk.
		execFileSync('prlimit', ['--pid', String(own.pid), '--fsize=65536']);
		const first = await held(own, path), second = await held(own, path);
		await until(() => own.stderr().split('cannot wait on disk').length > 2);
		assert.deepEqual([spools(own), await taken(own)], [0, 2]);
		const shown = await show();
		assert.deepEqual([shown.status, shown.text], [200, 'shown']);
		const answers = await Promise.all([first.give(), second.give()]);
		assert.deepEqual(answers.map((a) => a.complete).sort(), [false, true]);
		assert.equal(answers.find((a) => a.complete).length, N * 500 * 40);
		await until(async () => (await taken(own)) === 0);
		assert.match(own.stderr(), /a listing was cut off: too much work is waiting/);
	} finally {
		await own.stop();
	}
});

test('long bodies, keys, heads and design documents are as short ones', { timeout: 60000 }, async () => {
	const own = await newDb(server);
	const text = 'a "b" é\n'.repeat(20000);
	const lists = {
		told: 'function (head, req) { var n = 0; while (getRow()) n++; return JSON.stringify([n, req.body.length, req.form]); }',
		head: 'function () { start({ headers: { "X-A": "1" }, pad: new Array(100001).join("x") }); var row; while ((row = getRow())) { send(row.id); for (var i = 0; i < 200; i++) send(new Array(1001).join("y")); } return "."; }',
		wrong: 'function () { start({ code: 999, pad: new Array(100001).join("x") }); for (var i = 0; i < 400; i++) send(new Array(1001).join("y")); getRow(); for (i = 0; i < 400; i++) send("z"); }',
	};
	assert.equal((await ask(server, 'PUT', `/${own}/_design/d`, { json: { lists, views: { v: { map: 'function (doc) { emit(doc._id, null); }' } }, pad: text.repeat(10) } })).status, 201);
	for (const id of ['a', 'b', 'c']) assert.equal((await ask(server, 'PUT', `/${own}/${id}`, { json: {} })).status, 201);
	const body = JSON.stringify({ keys: ['a', 'c', ...Array.from({ length: 20000 }, (_, i) => `none${i}`)], text });
	assert.deepEqual((await ask(server, 'POST', `/${own}/_design/d/_list/told/v`, { body, type: 'application/json' })).json, [2, body.length, {}]);
	assert.deepEqual((await ask(server, 'POST', `/${own}/_design/d/_list/told/_all_docs`, { body, type: 'application/json' })).json, [20002, body.length, {}]);
	assertError(await ask(server, 'POST', `/${own}/_design/d/_list/told/_all_docs`, { body: `${body}}`, type: 'application/json' }), 400, 'bad_request');
	assertError(await ask(server, 'POST', `/${own}/_design/d/_list/none/v`, { body, type: 'application/json' }), 404, 'not_found');
	const long = await ask(server, 'GET', `/${own}/_design/d/_list/head/v`);
	assert.deepEqual([long.status, long.headers['x-a'], long.text], [200, '1', ['a', 'b', 'c'].map((id) => id + 'y'.repeat(200000)).join('') + '.']);
	assertError(await ask(server, 'GET', `/${own}/_design/d/_list/wrong/v`), 500, 'render_error');
});
