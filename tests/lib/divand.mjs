// Starts and ends divand for tests.  The binary is $DIVAND, or build/divand.
import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** The tree's root. */
export const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
const START_MS = 20000;
const STOP_MS = 30000;

/** Characters of a server's log that are kept. */
const LOG_KEPT = 4 << 20;

export const DIVAND = path.resolve(process.env.DIVAND ?? path.join(ROOT, 'build/divand'));
/** Where all else was built: $DIVAN_BUILD, or where divand stands. */
export const BUILD = path.resolve(process.env.DIVAN_BUILD ?? path.dirname(DIVAND));
export const DIVAN = path.join(BUILD, 'divan');

/** Does its memory say what it uses?  A sanitizer keeps what was freed. */
export function tellsMemory() {
	const binary = fs.readFileSync(DIVAND);
	return !binary.includes('__asan_init') && !binary.includes('__tsan_init');
}

/** The environment in which a library is preloaded, before a sanitizer too. */
export const preload = (file) => ({ LD_PRELOAD: file, ASAN_OPTIONS: `${process.env.ASAN_OPTIONS ?? ''}:verify_asan_link_order=0` });

/** The same of tests/lib/NAME_shim.c. */
export const preloaded = (name) => preload(path.join(BUILD, `tests/lib/${name}_shim.so`));

const running = new Set();
process.on('exit', () => {
	for (const child of running) child.kill('SIGKILL');
});
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));

const folders = [];
process.on('exit', () => folders.forEach((dir) => fs.rmSync(dir, { recursive: true, force: true })));

/** A folder that is gone when the process ends. */
export function tempDir(label = 'divan') {
	const dir = fs.mkdtempSync(path.join(os.tmpdir(), `${label}-`));
	folders.push(dir);
	return dir;
}

/** A self-signed certificate for 127.0.0.1 and localhost: {cert_file, key_file}, as in the configuration's `ssl`. */
export function certificate(dir = tempDir('divan-tls')) {
	const cert_file = path.join(dir, 'cert.pem');
	const key_file = path.join(dir, 'key.pem');
	execFileSync('openssl', [
		'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
		'-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1',
		'-keyout', key_file, '-out', cert_file,
	], { stdio: ['ignore', 'ignore', 'pipe'] });
	return { cert_file, key_file };
}

/** {section: {name: value}} as YAML: strings are quoted, so that any value survives. */
function yaml(config) {
	const lines = [];
	for (const [section, members] of Object.entries(config)) {
		lines.push(`${section}:`);
		for (const [name, value] of Object.entries(members)) {
			lines.push(`  ${JSON.stringify(name)}: ${JSON.stringify(value)}`);
		}
	}
	return lines.join('\n') + '\n';
}

/**
 * Start a server and wait until it listens.
 *   args     further command line arguments
 *   env      further environment
 *   through  a command that executes it: [name, argument, ...]
 *   config   {section: {name: value}}, becomes a --config file; an `ssl` section gets port 0 if it names none
 *   dataDir  an existing folder (kept); without it a temporary one (removed)
 *   port     0: a free one
 *   admin    'name:password'; null for none
 * Result: {url, authUrl, tlsUrl, tlsAuthUrl, port, tlsPort, admin, auth, pid, dataDir, stderr(), stop(), kill(), restart()}
 */
