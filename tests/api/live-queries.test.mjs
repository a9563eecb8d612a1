// Live queries: what a listener has made of its events is what a fresh _find gives.  LIVE_STEPS: how many steps of random edits (100).
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startDivand } from '../lib/divand.mjs';
import { Random } from '../lib/random.mjs';
import { until } from '../lib/until.mjs';
import { client, lines } from '../lib/wire.mjs';

const STEPS = Number(process.env.LIVE_STEPS ?? 100);
const SEED = Number(process.env.SEED ?? Date.now() % 1e9);

let server, c;
before(async () => {
	server = await startDivand();
	c = client(server);
});
after(async () => {
	c.close();
	await server.stop();
});

const ok = (r, status = [200, 201]) => {
	assert.ok([status].flat().includes(r.status), `${r.status} ${r.text}`);
	return r.json;
};
const number = (seq) => Number(seq.split('-')[0]);
const put = async (db, id, doc = {}) => ok(await c.request('PUT', `${db}/${id}`, doc)).rev;
const seqOf = async (db) => ok(await c.request('GET', db)).update_seq;
const index = async (db, def) => ok(await c.request('POST', `${db}/_index`, def));

/** Somebody who listens: applies the events as docs/API.md says. */
class Listener {
	constructor(db, body, { form = 'continuous', progress = true, path = db, who = c } = {}) {
		Object.assign(this, { db, body, form, progress, path, who, ordered: Boolean(body.sort || body.limit !== undefined) });
		this.clear();
		this.point = this.seq = undefined;
		this.counts = {};
	}
	clear() {
		this.array = [];
		this.map = new Map();
	}
	docs() {
		return this.ordered ? this.array.map((x) => x.doc) : [...this.map].sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b))).map(([, doc]) => doc);
	}
	apply(e) {
		this.counts[e.event] = (this.counts[e.event] ?? 0) + 1;
		this.seq = e.seq;
		this.recent?.push(e);
		if (e.event === 'reset') this.clear();
		if (e.event === 'ready' || e.event === 'progress') this.point = e.seq;
		if (!['entered', 'changed', 'left'].includes(e.event)) return;
		assert.equal(e.at === undefined, !this.ordered || e.event === 'left', JSON.stringify(e));
		if (!this.ordered) {
			if (e.event === 'left') this.map.delete(e.id);
			else this.map.set(e.id, e.doc);
			return;
		}
		const from = e.event === 'changed' ? e.from ?? e.at : e.from;
		if (e.event !== 'entered') {
			assert.equal(this.array[from]?.id, e.id, JSON.stringify(e));
			this.array.splice(from, 1);
		}
		if (e.event !== 'left') {
			assert.ok(e.at <= this.array.length, JSON.stringify(e));
			this.array.splice(e.at, 0, { id: e.id, doc: e.doc });
		}
	}
	/** What has come in whole since the last look. */
	parse(text) {
		const mark = this.form === 'continuous' ? '\n' : '\n\n';
		const end = text.lastIndexOf(mark) + mark.length;
		if (end <= this.end || end < mark.length) return [];
		const whole = text.slice(this.end, end);
		this.end = end;
		if (this.form === 'continuous') return lines(whole);
		const out = [];
		for (const block of whole.split('\n\n').slice(0, -1)) {
			const event = /^event: (.*)$/m.exec(block)[1];
			if (event === 'heartbeat') continue;
			out.push(JSON.parse(/^data: (.*)$/m.exec(block)[1]));
			assert.equal(out.at(-1).event, event);
			assert.equal(/^id: (.*)$/m.exec(block)[1], out.at(-1).seq);
		}
		return out;
	}
	look(text) {
		for (const e of this.parse(text)) this.apply(e);
	}
	async start({ since, headers = {}, more = '&heartbeat=30000' } = {}) {
		this.end = 0;
		this.point = undefined;
		const query = `feed=${this.form}${this.progress ? '&progress=true' : ''}${since === undefined ? '' : `&since=${since}`}${more}`;
		this.stream = await this.who.open('POST', `${this.path}/_find?${query}`, this.body, headers);
		return this.stream.status;
	}
	/** The result is known as of ${seq}. */
	async at(seq) {
		await this.stream.until((text) => {
			this.look(text);
			return this.point !== undefined && number(this.point) >= number(seq);
		});
	}
	async stop() {
		this.stream.close();
		await this.stream.ended;
	}
	async check(label) {
		const r = ok(await this.who.request('POST', `${this.path}/_find`, { ...this.body, limit: this.body.limit ?? 1000000 }));
		const want = this.ordered ? r.docs : r.docs.sort((a, b) => Buffer.compare(Buffer.from(a._id), Buffer.from(b._id)));
		assert.deepEqual(this.docs(), want, `${label}, seed ${SEED}: ${JSON.stringify(this.body)} ${JSON.stringify(this.counts)}`);
		return want.length;
	}
}

async function listen(db, body, options = {}) {
	const l = new Listener(db, body, options);
	assert.equal(await l.start(options), 200, l.stream.text());
	return l;
}

test('documents enter, change and leave; the words of the events', async () => {
	const db = await c.db();
	const revs = {};
	for (const [id, n] of [['a', 1], ['b', 5], ['c', 7]]) revs[id] = await put(db, id, { n });
	await put(db, '_design/x', { n: 9 });
	const l = await listen(db, { selector: { n: { $gt: 4 } }, fields: ['n'] }, { progress: false });
	const at = await seqOf(db);
	await l.at(at);
	assert.deepEqual(lines(l.stream.text()), [
		{ event: 'entered', id: 'b', seq: '0', doc: { n: 5 } },
		{ event: 'entered', id: 'c', seq: '0', doc: { n: 7 } },
		{ event: 'ready', seq: at },
	]);
	await put(db, 'a', { _rev: revs.a, n: 6 });
	const s1 = await seqOf(db);
	await l.at(s1);
	await put(db, 'b', { _rev: revs.b, n: 8 });
	const s2 = await seqOf(db);
	await l.at(s2);
	ok(await c.request('DELETE', `${db}/c?rev=${revs.c}`));
	const s3 = await seqOf(db);
	await l.at(s3);
	assert.deepEqual(lines(l.stream.text()).slice(3), [
		{ event: 'entered', id: 'a', seq: s1, doc: { n: 6 } }, { event: 'progress', seq: s1 },
		{ event: 'changed', id: 'b', seq: s2, doc: { n: 8 } }, { event: 'progress', seq: s2 },
		{ event: 'left', id: 'c', seq: s3 }, { event: 'progress', seq: s3 },
	]);
	// What does not concern it is not told, unless it is asked for.
	await put(db, 'z', { n: 0 });
	const other = await listen(db, { selector: { n: { $gt: 4 } }, fields: ['n'] });
	await put(db, 'y', { n: 0 });
	await other.at(await seqOf(db));
	assert.deepEqual(other.counts, { entered: 2, ready: 1, progress: 1 });
	await put(db, 'x', { n: 10 });
	await l.at(await seqOf(db));
	assert.deepEqual(l.counts, { entered: 4, changed: 1, left: 1, ready: 1, progress: 4 });
	await l.stop();
	await other.stop();
});

