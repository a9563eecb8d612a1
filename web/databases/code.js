// code.js: text areas for code: the keys they know, and line numbers.

import { fill, h } from '../lib/dom.js';

// As if typed, so that it can be undone.
function type(area, text) {
	if (!document.execCommand('insertText', false, text))
		area.setRangeText(text, area.selectionStart, area.selectionEnd, 'end');
}

// Tab indents; Escape first gives Tab back to those who move by keyboard.  A new line begins below the one before.
export function keys(area, submit) {
	let indents = true;
	area.addEventListener('focus', () => {
		indents = true;
	});
	area.addEventListener('keydown', (e) => {
		if (e.key === 'Escape') {
			indents = false;
		} else if (e.key === 'Tab' && indents && !e.shiftKey) {
			e.preventDefault();
			type(area, '  ');
		} else if (e.key === 'Enter' && (e.ctrlKey || e.metaKey)) {
			submit();
		} else if (e.key === 'Enter' && !e.isComposing) {
			const line = area.value.slice(0, area.selectionStart).split('\n').at(-1);
			e.preventDefault();
			type(area, `\n${/^[ \t]*/.exec(line)[0]}`);
		}
	});
}

// Whoever closes the window over what was typed is asked; the signal says that the page is left, by saving for instance.
export function guard(form, signal) {
	form.addEventListener('input', () => addEventListener('beforeunload', (e) => e.preventDefault(), { signal }), { once: true });
}

// { box, area, blame(text) }: a function's text with line numbers, as high as it is long, and what is wrong with it below.
export function codeArea(label, id, value, submit) {
	const lines = h('span.lines', { 'aria-hidden': 'true' });
	const problem = h('p.problem', { id: `${id}-problem`, role: 'alert', hidden: true });
	const area = h('textarea', { id, spellcheck: 'false', autocapitalize: 'none', autocomplete: 'off', wrap: 'off', 'aria-describedby': `${id}-problem keys`, value });
	const number = () => {
		const n = area.value.split('\n').length;
		area.rows = Math.max(n, 4) + 1;
		lines.textContent = Array.from({ length: n }, (_, i) => i + 1).join('\n');
	};
	const blame = (text) => {
		fill(problem, text);
		problem.hidden = !text;
		if (text)
			area.setAttribute('aria-invalid', 'true');
		else
			area.removeAttribute('aria-invalid');
	};
	area.addEventListener('input', number);
	keys(area, submit);
	number();
	return { area, blame, box: h('div.field', {}, h('label.label', { for: id }, label), h('div.code.mono', {}, lines, area), problem) };
}

// What keeps a text from being JSON, in words, with the place where JSON.parse stopped; undefined if nothing does.
export function complaint(text) {
	try {
		JSON.parse(text);
	} catch (error) {
		const at = /position (\d+)/.exec(error.message);
		if (!at)
			return text.trim() ? 'The text ends too early: a bracket or quotation mark is missing.' : 'There is no text.';
		const before = text.slice(0, +at[1]).split('\n');
		return `This is not JSON: look at line ${before.length}, column ${before.at(-1).length + 1}.`;
	}
}
