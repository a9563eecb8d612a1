// build.mjs: `node web/build.mjs OUTDIR` makes the files the server hands out below /_utils/.

import { build } from 'esbuild';
import { createHash } from 'node:crypto';
import { cp, mkdir, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const HERE = path.dirname(fileURLToPath(import.meta.url));
const OUT = path.resolve(process.argv[2] || 'build/web');
const TARGET = ['chrome109', 'firefox115', 'safari16'];

const from = (name) => path.join(HERE, name);
const to = (name) => path.join(OUT, name);

const bundle = (entryPoints, more) => build({
	entryPoints, outdir: OUT, bundle: true, minify: true, target: TARGET, format: 'esm', legalComments: 'none', logLevel: 'warning', ...more,
});

// The files the contacts need to open without a server, and a name for just this set of them.
async function worker() {
	const files = ['contacts/index.html', 'contacts/contacts.js', 'contacts/style.css', 'couch.svg'];
	const hash = createHash('sha256');
	for (const file of files)
		hash.update(await readFile(to(file)));
	await bundle([{ in: from('contacts/worker.js'), out: 'contacts/worker' }], {
		format: 'iife',
		define: { FILES: JSON.stringify(files), VERSION: JSON.stringify(hash.digest('hex').slice(0, 12)) },
	});
}

await rm(OUT, { recursive: true, force: true });
await mkdir(to('contacts'), { recursive: true });
await bundle([
	{ in: from('databases/main.js'), out: 'app' },
	{ in: from('databases/style.css'), out: 'style' },
	{ in: from('databases/session.js'), out: 'session' },
	{ in: from('contacts/style.css'), out: 'contacts/style' },
]);
// PouchDB's browser build; `global` is what its dependencies call the window.
await bundle([{ in: from('contacts/main.js'), out: 'contacts/contacts' }], { define: { global: 'globalThis' } });
await cp(from('databases/index.html'), to('index.html'));
await cp(from('databases/session.html'), to('session.html'));
await cp(from('contacts/index.html'), to('contacts/index.html'));
await cp(from('contacts/manifest.webmanifest'), to('contacts/manifest.webmanifest'));
for (const file of await readdir(from('icons')))
	await cp(from(`icons/${file}`), to(file));
await worker();
await writeFile(to('LICENSES.txt'), `PouchDB, in contacts/contacts.js:\n\n${await readFile(path.join(HERE, '../node_modules/pouchdb/LICENSE'), 'utf8')}`);

for (const file of (await readdir(OUT, { recursive: true })).sort()) {
	const { size } = await stat(to(file));
	if (path.extname(file))
		console.log(`${String(size).padStart(8)}  ${file}`);
}
