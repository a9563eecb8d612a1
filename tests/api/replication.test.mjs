// Replications over HTTP between databases of one server: requests, documents and their rules, filters, reports, settings.
import assert from 'node:assert/strict';
import http from 'node:http';
import { after, before, test } from 'node:test';
import { startDivand } from '../lib/divand.mjs';
import { until } from '../lib/until.mjs';
import { ask, assertError, newDb } from './client.mjs';

let server;
const basic = (name) => `Basic ${Buffer.from(`${name}:pw`).toString('base64')}`;
before(async () => {
	server = await startDivand({ config: { couchdb: { os_process_timeout: '60000' }, chttpd_auth: { iterations: '10' }, replicator: { blocked_networks: '127.0.0.2/32, 10.0.0.0/8', valid_endpoint_protocols: 'http' } } });
	for (const name of ['ann', 'bob']) {
		const r = await ask(server, 'PUT', `/_users/org.couchdb.user:${name}`, { json: { name, type: 'user', roles: name === 'ann' ? ['staff'] : [], password: 'pw' } });
		assert.equal(r.status, 201, r.text);
	}
	await open('_replicator');
});
after(() => server?.stop());

const open = async (db) => assert.equal((await ask(server, 'PUT', `/${db}/_security`, { json: { admins: { roles: ['_admin'] }, members: { roles: [] } } })).status, 200);
const replicate = (json, auth) => ask(server, 'POST', '/_replicate', { json, ...(auth === undefined ? {} : { auth }) });
const put = async (path, json, auth) => ask(server, 'PUT', path, { json, ...(auth === undefined ? {} : { auth }) });
const ids = async (db) => (await ask(server, 'GET', `/${db}/_all_docs`)).json.rows.map((row) => row.id);
/** The answer to a GET of ${path}, once it is as ${wanted}() would have it. */
const answer = (path, wanted) => until(async () => {
	const r = await ask(server, 'GET', path);
	return wanted(r) && r;
}, path);
/** What the server's log says behind ${words}, once it says so. */
const logged = (words) => until(() => {
	const at = server.stderr().indexOf(words);
	return at >= 0 && server.stderr().includes(';', at + words.length) && server.stderr().slice(at + words.length);
}, words);
let serial = 0;
async function pair(docs = [{ _id: 'a', n: 1 }, { _id: 'b', n: 2 }, { _id: 'c', n: 3 }]) {
	const source = await newDb(server, 'src'), target = await newDb(server, 'tgt');
	assert.equal((await ask(server, 'POST', `/${source}/_bulk_docs`, { json: { docs } })).status, 201);
	return { source, target };
}

test('one-shot, and again: nothing to do; continuous, and its end', async () => {
	const { source, target } = await pair();
	let r = await replicate({ source, target });
	assert.deepEqual([r.status, r.json.ok, r.json.history[0].docs_written], [200, true, 3], r.text);
	r = await replicate({ source, target });
	assert.deepEqual([r.status, r.json.no_changes], [200, true], r.text);
	r = await replicate({ source, target, continuous: true });
	assert.equal(r.status, 202, r.text);
	const id = r.json._local_id;
	assert.equal((await put(`/${source}/d`, {})).status, 201);
	await answer(`/${target}/d`, ({ status }) => status === 200);
	r = await ask(server, 'GET', `/_scheduler/jobs/${encodeURIComponent(id)}`);
	assert.deepEqual([r.status, r.json.source, r.json.user, r.json.database], [200, source, 'admin', null], r.text);
	const task = (await ask(server, 'GET', '/_active_tasks')).json.find((t) => t.replication_id === id);
	assert.deepEqual([task.type, task.continuous, task.target, task.process_status], ['replication', true, target, 'running']);
	assert.match(task.pid, /^<0\.\d+\.0>$/, 'Fauxton reads one');
	r = await replicate({ replication_id: id, cancel: true });
	assert.deepEqual([r.status, r.json], [200, { ok: true, _local_id: id }]);
	assertError(await replicate({ replication_id: id, cancel: true }), 404, 'not_found', 'missing');
});

