// Bad input: each gets its status and {"error","reason"}, and leaves the database as it was.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startDivand } from '../lib/divand.mjs';
import { ask, assertError, newDb } from './client.mjs';

let server;
let db;
let rev;
before(async () => {
	server = await startDivand({ config: { couchdb: { max_document_size: 300000, max_attachment_size: 500000 } } });
	db = await newDb(server);
	rev = (await ask(server, 'PUT', `/${db}/doc`, { json: { n: 1 } })).json.rev;
});
after(() => server.stop());

const state = async () => {
	const { update_seq, doc_count, doc_del_count } = (await ask(server, 'GET', `/${db}`)).json;
	const { rows } = (await ask(server, 'GET', `/${db}/_all_docs?include_docs=true`)).json;
	return JSON.stringify([update_seq, doc_count, doc_del_count, rows]);
};

/** Rows of [what, method, path below the database, request, status, error, reason]; one test each group. */
function group(title, rows) {
	test(title, { timeout: 60000 }, async () => {
		const wrong = [];
		for (const [what, method, path, request, status, error, reason] of rows) {
			const before = await state();
			const answer = await ask(server, method, `/${db}${path}`.replace('REV', rev), request ?? {});
			try {
				assertError(answer, status, error, reason);
				assert.equal(await state(), before, 'the database changed');
			} catch (e) {
				wrong.push(`${what}: ${e.message}`);
			}
		}
		assert.deepEqual(wrong, []);
		assert.equal((await ask(server, 'GET', `/${db}/doc`)).json.n, 1);
	});
}

const JSON_TYPE = 'application/json';
const body = (bytes) => ({ body: bytes, type: JSON_TYPE });
const bytes = (...parts) => Buffer.concat(parts.map((p) => (typeof p === 'string' ? Buffer.from(p) : Buffer.from(p))));

const BAD_JSON = {
	'an empty body': '',
	'truncated': '{"a":[1,2',
	'trailing text': '{"a":1} x',
	'a trailing comma': '{"a":1,}',
	'no quotes': '{a:1}',
	'single quotes': "{'a':1}",
	'a comment': '{"a":1/*x*/}',
	'NaN': '{"a":NaN}',
	'a leading zero': '{"a":01}',
	'a lone minus': '{"a":-}',
	'a raw control character': '{"a":"\u0001"}',
	'a raw NUL byte': bytes('{"a":"x', [0], 'y"}'),
	'a NUL after the body': bytes('{}', [0]),
	'an unknown escape': '{"a":"\\x"}',
	'half an escape': '{"a":"\\u12"}',
	'a lone high surrogate': '{"a":"\\ud800"}',
	'a lone low surrogate': '{"a":"\\udc00x"}',
	'surrogates in the wrong order': '{"a":"\\udc00\\ud800"}',
	'a lone surrogate in a member name': '{"\\ud800":1}',
	'invalid UTF-8': bytes('{"a":"', [0xff, 0xfe], '"}'),
	'overlong UTF-8': bytes('{"a":"', [0xc0, 0xaf], '"}'),
	'a surrogate in UTF-8': bytes('{"a":"', [0xed, 0xa0, 0x80], '"}'),
	'truncated UTF-8': bytes('{"a":"', [0xe2, 0x82], '"}'),
	'beyond Unicode': bytes('{"a":"', [0xf4, 0x90, 0x80, 0x80], '"}'),
	'a number beyond double': '{"a":1e400}',
	'nesting without end': '['.repeat(100000),
	'objects nested too deep': '{"a":'.repeat(20000) + '1' + '}'.repeat(20000),
};
for (const [path, method] of [['/new', 'PUT'], ['', 'POST'], ['/_bulk_docs', 'POST'], ['/_local/x', 'PUT']]) {
	group(`malformed JSON: ${method} ${path || 'the database'}`, Object.entries(BAD_JSON).map(([what, text]) =>
		[what, method, path, body(text), [400, 413]]));
}
group('malformed JSON elsewhere', ['/_all_docs', '/_bulk_get', '/_revs_diff', '/_missing_revs', '/_changes?filter=_doc_ids'].flatMap((path) =>
	['{"a":', '{"keys":["\\ud800"]}x', '\xff'].map((text) => [`${path} ${text}`, 'POST', path, body(Buffer.from(text, 'latin1')), 400])));

