// Views and design documents on the page at /_utils/, in Chromium, as a person uses them.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startPage } from './page.mjs';

let shown;
let call;
let page;

const HOSTILE = '<img src=x onerror="document.title=1">\'&#47;/../%2e%2e/?key=1#ü\n ';
const bulk = (db, docs) => call('POST', `/${db}/_bulk_docs`, { docs });
const hash = (...parts) => `#/${parts.map(encodeURIComponent).join('/')}`;
const to = (address) => page.evaluate((h) => {
	location.hash = h;
}, address);
const keys = () => page.locator('td.k').allTextContents();
const ids = () => page.locator('td.id').allTextContents();
const named = (name) => page.getByRole('textbox', { name, exact: true });
const press = (name) => page.getByRole('button', { name, exact: true }).click();
const follow = (name) => page.getByRole('link', { name, exact: true }).click();
const says = (text) => page.getByRole('alert').filter({ hasText: text }).waitFor();
const status = (text) => page.getByRole('status').filter({ hasText: text }).waitFor();

before(async () => {
	shown = await startPage();
	({ call } = shown);
	await call('PUT', '/shop');
	await bulk('shop', Array.from({ length: 30 }, (_, i) => ({ _id: `sale-${String(i).padStart(2, '0')}`, city: ['Bern', 'Lyon', 'Oslo'][i % 3], day: i, sum: 10 })));
	page = await shown.openWindow();
	await shown.signIn(page, '/_utils/');
	await page.getByRole('link', { name: 'shop' }).click();
});

after(() => shown?.stop());

test('a design document is made; what cannot be compiled is told where it stands', async () => {
	await follow('Views and functions');
	await page.getByText('No views here').waitFor();
	await follow('New function');
	await page.getByRole('combobox', { name: 'Design document' }).fill('sales');
	await named('Name').fill('by_city');
	await named('Map').fill('function (doc) {\n  emit([doc.city, doc.day], doc.sum;\n}');
	assert.equal(await page.locator('.lines').first().textContent(), '1\n2\n3');
	await press('Save');
	const problem = page.locator('.field', { has: named('Map') }).getByRole('alert');
	await problem.filter({ hasText: 'SyntaxError' }).waitFor();
	assert.ok(!(await problem.textContent()).includes('doc.city'), 'the function is there to see, and not quoted');
	assert.equal(await named('Map').getAttribute('aria-invalid'), 'true');

	// The map is mended; the reduction is wrong instead.
	await named('Map').fill('function (doc) {\n  emit([doc.city, doc.day], doc.sum);\n}');
	await page.getByRole('combobox', { name: 'Reduce' }).selectOption('own');
	await named('Reduce in JavaScript').fill('function (keys, values) { return');
	await named('Reduce in JavaScript').press('Control+Enter');
	await page.locator('.field', { has: named('Reduce in JavaScript') }).getByRole('alert').filter({ hasText: 'SyntaxError' }).waitFor();
	assert.equal(await named('Map').getAttribute('aria-invalid'), null);
	await page.getByRole('combobox', { name: 'Reduce' }).selectOption('_sum');
	await press('Save');
	await status('Rows 1 to 30 of 30');
	assert.equal((await call('GET', '/shop/_design/sales')).views.by_city.reduce, '_sum');
});

test('a view is run by key and by range, backwards, with documents, reduced and in groups', async () => {
	const run = () => press('Run');
	const choose = (label, value) => page.getByRole('combobox', { name: label }).selectOption(value);
	assert.equal((await keys())[0], '["Bern", 0]');

	await choose('Keys', 'range');
	await named('From key').fill('Lyon');
	await run();
	await says('"Lyon"');
	await named('From key').fill('["Lyon"]');
	await named('To key').fill('["Lyon", {}]');
	await page.getByLabel('backwards').check();
	await page.getByLabel('with the documents').check();
	await run();
	await says('No rows can match your key range');
	await follow('Swap the keys');
	await status('Rows 11 to 20 of 30');
	assert.deepEqual([(await keys())[0], (await ids())[0]], ['["Lyon", 28]', 'sale-28']);
	await page.locator('summary', { hasText: 'day: 28' }).click();
	await page.locator('tr.doc .json', { hasText: '"_rev"' }).waitFor();

	await choose('Show', '1');
	await run();
	await status('1 group');
	assert.deepEqual(await page.locator('td').allTextContents(), ['["Lyon"]', '100']);
	await choose('Keys', 'one');
	await named('The key').fill('["Oslo", 2]');
	await choose('Show', 'total');
	await run();
	await page.locator('.total', { hasText: /^10$/ }).waitFor();
	assert.match(await page.getByRole('link', { name: 'As JSON' }).getAttribute('href'), /\/shop\/_design\/sales\/_view\/by_city\?reduce=true&startkey=%5B%22Oslo%22%2C\+2%5D&endkey=%5B/);

	// The address says all of it, and the back button goes to what was there before.
	assert.equal(new URLSearchParams(new URL(page.url()).hash.split('?')[1]).get('key'), '["Oslo", 2]');
	await page.reload();
	await page.locator('.total', { hasText: /^10$/ }).waitFor();
	assert.equal(await named('The key').inputValue(), '["Oslo", 2]');
	await page.goBack();
	await status('1 group');
	assert.equal(await named('To key').inputValue(), '["Lyon"]');

	// The server's refusals are shown.
	await to(`${hash('db', 'shop', 'view', 'sales', 'by_city')}?startkey=2&endkey=1`);
	await says('No rows can match your key range');
	await to(hash('db', 'shop', 'view', 'sales', 'nothing'));
	await says('no view that is called “nothing”');
});

