// Clients that people have: nano, couchbackup and curl do their usual work.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import crypto from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { PassThrough } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import couchbackup from '@cloudant/couchbackup';
import Nano from 'nano';
import { startDivand, tempDir } from '../lib/divand.mjs';
import { countries, differences, serverPicture } from './lib.mjs';

const folder = tempDir('divan-clients');
let server;
let nano;

before(async () => {
	server = await startDivand();
	nano = Nano(server.authUrl);
});
after(() => server.stop());

/** The error of a call that must fail. */
async function failure(promise) {
	try {
		await promise;
	} catch (e) {
		return e;
	}
	return assert.fail('it did not fail');
}

// ---- nano ----

test('nano: databases', { timeout: 30000 }, async () => {
	assert.deepEqual(await nano.db.create('nano/dbs'), { ok: true });
	assert.ok((await nano.db.list()).includes('nano/dbs'));
	const again = await failure(nano.db.create('nano/dbs'));
	assert.equal(again.statusCode, 412);
	assert.equal(again.error, 'file_exists');
	const info = await nano.db.get('nano/dbs');
	assert.equal(info.db_name, 'nano/dbs');
	assert.equal(info.doc_count, 0);
	assert.deepEqual(await nano.db.compact('nano/dbs'), { ok: true });
	assert.equal((await nano.uuids(3)).uuids.length, 3);
	assert.deepEqual(await nano.db.destroy('nano/dbs'), { ok: true });
	assert.equal((await failure(nano.db.get('nano/dbs'))).statusCode, 404);
});

test('nano: a session by cookie', { timeout: 30000 }, async () => {
	const [name, password] = server.admin.split(':');
	const visitor = Nano({ url: server.url, requestDefaults: { jar: true } });

	assert.equal((await failure(visitor.auth(name, 'wrong'))).statusCode, 401);
	assert.equal((await visitor.auth(name, password)).ok, true);
	assert.equal((await visitor.session()).userCtx.name, name);
	await visitor.db.create('nano-cookie');
	await visitor.db.destroy('nano-cookie');
});

test('nano: indexes, queries and their pages', { timeout: 30000 }, async () => {
	await nano.db.create('nano-find');
	const db = nano.use('nano-find');
	await db.bulk({ docs: countries().map(({ _id, name, region, area, landlocked }) => ({ _id, name, region, area, landlocked })) });
	const made = await db.createIndex({ index: { fields: ['region', 'area'] }, ddoc: 'by-region', name: 'region-area', type: 'json' });
	assert.deepEqual(made, { result: 'created', id: '_design/by-region', name: 'region-area' });
	assert.equal((await db.createIndex({ index: { fields: ['region', 'area'] }, ddoc: 'by-region', name: 'region-area' })).result, 'exists');
	const query = { selector: { region: { $eq: 'Africa' }, area: { $gt: 500000 } }, sort: [{ region: 'desc' }, { area: 'desc' }], fields: ['_id', 'area'], limit: 5 };
	const wanted = countries().filter((d) => d.region === 'Africa' && d.area > 500000).sort((a, b) => b.area - a.area).map(({ _id, area }) => ({ _id, area }));
	const found = [];
	for (let page = await db.find(query); page.docs.length > 0; page = await db.find({ ...query, bookmark: page.bookmark })) {
		assert.equal(page.warning, undefined);
		found.push(...page.docs);
	}
	assert.ok(found.length > 15);
	assert.deepEqual(found, wanted);
	const scan = await db.find({ selector: { 'name.common': { $regex: '^Aus' }, landlocked: { $exists: true } }, fields: ['name.common'], execution_stats: true, limit: 100 });
	assert.deepEqual(scan.docs.map((d) => d.name.common).sort(), ['Australia', 'Austria']);
	assert.match(scan.warning, /No matching index found/);
	assert.equal(scan.execution_stats.results_returned, 2);
	const refused = await failure(db.find({ selector: { region: 'Asia' }, sort: ['name'] }));
	assert.deepEqual([refused.statusCode, refused.error], [400, 'no_usable_index']);
	await nano.db.destroy('nano-find');
});

