// Who asks: Basic, sessions, tokens, a proxy's headers, lock-out; the steps of CouchDB's own tests among them.
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import http from 'node:http';
import http2 from 'node:http2';
import { after, before, test } from 'node:test';
import { startDivand } from '../lib/divand.mjs';
import { ask, assertError } from './client.mjs';

const FORM = 'application/x-www-form-urlencoded';
const SECRET = 'a secret that another server has too';
let server;
before(async () => (server = await startDivand({ config: { chttpd_auth: { iterations: 1000, secret: SECRET } } })));
after(() => server.stop());

const basic = (plain) => 'Basic ' + Buffer.from(plain).toString('base64');
const session = (options = {}) => ask(server, 'GET', '/_session', { auth: null, ...options });
const login = (name, password, options = {}) =>
	ask(server, 'POST', '/_session', { auth: null, body: new URLSearchParams({ name, password }).toString(), type: FORM, ...options });
const cookieOf = (r) => r.headers['set-cookie'][0].split(';')[0];

async function setting(section, key, value) {
	const path = `/_node/_local/_config/${section}/${encodeURIComponent(key)}`;
	const r = value === null ? await ask(server, 'DELETE', path) : await ask(server, 'PUT', path, { json: value });
	assert.ok(r.status === 200 || (value === null && r.status === 404), r.text);
}

/** Settings for the time of ${fn}: {section: {key: value}}. */
async function withSettings(settings, fn) {
	const all = Object.entries(settings).flatMap(([section, keys]) => Object.entries(keys).map(([key, value]) => [section, key, value]));
	for (const one of all) await setting(...one);
	try {
		return await fn();
	} finally {
		for (const [section, key] of all.reverse()) await setting(section, key, null);
	}
}

let serial = 0;
const newName = (word) => `${word}-${process.pid}-${++serial}`;
async function putUser(name, members) {
	const path = `/_users/org.couchdb.user:${name}`;
	const old = await ask(server, 'GET', path);
	const doc = { ...(old.status === 200 ? old.json : {}), _id: `org.couchdb.user:${name}`, name, type: 'user', roles: [], ...members };
	const r = await ask(server, 'PUT', path, { json: doc });
	assert.equal(r.status, 201, r.text);
}
async function deleteUser(name) {
	const path = `/_users/org.couchdb.user:${name}`;
	const { json } = await ask(server, 'GET', path);
	assert.equal((await ask(server, 'DELETE', `${path}?rev=${json._rev}`)).status, 200);
}
async function newUser(password, roles = []) {
	const name = newName('user');
	await putUser(name, { password, roles });
	return name;
}
const assertWho = (r, name, roles, how) => {
	assert.equal(r.status, 200, r.text);
	assert.deepEqual(r.json.userCtx, { name, roles });
	assert.equal(r.json.info.authenticated, how);
};

test('a user, by Basic and by cookie', async () => {
	const name = await newUser('pw', ['r1', 'r2']);
	assertWho(await session({ auth: basic(`${name}:pw`) }), name, ['r1', 'r2'], 'default');
	assertError(await session({ auth: basic(`${name}:px`) }), 401, 'unauthorized', 'Name or password is incorrect.');
	assertError(await session({ auth: basic(`${newName('nobody')}:px`) }), 401, 'unauthorized', 'Name or password is incorrect.');
	const r = await login(name, 'pw');
	assert.deepEqual(r.json, { ok: true, name, roles: ['r1', 'r2'] });
	assertWho(await session({ headers: { Cookie: cookieOf(r) } }), name, ['r1', 'r2'], 'cookie');
	// What a session does not ask for is not there.
	const { json } = await session();
	assert.deepEqual(json, { ok: true, userCtx: { name: null, roles: [] }, info: { authentication_handlers: ['cookie', 'default'] } });
});

test('a password with a colon, and one that is not ASCII', async () => {
	const name = await newUser('a:b:ö');
	assertWho(await session({ auth: basic(`${name}:a:b:ö`) }), name, [], 'default');
	assert.equal((await login(name, 'a:b:ö')).status, 200);
	assert.equal((await session({ auth: basic(`${name}:a`) })).status, 401);
});

