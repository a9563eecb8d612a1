// server.js: requests to the server this page came from, and its refusals in words.

// A proxy may put the server below a path of its own.
export const ROOT = `${(location.origin + location.pathname).split('/_utils/')[0]}/`;

export class Refusal extends Error {
	constructor(words, status, body) {
		super(words);
		this.status = status;
		this.error = body?.error;
	}
}

const WORDS = {
	400: 'The server did not understand that.',
	401: 'Please sign in.',
	403: 'You are not allowed to do that.',
	404: 'That does not exist.',
	409: 'Somebody else changed this in the meantime.',
	412: 'That exists already.',
	413: 'That is too large for this server.',
	500: 'The server had a problem.',
};

// The server's reasons are for programs; the ones people meet are said for people.
const REASONS = {
	missing: 'That document does not exist.',
	deleted: 'That document was deleted.',
	no_db_file: 'That database does not exist.',
};

function words(status, body) {
	if ([401, 409, 412, 413].includes(status))
		return WORDS[status];
	if (body?.reason)
		return REASONS[body.reason] || body.reason;
	return WORDS[status] || `The server answered ${status}.`;
}

/*
 * A path of names.  Browsers take "." and ".." for steps, encoded or not: an attachment "db" of the document ".." would be the
 * database "db".  So these names are never asked for.
 */
export function path(...parts) {
	if (parts.some((p) => p === '.' || p === '..'))
		throw new Refusal('Browsers cannot ask for what is called “.” or “..”. Programs can.', 400);
	return parts.map((p) => encodeURIComponent(p)).join('/');
}

// A document's id in a path: the slash behind _design and _local stays.
export function docPath(db, id) {
	const m = /^(_design|_local)\/(.+)$/s.exec(id);
	return m ? `${path(db)}/${m[1]}/${path(m[2])}` : path(db, id);
}

// The response; throws Refusal for 4xx, 5xx and when the server cannot be reached (status 0).  A signal calls it off.
export async function request(method, where, body, headers = {}, signal = null) {
	let answer;
	if (body !== undefined && typeof body !== 'string' && !(body instanceof Blob))
		body = JSON.stringify(body);
	if (body !== undefined && !(body instanceof Blob))
		headers = { 'Content-Type': 'application/json', ...headers };
	try {
		answer = await fetch(ROOT + where, { method, body, headers: { Accept: 'application/json', ...headers }, credentials: 'same-origin', cache: 'no-cache', signal });
	} catch {
		throw new Refusal('The server cannot be reached. Is it running?', 0);
	}
	if (!answer.ok) {
		const why = await answer.json().catch(() => null);
		throw new Refusal(words(answer.status, why), answer.status, why);
	}
	return answer;
}

export const json = async (...args) => (await request(...args)).json();

// { name, admin }; name is null for nobody.
export async function whoami() {
	const { userCtx } = await json('GET', '_session');
	return { name: userCtx.name, admin: userCtx.roles.includes('_admin') };
}

export const signIn = (name, password) => json('POST', '_session', { name, password });

export const signOut = () => json('DELETE', '_session');
