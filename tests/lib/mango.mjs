// CouchDB's selectors in JavaScript: slow, short, and made without a look at Divan's.  What a selector matches, what an index needs.
const collator = new Intl.Collator('und');

const TYPES = ['null', 'boolean', 'number', 'string', 'array', 'object'];
const typeOf = (v) => (v === null ? 'null' : Array.isArray(v) ? 'array' : typeof v);
const isObject = (v) => typeOf(v) === 'object';

/** Erlang's order of what JSON has, in which ids are compared. */
const TERMS = ['number', 'false', 'null', 'true', 'object', 'array', 'string'];
const term = (v) => TERMS.indexOf(typeof v === 'boolean' ? String(v) : typeOf(v));

/** The order of views; ${raw}: Erlang's, strings by their bytes. */
export function collate(a, b, raw = false) {
	const [x, y] = [a, b].map((v) => (raw ? term(v) : TYPES.indexOf(typeOf(v))));
	if (x !== y) return x - y;
	switch (typeOf(a)) {
	case 'null': return 0;
	case 'boolean': case 'number': return a - b;
	case 'string': return raw ? Buffer.compare(Buffer.from(a), Buffer.from(b)) : collator.compare(a, b);
	case 'array': return lists(a, b, raw);
	default: return lists(Object.entries(a), Object.entries(b), raw);
	}
}

function lists(a, b, raw) {
	for (let i = 0; i < Math.min(a.length, b.length); i++) {
		const order = collate(a[i], b[i], raw);
		if (order !== 0) return order;
	}
	return a.length - b.length;
}

/** "a\\.b.c" is ["a.b", "c"]. */
const parsePath = (path) => path.replaceAll('\\.', '\u0000').split('.').map((name) => name.replaceAll('\u0000', '.'));

/** {found, value}, or where there is none `missing`; `bad` where the path goes through what has no members. */
export function lookUp(doc, path) {
	let at = doc;
	for (const name of parsePath(path)) {
		if (Array.isArray(at)) {
			if (!/^\d+$/.test(name) || Number(name) >= at.length) return { bad: true };
			at = at[Number(name)];
		} else if (!isObject(at)) return { bad: true };
		else if (!Object.hasOwn(at, name)) return { missing: true };
		else at = at[name];
	}
	return { found: true, value: at };
}

const LISTS = ['$and', '$or', '$nor'];
const NESTED = ['$elemMatch', '$allMatch', '$keyMapMatch'];

/** One pair at each level: ["$and", [...]], ["field", condition], ["$lt", value]; null: every document. */
function parse(v) {
	if (!isObject(v) || Object.keys(v).length === 0) return ['$eq', v];
	const pairs = Object.entries(v).map(([name, arg]) => {
		if (LISTS.includes(name)) return [name, arg.map(parse)];
		if (name === '$not' || NESTED.includes(name)) return [name, parse(arg)];
		return name.startsWith('$') ? [name, arg] : [name, parse(arg)];
	});
	return pairs.length === 1 ? pairs[0] : ['$and', pairs];
}

function sink([name, arg], path = '') {
	if (LISTS.includes(name)) return [name, arg.map((kid) => sink(kid, path))];
	if (name === '$not') return [name, sink(arg, path)];
	if (NESTED.includes(name)) return [path, [name, sink(arg)]];
	if (name.startsWith('$')) return [path, [name, arg]];
	return sink(arg, path ? `${path}.${name}` : name);
}

const OPPOSITE = { $lt: '$gte', $gte: '$lt', $gt: '$lte', $lte: '$gt', $eq: '$ne', $ne: '$eq', $in: '$nin', $nin: '$in' };

function negate([name, arg]) {
	if (name === '$not') return clear(arg);
	if (name === '$nor') return ['$or', arg.map(clear)];
	if (name === '$and') return ['$or', arg.map(negate)];
	if (name === '$or') return ['$and', arg.map(negate)];
	const [op, value] = arg;
	if (OPPOSITE[op]) return [name, [OPPOSITE[op], value]];
	if (op === '$exists') return [name, [op, !value]];
	return [name, ['$not', arg]];
}

/** Negations sink to the values; so what is negated wants its field as well. */
function clear([name, arg]) {
	if (name === '$not') return negate(arg);
	if (name === '$nor') return ['$and', arg.map(negate)];
	if (name === '$and' || name === '$or') return [name, arg.map(clear)];
	return [name, arg];
}

const normalise = (selector) => (Object.keys(selector).length === 0 ? null : clear(sink(parse(selector))));

/** Integers in JSON: without an exponent. */
const isInteger = (v) => typeof v === 'number' && /^-?\d+$/.test(JSON.stringify(v));
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

