// A certificate authority for tests, by the openssl command: certificates of servers and clients, and what was revoked.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { tempDir } from './divand.mjs';

const openssl = (...args) => execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] });
const EC = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];

export class Authority {
	constructor(name = 'Test CA') {
		this.dir = tempDir('divan-ca');
		this.count = 0;
		this.file = path.join(this.dir, 'ca.pem');
		this.crl = path.join(this.dir, 'crl.pem');
		this.config = path.join(this.dir, 'ca.conf');
		const key = path.join(this.dir, 'ca.key');
		openssl('req', '-x509', ...EC, '-days', '2', '-subj', `/CN=${name}`, '-addext', 'basicConstraints=critical,CA:TRUE',
			'-addext', 'keyUsage=critical,keyCertSign,cRLSign', '-keyout', key, '-out', this.file);
		fs.writeFileSync(path.join(this.dir, 'db'), '');
		fs.writeFileSync(this.config, `[ca]
default_ca = c
[c]
database = ${this.dir}/db
new_certs_dir = ${this.dir}
certificate = ${this.file}
private_key = ${key}
rand_serial = yes
default_md = sha256
default_days = 2
default_crl_days = 2
unique_subject = no
copy_extensions = copy
policy = p
preserve = yes
[p]
commonName = optional
`);
		this.revoke();
	}

	/**
	 * {cert_file, key_file} of `subject` ("/CN=x"), with subjectAltName `san` ("DNS:localhost,IP:127.0.0.1"), for `use`
	 * (clientAuth, serverAuth), `ended`: an hour ago.
	 */
	issue(subject, { san, use = 'clientAuth', ended = false } = {}) {
		const base = path.join(this.dir, String(++this.count));
		const made = { cert_file: `${base}.pem`, key_file: `${base}.key` };
		const at = (hours) => new Date(Date.now() + hours * 3600000).toISOString().replace(/[-:T]|\.\d+/g, '');
		openssl('req', '-new', ...EC, '-subj', subject, '-addext', `extendedKeyUsage=${use}`,
			...(san ? ['-addext', `subjectAltName=${san}`] : []), '-keyout', made.key_file, '-out', `${base}.csr`);
		openssl('ca', '-batch', '-config', this.config, '-notext', '-in', `${base}.csr`, '-out', made.cert_file,
			'-startdate', at(-2), '-enddate', at(ended ? -1 : 24));
		return made;
	}

	/** A server's: for localhost and 127.0.0.1. */
	server(name = 'localhost') {
		return this.issue(`/CN=${name}`, { san: 'DNS:localhost,IP:127.0.0.1', use: 'serverAuth' });
	}

	/** Revoke some, and write the list of all that are. */
	revoke(...certs) {
		for (const { cert_file } of certs) openssl('ca', '-config', this.config, '-revoke', cert_file);
		openssl('ca', '-config', this.config, '-gencrl', '-out', `${this.crl}.new`);
		fs.renameSync(`${this.crl}.new`, this.crl);
	}
}

/** {cert, key} as Node's tls wants them. */
export const read = ({ cert_file, key_file }) => ({ cert: fs.readFileSync(cert_file), key: fs.readFileSync(key_file) });
