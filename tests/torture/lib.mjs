// The file that a program under torture and who runs it share (fail.h), and what both runners need: options, programs, reports of sanitizers.
import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';

const SORTS = ['alloc', 'file', 'store', 'other'];
const MODES = { first: {}, later: { skip: 2 }, good: { forGood: true } };

export const args = process.argv.slice(2);
/** What stands behind ${name} on the command line, or ${otherwise}; both are no longer in args then. */
export const option = (name, otherwise) => (args.includes(name) ? args.splice(args.indexOf(name), 2)[1] : otherwise);

export const build = path.resolve(option('--build', 'build-torture'));
export const step = Number(option('--step', 1)) || 1;
export const seed = Number(option('--seed', 0)) || 0;
export const modes = option('--modes', 'first').split(',');
export const sorts = option('--sorts', SORTS.join()).split(',');
export const report = option('--report', null);
const depth = Number(option('--depth', 7));

const AT = { armed: 0, sorts: 4, skip: 8, for_good: 12, step: 16, seed: 20, turn: 24, fired: 28, sort: 32, nframes: 36, points: 56, full: 60, depth: 92 };
const HEAD = 192;
const POINTS = 1 << 17;
const POINT = { hash: 0, done: 16, size: 24 };
const SIZE = HEAD + POINTS * POINT.size;

/** The file, and what stands in it; ${kept}: it may be there from an earlier run of the same programs, and stays. */
export class Control {
	constructor(file, kept = false) {
		this.file = file;
		this.kept = kept;
		this.fd = fs.openSync(file, kept && fs.existsSync(file) ? 'r+' : 'w+');
		fs.ftruncateSync(this.fd, SIZE);
		this.set('depth', depth);
	}
	set(name, value) {
		const b = Buffer.alloc(4);
		b.writeUInt32LE(value >>> 0);
		fs.writeSync(this.fd, b, 0, 4, AT[name]);
	}
	get(name) {
		const b = Buffer.alloc(4);
		fs.readSync(this.fd, b, 0, 4, AT[name]);
		return b.readUInt32LE();
	}
	/** {held, snaps}: locks and snapshots that are open. */
	open() {
		const b = Buffer.alloc(16);
		fs.readSync(this.fd, b, 0, 16, 40);
		return { held: Number(b.readBigInt64LE(0)), snaps: Number(b.readBigInt64LE(8)) };
	}
	/** From here on one call fails, which has not failed from its place before: as ${mode} says, and of what the options leave. */
	arm(mode) {
		const { skip = 0, forGood = false } = MODES[mode];
		this.set('armed', 0);
		this.set('sorts', sorts.reduce((bits, sort) => bits | (1 << SORTS.indexOf(sort)), 0));
		this.set('skip', skip);
		this.set('for_good', forGood ? 1 : 0);
		this.set('step', step);
		this.set('seed', seed);
		this.set('fired', 0);
		this.set('turn', this.get('turn') + 1);
		this.set('armed', 1);
	}
	disarm() {
		this.set('armed', 0);
	}
	/** What failed since arm(): null, or {sort, what, frames}. */
	fired() {
		if (this.get('fired') === 0) return null;
		const b = Buffer.alloc(HEAD);
		fs.readSync(this.fd, b, 0, HEAD, 0);
		const frames = [];
		for (let i = 0; i < b.readUInt32LE(AT.nframes); i++) frames.push(b.readBigUInt64LE(96 + 8 * i));
		return { sort: SORTS[b.readUInt32LE(AT.sort)], what: b.toString('latin1', 64, 92).replace(/\0.*/s, ''), frames };
	}
	/** What has failed under ${other} need not fail here; a program may run under either. */
	learn(other) {
		const [own, theirs] = [this.#points(), other.#points()];
		for (let from = 0; from < theirs.length; from += POINT.size) {
			if (theirs.readUInt32LE(from + POINT.done) === 0) continue;
			const hash = theirs.readBigUInt64LE(from + POINT.hash);
			const held = (i) => own.readBigUInt64LE(i * POINT.size + POINT.hash);
			let i = Number(hash >> 20n) % POINTS; // as fail.c's point_of()
			for (let n = 0; n < POINTS && held(i) !== 0n && held(i) !== hash; n++) i = (i + 1) % POINTS;
			const to = i * POINT.size;
			if (own.readUInt32LE(to + POINT.done) !== 0) continue;
			own.writeBigUInt64LE(hash, to + POINT.hash);
			own.writeUInt32LE(1, to + POINT.done);
			fs.writeSync(this.fd, own, to, POINT.size, HEAD + to);
		}
	}
	#points() {
		const b = Buffer.alloc(POINTS * POINT.size);
		fs.readSync(this.fd, b, 0, b.length, HEAD);
		return b;
	}
	/** Forget what has failed. */
	forget() {
		fs.ftruncateSync(this.fd, HEAD);
		fs.ftruncateSync(this.fd, SIZE);
		this.set('points', 0);
		this.set('full', 0);
	}
	close() {
		fs.closeSync(this.fd);
		if (!this.kept) fs.rmSync(this.file, { force: true });
	}
}

