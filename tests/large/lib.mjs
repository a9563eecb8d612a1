// Bodies of any size, made and checked on the fly, and what a server does meanwhile: its memory, its answers to others, its loops' lag.
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import http from 'node:http';
import { once } from 'node:events';
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';
import { anonKiB } from '../lib/process.mjs';

export const MIB = 1 << 20;
/** MiB of the attachments: 64 in `make test`, 1024 in `make test-large`. */
export const SIZE_MIB = Number(process.env.SIZE_MIB ?? 64);
const GROWTH_MIB = 16;
const SAMPLE_MS = 50;

/** Pieces of ${bytes} in all that do not repeat, the same ones for the same seed; ${text}: that compress well. */
export function* pieces(bytes, seed, text = false) {
	const block = Buffer.alloc(MIB);
	if (text) block.write('The quick brown fox jumps over the lazy dog. '.repeat(MIB / 45));
	else crypto.createCipheriv('aes-128-ctr', Buffer.alloc(16, seed), Buffer.alloc(16)).update(block).copy(block);
	for (let at = 0; at < bytes; at += MIB) {
		const piece = Buffer.from(block.subarray(0, Math.min(MIB, bytes - at)));
		for (let i = 0; i + 8 <= piece.length; i += 65536) piece.writeUInt32LE((at + i) / 65536 + seed * 16777216, i + 4);
		yield piece;
	}
}

/** {length, md5 (base64)} of an iterable of pieces. */
export async function measure(source) {
	const hash = crypto.createHash('md5');
	let length = 0;
	for await (const piece of source) {
		hash.update(piece);
		length += piece.length;
	}
	return { length, md5: hash.digest('base64') };
}

/** Write pieces as fast as the other side takes them. */
export async function write(stream, source) {
	for await (const piece of source) if (!stream.write(piece)) await once(stream, 'drain');
}

/** A request whose body is an iterable of pieces (or nothing): the response, its body not yet read. */
export async function request(server, method, path, { headers = {}, body } = {}) {
	const req = http.request({ host: '127.0.0.1', port: server.port, method, path, agent: false, headers: { authorization: server.auth, ...headers } });
	const answered = once(req, 'response');
	answered.catch(() => {});
	if (body) await Promise.race([write(req, body), answered]);
	req.end();
	return (await answered)[0];
}

/** The same with its answer as JSON. */
export async function ask(server, method, path, { json, ...rest } = {}) {
	if (json !== undefined) rest = { headers: { 'content-type': 'application/json', ...rest.headers }, body: [Buffer.from(JSON.stringify(json))] };
	const res = await request(server, method, path, rest);
	let text = '';
	for await (const piece of res) text += piece;
	return { status: res.statusCode, headers: res.headers, json: text ? JSON.parse(text) : undefined };
}

/** Bytes of a stream by what they are: up to a delimiter, or so many.  ${copy}, if there is one, gets all that is read. */
export class Reader {
	constructor(stream, copy) {
		this.pieces = stream[Symbol.asyncIterator]();
		this.copy = copy;
		this.rest = Buffer.alloc(0);
	}

	async more() {
		const { value, done } = await this.pieces.next();
		assert.ok(!done, `the body ended early; the last of it: ${this.rest.subarray(-200)}`);
		return value;
	}

	async passed(piece) {
		if (this.copy) await write(this.copy, [piece]);
	}

	async until(delimiter) {
		let at;
		while ((at = this.rest.indexOf(delimiter)) < 0) this.rest = Buffer.concat([this.rest, await this.more()]);
		const head = this.rest.subarray(0, at);
		await this.passed(this.rest.subarray(0, at + delimiter.length));
		this.rest = this.rest.subarray(at + delimiter.length);
		return head;
	}

	/** {length, md5} of the next ${length} bytes. */
	async measure(length) {
		const hash = crypto.createHash('md5');
		for (let left = length; left > 0;) {
			if (!this.rest.length) this.rest = await this.more();
			const piece = this.rest.subarray(0, left);
			hash.update(piece);
			await this.passed(piece);
			left -= piece.length;
			this.rest = this.rest.subarray(piece.length);
		}
		return { length, md5: hash.digest('base64') };
	}

