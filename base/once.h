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

/** once_make(o, make): Is it made?  If not, ${make} tries under ${o}'s lock, and returns 1 if it could. */
static inline int
once_make(struct once *o, int (*make)(void))
{
	if (!o->made) {
		(void)pthread_mutex_lock(&o->lock);
		if (!o->made)
			o->made = make();
		(void)pthread_mutex_unlock(&o->lock);
	}
	return o->made;
}

#endif
