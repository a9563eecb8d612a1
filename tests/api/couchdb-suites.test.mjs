// Steps of CouchDB's own test suites that no other file here has.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startDivand } from '../lib/divand.mjs';
import { ask, assertError, newDb } from './client.mjs';

let server;
before(async () => (server = await startDivand()));
after(() => server.stop());

test('batch=ok is answered before anybody looks for conflicts, so a conflict is no error', async () => {
	const db = await newDb(server);
	for (let n = 0; n < 5; n++) {
		const answer = await ask(server, 'PUT', `/${db}/foo?batch=ok`, { json: { n } });
		assert.deepEqual([answer.status, answer.json], [202, { ok: true, id: 'foo' }]);
	}
	assert.deepEqual((await ask(server, 'GET', `/${db}/foo`)).json.n, 0);
	assertError(await ask(server, 'PUT', `/${db}/foo?batch=no`, { json: {} }), 409, 'conflict');
	assertError(await ask(server, 'PUT', `/${db}/foo?batch=ok`, { json: { _zing: 1 } }), 400, 'doc_validation');
});

test('the words of a refusal say where the other revision stood', async () => {
	const db = await newDb(server);
	const json = { _rev: `1-${'a'.repeat(32)}` };
	const words = (where) => `Document rev ${where} have different values`;
	assertError(await ask(server, 'PUT', `/${db}/x`, { json, headers: { 'If-Match': '1-b' } }), 400, 'bad_request', words('and etag'));
	assertError(await ask(server, 'PUT', `/${db}/x?rev=1-b`, { json }), 400, 'bad_request', words('from request body and query string'));
	assertError(await ask(server, 'PUT', `/${db}/x?rev=1-b`, { json, headers: { 'If-Match': '1-c' } }), 400, 'bad_request', words('and etag'));
});

test('a lower _revs_limit holds for what is read, before anything is written or compacted', async () => {
	const db = await newDb(server);
	const ids = ['f', 'e', 'd', 'c', 'b', 'a'].map((c) => c.repeat(32));
	const doc = { _id: 'doc', _rev: `6-${ids[0]}`, _revisions: { start: 6, ids } };
	assert.equal((await ask(server, 'POST', `/${db}/_bulk_docs`, { json: { new_edits: false, docs: [doc] } })).status, 201);
	const told = async () => {
		const one = (await ask(server, 'GET', `/${db}/doc?revs=true`)).json._revisions;
		const open = (await ask(server, 'GET', `/${db}/doc?open_revs=all&revs=true`, { headers: { Accept: 'application/json' } })).json[0].ok._revisions;
		const bulk = (await ask(server, 'POST', `/${db}/_bulk_get?revs=true`, { json: { docs: [{ id: 'doc' }] } })).json.results[0].docs[0].ok._revisions;
		assert.deepEqual([open, bulk], [one, one]);
		return one;
	};
	assert.deepEqual(await told(), { start: 6, ids });
	for (const limit of [5, 1, 6]) {
		assert.equal((await ask(server, 'PUT', `/${db}/_revs_limit`, { body: String(limit) })).status, 200);
		assert.deepEqual(await told(), { start: 6, ids: ids.slice(0, limit) });
	}
});

test('_stats tells passwords that took a derivation from those that are known', async () => {
	const value = async (name) => (await ask(server, 'GET', `/_node/_local/_stats/couchdb/password_hashing_${name}`)).json.value;
	const logIn = async (password, status) => {
		const before = [await value('slow'), await value('fast')];
		const answer = await ask(server, 'POST', '/_session', { json: { name: 'ann', password } });
		assert.equal(answer.status, status);
		const after = [await value('slow'), await value('fast')];
		// Behind the first look at "fast" come the looks at "slow" and "fast", and the login's own header.
		return [after[0] - before[0], after[1] - before[1] - 3];
	};
	const user = { name: 'ann', type: 'user', roles: [], password: 'one' };
	const { json } = await ask(server, 'PUT', '/_users/org.couchdb.user:ann', { json: user });
	assert.deepEqual(await logIn('wrong', 401), [1, 0]);
	assert.deepEqual(await logIn('wrong', 401), [1, 0]);
	assert.deepEqual(await logIn('one', 200), [1, 1]);
	assert.deepEqual(await logIn('one', 200), [0, 1]);
	assert.equal((await ask(server, 'PUT', '/_users/org.couchdb.user:ann', { json: { ...user, _rev: json.rev, password: 'two' } })).status, 201);
	assert.deepEqual(await logIn('one', 401), [1, 0]);
	assert.deepEqual(await logIn('two', 200), [1, 1]);
});

test('atts_since may name a revision that nobody has', async () => {
	const db = await newDb(server);
	const doc = { _id: 'doc', _revisions: { start: 2, ids: ['b', 'a'] }, _attachments: { att: { revpos: 1, content_type: 'x/y', data: 'YQ==' } } };
	assert.equal((await ask(server, 'POST', `/${db}/_bulk_docs`, { json: { new_edits: false, docs: [doc] } })).status, 201);
	const one = async (since) => (await ask(server, 'GET', `/${db}/doc?atts_since=${JSON.stringify(since)}`, { headers: { Accept: 'application/json' } })).json;
	const bulk = async (atts_since) => (await ask(server, 'POST', `/${db}/_bulk_get`, { json: { docs: [{ id: 'doc', rev: '2-b', atts_since }] } })).json.results[0].docs[0];
	for (const [since, data] of [[['0-x'], 'YQ=='], [['2-b'], undefined], [['0-x', '1-a'], undefined], [['0-x', '9-z'], 'YQ==']]) {
		assert.equal((await one(since))._attachments.att.data, data);
		assert.equal((await bulk(since)).ok._attachments.att.data, data);
	}
	assert.equal((await bulk([])).ok._attachments.att.stub, true);
	for (const wrong of ['0-', '0', '-x', 'x']) {
		assert.equal((await one([wrong])).reason, 'Invalid rev format');
		assert.equal((await bulk([wrong])).error.reason, 'Invalid rev format');
	}
});

