// Changes feeds: what they list, what wakes them, how they end.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startDivand } from '../lib/divand.mjs';
import { ask, newDb, openFeed } from './client.mjs';

let server;
before(async () => (server = await startDivand()));
after(() => server.stop());

const put = async (db, id, json = {}) => {
	const answer = await ask(server, 'PUT', `/${db}/${id}`, { json });
	assert.equal(answer.status, 201, answer.text);
	return answer.json.rev;
};
const changes = async (db, query = '') => (await ask(server, 'GET', `/${db}/_changes${query}`)).json;
const lastSeq = async (db) => (await changes(db, '?descending=true&limit=1')).results[0]?.seq ?? '0';

test('each document once, at its last place', async () => {
	const db = await newDb(server);
	const rev = await put(db, 'a');
	await put(db, 'b');
	await put(db, 'a', { _rev: rev, n: 2 });
	const all = await changes(db);
	assert.deepEqual(all.results.map((row) => row.id), ['b', 'a']);
	assert.equal(all.pending, 0);
	assert.equal(all.last_seq, all.results[1].seq);
	const rest = await changes(db, `?since=${all.results[0].seq}`);
	assert.deepEqual(rest.results.map((row) => row.id), ['a']);
	assert.deepEqual((await changes(db, '?since=now')).results, []);
	const first = await changes(db, '?limit=1&include_docs=true');
	assert.equal(first.pending, 1);
	assert.equal(first.results[0].doc._id, 'b');
	const named = await ask(server, 'POST', `/${db}/_changes?filter=_doc_ids`, { json: { doc_ids: ['a', 'zzz'] } });
	assert.deepEqual(named.json.results.map((row) => row.id), ['a']);
});

test('no answer tells its length, as in CouchDB: node-fetch 2 notices only in a chunked one that it was cut', async () => {
	const db = await newDb(server);
	await put(db, 'a');
	for (const feed of ['normal', 'longpoll', 'continuous&timeout=1', 'eventsource&timeout=1']) {
		const { status, headers, text } = await ask(server, 'GET', `/${db}/_changes?feed=${feed}`);
		assert.equal(status, 200, text);
		assert.equal(headers['transfer-encoding'], 'chunked', feed);
		assert.equal(headers['content-length'], undefined, feed);
		assert.ok(text.includes('"id":"a"'), text);
	}
});

test('a longpoll waits for a write, and only for one of its database', async () => {
	const [db, other] = [await newDb(server), await newDb(server)];
	await put(db, 'a');
	const since = await lastSeq(db);
	let done = false;
	const poll = changes(db, `?feed=longpoll&since=${since}&timeout=30000`).finally(() => (done = true));
	const fine = openFeed(server, `/${db}/_changes?feed=continuous&since=${since}&timeout=30000`);
	await fine.started;
	await put(other, 'b');
	assert.equal(done, false);
	await put(db, 'c');
	assert.deepEqual((await poll).results.map((row) => row.id), ['c']);
	await fine.until((f) => f.lines.length === 1);
	assert.equal(fine.lines[0].id, 'c');
	fine.end();
});

test('a longpoll with something to tell answers at once; without, at its timeout', async () => {
	const db = await newDb(server);
	await put(db, 'a');
	assert.equal((await changes(db, '?feed=longpoll')).results.length, 1);
	const late = await changes(db, '?feed=longpoll&since=now&timeout=200');
	assert.deepEqual(late.results, []);
	assert.equal(late.last_seq, (await lastSeq(db)));
});

test('a continuous feed has heartbeats and each write once', async () => {
	const db = await newDb(server);
	const feed = openFeed(server, `/${db}/_changes?feed=continuous&heartbeat=50&include_docs=true`);
	await feed.until((f) => f.blanks >= 3);
	for (let i = 0; i < 50; i++) await put(db, `d${i}`, { i });
	await feed.until((f) => f.lines.length >= 50);
	assert.deepEqual(feed.lines.map((line) => line.doc.i), Array.from({ length: 50 }, (_, i) => i));
	await ask(server, 'POST', `/${db}/_bulk_docs`, { json: { docs: Array.from({ length: 500 }, (_, i) => ({ _id: `e${i}` })) } });
	await feed.until((f) => f.lines.length >= 550);
	assert.equal(new Set(feed.lines.map((line) => line.id)).size, 550);
	feed.end();
});

