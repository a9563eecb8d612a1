// Databases: made, listed, described, removed; names.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startDivand } from '../lib/divand.mjs';
import { ask, assertError, newDb } from './client.mjs';

let server;
before(async () => (server = await startDivand()));
after(() => server.stop());

test('made, described, listed, removed', async () => {
	assert.deepEqual((await ask(server, 'PUT', '/one')).json, { ok: true });
	assertError(await ask(server, 'PUT', '/one'), 412, 'file_exists');
	const { json } = await ask(server, 'GET', '/one');
	assert.equal(json.db_name, 'one');
	assert.equal(json.doc_count, 0);
	assert.equal(json.doc_del_count, 0);
	assert.equal((await ask(server, 'HEAD', '/one')).status, 200);
	assert.ok((await ask(server, 'GET', '/_all_dbs')).json.includes('one'));
	assert.deepEqual((await ask(server, 'DELETE', '/one')).json, { ok: true });
	for (const method of ['GET', 'DELETE']) assertError(await ask(server, method, '/one'), 404, 'not_found');
	assert.equal((await ask(server, 'HEAD', '/one')).status, 404);
});

test('a database made again is empty', async () => {
	await ask(server, 'PUT', '/again');
	await ask(server, 'PUT', '/again/a', { json: {} });
	await ask(server, 'DELETE', '/again');
	await ask(server, 'PUT', '/again');
	assert.equal((await ask(server, 'GET', '/again')).json.doc_count, 0);
	assertError(await ask(server, 'GET', '/again/a'), 404, 'not_found', 'missing');
});

test('names with slashes and signs', async () => {
	for (const name of ['a/b', 'x_$()+-9', 'l'.repeat(200)]) {
		const path = `/${encodeURIComponent(name)}`;
		assert.equal((await ask(server, 'PUT', path)).status, 201, name);
		assert.equal((await ask(server, 'GET', path)).json.db_name, name);
		assert.ok((await ask(server, 'GET', '/_all_dbs')).json.includes(name));
		assert.equal((await ask(server, 'DELETE', path)).status, 200);
	}
});

test('names that are refused', async () => {
	for (const name of ['Upper', '9x', '_x', 'a b', 'a.b', 'ä', '..', 'a%00b']) {
		const path = `/${name.includes('%') ? name : encodeURIComponent(name)}`;
		assertError(await ask(server, 'PUT', path === '/..' ? '/%2e%2e' : path), 400, 'illegal_database_name');
	}
	assertError(await ask(server, 'PUT', `/${'l'.repeat(300)}`), 400, 'database_name_too_long');
});

test('security object and revs_limit are kept', async () => {
	const db = await newDb(server);
	const security = { admins: { names: ['a'], roles: [] }, members: { names: [], roles: ['r'] }, own: { x: [1, 'ü'] } };
	assert.deepEqual((await ask(server, 'PUT', `/${db}/_security`, { json: security })).json, { ok: true });
	assert.deepEqual((await ask(server, 'GET', `/${db}/_security`)).json, security);
	assert.deepEqual((await ask(server, 'PUT', `/${db}/_revs_limit`, { body: '7' })).json, { ok: true });
	assert.equal((await ask(server, 'GET', `/${db}/_revs_limit`)).text.trim(), '7');
	await server.restart();
	assert.deepEqual((await ask(server, 'GET', `/${db}/_security`)).json, security);
	assert.equal((await ask(server, 'GET', `/${db}/_revs_limit`)).text.trim(), '7');
});

test('a hundred databases at once', async () => {
	const names = Array.from({ length: 100 }, (_, i) => `many-${String(i).padStart(3, '0')}`);
	const statuses = await Promise.all(names.map(async (name) => (await ask(server, 'PUT', `/${name}`)).status));
	assert.deepEqual(new Set(statuses), new Set([201]));
	const listed = (await ask(server, 'GET', '/_all_dbs')).json.filter((name) => name.startsWith('many-'));
	assert.deepEqual(listed, names);
	await Promise.all(names.map((name) => ask(server, 'DELETE', `/${name}`)));
	assert.equal((await ask(server, 'GET', '/_all_dbs')).json.filter((name) => name.startsWith('many-')).length, 0);
});

test('settings and purges in long bodies are as in short ones', async () => {
	const db = await newDb(server);
	const wide = ' '.repeat(100000);
	const names = Array.from({ length: 20000 }, (_, i) => `name${i}`);
	const send = (method, path, body) => ask(server, method, `/${db}/${path}`, { body, type: 'application/json' });
	assert.deepEqual((await send('PUT', '_security', JSON.stringify({ admins: { names } }))).json, { ok: true });
	assert.deepEqual((await ask(server, 'GET', `/${db}/_security`)).json, { admins: { names } });
	assertError(await send('PUT', '_security', JSON.stringify({ admins: { names: [...names, 1] } })), 400, 'bad_request', 'names must be a JSON list of strings');
	assertError(await send('PUT', '_security', `${wide}{]`), 400, 'bad_request', 'invalid UTF-8 JSON');
	assert.deepEqual((await send('PUT', '_revs_limit', `${wide}77`)).json, { ok: true });
	assert.equal((await ask(server, 'GET', `/${db}/_revs_limit`)).json, 77);
	assertError(await send('PUT', '_revs_limit', `${wide}0`), 400, 'bad_request', '`revs_limit` must be positive integer');
	const { json } = await ask(server, 'PUT', `/${db}/doc`, { json: {} });
	assert.deepEqual((await send('POST', '_purge', `${wide}{"doc":["${json.rev}"]}`)).json, { purge_seq: null, purged: { doc: [json.rev] } });
	assertError(await send('POST', '_purge', `${wide}{"doc":`), 400, 'bad_request', 'invalid UTF-8 JSON');
	assertError(await send('POST', '_purge', JSON.stringify(Object.fromEntries(names.map((n) => [n, ['1-a']])))), 400, 'bad_request', 'Exceeded maximum number of documents.');
});

test('a purge that names an id which no document can have purges nothing', async () => {
	const db = await newDb(server);
	const { json } = await ask(server, 'PUT', `/${db}/doc`, { json: {} });
	const purge = (ids) => ask(server, 'POST', `/${db}/_purge`, { json: Object.fromEntries([...ids.map((id) => [id, ['1-a']]), ['doc', [json.rev]]]) });
	for (const ids of [['x'.repeat(8193)], Array.from({ length: 90 }, (_, i) => String(i).repeat(100000))])
		assertError(await purge(ids), 400, 'illegal_docid', 'Document id is too long');
	assert.equal((await ask(server, 'GET', `/${db}/doc`)).status, 200);
	const longest = Array.from({ length: 99 }, (_, i) => String.fromCharCode(1).repeat(8190) + String(i).padStart(2, '0'));
	assert.deepEqual((await purge(longest)).json.purged.doc, [json.rev]);
});
