// Steps of PouchDB's own integration suites (basics, get, bulk_docs, bulk_get, all_docs, local_docs, revs_diff, attachments, conflicts),
// each on a Divan and on a local database: what they expect must hold of both.
import assert from 'node:assert/strict';
import path from 'node:path';
import { after, before, test } from 'node:test';
import PouchDB from 'pouchdb';
import { startDivand, tempDir } from '../lib/divand.mjs';

const RESERVED = 'Only reserved document ids may start with underscore.';
const LIMIT = { timeout: 60000 };
const folder = tempDir('divan-pouch-suites');
let server;
let made = 0;
before(async () => (server = await startDivand()));
after(() => server.stop());

const names = {
	http: () => `${server.authUrl}/p${made++}`,
	local: () => path.join(folder, `p${made++}`),
};
/** A test on both; the function gets a database and the name of its kind. */
const both = (title, fn) => ['http', 'local'].forEach((kind) => test(`${kind}: ${title}`, LIMIT, async () => {
	const db = new PouchDB(names[kind](), { auto_compaction: false });
	await fn(db, kind);
	await db.close().catch(() => {});
}));

const b64 = (text) => Buffer.from(text).toString('base64');
const fails = async (promise, wanted) => {
	const err = await promise.then((answer) => assert.fail(`no error: ${JSON.stringify(answer)}`), (e) => e);
	if (err instanceof assert.AssertionError) throw err;
	for (const [key, value] of Object.entries(wanted)) assert.deepEqual(err[key], value, `${key} of ${JSON.stringify(err)}`);
};
/** Revisions of one branch, as PouchDB's suites put them. */
async function branch(db, docs) {
	for (const [i, doc] of docs.entries()) {
		const ids = docs.slice(0, i + 1).reverse().map(({ _rev }) => _rev.split('-')[1]);
		await db.put({ ...doc, _revisions: { start: i + 1, ids } }, { new_edits: false });
	}
}
const foo = (...revs) => revs.map((rev) => ({ _id: 'foo', _rev: rev.replace('!', ''), value: `foo ${rev}`, ...(rev.endsWith('!') && { _deleted: true }) }));
const four = () => ['0', '3', '1', '2'].map((_id) => ({ _id, a: 1 + +_id }));

both('refusals have the names and words of PouchDB', async (db, kind) => {
	await fails(db.bulkDocs([{ _zing: 4 }, { _zoom: 'hello' }, { zane: 'goldfish', _fan: 'x' }]), { name: 'doc_validation', message: 'Bad special document member: _zing', status: kind === 'http' ? 400 : 500 });
	await fails(db.put({ _id: '_i_test' }), { status: 400, message: RESERVED });
	await fails(db.bulkDocs([{ _id: '_invalid', foo: 'bar' }, { _id: 123 }]), { status: 400, message: RESERVED });
	await fails(db.bulkDocs({ doc: [{}] }), { status: 400, message: "Missing JSON list of 'docs'" });
	await fails(db.get('abc-123'), { status: 404, name: 'not_found', message: 'missing', docId: 'abc-123' });
	await fails(db.get('_design/nothing'), { status: 404, name: 'not_found', message: 'missing' });
	const { id, rev } = await db.post({});
	for (const write of ['put', 'post']) await fails(db[write]({ _id: id }), { status: 409, docId: id });
	await fails(db.put({ _id: id, _rev: 'undefined' }), { name: 'bad_request' });
	await fails(db.put({ _id: id, _rev: `${rev}broken` }), {});
	// CouchDB 3.5 takes any parent of a document that is not there.
	if (kind === 'local') await fails(db.put({ _id: 'foobar', _rev: '1-123' }), { name: 'conflict', status: 409 });
	else assert.match((await db.put({ _id: 'foobar', _rev: '1-123' })).rev, /^2-/);
	for (const _id of [null, undefined, '', {}, '_underscored_id', 123]) await fails(db.put({ _id }), {});
	for (const body of [[{ _id: 'foo' }], 'this is not an object']) await fails(db.post(body), {});
	await fails(db.post({ _id: 123, test: 1 }), {});
	await fails(db.bulkDocs([{ _id: 'foo', integer: 1 }], { new_edits: false }), {});
	await fails(db.allDocs({ keys: 1234 }), {});
	for (const end of ['startkey', 'endkey']) await fails(db.allDocs({ keys: ['2', '0'], [end]: 'a' }), {});
});