test('nano: documents, one and many', { timeout: 30000 }, async () => {
	await nano.db.create('nano-docs');
	const db = nano.use('nano-docs');

	const first = await db.insert({ name: 'Zoë', n: 1 }, 'a/b c');
	assert.equal(first.id, 'a/b c');
	const { id, rev } = await db.insert({ unnamed: true });
	assert.match(id, /^[0-9a-f]{32}$/);
	assert.equal((await db.get(id))._rev, rev);
	const conflict = await failure(db.insert({ name: 'x' }, 'a/b c'));
	assert.deepEqual([conflict.statusCode, conflict.error], [409, 'conflict']);
	const second = await db.insert({ _id: 'a/b c', _rev: first.rev, n: 2 });
	assert.match(second.rev, /^2-/);
	assert.equal((await db.head('a/b c')).etag, `"${second.rev}"`);
	const doc = await db.get('a/b c', { revs: true, revs_info: true });
	assert.deepEqual(doc._revisions.ids, [second.rev, first.rev].map((r) => r.slice(2)));
	assert.deepEqual(await db.get('a/b c', { rev: first.rev }), { _id: 'a/b c', _rev: first.rev, name: 'Zoë', n: 1 });

	const made = await db.bulk({ docs: Array.from({ length: 100 }, (_, i) => ({ _id: `doc-${String(i).padStart(3, '0')}`, i })) });
	assert.equal(made.filter((row) => row.ok).length, 100);
	const list = await db.list({ include_docs: true, startkey: 'doc-', endkey: 'doc-~', skip: 10, limit: 5 });
	assert.deepEqual(list.rows.map((row) => row.doc.i), [10, 11, 12, 13, 14]);
	assert.equal(list.total_rows, 102);
	assert.deepEqual((await db.list({ descending: true, startkey: 'doc-003' })).rows.map((row) => row.id).slice(0, 4),
		['doc-003', 'doc-002', 'doc-001', 'doc-000']);
	const some = await db.fetch({ keys: ['doc-007', 'none', 'doc-001'] });
	assert.deepEqual(some.rows.map((row) => row.doc?.i ?? row.error), [7, 'not_found', 1]);
	const revs = await db.fetchRevs({ keys: ['doc-007'] });
	assert.equal(revs.rows[0].value.rev, made[7].rev);
	const mixed = await db.bulk({ docs: [{ _id: 'doc-001', i: 'late' }, { _id: 'doc-002', _rev: made[2].rev, _deleted: true }] });
	assert.deepEqual(mixed.map((row) => row.error ?? 'ok'), ['conflict', 'ok']);

	const gone = await db.destroy('a/b c', second.rev);
	assert.match(gone.rev, /^3-/);
	const missing = await failure(db.get('a/b c'));
	assert.deepEqual([missing.statusCode, missing.reason], [404, 'deleted']);
	assert.equal((await failure(db.head('a/b c'))).statusCode, 404);
	assert.equal((await db.info()).doc_count, 100);
});

