// Kills divand, or a divan-js of its, with SIGKILL at random moments of builds and updates of views.  Whatever was killed, the index must
// finish, and show exactly what the documents say.
// VIEW_KILLS: how often (16).  CRASH_SEED: repeats the choices of an earlier run, though not the scheduler's.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import { startDivand, tempDir } from '../lib/divand.mjs';
import { Random } from '../lib/random.mjs';
import { Client } from './writers.mjs';

const KILLS = Number(process.env.VIEW_KILLS ?? (process.env.CRASH_KILLS ? 6 * process.env.CRASH_KILLS : 16));
const SEED = Number(process.env.CRASH_SEED ?? Date.now() % 1e9);
const DOCS = 2000; // of 10 KB each: several batches
const DB = 'built';
/** What a query may answer when a divan-js was killed under it. */
const DIED = [500, 503];

const random = new Random(SEED);
const PAD = random.text(10000);
const docs = new Map(); // id -> {rev, n, tag}; what was acknowledged
const dataDir = tempDir('divan-crash-views');
const tally = { divand: 0, child: 0, late: 0, refused: 0 };
let passed = 0;
let failed = 0;
let serial = 0;

function verdict(what, finding) {
	if (!finding) passed++;
	else {
		failed++;
		console.log(`  FAIL ${what} (CRASH_SEED=${SEED}): ${finding}`);
	}
}

let server = await startDivand({ dataDir });
let client = new Client(server);
const request = (...args) => client.request(...args);

async function must(status, ...args) {
	const answer = await request(...args);
	assert.equal(answer.status, status, `${args[0]} ${args[1]}: ${answer.raw}`);
	return answer.json;
}

/* ---- What is there, and what views say of it ---- */

const content = () => ({ n: random.between(-500, 500), tag: Array.from({ length: 3 }, () => random.pick('abcdefgh')).join(''), pad: PAD.slice(random.below(1000)) });

async function write(many) {
	const batch = many.map(([_id, rev]) => ({ _id, ...(rev ? { _rev: rev } : {}), ...(rev && random.below(6) === 0 ? { _deleted: true } : content()) }));
	const rows = await must(201, 'POST', `/${DB}/_bulk_docs`, { docs: batch });
	rows.forEach((row, i) => {
		assert.ok(row.ok, JSON.stringify(row));
		if (batch[i]._deleted) docs.delete(row.id);
		else docs.set(row.id, { rev: row.rev, n: batch[i].n, tag: batch[i].tag });
	});
}

/** Another design document each time, for its index is to be built anew. */
const designOf = () => ({
	views: {
		pairs: { map: `function (doc) { emit([doc.tag, doc.n], doc.n); if (doc.n % 3 === 0) emit([doc.tag.slice(0, 1), doc.n], 1); } // ${++serial}`, reduce: '_sum' },
		script: { map: 'function (doc) { for (var i = 0; i < 500; i++) Math.sqrt(i); emit(doc.n, 1); }', reduce: 'function (keys, values) { return sum(values); }' },
	},
});

/** The rows of both views as they must be. */
function expected() {
	const pairs = [], script = [];
	for (const [id, { n, tag }] of docs) {
		pairs.push({ id, key: [tag, n], value: n });
		if (n % 3 === 0) pairs.push({ id, key: [tag[0], n], value: 1 });
		script.push({ id, key: n, value: 1 });
	}
	const text = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
	pairs.sort((a, b) => text(a.key[0], b.key[0]) || a.key[1] - b.key[1] || text(a.id, b.id));
	script.sort((a, b) => a.key - b.key || text(a.id, b.id));
	return { pairs, script };
}

function grouped(rows, of) {
	const out = new Map();
	for (const row of rows) out.set(of(row.key), (out.get(of(row.key)) ?? 0) + row.value);
	return [...out.values()];
}

/** What is wrong with an index; nothing, or a text. */
async function compare(ddoc) {
	const view = async (name, query) => {
		for (;;) {
			const { status, json, raw } = await request('GET', `/${DB}/_design/${ddoc}/_view/${name}?${query}`);
			if (status === 200) return json.rows;
			// A child that was killed just now may still be told.
			if (!DIED.includes(status)) throw new Error(`${name}?${query}: ${status} ${raw}`);
			tally.refused++;
		}
	};
	const { pairs, script } = expected();
	const sum = (rows) => rows.reduce((a, r) => a + r.value, 0);
	for (const [name, rows] of [['pairs', pairs], ['script', script]]) {
		const got = await view(name, 'reduce=false');
		if (!isDeepStrictEqual(got, rows)) {
			const at = rows.findIndex((r, i) => !isDeepStrictEqual(r, got[i]));
			return `${name}: ${got.length} rows, ${rows.length} expected; at ${at} ${JSON.stringify(got[at])}, ${JSON.stringify(rows[at])} expected`;
		}
		const [all] = await view(name, '');
		if ((all?.value ?? 0) !== sum(rows)) return `${name}: ${all?.value} in all, ${sum(rows)} expected`;
		const groups = (await view(name, 'group=true')).map((r) => r.value);
		if (!isDeepStrictEqual(groups, grouped(rows, (key) => JSON.stringify(key)))) return `${name}: groups are wrong`;
	}
	const levels = (await view('pairs', 'group_level=1')).map((r) => r.value);
	if (!isDeepStrictEqual(levels, grouped(pairs, (key) => key[0]))) return 'pairs: groups of the first level are wrong';
	const from = random.between(-500, 500), to = random.between(from, 500);
	const [range] = await view('script', `startkey=${from}&endkey=${to}`);
	const wanted = sum(script.filter((r) => r.key >= from && r.key <= to));
	return (range?.value ?? 0) === wanted ? undefined : `script: ${range?.value} from ${from} to ${to}, ${wanted} expected`;
}

