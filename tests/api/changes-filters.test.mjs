// _changes with filters in JavaScript: filter=ddoc/name and filter=_view, in all feeds; filters that fail, loop or go missing.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startDivand } from '../lib/divand.mjs';
import { client, lines } from '../lib/wire.mjs';

const TIMEOUT = 500;
let server, c;
before(async () => {
	server = await startDivand({ config: { couchdb: { os_process_timeout: String(TIMEOUT), default_security: 'everyone' } } });
	c = client(server);
});
after(async () => {
	c.close();
	await server.stop();
});

const FILTERS = {
	even: 'function (doc, req) { return doc.n % 2 === 0; }',
	mod: 'function (doc, req) { return doc.n % Number(req.query.m) === 0; }',
	none: 'function () { return false; }',
	all: 'function () { return true; }',
	told: 'function (doc, req) { return doc.n < 3 && JSON.parse(req.body).pad.length === 200000 && req.headers["X-Mark"] === "1" && req.method === "POST"; }',
	sees: 'function (doc) { return doc._id === "z" && doc._revisions.start === 30 && doc._revisions.ids.length === 20 && doc._conflicts[0] === "2-b" && doc._attachments.t.stub; }',
	gone: 'function (doc) { return doc._deleted === true; }',
	me: 'function (doc, req) { return doc.owner === req.userCtx.name; }',
	from: 'function (doc, req) { return req.method === "POST" && JSON.parse(req.body).n === doc.n; }',
	throwsAt: 'function (doc, req) { if (doc.n === Number(req.query.at)) throw({forbidden: "no"}); return true; }',
	failsAt: 'function (doc, req) { if (doc.n === Number(req.query.at)) return doc.nothing.at.all; return true; }',
	loopsAt: 'function (doc, req) { if (doc.n === Number(req.query.at)) for (;;) ; return true; }',
	text: 'this is no function (',
	lib: 'function (doc) { return require("lib/odd").odd(doc.n); }',
};
const DDOC = {
	filters: FILTERS, lib: { odd: 'exports.odd = function (n) { return n % 2 === 1; };' },
	views: { odd: { map: 'function (doc) { if (doc.n % 2) emit(doc.n, null); }' }, throwing: { map: 'function (doc) { throw("x"); }' } },
};
const bulk = async (db, docs, more = {}) => {
	const r = await c.request('POST', `${db}/_bulk_docs`, { docs, ...more });
	assert.equal(r.status, 201, r.text);
	return r.json;
};
const d = (i) => `d${String(i).padStart(4, '0')}`;
/** A database with the filters (sequence 1) and documents d0 to d(n-1). */
const filled = async (n) => {
	const db = await c.db();
	assert.equal((await c.request('PUT', `${db}/_design/f`, DDOC)).status, 201);
	if (n > 0) await bulk(db, Array.from({ length: n }, (_, i) => ({ _id: d(i), n: i })));
	return db;
};
const get = async (db, query) => {
	const r = await c.request('GET', `${db}/_changes?${query}`);
	assert.equal(r.status, 200, r.text);
	return r.json;
};
const ids = (rows) => rows.map((row) => row.id);
const evens = (n, from = 0) => Array.from({ length: n }, (_, i) => i).filter((i) => i % 2 === 0 && i >= from).map(d);

test('what passes is what the function says, over many batches, upward and downward', async () => {
	const N = 731;
	const db = await filled(N);
	const up = await get(db, 'filter=f/even');
	assert.deepEqual(ids(up.results), evens(N));
	assert.equal(up.pending, 0);
	assert.equal(Number.parseInt(up.last_seq), N + 1);
	const down = await get(db, 'filter=f/even&descending=true');
	assert.deepEqual(ids(down.results), evens(N).reverse());
	assert.deepEqual(down.results.map((r) => r.seq).reverse(), up.results.map((r) => r.seq));
	assert.deepEqual(ids((await get(db, 'filter=f/none')).results), []);
	assert.deepEqual(ids((await get(db, 'filter=f/none&descending=true')).results), []);
	assert.equal((await get(db, 'filter=f/all')).results.length, N + 1);
	assert.deepEqual(ids((await get(db, 'filter=f/mod&m=365')).results), ['d0000', 'd0365', 'd0730']);
	assert.deepEqual(ids((await get(db, 'filter=_view&view=f/odd')).results), Array.from({ length: N }, (_, i) => i).filter((i) => i % 2).map(d));
	assert.deepEqual(ids((await get(db, 'filter=f/lib&limit=3')).results), ['d0001', 'd0003', 'd0005']);
});

