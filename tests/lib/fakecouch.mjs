// A peer of the replicator that does what a test wants it to: it speaks enough of CouchDB to be copied from and to, and answers as
// the test says where that says something.  Databases are there by being asked for; each has rules of its own.
import crypto from 'node:crypto';
import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';

const md5 = (bytes, as = 'base64') => crypto.createHash('md5').update(bytes).digest(as);

/** ${n} documents of one revision as this peer has them; ${attachment}: bytes that each has. */
export function made(n, { attachment, size = 20 } = {}) {
	return Array.from({ length: n }, (_, i) => {
		const id = `doc-${String(i).padStart(4, '0')}`;
		const rev = md5(id, 'hex');
		const doc = { _id: id, _rev: `1-${rev}`, _revisions: { start: 1, ids: [rev] }, i, pad: 'x'.repeat(size) };
		if (attachment) doc._attachments = { file: { content_type: 'x/y', revpos: 1, digest: `md5-${md5(attachment)}`, bytes: attachment } };
		return doc;
	});
}

/* What a request is, by method and what stands behind the database's name. */
const KINDS = [
	['info', 'GET', /^$/], ['create', 'PUT', /^$/], ['local_get', 'GET', /^_local\//], ['local_put', 'PUT', /^_local\//],
	['changes', 'GET', /^_changes$/], ['changes', 'POST', /^_changes$/], ['bulk_get', 'POST', /^_bulk_get$/], ['revs_diff', 'POST', /^_revs_diff$/],
	['bulk_docs', 'POST', /^_bulk_docs$/], ['commit', 'POST', /^_ensure_full_commit$/], ['doc_get', 'GET', /^[^_]|^_design\//], ['doc_put', 'PUT', /^[^_]|^_design\//],
];

const lean = ({ _attachments, ...doc }) => (_attachments
	? { ...doc, _attachments: Object.fromEntries(Object.entries(_attachments).map(([name, { bytes, ...a }]) => [name, { ...a, length: a.length ?? bytes.length, stub: true }])) }
	: doc);

const USUAL = {
	info: (c) => c.json({ db_name: c.name, update_seq: c.db.docs.length, doc_count: c.db.docs.length, instance_start_time: '0' }),
	create: (c) => c.json({ ok: true }, 201),
	local_get: (c) => (c.db.local.has(c.path) ? c.json(c.db.local.get(c.path)) : c.json({ error: 'not_found', reason: 'missing' }, 404)),
	local_put: (c) => {
		const _rev = `0-${Number(c.db.local.get(c.path)?._rev.slice(2) ?? 0) + 1}`;
		c.db.local.set(c.path, { ...c.body, _id: c.path, _rev });
		c.json({ ok: true, id: c.path, rev: _rev }, 201);
	},
	changes: (c) => {
		const since = Number(c.query.get('since') ?? 0);
		const limit = Number(c.query.get('limit') ?? 1e9);
		const rows = c.db.docs.slice(since, since + limit).map((doc, i) => ({ seq: since + i + 1, id: doc._id, changes: [{ rev: doc._rev }] }));
		if (rows.length === 0 && c.query.get('feed') === 'longpoll') return c.hold();
		return c.json({ results: rows, last_seq: since + rows.length, pending: Math.max(0, c.db.docs.length - since - rows.length) });
	},
	bulk_get: (c) => c.json({ results: c.body.docs.map(({ id, rev }) => {
		const doc = c.db.docs.find((d) => d._id === id && d._rev === rev);
		return { id, docs: [doc ? { ok: lean(doc) } : { error: { id, rev, error: 'not_found', reason: 'missing' } }] };
	}) }),
	doc_get: (c) => {
		const doc = c.db.docs.find((d) => d._id === decodeURIComponent(c.path));
		if (!doc) return c.json({ error: 'not_found', reason: 'missing' }, 404);
		if (!doc._attachments || !/multipart/.test(c.req.headers.accept)) return c.json([{ ok: lean(doc) }]);
		return c.multipart(doc);
	},
	revs_diff: (c) => c.json(Object.fromEntries(Object.entries(c.body).map(([id, revs]) => [id, { missing: revs.filter((rev) => !c.db.have.has(`${id} ${rev}`)) }]).filter(([, { missing }]) => missing.length))),
	bulk_docs: (c) => {
		for (const doc of c.body.docs) c.db.have.add(`${doc._id} ${doc._rev}`);
		c.json([], 201);
	},
	doc_put: (c) => {
		c.db.have.add(`${decodeURIComponent(c.path)} put`);
		c.json({ ok: true, id: decodeURIComponent(c.path), rev: c.body?._rev ?? '1-0' }, 201);
	},
	commit: (c) => c.json({ ok: true, instance_start_time: '0' }, 201),
};

/**
 * One request: {req, res, name, db, path, query, kind, body (JSON if it is), bytes, nth: how often this kind was asked for before},
 * and what may be answered: json(value, status, headers), send(status, headers, text), cut(text): half an answer;
 * endless(text, piece): one without end; hold(): none; multipart(doc, {type, parts}); usual().
 */
function context(peer, req, res, bytes) {
	const url = new URL(req.url, 'http://x');
	const [, name, ...rest] = url.pathname.split('/');
	const path = rest.join('/');
	const kind = KINDS.find(([, method, re]) => method === req.method && re.test(path))?.[0];
	const db = peer.database(name);
	const c = { peer, req, res, name, path, query: url.searchParams, kind, db, bytes };
	try {
		c.body = JSON.parse(bytes);
	} catch {}
	c.nth = db.count[kind] ?? 0;
	db.count[kind] = c.nth + 1;
	db.log.push({ kind, method: req.method, url: req.url, version: req.httpVersion, at: Date.now(), bytes: bytes.length });
	c.send = (status, headers, text = '') => {
		res.writeHead(status, headers);
		res.end(text);
	};
	c.json = (value, status = 200, headers = {}) => c.send(status, { 'Content-Type': 'application/json', ...headers }, JSON.stringify(value));
	c.cut = (text) => {
		res.writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': text.length * 2 });
		res.write(text, () => res.destroy());
	};
	c.endless = (text, piece) => {
		res.writeHead(200, { 'Content-Type': 'application/json' });
		res.write(text);
		const more = () => {
			while (!res.destroyed && res.write(piece));
		};
		res.on('drain', more);
		more();
	};
	c.hold = () => peer.held.add(res);
	c.multipart = (doc, { alter = (a) => a } = {}) => {
		const atts = Object.entries(doc._attachments);
		const shown = { ...doc, _attachments: Object.fromEntries(atts.map(([n, { bytes: b, ...a }]) => [n, { ...a, length: a.length ?? b.length, follows: true }])) };
		const parts = [Buffer.from(`--outer\r\nContent-Type: multipart/related; boundary="inner"\r\n\r\n--inner\r\nContent-Type: application/json\r\n\r\n${JSON.stringify(shown)}`)];
		for (const [n, a] of atts) parts.push(Buffer.from(`\r\n--inner\r\nContent-Disposition: attachment; filename="${n}"\r\nContent-Type: ${a.content_type}\r\n\r\n`), alter(a.bytes));
		parts.push(Buffer.from('\r\n--inner--\r\n--outer--'));
		c.send(200, { 'Content-Type': 'multipart/mixed; boundary="outer"' }, Buffer.concat(parts));
	};
	c.usual = () => (USUAL[kind] ? USUAL[kind](c) : c.json({ error: 'not_found', reason: 'missing' }, 404));
	return c;
}

export class FakeCouch {
	/** session(req, res, bytes): what _session answers; without it there is none. */
	constructor() {
		this.databases = new Map();
		this.held = new Set();
		this.sockets = new Set();
		this.peak = 0;
		this.connections = 0;
	}
	database(name) {
		if (!this.databases.has(name)) this.databases.set(name, { docs: [], have: new Set(), local: new Map(), log: [], count: {}, rules: {} });
		return this.databases.get(name);
	}
	/** A database with ${docs} that answers requests of the kinds in ${rules} by their functions. */
	add(name, docs, rules = {}) {
		Object.assign(this.database(name), { docs, rules });
		return name;
	}
	handle(req, res) {
		const chunks = [];
		res.on('error', () => {});
		req.on('error', () => {});
		req.on('data', (d) => chunks.push(d));
		req.on('end', () => {
			if (req.url.startsWith('/_session') && this.session) {
				this.session(req, res, Buffer.concat(chunks));
				return;
			}
			if (req.url.startsWith('/_session')) {
				res.writeHead(404, { 'Content-Type': 'application/json' });
				res.end('{"error":"not_found","reason":"no sessions here"}');
				return;
			}
			const c = context(this, req, res, Buffer.concat(chunks));
			(c.db.rules[c.kind] ?? c.db.rules.any ?? ((x) => x.usual()))(c);
		});
	}
	/** tls: {cert, key}; h2: offered over TLS. */
	async listen({ tls, h2 } = {}) {
		const handler = (req, res) => this.handle(req, res);
		this.server = tls ? (h2 ? http2.createSecureServer({ ...tls, allowHTTP1: true }, handler) : https.createServer(tls, handler)) : http.createServer({ maxHeaderSize: 65536 }, handler);
		this.server.on('connection', (socket) => {
			this.sockets.add(socket);
			this.connections++;
			this.peak = Math.max(this.peak, this.sockets.size);
			socket.on('error', () => {});
			socket.on('close', () => this.sockets.delete(socket));
		});
		this.server.on('sessionError', () => {});
		await new Promise((resolve) => this.server.listen(0, '127.0.0.1', resolve));
		this.port = this.server.address().port;
		this.url = `${tls ? 'https' : 'http'}://127.0.0.1:${this.port}`;
		return this;
	}
	async stop() {
		this.server.close();
		for (const socket of this.sockets) socket.destroy();
	}
}
