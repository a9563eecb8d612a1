// What must hold of a server on a disk after a power cut.
import { isDeepStrictEqual } from 'node:util';
import { md5 } from './writers.mjs';
import { COPY, DB } from './power_load.mjs';

/** Documents that are written after a cut. */
const AFTER = 'after-';

const told = (s) => (s ? JSON.stringify(s).slice(0, 200) : 'absent');

/** Is a row of _changes with its document ${state}? */
function fits(state, row) {
	if (!state || !row) return !state && !row;
	if (state.rev !== undefined && state.rev !== row.changes[0].rev) return false;
	if (row.id.startsWith('_design/')) return state.by === row.doc.by;
	if (state.leaves) {
		return isDeepStrictEqual(Object.keys(state.leaves).sort(), row.changes.map((c) => c.rev).sort()) && state.leaves[row.changes[0].rev] === row.doc.n;
	}
	const atts = row.doc._attachments ?? {};
	return state.deleted === Boolean(row.deleted) && row.doc.n === state.n && Object.keys(atts).length === Object.keys(state.atts).length &&
		Object.entries(state.atts).every(([name, sum]) => atts[name]?.digest === `md5-${sum}`);
}

async function documents(ask, story, k, rows, random, findings) {
	const ids = [...story.things.keys()].filter((thing) => thing.startsWith('doc ')).map((thing) => thing.slice(4));
	const known = new Set(ids);

	for (const id of rows.keys()) if (!known.has(id) && id !== '_design/find' && !id.startsWith(AFTER)) findings.push(`${id}: nobody wrote it`);
	for (const id of ids) {
		const may = story.at(`doc ${id}`, k);
		const found = may.find((state) => fits(state, rows.get(id)));
		if (found === undefined) findings.push(`${id}: expected ${may.map(told).join(' or ')}, found ${JSON.stringify(rows.get(id))?.slice(0, 200)}`);
		// The bytes of some attachments; divan check looks at the digests of all.
		const read = story.age(`doc ${id}`, k) < 60 || random.below(8) === 0;
		for (const [name, sum] of Object.entries((read && found?.atts) || {})) {
			const { status, raw } = await ask('GET', `/${DB}/${id}/${name}`);
			if (status !== 200 || md5(raw) !== sum) findings.push(`${id}/${name}: ${status}, ${raw.length} bytes that are not those sent`);
		}
	}
	const { json } = await ask('GET', `/${DB}`);
	const live = [...rows.values()].filter((row) => !row.deleted).length;
	if (json.doc_count !== live) findings.push(`doc_count ${json.doc_count}, counted ${live}`);
}

async function databases(ask, story, k, findings) {
	const all = await ask('GET', '/_all_dbs');
	if (all.status !== 200) throw new Error(`_all_dbs: ${all.status} ${all.raw}`);
	const names = new Set(all.json);

	for (const thing of story.things.keys()) {
		if (!thing.startsWith('db ')) continue;
		const name = thing.slice(3), may = story.at(thing, k);
		if (!names.has(name)) {
			if (may.every(Boolean)) findings.push(`database ${name} is gone`);
			continue;
		}
		names.delete(name);
		const lives = may.filter(Boolean).map((state) => state.life);
		const { status, json, raw } = await ask('GET', `/${name}/_all_docs`);
		if (status !== 200) {
			findings.push(`database ${name}: ${status} ${raw}`);
			continue;
		}
		const ids = json.rows.map((row) => row.id);
		// The life that its documents are of; without one, any that may be without.
		const fit = lives.some((life) => ids.every((id) => id.startsWith(`${life}-`)) &&
			[0, 1, 2].every((i) => story.at(`in ${name} ${life}-${i}`, k).some((state) => Boolean(state) === ids.includes(`${life}-${i}`))));
		if (!fit) findings.push(`database ${name}: may be ${may.map(told).join(' or ')}, has ${ids}`);
	}
	for (const name of names) if (![DB, COPY].includes(name) && !name.startsWith('_')) findings.push(`database ${name}: nobody made it`);
}

async function settings(ask, story, k, findings) {
	const { json } = await ask('GET', `/${DB}/_security`);
	const may = story.at('security', k);
	if (!may.some((state) => (state ? json.admins?.names?.[0] === `u${state.n}` : !json.admins?.names?.length))) {
		findings.push(`_security: expected ${may.map(told)}, found ${JSON.stringify(json)}`);
	}
	const setting = story.at('setting', k), found = await ask('GET', '/_node/_local/_config/chttpd_auth/public_fields');
	if (!setting.some((state) => (state ? found.json === String(state.n) : found.status === 404))) {
		findings.push(`a setting: expected ${setting.map(told)}, found ${found.raw}`);
	}
	for (const thing of story.things.keys()) {
		if (!thing.startsWith('local ')) continue;
		const local = await ask('GET', `/${DB}/_local/${thing.slice(6)}`);
		const states = story.at(thing, k);
		if (!states.some((state) => (state ? local.json.n === state.n : local.status === 404))) findings.push(`${thing}: expected ${states.map(told)}, found ${local.raw}`);
	}
}

