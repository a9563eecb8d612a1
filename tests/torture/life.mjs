#!/usr/bin/env node
// The life of a divand whose calls fail (fail.c): each step, some requests, is made again and again, each time with another call of divand's that fails,
// until it passes untouched; then the next step.
//
//   life.mjs --build DIR [--step N --seed N] [--modes first,later,good] [--sorts alloc,file,store,other] [--only RE] [--starts N] [--no-life] [--depth N] [--seconds N] [--report FILE]
//
// modes: what comes to a place first fails; what comes the third time; what comes first and all of its sort behind it, until the step's end.
// step, seed: one place in so many.  starts: how often divand is started and ended with a fault, at most.  seconds: for a mode; steps that are left then are told.
// depth: how many return addresses make a place (7); 1 where divand has no frame pointers.
//
// 1. A request may be refused, or its connection be cut; an answer that says 2xx is the one that comes without a fault.
// 2. With the fault gone each request that is still open ends, and a document can be written and read, without a restart.
// 3. What was acknowledged is there; what was refused is there whole or not at all.
// 4. No lock is held and no snapshot open when all is quiet.
// 5. divand does not die.  It ends with status 0 on SIGTERM, has lost no memory, and `divan check` finds nothing.
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { Control, SANITIZERS, args, build, isUnheard, modes, option, places, report, run, seed, sorts, stack, start, step } from './lib.mjs';
import { tempDir } from '../lib/divand.mjs';
import { life } from './steps.mjs';

const only = new RegExp(option('--only', '.'));
const starts = Number(option('--starts', 0));
const limit = Number(option('--seconds', 0)) * 1000 || Infinity; // for a mode
const life_too = !args.includes('--no-life');
const verbose = Boolean(process.env.VERBOSE);
const LATE_MS = 30000;
const PATIENCE_MS = 1500; // for an answer while all calls of a sort fail

const program = path.join(build, 'tests/torture/divand');
const control = new Control(path.join(tempDir('divan-torture'), 'control'));
const dataDir = path.join(tempDir('divan-torture'), 'data');
const auth = 'Basic ' + Buffer.from('admin:adm').toString('base64');
const found = new Map();
const total = { faults: 0, requests: 0, refused: 0, cut: 0, served: 0, deaths: 0 };
let server;

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function finding(kind, detail, err = '') {
	const fault = control.fired();
	const where = fault ? `${fault.what} < ${places(program, fault.frames).join(' < ')}` : 'no fault';
	const at = stack(err).slice(0, 3).map((f) => `${f.fn} ${f.at}`).join(' < ');
	const key = `${kind} | ${at || detail}`;
	const old = found.get(key);
	if (old) return void old.n++;
	found.set(key, { n: 1 });
	const text = `FAIL ${key}\n     ${detail}\n     fault: ${where}\n`;
	process.stdout.write(text);
	if (report) fs.appendFileSync(report, `${text}${err.slice(-8000)}\n----\n`);
}

/* ---- divand ---- */

/** Start it: {child, port, err()}; null if it ended. */
async function launch(dir, armed) {
	const env = { ...process.env, ...SANITIZERS, DIVAN_ADMIN: 'admin:adm', TORTURE_CONTROL: control.file };
	control.disarm();
	if (armed) armed();
	const child = start(program, ['--data', dir, '--bind', '127.0.0.1', '--port', '0'], { env, stdio: ['ignore', 'pipe', 'pipe'] });
	let err = '', out = '', ended = null;
	const exited = new Promise((resolve) => child.on('close', (code, signal) => resolve((ended = { code, signal }))));
	child.stderr.on('data', (d) => (err = (err + d).slice(-400000)));
	const ready = new Promise((resolve) => child.stdout.on('data', (d) => {
		out += d;
		const m = /^divand listening on http:\/\/[^ ]*:(\d+)\/$/m.exec(out);
		if (m) resolve(Number(m[1]));
	}));
	const port = await Promise.race([ready, exited.then(() => null), sleep(LATE_MS).then(() => 'late')]);
	if (port === 'late') child.kill('SIGABRT');
	return { child, exited, port, err: () => err, ended: () => ended };
}

/** End it; what is wrong with that is a finding. */
async function stop(s, what) {
	s.child.kill('SIGTERM');
	const end = await Promise.race([s.exited, sleep(LATE_MS).then(() => null)]);
	if (end === null) {
		s.child.kill('SIGABRT');
		await s.exited;
		finding('no end', `${what}: SIGTERM is not heard`, s.err());
	} else if (end.code !== 0) finding(/LeakSanitizer/.test(s.err()) ? 'memory is lost' : `ends with ${end.signal ?? end.code}`, what, s.err());
}

/* ---- Requests ---- */

