// `make install` into a folder, and the installed server with the installed configuration.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { before, test } from 'node:test';
import { DIVAND, ROOT, tempDir } from '../lib/divand.mjs';
import { ask } from './client.mjs';

const dest = tempDir('divan-install');
const has = (name) => fs.existsSync(path.join(dest, name));
const read = (name) => fs.readFileSync(path.join(dest, name), 'utf8');

/** Without the prerequisites: what is installed is what is tested here, not built anew. */
function install() {
	execFileSync('make', ['-s', 'install-files', `BUILD=${path.dirname(DIVAND)}`, `DESTDIR=${dest}`, 'PREFIX=/usr'], { cwd: ROOT, stdio: ['ignore', 'ignore', 'pipe'] });
}
before(install);

test('programs, page, service and configuration are where they belong', () => {
	for (const name of ['usr/bin/divand', 'usr/bin/divan', 'usr/lib/systemd/system/divan.service', 'usr/lib/sysusers.d/divan.conf', 'usr/lib/tmpfiles.d/divan.conf', 'usr/share/doc/divan/OPERATIONS.md']) assert.ok(has(name), name);
	assert.equal(has('usr/bin/divan-js'), fs.existsSync(path.join(path.dirname(DIVAND), 'divan-js')));
	assert.match(read('usr/lib/systemd/system/divan.service'), /^ExecStart=\/usr\/bin\/divand --config \/etc\/divan\/divan\.yaml$/m);
	assert.match(read('etc/divan/divan.yaml'), /^ {2}database_dir: \/var\/lib\/divan$/m);
	assert.equal(fs.statSync(path.join(dest, 'etc/divan/divan.yaml')).mode & 0o777, 0o640);
});

test('what is configured already stays', () => {
	fs.appendFileSync(path.join(dest, 'etc/divan/divan.yaml'), '# mine\n');
	install();
	assert.match(read('etc/divan/divan.yaml'), /# mine\n$/);
});

test('the installed server runs with the installed configuration', async () => {
	const program = process.env.DIVAND;
	process.env.DIVAND = path.join(dest, 'usr/bin/divand');
	const { startDivand: start } = await import('../lib/divand.mjs?installed');
	process.env.DIVAND = program ?? '';
	if (!program) delete process.env.DIVAND;
	const server = await start({ args: ['--config', path.join(dest, 'etc/divan/divan.yaml'), '--user', os.userInfo().username] });
	try {
		assert.equal((await ask(server, 'GET', '/')).json.couchdb, 'Welcome');
		assert.equal(fs.readlinkSync(`/proc/${server.pid}/exe`), path.join(dest, 'usr/bin/divand'));
		if (has('usr/share/divan/web/index.html')) assert.equal((await ask(server, 'GET', '/_utils/index.html', { auth: null })).status, 200);
		if (has('usr/bin/divan-js')) {
			await ask(server, 'PUT', '/db');
			assert.equal((await ask(server, 'PUT', '/db/_design/d', { json: { shows: { s: 'function () { return "runs"; }' } } })).status, 201);
			assert.equal((await ask(server, 'GET', '/db/_design/d/_show/s')).text, 'runs');
		}
		assert.doesNotMatch(server.stderr(), /\[(warning|error)\]/);
	} finally {
		await server.stop();
	}
});

test('the service is walled in', { skip: spawnSync('systemd-analyze', ['--version']).status !== 0 && 'no systemd-analyze' }, () => {
	const out = execFileSync('systemd-analyze', ['security', '--offline=true', path.join(dest, 'usr/lib/systemd/system/divan.service')], { encoding: 'utf8', env: { ...process.env, LC_ALL: 'C.UTF-8' } });
	const level = Number(/exposure level for divan\.service: ([\d.]+)/.exec(out)[1]);
	assert.ok(level < 2, `exposure ${level}`);
});
