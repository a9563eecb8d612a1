// Bytes of a database's file are flipped, in each kind of record: what is damaged is never served, is named by the log and by
// `divan check`, and all else goes on: other documents, writes.
//   DAMAGE_SEEDS=50 SEED=1 FLIPS=8 DAMAGE_DOCS=20000 node --test tests/api/damage.test.mjs     the long form
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { DIVAN, startDivand, tempDir } from '../lib/divand.mjs';
import { Random } from '../lib/random.mjs';
import { until } from '../lib/until.mjs';
import { ask } from './client.mjs';

const SEEDS = Number(process.env.DAMAGE_SEEDS ?? 1);
const FIRST = Number(process.env.SEED ?? 1);
const FLIPS = Number(process.env.FLIPS ?? 2); // records of a kind
const DOCS = Number(process.env.DAMAGE_DOCS ?? 1200);
const PAGE = 4096;
const dataDir = tempDir('divan-damage');
const servers = [];
let file, records, model, names, seqs;

const ok = (r, ...statuses) => (assert.ok(statuses.includes(r.status), `${r.status} ${r.text}`), r.json);
const id = (i) => `d${String(i).padStart(5, '0')}`;
const bytes = (n, seed) => Buffer.from(Array.from({ length: n }, (_, i) => Math.imul(i + seed * 7919, 2654435761) >>> 11 & 0xff));

async function write(server, db) {
	const put = (docs, more) => ask(server, 'POST', `/${db}/_bulk_docs`, { json: { docs, ...more } }).then((r) => ok(r, 201));
	ok(await ask(server, 'PUT', `/${db}`), 201);
	ok(await ask(server, 'PUT', `/${db}/_revs_limit`, { json: 300 }), 200);
	ok(await ask(server, 'PUT', `/${db}/_security`, { json: { members: { names: ['ann'] } } }), 200);
	for (let from = 0; from < DOCS; from += 1000) {
		await put(Array.from({ length: Math.min(1000, DOCS - from) }, (_, i) => ({ _id: id(from + i), n: from + i, type: 'note', text: `note ${from + i} of this test, which has words and ${bytes((from + i) % 15 ? 90 : 2500, from + i).toString('base64')}` })));
	}
	await put([{ _id: 'torn', _revisions: { start: 2, ids: ['b'.repeat(32), 'a'.repeat(32)] }, side: bytes(2000, 1).toString('hex') }, { _id: 'torn', _revisions: { start: 2, ids: ['c'.repeat(32), 'a'.repeat(32)] }, side: bytes(2000, 2).toString('hex') }], { new_edits: false });
	await put(Array.from({ length: 4 }, (_, i) => ({ _id: `att${i}`, _attachments: { file: { content_type: 'image/png', data: bytes(100000 + i, i).toString('base64') } } })));
	for (let i = 0, rev; i < 90; i++) rev = ok(await ask(server, 'PUT', `/${db}/history`, { json: { i, ...(rev && { _rev: rev }) } }), 201).rev;
	await put([{ _id: '\u001b[2J\u009bJ', text: 'an id that clears a terminal' }]);
	await put([{ _id: '_design/d', views: { v: { map: 'function (doc) { emit(doc.n, doc.type) }' } } }]);
	ok(await ask(server, 'PUT', `/${db}/_local/mine`, { json: { keep: bytes(100, 9).toString('hex') } }), 201);
	ok(await ask(server, 'POST', `/${db}/_compact`, { json: {} }), 202); // makes a dictionary
	await until(async () => !ok(await ask(server, 'GET', `/${db}`), 200).compact_running);
}

// ---- The file's records ----

