// TLS: versions and ciphers, certificates that change, clients' certificates, bytes that are no TLS, and plain HTTP by configuration.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import http2 from 'node:http2';
import https from 'node:https';
import net from 'node:net';
import path from 'node:path';
import { after, before, test } from 'node:test';
import tls from 'node:tls';
import { promisify } from 'node:util';
import { ask, assertError, connect } from './client.mjs';
import { Authority, read } from '../lib/certs.mjs';
import { startDivand, tempDir } from '../lib/divand.mjs';
import { until } from '../lib/until.mjs';

const run = promisify(execFile);
const PASSWORD = 'a pass phrase nobody sees';
const ca = new Authority();
const folder = tempDir('divan-tls');
const files = { cert_file: path.join(folder, 'cert.pem'), key_file: path.join(folder, 'key.pem') };
const NO_SHAKE = /alert|disconnected|ECONNRESET/;
let server;

/** As a renewal does it: each file is there whole, or not yet. */
function install(made, to = files) {
	for (const name of ['key_file', 'cert_file']) {
		fs.copyFileSync(made[name], `${to[name]}.new`);
		fs.renameSync(`${to[name]}.new`, to[name]);
	}
}

const trust = () => ({ ca: fs.readFileSync(ca.file), host: '127.0.0.1', servername: 'localhost' });

/** Over TLS: {status, headers, json, text}, or an error. */
function secure(to, method, target, { headers, auth, client, agent = false, body, ...options } = {}) {
	return new Promise((resolve, reject) => {
		const all = { ...headers, ...(auth ? { Authorization: auth } : {}), ...(body ? { 'Content-Type': 'application/json' } : {}) };
		const req = https.request({ ...trust(), port: to.tlsPort, method, path: target, headers: all, agent, ...(client ? read(client) : {}), ...options });
		req.on('error', reject);
		req.on('response', (res) => {
			let text = '';
			res.on('data', (d) => (text += d));
			res.on('error', reject);
			res.on('end', () => resolve({ status: res.statusCode, headers: res.headers, text, json: text.startsWith('{') ? JSON.parse(text) : undefined }));
		});
		req.end(body);
	});
}

/** The handshake alone: {protocol, cipher, alpn, serial, reused}, or an error. */
function shake(port, options = {}) {
	return new Promise((resolve, reject) => {
		const sock = tls.connect({ ...trust(), port, ...options }, () => {
			const { serialNumber } = sock.getPeerCertificate();
			const got = {
				protocol: sock.getProtocol(), cipher: sock.getCipher().name, alpn: sock.alpnProtocol, serial: serialNumber,
				reused: sock.isSessionReused(),
			};
			sock.end();
			resolve(got);
		});
		sock.on('error', reject);
	});
}

const config = (to, key, value) => secure(to, 'PUT', `/_node/_local/_config/${key}`, { auth: to.auth, body: JSON.stringify(value) });
const whoami = async (to, options) => (await secure(to, 'GET', '/_session', options)).json?.userCtx.name;
const refused = (promise) => assert.rejects(promise, /ECONNRESET|alert|hang up|disconnected|EPIPE/i);

before(async () => {
	install(ca.server('first'));
	server = await startDivand({ config: { ssl: files } });
});
after(() => server?.stop());

test('TLS 1.2 and 1.3 with forward secrecy and AEAD; nothing older, nothing weaker', async () => {
	assert.equal((await shake(server.tlsPort)).protocol, 'TLSv1.3');
	const old = await shake(server.tlsPort, { maxVersion: 'TLSv1.2' });
	assert.equal(old.protocol, 'TLSv1.2');
	assert.match(old.cipher, /^ECDHE-.*(GCM|CHACHA20)/);
	for (const version of ['TLSv1.1', 'TLSv1']) {
		await assert.rejects(shake(server.tlsPort, { minVersion: version, maxVersion: version, ciphers: 'ALL:@SECLEVEL=0' }), NO_SHAKE);
	}
	for (const ciphers of ['ECDHE-ECDSA-AES128-SHA', 'ECDHE-ECDSA-AES256-SHA384', 'AES128-GCM-SHA256', 'DHE-RSA-AES128-GCM-SHA256']) {
		await assert.rejects(shake(server.tlsPort, { maxVersion: 'TLSv1.2', ciphers: `${ciphers}:@SECLEVEL=0` }), NO_SHAKE, ciphers);
	}
});

