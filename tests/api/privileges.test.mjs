// What divand may do: not root, no capabilities, no writing but in its folders, no system calls but its own. Told by the kernel, and tried from inside.
// As root the server is somebody else's (nobody); as an ordinary user what needs root is left out.
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { after, before, test } from 'node:test';
import tls from 'node:tls';
import { BUILD, certificate, DIVAND, startDivand, tempDir } from '../lib/divand.mjs';
import { until } from '../lib/until.mjs';
import { ask, assertError } from './client.mjs';

const ROOT = process.getuid() === 0;
const NOBODY = 65534;
const uid = ROOT ? NOBODY : process.getuid();
const shim = path.join(BUILD, 'tests/lib/probe_shim.so');
const { errno } = (await import('node:os')).default.constants;
const quick = { chttpd_auth: { iterations: 1000 } };

/** A folder that belongs to the server's user, with all that is in it. */
function own(dir) {
	if (ROOT) execFileSync('chown', ['-R', `${NOBODY}:${NOBODY}`, dir]);
	return dir;
}
const status = (pid, task = pid) => Object.fromEntries(fs.readFileSync(`/proc/${pid}/task/${task}/status`, 'utf8').split('\n').map((l) => l.split(/:\s+/)));
const tasks = (pid) => fs.readdirSync(`/proc/${pid}/task`);
const children = (pid) => tasks(pid).flatMap((t) => fs.readFileSync(`/proc/${pid}/task/${t}/children`, 'utf8').split(' ').filter(Boolean));
const log = () => fs.readFileSync(path.join(logs, 'divan.log'), 'utf8');
/** A start that must fail: what it says. */
function refused(args, env = {}) {
	const { status: code, stderr } = spawnSync(DIVAND, ['--port', '0', '--set', 'chttpd_auth/iterations=1000', ...args], { encoding: 'utf8', timeout: 10000, env: { ...process.env, DIVAN_ADMIN: 'admin:adm', ...env } });
	assert.equal(code, 1, stderr);
	return stderr;
}

// A build for sanitizers or coverage has no walls.
const none = /has no walls/.test(spawnSync(DIVAND, ['--data', tempDir('divan-none'), '--port', '0', '--bind', 'nowhere.invalid', '--set', 'divan/confine=require'], { encoding: 'utf8', timeout: 20000 }).stderr) && 'built without walls';
const skip = none;
const wrote = path.join(tempDir('divan-probe'), 'out');
const outside = own(tempDir('divan-outside'));
const data = own(tempDir('divan-own'));
const logs = own(tempDir('divan-logs'));
const certs = certificate();
// A process of the same user, which is none of the server's business.
const other = spawn('sleep', ['1000'], { uid, gid: ROOT ? NOBODY : process.getgid(), stdio: 'ignore' });
let server;
let lacking = ''; // what the kernel does not have

before(async () => {
	if (skip) return;
	fs.writeFileSync(path.join(outside, 'there'), 'x');
	own(outside);
	own(path.dirname(certs.key_file));
	const start = (confine) => startDivand({
		dataDir: data,
		env: { LD_PRELOAD: shim, PROBE_OUT: wrote, PROBE_DIR: outside, PROBE_OWN: data, PROBE_PID: String(other.pid), DIVAN_DIVAN__CORE_DUMPS: 'false' },
		config: { ...quick, ssl: certs, log: { file: path.join(logs, 'divan.log') }, divan: { confine }, replicator: { verify_ssl_certificates: 'false' } },
	});
	try {
		server = await start('require');
	} catch (e) {
		lacking = log();
		if (!/this kernel does not give us/.test(lacking)) throw e;
		server = await start('auto');
	}
});
after(async () => {
	other.kill('SIGKILL');
	if (server?.child.exitCode === null && server.child.signalCode === null) await (server.killed ? server.kill() : server.stop());
});

/** Every thread of a process: nobody's rights, and all walls. */
function walled(pid, filters) {
	const all = tasks(pid);
	for (const task of all) {
		const s = status(pid, task);
		assert.equal(s.Uid, [uid, uid, uid, uid].join('\t'), `thread ${s.Name}`);
		for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapAmb', ...(ROOT ? ['CapBnd'] : [])]) assert.match(s[set], /^0+$/, `thread ${s.Name}: ${set}`);
		if (ROOT) assert.equal(s.Groups.trim(), String(NOBODY), `thread ${s.Name}: groups`);
		assert.equal(s.NoNewPrivs, '1', `thread ${s.Name}`);
		if (/seccomp/.test(lacking)) continue;
		assert.equal(s.Seccomp, '2', `thread ${s.Name}`);
		assert.equal(s.Seccomp_filters ?? String(filters), String(filters), `thread ${s.Name}`);
	}
	return all.length;
}

