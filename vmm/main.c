/* pagoda-vmm: one guest. Reads the command line, builds the machine, runs the main loop, and tells by its exit status how it went. */
#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "vmm/config.h"
#include "vmm/machine.h"

/* --- into the background --- */

/*
 * Forks before anything is opened that a fork would break. The parent waits until the child says that the guest is there, or has
 * failed, and exits with that. Returns the descriptor to say it on, or -errno in the child; the parent does not return.
 */
static int daemonize(void)
{
	int fds[2];
	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	pid_t child = fork();
	if (child < 0)
		return -errno;
	if (child > 0) {
		uint8_t status = EXIT_FAILURE;
		close(fds[1]);
		while (read(fds[0], &status, 1) < 0 && errno == EINTR)
			;
		_exit(status);
	}
	close(fds[0]);
	setsid();
	return fds[1];
}

/* Tells the waiting parent that all is well and lets go of its terminal. */
static void daemon_ready(int fd)
{
	uint8_t ok = EXIT_SUCCESS;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
		if (null > STDERR_FILENO)
			close(null);
	}
	if (chdir("/") < 0 || write(fd, &ok, 1) != 1)
		log_warning("cannot tell the parent that the guest runs: %s", strerror(errno));
	close(fd);
}

/* --- the pid file --- */

/* Writes and locks it, so that a second VMM with the same file is refused; the lock lives as long as the process. */
static int write_pidfile(const char *path, struct error *err)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	if (fd < 0)
		return error_set(err, errno, "-pidfile %s: %s", path, strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		int code = errno;
		close(fd);
		return error_set(err, code, "-pidfile %s: another process holds it", path);
	}
	char text[32];
	int len = snprintf(text, sizeof(text), "%d\n", (int)getpid());
	if (ftruncate(fd, 0) < 0 || write(fd, text, (size_t)len) != len) {
		int code = errno;
		close(fd);
		return error_set(err, code, "-pidfile %s: %s", path, strerror(code));
	}
	return 0;
}

/* --- signals --- */

struct quit_signal {
	ev_signal watcher;
	struct machine *machine;
};

static void on_quit_signal(struct ev_loop *loop, ev_signal *w, int events)
{
	(void)loop;
	(void)events;
	log_info("terminated by signal %d", w->signum);
	machine_quit(((struct quit_signal *)w)->machine, "host-signal");
}

static void watch_signals(struct ev_loop *loop, struct machine *machine, struct quit_signal quits[3])
{
	static const int signals[3] = {SIGINT, SIGTERM, SIGHUP};
	for (unsigned i = 0; i < 3; i++) {
		quits[i].machine = machine;
		ev_signal_init(&quits[i].watcher, on_quit_signal, signals[i]);
		ev_signal_start(loop, &quits[i].watcher);
	}
}

static int run(struct config *config, int ready_fd, struct error *err)
{
	struct ev_loop *loop = ev_default_loop(0);
	struct machine *machine;
	struct quit_signal quits[3];
	if (!loop)
		return error_set(err, ENOSYS, "no event loop: epoll is missing");
	int ret = config->pidfile ? write_pidfile(config->pidfile, err) : 0;
	if (ret)
		return ret;
	ret = machine_create(loop, config, &machine, err);
	if (ret == 0) {
		watch_signals(loop, machine, quits);
		ret = machine_start(machine, err);
		if (ret == 0) {
			if (ready_fd >= 0)
				daemon_ready(ready_fd);
			ev_run(loop, 0);
		}
		machine_destroy(machine);
	}
	if (config->pidfile)
		unlink(config->pidfile);
	return ret;
}

int main(int argc, char **argv)
{
	struct config *config = calloc(1, sizeof(*config));
	struct error err = {0};
	bool done = false;
	int ready_fd = -1;
	log_open("pagoda-vmm", LOG_LEVEL_INFO);
	/* A reader of our output who goes away must not take the guest along. */
	signal(SIGPIPE, SIG_IGN);
	if (!config) {
		log_error("out of memory");
		return EXIT_FAILURE;
	}
	int ret = config_parse(argc, argv, config, &done, &err);
	if (ret == 0 && !done) {
		if (config->name)
			log_open(config->name, LOG_LEVEL_INFO);
		if (config->daemonize) {
			ready_fd = daemonize();
			if (ready_fd < 0)
				ret = error_set(&err, -ready_fd, "-daemonize: %s", strerror(-ready_fd));
		}
		if (ret == 0)
			ret = run(config, ready_fd, &err);
	}
	if (ret)
		log_error("%s", err.text);
	config_free(config);
	free(config);
	return ret ? EXIT_FAILURE : EXIT_SUCCESS;
}