/** {status, json, text, raw, headers, whole}; status 0: there was no answer. */
function ask(method, target, { json, body, type, headers = {}, ms = LATE_MS, as = auth, until } = {}) {
	return new Promise((resolve) => {
		const bytes = json !== undefined ? Buffer.from(JSON.stringify(json)) : body === undefined ? undefined : Buffer.from(body);
		const all = { ...headers, ...(as ? { Authorization: as } : {}) };
		if (json !== undefined || type) all['Content-Type'] = type ?? 'application/json';
		if (bytes) all['Content-Length'] = bytes.length;
		const chunks = [];
		let got = { status: 0, headers: {} };
		const timer = setTimeout(() => end(false, true), ms);
		const end = (whole, late) => {
			clearTimeout(timer);
			req.destroy();
			const raw = Buffer.concat(chunks);
			let parsed;
			try {
				parsed = JSON.parse(raw);
			} catch {}
			resolve({ ...got, raw, text: raw.toString(), json: parsed, whole, late: Boolean(late) });
		};
		total.requests++;
		const req = http.request({ host: '127.0.0.1', port: server.port, method, path: target, headers: all, agent: false });
		req.on('error', () => end(false));
		req.on('response', (res) => {
			got = { status: res.statusCode, headers: res.headers };
			res.on('data', (d) => {
				chunks.push(d);
				if (until && until.test(Buffer.concat(chunks).toString())) end(true);
			});
			res.on('error', () => end(false));
			res.on('aborted', () => end(false));
			res.on('end', () => end(true));
		});
		req.end(bytes);
	});
}

/** A request that must not be refused. */
async function must(method, target, more = {}) {
	for (let i = 0; ; i++) {
		const a = await ask(method, target, more);
		if (a.status >= 200 && a.status < 300 && a.whole) return a;
		if (more.also?.includes(a.status)) return a;
		if (a.status === 503 && i < 40) await sleep(50); // busy
		else throw Object.assign(new Error(`${method} ${target}: ${a.status} ${a.late ? 'no answer' : a.text.slice(0, 300)}`), { answer: a });
	}
}

/** What a step sees while a call may fail: answers are counted; one that does not come is waited for once the fault is gone. */
async function armedAsk(method, target, more = {}) {
	const began = ask(method, target, more);
	let a = await Promise.race([began, sleep(PATIENCE_MS).then(() => null)]);
	if (a === null) {
		if (control.fired()) control.disarm();
		a = await began;
	}
	if (a.late) finding('no answer', `${method} ${target.split('?')[0]}`);
	if (control.fired()) {
		if (a.status >= 200 && a.status < 300 && a.whole) total.served++;
		else if (a.status === 0 || !a.whole) total.cut++;
		else total.refused++;
	}
	// Without a word, or with these, where a request has not even memory of its own.
	const formless = typeof a.json?.error !== 'string' && !['', 'out of memory'].includes(a.text);
	if (a.status >= 400 && a.whole && method !== 'HEAD' && formless) finding('a refusal in no form', `${method} ${target}: ${a.status} ${a.text.slice(0, 200)}`);
	return a;
}

/* ---- Steps ---- */

let probes = 0;
async function alive(name) {
	try {
		const id = `probe${probes++ % 50}`;
		const old = await ask('GET', `/home/${id}`);
		const put = await must('PUT', `/home/${id}`, { json: { n: probes, ...(old.status === 200 ? { _rev: old.json._rev } : {}) } });
		const got = await must('GET', `/home/${id}`);
		if (got.json.n !== probes || got.json._rev !== put.json.rev) finding('what was written is not read', name);
	} catch (e) {
		if (await died(name)) return;
		finding('not well afterwards', `${name}: ${e.message}`, server.err().slice(-3000));
	}
}

async function quiet(name, before) {
	for (let i = 0; i < 400; i++) {
		const { held, snaps } = control.open();
		if (held <= 0 && snaps <= before.snaps) return;
		await sleep(10);
	}
	const { held, snaps } = control.open();
	finding(held > 0 ? 'a lock is held' : 'a snapshot is open', `${name}: ${held} locks, ${snaps} snapshots, before ${before.snaps}`);
}

async function died(name) {
	await Promise.race([server.exited, sleep(100)]);
	if (server.ended() === null) return false;
	const end = server.ended();
	total.deaths++;
	finding(`divand died (${end.signal ?? end.code})`, name, server.err());
	server = await launch(dataDir);
	return true;
}