	async end() {
		assert.equal(this.rest.length, 0, `nothing behind the end: ${this.rest.subarray(0, 100)}`);
		const { done } = await this.pieces.next();
		assert.ok(done);
	}
}

export const boundaryOf = (type) => /boundary="([^"]+)"/.exec(type)[1];

/** The parts of a multipart/related body: the document and, per attachment, {headers, length, md5}. */
export async function readRelated(reader, boundary) {
	await reader.until(`--${boundary}\r\nContent-Type: application/json\r\n\r\n`);
	const doc = JSON.parse(await reader.until(`\r\n--${boundary}`));
	const atts = [];
	for (;;) {
		const head = (await reader.until('\r\n\r\n').catch(() => assert.fail('a part'))).toString();
		const length = Number(/Content-Length: (\d+)/.exec(head)[1]);
		atts.push({ head, ...(await reader.measure(length)) });
		assert.equal((await reader.until(`--${boundary}`)).toString(), '\r\n');
		if (atts.length === Object.keys(doc._attachments).length) break;
	}
	assert.equal((await reader.until('--')).length, 0);
	return { doc, atts };
}

/* ---- What the server does meanwhile ---- */

const rssAnon = (pid) => anonKiB({ pid }) / 1024;

const loopLag = async (server) => (await ask(server, 'GET', '/_node/_local/_stats')).json.divan.loop_lag_ms.value;

/** Run ${work}(server...) and print and check what it costs the servers. */
export async function watched(servers, what, work, { check = true } = {}) {
	const began = Date.now();
	const watches = servers.map((server) => new Worker(new URL(import.meta.url), { workerData: { pid: server.pid, port: server.port, auth: server.auth } }));
	await Promise.all(watches.map((w) => once(w, 'message')));
	await Promise.all(servers.map(loopLag)); // which begins anew when it is asked for
	const result = await work();
	const seconds = (Date.now() - began) / 1000;
	for (const [i, worker] of watches.entries()) {
		worker.postMessage('end');
		const [{ before, peak, after, times }] = await once(worker, 'message');
		const mib = (n) => n.toFixed(1);
		console.log(`  ${what}${servers.length > 1 ? ` (server ${i + 1})` : ''}: ${seconds.toFixed(1)} s; RssAnon ${mib(before)} -> ${mib(peak)} -> ${mib(after)} MiB; ` +
			`GET of a small document meanwhile: median ${times[times.length >> 1].toFixed(2)} ms, longest ${times.at(-1).toFixed(1)} ms of ${times.length}; ` +
			`longest turn of an event loop: ${await loopLag(servers[i])} ms`);
		if (check) assert.ok(peak - before <= GROWTH_MIB, `${what}: RssAnon grew by ${mib(peak - before)} MiB`);
	}
	return result;
}

/** In a thread of its own, so that what this process does is not measured. */
async function watch({ pid, port, auth }) {
	const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
	const before = rssAnon(pid);
	const times = [];
	let peak = before;
	let ended = false;
	const sample = setInterval(() => (peak = Math.max(peak, rssAnon(pid))), SAMPLE_MS);
	parentPort.once('message', () => (ended = true));
	parentPort.postMessage('begun');
	while (!ended || !times.length) {
		const at = performance.now();
		const [res] = await once(http.get({ host: '127.0.0.1', port, path: '/small/doc', agent, headers: { authorization: auth } }), 'response');
		for await (const piece of res) void piece;
		times.push(performance.now() - at);
		await new Promise((resolve) => setTimeout(resolve, 10));
	}
	clearInterval(sample);
	agent.destroy();
	times.sort((a, b) => a - b);
	parentPort.postMessage({ before, peak: Math.max(peak, rssAnon(pid)), after: rssAnon(pid), times });
	parentPort.close();
}

if (!isMainThread) await watch(workerData);
