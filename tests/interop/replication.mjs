// What the replicator's tests share: documents of every kind, a picture of all revisions of a database, and how to ask for replications.
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import http from 'node:http';
import https from 'node:https';
import { Random } from '../lib/random.mjs';

const md5 = (text) => crypto.createHash('md5').update(text).digest('hex');
const sha = (bytes) => crypto.createHash('sha256').update(bytes).digest('hex').slice(0, 16);

const agents = { 'http:': new http.Agent({ keepAlive: true }), 'https:': new https.Agent({ keepAlive: true, rejectUnauthorized: false }) };

/** ask(url, auth, method, path, body) -> {status, headers, text, json}; ${body}: JSON, or {bytes, type}.  Paths go as they are. */
export function ask(url, auth, method, path, body, headers = {}) {
	const { protocol, hostname, port } = new URL(url);
	const all = { Accept: 'application/json', ...(auth ? { Authorization: auth } : {}), ...headers };
	const bytes = body?.bytes ?? (body === undefined ? undefined : Buffer.from(JSON.stringify(body)));
	if (bytes) Object.assign(all, { 'Content-Type': body.type ?? 'application/json', 'Content-Length': bytes.length });
	return new Promise((resolve, reject) => {
		const options = { hostname, port, method, path, headers: all, agent: agents[protocol] };
		const req = (protocol === 'https:' ? https : http).request(options, (res) => {
			const chunks = [];
			res.on('data', (d) => chunks.push(d));
			res.on('error', reject);
			res.on('end', () => {
				const text = Buffer.concat(chunks).toString();
				let json;
				try {
					json = JSON.parse(text);
				} catch {}
				resolve({ status: res.statusCode, headers: res.headers, text, json });
			});
		});
		req.on('error', reject);
		req.end(bytes);
	});
}

/** A server as a set of requests that must succeed. */
export class Node {
	constructor(server, url = server.url) {
		this.server = server;
		this.url = url;
		this.auth = server.auth;
		this.authUrl = server.admin ? url.replace('://', `://${server.admin}@`) : url;
	}
	async ask(method, path, body, headers) {
		return ask(this.url, this.auth, method, path, body, headers);
	}
	async want(method, path, body, headers) {
		const answer = await this.ask(method, path, body, headers);
		assert.ok(answer.status < 300, `${method} ${path}: ${answer.status} ${answer.text.slice(0, 500)}`);
		return answer.json;
	}
	async create(name) {
		await this.want('PUT', `/${name}`);
		return name;
	}
	/** Documents with their revisions. */
	async load(db, docs) {
		const answers = await this.want('POST', `/${db}/_bulk_docs`, { docs, new_edits: false });
		for (const a of answers) assert.ok(!a.error, JSON.stringify(a));
	}
	/** What a replication answers. */
	async replicate(body) {
		return this.want('POST', '/_replicate', body);
	}
	/** All revisions that are leaves, as lines by document: see picture(). */
	async picture(db, options) {
		return picture(this.url, this.auth, db, options);
	}
}

/** The revision ids of a line of ${n} edits, newest first, unique to ${label}. */
const line = (n, label) => Array.from({ length: n }, (_, i) => md5(`${label} ${n - i}`));
/** A document at generation ${n} of the line ${label}; ${from}: a line that the first ${shared} edits are of. */
function revision(_id, n, label, body = {}, { from, shared = 0 } = {}) {
	const ids = line(n, label);
	if (from) ids.splice(n - shared, shared, ...line(shared, from));
	return { _id, _rev: `${n}-${ids[0]}`, _revisions: { start: n, ids }, ...body };
}

const attachment = (bytes, content_type) => ({ content_type, data: Buffer.from(bytes).toString('base64') });

