/*
 * Asking polkit whether a client of this machine may come in, as libvirt's own daemon does: for org.libvirt.unix.manage. Its own command pkcheck asks, so that the daemon
 * needs no D-Bus; nothing waits for it, since it may take until somebody has typed a password.
 */
#ifndef LIBVIRT_POLKIT_H
#define LIBVIRT_POLKIT_H

#include "libvirt/server.h"

/* Returns 0, or -ENOENT with a sentence. */
int libvirt_polkit_check(struct error *err);
/* A client has gone. */
void libvirt_polkit_forget(struct libvirt_server *server, const struct rpc_client *client);
/* Ends all questions, while clients are still there. */
void libvirt_polkit_end(struct libvirt_server *server);

#endif
