// How people's clients log in, and what they may do then: nano with its cookie jar, PouchDB with Basic, with a cookie and with tokens, sign-up as
// pouchdb-authentication does it, tokens made by jose.
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import { after, before, test } from 'node:test';
import * as jose from 'jose';
import Nano from 'nano';
import PouchDB from 'pouchdb';
import { startDivand, tempDir } from '../lib/divand.mjs';

const LIMIT = { timeout: 60000 };
const pem = { publicKeyEncoding: { type: 'spki', format: 'pem' }, privateKeyEncoding: { type: 'pkcs8', format: 'pem' } };
const keys = {
	hs: crypto.randomBytes(64), rs: crypto.generateKeyPairSync('rsa', { modulusLength: 2048, ...pem }), es: crypto.generateKeyPairSync('ec', { namedCurve: 'P-256', ...pem }),
	ed: crypto.generateKeyPairSync('ed25519', pem),
};
const inConfig = (text) => text.replaceAll('\n', '\\n');
const folder = tempDir('divan-auth-clients');
let server;
let admin;

before(async () => {
	server = await startDivand({ config: {
		couchdb: { users_db_security_editable: 'true' },
		chttpd: { authentication_handlers: '{chttpd_auth, cookie_authentication_handler}, {chttpd_auth, jwt_authentication_handler}, {chttpd_auth, default_authentication_handler}' },
		chttpd_auth: { iterations: '10000' },
		jwt_keys: { 'hmac:hs': keys.hs.toString('base64'), 'rsa:rs': inConfig(keys.rs.publicKey), 'ec:es': inConfig(keys.es.publicKey), 'eddsa:ed': inConfig(keys.ed.publicKey) },
	} });
	admin = Nano(server.authUrl);
	for (const db of ['_users', 'shared', 'closed']) await admin.db.create(db).catch((e) => assert.equal(e.statusCode, 412));
	for (const [name, roles] of [['ann', []], ['keeper', ['keepers']]]) {
		await admin.use('_users').insert({ name, type: 'user', roles, password: `pw-${name}` }, `org.couchdb.user:${name}`);
	}
	await admin.request({ db: 'shared', path: '_security', method: 'PUT', body: { admins: { names: [], roles: ['keepers'] }, members: { names: ['ann'], roles: ['readers'] } } });
	await admin.use('shared').insert({ n: 1 }, 'first');
});
after(() => server?.stop());

/** The error of a call that must fail. */
async function failure(promise) {
	try {
		await promise;
	} catch (e) {
		return e;
	}
	return assert.fail('it did not fail');
}
const plainUrl = () => server.url.replace(/\/$/, '');
const remote = (db, options = {}) => new PouchDB(`${plainUrl()}/${db}`, { skip_setup: true, ...options });
const local = (name) => new PouchDB(`${folder}/${name}`);
const basic = { auth: { username: 'ann', password: 'pw-ann' } };
/** PouchDB's fetch with headers of one's own. */
const withHeaders = (headers) => ({ fetch: (url, options) => {
	for (const [name, value] of Object.entries(headers)) options.headers.set(name, value);
	return PouchDB.fetch(url, options);
} });

test('nano: an account logs in with a cookie, and stays within its rights', LIMIT, async () => {
	const ann = Nano(server.url);

	assert.equal((await failure(ann.auth('ann', 'wrong'))).statusCode, 401);
	assert.equal((await failure(ann.use('shared').get('first'))).statusCode, 401);
	assert.deepEqual(await ann.auth('ann', 'pw-ann'), { ok: true, name: 'ann', roles: [] });
	assert.equal((await ann.session()).userCtx.name, 'ann');
	const db = ann.use('shared');
	const { rev } = await db.insert({ n: 2 }, 'by-nano');
	assert.equal((await db.get('by-nano')).n, 2);
	await db.attachment.insert('by-nano', 'a.txt', 'text', 'text/plain', { rev });
	assert.ok((await db.list()).rows.some((row) => row.id === 'by-nano'));
	for (const [call, status, error] of [
		[() => db.insert({ language: 'javascript' }, '_design/x'), 403, 'forbidden'], [() => ann.use('closed').get('x'), 403, 'forbidden'], [() => ann.db.list(), 401, 'unauthorized'], [() => ann.db.create('new'), 401, 'unauthorized'],
		[() => ann.db.destroy('shared'), 401, 'unauthorized'], [() => ann.db.compact('shared'), 401, 'unauthorized'],
	]) {
		const e = await failure(call());
		assert.deepEqual([e.statusCode, e.error], [status, error], e.message);
	}
	const bulk = await db.bulk({ docs: [{ _id: 'bulk-1' }, { _id: '_design/bulk' }] });
	assert.equal(bulk[0].ok, true);
	assert.deepEqual([bulk[1].error, bulk[1].reason], ['forbidden', 'You are not a db or server admin.']);
});

