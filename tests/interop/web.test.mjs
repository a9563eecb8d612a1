// The page at /_utils/ in Chromium, as a person uses it.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import { after, before, test } from 'node:test';
import { startPage } from './page.mjs';

const FLAG = createRequire(import.meta.url).resolve('world-countries/data/che.svg');

let shown;
let server;
let call;
let openWindow;
let signIn;

const CONTACTS = '/_utils/contacts/';
const person = (page, name) => page.locator('.person', { hasText: name });
const state = (page, name) => page.locator(`.status[data-state=${name}]`).waitFor();

before(async () => {
	shown = await startPage();
	({ server, call, openWindow, signIn } = shown);
	await call('PUT', '/notes');
	await call('POST', '/notes/_bulk_docs', { docs: [{ _id: 'one', text: 'first', big: 1 }, { _id: 'two' }, { _id: 'zoo' }] });
	const { _rev } = await call('GET', '/notes/one');
	await call('PUT', `/notes/one/flag.svg?rev=${_rev}`, fs.readFileSync(FLAG), 'image/svg+xml');
});

after(() => shown?.stop());

test('a wrong password is refused in words', async () => {
	const page = await openWindow();
	await page.goto(`${server.url}/_utils/`);
	await page.getByLabel('Name').fill('admin');
	await page.getByLabel('Password').fill('nonsense');
	await page.getByRole('button', { name: 'Sign in' }).click();
	await page.getByRole('alert').filter({ hasText: 'do not go together' }).waitFor();
	await page.context().close();
});

test('databases are listed, a document is opened, changed, made and deleted', async () => {
	const page = await openWindow();
	await signIn(page, '/_utils/');
	await page.locator('.row', { hasText: 'notes' }).getByText('3 documents').waitFor();
	await page.getByRole('link', { name: 'notes' }).click();
	await page.getByLabel('Ids that begin with').fill('o');
	await page.keyboard.press('Enter');
	await page.getByRole('link', { name: 'two' }).waitFor({ state: 'detached' });
	await page.getByRole('link', { name: 'one' }).click();
	await page.locator('.json', { hasText: '"first"' }).waitFor();
	const drawn = await page.locator('.attachment img').evaluate((img) => img.decode().then(() => img.naturalWidth));
	assert.ok(drawn > 0, 'the attachment is shown');

	// Digits beyond a double's survive the editor.
	await page.getByRole('link', { name: 'Edit' }).click();
	const area = page.getByRole('textbox', { name: 'The document as JSON' });
	await area.fill('{ "broken": ');
	await page.getByRole('button', { name: 'Save' }).click();
	await page.getByRole('alert').waitFor();
	const { _rev } = await call('GET', '/notes/one');
	await area.fill(`{"_id":"one","_rev":"${_rev}","text":"second","big":12345678901234567890}`);
	await page.getByRole('button', { name: 'Save' }).click();
	await page.locator('.json', { hasText: '12345678901234567890' }).waitFor();
	assert.equal((await call('GET', '/notes/one')).text, 'second');

	await page.getByRole('button', { name: 'Delete' }).click();
	await page.getByRole('button', { name: 'Delete document' }).click();
	await page.getByText('2 documents').waitFor();

	await page.getByRole('link', { name: 'New document' }).click();
	await area.fill('{"_id":"made/here ü"}');
	await page.getByRole('button', { name: 'Save' }).click();
	await page.getByRole('heading', { name: 'made/here ü' }).waitFor();
	await page.getByRole('link', { name: 'notes' }).click();
	await page.getByText('3 documents').waitFor();
	await page.context().close();
});

test('a database is made and deleted', async () => {
	const page = await openWindow();
	await signIn(page, '/_utils/');
	await page.getByRole('button', { name: 'New database' }).click();
	await page.getByLabel('Name').fill('fresh');
	await page.getByRole('button', { name: 'Create' }).click();
	await page.getByText('No documents here').waitFor();
	await page.getByRole('link', { name: 'Databases', exact: true }).first().click();
	await page.getByRole('button', { name: 'Delete fresh' }).click();
	await page.getByLabel('To be sure').fill('fresh');
	await page.getByRole('button', { name: 'Delete for ever' }).click();
	await page.getByRole('link', { name: 'fresh' }).waitFor({ state: 'detached' });
	assert.ok(!(await call('GET', '/_all_dbs')).includes('fresh'));
	await page.context().close();
});

