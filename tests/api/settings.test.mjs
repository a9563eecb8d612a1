// Settings at the ends of what they may be, and set to nothing: the server works, or says what is wrong.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import crypto from 'node:crypto';
import net from 'node:net';
import { test } from 'node:test';
import { DIVAND, startDivand } from '../lib/divand.mjs';
import { until } from '../lib/until.mjs';
import { ask, assertError, connect, newDb } from './client.mjs';

const QUICK = { chttpd_auth: { iterations: '1000' } };
const basic = (name, password) => 'Basic ' + Buffer.from(`${name}:${password}`).toString('base64');
const setting = (server, name, json) => ask(server, 'PUT', `/_node/_local/_config/${name}`, { json });
const signUp = (server, name) => ask(server, 'PUT', `/_users/org.couchdb.user:${name}`, { json: { name, password: `${name}'s`, roles: [], type: 'user' } });
const logIn = (server, name) => ask(server, 'GET', '/_session', { auth: basic(name, `${name}'s`) });

async function assertLogin(server, name) {
	const { json } = await logIn(server, name);
	assert.equal(json.userCtx?.name, name, JSON.stringify(json));
}

/** {'section/key': default} of all settings. */
function settings() {
	const found = {};
	let section;
	for (const line of execFileSync(DIVAND, ['--settings'], { encoding: 'utf8' }).split('\n')) {
		section = /^([a-z_.]+):$/.exec(line)?.[1] ?? section;
		const [, key, value] = /^ {2}# ([A-Za-z_-]+): (.*)$/.exec(line) ?? [];
		if (key) found[`${section}/${key}`] = value;
	}
	return found;
}

/** Whole numbers and ratios: {'section/key': [least, most]}, as a wrong value is answered. */
async function numbers(server) {
	const found = {};
	for (const [name, dflt] of Object.entries(settings())) {
		if (!/^[\d.]+$|^infinity$/.test(dflt)) continue;
		const { status, json } = await setting(server, name, '-');
		const m = status === 400 && /must be a number(?: from (\d+) to (\d+)|( above 0)|, (\d+) at least)?/.exec(json.reason);
		if (m) found[name] = [m[1] ?? m[4] ?? (m[3] ? '1' : '0'), m[2] ?? '18446744073709551615'];
	}
	return found;
}

/** What a server is for. */
async function exercise(server) {
	const name = await newDb(server);
	const docs = Array.from({ length: 40 }, (_, i) => ({ _id: `d${i}`, n: i, s: 'x'.repeat(2000) }));
	const ddoc = { views: { v: { map: 'function (doc) { emit(doc.n, 1); }' } }, filters: { all: 'function () { return true; }' } };
	const ok = async (method, path, json) => {
		const r = await ask(server, method, path, { json });
		assert.ok(r.status < 300, `${method} ${path}: ${r.status} ${r.text.slice(0, 200)}`);
		return r.json;
	};

	for (const r of await ok('POST', `/${name}/_bulk_docs`, { docs })) assert.ok(r.ok, JSON.stringify(r));
	await ok('PUT', `/${name}/_design/x`, ddoc);
	assert.equal((await ok('GET', `/${name}/_design/x/_view/v?limit=1`)).total_rows, 40);
	assert.equal((await ok('POST', `/${name}/_find`, { selector: { n: 3 }, limit: 1 })).docs.length, 1);
	assert.equal((await ok('GET', `/${name}/_changes?filter=x/all`)).results.length, 41);
	await ok('GET', `/${name}/_changes?feed=longpoll&since=now&timeout=50`);
	await ok('GET', '/_db_updates?feed=longpoll&since=now&timeout=50');
	await ok('POST', `/${name}/_purge`, { d1: ['1-a'] });
	assert.equal((await ok('POST', '/_replicate', { source: `${server.authUrl}/${name}`, target: `${name}-copy`, create_target: true })).history[0].docs_written, 41);
	assert.equal((await ok('GET', `/${name}-copy`)).doc_count, 41);
	await ok('POST', `/${name}/_compact`, {});
	await signUp(server, 'somebody');
	await assertLogin(server, 'somebody');
	await logIn(server, 'stranger');
	await ok('POST', '/_node/_local/_config/_reload');
	await ok('GET', '/_up');
}

