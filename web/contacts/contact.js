/*
 * contact.js: what a contact is, and how two edits of one become one.  Pure; no page, no database.
 *
 * { _id, type: 'contact', name, phones: [{ label, value }], emails: [{ label, value }], address, birthday, note,
 *   _attachments: { photo } }
 */

export const FIELDS = {
	name: 'Name', phones: 'Phone', emails: 'Email', address: 'Address', birthday: 'Birthday', note: 'Note',
};

// Sixteen random bytes; crypto.randomUUID is missing from pages that came without TLS.
export function newId() {
	const bytes = crypto.getRandomValues(new Uint8Array(16));
	return `contact-${[...bytes].map((b) => b.toString(16).padStart(2, '0')).join('')}`;
}

const list = (value) => (Array.isArray(value) ? value : value ? [value] : [])
	.map((item) => (typeof item === 'object' && item !== null ? { label: String(item.label ?? ''), value: String(item.value ?? '') } : { label: '', value: String(item) }))
	.filter((item) => item.value);

const text = (value) => (typeof value === 'string' ? value : value === undefined || value === null ? '' : Object.values(value).join('\n'));

// The fields of a document, whoever wrote it: one phone as a text is understood as well.
export function read(doc) {
	const joined = [doc.first ?? doc.firstName, doc.last ?? doc.lastName].filter(Boolean).join(' ');
	return {
		name: text(doc.name) || joined, phones: list(doc.phones ?? doc.phone), emails: list(doc.emails ?? doc.email),
		address: text(doc.address), birthday: text(doc.birthday), note: text(doc.note ?? doc.notes),
	};
}

export const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

const stamp = (doc) => doc._attachments?.photo?.digest;

/*
 * Three-way: what only one side changed is taken from that side.  Result: { fields, clashes }, clashes naming the
 * fields both changed differently; those have mine.
 */
export function merge(base, mine, theirs) {
	const fields = {};
	const clashes = [];
	for (const name of Object.keys(FIELDS)) {
		const changed = !same(base[name], mine[name]);
		fields[name] = changed ? mine[name] : theirs[name];
		if (changed && !same(base[name], theirs[name]) && !same(mine[name], theirs[name]))
			clashes.push(name);
	}
	return { fields, clashes };
}

// The names of the fields in which documents differ.
export function differences(docs) {
	const all = docs.map(read);
	const names = Object.keys(FIELDS).filter((name) => all.some((one) => !same(one[name], all[0][name])));
	if (docs.some((doc) => stamp(doc) !== stamp(docs[0])))
		names.push('photo');
	return names;
}

export const title = (doc) => read(doc).name || read(doc).emails[0]?.value || read(doc).phones[0]?.value || 'No name';

export function initials(name) {
	const words = name.split(/\s+/).filter((w) => /[\p{L}\p{N}]/u.test(w));
	const first = (w) => [...(w || '').replace(/^[^\p{L}\p{N}]+/u, '')][0] || '';
	return (first(words[0]) + (words.length > 1 ? first(words.at(-1)) : '')).toUpperCase() || '?';
}

// One of twelve colours, always the same for a document.
export function hue(id) {
	let sum = 0;
	for (const c of id)
		sum = (sum * 31 + c.charCodeAt(0)) >>> 0;
	return sum % 12;
}

// The words a search looks through.
export function haystack(doc) {
	const c = read(doc);
	return [c.name, ...c.phones.map((p) => `${p.value} ${p.value.replace(/\D/g, '')}`), ...c.emails.map((e) => e.value), c.address, c.note].join('\n').toLowerCase();
}
