// Queries and their indexes on the page at /_utils/, in Chromium, as a person uses them.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startPage } from './page.mjs';

let shown;
let call;
let page;

const HOSTILE = '<img src=x onerror="document.title=1">\'&#47;/../%2e%2e/?key=1#ü\n ';
const hash = (...parts) => `#/${parts.map(encodeURIComponent).join('/')}`;
const to = (address) => page.evaluate((h) => {
	location.hash = h;
}, address);
const box = () => page.getByRole('textbox', { name: 'The query as JSON' });
const press = (name) => page.getByRole('button', { name, exact: true }).click();
const follow = (name) => page.getByRole('link', { name, exact: true }).click();
const says = (text) => page.getByRole('alert').filter({ hasText: text }).waitFor();
const status = (text) => page.locator('main').getByRole('status').filter({ hasText: text }).waitFor();
const gone = (what) => what.waitFor({ state: 'detached' });
const plan = () => page.getByRole('region', { name: 'The plan' });
const planned = (way) => plan().getByRole('heading', { name: way }).waitFor();
const index = (name) => page.getByRole('region', { name: 'Indexes' }).getByRole('listitem').filter({ hasText: name });
const line = async (n) => page.getByRole('row').nth(n).getByRole('cell').allTextContents();
// Each query is another one, so that what is waited for is no rest of the one before.
const ask = async (query) => {
	await box().fill(typeof query === 'string' ? query : JSON.stringify(query));
	await press('Run');
};

before(async () => {
	shown = await startPage();
	({ call } = shown);
	await call('PUT', '/shop');
	await call('POST', '/shop/_bulk_docs', { docs: Array.from({ length: 30 }, (_, i) => ({ _id: `sale-${String(i).padStart(2, '0')}`, city: ['Bern', 'Lyon', 'Oslo'][i % 3], day: i, to: { street: `${i} Road` } })) });
	page = await shown.openWindow();
	await shown.signIn(page, '/_utils/');
	await follow('shop');
});

after(() => shown?.stop());

test('a query finds documents, tells what it took, and what index it lacks; then it has one', async () => {
	await follow('Query');
	await index('All documents').waitFor();
	assert.equal(await plan().count(), 0, 'nothing is run that nobody asked for');
	// The cursor stands within the selector.
	assert.ok(await box().evaluate((e) => e === document.activeElement));
	await page.keyboard.type('"city": "Lyon"');
	await page.keyboard.press('Control+Enter');
	await status('10 documents');
	await page.getByText('No matching index found').waitFor();
	await page.getByText('30 keys and 30 documents read').waitFor();
	await planned('Documents are read by their ids');
	assert.ok(await box().evaluate((e) => e === document.activeElement && e.value.slice(0, e.selectionStart).endsWith('"Lyon"')), 'who types goes on typing');

	await plan().getByRole('button', { name: 'Make one' }).click();
	assert.equal(await page.getByLabel('Fields').inputValue(), 'city');
	await page.getByRole('textbox', { name: 'Name', exact: true }).fill('by-city');
	await press('Create');
	await index('by-city').waitFor();
	await planned('One range of an index is read');
	await status('10 documents');
	assert.equal(await page.getByText('No matching index found').count(), 0);
	await page.getByText('10 keys and 10 documents read').waitFor();
	assert.match(await plan().locator('dl').innerText(), /by-city[\s\S]*10 rows of 3\d documents[\s\S]*from \["Lyon"\] to/);

	// What was found leads to the documents, and the way back to the query.
	await page.getByRole('link', { name: /^sale-04/ }).click();
	await page.getByRole('heading', { name: 'sale-04' }).waitFor();
	await page.goBack();
	await status('10 documents');
	assert.match(await box().inputValue(), /Lyon/);
});

test('fields are columns; pages follow each other by bookmark', async () => {
	await call('POST', '/shop/_index', { index: { fields: ['day'] }, ddoc: 'days', name: 'day' });
	await ask({ selector: { day: { $gte: 3 } }, fields: ['_id', 'day', 'to.street'], sort: [{ day: 'desc' }], limit: 9 });
	for (let n = 29; n >= 3; n -= 9) {
		await page.getByRole('cell', { name: `sale-${String(n).padStart(2, '0')}` }).waitFor();
		assert.deepEqual(await line(1), [`sale-${String(n).padStart(2, '0')}`, String(n), `"${n} Road"`]);
		assert.equal(await page.getByRole('table', { name: 'What was found' }).getByRole('row').count(), 10);
		await follow('Next');
	}
	await status('No more documents');
	await page.reload();
	await status('No more documents');
	await follow('First');
	await page.getByRole('cell', { name: 'sale-29' }).waitFor();
	assert.ok(await page.getByRole('button', { name: 'First' }).isDisabled());
	assert.match(await plan().locator('dl').innerText(), /backwards/);
});

