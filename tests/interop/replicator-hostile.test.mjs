// Peers that answer with what nobody asked for, late, halfway, without end, or not at all.  Each replication ends in a state that
// says why, waits before it is tried again, and harms no other; no credentials are shown by anything.
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import net from 'node:net';
import { after, before, test } from 'node:test';
import { Authority, read } from '../lib/certs.mjs';
import { startDivand } from '../lib/divand.mjs';
import { FakeCouch, made } from '../lib/fakecouch.mjs';
import { until } from '../lib/until.mjs';
import { Node } from './replication.mjs';

const LIMIT = { timeout: 180000 };
const MARK = 's3cr3t-mark';
const USER = 'mallory';
/* What of a password nobody may show: itself, and what is made of it. */
const MARKS = [MARK, Buffer.from(`${USER}:${MARK}`).toString('base64'), 'header-mark', 'cookie-mark'];
const QUICK = { retries_per_request: 0, connection_timeout: 1000 };
const DOCS = made(30);
const HTML = '<!DOCTYPE html><html><head><title>Sign in</title></head><body>Hello</body></html>';

let divand, peer, secure, h2, ca;
let cases = [];
let mute; // takes connections and says nothing

const credentials = (url) => url.replace('://', `://${USER}:${MARK}@`);
const page = (c, status = 200) => c.send(status, { 'Content-Type': 'text/html' }, HTML);
const docs = () => DOCS;
const unread = (c) => c.json({ error: 'badmatch', reason: 'x' }, 500); // what CouchDB says of a document that is damaged

/* kind of request => how it is answered, and what is said of it */
const GARBAGE = {
	json: [(c) => c.send(200, { 'Content-Type': 'application/json' }, '{"results":[{"seq":1,"id":'), /its answer/],
	html: [(c) => page(c), /web page|HTML|JSON/i],
	login: [(c) => c.send(302, { Location: 'http://bob:header-mark@elsewhere.example/login' }), /302|redirect|elsewhere/],
	half: [(c) => c.cut('{"ok":true,"results":[{"seq":1,"id":"a"},'), /./],
	endless: [(c) => c.endless('{"x":"', Buffer.alloc(65536, ' ')), /large|long|end|much|many/i],
	hang: [(c) => c.hold(), /time|slow|answer/i],
	array: [(c) => c.json([1, 2, 3]), /./],
	number: [(c) => c.json(42), /./],
	empty: [(c) => c.send(200, { 'Content-Type': 'application/json' }), /JSON|empty|not/],
	binary: [(c) => c.send(200, { 'Content-Type': 'application/json' }, crypto.randomBytes(5000)), /its answer/],
	error: [(c) => c.json({ error: 'oops', reason: 'it broke' }, 500), /500/],
	busy: [(c) => c.json({ error: 'busy', reason: 'later' }, 503, { 'Retry-After': '900' }), /503/],
	deep: [(c) => c.send(200, { 'Content-Type': 'application/json' }, '['.repeat(100000)), /JSON|deep|not/],
};

/** A replication that is to end as ${want} says: {state, reason, failures, written}. */
function add(name, as, rules, want, { content = docs(), extra = {}, url } = {}) {
	peer.add(name, content, rules);
	const end = url ?? `${credentials(peer.url)}/${name}`;
	const body = { ...QUICK, ...extra, ...(as === 'source' ? { source: end, target: divand.at(`sink-${name}`), create_target: true } : { source: divand.at('good'), target: end }) };
	cases.push({ name, body, want, as });
}

const crashing = (reason, want = {}) => ({ state: 'crashing', reason, ...want });
const completed = (want = {}) => ({ state: 'completed', failures: 0, written: 30, ...want });
const once = (n, act) => (c) => (c.nth < n ? act(c) : c.usual());

