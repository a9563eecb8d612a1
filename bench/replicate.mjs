// The lines of replication: what a copied document costs beside the same one by _bulk_docs, and what waits costs.
import { contactText, hexId, random } from './contacts.mjs';
import * as lib from './lib.mjs';

const PHOTO = 100 * 1024;

/** The lines.  ${b} is what run.mjs has: startDivand, newDb, quick. */
export function replicateLines(b) {
	const CONTACTS = b.quick ? 20000 : 100000, PHOTOS = b.quick ? 400 : 2000, JOBS = b.quick ? 200 : 1000;
	let shared, serial = 0;

	const post = (status, server, target, json) => lib.expect(status, server.url, 'POST', target, { auth: server.auth, body: Buffer.isBuffer(json) ? json : JSON.stringify(json) });

	/* With revisions, as a replicator brings them; ${each} documents a request. */
	function requests(docs, each) {
		const list = [];
		for (let at = 0; at < docs.length; at += each) list.push(Buffer.from(`{"new_edits":false,"docs":[${docs.slice(at, at + each).join(',')}]}`));
		return list;
	}

	function revised(rnd, text) {
		const id = hexId(rnd);
		return text.replace('{', `{"_rev":"1-${id}","_revisions":{"start":1,"ids":["${id}"]},`);
	}

	function photo(rnd, i) {
		const bytes = Buffer.alloc(PHOTO);
		for (let k = 0; k < PHOTO; k += 4) bytes.writeUInt32LE((rnd() * 4294967296) >>> 0, k);
		return JSON.stringify({ _id: `photo${i}`, _attachments: { 'photo.jpg': { content_type: 'image/jpeg', data: bytes.toString('base64') } } });
	}

	/** Two servers; both have the sources, and the requests that make them. */
	async function servers() {
		if (shared) return shared;
		const rnd = random(53);
		const contacts = Array.from({ length: CONTACTS }, () => revised(rnd, contactText(rnd, hexId(rnd))));
		const photos = Array.from({ length: PHOTOS }, (_, i) => revised(rnd, photo(rnd, i)));
		shared = { here: await b.startDivand(), there: await b.startDivand(), contacts: requests(contacts, 500), photos: requests(photos, 20) };
		for (const server of [shared.here, shared.there]) {
			for (const name of ['contacts', 'photos']) {
				await b.newDb(server, name);
				for (const body of shared[name]) await post(201, server, `/${name}/_bulk_docs`, body);
			}
		}
		return shared;
	}

	const behindHttp = (server, db) => ({ url: `${server.url}/${db}`, auth: { basic: { username: 'admin', password: 'adm' } } });

	/** The ends of a replication of ${source} in one of the directions, and the server that has the target. */
	function ends(direction, source, target) {
		const { here, there } = shared;
		if (direction === 'local') return { source, target, at: here };
		if (direction === 'push') return { source, target: behindHttp(there, target), at: there };
		return { source: behindHttp(there, source), target, at: here };
	}

	async function copy(direction, source, n) {
		const target = `t${++serial}`;
		const { at, ...body } = ends(direction, source, target);
		await b.newDb(at, target);
		const { here, there } = shared;
		await lib.quiet(there.pid);
		let last;
		const c = await lib.cost(here.pid, async () => {
			last = lib.cpuUs(there.pid);
			const answer = JSON.parse((await post(200, here, '/_replicate', body)).text);
			last = lib.cpuUs(there.pid) - last;
			return answer.history[0];
		});
		if (c.result.docs_written !== n || c.result.doc_write_failures !== 0) throw new Error(`${direction} ${source}: ${JSON.stringify(c.result)}`);
		await lib.expect(200, at.url, 'DELETE', `/${target}`, { auth: at.auth });
		return { ...c, cpu: c.cpu + last, n };
	}

	const WORDS = { local: 'local to local', push: 'local to remote', pull: 'remote to local' };

	const ratio = (direction, source, label, budget) => ({
		name: `replicate-${direction}${source === 'photos' ? '-photos' : ''}`, unit: 'document', budget,
		label: `Replication ${WORDS[direction]}, ${label}, against \`_bulk_docs\``,
		setup: servers,
		async ceiling() {
			const { there } = shared, db = `t${++serial}`;
			await b.newDb(there, db);
			const c = await lib.cost(there.pid, async () => {
				for (const body of shared[source]) await post(201, there, `/${db}/_bulk_docs`, body);
			});
			await lib.expect(200, there.url, 'DELETE', `/${db}`, { auth: there.auth });
			return { ...c, n: source === 'photos' ? PHOTOS : CONTACTS };
		},
		divan: () => copy(direction, source, source === 'photos' ? PHOTOS : CONTACTS),
	});

	/** The most that either server grew by while it took part. */
	const memory = {
		name: 'replicate-memory', label: 'Memory of a replication: the most that a divand grew by', unit: 'MiB', budget: 64,
		async size() {
			const { here, there } = await servers();
			const pids = [here.pid, there.pid];
			let most = 0, which = '';
			for (const source of ['contacts', 'photos']) {
				for (const direction of ['local', 'push', 'pull']) {
					const before = pids.map((pid) => lib.status(pid, 'RssAnon'));
					const timer = setInterval(() => pids.forEach((pid, i) => {
						const grown = (lib.status(pid, 'RssAnon') - before[i]) / 1024;
						if (grown > most) [most, which] = [grown, `${WORDS[direction]}, ${source}`];
					}), 10);
					await copy(direction, source, source === 'photos' ? PHOTOS : CONTACTS);
					clearInterval(timer);
				}
			}
			return { ours: most, note: which };
		},
	};

	const idle = (direction, budget) => ({
		name: `replicate-idle-${direction}`, label: `A continuous replication that waits, ${WORDS[direction]}: ${JOBS.toLocaleString('en')}`, unit: 'KiB', budget,
		async size() {
			const config = { replicator: { max_jobs: JOBS } };
			const here = await b.startDivand({ config });
			const there = direction === 'push' ? await b.startDivand() : here;
			await b.newDb(there, 'target');
			for (let i = 0; i < JOBS; i++) await lib.expect(201, here.url, 'PUT', `/db${i}`, { auth: here.auth });
			const target = direction === 'push' ? behindHttp(there, 'target') : 'target';
			const start = (source) => post(202, here, '/_replicate', { source, target, continuous: true });
			const waiting = async (n) => {
				for (;;) {
					const { jobs } = JSON.parse((await lib.expect(200, here.url, 'GET', `/_scheduler/jobs?limit=${2 * JOBS}`, { auth: here.auth })).text);
					if (jobs.length === n && jobs.every((j) => j.info?.source_seq)) break;
					await lib.sleep(100);
				}
				// The first connections are closed again, so that what is left is the replications'.
				await lib.sleep(direction === 'push' ? 31000 : 1000);
				await lib.quiet(here.pid);
			};
			// The first makes what all of them share.
			await start('db0');
			await waiting(1);
			const before = lib.status(here.pid, 'RssAnon');
			for (let i = 1; i < JOBS; i++) await start(`db${i}`);
			await waiting(JOBS);
			const kib = (lib.status(here.pid, 'RssAnon') - before) / (JOBS - 1);
			const switches = lib.status(here.pid, 'voluntary_ctxt_switches', true);
			const { cpu } = await lib.cost(here.pid, () => lib.sleep(5000));
			const woken = lib.status(here.pid, 'voluntary_ctxt_switches', true) - switches;
			await here.stop();
			if (there !== here) await there.stop();
			return { ours: kib, note: `CPU ${(cpu / 5).toFixed(0)} µs in a second, ${woken} wake-ups in 5 s` };
		},
	});

	const many = `${CONTACTS.toLocaleString('en')} contacts`, large = `${PHOTOS.toLocaleString('en')} with 100 KiB each`;
	return [
		ratio('local', 'contacts', many, 0.5),
		ratio('push', 'contacts', many, 0.5),
		ratio('pull', 'contacts', many, 0.5),
		ratio('local', 'photos', large, 0.5),
		ratio('push', 'photos', large, 0.5),
		ratio('pull', 'photos', large, 0.5),
		memory,
		idle('local', null),
		idle('push', null),
	];
}
