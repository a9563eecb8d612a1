// parts.js: what several of the page's views share.

import { h, icon, tell } from '../lib/dom.js';
import { link, refresh } from './links.js';

const PREVIEW = 160;

// The way here: the databases, then [address, name] each.
export function crumbs(...way) {
	return h('nav.crumbs', { 'aria-label': 'Where you are' }, h('a', { href: link.home }, 'Databases'), way.filter(Boolean).map(([href, name]) => [icon('next'), h('a', { href }, name)]));
}

// What a database has: its documents, queries for them, and the views and functions over them.
export function tabs(db, current) {
	const tab = (name, href, label, picture) => h('a.tab', { href, 'aria-current': name === current && 'page' }, icon(picture), label);
	return h('nav.tabs.within', { 'aria-label': 'What is in the database' }, tab('documents', link.db(db), 'Documents', 'file'), tab('find', link.find(db), 'Query', 'search'), tab('designs', link.designs(db), 'Views and functions', 'table'));
}

// Do it, say so, show the page anew; or say what went wrong.
export async function act(work, done) {
	try {
		await work();
		tell(done);
	} catch (e) {
		tell(e.message, 'bad');
	}
	refresh();
}

// A value in a few words: of an object or a list the first plain values.
function brief(value) {
	if (typeof value !== 'object')
		return value;
	const inner = Object.values(value).filter((v) => typeof v !== 'object' && v !== '');
	return inner.slice(0, Array.isArray(value) ? 3 : 1).join(', ');
}

// What a document is about, in a line.
export function preview(doc) {
	const design = doc?._id?.startsWith?.('_design/');
	let line = '';
	for (const [name, value] of Object.entries(doc || {})) {
		const words = name[0] === '_' || value === null ? '' : design && typeof value === 'object' ? Object.keys(value).join(', ') : brief(value);
		if (words !== '')
			line += `${line && '  ·  '}${name}: ${words}`;
		if (line.length > PREVIEW)
			break;
	}
	return line.slice(0, PREVIEW);
}
