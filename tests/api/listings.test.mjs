// _all_docs and _changes over more rows than one batch holds.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, test } from 'node:test';
import { startDivand } from '../lib/divand.mjs';
import { client } from '../lib/wire.mjs';

const N = 6000;
const ids = Array.from({ length: N }, (_, i) => createHash('md5').update(String(i)).digest('hex'));
const sorted = [...ids].sort();
let server, c, db, order, seqs;

const same = (a, b, what) => assert.ok(a.length === b.length && a.every((x, i) => x === b[i]), `${what}: ${a.length} and ${b.length} items differ`);
const rows = async (query, method = 'GET', body) => {
	const r = await c.request(method, `${db}/_all_docs${query}`, body);
	assert.equal(r.status, 200, r.text.slice(0, 300));
	return r.json;
};
const changes = async (query, method = 'GET', body) => {
	const r = await c.request(method, `${db}/_changes${query}`, body);
	assert.equal(r.status, 200, r.text.slice(0, 300));
	return r.json;
};

before(async () => {
	server = await startDivand();
	c = client(server);
	db = await c.db();
	for (let i = 0; i < N; i += 1000) {
		const docs = ids.slice(i, i + 1000).map((_id, k) => ({ _id, n: i + k, text: 'x'.repeat(400) }));
		assert.equal((await c.request('POST', `${db}/_bulk_docs`, { docs })).status, 201);
	}
	const all = await changes('');
	order = all.results.map((x) => x.id);
	seqs = all.results.map((x) => x.seq);
	assert.equal(all.pending, 0);
	assert.equal(all.last_seq, seqs.at(-1));
});
after(async () => {
	c.close();
	await server.stop();
});

test('all documents in order of ids, up and down', async () => {
	const up = await rows('');
	assert.equal(up.total_rows, N);
	assert.equal(up.offset, 0);
	same(up.rows.map((x) => x.id), sorted, 'up');
	same((await rows('?descending=true')).rows.map((x) => x.id), [...sorted].reverse(), 'down');
	const docs = (await rows('?include_docs=true')).rows;
	same(docs.map((x) => x.doc._id), sorted, 'documents');
	assert.ok(docs.every((x) => ids[x.doc.n] === x.id));
});

