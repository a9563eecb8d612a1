// The steps of a life (life.mjs).  Each is {name, before, act, after}: before() and after() are made without faults; act() is, again and again, with one.
//
// act() throws refused() where an answer says no; that is allowed while a call fails.  Any other error is a finding.
import crypto from 'node:crypto';

const refused = (a) => Object.assign(new Error(`refused: ${a.status} ${a.text?.slice(0, 200)}`), { refused: true });
const wrong = (what) => new Error(what);

/** The answer if it is a success, whole. */
function good(a) {
	if (a.status < 200 || a.status >= 300 || !a.whole) throw refused(a);
	return a;
}

const NOISE = crypto.createHash('sha512').update('torture').digest();
const bytes = (n) => Buffer.alloc(n, NOISE);
const words = (n) => Buffer.alloc(n, 'so it goes, and so it went; ');
const md5 = (b) => crypto.createHash('md5').update(b).digest('base64');

/** What may differ between two answers that are the same. */
const masked = (text) => text.replace(/"(seq|last_seq|update_seq|purge_seq|bookmark)":("[^"]*"|\d+)/g, '"$1":0').replace(/\d+-g1[A-Za-z0-9_-]*/g, 'seq')
	.replace(/--[0-9a-f]{32}|boundary="[0-9a-f]{32}"/g, '--b').replace(/"execution_time_ms":[0-9.]+/, '');

/** A step that reads: a success is what it is without a fault. */
function reads(name, method, target, more) {
	let expected = null;
	return {
		name,
		before: async (c) => {
			if (expected === null) expected = masked((await c.must(method, target, more)).text);
		},
		act: async (c) => {
			const a = good(await c.ask(method, target, more));
			if (masked(a.text) !== expected) {
				let at = 0;
				const is = masked(a.text);
				while (is[at] === expected[at]) at++;
				// CouchDB's form of an error behind the head
				if (/"error":"[a-z_]+","reason":/.test(is.slice(at))) throw refused(a);
				throw wrong(`${name}: an answer of 200 is another one: ...${is.slice(Math.max(0, at - 80), at + 120)}... instead of ...${expected.slice(Math.max(0, at - 80), at + 120)}...`);
			}
		},
	};
}

/** A step that only has to end, whatever it says. */
const asks = (name, method, target, more) => ({ name, act: async (c) => void good(await c.ask(method, target, typeof more === 'function' ? more(c) : more)) });

/** A document that is there whole, as acknowledged or, if it was refused, perhaps. */
async function holds(c, db, id, value, outcome) {
	const a = await c.plain('GET', `/${db}/${id}`);
	if (a.status === 404) {
		if (!(outcome instanceof Error)) throw wrong(`${id} was acknowledged and is not there`);
	} else if (a.status !== 200 || JSON.stringify(a.json.v) !== JSON.stringify(value)) throw wrong(`${id}: ${a.status} ${a.text.slice(0, 200)}`);
	return a;
}

/** Wait, without faults, until fn() says so. */
async function until(c, what, fn, ms = 30000) {
	for (const end = Date.now() + ms; Date.now() < end; await c.sleep(20)) if (await fn()) return;
	throw wrong(`${what} does not come`);
}

const DDOC = {
	views: {
		js: { map: 'function (d) { if (d.k) emit(d.k, d.n); }', reduce: '_sum' },
		own: { map: 'function (d) { emit(d.t, 1); }', reduce: 'function (k, v, re) { return re ? sum(v) : v.length; }' },
		plain: { map: 'function (d) { emit([d.t, d.n], {a: d.k}); }' },
	},
	filters: { even: 'function (d) { return d.n % 2 === 0; }' },
	shows: { s: 'function (d) { return "shown " + (d ? d._id : ""); }' },
	lists: { l: 'function (head, req) { start({headers: {"Content-Type": "text/plain"}}); var r; while ((r = getRow())) send(r.id + "\\n"); }' },
	updates: { u: 'function (d, req) { return [{_id: req.uuid, made: true}, "made"]; }' },
	rewrites: [{ from: '/x', to: '_view/js' }],
};

export async function life(c) {
	const big = { json: { docs: Array.from({ length: 200 }, (_, n) => ({ _id: `doc${String(n).padStart(3, '0')}`, n, k: `key${n % 7}`, t: n % 3 ? 'a' : 'b', s: 'x'.repeat(n * 3) })) } };
	const at = '/main';
	const J = (json) => ({ json });

	await c.must('PUT', at);
	await c.must('POST', `${at}/_bulk_docs`, big);
	await c.must('PUT', `${at}/_design/d`, J(DDOC));
	await c.must('POST', `${at}/_index`, J({ index: { fields: ['t', 'n'] }, ddoc: 'mango', name: 'tn' }));
	await c.must('POST', `${at}/_bulk_docs`, J({ new_edits: false, docs: [
		{ _id: 'torn', _rev: '2-b', _revisions: { start: 2, ids: ['b', 'a'] }, v: 1 },
		{ _id: 'torn', _rev: '2-c', _revisions: { start: 2, ids: ['c', 'a'] }, v: 2 },
		{ _id: 'torn', _rev: '3-d', _deleted: true, _revisions: { start: 3, ids: ['d', 'x', 'a'] } }] }));
	await c.must('PUT', `${at}/photo`, J({ v: 1, _attachments: { 't.txt': { content_type: 'text/plain', data: words(9000).toString('base64') }, b: { content_type: 'image/png', data: bytes(3000).toString('base64') } } }));
	let rev = (await c.must('GET', `${at}/photo`)).json._rev;
	await c.must('PUT', `${at}/photo/large?rev=${rev}`, { body: bytes(2500000), type: 'image/png' });
	await c.must('PUT', `${at}/_local/l`, J({ v: 1 }));
	await c.must('PUT', '/parts?partitioned=true');
	await c.must('POST', '/parts/_bulk_docs', J({ docs: ['a:1', 'a:2', 'b:1'].map((_id) => ({ _id, v: 1 })) }));
	for (const v of ['js', 'own', 'plain']) await c.must('GET', `${at}/_design/d/_view/${v}`);
	await c.must('POST', `${at}/_find`, J({ selector: { t: 'a' } }));
	await c.must('PUT', '/guarded');
	await c.must('PUT', '/guarded/_design/v', J({ validate_doc_update: 'function (d, old, user) { if (d.bad) throw({forbidden: "bad"}); }' }));
	await c.must('PUT', '/target');

	const one = encodeURIComponent(JSON.stringify(['2-b', '2-c', '9-z']));
	const steps = [
		// The server
		asks('root', 'GET', '/'), reads('up', 'GET', '/_up'), reads('all_dbs', 'GET', '/_all_dbs'),
		asks('dbs_info', 'POST', '/_dbs_info', J({ keys: ['main', 'none', 'parts'] })),
		asks('uuids', 'GET', '/_uuids?count=20'), asks('tasks', 'GET', '/_active_tasks'), asks('membership', 'GET', '/_membership'),
		asks('stats', 'GET', '/_node/_local/_stats'), asks('prometheus', 'GET', '/_node/_local/_prometheus'), asks('system', 'GET', '/_node/_local/_system'),
		asks('session', 'GET', '/_session'), asks('cluster', 'GET', '/_cluster_setup'),
		reads('config', 'GET', '/_node/_local/_config'),
		asks('config put', 'PUT', '/_node/_local/_config/log/level', (x) => J(x.n % 2 ? 'warning' : 'info')),
		asks('config reload', 'POST', '/_node/_local/_config/_reload'),
		{ name: 'config delete', before: (x) => x.must('PUT', '/_node/_local/_config/zoo/cat', J('x'), { also: [400] }).catch(() => 0), act: async (x) => void good(await x.ask('DELETE', '/_node/_local/_config/zoo/cat')) },
		{ name: 'wrong password', seconds: 20, act: async (x) => { if ((await x.ask('GET', '/main', { as: 'Basic ' + Buffer.from(`u${x.n}:x`).toString('base64') })).status === 200) throw wrong('let in'); } },

		// Databases
		{ name: 'create', act: async (x) => void good(await x.ask('PUT', `/made${x.n}`)),
			after: async (x, _, outcome) => {
				const a = await x.plain('GET', `/made${x.n}`);
				if (a.status === 404 && outcome instanceof Error) return;
				if (a.status !== 200) throw wrong(`a database: ${a.status} ${a.text}`);
				await x.must('PUT', `/made${x.n}/d`, J({}));
				await x.must('DELETE', `/made${x.n}`);
			} },
		{ name: 'create partitioned', act: async (x) => void good(await x.ask('PUT', `/made${x.n}?partitioned=true`)), after: (x) => x.plain('DELETE', `/made${x.n}`) },
		{ name: 'drop', before: async (x) => { await x.must('PUT', `/made${x.n}`); await x.must('PUT', `/made${x.n}/d`, J({})); },
			act: async (x) => void good(await x.ask('DELETE', `/made${x.n}`)),
			after: async (x, _, outcome) => {
				const a = await x.plain('GET', `/made${x.n}/d`);
				if (a.status !== 404 && (a.status !== 200 || !(outcome instanceof Error))) throw wrong(`a dropped database: ${a.status} ${a.text}`);
				await x.must('DELETE', `/made${x.n}`, { also: [404] });
				await x.must('PUT', `/made${x.n}`);
				await x.must('DELETE', `/made${x.n}`);
			} },
		asks('info', 'GET', at), asks('shards', 'GET', `${at}/_shards`), asks('sync', 'POST', `${at}/_ensure_full_commit`, J({})),
		{ name: 'security', act: async (x) => { good(await x.ask('PUT', `${at}/_security`, J({ admins: { names: [`n${x.n}`] } }))); good(await x.ask('GET', `${at}/_security`)); },
			after: async (x, _, outcome) => { const a = await x.must('GET', `${at}/_security`); if (!(outcome instanceof Error) && a.json.admins.names[0] !== `n${x.n}`) throw wrong(a.text); } },
		asks('revs_limit', 'PUT', `${at}/_revs_limit`, { body: '900' }), asks('purged limit', 'PUT', `${at}/_purged_infos_limit`, { body: '900' }), asks('history', 'GET', `${at}/_history_kept`),

		// Documents
		{ name: 'put', before: (x) => (x.v = { n: x.n }), act: async (x) => void good(await x.ask('PUT', `${at}/p${x.n}`, J({ v: x.v }))), after: (x, _, o) => holds(x, 'main', `p${x.n}`, x.v, o) },
		{ name: 'post', act: async (x) => void good(await x.ask('POST', at, J({ v: x.n }))) },
		{ name: 'edit', before: async (x) => (await x.must('PUT', `${at}/e${x.n}`, J({ v: 'old' }))).json.rev,
			act: async (x, r) => void good(await x.ask('PUT', `${at}/e${x.n}?rev=${r}`, J({ v: 'new' }))),
			after: async (x, r, o) => { const a = await x.must('GET', `${at}/e${x.n}`); if (a.json.v !== 'new' && !(o instanceof Error && a.json.v === 'old' && a.json._rev === r)) throw wrong(a.text); } },
		{ name: 'edit large', before: async (x) => (await x.must('PUT', `${at}/large`, { json: { v: 'old' }, also: [409] })).json.rev ?? (await x.must('GET', `${at}/large`)).json._rev,
			act: async (x, r) => void good(await x.ask('PUT', `${at}/large?rev=${r}`, J({ v: 'n'.repeat(300000), w: Array.from({ length: 3000 }, (_, i) => ({ i, x: `${x.n}` })) }))),
			after: (x) => x.must('GET', `${at}/large`) },
		{ name: 'delete', before: async (x) => (await x.must('PUT', `${at}/x${x.n}`, J({ v: 1 }))).json.rev,
			act: async (x, r) => void good(await x.ask('DELETE', `${at}/x${x.n}?rev=${r}`)),
			after: async (x, _, o) => { if ((await x.plain('GET', `${at}/x${x.n}`)).status !== 404 && !(o instanceof Error)) throw wrong('a deleted document is there'); } },
		{ name: 'copy', act: async (x) => void good(await x.ask('COPY', `${at}/photo`, { headers: { Destination: `c${x.n}` } })),
			after: async (x, _, o) => { if (!(o instanceof Error) && (await x.must('GET', `${at}/c${x.n}/t.txt`)).raw.length !== 9000) throw wrong('a copy'); } },
		{ name: 'local', act: async (x) => { good(await x.ask('PUT', `${at}/_local/p${x.n}`, J({ v: x.n }))); good(await x.ask('GET', `${at}/_local/p${x.n}`)); }, after: (x, _, o) => holds(x, 'main', `_local/p${x.n}`, x.n, o) },
		reads('get', 'GET', `${at}/doc100`), reads('get revs', 'GET', `${at}/torn?revs=true&conflicts=true&deleted_conflicts=true&revs_info=true&local_seq=true`),
		reads('open_revs', 'GET', `${at}/torn?open_revs=${one}&revs=true`, { headers: { Accept: 'application/json' } }),
		reads('open_revs mixed', 'GET', `${at}/photo?open_revs=all&attachments=true`, { headers: { Accept: 'multipart/mixed' } }),
		{ name: 'conflicts', act: async (x) => void good(await x.ask('POST', `${at}/_bulk_docs`, J({ new_edits: false, docs: [1, 2, 3].map((i) => ({ _id: `k${x.n}`, _rev: `3-${i}`, _revisions: { start: 3, ids: [`${i}`, `b${i}`, 'a'] }, v: i })) }))),
			after: async (x, _, o) => { if (!(o instanceof Error)) { const a = await x.must('GET', `${at}/k${x.n}?open_revs=all`, { headers: { Accept: 'application/json' } }); if (a.json.length !== 3) throw wrong(a.text); } } },
		{ name: 'bulk', act: async (x) => { const a = good(await x.ask('POST', `${at}/_bulk_docs`, J({ docs: Array.from({ length: 30 }, (_, i) => ({ _id: `b${x.n}-${i}`, v: i })) }))); x.made = a.json.map((r) => r.ok === true); },
			before: (x) => (x.made = []),
			after: async (x) => { for (let i = 0; i < 30; i += 7) if (x.made[i]) await holds(x, 'main', `b${x.n}-${i}`, i); } },
		{ name: 'purge', before: async (x) => (await x.must('PUT', `${at}/g${x.n}`, J({ v: 1 }))).json.rev, act: async (x, r) => void good(await x.ask('POST', `${at}/_purge`, J({ [`g${x.n}`]: [r] }))),
			after: async (x, _, o) => { if ((await x.plain('GET', `${at}/g${x.n}`)).status !== 404 && !(o instanceof Error)) throw wrong('a purged document is there'); } },
		asks('purged infos', 'GET', `${at}/_purged_infos`),
		reads('revs_diff', 'POST', `${at}/_revs_diff`, J({ torn: ['2-b', '9-z'], none: ['1-a'] })), reads('missing_revs', 'POST', `${at}/_missing_revs`, J({ torn: ['2-b', '9-z'] })),
		reads('bulk_get', 'POST', `${at}/_bulk_get?revs=true`, J({ docs: [{ id: 'torn', rev: '2-b' }, { id: 'doc001' }, { id: 'none' }] })),
		{ name: 'guarded', act: async (x) => { good(await x.ask('PUT', `/guarded/d${x.n}`, J({ v: 1 }))); if ((await x.ask('PUT', `/guarded/bad${x.n}`, J({ bad: 1 }))).status === 201) throw wrong('a validator was passed over'); } },
		{ name: 'validator anew', before: async (x) => { const a = await x.must('GET', '/guarded/_design/v'); await x.must('PUT', '/guarded/_design/v', J({ ...a.json, n: x.n })); },
			act: async (x) => { if ((await x.ask('PUT', `/guarded/bad${x.n}`, J({ bad: 1 }))).status === 201) throw wrong('a validator was passed over'); good(await x.ask('PUT', `/guarded/d${x.n}`, J({ v: 1 }))); } },

		// Lists
		reads('all_docs keys', 'POST', `${at}/_all_docs?include_docs=true`, J({ keys: ['doc001', 'none', 'torn', 'photo'] })),
		reads('all_docs', 'GET', `${at}/_all_docs?startkey="doc"&endkey="doc999"&include_docs=true&update_seq=true`), reads('all_docs queries', 'POST', `${at}/_all_docs/queries`, J({ queries: [{ limit: 2, startkey: 'doc' }, { keys: ['torn'] }] })),
		reads('design_docs', 'GET', `${at}/_design_docs`), asks('local_docs', 'GET', `${at}/_local_docs?limit=5`),
		reads('partition', 'GET', '/parts/_partition/a'), reads('partition docs', 'GET', '/parts/_partition/a/_all_docs'), reads('partition find', 'POST', '/parts/_partition/a/_find', J({ selector: { v: 1 } })),

		// Changes
		asks('changes', 'GET', `${at}/_changes?include_docs=true&limit=150&style=all_docs`), asks('changes down', 'GET', `${at}/_changes?descending=true&limit=20`),
		asks('changes ids', 'POST', `${at}/_changes?filter=_doc_ids`, J({ doc_ids: ['torn', 'doc001'] })), asks('changes selector', 'POST', `${at}/_changes?filter=_selector&include_docs=true`, J({ selector: { n: { $lt: 9 } } })),
		asks('changes js', 'GET', `${at}/_changes?filter=d/even`), asks('changes view', 'GET', `${at}/_changes?filter=_view&view=d/js`), asks('changes atts', 'GET', `${at}/_changes?filter=_doc_ids&doc_ids=["photo"]&include_docs=true&attachments=true`),
		{ name: 'longpoll', act: async (x) => {
			const feed = x.ask('GET', `${at}/_changes?feed=longpoll&since=now&timeout=4000`);
			await x.sleep(15);
			await x.plain('PUT', `${at}/lp${x.n}`, J({ v: 1 }));
			good(await feed);
		} },
		{ name: 'continuous', act: async (x) => {
			const feed = x.ask('GET', `${at}/_changes?feed=continuous&since=now&timeout=300&include_docs=true`);
			await x.sleep(15);
			await x.plain('PUT', `${at}/co${x.n}`, J({ v: 1 }));
			good(await feed);
		} },
		{ name: 'eventsource', act: async (x) => {
			const feed = x.ask('GET', `${at}/_changes?feed=eventsource&since=now&heartbeat=100&filter=_selector`, { json: { selector: { v: 1 } }, until: /id":"es/, ms: 4000 });
			await x.sleep(15);
			await x.plain('PUT', `${at}/es${x.n}`, J({ v: 1 }));
			await feed;
		} },
		{ name: 'js feed', act: async (x) => {
			const feed = x.ask('GET', `${at}/_changes?feed=longpoll&filter=d/even&since=now&timeout=3000`);
			await x.sleep(15);
			await x.plain('PUT', `${at}/jf${x.n}`, J({ n: 2 }));
			good(await feed);
		} },
		{ name: 'db_updates', act: async (x) => {
			const feed = x.ask('GET', '/_db_updates?feed=longpoll&since=now&timeout=3000');
			await x.sleep(15);
			await x.plain('PUT', `/upd${x.n}`);
			await feed;
			good(await x.ask('GET', '/_db_updates?limit=3'));
		}, after: (x) => x.plain('DELETE', `/upd${x.n}`) },

		// Attachments
		reads('att', 'GET', `${at}/photo/t.txt`), reads('att large', 'GET', `${at}/photo/large`), reads('att range', 'GET', `${at}/photo/large`, { headers: { Range: 'bytes=1000000-1000999' } }),
		reads('att gzip', 'GET', `${at}/photo/t.txt`, { headers: { 'Accept-Encoding': 'gzip' } }), reads('att inline', 'GET', `${at}/photo?attachments=true`), reads('att mixed', 'GET', `${at}/photo?attachments=true`, { headers: { Accept: 'multipart/related' } }),
		...[['small', 5000, 'text/plain', words], ['noise', 70000, 'image/png', bytes], ['large', 2600000, 'image/png', bytes], ['text', 3000000, 'text/plain', words]].map(([kind, n, type, make]) => ({
			name: `att put ${kind}`, act: async (x) => void good(await x.ask('PUT', `${at}/a${kind}${x.n}/f`, { body: make(n), type })),
			after: async (x, _, o) => {
				const a = await x.plain('GET', `${at}/a${kind}${x.n}/f`);
				if (a.status === 404 && o instanceof Error) return;
				if (a.status !== 200 || md5(a.raw) !== md5(make(n))) throw wrong(`an attachment: ${a.status} of ${a.raw.length} bytes`);
				const d = await x.must('GET', `${at}/a${kind}${x.n}`);
				await x.must('DELETE', `${at}/a${kind}${x.n}?rev=${d.json._rev}`);
			} })),
		{ name: 'att delete', before: async (x) => (await x.must('PUT', `${at}/ad${x.n}/f`, { body: 'x', type: 'text/plain' })).json.rev, act: async (x, r) => void good(await x.ask('DELETE', `${at}/ad${x.n}/f?rev=${r}`)) },
		{ name: 'related', act: async (x) => {
			const body = Buffer.concat([Buffer.from('--b\r\nContent-Type: application/json\r\n\r\n' + JSON.stringify({ v: 1, _attachments: { f: { follows: true, content_type: 'text/plain', length: 1200000 }, g: { follows: true, content_type: 'image/png', length: 64 } } }) + '\r\n--b\r\n\r\n'), words(1200000), Buffer.from('\r\n--b\r\n\r\n'), NOISE, Buffer.from('\r\n--b--')]);
			good(await x.ask('PUT', `${at}/r${x.n}`, { body, type: 'multipart/related; boundary="b"' }));
		}, after: async (x, _, o) => { if (!(o instanceof Error) && md5((await x.must('GET', `${at}/r${x.n}/f`)).raw) !== md5(words(1200000))) throw wrong('a part'); } },
		{ name: 'inline', act: async (x) => void good(await x.ask('PUT', `${at}/i${x.n}`, J({ _attachments: { f: { content_type: 'text/plain', data: words(100000).toString('base64') } } }))) },

		// Views
		reads('view', 'GET', `${at}/_design/d/_view/plain?startkey=["a",10]&limit=30&include_docs=true`),
		...['js?group=true', 'own?group=true', 'js?reduce=true'].map((v) => reads(`view ${v}`, 'GET', `${at}/_design/d/_view/${v}`)),
		reads('view keys', 'POST', `${at}/_design/d/_view/js?reduce=false`, J({ keys: ['key1', 'key3', 'none'] })), reads('view queries', 'POST', `${at}/_design/d/_view/js/queries`, J({ queries: [{ limit: 1, reduce: false }, { group: true }] })),
		{ name: 'view update', before: (x) => x.must('PUT', `${at}/vu${x.n}`, J({ k: 'late', n: 1, t: 'c' })),
			act: async (x) => { for (const v of ['js?key="late"', 'own?key="c"', 'plain?limit=1']) good(await x.ask('GET', `${at}/_design/d/_view/${v}`)); },
			after: async (x) => { const a = await x.must('GET', `${at}/_design/d/_view/js?key="late"&reduce=false`); if (!a.json.rows.some((r) => r.id === `vu${x.n}`)) throw wrong('a row is missing'); } },
		{ name: 'view new', before: (x) => x.must('PUT', `${at}/_design/n${x.n}`, J({ views: { v: { map: `function (d) { emit(d.n, ${x.n}); }`, reduce: '_stats' } } })),
			act: async (x) => void good(await x.ask('GET', `${at}/_design/n${x.n}/_view/v?key=5`)),
			after: async (x) => { const a = await x.must('GET', `${at}/_design/n${x.n}/_view/v?key=5&reduce=false`); if (a.json.rows.length < 1) throw wrong(a.text); const d = await x.must('GET', `${at}/_design/n${x.n}`); await x.must('DELETE', `${at}/_design/n${x.n}?rev=${d.json._rev}`); } },
		asks('view info', 'GET', `${at}/_design/d/_info`), asks('view cleanup', 'POST', `${at}/_view_cleanup`, J({})),
		{ name: 'view compact', act: async (x) => { good(await x.ask('POST', `${at}/_compact/d`, J({}))); await x.sleep(60); },
			after: (x) => until(x, 'the end of a compaction', async () => !(await x.must('GET', `${at}/_design/d/_info`)).json.view_index.compact_running) },
		reads('show', 'GET', `${at}/_design/d/_show/s/doc001`), reads('list', 'GET', `${at}/_design/d/_list/l/plain?limit=5`), asks('update', 'POST', `${at}/_design/d/_update/u`, J({})), reads('rewrite', 'GET', `${at}/_design/d/_rewrite/x`),

		// Mango
		reads('find', 'POST', `${at}/_find`, J({ selector: { t: 'a', n: { $gt: 20 } }, fields: ['_id', 'n'], limit: 30 })), reads('find sort', 'POST', `${at}/_find`, J({ selector: { t: { $gt: null } }, sort: ['t', 'n'], limit: 10, execution_stats: false })),
		reads('find scan', 'POST', `${at}/_find`, J({ selector: { s: { $regex: '^x{30}$' } } })), reads('find or', 'POST', `${at}/_find`, J({ selector: { $or: [{ t: 'b', n: { $lt: 10 } }, { t: 'a', n: 100 }] }, limit: 40 })),
		reads('explain', 'POST', `${at}/_explain`, J({ selector: { t: 'a' } })), reads('indexes', 'GET', `${at}/_index`),
		{ name: 'index', act: async (x) => { good(await x.ask('POST', `${at}/_index`, J({ index: { fields: ['n', `f${x.n}`] }, ddoc: `i${x.n}`, name: 'x' }))); good(await x.ask('POST', `${at}/_find`, J({ selector: { n: 7, [`f${x.n}`]: { $exists: false } }, use_index: `i${x.n}` }))); good(await x.ask('DELETE', `${at}/_index/i${x.n}/json/x`)); },
			after: (x) => x.plain('DELETE', `${at}/_index/i${x.n}/json/x`) },
		{ name: 'live query', act: async (x) => {
			const feed = x.ask('POST', `${at}/_find?feed=continuous&timeout=400`, { json: { selector: { live: x.n }, sort: ['_id'], limit: 3 }, until: /lq\d+b/, ms: 5000 });
			await x.sleep(30);
			await x.plain('PUT', `${at}/lq${x.n}a`, J({ live: x.n }));
			await x.plain('PUT', `${at}/lq${x.n}b`, J({ live: x.n }));
			await feed;
		} },

		// Accounts
		{ name: 'account', seconds: 20, act: async (x) => {
			good(await x.ask('PUT', `/_users/org.couchdb.user:u${x.n}`, J({ name: `u${x.n}`, password: 'pw', roles: [], type: 'user' })));
			const a = good(await x.ask('POST', '/_session', { json: { name: `u${x.n}`, password: 'pw' }, as: null }));
			const cookie = String(a.headers['set-cookie']).split(';')[0];
			const s = good(await x.ask('GET', '/_session', { as: null, headers: { Cookie: cookie } }));
			if (s.json.userCtx.name !== `u${x.n}` && s.json.userCtx.name !== null) throw wrong(s.text);
		}, after: async (x, _, o) => { if (!(o instanceof Error)) await x.must('POST', '/_session', { json: { name: `u${x.n}`, password: 'pw' }, as: null }); } },

		// Replication
		...['local', 'http'].map((kind) => ({ name: `replicate ${kind}`,
			before: async (x) => { await x.must('PUT', `/rep${x.n}`); await x.must('POST', `/rep${x.n}/_bulk_docs`, J({ docs: Array.from({ length: 5 }, (_, i) => ({ _id: `r${i}`, v: i })) }));
				await x.must('PUT', `/rep${x.n}/a/f`, { body: words(40000), type: 'text/plain' }); },
			act: async (x) => {
				const url = (db) => (kind === 'local' ? db : `http://admin:adm@127.0.0.1:${x.port()}/${db}`);
				const a = good(await x.ask('POST', '/_replicate', J({ source: url(`rep${x.n}`), target: url(`rep${x.n}t`), create_target: true })));
				if (a.json.ok) x.through = x.n;
			},
			after: async (x) => {
				if (x.through === x.n) for (let i = 0; i < 5; i++) await holds(x, `rep${x.n}t`, `r${i}`, i);
				await x.must('DELETE', `/rep${x.n}`, { also: [404] });
				await x.plain('DELETE', `/rep${x.n}t`);
			} })),
		{ name: 'replication document', before: async (x) => { await x.must('PUT', `/rep${x.n}`); await x.must('PUT', `/rep${x.n}/a`, J({ v: 1 })); },
			act: async (x) => { good(await x.ask('PUT', `/_replicator/r${x.n}`, J({ source: `http://admin:adm@127.0.0.1:${x.port()}/rep${x.n}`, target: `http://admin:adm@127.0.0.1:${x.port()}/rep${x.n}t`, create_target: true }))); await x.sleep(60); good(await x.ask('GET', '/_scheduler/docs?limit=3')); good(await x.ask('GET', '/_scheduler/jobs')); },
			after: async (x, _, o) => {
				const d = await x.plain('GET', `/_replicator/r${x.n}`);
				if (d.status !== 200 && !(o instanceof Error)) throw wrong(`a replication document: ${d.text}`);
				if (d.status === 200) {
					await until(x, 'the end of a replication', async () => (await x.plain('GET', `/rep${x.n}t/a`)).status === 200 || /error|fail|crash/.test((await x.plain('GET', `/_scheduler/docs/_replicator/r${x.n}`)).text), 40000);
					await until(x, 'the removal of a replication document', async () => (await x.plain('DELETE', `/_replicator/r${x.n}?rev=${(await x.plain('GET', `/_replicator/r${x.n}`)).json?._rev}`)).status !== 409);
				}
				await x.plain('DELETE', `/rep${x.n}`);
				await x.plain('DELETE', `/rep${x.n}t`);
			} },

		// Files as a whole
		{ name: 'compact', before: (x) => x.must('PUT', `${at}/cp${x.n}`, J({ s: 'y'.repeat(20000) })), act: async (x) => { good(await x.ask('POST', `${at}/_compact`, J({}))); await x.sleep(80); },
			after: (x) => until(x, 'the end of a compaction', async () => !(await x.must('GET', at)).json.compact_running) },
		asks('whole copy', 'GET', '/parts/_copy'),
	];
	return steps;
}
