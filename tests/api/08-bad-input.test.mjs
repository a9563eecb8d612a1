// Bad input for the endpoints behind documents: each gets its status and {"error","reason"}, and leaves the database as it was.
import assert from 'node:assert/strict';
import zlib from 'node:zlib';
import { after, before, test } from 'node:test';
import { startDivand } from '../lib/divand.mjs';
import { ask, assertError, connect, newDb } from './client.mjs';

let server;
let db;
let rev;
let parted;
before(async () => {
	server = await startDivand();
	db = await newDb(server);
	rev = (await ask(server, 'PUT', `/${db}/doc`, { json: { n: 1 } })).json.rev;
	rev = (await ask(server, 'PUT', `/${db}/doc/att?rev=${rev}`, { body: '0123456789', type: 'image/png' })).json.rev;
	await ask(server, 'PUT', `/${db}/_local/l`, { json: { n: 1 } });
	parted = `${db}p`;
	await ask(server, 'PUT', `/${parted}?partitioned=true`);
	await ask(server, 'PUT', `/${parted}/a:1`, { json: {} });
});
after(() => server.stop());

const state = async (name) => {
	const { update_seq, purge_seq, doc_count, doc_del_count } = (await ask(server, 'GET', `/${name}`)).json;
	const { rows } = (await ask(server, 'GET', `/${name}/_all_docs?include_docs=true`)).json;
	const local = (await ask(server, 'GET', `/${name}/_local_docs?include_docs=true`)).json.rows;
	const settings = await Promise.all(['_revs_limit', '_purged_infos_limit', '_security', '_purged_infos'].map((x) => ask(server, 'GET', `/${name}/${x}`)));
	return JSON.stringify([update_seq, purge_seq, doc_count, doc_del_count, rows, local, settings.map((x) => x.text)]);
};

/** Rows of [method, path, request, status, error, reason]; paths with // at the front are in the partitioned database. */
function group(title, rows) {
	test(title, { timeout: 60000 }, async () => {
		const wrong = [];
		for (const [method, path, request, status, error, reason] of rows) {
			const name = path.startsWith('//') ? parted : db;
			const before = await state(name);
			const answer = await ask(server, method, `/${name}${path.replace('//', '/').replace('REV', rev)}`, request ?? {});
			try {
				assertError(answer, status, error, reason);
				assert.equal(await state(name), before, 'the database changed');
			} catch (e) {
				const text = request?.body ?? JSON.stringify(request?.json) ?? '';
				wrong.push(`${method} ${path.slice(0, 100)} ${String(text).slice(0, 100)}: ${e.message}`);
			}
		}
		assert.deepEqual(wrong, []);
		assert.equal((await ask(server, 'GET', '/_up')).status, 200);
	});
}

const J = 'application/json';
const body = (text) => ({ body: text, type: J });
const POSTS = ['', '/_bulk_docs', '/_bulk_get', '/_all_docs', '/_all_docs/queries', '/_design_docs', '/_design_docs/queries', '/_local_docs',
	'/_local_docs/queries', '/_revs_diff', '/_missing_revs', '/_changes', '/_changes?filter=_doc_ids', '/_purge', '//_partition/a/_all_docs'];
const PUTS = ['/new', '/_design/new', '/_local/new', '/_security', '/_revs_limit', '/_purged_infos_limit'];

group('bodies that are no JSON', [...POSTS.map((p) => ['POST', p]), ...PUTS.map((p) => ['PUT', p])].flatMap(([method, path]) =>
	['', '{', '{"a":1}}', '[1,', '\xff', '{"a":"\\ud800"}', 'nul', '['.repeat(50000), '{"a":'.repeat(3000) + '1' + '}'.repeat(3000)]
		.filter((text) => !(path === '/_changes' && text === '')) // is taken as no body there
		.map((text) => [method, path, body(Buffer.from(text, 'latin1')), [400, 413]])));
group('bodies of the wrong type', POSTS.filter((p) => p !== '/_changes').flatMap((path) =>
	['[]', '1', '"x"', 'null', 'true'].map((text) => ['POST', path, body(text), 400])));