test('nano: attachments, alone and with their document', { timeout: 30000 }, async () => {
	await nano.db.create('nano-atts');
	const db = nano.use('nano-atts');
	const photo = crypto.randomBytes(300000);
	const text = 'line\n'.repeat(1000);

	const put = await db.attachment.insert('doc', 'a photo.jpg', photo, 'image/jpeg');
	const more = await db.attachment.insert('doc', 'notes/ü.txt', text, 'text/plain', { rev: put.rev });
	assert.ok((await db.attachment.get('doc', 'a photo.jpg')).equals(photo));
	assert.equal((await db.attachment.get('doc', 'notes/ü.txt')).toString(), text);
	const chunks = [];
	for await (const chunk of db.attachment.getAsStream('doc', 'a photo.jpg')) chunks.push(chunk);
	assert.ok(Buffer.concat(chunks).equals(photo));
	const doc = await db.get('doc');
	assert.deepEqual(Object.keys(doc._attachments).sort(), ['a photo.jpg', 'notes/ü.txt']);
	assert.equal(doc._attachments['a photo.jpg'].digest, `md5-${crypto.createHash('md5').update(photo).digest('base64')}`);
	const less = await db.attachment.destroy('doc', 'a photo.jpg', { rev: more.rev });
	assert.equal((await failure(db.attachment.get('doc', 'a photo.jpg'))).statusCode, 404);
	assert.deepEqual(Object.keys((await db.get('doc', { rev: less.rev }))._attachments), ['notes/ü.txt']);

	const atts = [{ name: 'one.bin', data: photo, content_type: 'application/octet-stream' }, { name: 'two.txt', data: text, content_type: 'text/plain' }];
	const both = await db.multipart.insert({ n: 1 }, atts, 'multi');
	assert.equal(both.ok, true);
	assert.ok((await db.attachment.get('multi', 'one.bin')).equals(photo));
	assert.equal((await db.attachment.get('multi', 'two.txt')).toString(), text);
	const body = await db.multipart.get('multi');
	assert.ok(body.includes(photo), 'the multipart answer has the bytes');
	assert.ok(body.includes('"n":1'));
	const inline = await db.get('multi', { attachments: true });
	assert.equal(inline._attachments['two.txt'].data, Buffer.from(text).toString('base64'));
});

test('nano: changes, and a reader that follows them', { timeout: 60000 }, async () => {
	await nano.db.create('nano-changes');
	const db = nano.use('nano-changes');
	for (let i = 0; i < 25; i++) await db.insert({ i }, `c${i}`);

	const page = await db.changes({ limit: 10 });
	assert.equal(page.results.length, 10);
	assert.equal(page.pending, 15);
	const rest = await db.changes({ since: page.last_seq, include_docs: true });
	assert.deepEqual(rest.results.map((row) => row.doc.i), Array.from({ length: 15 }, (_, i) => i + 10));

	const seen = [];
	await new Promise((resolve, reject) => {
		db.changesReader.get({ since: 0, batchSize: 10, timeout: 1000 }).on('change', (row) => seen.push(row.id)).on('end', resolve).on('error', reject);
	});
	assert.deepEqual(seen, Array.from({ length: 25 }, (_, i) => `c${i}`));

	const live = [];
	await new Promise((resolve, reject) => {
		const reader = db.changesReader.start({ since: rest.last_seq, timeout: 20000, wait: false });
		reader.on('error', reject);
		reader.on('change', (row) => {
			live.push(row.id);
			if (live.length < 3) {
				db.insert({ live: true }, `live${live.length}`).catch(reject);
				return;
			}
			db.changesReader.stop();
			resolve();
		});
		db.insert({ live: true }, 'live0').catch(reject);
	});
	assert.deepEqual(live, ['live0', 'live1', 'live2']);
});

// ---- couchbackup ----

/** Run one of couchbackup's calls: its summary. */
const backupCall = (call, ...args) => new Promise((resolve, reject) => {
	call(...args, (error, summary) => (error ? reject(error) : resolve(summary)));
});

