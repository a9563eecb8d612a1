// A small HTTP client for the black-box tests, and one that writes bytes as they are.
import assert from 'node:assert/strict';
import http from 'node:http';
import net from 'node:net';

/** ask(server, method, path, {json, body, type, headers, auth}) -> {status, headers, text, json, raw} */
export function ask(server, method, path, { json, body, type, headers = {}, auth = server.auth, agent } = {}) {
	return new Promise((resolve, reject) => {
		const bytes = json !== undefined ? Buffer.from(JSON.stringify(json)) : body === undefined ? undefined : Buffer.from(body);
		const all = { ...headers };
		if (auth) all.Authorization = auth;
		if (json !== undefined || type) all['Content-Type'] = type ?? 'application/json';
		if (bytes) all['Content-Length'] = bytes.length;
		const req = http.request({ host: '127.0.0.1', port: server.port, method, path, headers: all, agent: agent ?? false });
		req.on('error', reject);
		req.on('response', (res) => {
			const chunks = [];
			res.on('data', (d) => chunks.push(d));
			res.on('error', reject);
			res.on('aborted', () => reject(new Error('the answer was cut off')));
			res.on('end', () => {
				const raw = Buffer.concat(chunks);
				let parsed;
				try {
					parsed = JSON.parse(raw);
				} catch {}
				resolve({ status: res.statusCode, headers: res.headers, raw, text: raw.toString(), json: parsed });
			});
		});
		req.end(bytes);
	});
}

let serial = 0;
/** A new database's name. */
export async function newDb(server, label = 'db') {
	const name = `${label}-${process.pid}-${++serial}`;
	const { status } = await ask(server, 'PUT', `/${name}`);
	assert.equal(status, 201);
	return name;
}

/** The answer is a refusal in CouchDB's form. */
export function assertError(answer, status, error, reason) {
	const text = `${answer.status} ${answer.text.slice(0, 300)}`;
	assert.ok([status].flat().includes(answer.status), `status ${status} expected: ${text}`);
	assert.equal(typeof answer.json?.error, 'string', text);
	assert.equal(typeof answer.json.reason, 'string', text);
	if (error) assert.equal(answer.json.error, error, text);
	if (reason instanceof RegExp) assert.match(answer.json.reason, reason);
	else if (reason !== undefined) assert.equal(answer.json.reason, reason);
}

/** A bare connection: send(bytes), until(re) waits for text, closed is a promise of all that came. */
export function connect(port) {
	const socket = net.connect(port, '127.0.0.1');
	let text = '';
	const waits = new Set();
	const c = {
		socket,
		send: (bytes) => socket.write(bytes),
		until: (re, ms = 10000) => new Promise((resolve, reject) => {
			const timer = setTimeout(() => reject(new Error(`${re} did not come; this did: ${text.slice(0, 500)}`)), ms);
			const look = () => {
				const m = re.exec(text);
				if (!m) return;
				clearTimeout(timer);
				waits.delete(look);
				resolve(m);
			};
			waits.add(look);
			look();
		}),
		end: () => socket.destroy(),
	};
	c.closed = new Promise((resolve) => socket.on('close', () => resolve(text)));
	socket.on('error', () => {});
	socket.on('data', (data) => {
		text += data.toString('latin1');
		for (const look of waits) look();
	});
	return c;
}

/** An open changes feed: lines() as parsed so far, until(n) waits for n lines, blanks counts heartbeats. */
export function openFeed(server, path, { headers = {} } = {}) {
	const feed = { lines: [], blanks: 0, waits: new Set() };
	feed.ended = new Promise((resolve, reject) => {
		const req = http.request({ host: '127.0.0.1', port: server.port, path, headers: { Authorization: server.auth, ...headers }, agent: false });
		feed.end = () => req.destroy();
		feed.started = new Promise((go) => req.on('response', go));
		req.on('error', (e) => (feed.res ? resolve(feed) : reject(e)));
		req.on('response', (res) => {
			let rest = '';
			feed.res = res;
			res.on('error', () => resolve(feed));
			res.on('data', (data) => {
				const parts = (rest + data).split('\n');
				rest = parts.pop();
				for (const part of parts) {
					if (part.trim()) feed.lines.push(JSON.parse(part));
					else feed.blanks++;
				}
				for (const look of feed.waits) look();
			});
			res.on('close', () => resolve(feed));
		});
		req.end();
	});
	feed.ended.catch(() => {});
	feed.until = (condition, ms = 10000) => new Promise((resolve, reject) => {
		const timer = setTimeout(() => reject(new Error(`not in ${ms} ms: ${condition}; ${JSON.stringify(feed.lines)}`)), ms);
		const look = () => {
			if (!condition(feed)) return;
			clearTimeout(timer);
			feed.waits.delete(look);
			resolve(feed);
		};
		feed.waits.add(look);
		look();
	});
	return feed;
}