test('a word that is none is refused, and so are walls where a build has none', () => {
	assert.match(refused(['--data', tempDir('divan-word'), '--set', 'divan/confine=perhaps']), /divan\/confine must be one of auto\|require\|off/);
	if (none) assert.match(refused(['--data', tempDir('divan-word'), '--set', 'divan/confine=require']), /has no walls/);
});

test('all threads are an ordinary user without capabilities behind a filter of system calls', { skip }, () => {
	assert.ok(walled(server.pid, 1) > 4);
	// What is not dumpable belongs to root in /proc, and other processes of the same user cannot read it.
	if (ROOT) assert.equal(fs.statSync(`/proc/${server.pid}/environ`).uid, 0);
	else assert.throws(() => fs.readFileSync(`/proc/${server.pid}/environ`), { code: 'EACCES' });
});

test('documents, attachments, views, compaction, settings, replication over TLS', { skip }, async () => {
	assert.equal((await ask(server, 'PUT', '/db')).status, 201);
	for (let i = 0; i < 20; i++) assert.equal((await ask(server, 'PUT', `/db/doc${i}`, { json: { n: i } })).status, 201);
	// Beyond what waits in memory, and as part of a body.
	assert.equal((await ask(server, 'PUT', '/db/att/a', { body: Buffer.alloc(5 << 20, 'a'), type: 'application/octet-stream' })).status, 201);
	const many = { docs: Array.from({ length: 20 }, (_, i) => ({ _id: `b${i}`, text: 'x'.repeat(200000) })) };
	assert.equal((await ask(server, 'POST', '/db/_bulk_docs', { json: many })).status, 201);
	assert.equal((await ask(server, 'PUT', '/db/_design/d', { json: { views: { v: { map: 'function (d) { if (d.n !== undefined) emit(d.n, d.n); }', reduce: 'function (k, v) { return v.reduce((a, b) => a + b); }' } } } })).status, 201);
	assert.equal((await ask(server, 'GET', '/db/_design/d/_view/v')).json.rows[0].value, 190);
	const js = children(server.pid);
	assert.ok(js.length > 0);
	for (const pid of js) walled(pid, 2);
	assert.equal((await ask(server, 'POST', '/db/_compact', { json: {} })).status, 202);
	assert.equal((await ask(server, 'POST', '/db/_compact/d', { json: {} })).status, 202);
	await until(async () => !(await ask(server, 'GET', '/_active_tasks')).json.length && !(await ask(server, 'GET', '/db')).json.compact_running);
	assert.equal((await ask(server, 'PUT', '/_node/_local/_config/uuids/max_count', { json: '77' })).status, 200);
	const source = `${server.tlsUrl.replace('127.0.0.1', 'localhost')}/db`;
	const copied = await ask(server, 'POST', '/_replicate', { json: { source: { url: source, auth: { basic: { username: 'admin', password: 'adm' } } }, target: 'copy', create_target: true } });
	assert.equal(copied.json.ok, true, copied.text);
	assert.equal((await ask(server, 'GET', '/copy')).json.doc_count, 42);
	assert.equal((await ask(server, 'DELETE', '/copy')).status, 200);
	walled(server.pid, 1);
});

test('SIGHUP: the log is made anew, the configuration read; a certificate is renewed', { skip }, async () => {
	const shown = () => new Promise((resolve, reject) => {
		const socket = tls.connect({ port: server.tlsPort, rejectUnauthorized: false }, () => {
			resolve(socket.getPeerCertificate().serialNumber);
			socket.destroy();
		});
		socket.on('error', reject);
	});
	const old = await shown();
	fs.renameSync(path.join(logs, 'divan.log'), path.join(logs, 'divan.log.1'));
	process.kill(server.pid, 'SIGHUP');
	await until(() => fs.existsSync(path.join(logs, 'divan.log')) && /SIGHUP: the log is open again, the configuration was read/.test(log()), () => `a new log\n${server.stderr()}`);
	assert.equal((await ask(server, 'GET', '/_node/_local/_config/uuids/max_count')).json, '77');
	const fresh = certificate();
	for (const name of ['cert_file', 'key_file']) fs.copyFileSync(fresh[name], certs[name]);
	own(path.dirname(certs.key_file));
	await until(async () => (await shown()) !== old);
	await server.restart();
	assert.equal((await ask(server, 'GET', '/db')).json.doc_count, 42);
	assert.equal((await ask(server, 'GET', '/_node/_local/_config/uuids/max_count')).json, '77');
});

