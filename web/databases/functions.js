/*
 * functions.js: a function of a design document, to change and save: a view's map and reduce, a filter, an update, a validation.
 * The rest of the design document is sent back as the server gave it, text for text.
 */

import { field, fill, h, tell } from '../lib/dom.js';
import { Refusal } from '../lib/server.js';
import { codeArea, guard } from './code.js';
import { emptyObject, KINDS, readDesign, readDesigns, VALIDATE, writeDesign } from './design.js';
import { member, withMember, words } from './json.js';
import { go, link, refresh } from './links.js';
import { crumbs } from './parts.js';

const REDUCES = ['_count', '_sum', '_stats', '_approx_count_distinct', '_first', '_last', '_top_10', '_bottom_10'];
const OWN = 'function (keys, values, rereduce) {\n  return sum(values);\n}';

// The design document as it is now, or a new one.
async function readOrNew(db, id) {
	try {
		return await readDesign(db, id);
	} catch (e) {
		if (e.status !== 404)
			throw e;
		return withMember(emptyObject, 'language', '"javascript"');
	}
}

// The error's words for the function it is about, { map, reduce, other }: the server quotes the function, which is there to see.
function blame(error, name, sources) {
	const m = error.error === 'compilation_error' && /^Compilation of the (map|reduce) function in the '(.*?)' view failed: (.*)$/s.exec(error.message);
	if (!m || m[2] !== name)
		return { other: error.message };
	const quoted = ` (${sources[m[1]]})`;
	return { [m[1]]: m[3].endsWith(quoted) ? m[3].slice(0, -quoted.length) : m[3] };
}

// The choice of a reduction; text() is undefined for none.
function reduceFields(now, submit) {
	const builtin = now?.[0] === '_';
	const known = builtin && !REDUCES.includes(now) ? [...REDUCES, now] : REDUCES;
	const option = (value, label, selected) => h('option', { value, selected }, label);
	const choice = h('select', { onchange: () => show() }, option('', 'None', !now), known.map((n) => option(n, n, n === now)), option('own', 'Own JavaScript', now && !builtin));
	const code = codeArea('Reduce in JavaScript', 'code-reduce', now && !builtin ? now : OWN, submit);
	const show = () => {
		code.box.hidden = choice.value !== 'own';
	};
	show();
	return {
		boxes: [field('Reduce', choice, 'Sums up the values of many rows. Those that begin with _ are built in and fast.'), code.box],
		text: () => (choice.value === 'own' ? code.area.value : choice.value || undefined),
		blame: (text) => (choice.value === 'own' ? code.blame(text) : text),
	};
}

// The design document with this function in it.  A view keeps what else it has.
function changed(tree, { kind, name, old, text, reduce }) {
	if (kind === VALIDATE)
		return withMember(tree, VALIDATE, JSON.stringify(text));
	const all = member(tree, kind) ?? emptyObject;
	let value = JSON.stringify(text);
	if (kind === 'views') {
		value = withMember(member(all, old ?? name) ?? emptyObject, 'map', value);
		value.items = value.items.filter(({ key }) => key !== '"reduce"');
		if (reduce !== undefined)
			value = withMember(value, 'reduce', JSON.stringify(reduce));
	}
	return withMember(tree, kind, withMember(all, name, value, old));
}

const clash = (name) => new Error(`There is something called “${name}” in this design document already.`);

// Put the function in its design document: `opened`, or, if the function is new, what is there now.
async function store(db, id, opened, fun) {
	const { kind, name, old } = fun;
	const tree = opened ?? await readOrNew(db, id);
	if (kind !== VALIDATE && name !== old && member(member(tree, kind), name) !== undefined)
		throw clash(name);
	if (kind === VALIDATE && !opened && member(tree, VALIDATE) !== undefined)
		throw clash('Validation');
	try {
		await writeDesign(db, id, changed(tree, fun));
	} catch (e) {
		throw Object.assign(e, { blame: blame(e, name, { map: fun.text, reduce: fun.reduce }) });
	}
}

const stale = (opened) => (opened ? ['Somebody else saved this design document after you opened it, so yours was not saved. Copy what you need, then ',
	h('button.link', { type: 'button', onclick: refresh }, 'look at theirs'), '.']
	: 'Somebody else changed this design document just now. Save once more to add your function to theirs.');

/*
 * The form: of a function that is there, with `opened`, the design document as it was when the page was opened; or, with fields for
 * where it belongs, of a new one.
 */
