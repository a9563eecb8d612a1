// make bench: what Divan's work costs, beside what the unavoidable part of it costs.  See README.md.
//
//   node bench/run.mjs --build DIR [--quick] [--only LINE[,LINE...]] [--list]
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { execFileSync } from 'node:child_process';
import { parseArgs } from 'node:util';
import { contactText, hexId, random } from './contacts.mjs';
import { feedLines } from './feeds.mjs';
import { findLines } from './find.mjs';
import * as lib from './lib.mjs';
import { liveLines } from './live.mjs';
import { replicateLines } from './replicate.mjs';
import { viewLines } from './views.mjs';

const { values: opts } = parseArgs({
	options: { build: { type: 'string' }, quick: { type: 'boolean' }, only: { type: 'string' }, list: { type: 'boolean' } },
});
const BUILD = path.resolve(opts.build ?? 'build');
const ROOT = path.resolve(lib.HERE, '..');
process.env.DIVAND = path.join(BUILD, 'divand');
const { startDivand, certificate, tempDir } = await import('../tests/lib/divand.mjs');

const ROUNDS = opts.quick ? 2 : 5;
const GET_S = opts.quick ? 1 : 2;
const DOCS = 10000;
const DB = 'contacts';
const PUBLIC = '{"admins":{"names":[],"roles":[]},"members":{"names":[],"roles":[]}}';
const PRELOAD = 3000; /* documents in a database before writes are measured: enough for it to have its dictionary */
process.setMaxListeners(0); // each server's folder is removed at the end
const tmp = tempDir('divan-bench');
const program = (name) => path.join(BUILD, 'bench', name);
const file = (name) => path.join(tmp, name);
const note = (text) => process.stderr.write(`${text}\n`);

// ---- Servers and data ----

const tls = certificate();

async function newDb(server, name) {
	await lib.expect(201, server.url, 'PUT', `/${name}`, { auth: server.auth });
	await lib.expect(200, server.url, 'PUT', `/${name}/_security`, { auth: server.auth, body: PUBLIC });
}

/** Requests of _bulk_docs with 1,000 contacts each: ids ascending or random. */
function bulkRequests(seed, docs, ascending) {
	const rnd = random(seed);
	const list = [];
	for (let at = 0; at < docs; at += 1000) {
		const texts = [];
		for (let i = at; i < at + 1000; i++) {
			const id = ascending ? `${(1e9 + seed).toString(16)}${i.toString(16).padStart(24, '0')}` : hexId(rnd);
			texts.push(contactText(rnd, id));
		}
		list.push(Buffer.from(`{"docs":[${texts.join(',')}]}`));
	}
	return list;
}

async function sendBulk(server, db, requests) {
	for (const body of requests) {
		const res = await lib.expect(201, server.url, 'POST', `/${db}/_bulk_docs`, { body });
		if (res.text.includes('"error"')) throw new Error(`_bulk_docs: ${res.text.slice(0, 300)}`);
	}
}

/** A database with its dictionary, ready for measured writes. */
async function preloaded(server, name) {
	await newDb(server, name);
	await sendBulk(server, name, bulkRequests(77, PRELOAD, false));
	await lib.quiet(server.pid);
}

async function compact(server, db) {
	await lib.expect(202, server.url, 'POST', `/${db}/_compact`, { auth: server.auth, body: '' });
	for (;;) {
		await lib.sleep(50);
		const info = await lib.expect(200, server.url, 'GET', `/${db}`);
		if (!JSON.parse(info.text).compact_running) return;
	}
}

let main;

/** The server that the reading lines share, with 10,000 compacted contacts. */
async function mainServer() {
	if (main) return main;
	const server = await startDivand({ config: { ssl: tls } });
	const requests = bulkRequests(1, DOCS, false);
	await newDb(server, DB);
	await sendBulk(server, DB, requests);
	await lib.quiet(server.pid);
	await compact(server, DB);
	const docs = requests.flatMap((r) => JSON.parse(r).docs);
	fs.writeFileSync(file('ids'), docs.map((d) => d._id).join('\n') + '\n');
	fs.writeFileSync(file('uris'), docs.map((d) => `${server.tlsUrl}/${DB}/${d._id}`).join('\n') + '\n');
	const json = docs.reduce((n, d) => n + Buffer.byteLength(JSON.stringify(d)), 0);
	const disk = fs.statSync(path.join(server.dataDir, `${DB}.divan`)).size;
	fs.copyFileSync(path.join(server.dataDir, `${DB}.divan`), file('scan.divan'));
	main = { server, json, disk };
	return main;
}

