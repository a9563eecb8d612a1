// What the kernel tells of a server's process.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { tellsMemory } from './divand.mjs';

export const descriptors = ({ pid }) => fs.readdirSync(`/proc/${pid}/fd`).length;

let told; // once it is asked for: not all programs are divand's

/** Its memory but that of files; 0 where a sanitizer keeps what was freed, so that no bound says anything. */
export const anonKiB = ({ pid }) => ((told ??= tellsMemory()) ? Number(/^RssAnon:\s+(\d+)/m.exec(fs.readFileSync(`/proc/${pid}/status`, 'latin1'))[1]) : 0);

/** How much of the processor's time it has had, in ticks, of which Linux has 100 a second. */
export function ticks({ pid }) {
	const fields = fs.readFileSync(`/proc/${pid}/stat`, 'latin1').replace(/^.*\) /s, '').split(' ');
	return Number(fields[11]) + Number(fields[12]);
}

/** No more than ${most} descriptors are open, or soon so. */
export async function assertDescriptors(server, most, note = '') {
	for (let n = 0; n < 600 && descriptors(server) > most; n++) await new Promise((r) => setTimeout(r, 50));
	assert.ok(descriptors(server) <= most, `${descriptors(server)} descriptors are open, ${most} are allowed${note}`);
}