test('PouchDB: a member with Basic reads, writes and replicates', LIMIT, async () => {
	const db = remote('shared', basic);
	const mine = local('basic');

	await db.put({ _id: 'by-pouch', n: 3 });
	assert.equal((await db.get('by-pouch')).n, 3);
	assert.deepEqual(Object.keys(await db.info()).includes('doc_count'), true);
	const e = await failure(db.put({ _id: '_design/x', views: {} }));
	assert.deepEqual([e.status, e.name], [403, 'forbidden']);
	await mine.put({ _id: 'from-here', n: 4 });
	const done = await mine.sync(db);
	assert.equal(done.push.ok && done.pull.ok, true);
	assert.equal((await mine.get('by-pouch')).n, 3);
	assert.equal((await admin.use('shared').get('from-here')).n, 4);
	await mine.destroy();
});

test('PouchDB: design documents that a member may not write are denied, the rest arrives', LIMIT, async () => {
	const mine = local('denied');
	const denied = [];

	await mine.put({ _id: '_design/theirs', views: {} });
	await mine.bulkDocs(['d1', 'd2', 'd3'].map((_id) => ({ _id })));
	const rep = mine.replicate.to(remote('shared', basic));
	rep.on('denied', (what) => denied.push(what));
	const result = await rep;
	assert.equal(result.ok, true);
	assert.deepEqual([result.docs_written, result.doc_write_failures], [3, 1]);
	assert.equal(denied.length, 1);
	assert.deepEqual([denied[0].id, denied[0].name, denied[0].reason], ['_design/theirs', 'forbidden', 'You are not a db or server admin.'], JSON.stringify(denied));
	for (const id of ['d1', 'd2', 'd3']) await admin.use('shared').get(id);
	assert.equal((await failure(admin.use('shared').get('_design/theirs'))).statusCode, 404);
	// An administrator of the database brings it, from the beginning: the checkpoint is behind it.
	const keeper = await mine.replicate.to(remote('shared', { auth: { username: 'keeper', password: 'pw-keeper' } }), { since: 0 });
	assert.deepEqual([keeper.ok, keeper.doc_write_failures], [true, 0]);
	await admin.use('shared').get('_design/theirs');
	await mine.destroy();
});

test('PouchDB: who may not in gets no further', LIMIT, async () => {
	for (const [options, db, status, name] of [[{}, 'shared', 401, 'unauthorized'], [basic, 'closed', 403, 'forbidden'], [{ auth: { username: 'ann', password: 'no' } }, 'shared', 401, 'unauthorized']]) {
		const mine = local(`out-${status}-${db}`);
		const e = await failure(mine.replicate.from(remote(db, options)));
		assert.equal(e.status, status, JSON.stringify(e));
		const one = await failure(remote(db, options).get('first'));
		assert.deepEqual([one.status, one.name], [status, name]);
		await mine.destroy();
	}
});

test('PouchDB: a session by cookie, as pages have it', LIMIT, async () => {
	const login = await fetch(`${plainUrl()}/_session`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ name: 'ann', password: 'pw-ann' }) });
	assert.equal(login.status, 200);
	const cookie = login.headers.getSetCookie()[0];
	assert.match(cookie, /^AuthSession=[^;]+; .*HttpOnly/i);
	const db = remote('shared', withHeaders({ cookie: cookie.split(';')[0] }));
	const mine = local('cookie');

	await db.put({ _id: 'by-cookie' });
	await mine.replicate.from(db);
	assert.equal((await mine.get('by-cookie'))._id, 'by-cookie');
	const live = mine.sync(db, { live: true, retry: false });
	const arrived = new Promise((resolve, reject) => {
		live.on('error', reject);
		live.on('change', ({ direction, change }) => direction === 'pull' && change.docs.some((d) => d._id === 'live') && resolve());
	});
	await admin.use('shared').insert({}, 'live');
	await arrived;
	live.cancel();
	await live;
	await mine.destroy();
});

/** What pouchdb-authentication sends, with fetch. */
function visitor() {
	let cookie;
	const ask = async (method, path, json) => {
		const res = await fetch(`${plainUrl()}/${path}`, { method, headers: { 'content-type': 'application/json', accept: 'application/json', ...(cookie ? { cookie } : {}) }, body: json && JSON.stringify(json) });
		for (const set of res.headers.getSetCookie()) [cookie] = set.split(';');
		return { status: res.status, ...(await res.json()) };
	};
	const doc = (name) => `_users/${encodeURIComponent(`org.couchdb.user:${name}`)}`;
	return {
		signUp: (name, password, metadata = {}) => ask('PUT', doc(name), { ...metadata, name, password, roles: [], type: 'user', _id: `org.couchdb.user:${name}` }),
		logIn: (name, password) => ask('POST', '_session', { name, password }),
		logOut: () => ask('DELETE', '_session'),
		session: () => ask('GET', '_session'),
		user: (name) => ask('GET', doc(name)),
		async change(name, what) {
			const { status, ...old } = await this.user(name);
			assert.equal(status, 200);
			return ask('PUT', doc(name), { ...old, ...what });
		},
		async remove(name) {
			const { _rev } = await this.user(name);
			return ask('DELETE', `${doc(name)}?rev=${_rev}`);
		},
	};
}

