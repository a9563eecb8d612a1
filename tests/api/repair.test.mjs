// divan repair: a database's file is damaged in many ways; what is saved equals what was there, what is lost is told, and
// nothing appears that never was.
//   REPAIR_SEEDS=500 node --test tests/api/repair.test.mjs     more of the random ones; SEED=n begins elsewhere
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { DIVAN, preloaded, startDivand, tempDir } from '../lib/divand.mjs';
import { ask } from './client.mjs';

const SEEDS = Number(process.env.REPAIR_SEEDS ?? 15);
const FIRST = Number(process.env.SEED ?? 1);
const PAGE = 4096;
const dataDir = tempDir('divan-repair');
const servers = [];
let file, model;

const ok = (r, ...statuses) => (assert.ok(statuses.includes(r.status), `${r.status} ${r.text}`), r.json);
const filled = (n, seed) => Buffer.from(Array.from({ length: n }, (_, i) => ((i + seed) * 2654435761) >>> 11 & 0xff));

function random(seed) {
	let s = seed * 2654435761 >>> 0 || 1;
	return (n) => {
		s ^= s << 13, s >>>= 0, s ^= s >>> 17, s ^= s << 5, s >>>= 0;
		return s % n;
	};
}

/** Documents of every kind there is: large ones, conflicts, deletions, attachments, long ids, a long history. */
async function write(server, db) {
	const put = (docs, more) => ask(server, 'POST', `/${db}/_bulk_docs`, { json: { docs, ...more } }).then((r) => ok(r, 201));
	const text = (i, n) => filled(n, i).toString('base64');
	let docs = Array.from({ length: 220 }, (_, i) => ({ _id: `d${String(i).padStart(3, '0')}`, i, text: text(i, i % 20 ? 200 : 7000) }));

	ok(await ask(server, 'PUT', `/${db}`), 201);
	ok(await ask(server, 'PUT', `/${db}/_revs_limit`, { json: 300 }), 200);
	ok(await ask(server, 'PUT', `/${db}/_security`, { json: { members: { names: ['ann'] } } }), 200);
	for (let i = 0; i < 6; i++) docs.push({ _id: 'long'.repeat(140 + 50 * (i % 3)) + i, i });
	for (let round = 0; round < 4; round++) {
		const revs = await put(docs);
		docs = docs.map((d, i) => ({ ...d, _rev: revs[i].rev, round, text: text(i + round, i % 20 ? 200 : 7000) }));
	}
	await put(docs.slice(20, 40).map((d, i) => ({ _id: d._id, _rev: d._rev, _deleted: true, ...(i % 2 ? { why: text(i, 100) } : {}) })));
	for (let i = 40; i < 52; i++) await put([{ _id: docs[i]._id, _revisions: { start: 3, ids: ['c'.repeat(31) + (i % 10), 'b'.repeat(32), 'a'.repeat(32)] }, conflict: i, text: text(i, i % 2 ? 50 : 5000) }], { new_edits: false });
	await put(Array.from({ length: 12 }, (_, i) => ({ _id: `att${i}`, _attachments: {
		pic: { content_type: 'image/png', data: filled(i % 3 ? 900 : 150000, i).toString('base64') },
		note: { content_type: 'text/plain', data: Buffer.from(`note ${i} `.repeat(300 * i + 1)).toString('base64') } } })));
	for (let i = 0, rev; i < 100; i++) rev = ok(await ask(server, 'PUT', `/${db}/history`, { json: { i, ...(rev && { _rev: rev }) } }), 201).rev;
	const gone = (await put([{ _id: 'purged1' }, { _id: 'purged2' }])).map((r) => [r.id, [r.rev]]);
	ok(await ask(server, 'POST', `/${db}/_purge`, { json: Object.fromEntries(gone) }), 201);
	ok(await ask(server, 'PUT', `/${db}/_local/mine`, { json: { keep: 1 } }), 201);
	ok(await ask(server, 'PUT', `/${db}/_local/checkpoint`, { json: { session_id: 'x', history: [], source_last_seq: 7 } }), 201);
}

