// Attacks on who may do what, above the socket: forged sessions and tokens, headers that pretend, paths and methods that go round, documents of
// others. What an attacker may not learn is marked, and looked for in every answer.
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { startDivand, tempDir } from '../lib/divand.mjs';
import { ticks } from '../lib/process.mjs';
import { ask, assertError, connect } from './client.mjs';

const SECRET = 'the secret of the sessions';
const MARK = 'top-secret-mark';
const HIDDEN = 'hidden-database';
const EVERYBODY = { admins: { names: [], roles: ['_admin'] }, members: { names: [], roles: [] } };
const basic = (text) => 'Basic ' + Buffer.from(text).toString('base64');
const ANN = basic('ann:pw-ann');
const BOB = basic('bob:pw-bob');
const hmacKey = crypto.randomBytes(32);
const rsa = crypto.generateKeyPairSync('rsa', { modulusLength: 2048, publicKeyEncoding: { type: 'spki', format: 'pem' }, privateKeyEncoding: { type: 'pkcs8', format: 'pem' } });
const around = tempDir('divan-around'); // what stands beside the data folder
let server;

before(async () => {
	fs.writeFileSync(path.join(around, 'outside.divan'), MARK);
	server = await startDivand({ dataDir: path.join(around, 'data'), config: {
		couchdb: { users_db_security_editable: 'true' },
		chttpd: { authentication_handlers: '{chttpd_auth, cookie_authentication_handler}, {chttpd_auth, jwt_authentication_handler}, {chttpd_auth, default_authentication_handler}',
			enable_cors: 'true' },
		cors: { origins: 'https://app.example.com, http://localhost:8080', credentials: 'true' },
		chttpd_auth: { iterations: '10000', secret: SECRET, timeout: '600' },
		chttpd_auth_lockout: { mode: 'off' },
		jwt_keys: { 'hmac:_default': hmacKey.toString('base64'), 'rsa:r1': rsa.publicKey.replaceAll('\n', '\\n') },
		jwt_auth: { required_claims: 'exp' },
	} });
	for (const db of ['_users', '_replicator']) assert.ok([201, 412].includes((await ask(server, 'PUT', `/${db}`)).status));
	assert.equal((await ask(server, 'PUT', '/_users/_security', { json: EVERYBODY })).status, 200);
	for (const name of ['ann', 'bob']) {
		assert.equal((await ask(server, 'PUT', `/_users/org.couchdb.user:${name}`, { json: { name, type: 'user', roles: ['staff'], password: `pw-${name}`, mark: `${MARK}-${name}` } })).status, 201);
	}
	assert.equal((await ask(server, 'PUT', `/${HIDDEN}`)).status, 201);
	assert.equal((await ask(server, 'PUT', `/${HIDDEN}/doc`, { json: { mark: MARK, _attachments: { 'a.txt': { content_type: 'text/plain', data: Buffer.from(MARK).toString('base64') } } } })).status, 201);
	assert.equal((await ask(server, 'PUT', '/common')).status, 201);
	assert.equal((await ask(server, 'PUT', '/common/_security', { json: { admins: { roles: ['keepers'] }, members: { names: ['ann'] } } })).status, 200);
});
after(() => server?.stop());

/** Who the server takes a request for: a name, null for nobody, or its refusal's status. */
async function whoami(headers) {
	const { status, json } = await ask(server, 'GET', '/_session', { auth: null, headers });
	return status === 200 ? json.userCtx.name : status;
}
const isNobody = (who) => who === null || (typeof who === 'number' && who >= 400 && who < 500);

// ---- Sessions ----

const hex = (n) => n.toString(16).toUpperCase();
const now = () => Math.floor(Date.now() / 1000);
const cookie = (bytes) => ({ cookie: `AuthSession=${Buffer.from(bytes).toString('base64url')}` });
function session(name, { secret = SECRET, salt, time = hex(now()), hash = 'sha256', mac } = {}) {
	const text = `${name}:${time}`;
	return Buffer.concat([Buffer.from(`${text}:`), mac ?? crypto.createHmac(hash, secret + salt).update(text).digest()]);
}
const saltOf = async (name) => (await ask(server, 'GET', `/_users/org.couchdb.user:${name}`)).json.salt;

test('a session cookie with any bit changed is nobody\'s', async () => {
	const login = await ask(server, 'POST', '/_session', { auth: null, json: { name: 'ann', password: 'pw-ann' } });
	const value = /AuthSession=([^;]+)/.exec(login.headers['set-cookie'])[1];
	const bytes = Buffer.from(value, 'base64url');

	assert.equal(await whoami({ cookie: `AuthSession=${value}` }), 'ann');
	for (let i = 0; i < bytes.length * 8; i++) {
		const forged = Buffer.from(bytes);
		forged[i >> 3] ^= 1 << (i & 7);
		const who = await whoami(cookie(forged));
		assert.ok(isNobody(who), `bit ${i} changed: taken for ${who}`);
	}
	for (let len = 0; len < bytes.length; len++) assert.ok(isNobody(await whoami(cookie(bytes.subarray(0, len)))), `cut to ${len} bytes`);
	assert.ok(isNobody(await whoami(cookie(Buffer.concat([bytes, Buffer.from('x')])))), 'a byte more');
});