test('sign-up, log-in, a new password, log-out, as pouchdb-authentication does them', LIMIT, async () => {
	const v = visitor();
	// As it is made, _users takes nobody's sign-up.
	assert.equal((await v.signUp('early', 'secret')).status, 401);
	await admin.request({ db: '_users', path: '_security', method: 'PUT', body: { admins: { names: [], roles: ['_admin'] }, members: { names: [], roles: [] } } });
	assert.equal((await v.signUp('zoë', 'secret', { nickname: 'Z' })).status, 201);
	assert.equal((await v.signUp('zoë', 'other')).status, 409);
	assert.equal((await v.session()).userCtx.name, null);
	assert.deepEqual(await v.logIn('zoë', 'secret'), { status: 200, ok: true, name: 'zoë', roles: [] });
	assert.equal((await v.session()).userCtx.name, 'zoë');
	const me = await v.user('zoë');
	assert.deepEqual([me.nickname, me.password, me.roles], ['Z', undefined, []]);
	assert.equal((await v.user('ann')).status, 404);
	assert.equal((await v.change('zoë', { nickname: 'Zed' })).status, 201);
	assert.equal((await v.user('zoë')).nickname, 'Zed');
	assert.deepEqual(await v.change('zoë', { roles: ['keepers'] }).then(({ status, reason }) => [status, reason]), [403, 'Only _admin may edit roles']);
	assert.equal((await v.change('zoë', { password: 'fresh' })).status, 201);
	// The old session ended with the old password.
	assert.notEqual((await v.session()).userCtx?.name, 'zoë');
	const w = visitor();
	assert.equal((await w.logIn('zoë', 'secret')).status, 401);
	assert.equal((await w.logIn('zoë', 'fresh')).status, 200);
	assert.equal((await w.logOut()).ok, true);
	assert.equal((await w.session()).userCtx.name, null);
	await w.logIn('zoë', 'fresh');
	assert.equal((await w.remove('zoë')).status, 200);
	assert.equal((await w.logIn('zoë', 'fresh')).status, 401);
});

test('tokens made by jose: every kind of key, roles, and PouchDB with one', LIMIT, async () => {
	const sign = async (alg, kid, key, claims = {}, time = '2m') => new jose.SignJWT({ '_couchdb.roles': ['readers'], ...claims }).setProtectedHeader({ alg, kid, typ: 'JWT' }).setSubject('tess').setIssuedAt().setExpirationTime(time).sign(key);
	const session = async (token) => {
		const res = await fetch(`${plainUrl()}/_session`, { headers: { authorization: `Bearer ${token}` } });
		return { status: res.status, ...(await res.json()) };
	};
	const imported = { RS256: await jose.importPKCS8(keys.rs.privateKey, 'RS256'), ES256: await jose.importPKCS8(keys.es.privateKey, 'ES256'), EdDSA: await jose.importPKCS8(keys.ed.privateKey, 'EdDSA') };

	for (const [alg, kid, key] of [['HS256', 'hs', keys.hs], ['HS384', 'hs', keys.hs], ['HS512', 'hs', keys.hs], ['RS256', 'rs', imported.RS256], ['ES256', 'es', imported.ES256], ['EdDSA', 'ed', imported.EdDSA]]) {
		const { status, userCtx, info, reason } = await session(await sign(alg, kid, key));
		assert.deepEqual([status, userCtx, info?.authenticated], [200, { name: 'tess', roles: ['readers'] }, 'jwt'], `${alg}: ${reason}`);
	}
	for (const [what, token] of Object.entries({
		over: await sign('HS256', 'hs', keys.hs, {}, '-1m'), 'other key': await sign('HS256', 'hs', crypto.randomBytes(64)), 'key of another': await sign('ES256', 'es', (await jose.generateKeyPair('ES256')).privateKey),
		unsecured: new jose.UnsecuredJWT({ '_couchdb.roles': ['_admin'] }).setSubject('admin').encode(),
	})) {
		const { status, userCtx } = await session(token);
		assert.ok([400, 401].includes(status) && userCtx === undefined, `${what}: ${status}`);
	}
	const db = remote('shared', withHeaders({ authorization: `Bearer ${await sign('ES256', 'es', imported.ES256)}` }));
	const mine = local('jwt');
	await db.put({ _id: 'by-token' });
	await mine.replicate.from(db);
	assert.equal((await mine.get('by-token'))._id, 'by-token');
	assert.equal((await failure(db.put({ _id: '_design/token' }))).status, 403);
	const other = remote('shared', withHeaders({ authorization: `Bearer ${await sign('ES256', 'es', imported.ES256, { '_couchdb.roles': [] })}` }));
	assert.deepEqual(await failure(other.get('first')).then(({ status, name }) => [status, name]), [403, 'forbidden']);
	await mine.destroy();
});