/** All that a database says: {docs: {id: {rev: document}}, locals, security, limit}. */
async function read(server, db) {
	const leaves = ok(await ask(server, 'GET', `/${db}/_changes?style=all_docs`), 200).results.flatMap(({ id, changes }) => changes.map(({ rev }) => ({ id, rev })));
	const got = ok(await ask(server, 'POST', `/${db}/_bulk_get?revs=true&attachments=true`, { json: { docs: leaves } }), 200);
	const docs = {};
	for (const { docs: [{ ok: doc, error }] } of got.results) {
		assert.ok(doc, JSON.stringify(error));
		(docs[doc._id] ??= {})[doc._rev] = doc;
	}
	const locals = ok(await ask(server, 'GET', `/${db}/_local_docs?include_docs=true`), 200).rows.map(({ doc }) => ({ ...doc, _rev: undefined }));
	return { docs, locals, security: ok(await ask(server, 'GET', `/${db}/_security`), 200), limit: ok(await ask(server, 'GET', `/${db}/_revs_limit`), 200) };
}

before(async () => {
	const server = await startDivand({ dataDir });
	servers.push(server);
	await write(server, 'all');
	model = await read(server, 'all');
	await server.stop();
	file = fs.readFileSync(path.join(dataDir, 'all.divan'));
});
after(() => Promise.all(servers.map((s) => s.stop())));

// ---- The file's pages ----

const page = (buf, n) => buf.subarray(n * PAGE, (n + 1) * PAGE);
const kind = (n) => file.readUInt16LE(n * PAGE + 10);
const PAGES = () => Array.from({ length: file.length / PAGE }, (_, n) => n);

/** The keys of a leaf page, as text. */
function keys(n) {
	const p = page(file, n);
	return Array.from({ length: (p.readUInt16LE(12) - 16) / 2 }, (_, i) => p.readUInt16LE(16 + 2 * i)).map((at) => p.toString('latin1', at + 8, at + 8 + p.readUInt16LE(at + 6)));
}

// ---- Repair and compare ----

const divan = (...args) => {
	const { status, signal, stdout, stderr } = spawnSync(DIVAN, args, { encoding: 'utf8', timeout: 120000 });
	assert.equal(signal, null, `divan ${args.join(' ')}: ${signal} ${stdout} ${stderr}`);
	return { status, out: stdout, err: stderr };
};

/** Every document of the result is one of the model, or the losses say what is missing in it. */
function compare(name, was, is, { status, out }) {
	const told = (text) => out.includes(text);
	const why = `${name}\n${out}`;
	const unsure = told('which pages are free cannot be told');
	let unnamed = Number(/: (\d+) documents more: lost/.exec(out)?.[1] ?? 0) + Number(/(\d+) records with long ids/.exec(out)?.[1] ?? 0);

	for (const [id, leaves] of Object.entries(is.docs)) {
		if (!was.docs[id]) assert.ok(unsure && id.startsWith('purged'), `${id} was invented: ${why}`);
		else for (const [rev, doc] of Object.entries(leaves)) {
			const { _attachments = {}, _revisions, ...body } = doc;
			const old = was.docs[id][rev];
			if (!old) {
				const known = Object.values(was.docs[id]).some((d) => d._revisions.ids.some((hash, i) => `${d._revisions.start - i}-${hash}` === rev));
				assert.ok(known, `${id} ${rev} was invented: ${why}`);
				assert.ok(unsure || told(`document ${id}: `), `an older ${id} and not told: ${why}`);
				continue;
			}
			const { _attachments: atts = {}, _revisions: revisions, ...want } = old;
			if (JSON.stringify(body) !== JSON.stringify(want)) assert.ok(doc._deleted && Object.keys(body).length === 3 && told(`document ${id}: revision ${rev} is lost but for`), `${id} ${rev} is another: ${why}`);
			for (const [a, att] of Object.entries(_attachments)) assert.deepEqual(att, atts[a], `${id} ${a}: ${why}`);
			for (const a of Object.keys(atts)) assert.ok(_attachments[a] || told(`attachment ${a} of document ${id}`) || told(`document ${id}: revision ${rev} is lost but for`), `${id} ${a} lost and not told: ${why}`);
			assert.deepEqual(_revisions.ids, revisions.ids.slice(0, _revisions.ids.length), why);
			assert.ok(_revisions.ids.length === revisions.ids.length || told(`document ${id}: its oldest`), `history of ${id}: ${why}`);
		}
	}
	for (const [id, leaves] of Object.entries(was.docs)) {
		if (!is.docs[id]) assert.ok(told(`document ${id}: lost`) || unnamed-- > 0 || unsure, `${id} lost and not told: ${why}`);
		else for (const rev of Object.keys(leaves)) assert.ok(is.docs[id][rev] || unsure || told(`document ${id}: revision ${rev} `) || told(`document ${id}: an older state`), `${id} ${rev} lost and not told: ${why}`);
	}
	if (told('the security object: lost')) assert.deepEqual(is.security.members.roles, ['_admin'], why);
	else assert.deepEqual(is.security, was.security, why);
	if (status === 0) assert.deepEqual(is, was, why);
}