group('content types', POSTS.filter((p) => !p.startsWith('//')).map((path) => ['POST', path, { body: '{}', type: 'text/plain' }, 415, 'bad_content_type']));

group('members of the wrong type', [
	...['/_all_docs', '/_design_docs', '/_local_docs', '//_partition/a/_all_docs'].flatMap((path) => [
		['POST', path, { json: { limit: 'x' } }, 400, 'query_parse_error'], ['POST', path, { json: { limit: [] } }, 400, 'query_parse_error'],
		['POST', path, { json: { skip: -1 } }, 400, 'query_parse_error'], ['POST', path, { json: { descending: 2 } }, 400, 'query_parse_error'],
		['POST', path, { json: { include_docs: {} } }, 400, 'query_parse_error'], ['POST', path, { json: { keys: {} } }, 400, 'bad_request'],
		['POST', path, { json: { stale: 'x' } }, 400, 'query_parse_error', 'Invalid value for `stale`.'],
		['POST', path, { json: { update: 1 } }, 400, 'query_parse_error', 'Invalid value for `update`.'],
		['GET', `${path}?limit=`, {}, 400, 'query_parse_error'], ['GET', `${path}?limit=1.5`, {}, 400, 'query_parse_error'],
		['GET', `${path}?skip=99999999999999999999x`, {}, 400, 'query_parse_error'], ['GET', `${path}?descending=yes`, {}, 400, 'query_parse_error'],
		['GET', `${path}?key=a`, {}, 400, 'bad_request'], ['GET', `${path}?startkey=%22`, {}, 400], ['GET', `${path}?endkey={`, {}, 400],
		['GET', `${path}?keys=[`, {}, 400], ['GET', `${path}?keys=1`, {}, 400], ['GET', `${path}?stable=maybe`, {}, 400, 'query_parse_error'],
		['GET', `${path}?inclusive_end=2`, {}, 400, 'query_parse_error'], ['GET', `${path}?key=%ff`, {}, 400], ['GET', `${path}?key=%zz`, {}, 400],
	]),
	['POST', '/_all_docs/queries', { json: {} }, 400, 'bad_request'], ['POST', '/_all_docs/queries', { json: { queries: 1 } }, 400, 'bad_request'],
	['POST', '/_all_docs/queries', { json: { queries: [1] } }, 400], ['POST', '/_all_docs/queries', { json: { queries: [{ limit: -1 }] } }, 400],
	['POST', '/_bulk_docs', { json: { docs: 1 } }, 400], ['POST', '/_bulk_docs', { json: { docs: [{ _id: 'a' }, []] } }, 400],
	['POST', '/_bulk_docs', { json: { docs: [{ _id: 'ok' }, { _id: '_no' }] } }, 400, 'illegal_docid'],
	['POST', '/_bulk_docs', { json: { docs: [{ _id: 'ok' }, { _id: 'x'.repeat(8193) }] } }, 400, 'illegal_docid'],
	['POST', '/_bulk_docs', { json: { docs: [{ _id: 'a', _rev: '1-a', _revisions: { start: 2, ids: ['a', 1] } }], new_edits: false } }, 400],
	['POST', '/_bulk_docs', { json: { docs: [{ _id: 'a', _revisions: { start: 1, ids: ['b', 'a'] } }], new_edits: false } }, 400],
	['POST', '/_bulk_docs', { json: { docs: [{ _id: 'a', _rev: '1-a', _revisions: { start: -1, ids: ['a'] } }], new_edits: false } }, 400],
	['POST', '/_bulk_docs', { json: { docs: [{ _id: 'a', _attachments: { x: { stub: true } } }] } }, 412, 'missing_stub'],
	['POST', '/_bulk_docs', { json: { docs: [{ _id: 'a', _attachments: { x: { data: '*' } } }] } }, 400],
	['POST', '/_bulk_get', { json: { docs: 'x' } }, 400], ['POST', '/_bulk_get?rev=1-a', { json: { docs: [] } }, 400],
	['POST', '/_revs_diff', { json: { a: ['1-a', 'x'] } }, 400], ['POST', '/_revs_diff', { json: { a: { b: 1 } } }, 400],
	['POST', '/_missing_revs', { json: { a: [null] } }, 400],
	['GET', '/_changes?since=x', {}, 400], ['GET', '/_changes?limit=x', {}, 400], ['GET', '/_changes?style=none', {}, 400],
	['GET', '/_changes?filter=_none', {}, [400, 404]], ['POST', '/_changes?filter=_doc_ids', { json: { doc_ids: 1 } }, 400],
	['PUT', '/_revs_limit', { json: 1.5 }, 400], ['PUT', '/_revs_limit', { json: -1 }, 400], ['PUT', '/_revs_limit', { json: 1e300 }, 400],
	['PUT', '/_purged_infos_limit', { json: 0 }, 400], ['PUT', '/_purged_infos_limit', { json: [] }, 400],
	['PUT', '/_security', { json: { members: 1 } }, 400], ['PUT', '/_security', { json: { admins: { roles: [1] } } }, 400],
]);

