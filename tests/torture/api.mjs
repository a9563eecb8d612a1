#!/usr/bin/env node
// The tests of the HTTP API against a divand whose calls fail (fail.c): while a test file runs, one call after the other fails, each in another place,
// and the file is run again until it passes untouched.
//
//   api.mjs --build DIR [--jobs N] [--modes first,later,good] [--seconds N] [--step N --seed N] [--depth N] [--keep DIR] [--report FILE] FILE...
//
// modes: what comes to a place first fails; what comes there the third time; what comes first, and all of its sort for a while.
// seconds: for a file and a mode at most (120); what is left then is told.  step, seed: one place in so many.  depth: how many return addresses make a place (7).
// jobs: files at once; what has failed under one is not asked again under another.  keep: what has failed is noted there, and a later run of the same build goes on from it.
//
// Faults begin behind the first answer: how divand starts is life.mjs's.  A test may fail of that: it did not get what it asked for.  What counts against us: a report of a sanitizer, an assertion, lost memory, an end that is
// not the test's wish, and one that the test wishes for and that does not come.  What was acknowledged, and is to be there, is life.mjs's.
import fs from 'node:fs';
import path from 'node:path';
import { Control, SANITIZERS, args, build, isLibrarys, isUnheard, modes, option, places, report, seed, stack, start, step } from './lib.mjs';
import { tempDir } from '../lib/divand.mjs';

const jobs = Number(option('--jobs', 1));
const seconds = Number(option('--seconds', 120));
const keep = option('--keep', null);
const LATE_MS = 400000; // for one run of a file
const PATIENCE_MS = 15000; // for what a test waits for, which a fault may keep from coming
const ANSWERED = /\[notice\] [0-9a-f]{10} /; // in the log
const REFUSED = /cannot start/; // a server that a test starts behind the fault; or a thread of it: it says so, and ends with status 1
const PAUSE_MS = { first: 10, later: 10, good: 250 }; // between two faults
const RECENT = 3; // faults that are told with a finding

const program = path.join(build, 'tests/torture/divand');
if (keep) fs.mkdirSync(keep, { recursive: true });
const scratch = tempDir('divan-torture');
const found = new Map();
const total = { runs: 0, faults: 0, failed: 0, late: 0, unfinished: 0 };
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** What is wrong with a run, by what it and its servers printed, and its last faults: [[kind, text]]. */
function judge(printed, faults, mode) {
	const all = [];
	const text = printed.replace(/^.* \[notice\] .*\n/gm, ''); // a report may have them between its lines
	for (const m of text.matchAll(/ERROR: (AddressSanitizer: \S+|LeakSanitizer)|runtime error: (.*)|Assertion `(.*)' failed/g)) {
		const kind = m[1] === 'LeakSanitizer' ? 'memory is lost' : m[1] ?? m[2] ?? `assert(${m[3]})`;
		if (!/ABRT/.test(kind)) all.push([kind, text.slice(m.index, m.index + 8000)]);
	}
	const end = /divand (did not end within|ended with) .*/.exec(text);
	if (end && all.length === 0 && !REFUSED.test(text) && !faults.some((f) => isUnheard(program, f, mode))) all.push([end[0], text.slice(end.index, end.index + 8000)]);
	return all;
}

const told = (faults) => faults.map((f) => `     fault: ${f.what}: ${places(program, f.frames).join(' < ')}\n`).join('');

function tell(kind, err, file, mode, recent) {
	const at = stack(err);
	if (isLibrarys(kind, at)) return;
	const key = `${kind} | ${at.slice(0, 3).map((f) => `${f.fn} ${f.at}`).join(' < ') || file}`;
	const old = found.get(key);
	if (old) return void old.n++;
	found.set(key, { n: 1 });
	const text = `FAIL ${key} (${path.basename(file)} ${mode})\n${told(recent)}`;
	process.stdout.write(text);
	if (report) fs.appendFileSync(report, `${text}${err}\n----\n`);
}

/** Run ${file} once, with a fault whenever the last one is over: {faults, code, late}. */
async function once(file, mode, control) {
	const env = { ...process.env, ...SANITIZERS, DIVAN_BUILD: build, DIVAND: program, DIVAN_TEST_LOG: '1', DIVAN_TEST_PATIENCE: PATIENCE_MS, TORTURE_CONTROL: control.file };
	const child = start(process.execPath, ['--test-force-exit', file], { env, stdio: ['ignore', 'pipe', 'pipe'] }); // a test that failed leaves servers
	const recent = [];
	let text = '', code, late = false, faults = 0, armed = false;
	for (const s of [child.stdout, child.stderr]) s.on('data', (d) => (text = (text + d).slice(-4 << 20)));
	const closed = new Promise((resolve) => child.on('close', (n) => resolve((code = n ?? 1))));
	const began = Date.now();
	control.disarm();
	while (code === undefined) {
		await Promise.race([sleep(PAUSE_MS[mode]), closed]);
		const fault = armed && control.fired();
		if (fault) {
			faults++;
			recent.unshift(fault);
			recent.length = Math.min(recent.length, RECENT);
		}
		if (fault || (!armed && ANSWERED.test(text))) {
			armed = true;
			control.arm(mode);
		}
		if (!late && Date.now() - began > LATE_MS) {
			late = true;
			if (report) fs.appendFileSync(report, `LATE ${path.basename(file)} ${mode}\n${told(recent)}${text.slice(-4000)}\n----\n`);
			child.kill('SIGTERM');
		}
	}
	control.disarm();
	for (const [kind, err] of judge(text, recent, mode)) tell(kind, err, file, mode, recent);
	return { faults, code, late };
}

async function torture(file, mode, control, others) {
	const own = { runs: 0, faults: 0, failed: 0, late: 0 };
	const began = Date.now();
	let end = 'untouched';
	for (;;) {
		if (Date.now() - began > seconds * 1000) {
			end = 'not finished';
			total.unfinished++;
			break;
		}
		for (const other of others) control.learn(other);
		const r = await once(file, mode, control);
		own.runs++;
		own.faults += r.faults;
		own.failed += r.code !== 0;
		own.late += r.late;
		if (r.faults > 0) continue;
		if (r.code !== 0) end = 'untouched, and fails';
		break;
	}
	for (const name of Object.keys(own)) total[name] += own[name];
	console.log(`   ${path.basename(file)}.${mode}: ${own.runs} runs, ${end}, ${own.faults} faults, ${((Date.now() - began) / 1000).toFixed(0)} s (${own.failed} runs failed, ${own.late} did not end)`);
}

for (const mode of modes) {
	const dir = keep ?? scratch;
	const earlier = fs.readdirSync(dir).filter((name) => name.startsWith(`${mode}.`)).length;
	const controls = Array.from({ length: Math.max(jobs, earlier) }, (_, i) => new Control(path.join(dir, `${mode}.${i}`), keep !== null));
	const left = [...args];
	await Promise.all(controls.slice(0, jobs).map(async (control) => {
		for (let file; (file = left.shift());) await torture(path.resolve(file), mode, control, controls.filter((c) => c !== control));
	}));
	if (controls.some((c) => c.get('full'))) console.log(`${mode}: there are more places than there is room for`);
	for (const control of controls) control.close();
}
console.log(`${total.runs} runs, ${total.faults} faults, ${total.failed} runs in which a test failed, ${total.late} that did not end; ${total.unfinished} files not finished; step ${step}, seed ${seed}`);
console.log(`${total.faults - found.size} passed, ${found.size} failed`);
process.exitCode = found.size > 0 || total.faults === 0 ? 1 : 0;
