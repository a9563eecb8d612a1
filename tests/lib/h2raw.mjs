// HTTP/2 frame by frame, as no client would send them.
import net from 'node:net';
import tls from 'node:tls';

export const T = { data: 0, headers: 1, priority: 2, rst: 3, settings: 4, push: 5, ping: 6, goaway: 7, window: 8, continuation: 9 };
export const END_STREAM = 1, END_HEADERS = 4;
export const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');

export function frame(type, flags, stream, payload = Buffer.alloc(0)) {
	const head = Buffer.alloc(9);
	head.writeUIntBE(payload.length, 0, 3);
	head[3] = type;
	head[4] = flags;
	head.writeUInt32BE(stream, 5);
	return Buffer.concat([head, payload]);
}

function int(prefix, bits, n) {
	const max = (1 << bits) - 1;
	if (n < max) return Buffer.from([prefix | n]);
	const out = [prefix | max];
	for (n -= max; n >= 128; n >>= 7) out.push((n & 127) | 128);
	return Buffer.from([...out, n]);
}

const string = (s) => {
	const bytes = Buffer.isBuffer(s) ? s : Buffer.from(s, 'latin1');
	return Buffer.concat([int(0, 7, bytes.length), bytes]);
};

/** A field as a literal, never kept; with ${keep} it enters the table. */
export const field = (name, value, keep = false) => Buffer.concat([Buffer.from([keep ? 0x40 : 0]), string(name), string(value)]);
export const indexed = (n) => int(0x80, 7, n);

/** A header block: {':method', ..., name: value}, in order; a list of pairs allows repetitions. */
export function block(fields) {
	const pairs = Array.isArray(fields) ? fields : Object.entries(fields);
	return Buffer.concat(pairs.map(([name, value]) => field(name, value)));
}

export const request = (method, path, more = {}) => block({ ':method': method, ':scheme': 'http', ':authority': 'x', ':path': path, ...more });

/** Of an answer's head: :status is its first field, behind sizes of the table. */
export function statusOf(head) {
	const known = { 0x88: 200, 0x89: 204, 0x8a: 206, 0x8b: 304, 0x8c: 400, 0x8d: 404, 0x8e: 500 };
	for (let i = 0; i < head.length; i++) {
		if (head[i] in known) return known[head[i]];
		if (head[i] >> 5 !== 1) return Number(head.toString('latin1', i + 2, i + 5));
		if (head[i] === 0x3f) while (head[++i] & 128);
	}
	return undefined;
}

/**
 * A connection: send(frame...), until(condition) waits for a frame {type, flags, stream, payload}, answer(stream) for a whole answer
 * {status, body}; goaway is the text of the last one; closed resolves with how it ended.
 */
export function connectH2(server, { secure = false, localAddress, preface = true } = {}) {
	const at = { host: '127.0.0.1', localAddress };
	const socket = secure
		? tls.connect({ ...at, port: server.tlsPort, rejectUnauthorized: false, ALPNProtocols: ['h2'] })
		: net.connect({ ...at, port: server.port });
	const c = { socket, frames: [], goaway: null, ended: false, waits: new Set(), paused: false };
	let left = Buffer.alloc(0);
	socket.on('error', (e) => (c.error = e));
	c.closed = new Promise((resolve) => socket.on('close', () => {
		c.ended = true;
		for (const look of c.waits) look();
		resolve(c);
	}));
	socket.on('data', (d) => {
		left = Buffer.concat([left, d]);
		while (left.length >= 9 && left.length >= 9 + left.readUIntBE(0, 3)) {
			const n = left.readUIntBE(0, 3);
			const f = { type: left[3], flags: left[4], stream: left.readUInt32BE(5), payload: left.subarray(9, 9 + n) };
			left = left.subarray(9 + n);
			if (f.type === T.goaway) c.goaway = { code: f.payload.readUInt32BE(4), text: f.payload.toString('latin1', 8) };
			c.frames.push(f);
		}
		for (const look of c.waits) look();
	});
	c.opened = new Promise((resolve) => socket.on(secure ? 'secureConnect' : 'connect', resolve));
	/** Resolves when the kernel has it, or the connection is gone. */
	c.send = (...frames) => new Promise((resolve) => {
		const done = () => setImmediate(resolve); // what came meanwhile is looked at
		if (c.ended || socket.destroyed) return done();
		socket.write(Buffer.concat(frames), done);
		c.closed.then(done);
	});
	c.until = (condition, ms = 20000) => new Promise((resolve, reject) => {
		let timer;
		const look = () => {
			const found = c.frames.find(condition);
			if (!found && !c.ended) return;
			clearTimeout(timer);
			c.waits.delete(look);
			if (found) resolve(found);
			else reject(new Error(`the connection ended before ${condition}; goaway: ${JSON.stringify(c.goaway)}`));
		};
		timer = setTimeout(() => {
			c.waits.delete(look);
			reject(new Error(`${condition} did not come`));
		}, ms);
		c.waits.add(look);
		look();
	});
	c.answer = async (stream) => {
		const end = await c.until((f) => f.stream === stream && ((f.type === T.data && f.flags & END_STREAM) || f.type === T.rst || (f.type === T.headers && f.flags & END_STREAM)));
		if (end.type === T.rst) return { reset: end.payload.readUInt32BE(0) };
		const head = c.frames.find((f) => f.stream === stream && f.type === T.headers).payload;
		return { status: statusOf(head), body: Buffer.concat(c.frames.filter((f) => f.stream === stream && f.type === T.data).map((f) => f.payload)).toString() };
	};
	c.end = () => socket.destroy();
	if (preface) c.send(PREFACE, frame(T.settings, 0, 0));
	return c;
}
