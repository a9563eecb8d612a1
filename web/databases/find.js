/*
 * find.js: documents are found by what is in them: a query is written, and what it found and how is shown.
 *
 * What is typed is the body of _find, and is sent as it was typed, but for the bookmark of the page, which stands in the page's address, and
 * where nothing is said of them a limit and execution_stats.
 */

import { fill, h, icon } from '../lib/dom.js';
import { json, path, request } from '../lib/server.js';
import { count, plain } from '../lib/words.js';
import { answer, columns } from './answers.js';
import { complaint, keys } from './code.js';
import { cut, found } from './found.js';
import { createIndex, indexList, readIndexes } from './indexes.js';
import { compact, member, parse, withMember } from './json.js';
import { go, link, refresh } from './links.js';
import { follow } from './live.js';
import { crumbs, tabs } from './parts.js';
import { explanation } from './plan.js';
import { waiting } from './tasks.js';

const START = '{\n  "selector": {\n    \n  },\n  "limit": 25\n}';
const USUAL_LIMIT = 25; // where a query names none

let typing = null; // where the cursor stood when the query was run from within its text

/* ---- What is asked ---- */

const isObject = (tree) => tree?.open === '{';

// The body of _find; what is no object is for the server to refuse.
function body(tree, bookmark) {
	if (!isObject(tree))
		return compact(tree);
	const unless = (node, name, text) => (member(tree, name) === undefined ? withMember(node, name, text) : node);
	const full = unless(unless(tree, 'limit', String(USUAL_LIMIT)), 'execution_stats', 'true');
	return compact(bookmark ? withMember(full, 'bookmark', JSON.stringify(bookmark)) : full);
}

const ask = async ({ db, signal }, what, text) => (await request('POST', `${path(db)}/${what}`, text, {}, signal)).text();

function queryForm(view) {
	const problem = h('p.problem', { role: 'alert', hidden: true });
	const area = h('textarea.mono', { 'aria-label': 'The query as JSON', 'aria-describedby': 'keys', spellcheck: 'false', autocapitalize: 'none', autofocus: view.text === null || typing !== null,
		value: view.text ?? START, rows: Math.min(20, Math.max(6, (view.text ?? START).split('\n').length + 1)) });
	const to = (show) => {
		const text = area.value.trim();
		const wrong = complaint(text);
		problem.hidden = !wrong;
		if (wrong) {
			problem.textContent = wrong;
			area.focus();
			return;
		}
		typing = document.activeElement === area ? area.selectionStart : null;
		const hash = link.find(view.db, show ? { body: text, show } : { body: text });
		if (hash === location.hash)
			refresh();
		else
			go(hash);
	};
	const form = h('form.card.query', { 'aria-label': 'Query', onsubmit: (e) => {
		e.preventDefault();
		to('');
	} }, area, problem,
	h('div.foot', {}, h('span.hint.space', { id: 'keys' }, 'Beside the selector: fields, sort, limit, use_index. Ctrl+Enter runs; Escape, then Tab leaves the text.'),
		h('button', { type: 'button', onclick: () => to('plan') }, icon('route'), 'Explain'),
		h('button', { type: 'button', onclick: () => to('live') }, icon('pulse'), 'Live'),
		h('button.primary', { type: 'submit' }, icon('play'), 'Run')));
	keys(area, () => form.requestSubmit());
	const at = typing ?? (view.text === null ? START.indexOf('    \n') + 4 : null);
	typing = null;
	if (at !== null)
		queueMicrotask(() => area.setSelectionRange(at, at));
	return form;
}

/* ---- What comes ---- */

// What it took: a line of execution_stats.
function effort(stats) {
	if (!stats)
		return '';
	const { total_keys_examined: rows, total_docs_examined: docs, execution_time_ms: ms } = stats;
	return `${count(rows, 'key')} and ${count(docs, 'document')} read, ${ms < 10 ? ms.toFixed(1) : plain(Math.round(ms))} ms`;
}

function results(view, tree, { docs, bookmark, warning, stats }) {
	const { db, text } = view;
	const limit = Number(member(tree, 'limit') ?? USUAL_LIMIT);
	const more = docs.length > 0 && docs.length >= limit && bookmark && bookmark !== 'nil';
	const pages = (more || view.bookmark) && h('nav.pager', { 'aria-label': 'More documents' },
		view.bookmark ? h('a.button', { href: link.find(db, { body: text }) }, icon('back'), 'First') : h('button', { disabled: true }, icon('back'), 'First'),
		more ? h('a.button', { href: link.find(db, { body: text, bookmark }), rel: 'Next' }, icon('next'), 'Next') : h('button', { disabled: true }, icon('next'), 'Next'));
	return [(warning ?? '').split('\n').filter(Boolean).map((w) => h('p.notice', {}, w)),
		h('p.caption.quiet.hint', {}, h('span.number', { role: 'status' }, docs.length ? count(docs.length, 'document') : view.bookmark ? 'No more documents' : 'No documents'), h('span.number', {}, effort(stats))),
		cut(docs),
		docs.length > 0 ? found(db, docs, columns(tree)) : !view.bookmark && h('div.empty.card', {}, icon('search'), h('h2', {}, 'Nothing found'), h('p', {}, 'No document matches.')),
		pages];
}

const complain = (e) => h('p.problem', { role: 'alert' }, e.message);

// The query is run, and then explained: what it did is told by an index that is up to date.
async function run(view, place) {
	const tree = parse(view.text);
	const done = waiting(view, place, (t) => t.database === view.db);
	let last;
	try {
		if (view.show !== 'plan') {
			const got = results(view, tree, answer(await ask(view, '_find', body(tree, view.bookmark))));
			done();
			fill(place, got);
		}
		last = explanation(view.db, await ask(view, '_explain?plan=true', compact(tree)), (fields) => createIndex(view.db, fields));
	} catch (e) {
		last = complain(e);
	} finally {
		done();
	}
	if (view.signal.aborted)
		return;
	place.querySelector('.waits')?.remove();
	place.append(last);
}

async function live(view, place) {
	try {
		await follow(view, parse(view.text), place);
	} catch (e) {
		if (!view.signal.aborted)
			fill(place, complain(e));
	}
}

export async function findPage({ db, query, who, signal }) {
	const view = { db, text: query.get('body'), bookmark: query.get('bookmark'), show: query.get('show'), who, signal };
	const [info, indexes] = await Promise.all([json('GET', path(db)), readIndexes(db)]);
	const place = h('div.stack');
	const wrong = view.text !== null && complaint(view.text);
	if (wrong)
		fill(place, h('p.problem', { role: 'alert' }, wrong));
	else if (view.text !== null)
		(view.show === 'live' ? live : run)(view, place);
	return h('div.page', {},
		crumbs([link.db(db), db]),
		h('header.head', {}, h('div', {}, h('h1', {}, db), h('p.quiet.number', {}, count(info.doc_count, 'document')))),
		tabs(db, 'find'), queryForm(view), place, indexList(db, indexes));
}
