// The replicator and a PouchDB server (express-pouchdb, as npm has it) as source, as target, as both, and as the one that drives.
//
// That server shows attachments by the digest of what they are, Divan by that of what it keeps, which may be compressed; so
// bytes are compared, and digests where nothing is.  It forgets attachments of deleted leaves, counts every attachment that it is
// sent as new (revpos), and ends when it is asked for changes by a selector.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startDivand } from '../lib/divand.mjs';
import { startPouchServer } from '../lib/pouchdb-server.mjs';
import { until } from '../lib/until.mjs';
import { Node, assertSame, documents, loadAll } from './replication.mjs';

const LIMIT = { timeout: 180000 };
const PLAIN = { digests: false, revpos: false };
let divand, pouch;
let serial = 0;
const fresh = (label) => `${label}-${++serial}`;
const at = (node, name) => `${node.authUrl}/${name}`;

before(async () => {
	const [server, other] = await Promise.all([startDivand(), startPouchServer({ admin: 'admin:adm' })]);
	[divand, pouch] = [new Node(server), new Node(other)];
});
after(() => Promise.all([divand.server.stop(), pouch.server.stop()]));

const small = (seed) => documents({ lean: true, big: 200000, seed });

/** Edits at ${node} of what is there. */
async function edit(node, db, side) {
	const { rows } = await node.want('GET', `/${db}/_all_docs?include_docs=true&limit=50`);
	const answers = await node.want('POST', `/${db}/_bulk_docs`, { docs: rows.map(({ doc }) => ({ ...doc, side })) });
	for (const x of answers) assert.ok(x.ok, JSON.stringify(x));
	const doc = await node.want('GET', `/${db}/attachments-many`);
	await node.want('PUT', `/${db}/attachments-many/from-${side}?rev=${doc._rev}`, { bytes: Buffer.alloc(150000, side), type: 'text/plain' });
	const gone = await node.want('GET', `/${db}/plain-9`);
	await node.want('DELETE', `/${db}/plain-9?rev=${gone._rev}`);
}

for (const [way, from, to] of [['from', () => pouch, () => divand], ['to', () => divand, () => pouch]]) {
	test(`documents of every kind ${way} a PouchDB server; again; what is edited then`, LIMIT, async () => {
		const [source, target] = [from(), to()];
		const name = await source.create(fresh(way));
		const copy = fresh(`${way}-copy`);
		const body = { source: source === divand ? name : at(source, name), target: target === divand ? copy : at(target, copy), create_target: true };

		await loadAll(source, name, documents({ lean: true, big: 1 << 20 }));
		const want = await source.picture(name, PLAIN);
		const run = (await divand.replicate(body)).history[0];
		assert.equal(run.doc_write_failures, 0);
		assert.equal(run.docs_written, Object.values(want).reduce((n, lines) => n + lines.length - 1, 0));
		assertSame(want, await target.picture(copy, PLAIN), way);
		const again = await divand.replicate(body);
		assert.equal(again.no_changes, true, JSON.stringify(again).slice(0, 400));
		await edit(source, name, 'x');
		const more = (await divand.replicate(body)).history[0];
		assert.ok(more.missing_checked <= 90, `${more.missing_checked} are looked at again`);
		assertSame(await source.picture(name, PLAIN), await target.picture(copy, PLAIN), `${way}, edited`);
	});
}

// With an attachment it is asked for, and written, by itself: its URL is longer than that server takes.
test('a document whose URL is too long for a PouchDB server keeps no other back', LIMIT, async () => {
	const docs = documents({ lean: true, big: 1000 }).slice(0, 10);
	const id = 'ü'.repeat(3000);
	docs.splice(3, 0, { ...docs[3], _id: id, _attachments: { file: { content_type: 'x/y', data: 'aGVsbG8=' } } });
	for (const [source, target] of [[divand, pouch], [pouch, divand]]) {
		const [name, copy] = [await source.create(fresh('url')), fresh('url-copy')];
		await source.load(name, docs);
		const { history: [run] } = await divand.replicate({ source: source === divand ? name : at(source, name), target: target === divand ? copy : at(target, copy), create_target: true });
		assert.deepEqual([run.docs_written, run.doc_write_failures], [10, 1]);
		const there = (await target.want('GET', `/${copy}/_all_docs`)).rows.map((row) => row.id);
		assert.deepEqual(there.sort(), docs.map((doc) => doc._id).filter((x) => x !== id).sort());
	}
});

// That server finds attachments by the names in their parts' headers, and ends where it finds one it was not told of.
test('names of attachments that headers have to spell; documents that are too large beside one, or by its name', LIMIT, async () => {
	const [kept] = documents({ lean: true, big: 1000 });
	const names = ['%', '%22', 'a/b', '..', 'a\nb', 'a\r\nContent-Length: 5\r\n', '"', 'a"; x="', 'ü', ';', "UTF-8''x", '&#65;', '&', '\u0001', '\u007f', ' '];
	const named = (_id, list) => ({ ...kept, _id, _attachments: Object.fromEntries(list.map((name, i) => [name, { content_type: 'x/y', data: btoa(`of ${i}`) }])) });
	const [name, copy] = [await divand.create(fresh('names')), fresh('names-copy')];
	await divand.load(name, [named('names', names), named('back\\slash', ['a\\b']), named('long', ['&'.repeat(4000)]), { ...named('large', ['a']), pad: 'x'.repeat(2 << 20) }, kept]);
	const { history: [run] } = await divand.replicate({ source: name, target: at(pouch, copy), create_target: true });
	assert.deepEqual([run.docs_written, run.doc_write_failures], [2, 3]);
	const want = await divand.picture(name, PLAIN);
	for (const id of ['back\\slash', 'long', 'large']) delete want[id];
	assertSame(want, await pouch.picture(copy, PLAIN), 'names');
});

