// couch_peruser where something fails or ends in the middle: each user has a database in the end, of which the user is a member, whatever became of
// other users' databases.  lib/disk_shim.c makes the file system fail.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { preloaded, startDivand, tempDir } from '../lib/divand.mjs';
import { until } from '../lib/until.mjs';
import { ask } from './client.mjs';

const [WRITES, GONE, LATER] = [1, 16, 128];
const [EIO, ENOSPC] = [5, 28];
const TIMEOUT = { timeout: 60000 };

const database = (name) => `userdb-${Buffer.from(name).toString('hex')}`;
const userPath = (name) => `/_users/org.couchdb.user:${name}`;
const ok = (r, status = 200) => (assert.equal(r.status, status, r.text), r.json);

/** A server with the shim; fault(sorts, errno): from now on. */
async function start(peruser, dataDir = tempDir('divan-peruser')) {
	const file = path.join(tempDir('divan-fault'), 'fault');
	fs.writeFileSync(file, Buffer.alloc(8));
	const config = { chttpd_auth: { iterations: '10' }, couch_peruser: peruser };
	const server = await startDivand({ dataDir, config, env: { ...preloaded('disk'), DISK_FAULT: file, DISK_ROOT: dataDir } });
	const names = async (name) => {
		const { status, json } = await ask(server, 'GET', `/${database(name)}/_security`);
		return status === 200 ? [...(json.admins?.names ?? []), ...(json.members?.names ?? [])] : undefined;
	};
	return Object.assign(server, {
		dataDir,
		fault: (sorts, errno) => fs.writeFileSync(file, Uint32Array.of(sorts, errno), { flag: 'r+' }),
		names,
		put: async (name) => {
			const old = await ask(server, 'GET', userPath(name));
			ok(await ask(server, 'PUT', userPath(name), { json: { ...(old.status === 200 && old.json), name, password: 'pw', roles: [], type: 'user' } }), 201);
		},
		remove: async (name) => ok(await ask(server, 'DELETE', `${userPath(name)}?rev=${ok(await ask(server, 'GET', userPath(name)))._rev}`)),
		set: async (key, value, persist = 'true') => ok(await ask(server, 'PUT', `/_node/_local/_config/couch_peruser/${key}`, { json: value, headers: { 'X-Couch-Persist': persist } })),
		belongs: (name) => until(async () => (await names(name))?.filter((n) => n === name).length === 2, `${name} has a database`),
		isNobodys: (name) => until(async () => (await names(name))?.length === 0, `${name}'s database is nobody's`),
		note: async () => (await ask(server, 'GET', '/_users/_local/couch_peruser')).json,
	});
}

/** What was told of the user is noted. */
const noted = (server) => until(async () => {
	const { update_seq } = ok(await ask(server, 'GET', '/_users'));
	return (await server.note()).seq === update_seq;
}, 'all is noted');

test('a database that is made anew has its user from the first moment', TIMEOUT, async () => {
	const server = await start({ enable: 'true' });
	try {
		await server.put('ann');
		await server.belongs('ann');
		await noted(server);
		ok(await ask(server, 'DELETE', `/${database('ann')}`));
		// It is made, and then nothing can be written any more.
		server.fault(WRITES | LATER, EIO);
		await server.set('delete_dbs', 'true', 'false');
		await until(async () => (await server.names('ann')) !== undefined, 'it is made');
		await new Promise((resolve) => setTimeout(resolve, 100)); // whatever else would be written fails
		await server.kill();
		server.fault(0, 0);
		await server.restart();
		await server.belongs('ann');
	} finally {
		await server.stop();
	}
});

test('who is deleted before the first walk over all users has ended is out of the database also where a crash ended it', TIMEOUT, async () => {
	let server = await start({ enable: 'false' });
	try {
		await server.put('gone');
		ok(await ask(server, 'PUT', `/${database('gone')}`), 201);
		ok(await ask(server, 'PUT', `/${database('gone')}/_security`, { json: { admins: { names: ['gone'] } } }));
		await server.remove('gone');
		await server.put('ann');
		await server.put('bob');
		// ann's database is made; there is no room for bob's.
		server.fault(GONE | LATER, ENOSPC);
		await server.set('enable', 'true', 'false');
		await server.belongs('ann');
		await until(() => /couch_peruser: no space/.test(server.stderr()), 'it waits for room');
		await server.remove('ann');
		await server.kill();
		server.fault(0, 0);
		server = await start({ enable: 'true' }, server.dataDir);
		await server.belongs('bob');
		await server.isNobodys('ann');
		// Of those who were deleted before there was a couch_peruser it knows nothing.
		assert.deepEqual(await server.names('gone'), ['gone']);
	} finally {
		await server.stop();
	}
});

test('a server whose couch_peruser waits to try again ends well', TIMEOUT, async () => {
	const server = await start({ enable: 'true' });
	server.fault(GONE, ENOSPC);
	await server.put('ann');
	await until(() => /couch_peruser: no space.*tried again/.test(server.stderr()), 'it waits');
	await server.stop();
});

/** Damage ${name}'s database, which is not open; returns what puts it right again. */
function damage(server, name) {
	const file = path.join(server.dataDir, `${database(name)}.divan`);
	const good = fs.readFileSync(file);
	fs.writeFileSync(file, Buffer.alloc(good.length, 'damage'));
	return () => fs.writeFileSync(file, good);
}

for (const first of [false, true]) {
	test(`a database that is damaged ${first ? 'when all users are looked at for the first time' : 'when its user comes'} keeps no other user from his`, TIMEOUT, async () => {
		let server = await start({ enable: first ? 'false' : 'true' });
		const restart = async () => {
			await server.stop();
			server = await start({ enable: 'true' }, server.dataDir);
		};
		try {
			for (const name of ['kim', 'lee', 'mia']) ok(await ask(server, 'PUT', `/${database(name)}`), 201);
			if (!first) {
				await server.put('ann');
				await server.belongs('ann');
				await noted(server);
				// He is taken out by hand.
				ok(await ask(server, 'PUT', `/${database('ann')}/_security`, { json: { admins: {}, members: { names: ['x'] } } }));
			}
			await server.restart();
			const [mendKim, mendLee] = [damage(server, 'kim'), damage(server, 'lee'), damage(server, 'mia')];
			for (const name of ['kim', 'lee', 'mia', 'zoe']) await server.put(name);
			if (first) await server.set('enable', 'true', 'false');
			await server.belongs('zoe');
			await noted(server);
			assert.match(server.stderr(), new RegExp(`couch_peruser: database ${database('kim')}: .*passed over`));
			assert.deepEqual((await server.note()).passed_over.sort(), ['kim', 'lee', 'mia'].map(database));
			// When he changes;
			mendLee();
			await server.put('lee');
			await server.belongs('lee');
			await noted(server);
			// at the next start;
			await restart();
			await server.put('zed');
			await server.belongs('zed');
			await noted(server);
			assert.deepEqual((await server.note()).passed_over.sort(), ['kim', 'mia'].map(database));
			await server.stop();
			mendKim();
			server = await start({ enable: 'true', delete_dbs: 'true' }, server.dataDir);
			await server.belongs('kim');
			if (!first) assert.deepEqual(await server.names('ann'), ['x']);
			// and when he goes.
			await server.remove('mia');
			await until(async () => (await server.note()).passed_over === undefined, 'nobody is passed over');
			assert.equal((await ask(server, 'GET', `/${database('mia')}`)).status, 404);
		} finally {
			await server.stop();
		}
	});
}
