// The JSON parsing test collection (tests/data/JSONTestSuite): each file as the value of a document's member.  What a parser must
// accept is accepted, and comes back with the same meaning; what it must refuse is refused, and nothing is written; what it may
// do either way is as CouchDB does it, and stands below.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { after, before, test } from 'node:test';
import { startDivand } from '../lib/divand.mjs';
import { ask, assertError, newDb } from './client.mjs';

const folder = new URL('../data/JSONTestSuite/test_parsing/', import.meta.url);
const names = fs.readdirSync(folder);

// Accepted, with what a reader is given for the value.  Integers of any size are kept as they are; doubles that are too small are 0.
const ACCEPTED = {
	i_number_double_huge_neg_exp: '[0.0]',
	i_number_real_underflow: '[0.0]',
	i_number_too_big_neg_int: '[-123123123123123123123123123123]',
	i_number_too_big_pos_int: '[100000000000000000000]',
	i_number_very_big_negative_int: '[-237462374673276894279832749832423479823246327846]',
	i_structure_500_nested_arrays: `${'['.repeat(500)}${']'.repeat(500)}`,
};

let server, db, agentless;
before(async () => {
	server = await startDivand();
	db = await newDb(server);
	agentless = (method, path, body) => ask(server, method, path, { body, type: 'application/json' });
});
after(() => server?.stop());

const bytesOf = (name) => fs.readFileSync(new URL(encodeURIComponent(name), folder));
const member = (name) => Buffer.concat([Buffer.from('{"v":'), bytesOf(name), Buffer.from('}')]);
const sorted = (kind) => names.filter((name) => name.startsWith(kind));

/** As JSON.parse() means it; there is but one zero in a document. */
const meaning = (text) => JSON.parse(text, (key, value) => (Object.is(value, -0) ? 0 : value));

/** The text of member v, as the server has it. */
async function stored(id) {
	const { status, text } = await ask(server, 'GET', `/${db}/${id}`);
	assert.equal(status, 200, text);
	return /^\{"_id":"[^"]*","_rev":"[^"]*","v":([^]*)\}\n$/.exec(text)[1];
}

test('the collection is whole', () => {
	assert.deepEqual(['y_', 'n_', 'i_'].map((kind) => sorted(kind).length), [95, 188, 35]);
});

test('what a parser must accept comes back with the same meaning', { timeout: 60000 }, async () => {
	for (const name of sorted('y_')) {
		const answer = await agentless('PUT', `/${db}/${name}`, member(name));
		assert.equal(answer.status, 201, `${name}: ${answer.text}`);
		assert.deepEqual(meaning(await stored(name)), meaning(bytesOf(name).toString()), name);
	}
});

test('what a parser must refuse is refused, and nothing is written', { timeout: 60000 }, async () => {
	const { update_seq: before } = (await ask(server, 'GET', `/${db}`)).json;
	for (const name of sorted('n_')) {
		const answer = await agentless('PUT', `/${db}/refused`, member(name));
		try {
			assertError(answer, [400, 413]);
		} catch (e) {
			throw new Error(`${name}: ${e.message}`);
		}
	}
	assert.equal((await ask(server, 'GET', `/${db}`)).json.update_seq, before);
});

test('what a parser may accept or refuse is as in CouchDB', { timeout: 60000 }, async () => {
	for (const file of sorted('i_')) {
		const name = file.replace('.json', '');
		const answer = await agentless('PUT', `/${db}/${name}`, member(file));
		if (ACCEPTED[name] === undefined) {
			assertError(answer, 400, 'bad_request');
			continue;
		}
		assert.equal(answer.status, 201, `${name}: ${answer.text}`);
		assert.equal(await stored(name), ACCEPTED[name], name);
	}
});