function sources() {
	for (const kind of ['info', 'local_get', 'changes', 'bulk_get', 'local_put']) {
		for (const [what, [act, reason]] of Object.entries(GARBAGE)) {
			// An end that is no JSON object is no log; what _bulk_get does not do is tried without it.
			if (kind === 'bulk_get' && what === 'error') continue;
			if (kind === 'bulk_get' && (what === 'endless' || what === 'half')) {
				add(`source-bulk-get-${what}`, 'source', { [kind]: act }, completed());
				continue;
			}
			if (kind === 'local_put' && what === 'error') continue;
			add(`source-${kind}-${what}`.replaceAll('_', '-'), 'source', { [kind]: act }, crashing(reason));
		}
	}
	add('source-gone', 'source', { info: (c) => c.json({ error: 'not_found', reason: 'no_db_file' }, 404) }, crashing(/db_not_found/));
	add('source-unauthorized', 'source', { any: (c) => c.json({ error: 'unauthorized', reason: 'Name or password is incorrect.' }, 401) }, crashing(/unauthorized/));
	add('source-forbidden', 'source', { changes: (c) => c.json({ error: 'forbidden', reason: 'You may not.' }, 403) }, crashing(/forbidden|You may not/));

	const rows = (change) => (c) => c.json({
		results: DOCS.map((doc, i) => change({ seq: i + 1, id: doc._id, changes: [{ rev: doc._rev }] }, i)).slice(Number(c.query.get('since') ?? 0)), last_seq: DOCS.length, pending: 0,
	});
	add('changes-no-id', 'source', { changes: rows(({ id, ...row }) => row) }, crashing(/change/));
	add('changes-no-seq', 'source', { changes: rows(({ seq, ...row }) => row) }, crashing(/sequence|change/));
	add('changes-bad-rev', 'source', { changes: rows((row) => ({ ...row, changes: [{ rev: 'not a revision' }] })) }, crashing(/./));
	add('changes-no-last', 'source', { changes: (c) => c.json({ results: [] }) }, crashing(/last_seq/));
	add('changes-counts', 'source', { changes: (c) => c.json({ results: {}, last_seq: 3, pending: -7 }) }, crashing(/./));
	// Told of the same without end.
	add('changes-stuck', 'source', { changes: (c) => c.json({ results: [{ seq: 1, id: DOCS[0]._id, changes: [{ rev: DOCS[0]._rev }] }], last_seq: 1, pending: 5 }) }, crashing(/again/), { extra: { worker_batch_size: 1 } });
	// A filter that failed before anything passed, told of as an end; from where it came to there is more.
	add('changes-none-yet', 'source', { changes: once(2, (c) => c.json({ results: [], last_seq: 5 * (c.nth + 1), pending: 20 })) }, completed({ written: 20 }));
	add('changes-none-ever', 'source', { changes: (c) => c.json({ results: [], last_seq: 5, pending: 20 }) }, crashing(/pending/));
	// As CouchDB counts for ids: all that is behind, whatever is asked for.
	add('changes-none-of-ids', 'source', { changes: (c) => c.json({ results: [], last_seq: 5, pending: 20 }) }, completed({ written: 0 }), { extra: { doc_ids: ['none'] } });
	add('changes-backwards', 'source', { changes: (c) => {
		if (c.nth !== 2) return c.usual();
		c.query.set('since', '3');
		return c.usual();
	} }, completed(), { extra: { worker_batch_size: 5, worker_processes: 1 } });
	add('changes-rows-backwards', 'source', { changes: (c) => c.json({ results: DOCS.map((doc, i) => ({ seq: 30 - i, id: doc._id, changes: [{ rev: doc._rev }] })), last_seq: 30, pending: 0 }) }, completed());
	add('changes-endless-rows', 'source', { changes: (c) => c.endless('{"results":[', Buffer.from(`${JSON.stringify({ seq: 1, id: DOCS[0]._id, changes: [{ rev: DOCS[0]._rev }] })},\n`.repeat(100))) }, { state: /crashing|running/, reason: /./ });
	// What a list of all jobs has to show: a sequence that looks like the end of another, and a reason that is cut within a letter.
	add('changes-seq-arrays', 'source', { changes: (c) => c.json({ results: DOCS.map((doc, i) => ({ seq: [i, 'a', 'source_seq', { source_seq: [] }], id: doc._id, changes: [{ rev: doc._rev }] })), last_seq: [30, 'a', 'source_seq', { source_seq: [] }], pending: 0 }) }, completed());
	// A cluster's sequences are long.
	const seq = (i) => `${i}-${'s'.repeat(60000)}`;
	add('changes-seq-long', 'source', { changes: (c) => c.json({ results: DOCS.map((doc, i) => ({ seq: seq(i), id: doc._id, changes: [{ rev: doc._rev }] })), last_seq: seq(30), pending: 0 }) }, completed({ checkpointed: seq(30) }));
	for (const n of [1, 2]) add(`reason-wide-${n}`, 'source', { changes: (c) => c.json({ error: 'x'.repeat(n), reason: 'ü'.repeat(300) }, 500) }, crashing(/üüü/));
	// Documents beyond what is kept here, among others: each is counted, and the last is named.
	const revs = (n) => Array.from({ length: n }, (_, i) => ({ rev: `1-${String(i).padStart(32, '0')}` }));
	const odd = [{ id: 'x'.repeat(8193), changes: revs(1) }, { id: 'leaves', changes: revs(10001) }, { id: 'rev', changes: [{ rev: `1-${'y'.repeat(129)}` }] }];
	add('changes-beyond-bounds', 'source', { changes: (c) => c.json({
		results: [...odd, ...DOCS.map((doc) => ({ id: doc._id, changes: [{ rev: doc._rev }] }))].map((row, i) => ({ seq: i + 1, ...row })), last_seq: 33, pending: 0,
	}) }, completed({ failures: 3, named: /^rev: document_too_large: .*1-yyyy/ }));
	// One whose URL is too long for its server, by itself with an attachment, and where each is asked for by itself.
	const tooLong = (c) => (c.req.url.length > 3000 ? c.send(431, {}) : c.usual());
	for (const [kind, attachment] of [['alone', undefined], ['attachment', Buffer.from('some')]]) {
		const content = made(4, { attachment });
		content[1]._id = 'l'.repeat(3000);
		add(`url-too-long-${kind}`, 'source', { doc_get: tooLong }, completed({ failures: 1, written: 3, named: /^l{200}\.\.\.: .*answered 431/ }), { content, extra: { use_bulk_get: false } });
	}
	add('get-fails-of-one', 'source', { doc_get: (c) => (c.path === DOCS[12]._id ? unread(c) : c.usual()) }, crashing(/badmatch/, { arrived: 29 }), { extra: { use_bulk_get: false } });
	// What is not there may have been edited: the run asks once more, and ends.
	add('changes-nowhere', 'source', { changes: rows((row, i) => (i === 7 ? { ...row, id: 'is not there' } : row)) }, completed({ written: 29 }));

	const bulk = (change) => (c) => c.json({ results: change(c.body.docs.map(({ id }) => ({ id, docs: [{ ok: DOCS.find((d) => d._id === id) }] }))) });
	add('bulk-fewer', 'source', { bulk_get: bulk((list) => list.slice(1)) }, crashing(/says nothing of|asked for/));
	add('bulk-none', 'source', { bulk_get: bulk(() => []) }, crashing(/says nothing of|asked for/));
	add('bulk-twice', 'source', { bulk_get: bulk((list) => [...list, ...list]) }, { state: /crashing|completed/ });
	add('bulk-unasked', 'source', { bulk_get: bulk((list) => [...list, { id: 'more', docs: [{ ok: { _id: 'more', _rev: DOCS[0]._rev, _revisions: DOCS[0]._revisions } }] }]) }, crashing(/not asked for/));
	add('bulk-rev-unasked', 'source', { bulk_get: bulk((list) => list.map((x, i) => (i === 3 ? { ...x, docs: [{ ok: { ...x.docs[0].ok, _rev: '1-ffffffffffffffffffffffffffffffff', _revisions: { start: 1, ids: ['f'.repeat(32)] } } }] } : x))) }, crashing(/not asked for/));
	add('bulk-swapped', 'source', { bulk_get: bulk((list) => list.map((x, i) => (i === 3 ? { ...x, docs: list[4].docs } : x))) }, crashing(/asked for|document/));
	add('bulk-revisions', 'source', { bulk_get: bulk((list) => list.map((x, i) => (i === 3 ? { ...x, docs: [{ ok: { ...x.docs[0].ok, _revisions: { start: 9, ids: ['f'.repeat(32)] } } }] } : x))) }, crashing(/revisions|asked for|document/));
	add('bulk-bodies', 'source', { bulk_get: bulk((list) => list.map((x) => ({ ...x, docs: [{ ok: 'text' }] }))) }, crashing(/./));
	add('bulk-missing', 'source', { bulk_get: (c) => c.json({ error: 'not_found', reason: 'missing' }, 404) }, completed());
	add('bulk-fails', 'source', { bulk_get: (c) => c.json({ error: 'oops' }, 500) }, completed());
	add('no-checkpoint', 'source', { local_put: (c) => c.json({ error: 'oops' }, 500) }, crashing(/500/));
	add('checkpoint-conflict', 'source', { local_put: (c) => c.json({ error: 'conflict', reason: 'Document update conflict.' }, 409) }, crashing(/./));
	add('checkpoint-odd', 'source', { local_get: (c) => c.json({ _id: c.path, _rev: '0-1', history: [{ session_id: 5, recorded_seq: { a: [] } }, 'x', null], session_id: [], source_last_seq: {} }) }, completed());

	const attachment = crypto.randomBytes(200000);
	const content = made(3, { attachment });
	const atts = (doc_get) => ({ extra: {}, content, doc_get });
	for (const [what, alter, reason] of [
		['digest', (b) => Buffer.from(b).fill(1, 0, 5), /digest/], ['short', (b) => b.subarray(5), /./], ['long', (b) => Buffer.concat([b, b]), /./],
		['boundary', (b) => Buffer.concat([b.subarray(0, 100), Buffer.from('\r\n--inner\r\n\r\n'), b.subarray(100)]), /./],
	]) add(`attachment-${what}`, 'source', { doc_get: (c) => c.multipart(content.find((d) => d._id === c.path), { alter }) }, crashing(reason), atts());
	add('attachment-right', 'source', {}, completed({ written: 3 }), atts());
	add('attachment-half', 'source', { doc_get: (c) => {
		c.res.writeHead(200, { 'Content-Type': 'multipart/mixed; boundary="outer"', 'Content-Length': 250000 });
		c.res.write(`--outer\r\nContent-Type: multipart/related; boundary="inner"\r\n\r\n--inner\r\nContent-Type: application/json\r\n\r\n${JSON.stringify({ ...content[0], _attachments: { file: { content_type: 'x/y', length: 200000, revpos: 1, follows: true } } })}\r\n--inner\r\n\r\n${'x'.repeat(5000)}`, () => c.res.destroy());
	} }, crashing(/./), atts());
	add('attachment-hangs', 'source', { doc_get: (c) => {
		c.res.writeHead(200, { 'Content-Type': 'multipart/mixed; boundary="outer"' });
		c.res.write('--outer\r\n');
		c.hold();
	} }, crashing(/nothing came/i), atts());
	// A document that is too large to be read is passed over, and counted.
	add('attachment-endless', 'source', { doc_get: (c) => c.endless('--outer\r\nX: ', Buffer.alloc(65536, 'x')) }, completed({ failures: 3, written: 0 }), atts());
	add('attachment-other', 'source', { doc_get: (c) => c.multipart({ ...content[1], _id: 'other' }) }, crashing(/asked for|document/), atts());

	for (const status of [429, 503]) {
		add(`patience-${status}`, 'source', { changes: once(1, (c) => c.json({ error: 'slow down' }, status, { 'Retry-After': '1' })), bulk_get: once(2, (c) => c.json({}, status)) },
			completed({ pause: 1000 }), { extra: { retries_per_request: 5 } });
	}
	add('patience-cut', 'source', { changes: once(2, (c) => c.cut('{"results":[')), bulk_get: once(2, (c) => c.res.destroy()), info: once(1, (c) => c.json({}, 500)) }, completed(), { extra: { retries_per_request: 5 } });
}

