// What a server is loaded with while its disk is recorded, and the record of what it was asked and has answered, by places in the log.
//
// Each thing (a document, a database, a _security) has one writer, who waits for the answer before the next.  So with the power cut before record k of
// the log, it is as the last answer before k said, or as a request said that was sent before k and not yet answered.
import fs from 'node:fs';
import crypto from 'node:crypto';
import { md5 } from './writers.mjs';

/** `load` is written, `copy` its replica, and databases `other*` come and go. */
export const DB = 'load', COPY = 'copy';

export class Story {
	constructor(log) {
		this.fd = fs.openSync(log, 'r+');
		this.head = Buffer.alloc(16);
		this.things = new Map(); // thing -> [{sent, acked, state}], state null: it is not there
		this.acks = 0;
		this.busy = 0; // answers of 503, after which the request was made again
	}
	/** How many records the log has, and how many bytes. */
	now() {
		fs.readSync(this.fd, this.head, 0, 16, 0);
		return { ops: Number(this.head.readBigUInt64LE(0)), bytes: Number(this.head.readBigUInt64LE(8)) };
	}
	halt(yes) {
		fs.writeSync(this.fd, Buffer.from([yes, 0, 0, 0, 0, 0, 0, 0]), 0, 8, 16);
	}
	/** ${thing} is about to be made ${state}; what comes back is for acked(). */
	ask(thing, state) {
		const event = { sent: this.now().ops, acked: Infinity, state };
		if (!this.things.has(thing)) this.things.set(thing, []);
		this.things.get(thing).push(event);
		return event;
	}
	acked(event, more) {
		event.acked = this.now().ops;
		if (event.state) Object.assign(event.state, more);
		this.acks++;
	}
	/** What ${thing} may be with the power cut at ${k}; the first is what was acknowledged. */
	at(thing, k) {
		const may = [null];
		for (const event of this.things.get(thing) ?? []) {
			if (event.acked <= k) may.length = 0;
			if (event.acked <= k || event.sent < k) may.push(event.state);
		}
		return may;
	}
	/** How far before ${k} it was acknowledged. */
	age(thing, k) {
		return Math.min(...this.things.get(thing).map((e) => (e.acked <= k ? k - e.acked : Infinity)));
	}
}

const NOISE = crypto.randomBytes(8 << 20);
const refused = (what, answer) => new Error(`${what} answered ${answer.status}: ${answer.raw}`);

/** What writers have in hand: {client, story, random, name, own}. */
async function want(w, statuses, method, path, body, type) {
	let answer = await w.client.request(method, path, body, type);
	for (let tries = 0; answer.status === 503 && tries < 50; tries++) {
		w.story.busy++;
		if (process.env.POWER_TELL) console.log(`  busy: ${method} ${path} ${answer.raw}`);
		await new Promise((resolve) => setTimeout(resolve, 20));
		answer = await w.client.request(method, path, body, type);
	}
	if (!statuses.includes(answer.status)) throw refused(`${method} ${path}`, answer);
	return answer;
}

const content = (w) => ({ n: w.random.below(1e6), pad: w.random.text(w.random.between(10, w.random.below(8) ? 400 : 6000)) });

async function single(w) {
	const id = `${w.name}-${w.random.below(25)}`;
	const old = w.own.get(id);
	const deleted = Boolean(old && !old.deleted && w.random.below(6) === 0);
	const doc = { ...content(w), ...(old && !old.deleted ? { _rev: old.rev } : {}), ...(deleted ? { _deleted: true } : {}) };
	const state = { n: doc.n, deleted, atts: {} };
	const event = w.story.ask(`doc ${id}`, state);
	const { json } = await want(w, [200, 201], 'PUT', `/${DB}/${id}`, doc);
	w.story.acked(event, { rev: json.rev });
	w.own.set(id, state);
}

