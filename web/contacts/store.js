// store.js: the contacts in this browser: a PouchDB for each person and each database of the server.

import PouchDB from 'pouchdb';
import { read } from './contact.js';

const PHOTO = 'photo';
const REDRAW_MS = 30;

const isContact = (doc) => !doc._id.startsWith('_design/') && (doc.type === undefined || doc.type === 'contact');

export class Store {
	constructor(person, remote) {
		this.db = new PouchDB(`divan:${remote}:${person}`, { auto_compaction: true });
		this.docs = new Map();
		this.photos = new Map(); // id -> { digest, url }
	}

	// Everything once, then each change as it comes: changed(ids).
	async open(changed) {
		const { update_seq: since } = await this.db.info();
		const { rows } = await this.db.allDocs({ include_docs: true, conflicts: true });
		for (const { doc } of rows)
			this.take(doc);
		// Changes come in flocks when a copy begins.  One redraw serves all of a moment, and redrawing thousands takes
		// no more than a fifth of the time.
		const ids = new Set();
		let pause = REDRAW_MS;
		const redraw = () => {
			const now = [...ids];
			const start = performance.now();
			ids.clear();
			changed(now);
			pause = Math.max(REDRAW_MS, 4 * (performance.now() - start));
		};
		this.feed = this.db.changes({ since, live: true, include_docs: true, conflicts: true }).on('change', ({ id, doc }) => {
			this.take(doc);
			if (ids.size === 0)
				setTimeout(redraw, pause);
			ids.add(id);
		});
	}

	take(doc) {
		if (doc._deleted || !isContact(doc))
			this.docs.delete(doc._id);
		else
			this.docs.set(doc._id, doc);
	}

	close() {
		this.feed?.cancel();
		for (const { url } of this.photos.values())
			URL.revokeObjectURL(url);
		return this.db.close();
	}

	erase() {
		this.feed?.cancel();
		return this.db.destroy();
	}

	// The address of a contact's photo, or undefined.
	async photo(doc) {
		const stub = doc._attachments?.[PHOTO];
		const known = this.photos.get(doc._id);
		if (known && known.digest === stub?.digest)
			return known.url;
		if (known)
			URL.revokeObjectURL(known.url);
		this.photos.delete(doc._id);
		if (!stub)
			return undefined;
		const url = URL.createObjectURL(await this.db.getAttachment(doc._id, PHOTO, { rev: doc._rev }));
		this.photos.set(doc._id, { digest: stub.digest, url });
		return url;
	}

	// photo: a Blob, null for none, undefined for the one it has.  A conflict (status 409) is the caller's.
	async save(doc, fields, photo) {
		const next = { ...doc, ...fields, type: 'contact', changed: new Date().toISOString() };
		for (const old of ['phone', 'email', '_conflicts'])
			delete next[old];
		if (photo !== undefined) {
			next._attachments = { ...doc._attachments };
			delete next._attachments[PHOTO];
			if (photo)
				next._attachments[PHOTO] = { content_type: photo.type, data: photo };
		}
		const { rev } = await this.db.put(next);
		return rev;
	}

	fresh(id) {
		return this.db.get(id, { conflicts: true });
	}

	async remove(doc) {
		await this.db.remove(doc._id, doc._rev);
	}

	versions(doc) {
		return Promise.all([doc._rev, ...doc._conflicts].map((rev) => this.db.get(doc._id, { rev })));
	}

	/*
	 * Settle a conflict: the chosen version's content becomes the winner's next revision, the others end.  The photo
	 * travels as bytes, since a stub names nothing on another branch.
	 */
	async choose(winner, chosen, all) {
		if (chosen._rev !== winner._rev) {
			const photo = chosen._attachments?.[PHOTO] && await this.db.getAttachment(chosen._id, PHOTO, { rev: chosen._rev });
			await this.save(winner, read(chosen), photo || null);
		}
		for (const other of all) {
			if (other._rev !== winner._rev)
				await this.db.remove(other._id, other._rev);
		}
	}
}
