/* node.h: /_node/{name}/...: what node.c hands on, to its own files. */
#ifndef HTTPAPI_NODE_H_
#define HTTPAPI_NODE_H_

#include "httpapi/api.h"

/** node_config(r): /_node/{name}/_config/...: node_config.c. */
void node_config(struct apireq *r);
/** node_stats(r), node_prometheus(r), node_system(r): What is counted and measured: node_stats.c. */
void node_stats(struct apireq *r);
void node_prometheus(struct apireq *r);
void node_system(struct apireq *r);

#endif
