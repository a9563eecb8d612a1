// TLS record by record, as no client would send them: what a ClientHello is made of.
import crypto from 'node:crypto';

export const u8 = (n) => Buffer.from([n]);
export const u16 = (n) => Buffer.from([n >> 8, n & 255]);
export const u24 = (n) => Buffer.from([n >> 16, (n >> 8) & 255, n & 255]);
const sized = (size, ...parts) => {
	const body = Buffer.concat(parts);
	return Buffer.concat([size(body.length), body]);
};

export const HANDSHAKE = 22, ALERT = 21, CHANGE_CIPHER = 20, DATA = 23, HEARTBEAT = 24;

export const record = (type, payload, version = 0x0301) => Buffer.concat([u8(type), u16(version), u16(payload.length), payload]);
export const handshake = (type, body) => Buffer.concat([u8(type), u24(body.length), body]);
export const ext = (id, ...body) => Buffer.concat([u16(id), sized(u16, ...body)]);

export const sni = (name, type = 0) => ext(0, sized(u16, u8(type), sized(u16, Buffer.from(name, 'latin1'))));
export const alpn = (...names) => ext(16, sized(u16, ...names.map((n) => sized(u8, Buffer.from(n, 'latin1')))));
export const groups = (...ids) => ext(10, sized(u16, ...ids.map(u16)));
export const algorithms = (...ids) => ext(13, sized(u16, ...ids.map(u16)));
export const versions = (...ids) => ext(43, sized(u8, ...ids.map(u16)));
export const share = (group, key) => ext(51, sized(u16, u16(group), sized(u16, key)));

/** The extensions that a client of TLS 1.2 and 1.3 cannot do without. */
export const usual = ({ offered = [0x0304, 0x0303], group = 0x001d, key = crypto.randomBytes(32), algs = [0x0403, 0x0804, 0x0401] } = {}) =>
	[groups(group), algorithms(...algs), versions(...offered), share(group, key)];

/** A ClientHello's body. */
export function hello({ version = 0x0303, session = Buffer.alloc(32, 7), ciphers = [0x1301, 0x1302, 0xc02b, 0xc02c, 0xc02f], compressions = [0], extensions = usual(), tail = Buffer.alloc(0) } = {}) {
	return Buffer.concat([
		u16(version), crypto.randomBytes(32), sized(u8, session), sized(u16, ...ciphers.map(u16)), sized(u8, Buffer.from(compressions)),
		...(extensions ? [sized(u16, ...extensions)] : []), tail,
	]);
}

/** What a server answers at first: 'hello', 'alert N', or undefined where not enough has come. */
export function first_answer(bytes) {
	if (bytes.length < 7) return undefined;
	if (bytes[0] === ALERT) return `alert ${bytes[6]}`;
	return bytes[0] === HANDSHAKE && bytes[5] === 2 ? 'hello' : `a record of type ${bytes[0]}`;
}
