// After any sequence of updates an index is what one built from scratch is: its rows, its reductions of any range at any level, what it
// says of itself.  Edits of any leaf, deletions, conflicts, purges (also forgotten ones), design documents that change and
// change back, restarts, kills, compactions, clean-ups; the index is brought up to date now and then.
// REBUILT_STEPS: changes of documents (600), in two databases; REBUILT_SEED repeats the choices of a run.
import assert from 'node:assert/strict';
import http from 'node:http';
import { after, before, test } from 'node:test';
import { startDivand } from '../lib/divand.mjs';
import { Random } from '../lib/random.mjs';
import { ask } from './client.mjs';

const STEPS = Number(process.env.REBUILT_STEPS ?? 600);
const SEED = Number(process.env.REBUILT_SEED ?? Date.now() % 1e9);
const random = new Random(SEED);
const agent = new http.Agent({ keepAlive: true });
let server;
before(async () => (server = await startDivand()));
after(async () => {
	agent.destroy();
	await server?.stop();
});

const once = (method, path, json) => ask(server, method, path, { json, agent });
async function must(status, method, path, json) {
	const answer = await once(method, path, json);
	assert.ok([status].flat().includes(answer.status), `REBUILT_SEED=${SEED} ${method} ${path} ${JSON.stringify(json)?.slice(0, 300)}: ${answer.status} ${answer.text.slice(0, 500)}`);
	return answer.json;
}

/* ---- What is written ---- */

const LONG = ['x'.repeat(480), 'x'.repeat(491), 'x'.repeat(700), 'é'.repeat(300)];
const text = () => (random.below(6) === 0 ? random.pick(LONG) : '') + random.pick(['', 'a', 'A', 'b', 'é', 'e\u0301', 'a b', '\u0000', '😀', 'zz']);
const body = () => ({
	n: random.between(-30, 30), s: text(), list: Array.from({ length: random.below(6) }, () => random.below(9)),
	...(random.below(30) === 0 ? { big: random.text(random.between(1000, 40000)) } : {}),
});

const MAPS = [
	'function (doc) { if ("n" in doc) emit(doc.n, doc.n); }',
	'function (doc) { if (doc.list) doc.list.forEach(function (x) { emit([x % 3, x, doc.s], doc.n); }); }',
	'function (doc) { if ("s" in doc) { emit(doc.s, 1); if (doc.n > 0) emit([doc.s, doc.n], 2); } }',
	'function (doc) { emit([(doc._conflicts || []).length, doc._id], (doc._conflicts || []).length); }',
	'function (doc) { emit(doc._rev, doc._local_seq || 0); }',
	'function (doc) { if (doc.big) emit(doc.big.length % 5, doc.big.length); else if (doc.n % 2) emit(null, doc.n); }',
	'function (doc) { for (var i = 0; i < (doc.list || []).length; i++) emit("same", i); }',
	'function (doc) { if (doc.n === 7) throw new Error("seven"); emit({ n: doc.n, s: doc.s }, 1); }',
];
const REDUCES = [undefined, '_sum', '_count', '_stats', '_approx_count_distinct', '_first', '_last', '_top_3', '_bottom_2',
	'function (keys, values, rereduce) { return rereduce ? [sum(values.map(function (v) { return v[0]; })), sum(values.map(function (v) { return v[1]; }))] : [values.length, sum(values)]; }'];

/** A definition; there are few, so that one comes again and finds the index that it left. */
function definition(partitioned) {
	const which = random.below(12);
	const own = new Random(which * 7919);
	const views = {};
	for (let i = own.between(1, 4); i > 0; i--) {
		const reduce = own.pick(REDUCES);
		views[`v${i}`] = { map: own.pick(MAPS), ...(reduce ? { reduce } : {}), ...(own.below(3) === 0 ? { options: { collation: 'raw' } } : {}) };
	}
	const options = {};
	if (which % 4 === 1 && !partitioned) options.include_design = true;
	if (which % 4 === 2) options.local_seq = true;
	if (partitioned && which % 3 === 0) options.partitioned = false;
	return { views, options };
}

