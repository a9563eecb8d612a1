// What CouchDB's own suites of Mango assert about finding (basic-find, operator, key, multi-type-value, empty-selector, beginswith, json-pagination,
// users-db-find, stable-update, find-conflicts, ignore-design-docs), in our words and over our people.  About indexes: mango-couchdb-indexes.test.mjs.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { client } from '../lib/wire.mjs';
import { mango, STAFF, startStaffed } from './mango-staff.mjs';

const { server, c, indexed, bare, fresh } = await startStaffed();

/** The same with the indexes and without. */
const both = async (run) => {
	await run(indexed);
	await run(bare);
};
const ids = (docs) => docs.map((d) => d._id);
const NAMED = { selector: { age: { $gt: 2 } } };

test('what is no selector, limit, skip, sort, fields, r or conflicts is refused', async () => {
	for (const bad of [null, true, false, 1.5, 'words', { a: { $not_an_op: 2 } }, { $gt: 2 }, [null, 'x']]) {
		assert.equal((await indexed.refused(bad)).status, 400, JSON.stringify(bad));
	}
	const values = [1.2, 'none', { a: 'b' }, [2]];
	const wrong = {
		limit: [...values, true, -1], skip: [...values, true, -3], r: [...values, true, -1, 0], conflicts: values,
		sort: [1.2, true, 'none', { a: 'asc' }, [2], [{ a: 'asc', b: 'asc' }], [{ a: 'asc' }, { b: 'desc' }]],
		fields: [1.2, true, 'none', { a: 'b' }, [2], [[]], ['a', 2.5]],
	};
	for (const [name, list] of Object.entries(wrong)) {
		for (const bad of list) assert.equal((await indexed.post('_find', { ...NAMED, [name]: bad })).status, 400, `${name} ${JSON.stringify(bad)}`);
	}
});

test('ranges by an index come in its order; conditions of several fields hold together', async () => {
	assert.deepEqual(await indexed.nrs({ age: { $lt: 35 } }), [9, 1, 7]);
	await both(async (m) => {
		assert.deepEqual(await m.nrs({ boss: true, 'place.town': 'Longford' }), [7]);
		assert.deepEqual(await m.sorted({ $and: [{ age: { $gte: 75 } }, { $or: [{ 'name.given': 'Mathis' }, { 'name.given': 'Whit' }] }] }), [11, 13]);
		assert.deepEqual(await m.nrs({ 'place.land': { $and: [{ $gt: 'Haiti' }, { $lt: 'Malta' }] }, 'place.town': { $lt: 'Longford' } }), [6]);
		assert.deepEqual(await m.nrs({ 'likes.3': 'C' }), [6]);
		assert.deepEqual(await m.nrs({ 'likes.3': null }), []);
		assert.deepEqual(await m.nrs({ $and: [{ age: { $gt: 0 } }, { age: { $lt: 0 } }] }), []);
		assert.equal((await m.find({})).length, 15);
	});
	// A path that no document knows by the index either.
	assert.deepEqual(await indexed.nrs({ handle: { $gt: null } }), [1, 4, 0, 13]);
});

test('of a name that stands twice in a selector the last one counts', async () => {
	await both(async (m) => {
		const r = await m.post('_find', '{"selector":{"place.town":{"$regex":"^L"},"place.town":{"$exists":true}}}');
		assert.equal(r.json.docs.length, 15);
	});
});

test('limit, skip and r', async () => {
	await both(async (m) => {
		for (const n of [0, 1, 5, 14]) {
			assert.equal((await m.find({ age: { $gt: 0 } }, { limit: n })).length, n);
			assert.equal((await m.find({ age: { $gt: 0 } }, { skip: n })).length, 15 - n);
		}
		for (const r of [1, 2, 3]) assert.equal((await m.find({ age: { $gt: 0 } }, { r })).length, 15);
	});
});

test('sorts, both ways, by one field and by two, and those without an index', async () => {
	const ages = STAFF.map((d) => d.age).sort((a, b) => a - b);
	for (const selector of [{ age: { $gt: 0 } }, { age: { $gt: 0, $exists: true } }]) {
		assert.deepEqual((await indexed.find(selector, { sort: [{ age: 'asc' }] })).map((d) => d.age), ages);
		assert.deepEqual((await indexed.find(selector, { sort: [{ age: 'desc' }] })).map((d) => d.age), [...ages].reverse());
	}
	const selector = { firm: { $lt: 'M' }, $or: [{ firm: 'Drift' }, { boss: true }] };
	const firms = (await indexed.find(selector, { sort: [{ firm: 'desc' }, { boss: 'desc' }] })).map((d) => d.firm);
	assert.deepEqual(firms, ['Lyre', 'Globe', 'Drift', 'Affluent']);
	// By the first column alone nothing requires the second.
	for (const [s, sort] of [[{ 'name.family': { $lt: 'M' } }, [{ 'name.given': 'desc' }]], [{ firm: { $lt: 'M' } }, [{ firm: 'desc' }]], [{ _id: { $gt: null } }, ['name']]]) {
		const r = await indexed.refused(s, { sort });
		assert.equal(r.status, 400, JSON.stringify(sort));
		assert.equal(r.json.error, 'no_usable_index');
	}
});

