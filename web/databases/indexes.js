// indexes.js: the indexes that queries may use: the list of them, making and deleting one.

import { confirmed, dialog, field, h, icon, tell } from '../lib/dom.js';
import { json, path, request } from '../lib/server.js';
import { complaint } from './code.js';
import { link, refresh } from './links.js';
import { act } from './parts.js';
import { indexName } from './plan.js';

const AT_MOST = 500; // a database with more of them is looked after by programs

export const readIndexes = (db) => json('GET', `${path(db)}/_index?limit=${AT_MOST}`);

const named = (name, hint) => h('input', { name, autocapitalize: 'none', autocomplete: 'off', spellcheck: 'false', placeholder: hint });

// What _index is sent.  The filter goes as it was typed, so that its numbers keep their digits.
function definition({ fields, filter, name, ddoc }) {
	const list = fields.value.split('\n').map((f) => f.trim()).filter(Boolean);
	const text = filter.value.trim();
	const wrong = text && complaint(text);
	if (list.length === 0)
		throw new Error('An index needs a field.');
	if (wrong)
		throw new Error(`The filter: ${wrong}`);
	const more = [['name', name.value.trim()], ['ddoc', ddoc.value.trim()]].filter(([, value]) => value).map(([key, value]) => `,"${key}":${JSON.stringify(value)}`).join('');
	return `{"index":{"fields":${JSON.stringify(list)}${text && `,"partial_filter_selector":${text}`}},"type":"json"${more}}`;
}

export async function createIndex(db, fields = []) {
	const area = h('textarea.mono', { name: 'fields', rows: 3, required: true, spellcheck: 'false', autocapitalize: 'none', value: fields.join('\n'), placeholder: 'type\naddress.city' });
	const filter = h('textarea.mono', { name: 'filter', rows: 2, spellcheck: 'false', autocapitalize: 'none', placeholder: '{ "type": "contact" }' });
	// Tab goes on to the next field here, since Escape closes the dialog.
	for (const e of [area, filter])
		e.addEventListener('keydown', (event) => event.key === 'Enter' && (event.ctrlKey || event.metaKey) && e.form.requestSubmit());
	const made = await dialog({
		title: 'New index', action: 'Create',
		body: [field('Fields', area, 'One on each line; a dot leads into an object. Documents without one of them are not in the index.'),
			field('Only documents that match', filter, 'A selector. Such an index is used by queries that name it.'),
			h('div.pair', {}, field('Name', named('name', 'made up')), field('Design document', named('ddoc', 'made up')))],
		submit: async (form) => (await request('POST', `${path(db)}/_index`, definition(form.elements))).json(),
	});
	if (!made)
		return;
	tell(made.result === 'exists' ? 'There is such an index already.' : `The index ${made.name} is made.`);
	refresh();
}

async function remove(db, { ddoc, name }) {
	if (await confirmed('Delete this index?', `“${name}” goes. Queries that need it will read all documents, or fail where they are sorted.`, 'Delete index'))
		await act(() => request('DELETE', `${path(db)}/_index/${path(ddoc.replace(/^_design\//, ''), 'json', name)}`), 'The index is deleted.');
}

function row(db, index) {
	const { ddoc, name, def, partitioned } = index;
	const fields = def.fields.map((f) => Object.keys(f)[0]).join(', ');
	const filter = def.partial_filter_selector;
	return h('li.row', {},
		h(ddoc ? 'a.main' : 'div.main', { href: ddoc && link.doc(db, ddoc) }, icon(ddoc ? 'funnel' : 'file'), h('span.name', {}, indexName(index)),
			h('span.quiet.note', { title: fields }, fields, filter && Object.keys(filter).length > 0 && ` where ${JSON.stringify(filter)}`, partitioned && ', in partitions')),
		ddoc ? h('button.bare.square.warnable', { type: 'button', title: 'Delete', 'aria-label': `Delete the index ${name}`, onclick: () => remove(db, index) }, icon('trash')) : h('span.square'));
}

export function indexList(db, { indexes, total_rows: total }) {
	return h('section.card.design', { 'aria-label': 'Indexes' },
		h('header', {}, h('h2', {}, 'Indexes'), h('span.space'), h('button.bare', { type: 'button', onclick: () => createIndex(db) }, icon('add'), 'New index')),
		h('ul.rows', {}, indexes.map((i) => row(db, i))),
		total > indexes.length && h('p.quiet.nothing', {}, `and ${total - indexes.length} more`));
}
