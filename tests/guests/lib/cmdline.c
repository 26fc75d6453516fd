/* The command line that the loader passed. */
#include "cmdline.h"
#include "bytes.h"
#include "guest.h"
#include "memmap.h"

static const char *line = "";

void cmdline_open(void)
{
	line = memmap_cmdline();
}

/* Points behind the name: at '=', ' ' or the end. NULL if the name is not there. The last one of several counts. */
static const char *find(const char *name)
{
	size_t len = strlen(name);
	const char *at = line, *found = NULL;

	while (*at) {
		if (!strncmp(at, name, len) && (at[len] == '=' || at[len] == ' ' || !at[len]))
			found = at + len;
		while (*at && *at != ' ')
			at++;
		while (*at == ' ')
			at++;
	}
	return found;
}

bool cmdline_has(const char *name)
{
	return find(name);
}

const char *cmdline_text(const char *name, const char *otherwise, char *buffer, size_t size)
{
	const char *value = find(name);
	size_t len = 0;

	if (!value || *value != '=')
		value = otherwise;
	else
		value++;
	for (; value[len] && value[len] != ' ' && len < size - 1; len++)
		buffer[len] = value[len];
	buffer[len] = '\0';
	return buffer;
}

static unsigned digit_of(char c)
{
	if (c >= '0' && c <= '9')
		return (unsigned)(c - '0');
	if (c >= 'a' && c <= 'f')
		return (unsigned)(c - 'a') + 10;
	return 99;
}

uint64_t cmdline_number(const char *name, uint64_t otherwise)
{
	char buffer[32], *at = buffer;
	unsigned base = 10;
	uint64_t number = 0;

	if (!find(name))
		return otherwise;
	cmdline_text(name, "", buffer, sizeof(buffer));
	if (at[0] == '0' && at[1] == 'x') {
		base = 16;
		at += 2;
	}
	if (digit_of(*at) >= base)
		guest_fail("%s= wants a number, not \"%s\"", name, buffer);
	for (; digit_of(*at) < base; at++)
		number = number * base + digit_of(*at);
	if (*at == 'K')
		number <<= 10;
	else if (*at == 'M')
		number <<= 20;
	else if (*at == 'G')
		number <<= 30;
	else if (*at)
		guest_fail("%s= wants a number, not \"%s\"", name, buffer);
	return number;
}
