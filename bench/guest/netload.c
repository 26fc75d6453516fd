/*
 * Network load between a guest and its host, for bench/net_guest.py.
 *
 *   netload serve PORT                      in the guest: serves one connection after another until told to quit
 *   netload in|out ADDRESS PORT SECONDS     prints MB/s over TCP into or out of the guest
 *   netload echo ADDRESS PORT SECONDS       prints the mean time of one exchange of 64 bytes over TCP, in microseconds
 *   netload quit ADDRESS PORT               ends the server
 *
 * A connection begins with one byte that names what is wanted, and one that says for how many seconds.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define EXCHANGE 64

static char buffer[256 << 10];

static void die(const char *what)
{
	fprintf(stderr, "netload: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double now_s(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Sends for so long, then says that this was all. */
static void pour(int fd, double seconds)
{
	double end = now_s() + seconds;
	while (now_s() < end) {
		if (send(fd, buffer, sizeof(buffer), MSG_NOSIGNAL) < 0)
			die("send");
	}
	shutdown(fd, SHUT_WR);
}

/* Receives to the end; returns the bytes. */
static uint64_t swallow(int fd)
{
	uint64_t total = 0;
	ssize_t len;
	while ((len = recv(fd, buffer, sizeof(buffer), 0)) > 0)
		total += (uint64_t)len;
	if (len < 0)
		die("recv");
	return total;
}

static bool exchange_in(int fd)
{
	return recv(fd, buffer, EXCHANGE, MSG_WAITALL) == EXCHANGE;
}

static void exchange_out(int fd)
{
	if (send(fd, buffer, EXCHANGE, MSG_NOSIGNAL) != EXCHANGE)
		die("send");
}

static int serve(uint16_t port)
{
	int on = 1;
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
	int server = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (server < 0 || bind(server, (struct sockaddr *)&address, sizeof(address)) || listen(server, 8))
		die("listen");
	for (;;) {
		char wish[2];
		int fd = accept(server, NULL, NULL);
		if (fd < 0)
			die("accept");
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		if (recv(fd, wish, sizeof(wish), MSG_WAITALL) != sizeof(wish))
			wish[0] = 0;
		if (wish[0] == 'q')
			return 0;
		if (wish[0] == 'i') {
			swallow(fd);
			exchange_out(fd); /* all has arrived */
		} else if (wish[0] == 'o') {
			pour(fd, wish[1]);
		} else if (wish[0] == 'e') {
			while (exchange_in(fd))
				exchange_out(fd);
		}
		close(fd);
	}
}

static int ask(const char *wish, const char *host, const char *port, int seconds)
{
	int on = 1;
	char head[2] = {wish[0], (char)seconds};
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	if (inet_pton(AF_INET, host, &address.sin_addr) != 1 || connect(fd, (struct sockaddr *)&address, sizeof(address)))
		die(host);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (send(fd, head, sizeof(head), MSG_NOSIGNAL) != sizeof(head))
		die("send");
	double start = now_s();
	if (wish[0] == 'i') {
		uint64_t total = 0;
		double end = start + seconds;
		while (now_s() < end) {
			ssize_t len = send(fd, buffer, sizeof(buffer), MSG_NOSIGNAL);
			if (len < 0)
				die("send");
			total += (uint64_t)len;
		}
		shutdown(fd, SHUT_WR);
		if (!exchange_in(fd))
			die("no answer");
		printf("%.2f\n", (double)total / 1e6 / (now_s() - start));
	} else if (wish[0] == 'o') {
		uint64_t total = swallow(fd);
		printf("%.2f\n", (double)total / 1e6 / (now_s() - start));
	} else if (wish[0] == 'e') {
		unsigned done = 0;
		while (now_s() < start + seconds) {
			exchange_out(fd);
			if (!exchange_in(fd))
				die("no answer");
			done++;
		}
		printf("%.2f\n", (now_s() - start) * 1e6 / done);
	}
	close(fd);
	return 0;
}

int main(int argc, char **argv)
{
	memset(buffer, 0x5a, sizeof(buffer));
	if (argc == 3 && !strcmp(argv[1], "serve"))
		return serve((uint16_t)atoi(argv[2]));
	if (argc == 4 && !strcmp(argv[1], "quit"))
		return ask(argv[1], argv[2], argv[3], 0);
	if (argc == 5)
		return ask(argv[1], argv[2], argv[3], atoi(argv[4]));
	fprintf(stderr, "usage: netload serve PORT | in|out|echo ADDRESS PORT SECONDS | quit ADDRESS PORT\n");
	return 2;
}
