/*
 * User networking: a guest that reaches the network through ordinary sockets of this user, by the program passt. The guest sees what
 * QEMU's user networking shows: it is 10.0.2.15 (by DHCP, or set by hand), the host is 10.0.2.2, a name server is 10.0.2.3.
 */
#ifndef VMM_NET_USER_H
#define VMM_NET_USER_H

#include <stddef.h>

#include "base/error.h"
#include "vmm/config.h"

/*
 * A forwarded port as passt wants it: reads "tcp:[host address]:host port-[guest address]:guest port" (QEMU's hostfwd=), writes passt's
 * option letter ('t' or 'u') and its argument "[host address/]host port:guest port". Returns 0 or -EINVAL with a sentence.
 */
int net_user_forward(const char *hostfwd, char *option, char *argument, size_t size, struct error *err);

/*
 * Starts passt for the guest and connects it to *fd, a stream socket. It runs in the background as a process of its own and ends when
 * the socket is closed, at the latest by the kernel when this process dies. Returns 0 or -errno with a sentence.
 */
int net_user_start(const struct config_nic *nic, int *fd, struct error *err);

#endif