function targets() {
	for (const kind of ['info', 'revs_diff', 'bulk_docs', 'commit', 'local_get']) {
		for (const [what, [act, reason]] of Object.entries(GARBAGE)) {
			// _bulk_docs answers with a list: an empty one is all well; numbers are not.
			add(`target-${kind}-${what}`.replaceAll('_', '-'), 'target', { [kind]: act }, crashing(reason));
		}
	}
	add('target-gone', 'target', { info: (c) => c.json({ error: 'not_found', reason: 'Database does not exist.' }, 404) }, crashing(/db_not_found/));
	add('target-full', 'target', { bulk_docs: (c) => c.json({ error: 'insufficient_storage', reason: 'no space left on device' }, 507) }, crashing(/507|space/));
	add('target-full-500', 'target', { bulk_docs: (c) => c.json({ error: 'enospc', reason: 'unknown' }, 500) }, crashing(/500|enospc/));
	add('target-full-by-document', 'target', { bulk_docs: (c) => c.json(c.body.docs.map(({ _id }) => ({ id: _id, error: 'internal_server_error', reason: 'no space' })), 201) }, crashing(/./));
	add('target-413', 'target', { bulk_docs: (c) => (c.body.docs.length > 4 ? c.json({ error: 'too_large', reason: 'the request entity is too large' }, 413) : c.usual()) }, completed());
	add('target-413-one', 'target', { bulk_docs: (c) => (c.body.docs.some((doc) => doc.i === 12) ? c.json({ error: 'too_large' }, 413) : c.usual()) }, completed({ failures: 1, written: 29 }));
	add('target-413-all', 'target', { bulk_docs: (c) => c.json({ error: 'too_large' }, 413) }, completed({ failures: 30, written: 0 }));
	add('target-413-early', 'target', { bulk_docs: (c) => {
		c.res.writeHead(413, { Connection: 'close' });
		c.res.end('');
	} }, completed({ failures: 30, written: 0 }));
	add('target-forbids', 'target', { bulk_docs: (c) => c.json(c.body.docs.map(({ _id, _rev }) => ({ id: _id, rev: _rev, error: 'forbidden', reason: 'no' })), 201) }, completed({ failures: 30, written: 0 }));
	add('target-unauthorizes', 'target', { bulk_docs: (c) => c.json(c.body.docs.slice(0, 10).map(({ _id, _rev }) => ({ id: _id, rev: _rev, error: 'unauthorized', reason: 'no' })), 201) }, completed({ failures: 10, written: 20 }));
	add('target-401', 'target', { bulk_docs: (c) => c.json({ error: 'unauthorized', reason: 'no more' }, 401) }, crashing(/unauthorized/));
	add('target-more-outcomes', 'target', { bulk_docs: (c) => c.json([...c.body.docs, ...c.body.docs].map(({ _id }) => ({ id: _id, error: 'forbidden', reason: 'no' })), 201) }, crashing(/more|not sent/));
	add('target-others', 'target', { bulk_docs: (c) => c.json([{ id: 'another', error: 'forbidden', reason: 'no' }], 201) }, crashing(/not sent/));
	add('diff-fails-of-one', 'target', { revs_diff: (c) => (DOCS[12]._id in c.body ? unread(c) : c.usual()) }, crashing(/badmatch/, { arrived: 29 }));
	add('diff-unasked', 'target', { revs_diff: (c) => c.json({ another: { missing: ['1-ffffffffffffffffffffffffffffffff'] } }) }, crashing(/not asked for/));
	add('diff-unasked-rev', 'target', { revs_diff: (c) => c.json(Object.fromEntries(Object.keys(c.body).map((id) => [id, { missing: ['7-ffffffffffffffffffffffffffffffff'] }]))) }, crashing(/not asked for/));
	add('diff-bad-rev', 'target', { revs_diff: (c) => c.json(Object.fromEntries(Object.keys(c.body).map((id) => [id, { missing: ['x'] }]))) }, crashing(/./));
	add('target-anew', 'target', { commit: (c) => c.json({ ok: true, instance_start_time: '99' }, 201) }, crashing(/anew/));
	for (const status of [429, 503]) {
		add(`target-patience-${status}`, 'target', { revs_diff: once(1, (c) => c.json({}, status, { 'Retry-After': '1' })), bulk_docs: once(2, (c) => c.json({}, status)) },
			completed({ pause: 1000 }), { extra: { retries_per_request: 5 } });
	}
}

