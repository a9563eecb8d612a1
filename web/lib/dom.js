// dom.js: elements, icons, dialogs and short messages.  Text only ever enters the page as text nodes.

const SVG = 'http://www.w3.org/2000/svg';

// Outline icons on a 24 by 24 grid.
const ICONS = {
	add: 'M12 5v14M5 12h14',
	back: 'M15 5l-7 7 7 7',
	next: 'M9 5l7 7-7 7',
	search: 'M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM16 16l4.5 4.5',
	trash: 'M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13M10 11v5M14 11v5',
	edit: 'M4 20h4L19 9l-4-4L4 16zM13 7l4 4',
	close: 'M6 6l12 12M18 6L6 18',
	phone: 'M6 3h3l2 5-2.5 1.5a11 11 0 0 0 6 6L16 13l5 2v3a3 3 0 0 1-3 3A15 15 0 0 1 3 6a3 3 0 0 1 3-3z',
	mail: 'M3 6h18v12H3zM3 7l9 6 9-6',
	home: 'M4 11l8-7 8 7v9h-5v-6H9v6H4z',
	gift: 'M4 11h16v9H4zM3 7h18v4H3zM12 7v13M12 7c-4 0-5-4-2.5-4S12 7 12 7zM12 7c4 0 5-4 2.5-4S12 7 12 7z',
	note: 'M6 3h9l4 4v14H6zM9 11h7M9 15h7',
	person: 'M12 4a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM4 21c0-4 3.5-6 8-6s8 2 8 6',
	people: 'M9 5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7zM2.5 20c0-3.5 2.5-5 6.5-5s6.5 1.5 6.5 5M16 5.5a3 3 0 0 1 0 6M18 15c2.5.5 3.5 2 3.5 5',
	stack: 'M4 6c0-4 16-4 16 0s-16 4-16 0zM4 6v12c0 4 16 4 16 0V6M4 12c0 4 16 4 16 0',
	file: 'M6 3h8l4 4v14H6zM14 3v4h4',
	clip: 'M20 11l-8.5 8.5a5 5 0 0 1-7-7L13 4a3.3 3.3 0 0 1 5 5l-8.5 8.5a1.7 1.7 0 0 1-2.5-2.5L15 7',
	camera: 'M4 8h4l2-3h4l2 3h4v11H4zM12 10a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7z',
	warn: 'M12 4L2.5 20h19zM12 10v5M12 17.5v.5',
	out: 'M10 4H5v16h5M14 8l4 4-4 4M18 12H9',
	down: 'M12 4v11M7 11l5 5 5-5M5 20h14',
	play: 'M8 5l11 7-11 7z',
	table: 'M3 5h18v14H3zM3 10h18M9 10v9',
	code: 'M8 7l-5 5 5 5M16 7l5 5-5 5',
	copy: 'M8 8h12v12H8zM16 8V4H4v12h4',
	funnel: 'M4 5h16l-6 8v6l-4-2v-4z',
	shield: 'M12 3l8 3v6c0 5-3.5 8-8 9-4.5-1-8-4-8-9V6z',
	route: 'M6 4a2 2 0 1 0 0 4 2 2 0 0 0 0-4zM18 16a2 2 0 1 0 0 4 2 2 0 0 0 0-4zM6 8v5a5 5 0 0 0 5 5h5M8 6h10v6',
	pulse: 'M3 12h4l3-7 4 14 3-7h4',
};

export function icon(name) {
	const svg = document.createElementNS(SVG, 'svg');
	svg.setAttribute('viewBox', '0 0 24 24');
	svg.setAttribute('class', 'icon');
	svg.setAttribute('aria-hidden', 'true');
	const path = document.createElementNS(SVG, 'path');
	path.setAttribute('d', ICONS[name]);
	svg.append(path);
	return svg;
}

// h('button.primary', { type: 'submit', onclick }, 'Save'): an element.  False, null and undefined are left out.
export function h(what, attributes, ...children) {
	const [tag, ...classes] = what.split('.');
	const e = document.createElement(tag || 'div');
	if (classes.length)
		e.className = classes.join(' ');
	for (const [name, value] of Object.entries(attributes || {})) {
		if (value === false || value === null || value === undefined)
			continue;
		if (name.startsWith('on'))
			e.addEventListener(name.slice(2), value);
		else if (name === 'value')
			e.value = value;
		else
			e.setAttribute(name, value === true ? '' : value);
	}
	append(e, children);
	return e;
}

function append(e, children) {
	for (const child of children.flat(Infinity)) {
		if (child !== false && child !== null && child !== undefined)
			e.append(child);
	}
}

export function fill(e, ...children) {
	e.replaceChildren();
	append(e, children);
	return e;
}

export const $ = (selector) => document.querySelector(selector);

// A message at the foot of the window, gone after a while; screen readers say it.
export function tell(text, kind = '') {
	const place = $('#messages');
	const message = h(`div.message.${kind || 'plain'}`, {}, text);
	place.replaceChildren(message);
	setTimeout(() => message.remove(), kind === 'bad' ? 8000 : 4000);
}

/*
 * A modal dialog around a form.  submit(form) may throw: its words are then shown and the dialog stays.
 * Resolves with what submit returned, or with undefined if the person thought better of it.
 */
export function dialog({ title, body, action = 'OK', danger = false, submit = () => true }) {
	return new Promise((resolve) => {
		const problem = h('p.problem', { role: 'alert', hidden: true });
		const go = h(`button.${danger ? 'danger' : 'primary'}`, { type: 'submit' }, action);
		const cancel = h('button', { type: 'button', onclick: () => box.close() }, 'Cancel');
		const form = h('form', { onsubmit: send, method: 'dialog' },
			h('h2', { id: 'dialog-title' }, title), body, problem, h('div.actions', {}, cancel, go));
		const box = h('dialog', { 'aria-labelledby': 'dialog-title' }, form);
		let answer;

		async function send(event) {
			event.preventDefault();
			go.disabled = true;
			try {
				answer = await submit(form);
				box.close();
			} catch (e) {
				problem.textContent = e.message;
				problem.hidden = false;
			}
			go.disabled = false;
		}
		box.addEventListener('close', () => {
			box.remove();
			resolve(answer);
		});
		document.body.append(box);
		box.showModal();
	});
}

export const confirmed = (title, text, action) =>
	dialog({ title, body: h('p', {}, text), action, danger: true });

export function field(label, input, hint) {
	return h('label.field', {}, h('span.label', {}, label), input, hint && h('span.hint', {}, hint));
}