group('JSON that is not what was asked for', [
	['a list as document', 'PUT', '/new', body('[]'), 400, 'bad_request', 'Document must be a JSON object'],
	['a string as document', 'PUT', '/new', body('"x"'), 400, 'bad_request', 'Document must be a JSON object'],
	['null as document', 'PUT', '/new', body('null'), 400, 'bad_request', 'Document must be a JSON object'],
	['_bulk_docs without docs', 'POST', '/_bulk_docs', body('{}'), 400, 'bad_request'],
	['_bulk_docs with an object', 'POST', '/_bulk_docs', body('{"docs":{}}'), 400, 'bad_request'],
	['_bulk_docs with a number', 'POST', '/_bulk_docs', body('{"docs":[1]}'), 400],
	['_bulk_docs with a wrong new_edits', 'POST', '/_bulk_docs', body('{"docs":[],"new_edits":"x"}'), 400],
	['keys that are no list', 'POST', '/_all_docs', body('{"keys":1}'), 400],
	['_revs_diff of a list', 'POST', '/_revs_diff', body('[]'), 400],
	['_revs_diff of strings', 'POST', '/_revs_diff', body('{"a":"1-x"}'), 400],
	['_bulk_get without docs', 'POST', '/_bulk_get', body('{}'), 400],
	['_revs_limit as text', 'PUT', '/_revs_limit', body('"x"'), 400],
	['_revs_limit of 0', 'PUT', '/_revs_limit', body('0'), 400],
	['_security as list', 'PUT', '/_security', body('[]'), 400],
	['_security with wrong names', 'PUT', '/_security', body('{"admins":{"names":"x"}}'), [400, 500]],
]);

group('document ids and underscore members', [
	['an id that starts with _', 'PUT', '/_x', body('{}'), [400, 404, 405]],
	['an _id that starts with _', 'POST', '', body('{"_id":"_x"}'), 400],
	['an empty _id', 'POST', '', body('{"_id":""}'), 400],
	['an _id that is a number', 'POST', '', body('{"_id":1}'), 400],
	['a query too long', 'GET', `/_all_docs?key="${'x'.repeat(9000)}"`, {}, 414, 'request_uri_too_long'],
	['an id too long', 'PUT', `/${'x'.repeat(9000)}`, body('{}'), [400, 414]],
	['an _id too long', 'POST', '', body(`{"_id":"${'x'.repeat(20000)}"}`), 400],
	['an unknown _ member', 'PUT', '/new', body('{"_foo":1}'), 400, 'doc_validation'],
	['a wrong _rev', 'PUT', '/new', body('{"_rev":"x"}'), 400],
	['an empty _rev', 'PUT', '/doc', body('{"_rev":""}'), 400],
	['a _rev that is a number', 'PUT', '/new', body('{"_rev":1}'), 400],
	['a _rev without generation', 'PUT', '/new', body('{"_rev":"-abc"}'), 400],
	['a rev in the query that differs', 'PUT', '/doc?rev=REV', body('{"_rev":"2-x"}'), 400],
	['_deleted that is text', 'PUT', '/new', body('{"_deleted":"x"}'), 400],
	['_attachments that is a list', 'PUT', '/new', body('{"_attachments":[]}'), 400],
	['_revisions that is text', 'PUT', '/new?new_edits=false', body('{"_rev":"1-a","_revisions":"x"}'), 400],
	['_revisions with a wrong start', 'PUT', '/new?new_edits=false', body('{"_rev":"1-a","_revisions":{"start":"x","ids":["a"]}}'), 400],
	['new_edits=false without a _rev', 'PUT', '/new?new_edits=false', body('{}'), 400],
	['no _rev where one is needed', 'PUT', '/doc', body('{}'), 409, 'conflict'],
	['a _rev that is not there', 'PUT', '/doc', body('{"_rev":"1-abc"}'), 409, 'conflict'],
	['a deletion without a rev', 'DELETE', '/doc', {}, 409, 'conflict'],
	['a deletion with a wrong rev', 'DELETE', '/doc?rev=x', {}, 400],
	['a deletion of nothing', 'DELETE', '/nothing?rev=1-abc', {}, [404, 409]],
]);