/* Where there is no server of HTTP. */
async function nowhere() {
	const closed = net.createServer();
	await new Promise((resolve) => closed.listen(0, '127.0.0.1', resolve));
	const url = (at) => ({ url: credentials(at) });
	add('refused', 'source', {}, crashing(/connect|refused/i), url(`http://127.0.0.1:${closed.address().port}/x`));
	closed.close();
	add('hanging', 'source', {}, crashing(/time|slow|answer/i), url(`http://127.0.0.1:${mute.address().port}/x`));
	add('hanging-target', 'target', {}, crashing(/time|slow|answer/i), url(`http://127.0.0.1:${mute.address().port}/x`));
	add('hanging-tls', 'source', {}, crashing(/time|slow|TLS|SSL|connect/i), url(`https://127.0.0.1:${mute.address().port}/x`));
	add('unknown-host', 'source', {}, crashing(/resolve|host|unknown|name/i), url('http://nowhere.invalid:5984/x'));
	add('unknown-host-target', 'target', {}, crashing(/resolve|host|unknown|name/i), url('https://nowhere.invalid/x'));
	add('untrusted', 'source', {}, crashing(/certificate|trust/i), url(`${secure.url}/x`));
	add('tls-at-http', 'source', {}, crashing(/TLS|SSL|connect/i), url(peer.url.replace('http:', 'https:') + '/x'));
	add('http-at-tls', 'source', {}, crashing(/./), url(secure.url.replace('https:', 'http:') + '/x'));
	add('over-http2', 'source', {}, completed(), url(`${h2.url}/over-http2`));
	h2.add('over-http2', DOCS);
}