// ---- The lines ----
// A line of ratios has divan() and ceiling(), which give {cpu, wall, n}; a line of sizes has size(), in the budget's unit.

function getLine(name, label, budget, auths) {
	const get = (pid, port, auth) => () => lib.cost(pid, () => lib.wrk(`http://127.0.0.1:${port}`, 64, GET_S, 'get.lua',
		{ BENCH_IDS: file('ids'), BENCH_PATH: `/${DB}/`, BENCH_AUTH: auth })).then((c) => ({ ...c, n: c.result }));
	return {
		name, label, budget, unit: 'request',
		async setup() {
			const { server } = await mainServer();
			this.divan = get(server.pid, server.port, auths ? server.auth : '');
			if (auths) {
				this.ceiling = get(server.pid, server.port, '');
			} else {
				this.bare = await lib.startCeiling(program('ceiling_http'), ['0']);
				this.ceiling = get(this.bare.pid, this.bare.port, '');
			}
		},
		end() { this.bare?.stop(); },
	};
}

function h2Line(name, label, budget, streams, requests) {
	const load = (pid, uris) => () => lib.cost(pid, () => lib.h2load(uris, streams, requests)).then((c) => ({ ...c, n: c.result }));
	return {
		name, label, budget, unit: 'request',
		async setup() {
			const { server } = await mainServer();
			this.bare = await lib.startCeiling(program('ceiling_http'), ['0', tls.cert_file, tls.key_file]);
			fs.writeFileSync(file('bare-uris'), fs.readFileSync(file('uris'), 'utf8')
				.replaceAll(server.tlsUrl, `https://127.0.0.1:${this.bare.port}`));
			this.divan = load(server.pid, file('uris'));
			this.ceiling = load(this.bare.pid, file('bare-uris'));
		},
		end() { this.bare.stop(); },
	};
}

/** Writes: the ceiling replays what a server under trace wrote into LMDB while it did the same work. */
function writeLine(name, label, budget, work) {
	let round = 0;
	return {
		name, label, budget, unit: 'document',
		async setup() {
			this.trace = await record(name, work);
			this.server = await startDivand();
		},
		async divan() {
			const db = `w${++round}`;
			await preloaded(this.server, db);
			const lmdb = path.join(this.server.dataDir, `${db}.divan`);
			const before = lib.lmdbTransactions(lmdb);
			const c = await lib.cost(this.server.pid, () => work(this.server, db, round));
			const group = c.result / (lib.lmdbTransactions(lmdb) - before);
			await lib.expect(200, this.server.url, 'DELETE', `/${db}`, { auth: this.server.auth });
			return { ...c, n: c.result, group };
		},
		async ceiling() {
			const target = file(`${name}.mdb`);
			const out = await lib.run(program('ceiling_write'), [this.trace.file, String(this.trace.from), target]);
			fs.rmSync(target);
			fs.rmSync(`${target}-lock`);
			const r = JSON.parse(out);
			return { cpu: r.cpu_us, wall: r.wall_us, n: this.trace.n, group: this.trace.n / r.commits };
		},
		async end() { await this.server.stop(); },
	};
}

async function record(name, work) {
	const dir = file(`${name}.traces`);
	fs.mkdirSync(dir);
	/* What traces it writes elsewhere. */
	const server = await startDivand({ config: { divan: { confine: 'off' } }, env: { LD_PRELOAD: program('lmdb_trace.so'), LMDB_TRACE: dir } });
	await preloaded(server, 'traced');
	const largest = fs.readdirSync(dir).map((f) => path.join(dir, f)).sort((a, b) => fs.statSync(b).size - fs.statSync(a).size)[0];
	const from = fs.statSync(largest).size;
	const n = await work(server, 'traced', 0);
	await server.stop();
	return { file: largest, from, n };
}

const bulk = (ascending) => async (server, db, round) => {
	const docs = opts.quick ? 10000 : 20000;
	await sendBulk(server, db, bulkOf(docs, ascending));
	return docs;
};
const made = new Map();
function bulkOf(docs, ascending) {
	if (!made.has(ascending)) made.set(ascending, bulkRequests(5, docs, ascending));
	return made.get(ascending);
}

