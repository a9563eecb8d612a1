// `divan copy`, `restore` and `check`: one database as one file, and back.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { certificate, DIVAN, startDivand, tempDir } from '../lib/divand.mjs';
import { until } from '../lib/until.mjs';
import { ask, assertError, newDb } from './client.mjs';

const work = tempDir('divan-copy');
let server;
before(async () => (server = await startDivand()));
after(() => server.stop());

let serial = 0;
const newFile = () => path.join(work, `copy-${++serial}`);
const newFolder = () => fs.mkdtempSync(path.join(work, 'data-'));

/** Run divan to its end, away from the terminal: {status, out, err}. `begun` is given the child. */
function divan(args, { env = {}, command = [DIVAN], begun } = {}) {
	const clean = { ...process.env, HOME: work, DIVAN_ADMIN: '', COUCHDB_USER: '', COUCHDB_PASSWORD: '', ...env };
	const child = spawn(command[0], [...command.slice(1), ...args], { env: clean, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
	let out = '';
	let err = '';
	child.stdout.setEncoding('utf8').on('data', (d) => (out += d));
	child.stderr.setEncoding('utf8').on('data', (d) => (err += d));
	begun?.(child);
	return new Promise((resolve, reject) => {
		child.on('error', reject);
		child.on('close', (status, signal) => resolve({ status, signal, out, err }));
	});
}

const admin = { DIVAN_ADMIN: 'admin:adm' };
async function copy(from, db, file) {
	const { status, err } = await divan(['copy', '--url', from.url, db, file], { env: admin });
	assert.equal(status, 0, err);
	return file;
}

async function restore(file, db, dataDir = newFolder()) {
	const { status, err } = await divan(['restore', '--data', dataDir, file, db]);
	assert.equal(status, 0, err);
	return dataDir;
}

/** It failed with these words, and there is no file. */
async function fails(args, words, options) {
	const file = newFile();
	const { status, err } = await divan([...args, file], options);
	assert.equal(status, 1, err);
	assert.match(err, words);
	assert.ok(!fs.existsSync(file) && !fs.existsSync(`${file}.part`), err);
}

const get = async (from, url) => {
	const answer = await ask(from, 'GET', url);
	assert.equal(answer.status, 200, answer.text);
	return answer;
};
const put = async (to, url, json) => {
	const answer = await ask(to, 'PUT', url, { json });
	assert.equal(answer.status, 201, answer.text);
	return answer.json;
};

test('a copy made while writers write is the database at one moment', { timeout: 120000 }, async () => {
	const db = await newDb(server, 'busy');
	const bytes = randomBytes(300000);
	const docs = Array.from({ length: 3000 }, (_, i) => ({ _id: `old-${i}`, i, text: 'words '.repeat(20) }));
	const revs = (await ask(server, 'POST', `/${db}/_bulk_docs`, { json: { docs } })).json.map((row) => row.rev);
	// Free pages, which the copy leaves out; a conflict; a tombstone.
	const gone = docs.slice(1000).map(({ _id }, i) => ({ _id, _rev: revs[1000 + i], _deleted: true }));
	assert.equal((await ask(server, 'POST', `/${db}/_bulk_docs`, { json: { docs: gone } })).status, 201);
	await ask(server, 'POST', `/${db}/_bulk_docs`, { json: { new_edits: false, docs: [{ _id: 'old-1', _rev: '1-ffffffffffffffffffffffffffffffff', other: true }] } });
	const { rev } = await put(server, `/${db}/with`, {});
	assert.equal((await ask(server, 'PUT', `/${db}/with/bytes?rev=${rev}`, { body: bytes, type: 'image/png' })).status, 201);
	await put(server, `/${db}/_local/mark`, { kept: 1 });

	const acked = Array.from({ length: 4 }, () => []);
	let stop = false;
	const writers = acked.map(async (list, w) => {
		while (!stop) list.push((await put(server, `/${db}/w${w}-${list.length}`, { n: list.length, pad: 'x'.repeat(500) })).rev);
	});
	await until(() => acked.every((list) => list.length >= 20), 'the writers do not get on');
	const early = acked.map((list) => list.length);
	const file = await copy(server, db, newFile());
	const late = acked.map((list) => list.length);
	stop = true;
	await Promise.all(writers);

	assert.equal(fs.statSync(file).mode & 0o777, 0o600);
	const { sizes } = (await get(server, `/${db}`)).json;
	// Not against the original's file, which the server may have compacted by itself meanwhile.
	assert.ok(fs.statSync(file).size < 1.5 * sizes.active, `${fs.statSync(file).size} bytes, ${JSON.stringify(sizes)}`);
	const dataDir = await restore(file, 'again');
	const checked = await divan(['check', '--data', dataDir, 'again']);
	assert.equal(checked.status, 0, checked.out + checked.err);
	assert.equal(checked.out, '1 databases checked, 0 with findings\n');

	const other = await startDivand({ dataDir });
	try {
		const { rows } = (await get(other, '/again/_all_docs')).json;
		const found = new Map(rows.map((row) => [row.id, row.value.rev]));
		assert.equal((await get(other, '/again')).json.doc_count, found.size);
		acked.forEach((list, w) => {
			let n = 0;
			while (found.has(`w${w}-${n}`)) assert.equal(found.get(`w${w}-${n}`), list[n++]);
			assert.ok(n >= early[w] && n <= late[w] + 1, `writer ${w}: ${n} documents, ${early[w]} before, ${late[w]} after`);
			for (let i = n; i < list.length; i++) assert.ok(!found.has(`w${w}-${i}`), `w${w}-${i} is there, w${w}-${n} is not`);
		});
		for (let i = 0; i < 1000; i++) assert.ok(found.has(`old-${i}`), `old-${i}`);
		assert.equal((await ask(other, 'GET', '/again/old-1000')).json.reason, 'deleted');
		assert.equal((await get(other, '/again/old-1?conflicts=true')).json._conflicts.length, 1);
		assert.ok((await get(other, '/again/with/bytes')).raw.equals(bytes));
		assert.equal((await get(other, '/again/_local/mark')).json.kept, 1);
		assert.deepEqual((await get(other, '/again/old-7')).json, (await get(server, `/${db}/old-7`)).json);
	} finally {
		await other.stop();
	}
});

test('a copy begins a history that shares the past', async () => {
	const db = await newDb(server, 'past');
	const history = (seq) => String(seq).replace(/^\d+-/, '');
	for (const id of ['a', 'b', 'c']) await put(server, `/${db}/${id}`, {});
	await put(server, `/${db}/_local/checkpoint`, { last_seq: 3 });
	const shared = (await get(server, `/${db}`)).json.update_seq;
	const file = await copy(server, db, newFile());
	for (const id of ['lost-1', 'lost-2']) await put(server, `/${db}/${id}`, {});
	const beyond = (await get(server, `/${db}`)).json.update_seq;
	assert.equal(history(beyond), history(shared), 'copying leaves the history of the original alone');

	const other = await startDivand({ dataDir: await restore(file, db) });
	const since = async (seq) => (await get(other, `/${db}/_changes?since=${seq}`)).json.results.map((row) => row.id);
	try {
		assert.deepEqual(await since(shared), []);
		await put(other, `/${db}/new-1`, {});
		await put(other, `/${db}/new-2`, {});
		const now = (await get(other, `/${db}`)).json.update_seq;
		assert.notEqual(history(now), history(shared));
		assert.deepEqual(await since(shared), ['new-1', 'new-2']);
		// Who has seen more of the original than the copy has must still see what is new here, whose numbers are the same.
		assert.deepEqual(await since(beyond), ['new-1', 'new-2']);
		assert.deepEqual(await since('4-AAAAAAAAAAAAAAAAAAAAAA'), ['a', 'b', 'c', 'new-1', 'new-2']);
		assert.deepEqual(await since(now), []);
		assert.equal((await get(other, `/${db}/_local/checkpoint`)).json.last_seq, 3);
		await other.restart();
		assert.equal((await get(other, `/${db}`)).json.update_seq, now, 'taking its place began no other history');
	} finally {
		await other.stop();
	}
});

test('a copy from a folder that nobody serves', async () => {
	const own = await startDivand();
	for (const name of ['notes', 'a%2Fb']) await put(own, `/${name}`);
	await put(own, '/a%2Fb/x', { n: 1 });
	await fails(['copy', '--data', own.dataDir, 'a/b'], /a divand is running on the data folder.*\n.*without --data/);
	assert.match((await divan(['check', '--data', own.dataDir])).err, /a divand is running/);
	const served = await copy(own, 'a/b', newFile());
	await own.stop();

	const file = newFile();
	const { status, out, err } = await divan(['copy', '--data', own.dataDir, 'a/b', file]);
	assert.equal(status, 0, err);
	assert.equal(out, `a/b: ${fs.statSync(file).size} bytes in ${file}\n`);
	await fails(['copy', '--data', own.dataDir, 'nothing'], /nothing: Database does not exist/);
	await fails(['copy', '--data', path.join(work, 'nowhere'), 'x'], /nowhere: No such file/);
	assert.ok(!fs.existsSync(path.join(work, 'nowhere')));
	assert.match((await divan(['check', '--data', own.dataDir])).out, /^4 databases checked, 0 with findings/);

	// Both in one folder, under other names.
	const dataDir = await restore(file, 'p/q$(1)');
	await restore(served, 'r', dataDir);
	const other = await startDivand({ dataDir });
	for (const name of ['p%2Fq$(1)', 'r']) assert.equal((await get(other, `/${name}/x`)).json.n, 1);
	await other.stop();
});

test('what cannot be copied is said, and leaves no file', { timeout: 60000 }, async () => {
	const db = await newDb(server, 'small');
	const url = ['--url', server.url];
	const env = admin;
	await fails(['copy', ...url, 'nothing'], /refuses \(404\): Database does not exist/, { env });
	await fails(['copy', ...url, 'Wrong'], /Name: 'Wrong'/, { env });
	await fails(['copy', ...url, 'W\u001b[31m\u009b31m\u00a0\u00e9'], /Name: 'W\?\[31m\?31m\u00a0\u00e9'/, { env });
	await fails(['copy', ...url, db], /wants an administrator/);
	await fails(['copy', ...url, db], /refuses \(401\): Name or password is incorrect/, { env: { DIVAN_ADMIN: 'admin:wrong' } });
	await fails(['copy', ...url, '--user', 'other', db], /no password for other/, { env });
	// Nothing is cut, and nobody else asks in the place of who does not fit.
	const somebody = { COUCHDB_USER: 'admin', COUCHDB_PASSWORD: 'adm' };
	await fails(['copy', ...url, db], /a name has 255 bytes at most, a password 4095/, { env: { ...somebody, DIVAN_ADMIN: `admin:${'x'.repeat(4096)}` } });
	await fails(['copy', ...url, '--user', 'x'.repeat(256), db], /a name has 255 bytes at most/, { env });
	await fails(['copy', '--url', server.authUrl, db], /no place in the URL/, { env });
	await fails(['copy', '--url', `ftp://127.0.0.1:${server.port}`, db], /ftp/, { env });
	await fails(['copy', ...url, db], /File too large/, { env, command: ['prlimit', '--fsize=4096', DIVAN] });
	await fails(['copy', '--url', `${server.url}/_utils`, db], /refuses|does not answer with a copy/, { env });

	const closed = net.createServer().listen(0, '127.0.0.1');
	await new Promise((resolve) => closed.on('listening', resolve));
	const { port } = closed.address();
	await new Promise((resolve) => closed.close(resolve));
	await fails(['copy', '--url', `http://127.0.0.1:${port}`, db], /connect/i, { env });

	for (const suffix of ['', '.part']) {
		const file = newFile();
		fs.writeFileSync(file + suffix, 'mine');
		const { status, err } = await divan(['copy', ...url, db, file], { env });
		assert.equal(status, 1);
		assert.match(err, /exists/);
		assert.equal(fs.readFileSync(file + suffix, 'utf8'), 'mine');
	}
	assert.match((await divan(['copy', ...url, db, path.join(work, 'no/folder')], { env })).err, /No such file/);

	// Into a folder that may be written, but not opened and synced; root may, unless it gives that up.
	const box = newFolder();
	fs.chmodSync(box, 0o333);
	const command = process.getuid() === 0 ? ['setpriv', '--bounding-set=-all', DIVAN] : [DIVAN];
	const { status, err } = await divan(['copy', ...url, db, path.join(box, 'copy')], { env, command });
	fs.chmodSync(box, 0o700);
	assert.equal(status, 0, err);
	assert.deepEqual(fs.readdirSync(box), ['copy']);

	for (const args of [[], ['copy'], ['copy', db], ['copy', '--nonsense', db, 'x'], ['restore', 'x', 'y'], ['check'], ['nonsense']]) {
		assert.equal((await divan(args)).status, 2, args.join(' '));
	}
	for (const args of [['--help'], ['copy', '--help'], ['restore', '--help'], ['check', '--help']]) {
		const { status, out } = await divan(args);
		assert.equal(status, 0);
		assert.match(out, /^usage: divan/);
	}
});

test('a password of 4,095 bytes is one', async () => {
	const db = await newDb(server, 'long');
	const password = 'x'.repeat(4095);
	assert.equal((await ask(server, 'PUT', '/_node/_local/_config/admins/long', { json: password })).status, 200);
	const file = newFile();
	const { status, err } = await divan(['copy', '--url', server.url, db, file], { env: { DIVAN_ADMIN: `long:${password}` } });
	assert.equal(status, 0, err);
});

test('passwords come from the environment, ~/.netrc or the terminal', { timeout: 60000 }, async () => {
	const db = await newDb(server, 'who');
	const works = async (args, options) => {
		const { status, err } = await divan(['copy', '--url', server.url, ...args, db, newFile()], options);
		assert.equal(status, 0, err);
	};
	await works([], { env: { COUCHDB_USER: 'admin', COUCHDB_PASSWORD: 'adm' } });
	await works(['--user', 'admin'], { env: { DIVAN_ADMIN: 'other:x', COUCHDB_USER: 'admin', COUCHDB_PASSWORD: 'adm' } });
	const HOME = tempDir('divan-home');
	fs.writeFileSync(path.join(HOME, '.netrc'), 'machine 127.0.0.1 login admin password adm\n', { mode: 0o600 });
	await works([], { env: { HOME } });
	await fails(['copy', '--url', server.url, '--user', 'admin', db], /no password for admin/, { env: { HOME } });

	// script(1) gives it a terminal.
	const file = newFile();
	const args = ['-qfec', `"$DIVAN" copy --url ${server.url} ${db} ${file}`, '/dev/null'];
	const child = spawn('script', args, { env: { ...process.env, DIVAN, HOME: work, DIVAN_ADMIN: '' }, stdio: ['pipe', 'pipe', 'inherit'] });
	let out = '';
	child.stdout.on('data', (d) => {
		const asked = out.includes('Password of admin');
		out += d;
		if (!asked && out.includes('Password of admin')) child.stdin.write('adm\n');
	});
	const status = await new Promise((resolve) => child.on('close', resolve));
	assert.equal(status, 0, out);
	assert.ok(fs.existsSync(file));
	assert.doesNotMatch(out.replace(/Password of admin/, ''), /adm\r?\n/);
});

test('over TLS, with a certificate that is trusted', async () => {
	const tls = certificate();
	const secure = await startDivand({ config: { ssl: tls } });
	await put(secure, '/notes');
	const url = secure.tlsUrl;
	await fails(['copy', '--url', url, 'notes'], /certificate/i, { env: admin });
	const { status, err } = await divan(['copy', '--url', url, '--ca-file', tls.cert_file, 'notes', newFile()], { env: admin });
	assert.equal(status, 0, err);
	await secure.stop();
});

/** Stands between divan and a server, and passes `most` bytes of the answer on. */
async function proxy(port, most) {
	const p = { sockets: new Set() };
	p.stalled = new Promise((resolve) => (p.stall = resolve));
	const listener = net.createServer((client) => {
		const upstream = net.connect(port, '127.0.0.1');
		let passed = 0;
		for (const s of [client, upstream]) {
			p.sockets.add(s);
			s.on('error', () => {});
		}
		client.on('data', (d) => upstream.write(d));
		client.on('close', () => upstream.destroy());
		upstream.on('data', (d) => {
			client.write(d.subarray(0, Math.max(0, most - passed)));
			passed += d.length;
			if (passed < most) return;
			upstream.pause();
			p.stall();
		});
		upstream.on('close', () => client.destroy());
		p.cut = () => upstream.destroy();
	}).listen(0, '127.0.0.1');
	await new Promise((resolve) => listener.on('listening', resolve));
	p.url = `http://127.0.0.1:${listener.address().port}`;
	p.close = () => {
		for (const s of p.sockets) s.destroy();
		listener.close();
	};
	return p;
}

/** The copies that a server holds: files without a name. */
const held = (pid) => fs.readdirSync(`/proc/${pid}/fd`).filter((fd) => {
	try {
		return fs.readlinkSync(`/proc/${pid}/fd/${fd}`).includes('/.tmp-copy-');
	} catch {
		return false;
	}
}).length;

test('a copy that is cut off leaves nothing on either side', { timeout: 120000 }, async () => {
	const own = await startDivand();
	await put(own, '/big');
	assert.equal((await ask(own, 'PUT', '/big/d/bytes', { body: randomBytes(24 << 20), type: 'image/png' })).status, 201);
	const file = newFile();
	const begin = async (act, options) => {
		const p = await proxy(own.port, 1 << 20);
		let child;
		const done = divan(['copy', '--url', p.url, 'big', file], { env: admin, begun: (c) => (child = c), ...options });
		await p.stalled;
		await until(() => fs.existsSync(`${file}.part`) && fs.statSync(`${file}.part`).size > 0, 'nothing was written');
		assert.equal(held(own.pid), 1);
		act(p, child);
		const end = await done;
		p.close();
		assert.ok(!fs.existsSync(file) && !fs.existsSync(`${file}.part`));
		return end;
	};

	for (let i = 0; i < 6; i++) {
		assert.equal((await begin((_, child) => child.kill('SIGTERM'))).signal, 'SIGTERM');
		await until(() => held(own.pid) === 0, 'the server holds a copy that nobody wants');
	}
	const cut = await begin((p) => p.cut());
	assert.equal(cut.status, 1);
	assert.match(cut.err, /bytes remaining|closed|reset/);
	const hungUp = await begin((p, child) => child.kill('SIGHUP') && p.cut(), { command: ['nohup', DIVAN] });
	assert.deepEqual([hungUp.signal, hungUp.status], [null, 1], 'nohup has it go on');
	const killed = await begin((p) => own.kill().then(p.cut)); // what waits unread would keep the proxy from noticing
	assert.equal(killed.status, 1);

	// What a kill leaves while the copy is made.
	const left = path.join(own.dataDir, '.tmp-copy-1-1');
	fs.writeFileSync(left, 'unfinished');
	await own.restart();
	assert.ok(!fs.existsSync(left));
	await copy(own, 'big', file);
	await own.stop();
	assert.deepEqual(fs.readdirSync(own.dataDir).filter((name) => name.startsWith('.tmp')), []);
});

test('the endpoint', { timeout: 60000 }, async () => {
	const own = await startDivand();
	await put(own, '/big');
	assert.equal((await ask(own, 'PUT', '/big/d/bytes', { body: randomBytes(24 << 20), type: 'image/png' })).status, 201);
	assert.equal((await ask(own, 'PUT', '/big/_security', { json: { members: { names: [], roles: [] } } })).status, 200);
	assertError(await ask(own, 'GET', '/big/_copy', { auth: null }), 401, 'unauthorized', 'You are not a server admin.');
	for (const method of ['POST', 'PUT', 'DELETE']) {
		const answer = await ask(own, method, '/big/_copy', { json: {} });
		assertError(answer, 405, 'method_not_allowed');
		assert.equal(answer.headers.allow, 'GET');
	}
	assert.equal((await ask(own, 'HEAD', '/big/_copy')).status, 405);

	// Four that do not read: a fifth is refused until one of them goes.
	const open = () => new Promise((resolve, reject) => {
		const req = http.request({ port: own.port, host: '127.0.0.1', path: '/big/_copy', headers: { Authorization: own.auth }, agent: false });
		req.on('response', (res) => resolve({ req, res: res.pause() })).on('error', reject).end();
	});
	const slow = await Promise.all([open(), open(), open(), open()]);
	for (const { res } of slow) {
		assert.equal(res.statusCode, 200);
		assert.equal(res.headers['content-type'], 'application/octet-stream');
		assert.equal(res.headers['content-disposition'], 'attachment; filename="big.divan"');
		assert.ok(Number(res.headers['content-length']) > 24 << 20);
	}
	assertError(await ask(own, 'GET', '/big/_copy'), 503, 'service_unavailable');
	assert.equal((await ask(own, 'PUT', '/big/meanwhile', { json: {} })).status, 201);
	for (const { req } of slow) req.on('error', () => {}).destroy();
	await until(() => held(own.pid) === 0, 'the server holds copies that nobody wants');
	const whole = await ask(own, 'GET', '/big/_copy');
	assert.equal(whole.raw.length, Number(whole.headers['content-length']));

	// No room for the copy.
	execFileSync('prlimit', ['--pid', String(own.pid), `--fsize=${8 << 20}:`]);
	await fails(['copy', '--url', own.url, 'big'], /refuses \(507\)/, { env: admin });
	assert.equal(held(own.pid), 0);
	execFileSync('prlimit', ['--pid', String(own.pid), '--fsize=unlimited:']);
	assert.equal((await ask(own, 'DELETE', '/big')).status, 200);
	await own.stop();
});

test('only a whole, sound copy is restored', async () => {
	const db = await newDb(server, 'sound');
	const docs = Array.from({ length: 500 }, (_, i) => ({ _id: `d${i}`, text: `${i} `.repeat(100) }));
	assert.equal((await ask(server, 'POST', `/${db}/_bulk_docs`, { json: { docs } })).status, 201);
	const file = await copy(server, db, newFile());
	const bytes = fs.readFileSync(file);
	const dataDir = newFolder();
	const refused = async (content, words) => {
		const bad = newFile();
		fs.writeFileSync(bad, content);
		const { status, err } = await divan(['restore', '--data', dataDir, bad, 'x']);
		assert.equal(status, 1, err);
		assert.match(err, words);
		assert.deepEqual(fs.readdirSync(dataDir), ['.lock']);
	};
	await refused('', /damaged/);
	await refused('a text that is no database'.repeat(1000), /damaged/);
	await refused(bytes.subarray(0, bytes.length >> 1), /damaged/);
	// One bit in a document.
	const hit = Buffer.from(bytes);
	hit[hit.lastIndexOf('d499') + 30] ^= 1;
	await refused(hit, /\S/);
	assert.match((await divan(['restore', '--data', dataDir, path.join(work, 'none'), 'x'])).err, /none: No such file/);
	assert.match((await divan(['restore', '--data', dataDir, file, '../x'])).err, /Name: '..\/x'/);

	// A restore that was killed, then one that is not.
	fs.mkdirSync(path.join(dataDir, '.restore'));
	fs.writeFileSync(path.join(dataDir, '.restore/x.divan.part'), 'half');
	await restore(file, 'x', dataDir);
	assert.deepEqual(fs.readdirSync(dataDir).sort(), ['.lock', 'x.divan']);
	assert.match((await divan(['restore', '--data', dataDir, file, 'x'])).err, /database x exists/);
	assert.ok(fs.readFileSync(file).equals(bytes), 'the copy is as it was');
	assert.match((await divan(['restore', '--data', server.dataDir, file, 'x'])).err, /a divand is running/);

	// check finds what is damaged in a folder.
	const victim = path.join(dataDir, 'x.divan');
	const content = fs.readFileSync(victim);
	content[content.lastIndexOf('d499') + 30] ^= 1;
	fs.writeFileSync(victim, content);
	const { status, out } = await divan(['check', '--data', dataDir]);
	assert.equal(status, 1);
	assert.match(out, /^x: .+\n1 databases checked, 1 with findings\n$/);
});
