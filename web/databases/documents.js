// documents.js: a database's documents by id, a page at a time.

import { h, icon } from '../lib/dom.js';
import { json, path } from '../lib/server.js';
import { count, size } from '../lib/words.js';
import { go, link } from './links.js';
import { crumbs, preview, tabs } from './parts.js';

const PAGE = 50;
const LAST = '\ufff0'; // sorts behind what ids begin with in practice

// One page from an id on, or the page before an id; both ask for one row more than is shown.
async function readPage(db, prefix, from, before) {
	const query = new URLSearchParams({ limit: PAGE + 1, include_docs: true });
	const set = (name, id) => id && query.set(name, JSON.stringify(id));
	if (before) {
		set('startkey', before);
		set('endkey', prefix);
		query.set('skip', 1);
		query.set('descending', true);
	} else {
		set('startkey', from || prefix);
		set('endkey', prefix && prefix + LAST);
	}
	const { rows } = await json('GET', `${path(db)}/_all_docs?${query}`);
	const more = rows.length > PAGE;
	const shown = rows.slice(0, PAGE);
	if (before)
		return { rows: shown.reverse(), next: before, earlier: more };
	return { rows: shown, next: rows[PAGE]?.id, earlier: Boolean(from) };
}

export function documentRow(db, { id, doc }) {
	const files = Object.keys(doc?._attachments || {}).length;
	return h('li.row', {}, h('a.main', { href: link.doc(db, id) },
		h('span.name.mono', {}, id), h('span.preview.quiet', {}, preview(doc))),
	files > 0 && h('span.files.quiet', { title: count(files, 'attachment') }, icon('clip'), files));
}

function pager(db, prefix, { rows, earlier, next }) {
	if (!earlier && !next)
		return null;
	const to = (query) => link.db(db, prefix ? { prefix, ...query } : query);
	const button = (on, name, picture, query) => (on ? h('a.button', { href: to(query), rel: name }, icon(picture), name)
		: h('button', { disabled: true }, icon(picture), name));
	return h('nav.pager', { 'aria-label': 'More documents' },
		button(earlier, 'Previous', 'back', { before: rows[0]?.id }),
		button(next, 'Next', 'next', { from: next }));
}

export async function documents({ db, query }) {
	const prefix = query.get('prefix') || '';
	const [info, page] = await Promise.all([json('GET', path(db)), readPage(db, prefix, query.get('from'), query.get('before'))]);
	const search = h('input', { type: 'search', name: 'prefix', value: prefix, placeholder: 'Ids that begin with…', 'aria-label': 'Ids that begin with', autocapitalize: 'none', spellcheck: 'false' });
	const find = () => go(link.db(db, search.value ? { prefix: search.value } : undefined));
	const deleted = info.doc_del_count ? `, ${count(info.doc_del_count, 'deleted one')}` : '';
	return h('div.page', {},
		crumbs(),
		h('header.head', {},
			h('div', {}, h('h1', {}, db), h('p.quiet.number', {}, `${count(info.doc_count, 'document')}${deleted}, ${size(info.sizes.file)}`)),
			h('a.button.primary', { href: link.add(db) }, icon('add'), 'New document')),
		tabs(db, 'documents'),
		h('form', { role: 'search', onsubmit: (e) => {
			e.preventDefault();
			find();
		} }, h('label.search', {}, icon('search'), search)),
		page.rows.length ? h('ul.rows.card', {}, page.rows.map((r) => documentRow(db, r)))
			: h('div.empty.card', {}, icon('file'), h('h2', {}, prefix ? 'Nothing found' : 'No documents here'),
				h('p', {}, prefix ? `No id begins with “${prefix}”.` : 'What an application stores in this database shows up here.'),
				prefix && h('a.button', { href: link.db(db) }, 'Show all')),
		pager(db, prefix, page));
}
