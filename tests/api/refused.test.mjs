// Large uploads that cannot be stored are answered by their heads: the body is announced, begun, and never sent.
import assert from 'node:assert/strict';
import http from 'node:http';
import { after, before, test } from 'node:test';
import { startDivand } from '../lib/divand.mjs';
import { ask } from './client.mjs';

const MB = 1 << 20;
const JSON_TYPE = { 'content-type': 'application/json' };
const BIN = { 'content-type': 'x/y' };
let server;

before(async () => (server = await startDivand({ config: { couchdb: { max_attachment_size: 100000 } } })));
after(() => server.stop());

/** The answer to a request of 64 MiB, of which only the beginning comes: [status, error]. */
const announce = (path, headers, begin = Buffer.alloc(MB / 4), method = 'PUT') => new Promise((resolve, reject) => {
	const req = http.request({ host: '127.0.0.1', port: server.port, method, path, agent: false, headers: { authorization: server.auth, 'content-length': 64 * MB, ...headers } });
	req.on('error', reject);
	req.on('response', (res) => {
		let text = '';
		res.on('data', (d) => (text += d));
		res.on('error', reject);
		res.on('end', () => {
			req.destroy();
			resolve([res.statusCode, JSON.parse(text).error]);
		});
	});
	req.write(begin);
});
const related = (doc) => [{ 'content-type': 'multipart/related; boundary=b' }, Buffer.from(`--b\r\n\r\n${JSON.stringify(doc)}\r\n--b\r\n\r\n${'x'.repeat(MB / 4)}`)];
const follows = (length) => ({ _attachments: { a: { follows: true, content_type: 'x/y', length } } });

test('what cannot be stored is refused before it is taken in', async () => {
	await ask(server, 'PUT', '/db');
	const { rev } = (await ask(server, 'PUT', '/db/taken', { json: {} })).json;
	const second = (await ask(server, 'PUT', '/db/taken', { json: { _rev: rev } })).json.rev;

	for (const [want, ...what] of [
		[[413, 'attachment_too_large'], '/db/d/a', BIN],
		[[413, 'attachment_too_large'], '/db/d', ...related(follows(60 * MB))],
		[[409, 'conflict'], '/db/taken/a', BIN],
		[[409, 'conflict'], `/db/taken/a?rev=${rev}`, BIN],
		[[409, 'not_found'], '/db/taken/a?rev=2-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', BIN],
		[[400, 'bad_request'], '/db/taken/a?rev=nonsense', BIN],
		[[400, 'bad_request'], `/db/taken/_a?rev=${second}`, BIN],
		[[415, 'bad_content_type'], `/db/taken/a?rev=${second}`, { ...BIN, 'content-encoding': 'br' }],
		[[404, 'not_found'], '/nowhere/d/a', BIN],
		[[401, 'unauthorized'], '/db/taken/a', { ...BIN, authorization: 'Basic eDp5' }],
		[[409, 'conflict'], '/db/taken', ...related(follows(1000))],
		[[400, 'bad_request'], '/db/new', ...related({ ...follows(1000), _rev: 7 })],
		[[400, 'illegal_docid'], '/db/_nonsense', JSON_TYPE],
		[[415, 'bad_content_type'], '/db/json', { ...JSON_TYPE, 'content-encoding': 'br' }],
		[[405, 'method_not_allowed'], '/db/_bulk_docs', JSON_TYPE],
		[[415, 'bad_content_type'], '/db/_bulk_docs', BIN, undefined, 'POST'],
		[[404, 'not_found'], '/nowhere/_bulk_docs', JSON_TYPE, undefined, 'POST'],
		[[401, 'unauthorized'], '/db/_bulk_docs', { ...JSON_TYPE, authorization: 'Basic eDp5' }, undefined, 'POST'],
		[[400, 'bad_request'], '/db/taken', { 'content-type': 'multipart/form-data; boundary=b' }, undefined, 'POST'],
	]) assert.deepEqual(await announce(...what), want, JSON.stringify(what.slice(0, 2)));
	assert.equal((await ask(server, 'GET', '/db')).json.doc_count, 1);
});