test('since, limit and include_docs; pages by limit meet every row once', async () => {
	const N = 450;
	const db = await filled(N);
	let since = 0, seen = [], page;
	do {
		page = await get(db, `filter=f/even&limit=37&include_docs=true&since=${since}`);
		for (const row of page.results) assert.equal(row.doc.n % 2, 0);
		seen = seen.concat(ids(page.results));
		since = page.last_seq;
	} while (page.results.length > 0);
	assert.deepEqual(seen, evens(N));
	assert.deepEqual(ids((await get(db, 'filter=f/even&limit=2&descending=true')).results), ['d0448', 'd0446']);
	assert.deepEqual((await get(db, 'filter=f/even&limit=0')).results, []);
	assert.deepEqual((await get(db, 'filter=f/even&since=now')).results, []);
});

test('a filter sees deletions, conflicts and each leaf of style=all_docs', async () => {
	const db = await filled(3);
	const rev = (await c.request('GET', `${db}/d0001`)).json._rev;
	await c.request('DELETE', `${db}/d0001?rev=${rev}`);
	const gone = await get(db, 'filter=f/gone');
	assert.deepEqual(gone.results.map((r) => [r.id, r.deleted]), [['d0001', true]]);
	await bulk(db, [{ _id: 'x', _rev: '1-a', n: 2 }, { _id: 'x', _rev: '1-b', n: 3 }, { _id: 'x', _rev: '1-c', n: 4 }, { _id: 'y', _rev: '1-a', n: 2 }, { _id: 'y', _rev: '1-b', n: 3 }], { new_edits: false });
	const revs = (answer, id) => answer.results.filter((r) => r.id === id).map((r) => r.changes.map((x) => x.rev));
	const all = await get(db, 'filter=f/even&style=all_docs');
	assert.deepEqual(revs(all, 'x'), [['1-c', '1-a']]);
	assert.deepEqual(revs(all, 'y'), [['1-a']]);
	assert.deepEqual(revs(await get(db, 'filter=_view&view=f/odd&style=all_docs'), 'y'), [['1-b']]);
	// As in CouchDB: revisions of all, conflicts of winners, stubs.
	const revisions = Array.from({ length: 30 }, (_, i) => String(i).padStart(32, 'a'));
	await bulk(db, [{ _id: 'z', _rev: `30-${revisions[0]}`, _revisions: { start: 30, ids: revisions }, _attachments: { t: { content_type: 'text/plain', data: 'YQ==' } } }, { _id: 'z', _rev: '2-b' }], { new_edits: false });
	const seen = await get(db, 'filter=f/sees');
	assert.deepEqual(seen.results.map((r) => r.id), ['z']);
	const main = await get(db, 'filter=f/even');
	assert.deepEqual(revs(main, 'x'), [['1-c']]);
	assert.deepEqual(revs(main, 'y'), []);
});

test('the function is told of the request: user, method, body', async () => {
	const db = await filled(5);
	await bulk(db, [{ _id: 'mine', owner: 'admin' }, { _id: 'nobody', owner: null }]);
	assert.deepEqual(ids((await get(db, 'filter=f/me')).results), ['mine']);
	const r = await client({ port: server.port }).request('GET', `${db}/_changes?filter=f/me`);
	assert.deepEqual(ids(r.json.results), ['nobody']);
	const post = await c.request('POST', `${db}/_changes?filter=f/from`, { n: 3 });
	assert.deepEqual(ids(post.json.results), ['d0003']);
});

test('longpoll waits for a row that passes; continuous and eventsource go on with those that do', async () => {
	const db = await filled(3);
	const seq = (await get(db, 'limit=0&since=now')).last_seq;
	const poll = c.request('GET', `${db}/_changes?feed=longpoll&filter=f/even&since=${seq}`);
	const flow = await c.open('GET', `${db}/_changes?feed=continuous&filter=f/even&since=${seq}`);
	const events = await c.open('GET', `${db}/_changes?feed=eventsource&filter=_view&view=f/odd`);
	await events.until((t) => t.includes('"id":"d0001"'));
	for (const n of [11, 13, 20, 21]) await c.request('PUT', `${db}/n${n}`, { n });
	assert.deepEqual(ids((await poll).json.results), ['n20']);
	assert.deepEqual(ids(lines(await flow.until((t) => t.includes('n20')))), ['n20']);
	await events.until((t) => t.includes('"id":"n21"'));
	assert.deepEqual([...events.text().matchAll(/"id":"(\w+)"/g)].map((m) => m[1]), ['d0001', 'n11', 'n13', 'n21']);
	await bulk(db, Array.from({ length: 350 }, (_, i) => ({ _id: d(i).replace('d', 'b'), n: i })));
	const text = await flow.until((t) => t.includes('"b0348"'));
	assert.deepEqual(ids(lines(text)), ['n20', ...Array.from({ length: 175 }, (_, i) => d(2 * i).replace('d', 'b'))]);
	flow.close();
	events.close();
	const limited = await c.open('GET', `${db}/_changes?feed=continuous&filter=f/even&limit=3`);
	await limited.ended;
	assert.deepEqual(ids(lines(limited.text()).slice(0, 3)), ['d0000', 'd0002', 'n20']);
	assert.equal(lines(limited.text()).length, 4);
	const timed = await c.request('GET', `${db}/_changes?feed=longpoll&filter=f/none&timeout=100`);
	assert.deepEqual(timed.json.results, []);
});