test('a session made without the secret, for another account, or outside its time is nobody\'s', async () => {
	const salt = await saltOf('ann');
	const other = await saltOf('bob');

	assert.equal(typeof salt, 'string');
	// Or else the forgeries below prove nothing.
	assert.equal(await whoami(cookie(session('ann', { salt }))), 'ann');
	for (const [what, bytes] of Object.entries({
		'other secret': session('ann', { salt, secret: 'another' }),
		'no secret': session('ann', { salt, secret: '' }),
		'no salt': session('ann', { salt: '' }),
		'salt of another': session('ann', { salt: other }),
		'name of another': session('bob', { salt }),
		'name of an administrator': session('admin', { salt }),
		'name of an administrator, no salt': session('admin', { salt: '' }),
		'name of nobody there': session('carl', { salt: '' }),
		'no name': session('', { salt: '' }),
		'over': session('ann', { salt, time: hex(now() - 601) }),
		'long over': session('ann', { salt, time: '0' }),
		'far ahead': session('ann', { salt, time: hex(now() + 86400) }),
		'too far to count': session('ann', { salt, time: 'FFFFFFFFFFFFFFFFFFFF' }),
		'negative time': session('ann', { salt, time: '-1' }),
		'no time': session('ann', { salt, time: '' }),
		'time that is none': session('ann', { salt, time: 'soon' }),
		'no MAC': session('ann', { salt, mac: Buffer.alloc(0) }),
		'MAC of zeros': session('ann', { salt, mac: Buffer.alloc(32) }),
		'MAC cut to the length of another algorithm\'s': session('ann', { salt }).subarray(0, -12),
		'algorithm that is not allowed': session('ann', { salt, hash: 'md5' }),
		'name with a colon': session('ann:x', { salt }),
		'name cut by a NUL': session('ann\0x', { salt }),
		'nothing': Buffer.alloc(0),
		'colons': Buffer.from('::'),
	})) assert.ok(isNobody(await whoami(cookie(bytes))), what);
	for (const value of ['%', '====', 'é', '"', 'a'.repeat(4000), `${session('ann', { salt }).toString('base64url')}!`]) {
		assert.ok(isNobody(await whoami({ cookie: `AuthSession=${Buffer.from(value).toString('latin1')}` })), value.slice(0, 20));
	}
	// A cookie of another name, or one whose name only ends so.
	assert.equal(await whoami({ cookie: `XAuthSession=${session('ann', { salt }).toString('base64url')}` }), null);
});

test('sessions end with the password', async () => {
	const url = '/_users/org.couchdb.user:carl';
	const put = async (password, rev) => ask(server, 'PUT', url, { json: { _rev: rev, name: 'carl', type: 'user', roles: [], password } });
	const { rev } = (await put('one')).json;
	const login = await ask(server, 'POST', '/_session', { auth: null, json: { name: 'carl', password: 'one' } });
	const old = { cookie: login.headers['set-cookie'][0].split(';')[0] };

	assert.equal(await whoami(old), 'carl');
	assert.equal(await whoami({ authorization: basic('carl:one') }), 'carl');
	assert.equal((await put('two', rev)).status, 201);
	assert.ok(isNobody(await whoami(old)), 'the session outlives the password');
	assert.equal(await whoami({ authorization: basic('carl:one') }), 401);
	assert.equal(await whoami({ authorization: basic('carl:two') }), 'carl');
	const { json } = await ask(server, 'GET', url);
	assert.equal((await ask(server, 'DELETE', `${url}?rev=${json._rev}`)).status, 200);
	assert.equal(await whoami({ authorization: basic('carl:two') }), 401);
});

// ---- Tokens ----

const b64 = (json) => Buffer.from(typeof json === 'string' ? json : JSON.stringify(json)).toString('base64url');
const soon = () => now() + 300;
const bearer = (token) => ({ authorization: `Bearer ${token}` });
function token(claims, { alg = 'HS256', kid, key = hmacKey, head = {} } = {}) {
	const text = `${b64({ typ: 'JWT', alg, ...(kid === undefined ? {} : { kid }), ...head })}.${b64(claims)}`;
	const hash = `sha${alg.slice(2)}`;
	const mac = alg.startsWith('RS') ? crypto.sign(hash, Buffer.from(text), key) : crypto.createHmac(/^sha\d+$/.test(hash) ? hash : 'sha256', key).update(text).digest();
	return `${text}.${mac.toString('base64url')}`;
}