test('couchbackup: the countries, with conflicts and tombstones, go to a file and come back the same', { timeout: 120000 }, async () => {
	// couchbackup leaves attachments out by design.
	const docs = countries().map(({ _attachments, ...doc }) => doc);
	await nano.db.create('world');
	await nano.db.create('world-again');
	const db = nano.use('world');
	const made = await db.bulk({ docs });
	assert.ok(made.every((row) => row.ok));
	await db.bulk({ docs: docs.slice(0, 40).map((doc, i) => ({ ...doc, _rev: made[i].rev, visited: true })) });
	await db.destroy(made[50].id, made[50].rev);
	await db.bulk({ new_edits: false, docs: docs.slice(60, 70).map((doc) => ({ ...doc, _rev: '1-00000000000000000000000000000001', other: true })) });

	const file = path.join(folder, 'world.backup');
	const out = fs.createWriteStream(file);
	const saved = await backupCall(couchbackup.backup, `${server.authUrl}/world`, out,
		{ mode: 'full', log: path.join(folder, 'world.log'), bufferSize: 100, parallelism: 3 });
	assert.ok(saved.total >= docs.length - 1, `${saved.total} saved`);
	const restored = await backupCall(couchbackup.restore, fs.createReadStream(file), `${server.authUrl}/world-again`, { bufferSize: 50, parallelism: 3 });
	assert.equal(restored.total, saved.total);

	const [want, got] = await Promise.all(['world', 'world-again'].map((name) => serverPicture(`${server.url}/${name}`, server.auth)));
	assert.equal(Object.keys(want).length, docs.length);
	assert.deepEqual(differences(want, got), []);
	assert.equal(Object.values(got).filter((doc) => doc.conflicts).length, 10);
	const revs = { keys: [made[0].id] };
	assert.deepEqual((await nano.use('world-again').fetchRevs(revs)).rows, (await db.fetchRevs(revs)).rows);
});

test('couchbackup: a shallow backup through a pipe', { timeout: 60000 }, async () => {
	await nano.db.create('world-shallow');
	const pipe = new PassThrough();
	const file = fs.createWriteStream(path.join(folder, 'shallow.backup'));
	const written = pipeline(pipe, file);
	const saved = await backupCall(couchbackup.backup, `${server.authUrl}/world`, pipe, { mode: 'shallow' });
	await written;
	await backupCall(couchbackup.restore, fs.createReadStream(file.path), `${server.authUrl}/world-shallow`, {});
	const [a, b] = await Promise.all(['world', 'world-shallow'].map((name) => nano.use(name).list()));
	assert.equal(saved.total, a.total_rows);
	assert.deepEqual(b.rows, a.rows);
});

// ---- curl ----

/** Run curl: {status, text, err}; fails if curl does. */
const curl = (...args) => new Promise((resolve, reject) => {
	const child = execFile('curl', ['-sS', '-m', '30', '-u', server.admin, '-w', '\n%{http_code}', ...args], { maxBuffer: 1 << 26 },
		(error, stdout, stderr) => {
			if (error) return reject(Object.assign(error, { stderr }));
			const cut = stdout.lastIndexOf('\n');
			return resolve({ status: Number(stdout.slice(cut + 1)), text: stdout.slice(0, cut), json: () => JSON.parse(stdout.slice(0, cut)), err: stderr });
		});
	child.stdin.end();
});