group('reading and writing one document', [
	...['rev=', 'rev=1', 'rev=x-1', 'rev=-1-a', 'open_revs=1', 'open_revs=[1]', 'open_revs=["x"]', 'open_revs={}', 'open_revs=[', 'atts_since=x', 'atts_since=["x"]', 'atts_since={}']
		.map((q) => ['GET', `/doc?${q}`, {}, 400, 'bad_request']),
	['GET', '/doc?rev=7-abc', {}, 404, 'not_found', 'missing'], ['GET', '/none?rev=7-abc', {}, 404, 'not_found', 'missing'],
	['GET', '/doc/att?rev=7-abc', {}, 404, 'not_found'], ['GET', '/doc/att?rev=x', {}, 400], ['GET', '/doc/none', {}, 404, 'not_found', 'Document is missing attachment'],
	['DELETE', '/none/att', {}, 404, 'not_found', 'missing'], ['DELETE', '/none/att?rev=1-a', {}, 409, 'not_found', 'missing_rev'],
	['PUT', '/none/att?rev=1-a', { body: 'x', type: 'a/b' }, 409, 'not_found', 'missing_rev'], ['PUT', '/_no/att', { body: 'x' }, 400, 'illegal_docid'],
	['PUT', `/${'x'.repeat(8193)}/att`, { body: 'x' }, 400, 'illegal_docid'], ['PUT', '/_local/l/att', { body: 'x' }, 400],
	['COPY', '/doc', {}, 400, 'bad_request'], ['COPY', '/doc', { headers: { Destination: 'http://x/y' } }, 400], ['COPY', '/doc', { headers: { Destination: '_x' } }, 400],
	['COPY', '/doc', { headers: { Destination: 'doc' } }, 409], ['COPY', '/doc?rev=9-z', { headers: { Destination: 'y' } }, 404],
	['COPY', '/doc', { headers: { Destination: 'x'.repeat(8193) } }, 400], ['COPY', '/none', { headers: { Destination: 'y' } }, 404],
	['PUT', '/_local/l', { json: { _rev: '1-a' } }, [400, 409]], ['DELETE', '/_local/none', {}, 404],
	['PUT', '/_local/', { json: {} }, 400], ['PUT', `/_local/${'x'.repeat(8193)}`, { json: {} }, 400],
]);

test('a wrong element of _bulk_get fails alone', async () => {
	const docs = [{ id: 'doc' }, { id: '_x' }, { id: 'doc', rev: 'foo' }, { id: 'doc', rev: 1 }, { id: 'doc', rev: '1-x', atts_since: 'bad' },
		{ id: 'doc', rev: '1-x', atts_since: ['1-a', 'foo'] }, { id: 'doc', rev: '1-x' }, {}, { rev: '1-a' }, 7];
	const { status, json } = await ask(server, 'POST', `/${db}/_bulk_get`, { json: { docs } });
	assert.equal(status, 200);
	assert.equal(json.results[0].docs[0].ok._rev, rev);
	assert.deepEqual(json.results.slice(1).map(({ docs: [{ error }] }) => [error.rev, error.error]), [
		[null, 'illegal_docid'], ['foo', 'bad_request'], [1, 'bad_request'], ['bad', 'bad_request'], ['foo', 'bad_request'],
		['1-x', 'not_found'], [null, 'bad_request'], [null, 'bad_request'], [null, 'bad_request']]);
	assertError(await ask(server, 'POST', `/${db}/_bulk_get`, { json: { docs: [{ id: 'doc' }, { id: 1 }] } }), 400, 'bad_request');
});

