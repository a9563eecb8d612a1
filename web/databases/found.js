// found.js: documents that a query found: a table of the fields that were asked for, or a list of whole documents.

import { h } from '../lib/dom.js';
import { plain } from '../lib/words.js';
import { valueAt } from './answers.js';
import { documentRow } from './documents.js';
import { brief, compact, words } from './json.js';
import { link } from './links.js';

const SHOWN = 1000; // documents on a page, whatever the query's limit is
const COLUMNS = 8; // with more fields than this each document is one text

const linked = (db, id) => (id === undefined ? '' : h('a.mono', { href: link.doc(db, id) }, id));

function table(db, docs, fields, fresh) {
	const whole = fields.length > COLUMNS;
	const names = whole ? ['Document'] : fields;
	const line = (doc) => (whole ? [brief(doc)] : fields.map((f) => {
		const value = valueAt(doc, f);
		return f === '_id' ? linked(db, words(value)) : value === undefined ? '' : brief(value);
	}));
	return h('div.card.sheet', {}, h('table.free', { role: 'table', 'aria-label': 'What was found' },
		h('thead', { role: 'rowgroup' }, h('tr', { role: 'row' }, names.map((n) => h('th', { scope: 'col', role: 'columnheader' }, n)))),
		h('tbody', { role: 'rowgroup' }, docs.map((doc) => h(fresh?.has(doc) ? 'tr.fresh' : 'tr', { role: 'row' }, line(doc).map((c, i) => h('td', { role: 'cell', 'data-label': names[i] }, c)))))));
}

// docs are trees; those in `fresh` have just changed.
export function found(db, all, fields, fresh) {
	const docs = all.slice(0, SHOWN);
	if (fields.length)
		return table(db, docs, fields, fresh);
	return h('ul.rows.card', { 'aria-label': 'What was found' }, docs.map((tree) => {
		const doc = JSON.parse(compact(tree));
		const row = documentRow(db, { id: doc._id, doc });
		row.classList.toggle('fresh', Boolean(fresh?.has(tree)));
		return row;
	}));
}

export const cut = (docs) => docs.length > SHOWN && h('p.notice', {}, `Only the first ${plain(SHOWN)} are shown. A limit makes them fewer.`);