test('$or says nothing about a column, so that an index is refused that a sort would need', async () => {
	const r = await indexed.refused({ firm: { $lt: 'M' }, $or: [{ firm: 'Drift' }, { boss: true }] }, { sort: [{ firm: 'desc' }] });
	assert.equal(r.status, 400);
	assert.equal(r.json.error, 'no_usable_index');
});

test('fields, with paths, and only those', async () => {
	await both(async (m) => {
		for (const doc of await m.find({ age: { $gt: 0 } }, { fields: ['nr', 'place.street'] })) {
			assert.deepEqual(Object.keys(doc).sort(), ['nr', 'place']);
			assert.deepEqual(Object.keys(doc.place), ['street']);
		}
	});
});

test('an object without members equals only itself', async () => {
	const m = await fresh([...STAFF, { _id: 'eo', empty: {} }]);
	assert.deepEqual(await m.find({ _id: { $gt: null }, place: {} }), []);
	assert.deepEqual(ids(await m.find({ _id: { $gt: null }, empty: {} })), ['eo']);
});

test('a sort by _id where the selector speaks of _id', async () => {
	const got = await indexed.find({ _id: { $gt: 'p' }, age: { $gt: 0 } }, { sort: ['_id'], fields: ['_id'] });
	assert.deepEqual(ids(got), STAFF.map((d) => d._id).sort());
	const back = await indexed.find({ _id: { $gt: 'p' }, age: { $gt: 0 } }, { sort: [{ _id: 'desc' }], fields: ['_id'] });
	assert.deepEqual(ids(back), STAFF.map((d) => d._id).sort().reverse());
	for (const _id of [{ $gt: 0 }, { $exists: true }]) assert.equal((await indexed.explain({ _id, age: { $gt: 0 } }, { sort: ['_id'] })).index.type, 'special');
});

test('operators, with indexes and without', async () => {
	const cases = [
		[{ boss: true, likes: { $all: ['Lisp', 'Python'] } }, [2, 9, 12]],
		[{ boss: true, place: { $all: ['Ohai'] } }, []],
		[{ boss: true, likes: { $in: ['Ruby', 'Python'] } }, [2, 6, 7, 9, 11, 12]],
		// null is not in the list, so 8 is there.
		[{ boss: true, likes: { $nin: ['Erlang', 'Python'] } }, [5, 6, 8, 11]],
		[{ age: { $gt: 40 }, 'place.land': { $regex: '(?i)new.*' } }, [2, 10]],
		[{ age: { $gt: 0 }, handle: { $exists: false } }, [2, 3, 5, 6, 7, 8, 10, 11, 12, 14]],
		[{ handle: { $exists: false } }, [2, 3, 5, 6, 7, 8, 10, 11, 12, 14]],
		[{ age: { $gt: 0 }, handle: null }, [9]],
		[{ handle: { $ne: 'nobody' } }, [0, 1, 4, 9, 13]],
		[{ handle: { $lt: 1 } }, [9]],
		[{ handle: { $lte: 1 } }, [9]],
		[{ handle: { $lte: null } }, [9]],
		[{ handle: { $and: [{ $lte: '@z' }, { $ne: null }] } }, [0, 1, 4, 13]],
		[{ handle: { $gte: null } }, [0, 1, 4, 9, 13]],
		[{ ranked: { $lte: 'a' } }, [7, 8, 9, 10, 11, 12]],
		[{ ranked: { $gte: 'a' } }, [12, 13, 14]],
		[{ likes: { $elemMatch: { $eq: 'Erlang' } } }, [2, 3, 7, 9, 10, 14]],
		[{ likes: { $elemMatch: { 'of.alpha': 'beta' } } }, [1]],
		[{ likes: { $all: [['Lisp', 'Erlang', 'Python']] } }, [3, 9]],
		[{ likes: { $all: [['Lisp', 'Lisp']] } }, [5]],
		[{ pair: { $keyMapMatch: { $eq: 'two' } } }, [2]],
		[{ 'name\\.given': 'a name with a dot' }, [4]],
		[{ 11111: 'digits' }, [3]],
		[{ '22222.33333': 'deep digits' }, [3]],
		[{ odd: '+-(){}[]^~&&*||"\\/?:!' }, [9]],
		[{ boss: { $exists: true } }, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]],
		[{ likes: { $nin: [] } }, STAFF.map((d) => d.nr)],
	];
	await both(async (m) => {
		for (const [selector, nrs] of cases) assert.deepEqual(await m.sorted(selector), nrs, JSON.stringify(selector));
	});
});

