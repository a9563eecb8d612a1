// Waiting for a state that nothing announces.

const PATIENCE_MS = Number(process.env.DIVAN_TEST_PATIENCE ?? 60000);

/** Asks ${look} again and again, until what it gives is true, and gives that.  After ${ms} it fails with ${what}: a text, or a function that makes one. */
export async function until(look, what = String(look), ms = PATIENCE_MS) {
	const end = Date.now() + ms;
	for (let wait = 5; ; wait = Math.min(wait * 2, 100)) {
		const found = await look();
		if (found) return found;
		if (Date.now() > end) throw new Error(`not within ${ms} ms: ${typeof what === 'function' ? what() : what}`);
		await new Promise((resolve) => setTimeout(resolve, wait));
	}
}
