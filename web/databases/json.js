/*
 * json.js: JSON text laid out and coloured.
 *
 * The text is never turned into JavaScript values: numbers would lose digits and members their order.  It is cut into
 * tokens, made into a small tree, and written again.
 */

import { h } from '../lib/dom.js';

const TOKEN = /\s*([{}[\],:]|"(?:[^"\\]|\\.)*"|[^\s{}[\],:"]+)/y;
const SHORT = 72; // a list of plain values that fits this many columns stays on its line

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

// The tree without some top-level members, which the server added because it was asked to.
export function without(node, names) {
	return { ...node, items: node.items.filter((item) => !names.includes(JSON.parse(item.key))) };
}

function kind(token) {
	if (token[0] === '"')
		return 'string';
	return /^[-\d]/.test(token) ? 'number' : 'word';
}

const flat = (node) => node.items.every(({ value }) => typeof value === 'string');
const width = (node) => node.items.reduce((n, { value }) => n + value.length + 2, 0);

// Calls put(text, kind) for each piece, in order.
function walk(node, indent, put) {
	if (typeof node === 'string') {
		put(node, kind(node));
		return;
	}
	const close = node.open === '{' ? '}' : ']';
	const inline = node.items.length === 0 || (node.open === '[' && flat(node) && width(node) <= SHORT);
	put(node.open);
	node.items.forEach(({ key, value }, i) => {
		put(inline ? (i ? ' ' : '') : `\n${indent}  `);
		if (key !== undefined) {
			put(key, 'key');
			put(': ');
		}
		walk(value, `${indent}  `, put);
		if (i < node.items.length - 1)
			put(',');
	});
	put(inline ? close : `\n${indent}${close}`);
}

export function pretty(node) {
	let out = '';
	walk(node, '', (text) => {
		out += text;
	});
	return out;
}

export function coloured(node) {
	const pre = h('pre.json', { tabindex: 0, 'aria-label': 'The document as JSON' });
	walk(node, '', (text, what) => pre.append(what ? h(`span.${what}`, {}, text) : text));
	return pre;
}