test('elements: any, all, and none', async () => {
	const m = await fresh([
		{ _id: 'a', bang: [{ foo: 1, bar: 2 }] }, { _id: 'b', bang: [{ foo: 2, bam: true }] },
		{ _id: 'c', all: [{ foo: 1, bar: 2 }, { foo: 3, bar: 4 }] }, { _id: 'd', all: [{ foo: 1, bar: 2 }, { foo: 4, bar: 4 }] }, { _id: 'e', all: [] },
	]);
	assert.deepEqual(ids(await m.find({ _id: { $gt: null }, bang: { $elemMatch: { foo: { $gte: 1 }, bam: true } } })), ['b']);
	assert.deepEqual(ids(await m.find({ all: { $allMatch: { foo: { $mod: [2, 1] }, bar: { $mod: [2, 0] } } } })), ['c']);
	assert.deepEqual(ids(await m.find({ all: { $allMatch: { foo: { $gt: 0 } } } })), ['c', 'd']);
});

test('names with dots, dollars and letters of private use', async () => {
	const docs = [
		{ _id: '1', type: 'key', title: 'plain' }, { _id: '2', type: 'key', 'dot.key': 'of dots', none: { dot: 'of none' }, 'name.first': 'Kvothe' },
		{ _id: '3', type: 'key', $key: 'peso', deep: { $key: 'deep peso' }, name: { first: 'Elodin' } }, { _id: '4', type: 'key', '\uf8ff': 'apple' },
		{ _id: '5', 'utf8-1[]:string': 'string', 'utf8-3[]:null': null },
	];
	const m = await fresh(docs);
	await m.index(['type'], { ddoc: 'view', name: 'view' });
	for (const more of [{}, { use_index: 'view' }]) {
		const find = (fields) => m.find({ type: 'key' }, { fields, ...more });
		assert.deepEqual((await find(['dot\\.key', 'none.dot']))[1], { 'dot.key': 'of dots', none: { dot: 'of none' } });
		assert.deepEqual((await find(['$key', 'deep.$key']))[2], { $key: 'peso', deep: { $key: 'deep peso' } });
		assert.deepEqual((await find(['\uf8ff']))[3], { '\uf8ff': 'apple' });
	}
	for (const [selector, id] of [[{ '\uf8ff': 'apple' }, '4'], [{ 'utf8-1[]:string': 'string' }, '5'], [{ 'utf8-3[]:null': null }, '5'], [{ 'name\\.first': 'Kvothe' }, '2'], [{ 'name.first': 'Elodin' }, '3']]) {
		assert.deepEqual(ids(await m.find(selector)), [id]);
	}
	for (const selector of [{ 'name.first': 'Kvothe' }, { 'name\\.first': 'Elodin' }]) assert.deepEqual(await m.find(selector), []);
});

test('values of several types in one field, with indexes and without', async () => {
	const docs = [
		{ _id: '1', name: 'Jan', age: 10 }, { _id: '2', name: { first: 'Edo' }, age: 20 }, { _id: '3', name: null, age: 30 }, { _id: '4', name: 1, age: 40 }, { _id: '5', first: 'Sam', age: 50 },
	];
	for (const indexes of [[], [['name'], ['age', 'name']]]) {
		const m = await fresh(docs);
		for (const fields of indexes) await m.index(fields);
		const has = async (selector, wanted) => assert.deepEqual(ids(await m.find(selector)).sort(), wanted, JSON.stringify(selector));
		await has({ name: { $exists: true } }, ['1', '2', '3', '4']);
		await has({ 'name.first': { $exists: true } }, ['2']);
		await has({ name: { $gte: 0 } }, ['1', '2', '4']);
		await has({ age: { $gte: 0, $lt: 40 }, name: { $gte: 0 } }, ['1', '2']);
	}
});