test('text as CouchDB writes it', async () => {
	const r = await c.request('GET', `${db}/_all_docs?limit=2`);
	assert.match(r.text, /^\{"total_rows":6000,"offset":0,"rows":\[\r\n\{"id":"[^\r\n]*\},\r\n\{"id":"[^\r\n]*\}\r\n\]\}\n$/);
	const none = await c.request('GET', `${db}/_all_docs?limit=0`);
	assert.equal(none.text, '{"total_rows":6000,"offset":0,"rows":[\r\n\r\n]}\n');
	const ch = await c.request('GET', `${db}/_changes?limit=2`);
	assert.match(ch.text, /^\{"results":\[\n\{"seq":"1-[^\n]*\},\n\{"seq":"2-[^\n]*\}\n\],\n"last_seq":"2-[^"]*","pending":5998\}\n$/);
	const now = await c.request('GET', `${db}/_changes?since=now`);
	assert.match(now.text, /^\{"results":\[\n\n\],\n"last_seq":"6000-[^"]*","pending":0\}\n$/);
});

test('ranges, skip and limit across batches', async () => {
	const key = encodeURIComponent(JSON.stringify(sorted[3000]));
	const part = await rows(`?startkey=${key}&skip=10&limit=1500`);
	assert.equal(part.offset, 3010);
	same(part.rows.map((x) => x.id), sorted.slice(3010, 4510), 'up');
	const down = await rows(`?startkey=${key}&descending=true&skip=5&limit=900`);
	assert.equal(down.offset, N - 3001 + 5);
	same(down.rows.map((x) => x.id), sorted.slice(0, 3001).reverse().slice(5, 905), 'down');
	same((await rows(`?endkey=${key}&inclusive_end=false`)).rows.map((x) => x.id), sorted.slice(0, 3000), 'end');
});

test('keys keep their order, and queries come one after the other', async () => {
	same((await rows('', 'POST', { keys: ids })).rows.map((x) => x.id), ids, 'keys');
	const r = await c.request('POST', `${db}/_all_docs/queries`, { queries: [{ keys: ids.slice(0, 700) }, { limit: 1500 }, { descending: true, limit: 300 }, {}] });
	assert.deepEqual(r.json.results.map((x) => x.rows.length), [700, 1500, 300, N]);
});

test('changes downward and page by page', async () => {
	const down = await changes('?descending=true');
	same(down.results.map((x) => x.seq), [...seqs].reverse(), 'down');
	assert.equal(down.pending, 0);
	const some = await changes('?descending=true&limit=1000');
	same(some.results.map((x) => x.seq), [...seqs].reverse().slice(0, 1000), 'down, limited');
	assert.equal(some.pending, N - 1000);
	const seen = [];
	for (let since = 0; ;) {
		const page = await changes(`?limit=777&since=${since}`);
		if (page.results.length === 0) break;
		seen.push(...page.results.map((x) => x.id));
		since = page.last_seq;
	}
	same(seen, order, 'pages');
});

test('changes downward where sequences have holes', async () => {
	const path = await c.db();
	const docs = Array.from({ length: 3000 }, (_, i) => ({ _id: `d${i}` }));
	const first = (await c.request('POST', `${path}/_bulk_docs`, { docs })).json;
	const again = first.filter((_, i) => i % 300 !== 7).map((x) => ({ _id: x.id, _rev: x.rev, n: 1 }));
	for (let i = 0; i < again.length; i += 1000) {
		assert.equal((await c.request('POST', `${path}/_bulk_docs`, { docs: again.slice(i, i + 1000) })).status, 201);
	}
	const up = (await c.request('GET', `${path}/_changes`)).json.results.map((x) => x.id);
	const down = (await c.request('GET', `${path}/_changes?descending=true`)).json.results.map((x) => x.id);
	assert.equal(new Set(up).size, 3000);
	same(down, [...up].reverse(), 'down');
});

test('a filtered scan is not ended by an empty batch', async () => {
	const last = order.at(-1);
	const few = await changes(`?filter=_doc_ids&doc_ids=${encodeURIComponent(JSON.stringify([last]))}`);
	assert.deepEqual(few.results.map((x) => x.id), [last]);
	const many = order.slice(-300);
	const got = await changes('?filter=_doc_ids', 'POST', { doc_ids: [...many, ...Array.from({ length: 200 }, (_, i) => `none${i}`)] });
	same(got.results.map((x) => x.id), many, 'many ids');
	const down = await changes('?filter=_doc_ids&descending=true', 'POST', { doc_ids: order.slice(0, 150) });
	same(down.results.map((x) => x.id), order.slice(0, 150).reverse(), 'down');
});

test('deleted documents are passed over in turns', async () => {
	const DEAD = 50000;
	const path = `${await c.db()}p`;
	assert.equal((await c.request('PUT', `${path}?partitioned=true`)).status, 201);
	const alive = ['p:a', 'p:b', 'p:y', 'p:z'];
	for (let i = 0; i < DEAD; i += 10000) {
		const docs = Array.from({ length: 10000 }, (_, k) => ({ _id: `p:c${String(i + k).padStart(6, '0')}`, _rev: '1-a', _deleted: true }));
		assert.equal((await c.request('POST', `${path}/_bulk_docs`, { new_edits: false, docs })).status, 201);
	}
	assert.equal((await c.request('POST', `${path}/_bulk_docs`, { docs: alive.map((_id, n) => ({ _id, n })) })).status, 201);
	// An answer that takes one turn has a length.
	const get = async (where, method = 'GET', body) => {
		const r = await c.request(method, `${path}/${where}`, body);
		assert.equal(r.status, 200, r.text);
		return { ...r.json, turns: r.headers['content-length'] ? 'one' : 'several' };
	};
	const key = (id) => encodeURIComponent(JSON.stringify(id));
	const list = async (query) => (await get(`_all_docs?${query}`)).rows.map((x) => x.id);
	for (let skip = 0; skip <= 4; skip++)
		for (let limit = 0; limit <= 5; limit++) {
			assert.deepEqual(await list(`skip=${skip}&limit=${limit}`), alive.slice(skip, skip + limit), `${skip} ${limit}`);
			assert.deepEqual(await list(`skip=${skip}&limit=${limit}&descending=true`), [...alive].reverse().slice(skip, skip + limit), `${skip} ${limit}, down`);
		}
	const first = await get(`_all_docs?startkey=${key('p:c')}&limit=1`);
	assert.deepEqual([first.rows[0].id, first.offset, first.turns], ['p:y', 2, 'several']);
	const last = await get(`_all_docs?startkey=${key('p:d')}&descending=true&limit=1`);
	assert.deepEqual([last.rows[0].id, last.turns], ['p:b', 'several']);
	assert.deepEqual(await list(`startkey=${key('p:c')}&endkey=${key('p:d')}`), []);
	const several = await get('_all_docs/queries', 'POST', { queries: Array.from({ length: 5 }, () => ({ start_key: 'p:b', limit: 2 })) });
	assert.deepEqual(several.results.map((x) => x.rows.map((y) => y.id)), Array.from({ length: 5 }, () => ['p:b', 'p:y']));
	for (const [dir, want] of [['asc', alive], ['desc', [...alive].reverse()]]) {
		const found = await get('_find', 'POST', { selector: { _id: { $gt: null }, n: { $gte: 0 } }, sort: [{ _id: dir }] });
		assert.deepEqual([found.docs.map((x) => x._id), found.turns], [want, 'several']);
	}
	// What is counted behind the limit is the next document, however many deleted ones are before it.
	const stats = await get('_find', 'POST', { selector: { _id: { $gte: 'p:b' } }, limit: 1, execution_stats: true });
	assert.deepEqual([stats.docs[0]._id, stats.execution_stats.total_keys_examined, stats.turns], ['p:b', 2, 'several']);
	let bookmark;
	for (const id of alive) {
		const page = await get('_find', 'POST', { selector: { _id: { $gt: null } }, limit: 1, bookmark });
		assert.deepEqual(page.docs.map((x) => x._id), [id]);
		bookmark = page.bookmark;
	}
	const info = await get('_partition/p');
	assert.deepEqual([info.doc_count, info.doc_del_count], [4, DEAD]);
});

test('long bodies are read as short ones are', async () => {
	const path = await c.db();
	const ids = Array.from({ length: 3000 }, (_, i) => `d${String(i).padStart(5, '0')}`);
	const ddoc = { _id: '_design/d', views: { v: { map: 'function (doc) { emit(doc._id); }' } } };
	assert.equal((await c.request('POST', `${path}/_bulk_docs`, { docs: [...ids.map((_id) => ({ _id })), ddoc] })).status, 201);
	// What is short, and the same with so much in front of it that it is an executor's.
	const padding = { unknown: 'x'.repeat(100000) };
	const view = `${path}/_design/d/_view/v`;
	const bodies = [
		['POST', `${path}/_all_docs`, { keys: [...ids].reverse() }],
		['POST', `${path}/_all_docs`, { keys: 1 }],
		['POST', `${path}/_all_docs`, { start_key: ids[2990] }],
		['POST', `${path}/_design_docs`, { limit: 'x' }],
		['POST', `${path}/_all_docs/queries`, { queries: [{ keys: ids.slice(0, 3) }, { limit: 2 }] }],
		['POST', `${path}/_all_docs/queries`, {}],
		['POST', view, { keys: ids.slice(7, 9) }],
		['POST', view, { keys: 'x' }],
		['POST', `${view}/queries`, { queries: [{ keys: ids.slice(0, 3) }, { limit: 2 }] }],
		['POST', `${path}/_design/d/_view/none`, { keys: [] }],
		['POST', `${path}/_changes?filter=_doc_ids`, { doc_ids: ids.slice(0, 5) }],
		['POST', `${path}/_changes?filter=_doc_ids`, { doc_ids: 5 }],
		['POST', `${path}/_changes?filter=_selector`, { selector: { _id: { $gte: ids[2995] } } }],
		['POST', `${path}/_changes?filter=_selector`, { selector: { _id: { $none: 1 } } }],
		['POST', `${path}/_changes?feed=longpoll&filter=d/none`, {}],
		['POST', `${path}/_changes?feed=eventsource&since=x`, {}],
		['PUT', `${path}/_local/l?rev=0-5`, { _rev: '0-4' }],
		['PUT', `${path}/_local/l`, { _id: '_local/l', _rev: 'x' }],
	];
	for (const [method, where, body] of bodies) {
		const short = await c.request(method, where, body);
		const long = await c.request(method, where, { ...padding, ...body });
		assert.deepEqual([long.status, long.text], [short.status, short.text], `${method} ${where} ${JSON.stringify(body).slice(0, 80)}`);
		const broken = await c.request(method, where, `${JSON.stringify({ ...padding, ...body }).slice(0, -1)},`);
		if (!where.includes('none')) assert.equal(broken.status, 400, broken.text);
		const wrong = await c.request(method, where, JSON.stringify({ ...padding, ...body }), { 'content-type': 'text/plain' });
		if (method === 'POST') assert.equal(wrong.status, 415, where);
	}
	assert.equal((await c.request('PUT', `${path}/_local/l`, padding)).json.rev, '0-1');
	assert.equal((await c.request('GET', `${path}/_local/l`)).json.unknown, padding.unknown);
	assert.equal((await c.request('PUT', `${path}/_local/l`, { ...padding, _rev: '0-1' }, { 'if-match': '"0-1"' })).json.rev, '0-2');
	assert.equal((await c.request('PUT', `${path}/_local/l`, { ...padding, _rev: '0-2' }, { 'if-match': '"0-1"' })).status, 400);
});

test('skipped _local documents', async () => {
	const path = await c.db();
	const all = Array.from({ length: 1500 }, (_, i) => `_local/${String(i).padStart(5, '0')}`);
	assert.equal((await c.request('POST', `${path}/_bulk_docs`, { docs: all.map((_id) => ({ _id })) })).status, 201);
	for (const [query, want] of [['skip=1400', all.slice(1400)], ['skip=1498&limit=1', [all[1498]]], ['skip=1500', []], ['skip=300&descending=true', [...all].reverse().slice(300)]]) {
		const r = await c.request('GET', `${path}/_local_docs?${query}`);
		same(r.json.rows.map((x) => x.id), want, query);
	}
	const r = await c.request('POST', `${path}/_local_docs/queries`, { queries: [{ skip: 1200 }, { skip: 700, limit: 2 }, {}] });
	assert.deepEqual(r.json.results.map((x) => x.rows.length), [300, 2, 1500]);
});

test('a reader that stops in the middle holds up nobody', async () => {
	const slow = await c.open('GET', `${db}/_all_docs?include_docs=true`);
	slow.pause();
	same((await rows('')).rows.map((x) => x.id), sorted, 'meanwhile');
	slow.resume();
	const end = await slow.ended;
	assert.ok(end.complete);
	same(JSON.parse(end.text).rows.map((x) => x.id), sorted, 'slow');
});

// An answer that takes more than one turn is sent in chunks.
test('queries without rows, and keys that are passed over, take turns as rows do', async () => {
	const name = await c.db();
	const put = await c.request('PUT', `${name}/_design/q`, { language: 'query', views: { n: { map: { fields: { n: 'asc' } }, reduce: '_count', options: { def: { fields: ['n'] } } } } });
	assert.equal(put.status, 201, put.text);
	const empty = (n) => ({ queries: Array.from({ length: n }, () => ({ keys: [] })) });
	const strange = (n) => ({ keys: Array.from({ length: n }, (_, i) => `k${i}`) });
	for (const [path, body, count] of [
		['_all_docs/queries', empty(1500), (json) => json.results.length],
		['_design/q/_view/n/queries?reduce=false', empty(1500), (json) => json.results.length],
		['_design_docs', strange(1500), (json) => json.rows.length],
	]) {
		const r = await c.request('POST', `${name}/${path}`, body);
		assert.equal(r.headers['transfer-encoding'], 'chunked', path);
		assert.equal(count(r.json), path === '_design_docs' ? 0 : 1500, path);
	}
});

// From the first large document on rows are made on another thread.
test('rows of large documents are those of small ones', { timeout: 120000 }, async () => {
	const index = { language: 'query', views: { n: { map: { fields: { n: 'asc' } }, options: { def: { fields: ['n'] } } } } };
	const view = { views: { n: { map: 'function (doc) { emit(doc.n, null); }' } } };
	const fill = async (large) => {
		const name = await c.db();
		for (const [id, ddoc] of Object.entries({ i: index, v: view })) assert.equal((await c.request('PUT', `${name}/_design/${id}`, ddoc)).status, 201);
		for (let i = 0; i < 14; i++) {
			const doc = { _id: `d${String(i).padStart(2, '0')}`, _rev: '1-967a00dff5e02add41819138abb3284d', n: i % 5, pad: 'x'.repeat(large && i % 3 === 0 ? 1200000 : 2) };
			assert.equal((await c.request('PUT', `${name}/${doc._id}?new_edits=false`, doc)).status, 201);
		}
		for (const [id, n] of Object.entries({ a: 3, b: 200000, c: 4 })) assert.equal((await c.request('PUT', `${name}/_local/${id}`, { pad: 'x'.repeat(large ? n : 2) })).status, 201);
		return name;
	};
	const names = [await fill(false), await fill(true)];
	const selector = { n: { $gt: 0 }, pad: { $regex: '^xx' } };
	const far = 'k'.repeat(100000);
	const ways = [];
	const add = (path, ...bodies) => (bodies.length ? bodies : [undefined]).forEach((body) => ways.push([path, body]));
	for (const more of ['', '&descending=true', '&skip=3', '&skip=2&limit=5&descending=true', '&startkey="d03"', '&startkey="d10"&endkey="d02"&descending=true&inclusive_end=false', '&key="d06"', '&conflicts=true&update_seq=true']) {
		add(`_all_docs?include_docs=true${more}`);
		add(`_local_docs?include_docs=true${more.replace('&update_seq=true', '')}`);
	}
	const keys = ['d06', 'none', 'd01', 'd03', 'd03', far];
	add('_all_docs?include_docs=true', { keys }, { keys, descending: true }, { keys, skip: 1, limit: 3 }, { startkey: 'd03', endkey: `e${far}` });
	add('_local_docs?include_docs=true', { keys: ['_local/b', '_local/none', '_local/a'] });
	add('_all_docs/queries', { queries: [{ keys, include_docs: true }, { limit: 2 }, { include_docs: true, skip: 4, limit: 4 }] });
	for (const more of ['', '&descending=true', '&limit=4', '&descending=true&limit=6', '&since=7', '&style=all_docs', '&filter=_design']) add(`_changes?include_docs=true${more}`);
	add('_changes?filter=_doc_ids&include_docs=true', { doc_ids: ['d03', 'd04', 'd06'] });
	for (const more of ['', '&descending=true', '&limit=3', '&style=all_docs&include_docs=true', '&seq_interval=3']) add(`_changes?filter=_selector${more}`, { selector });
	for (const more of [{}, { skip: 3, limit: 4 }, { sort: ['n'] }, { sort: [{ n: 'desc' }], limit: 6 }, { sort: ['n'], skip: 5, fields: ['_id', 'n'] }, { use_index: 'i', limit: 3, conflicts: true }])
		add('_find', { selector, execution_stats: true, ...more }, { selector: { _id: { $gte: 'd02' } }, execution_stats: true, ...(more.sort ? {} : more) });
	add('_find', { selector: { $or: [{ n: 1 }, { n: 3 }] }, execution_stats: true });
	add('_find', { selector: { _id: { $gte: 'd01' } }, limit: 2, execution_stats: true });
	for (const more of ['', '&descending=true', '&skip=2', '&skip=6&limit=5', '&startkey=1&endkey=3', '&keys=[3,0,9,1]', '&keys=[3,0,9,1]&descending=true&skip=2']) add(`_design/v/_view/n?include_docs=true${more}`);
	add('_design/v/_view/n', { key: far }, { endkey: far }, { keys: [1, far, 3] }, { startkey: far, endkey: 1 });
	add('_design/v/_view/n/queries', { queries: [{ include_docs: true, limit: 4 }, { key: 3 }, { endkey: far, skip: 3 }] });
	for (const [path, body] of ways) {
		const [small, large] = await Promise.all(names.map(async (name) => {
			const r = await c.request(body === undefined ? 'GET' : 'POST', `${name}/${path}`, body);
			return `${r.status} ${r.text.replace(/x{2,}/g, 'xx').replace(/"(\d+)-[\w-]{22}"/g, '"$1"').replace(/"execution_time_ms":[\d.]+/, '')}`;
		}));
		assert.equal(large.slice(0, 5000), small.slice(0, 5000), `${path} ${JSON.stringify(body)?.slice(0, 200)}`);
		assert.equal(large.length, small.length, path);
	}
});
