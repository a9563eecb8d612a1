// Kills the source, the target or the driver of a replication with SIGKILL in the middle of it: of the countries with their flags and
// outlines, of conflicts, and of what a writer adds to the source meanwhile.  In the end both sides are equal, and all that the
// source has acknowledged is there.
// REPLICATE_KILLS: how often (6).  CRASH_SEED: repeats the choices of an earlier run, though not the scheduler's.
import { execFileSync } from 'node:child_process';
import { DIVAN, startDivand } from '../lib/divand.mjs';
import { Random } from '../lib/random.mjs';
import { countries } from '../interop/lib.mjs';
import { Node, differences, documents, loadAll } from '../interop/replication.mjs';

const KILLS = Number(process.env.REPLICATE_KILLS ?? 6);
const SEED = Number(process.env.CRASH_SEED ?? Date.now() % 1e9);
const ROUND_MS = 120000;
const DB = 'countries';
const VICTIMS = ['source', 'target', 'driver'];
const SOON = { checkpoint_interval: 50, worker_batch_size: 20, connection_timeout: 5000 };

const random = new Random(SEED);
const acknowledged = new Map(); // id -> the revision of the last write that was
let passed = 0;
let failed = 0;
let resumed = 0;
let midway = 0;
let serial = 0;

function verdict(what, findings) {
	if (findings.length === 0) passed++;
	else {
		failed++;
		console.log(`  FAIL ${what} (CRASH_SEED=${SEED})\n${findings.slice(0, 20).map((f) => `    ${f}`).join('\n')}`);
	}
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const tryTo = (f) => f().catch(() => undefined);

/** Documents, edits, deletions and attachments go to the source until stop() is called; what is not answered is asked about later. */
function write(source, up) {
	const writer = { stopped: false, stop: () => (writer.stopped = true) };
	writer.done = (async () => {
		while (!writer.stopped) {
			const n = ++serial;
			const own = [...acknowledged.keys()];
			const id = own.length && random.below(3) === 0 ? random.pick(own) : `written-${n}`;
			const old = acknowledged.get(id);
			const kind = old ? random.below(3) : 0;
			const rev = old ? `?rev=${old}` : '';
			acknowledged.delete(id); // until it is known
			const answer = await tryTo(() => (kind === 1 ? source.ask('DELETE', `/${DB}/${id}${rev}`)
				: kind === 2 ? source.ask('PUT', `/${DB}/${id}/file${rev}`, { bytes: random.bytes(random.below(60000)), type: random.pick(['text/plain', 'x/y']) })
					: source.ask('PUT', `/${DB}/${id}${rev}`, { n, text: random.text(200) })));
			if (!answer) await up();
			else if (answer.status < 300 && kind !== 1) acknowledged.set(id, answer.json.rev);
			else if (answer.status >= 300) throw new Error(`${kind} ${id}: ${answer.status} ${answer.text}`);
			await sleep(random.below(20));
		}
	})();
	return writer;
}

/** Leaves and attachments of all documents. */
async function leaves(node, db) {
	const { results } = await node.want('GET', `/${db}/_changes?style=all_docs&include_docs=true&att_encoding_info=true`);
	const out = {};
	for (const { id, changes, deleted, doc } of results) {
		const atts = Object.entries(doc._attachments ?? {}).map(([name, a]) => `${name} ${a.digest} ${a.length} ${a.content_type}`).sort();
		out[id] = [`winner ${changes[0].rev} ${deleted ?? false} ${changes.map((c) => c.rev).sort().join(' ')}`, JSON.stringify(atts)];
	}
	return out;
}

const countOf = async (node, db) => (await tryTo(() => node.ask('GET', `/${db}`)))?.json?.doc_count ?? -1;

/** What the target has once the driver says that all is through: the differences to the source. */
async function compare(source, target, db) {
	const end = Date.now() + ROUND_MS;
	for (;;) {
		const [a, b] = [await leaves(source, DB), (await countOf(target, db)) < 0 ? {} : await leaves(target, db)];
		const found = differences(a, b);
		for (const [id, rev] of acknowledged) if (!a[id]?.[0].includes(rev)) found.push(`${id}: ${rev} was acknowledged, the source has ${a[id]}`);
		if (found.length === 0 || Date.now() > end) return found;
		await sleep(50);
	}
}

async function round(i, nodes, db) {
	const { source, target, driver } = nodes;
	const began = Date.now();
	let victim = random.pick(VICTIMS);
	const all = await countOf(source, DB);
	const at = random.below(all);
	let restarted;
	let back;
	restarted = new Promise((resolve) => (back = resolve));
	const writer = write(source, () => restarted);
	const body = { ...SOON, source: `${source.authUrl}/${DB}`, target: `${target.authUrl}/${db}`, create_target: true, continuous: random.below(2) === 0 };
	await driver.want('PUT', `/_replicator/${db}`, body);

	// At a moment when so many documents have come over; now and then twice in a row.
	const end = Date.now() + ROUND_MS;
	while ((await countOf(target, db)) < at && Date.now() < end);
	const came = await countOf(target, db);
	await nodes[victim].server.kill();
	if (came >= 0 && came < all) midway++;
	await nodes[victim].server.restart();
	back();
	if (random.below(4) === 0) {
		restarted = new Promise((resolve) => (back = resolve));
		victim = random.pick(VICTIMS);
		await sleep(random.below(300));
		await nodes[victim].server.kill();
		await nodes[victim].server.restart();
		back();
	}
	await sleep(random.below(200));
	writer.stop();
	await writer.done;
	// One that is not continuous has an end, behind which there may be more: it is begun again.
	const doc = await until(async () => (await driver.ask('GET', `/_scheduler/docs/_replicator/${db}`)).json, (d) => d?.state === 'completed' || (body.continuous && d?.state === 'running'));
	if (doc.info?.revisions_checked < all) resumed++;
	if (!body.continuous) {
		const { _rev } = await until(() => driver.want('GET', `/_replicator/${db}`), (told) => told._replication_state === 'completed');
		await driver.want('PUT', `/_replicator/${db}`, { _rev, ...body, continuous: true });
	}
	if (process.env.REPLICATE_TELL) console.log(`  ${i} ${victim} at ${came} of ${all}, continuous ${body.continuous}: ${Date.now() - began} ms ${JSON.stringify((await driver.want('GET', '/_scheduler/jobs')).jobs[0]?.history)}`);
	verdict(`kill ${i}: the ${victim} at ${came} of ${all}${body.continuous ? ', continuous' : ''}`, await compare(source, target, db));
	const { _rev } = await driver.want('GET', `/_replicator/${db}`);
	await driver.want('DELETE', `/_replicator/${db}?rev=${_rev}`);
}

async function until(look, enough) {
	for (const end = Date.now() + ROUND_MS; ;) {
		const found = await look();
		if (enough(found)) return found;
		if (Date.now() > end) throw new Error(`not within ${ROUND_MS} ms: ${JSON.stringify(found)}`);
		await sleep(20);
	}
}

function check(dataDir) {
	try {
		execFileSync(DIVAN, ['check', '--data', dataDir], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
		return [];
	} catch (e) {
		return `${e.stdout ?? ''}${e.stderr ?? ''}`.trim().split('\n');
	}
}

const config = { replicator: { startup_jitter: 0, backoff: 100 } };
const [source, target, driver] = (await Promise.all([1, 2, 3].map(() => startDivand({ config })))).map((server) => new Node(server));
const nodes = { source, target, driver };
await source.create(DB);
await source.want('POST', `/${DB}/_bulk_docs`, { docs: countries() });
await loadAll(source, DB, documents({ big: 1 << 20, seed: SEED }));
let db;
for (let i = 1; i <= KILLS; i++) {
	if (db) await target.want('DELETE', `/${db}`);
	db = `copy-${i}`;
	try {
		await round(i, nodes, db);
	} catch (e) {
		verdict(`kill ${i}`, [e.stack]);
		break;
	}
}
if (failed === 0) verdict('every revision and byte of the last', differences(await source.picture(DB), await target.picture(db)));
if (KILLS >= 6) verdict('some went on from a checkpoint', resumed > 0 ? [] : ['none did']);
for (const node of [source, target, driver]) {
	await node.server.stop();
	verdict('db_check', check(node.server.dataDir));
}
console.log(`  ${KILLS} kills of replications, ${midway} of them midway, ${resumed} went on from a checkpoint, ${acknowledged.size} documents were written meanwhile`);
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed || !passed ? 1 : 0;