before(async () => {
	ca = new Authority();
	mute = net.createServer((socket) => socket.on('error', () => {})).listen(0, '127.0.0.1');
	peer = await new FakeCouch().listen();
	secure = await new FakeCouch().listen({ tls: read(new Authority('Nobody').server()) });
	h2 = await new FakeCouch().listen({ tls: read(ca.server()), h2: true });
	divand = new Node(await startDivand({ config: { log: { level: 'debug' }, replicator: { ssl_trusted_certificates_file: ca.file, verify_ssl_certificates: true } } }));
	divand.at = (name) => `${divand.authUrl}/${name}`;
	await divand.create('good');
	await divand.load('good', DOCS);
});
after(async () => {
	mute.close();
	await Promise.all([peer, secure, h2].map((p) => p.stop()));
	await divand.server.stop();
});

const docsOf = async () => new Map((await divand.want('GET', '/_scheduler/docs?limit=1000')).docs.map((d) => [d.doc_id, d]));

/* How many of DOCS have come to a target. */
const arrived = async (name, as) => (as === 'source' ? (await divand.want('GET', `/sink-${name}`)).doc_count
	: DOCS.filter(({ _id, _rev }) => peer.database(name).have.has(`${_id} ${_rev}`)).length);

test('each ends in a state with its reason, and waits; another job goes on meanwhile', LIMIT, async (t) => {
	sources();
	targets();
	await nowhere();
	await divand.create('bystander');
	await divand.want('POST', '/_replicate', { source: 'good', target: 'bystander', continuous: true });
	await divand.want('POST', '/_replicator/_bulk_docs', { docs: cases.map(({ name, body }) => ({ _id: name, ...body })) });
	const settled = (x) => x && x.state !== 'initializing' && x.state !== 'pending' && x.state !== 'running';
	// While they run, another's changes come through.
	let last = new Map();
	let n = 0;
	await until(async () => {
		await divand.want('PUT', `/good/while-${n}`, { n });
		await until(async () => (await divand.ask('GET', `/bystander/while-${n}`)).status === 200, 'the bystander goes on');
		n++;
		last = await docsOf();
		return cases.every(({ name, want }) => settled(last.get(name)) || (want.state instanceof RegExp && want.state.test(last.get(name)?.state)));
	}, () => cases.filter(({ name }) => !settled(last.get(name))).map(({ name }) => `${name} ${JSON.stringify(last.get(name))}`).join('\n'), 90000);
	const listed = await fetch(`${divand.url}/_scheduler/jobs?limit=1000`, { headers: { Authorization: divand.auth } });
	const jobs = new Map(JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(await listed.arrayBuffer())).jobs.map((job) => [job.doc_id, job]));
	const wrong = [];
	for (const { name, want, as } of cases) {
		const said = last.get(name);
		const bad = (what) => wrong.push(`${name}: ${what}: ${JSON.stringify(said)}`);
		if (want.state instanceof RegExp ? !want.state.test(said.state) : said.state !== want.state) {
			bad(`is not ${want.state}`);
			continue;
		}
		if (said.state === 'crashing') {
			if (!want.reason.test(said.info?.error ?? '')) bad(`does not say ${want.reason}`);
			if (said.error_count < 1) bad('counts no error');
			if (want.arrived !== undefined && (await arrived(name, as)) !== want.arrived) bad(`has not copied ${want.arrived}`);
			const starts = jobs.get(name).history.filter((e) => e.type === 'started').length;
			if (starts > 1) bad(`was started ${starts} times: it does not wait`);
		} else if (want.failures !== undefined) {
			// What was written besides is the bystander's news.
			if (said.info.doc_write_failures < want.failures || said.info.docs_written < want.written) bad(`has not written ${want.written} with ${want.failures} failures`);
			if (as === 'source' && said.info.docs_written !== want.written) bad(`has not written ${want.written}`);
			if (want.checkpointed && said.info.checkpointed_source_seq !== want.checkpointed) bad('does not tell its checkpoint');
			if (want.named && !want.named.test(said.info.last_failure)) bad(`does not name ${want.named}`);
		}
		if (want.pause) {
			const log = peer.database(name).log.filter((e) => e.kind === (as === 'source' ? 'changes' : 'revs_diff'));
			if (log.length < 2 || log[1].at - log[0].at < want.pause) bad('did not wait as it was told to');
		}
	}
	assert.equal(wrong.length, 0, `${wrong.length} of ${cases.length}:\n${wrong.join('\n')}`);
	t.diagnostic(`${cases.length} peers, ${n} changes of another came through meanwhile`);
	assert.ok(h2.database('over-http2').log.every((e) => e.version === '2.0') && h2.database('over-http2').log.length > 4, 'HTTP/2 where it is offered');
});