test('the plan tells of several ranges, several indexes, what is covered, and why no other', async () => {
	await ask({ selector: { day: { $in: [1, 5, 9] } }, fields: ['day'] });
	await planned('Several ranges of an index are read');
	await status('3 documents');
	assert.match(await plan().locator('dl').innerText(), /3 rows of 3\d documents[\s\S]*\d ranges[\s\S]*stay unread/);
	await page.getByText('3 keys and 0 documents read').waitFor();
	assert.deepEqual(await page.getByRole('table', { name: 'What was found' }).getByRole('cell').allTextContents(), ['1', '5', '9']);
	await plan().getByRole('row').filter({ hasText: 'by-city' }).filter({ hasText: 'does not ask for all of its fields' }).waitFor();

	// Where indexes spare much.
	await call('PUT', '/many');
	await call('POST', '/many/_bulk_docs', { docs: Array.from({ length: 300 }, (_, i) => ({ _id: `n${i}`, day: i, city: `c${i % 150}` })) });
	for (const name of ['day', 'city'])
		await call('POST', '/many/_index', { index: { fields: [name] }, name, ddoc: name });
	for (const name of ['day', 'city'])
		await call('POST', '/many/_find', { selector: { [name]: 1 } });
	await to(hash('db', 'many', 'find'));
	await page.getByRole('heading', { name: 'many' }).waitFor();
	await ask({ selector: { $or: [{ day: 7 }, { city: 'c5' }] } });
	await planned('Each branch of the query has an index of its own');
	await status('3 documents');
	const parts = plan().getByRole('table', { name: 'What is read' });
	assert.deepEqual((await parts.getByRole('row').allTextContents()).slice(1).sort(), ['city12{"city": {"$eq": "c5"}}', 'day11{"day": {"$eq": 7}}']);
	await page.goBack();
	await page.goBack();
	await planned('Several ranges of an index are read'); // the page of that query, and its box, are there

	// To explain is not to run.
	await box().fill('{"selector":{"city":"Bern"},"sort":["nothing"]}');
	await press('Explain');
	await planned('No index can serve this query');
	assert.equal(await page.getByRole('table', { name: 'What was found' }).count(), 0);
	await plan().locator('summary').click();
	await plan().locator('pre', { hasText: '"index_candidates"' }).waitFor();
});

test('what is wrong with a query is told', async () => {
	const before = page.url();
	await ask('{"selector": {\n  "city" "Bern"}}');
	await says('line 2');
	assert.equal(page.url(), before, 'what is no JSON is not sent');
	await ask({ selector: { day: { $bogus: 1 } } });
	await says('Invalid operator: $bogus');
	await ask({ selector: {}, sort: ['nothing'] });
	await says('No index exists for this sort');
	await ask('[]');
	await says('must be a JSON object');
	await ask({ selector: { city: 'Lyon' }, bookmark: 'junk' });
	await says('Invalid bookmark');
	await to(`${hash('db', 'shop', 'find')}?body=${encodeURIComponent('{"selector"')}`);
	await says('line 1, column 12');
	await to(hash('db', 'nothing', 'find'));
	await says('does not exist');
});

test('indexes are made, with a filter too, and deleted', async () => {
	await to(hash('db', 'shop', 'find'));
	await press('New index');
	await page.getByLabel('Fields').fill('day\nto.street\n');
	await page.getByLabel('Only documents that match').fill('{"city": {"$bogus": 1}}');
	await press('Create');
	await says('Invalid operator: $bogus');
	await page.getByLabel('Only documents that match').fill('{"city": ');
	await press('Create');
	await says('The filter: The text ends too early');
	await page.getByLabel('Only documents that match').fill('{"city": "Oslo"}');
	await page.getByRole('textbox', { name: 'Name', exact: true }).fill('north');
	await page.getByLabel('Design document').fill('a/b');
	await page.getByLabel('Design document').press('Control+Enter').catch(() => {});
	await press('Create');
	await index('north in a/b').filter({ hasText: 'day, to.street where {"city":{"$eq":"Oslo"}}' }).waitFor();
	await ask({ selector: { city: 'Oslo', day: { $gt: 20 }, 'to.street': { $gt: null } }, use_index: ['a/b', 'north'] });
	await status('3 documents');
	assert.match(await plan().locator('dl').innerText(), /north in a\/b/);

	await press('New index');
	await page.getByLabel('Fields').fill('city');
	await page.getByRole('textbox', { name: 'Name', exact: true }).fill('by-city');
	await page.getByLabel('Design document').fill('days');
	await press('Create');
	await index('by-city in days').waitFor();
	await page.getByRole('button', { name: 'Delete the index north' }).click();
	await press('Delete index');
	await gone(index('north'));
	await page.getByText('was not used').first().waitFor();
	const { indexes } = await call('GET', '/shop/_index');
	assert.deepEqual(indexes.map(({ name }) => name).sort(), ['_all_docs', 'by-city', 'by-city', 'day']);
});

