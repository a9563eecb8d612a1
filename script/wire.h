/*
 * wire.h: messages between divand and a divan-js, over a socket pair.  Private to script/.
 *
 * A message is this head, in the machine's byte order, and `len` bytes behind it.
 *
 *	to the child          SCRIPT_LOAD     the program's text, for the context `program`
 *	                      any enum script_op
 *	                      SCRIPT_ROWS     rows that a list function asked for; none: there are no more
 *	from the child        SCRIPT_ANSWER   JSON text
 *	                      SCRIPT_FAILED   ["name","reason"]
 *	                      SCRIPT_LOG      a line that the function logged; any number before an answer
 *	                      SCRIPT_MORE     what a list function has sent so far; wants SCRIPT_ROWS
 */
#ifndef SCRIPT_WIRE_H_
#define SCRIPT_WIRE_H_

#include <stdint.h>

#define SCRIPT_FD 3 /* the child's end */

#define SCRIPT_LOAD 'P'
#define SCRIPT_ROWS 'w'
#define SCRIPT_ANSWER 'A'
#define SCRIPT_FAILED 'F'
#define SCRIPT_LOG 'L'
#define SCRIPT_MORE 'M'

struct wire_head {
	uint32_t len;
	uint16_t program;
	uint8_t kind;
	uint8_t zero;
};
_Static_assert(sizeof(struct wire_head) == 8, "both sides are of one build");

#endif
