// The replicator between servers of its own kind: who drives, over what, what is copied, and who may.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Authority } from '../lib/certs.mjs';
import { startDivand } from '../lib/divand.mjs';
import { until } from '../lib/until.mjs';
import { Node, ask, assertSame, documents, loadAll } from './replication.mjs';

let ca, a, b, driver, tls;
let wanted; // the picture of a's database `all`
let serial = 0;
const LIMIT = { timeout: 120000 };

const fresh = (label = 'db') => `${label}-${++serial}`;

before(async () => {
	ca = new Authority();
	const config = { replicator: { ssl_trusted_certificates_file: ca.file, verify_ssl_certificates: true } };
	const servers = [1, 2, 3].map(() => startDivand({ config: { ...config, ssl: ca.server() } }));
	[a, b, driver] = (await Promise.all(servers)).map((server) => new Node(server));
	tls = (node) => new Node(node.server, node.server.tlsUrl);
	await a.create('all');
	await loadAll(a, 'all', documents());
	wanted = await a.picture('all');
});
after(() => Promise.all([a, b, driver].map((node) => node.server.stop())));

/** The counts of a replication that has written ${n} revisions of as many that were missing. */
function assertCounts(answer, n) {
	const run = answer.history[0];
	assert.equal(answer.ok, true);
	assert.deepEqual({ found: run.missing_found, read: run.docs_read, written: run.docs_written, failed: run.doc_write_failures },
		{ found: n, read: n, written: n, failed: 0 }, JSON.stringify(run));
}

const leavesOf = (pic) => Object.values(pic).reduce((n, lines) => n + lines.length - 1, 0);

/* What each of these is asked for: `driver`'s name, source, target. */
const WAYS = {
	'pushed': () => [a, 'all', (name) => `${b.authUrl}/${name}`],
	'pulled': () => [b, `${a.authUrl}/all`, (name) => name],
	'driven by a third': () => [driver, `${a.authUrl}/all`, (name) => `${b.authUrl}/${name}`],
	'pushed over TLS': () => [a, 'all', (name) => `${tls(b).authUrl}/${name}`],
	'pulled over TLS': () => [b, `${tls(a).authUrl}/all`, (name) => name],
	'driven by a third over TLS': () => [driver, `${tls(a).authUrl}/all`, (name) => `${tls(b).authUrl}/${name}`],
};

for (const [way, make] of Object.entries(WAYS)) {
	test(`documents of every kind, ${way}; again from the checkpoint; and what is edited then`, LIMIT, async () => {
		const [who, source, targetOf] = make();
		const name = fresh('all');
		const body = { source, target: targetOf(name), create_target: true };

		assertCounts(await who.replicate(body), leavesOf(wanted));
		assertSame(wanted, await b.picture(name), way);
		const again = await who.replicate(body);
		assert.equal(again.no_changes, true, JSON.stringify(again).slice(0, 500));
		assert.equal(again.history.length, 1);
		assert.equal(again.history[0].docs_written, leavesOf(wanted));
	});
}

test('within one server, by name', LIMIT, async () => {
	const name = fresh('local');
	assertCounts(await a.replicate({ source: 'all', target: name, create_target: true }), leavesOf(wanted));
	assertSame(wanted, await a.picture(name), 'local');
	assert.equal((await a.replicate({ source: 'all', target: name, create_target: true })).no_changes, true);
});