test('lists without elements, at the top and beside a condition', async () => {
	const cases = [
		[{ $or: [] }, 0], [{ age: 22, $or: [] }, 1], [{ age: 22, firm: { $in: [] } }, 0], [{ age: 22, $and: [] }, 1], [{ age: 22, likes: { $all: [] } }, 0],
		[{ age: 22, $and: [{ likes: { $all: [] } }] }, 0], [{ $or: [], a: { $in: [] } }, 0], [{ likes: { $nin: [] } }, 15],
	];
	await both(async (m) => {
		for (const [selector, n] of cases) assert.equal((await m.find(selector)).length, n, JSON.stringify(selector));
		assert.equal((await m.explain({})).index.type, 'special');
	});
});

test('$beginsWith: strings that begin so, by case, and no others', async () => {
	const docs = [
		{ _id: 'aaa', name: 'Jim', place: 'AUS', age: 27 }, { _id: 'abc', name: 'Edo', place: 'AND', age: 65 }, { _id: 'bbb', name: 'Han', place: 'CAN', age: 21 },
		{ _id: 'ccc', name: 'Edo', place: 'DEN', age: 37 }, { _id: 'ddd', name: 'Jon', place: 'ETH', age: 49 },
	];
	const m = await fresh(docs);
	await m.index(['place']);
	await m.index(['name', 'place']);
	const has = async (selector, wanted) => assert.deepEqual(ids(await m.find(selector)).sort(), wanted, JSON.stringify(selector));
	await has({ place: { $beginsWith: 'A' } }, ['aaa', 'abc']);
	await has({ name: 'Edo', place: { $beginsWith: 'A' } }, ['abc']);
	await has({ age: { $beginsWith: 'a' } }, []);
	await has({ name: { $beginsWith: 'Z' } }, []);
	await has({ name: { $beginsWith: 'j' } }, []);
	await has({ name: { $beginsWith: 'J' } }, ['aaa', 'ddd']);
	await has({ _id: { $beginsWith: 'a' } }, ['aaa', 'abc']);
	const r = await m.refused({ _id: { $beginsWith: true } });
	assert.equal(r.status, 400);
	assert.equal(r.json.error, 'invalid_operator');

	const args = async (selector, sort) => (await m.explain(selector, sort && { sort })).mrargs;
	const asc = await args({ place: { $beginsWith: 'A' } });
	assert.deepEqual([asc.start_key, asc.end_key], [['A'], ['A\uffff', '<MAX>']]);
	assert.deepEqual((await args({ place: { $beginsWith: 'A' } }, ['place'])).direction, 'fwd');
	const desc = await args({ place: { $beginsWith: 'A' } }, [{ place: 'desc' }]);
	assert.deepEqual([desc.start_key, desc.end_key, desc.direction], [['A\uffff', '<MAX>'], ['A'], 'rev']);
	const two = await args({ name: 'Edo', place: { $beginsWith: 'A' } });
	assert.deepEqual([two.start_key, two.end_key], [['Edo', 'A'], ['Edo', 'A\uffff', '<MAX>']]);
	const all = await args({ _id: { $beginsWith: 'a' } });
	assert.deepEqual([all.start_key, all.end_key], ['a', 'a\uffff']);
	const none = await m.explain({ nothing: { $beginsWith: 'a' } });
	assert.deepEqual([none.index.type, none.mrargs.start_key, none.mrargs.end_key], ['special', null, '<MAX>']);
});

const PLACES = ['AUS', 'BRA', 'CAN', 'DEN', 'ETH', 'FRA', 'GHA', 'ZAR'].map((place, i) => ({ _id: `${i + 1}00`, place, user: i + 1, same: 'value' }));

test('pages by bookmarks: of all documents, of an index, of two columns, backwards, and of equal keys', async () => {
	const cases = [
		[undefined, { _id: { $gt: 0 } }, undefined, ['100', '600']],
		[undefined, { _id: { $gt: 0 } }, [{ _id: 'desc' }], ['800', '300']],
		[['place'], { place: { $gt: 'A' } }, undefined, ['100', '600']],
		[['place', 'user'], { place: { $gt: 'A' }, user: { $gte: 1 } }, undefined, ['100', '600']],
		[['place', 'user'], { place: { $gt: 'A' }, user: { $gte: 1 } }, [{ place: 'desc' }, { user: 'desc' }], ['800', '300']],
		[['same'], { same: { $gt: '' } }, undefined, ['100', '600']],
	];
	for (const [fields, selector, sort, firsts] of cases) {
		const m = await fresh(PLACES);
		if (fields) await m.index(fields);
		let bookmark;
		for (const [first, n] of [[firsts[0], 5], [firsts[1], 3], [undefined, 0]]) {
			const r = await m.raw(selector, { fields: ['_id'], limit: 5, sort, bookmark });
			assert.equal(r.docs.length, n, JSON.stringify(selector));
			assert.equal(r.docs[0]?._id, first, JSON.stringify(selector));
			({ bookmark } = r);
		}
	}
});

