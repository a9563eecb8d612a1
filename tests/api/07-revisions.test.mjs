// Revision trees under stress, against a model in plain objects: long histories, many leaves, several roots, stemming, odd ids.
import assert from 'node:assert/strict';
import http from 'node:http';
import { after, before, test } from 'node:test';
import { startDivand } from '../lib/divand.mjs';
import { Random } from '../lib/random.mjs';
import { ask, assertError, newDb } from './client.mjs';

let server;
before(async () => {
	server = await startDivand();
});
after(() => server.stop());

const EDITS = Number(process.env.DIVAN_EDITS ?? 1500); // each is durable before the next begins
const JSON_ONLY = { headers: { Accept: 'application/json' } };
const get = (db, query, id = 'x') => ask(server, 'GET', `/${db}/${id}${query}`, JSON_ONLY);
const parts = (rev) => [Number(rev.slice(0, rev.indexOf('-'))), rev.slice(rev.indexOf('-') + 1)];
const enc = encodeURIComponent;

/** Write revisions as a replicator does: each [path, newest first; deleted]. */
async function graft(db, paths, id = 'x') {
	const docs = paths.map(({ path, deleted }) => ({
		_id: id, _rev: path[0], leaf: path[0], ...(deleted && { _deleted: true }),
		_revisions: { start: parts(path[0])[0], ids: path.map((rev) => parts(rev)[1]) },
	}));
	const { status, json } = await ask(server, 'POST', `/${db}/_bulk_docs`, { json: { new_edits: false, docs } });
	assert.equal(status, 201);
	assert.deepEqual(json, []);
}

/** The text of a revision as the server writes it: 32 hexadecimal digits are bytes. */
const canonical = (rev) => {
	const [gen, id] = parts(rev);
	return `${gen}-${/^[0-9a-f]{32}$/i.test(id) ? id.toLowerCase() : id}`;
};
/** By bytes: what was 32 digits counts as 16 bytes. */
const bytesOf = (rev) => {
	const id = parts(rev)[1];
	return /^[0-9a-f]{32}$/.test(id) ? Buffer.from(id, 'hex') : Buffer.from(id);
};
const newerFirst = (a, b) => parts(b)[0] - parts(a)[0] || Buffer.compare(bytesOf(b), bytesOf(a));

/** A tree that forgets nothing: revisions, their parents as far as they are known, and which leaves are deleted. */
class Model {
	parent = new Map();
	deleted = new Map();
	add({ path, deleted }) {
		const revs = path.map(canonical);
		if (!this.deleted.has(revs[0])) this.deleted.set(revs[0], Boolean(deleted));
		revs.forEach((rev, i) => {
			if (i + 1 < revs.length) this.parent.set(rev, revs[i + 1]);
			else if (!this.parent.has(rev)) this.parent.set(rev, null);
		});
	}
	leaves() {
		const inner = new Set(this.parent.values());
		const leaves = [...this.parent.keys()].filter((rev) => !inner.has(rev));
		return leaves.sort((a, b) => this.deleted.get(a) - this.deleted.get(b) || newerFirst(a, b));
	}
	ancestors(rev) {
		const out = [];
		for (let r = rev; r; r = this.parent.get(r)) out.push(r);
		return out;
	}
}

/** Server and model agree in winner, leaves, conflicts, every path, and in what is missing. */
async function assertSame(db, model, id = 'x') {
	const leaves = model.leaves();
	const open = await get(db, '?open_revs=all&revs=true', id);
	assert.equal(open.status, 200, open.text.slice(0, 300));
	const found = open.json.map(({ ok }) => ok);
	assert.deepEqual(new Set(found.map((doc) => doc._rev)), new Set(leaves));
	for (const doc of found) {
		assert.equal(canonical(doc.leaf), doc._rev, 'each leaf has its own body');
		assert.equal(Boolean(doc._deleted), model.deleted.get(doc._rev));
		const { start, ids } = doc._revisions;
		assert.deepEqual(ids.map((text, i) => `${start - i}-${text}`), model.ancestors(doc._rev));
	}
	const winner = await get(db, '?conflicts=true&deleted_conflicts=true', id);
	if (model.deleted.get(leaves[0])) {
		assertError(winner, 404, 'not_found', 'deleted');
	} else {
		assert.equal(winner.json._rev, leaves[0]);
		const rest = leaves.slice(1);
		assert.deepEqual(new Set(winner.json._conflicts ?? []), new Set(rest.filter((rev) => !model.deleted.get(rev))));
		assert.deepEqual(new Set(winner.json._deleted_conflicts ?? []), new Set(rest.filter((rev) => model.deleted.get(rev))));
	}
	const known = [...model.parent.keys()];
	const diff = await ask(server, 'POST', `/${db}/_revs_diff`, { json: { [id]: [...known, '1-nobody', '100000-nobody'] } });
	assert.deepEqual(diff.json[id].missing, ['1-nobody', '100000-nobody']);
	assert.deepEqual(new Set(diff.json[id].possible_ancestors), new Set(leaves));
	const { results } = (await ask(server, 'GET', `/${db}/_changes?style=all_docs`)).json;
	const row = results.find((r) => r.id === id);
	assert.equal(row.changes[0].rev, leaves[0]);
	assert.deepEqual(new Set(row.changes.map(({ rev }) => rev)), new Set(leaves));
}