test('descending feeds that stay open turn upward when they reach the oldest row', async () => {
	const db = await filled(300);
	const flow = await c.open('GET', `${db}/_changes?feed=continuous&filter=f/even&descending=true`);
	await flow.until((t) => t.includes('"d0000"'));
	await c.request('PUT', `${db}/later`, { n: 0 });
	const text = await flow.until((t) => t.includes('later'));
	assert.deepEqual(ids(lines(text)), [...evens(300).reverse(), 'later']);
	flow.close();
});

test('a function that is not there, or is none, is told by a status', async () => {
	const db = await filled(2);
	const fails = async (query, status, error, reason) => {
		for (const feed of ['normal', 'longpoll', 'continuous', 'eventsource']) {
			const r = await c.request('GET', `${db}/_changes?feed=${feed}&${query}`);
			assert.equal(r.status, status, `${feed} ${query} ${r.text}`);
			assert.equal(r.json.error, error, r.text);
			if (reason) assert.match(r.json.reason, reason);
		}
	};
	await fails('filter=f/nothing', 404, 'not_found', /^missing json key: nothing$/);
	await fails('filter=_view&view=f/nothing', 404, 'not_found', /^missing json key: nothing$/);
	await fails('filter=g/nothing', 404, 'not_found', /^missing$/);
	await fails('filter=f/text', 500, 'compilation_error', /SyntaxError/);
	await fails('filter=f/failsAt&at=1', 500, 'TypeError');
	await fails('filter=f/loopsAt&at=1', 500, 'os_process_error', /timed out/);
	const thrown = await c.request('GET', `${db}/_changes?filter=f/throwsAt&at=1`);
	assert.equal(thrown.status, 500, thrown.text);
	// A view's map that throws lets the row not pass, or ends as the filter does; it is no crash in either case.
	const view = await c.request('GET', `${db}/_changes?filter=_view&view=f/throwing`);
	assert.ok([200, 500].includes(view.status), view.text);
	assert.equal((await c.request('GET', `${db}/_changes?filter=f/even`)).json.results.length, 1);
});

test('a filter that fails later ends its feed, not the server and no other feed', async () => {
	const db = await filled(500);
	const bystander = await c.open('GET', `${db}/_changes?feed=continuous&filter=f/all&since=now`);
	// A normal feed that ended would be taken for all there is.
	for (const query of ['filter=f/failsAt', 'filter=f/loopsAt']) {
		const s = await c.open('GET', `${db}/_changes?${query}&at=450`);
		const { complete, text } = await s.ended;
		assert.equal(complete, false, query);
		assert.ok(!text.includes('last_seq'), query);
		const seq = JSON.parse(text.slice(0, text.lastIndexOf('}')).split('\n').at(-1) + '}').seq;
		assert.equal((await c.request('GET', `${db}/_changes?${query}&at=450&since=${seq}`)).status, 500);
	}
	// What a long poll had by then is answered, with last_seq and what is pending; who goes on from there is told what is wrong.
	const poll = 'feed=longpoll&filter=f/failsAt&at=450';
	const { json } = await c.request('GET', `${db}/_changes?${poll}`);
	assert.ok(json.results.length > 0 && json.results.length < 452);
	assert.equal(json.pending, 501 - json.results.length);
	assert.equal((await c.request('GET', `${db}/_changes?${poll}&since=${json.last_seq}`)).status, 500);
	const flow = await c.open('GET', `${db}/_changes?feed=continuous&filter=f/failsAt&at=450`);
	await flow.ended;
	assert.ok(!flow.text().includes('"d0450"'));
	const again = await c.request('GET', `${db}/_changes?filter=f/failsAt&at=450&since=${lines(flow.text()).filter((l) => l.seq).at(-1).seq}`);
	assert.equal(again.status, 500);
	await c.request('PUT', `${db}/seen`, { n: 1 });
	await bystander.until((t) => t.includes('"seen"'));
	bystander.close();
});

