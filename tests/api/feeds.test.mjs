// Open _changes requests: who is woken, when they end, what is left of them.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startDivand } from '../lib/divand.mjs';
import { client, lines } from '../lib/wire.mjs';

let server, c;
before(async () => {
	server = await startDivand();
	c = client(server);
});
after(async () => {
	c.close();
	await server.stop();
});

const put = async (db, id, doc = {}) => {
	const r = await c.request('PUT', `${db}/${id}`, doc);
	assert.equal(r.status, 201, r.text);
	return r.json.rev;
};

test('many listeners of several kinds get each change once, in order', async () => {
	const db = await c.db();
	await put(db, 'first');
	const feeds = [];
	for (let i = 0; i < 60; i++) {
		const docs = i % 3 === 0 ? '&include_docs=true' : '';
		feeds.push(await c.open('GET', `${db}/_changes?feed=continuous&heartbeat=30000&since=${i % 2 ? 'now' : 0}${docs}`));
	}
	for (let i = 0; i < 50; i++) await put(db, `d${i}`, { i });
	for (const [i, f] of feeds.entries()) {
		await f.until((t) => t.includes('"d49"'));
		const want = [...(i % 2 ? [] : ['first']), ...Array.from({ length: 50 }, (_, k) => `d${k}`)];
		const got = lines(f.text());
		assert.deepEqual(got.map((x) => x.id), want, `feed ${i}`);
		assert.equal(got.every((x) => (x.doc !== undefined) === (i % 3 === 0)), true);
		f.close();
	}
});

test('a write burst reaches a slow reader whole', async () => {
	const db = await c.db();
	const slow = await c.open('GET', `${db}/_changes?feed=continuous&include_docs=true&heartbeat=30000`);
	slow.pause();
	for (let k = 0; k < 8; k++) {
		const docs = Array.from({ length: 250 }, (_, i) => ({ _id: `b${k}-${i}`, text: 'y'.repeat(4000) }));
		assert.equal((await c.request('POST', `${db}/_bulk_docs`, { docs })).status, 201);
	}
	slow.resume();
	// What has come is parsed when it may be all: to do so at each piece takes longer than all the rest.
	await slow.until((t) => t.length > 2000 * 4000 && lines(t.slice(0, t.lastIndexOf('\n') + 1)).length === 2000, 60000);
	assert.equal(new Set(lines(slow.text()).map((x) => x.id)).size, 2000);
	slow.close();
});

test('longpoll answers with what came and ends', async () => {
	const db = await c.db();
	const polls = await Promise.all(Array.from({ length: 20 }, () => c.open('GET', `${db}/_changes?feed=longpoll&since=now`)));
	await put(db, 'x');
	for (const p of polls) {
		const end = await p.ended;
		const json = JSON.parse(end.text);
		assert.deepEqual(json.results.map((x) => x.id), ['x']);
		assert.equal(json.last_seq, json.results[0].seq);
		assert.equal(json.pending, 0);
	}
});

test('longpoll waits through changes that its filter does not pass', async () => {
	const db = await c.db();
	const poll = await c.open('POST', `${db}/_changes?feed=longpoll&since=now&filter=_doc_ids`, { doc_ids: ['wanted'] });
	const design = await c.open('GET', `${db}/_changes?feed=longpoll&since=now&filter=_design`);
	for (let i = 0; i < 10; i++) await put(db, `no${i}`);
	assert.equal(poll.over() || design.over(), false);
	await put(db, 'wanted');
	assert.deepEqual(JSON.parse((await poll.ended).text).results.map((x) => x.id), ['wanted']);
	await put(db, '_design/d');
	assert.deepEqual(JSON.parse((await design.ended).text).results.map((x) => x.id), ['_design/d']);
});

