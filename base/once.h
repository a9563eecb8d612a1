/* once.h: what is made once, at first use, and tried again by the next one where it failed, which pthread_once() does not. */
#ifndef BASE_ONCE_H_
#define BASE_ONCE_H_

#include <pthread.h>

struct once {
	pthread_mutex_t lock;
	_Atomic int made;
};

#define ONCE_INIT                                 \
	{                                         \
		.lock = PTHREAD_MUTEX_INITIALIZER \
	}

/** once_make(o, make): Make it, if it is not made: ${make} is called under ${o}'s lock, and returns 0 if it could.  Errors: ${make}'s. */
static inline int
once_make(struct once *o, int (*make)(void))
{
	int err = 0;

	if (o->made)
		return 0;
	(void)pthread_mutex_lock(&o->lock);
	if (!o->made && (err = make()) == 0)
		o->made = 1;
	(void)pthread_mutex_unlock(&o->lock);
	return err;
}

#endif
