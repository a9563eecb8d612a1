// Many databases, one after the other and side by side; many views of one database, all at once.  What that takes is bounded, and given back.
// DATABASES: how many (420, of which 40 are made by requests, the others by copying a file, and 60 are written, twice); VIEWS: how many design documents (24).
import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { test } from 'node:test';
import { startDivand, tempDir } from '../lib/divand.mjs';
import { anonKiB, descriptors } from '../lib/process.mjs';
import { until } from '../lib/until.mjs';
import { ask } from './client.mjs';

const DATABASES = Number(process.env.DATABASES ?? 420);
const [MADE, TWICE] = process.env.DATABASES ? [DATABASES, DATABASES] : [40, 60];
const VIEWS = Number(process.env.VIEWS ?? 24);
const AT_ONCE = 16;

/** LIMIT_OPEN_DBS and a few that are being opened; LMDB has three descriptors of each. */
const OPEN = 400 + AT_ONCE;
const PER_DATABASE = 3;
/** INDEX_OPEN of views/index.h: that stay open; while it is asked for each is. */
const INDEXES = 64 + AT_ONCE;
const OTHERS = 3 * AT_ONCE;
/** RssAnon: of open ones, and of the names that _db_updates knows. */
const OPEN_MIB = 64;
const KNOWN_BYTES = 1 << 10;

const anonMiB = (server) => anonKiB(server) / 1024;
const at = (i) => `s${i}`;

/** What it takes at most, until stop(). */
function watch(server) {
	const most = { fds: 0, mib: 0 };
	const look = () => {
		most.fds = Math.max(most.fds, descriptors(server));
		most.mib = Math.max(most.mib, anonMiB(server));
	};
	const timer = setInterval(look, 50);
	return () => {
		clearInterval(timer);
		look();
		return most;
	};
}

/** ${one} of each of 0 to n-1, AT_ONCE at a time. */
async function each(n, one) {
	let next = 0;
	await Promise.all(Array.from({ length: AT_ONCE }, async () => {
		while (next < n) await one(next++);
	}));
}

test(`${DATABASES} databases: made, written, read, closed, read again, dropped`, { timeout: 3600000 }, async (t) => {
	const dataDir = tempDir('divan-scale');
	const agent = new http.Agent({ keepAlive: true, maxSockets: AT_ONCE });
	const server = await startDivand({ dataDir });
	t.after(() => server.kill());
	const bounded = (most, base, what) => {
		console.log(`  ${what}: at most ${most.fds} descriptors (${base.fds} before), RssAnon ${most.mib.toFixed(0)} MiB (${base.mib.toFixed(0)})`);
		assert.ok(most.fds <= base.fds + PER_DATABASE * OPEN + OTHERS, `${what}: ${most.fds} descriptors`);
		assert.ok(most.mib <= base.mib + OPEN_MIB + DATABASES * KNOWN_BYTES / (1 << 20), `${what}: ${most.mib} MiB`);
	};
	const write = async (i, n) => {
		const before = n > 1 ? (await ask(server, 'GET', `/${at(i)}/doc`, { agent })).json : {};
		const answer = await ask(server, 'PUT', `/${at(i)}/doc`, { agent, json: { ...before, i, n } });
		assert.equal(answer.status, 201, answer.text);
	};
	const read = async (i, n) => {
		if (i >= TWICE) return assert.equal((await ask(server, 'GET', `/${at(i)}`, { agent })).json.doc_count, 0, at(i));
		const { json, status } = await ask(server, 'GET', `/${at(i)}/doc`, { agent });
		assert.deepEqual([status, json?.i, json?.n], [200, i, n], at(i));
	};

	// One, and one of a copied file, show what a server takes that has done all this once.
	assert.equal((await ask(server, 'PUT', `/${at(0)}`, { agent })).status, 201);
	await server.stop();
	for (let i = MADE; i < DATABASES; i++) fs.copyFileSync(path.join(dataDir, `${at(0)}.divan`), path.join(dataDir, `${at(i)}.divan`));
	await server.restart();
	await ask(server, 'GET', '/_up', { agent });
	const base = { fds: descriptors(server), mib: anonMiB(server) };

	let stop = watch(server);
	await each(DATABASES, async (i) => {
		if (i > 0 && i < MADE) assert.equal((await ask(server, 'PUT', `/${at(i)}`, { agent })).status, 201);
		if (i < TWICE) await write(i, 1);
		await read(i, 1);
	});
	bounded(stop(), base, 'made, written, read');

	// The first ones have been closed meanwhile; in the order that closes each just before it is asked for.
	stop = watch(server);
	await each(TWICE, async (i) => {
		await write(i, 2);
	});
	bounded(stop(), base, 'once more');

	await server.restart();
	const { json: names } = await ask(server, 'GET', '/_all_dbs', { agent });
	assert.deepEqual(names.filter((name) => name.startsWith('s')).length, DATABASES);
	const again = { fds: descriptors(server), mib: anonMiB(server) };
	assert.ok(again.fds <= base.fds + OTHERS, `${again.fds} descriptors behind a restart, ${base.fds} before`);
	stop = watch(server);
	await each(DATABASES, (i) => read(i, 2));
	bounded(stop(), again, 'behind a restart');

	await each(DATABASES, async (i) => assert.equal((await ask(server, 'DELETE', `/${at(i)}`, { agent })).status, 200));
	assert.deepEqual((await ask(server, 'GET', '/_all_dbs', { agent })).json.filter((name) => name.startsWith('s')), []);
	agent.destroy();
	await until(() => descriptors(server) <= base.fds, 'descriptors are not given back', 300000);
	console.log(`  dropped: ${descriptors(server)} descriptors, RssAnon ${anonMiB(server).toFixed(0)} MiB`);
	assert.ok(anonMiB(server) <= base.mib + OPEN_MIB / 2 + DATABASES * KNOWN_BYTES / (1 << 20));
	assert.deepEqual(fs.readdirSync(dataDir).filter((name) => /^s\d+\.divan/.test(name)), []);
	await server.stop();
});

