#!/usr/bin/env node
// A mixed load on a real divand: documents, attachments, _bulk_docs, feeds, a JavaScript view, a declared index, _find, replication, compaction,
// databases made and dropped.  Samples stand in a table; in the end all that was used must have been given back.
//
//   SOAK_SECONDS=8   how long the load lasts; SOAK_SEED=n repeats the choices (not their order in time)
//
// 1. The figures to compare with are taken after a short load of the same kind: caches, pools and malloc's arenas are then there.
// 2. In each round all is made anew and dropped again, so what stays of one round grows with their number.  Names come again: of so many that are
//    gone _db_updates keeps a row.
// 3. What malloc has given out must not grow; what the process takes may, by what malloc holds back in its arenas.
//    Where a sanitizer keeps what was freed, neither is looked at.
// 4. How fast it goes is told, and judged by nobody.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { preloaded, startDivand, tellsMemory, tempDir } from '../lib/divand.mjs';
import { ticks } from '../lib/process.mjs';
import { ask, openFeed } from '../api/client.mjs';

const SECONDS = Number(process.env.SOAK_SECONDS || 8);
const SEED = Number(process.env.SOAK_SEED || 1);
const SAMPLES = 15;
const SETTLE_MS = 40000; // connections to others that were used are kept for 30 s
const NAMES = 16; // of databases; more than there are workers

/** What may be left over malloc's own: a round leaves nothing, and what each leaves is there as often as there were rounds. */
const RSS_BOUND_KIB = 8 << 10;
/** What malloc has given out may be more by this: tables that have grown, and the like. */
const USED_BOUND_KIB = 512;
const IDLE_TICKS = 3; // of 10 ms, in two seconds
const IDLE_WAKES = 40;

let state = SEED >>> 0 || 1;
const random = (n) => {
	state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
	return Math.floor(state / 2 ** 32 * n);
};
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/* ---- What divand takes ---- */

const read = (name) => {
	try {
		return fs.readFileSync(name, 'utf8');
	} catch {
		return ''; // a thread or file that has just gone
	}
};
const kib = (text, name) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(text)?.[1] ?? 0);

function folderMiB(dir) {
	let bytes = 0;
	for (const name of fs.readdirSync(dir, { recursive: true })) {
		bytes += (fs.statSync(path.join(dir, name), { throwIfNoEntry: false })?.blocks ?? 0) * 512;
	}
	return bytes / (1 << 20);
}

/** Descriptors by what they are; those of divan-js are the pool's, which lets idle ones go by itself. */
function descriptors(pid) {
	const all = { files: 0, sockets: 0, others: 0 };
	for (const fd of fs.readdirSync(`/proc/${pid}/fd`)) {
		let to = '';
		try {
			to = fs.readlinkSync(`/proc/${pid}/fd/${fd}`);
		} catch {}
		all[to.startsWith('socket:') ? 'sockets' : to.startsWith('/') ? 'files' : 'others']++;
	}
	return all;
}

function figures(pid) {
	const status = read(`/proc/${pid}/status`);
	let wakes = 0;
	for (const task of fs.readdirSync(`/proc/${pid}/task`)) wakes += kib(read(`/proc/${pid}/task/${task}/status`), 'voluntary_ctxt_switches');
	return { rss: kib(status, 'RssAnon'), threads: kib(status, 'Threads'), ticks: ticks({ pid }), wakes, ...descriptors(pid) };
}

const measured = tellsMemory();
const shim = preloaded('malloc');
if (measured && !fs.existsSync(shim.LD_PRELOAD)) throw new Error(`${shim.LD_PRELOAD} is not built: make unit`);
const fifo = path.join(tempDir('divan-soak'), 'malloc');
const fifos = ['ask', 'told'].map((end) => {
	if (!measured) return -1;
	execFileSync('mkfifo', [`${fifo}.${end}`]);
	return fs.openSync(`${fifo}.${end}`, 'r+');
});

/** KiB that malloc has given out, and that it holds back; with ${trim}, after it gave back to the system what it can. */
async function mallocFigures(trim = false) {
	if (!measured) return { used: 0, free: 0 };
	fs.writeSync(fifos[0], trim ? 'T' : '.');
	const line = Buffer.alloc(128);
	const n = await new Promise((resolve, reject) => fs.read(fifos[1], line, 0, 128, null, (e, got) => (e ? reject(e) : resolve(got))));
	const [used, free] = line.toString('latin1', 0, n).split(' ').map((v) => Math.round(Number(v) / 1024));
	return { used, free };
}

/** Processes for users' functions. */
const processes = async (server) => (await ask(server, 'GET', '/_node/_local/_stats')).json.divan.query_server.processes.value;

/* ---- The load ---- */

const counts = {};
let times = [];
let agent;

