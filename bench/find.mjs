// The lines of Mango: how fast a declared index is built, and documents are found by one and without.
import fs from 'node:fs';
import path from 'node:path';
import { contactText, hexId, random } from './contacts.mjs';
import * as lib from './lib.mjs';

const PER_ACCOUNT = 100; // contacts that share the value of a field
const STRIDE = 37; // from the account of one query to the next one's, as in ceiling_find.c

/** The lines.  ${b} is what run.mjs has: startDivand, newDb, compact, program, file, quick. */
export function findLines(b) {
	const DOCS = b.quick ? 20000 : 100000, ACCOUNTS = DOCS / PER_ACCOUNT;
	const account = (n) => `k${String(n).padStart(4, '0')}`;
	let shared, built = 0;

	const find = (body, options) => lib.expect(200, shared.server.url, 'POST', '/found/_find', { body: JSON.stringify(body), ...options });
	const ceiling = async (...args) => {
		const r = JSON.parse(await lib.run(b.program('ceiling_find'), args.map(String)));
		return { cpu: r.cpu_us, wall: r.wall_us, n: r.rows, bytes: r.bytes };
	};

	/** An index of one field, and the name of its file. */
	async function newIndex(field, name) {
		const { server, folder } = shared;
		const before = new Set(fs.existsSync(folder) ? fs.readdirSync(folder) : []);
		await lib.expect(200, server.url, 'POST', '/found/_index', { auth: server.auth, body: JSON.stringify({ index: { fields: [field] }, ddoc: name, name }) });
		await find({ selector: { [field]: null }, use_index: [name, name], limit: 1 });
		await lib.quiet(server.pid);
		return path.join(folder, fs.readdirSync(folder).find((f) => !before.has(f) && !f.includes('lock')));
	}

	/** The server that all lines share, its contacts as a file that nobody changes, and two indexes. */
	async function sharedServer() {
		if (shared) return shared;
		const server = await b.startDivand(), rnd = random(41);
		await b.newDb(server, 'found');
		for (let at = 0; at < DOCS; at += 1000) {
			const list = Array.from({ length: 1000 }, (_, i) => contactText(rnd, hexId(rnd)).replace('{', `{"account":"${account((at + i) % ACCOUNTS)}",`));
			await lib.expect(201, server.url, 'POST', '/found/_bulk_docs', { body: `{"docs":[${list.join(',')}]}` });
		}
		await lib.quiet(server.pid);
		await b.compact(server, 'found');
		fs.copyFileSync(path.join(server.dataDir, 'found.divan'), b.file('found.divan'));
		shared = { server, folder: path.join(server.dataDir, '.views'), docs: b.file('found.divan') };
		shared.account = await newIndex('account', 'account');
		shared.updated = await newIndex('updated', 'updated');
		return shared;
	}

	const build = {
		name: 'find-build', label: `Build of a declared index of one field, ${DOCS.toLocaleString('en')} contacts`, budget: null, unit: 'document',
		setup: sharedServer,
		async divan() {
			const { server } = shared, name = `b${++built}`; // another name is another index
			const c = await lib.cost(server.pid, async () => {
				await lib.expect(200, server.url, 'POST', '/found/_index', { auth: server.auth, body: JSON.stringify({ index: { fields: ['birthday'] }, ddoc: name, name }) });
				return JSON.parse((await find({ selector: { birthday: { $gt: '2' } }, use_index: [name, name], limit: 1 })).text).warning;
			});
			if (c.result !== undefined) throw new Error(`the index was not used: ${c.result}`);
			await lib.expect(200, server.url, 'DELETE', `/found/_index/${name}/json/${name}`, { auth: server.auth });
			await lib.expect(202, server.url, 'POST', '/found/_view_cleanup', { auth: server.auth, body: '' });
			return { ...c, n: DOCS };
		},
		async ceiling() {
			const target = b.file('built.mdb');
			const c = await ceiling('build', shared.docs, 'birthday', target);
			fs.rmSync(target);
			fs.rmSync(`${target}-lock`);
			return c;
		},
		check(d, c) {
			if (d.n !== c.n) throw new Error(`find-build: ${d.n} documents, the ceiling has ${c.n} rows`);
		},
	};

	/** Queries over 16 connections, each for as many rows; body(q) is what the q-th asks. */
	const read = (name, label, rows, queries, body, args) => ({
		name, label, budget: 0.5, unit: 'document',
		async setup() {
			await sharedServer();
			this.bodies = b.file(`${name}.bodies`);
			fs.writeFileSync(this.bodies, Array.from({ length: queries }, (_, q) => `${JSON.stringify(body(q))}\n`).join(''));
			this.bytes = (await find(body(0), { discard: true })).length;
		},
		async divan() {
			const { server } = shared;
			const c = await lib.cost(server.pid, () => lib.wrk(server.url, 16, 1, 'find.lua', { BENCH_BODIES: this.bodies, BENCH_PATH: '/found/_find' }));
			return { ...c, n: c.result * rows };
		},
		ceiling: () => ceiling(...args(shared, rows, queries)),
		check(d, c) {
			if (c.n !== queries * rows || Math.abs(c.bytes / queries / this.bytes - 1) > 0.03)
				throw new Error(`${name}: ${rows} documents with ${this.bytes} bytes, the ceiling ${c.n / queries} with ${c.bytes / queries}`);
		},
	});

	/** The q-th query's accounts, ${span} of them. */
	const accounts = (q, span) => {
		const at = q * STRIDE % (ACCOUNTS + 1 - span);
		return span === 1 ? account(at) : { $gte: account(at), $lte: account(at + span - 1) };
	};

	const whole = b.quick ? 2 : 3;
	const scan = {
		name: 'find-scan', label: 'A query without an index, against reading all documents', budget: null, unit: 'document',
		setup: sharedServer,
		async divan() {
			const c = await lib.cost(shared.server.pid, async () => {
				for (let i = 0; i < whole; i++) {
					const { docs } = JSON.parse((await find({ selector: { company: 'None & Nobody' } })).text);
					if (docs.length !== 0) throw new Error('find-scan: somebody has this company');
				}
			});
			return { ...c, n: whole * DOCS };
		},
		ceiling: () => ceiling('all', shared.docs, whole),
	};

	const range = PER_ACCOUNT * 10;
	return [
		build,
		read('find-equal', 'Query by a key, 100 documents', PER_ACCOUNT, 500, (q) => ({ selector: { account: accounts(q, 1) }, limit: PER_ACCOUNT }),
			(s, rows, queries) => ['docs', s.docs, s.account, rows, queries, 1]),
		read('find-range', 'Query by a range of keys, 1,000 documents', range, 50, (q) => ({ selector: { account: accounts(q, 10) }, limit: range }),
			(s, rows, queries) => ['docs', s.docs, s.account, rows, queries, 10]),
		read('find-covered', 'The same for a field of the index', range, 200, (q) => ({ selector: { account: accounts(q, 10) }, limit: range, fields: ['_id', 'account'] }),
			(s, rows, queries) => ['covered', s.docs, s.account, rows, queries, 10, 'account']),
		read('find-sorted', 'The newest 100 documents', 100, 500, () => ({ selector: { updated: { $gt: null } }, sort: [{ updated: 'desc' }], limit: 100 }),
			(s, rows, queries) => ['last', s.docs, s.updated, rows, queries]),
		scan,
	];
}
