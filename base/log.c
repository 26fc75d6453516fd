/* See log.h. With JOURNAL_STREAM set, lines start with journald's "<level>" mark instead of the speaker's name. */
#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static struct {
	char name[64];
	enum log_level most;
	bool journal;
} log_state = {.name = "pagoda", .most = LOG_LEVEL_WARNING};

void log_open(const char *name, enum log_level most)
{
	snprintf(log_state.name, sizeof(log_state.name), "%s", name);
	log_state.most = most;
	log_state.journal = getenv("JOURNAL_STREAM") != NULL;
}

void log_print(enum log_level level, const char *fmt, ...)
{
	if (level > log_state.most)
		return;
	int saved_errno = errno;
	char line[1024];
	int at = log_state.journal ? snprintf(line, sizeof(line), "<%d>", (int)level)
				   : snprintf(line, sizeof(line), "%s: ", log_state.name);
	va_list args;
	va_start(args, fmt);
	int length = vsnprintf(line + at, sizeof(line) - (size_t)at - 1, fmt, args);
	va_end(args);
	size_t total = (size_t)at + (length > 0 ? (size_t)length : 0);
	if (total > sizeof(line) - 2)
		total = sizeof(line) - 2;
	line[total++] = '\n';
	/*
	 * A log that cannot be written has nobody left to tell; and a reader of a pipe or terminal who has fallen asleep must not stop the
	 * thread that has something to say, which a guest can make any of ours.
	 */
	struct pollfd to = {.fd = STDERR_FILENO, .events = POLLOUT};
	if (poll(&to, 1, 0) == 1) {
		ssize_t written = write(STDERR_FILENO, line, total);
		(void)written;
	}
	errno = saved_errno;
}

bool log_limit_pass(struct log_limit *limit, unsigned *skipped)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	long long now = ts.tv_sec * 1000000000LL + ts.tv_nsec;
	long long next = limit->next_ns;
	if (now < next || !__atomic_compare_exchange_n((long long *)&limit->next_ns, &next, now + 1000000000LL, false,
						       __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
		limit->skipped++;
		return false;
	}
	*skipped = __atomic_exchange_n((unsigned *)&limit->skipped, 0, __ATOMIC_RELAXED);
	return true;
}
