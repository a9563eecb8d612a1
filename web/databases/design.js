// design.js: design documents, read and written as trees of JSON.  They are named without the _design/ that their ids begin with.

import { docPath, path, request } from '../lib/server.js';
import { compact, member, parse, words } from './json.js';

export const VALIDATE = 'validate_doc_update';

// What can be made, by the design document's member: its name for people, and what it begins with.
export const KINDS = {
	views: { name: 'View', start: 'function (doc) {\n  emit(doc._id, null);\n}' },
	filters: { name: 'Filter', start: 'function (doc, req) {\n  return doc.type === req.query.type;\n}' },
	updates: { name: 'Update', start: 'function (doc, req) {\n  if (!doc)\n    return [null, "There is no such document."];\n  doc.seen = true;\n  return [doc, "Done."];\n}' },
	[VALIDATE]: { name: 'Validation', start: 'function (newDoc, oldDoc, userCtx, secObj) {\n  if (!newDoc._deleted && !newDoc.type)\n    throw({ forbidden: "A document needs a type." });\n}' },
	shows: { name: 'Show', old: true },
	lists: { name: 'List', old: true },
};

export const emptyObject = { open: '{', items: [] };

export const designPath = (db, id) => docPath(db, `_design/${id}`);

// [{ id, tree }]
export async function readDesigns(db) {
	const text = await (await request('GET', `${path(db)}/_design_docs?include_docs=true`)).text();
	return (member(parse(text), 'rows')?.items || []).map(({ value }) => ({ id: words(member(value, 'id')).replace(/^_design\//, ''), tree: member(value, 'doc') }));
}

export const readDesign = async (db, id) => parse(await (await request('GET', designPath(db, id))).text());

export const writeDesign = (db, id, tree) => request('PUT', designPath(db, id), compact(tree));