test('places: a limited and sorted result is kept true', async () => {
	const db = await c.db();
	await index(db, { index: { fields: ['n'] }, name: 'n' });
	const revs = {};
	for (let i = 0; i < 100; i++) revs[`d${i}`] = await put(db, `d${String(i)}`, { n: i });
	const l = await listen(db, { selector: { n: { $gte: 0 } }, sort: [{ n: 'desc' }], limit: 3, fields: ['_id'] });
	const step = async (what) => {
		l.recent = [];
		await what();
		const seq = await seqOf(db);
		await l.at(seq);
		await l.check('places');
		return l.recent.map(({ event, id, from, at }) => [event, id, from, at].filter((x) => x !== undefined).join(' '));
	};
	assert.deepEqual(await step(() => {}), ['entered d99 0', 'entered d98 1', 'entered d97 2', 'ready']);
	assert.deepEqual(await step(async () => (revs.d5 = await put(db, 'd5', { _rev: revs.d5, n: 98.5 }))), ['left d97 2', 'entered d5 1', 'progress']);
	assert.deepEqual(await step(async () => (revs.d99 = await put(db, 'd99', { _rev: revs.d99, n: 97.5 }))), ['changed d99 0 2', 'progress']);
	assert.deepEqual(await step(async () => (revs.d99 = await put(db, 'd99', { _rev: revs.d99, n: 97.5, more: 1 }))), ['changed d99 2', 'progress']);
	assert.deepEqual(await step(() => c.request('DELETE', `${db}/d5?rev=${revs.d5}`)), ['left d5 0', 'entered d97 2', 'progress']);
	assert.deepEqual(await step(() => c.request('DELETE', `${db}/d0?rev=${revs.d0}`)), ['progress']);
	// More leave at once than are kept behind the limit; what is known of some that are far behind it is of no use.
	for (const i of [20, 21, 22]) revs[`d${i}`] = await put(db, `d${i}`, { _rev: revs[`d${i}`], n: i + 0.5 });
	const leave = (ids) => c.request('POST', `${db}/_bulk_docs`, { docs: ids.map((_id) => ({ _id, _rev: revs[_id], _deleted: true })) });
	const number = (id) => Number(id.slice(1));
	await step(() => leave(Object.keys(revs).filter((id) => number(id) > 60 && id !== 'd98')));
	assert.deepEqual(l.array.map((x) => x.id), ['d98', 'd60', 'd59']);
	await step(() => leave(Object.keys(revs).filter((id) => number(id) < 61 && !['d5', 'd0', 'd17'].includes(id))));
	assert.deepEqual(l.array.map((x) => x.id), ['d98', 'd17']);
	await l.stop();
});

/** Some edits of the documents of ${db}, in one request or several. */
class Editor {
	constructor(db, random, { partitions = false } = {}) {
		Object.assign(this, { db, random, partitions, revs: new Map() });
	}
	id() {
		const id = `d${this.random.below(70)}`;
		return this.partitions ? `${this.random.pick(['p', 'q'])}:${id}` : id;
	}
	doc() {
		const r = this.random;
		const doc = { name: r.pick(['Anna', 'anna', 'Bert', 'Ægir', 'zoe', 'x1', 'x22', '']) };
		if (r.below(8) > 0) doc.age = r.below(6) > 0 ? r.below(30) : r.pick(['old', null, true, 1.5, { x: 1 }, -3, [4]]);
		if (r.below(5) > 0) doc.kind = r.pick(['a', 'b', 'c']);
		if (r.below(2) > 0) doc.tags = Array.from({ length: r.below(3) }, () => r.pick(['red', 'blue', 'green']));
		return doc;
	}
	async rev(id) {
		const r = await c.request('HEAD', `${this.db}/${encodeURIComponent(id)}`);
		return r.status === 200 ? r.headers.etag.replaceAll('"', '') : undefined;
	}
	async edit() {
		const r = this.random, id = this.id(), db = this.db, path = `${db}/${encodeURIComponent(id)}`;
		const rev = await this.rev(id);
		switch (r.below(12)) {
		case 0: case 1: case 2: case 3:
			return ok(await c.request('PUT', path, { ...this.doc(), ...(rev ? { _rev: rev } : {}) }));
		case 4: case 5:
			return rev && ok(await c.request('DELETE', `${path}?rev=${rev}`));
		case 6: case 7: case 8: {
			const ids = new Set(Array.from({ length: r.below(9) + 1 }, () => this.id()));
			const docs = [];
			for (const _id of ids) {
				const _rev = await this.rev(_id);
				docs.push({ _id, ...this.doc(), ...(_rev ? { _rev } : {}), ...(_rev && r.below(4) === 0 ? { _deleted: true } : {}) });
			}
			return ok(await c.request('POST', `${db}/_bulk_docs`, { docs }));
		}
		case 9: case 10: { // another leaf, which may win, or be deleted
			const gen = rev ? Number(rev.split('-')[0]) + r.below(2) : 1;
			const _rev = `${gen}-${r.bytes(16).toString('hex')}`;
			return ok(await c.request('POST', `${db}/_bulk_docs`, { new_edits: false, docs: [{ _id: id, ...this.doc(), _rev, ...(r.below(4) === 0 ? { _deleted: true } : {}) }] }));
		}
		default: {
			const leaves = rev ? ok(await c.request('GET', `${path}?open_revs=all`, undefined, { accept: 'application/json' })).map((x) => x.ok._rev) : [];
			return rev && ok(await c.request('POST', `${db}/_purge`, { [id]: r.below(2) ? leaves : [rev] }));
		}
		}
	}
}

