// Design documents of the language "query", read as views: rows, counts, ranges, groups, partitions; nothing runs JavaScript for them.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startDivand } from '../lib/divand.mjs';
import { ask } from './client.mjs';

let server;
const call = async (method, path, json) => (await ask(server, method, path, json === undefined ? {} : { json })).json;
const rows = async (path) => (await call('GET', path)).rows.map(({ id, key, value }) => [id, key, value]);

before(async () => {
	server = await startDivand();
});
after(() => server.stop());

const view = (fields, more) => ({ map: { fields, ...more }, reduce: '_count', options: { def: { fields: Object.keys(fields) } } });

test('rows, counts and groups', async () => {
	await call('PUT', '/db');
	await call('PUT', '/db/_design/q', { language: 'query', views: {
		kn: view({ kind: 'asc', 'a.n': 'desc' }),
		some: view({ _id: 'asc' }, { partial_filter_selector: { kind: { $ne: 'x' } } }),
		wrong: view({ kind: 'asc' }, { partial_filter_selector: { kind: { $nothing: 1 } } }),
	} });
	await call('POST', '/db/_bulk_docs', { docs: [['a', 'x', 2], ['b', 'y', 1], ['c', 'x', 1], ['d', 'x', undefined]].map(([_id, kind, n]) => ({ _id, kind, a: { n } })) });
	assert.deepEqual(await rows('/db/_design/q/_view/kn?reduce=false'), [['c', ['x', 1], null], ['a', ['x', 2], null], ['b', ['y', 1], null]]);
	assert.deepEqual(await rows('/db/_design/q/_view/kn?reduce=false&descending=true&startkey=["x",{}]'), [['a', ['x', 2], null], ['c', ['x', 1], null]]);
	assert.deepEqual(await rows('/db/_design/q/_view/kn?reduce=false&key=["x",2]&include_docs=true'), [['a', ['x', 2], null]]);
	assert.deepEqual(await rows('/db/_design/q/_view/kn'), [[undefined, null, 3]]);
	assert.deepEqual(await rows('/db/_design/q/_view/kn?group_level=1'), [[undefined, ['x'], 2], [undefined, ['y'], 1]]);
	assert.deepEqual(await rows('/db/_design/q/_view/some?reduce=false'), [['b', ['b'], null]]);
	assert.equal((await call('GET', '/db/_design/q/_view/wrong')).reason, 'missing_named_view');
	assert.equal((await call('GET', '/db/_design/q/_info')).view_index.language, 'query');
	assert.equal((await call('GET', '/_node/_local/_stats/divan/query_server/processes')).value, 0);
});

test('a document that changes has other rows, or none', async () => {
	const { _rev } = await call('GET', '/db/a');
	await call('PUT', '/db/a', { _rev, kind: 'x', a: { n: [1] } });
	const c = await call('GET', '/db/c');
	await call('DELETE', `/db/c?rev=${c._rev}`);
	const b = await call('GET', '/db/b');
	await call('PUT', '/db/b', { ...b, kind: undefined });
	assert.deepEqual(await rows('/db/_design/q/_view/kn?reduce=false'), [['a', ['x', [1]], null]]);
});

test('partitions', async () => {
	await call('PUT', '/parts?partitioned=true');
	await call('PUT', '/parts/_design/q', { language: 'query', views: { v: view({ n: 'asc' }) } });
	await call('PUT', '/parts/_design/all', { language: 'query', options: { partitioned: false }, views: { v: view({ n: 'asc' }) } });
	await call('POST', '/parts/_bulk_docs', { docs: ['p:1', 'q:2', 'p:3'].map((_id) => ({ _id, n: -Number(_id.slice(2)) })) });
	assert.deepEqual(await rows('/parts/_partition/p/_design/q/_view/v?reduce=false'), [['p:3', [-3], null], ['p:1', [-1], null]]);
	assert.deepEqual(await rows('/parts/_design/all/_view/v?reduce=false'), [['p:3', [-3], null], ['q:2', [-2], null], ['p:1', [-1], null]]);
});

test('another language is not built', async () => {
	await call('PUT', '/db/_design/e', { language: 'erlang', views: { v: { map: 'fun({Doc}) -> ok end.' } } });
	assert.equal((await ask(server, 'GET', '/db/_design/e/_view/v')).status, 501);
});
