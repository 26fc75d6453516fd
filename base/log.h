/* The log: one line a message on standard error, with a level that journald understands when it listens there. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>

/* Values are syslog's severities, see syslog(3). */
enum log_level {
	LOG_LEVEL_ERROR = 3,
	LOG_LEVEL_WARNING = 4,
	LOG_LEVEL_INFO = 6,
	LOG_LEVEL_DEBUG = 7,
};

/*
 * Who speaks (a program's or guest's name, copied) and the least severe level that is printed. Call once, before threads start.
 * Until then messages up to LOG_LEVEL_WARNING are printed under "pagoda".
 */
void log_open(const char *name, enum log_level most);

/* Writes one line in one write(2), so that lines of several threads do not mix. Keeps errno. Callable from any thread. */
void log_print(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_print(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_print(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...) log_print(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_print(LOG_LEVEL_DEBUG, __VA_ARGS__)

/*
 * The same at most once a second for each call site, for what a guest can provoke at will. The next line that gets through
 * says how many were left out.
 */
struct log_limit {
	_Atomic long long next_ns; /* CLOCK_MONOTONIC */
	_Atomic unsigned skipped;
};
bool log_limit_pass(struct log_limit *limit, unsigned *skipped);
#define log_guest_error(...)                                                                     \
	do {                                                                                     \
		static struct log_limit limit_;                                                  \
		unsigned skipped_;                                                               \
		if (log_limit_pass(&limit_, &skipped_)) {                                        \
			log_print(LOG_LEVEL_WARNING, __VA_ARGS__);                               \
			if (skipped_)                                                            \
				log_print(LOG_LEVEL_WARNING, "%u more like the last", skipped_); \
		}                                                                                \
	} while (0)

#endif
