// _rewrite: rules as CouchDB has them, functions, and what neither may do.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startDivand } from '../lib/divand.mjs';
import { ask, assertError, newDb } from './client.mjs';

let server, other;
before(async () => {
	server = await startDivand({ config: { couchdb: { os_process_timeout: '500', default_security: 'everyone' } } });
	other = await newDb(server, 'other');
	await ask(server, 'PUT', `/${other}/secret`, { json: {} });
});
after(() => server.stop());

const ECHO = 'function (doc, req) { return { json: { query: req.query, method: req.method, id: req.id } }; }';
const filled = async (rewrites) => {
	const db = await newDb(server);
	await ask(server, 'PUT', `/${db}/a`, { json: { n: 1 } });
	await ask(server, 'PUT', `/${db}/${encodeURIComponent('s/l')}`, { json: { n: 2 } });
	const put = await ask(server, 'PUT', `/${db}/_design/d`, { json: { rewrites, shows: { echo: ECHO, asked: 'function (doc, req) { return { json: { path: req.path, asked: req.requested_path, query: req.query } }; }' }, updates: { make: 'function (doc, req) { return [{ _id: req.uuid, by: req.method }, req.body]; }' } } });
	assert.equal(put.status, 201, put.text);
	return { db, go: (path, method = 'GET', more) => ask(server, method, `/${db}/_design/d/_rewrite/${path}`, more) };
};

test('rules: paths, names, stars, methods and queries', async () => {
	const { db, go } = await filled([
		{ from: '/doc/:id', to: '../../:id' },
		{ from: '/show/:id', to: '_show/echo/:id', query: { fixed: 'x', of: ':id', list: [':id', 'y'], n: ':num' }, formats: { num: 'int' } },
		{ from: '/key/:key', to: '_show/echo', query: { startkey: [':key', { k: 1 }] } },
		{ from: '/only', to: '_show/echo', method: 'POST' },
		{ from: '/put/:id', to: '../../:id', method: 'PUT' },
		{ from: '/all/*', to: '../../*' },
		{ from: '/up', to: '../..' },
		{ from: '/far', to: '../../../_all_dbs' },
		{ from: '/there/:x', to: '../:x/:x' },
		{ from: '/make', to: '_update/make' },
		{ from: '/loop', to: '_rewrite/loop' },
		{ from: '/none/:a' , to: ':b' },
	]);
	assert.equal((await go('doc/a')).json.n, 1);
	assert.equal((await go('doc/s%2Fl')).json.n, 2);
	assert.equal((await go('doc/a', 'HEAD')).headers.etag, (await ask(server, 'GET', `/${db}/a`)).headers.etag);
	assert.deepEqual((await go('show/a?num=7&more=z')).json, { query: { id: 'a', num: '7', more: 'z', fixed: 'x', of: 'a', list: '["a","y"]', n: '7' }, method: 'GET', id: 'a' });
	assert.deepEqual((await go('key/q')).json.query, { key: 'q', startkey: ['q', { k: 1 }] });
	assertError(await go('only'), 404, 'not_found', 'missing');
	assert.equal((await go('only', 'POST', { json: {} })).json.method, 'POST');
	assert.equal((await go('put/new', 'PUT', { json: { big: 'x'.repeat(400000) } })).status, 201);
	assert.equal((await ask(server, 'GET', `/${db}/new`)).json.big.length, 400000);
	assert.equal((await go('all/_all_docs?limit=1')).json.rows.length, 1);
	// A path that is too long is no other path.
	assert.equal((await go(`all/a${'/x'.repeat(59)}`)).status, 400);
	assert.equal((await go('up')).json.db_name, db);
	assert.equal((await go('make', 'POST', { body: 'said', type: 'text/plain' })).text, 'said');
	assertError(await go('far'), 500, 'insecure_rewrite_rule', 'too many ../.. segments');
	assertError(await go('loop'), 400, 'bad_request', 'Exceeded rewrite recursion limit');
	assertError(await go('nothing/here'), 404);
	assertError(await go('doc'), 404);
});

test('no request leaves its database, whatever it puts in the place of names', async () => {
	const { go } = await filled([{ from: '/s/*', to: '../../*' }, { from: '/n/:x', to: '../../:x/secret' }, { from: '/m/:x', to: ':x' }]);
	for (const path of [`s/..%2F${other}/secret`, `s/%2e%2e/${other}/secret`, `n/..%2F${other}`, 'n/..', `m/..%2F..%2F..%2F${other}`, 's/..%2F_all_dbs', 's/%2e%2e/_all_dbs']) {
		const r = await go(path);
		assert.ok(r.status >= 400, `${path} ${r.text}`);
		assert.ok(!r.text.includes('_rev'), path);
	}
});