test('a continuous feed with a timeout ends with last_seq; limit ends it too', async () => {
	const db = await newDb(server);
	await put(db, 'a');
	const feed = await openFeed(server, `/${db}/_changes?feed=continuous&timeout=100`).ended;
	assert.equal(feed.lines.at(-1).last_seq, feed.lines[0].seq);
	const limited = await openFeed(server, `/${db}/_changes?feed=continuous&limit=1`).ended;
	assert.equal(limited.lines[0].id, 'a');
});

test('200 feeds hear of one write', async () => {
	const db = await newDb(server);
	const feeds = Array.from({ length: 200 }, () => openFeed(server, `/${db}/_changes?feed=continuous&since=now&heartbeat=30000`));
	await Promise.all(feeds.map((feed) => feed.started));
	await put(db, 'news');
	await Promise.all(feeds.map((feed) => feed.until((f) => f.lines.length === 1)));
	for (const feed of feeds) feed.end();
});

test('feeds end when their database goes', async () => {
	const db = await newDb(server);
	const feed = openFeed(server, `/${db}/_changes?feed=continuous&heartbeat=10000`);
	const poll = ask(server, 'GET', `/${db}/_changes?feed=longpoll&since=now&heartbeat=10000`);
	await feed.started;
	await ask(server, 'DELETE', `/${db}`);
	await feed.ended;
	const answer = await poll;
	assert.ok([200, 404].includes(answer.status), answer.text);
});

test('SIGTERM ends open feeds with their last line, and the exit status is 0', async () => {
	const own = await startDivand();
	await ask(own, 'PUT', '/db');
	await ask(own, 'PUT', '/db/a', { json: {} });
	const feed = openFeed(own, '/db/_changes?feed=continuous&heartbeat=10000');
	await feed.until((f) => f.lines.length === 1);
	const poll = ask(own, 'GET', `/db/_changes?feed=longpoll&since=${feed.lines[0].seq}&heartbeat=10000`);
	const second = openFeed(own, `/db/_changes?feed=continuous&since=now&heartbeat=20`);
	await second.until((f) => f.blanks > 0);
	await own.stop();
	await feed.ended;
	assert.equal(feed.lines.at(-1).last_seq, feed.lines[0].seq, JSON.stringify(feed.lines));
	const answer = await poll;
	assert.equal(answer.status, 200);
	assert.equal(answer.json.last_seq, feed.lines[0].seq);
});

test('documents of a few ids go out in several turns, up and down', async () => {
	const db = await newDb(server);
	const docs = Array.from({ length: 40 }, (_, i) => ({ _id: `d${String(i).padStart(2, '0')}`, i, text: 'x'.repeat(60000) }));
	await ask(server, 'POST', `/${db}/_bulk_docs`, { json: { docs } });
	const named = async (query) => {
		const answer = await ask(server, 'POST', `/${db}/_changes?filter=_doc_ids&include_docs=true${query}`, { json: { doc_ids: docs.map((doc) => doc._id) } });
		assert.equal(answer.status, 200);
		return answer.json;
	};
	const all = await named('');
	assert.deepEqual(all.results.map((row) => row.doc.i), docs.map((doc) => doc.i));
	assert.equal(all.pending, 0);
	const down = await named('&descending=true');
	assert.deepEqual(down.results, all.results.toReversed());
	assert.deepEqual((await named('&descending=true&limit=7')).results, all.results.toReversed().slice(0, 7));
	assert.deepEqual((await named('&feed=longpoll')).results, all.results);
	assert.deepEqual((await named(`&feed=longpoll&since=${all.results[29].seq}&limit=5`)).results, all.results.slice(30, 35));
});