// Each connection is one thread's, so some of them are on other threads than the one that has seen the change.
test('a change of the account holds at once, on all threads', async () => {
	const name = await newUser('one', ['r']);
	const agents = Array.from({ length: 8 }, () => new http.Agent({ keepAlive: true, maxSockets: 1 }));
	const everywhere = (options) => Promise.all(agents.map((agent) => session({ agent, ...options })));
	try {
		const cookie = { Cookie: cookieOf(await login(name, 'one')) };
		for (const r of await everywhere({ auth: basic(`${name}:one`) })) assertWho(r, name, ['r'], 'default');
		for (const r of await everywhere({ headers: cookie })) assertWho(r, name, ['r'], 'cookie');
		await putUser(name, { roles: ['s', 't'] });
		for (const r of await everywhere({ auth: basic(`${name}:one`) })) assertWho(r, name, ['s', 't'], 'default');
		for (const r of await everywhere({ headers: cookie })) assertWho(r, name, ['s', 't'], 'cookie');
		await putUser(name, { password: 'two', roles: [] });
		for (const r of await everywhere({ headers: cookie })) assertWho(r, null, [], undefined);
		await withSettings({ chttpd_auth_lockout: { mode: 'off' } }, async () => {
			for (const r of await everywhere({ auth: basic(`${name}:one`) })) assert.equal(r.status, 401);
		});
		for (const r of await everywhere({ auth: basic(`${name}:two`) })) assertWho(r, name, [], 'default');
		const again = { Cookie: cookieOf(await login(name, 'two')) };
		await deleteUser(name);
		for (const r of await everywhere({ headers: again })) assertWho(r, null, [], undefined);
		await withSettings({ chttpd_auth_lockout: { mode: 'off' } }, async () => {
			for (const r of await everywhere({ auth: basic(`${name}:two`) })) assert.equal(r.status, 401);
		});
	} finally {
		for (const agent of agents) agent.destroy();
	}
});

/** A cookie as CouchDB makes it. */
function makeCookie(name, salt, { time = Math.floor(Date.now() / 1000), secret = SECRET, hash = 'sha256' } = {}) {
	const text = `${name}:${time.toString(16).toUpperCase()}`;
	const mac = crypto.createHmac(hash, secret + salt).update(text).digest();
	return { Cookie: 'AuthSession=' + Buffer.concat([Buffer.from(`${text}:`), mac]).toString('base64url') };
}

test('a session made by another server with the same secret and accounts', async () => {
	const name = await newUser('pw', ['r']);
	const { salt } = (await ask(server, 'GET', `/_users/org.couchdb.user:${name}`)).json;
	assert.ok(salt);
	for (const hash of ['sha256', 'sha1']) assertWho(await session({ headers: makeCookie(name, salt, { hash }) }), name, ['r'], 'cookie');
	const now = Math.floor(Date.now() / 1000);
	const forged = [{ hash: 'sha512' }, { secret: SECRET + 'x' }, { time: now - 601 }, { time: now + 3600 }, { secret: '' }];
	for (const how of forged) assertWho(await session({ headers: makeCookie(name, salt, how) }), null, [], undefined);
	assertWho(await session({ headers: makeCookie(name, '') }), null, [], undefined);
	assertWho(await session({ headers: makeCookie('admin', salt) }), null, [], undefined);
	// And the other way: ours is what CouchDB would make in that second.
	const r = await login(name, 'pw');
	const text = Buffer.from(cookieOf(r).split('=')[1], 'base64url').toString('latin1');
	const time = parseInt(text.split(':')[1], 16);
	assert.equal(cookieOf(r), makeCookie(name, salt, { time }).Cookie);
	// One whose time is nearly over is renewed.
	const old = await session({ headers: makeCookie(name, salt, { time: now - 300 }) });
	assertWho(old, name, ['r'], 'cookie');
	assertWho(await session({ headers: { Cookie: cookieOf(old) } }), name, ['r'], 'cookie');
	assert.equal((await session({ headers: makeCookie(name, salt, { time: now - 10 }) })).headers['set-cookie'], undefined);
});