test('doc_ids may be percent-encoded', async () => {
	const { source, target } = await pair(['a', '_design/foo', '100%', '1 %zz', 'a+b', '%ff', 'ä'].map((_id) => ({ _id })));
	const doc_ids = ['_design%2Ffoo', 'a', '%61', '100%', '1%20%zz', 'a+b', '%ff', '%C3%a4', 'no%25'];
	const { json } = await replicate({ source, target, doc_ids });
	assert.deepEqual([json.ok, json.docs_written], [true, 7], JSON.stringify(json));
	assert.deepEqual(await ids(target), await ids(source));
	assert.equal((await replicate({ source, target, doc_ids: doc_ids.map(decode) })).json.no_changes, true, 'the same replication, however it is written');
});
const decode = (id) => (id.endsWith('%') || /%(zz|ff)/i.test(id) ? id.replace('%20', ' ') : decodeURIComponent(id));

test('where no change passes there are no changes, wherever the feed ends', async () => {
	for (const which of [{ doc_ids: [] }, { doc_ids: ['x', '_design/y'] }, { selector: { n: 7 } }]) {
		const { source, target } = await pair();
		for (let n = 0; n < 2; n++) {
			const { json } = await replicate({ source, target, ...which });
			assert.deepEqual([json.ok, json.no_changes], [true, true], JSON.stringify(json));
			assert.ok(n > 0 || Object.keys(json).length === 2, JSON.stringify(json));
		}
		assert.equal((await put(`/${source}/x`, { n: 7 })).status, 201);
		const { json } = await replicate({ source, target, ...which });
		assert.equal(json.no_changes, which.doc_ids?.length === 0 ? true : undefined, JSON.stringify(json));
		assert.deepEqual(await ids(target), which.doc_ids?.length === 0 ? [] : ['x']);
	}
});

test('what is not there, not JSON, or not for everybody', async () => {
	const { source } = await pair([]);
	assertError(await replicate({ source, target: 'no-such-db' }), 404, 'db_not_found');
	assertError(await replicate({ source: 'no-such-db', target: source }), 404, 'db_not_found');
	assertError(await replicate({ source, target: source }, null), 401, 'unauthorized', 'You are not an authenticated user');
	assertError(await ask(server, 'POST', '/_replicate', { body: '{}', type: 'text/plain' }), 415, 'bad_content_type');
	assertError(await ask(server, 'PUT', '/_replicate', { json: {} }), 405, 'method_not_allowed');
	const r = await replicate({ source, target: 'made-by-bob', create_target: true }, basic('bob'));
	assert.ok([401, 403].includes(r.status), r.text);
	assert.equal((await ask(server, 'GET', '/made-by-bob')).status, 404);
});

