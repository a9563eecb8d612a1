// Fifteen people for the tests of Mango, with everything that its operators tell apart, and the indexes that go with them.
import { after } from 'node:test';
import { startDivand } from '../lib/divand.mjs';
import { client } from '../lib/wire.mjs';

const person = (nr, given, family, age, [land, town, street, house], firm, rest) => ({
	_id: `p${String(nr * 7 % 15).padStart(2, '0')}`, nr, name: { given, family }, age, place: { land, town, street: { name: street, house } }, firm, ...rest,
});

export const STAFF = [
	person(0, 'Stella', 'Kern', 48, ['Norway', 'Rena', 'Elm Row', 347], 'Drift', { boss: false, handle: '@stella', likes: ['Ruby', 'C', 'Python'], parts: [{ a: 1 }, { b: 2 }] }),
	person(1, 'Abel', 'Wolf', 31, ['Chile', 'Gorbea', 'Hill Road', 8987], 'Talc', { boss: false, handle: '@abel', likes: ['Ruby', 'Python', 'C', { of: { alpha: 'beta' } }], parts: [{ a: 1, b: 2 }] }),
	person(2, 'Shira', 'Evans', 42, ['New Caledonia', 'Thio', 'Mill Way', 7100], 'Zinc', { boss: true, likes: ['Lisp', 'Python', 'Erlang'], pair: { one: 1, two: 'two' } }),
	person(3, 'Madlen', 'Sommer', 79, ['Uganda', 'Arua', 'Dock Lane', 710], 'Tassel', { boss: true, likes: [['Lisp', 'Erlang', 'Python'], 'Erlang', 'C', 'Erlang'], 11111: 'digits', 22222: { 33333: 'deep digits' } }),
	person(4, 'Nora', 'Hofer', 61, ['Georgia', 'Gori', 'Wood Street', 6845], 'Signet', { boss: false, handle: '@nora', likes: ['Lisp', 'C', 'Ruby', 'Ruby'], 'name.given': 'a name with a dot' }),
	person(5, 'Sheri', 'Paulsen', 73, ['Mexico', 'Naco', 'Moor Close', 5648], 'Myrtle', { boss: true, likes: ['Lisp', 'Lisp'] }),
	person(6, 'Tadeo', 'Guth', 47, ['Iceland', 'Hella', 'Sand Court', 7392], 'Prose', { boss: true, likes: ['C', 'Lisp', 'Ruby', 'C'] }),
	person(7, 'Jonas', 'Stark', 33, ['Ireland', 'Longford', 'Dale Street', 3949], 'Niche', { boss: true, likes: ['C', 'C', 'Ruby', 'Ruby', 'Erlang'], ranked: null }),
	person(8, 'Jakob', 'Maurer', 68, ['Malta', 'Cospicua', 'Green Row', 8776], 'Globe', { boss: true, likes: null, ranked: false }),
	person(9, 'Ramona', 'Flood', 22, ['Mauritius', 'Flacq', 'Lot Place', 1697], 'Mangle', { boss: true, handle: null, likes: ['Lisp', 'Erlang', 'Python'], ranked: true, odd: '+-(){}[]^~&&*||"\\/?:!' }),
	person(10, 'Carmen', 'Muller', 43, ['New Zealand', 'Kaikoura', 'Reef Road', 4503], 'Lyre', { boss: true, likes: ['Erlang', 'Erlang'], ranked: 9 }),
	person(11, 'Mathis', 'Hernan', 75, ['Haiti', 'Dondon', 'Bank Place', 2741], 'Affluent', { boss: true, likes: ['Ruby', 'Lisp', 'C', 'C++', 'C++'], ranked: 10000 }),
	person(12, 'Patrik', 'Rosner', 71, ['Peru', 'Juli', 'Hunt Place', 7683], 'Oulu', { boss: true, likes: ['C', 'Python', 'Lisp'], ranked: 'a' }),
	person(13, 'Whit', 'Harvey', 78, ['Mongolia', 'Tsetserleg', 'Fair Place', 8766], null, { boss: false, handle: '@whit', likes: ['C', 'Ruby', 'Ruby'], ranked: 'A' }),
	person(14, 'Faye', 'Hessel', 51, ['North Macedonia', 'Ohrid', 'Bright Lane', 1106], 'Pharm', { likes: ['Erlang', 'Python', 'Lisp'], ranked: 'aa' }),
];

/** Each index stands in a design document of its name. */
export const INDEXES = {
	age: ['age'], firm_boss: ['firm', 'boss'], handle: ['handle'], likes: ['likes'], likes_3: ['likes.3'], boss: ['boss'], name: ['name.family', 'name.given'],
	nr: ['nr'], place: ['place.land', 'place.town', 'place.street.name', 'place.street.house'], ranked: ['ranked'],
};

/** Calls of Mango by ${c}, a client of lib/wire.mjs; in ${db}. */
export function mango(c, db) {
	const post = (path, body) => c.request('POST', `${db}/${path}`, body);
	const ok = async (path, body) => {
		const r = await post(path, body);
		if (r.status !== 200) throw Object.assign(new Error(`${path} ${JSON.stringify(body)}: ${r.status} ${r.text.slice(0, 400)}`), r);
		return r.json;
	};
	const m = {
		db, post,
		raw: (selector, more) => ok('_find', { selector, ...more }),
		find: async (selector, more) => (await m.raw(selector, more)).docs,
		/** What stands in `nr`, in the order of the answer. */
		nrs: async (selector, more) => (await m.find(selector, more)).map((d) => d.nr),
		sorted: async (selector, more) => (await m.nrs(selector, more)).sort((a, b) => a - b),
		refused: (selector, more) => post('_find', { selector, ...more }),
		explain: (selector, more) => ok('_explain', { selector, ...more }),
		index: (fields, { name, ddoc, filter, ...more } = {}) => ok('_index', { index: { fields, ...(filter ? { partial_filter_selector: filter } : {}) }, name, ddoc, ...more }),
		list: async (query = '') => (await c.request('GET', `${db}/_index${query}`)).json.indexes,
		drop: (ddoc, name, type = 'json') => c.request('DELETE', `${db}/_index/${ddoc}/${type}/${name}`),
		async save(docs) {
			const r = await post('_bulk_docs', { docs });
			if (r.status !== 201 || r.json.some((row) => row.error)) throw new Error(r.text.slice(0, 400));
		},
		/** The staff, and its indexes unless ${bare}. */
		async staff(bare = false) {
			if (!bare) for (const [name, fields] of Object.entries(INDEXES)) await m.index(fields, { name, ddoc: name });
			await m.save(STAFF);
			return m;
		},
	};
	return m;
}

/** A server until the tests of the calling file are over: the staff with indexes and without, and databases of given documents. */
export async function startStaffed() {
	const server = await startDivand();
	const c = client(server);
	after(async () => {
		c.close();
		await server.stop();
	});
	return {
		server, c,
		indexed: await mango(c, await c.db()).staff(),
		bare: await mango(c, await c.db()).staff(true),
		fresh: async (docs = []) => {
			const m = mango(c, await c.db());
			if (docs.length > 0) await m.save(docs);
			return m;
		},
	};
}
