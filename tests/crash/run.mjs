// Kills divand with SIGKILL under write load, opens its data again, and compares it with what was acknowledged.
// CRASH_KILLS: how often (8).  CRASH_SEED: repeats the choices of an earlier run, though not the scheduler's.
import { execFileSync } from 'node:child_process';
import { DIVAN, startDivand, tempDir } from '../lib/divand.mjs';
import { Random } from '../lib/random.mjs';
import { Client, Ledger, WRITERS, md5 } from './writers.mjs';

const KILLS = Number(process.env.CRASH_KILLS ?? 8);
const SEED = Number(process.env.CRASH_SEED ?? Date.now() % 1e9);
const DB = 'crash';

const random = new Random(SEED);
const ledger = new Ledger();
const dataDir = tempDir('divan-crash');
let passed = 0;
let failed = 0;
let midway = 0; // kills while a compaction was seen to run

function verdict(what, findings) {
	if (findings.length === 0) passed++;
	else {
		failed++;
		console.log(`  FAIL ${what} (CRASH_SEED=${SEED})\n${findings.slice(0, 20).map((f) => `    ${f}`).join('\n')}`);
		if (findings.length > 20) console.log(`    and ${findings.length - 20} more`);
	}
}

/** Ask for a compaction and come back in the middle of it: in ${phase}, a few looks after it began.  Result: was it seen? */
async function untilCompacting(client, phase) {
	let looks = random.between(1, 4);
	await client.request('POST', `/${DB}/_compact`, {});
	for (let i = 0; i < 300; i++) {
		const { json } = await client.request('GET', '/_active_tasks');
		if (json.length === 0 && i > 0) await client.request('POST', `/${DB}/_compact`, {});
		else if (json.some((task) => task.phase === phase) && --looks === 0) return true;
	}
	return false;
}

/**
 * Load the server until it has acknowledged ${acks} more writes, and kill it at that moment, or with ${phase} once a
 * compaction is in it.  Result: what went wrong before.
 */
async function loadAndKill(server, acks, phase) {
	const client = new Client(server);
	const goal = ledger.acks + acks;
	const findings = [];
	const waiting = [];
	let killed = false;
	let reached;
	const enough = new Promise((resolve) => (reached = resolve));
	const acknowledge = Ledger.prototype.acknowledge;

	ledger.acknowledge = function (...args) {
		acknowledge.apply(this, args);
		if (this.acks >= goal) reached();
		for (const w of waiting) if (this.acks >= w.at) w.resolve();
	};
	const whenAcks = (at) => new Promise((resolve) => waiting.push({ at, resolve }));
	const writers = WRITERS.map(async (writer) => {
		try {
			await writer.run({ ...writer, client, ledger, random, db: DB, whenAcks });
		} catch (e) {
			if (!killed) {
				findings.push(`${writer.name}: ${e.message}`);
				reached();
			}
		}
	});
	await enough;
	if (phase && findings.length === 0 && await untilCompacting(client, phase).catch(() => false)) midway++;
	killed = true;
	await server.kill();
	for (const w of waiting) w.resolve();
	await Promise.all(writers);
	client.close();
	return findings;
}

const describe = (s) => (s ? `${s.rev ?? '(no answer)'} n=${s.n}${s.deleted ? ' deleted' : ''} ${JSON.stringify(s.atts)}` : 'absent');

/** A row of _changes with its document is ${state}: the revision where one was acknowledged, else the content. */
function fits(state, row) {
	if (!state) return row === undefined;
	if (!row) return false;
	if (state.rev !== undefined && state.rev !== row.changes[0].rev) return false;
	if (state.deleted !== Boolean(row.deleted)) return false;
	const atts = row.doc._attachments ?? {};
	const digests = Object.entries(state.atts).every(([name, sum]) => atts[name]?.digest === `md5-${sum}`);
	return row.doc.n === state.n && digests && Object.keys(atts).length === Object.keys(state.atts).length;
}

