// Views beyond the recorded contract: freshness, restarts in the middle of a build, databases of the same name, long and deep keys,
// reductions of ranges against a recount, what users' functions may do to others.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { startDivand, tempDir } from '../lib/divand.mjs';
import { until } from '../lib/until.mjs';
import { ask, assertError, newDb } from './client.mjs';

const dataDir = tempDir('divan-views');
let server;
before(async () => (server = await startDivand({ dataDir, config: { couchdb: { os_process_timeout: '2000' }, smoosh: { view_channels: 'none' } } })));
after(() => server.stop());

const q = (params) => Object.entries(params).map(([k, v]) => `${k}=${encodeURIComponent(typeof v === 'string' && k.includes('docid') ? v : JSON.stringify(v))}`).join('&');

async function get(db, view, params = {}, more = '') {
	return ask(server, 'GET', `/${db}/_design/d/_view/${view}?${q(params)}${more}`);
}

async function rows(db, view, params = {}) {
	const { status, json, text } = await get(db, view, params);
	assert.equal(status, 200, text);
	return json.rows;
}

async function put(db, docs) {
	const { status, json } = await ask(server, 'POST', `/${db}/_bulk_docs`, { json: { docs } });
	assert.equal(status, 201);
	for (const one of json) assert.ok(one.ok, JSON.stringify(one));
	return json;
}

async function design(db, views, more = {}) {
	const old = await ask(server, 'GET', `/${db}/_design/d`);
	const { status, text } = await ask(server, 'PUT', `/${db}/_design/d`, { json: { ...more, _rev: old.json._rev, views } });
	assert.equal(status, 201, text);
}

const plain = { map: 'function(doc) { emit(doc.n, doc._id) }' };

test('update=false answers from what there is, lazy brings it up to date afterwards, true before', async () => {
	const db = await newDb(server, 'fresh');
	await design(db, { plain });
	await put(db, [{ _id: 'a', n: 1 }]);
	assert.deepEqual((await get(db, 'plain', {}, '&update=false')).json, { total_rows: 0, offset: 0, rows: [] });
	assert.equal((await rows(db, 'plain')).length, 1);
	await put(db, [{ _id: 'b', n: 2 }]);
	assert.equal((await get(db, 'plain', {}, '&stale=ok')).json.rows.length, 1);
	assert.equal((await get(db, 'plain', {}, '&update=lazy')).json.rows.length, 1);
	await until(async () => (await get(db, 'plain', {}, '&update=false')).json.rows.length === 2);
});

test('each write that was answered is in the next query, and each purge', async () => {
	const db = await newDb(server, 'each');
	await design(db, { plain });
	for (let i = 0; i < 30; i++) {
		await put(db, [{ _id: `d${i}`, n: i }]);
		assert.equal((await rows(db, 'plain')).length, i + 1);
	}
	const { json } = await ask(server, 'GET', `/${db}/d7`);
	assert.equal((await ask(server, 'POST', `/${db}/_purge`, { json: { d7: [json._rev] } })).status, 201);
	assert.equal((await rows(db, 'plain')).length, 29);
	assert.deepEqual(await rows(db, 'plain', { key: 7 }), []);
});

test('a tag holds until something changes', async () => {
	const db = await newDb(server, 'tag');
	await design(db, { plain });
	await put(db, [{ _id: 'a', n: 1 }]);
	const { headers } = await get(db, 'plain');
	const again = () => ask(server, 'GET', `/${db}/_design/d/_view/plain?`, { headers: { 'If-None-Match': headers.etag } });
	assert.equal((await again()).status, 304);
	await put(db, [{ _id: 'b', n: 1 }]);
	assert.equal((await again()).status, 200);
});

test('a database that is made again has nothing of the old one, and its index files are gone', async () => {
	const db = await newDb(server, 'again');
	for (let i = 0; i < 5; i++) {
		await design(db, { plain });
		await put(db, [{ _id: `only${i}`, n: i }]);
		assert.deepEqual((await rows(db, 'plain')).map((r) => r.id), [`only${i}`]);
		assert.equal((await ask(server, 'DELETE', `/${db}`)).status, 200);
		assert.equal((await ask(server, 'PUT', `/${db}`)).status, 201);
	}
	assert.equal((await ask(server, 'DELETE', `/${db}`)).status, 200);
});

