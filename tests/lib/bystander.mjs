// A well-behaved client from another address, 127.0.0.2, in a thread of its own: it asks for a document again and again while
// others attack, and every answer must come and be right.  How long answers take is told, and judges nothing.
import assert from 'node:assert/strict';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { neighbour } from './meanwhile.mjs';

const QUIET = 300;
const median = (a) => [...a].sort((x, y) => x - y)[a.length >> 1];

/* ---- The thread ---- */

function client({ port, path, auth, expected }) {
	const other = neighbour({ port, auth }, path);
	const once = async () => {
		const { text, ms } = await other.once();
		if (text !== `200 ${expected}`) throw new Error(text);
		return ms;
	};
	let on = false;
	parentPort.on('message', async (what) => {
		const times = [];
		on = what !== 'end';
		if (!on) return;
		try {
			do times.push(await once());
			while (on && (what !== 'quiet' || times.length < QUIET));
			/* One more, behind the attack. */
			times.push(await once());
			parentPort.postMessage({ times });
		} catch (e) {
			parentPort.postMessage({ failed: String(e) });
		}
	});
}

if (!isMainThread && workerData?.bystander) client(workerData.bystander);

/* ---- The test's side ---- */

/** bystander(server, path, expected): after quiet() has measured, begin(), and end(what) tells. */
export function bystander(server, path, expected) {
	const data = { bystander: { port: server.port, path, auth: server.auth, expected } };
	const worker = new Worker(new URL(import.meta.url), { workerData: data });
	worker.on('error', (e) => console.error(e));
	const told = () => new Promise((resolve, reject) => {
		worker.once('message', (m) => (m.failed ? reject(new Error(`the bystander was not served: ${m.failed}`)) : resolve(m.times)));
	});
	let usual, running;
	return {
		async quiet() {
			worker.postMessage('quiet');
			usual = median(await told());
		},
		begin() {
			running = told();
			running.catch(() => {});
			worker.postMessage('begin');
		},
		async end(what) {
			worker.postMessage('end');
			const times = await running;
			assert.ok(times.length > 0);
			const mid = median(times);
			console.log(`${what}: a bystander waits ${mid.toFixed(2)} ms in the median, ${usual.toFixed(2)} when it is quiet: ${(mid / usual).toFixed(1)}x; ${times.reduce((a, b) => Math.max(a, b)).toFixed(1)} at most, ${times.length} answers`);
		},
		close: () => worker.terminate(),
	};
}
