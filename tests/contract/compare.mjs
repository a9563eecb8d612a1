// Compares an answer with what was recorded.  A mask is an object with one member whose name starts with ~.
import crypto from 'node:crypto';
import { maskBoundary } from './request.mjs';

const typeOf = (v) => (v === null ? 'null' : Array.isArray(v) ? 'array' : typeof v);
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

function isMask(v) {
	const names = typeOf(v) === 'object' ? Object.keys(v) : [];
	return names.length === 1 && names[0][0] === '~' && names[0] !== '~text';
}

/** The number a sequence starts with, else null. */
function seqNumber(v) {
	if (Number.isInteger(v)) return v;
	const m = typeof v === 'string' ? /^"?(\d+)(?=-|"|$)/.exec(v) : null;
	return m ? Number(m[1]) : null;
}

/** The sequences seen so far in one database must be ordered, and equal, as the recorded ones were. */
function seqFits(seen, recorded, got, kind) {
	const n = seqNumber(got);
	if (n === null) return typeof got === 'string' && got !== '';
	const fits = seen.every((s) => s.kind !== kind || Math.sign(s.recorded - recorded) === Math.sign(s.n - n));
	if (fits) seen.push({ recorded, n, kind });
	return fits;
}

/** Items in any order: each expected one takes the first that equals it. */
function diffSet(want, got, at, seen) {
	if (!Array.isArray(got)) return [{ at, want, got }];
	const left = [...got];
	const lost = [];
	for (const item of want) {
		const i = left.findIndex((candidate) => diff(item, candidate, '', [...seen]).length === 0);
		if (i < 0) lost.push(item);
		else diff(item, left.splice(i, 1)[0], '', seen);
	}
	if (lost.length === 1 && left.length === 1) return diff(lost[0], left[0], `${at}[]`, seen);
	return lost.length || left.length ? [{ at, want: lost, got: left }] : [];
}

const MASKS = {
	'~any': (type, got) => got !== undefined && (type === 'any' || typeOf(got) === type || (type === 'integer' && Number.isInteger(got))),
	'~re': (re, got) => typeof got === 'string' && new RegExp(re).test(got),
	'~rev': (generation, got) => typeof got === 'string' && /^\d+-[0-9a-f]{32}$/.test(got) && parseInt(got, 10) === generation,
	'~in': (list, got) => list.some((item) => same(item, got)),
	'~len': (n, got) => got !== undefined && got !== null && got.length === n,
	'~num': ([low, high], got) => typeof got === 'number' && got >= low && got <= high,
};

function diffMask(mask, got, at, seen) {
	const [[kind, arg]] = Object.entries(mask);
	if (kind === '~set') return diffSet(arg, got, at, seen);
	if (kind === '~has') {
		if (typeOf(got) !== 'object') return [{ at, want: mask, got }];
		return Object.entries(arg).flatMap(([name, want]) => diff(want, got[name], `${at}.${name}`, seen));
	}
	const ok = kind === '~seq' ? seqFits(seen, arg, got, /purge_seq$/.test(at) ? 'purge' : 'update') : MASKS[kind]?.(arg, got);
	return ok ? [] : [{ at, want: mask, got }];
}

/** Every difference between ${want} and ${got} as {at, want, got}. */
function diff(want, got, at, seen) {
	if (isMask(want)) return diffMask(want, got, at, seen);
	const type = typeOf(want);
	if (type !== typeOf(got)) return [{ at, want, got }];
	if (type === 'array') {
		if (want.length !== got.length) return [{ at: `${at} (${want.length} items, got ${got.length})`, want, got }];
		return want.flatMap((item, i) => diff(item, got[i], `${at}[${i}]`, seen));
	}
	if (type === 'object') {
		const out = Object.keys(want).flatMap((name) => diff(want[name], got[name], `${at}.${name}`, seen));
		const extra = Object.keys(got).filter((name) => !(name in want));
		return [...out, ...extra.map((name) => ({ at: `${at}.${name}`, want: undefined, got: got[name] }))];
	}
	return want === got ? [] : [{ at, want, got }];
}

const LISTS = new Set(['allow', 'vary', 'access-control-allow-methods', 'access-control-allow-headers', 'access-control-expose-headers']);
const asSet = (list) => list.split(',').map((item) => item.trim().toLowerCase()).filter(Boolean).sort().join();

function diffHeader(name, want, got, seen) {
	const at = `header ${name}`;
	if (name === 'content-type' && /^multipart\//i.test(got ?? '')) got = maskBoundary(got);
	if (LISTS.has(name) && typeof want === 'string') {
		return got !== undefined && asSet(want) === asSet(got) ? [] : [{ at, want, got }];
	}
	return diff(want, got, at, seen);
}

function diffBody(want, answer, seen, maskText) {
	const raw = answer.raw.toString();
	const shown = raw === '' ? undefined : raw.slice(0, 400);
	const out = [];

	if (want.sha256) {
		const got = crypto.createHash('sha256').update(answer.raw).digest('hex');
		out.push(...diff(want.length, answer.raw.length, 'length', seen), ...diff(want.sha256, got, 'sha256', seen));
	}
	for (const part of ['json', 'lines', 'events', 'parts']) {
		if (want[part] !== undefined) out.push(...diff(want[part], part in answer.view ? answer.view[part] : shown, part, seen));
	}
	if (want.text !== undefined) {
		const text = (maskText ?? []).reduce((s, [re, to]) => s.replace(new RegExp(re, 'g'), to), raw);
		out.push(...diff(want.text, text, 'text', seen));
	}
	if (want.base64 !== undefined) out.push(...diff(want.base64, answer.raw.toString('base64'), 'base64', seen));
	if (want.empty && raw !== '') out.push({ at: 'body', want: '(empty)', got: shown });
	if (want.heartbeats && !answer.view.blank) out.push({ at: 'heartbeats', want: 'at least one', got: 'none' });
	return out;
}

/** Wording of `reason` and `warning` members is a class of its own. */
function bodyClass({ at, want, got }) {
	return typeof want === 'string' && typeof got === 'string' && /(^|\.)(reason|warning)$/.test(at) ? 'reason' : 'body';
}

/**
 * Every difference as {class, at, want, got}.  ${expect} has its variables filled in; ${seen} holds the sequences of the
 * step's database and grows.
 */
export function compare(expect, answer, seen, maskText) {
	const classed = (cls, list) => list.map((d) => ({ class: typeof cls === 'string' ? cls : cls(d), ...d }));
	const headers = Object.entries(expect.headers ?? {}).flatMap(([name, want]) => diffHeader(name, want, answer.headers[name], seen));
	const unwanted = (expect.absent ?? []).filter((name) => name in answer.headers)
		.map((name) => ({ at: `header ${name}`, want: undefined, got: answer.headers[name] }));

	return [
		...classed('status', diff(expect.status, answer.status, 'status', seen)),
		...classed('header', [...headers, ...unwanted]),
		...classed(bodyClass, diffBody(expect, answer, seen, maskText)),
	];
}
