// _db_updates: which databases were made, written to and dropped, in all feeds.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startDivand } from '../lib/divand.mjs';
import { ask, assertError, connect, newDb, openFeed } from './client.mjs';

let server;
before(async () => (server = await startDivand()));
after(() => server.stop());

const updates = async (query = '') => {
	const answer = await ask(server, 'GET', `/_db_updates${query}`);
	assert.equal(answer.status, 200, answer.text);
	return answer.json;
};
const now = async () => (await updates('?since=now')).last_seq;
const put = async (db, id, json = {}) => {
	const answer = await ask(server, 'PUT', `/${db}/${id}`, { json });
	assert.equal(answer.status, 201, answer.text);
};
const drop = async (db) => assert.equal((await ask(server, 'DELETE', `/${db}`)).status, 200);
const said = (rows, db) => rows.filter((row) => row.db_name === db).map((row) => row.type);
const raw = (path, headers = '') => {
	const c = connect(server.port);
	c.send(`GET ${path} HTTP/1.1\r\nHost: x\r\nAuthorization: ${server.auth}\r\n${headers}Connection: close\r\n\r\n`);
	return c;
};

test('each database has one row of a kind, at its last place', async () => {
	const since = await now();
	const db = await newDb(server);
	assert.deepEqual(said((await updates(`?since=${since}`)).results, db), ['created']);
	await put(db, 'a');
	await put(db, 'b');
	const written = await updates(`?since=${since}`);
	assert.deepEqual(said(written.results, db), ['created', 'updated']);
	assert.deepEqual(Object.keys(written.results[0]), ['db_name', 'type', 'seq']);
	assert.equal(written.last_seq, written.results.at(-1).seq);
	await drop(db);
	assert.deepEqual(said((await updates(`?since=${since}`)).results, db), ['created', 'updated', 'deleted']);
	assert.deepEqual(said((await updates(`?since=${written.last_seq}`)).results, db), ['deleted']);
	await ask(server, 'PUT', `/${db}`);
	assert.deepEqual(said((await updates(`?since=${written.last_seq}`)).results, db), ['deleted', 'created']);
	assert.deepEqual(said((await updates(`?since=${since}`)).results, db), ['updated', 'deleted', 'created']);
});

test('limit, descending, since in every form', async () => {
	const since = await now();
	const names = [];
	for (let i = 0; i < 3; i++) names.push(await newDb(server));
	const all = await updates(`?since=${since}`);
	assert.deepEqual(all.results.map((row) => row.db_name), names);
	const first = await updates(`?since=${since}&limit=1`);
	assert.deepEqual(first.results, all.results.slice(0, 1));
	assert.equal(first.last_seq, first.results[0].seq);
	assert.deepEqual((await updates(`?since=${first.last_seq}&limit=9`)).results, all.results.slice(1));
	assert.deepEqual(await updates(`?since=${since}&limit=0`), { results: [], last_seq: since });
	const down = await updates('?descending=true');
	assert.deepEqual(down.results.slice(0, 3), all.results.toReversed());
	assert.deepEqual(down.results, (await updates()).results.toReversed());
	assert.deepEqual((await updates(`?descending=true&limit=2`)).results, all.results.toReversed().slice(0, 2));
	assert.deepEqual((await updates(`?since=${encodeURIComponent(JSON.stringify(since))}`)).results, all.results);
	assert.deepEqual((await updates(`?since=${parseInt(since, 10)}`)).results, all.results);
	const whole = (await updates('?since=0')).results;
	assert.ok(whole.length >= 3);
	for (const other of [`${parseInt(since, 10)}-another`, '999999999', `999999999-${since.split('-')[1]}`, `5-${'0'.repeat(32)}`]) {
		assert.deepEqual((await updates(`?since=${other}`)).results, whole, other);
	}
});

test('many rows go out in several turns, none twice', async () => {
	const since = await now();
	const names = new Set();
	for (let i = 0; i < 60; i++) {
		const db = await newDb(server, 'many');
		names.add(db);
		await put(db, 'x');
		await drop(db);
	}
	const { results } = await updates(`?since=${since}`);
	assert.equal(results.length, 180);
	assert.deepEqual(new Set(results.map((row) => row.db_name)), names);
	const numbers = results.map((row) => parseInt(row.seq, 10));
	assert.deepEqual(numbers, numbers.toSorted((a, b) => a - b));
	assert.equal(new Set(numbers).size, 180);
});

test('the framing of each feed', async () => {
	const since = await now();
	const seq = String.raw`\d+-[0-9a-f]+`;
	const [a, b] = [await newDb(server), await newDb(server)];
	const row = (db) => `\\{"db_name":"${db}","type":"created","seq":"${seq}"\\}`;
	const get = async (query) => (await ask(server, 'GET', `/_db_updates?since=${since}&${query}`)).text;
	const object = new RegExp(`^\\{"results":\\[\n${row(a)},\r\n${row(b)}\n\\],\n"last_seq":"${seq}"\\}\n$`);
	assert.match(await get('feed=normal'), object);
	assert.match(await get('feed=longpoll'), object);
	assert.match(await get('feed=continuous&timeout=0'), new RegExp(`^${row(a)}\n${row(b)}\n\\{"last_seq":"${seq}"\\}\n$`));
	assert.match(await get('feed=eventsource&timeout=0'),
		new RegExp(`^data: ${row(a)}\nid: "${seq}"\n\ndata: ${row(b)}\nid: "${seq}"\n\n$`));
	assert.match((await ask(server, 'GET', '/_db_updates?since=now')).text, new RegExp(`^\\{"results":\\[\n\n\\],\n"last_seq":"${seq}"\\}\n$`));
	const head = await ask(server, 'HEAD', '/_db_updates?feed=continuous');
	assert.equal(head.status, 200);
	assert.equal(head.text, '');
});

