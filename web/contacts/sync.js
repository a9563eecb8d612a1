/*
 * sync.js: keeps a store and the server's database the same, and says how that stands.
 *
 *   connecting -> syncing <-> synced        (the normal life)
 *        any   -> offline -> syncing        (PouchDB tries again by itself)
 *        any   -> signin | refused          (until somebody does something)
 */

import PouchDB from 'pouchdb';
import { json, path, request, ROOT } from '../lib/server.js';

const RETRY_MAX_MS = 10000;
const RETRY_FIRST_MS = 500;

const backOff = (delay) => Math.min(Math.max(delay * 1.5, RETRY_FIRST_MS), RETRY_MAX_MS);

export class Sync {
	// tell(state, words); state: how things stand already
	constructor(store, remote, who, state, tell) {
		Object.assign(this, { store, remote, who, state, tell, stopped: false, waiting: RETRY_FIRST_MS });
	}

	say(state, words) {
		if (this.stopped || (state === this.state && !words))
			return;
		this.state = state;
		this.tell(state, words);
	}

	async start() {
		if (this.state !== 'offline') // an attempt that fails again must not flicker
			this.say('connecting');
		try {
			await this.ready();
		} catch (e) {
			this.failed(e);
			return;
		}
		if (!this.stopped)
			this.run();
	}

	// The database, made by the first administrator who comes.
	async ready() {
		const { userCtx } = await json('GET', '_session');
		if (userCtx.name !== this.who)
			throw Object.assign(new Error(), { status: 401 });
		try {
			await request('GET', path(this.remote));
		} catch (e) {
			if (e.status === 403)
				e.message = `You are not allowed to use the database “${this.remote}” on this server. An administrator can change that.`;
			if (e.status !== 404)
				throw e;
			if (!userCtx.roles.includes('_admin'))
				throw Object.assign(new Error(`There is no database “${this.remote}” on this server yet. Please ask an administrator to open this page once: that makes it.`), { status: 403 });
			await request('PUT', path(this.remote)).catch((again) => {
				if (again.status !== 412) // another window was quicker
					throw again;
			});
		}
	}

	failed(e) {
		if (e.status === 401 || e.name === 'unauthorized') {
			this.say('signin');
		} else if (e.status === 403 || e.name === 'forbidden') {
			this.say('refused', e.status === 403 && e.message ? e.message : 'The server does not let you use this database.');
		} else {
			this.say('offline');
			this.timer = setTimeout(() => this.start(), this.waiting);
			this.waiting = backOff(this.waiting);
		}
	}

	run() {
		const server = new PouchDB(ROOT + path(this.remote), { skip_setup: true });
		const ways = { push: 'syncing', pull: 'syncing' };
		const show = () => {
			const states = Object.values(ways);
			this.say(states.includes('offline') ? 'offline' : states.includes('syncing') ? 'syncing' : 'synced');
		};
		this.waiting = RETRY_FIRST_MS;
		this.say('syncing');
		this.job = this.store.db.sync(server, { live: true, retry: true, back_off_function: backOff });
		for (const way of ['push', 'pull']) {
			const set = (state) => {
				ways[way] = state;
				show();
			};
			this.job[way].on('active', () => set('syncing'));
			this.job[way].on('paused', (e) => set(e ? 'offline' : 'synced'));
		}
		this.job.on('denied', () => this.say('refused', 'The server refused some of your changes.'));
		// Both ways end on an error that trying again cannot mend.
		this.job.on('error', (e) => this.failed(e));
	}

	stop() {
		this.stopped = true;
		clearTimeout(this.timer);
		this.job?.cancel();
	}
}
