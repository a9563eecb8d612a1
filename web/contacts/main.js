/*
 * main.js: the contacts' page: who is using it, which view the address asks for, how the copy stands.
 *
 *   contacts/index.html?db=NAME  uses another database than `contacts`
 *   #/  #/c/ID  #/edit/ID  #/new
 */

import { $, confirmed, dialog, fill, h, icon, tell } from '../lib/dom.js';
import { signOut, whoami } from '../lib/server.js';
import { bar } from '../lib/shell.js';
import { signInForm } from '../lib/signin.js';
import { card } from './card.js';
import { title } from './contact.js';
import { form } from './form.js';
import { List } from './list.js';
import { Store } from './store.js';
import { Sync } from './sync.js';

const REMOTE = new URLSearchParams(location.search).get('db') || 'contacts';
const PERSON = 'divan-contacts-person'; // who used this browser last: they see their contacts without the server

const STATES = {
	connecting: ['Connecting', 'Looking for the server'],
	syncing: ['Syncing', 'Changes are on their way'],
	synced: ['Synced', 'This browser and the server have the same contacts'],
	offline: ['Offline', 'The server cannot be reached. You can go on: changes are kept here and sent when it is back'],
	signin: ['Signed out', 'Sign in so that your changes reach the server'],
	refused: ['Stopped', ''],
};

let store;
let sync;
let list;
let editing; // the form on the page
let pane;
const status = h('div.status', { role: 'status', 'aria-live': 'polite' });
const banner = h('div.banner', { hidden: true });

function showStatus(state, words) {
	const [short, long] = STATES[state];
	status.className = `status ${state}`;
	status.dataset.state = state;
	status.title = words || long;
	fill(status, h('span.dot'), h('span', {}, short));
	list.wait(state === 'connecting' || state === 'syncing');
	banner.hidden = state !== 'signin' && state !== 'refused';
	fill(banner, h('span', {}, words || `${long}.`), state === 'signin' && h('button', { type: 'button', onclick: signInAgain }, 'Sign in'),
		state === 'refused' && h('button', { type: 'button', onclick: startSync }, 'Try again'));
}

function startSync() {
	sync?.stop();
	sync = new Sync(store, REMOTE, localStorage.getItem(PERSON), sync?.state, showStatus);
	sync.start();
}

/* ---- Views ---- */

function welcome() {
	return h('div.empty', {}, h('img', { src: '../couch.svg', alt: '', width: 96, height: 96 }), h('p', {}, store.docs.size ? 'Choose somebody on the left.' : 'Your contacts live here.'));
}

function gone() {
	return h('div.empty', {}, icon('person'), h('h2', {}, 'This contact is not here'), h('p', {}, 'It may have been deleted, or it has not arrived yet.'), h('a.button', { href: '#/' }, 'All contacts'));
}

function route() {
	const [what, id] = location.hash.replace(/^#\/?/, '').split('/').map(decodeURIComponent);
	return { what: what || '', id };
}

function show() {
	const { what, id } = route();
	const doc = store.docs.get(id);
	editing = undefined;
	if (what === 'new' || (what === 'edit' && doc)) {
		editing = form(what === 'edit' ? doc : null, store);
		fill(pane, editing.element);
		pane.querySelector('[autofocus]').focus({ preventScroll: true });
	} else if (what === 'c' || what === 'edit') {
		fill(pane, doc ? card(doc, store) : gone());
	} else {
		fill(pane, welcome());
	}
	$('#main').classList.toggle('detail', what !== '');
	document.title = `${doc ? title(doc) : what === 'new' ? 'New contact' : 'Contacts'} – Divan`;
	list.mark(id ?? '');
}

let here = location.hash;
async function navigate() {
	if (location.hash === here)
		return;
	const wanted = location.hash;
	if (editing?.dirty()) {
		history.replaceState(null, '', here || '#/');
		if (!await confirmed('Leave without saving?', 'What you typed here would be lost.', 'Leave'))
			return;
		history.replaceState(null, '', wanted);
	}
	here = location.hash;
	show();
	pane.scrollTop = 0;
	if (!editing)
		scrollTo(0, 0);
}

// Contacts changed, here or elsewhere.
function changed(ids) {
	list.update(ids);
	const { what, id } = route();
	if (!what)
		fill(pane, welcome());
	if (!ids.includes(id))
		return;
	if (editing) {
		if (!editing.saved)
			editing.changedElsewhere();
	} else if (what === 'c') {
		const focus = pane.contains(document.activeElement);
		show();
		if (focus)
			pane.focus({ preventScroll: true });
	}
}

/* ---- People ---- */

async function leave() {
	const forget = h('input', { type: 'checkbox' });
	const synced = status.dataset.state === 'synced';
	const sure = await dialog({
		title: 'Sign out?', action: 'Sign out',
		body: [h('p', {}, 'Your contacts stay on the server.'), h('label.check', {}, forget, h('span', {}, 'Also remove them from this device')),
			!synced && h('p.hint', {}, 'Some changes may not have reached the server yet: they would be lost by removing them here.')],
	});
	if (!sure)
		return;
	sync.stop();
	await signOut().catch(() => tell('The server cannot be reached: it learns of this later.'));
	localStorage.removeItem(PERSON);
	await (forget.checked ? store.erase() : store.close());
	location.hash = '#/';
	location.reload();
}

function signInAgain() {
	sync.stop();
	showSignIn(`Your contacts are still here. Sign in as ${localStorage.getItem(PERSON)} to bring them up to date.`, () => location.reload());
}

function showSignIn(text, without) {
	bar($('#bar'), 'contacts', null);
	$('#main').className = '';
	fill($('#main'), signInForm({
		title: 'Contacts', text, without,
		done: async () => {
			const { name } = await whoami();
			await open(name);
		},
	}));
}

async function open(person) {
	sync?.stop();
	await store?.close();
	localStorage.setItem(PERSON, person);
	store = new Store(person, REMOTE);
	await store.open(changed);
	list = new List(store);
	pane = h('section.pane', { 'aria-label': 'Contact', tabindex: -1 });
	bar($('#bar'), 'contacts', { name: person }, leave, status);
	$('#main').className = 'split';
	fill($('#main'), banner, list.element, pane);
	here = location.hash;
	show();
	startSync();
}

function failed(e) {
	fill($('#main'), h('div.empty', { role: 'alert' }, icon('warn'), h('h2', {}, 'Contacts cannot be kept here'),
		h('p', {}, 'This browser does not let the page store data. A private window may be the reason.'), h('p.hint', {}, e.message)));
}

async function start() {
	const last = localStorage.getItem(PERSON);
	if (last)
		await open(last);
	const { name } = await whoami().catch(() => ({}));
	if (name && name !== last)
		await open(name);
	else if (!last)
		showSignIn(name === null ? 'Sign in to see yours. They are kept in this browser, too, and work without a connection.' : 'The server cannot be reached. Once you have signed in here, your contacts open without it, too.');
}

addEventListener('hashchange', () => store && navigate());
addEventListener('beforeunload', (e) => editing?.dirty() && e.preventDefault());
const again = () => document.visibilityState === 'visible' && sync?.state === 'offline' && !sync.stopped && startSync();
addEventListener('online', again);
addEventListener('visibilitychange', again);
addEventListener('keydown', (e) => {
	if (e.key === '/' && list && !e.target.closest('input, textarea, select')) {
		e.preventDefault();
		list.search.focus();
	}
});
navigator.serviceWorker?.register('worker.js').catch(() => {});
start().catch(failed);
