// HTTP/1.1 against RFC 9112, as a table: what is sent, what must come, and that nothing behind it is taken for a request unless
// the framing was sound.  Each row goes over five kinds of connections, since different code reads the bytes: whole, in pieces, behind
// another request in one write, behind one that has been answered, and over TLS.  A request stands behind each; what was written
// to the database tells in the end which of them were carried out.
// FRAMING_SEED says where pieces are cut; with one of FRAMING_ROUNDS each row goes over three of the kinds, drawn by the seed.
import net from 'node:net';
import { after, before, test } from 'node:test';
import tls from 'node:tls';
import { certificate, startDivand } from '../lib/divand.mjs';
import { Random } from '../lib/random.mjs';
import { cut, goThrough, ROUNDS, SEED } from '../lib/table.mjs';
import { ask, newDb } from './client.mjs';

let server, db;

/*
 * ---- The table: row(section, what, bytes, wanted, {body, end, ways, differs}) ----
 *
 * In ${bytes} @DOC is the path of a document of the row's own, @AUTH a header line.  ${wanted}:
 *   refused(400)  an answer with one of these states, and the end; what stands behind is not carried out
 *   served(200)   that answer, and what stands behind is carried out
 *   last(200)     that answer, and the end
 *   GONE          the end, without an answer
 * {..., or: 400}: or that answer, and the end.
 * stored   what the document must be; without it, and unless 201 is wanted, there must be none
 * end      the client closes its side, and nothing stands behind
 * differs  what RFC 9112 or 9110 would rather have, and why this is safe
 */

const refused = (...statuses) => ({ statuses, goes_on: false, refused: true });
const served = (...statuses) => ({ statuses, goes_on: true });
const last = (...statuses) => ({ statuses, goes_on: false });
const GONE = { statuses: [], goes_on: false };
const rows = [];
const LENIENT = 'h2o reads chunks of a GET, and of what came together with an earlier request; it takes nearly any line for a size, so nothing behind them counts';
const NOT_BEHIND = ['whole', 'pieces', 'next', 'tls']; // a head that came with an earlier request takes no memory that is not taken already
const row = (rfc, what, bytes, wanted, more = {}) => rows.push({ rfc, what, bytes, wanted, ...more });
const JSON_BODY = '{"a":1}';
const HIDDEN = (path) => `PUT ${path} HTTP/1.1\r\nHost: x\r\n@AUTH\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}`;

const get = (lines, { method = 'GET', target = '/_up', version = 'HTTP/1.1', host = 'Host: x\r\n' } = {}) =>
	`${method} ${target} ${version}\r\n${host}${lines}${lines && '\r\n'}\r\n`;
const put = (lines, body = '', { version = 'HTTP/1.1', host = 'Host: x\r\n', method = 'PUT', target = '@DOC' } = {}) =>
	`${method} ${target} ${version}\r\n${host}@AUTH\r\n${lines}${lines && '\r\n'}\r\n${body}`;
const chunks = (...parts) => put('Transfer-Encoding: chunked', parts.join(''));
const CHUNKED = `7\r\n${JSON_BODY}\r\n0\r\n\r\n`;
/** A head's fault, with a method that has a body and with one that has none: other code looks at them. */
function head(rfc, what, lines, wanted, more) {
	row(rfc, `${what}, GET`, get(lines), wanted, more);
	row(rfc, `${what}, PUT`, put(`${lines}\r\nContent-Length: 7`, JSON_BODY), wanted.refused ? wanted : { ...wanted, statuses: [201] }, more);
}
const line = (rfc, what, first, wanted, more) => row(rfc, what, `${first}\r\nHost: x\r\n\r\n`, wanted, more);