test('a session behind a cookie of its own line in HTTP/2', async () => {
	const name = await newUser('pw');
	const cookie = cookieOf(await login(name, 'pw'));
	const client = http2.connect(server.url);
	try {
		const req = client.request({ ':path': '/_session', cookie: ['a=b', cookie, 'c=d'] });
		let text = '';
		req.setEncoding('utf8').on('data', (d) => (text += d));
		await new Promise((resolve, reject) => req.on('end', resolve).on('error', reject));
		assert.equal(JSON.parse(text).userCtx.name, name);
	} finally {
		client.destroy();
	}
});

test('a login leads nowhere else', async () => {
	const name = await newUser('pw');
	const post = (query) => ask(server, 'POST', `/_session?${query}`, { auth: null, body: `name=${name}&password=pw`, type: FORM });
	for (const next of ['//evil.example', '/\\evil.example', 'https://evil.example', 'evil', '/\t/evil.example', '\\\\evil', '/%00']) {
		const r = await post(`next=${encodeURIComponent(next)}`);
		assert.ok(r.headers.location === undefined || r.headers.location.startsWith(`${server.url}/`), r.headers.location);
	}
	assert.equal((await post('next=/_up')).headers.location, `${server.url}/_up`);
	const fail = await ask(server, 'POST', '/_session?fail=/x', { auth: null, body: `name=${name}&password=no`, type: FORM });
	assert.equal(fail.status, 302);
	assert.equal(fail.headers.location, `${server.url}/x`);
});

test('names in a login', async () => {
	const name = await newUser('pw');
	const post = (json) => ask(server, 'POST', '/_session', { auth: null, json });
	assert.equal((await post({ name, password: 'pw' })).status, 200);
	assert.equal((await post({ username: name, password: 'pw' })).status, 200);
	assert.equal((await post({ name, username: name, password: 'pw' })).status, 200);
	assert.equal((await ask(server, 'POST', '/_session', { auth: null, body: `name=${name};password=pw;`, type: FORM })).status, 200);
	assertError(await post({ password: 'pw' }), 400, 'bad_request', 'request body must contain a username');
	assertError(await post({ name, username: 'x', password: 'pw' }), 400, 'bad_request', 'request body contains different usernames');
	assertError(await post([]), 400, 'bad_request');
	assert.equal((await post({ name: `${name}\0x`, password: 'pw' })).status, 401);
});

test('credentials that are none', async () => {
	assertWho(await session({ auth: 'Basic: ' + Buffer.from('admin:adm').toString('base64') }), null, [], undefined);
	assertWho(await session({ auth: basic('_:_') }), null, [], undefined);
	assertWho(await session({ auth: 'Negotiate abc' }), null, [], undefined);
	assertWho(await session({ auth: 'Bearer abc' }), null, [], undefined);
	assertError(await session({ auth: 'Basic %%%' }), 400, 'bad_request', 'Authorization header has invalid base64 value');
	assertError(await session({ headers: { Cookie: 'AuthSession=garbage' } }), 400, 'bad_request', 'Malformed AuthSession cookie. Please clear your cookies.');
	assertWho(await session({ headers: { Cookie: 'AuthSession=' } }), null, [], undefined);
	assert.equal((await session({ auth: basic('x'.repeat(9000) + ':y') })).status, 400);
});

function oneTime(key, at) {
	const message = Buffer.alloc(8);
	message.writeBigUInt64BE(BigInt(Math.floor(at / 30)));
	const mac = crypto.createHmac('sha1', key).update(message).digest();
	return String((mac.readUInt32BE(mac.at(-1) & 15) & 0x7fffffff) % 1e6).padStart(6, '0');
}