test('doc_ids, selectors, functions, views and design documents choose what is copied', async () => {
	const ddoc = {
		_id: '_design/f', views: { odd: { map: 'function (doc) { if (doc.n % 2) emit(doc.n); }' } },
		filters: {
			arg: 'function (doc, req) { return doc.n === Number(req.query.n) && req.query.list === "[1,2]" && req.userCtx.name === "admin"; }',
			path: 'function (doc, req) { return req.path[1] === "_changes" && req.method === "GET" && typeof req.info.db_name === "string" && !!req.secObj; }',
			fails: 'function () { throw "no"; }',
		},
	};
	const { source } = await pair([{ _id: 'a', n: 1 }, { _id: 'b', n: 2 }, { _id: 'c', n: 3 }, ddoc]);
	const all = ['_design/f', 'a', 'b', 'c'];
	for (const [how, want] of [
		[{ doc_ids: ['c', 'none', 'a'] }, ['a', 'c']], [{ selector: { n: { $gt: 1 } } }, ['b', 'c']],
		[{ filter: 'f/arg', query_params: { n: 2, list: [1, 2] } }, ['b']], [{ filter: 'f/path' }, all], [{ filter: '_view', query_params: { view: 'f/odd' } }, ['a', 'c']],
		[{ filter: '_design' }, ['_design/f']], [{ filter: 'f/path', winning_revs_only: true }, all], [{ selector: {} }, all],
	]) {
		const target = await newDb(server, 'tgt');
		const r = await replicate({ source, target, ...how });
		assert.equal(r.status, 200, `${JSON.stringify(how)}: ${r.text}`);
		assert.deepEqual(await ids(target), want, JSON.stringify(how));
	}
	const target = await newDb(server, 'tgt');
	for (const [how, status, reason] of [[{ filter: 'f/none' }, 404, 'missing json key: none'], [{ filter: 'none/x' }, 404, 'missing'], [{ filter: 'f/fails' }, 500, 'no'],
		[{ filter: '_other' }, 400, 'unknown builtin filter name'], [{ filter: '_view' }, 400, '`view` filter parameter is not provided.'], [{ selector: { $no: 1 } }, 400, 'Invalid operator: $no']])
		assertError(await replicate({ source, target, ...how }), status, undefined, reason);
});

test('of conflicting revisions a function lets through those that it likes', async () => {
	const { source, target } = await pair([{ _id: '_design/f', filters: { even: 'function (doc) { return doc.n % 2 === 0; }' } }]);
	const docs = [1, 2, 3, 4].map((n) => ({ _id: 'x', _rev: `1-${String(n).repeat(32)}`, n }));
	assert.equal((await ask(server, 'POST', `/${source}/_bulk_docs`, { json: { docs, new_edits: false } })).status, 201);
	assert.equal((await replicate({ source, target, filter: 'f/even' })).status, 200);
	const { json } = await ask(server, 'GET', `/${target}/x?conflicts=true`);
	assert.deepEqual([json.n, json._conflicts], [4, [`1-${'2'.repeat(32)}`]]);
	const other = await newDb(server, 'tgt');
	assert.equal((await replicate({ source, target: other, selector: { n: { $lt: 3 } } })).status, 200);
	const below = (await ask(server, 'GET', `/${other}/x?conflicts=true`)).json;
	assert.deepEqual([below.n, below._conflicts], [2, [`1-${'1'.repeat(32)}`]]);
});

test('a filter runs on what its batch holds: hundreds of rows, each judged once', async () => {
	const docs = Array.from({ length: 450 }, (_, i) => ({ _id: `d${String(i).padStart(3, '0')}`, n: i }));
	const { source, target } = await pair([...docs, { _id: '_design/f', filters: { third: 'function (doc) { return doc.n % 3 === 0; }' } }]);
	assert.equal((await replicate({ source, target, filter: 'f/third', worker_batch_size: 170 })).status, 200);
	assert.deepEqual(await ids(target), docs.filter(({ n }) => n % 3 === 0).map(({ _id }) => _id));
});

