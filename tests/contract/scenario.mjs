// Runs one scenario: its databases, its steps in order, its variables; reports each compared step.
import crypto from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { compare } from './compare.mjs';
import { joinPieces, send, view } from './request.mjs';

const STEP_MS = 5000;

/** Fill in ${name}, ${name|enc} and ${name|json} in every string; unknown names go into ${missing}. */
function fill(value, vars, missing) {
	if (typeof value === 'string') {
		return value.replace(/\$\{(\w+)(?:\|(\w+))?\}/g, (all, name, how) => {
			if (!(name in vars)) {
				missing.add(name);
				return all;
			}
			const v = vars[name];
			const text = typeof v === 'string' ? v : JSON.stringify(v);
			if (how === 'enc') return encodeURIComponent(text);
			if (how === 'json') return JSON.stringify(v);
			return how === 'hash' ? text.replace(/^\d+-/, '') : text;
		});
	}
	if (Array.isArray(value)) return value.map((item) => fill(item, vars, missing));
	if (value === null || typeof value !== 'object') return value;
	return Object.fromEntries(Object.entries(value).map(([name, v]) => [fill(name, vars, missing), fill(v, vars, missing)]));
}

/** What `capture` and `until` name: status, header:NAME, or a path such as json.rows[0].id. */
function pick(answer, spec) {
	const { from, re } = typeof spec === 'string' ? { from: spec } : spec;
	let v;

	if (from === 'status') v = answer.status;
	else if (from.startsWith('header:')) v = answer.headers[from.slice(7).toLowerCase()];
	else v = (from.match(/[^.[\]]+/g) ?? []).reduce((node, name) => node?.[name], answer.view);
	if (!re || v === undefined) return v;
	const m = new RegExp(re).exec(typeof v === 'string' ? v : JSON.stringify(v));
	return m ? m[1] ?? m[0] : undefined;
}

export class Scenario {
	/** ${server}: {url, hostname, host, port, auth}.  ${report}: pass(label), fail(label, differences), skip(label, why). */
	constructor(server, area, def, report) {
		const tag = crypto.randomBytes(5).toString('hex');
		const [admin, adminpw] = server.auth.split(':');

		Object.assign(this, { server, def, report, label: `${area}/${def.name}` });
		this.vars = { url: server.url, base: `http://${server.host}`, host: server.host, admin, adminpw, rnd: tag };
		for (const [name, v] of Object.entries(def.vars ?? {})) this.vars[name] = v?.pieces ? joinPieces(v.pieces) : v;
		this.dbs = [...(def.dbs ?? []), ...(def.names ?? [])];
		for (const name of this.dbs) this.vars[name] = `ct-${tag}-${name}`;
		for (const name of def.users ?? []) this.vars[name] = `cu${tag}${name}`;
		this.seqs = new Map();
		this.open = new Map();
	}

	/** Send a request of the runner's own. */
	async ask(method, path, extra = {}) {
		const answer = await send(this.server, { method, path, ...extra }, 2 * STEP_MS).done;
		answer.view = view(answer);
		return answer;
	}

	async missingNeed() {
		for (const need of this.def.needs ?? []) {
			if (need === 'config') {
				if ((await this.ask('GET', '/_node/_local/_config/chttpd')).status !== 200) return 'no configuration API';
			} else if (![201, 202, 412].includes((await this.ask('PUT', `/_${need}`)).status)) return `no _${need} database`;
		}
		return null;
	}

	async run() {
		const why = await this.missingNeed();
		if (why) {
			this.report.skip(this.label, this.def.steps.filter((s) => s.expect).length, why);
			return;
		}
		for (const name of this.def.dbs ?? []) await this.ask('PUT', `/${this.vars[name]}?q=1`);
		try {
			for (const step of this.def.setup ?? []) await this.quietly(step);
			for (const [i, step] of this.def.steps.entries()) await this.step(step, i + 1);
		} finally {
			for (const { exchange } of this.open.values()) exchange.stop();
			for (const step of this.def.cleanup ?? []) await this.quietly(step).catch(() => {});
			for (const name of this.dbs) await this.ask('DELETE', `/${this.vars[name]}`);
		}
	}

	async quietly(step) {
		const answer = await this.begin(step).done;
		answer.view = view(answer, step.as);
		this.capture(step, answer);
	}

