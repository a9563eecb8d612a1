// Contacts as an address book has them, about 500 bytes of JSON each, the same for the same seed on every machine.
// About 15 in 100 have a name or a place that is not ASCII.

const FIRST = `James Mary Robert Patricia John Jennifer Michael Linda David Elizabeth William Barbara Richard Susan Joseph
Jessica Thomas Sarah Christopher Karen Charles Lisa Daniel Nancy Matthew Sandra Anthony Betty Mark Ashley Donald Emily
Steven Kimberly Andrew Margaret Paul Donna Joshua Michelle Kenneth Carol Kevin Amanda Brian Melissa George Deborah Timothy
Stephanie Ronald Rebecca Jason Laura Edward Sharon Jeffrey Cynthia Ryan Kathleen Jacob Amy Gary Angela Nicholas Shirley
Eric Anna Jonathan Brenda Stephen Pamela Larry Emma Justin Nicole Scott Helen Brandon Samantha Benjamin Katherine`.split(/\s+/);
const FIRST_FAR = `José Søren Zoë Jürgen François Łukasz Анна Дмитрий 明 さくら Ελένη Γιώργος מרים أحمد Şebnem Björn Chloë Renée
Małgorzata Đorđe Núria Ñuflo Þór Åsa`.split(/\s+/);
const LAST = `Smith Johnson Williams Brown Jones Garcia Miller Davis Rodriguez Martinez Hernandez Lopez Gonzalez Wilson Anderson
Thomas Taylor Moore Jackson Martin Lee Perez Thompson White Harris Sanchez Clark Ramirez Lewis Robinson Walker Young Allen
King Wright Scott Torres Nguyen Hill Flores Green Adams Nelson Baker Hall Rivera Campbell Mitchell Carter Roberts Gomez
Phillips Evans Turner Diaz Parker Cruz Edwards Collins Reyes Stewart Morris Morales Murphy Cook Rogers Gutierrez Ortiz
Morgan Cooper Peterson Bailey Reed Kelly Howard Ramos Kim Cox Ward Richardson Watson Brooks Chavez Wood Bennett Gray`.split(/\s+/);
const LAST_FAR = `Müller Nuñez Løkke Gößmann Dvořák Иванова 王 田中 Παπαδόπουλος כהן العلي Öztürk Ågren Łęcki Šimić Brontë`.split(/\s+/);
const STREETS = `Oak Maple Cedar Elm Pine Washington Lake Hill Walnut Spring North Ridge Church Willow Mill Sunset Railroad Jackson
West Chestnut Highland Forest River Meadow Franklin Prospect Garden Cherry Dogwood Locust`.split(/\s+/);
const KINDS = ['Street', 'Avenue', 'Road', 'Lane', 'Court', 'Drive', 'Place', 'Way'];
const CITIES = `Springfield Franklin Clinton Greenville Bristol Fairview Salem Madison Georgetown Arlington Ashland Dover Oxford
Jackson Burlington Manchester Milton Newport Auburn Centerville Clayton Dayton Lexington Milford Riverside Winchester`.split(/\s+/);
const CITIES_FAR = ['Zürich', 'São Paulo', 'Kraków', 'Malmö', 'Москва', '東京', 'Αθήνα', 'Besançon', 'Córdoba'];
const COUNTRIES = ['United States', 'Canada', 'United Kingdom', 'Ireland', 'Australia', 'Germany', 'France', 'Sweden'];
const MAIL = ['example.com', 'example.org', 'mail.example.net', 'post.example.se', 'office.example.de'];
const FIRMS = ['Holdings', 'Partners', '& Sons', 'Consulting', 'Logistics', 'Bakery', 'Dental Care', 'Software', 'Plumbing'];
const WORDS = `met at the conference in spring prefers to be called after six knows about house garden school trip asked for
photos sister of neighbour plays tennis every second Thursday allergic nuts speaks Italian owes us lunch`.split(/\s+/);

/** A small generator (splitmix32): next() in [0, 1). */
export function random(seed) {
	let s = seed >>> 0;
	return () => {
		s = (s + 0x9e3779b9) >>> 0;
		let z = s;
		z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
		z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
		return ((z ^ (z >>> 15)) >>> 0) / 4294967296;
	};
}

/** 32 hexadecimal digits. */
export function hexId(rnd) {
	let s = '';
	for (let i = 0; i < 4; i++) s += ((rnd() * 4294967296) >>> 0).toString(16).padStart(8, '0');
	return s;
}

function contact(rnd) {
	const int = (n) => Math.floor(rnd() * n);
	const pick = (list) => list[int(list.length)];
	const digits = (n) => Array.from({ length: n }, () => int(10)).join('');
	const day = (from, years) => `${from + int(years)}-${String(1 + int(12)).padStart(2, '0')}-${String(1 + int(28)).padStart(2, '0')}`;
	const far = rnd() < 0.15;
	const first = far ? pick(FIRST_FAR) : pick(FIRST);
	const last = far && rnd() < 0.6 ? pick(LAST_FAR) : pick(LAST);
	const account = `${pick(FIRST)}.${pick(LAST)}${int(1000)}`.toLowerCase();
	return {
		type: 'contact',
		name: { first, last },
		email: [{ kind: 'home', value: `${account}@${pick(MAIL)}` }],
		phone: [
			{ kind: 'mobile', value: `+1 ${digits(3)} ${digits(3)} ${digits(4)}` },
			...(rnd() < 0.5 ? [{ kind: 'work', value: `+1 ${digits(3)} ${digits(3)} ${digits(4)}` }] : []),
		],
		address: {
			street: `${1 + int(9999)} ${pick(STREETS)} ${pick(KINDS)}`,
			city: far && rnd() < 0.5 ? pick(CITIES_FAR) : pick(CITIES),
			zip: digits(5),
			country: pick(COUNTRIES),
		},
		...(rnd() < 0.4 ? { company: `${pick(LAST)} ${pick(FIRMS)}` } : {}),
		birthday: day(1940, 65),
		favourite: rnd() < 0.1,
		note: Array.from({ length: 3 + int(14) }, () => pick(WORDS)).join(' '),
		updated: `${day(2019, 6)}T${String(int(24)).padStart(2, '0')}:${String(int(60)).padStart(2, '0')}:${String(int(60)).padStart(2, '0')}.${digits(3)}Z`,
	};
}

/** The text of contact after contact: without _id where id is undefined. */
export function contactText(rnd, id) {
	const c = contact(rnd);
	return JSON.stringify(id === undefined ? c : { _id: id, ...c });
}