test('what is edited goes on from the checkpoint, both ways, until both are equal', LIMIT, async () => {
	const [from, to] = [await a.create(fresh('edits')), await b.create(fresh('edits'))];
	const there = { source: from, target: `${b.authUrl}/${to}` };
	const back = { source: `${b.authUrl}/${to}`, target: from };

	await loadAll(a, from, documents({ big: 300000, seed: 3 }));
	await a.replicate(there);
	// At both ends: edits of the same documents, attachments that stay and new ones, deletions, resurrections.
	for (const [node, db, side] of [[a, from, 'a'], [b, to, 'b']]) {
		const { rows } = await node.want('GET', `/${db}/_all_docs?include_docs=true&limit=60`);
		await node.want('POST', `/${db}/_bulk_docs`, { docs: rows.map(({ doc }) => ({ ...doc, side })) });
		const rev = (await node.want('GET', `/${db}/attachments-many`))._rev;
		await node.want('PUT', `/${db}/attachments-many/from-${side}?rev=${rev}`, { bytes: Buffer.alloc(200000, side), type: 'text/plain' });
		await node.want('DELETE', `/${db}/plain-3${side === 'a' ? 8 : 9}?rev=${(await node.want('GET', `/${db}/plain-3${side === 'a' ? 8 : 9}`))._rev}`);
		await node.want('PUT', `/${db}/tombstone-1`, { again: side });
	}
	const push = (await a.replicate(there)).history;
	const pull = (await a.replicate(back)).history;
	assert.ok(push.length >= 2 && push[0].missing_checked < push[1].missing_checked, 'the second run looks at what is new alone');
	assert.equal(push[0].doc_write_failures + pull[0].doc_write_failures, 0);
	const [x, y] = [await a.picture(from), await b.picture(to)];
	assertSame(x, y, 'after both ways');
	assert.match(JSON.stringify(x['attachments-many']), /from-a.*from-b|from-b.*from-a/);
	assert.equal(x['tombstone-1'].length, 3, 'two resurrections are a conflict');
	assert.equal((await a.replicate(there)).history[0].docs_written, 0, 'nothing comes back');
	await a.replicate(back);
});

test('an edit of a document with large attachments sends what is new alone', LIMIT, async () => {
	const [from, to] = [await a.create(fresh('stubs')), await b.create(fresh('stubs'))];
	const body = { source: from, target: `${b.authUrl}/${to}` };
	const bytes = Buffer.alloc(4 << 20);
	for (let i = 0; i < bytes.length; i += 4) bytes.writeUInt32LE(Math.imul(i, 2654435761) >>> 0, i);

	await a.want('PUT', `/${from}/doc/large`, { bytes, type: 'application/octet-stream' });
	await a.replicate(body);
	const doc = await a.want('GET', `/${from}/doc`);
	await a.want('PUT', `/${from}/doc/small?rev=${doc._rev}`, { bytes: Buffer.from('small'), type: 'x/y' });
	const before = (await b.want('GET', `/${to}`)).sizes.file;
	await a.replicate(body);
	assertSame(await a.picture(from), await b.picture(to), 'with stubs');
	assert.ok((await b.want('GET', `/${to}`)).sizes.file - before < 2 << 20, 'the large attachment is kept, not written again');
});

test('filters: doc_ids, selector, functions with query_params, and none', LIMIT, async () => {
	const few = async (extra) => {
		const name = fresh('few');
		const answer = await driver.replicate({ source: `${a.authUrl}/all`, target: `${b.authUrl}/${name}`, create_target: true, ...extra });
		assert.equal(answer.ok, true);
		const found = await b.picture(name);
		for (const [id, lines] of Object.entries(found)) assert.deepEqual(lines, wanted[id], id);
		return Object.keys(found).sort();
	};
	const plain = (n) => Array.from({ length: n }, (_, i) => `plain-${i}`).sort();
	const ids = ['plain-5', 'ü ß/%+&?#=;,', 'conflicts', 'deleted-1', '_design/all', 'nowhere'];
	assert.deepEqual(await few({ doc_ids: ids }), ids.filter((id) => id !== 'nowhere').sort());
	assert.deepEqual((await few({ selector: { i: { $lt: 5 }, text: { $exists: true } } })), plain(5));
	// A function sees deleted documents and their bodies as well; the winner decides.
	assert.deepEqual((await few({ filter: 'all/few', query_params: { below: 7 } })).filter((id) => !/^conflict/.test(id)), plain(7));
	assert.deepEqual((await few({ filter: 'all/few', query_params: { below: '3' } })).filter((id) => !/^conflict/.test(id)), plain(3));
	const none = fresh('none');
	await driver.replicate({ source: `${a.authUrl}/all`, target: `${b.authUrl}/${none}`, create_target: true, filter: 'all/none' });
	assert.equal((await b.want('GET', `/${none}`)).doc_count, 0);
	for (const filter of ['all/nowhere', 'nowhere/few']) {
		const answer = await driver.ask('POST', '/_replicate', { source: `${a.authUrl}/all`, target: `${b.authUrl}/${none}`, filter });
		assert.ok(answer.status >= 400, `${filter}: ${answer.status}`);
		assert.match(answer.text, /filter|missing/i);
	}
});