test('_dbs_info names at most chttpd/max_db_number_for_dbs_info_req databases', async () => {
	const keys = [await newDb(server), await newDb(server)];
	const set = (body) => ask(server, body ? 'PUT' : 'DELETE', '/_node/_local/_config/chttpd/max_db_number_for_dbs_info_req', { json: body });
	assert.equal((await ask(server, 'POST', '/_dbs_info', { json: { keys } })).json.length, 2);
	assert.equal((await set('1')).status, 200);
	assertError(await ask(server, 'POST', '/_dbs_info', { json: { keys } }), 400, 'bad_request');
	assert.equal((await ask(server, 'POST', '/_dbs_info', { json: { keys: keys.slice(1) } })).json.length, 1);
	assert.equal((await set(null)).status, 200);
	assert.equal((await ask(server, 'POST', '/_dbs_info', { json: { keys } })).status, 200);
});

const NO_ROWS = 'No rows can match your key range, reverse your start_key and end_key or set descending=true';
const INCOMPATIBLE = '`keys` is incompatible with `key`, `start_key` and `end_key`';

test('one key in keys stands at its place among the ends of the range', async () => {
	const db = await newDb(server);
	const map = 'function (doc) { emit(doc._id, 1) }';
	await ask(server, 'POST', `/${db}/_bulk_docs`, { json: { docs: [{ _id: 'a' }, { _id: 'b' }, { _id: '_design/d', views: { v: { map } } }] } });
	const get = async (place, query, json) => {
		const { json: answer } = await ask(server, json ? 'POST' : 'GET', `/${db}/${place}?${encodeURI(query)}`, { json });
		return answer.reason ?? answer.rows.map((row) => row.key).join();
	};
	for (const [query, ofView, ofAll] of [
		['keys=["a"]&startkey="b"', NO_ROWS, INCOMPATIBLE],
		['startkey="b"&keys=["a"]', 'a', 'a'],
		['key="a"&keys=["b"]', 'b', 'b'],
		['keys=["a"]&key="b"', 'b', INCOMPATIBLE],
		['startkey="a"&keys=["a","b"]', INCOMPATIBLE, INCOMPATIBLE],
	]) {
		assert.equal(await get('_design/d/_view/v', query), ofView, query);
		assert.equal(await get('_all_docs', query), ofAll, query);
	}
	assert.equal(await get('_design/d/_view/v', 'startkey="b"', { keys: ['a'] }), NO_ROWS);
	assert.equal(await get('_design/d/_view/v', '', { keys: ['a'] }), 'a');
});

test('several queries have a place of their own, temporary views have none', async () => {
	const db = await newDb(server);
	await ask(server, 'PUT', `/${db}/_design/d`, { json: { views: { v: { map: 'function (doc) {}' } } } });
	const post = (queries) => ask(server, 'POST', `/${db}/_design/d/_view/v`, { json: { queries } });
	assertError(await post([{}]), 400, 'bad_request', 'The `queries` parameter is no longer supported at this endpoint');
	assertError(await post(1), 400, 'bad_request', '`queries` member must be an array.');
	for (const method of ['GET', 'POST']) {
		assertError(await ask(server, method, `/${db}/_temp_view`, { json: method === 'POST' ? {} : undefined }), 410, 'gone', 'Temporary views are not supported in CouchDB');
	}
});

test('a partition in the query: as in the path, which it must not contradict', async () => {
	const [db, whole] = ['parts', await newDb(server)];
	assert.equal((await ask(server, 'PUT', `/${db}?partitioned=true`)).status, 201);
	const design = { views: { v: { map: 'function (doc) { emit(null) }' } } };
	for (const name of [db, whole]) await ask(server, 'PUT', `/${name}/_design/d`, { json: design });
	await ask(server, 'POST', `/${db}/_bulk_docs`, { json: { docs: [{ _id: 'x:1' }, { _id: 'y:1' }] } });
	for (const place of ['_all_docs', '_design/d/_view/v']) {
		const ids = async (path, json) => (await ask(server, json ? 'POST' : 'GET', `/${db}/${path}`, { json })).json.rows.map((row) => row.id);
		assert.deepEqual(await ids(`${place}?partition=y`), ['y:1']);
		assert.deepEqual(await ids(`_partition/x/${place}?partition=x`), ['x:1']);
		assertError(await ask(server, 'GET', `/${db}/_partition/x/${place}?partition=y`), 400, 'bad_request', 'Conflicting value for `partition` in query string');
		for (const [name, reason] of [['_y', 'Partition must not start with an underscore'], ['', 'Partition must not be empty'], ['a:b', 'Partition must not contain a colon']]) {
			assertError(await ask(server, 'GET', `/${db}/${place}?partition=${name}`), 400, 'illegal_partition', reason);
		}
	}
	assertError(await ask(server, 'GET', `/${whole}/_all_docs?partition=y`), 400, 'query_parse_error', '`partition` parameter is not supported on this db');
	assertError(await ask(server, 'GET', `/${whole}/_design/d/_view/v?partition=y`), 400, 'query_parse_error', '`partition` parameter is not supported in this design doc');
	const { json } = await ask(server, 'POST', `/${db}/_partition/x/_all_docs/queries`, { json: { queries: [{}, { limit: 0 }] } });
	assert.deepEqual(json.results.map((r) => r.rows.map((row) => row.id)), [['x:1'], []]);
	const views = await ask(server, 'POST', `/${db}/_partition/x/_design/d/_view/v/queries`, { json: { queries: [{}, { limit: 0 }] } });
	assert.deepEqual(views.json.results.map((r) => r.rows.map((row) => row.id)), [['x:1'], []]);
	assertError(await ask(server, 'GET', `/${db}/_partition/x/_design/d/_view/v/queries`), 405, 'method_not_allowed', 'Only POST allowed');
	for (const name of [db, whole]) assertError(await ask(server, 'GET', `/${name}/_partition/_x`), 400, 'illegal_partition');
	assertError(await ask(server, 'GET', `/${whole}/_partition/_x/_all_docs`), 400, 'bad_request', 'database is not partitioned');
	assertError(await ask(server, 'POST', `/${db}/_partition/_x`, { json: {} }), 400, 'illegal_partition');
	assertError(await ask(server, 'POST', `/${db}/_partition/x`, { json: {} }), 405, 'method_not_allowed', 'Only GET allowed');
	assertError(await ask(server, 'GET', `/${db}/_partition/x/_design/d`), 404, 'not_found', 'missing');
});