test('tokens: no algorithm, another\'s, no key, no time', async () => {
	const good = { sub: 'tom', exp: soon() };
	assert.equal(await whoami(bearer(token(good))), 'tom');
	assert.equal(await whoami(bearer(token(good, { alg: 'RS256', kid: 'r1', key: rsa.privateKey }))), 'tom');
	const [head, body, mac] = token(good).split('.');
	const unsigned = (alg, end = '') => `${b64({ typ: 'JWT', alg })}.${b64({ ...good, '_couchdb.roles': ['_admin'] })}.${end}`;

	for (const [what, value] of Object.entries({
		'none': unsigned('none'), 'None': unsigned('None'), 'NONE': unsigned('NONE'), 'none with a signature': unsigned('none', mac), 'no algorithm': unsigned(undefined, mac),
		'an empty one': unsigned('', mac), 'HS0': unsigned('HS0', mac), 'an algorithm that is no text': unsigned(['HS256'], mac),
		// The public key is known to all: it must not do as the secret of HS256.
		'RSA key as a secret': token(good, { kid: 'r1', key: rsa.publicKey }),
		'RSA key as a secret, trimmed': token(good, { kid: 'r1', key: rsa.publicKey.trim() }),
		'RSA key as a secret, as configured': token(good, { kid: 'r1', key: rsa.publicKey.replaceAll('\n', '\\n') }),
		'secret used for RS256': `${b64({ typ: 'JWT', alg: 'RS256' })}.${body}.${mac}`,
		'the secret as text': token(good, { key: hmacKey.toString('base64') }),
		'empty key': token(good, { key: '' }),
		'unknown key': token(good, { kid: 'other' }),
		'key of a path': token(good, { kid: '../../../dev/null', key: '' }),
		'key of another kind': token(good, { kid: '_default', alg: 'RS256', key: rsa.privateKey }),
		'key that the token brings': token(good, { alg: 'RS256', key: rsa.privateKey, head: { jwk: { kty: 'RSA' }, jku: 'http://127.0.0.1/', x5c: [rsa.publicKey] } }),
		'critical extension': token(good, { key: 'x', head: { crit: ['exp'] } }),
		'other claims': `${head}.${b64({ ...good, sub: 'admin' })}.${mac}`,
		'no signature': `${head}.${body}.`, 'two parts': `${head}.${body}`, 'four parts': `${head}.${body}.${mac}.x`, 'nothing': '', 'dots': '..', 'one dot': '.',
		'signature cut': `${head}.${body}.${mac.slice(0, -4)}`, 'signature and more': `${head}.${body}.${mac}AAAA`, 'other bit': `${head}.${body}.${mac[0] === 'A' ? 'B' : 'A'}${mac.slice(1)}`,
		'over': token({ ...good, exp: now() - 1 }), 'long over': token({ ...good, exp: 0 }), 'time as text': token({ ...good, exp: 'never' }), 'time as null': token({ ...good, exp: null }),
		'no time': token({ sub: 'tom' }), 'not yet': token({ ...good, nbf: now() + 600 }), 'nobody': token({ exp: soon() }), 'name that is no text': token({ ...good, sub: { a: 1 } }),
		'empty name': token({ ...good, sub: '' }), 'claims that are no object': token([good]), 'head that is no JSON': `${b64('{')}.${body}.${mac}`, 'too long': token({ ...good, x: 'x'.repeat(20000) }),
	})) {
		const who = await whoami(bearer(value));
		assert.ok(isNobody(who), `${what}: taken for ${who}`);
	}
	// A name of an account gives a token none of that account's roles, nor an administrator's.
	const asAdmin = await ask(server, 'GET', '/_all_dbs', { auth: null, headers: bearer(token({ sub: 'admin', exp: soon() })) });
	assert.equal(asAdmin.status, 401, asAdmin.text);
});

// ---- Names and passwords ----

test('whether a name is known is told neither by the answer nor by the work', async (t) => {
	const tries = { known: 'ann', unknown: 'nobody-here', admin: 'admin' };
	const strip = ({ status, text, headers }) => JSON.stringify([status, text, Object.keys(headers).sort().filter((h) => !/^(date|connection|keep-alive)$/.test(h))]);
	const answers = { session: new Set(), basic: new Set() };
	const took = {};
	const work = {};

	for (let i = 0; i < 25; i++) {
		for (const [kind, name] of Object.entries(tries)) {
			const had = ticks(server);
			const began = performance.now();
			answers.session.add(strip(await ask(server, 'POST', '/_session', { auth: null, json: { name, password: `wrong-${i}` } })));
			answers.basic.add(strip(await ask(server, 'GET', '/_session', { auth: basic(`${name}:wrong-${i}`) })));
			(took[kind] ??= []).push(performance.now() - began);
			work[kind] = (work[kind] ?? 0) + ticks(server) - had;
		}
	}
	const median = (list) => list.sort((a, b) => a - b)[list.length >> 1];
	t.diagnostic(`median of two wrong passwords: ${Object.entries(took).map(([k, l]) => `${k} ${median(l).toFixed(1)} ms`).join(', ')}; ticks of the processor: ${JSON.stringify(work)}`);
	console.log(`     wrong passwords: ${Object.entries(took).map(([k, l]) => `${k} ${median(l).toFixed(1)} ms`).join(', ')}`);
	// Not the time, which others share, but the work: a derivation each.
	const [least, , most] = Object.values(work).sort((a, b) => a - b);
	assert.ok(most <= 3 * least + 5, JSON.stringify(work));
	assert.equal(answers.session.size, 1, [...answers.session].join('\n'));
	assert.equal(answers.basic.size, 1, [...answers.basic].join('\n'));
});

test('names that are close to another\'s are not the other', async () => {
	for (const name of ['ANN', 'Ann', 'ann ', ' ann', 'ann\0', 'ann%00', 'ａnn', 'ann\u0301', 'org.couchdb.user:ann', 'ann/', '']) {
		assert.equal(await whoami({ authorization: basic(`${name}:pw-ann`) }), 401, JSON.stringify(name));
		assertError(await ask(server, 'POST', '/_session', { auth: null, json: { name, password: 'pw-ann' } }), 401, 'unauthorized', 'Name or password is incorrect.');
	}
	// (A NUL behind a password is not told from none: HMAC fills its keys up with them.)
	for (const password of ['pw-ann ', 'PW-ANN', '', 'pw-an']) {
		assert.equal(await whoami({ authorization: basic(`ann:${password}`) }), 401, JSON.stringify(password));
		assertError(await ask(server, 'POST', '/_session', { auth: null, json: { name: 'ann', password } }), 401, 'unauthorized', 'Name or password is incorrect.');
	}
	for (const json of [{ name: 'ann', password: null }, { name: 'ann', password: true }, { name: ['ann'], password: 'pw-ann' }, { name: { $gt: '' }, password: { $gt: '' } }]) {
		const { status } = await ask(server, 'POST', '/_session', { auth: null, json });
		assert.ok(status >= 400 && status < 500, `${JSON.stringify(json)}: ${status}`);
	}
});

// ---- Headers ----

