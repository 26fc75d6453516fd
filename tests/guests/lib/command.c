/* Lines from the serial port. */
#include "command.h"
#include "bytes.h"
#include "clock.h"
#include "print.h"

void command_read(char *line, size_t size, uint64_t poll_us)
{
	size_t len = 0;
	int byte;

	for (;;) {
		byte = serial_read();
		if (byte < 0) {
			clock_sleep_us(poll_us);
			continue;
		}
		if (byte == '\n')
			break;
		if (byte != '\r' && len < size - 1)
			line[len++] = (char)byte;
	}
	line[len] = '\0';
}

bool command_is(const char *line, const char *name)
{
	return !strncmp(line, name, strlen(name));
}

const char *command_text(const char *line, const char *name)
{
	size_t len = strlen(name);

	for (; *line; line++)
		if (line[0] == ' ' && !strncmp(line + 1, name, len) && line[len + 1] == '=')
			return line + len + 2;
	return NULL;
}

uint64_t command_number(const char *line, const char *name, uint64_t otherwise)
{
	const char *at = command_text(line, name);
	uint64_t value = 0;

	if (!at)
		return otherwise;
	for (; *at >= '0' && *at <= '9'; at++)
		value = value * 10 + (uint64_t)(*at - '0');
	return value;
}