test('while a changed design document is indexed, update=false and lazy give rows of the one before; then its file goes', async () => {
	const db = await newDb(server, 'earlier');
	const folder = path.join(dataDir, '.views');
	const files = () => fs.readdirSync(folder).filter((f) => f.endsWith('.divan')).length;
	const first = files();
	const slow = (value) => `function(doc) { var t = Date.now(); while (Date.now() < t + 4); emit(doc.n, '${value}') }`;
	await put(db, Array.from({ length: 300 }, (_, n) => ({ _id: `e${n}`, n })));
	await design(db, { v: { map: 'function(doc) { emit(doc.n, 1) }', reduce: '_sum' } });
	assert.deepEqual(await rows(db, 'v'), [{ key: null, value: 300 }]);
	await design(db, { v: { map: slow('two') }, w: { map: slow('two') } });
	const old = async (how, value) => {
		const { json } = await get(db, 'v', { key: 7, reduce: false }, how);
		assert.deepEqual(json.rows.map((r) => r.value), [value]);
	};
	await old('&update=false', 1);
	// A view that the one before did not have has no rows yet.
	assert.deepEqual((await get(db, 'w', {}, '&update=false')).json.rows, []);
	await design(db, { v: { map: slow('three') }, w: { map: slow('three') } });
	await server.kill();
	await server.restart();
	await old('&stale=ok', 1);
	await old('&update=lazy', 1);
	assert.deepEqual(await rows(db, 'v', { key: 7 }), [{ id: 'e7', key: 7, value: 'three' }]);
	await old('&update=false', 'three');
	await until(() => files() === first + 1);
	await design(db, { v: { map: 'function(doc) { throw 1 }' } });
	assert.equal((await ask(server, 'POST', `/${db}/_view_cleanup`, { json: {} })).status, 202);
	await old('&update=false', 'three');
});

test('views that have other names now are found by them', async () => {
	const db = await newDb(server, 'renamed');
	await put(db, [{ _id: 'a', n: 1 }]);
	await design(db, { before: plain });
	assert.equal((await rows(db, 'before')).length, 1);
	await design(db, { after: plain });
	assert.equal((await rows(db, 'after')).length, 1);
	assert.equal((await get(db, 'before')).status, 404);
});

test('a clean-up removes the files of indexes that nothing defines', async () => {
	const db = await newDb(server, 'clean');
	const folder = path.join(dataDir, '.views');
	const files = () => fs.readdirSync(folder).filter((f) => f.endsWith('.divan')).length;
	const first = files();
	for (let i = 0; i < 4; i++) {
		await design(db, { v: { map: `function(doc) { emit(${i}) }` } });
		await rows(db, 'v');
	}
	// What was replaced goes by itself, what was deleted when that is asked for.
	await until(() => files() === first + 1);
	const { json } = await ask(server, 'GET', `/${db}/_design/d`);
	assert.equal((await ask(server, 'DELETE', `/${db}/_design/d?rev=${json._rev}`)).status, 200);
	assert.equal(files(), first + 1);
	assert.equal((await ask(server, 'POST', `/${db}/_view_cleanup`, { json: {} })).status, 202);
	assert.equal(files(), first);
	await design(db, { plain });
	await rows(db, 'plain');
	assert.equal((await ask(server, 'DELETE', `/${db}`)).status, 200);
	await until(() => files() === first);
});

