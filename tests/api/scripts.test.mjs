// Users' functions and each other: what loops, dies or floods costs its own request, and no other database waits for it.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { after, before, test } from 'node:test';
import { startDivand } from '../lib/divand.mjs';
import { until } from '../lib/until.mjs';
import { ask, newDb } from './client.mjs';

const LOOP = 'for (;;);';
let server;
before(async () => {
	server = await startDivand({ config: { couchdb: { os_process_timeout: '600' }, query_server_config: { os_process_limit: '4' } } });
});
after(() => server?.stop());

const stat = async (name) => (await ask(server, 'GET', `/_node/_local/_stats/${name}`)).json.value;
const design = async (body) => {
	const db = await newDb(server);
	const r = await ask(server, 'PUT', `/${db}/_design/d`, { json: body });
	assert.equal(r.status, 201, r.text);
	return db;
};

test('fifty requests of a database that loop keep nobody of another from filters, updates, shows, views and validators', async () => {
	const looping = await design({
		filters: { l: `function () { ${LOOP} }` }, updates: { l: `function () { ${LOOP} }` }, shows: { l: `function () { ${LOOP} }` },
		views: Object.fromEntries(Array.from({ length: 10 }, (_, i) => [`v${i}`, { map: `function () { ${LOOP} }` }])),
	});
	const other = await design({
		filters: { f: 'function (doc) { return doc.n > 1; }' }, updates: { u: 'function (doc, req) { return [{ _id: req.uuid }, "done"]; }' },
		shows: { s: 'function () { return "shown"; }' }, views: { v: { map: 'function (doc) { emit(doc.n); }', reduce: 'function (k, v) { return v.length; }' } },
		validate_doc_update: 'function (doc) { if (doc.n < 0) throw({ forbidden: "negative" }); }',
	});
	assert.equal((await ask(server, 'PUT', `/${looping}/a`, { json: {} })).status, 201);
	let over = 0;
	const loops = Array.from({ length: 50 }, async (_, i) => {
		const r = await ask(server, ...[['GET', `/${looping}/_changes?filter=d/l`], ['POST', `/${looping}/_design/d/_update/l`], ['GET', `/${looping}/_design/d/_show/l`],
			['GET', `/${looping}/_design/d/_view/v${i % 10}`], ['GET', `/${looping}/_changes?filter=_view&view=d/v1`]][i % 5]);
		over++;
		assert.ok(r.status === 500 || r.status === 503, r.text);
	});
	await until(async () => (await stat('couchdb/query_server/acquired_processes')) >= 2);
	for (let i = 0; i < 5; i++) {
		assert.equal((await ask(server, 'PUT', `/${other}/n${i}`, { json: { n: i } })).status, 201);
		assert.equal((await ask(server, 'PUT', `/${other}/bad`, { json: { n: -1 } })).status, 403);
		assert.equal((await ask(server, 'POST', `/${other}/_design/d/_update/u`)).text, 'done');
		assert.equal((await ask(server, 'GET', `/${other}/_design/d/_show/s`)).text, 'shown');
		assert.equal((await ask(server, 'GET', `/${other}/_design/d/_view/v`)).status, 200);
		assert.equal((await ask(server, 'GET', `/${other}/_changes?filter=d/f`)).json.results.length, Math.max(0, i - 1));
	}
	// Two of the fifty are run at a time: had the others stood behind them, all but a few were over.
	assert.ok(over < 40, `${over} of 50 were over`);
	await Promise.all(loops);
});

