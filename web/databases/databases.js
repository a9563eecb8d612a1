// databases.js: the list of databases; making and deleting one.

import { dialog, field, h, icon, tell } from '../lib/dom.js';
import { json, path, request } from '../lib/server.js';
import { count, plain, size } from '../lib/words.js';
import { go, link, refresh } from './links.js';

const INFOS_AT_ONCE = 100;

// Databases the server keeps for itself come last and cannot be deleted here.
const isSystem = (name) => name.startsWith('_');

// The rows of /_dbs_info, which takes a hundred names at a time.
async function readAll() {
	const names = await json('GET', '_all_dbs');
	const rows = [];
	for (let i = 0; i < names.length; i += INFOS_AT_ONCE)
		rows.push(...await json('POST', '_dbs_info', { keys: names.slice(i, i + INFOS_AT_ONCE) }));
	return rows.sort((a, b) => isSystem(a.key) - isSystem(b.key));
}

function create() {
	const name = h('input', { name: 'db', required: true, autocapitalize: 'none', spellcheck: 'false', autocomplete: 'off', pattern: '[a-z][a-z0-9_$()+\\/\\-]*', maxlength: 238 });
	return dialog({
		title: 'New database', action: 'Create',
		body: field('Name', name, 'Small letters, digits and _ $ ( ) + - / ; a letter first.'),
		submit: async () => {
			await request('PUT', path(name.value));
			go(link.db(name.value));
		},
	});
}

async function remove(db, docs) {
	const name = h('input', { required: true, autocapitalize: 'none', spellcheck: 'false', autocomplete: 'off' });
	const gone = await dialog({
		title: `Delete “${db}”?`, action: 'Delete for ever', danger: true,
		body: [h('p', {}, `This deletes the database and ${docs === undefined ? 'all its documents' : count(docs, 'document')}. It cannot be undone.`),
			field(['To be sure, type its name: ', h('b', {}, db)], name)],
		submit: async () => {
			if (name.value !== db)
				throw new Error('That is not its name.');
			await request('DELETE', path(db));
			return true;
		},
	});
	if (gone) {
		tell(`${db} is deleted.`);
		refresh();
	}
}

function row({ key, info }) {
	return h(`li.row${isSystem(key) ? '.system' : ''}`, {},
		h('a.main', { href: link.db(key) }, icon('stack'), h('span.name', {}, key)),
		h('span.docs.number.quiet', {}, info ? count(info.doc_count, 'document') : 'not readable'),
		h('span.size.number.quiet', {}, info ? size(info.sizes.file) : ''),
		isSystem(key) ? h('span.square') : h('button.bare.square.warnable', { type: 'button', title: 'Delete', 'aria-label': `Delete ${key}`, onclick: () => remove(key, info?.doc_count) }, icon('trash')));
}

// Only administrators may list databases; anybody else may know one by name.
function byName() {
	const name = h('input', { required: true, autocapitalize: 'none', spellcheck: 'false', autofocus: true });
	return h('div.page.narrow', {}, h('h1', {}, 'Databases'),
		h('p.quiet', {}, 'Only administrators see the list of databases. If you know the name of one that is open to you, you can look into it.'),
		h('form.card.stack', { onsubmit: (e) => {
			e.preventDefault();
			go(link.db(name.value.trim()));
		} }, field('Name of the database', name), h('button.primary', { type: 'submit' }, 'Open')));
}

export async function databases({ who }) {
	let rows;
	try {
		rows = await readAll();
	} catch (e) {
		if (!who.admin && (e.status === 401 || e.status === 403))
			return byName();
		throw e;
	}
	const list = h('ul.rows.card', {}, rows.map(row));
	const none = h('p.card.empty', { hidden: true }, 'No database has such a name.');
	const filter = (event) => {
		const wanted = event.target.value.trim().toLowerCase();
		let shown = 0;
		for (const [i, li] of [...list.children].entries()) {
			li.hidden = !rows[i].key.includes(wanted);
			shown += !li.hidden;
		}
		list.hidden = shown === 0;
		none.hidden = shown > 0;
	};
	const total = rows.reduce((sum, { info }) => sum + (info?.sizes.file || 0), 0);
	return h('div.page', {},
		h('header.head', {},
			h('div', {}, h('h1', {}, 'Databases'), h('p.quiet', {}, rows.length ? `${plain(rows.length)} in all, ${size(total)} on disk` : 'Nothing is stored here yet')),
			who.admin && h('div.actions', {}, h('a.button', { href: link.tasks }, icon('pulse'), 'Tasks'), h('button.primary', { type: 'button', onclick: create }, icon('add'), 'New database'))),
		rows.length > 8 && h('label.search', {}, icon('search'), h('input', { type: 'search', placeholder: 'Find by name', 'aria-label': 'Find a database by name', oninput: filter })),
		rows.length ? [list, none] : h('div.empty.card', {}, icon('stack'), h('h2', {}, 'No databases yet'),
			h('p', {}, 'Make one here, or open Contacts: it makes its own.'),
			h('a.button', { href: 'contacts/index.html' }, icon('people'), 'Open Contacts')));
}
