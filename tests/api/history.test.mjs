// What compaction leaves for merging is invisible: clients are answered as if superseded bodies were gone.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startDivand } from '../lib/divand.mjs';
import { until } from '../lib/until.mjs';
import { ask, assertError, newDb } from './client.mjs';

let server;
before(async () => (server = await startDivand()));
after(() => server.stop());

async function compact(db) {
	const { status } = await ask(server, 'POST', `/${db}/_compact`, { type: 'application/json' });
	assert.equal(status, 202);
	await until(async () => !(await ask(server, 'GET', `/${db}`)).json.compact_running);
}

async function put(db, id, doc) {
	const { status, json, text } = await ask(server, 'PUT', `/${db}/${id}`, { json: doc });
	assert.equal(status, 201, text);
	return json.rev;
}

/** Two live leaves 2-a and 2-b on one parent; gives the parent's and the leaves' revisions. */
async function conflict(db, id, attachments) {
	const one = await put(db, id, { n: 1, _attachments: attachments });
	const start = one.slice(2);
	for (const leaf of ['a', 'b']) {
		const docs = [{ _id: id, _rev: `2-${leaf.repeat(32)}`, n: leaf, _revisions: { start: 2, ids: [leaf.repeat(32), start] } }];
		const { json } = await ask(server, 'POST', `/${db}/_bulk_docs`, { json: { new_edits: false, docs } });
		assert.deepEqual(json, []);
	}
	return { one, a: `2-${'a'.repeat(32)}`, b: `2-${'b'.repeat(32)}` };
}

async function assertGone(db, id, rev) {
	assertError(await ask(server, 'GET', `/${db}/${id}?rev=${rev}`), 404, 'not_found', 'missing');
	const info = (await ask(server, 'GET', `/${db}/${id}?revs_info=true`)).json._revs_info;
	assert.equal(info.find((r) => r.rev === rev).status, 'missing');
	const open = await ask(server, 'GET', `/${db}/${id}?open_revs=["${rev}"]`, { headers: { accept: 'application/json' } });
	assert.deepEqual(open.json, [{ missing: rev }]);
	const bulk = await ask(server, 'POST', `/${db}/_bulk_get`, { json: { docs: [{ id, rev }] } });
	assert.equal(bulk.json.results[0].docs[0].error.reason, 'missing');
}

test('the base of an open conflict is there before a compaction, and for clients gone after it', async () => {
	const db = await newDb(server, 'base');
	const { one } = await conflict(db, 'doc');
	assert.equal((await ask(server, 'GET', `/${db}/doc?rev=${one}`)).json.n, 1);
	await compact(db);
	await assertGone(db, 'doc', one);
	const diff = await ask(server, 'POST', `/${db}/_revs_diff`, { json: { doc: [one] } });
	assert.deepEqual(diff.json, {});
});

test('a stub does not resolve to what is kept for merging alone', async () => {
	const db = await newDb(server, 'stub');
	const data = Buffer.from('attached').toString('base64');
	const { one } = await conflict(db, 'doc', { file: { content_type: 'application/octet-stream', data } });
	const late = (leaf) => ({ new_edits: false, docs: [{ _id: 'doc', _rev: `2-${leaf.repeat(32)}`, n: leaf,
		_revisions: { start: 2, ids: [leaf.repeat(32), one.slice(2)] }, _attachments: { file: { stub: true, revpos: 1 } } }] });

	assert.deepEqual((await ask(server, 'POST', `/${db}/_bulk_docs`, { json: late('c') })).json, []);
	assert.equal((await ask(server, 'GET', `/${db}/doc/file?rev=2-${'c'.repeat(32)}`)).text, 'attached');
	await compact(db);
	await assertGone(db, 'doc', one);
	assertError(await ask(server, 'POST', `/${db}/_bulk_docs`, { json: late('d') }), 412, 'missing_stub');
});

test('_history_kept is set by administrators of the database and outlives a restart', async () => {
	const db = await newDb(server, 'setting');
	const path = `/${db}/_history_kept`;
	assert.deepEqual((await ask(server, 'GET', path)).json, { revs: 0, seconds: 0 });
	assert.deepEqual((await ask(server, 'PUT', path, { json: { revs: 3, seconds: 86400 } })).json, { ok: true });
	await server.restart();
	assert.deepEqual((await ask(server, 'GET', path)).json, { revs: 3, seconds: 86400 });
	assert.deepEqual((await ask(server, 'PUT', path, { json: { revs: 1 } })).json, { ok: true });
	assert.deepEqual((await ask(server, 'GET', path)).json, { revs: 1, seconds: 0 });
	for (const body of ['[]', '7', '{"revs":-1}', '{"revs":"2"}', '{"seconds":1.5}', '{"revs":2147483648}', '{"other":1}', '{"revs":1', ''])
		assertError(await ask(server, 'PUT', path, { body, type: 'application/json' }), 400);
	assert.deepEqual((await ask(server, 'GET', path)).json, { revs: 1, seconds: 0 });
	assertError(await ask(server, 'POST', path, { json: {} }), 405, 'method_not_allowed');
	await ask(server, 'PUT', `/${db}/_security`, { json: { admins: {}, members: { names: [], roles: [] } } });
	for (const method of ['GET', 'PUT'])
		assert.ok([401, 403].includes((await ask(server, method, path, { json: method === 'PUT' ? { revs: 9 } : undefined, auth: null })).status));
	assert.deepEqual((await ask(server, 'GET', path)).json, { revs: 1, seconds: 0 });
});

test('history that is kept by the setting is gone for clients', async () => {
	const db = await newDb(server, 'kept');
	await ask(server, 'PUT', `/${db}/_history_kept`, { json: { revs: 2, seconds: 3600 } });
	const revs = [await put(db, 'doc', { n: 1 })];
	for (let n = 2; n < 6; n++) revs.push(await put(db, 'doc', { n, _rev: revs.at(-1) }));
	for (const rev of revs) assert.equal((await ask(server, 'GET', `/${db}/doc?rev=${rev}`)).status, 200);
	await compact(db);
	for (const rev of revs.slice(0, -1)) await assertGone(db, 'doc', rev);
	assert.equal((await ask(server, 'GET', `/${db}/doc`)).json.n, 5);
});
