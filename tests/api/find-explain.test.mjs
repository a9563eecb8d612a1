// _explain with plan=true: what is read, and what of it _find then reads; and what it does not tell.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startDivand } from '../lib/divand.mjs';
import { ask, newDb } from './client.mjs';

let server, db;
before(async () => {
	server = await startDivand({ config: { chttpd_auth: { iterations: '1000' } } });
	db = await newDb(server);
	const docs = Array.from({ length: 600 }, (_, i) => ({ _id: `d${String(i).padStart(3, '0')}`, n: i, kind: i % 2 ? 'odd' : 'even', price: i % 10, ...(i % 50 ? {} : { tag: `t${i}` }) }));
	assert.equal((await ask(server, 'POST', `/${db}/_bulk_docs`, { json: { docs } })).status, 201);
	for (const [ddoc, fields, partial_filter_selector] of [['n', ['n']], ['kn', ['kind', 'n']], ['tag', ['tag']], ['part', ['price'], { kind: 'odd' }]]) {
		const r = await ask(server, 'POST', `/${db}/_index`, { json: { index: { fields, partial_filter_selector }, ddoc, name: ddoc } });
		assert.equal(r.json.result, 'created', r.text);
	}
	/* All are built, so that their rows are known. */
	for (const [ddoc, selector] of [['n', { n: 1 }], ['kn', { kind: 'odd', n: 1 }], ['tag', { tag: 't0' }], ['part', { price: 1, kind: 'odd' }]])
		assert.equal((await find({ selector, use_index: ddoc })).warning, undefined);
});
after(() => server?.stop());

async function post(path, body, options = {}) {
	const r = await ask(server, 'POST', path, { json: body, ...options });
	assert.equal(r.status, 200, r.text);
	return r.json;
}
const find = (body) => post(`/${db}/_find`, { execution_stats: true, limit: 1000, ...body });
const explain = (body, query = '?plan=true') => post(`/${db}/_explain${query}`, { limit: 1000, ...body });

test('without plan=true the answer is CouchDB\'s', { timeout: 60000 }, async () => {
	for (const query of ['', '?plan=false']) {
		const r = await explain({ selector: { n: 5 } }, query);
		assert.deepEqual(Object.keys(r), ['dbname', 'index', 'partitioned', 'selector', 'opts', 'limit', 'skip', 'fields', 'index_candidates', 'selector_hints', 'mrargs', 'covering']);
		for (const c of r.index_candidates) assert.deepEqual(Object.keys(c.analysis), ['usable', 'reasons', 'ranking', 'covering']);
	}
	const none = await explain({ selector: { zip: 5 }, sort: ['zip'] });
	assert.equal(none.index, null);
	assert.ok(!('mrargs' in none) && !('plan' in none) && !('covering' in none));
});

test('every option is told as it was given', { timeout: 60000 }, async () => {
	const given = { use_index: ['kn', 'kn'], bookmark: 'x', limit: 7, skip: 3, sort: [{ kind: 'desc' }, { n: 'desc' }], fields: ['n', 'a.b'], r: 3, conflicts: true, stale: 'ok', update: true, stable: false, execution_stats: true, allow_fallback: false };
	const r = await explain({ selector: { kind: 'odd', n: { $gt: 5 } }, ...given }, '');
	assert.deepEqual(r.opts, { ...given, sort: { kind: 'desc', n: 'desc' }, partition: '' });
	assert.deepEqual([r.limit, r.skip, r.fields], [7, 3, ['n', 'a.b']]);
	assert.deepEqual(r.mrargs, { include_docs: true, view_type: 'map', reduce: false, partition: null, start_key: ['odd', '<MAX>'], end_key: ['odd', 5], direction: 'rev', stable: true, update: false, conflicts: true });
});