test('a longpoll waits, a continuous feed and events go on', async () => {
	const since = await now();
	const poll = ask(server, 'GET', `/_db_updates?feed=longpoll&since=${since}&timeout=30000`);
	const lines = openFeed(server, `/_db_updates?feed=continuous&since=now&heartbeat=30000`);
	await lines.started;
	const events = raw('/_db_updates?feed=eventsource&heartbeat=30000', `Last-Event-ID: "${since}"\r\n`);
	await events.until(/text\/event-stream/);
	const db = await newDb(server);
	assert.deepEqual(said((await poll).json.results, db), ['created']);
	await lines.until((f) => said(f.lines, db).length === 1);
	await put(db, 'a');
	await lines.until((f) => said(f.lines, db).length === 2);
	await drop(db);
	await lines.until((f) => said(f.lines, db).at(-1) === 'deleted');
	assert.deepEqual(said(lines.lines, db), ['created', 'updated', 'deleted']);
	await events.until(new RegExp(`"db_name":"${db}","type":"deleted"`));
	lines.end();
	events.end();
});

test('a storm of writes is told in few rows, the last of which is the newest', async () => {
	const db = await newDb(server);
	const feed = openFeed(server, '/_db_updates?feed=continuous&since=now&heartbeat=30000');
	await feed.started;
	for (let i = 0; i < 200; i++) await put(db, `d${i}`);
	const last = await now();
	await feed.until((f) => f.lines.at(-1)?.seq === last);
	const numbers = feed.lines.map((row) => parseInt(row.seq, 10));
	assert.deepEqual(numbers, [...new Set(numbers)].sort((a, b) => a - b));
	assert.ok(feed.lines.length < 200, `${feed.lines.length} rows`);
	feed.end();
});

test('timeouts, heartbeats and limits', async () => {
	const since = await now();
	assert.deepEqual((await updates('?feed=longpoll&since=now&timeout=50')).results, []);
	const ended = await openFeed(server, '/_db_updates?feed=continuous&since=now&timeout=50').ended;
	assert.deepEqual(ended.lines, [{ last_seq: since }]);
	const beats = openFeed(server, '/_db_updates?feed=continuous&since=now&heartbeat=20');
	await beats.until((f) => f.blanks >= 3);
	beats.end();
	const events = raw('/_db_updates?feed=eventsource&since=now&heartbeat=20');
	await events.until(/event: heartbeat\ndata: \n\n/);
	events.end();
	const two = openFeed(server, '/_db_updates?feed=continuous&since=now&limit=2&heartbeat=30000');
	await two.started;
	const names = [await newDb(server), await newDb(server)];
	await two.ended;
	assert.deepEqual(two.lines.slice(0, 2).map((row) => row.db_name), names);
	assert.equal(two.lines[2].last_seq, two.lines[1].seq);
});

test('an entity tag, as long as nothing happens', async () => {
	const first = await ask(server, 'GET', '/_db_updates');
	assert.ok(first.headers.etag);
	const headers = { 'If-None-Match': first.headers.etag };
	assert.equal((await ask(server, 'GET', '/_db_updates', { headers })).status, 304);
	await newDb(server);
	assert.equal((await ask(server, 'GET', '/_db_updates', { headers })).status, 200);
});

test('wrong values and wrong people', async () => {
	const bad = async (query, reason) => assertError(await ask(server, 'GET', `/_db_updates?${query}`), 400, 'bad_request', reason);
	await bad('feed=live', 'Supported `feed` types: normal, continuous, longpoll, eventsource');
	for (const name of ['limit', 'timeout', 'heartbeat']) {
		for (const value of ['-1', 'x', '', '1.5']) await bad(`${name}=${value}`, 'invalid_integer');
	}
	for (const since of ['x', '', '1-', '-1', '1x']) await bad(`since=${since}`, "Malformed sequence supplied in 'since' parameter.");
	assertError(await ask(server, 'POST', '/_db_updates', { json: {} }), 405, 'method_not_allowed');
	assertError(await ask(server, 'GET', '/_db_updates', { auth: null }), 401, 'unauthorized');
});

test('a restart lists every database, also to who had read all', async () => {
	const db = await newDb(server);
	const gone = await newDb(server);
	await drop(gone);
	const since = await now();
	await server.restart();
	const { results } = await updates(`?since=${since}`);
	assert.deepEqual(said(results, db), ['created', 'updated']);
	assert.deepEqual(said(results, gone), []);
	const { json } = await ask(server, 'GET', '/_all_dbs');
	assert.deepEqual([...new Set(results.map((row) => row.db_name))].sort(), json.sort());
	const feed = openFeed(server, '/_db_updates?feed=continuous&since=now&heartbeat=30000');
	await feed.started;
	await server.stop();
	await feed.ended;
	assert.match(feed.lines.at(-1).last_seq, /^\d+-/);
	await server.restart();
});