/** ${queries} stay true through random edits; some listeners are cut off and come back. */
async function followEdits(label, db, editor, queries, random, steps) {
	const all = [];
	for (const [i, q] of queries.entries())
		all.push(await listen(db, q.body, { path: q.path ?? db, form: i % 3 === 2 ? 'eventsource' : 'continuous' }));
	const most = new Array(all.length).fill(0);
	for (let step = 0; step < steps; step++) {
		const away = all.filter(() => random.below(12) === 0);
		for (const l of away) await l.stop();
		for (let n = random.below(3); n >= 0; n--) await editor.edit();
		for (const l of away) {
			if (l.form === 'eventsource' && random.below(2)) assert.equal(await l.start({ headers: { 'last-event-id': l.seq ?? '0' } }), 200);
			else assert.equal(await l.start({ since: l.seq ?? '0' }), 200);
		}
		const seq = await seqOf(db);
		for (const [i, l] of all.entries()) {
			await l.at(seq);
			most[i] = Math.max(most[i], await l.check(`${label} ${step}`));
		}
	}
	for (const l of all) await l.stop();
	assert.ok(most.every((n) => n > 0), `queries that found nothing: ${most}`);
	const counts = {};
	for (const l of all) for (const [name, n] of Object.entries(l.counts)) counts[name] = (counts[name] ?? 0) + n;
	assert.ok(steps < 100 || ['entered', 'changed', 'left', 'reset', 'progress', 'ready'].every((name) => counts[name] > 0), JSON.stringify(counts));
}

test('random edits: with and without indexes, sorted, limited, resumed', async () => {
	const random = new Random(SEED), db = await c.db(), editor = new Editor(db, random);
	await index(db, { index: { fields: ['age'] }, ddoc: 'age', name: 'age' });
	await index(db, { index: { fields: ['kind', 'age', 'name'] }, ddoc: 'kind', name: 'kind' });
	await index(db, { index: { fields: ['name'], partial_filter_selector: { kind: { $ne: 'a' } } }, ddoc: 'part', name: 'part' });
	for (let i = 0; i < 20; i++) await editor.edit();
	const queries = [
		{ selector: {} },
		{ selector: { name: { $regex: '^[Ax]' } } },
		{ selector: { age: { $gt: 10 } } },
		{ selector: { $or: [{ age: { $lt: 5 } }, { kind: 'b', age: { $gt: 20 } }] } },
		{ selector: { age: { $in: [1, 2, 3, 'old'] } }, fields: ['_id', 'age'] },
		{ selector: { tags: { $elemMatch: { $eq: 'red' } }, kind: { $exists: false } } },
		{ selector: { kind: { $ne: 'a' }, name: { $gt: '' } }, use_index: 'part' },
		{ selector: { age: { $gt: null } }, sort: ['age'], use_index: 'age' },
		{ selector: { age: { $gte: 3 } }, sort: [{ age: 'desc' }], limit: 5, use_index: 'age', fields: ['_id', '_rev', 'age'] },
		{ selector: { kind: 'a', age: { $exists: true }, name: { $exists: true } }, sort: ['kind', 'age'], limit: 4, use_index: ['kind', 'kind'] },
		{ selector: { _id: { $gt: 'd3' }, kind: { $in: ['a', 'c'] } }, sort: [{ _id: 'desc' }], limit: 7 },
		{ selector: { name: { $gt: 'b' } }, limit: 6 },
		{ selector: { kind: 'b' }, conflicts: true },
		{ selector: { age: { $lt: 0 } }, limit: 1, use_index: 'age' },
	];
	await followEdits('edits', db, editor, queries.map((body) => ({ body })), random, STEPS);
});

test('random edits of a partitioned database', async () => {
	const random = new Random(SEED + 1), db = `/t${random.bytes(6).toString('hex')}`, editor = new Editor(db, random, { partitions: true });
	ok(await c.request('PUT', `${db}?partitioned=true`));
	await index(db, { index: { fields: ['age'] }, ddoc: 'age', name: 'age', partitioned: true });
	for (let i = 0; i < 20; i++) await editor.edit();
	await followEdits('partitions', db, editor, [
		{ body: { selector: { age: { $gt: 3 } } }, path: `${db}/_partition/p` },
		{ body: { selector: { age: { $gt: 3 } }, sort: ['age'], limit: 5, use_index: 'age' }, path: `${db}/_partition/q` },
		{ body: { selector: { kind: 'a' } } },
	], random, Math.ceil(STEPS / 5));
});

test('writers that do not wait for listeners who come, go and come back', async () => {
	const random = new Random(SEED + 2), db = await c.db(), text = 'y'.repeat(1000);
	await index(db, { index: { fields: ['n'] }, ddoc: 'n', name: 'n' });
	const edit = async (ids) => {
		const rows = ok(await c.request('POST', `${db}/_all_docs`, { keys: ids })).rows;
		const docs = rows.map((r, i) => {
			const _rev = r.value && !r.value.deleted ? r.value.rev : undefined;
			return { _id: ids[i], n: random.below(5) ? random.below(1000) : 'none', text, ...(_rev ? { _rev } : {}), ...(_rev && random.below(3) === 0 ? { _deleted: true } : {}) };
		});
		ok(await c.request('POST', `${db}/_bulk_docs`, { docs }));
	};
	await edit(Array.from({ length: 1200 }, (_, i) => `d${i}`));
	const bodies = [
		{ selector: { n: { $type: 'number' } } },
		{ selector: { n: { $gt: null } }, sort: ['n'], use_index: 'n', fields: ['_id', '_rev', 'n'] },
		{ selector: { n: { $gte: 0 } }, sort: [{ n: 'desc' }], limit: 200, use_index: 'n' },
		{ selector: { n: { $lt: 300 } }, sort: ['n'], limit: 20, use_index: 'n' },
	];
	let writing = true, steps = 0;
	const writer = (async () => {
		for (; writing; steps++) await edit([...new Set(Array.from({ length: random.below(30) + 1 }, () => `d${random.below(1200)}`))]);
	})();
	const all = [];
	for (let round = 0; round < Math.ceil(STEPS / 10); round++) {
		const l = await listen(db, bodies[round % bodies.length], { form: round % 3 ? 'continuous' : 'eventsource' });
		all.push(l);
		const other = random.pick(all);
		other.look(other.stream.text());
		await other.stop();
		other.look(other.stream.text());
		assert.equal(await other.start({ since: other.seq ?? '0' }), 200);
		if (round % 4 === 3) await l.at(await seqOf(db));
	}
	writing = false;
	await writer;
	const seq = await seqOf(db);
	for (const l of all) {
		await l.at(seq);
		await l.check(`after ${steps} edits`);
		await l.stop();
	}
});