/** Damage copies of the file, all in one folder; repair each; one server then shows them. */
async function damaged(cases) {
	const dir = tempDir('divan-repaired');
	const results = {};

	for (const [name, change] of Object.entries(cases)) {
		const copy = Buffer.from(file);
		fs.writeFileSync(path.join(dir, `${name}.divan`), change(copy) ?? copy);
	}
	const found = divan('check', '--data', dir).out;
	for (const name of Object.keys(cases)) {
		const bytes = fs.readFileSync(path.join(dir, `${name}.divan`));
		const r = (results[name] = divan('repair', '--data', dir, name));
		if (r.status === 2 && name.startsWith('cut') && bytes.length < file.length / 4) {
			assert.ok(fs.readFileSync(path.join(dir, `${name}.divan`)).equals(bytes), 'all is as it was');
			fs.rmSync(path.join(dir, `${name}.divan`));
			continue;
		}
		assert.ok(r.status < 2, `${name}: ${r.err}`);
		assert.ok(fs.readFileSync(path.join(dir, `${name}.divan.damaged`)).equals(bytes), 'the damaged file is as it was');
		assert.ok(r.status === 0 || new RegExp(`^${name}: `, 'm').test(found), `check does not see what is wrong with ${name}: ${r.out}`);
	}
	assert.equal(divan('check', '--data', dir).status, 0);
	assert.ok(!fs.existsSync(path.join(dir, '.repair')));
	const server = await startDivand({ dataDir: dir });
	servers.push(server);
	for (const name of Object.keys(cases).filter((n) => results[n].status < 2)) {
		results[name].is = await read(server, name);
		compare(name, model, results[name].is, results[name]);
	}
	await server.stop();
	return results;
}

const zero = (...pages) => (buf) => void pages.forEach((n) => page(buf, n).fill(0));

test('what leads to documents is damaged: nothing is lost', async () => {
	const branches = PAGES().filter((n) => kind(n) === 1);
	assert.ok(branches.length >= 3);
	const results = await damaged({ sound: () => undefined, branches: zero(...branches) });
	for (const [name, r] of Object.entries(results)) assert.equal(r.status, 0, `${name}: ${r.out}`);
});

test('the beginning of the file is damaged: every document is there', async () => {
	const results = await damaged({ meta0: zero(0), meta1: zero(1), meta: zero(0, 1), everything: (buf) => zero(0, 1, ...PAGES().filter((n) => kind(n) === 1))(buf) });
	for (const [name, r] of Object.entries(results)) {
		assert.equal(r.status, 1, `${name}: what was committed last may be missing`);
		for (const id of Object.keys(model.docs)) assert.deepEqual(r.is.docs[id], model.docs[id], `${name}: ${id}\n${r.out}`);
	}
});