/** Every record: {tree, key, at, length} of its value in the file; as LMDB 0.9 keeps them. */
function read(buf) {
	const u16 = (at) => buf.readUInt16LE(at), u32 = (at) => buf.readUInt32LE(at), u64 = (at) => Number(buf.readBigUInt64LE(at));
	const out = [];
	const walk = (root, fn) => {
		const page = root * PAGE, leaf = (u16(page + 10) & 2) !== 0;
		for (let i = 0; i < (u16(page + 12) - 16) / 2; i++) {
			const at = page + u16(page + 16 + 2 * i), key = buf.subarray(at + 8, at + 8 + u16(at + 6));
			if (leaf) fn(key, (u16(at + 4) & 1) !== 0 ? u64(at + 8 + key.length) * PAGE + 16 : at + 8 + key.length, u32(at));
			else walk(u32(at) + u16(at + 4) * 2 ** 32, fn);
		}
	};
	const meta = u64(16 + 128) > u64(PAGE + 16 + 128) ? 16 : PAGE + 16;
	walk(u64(meta + 24 + 48 + 40), (name, where) => {
		if (u64(where + 40) < 2 ** 52) walk(u64(where + 40), (key, at, length) => out.push({ tree: name.toString(), key, at, length }));
	});
	return out;
}

// What is flipped, what `divan check` says, whom the log names; closed: writes, or all, may be refused, since what would have to be known for them is not.
const of = (tree, match = () => true) => () => records.filter((r) => r.tree === tree && match(r.key.toString('latin1'), r));
const KINDS = {
	record: { pick: of('docs', (k) => /^d\d+$/.test(k)), says: /document d\d+: its record's checksum does not match/, named: 'document d' },
	body: { pick: of('bodies'), says: /document \S+: a body is missing/, named: 'document ' },
	history: { pick: of('revs'), says: /document history: /, named: 'document history: its history' },
	row: { pick: of('changes'), says: /document \S+: it is not in changes/, named: 'changes: the row of sequence ' },
	chunk: { pick: of('blobs', (k) => k.length > 8), says: /document att\d: an attachment's bytes are damaged/, named: 'attachment file' },
	terminal: { pick: of('docs', (k) => k.startsWith('\u001b[2J')), says: /document \?\[2J\?J: its record/ },
	design: { pick: of('docs', (k) => k === '_design/d'), says: /document _design\/d: /, named: 'document _design/d', closed: true }, // it may have had a validator, which nobody passes by
	local: { pick: of('local'), says: /document _local\/mine: /, named: 'document _local/mine' },
	security: { pick: of('meta', (k) => k === 'security'), says: /meta security: |checksum/, closed: true },
	state: { pick: of('meta', (k) => k === 'state'), says: /checksum/, closed: true },
	dictionary: { pick: of('meta', (k) => k.startsWith('dict/')), says: /dictionary|checksum/, closed: true },
	digest: { pick: of('digests'), says: /checksum/ },
	count: { pick: of('counts'), says: /checksum/, closed: true },
};

before(async () => {
	const server = await startDivand({ dataDir });
	servers.push(server);
	await write(server, 'all');
	model = {};
	for (const { id: name, doc } of ok(await ask(server, 'GET', '/all/_all_docs?include_docs=true'), 200).rows) model[name] = JSON.stringify(doc);
	for (let i = 0; i < 4; i++) model[`att${i}/file`] = (await ask(server, 'GET', `/all/att${i}/file`)).raw.toString('base64');
	names = Object.keys(model).filter((n) => !n.includes('/file'));
	seqs = ok(await ask(server, 'GET', '/all/_changes'), 200).results.map((row) => parseInt(row.seq));
	await server.stop();
	file = fs.readFileSync(path.join(dataDir, 'all.divan'));
	records = read(file);
	for (const [kind, { pick }] of Object.entries(KINDS)) assert.ok(pick().length > 0, `there is a ${kind}`);
});
after(() => Promise.all(servers.map((s) => s.stop())));

// ---- What a server then says ----

/** An answer is CouchDB's error, the truth, or was cut off. */
async function honest(server, method, url, options, check) {
	const r = await ask(server, method, url, options).catch((e) => ({ cut: e.message }));
	if (r.cut !== undefined) return false;
	if (r.status >= 400) {
		assert.ok(r.status === 500 && r.json?.error && r.json.reason, `${url}: ${r.status} ${r.text}`);
		assert.deepEqual(['content-encoding', 'content-md5', 'content-range', 'accept-ranges', 'etag'].filter((name) => name in r.headers), [], `${url}: what its head tells is of another answer`);
		return false;
	}
	assert.ok(r.status === 200, `${url}: ${r.status} ${r.text}`);
	if (r.json === undefined && !url.endsWith('/file')) return false; // ends in the middle
	check(r);
	return true;
}

async function asked(server, db, kind, seed) {
	const known = (name, doc, where) => assert.equal(JSON.stringify(doc), model[name], `${where}: ${name} (${kind}, SEED=${seed})`);
	const random = new Random(seed);
	let failed = 0;
	const some = DOCS > 1500 ? names.filter(() => random.below(names.length) < 300 || names.length < 300) : names.filter((_, i) => i % 3 === seed % 3 || i > DOCS - 10);

	await honest(server, 'GET', `/${db}/_all_docs?include_docs=true`, {}, (r) => {
		for (const row of r.json.rows) known(row.id, row.doc, '_all_docs');
		assert.equal(r.json.rows.length, names.length);
	});
	await honest(server, 'GET', `/${db}/_changes?include_docs=true`, {}, (r) => {
		for (const row of r.json.results) known(row.id, row.doc, '_changes');
		assert.equal(r.json.results.length, names.length);
	});
	// It may end early, and then not behind what it has not said.
	await honest(server, 'GET', `/${db}/_changes?feed=longpoll&include_docs=true`, {}, (r) => {
		for (const row of r.json.results) known(row.id, row.doc, 'a longpoll');
		assert.equal(r.json.results.length, seqs.filter((seq) => seq <= parseInt(r.json.last_seq)).length, `a longpoll up to ${r.json.last_seq} (${kind}, SEED=${seed})`);
	});
	await honest(server, 'POST', `/${db}/_find`, { json: { selector: { type: 'note' }, limit: 100000 } }, (r) => {
		for (const doc of r.json.docs) known(doc._id, doc, '_find');
		assert.equal(r.json.docs.length, DOCS);
	});
	await honest(server, 'GET', `/${db}/_design/d/_view/v?include_docs=true`, {}, (r) => {
		for (const row of r.json.rows) known(row.id, row.doc, 'a view');
		assert.equal(r.json.rows.length, names.length - 1);
	});
	await honest(server, 'POST', `/${db}/_bulk_get`, { json: { docs: some.map((name) => ({ id: name })) } }, (r) => {
		for (const { docs } of r.json.results) for (const { ok: doc } of docs) if (doc && doc._id !== 'torn' && !doc._id.startsWith('att')) known(doc._id, doc, '_bulk_get');
	});
	for (const name of [...some.slice(0, 40), 'torn', 'history', '_design/d']) if (!(await honest(server, 'GET', `/${db}/${name}`, {}, (r) => known(name, r.json, 'GET')))) failed++;
	for (let i = 0; i < 4; i++) await honest(server, 'GET', `/${db}/att${i}/file`, {}, (r) => assert.equal(r.raw.toString('base64'), model[`att${i}/file`]));
	await honest(server, 'GET', `/${db}/history?revs=true`, {}, (r) => assert.equal(r.json._revisions.ids.length, 90));
	await honest(server, 'GET', `/${db}/_local/mine`, {}, (r) => assert.equal(r.json.keep, bytes(100, 9).toString('hex')));
	await honest(server, 'GET', `/${db}/_security`, {}, (r) => assert.deepEqual(r.json.members.names, ['ann']));
	if (!KINDS[kind].closed) assert.ok(failed <= FLIPS + 3, `${kind}: other documents go on, ${failed} do not (SEED=${seed})`);
}

/** The log says it, when it comes. */
async function logged(server, text) {
	for (const end = Date.now() + 20000; !server.stderr().includes(text); await new Promise((r) => setTimeout(r, 5))) assert.ok(Date.now() < end, `the log does not say "${text}"`);
}

/** Read here, and pulled over HTTP: all that can be read gets there, and is what it was. */
async function replicated(server, db, kind, seed) {
	for (const [target, source] of Object.entries({ [`${db}-copy`]: db, [`${db}-pulled`]: { url: `${server.url}/${db}`, headers: { Authorization: server.auth } } })) {
		const r = await ask(server, 'POST', '/_replicate', { json: { source, target, create_target: true } });
		assert.ok(r.status === 200 || (r.status >= 400 && r.json?.error), `${r.status} ${r.text}`);
		const copy = await ask(server, 'GET', `/${target}/_all_docs?include_docs=true`);
		const cut = kind === 'row' && source !== db; // the feed breaks off there
		if (!KINDS[kind].closed && !cut) assert.ok(copy.json.rows.length >= names.length - FLIPS, `${kind}: ${copy.json.rows.length} of ${names.length} are in ${target}, ${r.text} (SEED=${seed})`);
		if (copy.status === 200) for (const row of copy.json.rows) assert.equal(JSON.stringify(row.doc), model[row.id], `replicated: ${row.id} in ${target} (SEED=${seed})`);
	}
}

function flip(buf, kind, random) {
	const all = KINDS[kind].pick();
	for (let n = 0; n < FLIPS; n++) {
		const { at, length } = all[random.below(all.length)];
		buf[at + random.below(length)] ^= 1 << random.below(8);
	}
}

for (let seed = FIRST; seed < FIRST + SEEDS; seed++) {
	test(`records of each kind are damaged (SEED=${seed})`, async () => {
		const dir = tempDir('divan-damaged');
		for (const [i, kind] of Object.keys(KINDS).entries()) {
			const copy = Buffer.from(file);
			flip(copy, kind, new Random(seed * 100 + i));
			fs.writeFileSync(path.join(dir, `${kind}.divan`), copy);
		}
		const found = spawnSync(DIVAN, ['check', '--data', dir], { encoding: 'utf8', timeout: 120000 }).stdout;
		const server = await startDivand({ dataDir: dir, config: { replicator: { retries_per_request: 1 } } });
		servers.push(server);
		for (const [kind, { says, named, closed }] of Object.entries(KINDS)) {
			const line = found.split('\n').find((l) => l.startsWith(`${kind}: `));
			assert.match(line ?? '', says, `divan check of ${kind}:\n${found}`);
			await asked(server, kind, kind, seed);
			if (named) await logged(server, `database ${kind}, ${named}`);
			await replicated(server, kind, kind, seed);
			const wrote = await ask(server, 'PUT', `/${kind}/new`, { json: { is: 'new' } });
			if (closed && wrote.status === 500) continue;
			assert.equal(wrote.status, 201, `${kind}: ${wrote.text}`);
			assert.equal(ok(await ask(server, 'GET', `/${kind}/new`), 200).is, 'new');
		}
		await server.stop();
	});
}

test('rows of an index are damaged', async () => {
	const server = await startDivand({ dataDir });
	servers.push(server);
	const ask_ = () => ask(server, 'GET', '/all/_design/d/_view/v').catch(() => ({}));
	const want = ok(await ask_(), 200).rows;
	const folder = path.join(dataDir, '.views');
	for (let seed = FIRST; seed < FIRST + SEEDS; seed++) {
		const random = new Random(seed);
		await server.stop();
		for (const name of fs.readdirSync(folder).filter((f) => f.endsWith('.divan'))) {
			const buf = fs.readFileSync(path.join(folder, name));
			const rows = read(buf).filter(({ length }) => length > 8);
			for (let n = 0; n < 5 * FLIPS; n++) {
				const { at, length } = random.pick(rows);
				buf[at + random.below(length)] ^= 1 << random.below(8);
			}
			fs.writeFileSync(path.join(folder, name), buf);
		}
		await server.restart();
		for (let i = 0; i < 3; i++) {
			const r = await ask_();
			if (r.status === 200 && r.json) assert.deepEqual(r.json.rows, want, `SEED=${seed}`);
			else assert.ok(r.status === undefined || r.json === undefined || (r.status === 500 && r.json.error && r.json.reason), `${r.status} ${r.text}`);
		}
		assert.equal((await ask(server, 'GET', `/all/${id(1)}`)).status, 200);
	}
});

test('a database whose file is damaged leaves what is told of the others', async () => {
	const server = await startDivand();
	servers.push(server);
	for (const name of ['bad', 'good']) ok(await ask(server, 'PUT', `/${name}`), 201);
	await server.stop();
	fs.writeFileSync(path.join(server.dataDir, 'bad.divan'), bytes(3 * PAGE, 1));
	await server.restart();
	const [bad, good] = ok(await ask(server, 'POST', '/_dbs_info', { json: { keys: ['bad', 'good'] } }), 200);
	assert.deepEqual([bad.key, bad.info, good.info?.db_name], ['bad', undefined, 'good']);
	assert.ok(bad.error);
});
