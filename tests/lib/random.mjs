// Random numbers from a seed, so that a failure can be repeated.
export class Random {
	constructor(seed) {
		this.state = seed >>> 0;
	}
	/** 0 up to but without n. */
	below(n) {
		this.state = (this.state + 0x6d2b79f5) >>> 0;
		let t = this.state;
		t = Math.imul(t ^ (t >>> 15), t | 1);
		t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
		return Math.floor((((t ^ (t >>> 14)) >>> 0) / 4294967296) * n);
	}
	between(low, high) {
		return low + this.below(high - low + 1);
	}
	pick(list) {
		return list[this.below(list.length)];
	}
	/** Bytes that do not compress. */
	bytes(n) {
		const out = Buffer.allocUnsafe(n);
		for (let i = 0; i < n; i++) out[i] = this.below(256);
		return out;
	}
	text(n) {
		let out = '';
		while (out.length < n) out += this.below(0xfffffff).toString(36) + ' ';
		return out.slice(0, n);
	}
}