test('who makes a validator loop or die fails alone, wherever it stands in the batch, and pays once', async () => {
	const db = await design({ validate_doc_update: `function (doc) {
		if (doc.loop) ${LOOP}
		if (doc.bomb) { var s = 'x'; var all = []; for (;;) { s += s; all.push(s + all.length); } }
		if (doc.deep) (function f() { f(); })();
		if (doc.no) throw({ forbidden: 'no' }); }` });
	const docs = Array.from({ length: 300 }, (_, i) => ({ _id: `d${i}`, ...(i === 5 || i === 290 ? { loop: 1 } : i === 100 ? { bomb: 1 } : i === 7 ? { no: 1 } : i === 8 ? { deep: 1 } : {}) }));
	const before = await stat('couchdb/query_server/process_error_exits');
	const r = await ask(server, 'POST', `/${db}/_bulk_docs`, { json: { docs } });
	assert.equal(r.status, 201, r.text);
	const bad = new Set([5, 290, 100, 7, 8]);
	for (const [i, row] of r.json.entries()) assert.equal('error' in row, bad.has(i), `${i}: ${JSON.stringify(row)}`);
	assert.deepEqual([r.json[5].error, r.json[5].reason], ['os_process_error', 'OS process timed out.']);
	assert.equal(r.json[7].error, 'forbidden');
	// Each that loops or dies costs a process, and the message that met the first costs one more.
	assert.ok((await stat('couchdb/query_server/process_error_exits')) - before <= 4);
	assert.equal((await ask(server, 'GET', `/${db}`)).json.doc_count, 296);
});

test('a batch of nothing but loops ends after a few timeouts, not one for each', async () => {
	const db = await design({ validate_doc_update: `function (doc) { if (!doc.good) ${LOOP} }` });
	const before = await stat('couchdb/query_server/process_error_exits');
	const r = await ask(server, 'POST', `/${db}/_bulk_docs`, { json: { docs: Array.from({ length: 300 }, (_, i) => ({ _id: `d${i}`, ...(i === 0 && { good: 1 }) })) } });
	assert.equal(r.status, 201, r.text);
	assert.ok(r.json.every((row, i) => (i === 0 ? row.ok : row.error === 'os_process_error')));
	// A fifth of the timeout each, for two timeouts.
	assert.ok((await stat('couchdb/query_server/process_error_exits')) - before <= 12);
});

test('POST /_reload_query_servers ends the processes, and statistics count them', async () => {
	const db = await design({ shows: { s: 'function () { globalThis.n = (globalThis.n || 0) + 1; return String(globalThis.n); }' } });
	const show = async () => (await ask(server, 'GET', `/${db}/_design/d/_show/s`)).text;
	assert.equal(await show(), '1');
	assert.equal(await show(), '2');
	const exits = await stat('couchdb/query_server/process_exits');
	assert.deepEqual((await ask(server, 'POST', '/_reload_query_servers', { type: 'application/json' })).json, { ok: true });
	assert.equal(await stat('divan/query_server/processes'), 0);
	assert.ok((await stat('couchdb/query_server/process_exits')) > exits);
	assert.equal(await show(), '1');
	assert.equal((await ask(server, 'GET', '/_reload_query_servers')).status, 405);
	for (const type of [undefined, 'text/plain']) assert.equal((await ask(server, 'POST', '/_reload_query_servers', { type })).status, 415);
	const { text } = await ask(server, 'GET', '/_node/_local/_prometheus');
	for (const name of ['couchdb_query_server_process_starts_total', 'couchdb_query_server_vdu_rejects_total', 'divan_query_server_processes']) assert.match(text, new RegExp(`^${name} [1-9]`, 'm'));
});

test('a database that gets the name of one that was dropped meets nothing of its functions', async () => {
	const body = { shows: { s: 'function () { globalThis.n = (globalThis.n || 0) + 1; return String(globalThis.n); }' } };
	const db = await design(body);
	const show = async () => (await ask(server, 'GET', `/${db}/_design/d/_show/s`)).text;
	assert.deepEqual([await show(), await show()], ['1', '2']);
	assert.equal((await ask(server, 'DELETE', `/${db}`)).status, 200);
	assert.equal((await ask(server, 'PUT', `/${db}`)).status, 201);
	assert.equal((await ask(server, 'PUT', `/${db}/_design/d`, { json: body })).status, 201);
	assert.equal(await show(), '1');
});

