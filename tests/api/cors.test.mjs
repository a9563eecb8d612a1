// CORS as CouchDB's settings have it: who is answered how, on errors too, and what changes as soon as a setting does; and frames.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createRequire } from 'node:module';
import path from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import { promisify } from 'node:util';
import { ask, newDb } from './client.mjs';
import { startDivand } from '../lib/divand.mjs';

const run = promisify(execFile);
const TOOL = path.join(path.dirname(createRequire(import.meta.url).resolve('add-cors-to-couchdb/package.json')), 'bin.js');
const APP = 'https://app.example';
let server;
let db;

const set = async (key, value) => {
	const { status, text } = await ask(server, 'PUT', `/_node/_local/_config/${key}`, { json: value });
	assert.equal(status, 200, text);
};
const unset = (key) => ask(server, 'DELETE', `/_node/_local/_config/${key}`);

/** What an answer says of CORS. */
const told = ({ headers }) => Object.fromEntries(Object.entries(headers).filter(([name]) => name.startsWith('access-control-'))
	.map(([name, value]) => [name.slice('access-control-'.length), value]));
const get = (origin, { path: target = '/', ...options } = {}) => ask(server, 'GET', target, { ...options, headers: { ...(origin === undefined ? {} : { Origin: origin }), ...options.headers } });
const allowed = async (origin, options) => told(await get(origin, options))['allow-origin'];
const preflight = (origin, method, headers, { path: target = '/', ...more } = {}) => ask(server, 'OPTIONS', target, {
	auth: null,
	headers: { Origin: origin, ...(method ? { 'Access-Control-Request-Method': method } : {}), ...(headers ? { 'Access-Control-Request-Headers': headers } : {}), ...more },
});

before(async () => {
	server = await startDivand();
	db = await newDb(server);
});
after(() => server?.stop());
beforeEach(async () => {
	for (const key of ['origins', 'credentials', 'methods', 'headers', 'exposed_headers', 'max_age']) await unset(`cors/${key}`);
	await unset('httpd/enable_cors');
	await set('chttpd/enable_cors', 'true');
});

test('off, nothing is told; httpd/enable_cors holds where chttpd\'s is not set', async () => {
	await set('cors/origins', '*');
	await set('chttpd/enable_cors', 'false');
	assert.deepEqual(told(await get(APP)), {});
	assert.equal((await preflight(APP, 'GET')).status, 405);
	assert.equal((await get(APP)).headers.vary?.includes('origin') ?? false, false);
	await set('httpd/enable_cors', 'true');
	assert.deepEqual(told(await get(APP)), {});
	await unset('chttpd/enable_cors');
	assert.equal(await allowed(APP), APP);
});

test('an origin is one of the list, to the letter', async () => {
	await set('cors/origins', `${APP}, https://b.example:8443 ,http://[::1]:3000`);
	for (const origin of [APP, 'https://b.example:8443', 'http://[::1]:3000']) assert.equal(await allowed(origin), origin);
	for (const origin of [
		'null', '*', 'https://', 'app.example', '//app.example', 'http://app.example', 'https://app.example:443', 'https://app.example/', 'https://app.example.evil.example',
		'https://evilapp.example', 'https://evil.example/https://app.example', 'https://app.example@evil.example', 'https://APP.example', 'HTTPS://app.example',
		'https://app.exampl', 'https://app.example.', 'https://b.example', 'https://b.example:84433', `${APP},https://b.example:8443`, `${APP} https://evil.example`,
		'https://xn--pp-8ka.example', 'file://', 'https://app-example', 'https://app.example\u00a0',
	]) {
		const answer = await get(origin);
		assert.deepEqual(told(answer), {}, origin);
		assert.match(answer.headers.vary, /origin/i, 'a cache must know that it depends on the origin');
	}
	assert.deepEqual(told(await get(undefined)), {});
	assert.deepEqual(told(await get('')), {});
});

test('"null" only where the list says so, or "*"', async () => {
	await set('cors/origins', 'null');
	assert.equal(await allowed('null'), 'null');
	assert.equal(await allowed(APP), undefined);
	await set('cors/origins', '*');
	assert.equal(await allowed('null'), 'null');
});

