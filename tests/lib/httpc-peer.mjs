// The servers that the HTTP client's tests talk to: HTTP/1.1, the same over TLS and HTTP/2, and one that speaks no HTTP.
// Prints one line, `plain=PORT tls=PORT ... ca=FILE ...`, and ends when its standard input does.
import crypto from 'node:crypto';
import http from 'node:http';
import https from 'node:https';
import http2 from 'node:http2';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import zlib from 'node:zlib';
import { Authority, read } from './certs.mjs';

const PIECE = Buffer.alloc(65536, 'divan ');
const stats = { connections: 0, open: 0, peak: 0, requests: 0, running: 0, runningPeak: 0, sent: 0 };
let held = [];

/** Sends ${total} bytes as fast as they are taken. */
function sendBytes(res, total) {
	let sent = 0;
	const more = () => {
		while (sent < total) {
			const piece = PIECE.subarray(0, Math.min(PIECE.length, total - sent));
			sent += piece.length;
			stats.sent += piece.length;
			if (!res.write(piece)) {
				res.once('drain', more);
				return;
			}
		}
		res.end();
	};
	more();
}

function sink(req, res) {
	let bytes = 0;
	const hash = crypto.createHash('md5');
	req.on('data', (data) => { bytes += data.length; hash.update(data); });
	req.on('end', () => res.end(JSON.stringify({ bytes, md5: hash.digest('hex') })));
}

function echo(req, res) {
	const body = [];
	req.on('data', (data) => body.push(data));
	req.on('end', () => res.end(JSON.stringify({
		method: req.method, version: req.httpVersion, url: req.url, raw: req.rawHeaders, body: Buffer.concat(body).toString('latin1'),
	})));
}

const PAGES = {
	'/hello': (req, res) => res.end('hello'),
	'/bytes': (req, res, n) => { res.writeHead(200, { 'content-length': n }); sendBytes(res, +n); },
	'/sink': sink,
	'/echo': echo,
	'/hold': (req, res) => held.push(res),
	'/release': (req, res) => { for (const r of held) r.end('held'); held = []; res.end('released'); },
	'/stats': (req, res) => res.end(JSON.stringify(stats)),
	'/forget': (req, res) => { stats.peak = stats.open; stats.connections = stats.runningPeak = stats.sent = 0; res.end('{}'); },
	'/gzip': (req, res, n) => {
		res.writeHead(200, { 'content-encoding': 'gzip', 'x-offered': req.headers['accept-encoding'] ?? '' });
		res.end(zlib.gzipSync(Buffer.alloc(+n, 'a')));
	},
	'/heads': (req, res) => {
		res.writeHead(503, { 'set-cookie': ['one=1', 'two=2'], 'retry-after': '7', 'content-type': 'text/x' });
		res.end();
	},
	'/feed': (req, res, n) => {
		res.writeHead(200);
		res.write('\n');
		const timer = setInterval(() => (n-- > 0 ? res.write('\n') : res.end('last')), 30);
		res.on('close', () => clearInterval(timer));
	},
	'/stall': (req, res) => { res.writeHead(200, { 'content-length': 500 }); res.write('hello'); },
	// Tells what it thinks of the body without having read it.
	'/refuse': (req, res, how) => {
		res.writeHead(413, { ...(how !== 'keep' && { connection: 'close' }), 'content-type': 'application/json' });
		res.end('{"error":"too_large"}');
		if (how === 'close') res.on('finish', () => req.socket.destroySoon());
		if (how === 'reset') res.on('finish', () => req.socket.resetAndDestroy());
	},
};

function serve(req, res) {
	const [, page, arg] = /^(?:http:\/\/[^/]+)?(\/[^/]*)(?:\/(.*))?$/.exec(req.url) ?? [];
	stats.requests++;
	stats.running++;
	stats.runningPeak = Math.max(stats.runningPeak, stats.running);
	res.on('close', () => stats.running--);
	res.on('error', () => {});
	req.on('error', () => {});
	if (PAGES[page]) PAGES[page](req, res, arg);
	else { res.statusCode = 404; res.end(); }
}