async function form({ db, id, kind, name, opened, query, signal }) {
	const existing = kind !== VALIDATE && opened ? member(member(opened, kind), name) : opened && member(opened, VALIDATE);
	const lines = { autocapitalize: 'none', autocomplete: 'off', spellcheck: 'false', required: true };
	const design = h('input', { ...lines, list: 'designs', value: query.get('in') ?? '', pattern: '[^_].*' });
	const kindOf = h('select', { onchange: choose }, Object.entries(KINDS).filter(([, k]) => !k.old).map(([k, { name: label }]) => h('option', { value: k, selected: k === query.get('kind') }, label)));
	const called = h('input', { ...lines, value: name ?? '' });
	const calledField = field('Name', called);
	const submit = () => page.requestSubmit();
	const source = existing === undefined ? undefined : words(kind === 'views' ? member(existing, 'map') : existing);
	const reduce = reduceFields(words(member(existing, 'reduce')), submit);
	const reduceBox = h('div.stack', {}, reduce.boxes);
	const main = codeArea('', 'code-map', source ?? '', submit);
	const problem = h('div.problem', { role: 'alert', hidden: true });
	const button = h('button.primary', { type: 'submit' }, 'Save');
	const back = opened && kind === 'views' ? link.view(db, id, name) : link.designs(db);
	const shown = called.value; // a field leaves out the line breaks of a name
	let template = source;

	const kindNow = () => kind ?? kindOf.value;
	function choose() {
		const k = kindNow();
		calledField.hidden = k === VALIDATE;
		called.required = k !== VALIDATE;
		reduceBox.hidden = k !== 'views';
		main.box.querySelector('label').textContent = k === 'views' ? 'Map' : 'Function';
		if (main.area.value === (template ?? '') && !opened) {
			template = KINDS[k].start;
			main.area.value = template;
			main.area.dispatchEvent(new Event('input'));
		}
	}

	async function save() {
		const target = opened ? id : design.value.trim();
		const fun = { kind: kindNow(), name: opened && called.value === shown ? name : called.value.trim(), old: opened ? name : undefined, text: main.area.value, reduce: kindNow() === 'views' ? reduce.text() : undefined };
		await store(db, target, opened, fun);
		tell('Saved.');
		go(fun.kind === 'views' ? link.view(db, target, fun.name) : link.designs(db));
	}

	function complain(e) {
		const { map, reduce: wrong, other } = e.status === 409 ? { other: stale(opened) } : e.blame ?? { other: e.message };
		main.blame(map);
		const rest = reduce.blame(wrong) ?? other;
		fill(problem, rest);
		problem.hidden = !rest;
		(wrong ? document.getElementById('code-reduce') : main.area).focus();
	}

	async function send(event) {
		event.preventDefault();
		button.disabled = true;
		problem.hidden = true;
		main.blame();
		reduce.blame();
		try {
			await save();
		} catch (e) {
			complain(e);
		}
		button.disabled = false;
	}
	const page = h('form.stack', { onsubmit: send },
		h('div.pair', {}, !opened && [field('Design document', design, 'Its functions belong together. A new name makes a new one.'), field('Kind', kindOf)], calledField),
		!opened && h('datalist', { id: 'designs' }, (await readDesigns(db)).map((d) => h('option', { value: d.id }))),
		main.box, reduceBox, problem,
		h('div.actions', {}, h('span.hint.space', { id: 'keys' }, 'Ctrl+Enter saves. Escape, then Tab leaves the text.'), h('a.button', { href: back }, 'Cancel'), button));
	choose();
	guard(page, signal);
	(opened ? main.area : design.value ? called : design).setAttribute('autofocus', '');
	return page;
}

export async function functionEditor({ db, id, kind, name, query, signal }) {
	let opened;
	if (id !== undefined) {
		opened = await readDesign(db, id);
		const fun = kind === VALIDATE ? member(opened, VALIDATE) : member(member(opened, kind), name);
		if (!Object.hasOwn(KINDS, kind) || words(kind === 'views' ? member(fun, 'map') : fun) === undefined)
			throw new Refusal(`“${id}” has no such function.`, 404);
	}
	const title = opened ? (kind === VALIDATE ? KINDS[VALIDATE].name : name) : 'New function';
	return h('div.page', {},
		crumbs([link.db(db), db], [link.designs(db), id ?? 'Views']),
		h('header.head', {}, h('div', {}, h('h1', {}, title), opened && h('p.quiet', {}, `${KINDS[kind].name} of “${id}”`))), await form({ db, id, kind, name, opened, query, signal }));
}
