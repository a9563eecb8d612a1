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

// The middle square of a picture as a JPEG Blob.  An <img> reads more kinds of picture than createImageBitmap.
export async function shrink(file) {
	const url = URL.createObjectURL(file);
	const picture = h('img', { src: url });
	try {
		await picture.decode();
		const [width, height] = [picture.naturalWidth || SIDE, picture.naturalHeight || SIDE];
		const side = Math.min(width, height);
		const to = Math.min(side, SIDE);
		const canvas = h('canvas', { width: to, height: to });
		const pen = canvas.getContext('2d');
		pen.fillStyle = '#fff';
		pen.fillRect(0, 0, to, to);
		pen.drawImage(picture, (width - side) / 2, (height - side) / 2, side, side, 0, 0, to, to);
		return await new Promise((resolve) => {
			canvas.toBlob(resolve, 'image/jpeg', QUALITY);
		});
	} catch {
		throw new Error('This file is not a picture that can be shown here.');
	} finally {
		URL.revokeObjectURL(url);
	}
}