// The filter is busy with the first row while one of the same page is edited. How long it is busy grows until the edit came meanwhile.
for (const [how, batch] of [['more pages follow', 300], ['it is the last page', 500]]) {
	test(`what is edited while a filter runs comes with the same run: ${how}`, async () => {
		const slow = `function (doc, req) {
			if (doc._id === 'd000') {
				log('begun ' + req.query.mark + ';');
				for (var end = Date.now() + Number(req.query.busy); Date.now() < end;) ;
				log('over ' + req.query.mark + ' ' + Date.now() + ';');
			}
			return true;
		}`;
		const docs = Array.from({ length: 310 }, (_, i) => ({ _id: `d${String(i).padStart(3, '0')}`, n: i }));
		for (let busy = 250, tested = false; !tested; busy *= 2) {
			const { source, target } = await pair([{ _id: '_design/f', filters: { slow } }, ...docs]);
			const mark = `${source}-${busy}`;
			const run = replicate({ source, target, filter: 'f/slow', query_params: { busy, mark }, worker_batch_size: batch });
			await logged(`begun ${mark}`);
			const { _rev } = (await ask(server, 'GET', `/${source}/d250`)).json;
			assert.equal((await put(`/${source}/d250`, { _rev, edited: true })).status, 201);
			const edited = Date.now();
			const { status, json, text } = await run;
			assert.deepEqual([status, json.ok], [200, true], text);
			assert.deepEqual(await ids(target), ['_design/f', ...docs.map(({ _id }) => _id)]);
			tested = edited < Number((await logged(`over ${mark} `)).match(/^\d+/)[0]);
			if (tested) assert.equal((await ask(server, 'GET', `/${target}/d250`)).json.edited, true);
		}
	});
}

test('documents belong to their writers; others see no credentials, and change nothing', async () => {
	const { source, target } = await pair();
	for (const db of [source, target]) await open(db);
	const id = `own-${++serial}`, path = `/_replicator/${id}`;
	const secret = { url: 'http://u:s3cret@127.0.0.1:1/x', headers: { Authorization: 's3cret' }, auth: { basic: { username: 'u', password: 's3cret' } } };
	let r = await put(path, { source: secret, target: 'http://u:s3cret@127.0.0.1:1/y/', source_proxy: 'http://p:s3cret@127.0.0.1:1', retries_per_request: 0 }, basic('ann'));
	assert.equal(r.status, 201, r.text);
	const rev = async () => (await ask(server, 'GET', path)).json._rev;
	for (const auth of [basic('ann'), undefined]) {
		r = await ask(server, 'GET', path, auth ? { auth } : {});
		assert.equal(r.json.owner, 'ann');
		assert.match(r.text, /s3cret/);
	}
	for (const what of [path, `${path}?open_revs=all`, `${path}?revs_info=true`]) {
		r = await ask(server, 'GET', what, { auth: basic('bob'), headers: { accept: 'application/json' } });
		assert.equal(r.status, 200, r.text);
		assert.doesNotMatch(r.text, /s3cret/);
		assert.match(r.text, /127\.0\.0\.1:1/);
	}
	r = await ask(server, 'POST', '/_replicator/_bulk_get', { json: { docs: [{ id }] }, auth: basic('bob') });
	assert.doesNotMatch(r.text, /s3cret/);
	const others = [["Can't update replication documents from other users.", { source, target }], ["Can't update replication documents from other users.", { source, target, owner: 'bob' }],
		["Can't update replication documents from other users.", { source, target, owner: 'ann' }]];
	for (const [reason, doc] of others) assertError(await put(path, { ...doc, _rev: await rev() }, basic('bob')), 403, 'forbidden', reason);
	assertError(await ask(server, 'DELETE', `${path}?rev=${await rev()}`, { auth: basic('bob') }), 403, 'forbidden');
	r = await ask(server, 'POST', '/_replicator/_bulk_docs', { json: { new_edits: false, docs: [{ _id: id, _rev: `9-${'f'.repeat(32)}`, source, target, owner: 'bob' }] }, auth: basic('bob') });
	assert.equal(r.json[0]?.error, 'forbidden', r.text);
	for (const what of ['/_scheduler/docs', '/_scheduler/jobs', `/_scheduler/docs/_replicator/${id}`, '/_active_tasks'])
		assert.doesNotMatch((await ask(server, 'GET', what)).text, /s3cret/);
	await answer(`/_scheduler/docs/_replicator/${id}`, ({ json }) => json.state === 'crashing');
	assert.doesNotMatch((await ask(server, 'GET', `/_scheduler/docs/_replicator/${id}`)).text, /s3cret/);
	assert.equal((await ask(server, 'DELETE', `${path}?rev=${await rev()}`, { auth: basic('ann') })).status, 200);
	await answer(`/_scheduler/docs/_replicator/${id}`, ({ status }) => status === 404);
	assert.doesNotMatch(server.stderr(), /s3cret/);
});