test('a partition in the body: as in the query, which comes before it', async () => {
	const [db, whole] = ['parts-body', await newDb(server)];
	await ask(server, 'PUT', `/${db}?partitioned=true`);
	await ask(server, 'POST', `/${db}/_bulk_docs`, { json: { docs: [{ _id: 'x:1' }, { _id: 'y:1' }] } });
	const post = (path, json) => ask(server, 'POST', `/${db}/${path}`, { json });
	const ids = ({ json }) => json.rows.map((row) => row.id);
	assert.deepEqual(ids(await post('_all_docs', { partition: 'y' })), ['y:1']);
	assert.deepEqual(ids(await post('_all_docs?partition=x', { partition: 'y' })), ['x:1']);
	assert.deepEqual(ids(await post('_partition/x/_all_docs', { partition: 'y' })), ['x:1']);
	const { json } = await post('_all_docs/queries?partition=x', { queries: [{}, { partition: 'y' }, { partition: 'y', startkey: 'y:2' }, { partition: 'z' }] });
	assert.deepEqual(json.results.map((r) => r.rows.map((row) => row.id)), [['x:1'], ['y:1'], [], []]);
	for (const path of ['_all_docs', '_design_docs']) assertError(await post(path, { partition: '_y' }), 400, 'illegal_partition', 'Partition must not start with an underscore');
	assertError(await post('_all_docs', { partition: 'y'.repeat(9000) }), 413, 'too_large');
	assertError(await ask(server, 'POST', `/${whole}/_all_docs`, { json: { partition: 'y' } }), 400, 'query_parse_error', '`partition` parameter is not supported on this db');
});

test('a partition tells the sizes of its documents', async () => {
	const db = 'parts-sizes';
	await ask(server, 'PUT', `/${db}?partitioned=true`);
	const sizes = async (name) => (await ask(server, 'GET', `/${db}/_partition/${name}`)).json.sizes;
	const put = async (id, json, rev = '') => (await ask(server, 'PUT', `/${db}/${id}${rev && `?rev=${rev}`}`, { json })).json.rev;
	const grows = (more, less) => assert.ok(more.external > less.external && more.active > less.active, JSON.stringify([more, less]));
	const none = await sizes('x');
	assert.deepEqual(none, { active: 0, external: 0 });
	const first = await put('x:1', { val: 42 });
	const one = await sizes('x');
	grows(one, none);
	const long = await put('x:1', { val: 'this is a long text that is longer than the number was'.repeat(20) }, first);
	const longer = await sizes('x');
	grows(longer, one);
	await put('y:1', { _attachments: { a: { content_type: 'image/png', data: Buffer.alloc(5000, 'x').toString('base64') } } });
	await put('_design/d', { views: {} });
	const [x, y, db1] = [await sizes('x'), await sizes('y'), (await ask(server, 'GET', `/${db}`)).json.sizes];
	assert.deepEqual(x, longer);
	assert.ok(y.external >= 5000 && y.active >= 5000);
	assert.ok(db1.external >= x.external + y.external && db1.active >= x.active + y.active, JSON.stringify([x, y, db1]));
	const gone = (await ask(server, 'DELETE', `/${db}/x:1?rev=${long}`)).json.rev;
	const after = await sizes('x');
	grows(longer, after);
	await ask(server, 'POST', `/${db}/_purge`, { json: { 'x:1': [gone] } });
	assert.deepEqual(await sizes('x'), none);
});

test('indexes below a partition are those of the database', async () => {
	const db = 'parts-index';
	await ask(server, 'PUT', `/${db}?partitioned=true`);
	const place = `/${db}/_partition/x/_index`;
	const names = async () => (await ask(server, 'GET', place)).json.indexes.map((ix) => ix.name);
	for (const name of ['a', 'b', 'c']) assert.equal((await ask(server, 'POST', place, { json: { index: { fields: [name] }, ddoc: name, name } })).json.result, 'created');
	assert.deepEqual(await names(), ['_all_docs', 'a', 'b', 'c']);
	assert.deepEqual((await ask(server, 'GET', place)).json, (await ask(server, 'GET', `/${db}/_index`)).json);
	assert.equal((await ask(server, 'DELETE', `${place}/a/json/a`)).status, 200);
	assert.equal((await ask(server, 'DELETE', `${place}/_design/b/json/b`)).status, 200);
	assert.equal((await ask(server, 'POST', `${place}/_bulk_delete`, { json: { docids: ['_design/c'] } })).status, 200);
	assert.deepEqual(await names(), ['_all_docs']);
	assertError(await ask(server, 'GET', `/${db}/_partition/_x/_index`), 400, 'illegal_partition');
});