test('headers that pretend: a proxy\'s, another method\'s, another host\'s', async () => {
	for (const headers of [
		{ 'x-auth-couchdb-username': 'admin', 'x-auth-couchdb-roles': '_admin' },
		{ 'X-Auth-CouchDB-UserName': 'admin', 'X-Auth-CouchDB-Roles': '_admin', 'X-Auth-CouchDB-Token': crypto.createHmac('sha1', SECRET).update('admin').digest('hex') },
		{ 'x-forwarded-user': 'admin' }, { 'remote-user': 'admin' }, { 'x-forwarded-for': '127.0.0.1' }, { host: 'admin:adm@127.0.0.1' },
	]) {
		const who = await whoami(headers);
		assert.ok(isNobody(who), `${JSON.stringify(headers)}: taken for ${who}`);
		assertError(await ask(server, 'GET', '/_all_dbs', { auth: null, headers }), [400, 401]);
	}
	for (const auth of [null, ANN]) {
		const refused = async (target, over, options = {}) => {
			const answer = await ask(server, 'POST', target, { auth, json: {}, headers: { 'x-http-method-override': over }, ...options });
			assert.ok(answer.status >= 400 && answer.status < 500, `${over} ${target}: ${answer.status} ${answer.text}`);
			assert.ok(!answer.text.includes(MARK), `${over} ${target}`);
		};
		for (const over of ['PUT', 'DELETE', 'GET', 'HEAD', 'COPY', 'put', 'DELETE ', 'OPTIONS', 'PATCH', 'PUT, DELETE', '']) {
			for (const target of [`/${HIDDEN}`, `/${HIDDEN}/doc`, `/${HIDDEN}/doc/a.txt`, `/${HIDDEN}/_security`, `/${HIDDEN}/_purge`, '/_all_dbs', '/_node/_local/_config/admins/eve', '/_db_updates']) await refused(target, over);
		}
		for (const over of ['PUT', 'DELETE']) await refused('/made-by-override', over);
	}
	assert.equal((await ask(server, 'GET', '/made-by-override')).status, 404);
	assert.equal((await ask(server, 'GET', `/${HIDDEN}/doc`)).json.mark, MARK);
	// In a GET, which pages can be made to send, it is not heard at all.
	assert.equal((await ask(server, 'GET', `/${HIDDEN}/doc`, { headers: { 'x-http-method-override': 'DELETE' } })).json.mark, MARK);
});

test('two sets of credentials, and credentials in the URL', async () => {
	const raw = async (lines, line = 'GET /_session HTTP/1.1') => {
		const c = connect(server.port);
		c.send(`${line}\r\nHost: 127.0.0.1\r\nConnection: close\r\n${lines.map((l) => `${l}\r\n`).join('')}\r\n`);
		const text = await c.closed;
		const name = /"name":("[^"]*"|null)/.exec(text)?.[1];
		return { status: Number(/^HTTP\/1.1 (\d+)/.exec(text)?.[1]), name: name && JSON.parse(name), text };
	};
	const admin = `Authorization: ${server.auth}`;
	const ann = `Authorization: ${ANN}`;
	const wrong = `Authorization: ${basic('admin:wrong')}`;

	assert.equal((await raw([admin])).name, 'admin');
	// Whoever looks at one of them in front of us must have looked at the one that counts.
	for (const lines of [[ann, admin], [admin, ann], [wrong, admin], [admin, wrong], [admin, admin]]) {
		const { status, text } = await raw(lines);
		assert.equal(status, 400, `${lines}: ${text}`);
	}
	for (const lines of [[`Authorization: ${ANN}, ${server.auth}`], [`Authorization: ${server.auth.slice(6)}`], [`Authorization: Digest ${server.auth.slice(6)}`], [`Proxy-${admin}`], [`${admin.replace('Basic ', 'Basic\t\t')}x`]]) {
		const { name } = await raw(lines);
		assert.ok(!name, `${lines}: ${name}`);
	}
	for (const line of [`GET http://admin:adm@127.0.0.1:${server.port}/_session HTTP/1.1`, 'GET //admin:adm@127.0.0.1/_session HTTP/1.1', 'GET /admin:adm@/_session HTTP/1.1', 'GET /_session?name=admin&password=adm HTTP/1.1']) {
		const { name } = await raw([], line);
		assert.ok(!name, `${line}: ${name}`);
	}
});

test('pages of other origins, null among them, are not told', async () => {
	for (const origin of ['null', 'https://app.example.com.evil.org', 'https://evil-app.example.com', 'https://xapp.example.com', 'http://app.example.com', 'https://app.example.com:8443', 'https://app.example.com@evil.org',
		'https://evil.org/https://app.example.com', 'https://app.example.com/', 'https://app.example.comx', 'http://localhost', 'http://localhost:80801', 'http://localhost:808', 'http://127.0.0.1:8080', 'file://', '*', 'https://app.example.com, https://evil.org']) {
		for (const [method, headers] of [['GET', {}], ['OPTIONS', { 'access-control-request-method': 'PUT', 'access-control-request-headers': 'authorization' }]]) {
			const answer = await ask(server, method, '/_session', { headers: { origin, ...headers } });
			assert.equal(answer.headers['access-control-allow-origin'], undefined, `${method} from ${origin}`);
			assert.equal(answer.headers['access-control-allow-credentials'], undefined, `${method} from ${origin}`);
		}
	}
	const answer = await ask(server, 'GET', '/_session', { headers: { origin: 'https://app.example.com' } });
	assert.equal(answer.headers['access-control-allow-origin'], 'https://app.example.com');
	// An answer that depends on who asks may not be given to another from a cache.
	assert.match(answer.headers.vary ?? '', /origin/i);
});

