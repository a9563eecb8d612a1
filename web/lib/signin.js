// signin.js: the form that asks who you are, in both pages.

import { field, h } from './dom.js';
import { ROOT, signIn } from './server.js';

// done() is called once the session's cookie is there; without() where one can go on unknown.
export function signInForm({ title, text, done, without }) {
	const name = h('input', { name: 'name', autocomplete: 'username', autocapitalize: 'none', spellcheck: 'false', required: true });
	const password = h('input', { name: 'password', type: 'password', autocomplete: 'current-password', required: true });
	const problem = h('p.problem', { role: 'alert', hidden: true });
	const go = h('button.primary.wide', { type: 'submit' }, 'Sign in');

	async function send(event) {
		event.preventDefault();
		go.disabled = true;
		problem.hidden = true;
		try {
			await signIn(name.value.trim(), password.value);
			await done();
		} catch (e) {
			problem.textContent = e.status === 401 ? 'That name and password do not go together. Please try again.' : e.message;
			problem.hidden = false;
			password.select();
		}
		go.disabled = false;
	}
	queueMicrotask(() => name.focus());
	return h('section.signin', {},
		h('img.mark', { src: `${ROOT}_utils/couch.svg`, alt: '', width: 72, height: 72 }),
		h('h1', {}, title), h('p.quiet', {}, text),
		h('form.card', { onsubmit: send }, field('Name', name), field('Password', password), problem, go),
		without && h('button.bare', { type: 'button', onclick: without }, 'Go on without signing in'),
		!without && h('p.hint', {}, 'On its very first start the server shows an administrator’s name and password in its terminal.'));
}