test('_reshard: a node without jobs, on which nothing is split', async () => {
	const get = async (path) => (await ask(server, 'GET', path)).json;
	assert.deepEqual(await get('/_reshard'), { state: 'running', state_reason: null, completed: 0, failed: 0, running: 0, stopped: 0, total: 0 });
	assert.deepEqual(await get('/_reshard/state'), { state: 'running', reason: null });
	assert.deepEqual(await get('/_reshard/jobs'), { total_rows: 0, offset: 0, jobs: [] });
	for (const path of ['jobs/x', 'jobs/x/state', 'x']) assertError(await ask(server, 'GET', `/_reshard/${path}`), 404, 'not_found', 'missing');
	assertError(await ask(server, 'POST', '/_reshard/jobs', { json: { type: 'split', db: 'x' } }), 501, 'not_implemented');
	assertError(await ask(server, 'PUT', '/_reshard', { json: {} }), 405, 'method_not_allowed', 'Only GET,HEAD allowed');
});

test('_cluster_setup: steps of one node are taken already, others are none', async () => {
	const step = (request) => ask(server, 'POST', '/_cluster_setup', request);
	for (const action of ['enable_single_node', 'enable_cluster', 'finish_cluster']) {
		const r = await step({ json: { username: 'a', action } });
		assert.deepEqual([r.status, r.json], [201, { ok: true }]);
	}
	assertError(await step({ json: { action: 'add_node', host: 'a', port: 1, username: 'a', password: 'b' } }), 400, 'bad_request', 'Cluster is not enabled.');
	for (const json of [{}, { action: 'none' }, { action: 'receive_cookie' }, { action: 5 }]) assertError(await step({ json }), 400, 'bad_request', "Invalid Action'");
	for (const body of ['', '{"action":"enable_single_node"', '[]']) assertError(await step({ body, type: 'application/json' }), 400, 'bad_request', "Missing JSON body'");
	assertError(await step({ body: '{"action":"enable_single_node"}', type: 'text/plain' }), 415, 'bad_content_type');
});

test('names of databases: what their parameters and keys may be', async () => {
	for (const name of ['limit', 'skip']) assertError(await ask(server, 'GET', `/_all_dbs?${name}=`), 400, 'query_parse_error', 'Invalid value for integer: []');
	for (const name of ['descending', 'inclusive_end']) assertError(await ask(server, 'GET', `/_all_dbs?${name}=`), 400, 'query_parse_error', 'Invalid boolean parameter: []');
	for (const keys of [1, null, 'a', {}]) assertError(await ask(server, 'POST', '/_dbs_info', { json: { keys } }), 400, 'bad_request', '`keys` member must be an array.');
});

test('full-text search answers as that of a CouchDB without its services', async () => {
	const db = await newDb(server);
	await ask(server, 'PUT', `/${db}/_design/d`, { json: {} });
	for (const place of ['_search/i', '_search_info/i', '_nouveau/i', '_nouveau_info/i']) {
		const answer = await ask(server, 'GET', `/${db}/_design/d/${place}`);
		if (place.startsWith('_search')) assertError(answer, 503, 'service unavailable', 'Search is not available');
		else assertError(answer, 404, 'not_found', 'missing');
		assertError(await ask(server, 'GET', `/${db}/_design/none/${place}`), 404, 'not_found', 'missing');
	}
	for (const place of ['_search_cleanup', '_nouveau_cleanup']) assert.equal((await ask(server, 'POST', `/${db}/${place}`, { json: {} })).status, 202);
});

test('leaves and listed revisions come by generation and hash, what is missing behind them, each once', async () => {
	const db = await newDb(server);
	const docs = ['2-c', '1-d', '2-b', '2-e'].map((rev) => ({ _id: 'a', _rev: rev, ...(rev === '2-b' && { _deleted: true }) }));
	await ask(server, 'POST', `/${db}/_bulk_docs`, { json: { new_edits: false, docs } });
	const revs = async (list, query = '') => (await ask(server, 'GET', `/${db}/a?open_revs=${encodeURIComponent(list)}${query}`, { headers: { accept: 'application/json' } })).json
		.map((item) => item.missing ?? item.ok._rev);
	assert.deepEqual(await revs('all'), ['1-d', '2-b', '2-c', '2-e']);
	assert.deepEqual(await revs('["9-x","2-e","1-d","3-x","2-e","9-x"]'), ['1-d', '2-e', '3-x', '9-x']);
	assert.deepEqual(await revs('["2-c","1-d"]', '&latest=true'), ['1-d', '2-c']);
	const { json } = await ask(server, 'POST', `/${db}/_bulk_get`, { json: { docs: [{ id: 'a' }] } });
	assert.deepEqual(json.results[0].docs.map((d) => d.ok._rev), ['1-d', '2-b', '2-c', '2-e']);
	const tree = [['2-b', '1-a'], ['2-c', '1-a'], ['2-a', '1-a']].map(([rev, from]) => ({ _id: 't', _rev: rev, _revisions: { start: 2, ids: [rev.slice(2), from.slice(2)] } }));
	await ask(server, 'POST', `/${db}/_bulk_docs`, { json: { new_edits: false, docs: tree } });
	const latest = await ask(server, 'POST', `/${db}/_bulk_get?latest=true`, { json: { docs: [{ id: 't', rev: '1-a' }] } });
	assert.deepEqual(latest.json.results[0].docs.map((d) => d.ok._rev), ['2-a', '2-b', '2-c']);
});

