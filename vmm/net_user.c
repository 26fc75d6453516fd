/*
 * See net_user.h. passt, left to itself, goes into the background once it is set up: the process that we start then exits with 0, or
 * with 1 after a reason on its standard error. So we wait for that, and have its reason for our own message; nothing of passt is our
 * child afterwards. Our end of the socket pair is its life line.
 */
#include "vmm/net_user.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define PASST "passt"
#define GUEST_ADDRESS "10.0.2.15"
#define NETMASK "255.255.255.0"
#define HOST_ADDRESS "10.0.2.2"
#define NAME_SERVER "10.0.2.3"
#define HOST_MAC "52:55:0a:00:02:02"

/* passt sets itself up within some 10 ms; slower only under emulation. */
#define START_TIMEOUT_MS 20000

/* --- forwarded ports --- */

static bool read_port(const char *text, size_t len, unsigned *port)
{
	unsigned value = 0;
	if (len == 0 || len > 5)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		value = value * 10 + (unsigned)(text[i] - '0');
	}
	*port = value;
	return value >= 1 && value <= 65535;
}

/* Copies an IPv4 address of len bytes; an empty one is the fallback. */
static bool read_address(const char *text, size_t len, char address[INET_ADDRSTRLEN])
{
	struct in_addr in;
	if (len >= INET_ADDRSTRLEN)
		return false;
	memcpy(address, text, len);
	address[len] = '\0';
	return len == 0 || inet_pton(AF_INET, address, &in) == 1;
}

int net_user_forward(const char *hostfwd, char *option, char *argument, size_t size, struct error *err)
{
	char host[INET_ADDRSTRLEN];
	char guest[INET_ADDRSTRLEN];
	unsigned host_port, guest_port;
	char letter = 't';
	const char *at = hostfwd;
	if (!strncmp(at, "udp:", 4))
		letter = 'u';
	else if (!strncmp(at, "tcp:", 4))
		letter = 't';
	else if (*at != ':')
		goto bad;
	at += *at == ':' ? 1 : 4;
	const char *colon = strchr(at, ':');
	const char *dash = colon ? strchr(colon, '-') : NULL;
	const char *last = dash ? strchr(dash, ':') : NULL;
	if (!last)
		goto bad;
	if (!read_address(at, (size_t)(colon - at), host) || !read_port(colon + 1, (size_t)(dash - colon - 1), &host_port) ||
	    !read_address(dash + 1, (size_t)(last - dash - 1), guest) || !read_port(last + 1, strlen(last + 1), &guest_port))
		goto bad;
	if (*guest && strcmp(guest, GUEST_ADDRESS) != 0)
		return error_set(err, EINVAL, "hostfwd=%s: the guest is %s here; leave its address out", hostfwd, GUEST_ADDRESS);
	*option = letter;
	snprintf(argument, size, "%s%s%u:%u", host, *host ? "/" : "", host_port, guest_port);
	return 0;
bad:
	return error_set(err, EINVAL, "hostfwd=%s: must be like tcp::2222-:22, or udp:127.0.0.1:5353-:53", hostfwd);
}

/* --- the command line --- */

#define MAX_ARGUMENTS (24 + 2 * CONFIG_MAX_HOSTFWDS)

struct command {
	char *argv[MAX_ARGUMENTS];
	unsigned nr;
	char fd[16];
	char forwards[CONFIG_MAX_HOSTFWDS][40];
};

static void add(struct command *c, const char *argument)
{
	c->argv[c->nr++] = (char *)(uintptr_t)argument; /* execvp() does not change them */
}

static int make_command(struct command *c, const struct config_nic *nic, int fd, struct error *err)
{
	static const char *const fixed[] = {
		PASST,       "--stderr",   "--quiet",       "--address", GUEST_ADDRESS, "--netmask", NETMASK,
		"--gateway", HOST_ADDRESS, "--dns-forward", NAME_SERVER, "--mac-addr",  HOST_MAC,
	};
	c->nr = 0;
	for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
		add(c, fixed[i]);
	snprintf(c->fd, sizeof(c->fd), "%d", fd);
	add(c, "--fd");
	add(c, c->fd);
	for (unsigned i = 0; i < nic->nr_hostfwds; i++) {
		char option;
		int ret = net_user_forward(nic->hostfwd[i], &option, c->forwards[i], sizeof(c->forwards[i]), err);
		if (ret)
			return ret;
		add(c, option == 't' ? "--tcp-ports" : "--udp-ports");
		add(c, c->forwards[i]);
	}
	c->argv[c->nr] = NULL;
	return 0;
}

