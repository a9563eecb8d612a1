// `divan replicate`: a divand is asked for a replication, watched while it runs, and told to end.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { DIVAN, startDivand, tempDir } from '../lib/divand.mjs';
import { until } from '../lib/until.mjs';
import { ask, newDb } from './client.mjs';

const work = tempDir('divan-replicate');
let server;
before(async () => (server = await startDivand()));
const left = []; // how to end what a test leaves that fails
after(() => {
	for (const end of left) end();
	return server.stop();
});

/** Run `divan replicate` to its end: {status, out, err}.  `begun` is given the child. */
function replicate(args, { env = { DIVAN_ADMIN: 'admin:adm' }, command = [DIVAN], begun } = {}) {
	const clean = { ...process.env, HOME: work, DIVAN_ADMIN: '', COUCHDB_USER: '', COUCHDB_PASSWORD: '', ...env };
	const child = spawn(command[0], [...command.slice(1), 'replicate', '--url', server.url, ...args], { env: clean, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
	let out = '';
	let err = '';
	child.stdout.on('data', (d) => (out += d));
	child.stderr.on('data', (d) => (err += d));
	left.push(() => child.kill('SIGKILL'));
	begun?.(child);
	return new Promise((resolve, reject) => {
		child.on('error', reject);
		child.on('close', (status) => resolve({ status, out, err }));
	});
}

/** It is done, and its --json tells so. */
async function done(args, options) {
	const { status, out, err } = await replicate(['--json', ...args], options);
	assert.equal(status, 0, err + out);
	assert.equal(err, '');
	return JSON.parse(out);
}

async function fails(args, words, options) {
	const { status, out, err } = await replicate(args, options);
	assert.equal(status, 1, out + err);
	assert.match(err, words);
	return out;
}

const docs = (n, more = {}) => Array.from({ length: n }, (_, i) => ({ _id: `doc${String(i).padStart(4, '0')}`, i, ...more }));
async function filled(n, label = 'source') {
	const db = await newDb(server, label);
	const answer = await ask(server, 'POST', `/${db}/_bulk_docs`, { json: { docs: docs(n) } });
	assert.equal(answer.status, 201);
	return db;
}
let serial = 0;
const target = () => `target-${++serial}`;
const ids = async (db) => (await ask(server, 'GET', `/${db}/_all_docs`)).json.rows.map((row) => row.id);
const jobs = async () => (await ask(server, 'GET', '/_scheduler/jobs')).json.jobs;
const withPassword = (db) => `http://admin:adm@127.0.0.1:${server.port}/${db}`;

/** The server as seen through somebody who keeps requests that ${holds} from going on until let() is called; drop(): those that wait never do. */
async function slowServer(holds) {
	const p = { held: 0, waiting: [] };
	p.let = () => {
		holds = () => false;
		for (const { go } of p.waiting.splice(0)) go();
	};
	p.drop = () => {
		for (const { res } of p.waiting.splice(0)) res.destroy();
		p.let();
	};
	const listener = http.createServer(async (req, res) => {
		const parts = [];
		req.on('data', (d) => parts.push(d));
		if (!(await new Promise((resolve) => req.on('end', () => resolve(true)).on('error', () => resolve(false))))) return;
		const body = Buffer.concat(parts);
		const pass = () => {
			const up = http.request({ host: '127.0.0.1', port: server.port, method: req.method, path: req.url, headers: req.headers }, (answer) => {
				res.writeHead(answer.statusCode, answer.headers);
				answer.pipe(res);
			});
			up.on('error', () => res.destroy());
			up.end(body);
		};
		if (!holds(req, body)) return pass();
		p.held++;
		p.waiting.push({ go: pass, res });
	});
	await new Promise((resolve) => listener.listen(0, '127.0.0.1', resolve));
	p.url = (db) => `http://admin:adm@127.0.0.1:${listener.address().port}/${db}`;
	p.stop = () => {
		listener.closeAllConnections();
		listener.close();
	};
	left.push(p.stop);
	return p;
}

test('one database to another, and once more', async () => {
	const from = await filled(50);
	const to = target();
	assert.equal(await fails([from, to], /could not open/), '');
	const first = await replicate(['--create-target', from, to]);
	assert.equal(first.status, 0, first.err);
	assert.match(first.out, new RegExp(`^${from} to ${to}: 50 written, 0 there already, 0 refused(; [0-9.]+ \\w+)? in [0-9.]+ s\\n$`));
	assert.equal(first.err, '', 'no progress where there is no terminal');
	assert.deepEqual(await ids(to), await ids(from));
	assert.match((await replicate([from, to])).out, /: 0 written, 0 there already, 0 refused/);

	await ask(server, 'PUT', `/${from}/new`, { json: {} });
	await ask(server, 'PUT', `/${to}/new`, { json: {} });
	const { state, written, skipped, refused, id, seconds, reason } = await done([from, to]);
	assert.deepEqual({ state, written, skipped, refused, reason }, { state: 'completed', written: 0, skipped: 1, refused: 0, reason: null });
	assert.match(id, /^[0-9a-f]{32}$/);
	assert.ok(seconds >= 0);
});

test('what is copied, and from where on', async () => {
	const from = await filled(20);
	const { last_seq: seq } = (await ask(server, 'GET', `/${from}/_changes?limit=15`)).json;
	const late = target();
	assert.equal((await done(['--create-target', '--since', seq, from, late])).written, 5);

	const some = target();
	assert.equal((await done(['--create-target', '--doc-ids', 'doc0003,doc0007', from, some])).written, 2);
	assert.deepEqual(await ids(some), ['doc0003', 'doc0007']);
	await ask(server, 'PUT', `/${from}/a,b`, { json: {} });
	assert.equal((await done(['--doc-ids', '["a,b"]', from, some])).written, 1);

	const file = path.join(work, 'selector.json');
	fs.writeFileSync(file, '{"i": {"$lt": 3}}');
	const selected = target();
	assert.equal((await done(['--create-target', '--selector', file, withPassword(from), selected])).written, 3);
	await fails(['--selector', `${file}.none`, from, selected], /No such file/);

	await ask(server, 'PUT', `/${from}/_design/d`, { json: { filters: { less: 'function (doc, req) { return doc.i < Number(req.query.than); }' } } });
	const filtered = target();
	assert.equal((await done(['--create-target', '--filter', 'd/less', '--param', 'than=4', withPassword(from), filtered])).written, 4);
	assert.deepEqual(await ids(filtered), ['doc0000', 'doc0001', 'doc0002', 'doc0003']);

	await ask(server, 'POST', `/${from}/_bulk_docs`, { json: { new_edits: false, docs: [{ _id: 'doc0001', _rev: '1-ffffffffffffffffffffffffffffffff', other: 1 }] } });
	const winners = target();
	await done(['--create-target', '--winning-revs-only', '--no-checkpoints', from, winners]);
	assert.equal((await ask(server, 'GET', `/${winners}/doc0001?conflicts=true`)).json._conflicts, undefined);
	assert.deepEqual((await ask(server, 'GET', `/${winners}/_local_docs`)).json.rows, []);
});

test('passwords are asked of the environment, and shown to nobody', async () => {
	const from = await filled(5);
	const to = target();
	let shown;
	const looks = (child) => {
		const timer = setInterval(() => {
			try {
				const line = fs.readFileSync(`/proc/${child.pid}/cmdline`, 'latin1');
				if (line.includes('replicate')) shown = line;
			} catch {}
		}, 1);
		child.on('close', () => clearInterval(timer));
	};
	const slow = await slowServer((req) => req.url.includes('_bulk_docs'));
	const running = replicate(['--create-target', '--json', from, slow.url(to)], { begun: looks });
	await until(() => slow.held > 0, 'it does not write');
	assert.doesNotMatch(shown, /adm/);
	const seen = JSON.stringify(await jobs());
	slow.let();
	const { status, out, err } = await running;
	slow.stop();
	assert.equal(status, 0, err);
	assert.doesNotMatch(out + err + seen, /:adm|adm@/);
	assert.equal(JSON.parse(out).written, 5);

	const bare = `http://127.0.0.1:${server.port}/${from}`;
	const env = { DIVAN_ADMIN: 'admin:adm' };
	assert.equal((await done(['--create-target', bare, target()], { env: { ...env, DIVAN_SOURCE: 'admin:adm' } })).written, 5);
	assert.equal((await done(['--create-target', from, bare.replace(from, target())], { env: { ...env, DIVAN_TARGET: 'admin:adm' } })).written, 5);
	const refused = await fails(['--json', '--create-target', bare, target()], /\b401\b|unauthorized/i, { env: { ...env, DIVAN_SOURCE: 'admin:wrong' } });
	assert.equal(JSON.parse(refused).state, 'failed');
	assert.doesNotMatch(refused, /wrong/);
});

test('who asks, and whom', async () => {
	const from = await filled(1);
	await fails([from, target()], /wants to know who asks|401/, { env: {} });
	await fails([from, target()], /401/, { env: { DIVAN_ADMIN: 'admin:wrong' } });
	await fails(['--url', 'http://admin:adm@127.0.0.1/', from, target()], /no place in the server's URL/);
	await fails(['--url', 'http://127.0.0.1:1/', from, target()], /connect/i);
	await fails([from, 'http://['], /no URL/);
	await fails([from, 'UPPER'], /\S/);
	for (const args of [[], [from], [from, 'a', 'b'], ['--detach', from, 'a'], ['--param', 'x', from, 'a'], ['--what', from, 'a']])
		assert.equal((await replicate(args)).status, 2, args.join(' '));
});

test('documents that the target refuses are counted', async () => {
	const from = await filled(10);
	const to = await newDb(server, 'strict');
	const validate = 'function (doc) { if (doc.i > 6) throw { forbidden: "too much" }; }';
	assert.equal((await ask(server, 'PUT', `/${to}/_design/strict`, { json: { validate_doc_update: validate } })).status, 201);
	const { status, out, err } = await replicate(['--json', from, to]);
	assert.equal(status, 3, out + err);
	const { state, written, refused } = JSON.parse(out);
	assert.deepEqual({ state, written, refused }, { state: 'completed', written: 7, refused: 3 });
	assert.match(err, /3 documents were refused/);
});

test('Ctrl-C ends the run at the server, and the next goes on', { timeout: 120000 }, async () => {
	const from = await filled(3000);
	const to = target();
	const slow = await slowServer((req, body) => req.url.includes('_bulk_docs') && /"doc(1[5-9]|2\d)\d\d"/.test(body));
	const args = ['--create-target', '--json', from, slow.url(to)];
	let child;
	const running = replicate(args, { begun: (c) => (child = c) });
	await until(async () => slow.held > 0 && (await jobs())[0]?.info?.docs_written === 1500, 'it does not get on');
	child.kill('SIGINT');
	const { status, out, err } = await running;
	assert.equal(status, 130, out + err);
	const first = JSON.parse(out);
	assert.equal(first.state, 'cancelled');
	assert.equal(first.written, 1500);
	assert.match(err, /ended by a signal/);
	assert.deepEqual((await jobs()).filter((job) => first.id.startsWith(job.id.split('+')[0])), []);
	slow.drop();
	const second = await done(['--create-target', from, slow.url(to)]);
	slow.stop();
	assert.deepEqual([second.written, second.skipped], [1500, 0], 'what was done is not looked at again');
	assert.equal((await ids(to)).length, 3000);
});

test('a continuous one: followed until Ctrl-C, or left running', { timeout: 60000 }, async () => {
	const from = await filled(3);
	const to = target();
	let child;
	const running = replicate(['--continuous', '--create-target', from, to], { command: ['nohup', DIVAN], begun: (c) => (child = c) });
	await until(async () => (await ids(to).catch(() => [])).length === 3, 'nothing comes');
	child.kill('SIGHUP'); // nohup has it go on
	await ask(server, 'PUT', `/${from}/later`, { json: {} });
	await until(async () => (await ids(to)).length === 4, 'what is new does not come');
	child.kill('SIGTERM');
	const { status, out } = await running;
	assert.equal(status, 143);
	assert.match(out, /: 4 written/);
	assert.deepEqual(await jobs(), []);

	const left = await replicate(['--continuous', '--detach', from, to]);
	assert.equal(left.status, 0, left.err);
	assert.deepEqual((await jobs()).map((job) => job.id), [left.out.trim()]);
	await fails(['--cancel', from, to], /no such replication/);
	assert.equal((await replicate(['--cancel', '--continuous', '--create-target', from, to])).status, 0);
	await until(async () => (await jobs()).length === 0, 'it goes on');
	await fails(['--cancel', '--continuous', from, to], /no such replication/);
});

test('a terminal shows how far it is', { timeout: 60000 }, async () => {
	const from = await filled(2000);
	const slow = await slowServer((req) => req.url.includes('_bulk_docs') && req.headers['content-length'] > 20);
	const command = `"$DIVAN" replicate --url ${server.url} --create-target ${from} ${slow.url(target())}`;
	// script(1) gives it a terminal.
	const child = spawn('script', ['-qfec', command, '/dev/null'], { env: { ...process.env, DIVAN, DIVAN_ADMIN: 'admin:adm' }, stdio: ['pipe', 'pipe', 'inherit'] });
	left.push(() => child.kill('SIGKILL'));
	let out = '';
	child.stdout.on('data', (d) => (out += d));
	const ended = new Promise((resolve) => child.on('close', resolve));
	await until(() => / documents.*changes read of about 2,000/.test(out), `no progress`);
	slow.let();
	assert.equal(await ended, 0, out);
	slow.stop();
	assert.match(out.split('\r').at(-2) + out.split('\r').at(-1), /2,000 written, 0 there already, 0 refused/);
	assert.doesNotMatch(out, /adm@/);
});
