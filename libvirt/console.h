/* A guest's serial port as a stream of libvirt's protocol. */
#ifndef LIBVIRT_CONSOLE_H
#define LIBVIRT_CONSOLE_H

#include "libvirt/server.h"

/* A packet of a client's. */
void libvirt_console_packet(struct libvirt_server *server, struct rpc_client *client, const struct rpc_header *header,
			    struct xdr_reader *data);
/* There is room for more again. */
void libvirt_console_resume(struct libvirt_server *server, const struct rpc_client *client);
/* Closes those of a client that is going. */
void libvirt_console_forget(struct libvirt_server *server, const struct rpc_client *client);

#endif
