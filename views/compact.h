/* compact.h: compaction of index files.  Private to views/. */
#ifndef VIEWS_COMPACT_H_
#define VIEWS_COMPACT_H_

#include "index.h"

/** compact_consider(ix): An update is over: its file is compacted if it is mostly waste.  One thread at a time. */
void compact_consider(struct view_index *ix);

/* ---- Under the lock of the views ---- */

/** compact_stop(v): The views close: wait until none runs. */
void compact_stop(struct views *v);
/** compact_tasks(v, fn, cookie): Those that run or wait, as views_tasks(). */
int compact_tasks(struct views *v, int (*fn)(const struct db_task *task, void *cookie), void *cookie) MUST_CHECK;

#endif
