/* changefeeds.h: _changes requests that stay open. */
#ifndef HTTPAPI_CHANGEFEEDS_H_
#define HTTPAPI_CHANGEFEEDS_H_

#include "httpapi/api.h"
#include "httpapi/changes_query.h"

/** changefeeds_add(r, q): Answer ${r} with the longpoll, continuous or eventsource feed that ${q} asks for; or a normal one that waits for verdicts. */
void changefeeds_add(struct apireq *r, const struct changes_query *q);

#endif
