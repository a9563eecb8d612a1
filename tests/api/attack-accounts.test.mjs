// Attacks by who has an account, on what an administrator has taken away.
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import { after, before, test } from 'node:test';
import { startDivand } from '../lib/divand.mjs';
import { until } from '../lib/until.mjs';
import { ask } from './client.mjs';

const key = crypto.randomBytes(32);
let server;
before(async () => {
	server = await startDivand({ config: {
		couchdb: { users_db_security_editable: 'true' },
		chttpd: { authentication_handlers: 'cookie, jwt, default' },
		chttpd_auth: { iterations: '1000' },
		jwt_keys: { 'hmac:_default': key.toString('base64') },
	} });
	assert.equal((await ask(server, 'PUT', '/_users/_security', { json: { admins: {}, members: {} } })).status, 200);
});
after(() => server?.stop());

const basic = (name) => 'Basic ' + Buffer.from(`${name}:pw`).toString('base64');
const url = (name) => `/_users/org.couchdb.user:${name}`;
const hex = () => crypto.randomBytes(16).toString('hex');
const hash = (rev) => rev.split('-')[1];
const rolesOf = async (name) => (await ask(server, 'GET', '/_session', { auth: basic(name) })).json.userCtx?.roles;

function token(name) {
	const part = (o) => Buffer.from(JSON.stringify(o)).toString('base64url');
	const text = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ sub: name, exp: Math.floor(Date.now() / 1000) + 600 })}`;
	return `Bearer ${text}.${crypto.createHmac('sha256', key).update(text).digest('base64url')}`;
}

async function put(name, members, auth = server.auth) {
	const r = await ask(server, 'PUT', url(name), { json: { name, type: 'user', roles: [], ...members }, auth });
	assert.ok([200, 201].includes(r.status), r.text);
	return r.json.rev;
}

test('a role that was taken away does not come back by a revision beside the one without it', async () => {
	const r1 = await put('bob', { password: 'pw', roles: ['staff'] });
	assert.deepEqual(await rolesOf('bob'), ['staff']);
	const before = (await ask(server, 'GET', url('bob'), { auth: basic('bob') })).json;
	const r2 = await put('bob', { ...before, roles: [] });
	assert.deepEqual(await rolesOf('bob'), []);
	const { _rev, ...doc } = before;
	const docs = [
		{ ...doc, roles: ['staff'], _revisions: { start: 4, ids: [hex(), hex(), hex(), hash(r1)] } },
		{ _id: doc._id, _deleted: true, _revisions: { start: 3, ids: [hex(), hash(r2), hash(r1)] } },
	];
	const { json } = await ask(server, 'POST', '/_users/_bulk_docs', { json: { new_edits: false, docs }, auth: basic('bob') });
	assert.equal(json.find((row) => row.id === doc._id && row.error)?.error, 'forbidden', JSON.stringify(json));
	assert.notDeepEqual(await rolesOf('bob'), ['staff']);
	const now = await ask(server, 'GET', url('bob'));
	assert.ok(now.status === 404 || now.json.roles.length === 0, now.text);
});

test('nor do roles that somebody writes into the deletion of their own document', async () => {
	const r1 = await put('cid', { password: 'pw' });
	const doc = (await ask(server, 'GET', url('cid'), { auth: basic('cid') })).json;
	const r2 = await put('cid', { ...doc, _deleted: true, roles: ['boss'] }, basic('cid'));
	assert.equal((await ask(server, 'GET', '/_session', { auth: token('cid') })).json.userCtx.name, 'cid');
	const again = { ...doc, roles: ['boss'], _revisions: { start: 3, ids: [hex(), hash(r2), hash(r1)] } };
	delete again._rev;
	const { json } = await ask(server, 'POST', '/_users/_bulk_docs', { json: { new_edits: false, docs: [again] }, auth: token('cid') });
	assert.equal(json[0]?.error, 'forbidden', JSON.stringify(json));
	assert.equal(await rolesOf('cid'), undefined);
});

test('settings of one-time passwords that are too large to be remembered open nothing', async () => {
	const secret = 'GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ'; // "12345678901234567890", as in RFC 6238
	const at = Buffer.alloc(8);
	at.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30000)));
	const mac = crypto.createHmac('sha1', '12345678901234567890').update(at).digest();
	const token = String((mac.readUInt32BE(mac.at(-1) & 15) & 0x7fffffff) % 1000000).padStart(6, '0');
	for (const [name, pad, status] of [['eve', 'x', 200], ['fay', 'x'.repeat(8000), 401]]) {
		await put(name, { password: 'pw', totp: { key: secret, pad } });
		assert.equal((await ask(server, 'POST', '/_session', { auth: null, json: { name, password: 'pw', token } })).status, status);
	}
});

test('one who replicates their own document the ordinary way is let in', async () => {
	const r1 = await put('dan', { password: 'pw', roles: ['staff'] });
	const { _rev, ...doc } = (await ask(server, 'GET', url('dan'), { auth: basic('dan') })).json;
	const next = { ...doc, nick: 'd', _revisions: { start: 2, ids: [hex(), hash(r1)] } };
	const { json } = await ask(server, 'POST', '/_users/_bulk_docs', { json: { new_edits: false, docs: [next] }, auth: basic('dan') });
	assert.deepEqual(json, []);
	assert.equal((await ask(server, 'GET', url('dan'))).json.nick, 'd');
	assert.deepEqual(await rolesOf('dan'), ['staff']);
});

test('a note of what couch_peruser has done counts for nothing where it speaks of what is to come', { timeout: 60000 }, async () => {
	const other = await startDivand({ config: { couchdb: { users_db_security_editable: 'true' }, chttpd_auth: { iterations: '1000' }, couch_peruser: { enable: 'true', delete_dbs: 'true' } } });
	const database = `/userdb-${Buffer.from('kim').toString('hex')}`;
	const answers = (status) => until(async () => (await ask(other, 'GET', database)).status === status);

	try {
		assert.equal((await ask(other, 'PUT', '/_users/_security', { json: { admins: {}, members: {} } })).status, 200);
		let note, update_seq;
		do {
			note = (await ask(other, 'GET', '/_users/_local/couch_peruser')).json;
			({ update_seq } = (await ask(other, 'GET', '/_users')).json);
		} while (note.seq !== update_seq);
		const seq = update_seq.replace(/^\d+/, '1000');
		assert.equal((await ask(other, 'PUT', '/_users/_local/couch_peruser', { auth: null, json: { ...note, seq, prefix: 'userdb-' } })).status, 201);
		await other.restart();
		assert.equal((await ask(other, 'PUT', url('kim'), { json: { name: 'kim', type: 'user', roles: [], password: 'pw' } })).status, 201);
		await answers(200);
		const { json } = await ask(other, 'GET', url('kim'));
		assert.equal((await ask(other, 'DELETE', `${url('kim')}?rev=${json._rev}`)).status, 200);
		await answers(404);
	} finally {
		await other.stop();
	}
});
