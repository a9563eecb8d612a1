// The lines of views: how fast an index is built and read, and that what should not grow with it does not.
import fs from 'node:fs';
import path from 'node:path';
import { contactText, hexId, random } from './contacts.mjs';
import * as lib from './lib.mjs';

const ONE = `function (doc) {
	if (doc.type === 'contact')
		emit([doc.name.last, doc.name.first], doc.email[0].value);
}`;

/* The longer words of a name and a note, and the digits of telephones: ten rows on the average. */
const TEN = `function (doc) {
	if (doc.type !== 'contact')
		return;
	const words = (doc.name.last + ' ' + doc.note).toLowerCase().split(/\\s+/);
	for (const w of words)
		if (/^\\D{3,}$/.test(w))
			emit(w, null);
	for (const p of doc.phone)
		emit(p.value.replace(/[^0-9]/g, ''), p.kind);
}`;

/* Ten rows a document, whose first elements are few. */
const MANY = `function (doc) {
	for (let i = 0; i < 10; i++)
		emit([doc.address.country, doc.birthday.slice(0, 4), doc._id.slice(i, i + 4)], i);
}`;

/** The lines.  ${b} is what run.mjs has: startDivand, newDb, sendBulk, compact, program, file, quick. */
export function viewLines(b) {
	const DOCS = b.quick ? 20000 : 100000, SMALL = DOCS / 100;
	const big = (DOCS * 10).toLocaleString('en'), small = (SMALL * 10).toLocaleString('en');
	let shared, built = 0;

	const ask = (server, db, target, options) => lib.expect(200, server.url, 'GET', `/${db}/_design/${target}`, options);

	async function design(server, db, name, views) {
		await lib.expect(201, server.url, 'PUT', `/${db}/_design/${name}`, { auth: server.auth, body: JSON.stringify({ views }) });
	}

	async function fill(server, db, docs) {
		const rnd = random(21);
		await b.newDb(server, db);
		for (let at = 0; at < docs; at += 1000) {
			const list = Array.from({ length: Math.min(1000, docs - at) }, () => contactText(rnd, hexId(rnd)));
			await lib.expect(201, server.url, 'POST', `/${db}/_bulk_docs`, { body: `{"docs":[${list.join(',')}]}` });
		}
		await lib.quiet(server.pid);
	}

	/** The server that all lines share: many contacts and few. */
	async function sharedServer() {
		if (shared) return shared;
		const server = await b.startDivand();
		await fill(server, 'many', DOCS);
		await fill(server, 'few', SMALL);
		await b.compact(server, 'many');
		const all = await lib.expect(200, server.url, 'GET', '/many/_all_docs?include_docs=true');
		fs.writeFileSync(b.file('view-docs'), JSON.parse(all.text).rows.map((r) => `${JSON.stringify(r.doc)}\n`).join(''));
		shared = { server };
		return shared;
	}

	const build = (name, label, budget, map) => ({
		name, label: `${label}, ${DOCS.toLocaleString('en')} contacts, against the engine alone`, budget, unit: 'document',
		async setup() {
			this.server = (await sharedServer()).server;
			fs.writeFileSync(b.file(`${name}.js`), map);
		},
		async divan() {
			// Another text is another index.
			const ddoc = `${name}-${++built}`;
			await design(this.server, 'many', ddoc, { v: { map: `/* ${built} */ ${map}` } });
			const c = await lib.cost(this.server.pid, () => ask(this.server, 'many', `${ddoc}/_view/v?limit=0`));
			const { _rev: rev } = JSON.parse((await ask(this.server, 'many', ddoc)).text);
			await lib.expect(200, this.server.url, 'DELETE', `/many/_design/${ddoc}?rev=${rev}`, { auth: this.server.auth });
			await lib.expect(202, this.server.url, 'POST', '/many/_view_cleanup', { auth: this.server.auth, body: '' });
			return { ...c, n: DOCS, rows: JSON.parse(c.result.text).total_rows };
		},
		async ceiling() {
			const r = JSON.parse(await lib.run(b.program('ceiling_map'), [b.file('view-docs'), b.file(`${name}.js`)]));
			return { cpu: r.cpu_us, wall: r.wall_us, n: r.docs, rows: r.rows };
		},
		check(d, c) {
			if (d.rows !== c.rows || d.n !== c.n) throw new Error(`${name}: ${d.rows} rows, the ceiling ${c.rows}`);
		},
	});

	/** The index of the reading lines, and the names of its file and the database's. */
	async function readIndex() {
		const s = await sharedServer();
		if (!s.index) {
			const dir = path.join(s.server.dataDir, '.views'), before = new Set(fs.readdirSync(dir));
			await design(s.server, 'many', 'read', { v: { map: ONE } });
			await ask(s.server, 'many', 'read/_view/v?limit=0');
			await lib.quiet(s.server.pid);
			const [name] = fs.readdirSync(dir).filter((f) => !before.has(f) && !f.includes('lock'));
			s.index = path.join(dir, name);
			s.docs = path.join(s.server.dataDir, 'many.divan');
		}
		return s;
	}

	const read = (name, label, query, kind, times) => ({
		name, label, budget: 0.5, unit: 'row',
		async setup() { this.s = await readIndex(); },
		async divan() {
			const c = await lib.cost(this.s.server.pid, async () => {
				let bytes = 0;
				for (let i = 0; i < times; i++) bytes += (await ask(this.s.server, 'many', `read/_view/v${query}`, { discard: true })).length;
				return bytes;
			});
			return { ...c, n: times * DOCS, bytes: c.result };
		},
		async ceiling() {
			const r = JSON.parse(await lib.run(b.program('ceiling_scan'), [this.s.docs, kind, String(times), this.s.index]));
			return { cpu: r.cpu_us, wall: r.wall_us, n: r.rows, bytes: r.bytes };
		},
		check(d, c) {
			if (c.n !== d.n || Math.abs(c.bytes / d.bytes - 1) > 0.01)
				throw new Error(`${name}: ${d.n} rows with ${d.bytes} bytes, the ceiling ${c.n} with ${c.bytes}`);
		},
	});

	async function manyRows() {
		const s = await sharedServer();
		if (!s.rows) {
			const views = { v: { map: MANY, reduce: '_stats' }, count: { map: MANY, reduce: '_count' }, js: { map: MANY, reduce: 'function (keys, values) { return sum(values); }' } };
			for (const db of ['many', 'few']) {
				await design(s.server, db, 'rows', views);
				await ask(s.server, db, 'rows/_view/v');
				await ask(s.server, db, 'rows/_view/js');
			}
			await lib.quiet(s.server.pid);
			s.rows = true;
		}
		return s;
	}

	/** The same query over many rows and over few; n(result) tells what it is counted by. */
	const depth = (name, label, times, target, unit = 'query', n = () => 1) => {
		const run = (db) => async () => {
			const { server } = shared, rnd = random(4711);
			const c = await lib.cost(server.pid, async () => {
				let sum = 0;
				for (let i = 0; i < times; i++) sum += n(JSON.parse((await ask(server, db, `rows/_view/${target(rnd, db === 'many' ? DOCS * 10 : SMALL * 10)}`)).text));
				return sum;
			});
			return { ...c, n: c.result };
		};
		return { name, label: `${label}: ${big} rows against ${small}`, budget: 0.5, unit, setup: manyRows, divan: run('many'), ceiling: run('few') };
	};

	const json = (v) => encodeURIComponent(JSON.stringify(v));
	/* From one country to another, with an end within each. */
	const between = (rnd) => `startkey=${json(['Canada', String(1940 + Math.floor(rnd() * 65))])}&endkey=${json(['United States', String(1940 + Math.floor(rnd() * 65))])}`;

	const update = {
		name: 'view-update', label: 'A document is updated, then its view is asked', unit: 'ms', budget: null,
		async size() {
			const { server } = await readIndex();
			const rnd = random(31), times = b.quick ? 200 : 1000, ms = [];
			const first = JSON.parse((await ask(server, 'many', 'read/_view/v?limit=1')).text).rows[0].id;
			let { _rev: rev } = JSON.parse((await lib.expect(200, server.url, 'GET', `/many/${first}`)).text);
			const c = await lib.cost(server.pid, async () => {
				for (let i = 0; i < times; i++) {
					const doc = { ...JSON.parse(contactText(rnd, first)), _rev: rev, name: { first: `n${i}`, last: '' } };
					const begin = process.hrtime.bigint();
					rev = JSON.parse((await lib.expect(201, server.url, 'PUT', `/many/${first}`, { body: JSON.stringify(doc) })).text).rev;
					const { rows } = JSON.parse((await ask(server, 'many', `read/_view/v?key=${json(['', `n${i}`])}`)).text);
					ms.push(Number(process.hrtime.bigint() - begin) / 1e6);
					if (rows.length !== 1 || rows[0].id !== first) throw new Error(`an update is not in the view: ${JSON.stringify(rows)}`);
				}
			});
			ms.sort((a, z) => a - z);
			return { ours: ms[times >> 1], note: `p99 ${ms[Math.floor(times * 0.99)].toFixed(1)} ms, CPU ${(c.cpu / times / 1000).toFixed(2)} ms` };
		},
	};

	const times = b.quick ? 100 : 300;
	return [
		build('view-build', 'Build of a view of one row', 0.55, ONE),
		build('view-build-ten', 'Build of a view of ten rows', 0.4, TEN),
		read('view-rows', 'All rows of a view', '', 'view', b.quick ? 5 : 10),
		read('view-docs', 'All rows of a view, `include_docs`', '?include_docs=true', 'view-docs', b.quick ? 1 : 2),
		depth('view-reduce', 'Reduce of a key range', times, (rnd) => `v?${between(rnd)}`),
		depth('view-count', 'Count of a key range', times, (rnd) => `count?${between(rnd)}`),
		depth('view-reduce-js', 'The same by a function', times, (rnd) => `js?${between(rnd)}`),
		depth('view-group-1', '`group_level=1`', times / 4, () => 'v?group_level=1', 'group', (r) => r.rows.length),
		depth('view-group-2', '`group_level=2`', times / 20, () => 'v?group_level=2', 'group', (r) => r.rows.length),
		depth('view-skip', '`skip` of up to all', times, (rnd, rows) => `v?reduce=false&limit=1&skip=${Math.floor(rnd() * rows)}`),
		update,
	];
}