async function call(server, method, url, options = {}, expected = [200, 201, 202]) {
	const began = performance.now();
	const answer = await ask(server, method, url, { agent, ...options });
	times.push(performance.now() - began);
	const what = `${method} ${answer.status}`;
	counts[what] = (counts[what] ?? 0) + 1;
	if (!expected.includes(answer.status)) throw new Error(`${method} ${url}: ${answer.status} ${answer.text.slice(0, 200)}`);
	return answer;
}

const bytes = (n) => Buffer.from(Array.from({ length: n >> 2 }, () => random(2 ** 32).toString(36)).join('').slice(0, n));

async function useDocuments(server, db, prefix = 'd') {
	const docs = Array.from({ length: 40 + random(100) }, (_, i) => ({ _id: `${prefix}${i}`, n: i, kind: 'abc'[random(3)], text: bytes(random(600)).toString() }));
	const rows = (await call(server, 'POST', `/${db}/_bulk_docs`, { json: { docs } })).json;
	for (let i = 0; i < 10; i++) {
		const at = random(rows.length);
		const rev = rows[at].rev;
		const path = `/${db}/${rows[at].id}`;
		const [method, url, options] = [
			['GET', path, {}],
			['PUT', path, { json: { ...docs[at], _rev: rev, again: i } }],
			['DELETE', `${path}?rev=${rev}`, {}],
			['PUT', `${path}/file?rev=${rev}`, { body: bytes(20 << random(13)), type: 'image/png' }],
		][random(4)];
		await call(server, method, url, options, [200, 201, 404, 409]);
	}
	await call(server, 'GET', `/${db}/_all_docs?include_docs=true`);
	await call(server, 'POST', `/${db}/_purge`, { json: { [rows[0].id]: [rows[0].rev] } });
}

async function useIndexes(server, db) {
	await call(server, 'PUT', `/${db}/_design/v`, { json: { views: { by: { map: 'function (doc) { emit(doc.kind, doc.n); }', reduce: '_sum' } } } });
	await call(server, 'GET', `/${db}/_design/v/_view/by?group=true`);
	await call(server, 'GET', `/${db}/_design/v/_view/by?reduce=false&include_docs=true&limit=20`);
	await call(server, 'POST', `/${db}/_index`, { json: { index: { fields: ['kind', 'n'] } } });
	await call(server, 'POST', `/${db}/_find`, { json: { selector: { kind: 'a', n: { $gt: 5 } }, limit: 10 } });
	await call(server, 'POST', `/${db}/_find`, { json: { selector: { text: { $regex: 'z.z' } }, limit: 10 } });
}

/** One life of two databases. */
async function round(server, serial) {
	const db = `soak-${serial % NAMES}`;
	const copy = `${db}-copy`;
	await call(server, 'PUT', `/${db}`);
	await call(server, 'PUT', `/${copy}`);
	const feed = openFeed(server, `/${db}/_changes?feed=continuous&include_docs=true&heartbeat=1000`);
	await feed.started;
	const long = call(server, 'GET', `/${db}/_changes?feed=longpoll&since=now`);
	const left = openFeed(server, `/${db}/_changes?feed=continuous&since=now`); // whose client goes away without a word
	await left.started;
	await useDocuments(server, db);
	left.end();
	await long;
	await useIndexes(server, db);
	await call(server, 'POST', '/_replicate', { json: { source: db, target: `${server.authUrl}/${copy}` } });
	const job = { source: `${server.authUrl}/${db}`, target: copy, continuous: true };
	await call(server, 'POST', '/_replicate', { json: job });
	await call(server, 'POST', `/${db}`, { json: { late: true } });
	await call(server, 'POST', `/${db}/_compact`, { type: 'application/json', body: '' });
	await useDocuments(server, copy, 'more');
	await call(server, 'POST', '/_replicate', { json: { ...job, cancel: true } }, [200, 404]);
	await feed.until((f) => f.lines.length > 0);
	if (random(2)) feed.end();
	await call(server, 'DELETE', `/${db}`);
	await call(server, 'DELETE', `/${copy}`);
	await feed.ended;
}

let serial = 0;
async function load(server, seconds, workers = 3) {
	const until = performance.now() + seconds * 1000;
	agent = new http.Agent({ keepAlive: true });
	try {
		await Promise.all(Array.from({ length: workers }, async () => {
			do await round(server, ++serial);
			while (performance.now() < until);
		}));
	} finally {
		agent.destroy();
	}
}

/** Load has ended: wait until what it used has gone; or give up. */
async function settle(server, base) {
	const until = performance.now() + SETTLE_MS;
	let now, busy;
	do {
		await sleep(200);
		busy = await processes(server);
		busy += (await ask(server, 'GET', '/_active_tasks')).json.length;
		now = figures(server.pid);
	} while (performance.now() < until && (busy > 0 || (base && (now.files > base.files || now.sockets > base.sockets || now.others > base.others))));
	return now;
}