test('log-in redirects stay here', async () => {
	const form = { body: 'name=ann&password=pw-ann', type: 'application/x-www-form-urlencoded', auth: null };
	const wrong = { ...form, body: 'name=ann&password=no' };
	const here = new URL(server.url).origin;
	const targets = ['//evil.org', '/\\evil.org', '\\\\evil.org', 'http://evil.org', 'https:evil.org', '///evil.org', '/%09/evil.org', '/%0a/evil.org', '%09//evil.org', '/%0d%0aSet-Cookie:%20a=b', 'javascript:alert(1)', 'data:text/html,x', '.evil.org',
		'@evil.org', ':80@evil.org', '/.//evil.org', '/..//evil.org', '/%2fevil.org', '/%5cevil.org', '%2f%2fevil.org', '%5c%5cevil.org', '', '?', '/x%00//evil.org', 'evil.org', '/%20/evil.org', '%20//evil.org'];

	for (const to of targets) {
		for (const [what, options] of [['next', form], ['fail', wrong]]) {
			const { headers } = await ask(server, 'POST', `/_session?${what}=${to}`, options);
			if (headers.location !== undefined) assert.equal(new URL(headers.location, server.url).origin, here, `${what}=${to}: ${headers.location}`);
			for (const set of headers['set-cookie'] ?? []) assert.match(set, /^AuthSession=/, `${what}=${to}`);
		}
		const { headers } = await ask(server, 'DELETE', `/_session?next=${to}`, { auth: null });
		if (headers.location !== undefined) assert.equal(new URL(headers.location, server.url).origin, here, `next=${to}: ${headers.location}`);
	}
	assert.equal((await ask(server, 'POST', '/_session?next=/_utils/', form)).headers.location, `${server.url.replace(/\/$/, '')}/_utils/`);
});

test('names with line ends make no headers', async () => {
	const evil = encodeURIComponent('a\r\nX-Evil: 1\r\n\r\n<x>');
	for (const [method, target, options] of [
		['PUT', `/common/${evil}`, { json: {} }], ['PUT', `/common/x/${evil}`, { body: 'x', type: 'text/plain' }], ['GET', `/common/_design%2F${evil}`, {}], ['PUT', `/${evil}`, {}], ['GET', `/${evil}`, {}],
		['POST', '/common', { json: { _id: 'b\r\nX-Evil: 1' } }], ['COPY', '/common/there', { headers: { destination: evil } }], ['PUT', '/common/_local/' + evil, { json: {} }], ['GET', `/_utils/${evil}`, {}],
		['GET', `/_utils?${evil}`, {}], ['GET', `/${HIDDEN}/doc?${evil}`, { auth: null, headers: { accept: 'text/html' } }], ['GET', `/${evil}`, { auth: null, headers: { accept: 'text/html' } }], ['GET', `/_session?${evil}`, {}],
	]) {
		const answer = await ask(server, method, target, options);
		assert.ok(answer.status < 500, `${method} ${target}: ${answer.status}`);
		assert.equal(answer.headers['x-evil'], undefined, `${method} ${target}`);
	}
});

// ---- Paths ----

const spellings = (name) => {
	const first = `%${name.charCodeAt(0).toString(16)}${name.slice(1)}`;
	return [name, `/${name}`, `${name}/`, `//${name}//`, first, `.//${name}`, `./${name}`, `../${name}`, `%2e/${name}`, `%2e%2e/${name}`, `_up/../${name}`, `_up/%2e%2e/${name}`, `_utils/../${name}`, `_utils/..%2f${name}`, `_utils/%2e%2e%2f${name}`,
		`_session/../${name}`, `favicon.ico/../${name}`, `favicon.ico/${name}`, `_utils/${name}`, `common/../${name}`, `common/_design/x/../../../${name}`, `_users/../${name}`, `%2f${name}`, `${name}%2f`, `${name}%00`, `${name}%20`,
		`${name};a`, `${name}?`, `${name}#`, `${name}%23`, `${name}%3f`, `${name}.json`, name.toUpperCase(), `%25${name.charCodeAt(0).toString(16)}${name.slice(1)}`, `\\${name}`, `..\\${name}`, `_up%2f..%2f${name}`, `${name}+`];
};

test('paths that go round: slashes, dots, codes', async () => {
	const methods = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'COPY', 'OPTIONS', 'PATCH', 'PROPFIND', 'TRACE', 'get', 'LOCK', 'SEARCH'];
	const raw = async (method, target) => {
		const c = connect(server.port);
		c.send(`${method} /${target} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nDestination: x\r\nConnection: close\r\n\r\n`);
		const text = await c.closed;
		return { status: Number(/^HTTP\/1.1 (\d+)/.exec(text)?.[1] ?? 400), text };
	};
	const places = ['_all_dbs', '_node/_local/_config', '_node/_local/_config/admins', '_db_updates', '_active_tasks', `${HIDDEN}/doc`, `${HIDDEN}/doc/a.txt`, `${HIDDEN}/_all_docs?include_docs=true`, `${HIDDEN}/_changes?include_docs=true`, `${HIDDEN}/_copy`,
		`${HIDDEN}/_security`, '_users/_all_docs?include_docs=true', '_users/_changes?include_docs=true', '_users/org.couchdb.user:bob', '_replicator/_all_docs'];

	for (const place of places) {
		const [name, query] = place.split('?');
		for (const target of spellings(name)) {
			const { text } = await raw('GET', query ? `${target}?${query}` : target);
			for (const word of [MARK, 'derived_key', '"key":', `"${HIDDEN}"`]) assert.ok(!text.includes(word), `GET /${target}: ${text}`);
		}
		for (const method of methods) {
			const { status, text } = await raw(method, place);
			// Of a user's own door only the documents are behind, so that they answer as if they were not there.
			assert.ok(status >= 400 && status < 500, `${method} /${place}: ${text.slice(0, 200)}`);
			assert.ok(!text.includes(MARK) && !text.includes('derived_key'), `${method} /${place}: ${text}`);
		}
	}
	assert.equal((await ask(server, 'GET', `/${HIDDEN}/doc`)).json.mark, MARK);
	assert.equal((await ask(server, 'GET', '/_users/org.couchdb.user:bob')).json.mark, `${MARK}-bob`);
});

