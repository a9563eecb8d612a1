// A server with the built page, and Chromium to look at it.  Needs the built page beside the binary (`make web`).

import assert from 'node:assert/strict';
import { chromium } from 'playwright-core';
import { startDivand } from '../lib/divand.mjs';

const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';
const ARGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const WAIT_MS = Number(process.env.WAIT_MS ?? 15000);

/**
 * Result: {server, call(method, path, body, type), openWindow(options), signIn(page, path), faults, stop()}.
 * faults: what no page may do, throw or break its content security policy; for a last test to look at.
 */
export async function startPage(options) {
	const server = await startDivand(options);
	const browser = await chromium.launch({ executablePath: CHROMIUM, args: ARGS });
	const faults = [];

	return {
		server, faults,
		async stop() {
			await browser.close();
			await server.stop();
		},
		async call(method, path, body, type = 'application/json') {
			const raw = typeof body === 'string' || body instanceof Uint8Array;
			const answer = await fetch(server.url + path, { method, headers: { authorization: server.auth, 'content-type': type }, body: raw ? body : JSON.stringify(body) });
			assert.ok(answer.ok, `${method} ${path}: ${answer.status}`);
			return answer.json();
		},
		// A browser of its own: cookies and databases are not shared with other windows.
		async openWindow(context) {
			const window = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...context });
			window.setDefaultTimeout(WAIT_MS);
			const page = await window.newPage();
			page.on('pageerror', (e) => faults.push(e.stack));
			page.on('console', (m) => m.text().includes('Content Security Policy') && faults.push(m.text()));
			return page;
		},
		async signIn(page, path) {
			const [name, password] = server.admin.split(':');
			await page.goto(server.url + path);
			await page.getByLabel('Name').fill(name);
			await page.getByLabel('Password').fill(password);
			await page.getByRole('button', { name: 'Sign in' }).click();
		},
	};
}