test('a live query shows what comes, changes and goes, in its order', async () => {
	const found = () => page.getByRole('table', { name: 'What was found' });
	const read = async () => (await found().getByRole('row').allTextContents()).slice(1);
	const put = (docs) => call('POST', '/live/_bulk_docs', { docs });
	await call('PUT', '/live');
	await call('POST', '/live/_index', { index: { fields: ['n'] } });
	await put([3, 1, 2].map((n) => ({ _id: `d${n}`, n })));
	await to(hash('db', 'live', 'find'));
	await page.getByRole('heading', { name: 'live' }).waitFor();
	await box().fill(JSON.stringify({ selector: { n: { $gt: 0 } }, sort: ['n'], limit: 3, fields: ['_id', 'n'] }));
	await press('Live');
	await status('Live: 3 documents');
	assert.deepEqual(await read(), ['d11', 'd22', 'd33']);
	await put([{ _id: 'd0', n: 0.5 }]);
	await found().getByRole('cell', { name: '0.5' }).waitFor();
	assert.deepEqual(await read(), ['d00.5', 'd11', 'd22']);
	const { _rev } = await call('GET', '/live/d1');
	await call('DELETE', `/live/d1?rev=${_rev}`);
	await found().getByRole('cell', { name: 'd3' }).waitFor();
	assert.deepEqual(await read(), ['d00.5', 'd22', 'd33']);

	// The server goes and comes: the query is asked anew, and what was written before is there.
	await shown.server.stop();
	await status('The connection is lost');
	await shown.server.restart();
	await put([{ _id: 'd9', n: 0.25 }]);
	await found().getByRole('cell', { name: '0.25' }).waitFor();
	assert.deepEqual(await read(), ['d90.25', 'd00.5', 'd22']);

	// What the server refuses is told; who leaves the page closes the query.
	await box().fill('{"selector": {"n": {"$bogus": 1}}}');
	await press('Live');
	await says('Invalid operator: $bogus');
});

test('numbers keep their digits; names, fields and errors are text, whatever stands in them', async () => {
	await call('PUT', '/hostile');
	await call('POST', '/hostile/_bulk_docs', `{"docs":[{"_id":${JSON.stringify(HOSTILE)},"n":12345678901234567890,"a.b":{"c":[1.50,${JSON.stringify(HOSTILE)}]},"o":{"__proto__":{"constructor":1}}}]}`);
	await call('POST', '/hostile/_index', { index: { fields: [`x${HOSTILE.replaceAll('.', '\\.')}`] }, ddoc: HOSTILE, name: HOSTILE });
	await to(hash('db', 'hostile', 'find'));
	await page.getByRole('button', { name: `Delete the index ${HOSTILE}` }).waitFor();
	await ask('{"selector":{"n":12345678901234567890},"fields":["_id","n","a\\\\.b.c.0","a\\\\.b.c.1","o.__proto__.constructor","constructor","toString.length"]}');
	await page.getByRole('cell', { name: '12345678901234567890' }).waitFor();
	const [id, n, , hostile, proto, ...none] = await line(1);
	assert.deepEqual([id, n, JSON.parse(hostile), proto, none], [HOSTILE, '12345678901234567890', HOSTILE, '1', ['', '']]);
	await page.getByRole('table', { name: 'What was found' }).getByRole('link').click();
	await page.getByRole('heading', { name: HOSTILE, exact: true }).waitFor();
	await page.goBack();
	await ask({ selector: { [HOSTILE]: { [`$${HOSTILE}`]: 1 } } });
	await says('Invalid operator');
	await page.getByRole('button', { name: `Delete the index ${HOSTILE}` }).click();
	await press('Delete index');
	await gone(index('document.title'));
	assert.equal(await page.locator('main img, main script').count(), 0);
	assert.notEqual(await page.title(), '1');
});

test('who is no administrator asks, on a small screen too, and is told that indexes are not for everybody to make', async () => {
	await call('PUT', '/_users').catch(() => {});
	await call('PUT', '/_users/org.couchdb.user:eve', { name: 'eve', password: 'eve', roles: [], type: 'user' });
	await call('PUT', '/shop/_security', { admins: {}, members: { names: ['eve'] } });
	const other = await shown.openWindow({ viewport: { width: 360, height: 740 }, colorScheme: 'dark' });
	const query = JSON.stringify({ selector: { $or: [{ day: 7 }, { city: 'Oslo' }] }, fields: ['_id', 'city', 'day', 'to.street'] });
	await other.goto(`${shown.server.url}/_utils/${hash('db', 'shop', 'find')}?body=${encodeURIComponent(query)}`);
	await other.getByLabel('Name').fill('eve');
	await other.getByLabel('Password').fill('eve');
	await other.getByRole('button', { name: 'Sign in' }).click();
	await other.getByRole('status').filter({ hasText: '11 documents' }).waitFor();
	await other.getByRole('region', { name: 'The plan' }).waitFor();
	assert.ok(await other.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'nothing sticks out of a small screen');
	await other.getByRole('button', { name: 'New index' }).click();
	await other.getByLabel('Fields').fill('nothing');
	await other.getByRole('button', { name: 'Create' }).click();
	await other.getByRole('alert').filter({ hasText: /admin/ }).waitFor();
	await other.context().close();
});

test('no page threw, or broke its content security policy', () => assert.deepEqual(shown.faults, []));
