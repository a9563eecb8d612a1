// One request of a scenario step, and its answer as captures and comparisons see it.
import http from 'node:http';

/** [["ab", 3], ["c", 1]] -> "abababc": long texts without long files. */
export const joinPieces = (pieces) => pieces.map(([text, times]) => text.repeat(times)).join('');

function multipartBody({ boundary, parts, preamble, tail = '' }) {
	const out = [];
	parts.forEach((part, i) => {
		const fields = Object.entries(part.headers ?? {}).map(([name, value]) => `${name}: ${value}\r\n`);
		const lead = i === 0 && preamble === false ? '' : '\r\n';
		out.push(Buffer.from(`${lead}--${boundary}\r\n${fields.join('')}\r\n`), bodyOf(part) ?? Buffer.alloc(0));
	});
	out.push(Buffer.from(`\r\n--${boundary}--${tail}`));
	return Buffer.concat(out);
}

function bodyOf(step) {
	if (step.json !== undefined) return Buffer.from(JSON.stringify(step.json));
	if (step.text !== undefined) return Buffer.from(step.text);
	if (step.base64 !== undefined) return Buffer.from(step.base64, 'base64');
	if (step.pieces) return Buffer.from(joinPieces(step.pieces));
	if (step.multipart) return multipartBody(step.multipart);
	return null;
}

function headersOf(step, server, body) {
	const headers = new Map([['host', ['Host', server.host]]]);
	const set = (name, value) => headers.set(name.toLowerCase(), [name, value]);
	const auth = step.auth ?? server.auth;

	if (auth !== 'none') set('Authorization', 'Basic ' + Buffer.from(auth).toString('base64'));
	if (step.json !== undefined) set('Content-Type', 'application/json');
	if (step.multipart) {
		set('Content-Type', `multipart/${step.multipart.type ?? 'related'}; boundary="${step.multipart.boundary}"`);
	}
	if (body && !step.chunked) set('Content-Length', String(body.length));
	for (const [name, value] of Object.entries(step.headers ?? {})) {
		if (value === null) headers.delete(name.toLowerCase());
		else set(name, value);
	}
	// A null host leaves nothing out that HTTP/1.1 needs.
	if (!headers.has('host')) set('Host', server.host);
	return Object.fromEntries(headers.values());
}

const count = (chunks, re) => (Buffer.concat(chunks).toString('latin1').match(re) ?? []).length;

/** A stream step has all it asked for: so many lines or events of a feed. */
function streamIsFull(stream, chunks) {
	return (stream.events && count(chunks, /^id:.*\n/gm) >= stream.events) ||
		(stream.lines && count(chunks, /^.*\S.*\n/gm) >= stream.lines);
}

/**
 * Send ${step} (variables already filled in).  Result: {head, done, stop()}: promises of the answer's head and of the whole
 * answer {status, headers, raw, error}, and a way to hang up.
 */
export function send(server, step, timeout) {
	const body = bodyOf(step);
	const answer = { status: 0, headers: {}, raw: Buffer.alloc(0), error: undefined };
	const chunks = [];
	let headCame;
	let stop;
	const head = new Promise((resolve) => (headCame = resolve));
	const done = new Promise((resolve) => {
		let req;
		let ended = false;
		const end = (error) => {
			if (ended) return;
			ended = true;
			clearTimeout(timer);
			answer.error = error;
			answer.raw = Buffer.concat(chunks);
			headCame();
			resolve(answer);
			req?.destroy();
		};
		const limit = step.stream?.ms ?? timeout;
		const timer = setTimeout(() => end(step.stream?.ms ? undefined : `no answer in ${limit} ms`), limit);
		stop = () => end();
		try {
			req = http.request({
				host: server.hostname, port: server.port, method: step.method, path: step.path, headers: headersOf(step, server, body),
				agent: false, setHost: false, insecureHTTPParser: true,
			});
		} catch (e) {
			end(`not sent: ${e.message}`);
			return;
		}
		// A server may answer and close before it has read the whole body.
		req.on('error', (e) => answer.status || end(`connection: ${e.code ?? e.message}`));
		req.on('response', (res) => {
			answer.status = res.statusCode;
			for (let i = 0; i < res.rawHeaders.length; i += 2) {
				const name = res.rawHeaders[i].toLowerCase();
				const value = res.rawHeaders[i + 1];
				answer.headers[name] = name in answer.headers ? `${answer.headers[name]}, ${value}` : value;
			}
			headCame();
			res.on('data', (chunk) => {
				chunks.push(chunk);
				if (step.stream && streamIsFull(step.stream, chunks)) end();
			});
			res.on('end', () => end());
			res.on('aborted', () => end('answer cut off'));
			res.on('error', (e) => end(`answer: ${e.code ?? e.message}`));
		});
		if (body && step.chunked) {
			const size = step.chunked === true ? 1024 : step.chunked;
			for (let at = 0; at < body.length; at += size) req.write(body.subarray(at, at + size));
		} else if (body) req.write(body);
		req.end();
	});
	return { head, done, stop: () => stop() };
}