/** What the kernel answers to who is inside. */
const forbidden = {
	own: 0, 'own-remove': 0, read: 0, tcp: 0,
	// Not every file system has them; the mark of an index file that was closed whole is one.
	'own-mark': [0, 'EOPNOTSUPP'], 'own-unmark': [0, 'EOPNOTSUPP', 'ENODATA'],
	create: 'EACCES', append: 'EACCES', mkdir: 'EACCES', unlink: 'EACCES', rename: 'EACCES', take: ['EACCES', 'EXDEV'], put: ['EACCES', 'EXDEV'],
	symlink: 'ENOSYS', chmod: 'ENOSYS', truncate: 'ENOSYS', link: 'ENOSYS',
	bind: 'ENOSYS', listen: 'ENOSYS', packet: 'ENOSYS', netlink: 'ENOSYS', raw: 'ENOSYS', sctp: 'ENOSYS', vsock: 'ENOSYS',
	exec: 'ENOSYS', 'exec-copy': 'ENOSYS', execat: 'ENOSYS', fork: 'ENOSYS',
	setuid: 'ENOSYS', capset: 'ENOSYS', dumpable: 'ENOSYS', uring: 'ENOSYS', clone3: 'ENOSYS', personality: 'ENOSYS',
	signal: 'EPERM', page: 'EPERM',
};
// Kernels before these do not have them.
const version = fs.readFileSync('/proc/sys/kernel/osrelease', 'utf8').split('.').map(Number);
const since = (major, minor) => version[0] > major || (version[0] === major && version[1] >= minor);
if (!since(6, 12)) delete forbidden.signal;
if (!since(6, 10)) delete forbidden.page;

test('from inside: no file elsewhere, no other program, no other socket, no rights', { skip }, async (t) => {
	// What would succeed leaves nothing to try the rest on.
	if (lacking) return t.skip(lacking);
	process.kill(server.pid, 'SIGUSR1');
	const text = await until(() => /^done$/m.test(fs.readFileSync(wrote, 'latin1')) && fs.readFileSync(wrote, 'latin1'), () => `the probes\n${server.stderr()}`);
	const found = Object.fromEntries(text.trim().split('\n').map((l) => l.split(' ')));
	const wrong = Object.entries(forbidden).filter(([name, want]) => ![want].flat().some((w) => Number(found[name]) === (w === 0 ? 0 : errno[w])));
	assert.deepEqual(wrong.map(([name, want]) => `${name}: ${found[name]}, not ${want}`), []);
	assert.deepEqual(fs.readdirSync(outside), ['there']);
	assert.equal((await ask(server, 'GET', '/db/doc1')).status, 200);
});

test('from inside: who traces is ended', { skip }, async (t) => {
	if (/seccomp/.test(lacking)) {
		await server.stop();
		return t.skip(lacking);
	}
	server.killed = true;
	process.kill(server.pid, 'SIGUSR2');
	await until(() => server.child.exitCode !== null || server.child.signalCode !== null, () => `the end\n${server.stderr()}`);
	assert.equal((await server.exited).signal, 'SIGSYS');
	assert.doesNotMatch(fs.readFileSync(wrote, 'latin1'), /ptrace/);
});

test('settings over HTTP and in the data folder do not open the walls', { skip }, async () => {
	fs.appendFileSync(path.join(data, 'local.yaml'), 'divan:\n  confine: "off"\n  core_dumps: "true"\n  user: root\n');
	const kept = await startDivand({ dataDir: data, config: quick });
	try {
		walled(kept.pid, 1);
		for (const name of ['user', 'confine', 'core_dumps', 'write_also']) assertError(await ask(kept, 'PUT', `/_node/_local/_config/divan/${name}`, { json: '/etc' }), 403, 'forbidden');
	} finally {
		await kept.stop();
	}
});

