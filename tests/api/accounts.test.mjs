// Accounts in _users: what may be written and read by whom, what becomes of passwords, and a database for each user.
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import { after, before, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { startDivand } from '../lib/divand.mjs';
import { until } from '../lib/until.mjs';
import { ask, assertError } from './client.mjs';

const ITERATIONS = 20;
const OPEN = { admins: { names: [], roles: ['_admin'] }, members: { names: [], roles: [] } };
let server;
before(async () => {
	server = await startDivand({ config: { couchdb: { users_db_security_editable: 'true' }, chttpd_auth: { iterations: ITERATIONS } } });
	assert.equal((await ask(server, 'PUT', '/_users/_security', { json: OPEN })).status, 200);
});
after(() => server.stop());

const basic = (name, password) => 'Basic ' + Buffer.from(`${name}:${password}`).toString('base64');
const idOf = (name) => `org.couchdb.user:${name}`;
const pathOf = (name, db = '_users') => `/${db}/${encodeURIComponent(idOf(name))}`;
const as = (name, password = `pw-${name}`) => ({ auth: basic(name, password) });
const nobody = { auth: null };
let serial = 0;
const newName = (word = 'user') => `${word}${process.pid}x${++serial}`;

async function setting(section, key, value) {
	const path = `/_node/_local/_config/${section}/${key}`;
	const r = value === null ? await ask(server, 'DELETE', path) : await ask(server, 'PUT', path, { json: value });
	assert.equal(r.status, 200, r.text);
}
async function withSetting(section, key, value, fn) {
	await setting(section, key, value);
	try {
		await fn();
	} finally {
		await setting(section, key, null);
	}
}

const user = (name, more = {}) => ({ name, type: 'user', roles: [], ...more });
async function newUser(more = {}, db = '_users') {
	const name = newName();
	const r = await ask(server, 'PUT', pathOf(name, db), { json: user(name, { password: `pw-${name}`, ...more }) });
	assert.equal(r.status, 201, r.text);
	return name;
}
const docOf = async (name, db) => (await ask(server, 'GET', pathOf(name, db))).json;
const whoAmI = (name, password) => ask(server, 'GET', '/_session', as(name, password));
async function assertLogin(name, password, roles = []) {
	const r = await whoAmI(name, password);
	assert.equal(r.status, 200, r.text);
	assert.deepEqual(r.json.userCtx, { name, roles });
}
const assertNoLogin = async (name, password) => assertError(await whoAmI(name, password), 401, 'unauthorized', 'Name or password is incorrect.');

test('a password is hashed as it is written', async () => {
	const name = newName();
	const sent = { _id: idOf(name), salt: 'old', more: 1, name, password: 'ä:"\\', type: 'user', roles: ['r'], iterations: 3, password_sha: 'x' };
	assert.equal((await ask(server, 'POST', '/_users', { json: sent })).status, 201);
	const raw = (await ask(server, 'GET', pathOf(name))).text;
	const doc = JSON.parse(raw);
	assert.deepEqual(Object.keys(doc), ['_id', '_rev', 'password_scheme', 'pbkdf2_prf', 'salt', 'iterations', 'derived_key', 'more', 'name', 'type', 'roles']);
	assert.match(doc.salt, /^[0-9a-f]{32}$/);
	assert.equal(doc.iterations, ITERATIONS);
	assert.equal(doc.derived_key, crypto.pbkdf2Sync('ä:"\\', doc.salt, ITERATIONS, 32, 'sha256').toString('hex'));
	await assertLogin(name, 'ä:"\\', ['r']);
	await assertNoLogin(name, 'ä:"');
	// Without a password the hash stays; null is CouchDB's word for none.
	const { _rev } = doc;
	assert.equal((await ask(server, 'PUT', pathOf(name), { json: { ...doc, password: null, more: 2 } })).status, 201);
	await assertLogin(name, 'ä:"\\', ['r']);
	assert.equal((await docOf(name)).derived_key, doc.derived_key);
	assert.equal((await ask(server, 'GET', `${pathOf(name)}?rev=${_rev}`)).json.more, 1);
	// A new one has a new salt.
	assert.equal((await ask(server, 'PUT', pathOf(name), { json: { ...(await docOf(name)), password: 'two' } })).status, 201);
	assert.notEqual((await docOf(name)).salt, doc.salt);
	await assertNoLogin(name, 'ä:"\\');
	await assertLogin(name, 'two', ['r']);
});

test('many at once, and other kinds of hashes by the settings', async () => {
	const names = [newName(), newName()];
	const docs = names.map((name) => ({ _id: idOf(name), ...user(name, { password: name }) }));
	const r = await ask(server, 'POST', '/_users/_bulk_docs', { json: { docs: [...docs, { _id: idOf(newName()), name: 'x', password: 'x' }] } });
	assert.deepEqual(r.json.map((row) => row.ok ?? row.reason), [true, true, 'doc.type must be user']);
	for (const name of names) await assertLogin(name, name);
	await withSetting('chttpd_auth', 'pbkdf2_prf', 'sha512', async () => {
		const name = await newUser();
		assert.equal((await docOf(name)).derived_key.length, 128);
		await assertLogin(name);
	});
	await withSetting('chttpd_auth', 'password_scheme', 'simple', async () => {
		const name = await newUser();
		const doc = await docOf(name);
		assert.equal(doc.password_sha, crypto.createHash('sha1').update(`pw-${name}${doc.salt}`).digest('hex'));
		assert.equal(doc.derived_key, undefined);
		await assertLogin(name);
	});
});

test('what a document must have', async () => {
	const name = newName();
	const cases = [
		[{ type: 'member' }, 'doc.type must be user'],
		[{ type: undefined }, 'doc.type must be user'],
		[{ name: undefined }, 'doc.name is required'],
		[{ name: '' }, 'doc.name is required'],
		[{ name: 5 }, 'Doc ID must be of the form org.couchdb.user:name'],
		[{ name: `${name}x` }, 'Doc ID must be of the form org.couchdb.user:name'],
		[{ roles: undefined }, 'doc.roles must exist'],
		[{ roles: null }, 'doc.roles must exist'],
		[{ roles: {} }, 'doc.roles must be an array'],
		[{ roles: 'r' }, 'doc.roles must be an array'],
		[{ roles: ['r', 5] }, 'doc.roles can only contain strings'],
		[{ roles: ['_admin'] }, 'No system roles (starting with underscore) in users db.'],
		[{ password_sha: 'abc' }, 'Users with password_sha must have a salt.See /_utils/script/couch.js for example code.'],
		[{ password_scheme: 'rot13' }, 'Password scheme `rot13` not supported.'],
		[{ password_scheme: 'pbkdf2', derived_key: 'a' }, 'iterations must be a number.'],
		[{ password_scheme: 'pbkdf2', iterations: 10 }, 'derived_key must be a string.'],
		[{ password: 5 }, "Password value of '5' is invalid."],
		[{ password: [1, true] }, "Password value of '[1,true]' is invalid."],
		[{ password: 'x', salt: 5, preserve_salt: true }, "Salt value of '5' is invalid."],
	];
	for (const [members, reason] of cases) {
		assertError(await ask(server, 'PUT', pathOf(name), { json: user(name, members) }), 403, 'forbidden', reason);
	}
	for (const [id, bad, reason] of [
		['org.couchdb.user:_x', '_x', 'Username may not start with underscore.'],
		['org.couchdb.user:a:b', 'a:b', 'Character `:` is not allowed in usernames.'],
		['someone', 'someone', 'Doc ID must be of the form org.couchdb.user:name'],
	]) {
		assertError(await ask(server, 'PUT', `/_users/${encodeURIComponent(id)}`, { json: user(bad) }), 403, 'forbidden', reason);
	}
	assert.equal((await ask(server, 'PUT', pathOf(name), { json: user(name, { roles: ['_metrics'] }) })).status, 201);
	await assertNoLogin(name, '');
});

test('everybody reads and writes one document', async () => {
	const [ann, bob] = [await newUser({ roles: ['x'] }), await newUser()];
	const doc = await docOf(ann);
	const missing = (r) => assertError(r, 404, 'not_found', 'missing');
	assert.deepEqual((await ask(server, 'GET', pathOf(ann), as(ann))).json, doc);
	for (const who of [as(bob), nobody]) {
		missing(await ask(server, 'GET', pathOf(ann), who));
		missing(await ask(server, 'GET', `${pathOf(ann)}?rev=${doc._rev}`, who));
		missing(await ask(server, 'GET', `${pathOf(ann)}?revs=true&conflicts=true`, who));
		missing(await ask(server, 'GET', pathOf(newName()), who));
		assert.equal((await ask(server, 'HEAD', pathOf(ann), who)).status, 404);
		const bulk = await ask(server, 'POST', '/_users/_bulk_get', { json: { docs: [{ id: idOf(ann) }, { id: idOf(ann), rev: doc._rev }] }, ...who });
		assert.ok(!bulk.text.includes(doc.salt), bulk.text);
		const open = await ask(server, 'GET', `${pathOf(ann)}?open_revs=all`, { headers: { Accept: 'application/json' }, ...who });
		assert.ok(!open.text.includes(doc.salt), open.text);
		for (const path of ['/_users/_all_docs', '/_users/_all_docs?include_docs=true', '/_users/_changes']) {
			assertError(await ask(server, 'GET', path, who), 401, 'unauthorized', 'You are not a server admin.');
		}
		assertError(await ask(server, 'GET', '/_users/_design/_auth', who), 403, 'forbidden', 'Only administrators can view design docs in the users database.');
	}
	missing(await ask(server, 'PUT', pathOf(ann), { json: { ...doc, password: 'mine' }, ...as(bob) }));
	missing(await ask(server, 'DELETE', `${pathOf(ann)}?rev=${doc._rev}`, as(bob)));
	missing(await ask(server, 'PUT', pathOf(newName()), { json: user('x'), ...as(bob) }));
	const many = await ask(server, 'POST', '/_users/_bulk_docs', { json: { docs: [{ ...doc, password: 'mine' }] }, ...as(bob) });
	assert.ok(!many.text.includes('"ok"'), many.text);
	assertError(await ask(server, 'PUT', pathOf(ann), { json: { ...doc, roles: ['x', 'y'] }, ...as(ann) }), 403, 'forbidden', 'Only _admin may edit roles');
	assertError(await ask(server, 'PUT', pathOf(ann), { json: { ...doc, name: bob }, ...as(ann) }), 403, 'forbidden');
	assert.equal((await ask(server, 'PUT', pathOf(ann), { json: { ...doc, password: 'new', note: 1 }, ...as(ann) })).status, 201);
	await assertNoLogin(ann, `pw-${ann}`);
	await assertLogin(ann, 'new', ['x']);
	const { _rev } = await docOf(ann);
	assert.equal((await ask(server, 'DELETE', `${pathOf(ann)}?rev=${_rev}`, as(ann, 'new'))).status, 200);
	await assertNoLogin(ann, 'new');
});

test('functions of _users may be called by anybody, and see what he may see; who wrote them alone reads them', async () => {
	const [ann, bob] = [newName('ann'), newName('bob')];
	for (const name of [ann, bob]) assert.equal((await ask(server, 'PUT', pathOf(name), { json: user(name, { password: `pw-${name}` }) })).status, 201);
	const ddoc = { shows: { name: 'function (doc, req) { return doc.name }' }, updates: { note: 'function (doc, req) { doc.note = 1; return [doc, doc.name] }' }, lists: { l: 'function () { return "x" }' }, views: { v: { map: 'function (doc) {}' } } };
	const { json: made } = await ask(server, 'PUT', '/_users/_design/funs', { json: ddoc });
	const call = (path, who, method = 'GET') => ask(server, method, `/_users/_design/funs/${path}`, who);
	const own = await call(`_show/name/${idOf(ann)}`, as(ann));
	assert.deepEqual([own.status, own.text], [200, ann]);
	for (const who of [as(bob), nobody]) {
		for (const id of [idOf(ann), idOf('none')]) assertError(await call(`_show/name/${id}`, who), 404, 'not_found');
		assert.ok((await call(`_update/note/${idOf(ann)}`, who, 'PUT')).status >= 400);
		for (const path of ['', '_view/v', '_list/l/v', '_show/name/_design/funs']) assert.equal((await call(path, who)).status, 403, path);
	}
	assert.equal((await docOf(ann)).note, undefined);
	const noted = await call(`_update/note/${idOf(ann)}`, as(ann), 'PUT');
	assert.deepEqual([noted.status, noted.text, (await docOf(ann)).note], [201, ann, 1]);
	assert.equal((await ask(server, 'DELETE', `/_users/_design/funs?rev=${made.rev}`)).status, 200);
});

test('signing up', async () => {
	const name = newName();
	assertError(await ask(server, 'PUT', pathOf(name), { json: user(name, { roles: ['boss'], password: 'x' }), ...nobody }), 403, 'forbidden', 'Only _admin may set roles');
	assert.equal((await ask(server, 'PUT', pathOf(name), { json: user(name, { password: 'x' }), ...nobody })).status, 201);
	await assertLogin(name, 'x');
	const doc = await docOf(name);
	assertError(await ask(server, 'PUT', pathOf(name), { json: user(name, { password: 'y' }), ...nobody }), 409, 'conflict');
	assertError(await ask(server, 'PUT', pathOf(name), { json: { ...doc, password: 'y' }, ...nobody }), 403, 'forbidden', 'You may only update your own user document.');
	assertError(await ask(server, 'DELETE', `${pathOf(name)}?rev=${doc._rev}`, nobody), 404, 'not_found', 'missing');
	assertError(await ask(server, 'PUT', pathOf(name), { json: { _rev: doc._rev, _deleted: true }, ...nobody }), 403, 'forbidden', 'Only admins may delete other user docs.');
	// Nor by a revision that stands beside the one that is there.
	const graft = { ...user(name, { password: 'y' }), _id: idOf(name), _rev: '9-ffffffffffffffffffffffffffffffff' };
	assertError(await ask(server, 'PUT', `${pathOf(name)}?new_edits=false`, { json: graft, ...nobody }), 403, 'forbidden');
	await assertLogin(name, 'x');
	assert.equal((await docOf(name))._rev, doc._rev);
});

test('fields that all may read', async () => {
	const [ann, bob] = [await newUser({ city: 'Ulm', phone: { home: 1 }, 'a b': 1 }), await newUser()];
	await withSetting('chttpd_auth', 'public_fields', 'name, city ,phone', async () => {
		for (const who of [as(bob), nobody]) {
			const { json } = await ask(server, 'GET', pathOf(ann), who);
			assert.deepEqual(Object.keys(json), ['_id', '_rev', 'name', 'city', 'phone']);
		}
		assert.ok((await ask(server, 'GET', pathOf(ann), as(ann))).json.salt);
		assert.ok((await docOf(ann)).salt);
		assertError(await ask(server, 'GET', '/_users/_all_docs?include_docs=true', as(bob)), 401, 'unauthorized');
	});
	await withSetting('chttpd_auth', 'public_fields', 'nothing', async () => {
		assertError(await ask(server, 'GET', pathOf(ann), as(bob)), 404, 'not_found', 'missing');
	});
	assertError(await ask(server, 'GET', pathOf(ann), as(bob)), 404, 'not_found', 'missing');
});

test('administrators of the database', async () => {
	const [boss, ann] = [await newUser({ roles: ['keepers'] }), await newUser()];
	await ask(server, 'PUT', '/_users/_security', { json: { admins: { roles: ['keepers'] }, members: {} } });
	const doc = await docOf(ann);
	assert.equal((await ask(server, 'GET', pathOf(ann), as(boss))).json.salt, doc.salt);
	assert.equal((await ask(server, 'PUT', pathOf(ann), { json: { ...doc, roles: ['r'], password: 'p' }, ...as(boss) })).status, 201);
	await assertLogin(ann, 'p', ['r']);
	assert.equal((await ask(server, 'GET', '/_users/_design/_auth', as(boss))).status, 200);
	await ask(server, 'PUT', '/_users/_security', { json: OPEN });
	await withSetting('couchdb', 'users_db_security_editable', 'false', async () => {
		assertError(await ask(server, 'PUT', '/_users/_security', { json: {} }), 403, 'forbidden', "You can't edit the security object of the user database.");
	});
});

test('requirements on passwords', async () => {
	const name = newName();
	const put = (password) => ask(server, 'PUT', pathOf(name), { json: user(name, { password }) });
	await withSetting('chttpd_auth', 'password_regexp', '[{".{10,}", "At least 10."}, "\\\\d+"]', async () => {
		assertError(await put('short'), 400, 'bad_request', 'Password does not conform to requirements. At least 10.');
		assertError(await put('long enough'), 400, 'bad_request', 'Password does not conform to requirements.');
		assert.equal((await put('long enough 1')).status, 201);
	});
	await withSetting('chttpd_auth', 'password_regexp', '{".{10,}"}', async () => {
		assertError(await put('long enough 2'), 403, 'forbidden', 'Server cannot hash passwords at this time.');
	});
	await assertLogin(name, 'long enough 1');
});

/** A document as another server has it, by replication. */
async function replicated(name, members, attachments) {
	const doc = { _id: idOf(name), _rev: '1-0123456789abcdef0123456789abcdef', ...user(name), ...members, _attachments: attachments };
	const r = await ask(server, 'POST', '/_users/_bulk_docs', { json: { new_edits: false, docs: [doc] } });
	assert.deepEqual([r.status, r.json], [201, []], r.text);
}
const simple = (password, salt) => ({ salt, password_sha: crypto.createHash('sha1').update(password + salt).digest('hex') });
const pbkdf2 = (password, salt, iterations, prf, hash, bytes) => ({
	password_scheme: 'pbkdf2', salt, iterations, ...(prf && { pbkdf2_prf: prf }),
	derived_key: crypto.pbkdf2Sync(password, salt, iterations, bytes, hash).toString('hex'),
});

test('hashes of other kinds are taken, and replaced at the login', async () => {
	const kinds = [
		simple('secret', 'salt,1'), { password_scheme: 'simple', ...simple('secret', 'ä') }, pbkdf2('secret', 's', 10, undefined, 'sha1', 20),
		pbkdf2('secret', 's', 10, 'sha', 'sha1', 20), pbkdf2('secret', 's', 10, 'sha224', 'sha224', 28),
		pbkdf2('secret', 's', 10, 'sha384', 'sha384', 48), pbkdf2('secret', 's', 10, 'sha512', 'sha512', 64),
		pbkdf2('secret', 's', ITERATIONS - 1, 'sha256', 'sha256', 32),
	];
	for (const kind of kinds) {
		const name = newName();
		await replicated(name, { more: 'here', ...kind }, { 'a.txt': { content_type: 'text/plain', data: 'YQ==' } });
		await assertNoLogin(name, 'Secret');
		const session = await ask(server, 'POST', '/_session', { json: { name, password: 'secret' }, ...nobody });
		assert.equal(session.status, 200, session.text);
		const doc = await until(async () => {
			const now = await docOf(name);
			return now._rev.startsWith('2-') && now;
		});
		assert.equal(doc.derived_key, crypto.pbkdf2Sync('secret', doc.salt, ITERATIONS, 32, 'sha256').toString('hex'));
		// What else it has stays, and so does the session.
		assert.deepEqual([doc.salt, doc.more, doc.iterations, doc.password_sha, Object.keys(doc._attachments)], [kind.salt, 'here', ITERATIONS, undefined, ['a.txt']]);
		const cookie = session.headers['set-cookie'][0].split(';')[0];
		assert.equal((await ask(server, 'GET', '/_session', { headers: { Cookie: cookie }, ...nobody })).json.userCtx.name, name);
		await assertLogin(name, 'secret');
		assert.equal((await docOf(name))._rev, doc._rev);
	}
});

test('hashes that are not taken', async () => {
	await withSetting('chttpd_auth', 'upgrade_hash_on_auth', 'false', async () => {
		const name = newName();
		await replicated(name, pbkdf2('secret', 's', 10, undefined, 'sha1', 20));
		await assertLogin(name, 'secret');
		await withSetting('chttpd_auth', 'max_iterations', '9', () => assertNoLogin(name, 'secret'));
		await withSetting('chttpd_auth', 'min_iterations', '11', () => assertNoLogin(name, 'secret'));
		await assertLogin(name, 'secret');
		assert.match((await docOf(name))._rev, /^1-/);
	});
	for (const kind of [
		{ ...pbkdf2('secret', 's', 10, 'sha256', 'sha256', 32), iterations: 99999999999 },
		{ ...pbkdf2('secret', 's', 10, 'sha256', 'sha256', 1) }, { ...simple('secret', 's'), password_sha: '' },
		{ ...pbkdf2('secret', 's', 10, 'md5', 'md5', 16) }, { ...pbkdf2('secret', 's', 10, 'sha256', 'sha256', 32), salt: 's\u0000' },
	]) {
		const name = newName();
		await replicated(name, kind);
		await assertNoLogin(name, 'secret');
		await assertNoLogin(name, '');
	}
});

test('a document with conflicts lets nobody in', async () => {
	const name = await newUser();
	const doc = await docOf(name);
	const other = { ...doc, _rev: '1-ffffffffffffffffffffffffffffffff' };
	assert.equal((await ask(server, 'PUT', `${pathOf(name)}?new_edits=false`, { json: other })).status, 201);
	assertError(await whoAmI(name), 401, 'unauthorized', 'User document conflicts must be resolved before the document is used for authentication purposes.');
	await withSetting('chttpd_auth', 'allow_conflicted_user_docs', 'true', () => assertLogin(name));
	assert.equal((await ask(server, 'DELETE', `${pathOf(name)}?rev=${other._rev}`)).status, 200);
	await assertLogin(name);
});

test('each change holds with the next request', async () => {
	const name = await newUser();
	for (let i = 0; i < 20; i++) {
		const doc = await docOf(name);
		assert.equal((await ask(server, 'PUT', pathOf(name), { json: { ...doc, password: `n${i}`, roles: [`r${i}`] } })).status, 201);
		await assertLogin(name, `n${i}`, [`r${i}`]);
		if (i > 0) await assertNoLogin(name, `n${i - 1}`);
	}
});

test('administrators of the configuration have the roles of their document', async () => {
	const name = await newUser({ roles: ['editors'] });
	await withSetting('admins', name, 'other', async () => {
		const r = await whoAmI(name, 'other');
		assert.deepEqual([...r.json.userCtx.roles].sort(), ['_admin', 'editors']);
		await assertNoLogin(name, `pw-${name}`);
	});
	await assertLogin(name, `pw-${name}`, ['editors']);
});

test('another database of accounts', async () => {
	const db = newName('accounts');
	assert.equal((await ask(server, 'PUT', `/${db}`)).status, 201);
	const old = await newUser();
	await withSetting('chttpd_auth', 'authentication_db', db, async () => {
		const name = await newUser({}, db);
		assert.equal((await docOf(name, db)).password, undefined);
		await assertLogin(name);
		await assertNoLogin(old);
		assertError(await ask(server, 'PUT', pathOf(newName(), db), { json: { name: 'x', type: 'user', roles: [] } }), 403, 'forbidden');
		assertError(await ask(server, 'PUT', `/${db}/_design/x`, { json: {}, ...as(name) }), 403, 'forbidden');
	});
	await assertLogin(old);
	assert.equal((await ask(server, 'PUT', `/${db}/plain`, { json: { password: 'stays' } })).status, 201);
});

test('the database of accounts, made anew', async () => {
	const other = await startDivand({ config: { chttpd_auth: { iterations: ITERATIONS } } });
	try {
		const design = () => ask(other, 'GET', '/_users/_design/_auth');
		await until(async () => (await design()).status === 200);
		assert.match((await design()).json.validate_doc_update, /^function/);
		const json = user('ann', { password: 'ann' });
		assert.equal((await ask(other, 'PUT', pathOf('ann'), { json })).status, 201);
		assert.equal((await ask(other, 'GET', '/_session', as('ann', 'ann'))).status, 200);
		assert.equal((await ask(other, 'DELETE', '/_users')).status, 200);
		assertError(await ask(other, 'GET', '/_session', as('ann', 'ann')), 401, 'unauthorized');
		assert.equal((await ask(other, 'PUT', '/_users')).status, 201);
		assertError(await ask(other, 'GET', '/_session', as('ann', 'ann')), 401, 'unauthorized');
		await until(async () => (await design()).status === 200);
		assert.equal((await ask(other, 'PUT', pathOf('ann'), { json })).status, 201);
		assert.equal((await ask(other, 'GET', '/_session', as('ann', 'ann'))).status, 200);
	} finally {
		await other.stop();
	}
});

test('a database for each user', async () => {
	const other = await startDivand({ config: { chttpd_auth: { iterations: ITERATIONS } } });
	const hex = (name, prefix = 'userdb-') => `${prefix}${Buffer.from(name).toString('hex')}`;
	const set = async (key, value) => assert.equal((await ask(other, 'PUT', `/_node/_local/_config/couch_peruser/${key}`, { json: value })).status, 200);
	const put = async (name) => {
		const old = await ask(other, 'GET', pathOf(name));
		assert.equal((await ask(other, 'PUT', pathOf(name), { json: { ...(old.status === 200 && old.json), ...user(name, { password: name }) } })).status, 201);
	};
	const remove = async (name) => {
		const { _rev } = (await ask(other, 'GET', pathOf(name))).json;
		assert.equal((await ask(other, 'DELETE', `${pathOf(name)}?rev=${_rev}`)).status, 200);
	};
	const names = async (db) => {
		const { status, json } = await ask(other, 'GET', `/${db}/_security`);
		return status === 200 ? [json.admins.names ?? [], json.members.names ?? []] : undefined;
	};
	const belongs = (db, name) => until(async () => (await names(db))?.every((list) => list.includes(name)));
	const isNobodys = (db, name) => until(async () => (await names(db))?.every((list) => !list.includes(name)));
	const gone = (db) => until(async () => (await ask(other, 'GET', `/${db}`)).status === 404);
	try {
		await put('ann');
		await put('gone');
		await remove('gone');
		assert.deepEqual((await ask(other, 'GET', '/_all_dbs')).json, ['_replicator', '_users']);
		// Those who are there already, then new ones.
		await set('enable', 'true');
		await belongs(hex('ann'), 'ann');
		await put('bö/b');
		await belongs(hex('bö/b'), 'bö/b');
		const mine = { auth: basic('bö/b', 'bö/b') };
		assert.equal((await ask(other, 'PUT', `/${hex('bö/b')}/doc`, { json: {}, ...mine })).status, 201);
		assert.equal((await ask(other, 'PUT', `/${hex('bö/b')}/_design/d`, { json: {}, ...mine })).status, 201);
		assertError(await ask(other, 'GET', `/${hex('ann')}`, mine), 403, 'forbidden');
		// A user who goes leaves the database, and gets it back.
		await remove('bö/b');
		await isNobodys(hex('bö/b'), 'bö/b');
		assertError(await ask(other, 'GET', `/${hex('bö/b')}`, { auth: null }), 401, 'unauthorized');
		await put('bö/b');
		await belongs(hex('bö/b'), 'bö/b');
		assert.equal((await ask(other, 'GET', `/${hex('bö/b')}/doc`, mine)).status, 200);
		// What somebody else put into the security object stays.
		await ask(other, 'PUT', `/${hex('cat')}`);
		await ask(other, 'PUT', `/${hex('cat')}/_security`, { json: { admins: { names: ['x'] }, members: { names: ['y'], roles: ['z'] }, more: 1 } });
		await put('cat');
		await belongs(hex('cat'), 'cat');
		assert.deepEqual((await ask(other, 'GET', `/${hex('cat')}/_security`)).json, { admins: { names: ['cat', 'x'] }, members: { names: ['cat', 'y'], roles: ['z'] }, more: 1 });
		// A server that is killed goes on where it was.
		for (let i = 0; i < 20; i++) await put(`k${i}`);
		await other.kill();
		await other.restart();
		for (let i = 0; i < 20; i++) await belongs(hex(`k${i}`), `k${i}`);
		// A database that is missing is made at the start, others are left as they are.
		await ask(other, 'DELETE', `/${hex('k3')}`);
		await ask(other, 'PUT', `/${hex('k4')}/_security`, { json: { admins: { names: ['k'] }, members: { names: ['k'] } } });
		await other.restart();
		await belongs(hex('k3'), 'k3');
		await set('delete_dbs', 'true');
		await remove('ann');
		await gone(hex('ann'));
		assert.deepEqual(await names(hex('k4')), [['k'], ['k']]);
		assert.equal((await ask(other, 'GET', `/${hex('gone')}`)).status, 404);
		await set('database_prefix', 'u$()+-/');
		await belongs(encodeURIComponent(hex('cat', 'u$()+-/')), 'cat');
		await set('enable', 'false');
		await put('late');
		await set('enable', 'true');
		await belongs(encodeURIComponent(hex('late', 'u$()+-/')), 'late');
	} finally {
		await other.stop();
	}
});