test('timeouts and heartbeats', async () => {
	const db = await c.db();
	await put(db, 'a');
	const begin = Date.now();
	const poll = await c.request('GET', `${db}/_changes?feed=longpoll&since=now&timeout=300`);
	assert.ok(Date.now() - begin >= 290);
	assert.match(poll.text, /^\{"results":\[\n\n\],\n"last_seq":"1-[^"]+","pending":0\}\n$/);
	const cont = await c.request('GET', `${db}/_changes?feed=continuous&timeout=200`);
	assert.match(cont.text, /^\{"seq":"1-[^\n]*\}\n\{"last_seq":"1-[^"]+","pending":0\}\n$/);
	const beat = await c.open('GET', `${db}/_changes?feed=continuous&since=now&heartbeat=50`);
	await beat.until((t) => t.startsWith('\n\n\n'));
	await put(db, 'b');
	await beat.until((t) => t.includes('"b"'));
	beat.close();
	const events = await c.open('GET', `${db}/_changes?feed=eventsource&heartbeat=50`);
	assert.equal(events.headers['content-type'], 'text/event-stream');
	await events.until((t) => /^data: \{"seq":.*\}\nid: .*\n\ndata: \{.*\}\nid: .*\n\nevent: heartbeat\ndata: \n\n/.test(t));
	events.close();
});

test('limit ends a feed', async () => {
	const db = await c.db();
	const f = await c.open('GET', `${db}/_changes?feed=continuous&limit=2&heartbeat=30000`);
	for (const id of ['a', 'b', 'c']) await put(db, id);
	const got = lines((await f.ended).text);
	assert.deepEqual(got.map((x) => x.id), ['a', 'b', undefined]);
	assert.equal(got[2].last_seq, got[1].seq);
});

test('a dropped database ends its feeds, and its successor has none of them', async () => {
	const db = await c.db();
	await put(db, 'a');
	const poll = await c.open('GET', `${db}/_changes?feed=longpoll&since=now`);
	const cont = await c.open('GET', `${db}/_changes?feed=continuous&heartbeat=30000`);
	await cont.until((t) => t.includes('"a"'));
	assert.equal((await c.request('DELETE', db)).status, 200);
	assert.equal((await c.request('PUT', db)).status, 201);
	await put(db, 'new');
	assert.deepEqual(JSON.parse((await poll.ended).text).results, []);
	assert.ok(!(await cont.ended).text.includes('new'));
	assert.deepEqual((await c.request('GET', `${db}/_changes`)).json.results.map((x) => x.id), ['new']);
});

test('a reader who is no member any more gets no further row, and is told when it asks again', async () => {
	const db = await c.db();
	const guest = client({ port: server.port });
	const open = async () => assert.equal((await c.request('PUT', `${db}/_security`, {})).status, 200);
	const close = async () => assert.equal((await c.request('PUT', `${db}/_security`, { members: { names: ['somebody'] } })).status, 200);
	await open();
	await put(db, 'a');
	for (const way of ['a commit', 'a timeout']) {
		const at = (await c.request('GET', db)).json.update_seq;
		const timeout = way === 'a timeout' ? 500 : 30000;
		const path = `${db}/_changes?since=${at}&timeout=${timeout}&feed=`;
		const admin = await c.open('GET', `${path}longpoll`);
		const feeds = await Promise.all(['continuous', 'longpoll', 'eventsource'].map((form) => guest.open('GET', path + form)));
		await close();
		if (way === 'a commit') await put(db, 'secret'); // which the administrator's feed shares with nobody
		const [continuous, longpoll, events] = (await Promise.all(feeds.map((f) => f.ended))).map((e) => e.complete && e.text);
		assert.deepEqual(lines(continuous), [{ last_seq: at, pending: 0 }]);
		assert.deepEqual(JSON.parse(longpoll), { results: [], last_seq: at, pending: 0 });
		assert.equal(events, '');
		assert.equal(JSON.parse((await admin.ended).text).results.length, way === 'a commit' ? 1 : 0);
		assert.equal((await guest.request('GET', `${path}longpoll`)).status, 401);
		await open();
		const { json } = await guest.request('GET', `${path}longpoll`);
		assert.equal(json.results.length, way === 'a commit' ? 1 : 0);
	}
	guest.close();
});

test('clients that vanish leave nothing behind', async () => {
	const db = await c.db();
	for (let round = 0; round < 5; round++) {
		const feeds = await Promise.all(Array.from({ length: 40 }, () => c.open('GET', `${db}/_changes?feed=continuous&since=now&heartbeat=1000`)));
		for (const f of feeds) f.close();
		await put(db, `r${round}`);
	}
	assert.equal((await c.request('GET', `${db}/_changes`)).json.results.length, 5);
});

test('a stopping server lets feeds send their last line', async () => {
	const own = await startDivand();
	const oc = client(own);
	const db = await oc.db();
	await oc.request('PUT', `${db}/a`, {});
	const poll = await oc.open('GET', `${db}/_changes?feed=longpoll&since=now`);
	const cont = await oc.open('GET', `${db}/_changes?feed=continuous&heartbeat=30000`);
	await cont.until((t) => t.includes('"a"'));
	oc.close();
	await own.stop();
	const p = await poll.ended;
	assert.ok(p.complete);
	assert.deepEqual(JSON.parse(p.text).results, []);
	const last = lines((await cont.ended).text).at(-1);
	assert.ok(last.last_seq.startsWith('1-'), JSON.stringify(last));
});
