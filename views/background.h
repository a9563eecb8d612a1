/* background.h: indexes that are brought up to date before anybody asks.  Private to views/. */
#ifndef VIEWS_BACKGROUND_H_
#define VIEWS_BACKGROUND_H_

#include "views.h"

struct background;

/** background_new(v, ex, dbs, channels, bp): ${channels} databases at a time; all borrowed. */
int background_new(
    struct views *v, struct executor *ex, struct dbs *dbs, unsigned channels, struct background **bp) MUST_CHECK;
/** background_stop(b): None runs afterwards, and none begins; the views end their updates meanwhile. */
void background_stop(struct background *b);
void background_free(struct background *b);
/** background_moved(b, database): It has changed.  Any thread; does not wait. */
void background_moved(struct background *b, const char *database);

#endif