	begin(step, missing = new Set()) {
		const { expect, ...asked } = step;
		const filled = fill(asked, this.vars, missing);
		return send(this.server, filled, step.timeout ?? this.def.timeout ?? STEP_MS);
	}

	capture(step, answer) {
		for (const [name, spec] of Object.entries({ ...step.capture, ...step.volatile })) {
			const v = pick(answer, spec);
			if (v !== undefined) this.vars[name] = v;
		}
	}

	/** The sequences that belong together: those of the database a path starts with; of no other paths. */
	seqsOf(path) {
		const scope = path.split(/[/?]/)[1] ?? '';
		if (scope.startsWith('_')) return [];
		if (!this.seqs.has(scope)) this.seqs.set(scope, []);
		return this.seqs.get(scope);
	}

	async step(step, n) {
		if (step.sleep) await sleep(step.sleep);
		if (!step.method && !step.finish) return;
		const { exchange, first, error } = step.finish ? this.resume(step) : this.start(step);
		const asked = { ...first, ...step };
		const label = `${this.label} #${n}`;
		const request = `${asked.method} ${asked.path}`;
		if (error) {
			this.report.fail(label, request, [{ class: 'body', at: 'step', want: 'to be sent', got: error }]);
			return;
		}
		if (step.begin) {
			this.open.set(step.begin, { exchange, first: step });
			await Promise.race([exchange.head, sleep(step.settle ?? 500)]);
			await sleep(100);
			return;
		}
		if (step.finish && step.stop) exchange.stop();
		const answer = await this.settled(step, asked, exchange);
		if (answer.error) {
			const want = step.expect?.status ?? 'any';
			this.report.fail(label, request, [{ class: 'status', at: 'response', want, got: answer.error }]);
			return;
		}
		this.capture(asked, answer);
		if (step.ignore || !step.expect) return;
		const expect = fill(step.expect, this.vars, new Set());
		const differences = compare(expect, answer, this.seqsOf(asked.path), asked.maskText);
		if (differences.length) this.report.fail(label, request, differences);
		else this.report.pass(label, request);
	}

	start(step) {
		const missing = new Set();
		const { expect, ...asked } = step;
		fill(asked, this.vars, missing);
		if (missing.size) return { error: `${[...missing].join(', ')} was not captured` };
		return { exchange: this.begin(step) };
	}

	resume(step) {
		const open = this.open.get(step.finish);
		this.open.delete(step.finish);
		return open ?? { error: `no open request ${step.finish}` };
	}

	/** The answer; with `until`, that of the first repetition which meets it. */
	async settled(step, asked, exchange) {
		const deadline = Date.now() + (step.within ?? 2 * STEP_MS);
		for (;;) {
			const answer = await exchange.done;
			answer.view = view(answer, asked.as);
			const met = Object.entries(step.until ?? {}).every(([spec, want]) =>
				[want].flat().some((w) => JSON.stringify(w) === JSON.stringify(pick(answer, spec))));
			if (met || answer.error || Date.now() > deadline) return answer;
			await sleep(step.every ?? 250);
			exchange = this.begin(step);
		}
	}
}

/** Bodies and the revision ids CouchDB computed for them, one case a line. */
export async function runRevids(server, cases, report) {
	const scenario = new Scenario(server, 'revids', { name: 'revids', dbs: ['db'], steps: [] }, report);
	const db = scenario.vars.db;
	const headers = { 'Content-Type': 'application/json' };

	await scenario.ask('PUT', `/${db}`);
	for (const [i, c] of cases.entries()) {
		const path = `/${db}/${encodeURIComponent(c.id)}`;
		if (c.parent) await scenario.ask('PUT', `${path}?new_edits=false`, { text: JSON.stringify({ _rev: c.parent }), headers });
		const text = c.body ?? joinPieces(c.pieces);
		const answer = await scenario.ask('PUT', path + (c.parent ? `?rev=${c.parent}` : ''), { text, headers });
		const got = answer.view.json?.rev;
		const label = `revids/revids #${i + 1}`;
		if (got === c.rev) report.pass(label, `PUT ${path}`);
		else report.fail(label, `PUT ${path}`, [{ class: 'body', at: `rev of ${c.id}`, want: c.rev, got: got ?? answer.error ?? answer.raw.toString() }]);
	}
	await scenario.ask('DELETE', `/${db}`);
}