test(`${VIEWS} design documents of two databases, all asked at once`, { timeout: 3600000 }, async (t) => {
	const server = await startDivand({ config: { query_server_config: { os_process_limit: '4', os_process_idle_limit: '1' } } });
	t.after(() => server.kill());
	const dbs = ['a', 'b'];
	for (const db of dbs) {
		assert.equal((await ask(server, 'PUT', `/${db}`)).status, 201);
		const docs = Array.from({ length: 20 }, (_, n) => ({ _id: `d${n}`, n }));
		for (let i = 0; i < VIEWS; i++) docs.push({ _id: `_design/v${i}`, views: { v: { map: `function (doc) { emit(doc.n, doc.n * ${i}); }`, reduce: '_sum' } } });
		const { json } = await ask(server, 'POST', `/${db}/_bulk_docs`, { json: { docs } });
		assert.ok(json.every((row) => row.ok));
	}
	const base = { fds: descriptors(server), mib: anonMiB(server) };
	const stop = watch(server);
	const agent = new http.Agent({ keepAlive: true, maxSockets: VIEWS });
	await Promise.all(Array.from({ length: VIEWS }, async (_, i) => {
		const answer = await ask(server, 'GET', `/${dbs[i % 2]}/_design/v${i}/_view/v`, { agent });
		assert.equal(answer.json?.rows?.[0]?.value, 190 * i, answer.text);
	}));
	const most = stop();
	agent.destroy();
	console.log(`  ${VIEWS} indexes: at most ${most.fds} descriptors (${base.fds} before), RssAnon ${most.mib.toFixed(0)} MiB (${base.mib.toFixed(0)})`);
	assert.ok(most.fds <= base.fds + VIEWS + PER_DATABASE * VIEWS + OTHERS, `${most.fds} descriptors`);
	assert.ok(most.mib <= base.mib + OPEN_MIB + VIEWS / 8, `${most.mib} MiB`);
	await until(() => descriptors(server) <= base.fds + PER_DATABASE * INDEXES + OTHERS, 'too many indexes stay open', 300000);
	for (const db of dbs) assert.equal((await ask(server, 'DELETE', `/${db}`)).status, 200);
	await until(() => descriptors(server) <= base.fds, 'descriptors are not given back', 300000);
	await server.stop();
});