test('an account that wants a one-time password', async () => {
	const name = newName('user');
	await putUser(name, { password: 'pw', totp: { key: 'GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ' } });
	const now = Math.floor(Date.now() / 1000);
	const token = oneTime('12345678901234567890', now);
	const post = (json) => ask(server, 'POST', '/_session', { auth: null, json: { name, ...json }, headers: { 'X-Forwarded-For': '192.0.2.50' } });
	assertError(await post({ password: 'pw' }), 401, 'unauthorized', 'Name or password is incorrect.');
	assertError(await post({ password: 'no', token }), 401, 'unauthorized', 'Name or password is incorrect.');
	assertError(await post({ password: 'pw', token: oneTime('12345678901234567890', now - 300) }), 401, 'unauthorized');
	const r = await post({ password: 'pw', token });
	assert.equal(r.status, 200, r.text);
	assertWho(await session({ headers: { Cookie: cookieOf(r) } }), name, [], 'cookie');
	// It is not remembered for those who have the password alone.
	assertError(await session({ auth: basic(`${name}:pw`) }), 401, 'unauthorized', 'Name or password is incorrect.');
	assertError(await post({ password: 'pw' }), 401, 'unauthorized');
});

// ---- Tokens ----

const b64 = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
const HS = (n, key) => (text) => crypto.createHmac(`sha${n}`, key).update(text).digest();
const PK = (n, key) => (text) => crypto.sign(n && `sha${n}`, Buffer.from(text), { key, dsaEncoding: 'ieee-p1363' });
function makeToken(header, claims, sign) {
	const text = `${b64(header)}.${b64(claims)}`;
	return `Bearer ${text}.${sign(text).toString('base64url')}`;
}
const soon = () => Math.floor(Date.now() / 1000) + 60;
const JWT = '{chttpd_auth, jwt_authentication_handler}, {chttpd_auth, cookie_authentication_handler}, {chttpd_auth, default_authentication_handler}';
const pem = (key) => key.export({ type: 'spki', format: 'pem' }).replaceAll('\n', '\\n');

test('tokens by each kind of key', async () => {
	const rsa = crypto.generateKeyPairSync('rsa', { modulusLength: 2048 });
	const curves = { 256: 'P-256', 384: 'P-384', 512: 'P-521' };
	const ec = Object.fromEntries(Object.entries(curves).map(([n, namedCurve]) => [n, crypto.generateKeyPairSync('ec', { namedCurve })]));
	const ed = crypto.generateKeyPairSync('ed25519');
	const keys = { 'hmac:h': Buffer.from('a key').toString('base64'), 'rsa:r': pem(rsa.publicKey), 'eddsa:e': pem(ed.publicKey) };
	for (const n in ec) keys[`ec:e${n}`] = pem(ec[n].publicKey);
	await withSettings({ chttpd: { authentication_handlers: JWT }, jwt_keys: keys }, async () => {
		const claims = { sub: 'jwt-user', exp: soon(), '_couchdb.roles': ['r1', 'r2'] };
		const tokens = [makeToken({ alg: 'EdDSA', kid: 'e' }, claims, PK(null, ed.privateKey))];
		for (const n of [256, 384, 512])
			tokens.push(
				makeToken({ alg: `HS${n}`, kid: 'h', typ: 'JWT' }, claims, HS(n, 'a key')),
				makeToken({ alg: `RS${n}`, kid: 'r', typ: 'JWT' }, claims, PK(n, rsa.privateKey)),
				makeToken({ alg: `ES${n}`, kid: `e${n}` }, claims, PK(n, ec[n].privateKey)));
		for (const auth of tokens) {
			// The second time it is remembered.
			for (let i = 0; i < 2; i++) assertWho(await session({ auth }), 'jwt-user', ['r1', 'r2'], 'jwt');
			const [head, body, signature] = auth.split('.');
			assertError(await session({ auth: `${head}.${b64({ ...claims, sub: 'admin' })}.${signature}` }), 400, 'bad_request');
			assertError(await session({ auth: `${head}.${body}.` }), 400, 'bad_request');
		}
		assert.deepEqual((await session({ auth: tokens[0] })).json.info.authentication_handlers, ['jwt', 'cookie', 'default']);
		// A public key is no secret, and no algorithm is none.
		for (const text of [pem(rsa.publicKey), rsa.publicKey.export({ type: 'spki', format: 'pem' })])
			assertError(await session({ auth: makeToken({ alg: 'HS256', kid: 'r' }, claims, HS(256, text)) }), 400, 'bad_request', 'Unknown kid');
		for (const alg of ['none', 'None', 'NONE', '', 'PS256'])
			assertError(await session({ auth: makeToken({ alg, kid: 'h' }, claims, () => Buffer.alloc(0)) }), 400, 'bad_request', 'Invalid alg header parameter');
		// The other handlers go on.
		assertWho(await session({ auth: server.auth }), 'admin', ['_admin'], 'default');
		// A key that is gone verifies nothing, remembered or not.
		await setting('jwt_keys', 'eddsa:e', null);
		assertError(await session({ auth: tokens[0] }), 400, 'bad_request', 'Unknown kid');
	});
});