test('ALPN: h2 before http/1.1, and neither where a client offers none that is known', async () => {
	assert.equal((await shake(server.tlsPort, { ALPNProtocols: ['http/1.1', 'h2'] })).alpn, 'h2');
	assert.equal((await shake(server.tlsPort, { ALPNProtocols: ['http/1.1'] })).alpn, 'http/1.1');
	assert.equal((await shake(server.tlsPort, { ALPNProtocols: ['spdy/3'] })).alpn, false);
	const session = http2.connect(server.tlsUrl, { ca: fs.readFileSync(ca.file), servername: 'localhost' });
	const stream = session.request({ ':path': '/_up' });
	const [head] = await new Promise((resolve, reject) => stream.on('response', (...a) => resolve(a)).on('error', reject));
	assert.equal(head[':status'], 200);
	session.destroy();
});

test('sessions are resumed, over any thread', async () => {
	const sock = tls.connect({ ...trust(), port: server.tlsPort, maxVersion: 'TLSv1.2' });
	const session = await new Promise((resolve, reject) => sock.on('session', resolve).on('error', reject));
	sock.destroy();
	for (let i = 0; i < 8; i++) {
		assert.equal((await shake(server.tlsPort, { session, maxVersion: 'TLSv1.2' })).reused, true);
	}
});

test('a renewed certificate is taken up; one that does not fit its key is told, and left', async () => {
	const keep = new https.Agent({ keepAlive: true });
	assert.equal((await secure(server, 'GET', '/_up', { agent: keep })).status, 200);
	const first = (await shake(server.tlsPort)).serial;
	const second = ca.server('second');
	install(second);
	const now = await until(async () => {
		const { serial } = await shake(server.tlsPort);
		return serial !== first && serial;
	});
	assert.equal((await secure(server, 'GET', '/_up', { agent: keep })).status, 200, 'a connection from before goes on');
	keep.destroy();

	fs.copyFileSync(ca.server('third').key_file, files.key_file);
	await until(async () => {
		assert.equal((await shake(server.tlsPort)).serial, now);
		return /cannot use ssl\/key_file/.test(server.stderr());
	});
	assert.equal((await shake(server.tlsPort)).serial, now);
	fs.rmSync(files.key_file);
	assert.equal((await shake(server.tlsPort)).serial, now);
	install(ca.server('fourth'));
	await until(async () => {
		const { serial } = await shake(server.tlsPort);
		assert.ok(serial);
		return serial !== now;
	});
});

