/* Commands: lines on the serial port, a name and words "name=value" behind it. */
#ifndef GUEST_COMMAND_H
#define GUEST_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Waits for a line, looking each poll_us; what does not fit is cut. line: size bytes, terminated. */
void command_read(char *line, size_t size, uint64_t poll_us);
bool command_is(const char *line, const char *name);
/* What follows "name=", up to the end of the line; NULL if it is not there. */
const char *command_text(const char *line, const char *name);
uint64_t command_number(const char *line, const char *name, uint64_t otherwise);

#endif