test('nobody gets more rights by a document than they have', async () => {
	const { source, target } = await pair();
	await open(target);
	const path = () => `/_replicator/rights-${++serial}`;
	for (const [doc, reason] of [
		[{ owner: 'admin' }, "Can't update replication documents from other users."], [{ owner: null }, "Can't update replication documents from other users."],
		[{ user_ctx: { name: 'admin', roles: ['_admin'] } }, 'The given `user_ctx.name` is not valid'], [{ user_ctx: { roles: [] } }, 'The given `user_ctx.name` is not valid'],
		[{ user_ctx: { name: 'ann', roles: ['_admin'] } }, 'Invalid role (`_admin`) in the `user_ctx`'], [{ user_ctx: 5 }, 'The `user_ctx` property must be a non-null object.'],
		[{ _replication_state: 'completed' }, '`_replication_state` is written by the replicator.'], [{ _replication_stats: {} }, '`_replication_stats` is written by the replicator.'],
	]) assertError(await put(path(), { source, target, ...doc }, basic('ann')), 403, 'forbidden', reason);
	// Her own rights do not reach: ${source} is closed to her.
	const at = path();
	assert.equal((await put(at, { source, target, user_ctx: { name: 'ann', roles: ['staff'] } }, basic('ann'))).status, 201);
	const r = await answer(`/_scheduler/docs${at}`, ({ json }) => json.state === 'crashing');
	assert.match(r.json.info.error, /not allowed|unauthorized|forbidden/);
	assert.deepEqual(await ids(target), []);
	await open(source);
	const again = path();
	assert.equal((await put(again, { source, target }, basic('ann'))).status, 201);
	await answer(`/_scheduler/docs${again}`, ({ json }) => json.state === 'completed' || json.state === 'failed');
});

test('a document that was completed runs again when it is written without what the replicator said', async () => {
	const { source, target } = await pair();
	const path = `/_replicator/again-${++serial}`;
	assert.equal((await put(path, { source, target })).status, 201);
	const { json } = await answer(path, (r) => r.json._replication_state === 'completed');
	assert.equal(json._replication_stats.docs_written, 3);
	assert.equal((await put(`/${source}/late`, {})).status, 201);
	assert.equal((await put(path, { source, target, _rev: json._rev })).status, 201);
	await answer(`/${target}/late`, ({ status }) => status === 200);
});

test('words of documents that are refused', async () => {
	const path = '/_replicator/bad';
	for (const [doc, reason] of [
		[{ target: 'x' }, 'Missing replicator database'], [{ source: 5, target: 'x' }, '{error,function_clause}'], [{ source: {}, target: 'x' }, 'endpoint has an invalid url'],
		[{ source: 'x', target: 'https://h/x' }, 'endpoint has an invalid url'], [{ source: 'http://a:b:c/', target: 'x' }, 'endpoint has an invalid url'],
		[{ source: 'http://h/x', target: 'x', source_proxy: 'gopher://p/' }, 'proxy has an invalid url'],
		[{ source: 'x', target: 'y', continuous: 'x' }, '{throw,{bad_request,<<"parameter `continuous` must be a boolean">>}}'],
		[{ source: 'x', target: 'y', filter: 'a/b', selector: {} }, '{throw,{bad_request,"`doc_ids`,`filter`,`selector` are mutually exclusive"}}'],
		[{ source: 'x', target: 'y', query_params: 'x' }, '{throw,{bad_request,<<"parameter `query_params` must be an object">>}}'],
		[{ source: 'x', target: 'y', cancel: null }, '{throw,{bad_request,<<"parameter `cancel` must be a boolean">>}}'],
		[{ source: 'x', target: 'y', cancel: 'x' }, '{throw,{bad_request,<<"parameter `cancel` must be a boolean">>}}'],
		[{ source: 'x', target: 'y', proxy: 'http://p', source_proxy: 'http://q' }, '{throw,{bad_request,"`proxy` is mutually exclusive with `source_proxy`"}}'],
		[{ source: 'x', target: 'y', proxy: 'http://p', target_proxy: 'http://q' }, '{throw,{bad_request,"`proxy` is mutually exclusive with `target_proxy`"}}'],
	]) assertError(await put(path, doc), 403, 'forbidden', reason);
	for (const auth of [null, 'joe:secret', 1, []]) assertError(await put(path, { source: 'x', target: { url: 'http://h/x', auth } }), 403, 'forbidden');
	assertError(await replicate({ replication_id: 'x', cancel: 'yes' }), 400, 'bad_request', 'parameter `cancel` must be a boolean');
	assert.equal((await put('/_replicator/_design/bad', { any: 'thing' })).status, 201);
	assert.equal((await put('/_replicator/_local/bad', { source: 5 })).status, 201);
});

