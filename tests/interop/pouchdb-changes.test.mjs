// PouchDB's changes(): what it answers from a Divan is what it answers from a database of its own, for the options in the list
// below; the choice of them is ours.
import assert from 'node:assert/strict';
import path from 'node:path';
import { after, before, test } from 'node:test';
import PouchDB from 'pouchdb';
import { ask } from '../api/client.mjs';
import { startDivand, tempDir } from '../lib/divand.mjs';

let server, remote, local;
before(async () => {
	server = await startDivand();
	assert.equal((await ask(server, 'PUT', '/pouch')).status, 201);
	remote = new PouchDB(`http://${server.admin}@127.0.0.1:${server.port}/pouch`);
	local = new PouchDB(path.join(tempDir('divan-changes'), 'pouch'));
	for (const db of [remote, local]) await fill(db);
});
after(async () => {
	await Promise.all([remote?.close(), local?.close()]);
	await server?.stop();
});

/** Attachments, a tombstone, an edit, a conflict, a design document. */
async function fill(db) {
	for (let i = 0; i < 30; i++) {
		const atts = i % 5 === 0 ? { _attachments: { a: { content_type: 'text/plain', data: 'aGVsbG8=' } } } : {};
		await db.put({ _id: String(i).padStart(3, '0'), n: i, ...atts });
	}
	await db.put({ _id: '_design/d', views: {} });
	await db.remove(await db.get('003'));
	await db.put({ ...(await db.get('004')), edited: true });
	const conflict = { _id: '007', _rev: `2-${'a'.repeat(32)}`, _revisions: { start: 2, ids: ['a'.repeat(32), 'b'.repeat(32)] }, other: true };
	await db.bulkDocs([conflict], { new_edits: false });
}

// Sequences are each server's own; PouchDB makes other revision ids of documents with attachments.
const plain = (answer) => JSON.parse(JSON.stringify(answer, (key, value) => {
	if (['seq', 'last_seq', 'pending', 'digest', 'revpos'].includes(key)) return undefined;
	return typeof value === 'string' && /^\d+-[0-9a-f]{32}$/.test(value) ? `${parseInt(value, 10)}-` : value;
}));

test('changes() with every option', async () => {
	const over20 = (doc) => doc.n > 20;
	for (const options of [
		{}, { limit: 5 }, { limit: 0 }, { limit: 1, style: 'all_docs', include_docs: true }, { batch_size: 4 }, { timeout: 200 }, { return_docs: false },
		{ descending: true }, { descending: true, limit: 3 }, { style: 'all_docs' }, { since: 'now' }, { since: 'now', limit: 1 },
		{ include_docs: true }, { include_docs: true, conflicts: true }, { include_docs: true, attachments: true }, { include_docs: true, attachments: true, binary: true, limit: 2 },
		{ doc_ids: ['001', '003', 'none'] }, { doc_ids: [] }, { selector: { n: { $gt: 25 } } }, { selector: {}, limit: 2 }, { filter: over20 },
	]) {
		const [theirs, ours] = await Promise.all([local, remote].map((db) => db.changes({ ...options })));
		assert.deepEqual(plain(ours), plain(theirs), JSON.stringify(options));
	}
});

test('live changes() come in order, each once', async () => {
	const got = [];
	const live = remote.changes({ live: true, since: 'now', include_docs: true });
	const all = new Promise((resolve, reject) => live.on('error', reject).on('change', (row) => {
		got.push(row.doc._id);
		if (row.doc._id === 'live-19') resolve();
	}));
	// "now" is looked up by a request of its own.
	await remote.put({ _id: 'first' });
	while (got.length === 0) await remote.put({ ...(await remote.get('first')), again: true });
	const want = Array.from({ length: 20 }, (_, i) => `live-${String(i).padStart(2, '0')}`);
	for (const _id of want) await remote.put({ _id });
	await all;
	live.cancel();
	assert.deepEqual(got.filter((id) => id !== 'first'), want);
});
