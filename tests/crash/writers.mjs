// Writers that load a server and keep the record of what it acknowledged.
//
// Each document belongs to one writer, so nobody conflicts.  The ledger holds, per document, the last acknowledged state and the
// states that were asked for without an answer (`doubt`): after a crash the document is in one of these, whole.
import http from 'node:http';
import crypto from 'node:crypto';

export const md5 = (bytes) => crypto.createHash('md5').update(bytes).digest('base64');

export class Client {
	constructor(server) {
		this.server = server;
		this.agent = new http.Agent({ keepAlive: true, maxSockets: 64 });
	}
	/** Result: {status, json, raw}; rejects when the connection ends before the answer does. */
	request(method, path, body, type = 'application/json') {
		return new Promise((resolve, reject) => {
			const bytes = body === undefined || Buffer.isBuffer(body) ? body : Buffer.from(JSON.stringify(body));
			const headers = { Authorization: this.server.auth };
			if (bytes) Object.assign(headers, { 'Content-Type': type, 'Content-Length': bytes.length });
			const req = http.request({ host: '127.0.0.1', port: this.server.port, method, path, headers, agent: this.agent });
			req.on('error', reject);
			req.on('response', (res) => {
				const chunks = [];
				res.on('data', (d) => chunks.push(d));
				res.on('error', reject);
				res.on('aborted', () => reject(new Error('answer cut off')));
				res.on('end', () => {
					const raw = Buffer.concat(chunks);
					let json;
					try {
						json = JSON.parse(raw);
					} catch {}
					resolve({ status: res.statusCode, json, raw });
				});
			});
			req.end(bytes);
		});
	}
	close() {
		this.agent.destroy();
	}
}

export class Ledger {
	constructor() {
		this.docs = new Map(); // id -> {state, doubt: [state]}; state: {rev, n, deleted, atts: {name: md5}}
		this.dbs = new Map(); // name -> 'there' | 'gone' | 'doubt'
		this.acks = 0;
	}
	/** A write of ${state} (without its rev) is about to be sent. */
	ask(id, state) {
		const entry = this.docs.get(id) ?? { state: null, doubt: [] };
		entry.doubt.push(state);
		this.docs.set(id, entry);
	}
	/** The write asked last came back with ${rev}. */
	acknowledge(id, rev) {
		const entry = this.docs.get(id);
		entry.state = { ...entry.doubt.pop(), rev };
		entry.unread = true; // its attachments were not yet read back
		this.acks++;
	}
}

const refused = (what, answer) => new Error(`${what} answered ${answer.status}: ${answer.raw}`);
const mine = (ledger, prefix) => [...ledger.docs.keys()].filter((id) => id.startsWith(prefix));

/** One document after another: new ones, edits, deletions. */
async function single({ client, ledger, random, db, name }) {
	const own = mine(ledger, name);
	let serial = own.length;
	for (;;) {
		const id = own.length < 20 || random.below(3) === 0 ? `${name}-${serial++}` : random.pick(own);
		const old = ledger.docs.get(id)?.state;
		const deleted = Boolean(old && !old.deleted && random.below(8) === 0);
		const state = { n: random.below(1e9), deleted, atts: {} };
		ledger.ask(id, state);
		const rev = old && !old.deleted ? { _rev: old.rev } : {}; // a deleted document is written again as if it were new
		const doc = { ...rev, n: state.n, pad: random.text(random.between(20, 900)), ...(deleted ? { _deleted: true } : {}) };
		const answer = await client.request('PUT', `/${db}/${id}`, doc);
		if (answer.status !== (deleted ? 200 : 201)) throw refused(`PUT ${id}`, answer);
		ledger.acknowledge(id, answer.json.rev);
		if (!old) own.push(id);
	}
}

async function bulk({ client, ledger, random, db, name }) {
	let serial = mine(ledger, name).length;
	for (;;) {
		const docs = [];
		for (let i = random.between(2, 60); i > 0; i--) {
			const state = { n: random.below(1e9), deleted: false, atts: {} };
			const id = `${name}-${random.below(1e6)}-${serial++}`;
			ledger.ask(id, state);
			docs.push({ _id: id, n: state.n, pad: random.text(300) });
		}
		const answer = await client.request('POST', `/${db}/_bulk_docs`, { docs });
		if (answer.status !== 201) throw refused('_bulk_docs', answer);
		for (const row of answer.json) {
			if (!row.ok) throw refused('_bulk_docs', answer);
			ledger.acknowledge(row.id, row.rev);
		}
	}
}

/** Attachments of ${low} to ${high} bytes, replaced now and then. */
async function attach({ client, ledger, random, db, name, low, high }) {
	for (;;) {
		const id = `${name}-${random.below(30)}`;
		const old = ledger.docs.get(id)?.state;
		const file = `f${random.below(3)}`;
		const bytes = random.bytes(random.between(low, high));
		ledger.ask(id, { n: old?.n, deleted: false, atts: { ...old?.atts, [file]: md5(bytes) } });
		const path = `/${db}/${id}/${file}${old ? `?rev=${old.rev}` : ''}`;
		const answer = await client.request('PUT', path, bytes, 'application/octet-stream');
		if (answer.status !== 201) throw refused(`PUT ${path}`, answer);
		ledger.acknowledge(id, answer.json.rev);
	}
}

/** Databases that come and go. */
async function databases({ client, ledger, random }) {
	for (;;) {
		const name = `other-${random.below(6)}`;
		const there = ledger.dbs.get(name) === 'there';
		ledger.dbs.set(name, 'doubt');
		const answer = await client.request(there ? 'DELETE' : 'PUT', `/${name}`);
		if (answer.status >= 300) throw refused(`${there ? 'DELETE' : 'PUT'} /${name}`, answer);
		ledger.dbs.set(name, there ? 'gone' : 'there');
		ledger.acks++;
	}
}

async function compact({ client, db, random, ledger, whenAcks }) {
	for (;;) {
		await whenAcks(ledger.acks + random.between(30, 200));
		const answer = await client.request('POST', `/${db}/_compact`, {});
		if (answer.status !== 202) throw refused('_compact', answer);
	}
}

/** Every writer with its name; run until the server is gone. */
export const WRITERS = [
	...[1, 2, 3, 4, 5, 6].map((i) => ({ run: single, name: `one${i}` })),
	{ run: bulk, name: 'bulk1' },
	{ run: bulk, name: 'bulk2' },
	{ run: attach, name: 'att1', low: 1, high: 3000 },
	{ run: attach, name: 'att2', low: 1000, high: 200000 },
	{ run: attach, name: 'att3', low: 2000000, high: 6000000 },
	{ run: databases, name: 'dbs' },
	{ run: compact, name: 'compact' },
];
