// view.js: a view is run: what is asked, the rows, and how far the index is meanwhile.

import { fill, h, icon } from '../lib/dom.js';
import { path, Refusal, request, ROOT } from '../lib/server.js';
import { count, plain as digits } from '../lib/words.js';
import { designPath, readDesign } from './design.js';
import { brief, coloured, compact, member, parse, pretty, words } from './json.js';
import { go, link, refresh } from './links.js';
import { crumbs, preview } from './parts.js';
import { ask, complaint, LIMITS, page, plain, read, write } from './query.js';
import { waiting } from './tasks.js';

// The row's members that the page needs; key is a JSON text.
function row(node) {
	return { key: compact(member(node, 'key')), id: words(member(node, 'id')), shownKey: member(node, 'key'), value: member(node, 'value'), doc: member(node, 'doc') };
}

// { rows, total, offset } of an answer; a server that stumbles among the rows says so behind them.
function answer(text) {
	const tree = parse(text);
	const error = words(member(tree, 'error'));
	if (error)
		throw new Refusal(words(member(tree, 'reason')) || error, 500);
	const number = (name) => {
		const token = member(tree, name);
		return token === undefined || token === 'null' ? undefined : Number(token);
	};
	return { rows: (member(tree, 'rows')?.items || []).map(({ value }) => row(value)), total: number('total_rows'), offset: number('offset') };
}

const viewPath = ({ db, id, name }) => `${designPath(db, id)}/_view/${path(name)}`;

async function fetchPage(view) {
	const { q, hasReduce, signal } = view;
	const where = viewPath(view);
	for (let more = 0; ; more = (more + q.limit) * 4) {
		const { limit, query, body } = ask(q, hasReduce, more);
		const got = answer(await (await request(body ? 'POST' : 'GET', `${where}?${query}`, body, {}, signal)).text());
		const shown = q.group === 'total' ? { rows: got.rows } : page(q, got.rows, limit);
		if (shown)
			return { ...got, ...shown };
	}
}

/* ---- What is asked ---- */

const GROUPS = [['rows', 'Rows'], ['total', 'One value from all'], ['exact', 'A value for each key'],
	...[1, 2, 3, 4, 5].map((n) => [String(n), n === 1 ? 'By the first key element' : `By the first ${n} key elements`])];

const select = (name, choices, chosen) => h('select', { name }, choices.map(([value, label]) => h('option', { value, selected: String(value) === String(chosen) }, label)));

const box = (name, label, checked) => h('label.check', {}, h('input', { type: 'checkbox', name, checked }), label);

function queryForm(view) {
	const { q, hasReduce } = view;
	const problem = h('p.problem', { role: 'alert', hidden: true });
	const key = (name, label, value, hint) => field(name, label, h('input.mono', { name, value: value ?? '', placeholder: hint, autocapitalize: 'none', autocomplete: 'off', spellcheck: 'false' }));
	const keys = select('keys', [['all', 'All keys'], ['one', 'One key'], ['range', 'From one key to another']], q.key !== undefined ? 'one' : q.start !== undefined || q.end !== undefined ? 'range' : 'all');
	const one = key('key', 'The key', q.key, '"text", 42 or ["a", 1]');
	const range = h('div.pair', {}, key('start', 'From key', q.start, '"a"'), key('end', 'To key', q.end, '"b\\ufff0"'), box('exclusive', 'without the key it goes to', q.exclusive));
	const groups = hasReduce && select('group', GROUPS, q.group);
	const docs = box('docs', 'with the documents', q.docs);
	const show = () => {
		one.hidden = keys.value !== 'one';
		range.hidden = keys.value !== 'range';
		docs.hidden = Boolean(groups) && groups.value !== 'rows';
	};
	const form = h('form.card.query', { onsubmit: run, onchange: show, 'aria-label': 'Query' },
		h('div.pair', {}, hasReduce && field('group', 'Show', groups), field('keys', 'Keys', keys), field('limit', 'Rows on a page', select('limit', [...new Set([...LIMITS, q.limit])].sort((a, b) => a - b).map((n) => [n, n]), q.limit))),
		one, range, problem,
		h('div.foot', {}, box('descending', 'backwards', q.descending), docs, h('span.space'), h('button.primary', { type: 'submit' }, icon('play'), 'Run')));

	function run(event) {
		event.preventDefault();
		const e = form.elements;
		const text = (name, when) => (keys.value === when && e[name].value.trim()) || undefined;
		const wanted = {
			group: /^\d/.test(groups?.value) ? Number(groups.value) : groups?.value || 'rows', key: text('key', 'one'), start: text('start', 'range'), end: text('end', 'range'),
			exclusive: keys.value === 'range' && e.exclusive.checked, descending: e.descending.checked, docs: !docs.hidden && e.docs.checked, limit: Number(e.limit.value), asItIs: q.asItIs, at: null,
		};
		const wrong = ['key', 'start', 'end'].find((name) => wanted[name] !== undefined && complaint(wanted[name]));
		problem.hidden = !wrong;
		if (wrong) {
			problem.textContent = complaint(wanted[wrong]);
			e[wrong].focus();
			return;
		}
		const hash = link.view(view.db, view.id, view.name, write(wanted));
		if (hash === location.hash)
			refresh();
		else
			go(hash);
	}
	show();
	return form;
}

const field = (name, label, input) => h('label.field', {}, h('span.label', {}, label), input);

/* ---- What comes ---- */

// A document in a line; its text is laid out when somebody opens it.
function linked(doc) {
	if (doc === undefined || doc === 'null')
		return h('p.quiet.hint', {}, 'There is no such document.');
	const inner = h('details', { ontoggle: () => inner.open && inner.children.length === 1 && inner.append(coloured(doc)) },
		h('summary', {}, h('span.quiet', {}, preview(JSON.parse(compact(doc))) || 'The document')));
	return inner;
}