test('ranges out of bounds', async () => {
	const get = (range) => ask(server, 'GET', `/${db}/doc/att`, { headers: { Range: range } });
	for (const range of ['bytes=10-', 'bytes=99-100', 'bytes=-0']) {
		assertError(await get(range), 416, 'requested_range_not_satisfiable');
	}
	// What is no range at all is passed over.
	for (const range of ['bytes=', 'bytes=x-', 'lines=1-2', 'bytes=5-4', 'bytes=--1', 'bytes=1-2-3']) {
		const { status, text } = await get(range);
		assert.ok(status === 200 || status === 416, `${range}: ${status}`);
		if (status === 200) assert.equal(text, '0123456789');
	}
	assert.equal((await get('bytes=8-99')).text, '89');
	assert.equal((await get('bytes=-99')).text, '0123456789');
});

const many = (n, of) => Object.fromEntries(Array.from({ length: n }, (_, i) => [`d${i}`, of]));
group('purges', [
	['POST', '/_purge', { json: { doc: 'x' } }, 400, 'bad_request'], ['POST', '/_purge', { json: { doc: ['x'] } }, 400, 'bad_request'],
	['POST', '/_purge', { json: { doc: [1] } }, 400, 'bad_request'], ['POST', '/_purge', { json: { doc: [rev, 'zz'] } }, 400],
	['POST', '/_purge', { json: many(101, ['1-a']) }, 400, 'bad_request', 'Exceeded maximum number of documents.'],
	['POST', '/_purge', { json: { doc: Array.from({ length: 1001 }, (_, i) => `1-${i}`) } }, 400, 'bad_request', 'Exceeded maximum number of revisions.'],
	['POST', '/_purge', body('{"doc":["1-a"]'), 400], ['GET', '/_purge', {}, 405, 'method_not_allowed'], ['POST', '/_purged_infos', { json: {} }, 405],
]);

test('a purge of what is not there changes nothing', async () => {
	for (const json of [{ doc: ['9-zz'] }, { none: [rev] }, { doc: [] }, { '': ['1-a'] }, { _design: ['1-a'] }, { ['x'.repeat(9000)]: ['1-a'] }]) {
		const before = JSON.parse(await state(db));
		const answer = await ask(server, 'POST', `/${db}/_purge`, { json });
		if (answer.status === 400) continue; // an id that cannot be
		assert.equal(answer.status, 201, answer.text);
		assert.deepEqual(Object.values(answer.json.purged), [[]]);
		const now = JSON.parse(await state(db));
		assert.deepEqual([now[2], now[3], now[4], now[5]], [before[2], before[3], before[4], before[5]]);
	}
});

group('partitions', [
	...['x', ':x', '_a:b', 'a:'].map((id) => ['PUT', `//${id}`, { json: {} }, 400]),
	...['x', ':x', 'a:'].map((id) => ['PUT', `//${id}/att`, { body: 'x' }, 400]),
	...['GET', 'DELETE', 'COPY'].map((method) => [method, '//x', { headers: { Destination: 'a:2' } }, 400]),
	...['GET', 'DELETE'].map((method) => [method, '//x/att', {}, 400, 'illegal_docid', 'Doc id must be of form partition:id']),
	...['_revs_diff', '_missing_revs', '_purge'].map((path) => ['POST', `//${path}`, { json: { 'a:1': ['1-a'], x: ['1-a'] } }, 400, 'illegal_docid']),
	['GET', '//a:none', {}, 404], ['GET', '//_design/none', {}, 404],
	['POST', '//', { json: {} }, 400], ['POST', '//_bulk_docs', { json: { docs: [{ _id: 'a:2' }, { _id: 'b' }] } }, 400, 'illegal_docid'],
	['POST', '//_bulk_docs', { json: { new_edits: false, docs: [{ _id: 'b', _rev: '1-a' }] } }, 400, 'illegal_docid'],
	['COPY', '//a:1', { headers: { Destination: 'b' } }, 400], ['GET', '//_partition', {}, 400], ['GET', '//_partition/_x', {}, 400, 'illegal_partition'],
	['GET', '//_partition/a:b', {}, 400, 'illegal_partition', 'Partition must not contain a colon'],
	['GET', '//_partition/%ff', {}, 400, 'illegal_partition', 'Partition must be valid UTF-8'],
	['GET', '//_partition/a/_none', {}, 404], ['PUT', '//_partition/a', { json: {} }, 405], ['GET', '/_partition/a', {}, 400],
]);

