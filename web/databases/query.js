/*
 * query.js: a view's query: what the address of the page says, what the server is asked, and where the pages before and after
 * begin.  Knows neither elements nor requests.
 *
 * Keys are JSON texts all the way, so that their numbers keep their digits.  A page begins at a row, not at a number of rows:
 * rows that come and go in front of it move nothing.  A row is known by its key, its document and how many rows with the same
 * of both stand before it, since a document may emit a key more than once.
 */

export const LIMITS = [20, 50, 100, 500];
const LIMIT = 50;
const LONG = 4000; // an address beyond this many characters goes into a body
const SPARE = 16; // rows asked for beyond a page that is read backwards; see page()

// Stands behind every key that begins with the same members, as far as ordinary keys go.
const HIGHEST = '{"\ufff0":{}}';

// group: 'rows', 'total', 'exact', or how many members of a key make a group.
function grouping(params) {
	const level = Number(params.get('group_level'));
	if (Number.isInteger(level) && level > 0)
		return level;
	if (params.get('group') === 'true')
		return 'exact';
	return params.get('reduce') === 'true' ? 'total' : 'rows';
}

// The page of an address: at is where it begins (back: or, with what it ends), null for the first one.
function place(params) {
	for (const way of ['from', 'before']) {
		if (params.has(way))
			return { back: way === 'before', key: params.get(way), id: params.get(`${way}_id`) ?? undefined, n: Number(params.get(`${way}_n`)) || 0 };
	}
	return null;
}

export function read(params) {
	const text = (name) => params.get(name)?.trim() || undefined;
	const limit = Number(params.get('limit'));
	return {
		group: grouping(params), key: text('key'), start: text('startkey'), end: text('endkey'),
		exclusive: params.get('inclusive_end') === 'false', descending: params.get('descending') === 'true',
		docs: params.get('include_docs') === 'true', limit: limit >= 1 && limit <= 1000 ? Math.floor(limit) : LIMIT,
		asItIs: params.get('update') === 'false', at: place(params),
	};
}

// The address's part; read(new URLSearchParams(write(q))) says what q says.
export function write(q) {
	const out = {};
	const put = (name, value, unless) => {
		if (value !== undefined && value !== unless)
			out[name] = String(value);
	};
	if (q.group === 'total')
		out.reduce = 'true';
	else if (q.group === 'exact')
		out.group = 'true';
	else if (q.group !== 'rows')
		out.group_level = String(q.group);
	put('key', q.key);
	put('startkey', q.start);
	put('endkey', q.end);
	put('inclusive_end', !q.exclusive, true);
	put('descending', q.descending, false);
	put('include_docs', q.docs, false);
	put('limit', q.limit, LIMIT);
	put('update', !q.asItIs, true);
	if (q.at) {
		const way = q.at.back ? 'before' : 'from';
		put(way, q.at.key);
		put(`${way}_id`, q.at.id);
		put(`${way}_n`, q.at.n, 0);
	}
	return out;
}