/* --- starting it --- */

/* In the child, between fork and exec: only what is safe there. */
static void become_passt(const struct command *c, int socket, int output)
{
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	int null = open("/dev/null", O_RDWR);
	if (null >= 0 && dup2(null, STDIN_FILENO) >= 0 && dup2(null, STDOUT_FILENO) >= 0 && dup2(output, STDERR_FILENO) >= 0 &&
	    fcntl(socket, F_SETFD, 0) == 0)
		execvp(c->argv[0], c->argv);
	/* The parent tells a failed exec by this status, as a shell would. */
	_exit(errno == ENOENT ? 127 : 126);
}

/* Reads what passt says until it closes its standard error: it did so when it went to the background, or died. */
static int read_output(int fd, char *text, size_t size, struct error *err)
{
	size_t len = 0;
	for (;;) {
		struct pollfd pfd = {.fd = fd, .events = POLLIN};
		int ready = poll(&pfd, 1, START_TIMEOUT_MS);
		if (ready < 0 && errno == EINTR)
			continue;
		if (ready <= 0)
			return error_set(err, ETIMEDOUT, "passt did not start within %d s", START_TIMEOUT_MS / 1000);
		char part[512];
		ssize_t got = read(fd, part, sizeof(part));
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		size_t kept = (size_t)got < size - 1 - len ? (size_t)got : size - 1 - len;
		memcpy(text + len, part, kept);
		len += kept;
	}
	text[len] = '\0';
	return 0;
}

/* The last line that says something: passt also complains of a missing system log and of being root, which are no reasons. */
static const char *last_reason(char *text)
{
	const char *reason = "no reason given";
	char *rest = NULL;
	for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		if (strncmp(line, "Failed to send ", 15) != 0 && strncmp(line, "Don't run as root", 17) != 0)
			reason = line;
	}
	return reason;
}

static int judge(int status, char *text, struct error *err)
{
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		return error_set(err, ENOENT, "user networking needs the program passt: apt install passt");
	if (WIFEXITED(status) && WEXITSTATUS(status) == 126)
		return error_set(err, EACCES, "passt cannot be executed; install it again: apt install passt");
	const char *reason = last_reason(text);
	if (strstr(reason, "interface not usable"))
		return error_set(err, ENETUNREACH,
				 "passt found no interface with a default route, and so no way to the network (%s)", reason);
	return error_set(err, EIO, "passt did not start: %s", reason);
}

static int run(const struct command *c, int socket, struct error *err)
{
	char text[4096] = "";
	int output[2];
	if (pipe2(output, O_CLOEXEC) < 0)
		return error_set(err, errno, "cannot make a pipe: %s", strerror(errno));
	pid_t pid = fork();
	if (pid == 0)
		become_passt(c, socket, output[1]);
	int code = errno;
	close(output[1]);
	if (pid < 0) {
		close(output[0]);
		return error_set(err, code, "cannot start passt: %s", strerror(code));
	}
	int ret = read_output(output[0], text, sizeof(text), err);
	close(output[0]);
	if (ret)
		kill(pid, SIGKILL);
	int status = 0;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return ret ? ret : judge(status, text, err);
}

int net_user_start(const struct config_nic *nic, int *fd, struct error *err)
{
	struct command command;
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return error_set(err, errno, "cannot make a socket pair: %s", strerror(errno));
	int ret = make_command(&command, nic, pair[1], err);
	if (ret == 0)
		ret = run(&command, pair[1], err);
	close(pair[1]);
	if (ret) {
		close(pair[0]);
		return ret;
	}
	*fd = pair[0];
	return 0;
}