const DDOCS = ['a', 'b', 'c'];
const hash = () => random.bytes(16).toString('hex');

class Database {
	constructor(name, partitioned) {
		this.name = name;
		this.partitioned = partitioned;
		this.defined = {};
		this.serial = 0;
	}
	id() {
		const id = random.pick(['d', 'd', 'D', 'é', 'a b']) + random.below(30);
		return this.partitioned ? `${random.pick(['p', 'q', 'pp'])}:${id}` : id;
	}
	async create() {
		await must(201, 'PUT', `/${this.name}${this.partitioned ? '?partitioned=true' : ''}`);
		for (const ddoc of DDOCS) await this.define(ddoc);
	}
	async define(ddoc, what = definition(this.partitioned)) {
		const { _rev } = (await once('GET', `/${this.name}/_design/${ddoc}`)).json;
		await must(201, 'PUT', `/${this.name}/_design/${ddoc}`, { ...what, ...(_rev ? { _rev } : {}) });
		this.defined[ddoc] = what;
	}
	/** Leaves by id, the winner first. */
	async leaves() {
		const { results } = await must(200, 'GET', `/${this.name}/_changes?style=all_docs`);
		return new Map(results.filter((r) => !r.id.startsWith('_')).map((r) => [r.id, r.changes.map((c) => c.rev)]));
	}
	/** A few changes in one request. */
	async write() {
		const leaves = await this.leaves();
		const edits = [], grafts = [];
		for (let i = random.pick([1, 1, 2, 5, 30]); i > 0; i--) {
			const _id = this.id();
			const own = leaves.get(_id);
			const dice = random.below(10);
			if (!own) edits.push({ _id, ...body() });
			else if (dice < 5) edits.push({ _id, _rev: dice < 4 ? own[0] : random.pick(own), ...body() });
			else if (dice < 7) edits.push({ _id, _rev: random.pick(own), _deleted: true });
			else {
				const [start, parent] = random.pick(own).split('-');
				const ids = [hash(), random.below(2) ? parent : hash()];
				grafts.push({ _id, _rev: `${Number(start) + 1}-${ids[0]}`, _revisions: { start: Number(start) + 1, ids }, ...(random.below(5) ? body() : { _deleted: true }) });
			}
		}
		if (edits.length) await must(201, 'POST', `/${this.name}/_bulk_docs`, { docs: edits });
		if (grafts.length) await must(201, 'POST', `/${this.name}/_bulk_docs`, { docs: grafts, new_edits: false });
		return edits.length + grafts.length;
	}
	async purge() {
		const leaves = [...(await this.leaves())];
		const asked = {};
		for (let i = random.pick([1, 1, 3, 12]); i > 0 && leaves.length; i--) {
			const [id, own] = random.pick(leaves);
			asked[id] = random.below(3) ? own : [random.pick(own)];
		}
		await must([201, 202], 'POST', `/${this.name}/_purge`, asked);
		return Object.keys(asked).length;
	}
	query(ddoc, view, params, partition) {
		const at = this.partitioned && this.defined[ddoc].options.partitioned !== false ? `_partition/${partition}/` : '';
		return must(200, 'GET', `/${this.name}/${at}_design/${ddoc}/_view/${view}?${Object.entries(params).map(([k, v]) => `${k}=${encodeURIComponent(JSON.stringify(v))}`).join('&')}`);
	}
	async update() {
		const ddoc = random.pick(DDOCS);
		const view = random.pick(Object.keys(this.defined[ddoc].views));
		await this.query(ddoc, view, { limit: 1 }, 'p');
	}
	/** The index of ${ddoc} against one of a design document that differs by a comment. */
	async compare(ddoc) {
		const { views, options } = this.defined[ddoc];
		const fresh = `fresh${this.serial++}`;
		const again = Object.fromEntries(Object.entries(views).map(([name, v]) => [name, { ...v, map: `${v.map} // ${SEED} ${this.serial}` }]));
		await this.define(fresh, { views: again, options });
		const alike = async (view, params, partition) => {
			const [is, wanted] = [await this.query(ddoc, view, params, partition), await this.query(fresh, view, params, partition)];
			assert.deepEqual(is, wanted, `REBUILT_SEED=${SEED} ${this.name} ${ddoc}/${view} ${JSON.stringify(params).slice(0, 500)} ${JSON.stringify(this.defined[ddoc]).slice(0, 2000)}`);
			return is.rows;
		};
		for (const [view, { reduce }] of Object.entries(views)) {
			for (const partition of this.partitioned ? ['p', 'q', 'pp', 'none'] : [undefined]) {
				const rows = await alike(view, { reduce: false }, partition);
				rowsSeen += rows.length;
				if (reduce) await alike(view, { group: true }, partition);
				for (let i = 0; i < 4; i++) {
					const params = reduce ? random.pick([{}, { group: true }, { group_level: 1 }, { group_level: 2 }, { group_level: 3 }]) : {};
					const ends = rows.length ? [random.below(rows.length), random.below(rows.length)].sort((a, b) => a - b).map((n) => rows[n]) : [];
					if (random.below(3) === 0) params.descending = true;
					if (params.descending) ends.reverse();
					if (ends[0] && random.below(4)) params.startkey = ends[0].key;
					if (ends[1] && random.below(4)) params.endkey = ends[1].key;
					if (random.below(4) === 0) params.inclusive_end = false;
					await alike(view, { ...params }, partition);
				}
			}
		}
		const info = async (name) => (await must(200, 'GET', `/${this.name}/_design/${name}/_info`)).view_index;
		const [is, wanted, { update_seq }] = [await info(ddoc), await info(fresh), await must(200, 'GET', `/${this.name}`)];
		for (const one of [is, wanted]) {
			assert.equal(one.updates_pending.total, 0);
			assert.equal(one.update_seq, parseInt(update_seq), `REBUILT_SEED=${SEED}`);
			assert.equal(one.waiting_clients, 0);
			assert.equal(one.updater_running, false);
		}
		assert.equal(is.purge_seq, wanted.purge_seq, `REBUILT_SEED=${SEED}`);
		const { _rev } = (await once('GET', `/${this.name}/_design/${fresh}`)).json;
		await must(200, 'DELETE', `/${this.name}/_design/${fresh}?rev=${_rev}`);
		delete this.defined[fresh];
	}
	async replace() {
		await must(200, 'DELETE', `/${this.name}`);
		await this.create();
	}
}

