// Documents, indexes and selectors for PouchDB's find plugin, of what it and CouchDB mean the same by.  What they do not is left out,
// each by the narrowest rule:
//
//  1. A field that a document lacks: PouchDB takes $ne, and what $not and $nor deny, to hold; CouchDB wants the field
//     (mango_selector:match/3, not_found; recorded: operators/5, 41, 50).  There, {$exists: true} stands beside.
//  2. null: PouchDB finds it by neither $in nor $nin (its fieldExists()); CouchDB treats it as any value.  It is no element of $in,
//     and beside $nin stands {$ne: null}.
//  3. Conditions without an operator: PouchDB takes an array for a list of members, an object without members for "nothing", and
//     what is falsy below the top for "everything".  So $eq is written there.
//  4. $and: PouchDB merges its members into one object: siblings of $and are lost, two conditions of one operator on one field too, and two
//     $or are combined by guess.  Its members here are about different fields, or two numbers.  No $and stands directly in a $not.
//  5. A field's own {$not: ...} PouchDB does not know.  An array in $ne it takes for several values; in $in and $all for one.
//  6. $all of nothing is true in PouchDB (recorded in CouchDB as false: operators/25).
//  7. $elemMatch and $allMatch: PouchDB looks at the first element only to see whether they are objects.  Arrays are of one kind.
//  8. A path goes on behind 0, "" and false in PouchDB: what has members here is an object, or missing.
//  9. Strings are of a to z: PouchDB orders others by code unit.
// 10. Sorts: CouchDB's indexes lack documents without one of the columns, PouchDB's have them as null; so what is sorted wants all columns.
//     CouchDB sorts by _id only with an index on it (recorded: options/8); PouchDB always.
// 11. PouchDB takes a partial index without being asked, and loses documents by it; CouchDB does not (recorded: partial-index/7).
export class PouchFind {
	constructor(random) {
		this.r = random;
		this.docs = [];
	}
	word(most = 3) {
		const { r } = this;
		return Array.from({ length: r.between(1, most) }, () => r.pick('abcxyz')).join('');
	}
	number() {
		const { r } = this;
		return r.below(4) ? r.between(-3, 9) : r.between(-40, 40) / r.pick([2, 4]);
	}
	scalar() {
		const { r } = this;
		return r.pick([() => null, () => r.pick([false, true]), () => this.number(), () => this.word(2)])();
	}
	many(most, make) {
		return Array.from({ length: this.r.between(0, most) }, make);
	}
	body() {
		const { r } = this;
		const doc = { k: r.pick(['book', 'disc', 'map', 'song']), n: this.number() };
		if (r.below(4)) doc.s = this.word();
		if (r.below(4)) doc.v = this.scalar();
		if (r.below(5)) doc.t = r.below(2) ? this.many(4, () => this.word(1)) : this.many(4, () => r.between(0, 5));
		if (r.below(4)) doc.o = { x: this.number(), ...(r.below(3) ? { y: this.word(1) } : {}) };
		if (r.below(4)) doc.l = this.many(3, () => ({ p: r.between(0, 5), q: this.word(1) }));
		return doc;
	}

	/** A value that some document has there, mostly. */
	known(path) {
		const { r } = this;
		for (let i = 0; i < 4 && r.below(6); i++) {
			const v = path.split('.').reduce((at, name) => at?.[name], r.pick(this.docs));
			if (v !== undefined) return v;
		}
		return path === 't' || path === 'l' ? [] : this.scalar();
	}
	list(path) {
		const out = this.many(5, () => this.known(path)).map((v) => (Array.isArray(v) ? v[0] ?? 1 : v));
		return out.filter((v) => v !== null);
	}
	always(path) {
		return path === 'k' || path === 'n' || path === '_id';
	}
	/** Of rule 1; it stands first, for PouchDB cannot compare what is missing with null. */
	guard(path) {
		return this.always(path) ? {} : { $exists: true };
	}
	/** Two ends that have something between them. */
	ends(path) {
		const two = [this.known(path), this.known(path)].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
		return { [this.r.pick(['$gt', '$gte'])]: two[0], [this.r.pick(['$lt', '$lte'])]: two[1] };
	}

