/*
 * live.js: a query that stays open: what it finds, and each change of that as it happens.
 *
 * The events are those of _find?feed=continuous.  Applied in their order they give what the query finds at each moment; a connection
 * that breaks is made anew, from the beginning, and what is shown stays until the new one has told all.
 */

import { fill, h } from '../lib/dom.js';
import { path, request } from '../lib/server.js';
import { count } from '../lib/words.js';
import { columns, results } from './answers.js';
import { cut, found } from './found.js';
import { compact, member, parse, words } from './json.js';

const DRAW_MS = 100; // many changes at once are one drawing
const AGAIN_MS = [1000, 2000, 5000, 10000];
const HEARTBEAT_MS = 30000;

async function* lines(stream) {
	let rest = '';
	for (const reader = stream.pipeThrough(new TextDecoderStream()).getReader(); ;) {
		const { value, done } = await reader.read();
		if (done)
			return;
		const all = (rest + value).split('\n');
		rest = all.pop();
		yield* all.filter((line) => line.trim());
	}
}

const sleep = (ms, signal) => new Promise((resolve) => {
	setTimeout(resolve, ms);
	signal.addEventListener('abort', resolve, { once: true });
});

// The list, drawn anew where something has changed; whoever stands on one of its links stays there.
function redraw(list, content) {
	const at = list.contains(document.activeElement) && document.activeElement.getAttribute('href');
	fill(list, content);
	if (at)
		[...list.querySelectorAll('a')].find((a) => a.getAttribute('href') === at)?.focus();
}

// One connection, until it ends; draw(docs, fresh) is called with what is known.  A refusal by the server is thrown.
async function listen(view, tree, draw, connected) {
	const { db, signal } = view;
	const now = results();
	const answer = await request('POST', `${path(db)}/_find?feed=continuous&heartbeat=${HEARTBEAT_MS}`, compact(tree), {}, signal);
	let fresh = new Set();
	let ready = false;
	let timer = null;
	let docs;
	const show = () => {
		docs = now.docs();
		timer ??= setTimeout(() => {
			draw(docs, fresh);
			fresh = new Set();
			timer = null;
		}, DRAW_MS);
	};
	try {
		for await (const line of lines(answer.body)) {
			const event = parse(line);
			const doc = now.apply(event);
			const what = words(member(event, 'event'));
			if (what === 'end' && member(event, 'error') !== undefined)
				throw new Error(words(member(event, 'reason')) ?? words(member(event, 'error')));
			if (ready && doc !== undefined)
				fresh.add(doc);
			if (what === 'ready')
				connected();
			ready ||= what === 'ready';
			// In between the result is on its way from one state to the next.
			if (what === 'ready' || what === 'progress')
				show();
		}
	} catch (e) {
		// The connection broke, or the server ended the query and says why.
		if (!signal.aborted && e.name === 'Error')
			throw e;
	} finally {
		clearTimeout(timer);
	}
}

// Fills ${place} until the page is left; rejects with what the server refuses.
export async function follow(view, tree, place) {
	const { db, signal } = view;
	const state = h('span.number', { role: 'status' }, 'Waiting for the server');
	const list = h('div.stack');
	const fields = columns(tree);
	let tries = 0;
	const draw = (docs, fresh) => {
		const text = `Live: ${count(docs.length, 'document')}`;
		if (state.textContent !== text)
			state.textContent = text;
		redraw(list, [cut(docs), docs.length > 0 && found(db, docs, fields, fresh)]);
	};
	fill(place, h('p.caption.quiet.hint', {}, state), list);
	while (!signal.aborted) {
		try {
			await listen(view, tree, draw, () => {
				tries = 0;
			});
		} catch (e) {
			if (e.status !== 0)
				throw e;
		}
		if (signal.aborted)
			return;
		state.textContent = 'The connection is lost; it is tried again';
		await sleep(AGAIN_MS[Math.min(tries++, AGAIN_MS.length - 1)], signal);
	}
}