test('two windows show each other’s contacts, also those written while the server was down', async () => {
	const [a, b] = [await openWindow(), await openWindow({ viewport: { width: 390, height: 844 } })];
	await signIn(a, CONTACTS);
	await state(a, 'synced');
	await signIn(b, CONTACTS);
	await state(b, 'synced');

	// From A to B.
	await a.getByRole('link', { name: 'New contact' }).click();
	await a.getByLabel('Name').fill('Ada Lovelace');
	await a.getByLabel('Phone number', { exact: true }).fill('+44 20 7946 0018');
	await a.locator('input[type=file]').setInputFiles(FLAG);
	await a.getByAltText('The new photo').waitFor();
	await a.getByRole('button', { name: 'Save' }).click();
	await a.getByRole('heading', { name: 'Ada Lovelace' }).waitFor();
	await person(b, 'Ada Lovelace').locator('img').waitFor();

	// From B to A, which has the contact open.
	await person(b, 'Ada Lovelace').click();
	await b.getByRole('link', { name: 'Edit' }).click();
	await b.getByLabel('Email address', { exact: true }).fill('ada@example.org');
	await b.getByRole('button', { name: 'Save' }).click();
	await a.locator('.facts', { hasText: 'ada@example.org' }).waitFor();

	// Without the server: A's page opens anew, both write, neither in the other's field.
	await state(a, 'synced');
	await a.evaluate(async () => (await navigator.serviceWorker.ready).active.state);
	await server.stop();
	await state(a, 'offline');
	await state(b, 'offline');
	await a.reload();
	await state(a, 'offline');
	await person(a, 'Ada Lovelace').click();
	await a.getByRole('link', { name: 'Edit' }).click();
	await a.getByLabel('Note', { exact: true }).fill('Written on the train');
	await a.getByRole('button', { name: 'Save' }).click();
	await a.locator('.facts', { hasText: 'Written on the train' }).waitFor();
	await b.getByRole('link', { name: 'Contacts', exact: true }).last().click();
	await b.getByRole('link', { name: 'New contact' }).click();
	await b.getByLabel('Name').fill('Grace Hopper');
	await b.getByRole('button', { name: 'Save' }).click();
	await server.restart();
	await b.getByRole('link', { name: 'Contacts', exact: true }).last().click();
	await person(b, 'Ada Lovelace').click();
	await b.locator('.facts', { hasText: 'Written on the train' }).waitFor();
	await person(a, 'Grace Hopper').waitFor();
	await Promise.all([state(a, 'synced'), state(b, 'synced')]);
	const { rows } = await call('GET', '/contacts/_all_docs?include_docs=true');
	assert.deepEqual(rows.map(({ doc }) => doc.name).sort(), ['Ada Lovelace', 'Grace Hopper']);

	// Two versions: shown, and settled by the person.
	const ada = rows.find(({ doc }) => doc.name === 'Ada Lovelace').doc;
	await call('POST', '/contacts/_bulk_docs', { new_edits: false, docs: [{ _id: ada._id, _rev: '1-00000000000000000000000000000001', type: 'contact', name: 'Augusta Ada King' }] });
	await a.locator('.version', { hasText: 'Augusta Ada King' }).getByRole('button', { name: 'Keep this one' }).click();
	await b.getByRole('heading', { name: 'Augusta Ada King' }).waitFor();
	await b.locator('.conflict').waitFor({ state: 'detached' });
	const settled = await call('GET', `/contacts/${ada._id}?conflicts=true`);
	assert.equal(settled.name, 'Augusta Ada King');
	assert.equal(settled._conflicts, undefined);

	// The session ends: editing goes on, and signing in again sends what was written.
	await a.evaluate(() => fetch('/_session', { method: 'DELETE' }));
	await call('PUT', '/contacts/nudge', { type: 'nudge' }); // ends the feed that is still open
	await state(a, 'signin');
	await a.getByRole('link', { name: 'Edit' }).click();
	await a.getByLabel('Address', { exact: true }).fill('Ockham');
	await a.getByRole('button', { name: 'Save' }).click();
	await a.locator('.facts', { hasText: 'Ockham' }).waitFor();
	await a.locator('.banner').getByRole('button', { name: 'Sign in' }).click();
	await a.getByLabel('Name').fill('admin');
	await a.getByLabel('Password').fill('adm');
	await a.getByRole('button', { name: 'Sign in' }).click();
	await b.locator('.facts', { hasText: 'Ockham' }).waitFor();

	await Promise.all([a.context().close(), b.context().close()]);
});

test('no page threw, or broke its content security policy', () => assert.deepEqual(shown.faults, []));