test('names of databases do not lead out of the data folder', async () => {
	const list = () => fs.readdirSync(around).sort().join();
	const seen = list();
	for (const name of ['..%2foutside', '..%2foutside.divan', '%2e%2e%2foutside', '..%2f..%2fetc%2fpasswd', 'a%2f..%2f..%2foutside', '%2fetc%2fpasswd', 'outside%00', '..%00', '.', '..', '%2e', '%2e%2e', '...', 'a%2f..', 'a%2f.%2fb', 'a%2f%2fb', 'a%5c..%5cb',
		'..%5coutside', '%c0%ae%c0%ae%2foutside', '%252e%252e%252foutside', '_users%2f..%2fcommon', 'common%2f', '%2fcommon', 'CON', 'secret', '..%2fdata%2fcommon', `${'a'.repeat(300)}`, 'a%0a', '~', '$HOME', '-rf']) {
		for (const method of ['GET', 'PUT', 'DELETE', 'HEAD']) {
			const { text, status } = await ask(server, method, `/${name}`, { agent: undefined });
			assert.ok(!text.includes(MARK) && !text.includes('root:'), `${method} /${name}: ${text}`);
			assert.ok(status < 500, `${method} /${name}: ${status}`);
		}
		assert.equal(list(), seen, name);
	}
	for (const name of ['..%2f..%2foutside', '%2e%2e/%2e%2e/outside', 'outside%00']) {
		const put = await ask(server, 'PUT', `/common/attached-${encodeURIComponent(name)}/${name}`, { body: 'x', type: 'text/plain' });
		assert.ok(put.status < 500, put.text);
		assert.equal(list(), seen, name);
	}
	assert.equal(fs.readFileSync(path.join(around, 'outside.divan'), 'utf8'), MARK);
	assert.equal((await ask(server, 'GET', '/common')).status, 200);
});

// ---- _users and _replicator ----

const userDoc = (name, more = {}) => ({ _id: `org.couchdb.user:${name}`, name, type: 'user', roles: [], password: 'eve', ...more });

test('_users: nobody makes themselves more than they are', async () => {
	const { json: mine } = await ask(server, 'GET', '/_users/org.couchdb.user:ann', { auth: ANN });
	const { json: his } = await ask(server, 'GET', '/_users/org.couchdb.user:bob');
	const was = async () => JSON.stringify(await Promise.all(['ann', 'bob'].map(async (n) => (await ask(server, 'GET', `/_users/org.couchdb.user:${n}?conflicts=true`)).json)));
	const before = await was();
	const newer = `${Number(mine._rev.split('-')[0]) + 1}-${'f'.repeat(32)}`;
	const newerHis = `${Number(his._rev.split('-')[0]) + 1}-${'f'.repeat(32)}`;
	const attempts = [];
	const mean = (doc) => {
		const id = encodeURIComponent(doc._id);
		const forged = { ...doc, _rev: doc._id.endsWith('bob') ? newerHis : newer, _revisions: undefined };
		const [start, tip] = forged._rev.split('-');
		const grafted = { ...forged, _revisions: { start: Number(start), ids: [tip, (doc._id.endsWith('bob') ? his : mine)._rev.split('-')[1]] } };
		attempts.push(['PUT', `/_users/${id}?new_edits=false`, grafted], ['POST', '/_users/_bulk_docs', { docs: [grafted], new_edits: false }], ['PUT', `/_users/${id}`, doc], ['POST', '/_users', doc], ['POST', '/_users/_bulk_docs', { docs: [doc] }], ['PUT', `/_users/${id}?new_edits=false`, forged], ['POST', '/_users/_bulk_docs', { docs: [forged], new_edits: false }]);
	};

	mean({ ...mine, roles: [...mine.roles, '_admin'] });
	mean({ ...mine, roles: [...mine.roles, 'keepers'] });
	mean({ ...mine, roles: [] });
	mean({ ...mine, name: 'bob' });
	mean({ ...mine, name: 'admin' });
	mean({ ...mine, type: 'admin' });
	mean({ ...his, _rev: his._rev, roles: [], password: 'eve' });
	mean(userDoc('bob', { _rev: his._rev }));
	mean({ _id: his._id, _rev: his._rev, _deleted: true });
	mean({ ...his, _deleted: true, name: 'ann' });
	mean(userDoc('eve', { roles: ['staff'] }));
	mean(userDoc('eve', { roles: ['_admin'] }));
	mean(userDoc('eve', { name: 'bob' }));
	mean({ _id: '_design/eve', language: 'javascript', validate_doc_update: 'function() {}' });
	mean({ _id: 'eve', name: 'eve', type: 'user', roles: [], password: 'eve' });
	const taken = [];
	const attempt = async (auth, method, target, options) => {
		const answer = await ask(server, method, target, { ...options, auth });
		const items = Array.isArray(answer.json) ? answer.json : [];
		const refused = (answer.status >= 400 && answer.status < 500) || (answer.status === 201 && items.length > 0 && items.every((i) => i.error !== undefined));
		if (!refused) taken.push(`${auth ? 'ann' : 'nobody'}: ${method} ${target} ${JSON.stringify(options.json)}: ${answer.status} ${answer.text}`);
	};
	for (const auth of [ANN, null]) {
		for (const [method, target, json] of attempts) await attempt(auth, method, target, { json });
		for (const [method, target, options] of [
			['DELETE', `/_users/org.couchdb.user:bob?rev=${his._rev}`, {}],
			['PUT', `/_users/org.couchdb.user:bob/x.txt?rev=${his._rev}`, { body: 'x', type: 'text/plain' }],
			['COPY', '/_users/org.couchdb.user:bob', { headers: { destination: 'org.couchdb.user:eve' } }],
			['COPY', '/_users/org.couchdb.user:ann', { headers: { destination: `org.couchdb.user:bob?rev=${his._rev}` } }],
			['COPY', '/_users/org.couchdb.user:ann', { headers: { destination: '_design/eve' } }],
			['PUT', '/_users/_security', { json: EVERYBODY }], ['PUT', '/_users/_revs_limit', { body: '1', type: 'application/json' }], ['POST', '/_users/_purge', { json: { [his._id]: [his._rev] } }],
			['POST', '/_users/_compact', { json: {} }], ['DELETE', '/_users', {}], ['PUT', '/_users', {}],
		]) await attempt(auth, method, target, options);
	}
	assert.equal(taken.length, 0, taken.join('\n'));
	assert.equal(await was(), before);
	assert.deepEqual((await ask(server, 'GET', '/_session', { auth: ANN })).json.userCtx, { name: 'ann', roles: ['staff'] });
	assert.equal(await whoami({ authorization: BOB }), 'bob');
	for (const name of ['eve', 'admin', 'bob']) assert.equal(await whoami({ authorization: basic(`${name}:eve`) }), 401, name);
	assert.equal((await ask(server, 'GET', '/_users/_design/eve')).status, 404);
});