test('_bulk_get as multipart: parts with attachments, asked for or not, say whose they are', async () => {
	const db = await newDb(server);
	const id = 'ä b';
	const { json: { rev } } = await ask(server, 'PUT', `/${db}/${encodeURIComponent(id)}`, { json: { _attachments: { a: { data: 'aGVsbG8=', content_type: 'image/png' } } } });
	await ask(server, 'PUT', `/${db}/x%0D%0AX-Bad:1`, { json: { _attachments: { a: { data: 'aGVsbG8=' } } } });
	const get = async (docs) => (await ask(server, 'POST', `/${db}/_bulk_get`, { json: { docs }, headers: { accept: 'multipart/mixed' } })).text;
	const text = await get([{ id }]);
	assert.ok(text.includes(`\r\nX-Doc-Id: ${id}\r\nX-Rev-Id: ${rev}\r\nContent-Type: multipart/related; boundary=`), text);
	assert.match(text, /"follows":true[^]*\r\n\r\nhello\r\n--/);
	assert.doesNotMatch(await get([{ id: 'x\r\nX-Bad:1' }]), /X-Bad:1\r\n|X-Doc-Id/);
	assert.match(await get([{ id, atts_since: [rev] }]), /"stub":true/);
});

test('an attachment that is to go is looked for before its revision is asked for', async () => {
	const db = await newDb(server);
	await ask(server, 'PUT', `/${db}/a`, { json: { _attachments: { b: { data: '' } } } });
	assertError(await ask(server, 'DELETE', `/${db}/a/none`), 404, 'not_found', 'Document is missing attachment');
	assertError(await ask(server, 'DELETE', `/${db}/a/b`), 409, 'conflict');
	assertError(await ask(server, 'DELETE', `/${db}/none/b`), 404, 'not_found', 'missing');
});

test('batch=ok is heeded by PUT and POST of documents alone, _local ones too', async () => {
	const db = await newDb(server);
	const local = await ask(server, 'PUT', `/${db}/_local/a?batch=ok`, { json: {} });
	assert.deepEqual([local.status, local.json, local.headers.location, local.headers.etag], [202, { ok: true, id: '_local/a' }, undefined, undefined]);
	assert.equal((await ask(server, 'GET', `/${db}/_local/a`)).json._rev, '0-1');
	const { json: { rev } } = await ask(server, 'PUT', `/${db}/a/b?batch=ok`, { headers: { 'content-type': 'text/plain' }, body: 'x' });
	const gone = await ask(server, 'DELETE', `/${db}/a?batch=ok&rev=${rev}`);
	assert.deepEqual([gone.status, Object.keys(gone.json)], [200, ['ok', 'id', 'rev']]);
	// Nor by documents that come in parts or as a form.
	const related = await ask(server, 'PUT', `/${db}/parts?batch=ok`, { type: 'multipart/related; boundary=b', body: '--b\r\n\r\n{"n":1}\r\n--b--' });
	assert.deepEqual([related.status, related.headers.etag], [201, `"${related.json.rev}"`]);
	const form = await ask(server, 'POST', `/${db}/form?batch=ok`, {
		type: 'multipart/form-data; boundary=b', headers: { referer: server.url }, body: '--b\r\nContent-Disposition: form-data; name="_doc"\r\n\r\n{"n":1}\r\n--b--',
	});
	assert.deepEqual([form.status, form.headers.etag], [201, `"${form.json.rev}"`]);
	const updates = { again: 'function () { return [{ _id: "form" }, "done"]; }' };
	assert.equal((await ask(server, 'PUT', `/${db}/_design/d`, { json: { updates } })).status, 201);
	assertError(await ask(server, 'POST', `/${db}/_design/d/_update/again?batch=ok`, { json: {} }), 409, 'conflict');
});

test('encodings of bodies that are not known, or not what they say', async () => {
	const db = await newDb(server);
	const put = (encoding) => ask(server, 'PUT', `/${db}/a`, { headers: { 'content-type': 'application/json', 'content-encoding': encoding }, body: '{}' });
	assertError(await put('deflate'), 415, 'bad_content_type', 'deflate is not a supported content encoding.');
	assertError(await put('gzip'), 400, 'bad_request', 'Request body is not properly gzipped.');
});

test('paths that lead nowhere', async () => {
	const db = await newDb(server);
	assertError(await ask(server, 'GET', `/${db}/_local%2F`), 400, 'bad_request', 'Invalid _local document id.');
	for (const method of ['GET', 'PUT', 'DELETE']) {
		assertError(await ask(server, method, '/_node/_local/_config/cluster/q/more', { json: method === 'PUT' ? '1' : undefined }), 404, 'not_found', 'missing');
	}
	assertError(await ask(server, 'GET', '/_node/none@here/_config'), 404, 'not_found', 'no such node: none@here');
});

test('limits hold as soon as they are set', async () => {
	const one = await startDivand();
	try {
		const db = await newDb(one);
		const set = async (key, value) => assert.equal((await ask(one, value ? 'PUT' : 'DELETE', `/_node/_local/_config/${key}`, { json: value })).status, 200);
		const text = 'x'.repeat(200);
		let serial = 0;
		const status = {
			doc: async () => (await ask(one, 'PUT', `/${db}/${++serial}`, { json: { text } })).status,
			attachment: async () => (await ask(one, 'PUT', `/${db}/${++serial}/att`, { body: text, type: 'app/binary' })).status,
		};
		for (const [key, what] of [['couchdb/max_document_size', 'doc'], ['couchdb/max_attachment_size', 'attachment'], ['chttpd/max_http_request_size', 'doc']]) {
			assert.equal(await status[what](), 201);
			await set(key, '100');
			assert.equal(await status[what](), 413, key);
			await set(key);
			assert.equal(await status[what](), 201);
		}
	} finally {
		await one.stop();
	}
});

