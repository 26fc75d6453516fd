/* Which of the daemon's sockets a client's URI means. */
#ifndef REMOTE_SOCKET_OF_URI_H
#define REMOTE_SOCKET_OF_URI_H

#include <stdbool.h>

#include "base/error.h"

#define REMOTE_PATH_BYTES 108 /* as a socket's path can be long */

/*
 * "qemu:///system" or "pagoda:///system". directory: where the sockets are, or NULL for where daemons make them. Returns 0, or -errno with a sentence: the URI is for
 * another hypervisor, or there is no socket.
 */
int remote_socket_of_uri(const char *uri, const char *directory, bool read_only, char path[REMOTE_PATH_BYTES], struct error *err);

#endif