/** Documents of every kind as `_bulk_docs` takes them with new_edits=false. ${lean}: such as PouchDB's server takes. */
export function documents({ lean = false, big = 10 << 20, seed = 11 } = {}) {
	const random = new Random(seed);
	const noise = (n) => crypto.createHash('shake256', { outputLength: n }).update(`noise ${n} ${seed}`).digest();
	const docs = [];
	const add = (...args) => docs.push(revision(...args));

	for (let i = 0; i < 40; i++) add(`plain-${i}`, 1, `p${i}`, { i, text: random.text(200), list: [1, null, true, { x: 'ü' }, -0.5, 1e21] });
	add('empty', 1, 'e', {});
	add('large', 2, 'l', { text: random.text(300000) });
	add('wide', 1, 'w', Object.fromEntries(Array.from({ length: 2000 }, (_, i) => [`member ${i}`, i])));
	add('deep', 1, 'd', { a: JSON.parse('['.repeat(150) + ']'.repeat(150)) });
	if (!lean) {
		add('numbers', 1, 'n', { big: 9007199254740993n.toString(), tiny: 5e-324 });
		// Longer than a URL with all of it could be.
		add(`long-${'x'.repeat(1500)}`, 1, 'long', { long: true });
	}
	add(`long-${'y'.repeat(300)}`, 1, 'longer', { long: true, _attachments: { x: attachment('long', 'x/y') } });
	for (const id of ['ü ß/%+&?#=;,', '日本語', '😀🎉', ' leading and trailing ', '"quotes" and \\', 'a%2Fb', '+plus+', 'tab\tand\u0001', '.', '..', '中/..//文', 'é', 'e\u0301'])
		add(id, 2, `u${id}`, { id, _attachments: { 'ü %20+/ä&?#.txt': attachment(`of ${id}`, 'text/plain; charset=utf-8'), '日本/語 😀.bin': attachment(noise(999), 'application/octet-stream') } });
	// Conflicts of two, of seven, with deletions among them; one whose winner is deleted with a body; bodies of tombstones.
	for (let i = 0; i < 10; i++) {
		add(`conflict-${i}`, 3, `a${i}`, { side: 'a', i });
		add(`conflict-${i}`, 3, `b${i}`, { side: 'b', i }, { from: `a${i}`, shared: 1 });
	}
	for (let k = 0; k < 7; k++) add('conflicts', 2 + (k % 3), `seven${k}`, {
		k, ...(k % 3 === 1 ? { _deleted: true } : {}),
		...(lean && k % 3 === 1 ? {} : { _attachments: { own: attachment(`leaf ${k}`, 'text/plain') } }),
	});
	for (let i = 0; i < 10; i++) add(`tombstone-${i}`, 2, `t${i}`, { _deleted: true });
	for (let i = 0; i < 10; i++) add(`deleted-${i}`, 3, `x${i}`, { _deleted: true, why: `reason ${i}`, when: [i] });
	add('deleted-twice', 2, 'dt1', { _deleted: true, one: 1 });
	add('deleted-twice', 4, 'dt2', { _deleted: true, two: 2 });
	if (!lean) add('deleted-att', 2, 'da', { _deleted: true, _attachments: { kept: attachment('kept by a deletion', 'text/plain') } });
	for (const n of [100, 150, 999, ...(lean ? [] : [1000])]) add(`generations-${n}`, n, `g${n}`, { n });
	add('generations-fork', 150, 'gf', { side: 1 });
	add('generations-fork', 140, 'gf2', { side: 2 }, { from: 'gf', shared: 20 });

	for (const [size, type] of [[0, 'text/plain'], [0, 'x/y'], [1, 'text/plain'], [1, 'x/y'], [70000, 'application/json'], [70000, 'image/png'], [1 << 20, 'text/html'], [big, 'text/plain'], [big, 'application/octet-stream']]) {
		const bytes = /^(text|application\/json)/.test(type) ? Buffer.alloc(size, 'compresses well, ') : noise(size);
		add(`attachment-${size}-${type}`, 1, `at${size}${type}`, { size, _attachments: { file: attachment(bytes, type) } });
	}
	add('attachments-many', 1, 'many', { _attachments: Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`part ${i}`, attachment(noise(i * 100), i % 2 ? 'text/plain' : 'x/y')])) });
	add('_design/all', 1, 'ddoc', {
		language: 'javascript',
		views: { by_i: { map: 'function (doc) { emit(doc.i, null); }', reduce: '_count' } },
		filters: { few: 'function (doc, req) { return doc.i !== undefined && doc.i < Number(req.query.below); }', none: 'function () { return false; }' },
		_attachments: { 'index.html': attachment('<h1>design</h1>', 'text/html') },
	});
	add('_design/other', 4, 'ddoc2', { views: {}, options: {} });
	return docs;
}