test('claims of tokens', async () => {
	const token = (claims, header = {}) => session({ auth: makeToken({ alg: 'HS256', ...header }, { sub: 'u', exp: soon(), ...claims }, HS(256, 'key')) });
	const settings = { chttpd: { authentication_handlers: JWT }, jwt_keys: { 'hmac:_default': 'a2V5' } };
	await withSettings(settings, async () => {
		assertWho(await token({}), 'u', [], 'jwt');
		assertWho(await token({}, { kid: '_default' }), 'u', [], 'jwt');
		assertError(await token({}, { kid: 'x' }), 400, 'bad_request', 'Unknown kid');
		assertError(await token({ exp: undefined }), 400, 'bad_request', 'Missing exp claim');
		assertError(await token({ exp: 1 }), 401, 'unauthorized', 'exp not in future');
		assertError(await token({ nbf: soon() }), 401, 'unauthorized', 'nbf not in past');
		assertError(await token({ sub: undefined }), 401, 'unauthorized', 'Token missing sub claim.');
		assertError(await token({ sub: 'admin\0' }), 400, 'bad_request', 'Malformed token');
		assertError(await token({ '_couchdb.roles': [1] }), 400, 'bad_request', 'Malformed token');
		assertWho(await token({ '_couchdb.roles': 'a, b' }), 'u', ['a', 'b'], 'jwt');
		// An administrator by role, and by role alone.
		const admin = makeToken({ alg: 'HS256' }, { sub: 'u', exp: soon(), '_couchdb.roles': ['_admin'] }, HS(256, 'key'));
		assert.equal((await ask(server, 'GET', '/_node/_local/_config/jwt_auth', { auth: admin })).status, 200);
		const named = makeToken({ alg: 'HS256' }, { sub: 'admin', exp: soon() }, HS(256, 'key'));
		assertError(await ask(server, 'GET', '/_node/_local/_config/jwt_auth', { auth: named }), 401, 'unauthorized', 'You are not a server admin.');
		assertError(await session({ auth: `Bearer ${'x'.repeat(20000)}` }), 400, 'bad_request', 'Malformed token');
		await withSettings({ jwt_auth: { required_claims: '{iss, "me"}, exp' } }, async () => {
			assertError(await token({}), 400, 'bad_request', 'Missing iss claim');
			assertError(await token({ iss: 'you' }), 400, 'bad_request', 'Invalid iss claim');
			assertWho(await token({ iss: 'me' }), 'u', [], 'jwt');
		});
		await withSettings({ jwt_auth: { required_claims: '??' } }, async () => {
			assertError(await token({}), 500, 'misconfigured_server', 'JWT is not configured correctly');
			assert.equal((await session({ auth: server.auth })).status, 200);
		});
		await withSettings({ jwt_auth: { roles_claim_name: 'my.roles' } }, async () => {
			assertWho(await token({ 'my.roles': ['x'], '_couchdb.roles': ['_admin'] }), 'u', ['x'], 'jwt');
		});
		await withSettings({ jwt_auth: { roles_claim_path: 'a.b\\.c.roles' } }, async () => {
			assertWho(await token({ a: { 'b.c': { roles: ['x'] } } }), 'u', ['x'], 'jwt');
			assertError(await token({ a: {} }), 404, 'not_found', 'missing json key: b.c');
		});
	});
});