test('nothing shows credentials', LIMIT, async () => {
	const name = peer.add('shown', DOCS, { bulk_get: (c) => page(c, 403) });
	const source = { url: `${peer.url}/${name}`, auth: { basic: { username: USER, password: MARK } }, headers: { 'X-Token': 'header-mark', Cookie: 'x=cookie-mark' } };
	await divand.want('PUT', '/_replicator/shown', { ...QUICK, source, target: divand.at('sink-shown'), create_target: true, continuous: true });
	await until(async () => (await docsOf()).get('shown')?.state === 'crashing', 'it crashes');
	const failed = await divand.ask('POST', '/_replicate', { ...QUICK, source: { ...source, url: `${peer.url}/source-changes-html` }, target: 'bystander' });
	assert.ok(failed.status >= 400);
	const refused = await divand.ask('POST', '/_replicate', { ...QUICK, source: `ftp://${USER}:${MARK}@host/x`, target: 'bystander' });
	assert.ok(refused.status >= 400);
	const texts = { log: divand.server.stderr(), 'a failed request': failed.text, 'a refused request': refused.text };
	for (const path of ['/_scheduler/docs?limit=1000', '/_scheduler/jobs?limit=1000', '/_active_tasks', '/_scheduler/docs/_replicator/shown', '/_node/_local/_stats'])
		texts[path] = (await divand.ask('GET', path)).text;
	for (const [where, text] of Object.entries(texts)) for (const mark of MARKS) assert.ok(!text.includes(mark), `${where} shows ${mark}: ${text.slice(Math.max(0, text.indexOf(mark) - 200), text.indexOf(mark) + 100)}`);
	assert.ok(texts['/_scheduler/docs?limit=1000'].includes(USER), 'the name is shown, so marks were looked for where they would be');
});

