// Who may do what: permissions.table.mjs, row by row and client by client, against a database that is closed and one that is open.
import assert from 'node:assert/strict';
import http from 'node:http';
import { after, before, test } from 'node:test';
import { startDivand } from '../lib/divand.mjs';
import { ask, newDb } from './client.mjs';
import * as tables from './permissions.table.mjs';

/** The table's words: status, error, reason. Of two, the second is for who has a name. */
const REFUSED = {
	pw: [[401, 'unauthorized', 'Name or password is incorrect.']],
	in: [[401, 'unauthorized', 'You are not authorized to access this db.']],
	no: [[403, 'forbidden', 'You are not allowed to access this db.']],
	sa: [[401, 'unauthorized', 'You are not a server admin.']],
	ma: [[401, 'unauthorized', 'You are not a server or db admin.']],
	da: [[401, 'unauthorized', 'You are not a db or server admin.'], [403, 'forbidden', 'You are not a db or server admin.']],
	me: [[401, 'unauthorized', 'You are not a server admin or read-only metrics user']],
	au: [[401, 'unauthorized', 'You are not an authenticated user']],
	'--': [[404, 'not_found', 'missing']],
	ro: [[403, 'forbidden', 'Only _admin may set roles']],
	dd: [[403, 'forbidden', 'Only administrators can view design docs in the users database.']],
	valid: [[401, 'unauthorized', 'Authentication required.']],
};
const CLOSED = { admins: { names: [], roles: ['keepers'] }, members: { names: ['member'], roles: [] } };
const OPEN = { admins: { names: [], roles: ['keepers'] }, members: { names: [], roles: [] } };
const basic = (text) => 'Basic ' + Buffer.from(text).toString('base64');
const WHO = {
	nobody: null, wrong: basic('member:pw-plain'), plain: basic('plain:pw-plain'), member: basic('member:pw-member'), dbadmin: basic('keeper:pw-keeper'),
	admin: basic('admin:adm'),
};
const FORM = '--b\r\ncontent-disposition: form-data; name="_rev"\r\n\r\nREV\r\n--b\r\ncontent-disposition: form-data; name="_attachments"; filename="c.txt"\r\n' +
	'content-type: text/plain\r\n\r\nc\r\n--b--\r\n';
let server;

before(async () => {
	server = await startDivand({ config: {
		chttpd_auth: { iterations: '1000' }, chttpd_auth_lockout: { mode: 'off' }, // or else wrong passwords would close the door
	} });
	for (const db of ['_users', '_replicator']) assert.ok([201, 412].includes((await ask(server, 'PUT', `/${db}`)).status));
	for (const [name, roles] of [['plain', []], ['member', []], ['keeper', ['keepers']]]) {
		const { status, text } = await ask(server, 'PUT', `/_users/org.couchdb.user:${name}`, { json: { name, type: 'user', roles, password: `pw-${name}` } });
		assert.equal(status, 201, text);
	}
});
after(() => server.stop());

/** Rows of a table: {method, path, to, body, want: {who: word}, open: {who: word}}. */
function rows(text) {
	const lines = text.trim().split('\n');
	const [names, openNames = []] = lines.shift().split(' | ').map((part) => part.trim().split(/\s+/).filter((w) => w in WHO));
	return lines.map((line) => {
		const [columns, body] = line.split(/\s+< /);
		const [closed, open = ''] = columns.split(/ \| /);
		const [method, where, ...words] = closed.trim().split(/\s+/);
		const [path, to = '{new}'] = where.split('>');
		assert.equal(words.length, names.length, line);
		const openWords = open.trim().split(/\s+/).filter(Boolean);
		assert.equal(openWords.length, openNames.length, line);
		return {
			method, path, to, body, want: Object.fromEntries(names.map((n, i) => [n, words[i]])),
			open: Object.fromEntries(openNames.map((n, i) => [n, openWords[i]])),
		};
	});
}