test('compaction makes an index file small while it is read, and a kill in the middle of it loses nothing', async () => {
	const db = await newDb(server, 'compact');
	await design(db, { plain: { map: 'function(doc) { for (var i = 0; i < 40; i++) emit([doc.n, i], doc.text) }' } });
	const docs = await put(db, Array.from({ length: 1500 }, (_, n) => ({ _id: `c${n}`, n, text: 'x'.repeat(200) })));
	assert.equal((await get(db, 'plain', { limit: 0 })).json.total_rows, 60000);
	const info = async () => (await ask(server, 'GET', `/${db}/_design/d/_info`)).json.view_index;
	const left = docs.filter((_, i) => i % 30 === 0);
	await put(db, docs.filter((_, i) => i % 30 !== 0).map(({ id, rev }) => ({ _id: id, _rev: rev, _deleted: true })));
	const want = await rows(db, 'plain');
	assert.equal(want.length, 40 * left.length);
	const before = (await info()).sizes;
	assert.ok(before.file > 4 * before.active, JSON.stringify(before));
	const compact = async () => assert.equal((await ask(server, 'POST', `/${db}/_compact/d`, { json: {} })).status, 202);
	await compact();
	await server.kill();
	await server.restart();
	assert.deepEqual(await rows(db, 'plain'), want);
	await compact();
	await until(async () => {
		assert.deepEqual(await rows(db, 'plain'), want);
		return !(await info()).compact_running;
	});
	const after = (await info()).sizes;
	assert.ok(after.file < before.file / 4, JSON.stringify([before, after]));
	assert.equal((await ask(server, 'POST', `/${db}/_compact/none`, { json: {} })).status, 404);
	await put(db, [{ _id: 'more', n: 0 }]);
	assert.equal((await get(db, 'plain', { limit: 0 })).json.total_rows, want.length + 40);
});

test('a document that a function does not end for: the error comes at once the next time, and goes when the document does', async () => {
	const db = await newDb(server, 'once');
	await design(db, { v: { map: 'function(doc) { while (doc.loop); emit(1) }' } });
	const [, bad] = await put(db, [{ _id: 'a' }, { _id: 'b', loop: true }, { _id: 'c' }]);
	const count = async () => {
		const { text } = await ask(server, 'GET', '/_node/_local/_prometheus');
		return Number(/^couchdb_query_server_process_error_exits_total (\d+)/m.exec(text)?.[1]);
	};
	const before = await count();
	for (let i = 0; i < 5; i++) assert.equal((await get(db, 'v')).status, 500);
	assert.equal((await count()) - before, 2);
	assert.equal((await get(db, 'v', {}, '&update=false')).json.total_rows, 1);
	assert.equal((await ask(server, 'DELETE', `/${db}/b?rev=${bad.rev}`)).status, 200);
	assert.deepEqual((await rows(db, 'v')).map((r) => r.id), ['a', 'c']);
});

test('killed in the middle of a build, and again: the index is what it would have been', async () => {
	const db = await newDb(server, 'killed');
	const docs = [];
	for (let i = 0; i < 6000; i++) docs.push({ _id: `k${i}`, n: i % 100, text: 'x'.repeat(2000) });
	for (let i = 0; i < docs.length; i += 1000) await put(db, docs.slice(i, i + 1000));
	await design(db, { sum: { map: 'function(doc) { emit(doc.n, 1); emit([doc.n, doc._id], 1) }', reduce: '_sum' } });
	for (let i = 0; i < 3; i++) {
		const asked = rows(db, 'sum').catch(() => {});
		await until(async () => (await ask(server, 'GET', '/_active_tasks')).json.some((t) => t.type === 'indexer' && t.changes_done > 0) ||
			(await get(db, 'sum', { reduce: false, limit: 0 }, '&update=false')).json.total_rows >= 12000);
		await server.kill();
		await asked;
		await server.restart();
	}
	assert.deepEqual(await rows(db, 'sum'), [{ key: null, value: 12000 }]);
	const all = await rows(db, 'sum', { reduce: false });
	assert.equal(all.length, 12000);
	assert.equal(new Set(all.map((r) => JSON.stringify([r.key, r.id]))).size, 12000);
});