test('a session is used where there is one, made anew when it runs out, and a password sent where there is none', LIMIT, async () => {
	const guarded = await new FakeCouch().listen();
	const seen = { sessions: 0, passwords: 0, refused: 0, uses: 0 };
	guarded.session = (req, res, bytes) => {
		assert.ok(bytes.includes(MARK), 'the password is given to _session');
		seen.uses = 0;
		res.writeHead(200, { 'Content-Type': 'application/json', 'Set-Cookie': `AuthSession=number-${++seen.sessions}; Version=1; Path=/; HttpOnly` });
		res.end('{"ok":true}');
	};
	const guard = (c) => {
		if (c.req.headers.authorization) seen.passwords++;
		if (!c.req.headers.cookie?.includes(`AuthSession=number-${seen.sessions}`) || ++seen.uses > 9) {
			seen.refused++;
			return c.json({ error: 'unauthorized', reason: 'You are not authorized to access this db.' }, 401);
		}
		return c.usual();
	};
	guarded.add('guarded', DOCS, { any: guard });
	const answer = await divand.replicate({ source: `${credentials(guarded.url)}/guarded`, target: 'guarded', create_target: true, worker_batch_size: 3 });
	assert.equal(answer.history[0].docs_written, 30);
	assert.ok(seen.sessions >= 2 && seen.refused >= 1, JSON.stringify(seen));
	assert.equal(seen.passwords, 0, 'no request has the password');
	await guarded.stop();

	const headers = new Set();
	peer.add('basic', DOCS, { any: (c) => {
		headers.add(c.req.headers.authorization);
		return c.usual();
	} });
	await divand.replicate({ source: `${credentials(peer.url)}/basic`, target: 'basic', create_target: true });
	assert.deepEqual([...headers], [`Basic ${Buffer.from(`${USER}:${MARK}`).toString('base64')}`]);
});

