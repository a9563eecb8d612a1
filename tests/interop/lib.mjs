// What the interop tests share: real data, and a picture of a database that shows every difference that matters.
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { Random } from '../lib/random.mjs';

const require = createRequire(import.meta.url);

/** Types that CouchDB compresses; their digest on the server is that of the compressed bytes. */
const COMPRESSIBLE = /^(text\/|application\/(javascript|json|xml))/;

/** The 250 countries, each with its flag (SVG) and outline (GeoJSON) as attachments in base64. */
export function countries() {
	const folder = path.dirname(require.resolve('world-countries/package.json'));
	const list = JSON.parse(fs.readFileSync(path.join(folder, 'countries.json'), 'utf8'));
	assert.ok(list.length >= 240, `${list.length} countries`);
	return list.map((country) => {
		const file = (ext) => path.join(folder, 'data', `${country.cca3.toLowerCase()}${ext}`);
		const atts = {};
		for (const [name, ext, content_type] of [['flag.svg', '.svg', 'image/svg+xml'], ['outline.json', '.geo.json', 'application/json']]) {
			if (fs.existsSync(file(ext))) atts[name] = { content_type, data: fs.readFileSync(file(ext)).toString('base64') };
		}
		return { _id: country.cca3, ...country, _attachments: atts };
	});
}

/** ${n} contacts of about 500 bytes. */
export function contacts(n, seed = 7) {
	const random = new Random(seed);
	const given = ['Ada', 'Bela', 'Chandra', 'Dmitri', 'Edsger', 'Frances', 'Grace', 'Hedy', 'Ida', 'João', 'Katherine', 'Leslie'];
	const family = ['Lovelace', 'Bartók', 'Sekhar', 'Faddeev', 'Dijkstra', 'Allen', 'Hopper', 'Lamarr', 'Rhodes', 'Müller', 'Johnson'];
	return Array.from({ length: n }, (_, i) => {
		const first = random.pick(given);
		const last = random.pick(family);
		return {
			_id: `contact-${String(i).padStart(6, '0')}`, type: 'contact', first, last, born: random.between(1930, 2010),
			email: `${first}.${last}.${i}@example.org`.toLowerCase(), phones: [`+49 ${random.below(1e9)}`, `+44 ${random.below(1e9)}`],
			address: { street: `${random.pick(family)} Street ${random.below(300)}`, city: random.pick(family), zip: String(random.below(1e5)) },
			note: random.text(180), tags: [random.pick(given), random.pick(family)],
		};
	});
}

const sha = (base64) => crypto.createHash('sha256').update(Buffer.from(base64, 'base64')).digest('hex').slice(0, 16);

/**
 * A database as text lines by document id: winner, conflicts, all leaves, body, and attachments with bytes and, where the type
 * is not compressed, digests.  ${rows}: of _all_docs with documents, conflicts and attachments; ${changes}: of style=all_docs.
 */
export function picture(rows, changes) {
	const out = {};
	for (const { id, changes: leaves, deleted } of changes) {
		out[id] = { leaves: leaves.map((l) => l.rev).sort().join(' '), deleted: Boolean(deleted) };
	}
	for (const { id, doc } of rows) {
		const { _id, _rev, _attachments = {}, _conflicts = [], ...body } = doc;
		const atts = Object.entries(_attachments).sort().map(([name, a]) =>
			`${name} ${a.content_type} ${sha(a.data)}${COMPRESSIBLE.test(a.content_type) ? '' : ` ${a.digest}`}`);
		out[id] = { ...out[id], winner: _rev, body: JSON.stringify(body), conflicts: _conflicts.sort().join(' '), atts };
	}
	return out;
}

export async function pouchPicture(db) {
	const { rows } = await db.allDocs({ include_docs: true, conflicts: true, attachments: true });
	const { results } = await db.changes({ style: 'all_docs', since: 0 });
	return picture(rows, results);
}

/** Leaves alone, to be asked often; for `converged`. */
export const pouchLeaves = async (db) => picture([], (await db.changes({ style: 'all_docs', since: 0 })).results);

/** The server's picture, asked without PouchDB. */
export async function serverPicture(url, auth) {
	const get = async (rest) => {
		const answer = await fetch(`${url}/${rest}`, { headers: { Authorization: auth, Accept: 'application/json' } });
		assert.equal(answer.status, 200, rest);
		return answer.json();
	};
	const { rows } = await get('_all_docs?include_docs=true&conflicts=true&attachments=true');
	const { results } = await get('_changes?style=all_docs');
	return picture(rows, results);
}

/** The first few differences of two pictures; empty if there are none. */
export function differences(a, b) {
	const out = [];
	for (const id of new Set([...Object.keys(a), ...Object.keys(b)])) {
		for (const part of ['leaves', 'deleted', 'winner', 'conflicts', 'atts', 'body']) {
			const [x, y] = [a, b].map((side) => JSON.stringify(side[id]?.[part]) ?? 'nothing');
			if (x === y) continue;
			out.push(`${id} ${part}: ${x.slice(0, 300)} and ${y.slice(0, 300)}`);
			break;
		}
	}
	return out.length > 5 ? [...out.slice(0, 5), `${out.length} documents differ`] : out;
}

/**
 * Wait until ${same}() (which gives a list of differences) is empty; asked again at every event of ${emitters}, live replications.
 */
export function converged(emitters, same, ms = 90000) {
	return new Promise((resolve, reject) => {
		let busy = false;
		let again = false;
		let last = ['nothing compared'];
		const end = (settle, value) => {
			clearTimeout(timer);
			for (const e of emitters) for (const name of NEWS) e.removeListener(name, look);
			settle(value);
		};
		const timer = setTimeout(() => end(reject, new Error(`still different after ${ms} ms:\n  ${last.join('\n  ')}`)), ms);
		const look = async () => {
			if (busy) {
				again = true;
				return;
			}
			busy = true;
			do {
				again = false;
				try {
					last = await same();
				} catch (e) {
					last = [e.stack];
				}
				if (last.length === 0) return end(resolve);
			} while (again);
			busy = false;
		};
		const NEWS = ['paused', 'change', 'active'];
		for (const e of emitters) {
			for (const name of NEWS) e.on(name, look);
			e.on('error', (error) => end(reject, error));
			e.on('denied', (error) => end(reject, new Error(`denied: ${JSON.stringify(error)}`)));
		}
		look();
	});
}

/**
 * A live sync has written its checkpoints and waits.  PouchDB asks for the source's information beside each checkpoint and leaves
 * an error of that one request uncaught, so a server may only go away between batches.
 */
export const isIdle = (sync) => sync.push.state === 'pending' && sync.pull.state === 'pending';

/** End live replications and wait until they have. */
export const cancelAll = (replications) => Promise.all(replications.map((r) => new Promise((resolve) => {
	r.on('complete', resolve);
	r.on('error', resolve);
	r.cancel();
})));
