// photo.js: faces: a photo if there is one, else initials on a colour; and photos made small enough to send around.

import { h } from '../lib/dom.js';
import { hue, initials, title } from './contact.js';

const SIDE = 512;
const QUALITY = 0.86;

// Begins with the initials; the photo replaces them once it is read.
export function face(doc, store, size = '') {
	const e = h(`span.face.hue${hue(doc._id)}${size && `.${size}`}`, { 'aria-hidden': 'true' }, initials(title(doc)));
	if (doc._attachments?.photo)
		store.photo(doc).then((url) => url && e.replaceChildren(h('img', { src: url, alt: '' })), () => {});
	return e;
}

// The middle square of a picture as a JPEG Blob.
export async function shrink(file) {
	let picture;
	try {
		picture = await createImageBitmap(file);
	} catch {
		throw new Error('This file is not a picture that can be shown here.');
	}
	const side = Math.min(picture.width, picture.height);
	const to = Math.min(side, SIDE);
	const canvas = h('canvas', { width: to, height: to });
	const pen = canvas.getContext('2d');
	pen.fillStyle = '#fff';
	pen.fillRect(0, 0, to, to);
	pen.drawImage(picture, (picture.width - side) / 2, (picture.height - side) / 2, side, side, 0, 0, to, to);
	return new Promise((resolve) => {
		canvas.toBlob(resolve, 'image/jpeg', QUALITY);
	});
}