test('_users: documents of others are as if they were not there', async () => {
	const { json: his } = await ask(server, 'GET', '/_users/org.couchdb.user:bob?revs=true');
	assert.ok(his.derived_key && his.salt);
	const id = 'org.couchdb.user:bob';
	for (const auth of [ANN, null]) {
		for (const [method, target, options = {}] of [
			['GET', `/_users/${id}`], ['GET', `/_users/${id}?rev=${his._rev}`], ['GET', `/_users/${id}?open_revs=all`], ['GET', `/_users/${id}?open_revs=["${his._rev}"]`], ['GET', `/_users/${id}?revs_info=true&meta=true`],
			['GET', `/_users/${id}?attachments=true`, { headers: { accept: 'multipart/related' } }], ['GET', `/_users/${id}?open_revs=all`, { headers: { accept: 'multipart/mixed' } }],
			['POST', '/_users/_bulk_get', { json: { docs: [{ id }, { id, rev: his._rev }] } }], ['POST', '/_users/_bulk_get?attachments=true', { json: { docs: [{ id }] }, headers: { accept: 'multipart/mixed' } }],
			['POST', '/_users/_all_docs?include_docs=true', { json: { keys: [id] } }], ['GET', '/_users/_all_docs?include_docs=true'], ['POST', '/_users/_all_docs/queries', { json: { queries: [{ include_docs: true }] } }],
			['GET', '/_users/_changes?include_docs=true'], ['GET', '/_users/_changes?feed=longpoll&include_docs=true'], ['POST', '/_users/_changes?filter=_doc_ids&include_docs=true', { json: { doc_ids: [id] } }],
			['POST', '/_users/_changes?filter=_selector&include_docs=true', { json: { selector: {} } }], ['GET', '/_users/_design_docs?include_docs=true&startkey="a"&endkey="z"'], ['GET', '/_users/_local_docs?include_docs=true'],
			['POST', '/_users/_find', { json: { selector: { type: 'user' } } }], ['POST', '/_users/_explain', { json: { selector: { type: 'user' } } }], ['GET', '/_users/_copy'], ['GET', '/_users/_purged_infos'],
			['GET', `/_users/${encodeURIComponent(id)}`], ['GET', `/_users/${id}/x`], ['GET', `/_users//${id}`], ['GET', '/_users/_design/_auth'], ['GET', '/_users/_partition/org.couchdb.user/_all_docs?include_docs=true'],
		]) {
			const answer = await ask(server, method, target, { ...options, auth });
			for (const word of [his.derived_key, his.salt, his.mark, '"key":"org.']) assert.ok(!answer.text.includes(word), `${auth ? 'ann' : 'nobody'}: ${method} ${target}: ${answer.text}`);
		}
		const [there, missing] = [await ask(server, 'GET', `/_users/${id}`, { auth }), await ask(server, 'GET', '/_users/org.couchdb.user:not-there', { auth })];
		assert.deepEqual([there.status, there.text], [missing.status, missing.text]);
	}
});

test('_replicator: accounts without a part in it neither read nor write', async () => {
	const doc = { source: `${server.authUrl}/${HIDDEN}`, target: 'common', user_ctx: { name: 'admin', roles: ['_admin'] }, owner: 'admin' };
	for (const auth of [ANN, null]) {
		for (const [method, target, options = {}] of [
			['PUT', '/_replicator/eve', { json: doc }], ['POST', '/_replicator', { json: doc }], ['POST', '/_replicator/_bulk_docs', { json: { docs: [doc] } }],
			['POST', '/_replicator/_bulk_docs', { json: { docs: [{ ...doc, _id: 'eve', _rev: `1-${'a'.repeat(32)}` }], new_edits: false } }], ['PUT', '/_replicator/_local/eve', { json: {} }], ['PUT', '/_replicator/_design/eve', { json: {} }],
			['GET', '/_replicator/_all_docs'], ['GET', '/_replicator/_changes'], ['GET', '/_replicator'], ['POST', '/_replicator/_find', { json: { selector: {} } }],
		]) {
			const answer = await ask(server, method, target, { ...options, auth });
			assert.ok([401, 403].includes(answer.status), `${auth ? 'ann' : 'nobody'}: ${method} ${target}: ${answer.status} ${answer.text}`);
		}
	}
	const { json } = await ask(server, 'GET', '/_replicator/_all_docs');
	assert.ok(!json.rows.some((row) => row.id === 'eve'));
});

