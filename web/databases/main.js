// main.js: which view the address asks for.  A view is an async function that returns the page's content.

import { fill, h, icon, $, tell } from '../lib/dom.js';
import { signOut, whoami } from '../lib/server.js';
import { bar } from '../lib/shell.js';
import { signInForm } from '../lib/signin.js';
import { databases } from './databases.js';
import { designList } from './designs.js';
import { documents } from './documents.js';
import { documentView } from './document.js';
import { editor } from './editor.js';
import { findPage } from './find.js';
import { functionEditor } from './functions.js';
import { tasks } from './tasks.js';
import { viewPage } from './view.js';

const SLOW_MS = 200; // what takes longer is seen to be on its way

let who = { name: null, admin: false };
let turn = 0; // the newest navigation; a view that comes late is dropped
let leaving = new AbortController(); // ends what the view before still does

/*
 * #/                                   databases
 * #/tasks                              what the server is doing
 * #/db/NAME?from=&prefix=              its documents
 * #/db/NAME/new                        a new document
 * #/db/NAME/doc/ID?rev=                one document
 * #/db/NAME/edit/ID                    its text
 * #/db/NAME/find?body=&bookmark=       a query, what it finds and how; its indexes
 * #/db/NAME/design                     its views and other functions
 * #/db/NAME/view/DESIGN/VIEW?key=      a view's rows; query.js knows the parameters
 * #/db/NAME/function?in=DESIGN         a new function
 * #/db/NAME/function/DESIGN/KIND/NAME  one function
 */
function route() {
	const [where, ...query] = location.hash.replace(/^#\/?/, '').split('?');
	const [first, db, what, ...rest] = where.split('/').map(decodeURIComponent);
	const [id, kind, fun] = rest;
	const args = { db, id, query: new URLSearchParams(query.join('?')), who };
	if (first === 'tasks')
		return [tasks, args, 'Running tasks'];
	if (first !== 'db' || !db)
		return [databases, args, 'Databases'];
	if (what === 'new')
		return [editor, args, `New document – ${db}`];
	if (what === 'doc' && id)
		return [documentView, args, `${id} – ${db}`];
	if (what === 'edit' && id)
		return [editor, args, `${id} – ${db}`];
	if (what === 'find')
		return [findPage, args, `Query – ${db}`];
	if (what === 'design')
		return [designList, args, `Views – ${db}`];
	if (what === 'view' && id && kind !== undefined)
		return [viewPage, { ...args, name: kind }, `${kind} – ${db}`];
	if (what === 'function')
		return [functionEditor, { ...args, kind: id && kind, name: fun }, `${id ? fun || kind : 'New function'} – ${db}`];
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
	leaving.abort();
	leaving = new AbortController();
	if (!who.name) {
		showSignIn();
		return;
	}
	const slow = setTimeout(() => $('#bar').classList.add('busy'), SLOW_MS);
	let content;
	let title = 'Databases';
	try {
		const [view, args, name] = route();
		title = name;
		content = await view({ ...args, signal: leaving.signal });
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