test('settings of the section ssl: at the start, while running, and wrong ones', async () => {
	const locked = { ...ca.server(), key_file: path.join(folder, 'locked.key') };
	await run('openssl', ['ec', '-aes256', '-passout', `pass:${PASSWORD}`, '-in', files.key_file, '-out', locked.key_file]);
	fs.copyFileSync(files.cert_file, locked.cert_file);
	const other = await startDivand({
		config: { ssl: { ...locked, password: PASSWORD, tls_versions: "[tlsv1, 'tlsv1.2']", ciphers: '["ECDHE-ECDSA-AES256-GCM-SHA384"]', ecc_curves: '[secp384r1]' } },
	});
	try {
		const got = await shake(other.tlsPort);
		assert.deepEqual([got.protocol, got.cipher], ['TLSv1.2', 'ECDHE-ECDSA-AES256-GCM-SHA384']);
		await assert.rejects(shake(other.tlsPort, { ecdhCurve: 'X25519' }), NO_SHAKE);
		await assert.rejects(shake(other.tlsPort, { minVersion: 'TLSv1.3' }), NO_SHAKE);
		assert.equal((await config(other, 'ssl/tls_versions', 'tlsv1.3')).status, 200);
		assert.equal((await shake(other.tlsPort)).protocol, 'TLSv1.3');
		await assert.rejects(shake(other.tlsPort, { maxVersion: 'TLSv1.2' }), NO_SHAKE);
		await config(other, 'ssl/ciphers', 'NO-SUCH-CIPHER');
		assert.equal((await shake(other.tlsPort)).protocol, 'TLSv1.3', 'what is wrong changes nothing');
		assert.ok(!other.stderr().includes(PASSWORD));
		const { text } = await secure(other, 'GET', '/_node/_local/_config', { auth: other.auth });
		assert.ok(!text.includes(PASSWORD), 'the password is not shown');
	} finally {
		await other.stop();
	}
	for (const [wrong, why] of [
		[{ password: 'another' }, /ssl\/key_file/], [{}, /ssl\/key_file/], [{ password: PASSWORD, tls_versions: 'tlsv1' }, /tls_versions/],
		[{ password: PASSWORD, tls_versions: 'tlsv9' }, /tls_versions/], [{ password: PASSWORD, ciphers: 'nonsense' }, /ciphers/],
		[{ password: PASSWORD, verify: 'verify_peer' }, /cacert_file/], [{ password: PASSWORD, verify: 'maybe' }, /verify/],
		[{ password: PASSWORD, verify: 'verify_peer', cacert_file: '/nowhere' }, /cacert_file/],
		[{ cert_file: '/nowhere' }, /cert_file/], [{ key_file: '', enable: 'true' }, /ssl\/enable/],
	]) {
		await assert.rejects(startDivand({ config: { ssl: { ...locked, ...wrong } } }), (e) => {
			assert.match(e.stderr ?? e.message, why, JSON.stringify(wrong));
			assert.ok(!e.message.includes(PASSWORD));
			return true;
		});
	}
});

test('SIGHUP reads the settings anew, for the next connection', async () => {
	const file = path.join(folder, 'divan.yaml');
	const write = (versions) => fs.writeFileSync(file, `ssl: {port: 0, cert_file: ${files.cert_file}, key_file: ${files.key_file}, tls_versions: ${versions}}\n`);
	write('tlsv1.2');
	const other = await startDivand({ args: ['--config', file] });
	try {
		assert.equal((await shake(other.tlsPort)).protocol, 'TLSv1.2');
		write('tlsv1.3');
		process.kill(other.pid, 'SIGHUP');
		let now;
		do now = (await shake(other.tlsPort)).protocol; while (now === 'TLSv1.2');
		assert.equal(now, 'TLSv1.3');
		await assert.rejects(shake(other.tlsPort, { maxVersion: 'TLSv1.2' }), NO_SHAKE);
	} finally {
		await other.stop();
	}
});

// ---- Clients' certificates ----