test('a page that skips, and the bookmark behind the end, which stays', async () => {
	const m = await fresh(PLACES);
	const selector = { _id: { $gt: 0 } };
	const one = await m.raw(selector, { skip: 2, limit: 5 });
	assert.deepEqual(ids(one.docs), ['300', '400', '500', '600', '700']);
	const two = await m.raw(selector, { limit: 5, bookmark: one.bookmark });
	assert.deepEqual(ids(two.docs), ['800']);
	const three = await m.raw(selector, { limit: 5, bookmark: two.bookmark });
	const four = await m.raw(selector, { limit: 5, bookmark: three.bookmark });
	assert.deepEqual([three.docs, four.docs], [[], []]);
	assert.equal(four.bookmark, three.bookmark);
});

test('bookmarks from elsewhere', async () => {
	// That of a text index is CouchDB's, and Divan's never.
	for (const bookmark of ['bad-bookmark', 'g2wAAAABaANkABFub2RlMUBjb3VjaGRiLm5ldGwAAAACYQBiP____2poAkY_8AAAAAAAAGEHag', 'a', '?', '"']) {
		const r = await indexed.refused({ _id: { $gt: 0 } }, { bookmark });
		assert.equal(r.status, 400, bookmark);
		assert.equal(r.json.error, 'invalid_bookmark');
		if (bookmark === 'bad-bookmark') assert.equal(r.json.reason, 'Invalid bookmark value: "bad-bookmark"');
	}
});

test('the accounts: found by their administrator, with indexes and without, and not by everybody', async () => {
	const m = mango(c, '/_users');
	const account = (name, roles, order) => ({ _id: `org.couchdb.user:${name}`, name, roles, order, type: 'user', password: `of ${name}` });
	await m.save([account('demo01', ['design'], 1), account('demo02', ['reader'], 2), account('demo03', ['reader', 'writer'], 3)]);
	const id = (n) => `org.couchdb.user:demo0${n}`;
	for (const indexes of [[], [['name'], ['type', 'roles'], ['type', 'order'], ['order', 'name']]]) {
		for (const fields of indexes) await m.index(fields);
		assert.deepEqual(ids(await m.find({ name: { $eq: 'demo02' } })), [id(2)]);
		assert.deepEqual(ids(await m.find({ type: 'user', roles: { $eq: ['reader'] } })), [id(2)]);
		assert.deepEqual(ids(await m.find({ $and: [{ type: 'user' }, { $or: [{ order: 1 }, { order: 3 }] }] })), [id(1), id(3)]);
		assert.deepEqual(await m.find({ name: 'demo02' }, { fields: ['name', 'order'] }), [{ name: 'demo02', order: 2 }]);
		assert.equal((await m.find({})).length, 3);
	}
	assert.deepEqual((await m.find({ name: { $gt: 'demo01' } }, { sort: [{ order: 'desc' }] })).map((d) => d.order), [3, 2]);
	const nobody = client({ ...server, auth: undefined });
	const r = await nobody.request('POST', '/_users/_find', { selector: {} });
	assert.ok(r.status === 401 || r.status === 403, r.text);
	nobody.close();
});

test('update: false takes the index as it is', async () => {
	const m = await fresh();
	await m.index(['name']);
	assert.deepEqual(await m.find({ name: 'Edo' }), []);
	await m.save([{ _id: '1', name: 'Jim' }, { _id: '2', name: 'Edo' }]);
	assert.equal((await m.find({ name: 'Edo' }, { update: false })).length, 0);
	assert.equal((await m.find({ name: 'Edo' }, { update: true })).length, 1);
	assert.equal((await m.find({ name: 'Edo' }, { stable: true })).length, 1);
});

test('conflicts are shown where they are asked for; design documents are not found', async () => {
	const m = await fresh([{ _id: '_design/mine' }, { _id: 'doc', a: 2 }]);
	await m.post('_bulk_docs', { docs: [{ _id: 'doc', _rev: '1-23202479633c2b380f79507a776743d5', a: 1 }], new_edits: false });
	const [doc] = await m.find({ _conflicts: { $exists: true } }, { conflicts: true });
	const all = (await c.request('GET', `${m.db}/doc?conflicts=true`)).json;
	assert.equal(doc._rev, all._rev);
	assert.deepEqual(doc._conflicts, all._conflicts);
	assert.deepEqual(ids(await m.find({ _id: { $gte: null } })), ['doc']);
	assert.equal((await m.find({ _id: 'doc' }))[0]._conflicts, undefined);
});