/** Status and body of a request; of what is allowed only the head is waited for, for feeds do not end. */
function send({ method, path, headers, body, auth }) {
	return new Promise((resolve, reject) => {
		const req = http.request({ host: '127.0.0.1', port: server.port, method, path, agent: false,
			headers: { ...headers, ...(auth ? { authorization: auth } : {}), ...(body === undefined ? {} : { 'content-length': Buffer.byteLength(body) }) } });
		req.on('error', reject);
		req.on('response', (res) => {
			let text = '';
			const end = () => resolve({ status: res.statusCode, headers: res.headers, text, json: text && text.startsWith('{"error') ? JSON.parse(text) : undefined });
			if (res.statusCode < 300 && /feed=/.test(path)) {
				res.on('error', () => {});
				req.on('error', () => {});
				end();
				res.destroy();
				return;
			}
			res.setEncoding('utf8');
			res.on('error', reject);
			res.on('data', (d) => (text += d));
			res.on('end', end);
		});
		req.end(body);
	});
}

let serial = 0;
const made = {
	new: async () => `new-${++serial}`,
	newdb: async () => `made-${++serial}`,
	olddb: async () => newDb(server, 'old'),
	local: async (db) => make(db, '_local/'),
	set: async () => {
		const name = `set-${++serial}`;
		assert.equal((await ask(server, 'PUT', `/_node/_local/_config/permissions/${name}`, { json: 'x' })).status, 200);
		return name;
	},
};
/** A declared index i. */
const INDEX = { language: 'query', views: { i: { map: { fields: { n: 'asc' }, partial_filter_selector: {} }, reduce: '_count', options: { def: { fields: ['n'] } } } } };
async function make(db, prefix, json = {}) {
	const name = `there-${++serial}`;
	const { status, json: { rev }, text } = await ask(server, 'PUT', `/${db}/${prefix}${name}`, { json });
	assert.equal(status, 201, text);
	return prefix === '_local/' ? name : { name, rev };
}

/** One row's request, with what its placeholders stand for. */
async function request(row, db, security) {
	const texts = { path: row.path, to: row.to, body: row.body };
	const values = { db };
	for (const key of Object.keys(texts)) {
		for (const [, name] of texts[key]?.matchAll(/\{(\w+)\}/g) ?? []) {
			if (name === 'doc' || name === 'ddoc') {
				const doc = await make(db, name === 'ddoc' ? '_design/' : '', { ...(name === 'ddoc' && INDEX), _attachments: { 'a.txt': { content_type: 'text/plain', data: 'YQ==' } } });
				Object.assign(values, { [name]: doc.name, rev: doc.rev });
			} else if (!(name in values)) values[name] = await made[name](db);
		}
	}
	const put = (text) => text.replace(/\{(\w+)\}/g, (all, name) => values[name] ?? all);
	const out = { method: row.method, path: put(row.path), headers: {}, body: row.body && put(row.body) };
	if (row.method === 'COPY') out.headers.destination = put(row.to);
	if (row.body === 'form') {
		Object.assign(out.headers, { 'content-type': 'multipart/form-data; boundary=b', referer: server.url });
		out.body = FORM.replace('REV', values.rev);
	} else if (row.body === 'text') out.headers['content-type'] = 'text/plain';
	else if (row.body) out.headers['content-type'] = 'application/json';
	if (row.body === 'security') out.body = JSON.stringify(security);
	return out;
}

async function state(db) {
	const { json } = await ask(server, 'GET', `/${db}`);
	return JSON.stringify([json?.update_seq, json?.doc_count, (await ask(server, 'GET', `/${db}/_security`)).text]);
}

/** What is wrong with an answer, or nothing. */
function wrongIn(word, who, answer, method) {
	const later = word.endsWith('*');
	const want = later ? word.slice(0, -1) : word;
	const told = `${answer.status} ${answer.text.slice(0, 200).trim()}`;

	if (later && answer.status === 501) return undefined;
	if (want.includes('|') && want.split('|').some((one) => wrongIn(one, who, answer, method) === undefined)) return undefined;
	if (/^\d/.test(want) || want.includes('|')) return want.split('|').map(Number).includes(answer.status) ? undefined : `${want} expected: ${told}`;
	const [status, error, reason] = REFUSED[want][who === 'nobody' ? 0 : REFUSED[want].length - 1];
	if (answer.status !== status) return `${want} (${status}) expected: ${told}`;
	if (method === 'HEAD') return undefined;
	return answer.json?.error === error && answer.json.reason === reason ? undefined : `${want} (${error}: ${reason}) expected: ${told}`;
}

