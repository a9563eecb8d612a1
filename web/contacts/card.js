// card.js: one contact to look at, and the choice between its versions where there are several.

import { confirmed, h, icon, tell } from '../lib/dom.js';
import { day } from '../lib/words.js';
import { differences, FIELDS, read, title } from './contact.js';
import { face } from './photo.js';

const lines = (text) => text.split('\n').flatMap((line, i) => (i ? [h('br'), line] : [line]));

function fact(picture, label, ...content) {
	return h('div.fact', {}, icon(picture), h('div', {}, h('dt', {}, label), h('dd', {}, content)));
}

const clean = (number) => number.replace(/[^\d+*#]/g, '');

function facts(c) {
	return [
		c.phones.map((p) => fact('phone', p.label || 'Phone', h('a', { href: `tel:${clean(p.value)}` }, p.value))),
		c.emails.map((m) => fact('mail', m.label || 'Email', h('a', { href: `mailto:${m.value}` }, m.value))),
		c.address && fact('home', 'Address', lines(c.address)),
		c.birthday && fact('gift', 'Birthday', day(c.birthday)),
		c.note && fact('note', 'Note', lines(c.note)),
	].flat().filter(Boolean);
}

export function card(doc, store) {
	const c = read(doc);
	const remove = async () => {
		if (!await confirmed(`Delete ${title(doc)}?`, 'The contact goes from every device that shares these contacts.', 'Delete'))
			return;
		await store.remove(await store.fresh(doc._id));
		tell(`${title(doc)} is deleted.`);
		location.hash = '#/';
	};
	const all = facts(c);
	return h('article.contact', {},
		h('nav.tools', { 'aria-label': 'This contact' }, h('a.button.bare.backlink', { href: '#/' }, icon('back'), 'Contacts'), h('span.space'),
			h('button.bare.warnable', { type: 'button', onclick: remove }, icon('trash'), 'Delete'),
			h('a.button', { href: `#/edit/${encodeURIComponent(doc._id)}` }, icon('edit'), 'Edit')),
		h('header', {}, face(doc, store, 'large'), h('h1', {}, title(doc))),
		doc._conflicts && conflict(doc, store),
		all.length ? h('dl.facts', {}, all) : h('p.quiet.bareness', {}, 'Only a name so far.'));
}

// Conflicts: both versions side by side; where they differ is marked.
function conflict(doc, store) {
	const box = h('section.conflict', { 'aria-label': 'Two versions' }, h('h2', {}, icon('warn'), 'Changed in two places at once'),
		h('p', {}, 'Both versions were kept. Which one is right?'));
	store.versions(doc).then((all) => {
		const names = differences(all);
		const keep = async (chosen) => {
			try {
				await store.choose(doc, chosen, all);
				tell('Settled.');
			} catch (e) {
				tell(e.status === 409 ? 'It has just changed again. Please look once more.' : e.message, 'bad');
			}
		};
		box.append(h('div.versions', {}, all.map((version, i) => h('div.version', {},
			h('div.quiet.hint', {}, i === 0 ? 'This version is shown now' : 'The other version'),
			h('dl', {}, names.length === 0 && h('p.quiet', {}, 'The two say the same.'), names.map((name) => [h('dt', {}, FIELDS[name] || 'Photo'), h('dd', {}, value(version, name, store))])),
			h('button', { type: 'button', onclick: () => keep(version) }, 'Keep this one')))));
	}, () => box.append(h('p.quiet', {}, 'The other version has not arrived in this browser yet.')));
	return box;
}

function value(doc, name, store) {
	if (name === 'photo') {
		const place = h('span', {}, 'none');
		if (doc._attachments?.photo)
			store.db.getAttachment(doc._id, 'photo', { rev: doc._rev }).then((blob) => {
				const url = URL.createObjectURL(blob);
				place.replaceChildren(h('img.small', { src: url, alt: 'Photo', onload: () => URL.revokeObjectURL(url) }));
			}, () => {});
		return place;
	}
	const v = read(doc)[name];
	return Array.isArray(v) ? v.map((item) => item.value).join(', ') || '–' : v || '–';
}