test('any port of a host, where the list says so', async () => {
	await set('cors/origins', 'http://localhost:*');
	for (const origin of ['http://localhost', 'http://localhost:1', 'http://localhost:65535']) assert.equal(await allowed(origin), origin);
	for (const origin of ['http://localhost:', 'http://localhost:123456', 'http://localhost:80.evil.example', 'http://localhost.evil.example:80', 'http://localhost:*', 'https://localhost', 'http://localhost:1/']) {
		assert.equal(await allowed(origin), undefined, origin);
	}
});

test('credentials and what a script may read', async () => {
	await set('cors/origins', '*');
	assert.deepEqual(told(await get(APP)), {
		'allow-origin': APP,
		'expose-headers': 'content-type, cache-control, accept-ranges, etag, server, x-couch-request-id, x-couch-update-newrev, x-couchdb-body-time',
	});
	await set('cors/credentials', 'true');
	assert.equal(told(await get(APP))['allow-credentials'], 'true');
	assert.equal(told(await get('*'))['allow-credentials'], undefined, 'not for all at once');
	for (const [value, want] of [['yes', 'true'], ['off', undefined], ['1', 'true'], ['false', undefined]]) {
		await set('cors/credentials', value);
		assert.equal(told(await get(APP))['allow-credentials'], want, value);
	}
	await set('cors/exposed_headers', 'X-Mine, ETag');
	assert.equal(told(await get(APP))['expose-headers'], 'content-type, cache-control, x-mine, etag');
});

test('a preflight is answered by methods and headers, before authentication', async () => {
	await set('cors/origins', APP);
	await set('chttpd/require_valid_user', 'true');
	try {
		await set('cors/methods', 'GET, PUT');
		await set('cors/headers', 'Content-Type, x-custom');
		const ok = await preflight(APP, 'PUT', 'X-Custom,content-type', { path: `/${db}/doc` });
		assert.equal(ok.status, 204);
		assert.equal(ok.text, '');
		assert.deepEqual(told(ok), { 'allow-origin': APP, 'allow-methods': 'GET, PUT', 'allow-headers': 'X-Custom,content-type', 'max-age': '600' });
		for (const [method, headers] of [['DELETE'], ['put'], ['PUT', 'x-other'], ['PUT', 'x-custom, x-other'], ['PUT,GET'], ['*'], [undefined, 'x-custom']]) {
			const no = await preflight(APP, method, headers);
			assert.ok([401, 405].includes(no.status), `${method} ${headers}: ${no.status}`);
			assert.equal(told(no)['allow-methods'], undefined, `${method} ${headers}`);
		}
		assert.deepEqual(told(await preflight('https://evil.example', 'PUT')), {});
		await set('cors/max_age', '3600');
		assert.equal(told(await preflight(APP, 'GET'))['max-age'], '3600');
	} finally {
		await unset('chttpd/require_valid_user');
	}
});

test('errors say it too: a script must be able to read them', async () => {
	await set('cors/origins', APP);
	const asked = [
		[404, await get(APP, { path: `/${db}/missing` })],
		[404, await get(APP, { path: '/no-such-db' })],
		[401, await get(APP, { path: `/${db}`, auth: 'Basic ' + Buffer.from('admin:wrong').toString('base64') })],
		[401, await get(APP, { path: `/${db}`, auth: null })],
		[400, await get(APP, { path: `/${db}/_changes?since=%22` })],
		[400, await get(APP, { path: '/%zz' })],
		[405, await ask(server, 'PUT', '/_up', { headers: { Origin: APP } })],
		[415, await ask(server, 'POST', `/${db}/_bulk_docs`, { body: '{}', type: 'text/plain', headers: { Origin: APP } })],
		[409, (await ask(server, 'PUT', `/${db}/twice`, { json: {} }), await ask(server, 'PUT', `/${db}/twice`, { json: {}, headers: { Origin: APP } }))],
		[412, await ask(server, 'PUT', `/${db}`, { headers: { Origin: APP } })],
		[413, await ask(server, 'PUT', `/${db}/large`, { json: { text: 'x'.repeat(8100000) }, headers: { Origin: APP } })],
	];
	for (const [status, answer] of asked) {
		assert.equal(answer.status, status, answer.text);
		assert.equal(told(answer)['allow-origin'], APP, `${status} ${answer.text}`);
	}
});