/** One step, with all faults of a mode. */
async function torture(s, ctx, mode) {
	let n = 0;
	const began = Date.now();
	const seconds = s.seconds ?? 120;

	for (;;) {
		ctx.n++;
		control.disarm();
		let given;
		try {
			given = s.before ? await s.before(ctx) : undefined;
		} catch (e) {
			if (!(await died(`before ${s.name}`))) finding('not well before', `${s.name}: ${e.message}`, server.err().slice(-3000));
			if (++ctx.bad > 20) throw e;
			continue;
		}
		const before = control.open();
		control.arm(mode);
		let outcome;
		try {
			outcome = await s.act(ctx, given);
		} catch (e) {
			outcome = e;
		}
		control.disarm();
		const fault = control.fired();
		if (outcome instanceof Error && !outcome.refused) finding('wrong', `${s.name}: ${outcome.stack.split('\n').slice(0, 3).join(' ')}`);
		if (await died(s.name)) continue;
		try {
			if (s.after) await s.after(ctx, given, outcome);
		} catch (e) {
			if (!(await died(s.name))) finding('wrong afterwards', `${s.name}: ${e.message}`, server.err().slice(-3000));
		}
		if (!fault) {
			if (outcome instanceof Error) finding('refused without a fault', `${s.name}: ${outcome.message}`);
			break;
		}
		n++;
		await alive(s.name);
		await quiet(s.name, before);
		if (Date.now() - began > seconds * 1000) {
			console.log(`   ${s.name}.${mode}: not finished`);
			break;
		}
	}
	total.faults += n;
	if (verbose) console.log(`   ${s.name}.${mode}: ${n} faults, ${((Date.now() - began) / 1000).toFixed(1)} s`);
}

async function live(mode) {
	const ctx = { n: 0, bad: 0, ask: armedAsk, must, plain: ask, port: () => server.port, auth, sleep, sorts };
	let left = 0;

	control.forget();
	fs.rmSync(dataDir, { recursive: true, force: true });
	server = await launch(dataDir);
	await must('PUT', '/home');
	const steps = await life(ctx);
	const began = Date.now();
	for (const s of steps) {
		if (!only.test(s.name)) continue;
		if (Date.now() - began > limit) left++;
		else await torture(s, ctx, mode);
	}
	if (left) console.log(`   ${mode}: ${left} steps were left out`);
	await stop(server, `the end of the life, ${mode}`);
	const checked = await run([path.join(build, 'divan'), 'check', '--data', dataDir], { env: { ...process.env, ...SANITIZERS }, ms: 60000 });
	if (checked.code !== 0) finding('divan check', `status ${checked.signal ?? checked.code}: ${checked.err.slice(-500)}`, checked.err);
	console.log(`   life.${mode}: ${total.faults} faults so far, ${((Date.now() - began) / 1000).toFixed(0)} s`);
}

/** divand starts, and ends, with a fault: it comes up and is well, or says why not. */
async function startAndEnd(fresh, mode) {
	let n = 0, refused = 0;
	const began = Date.now();
	const dir = path.join(tempDir('divan-torture'), 'data');
	const unheard = () => control.fired() && isUnheard(program, control.fired(), mode);

	control.forget();
	for (; n < starts; n++) {
		if (fresh) fs.rmSync(dir, { recursive: true, force: true });
		const s = await launch(dir, () => control.arm(mode));
		if (s.port === 'late') {
			await s.exited;
			if (!unheard()) finding('no start', `${mode}`, s.err());
		} else if (s.port === null) {
			refused++;
			const end = s.ended();
			if (end.signal || end.code === 99 || end.code === 0) finding(`start: ${end.signal ?? end.code}`, mode, s.err());
			else if (s.err().trim() === '' && !unheard()) finding('start: no word', mode);
		} else {
			const early = control.fired();
			if (early) control.disarm();
			server = s;
			const a = await ask('PUT', `/made${n}`);
			const end = a.status === 0 ? await Promise.race([s.exited, sleep(LATE_MS)]) : s.ended();
			if (!early || end?.code !== 1) { // else its threads could not be made, behind the line that says where it listens
				if (early && ![201, 412].includes(a.status)) finding('not well after a start', `${a.status} ${a.text}`, s.err());
				await stop(s, 'start and end');
			}
		}
		if (!control.fired()) break;
	}
	total.faults += n;
	console.log(`   start and end${fresh ? ' of a first life' : ''}, ${mode}: ${n} faults, ${refused} starts refused, ${((Date.now() - began) / 1000).toFixed(0)} s`);
}

for (const mode of modes) {
	if (starts > 0) {
		await startAndEnd(true, mode);
		await startAndEnd(false, mode);
	}
	if (life_too) await live(mode);
}
for (const [key, f] of found) if (f.n > 1) console.log(`     ${f.n} times: ${key}`);
console.log(`${total.faults} faults under ${total.requests} requests; of those that met one ${total.served} were served all the same, ${total.refused} refused, ${total.cut} cut off; ${total.deaths} deaths; step ${step}, seed ${seed}`);
console.log(`${Math.max(total.faults - found.size, 0)} passed, ${found.size} failed`);
process.exitCode = found.size > 0 || total.faults === 0 ? 1 : 0;
process.exit();
