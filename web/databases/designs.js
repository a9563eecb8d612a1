// designs.js: a database's design documents, and the views and other functions in each.

import { confirmed, dialog, field, h, icon, tell } from '../lib/dom.js';
import { path, request } from '../lib/server.js';
import { count } from '../lib/words.js';
import { designPath, KINDS, readDesign, readDesigns, VALIDATE, writeDesign } from './design.js';
import { member, members, words } from './json.js';
import { link, refresh } from './links.js';
import { act, crumbs, tabs } from './parts.js';

const PICTURES = { views: 'table', filters: 'funnel', updates: 'edit', shows: 'file', lists: 'stack' };

// The functions of a design document, { kind, name, note, editable }.
function functionsOf(tree) {
	const all = [];
	for (const kind of Object.keys(PICTURES)) {
		for (const [name, value] of members(member(tree, kind))) {
			const map = kind === 'views' ? member(value, 'map') : value;
			const reduce = words(member(value, 'reduce'));
			if (kind === 'views' && map === undefined)
				continue; // modules in views.lib
			all.push({ kind, name, editable: words(map) !== undefined, note: reduce === undefined ? '' : reduce[0] === '_' ? reduce : 'own reduce' });
		}
	}
	if (words(member(tree, VALIDATE)) !== undefined)
		all.push({ kind: VALIDATE, name: '', editable: true, note: 'of every write' });
	return all;
}

const dropped = (node, name) => ({ ...node, items: node.items.filter(({ key }) => JSON.parse(key) !== name) });

async function removeFunction(db, id, { kind, name }) {
	const label = KINDS[kind].name.toLowerCase();
	if (!await confirmed(`Delete this ${label}?`, name ? `“${name}” of “${id}”` : `That of “${id}”.`, `Delete ${label}`))
		return;
	await act(async () => {
		const tree = await readDesign(db, id);
		const rest = name ? { ...tree, items: tree.items.map((item) => (JSON.parse(item.key) === kind ? { ...item, value: dropped(item.value, name) } : item)) } : dropped(tree, kind);
		await writeDesign(db, id, rest);
	}, `The ${label} is deleted.`);
}

async function removeDesign(db, { id, tree }) {
	if (await confirmed('Delete this design document?', `“${id}” goes, with all its functions and indexes.`, 'Delete design document'))
		await act(() => request('DELETE', `${designPath(db, id)}?rev=${words(member(tree, '_rev'))}`), 'The design document is deleted.');
}

async function clone(db, id) {
	const name = h('input', { required: true, autocapitalize: 'none', spellcheck: 'false', autocomplete: 'off', pattern: '[^_].*', value: `${id}-copy` });
	const made = await dialog({
		title: `Copy “${id}”`, action: 'Copy', body: field('Name of the copy', name),
		submit: async () => {
			try {
				await request('COPY', designPath(db, id), undefined, { Destination: `_design/${path(name.value.trim())}` });
			} catch (e) {
				throw e.status === 409 ? new Error('There is a design document of this name already.') : e;
			}
			return true;
		},
	});
	if (made) {
		tell('Copied.');
		refresh();
	}
}

function row(db, id, fun) {
	const { kind, name, note, editable } = fun;
	const label = name || 'Validation';
	const edit = link.fun(db, id, kind, name);
	return h('li.row', {},
		h('a.main', { href: !editable ? link.doc(db, `_design/${id}`) : kind === 'views' ? link.view(db, id, name) : edit },
			icon(PICTURES[kind] || 'shield'), h('span.name', {}, label), h('span.quiet.note', {}, kind === 'views' ? note : note || KINDS[kind].name.toLowerCase())),
		editable && kind === 'views' && h('a.button.bare.square', { href: edit, title: 'Edit', 'aria-label': `Edit ${label}` }, icon('edit')),
		h('button.bare.square.warnable', { type: 'button', title: 'Delete', 'aria-label': `Delete ${label}`, onclick: () => removeFunction(db, id, fun) }, icon('trash')));
}

function card(db, { id, tree }) {
	const all = functionsOf(tree);
	const language = words(member(tree, 'language')) ?? 'javascript';
	return h('section.card.design', { 'aria-label': `Design document ${id}` },
		h('header', {}, h('h2', {}, h('a', { href: link.doc(db, `_design/${id}`), title: 'The document' }, id)), language !== 'javascript' && h('span.quiet.hint', {}, language),
			h('span.space'),
			language === 'javascript' && h('a.button.bare', { href: link.addFun(db, id), 'aria-label': `New function in ${id}` }, icon('add'), h('span', {}, 'Function')),
			h('button.bare.square', { type: 'button', title: 'Copy', 'aria-label': `Copy ${id}`, onclick: () => clone(db, id) }, icon('copy')),
			h('button.bare.square.warnable', { type: 'button', title: 'Delete', 'aria-label': `Delete design document ${id}`, onclick: () => removeDesign(db, { id, tree }) }, icon('trash'))),
		all.length ? h('ul.rows', {}, all.map((fun) => row(db, id, fun))) : h('p.quiet.nothing', {}, 'No functions.'));
}

export async function designList({ db }) {
	const all = await readDesigns(db);
	return h('div.page', {},
		crumbs(),
		h('header.head', {},
			h('div', {}, h('h1', {}, db), h('p.quiet.number', {}, count(all.length, 'design document'))),
			h('a.button.primary', { href: link.addFun(db) }, icon('add'), 'New function')),
		tabs(db, 'designs'),
		all.length ? all.map((d) => card(db, d))
			: h('div.empty.card', {}, icon('table'), h('h2', {}, 'No views here'),
				h('p', {}, 'A view finds and sums up documents by what is in them. Its functions live in a design document.'),
				h('a.button', { href: link.addFun(db) }, 'Make the first one')));
}