test('what is turned off is off, but rights; folders that are named can be written to', { skip }, async () => {
	const links = own(tempDir('divan-links'));
	const out = path.join(tempDir('divan-probe'), 'out');
	const env = { LD_PRELOAD: shim, PROBE_OUT: out, PROBE_DIR: outside, PROBE_OWN: links };
	const off = await startDivand({ dataDir: own(tempDir('divan-off')), config: { ...quick, divan: { confine: 'off' } } });
	const more = await startDivand({ dataDir: own(tempDir('divan-also')), env, config: { ...quick, divan: { write_also: `${tempDir('divan-more')} , ${links}`, core_dumps: 'true' } } });
	try {
		const s = status(off.pid);
		assert.deepEqual([s.Seccomp, s.NoNewPrivs, s.Uid.split('\t')[0], Number(s.CapPrm)], ['0', '0', String(uid), 0]);
		assert.equal(fs.statSync(`/proc/${more.pid}/environ`).uid, uid);
		if (/seccomp/.test(lacking)) return;
		process.kill(more.pid, 'SIGUSR1');
		await until(() => /^done$/m.test(fs.readFileSync(out, 'latin1')), () => `the probes\n${server.stderr()}`);
		for (const done of [/^own 0$/m, /^own-remove 0$/m]) assert.match(fs.readFileSync(out, 'latin1'), done);
		if (!/Landlock/.test(lacking)) assert.match(fs.readFileSync(out, 'latin1'), /^create 13$/m);
	} finally {
		await off.stop();
		await more.stop();
	}
});

const asRoot = skip || (!ROOT && 'only root can become somebody else');

test('root: the user that is named gets the folder that is made, with what leads to it, and no other', { skip: asRoot }, async () => {
	const base = tempDir('divan-named');
	fs.chmodSync(base, 0o755);
	const dataDir = path.join(base, 'a/b');
	const named = await startDivand({ dataDir, args: ['--user', 'nobody'], config: quick });
	try {
		walled(named.pid, 1);
		for (const dir of ['a', 'a/b', 'a/b/uuid', 'a/b/_users.divan']) assert.equal(fs.statSync(path.join(base, dir)).uid, NOBODY, dir);
		assert.equal(fs.statSync(base).uid, 0);
		assert.doesNotMatch(named.stderr(), /\[warning\] divand goes on as root/);
	} finally {
		await named.stop();
	}
	const foreign = path.join(base, 'foreign');
	fs.mkdirSync(foreign, { mode: 0o700 });
	assert.match(refused(['--data', foreign, '--user', '65534']), /data folder .*foreign: user 65534: Permission denied/);
	assert.equal(fs.statSync(foreign).uid, 0);
	if (!/Landlock/.test(lacking)) assert.match(refused(['--data', foreign, '--user', 'root', '--set', `divan/write_also=${base}/none`]), /confine: .*none: No such file/);
	assert.match(refused(['--data', foreign, '--user', 'no-such-user']), /there is no user no-such-user/);
});

test('root: listens on a port below 1024, and keeps nothing for it', { skip: asRoot }, async () => {
	const free = (port) => new Promise((resolve) => {
		const s = net.createServer().once('error', () => resolve(false)).listen(port, '127.0.0.1', () => s.close(() => resolve(true)));
	});
	let port = 1023;
	while (!(await free(port))) port--;
	const low = await startDivand({ dataDir: own(tempDir('divan-low')), port, config: quick });
	try {
		walled(low.pid, 1);
		assert.equal((await ask(low, 'GET', '/_up')).status, 200);
		assert.equal(low.port, port);
	} finally {
		await low.stop();
	}
});

test('root: whoever leaves it root is told, and has no capabilities', { skip: asRoot }, async () => {
	for (const [args, told] of [[[], true], [['--user', 'root'], false]]) {
		const root = await startDivand({ args, config: quick });
		try {
			const s = status(root.pid);
			assert.deepEqual([s.Uid.split('\t')[0], Number(`0x${s.CapPrm}`), Number(`0x${s.CapBnd}`)], ['0', 0, 0]);
			assert.equal(/\[warning\] divand goes on as root/.test(root.stderr()), told, root.stderr());
		} finally {
			await root.stop();
		}
	}
});

test('what the user cannot read later it is told at the start', { skip: asRoot }, async () => {
	// The key is root's alone: it could be read now, but not when it is renewed.
	const closed = certificate();
	const dataDir = own(tempDir('divan-keys'));
	assert.match(refused(['--data', dataDir, '--set', `ssl/cert_file=${closed.cert_file}`, '--set', `ssl/key_file=${closed.key_file}`, '--set', 'ssl/port=0']), /cannot use ssl\/\w+/);
	const file = path.join(tempDir('divan-closed'), 'divan.yaml');
	fs.writeFileSync(file, 'chttpd_auth:\n  iterations: 1000\n', { mode: 0o600 });
	const told = await startDivand({ dataDir, args: ['--config', file] });
	try {
		assert.match(told.stderr(), /divan\.yaml: Permission denied: SIGHUP will not read it again/);
	} finally {
		await told.stop();
	}
});