let rowsSeen = 0;

test(`an index after random updates is one built from scratch (REBUILT_SEED=${SEED})`, { timeout: 3600000 }, async () => {
	const databases = [new Database('plain', false), new Database('divided', true)];
	for (const db of databases) await db.create();
	let steps = 0, comparisons = 0, restarts = 0;
	const nextRestart = () => steps + random.between(Math.max(100, STEPS / 12), Math.max(200, STEPS / 6));
	let restartAt = nextRestart(), compareAt = STEPS / 8;
	while (steps < STEPS) {
		const db = random.pick(databases);
		const dice = random.below(100);
		if (steps >= restartAt) {
			// In the middle of an update, half of the time.
			const asked = random.below(2) ? Promise.allSettled(databases.map((one) => one.update())) : undefined;
			if (random.below(2)) await server.kill();
			else if (asked) await asked;
			await server.restart();
			await asked;
			restarts++;
			restartAt = nextRestart();
		}
		if (steps >= compareAt) {
			await db.compare(random.pick(DDOCS));
			comparisons++;
			compareAt = steps + STEPS / 8;
		}
		if (dice < 50) steps += await db.write();
		else if (dice < 60) steps += await db.purge();
		else if (dice < 80) await db.update();
		else if (dice < 84) await Promise.all([db.write().then((n) => (steps += n)), db.update(), db.update()]);
		else if (dice < 88) await db.define(random.pick(DDOCS));
		else if (dice < 90) await must(200, 'PUT', `/${db.name}/_purged_infos_limit`, random.pick([1, 3, 1000]));
		else if (dice < 92) await must(202, 'POST', `/${db.name}/_view_cleanup`, {});
		else if (dice < 94) await must(202, 'POST', `/${db.name}/_compact`, {});
		else if (dice < 95) await must(202, 'POST', `/${db.name}/_compact/${random.pick(DDOCS)}`, {});
		else if (dice < 96 && random.below(4) === 0) await db.replace();
		else {
			await db.compare(random.pick(DDOCS));
			comparisons++;
		}
	}
	for (const db of databases) for (const ddoc of DDOCS) await db.compare(ddoc);
	assert.ok(comparisons >= 4 && restarts > 1 && rowsSeen > STEPS, JSON.stringify({ comparisons, restarts, rowsSeen }));
	console.log(`  ${steps} changes, ${comparisons} comparisons of ${rowsSeen} rows, ${restarts} restarts`);
});

