// Feeds through a proxy that cuts connections, idle ones and others in the middle of an answer; live sync through one that cuts those that
// are idle, or all at once.  More PouchDB does not survive, whatever the server: docs/API.md, faults of clients.
import assert from 'node:assert/strict';
import http from 'node:http';
import path from 'node:path';
import { after, before, test } from 'node:test';
import PouchDB from 'pouchdb';
import { ask } from '../api/client.mjs';
import { startDivand, tempDir } from '../lib/divand.mjs';
import { cuttingProxy } from '../lib/proxy.mjs';
import { Random } from '../lib/random.mjs';
import { until } from '../lib/until.mjs';
import { cancelAll, contacts, converged, differences, isIdle, pouchLeaves, pouchPicture, serverPicture } from './lib.mjs';

const IDLE_MS = 300;
const folder = tempDir('divan-cut');
let server;
before(async () => (server = await startDivand()));
after(() => server.stop());

/** Follow a feed, opened again behind the last whole row whenever it is cut, until ${done}(ids). */
function follow(port, form, done) {
	const ids = [];
	let since = '0';
	let opened = 0;
	return new Promise((resolve, reject) => {
		const open = () => {
			opened++;
			const events = form === 'eventsource';
			const headers = { Authorization: server.auth, ...(events && since !== '0' ? { 'Last-Event-ID': since } : {}) };
			const at = events ? '' : `&since=${since}`;
			const req = http.get({ host: '127.0.0.1', port, path: `/feeds/_changes?feed=${form}${at}&timeout=60000`, headers, agent: false });
			let rest = '';
			const again = () => {
				req.destroy();
				if (done(ids)) resolve({ ids, opened });
				else open();
			};
			req.on('error', () => {}); // "close" comes behind it
			req.on('close', again);
			req.on('response', (res) => {
				if (res.statusCode !== 200) reject(new Error(`status ${res.statusCode}`));
				res.on('error', () => {});
				res.on('data', (data) => {
					const parts = (rest + data).split(events ? '\n\n' : '\n');
					rest = parts.pop();
					for (const part of parts) {
						const row = events ? /^data: (\{.*\})\nid: (.*)$/.exec(part) : [part, part];
						if (!row?.[1].trim()) continue;
						const { id, seq } = JSON.parse(row[1]);
						if (id === undefined) continue;
						ids.push(id);
						since = events ? row[2] : seq;
					}
					if (done(ids)) req.destroy();
				});
			});
		};
		open();
	});
}

test('a reader of a feed that is cut resumes: each row once', { timeout: 120000 }, async () => {
	const seed = Number(process.env.SEED ?? 7);
	const random = new Random(seed);
	const proxy = await cuttingProxy({ port: server.port, idleMs: IDLE_MS, cutsNow: () => random.below(3) === 0 });
	assert.equal((await ask(server, 'PUT', '/feeds')).status, 201);
	const done = (ids) => ids.includes('last');
	const readers = ['continuous', 'eventsource'].map((form) => follow(proxy.port, form, done));
	const want = [];
	for (let i = 0; i < 60; i++) {
		const docs = Array.from({ length: 1 + random.below(30) }, (_, n) => ({ _id: `d${i}-${String(n).padStart(2, '0')}`, text: random.text(200) }));
		want.push(...docs.map((doc) => doc._id));
		assert.equal((await ask(server, 'POST', '/feeds/_bulk_docs', { json: { docs } })).status, 201);
	}
	// Nothing is written until idle connections have been cut.
	const cut = proxy.idleCuts;
	await until(() => proxy.idleCuts >= cut + 4);
	assert.equal((await ask(server, 'PUT', '/feeds/last', { json: {} })).status, 201);
	for (const { ids, opened } of await Promise.all(readers)) {
		assert.deepEqual(ids, [...want, 'last'], `seed ${seed}`);
		assert.ok(opened > 3, `opened ${opened} times`);
	}
	assert.ok(proxy.midCuts > 3, `${proxy.midCuts} cuts`);
	await proxy.stop();
});

/** Both ways of live sync through a proxy that cuts idle connections, and from time to time all of them; at the end everything is everywhere, once. */
async function liveSync(name, mayCut) {
	const open = [];
	try {
		await sync(name, mayCut, open);
	} finally {
		for (const close of open.reverse()) await close();
	}
}

async function sync(name, mayCut, open) {
	const proxy = await cuttingProxy({ port: server.port, idleMs: IDLE_MS, mayCut, cutsNow: () => false });
	open.push(() => proxy.stop());
	const dbs = ['a', 'b'].map((side) => new PouchDB(path.join(folder, name + side)));
	const remotes = dbs.map(() => new PouchDB(`http://${server.admin}@127.0.0.1:${proxy.port}/${name}`));
	assert.equal((await ask(server, 'PUT', `/${name}`)).status, 201);
	const live = dbs.map((db, i) => db.sync(remotes[i], { live: true, retry: true, batch_size: 20, back_off_function: () => 20 }));
	for (const l of live) l.setMaxListeners(50);
	open.push(() => Promise.all([...dbs, ...remotes].map((db) => db.close())), () => cancelAll(live));
	const idle = () => (live.every(isIdle) ? [] : ['a sync is busy']);
	const same = (id) => converged(live, async () => {
		const [x, y] = await Promise.all(dbs.map(pouchLeaves));
		return x[id] && y[id] ? [...idle(), ...differences(x, y)] : [`${id} is not everywhere`];
	});

	const docs = contacts(200);
	for (let round = 0; round < 5; round++) {
		const [db, other] = round % 2 ? dbs : dbs.toReversed();
		for (const answer of await db.bulkDocs(docs.slice(round * 40, round * 40 + 40))) assert.ok(answer.ok, JSON.stringify(answer));
		await db.put({ _id: `round-${round}` });
		await same(`round-${round}`);
		await other.put({ ...(await other.get(`round-${round}`)), n: 2 });
		await other.remove(await other.get(docs[round * 40]._id));
		// Those that wait are cut again and again; then all at once.
		const cuts = proxy.idleCuts;
		await converged(live, async () => (proxy.idleCuts >= cuts + 4 ? idle() : ['few were cut']));
		proxy.cutAll();
	}
	await dbs[0].put({ _id: 'last' });
	await same('last');

	const final = await serverPicture(`${server.url}/${name}`, server.auth);
	for (const db of dbs) assert.deepEqual(differences(await pouchPicture(db), final), []);
	assert.equal(Object.keys(final).length, docs.length + 6);
	for (const [id, doc] of Object.entries(final)) assert.ok(!doc.leaves.includes(' '), `${id} came twice: ${doc.leaves}`);
	assert.match(final['round-4'].leaves, /^2-/);
}

test('live sync whose waiting feeds are cut', { timeout: 180000 }, () =>
	// PouchDB in Node fetches with node-fetch 2, which waits for ever for the rest of an answer of a known length.
	liveSync('idle-cut', (request) => request.includes('/_changes')));