both('documents keep what they are given', async (db) => {
	const fields = { _replication_id: 'test', _replication_state: 'triggered', _replication_state_time: 1, _replication_stats: {} };
	const { id } = await db.post(fields);
	const { _rev, _id, ...read } = await db.get(id);
	assert.deepEqual(read, fields);
	const odd = { _id: 'x', watch: 1, constructor: 1, toString: 1, propertyIsEnumerable: 1, isPrototypeOf: 1, hasOwnProperty: 1, nothing: null };
	await db.put(odd);
	const { _rev: rev, ...saved } = await db.get('x');
	assert.deepEqual(saved, odd);
	assert.equal((await db.put({ _id: 'foo%bar' })).id, 'foo%bar');
	assert.equal((await db.get('foo%bar'))._id, 'foo%bar');
	const put = await db.put({ _id: 'gone', value: 'test' });
	const gone = await db.remove('gone', put.rev);
	assert.deepEqual(await db.get('gone', { rev: gone.rev }), { _id: 'gone', _rev: gone.rev, _deleted: true });
	await fails(db.put({ _id: 'gone', _rev: put.rev }), { status: 409 });
	const again = await db.put({ _id: 'gone' });
	assert.deepEqual((await db.get('gone', { open_revs: 'all', revs: true }))[0].ok._revisions.ids.length, 3);
	assert.deepEqual((await db.get('gone', { revs_info: true }))._revs_info.map(({ rev }) => rev[0]).join(''), '321');
	assert.match(again.rev, /^3-/);
	const info = await db.bulkDocs([{ _id: '_local/bar' }, { _id: 'baz' }]);
	assert.deepEqual(info.map(({ ok }) => ok), [true, true]);
	assert.equal((await db.info()).doc_count, 5);
});

both('names with plus and slashes; a database that is gone', async (db, kind) => {
	if (kind === 'http') {
		for (const suffix of ['+suffix', 'some%2Ftest']) {
			const other = new PouchDB(db.name + suffix);
			assert.equal((await other.info()).doc_count, 0);
			await other.destroy();
		}
		await fails(new PouchDB(names.http(), { skip_setup: true }).post({}), { name: 'not_found', status: 404 });
	}
	await db.put({ _id: 'foodoc' });
	await db.destroy();
	await fails(new PouchDB(db.name).get('foodoc'), { name: 'not_found', status: 404 });
});

both('revisions of a tree', async (db) => {
	await branch(db, foo('1-a', '2-b', '3-c'));
	await branch(db, foo('1-a', '2-d', '3-e', '4-f'));
	await branch(db, foo('1-a', '2-g!'));
	const revisions = async (options) => (await db.get('foo', { revs: true, ...options }))._revisions;
	assert.deepEqual(await revisions(), { start: 4, ids: ['f', 'e', 'd', 'a'] });
	assert.deepEqual(await revisions({ rev: '3-c' }), { start: 3, ids: ['c', 'b', 'a'] });
	assert.deepEqual((await db.get('foo', { conflicts: true }))._conflicts, ['3-c']);
	assert.deepEqual((await db.get('foo', { revs_info: true }))._revs_info.map(({ rev }) => rev), ['4-f', '3-e', '2-d', '1-a']);
	assert.deepEqual((await db.get('foo', { open_revs: 'all' })).map(({ ok }) => ok._rev).sort(), ['2-g', '3-c', '4-f']);
	const open = await db.get('foo', { open_revs: ['2-b', '9-z'] });
	assert.deepEqual(open.map(({ ok, missing }) => ok ?? missing), [foo('2-b')[0], '9-z']);
	assert.deepEqual((await db.get('foo', { open_revs: ['2-b'], latest: true })).map(({ ok }) => ok._rev), ['3-c']);
	assert.equal((await db.get('foo', { rev: '2-d', latest: true }))._rev, '4-f');
	await fails(db.get('foo', { rev: '1-nonexistent' }), { status: 404 });
	await fails(db.get('none', { open_revs: 'all' }), { status: 404 });
	assert.deepEqual((await db.get('none', { open_revs: ['1-a'] })).map(({ missing }) => missing), ['1-a']);
	for (const open_revs of ['wrong', 1, ['x-1'], [1]]) await fails(db.get('foo', { open_revs }), {});
	await db.remove('foo', '4-f');
	assert.equal((await db.get('foo'))._rev, '3-c');
});