test('resumed while documents that have left are changed again, or purged: that they left is told all the same', async () => {
	const ids = Array.from({ length: 20 }, (_, i) => `d${i}`);
	for (let round = 0; round < STEPS / 5; round++) {
		const db = await c.db();
		const write = async (docs) => ok(await c.request('POST', `${db}/_bulk_docs`, { docs })).map(({ rev }) => rev);
		let revs = await write(ids.map((_id) => ({ _id, n: 1 })));
		const all = [];
		for (let i = 0; i < 6; i++) all.push(await listen(db, { selector: { n: { $gt: 0 } } }));
		const since = await seqOf(db);
		for (const l of all) {
			await l.at(since);
			await l.stop();
			assert.equal(l.map.size, ids.length);
		}
		revs = await write(ids.map((_id, i) => ({ _id, _rev: revs[i], n: 0 })));
		const again = async () => {
			for (let i = 0; i < ids.length; i++) {
				if (round % 2) ok(await c.request('POST', `${db}/_purge`, { [ids[i]]: [revs[i]] }));
				else await put(db, ids[i], { _rev: revs[i], n: -1 });
			}
		};
		const resumed = async () => {
			for (const l of all) assert.equal(await l.start({ since }), 200);
		};
		await Promise.all([resumed(), again()]);
		const now = await seqOf(db);
		for (const l of all) {
			await l.at(now);
			await l.check(`round ${round}`);
			await l.stop();
		}
	}
});

test('a listener that is given what another one was sent looks again for what was committed since', async () => {
	const one = await startDivand({ config: { chttpd: { threads: '1' } } }), own = client(one);
	const db = await own.db(), body = { selector: { n: { $gt: 0 } } };
	const write = async (id, doc) => ok(await own.request('PUT', `${db}/${id}`, doc));
	const [quick, slow] = [await listen(db, body, { who: own, progress: false }), await listen(db, body, { who: own, progress: false })];
	for (const l of [quick, slow]) await l.at('0');
	slow.stream.pause();
	await write('large', { n: 1, text: 'x'.repeat(7500000) }); // so that the slow one is served late
	await quick.stream.until((text) => text.includes('"id":"large"') && text.includes('"progress"'));
	await write('other', { n: 0 });
	await new Promise((resolve) => setTimeout(resolve, 100)); // it is looked at, and nobody is told
	await write('wanted', { n: 2 });
	await quick.stream.until((text) => text.includes('"id":"wanted"'));
	slow.stream.resume();
	await slow.stream.until((text) => text.includes('"id":"wanted"'));
	own.close();
	await one.stop();
});

test('what is refused, and in which words', async () => {
	const db = await c.db();
	await put(db, 'a', { n: 1 });
	const ask = (query, body, path = db) => c.request('POST', `${path}/_find?${query}`, body);
	const refused = async (query, body, status, error, reason) => {
		const r = await ask(query, body);
		assert.deepEqual([r.status, r.json?.error], [status, error], `${query} ${JSON.stringify(body)}: ${r.text}`);
		if (reason) assert.match(r.json.reason, reason);
	};
	const q = { selector: { n: { $gt: 0 } } };
	await refused('feed=weird', q, 400, 'bad_request', /Supported `feed` types: normal, continuous, eventsource/);
	await refused('feed=longpoll', q, 400, 'bad_request');
	await refused('feed=', q, 400, 'bad_request');
	await refused('feed=continuous&since=junk', q, 400, 'bad_request', /Malformed sequence/);
	await refused('feed=continuous&since=', q, 400, 'bad_request', /Malformed sequence/);
	await refused('feed=continuous&heartbeat=0', q, 400, 'bad_request', /heartbeat/);
	await refused('feed=continuous&heartbeat=x', q, 400, 'bad_request', /heartbeat/);
	await refused('feed=continuous&timeout=-1', q, 400, 'bad_request', /timeout/);
	await refused('feed=continuous&progress=maybe', q, 400, 'query_parse_error');
	await refused('feed=continuous', {}, 400, 'missing_required_key');
	await refused('feed=continuous', [], 400, 'bad_request');
	await refused('feed=continuous', '{"selector":', 400, 'bad_request');
	await refused('feed=continuous', { selector: { n: { $nope: 1 } } }, 400, 'invalid_operator');
	await refused('feed=continuous', { ...q, sort: ['n'] }, 400, 'no_usable_index');
	await refused('feed=continuous', { ...q, skip: 1 }, 400, 'bad_request', /skip/);
	await refused('feed=continuous', { ...q, limit: 10001 }, 400, 'bad_request', /limit/);
	await refused('feed=continuous', { ...q, nope: 1 }, 400, 'invalid_key');
	const { bookmark } = ok(await ask('feed=normal', { ...q, limit: 1 }));
	await refused('feed=continuous', { ...q, bookmark }, 400, 'bad_request', /bookmark/);
	const none = await ask('feed=continuous', q, '/nowhere-at-all');
	assert.equal(none.status, 404);
	assert.equal((await c.request('GET', `${db}/_find?feed=continuous`)).status, 405);
	const form = await c.request('POST', `${db}/_find?feed=continuous`, 'x=1', { 'content-type': 'application/x-www-form-urlencoded' });
	assert.equal(form.status, 415);
	// A limit of nothing finds nothing, and ends as others do.
	const l = await listen(db, { ...q, limit: 0 }, { more: '&timeout=1' });
	const end = lines((await l.stream.ended).text);
	assert.deepEqual(end.map((e) => e.event), ['ready', 'end']);
	assert.equal(end[1].error, undefined);
});