test('configuration: secrets are not shown, also to administrators', async () => {
	// What the server keeps of the administrator's password, without how it was made.
	const stored = /pbkdf2:[^,]*?-?([0-9a-f]{40,})/.exec(fs.readFileSync(path.join(server.dataDir, 'admins.yaml'), 'utf8'))[1];
	const whole = (await ask(server, 'GET', '/_node/_local/_config')).text;
	for (const target of ['', '/chttpd_auth', '/chttpd_auth/secret', '/admins', '/jwt_keys', '/jwt_keys/hmac:_default', '/couch_httpd_auth']) {
		const { text } = await ask(server, 'GET', `/_node/_local/_config${target}`);
		for (const word of [SECRET, hmacKey.toString('base64'), 'adm"', stored]) assert.ok(!text.includes(word), `${word} in ${target}: ${text}`);
	}
	assert.ok(whole.length > 2);
	assert.ok(!server.stderr().includes(SECRET) && !server.stderr().includes('pw-ann') && !server.stderr().includes(hmacKey.toString('base64')));
});

test('configuration: what is set cannot become another setting', async () => {
	const own = await startDivand({ config: { chttpd_auth: { iterations: '1000' } } });
	try {
		const text = 'x\nadmins:\n  eve: eve\n[admins]\neve = eve\n---\nadmins: {eve: eve}';
		for (const [section, key] of [['own', 'key'], ['own', encodeURIComponent(text)], [encodeURIComponent(text), 'key'], ['own', encodeURIComponent('a: {b: c}')], ['own', '%00'], ['own', encodeURIComponent('"\'#&*!|>%@`')]]) {
			const { status } = await ask(own, 'PUT', `/_node/_local/_config/${section}/${key}`, { json: text });
			assert.ok(status < 500, `${section}/${key}: ${status}`);
		}
		await own.restart();
		assert.equal((await ask(own, 'GET', '/_node/_local/_config/own/key')).json, text);
		assert.deepEqual(Object.keys((await ask(own, 'GET', '/_node/_local/_config/admins')).json), ['admin']);
		assertError(await ask(own, 'GET', '/_all_dbs', { auth: basic('eve:eve') }), 401, 'unauthorized');
		assert.equal((await ask(own, 'GET', '/_all_dbs')).status, 200);
	} finally {
		await own.stop();
	}
});

test('the log: what clients send stays within its line', async () => {
	const forged = 'FORGED 2026-01-01T00:00:00Z [notice] admin PUT /_node';
	await ask(server, 'GET', `/common/${encodeURIComponent(`x\r\n${forged}`)}`);
	await ask(server, 'GET', '/_session', { auth: basic(`x\n${forged}:y`) });
	await ask(server, 'POST', '/_session', { auth: null, json: { name: `x\n${forged}`, password: `\r${forged}` } });
	await ask(server, 'GET', '/_session', { auth: null, headers: bearer(token({ sub: `x\n${forged}`, exp: soon() })) });
	assert.doesNotMatch(server.stderr(), /^\s*FORGED/m);
	assert.doesNotMatch(server.stderr(), /\r/);
});

test('a page of another origin cannot write with somebody\'s cookie: what needs no preflight is not taken', async () => {
	const { headers } = await ask(server, 'POST', '/_session', { auth: null, json: { name: 'admin', password: 'adm' } });
	const cookie = headers['set-cookie'][0].split(';')[0];
	const state = async () => [(await ask(server, 'GET', '/common')).json.update_seq, (await ask(server, 'GET', '/common/_security')).text, (await ask(server, 'GET', '/_all_dbs')).text];
	const was = await state();
	const { json: { _rev } } = await ask(server, 'GET', `/${HIDDEN}/doc`);
	const form = `--b\r\ncontent-disposition: form-data; name="_rev"\r\n\r\n${_rev}\r\n--b\r\ncontent-disposition: form-data; name="_doc"\r\n\r\n{}\r\n--b--\r\n`;

	for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=b', undefined, 'text/plain; x=application/json', 'application/jsonx']) {
		for (const [path, body] of [['/common', '{"_id":"csrf"}'], ['/common/_bulk_docs', '{"docs":[{"_id":"csrf"}]}'], ['/common/_purge', '{"x":["1-a"]}'], ['/common/_compact', '{}'], ['/_users', JSON.stringify(userDoc('csrf'))],
			['/_users/_bulk_docs', JSON.stringify({ docs: [userDoc('csrf')] })], ['/_replicator', '{"source":"a","target":"b"}'], ['/_cluster_setup', '{"action":"finish_cluster"}'], ['/_dbs_info', '{"keys":["common"]}'], [`/${HIDDEN}/doc`, form]]) {
			const answer = await ask(server, 'POST', path, { auth: null, body, headers: { cookie, origin: 'https://evil.org', ...(type ? { 'content-type': type } : {}), ...(path.endsWith('/doc') ? { referer: 'https://evil.org/' } : {}) } });
			assert.ok(answer.status >= 400 && answer.status < 500, `POST ${path} as ${type}: ${answer.status} ${answer.text}`);
		}
	}
	assert.deepEqual(await state(), was);
	assert.equal((await ask(server, 'GET', '/_users/org.couchdb.user:csrf')).status, 404);
	assert.equal((await ask(server, 'GET', `/${HIDDEN}/doc`)).json._rev, _rev);
});