test('with every number at its largest, and at its smallest, the server works', { timeout: 120000 }, async () => {
	/* What is so is told: nothing larger than a byte, hashes for which a minute would be spent. */
	const aside = [['chttpd_auth/iterations', 'chttpd_auth/min_iterations'], ['chttpd/max_http_request_size', 'couchdb/max_document_size']];
	const plain = await startDivand({ config: QUICK });
	const bounds = await numbers(plain);
	await plain.stop();
	assert.ok(Object.keys(bounds).length > 60, Object.keys(bounds).join(' '));
	for (const end of [1, 0]) {
		const config = structuredClone(QUICK);
		for (const [name, range] of Object.entries(bounds)) {
			const [section, key] = name.split('/');
			if (!aside[1 - end].includes(name)) (config[section] ??= {})[key] = range[end];
		}
		const server = await startDivand({ config });
		await exercise(server);
		await server.stop();
	}
});

test('what is set to nothing is as it was without, also after a restart', async () => {
	const server = await startDivand({ config: { ...QUICK, ssl: { port: '' } }, args: ['--set', 'chttpd/bind_address='] });
	assert.match(server.url, /^http:\/\/127\.0\.0\.1:/);
	for (const name of Object.keys(settings())) {
		/* Lists of what may be: nothing. */
		if (/^admins\/|\/iterations$|\/valid_\w+_protocols$/.test(name)) continue;
		const { status, text } = await setting(server, name, '');
		assert.ok(status === 200 || status === 403, `${name}: ${status} ${text}`);
	}
	await server.restart();
	await exercise(server);
	/* Nobody is let in who would not be. */
	const name = await newDb(server);
	assertError(await ask(server, 'GET', `/${name}`, { auth: basic('somebody', "somebody's") }), 403, 'forbidden');
	assertError(await ask(server, 'GET', '/_all_dbs', { auth: null }), 401, 'unauthorized');
	await server.stop();
});

test('words are taken in any case, and mean the same', async () => {
	const server = await startDivand({ config: { ...QUICK, couchdb: { default_security: 'Admin_Only' }, chttpd_auth_lockout: { mode: 'OFF' } } });
	await signUp(server, 'reader');
	const who = { auth: basic('reader', "reader's") };
	assertError(await ask(server, 'GET', `/${await newDb(server)}`, who), 403, 'forbidden');
	await setting(server, 'couchdb/default_security', 'EVERYONE');
	assert.equal((await ask(server, 'GET', `/${await newDb(server)}`, who)).status, 200);
	await setting(server, 'couchdb/maintenance_mode', 'True');
	assert.equal((await ask(server, 'GET', '/_up')).json.status, 'maintenance_mode');
	await setting(server, 'chttpd/compress_responses', 'Always');
	assert.equal((await ask(server, 'GET', '/_node/_local/_stats', { headers: { 'Accept-Encoding': 'gzip' } })).headers['content-encoding'], 'gzip');
	assert.ok(!server.stderr().includes('none of'), server.stderr());
	await server.stop();
});