group('attachments', [
	['bad base64', 'PUT', '/new', body('{"_attachments":{"a":{"data":"!!!"}}}'), 400],
	['base64 cut short', 'PUT', '/new', body('{"_attachments":{"a":{"data":"YWJ"}}}'), 400],
	['data that is a number', 'PUT', '/new', body('{"_attachments":{"a":{"data":1}}}'), 400],
	['a stub of nothing', 'PUT', '/new', body('{"_attachments":{"a":{"stub":true}}}'), 412, 'missing_stub'],
	['a name that starts with _', 'PUT', '/new', body('{"_attachments":{"_a":{"data":""}}}'), 400],
	['a path name that starts with _', 'PUT', '/doc/_a?rev=REV', { body: 'x', type: 'text/plain' }, 400],
	['no rev where one is needed', 'PUT', '/doc/a', { body: 'x', type: 'text/plain' }, 409, 'conflict'],
	['one that is too large', 'PUT', '/doc/a?rev=REV', { body: Buffer.alloc(500001), type: 'image/png' }, 413],
	['an inline one that is too large', 'PUT', '/new', body(`{"_attachments":{"a":{"data":"${Buffer.alloc(500001).toString('base64')}"}}}`), 413],
	['a missing one', 'GET', '/doc/none', {}, 404, 'not_found'],
	['one of a missing document', 'DELETE', '/nothing/a?rev=1-abc', {}, [404, 409]],
	['multipart without a boundary', 'PUT', '/new', { body: 'x', type: 'multipart/related' }, 400],
	['multipart that ends early', 'PUT', '/new', { body: '--b\r\nContent-Type: application/json\r\n\r\n{"_attachments":{"a":{"follows":true,"length":5,"content_type":"x/y"}}}\r\n--b\r\n\r\nab', type: 'multipart/related; boundary="b"' }, 400],
	['multipart without its attachment', 'PUT', '/new', { body: '--b\r\nContent-Type: application/json\r\n\r\n{"_attachments":{"a":{"follows":true,"length":5,"content_type":"x/y"}}}\r\n--b--', type: 'multipart/related; boundary="b"' }, [400, 412]],
]);

group('sizes', [
	['a document over the limit', 'PUT', '/new', body(`{"a":"${'x'.repeat(300001)}"}`), 413, 'document_too_large'],
]);

group('content types', [
	['text', 'POST', '', { body: '{}', type: 'text/plain' }, 415, 'bad_content_type'],
	['a form', 'POST', '/_bulk_docs', { body: 'docs=1', type: 'application/x-www-form-urlencoded' }, 415, 'bad_content_type'],
	['none', 'POST', '/_revs_diff', { body: '{}' }, [400, 415]],
]);

test('wrong methods are answered with those that are right', async () => {
	const wrong = [];
	for (const [method, path] of [
		['POST', '/'], ['DELETE', '/_all_dbs'], ['PUT', '/_up'], ['POST', '/_uuids'], ['GET', `/${db}/_bulk_docs`], ['PUT', `/${db}/_all_docs`],
		['GET', `/${db}/_revs_diff`], ['DELETE', `/${db}/_changes`], ['POST', `/${db}/_security`],
		['DELETE', `/${db}/_revs_limit`], ['PATCH', `/${db}/doc`], ['PATCH', `/${db}`], ['PUT', '/_session'],
	]) {
		const before = await state();
		const answer = await ask(server, method, path, { json: {} });
		const allow = answer.headers.allow ?? '';
		if (answer.status !== 405 || answer.json?.error !== 'method_not_allowed' || !/^[A-Z]+(, ?[A-Z]+)*$/.test(allow) ||
			allow.split(/, ?/).includes(method)) wrong.push(`${method} ${path}: ${answer.status}, Allow: ${allow}, ${answer.text}`);
		assert.equal(await state(), before);
	}
	assert.deepEqual(wrong, []);
});

test('unknown paths', async () => {
	for (const path of ['/_nothing', '/missing', '/missing/doc', '/missing/_all_docs', `/${db}/missing`, `/${db}/missing/att`, `/${db}/_design/x`, `/${db}/_local/x`]) {
		assertError(await ask(server, 'GET', path), 404, 'not_found');
	}
	assertError(await ask(server, 'GET', `/${db}/_nothing`), [400, 404]);
	assertError(await ask(server, 'GET', '/_utils/../../etc/passwd'), [400, 404]);
	for (const path of ['/_utils/%2e%2e/%2e%2e/etc/passwd', '/_utils/..%2f..%2fetc/passwd']) {
		const answer = await ask(server, 'GET', path);
		assert.ok(answer.status >= 400 && !answer.text.includes('root:'), path);
	}
});

