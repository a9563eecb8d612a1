/*
 * json.js: JSON text laid out and coloured.
 *
 * The text is never turned into JavaScript values: numbers would lose digits and members their order.  It is cut into
 * tokens, made into a small tree, and written again.
 */

import { h } from '../lib/dom.js';

const TOKEN = /\s*([{}[\],:]|"(?:[^"\\]|\\.)*"|[^\s{}[\],:"]+)/y;
const SHORT = 72; // a list of plain values that fits this many columns stays on its line
const DENSE = 110; // so does anything in a table

// { open, items } with items of { key?, value }; a plain value is its text.
export function parse(text) {
	let at = 0;
	const next = () => {
		TOKEN.lastIndex = at;
		const m = TOKEN.exec(text);
		if (!m)
			throw new Error('This is not JSON.');
		at = TOKEN.lastIndex;
		return m[1];
	};
	function value(token) {
		if (token !== '{' && token !== '[')
			return token;
		const node = { open: token, items: [] };
		const close = token === '{' ? '}' : ']';
		for (let t = next(); t !== close; t = next()) {
			if (t === ',')
				continue;
			const item = {};
			if (close === '}') {
				item.key = t;
				next();
				t = next();
			}
			item.value = value(t);
			node.items.push(item);
		}
		return node;
	}
	return value(next());
}

const named = (name) => (item) => JSON.parse(item.key) === name;

// The tree without some top-level members, which the server added because it was asked to.
export function without(node, names) {
	return { ...node, items: node.items.filter((item) => !names.includes(JSON.parse(item.key))) };
}

// A member of an object; undefined if there is none, or this is no object.
export function member(node, name) {
	return node?.open === '{' ? node.items.findLast(named(name))?.value : undefined;
}

// [name, value] of each member of an object; nothing of what is none.
export function members(node) {
	return node?.open === '{' ? node.items.map(({ key, value }) => [JSON.parse(key), value]) : [];
}

// The tree with a member set: in the place of `old` if there is such a one, else at the end.
export function withMember(node, name, value, old = name) {
	const items = [...node.items];
	const at = items.findLastIndex(named(old));
	items[at < 0 ? items.length : at] = { key: JSON.stringify(name), value };
	return { ...node, items };
}

// The words of a string; undefined of what is none.
export const words = (node) => (typeof node === 'string' && node[0] === '"' ? JSON.parse(node) : undefined);

function kind(token) {
	if (token[0] === '"')
		return 'string';
	return /^[-\d]/.test(token) ? 'number' : 'word';
}

const flat = (node) => node.items.every(({ value }) => typeof value === 'string');
const width = (node) => (typeof node === 'string' ? node.length : node.items.reduce((n, { key, value }) => n + (key ? key.length + 2 : 0) + width(value) + 2, 2));

/*
 * Calls put(text, kind) for each piece, in order, until that returns false.  Short lists of plain values stay on their line;
 * where `dense`, so does everything that is short.
 */
function walk(node, indent, put, dense) {
	if (typeof node === 'string')
		return put(node, kind(node));
	const close = node.open === '{' ? '}' : ']';
	const inline = node.items.length === 0 || (dense ? width(node) <= DENSE : node.open === '[' && flat(node) && width(node) <= SHORT);
	let on = put(node.open);
	for (let i = 0; i < node.items.length && on !== false; i++) {
		const { key, value } = node.items[i];
		put(inline ? (i ? ' ' : '') : `\n${indent}  `);
		if (key !== undefined) {
			put(key, 'key');
			put(': ');
		}
		on = walk(value, `${indent}  `, put, dense);
		if (i < node.items.length - 1)
			put(',');
	}
	return on === false ? on : put(inline ? close : `\n${indent}${close}`);
}

export function pretty(node) {
	let out = '';
	walk(node, '', (text) => {
		out += text;
	});
	return out;
}

// Without any space.
export function compact(node) {
	if (typeof node === 'string')
		return node;
	const inner = node.items.map(({ key, value }) => (key === undefined ? '' : `${key}:`) + compact(value)).join(',');
	return node.open === '{' ? `{${inner}}` : `[${inner}]`;
}

export function coloured(node, label = 'The document as JSON') {
	const pre = h('pre.json', { tabindex: 0, 'aria-label': label });
	walk(node, '', (text, what) => {
		pre.append(what ? h(`span.${what}`, {}, text) : text);
	});
	return pre;
}

const CELL = 2000; // characters of a value that a table shows

// For a cell of a table: in few lines, and cut where it is long.
export function brief(node) {
	const out = h('code.json');
	let left = CELL;
	walk(node, '', (text, what) => {
		if (left <= 0)
			return false;
		const part = text.length > left ? text.slice(0, left) : text;
		left -= text.length;
		out.append(what ? h(`span.${what}`, {}, part) : part);
		if (left <= 0)
			out.append('…');
		return left > 0;
	}, true);
	return out;
}
