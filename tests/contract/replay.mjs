#!/usr/bin/env node
// Replays recorded requests against a server and reports every difference from CouchDB's recorded answers.
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Scenario, runRevids } from './scenario.mjs';

const USAGE = `usage: node replay.mjs --url http://admin:adm@127.0.0.1:5984 [options] FILE|FOLDER...
  --only AREA/NAME  only scenarios that match (* stands for anything); may be repeated
  --verbose         name the steps that pass too`;

const show = (v) => (v === undefined ? 'nothing' : JSON.stringify(v));

/** One line that says what differs, short enough for a terminal. */
export function describe(label, request, differences) {
	const classes = [...new Set(differences.map((d) => d.class))].join();
	const text = differences.map((d) => `${d.at}: expected ${show(d.want)} got ${show(d.got)}`).join('; ');
	return `FAIL ${label} ${request} [${classes}] ${text.length > 300 ? text.slice(0, 297) + '...' : text}`;
}

function listFiles(names) {
	return names.flatMap((name) => {
		if (!fs.statSync(name).isDirectory()) return [name];
		return fs.readdirSync(name).filter((f) => /\.jsonl?$/.test(f)).sort().map((f) => path.join(name, f));
	});
}

/** Replay ${files} (scenario files, .jsonl for revision ids, or folders of both) against ${url}, which names the administrator. */
export async function replay({ url, files, only = [], report }) {
	const u = new URL(url);
	const server = {
		url: url.replace(/\/+$/, ''), hostname: u.hostname, port: u.port || '80', host: `${u.hostname}:${u.port || '80'}`,
		auth: `${decodeURIComponent(u.username)}:${decodeURIComponent(u.password)}`,
	};
	const patterns = only.map((glob) => new RegExp(`^${glob.replace(/[.+?^${}()|[\]\\]/g, '\\$&').replaceAll('*', '.*')}$`));
	const wanted = (...names) => !patterns.length || patterns.some((re) => names.some((name) => re.test(name)));

	for (const file of listFiles(files)) {
		const text = fs.readFileSync(file, 'utf8');
		if (file.endsWith('.jsonl')) {
			const cases = text.split('\n').filter(Boolean).map((line) => JSON.parse(line));
			if (wanted('revids', 'revids/revids')) await runRevids(server, cases, report);
			continue;
		}
		const { area, scenarios } = JSON.parse(text);
		if (!scenarios) continue;
		for (const def of scenarios) {
			if (wanted(area, def.name, `${area}/${def.name}`)) await new Scenario(server, area, def, report).run();
		}
	}
}

async function main(args) {
	const options = { only: [], files: [] };
	let passed = 0;
	let failed = 0;
	let verbose = false;

	while (args.length) {
		const arg = args.shift();
		if (arg === '--url') options.url = args.shift();
		else if (arg === '--only') options.only.push(args.shift());
		else if (arg === '--verbose') verbose = true;
		else if (arg.startsWith('-')) return void console.error(USAGE), 2;
		else options.files.push(arg);
	}
	if (!options.url || !options.files.length) return void console.error(USAGE), 2;
	await replay({
		...options,
		report: {
			pass(label, request) {
				passed++;
				if (verbose) console.log(`ok   ${label} ${request}`);
			},
			fail(label, request, differences) {
				failed++;
				console.log(describe(label, request, differences));
			},
			skip: (label, steps, why) => console.log(`skip ${label}: ${why} (${steps} steps)`),
		},
	});
	console.log(`${passed} passed, ${failed} failed`);
	return failed === 0 && passed > 0 ? 0 : 1;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.exitCode = await main(process.argv.slice(2));
