/*
 * virt-ssh-helper: what libvirt's clients run on a host that they reach by SSH (qemu+ssh://). It connects its standard input and output to the daemon's socket for the URI
 * that it is given. libvirt has a program of that name; where that is installed, this one steps aside.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/unix_socket.h"
#include "base/version.h"
#include "remote/relay.h"
#include "remote/socket_of_uri.h"

#define NAME "virt-ssh-helper"

static const char help[] = "usage: " NAME " [-r] URI\n"
			   "\n"
			   "Connects standard input and output to pagodad's socket for qemu:///system or pagoda:///system.\n"
			   "Clients of libvirt run it by SSH; it is of no use by hand.\n"
			   "\n"
			   "  -r, --readonly    to the socket that is for looking only\n"
			   "  -h, --help\n"
			   "  -V, --version\n"
			   "\n"
			   "PAGODA_LIBVIRT in its environment is the directory of the sockets (as of pagodad --libvirt).\n";

/* Another program of our name on the way that programs are looked for is libvirt's: whoever asks for it shall not get us. */
static int check_alone(struct error *err)
{
	char file[4096];
	struct stat self, other;
	const char *at = getenv("PATH");
	if (!at || stat("/proc/self/exe", &self) < 0)
		return 0;
	while (*at) {
		size_t len = strcspn(at, ":");
		bool fits = len + sizeof("/" NAME) <= sizeof(file);
		if (fits)
			sprintf(file, "%.*s/" NAME, (int)len, at);
		if (fits && stat(file, &other) == 0 && S_ISREG(other.st_mode) && other.st_mode & 0111 &&
		    (other.st_dev != self.st_dev || other.st_ino != self.st_ino))
			return error_set(err, EEXIST,
					 "libvirt's own is installed (%.200s), and this one, Pagoda's, steps aside: remove it, "
					 "and reach Pagoda by ?socket= in the URI",
					 file);
		at += len + (at[len] == ':');
	}
	return 0;
}

static int run(const char *uri, bool read_only, struct error *err)
{
	char path[REMOTE_PATH_BYTES];
	int ret = check_alone(err);
	if (ret == 0)
		ret = remote_socket_of_uri(uri, getenv("PAGODA_LIBVIRT"), read_only, path, err);
	if (ret)
		return ret;
	int fd = unix_socket_connect(path, 0);
	if (fd < 0)
		return error_set(err, -fd, "%s: %s", path, strerror(-fd));
	ret = relay_run(STDIN_FILENO, STDOUT_FILENO, fd);
	close(fd);
	return ret ? error_set(err, -ret, "%s: %s", path, strerror(-ret)) : 0;
}

int main(int argc, char **argv)
{
	static const struct option table[] = {
		{"readonly", no_argument, NULL, 'r'},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{NULL, 0, NULL, 0},
	};
	bool read_only = false;
	struct error err;
	int option;
	signal(SIGPIPE, SIG_IGN);
	while ((option = getopt_long(argc, argv, "rhV", table, NULL)) != -1) {
		if (option == 'r') {
			read_only = true;
		} else if (option == 'h' || option == 'V') {
			fputs(option == 'h' ? help : NAME " (Pagoda " PAGODA_VERSION ")\n", stdout);
			return EXIT_SUCCESS;
		} else {
			return EXIT_FAILURE;
		}
	}
	if (argc - optind != 1) {
		fprintf(stderr, "%s", help);
		return EXIT_FAILURE;
	}
	if (run(argv[optind], read_only, &err)) {
		fprintf(stderr, NAME ": %s\n", err.text);
		return EXIT_FAILURE;
	}
	return EXIT_SUCCESS;
}
