// The planted faults: what a .plant file says.
//
//   fault: what is wrong, in words
//   test: unit test_db | api feeds.test.mjs | crash power.mjs | sim | soak | check       the short test that must catch it
//   file: db/blob.c
//   <<<<
//   text that is there once
//   ====
//   what stands there instead
//   >>>>
//
// There may be several files, and several places in one.
import fs from 'node:fs';
import path from 'node:path';
import { ROOT } from '../lib/divand.mjs';

const FOLDER = path.join(ROOT, 'tests/plants');

function parse(name, text) {
	const plant = { name, fault: '', test: '', edits: [] };
	let file, was, now, into;

	for (const line of text.replace(/\n$/, '').split('\n')) {
		if (line === '<<<<' && file) into = was = [];
		else if (line === '====' && into === was && was) into = now = [];
		else if (line === '>>>>' && into === now && now) {
			plant.edits.push({ file, was: was.join('\n'), now: now.join('\n') });
			into = was = now = undefined;
		} else if (into) into.push(line);
		else {
			const [, key, value] = /^(fault|test|file): (.+)$/.exec(line) ?? [];
			if (key === 'file') file = value;
			else if (key) plant[key] = value;
			else if (line !== '') throw new Error(`${name}: what is "${line}"?`);
		}
	}
	if (!plant.fault || !plant.test || plant.edits.length === 0 || into) throw new Error(`${name}: it is not whole`);
	return plant;
}

/** All of them, by name. */
export function plants() {
	const names = fs.readdirSync(FOLDER).filter((f) => f.endsWith('.plant')).sort();
	return names.map((f) => parse(f.slice(0, -6), fs.readFileSync(path.join(FOLDER, f), 'utf8')));
}

/** The files of ${root} as they are with the plant: [{file, before, after}].  Throws where a text is not there just once. */
export function planted(plant, root) {
	const files = new Map();
	for (const { file, was, now } of plant.edits) {
		const found = files.get(file) ?? { file, before: fs.readFileSync(path.join(root, file), 'utf8') };
		const text = found.after ?? found.before;
		const times = text.split(was).length - 1;
		if (times !== 1) throw new Error(`${plant.name}: what it changes is ${times} times in ${file}`);
		found.after = text.replace(was, () => now);
		files.set(file, found);
	}
	return [...files.values()];
}