test('databases with impossible layouts', async () => {
	for (const [query, reason] of [['q=0', /`q`/], ['n=x', /`n`/], ['placement=x', /`placement`/], ['placement=a:0', /`placement`/], ['placement=', /`placement`/],
		['engine=none', /engine/], ['partitioned=2', /partitioned/]]) {
		assertError(await ask(server, 'PUT', `/${db}x?${query}`), 400, 'bad_request', reason);
		assert.equal((await ask(server, 'GET', `/${db}x`)).status, 404);
	}
	assertError(await ask(server, 'PUT', '/_users?partitioned=true'), [400, 412]);
	assert.equal((await ask(server, 'PUT', `/${db}x?placement=a:1,b:2&engine=couch&q=2&n=1`)).status, 201);
});

test('bodies that are short by nature are not taken in, nor unpacked, beyond that', async () => {
	const K64 = 64 << 10;
	const M1 = 1 << 20;
	const padded = (text, size) => Buffer.from(text.padEnd(size));
	const login = '{"name":"nobody","password":"wrong"}';
	const infos = '{"keys":["nobody"]}';
	const at = [
		['POST', '/_session', login, K64, 401],
		['POST', '/_dbs_info', infos, M1, 200],
		['PUT', '/_node/_local/_config/short/bodies', '"x"', M1, 200],
		['PUT', `/${db}/_history_kept`, '0', K64, null],
		['PUT', `/${db}/_purged_infos_limit`, '1000', K64, 200],
	];
	for (const [method, path, text, most, status] of at) {
		// The first of each pair is as long as may be.
		for (const [size, gzip] of [[most, false], [most + 1, false], [most, true], [most + 1, true], [8 << 20, true]]) {
			const body = gzip ? zlib.gzipSync(padded(text, size)) : padded(text, size);
			const r = await ask(server, method, path, { body, type: J, headers: gzip ? { 'Content-Encoding': 'gzip' } : {}, auth: path === '/_session' ? null : server.auth });
			const what = `${method} ${path}, ${size} bytes${gzip ? ', packed' : ''}: ${r.status} ${r.text.slice(0, 200)}`;
			if (size > most) assertError(r, 413, 'too_large');
			else if (status !== null) assert.equal(r.status, status, what);
			else assert.notEqual(r.status, 413, what);
		}
	}
	// A length that nobody tells: what comes is counted.
	const c = connect(server.port);
	c.send('POST /_session HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n');
	for (let i = 0; i < 20; i++) c.send(`1000\r\n${' '.repeat(4096)}\r\n`);
	await c.until(/^HTTP\/1\.1 413 [^]*"too_large"/);
	c.socket.destroy();
	// Elsewhere nothing is bounded by this.
	assert.equal((await ask(server, 'POST', `/${db}/_all_docs`, { body: padded('{"keys":[]}', 2 * M1), type: J })).status, 200);
});

test('gzip in requests: whole, cut, trailing, none, and bombs', { timeout: 60000 }, async () => {
	const send = (path, bytes, method = 'POST') => ask(server, method, `/${db}${path}`, { body: bytes, type: J, headers: { 'Content-Encoding': 'gzip' } });
	const gz = (value) => zlib.gzipSync(JSON.stringify(value));
	assert.equal((await send('/_all_docs', gz({ keys: ['doc'] }))).json.rows[0].id, 'doc');
	assert.equal((await send('/_revs_diff', gz({ doc: ['9-a'] }))).json.doc.missing[0], '9-a');
	assert.deepEqual((await send('/_bulk_docs', gz({ docs: [] }))).json, []);
	const before = await state(db);
	const whole = gz({ docs: [{ _id: 'gz' }] });
	for (const bytes of [whole.subarray(0, 10), whole.subarray(0, whole.length - 9), Buffer.from('{"docs":[]}'), Buffer.alloc(0), Buffer.concat([Buffer.from([0x1f, 0x8b]), Buffer.alloc(50)])])
		assertError(await send('/_bulk_docs', bytes), 400);
	assertError(await ask(server, 'POST', `/${db}/_bulk_docs`, { body: whole, type: J, headers: { 'Content-Encoding': 'br' } }), 415);
	// 400 MiB of blanks in 400 KiB: refused by the bound, not by the memory.
	const bomb = zlib.gzipSync(Buffer.alloc(400 << 20, ' '), { level: 9 });
	for (const path of ['/_bulk_docs', '/_purge', '/_revs_diff']) assertError(await send(path, bomb), [400, 413]);
	assert.equal(await state(db), before);
});