const put = async (server, db, round) => {
	if (!fs.existsSync(file('bodies'))) {
		const rnd = random(9);
		fs.writeFileSync(file('bodies'), Array.from({ length: 5000 }, () => contactText(rnd)).join('\n') + '\n');
	}
	return lib.wrk(server.url, 128, opts.quick ? 2 : 3, 'put.lua',
		{ BENCH_BODIES: file('bodies'), BENCH_PATH: `/${db}/`, BENCH_SALT: String(round + 1) });
};

function scanLine(name, label, budget, tree, target) {
	const TIMES = opts.quick ? 10 : 30;
	return {
		name, label, budget, unit: 'row',
		async setup() { this.server = (await mainServer()).server; },
		async divan() {
			const c = await lib.cost(this.server.pid, async () => {
				let bytes = 0;
				for (let i = 0; i < TIMES; i++)
					bytes += (await lib.expect(200, this.server.url, 'GET', target, { discard: true })).length;
				return bytes;
			});
			return { ...c, n: TIMES * DOCS, bytes: c.result };
		},
		async ceiling() {
			const r = JSON.parse(await lib.run(program('ceiling_scan'), [file('scan.divan'), tree, String(TIMES)]));
			return { cpu: r.cpu_us, wall: r.wall_us, n: r.rows, bytes: r.bytes };
		},
		check(d, c) {
			if (c.n !== d.n || Math.abs(c.bytes / d.bytes - 1) > 0.01)
				throw new Error(`${name}: ${d.n} rows with ${d.bytes} bytes, the ceiling ${c.n} with ${c.bytes}`);
		},
	};
}

