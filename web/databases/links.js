// links.js: the addresses of the page's views.

const at = (...parts) => `#/${parts.map(encodeURIComponent).join('/')}`;
const asking = (query) => (query ? `?${new URLSearchParams(query)}` : '');

export const link = {
	home: '#/',
	tasks: '#/tasks',
	db: (db, query) => at('db', db) + asking(query),
	add: (db) => at('db', db, 'new'),
	doc: (db, id, rev) => at('db', db, 'doc', id) + asking(rev && { rev }),
	edit: (db, id) => at('db', db, 'edit', id),
	// A query's text, where its page begins (bookmark), and what is wanted of it (show).
	find: (db, query) => at('db', db, 'find') + asking(query),
	// Views and other functions; a design document is named without its _design/.
	designs: (db) => at('db', db, 'design'),
	view: (db, design, name, query) => at('db', db, 'view', design, name) + asking(query),
	fun: (db, design, kind, name) => at('db', db, 'function', design, kind, name),
	addFun: (db, design) => at('db', db, 'function') + asking(design && { in: design }),
};

export const go = (hash) => {
	location.hash = hash;
};

export const refresh = () => dispatchEvent(new Event('divan:refresh'));
