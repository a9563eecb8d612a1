// express-pouchdb as a server with databases in memory, in a process of its own: what `pouchdb-server --in-memory` is.
import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { tempDir } from './divand.mjs';

const SELF = fileURLToPath(import.meta.url);
const START_MS = 30000;

/** startPouchServer({admin: 'name:password' or null}) -> {url, authUrl, auth, port, stop()} */
export async function startPouchServer({ admin = null } = {}) {
	// It writes its log into the folder that it runs in.
	const child = spawn(process.execPath, [SELF, admin ?? ''], { cwd: tempDir('pouch-server'), stdio: ['pipe', 'pipe', 'pipe'] });
	let out = '';
	let err = '';
	const ended = new Promise((resolve) => child.on('close', resolve));
	child.stderr.on('data', (d) => (err = (err + d).slice(-20000)));
	const port = await new Promise((resolve, reject) => {
		const timer = setTimeout(() => reject(new Error(`no PouchDB server after ${START_MS} ms\n${err}`)), START_MS);
		ended.then(() => reject(new Error(`the PouchDB server ended\n${err}`)));
		child.stdout.on('data', (d) => {
			out += d;
			const m = /^listening (\d+)$/m.exec(out);
			if (!m) return;
			clearTimeout(timer);
			resolve(Number(m[1]));
		});
	});
	const server = { port, url: `http://127.0.0.1:${port}`, admin, stderr: () => err };
	server.authUrl = admin ? `http://${admin}@127.0.0.1:${port}` : server.url;
	server.auth = admin ? 'Basic ' + Buffer.from(admin).toString('base64') : undefined;
	server.stop = () => {
		child.stdin.end();
		return ended;
	};
	return server;
}

async function serve(admin) {
	const require = createRequire(import.meta.url);
	const express = require('express');
	const PouchDB = require('pouchdb');
	PouchDB.plugin(require('pouchdb-adapter-memory'));
	PouchDB.preferredAdapters = ['memory']; // for names; URLs are other servers'
	const app = express();
	const options = { inMemoryConfig: true, logPath: path.resolve('log.txt'), overrideMode: { exclude: ['routes/fauxton'] } };
	app.use('/', require('express-pouchdb')(PouchDB, options));
	const server = app.listen(0, '127.0.0.1', async () => {
		const { port } = server.address();
		if (admin) {
			const [name, password] = admin.split(':');
			const answer = await fetch(`http://127.0.0.1:${port}/_config/admins/${name}`, { method: 'PUT', body: JSON.stringify(password), headers: { 'Content-Type': 'application/json' } });
			if (!answer.ok) throw new Error(`no administrator: ${answer.status} ${await answer.text()}`);
		}
		console.log(`listening ${port}`);
	});
	process.stdin.resume();
	process.stdin.on('end', () => process.exit(0));
}

if (process.argv[1] === SELF) await serve(process.argv[2]);