both('bulkDocs', async (db) => {
	const docs = [...Array(5).keys()].map((i) => ({ _id: String(i), integer: i }));
	const update = (rows) => rows.forEach(({ rev }, i) => (docs[i]._rev = rev));
	update(await db.bulkDocs(docs));
	update(await db.bulkDocs({ docs }));
	for (const doc of docs) doc._deleted = true;
	await db.put(docs[0]);
	const rows = await db.bulkDocs({ docs });
	assert.deepEqual(rows.map(({ name, id }) => name ?? id), ['conflict', '1', '2', '3', '4']);
	assert.equal(rows[0].rev, undefined);
	assert.equal(rows[0].status, 409);
	assert.deepEqual(await db.bulkDocs([]), []);
	const twice = await db.bulkDocs([{ _id: 'a' }, { _id: 'b' }, { _id: 'b' }, { _id: 'c' }]);
	assert.deepEqual(twice.map(({ name }) => name), [undefined, undefined, 'conflict', undefined]);
	const staggered = await db.bulkDocs([...Array(11).keys()].map((i) => ({ _id: `doc-${10 + i}` })));
	const odd = staggered.filter((_, i) => i % 2).reverse().map(({ id, rev }) => ({ _id: id, _rev: rev }));
	assert.deepEqual((await db.bulkDocs(odd)).map(({ id, ok }) => `${id} ${ok}`), ['doc-19 true', 'doc-17 true', 'doc-15 true', 'doc-13 true', 'doc-11 true']);
});

both('bulkDocs of replicated revisions', async (db) => {
	const long = { _id: 'EE35E', _rev: '4-70b26', _deleted: true, _revisions: { start: 4, ids: ['70b26', '9f454', '914bf', '7fdf8'] } };
	const other = { _id: 'EE35E', _rev: '3-f6d28', _revisions: { start: 3, ids: ['f6d28', '914bf', '7fdf8'] } };
	for (const docs of [[long, other], [other, long]]) assert.deepEqual(await db.bulkDocs({ docs, new_edits: false }), []);
	assert.deepEqual([(await db.allDocs()).total_rows, (await db.info()).doc_count], [1, 1]);
	const x = (_id, more) => ({ _id, _rev: '1-x', _revisions: { start: 1, ids: ['x'] }, ...more });
	await db.bulkDocs([x('foo', { bar: 'baz' }), x('fee')], { new_edits: false });
	const { last_seq } = await db.changes();
	await db.bulkDocs([x('foo', { bar: 'zam' }), x('faa')], { new_edits: false });
	assert.deepEqual((await db.changes({ since: last_seq })).results.map(({ id }) => id), ['faa']);
	assert.equal((await db.get('foo')).bar, 'baz');
	await db.put({ _id: 'foo', _deleted: true, _rev: '2-y', _revisions: { start: 2, ids: ['y', 'x'] } }, { new_edits: false });
	assert.deepEqual((await db.allDocs({ keys: ['foo'] })).rows[0].value, { rev: '2-y', deleted: true });
	await db.put({ _id: 'alone', _deleted: true, _rev: '2-z' }, { new_edits: false });
	assert.deepEqual((await db.allDocs({ keys: ['alone'] })).rows[0].value, { rev: '2-z', deleted: true });
});

