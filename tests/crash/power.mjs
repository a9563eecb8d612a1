#!/usr/bin/env node
// Cuts the power.  A loaded server's disk is recorded (power_shim.c) with what was acknowledged when; then, for many places in that record, the disk
// is made as it may be after a power cut there (power_disk.c), and a server started on it must have all that was acknowledged.
// CUTS: how many (25).  SEED: repeats the choices of an earlier run, though not the scheduler's.  POWER_PER: cuts of one recording.
// POWER_FAULT: plants a fault (power_shim.c); then cuts must be found bad.  POWER_KEEP: where to leave recordings with findings.
import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import readline from 'node:readline';
import { BUILD, DIVAN, preload, startDivand, tempDir } from '../lib/divand.mjs';
import { Random } from '../lib/random.mjs';
import { Client } from './writers.mjs';
import { DB, Story, load } from './power_load.mjs';
import { checkServer } from './power_check.mjs';

const CUTS = Number(process.env.CUTS ?? 25);
const PER = Number(process.env.POWER_PER ?? Math.min(100, CUTS));
const SEED = Number(process.env.SEED || Date.now() % 1e9);
const OPS = Number(process.env.POWER_OPS ?? (CUTS > 100 ? 4000 : 2500)); // records of a load
const BYTES = 60 << 20;
const AGAIN = 6; // one in so many is followed by another
const QUICK = { chttpd_auth: { iterations: 1 } }; // else a start is spent on the administrator's password
const FIRST = 150; // records of the first start and the first databases, which have their own share of cuts

const random = new Random(SEED);
const tally = { cuts: 0, acks: 0, records: 0, marks: 0, early: 0, twice: 0, busy: 0, resumed: 0, bad: 0, ms: 0 };
let passed = 0;
let failed = 0;

function verdict(what, findings) {
	if (findings.length === 0) passed++;
	else {
		failed++;
		console.log(`  FAIL ${what} (SEED=${SEED})\n${findings.slice(0, 10).map((f) => `    ${f}`).join('\n')}${findings.length > 10 ? `\n    and ${findings.length - 10} more` : ''}`);
	}
	return findings.length > 0;
}

/** power_disk, which answers each line with one. */
function disk({ log, keep, root }) {
	const child = spawn(path.join(BUILD, 'tests/crash/power_disk'), [log, keep, root], { stdio: ['pipe', 'pipe', 'pipe'] });
	const waiting = [];
	let err = '';
	readline.createInterface({ input: child.stdout }).on('line', (line) => waiting.shift()?.resolve(line));
	child.stderr.on('data', (d) => (err += d));
	child.on('close', () => waiting.splice(0).forEach(({ reject }) => reject(new Error(err.trim()))));
	child.stdin.on('error', () => {}); // it has ended, which is told above
	return {
		ask: (line) => new Promise((resolve, reject) => {
			waiting.push({ resolve, reject });
			child.stdin.write(`${line}\n`);
		}),
		end: () => child.stdin.end(),
	};
}

/** It dies as it begins something, so that the log has nothing that was not done. */
async function halt(server, story) {
	story.halt(1);
	await Promise.race([server.exited, new Promise((resolve) => setTimeout(resolve, 1000))]);
	await server.kill();
	story.halt(0);
}

function newLog(log) {
	fs.rmSync(log, { force: true });
	fs.writeFileSync(log, '');
	fs.truncateSync(log, 4 * 2 ** 30);
	return new Story(log);
}

// The library links files into a folder of its own, where divand may not write.
const recorded = ({ keep }, log, root) => ({ ...preload(path.join(BUILD, 'tests/crash/power.so')), POWER_LOG: log, POWER_KEEP: keep, POWER_ROOT: root, DIVAN_DIVAN__CONFINE: 'off' });

/** A server is started on nothing, loaded, ended, started again and loaded, on a disk that is recorded. */
async function record(base) {
	const at = { log: path.join(base, 'log'), keep: path.join(base, 'keep'), root: path.join(base, 'root'), cut: path.join(base, 'cut') };
	for (const dir of [at.keep, at.root]) fs.mkdirSync(dir);
	const story = newLog(at.log);
	const env = recorded(at, at.log, at.root);
	const server = await startDivand({ dataDir: path.join(at.root, 'data'), env, config: QUICK });
	for (const part of [1, 2]) {
		const client = new Client(server);
		if (part === 1) {
			const made = story.ask(`made ${DB}`, {});
			await client.request('PUT', `/${DB}`);
			story.acked(made);
		}
		const stop = part === 1 && random.below(2) === 0;
		await load({ client, story, random, part, ops: OPS / part, bytes: BYTES / part, end: () => (stop ? server.stop() : halt(server, story)) });
		client.close();
		if (part === 1) await server.restart();
	}
	const whole = disk(at);
	verdict('the log has all that happened to the folder', await whole.ask('same').then(() => [], (e) => [e.message]));
	whole.end();
	return { ...at, story };
}

/** Where to cut: anywhere, about syncs and the like, soon after a name has changed, and in the first records. */
function places(n, ops, { all, names }) {
	const ks = Array.from({ length: n }, (_, i) => (i % 10 === 9 ? random.between(1, FIRST)
		: i % 5 === 0 ? random.pick(names) + random.below(6) : i % 2 ? random.between(1, ops) : random.pick(all) + random.below(2)));
	return ks.map((k) => Math.min(k, ops)).sort((a, b) => a - b);
}

