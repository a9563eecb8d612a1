// Settings over HTTP, where an administrator of the server is not one of the machine; and changes that meet.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { startDivand } from '../lib/divand.mjs';
import { ask, assertError } from './client.mjs';

let server;
before(async () => (server = await startDivand({ config: { chttpd_auth: { iterations: '100000' }, admins: { filed: 'a password that is hashed' } } })));
after(() => server?.stop());
const setting = (name, json) => ask(server, json === undefined ? 'GET' : 'PUT', `/_node/_local/_config/${name}`, { json });

test('which files are written, or shown to everybody, is not to be set over HTTP', async () => {
	const kept = path.join(server.dataDir, 'local.yaml');
	for (const name of ['log/file', 'log/writer', 'couchdb/database_dir', 'couchdb/view_index_dir', 'divan/web_dir', 'divan/user', 'divan/confine', 'divan/write_also', 'divan/core_dumps']) {
		assertError(await setting(name, '/etc'), 403, 'forbidden');
		assertError(await ask(server, 'DELETE', `/_node/_local/_config/${name}`), [403, 404]);
	}
	assert.ok(!fs.existsSync(kept) || !fs.readFileSync(kept, 'utf8').includes('/etc'));
	assert.equal((await setting('log/level', 'info')).status, 200);
});

test('what is changed while the files are read again stays changed', async () => {
	// A reload takes as long as the password of the file does, so that the change comes in between.
	for (let i = 0; i < 5; i++) {
		const reload = () => ask(server, 'POST', '/_node/_local/_config/_reload');
		const results = await Promise.all([reload(), setting('tests/value', `v${i}`), reload(), setting('admins/other', `password ${i}`)]);
		for (const r of results) assert.equal(r.status, 200, r.text);
		assert.equal((await setting('tests/value')).json, `v${i}`);
		assert.equal((await ask(server, 'GET', '/_session', { auth: 'Basic ' + Buffer.from(`other:password ${i}`).toString('base64') })).json.userCtx?.name, 'other');
		assert.match(fs.readFileSync(path.join(server.dataDir, 'local.yaml'), 'utf8'), new RegExp(`"value": "v${i}"`));
	}
});