test('pages go forwards and back by key and document', async () => {
	// One key for many rows, some of one document: pages begin in the middle of them.
	await call('PUT', '/shop/_design/same', { views: { v: { map: 'function (doc) { for (var i = 0; i < (doc._id === "sale-05" ? 9 : 1); i++) emit(null, i); }' } } });
	for (const [order, first] of [['', 'sale-00'], ['&descending=true', 'sale-29']]) {
		const pages = [];
		const read = async () => (await page.locator('tbody tr').allTextContents()).join(' ');
		await to(`${hash('db', 'shop', 'view', 'same', 'v')}?limit=4${order}`);
		await page.locator('tbody tr').first().filter({ hasText: first }).waitFor(); // what the page before said is the same
		for (let n = 1; ; n += 4) {
			await status(n + 3 < 38 ? `Rows ${n} to ${n + 3} of 38` : `Rows ${n} to 38 of 38`);
			pages.push(await read());
			if (n + 4 > 38)
				break;
			await follow('Next');
		}
		assert.equal(pages.length, 10);
		assert.equal(new Set(pages.join(' ').split(' ')).size, 38, 'no row twice');
		assert.match(new URL(page.url()).hash, /from_id=sale-/);
		for (let i = 8; i >= 0; i--) {
			await follow('Previous');
			await status(`Rows ${i * 4 + 1} to ${i * 4 + 4} of 38`);
			assert.equal(await read(), pages[i]);
		}
		assert.ok(await page.getByRole('button', { name: 'Previous' }).isDisabled());
	}

	// Groups, in both orders.
	for (const [order, all] of [['', ['["Bern"]', '["Lyon"]', '["Oslo"]']], ['&descending=true', ['["Oslo"]', '["Lyon"]', '["Bern"]']]]) {
		await to(`${hash('db', 'shop', 'view', 'sales', 'by_city')}?group_level=1&limit=1${order}`);
		for (const one of all) {
			await page.locator('td.k', { hasText: one }).waitFor();
			if (one !== all[2])
				await follow('Next');
		}
		for (const one of [all[1], all[0]]) {
			await follow('Previous');
			await page.locator('td.k', { hasText: one }).waitFor();
		}
		assert.equal(await page.locator('td.v').textContent(), '100');
		assert.ok(await page.getByRole('button', { name: 'Previous' }).isDisabled());
	}
});

test('numbers keep their digits', async () => {
	await call('PUT', '/digits');
	await call('PUT', '/digits/one', '{"n":12345678901234567890,"f":1.5}');
	await call('PUT', '/digits/_design/d', '{"big":12345678901234567890,"views":{"v":{"map":"function (doc) { emit(doc.f, doc.n) }"}}}');
	await to(`${hash('db', 'digits', 'view', 'd', 'v')}?include_docs=true`);
	await page.locator('summary').nth(1).click();
	await page.locator('tr.doc .json', { hasText: '12345678901234567890' }).waitFor();
	// A key that is too long for an address.
	await bulk('digits', ['two', 'three', 'four'].map((_id) => ({ _id, f: 'x'.repeat(9000), n: 5 })));
	await to(`${hash('db', 'digits', 'view', 'd', 'v')}?limit=2&startkey=${encodeURIComponent(JSON.stringify('x'.repeat(9000)))}`);
	await status('Rows 2 to 3 of 4');
	assert.deepEqual(await ids(), ['four', 'three']);
	await follow('Next');
	await status('Row 4 of 4');
	await follow('Previous');
	await status('Rows 2 to 3 of 4');
	// Saving a function leaves the rest of its design document as it was, text for text.
	await follow('Edit');
	await named('Map').fill('function (doc) { emit(doc.f, 7) }');
	await press('Save');
	await page.locator('td.v', { hasText: /^7$/ }).first().waitFor();
	const { server } = shown;
	const text = await (await fetch(`${server.url}/digits/_design/d`, { headers: { authorization: server.auth } })).text();
	assert.match(text, /"big":12345678901234567890/);
});