/** Load ${docs}: the large ones by themselves. */
export async function loadAll(node, db, docs) {
	const size = (doc) => Object.values(doc._attachments ?? {}).reduce((sum, a) => sum + a.data.length, 0);
	const small = docs.filter((doc) => size(doc) < 300000);
	await node.load(db, small);
	for (const doc of docs) if (!small.includes(doc)) await node.load(db, [doc]);
}

/** Members that PouchDB does not keep, or makes anew. */
function describe(doc, { digests, revpos }) {
	const { _id, _rev, _deleted = false, _revisions, _attachments = {}, ...body } = doc;
	const atts = Object.entries(_attachments).sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, a]) => {
		const bytes = Buffer.from(a.data, 'base64');
		return [name, a.content_type, bytes.length, sha(bytes), ...(revpos ? [a.revpos] : []), ...(digests ? [a.digest] : [])].join(' ');
	});
	const sorted = (v) => (Array.isArray(v) ? v.map(sorted) : v && typeof v === 'object' ? Object.fromEntries(Object.keys(v).sort().map((k) => [k, sorted(v[k])])) : v);
	return JSON.stringify({ id: _id, rev: _rev, deleted: _deleted, history: _revisions?.ids.join(' '), body: sorted(body), atts });
}

/**
 * All leaves of all documents with bodies, histories and attachments, and the winners: {id: lines}.
 *   digests   as the server has them, which is of the compressed bytes where it compresses
 *   revpos    where the server says that an attachment was new
 */
export async function picture(url, auth, db, { digests = true, revpos = true } = {}) {
	const get = async (path) => {
		const answer = await ask(url, auth, 'GET', `/${db}${path}`);
		assert.equal(answer.status, 200, `${path}: ${answer.text.slice(0, 300)}`);
		return answer.json;
	};
	const { results } = await get('/_changes?style=all_docs');
	const out = {};
	for (const { id, changes, deleted = false } of results) {
		const path = `/${id.startsWith('_design/') ? id : encodeURIComponent(id).replace(/^\.+$/, (dots) => '%2E'.repeat(dots.length))}`;
		const leaves = await get(`${path}?open_revs=all&revs=true&attachments=true`);
		const winner = (await ask(url, auth, 'GET', `/${db}${path}`)).json._rev ?? 'none';
		assert.equal(out[id], undefined, `${id} is in _changes twice`);
		out[id] = [`winner ${winner} deleted ${deleted} leaves ${changes.map((c) => c.rev).sort().join(' ')}`, ...leaves.map((l) => describe(l.ok, { digests, revpos })).sort()];
	}
	return out;
}

/** The first few differences of two pictures. */
export function differences(a, b) {
	const out = [];
	for (const id of new Set([...Object.keys(a), ...Object.keys(b)])) {
		const [x, y] = [a[id] ?? [], b[id] ?? []];
		const at = Array.from({ length: Math.max(x.length, y.length) }, (_, i) => i).find((i) => x[i] !== y[i]);
		if (at === undefined) continue;
		const [s, t] = [x[at] ?? 'nothing', y[at] ?? 'nothing'];
		let from = 0;
		while (from < s.length && s[from] === t[from]) from++;
		from = Math.max(0, from - 60);
		out.push(`${id.slice(0, 80)} at ${from}: ${s.slice(from, from + 300)}\n    and ${t.slice(from, from + 300)}`);
	}
	return out.length > 6 ? [...out.slice(0, 6), `${out.length} documents differ`] : out;
}

export function assertSame(a, b, what) {
	assert.ok(Object.keys(a).length > 0, `${what}: nothing to compare`);
	const found = differences(a, b);
	assert.equal(found.length, 0, `${what}:\n  ${found.join('\n  ')}`);
}
