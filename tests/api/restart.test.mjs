// What outlives a restart besides the databases: the server's uuid, its administrators and their sessions.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { startDivand, tempDir } from '../lib/divand.mjs';
import { ask } from './client.mjs';

const dataDir = tempDir('divan-restart');
let server;
before(async () => (server = await startDivand({ dataDir })));
after(() => server.stop());

const kept = (name) => fs.readFileSync(path.join(dataDir, name), 'utf8');

async function signIn() {
	const answer = await ask(server, 'POST', '/_session', { json: { name: 'admin', password: server.admin.slice(6) }, auth: null });
	assert.equal(answer.status, 200);
	return answer.headers['set-cookie'][0].split(';')[0];
}

async function whoIs(cookie) {
	const { json } = await ask(server, 'GET', '/_session', { headers: { cookie }, auth: null });
	return json.userCtx.name;
}

test('a session and the uuid outlive a restart', async () => {
	const { uuid } = (await ask(server, 'GET', '/')).json;
	const cookie = await signIn();
	await server.restart();
	assert.equal(await whoIs(cookie), 'admin');
	assert.equal((await ask(server, 'GET', '/')).json.uuid, uuid);
	for (const name of ['uuid', 'secret', 'admins.yaml']) {
		assert.equal(fs.statSync(path.join(dataDir, name)).mode & 0o777, 0o600, name);
	}
	assert.ok(!kept('admins.yaml').includes('adm:') && !kept('admins.yaml').includes('"adm"'), 'no plain password');
});

test('a changed password ends the sessions, and the old one is no longer taken', async () => {
	const cookie = await signIn();
	await server.stop();
	const old = server.auth;
	server = await startDivand({ dataDir, admin: 'admin:another' });
	assert.equal(await whoIs(cookie), null);
	assert.equal((await ask(server, 'GET', '/_all_dbs', { auth: old })).status, 401);
	assert.equal((await ask(server, 'GET', '/_all_dbs')).status, 200);
});

test('who is no longer named by the environment is no administrator', async () => {
	await server.stop();
	const old = server.auth;
	server = await startDivand({ dataDir, admin: 'other"\\:x:y' });
	assert.equal((await ask(server, 'GET', '/_all_dbs', { auth: old })).status, 401);
	const before = kept('admins.yaml');
	assert.match(before, /given:\n/);
	assert.doesNotMatch(before, /^admins:/m);
	await server.restart();
	assert.equal(kept('admins.yaml'), before);
});

test('plain passwords in the configuration keep their hashes, too', async () => {
	await server.stop();
	server = await startDivand({ dataDir, admin: null, env: { DIVAN_ADMIN: '' }, config: { admins: { admin: 'pw' } } });
	server.admin = 'admin:pw';
	const cookie = await signIn();
	await server.restart();
	assert.equal(await whoIs(cookie), 'admin');
});

test('the first administrator stays', async () => {
	await server.stop();
	server = await startDivand({ admin: null, env: { DIVAN_ADMIN: '' } });
	server.admin = `admin:${/^ +password +(\S+)/m.exec(server.stderr())[1]}`;
	const cookie = await signIn();
	await server.restart();
	assert.doesNotMatch(server.stderr(), /password/);
	assert.equal(await whoIs(cookie), 'admin');
	await signIn();
});

test('a secret that is damaged, or cannot be read, is told, not replaced', async () => {
	const secret = path.join(dataDir, 'secret');
	await server.stop();
	fs.writeFileSync(secret, 'nonsense');
	await assert.rejects(startDivand({ dataDir }), /secret does not hold 64 hexadecimal digits/);
	fs.rmSync(secret);
	fs.mkdirSync(secret); // opens, and cannot be read
	await assert.rejects(startDivand({ dataDir }), /cannot read .*secret: Is a directory/);
	fs.rmdirSync(secret);
	server = await startDivand({ dataDir });
});

test('who asks more than once for the end waits no less, and meets nothing that is gone', async () => {
	for (let n = 0; n < 5; n++) {
		const own = await startDivand();
		assert.equal((await ask(own, 'PUT', '/there')).status, 201);
		const asks = setInterval(() => own.child.kill(n % 2 ? 'SIGINT' : 'SIGTERM'), 1);
		assert.deepEqual(await own.exited, { code: 0, signal: null });
		clearInterval(asks);
	}
});
