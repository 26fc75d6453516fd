/*
 * vsock in a guest, for shell scripts: what busybox lacks.
 *
 *   guest-vsock listen PORT          accepts one connection and sends back what it receives until the peer closes
 *   guest-vsock connect CID PORT     sends standard input to the peer, then prints what comes back until the peer closes
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

static int fail(const char *what)
{
	fprintf(stderr, "guest-vsock: %s: %s\n", what, strerror(errno));
	return 1;
}

/* Copies until end of file; returns 0 or -1 with errno. */
static int pump(int from, int to)
{
	char buf[4096];
	ssize_t got;

	while ((got = read(from, buf, sizeof(buf))) > 0) {
		for (ssize_t done = 0, n; done < got; done += n) {
			n = write(to, buf + done, (size_t)(got - done));
			if (n < 0)
				return -1;
		}
	}
	return got < 0 ? -1 : 0;
}

int main(int argc, char **argv)
{
	struct sockaddr_vm addr = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY};
	int fd = socket(AF_VSOCK, SOCK_STREAM, 0);

	if (fd < 0)
		return fail("socket");
	if (argc == 3 && !strcmp(argv[1], "listen")) {
		addr.svm_port = (unsigned)strtoul(argv[2], NULL, 10);
		if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
			return fail("bind");
		if (listen(fd, 1) < 0)
			return fail("listen");
		puts("guest: vsock listens");
		fflush(stdout);
		int peer = accept(fd, NULL, NULL);
		if (peer < 0)
			return fail("accept");
		return pump(peer, peer) < 0 ? fail("echo") : 0;
	}
	if (argc == 4 && !strcmp(argv[1], "connect")) {
		addr.svm_cid = (unsigned)strtoul(argv[2], NULL, 10);
		addr.svm_port = (unsigned)strtoul(argv[3], NULL, 10);
		if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
			return fail("connect");
		if (pump(STDIN_FILENO, fd) < 0)
			return fail("send");
		if (shutdown(fd, SHUT_WR) < 0)
			return fail("shutdown");
		return pump(fd, STDOUT_FILENO) < 0 ? fail("receive") : 0;
	}
	fprintf(stderr, "usage: guest-vsock listen PORT | connect CID PORT\n");
	return 2;
}
