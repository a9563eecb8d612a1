// links.js: the addresses of the page's views.

export const link = {
	home: '#/',
	db: (db, query) => `#/db/${encodeURIComponent(db)}${query ? `?${new URLSearchParams(query)}` : ''}`,
	add: (db) => `#/db/${encodeURIComponent(db)}/new`,
	doc: (db, id, rev) => `#/db/${encodeURIComponent(db)}/doc/${encodeURIComponent(id)}${rev ? `?rev=${encodeURIComponent(rev)}` : ''}`,
	edit: (db, id) => `#/db/${encodeURIComponent(db)}/edit/${encodeURIComponent(id)}`,
};

export const go = (hash) => {
	location.hash = hash;
};

export const refresh = () => dispatchEvent(new Event('divan:refresh'));
