// PouchDB in headless Chromium, in a page of another origin: over HTTP/1.1, and over HTTP/2 with TLS.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { EventEmitter } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';
import path from 'node:path';
import { chromium } from 'playwright-core';
import PouchDB from 'pouchdb';
import { certificate, startDivand, tempDir } from '../lib/divand.mjs';
import { cancelAll, converged, countries, differences, picture, pouchLeaves, pouchPicture, serverPicture } from './lib.mjs';

const BUNDLE = path.join(path.dirname(createRequire(import.meta.url).resolve('pouchdb/package.json')), 'dist/pouchdb.min.js');
const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';
const ARGS = [
	'--headless=new', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
	'--disable-component-update', '--disable-sync', '--ignore-certificate-errors',
];
const LIVE = { live: true, retry: true, back_off_function: () => 100 };

const docs = countries();
const ids = docs.map((doc) => doc._id);
const folder = tempDir('divan-pouch');
let site;
let server;
let browser;

before(async () => {
	const files = {
		'/': ['text/html', '<!doctype html><meta charset=utf-8><title>test</title><script src=/pouchdb.js></script>'],
		'/pouchdb.js': ['text/javascript', fs.readFileSync(BUNDLE)],
		'/countries.json': ['application/json', JSON.stringify(docs)],
	};
	site = http.createServer((req, res) => {
		const [type, body] = files[req.url] ?? [];
		res.writeHead(body ? 200 : 404, { 'Content-Type': type ?? 'text/plain' });
		res.end(body);
	});
	await new Promise((resolve) => site.listen(0, '127.0.0.1', resolve));
	site.origin = `http://127.0.0.1:${site.address().port}`;
	server = await startDivand({
		config: {
			chttpd: { enable_cors: true },
			cors: { origins: site.origin, credentials: true },
			ssl: certificate(),
		},
	});
	browser = await chromium.launch({ executablePath: CHROMIUM, args: ARGS });
});

after(async () => {
	await browser?.close();
	await server?.stop();
	site?.close();
});

/** Runs in the page: makes, loads, pushes and pulls; leaves `dbs` and `remote` behind. */
async function loadPushPull({ url, auth: [username, password], name }) {
	const list = await (await fetch('/countries.json')).json();
	const remote = () => new PouchDB(`${url}/${name}`, { auth: { username, password } });
	const [a, b] = [new PouchDB(`${name}-a`), new PouchDB(`${name}-b`)];
	const answers = await a.bulkDocs(list);
	if (!answers.every((x) => x.ok)) throw new Error(JSON.stringify(answers.find((x) => !x.ok)));
	const push = await a.replicate.to(remote());
	const pull = await b.replicate.from(remote());
	window.dbs = { a, b };
	window.remote = remote;
	return { pushed: push.docs_written, failures: push.doc_write_failures, pulled: pull.docs_written };
}

/** In the page: what `picture` takes. */
async function look({ db, attachments }) {
	const { rows } = attachments ? await window.dbs[db].allDocs({ include_docs: true, conflicts: true, attachments: true }) : { rows: [] };
	const { results } = await window.dbs[db].changes({ style: 'all_docs', since: 0 });
	return { rows, results };
}

/** In the page: edits, while live syncs run. */
async function editLive({ ids: edited, mark }) {
	const { a, b } = window.dbs;
	window.syncs = [a, b].map((db) => db.sync(window.remote(), { live: true, retry: true, back_off_function: () => 100 }));
	for (const s of window.syncs) for (const event of ['change', 'paused']) s.on(event, () => window.news());
	for (const [db, by] of [[a, 'a'], [b, 'b']]) {
		const { rows } = await db.allDocs({ keys: edited, include_docs: true });
		await db.bulkDocs(rows.map(({ doc }) => ({ ...doc, by: mark + by })));
		await db.put({ _id: `${mark}-${by}`, text: 'ünï ☃ 😀' });
	}
	await a.putAttachment(`${mark}-a`, 'note.bin', (await a.get(`${mark}-a`))._rev, new Blob([new Uint8Array([0, 255, 1, 254])]), 'application/octet-stream');
}

