// A reporter for `node --test`: a line per test file's tests that fail, with what went wrong; the last line is `N passed, N failed`.
import { inspect } from 'node:util';

const indent = (text) => text.replace(/^/gm, '    ');

function explain(error) {
	const cause = error?.cause ?? error;
	if (cause?.code === 'ERR_ASSERTION') {
		return `${cause.message}\n${(cause.stack ?? '').split('\n').filter((l) => /^\s+at .*file:.*\/tests\//.test(l)).join('\n')}`;
	}
	return typeof cause === 'string' ? cause : cause?.stack ?? inspect(cause);
}

export default async function* reporter(source) {
	let passed = 0;
	let failed = 0;

	for await (const { type, data } of source) {
		if (type === 'test:stdout' || type === 'test:stderr') yield data.message;
		if (type !== 'test:pass' && type !== 'test:fail') continue;
		if (data.skip !== undefined || data.todo !== undefined) {
			yield `  skip ${data.name} ${data.skip || ''}\n`;
			continue;
		}
		const group = data.details.type === 'suite';
		if (type === 'test:pass') {
			passed += group ? 0 : 1;
			if (!group) yield `  ok   ${data.name} (${Math.round(data.details.duration_ms)} ms)\n`;
			continue;
		}
		// Counted where it happened.
		if (data.details.error?.failureType === 'subtestsFailed') continue;
		failed++;
		yield `  FAIL ${data.name}${data.file ? ` (${data.file.replace(/^.*\/tests\//, 'tests/')})` : ''}\n${indent(explain(data.details.error))}\n`;
	}
	yield `${passed} passed, ${failed} failed\n`;
}
