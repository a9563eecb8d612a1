// The wall clock is set, forward and back, while divand works: timers, feeds, uploads and replications go on by the monotonic clock, and what
// is bound to the wall clock (dates, the end of a session) follows it.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { preloaded, startDivand, tempDir } from '../lib/divand.mjs';
import { ask, connect, newDb, openFeed } from './client.mjs';

const HOUR = 3600;
let server, file;

/** The clock is off by so many seconds, and by so many more after each look at it. */
const setClock = (seconds, step = 0) => fs.writeFileSync(file, BigInt64Array.of(BigInt(seconds), BigInt(step)), { flag: 'r+' });

before(async () => {
	file = path.join(tempDir('divan-clock'), 'jump');
	fs.writeFileSync(file, Buffer.alloc(16));
	server = await startDivand({ env: { ...preloaded('clock'), CLOCK_JUMP: file }, config: { couch_httpd_auth: { timeout: 600 } } });
});
after(() => server?.stop());

const dateOf = (answer) => Date.parse(answer.headers.date) - Date.now();
const put = async (db, json) => assert.equal((await ask(server, 'POST', `/${db}`, { json })).status, 201);

// Whoever took the time twice, and believes that the second is the later one, waits for ever here.
for (const [step, way] of [[-1, 'back'], [HOUR, 'forward']]) {
	test(`each look at the clock finds it set ${way}`, { timeout: 30000 }, async () => {
		const db = await newDb(server);
		const feed = openFeed(server, `/${db}/_changes?feed=continuous&heartbeat=20`);
		await feed.started;
		setClock(0, step);
		for (let i = 0; i < 20; i++) {
			await put(db, { i });
			assert.equal((await ask(server, 'GET', `/${db}/_changes?feed=longpoll&since=now&timeout=20`)).status, 200);
		}
		const beats = feed.blanks;
		await feed.until((f) => f.lines.length === 20 && f.blanks > beats + 5);
		setClock(0);
		feed.end();
	});
}

for (const [seconds, way] of [[HOUR, 'an hour forward'], [-HOUR, 'an hour back'], [-400 * 24 * HOUR, 'a year back']]) {
	test(`what goes on while the clock is set ${way}`, { timeout: 30000 }, async () => {
		setClock(0);
		const db = await newDb(server);
		const copy = await newDb(server);
		const feed = openFeed(server, `/${db}/_changes?feed=continuous&heartbeat=20`);
		await feed.started;
		const job = await ask(server, 'POST', '/_replicate', {
			json: { source: `${server.authUrl}/${db}`, target: `${server.authUrl}/${copy}`, continuous: true },
		});
		assert.equal(job.status, 202, job.text);
		await put(db, { when: 'before' });

		// Half of an upload, a connection that is idle, a wait, a session: each had its beginning before.
		const upload = connect(server.port);
		upload.send(`PUT /${db}/file/a HTTP/1.1\r\nHost: x\r\nAuthorization: ${server.auth}\r\nContent-Type: text/plain\r\nContent-Length: 10\r\n\r\n01234`);
		const idle = connect(server.port);
		idle.send('GET /_up HTTP/1.1\r\nHost: x\r\n\r\n');
		await idle.until(/"ok"/);
		const login = await ask(server, 'POST', '/_session', { json: { name: 'admin', password: 'adm' }, auth: null });
		const Cookie = login.headers['set-cookie'][0].split(';')[0];
		const whoami = async (headers) => (await ask(server, 'GET', '/_session', { headers, auth: null })).json?.userCtx?.name ?? null;
		assert.equal(await whoami({ Cookie }), 'admin');
		const wait = ask(server, 'GET', `/${db}/_changes?feed=longpoll&since=now&timeout=200`);

		setClock(seconds);
		const beats = feed.blanks;
		await feed.until((f) => f.blanks > beats + 5);
		assert.equal((await wait).status, 200);
		await put(db, { when: 'after' });
		upload.send('56789');
		await upload.until(/201 Created/);
		idle.send('GET /_up HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
		assert.equal((await idle.closed).split('200 OK').length, 3, 'an idle connection was cut');
		upload.end();
		await feed.until((f) => f.lines.length === 3);
		for (let n = 0; n !== 3;) {
			n = (await ask(server, 'GET', `/${copy}/_changes?feed=longpoll&since=0&timeout=50`)).json.results.length;
		}

		// Dates are the wall clock's, and so is the end of a session; one from the future is none.
		const late = openFeed(server, `/${db}/_changes?feed=continuous&heartbeat=300`);
		await late.until((f) => f.blanks > 3);
		late.end();
		assert.ok(Math.abs(dateOf(await ask(server, 'GET', '/_up')) - seconds * 1000) < 60000, 'the date is not the clock\'s');
		assert.equal(await whoami({ Cookie }), null, 'a session of another time');
		const anew = await ask(server, 'POST', '/_session', { json: { name: 'admin', password: 'adm' }, auth: null });
		assert.equal(await whoami({ Cookie: anew.headers['set-cookie'][0].split(';')[0] }), 'admin');
		feed.end();
		await ask(server, 'POST', '/_replicate', {
			json: { source: `${server.authUrl}/${db}`, target: `${server.authUrl}/${copy}`, continuous: true, cancel: true },
		});
	});
}