/** Addresses in a program as `function file:line`. */
export function places(program, frames) {
	if (frames.length === 0) return [];
	const out = execFileSync('addr2line', ['-f', '-e', program, ...frames.map((at) => '0x' + (at - 1n).toString(16))], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
	const lines = out.trim().split('\n');
	return frames.map((_, i) => `${lines[2 * i]} ${short(lines[2 * i + 1])}`);
}

/** Words of ${program} may be missing: what failed, or goes on to fail, is the writing of them. */
export const isUnheard = (program, fault, mode) => fault.what === 'fflush' || (mode === 'good' && fault.sort === 'file') || (fault.what === 'write' && / base\/log\.c/.test(places(program, fault.frames)[0]));

const short = (file) => file.replace(/^.*\/((?:base|http|store|db|query|views|script|replicator|httpapi|cli|tests)\/)/, '$1').replace(/ \(.*\)$/, '');

export const SANITIZERS = {
	ASAN_OPTIONS: 'detect_leaks=1:exitcode=99:malloc_context_size=12:quarantine_size_mb=8:allocator_may_return_null=1:handle_abort=1',
	UBSAN_OPTIONS: 'halt_on_error=1:exitcode=99:print_stacktrace=1',
	LSAN_OPTIONS: 'print_suppressions=0:max_leaks=3',
};

const children = new Set();
process.on('exit', () => children.forEach((child) => child.kill('SIGKILL')));

/** Start a program, which does not outlive this one. */
export function start(command, parameters, options) {
	const child = spawn(command, parameters, { ...options, detached: true });
	children.add(child);
	child.on('exit', () => {
		try {
			process.kill(-child.pid, 'SIGKILL'); // what it has started and left
		} catch {} // nothing
	});
	child.on('close', () => children.delete(child));
	return child;
}

/** Is it a crash of libzstd 1.5.4's, whose ZSTD_createCDict() uses memory that it did not get (docs/RELIABILITY.md)?  ${at}: stack()'s. */
export const isLibrarys = (kind, at) => /SEGV/.test(kind) && at[0]?.fn === 'body_dict_train';

/** Run a program to its end: {code, signal, late, err}. */
export function run(command, { env, cwd, ms }) {
	return new Promise((resolve) => {
		const child = start(command[0], command.slice(1), { env, cwd, stdio: ['ignore', 'ignore', 'pipe'] });
		let err = '', late = false;
		const timer = setTimeout(() => {
			late = true;
			child.kill('SIGABRT');
			setTimeout(() => child.kill('SIGKILL'), 5000).unref();
		}, ms);
		child.stderr.on('data', (d) => (err = (err + d).slice(-200000)));
		child.on('error', (e) => (err += e.message));
		child.on('close', (code, signal) => {
			clearTimeout(timer);
			resolve({ code, signal, late, err });
		});
	});
}

/** The functions of a sanitizer's report, innermost first, without those of libraries: [{fn, at}]. */
export function stack(err) {
	const out = [];
	let begun = false;
	for (const line of err.split('\n')) {
		const m = /^\s+#(\d+) 0x[0-9a-f]+ (?:in )?(\S+)(?: (\S+))?/.exec(line);
		if (m) {
			if (m[1] === '0' && begun && out.length) break;
			begun = true;
			if (m[3] && /:\d+/.test(m[3]) && !/^(\.\.|\/usr)|sanitizer|csu\/|torture\/fail|^(nptl|stdlib|sysdeps|string|malloc|assert)\//.test(m[3])) out.push({ fn: m[2], at: short(m[3]) });
		}
	}
	return out;
}