test('pages of documents are damaged: these are lost, and named, and no others', async () => {
	const cases = {};
	for (const n of PAGES().filter((p) => kind(p) === 2 && keys(p).every((k) => /^(d\d\d\d|att\d+|history)$/.test(k))).slice(-8)) cases[`p${n}`] = zero(n);
	const results = await damaged(cases);
	let lost = 0;
	for (const [name, r] of Object.entries(results)) {
		const there = new Set(keys(Number(name.slice(1))));
		const gone = Object.keys(model.docs).filter((id) => !r.is.docs[id]);
		for (const id of gone) assert.ok(there.has(id), `${id} does not stand in ${name}\n${r.out}`);
		assert.equal(r.status, gone.length > 0 ? 1 : 0, r.out);
		const checkpoint = r.is.locals.some((d) => d._id === '_local/checkpoint');
		assert.equal(checkpoint, gone.length === 0, 'a checkpoint would keep the lost from coming again');
		assert.ok(r.is.locals.some((d) => d._id === '_local/mine'));
		lost += gone.length;
	}
	assert.ok(lost > 0);
});

test('random damage', async () => {
	const kinds = {
		flip: (buf, r) => { for (let i = 1 + r(40); i > 0; i--) buf[r(buf.length)] ^= 1 << r(8); },
		zero: (buf, r) => { for (let i = 1 + r(8); i > 0; i--) page(buf, r(buf.length / PAGE)).fill(0); },
		noise: (buf, r) => { for (let i = 1 + r(8); i > 0; i--) filled(PAGE, r(1 << 20)).copy(page(buf, r(buf.length / PAGE))); },
		swap: (buf, r) => { for (let i = 1 + r(8); i > 0; i--) { const a = page(buf, r(buf.length / PAGE)), b = page(buf, r(buf.length / PAGE)), c = Buffer.from(a); b.copy(a); c.copy(b); } },
		cut: (buf, r) => buf.subarray(0, 8 * PAGE + r(buf.length - 8 * PAGE)),
		head: (buf, r) => { for (let i = 1 + r(6); i > 0; i--) buf[r(2) * PAGE + r(160)] ^= 1 << r(8); },
	};
	const names = Object.keys(kinds);
	for (let from = FIRST; from < FIRST + SEEDS; from += 30) {
		const cases = {};
		for (let seed = from; seed < Math.min(from + 30, FIRST + SEEDS); seed++) cases[`${names[seed % names.length]}${seed}`] = (buf) => kinds[names[seed % names.length]](buf, random(seed));
		await damaged(cases);
	}
});

test('nothing can be done: all stays as it is', async () => {
	const dir = tempDir('divan-repaired');
	for (const [name, bytes] of [['empty', Buffer.alloc(0)], ['other', Buffer.from('no database '.repeat(5000))], ['zeros', Buffer.alloc(1 << 20)]]) {
		fs.writeFileSync(path.join(dir, `${name}.divan`), bytes);
		assert.equal(divan('check', '--data', dir).status, 1);
		const { status, err } = divan('repair', '--data', dir, name);
		assert.equal(status, 2);
		assert.match(err, /^divan: .*\n$/);
		assert.deepEqual(fs.readdirSync(dir).filter((f) => f.startsWith(name)), [`${name}.divan`]);
		assert.ok(fs.readFileSync(path.join(dir, `${name}.divan`)).equals(bytes));
	}
	assert.equal(divan('repair', '--data', dir, 'missing').status, 2);
	assert.match(divan('repair', '--data', dir).err, /^usage/);
	// The new file, and it alone, cannot get the name: 16 is GONE of disk_shim.c, 5 EIO.
	const fault = path.join(dir, 'fault');
	fs.writeFileSync(path.join(dir, 'all.divan'), file);
	fs.writeFileSync(fault, Buffer.from(Uint32Array.of(16, 5).buffer));
	const named = spawnSync(DIVAN, ['repair', '--data', dir, 'all'], { encoding: 'utf8', env: { ...process.env, ...preloaded('disk'), DISK_FAULT: fault, DISK_ROOT: path.join(dir, '.repair/all.divan') } });
	assert.equal(named.status, 2, named.stdout + named.stderr);
	assert.match(named.stderr, /all\.divan: Input\/output error/);
	assert.deepEqual(fs.readdirSync(dir).filter((f) => f.startsWith('all.divan')), ['all.divan']);
	assert.ok(fs.readFileSync(path.join(dir, 'all.divan')).equals(file));

	const server = await startDivand({ dataDir: dir });
	servers.push(server);
	const { status, err } = divan('repair', '--data', dir, 'empty');
	assert.equal(status, 2);
	assert.match(err, /a divand is running/);
});
