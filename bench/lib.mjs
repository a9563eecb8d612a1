// What the lines of the benchmark share: processes and what they cost, requests, load generators.
import { execFile, spawn } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const HERE = path.dirname(fileURLToPath(import.meta.url));

/** Run a program to its end; the result is its standard output.  Nothing outlives a failed run. */
export function run(file, args, env = {}) {
	return new Promise((resolve, reject) => {
		execFile(file, args, { env: { ...process.env, ...env }, maxBuffer: 16 << 20 }, (e, out, err) => {
			if (e) reject(new Error(`${file} ${args.join(' ')}\n${e.message}\n${out}${err}`));
			else resolve(out);
		});
	});
}

const children = new Set();
process.on('exit', () => {
	for (const child of children) child.kill('SIGKILL');
});

/** Start a server that prints "listening PORT". */
export function startCeiling(file, args) {
	return new Promise((resolve, reject) => {
		const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'inherit'] });
		let out = '';
		children.add(child);
		child.on('error', reject);
		child.on('exit', (code) => {
			children.delete(child);
			reject(new Error(`${file} ended with ${code}`));
		});
		child.stdout.on('data', (d) => {
			out += d;
			const m = /listening (\d+)/.exec(out);
			if (m) resolve({ pid: child.pid, port: Number(m[1]), stop: () => child.kill('SIGKILL') });
		});
	});
}

function tree(pid) {
	const pids = [pid];
	for (let i = 0; i < pids.length; i++) {
		for (const tid of fs.readdirSync(`/proc/${pids[i]}/task`)) {
			const kids = fs.readFileSync(`/proc/${pids[i]}/task/${tid}/children`, 'utf8').trim();
			if (kids) pids.push(...kids.split(' ').map(Number));
		}
	}
	return pids;
}

/** CPU time of a process and its descendants so far, in microseconds (user and system; to 10 ms). */
export function cpuUs(pid) {
	let ticks = 0;
	for (const p of tree(pid)) {
		const fields = fs.readFileSync(`/proc/${p}/stat`, 'utf8').replace(/^.*\) /s, '').split(' ');
		// utime, stime, and those of children that have ended.
		for (const i of [11, 12, 13, 14]) ticks += Number(fields[i]);
	}
	return ticks * 10000;
}

/** The same to the nanosecond, from the threads that are alive. */
function cpuFine(pid) {
	let ns = 0;
	for (const p of tree(pid))
		for (const tid of fs.readdirSync(`/proc/${p}/task`))
			ns += Number(fs.readFileSync(`/proc/${p}/task/${tid}/schedstat`, 'utf8').split(' ')[0]);
	return ns / 1000;
}

/** A member of /proc/PID/status, summed over all threads (counters) or of the process (sizes, in KiB). */
export function status(pid, name, threads = false) {
	const files = threads ? fs.readdirSync(`/proc/${pid}/task`).map((t) => `/proc/${pid}/task/${t}/status`) : [`/proc/${pid}/status`];
	let sum = 0;
	for (const f of files) sum += Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(fs.readFileSync(f, 'utf8'))[1]);
	return sum;
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Wait until a server has nothing left to do: what a write leaves behind (a dictionary's training) is not the next line's. */
export async function quiet(pid) {
	for (let calm = 0, last = cpuFine(pid); calm < 3;) {
		await sleep(60);
		const now = cpuFine(pid);
		calm = now - last < 1000 ? calm + 1 : 0;
		last = now;
	}
}

/** What ${work} cost the server: {cpu, wall} in microseconds, and what it returned. */
export async function cost(pid, work) {
	await quiet(pid);
	const cpu = cpuUs(pid), fine = cpuFine(pid), start = process.hrtime.bigint();
	const result = await work();
	const wall = Number(process.hrtime.bigint() - start) / 1000;
	const used = cpuFine(pid) - fine, ticks = cpuUs(pid) - cpu;
	// Threads that ended in between are in the coarse count only.
	return { cpu: ticks - used > 50000 ? ticks : used, wall, result };
}

const agent = new http.Agent({ keepAlive: true });

/** One request; the answer's status and text, or its length alone. */
export function request(base, method, target, { body, auth, discard = false } = {}) {
	return new Promise((resolve, reject) => {
		const headers = {};
		if (body !== undefined) {
			headers['content-type'] = 'application/json';
			headers['content-length'] = Buffer.byteLength(body);
		}
		if (auth) headers.authorization = auth;
		const req = http.request(base + target, { method, headers, agent }, (res) => {
			const parts = [];
			let length = 0;
			res.on('data', (d) => {
				length += d.length;
				if (!discard) parts.push(d);
			});
			res.on('error', reject);
			res.on('end', () => resolve({ status: res.statusCode, length, text: Buffer.concat(parts).toString() }));
		});
		req.on('error', reject);
		req.end(body);
	});
}

export async function expect(status, ...args) {
	const res = await request(...args);
	if (res.status !== status) throw new Error(`${args[1]} ${args[2]}: ${res.status} ${res.text.slice(0, 300)}`);
	return res;
}

/** wrk with one thread: the number of answers, all of them good. */
export async function wrk(url, connections, seconds, script, env) {
	const out = await run('wrk', ['-t1', `-c${connections}`, `-d${seconds}s`, '-s', path.join(HERE, 'wrk', script), url], env);
	const bad = /Non-2xx or 3xx responses: (\d+)|Socket errors: (.*)/.exec(out);
	if (bad) throw new Error(`wrk ${script}: ${bad[0]}\n${out}`);
	return Number(/(\d+) requests in/.exec(out)[1]);
}

/** h2load over TLS with 64 connections: the number of answers, all of them good. */
export async function h2load(uris, streams, requests) {
	const out = await run('h2load', ['-t1', '-c64', `-m${streams}`, `-n${requests}`, '-i', uris]);
	const m = /status codes: (\d+) 2xx/.exec(out);
	if (!m || Number(m[1]) !== requests) throw new Error(`h2load: ${out}`);
	return requests;
}

export function median(list) {
	const s = [...list].sort((a, b) => a - b);
	return s.length % 2 ? s[s.length >> 1] : (s[s.length / 2 - 1] + s[s.length / 2]) / 2;
}

/** How many transactions an LMDB file has seen: the newer of its two meta pages says. */
export function lmdbTransactions(file) {
	const head = Buffer.alloc(8192);
	const fd = fs.openSync(file, 'r');
	fs.readSync(fd, head, 0, head.length, 0);
	fs.closeSync(fd);
	return Number([144, 4096 + 144].map((at) => head.readBigUInt64LE(at)).reduce((a, b) => (a > b ? a : b)));
}
