// `since` of another history: a database that was made again, or restored, in every feed.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { DIVAN, startDivand, tempDir } from '../lib/divand.mjs';
import { ask, newDb, openFeed } from './client.mjs';

const run = promisify(execFile);
let server;
before(async () => (server = await startDivand()));
after(() => server.stop());

const put = async (to, db, id) => {
	const answer = await ask(to, 'PUT', `/${db}/${id}`, { json: {} });
	assert.equal(answer.status, 201, answer.text);
};
const seqOf = async (from, db) => (await ask(from, 'GET', `/${db}`)).json.update_seq;

/** What each feed lists behind ${since}; all must say the same. */
async function behind(from, db, since) {
	const get = async (query, headers) => (await ask(from, 'GET', `/${db}/_changes?${query}`, { headers })).text;
	const ids = (rows) => rows.map((row) => row.id);
	const normal = ids(JSON.parse(await get(`since=${since}`)).results);
	assert.deepEqual(ids(JSON.parse(await get(`feed=longpoll&timeout=0&since=${since}`)).results), normal);
	assert.deepEqual(ids((await get(`feed=continuous&timeout=0&since=${since}`)).trim().split('\n').slice(0, -1).map(JSON.parse)), normal);
	const events = await get('feed=eventsource&timeout=0', { 'Last-Event-ID': `"${since}"` });
	assert.deepEqual([...events.matchAll(/^data: (.*)$/gm)].map((m) => JSON.parse(m[1]).id), normal);
	const posted = await ask(from, 'POST', `/${db}/_changes?filter=_selector&since=${since}`, { json: { selector: {} } });
	assert.deepEqual(ids(posted.json.results), normal);
	return normal;
}

test('a database that was made again begins anew for who read the old one', async () => {
	const db = await newDb(server);
	for (const id of ['a', 'b', 'c']) await put(server, db, id);
	const old = await seqOf(server, db);
	assert.deepEqual(await behind(server, db, old), []);
	await ask(server, 'DELETE', `/${db}`);
	await ask(server, 'PUT', `/${db}`);
	assert.deepEqual(await behind(server, db, old), []);
	for (const id of ['x', 'y', 'z', 'a']) await put(server, db, id);
	assert.deepEqual(await behind(server, db, old), ['x', 'y', 'z', 'a']);
	const own = await seqOf(server, db);
	assert.deepEqual(await behind(server, db, own), []);
	await server.restart();
	assert.deepEqual(await behind(server, db, old), ['x', 'y', 'z', 'a']);
	assert.deepEqual(await behind(server, db, own), []);
});

test('a feed that waits with a sequence of the old database gets the first row of the new one', async () => {
	const db = await newDb(server);
	for (const id of ['a', 'b', 'c']) await put(server, db, id);
	const old = await seqOf(server, db);
	await ask(server, 'DELETE', `/${db}`);
	await ask(server, 'PUT', `/${db}`);
	const feed = openFeed(server, `/${db}/_changes?feed=continuous&since=${old}&heartbeat=20`);
	const poll = ask(server, 'GET', `/${db}/_changes?feed=longpoll&since=${old}&heartbeat=20000`);
	await feed.until((f) => f.blanks > 0);
	await put(server, db, 'new');
	await feed.until((f) => f.lines.length === 1);
	assert.equal(feed.lines[0].id, 'new');
	assert.deepEqual((await poll).json.results.map((row) => row.id), ['new']);
	feed.end();
});

test('a restored database lists what is new to who read more of the original', async () => {
	const work = tempDir('divan-history');
	const env = { ...process.env, DIVAN_ADMIN: server.admin };
	const db = await newDb(server);
	for (const id of ['a', 'b', 'c']) await put(server, db, id);
	const shared = await seqOf(server, db);
	await run(DIVAN, ['copy', '--url', server.url, db, `${work}/copy`], { env });
	for (const id of ['lost-1', 'lost-2', 'lost-3']) await put(server, db, id);
	const beyond = await seqOf(server, db);
	await run(DIVAN, ['restore', '--data', `${work}/data`, `${work}/copy`, db], { env });

	const other = await startDivand({ dataDir: `${work}/data` });
	const waiting = openFeed(other, `/${db}/_changes?feed=continuous&since=${beyond}&heartbeat=20`);
	await waiting.until((f) => f.blanks > 0);
	for (const id of ['new-1', 'new-2']) await put(other, db, id);
	await waiting.until((f) => f.lines.length === 2);
	assert.deepEqual(waiting.lines.map((row) => row.id), ['new-1', 'new-2']);
	waiting.end();
	assert.deepEqual(await behind(other, db, beyond), ['new-1', 'new-2']);
	assert.deepEqual(await behind(other, db, shared), ['new-1', 'new-2']);
	assert.deepEqual(await behind(other, db, await seqOf(other, db)), []);
	// And the other way: what was read of the restored one is not known to the original.
	assert.deepEqual(await behind(server, db, await seqOf(other, db)), ['a', 'b', 'c', 'lost-1', 'lost-2', 'lost-3']);
	await other.stop();
});
