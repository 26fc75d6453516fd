/* See inet_door.h. */
#include "host/inet_door.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 64

int inet_address_parse(const char *option, const char *like, const char *text, struct inet_address *address, struct error *err)
{
	char host[INET6_ADDRSTRLEN];
	struct inet_address a = {.text = ""};
	const char *colon = strrchr(text, ':');
	char *rest = NULL;
	bool six = *text == '[', right = colon && colon[1] >= '0' && colon[1] <= '9';
	unsigned long port = right ? strtoul(colon + 1, &rest, 10) : 0;
	size_t len = colon ? (size_t)(colon - text) : 0;
	right = right && !*rest && port <= 65535 && len >= 3 && (!six || colon[-1] == ']');
	len -= right && six ? 2 : 0;
	right = right && len < sizeof(host);
	if (right) {
		memcpy(host, text + six, len);
		host[len] = '\0';
		if (six)
			a.six = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
		else
			a.four = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
		right = inet_pton(six ? AF_INET6 : AF_INET, host, six ? (void *)&a.six.sin6_addr : &a.four.sin_addr) == 1;
	}
	if (!right)
		return error_set(err, EINVAL, "%s %.80s: must be an address in numbers and a port, like %s", option, text, like);
	snprintf(a.text, sizeof(a.text), "%s", text);
	*address = a;
	return 0;
}

bool inet_address_is_loopback(const struct inet_address *a)
{
	return a->any.sa_family == AF_INET6 ? IN6_IS_ADDR_LOOPBACK(&a->six.sin6_addr) : ntohl(a->four.sin_addr.s_addr) >> 24 == 127;
}

int inet_door_open(const char *option, struct inet_address *a, struct error *err)
{
	static const int yes = 1;
	bool six = a->any.sa_family == AF_INET6;
	socklen_t len = six ? sizeof(a->six) : sizeof(a->four);
	int fd = socket(a->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) < 0 || bind(fd, &a->any, len) < 0 ||
	    listen(fd, BACKLOG) < 0 || getsockname(fd, &a->any, &len) < 0) {
		int ret = error_set(err, errno, "%s %s: %s", option, a->text, strerror(errno));
		if (fd >= 0)
			close(fd);
		return ret;
	}
	snprintf(strrchr(a->text, ':'), 8, ":%u", ntohs(six ? a->six.sin6_port : a->four.sin_port));
	return fd;
}
