// shell.js: the bar at the top of both pages.

import { $, fill, h, icon } from './dom.js';
import { ROOT } from './server.js';

const PAGES = [
	['databases', 'Databases', 'stack', '_utils/'],
	['contacts', 'Contacts', 'people', '_utils/contacts/index.html'],
];

// who is { name } or null; out() ends the session.
export function bar(place, current, who, out, middle) {
	// The address after # belongs to the views, so the link to the content must not change it.
	$('.skip').onclick = (event) => {
		event.preventDefault();
		$('#main').focus();
	};
	fill(place,
		h('a.brand', { href: `${ROOT}_utils/`, 'aria-label': 'Divan, to the databases' },
			h('img', { src: `${ROOT}_utils/couch.svg`, alt: '', width: 32, height: 32 }), h('span', {}, 'Divan')),
		h('nav', { 'aria-label': 'Pages', class: 'tabs' }, PAGES.map(([id, label, picture, to]) =>
			h('a.tab', { href: ROOT + to, 'aria-current': id === current && 'page' }, icon(picture), label))),
		h('span.space'),
		middle,
		who?.name && h('div.who', {}, h('b', { title: `Signed in as ${who.name}` }, who.name),
			h('button.bare.out', { type: 'button', onclick: out, 'aria-label': 'Sign out', title: 'Sign out' }, icon('out'), h('span', {}, 'Sign out'))));
}