test('while filters loop, writes, plain feeds and other databases go on', async () => {
	const db = await filled(1);
	const other = await c.db();
	const loops = Array.from({ length: 4 }, () => c.request('GET', `${db}/_changes?filter=f/loopsAt&at=0`));
	let over = false;
	void Promise.all(loops).then(() => (over = true));
	for (let i = 0; i < 30; i++) assert.equal((await c.request('PUT', `${other}/x${i}`, {})).status, 201);
	assert.equal((await get(other, 'since=0')).results.length, 30);
	assert.equal(over, false, 'the loops were to last longer than that');
	for (const r of await Promise.all(loops)) assert.ok(r.status === 500 || r.status === 503, r.text);
});

test('clients that go away while their rows are judged, databases that are dropped, and a server that stops meanwhile', async () => {
	const db = await filled(1);
	for (let i = 0; i < 5; i++) {
		const s = await c.open('GET', `${db}/_changes?feed=continuous&filter=f/loopsAt&at=77&since=now`);
		await c.request('PUT', `${db}/w${i}`, { n: 77 });
		s.close();
	}
	const flow = await c.open('GET', `${db}/_changes?feed=continuous&filter=f/all`);
	await flow.until((t) => t.includes('"d0000"'));
	assert.equal((await c.request('DELETE', db)).status, 200);
	await flow.ended;
	const mine = await startDivand({ config: { couchdb: { os_process_timeout: '2000' } } });
	const own = client(mine);
	await own.request('PUT', '/db');
	await own.request('PUT', '/db/_design/f', DDOC);
	await own.request('POST', '/db/_bulk_docs', { docs: Array.from({ length: 300 }, (_, i) => ({ _id: d(i), n: i })) });
	const open = await own.open('GET', '/db/_changes?feed=continuous&filter=f/loopsAt&at=1005&since=now');
	await own.request('PUT', '/db/x', { n: 1005 });
	// A normal feed that waits for its rows to be judged has not come to its end.
	const normal = await own.open('GET', '/db/_changes?filter=f/loopsAt&at=250');
	await normal.until((t) => t.includes(d(90)));
	await mine.stop();
	await open.ended;
	assert.equal((await normal.ended).complete, false);
	own.close();
});

test('an open filtered feed ends when its reader is no member any more', async () => {
	const db = await filled(1);
	const anonymous = client({ port: server.port });
	const flow = await anonymous.open('GET', `${db}/_changes?feed=continuous&filter=f/all&heartbeat=60000`);
	await flow.until((t) => t.includes('"d0000"'));
	await c.request('PUT', `${db}/_security`, { members: { names: ['somebody'] } });
	await c.request('PUT', `${db}/secret`, {});
	await flow.ended;
	assert.ok(!flow.text().includes('secret'));
	anonymous.close();
});

test('HEAD, the entity tag, and a database without rows', async () => {
	const db = await filled(3);
	const head = await c.request('HEAD', `${db}/_changes?filter=f/even`);
	assert.equal(head.status, 200);
	const tag = (await c.request('GET', `${db}/_changes?filter=f/even`)).headers.etag;
	assert.equal((await c.request('GET', `${db}/_changes?filter=f/even`, undefined, { 'if-none-match': tag })).status, 304);
	const answer = await c.request('POST', `${db}/_changes?filter=f/even&feed=longpoll&timeout=1&since=now`, {});
	assert.deepEqual(answer.json.results, []);
});

test('rows are judged while others write: nothing is shown twice or missed', async () => {
	const db = await filled(400);
	const flow = await c.open('GET', `${db}/_changes?feed=continuous&filter=f/even`);
	for (let round = 0; round < 10; round++) await bulk(db, Array.from({ length: 40 }, (_, i) => ({ _id: `r${round}-${i}`, n: i })));
	await c.request('PUT', `${db}/last`, { n: 0 });
	const rows = lines(await flow.until((t) => t.includes('"last"')));
	flow.close();
	assert.equal(new Set(ids(rows)).size, rows.length);
	assert.equal(rows.length, 200 + 10 * 20 + 1);
});

test('a filter is told of a long body, too', async () => {
	const db = await filled(5);
	const long = (query, pad) => c.request('POST', `${db}/_changes?filter=f/${query}`, { pad }, { 'x-mark': '1' });
	assert.deepEqual(ids((await long('told', 'x'.repeat(200000))).json.results), ['d0000', 'd0001', 'd0002']);
	assert.deepEqual((await long('told', 'x'.repeat(200001))).json.results, []);
	assert.equal((await long('missing', 'x'.repeat(200000))).status, 404);
});