// What is wrong with a key that somebody typed, in words; undefined if nothing is.
export function complaint(text) {
	try {
		JSON.parse(text);
	} catch {
		return /^[^"{[]*$/.test(text) ? `A key is JSON, and a text stands in quotation marks: ${JSON.stringify(text)}` : 'This key is not JSON: a bracket, comma or quotation mark is missing or too many.';
	}
}

// Where the rows of a group begin if they are read downwards: behind all of them.
function ceiling(key, level) {
	const value = JSON.parse(key);
	return Array.isArray(value) && value.length === level ? `${key.trim().slice(0, -1)},${HIGHEST}]` : key;
}

// What the server is asked, as [name, JSON text].
function parameters(q, limit, hasReduce) {
	const out = [];
	const put = (name, value) => value !== undefined && out.push([name, value]);
	const back = Boolean(q.at?.back);
	const down = q.descending !== back;
	let [start, end] = q.key === undefined ? [q.start, q.end] : [q.key, q.key];
	if (back)
		[start, end] = [q.at.key, start];
	else if (q.at)
		start = q.at.key;
	if (q.group === 'rows')
		put('reduce', hasReduce ? 'false' : undefined);
	else
		put('reduce', 'true');
	if (q.group === 'exact')
		put('group', 'true');
	else if (typeof q.group === 'number')
		put('group_level', String(q.group));
	put('startkey', q.at && down && typeof q.group === 'number' ? ceiling(start, q.group) : start);
	put('startkey_docid', q.at?.id === undefined ? undefined : JSON.stringify(q.at.id));
	put('endkey', end);
	put('inclusive_end', q.exclusive && !back && q.key === undefined ? 'false' : undefined);
	put('descending', down ? 'true' : undefined);
	put('skip', q.at?.n && !back ? String(q.at.n) : undefined);
	put('include_docs', q.docs && q.group === 'rows' ? 'true' : undefined);
	put('limit', q.group === 'total' ? undefined : String(limit));
	put('update', q.asItIs ? '"false"' : undefined);
	return out;
}

const inAddress = (all) => new URLSearchParams(all.map(([name, value]) => [name, name === 'startkey_docid' || name === 'update' ? JSON.parse(value) : value])).toString();

// The page's query as programs would ask it; undefined where the page is read backwards, or is not asked for in an address.
export function plain(q, hasReduce) {
	const query = inAddress(parameters(q, q.limit, hasReduce));
	return q.at?.back || query.length > LONG ? undefined : query;
}

/*
 * { limit, query, body }: body is undefined unless the query is too long for an address.  `more` rows are asked for beyond what
 * is usual.
 */
export function ask(q, hasReduce, more = 0) {
	const limit = q.limit + 1 + (q.at?.back ? SPARE : 0) + more;
	const all = parameters(q, limit, hasReduce);
	const query = inAddress(all);
	if (query.length <= LONG)
		return { limit, query };
	return { limit, query: '', body: `{${all.map(([name, value]) => `"${name}":${value}`).join(',')}}` };
}

const sameKey = (a, b) => a === b || JSON.stringify(JSON.parse(a)) === JSON.stringify(JSON.parse(b));
const alike = (a, b) => a.id === b.id && sameKey(a.key, b.key);

// How many rows at the head of a list are like this one.
function run(rows, row) {
	const n = rows.findIndex((r) => !alike(r, row));
	return n < 0 ? rows.length : n;
}

// The page that is read from its end upwards; null if the rows do not tell all of it.
function backwards({ at, limit }, rows, complete) {
	const dropped = Math.max(0, run(rows, at) - at.n);
	const kept = rows.slice(dropped);
	const before = kept.slice(limit);
	const first = kept[Math.min(limit, kept.length) - 1];
	const n = first ? run(before, first) : 0;
	if (!complete && n === before.length)
		return null;
	return { dropped, rows: kept.slice(0, limit).reverse(), earlier: before.length ? { back: true, key: first.key, id: first.id, n } : null, next: { ...at, back: false } };
}

/*
 * The page among the rows that the server gave, each with key (a JSON text) and id (not where they are reduced): { rows,
 * earlier, next, dropped }, with places for read() and write(), or null.  asked: how many rows were asked for.  Null if
 * more are needed, which is where a document emitted one key many times.
 */
export function page(q, rows, asked) {
	const { at, limit } = q;
	if (at?.back)
		return backwards(q, rows, rows.length < asked);
	const shown = rows.slice(0, limit);
	const follower = rows[limit];
	let next = null;
	if (follower) {
		let n = run([...shown].reverse(), follower);
		if (n === shown.length && at && alike(at, follower))
			n += at.n;
		next = { back: false, key: follower.key, id: follower.id, n };
	}
	const head = shown[0] || at;
	const earlier = at && { back: true, key: head.key, id: head.id, n: alike(at, head) ? at.n : 0 };
	return { rows: shown, earlier, next, dropped: 0 };
}