async function bulk(w) {
	const docs = Array.from({ length: w.random.between(2, 40) }, () => ({ _id: `${w.name}-${w.random.below(120)}`, ...content(w) }));
	const each = [...new Map(docs.map((d) => [d._id, d])).values()].map((doc) => ({ ...doc, ...(w.own.has(doc._id) ? { _rev: w.own.get(doc._id).rev } : {}) }));
	const events = each.map((doc) => w.story.ask(`doc ${doc._id}`, { n: doc.n, deleted: false, atts: {} }));
	const { json, raw } = await want(w, [201], 'POST', `/${DB}/_bulk_docs`, { docs: each });
	json.forEach((row, i) => {
		if (!row.ok) throw new Error(`_bulk_docs: ${raw}`);
		w.story.acked(events[i], { rev: row.rev });
		w.own.set(row.id, events[i].state);
	});
}

async function attach(w) {
	const id = `${w.name}-${w.random.below(6)}`;
	const old = w.own.get(id);
	const file = `f${w.random.below(3)}`;
	const from = w.random.below(4 << 20);
	const bytes = NOISE.subarray(from, from + w.random.between(w.low, w.high));
	const state = { n: undefined, deleted: false, atts: { ...old?.atts, [file]: md5(bytes) } };
	const event = w.story.ask(`doc ${id}`, state);
	const { json } = await want(w, [201], 'PUT', `/${DB}/${id}/${file}${old ? `?rev=${old.rev}` : ''}`, bytes, 'application/octet-stream');
	w.story.acked(event, { rev: json.rev });
	w.own.set(id, state);
}

/** Leaves that come from elsewhere: a document in conflict. */
async function fork(w) {
	const id = `${w.name}-${w.random.below(8)}`;
	const old = w.own.get(id);
	const hash = crypto.randomBytes(16).toString('hex');
	const doc = { _id: id, _rev: `1-${hash}`, ...content(w) };
	const state = { leaves: { ...old?.leaves, [doc._rev]: doc.n } };
	const event = w.story.ask(`doc ${id}`, state);
	await want(w, [201], 'POST', `/${DB}/_bulk_docs`, { new_edits: false, docs: [doc] });
	w.story.acked(event);
	w.own.set(id, state);
}

/** A document is written, and then was never there. */
async function purge(w) {
	const id = `${w.name}-${w.random.below(5)}`;
	const state = { ...content(w), deleted: false, atts: {} };
	const made = w.story.ask(`doc ${id}`, state);
	const { json } = await want(w, [201], 'PUT', `/${DB}/${id}`, { n: state.n, pad: state.pad });
	w.story.acked(made, { rev: json.rev });
	const gone = w.story.ask(`doc ${id}`, null);
	await want(w, [201], 'POST', `/${DB}/_purge`, { [id]: [json.rev] });
	w.story.acked(gone);
}

/** Databases come, with a few documents of this life of theirs, and go. */
async function databases(w) {
	const name = `other-${w.name}-${w.random.below(5)}`;
	if (w.own.has(name)) {
		const event = w.story.ask(`db ${name}`, null);
		await want(w, [200], 'DELETE', `/${name}`);
		w.story.acked(event);
		w.own.delete(name);
		return;
	}
	const life = `${w.name}-${w.random.below(1e9)}`;
	const event = w.story.ask(`db ${name}`, { life });
	await want(w, [201], 'PUT', `/${name}`);
	w.story.acked(event);
	w.own.set(name, life);
	for (let i = 0; i < 3; i++) {
		const put = w.story.ask(`in ${name} ${life}-${i}`, { n: i });
		const { json } = await want(w, [201], 'PUT', `/${name}/${life}-${i}`, { n: i });
		w.story.acked(put, { rev: json.rev });
	}
}

