/* Prometheus' door: HTTP on a loopback address, GET /metrics and nothing else. */
#ifndef HOST_METRICS_SERVER_H
#define HOST_METRICS_SERVER_H

#include <ev.h>

#include "base/error.h"

struct metrics_server;
struct guests;
struct dedup_server;

/* address: "127.0.0.1:9090" or "[::1]:9090"; port 0 takes a free one, which the log names. Returns 0, or -errno with a sentence. */
int metrics_server_create(struct ev_loop *loop, const char *address, const struct guests *guests, const struct dedup_server *dedup,
			  struct metrics_server **server, struct error *err);
void metrics_server_destroy(struct metrics_server *server);

#endif