	operators(path) {
		const { r } = this;
		if (path === '_id') return r.pick([{ $gt: this.known('_id') }, { $eq: this.known('_id') }, { $in: this.list('_id') }, { $lt: this.known('_id') }, { $regex: '^d[ab]' }]);
		if (path === 'l') return this.ofObjects();
		if (path === 't') return this.ofArray();
		const kinds = [
			() => ({ $eq: this.known(path) }), () => ({ $eq: this.known(path) }),
			() => ({ [r.pick(['$gt', '$gte', '$lt', '$lte'])]: this.known(path) }), () => this.ends(path),
			() => ({ ...this.guard(path), $ne: this.known(path) }),
			() => ({ $in: this.list(path) }), () => ({ ...this.guard(path), $nin: this.list(path), $ne: null }),
			() => ({ $exists: r.below(3) > 0 }), () => ({ $type: r.pick(['null', 'boolean', 'number', 'string', 'array', 'object']) }),
			() => ({ $regex: r.pick(['^a', 'b', 'x$', 'o.', '[bk]']) }), () => ({ $mod: [r.pick([2, 3, 5]), r.between(0, 1)] }),
			() => ({ $gte: this.known(path), $type: r.pick(['number', 'string']) }),
		];
		return r.pick(kinds)();
	}
	ofArray() {
		const { r } = this;
		return r.pick([
			() => ({ $size: r.below(4) }), () => ({ $all: [this.list('t'), [r.pick('abc')], [r.below(5)]].find((list) => list.length > 0 && list.length < 3) }),
			() => ({ $in: this.list('t') }), () => ({ $exists: true, $nin: this.list('t') }), () => ({ $eq: this.known('t') }), () => ({ $gt: this.known('t') }), () => ({ $type: 'array' }),
			() => ({ [r.pick(['$elemMatch', '$allMatch'])]: r.pick([{ $eq: r.pick('abc') }, { $gt: r.between(0, 4) }, { $in: ['a', 'b', 3, 4] }, { $gte: 'b', $lt: 'y' }, { $ne: 'a' }, { $type: 'number' }, { $mod: [2, 1] }]) }),
		])();
	}
	ofObjects() {
		const { r } = this;
		const element = r.pick([{ p: { $gt: r.between(0, 4) } }, { q: { $eq: this.word(1) } }, { p: r.between(1, 5), q: { $in: ['a', 'b', 'c'] } }, { q: { $ne: 'a' }, p: { $lt: 4 } }, { $or: [{ p: { $eq: 1 } }, { q: { $gt: 'x' } }] }]);
		return r.pick([{ $size: r.below(4) }, { $elemMatch: element }, { $elemMatch: element }, { $allMatch: element }, { $exists: true }, { $type: 'array' }]);
	}

	/** Conditions on ${paths}; ${top}: some without an operator. */
	fields(paths, top) {
		const out = {};
		for (const path of paths) {
			const c = this.operators(path);
			const bare = top && Object.keys(c).length === 1 && '$eq' in c && (typeof c.$eq !== 'object' || c.$eq === null) && c.$eq !== null;
			out[path] = bare && this.r.below(2) ? c.$eq : c;
		}
		return out;
	}
	paths(most = 3) {
		const all = ['k', 'n', 's', 'v', 't', 'l', 'o.x', 'o.y', '_id'];
		return [...new Set(this.many(most, () => this.r.pick(all)).concat(this.r.pick(all)))];
	}
	/** Beside what is denied: the fields in it. */
	present(denied) {
		const out = {};
		const walk = (selector) => {
			for (const [name, c] of Object.entries(selector)) {
				if (Array.isArray(c) && name.startsWith('$')) c.forEach(walk);
				else if (name === '$not') walk(c);
				else if (!this.always(name)) out[name] = { $exists: true };
			}
		};
		walk(denied);
		return out;
	}
	selector() {
		const { r } = this;
		const some = (most) => Array.from({ length: r.between(1, most) }, () => this.fields(this.paths(1), false));
		switch (r.below(10)) {
		case 0: case 1: return { $or: some(4) };
		case 2: return { ...this.fields(r.below(2) ? ['k'] : ['n'], true), $or: some(3) };
		case 3: {
			const $nor = some(3);
			return { ...this.present({ $nor }), $nor };
		}
		case 4: {
			const $not = this.fields(this.paths(1), false);
			return { ...this.present({ $not }), $not };
		}
		case 5: return { $and: this.apart() };
		case 6: return { $or: [{ ...this.fields(['k'], false), $or: some(2) }, ...some(2)] };
		default: return this.fields(this.paths(), true);
		}
	}
	/** For $and: about different fields, or the two ends of a number, and at most one $or. */
	apart() {
		const { r } = this;
		const members = this.paths(3).map((path) => this.fields([path], false));
		if (!members.some((m) => 'n' in m) && r.below(2)) members.push({ n: { $gt: r.between(-3, 3) } }, { n: { $lte: r.between(2, 9) } });
		if (r.below(3) === 0) members.push({ $or: [this.fields(['k'], false), this.fields(['o.x'], false)] });
		return members;
	}

	/** Columns of an index. */
	columns() {
		const { r } = this;
		const all = ['k', 'n', 's', 'v', 'o.x', 'o.y', 't', '_id'];
		return [...new Set(Array.from({ length: r.pick([1, 1, 2, 2, 3]) }, () => r.pick(all)))];
	}
	/** A query that an index of ${columns} serves: each column is wanted, in the index's order, so that PouchDB knows it too. */
	served(columns) {
		const { r } = this;
		const selector = {};
		for (const path of columns) {
			const c = this.operators(path);
			selector[path] = c.$exists === false ? { $exists: true } : c;
		}
		if (r.below(3) === 0) Object.assign(selector, Object.fromEntries(Object.entries(this.fields(this.paths(1), true)).filter(([path]) => !(path in selector))));
		return selector;
	}
}