// ---- A proxy in front ----

test('the headers of a proxy', async () => {
	const as = (name, roles, token) =>
		session({ headers: { 'X-Auth-CouchDB-UserName': name, ...(roles !== undefined && { 'X-Auth-CouchDB-Roles': roles }), ...(token && { 'X-Auth-CouchDB-Token': token }) } });
	const proxy = '{chttpd_auth, proxy_authentication_handler}, {chttpd_auth, default_authentication_handler}';
	assertWho(await as('joe', 'r'), null, [], undefined);
	await withSettings({ chttpd: { authentication_handlers: proxy } }, async () => {
		assertWho(await as('joe'), 'joe', [], 'proxy');
		assertWho(await as('joe', 'r1, r2 ,r3,'), 'joe', ['r1', 'r2', 'r3'], 'proxy');
		await withSettings({ chttpd_auth: { proxy_use_secret: 'true' } }, async () => {
			assertWho(await as('joe', '_admin'), null, [], undefined);
			for (const hash of ['sha1', 'sha256']) {
				const token = crypto.createHmac(hash, SECRET).update('joe').digest('hex');
				assertWho(await as('joe', '_admin', token), 'joe', ['_admin'], 'proxy');
				assertWho(await as('eve', '_admin', token), null, [], undefined);
				assertWho(await as('joe', '_admin', token.slice(0, -1)), null, [], undefined);
				assertWho(await as('joe', '_admin', `0${token.slice(1)}` === token ? `1${token.slice(1)}` : `0${token.slice(1)}`), null, [], undefined);
			}
		});
		await withSettings({ chttpd_auth: { x_auth_username: 'X-Me', x_auth_roles: 'X-My-Roles' } }, async () => {
			assertWho(await as('joe', 'r'), null, [], undefined);
			assertWho(await session({ headers: { 'X-Me': 'joe', 'X-My-Roles': 'r' } }), 'joe', ['r'], 'proxy');
		});
	});
});

// ---- Lock-out ----

const LOCKED = 'Account is temporarily locked due to multiple authentication failures';

test('too many wrong passwords', async () => {
	const name = await newUser('pw');
	const from = (address, plain) => session({ auth: basic(plain), headers: { 'X-Forwarded-For': address } });
	const cookie = { Cookie: cookieOf(await login(name, 'pw')) };
	for (let i = 0; i < 5; i++) assertError(await from('192.0.2.1', `${name}:bad`), 401, 'unauthorized');
	// A stranger's tries are over, also the right one, but nobody else's.
	assertError(await from('192.0.2.1', `${name}:bad`), 403, 'forbidden', LOCKED);
	assertError(await from('192.0.2.1', `${name}:pw`), 403, 'forbidden', LOCKED);
	assertError(await login(name, 'pw', { headers: { 'X-Forwarded-For': '192.0.2.1' } }), 403, 'forbidden', LOCKED);
	// What a client writes into the header itself stands before what its proxy adds.
	assertError(await from('203.0.113.9, 192.0.2.1', `${name}:pw`), 403, 'forbidden', LOCKED);
	assertWho(await from('192.0.2.2', `${name}:pw`), name, [], 'default');
	assertWho(await session({ headers: { ...cookie, 'X-Forwarded-For': '192.0.2.1' } }), name, [], 'cookie');
	const other = await newUser('pw');
	assertWho(await from('192.0.2.1', `${other}:pw`), other, [], 'default');
	// There may be no such account.
	const nobody = newName('nobody');
	for (let i = 0; i < 5; i++) assertError(await from('192.0.2.1', `${nobody}:bad`), 401, 'unauthorized');
	assertError(await from('192.0.2.1', `${nobody}:bad`), 403, 'forbidden', LOCKED);
	// A new password is a new beginning.
	await putUser(name, { password: 'new' });
	assertWho(await from('192.0.2.1', `${name}:new`), name, [], 'default');
	// An administrator's account is no other.
	for (let i = 0; i < 5; i++) assertError(await from('192.0.2.7', 'admin:bad'), 401, 'unauthorized');
	assertError(await from('192.0.2.7', 'admin:bad'), 403, 'forbidden', LOCKED);
	assert.equal((await session({ auth: server.auth })).status, 200);
	assert.match(server.stderr(), new RegExp(`too many wrong passwords for account "${name}"`));
});

