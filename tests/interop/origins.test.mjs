// Pages of other origins in Chromium, over TLS: PouchDB with a password, PouchDB with a cookie that other sites' pages may
// bring, and pages that nobody has named.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';
import { Authority } from '../lib/certs.mjs';
import { startDivand, tempDir } from '../lib/divand.mjs';

const BUNDLE = path.join(path.dirname(createRequire(import.meta.url).resolve('pouchdb/package.json')), 'dist/pouchdb.min.js');
const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';
const ARGS = ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];

let site;
let server;
let browser;

before(async () => {
	const files = { '/': ['text/html', '<!doctype html><meta charset=utf-8><title>test</title><script src=/pouchdb.js></script>'], '/pouchdb.js': ['text/javascript', fs.readFileSync(BUNDLE)] };
	site = http.createServer((req, res) => {
		const [type, body] = files[req.url] ?? [];
		res.writeHead(body ? 200 : 404, { 'Content-Type': type ?? 'text/plain' });
		res.end(body);
	});
	await new Promise((resolve) => site.listen(0, resolve));
	// Another site than 127.0.0.1, where the server is, as far as cookies are concerned.
	site.origin = `http://localhost:${site.address().port}`;
	server = await startDivand({
		config: {
			chttpd: { enable_cors: true, plain_http: 'refuse' },
			cors: { origins: site.origin, credentials: true },
			chttpd_auth: { same_site: 'none' },
			ssl: new Authority().server(),
		},
	});
	// As a user has it who lets other sites' cookies be: by default Chromium takes none of them, whatever they say.
	const profile = tempDir('divan-chromium');
	fs.mkdirSync(path.join(profile, 'Default'));
	fs.writeFileSync(path.join(profile, 'Default/Preferences'), JSON.stringify({ profile: { cookie_controls_mode: 0, block_third_party_cookies: false } }));
	browser = await chromium.launchPersistentContext(profile, { executablePath: CHROMIUM, args: ARGS, ignoreHTTPSErrors: true });
});

after(async () => {
	await browser?.close();
	await server?.stop();
	site?.close();
});

async function openPage(url = site.origin) {
	await browser.clearCookies();
	const page = await browser.newPage();
	await page.goto(url);
	return page;
}

/** In the page: some documents there and back; `auth` may be undefined: the browser has a cookie. */
async function roundTrip({ url, auth }) {
	const remote = new PouchDB(url, auth ? { auth } : {});
	const [a, b] = ['a', 'b'].map((x) => new PouchDB(`${x}-${url.split('/').pop()}`));
	for (let i = 0; i < 20; i++) await a.put({ _id: `doc-${i}`, i });
	await a.putAttachment('doc-0', 'x.bin', (await a.get('doc-0'))._rev, new Blob([new Uint8Array([0, 255, 1])]), 'application/octet-stream');
	const push = await a.replicate.to(remote);
	const pull = await b.replicate.from(remote);
	const failure = await remote.get('missing').catch((e) => `${e.status} ${e.reason}`);
	return [push.docs_written, pull.docs_written, (await b.get('doc-0', { attachments: true }))._attachments['x.bin'].data, failure];
}

/** In the page: the names that _session tells before and after logging in, and after logging out if asked to. */
async function signIn({ url, auth: [name, password], leave }) {
	const ask = async (method, body) => (await fetch(`${url}/_session`, {
		method, credentials: 'include', headers: body ? { 'Content-Type': 'application/json' } : {}, body: body && JSON.stringify(body),
	})).json();
	const who = async () => (await ask('GET')).userCtx.name;
	const names = [await who(), (await ask('POST', { name, password })).name, await who()];
	if (!leave) return names;
	await ask('DELETE');
	return [...names, await who()];
}

test('PouchDB with a password', { timeout: 120000 }, async () => {
	const page = await openPage();
	const [username, password] = server.admin.split(':');
	assert.deepEqual(await page.evaluate(roundTrip, { url: `${server.tlsUrl}/with-password`, auth: { username, password } }), [20, 20, 'AP8B', '404 missing']);
	await page.close();
});

test('PouchDB with a cookie, which a page of another site may bring', { timeout: 120000 }, async () => {
	const page = await openPage();
	const args = { url: server.tlsUrl, auth: server.admin.split(':') };
	assert.deepEqual(await page.evaluate(signIn, args), [null, 'admin', 'admin']);
	const [cookie] = await browser.cookies(server.tlsUrl);
	assert.deepEqual([cookie.name, cookie.httpOnly, cookie.secure, cookie.sameSite], ['AuthSession', true, true, 'None']);
	assert.deepEqual(await page.evaluate(roundTrip, { url: `${server.tlsUrl}/with-cookie` }), [20, 20, 'AP8B', '404 missing']);
	assert.deepEqual(await page.evaluate(signIn, { ...args, leave: true }), ['admin', 'admin', 'admin', null]);
	await page.close();
});

test('a page that nobody has named gets nothing, not with the cookie either', { timeout: 60000 }, async () => {
	const page = await openPage();
	const args = { url: server.tlsUrl, auth: server.admin.split(':') };
	await page.evaluate(signIn, args);
	await page.goto(site.origin.replace('localhost', '127.0.0.1'));
	await assert.rejects(page.evaluate(signIn, args), /Failed to fetch/);
	const put = (url) => fetch(`${url}/stolen`, { method: 'PUT', credentials: 'include' }).then((r) => r.status, (e) => e.message);
	assert.equal(await page.evaluate(put, server.tlsUrl), 'Failed to fetch');
	// The origin of a frame in a sandbox is "null".
	const inFrame = await page.evaluate((url) => new Promise((resolve) => {
		const frame = document.createElement('iframe');
		frame.sandbox = 'allow-scripts';
		frame.srcdoc = `<script>fetch('${url}/_session', {credentials: 'include'}).then((r) => r.text(), (e) => e.message).then((t) => parent.postMessage(t, '*'))</script>`;
		window.addEventListener('message', (e) => resolve(e.data));
		document.body.append(frame);
	}), server.tlsUrl);
	assert.equal(inFrame, 'Failed to fetch');
	const { status } = await new Promise((resolve, reject) => {
		http.get(`${server.url}/stolen`, { headers: { Authorization: server.auth } }, (res) => resolve({ status: res.resume().statusCode })).on('error', reject);
	});
	assert.equal(status, 403, 'and nothing at all comes without TLS');
	await page.goto(site.origin);
	const databases = await page.evaluate(async (url) => (await fetch(`${url}/_all_dbs`, { credentials: 'include' })).json(), server.tlsUrl);
	assert.ok(Array.isArray(databases) && !databases.includes('stolen'), JSON.stringify(databases));
	await page.close();
});
