#!/usr/bin/env node
// What the tests of a build with --coverage reached: a line per file, and a total.
//
//   report.mjs BUILD [--missed FILE] [--goal PERCENT] FOLDER...
//
// FILE: the branches that nothing took, a line each.
//
// Branches are gcov's, of the code as written (-O0). Those of assert() are left out: the other way is the end of the process.
// A macro's and an inline function's branches count where they are used; headers have no line of their own.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';

const args = process.argv.slice(2);
const value = (name, otherwise) => (args.includes(name) ? args.splice(args.indexOf(name), 2)[1] : otherwise);
const missed = value('--missed');
const goal = Number(value('--goal', 0));
const [build, ...folders] = args;

/** The lines on which an assert() stands, with those that it goes on to. */
function asserts(source) {
	const at = new Set();
	let depth = 0;
	source.forEach((line, i) => {
		if (depth > 0 || /^\s*assert\(/.test(line)) {
			at.add(i + 1);
			for (const c of line) depth += c === '(' ? 1 : c === ')' ? -1 : 0;
		}
	});
	return at;
}

/** Branches and lines of one object file's source. */
function measure(folder, name) {
	const file = `${folder}/${name}.c`;
	const source = fs.readFileSync(file, 'utf8').split('\n');
	const out = { file, lines: 0, linesRun: 0, branches: 0, taken: 0, missing: [] };
	const skip = asserts(source);
	const data = `${build}/${folder}/${name}.gcda`;
	const text = execFileSync('gcov', ['--json-format', '--stdout', '-b', fs.existsSync(data) ? data : data.replace(/da$/, 'no')],
		{ encoding: 'utf8', maxBuffer: 1 << 28, stdio: ['ignore', 'pipe', 'ignore'] });

	for (const f of JSON.parse(text).files.filter((f) => f.file === file)) {
		for (const line of f.lines) {
			out.lines++;
			out.linesRun += line.count > 0;
			if (skip.has(line.line_number)) continue;
			const taken = line.branches.filter((b) => b.count > 0).length;
			out.branches += line.branches.length;
			out.taken += taken;
			if (taken < line.branches.length)
				out.missing.push(`${file}:${line.line_number}: ${line.branches.length - taken} of ${line.branches.length}: ${source[line.line_number - 1].trim()}`);
		}
	}
	return out;
}

const percent = (part, whole) => (whole ? ((100 * part) / whole).toFixed(1) : '100.0').padStart(6);
const row = (name, r) => console.log(`${name.padEnd(28)}${String(r.lines).padStart(7)}${percent(r.linesRun, r.lines)} %${String(r.branches).padStart(9)}${percent(r.taken, r.branches)} %`);
const sum = (rows) => rows.reduce((a, r) => ({ lines: a.lines + r.lines, linesRun: a.linesRun + r.linesRun, branches: a.branches + r.branches, taken: a.taken + r.taken }),
	{ lines: 0, linesRun: 0, branches: 0, taken: 0 });
const all = [];
let below = 0;

console.log(`${'file'.padEnd(28)}${'lines'.padStart(7)}${'run'.padStart(8)}${'branches'.padStart(9)}${'taken'.padStart(8)}`);
for (const folder of folders) {
	const names = fs.readdirSync(path.join(build, folder)).filter((f) => f.endsWith('.gcno')).map((f) => f.slice(0, -5)).sort();
	const rows = names.map((name) => measure(folder, name));
	rows.forEach((r) => row(r.file, r));
	row(`${folder}/`, sum(rows));
	below += (100 * sum(rows).taken) / sum(rows).branches < goal;
	all.push(...rows);
}
row('all', sum(all));
if (missed) fs.writeFileSync(missed, all.flatMap((r) => r.missing).join('\n') + '\n');
if (below > 0) console.log(`${below} of ${folders.length} folders are below ${goal} % of branches`);
process.exit(below > 0 ? 1 : 0);