function line({ db, q }, { shownKey, id, value, doc }) {
	const cells = [h('td.k', { role: 'cell' }, brief(shownKey)), q.group === 'rows' && h('td.id', { role: 'cell' }, id !== undefined && h('a.mono', { href: link.doc(db, id) }, id)), h('td.v', { role: 'cell' }, brief(value))];
	return [h('tr', { role: 'row' }, cells), q.docs && q.group === 'rows' && h('tr.doc', { role: 'row' }, h('td', { colspan: 3, role: 'cell' }, linked(doc)))];
}

function table(view, rows) {
	const names = view.q.group === 'rows' ? ['Key', 'Document', 'Value'] : ['Key', 'Value'];
	return h('div.card.sheet', {}, h('table', { role: 'table', 'aria-label': `Rows of ${view.name}` },
		h('thead', { role: 'rowgroup' }, h('tr', { role: 'row' }, names.map((n) => h('th', { scope: 'col', role: 'columnheader' }, n)))),
		h('tbody', { role: 'rowgroup' }, rows.map((r) => line(view, r)))));
}

// Which rows these are of all that the view has; the server counts from the end where it reads upwards.
function where(q, { rows, total, offset, dropped }) {
	if (q.group !== 'rows')
		return count(rows.length, 'group');
	if (total === undefined || offset === undefined)
		return count(rows.length, 'row');
	const first = q.at?.back ? total - offset - dropped - rows.length + 1 : offset + 1;
	return `${rows.length === 1 ? `Row ${digits(first)}` : `Rows ${digits(first)} to ${digits(first + rows.length - 1)}`} of ${digits(total)} in the view`;
}

function pager({ db, id, name, q }, { earlier, next }) {
	if (!earlier && !next)
		return null;
	const button = (at, label, picture) => (at ? h('a.button', { href: link.view(db, id, name, write({ ...q, at })), rel: label }, icon(picture), label)
		: h('button', { disabled: true }, icon(picture), label));
	return h('nav.pager', { 'aria-label': 'More rows' }, button(earlier, 'Previous', 'back'), button(next, 'Next', 'next'));
}

// What came, and how a program asks for it.
function caption(view, text) {
	const query = plain(view.q, view.hasReduce);
	return h('p.caption.quiet.hint', {}, h('span.number', { role: 'status' }, text), query !== undefined && h('a', { href: `${ROOT}${viewPath(view)}?${query}` }, 'As JSON'));
}

function results(view, got) {
	const { q } = view;
	if (q.group === 'total' && got.rows.length)
		return [caption(view, 'Reduced from all rows'), h('section.card.total', { 'aria-label': 'The value' }, brief(got.rows[0].value))];
	if (got.rows.length === 0)
		return [h('div.empty.card', { role: 'status' }, icon('table'), h('h2', {}, 'No rows'), h('p', {}, q.key ?? q.start ?? q.end ?? q.at ? 'No key of the view is there.' : 'The map emitted nothing for any document.')), pager(view, got)];
	return [caption(view, where(q, got)), table(view, got.rows), pager(view, got)];
}

// A range that is read from the wrong end is the one mistake that can be mended here.
function refused({ db, id, name, q }, e) {
	const swap = e.error === 'query_parse_error' && q.start !== undefined && q.end !== undefined;
	return h('p.problem', { role: 'alert' }, e.message, swap && [' ', h('a', { href: link.view(db, id, name, write({ ...q, start: q.end, end: q.start, at: null })) }, 'Swap the keys')]);
}

async function run(view, place) {
	const { db, id, q } = view;
	const mine = (t) => t.database === db && t.design_document === `_design/${id}`;
	const done = waiting(view, place, mine, !q.asItIs && h('div', {}, h('a.button', { href: link.view(db, id, view.name, write({ ...q, asItIs: true })) }, 'Show what is in it already')));
	let content;
	try {
		content = results(view, await fetchPage(view));
	} catch (e) {
		if (view.signal.aborted)
			return;
		content = refused(view, e);
	} finally {
		done();
	}
	fill(place, content);
}

const code = (label, node) => node !== undefined && [h('h3.label', {}, label), h('pre.source', { tabindex: 0, 'aria-label': label }, words(node) ?? pretty(node))];

export async function viewPage({ db, id, name, query, who, signal }) {
	const design = await readDesign(db, id);
	const fun = member(member(design, 'views'), name);
	if (member(fun, 'map') === undefined)
		throw new Refusal(`“${id}” has no view that is called “${name}”.`, 404);
	const hasReduce = member(fun, 'reduce') !== undefined;
	const view = { db, id, name, q: read(query), who, signal, hasReduce };
	const place = h('div.stack');
	const now = link.view(db, id, name, write({ ...view.q, asItIs: false }));
	run(view, place);
	return h('div.page', {},
		crumbs([link.db(db), db], [link.designs(db), id]),
		h('header.head', {}, h('h1', {}, name),
			words(member(fun, 'map')) !== undefined && h('a.button', { href: link.fun(db, id, 'views', name) }, icon('edit'), 'Edit')),
		h('details.card.functions', {}, h('summary', {}, hasReduce ? 'Map and reduce' : 'Map'), code('Map', member(fun, 'map')), code('Reduce', member(fun, 'reduce'))),
		queryForm(view),
		view.q.asItIs && h('p.notice', {}, 'The index as it is: the newest documents may be missing. ', h('a', { href: now }, 'Bring it up to date')),
		place);
}
