// HTTP/2 against RFC 9113 and RFC 7541, as a table: which frames are sent, what must come, and whether a request that stands behind
// them is still carried out.  Each row goes over three kinds of connections: in one write, in pieces, and over TLS.  What was
// written to the database tells in the end which of the requests behind were carried out.  Behind the table: floods, each of
// which the server must end.
// FRAMING_SEED says where pieces are cut; with one of FRAMING_ROUNDS each row goes over two of the kinds, drawn by the seed.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { certificate, startDivand } from '../lib/divand.mjs';
import { block, connectH2, END_HEADERS, END_STREAM, field, frame, PREFACE, statusOf, T } from '../lib/h2raw.mjs';
import { meanwhile } from '../lib/meanwhile.mjs';
import { anonKiB } from '../lib/process.mjs';
import { Random } from '../lib/random.mjs';
import { cut, goThrough, MEMORY_KIB, ROUNDS, SEED } from '../lib/table.mjs';
import { ask } from './client.mjs';

const PADDED = 8, PRIORITY = 32, ACK = 1, BOTH = END_HEADERS | END_STREAM;
const CODES = ['NO_ERROR', 'PROTOCOL', 'INTERNAL', 'FLOW_CONTROL', 'SETTINGS_TIMEOUT', 'STREAM_CLOSED', 'FRAME_SIZE', 'REFUSED', 'CANCEL', 'COMPRESSION', 'CONNECT', 'CALM', 'INADEQUATE', 'HTTP_1_1'];
const BEHIND = 2001; // the stream of the request that stands behind
let server, made = 0, unheard = 0; // documents without a name: whose answer has come, and has not
const db = 't';

/*
 * ---- The table: row(section, what, frames, wanted, {preface, differs}) ----
 *
 * ${frames} are the frames, or a function of the row's path.  ${wanted}:
 *   ends('PROTOCOL')      GOAWAY with one of these codes, and the end; what stands behind is not carried out
 *   resets('PROTOCOL')    RST_STREAM of stream 1 with one of these codes; what stands behind is carried out
 *   answers(400)          an answer on stream 1 with one of these states; likewise
 *   IGNORED               nothing comes of it; likewise
 *   CLOSED                the end, without a word
 * A list of them: any.  ${done}: a whole request stands before the fault.  ${differs}: what the RFC would rather have, and why this is safe.
 */

const ends = (...codes) => ({ ends: codes });
const resets = (...codes) => ({ resets: codes });
const answers = (...statuses) => ({ statuses });
const IGNORED = { ignored: true };
const CLOSED = { ends: [], silent: true };
const TOO_MUCH = [ends('CALM'), CLOSED]; // what comes in one write with the preface is ended before there is an HTTP/2 connection that could say so
const rows = [];
const row = (rfc, what, frames, wanted, more = {}) => rows.push({ rfc, what, frames, wanted: [wanted].flat(), ...more });

const u32 = (n) => {
	const b = Buffer.alloc(4);
	b.writeUInt32BE(n);
	return b;
};
const bytes = (...n) => Buffer.from(n);
const setting = (id, value) => Buffer.concat([bytes(0, id), u32(value)]);
const PSEUDO = [[':method', 'GET'], [':scheme', 'http'], [':authority', 'x'], [':path', '/_up']];
const but = (name, value) => PSEUDO.map(([n, v]) => [n, n === name ? value : v]);
const without = (name) => PSEUDO.filter(([n]) => n !== name);
const headers = (fields, { stream = 1, flags = BOTH } = {}) => frame(T.headers, flags, stream, Buffer.isBuffer(fields) ? fields : block(fields));
const UP = (stream = 1, flags = BOTH) => headers(PSEUDO, { stream, flags });
/* What comes of it where nothing is wrong is 201, which no refusal is. */
const POST = [[':method', 'POST'], [':scheme', 'http'], [':authority', 'x'], [':path', '/t'], ['content-type', 'application/json'], ['authorization', `Basic ${Buffer.from('admin:adm').toString('base64')}`]];
/** A request whose body has yet to come. */
const OPEN = (stream = 1) => headers(POST, { stream, flags: END_HEADERS });
const data = (payload, { stream = 1, flags = 0 } = {}) => frame(T.data, flags, stream, Buffer.from(payload));
const reset = (stream = 1, code = 8) => frame(T.rst, 0, stream, u32(code));
/** Raw bytes of a header block, behind the pseudo-headers. */
const hpack = (...parts) => headers(Buffer.concat([block(PSEUDO), ...parts.map((p) => Buffer.from(p))]));