test('from one PouchDB database to another', LIMIT, async () => {
	const [name, copy] = [await pouch.create(fresh('both')), fresh('both')];
	await loadAll(pouch, name, small(4));
	await divand.replicate({ source: at(pouch, name), target: at(pouch, copy), create_target: true });
	assertSame(await pouch.picture(name), await pouch.picture(copy), 'both');
});

test('without _bulk_get, with small batches', LIMIT, async () => {
	const [name, copy] = [await pouch.create(fresh('single')), fresh('single')];
	await loadAll(pouch, name, small(6));
	await divand.replicate({ source: at(pouch, name), target: copy, create_target: true, use_bulk_get: false, worker_batch_size: 10 });
	assertSame(await pouch.picture(name, PLAIN), await divand.picture(copy, PLAIN), 'single');
});

test('filters: doc_ids and functions', LIMIT, async () => {
	const name = await pouch.create(fresh('filters'));
	await loadAll(pouch, name, small(8));
	const ids = async (extra) => {
		const copy = fresh('filtered');
		await divand.replicate({ source: at(pouch, name), target: copy, create_target: true, ...extra });
		return Object.keys(await divand.picture(copy)).filter((id) => !/^conflict/.test(id)).sort();
	};
	const plain = (n) => Array.from({ length: n }, (_, i) => `plain-${i}`).sort();
	assert.deepEqual(await ids({ doc_ids: ['plain-1', 'ü ß/%+&?#=;,', 'deleted-1'] }), ['deleted-1', 'plain-1', 'ü ß/%+&?#=;,']);
	assert.deepEqual(await ids({ filter: 'all/few', query_params: { below: 6 } }), plain(6));
});

test('continuous, both ways, while both are written to', LIMIT, async () => {
	const [x, y] = [await divand.create(fresh('live')), await pouch.create(fresh('live'))];
	const there = { source: x, target: at(pouch, y), continuous: true };
	const back = { source: at(pouch, y), target: x, continuous: true };
	for (const body of [there, back]) await divand.replicate(body);
	const write = async (node, db, side) => {
		for (let i = 0; i < 15; i++) {
			await node.want('POST', `/${db}/_bulk_docs`, { docs: Array.from({ length: 4 }, (_, k) => ({ _id: `${side}-${i}-${k}`, i })) });
			const shared = await node.ask('GET', `/${db}/shared-${i % 5}`);
			await node.ask('PUT', `/${db}/shared-${i % 5}`, { ...(shared.status === 200 ? { _rev: shared.json._rev } : {}), side, i });
			if (i % 5 === 0) await node.want('PUT', `/${db}/att-${side}-${i}/file`, { bytes: Buffer.alloc(50000, `${i}`), type: i % 10 ? 'text/plain' : 'x/y' });
		}
	};
	await Promise.all([write(divand, x, 'd'), write(pouch, y, 'p')]);
	const leaves = async (node, db) => JSON.stringify((await node.want('GET', `/${db}/_changes?style=all_docs`)).results
		.map((r) => [r.id, r.deleted, r.changes.map((c) => c.rev).sort()]).sort((p, q) => (p[0] < q[0] ? -1 : 1)));
	await until(async () => (await leaves(divand, x)) === (await leaves(pouch, y)), 'both have the same leaves');
	const pic = await divand.picture(x, PLAIN);
	assertSame(pic, await pouch.picture(y, PLAIN), 'live');
	assert.ok(Object.keys(pic).length >= 130, `${Object.keys(pic).length} documents`);
	for (const body of [there, back]) await divand.want('POST', '/_replicate', { ...body, cancel: true });
	await until(async () => (await divand.want('GET', '/_scheduler/jobs')).jobs.length === 0, 'no jobs');
});

test('the PouchDB server drives: from Divan, to Divan, between two databases of it', LIMIT, async () => {
	const name = await divand.create(fresh('driven'));
	// PouchDB asks for attachments with URLs in which "." and ".." mean something else.
	await loadAll(divand, name, small(9).filter((doc) => !/^\.+$/.test(doc._id)));
	const want = await divand.picture(name, PLAIN);
	const [pulled, other] = [fresh('pulled'), await divand.create(fresh('other'))];
	const drive = async (source, target) => {
		const answer = await pouch.want('POST', '/_replicate', { source, target, create_target: true });
		assert.equal(answer.ok, true, JSON.stringify(answer));
	};
	await drive(at(divand, name), pulled);
	assertSame(want, await pouch.picture(pulled, PLAIN), 'pulled');
	await drive(pulled, at(divand, other));
	assertSame(want, await divand.picture(other, PLAIN), 'pushed');
	const last = await divand.create(fresh('last'));
	await drive(at(divand, name), at(divand, last));
	assertSame(want, await divand.picture(last, PLAIN), 'between');
});

test('a session of the PouchDB server is used; a wrong password is told', LIMIT, async () => {
	const name = await pouch.create(fresh('auth'));
	await loadAll(pouch, name, small(10).slice(0, 20));
	const copy = fresh('auth');
	await divand.replicate({ source: { url: `${pouch.url}/${name}`, auth: { basic: { username: 'admin', password: 'adm' } } }, target: copy, create_target: true });
	assertSame(await pouch.picture(name, PLAIN), await divand.picture(copy, PLAIN), 'auth');
	const answer = await divand.ask('POST', '/_replicate', { source: `${pouch.url.replace('://', '://admin:wr0ng@')}/${name}`, target: copy, retries_per_request: 0 });
	assert.ok(answer.status >= 400, `${answer.status}`);
	assert.match(answer.text, /incorrect|unauthorized/i);
	assert.doesNotMatch(answer.text, /wr0ng/);
});