export async function startDivand(options = {}) {
	const admin = options.admin === undefined ? 'admin:adm' : options.admin;
	const dataDir = options.dataDir ?? tempDir('divan-data');
	const config = options.config && structuredClone(options.config);
	const tls = Boolean(config?.ssl?.cert_file);
	const server = { admin, dataDir };

	if (tls) config.ssl.port ??= 0;
	server.auth = admin ? 'Basic ' + Buffer.from(admin).toString('base64') : undefined;

	async function launch(port) {
		const args = ['--data', dataDir, '--bind', '127.0.0.1', '--port', String(port), ...(options.args ?? [])];
		if (config) {
			const file = path.join(tempDir('divan-config'), 'divan.yaml');
			// A server that is not ours reads it again.
			fs.chmodSync(path.dirname(file), 0o755);
			fs.writeFileSync(file, yaml(config));
			args.unshift('--config', file);
		}
		// Tests look at the process: root may always, its own user when its memory may be looked at.
		const open = process.getuid() === 0 ? {} : { DIVAN_DIVAN__CORE_DUMPS: 'true' };
		const env = { ...process.env, ...open, ...(admin ? { DIVAN_ADMIN: admin } : {}), ...options.env };
		const [exe, ...rest] = [...(options.through ?? []), DIVAND, ...args];
		const child = spawn(exe, rest, { env, stdio: ['ignore', 'pipe', 'pipe'] });
		let out = '';
		let err = '';

		running.add(child);
		server.exited = new Promise((resolve) => {
			child.on('error', (e) => {
				err += `${DIVAND}: ${e.message}\n`;
				resolve({ code: null, signal: null });
			});
			child.on('close', (code, signal) => {
				running.delete(child);
				resolve({ code, signal });
			});
		});
		child.stderr.setEncoding('utf8').on('data', (d) => {
			err = (err + d).slice(-LOG_KEPT);
			if (process.env.DIVAN_TEST_LOG) process.stderr.write(d);
		});
		server.stderr = () => err;
		server.child = child;
		server.pid = child.pid;
		await new Promise((resolve, reject) => {
			const timer = setTimeout(() => reject(new Error(`divand is not ready after ${START_MS} ms\n${err}`)), START_MS);
			const failed = ({ code, signal }) => {
				clearTimeout(timer);
				reject(Object.assign(new Error(`divand ended at start (${code ?? signal})\n${err}`), { code, signal, stderr: err }));
			};
			server.exited.then(failed);
			child.stdout.on('data', (d) => {
				out += d;
				const plain = /^divand listening on (http:\/\/[^ ]*:(\d+))\/$/m.exec(out);
				const secure = /^divand listening on (https:\/\/[^ ]*:(\d+))\/$/m.exec(out);
				if (!plain || (tls && !secure)) return;
				clearTimeout(timer);
				[, server.url, server.port] = plain;
				server.port = Number(server.port);
				if (secure) {
					[, server.tlsUrl, server.tlsPort] = secure;
					server.tlsPort = Number(server.tlsPort);
				}
				resolve();
			});
		});
		const withAuth = (url) => (admin && url ? url.replace('://', `://${admin}@`) : url);
		server.authUrl = withAuth(server.url);
		server.tlsAuthUrl = withAuth(server.tlsUrl);
	}

	/** End it as a service manager does; anything but exit status 0 is an error. */
	server.stop = async () => {
		server.child.kill('SIGTERM');
		let timer;
		const late = new Promise((resolve) => (timer = setTimeout(resolve, STOP_MS, 'late')));
		const end = await Promise.race([server.exited, late]);
		clearTimeout(timer);
		if (end === 'late') {
			await server.kill();
			throw new Error(`divand did not end within ${STOP_MS} ms of SIGTERM\n${server.stderr()}`);
		}
		if (end.code !== 0) throw new Error(`divand ended with ${end.code ?? end.signal}\n${server.stderr()}`);
	};
	/** SIGKILL, and wait until it is gone. */
	server.kill = async () => {
		server.killed = true;
		server.child.kill('SIGKILL');
		return server.exited;
	};
	/** Start again on the same data and ports; ends the old one first if it still runs. */
	server.restart = async () => {
		if (server.killed) await server.exited;
		else if (server.child.exitCode === null && server.child.signalCode === null) await server.stop();
		server.killed = false;
		if (tls) config.ssl.port = server.tlsPort;
		await launch(server.port);
	};

	await launch(options.port ?? 0);
	return server;
}
