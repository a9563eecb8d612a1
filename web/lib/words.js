// words.js: numbers, sizes and dates as people write them.

const number = new Intl.NumberFormat('en');

export const count = (n, one, many = `${one}s`) => `${number.format(n)} ${n === 1 ? one : many}`;

export const plain = (n) => number.format(n);

export function size(bytes) {
	const units = ['bytes', 'kB', 'MB', 'GB', 'TB'];
	let i = 0;
	for (; bytes >= 1000 && i < units.length - 1; i++)
		bytes /= 1000;
	return `${i === 0 || bytes >= 100 ? Math.round(bytes) : bytes.toFixed(1)} ${i === 0 && bytes === 1 ? 'byte' : units[i]}`;
}

// "1990-04-01" as "1 April 1990"; what is no date stays as it is.
export function day(text) {
	const m = /^(\d{4})-(\d\d)-(\d\d)$/.exec(text || '');
	if (!m)
		return text || '';
	const date = new Date(Date.UTC(+m[1], m[2] - 1, +m[3]));
	return new Intl.DateTimeFormat('en-GB', { dateStyle: 'long', timeZone: 'UTC' }).format(date);
}