test('heartbeats, timeouts, the form of an eventsource', async () => {
	const db = await c.db();
	await put(db, 'a', { n: 1 });
	const l = await listen(db, { selector: { n: 1 } }, { form: 'eventsource', more: '&heartbeat=40' });
	assert.equal(l.stream.headers['content-type'], 'text/event-stream');
	await l.stream.until((t) => /^event: entered\ndata: \{.*\}\nid: 0\n\nevent: ready\ndata: \{.*\}\nid: 1-.*\n\nevent: heartbeat\ndata: \n\n/.test(t));
	await l.stop();
	const beats = await listen(db, { selector: { n: 1 } }, { more: '&heartbeat=40' });
	await beats.stream.until((t) => t.endsWith('\n\n\n'));
	await beats.stop();
	const out = await c.request('POST', `${db}/_find?feed=eventsource&timeout=50`, { selector: { n: 1 } });
	assert.match(out.text, /event: ready\n.*\nid: 1-.*\n\nevent: end\ndata: \{"event":"end","seq":"1-[^"]+"\}\nid: 1-.*\n\n$/);
});

test('a restart of the server: everybody is told, and goes on', async () => {
	const own = await startDivand(), who = client(own);
	try {
		const db = await who.db();
		const save = async (id, doc) => ok(await who.request('PUT', `${db}/${id}`, doc)).rev;
		await save('a', { n: 1 });
		const rev = await save('b', { n: 2 });
		ok(await who.request('POST', `${db}/_index`, { index: { fields: ['n'] } }));
		const all = [{ selector: { n: { $gt: 0 } } }, { selector: { n: { $gt: 0 } }, sort: ['n'] }].map((body) => new Listener(db, body, { who }));
		for (const l of all) {
			await l.start();
			await l.at('3');
		}
		const ends = all.map((l) => l.stream.ended);
		await own.restart();
		for (const [i, l] of all.entries()) {
			const { text } = await ends[i];
			l.look(text);
			assert.deepEqual([l.counts.end, l.seq], [1, l.point]);
		}
		// Nothing was committed, so nothing is sent; then what was.
		const fresh = all.map((l) => ({ ...l.counts }));
		for (const [i, l] of all.entries()) {
			await l.start({ since: l.seq });
			await l.at('3');
			assert.deepEqual(l.counts, { ...fresh[i], ready: 2 });
			await l.stop();
		}
		ok(await who.request('PUT', `${db}/b`, { _rev: rev, n: -1 }));
		await save('c', { n: 0.5 });
		for (const l of all) {
			await l.start({ since: l.seq });
			await l.at('5');
			assert.equal(await l.check('restart'), 2);
			assert.equal(l.counts.reset, l.ordered ? 1 : undefined);
			await l.stop();
		}
	} finally {
		who.close();
		await own.stop();
	}
});

test('a deleted database ends its live queries, and its successor has none of them', async () => {
	const db = await c.db();
	await put(db, 'a', { n: 1 });
	const l = await listen(db, { selector: { n: { $gt: 0 } } });
	await l.at(await seqOf(db));
	ok(await c.request('DELETE', db));
	ok(await c.request('PUT', db));
	await put(db, 'b', { n: 2 });
	const { text } = await l.stream.ended;
	l.look(text);
	assert.ok(!text.includes('"b"'));
	assert.deepEqual(lines(text).at(-1), { event: 'end', seq: l.point, error: 'not_found', reason: 'Database does not exist.' });
	// What it knew is of no use to the other one.
	await l.start({ since: l.seq });
	await l.at(await seqOf(db));
	assert.equal(l.counts.reset, 1);
	assert.equal(await l.check('another database'), 1);
	await l.stop();
});

test('indexes come and go', async () => {
	const db = await c.db();
	for (let i = 0; i < 30; i++) await put(db, `d${i}`, { n: i % 7, m: i % 3, ...(i % 5 ? { k: i } : {}) });
	await index(db, { index: { fields: ['n'] }, ddoc: 'n', name: 'n' });
	const sorted = await listen(db, { selector: { n: { $gt: 1 } }, sort: ['n'], limit: 8 });
	const plain = await listen(db, { selector: { n: { $gt: 1 } } });
	const named = await listen(db, { selector: { n: { $gt: 1 } }, use_index: 'part' });
	const step = async (what, label) => {
		await what();
		const seq = await seqOf(db);
		for (const l of [sorted, plain, named]) {
			await l.at(seq);
			await l.check(label);
		}
	};
	await step(() => {}, 'at first');
	const before = sorted.counts.entered;
	await step(() => index(db, { index: { fields: ['m'] }, ddoc: 'm' }), 'one that serves none of them');
	await step(() => put(db, '_design/js', { options: {}, more: 1 }), 'one of another kind');
	assert.deepEqual([sorted.counts.reset, plain.counts.reset, sorted.counts.entered], [undefined, undefined, before]);
	await step(() => index(db, { index: { fields: ['n'], partial_filter_selector: { m: 1 } }, ddoc: 'part' }), 'a partial one');
	assert.equal(named.counts.reset, 1);
	await step(() => put(db, 'x1', { n: 3, m: 1 }), 'in the partial one');
	await step(() => put(db, 'x2', { n: 3, m: 2 }), 'not in it');
	assert.ok(!named.map.has('x2') && plain.map.has('x2'));
	await step(() => index(db, { index: { fields: ['n', 'k'] }, ddoc: 'nk' }), 'a longer one');
	ok(await c.request('DELETE', `${db}/_index/nk/json/${(await c.request('GET', `${db}/_index`)).json.indexes.find((x) => x.ddoc === '_design/nk').name}`));
	ok(await c.request('DELETE', `${db}/_index/part/json/${(await c.request('GET', `${db}/_index`)).json.indexes.find((x) => x.ddoc === '_design/part').name}`));
	await step(() => put(db, 'x3', { n: 2 }), 'without the partial one');
	assert.ok(named.map.has('x2') && named.counts.reset >= 2);
	// Without an index for its sort it ends.
	ok(await c.request('DELETE', `${db}/_index/n/json/n`));
	const { text } = await sorted.stream.ended;
	assert.equal(lines(text).at(-1).error, 'no_usable_index');
	await plain.at(await seqOf(db));
	assert.equal(plain.counts.reset, undefined);
	await plain.stop();
	await named.stop();
});

test('a purged design document: the query is planned anew', async () => {
	const db = await c.db();
	await index(db, { index: { fields: ['n'], partial_filter_selector: { kind: 'a' } }, ddoc: 'p', name: 'p' });
	await index(db, { index: { fields: ['n'] }, ddoc: 'n', name: 'n' });
	await put(db, 'x', { n: 1, kind: 'a' });
	await put(db, 'y', { n: 2, kind: 'b' });
	const named = await listen(db, { selector: { n: { $gt: 0 } }, use_index: 'p' });
	const plain = await listen(db, { selector: { n: { $gt: 0 } } });
	const sorted = await listen(db, { selector: { n: { $gt: 0 } }, sort: ['n'] });
	const purge = async (id) => ok(await c.request('POST', `${db}/_purge`, { [id]: [(await c.request('GET', `${db}/${id}`)).json._rev] }));
	const settled = async (which, label) => {
		const seq = await seqOf(db);
		for (const l of which) {
			await l.at(seq);
			await l.check(label);
		}
	};
	await settled([named, plain, sorted], 'at first');
	assert.deepEqual([named.map.size, plain.map.size], [1, 2]);
	await purge('_design/p');
	await settled([named, plain, sorted], 'without the partial one');
	assert.deepEqual([named.map.size, named.counts.reset, plain.counts.reset, sorted.counts.reset], [2, 1, undefined, undefined]);
	// All purges that are remembered are looked at again by who is resumed.
	for (const l of [named, plain, sorted]) {
		await l.stop();
		assert.equal(await l.start({ since: l.seq }), 200);
	}
	await settled([named, plain, sorted], 'resumed');
	await put(db, 'z', { n: 3, kind: 'b' });
	await settled([named, plain, sorted], 'after all that');
	await purge('_design/n');
	const { text } = await sorted.stream.ended;
	assert.equal(lines(text).at(-1).error, 'no_usable_index');
	await settled([named, plain], 'without any');
	await named.stop();
	await plain.stop();
});

test('a limited result that runs short when another $or is taken apart', async () => {
	const db = await c.db(), id = (i) => `x${String(i).padStart(3, '0')}`;
	const bulk = async (docs) => ok(await c.request('POST', `${db}/_bulk_docs`, { docs }));
	const way = async () => ok(await c.request('POST', `${db}/_explain?plan=true`, body)).plan;
	const warm = async () => {
		for (const f of ['a', 'b']) ok(await c.request('POST', `${db}/_find`, { selector: { [f]: { $gt: 0 } }, use_index: f, limit: 1 }));
	};
	const settled = async (label) => {
		await l.at(await seqOf(db));
		await l.check(label);
	};
	const body = { selector: { $and: [{ $or: [{ a: { $lt: 1000 } }, { b: { $lt: 1000 } }] }, { $or: [{ a: { $gt: 2000 } }, { b: { $gt: 2000 } }] }] }, limit: 3 };
	for (const f of ['a', 'b']) await index(db, { index: { fields: [f] }, ddoc: f, name: f });
	// Those that are found ascend by a and descend by b.  The second $or has 200 more, and 8,000 are in neither.
	const revs = await bulk([
		...Array.from({ length: 100 }, (_, i) => ({ _id: id(i), a: i, b: 3000 - i })),
		...Array.from({ length: 200 }, (_, i) => ({ _id: `g${i}`, a: 5000 + i })),
		...Array.from({ length: 8000 }, (_, i) => ({ _id: `z${i}` })),
	]);
	await warm();
	const before = await way();
	const l = await listen(db, body);
	await settled('at first');
	// The first one has many more by now.
	await bulk(Array.from({ length: 1000 }, (_, i) => ({ _id: `h${i}`, a: i % 900 })));
	await warm();
	const now = await way();
	assert.deepEqual([before.way, now.way], ['union', 'union']);
	assert.notDeepEqual(before.parts.map((p) => p.branch), now.parts.map((p) => p.branch));
	await bulk(Array.from({ length: 45 }, (_, i) => ({ _id: id(i), _rev: revs[i].rev, _deleted: true })));
	await settled('run short');
	for (const i of [99, 60, 45]) {
		await put(db, id(i), { ...ok(await c.request('GET', `${db}/${id(i)}`)), more: 1 });
		await settled(`${id(i)} has changed`);
	}
	await l.stop();
});

test('resumed with an order, where by now another index is taken', async () => {
	const own = await startDivand(), who = client(own);
	try {
		const db = await who.db();
		const bulk = async (docs) => ok(await who.request('POST', `${db}/_bulk_docs`, { docs }));
		const body = { selector: { a: { $gt: 0 }, b: { $gt: 0 } }, limit: 3 };
		const taken = async () => {
			for (const f of ['a', 'b']) ok(await who.request('POST', `${db}/_find`, { ...body, use_index: f }));
			return ok(await who.request('POST', `${db}/_explain`, body)).index.name;
		};
		for (const f of ['a', 'b']) ok(await who.request('POST', `${db}/_index`, { index: { fields: [f] }, ddoc: f, name: f }));
		// One that cannot serve is no other way.
		ok(await who.request('POST', `${db}/_index`, { index: { fields: ['z'], partial_filter_selector: { kind: 'a' } }, ddoc: 'z', name: 'z' }));
		await bulk([
			...Array.from({ length: 10 }, (_, i) => ({ _id: `x${i}`, a: 1 + i, b: 100 - i })),
			...Array.from({ length: 50 }, (_, i) => ({ _id: `b${i}`, b: 1000 + i })),
		]);
		assert.equal(await taken(), 'a');
		const all = [body, { ...body, use_index: 'a' }, { selector: { a: { $gt: 0 } }, sort: ['a'] }].map((b) => new Listener(db, b, { who }));
		for (const l of all) await l.start();
		await bulk(Array.from({ length: 500 }, (_, i) => ({ _id: `a${i}`, a: 1000 + i })));
		const before = ok(await who.request('GET', db)).update_seq;
		for (const l of all) await l.at(before);
		const ends = all.map((l) => l.stream.ended);
		await own.restart();
		assert.equal(await taken(), 'b');
		for (const [i, l] of all.entries()) {
			l.look((await ends[i]).text);
			assert.equal(l.seq, l.point);
			assert.equal(await l.start({ since: l.seq }), 200);
			await l.at(before);
			await l.check('resumed');
		}
		assert.deepEqual(all.map((l) => l.counts.reset), [1, undefined, undefined]);
		ok(await who.request('DELETE', `${db}/x9?rev=${ok(await who.request('GET', `${db}/x9`))._rev}`));
		const after = ok(await who.request('GET', db)).update_seq;
		for (const l of all) {
			await l.at(after);
			await l.check('without the first one by b');
			await l.stop();
		}
	} finally {
		who.close();
		await own.stop();
	}
});

test('a reader who is no member any more is told so, and sees nothing further', async () => {
	const db = await c.db(), guest = client({ port: server.port });
	ok(await c.request('PUT', `${db}/_security`, {}));
	await put(db, 'a', { n: 1 });
	const body = { selector: { n: { $gt: 0 } } };
	const admin = await listen(db, body);
	const l = await listen(db, body, { who: guest });
	await l.at('1');
	await admin.at('1');
	ok(await c.request('PUT', `${db}/_security`, { members: { names: ['somebody'] } }));
	await put(db, 'secret', { n: 2 });
	await admin.at('2');
	const { text } = await l.stream.ended;
	assert.ok(!text.includes('secret'));
	assert.equal(lines(text).at(-1).error, 'unauthorized');
	assert.equal((await guest.request('POST', `${db}/_find?feed=continuous`, body)).status, 401);
	await admin.stop();
	guest.close();
});

test('who waits for what another one builds is not refused with that one', async () => {
	const own = await startDivand({ config: { chttpd: { threads: '1' } } }), who = client(own);
	const as = (name) => client({ port: own.port, auth: `Basic ${Buffer.from(`${name}:pw`).toString('base64')}` });
	const anna = as('anna'), bert = as('bert');
	try {
		for (const name of ['anna', 'bert']) ok(await who.request('PUT', `/_users/org.couchdb.user:${name}`, { name, password: 'pw', roles: [], type: 'user' }));
		let refused = 0;
		for (let round = 0; round < 5 && refused === 0; round++) {
			const db = await who.db();
			const members = async (names) => ok(await who.request('PUT', `${db}/_security`, { admins: { names: [], roles: [] }, members: { names, roles: [] } }));
			await members(['anna', 'bert']);
			ok(await who.request('POST', `${db}/_bulk_docs`, { docs: Array.from({ length: 10 }, (_, n) => ({ _id: `d${n}`, n })) }));
			ok(await who.request('PUT', `${db}/_design/f`, { filters: { slow: 'function(doc, req){ var e = Date.now() + 60; while (Date.now() < e) {} return true; }' } }));
			for (const reader of [anna, bert]) ok(await reader.request('GET', db));
			// The threads that plan queries have something else to do, until anna is no member any more and bert waits for her.
			const busy = Array.from({ length: 8 }, () => who.request('GET', `${db}/_changes?filter=f/slow`).catch(() => {}));
			const body = { selector: { n: { $gt: 0 } } }, path = `${db}/_find?feed=continuous&heartbeat=30000`;
			await sleep(150);
			const a = anna.open('POST', path, body);
			await sleep(100);
			await members(['bert']);
			const b = await listen(db, body, { who: bert });
			refused += (await a).status === 403;
			await b.at('1');
			await b.check('a member');
			await b.stop();
			(await a).close();
			await Promise.all(busy);
		}
		assert.equal(refused, 1);
	} finally {
		for (const x of [who, anna, bert]) x.close();
		await own.stop();
	}
});

test('purges that are not remembered any more: everything is sent again', async () => {
	const db = await c.db(), revs = {};
	for (const id of ['a', 'b', 'c', 'd', 'e']) revs[id] = await put(db, id, { n: 1 });
	const l = await listen(db, { selector: { n: 1 } });
	await l.at(await seqOf(db));
	await l.stop();
	ok(await c.request('POST', `${db}/_purge`, { a: [revs.a] }));
	await l.start({ since: l.seq });
	await l.at(await seqOf(db));
	assert.deepEqual([l.counts.left, l.counts.reset, await l.check('remembered')], [1, undefined, 4]);
	await l.stop();
	ok(await c.request('PUT', `${db}/_purged_infos_limit`, '1'));
	for (const id of ['b', 'c']) ok(await c.request('POST', `${db}/_purge`, { [id]: [revs[id]] }));
	await l.start({ since: l.seq });
	await l.at(await seqOf(db));
	assert.deepEqual([l.counts.reset, await l.check('forgotten')], [1, 2]);
	await l.stop();
});

test('more than is kept', async () => {
	const db = await c.db();
	const fill = async (from, to) => {
		const docs = Array.from({ length: to - from }, (_, i) => ({ _id: `d${from + i}`, n: 1 }));
		ok(await c.request('POST', `${db}/_bulk_docs`, { docs }));
	};
	await fill(0, 9999);
	const l = await listen(db, { selector: { n: 1 } }, { progress: false });
	const few = await listen(db, { selector: { n: 1 }, limit: 10 });
	await l.at(await seqOf(db));
	assert.equal(l.map.size, 9999);
	await fill(9999, 10000);
	await l.at(await seqOf(db));
	assert.equal(l.map.size, 10000);
	await fill(10000, 10001);
	const end = lines((await l.stream.ended).text).at(-1);
	assert.deepEqual([end.event, end.error], ['end', 'too_large']);
	await few.at(await seqOf(db));
	await few.check('a limited one goes on');
	await few.stop();
	for (const selector of [{ n: 1 }, { n: 'x'.repeat(1 << 20) }]) {
		const r = await c.request('POST', `${db}/_find?feed=continuous`, { selector });
		assert.deepEqual([r.status, r.json.error], [413, 'too_large']);
	}
});

/** 2,000 documents of 4 KB. */
async function fill(who, db) {
	for (let k = 0; k < 8; k++) {
		const docs = Array.from({ length: 250 }, (_, i) => ({ _id: `b${k}-${i}`, n: 1, text: 'y'.repeat(4000) }));
		ok(await who.request('POST', `${db}/_bulk_docs`, { docs }));
	}
}

test('a slow reader misses nothing', async () => {
	const db = await c.db();
	const l = await listen(db, { selector: { n: 1 }, fields: ['_id', 'text'] });
	await l.at('0');
	l.stream.pause();
	await fill(c, db);
	l.stream.resume();
	await l.at('2000');
	assert.equal(await l.check('slow'), 2000);
	await l.stop();
});

test('a reader that takes nothing is cut off, and goes on', async () => {
	const own = await startDivand({ config: { chttpd: { feed_stuck_timeout: 1000 } } }), who = client(own);
	try {
		const db = await who.db();
		const l = await listen(db, { selector: { n: 1 } }, { who });
		await l.at('0');
		l.stream.pause();
		await fill(who, db);
		// Some lines are on the way when the connection is cut; what came last says where to go on.
		await until(() => /\[notice\].*_find\?feed=continuous/.test(own.stderr()));
		l.stream.resume();
		const { text, complete } = await l.stream.ended;
		assert.equal(complete, false);
		l.look(text);
		assert.ok(l.map.size < 2000);
		await l.start({ since: l.seq });
		await l.at('2000');
		assert.equal(await l.check('stuck'), 2000);
		await l.stop();
	} finally {
		who.close();
		await own.stop();
	}
});

test('a thousand listeners, one commit', async () => {
	const own = await startDivand({ config: { gate: { requests_per_address: 5000 } } }), who = client(own);
	try {
		const db = await who.db();
		ok(await who.request('POST', `${db}/_bulk_docs`, { docs: Array.from({ length: 25 }, (_, i) => ({ _id: `d${i}`, n: i, for: `u${i % 10}` })) }));
		const all = [];
		for (let i = 0; i < 1000; i++) {
			// Half of them ask the same, half of them something of their own.
			const body = i % 2 ? { selector: { n: { $gte: 0 } } } : { selector: { for: `u${i % 10}`, n: { $lt: 100 + i } } };
			const l = new Listener(db, body, { who, progress: false });
			all.push(l);
			await l.start();
		}
		for (const l of all) await l.at('25');
		ok(await who.request('POST', `${db}/_bulk_docs`, { docs: Array.from({ length: 10 }, (_, i) => ({ _id: `e${i}`, n: 50, for: `u${i}` })) }));
		for (const [i, l] of all.entries()) {
			await l.stream.until((text) => {
				l.look(text);
				return l.map.size === (i % 2 ? 35 : i % 10 < 5 ? 4 : 3);
			});
		}
		await all[0].check('one of them');
		await all[1].check('one of them');
		for (const l of all) await l.stop();
	} finally {
		who.close();
		await own.stop();
	}
});

test('many who ask the same at once, some of whom do not stay', async () => {
	const db = await c.db();
	ok(await c.request('POST', `${db}/_bulk_docs`, { docs: Array.from({ length: 300 }, (_, i) => ({ _id: `d${i}`, n: i, m: i % 3 })) }));
	await index(db, { index: { fields: ['n'] }, ddoc: 'n', name: 'n' });
	const top = { selector: { n: { $gte: 0 } }, sort: [{ n: 'desc' }], limit: 20 };
	const bodies = [top, { selector: { n: { $lt: 50 } } }, { selector: { n: { $gt: 0 } }, sort: ['m'] }];
	const gone = [];
	const all = await Promise.all(Array.from({ length: 90 }, async (_, i) => {
		const l = new Listener(db, bodies[i % 3], { form: i % 2 ? 'eventsource' : 'continuous', progress: i % 5 > 0 });
		if (i % 7 === 0) gone.push(c.open('POST', `${db}/_find?feed=continuous`, l.body).then((s) => s.close()));
		const status = await l.start();
		assert.equal(status, i % 3 === 2 ? 400 : 200);
		return l;
	}));
	await Promise.all(gone);
	const listeners = all.filter((l) => l.body !== bodies[2]);
	const settled = async (label) => {
		const seq = await seqOf(db);
		for (const l of listeners) if (l.progress) await l.at(seq);
		const checked = [true, false].map((x) => listeners.find((l) => l.progress && (l.body === top) === x));
		for (const l of checked) await l.check(label);
		for (const l of listeners) {
			if (!l.progress) await l.stream.until((text) => (l.look(text), JSON.stringify(l.docs()) === JSON.stringify(checked[l.body === top ? 0 : 1].docs())));
			else assert.deepEqual(l.docs(), checked[l.body === top ? 0 : 1].docs());
		}
	};
	await settled('at first');
	// More than are kept behind the limit are deleted at once: all of them need to know what follows.
	const rows = ok(await c.request('GET', `${db}/_all_docs`)).rows.filter((r) => Number(r.id.slice(1)) > 150);
	ok(await c.request('POST', `${db}/_bulk_docs`, { docs: rows.map((r) => ({ _id: r.id, _rev: r.value.rev, _deleted: true })) }));
	await settled('deleted');
	await index(db, { index: { fields: ['m'] }, ddoc: 'm', name: 'm' });
	await put(db, 'new', { n: 20000 });
	await settled('a new index');
	assert.ok(all.every((l) => !l.counts.reset));
	ok(await c.request('DELETE', `${db}/_index/n/json/n`));
	for (const l of listeners.filter((x) => x.body === top)) {
		await l.stream.ended;
		l.look(l.stream.text());
		assert.deepEqual([l.counts.end, /no_usable_index/.test(l.stream.text())], [1, true]);
	}
	for (const l of listeners.filter((x) => x.body !== top)) await l.stop();
});

const sleep = (ms) => new Promise((r) => setTimeout(r, ms));