/** Updates of documents at a generation, against those at generation 10: what an update costs must not grow with a history. */
function updateLine(generation) {
	const UPDATES = 20;
	const docs = generation > 1000 ? 100 : 200;
	let round = 0;
	const updates = (from) => async () => {
		const rnd = random(++round);
		const db = `u${round}`;
		await preloaded(server, db);
		await lib.expect(200, server.url, 'PUT', `/${db}/_revs_limit`, { auth: server.auth, body: String(Math.max(generation, 1000)) });
		let list = Array.from({ length: docs }, (_, i) => ({ _id: `doc${i}`, _revisions: { start: from, ids: Array.from({ length: from }, () => hexId(rnd)) } }));
		for (const d of list) { // with a whole history, as a replicator would bring it
			const doc = { ...JSON.parse(contactText(rnd, d._id)), ...d };
			await lib.expect(201, server.url, 'POST', `/${db}/_bulk_docs`, { body: JSON.stringify({ new_edits: false, docs: [doc] }) });
		}
		let revs = list.map((d) => `${from}-${d._revisions.ids[0]}`);
		await lib.quiet(server.pid);
		const c = await lib.cost(server.pid, async () => {
			for (let n = 0; n < UPDATES; n++) {
				const body = `{"docs":[${revs.map((rev, i) => contactText(rnd, `doc${i}`).replace('{', `{"_rev":"${rev}",`)).join(',')}]}`;
				const res = await lib.expect(201, server.url, 'POST', `/${db}/_bulk_docs`, { body });
				revs = JSON.parse(res.text).map((r) => r.rev);
			}
		});
		if (!revs.every((rev) => rev?.startsWith(`${from + UPDATES}-`))) throw new Error('an update failed');
		await lib.expect(200, server.url, 'DELETE', `/${db}`, { auth: server.auth });
		return { ...c, n: docs * UPDATES };
	};
	let server;
	return {
		name: `update-${generation}`, label: `Update at generation ${generation.toLocaleString('en')}, against generation 10`, budget: 0.67, unit: 'document',
		async setup() {
			server = await startDivand();
			this.divan = updates(generation);
			this.ceiling = updates(10);
		},
		async end() { await server.stop(); },
	};
}

async function idleMemory() {
	const server = await startDivand();
	await lib.expect(200, server.url, 'GET', '/_all_dbs', { auth: server.auth });
	const rss = lib.status(server.pid, 'VmRSS') / 1024;
	await server.stop();
	return rss;
}

async function idleWakeups() {
	const server = await startDivand();
	await lib.expect(200, server.url, 'GET', '/_all_dbs', { auth: server.auth });
	await lib.sleep(1000);
	const before = lib.status(server.pid, 'voluntary_ctxt_switches', true);
	await lib.sleep(5000);
	const n = lib.status(server.pid, 'voluntary_ctxt_switches', true) - before;
	await server.stop();
	return n;
}

async function openDatabase() {
	const server = await startDivand();
	const [body] = bulkRequests(3, 1000, false);
	for (let i = 0; i < 101; i++) {
		await newDb(server, `db${i}`);
		await lib.expect(201, server.url, 'POST', `/db${i}/_bulk_docs`, { body: `{"docs":${JSON.stringify(JSON.parse(body).docs.slice(0, 5))}}` });
	}
	await server.restart();
	// The first makes what all of them share.
	const touch = (i) => lib.expect(200, server.url, 'GET', `/db${i}/${JSON.parse(body).docs[0]._id}`);
	await touch(100);
	const before = lib.status(server.pid, 'RssAnon');
	for (let i = 0; i < 100; i++) await touch(i);
	const kib = (lib.status(server.pid, 'RssAnon') - before) / 100;
	await server.stop();
	return kib;
}

const LINES = [
	getLine('get', 'GET, HTTP/1.1, 64 connections', 0.75, false),
	getLine('get-basic', 'GET with Basic credentials, against GET without', 0.87, true),
	h2Line('get-h2', 'GET, HTTP/2 and TLS, 1 stream a connection', 0.75, 1, opts.quick ? 30000 : 60000),
	h2Line('get-h2x10', 'GET, HTTP/2 and TLS, 10 streams', 0.4, 10, opts.quick ? 60000 : 150000),
	scanLine('all_docs', '`_all_docs?include_docs=true`', 0.5, 'docs', `/${DB}/_all_docs?include_docs=true`),
	scanLine('changes', '`_changes`', 0.5, 'changes', `/${DB}/_changes`),
	writeLine('bulk', '`_bulk_docs`, 1,000 new, ascending ids', 0.5, bulk(true)),
	writeLine('bulk-random', '`_bulk_docs`, 1,000 new, random ids', 0.5, bulk(false)),
	writeLine('put', 'PUT of new documents, 128 connections', 0.5, put),
	updateLine(1000),
	updateLine(10000),
	{ name: 'idle', label: 'Idle server after one authenticated GET', budget: 12, unit: 'MiB resident', size: idleMemory },
	{ name: 'wakeups', label: 'Idle server, wake-ups in 5 s', budget: 0, unit: 'switches', size: idleWakeups },
	{ name: 'open', label: 'An idle open database', budget: 96, unit: 'KiB', size: openDatabase },
	{ name: 'disk', label: 'Disk for a 500-byte contact, compacted', budget: 0.5, unit: 'of its JSON',
		async size() { const m = await mainServer(); return m.disk / m.json; } },
	...feedLines({ startDivand, newDb, ceiling: program('ceiling_http'), load: program('feeds'), quick: opts.quick }),
	...viewLines({ startDivand, newDb, compact, program, file, quick: opts.quick }),
	...liveLines({ startDivand, newDb, quick: opts.quick }),
	...findLines({ startDivand, newDb, compact, program, file, quick: opts.quick }),
	...replicateLines({ startDivand, newDb, quick: opts.quick }),
];

// ---- Running and telling ----

async function ratioLine(line) {
	const d = [], c = [];
	await line.setup();
	try {
		for (let i = 0; i < ROUNDS; i++) {
			c.push(await line.ceiling());
			d.push(await line.divan());
			line.check?.(d[i], c[i]);
		}
	} finally {
		await line.end?.();
	}
	const perOp = (list) => lib.median(list.map((r) => r.cpu / r.n));
	const rate = (list) => lib.median(list.map((r) => r.n / r.wall * 1e6));
	const ratio = lib.median(d.map((r, i) => c[i].cpu / c[i].n / (r.cpu / r.n)));
	const groups = d[0].group ? ` (groups of ${lib.median(d.map((r) => r.group)).toFixed(0)}; ceiling ${lib.median(c.map((r) => r.group)).toFixed(0)})` : '';
	return {
		label: line.label + groups, ours: `${perOp(d).toFixed(2)} µs`, theirs: `${perOp(c).toFixed(2)} µs`, value: ratio.toFixed(2),
		budget: line.budget === null ? '' : `≥ ${line.budget}`, met: line.budget === null ? '' : ratio >= line.budget ? 'yes' : '**no**',
		wall: `${Math.round(rate(d)).toLocaleString('en')}`, wallCeiling: `${Math.round(rate(c)).toLocaleString('en')}`,
	};
}

/** size() gives a number that the budget bounds, or {ours, theirs, note}: the budget then bounds ours / theirs. */
async function sizeLine(line) {
	const got = await line.size();
	const { ours, theirs, note: wall = '' } = typeof got === 'number' ? { ours: got } : got;
	const text = (n) => (n === undefined ? '' : `${Number.isInteger(n) ? n : n.toFixed(2)} ${line.unit}`);
	const value = theirs === undefined ? ours : ours / theirs;
	return { label: line.label, ours: text(ours), theirs: text(theirs), value: theirs === undefined ? '' : value.toFixed(2),
		budget: line.budget === null ? '' : `≤ ${line.budget}`, met: line.budget === null ? '' : value <= line.budget ? 'yes' : '**no**', wall, wallCeiling: '' };
}

function table(rows) {
	const head = ['line', 'Divan', 'ceiling', 'ratio', 'budget', 'met', 'Divan per s', 'ceiling per s'];
	const cells = rows.map((r) => [r.label, r.ours, r.theirs, r.value, r.budget, r.met, r.wall, r.wallCeiling]);
	const width = head.map((h, i) => Math.max(h.length, ...cells.map((c) => c[i].length)));
	const line = (c) => `| ${c.map((t, i) => t.padEnd(width[i])).join(' | ')} |`;
	return [line(head), `|${width.map((w) => '-'.repeat(w + 2)).join('|')}|`, ...cells.map(line)].join('\n');
}

function machine() {
	const git = (...args) => execFileSync('git', ['-C', ROOT, ...args], { encoding: 'utf8' }).trim();
	const changed = git('status', '--porcelain', '--untracked-files=no', '--', 'base', 'store', 'db', 'query', 'http', 'httpapi', 'script', 'views', 'replicator') ? ' with changes' : '';
	return `${new Date().toISOString().slice(0, 10)}, commit ${git('rev-parse', '--short', 'HEAD')}${changed}; ${os.cpus()[0].model.trim()}, ` +
		`${os.cpus().length} cores, Linux ${os.release()}, load ${os.loadavg()[0].toFixed(1)}; median of ${ROUNDS} interleaved rounds.`;
}

/** Put the table between the marks of RESULTS.md; what is written around them stays. */
function save(text) {
	const name = path.join(lib.HERE, 'RESULTS.md');
	const [from, to] = ['<!-- table -->', '<!-- end of table -->'];
	const old = fs.existsSync(name) ? fs.readFileSync(name, 'utf8') : `# Results of make bench\n\n${from}\n${to}\n`;
	const at = old.indexOf(from), end = old.indexOf(to);
	fs.writeFileSync(name, `${old.slice(0, at + from.length)}\n${text}\n${old.slice(end)}`);
}

if (opts.list) {
	for (const l of LINES) console.log(`${l.name.padEnd(18)} ${l.label}`);
	process.exit(0);
}
execFileSync(process.env.CC ?? 'cc', ['-std=c11', '-D_GNU_SOURCE', '-O2', '-Wall', '-Wextra', '-Wpedantic', '-shared', '-fPIC',
	'-o', program('lmdb_trace.so'), path.join(lib.HERE, 'trace/lmdb_trace.c')], { stdio: 'inherit' });
execFileSync(process.env.CC ?? 'cc', ['-std=c11', '-D_GNU_SOURCE', '-O2', '-Wall', '-Wextra', '-Wpedantic',
	'-o', program('feeds'), path.join(lib.HERE, 'load/feeds.c')], { stdio: 'inherit' });
const only = opts.only?.split(',');
for (const name of only ?? []) if (!LINES.some((l) => l.name === name)) throw new Error(`no line is called ${name}; --list tells`);
const rows = [];
for (const line of LINES) {
	if (only && !only.includes(line.name)) continue;
	note(`${line.name}: ${line.label}`);
	rows.push(line.size ? await sizeLine(line) : await ratioLine(line));
	note(`    ${Object.values(rows.at(-1)).slice(1).filter(Boolean).join('  ')}`);
}
await main?.server.stop();
const text = `${machine()}\n\n${table(rows)}`;
console.log(`\n${text}\n`);
if (!only && !opts.quick) save(text);
process.exit(0);