test('query_limit and partition_query_limit bound what queries ask for, and what they get', async () => {
	const db = await design({ views: { v: { map: 'function (doc) { emit(doc._id); }', reduce: '_count' } } });
	const parted = await newDb(server);
	assert.equal((await ask(server, 'DELETE', `/${parted}`)).status, 200);
	assert.equal((await ask(server, 'PUT', `/${parted}?partitioned=true`)).status, 201);
	for (const name of [db, parted]) assert.equal((await ask(server, 'POST', `/${name}/_bulk_docs`, { json: { docs: Array.from({ length: 9 }, (_, i) => ({ _id: `p:${i}` })) } })).status, 201);
	const set = async (key, value) => assert.equal((await ask(server, 'PUT', `/_node/_local/_config/query_server_config/${key}`, { json: value })).status, 200);
	await set('query_limit', '4');
	await set('partition_query_limit', '2');
	for (const [path, n] of [[`${db}/_all_docs`, 4], [`${db}/_design/d/_view/v?reduce=false`, 4], [`${db}/_design/d/_view/v?group=true`, 4], [`${db}/_all_docs?limit=3`, 3], [`${parted}/_partition/p/_all_docs`, 2]]) {
		const r = await ask(server, 'GET', `/${path}`);
		assert.equal(r.status, 200, r.text);
		assert.equal(r.json.rows.length, n, path);
	}
	for (const [path, n] of [[`${db}/_all_docs?limit=5`, 4], [`${db}/_design/d/_view/v?reduce=false&limit=5`, 4], [`${parted}/_partition/p/_all_docs?limit=3`, 2]]) {
		const r = await ask(server, 'GET', `/${path}`);
		assert.deepEqual([r.status, r.json], [400, { error: 'query_parse_error', reason: `Limit is too large, must not exceed ${n}` }], path);
	}
	assert.equal((await ask(server, 'PUT', '/_node/_local/_config/query_server_config/query_limit', { json: 'many' })).status, 400);
});

test('what functions log is cut, not left out, and half a character cuts nothing', async () => {
	const db = await design({ shows: { s: 'function () { log("long " + "é".repeat(100000)); log("half " + "\\ud83d" + " whole"); return "logged"; }' } });
	assert.equal((await ask(server, 'GET', `/${db}/_design/d/_show/s`)).text, 'logged');
	await until(() => server.stderr().includes('half \ufffd whole'), 'the second line');
	const long = server.stderr().split('\n').find((line) => line.includes(': long é'));
	assert.ok(long, 'the first line');
	assert.ok(long.endsWith('é') && long.length > 1000, `${long.length} ${long.slice(-3)}`);
});

test('how a process ended is known also where whoever started divand ignores that its children end', async () => {
	const own = await startDivand({ through: ['env', '--ignore-signal=CHLD'] });
	try {
		const db = await newDb(own);
		assert.equal((await ask(own, 'PUT', `/${db}/_design/d`, { json: { shows: { s: `function () { ${LOOP} }` } } })).status, 201);
		const answer = ask(own, 'GET', `/${db}/_design/d/_show/s`);
		await until(async () => (await ask(own, 'GET', '/_node/_local/_stats/couchdb/query_server/process_prompts')).json.value > 0, 'the function runs');
		const children = fs.readdirSync(`/proc/${own.pid}/task`).flatMap((t) => fs.readFileSync(`/proc/${own.pid}/task/${t}/children`, 'latin1').split(' ').filter(Boolean));
		assert.equal(children.length, 1);
		process.kill(Number(children[0]), 'SIGTERM');
		const { status, text } = await answer;
		assert.equal(status, 500, text);
		assert.match(text, /\(signal 15\)/);
	} finally {
		await own.stop();
	}
});
