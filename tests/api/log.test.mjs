// The log: a line per request, nothing secret or forged in it, its level and file, and that nobody waits for it.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { DIVAND, startDivand, tempDir } from '../lib/divand.mjs';
import { until } from '../lib/until.mjs';
import { ask } from './client.mjs';

const dir = tempDir('divan-log');
const file = path.join(dir, 'divan.log');
let server;

before(async () => (server = await startDivand({ config: { log: { file } } })));
after(() => server.stop());

/** Wait until the log has a line that matches, and return that. */
const line = (re, where = file) => until(() => fs.existsSync(where) && fs.readFileSync(where, 'latin1').split('\n').find((l) => re.test(l)), re);

test('one line per request: id, client, account, what, outcome', async () => {
	const { headers } = await ask(server, 'GET', '/_all_dbs?limit=1');
	const found = await line(new RegExp(headers['x-couch-request-id']));
	assert.match(found, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z \[notice\] \w{10} 127\.0\.0\.1 admin GET \/_all_dbs\?limit=1 200 \d+ \d+\.\d$/);
	await ask(server, 'GET', '/nothing-here', { auth: null, headers: { 'x-couch-request-id': 'my-id-1' } });
	assert.match(await line(/my-id-1/), / my-id-1 127\.0\.0\.1 - GET \/nothing-here 404 \d+ /);
	const { headers: head } = await ask(server, 'HEAD', '/');
	assert.match(await line(new RegExp(head['x-couch-request-id'])), / HEAD \/ 200 0 /);
});

test('no password, and nothing that looks like another line', async () => {
	await ask(server, 'POST', '/_session', { json: { name: 'admin', password: 'hidden1' }, auth: null });
	await ask(server, 'GET', '/x?password=hidden2&source=http://bob:hidden3@h/db&t=http%3A%2F%2Fbob%3Ahidden4%40h&n=%0A1;password=hidden7&u=http://bob:x;hidden8@h&a=1;token=x;hidden9', { auth: 'Basic ' + Buffer.from('admin:hidden5').toString('base64') });
	await ask(server, 'GET', '/http://bob:hidden6@h/db');
	await ask(server, 'GET', '/%0d%0a2026-01-01T00:00:00.000000Z%20[error]%20forged?marker-1');
	const forged = await line(/marker-1/);
	assert.match(forged, /%0d%0a2026/);
	const all = fs.readFileSync(file, 'latin1');
	assert.doesNotMatch(all, /hidden\d/);
	assert.match(all, /\?password=\*\*\*&source=http:\/\/\*\*\*@h\/db&/);
	assert.match(all, /;password=\*\*\*&u=http:\/\/\*\*\*&a=1;token=\*\*\* /);
	for (const l of all.trimEnd().split('\n')) assert.match(l, /^\d{4}-\d\d-\d\dT[\d:.]+Z \[(info|notice|warning|error)\] [ -~]*$/);
});

test('the level is changed at once', async () => {
	assert.equal((await ask(server, 'PUT', '/_node/_local/_config/log/level', { json: 'error' })).status, 200);
	await ask(server, 'GET', '/?marker-2');
	assert.equal((await ask(server, 'PUT', '/_node/_local/_config/log/level', { json: 'info' })).status, 200);
	await ask(server, 'GET', '/?marker-3');
	await line(/marker-3/);
	assert.doesNotMatch(fs.readFileSync(file, 'latin1'), /marker-2/);
});

test('SIGHUP opens the file again and reads the configuration', async () => {
	fs.renameSync(file, file + '.1');
	process.kill(server.pid, 'SIGHUP');
	await line(/SIGHUP: the log is open again/);
	await ask(server, 'GET', '/?marker-4');
	await line(/marker-4/);
	assert.doesNotMatch(fs.readFileSync(file + '.1', 'latin1'), /marker-4/);
});

test('who reads the log slowly holds nobody up: lines are dropped and that is told', async () => {
	const child = spawn(DIVAND, ['--data', tempDir(), '--bind', '127.0.0.1', '--port', '0'], { env: { ...process.env, DIVAN_ADMIN: 'admin:adm' }, stdio: ['ignore', 'pipe', 'pipe'] });
	const exited = new Promise((resolve) => child.on('close', resolve));
	child.stderr.pause();
	const port = await new Promise((resolve) => child.stdout.on('data', (d) => resolve(Number(/:(\d+)\//.exec(d)[1]))));
	const it = { port, auth: 'Basic ' + Buffer.from('admin:adm').toString('base64') };
	const long = 'x'.repeat(1000);
	const value = async () => (await ask(it, 'GET', '/_node/_local/_stats/divan/log_dropped')).json.value;
	// Two buffers of 1 MiB and the pipe fill up; every answer comes all the same.
	while ((await value()) === 0) {
		const answers = await Promise.all(Array.from({ length: 100 }, () => ask(it, 'GET', `/?${long}`, { auth: null })));
		assert.ok(answers.every(({ status }) => status === 200));
	}
	let text = '';
	const told = new Promise((resolve) => child.stderr.on('data', (d) => /lines of the log were dropped/.test(text += d) && resolve()));
	child.stderr.resume();
	await ask(it, 'GET', '/');
	await told;
	child.kill('SIGTERM');
	assert.equal(await exited, 0);
	assert.match(text, /\[warning\] \d+ lines of the log were dropped/);
});
