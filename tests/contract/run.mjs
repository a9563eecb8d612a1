// The contract suite: one divand, the recorded scenarios, and the list of steps that a later issue brings.
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { startDivand } from '../lib/divand.mjs';
import { describe, replay } from './replay.mjs';

const HERE = path.dirname(fileURLToPath(import.meta.url));
const EXPECTED = path.join(HERE, 'expected.txt');

/** Lines `area/scenario #2,5-9 why`. */
function readExpected() {
	const known = new Map();
	for (const line of fs.readFileSync(EXPECTED, 'utf8').split('\n')) {
		const m = /^([a-z]+\/\S+) #([\d,-]+)/.exec(line);
		if (!m) continue;
		for (const range of m[2].split(',')) {
			const [first, last = first] = range.split('-').map(Number);
			for (let n = first; n <= last; n++) known.set(`${m[1]} #${n}`, line);
		}
	}
	return known;
}

const failed = [];
const expected = readExpected();
const surprises = [];
let passed = 0;
let known = 0;
let skipped = 0;

const report = {
	pass(label) {
		passed++;
		if (expected.has(label)) surprises.push(label);
	},
	fail(label, request, differences) {
		if (expected.has(label)) {
			known++;
			return;
		}
		failed.push(label);
		console.log(describe(label, request, differences));
	},
	skip(label, steps, why) {
		skipped += steps;
		console.log(`skip ${label}: ${why} (${steps} steps)`);
	},
};

const server = await startDivand();
await replay({ url: server.authUrl, files: [HERE, path.join(HERE, '../data/revids.jsonl')], report });
try {
	await server.stop();
} catch (e) {
	failed.push('stop');
	console.log(`FAIL ${e.message}`);
}
for (const label of surprises) console.log(`${label} passes: take it off tests/contract/expected.txt`);
console.log(`${known} steps expected to fail today${skipped ? `, ${skipped} skipped` : ''}`);
console.log(`${passed} passed, ${failed.length} failed`);
process.exitCode = failed.length || !passed ? 1 : 0;