const counted = (server, event = 'connection') => server.on(event, (socket) => {
	stats.connections++;
	stats.peak = Math.max(stats.peak, ++stats.open);
	socket.on('close', () => stats.open--);
	socket.on('error', () => {});
});

/** What is no HTTP, or too much of it, by path. */
const raw = net.createServer((socket) => {
	socket.on('error', () => {});
	const forever = (text) => {
		const big = text.repeat(Math.ceil(16384 / text.length));
		const more = () => { while (socket.writable && socket.write(big)); };
		socket.on('drain', more);
		more();
	};
	const OK = 'HTTP/1.1 200 OK\r\n';
	const answers = {
		'/garbage': () => socket.end('SSH-2.0-OpenSSH_9.2\r\n\0\x01\x02'),
		'/nothing': () => socket.end(),
		'/reset': () => socket.resetAndDestroy(),
		'/half-head': () => socket.end(`${OK}Content-Le`),
		'/endless-head': () => { socket.write(OK); forever('X-More: of this\r\n'); },
		'/endless-line': () => { socket.write(`${OK}X-More: `); forever('x'); },
		'/endless-body': () => { socket.write(`${OK}\r\n`); forever('x'); },
		'/endless-interim': () => forever('HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n'),
		'/endless-chunk': () => { socket.write(`${OK}Transfer-Encoding: chunked\r\n\r\n`); forever('0000000000'); },
		'/huge-chunk': () => socket.end(`${OK}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nx`),
		'/bad-length': () => socket.end(`${OK}Content-Length: -5\r\n\r\nhello`),
		'/two-lengths': () => socket.end(`${OK}Content-Length: 5\r\nContent-Length: 7\r\n\r\nhello`),
		'/bad-gzip': () => socket.end(`${OK}Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello`),
		'/nul-head': () => socket.end(`${OK}X-Nul: a\0b\r\nContent-Length: 0\r\n\r\n`),
	};
	let head = '';
	socket.on('data', (data) => {
		head += data.toString('latin1');
		if (head.includes('\r\n\r\n')) answers[head.split(' ')[1]]?.();
	});
});

/** A proxy: tunnels, and answers itself what is not to be tunnelled. */
const proxy = http.createServer((req, res) => res.end(`proxied ${req.url} ${req.headers['proxy-authorization'] ?? '-'}`));
proxy.on('connect', (req, socket, head) => {
	const [host, port] = req.url.split(':');
	if (req.headers['proxy-authorization'] === undefined) {
		socket.end('HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n');
		return;
	}
	const there = net.connect(+port, host, () => {
		socket.write('HTTP/1.1 200 Connection established\r\nX-Proxy: 1\r\n\r\n');
		there.write(head);
		there.pipe(socket).pipe(there);
	});
	for (const s of [socket, there]) s.on('error', () => { socket.destroy(); there.destroy(); });
});

const ca = new Authority();
const good = read(ca.server());
const wrong = read(ca.issue('/CN=elsewhere', { san: 'DNS:elsewhere.example', use: 'serverAuth' }));
const ended = read(ca.issue('/CN=localhost', { san: 'IP:127.0.0.1', use: 'serverAuth', ended: true }));
const client = ca.issue('/CN=client');
const listen = (server) => new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server.address().port)));
const plain = counted(http.createServer({ keepAliveTimeout: 600000, requestTimeout: 0, headersTimeout: 0 }, serve));
const ports = {
	plain: plain,
	tls: counted(https.createServer({ ...good, keepAliveTimeout: 600000 }, serve), 'secureConnection'),
	h2: counted(http2.createSecureServer({ ...good, allowHTTP1: true }, serve), 'secureConnection'),
	wrong: https.createServer(wrong, serve),
	ended: https.createServer(ended, serve),
	mutual: https.createServer({ ...good, ca: readFileSync(ca.file), requestCert: true, rejectUnauthorized: true }, serve),
	raw,
	proxy,
};
const line = [];
for (const [name, server] of Object.entries(ports)) line.push(`${name}=${await listen(server)}`);
console.log(`${line.join(' ')} ca=${ca.file} cert=${client.cert_file} key=${client.key_file}`);
process.stdin.on('end', () => process.exit(0)).resume();