test('rings: A to A, A to B to A, three in a ring, continuously: nothing comes back', LIMIT, async () => {
	const [a, b, c] = await Promise.all(['ring-a', 'ring-b', 'ring-c'].map((name) => divand.create(name)));
	await divand.load(a, DOCS);
	const self = await divand.replicate({ source: a, target: a });
	assert.equal(self.ok, true);
	assert.equal(self.history?.[0]?.docs_written ?? 0, 0);
	assert.equal((await divand.want('GET', `/${a}`)).doc_count, 30);
	const ring = [[a, b], [b, c], [c, a], [b, a], [a, a]].map(([source, target], i) => ({ source: i % 2 ? source : divand.at(source), target: i % 3 ? target : divand.at(target), continuous: true }));
	for (const body of ring) await divand.want('POST', '/_replicate', body);
	for (const [i, name] of [a, b, c].entries()) await divand.want('PUT', `/${name}/from-${i}`, { i });
	const rows = async (name) => JSON.stringify((await divand.want('GET', `/${name}/_all_docs`)).rows);
	await until(async () => {
		const all = await Promise.all([a, b, c].map(rows));
		return all[0] === all[1] && all[1] === all[2] && /from-0.*from-1.*from-2/.test(all[0]);
	}, 'all three are equal');
	const seqs = async () => JSON.stringify(await Promise.all([a, b, c].map(async (name) => (await divand.want('GET', `/${name}`)).update_seq)));
	const before = await seqs();
	// Another round of news is behind it in every ring: had anything come back, sequences had moved by more.
	await divand.want('PUT', `/${a}/last`, {});
	await until(async () => (await divand.ask('GET', `/${c}/last`)).status === 200 && (await divand.ask('GET', `/${b}/last`)).status === 200, 'the last is everywhere');
	const number = (text) => JSON.parse(text).map((seq) => parseInt(seq, 10));
	assert.deepEqual(number(await seqs()), number(before).map((n) => n + 1));
	for (const body of ring) await divand.want('POST', '/_replicate', { ...body, cancel: true });
});

test('URLs that are too long for a peer are made shorter', LIMIT, async () => {
	const revs = Array.from({ length: 300 }, (_, i) => crypto.createHash('md5').update(`leaf ${i}`).digest('hex'));
	const leaves = revs.map((rev) => ({ _id: 'bushy', _rev: `1-${rev}`, _revisions: { start: 1, ids: [rev] } }));
	let refused = 0;
	let longest = 0;
	const name = peer.add('bushy', leaves, {
		changes: (c) => c.json({ results: Number(c.query.get('since') ?? 0) ? [] : [{ seq: 1, id: 'bushy', changes: revs.map((rev) => ({ rev: `1-${rev}` })) }], last_seq: 1, pending: 0 }),
		doc_get: (c) => {
			if (c.req.url.length > 3000) {
				refused++;
				return c.send(414, { 'Content-Type': 'text/html' }, HTML);
			}
			longest = Math.max(longest, c.req.url.length);
			const asked = JSON.parse(c.query.get('open_revs'));
			return c.json(asked.map((rev) => ({ ok: leaves.find((doc) => doc._rev === rev) })));
		},
	});
	const answer = await divand.replicate({ source: `${peer.url}/${name}`, target: 'bushy', create_target: true, use_bulk_get: false });
	assert.equal(answer.history[0].docs_written, 300);
	assert.ok(refused > 0 && longest > 1000, `${refused} were refused, the longest was of ${longest} bytes`);
	const { results } = await divand.want('GET', '/bushy/_changes?style=all_docs');
	assert.equal(results[0].changes.length, 300);
});

test('a document that is refused while its attachment flows is counted, and keeps nothing from arriving', LIMIT, async () => {
	const target = new FakeCouch();
	const usual = target.handle.bind(target);
	target.handle = (req, res) => {
		if (req.method !== 'PUT' || !/doc-0000/.test(req.url)) return usual(req, res);
		/* It reads slowly, and refuses later than the source's connection may take. */
		const began = performance.now();
		let over = false;
		req.on('error', () => {});
		req.on('data', () => {
			if (over) return;
			req.pause();
			over = performance.now() - began > 4000;
			if (over) {
				res.writeHead(403, { 'Content-Type': 'application/json', Connection: 'close' });
				res.end('{"error":"forbidden","reason":"no"}');
			}
			setTimeout(() => req.resume(), over ? 100 : 300);
		});
	};
	await target.listen();
	target.add('refusing', []);
	const name = peer.add('refused', made(3, { attachment: crypto.randomBytes(20 << 20) }).map((doc, i) => (i ? { ...doc, _attachments: undefined } : doc)));
	const answer = await divand.replicate({ source: `${peer.url}/${name}`, target: `${target.url}/refusing`, connection_timeout: 2000, retries_per_request: 1 });
	const { docs_written, doc_write_failures } = answer.history[0];
	assert.deepEqual([docs_written, doc_write_failures], [2, 1]);
	await target.stop();
});