test('a function is changed, renamed and deleted; a design document is copied and deleted', async () => {
	await to(hash('db', 'shop', 'function', 'sales', 'views', 'by_city'));
	await named('Map').press('End');
	await named('Map').press('Enter');
	await named('Map').press('Tab');
	await page.keyboard.type('// cities');
	await named('Name').fill('cities');
	await press('Save');
	await page.getByRole('heading', { name: 'cities' }).waitFor();
	await status('Rows 1 to 30 of 30');
	const { views } = await call('GET', '/shop/_design/sales');
	assert.deepEqual(Object.keys(views), ['cities']);
	assert.match(views.cities.map, /^ {2,}\/\/ cities$/m);

	await page.getByRole('navigation', { name: 'Where you are' }).getByRole('link', { name: 'sales' }).click();
	await follow('New function in sales');
	await page.getByRole('combobox', { name: 'Kind' }).selectOption('filters');
	await named('Name').fill('bern');
	await named('Function').fill('function (doc) { return doc.city === "Bern" }');
	await press('Save');
	await follow('bern filter');
	assert.match(await named('Function').inputValue(), /Bern/);
	await follow('Cancel');
	assert.equal((await call('GET', '/shop/_changes?filter=sales/bern')).results.length, 10);

	await press('Copy sales');
	const name = page.getByLabel('Name of the copy');
	await name.fill('same');
	await press('Copy');
	await says('of this name already');
	await name.fill('a/b');
	await press('Copy');
	await page.getByRole('region', { name: 'Design document a/b' }).getByRole('link', { name: 'bern filter' }).waitFor();
	await page.getByRole('region', { name: 'Design document a/b' }).getByRole('button', { name: 'Delete bern' }).click();
	await press('Delete filter');
	await page.getByRole('link', { name: 'bern filter' }).nth(1).waitFor({ state: 'detached' });
	assert.deepEqual((await call('GET', '/shop/_design/a%2Fb')).filters, {});
	await press('Delete design document a/b');
	await press('Delete design document');
	await page.getByRole('region', { name: 'Design document a/b' }).waitFor({ state: 'detached' });
});

test('who saves over somebody else’s design document is told, and nothing is lost', async () => {
	await to(hash('db', 'shop', 'function', 'same', 'views', 'v'));
	await named('Map').fill('function (doc) { emit("mine") }');
	await call('PUT', '/shop/_design/same', { ...await call('GET', '/shop/_design/same'), views: { v: { map: 'function (doc) { emit("theirs") }' } } });
	await press('Save');
	await says('Somebody else saved this design document');
	assert.match(await named('Map').inputValue(), /mine/);
	await press('look at theirs');
	await page.getByRole('alert').waitFor({ state: 'hidden' });
	assert.match(await named('Map').inputValue(), /theirs/);
	await named('Map').fill('function (doc) { emit("both") }');
	await press('Save');
	await page.locator('td.k', { hasText: '"both"' }).first().waitFor();
});

test('names, keys, ids and errors are text, whatever stands in them', async () => {
	await call('PUT', '/hostile');
	await bulk('hostile', [{ _id: HOSTILE, x: HOSTILE }, { _id: `_design/${HOSTILE}`, [HOSTILE]: 1, views: { [HOSTILE]: { map: 'function (doc) { emit(doc.x, {[doc.x]: doc.x}) }', reduce: '_count' }, ['__proto__']: { map: 'function (doc) { emit("proto") }' } }, filters: { [HOSTILE]: 'x' } }]);
	await to(hash('db', 'hostile', 'design'));
	await page.getByRole('link', { name: `${HOSTILE} _count` }).click();
	await page.getByRole('heading', { name: HOSTILE, exact: true }).waitFor();
	await status('Row 1 of 1');
	assert.equal((await keys())[0], JSON.stringify(HOSTILE));
	await page.getByRole('combobox', { name: 'Keys' }).selectOption('one');
	await named('The key').fill(JSON.stringify(HOSTILE));
	await page.getByLabel('with the documents').check();
	await press('Run');
	await page.locator('summary', { hasText: HOSTILE }).click();
	await page.locator('td.id a').click();
	await page.getByRole('heading', { name: HOSTILE, exact: true }).waitFor();
	await page.goBack();
	await follow('Edit');
	await named('Map').fill(`function (doc) { ${HOSTILE}`);
	await press('Save');
	await says('SyntaxError');
	await named('Map').fill('function (doc) { emit(1) }');
	await press('Save');
	await page.locator('td.k', { hasText: /^1$/ }).waitFor();
	assert.deepEqual(Object.keys((await call('GET', `/hostile/_design/${encodeURIComponent(HOSTILE)}`)).views).sort(), [HOSTILE, '__proto__']);
	await to(hash('db', 'hostile', 'view', HOSTILE, 'constructor'));
	await says('no view that is called “constructor”');
	await to(hash('db', 'hostile', 'design'));
	await follow('__proto__');
	await page.locator('td.k', { hasText: 'proto' }).waitFor();
	await page.goBack();
	await press(`Delete design document ${HOSTILE}`);
	await press('Delete design document');
	await page.getByText('No views here').waitFor();
	assert.equal(await page.locator('main img, main script').count(), 0);
	assert.notEqual(await page.title(), '1');
});

