/*
 * The chardev on standard input and output. A terminal goes to raw mode, so that each key reaches the guest; it gets its old mode back on
 * close, exit, and death by a signal, and is made raw again after Ctrl-Z and fg.
 *
 * O_NONBLOCK belongs to the open file, which is shared with the shell and whoever else has the terminal. So terminals and pipes are
 * opened anew through /proc; only where that fails (a socket, a pipe of another user) is the flag set on the shared one.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "base/container_of.h"
#include "vmm/chardev_internal.h"

/* A process has one terminal, and a signal handler has no other way to know it. */
static struct {
	volatile sig_atomic_t raw;
	struct termios old, wanted;
} terminal;

static const int deadly_signals[] = {SIGHUP, SIGINT, SIGQUIT, SIGILL, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGTERM};

static void restore_terminal(void)
{
	if (terminal.raw) {
		terminal.raw = 0;
		tcsetattr(STDIN_FILENO, TCSANOW, &terminal.old);
	}
}

/* The disposition is the default again (SA_RESETHAND), so that raise() kills once the handler returns. tcsetattr is async-signal-safe. */
static void on_deadly_signal(int signo)
{
	int saved_errno = errno;
	restore_terminal();
	raise(signo);
	errno = saved_errno;
}

/* Only where nobody else handles them: main's own handlers end in chardev_close(). */
static void catch_deadly_signals(void)
{
	for (size_t i = 0; i < sizeof(deadly_signals) / sizeof(deadly_signals[0]); i++) {
		struct sigaction now, ours = {.sa_handler = on_deadly_signal, .sa_flags = SA_RESETHAND};
		if (sigaction(deadly_signals[i], NULL, &now) == 0 && now.sa_handler == SIG_DFL)
			sigaction(deadly_signals[i], &ours, NULL);
	}
}

static void make_raw(void)
{
	/* In the background tcsetattr would stop us; SIGCONT comes when that changes. */
	if (tcgetpgrp(STDIN_FILENO) != getpgrp())
		return;
	terminal.raw = 1;
	tcsetattr(STDIN_FILENO, TCSANOW, &terminal.wanted);
}

static void on_resume(struct ev_loop *loop, ev_signal *w, int revents)
{
	(void)loop, (void)w, (void)revents;
	make_raw();
}

static void set_up_terminal(struct chardev *c, bool signals)
{
	static bool registered;
	if (tcgetattr(STDIN_FILENO, &terminal.old) < 0)
		return;
	terminal.wanted = terminal.old;
	terminal.wanted.c_iflag &= ~(tcflag_t)(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
	terminal.wanted.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | IEXTEN);
	if (!signals)
		terminal.wanted.c_lflag &= ~(tcflag_t)ISIG;
	terminal.wanted.c_cflag = (terminal.wanted.c_cflag & ~(tcflag_t)(CSIZE | PARENB)) | CS8;
	terminal.wanted.c_oflag |= OPOST;
	terminal.wanted.c_cc[VMIN] = 1;
	terminal.wanted.c_cc[VTIME] = 0;
	catch_deadly_signals();
	if (!registered)
		registered = atexit(restore_terminal) == 0;
	make_raw();
	ev_signal_init(&c->resume, on_resume, SIGCONT);
	ev_signal_start(c->loop, &c->resume);
	c->raw_terminal = true;
}

static void stdio_close(struct chardev *c)
{
	if (!c->raw_terminal)
		return;
	ev_signal_stop(c->loop, &c->resume);
	restore_terminal();
}

/* Returns a descriptor of our own for fd, non-blocking where that matters, or -errno. */
static int open_again(int fd, int mode)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (S_ISCHR(st.st_mode) || S_ISFIFO(st.st_mode)) {
		char path[32];
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		int again = open(path, mode | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
		if (again >= 0)
			return again;
	}
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (copy < 0)
		return -errno;
	int flags = fcntl(copy, F_GETFL);
	if (!S_ISREG(st.st_mode) && flags >= 0)
		fcntl(copy, F_SETFL, flags | O_NONBLOCK);
	return copy;
}

int chardev_stdio_open(struct chardev *c, const struct config_chardev *config, struct error *err)
{
	static const struct chardev_kind_ops ops = {.close = stdio_close};
	c->ops = &ops;
	int in = open_again(STDIN_FILENO, O_RDONLY);
	int out = open_again(STDOUT_FILENO, O_WRONLY);
	int ret = 0;
	if (in < 0 || out < 0)
		ret = error_set(err, in < 0 ? -in : -out, "chardev \"%s\": standard %s: %s", c->label, in < 0 ? "input" : "output",
				strerror(in < 0 ? -in : -out));
	if (!ret)
		ret = chardev_describe(c, err, "stdio");
	if (ret) {
		if (in >= 0)
			close(in);
		if (out >= 0)
			close(out);
		return ret;
	}
	/* A reader who goes away must not take the guest along. */
	signal(SIGPIPE, SIG_IGN);
	if (isatty(STDIN_FILENO))
		set_up_terminal(c, config->signal);
	chardev_connect(c, in, out);
	return 0;
}