function parsed(text, otherwise) {
	try {
		return JSON.parse(text);
	} catch {
		return otherwise;
	}
}

function eventsOf(text) {
	return text.split('\n\n').map((block) => {
		const fields = [...block.matchAll(/^(\w+): ?(.*)$/gm)];
		return Object.fromEntries(fields.map(([, name, value]) =>
			[name, name === 'data' && value !== '' ? parsed(value, { '~text': value }) : value]));
	}).filter((event) => Object.keys(event).length > 0);
}

function partOf(raw) {
	const cut = raw.indexOf('\r\n\r\n');
	const headers = {};

	for (const line of raw.subarray(0, Math.max(cut, 0)).toString().split('\r\n')) {
		const m = /^([^:]+):\s*(.*)$/.exec(line);
		if (m) headers[m[1].toLowerCase()] = m[2];
	}
	const type = headers['content-type'] ?? '';
	const body = cut < 0 ? raw : raw.subarray(cut + 4);
	const part = { headers };
	if (/^multipart\//i.test(type)) {
		headers['content-type'] = maskBoundary(type);
		return { ...part, parts: partsOf(body, type) };
	}
	const json = !type || /json/.test(type) ? parsed(body.toString()) : undefined;
	if (json !== undefined) return { ...part, json };
	return /^text\//.test(type) ? { ...part, text: body.toString() } : { ...part, base64: body.toString('base64') };
}

function partsOf(raw, type) {
	const boundary = /boundary="?([^";]+)"?/i.exec(type);
	if (!boundary) return null;
	const mark = Buffer.from(`--${boundary[1]}`);
	const parts = [];
	let at = raw.indexOf(mark);

	while (at >= 0 && raw.toString('latin1', at + mark.length, at + mark.length + 2) !== '--') {
		const next = raw.indexOf(mark, at + mark.length);
		const end = next < 0 ? raw.length : next - 2;
		parts.push(partOf(raw.subarray(at + mark.length + 2, end)));
		at = next;
	}
	return parts;
}

export const maskBoundary = (type) => type.replace(/boundary="?[^";]+"?/i, 'boundary=*');

/** ${answer} read as the step says (`as`) or as its content type does. */
export function view(answer, as) {
	const text = () => answer.raw.toString();
	const type = answer.headers['content-type'] ?? '';

	if (as === 'lines') {
		const lines = text().split('\n');
		return {
			lines: lines.filter((line) => line.trim()).map((line) => parsed(line, { '~text': line })),
			blank: lines.slice(0, -1).filter((line) => !line.trim()).length,
		};
	}
	if (as === 'events') {
		const all = eventsOf(text());
		const events = all.filter((event) => event.event !== 'heartbeat');
		return { events, blank: all.length - events.length };
	}
	if (as === 'text') return { text: text() };
	if (as === 'bin') return { base64: answer.raw.toString('base64') };
	if (answer.raw.length === 0) return { empty: true };
	if (/^multipart\//i.test(type)) return { parts: partsOf(answer.raw, type) };
	if (as === 'json' || !type || /json|^text\/plain/.test(type)) {
		const json = parsed(text());
		if (json !== undefined) return { json };
	}
	return /^text\/|json|javascript|xml/.test(type) ? { text: text() } : { base64: answer.raw.toString('base64') };
}
