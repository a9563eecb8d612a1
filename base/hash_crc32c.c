/*
 * CRC-32C: polynomial 0x1EDC6F41, reflected, as SSE4.2's crc32 instruction computes it.  Where the CPU has
 * none, eight tables take eight bytes a step.  Which it is is found before main().
 */
#include "base/hash.h"

#include <string.h>

#define POLY_REFLECTED 0x82F63B78u

typedef uint32_t crc_f(uint32_t crc, const unsigned char *p, size_t len);

static uint32_t tables[8][256];
static crc_f *crc_of;

static uint32_t
by_table(uint32_t crc, const unsigned char *p, size_t len)
{
	for (; len >= 8; p += 8, len -= 8) {
		crc ^= (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
		crc = tables[7][crc & 255] ^ tables[6][crc >> 8 & 255] ^ tables[5][crc >> 16 & 255] ^
		      tables[4][crc >> 24] ^ tables[3][p[4]] ^ tables[2][p[5]] ^ tables[1][p[6]] ^ tables[0][p[7]];
	}
	for (; len > 0; p++, len--)
		crc = crc >> 8 ^ tables[0][(crc ^ *p) & 255];
	return crc;
}

static void
make_tables(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t c = i;

		for (int bit = 0; bit < 8; bit++)
			c = c & 1 ? c >> 1 ^ POLY_REFLECTED : c >> 1;
		tables[0][i] = c;
	}
	for (uint32_t i = 0; i < 256; i++) {
		for (int t = 1; t < 8; t++)
			tables[t][i] = tables[t - 1][i] >> 8 ^ tables[0][tables[t - 1][i] & 255];
	}
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t
by_instruction(uint32_t crc, const unsigned char *p, size_t len)
{
	uint64_t wide = crc;

	for (; len >= 8; p += 8, len -= 8) {
		uint64_t word;

		memcpy(&word, p, sizeof(word));
		wide = __builtin_ia32_crc32di(wide, word);
	}
	crc = (uint32_t)wide;
	if (len & 4) {
		uint32_t word;

		memcpy(&word, p, sizeof(word));
		crc = __builtin_ia32_crc32si(crc, word);
		p += 4;
	}
	if (len & 2) {
		uint16_t word;

		memcpy(&word, p, sizeof(word));
		crc = __builtin_ia32_crc32hi(crc, word);
		p += 2;
	}
	return len & 1 ? __builtin_ia32_crc32qi(crc, *p) : crc;
}
#endif

/* Before main(), so that a short record does not pay for asking whether it was done. */
__attribute__((constructor)) static void
choose(void)
{
#if defined(__x86_64__)
	__builtin_cpu_init();
	if (__builtin_cpu_supports("sse4.2")) {
		crc_of = by_instruction;
		return;
	}
#endif
	hash_crc32c_by_table();
}

void
hash_crc32c_by_table(void)
{
	make_tables();
	crc_of = by_table;
}

uint32_t
hash_crc32c(uint32_t seed, const void *data, size_t len)
{
	return ~crc_of(~seed, data, len);
}