const same = (db) => ask(server, 'GET', `/${db}`).then(({ json }) => json.update_seq);

test(`${EDITS} edits of one document, one after the other`, { timeout: 240000 }, async () => {
	const db = await newDb(server);
	const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
	const revs = [];
	for (let i = 0; i < EDITS; i++) {
		const { status, json } = await ask(server, 'PUT', `/${db}/x`, { json: { i, ...(i && { _rev: revs.at(-1) }) }, agent });
		assert.equal(status, 201);
		revs.push(json.rev);
	}
	agent.destroy();
	assert.equal(parts(revs.at(-1))[0], EDITS);
	const { json } = await get(db, '?revs=true&revs_info=true');
	assert.equal(json.i, EDITS - 1);
	const kept = revs.slice(-1000).reverse();
	assert.deepEqual(json._revisions, { start: EDITS, ids: kept.map((rev) => parts(rev)[1]) });
	assert.deepEqual(json._revs_info.map(({ rev }) => rev), kept);
	assert.equal((await ask(server, 'GET', `/${db}`)).json.doc_count, 1);
	// An older one is a conflict and changes nothing.
	assertError(await ask(server, 'PUT', `/${db}/x`, { json: { _rev: revs[EDITS >> 1] } }), 409, 'conflict');
	assertError(await ask(server, 'PUT', `/${db}/x`, { json: { _rev: revs.at(-2) } }), 409, 'conflict');
	// Within the limit they are known; far behind it they are not.
	const diff = await ask(server, 'POST', `/${db}/_revs_diff`, { json: { x: [revs.at(-1), revs.at(-1000)] } });
	assert.deepEqual(diff.json, {});
});

test('a path of 10,000 revisions at once', { timeout: 60000 }, async () => {
	const db = await newDb(server);
	assert.equal((await ask(server, 'PUT', `/${db}/_revs_limit`, { body: '20000' })).status, 200);
	const path = Array.from({ length: 10000 }, (_, i) => `${10000 - i}-${(10000 - i).toString(16).padStart(32, '0')}`);
	const model = new Model();
	await graft(db, [{ path }]);
	model.add({ path });
	await assertSame(db, model);
	// A branch from its middle, and the middle itself.
	const branch = { path: ['5001-branch', ...path.slice(5000)] };
	const before = await same(db);
	await graft(db, [{ path: path.slice(5000) }]);
	assert.equal(await same(db), before, 'an interior revision changes nothing');
	await graft(db, [branch]);
	model.add(branch);
	await assertSame(db, model);
});

test('500 conflicting leaves, deleted until one is left', { timeout: 120000 }, async () => {
	const db = await newDb(server);
	const model = new Model();
	const root = '1-0000000000000000000000000000000a';
	const random = new Random(500);
	const paths = Array.from({ length: 500 }, (_, i) => {
		const id = Buffer.from(random.bytes(16)).toString('hex');
		return { path: i % 5 ? [`2-${id}`, root] : [`3-${id}`, `2-mid${i}`, root] };
	});
	for (let i = 0; i < paths.length; i += 100) await graft(db, paths.slice(i, i + 100));
	paths.forEach((path) => model.add(path));
	await assertSame(db, model);
	// All again in another order: nothing happens.
	const before = await same(db);
	await graft(db, [...paths].reverse());
	assert.equal(await same(db), before);
	const leaves = model.leaves();
	assert.equal(leaves.length, 500);
	// From the loser to the winner's neighbour, and the winner itself in the middle of it.
	const order = [...leaves.slice(250).reverse(), leaves[0], ...leaves.slice(1, 249)];
	for (const rev of order) {
		const { status, json } = await ask(server, 'DELETE', `/${db}/x?rev=${rev}`);
		assert.equal(status, 200);
		model.add({ path: [json.rev, rev], deleted: true });
	}
	const left = await get(db, '?conflicts=true&deleted_conflicts=true');
	assert.equal(left.json._rev, leaves[249]);
	assert.equal(left.json._conflicts, undefined);
	assert.equal(left.json._deleted_conflicts.length, 499);
	assert.equal((await ask(server, 'DELETE', `/${db}/x?rev=${leaves[249]}`)).status, 200);
	assertError(await get(db, ''), 404, 'not_found', 'deleted');
	const counts = (await ask(server, 'GET', `/${db}`)).json;
	assert.deepEqual([counts.doc_count, counts.doc_del_count], [0, 1]);
});