/* 2: messages. */
row('2.2', 'an empty line before the request line', '\r\n' + get(''), served(200));
row('2.2', 'three empty lines', '\r\n\r\n\r\n' + get(''), refused(400), { differs: 'one is ignored, as is asked for; more are no request' });
row('2.2', 'lines that end with LF', 'GET /_up HTTP/1.1\nHost: x\n\n', refused(400), { differs: 'a recipient may take LF for an end of line; refused, as the one before us may not' });
row('2.2', 'LF at the end of one field', get('X: y\nZ: a'), refused(400));
row('2.2', 'LF behind the request line', 'GET /_up HTTP/1.1\nHost: x\r\n\r\n', refused(400));
row('2.2', 'LF at the end of the head', 'GET /_up HTTP/1.1\r\nHost: x\r\n\n', refused(400));
row('2.2', 'LF before a length', put('X: y\nContent-Length: 7', JSON_BODY), refused(400));
head('2.2', 'CR within a value', 'X: a\rb', refused(400));
head('2.2', 'CR before an encoding', 'X: a\rTransfer-Encoding: chunked', refused(400));
head('2.2', 'CR CR LF', 'X: a\r', refused(400));
row('2.2', 'CR within the request line', 'GET /_up\r HTTP/1.1\r\nHost: x\r\n\r\n', refused(400));
row('2.2', 'CR for an end of line', 'GET /_up HTTP/1.1\rHost: x\r\r', refused(400));
row('2.2', 'a space before the first field', get('', { host: ' Host: x\r\n' }), refused(400));
row('2.2', 'a tab before the first field', get('', { host: '\tHost: x\r\n' }), refused(400));
row('2.2', 'a space before the request line', ' ' + get(''), refused(400));
row('2.2', 'a byte order mark', '\xef\xbb\xbf' + get(''), refused(400));
row('2.2', 'a NUL before the request line', '\0' + get(''), refused(400));
row('2.2', 'bytes of TLS', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n', refused(400));
row('2.2', 'the preface of HTTP/2 of which half is wrong', 'PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n', refused(400), { ways: ['behind', 'next'] });

/* 2.3, 3: the request line. */
line('3', 'no version: HTTP/0.9', 'GET /_up', refused(400));
line('3', 'the line of HTTP/0.9 in full', 'GET /_up HTTP/0.9', refused(400));
line('2.3', 'HTTP/2.0', 'GET /_up HTTP/2.0', refused(400), { differs: '505 would say it better; the connection ends as well' });
line('2.3', 'HTTP/3.0', 'GET /_up HTTP/3.0', refused(400), { differs: 'as above' });
line('2.3', 'HTTP/1.2', 'GET /_up HTTP/1.2', served(200));
row('2.3', 'HTTP/1.2 without Host', 'GET /_up HTTP/1.2\r\n\r\n', refused(400));
line('2.3', 'HTTP/1.10', 'GET /_up HTTP/1.10', refused(400));
line('2.3', 'HTTP/1', 'GET /_up HTTP/1', refused(400));
line('2.3', 'HTTP/1.', 'GET /_up HTTP/1.', refused(400));
line('2.3', 'HTTP/01.1', 'GET /_up HTTP/01.1', refused(400));
line('2.3', 'HTTP/1,1', 'GET /_up HTTP/1,1', refused(400));
line('2.3', 'http/1.1', 'GET /_up http/1.1', refused(400));
line('2.3', 'HTTP/1.1 in front of another', 'GET /_up HTTP/1.1 HTTP/1.1', refused(400));
line('3', 'two spaces', 'GET  /_up HTTP/1.1', refused(400));
line('3', 'two spaces before the version', 'GET /_up  HTTP/1.1', refused(400));
line('3', 'a tab for a space', 'GET\t/_up HTTP/1.1', refused(400));
line('3', 'a tab before the version', 'GET /_up\tHTTP/1.1', refused(400));
line('3', 'a space behind the version', 'GET /_up HTTP/1.1 ', refused(400));
line('3', 'a space in the target', 'GET /_up /x HTTP/1.1', refused(400));
line('3', 'a NUL in the target', 'GET /_up\0 HTTP/1.1', refused(400));
line('3', 'DEL in the target', 'GET /_up\x7f HTTP/1.1', refused(400));
line('3', 'a control in the target', 'GET /_up\x01 HTTP/1.1', refused(400));
line('3', 'no target', 'GET HTTP/1.1', refused(400));
line('3', 'nothing between two spaces', 'GET  HTTP/1.1', refused(400));
line('3.1', 'a method in lower case', 'get /_up HTTP/1.1', served(405));
line('3.1', 'a method that nobody knows', 'BREW /_up HTTP/1.1', served(405));
line('3.1', 'a method with a bracket', 'G(T /_up HTTP/1.1', refused(400));
line('3.1', 'a method with a colon', 'GE:T /_up HTTP/1.1', refused(400));
line('3.1', 'a method with a NUL', 'GE\0T /_up HTTP/1.1', refused(400));
line('3.1', 'a method of 8-bit bytes', 'G\xc9T /_up HTTP/1.1', refused(400));
line('3.1', 'a method of 23 bytes', `${'M'.repeat(23)} /_up HTTP/1.1`, served(405));
line('3.1', 'a method of 1,000 bytes', `${'M'.repeat(1000)} /_up HTTP/1.1`, refused(400), { differs: '501 should come; 400 and the end are as clear' });
line('3.1', 'TRACE', 'TRACE /_up HTTP/1.1', served(405));
line('3.2', 'a target of 8-bit bytes', 'GET /\xe9\xe9 HTTP/1.1', served(400, 404));
line('3.2', 'a fragment', 'GET /_up#x HTTP/1.1', served(200), { differs: 'as CouchDB does, what stands behind # is not looked at' });
line('3.2', 'characters that no target has', 'GET /<>"^`{|}\\ HTTP/1.1', served(400, 404));
line('3.2', 'a target without a slash', 'GET _up HTTP/1.1', refused(400));
line('3.2', 'half an escape', 'GET /%4 HTTP/1.1', served(400, 404));
line('3.2', 'an escape that is none', 'GET /%zz HTTP/1.1', served(400, 404));
line('3.2.2', 'a whole URL', 'GET http://x/_up HTTP/1.1', served(200));
line('3.2.2', 'of another host', 'GET http://elsewhere.example/_up HTTP/1.1', served(200));
row('3.2.2', 'without Host', 'GET http://x/_up HTTP/1.1\r\n\r\n', refused(400));
line('3.2.2', 'without a host in it', 'GET http:///_up HTTP/1.1', refused(400));
line('3.2.2', 'with a user', 'GET http://u:p@x/_up HTTP/1.1', refused(400));
line('3.2.2', 'of another scheme', 'GET gopher://x/_up HTTP/1.1', refused(400));
line('3.2.2', 'without a path', 'GET http://x HTTP/1.1', refused(400), { differs: 'it would mean /; no client sends it' });
line('3.2.2', 'with a space in the host', 'GET http://x y/_up HTTP/1.1', refused(400));
line('3.2.2', 'with a path that has another in it', 'GET /http://x/_up HTTP/1.1', served(400, 404));
line('3.2.3', 'a host and port', 'GET x:80 HTTP/1.1', refused(400));
line('3.2.3', 'CONNECT', 'CONNECT x:80 HTTP/1.1', refused(400));
line('3.2.3', 'CONNECT with a path', 'CONNECT /_up HTTP/1.1', served(405));
line('3.2.4', 'OPTIONS *', 'OPTIONS * HTTP/1.1', served(404), { differs: 'it asks for what the server as a whole can: nothing that is served' });
line('3.2.4', 'GET *', 'GET * HTTP/1.1', served(400, 404, 405));
line('3', 'a request line of 120 KiB', `GET /${'x'.repeat(120 << 10)} HTTP/1.1`, served(400, 404, 414));
line('3', 'a request line of 140 KiB', `GET /${'x'.repeat(140 << 10)} HTTP/1.1`, refused(431), { ways: NOT_BEHIND });

/* 3.2: Host. */
row('3.2', 'no Host', 'GET /_up HTTP/1.1\r\n\r\n', refused(400));
row('3.2', 'no Host, with a body', put('Content-Length: 7', JSON_BODY, { host: '' }), refused(400));
row('3.2', 'no Host, HTTP/1.0', 'GET /_up HTTP/1.0\r\n\r\n', last(200));
for (const [what, host] of Object.entries({
	'two of them': 'Host: x\r\nHost: y\r\n', 'the same twice': 'Host: x\r\nHost: x\r\n', 'a list': 'Host: x, y\r\n', 'a path': 'Host: x/y\r\n',
	'a user': 'Host: u@x\r\n', 'a space': 'Host: x y\r\n', 'a space before the colon': 'Host : x\r\n', 'a question': 'Host: x?y\r\n', 'a fragment': 'Host: x#y\r\n',
	'a backslash': 'Host: x\\y\r\n', 'a quote': 'Host: "x"\r\n', 'brackets': 'Host: <x>\r\n', 'a tab': 'Host: x\ty\r\n', 'two lines': 'Host: x\r\n y\r\n', 'a NUL': 'Host: x\0y\r\n',
	'8-bit bytes': 'Host: \xe9\r\n', 'a semicolon and a list': 'Host: x;y,z\r\n',
})) {
	row('3.2', `Host with ${what}`, get('', { host }), refused(400));
	row('3.2', `Host with ${what}, PUT`, put('Content-Length: 7', JSON_BODY, { host }), refused(400));
}
for (const host of ['Host:', 'Host: x:5984', 'Host: [::1]:5984', 'Host: \t x \t', 'hOST:x', 'Host: a.b-c_d.example', 'Host: %41'])
	row('3.2', host, get('', { host: host + '\r\n' }), served(200));
row('3.2', 'two Hosts, HTTP/1.0', get('', { host: 'Host: x\r\nHost: y\r\n', version: 'HTTP/1.0' }), refused(400));

/* 5: fields. */
head('5', 'no name', ': value', refused(400));
head('5', 'no colon', 'nothing', refused(400));
head('5', 'an empty name and value', ':', refused(400));
for (const [what, name] of Object.entries({ 'a space': 'X Y', 'a tab': 'X\tY', 'a NUL': 'X\0Y', 'a control': 'X\x01', 'a bracket': 'X(', 'a quote': '"X"', 'a slash': 'X/Y', 'an at': 'X@', 'a brace': '{X}', '8-bit bytes': 'X\xe9', 'DEL': 'X\x7f' }))
	head('5.1', `a name with ${what}`, `${name}: v`, refused(400));
for (const [what, name] of Object.entries({ 'a space': 'X ', 'a tab': 'X\t', 'a vertical tab': 'X\x0b', 'a no-break space': 'X\xa0' })) head('5.1', `${what} before the colon`, `${name}: v`, refused(400));
head('5.1', 'all that a name may have', "!#$%&'*+-.^_`|~09azAZ: v", served(200));
head('5.1', 'a value of 8-bit bytes', 'X: \x80\xff\xe9', served(200));
head('5.1', 'a value of blanks', 'X:  \t \t', served(200));
head('5.1', 'no value', 'X:', served(200));
head('5.1', 'tabs in a value', 'X: a\tb', served(200));
for (const [what, ch] of Object.entries({ NUL: '\0', 'a control': '\x01', 'a vertical tab': '\x0b', 'a form feed': '\x0c', ESC: '\x1b', DEL: '\x7f' })) head('5.5 of 9110', `a value with ${what}`, `X: a${ch}b`, refused(400));
head('5.2', 'a folded line', 'X: a\r\n b', refused(400));
head('5.2', 'one folded with a tab', 'X: a\r\n\tb', refused(400));
head('5.2', 'one folded to nothing', 'X: a\r\n ', refused(400));
head('5.2', 'a length that may be part of a value', 'X: a\r\n Content-Length: 5', refused(400));
row('5.2', 'an encoding on a line of its own', put('Transfer-Encoding:\r\n chunked', CHUNKED), refused(400));
row('5.2', 'a length on a line of its own', put('Content-Length:\r\n 7', JSON_BODY), refused(400));
row('5', '98 fields more', get(Array.from({ length: 98 }, (_, i) => `X-${i}: v`).join('\r\n')), served(200));
row('5', '100 fields more', get(Array.from({ length: 100 }, (_, i) => `X-${i}: v`).join('\r\n')), refused(400, 431));
head('5', '2,000 fields more', Array.from({ length: 2000 }, () => 'X: v').join('\r\n'), refused(431, 400));
head('5', 'a value of 140 KiB', `X: ${'v'.repeat(140 << 10)}`, refused(431), { ways: NOT_BEHIND });

/* 6.1: Transfer-Encoding. */
row('6.1', 'chunked', put('Transfer-Encoding: chunked', CHUNKED), served(201), { stored: JSON_BODY });
row('6.1', 'CHUNKED', put('TRANSFER-ENCODING:\t CHUNKED', CHUNKED), served(201), { stored: JSON_BODY });
for (const value of [
	'chunked, chunked', 'gzip, chunked', 'chunked, gzip', 'chunked, identity', 'identity', 'identity, chunked', 'gzip', 'xchunked', 'chunkedx', 'chunked;q=1', '"chunked"', 'chunked,', ',chunked',
	'', 'chun ked', 'chunked\x0b', '\x0bchunked', 'chunked\0', '\xa0chunked', 'chunked chunked', 'chunked;', 'cow', "'chunked'", 'chunked\t,\t', 'x, chunked',
]) row('6.1', `Transfer-Encoding: ${JSON.stringify(value)}`, put(`Transfer-Encoding: ${value}`, CHUNKED), refused(400), { differs: /gzip|cow|^x,/.test(value) ? 'an unknown coding should get 501; 400 and the end are as clear' : undefined });
for (const name of ['Transfer-Encoding ', 'Transfer-Encoding\t', 'Transfer-Encoding\0', 'Transfer-Encoding\x0b', ' Transfer-Encoding', '\x0bTransfer-Encoding', 'Transfer Encoding'])
	row('6.1', `${JSON.stringify(name)}: chunked`, put(`X: y\r\n${name}: chunked`, CHUNKED), refused(400));
for (const name of ['Transfer_Encoding', 'X-Transfer-Encoding', 'Transfer-Encodings', 'ransfer-Encoding']) row('6.1', `${name} is none`, put(`${name}: chunked\r\nContent-Length: 7`, JSON_BODY), served(201), { stored: JSON_BODY });
for (const [a, b] of [['chunked', 'chunked'], ['chunked', 'identity'], ['identity', 'chunked'], ['cow', 'chunked'], ['chunked', 'cow'], ['', 'chunked']]) row('6.1', `${a} and ${b}, each in its line`, put(`Transfer-Encoding: ${a}\r\nTransfer-Encoding: ${b}`, CHUNKED), refused(400));
for (const method of ['GET', 'HEAD', 'PUT', 'POST', 'DELETE']) {
	const target = method === 'PUT' ? '@DOC' : method === 'POST' ? '/_session' : '/_up';
	row('6.1', `length and encoding, ${method}`, put(`Content-Length: ${CHUNKED.length}\r\nTransfer-Encoding: chunked`, CHUNKED, { method, target }), refused(400));
	row('6.1', `encoding and length, ${method}`, put('Transfer-Encoding: chunked\r\nContent-Length: 7', CHUNKED, { method, target }), refused(400));
	row('6.1', `an encoding in HTTP/1.0, ${method}`, put('Transfer-Encoding: chunked', CHUNKED, { method, target, version: 'HTTP/1.0' }), refused(400));
	row('6.1', `an encoding in HTTP/1.0 that is to go on, ${method}`, put('Transfer-Encoding: chunked\r\nConnection: keep-alive', CHUNKED, { method, target, version: 'HTTP/1.0' }), refused(400));
}
/* What is known as CL.TE, TE.CL and TE.TE: a second request that one of two servers would see. */
row('11.2', 'CL.TE', put('Content-Length: 6\r\nTransfer-Encoding: chunked', '0\r\n\r\nG'), refused(400));
row('11.2', 'TE.CL', put('Content-Length: 4\r\nTransfer-Encoding: chunked', '@HEX\r\n@WITHIN\r\n0\r\n\r\n'), refused(400));
row('11.2', 'TE.TE', put('Transfer-Encoding: chunked\r\nTransfer-encoding: cow\r\nContent-Length: 4', '5c\r\nGPOST / HTTP/1.1\r\n\r\n0\r\n\r\n'), refused(400));
row('11.2', 'CL.0: a body where none is thought of', get('Content-Length: @LEN') + '@WITHIN', served(200));
row('11.2', 'an encoding that Connection takes away', put(`Transfer-Encoding: chunked\r\nConnection: transfer-encoding, keep-alive`, CHUNKED), served(201), { stored: JSON_BODY });
row('11.2', 'a length that Connection takes away', put(`Content-Length: 7\r\nConnection: content-length`, JSON_BODY), last(201), { stored: JSON_BODY });

/* 6.2: Content-Length. */
for (const value of ['7, 7', '7,7', '7 7', '+7', '-7', '-0', '0x7', '7.0', '7e0', '7;', '7,', ',7', '', ' ', '"7"', '7\0', '\x0b7', '7\x0b', '7\xa0', '\xb2', '\u0667', 'seven', '0b111', '7_0', '1 0', '18446744073709551623', '340282366920938463463374607431768211463', '9'.repeat(400), '00000000000000000000000000007x'])
	row('6.2', `Content-Length: ${JSON.stringify(value.slice(0, 40))}`, put(`Content-Length: ${value}`, JSON_BODY), refused(400, 413));
for (const value of ['9223372036854775807', '9223372036854775808', '18446744073709551615', '4294967303', '99999999999']) row('6.2', `Content-Length: ${value}`, put(`Content-Length: ${value}`, JSON_BODY), refused(413, 400));
for (const value of ['007', '\t7', '000000000000000007']) row('6.2', `Content-Length: ${JSON.stringify(value)}`, put(`Content-Length: ${value}`, JSON_BODY), served(201), { stored: JSON_BODY });
for (const [a, b] of [['7', '7'], ['7', '0'], ['0', '7'], ['7', '70'], ['', '7'], ['7', 'x']]) {
	row('6.3', `lengths ${a} and ${b}`, put(`Content-Length: ${a}\r\nX: y\r\ncontent-length: ${b}`, JSON_BODY), refused(400));
	row('6.3', `lengths ${a} and ${b}, GET`, get(`Content-Length: ${a}\r\nX: y\r\ncontent-length: ${b}`) + JSON_BODY, refused(400));
}
for (const name of ['Content-Length ', 'Content-Length\t', 'Content-Length\0', ' Content-Length', 'Content Length']) row('6.2', `${JSON.stringify(name)}: 7`, put(`X: y\r\n${name}: 7`, JSON_BODY), refused(400));
for (const name of ['Content_Length', 'Content-Lengths', 'X-Content-Length']) row('6.2', `${name} is none`, put(`${name}: 70\r\nContent-Length: 7`, JSON_BODY), served(201), { stored: JSON_BODY });

row('6.2', 'blanks behind a length', put('Content-Length: 7 ', JSON_BODY), { ...served(201), or: 400 }, { differs: 'blanks around a value are none of it; h2o refuses them, the gate does not' });
row('6.1', 'blanks behind an encoding', put('Transfer-Encoding: chunked \t', CHUNKED), { ...served(201), or: 400 }, { differs: 'as above' });

/* 6.3: which requests have a body. */
row('6.3', 'PUT without a word of a body', put(''), served(400, 411));
for (const method of ['GET', 'HEAD', 'DELETE', 'COPY', 'OPTIONS', 'TRACE', 'BREW', 'POST', 'PUT']) {
	const target = method === 'GET' || method === 'HEAD' ? '/_up' : '/none/none';
	const states = [200, 204, 400, 404, 405, 415];
	const h2o_reads = method === 'GET' || method === 'HEAD';
	row('6.3', `${method} with a body that looks like a request`, put('Content-Length: @LEN', '@WITHIN', { method, target }), served(...states));
	row('6.3', `${method} with one in chunks`, put('Transfer-Encoding: chunked', '@HEX\r\n@WITHIN\r\n0\r\n\r\n', { method, target }), h2o_reads ? last(200) : served(...states), { differs: h2o_reads ? LENIENT : undefined });
	row('6.3', `${method} with an empty body`, put('Content-Length: 0', '', { method, target }), served(...states));
}
row('6.3', 'a large body', put('Content-Length: 400000', `{"a":"${'x'.repeat(400000 - 8)}"}`), served(201));
row('6.3', 'a large body in one chunk', put('Transfer-Encoding: chunked', `61a80\r\n{"a":"${'x'.repeat(400000 - 8)}"}\r\n0\r\n\r\n`), served(201));

/* 7.1: chunks. */
const size = (text) => `${text}\r\n${JSON_BODY}\r\n0\r\n\r\n`;
for (const text of ['7', '07', '000000000000007', '7;a', '7;a=b', '7 ;a=b', '7;a="b"', '7;a=b;c="d e"', '7;', '7 ', '7\t', `7;${'e'.repeat(900)}`, '7;\x80\xff'])
	row('7.1', `a chunk's size ${JSON.stringify(text.slice(0, 30))}`, chunks(size(text)), served(201), { stored: JSON_BODY });
for (const text of [
	'', ' ', ' 7', '+7', '-7', '0x7', 'x', '7x', 'g', '7,', '7.', '7 7', '10000000000000007', 'ffffffffffffffff', 'fffffffffffffff9', '8000000000000000', '7\0', '\xef\xbb\xbf7', '7\x0b', '7;\0', '"7"', '\xb7', '7\n', '7\r',
	'7;a\nb', '7;a\rb', '7;a="\r\n"', '7\r\r', `7;${'e'.repeat(2000)}`, '0000000000000000007', `${'0'.repeat(3000)}7`,
]) row('7.1', `a chunk's size ${JSON.stringify(text.slice(0, 30))}`, chunks(size(text)), refused(400), { ways: /^[f8]{2}|^8000/.test(text) ? NOT_BEHIND : undefined, differs: /^0+7$/.test(text) ? 'zeros before a size have no bound in the grammar; 15 digits are enough for any' : undefined });
row('7.1', 'a size that ends with LF', chunks(`7\n${JSON_BODY}\r\n0\r\n\r\n`), refused(400));
row('7.1', 'an extension that ends with LF', chunks(`7;a\n${JSON_BODY}\r\n0\r\n\r\n`), refused(400));
row('7.1', 'a size that ends with CR', chunks(`7\r${JSON_BODY}\r\n0\r\n\r\n`), refused(400));
row('7.1', 'data that end with LF', chunks(`7\r\n${JSON_BODY}\n0\r\n\r\n`), refused(400));
row('7.1', 'data that end with CR', chunks(`7\r\n${JSON_BODY}\r0\r\n\r\n`), refused(400));
row('7.1', 'data that do not end', chunks(`7\r\n${JSON_BODY}0\r\n\r\n`), refused(400));
row('7.1', 'more data than the size', chunks(`7\r\n${JSON_BODY}xx\r\n0\r\n\r\n`), refused(400));
row('7.1', 'less data than the size', chunks(`9\r\n${JSON_BODY}\r\n0\r\n\r\n`), refused(400));
row('7.1', 'a size of one that hides a request', chunks(`7\r\n${JSON_BODY}\r\n0\r\n\r\n`), served(201), { stored: JSON_BODY });
row('7.1', 'two chunks, upper and lower case', chunks('{"a":"'.length.toString(16), '\r\n{"a":"\r\n', `A\r\n${'x'.repeat(10)}\r\na\r\n${'y'.repeat(10)}\r\n2\r\n"}\r\n0\r\n\r\n`), served(201), { stored: `{"a":"${'x'.repeat(10)}${'y'.repeat(10)}"}` });
row('7.1', 'one byte in a chunk', chunks(...[...JSON_BODY].map((c) => `1\r\n${c}\r\n`), '0\r\n\r\n'), served(201), { stored: JSON_BODY });
for (const end of ['00', '000000', '0;a=b', '0 ']) row('7.1', `the last chunk ${JSON.stringify(end)}`, chunks(`7\r\n${JSON_BODY}\r\n${end}\r\n\r\n`), served(201), { stored: JSON_BODY });
row('7.1', 'an end of LF alone', chunks(`7\r\n${JSON_BODY}\r\n0\n\n`), refused(400));
row('7.1', 'an end whose last line is LF alone', chunks(`7\r\n${JSON_BODY}\r\n0\r\n\n`), refused(400));
row('7.1', 'an end whose last line is CR CR LF', chunks(`7\r\n${JSON_BODY}\r\n0\r\n\r\r\n`), refused(400));
row('7.1.2', 'a trailer', chunks(`7\r\n${JSON_BODY}\r\n0\r\nX: y\r\nZ: a\r\n\r\n`), served(201), { stored: JSON_BODY });
for (const trailer of ['Content-Length: 70', 'Transfer-Encoding: chunked', 'Host: y', 'Authorization: Basic none', 'Trailer: X', 'If-Match: "1-none"', 'Connection: close', 'X-HTTP-Method-Override: DELETE', 'Expect: nothing'])
	row('7.1.2', `${trailer} in a trailer is none`, chunks(`7\r\n${JSON_BODY}\r\n0\r\n${trailer}\r\n\r\n`), served(201), { stored: JSON_BODY });
row('7.1.2', 'who one is is not said in a trailer', `PUT @DOC HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n7\r\n${JSON_BODY}\r\n0\r\n@AUTH\r\n\r\n`, served(401));
row('7.1.2', 'a trailer without a colon', chunks(`7\r\n${JSON_BODY}\r\n0\r\nnothing\r\n\r\n`), served(201), { stored: JSON_BODY, differs: 'trailers are dropped unread: only their end is looked for' });
row('7.1.2', 'a request in the place of the end', chunks(`7\r\n${JSON_BODY}\r\n0\r\nPUT /@DOC-2 HTTP/1.1\r\nHost: x\r\n@AUTH\r\nContent-Length: 0\r\n\r\n`), served(201), { stored: JSON_BODY });
row('7.1.2', 'a trailer that ends with LF', chunks(`7\r\n${JSON_BODY}\r\n0\r\nX: y\n\r\n`), refused(400));
row('7.1.2', 'a trailer with CR', chunks(`7\r\n${JSON_BODY}\r\n0\r\nX: y\rZ\r\n\r\n`), refused(400));
row('7.1.2', 'a trailer of 20 KiB', chunks(`7\r\n${JSON_BODY}\r\n0\r\nX: ${'y'.repeat(20 << 10)}\r\n\r\n`), refused(400));
row('7.1.2', 'trailers of 20 KiB', chunks(`7\r\n${JSON_BODY}\r\n0\r\n${'X: y\r\n'.repeat(3500)}\r\n`), refused(400));
row('7.1', 'chunks, GET', get('Transfer-Encoding: chunked') + size('7'), last(200), { differs: LENIENT });
for (const text of ['x', '-7']) row('7.1', `a chunk's size ${JSON.stringify(text)}, GET`, get('Transfer-Encoding: chunked') + size(text), refused(400));
row('7.1', 'a size that ends with LF, GET', get('Transfer-Encoding: chunked') + `7;a\n${JSON_BODY}\r\n0\r\n\r\n`, last(200), { differs: LENIENT });
row('7.1', 'a size with something behind it, GET', get('Transfer-Encoding: chunked') + size('7x'), last(200), { differs: LENIENT });
row('7.1', 'a size beyond all numbers, GET', get('Transfer-Encoding: chunked') + size('ffffffffffffffff'), GONE, { ways: ['whole'], differs: 'it waits for more, until the time for a request is over' });

/* 8: what is not whole. */
const half = { end: true };
row('8', 'half a request line', 'GET /_u', GONE, half);
row('8', 'half a head', 'GET /_up HTTP/1.1\r\nHost: x\r\n', GONE, half);
row('8', 'a head without the last LF', 'GET /_up HTTP/1.1\r\nHost: x\r\n\r', GONE, half);
row('8', 'half a body', put('Content-Length: 8', JSON_BODY), GONE, half);
row('8', 'half a large body', put('Content-Length: 400000', JSON_BODY), GONE, half);
row('8', 'half a chunk', chunks(`9\r\n${JSON_BODY}`), GONE, half);
row('8', 'no last chunk', chunks(`7\r\n${JSON_BODY}\r\n`), GONE, half);
row('8', 'no end of the last chunk', chunks(`7\r\n${JSON_BODY}\r\n0\r\n`), GONE, half);
row('8', 'no LF behind it', chunks(`7\r\n${JSON_BODY}\r\n0\r\n\r`), GONE, half);
row('8', 'half a trailer', chunks(`7\r\n${JSON_BODY}\r\n0\r\nX: y\r\n`), GONE, half);
row('8', 'half a body of a GET', get('Content-Length: 8') + JSON_BODY, GONE, half);
row('8', 'nothing', '', GONE, half);
row('8', 'an empty line', '\r\n', GONE, half);
row('8', 'a whole one, by a client that closes its side', get(''), last(200), half);
row('8', 'a whole one with a body, likewise', put('Content-Length: 7', JSON_BODY), last(201), { ...half, stored: JSON_BODY });

/* 9: connections. */
head('9.3', 'Connection: close', 'Connection: close', last(200));
head('9.3', 'Connection: CLOSE', 'Connection: CLOSE', last(200));
head('9.3', 'Connection: keep-alive', 'Connection: keep-alive', served(200));
head('9.3', 'Connection: keep-alive, close', 'Connection: keep-alive, close', last(200));
head('9.3', 'two lines of Connection', 'Connection: keep-alive\r\nConnection: close', last(200));
head('9.3', 'two lines the other way', 'Connection: close\r\nConnection: keep-alive', last(200));
row('9.3', 'HTTP/1.0', get('', { version: 'HTTP/1.0' }), last(200));
row('9.3', 'HTTP/1.0, keep-alive', get('Connection: keep-alive', { version: 'HTTP/1.0' }), served(200));
row('9.3', 'HTTP/1.0 with a body', put('Content-Length: 7', JSON_BODY, { version: 'HTTP/1.0' }), last(201), { stored: JSON_BODY });
row('9.3', 'HTTP/1.0, keep-alive, with a body', put('Content-Length: 7\r\nConnection: keep-alive', JSON_BODY, { version: 'HTTP/1.0' }), served(201), { stored: JSON_BODY });
head('9.3', 'Proxy-Connection is none', 'Proxy-Connection: close', served(200));
head('9.8', 'Upgrade: h2c', 'Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nConnection: Upgrade, HTTP2-Settings', last(200));
head('9.8', 'Upgrade: websocket', 'Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13', last(200));
head('9.8', 'Upgrade without a word in Connection', 'Upgrade: h2c', served(200));
row('9.3.2', 'a fault behind a good one', get('') + get('X : y'), { ...refused(400), before: [200] });
row('9.3.2', 'a fault behind a good one with a body', put('Content-Length: 7', JSON_BODY) + put('Content-Length: 7\r\nContent-Length: 7', JSON_BODY), { ...refused(400), before: [201] }, { stored: JSON_BODY });
row('10.1.1 of 9110', 'Expect: 100-continue', put('Expect: 100-continue\r\nContent-Length: 7', JSON_BODY), served(201), { stored: JSON_BODY });
row('10.1.1 of 9110', 'Expect: 100-CONTINUE, in chunks', put('Expect: 100-CONTINUE\r\nTransfer-Encoding: chunked', CHUNKED), served(201), { stored: JSON_BODY });
row('10.1.1 of 9110', 'Expect: something else', put('Expect: something\r\nContent-Length: 7', JSON_BODY), refused(417));
row('10.1.1 of 9110', 'Expect: 100-continue, something', put('Expect: 100-continue, something\r\nContent-Length: 7', JSON_BODY), refused(417));
row('10.1.1 of 9110', 'Expect in HTTP/1.0', put('Expect: 100-continue\r\nContent-Length: 7', JSON_BODY, { version: 'HTTP/1.0' }), last(201), { stored: JSON_BODY });
row('10.1.1 of 9110', 'Expect of a GET', get('Expect: 100-continue'), served(200));

/* ---- How a row is sent ---- */

const WAYS = ['whole', 'pieces', 'behind', 'next', 'tls'];
const OTHERS = ['pieces', 'next', 'tls'];
const ways = (n) => (ROUNDS > 1 ? WAYS : ['whole', 'behind', OTHERS[(SEED + n) % 3]]).filter((way) => rows[n].ways?.includes(way) ?? true);
const UP = 'GET /_up HTTP/1.1\r\nHost: x\r\n\r\n';

/** The final answers in ${text}: {status, connection}. */
function answers(text) {
	const out = [];
	for (let at = 0; at < text.length;) {
		const end = text.indexOf('\r\n\r\n', at);
		const m = /^HTTP\/1\.1 (\d\d\d) /.exec(text.slice(at, at + 13));
		if (end < 0 || !m) return [...out, { status: `no answer: ${JSON.stringify(text.slice(at, at + 60))}` }];
		const head = text.slice(at, end + 2);
		const length = /\r\ncontent-length: *(\d+)\r\n/i.exec(head);
		const is_chunked = /\r\ntransfer-encoding: chunked\r\n/i.test(head);
		at = end + 4;
		if (m[1] === '100') continue;
		out.push({ status: Number(m[1]), close: /\r\nconnection: close\r\n/i.test(head) });
		if (is_chunked) at = text.indexOf('0\r\n\r\n', at) + 5;
		else if (length) {
			const n = Number(length[1]);
			/* An answer to HEAD has a length and no body. */
			at += text.startsWith('HTTP/1.1 ', at) ? 0 : n;
		}
	}
	return out;
}

/** Sends ${bytes} as ${way} says.  Result: {text, error}. */
function talk(way, bytes, rnd, ends) {
	return new Promise((resolve) => {
		let text = '', error;
		const at = { host: '127.0.0.1', port: way === 'tls' ? server.tlsPort : server.port };
		const sock = way === 'tls' ? tls.connect({ ...at, rejectUnauthorized: false, ALPNProtocols: ['http/1.1'] }) : net.connect(at);
		const finish = () => ends && sock.end();
		const send = async () => {
			if (way !== 'pieces') {
				sock.write(way === 'behind' ? Buffer.concat([Buffer.from(UP), bytes]) : bytes, finish);
				return;
			}
			for (const piece of cut(rnd, bytes, 1, 400)) {
				if (sock.destroyed || sock.writableEnded) return;
				await new Promise((r) => sock.write(piece, r));
				await new Promise((r) => setTimeout(r, 2));
			}
			finish();
		};
		sock.setNoDelay?.(true);
		sock.on(way === 'tls' ? 'secureConnect' : 'connect', () => (way === 'next' ? sock.write(UP) : send()));
		let sent = way !== 'next';
		sock.on('data', (d) => {
			text += d.toString('latin1');
			if (!sent && text.endsWith('}\n')) {
				sent = true;
				send();
			}
		});
		sock.on('error', (e) => (error = e));
		sock.on('close', () => resolve({ text, error }));
	});
}

const tell = (got) => got.map((a) => a.status).join(', ') || 'nothing';
const expected = new Map(); // a document's id: what it must be
const faults = [];

async function carry_out(n, way, round) {
	const r = rows[n];
	const id = `${round}-${n}-${way}`;
	const plain = (s) => s.replaceAll('@AUTH', `Authorization: ${server.auth}`).replaceAll('@DOC', `/${db}/r${id}`);
	const within = plain(HIDDEN(`/${db}/smuggled${id}`));
	const fill = (s) => plain(s).replaceAll('@WITHIN', within).replaceAll('@LEN', within.length).replaceAll('@HEX', within.length.toString(16));
	const bytes = Buffer.from(fill(r.bytes) + (r.end ? '' : fill(HIDDEN(`/${db}/h${id}`))), 'latin1');
	const { text: came, error } = await talk(way, bytes, new Random(SEED + n * 31 + round), r.end);
	const got = answers(came);
	const w = { ...r.wanted };
	const first = [...(way === 'behind' || way === 'next' ? [200] : []), ...(w.before ?? [])];
	const answer = got[first.length];
	if (w.or !== undefined && (answer?.status === w.or || (error && !answer))) Object.assign(w, { statuses: [w.or], goes_on: false });
	const may_write = w.statuses.includes(201);
	/* See LENIENT. */
	const by_h2o = way === 'behind' && /^transfer-encoding:\s*chunked\r$/im.test(r.bytes);
	if (by_h2o) w.goes_on = false;
	if (by_h2o && w.refused && r.rfc.startsWith('7')) w.statuses = [...w.statuses, 201];
	/* Who is answered before all of a body has come has said his last. */
	if (w.goes_on && way === 'pieces' && answer?.close && answer.status >= 400) w.goes_on = false;
	const count = first.length + (w.statuses.length > 0) + w.goes_on;
	/* Whoever goes on sending to a connection that is closed may lose what came from it: RFC 9112, 9.6. */
	const lost = way === 'pieces' && !w.goes_on && error !== undefined && got.length < count;
	let why;
	if (first.some((status, i) => got[i]?.status !== status)) why = 'what stands before it was not served';
	else if (w.statuses.length > 0 && !w.statuses.includes(answer?.status)) why = `${w.statuses.join(' or ')} wanted`;
	else if (w.goes_on && got[first.length + 1]?.status !== 201) why = 'what stands behind it was not served';
	else if (got.length !== count) why = `${count} answers wanted`;
	if (why && !lost) faults.push(`${r.rfc} ${r.what}, ${way}: ${why}; came ${tell(got)}${error ? ` (${error.code})` : ''}`);
	if (w.goes_on) expected.set(`h${id}`, { doc: '{}' });
	if (r.stored || may_write || w.statuses.includes(201)) expected.set(`r${id}`, { doc: r.stored, perhaps: !may_write && !r.stored });
}

/* ---- The tests ---- */

before(async () => {
	server = await startDivand({ config: { ssl: certificate(), gate: { exempt: 'none', slow_timeout: 1500 }, couchdb: { max_document_size: 4000000 } } });
	db = await newDb(server);
	await ask(server, 'PUT', `/${db}/other`, { json: { a: 1 } });
});
after(() => server.stop());

/** What was written is what was to be, and nothing else. */
async function check() {
	const { json } = await ask(server, 'GET', `/${db}/_all_docs?include_docs=true`);
	const stored = new Map(json.rows.filter((r) => r.id !== 'other').map(({ id, doc: { _id, _rev, ...doc } }) => [id, doc]));
	for (const [id, doc] of stored) {
		const want = expected.get(id)?.doc;
		if (!expected.has(id)) faults.push(`${id} was written: ${rows[id.split('-')[1]].what}`);
		else if (want && JSON.stringify(doc) !== want) faults.push(`${id} is ${JSON.stringify(doc).slice(0, 100)}, not ${want.slice(0, 100)}`);
	}
	for (const [id, { perhaps }] of expected) if (!stored.has(id) && !perhaps) faults.push(`${id} was not written: ${rows[id.split('-')[1]].what}`);
}

test('each row of the table is answered as it says, and nothing is taken for a request that is none', () => goThrough(server, `/${db}/other`, { rows, ways, carry_out, check, faults }));
