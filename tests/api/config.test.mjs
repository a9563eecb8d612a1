// Settings: the file, the environment and the command line; over HTTP, kept across restarts; secrets.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { DIVAND, ROOT, startDivand, tempDir } from '../lib/divand.mjs';
import { ask } from './client.mjs';

const dataDir = tempDir('divan-settings');
const CONFIG = '/_node/_local/_config';
// A setting stands last in its comment.
const SETTING = /^ {2}# ([\w."-]+: .*)\n(?=\n|$(?![^]))/gm;
let server;

before(async () => (server = await startDivand({
	dataDir, env: { DIVAN_CHTTPD_AUTH__ITERATIONS: '1000', DIVAN_CORS__MAX_AGE: '11' }, args: ['--set', 'cors/headers=x-given'],
	config: { cors: { origins: 'http://file.example' }, admins: { carol: 'carolpw' }, chttpd_auth: { secret: 'hush' } },
})));
after(() => server.stop());

const get = async (what) => (await ask(server, 'GET', `${CONFIG}/${what}`)).json;
const put = (what, value, headers) => ask(server, 'PUT', `${CONFIG}/${what}`, { json: value, headers });
const del = (what, headers) => ask(server, 'DELETE', `${CONFIG}/${what}`, { headers });
const basic = (text) => 'Basic ' + Buffer.from(text).toString('base64');

/** What divand says when it does not start. */
function refused(args, env = {}) {
	const end = spawnSync(DIVAND, ['--data', tempDir(), '--port', '0', ...args], { env: { ...process.env, DIVAN_ADMIN: 'a:b', ...env }, encoding: 'utf8', timeout: 20000 });
	assert.equal(end.status, 1, end.stderr);
	return end.stderr;
}

function yamlFile(text) {
	const file = path.join(tempDir(), 'divan.yaml');
	fs.writeFileSync(file, text);
	return file;
}

test('docs/divan.yaml is what divand prints: after a change of config_known.c run `make settings`', () => {
	const printed = execFileSync(DIVAND, ['--settings'], { encoding: 'utf8' });
	assert.equal(fs.readFileSync(path.join(ROOT, 'docs/divan.yaml'), 'utf8'), printed);
	// Uncommented it is a configuration with the defaults, and divand takes it.
	const file = yamlFile(printed.replace(SETTING, '  $1\n').replace(/^ {2}database_dir.*$/m, '').replace(/^ {2}admin:.*$/m, ''));
	const text = refused(['--config', file, '--set', 'chttpd/port=nonsense']);
	assert.match(text, /chttpd\/port must be a number/);
	assert.doesNotMatch(text, /divan\.yaml/);
});

