/*
 * room.h: how much memory requests hold together, and who waits for some.  Plain numbers; any thread.
 *
 *	bytes come in: parked  --take, or queue and be told-->  held, with what is made of them  --give-->  gone
 *	an answer is made: owed  --its client takes it-->  gone
 */
#ifndef HTTP_ROOM_H_
#define HTTP_ROOM_H_

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct server_room_waiter;

struct server_room {
	uint64_t share;           /* bytes; 0: no bound */
	_Atomic uint64_t held;    /* by requests that are worked on; arenas count here as they grow */
	_Atomic uint64_t parked;  /* by those that are not yet */
	_Atomic uint64_t owed;    /* by answers that wait to be taken */
	_Atomic uint64_t takers;  /* who hold some of ${held} that they took */
	_Atomic uint64_t peak;    /* of the three, since server_room_calm() */
	_Atomic uint64_t shed;    /* requests, since the start */
	_Atomic unsigned waiting; /* in the queue */
	pthread_mutex_t lock;     /* of the queue */
	struct server_room_waiter *first, **last;
};

/* Somebody's place in the queue; lives in its owner until it is told. */
struct server_room_waiter {
	uint64_t bytes;                             /* that it asks for */
	uint64_t due_ms;                            /* told by then */
	int got;                                    /* how it went */
	void (*told)(struct server_room_waiter *w); /* once, by any thread, which calls nothing here from within */
	struct server_room_waiter *next;            /* the queue's */
};

void server_room_init(struct server_room *m, uint64_t share);
void server_room_release(struct server_room *m);
/**
 * server_room_cost(m, n): What a request may come to hold that brings ${n} bytes; never more than it gets when nobody
 * else holds any.
 */
uint64_t server_room_cost(const struct server_room *m, uint64_t n);
/**
 * server_room_take(m, n): Hold ${n} bytes more, if they fit, or nobody else holds any: 1.  The last quarter is kept for
 * small requests; and nobody who is not small passes those who wait.  server_room_give(m, n): No longer; those who fit now are told.
 */
int server_room_take(struct server_room *m, uint64_t n);
void server_room_give(struct server_room *m, uint64_t n);
/** server_room_park(m, was, n): Bytes that have come, ${n} in place of ${was}.  1, or 0: they do not fit. */
int server_room_park(struct server_room *m, uint64_t was, uint64_t n);
/** server_room_queue(m, w): To the end of the queue; w->told may be called before this returns. */
void server_room_queue(struct server_room *m, struct server_room_waiter *w);
/** server_room_expire(m, now_ms): Tell those whose time is over.  Returns when the next one's is, or 0. */
uint64_t server_room_expire(struct server_room *m, uint64_t now_ms);
/**
 * server_room_most(m): What is held in any case does not grow beyond this; when it is there, nothing new begins.  Answers that wait may
 * be owed as much, beside it.
 */
uint64_t server_room_most(const struct server_room *m);
/** server_room_owe(m, n), server_room_paid(m, n): An answer of ${n} bytes waits to be taken, and no longer. */
void server_room_owe(struct server_room *m, uint64_t n);
void server_room_paid(struct server_room *m, uint64_t n);
/**
 * server_room_debt(m, n): What an answer of ${n} bytes counts for: no more than an eighth of all that may be owed, whatever it
 * holds, so that there is room for large ones.
 * server_room_fits(m, n, peer): 1 if so much more may be owed, in all and to an address that is owed ${peer}, a quarter of it.
 * server_room_strained(m, peer): 1 if half of both is: who takes little now is in others' way.
 */
uint64_t server_room_debt(const struct server_room *m, uint64_t n);
int server_room_fits(const struct server_room *m, uint64_t n, uint64_t peer);
int server_room_strained(const struct server_room *m, uint64_t peer);
/** server_room_calm(m, forget): 1 if much was held, and now hardly any is: then what was is forgotten if ${forget}. */
int server_room_calm(struct server_room *m, int forget);

#endif