/** Everything acknowledged is there, and nothing that nobody asked for.  What was in doubt is settled as found. */
async function compareWithLedger(server, allBytes) {
	const client = new Client(server);
	const findings = [];
	const { json } = await client.request('GET', `/${DB}/_changes?include_docs=true`);
	const rows = new Map(json.results.map((row) => [row.id, row]));

	if (rows.size !== json.results.length) findings.push('a document is in _changes twice');
	for (const id of rows.keys()) if (!ledger.docs.has(id)) findings.push(`${id}: nobody wrote it`);
	for (const [id, entry] of ledger.docs) {
		const row = rows.get(id);
		const found = [entry.state, ...entry.doubt].find((state) => fits(state, row));
		if (found === undefined) {
			findings.push(`${id}: expected ${describe(entry.state)}${entry.doubt.map((s) => ` or ${describe(s)}`)}, found ${JSON.stringify(row)?.slice(0, 300)}`);
			continue;
		}
		const touched = entry.doubt.length > 0 || entry.unread;
		entry.doubt = [];
		entry.unread = false;
		if (found === null) ledger.docs.delete(id);
		else entry.state = { ...found, rev: row.changes[0].rev };
		if (found && (touched || allBytes)) findings.push(...await compareBytes(client, id, entry.state));
	}
	const info = (await client.request('GET', `/${DB}`)).json;
	const live = [...ledger.docs.values()].filter(({ state }) => state && !state.deleted).length;
	if (info.doc_count !== live) findings.push(`doc_count ${info.doc_count}, counted ${live}`);
	findings.push(...await compareDatabases(client));
	client.close();
	return findings;
}

async function compareBytes(client, id, state) {
	const findings = [];
	for (const [name, sum] of Object.entries(state.atts)) {
		const { status, raw } = await client.request('GET', `/${DB}/${id}/${name}`);
		if (status !== 200 || md5(raw) !== sum) findings.push(`${id}/${name}: status ${status}, ${raw.length} bytes that are not those sent`);
	}
	return findings;
}

async function compareDatabases(client) {
	const names = new Set((await client.request('GET', '/_all_dbs')).json);
	const findings = [];
	for (const [name, state] of ledger.dbs) {
		if (state === 'there' && !names.has(name)) findings.push(`database ${name} is gone`);
		if (state === 'gone' && names.has(name)) findings.push(`database ${name} is back`);
		ledger.dbs.set(name, names.has(name) ? 'there' : 'gone');
	}
	return findings;
}

function check() {
	try {
		execFileSync(DIVAN, ['check', '--data', dataDir], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
		return [];
	} catch (e) {
		return `${e.stdout ?? ''}${e.stderr ?? ''}${e.status === null || e.status === undefined ? e.message : ''}`.trim().split('\n');
	}
}

let server = await startDivand({ dataDir });
await new Client(server).request('PUT', `/${DB}`);
for (let i = 1; i <= KILLS; i++) {
	const last = i === KILLS;
	verdict(`kill ${i}: load`, await loadAndKill(server, random.between(1, 600), random.pick([null, 'document_trim', 'document_copy', 'document_copy'])));
	// Half the time the checker opens the data first, else the server does; sometimes that one is killed as it starts.
	const checkFirst = random.below(2) === 0;
	if (checkFirst) verdict(`kill ${i}: db_check`, check());
	if (random.below(4) === 0) {
		await server.restart();
		await server.kill();
	}
	await server.restart();
	verdict(`kill ${i}: acknowledged writes`, await compareWithLedger(server, last));
	if (i % 50 === 0 && !last) console.log(`  ${i} kills, ${ledger.acks} acknowledged writes, ${failed} failures`);
	if (!checkFirst || last) {
		await server.stop();
		verdict(`kill ${i}: db_check`, check());
		if (!last) await server.restart();
	}
}
console.log(`  ${KILLS} kills, ${midway} of them in a compaction, ${ledger.acks} acknowledged writes, ${ledger.docs.size} documents`);
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed || !passed ? 1 : 0;