test('no setting of rounds locks out whom it is for, or makes who is not there cost more', { timeout: 15000 }, async () => {
	const server = await startDivand({ config: QUICK });
	await signUp(server, 'early');
	const rounds = async (name) => (await ask(server, 'GET', `/_users/org.couchdb.user:${name}`)).json.iterations;
	await setting(server, 'chttpd_auth/max_iterations', '2000');
	await setting(server, 'chttpd_auth/iterations', '5000');
	await signUp(server, 'late');
	await assertLogin(server, 'late');
	/* A hash that is made anew at a login, too. */
	await assertLogin(server, 'early');
	await until(async () => (await rounds('early')) !== 1000, 'the hash is not made anew');
	assert.deepEqual([await rounds('early'), await rounds('late')], [2000, 2000]);
	await assertLogin(server, 'early');
	await setting(server, 'chttpd_auth/iterations', '10');
	await setting(server, 'chttpd_auth/min_iterations', '1500');
	await signUp(server, 'last');
	assert.equal(await rounds('last'), 1500);
	await assertLogin(server, 'last');
	/* Who is not there costs no more than who is: not half a minute. */
	await setting(server, 'chttpd_auth/iterations', '100000000');
	assert.equal((await logIn(server, 'stranger')).status, 401);
	await server.stop();
});

test('no attachment is larger than 0 bytes where that is the most', async () => {
	const server = await startDivand({ config: { ...QUICK, couchdb: { max_attachment_size: '0' } } });
	const name = await newDb(server);
	const put = (at, body) => ask(server, 'PUT', `/${name}/${at}/a`, { body, type: 'text/plain' });
	assert.equal((await put('empty', '')).status, 201);
	assertError(await put('one', 'x'), 413);
	assertError(await ask(server, 'PUT', `/${name}/inline`, { json: { _attachments: { a: { data: 'eA==' } } } }), 413);
	await setting(server, 'couchdb/max_attachment_size', 'infinity');
	assert.equal((await put('one', 'x')).status, 201);
	await server.stop();
});

/** A client that asks for a large attachment and takes none of it: told when it was cut off. */
async function takesNothing(server) {
	const name = await newDb(server);
	assert.equal((await ask(server, 'PUT', `/${name}/big/a`, { body: crypto.randomBytes(24 << 20), type: 'image/png' })).status, 201);
	const c = net.connect(server.port, '127.0.0.1', () => c.write(`GET /${name}/big/a HTTP/1.1\r\nHost: x\r\nAuthorization: ${server.auth}\r\n\r\n`));
	c.pause();
	return c;
}

/** Its request has ended. */
const isLogged = (server) => /GET \/[^ ]*\/big\/a/.test(server.stderr());

test('who sends nothing at the least rate is cut off, and so is who takes nothing', { timeout: 60000 }, async () => {
	const server = await startDivand({ config: { ...QUICK, gate: { slow_timeout: '200', stuck_timeout: '200', min_rate: '1' } } });
	const name = await newDb(server);
	const sends = connect(server.port);
	sends.send(`PUT /${name}/a HTTP/1.1\r\nHost: x\r\nAuthorization: ${server.auth}\r\nContent-Length: 1000\r\n\r\n{`);
	await sends.closed;
	const takes = await takesNothing(server);
	await until(() => isLogged(server), 'who takes nothing stays');
	takes.destroy();
	await server.stop();
});

test('the longest times to wait: who has said nothing yet stays, and idle connections make room', { timeout: 60000 }, async () => {
	const server = await startDivand({ config: { ...QUICK, chttpd: { threads: '1', max_connections: '4' }, gate: { slow_timeout: '2147483648', stuck_timeout: '200' } } });
	const silent = connect(server.port);
	const takes = await takesNothing(server);
	await until(() => isLogged(server), 'who takes nothing stays');
	silent.send('GET /_up HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
	await silent.until(/HTTP\/1.1 200/);
	takes.destroy();
	await server.stop();

	const full = await startDivand({ config: { ...QUICK, chttpd: { threads: '1', max_connections: '4' }, gate: { slow_timeout: '4294967295', stuck_timeout: '0' } } });
	const idle = [];
	for (let i = 0; i < 4; i++) {
		idle.push(connect(full.port));
		idle[i].send('GET /_up HTTP/1.1\r\nHost: x\r\n\r\n');
		await idle[i].until(/HTTP\/1.1 200/);
	}
	assert.equal((await ask(full, 'GET', '/_up')).status, 200);
	for (const c of idle) c.end();
	await full.stop();
});
