// The parts of the page that need no browser: laying out JSON, and making one contact of two edits.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';
import { differences, initials, merge, read, title } from '../../web/contacts/contact.js';
import { parse, pretty, without } from '../../web/databases/json.js';
import { day, size } from '../../web/lib/words.js';

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