test('reductions of ranges are what their rows add up to, while documents change', async () => {
	const db = await newDb(server, 'ranges');
	const map = 'function(doc) { emit([doc.n % 10, doc.n % 7, doc.n], doc.n) }';
	await design(db, {
		sum: { map, reduce: '_sum' }, stats: { map, reduce: '_stats' }, count: { map, reduce: '_count' },
		js: { map, reduce: 'function(k, v, r) { return r ? v.reduce(function(a, b) { return [a[0] + b[0], a[1] + b[1]] }) : [v.length, sum(v)] }' },
	});
	let n = 0;
	const revs = new Map();
	for (let round = 0; round < 4; round++) {
		const docs = [];
		for (let i = 0; i < 700; i++) docs.push({ _id: `r${n}`, n: n++ });
		for (const [id, rev] of [...revs].filter((_, i) => i % 9 === round)) docs.push({ _id: id, _rev: rev, n: (n * 31) % 5000 });
		for (const one of await put(db, docs)) revs.set(one.id, one.rev);
		const all = await rows(db, 'sum', { reduce: false });
		const ranges = [{}, { startkey: [3] }, { endkey: [7, 2] }, { startkey: [2, 3], endkey: [8, 1, {}] }, { key: [4, 4, 4] }, { startkey: [5], endkey: [5, {}] },
			{ startkey: [8], endkey: [1], descending: true }];
		for (const range of ranges) {
			const own = await rows(db, 'sum', { reduce: false, ...range });
			const sum = own.reduce((a, r) => a + r.value, 0);
			const one = async (view) => (await rows(db, view, range))[0]?.value;
			if (own.length === 0) {
				assert.equal(await one('sum'), undefined);
				continue;
			}
			assert.equal(await one('sum'), sum);
			assert.equal(await one('count'), own.length);
			assert.deepEqual(await one('js'), [own.length, sum]);
			const stats = await one('stats');
			assert.deepEqual([stats.sum, stats.count, stats.max], [sum, own.length, Math.max(...own.map((r) => r.value))]);
			for (const level of [1, 2, 3]) {
				const want = new Map();
				for (const r of own) {
					const key = JSON.stringify(r.key.slice(0, level));
					want.set(key, (want.get(key) ?? 0) + r.value);
				}
				const got = await rows(db, 'sum', { group_level: level, ...range });
				assert.deepEqual(got.map((r) => [JSON.stringify(r.key), r.value]), [...want]);
				const js = await rows(db, 'js', { group_level: level, ...range });
				assert.deepEqual(js.map((r) => [JSON.stringify(r.key), r.value[1]]), [...want]);
				assert.deepEqual(await rows(db, 'sum', { group_level: level, ...range, skip: 2, limit: 3 }), got.slice(2, 5));
			}
		}
		for (const skip of [0, 1, 350, all.length - 1, all.length, all.length + 5]) {
			assert.deepEqual(await rows(db, 'sum', { reduce: false, skip, limit: 3 }), all.slice(skip, skip + 3));
			assert.deepEqual(await rows(db, 'sum', { reduce: false, skip, limit: 3, descending: true }), [...all].reverse().slice(skip, skip + 3));
		}
	}
});

test('keys of 100 KiB, deep keys, half characters: each is found by itself, in order', async () => {
	const db = await newDb(server, 'long');
	const deep = (n) => JSON.parse('['.repeat(n) + '1' + ']'.repeat(n));
	const keys = ['x'.repeat(100 * 1024), 'x'.repeat(100 * 1024) + 'a', 'x'.repeat(100 * 1024) + 'b', 'x'.repeat(600), deep(100), deep(101),
		Array(5000).fill(7), Array(5000).fill(7).concat(8), null, true, -1e300, 1e-300, 9007199254740993, {}, { a: [] }, ''];
	await design(db, { k: { map: 'function(doc) { emit(doc.key, doc.i) }' }, half: { map: "function(doc) { if (doc.i === 0) emit('\\ud83d\\ude00'.slice(0, 1), '\\udc00') }" } });
	await put(db, keys.map((key, i) => ({ _id: `l${i}`, key, i })));
	const all = await rows(db, 'k');
	assert.equal(all.length, keys.length);
	for (const [i, key] of keys.entries()) {
		const { status, json } = await ask(server, 'POST', `/${db}/_design/d/_view/k`, { json: { key } });
		assert.equal(status, 200);
		assert.deepEqual(json.rows.map((r) => r.value), [i]);
		const from = await ask(server, 'POST', `/${db}/_design/d/_view/k`, { json: { startkey: key } });
		assert.deepEqual(from.json.rows, all.slice(all.findIndex((r) => r.value === i)));
		assert.equal(from.json.offset, all.findIndex((r) => r.value === i));
	}
	const many = await ask(server, 'POST', `/${db}/_design/d/_view/k`, { json: { keys } });
	assert.deepEqual(many.json.rows.map((r) => r.value), keys.map((_, i) => i));
	assert.deepEqual(await rows(db, 'half'), [{ id: 'l0', key: '\ufffd', value: '\ufffd' }]);
});