/* ---- The table ---- */

const percentile = (sorted, p) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p))] ?? 0;
const row = (cells) => console.log(cells.map((c) => String(c).padStart(9)).join(''));

async function sample(server, began, samples) {
	const f = { ...figures(server.pid), ...await mallocFigures() };
	const sorted = times.sort((a, b) => a - b);
	times = [];
	samples.push(f);
	row([((performance.now() - began) / 1000).toFixed(0), (f.rss / 1024).toFixed(1), (f.used / 1024).toFixed(2), f.files, f.sockets, f.others, f.threads, await processes(server), folderMiB(server.dataDir).toFixed(1),
		sorted.length, ...[0.5, 0.9, 0.99, 1].map((p) => percentile(sorted, p).toFixed(1))]);
}

let passed = 0;
let failed = 0;
function check(ok, what) {
	if (ok) passed++;
	else failed++;
	console.log(`  ${ok ? 'ok  ' : 'FAIL'} ${what}`);
}

/** Of a run of some length: the last third's mean over the first's, MiB. */
const growth = (samples) => {
	const third = Math.floor(samples.length / 3);
	const mean = (a) => a.reduce((sum, s) => sum + s.rss, 0) / a.length / 1024;
	return mean(samples.slice(-third)) - mean(samples.slice(0, third));
};

const server = await startDivand({
	// Without what each thread keeps of what it frees, which malloc counts as given out.
	env: measured ? { ...shim, MALLOC_FIGURES: fifo, GLIBC_TUNABLES: 'glibc.malloc.tcache_count=0' } : {},
	config: { query_server_config: { os_process_idle_limit: 1 }, chttpd: { server_header_versions: 'false' }, ...JSON.parse(process.env.SOAK_CONFIG ?? '{}') },
});
try {
	await load(server, Math.max(3, SECONDS / 10));
	const base = { ...await settle(server), ...await mallocFigures() };
	times = [];
	const first = serial;
	const began = performance.now();
	const samples = [];
	row(['s', 'RssAnon M', 'in use M', 'files', 'sockets', 'others', 'threads', 'divan-js', 'disk MiB', 'requests', 'ms p50', 'p90', 'p99', 'max']);
	const timer = setInterval(() => sample(server, began, samples).catch(() => {}), SECONDS * 1000 / SAMPLES);
	await load(server, SECONDS);
	clearInterval(timer);
	const rounds = serial - first;
	const end = { ...await settle(server, base), ...await mallocFigures() };
	console.log(`${rounds} rounds, seed ${SEED}; ${Object.entries(counts).map(([k, n]) => `${k}: ${n}`).join(', ')}`);
	check(rounds > 3, `${rounds} rounds`);
	for (const kind of ['files', 'sockets', 'others']) check(end[kind] <= base[kind], `descriptors of ${kind}: ${end[kind]}, before ${base[kind]}`);
	check(end.threads <= base.threads, `threads: ${end.threads}, before ${base.threads}`);
	if (measured) check(end.rss <= base.rss + RSS_BOUND_KIB, `RssAnon: ${end.rss >> 10} MiB, before ${base.rss >> 10}; at most ${RSS_BOUND_KIB >> 10} more`);
	if (measured) check(end.used <= base.used + USED_BOUND_KIB, `malloc: ${end.used} KiB in use, before ${base.used}, at most ${USED_BOUND_KIB} more; free ${end.free} KiB, before ${base.free}`);
	if (measured && samples.length > 5) check(growth(samples) < RSS_BOUND_KIB >> 10, `RssAnon from the first third to the last: ${growth(samples).toFixed(1)} MiB`);
	check(folderMiB(server.dataDir) < 8, `files: ${folderMiB(server.dataDir).toFixed(1)} MiB`);
	const tasks = (await ask(server, 'GET', '/_active_tasks')).json;
	check(tasks.length === 0, `tasks: ${tasks.length} ${tasks.map((t) => JSON.stringify(t))}`);
	check(!/held too long/.test(server.stderr()), 'no snapshot was held too long');
	const before = figures(server.pid);
	await sleep(2000);
	const after = figures(server.pid);
	check(after.ticks - before.ticks <= IDLE_TICKS, `idle: ${(after.ticks - before.ticks) * 10} ms of CPU in 2 s`);
	check(after.wakes - before.wakes <= IDLE_WAKES, `idle: ${after.wakes - before.wakes} times awake in 2 s`);
	const least = await mallocFigures(true);
	if (measured) console.log(`given back all that can be: RssAnon ${(figures(server.pid).rss / 1024).toFixed(1)} MiB; ${least.used} KiB in use, ${least.free} KiB free`);
	await server.stop();
	check(true, 'ends');
} catch (e) {
	check(false, e.stack);
	await server.kill();
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
