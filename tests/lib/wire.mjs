// Requests as tests make them: raw enough to see bytes, heads and streams.
import http from 'node:http';
import { randomBytes } from 'node:crypto';

/** The JSON of each line that is not empty, as continuous feeds send it. */
export const lines = (text) => text.split('\n').filter((l) => l.trim()).map((l) => JSON.parse(l));

/** A client of one server: {request, open, db}; without ${server}.auth an anonymous one. */
export function client(server) {
	const agent = new http.Agent({ keepAlive: true });

	function start(method, path, body, headers, onResponse, onError, own) {
		const data = body === undefined || Buffer.isBuffer(body) || typeof body === 'string' ? body : JSON.stringify(body);
		const req = http.request({
			host: '127.0.0.1', port: server.port, method, path, agent: own ? false : agent,
			headers: {
				...(server.auth ? { authorization: server.auth } : {}),
				...(data === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(data) }),
				...headers,
			},
		}, onResponse);
		req.on('error', onError);
		req.end(data);
		return req;
	}

	/** The whole answer: {status, headers, raw, text, json}. */
	function request(method, path, body, headers = {}) {
		return new Promise((resolve, reject) => {
			start(method, path, body, headers, (res) => {
				const chunks = [];
				res.on('data', (d) => chunks.push(d));
				res.on('error', reject);
				res.on('end', () => {
					const raw = Buffer.concat(chunks);
					const text = raw.toString();
					let json;
					try {
						json = JSON.parse(text);
					} catch {
						json = undefined;
					}
					resolve({ status: res.statusCode, headers: res.headers, raw, text, json });
				});
			}, reject);
		});
	}

	/** A stream on a connection of its own: {status, headers, text(), until(test), ended, close(), pause(), resume()}. */
	function open(method, path, body, headers = {}) {
		return new Promise((resolve, reject) => {
			const req = start(method, path, body, headers, (res) => {
				const s = { status: res.statusCode, headers: res.headers };
				let text = '';
				let waiting = [];
				let over = false;
				let finish;
				const look = () => {
					waiting = waiting.filter((w) => {
						if (!w.test(text)) return true;
						clearTimeout(w.timer);
						w.resolve(text);
						return false;
					});
				};
				s.text = () => text;
				s.over = () => over;
				s.ended = new Promise((r) => (finish = r));
				s.until = (test, ms = 10000) => new Promise((r, fail) => {
					const timer = setTimeout(() => fail(new Error(`nothing came in ${ms} ms; so far: ${text.slice(-500)}`)), ms);
					waiting.push({ test, resolve: r, timer });
					look();
				});
				s.close = () => req.destroy();
				s.pause = () => res.pause();
				s.resume = () => res.resume();
				// A character may come in two pieces.
				res.setEncoding('utf8').on('data', (d) => {
					text += d;
					look();
				});
				res.on('end', () => {
					over = true;
					finish({ complete: res.complete, text });
				});
				res.on('error', () => finish({ complete: false, text }));
				resolve(s);
			}, reject, true);
		});
	}

	/** A new database's path. */
	async function db() {
		const path = '/t' + randomBytes(6).toString('hex');
		const r = await request('PUT', path);
		if (r.status !== 201) throw new Error(`PUT ${path}: ${r.status} ${r.text}`);
		return path;
	}

	return { request, open, db, close: () => agent.destroy() };
}