test('forbidden addresses are not reached, by whatever name and scheme', async () => {
	let asked = 0;
	const trap = http.createServer((req, res) => (asked++, res.end('{}')));
	await new Promise((resolve) => trap.listen(0, '127.0.0.2', resolve));
	const { target } = await pair();
	for (const host of ['127.0.0.2', '[::ffff:127.0.0.2]', '2130706434'])
		assertError(await replicate({ source: `http://${host}:${trap.address().port}/x`, target, retries_per_request: 0 }), [400, 403, 500]);
	assertError(await replicate({ source: 'https://127.0.0.1:1/x', target }), 403, 'forbidden', 'endpoint has an invalid url');
	assertError(await replicate({ source: 'ftp://127.0.0.2/x', target }), 400);
	assert.equal(asked, 0);
	trap.close();
});

test('_scheduler/docs: databases of any name, states, limit and skip', async () => {
	const { source, target } = await pair();
	const db = `other-${++serial}/_replicator`, at = encodeURIComponent(db);
	assert.equal((await ask(server, 'PUT', `/${at}`)).status, 201);
	for (const id of ['a', 'b', 'c']) assert.equal((await put(`/${at}/${id}`, { source, target, doc_ids: [id] })).status, 201);
	for (const id of ['a', 'b', 'c']) await answer(`/_scheduler/docs/${at}/${id}`, ({ json }) => json.state === 'completed');
	for (const path of [at, db]) {
		const r = await ask(server, 'GET', `/_scheduler/docs/${path}?limit=2&skip=1&states=completed,Failed`);
		assert.deepEqual([r.status, r.json.total_rows, r.json.offset, r.json.docs.length], [200, 3, 1, 2], r.text);
		assert.equal((await ask(server, 'GET', `/_scheduler/docs/${path}/b`)).json.doc_id, 'b');
		assert.equal((await ask(server, 'GET', `/_scheduler/docs/${path}?states=running`)).json.docs.length, 0);
		assertError(await ask(server, 'GET', `/_scheduler/docs/${path}/none`), 404, 'not_found', 'missing');
	}
	assert.ok((await ask(server, 'GET', '/_scheduler/docs')).json.docs.every((d) => d.database === '_replicator'));
	assertError(await ask(server, 'GET', '/_scheduler/docs?states=odd'), 400, 'query_parse_error');
	assertError(await ask(server, 'GET', '/_scheduler/docs?limit=x'), 400, 'query_parse_error');
	assertError(await ask(server, 'GET', '/_scheduler/docs/a/b'), 400, 'bad_request');
	assertError(await ask(server, 'GET', '/_scheduler/docs/none%2F_replicator'), 404, 'not_found', 'Database does not exist.');
	assertError(await ask(server, 'POST', '/_scheduler/docs', { json: {} }), 405, 'method_not_allowed', 'Only GET,HEAD allowed');
	assert.equal((await ask(server, 'DELETE', `/${at}`)).status, 200);
	await answer(`/_scheduler/docs/${at}`, ({ status }) => status === 404);
});

