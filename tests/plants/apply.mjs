#!/usr/bin/env node
// Does each planted fault still apply?  One that does not is to be written anew: the code that it changes is another now.
import fs from 'node:fs';
import path from 'node:path';
import { ROOT } from '../lib/divand.mjs';
import { planted, plants } from './plants.mjs';

const places = {
	unit: ([name]) => ['unit', 'fuzz'].map((f) => `tests/${f}/${f === 'fuzz' ? name?.slice(5) : name}.c`),
	api: ([name]) => [`tests/api/${name}`],
	interop: ([name]) => [`tests/interop/${name}`],
	crash: ([name]) => [`tests/crash/${name}`],
	sim: () => ['tests/sim/main.c'],
	soak: () => ['tests/soak/soak.mjs'],
	check: () => ['tests/check'],
};

let passed = 0;
let failed = 0;
for (const plant of plants()) {
	try {
		const [suite, ...rest] = plant.test.split(' ');
		if (!places[suite]?.(rest).some((file) => fs.existsSync(path.join(ROOT, file)))) throw new Error(`${plant.name}: there is no test "${plant.test}"`);
		planted(plant, ROOT);
		passed++;
	} catch (e) {
		failed++;
		console.log(`  FAIL planted fault ${e.message}`);
	}
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed || !passed ? 1 : 0;