test('create_target: with parameters, where there is one, where there may be none', LIMIT, async () => {
	const name = fresh('made');
	const body = { source: 'all', target: `${b.authUrl}/${name}`, doc_ids: ['plain-1'] };
	const missing = await a.ask('POST', '/_replicate', body);
	assert.equal(missing.status, 404);
	assert.equal(missing.json.error, 'db_not_found');
	assert.equal((await b.ask('GET', `/${name}`)).status, 404);
	await a.replicate({ ...body, create_target: true, create_target_params: { q: 1 } });
	assert.equal((await b.want('GET', `/${name}`)).doc_count, 1);
	await a.replicate({ ...body, create_target: true });
	const gone = await a.ask('POST', '/_replicate', { source: fresh('nowhere'), target: `${b.authUrl}/${name}` });
	assert.equal(gone.status, 404);
	assert.equal(gone.json.error, 'db_not_found');
	const bad = await a.ask('POST', '/_replicate', { ...body, target: `${b.authUrl}/Bad-Name`, create_target: true });
	assert.ok(bad.status >= 400, `${bad.status}`);
});

test('winning_revs_only, since_seq, use_checkpoints false, small batches and single requests', LIMIT, async () => {
	const to = async (extra) => {
		const name = await b.create(fresh('settings'));
		const answer = await driver.replicate({ source: `${a.authUrl}/all`, target: `${b.authUrl}/${name}`, ...extra });
		return { answer, name, found: await b.picture(name) };
	};
	const winners = await to({ winning_revs_only: true });
	assert.equal(leavesOf(winners.found), Object.keys(wanted).length);
	for (const [id, lines] of Object.entries(winners.found)) assert.equal(lines[0].split(' ')[1], wanted[id][0].split(' ')[1], id);
	const { update_seq } = await a.want('GET', '/all');
	assert.deepEqual((await to({ since_seq: update_seq })).found, {});
	const tiny = await to({ worker_processes: 1, worker_batch_size: 1, http_connections: 1 });
	assertSame(wanted, tiny.found, 'batches of one');
	const single = await to({ use_bulk_get: false, worker_batch_size: 7 });
	assertSame(wanted, single.found, 'without _bulk_get');
	const forgetful = await to({ use_checkpoints: false });
	assertSame(wanted, forgetful.found, 'without checkpoints');
	assert.equal((await b.want('GET', `/${forgetful.name}/_local_docs`)).rows.length, 0);
});