/** [title, query, way, indexes of the parts, ranges of each, covered]: the rows are those that _find then examines. */
const WAYS = [
	['all documents', { selector: { price: 3 } }, 'all_docs', [null], false],
	['ids', { selector: { _id: { $gte: 'd590' } } }, 'all_docs', [null], false],
	['one index', { selector: { n: { $gte: 150 } } }, 'index', ['n'], false],
	['one index, downward', { selector: { n: { $gt: 150 } }, sort: [{ n: 'desc' }] }, 'index', ['n'], false],
	['an index that covers', { selector: { n: { $lt: 20 } }, fields: ['n', '_id'] }, 'index', ['n'], true],
	['several ranges', { selector: { n: { $in: [1, 5, 9] } } }, 'ranges', ['n'], false],
	['several ranges that cover', { selector: { n: { $in: [1, 5, 9] } }, fields: ['n'] }, 'ranges', ['n'], true],
	['a partial index', { selector: { price: 5, kind: 'odd' }, use_index: 'part' }, 'index', ['part'], false],
	['what nothing can match', { selector: { n: { $gt: 5, $lt: 3 } } }, 'index', ['n'], false],
	['no branch at all', { selector: { $and: [] } }, 'all_docs', [null], false],
];
for (const [title, query, way, indexes, covered] of WAYS) {
	test(`a plan: ${title}`, { timeout: 60000 }, async () => {
		const r = await explain(query), { plan } = r;
		const { execution_stats: stats = { total_keys_examined: 0 }, docs } = await find(query);
		assert.equal(plan.way, way);
		assert.deepEqual(plan.parts.map((p) => p.index?.name ?? null), indexes);
		assert.deepEqual([plan.covered, r.covering, r.mrargs.include_docs], [covered, covered, !covered]);
		assert.equal(plan.documents, 604);
		const rows = plan.parts.reduce((n, p) => n + p.rows, 0);
		/* Of ids, an end that is not included counts. */
		assert.ok(rows >= stats.total_keys_examined && rows <= stats.total_keys_examined + 1, `${rows} rows, ${stats.total_keys_examined} examined`);
		if (covered) assert.equal(stats.total_docs_examined, 0);
		if (plan.exact) assert.equal(docs.length, rows);
		assert.ok(r.index_candidates.every((c) => 'rows' in c.analysis));
	});
}

test('a plan of several parts tells the branch of each', { timeout: 60000 }, async () => {
	const query = { selector: { $or: [{ n: 7 }, { kind: 'odd', n: { $lt: 4 } }, { tag: 't100' }] }, fields: ['_id'] };
	const { plan } = await explain(query);
	const found = (await find(query)).docs.map((d) => d._id).sort();
	assert.deepEqual(found, ['d001', 'd003', 'd007', 'd100']);
	assert.equal(plan.way, 'union');
	assert.ok(plan.parts.length > 1 && plan.parts.every((p) => p.branch));
	const each = await Promise.all(plan.parts.map((p) => find({ selector: p.branch, fields: ['_id'] })));
	assert.deepEqual([...new Set(each.flatMap((r) => r.docs.map((d) => d._id)))].sort(), found);
});

test('who does not see all documents is told no numbers of them', { timeout: 60000 }, async () => {
	for (const name of ['ann', 'bob']) assert.equal((await ask(server, 'PUT', `/_users/org.couchdb.user:${name}`, { json: { name, password: 'pw', roles: [], type: 'user' } })).status, 201);
	assert.equal((await ask(server, 'PUT', '/_node/_local/_config/couchdb/users_db_security_editable', { json: 'true' })).status, 200);
	assert.equal((await ask(server, 'PUT', '/_users/_security', { json: { admins: { names: [], roles: ['_admin'] }, members: { names: [], roles: [] } } })).status, 200);
	const auth = `Basic ${Buffer.from('ann:pw').toString('base64')}`;
	const answers = [];
	for (const name of ['bob', 'zed']) {
		const body = { selector: { _id: `org.couchdb.user:${name}` }, execution_stats: true };
		const found = await post('/_users/_find', body, { auth });
		const text = JSON.stringify([{ ...found, execution_stats: { ...found.execution_stats, execution_time_ms: 0 } }, await post('/_users/_explain?plan=true', body, { auth })]);
		answers.push(text.replaceAll(name, ''));
	}
	assert.equal(answers[0], answers[1]);
	assert.match(answers[0], /"rows":null/);
	const mine = await post('/_users/_find', { selector: {}, fields: ['name'], execution_stats: true }, { auth });
	assert.deepEqual([mine.docs, mine.execution_stats.total_keys_examined], [[{ name: 'ann' }], 1]);
});