test('several roots, of which one is the winner', async () => {
	const db = await newDb(server);
	const model = new Model();
	const all = [
		{ path: ['3-aaa', '2-aa', '1-a'] }, { path: ['3-bbb'] }, { path: ['7-c'], deleted: true }, { path: ['4-dddd', '3-ddd', '2-dd'] },
		{ path: ['4-x', '3-bbb'], deleted: true }, { path: ['2-dd', '1-a'] },
	];
	for (const one of all) {
		await graft(db, [one]);
		model.add(one);
		await assertSame(db, model);
	}
});

for (const limit of [1, 2, 1000]) {
	test(`stemming at revs_limit ${limit}`, { timeout: 60000 }, async () => {
		const db = await newDb(server);
		assert.equal((await ask(server, 'PUT', `/${db}/_revs_limit`, { body: String(limit) })).status, 200);
		// Most of a long history comes at once; the edits go over the limit.
		const revs = Array.from({ length: limit === 1000 ? 995 : 0 }, (_, i) => `${i + 1}-r${i}`);
		if (revs.length) await graft(db, [{ path: [...revs].reverse() }]);
		for (let i = 0; i < 12; i++) {
			const { status, json } = await ask(server, 'PUT', `/${db}/x`, { json: { i, ...(revs.length && { _rev: revs.at(-1) }) } });
			assert.equal(status, 201);
			revs.push(json.rev);
			const { _revisions } = (await get(db, '?revs=true')).json;
			assert.deepEqual(_revisions.ids, revs.slice(-limit).reverse().map((rev) => parts(rev)[1]));
		}
		// A replicated path is cut to the limit as well, and two leaves keep a path each.
		const gen = revs.length;
		const path = [`${gen}-other`, ...revs.slice(0, -1).reverse()];
		await graft(db, [{ path }]);
		const leaves = (await get(db, '?open_revs=all&revs=true')).json.map(({ ok }) => ok._revisions);
		assert.equal(leaves.length, 2);
		for (const { start, ids } of leaves) assert.deepEqual([start, ids.length], [gen, Math.min(limit, gen)]);
		// A higher limit does not bring back what is gone.
		assert.equal((await ask(server, 'PUT', `/${db}/_revs_limit`, { body: '5000' })).status, 200);
		const { ids } = (await get(db, `?rev=${revs.at(-1)}&revs=true`)).json._revisions;
		assert.equal(ids.length, Math.min(limit, gen));
	});
}

test('latest=true is the winner, whatever revision is named; open_revs tells the leaves of its branch', async () => {
	const db = await newDb(server);
	const docs = [['2-b', '1-a'], ['2-c', '1-a'], ['3-d', '2-x']].map(([rev, from]) => ({
		_id: 'doc', _rev: rev, _revisions: { start: Number(rev[0]), ids: [rev.slice(2), from.slice(2)] }, ...(rev === '3-d' && { _deleted: true }),
	}));
	await ask(server, 'POST', `/${db}/_bulk_docs`, { json: { new_edits: false, docs } });
	for (const rev of ['1-a', '2-b', '2-c', '3-d', '9-z']) {
		const { json, headers } = await ask(server, 'GET', `/${db}/doc?latest=true&rev=${rev}`);
		assert.deepEqual([json._rev, headers.etag], ['2-c', '"2-c"'], rev);
	}
	assert.deepEqual((await ask(server, 'GET', `/${db}/doc?latest=true&rev=2-b&conflicts=true`)).json._conflicts, ['2-b']);
	assertError(await ask(server, 'GET', `/${db}/doc?latest=true&rev=x`), 400, 'bad_request', 'Invalid rev format');
	const open = await ask(server, 'GET', `/${db}/doc?latest=true&open_revs=["2-b"]`, { headers: { Accept: 'application/json' } });
	assert.deepEqual(open.json.map(({ ok }) => ok._rev), ['2-b']);
	for (const rev of ['2-b', '2-c']) await ask(server, 'DELETE', `/${db}/doc?rev=${rev}`);
	assertError(await ask(server, 'GET', `/${db}/doc?latest=true&rev=2-b`), 404, 'not_found', 'deleted');
});

