// editor.js: a document's text, to change and save.  What is typed is sent as it is, so numbers keep their digits.

import { fill, h, tell } from '../lib/dom.js';
import { docPath, request } from '../lib/server.js';
import { complaint, guard, keys } from './code.js';
import { currentText, newId } from './document.js';
import { parse, pretty } from './json.js';
import { go, link } from './links.js';
import { crumbs } from './parts.js';

function read(text) {
	const wrong = text.trim() === '' ? 'The document is empty. The shortest one is {}.' : complaint(text);
	if (wrong)
		throw new Error(wrong);
	const doc = JSON.parse(text);
	if (typeof doc !== 'object' || Array.isArray(doc) || doc === null)
		throw new Error('A document is an object: it begins with { and ends with }.');
	return doc;
}

async function save(db, id, text) {
	const doc = read(text);
	const name = id ?? doc._id;
	if (typeof name !== 'string' || name === '')
		throw new Error('The document needs an "_id", which is a text.');
	if (id && doc._id !== undefined && doc._id !== id)
		throw new Error('The "_id" cannot be changed. Make a new document instead.');
	await request('PUT', docPath(db, name), text);
	tell('Saved.');
	go(link.doc(db, name));
}

export async function editor({ db, id, signal }) {
	const text = id ? pretty(parse(await currentText(db, id))) : `{\n  "_id": "${await newId()}"\n}`;
	const area = h('textarea.mono', { 'aria-label': 'The document as JSON', 'aria-describedby': 'keys', spellcheck: 'false', autocapitalize: 'none', autofocus: true, value: text, rows: Math.min(30, Math.max(12, text.split('\n').length + 2)) });
	const problem = h('div.problem', { role: 'alert', hidden: true });
	const button = h('button.primary', { type: 'submit' }, 'Save');
	const form = h('form.stack', { onsubmit: send }, area, problem,
		h('div.actions', {}, h('span.hint.space', { id: 'keys' }, 'Ctrl+Enter saves. Escape, then Tab leaves the text.'),
			h('a.button', { href: id ? link.doc(db, id) : link.db(db) }, 'Cancel'), button));

	async function send(event) {
		event.preventDefault();
		button.disabled = true;
		problem.hidden = true;
		try {
			await save(db, id, area.value);
		} catch (e) {
			fill(problem, e.status === 409 ? stale() : e.message);
			problem.hidden = false;
			area.focus();
		}
		button.disabled = false;
	}
	function stale() {
		if (!id)
			return 'A document with this id exists already.';
		return ['Somebody else saved this document after you opened it, so yours was not saved. Copy what you need, then ',
			h('a', { href: link.doc(db, id) }, 'look at theirs'), '.'];
	}
	keys(area, () => form.requestSubmit());
	guard(form, signal);
	if (!id)
		queueMicrotask(() => area.setSelectionRange(text.length - 2, text.length - 2));
	return h('div.page', {},
		crumbs([link.db(db), db]),
		h('header.head', {}, h('h1', {}, id ?? 'New document')), form);
}
