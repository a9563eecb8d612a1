// PouchDB's own calls over HTTP give what they give on a local database: odd ids and names, deep trees, options of replication.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import path from 'node:path';
import PouchDB from 'pouchdb';
import { startDivand, tempDir } from '../lib/divand.mjs';

const folder = tempDir('divan-pouch-calls');
let server;
let made = 0;

const local = () => new PouchDB(path.join(folder, `l${made++}`), { auto_compaction: false });
const remote = () => new PouchDB(`${server.authUrl}/r${made++}`);
const hash = (digit) => digit.repeat(32);

before(async () => (server = await startDivand()));
after(() => server.stop());

const leaves = async (db) => (await db.changes({ style: 'all_docs' })).results
	.map(({ id, changes, deleted }) => `${id} ${changes.map(({ rev }) => rev).sort()} ${Boolean(deleted)}`).sort();

test('ids and attachment names of all kinds', { timeout: 60000 }, async () => {
	const ids = ['a/b', 'a b', 'a+b', 'a%2Fb', '%', 'a?b', 'a#b', 'a&b=c', 'ü', '😀', '"q"', '\\', 'a\nb', 'a/../b', '//', ' ', '\u0000n', '_design/x/y', '_design/ü'];
	const db = remote();
	for (const id of ids) {
		const { rev } = await db.put({ _id: id, v: id });
		await db.putAttachment(id, 'at/t +%ü.txt', rev, Buffer.from(id), 'text/plain');
		assert.equal((await db.getAttachment(id, 'at/t +%ü.txt')).toString(), id);
		assert.equal((await db.get(id)).v, id);
	}
	assert.deepEqual((await db.allDocs()).rows.map((row) => row.id).sort(), [...ids].sort());
	const copy = local();
	await copy.replicate.from(db);
	assert.deepEqual(await leaves(copy), await leaves(db));
});

test('replication with each option', { timeout: 120000 }, async () => {
	const revisions = (...ids) => ({ start: ids.length, ids: ids.map(hash) });
	for (const options of [{ batch_size: 1 }, { batch_size: 3, batches_limit: 1 }, { checkpoint: false }, { checkpoint: 'source' }, { checkpoint: 'target' }]) {
		const [source, target] = [local(), remote()];
		await source.bulkDocs(Array.from({ length: 12 }, (_, i) => ({ _id: `d${i}` })));
		await source.bulkDocs([{ _id: 'c', _rev: `2-${hash('b')}`, _revisions: revisions('b', 'a'), v: 'b' },
			{ _id: 'c', _rev: `3-${hash('d')}`, _revisions: revisions('d', 'c', 'a'), _deleted: true }, { _id: 'c', _rev: `1-${hash('0')}`, v: 'another root' }], { new_edits: false });
		await source.remove(await source.get('d3'));
		const first = await source.replicate.to(target, options);
		assert.equal(first.doc_write_failures, 0);
		assert.deepEqual(await leaves(target), await leaves(source), JSON.stringify(options));
		assert.equal((await source.replicate.to(target, options)).docs_written, 0);
	}
});