test('a section of a host holds what differs there', async () => {
	await set('cors/origins', APP);
	await set('cors/max_age', '60');
	await set('cors:couch.example/origins', 'https://other.example');
	await set('cors:couch.example/credentials', 'true');
	try {
		const at = (origin, Host) => allowed(origin, { headers: { Host } });
		assert.deepEqual([await at(APP, 'localhost'), await at('https://other.example', 'localhost')], [APP, undefined]);
		assert.deepEqual([await at(APP, 'couch.example:5984'), await at('https://other.example', 'Couch.example')], [undefined, 'https://other.example']);
		assert.deepEqual([await at(APP, 'couch.example.evil'), await at(APP, 'xcouch.example')], [APP, APP]);
		const asked = told(await preflight('https://other.example', 'GET', undefined, { Host: 'couch.example' }));
		assert.deepEqual([asked['allow-credentials'], asked['max-age']], ['true', '60']);
	} finally {
		await unset('cors:couch.example/origins');
		await unset('cors:couch.example/credentials');
	}
});

test('a header cannot be split through an origin or through headers that are asked for', async () => {
	await set('cors/origins', '*');
	await set('cors/headers', 'a');
	const hostile = await get('https://a.example\u0085x: y');
	assert.equal(hostile.headers.x, undefined);
	const long = `https://${'a'.repeat(60000)}.example`;
	assert.equal(await allowed(long).catch(() => long), long);
});

test('add-cors-to-couchdb works unchanged', async () => {
	await set('chttpd/enable_cors', 'false');
	await unset('chttpd/enable_cors');
	assert.deepEqual(told(await get(APP)), {});
	const [user, password] = server.admin.split(':');
	const { stdout } = await run(process.execPath, [TOOL, server.url, '-u', user, '-p', password]);
	assert.match(stdout, /success/);
	assert.deepEqual(told(await preflight(APP, 'DELETE', 'authorization,x-csrf-token')), {
		'allow-origin': APP, 'allow-credentials': 'true', 'allow-methods': 'GET, PUT, POST, HEAD, DELETE', 'allow-headers': 'authorization,x-csrf-token', 'max-age': '600',
	});
	await assert.rejects(run(process.execPath, [TOOL, server.url, '-u', user, '-p', 'wrong']), (e) => e.code === 1);
});

test('X-Frame-Options says who may show an answer in a frame', async () => {
	const frame = async (Host, path = '/') => (await ask(server, 'GET', path, { headers: { ...(Host && { Host }) } })).headers['x-frame-options'];
	assert.equal(await frame(), undefined);
	await set('httpd/enable_xframe_options', 'true');
	assert.equal(await frame(), 'DENY');
	await set('chttpd/enable_xframe_options', 'false');
	assert.equal(await frame(), undefined);
	await set('chttpd/enable_xframe_options', 'true');
	assert.equal(await frame(undefined, '/none/none'), 'DENY');
	await set('x_frame_options/hosts', 'http://a.example:5984 ,  http://b.example');
	for (const host of ['a.example:5984', 'b.example']) assert.equal(await frame(host), `ALLOW-FROM http://${host}`);
	for (const host of ['a.example', 'c.example', 'b.example:80', 'b', '']) assert.equal(await frame(host), 'DENY', host);
	await set('x_frame_options/hosts', '*');
	assert.equal(await frame('any.example'), 'ALLOW-FROM http://any.example');
	await set('x_frame_options/same_origin', 'true');
	assert.equal(await frame('any.example'), 'SAMEORIGIN');
	const body = { shows: { open: "function () { return {body: '', headers: {'X-Frame-Options': 'ALLOWALL'}}; }" } };
	await ask(server, 'PUT', `/${db}/_design/framed`, { json: body });
	assert.equal(await frame(undefined, `/${db}/_design/framed/_show/open`), 'SAMEORIGIN', 'a function cannot undo it');
	for (const key of ['x_frame_options/same_origin', 'x_frame_options/hosts', 'chttpd/enable_xframe_options', 'httpd/enable_xframe_options']) await unset(key);
	assert.equal(await frame(), undefined);
});