both('allDocs', async (db) => {
	await db.bulkDocs(four());
	const keys = async (options) => {
		const answer = await db.allDocs(options);
		assert.equal(answer.total_rows, 4);
		return answer.rows.map(({ key }) => key).join('');
	};
	for (const [options, wanted] of [
		[{}, '0123'], [{ startkey: '2' }, '23'], [{ startkey: 'org.couchdb.user:', endkey: 'org.couchdb.user;' }, ''],
		[{ startkey: '1', skip: 1, limit: 10 }, '23'], [{ startkey: '1', limit: 0 }, ''], [{ limit: 0 }, ''], [{ startkey: '2', descending: true, skip: 1 }, '10'],
		[{ startkey: '2', endkey: '1' }, ''], [{ startkey: '2', endkey: '1', descending: true }, '21'], [{ start_key: '3', end_key: '3' }, '3'],
		[{ startkey: '', endkey: '0' }, '0'], [{ endkey: '2', inclusive_end: false }, '01'], [{ startkey: '3', endkey: '1', inclusive_end: false, descending: true }, '32'],
		[{ keys: ['3', '1'] }, '31'], [{ keys: ['3', '1'], skip: 1 }, '1'], [{ keys: ['3'], limit: 0 }, ''], [{ keys: [] }, ''], [{ keys: ['0', '1', '0', '2', '1', '1'] }, '010211'],
		[{ keys: ['2', '0', '9'], descending: true }, '902'], [{ key: '2' }, '2'], [{ key: '9' }, ''],
	]) assert.equal(await keys(options), wanted, JSON.stringify(options));
	assert.equal((await db.allDocs({ keys: ['9'] })).rows[0].error, 'not_found');
	for (const start of ['aa', 'ff']) await db.put({ _id: '3', _rev: `2-${start}01552213fafa022e6167113ed01087`, value: start }, { new_edits: false });
	const [row] = (await db.allDocs({ key: '3', include_docs: true, conflicts: true })).rows;
	assert.equal(row.value.rev, '2-ff01552213fafa022e6167113ed01087');
	assert.deepEqual([row.doc._rev, row.doc._conflicts.length, row.doc._conflicts[0]], [row.value.rev, 2, '2-aa01552213fafa022e6167113ed01087']);
	await db.remove(await db.get('2'));
	const [dead] = (await db.allDocs({ keys: ['2'], include_docs: true })).rows;
	assert.deepEqual([dead.value.deleted, dead.doc], [true, null]);
	assert.equal((await db.allDocs({ update_seq: true })).update_seq !== undefined, true);
	assert.equal((await db.allDocs({ keys: [...Array(75).keys()].map((i) => `fairly_long_doc_name_${i}`) })).rows.length, 75);
});

both('_local documents', async (db, kind) => {
	const doc = { _id: '_local/foo' };
	for (const rev of ['0-1', '0-2', '0-3']) {
		assert.deepEqual(await db.put(doc), { ok: true, id: '_local/foo', rev });
		doc._rev = rev;
	}
	const read = await db.get('_local/foo');
	assert.equal(read._revisions, undefined);
	assert.equal((await db.put({ ...read, _revisions: { start: 0, ids: ['1'] } })).ok, true);
	assert.equal((await db.get('_local/foo'))._revisions, undefined);
	assert.deepEqual(await db.remove(await db.get('_local/foo')), { ok: true, id: '_local/foo', rev: '0-0' });
	await fails(db.get('_local/foo'), { name: 'not_found', status: 404 });
	await fails(db.remove({ _id: '_local/foo', _rev: '1-fake' }), { name: 'not_found', status: 404 });
	const { rev } = await db.put({ _id: '_local/foo' });
	// CouchDB 3.5 looks for no conflicts here.
	if (kind === 'local') await fails(db.put({ _id: '_local/foo' }), { name: 'conflict', status: 409 });
	else assert.equal((await db.put({ _id: '_local/foo' })).rev, '0-1');
	assert.equal((await db.put({ _id: '_local/foo', _rev: rev, _deleted: true })).rev, '0-0');
	assert.equal((await db.put({ _id: '_local/foo' })).ok, true);
});