/** Another one of the language "query": no child is asked. */
const nativeOf = () => ({
	language: 'query',
	views: { [`v${++serial}`]: { map: { fields: { tag: 'asc', n: 'asc' }, partial_filter_selector: { n: { $gt: 0 } } }, reduce: '_count', options: {} } },
});

async function compareNative(ddoc, name) {
	const rows = expected().pairs.filter((r) => r.key[0].length === 3 && r.key[1] > 0).map((r) => ({ ...r, value: null }));
	const got = (await must(200, 'GET', `/${DB}/_design/${ddoc}/_view/${name}?reduce=false`)).rows;
	if (!isDeepStrictEqual(got, rows)) {
		const at = rows.findIndex((r, i) => !isDeepStrictEqual(r, got[i]));
		return `${name}: ${got.length} rows, ${rows.length} expected; at ${at} ${JSON.stringify(got[at])}, ${JSON.stringify(rows[at])} expected`;
	}
	const [all] = (await must(200, 'GET', `/${DB}/_design/${ddoc}/_view/${name}`)).rows;
	return (all?.value ?? 0) === rows.length ? undefined : `${name}: ${all?.value} counted, ${rows.length} expected`;
}

/* ---- Kills ---- */

/** The divan-js of the server. */
function children() {
	return fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name)).filter((pid) => {
		try {
			const stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8');
			return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]) === server.pid;
		} catch {
			return false; // it has just ended
		}
	}).map(Number);
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Ask for a view of ${ddoc}, and kill something up to ${ms} later, unless there is an answer by then.  Result: was something killed? */
async function killUnder(ddoc, ms, names = ['pairs', 'script']) {
	let answered = false;
	const asked = request('GET', `/${DB}/_design/${ddoc}/_view/${random.pick(names)}?reduce=${random.pick(['true', 'false&limit=1'])}`)
		.then(({ status, raw }) => {
			answered = true;
			if (status !== 200 && !DIED.includes(status)) throw new Error(`${status} ${raw}`);
		}, () => (answered = true));
	const ofChild = names.length > 1 && random.below(2) === 0;
	while (ofChild && !answered && children().length === 0) await sleep(1);
	await sleep(random.below(10 * ms) / 10);
	const pids = ofChild && !answered ? children() : [];
	if (answered) {
		tally.late++;
		return false;
	}
	if (pids.length) {
		for (const pid of random.below(3) ? [random.pick(pids)] : pids) {
			try {
				process.kill(pid, 'SIGKILL');
			} catch {} // it has just ended
		}
		tally.child++;
		await asked;
	} else {
		await server.kill();
		await asked;
		client.close();
		await server.restart();
		client = new Client(server);
		tally.divand++;
	}
	return true;
}

await must(201, 'PUT', `/${DB}`);
for (let i = 0; i < DOCS; i += 500) await write(Array.from({ length: 500 }, (_, n) => [`doc${i + n}`]));
await must(201, 'PUT', `/${DB}/_design/measured`, designOf());
const began = performance.now();
await must(200, 'GET', `/${DB}/_design/measured/_view/pairs`);
const building = performance.now() - began;
verdict('a build that nobody disturbs', await compare('measured'));

while (tally.divand + tally.child < KILLS) {
	const ddoc = `d${serial}`;
	await must(201, 'PUT', `/${DB}/_design/${ddoc}`, designOf());
	// An index that is built, or one that was built and is brought up to date.
	if (random.below(4) === 0) {
		await must(200, 'GET', `/${DB}/_design/${ddoc}/_view/pairs`);
		const ids = [...docs].filter(() => random.below(4) === 0).map(([id, { rev }]) => [id, rev]);
		await write(ids);
		await write(Array.from({ length: 40 }, () => [`new${random.below(1e9)}`]));
	}
	for (let n = random.between(1, 4); n > 0 && await killUnder(ddoc, 0.7 * building); n--);
	verdict(`kills of ${ddoc}`, await compare(ddoc));
	const { _rev } = await must(200, 'GET', `/${DB}/_design/${ddoc}`);
	await must(200, 'DELETE', `/${DB}/_design/${ddoc}?rev=${_rev}`);
	await must(202, 'POST', `/${DB}/_view_cleanup`, {});
}
verdict('an index of before all kills', await compare('measured'));

// Indexes of the language "query": built, or brought up to date with what has changed since.
{
	let design = nativeOf();
	let [name] = Object.keys(design.views);
	await must(201, 'PUT', `/${DB}/_design/native`, design);
	const from = performance.now();
	await must(200, 'GET', `/${DB}/_design/native/_view/${name}`);
	const ms = performance.now() - from;
	for (let kills = 0, tries = 0; kills < KILLS / 4 && tries < KILLS; tries++) {
		if (random.below(2)) {
			const { _rev } = await must(200, 'GET', `/${DB}/_design/native`);
			design = nativeOf();
			[name] = Object.keys(design.views);
			await must(201, 'PUT', `/${DB}/_design/native`, { _rev, ...design });
		} else {
			await write([...docs].filter(() => random.below(4) === 0).map(([id, { rev }]) => [id, rev]));
		}
		kills += await killUnder('native', ms, [name]);
		verdict(`kills of ${name}`, await compareNative('native', name));
	}
}
client.close();
await server.stop();
console.log(`  ${tally.divand} kills of divand and ${tally.child} of its children, ${tally.late} builds were done before; a build takes ${Math.round(building)} ms, ${tally.refused} queries were told of a kill`);
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed || !passed ? 1 : 0;