test('continuous, both ways, while both are written to; then cancelled', LIMIT, async () => {
	const [x, y] = [await a.create(fresh('live')), await b.create(fresh('live'))];
	const jobs = [
		[a, { source: x, target: `${tls(b).authUrl}/${y}`, continuous: true }],
		[driver, { source: `${b.authUrl}/${y}`, target: `${a.authUrl}/${x}`, continuous: true }],
	];
	const ids = [];
	for (const [who, body] of jobs) ids.push((await who.replicate(body))._local_id);
	assert.match(ids[0], /^[0-9a-f]{32}\+continuous$/);
	assert.equal((await a.replicate(jobs[0][1]))._local_id, ids[0], 'the same again is the same');
	const write = async (node, db, side) => {
		for (let i = 0; i < 40; i++) {
			await node.ask('POST', `/${db}/_bulk_docs`, { docs: Array.from({ length: 5 }, (_, k) => ({ _id: `${side}-${i}-${k}`, i })) });
			const shared = await node.ask('GET', `/${db}/shared-${i % 10}`);
			await node.ask('PUT', `/${db}/shared-${i % 10}`, { ...(shared.status === 200 ? { _rev: shared.json._rev } : {}), side, i });
			if (i % 8 === 0) await node.want('PUT', `/${db}/att-${side}-${i}/file`, { bytes: Buffer.alloc(100000, `${i}`), type: i % 16 ? 'text/plain' : 'x/y' });
		}
	};
	await Promise.all([write(a, x, 'a'), write(b, y, 'b')]);
	const leaves = async (node, db) => JSON.stringify((await node.want('GET', `/${db}/_changes?style=all_docs`)).results
		.map((r) => [r.id, r.deleted, r.changes.map((c) => c.rev).sort()]).sort((p, q) => (p[0] < q[0] ? -1 : 1)));
	await until(async () => (await leaves(a, x)) === (await leaves(b, y)), 'both have the same leaves');
	const pic = await a.picture(x);
	assertSame(pic, await b.picture(y), 'live');
	assert.ok(Object.keys(pic).length >= 410, `${Object.keys(pic).length} documents`);
	const jobsList = (await a.want('GET', '/_scheduler/jobs')).jobs.filter((job) => job.id === ids[0]);
	assert.equal(jobsList.length, 1);
	assert.equal(jobsList[0].info.doc_write_failures, 0);
	const tasks = (await a.want('GET', '/_active_tasks')).filter((task) => task.type === 'replication');
	assert.deepEqual(tasks.map((task) => task.replication_id), [ids[0]]);
	assert.equal(tasks[0].continuous, true);
	// Cancelled once by what it is, once by its id; then nothing moves, and nobody knows it.
	await a.want('POST', '/_replicate', { ...jobs[0][1], cancel: true });
	await driver.want('POST', '/_replicate', { replication_id: ids[1], cancel: true });
	await until(async () => (await a.want('GET', '/_scheduler/jobs')).jobs.length + (await driver.want('GET', '/_scheduler/jobs')).jobs.length === 0, 'no jobs');
	assert.equal((await a.ask('POST', '/_replicate', { ...jobs[0][1], cancel: true })).status, 404);
	await a.want('PUT', `/${x}/late`, {});
	assert.equal((await b.ask('GET', `/${y}/late`)).status, 404);
	// Resumed: from where it was cancelled.
	const run = (await a.replicate({ ...jobs[0][1], continuous: false })).history[0];
	assert.ok(run.missing_checked <= 5, `${run.missing_checked} revisions were looked at again`);
	assert.equal((await b.ask('GET', `/${y}/late`)).status, 200);
});

