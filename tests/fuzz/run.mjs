#!/usr/bin/env node
// Runs fuzz targets that `make fuzz` has built, some of them side by side, those first that have had least of the processor, and sums up what each has had so far.
//
//   run.mjs --build DIR [--seconds N] [--until N] [--jobs N] [--keep] [TARGET...]
//
// seconds: for each target, by the clock (60).  until: again and again, until each has had so many minutes of the processor in sum (0: once).  jobs: how many at once (1).  keep: what takes new branches goes into tests/fuzz/corpus/ in the end.
//
// What targets found their way to stays in DIR/corpus/TARGET for the next run, findings are DIR/TARGET-*, and DIR/runs.json has every run: its commit,
// seconds by the clock and of processor, inputs, status.  Closes with a table of the sums, and `N passed, N failed`.
import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { ROOT } from '../lib/divand.mjs';
import { ticks } from '../lib/process.mjs';

const args = process.argv.slice(2);
const option = (name, otherwise) => (args.includes(name) ? args.splice(args.indexOf(name), 2)[1] : otherwise);
const build = path.resolve(option('--build', 'build-fuzz'));
const seconds = Number(option('--seconds', 60));
const until = Number(option('--until', 0)) * 60;
const jobs = Number(option('--jobs', 1));
const keep = args.includes('--keep') && args.splice(args.indexOf('--keep'), 1);

const FUZZ = path.join(ROOT, 'tests/fuzz');
const LEDGER = path.join(build, 'runs.json');
const LIMITS = ['-timeout=100', '-rss_limit_mb=2048', '-max_len=4096', '-verbosity=0'];
const TICKS_S = 100; // of the processor, a second

const all = fs.readdirSync(FUZZ).map((name) => /^fuzz_(\w+)\.c$/.exec(name)?.[1]).filter(Boolean).sort();
const ledger = fs.existsSync(LEDGER) ? JSON.parse(fs.readFileSync(LEDGER, 'utf8')) : [];
const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: ROOT, encoding: 'utf8' }).trim();
const program = (target) => path.join(build, 'tests', `fuzz_${target}`);
const corpus = (target) => path.join(build, 'corpus', target);
const seeds = (target) => path.join(FUZZ, 'corpus', target);

/** What the runs of ${target} have had. */
function sums(target) {
	const runs = ledger.filter((r) => r.target === target);
	const sum = (name) => runs.reduce((n, r) => n + r[name], 0);
	return { target, runs: runs.length, seconds: sum('seconds'), cpu: sum('cpu'), inputs: sum('inputs'), failed: runs.filter((r) => r.status !== 0).length };
}

/** Run ${target} once: did it find nothing?  A run that ends by a finding counts as well. */
function run(target) {
	const dict = path.join(FUZZ, `${target}.dict`);
	fs.mkdirSync(corpus(target), { recursive: true });
	const child = spawn(program(target), [`-max_total_time=${seconds}`, '-print_final_stats=1', ...LIMITS, ...(fs.existsSync(dict) ? [`-dict=${dict}`] : []),
		`-artifact_prefix=${path.join(build, `${target}-`)}`, corpus(target), seeds(target)], { stdio: ['ignore', 'ignore', 'pipe'] });
	const began = performance.now();
	let err = '';
	let used = 0;
	const look = setInterval(() => {
		try {
			used = ticks(child);
		} catch {} // it has just ended
	}, 500);
	child.stderr.on('data', (d) => (err = (err + d).slice(-20000)));
	return new Promise((resolve, reject) => {
		child.on('error', reject);
		child.on('close', (code, signal) => {
			clearInterval(look);
			const inputs = Number(/^stat::number_of_executed_units: (\d+)/m.exec(err)?.[1] ?? 0);
			const one = { date: new Date().toISOString(), commit, target, seconds: Math.round((performance.now() - began) / 1000), cpu: used / TICKS_S, inputs, status: signal ?? code };
			ledger.push(one);
			fs.writeFileSync(LEDGER, JSON.stringify(ledger, null, '\t'));
			console.log(`  ${one.status === 0 ? 'ok  ' : 'FAIL'} ${target}: ${one.seconds} s, ${one.cpu.toFixed(0)} s of processor, ${inputs} inputs`);
			if (one.status !== 0) console.log(err.slice(-5000));
			resolve(one.status === 0);
		});
	});
}

/** Take into the tree what takes branches that its corpus does not. */
function merge(target) {
	const had = fs.readdirSync(seeds(target)).length;
	execFileSync(program(target), ['-merge=1', ...LIMITS, seeds(target), corpus(target)], { stdio: 'ignore' });
	console.log(`  ${target}: ${had} inputs, now ${fs.readdirSync(seeds(target)).length}`);
}

const targets = args.length ? args : all;
const before = ledger.length;
let waiting = [...targets];
/** Whose turn it is, or undefined. */
function next() {
	const [first] = waiting.map(sums).filter((s) => until === 0 || s.cpu < until).sort((a, b) => a.cpu - b.cpu);
	waiting = waiting.filter((target) => target !== first?.target);
	return first?.target;
}
const work = async () => {
	for (let target; (target = next()); )
		if ((await run(target)) && until > 0) waiting.push(target);
};
await Promise.all(Array.from({ length: jobs }, work));
if (keep) targets.forEach(merge);

console.log('\n| target | seconds | of processor | inputs | runs that failed |\n|---|---|---|---|---|');
for (const s of all.map(sums).filter((s) => s.runs)) console.log(`| ${s.target} | ${s.seconds} | ${s.cpu.toFixed(0)} | ${s.inputs.toLocaleString('en')} | ${s.failed} of ${s.runs} |`);
const failed = ledger.slice(before).filter((r) => r.status !== 0).length;
console.log(`\n${ledger.length - before - failed} passed, ${failed} failed`);
process.exitCode = failed ? 1 : 0;
