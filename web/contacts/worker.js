/*
 * worker.js: keeps the page's own files, so that the contacts open while the server is away.
 *
 * The server is asked first, so that a new version shows at once; only its silence brings out the kept copy.  Data is
 * PouchDB's affair and never passes here.
 */

/* global FILES, VERSION */
const CACHE = `divan-contacts-${VERSION}`;
const BASE = new URL('../', self.location.href).href;

self.addEventListener('install', (event) => {
	self.skipWaiting();
	event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(FILES.map((file) => BASE + file))));
});

self.addEventListener('activate', (event) => {
	event.waitUntil((async () => {
		for (const name of await caches.keys()) {
			if (name.startsWith('divan-contacts-') && name !== CACHE)
				await caches.delete(name);
		}
		await self.clients.claim();
	})());
});

async function answer(request) {
	const kept = request.mode === 'navigate' ? `${BASE}contacts/index.html` : request;
	try {
		return await fetch(request);
	} catch (e) {
		const copy = await caches.match(kept, { ignoreSearch: true });
		if (copy)
			return copy;
		throw e;
	}
}

self.addEventListener('fetch', (event) => {
	if (event.request.method === 'GET' && event.request.url.startsWith(BASE))
		event.respondWith(answer(event.request));
});
