// main.js: which view the address asks for.  A view is an async function that returns the page's content.

import { fill, h, icon, $, tell } from '../lib/dom.js';
import { signOut, whoami } from '../lib/server.js';
import { bar } from '../lib/shell.js';
import { signInForm } from '../lib/signin.js';
import { databases } from './databases.js';
import { documents } from './documents.js';
import { documentView } from './document.js';
import { editor } from './editor.js';

const SLOW_MS = 200; // what takes longer is seen to be on its way

let who = { name: null, admin: false };
let turn = 0; // the newest navigation; a view that comes late is dropped

/*
 * #/                       databases
 * #/db/NAME?from=&prefix=  its documents
 * #/db/NAME/new            a new document
 * #/db/NAME/doc/ID?rev=    one document
 * #/db/NAME/edit/ID        its text
 */
function route() {
	const [where, query] = location.hash.replace(/^#\/?/, '').split('?');
	const [first, db, what, id] = where.split('/').map(decodeURIComponent);
	const args = { db, id, query: new URLSearchParams(query), who };
	if (first !== 'db' || !db)
		return [databases, args, 'Databases'];
	if (what === 'new')
		return [editor, args, `New document – ${db}`];
	if (what === 'doc' && id)
		return [documentView, args, `${id} – ${db}`];
	if (what === 'edit' && id)
		return [editor, args, `${id} – ${db}`];
	return [documents, args, db];
}

function problem(e) {
	return h('div.page', {}, h('div.empty.card', { role: 'alert' }, icon('warn'),
		h('h2', {}, e.status === 404 ? 'Not found' : 'That did not work'), h('p', {}, e.message),
		h('a.button', { href: '#/' }, 'Back to the databases'),
		e.status === 0 && h('button', { onclick: show }, 'Try again')));
}

function showSignIn() {
	bar($('#bar'), 'databases', null);
	document.title = 'Sign in – Divan';
	fill($('#main'), signInForm({
		title: 'Welcome to Divan', text: 'Sign in to see what is stored here.',
		done: async () => {
			who = await whoami();
			await show();
		},
	}));
}

async function out() {
	await signOut().catch((e) => tell(e.message, 'bad'));
	who = { name: null, admin: false };
	location.hash = '#/';
	showSignIn();
}

export async function show() {
	const mine = ++turn;
	if (!who.name) {
		showSignIn();
		return;
	}
	const [view, args, title] = route();
	const slow = setTimeout(() => $('#bar').classList.add('busy'), SLOW_MS);
	let content;
	try {
		content = await view(args);
	} catch (e) {
		if (e.status === 401) {
			showSignIn();
			return;
		}
		content = problem(e);
	} finally {
		clearTimeout(slow);
		if (mine === turn)
			$('#bar').classList.remove('busy');
	}
	if (mine !== turn)
		return;
	bar($('#bar'), 'databases', who, out);
	document.title = `${title} – Divan`;
	fill($('#main'), content);
	($('#main [autofocus]') || $('#main')).focus({ preventScroll: true });
}

async function start() {
	try {
		who = await whoami();
	} catch (e) {
		bar($('#bar'), 'databases', null);
		fill($('#main'), problem(e));
		return;
	}
	await show();
}

// A page that changed what it shows asks for the same address again.
addEventListener('hashchange', () => {
	scrollTo(0, 0);
	show();
});
addEventListener('divan:refresh', show);
start();
