// plan.js: how the server goes about a query, from the answer of _explain?plan=true: which index, how much of it, and why no other.

import { h, icon } from '../lib/dom.js';
import { count, plain } from '../lib/words.js';
import { brief, coloured, member, parse } from './json.js';
import { link } from './links.js';

const WAYS = {
	all_docs: 'Documents are read by their ids',
	index: 'One range of an index is read',
	ranges: 'Several ranges of an index are read',
	union: 'Each branch of the query has an index of its own',
};

// CouchDB's names of what speaks against an index.
const REASONS = {
	alphabetically_comes_after: 'Another does as well, and its name comes first.',
	empty_selector: 'The selector asks for nothing that an index has.',
	excluded_by_user: 'The query names another one.',
	field_mismatch: 'The query does not ask for all of its fields.',
	is_partial: 'It has only some of the documents.',
	less_overlap: 'Another has more of the fields that are asked for.',
	more_rows: 'CouchDB would take it, but more of it would have to be read.',
	needs_text_search: 'The query searches in texts.',
	scope_mismatch: 'One of them is for a partition, the other is not.',
	sort_order_mismatch: 'It is sorted by something else.',
	too_many_fields: 'Another does with fewer fields.',
	unfavored_type: 'Another kind of index is preferred.',
};

const bare = (ddoc) => ddoc.replace(/^_design\//, '');

const MADE_UP = /^[0-9a-f]{40}$/; // names that the server gives

// What an index is called: its name, and that of its design document where it is another that somebody chose.
export function indexName({ ddoc, name }) {
	if (ddoc === null)
		return 'All documents';
	const where = bare(ddoc);
	return [name, where !== name && !MADE_UP.test(where) && h('span.quiet', {}, ` in ${where}`)];
}

const linked = (db, index) => (index?.ddoc ? h('a', { href: link.doc(db, index.ddoc) }, indexName(index)) : 'All documents');

const fact = (label, ...value) => [h('dt', {}, label), h('dd', {}, value)];

// { from, to } of the keys that are read; undefined where there is no end.
function ends(tree) {
	const args = member(tree, 'mrargs');
	const key = (name) => {
		const node = member(args, name);
		return node === undefined || node === 'null' || node === '"<MAX>"' ? undefined : node;
	};
	return { from: key('start_key'), to: key('end_key') };
}

function keys(tree, ranges) {
	if (ranges > 1)
		return `${plain(ranges)} ranges`;
	const { from, to } = ends(tree);
	if (from === undefined && to === undefined)
		return 'all of them';
	return [from !== undefined && ['from ', brief(from), ' '], to !== undefined && ['to ', brief(to)]];
}

// How many ranges a part has.
const rangesOf = ({ ranges }) => ranges ?? 1;

const rows = (n) => (typeof n === 'number' ? plain(n) : '');

function facts(db, tree, { plan, index, mrargs, covering }) {
	const parts = plan?.parts ?? [];
	const known = parts.length > 0 && parts.every((p) => typeof p.rows === 'number');
	const read = parts.reduce((n, p) => n + p.rows, 0);
	const covered = plan?.covered ?? covering;
	return h('dl.facts', {},
		parts.length < 2 && fact('Index', linked(db, parts[0]?.index ?? index)),
		known && fact('Rows to read', count(read, 'row'), plan.documents > 0 && ` of ${count(plan.documents, 'document')}`),
		parts.length < 2 && fact('Keys', parts[0] && rangesOf(parts[0]) === 0 ? 'none: nothing can match' : keys(tree, parts[0] ? rangesOf(parts[0]) : 1), mrargs?.direction === 'rev' && ', backwards'),
		fact('Documents', covered ? 'stay unread: the index has all that is asked for' : plan?.exact ? 'are read, and all of them match' : 'are read, and tried against the selector'));
}

const head = (...names) => h('thead', { role: 'rowgroup' }, h('tr', { role: 'row' }, names.map((n) => h('th', { scope: 'col', role: 'columnheader' }, n))));
const cell = (label, ...what) => h('td', { role: 'cell', 'data-label': label }, what);

function table(label, names, list) {
	return h('table.free', { role: 'table', 'aria-label': label }, head(...names),
		h('tbody', { role: 'rowgroup' }, list.map((cells) => h('tr', { role: 'row' }, cells.map((c, i) => cell(names[i], c))))));
}

const partsTable = (db, tree, parts) => table('What is read', ['Index', 'Ranges', 'Rows', 'For'],
	parts.map((p, i) => [linked(db, p.index), plain(rangesOf(p)), rows(p.rows), member(tree.items[i].value, 'branch') ? brief(member(tree.items[i].value, 'branch')) : '']));

const why = ({ analysis }) => analysis.reasons.map(({ name }) => REASONS[name] ?? name).join(' ') || (analysis.usable ? 'It could serve as well.' : '');

function others(db, candidates) {
	if (!candidates?.length)
		return null;
	return [h('h3', {}, 'Why no other'),
		table('Other indexes', ['Index', 'Rows to read', 'Why not'], candidates.map((c) => [linked(db, c.index), rows(c.analysis.rows), why(c)]))];
}

// The fields that an index for this query would have; none where there is one, or none would help.
function wanted({ index, plan, selector_hints: hints }) {
	if (index?.ddoc || (plan && plan.way !== 'all_docs'))
		return [];
	return hints?.find(({ type }) => type === 'json')?.indexable_fields.filter((f) => f !== '_id') ?? [];
}

// The answer's text, drawn; create(fields) begins an index.
export function explanation(db, text, create) {
	const tree = parse(text);
	const said = JSON.parse(text);
	const parts = said.plan?.parts ?? [];
	const fields = wanted(said);
	const none = said.index === null;
	const way = none ? 'No index can serve this query' : WAYS[said.plan?.way] ?? (said.index.ddoc ? WAYS.index : WAYS.all_docs);
	return h('section.card.panel.plan', { 'aria-label': 'The plan' },
		h('h2', {}, icon('route'), way),
		!none && facts(db, tree, said),
		parts.length > 1 && partsTable(db, member(member(tree, 'plan'), 'parts'), parts),
		fields.length > 0 && h('p', {}, 'An index could have ', fields.map((f, i) => [i > 0 && (i === fields.length - 1 ? ' and ' : ', '), h('code', {}, f)]), '. ',
			h('button.link', { type: 'button', onclick: () => create(fields) }, 'Make one')),
		others(db, said.index_candidates),
		h('details', {}, h('summary', {}, 'All that the server says'), coloured(tree, 'The explanation as JSON')));
}
