// document.js: one document: its text, attachments, revisions and conflicts.

import { confirmed, h, icon, tell } from '../lib/dom.js';
import { docPath, json, path, request, ROOT } from '../lib/server.js';
import { count, size } from '../lib/words.js';
import { coloured, parse, without } from './json.js';
import { go, link, refresh } from './links.js';
import { act, crumbs } from './parts.js';

const EXTRA = ['_conflicts', '_deleted_conflicts', '_revs_info', '_revisions'];
const REVISIONS_SHOWN = 12;

const short = (rev) => rev.replace(/^(\d+-.{8}).*/, '$1…');

function panel(title, ...content) {
	return h('section.card.panel', {}, h('h2', {}, title), content);
}

function conflicts({ db, id, doc, rev }) {
	const others = doc._conflicts || [];
	if (rev || others.length === 0)
		return null;
	return h('section.card.panel.alarm', {}, h('h2', {}, icon('warn'), `${count(others.length + 1, 'version')} of this document`),
		h('p', {}, 'It was changed in several places at once. All servers show the version below; the others are kept until somebody deletes them.'),
		h('ul', {}, others.map((other) => h('li', {}, h('a.mono', { href: link.doc(db, id, other) }, short(other)), ' ',
			h('button.bare.warnable', { type: 'button', onclick: () => removeRevision(db, id, other) }, icon('trash'), 'Delete this version')))));
}

async function removeRevision(db, id, rev) {
	if (!await confirmed('Delete this version?', `Version ${short(rev)} goes; the document itself stays as it is.`, 'Delete version'))
		return;
	await act(() => request('DELETE', `${docPath(db, id)}?rev=${rev}`), 'The version is deleted.');
}

function attachment({ db, id, doc, rev }, [name, stub]) {
	if (name === '.' || name === '..')
		return h('li.attachment', {}, h('span.noimage', {}, icon('file')), h('div', {}, name, h('span.quiet.hint', {}, 'Browsers cannot ask for this name.')));
	const where = `${docPath(db, id)}/${path(name)}?rev=${doc._rev}`;
	const remove = async () => {
		if (await confirmed('Delete this attachment?', name, 'Delete attachment'))
			await act(() => request('DELETE', where), 'The attachment is deleted.');
	};
	return h('li.attachment', {},
		stub.content_type.startsWith('image/') ? h('img', { src: ROOT + where, alt: `Preview of ${name}`, loading: 'lazy' }) : h('span.noimage', {}, icon('file')),
		h('div', {}, h('a', { href: ROOT + where, download: name.split('/').pop() }, name),
			h('span.quiet.hint', {}, `${stub.content_type}, ${size(stub.length)}`)),
		!rev && h('button.bare.square.warnable', { type: 'button', title: 'Delete', 'aria-label': `Delete ${name}`, onclick: remove }, icon('trash')));
}

function attachments(view) {
	const { db, id, doc, rev } = view;
	const all = Object.entries(doc._attachments || {});
	if (rev && all.length === 0)
		return null;
	const add = h('input', { type: 'file', hidden: true, onchange: () => {
		const file = add.files[0];
		const where = `${docPath(db, id)}/${path(file.name)}?rev=${doc._rev}`;
		act(() => request('PUT', where, file, { 'Content-Type': file.type || 'application/octet-stream' }), `${file.name} is attached.`);
	} });
	return panel('Attachments', all.length > 0 && h('ul.attachments', {}, all.map((a) => attachment(view, a))),
		all.length === 0 && h('p.quiet', {}, 'None.'),
		!rev && h('div', {}, add, h('button', { type: 'button', onclick: () => add.click() }, icon('clip'), 'Attach a file')));
}

function revisions({ db, id, doc }) {
	const infos = doc._revs_info || [];
	if (infos.length === 0)
		return null;
	return panel('Revisions', h('ol.revisions', {}, infos.slice(0, REVISIONS_SHOWN).map(({ rev, status }, i) => h('li', {},
		status === 'available' ? h('a.mono', { href: link.doc(db, id, i ? rev : ''), title: rev }, short(rev)) : h('span.mono.quiet', { title: rev }, short(rev)),
		h('span.quiet.hint', {}, i === 0 ? 'current' : { available: '', missing: 'no longer kept' }[status] ?? status)))),
	infos.length > REVISIONS_SHOWN && h('p.quiet.hint', {}, `and ${infos.length - REVISIONS_SHOWN} before`));
}

async function remove({ db, id, doc }) {
	if (!await confirmed('Delete this document?', `“${id}” goes here and wherever this database is copied to.`, 'Delete document'))
		return;
	try {
		await request('DELETE', `${docPath(db, id)}?rev=${doc._rev}`);
		tell('The document is deleted.');
		go(link.db(db));
	} catch (e) {
		tell(e.message, 'bad');
		refresh();
	}
}

export async function documentView({ db, id, query }) {
	const rev = query.get('rev');
	const ask = rev ? `rev=${encodeURIComponent(rev)}` : 'conflicts=true&revs_info=true';
	const text = await (await request('GET', `${docPath(db, id)}?${ask}`)).text();
	const doc = JSON.parse(text);
	const view = { db, id, doc, rev };
	const design = id.startsWith('_design/');
	return h('div.page', {},
		crumbs([link.db(db), db], design && [link.designs(db), 'Views and functions']),
		h('header.head', {}, h('div', {}, h('h1', {}, id), h('p.quiet.mono', { title: doc._rev }, `revision ${short(doc._rev)}`)),
			rev ? h('a.button', { href: link.doc(db, id) }, 'Show the current revision')
				: h('div.actions', {}, h('button.bare.warnable', { type: 'button', onclick: () => remove(view) }, icon('trash'), 'Delete'),
					h('a.button.primary', { href: link.edit(db, id) }, icon('edit'), 'Edit'))),
		rev && h('p.notice', {}, 'You are looking at another revision of this document, not at the current one.'),
		conflicts(view),
		h('div.columns', {}, h('section.card.text', {}, coloured(without(parse(text), EXTRA))),
			h('aside', {}, attachments(view), revisions(view))));
}

// For the editor: the current text, laid out.
export async function currentText(db, id) {
	return (await request('GET', docPath(db, id))).text();
}

export const newId = async () => (await json('GET', '_uuids')).uuids[0];
