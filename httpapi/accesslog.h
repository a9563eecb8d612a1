/* accesslog.h: the end of a request: its line in the log, and what is counted of it. */
#ifndef HTTPAPI_ACCESSLOG_H_
#define HTTPAPI_ACCESSLOG_H_

#include "http/http.h"

/** accesslog_ended(end, cookie): The engine's ended() callback; end->note is the struct apireq. */
void accesslog_ended(const struct http_end *end, void *cookie);

#endif