test('a replication document: runs, is told of its end, is not run again by a restart; one that is continuous is', LIMIT, async () => {
	const [one, two] = [fresh('doc'), fresh('doc')];
	const put = (id, body) => driver.want('PUT', `/_replicator/${id}`, body);
	const state = async (id) => (await driver.ask('GET', `/_scheduler/docs/_replicator/${id}`)).json;
	await put(one, { source: `${a.authUrl}/all`, target: `${b.authUrl}/${one}`, create_target: true });
	await put(two, { source: `${a.authUrl}/all`, target: `${b.authUrl}/${two}`, create_target: true, continuous: true, checkpoint_interval: 100 });
	const told = await until(async () => {
		const doc = await driver.want('GET', `/_replicator/${one}`);
		return doc._replication_state && doc;
	}, 'the document is told');
	assert.equal(told._replication_state, 'completed');
	assert.equal(told._replication_stats.docs_written, leavesOf(wanted));
	assert.equal((await state(one)).state, 'completed');
	assertSame(wanted, await b.picture(one), 'by a document');
	await until(async () => (await b.ask('GET', `/${two}`)).json.doc_count === (await a.want('GET', '/all')).doc_count, 'the other is copied');
	await until(async () => (await state(two)).info?.checkpointed_source_seq, 'a checkpoint');
	await driver.server.restart();
	await until(async () => (await state(two))?.state === 'running', 'it runs again');
	assert.equal((await state(one)).state, 'completed');
	assert.equal((await driver.want('GET', `/_replicator/${one}`))._rev, told._rev);
	await until(async () => (await state(two)).info?.revisions_checked === 0 && (await state(two)).info?.through_seq, 'it has nothing to do');
	// An edit of the source, and the end of the document.
	await a.want('PUT', '/all/added', {});
	await until(async () => (await b.ask('GET', `/${two}/added`)).status === 200, 'what is new comes');
	await a.want('DELETE', `/all/added?rev=${(await a.want('GET', '/all/added'))._rev}`);
	await driver.want('DELETE', `/_replicator/${two}?rev=${(await driver.want('GET', `/_replicator/${two}`))._rev}`);
	await until(async () => (await driver.want('GET', '/_scheduler/jobs')).jobs.every((job) => job.doc_id !== two), 'it is gone');
	assert.equal((await state(two)).error, 'not_found');
	wanted = await a.picture('all');
});

/* ---- Who may ---- */

const basic = (name, password) => 'Basic ' + Buffer.from(`${name}:${password}`).toString('base64');

async function account(node, name, password) {
	await node.want('PUT', `/_users/org.couchdb.user:${name}`, { name, password, roles: [], type: 'user' });
}

test('credentials: in URLs, auth objects, headers; cookies where there is _session; wrong ones', LIMIT, async () => {
	await account(a, 'reader', 'pass:word/@ä');
	const source = await a.create(fresh('closed'));
	await a.want('PUT', `/${source}/_security`, { admins: { roles: ['_admin'] }, members: { names: ['reader'], roles: [] } });
	await loadAll(a, source, documents({ big: 100000, seed: 5 }));
	const want = await a.picture(source);
	const tries = {
		url: `${a.url.replace('://', `://reader:${encodeURIComponent('pass:word/@ä')}@`)}/${source}`,
		auth: { url: `${a.url}/${source}`, auth: { basic: { username: 'reader', password: 'pass:word/@ä' } } },
		header: { url: `${a.url}/${source}`, headers: { Authorization: basic('reader', 'pass:word/@ä') } },
	};
	for (const [how, from] of Object.entries(tries)) {
		const name = fresh('by');
		await driver.replicate({ source: from, target: `${b.authUrl}/${name}`, create_target: true });
		assertSame(want, await b.picture(name), how);
	}
	const name = await b.create(fresh('refused'));
	const wrong = {
		nobody: `${a.url}/${source}`,
		password: `${a.url.replace('://', '://reader:wrong@')}/${source}`,
		other: { url: `${a.url}/${source}`, auth: { basic: { username: 'other', password: 'other' } } },
		header: { url: `${a.url}/${source}`, headers: { Authorization: basic('reader', 'wrong') } },
	};
	for (const [how, from] of Object.entries(wrong)) {
		const answer = await driver.ask('POST', '/_replicate', { source: from, target: `${b.authUrl}/${name}`, retries_per_request: 0 });
		assert.ok(answer.status >= 400, how);
		assert.match(answer.text, /unauthorized|Name or password|not authorized|401/i, how);
		assert.doesNotMatch(answer.text, /wrong|other:other/, how);
	}
	assert.equal((await b.want('GET', `/${name}`)).doc_count, 0);
});

