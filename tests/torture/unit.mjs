#!/usr/bin/env node
// Runs unit tests again and again, each time with another call that fails (fail.c), until nothing is left that has not failed.
//
//   unit.mjs --build DIR [--jobs N] [--step N --seed N] [--seconds N] [--modes first,later,good] [--depth N] [--report FILE] TEST...
//
// modes: what comes to a place first fails; what comes there the third time; what comes first, and all of its sort behind it.
// depth: how many return addresses make a place (7); 1 where the program has no frame pointers.  step, seed: one place in so many.  seconds: for a test and a mode at most; what is left then is told.
//
// A test ends at the first check that fails behind the fault (check.h).  What counts against us: a signal, a report of a sanitizer, an assertion, lost
// memory, a lock that is held at that moment, no end, a check that failed since the test waited for what never came.  A crash in a function of the test does
// not: it used what it did not get; nor does what a thread of the test had in hand when the test ended.
import fs from 'node:fs';
import path from 'node:path';
import { Control, SANITIZERS, args, build, isLibrarys, modes, option, places, report, run, seed, stack, step } from './lib.mjs';
import { tempDir } from '../lib/divand.mjs';

const jobs = Number(option('--jobs', 1));
const seconds = Number(option('--seconds', 600));
const STOPPED = 77, LOCKED = 78, LEAK = 79;
// What would take minutes without another point coming up.
const ENV = { PLAN_ROUNDS: '20', FAULTS_STEP: '997' };
const IN_VAIN_MS = 15000; // beyond ten times the quickest run

const scratch = tempDir('divan-torture');
const found = new Map();
const total = { runs: 0, points: 0, stopped: 0, own: 0, unfinished: 0 };

/** What is to be said of a run that had a fault: [kind, where], or null if it was as it should be. */
function judge(r, inVain) {
	if (r.late) return ['no end', r.err];
	if (r.code === STOPPED && inVain) return ['waited in vain', r.err];
	if (r.code === STOPPED || r.code === 0) return null;
	if (r.code === LOCKED) return ['a lock is held', r.err];
	const at = stack(r.err);
	if (r.code === LEAK || /LeakSanitizer/.test(r.err)) {
		const held = /^tests\//.test(at.find((f) => !/^base\/(arena|buf)/.test(f.at))?.at ?? '');
		const by_thread = at.some((f) => /^tests\/unit/.test(f.at)) && !at.some((f) => f.fn === 'main');
		return held || by_thread ? ['own', ''] : ['memory is lost', r.err];
	}
	if (at.length && /^tests\//.test(at[0].at)) return ['own', r.err];
	if (isLibrarys(r.err, at)) return ['own', r.err];
	if (at.length === 0 && (r.code === 1 || r.code === 2)) return null; // it has ended by itself
	const what = /ERROR: AddressSanitizer: (\S+)|runtime error: (.*)|Assertion `(.*)' failed/.exec(r.err);
	return [what ? what[1] ?? what[2] ?? `assert(${what[3]})` : r.signal ?? `status ${r.code}`, r.err];
}

async function torture(test, mode) {
	const name = `${test}.${mode}`;
	const program = path.join(build, 'tests/torture', test);
	const control = new Control(path.join(scratch, name));
	const cwd = fs.mkdtempSync(path.join(scratch, 'cwd-'));
	const env = { ...process.env, ...ENV, ...SANITIZERS, DIVAN_BUILD: build, DIVAND: path.join(build, 'divand'), TMPDIR: cwd, TORTURE_CONTROL: control.file };
	const own = { runs: 0, points: 0, stopped: 0, own: 0 };
	const began = Date.now();
	let patience = 60000; // ms
	let quickest = patience;
	let end = 'untouched';

	for (;;) {
		if (Date.now() - began > seconds * 1000) {
			end = 'not finished';
			total.unfinished++;
			break;
		}
		control.arm(mode);
		const start = Date.now();
		const r = await run([program], { env, cwd: process.cwd(), ms: patience });
		const fault = control.fired();
		own.runs++;
		if (!fault) {
			if (r.code !== 0) found.set(`${name} untouched`, { n: 1, test, mode, kind: `ends with ${r.signal ?? r.code} without a fault`, err: r.err.slice(-2000), fault: '' });
			break;
		}
		own.points++;
		if (r.code === STOPPED) own.stopped++;
		const took = Date.now() - start;
		patience = Math.min(120000, Math.max(patience, 10 * took));
		quickest = Math.min(quickest, took);
		const verdict = judge(r, mode !== 'good' && took > IN_VAIN_MS + 10 * quickest); // what fails for good may be waited for
		if (verdict && verdict[0] === 'own') own.own++;
		if (verdict) {
			const at = stack(verdict[1]).slice(0, 4).map((f) => `${f.fn} ${f.at}`);
			const where = places(program, fault.frames);
			const key = `${verdict[0]} | ${at.length ? at.slice(0, 3).join(' < ') : test + ' ' + where.slice(0, 2).join(' < ')}`;
			const old = found.get(key);
			if (old) old.n++;
			else found.set(key, { n: 1, kind: verdict[0], test, mode, fault: `${fault.what}: ${where.join(' < ')}`, err: r.err });
		}
		fs.readdirSync(cwd).forEach((f) => fs.rmSync(path.join(cwd, f), { recursive: true, force: true }));
	}
	total.runs += own.runs;
	total.points += own.points;
	total.stopped += own.stopped;
	total.own += own.own;
	if (control.get('full')) console.log(`${name}: there are more places than there is room for`);
	console.log(`   ${name}: ${own.runs} runs, ${end}, ${((Date.now() - began) / 1000).toFixed(0)} s (${control.get('points')} places; ${own.stopped} ended at a check${own.own ? `, ${own.own} crashed in the test itself` : ''})`);
	control.close();
}

const queue = [];
for (const mode of modes) for (const test of args) queue.push([test, mode]);
await Promise.all(Array.from({ length: jobs }, async () => {
	for (let next; (next = queue.shift()); ) await torture(...next);
}));
let findings = 0;
for (const [key, f] of found) {
	const mine = f.kind !== 'own';
	findings += mine;
	const text = `${mine ? 'FAIL' : 'own '} ${key} (${f.n}x, ${f.test} ${f.mode})\n     fault: ${f.fault}\n`;
	if (mine) process.stdout.write(text);
	if (report) fs.appendFileSync(report, `${text}${f.err.slice(0, 6000)}\n----\n`);
}
console.log(`${total.runs} runs, ${total.points} faults, ${total.stopped} ended at a check, ${total.own} crashed in the test itself; ${total.unfinished} not finished; step ${step}, seed ${seed}`);
console.log(`${total.points - findings} passed, ${findings} failed`);
process.exitCode = findings > 0 || total.points === 0 ? 1 : 0;
