// Another client, from 127.0.0.2 over a connection of its own, that must be served while a test does something else.
import http from 'node:http';

const PAUSE_MS = 10;

/** Asks for ${path} again and again.  end() resolves with {answers, most_ms}, or fails if one was not as at first. */
export function meanwhile(server, path) {
	const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
	const once = () => new Promise((resolve, reject) => {
		const req = http.get({ host: '127.0.0.1', port: server.port, localAddress: '127.0.0.2', path, agent, headers: { authorization: server.auth } }, (res) => {
			let text = '';
			res.on('data', (d) => (text += d));
			res.on('error', reject);
			res.on('end', () => resolve(`${res.statusCode} ${text}`));
		});
		req.on('error', reject);
	});
	let on = true;
	const work = (async () => {
		let answers = 0, most_ms = 0;
		for (let first; on || answers < 2;) {
			const began = performance.now();
			const text = await once();
			if (text !== (first ??= text) || !text.startsWith('200 ')) throw new Error(`another client got ${text}`);
			most_ms = Math.max(most_ms, performance.now() - began);
			answers++;
			await new Promise((r) => setTimeout(r, PAUSE_MS));
		}
		return { answers, most_ms };
	})();
	work.catch(() => {});
	return {
		end() {
			on = false;
			return work.finally(() => agent.destroy());
		},
	};
}
