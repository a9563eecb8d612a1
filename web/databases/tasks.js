// tasks.js: what the server does by itself: building indexes, compacting, copying.

import { fill, h, icon } from '../lib/dom.js';
import { json } from '../lib/server.js';
import { count, plain } from '../lib/words.js';
import { link } from './links.js';
import { crumbs } from './parts.js';

const EVERY_MS = 1000;
const SLOW_MS = 600; // whoever waits longer than this is told for what

const NAMES = {
	indexer: 'Building an index',
	database_compaction: 'Compacting a database',
	view_compaction: 'Compacting an index',
	replication: 'Copying a database',
};

const PHASES = { document_trim: 'dropping what was superseded', document_copy: 'copying what stays' };

const bare = (id) => id.replace(/^_design\//, '');

const sleep = (ms, signal) => new Promise((resolve) => {
	const timer = setTimeout(resolve, ms);
	signal.addEventListener('abort', () => {
		clearTimeout(timer);
		resolve();
	}, { once: true });
});

// draw(tasks) now and each second, until the signal says that nobody looks any more or the server has no answer.
export async function follow(signal, draw) {
	try {
		for (; !signal.aborted; await sleep(EVERY_MS, signal))
			draw(await json('GET', '_active_tasks', undefined, {}, signal));
	} catch (e) {
		if (!signal.aborted)
			throw e;
	}
}

// How far a task is; a bar that shows no end where that is not known.
export function progress(task, label) {
	const { changes_done: done, total_changes: total } = task || {};
	return h('div.progress', {},
		h('progress', { 'aria-label': label, max: total > 0 && 100, value: total > 0 && Math.min(100, (done / total) * 100) }),
		total > 0 && h('p.quiet.number.hint', {}, `${plain(done)} of ${count(total, 'change')}`));
}

/*
 * Whoever waits for an index sees in ${place} how far it is: what mine(task) says is waited for, and what else could be done.
 * Who is no administrator sees only that there is something to wait for.  The result ends it.
 */
export function waiting({ signal, who }, place, mine, instead) {
	const over = new AbortController();
	const stop = () => over.abort();
	signal.addEventListener('abort', stop, { once: true });
	const title = h('h2', { role: 'status' }, 'Waiting for the server');
	const bar = h('div', {}, progress(undefined, 'The index'));
	const draw = (all) => {
		const task = all.find((t) => t.type === 'indexer' && mine(t));
		if (!task)
			return;
		title.textContent = 'The index is being brought up to date';
		fill(bar, progress(task, 'The index'));
	};
	const timer = setTimeout(() => {
		fill(place, h('section.card.panel.waits', {}, title, bar, instead));
		if (who.admin)
			follow(over.signal, draw).catch(() => {});
	}, SLOW_MS);
	return () => {
		clearTimeout(timer);
		stop();
	};
}

function about(task) {
	const db = task.database;
	if (!db)
		return [task.source, task.target].filter((x) => typeof x === 'string').join(' to ');
	const design = typeof task.design_document === 'string' && bare(task.design_document);
	return [design && ['“', h('a', { href: link.designs(db) }, design), '” of '], h('a', { href: link.db(db) }, db)];
}

function since(seconds) {
	const time = new Date(seconds * 1000);
	return seconds > 0 && h('span.quiet.hint', {}, 'since ', h('time', { datetime: time.toISOString() }, time.toLocaleTimeString('en-GB')));
}

function row(task) {
	const name = NAMES[task.type] || task.type;
	return h('li.panel.task', {}, h('div.head', {}, h('div', {}, h('h2', {}, name), h('p', {}, about(task), PHASES[task.phase] && h('span.quiet', {}, `, ${PHASES[task.phase]}`))), since(task.started_on)),
		progress(task, name));
}

// The list is drawn anew each second; whoever stands on one of its links stays there.
function redraw(list, all) {
	const at = list.contains(document.activeElement) && document.activeElement.getAttribute('href');
	fill(list, all.length ? h('ul.tasks.card', {}, all.map(row))
		: h('div.empty.card', { role: 'status' }, icon('pulse'), h('h2', {}, 'Nothing is running'),
			h('p', {}, 'Indexes that are built and databases that are compacted show up here while it lasts.')));
	if (at)
		[...list.querySelectorAll('a')].find((a) => a.getAttribute('href') === at)?.focus();
}

export async function tasks({ signal }) {
	const list = h('div');
	await new Promise((resolve, reject) => {
		follow(signal, (all) => {
			redraw(list, all);
			resolve();
		}).then(resolve, (e) => {
			fill(list, h('p.problem', { role: 'alert' }, e.message));
			reject(e);
		});
	});
	return h('div.page', {},
		crumbs(),
		h('header.head', {}, h('div', {}, h('h1', {}, 'Running tasks'), h('p.quiet', {}, 'What the server is busy with, besides answering'))), list);
}