/* 3.4: the preface. */
const NO_PREFACE = [CLOSED, ends('CALM')];
row('3.4', 'HTTP/1 where the end of the preface should be', [Buffer.from('PRI * HTTP/2.0\r\n\r\nGET /_up HTTP/1.1\r\nHost: x\r\n\r\n')], NO_PREFACE, { preface: false });
row('3.4', 'one byte of it wrong', [Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\t'), frame(T.settings, 0, 0)], NO_PREFACE, { preface: false });
row('3.4', 'HTTP/2.1', [Buffer.from('PRI * HTTP/2.1\r\n\r\nSM\r\n\r\n'), frame(T.settings, 0, 0)], NO_PREFACE, { preface: false });
row('3.4', 'no SETTINGS behind it', [PREFACE, UP()], [ends('PROTOCOL'), answers(200)], { preface: false, differs: 'h2o lets it pass: all settings are then what they are by themselves' });
row('3.4', 'PING in place of SETTINGS', [PREFACE, frame(T.ping, 0, 0, Buffer.alloc(8))], [ends('PROTOCOL'), IGNORED], { preface: false, differs: 'as above' });
row('3.4', 'the preface twice', [PREFACE], ends('PROTOCOL', 'FRAME_SIZE'));

/* 4: frames. */
row('4.1', 'a frame of no known type', [frame(0x20, 0xff, 1, Buffer.from('what')), UP()], answers(200));
row('4.1', 'one of the greatest type, on stream 0', [frame(0xff, 0xff, 0, Buffer.alloc(100)), UP()], answers(200));
row('4.1', 'flags that mean nothing', [frame(T.headers, 0xd2 | BOTH & ~0, 1, block(PSEUDO))], answers(200));
row('4.1', 'the reserved bit of a stream\'s number', [frame(T.headers, BOTH, 0x80000001, block(PSEUDO))], answers(200));
row('4.2', 'DATA of 16,384 bytes', [OPEN(), data(Buffer.from('{}'.padEnd(16384)), { flags: END_STREAM })], answers(201));
for (const [what, type, stream] of [['DATA', T.data, 1], ['HEADERS', T.headers, 3], ['CONTINUATION', T.continuation, 1], ['SETTINGS', T.settings, 0], ['PING', T.ping, 0], ['an unknown frame', 0x40, 1], ['GOAWAY', T.goaway, 0]])
	row('4.2', `${what} of 16,385 bytes`, [OPEN(), frame(type, 0, stream, Buffer.alloc(16385))], [ends('FRAME_SIZE', 'PROTOCOL'), ...(/HEADERS|CONT/.test(what) ? TOO_MUCH : [])]);
row('4.2', 'DATA of 16 MiB', [OPEN(), bytes(0xff, 0xff, 0xff, T.data, 0, 0, 0, 0, 1), Buffer.alloc(40000)], ends('FRAME_SIZE'));

/* 4.3, and RFC 7541: header blocks. */
const broken = (what, rfc, ...parts) => row(rfc, what, [hpack(...parts)], ends('COMPRESSION', 'PROTOCOL'));
broken('index 0', '6.1 of 7541', [0x80]);
broken('an index beyond the table', '2.3.3 of 7541', [0xbe]);
broken('a name beyond the table', '2.3.3 of 7541', [0x7e, 1, 0x61]);
broken('a name beyond the table, not kept', '2.3.3 of 7541', [0x0f, 0x40, 1, 0x61]);
broken('a name beyond the table, never kept', '2.3.3 of 7541', [0x1f, 0x40, 1, 0x61]);
broken('an index of 2^32 - 1 and more', '5.1 of 7541', [0xff, 0xff, 0xff, 0xff, 0xff, 0x0f]);
broken('an index of ten bytes', '5.1 of 7541', [0xff, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01]);
broken('an index of endless zeros', '5.1 of 7541', [0xff, ...Array(200).fill(0x80)]);
broken('a length of ten bytes', '5.1 of 7541', [0x00, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]);
broken('a number that is cut off', '5.1 of 7541', [0xff, 0x80]);
broken('a string longer than the block', '5.2 of 7541', [0x00, 1, 0x78, 0x7e, 0x61]);
broken('a name longer than the block', '5.2 of 7541', [0x00, 0x20, 0x78]);
broken('a name without a value', '5.2 of 7541', [0x00, 1, 0x78]);
broken('a literal of which nothing comes', '5.2 of 7541', [0x00]);
broken('EOS within a string', '5.2 of 7541', [0x00, 1, 0x78, 0x84, 0xff, 0xff, 0xff, 0xff]);
broken('padding of eight bits', '5.2 of 7541', [0x00, 1, 0x78, 0x82, 0x1f, 0xff]);
broken('padding of zeros', '5.2 of 7541', [0x00, 1, 0x78, 0x81, 0x18]);
broken('padding of 24 bits', '5.2 of 7541', [0x00, 1, 0x78, 0x84, 0x1f, 0xff, 0xff, 0xff]);
row('5.2 of 7541', 'Huffman\'s code as it should be', [hpack([0x00, 1, 0x78, 0x81, 0x1f])], answers(200));
row('5.2 of 7541', 'CR and LF in Huffman\'s code', [hpack([0x00, 1, 0x78, 0x88, 0xff, 0xff, 0xff, 0xef, 0xff, 0xff, 0xff, 0xcf].slice(0, 3), [0x88, 0xff, 0xff, 0xff, 0xfb, 0xff, 0xff, 0xff, 0xcf])], [answers(400), resets('PROTOCOL'), ends('PROTOCOL', 'COMPRESSION')]);
row('6.3 of 7541', 'a table larger than was allowed', [headers(Buffer.concat([bytes(0x3f, 0xe2, 0x1f), block(PSEUDO)]))], ends('COMPRESSION', 'PROTOCOL'));
row('6.3 of 7541', 'a table of 2^28 bytes', [headers(Buffer.concat([bytes(0x3f, 0xe1, 0xff, 0xff, 0x7f), block(PSEUDO)]))], ends('COMPRESSION', 'PROTOCOL'));
row('4.2 of 7541', 'a smaller table, then the full one', [headers(Buffer.concat([bytes(0x20, 0x3f, 0xe1, 0x1f), block(PSEUDO)]))], answers(200));
row('4.2 of 7541', 'a table\'s size behind a field', [hpack([0x20])], [ends('COMPRESSION', 'PROTOCOL'), answers(200)], { differs: 'h2o takes a size anywhere in a block; both sides still hold the same table' });
row('4.2 of 7541', 'four sizes', [headers(Buffer.concat([bytes(0x20, 0x21, 0x20, 0x21), block(PSEUDO)]))], [ends('COMPRESSION', 'PROTOCOL'), answers(200)], { differs: 'as above; they count as fields' });
row('2.3.2 of 7541', 'a field larger than the table', [hpack(field('x', 'y'.repeat(5000), true), [0xbe])], ends('COMPRESSION', 'PROTOCOL'));
row('2.3.2 of 7541', 'a field that was pushed out', [hpack(field('x', 'a', true), field('y', 'b'.repeat(4040), true), [0xbf])], ends('COMPRESSION', 'PROTOCOL'));
row('2.3.2 of 7541', 'fields from the table', [hpack(field('x', 'a', true), [0xbe], [0xbe])], answers(200));
row('4.3', 'a block that ends within a field', [hpack([0x40, 1, 0x78])], ends('COMPRESSION', 'PROTOCOL'));
row('4.3', 'an empty block', [headers(Buffer.alloc(0))], [ends('PROTOCOL'), resets('PROTOCOL'), answers(400)]);

/* 5.1: states of streams. */
row('5.1', 'DATA on an idle stream', [data('x')], ends('PROTOCOL', 'STREAM_CLOSED'));
row('5.1', 'RST_STREAM on an idle stream', [reset()], ends('PROTOCOL'));
row('5.1', 'WINDOW_UPDATE on an idle stream', [frame(T.window, 0, 1, u32(1))], ends('PROTOCOL'));
row('5.1', 'PRIORITY on an idle stream', [frame(T.priority, 0, 1, Buffer.concat([u32(0), bytes(5)])), UP()], answers(200));
row('5.1', 'DATA behind the end', [UP(), data('x')], [resets('STREAM_CLOSED'), ends('STREAM_CLOSED', 'PROTOCOL'), answers(200)], { differs: 'where the answer has gone out already its stream is no more, and that is all that can be said' });
row('5.1', 'HEADERS behind the end', [UP(), UP()], ends('STREAM_CLOSED', 'PROTOCOL'));
row('5.1', 'DATA behind the end of a body', [OPEN(), data('{}', { flags: END_STREAM }), data('x')], [resets('STREAM_CLOSED'), ends('STREAM_CLOSED', 'PROTOCOL'), answers(201)], { done: true, differs: 'as above' });
row('5.1', 'DATA behind RST_STREAM', [OPEN(), reset(), data('x')], [resets('STREAM_CLOSED'), ends('STREAM_CLOSED', 'PROTOCOL'), IGNORED]);
row('5.1', 'HEADERS behind RST_STREAM', [OPEN(), reset(), UP()], ends('STREAM_CLOSED', 'PROTOCOL'));
row('5.1', 'WINDOW_UPDATE behind RST_STREAM', [OPEN(), reset(), frame(T.window, 0, 1, u32(1))], IGNORED);
row('5.1', 'RST_STREAM twice', [OPEN(), reset(), reset()], IGNORED);
row('5.1', 'PRIORITY behind RST_STREAM', [OPEN(), reset(), frame(T.priority, 0, 1, Buffer.concat([u32(0), bytes(5)]))], IGNORED);
row('5.1', 'CONTINUATION behind RST_STREAM', [OPEN(), reset(), frame(T.continuation, END_HEADERS, 1)], ends('PROTOCOL', 'STREAM_CLOSED'));
row('5.1.1', 'an even stream', [UP(2)], ends('PROTOCOL'));
row('5.1.1', 'stream 0', [UP(0)], ends('PROTOCOL'));
row('5.1.1', 'a stream below the last', [UP(5), UP(3)], ends('PROTOCOL', 'STREAM_CLOSED'));
row('5.1.1', 'a stream that was passed over', [UP(7), data('x', { stream: 5 })], [ends('STREAM_CLOSED', 'PROTOCOL'), IGNORED]);
row('5.1.1', 'the greatest stream, and one below', [UP(0x7fffffff)], ends('PROTOCOL', 'STREAM_CLOSED', 'NO_ERROR'));
row('5.1.2', '150 streams at a time', [...Array.from({ length: 150 }, (_, i) => OPEN(2 * i + 1)), reset(1)], IGNORED);

row('5.3.1', 'a stream that depends on itself, by HEADERS', [frame(T.headers, BOTH | PRIORITY, 1, Buffer.concat([u32(1), bytes(5), block(PSEUDO)]))], [ends('PROTOCOL'), resets('PROTOCOL')]);
row('5.3.1', 'by PRIORITY', [OPEN(), frame(T.priority, 0, 1, Buffer.concat([u32(1), bytes(5)]))], [ends('PROTOCOL'), resets('PROTOCOL')]);
row('5.3.1', 'by PRIORITY, idle', [frame(T.priority, 0, 9, Buffer.concat([u32(9), bytes(5)]))], [ends('PROTOCOL'), IGNORED]);
row('5.3.1', 'a ring of dependencies', [OPEN(1), OPEN(3), OPEN(5), ...[[1, 3], [3, 5], [5, 1], [1, 5], [3, 1]].map(([a, b]) => frame(T.priority, 0, a, Buffer.concat([u32((0x80000000 | b) >>> 0), bytes(255)]))), UP(7)], IGNORED);
row('5.3.1', 'on a stream that is not there', [frame(T.headers, BOTH | PRIORITY, 1, Buffer.concat([u32(0x7ffffffe), bytes(5), block(PSEUDO)]))], answers(200));

/* 6: each type of frame. */
row('6.1', 'DATA on stream 0', [data('x', { stream: 0 })], ends('PROTOCOL'));
row('6.1', 'more padding than there is', [OPEN(), frame(T.data, PADDED, 1, bytes(5, 0, 0, 0))], ends('PROTOCOL'));
row('6.1', 'padding of all of it', [OPEN(), frame(T.data, PADDED, 1, bytes(4, 0, 0, 0))], ends('PROTOCOL'));
row('6.1', 'padding without a length', [OPEN(), frame(T.data, PADDED, 1)], ends('PROTOCOL', 'FRAME_SIZE'));
row('6.1', 'padding of all but the length', [OPEN(), frame(T.data, PADDED, 1, bytes(3, 0, 0, 0)), data('{}', { flags: END_STREAM })], answers(201));
row('6.1', 'padding that is no zeros', [OPEN(), frame(T.data, PADDED | END_STREAM, 1, bytes(2, 0x7b, 0x7d, 1, 2))], [answers(201), ends('PROTOCOL')]);
row('6.2', 'more padding than there is', [frame(T.headers, BOTH | PADDED, 1, Buffer.concat([bytes(200), block(PSEUDO)]))], ends('PROTOCOL'));
row('6.2', 'padding without a length', [frame(T.headers, BOTH | PADDED, 1)], ends('PROTOCOL', 'FRAME_SIZE'));
row('6.2', 'padding that takes the priority\'s bytes', [frame(T.headers, BOTH | PADDED | PRIORITY, 1, bytes(4, 0, 0, 0, 0))], ends('PROTOCOL', 'FRAME_SIZE', 'COMPRESSION'));
row('6.2', 'padding and priority', [frame(T.headers, BOTH | PADDED | PRIORITY, 1, Buffer.concat([bytes(3), u32(0), bytes(5), block(PSEUDO), Buffer.alloc(3)]))], answers(200));
row('6.2', 'half a priority', [frame(T.headers, BOTH | PRIORITY, 1, bytes(0, 0, 0))], ends('PROTOCOL', 'FRAME_SIZE'));
row('6.3', 'PRIORITY of four bytes', [OPEN(), frame(T.priority, 0, 1, Buffer.alloc(4))], [ends('FRAME_SIZE'), resets('FRAME_SIZE')]);
row('6.3', 'PRIORITY on stream 0', [frame(T.priority, 0, 0, Buffer.alloc(5))], ends('PROTOCOL'));
row('6.4', 'RST_STREAM of three bytes', [OPEN(), frame(T.rst, 0, 1, Buffer.alloc(3))], ends('FRAME_SIZE'));
row('6.4', 'RST_STREAM of five bytes', [OPEN(), frame(T.rst, 0, 1, Buffer.alloc(5))], ends('FRAME_SIZE'));
row('6.4', 'RST_STREAM on stream 0', [frame(T.rst, 0, 0, u32(8))], ends('PROTOCOL'));
row('6.4', 'RST_STREAM of no known code', [OPEN(), reset(1, 0xffffffff)], IGNORED);
row('6.5', 'SETTINGS on a stream', [OPEN(), frame(T.settings, 0, 1)], ends('PROTOCOL'));
row('6.5', 'SETTINGS of five bytes', [frame(T.settings, 0, 0, Buffer.alloc(5))], ends('FRAME_SIZE'));
row('6.5', 'SETTINGS of seven bytes', [frame(T.settings, 0, 0, Buffer.alloc(7))], ends('FRAME_SIZE'));
row('6.5', 'an acknowledgement with something in it', [frame(T.settings, ACK, 0, setting(1, 4096))], ends('FRAME_SIZE'));
row('6.5', 'an acknowledgement of nothing', [frame(T.settings, ACK, 0), frame(T.settings, ACK, 0), UP()], answers(200));
row('6.5.2', 'ENABLE_PUSH of 2', [frame(T.settings, 0, 0, setting(2, 2))], ends('PROTOCOL'));
row('6.5.2', 'INITIAL_WINDOW_SIZE of 2^31', [frame(T.settings, 0, 0, setting(4, 0x80000000))], ends('FLOW_CONTROL'));
row('6.5.2', 'INITIAL_WINDOW_SIZE of 2^32 - 1', [frame(T.settings, 0, 0, setting(4, 0xffffffff))], ends('FLOW_CONTROL'));
row('6.5.2', 'MAX_FRAME_SIZE of 16,383', [frame(T.settings, 0, 0, setting(5, 16383))], ends('PROTOCOL'));
row('6.5.2', 'MAX_FRAME_SIZE of 2^24', [frame(T.settings, 0, 0, setting(5, 1 << 24))], ends('PROTOCOL'));
row('6.5.2', 'MAX_FRAME_SIZE of 0', [frame(T.settings, 0, 0, setting(5, 0))], ends('PROTOCOL'));
row('6.5.2', 'a wrong one behind a right one', [frame(T.settings, 0, 0, Buffer.concat([setting(3, 5), setting(5, 1)]))], ends('PROTOCOL'));
row('6.5.2', 'settings that nobody knows', [frame(T.settings, 0, 0, Buffer.concat([setting(99, 1), setting(0, 5), setting(255, 0xffffffff)])), UP()], answers(200));
row('6.5.2', 'all at their greatest', [frame(T.settings, 0, 0, Buffer.concat([setting(1, 0xffffffff), setting(2, 1), setting(3, 0xffffffff), setting(4, 0x7fffffff), setting(5, (1 << 24) - 1), setting(6, 0xffffffff)])), UP()], answers(200));
row('6.5.2', 'no table, one stream, small heads', [frame(T.settings, 0, 0, Buffer.concat([setting(1, 0), setting(2, 0), setting(3, 1), setting(6, 1)])), UP()], answers(200));
row('6.6', 'PUSH_PROMISE', [OPEN(), frame(T.push, END_HEADERS, 1, Buffer.concat([u32(2), block(PSEUDO)]))], ends('PROTOCOL'));
row('6.6', 'PUSH_PROMISE on stream 0', [frame(T.push, END_HEADERS, 0, Buffer.concat([u32(2), block(PSEUDO)]))], ends('PROTOCOL'));
row('6.7', 'PING of seven bytes', [frame(T.ping, 0, 0, Buffer.alloc(7))], ends('FRAME_SIZE'));
row('6.7', 'PING of nothing', [frame(T.ping, 0, 0)], ends('FRAME_SIZE'));
row('6.7', 'PING on a stream', [OPEN(), frame(T.ping, 0, 1, Buffer.alloc(8))], ends('PROTOCOL'));
row('6.7', 'an answer to no PING', [frame(T.ping, ACK, 0, Buffer.alloc(8)), UP()], answers(200));
row('6.8', 'GOAWAY of seven bytes', [frame(T.goaway, 0, 0, Buffer.alloc(7))], ends('FRAME_SIZE'));
row('6.8', 'GOAWAY on a stream', [frame(T.goaway, 0, 1, Buffer.alloc(8))], ends('PROTOCOL'));
row('6.8', 'GOAWAY, and more requests', [frame(T.goaway, 0, 0, Buffer.alloc(8)), UP()], answers(200));
row('6.9', 'WINDOW_UPDATE of three bytes', [frame(T.window, 0, 0, Buffer.alloc(3))], ends('FRAME_SIZE'));
row('6.9', 'WINDOW_UPDATE by 0', [frame(T.window, 0, 0, u32(0))], ends('PROTOCOL'));
row('6.9', 'WINDOW_UPDATE by 0 of a stream', [OPEN(), frame(T.window, 0, 1, u32(0))], [resets('PROTOCOL'), ends('PROTOCOL')]);
row('6.9', 'the reserved bit of an increment', [frame(T.window, 0, 0, u32(0x80000001)), UP()], answers(200));
row('6.9.1', 'a window beyond 2^31 - 1', [frame(T.window, 0, 0, u32(0x7fffffff))], ends('FLOW_CONTROL'));
row('6.9.1', 'a stream\'s window beyond 2^31 - 1', [OPEN(), frame(T.window, 0, 1, u32(0x7fffffff))], [resets('FLOW_CONTROL'), ends('FLOW_CONTROL')]);
row('6.9.2', 'a setting that takes a stream\'s window beyond 2^31 - 1', [OPEN(), frame(T.window, 0, 1, u32(0x70000000)), frame(T.settings, 0, 0, setting(4, 0x7fffffff))], [ends('FLOW_CONTROL'), resets('FLOW_CONTROL'), IGNORED], { differs: 'h2o leaves the window as it is' });
row('6.9.2', 'a setting that takes a stream\'s window below 0', [frame(T.settings, 0, 0, setting(4, 0)), OPEN(), frame(T.settings, 0, 0, setting(4, 65535)), data('{}', { flags: END_STREAM })], answers(201));
row('6.10', 'CONTINUATION without HEADERS', [frame(T.continuation, END_HEADERS, 1, block(PSEUDO))], ends('PROTOCOL'));
row('6.10', 'CONTINUATION on stream 0', [headers(PSEUDO, { flags: END_STREAM }), frame(T.continuation, END_HEADERS, 0)], ends('PROTOCOL'));
row('6.10', 'CONTINUATION of another stream', [headers(PSEUDO, { flags: END_STREAM }), frame(T.continuation, END_HEADERS, 3)], ends('PROTOCOL'));
row('6.10', 'CONTINUATION behind END_HEADERS', [UP(), frame(T.continuation, END_HEADERS, 1)], ends('PROTOCOL'));
row('6.10', 'HEADERS within a block', [headers(PSEUDO, { flags: END_STREAM }), UP(3)], ends('PROTOCOL'));
row('6.10', 'HEADERS of the same stream within a block', [headers(PSEUDO, { flags: END_STREAM }), UP(1)], ends('PROTOCOL'));
for (const [what, f] of Object.entries({ DATA: data('x'), PRIORITY: frame(T.priority, 0, 1, Buffer.alloc(5)), RST_STREAM: reset(), SETTINGS: frame(T.settings, 0, 0), PING: frame(T.ping, 0, 0, Buffer.alloc(8)), WINDOW_UPDATE: frame(T.window, 0, 0, u32(1)), 'an unknown frame': frame(0x30, 0, 0) }))
	row('6.10', `${what} within a block`, [headers(PSEUDO, { flags: END_STREAM }), f, frame(T.continuation, END_HEADERS, 1)], ends('PROTOCOL'));
row('6.10', 'a block in twenty pieces, some empty', [headers(Buffer.alloc(0), { flags: END_STREAM }), ...[...block(PSEUDO)].flatMap((b, i) => (i % 4 ? [] : [frame(T.continuation, 0, 1, block(PSEUDO).subarray(i, i + 4))])), frame(T.continuation, END_HEADERS, 1)], answers(200));

/* 8: what is a request. */
const malformed = [answers(400), resets('PROTOCOL'), ends('PROTOCOL')];
const bad = (rfc, what, fields, more) => row(rfc, what, [headers(fields)], malformed, more);
row('8.1', 'HEADERS without an end behind a body', [OPEN(), data('{}'), headers([['x', 'y']], { flags: END_HEADERS })], malformed);
row('8.1', 'trailers', [OPEN(), data('{}'), headers([['x', 'y']])], malformed, { differs: 'they are refused: h2o would take them for headers' });
row('8.1', 'trailers with a pseudo-header', [OPEN(), data('{}'), headers([[':path', '/_up']])], malformed);
row('8.1', 'trailers with a connection\'s header', [OPEN(), data('{}'), headers([['transfer-encoding', 'chunked']])], malformed);
row('8.1', 'trailers without a body', [OPEN(), headers([['x', 'y']])], malformed);
row('8.1', 'two heads', [OPEN(), headers(PSEUDO)], malformed);
row('8.1', 'DATA behind trailers', [OPEN(), data('{}'), headers([['x', 'y']]), data('x')], [...malformed, ends('STREAM_CLOSED'), resets('STREAM_CLOSED')]);
for (const [what, name] of Object.entries({ 'a capital': 'X-Y', 'a capital at the end': 'xY', 'a space': 'x y', 'a colon': 'x:y', 'CR LF': 'x\r\ny', 'a NUL': 'x\0', 'a control': 'x\x01', DEL: 'x\x7f', 'a byte above': 'x\xe9', nothing: '' })) bad('8.2.1', `a name with ${what}`, [...PSEUDO, [name, 'v']]);
for (const [what, name] of Object.entries({ 'a bracket': 'x(', 'a quote': '"x"', 'a slash': 'x/y' })) row('8.2.1', `a name with ${what}`, [headers([...PSEUDO, [name, 'v']])], [...malformed, answers(200)], { differs: 'no token, but nothing that HTTP/1 could read otherwise; nobody here looks at it' });
for (const [what, value] of Object.entries({ CR: 'a\rb', LF: 'a\nb', 'CR LF and a field': 'a\r\nx-other: b', NUL: 'a\0b', 'LF at the end': 'a\n', 'CR at the start': '\ra', 'a request': 'a\r\n\r\nGET /_up HTTP/1.1\r\n\r\n' })) bad('8.2.1', `a value with ${what}`, [...PSEUDO, ['x', value]]);
for (const [what, value] of Object.entries({ 'a space before it': ' a', 'a space behind it': 'a ', 'a tab before it': '\ta', 'a control': 'a\x01b', DEL: 'a\x7f' })) row('8.2.1', `a value with ${what}`, [headers([...PSEUDO, ['x', value]])], [...malformed, answers(200)], { differs: 'harmless: values are not made into lines again' });
row('8.2.1', 'a value of 8-bit bytes', [headers([...PSEUDO, ['x', '\x80\xff']])], answers(200));
for (const [name, value] of [['connection', 'close'], ['connection', ''], ['keep-alive', 'timeout=5'], ['proxy-connection', 'close'], ['transfer-encoding', 'chunked'], ['upgrade', 'h2c']]) row('8.2.2', `${name}: ${value}`, [headers([...PSEUDO, [name, value]])], /^keep|^proxy/.test(name) ? [...malformed, answers(200)] : malformed, { differs: /^keep|^proxy/.test(name) ? 'nobody here looks at it' : undefined });
row('8.2.2', 'te: trailers', [headers([...PSEUDO, ['te', 'trailers']])], answers(200));
row('8.2.2', 'te: gzip', [headers([...PSEUDO, ['te', 'gzip']])], [...malformed, answers(200)], { differs: 'nobody here looks at it' });
for (const name of [':method', ':scheme', ':path']) bad('8.3.1', `no ${name}`, without(name));
row('8.3.1', 'no :authority', [headers(without(':authority'))], answers(200));
bad('8.3.1', 'nothing but a field', [['x', 'y']]);
for (const [name, value] of PSEUDO) bad('8.3', `${name} twice`, [...PSEUDO, [name, value]]);
bad('8.3', 'a pseudo-header behind a field', [[':method', 'GET'], ['x', 'y'], [':scheme', 'http'], [':authority', 'x'], [':path', '/_up']]);
bad('8.3', 'a pseudo-header that nobody knows', [...PSEUDO, [':other', 'x']]);
bad('8.3', 'one of an answer', [...PSEUDO, [':status', '200']]);
bad('8.3', 'one without a name', [...PSEUDO, [':', 'x']]);
bad('8.3', 'one of WebSocket, which was not offered', [...PSEUDO, [':protocol', 'websocket']]);
bad('8.3', 'one in capitals', but(':path', '/_up').map(([n, v]) => [n === ':path' ? ':Path' : n, v]));
for (const path of ['', '_up', 'http://x/_up', '/_up HTTP/1.1', '/_up\r\nx: y', '/_up\0', '/\x7f', '/_up\t', '?x', '#']) bad('8.3.1', `:path ${JSON.stringify(path)}`, but(':path', path));
for (const method of ['', 'G ET', 'GET\t', 'GET /', 'G\r\nET', 'G\0', 'G(T', 'G\xc9T', 'M'.repeat(24)]) bad('8.3.1', `:method ${JSON.stringify(method)}`, but(':method', method));
row('8.3.1', 'a method in lower case', [headers(but(':method', 'get'))], answers(405));
for (const scheme of ['', 'ftp', 'http\r\nx', 'https']) row('8.3.1', `:scheme ${JSON.stringify(scheme)}`, [headers(but(':scheme', scheme))], [...malformed, answers(200)], { differs: 'what is no https is taken for http; the socket tells what it is' });
for (const authority of ['u@x', 'x/y', 'x y', 'x\r\ny', 'x\0', 'x,y', 'x?y', 'x#y', 'x\\y', '\xe9']) bad('8.3.1', `:authority ${JSON.stringify(authority)}`, but(':authority', authority));
row('8.3.1', 'an empty :authority', [headers(but(':authority', ''))], [...malformed, answers(200)], { differs: 'as an empty Host' });
row('8.3.1', 'a Host that says the same', [headers([...PSEUDO, ['host', 'x']])], answers(200));
row('8.3.1', 'a Host that says something else', [headers([...PSEUDO, ['host', 'y']])], [...malformed, answers(200)], { differs: ':authority counts' });
row('8.3.1', 'Host without :authority', [headers([...without(':authority'), ['host', 'x']])], answers(200));
row('8.3.1', 'a Host that is none, without :authority', [headers([...without(':authority'), ['host', 'x/y']])], [...malformed, answers(200)]);
row('8.3.1', 'OPTIONS *', [headers(but(':path', '*').map(([n, v]) => [n, n === ':method' ? 'OPTIONS' : v]))], answers(404));
row('8.5', 'CONNECT', [headers([[':method', 'CONNECT'], [':authority', 'x:80']])], malformed);
row('8.5', 'CONNECT with all that a request has', [headers(but(':method', 'CONNECT'))], [...malformed, answers(405)]);

/* 8.1.1: Content-Length and DATA. */
const sized = (length, ...parts) => [headers([...POST, ...[length].flat().map((l) => ['content-length', l])], { flags: parts.length ? END_HEADERS : BOTH }), ...parts.map((p, i) => data(p, { flags: i === parts.length - 1 ? END_STREAM : 0 }))];
row('8.1.1', 'a length as it is', sized('2', '{}'), answers(201));
row('8.1.1', 'a length as it is, in pieces', sized('4', '{', '', '  ', '}'), answers(201));
row('8.1.1', 'a length of 0 and no body', sized('0'), answers(400));
row('8.1.1', 'more than the length', sized('2', '{}x'), malformed);
row('8.1.1', 'more than the length, in pieces', sized('2', '{}', 'x', 'y'), malformed);
row('8.1.1', 'less than the length', sized('3', '{}'), malformed);
row('8.1.1', 'a length and no body', sized('3'), malformed);
row('8.1.1', 'a length and no body, GET', [headers([...PSEUDO, ['content-length', '3']])], malformed);
row('8.1.1', 'a length and an empty body, GET', [headers([...PSEUDO, ['content-length', '3']], { flags: END_HEADERS }), data('', { flags: END_STREAM })], malformed);
row('8.1.1', 'a length and an empty body', sized('3', ''), malformed);
row('8.1.1', 'a body behind a length of 0', sized('0', '{}'), malformed);
row('8.1.1', 'a length with padding', [headers([...POST, ['content-length', '2']], { flags: END_HEADERS }), frame(T.data, PADDED | END_STREAM, 1, bytes(4, 0x7b, 0x7d, 0, 0, 0, 0))], answers(201));
row('8.1.1', 'two lengths', sized(['2', '3'], '{}'), malformed);
row('8.1.1', 'two lengths, the first as it is not', sized(['3', '2'], '{}'), [...malformed, answers(201)], { differs: 'h2o looks at the last; where a body ends is said by END_STREAM alone' });
row('8.1.1', 'the same length twice', sized(['2', '2'], '{}'), [...malformed, answers(201)], { differs: 'may be taken for one' });
for (const length of ['', '-2', '+2', '2, 2', '0x2', '2.0', ' 2', 'two', '18446744073709551618', '99999999999999999999']) row('8.1.1', `a length of ${JSON.stringify(length)}`, sized(length, '{}'), malformed);
row('8.1.1', 'a length beyond what is allowed', sized('9223372036854775807', '{}'), [...malformed, answers(413)]);
row('8.1.1', 'a GET with a body', [UP(1, END_HEADERS), data('GET / HTTP/1.1\r\n\r\n', { flags: END_STREAM })], answers(200));

/* 10: heads that are too large are answered; 10.3: what intermediaries would make of a request. */
row('10.5.1', '101 fields', [headers([...PSEUDO, ...Array.from({ length: 101 }, (_, i) => [`x${i}`, 'v'])])], answers(431));
row('10.5.1', 'a field of 16 KiB', [headers([...PSEUDO, ['x', 'v'.repeat(16000)]])], answers(200));
row('10.5.1', '1,001 fields', [headers(Buffer.concat([block(PSEUDO), Buffer.alloc(1001, 0x90)]))], TOO_MUCH);
row('10.5.1', '1,001 sizes of a table', [headers(Buffer.alloc(1001, 0x20))], TOO_MUCH);
row('10.3', 'an encoding in a value', [headers([...PSEUDO, ['x', 'a\r\ntransfer-encoding: chunked']])], malformed);
row('10.3', 'a request behind a body', [headers([...POST, ['content-length', '2']], { flags: END_HEADERS }), data('{}PUT /x HTTP/1.1\r\n\r\n', { flags: END_STREAM })], malformed);

/* ---- How a row is sent ---- */

const WAYS = ['whole', 'pieces', 'tls'];
const ways = (n) => (ROUNDS > 1 ? WAYS : ['whole', WAYS[1 + ((SEED + n) % 2)]]);
const expected = new Set(); // documents that must be there
const faults = [];

const code = (n) => CODES[n] ?? n;

/** What came of a connection, as the words of wanted. */
function outcome(c) {
	const of1 = c.frames.filter((f) => f.stream === 1);
	const rst = of1.find((f) => f.type === T.rst);
	const answered = of1.find((f) => f.type === T.headers);
	return {
		goaway: c.goaway && code(c.goaway.code),
		reset: rst && code(rst.payload.readUInt32BE(0)),
		status: answered && statusOf(answered.payload),
		behind: c.frames.some((f) => f.stream === BEHIND && f.type === T.headers && statusOf(f.payload) === 201),
	};
}

function suits(w, o, way) {
	/* Whoever goes on sending to a connection that is closed may lose what came from it. */
	const lost = way === 'pieces' && o.goaway === null;
	if (w.ends) return !o.behind && (w.silent ? o.goaway === null : w.ends.includes(o.goaway) || lost);
	if (!o.behind) return false;
	if (w.resets) return w.resets.includes(o.reset);
	if (w.statuses) return w.statuses.includes(o.status);
	return true;
}

async function carry_out(n, way, round) {
	const r = rows[n];
	const id = `${round}-${n}-${way}`;
	const c = connectH2(server, { secure: way === 'tls', preface: false });
	const begin = r.preface === false ? [] : [PREFACE, frame(T.settings, 0, 0)];
	const behind = [
		headers([[':method', 'PUT'], [':scheme', 'http'], [':authority', 'x'], [':path', `/${db}/h${id}`], ['authorization', server.auth]], { stream: BEHIND, flags: END_HEADERS }),
		data('{}', { stream: BEHIND, flags: END_STREAM }),
	];
	const all = Buffer.concat([...begin, ...r.frames, ...behind]);
	await c.opened;
	if (way !== 'pieces') await c.send(all);
	else {
		for (const piece of cut(new Random(SEED + n * 31 + round), all, 2, 120)) {
			await c.send(piece);
			await new Promise((resolve) => setTimeout(resolve, 2));
		}
	}
	/* All that is to come has come once the request behind has its answer, and so has the stream before it. */
	const ended = (f) => (f.stream === 1 && (f.type === T.rst || f.type === T.headers)) || f.type === T.goaway;
	const waits = r.wanted.some((w) => w.resets || w.statuses) && !r.wanted.includes(IGNORED);
	await c.until((f) => f.stream === BEHIND && f.type === T.headers).catch(() => {});
	if (waits) await c.until(ended).catch(() => {});
	const o = outcome(c);
	const w = r.wanted.find((one) => suits(one, o, way));
	if (!w) faults.push(`${r.rfc} ${r.what}, ${way}: wanted ${JSON.stringify(r.wanted)}, came ${JSON.stringify(o)}${c.goaway ? ` (${c.goaway.text})` : ''}`);
	if (o.behind) expected.add(`h${id}`);
	made += o.status === 201;
	unheard += r.done === true && o.status !== 201;
	if (w?.ends) await c.closed;
	c.end();
	await c.closed;
}

/* ---- The tests ---- */

before(async () => {
	server = await startDivand({ config: { ssl: certificate(), gate: { exempt: 'none', slow_timeout: 1500 } } });
	await ask(server, 'PUT', `/${db}`);
	await ask(server, 'PUT', `/${db}/other`, { json: { a: 1 } });
});
after(() => server.stop());

/** What was written is what was to be, and nothing else. */
async function check() {
	const { json } = await ask(server, 'GET', `/${db}/_all_docs`);
	const ids = json.rows.map((r) => r.id);
	const stored = new Set(ids.filter((id) => id.startsWith('h')));
	for (const id of stored) if (!expected.has(id)) faults.push(`${id} was written: ${rows[id.split('-')[1]].what}`);
	for (const id of expected) if (!stored.has(id)) faults.push(`${id} was not written: ${rows[id.split('-')[1]].what}`);
	const more = ids.length - stored.size - 1 - made;
	if (more < 0 || more > unheard) faults.push(`${more} documents more than were told of`);
}

test('each row of the table ends as it says, and nothing behind an end is carried out', () => goThrough(server, `/${db}/other`, { rows, ways, carry_out, check, faults }));

/* ---- Much of it ---- */

/** Sends ${piece} until ${ms} are over, nothing more is taken, or the connection has ended. */
async function pour(c, piece, ms) {
	let sent = 0;
	for (const until = Date.now() + ms; Date.now() < until && !c.ended;) {
		const taken = await Promise.race([c.send(piece).then(() => true), new Promise((r) => setTimeout(r, 300, false))]);
		if (!taken) break;
		sent += piece.length;
	}
	return sent;
}

test('answers that nobody takes do not pile up', async () => {
	const many = (n, f) => Buffer.concat(Array(n).fill(f));
	const other = meanwhile(server, `/${db}/other`);
	for (const [what, piece] of Object.entries({
		'DATA for a stream that is no more': many(5000, data('x')), 'padding for it': many(2000, frame(T.data, PADDED, 1, bytes(9, ...Buffer.alloc(9)))),
		'WINDOW_UPDATE for it': many(5000, frame(T.window, 0, 1, u32(1))), PING: many(2000, frame(T.ping, 0, 0, Buffer.alloc(8))),
	})) {
		const before = anonKiB(server);
		const c = connectH2(server);
		await c.opened;
		await c.send(UP());
		await c.answer(1);
		c.socket.pause();
		const sent = await pour(c, piece, 700);
		assert.ok(anonKiB(server) - before < MEMORY_KIB, `${what}: ${anonKiB(server) - before} KiB more for ${sent} bytes`);
		c.end();
		await c.closed;
	}
	await other.end();
});

test('many good requests on a connection are no flood', async () => {
	const c = connectH2(server);
	const N = 3000, AT_A_TIME = 50;
	await c.opened;
	for (let n = 0; n < N; n += AT_A_TIME) {
		const from = 2 * n + 1;
		c.frames.length = 0;
		await c.send(...Array.from({ length: AT_A_TIME }, (_, i) => UP(from + 2 * i)), frame(T.window, 0, 0, u32(4000)));
		const answered = () => c.frames.filter((f) => f.type === T.data && f.flags & END_STREAM).length;
		await c.until(() => answered() === AT_A_TIME);
	}
	assert.equal(c.goaway, null);
	c.end();
});
