// Open _changes requests in numbers: thousands of listeners, clients that stop reading, and listeners that join and leave in
// a storm of commits.  What each one saw is complete and in order.  DIVAN_SEED repeats a run, DIVAN_LISTENERS sets how many, DIVAN_STREAMS how many
// of them come as streams of HTTP/2 connections.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import http2 from 'node:http2';
import net from 'node:net';
import { after, before, test } from 'node:test';
import { startDivand } from '../lib/divand.mjs';
import { anonKiB, descriptors } from '../lib/process.mjs';
import { until } from '../lib/until.mjs';
import { ask, newDb } from './client.mjs';

const SEED = Number(process.env.DIVAN_SEED ?? Date.now() % 1000000);
// This process and the server have a descriptor for each.
const FILES = Number(/^Max open files\s+\S+\s+(\d+)/m.exec(fs.readFileSync('/proc/self/limits', 'utf8'))?.[1] ?? Infinity);
const MANY = Math.min(Number(process.env.DIVAN_LISTENERS ?? 10000), FILES - 500);
const STREAMS = Number(process.env.DIVAN_STREAMS ?? 1000);
const STUCK_MS = 1500;
let server;
before(async () => {
	server = await startDivand({ config: { chttpd: { feed_stuck_timeout: STUCK_MS, changes_timeout: 3600000 } } });
});
after(() => server?.stop());

const put = async (db, id, doc = {}) => {
	const r = await ask(server, 'PUT', `/${db}/${id}`, { json: doc });
	assert.equal(r.status, 201, r.text);
	return r.json;
};
const bulk = async (db, docs) => {
	const r = await ask(server, 'POST', `/${db}/_bulk_docs`, { json: { docs } });
	assert.equal(r.status, 201, r.text);
	return r.json;
};