test('reduce_limit says what becomes of a result that does not shrink', async () => {
	const db = await newDb(server);
	const set = async (value) => assert.equal((await ask(server, value ? 'PUT' : 'DELETE', '/_node/_local/_config/query_server_config/reduce_limit', { json: value })).status, 200);
	const map = 'function(doc) { for (var i = 0; i < 3000; i++) emit(i, "text that is as long as this") }';
	const reduce = 'function(keys, values, again) { return again ? [].concat.apply([], values) : values }';
	assert.equal((await ask(server, 'PUT', `/${db}/a`, { json: {} })).status, 201);
	const row = async (ddoc) => (await ask(server, 'GET', `/${db}/_design/${ddoc}/_view/v`)).json.rows[0];
	const value = Array(3000).fill('text that is as long as this');
	// A large result that an index has been given stays, so each begins with an index of its own.
	for (const [ddoc, limits] of Object.entries({ a: ['true', 'log'], b: ['false'], c: ['true', 'false'] })) {
		const views = { v: { map: `${map}//${ddoc}`, reduce } };
		assert.equal((await ask(server, 'PUT', `/${db}/_design/${ddoc}`, { json: { views } })).status, 201);
		for (const limit of limits) {
			await set(limit);
			const told = await row(ddoc);
			if (limit === 'log' || limit === 'false') assert.deepEqual(told, { key: null, value });
			else assert.equal(told.error, 'reduce_overflow_error');
		}
	}
	await set();
	assertError(await ask(server, 'PUT', '/_node/_local/_config/query_server_config/reduce_limit', { json: 'maybe' }), 400, 'bad_request');
});

test('reduce_limit is in the tags of what a reduce function makes, and of nothing else', async () => {
	const db = await newDb(server);
	const setting = '/_node/_local/_config/query_server_config/reduce_limit';
	const map = 'function(doc) { for (var i = 0; i < 3000; i++) emit(i, "text that is as long as this") }';
	const reduce = 'function(keys, values, again) { return again ? [].concat.apply([], values) : values }';
	const views = { script: { map, reduce }, count: { map, reduce: '_count' } };
	await ask(server, 'PUT', `/${db}/_design/d`, { json: { views } });
	assert.equal((await ask(server, 'PUT', `/${db}/a`, { json: {} })).status, 201);
	const paths = ['script', 'count', 'script?reduce=false&limit=1'].map((view) => `/${db}/_design/d/_view/${view}`);
	const tags = [];
	for (const path of paths) tags.push((await ask(server, 'GET', path)).headers.etag);
	const statuses = async () => {
		const all = [];
		for (const [i, path] of paths.entries()) all.push((await ask(server, 'GET', path, { headers: { 'If-None-Match': tags[i] } })).status);
		return all;
	};
	assert.deepEqual(await statuses(), [304, 304, 304]);
	assert.equal((await ask(server, 'PUT', setting, { json: 'false' })).status, 200);
	assert.deepEqual(await statuses(), [200, 304, 304]);
	assert.equal((await ask(server, 'DELETE', setting)).status, 200);
	assert.deepEqual(await statuses(), [304, 304, 304]);
});

test('the node is told by one name everywhere, and is found by it', async () => {
	const { name } = (await ask(server, 'GET', '/_node/_local')).json;
	assert.deepEqual((await ask(server, 'GET', '/_membership')).json, { all_nodes: [name], cluster_nodes: [name] });
	const db = await newDb(server);
	assert.deepEqual(Object.values((await ask(server, 'GET', `/${db}/_shards`)).json.shards), [[name]]);
	for (const at of ['_local', name, encodeURIComponent(name), '%5Flocal']) {
		assert.deepEqual((await ask(server, 'GET', `/_node/${at}`)).json, { name }, at);
		for (const what of ['_config/log', '_stats', '_system', '_versions', '_smoosh/status', '_prometheus']) assert.equal((await ask(server, 'GET', `/_node/${at}/${what}`)).status, 200, `${at}/${what}`);
	}
	for (const no of ['no', 'none@here', 'none%40here', `${name}x`]) {
		for (const what of ['', '/_config', '/_stats']) assertError(await ask(server, 'GET', `/_node/${no}${what}`), 404, 'not_found', `no such node: ${decodeURIComponent(no)}`);
	}
	assert.equal((await ask(server, 'GET', '/_node/_local%00')).status, 404);
});

test('a server that is to be left alone says so at /_up', async () => {
	const set = async (method, json) => assert.equal((await ask(server, method, '/_node/_local/_config/couchdb/maintenance_mode', { json })).status, 200);
	for (const [value, status] of [['true', 'maintenance_mode'], ['nolb', 'nolb']]) {
		await set('PUT', value);
		const answer = await ask(server, 'GET', '/_up');
		assert.deepEqual([answer.status, answer.json], [404, { status }]);
		assert.equal((await ask(server, 'GET', '/')).status, 200);
	}
	await set('DELETE');
	assert.deepEqual((await ask(server, 'GET', '/_up')).json, { status: 'ok', seeds: {} });
});

