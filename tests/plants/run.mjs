#!/usr/bin/env node
// Plants each fault of tests/plants/*.plant into a copy of the tree, one at a time, and runs the test that must catch it: it must fail, and pass
// without the plant.  Closes with a table, and `N passed, N failed`.
//
//   PLANTS=regexp   those whose name or test fits
//   PLANTS_DIR=dir  where the copy is; it stays there, and a later run builds little anew
//
// 1. A fault that does not compile, or stops what is being built, is caught by nobody: the build must succeed.
// 2. A test that does not come to an end in WAIT times what it takes without the plant has caught it too; the table says so.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { ROOT } from '../lib/divand.mjs';
import { planted, plants } from './plants.mjs';

const WANTED = new RegExp(process.env.PLANTS ?? '');
const WAIT = 4;
const WAIT_LEAST_S = 60;
const BUILD = 'build-plants';
const MAKE = [`BUILD=${BUILD}`, 'OPT=-O1 -g', 'LTO=', '--no-print-directory', `-j${os.cpus().length}`];

const kept = process.env.PLANTS_DIR;
const dir = kept ? path.resolve(kept) : fs.mkdtempSync(path.join(os.tmpdir(), 'divan-plants-'));
let running; // a test, with all that it has started
const stop = () => {
	try {
		if (running) process.kill(-running.pid, 'SIGKILL');
	} catch {} // it has just ended
};
process.on('exit', () => {
	stop();
	if (!kept) fs.rmSync(dir, { recursive: true, force: true });
});
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));

/** What is in the tree now, committed or not; a file that is the same keeps its time, and what has gone from it since an earlier run goes from the copy. */
function copyTree() {
	const listed = execFileSync('git', ['ls-files', '-z', '-co', '--exclude-standard'], { cwd: ROOT, encoding: 'utf8', maxBuffer: 1 << 26 });
	const names = new Set(listed.split('\0').filter((name) => name && fs.lstatSync(path.join(ROOT, name), { throwIfNoEntry: false })?.isFile()));
	const list = path.join(dir, '.copied');
	const before = fs.existsSync(list) ? JSON.parse(fs.readFileSync(list, 'utf8')) : [];
	for (const name of before) if (!names.has(name)) fs.rmSync(path.join(dir, name), { force: true });
	fs.writeFileSync(list, JSON.stringify([...names]));
	for (const name of names) {
		const from = path.join(ROOT, name);
		const to = path.join(dir, name);
		if (fs.existsSync(to) && fs.readFileSync(from).equals(fs.readFileSync(to))) continue;
		fs.mkdirSync(path.dirname(to), { recursive: true });
		fs.copyFileSync(from, to);
	}
	if (!fs.existsSync(path.join(dir, 'node_modules'))) fs.symlinkSync(path.join(ROOT, 'node_modules'), path.join(dir, 'node_modules'));
}

const servers = ['all', `${BUILD}/tests/lib/malloc_shim.so`, `${BUILD}/tests/lib/clock_shim.so`];
const nodeTest = (suite, [file]) => ['node', '--test', '--test-reporter', './tests/lib/reporter.mjs', `tests/${suite}/${file}`];
const SUITES = {
	unit: ([name, ...args]) => ({ targets: [`${BUILD}/tests/${name}`, `${BUILD}/divan-js`], command: [`${BUILD}/tests/${name}`, ...args] }),
	api: (args) => ({ targets: servers, command: nodeTest('api', args) }),
	interop: (args) => ({ targets: servers, command: nodeTest('interop', args) }),
	crash: ([file]) => ({ targets: [...servers, `${BUILD}/tests/crash/power.so`, `${BUILD}/tests/crash/power_disk`], command: ['node', `tests/crash/${file}`] }),
	soak: () => ({ targets: servers, command: ['node', 'tests/soak/soak.mjs'] }),
	sim: () => ({ targets: [`${BUILD}/tests/sim/sim`], command: [`${BUILD}/tests/sim/sim`, '--seeds', '500'] }),
	check: () => ({ targets: ['all'], command: ['node', 'tests/check', BUILD] }),
};