/** The indexes finish, and show what the documents say. */
async function indexes(ask, rows, findings) {
	const docs = [...rows.values()].filter((row) => !row.deleted && row.doc.n !== undefined && !row.id.startsWith('_')).map((row) => row.doc);
	const by = rows.get('_design/js')?.doc.by;
	const text = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
	if (by) {
		const wanted = docs.map((d) => ({ id: d._id, key: [d.n % by, d.n], value: d.n }))
			.sort((a, b) => a.key[0] - b.key[0] || a.key[1] - b.key[1] || text(a.id, b.id));
		const { status, json, raw } = await ask('GET', `/${DB}/_design/js/_view/pairs?reduce=false`);
		if (status !== 200) findings.push(`pairs: ${status} ${raw}`);
		else if (!isDeepStrictEqual(json.rows, wanted)) findings.push(`pairs: ${json.rows.length} rows that are not the ${wanted.length} expected`);
		const sums = new Map();
		for (const d of docs) sums.set(d.n % by, (sums.get(d.n % by) ?? 0) + d.n);
		const groups = (await ask('GET', `/${DB}/_design/js/_view/pairs?group_level=1`)).json.rows;
		const expected = [...sums].sort((a, b) => a[0] - b[0]).map(([key, value]) => ({ key: [key], value }));
		if (!isDeepStrictEqual(groups, expected)) findings.push(`pairs: sums ${JSON.stringify(groups)}, expected ${JSON.stringify(expected)}`);
	}
	if (rows.has('_design/find')) {
		const { status, json, raw } = await ask('POST', `/${DB}/_find`, { selector: { n: { $gte: 0 } }, fields: ['_id', 'n'], use_index: 'find', limit: 100000 });
		const wanted = docs.map((d) => ({ _id: d._id, n: d.n })).sort((a, b) => a.n - b.n || text(a._id, b._id));
		if (status !== 200) findings.push(`_find: ${status} ${raw}`);
		else if (!isDeepStrictEqual(json.docs, wanted)) findings.push(`_find: ${json.docs.length} documents that are not the ${wanted.length} expected`);
	}
}

/** A replication that goes on from the checkpoints leaves nothing behind. */
async function replication(ask, rows, findings) {
	const { status, raw, json } = await ask('POST', '/_replicate', { source: DB, target: COPY, create_target: true });
	if (status !== 200) {
		findings.push(`_replicate: ${status} ${raw}`);
		return undefined;
	}
	const leaves = Object.fromEntries([...rows.values()].map((row) => [row.id, row.changes.map((c) => c.rev)]));
	const missing = (await ask('POST', `/${COPY}/_revs_diff`, leaves)).json;
	if (!isDeepStrictEqual(missing, {})) findings.push(`the replica lacks ${JSON.stringify(missing).slice(0, 300)}`);
	return json.history?.[0]?.docs_read ?? 0;
}

/** What is wrong; ${story} as of ${k}. */
export async function checkServer({ client, story, random, k, tally }) {
	const ask = (...args) => client.request(...args);
	const findings = [];
	await databases(ask, story, k, findings);
	const exists = await ask('GET', `/${DB}/_changes?include_docs=true&style=all_docs`);
	const may = story.at(`made ${DB}`, k);
	if (exists.status === 404) {
		if (may.every(Boolean)) findings.push(`database ${DB} is gone`);
		return findings;
	}
	if (exists.status !== 200) return [...findings, `_changes: ${exists.status} ${exists.raw}`];
	const rows = new Map(exists.json.results.map((row) => [row.id, row]));
	if (rows.size !== exists.json.results.length) findings.push('a document is in _changes twice');
	await documents(ask, story, k, rows, random, findings);
	await settings(ask, story, k, findings);
	await indexes(ask, rows, findings);
	const copied = await replication(ask, rows, findings);
	if (copied !== undefined && copied < rows.size) tally.resumed++;
	const written = await ask('PUT', `/${DB}/${AFTER}${random.below(1e9)}`, {});
	if (written.status !== 201) findings.push(`no document can be written: ${written.status} ${written.raw}`);
	return findings;
}
