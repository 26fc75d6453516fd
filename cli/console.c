/* `pagoda console`: joins this terminal to a guest's serial port, byte by byte, until Ctrl-]. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "base/unix_socket.h"
#include "cli/commands.h"
#include "cli/output.h"

#define LEAVE 0x1d /* Ctrl-], as in telnet and virsh */

static int connect_to(const char *path, struct error *err)
{
	int fd = unix_socket_connect(path, 0);
	if (fd >= 0)
		return fd;
	return error_set(err, -fd, "the console at %s: %s%s", path, strerror(-fd),
			 fd == -ECONNREFUSED || fd == -EAGAIN ? "; somebody else has it, or the guest has ended" : "");
}

static int write_all(int fd, const char *bytes, size_t len)
{
	while (len) {
		ssize_t n = write(fd, bytes, len);
		if (n < 0 && errno == EAGAIN) {
			struct pollfd wait = {.fd = fd, .events = POLLOUT};
			poll(&wait, 1, -1);
		} else if (n < 0 && errno != EINTR) {
			return -errno;
		}
		bytes += n > 0 ? n : 0;
		len -= n > 0 ? (size_t)n : 0;
	}
	return 0;
}

/* Returns why it ended, in words. */
static const char *join(int console, bool terminal)
{
	bool input = true;
	char bytes[4096];
	for (;;) {
		struct pollfd fds[2] = {{.fd = console, .events = POLLIN}, {.fd = input ? STDIN_FILENO : -1, .events = POLLIN}};
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return strerror(errno);
		if (fds[0].revents) {
			ssize_t n = read(console, bytes, sizeof(bytes));
			if (n <= 0)
				return "the guest has ended, or somebody took the console";
			if (write_all(STDOUT_FILENO, bytes, (size_t)n) != 0)
				return "the output is closed";
		}
		if (fds[1].revents) {
			ssize_t n = read(STDIN_FILENO, bytes, sizeof(bytes));
			const char *leave = n > 0 && terminal ? memchr(bytes, LEAVE, (size_t)n) : NULL;
			/* What is piped in ends; what the guest says of it is still to be read. */
			if (n <= 0)
				input = false;
			else if (write_all(console, bytes, leave ? (size_t)(leave - bytes) : (size_t)n) != 0)
				return "the guest has ended";
			if (leave || (n <= 0 && terminal))
				return "left";
		}
	}
}

int console_open(struct cli *cli, const char *guest, int *fd)
{
	struct error err = {0};
	json_t *console;
	int ret = cli_ask(cli, "console", json_pack("{s:s}", "guest", guest), &console);
	if (ret)
		return ret;
	*fd = connect_to(output_string(console, "path"), &err);
	json_decref(console);
	return *fd < 0 ? cli_fail(&err) : EXIT_OK;
}

void console_join(const char *guest, int fd)
{
	struct termios before, raw;
	bool terminal = tcgetattr(STDIN_FILENO, &before) == 0;
	if (terminal) {
		fprintf(stderr, "the console of %s; Ctrl-] leaves it\n", guest);
		raw = before;
		cfmakeraw(&raw);
		tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
	}
	const char *why = join(fd, terminal);
	if (terminal)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &before);
	fprintf(stderr, "\n%s\n", why);
	close(fd);
}

int cmd_console(struct cli *cli, int argc, char **argv)
{
	int fd;
	if (argc != 2)
		return cli_usage("console", "name one guest");
	if (cli->json)
		return cli_do(cli, "console", json_pack("{s:s}", "guest", argv[1]), NULL);
	int ret = console_open(cli, argv[1], &fd);
	if (ret == EXIT_OK)
		console_join(argv[1], fd);
	return ret;
}