function build(targets) {
	const made = spawnSync('make', [...MAKE, ...targets], { cwd: dir, encoding: 'utf8', maxBuffer: 1 << 26 });
	if (made.status !== 0) throw new Error(`it does not build\n${`${made.stdout}${made.stderr}`.slice(-2000)}`);
}

/** Result: {ok, how, seconds}. */
function run(command, wait) {
	const began = performance.now();
	const env = { ...process.env, DIVAND: path.join(dir, BUILD, 'divand'), DIVAN_BUILD: path.join(dir, BUILD) };
	return new Promise((resolve) => {
		const child = spawn(command[0], command.slice(1), { cwd: dir, env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
		let out = '';
		let late = false;
		running = child;
		const timer = setTimeout(() => {
			late = true;
			stop();
		}, wait * 1000);
		for (const s of [child.stdout, child.stderr]) s.on('data', (d) => (out = (out + d).slice(-200000)));
		child.on('close', (code, signal) => {
			clearTimeout(timer);
			running = undefined;
			const seconds = (performance.now() - began) / 1000;
			const tail = /(\d+) passed, (\d+) failed\s*$/.exec(out);
			const ok = code === 0 && !late && tail?.[2] === '0';
			resolve({ ok, out, seconds, how: ok ? '' : first(out) || (late ? `no end in ${wait.toFixed(0)} s` : `ended with ${signal ?? `status ${code}`}`) });
		});
	});
}

/** What a test said first of its failure, on one line. */
function first(out) {
	const lines = out.split('\n');
	const at = lines.findIndex((l) => /FAIL|: failed: |failed assertion|Assertion|AddressSanitizer|CHECK|: (expected|wrong)/.test(l));
	return at < 0 ? '' : lines.slice(at, at + 3).map((l) => l.trim()).filter((l) => l && !/^\d+ passed/.test(l)).join('; ').replaceAll(dir, '').replaceAll('|', '/').slice(0, 200);
}

copyTree();
const wanted = plants().filter((p) => WANTED.test(p.name) || WANTED.test(p.test));
const sound = new Map(); // by test: what it takes without a plant
const rows = [];
let failed = 0;
const wrong = (plant, what) => {
	failed++;
	console.log(`  FAIL ${plant.name}: ${what}`);
};
for (const test of new Set(wanted.map((p) => p.test))) {
	const [suite, ...args] = test.split(' ');
	const { targets, command } = SUITES[suite](args);
	build(targets);
	const result = await run(command, 1200);
	sound.set(test, result);
	console.log(`  ${result.ok ? 'ok  ' : 'FAIL'} ${test}, nothing planted (${result.seconds.toFixed(1)} s)${result.ok ? '' : `: ${result.how}`}`);
	if (!result.ok) console.log(result.out.slice(-3000));
}
for (const plant of wanted) {
	const [suite, ...args] = plant.test.split(' ');
	const { targets, command } = SUITES[suite](args);
	let files = [];
	try {
		if (!sound.get(plant.test).ok) throw new Error(`${plant.test} fails without it`);
		files = planted(plant, dir);
		for (const { file, after } of files) fs.writeFileSync(path.join(dir, file), after);
		build(targets);
		const result = await run(command, Math.max(WAIT_LEAST_S, WAIT * sound.get(plant.test).seconds));
		if (result.ok) throw new Error(`${plant.test} does not catch it`);
		rows.push(`| ${plant.fault} | ${plant.test} | ${result.how} |`);
		console.log(`  ok   ${plant.name}: ${plant.test} (${result.seconds.toFixed(1)} s): ${result.how}`);
	} catch (e) {
		wrong(plant, e.message);
	} finally {
		for (const { file, before } of files) fs.writeFileSync(path.join(dir, file), before);
	}
}
console.log(`\n| fault | caught by | how |\n|---|---|---|\n${rows.join('\n')}\n`);
console.log(`${rows.length} passed, ${failed} failed`);
process.exitCode = failed || !rows.length ? 1 : 0;