/** Try the words of one row; result: what was wrong, a line each. */
async function prove(row, words, db, security) {
	const wrong = [];
	for (const [who, word] of Object.entries(words)) {
		const asked = { ...await request(row, db, security), auth: WHO[who] };
		const refused = !/^\d/.test(word);
		const before = refused && row.method !== 'GET' && row.method !== 'HEAD' ? await state(db) : undefined;
		const answer = await send(asked);
		const fault = wrongIn(word, who, answer, row.method);
		if (fault) wrong.push(`${who}: ${asked.method} ${asked.path}: ${fault}`);
		if (before !== undefined && await state(db) !== before) wrong.push(`${who}: ${asked.method} ${asked.path}: refused, and it has changed the database`);
	}
	return wrong;
}

/** Rows are independent of each other: few at a time. */
async function proveAll(list, wordsOf, db, security) {
	const wrong = [];
	for (const row of list) wrong.push(...await prove(row, wordsOf(row), db, security));
	assert.equal(wrong.length, 0, `${wrong.length} wrong outcomes:\n${wrong.join('\n')}`);
}

test('the server: each endpoint for each client', async () => {
	const db = await newDb(server, 'closed');
	await proveAll(rows(tables.server), (row) => row.want, db);
});

test('a closed database: each endpoint for each client', async () => {
	const db = await newDb(server, 'closed');
	assert.equal((await ask(server, 'PUT', `/${db}/_security`, { json: CLOSED })).status, 200);
	await proveAll(rows(tables.database), (row) => row.want, db, CLOSED);
});

test('a public database: each endpoint for each client', async () => {
	const db = await newDb(server, 'open');
	assert.equal((await ask(server, 'PUT', `/${db}/_security`, { json: OPEN })).status, 200);
	await proveAll(rows(tables.database), (row) => ({ ...row.want, ...row.open }), db, OPEN);
});

for (const db of ['_users', '_replicator']) {
	test(`${db} as it is made: each endpoint for each client`, async () => {
		const { json: security } = await ask(server, 'GET', `/${db}/_security`);
		await proveAll(rows(tables.system), (row) => row.want, db, security);
	});
}

test('_users opened to everybody: documents are their own account\'s', async () => {
	const set = (path, json) => ask(server, 'PUT', path, { json });
	assert.equal((await set('/_node/_local/_config/couchdb/users_db_security_editable', 'true')).status, 200);
	assert.equal((await set('/_users/_security', { admins: { names: [], roles: ['_admin'] }, members: { names: [], roles: [] } })).status, 200);
	const { json: security } = await ask(server, 'GET', '/_users/_security');
	await proveAll(rows(tables.users), (row) => row.want, '_users', security);
	// What is told of an own document, and of another's by _bulk_get.
	const { json: own } = await ask(server, 'GET', '/_users/org.couchdb.user:plain', { auth: WHO.plain });
	assert.equal(own.name, 'plain');
	for (const who of ['nobody', 'member']) {
		const { text } = await ask(server, 'POST', '/_users/_bulk_get', { auth: WHO[who], json: { docs: [{ id: own._id }, { id: own._id, rev: own._rev }] } });
		assert.ok(!text.includes(own.derived_key) && !text.includes('"ok"'), `${who}: ${text}`);
	}
});