test('a client\'s certificate names its user', async (t) => {
	const users = new Authority('Users');
	const foreign = new Authority('Users');
	const [admin, bob, nobody] = ['/CN=admin', '/CN=bob', '/CN=nobody'].map((subject) => users.issue(subject, { san: 'email:bob@example.org,URI:urn:user:admin' }));
	const two = users.issue('/CN=admin/CN=bob');
	const zero = users.issue('/O=nameless');
	const ended = users.issue('/CN=admin', { ended: true });
	const machine = users.issue('/CN=admin', { use: 'serverAuth' });
	const lost = users.issue('/CN=admin');
	const strange = foreign.issue('/CN=admin');
	const ssl = { ...files, verify: 'verify_peer', cacert_file: users.file, crl_file: users.crl, client_cert_user: 'cn' };
	const own = await startDivand({ config: { ssl } });
	t.after(() => own.stop());
	const put = await secure(own, 'PUT', '/_users/org.couchdb.user:bob', {
		auth: own.auth, body: JSON.stringify({ _id: 'org.couchdb.user:bob', name: 'bob', password: 'pw', type: 'user', roles: ['reader'] }),
	});
	assert.equal(put.status, 201);

	await t.test('an account is opened, and no more than that', async () => {
		const { userCtx, info } = (await secure(own, 'GET', '/_session', { client: bob })).json;
		assert.deepEqual(userCtx, { name: 'bob', roles: ['reader'] });
		assert.equal(info.authenticated, 'certificate');
		assert.equal(await whoami(own), null);
		for (const client of [nobody, two, zero]) assert.equal(await whoami(own, { client }), null, client.cert_file);
	});

	await t.test('an administrator only where that is allowed', async () => {
		assert.equal(await whoami(own, { client: admin }), null);
		await config(own, 'ssl/client_cert_admins', 'true');
		assert.deepEqual((await secure(own, 'GET', '/_session', { client: admin })).json.userCtx, { name: 'admin', roles: ['_admin'] });
		assert.equal((await secure(own, 'GET', '/_node/_local/_config', { client: admin })).status, 200);
	});

	await t.test('other credentials come first', async () => {
		assert.equal(await whoami(own, { client: bob, auth: own.auth }), 'admin');
		assert.equal((await secure(own, 'GET', '/_session', { client: admin, auth: 'Basic ' + Buffer.from('admin:wrong').toString('base64') })).status, 401);
	});

	await t.test('who shows a certificate that must not count has no connection at all', async () => {
		for (const client of [ended, machine, strange]) await refused(secure(own, 'GET', '/', { client }));
		assert.equal(await whoami(own, { client: lost }), 'admin');
	});

	await t.test('curl, over HTTP/1.1 and HTTP/2', async () => {
		for (const version of ['--http1.1', '--http2']) {
			const { stdout } = await run('curl', ['-sS', version, '--cacert', ca.file, '--cert', admin.cert_file, '--key', admin.key_file,
				'-w', '%{http_version}', `https://localhost:${own.tlsPort}/_session`, '--resolve', `localhost:${own.tlsPort}:127.0.0.1`]);
			const [text, got] = stdout.split('\n');
			assert.equal(JSON.parse(text).userCtx.name, 'admin');
			assert.equal(got, version === '--http2' ? '2' : '1.1');
		}
	});

	await t.test('where in a certificate the name stands is a setting', async () => {
		await config(own, 'ssl/client_cert_user', 'san_uri');
		assert.equal(await whoami(own, { client: admin }), null);
		await config(own, 'ssl/client_cert_user', 'san_email');
		assert.equal(await whoami(own, { client: admin }), null);
		await config(own, 'ssl/client_cert_user', 'off');
		assert.equal(await whoami(own, { client: admin }), null);
		await config(own, 'ssl/client_cert_user', 'cn');
		assert.equal(await whoami(own, { client: admin }), 'admin');
	});

	await t.test('it does not count for pages of other origins, unless CORS lets them use what browsers add', async () => {
		const from = (Origin) => whoami(own, { client: admin, headers: { Origin } });
		const host = `https://127.0.0.1:${own.tlsPort}`;
		assert.equal(await from(host), 'admin');
		for (const origin of ['https://evil.example', 'null', `http://127.0.0.1:${own.tlsPort}`, host + '0']) assert.equal(await from(origin), null, origin);
		await config(own, 'cors/origins', 'https://app.example');
		await config(own, 'chttpd/enable_cors', 'true');
		assert.equal(await from('https://app.example'), null);
		await config(own, 'cors/credentials', 'true');
		assert.equal(await from('https://app.example'), 'admin');
		assert.equal(await from('https://evil.example'), null);
	});

	await t.test('one that was revoked ends at once, also on a connection that is open', async () => {
		const agent = new https.Agent({ keepAlive: true, maxSockets: 1 });
		assert.equal(await whoami(own, { client: lost, agent }), 'admin');
		users.revoke(lost);
		// A new connection makes the server look at its files.
		for (let seen = true; seen;) seen = await secure(own, 'GET', '/', { client: lost }).then(() => true, () => false);
		await refused(secure(own, 'GET', '/', { client: lost }));
		assert.equal(await whoami(own, { client: lost, agent }), null);
		agent.destroy();
		assert.equal(await whoami(own, { client: admin }), 'admin');
	});

	await t.test('there is no way around the handshake by a session from before', async () => {
		let session;
		const sock = tls.connect({ ...trust(), ...read(admin), port: own.tlsPort, maxVersion: 'TLSv1.2' });
		sock.on('session', (s) => (session = s));
		await new Promise((resolve, reject) => sock.on('secureConnect', resolve).on('error', reject));
		session ??= sock.getSession();
		sock.destroy();
		assert.equal((await shake(own.tlsPort, { ...read(admin), session, maxVersion: 'TLSv1.2' })).reused, false);
	});

	await t.test('nor one that nobody is asked for any more', async () => {
		const agent = new https.Agent({ keepAlive: true, maxSockets: 1 });
		assert.equal(await whoami(own, { client: admin, agent }), 'admin');
		await config(own, 'ssl/verify', 'verify_none');
		assert.equal(await whoami(own, { client: admin, agent }), null);
		assert.equal(await whoami(own, { client: admin }), null);
		await config(own, 'ssl/verify', 'verify_peer');
		assert.equal(await whoami(own, { client: admin }), 'admin');
		agent.destroy();
	});

	await t.test('without a certificate, where one is wanted', async () => {
		await config(own, 'ssl/fail_if_no_peer_cert', 'true');
		await refused(secure(own, 'GET', '/'));
		assert.equal(await whoami(own, { client: bob }), 'bob');
	});

	await t.test('an account that is gone', async () => {
		const { headers } = await secure(own, 'GET', '/_users/org.couchdb.user:bob', { client: bob, auth: own.auth });
		const gone = await secure(own, 'DELETE', '/_users/org.couchdb.user:bob', { client: bob, auth: own.auth, headers: { 'If-Match': headers.etag } });
		assert.equal(gone.status, 200);
		assert.equal(await whoami(own, { client: bob }), null);
	});
});

