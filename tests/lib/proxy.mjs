// A TCP proxy in front of a server that cuts connections: idle ones, and others in the middle of an answer.
import net from 'node:net';

/**
 * cuttingProxy({port, idleMs, mayCut, cutsNow}) -> {port, idleCuts, midCuts, cutAll(), stop()}
 *   port     of the server, on 127.0.0.1
 *   idleMs   a connection on which nothing went either way for so long is cut
 *   mayCut   (request line) => whether a connection whose newest request this is may be cut
 *   cutsNow  () => whether the piece of an answer that has just come is the last, of which half goes through
 * cutAll() cuts every connection that is open.
 */
export async function cuttingProxy({ port, idleMs, mayCut = () => true, cutsNow = () => false }) {
	const proxy = { idleCuts: 0, midCuts: 0 };
	const open = new Set();
	const server = net.createServer((client) => {
		const upstream = net.connect(port, '127.0.0.1');
		let request = '';
		const end = () => {
			open.delete(end);
			client.destroy();
			upstream.destroy();
		};
		open.add(end);
		for (const socket of [client, upstream]) {
			socket.setNoDelay(true);
			socket.on('error', end);
			socket.on('close', end);
			socket.on('end', end);
		}
		// A write restarts the time as well as what comes.
		const idle = () => {
			if (!mayCut(request)) return;
			proxy.idleCuts++;
			end();
		};
		upstream.setTimeout(idleMs);
		upstream.on('timeout', idle);
		client.on('data', (data) => {
			const line = /^(?:GET|HEAD|POST|PUT|DELETE) \S+/.exec(data.toString('latin1', 0, 8192));
			if (line) request = line[0];
			upstream.write(data);
		});
		upstream.on('data', (data) => {
			if (mayCut(request) && cutsNow()) {
				proxy.midCuts++;
				client.write(data.subarray(0, data.length >> 1), end);
				upstream.pause();
				return;
			}
			client.write(data);
		});
	});
	await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
	proxy.port = server.address().port;
	proxy.cutAll = () => [...open].forEach((end) => end());
	proxy.stop = () => new Promise((resolve) => {
		server.close(resolve);
		proxy.cutAll();
	});
	return proxy;
}
