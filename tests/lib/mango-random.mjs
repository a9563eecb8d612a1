// Documents, selectors and indexes out of a seed: all types, all operators, few different values, so that much is equal.  Some strings are longer
// than what a range of an index keeps of a key.
const WORDS = ['', 'a', 'A', 'b', 'ab', 'Ab', 'abc', 'b a', 'z', 'Zoe', 'é', 'e\u0301', 'ä', 'a\u0001', 'ß', 'ss', '10', '9', '_', '\u{1f600}', ...['', 'a', 'b'].map((end) => 'long'.repeat(400) + end)];

/** Paths that documents may have; of `o` and `l` also below. */
export const PATHS = ['a', 'b', 'c', 'n', 's', 't', 'o.x', 'o.y', 'o.z.w', 'l', 'm', 't.0', 'l.1.p', 'dot\\.ted'];

export class MangoRandom {
	constructor(random) {
		this.random = random;
		this.docs = [];
	}

	number() {
		const r = this.random;
		return r.below(3) ? r.between(-3, 9) : r.pick([0.5, -0.5, 2.25, 1e15, -1e15, 9007199254740991, 1e300, 1e-300]);
	}
	scalar() {
		const r = this.random;
		const kind = r.below(8);
		if (kind === 0) return r.pick([null, false, true]);
		return kind <= 3 ? this.number() : r.pick(WORDS);
	}
	value(depth = 0) {
		const r = this.random;
		const kind = r.below(depth > 1 ? 7 : 10);
		if (kind <= 6) return this.scalar();
		if (kind <= 8) return Array.from({ length: r.below(4) }, () => this.value(depth + 1));
		return this.object(depth + 1);
	}
	object(depth) {
		const r = this.random;
		const out = {};
		for (let i = r.below(3); i > 0; i--) out[r.pick('xyz')] = this.value(depth + 1);
		return out;
	}
	id() {
		const r = this.random;
		return Array.from({ length: r.between(1, 5) }, () => r.pick('aAbBz09-é')).join('');
	}
	body() {
		const r = this.random;
		const all = {
			a: () => this.value(),
			b: () => this.value(),
			c: () => this.scalar(),
			n: () => this.number(),
			s: () => r.pick(WORDS),
			t: () => (r.below(6) ? Array.from({ length: r.below(4) }, () => this.scalar()) : this.scalar()),
			o: () => (r.below(6) ? { ...this.object(0), ...(r.below(3) ? {} : { z: { w: this.scalar() } }) } : this.value()),
			l: () => Array.from({ length: r.below(4) }, () => (r.below(8) ? { p: this.scalar(), q: this.scalar() } : this.value())),
			m: () => Object.fromEntries(Array.from({ length: r.below(3) }, () => [r.pick(['k1', 'k2', 'K1', 'abc']), this.scalar()])),
			'dot.ted': () => this.scalar(),
		};
		const out = {};
		for (const [name, make] of Object.entries(all)) if (r.below(5)) out[name] = make();
		return out;
	}

	/** A value that some document has at ${path}, mostly. */
	known(path, lookUp) {
		const r = this.random;
		for (let i = 0; i < 4 && this.docs.length > 0 && r.below(8); i++) {
			const { found, value } = lookUp(r.pick(this.docs), path);
			if (found) return value;
		}
		return this.value();
	}
}

const TYPES = ['null', 'boolean', 'number', 'string', 'array', 'object', 'nonsense'];
const REGEXES = ['^a', '^[A-Z]', 'b$', 'a.*b', '^$', '.', '(?i)^AB', '[0-9]+', 'é|z'];

/** Selectors over the documents of ${g}; ${lookUp} as the model's. */
export class SelectorRandom {
	constructor(g, lookUp) {
		this.g = g;
		this.r = g.random;
		this.lookUp = lookUp;
	}
	path() {
		return this.r.below(12) ? this.r.pick(PATHS) : '_id';
	}
	known(path) {
		return this.g.known(path, this.lookUp);
	}
	list(path, most = 4) {
		return Array.from({ length: this.r.below(most + 1) }, () => {
			const v = this.known(path);
			return Array.isArray(v) && v.length > 0 && this.r.below(3) ? this.r.pick(v) : v;
		});
	}
	/** A condition on the value at ${path}. */
	condition(path, depth = 0) {
		const { r } = this;
		const kind = r.below(depth > 2 ? 15 : 19);
		switch (kind) {
		case 0: case 1: return { $eq: this.known(path) };
		case 2: {
			// Without an operator, where that does not mean something else.
			const v = this.known(path);
			return typeof v === 'object' && v !== null && !Array.isArray(v) ? { $eq: v } : v;
		}
		case 3: return { [r.pick(['$gt', '$gte'])]: this.known(path) };
		case 4: return { [r.pick(['$lt', '$lte'])]: this.known(path) };
		case 5: case 6: return { [r.pick(['$gt', '$gte'])]: this.known(path), [r.pick(['$lt', '$lte'])]: this.known(path) };
		case 7: return { $ne: this.known(path) };
		case 8: case 9: return { $in: this.list(path, 5) };
		case 10: return { $nin: this.list(path) };
		case 11: return { $exists: r.below(3) > 0 };
		case 12: return { $type: r.pick(TYPES) };
		case 13: return r.pick([{ $mod: [r.pick([2, 3, -2]), r.between(-1, 1)] }, { $size: r.below(4) }, { $beginsWith: r.pick(['', 'a', 'A', 'ab', 'é', 'k']) }]);
		case 14: return { $regex: r.pick(REGEXES) };
		case 15: return r.pick([{ $all: this.list('t', 2) }, { $keyMapMatch: this.condition('s', depth + 2) }].map((c) => this.sound(c)));
		case 16: return { [r.pick(['$elemMatch', '$allMatch'])]: this.element(depth + 1) };
		case 17: return { $not: this.operators(path, depth + 1) };
		default: return { [r.pick(['$or', '$and'])]: Array.from({ length: r.between(1, 3) }, () => this.operators(path, depth + 1)) };
		}
	}
	/** $keyMapMatch wants an object. */
	sound(c) {
		const kid = c.$keyMapMatch;
		return kid === undefined || (typeof kid === 'object' && kid !== null && !Array.isArray(kid)) ? c : { $keyMapMatch: { $eq: kid } };
	}
	operators(path, depth) {
		const c = this.condition(path, depth);
		return typeof c === 'object' && c !== null && !Array.isArray(c) ? c : { $eq: c };
	}
	element(depth) {
		const { r } = this;
		if (r.below(2)) return this.operators('t.0', depth);
		return Object.fromEntries(['p', 'q'].slice(r.below(2)).map((name) => [name, this.condition(`l.1.${name}`, depth)]));
	}
	selector(depth = 0) {
		const { r } = this;
		const kind = r.below(depth > 2 ? 6 : 12);
		const some = (n, make) => Array.from({ length: r.between(1, n) }, make);
		if (kind === 6) return { $and: some(3, () => this.selector(depth + 1)) };
		if (kind <= 9 && kind > 6) return { $or: some(4, () => this.selector(depth + 1)), ...(r.below(3) ? {} : this.fields()) };
		if (kind === 10) return { $nor: some(2, () => this.selector(depth + 1)), ...(r.below(2) ? {} : this.fields()) };
		if (kind === 11) return { $not: this.selector(depth + 1) };
		return this.fields(depth);
	}
	fields(depth = 0, first = undefined) {
		const out = {};
		for (const path of first ?? Array.from({ length: this.r.between(1, 3) }, () => this.path())) out[path] = this.condition(path, depth);
		return out;
	}
}