test('curl: documents and conditional requests', { timeout: 60000 }, async () => {
	const url = `${server.url}/curl`;
	const etag = path.join(folder, 'etag');

	assert.equal((await curl('-X', 'PUT', url)).status, 201);
	const { rev } = (await curl('-X', 'PUT', `${url}/a`, '-d', '{"n":1}')).json();
	const posted = await curl(url, '-H', 'Content-Type: application/json', '-d', '{"_id":"b","n":2}');
	assert.deepEqual([posted.status, posted.json().id], [201, 'b']);
	const got = await curl('--etag-save', etag, `${url}/a`);
	assert.deepEqual(got.json(), { _id: 'a', _rev: rev, n: 1 });
	assert.equal(fs.readFileSync(etag, 'utf8').trim(), `"${rev}"`);
	const unchanged = await curl('--etag-compare', etag, `${url}/a`);
	assert.deepEqual([unchanged.status, unchanged.text], [304, '']);
	assert.equal((await curl('-H', `If-None-Match: "${rev}"`, `${url}/a`)).status, 304);
	assert.equal((await curl('-X', 'PUT', '-H', `If-Match: ${rev}`, `${url}/a`, '-d', '{"n":3}')).status, 201);
	const changed = await curl('--etag-compare', etag, `${url}/a`);
	assert.deepEqual([changed.status, changed.json().n], [200, 3]);
	const head = await curl('-I', `${url}/a`);
	assert.match(head.text, /^HTTP\/1\.1 200 /);
	assert.match(head.text, /^etag: "2-/im);
	const rows = await curl('-G', `${url}/_all_docs`, '--data-urlencode', 'startkey="b"', '--data-urlencode', 'include_docs=true');
	assert.deepEqual(rows.json().rows.map((row) => row.doc.n), [2]);
	const h2 = await curl('--http2-prior-knowledge', '-w', ' %{http_version}\n%{http_code}', `${url}/b`);
	assert.match(h2.text, /"n":2/);
	assert.match(h2.text, / 2$/);
	assert.equal((await curl('--compressed', `${url}/_changes`)).json().results.length, 2);
	const refused = await curl('-f', `${url}/none`).catch((e) => e);
	assert.equal(refused.code, 22, 'curl -f sees the failure');
});

test('curl: a cookie jar', { timeout: 30000 }, async () => {
	const jar = path.join(folder, 'jar');
	const [name, password] = server.admin.split(':');
	const plain = (...args) => new Promise((resolve, reject) =>
		execFile('curl', ['-sS', '-m', '30', ...args], (error, stdout) => (error ? reject(error) : resolve(stdout))));

	const signedIn = await plain('-c', jar, `${server.url}/_session`, '-d', `name=${name}`, '--data-urlencode', `password=${password}`);
	assert.equal(JSON.parse(signedIn).ok, true);
	assert.equal(JSON.parse(await plain('-b', jar, `${server.url}/_session`)).userCtx.name, name);
	assert.ok(JSON.parse(await plain('-b', jar, `${server.url}/_all_dbs`)).includes('curl'));
	await plain('-b', jar, '-c', jar, '-X', 'DELETE', `${server.url}/_session`);
	assert.equal(JSON.parse(await plain('-b', jar, `${server.url}/_session`)).userCtx.name, null);
});

test('curl: a file goes up with -T, comes down, and a cut download is resumed', { timeout: 60000 }, async () => {
	const url = `${server.url}/curl/files`;
	const bytes = crypto.randomBytes(3000000);
	const file = path.join(folder, 'photo.jpg');
	const down = path.join(folder, 'down.jpg');
	fs.writeFileSync(file, bytes);

	const put = await curl('-T', file, '-H', 'Content-Type: image/jpeg', `${url}/photo.jpg`);
	assert.equal(put.status, 201);
	const { rev } = put.json();
	// Of unknown length, hence in chunks.
	const chunked = await curl('-T', file, '-H', 'Content-Type: image/jpeg', '-H', 'Transfer-Encoding: chunked', `${url}/chunked.jpg?rev=${rev}`);
	assert.equal(chunked.status, 201);
	const h2 = await curl('--http2-prior-knowledge', '-T', file, `${url}/h2.bin?rev=${chunked.json().rev}`);
	assert.equal(h2.status, 201);
	for (const name of ['photo.jpg', 'chunked.jpg', 'h2.bin']) {
		assert.equal((await curl('-o', down, `${url}/${name}`)).status, 200);
		assert.ok(fs.readFileSync(down).equals(bytes), name);
	}
	const conflict = await curl('-T', file, '-H', 'Content-Type: image/jpeg', `${url}/photo.jpg`);
	assert.equal(conflict.status, 409);

	const part = await curl('-r', '100-199', '-o', down, `${url}/photo.jpg`);
	assert.equal(part.status, 206);
	assert.ok(fs.readFileSync(down).equals(bytes.subarray(100, 200)));
	for (const cut of [1, 1234567, 2999999]) {
		fs.writeFileSync(down, bytes.subarray(0, cut));
		assert.equal((await curl('-C', '-', '-o', down, `${url}/photo.jpg`)).status, 206);
		assert.ok(fs.readFileSync(down).equals(bytes), `resumed at ${cut}`);
	}
	const digest = crypto.createHash('md5').update(bytes).digest('base64');
	assert.equal((await curl('-H', `If-None-Match: "${digest}"`, `${url}/photo.jpg`)).status, 304);
});