test('an attachment with latest=true is that of a leaf behind the revision', async () => {
	const db = await newDb(server);
	const doc = (_rev, ids, data) => ({ _id: 'doc', _rev, _revisions: { start: ids.length, ids }, _attachments: data && { a: { data } } });
	const docs = [doc('1-a', ['a']), doc('2-b', ['b', 'a'], 'Yg=='), doc('2-c', ['c', 'x'], 'Yw==')];
	for (const one of docs) await ask(server, 'POST', `/${db}/_bulk_docs`, { json: { new_edits: false, docs: [one] } });
	const at = (query) => ask(server, 'GET', `/${db}/doc/a?${query}`);
	assertError(await at('rev=1-a'), 404, 'not_found', 'Document is missing attachment');
	for (const rev of ['1-a', '2-b']) assert.equal((await at(`rev=${rev}&latest=true`)).text, 'b', rev);
	assert.equal((await at('latest=true')).text, 'c');
	assertError(await at('rev=9-z&latest=true'), 404, 'not_found', 'missing');
});

test('revision ids of odd lengths', async () => {
	const db = await newDb(server);
	const hex = 'ABCDEFabcdef00112233445566778899';
	const ids = ['a', 'A', '0', 'x'.repeat(128), hex, 'zz'.repeat(15), 'f'.repeat(31), 'f'.repeat(33), 'a-b-c', '%2F/', '(~!*)'];
	const model = new Model();
	for (const id of ids) {
		const one = { path: [`2-${id}`, '1-a'] };
		await graft(db, [one]);
		model.add(one);
	}
	await assertSame(db, model);
	for (const id of ids) {
		const rev = canonical(`2-${id}`);
		for (const text of [`2-${id}`, rev]) assert.equal((await get(db, `?rev=${enc(text)}`)).json._rev, rev);
		const listed = await get(db, `?open_revs=${enc(JSON.stringify([rev]))}`);
		assert.equal(listed.json[0].ok._rev, rev);
	}
	const before = await same(db);
	await graft(db, [{ path: [`2-${hex.toLowerCase()}`, '1-a'] }, { path: [`2-${hex.toUpperCase()}`] }]);
	assert.equal(await same(db), before, 'letters of 32 digits differ in nothing');
	for (const bad of ['2-ü', '2-with space', '2-"', '2-a\\b', '2-' + 'g'.repeat(32), '2-' + 'x'.repeat(129), '-a', 'a-a', '2', '', '99999999999999999999-a', '1 -a', '+1-a']) {
		assertError(await get(db, `?rev=${enc(bad)}`), 400, 'bad_request', 'Invalid rev format');
		assertError(await ask(server, 'POST', `/${db}/_revs_diff`, { json: { x: [bad] } }), 400, 'bad_request');
	}
	// An edit of each leaf keeps it as parent.
	for (const id of ids) {
		const { status, json } = await ask(server, 'PUT', `/${db}/x`, { json: { _rev: `2-${id}`, leaf: null } });
		assert.equal(status, 201);
		const { _revisions } = (await get(db, `?rev=${json.rev}&revs=true`)).json;
		assert.deepEqual(_revisions.ids.slice(1), [parts(canonical(`2-${id}`))[1], 'a']);
	}
});

test('any paths in any order give the same document', { timeout: 120000 }, async () => {
	const random = new Random(7);
	for (let round = 0; round < 12; round++) {
		// A history with branches and roots of its own; a revision's parent is always the same.
		const nodes = [];
		for (let i = 0; i < 40; i++) {
			const parent = i === 0 || random.below(12) === 0 ? null : random.pick(random.below(3) ? nodes.slice(-4) : nodes);
			const gen = parent ? parent.gen + 1 : random.between(1, 3);
			const id = random.below(4) ? Buffer.from(random.bytes(16)).toString('hex') : `r${i}`;
			nodes.push({ gen, rev: `${gen}-${id}`, parent, deleted: random.below(5) === 0 });
		}
		const paths = nodes.filter(() => random.below(3)).map((node) => {
			const path = [];
			const length = random.below(2) ? 100 : random.between(1, 3);
			for (let n = node; n && path.length < length; n = n.parent) path.push(n.rev);
			return { path, deleted: node.deleted };
		});
		const docs = [];
		for (let order = 0; order < 3; order++) {
			const db = await newDb(server);
			const shuffled = [...paths];
			for (let i = shuffled.length; i > 1; i--) {
				const k = random.below(i);
				[shuffled[i - 1], shuffled[k]] = [shuffled[k], shuffled[i - 1]];
			}
			const model = new Model();
			for (let i = 0; i < shuffled.length;) {
				const some = shuffled.slice(i, i += random.between(1, 8));
				await graft(db, some);
				some.forEach((one) => model.add(one));
			}
			await assertSame(db, model).catch((e) => Promise.reject(new Error(`round ${round}, order ${order}: ${e.message}`)));
			const { json } = await get(db, '?open_revs=all&revs=true');
			docs.push(JSON.stringify(json.sort((a, b) => (a.ok._rev < b.ok._rev ? -1 : 1))));
			await ask(server, 'DELETE', `/${db}`);
		}
		assert.equal(new Set(docs).size, 1, `round ${round}`);
	}
});