test('a device with an old password does not lock out its neighbours', async () => {
	const name = await newUser('pw');
	assertWho(await session({ auth: basic(`${name}:pw`) }), name, [], 'default');
	for (let i = 0; i < 40; i++) assert.equal((await session({ auth: basic(`${name}:old`) })).status, i < 5 ? 401 : 403);
	assertWho(await session({ auth: basic(`${name}:pw`) }), name, [], 'default');
	// But guesses that go on do.
	for (let i = 0; i < 25; i++) assert.equal((await session({ auth: basic(`${name}:guess${i}`) })).status, 403);
	assertError(await session({ auth: basic(`${name}:pw`) }), 403, 'forbidden', LOCKED);
});

test('lock-out by settings', async () => {
	const tries = async (n, status) => {
		const name = await newUser('pw');
		let r;
		for (let i = 0; i < n; i++) r = await session({ auth: basic(`${name}:bad`) });
		assert.equal(r.status, status);
		return name;
	};
	await withSettings({ chttpd_auth_lockout: { mode: 'warn' } }, async () => {
		const name = await tries(7, 401);
		assert.match(server.stderr(), new RegExp(`too many wrong passwords for account "${name}"`));
	});
	await withSettings({ chttpd_auth_lockout: { mode: 'off' } }, () => tries(7, 401));
	await withSettings({ chttpd_auth_lockout: { threshold: '2' } }, () => tries(3, 403));
});

// ---- Nobody ----

test('somebody is wanted', async () => {
	const anonymous = (method, path, options = {}) => ask(server, method, path, { auth: null, ...options });
	await withSettings({ chttpd: { require_valid_user: 'true' } }, async () => {
		for (const path of ['/', '/_up', '/_session', '/_utils/', '/x', '/_all_dbs']) {
			const r = await anonymous('GET', path);
			assertError(r, 401, 'unauthorized', 'Authentication required.');
			assert.equal(r.headers['www-authenticate'], 'Basic realm="server"');
		}
		assert.equal((await anonymous('POST', '/_session', { json: { name: 'admin', password: 'adm' } })).status, 200);
		assert.equal((await anonymous('GET', '/', { headers: { 'X-CouchDB-WWW-Authenticate': 'Cookie' } })).headers['www-authenticate'], 'Cookie');
	});
	await withSettings({ chttpd: { require_valid_user_except_for_up: 'true' } }, async () => {
		assert.equal((await anonymous('GET', '/_up')).status, 200);
		assertError(await anonymous('GET', '/'), 401, 'unauthorized', 'Authentication required.');
	});
	assert.equal((await anonymous('GET', '/')).status, 200);
	assert.equal((await anonymous('GET', '/_all_dbs')).headers['www-authenticate'], undefined);
	await withSettings({ chttpd: { 'WWW-Authenticate': 'Basic realm="here"' } }, async () => {
		assert.equal((await anonymous('GET', '/_all_dbs')).headers['www-authenticate'], 'Basic realm="here"');
	});
});

test('no secret is logged', async () => {
	for (const secret of [SECRET, 'a2V5', 'YSBrZXk=', ':pw']) assert.ok(!server.stderr().includes(secret), secret);
});
