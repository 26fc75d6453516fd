/* A TCP socket that clients connect to, at an address that an option gives. */
#ifndef HOST_INET_DOOR_H
#define HOST_INET_DOOR_H

#include <netinet/in.h>
#include <stdbool.h>

#include "base/error.h"

struct inet_address {
	union {
		struct sockaddr any;
		struct sockaddr_in four;
		struct sockaddr_in6 six;
	};
	char text[64]; /* as it was given; when it is listened at, with the port that it has become */
};

/*
 * Reads "127.0.0.1:9090" or "[::1]:9090": numbers only, no name is looked up. option and like are words of the sentence: "--metrics", "127.0.0.1:9090". Returns 0, or
 * -EINVAL with a sentence.
 */
int inet_address_parse(const char *option, const char *like, const char *text, struct inet_address *address, struct error *err);
bool inet_address_is_loopback(const struct inet_address *address);
/* Listens there. Returns a descriptor that does not block, or -errno with a sentence. */
int inet_door_open(const char *option, struct inet_address *address, struct error *err);

#endif