function check(dataDir) {
	try {
		execFileSync(DIVAN, ['check', '--data', dataDir], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
		return [];
	} catch (e) {
		return `${e.stdout ?? ''}${e.stderr ?? ''}${e.status === null || e.status === undefined ? e.message : ''}`.trim().split('\n');
	}
}

/** The power is cut again while a server starts on what the first cut left, or works on it.  The folder is then ${at.cut} with a 2. */
async function cutAgain(at, story, k) {
	const log = `${at.log}2`;
	const again = newLog(log);
	const cutter = disk({ ...at, log, root: at.cut });
	const findings = [];
	await cutter.ask('base');
	try {
		const server = await startDivand({ dataDir: path.join(at.cut, 'data'), env: recorded(at, log, at.cut), config: QUICK });
		const client = new Client(server);
		findings.push(...await checkServer({ client, story, random, k, tally }));
		await halt(server, again);
		client.close();
	} catch (e) {
		findings.push(e.stack);
	}
	const { ops } = again.now();
	const k2 = random.between(0, ops);
	fs.rmSync(`${at.cut}2`, { recursive: true, force: true });
	const fate = await cutter.ask(`cut ${k2} ${random.below(1e9)} ${at.cut}2`);
	cutter.end();
	fs.closeSync(again.fd);
	tally.twice++;
	return { findings, fate: `; again ${k2} of ${ops}: ${fate}` };
}

/** One cut: the folder is there; what is wrong with it? */
async function tryFolder(dataDir, story, k) {
	const findings = [];
	const checkFirst = fs.existsSync(dataDir) && random.below(3) === 0;
	if (checkFirst) findings.push(...check(dataDir));
	let server;
	try {
		server = await startDivand({ dataDir, config: QUICK });
	} catch (e) {
		return [...findings, e.message];
	}
	const client = new Client(server);
	try {
		findings.push(...await checkServer({ client, story, random, k, tally }));
	} catch (e) {
		findings.push(e.stack, server.stderr());
	}
	client.close();
	if (checkFirst) await server.kill();
	else {
		await server.stop().catch((e) => findings.push(e.message));
		findings.push(...check(dataDir));
	}
	const left = fs.existsSync(dataDir) ? fs.readdirSync(dataDir).filter((name) => /^\.(tmp|body|new)/.test(name)) : [];
	if (left.length) findings.push(`left over: ${left}`);
	return findings;
}

const shm = fs.existsSync('/dev/shm') ? '/dev/shm' : undefined; // no disk has to be waited for there
if (shm) process.env.TMPDIR ??= shm;
for (let recording = 1; tally.cuts < CUTS; recording++) {
	const base = tempDir('divan-power');
	const { story, ...at } = await record(base);
	const { ops } = story.now();
	const cutter = disk(at);
	const told = (await cutter.ask('marks')).trim().split(' ');
	const marks = { all: told.map((m) => parseInt(m, 10)), names: told.filter((m) => m.endsWith('n')).map((m) => parseInt(m, 10)) };
	const ks = places(Math.min(PER, CUTS - tally.cuts), ops, marks);
	let bad = 0;
	tally.acks += story.acks;
	tally.busy += story.busy;
	tally.records += ops;
	tally.marks += marks.all.length;
	for (const k of ks) {
		const began = Date.now();
		const seed = random.below(1e9);
		fs.rmSync(at.cut, { recursive: true, force: true });
		const fate = await cutter.ask(`cut ${k} ${seed} ${at.cut}`);
		const second = random.below(AGAIN) === 0 ? await cutAgain(at, story, k) : { findings: [], fate: '' };
		const findings = [...second.findings, ...await tryFolder(path.join(second.fate ? `${at.cut}2` : at.cut, 'data'), story, k)];
		bad += verdict(`recording ${recording}, cut ${k} of ${ops}, seed ${seed} (${fate}${second.fate})`, findings);
		tally.cuts++;
		tally.early += k <= FIRST;
		tally.ms += Date.now() - began;
	}
	cutter.end();
	tally.bad += bad;
	fs.closeSync(story.fd);
	if (bad && process.env.POWER_KEEP) {
		const to = path.join(process.env.POWER_KEEP, `power-${SEED}-${recording}`);
		execFileSync('cp', ['-a', '--sparse=always', base, to]);
		fs.writeFileSync(path.join(to, 'story.json'), JSON.stringify([...story.things]));
		console.log(`  kept: ${to}`);
	}
	fs.rmSync(base, { recursive: true, force: true });
	if (CUTS > PER) console.log(`  ${tally.cuts} cuts of ${recording} recordings, ${tally.bad} bad`);
}
console.log(`  ${tally.cuts} power cuts, ${tally.early} of them in a first start, ${tally.twice} followed by a second; ${tally.records} records of disks (${tally.marks} no plain writes), ` +
	`${tally.acks} acknowledged writes, ${tally.busy} that had to wait; ${tally.resumed} replications went on; ${Math.round(tally.ms / tally.cuts)} ms a cut`);
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed || !passed ? 1 : 0;