test('a large answer comes in pieces and whole, in both directions', async () => {
	const db = await newDb(server, 'large');
	await design(db, { many: { map: 'function(doc) { for (var i = 0; i < 100; i++) emit([i, doc.n], doc.text) }', reduce: '_count' } });
	await put(db, Array.from({ length: 300 }, (_, n) => ({ _id: `m${n}`, n, text: 'y'.repeat(50) })));
	const up = await rows(db, 'many', { reduce: false });
	assert.equal(up.length, 30000);
	assert.ok(up.every((r, i) => r.key[0] === Math.floor(i / 300) && r.key[1] === i % 300));
	assert.deepEqual((await rows(db, 'many', { reduce: false, descending: true })).reverse(), up);
	const groups = await rows(db, 'many', { group: true });
	assert.deepEqual(groups.map((r) => r.key), up.map((r) => r.key));
	assert.deepEqual((await rows(db, 'many', { group: true, descending: true })).reverse(), groups);
	const docs = await rows(db, 'many', { reduce: false, include_docs: true, startkey: [99] });
	assert.ok(docs.length === 300 && docs.every((r) => r.doc.n === r.key[1]));
});

test('functions that loop, grow, throw or do not compile cost their own queries an error', async () => {
	const db = await newDb(server, 'harm');
	await put(db, [{ _id: 'a', n: 1 }, { _id: 'b', n: 2 }]);
	const bad = {
		loops: 'function(doc) { for (;;); }',
		grows: 'function(doc) { var s = []; for (;;) s.push(new Array(1000).join("x" + s.length)) }',
		emits: 'function(doc) { for (;;) emit(1, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx") }',
	};
	await Promise.all(Object.entries(bad).map(async ([name, map]) => {
		assert.equal((await ask(server, 'PUT', `/${db}/_design/${name}`, { json: { views: { v: { map } } } })).status, 201);
		const { status, json, text } = await ask(server, 'GET', `/${db}/_design/${name}/_view/v`);
		// Memory may run out in a way that the engine survives: the documents then have no rows.
		if (name !== 'loops' && status === 200) {
			assert.deepEqual(json.rows, [], name);
			for (const id of ['a', 'b']) await until(() => server.stderr().includes(`an index of ${db}, _design/${name}: document ${id} has no rows: `), 'the log');
		} else {
			assert.equal(status, 500, `${name}: ${text}`);
			assert.ok(json.error && json.reason);
		}
		assert.equal((await ask(server, 'GET', `/${db}/_design/${name}/_view/v?update=false`)).status, 200);
	}));
	await design(db, {
		thrower: { map: 'function(doc) { if (doc.n === 1) throw "no"; emit(doc.n) }' }, plain,
		badsum: { map: 'function(doc) { emit(doc.n, 1) }', reduce: 'function(k, v) { throw {error: "mine", reason: "because"} }' },
		overflow: { map: 'function(doc) { for (var i = 0; i < 3000; i++) emit(i, "text that is as long as this") }', reduce: 'function(k, v) { return [].concat.apply([], v) }' },
	});
	assert.deepEqual((await rows(db, 'thrower')).map((r) => r.id), ['b']);
	assert.equal((await rows(db, 'plain')).length, 2);
	for (const query of [{}, {}, { group: true, limit: 1 }]) {
		const [row] = await rows(db, 'overflow', query);
		if (query.group) assert.deepEqual(row, { key: 0, value: Array(2).fill('text that is as long as this') });
		else assert.deepEqual([Object.keys(row), row.key, row.error], [['key', 'error', 'reason'], null, 'reduce_overflow_error']);
		if (!query.group) assert.match(row.reason, /^Reduce output must shrink more rapidly: input size: \d+ output size: \d+$/);
	}
	assert.equal((await rows(db, 'overflow', { reduce: false, limit: 1 })).length, 1);
});