both('bulkGet and revsDiff', async (db) => {
	const { rev } = await db.put({ _id: 'foo', val: 1, _attachments: { 'foo.txt': { content_type: 'text/plain', data: b64('text') } } });
	for (const docs of [[{ id: 'foo' }], [{ id: 'foo', rev }]]) {
		const one = async (options) => {
			const { results } = await db.bulkGet({ docs, ...options });
			assert.equal(results[0].id, 'foo');
			return results[0].docs[0].ok;
		};
		assert.deepEqual([(await one())._rev, (await one())._revisions, (await one())._attachments['foo.txt'].stub], [rev, undefined, true]);
		assert.equal((await one({ revs: true }))._revisions.ids[0], rev.slice(2));
		assert.equal((await one({ attachments: true }))._attachments['foo.txt'].data, b64('text'));
	}
	for (const id of ['constructor', 'somestuff']) {
		const first = await db.put({ _id: id });
		const second = await db.put({ _id: id, _rev: first.rev, another: 'test' });
		assert.deepEqual(await db.revsDiff({ [id]: [first.rev, second.rev] }), {});
		assert.deepEqual((await db.revsDiff({ [id]: [first.rev, second.rev, '2-randomid'] }))[id].missing, ['2-randomid']);
	}
	assert.deepEqual((await db.revsDiff({ none: ['1-a', '2-a', '2-b'] })).none.missing, ['1-a', '2-a', '2-b']);
	assert.deepEqual(await db.revsDiff({}), {});
});

both('attachments', async (db) => {
	const text = b64('This is a base64 encoded text');
	const att = (data, content_type = 'text/plain') => ({ content_type, data });
	await fails(db.put({ _id: 'bad', _attachments: { 'foo.txt': att('\u65e5\u672c\u8a9e') } }), {});
	await fails(db.put({ _id: 'bad', _attachments: { _foo: att(text) } }), { name: 'bad_request' });
	await fails(db.put({ _id: 'bad', _attachments: { 'foo.txt': { stub: true, digest: 'md5-x', length: 3, content_type: 'text/plain' } } }), { status: 412, name: 'missing_stub' });
	const first = await db.put({ _id: 'doc', _attachments: { 'foo.txt': att(text), 'e.txt': att('') } });
	assert.equal((await db.getAttachment('doc', 'foo.txt')).toString(), 'This is a base64 encoded text');
	assert.equal((await db.getAttachment('doc', 'e.txt')).length, 0);
	const doc = await db.get('doc');
	const { digest, ...told } = doc._attachments['foo.txt'];
	assert.deepEqual(told, { content_type: 'text/plain', revpos: 1, length: 29, stub: true });
	assert.match(digest, /^md5-/);
	assert.equal((await db.get('doc', { attachments: true }))._attachments['foo.txt'].data, text);
	assert.ok(Buffer.isBuffer((await db.get('doc', { attachments: true, binary: true }))._attachments['foo.txt'].data));
	const second = await db.putAttachment('doc', 'att/2', first.rev, Buffer.from('two'), 'text/x');
	await fails(db.putAttachment('doc', 'att/3', first.rev, Buffer.from('3'), 'text/x'), { name: 'conflict', status: 409 });
	assert.deepEqual(Object.entries((await db.get('doc'))._attachments).map(([name, { revpos }]) => `${name} ${revpos}`).sort(), ['att/2 2', 'e.txt 1', 'foo.txt 1']);
	await fails(db.getAttachment('doc', 'none'), { status: 404 });
	await fails(db.getAttachment('none', 'none'), { status: 404 });
	const third = await db.removeAttachment('doc', 'foo.txt', second.rev);
	await fails(db.removeAttachment('doc', 'foo.txt', second.rev), { name: 'conflict', status: 409 });
	await fails(db.getAttachment('doc', 'foo.txt'), { status: 404 });
	assert.equal((await db.getAttachment('doc', 'foo.txt', { rev: second.rev })).toString(), 'This is a base64 encoded text');
	const kept = await db.get('doc');
	assert.equal((await db.put({ ...kept, more: true })).ok, true);
	assert.equal((await db.getAttachment('doc', 'att/2')).toString(), 'two');
	assert.match(third.rev, /^3-/);
	const fresh = await db.putAttachment('fresh', 'a', Buffer.from('new'), 'text/plain');
	assert.match(fresh.rev, /^1-/);
	for (const options of [{ include_docs: true, attachments: true }, { include_docs: true, attachments: true, keys: ['fresh', 'doc'] }]) {
		const rows = (await db.allDocs(options)).rows.filter(({ id }) => id === 'fresh');
		assert.equal(rows[0].doc._attachments.a.data, b64('new'));
	}
	assert.equal((await db.changes({ include_docs: true, attachments: true })).results.find(({ id }) => id === 'fresh').doc._attachments.a.data, b64('new'));
	const same = await Promise.all([1, 2, 3].map((i) => db.put({ _id: `same${i}`, _attachments: { x: att(text) } })));
	await db.remove('same1', same[0].rev);
	assert.equal((await db.getAttachment('same2', 'x')).toString(), 'This is a base64 encoded text');
	const big = Buffer.alloc(1 << 20, 'Lorem ipsum ');
	await db.putAttachment('big', 'big.bin', big, 'application/octet-stream');
	assert.ok(big.equals(await db.getAttachment('big', 'big.bin')));
});

