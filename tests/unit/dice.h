/* dice.h: random numbers that are the same ones each time (xorshift). */
#ifndef TESTS_UNIT_DICE_H_
#define TESTS_UNIT_DICE_H_

#include <stdint.h>

/* dice_next: ${state} is not 0; it is the number, too.  Its high bits are the better ones. */
static inline uint64_t
dice_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

#endif
