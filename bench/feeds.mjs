// The lines of the feeds: what listeners cost while nothing happens, and what a delivered row costs.
import { spawn } from 'node:child_process';
import readline from 'node:readline';
import { contactText, random } from './contacts.mjs';
import * as lib from './lib.mjs';

const CONTINUOUS = 'feed=continuous&since=now&heartbeat=3600000';

/** ${n} streams of the load generator, open: say(text), next() for a line of its answer, stop(). */
async function listeners(program, port, n, target, dbs = 1) {
	const child = spawn(program, [String(port), String(n), target, String(dbs)], { stdio: ['pipe', 'pipe', 'inherit'] });
	const lines = readline.createInterface({ input: child.stdout })[Symbol.asyncIterator]();
	const ended = new Promise((resolve) => child.on('exit', resolve));
	process.on('exit', () => child.kill('SIGKILL'));
	const load = {
		async next(re) {
			const { value, done } = await lines.next();
			const m = done ? null : re.exec(value);
			if (!m) throw new Error(`${program} said ${value}`);
			return m;
		},
		say(text) { child.stdin.write(`${text}\n`); },
		async stop() {
			child.kill('SIGKILL');
			await ended;
		},
	};
	await load.next(/^open$/);
	return load;
}

/** KiB of memory that each of ${n} idle streams takes.  A few before them make what all of them share. */
async function perStream(program, server, n, target, dbs) {
	const few = await listeners(program, server.port, 20, target);
	await few.stop();
	await lib.quiet(server.pid);
	const before = lib.status(server.pid, 'RssAnon');
	const load = await listeners(program, server.port, n, target, dbs);
	await lib.quiet(server.pid);
	return { kib: (lib.status(server.pid, 'RssAnon') - before) / n, load };
}

/** The lines.  ${b} is what run.mjs has: startDivand, newDb, ceiling, load, quick. */
export function feedLines(b) {
	async function withDbs(n, work) {
		const server = await b.startDivand();
		try {
			for (let i = 0; i < n; i++) await b.newDb(server, `db${i}`);
			return await work(server);
		} finally {
			await server.stop();
		}
	}

	const memory = (n, dbs, budget) => ({
		name: `feeds-${n}${dbs > 1 ? 'x' + dbs : ''}`, unit: 'KiB', budget,
		label: `An open feed, idle: ${n.toLocaleString('en')} on ${dbs > 1 ? `${dbs.toLocaleString('en')} databases` : 'one database'}`,
		async size() {
			const server = await lib.startCeiling(b.ceiling, ['0']);
			const bare = await perStream(b.load, server, n, '/idle');
			await bare.load.stop();
			server.stop();
			return withDbs(dbs, async (divan) => {
				const ours = await perStream(b.load, divan, n, `/db#/_changes?${CONTINUOUS}`, dbs);
				await ours.load.stop();
				return { ours: ours.kib, theirs: bare.kib };
			});
		},
	});

	const idle = {
		name: 'feeds-idle', label: '10,000 open feeds, wake-ups in 5 s', unit: 'switches', budget: 0,
		size: () => withDbs(1, async (server) => {
			const { load } = await perStream(b.load, server, 10000, `/db0/_changes?${CONTINUOUS}`);
			await lib.sleep(1000);
			const before = lib.status(server.pid, 'voluntary_ctxt_switches', true);
			await lib.sleep(5000);
			const n = lib.status(server.pid, 'voluntary_ctxt_switches', true) - before;
			await load.stop();
			return n;
		}),
	};

	const deliver = (n, dbs) => ({
		name: `deliver-${n}${dbs > 1 ? 'x' + dbs : ''}`, unit: 'µs a row', budget: null,
		label: `A commit to ${n.toLocaleString('en')} feeds${dbs > 1 ? ` of ${dbs.toLocaleString('en')} databases` : ''}`,
		size: () => withDbs(dbs, async (server) => {
			const { load } = await perStream(b.load, server, n, `/db#/_changes?${CONTINUOUS}`, dbs);
			const cpu = [], p50 = [], p99 = [];
			for (let round = 0; round < (b.quick ? 3 : 7); round++) {
				load.say(`rows ${n}`);
				await load.next(/^ready$/);
				const c = await lib.cost(server.pid, async () => {
					const begin = process.hrtime.bigint();
					const puts = [];
					for (let i = 0; i < dbs; i++) {
						puts.push(lib.expect(201, server.url, 'PUT', `/db${i}/doc${round}`, { body: '{"a":1}' }));
						if (puts.length >= 16) await puts.shift();
					}
					await Promise.all(puts);
					const done = await load.next(/^done (\d+) (\d+) (\d+) (\d+)$/);
					return done.slice(1).map((at) => Number(BigInt(at) - begin) / 1e6);
				});
				cpu.push(c.cpu / n);
				p50.push(c.result[1]);
				p99.push(c.result[2]);
			}
			await load.stop();
			return { ours: lib.median(cpu), note: `p50 ${lib.median(p50).toFixed(0)} ms, p99 ${lib.median(p99).toFixed(0)} ms` };
		}),
	});

	/** A scan through a selector that one row in a hundred passes, against one without. */
	const filtered = () => {
		const docs = b.quick ? 20000 : 100000;
		const selector = JSON.stringify({ selector: { bench: 7 } });
		let server;
		const scan = (method, query, body, rows) => async () => {
			const c = await lib.cost(server.pid, async () => {
				const res = await lib.expect(200, server.url, method, `/filtered/_changes${query}`, { body });
				return JSON.parse(res.text).results.length;
			});
			if (c.result !== rows) throw new Error(`${c.result} rows instead of ${rows}`);
			return { ...c, n: docs };
		};
		return {
			name: 'changes-selector', label: `\`_changes\` of ${docs.toLocaleString('en')} by a selector, against all`, budget: 0.3, unit: 'row',
			async setup() {
				server = await b.startDivand();
				await b.newDb(server, 'filtered');
				const rnd = random(11);
				for (let at = 0; at < docs; at += 1000) {
					const list = Array.from({ length: 1000 }, (_, i) => contactText(rnd, `${(at + i) % 97}-${at + i}`).replace('{', `{"bench":${i % 100},`));
					await lib.expect(201, server.url, 'POST', '/filtered/_bulk_docs', { body: `{"docs":[${list.join(',')}]}` });
				}
				await lib.quiet(server.pid);
				this.divan = scan('POST', '?filter=_selector', selector, docs / 100);
				this.ceiling = scan('GET', '', undefined, docs);
			},
			async end() { await server.stop(); },
		};
	};

	return [memory(1000, 1, 1.35), memory(10000, 1, 1.35), memory(10000, 1000, null), idle, deliver(1000, 1), deliver(10000, 1), deliver(10000, 1000), filtered()];
}