// ---- Bytes that are no TLS ----

const healthy = async (label) => {
	assert.equal((await secure(server, 'GET', '/_up')).status, 200, label);
	assert.equal((await ask(server, 'GET', '/_up')).status, 200, label);
};

test('plain HTTP to the TLS port, TLS to the plain one, and noise', async () => {
	const hello = await new Promise((resolve) => {
		const sink = net.createServer((sock) => sock.once('data', (d) => {
			sock.destroy();
			sink.close();
			resolve(d);
		})).listen(0, '127.0.0.1', () => tls.connect(sink.address().port, '127.0.0.1').on('error', () => {}));
	});
	const plain = connect(server.tlsPort);
	plain.send('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
	assert.ok(!(await plain.closed).includes('HTTP/1.1 200'));
	const wrong = connect(server.port);
	wrong.send(hello);
	assert.match(await wrong.closed, /^HTTP\/1\.1 400 /);
	for (const noise of [
		Buffer.alloc(70000, 0x16), // a record of 5,654 bytes of a version that does not exist, and more
		Buffer.from([0x16, 3, 1, 0xff, 0xff, ...Buffer.alloc(300)]), // longer than a record may be
		Buffer.from([0x16, 3, 1, 0, 0]), Buffer.from([0x15, 3, 1, 0, 2, 2, 40]),
		Buffer.concat([hello.subarray(0, 5), Buffer.alloc(hello.length - 5, 0xff)]),
		Buffer.concat([hello, Buffer.alloc(40000, 0x41)]),
	]) {
		const c = connect(server.tlsPort);
		c.send(noise);
		c.socket.end();
		await c.closed;
	}
	await healthy('after noise');
});

test('half handshakes take nothing from others, and do not outlive the server\'s end', async () => {
	const slow = [];
	for (let i = 0; i < 200; i++) slow.push(connect(server.tlsPort));
	for (const [i, c] of slow.entries()) c.send(Buffer.from([0x16, 3, 1, 2, 0, 1].slice(0, i % 7)));
	await healthy('beside half handshakes');
	for (const c of slow) c.end();
	await Promise.all(slow.map((c) => c.closed));
});

test('a name that is not ours, and renegotiation', async () => {
	assert.equal((await shake(server.tlsPort, { servername: 'elsewhere.example', checkServerIdentity: () => undefined })).protocol, 'TLSv1.3');
	const sock = tls.connect({ ...trust(), port: server.tlsPort, maxVersion: 'TLSv1.2' });
	await new Promise((resolve, reject) => sock.on('secureConnect', resolve).on('error', reject));
	const error = await new Promise((resolve) => {
		sock.on('error', resolve);
		sock.on('close', () => resolve(new Error('closed')));
		if (!sock.renegotiate({}, (e) => resolve(e))) resolve(new Error('not begun'));
	});
	assert.ok(error, 'renegotiation is refused');
	sock.destroy();
	await healthy('after renegotiation');
});

// ---- Plain HTTP ----

test('plain HTTP is redirected, refused, or for this machine alone', async () => {
	const plain = (method, target, headers) => ask(server, method, target, { headers, auth: null });
	const set = (value) => config(server, 'chttpd/plain_http', value);
	assert.equal((await plain('GET', '/')).status, 200);

	assert.equal((await set('redirect')).status, 200);
	const moved = await plain('GET', '/db/a%2Fb?x=%22y%22&z', { Host: 'couch.example:5984' });
	assert.deepEqual([moved.status, moved.headers.location], [301, `https://couch.example:${server.tlsPort}/db/a%2Fb?x=%22y%22&z`]);
	assert.equal((await plain('HEAD', '/', { Host: '[::1]:80' })).headers.location, `https://[::1]:${server.tlsPort}/`);
	assert.equal((await plain('GET', '//evil.example/', { Host: 'h' })).headers.location, `https://h:${server.tlsPort}//evil.example/`);
	for (const host of ['evil.example/@', 'a b', 'user@evil.example', '.', '-', 'x:y', '[::1', '[]', 'a\\b', 'a?b', 'ä', 'x'.repeat(300), '']) {
		const c = connect(server.port);
		c.send(Buffer.from(`GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`));
		const text = await c.closed;
		assert.match(text, /^HTTP\/1\.1 40[03] /, host);
		assert.doesNotMatch(text, /^location:/im, host);
	}
	for (const [method, headers] of [['PUT'], ['POST'], ['DELETE'], ['OPTIONS'], ['POST', { 'X-HTTP-Method-Override': 'PUT' }]]) {
		assertError(await plain(method, '/db', headers), 403, 'forbidden', /https/);
	}
	assertError(await ask(server, 'POST', '/_session', { json: { name: 'admin', password: 'adm' } }), 403, 'forbidden');

	await set('refuse');
	assertError(await plain('GET', '/'), 403, 'forbidden', /https/);
	const session = http2.connect(server.url);
	const stream = session.request({ ':path': '/' });
	const [head] = await new Promise((resolve, reject) => stream.on('response', (...a) => resolve(a)).on('error', reject));
	assert.equal(head[':status'], 403, 'HTTP/2 without TLS is plain too');
	session.destroy();
	await set('local');
	assert.equal((await plain('GET', '/')).status, 200);
	const no = await set('sometimes');
	assert.ok(no.status === 400 || (await plain('GET', '/')).status === 200, 'what is no such word changes nothing');
	await set('allow');
	assert.equal((await plain('PUT', '/db')).status, 401);
});

test('Strict-Transport-Security, where it is set, and over TLS alone', async () => {
	assert.equal((await secure(server, 'GET', '/')).headers['strict-transport-security'], undefined);
	await config(server, 'ssl/hsts_max_age', '31536000');
	assert.equal((await secure(server, 'GET', '/missing')).headers['strict-transport-security'], 'max-age=31536000');
	assert.equal((await ask(server, 'GET', '/')).headers['strict-transport-security'], undefined);
	await config(server, 'ssl/hsts_max_age', '0');
});
