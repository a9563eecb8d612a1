/*
 * uuid.c: see uuid.h.  The counter steps by a random amount, so that two servers that share a
 * prefix by accident soon differ.
 */
#include "httpapi/uuid.h"

#include <pthread.h>
#include <stdint.h>
#include <time.h>

#include "base/hash.h"

#define PREFIX_BYTES 13u
#define COUNTER_MAX 0xfff000u
#define STEP_MAX 0xffeu

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char prefix[2u * PREFIX_BYTES];
static uint32_t counter = COUNTER_MAX + 1u;
static uint32_t noise; /* xorshift state for the steps: they need no secrecy */

static uint32_t
step(void)
{
	noise ^= noise << 13;
	noise ^= noise >> 17;
	noise ^= noise << 5;
	return 1u + noise % STEP_MAX;
}

static void
renew(void)
{
	unsigned char bytes[PREFIX_BYTES];

	hash_random(bytes, sizeof(bytes));
	hex_encode(bytes, sizeof(bytes), prefix);
	hash_random(&noise, sizeof(noise));
	noise |= 1u;
	counter = step();
}

void
uuid_next(char out[UUID_LEN])
{
	unsigned char low[3];
	uint32_t n;

	pthread_mutex_lock(&lock);
	if (counter > COUNTER_MAX)
		renew();
	n = counter;
	counter += step();
	memcpy(out, prefix, sizeof(prefix));
	pthread_mutex_unlock(&lock);
	low[0] = (unsigned char)(n >> 16);
	low[1] = (unsigned char)(n >> 8);
	low[2] = (unsigned char)n;
	hex_encode(low, sizeof(low), out + sizeof(prefix));
}

void
uuid_time(char out[UUID_TIME_LEN])
{
	static uint64_t last;
	unsigned char bytes[UUID_TIME_LEN / 2];
	struct timespec now;
	uint64_t us;
	size_t i;

	clock_gettime(CLOCK_REALTIME, &now);
	us = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
	pthread_mutex_lock(&lock);
	last = us > last ? us : last + 1;
	us = last;
	pthread_mutex_unlock(&lock);
	for (i = sizeof(bytes); i > 0; i--, us >>= 8)
		bytes[i - 1] = (unsigned char)us;
	hex_encode(bytes, sizeof(bytes), out);
}

void
uuid_random(char out[UUID_LEN])
{
	unsigned char bytes[UUID_LEN / 2];

	hash_random(bytes, sizeof(bytes));
	hex_encode(bytes, sizeof(bytes), out);
}