test('a name that browsers take for a step of a path reaches nothing else', async () => {
	// The attachment "shop" of a document ".." would be the database.
	await bulk('hostile', [{ _id: '..', _attachments: { shop: { content_type: 'text/plain', data: 'YQ==' } } }, { _id: 'dots', _attachments: { '..': { content_type: 'text/plain', data: 'YQ==' }, 'a/../../shop': { content_type: 'text/plain', data: 'YQ==' } } },
		{ _id: '_design/..', views: { '..': { map: 'function (doc) { emit(1) }' } } }]);
	await to(hash('db', 'hostile', 'doc', '..'));
	await says('Browsers cannot ask for');
	await to(hash('db', 'hostile', 'doc', 'dots'));
	await page.getByText('Browsers cannot ask for this name').waitFor();
	await press('Delete a/../../shop');
	await press('Delete attachment');
	await page.getByRole('link', { name: 'a/../../shop' }).waitFor({ state: 'detached' });
	await to(hash('db', 'hostile', 'view', '..', '..'));
	await says('Browsers cannot ask for');
	assert.equal((await call('GET', '/shop')).doc_count > 30, true);
});

test('while an index is built, administrators see how far it is, and may look at what there is', async () => {
	await call('PUT', '/slow');
	await bulk('slow', Array.from({ length: 6000 }, (_, i) => ({ n: i })));
	await call('PUT', '/slow/_design/d', { views: { v: { map: 'function (doc) { for (var t = Date.now() + 4; Date.now() < t;); emit(doc.n) }' } } });
	await to(hash('db', 'slow', 'view', 'd', 'v'));
	await status('The index is being brought up to date');
	await page.getByRole('progressbar', { name: 'The index' }).waitFor();
	await page.locator('.progress', { hasText: /of 6,00\d changes/ }).waitFor();
	await follow('Show what is in it already');
	await page.getByText('The index as it is').waitFor();
	await page.locator('main .empty, main .caption').waitFor();

	// The page of tasks has it too.
	await to('#/tasks');
	await page.getByRole('listitem').filter({ hasText: 'Building an index' }).getByRole('link', { name: 'slow' }).click();
	await page.getByRole('heading', { name: 'slow' }).waitFor();
	await call('DELETE', '/slow');
	await to('#/tasks');
	await page.getByText('Nothing is running').waitFor();
});

test('who is no administrator runs views, waits without numbers, and changes nothing', async () => {
	await call('PUT', '/_users').catch(() => {});
	await call('PUT', '/_users/org.couchdb.user:eve', { name: 'eve', password: 'eve', roles: [], type: 'user' });
	await call('PUT', '/shop/_security', { admins: {}, members: { names: ['eve'] } });
	const other = await shown.openWindow({ viewport: { width: 390, height: 844 }, colorScheme: 'dark' });
	await other.goto(`${shown.server.url}/_utils/${hash('db', 'shop', 'view', 'sales', 'cities')}`);
	await other.getByLabel('Name').fill('eve');
	await other.getByLabel('Password').fill('eve');
	await other.getByRole('button', { name: 'Sign in' }).click();
	await other.getByRole('status').filter({ hasText: 'Rows 1 to 30 of 30' }).waitFor();
	assert.ok(await other.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'nothing sticks out of a small screen');
	await other.getByRole('link', { name: 'Edit' }).click();
	await other.getByRole('button', { name: 'Save' }).click();
	await other.getByRole('alert').filter({ hasText: /admin/ }).waitFor();
	await other.context().close();
});

test('no page threw, or broke its content security policy', () => assert.deepEqual(shown.faults, []));
