// Functions of a database whose administrators administer nothing else, called by who may do more.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startDivand } from '../lib/divand.mjs';
import { ask, newDb } from './client.mjs';

let server, db;
const shows = {
	tell: 'function(doc, req) { return {json: req}; }',
	page: 'function() { return "<script>alert(1)</script>"; }',
	session: 'function() { return {headers: {"Set-Cookie": " AuthSession=mine", "Content-Security-Policy": "", "X-Split": "a\\r\\nb: c"}, body: ""}; }',
	spaced: 'function() { return {headers: {"Set-Cookie": "AuthSession =mine"}, body: ""}; }',
	nameless: 'function() { return {headers: {"Set-Cookie": "= AuthSession=mine"}, body: ""}; }',
	zero: 'function() { return {headers: {"\\u0000": "x", "Set-Cookie\\u0000": "theirs=2", "X-Other": "y"}, body: ""}; }',
	cookie: 'function() { return {headers: {"Set-Cookie": "theirs=1; Path=/"}, body: ""}; }',
};
before(async () => {
	server = await startDivand({ config: { chttpd_auth: { iterations: '1000' } } });
	db = await newDb(server);
	assert.equal((await ask(server, 'PUT', `/${db}/_design/d`, { json: { shows, updates: { tell: shows.tell.replace('return {json: req}', 'return [null, {json: req}]') } } })).status, 201);
});
after(() => server?.stop());
const show = (name, options) => ask(server, 'GET', `/${db}/_design/d/_show/${name}`, options);

test('what opens an account is not shown to functions', async () => {
	const { headers } = await ask(server, 'POST', '/_session', { auth: null, json: { name: 'admin', password: 'adm' } });
	const session = headers['set-cookie'][0].split(';')[0];
	const secret = session.split('=')[1];
	for (const cookie of [`a=1; ${session}; b=2`, `${session};a=1;  b=2`, `a=1;b=2;${session}`]) {
		for (const r of [await show('tell', { auth: null, headers: { cookie, 'x-auth-couchdb-token': 'tokentoken' } }), await ask(server, 'POST', `/${db}/_design/d/_update/tell`, { headers: { cookie, 'proxy-authorization': server.auth } })]) {
			assert.equal(r.status, 200, r.text);
			assert.equal(r.json.userCtx.name, 'admin');
			assert.deepEqual(r.json.cookie, { a: '1', b: '2' });
			assert.equal(r.json.headers.Cookie, 'a=1; b=2');
			for (const word of [secret, 'tokentoken', server.auth.split(' ')[1], 'AuthSession']) assert.ok(!r.text.includes(word), word);
		}
	}
	const alone = await show('tell', { auth: null, headers: { cookie: session } });
	assert.deepEqual(alone.json.cookie, {});
	assert.equal(alone.json.headers.Cookie, undefined);
	// The header may be named in the older section.
	assert.equal((await ask(server, 'PUT', '/_node/_local/_config/couch_httpd_auth/x_auth_token', { json: 'X-Proof' })).status, 200);
	const proven = await show('tell', { headers: { 'X-Proof': 'tokentoken' } });
	assert.equal(proven.json.userCtx.name, 'admin');
	assert.ok(!proven.text.includes('tokentoken'));
	assert.equal((await ask(server, 'DELETE', '/_node/_local/_config/couch_httpd_auth/x_auth_token')).status, 200);
});

test('policies are settings: one that is no header\'s value is none', async () => {
	const setting = (key, json) => ask(server, json === undefined ? 'DELETE' : 'PUT', `/_node/_local/_config/csp/${key}`, { json });
	await ask(server, 'PUT', `/${db}/att/page.html`, { body: '<p>', headers: { 'Content-Type': 'text/html' } });
	for (const [part, path, before] of [['attachments', `/${db}/att/page.html`, /^sandbox$/], ['showlist', `/${db}/_design/d/_show/page`, /^sandbox$/], ['utils', '/_utils/', /^default-src 'self'; /]]) {
		const policy = async () => (await ask(server, 'GET', path)).headers['content-security-policy'];
		assert.match(await policy(), before);
		assert.equal((await setting(`${part}_header_value`, "default-src 'none'")).status, 200);
		assert.equal(await policy(), "default-src 'none'");
		for (const value of ['', 'a\r\nb: c', 'a\nb']) {
			await setting(`${part}_header_value`, value);
			assert.match(await policy(), before);
		}
		assert.equal((await setting(`${part}_enable`, 'tru')).status, 400);
		assert.match(await policy(), before);
		assert.equal((await setting(`${part}_enable`, 'false')).status, 200);
		assert.equal(await policy(), undefined);
		for (const key of ['enable', 'header_value']) assert.equal((await setting(`${part}_${key}`)).status, 200);
		assert.match(await policy(), before);
	}
});

test('a page that a function makes may not act for whoever looks at it, nor change who that is', async () => {
	for (const name of ['page', 'session', 'spaced', 'nameless', 'zero']) {
		const r = await show(name);
		assert.equal(r.status, 200, r.text);
		assert.equal(r.headers['content-security-policy'], 'sandbox');
		assert.equal(r.headers['set-cookie'], undefined);
		assert.equal(r.headers['x-split'], undefined);
		assert.equal(r.headers.b, undefined);
	}
	assert.equal((await show('zero')).headers['x-other'], 'y');
	assert.deepEqual((await show('cookie')).headers['set-cookie'], ['theirs=1; Path=/']);
	assert.equal((await ask(server, 'PUT', '/_node/_local/_config/csp/showlist_enable', { json: 'false' })).status, 200);
	assert.equal((await show('page')).headers['content-security-policy'], undefined);
});

test('code cannot be made of texts, in whatever kind of function', async () => {
	const ways = ["eval('1+1')", "new Function('return 3')()", "(function*() {}).constructor('yield 1')", "(async function () {}).constructor('1')", "(async function* () {}).constructor('1')", "[].map.constructor('return this')()"];
	const all = `[${ways.map((way) => `function () { return ${way}; }`)}].map(function (f) { try { f(); return 'ran'; } catch (e) { return e.name; } })`;
	const own = await newDb(server);
	const r = await ask(server, 'PUT', `/${own}/_design/d`, { json: {
		lib: { m: `exports.all = ${all};` },
		views: { v: { map: "function (doc) { var glob = emit.constructor('return this')(); emit(doc._id, null); }" }, w: { map: `function (doc) { emit(${all}, 1); }`, reduce: `function () { return ${all}; }` } },
		shows: { s: `function () { return { json: ${all} }; }`, m: "function () { return { json: require('lib/m').all }; }" }, updates: { u: `function () { return [null, { json: ${all} }]; }` },
		lists: { l: `function () { return JSON.stringify(${all}); }` },
	} });
	assert.equal(r.status, 201, r.text);
	await ask(server, 'PUT', `/${own}/a`, { json: {} });
	const none = ways.map(() => 'EvalError');
	const get = async (path, method = 'GET') => JSON.parse((await ask(server, method, `/${own}/_design/d/${path}`)).text);
	assert.equal((await get('_view/v')).total_rows, 0);
	assert.deepEqual((await get('_view/w?reduce=false')).rows[0].key, none);
	assert.deepEqual((await get('_view/w')).rows[0].value, none);
	for (const path of ['_show/s', '_show/m', '_list/l/v']) assert.deepEqual(await get(path), none, path);
	assert.deepEqual(await get('_update/u', 'POST'), none);
});