test('http: replication both ways carries trees, tombstones, attachments and design documents', LIMIT, async () => {
	const [here, there] = [new PouchDB(names.local()), new PouchDB(names.http())];
	await branch(here, foo('1-a', '2-b', '3-c'));
	await branch(here, foo('1-a', '2-d', '3-e'));
	await here.put({ _id: '_design/d', views: { v: { map: 'function (doc) { emit(doc._id); }' } }, _attachments: { 'page.html': { content_type: 'text/html', data: b64('<p>') } } });
	await here.put({ _id: 'gone' }).then(({ rev }) => here.remove('gone', rev));
	for (let i = 0; i < 105; i++) await here.put({ _id: `n${i}`, i });
	const push = await here.replicate.to(there, { batch_size: 10 });
	assert.deepEqual([push.ok, push.docs_written, push.doc_write_failures], [true, 109, 0]);
	assert.equal((await here.replicate.to(there)).docs_read, 0);
	const back = new PouchDB(names.local());
	assert.equal((await back.replicate.from(there)).docs_written, 109);
	const leaves = async (db) => (await db.changes({ style: 'all_docs' })).results.map(({ id, changes }) => `${id} ${changes.map(({ rev }) => rev).sort()}`).sort();
	assert.deepEqual(await leaves(back), await leaves(here));
	assert.equal((await back.getAttachment('_design/d', 'page.html')).toString(), '<p>');
	for (const [options, wanted] of [[{ doc_ids: ['n1', 'n2'] }, 2], [{ selector: { i: { $gte: 100 } } }, 5], [{ since: (await there.info()).update_seq }, 0], [{ filter: (doc) => doc.i < 3 }, 3], [{ query_params: { a: 1 }, doc_ids: ['n1'] }, 1]]) {
		const target = new PouchDB(names.local());
		assert.equal((await target.replicate.from(there, options)).docs_written, wanted, JSON.stringify(options));
		await target.close();
	}
	const twin = new PouchDB(names.http());
	assert.equal((await there.replicate.to(twin)).docs_written, 109);
	const conflict = await back.get('n5').then((doc) => back.put({ ...doc, side: 'back' }));
	await there.get('n5').then((doc) => there.put({ ...doc, side: 'there' }));
	const synced = await back.sync(there);
	assert.deepEqual([synced.push.docs_written, synced.pull.docs_written], [1, 1]);
	assert.equal((await there.get('n5', { conflicts: true }))._conflicts.length, 1);
	assert.equal((await back.get('n5'))._rev, (await there.get('n5'))._rev);
	assert.ok(conflict.rev);
	await Promise.all([here, there, back, twin].map((db) => db.close()));
});
