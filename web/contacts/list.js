// list.js: the contacts by name, with a search.  Rows are made as they scroll near, and kept while their contact stays.

import { fill, h, icon } from '../lib/dom.js';
import { count, plain } from '../lib/words.js';
import { haystack, read, title } from './contact.js';
import { face } from './photo.js';

const BATCH = 120;
const collator = new Intl.Collator(undefined, { sensitivity: 'base', numeric: true });

const letter = (name) => {
	const first = [...name.normalize('NFD')][0]?.toUpperCase() || '#';
	return /\p{L}/u.test(first) ? first : '#';
};

export class List {
	constructor(store) {
		this.store = store;
		this.rows = new Map(); // id -> { doc, name, words, element }
		this.shown = BATCH;
		this.current = '';
		this.waiting = true;
		this.search = h('input', { type: 'search', placeholder: 'Search', 'aria-label': 'Search the contacts', oninput: () => this.typed() });
		this.head = h('h1', {}, 'Contacts');
		this.total = h('p.quiet.number');
		this.body = h('div.people', { role: 'list', 'aria-label': 'Contacts' });
		this.foot = h('div.foot');
		this.element = h('section.list', { 'aria-label': 'List of contacts' },
			h('header', {}, h('div.listhead', {}, h('div', {}, this.head, this.total),
				h('a.button.primary', { href: '#/new', 'aria-label': 'New contact' }, icon('add'), 'New')),
			h('label.search', {}, icon('search'), this.search)),
			this.body, this.foot);
		new IntersectionObserver(([entry]) => {
			if (entry.isIntersecting && this.shown < this.found.length) {
				this.shown += BATCH;
				this.draw();
			}
		}, { rootMargin: '600px' }).observe(this.foot);
		this.found = [];
		this.update();
	}

	typed() {
		this.shown = BATCH;
		this.update();
	}

	row(doc) {
		const old = this.rows.get(doc._id);
		if (old?.doc === doc)
			return old;
		const row = { doc, name: title(doc), words: haystack(doc), element: null };
		this.rows.set(doc._id, row);
		return row;
	}

	elementOf(row) {
		if (row.element)
			return row.element;
		const { doc } = row;
		const c = read(doc);
		const second = c.phones[0]?.value || c.emails[0]?.value || c.address.split('\n')[0];
		row.element = h('a.person', { href: `#/c/${encodeURIComponent(doc._id)}`, 'data-id': doc._id }, face(doc, this.store),
			h('span.lines', {}, h('b', {}, row.name), h('span.quiet', {}, second || '\u00a0')),
			doc._conflicts && h('span.flag', { title: 'There are two versions', role: 'img', 'aria-label': 'There are two versions' }, icon('warn')));
		return row.element;
	}

	// The contacts changed, or what is searched for.  ids: those to show as just changed.
	update(ids = []) {
		for (const id of this.rows.keys()) {
			if (!this.store.docs.has(id))
				this.rows.delete(id);
		}
		const words = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
		this.found = [...this.store.docs.values()].map((doc) => this.row(doc))
			.filter((row) => words.every((word) => row.words.includes(word)))
			.sort((a, b) => collator.compare(a.name, b.name) || (a.doc._id < b.doc._id ? -1 : 1));
		this.draw();
		if (ids.length <= 3) {
			for (const id of ids)
				this.rows.get(id)?.element?.classList.add('fresh');
		}
	}

	draw() {
		const all = this.store.docs.size;
		this.total.textContent = all === 0 ? '\u00a0' : this.found.length < all ? `${plain(this.found.length)} of ${count(all, 'person', 'people')}` : count(all, 'person', 'people');
		const focused = document.activeElement?.dataset?.id;
		let group = '';
		const children = [];
		for (const row of this.found.slice(0, this.shown)) {
			const first = letter(row.name);
			if (first !== group)
				children.push(h('div.letter', { 'aria-hidden': 'true' }, first));
			group = first;
			children.push(h('div', { role: 'listitem' }, this.elementOf(row)));
		}
		fill(this.body, children, this.found.length === 0 && this.nothing(all));
		this.mark(this.current);
		if (focused)
			this.rows.get(focused)?.element?.focus({ preventScroll: true });
	}

	nothing(all) {
		if (all > 0)
			return h('div.empty', {}, icon('search'), h('p', {}, 'Nobody like that here.'));
		if (this.waiting)
			return h('div.empty', {}, icon('people'), h('p', {}, 'Fetching your contacts…'));
		return h('div.empty', {}, icon('people'), h('h2', {}, 'No contacts yet'), h('p', {}, 'Those you add appear in every window that is signed in, at once.'),
			h('a.button', { href: '#/new' }, icon('add'), 'Add the first'));
	}

	// Contacts are on their way: an empty list is not the last word.
	wait(on) {
		if (on === this.waiting)
			return;
		this.waiting = on;
		if (this.store.docs.size === 0)
			this.draw();
	}

	mark(id) {
		this.current = id;
		for (const { doc, element } of this.rows.values()) {
			if (doc._id === id)
				element?.setAttribute('aria-current', 'true');
			else
				element?.removeAttribute('aria-current');
		}
	}
}