// Reductions are kept once there are some thousands of rows; here are enough, and values change under keys that stay.
test(`reductions that are kept, after random updates (REBUILT_SEED=${SEED})`, { timeout: 3600000 }, async () => {
	const map = 'function (doc) { for (var i = 0; i < 40; i++) emit([i % 8, i, doc._id], doc.n); }';
	const views = Object.fromEntries(REDUCES.slice(1).map((reduce, i) => [`v${i}`, { map, reduce }]));
	await must(201, 'PUT', '/kept');
	await must(201, 'PUT', '/kept/_design/live', { views });
	const revs = new Map();
	const write = async (ids) => {
		const docs = ids.map((_id) => ({ _id, ...(revs.has(_id) ? { _rev: revs.get(_id), ...(random.below(8) === 0 ? { _deleted: true } : {}) } : {}), n: random.between(-99, 99) }));
		for (const [i, { id, rev }] of (await must(201, 'POST', '/kept/_bulk_docs', { docs })).entries()) {
			if (docs[i]._deleted) revs.delete(id);
			else revs.set(id, rev);
		}
	};
	const id = () => `d${random.below(400)}`;
	await write(Array.from({ length: 400 }, (_, i) => `d${i}`));
	for (let round = 0; round < Math.max(3, STEPS / 400); round++) {
		for (let i = random.between(1, 5); i > 0; i--) {
			await write([...new Set(Array.from({ length: random.pick([1, 2, 60]) }, id))]);
			if (random.below(2)) await must(200, 'GET', '/kept/_design/live/_view/v0');
		}
		if (round % 4 === 2) {
			if (random.below(2)) await server.kill();
			await server.restart();
		}
		const { rev } = await must(201, 'PUT', `/kept/_design/fresh${round}`, { views: Object.fromEntries(Object.entries(views).map(([name, v]) => [name, { ...v, map: `${map} // ${round}` }])) });
		for (const view of Object.keys(views)) {
			for (let i = 0; i < 4; i++) {
				const key = () => random.pick([[random.below(8)], [random.below(8), {}], [random.below(8), random.below(40)], [3, 3, id()]]);
				const query = { ...(i ? random.pick([{}, { group_level: 1 }, { group_level: 2 }]) : {}), ...(i > 1 ? { startkey: key() } : {}) };
				const at = (ddoc) => `/kept/_design/${ddoc}/_view/${view}?${Object.entries(query).map(([k, v]) => `${k}=${encodeURIComponent(JSON.stringify(v))}`).join('&')}`;
				assert.deepEqual(await must(200, 'GET', at('live')), await must(200, 'GET', at(`fresh${round}`)), `REBUILT_SEED=${SEED} ${views[view].reduce} ${JSON.stringify(query)}`);
			}
		}
		await must(200, 'DELETE', `/kept/_design/fresh${round}?rev=${rev}`);
	}
});
