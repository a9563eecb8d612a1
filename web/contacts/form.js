/*
 * form.js: a contact to fill in.
 *
 * The contact may change elsewhere meanwhile.  What was there at the start, what the form says and what is there now
 * are merged when saving; only fields that both sides changed differently are asked about.
 */

import { dialog, field, fill, h, icon, tell } from '../lib/dom.js';
import { FIELDS, merge, newId, read, same } from './contact.js';
import { face, shrink } from './photo.js';

const LABELS = { phones: ['Mobile', 'Home', 'Work', 'Other'], emails: ['Home', 'Work', 'Other'] };
const TRIES = 3;

// Several values of a kind, each with a label; an empty row is ready for the next.
function several(kind, values, attributes, word) {
	const rows = h('div.several');
	const add = ({ label, value } = { label: LABELS[kind][0], value: '' }, focus = false) => {
		const labels = [...new Set([...LABELS[kind], label].filter(Boolean))];
		const select = h('select', { 'aria-label': 'What kind' }, labels.map((l) => h('option', { selected: l === label }, l)));
		const input = h('input', { ...attributes, value, 'aria-label': word });
		const row = h('div.one', {}, select, input, h('button.bare.square.warnable', { type: 'button', title: 'Remove', 'aria-label': `Remove this ${word.toLowerCase()}`, onclick: () => row.remove() }, icon('close')));
		row.read = () => ({ label: value && !label && select.value === labels[0] ? '' : select.value, value: input.value.trim() });
		rows.append(row);
		if (focus)
			input.focus();
	};
	values.forEach((v) => add(v));
	if (values.length === 0)
		add();
	return {
		element: h('fieldset', {}, h('legend', {}, FIELDS[kind]), rows,
			h('button.bare.more', { type: 'button', onclick: () => add(undefined, true) }, icon('add'), `Add ${word.toLowerCase()}`)),
		read: () => [...rows.children].map((row) => row.read()).filter((v) => v.value),
	};
}

function askAbout(clashes) {
	return dialog({
		title: 'Changed elsewhere, too',
		body: h('p', {}, `While you were editing, somebody else changed the same: ${clashes.map((name) => FIELDS[name].toLowerCase()).join(', ')}. Save yours over it?`),
		action: 'Save mine',
	});
}

// doc: the contact as it is now, or null for a new one.
export function form(doc, store) {
	const id = doc?._id ?? newId();
	const base = read(doc ?? {});
	const inputs = {
		name: h('input', { name: 'name', value: base.name, autocomplete: 'off', autofocus: true, required: true }),
		phones: several('phones', base.phones, { type: 'tel', autocomplete: 'off' }, 'Phone number'),
		emails: several('emails', base.emails, { type: 'email', autocomplete: 'off' }, 'Email address'),
		address: h('textarea', { name: 'address', rows: 3, value: base.address }),
		birthday: h('input', { name: 'birthday', type: base.birthday && !/^\d{4}-\d\d-\d\d$/.test(base.birthday) ? 'text' : 'date', value: base.birthday }),
		note: h('textarea', { name: 'note', rows: 4, value: base.note }),
	};
	const values = () => Object.fromEntries(Object.entries(inputs).map(([name, i]) => [name, i.read ? i.read() : i.value.trim()]));
	const start = values(); // what the inputs make of the contact, to notice edits by
	let photo; // undefined: as it is; null: none
	const picture = photoField(doc, id, store, (blob) => {
		photo = blob;
	});
	const problem = h('p.problem', { role: 'alert', hidden: true });
	const notice = h('p.notice', { hidden: true }, 'This contact has just changed elsewhere. Saving puts both edits together.');
	const button = h('button.primary', { type: 'submit' }, 'Save');
	const away = doc ? `#/c/${encodeURIComponent(id)}` : '#/';
	const element = h('form.contact.editing', { onsubmit: send, autocomplete: 'off' },
		h('div.tools', {}, h('a.button.bare', { href: away }, 'Cancel'), h('span.space'), button),
		h('h1', {}, doc ? 'Edit contact' : 'New contact'), problem, notice, picture, field('Name', inputs.name),
		inputs.phones.element, inputs.emails.element,
		field('Address', inputs.address), field('Birthday', inputs.birthday), field('Note', inputs.note));
	const self = { element, id, saved: false, dirty, changedElsewhere: () => (notice.hidden = false) };

	function dirty() {
		return !self.saved && (photo !== undefined || !same(values(), start));
	}

	async function save() {
		if (!doc) {
			await store.save({ _id: id, created: new Date().toISOString() }, values(), photo);
			return true;
		}
		for (let i = 0; ; i++) {
			const now = await store.fresh(id);
			const theirs = read(now);
			for (const name of Object.keys(FIELDS)) {
				if (same(theirs[name], base[name])) // inputs trim: that is nobody's edit
					theirs[name] = start[name];
			}
			const { fields, clashes } = merge(start, values(), theirs);
			if (clashes.length && !await askAbout(clashes))
				return false;
			try {
				await store.save(now, fields, photo);
				return true;
			} catch (e) {
				if (e.status !== 409 || i === TRIES)
					throw e;
			}
		}
	}

	async function send(event) {
		event.preventDefault();
		button.disabled = true;
		try {
			if (await save()) {
				self.saved = true;
				location.hash = `#/c/${encodeURIComponent(id)}`;
				tell('Saved.');
			}
		} catch (e) {
			problem.textContent = e.status === 404 ? 'This contact was deleted elsewhere, so it cannot be saved.' : `It could not be saved: ${e.message}`;
			problem.hidden = false;
		}
		button.disabled = false;
	}
	return self;
}

function photoField(doc, id, store, chosen) {
	const shown = h('div.photo');
	const file = h('input', { type: 'file', accept: 'image/*', hidden: true, onchange: pick });
	const remove = h('button.bare', { type: 'button', hidden: !doc?._attachments?.photo, onclick: () => show(null) }, 'Remove photo');
	const bare = { _id: id, name: doc ? read(doc).name : '+' };

	function show(blob) {
		chosen(blob);
		remove.hidden = !blob;
		if (blob) {
			const url = URL.createObjectURL(blob);
			fill(shown, h('span.face.large', {}, h('img', { src: url, alt: 'The new photo', onload: () => URL.revokeObjectURL(url) })));
		} else {
			fill(shown, face(bare, store, 'large'));
		}
	}
	async function pick() {
		try {
			if (file.files[0])
				show(await shrink(file.files[0]));
		} catch (e) {
			tell(e.message, 'bad');
		}
		file.value = '';
	}
	fill(shown, doc ? face(doc, store, 'large') : h('span.face.large.blank', {}, icon('person')));
	return h('div.photofield', {}, shown, file, h('button', { type: 'button', onclick: () => file.click() }, icon('camera'), 'Choose a photo'), remove);
}
