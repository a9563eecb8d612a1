// The lines of live queries: what a listener costs while nothing happens, and what a commit costs that reaches all of them.
import net from 'node:net';
import * as lib from './lib.mjs';

const RESULT = 25; // documents that each query finds
const GROUPS = 40;
const AT_ONCE = 50;

/** An open stream: `ready` is seen in what came; seen(text) is a promise of more. */
function stream(server, request, ready) {
	return new Promise((resolve, reject) => {
		const socket = net.connect(server.port, '127.0.0.1');
		let text = '', want = ready, done = resolve;
		const s = {
			seen: (next) => new Promise((r) => {
				want = next;
				done = r;
			}),
			close: () => socket.destroy(),
		};
		socket.on('data', (d) => {
			text += d;
			if (!text.includes(want)) return;
			text = '';
			want = '\0';
			done(s);
		});
		socket.on('error', reject);
		socket.write(request);
	});
}

const head = (server, method, path) => `${method} ${path} HTTP/1.1\r\nHost: x\r\nAuthorization: ${server.auth}\r\n`;
const changes = (server) => () => stream(server, `${head(server, 'GET', '/live/_changes?feed=continuous&since=now&heartbeat=3600000')}\r\n`, '\r\n\r\n');
const live = (server, body) => (i) => {
	const text = JSON.stringify(body(i));
	const request = `${head(server, 'POST', '/live/_find?feed=continuous&heartbeat=3600000')}Content-Type: application/json\r\nContent-Length: ${text.length}\r\n\r\n${text}`;
	return stream(server, request, '"ready"');
};

/** ${n} of what open(i) opens, and the KiB of memory that each takes.  A few before them make what all share. */
async function listeners(server, n, open) {
	for (const s of await Promise.all(Array.from({ length: 20 }, (_, i) => open(i)))) s.close();
	await lib.sleep(500);
	await lib.quiet(server.pid);
	const before = lib.status(server.pid, 'RssAnon'), all = [];
	while (all.length < n) all.push(...await Promise.all(Array.from({ length: Math.min(AT_ONCE, n - all.length) }, (_, i) => open(all.length + i))));
	await lib.quiet(server.pid);
	return { all, kib: (lib.status(server.pid, 'RssAnon') - before) / n };
}

const same = () => ({ selector: { for: 'u7' } });
const own = (i) => ({ selector: { for: `u${i % GROUPS}`, n: { $gt: -1 - i } } });

/** The lines.  ${b} is what run.mjs has: startDivand, newDb, quick. */
export function liveLines(b) {
	async function withDocs(work) {
		const server = await b.startDivand({ config: { chttpd: { changes_timeout: 3600000 } } });
		try {
			await b.newDb(server, 'live');
			const docs = Array.from({ length: GROUPS * RESULT }, (_, i) => ({ _id: `contact-${String(i).padStart(6, '0')}`, for: `u${i % GROUPS}`, n: i, text: 'x'.repeat(300) }));
			await lib.expect(201, server.url, 'POST', '/live/_bulk_docs', { auth: server.auth, body: JSON.stringify({ docs }) });
			return await work(server);
		} finally {
			await server.stop();
		}
	}
	async function measure(n, make) {
		return withDocs(async (server) => {
			const { all, kib } = await listeners(server, n, make(server));
			for (const s of all) s.close();
			return kib;
		});
	}

	const memory = (name, n, body, what, budget) => ({
		name, unit: 'KiB', budget,
		label: `A live query of ${RESULT} documents, idle, against a \`_changes\` feed: ${n.toLocaleString('en')}, ${what}`,
		size: async () => ({ ours: await measure(n, (server) => live(server, body)), theirs: await measure(n, changes) }),
	});

	const deliver = (name, n, body, what, reached) => ({
		name, unit: 'µs a listener', budget: null,
		label: `A commit to ${n.toLocaleString('en')} live queries, ${what}`,
		size: () => withDocs(async (server) => {
			const { all } = await listeners(server, n, live(server, body)), cpu = [], wall = [];
			for (let round = 0; round < (b.quick ? 3 : 7); round++) {
				const c = await lib.cost(server.pid, async () => {
					const begin = process.hrtime.bigint();
					const events = all.filter((_, i) => reached(i)).map((s) => s.seen('"progress"'));
					await lib.expect(201, server.url, 'PUT', `/live/new${round}`, { auth: server.auth, body: '{"for":"u7","n":5}' });
					await Promise.all(events);
					return Number(process.hrtime.bigint() - begin) / 1e6;
				});
				cpu.push(c.cpu / n);
				wall.push(c.result);
			}
			for (const s of all) s.close();
			return { ours: lib.median(cpu), note: `the last one after ${lib.median(wall).toFixed(0)} ms` };
		}),
	});

	return [
		memory('live-1000', 1000, same, 'of one query', 1.35),
		memory('live-10000', 9500, same, 'of one query', 1.35),
		memory('live-own-1000', 1000, own, 'each of its own', 2),
		deliver('live-deliver-1000', 1000, same, 'of one query', () => true),
		deliver('live-deliver-10000', 9500, same, 'of one query', () => true),
		deliver('live-deliver-own', 9500, own, 'each of its own, one in 40 of which it concerns', (i) => i % GROUPS === 7),
	];
}