test('a client that goes away leaves its replication running; who has started it, or an administrator, may end it', async () => {
	const { target } = await pair([]);
	await open(target);
	let asked = false;
	const silent = http.createServer(() => (asked = true));
	await new Promise((resolve) => silent.listen(0, '127.0.0.1', resolve));
	const source = `http://127.0.0.1:${silent.address().port}/x/`;
	const body = JSON.stringify({ source, target });
	const req = http.request({ host: '127.0.0.1', port: server.port, method: 'POST', path: '/_replicate', headers: { authorization: basic('ann'), 'content-type': 'application/json', 'content-length': body.length } });
	req.on('error', () => {});
	req.end(body);
	await until(() => asked, 'the source is not asked');
	req.destroy();
	const mine = async () => (await ask(server, 'GET', '/_scheduler/jobs')).json.jobs.find((job) => job.source === source);
	const job = await mine();
	assert.equal(job.user, 'ann');
	assertError(await replicate({ replication_id: job.id, cancel: true }, basic('bob')), 401, 'unauthorized');
	assert.equal((await replicate({ replication_id: job.id, cancel: true }, basic('ann'))).status, 200);
	await until(async () => !(await mine()), 'it goes on');
	silent.closeAllConnections();
	silent.close();
});

test('a database whose file is closed, since many others are open, is the same one afterwards', async () => {
	const { source, target } = await pair(), db = `other-${++serial}/_replicator`, at = encodeURIComponent(db);
	assert.equal((await ask(server, 'PUT', `/${at}`)).status, 201);
	const inside = (name) => ({ url: `${server.url}/${name}`, auth: { basic: { username: 'admin', password: 'adm' } } });
	assert.equal((await put(`/${at}/http`, { source: inside(source), target: inside(target), continuous: true })).status, 201);
	assert.equal((await put(`/${at}/local`, { source, target, continuous: true })).status, 201);
	const events = async () => (await ask(server, 'GET', '/_scheduler/jobs')).json.jobs.filter((job) => job.database === db).sort((x, y) => (x.doc_id < y.doc_id ? -1 : 1)).map((job) => [job.doc_id, job.start_time, job.history.map((h) => h.type)]);
	await answer(`/${target}/c`, ({ status }) => status === 200);
	for (const id of ['http', 'local']) await answer(`/_scheduler/docs/${at}/${id}`, ({ json }) => json.state === 'running');
	const began = await events();
	let n = 0;
	await Promise.all(Array.from({ length: 4 }, async () => {
		while (n < 440) assert.equal((await ask(server, 'PUT', `/many-${++n}`)).status, 201);
	}));
	assert.equal((await put(`/${source}/d`, {})).status, 201);
	await answer(`/${target}/d`, ({ status }) => status === 200);
	assert.equal((await put(`/${at}/more`, { source, target, doc_ids: ['none'] })).status, 201);
	await answer(`/_scheduler/docs/${at}/more`, ({ json }) => json.state === 'completed');
	assert.deepEqual(await events(), began);
	assert.equal((await ask(server, 'DELETE', `/${at}`)).status, 200);
});

test('statistics count what was started and done', async () => {
	const stat = async (name) => (await ask(server, 'GET', `/_node/_local/_stats/couch_replicator/${name}`)).json.value;
	const { source, target } = await pair();
	const [starts, done] = [await stat('jobs/starts'), await stat('docs/completed_state_updates')];
	assert.equal((await put(`/_replicator/stat-${++serial}`, { source, target })).status, 201);
	await until(async () => (await stat('docs/completed_state_updates')) > done, 'its document is not told');
	assert.ok((await stat('jobs/starts')) > starts);
	assert.match((await ask(server, 'GET', '/_node/_local/_prometheus')).text, /couch_replicator_jobs_running \d/);
});

