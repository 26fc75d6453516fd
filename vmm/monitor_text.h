/* Text on its way out of a monitor: answers of commands, events, echoed keys. Grows as needed, to a limit. */
#ifndef VMM_MONITOR_TEXT_H
#define VMM_MONITOR_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#define MONITOR_TEXT_MAX (4u << 20)

/* All zero is empty. When memory is short or the limit is reached, text is lost and failed is set. */
struct monitor_text {
	char *data; /* NUL-terminated once there was anything */
	size_t len, size;
	bool failed;
};

void monitor_text_add(struct monitor_text *t, const char *data, size_t len);
void monitor_text_printf(struct monitor_text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Drops the first len bytes. */
void monitor_text_drop(struct monitor_text *t, size_t len);
/* Adds other with line ends as terminals want them. */
void monitor_text_add_lines(struct monitor_text *t, const struct monitor_text *other);
void monitor_text_free(struct monitor_text *t);

#endif
