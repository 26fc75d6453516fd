/* What happens to guests, told to the clients that have asked for it. */
#ifndef LIBVIRT_EVENTS_H
#define LIBVIRT_EVENTS_H

#include "libvirt/server.h"

/* Hears what the daemon announces. */
void libvirt_on_event(struct guests_listener *listener, const char *event, const json_t *data);
/* Forgets what a client has asked for. */
void libvirt_events_forget(struct libvirt_server *server, const struct rpc_client *client);

#endif