async function settings(w) {
	const n = w.random.below(1e9);
	const security = w.story.ask('security', { n });
	await want(w, [200], 'PUT', `/${DB}/_security`, { admins: { names: [`u${n}`], roles: [] }, members: { names: [], roles: ['_admin'] } });
	w.story.acked(security);
	const local = w.story.ask(`local ${w.name}`, { n });
	const _rev = w.own.get('local');
	const { json } = await want(w, [201], 'PUT', `/${DB}/_local/${w.name}`, { n, ...(_rev ? { _rev } : {}) });
	w.story.acked(local);
	w.own.set('local', json.rev);
	const setting = w.story.ask('setting', { n });
	await want(w, [200], 'PUT', '/_node/_local/_config/chttpd_auth/public_fields', String(n));
	w.story.acked(setting);
}

/** A design document that changes, so that its index is built anew. */
async function design(w) {
	const { json } = await w.client.request('GET', `/${DB}/_design/js`);
	const by = w.random.between(2, 9);
	const event = w.story.ask('doc _design/js', { by });
	await want(w, [201], 'PUT', `/${DB}/_design/js`, {
		...(json._rev ? { _rev: json._rev } : {}),
		by,
		views: { pairs: { map: `function (doc) { if (doc.n !== undefined) emit([doc.n % ${by}, doc.n], doc.n); }`, reduce: '_sum' } },
	});
	w.story.acked(event);
	for (let i = 0; i < 6; i++) await want(w, [200], 'GET', `/${DB}/_design/js/_view/pairs?limit=3&reduce=false`);
	await want(w, [202], 'POST', `/${DB}/_view_cleanup`, {});
}

async function indexes(w) {
	if (!w.own.has('index')) await want(w, [200], 'POST', `/${DB}/_index`, { index: { fields: ['n'] }, ddoc: 'find', name: 'byn' });
	w.own.set('index', true);
	await want(w, [200], 'POST', `/${DB}/_find`, { selector: { n: { $gt: w.random.below(1e6) } }, limit: 3 });
}

async function replicate(w) {
	await want(w, [200], 'POST', '/_replicate', { source: DB, target: COPY, create_target: true });
}

async function compact(w) {
	await want(w, [202, 404], 'POST', w.random.below(3) ? `/${DB}/_compact` : `/${DB}/_compact/js`, {});
}

/** Each with how long it rests after each time, up to so many milliseconds. */
const WRITERS = [
	{ run: single, name: 'one', rest: 3 },
	{ run: single, name: 'two', rest: 3 },
	{ run: bulk, name: 'bulk', rest: 30 },
	{ run: attach, name: 'small', low: 1, high: 30000, rest: 20 },
	{ run: attach, name: 'large', low: 300000, high: 2500000, rest: 300 },
	{ run: purge, name: 'purge', rest: 30 },
	{ run: fork, name: 'fork', rest: 20 },
	{ run: databases, name: 'dbs', rest: 10 },
	{ run: settings, name: 'set', rest: 40 },
	{ run: design, name: 'design', rest: 200 },
	{ run: indexes, name: 'index', rest: 50 },
	{ run: replicate, name: 'rep', rest: 100 },
	{ run: compact, name: 'compact', rest: 60 },
];

/**
 * Load the server that ${client} asks until the log has ${ops} more records or ${bytes} more, then call ${end}, in the middle of it.  ${part} tells
 * this load's documents from another's.
 */
export async function load({ client, story, random, part, ops, bytes, end }) {
	const began = story.now();
	const isOver = () => story.now().ops >= began.ops + ops || story.now().bytes >= began.bytes + bytes;
	let over = false;
	const run = async (writer) => {
		const w = { ...writer, name: `${writer.name}${part}`, client, story, random, own: new Map() };
		try {
			while (!over) {
				await writer.run(w);
				if (isOver()) over = true;
				await new Promise((resolve) => setTimeout(resolve, random.below(writer.rest)));
			}
		} catch (e) {
			if (!over) throw e;
		}
	};
	const all = WRITERS.map(run);
	const done = Promise.all(all);
	done.catch(() => (over = true));
	await Promise.race(all);
	await end();
	await done;
}
