// The parts of the page that need no browser: laying out JSON, a view's pages, and making one contact of two edits.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';
import { differences, initials, merge, read, title } from '../../web/contacts/contact.js';
import { compact, member, members, parse, pretty, withMember, without, words } from '../../web/databases/json.js';
import { columns, results, valueAt } from '../../web/databases/answers.js';
import { ask, complaint, page, read as readQuery, write as writeQuery } from '../../web/databases/query.js';
import { day, size } from '../../web/lib/words.js';
import { Random } from '../lib/random.mjs';

const SUITE = new URL('../data/JSONTestSuite/test_parsing/', import.meta.url);

test('JSON laid out says what it said before', () => {
	const files = fs.readdirSync(SUITE).filter((name) => name.startsWith('y_'));
	assert.ok(files.length > 90);
	for (const name of files) {
		const text = fs.readFileSync(new URL(name, SUITE), 'utf8');
		assert.deepEqual(JSON.parse(pretty(parse(text))), JSON.parse(text), name);
	}
});

test('numbers keep their digits, members their order', () => {
	const text = '{"b":12345678901234567890,"2":1.10,"1":-0.0,"s":"a\\"b {, [\\\\"}';
	assert.equal(pretty(parse(text)).replace(/\n\s*|(?<=":) /g, ''), text);
	assert.equal(pretty(without(parse('{"_id":"a","_conflicts":["1-a"],"n":1}'), ['_conflicts'])), '{\n  "_id": "a",\n  "n": 1\n}');
});

test('members are read and set in the text, whatever they are called', () => {
	const text = '{"views":{"__proto__":{"map":"a"},"constructor":1e400},"n":1.50,"a\\"b":[]}';
	const tree = parse(text);
	assert.equal(compact(tree), text);
	assert.deepEqual(members(tree).map(([name]) => name), ['views', 'n', 'a"b']);
	assert.equal(words(member(member(member(tree, 'views'), '__proto__'), 'map')), 'a');
	assert.equal(member(tree, 'toString'), undefined);
	assert.equal(member('"a"', 'length'), undefined);
	assert.equal(compact(withMember(tree, 'm', '"x"', 'n')), text.replace('"n":1.50', '"m":"x"'));
	assert.equal(compact(withMember(tree, 'm', '2')), `${text.slice(0, -1)},"m":2}`);
});

test('a query is in the address, and comes back from there', () => {
	const key = JSON.stringify(['a&b=c#?', { 'ü+ ': 12.5 }]);
	for (const q of ['', 'reduce=true', 'group=true&descending=true', 'group_level=2&startkey=1&endkey=12345678901234567890&inclusive_end=false', 'include_docs=true&limit=7&update=false',
		`key=${encodeURIComponent(key)}`, `from=${encodeURIComponent(key)}&from_id=%2F%3F&from_n=3`, 'before=1&before_id=x']) {
		const there = readQuery(new URLSearchParams(q));
		assert.deepEqual(readQuery(new URLSearchParams(new URLSearchParams(writeQuery(there)).toString())), there, q);
		assert.equal(new URLSearchParams(writeQuery(there)).size, new URLSearchParams(q).size, q);
	}
	assert.equal(readQuery(new URLSearchParams(`key=${encodeURIComponent(key)}`)).key, key);
	assert.match(ask(readQuery(new URLSearchParams('endkey=12345678901234567890')), false).query, /endkey=12345678901234567890&limit=51/);
	assert.equal(complaint('["a", 1]'), undefined);
	assert.match(complaint('Ada'), /"Ada"/);
	assert.match(complaint('["a"'), /bracket/);
});

test('a key that is too long for an address is asked for in a body', () => {
	const key = JSON.stringify('x'.repeat(9000));
	const { query, body, limit } = ask({ ...readQuery(new URLSearchParams()), key, at: { back: false, key, id: 'a"b', n: 0 } }, true);
	assert.equal(query, '');
	assert.deepEqual(JSON.parse(body), { reduce: false, startkey: JSON.parse(key), startkey_docid: 'a"b', endkey: JSON.parse(key), limit });
});

/*
 * A server with a view whose rows are in order, keys being numbers.  A key and a document may stand in many rows, which are told
 * apart by value.
 */
function answerOf(rows, query) {
	const p = new URLSearchParams(query);
	const get = (name) => (p.has(name) ? JSON.parse(p.get(name)) : undefined);
	const [start, end, down] = [get('startkey'), get('endkey'), get('descending')];
	const from = p.get('startkey_docid');
	let all = down ? [...rows].reverse() : rows;
	const sign = down ? -1 : 1;
	const order = (row) => sign * (row.key - start) || (from === null ? 0 : sign * (row.id < from ? -1 : row.id > from));
	if (start !== undefined)
		all = all.filter((row) => order(row) >= 0);
	if (end !== undefined)
		all = all.filter((row) => (p.get('inclusive_end') === 'false' ? sign * (row.key - end) < 0 : sign * (row.key - end) <= 0));
	return all.slice(get('skip') ?? 0).slice(0, get('limit')).map((row) => ({ ...row, key: String(row.key) }));
}

// The page's rows and the links of a place.
function show(rows, q) {
	for (let more = 0; ; more = (more + q.limit) * 4) {
		const { query, limit } = ask(q, false, more);
		const got = page(q, answerOf(rows, query), limit);
		if (got)
			return got;
	}
}

test('the pages of a view hold each row once, forwards and back', () => {
	const random = new Random(11);
	for (let round = 0; round < 300; round++) {
		const rows = [];
		for (let key = 0; key < 6; key++) {
			for (const id of ['a', 'b', 'c']) {
				const times = random.pick([0, 1, 1, 2, 3, 40]);
				for (let n = 0; n < times; n++)
					rows.push({ key, id, value: `${key} ${id} ${n}` });
			}
		}
		const params = new URLSearchParams({ limit: random.between(1, 12), ...random.pick([{}, { startkey: '1', endkey: '4' }, { key: '3' }, { endkey: '4', inclusive_end: 'false' }]) });
		if (random.below(2)) {
			params.set('descending', 'true');
			if (params.has('startkey')) {
				params.set('startkey', '4');
				params.set('endkey', '1');
			}
		}
		const first = readQuery(params);
		const expected = answerOf(rows, ask({ ...first, limit: 1e6 }, false).query).map((r) => r.value);
		const pages = [];
		let q = first;
		for (;;) {
			const got = show(rows, q);
			pages.push(got.rows.map((r) => r.value));
			assert.equal(Boolean(got.earlier), pages.length > 1);
			if (!got.next)
				break;
			assert.equal(got.rows.length, first.limit);
			q = { ...q, at: got.next };
		}
		assert.deepEqual(pages.flat(), expected, `${params}`);
		// Back again: the same rows in pages that end where the later one began.
		let back = [];
		for (let at = show(rows, q).earlier; at;) {
			const got = show(rows, { ...q, at });
			back = [...got.rows.map((r) => r.value), ...back];
			assert.deepEqual(show(rows, { ...q, at: got.next }).rows[0]?.value, expected[expected.indexOf(got.rows.at(-1)?.value) + 1]);
			at = got.earlier;
		}
		assert.deepEqual(back, pages.slice(0, -1).flat(), `${params}`);
	}
});

test('two edits of different fields become one; the same field is a clash', () => {
	const base = read({ name: 'Ada', note: 'x', phones: [{ label: 'Home', value: '1' }] });
	const theirs = { ...base, note: 'y' };
	assert.deepEqual(merge(base, { ...base, name: 'Ada L' }, theirs), { fields: { ...base, name: 'Ada L', note: 'y' }, clashes: [] });
	assert.deepEqual(merge(base, { ...base, note: 'z' }, theirs).clashes, ['note']);
	assert.deepEqual(merge(base, { ...base, note: 'y' }, theirs).clashes, []);
	assert.equal(merge(base, { ...base, note: 'z' }, theirs).fields.note, 'z');
	assert.deepEqual(merge(base, { ...base, phones: [] }, theirs).fields.phones, []);
});

test('contacts that other programs wrote are understood', () => {
	const c = read({ first: 'Ada', last: 'Lovelace', phone: '123', email: 'a@b', address: { street: 'A 1', city: 'B' }, birthday: null });
	assert.deepEqual(c, { name: 'Ada Lovelace', phones: [{ label: '', value: '123' }], emails: [{ label: '', value: 'a@b' }], address: 'A 1\nB', birthday: '', note: '' });
	assert.equal(title({ email: 'a@b' }), 'a@b');
	assert.equal(title({}), 'No name');
	assert.deepEqual(differences([{ name: 'a' }, { name: 'b', _attachments: { photo: { digest: 'x' } } }]), ['name', 'photo']);
});

test('initials, sizes and days', () => {
	assert.deepEqual(['Ada Lovelace', 'Tim Berners-Lee', 'plato', '山田 花子', ' ', '(Bob) [x]'].map(initials), ['AL', 'TB', 'P', '山花', '?', 'BX']);
	assert.deepEqual([0, 1, 999, 1000, 123456, 5e9].map(size), ['0 bytes', '1 byte', '999 bytes', '1.0 kB', '123 kB', '5.0 GB']);
	assert.deepEqual(['1906-12-09', 'May', ''].map(day), ['9 December 1906', 'May', '']);
});

test('fields are found at their paths', () => {
	const doc = parse('{"a":{"b.c":[1,{"d":2.50}],"":7},"a.b":3,"e":null}');
	for (const [path, text] of [['a.b\\.c.1.d', '2.50'], ['a\\.b', '3'], ['e', 'null'], ['a.b', undefined], ['e.f', undefined], ['a.b\\.c.2', undefined], ['toString', undefined]])
		assert.equal(valueAt(doc, path), text, path);
	assert.deepEqual(columns(parse('{"fields":["x","_id","y.z"]}')), ['_id', 'x', 'y.z']);
	assert.deepEqual(columns(parse('{"selector":{}}')), []);
});

test('what a live query finds follows from its events', () => {
	const now = results();
	const shown = () => now.docs().map(compact).join(' ');
	const apply = (...events) => events.forEach((e) => now.apply(parse(JSON.stringify(e))));
	apply({ event: 'entered', id: 'b', at: 0, doc: 2 }, { event: 'entered', id: 'a', at: 0, doc: 1 }, { event: 'entered', id: 'c', at: 1, doc: 3 }, { event: 'ready' });
	assert.equal(shown(), '1 3 2');
	apply({ event: 'changed', id: 'c', at: 1, doc: 4 });
	assert.equal(shown(), '1 4 2');
	apply({ event: 'changed', id: 'a', from: 0, at: 2, doc: 5 });
	assert.equal(shown(), '4 2 5');
	apply({ event: 'left', id: 'b', from: 1 }, { event: 'progress' });
	assert.equal(shown(), '4 5');
	// Without a sort and a limit there are no places: the order is the ids'.
	apply({ event: 'reset' }, { event: 'entered', id: 'z', doc: 1 }, { event: 'entered', id: 'y', doc: 2 }, { event: 'changed', id: 'z', doc: 3 }, { event: 'left', id: 'x' });
	assert.equal(shown(), '2 3');
});
