// answers.js: what the server says to a query, as trees of JSON.  Knows neither elements nor requests.

import { compact, member, parse, words } from './json.js';

// { docs, bookmark, warning, stats } of an answer; docs are trees.
export function answer(text) {
	const tree = parse(text);
	const stats = member(tree, 'execution_stats');
	return { docs: (member(tree, 'docs')?.items ?? []).map(({ value }) => value), bookmark: words(member(tree, 'bookmark')), warning: words(member(tree, 'warning')), stats: stats && JSON.parse(compact(stats)) };
}

// The value at a path of a field, "a.b\\.c".
export function valueAt(node, field) {
	for (const part of field.match(/(?:\\.|[^.\\])+/gs) ?? []) {
		const name = part.replace(/\\\./g, '.');
		node = node?.open === '[' ? node.items[name]?.value : member(node, name);
	}
	return node;
}

// The paths of the fields that are asked for, the id first; none where whole documents are, or too many.
export function columns(tree) {
	const all = (member(tree, 'fields')?.items ?? []).map(({ value }) => words(value)).filter((f) => f !== undefined);
	const rest = all.filter((f) => f !== '_id');
	return all.length > rest.length ? ['_id', ...rest] : rest;
}

// What is found as the events tell it: { id, doc } in order, docs as trees.
export function results() {
	let list = [];
	let ordered = false; // the events name places; else the order is the ids'
	return {
		docs: () => (ordered ? list : [...list].sort((a, b) => (a.id < b.id ? -1 : 1))).map(({ doc }) => doc),
		// The document that came or changed; undefined where the event brought none.
		apply(event) {
			const id = words(member(event, 'id'));
			const doc = member(event, 'doc');
			const was = list.findIndex((m) => m.id === id);
			switch (words(member(event, 'event'))) {
			case 'reset':
				list = [];
				break;
			case 'left':
				list = list.filter((m) => m.id !== id);
				break;
			case 'entered':
			case 'changed':
				if (was >= 0)
					list.splice(was, 1);
				ordered = member(event, 'at') !== undefined;
				list.splice(ordered ? Number(member(event, 'at')) : list.length, 0, { id, doc });
				return doc;
			}
			return undefined;
		},
	};
}