test('ids up to 8 KiB, and order by bytes around every length of a key', { timeout: 60000 }, async () => {
	const name = await newDb(server);
	const ids = [];
	// The same beginning far beyond the key's bytes; differences at the ends of 480 to 520 bytes; bytes below and above others.
	for (const n of [1, 2, 255, 256, 470, 478, 479, 480, 481, 482, 495, 496, 497, 509, 510, 511, 512, 513, 600, 1023, 4096, 8191, 8192]) {
		ids.push('k'.repeat(n));
		if (n > 1) ids.push('k'.repeat(n - 1) + 'a', 'k'.repeat(n - 1) + '~', 'k'.repeat(n - 2) + 'é', 'k'.repeat(n - 1) + '\u0001');
	}
	const unique = [...new Set(ids)];
	const shuffled = [...unique].sort((a, b) => ((a.length * 7919) % 101) - ((b.length * 7919) % 101));
	const { status, json } = await ask(server, 'POST', `/${name}/_bulk_docs`, { json: { docs: shuffled.map((_id) => ({ _id })) } });
	assert.equal(status, 201);
	assert.deepEqual(json.filter((row) => !row.ok), []);
	const sorted = [...unique].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
	const list = async (query) => (await ask(server, 'POST', `/${name}/_all_docs`, { json: query })).json.rows.map((row) => row.id);
	const short = (list) => list.map((id) => `${id.length}${id.slice(-2)}`);
	assert.deepEqual(short(await list({})), short(sorted));
	assert.deepEqual(short(await list({ descending: true })), short([...sorted].reverse()));
	for (let i = 0; i < sorted.length; i += 3) {
		const [a, b] = [sorted[i], sorted[Math.min(i + 5, sorted.length - 1)]];
		assert.deepEqual(short(await list({ start_key: a, end_key: b })), short(sorted.slice(i, i + 6)));
		assert.deepEqual(short(await list({ start_key: a, end_key: b, inclusive_end: false })), short(sorted.slice(i, Math.min(i + 5, sorted.length - 1))));
		assert.deepEqual(short(await list({ start_key: b, end_key: a, descending: true })), short(sorted.slice(i, i + 6).reverse()));
		assert.deepEqual(await list({ key: a }), [a]);
	}
	for (const id of sorted) {
		if (Buffer.byteLength(id) > 2000) continue; // also as a path
		const got = await ask(server, 'GET', `/${name}/${encodeURIComponent(id)}`);
		assert.equal(got.json._id, id);
	}
	const before = await state(name);
	for (const id of ['k'.repeat(8193), 'é'.repeat(4097), 'k'.repeat(100000)]) {
		assertError(await ask(server, 'POST', `/${name}`, { json: { _id: id } }), 400, 'illegal_docid');
		assertError(await ask(server, 'POST', `/${name}/_bulk_docs`, { json: { docs: [{ _id: 'x' }, { _id: id }] } }), 400, 'illegal_docid');
		assert.deepEqual((await ask(server, 'POST', `/${name}/_all_docs`, { json: { keys: [id] } })).json.rows, [{ key: id, error: 'not_found' }]);
		const above = sorted.filter((other) => Buffer.compare(Buffer.from(other), Buffer.from(id)) >= 0);
		assert.deepEqual(short(await list({ start_key: id })), short(above));
	}
	assert.equal(await state(name), before);
});
