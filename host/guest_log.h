/* What a guest's VMM says: a file for each guest, NAME.log, and NAME.log.1 from before its last start. */
#ifndef HOST_GUEST_LOG_H
#define HOST_GUEST_LOG_H

#include <jansson.h>
#include <stddef.h>

#include "base/error.h"

/* A new file. Returns a descriptor, or -errno with a sentence. */
int guest_log_open(const char *directory, const char *name, struct error *err);
/* The last lines, as a new array of strings; empty where there is none. NULL without memory. */
json_t *guest_log_lines(const char *directory, const char *name, size_t most);
/* The last line, cut; "" where there is none. */
void guest_log_last_line(const char *directory, const char *name, char *line, size_t size);

#endif
