// PouchDB in Node: the countries with their attachments both ways, live, with conflicts; many contacts; a server that goes away.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import path from 'node:path';
import PouchDB from 'pouchdb';
import { startDivand, tempDir } from '../lib/divand.mjs';
import { cancelAll, contacts, converged, countries, differences, isIdle, pouchLeaves, pouchPicture, serverPicture } from './lib.mjs';

const folder = tempDir('divan-pouch');
const open = [];
let server;

const local = (name) => {
	const db = new PouchDB(path.join(folder, name), { auto_compaction: false });
	open.push(db);
	return db;
};
const remote = (name) => {
	const db = new PouchDB(`${server.authUrl}/${name}`);
	open.push(db);
	return db;
};
const LIVE = { live: true, retry: true, back_off_function: () => 100 };
const picture = (name) => serverPicture(`${server.url}/${name}`, server.auth);

before(async () => (server = await startDivand()));
after(async () => {
	await Promise.all(open.map((db) => db.close()));
	await server.stop();
});

async function edit(db, ids, change) {
	const { rows } = await db.allDocs({ keys: ids, include_docs: true });
	const answers = await db.bulkDocs(rows.map(({ doc }) => change(doc)));
	for (const answer of answers) assert.ok(answer.ok, JSON.stringify(answer));
}

test('countries: pushed, pulled, and synced live while three sides edit', { timeout: 180000 }, async () => {
	const docs = countries();
	const ids = docs.map((doc) => doc._id);
	const [a, b, c] = ['a', 'b', 'c'].map((name) => local(`countries-${name}`));

	for (const answer of await a.bulkDocs(docs)) assert.ok(answer.ok, JSON.stringify(answer));
	const push = await a.replicate.to(remote('countries'));
	assert.equal(push.docs_written, docs.length);
	assert.equal(push.doc_write_failures, 0);
	assert.deepEqual(differences(await pouchPicture(a), await picture('countries')), []);

	const pull = await b.replicate.from(remote('countries'));
	assert.equal(pull.docs_written, docs.length);
	assert.deepEqual(differences(await pouchPicture(a), await pouchPicture(b)), []);

	// B edits while it is not connected, A and C the same documents live: conflicts for sure.
	await edit(b, ids.slice(0, 30), (doc) => ({ ...doc, by: 'b' }));
	await b.remove(await b.get(ids[31]));
	await b.putAttachment(ids[32], 'flag.svg', (await b.get(ids[32]))._rev, Buffer.from('<svg>b</svg>'), 'image/svg+xml');
	await b.putAttachment(ids[33], 'note.txt', (await b.get(ids[33]))._rev, Buffer.from('written by b'), 'text/plain');
	const live = [a.sync(remote('countries'), LIVE), c.sync(remote('countries'), LIVE)];
	await converged(live, async () => differences(await pouchLeaves(a), await pouchLeaves(c)));
	await edit(c, ids.slice(0, 20), (doc) => ({ ...doc, by: 'c', n: 2 }));
	await edit(a, ids.slice(20, 40), (doc) => ({ ...doc, by: 'a', list: [1, { x: 'ü' }] }));
	await c.remove(await c.get(ids[50]));
	live.push(b.sync(remote('countries'), LIVE));
	await Promise.all([a, b, c].map(async (db, i) => {
		for (let n = 0; n < 10; n++) await db.put({ _id: `${i}-${n}`, n, text: 'x'.repeat(n * 100) });
		await edit(db, ids.slice(100 + i * 40, 140 + i * 40), (doc) => ({ ...doc, touched: i }));
	}));
	await a.putAttachment(ids[60], 'big.bin', (await a.get(ids[60]))._rev, Buffer.alloc(3000000, 'ab\0c'), 'application/octet-stream');
	await converged(live, async () => {
		const [want, ...others] = await Promise.all([remote('countries'), a, b, c].map(pouchLeaves));
		const edited = [0, 1, 2].every((i) => want[`${i}-9`]) && /^2-/.test(want[ids[60]].leaves) && want[ids[50]].deleted;
		const found = others.flatMap((other) => differences(want, other));
		return edited ? found : ['edits are still on their way', ...found];
	});
	await cancelAll(live);

	const final = await picture('countries');
	for (const db of [a, b, c]) assert.deepEqual(differences(await pouchPicture(db), final), []);
	assert.equal(final[ids[60]].atts.length, 3);
	assert.equal(ids.slice(0, 30).filter((id) => final[id].conflicts !== '').length, 30, 'each of 30 documents has a conflict');
	assert.equal(final[ids[31]].deleted, false, 'an edit wins over a deletion');
	assert.equal(final[ids[31]].leaves.split(' ').length, 2);
});

test('20,000 contacts are pushed and pulled', { timeout: 240000 }, async () => {
	const [from, to] = [local('contacts-a'), local('contacts-b')];
	const docs = contacts(20000);
	const batch = { batch_size: 1000, batches_limit: 4 };
	const revs = async (db) => (await db.allDocs()).rows.map((row) => `${row.id} ${row.value.rev}`);

	for (let i = 0; i < docs.length; i += 2000) await from.bulkDocs(docs.slice(i, i + 2000));
	const push = await from.replicate.to(remote('contacts'), batch);
	assert.equal(push.docs_written, docs.length);
	const pull = await to.replicate.from(remote('contacts'), batch);
	assert.equal(pull.docs_written, docs.length);
	const want = await revs(from);
	assert.equal(want.length, docs.length);
	assert.deepEqual(await revs(remote('contacts')), want);
	assert.deepEqual(await revs(to), want);
	assert.deepEqual(await to.get('contact-012345'), await from.get('contact-012345'));
	const again = await from.replicate.to(remote('contacts'), batch);
	assert.equal(again.docs_read, 0, 'a second push starts at the checkpoint');
});

test('live sync goes on after the server restarts', { timeout: 120000 }, async () => {
	const [a, b] = [local('restart-a'), local('restart-b')];
	const live = [a.sync(remote('restart'), LIVE), b.sync(remote('restart'), LIVE)];
	const same = (id) => converged(live, async () => {
		if (!live.every(isIdle)) return ['a sync is busy'];
		const [x, y] = await Promise.all([pouchLeaves(a), pouchLeaves(b)]);
		return x[id] && y[id] ? differences(x, y) : [`${id} is not everywhere`];
	});

	await a.put({ _id: 'before' });
	await same('before');
	await server.stop();
	await a.put({ _id: 'meanwhile-a' });
	await b.put({ _id: 'meanwhile-b' });
	await server.restart();
	await same('meanwhile-a');
	await same('meanwhile-b');
	// And after one that had no time for a farewell.
	await server.kill();
	await b.put({ _id: 'again' });
	await server.restart();
	await same('again');
	assert.deepEqual(differences(await pouchPicture(a), await picture('restart')), []);
	await cancelAll(live);
});