test('a server that ends answers who waits for a replication, and forgets nothing', async (t) => {
	const one = await startDivand({});
	t.after(() => one.stop().catch(() => {}));
	const silent = http.createServer(() => one.child.kill('SIGTERM'));
	await new Promise((resolve) => silent.listen(0, '127.0.0.1', resolve));
	assert.equal((await ask(one, 'PUT', '/t')).status, 201);
	const r = await ask(one, 'POST', '/_replicate', { json: { source: `http://127.0.0.1:${silent.address().port}/x`, target: 't' } });
	assert.ok([500, 503].includes(r.status), r.text);
	assert.equal((await one.exited).code, 0);
	silent.closeAllConnections();
	silent.close();
});

test('a document that its target fails about keeps no other from coming, and comes by itself once that is mended', async (t) => {
	const own = await startDivand({ config: { replicator: { backoff: 300, startup_jitter: 1 } } });
	t.after(() => own.stop());
	const say = async (method, path, json, status) => {
		const r = await ask(own, method, path, { json });
		assert.equal(r.status, status, r.text);
		return r.json;
	};
	const comes = (path, wanted = ({ status }) => status === 200) => until(async () => {
		const r = await ask(own, 'GET', path);
		return wanted(r) && r;
	}, path);
	const validate = async (text) => {
		const { json } = await ask(own, 'GET', '/b/_design/v');
		await say('PUT', '/b/_design/v', { _rev: json._rev, validate_doc_update: text }, 201);
	};
	for (const db of ['a', 'b']) await say('PUT', `/${db}`, undefined, 201);
	await validate('function (doc) { if (doc.bad) doc.none.at.all(); if (doc.unwanted) throw { forbidden: "no" }; }');
	const docs = Array.from({ length: 30 }, (_, i) => ({ _id: `d${i}`, bad: i === 3 || undefined, unwanted: i === 9 || undefined }));
	docs.push({ _id: 'with', bad: true, _attachments: { a: { content_type: 'a/b', data: 'AAAA' } } }, { _id: 'last' });
	await say('POST', '/a/_bulk_docs', { docs }, 201);
	for (const [source, target] of [['a', 'b'], [`${own.authUrl}/a`, `${own.authUrl}/b`]]) {
		const body = { source, target, worker_batch_size: 5, worker_processes: 1, retries_per_request: 0 };
		const { error, reason } = await say('POST', '/_replicate', body, 500);
		assert.equal(error, 'document_held_back', `${source}: ${reason}`);
		assert.match(reason, /^d3: .*none/);
		assert.equal((await say('GET', '/b', undefined, 200)).doc_count, 30, 'all but d3, d9 and one with an attachment; and the validator');
	}
	const doc_ids = [...docs.map(({ _id }) => _id), 'later'];
	for (const continuous of [false, true]) await say('PUT', `/_replicator/${continuous}`, { source: 'a', target: 'b', continuous, doc_ids }, 201);
	const at = '/_scheduler/docs/_replicator/';
	assert.match((await comes(`${at}false`, ({ json }) => json.state === 'crashing')).json.info.error, /^document_held_back: (d3|with): /);
	assert.match((await comes(`${at}true`, ({ json }) => json.info?.docs_held_back === 2)).json.info.last_failure, /^(d3|with): /);
	await say('PUT', '/a/later', {}, 201);
	await comes('/b/later');
	await validate('function (doc) { if (doc.unwanted) throw { forbidden: "no" }; }');
	for (const path of ['/b/d3', '/b/with/a']) await comes(path);
	const { info } = (await comes(`${at}false`, ({ json }) => json.state === 'completed')).json;
	assert.deepEqual([info.doc_write_failures, info.docs_held_back], [1, undefined]);
});