test('keys and a range of ids of one view: what lies in the range, of each key', async () => {
	const db = await newDb(server);
	const docs = Array.from({ length: 30 }, (_, n) => ({ _id: String(n).padStart(2, '0'), n: n % 3 }));
	docs.push({ _id: '_design/d', views: { v: { map: 'function (doc) { emit(doc.n, 1) }' }, c: { map: 'function (doc) { emit(doc.n, 1) }', reduce: '_count' } } });
	await ask(server, 'POST', `/${db}/_bulk_docs`, { json: { docs } });
	const rows = async (query, json, view = 'v') => {
		const { json: answer } = await ask(server, json ? 'POST' : 'GET', `/${db}/_design/d/_view/${view}?${query}`, { json });
		return answer.rows.map((row) => row.id ?? `${row.key}:${row.value}`).join();
	};
	const keys = [0, 2];
	const [given, range] = [`keys=${JSON.stringify(keys)}`, 'startkey_docid=09&endkey_docid=15'];
	for (const json of [undefined, { keys }]) {
		const all = json ? range : `${range}&${given}`;
		assert.equal(await rows(all, json), '09,12,15,11,14');
		assert.equal(await rows(`${all}&inclusive_end=false`, json), '09,12,11,14');
		assert.equal(await rows(`${all}&skip=1&limit=3`, json), '12,15,11');
		assert.equal(await rows(`${all}&group=true`, json, 'c'), '0:3,2:2');
	}
	assert.equal(await rows(`${given}&startkey_docid=15&endkey_docid=09&descending=true`), '14,11,15,12,09');
	assert.equal(await rows(`${given}&startkey_docid=15&endkey_docid=09`), '');
	assert.equal(await rows(`${given}&startkey_docid=26`), '27,26,29');
});

test('_info of an index counts in numbers', async () => {
	const db = await newDb(server);
	await ask(server, 'PUT', `/${db}/_design/d`, { json: { views: { v: { map: 'function (doc) { emit(doc._id, 1) }' } } } });
	for (const _id of ['a', 'b']) await ask(server, 'PUT', `/${db}/${_id}`, { json: {} });
	assert.equal((await ask(server, 'GET', `/${db}/_design/d/_view/v`)).json.total_rows, 2);
	const { update_seq, purge_seq } = (await ask(server, 'GET', `/${db}/_design/d/_info`)).json.view_index;
	assert.deepEqual([update_seq, purge_seq], [3, 0]);
});

test('names of reductions may have anything behind them, those with a number nothing', async () => {
	const db = await newDb(server);
	const map = 'function (doc) { emit(doc._id, doc.n) }';
	await ask(server, 'POST', `/${db}/_bulk_docs`, { json: { docs: [1, 2, 3].map((n) => ({ _id: `${n}`, n })) } });
	const stats = { sum: 6, count: 3, min: 1, max: 3, sumsqr: 14 };
	for (const [reduce, value] of [['_sum\n', 6], ['_sumorama', 6], ['_count ', 3], ['_stats\nare\nawesome', stats], ['_approx_count_distinct, about', 3], ['_firstling', 1], ['_last\n', 3]]) {
		const path = `/${db}/_design/${encodeURIComponent(reduce)}`;
		assert.equal((await ask(server, 'PUT', path, { json: { views: { v: { map, reduce } } } })).status, 201, reduce);
		assert.deepEqual((await ask(server, 'GET', `${path}/_view/v`)).json.rows, [{ key: null, value }], reduce);
	}
	for (const reduce of ['_su', '_SUM', '_top_3 ', '_bottom_', ' _sum_']) assert.notEqual((await ask(server, 'PUT', `/${db}/_design/no`, { json: { views: { v: { map, reduce } } } })).status, 201, reduce);
});

test('what is too large is told by the id in its body, or by its name', async () => {
	const small = await startDivand({ config: { couchdb: { max_document_size: 100, max_attachment_size: 10 } } });
	try {
		const db = await newDb(small);
		const text = 'x'.repeat(120);
		const large = async (error, reason, method, path, options) => {
			const { status, json } = await ask(small, method, `/${db}${path}`, options);
			assert.deepEqual([status, json], [413, { error, reason }]);
		};
		for (const [doc, reason] of [[{ text }, ''], [{ _id: 'a', text }, 'a']]) {
			for (const [method, path, json] of [['POST', '/_bulk_docs', { docs: [{ n: 1 }, doc] }], ['POST', '', doc], ['PUT', '/a', doc]]) await large('document_too_large', reason, method, path, { json });
		}
		const name = 'ä name.txt';
		const tooLarge = (...args) => large('attachment_too_large', name, ...args);
		await tooLarge('PUT', `/a/${encodeURIComponent(name)}`, { body: text });
		const _attachments = { small: { data: '' }, [name]: { data: Buffer.from(text).toString('base64') } };
		await tooLarge('PUT', '/a', { json: { _attachments } });
		await tooLarge('POST', '/_bulk_docs', { json: { docs: [{ n: 1 }, { _attachments }] } });
		for (const length of [120, undefined]) {
			const stub = JSON.stringify({ _attachments: { [name]: { follows: true, content_type: 'text/plain', length } } });
			await tooLarge('PUT', '/a', { body: `--b\r\nContent-Type: application/json\r\n\r\n${stub}\r\n--b\r\n\r\n${text}\r\n--b--`, headers: { 'Content-Type': 'multipart/related;boundary=b' } });
		}
		await ask(small, 'PUT', `/${db}/a`, { json: {} });
		const form = `--b\r\nContent-Disposition: form-data; name="_rev"\r\n\r\n1-967a00dff5e02add41819138abb3284d\r\n--b\r\nContent-Disposition: form-data; name="_attachments"; filename="${name}"\r\n\r\n${text}\r\n--b--`;
		await tooLarge('POST', '/a', { body: form, headers: { 'Content-Type': 'multipart/form-data;boundary=b', Referer: small.url } });
	} finally {
		await small.stop();
	}
});