/** A feed on a bare socket, as light as ten thousand of them have to be: rows() holds what came. */
function listen(path, { onRow = () => {} } = {}) {
	const socket = net.connect(server.port, '127.0.0.1');
	const feed = { socket, rows: [], headed: false };
	let rest = '';
	const failed = new Promise((_, reject) => socket.on('error', reject));
	failed.catch(() => {});
	feed.closed = new Promise((resolve) => socket.on('close', resolve));
	feed.started = Promise.race([failed, new Promise((go) => (feed.go = go))]);
	socket.on('data', (data) => {
		const parts = (rest + data.toString('latin1')).split('\n');
		rest = parts.pop();
		for (const part of parts) {
			if (!feed.headed) {
				if (part !== '\r') continue;
				feed.headed = true;
				feed.go();
			} else if (part.startsWith('{')) {
				feed.rows.push(part);
				onRow(feed, part);
			}
		}
	});
	socket.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: ${server.auth}\r\n\r\n`);
	return feed;
}

/** ${make}(i) for i < n, some at a time. */
async function each(n, make, atOnce = 100) {
	const list = [];
	for (let i = 0; i < n; i += atOnce) list.push(...(await Promise.all(Array.from({ length: Math.min(atOnce, n - i) }, (_, k) => make(i + k)))));
	return list;
}

const anon = () => anonKiB(server);
const seqOf = (seq) => Number(/^\d+/.exec(seq)[0]);

test(`a commit reaches each of ${MANY} listeners once`, async (t) => {
	const db = await newDb(server, 'town');
	const commits = 3;
	let left = MANY * commits, all;
	const done = new Promise((resolve) => (all = resolve));
	const onRow = () => --left === 0 && all();
	const before = anon();
	const feeds = await each(MANY, async () => {
		const feed = listen(`/${db}/_changes?feed=continuous&since=now&heartbeat=3600000`, { onRow });
		await feed.started;
		return feed;
	});
	t.diagnostic(`${((anon() - before) / MANY).toFixed(2)} KiB a listener`);
	for (let i = 0; i < commits; i++) await put(db, `d${i}`);
	await done;
	const want = feeds[0].rows.join('\n');
	assert.deepEqual(feeds[0].rows.map((r) => JSON.parse(r).id), ['d0', 'd1', 'd2']);
	assert.equal(feeds.filter((f) => f.rows.join('\n') !== want).length, 0);
	for (const f of feeds) f.socket.destroy();
	await Promise.all(feeds.map((f) => f.closed));
	await put(db, 'last'); // the server lives, and what is left of them is not served
});

test('an HTTP/2 connection carries 50 feeds beside other requests', async () => {
	const db = await newDb(server, 'h2');
	const session = http2.connect(server.url);
	const open = (path) => {
		const stream = session.request({ ':path': path, authorization: server.auth });
		const feed = { stream, text: '' };
		stream.setEncoding('utf8');
		stream.on('data', (d) => {
			feed.text += d;
			feed.look?.();
		});
		feed.until = (n) => new Promise((resolve) => (feed.look = () => feed.text.split('\n').filter(Boolean).length >= n && resolve())(feed.look()));
		return new Promise((resolve, reject) => stream.on('error', reject).on('response', () => resolve(feed)));
	};
	try {
		const feeds = await each(50, () => open(`/${db}/_changes?feed=continuous&since=now&heartbeat=3600000`));
		await put(db, 'x');
		await Promise.all(feeds.map((f) => f.until(1)));
		const other = await open(`/${db}/x`);
		await other.until(1);
		assert.equal(JSON.parse(other.text)._id, 'x');
		assert.equal(feeds.every((f) => JSON.parse(f.text).id === 'x'), true);
	} finally {
		session.destroy();
	}
});

test(`${STREAMS} feeds of all kinds over HTTP/2: all are told of a commit, and with them goes what they took`, async (t) => {
	const db = await newDb(server, 'streams');
	const files = () => descriptors(server);
	const round = async (n) => {
		const began = performance.now(), before = anon();
		let headed = 0, told = 0, allHeaded, allTold;
		const heads = new Promise((go) => (allHeaded = go)), tells = new Promise((go) => (allTold = go));
		const sessions = Array.from({ length: Math.ceil(n / 90) }, () => http2.connect(server.url));
		for (const s of sessions) s.setMaxListeners(0);
		const forms = ['continuous&heartbeat=3600000', 'longpoll&heartbeat=3600000', 'eventsource'];
		for (let i = 0; i < n; i++) {
			const stream = sessions[i % sessions.length].request({ ':path': `/${db}/_changes?since=now&feed=${forms[i % 3]}`, authorization: server.auth });
			let done = false;
			stream.on('response', (h) => {
				assert.equal(h[':status'], 200);
				if (++headed === n) allHeaded();
			});
			stream.on('data', (d) => {
				if (done || !d.includes('"id":"told"')) return;
				done = true;
				if (++told === n) allTold();
			});
			stream.on('error', () => {});
		}
		await heads;
		const open = performance.now() - began, took = anon() - before;
		const put0 = performance.now();
		await put(db, 'told', (await ask(server, 'GET', `/${db}/told`)).status === 200 ? { _rev: (await ask(server, 'GET', `/${db}/told`)).json._rev } : {});
		await tells;
		const line = `${n} feeds on ${sessions.length} connections: opened in ${(open / 1000).toFixed(1)} s, ${(took / n).toFixed(2)} KiB each, all told in ${(performance.now() - put0).toFixed(0)} ms`;
		t.diagnostic(line);
		if (process.env.DIVAN_STREAMS) console.log(line);
		for (const s of sessions) s.destroy();
	};
	const idle = files();
	await round(90);
	await until(() => files() <= idle + 2, 'connections stay');
	const before = anon();
	for (let i = 0; i < 2; i++) {
		await round(STREAMS);
		await until(() => files() <= idle + 2, `descriptors stay: ${files()}, ${idle} before`);
	}
	// What they took goes back to the system a second later; pages of which a part is in use stay.
	await until(() => anon() < before + 4096 + STREAMS / 2, 'memory stays');
	const line = `idle: ${before} KiB before, ${anon()} KiB behind them`;
	t.diagnostic(line);
	if (process.env.DIVAN_STREAMS) console.log(line);
	assert.equal((await ask(server, 'GET', '/_node/_local/_stats/divan/request_memory/held')).json.value, 0);
});

/** How many databases the server has open. */
const openDbs = () => new Set(fs.readdirSync(`/proc/${server.pid}/fd`).map((fd) => {
	try {
		return fs.readlinkSync(`/proc/${server.pid}/fd/${fd}`);
	} catch {
		return '';
	}
}).filter((f) => f.endsWith('.divan'))).size;

test('feeds that wait keep no database open', async () => {
	const n = 450;
	const dbs = await each(n, () => newDb(server, 'many'), 16);
	const feeds = await each(n, async (i) => {
		const feed = listen(`/${dbs[i]}/_changes?feed=${i % 2 ? 'continuous' : 'longpoll'}&since=now&heartbeat=3600000`);
		await feed.started;
		feed.first = new Promise((go) => feed.socket.on('data', () => feed.rows.some((row) => row.includes('"id"')) && go()));
		return feed;
	});
	// 400 of those that nobody uses stay open.
	await until(() => openDbs() <= 400, `${openDbs()} databases stay open`);
	await each(n, (i) => put(dbs[i], `of-${i}`), 16);
	await Promise.all(feeds.map((f) => f.first));
	for (const [i, f] of feeds.entries()) assert.equal(JSON.parse(f.rows.find((row) => row.includes('"id"'))).id, `of-${i}`);
	await until(() => openDbs() <= 400, `${openDbs()} databases stay open`);
	for (const f of feeds) f.socket.destroy();
});

test('a client that stops reading delays nobody, costs a batch, is cut off, and goes on where it was', async () => {
	const db = await newDb(server, 'slow');
	const path = `/${db}/_changes?feed=continuous&include_docs=true&heartbeat=3600000&since=`;
	const quick = listen(`${path}0`);
	const stuck = await each(10, async () => {
		const feed = listen(`${path}0`);
		await feed.started;
		feed.socket.pause();
		return feed;
	});
	const before = anon();
	const rounds = 20, perRound = 500;
	const whole = new Promise((resolve) => quick.socket.on('data', () => quick.rows.length === rounds * perRound && resolve()));
	for (let r = 0; r < rounds; r++) await bulk(db, Array.from({ length: perRound }, (_, i) => ({ _id: `r${r}-${i}`, text: 'z'.repeat(2000) })));
	await whole;
	// The database is 20 MB; what waits for ten clients is far less than for one of them.
	assert.ok(anon() - before < 20 * 1024, `${anon() - before} KiB more than before`);
	// The server tells of nothing, but a cut connection takes no more bytes: reading then meets its end.
	const peers = () => fs.readFileSync('/proc/net/tcp', 'utf8').split('\n').map((l) => l.trim().split(/\s+/))
		.filter((l) => l[1]?.endsWith(`:${server.port.toString(16).toUpperCase().padStart(4, '0')}`) && l[3] === '01').length;
	await until(() => peers() <= 1, 'stuck clients stay');
	const first = stuck[0];
	first.socket.resume();
	await first.closed;
	const seen = first.rows.map((r) => JSON.parse(r));
	assert.ok(seen.length > 0 && seen.length < rounds * perRound, `${seen.length} rows`);
	const again = listen(`${path}${encodeURIComponent(seen.at(-1).seq)}`);
	await new Promise((resolve) => again.socket.on('data', () => seen.length + again.rows.length === rounds * perRound && resolve()));
	const ids = [...seen, ...again.rows.map((r) => JSON.parse(r))].map((r) => r.id);
	assert.deepEqual(ids, quick.rows.map((r) => JSON.parse(r).id));
	for (const f of [quick, again, ...stuck]) f.socket.destroy();
});

test('the same over HTTP/2, where a stream that is not read stands still and its connection is cut', async () => {
	const db = await newDb(server, 'slow2');
	const path = `/${db}/_changes?feed=continuous&include_docs=true&heartbeat=3600000&since=`;
	const open = async (since) => {
		const session = http2.connect(server.url);
		const stream = session.request({ ':path': `${path}${since}`, authorization: server.auth });
		const feed = { session, stream, rows: [] };
		let rest = '';
		feed.ended = new Promise((resolve) => stream.on('close', resolve));
		session.on('error', () => {});
		stream.on('error', () => {});
		stream.setEncoding('utf8');
		stream.on('data', (d) => {
			const parts = (rest + d).split('\n');
			rest = parts.pop();
			feed.rows.push(...parts.filter(Boolean).map((row) => JSON.parse(row)));
			feed.look?.();
		});
		feed.until = (n) => new Promise((resolve) => (feed.look = () => feed.rows.length >= n && resolve())());
		await new Promise((resolve) => stream.on('response', resolve));
		return feed;
	};
	// Its windows are never opened again: Node does so as the data is read.
	const stuck = await each(10, async () => {
		const feed = await open(0);
		feed.stream.pause();
		return feed;
	});
	const quick = await open(0);
	const before = anon();
	const rounds = 20, perRound = 500;
	for (let r = 0; r < rounds; r++) await bulk(db, Array.from({ length: perRound }, (_, i) => ({ _id: `r${r}-${i}`, text: 'z'.repeat(2000) })));
	await quick.until(rounds * perRound);
	assert.ok(anon() - before < 20 * 1024, `${anon() - before} KiB more than before`);
	await Promise.all(stuck.map((f) => new Promise((resolve) => f.session.closed || f.session.destroyed ? resolve() : f.session.on('close', resolve))));
	const first = stuck[0];
	assert.ok(first.rows.length < rounds * perRound, `${first.rows.length} rows`);
	const again = await open(first.rows.length > 0 ? encodeURIComponent(first.rows.at(-1).seq) : 0);
	await again.until(rounds * perRound - first.rows.length);
	assert.deepEqual([...first.rows, ...again.rows].map((r) => r.id), quick.rows.map((r) => r.id));
	for (const f of [quick, again, ...stuck]) f.session.destroy();
});

/** Small numbers from a seed. */
function random(seed) {
	let s = seed >>> 0;
	return (n) => {
		s = (Math.imul(s, 1664525) + 1013904223) >>> 0;
		return Math.floor((s / 2 ** 32) * n);
	};
}

test(`a storm of commits with listeners joining and leaving (seed ${SEED})`, async () => {
	const rnd = random(SEED);
	const db = await newDb(server, 'storm');
	const history = new Map(); // id -> its last row
	const revs = new Map();
	const forms = ['', '&style=all_docs', '&include_docs=true', '&seq_interval=1'];
	const records = [];
	const live = [];
	const leave = (f) => {
		f.left = true;
		f.socket.destroy();
	};
	const join = async (since, from) => {
		const f = listen(`/${db}/_changes?feed=continuous&heartbeat=${1 + rnd(2000)}&since=${since}${forms[rnd(forms.length)]}`);
		f.from = from;
		records.push(f);
		await f.started;
		live.push(f); // only now may it be made to leave
	};
	let updates = 0, ended = 0;
	const write = async (mine) => {
		for (let k = 0; k < 60; k++) {
			const ids = new Set(Array.from({ length: 1 + mine(8) }, () => `doc${mine(40)}`));
			const docs = [...ids].map((_id) => ({ _id, n: ++updates, ...(revs.has(_id) ? { _rev: revs.get(_id) } : {}), ...(mine(9) === 0 && revs.has(_id) ? { _deleted: true } : {}) }));
			for (const row of await bulk(db, docs)) if (row.ok) revs.set(row.id, row.rev);
		}
		ended++;
	};
	const change = async () => {
		while (ended < 3) {
			const f = live[rnd(live.length)];
			const how = rnd(4);
			if (f && how === 0) leave(live.splice(live.indexOf(f), 1)[0]);
			else if (how === 1 && live.length > 4) {
				// Gone, and back with the last sequence that it saw.
				leave(live.splice(live.indexOf(f), 1)[0]);
				const last = f.rows.length > 0 ? JSON.parse(f.rows.at(-1)).seq : f.from;
				await join(encodeURIComponent(last), last);
			} else if (live.length < 200) {
				const info = (await ask(server, 'GET', `/${db}`)).json.update_seq;
				await (rnd(2) ? join(0, '0-') : join(encodeURIComponent(info), info));
			}
		}
	};
	await Promise.all([write(random(SEED + 1)), write(random(SEED + 2)), write(random(SEED + 3)), change(), change()]);
	const end = await put(db, 'the-end');
	await Promise.all(live.map((f) => new Promise((resolve) => {
		const look = () => f.rows.at(-1)?.includes('"the-end"') && resolve();
		f.socket.on('data', look);
		look();
	})));
	const final = (await ask(server, 'GET', `/${db}/_changes`)).json.results;
	assert.equal(final.at(-1).changes[0].rev, end.rev);
	for (const row of final) history.set(row.id, row);
	for (const [i, f] of records.entries()) {
		let before = seqOf(f.from);
		const rows = f.rows.map((r) => JSON.parse(r));
		for (const row of rows) {
			assert.ok(seqOf(row.seq) > before, `seed ${SEED}, listener ${i}: ${row.seq} behind ${before}`);
			before = seqOf(row.seq);
		}
		if (f.left) continue;
		// Each document's latest change came exactly once, in order; what was superseded before it was read may be missing.
		const latest = rows.filter((row) => history.get(row.id).seq === row.seq).map((row) => `${row.id} ${row.changes[0].rev}`);
		const want = final.filter((row) => seqOf(row.seq) > seqOf(f.from)).map((row) => `${row.id} ${row.changes[0].rev}`);
		assert.deepEqual(latest, want, `seed ${SEED}, listener ${i} from ${f.from}`);
	}
	assert.ok(records.length > 20, `${records.length} listeners`);
	for (const f of live) leave(f);
});