test('what the code reads stands in the table of settings', () => {
	const known = new Set();
	for (const part of execFileSync(DIVAND, ['--settings'], { encoding: 'utf8' }).split(/^(?=[\w.]+:$)/m)) {
		const section = part.slice(0, part.indexOf(':'));
		for (const [, line] of part.matchAll(SETTING)) known.add(`${section}/${line.slice(0, line.indexOf(':'))}`);
	}
	const now = { httpd: 'chttpd', couch_httpd_auth: 'chttpd_auth' };
	let seen = 0;
	for (const file of fs.readdirSync(path.join(ROOT, 'httpapi')).filter((f) => f.endsWith('.c'))) {
		const text = fs.readFileSync(path.join(ROOT, 'httpapi', file), 'utf8');
		for (const [, section, key] of text.matchAll(/\bconfig_(?:get|u64|bool)\(\s*[\w>.-]+,\s*"([^"]+)",\s*"([^"]+)"/g)) {
			seen++;
			assert.ok(known.has(`${now[section] ?? section}/${key}`), `${file}: ${section}/${key} is not in config_known.c`);
		}
	}
	assert.ok(seen > 25, `${seen} readers found`);
});

test('mistakes in the file are told with their line', () => {
	assert.match(refused(['--config', yamlFile('chttpd:\n  enable_cors: true\n  port: many\n')]), /divan\.yaml:3: chttpd\/port must be a number from 0 to 65535/);
	assert.match(refused(['--config', yamlFile('cors:\n  credentials: perhaps\n')]), /divan\.yaml:2: cors\/credentials must be true or false/);
	assert.match(refused(['--config', yamlFile('chttpd: [\n')]), /divan\.yaml:\d+: /);
	assert.match(refused(['--config', yamlFile('nobody:\n  reads: this\nchttpd:\n  port: x\n')]), /\[warning\] .*divan\.yaml:2: nothing reads nobody\/reads\n/);
	assert.match(refused([], { DIVAN_CHTTPD__PORT: 'x' }), /environment: chttpd\/port must be/);
	assert.match(refused(['--set', 'chttpd']), /--set takes section\/key=value/);
});

test('command line, environment, file, in this order', async () => {
	assert.equal(await get('cors/headers'), 'x-given');
	assert.equal(await get('cors/max_age'), '11');
	assert.equal(await get('cors/origins'), 'http://file.example');
});

test('a change holds at once and after a restart; one that is not to be kept until then', async () => {
	assert.equal((await put('cors/origins', 'http://http.example')).json, 'http://file.example');
	assert.equal((await put('cors/max_age', '12')).json, '11');
	assert.equal((await put('tests/kept', ' v1 \n')).json, '');
	assert.equal((await put('tests/odd%2Fkey%20%22%C3%A9', 'line\n\u{1F600} "\\ #: ~')).status, 200);
	assert.equal((await put('tests/fleeting', 'x', { 'x-couch-persist': 'false' })).status, 200);
	assert.equal(await get('tests/kept'), 'v1');
	assert.equal(await get('tests/fleeting'), 'x');
	assert.equal(fs.statSync(path.join(dataDir, 'local.yaml')).mode & 0o777, 0o600);
	await server.restart();
	assert.equal(await get('cors/origins'), 'http://http.example');
	assert.equal(await get('cors/max_age'), '11', 'the environment wins at the start');
	assert.equal(await get('tests/kept'), 'v1');
	assert.equal(await get('tests/odd%2Fkey%20%22%C3%A9'), 'line\n\u{1F600} "\\ #: ~');
	assert.equal((await ask(server, 'GET', `${CONFIG}/tests/fleeting`)).status, 404);
	assert.equal((await del('cors/origins')).json, 'http://http.example');
	assert.equal(await get('cors/origins'), 'http://file.example');
	assert.equal((await del('tests/kept')).json, 'v1');
	const gone = await del('tests/kept');
	assert.equal(gone.status, 404);
	assert.deepEqual(gone.json, { error: 'not_found', reason: 'unknown_config_value' });
});

test('_reload reads the files again and forgets what was not kept', async () => {
	await put('tests/fleeting', 'x', { 'x-couch-persist': 'false' });
	await put('tests/kept', 'y');
	const answer = await ask(server, 'POST', `${CONFIG}/_reload`);
	assert.equal(answer.status, 200);
	assert.deepEqual(answer.json, { ok: true });
	assert.equal((await ask(server, 'GET', `${CONFIG}/tests/fleeting`)).status, 404);
	assert.equal(await get('tests/kept'), 'y');
});

test('a wrong value is refused with what it must be', async () => {
	const all = (await ask(server, 'GET', CONFIG)).json;
	assert.ok(all.couchdb.database_dir && all.chttpd.port && all.cluster.q);
	for (const [what, value, reason] of [
		['chttpd/port', '70000', 'chttpd/port must be a number from 0 to 65535'],
		['cors/credentials', 'perhaps', 'cors/credentials must be true or false'],
		['log/level', 'loud', /^log\/level must be one of debug\|info/],
	]) {
		const { status, json } = await put(what, value);
		assert.equal(status, 400);
		assert.equal(json.error, 'bad_request');
		if (reason instanceof RegExp) assert.match(json.reason, reason);
		else assert.equal(json.reason, reason);
	}
	assert.equal((await put('native_query_servers/x', 'y')).status, 403);
});

test('what was set to nothing is shown so, and deleted to what was there before', async () => {
	for (const [what, before] of [['cors/max_age', '11'], ['cors/headers', 'x-given']]) {
		const [section, key] = what.split('/');
		assert.equal((await put(what, '')).json, before);
		const shown = await ask(server, 'GET', `${CONFIG}/${what}`);
		assert.deepEqual([shown.status, shown.json, (await get(section))[key]], [200, '', '']);
		const gone = await del(what);
		assert.deepEqual([gone.status, gone.json, await get(what)], [200, '', before]);
	}
});

test('secrets are not shown, and what stands for them is not taken', async () => {
	const answers = [await ask(server, 'GET', CONFIG), await ask(server, 'GET', `${CONFIG}/admins`), await ask(server, 'GET', `${CONFIG}/chttpd_auth`),
		await ask(server, 'GET', `${CONFIG}/chttpd_auth/secret`), await put('admins/dave', 'davepw'), await put('admins/dave', 'davepw2'), await put('jwt_keys/hmac:x', 'aHVzaA=='),
		await ask(server, 'GET', `${CONFIG}/jwt_keys`), await del('jwt_keys/hmac:x'), await ask(server, 'GET', `${CONFIG}/admins/dave`)];
	for (const { text, status } of answers) {
		assert.equal(status, 200);
		assert.doesNotMatch(text, /hush|carolpw|davepw|[0-9a-f]{32}|aHVzaA/);
	}
	assert.equal(answers[2].json.secret, '********');
	assert.equal(answers[9].json, '-pbkdf2:sha256-********');
	assert.equal((await put('admins/dave', answers[9].json)).status, 400);
	assert.equal((await put('admins/dave', '********')).status, 400);
	assert.doesNotMatch(server.stderr(), /carolpw|davepw|hush|admin:adm/);
	assert.doesNotMatch(fs.readFileSync(path.join(dataDir, 'local.yaml'), 'latin1'), /davepw/);
	assert.doesNotMatch(fs.readFileSync(`/proc/${server.pid}/environ`, 'latin1'), /admin:adm/);
	assert.equal((await del('admins/dave')).status, 200);
});

test('an administrator comes and goes at once', async () => {
	const eve = { auth: basic('eve:evepw') };
	assert.equal((await ask(server, 'GET', '/_all_dbs', eve)).status, 401);
	assert.equal((await put('admins/eve', 'evepw')).status, 200);
	assert.equal((await ask(server, 'GET', '/_all_dbs', eve)).status, 200);
	await server.restart();
	assert.equal((await ask(server, 'GET', '/_all_dbs', eve)).status, 200);
	assert.equal((await del('admins/eve')).status, 200);
	assert.equal((await ask(server, 'GET', '/_all_dbs', eve)).status, 401);
});

test('an administrator whom the environment names: what was changed over HTTP holds when the files are read again, and after restarts', async () => {
	const one = await startDivand({ config: { chttpd_auth: { iterations: '1000' } } });
	const lets = async (name, password) => (await ask(one, 'GET', '/_all_dbs', { auth: basic(`${name}:${password}`) })).status === 200;
	const change = async (method, name, json) => assert.equal((await ask(one, method, `${CONFIG}/admins/${name}`, { json, auth: basic('boss:x') })).status, 200);
	const again = [
		async () => assert.equal((await ask(one, 'POST', `${CONFIG}/_reload`, { json: {}, auth: basic('boss:x') })).status, 200),
		() => one.restart(),
		() => one.restart(),
	];
	assert.equal((await ask(one, 'PUT', `${CONFIG}/admins/boss`, { json: 'x' })).status, 200);
	for (const step of [...again, ...again]) {
		await change('PUT', 'admin', 'new');
		await step();
		assert.deepEqual([await lets('admin', 'adm'), await lets('admin', 'new')], [false, true]);
		await change('DELETE', 'admin');
		await step();
		assert.deepEqual([await lets('admin', 'adm'), await lets('admin', 'new')], [false, false]);
	}
	await one.stop();
});

test('a white list says what may be changed', async () => {
	await put('chttpd/config_whitelist', '[{chttpd,config_whitelist}, {tests,open}]');
	assert.equal((await put('tests/open', '1')).status, 200);
	const { status, json } = await put('tests/closed', '1');
	assert.equal(status, 400);
	assert.deepEqual(json, { error: 'modification_not_allowed', reason: 'This config variable is read-only' });
	assert.equal((await del('cors/headers')).status, 400);
	// As CouchDB's own tests have it.
	for (const list of ['[{chttpd,config_whitelist}, these, {are}, {nOt, 2, tuples}, [so], [they, will], [all, become, noops], {tests,open}]',
		'[{chttpd,config_whitelist}, {"tests","open"}', '[{chttpd,config_whitelist}, {<<"tests">>,<<"open">>}]', 'chttpd/config_whitelist, tests/open']) {
		assert.equal((await put('chttpd/config_whitelist', list)).status, 200, list);
		assert.equal((await put('tests/open', list)).status, 200, list);
		assert.equal((await put('tests/closed', '1')).status, 400, list);
	}
	await put('chttpd/config_whitelist', '!This is an invalid Erlang term!');
	assert.equal((await put('tests/closed', '1')).status, 400);
	await put('chttpd/config_whitelist', '{[yes, a_valid_erlang_term, but_unfortunately, not_a_list]}');
	assert.equal((await del('chttpd/config_whitelist')).status, 200);
	assert.equal((await put('tests/closed', '1')).status, 200);
});

test('settings that were CouchDB\'s alone: plus in paths, names of proxy headers, ids', async () => {
	assert.equal((await ask(server, 'PUT', '/plus')).status, 201);
	await ask(server, 'PUT', '/plus/a%2Bb', { json: {} });
	assert.equal((await ask(server, 'GET', '/plus/a+b')).status, 404);
	await put('chttpd/decode_plus_to_space', 'false');
	assert.equal((await ask(server, 'GET', '/plus/a+b')).status, 200);
	await put('chttpd/x_forwarded_host', 'X-My-Host');
	const made = await ask(server, 'PUT', '/plus/c', { json: {}, headers: { 'x-my-host': 'notes.example' } });
	assert.equal(made.headers.location, 'http://notes.example/plus/c');
	await put('uuids/algorithm', 'utc_id');
	await put('uuids/utc_id_suffix', '-here');
	const [one, two] = (await ask(server, 'GET', '/_uuids?count=2')).json.uuids;
	assert.match(one, /^[0-9a-f]{14}-here$/);
	assert.ok(one < two);
	assert.ok(Math.abs(parseInt(one.slice(0, 14), 16) / 1000 - Date.now()) < 60000);
	await put('uuids/algorithm', 'utc_random');
	assert.match((await ask(server, 'GET', '/_uuids')).json.uuids[0], /^[0-9a-f]{32}$/);
	await put('uuids/max_count', '3');
	assert.equal((await ask(server, 'GET', '/_uuids?count=4')).status, 400);
});

test('what is counted', async () => {
	const value = async (what) => (await ask(server, 'GET', `/_node/_local/_stats/${what}`)).json.value;
	const before = [await value('couchdb/httpd_request_methods/PUT'), await value('couchdb/httpd_status_codes/201'), await value('couchdb/document_writes')];
	await ask(server, 'PUT', '/plus/counted', { json: {} });
	assert.equal(await value('couchdb/httpd_request_methods/PUT'), before[0] + 1);
	assert.equal(await value('couchdb/httpd_status_codes/201'), before[1] + 1);
	assert.equal(await value('couchdb/document_writes'), before[2] + 1);
	assert.equal((await ask(server, 'PUT', '/plus/_design/d', { json: { views: { v: { map: 'function (doc) {}' } } } })).status, 201);
	const reads = await value('couchdb/httpd/view_reads');
	for (const [method, path, json] of [['GET', 'd/_view/v'], ['POST', 'd/_view/v', {}], ['GET', 'd/_view/none'], ['GET', 'd']]) await ask(server, method, `/plus/_design/${path}`, { json });
	assert.equal(await value('couchdb/httpd/view_reads'), reads + 2);
	const tree = (await ask(server, 'GET', '/_node/_local/_stats')).json;
	assert.equal(tree.couchdb.httpd.requests.type, 'counter');
	assert.ok(tree.couchdb.request_time.value.n > 0);
	assert.deepEqual((await ask(server, 'GET', '/_node/_local/_stats/couchdb/nothing')).json, null);
	const { text, headers } = await ask(server, 'GET', '/_node/_local/_prometheus');
	assert.match(headers['content-type'], /^text\/plain/);
	const lines = text.trimEnd().split('\n');
	for (const line of lines) assert.match(line, /^(# TYPE \w+ (counter|gauge|histogram)|\w+(\{\w+="[^"]+"\})? [\d.e+]+)$/);
	assert.ok(lines.some((l) => /^couchdb_httpd_request_methods\{method="PUT"\} [1-9]/.test(l)));
	assert.equal(new Set(lines.filter((l) => l[0] === '#')).size, lines.filter((l) => l[0] === '#').length, 'each metric is named once');
});