const TESTS = {
	$and: (kids, v, raw) => kids.every((kid) => test(kid, v, raw)),
	$or: (kids, v, raw) => kids.length === 0 || kids.some((kid) => test(kid, v, raw)),
	$nor: (kids, v, raw) => !kids.some((kid) => test(kid, v, raw)),
	$not: (kid, v, raw) => !test(kid, v, raw),
	$lt: (arg, v, raw) => collate(v, arg, raw) < 0,
	$lte: (arg, v, raw) => collate(v, arg, raw) <= 0,
	$eq: (arg, v, raw) => collate(v, arg, raw) === 0,
	$ne: (arg, v, raw) => collate(v, arg, raw) !== 0,
	$gte: (arg, v, raw) => collate(v, arg, raw) >= 0,
	$gt: (arg, v, raw) => collate(v, arg, raw) > 0,
	$in: (args, v, raw) => (Array.isArray(v) ? v : [v]).some((e) => args.some((arg) => collate(e, arg, raw) === 0)),
	$nin: (args, v, raw) => !TESTS.$in(args, v, raw),
	$exists: (arg) => arg,
	$type: (arg, v) => typeOf(v) === arg,
	$mod: ([d, r], v) => isInteger(v) && v % d === r,
	$regex: (arg, v) => typeof v === 'string' && (arg.startsWith('(?i)') ? new RegExp(arg.slice(4), 'iu') : new RegExp(arg, 'u')).test(v),
	$beginsWith: (arg, v) => typeof v === 'string' && v.startsWith(arg),
	$size: (arg, v) => Array.isArray(v) && v.length === arg,
	$all: (args, v) => Array.isArray(v) && args.length > 0 &&
		((args.length === 1 && same(args[0], v)) || args.every((arg) => v.some((e) => same(e, arg)))),
	$elemMatch: (kid, v, raw) => Array.isArray(v) && v.some((e) => test(kid, e, raw)),
	$allMatch: (kid, v, raw) => Array.isArray(v) && v.length > 0 && v.every((e) => test(kid, e, raw)),
	$keyMapMatch: (kid, v, raw) => isObject(v) && Object.keys(v).some((k) => test(kid, k, raw)),
};

function test([name, arg], v, raw) {
	if (name.startsWith('$')) return TESTS[name](arg, v, raw);
	if (name === '') return test(arg, v, raw);
	const { found, missing, value } = lookUp(v, name);
	if (found) return test(arg, value, raw || name === '_id');
	return Boolean(missing) && arg[0] === '$exists' && arg[1] === false;
}

export function matches(selector, doc) {
	const normal = normalise(selector);
	return normal === null || test(normal, doc, false);
}

/** The fields that each document has that a normalised selector matches, as the planner sees it. */
function required(normal) {
	if (normal === null) return new Set();
	const [name, arg] = normal;
	if (name === '$and') return new Set(arg.flatMap((kid) => [...required(kid)]));
	if (name === '$or') {
		const all = arg.map(required);
		return new Set([...all[0] ?? []].filter((field) => all.every((set) => set.has(field))));
	}
	return new Set(arg[0] === '$exists' && arg[1] === false ? [] : [name]);
}

function isConstant([name, arg], field) {
	if (name === '$and') return arg.some((kid) => isConstant(kid, field));
	return name === field && arg[0] === '$eq';
}

/** May an index of these columns serve the query? */
export function usable(columns, selector, sort = []) {
	const normal = normalise(selector);
	const has = required(normal);
	if (!columns.every((c) => has.has(c) || sort.includes(c) || c === '_id' || c === '_rev')) return false;
	if (sort.length === 0) return true;
	let at = 0;
	while (at < columns.length && !sort.every((s, i) => columns[at + i] === s)) {
		if (normal === null || !isConstant(normal, columns[at])) return false;
		at++;
	}
	return at < columns.length;
}

/** May all documents be read in the order of their ids?  A sort by them wants a condition on _id that an index can answer; $exists is one. */
export function sortsById(selector, sort) {
	const ranges = ['$lt', '$lte', '$eq', '$gte', '$gt', '$beginsWith', '$exists'];
	const ranged = ([name, arg]) => (name === '$and' ? arg.some(ranged) : name === '_id' && ranges.includes(arg[0]));
	const normal = normalise(selector);
	return sort.length === 1 && sort[0] === '_id' && normal !== null && ranged(normal);
}

/** What `fields` leaves of a document. */
export function project(doc, fields) {
	const out = {};
	for (const path of fields) {
		const { found, value } = lookUp(doc, path);
		if (!found) continue;
		const names = parsePath(path);
		let at = out;
		for (const name of names.slice(0, -1)) at = at[name] ??= {};
		at[names.at(-1)] = value;
	}
	return out;
}

/** The order of a sort by ${paths}; equal ones by id, unless ${ties}. */
export function bySort(paths, descending, ties = false) {
	const key = (doc) => paths.map((path) => lookUp(doc, path).value);
	return (a, b) => {
		const order = collate(key(a), key(b)) || (ties ? 0 : collate(a._id, b._id, true));
		return descending ? -order : order;
	};
}