test('in one _bulk_docs each document has its own outcome', async () => {
	const db = await newDb(server, 'bulk');
	assert.equal((await ask(server, 'PUT', `/${db}/_security`, { json: OPEN })).status, 200);
	for (const who of ['nobody', 'plain', 'member', 'dbadmin', 'admin']) {
		for (const new_edits of [true, false]) {
			const id = `${who}-${new_edits}`;
			const rev = new_edits ? {} : { _rev: `1-${'a'.repeat(32)}` };
			const { status, json } = await ask(server, 'POST', `/${db}/_bulk_docs`, { auth: WHO[who], json: { new_edits, docs: [{ _id: `_design/${id}`, ...rev }, { _id: id, ...rev }] } });
			assert.equal(status, 201);
			const [, error, reason] = REFUSED.da[who === 'nobody' ? 0 : 1];
			const may = who === 'dbadmin' || who === 'admin';
			const item = json.find((i) => i.id === `_design/${id}`);
			if (may) assert.ok(!item || item.ok, JSON.stringify(json));
			else assert.deepEqual([item.error, item.reason], [error, reason], `${id}: ${JSON.stringify(json)}`);
			assert.equal((await ask(server, 'GET', `/${db}/_design/${id}`)).status, may ? 200 : 404, id);
			assert.equal((await ask(server, 'GET', `/${db}/${id}`)).status, 200, id);
		}
	}
});

test('the role _metrics reads numbers, and nothing else of a server administrator\'s', async () => {
	const made = await ask(server, 'PUT', '/_users/org.couchdb.user:meter', { json: { name: 'meter', type: 'user', roles: ['_metrics'], password: 'pw-meter' } });
	assert.equal(made.status, 201, made.text);
	const wrong = [];
	for (const row of rows(tables.server).filter(({ want }) => ['sa', 'me'].includes(want.plain))) {
		const answer = await send({ ...await request(row, 'none'), auth: basic('meter:pw-meter') });
		const fault = wrongIn(row.want.plain === 'me' ? row.want.admin : 'sa', 'meter', answer, row.method);
		if (fault) wrong.push(`${row.method} ${row.path}: ${fault}`);
	}
	assert.equal(wrong.length, 0, wrong.join('\n'));
});

test('admin_only_all_dbs: false lists databases to everybody', async () => {
	const setting = '/_node/_local/_config/chttpd/admin_only_all_dbs';
	const lists = rows(tables.server).filter(({ path }) => /^\/_(all_dbs|dbs_info)$/.test(path));
	assert.ok(lists.length >= 4);
	for (const value of ['false', 'true']) {
		assert.equal((await ask(server, 'PUT', setting, { json: value })).status, 200);
		for (const row of lists) {
			for (const who of ['nobody', 'plain']) {
				const fault = wrongIn(value === 'false' ? '200' : 'sa', who, await send({ ...await request(row, '_users'), auth: WHO[who] }), row.method);
				assert.equal(fault, undefined, `${value}: ${who} ${row.method} ${row.path}: ${fault}`);
			}
		}
		if (value === 'false') {
			const closed = await newDb(server, 'closed');
			const { json } = await ask(server, 'POST', '/_dbs_info', { auth: WHO.plain, json: { keys: [closed] } });
			assert.deepEqual(json, [{ key: closed, error: 'forbidden' }]);
		}
	}
});

test('require_valid_user: nobody is let in anywhere but to log in', async () => {
	const db = await newDb(server, 'open');
	const setting = '/_node/_local/_config/chttpd/require_valid_user';
	const wrong = [];

	assert.equal((await ask(server, 'PUT', `/${db}/_security`, { json: OPEN })).status, 200);
	assert.equal((await ask(server, 'PUT', setting, { json: 'true' })).status, 200);
	for (const row of [...rows(tables.server), ...rows(tables.database)]) {
		const fault = wrongIn(row.path === '/_session' && row.method === 'POST' ? '200' : 'valid', 'nobody', await send(await request(row, db, OPEN)), row.method);
		if (fault) wrong.push(`${row.method} ${row.path}: ${fault}`);
	}
	assert.equal((await send({ method: 'GET', path: `/${db}`, auth: WHO.plain })).status, 200);
	assert.equal((await ask(server, 'DELETE', setting)).status, 200);
	assert.equal(wrong.length, 0, wrong.join('\n'));
});