async function syncsInBrowser(url, protocol, t) {
	const name = `browser-${protocol.replace(/\W/g, '-')}`;
	const page = await (await browser.newContext({ ignoreHTTPSErrors: true })).newPage();
	const cdp = await page.context().newCDPSession(page);
	const protocols = new Set();
	const errors = [];
	const news = new EventEmitter(); // what the page's live syncs say

	await cdp.send('Network.enable');
	cdp.on('Network.responseReceived', ({ response }) => response.url.startsWith(url) && protocols.add(response.protocol));
	page.on('pageerror', (e) => errors.push(e.message));
	await page.exposeFunction('news', () => news.emit('change'));
	await page.goto(site.origin);

	const counts = await page.evaluate(loadPushPull, { url, auth: server.admin.split(':'), name });
	assert.deepEqual(counts, { pushed: docs.length, failures: 0, pulled: docs.length });
	const want = () => serverPicture(`${server.url}/${name}`, server.auth);
	const inPage = async (db, attachments) => {
		const { rows, results } = await page.evaluate(look, { db, attachments });
		return picture(rows, results);
	};
	for (const db of ['a', 'b']) assert.deepEqual(differences(await inPage(db, true), await want()), [], db);

	// A third one in Node, not connected while the page edits the same documents.
	const c = new PouchDB(path.join(folder, name));
	const remote = new PouchDB(`${server.authUrl}/${name}`);
	await c.replicate.from(remote);
	const { rows } = await c.allDocs({ keys: ids.slice(0, 10), include_docs: true });
	await c.bulkDocs(rows.map(({ doc }) => ({ ...doc, by: 'c' })));
	await page.evaluate(editLive, { ids: ids.slice(0, 10), mark: 'live' });
	const live = c.sync(remote, LIVE);
	await converged([live, news], async () => {
		const [leaves, ...others] = await Promise.all([pouchLeaves(remote), pouchLeaves(c), inPage('a'), inPage('b')]);
		const arrived = leaves['live-b'] && /^2-/.test(leaves['live-a']?.leaves) && ids.slice(0, 10).every((id) => leaves[id].leaves.includes(' '));
		const found = others.flatMap((other) => differences(leaves, other));
		return arrived ? found : ['edits are still on their way', ...found];
	});
	await cancelAll([live]);
	await page.evaluate(() => Promise.all(window.syncs.map((s) => new Promise((resolve) => s.on('complete', resolve).cancel()))));
	const final = await want();
	assert.deepEqual(differences(await pouchPicture(c), final), []);
	for (const db of ['a', 'b']) assert.deepEqual(differences(await inPage(db, true), final), [], db);
	assert.ok(ids.slice(0, 10).every((id) => final[id].conflicts), 'each of 10 documents has a conflict');
	assert.deepEqual([...protocols], [protocol]);
	assert.deepEqual(errors, []);
	await Promise.all([c.close(), remote.close()]);
	await page.context().close();
}

test('a page of another origin syncs over HTTP/1.1', { timeout: 180000 }, () => syncsInBrowser(server.url, 'http/1.1'));

test('a page of another origin syncs over HTTP/2 with TLS', { timeout: 180000 }, () => syncsInBrowser(server.tlsUrl, 'h2'));

test('a page of another origin signs in with a cookie; one that is not named is refused', { timeout: 60000 }, async () => {
	const page = await (await browser.newContext()).newPage();
	const signIn = async ({ url, auth: [name, password] }) => {
		const ask = async (method, body) => (await fetch(`${url}/_session`, {
			method, credentials: 'include', headers: body ? { 'Content-Type': 'application/json' } : {}, body: body && JSON.stringify(body),
		})).json();
		return [await ask('GET'), await ask('POST', { name, password }), await ask('GET'), await ask('DELETE'), await ask('GET')];
	};
	const args = { url: server.url, auth: server.admin.split(':') };
	await page.goto(site.origin);
	const names = (await page.evaluate(signIn, args)).map((answer) => answer.userCtx?.name ?? answer.name ?? null);
	assert.deepEqual(names, [null, 'admin', 'admin', null, null]);

	await page.goto(site.origin.replace('127.0.0.1', 'localhost'));
	await assert.rejects(page.evaluate(signIn, args), /Failed to fetch/);
	await page.context().close();
});
