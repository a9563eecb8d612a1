// Tables of what is sent to a server and what must come: each row goes over connections of several kinds, many at a time, while another
// client is served; in the end nothing is left of them.
//   FRAMING_SEED=N    what is drawn
//   FRAMING_ROUNDS=N  how often a table is gone through (1)
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import { tellsMemory } from './divand.mjs';
import { meanwhile } from './meanwhile.mjs';
import { anonKiB, assertDescriptors, descriptors } from './process.mjs';

export const SEED = Number(process.env.FRAMING_SEED ?? crypto.randomInt(1 << 30));
export const ROUNDS = Number(process.env.FRAMING_ROUNDS ?? 1);
export const MEMORY_KIB = 16 << 10; // that may be more in the end
const DESCRIPTORS = 8;
const AT_ONCE = 24;

/** ${fn} of each of ${items}, ${n} at a time. */
export async function inParts(items, n, fn) {
	const queue = [...items];
	await Promise.all(Array.from({ length: n }, async () => {
		while (queue.length) await fn(queue.shift());
	}));
}

/** ${bytes} in pieces, cut at two places of all, and at ${early} of the first ${within} bytes. */
export function cut(rnd, bytes, early, within) {
	const at = Array.from({ length: early + 2 }, (_, i) => rnd.below(i < early ? Math.min(bytes.length, within) : bytes.length)).sort((a, b) => a - b);
	return [0, ...at].map((from, i) => bytes.subarray(from, at[i])).filter((piece, i) => piece.length || i === at.length);
}

/**
 * Each of ${rows} over each of the kinds that ways(number) names, ROUNDS times: carry_out(number, way, round), which adds to ${faults} what was
 * wrong, as check() does in the end.  Another client asks for ${path} meanwhile.
 */
export async function goThrough(server, path, { rows, ways, carry_out, check, faults }) {
	const before = descriptors(server);
	const work = rows.flatMap((_, n) => ways(n).map((way) => [n, way]));
	let memory;
	const other = meanwhile(server, path);
	for (let round = 0; round < ROUNDS; round++) {
		await inParts(work, AT_ONCE, ([n, way]) => carry_out(n, way, round));
		memory ??= anonKiB(server);
	}
	const { answers, most_ms } = await other.end();
	if (ROUNDS > 1) console.log(`${rows.length} rows, ${work.length * ROUNDS} connections; another client had ${answers} answers, at most after ${most_ms.toFixed(0)} ms`);
	await check();
	assert.equal(faults.length, 0, `${faults.length} faults, seed ${SEED}:\n${faults.join('\n')}`);
	await assertDescriptors(server, before + DESCRIPTORS);
	if (ROUNDS > 1 && tellsMemory()) assert.ok(anonKiB(server) < memory + MEMORY_KIB, `${anonKiB(server) - memory} KiB more than behind the first round`);
}
