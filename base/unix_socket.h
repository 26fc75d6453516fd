/* Unix sockets by their paths. */
#ifndef BASE_UNIX_SOCKET_H
#define BASE_UNIX_SOCKET_H

#include <sys/un.h>

/* The address of a path. Returns 0, or -ENAMETOOLONG: a socket's path has at most 107 bytes (unix(7)). */
int unix_socket_address(const char *path, struct sockaddr_un *address);
/*
 * Connects to the stream socket at path. flags: 0 or SOCK_NONBLOCK, of the descriptor; a unix socket connects at once or not at all, -EAGAIN then.
 * Returns a descriptor that the caller closes, closed on exec, or -errno.
 */
int unix_socket_connect(const char *path, int flags);
/*
 * Makes a socket of that type (SOCK_STREAM, with SOCK_NONBLOCK if wanted), closed on exec, at path, where nothing is, and listens there. From the first moment on it is
 * the owner's alone (0600). Returns a descriptor that the caller closes, or -errno; then nothing is left at path, unless it was there.
 */
int unix_socket_listen(const char *path, int type, int backlog);

#endif