test('a read-only source is copied, with its log at the target alone told to the peer that may write none', LIMIT, async () => {
	await account(a, 'looker', 'looks');
	const source = await a.create(fresh('public'));
	await a.want('PUT', `/${source}/_security`, { admins: { roles: ['_admin'] }, members: { names: [], roles: ['_admin', 'none'] } });
	await a.want('PUT', `/${source}/_security`, { admins: { roles: ['_admin'] }, members: { names: ['looker'], roles: [] } });
	await a.want('PUT', `/${source}/_design/no`, { validate_doc_update: `function (doc, old, ctx) { if (ctx.roles.indexOf('_admin') < 0) throw({ forbidden: 'read only' }); }` });
	await a.want('PUT', `/${source}/one`, { n: 1 });
	const name = fresh('copy');
	const body = { source: `${a.url.replace('://', '://looker:looks@')}/${source}`, target: `${b.authUrl}/${name}`, create_target: true };
	await driver.replicate(body);
	assertSame(await a.picture(source), await b.picture(name), 'read only');
});

test('a user without rights: what is refused is counted, the rest arrives', LIMIT, async () => {
	await account(b, 'writer', 'writes');
	const target = await b.create(fresh('rights'));
	await b.want('PUT', `/${target}/_security`, { admins: { names: [], roles: ['_admin'] }, members: { names: ['writer'], roles: [] } });
	await b.want('PUT', `/${target}/_design/rules`, {
		validate_doc_update: `function (doc, old, ctx) {
			if (ctx.roles.indexOf('_admin') >= 0) return;
			if (doc.i !== undefined && doc.i % 4 === 0) throw({ forbidden: 'no fourths' });
			if (doc.i !== undefined && doc.i % 4 === 1) throw({ unauthorized: 'who are you?' });
		}`,
	});
	const source = await a.create(fresh('rights'));
	const docs = Array.from({ length: 80 }, (_, i) => ({ _id: `d${String(i).padStart(2, '0')}`, i, ...(i % 8 < 2 || i % 8 === 3 ? { _attachments: { x: { content_type: 'x/y', data: Buffer.alloc(5000, `${i}`).toString('base64') } } } : {}) }));
	await a.want('POST', `/${source}/_bulk_docs`, { docs: [...docs, { _id: '_design/mine', views: {} }] });
	const body = { source, target: `${b.url.replace('://', '://writer:writes@')}/${target}` };
	const first = (await a.replicate(body)).history[0];
	// 40 by the rules, and the design document, which a member may not write.
	assert.equal(first.doc_write_failures, 41, JSON.stringify(first));
	assert.equal(first.docs_written, 40);
	assert.equal(first.missing_found, 81);
	const ids = (await b.want('GET', `/${target}/_all_docs`)).rows.map((row) => row.id);
	assert.deepEqual(ids, ['_design/rules', ...docs.filter((doc) => doc.i % 4 > 1).map((doc) => doc._id)]);
	assert.equal((await a.replicate(body)).no_changes, true, 'what is refused for good is not tried again');
	// One who may not even read the target.
	await account(b, 'nobody', 'nobody');
	const answer = await a.ask('POST', '/_replicate', { source, target: `${b.url.replace('://', '://nobody:nobody@')}/${target}`, retries_per_request: 0 });
	assert.ok(answer.status === 401 || answer.status === 403, `${answer.status} ${answer.text}`);
});

test('a certificate of another authority, or for another name, is not trusted', LIMIT, async () => {
	const other = new Authority('Another');
	for (const ssl of [other.server(), ca.issue('/CN=elsewhere', { san: 'DNS:elsewhere.example', use: 'serverAuth' }), { ...ca.issue('/CN=x', { san: 'DNS:localhost,IP:127.0.0.1', use: 'serverAuth', ended: true }) }]) {
		const server = new Node(await startDivand({ config: { ssl } }));
		const answer = await driver.ask('POST', '/_replicate', { source: `${tls(server).authUrl}/x`, target: `${b.authUrl}/y`, retries_per_request: 0 });
		assert.ok(answer.status >= 500, `${answer.status} ${answer.text}`);
		assert.match(answer.text, /certificate|SSL|TLS/i);
		await server.server.stop();
	}
});
