// What CouchDB's own tests ask of _changes (changes_test.exs, changes_async_test.exs), but for filters in JavaScript and Erlang.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startDivand } from '../lib/divand.mjs';
import { client, lines } from '../lib/wire.mjs';

let server, c;
before(async () => {
	server = await startDivand();
	c = client(server);
});
after(async () => {
	c.close();
	await server.stop();
});

const get = (path) => c.request('GET', path);
const put = async (path, json = {}) => {
	const r = await c.request('PUT', path, json);
	assert.equal(r.status, 201, r.text);
	return r.json;
};
const ids = (answer) => answer.json.results.map((row) => row.id);
const events = (text) => [...text.matchAll(/^data: (\{.*)$/gm)].map((m) => JSON.parse(m[1]).id);

test('a heartbeat is a positive number', async () => {
	const db = await c.db();
	for (const [value, reason] of [
		[-1000, 'The heartbeat value should be a positive integer (in milliseconds).'],
		['a1000', 'Invalid heartbeat value. Expecting a positive integer value (in milliseconds).'],
	]) {
		const { status, json } = await get(`${db}/_changes?feed=continuous&heartbeat=${value}`);
		assert.deepEqual([status, json], [400, { error: 'bad_request', reason }]);
	}
});

test('a filter that is not there', async () => {
	const db = await c.db();
	await put(`${db}/_design/there`, { filters: { some: 'function(doc) { return true; }' } });
	for (const filter of ['there/other', 'missing/some', 'missing/other']) assert.equal((await get(`${db}/_changes?filter=${filter}`)).status, 404, filter);
	assert.deepEqual(ids(await get(`${db}/_changes?filter=_design`)), ['_design/there']);
});

test('doc_ids, in a body, in the query, and in a feed that stays open', async () => {
	const db = await c.db();
	const wanted = { doc_ids: ['doc1', 'doc3', 'doc4'] };
	const post = () => c.request('POST', `${db}/_changes?filter=_doc_ids`, wanted);
	assert.deepEqual(ids(await post()), []);
	for (const id of ['doc1', 'doc2', 'doc3']) await put(`${db}/${id}`);
	assert.deepEqual(ids(await post()), ['doc1', 'doc3']);
	assert.deepEqual(ids(await get(`${db}/_changes?filter=_doc_ids&doc_ids=${encodeURIComponent(JSON.stringify(wanted.doc_ids))}`)), ['doc1', 'doc3']);
	const feed = await c.open('POST', `${db}/_changes?feed=continuous&timeout=500&filter=_doc_ids`, wanted);
	await put(`${db}/doc5`);
	await put(`${db}/doc4`);
	assert.deepEqual(lines((await feed.ended).text).map((row) => row.id), ['doc1', 'doc3', 'doc4', undefined]);
});

test('a replicated conflict moves its document, once (COUCHDB-1256)', async () => {
	const db = await c.db();
	const { rev } = await put(`${db}/foo`, { a: 123 });
	await put(`${db}/bar`, { a: 456 });
	await put(`${db}/foo?new_edits=false`, { _rev: rev, a: 456 });
	const { json: { results } } = await get(`${db}/_changes?style=all_docs`);
	assert.equal(results.length, 2);
	assert.equal((await get(`${db}/_changes?style=all_docs&since=${encodeURIComponent(results[0].seq)}`)).json.results.length, 1);
});

test('attachments in rows with documents (COUCHDB-1923)', async () => {
	const db = await c.db();
	const data = 'VGhpcyBpcyBhIGJhc2U2NCBlbmNvZGVkIHRleHQ=';
	const att = { content_type: 'text/plain', data };
	for (let i = 20; i < 30; i++) await put(`${db}/${i}`, { _attachments: { 'foo.txt': att, 'bar.txt': att } });
	for (const [query, want] of [
		['', { stub: true, data: undefined, encoding: undefined, encoded_length: undefined }],
		['&attachments=true', { stub: undefined, data, encoding: undefined, encoded_length: undefined }],
		['&att_encoding_info=true', { stub: true, data: undefined, encoding: 'gzip', encoded_length: 47 }],
	]) {
		const { json: { results } } = await get(`${db}/_changes?include_docs=true${query}`);
		assert.equal(results.length, 10);
		for (const name of ['foo.txt', 'bar.txt']) {
			const { stub, data: bytes, encoding, encoded_length } = results[0].doc._attachments[name];
			assert.deepEqual({ stub, data: bytes, encoding, encoded_length }, want, query);
		}
	}
});

test('downward, with limits, and with few sequences', async () => {
	const db = await c.db();
	const steps = [['1', ['a']], ['_design/2', ['a'], true], ['3', ['a']], ['1', ['b', 'a']], ['1', ['c', 'a']], ['1', ['d', 'a'], true], ['3', ['b', 'a'], true], ['_design/2', ['c', 'a']]];
	for (const [_id, ids, _deleted] of steps) {
		const doc = { _id, _revisions: { start: ids.length, ids }, ...(_deleted && { _deleted }) };
		assert.equal((await c.request('POST', `${db}/_bulk_docs`, { new_edits: false, docs: [doc] })).status, 201);
	}
	const number = (seq) => seq && Number(seq.split('-')[0]);
	for (const [query, last, pending, ...seqs] of [
		['descending=true', 6, 0, 8, 7, 6], ['descending=true&limit=0', 8, 3], ['descending=true&limit=1', 8, 2, 8], ['descending=true&limit=3', 6, 0, 8, 7, 6],
		['limit=0', 0, 3], ['limit=1', 6, 2, 6], ['seq_interval=3', 8, 0, null, 7, null], ['seq_interval=2&limit=3', 8, 0, null, 7, null], ['seq_interval=3&limit=3', 8, 0, 6, null, null],
	]) {
		const { json } = await get(`${db}/_changes?${query}`);
		assert.deepEqual([number(json.last_seq), json.pending, ...json.results.map((row) => number(row.seq))], [last, pending, ...seqs], query);
		const { text } = await get(`${db}/_changes?feed=continuous&timeout=10&${query}`);
		const rows = text.split('\n').filter((line) => line).map((line) => JSON.parse(line));
		const end = rows.pop();
		assert.deepEqual([number(end.last_seq), end.pending, ...rows.map((row) => number(row.seq))], [last, pending, ...seqs], `continuous ${query}`);
	}
});

test('live and continuous', async () => {
	for (const feed of ['live', 'continuous']) {
		const db = await c.db();
		assert.match((await get(`${db}/_changes`)).text, /^\{"results":\[\n\n\],\n"last_seq":"0-?/);
		const { rev } = await put(`${db}/foo`);
		const [row, last, ...more] = lines((await get(`${db}/_changes?feed=${feed}&timeout=100`)).text);
		assert.equal(row.changes[0].rev, rev);
		assert.match(last.last_seq, /^1-/);
		assert.deepEqual(more, []);
		const open = await c.open('GET', `${db}/_changes?feed=${feed}&timeout=500`);
		await put(`${db}/bar`);
		assert.deepEqual(lines((await open.ended).text).map((x) => x.id), ['foo', 'bar', undefined]);
	}
});

test('eventsource: limits, nothing but fields, heartbeats, Last-Event-ID (COUCHDB-1852)', async () => {
	const db = await c.db();
	await put(`${db}/foo`);
	assert.deepEqual(events((await get(`${db}/_changes?feed=eventsource&limit=1`)).text), ['foo']);
	const begin = Date.now();
	assert.deepEqual(events((await get(`${db}/_changes?feed=eventsource&limit=2&timeout=400`)).text), ['foo']);
	assert.ok(Date.now() - begin >= 390);
	const exact = await c.open('GET', `${db}/_changes?feed=eventsource&limit=2`);
	await put(`${db}/bar`);
	assert.deepEqual(events((await exact.ended).text), ['foo', 'bar']);
	const { text } = await get(`${db}/_changes?feed=eventsource&timeout=200`);
	for (const line of text.split('\n')) assert.match(line, /^(|(data|id|event):.*)$/);
	const beats = await c.open('GET', `${db}/_changes?feed=eventsource&since=now&heartbeat=10`);
	await beats.until((t) => t.split('event: heartbeat').length > 3);
	beats.close();
	const { json: { results } } = await get(`${db}/_changes`);
	const resumed = await c.open('GET', `${db}/_changes?feed=eventsource&timeout=100&since=0`, undefined, { accept: 'text/event-stream', 'last-event-id': results[0].seq });
	assert.deepEqual(events((await resumed.ended).text), ['bar']);
});