test('documents that change while an index is built or updated are in it when its readers are told', async () => {
	const db = await newDb(server, 'meanwhile'), n = 30000;
	const edit = async (from, count, v) => {
		const ids = Array.from({ length: count }, (_, i) => `d${String(from + i).padStart(6, '0')}`);
		const { json } = await ask(server, 'POST', `/${db}/_all_docs`, { json: { keys: ids } });
		await put(db, json.rows.map((r, i) => ({ _id: ids[i], v, ...(r.value ? { _rev: r.value.rev } : {}) })));
	};
	/** What the reader gets, while the documents that come last are changed, so that they come behind the others. */
	const meanwhile = async (read) => {
		let over = false;
		const writer = (async () => {
			for (let at = n - 6000; !over && at < n; at += 100) await edit(at, 100, 3);
		})();
		const answer = await read();
		over = true;
		await writer;
		assert.equal(answer.status, 200, answer.text);
		return answer.json;
	};
	for (let at = 0; at < n; at += 10000) await edit(at, 10000, 1);
	await design(db, { v: { map: 'function(doc) { emit(doc.v) }' } });
	assert.equal((await ask(server, 'POST', `/${db}/_index`, { json: { ddoc: 'v', index: { fields: ['v'] } } })).status, 200);
	const found = await meanwhile(() => ask(server, 'POST', `/${db}/_find`, { json: { selector: { v: { $gt: 0 } }, fields: ['_id'], limit: n, use_index: 'v' } }));
	assert.equal(found.docs.length, n);
	assert.equal((await meanwhile(() => get(db, 'v', { limit: 0 }))).total_rows, n);
	for (let at = 0; at < n; at += 10000) await edit(at, 10000, 2);
	assert.deepEqual((await meanwhile(() => get(db, 'v', { end_key: 1 }))).rows, []);
});

test('who waits for an index may go away', async () => {
	const db = await newDb(server, 'away');
	await put(db, [{ _id: 'a', n: 1 }]);
	await design(db, { loops: { map: 'function(doc) { for (;;); }' } });
	const { default: http } = await import('node:http');
	await new Promise((resolve) => {
		const req = http.get({ port: server.port, path: `/${db}/_design/d/_view/loops`, headers: { Authorization: server.auth }, agent: false });
		req.on('error', resolve);
		req.on('socket', (s) => s.on('connect', () => setTimeout(() => req.destroy(), 50)));
		req.on('close', resolve);
	});
	assert.equal((await ask(server, 'GET', '/_up')).status, 200);
	assert.equal((await ask(server, 'DELETE', `/${db}`)).status, 200);
});

test('views of _users are for its administrators', async () => {
	const as = (name) => ask(server, 'GET', '/_users/_design/d/_view/plain', { auth: name && `Basic ${Buffer.from(`${name}:x`).toString('base64')}` });
	const editable = (method, json) => ask(server, method, '/_node/_local/_config/couchdb/users_db_security_editable', { json });
	assert.equal((await ask(server, 'PUT', '/_users/_design/d', { json: { views: { plain } } })).status, 201);
	assert.equal((await ask(server, 'GET', '/_users/_design/d/_view/plain')).status, 200);
	for (const name of ['eve', 'bob']) {
		assert.equal((await ask(server, 'PUT', `/_users/org.couchdb.user:${name}`, { json: { name, type: 'user', roles: [], password: 'x' } })).status, 201);
		assert.ok([401, 403].includes((await as(name)).status));
	}
	const { json: before } = await ask(server, 'GET', '/_users/_security');
	assert.equal((await editable('PUT', 'true')).status, 200);
	assert.equal((await ask(server, 'PUT', '/_users/_security', { json: { admins: { names: ['eve'] } } })).status, 200);
	assert.equal((await as('eve')).json.total_rows, 2);
	for (const name of ['bob', null]) assertError(await as(name), 403, 'forbidden', 'Only administrators can view design docs in the users database.');
	assert.equal((await ask(server, 'PUT', '/_users/_security', { json: before })).status, 200);
	assert.equal((await editable('DELETE')).status, 200);
});