group('bad values in queries', [
	['a key that is not JSON', 'GET', '/_all_docs?key=abc', {}, 400],
	['keys that are not JSON', 'GET', '/_all_docs?keys=[1', {}, 400],
	['a negative limit', 'GET', '/_all_docs?limit=-1', {}, 400],
	['a limit that is text', 'GET', '/_all_docs?limit=x', {}, 400],
	['a negative skip', 'GET', '/_all_docs?skip=-1', {}, 400],
	['descending that is neither', 'GET', '/_all_docs?descending=maybe', {}, 400],
	['include_docs that is neither', 'GET', '/_all_docs?include_docs=1', {}, 400],
	['a since that is nonsense', 'GET', '/_changes?since=nonsense', {}, 400],
	['a feed of another kind', 'GET', '/_changes?feed=x&limit=-1', {}, 400],
	['a heartbeat that is text', 'GET', '/_changes?feed=continuous&heartbeat=x', {}, 400],
	['a heartbeat of 0', 'GET', '/_changes?feed=continuous&heartbeat=0', {}, 400],
	['a timeout that is text', 'GET', '/_changes?feed=longpoll&timeout=x', {}, 400],
	['a filter that is missing', 'GET', '/_changes?filter=a/b', {}, [404, 501]],
	['a rev without form', 'GET', '/doc?rev=x', {}, 400],
	['a rev that is missing', 'GET', '/doc?rev=9-abc', {}, 404],
	['open_revs that is not JSON', 'GET', '/doc?open_revs=x', {}, 400],
	['atts_since that is not JSON', 'GET', '/doc?atts_since=x', {}, 400],
	['a percent sign alone', 'GET', '/%', {}, [400, 404]],
]);

test('an If-Match that differs', async () => {
	const before = await state();
	assertError(await ask(server, 'PUT', `/${db}/doc`, { json: {}, headers: { 'If-Match': '"1-abc"' } }), 409, 'conflict');
	assertError(await ask(server, 'PUT', `/${db}/doc?rev=${rev}`, { json: {}, headers: { 'If-Match': '"1-abc"' } }), [400, 409]);
	assert.equal(await state(), before);
});

test('one bad document in _bulk_docs does not take the others with it, or all are refused', async () => {
	const before = await state();
	const docs = [{ _id: 'good-1' }, { _id: '_bad' }, { _id: 'good-2' }];
	const answer = await ask(server, 'POST', `/${db}/_bulk_docs`, { json: { docs } });
	if (answer.status === 400) assert.equal(await state(), before);
	else {
		assert.equal(answer.status, 201);
		assert.deepEqual(answer.json.map((row) => Boolean(row.ok)), [true, false, true]);
	}
});

test('in _bulk_docs too, a document over the limit is not written', async () => {
	const docs = [{ _id: 'big', a: 'x'.repeat(300001) }];
	const before = await state();
	const answer = await ask(server, 'POST', `/${db}/_bulk_docs`, { json: { docs } });
	if (answer.status === 201) assert.equal(answer.json[0].error, 'document_too_large');
	else assertError(answer, 413, 'document_too_large');
	assert.equal(await state(), before);
});

test('numbers at the edges of double survive or are refused', async () => {
	for (const [number, want] of [
		['1.7976931348623157e308', 1.7976931348623157e308], ['4.9406564584124654e-324', 5e-324], ['2.2250738585072014e-308', 2.2250738585072014e-308],
		['1e-400', 0], ['-0.0', -0], ['9007199254740993', 9007199254740993], ['0.1', 0.1], ['1E2', 100], ['123456789012345678901234567890', 123456789012345678901234567890],
	]) {
		const id = `number-${encodeURIComponent(number)}`;
		const answer = await ask(server, 'PUT', `/${db}/${id}`, body(`{"n":${number}}`));
		assert.equal(answer.status, 201, `${number}: ${answer.text}`);
		const back = await ask(server, 'GET', `/${db}/${id}`);
		assert.ok(Object.is(back.json.n, want) || back.json.n === want, `${number}: ${back.text}`);
	}
});

test('of duplicate members the last one counts, at any depth', async () => {
	await ask(server, 'PUT', `/${db}/twice`, body('{"a":1,"b":{"x":1,"x":2},"a":[{"y":1,"y":{"z":1,"z":3}}]}'));
	const { _id, _rev, ...rest } = (await ask(server, 'GET', `/${db}/twice`)).json;
	assert.deepEqual(rest, { a: [{ y: { z: 3 } }], b: { x: 2 } });
});
