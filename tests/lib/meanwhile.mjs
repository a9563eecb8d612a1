// Another client, from 127.0.0.2 over a connection of its own, that must be served while a test does something else.
import http from 'node:http';

const PAUSE_MS = 10;

/** Asks for ${path} at each call of once(), which resolves with {text: 'STATUS BODY', ms}. */
export function neighbour({ port, auth }, path) {
	const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
	const once = () => new Promise((resolve, reject) => {
		const began = performance.now();
		const req = http.get({ host: '127.0.0.1', port, localAddress: '127.0.0.2', path, agent, headers: { authorization: auth } }, (res) => {
			let text = '';
			res.on('data', (d) => (text += d));
			res.on('error', reject);
			res.on('end', () => resolve({ text: `${res.statusCode} ${text}`, ms: performance.now() - began }));
		});
		req.on('error', reject);
	});
	return { once, end: () => agent.destroy() };
}

/** Asks again and again.  end() resolves with {answers, most_ms}, or fails if one was not as at first. */
export function meanwhile(server, path) {
	const other = neighbour(server, path);
	let on = true;
	const work = (async () => {
		let answers = 0, most_ms = 0;
		for (let first; on || answers < 2;) {
			const { text, ms } = await other.once();
			if (text !== (first ??= text) || !text.startsWith('200 ')) throw new Error(`another client got ${text}`);
			most_ms = Math.max(most_ms, ms);
			answers++;
			await new Promise((r) => setTimeout(r, PAUSE_MS));
		}
		return { answers, most_ms };
	})();
	work.catch(() => {});
	return {
		end() {
			on = false;
			return work.finally(other.end);
		},
	};
}