test('the server calls itself by the CouchDB whose API it has', async () => {
	const { json, headers } = await ask(server, 'GET', '/');
	assert.match(headers.server, new RegExp(`^CouchDB/${json.version.replaceAll('.', '\\.')} \\(Divan/[^ ]+\\)$`));
});

// What PouchDB's suites want of servers.

test('keys and a range of ids do not go together', async () => {
	const db = await newDb(server);
	for (const bound of ['startkey', 'start_key', 'endkey', 'end_key', 'key']) {
		const path = `/${db}/_all_docs?${bound}=%22a%22`;
		const reason = '`keys` is incompatible with `key`, `start_key` and `end_key`';
		assertError(await ask(server, 'POST', path, { json: { keys: ['a', 'b'] } }), 400, 'query_parse_error', reason);
		assertError(await ask(server, 'POST', path, { json: { keys: ['b'] } }), 400, 'query_parse_error', reason);
		assert.deepEqual((await ask(server, 'POST', path, { json: { keys: [] } })).json.rows, []);
	}
});

test('_local documents: what is not there is missing whatever revision is named; _revisions are not looked at', async () => {
	const db = await newDb(server);
	for (const rev of ['1-fake', '0-7', 'x']) assertError(await ask(server, 'DELETE', `/${db}/_local/no?rev=${rev}`), 404, 'not_found');
	assert.equal((await ask(server, 'PUT', `/${db}/_local/yes`, { json: {} })).json.rev, '0-1');
	const json = { _rev: '0-1', _revisions: { start: 0, ids: ['1'] } };
	assert.equal((await ask(server, 'PUT', `/${db}/_local/yes`, { json })).json.rev, '0-2');
	assert.equal((await ask(server, 'DELETE', `/${db}/_local/yes?rev=1-fake`)).status, 400);
	for (const query of ['', '?new_edits=false']) {
		for (const body of [{ _revisions: json._revisions }, json]) assertError(await ask(server, 'PUT', `/${db}/doc${query}`, { json: body }), 400, 'bad_request');
		assertError(await ask(server, 'PUT', `/${db}/doc${query}`, { json: { _revisions: { start: 1, ids: ['b', 'a'] } } }), 400, 'doc_validation');
	}
	const bulk = await ask(server, 'POST', `/${db}/_bulk_docs`, { json: { new_edits: false, docs: [{ _id: 'doc', ...json }] } });
	assert.ok(bulk.status === 400 || bulk.json[0].error, bulk.text);
	assert.equal((await ask(server, 'GET', `/${db}`)).json.doc_count, 0);
});

test('_local documents have revisions 0-N alone, whatever way they come', async () => {
	const db = await newDb(server);
	const ways = { PUT: (doc) => ['PUT', `/${db}/_local/x`, doc], POST: (doc) => ['POST', `/${db}`, doc], bulk: (doc) => ['POST', `/${db}/_bulk_docs`, { docs: [doc] }], replicated: (doc) => ['POST', `/${db}/_bulk_docs`, { docs: [doc], new_edits: false }] };
	for (const [way, request] of Object.entries(ways)) {
		for (const _rev of ['0-abc', '0-1x', '0-', '1-a', `0-${'1'.repeat(30)}`]) {
			const [method, path, json] = request({ _id: '_local/x', _rev });
			const { status, text } = await ask(server, method, path, { json });
			assert.deepEqual([status, text.trim()], [400, '{"error":"bad_request","reason":"Invalid rev format"}'], `${way} ${_rev}`);
		}
	}
	assert.equal((await ask(server, 'GET', `/${db}/_local/x`)).status, 404);
});

test('a semicolon ends a parameter of the query, as an ampersand does', async () => {
	const db = await newDb(server, 'semicolons');
	for (const name of ['a', 'b', 'c']) await ask(server, 'POST', `/${db}/_index`, { json: { index: { fields: [name] }, name } });
	const count = async (query) => (await ask(server, 'GET', `/${db}/_index?${query}`)).json.indexes.length;
	for (const [query, n] of [['limit=2;', 2], ['limit=5;skip=3', 1], [';skip=4', 0], [';', 4], ['limit=3&;skip=2;&', 2]]) assert.equal(await count(query), n, query);
	await ask(server, 'PUT', `/${db}/x;y`, { json: {} });
	assert.deepEqual((await ask(server, 'GET', `/${db}/_all_docs?key=%22x%3By%22`)).json.rows.map((row) => row.id), ['x;y']);
	assert.equal((await ask(server, 'GET', `/${db}/x;y`)).status, 200);
});

test('a sort that no index serves: in a partitioned database the words say which indexes were looked at', async () => {
	const db = 'parts-sort';
	await ask(server, 'PUT', `/${db}?partitioned=true`);
	const reason = async (path, more) => {
		const answer = await ask(server, 'POST', `/${db}/${path}`, { json: { selector: { n: 1 }, sort: ['n'], ...more } });
		assertError(answer, 400, 'no_usable_index');
		return answer.json.reason;
	};
	for (const [path, more] of [['_partition/x/_find'], ['_find', { partition: 'x' }]]) assert.equal(await reason(path, more), 'No partitioned index exists for this sort, try indexing by the sort fields.');
	assert.equal(await reason('_find'), 'No global index exists for this sort, try indexing by the sort fields.');
});