test('a function: a path, an object, an answer of its own, an error', async () => {
	const { db, go } = await filled(`function (req) {
		switch (req.path[4]) {
		case 'doc': return '../../a';
		case 'echo': return { path: '_show/echo/' + req.query.id, query: { q: req.method, n: 5, key: '"k"' } };
		case 'root': return { path: '/' + req.path[0] + '/_all_docs?limit=1' };
		case 'asked': return { path: '_show/asked' };
		case 'kept': return '_show/asked';
		case 'none': return { path: '_show/asked', query: {} };
		case 'self': return '_show/asked?own=1';
		case 'att': return { path: '../../a/x.txt?rev=' + req.query.rev, method: 'PUT' };
		case 'method': return { path: '../../viafun', method: 'PUT' };
		case 'own': return { code: 418, headers: { 'X-Own': 'yes' }, body: 'mine' };
		case 'dbs': return '/_all_dbs';
		case 'up': return '../../../' + req.query.to;
		case 'other': return '/' + req.query.to + '/secret';
		case 'throws': throw({ forbidden: 'not you' });
		case 'fails': return req.nothing.at.all;
		case 'loops': for (;;) ;
		case 'number': return 5;
		}
	}`);
	assert.equal((await go('doc')).json.n, 1);
	assert.deepEqual((await go('echo?id=a')).json, { query: { q: 'GET', n: '5', key: 'k' }, method: 'GET', id: 'a' });
	assert.equal((await go('root')).json.rows.length, 1);
	assert.equal((await go('method', 'POST', { json: { x: 1 } })).status, 201);
	assert.equal((await ask(server, 'GET', `/${db}/viafun`)).json.x, 1);
	// What CouchDB reads as JSON for functions, and what is none.
	assert.deepEqual((await ask(server, 'GET', `/${db}/_design/d/_show/asked?key=[1]&startkey="a"&endkey=x&descending=true&keys=[1]`)).json.query, { key: [1], startkey: 'a', endkey: 'x', descending: true, keys: '[1]' });
	assert.deepEqual((await go('asked')).json, { path: [db, '_design', 'd', '_show', 'asked'], asked: [db, '_design', 'd', '_rewrite', 'asked'], query: {} });
	// Without a query in the answer the request keeps its own.
	for (const [path, query] of [['asked?name=user', { name: 'user' }], ['kept?name=a%26b%3D%2B&startkey=[1]&x', { name: 'a&b=+', startkey: [1], x: '' }], ['none?name=user', {}], ['self?name=user', { own: '1' }]])
		assert.deepEqual((await go(path)).json.query, query, path);
	const att = await go(`att?rev=${(await ask(server, 'GET', `/${db}/a`)).json._rev}`, 'PUT', { body: 'abc', headers: { 'content-type': 'text/plain' } });
	assert.equal(att.status, 201, att.text);
	assert.equal((await ask(server, 'GET', `/${db}/a/x.txt`)).text, 'abc');
	const own = await go('own');
	assert.deepEqual([own.status, own.text, own.headers['x-own']], [418, 'mine', 'yes']);
	for (const path of ['dbs', `up?to=${other}`, 'up?to=_all_dbs', `other?to=${other}`, 'other?to=..'])
		assertError(await go(path), [404, 500], path.startsWith('other?to=..') ? undefined : 'insecure_rewrite_rule');
	assertError(await go('throws'), 403, 'forbidden', 'not you');
	assertError(await go('fails'), 500, 'render_error');
	assertError(await go('loops'), 500, 'os_process_error');
	assertError(await go('unknown'), 404, 'rewrite_error', 'Invalid path.');
	assertError(await go('number'), [404, 500]);
});

test('rules that are none, and rights where the way leads', async () => {
	for (const [rewrites, status] of [[[], 404], [[5], [400, 404, 500]], [[{}], [400, 404, 500]], [[{ from: 5, to: {} }], [400, 404, 405, 500]], [[{ from: '/*', to: '/'.repeat(5000) }], [200, 400, 404]], [undefined, 404]]) {
		const { go } = await filled(rewrites);
		const r = await go('x');
		assert.ok([status].flat().includes(r.status), `${JSON.stringify(rewrites)?.slice(0, 50)} ${r.status} ${r.text}`);
	}
	const { db, go } = await filled([{ from: '/ddoc', to: '../../_design/e', method: 'PUT' }, { from: '/sec', to: '../../_security', method: 'PUT' }, { from: '/c', to: '../../_compact', method: 'POST' }]);
	assertError(await go('ddoc', 'PUT', { json: {}, auth: null }), 401, 'unauthorized');
	assertError(await go('sec', 'PUT', { json: {}, auth: null }), 401, 'unauthorized');
	assertError(await go('c', 'POST', { json: {}, auth: null }), 401, 'unauthorized');
	assert.equal((await go('sec', 'PUT', { json: { members: { names: ['x'] } } })).status, 200);
	assertError(await go('ddoc', 'GET', { auth: null }), 401, 'unauthorized');
	assert.equal((await ask(server, 'DELETE', `/${db}`)).status, 200);
});

test('a large design document sends requests on as a small one does', async () => {
	const pad = 'p'.repeat(2 << 20);
	const rules = await filled([...Array.from({ length: 40000 }, (_, i) => ({ from: `/none${i}/:x/*`, to: '../../none' })), { from: '/doc/:id', to: '../../:id' }, { from: '/out', to: '../../../:x' }]);
	assert.equal((await rules.go('doc/a')).json.n, 1);
	assertError(await rules.go('else'), 404, 'not_found');
	assertError(await rules.go('out'), 500, 'insecure_rewrite_rule');
	const fn = await filled(`function (req) {
		var pad = "${pad}";
		switch (req.path[4]) {
		case 'doc': return { path: '../../' + req.path[5], method: 'GET' };
		case 'own': return { code: 203, headers: { 'X-A': '1' }, body: pad };
		case 'pathless': return { pad: pad };
		case 'out': return { path: '/other/secret', pad: pad };
		}
	}`);
	assert.equal((await fn.go('doc/a')).json.n, 1);
	const own = await fn.go('own');
	assert.deepEqual([own.status, own.headers['x-a'], own.text === pad], [203, '1', true]);
	assertError(await fn.go('pathless'), 500, 'rewrite_error');
	assertError(await fn.go('out'), 500, 'insecure_rewrite_rule');
	assertError(await fn.go('nothing'), 404, 'rewrite_error');
});
